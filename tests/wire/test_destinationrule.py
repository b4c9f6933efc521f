# SPDX-License-Identifier: Apache-2.0
"""DestinationRule (semantics 2.7 to 2.9) beyond what test_outlier, test_hash and test_locality show."""

import contextlib
import http.server
import math
import os
import socket
import subprocess
import threading
import time

import pytest

import kvmesh
from kvmesh import wait_for
from server import Server

RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: app }}
spec: {{ host: app, trafficPolicy: {{ {policy} }} }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: app }}
spec: {{ hosts: [ app ], http: [ {{ route: [ {{ destination: {{ host: app }} }} ], retries: {{ attempts: 0 }} }} ] }}
"""


class App:
    """A mesh with one worker and a service `app` of as many nginx as are asked for."""

    def __init__(self, directory, policy, n):
        self.dir = directory
        self.servers = []
        self.mesh = kvmesh.Mesh(directory / "mesh", "defaultConfig = { concurrency = 1; };")
        self.mesh.service("app", 80, "http")
        self.mesh.write("mesh.d/10-app.yaml", RULE.format(policy=policy))
        for _ in range(n):
            self.add(reload=False)
        self.mesh.start()

    def add(self, reload=True):
        name = f"n{len(self.servers)}"
        server = kvmesh.Nginx(self.dir, name, extra="location /fail { return 500; }")
        self.servers.append(server)
        self.mesh.workload(name, server.port, {"app": "app"})
        if reload:
            self.reload()

    def reload(self):
        self.mesh.ctl("config", "reload", "--wait", check=0)

    def use(self, policy):
        self.mesh.write("mesh.d/10-app.yaml", RULE.format(policy=policy))
        self.reload()

    def who(self, n, path="/"):
        """How many of n requests each endpoint has answered."""
        c = self.mesh.connect()
        got = {}
        for _ in range(n):
            c.request("GET", path, headers={"Host": "app"})
            r = c.getresponse()
            r.read()
            got[r.headers["x-backend"]] = got.get(r.headers["x-backend"], 0) + 1
        c.close()
        return got

    def stop(self):
        for x in [self.mesh, *self.servers]:
            x.stop()


@pytest.fixture
def app(workdir):
    opened = []

    def make(policy, n=2):
        opened.append(App(workdir, policy, n))
        return opened[0]

    yield make
    for x in opened:
        x.stop()


def within(got, n, share, sd=5):
    """The bound is five standard deviations: missed once in 1.7 million runs."""
    return abs(got - n * share) <= sd * math.sqrt(n * share * (1 - share))


# ---- 2.8.13: warm-up ---------------------------------------------------------------------------------------------

def test_2_8_13_a_new_endpoint_begins_with_a_small_share(app):
    # ten hours: what a test takes is nothing of it, so that the share stays at the minimum
    a = app("loadBalancer: { simple: ROUND_ROBIN, warmup: { duration: 36000s, minimumPercent: 25 } }", 1)
    a.add()
    got = a.who(250)
    assert abs(got["n1"] - 50) <= 1, f"25 of 125, smoothly interleaved: {got}"


def test_2_8_13_with_least_request(app):
    a = app("loadBalancer: { warmupDurationSecs: 36000s }", 1)
    a.add()
    got = a.who(1100)
    assert within(got["n1"], 1100, 1 / 11), f"10 of 110 by lot: {got}"


def test_2_8_13_endpoints_that_come_together_are_equal(app):
    a = app("loadBalancer: { simple: ROUND_ROBIN, warmup: { duration: 36000s } }", 3)
    assert set(a.who(90).values()) == {30}


def test_2_8_13_after_the_duration_it_has_its_share(app):
    a = app("loadBalancer: { simple: ROUND_ROBIN, warmup: { duration: 1s, minimumPercent: 1 } }", 2)
    a.add()
    wait_for("equal shares", lambda: set(a.who(60).values()) == {20})


def test_2_8_13_not_with_other_algorithms(app):
    a = app("loadBalancer: { simple: RANDOM, warmup: { duration: 36000s } }", 1)
    a.add()
    assert within(a.who(400)["n1"], 400, 1 / 2)
    assert "KVM0133" in a.mesh.ctl("analyze").stdout


def test_2_8_13_who_comes_back_from_an_ejection_begins_anew(app):
    a = app("loadBalancer: { simple: ROUND_ROBIN, warmup: { duration: 36000s } }, "
            "outlierDetection: { consecutive5xxErrors: 1, baseEjectionTime: 1s, maxEjectionPercent: 1 }")
    (ejected,) = a.who(1, "/fail")
    wait_for("its return", lambda: ejected in a.who(22))
    got = a.who(220)
    assert abs(got[ejected] - 20) <= 1, got


# ---- our own: EWMA -----------------------------------------------------------------------------------------------

class Slow(http.server.ThreadingHTTPServer):
    """Answers after self.delay seconds."""

    daemon_threads = True

    def __init__(self, name):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.server.asked += 1
                time.sleep(self.server.delay)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.send_header("x-backend", name)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.name, self.delay, self.asked = name, 0.0, 0
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def test_ewma_a_slow_endpoint_gets_few_requests_and_recovers(app):
    a = app("loadBalancer: { simple: EWMA }", 0)
    servers = [Slow(n) for n in ("a", "b", "slow")]
    slow = servers[2]
    try:
        for s in servers:
            s.delay = 0.2 if s is slow else 0.02
            a.mesh.workload(s.name, s.server_address[1], {"app": "app"})
        a.reload()
        got = a.who(150)
        assert 1 <= got["slow"] <= 15, f"once to find out, and hardly again; a fair share is 50: {got}"
        slow.delay = 0.02
        # what is known of it falls to a tenth in 23 s
        wait_for("its share to be back", lambda: a.who(30).get("slow", 0) >= 4)
    finally:
        for s in servers:
            s.shutdown()
            s.server_close()


def test_ewma_failing_fast_attracts_nobody(app):
    a = app("loadBalancer: { simple: EWMA }")
    a.mesh.workload("dead", kvmesh.free_port(), {"app": "app"})
    a.reload()
    got = [a.mesh.get("app").status for _ in range(60)]
    assert got.count(503) <= 2 and set(got) == {200, 503}, got


def test_ewma_is_told_to_be_our_own(app):
    a = app("loadBalancer: { simple: EWMA }")
    a.mesh.write("mesh.d/20-native.conf", 'DestinationRule = { name = "other"; host = "app"; subsets = ( { name = "s"; '
                 'trafficPolicy = { loadBalancer = { simple = "EWMA"; }; }; } ); };')
    found = a.mesh.ctl("analyze", check=0).stdout
    assert found.count("KVM0902") == 2, found


# ---- 2.7: which rule, and which of its blocks --------------------------------------------------------------------

def dr(name, ns="default", host="app.default.svc.cluster.local", policy="", spec="", **more):
    """A rule that is told by the cookie which it makes; policy: instead of that."""
    policy = policy or cookie(name)
    return "\n".join(["---", "apiVersion: networking.istio.io/v1", "kind: DestinationRule", f"metadata: {{ name: {name}, namespace: {ns} }}",
                      f'spec: {{ host: "{host}", trafficPolicy: {{ {policy} }}{spec} }}', ""])


def cookie(name):
    return f"loadBalancer: {{ consistentHash: {{ httpCookie: {{ name: {name}, ttl: 0s }} }} }}"


class Shop:
    """A service app.default of three endpoints, called by a workload of the namespace client."""

    def __init__(self, d):
        self.mesh = m = kvmesh.Mesh(d / "mesh", "defaultConfig = { concurrency = 1; };")
        self.servers = {n: kvmesh.Nginx(d, n) for n in ("a", "b", "c")}
        labels = {"a": {"version": "v1", "zone": "a"}, "b": {"version": "v1", "zone": "b"}, "c": {"version": "v2", "zone": "a"}}
        for n, s in self.servers.items():
            m.workload(n, s.port, {"app": "app", **labels[n]})
        m.service("app", 80, "http")
        m.workload("caller", 1, {"app": "caller"}, namespace="client", user=str(os.getuid()))

    def use(self, text, routes="", check=0):
        vs = ("---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: app }\n"
              f"spec: {{ hosts: [ app ], http: [ {routes} ] }}\n") if routes else ""
        self.mesh.write("mesh.d/10-dr.yaml", text + vs)
        self.mesh.ctl("config", "reload", "--wait", check=check)

    def made(self, path="/"):
        """The name of the cookie that was made, None: none was."""
        r = self.mesh.get("app.default", path)
        assert r.status == 200, r
        return r.headers.get("set-cookie", "=").partition("=")[0] or None

    def who(self, path="/", n=40):
        return {self.mesh.get("app.default", path).headers["x-backend"] for _ in range(n)}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    d = tmp_path_factory.mktemp("rules")
    d.chmod(0o755)
    s = Shop(d)
    s.mesh.start()
    yield s
    for x in (s.mesh, *s.servers.values()):
        x.stop()


def test_2_7_1_the_clients_namespace_then_the_services_then_the_root(shop):
    client, service, root = dr("client", "client"), dr("service"), dr("root", "kvmesh-system")
    shop.use(root + service + client)
    assert shop.made() == "client"
    shop.use(root + service)
    assert shop.made() == "service"
    shop.use(root)
    assert shop.made() == "root"
    shop.use(root + dr("service", spec=', exportTo: [ "." ]'))
    assert shop.made() == "root", "the service's rule is not exported to the client"


def test_2_7_1_the_most_specific_of_a_level_and_no_level_joined_with_another(shop):
    wild = dr("wild", "client", host="*.default.svc.cluster.local")
    shop.use(wild + dr("exact", "client"))
    assert shop.made() == "exact"
    shop.use(wild + dr("service"))
    assert shop.made() == "wild"


def test_2_7_2_two_of_a_namespace_are_joined(shop):
    one = dr("one", spec=", subsets: [ { name: s1, labels: { zone: a } }, { name: both, labels: { version: v2 } } ]")
    two = dr("two", spec=", subsets: [ { name: s2, labels: { zone: b } }, { name: both, labels: { zone: b } } ]")
    shop.use(one + two, ", ".join(
        f"{{ match: [ {{ uri: {{ exact: /{s} }} }} ], route: [ {{ destination: {{ host: app, subset: {s} }} }} ] }}" for s in ("s1", "s2", "both")))
    assert shop.made("/s1") == "one", "the first one's policy"
    assert shop.who("/s1") == {"a", "c"} and shop.who("/s2", 5) == {"b"}, "the subsets of both"
    assert shop.who("/both", 5) == {"c"}, "of two of a name the first"
    assert "KVM0201" in shop.mesh.ctl("analyze").stdout


def test_2_7_3_workload_selector(shop):
    selected = dr("selected", "client", spec=", workloadSelector: { matchLabels: { app: caller } }")
    other = dr("other", "client", spec=", workloadSelector: { matchLabels: { app: somebody } }")
    shop.use(dr("all", "client") + selected + other)
    assert shop.made() == "selected"
    shop.use(other + dr("service"))
    assert shop.made() == "service", "it selects nobody who calls here"
    shop.use(dr("foreign", "default", spec=", workloadSelector: { matchLabels: { app: caller } }") + dr("root", "kvmesh-system"))
    assert shop.made() == "root", "only for workloads of its own namespace"


def test_2_7_4_an_endpoint_has_all_labels_of_its_subset(shop):
    shop.use(dr("app", policy="loadBalancer: { simple: RANDOM }", spec=", subsets: [ { name: narrow, labels: { version: v1, zone: a } }, "
             "{ name: wide, labels: { version: v1 } }, { name: every } ]"), ", ".join(
        f"{{ match: [ {{ uri: {{ exact: /{s} }} }} ], route: [ {{ destination: {{ host: app, subset: {s} }} }} ] }}" for s in ("narrow", "wide", "every")))
    # of three by lot, one is missed in 60 requests once in 10 billion runs
    assert shop.who("/narrow", 10) == {"a"} and shop.who("/wide", 60) == {"a", "b"} and shop.who("/every", 60) == {"a", "b", "c"}


PORT = "portLevelSettings: [ { port: { number: 80 }, %s } ]"
OTHER = "connectionPool: { tcp: { maxConnections: 9 } }"


@pytest.mark.parametrize("top,subset,made", [
    (cookie("top"), "", "top"),
    (f"{cookie('top')}, {PORT % cookie('port')}", "", "port"),
    (f"{cookie('top')}, {PORT % OTHER}", "", None),
    (cookie("top"), OTHER, "top"),
    (cookie("top"), cookie("sub"), "sub"),
    (f"{cookie('top')}, {PORT % cookie('port')}", cookie("sub"), "sub"),
    (f"{cookie('top')}, {PORT % cookie('port')}", OTHER, "port"),
    (cookie("top"), f"{cookie('sub')}, {PORT % cookie('subport')}", "subport"),
    (cookie("top"), f"{cookie('sub')}, {PORT % OTHER}", None),
])
def test_2_7_5_which_block(shop, top, subset, made):
    policy = f", trafficPolicy: {{ {subset} }}" if subset else ""
    shop.use(dr("app", policy=top, spec=f", subsets: [ {{ name: s{policy} }} ]"),
             "{ route: [ { destination: { host: app, subset: s } } ] }")
    assert shop.made() == made


# ---- 2.8: choice, breakers, times ------------------------------------------------------------------------------------

def test_2_8_1_least_request_is_the_default(app):
    a = app("connectionPool: { tcp: { maxConnections: 9 } }", 0)
    servers = [Slow(n) for n in ("one", "two")]
    try:
        for s in servers:
            a.mesh.workload(s.name, s.server_address[1], {"app": "app"})
        a.reload()
        for s in servers:
            s.delay = 3600
        c = a.mesh.connect()
        c.request("GET", "/", headers={"Host": "app"})
        busy = wait_for("the request that takes long", lambda: [s for s in servers if s.asked])[0]
        free = servers[1 - servers.index(busy)]
        free.delay = 0
        assert a.who(40) == {free.name: 40}
        c.close()
    finally:
        for s in servers:
            s.shutdown()
            s.server_close()


def test_2_8_2_weights_smoothly_in_turn(app):
    a = app("loadBalancer: { simple: ROUND_ROBIN }", 1)
    heavy = kvmesh.Nginx(a.dir, "heavy")
    a.servers.append(heavy)
    a.mesh.workload("heavy", heavy.port, {"app": "app"}, weight=3)
    a.reload()
    got = a.who(80)
    assert abs(got["heavy"] - 60) <= 1, got


class Counting(Server):
    """HTTP/1.1, or an echo; tells connections that came and went."""

    def __init__(self, http=True):
        self.http, self.came, self.went = http, 0, 0
        super().__init__()

    def serve(self, connection):
        self.came += 1
        with connection, contextlib.suppress(OSError):
            if self.http:
                for line in connection.makefile("rb"):
                    if line == b"\r\n":
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-backend: s\r\n\r\n")
            else:
                while piece := connection.recv(65536):
                    connection.sendall(piece)
        self.went += 1


OUTSIDE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: out }}
spec: {{ hosts: [ out.example ], location: MESH_EXTERNAL, resolution: STATIC,
  ports: [ {{ number: 80, name: http, protocol: HTTP }} ], endpoints: [ {{ address: 127.0.0.1, ports: {{ http: {port} }} }} ] }}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: out }}
spec: {{ host: out.example, trafficPolicy: {{ connectionPool: {{ {pool} }} }} }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: out }}
spec: {{ hosts: [ out.example ], http: [ {{ route: [ {{ destination: {{ host: out.example }} }} ], retries: {{ attempts: 0 }} }} ] }}
"""


@pytest.fixture
def out(workdir):
    """out(port, pool) -> mesh with a host outside of it; tcp: also a TCP service there with an entry."""
    opened = []

    def make(port, pool, tcp=None):
        mesh = kvmesh.Mesh(workdir / "mesh", 'defaultConfig = { concurrency = 1; }; accessLogFile = "/dev/stdout";')
        opened.append(mesh)
        mesh.write("mesh.d/out.yaml", OUTSIDE.format(port=port, pool=pool))
        if tcp:
            mesh.entry = kvmesh.free_port()
            mesh.workload("tcp", tcp, protocol="TCP")
            mesh.service("tcp", 9000, "tcp", protocol="TCP", listen=f"127.0.0.1:{mesh.entry}")
            mesh.write("mesh.d/tcp.yaml", dr("tcp", host="tcp", policy=f"connectionPool: {{ {pool} }}"))
        return mesh.start()

    yield make
    for m in opened:
        m.stop()


def logged(mesh, *what):
    return wait_for(f"a record with {what}", lambda: next((x for x in mesh.text().splitlines() if all(w in x for w in what)), None))


def test_2_8_5_a_tcp_connection_too_many_is_closed(out):
    server = Counting(http=False)
    mesh = out(1, "tcp: { maxConnections: 1 }", server.port)
    try:
        with socket.create_connection(("127.0.0.1", mesh.entry), timeout=kvmesh.DEADLINE) as first:
            first.sendall(b"one")
            assert first.recv(3) == b"one"
            with (contextlib.suppress(ConnectionResetError),
                  socket.create_connection(("127.0.0.1", mesh.entry), timeout=kvmesh.DEADLINE) as second):
                assert second.recv(1) == b""
            logged(mesh, " UO ", "outbound|9000|")
            first.sendall(b"two")
            assert first.recv(3) == b"two"

        def again():
            with socket.create_connection(("127.0.0.1", mesh.entry), timeout=kvmesh.DEADLINE) as third:
                third.sendall(b"x")
                return third.recv(1) == b"x"
        wait_for("its place to be free", again)
    finally:
        server.stop()


def test_2_8_6_one_request_per_connection(out):
    server = Counting()
    mesh = out(server.port, "http: { maxRequestsPerConnection: 1 }")
    try:
        for _ in range(5):
            assert mesh.get("out.example").status == 200
        assert server.came == 5
        wait_for("the end of each", lambda: server.went == 5)
    finally:
        server.stop()


def test_2_8_6_the_idle_time_of_http_and_of_tcp(out):
    http_server, tcp_server = Counting(), Counting(http=False)
    mesh = out(http_server.port, "tcp: { idleTimeout: 3600s }, http: { idleTimeout: 300ms }", tcp_server.port)
    try:
        assert mesh.get("out.example").status == 200
        wait_for("http.idleTimeout goes before tcp.idleTimeout", lambda: http_server.went == 1)
        mesh.write("mesh.d/tcp.yaml", dr("tcp", host="tcp", policy="connectionPool: { tcp: { idleTimeout: 300ms }, http: { idleTimeout: 3600s } }"))
        mesh.ctl("config", "reload", "--wait", check=0)
        with contextlib.suppress(ConnectionResetError), socket.create_connection(("127.0.0.1", mesh.entry), timeout=kvmesh.DEADLINE) as s:
            assert s.recv(1) == b"", "for bytes it is tcp.idleTimeout"
    finally:
        http_server.stop()
        tcp_server.stop()


def test_2_8_7_a_connection_that_takes_too_long(out):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = []
        for _ in range(3):              # what does not fit into the queue is dropped by the kernel
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(("127.0.0.1", port))
        mesh = out(port, "tcp: { connectTimeout: 200ms }")
        r = mesh.get("out.example", "/late")
        assert r.status == 503 and "connection timeout" in r.text
        logged(mesh, "/late ", " 503 UF ")
        for s in waiting:
            s.close()


@pytest.mark.skipif(os.getuid() != 0, reason="network namespaces need root")
def test_2_8_4_passthrough_goes_where_the_caller_went(workdir):
    """Callers of 192.0.2.11 are captured; the service lists 192.0.2.10, and the rule says that it does not matter."""
    name, outbound = f"kvm-pass-{os.getpid()}-{kvmesh.free_port()}", kvmesh.free_port()
    inside, started = ["ip", "netns", "exec", name], []

    def ip(*args):
        subprocess.run(["ip", *args], check=True, capture_output=True)
    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "set", "lo", "up")
        for last in ("10", "11"):
            ip("-n", name, "addr", "add", f"192.0.2.{last}/32", "dev", "lo")
            (workdir / last).mkdir()
            (workdir / last / "who").write_text(last)
            started.append(kvmesh.Process([*inside, "/usr/bin/python3", "-m", "http.server", "80", "--bind", f"192.0.2.{last}",
                                           "--directory", workdir / last], workdir / f"{last}.log"))
        mesh = kvmesh.Mesh(workdir / "mesh", outbound_port=outbound)
        mesh.write("mesh.d/pass.yaml", """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: pass }
spec: { hosts: [ pass.example ], location: MESH_EXTERNAL, resolution: STATIC, addresses: [ 192.0.2.0/24 ],
  ports: [ { number: 80, name: http, protocol: HTTP } ], endpoints: [ { address: 192.0.2.10 } ] }
""")
        mesh.process = kvmesh.Process([*inside, kvmesh.tool("kvmeshctl"), "run", "--etc", mesh.etc, "--run", mesh.run,
                                       "--state", mesh.state], mesh.dir / "run.log")
        started.append(mesh.process)
        mesh.wait_ready()
        rules = f"meta skuid 65534 tcp dport 80 redirect to :{outbound}"
        subprocess.run([*inside, "nft", "-f", "-"], input=f"table ip t {{\nchain out {{\ntype nat hook output priority -100;\n{rules}\n}}\n}}\n",
                       text=True, check=True, capture_output=True)

        def who():
            return subprocess.run([*inside, "setpriv", "--reuid", "65534", "--clear-groups", "curl", "-sS", "-m", "30", "--resolve",
                                   "pass.example:80:192.0.2.11", "http://pass.example/who"], capture_output=True, text=True, timeout=60).stdout
        wait_for("the listed endpoint to answer", lambda: who() == "10")
        mesh.write("mesh.d/rule.yaml", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: pass }\n"
                   "spec: { host: pass.example, trafficPolicy: { loadBalancer: { simple: PASSTHROUGH } } }\n")
        mesh.ctl("config", "reload", "--wait", check=0)
        assert who() == "11"
    finally:
        for p in reversed(started):
            p.stop()
        ip("netns", "del", name)
