# SPDX-License-Identifier: Apache-2.0
"""Active health checks (Workload.probe): who fails is given no work, who recovers is given work again; what hostile or
broken services answer is bounded. No time is asserted: conditions are waited for."""

import concurrent.futures
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import pytest

import kvmesh
import pki
from kvmesh import wait_for
from server import Server


class Web(Server):
    """A web server that answers its name, and the probe as it is told: a status, or a function of the connection."""

    def __init__(self, name, health=200):
        self.name, self.health, self.seen = name, health, []
        super().__init__()

    def serve(self, connection):
        with connection, connection.makefile("rb") as f:
            while line := f.readline():
                if not line.endswith(b" HTTP/1.1\r\n"):
                    return
                path, fields = line.split()[1].decode(), {}
                while (field := f.readline().strip()):
                    key, value = field.decode(errors="replace").split(":", 1)
                    fields[key.lower()] = value.strip()
                if not path.startswith("/health"):
                    if path == "/slow":
                        time.sleep(2)
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(self.name), self.name.encode()))
                    continue
                self.seen.append((path, fields))
                if callable(self.health):
                    return self.health(connection)
                more = "location: http://127.0.0.1:1/\r\n" if self.health // 100 == 3 else ""
                connection.sendall(f"HTTP/1.1 {self.health} X\r\n{more}content-length: 2\r\n\r\nok".encode())


def workload(mesh, name, port, probe, app="web", more="", address="127.0.0.1"):
    mesh.write(f"workloads.d/{name}.conf", f"""
Workload = {{ name = "{name}"; address = "{address}"; labels = {{ app = "{app}"; }}; {more}
  ports = ( {{ name = "http"; number = {port}; protocol = "HTTP"; }} ); {f"probe = {{ {probe} }};" if probe else ""} }};
""")


def http_probe(port, more="", times="periodSeconds = 1; failureThreshold = 1;"):
    return f'httpGet = {{ path = "/health"; port = {port}; {more} }}; {times}'


@pytest.fixture
def world(workdir):
    """A mesh with the service "web"; what is appended to world.own is stopped."""
    mesh = kvmesh.Mesh(workdir / "mesh", "defaultConfig = { concurrency = 1; };")
    mesh.service("web", 80, "http")
    mesh.own = []
    yield mesh
    mesh.stop()
    for x in mesh.own:
        x.stop()


@pytest.fixture
def opened():
    """A directory that nobody can pass through, whatever other test runs do to theirs."""
    with tempfile.TemporaryDirectory(prefix="kvmesh-exec-", dir="/tmp") as d:
        os.chmod(d, 0o755)
        yield pathlib.Path(d)


def start(mesh, seconds=1, **health):
    """The named web servers, each probed every second, with so many seconds for an answer, out after one failure."""
    webs = {name: Web(name, h) for name, h in health.items()}
    for name, web in webs.items():
        mesh.own.append(web)
        workload(mesh, name, web.port,
                 http_probe(web.port, times=f"periodSeconds = 1; timeoutSeconds = {seconds}; failureThreshold = 1;"))
    mesh.start()
    return webs


def states(mesh):
    return {w["workload"]: w for w in mesh.call("router/router.sock", "Status")["parameters"]["workloads"]}


def state(mesh, name):
    return states(mesh)[name]["state"]


def wait_state(mesh, name, wanted):
    return wait_for(f"{name} to be {wanted}", lambda: state(mesh, name) == wanted)


def healths(mesh):
    d = mesh.call("proxy/node.sock", "Dump", {"what": "endpoints"})["parameters"]
    return {e["workload"]: e["health"] for e in d["endpoints"] if "|web." in e["cluster"]}


def wait_health(mesh, **wanted):
    return wait_for(f"{wanted}", lambda: all(healths(mesh)[k] == v for k, v in wanted.items()))


def answers(mesh, n=12):
    return {mesh.get("web").text for _ in range(n)}


def test_who_fails_is_given_no_work_until_it_recovers(world):
    webs = start(world, a=200, b=200)
    wait_health(world, a="HEALTHY", b="HEALTHY")
    wait_for("both", lambda: answers(world) == {"a", "b"})
    webs["b"].health = 500
    wait_health(world, b="INACTIVE")
    assert answers(world) == {"a"}
    row = states(world)["b"]
    assert row["state"] == "unhealthy" and row["out"] and row["probe"] == "http" and "status 500" in row["why"]
    assert "workload_unhealthy: default/b is given no work: http probe: status 500" in world.text()
    assert 'kvmesh_workload_available{proxy="node",workload="b.default"} 0' in wait_for(
        "metrics", lambda: "kvmesh_workload_available" in (t := world.metrics()) and t)
    out = world.ctl("proxy-config", "endpoints", "node").stdout
    assert any("UNHEALTHY" in line and "b" in line for line in out.splitlines()), out
    check = world.ctl("check")
    assert "1/2 watched workloads are given work" in check.stdout and "default/b" in check.stdout, check.stdout
    assert "1 of 2 workloads is out" in world.ctl("status").stdout
    webs["b"].health = 204
    wait_health(world, b="HEALTHY")
    wait_for("both", lambda: answers(world) == {"a", "b"})
    assert "workload_healthy: default/b is given work again" in world.text()


def test_2_8_9_all_out_is_503_UH_and_who_is_connected_goes_on(world):
    webs = start(world, a=200)
    wait_state(world, "a", "healthy")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(world.get, "web", "/slow")
        webs["a"].health = 503
        wait_health(world, a="INACTIVE")
        r = world.get("web")
        assert r.status == 503 and r.text == "no healthy upstream"
        assert under_way.result().text == "a", "what is under way ends as it would"


def test_2_8_14_an_unhealthy_workload_entry_is_no_endpoint(world):
    web = Web("a")
    world.own.append(web)
    entry = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{ name: {name}, labels: {{ app: web }} }}
spec: {{ address: 127.0.0.1, ports: {{ http: {port} }}, labels: {{ app: web }} }}
{status}
"""
    bad = 'status: { conditions: [ { type: Healthy, status: "False", reason: probe } ] }'
    world.write("mesh.d/a.yaml", entry.format(name="a", port=web.port, status=""))
    world.write("mesh.d/b.yaml", entry.format(name="b", port=kvmesh.free_port(), status=bad))
    world.start()
    assert sorted(healths(world).values()) == ["HEALTHY", "INACTIVE"]
    assert answers(world) == {"a"}


def test_thresholds_count_in_a_row(world):
    webs = {"a": Web("a"), "b": Web("b")}
    world.own += webs.values()
    workload(world, "a", webs["a"].port, "")
    workload(world, "b", webs["b"].port,
             http_probe(webs["b"].port, times="periodSeconds = 1; failureThreshold = 3; successThreshold = 2;"))
    world.start()
    b = webs["b"]
    wait_state(world, "b", "healthy")
    script = iter([500, 500, 200] + [500] * 3)

    def health(connection):
        b.script.append(next(script, 200))
        connection.sendall(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % b.script[-1])
    b.script, b.health = [], health
    wait_state(world, "b", "unhealthy")
    assert b.script[:6] == [500, 500, 200, 500, 500, 500], "two failures and a success are no three in a row"
    n = len(b.script)
    wait_state(world, "b", "healthy")
    assert len(b.script) >= n + 1 and b.script[-2:] == [200, 200]


def test_what_the_request_looks_like(world):
    web = Web("a")
    world.own.append(web)
    workload(world, "a", web.port, http_probe(
        web.port, 'httpHeaders = ( { name = "X-Probe"; value = "yes, it is"; }, { name = "Host"; value = "shop.example"; } );'))
    world.start()
    path, fields = wait_for("a probe", lambda: web.seen and web.seen[0])
    assert path == "/health" and fields["x-probe"] == "yes, it is" and fields["host"] == "shop.example"
    assert fields["user-agent"].startswith("kvmesh-probe/") and fields["connection"] == "close"


@pytest.mark.parametrize("status, healthy", [(200, True), (399, True), (302, True), (400, False), (500, False)])
def test_a_status_from_200_to_399_is_healthy_and_redirects_are_not_followed(world, status, healthy):
    start(world, a=status)
    wait_state(world, "a", "healthy" if healthy else "unhealthy")


def hang(connection):
    connection.recv(1)


def drip(connection):
    for b in b"HTTP/1.1 200 OK\r\nx-slow: " + b"a" * 10000:
        connection.sendall(bytes([b]))
        time.sleep(0.3)


def flood_body(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n")
    connection.sendall(b"x" * 104857600)


def flood_head(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(1 << 16):
        connection.sendall(b"x-more: " + b"y" * 1000 + b"\r\n")


def interim(connection):
    for _ in range(1 << 16):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


@pytest.mark.parametrize("answer, wanted", [
    (hang, "unhealthy"), (drip, "unhealthy"), (flood_body, "healthy"), (flood_head, "unhealthy"), (interim, "unhealthy"),
    (lambda c: c.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "unhealthy"), (lambda c: None, "unhealthy"),
    (lambda c: c.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), "healthy"),
], ids=["hangs", "a byte at a time", "100 MB body", "64 MB head", "100 forever", "no HTTP", "closes", "an early hint"])
def test_whatever_a_service_answers_is_bounded(world, answer, wanted):
    webs = start(world, good=200, odd=lambda c: quiet(answer, c))
    wait_state(world, "odd", wanted)
    wait_state(world, "good", "healthy")
    pid = prober(world)
    with open(f"/proc/{pid}/status") as f:
        rss = next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
    assert rss < (400 << 10 if b"__asan_init" in kvmesh.tool("kvmesh-probe").read_bytes() else 32 << 10), "KiB"
    assert webs["good"].seen
    world.assert_sound()


def quiet(fn, connection):
    try:
        fn(connection)
    except OSError:
        pass


def prober(mesh):
    """The process id of kvmesh-probe."""
    def find():
        for pid in os.listdir("/proc"):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    argv = f.read().split(b"\0")
            except OSError:
                continue
            if argv[0].endswith(b"/kvmesh-probe") and f"--run={mesh.run}".encode() in argv:
                return int(pid)
        return None
    return wait_for("kvmesh-probe", find)


def test_tcp(world):
    web = Web("a")
    world.own.append(web)
    closed = kvmesh.free_port()
    workload(world, "a", web.port, f"tcpSocket = {{ port = {web.port}; }}; periodSeconds = 1;")
    workload(world, "b", web.port, f'tcpSocket = {{ host = "localhost"; port = {closed}; }}; periodSeconds = 1;')
    world.start()
    wait_state(world, "a", "healthy")
    wait_state(world, "b", "unhealthy")
    assert "refused" in states(world)["b"]["why"]


def test_https_is_asked_without_judging_the_certificate(world, workdir):
    cert, key = pki.Authority(workdir / "pki").issue("probed.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    class Tls(Web):
        def serve(self, connection):
            try:
                super().serve(context.wrap_socket(connection, server_side=True))
            except (OSError, ssl.SSLError):
                pass
    web = Tls("a")
    world.own.append(web)
    workload(world, "a", web.port, http_probe(web.port, 'scheme = "HTTPS";'))
    plain = Web("b")
    world.own.append(plain)
    workload(world, "b", plain.port, http_probe(plain.port, 'scheme = "HTTPS";'))
    world.start()
    wait_state(world, "a", "healthy")
    assert web.seen
    wait_state(world, "b", "unhealthy")


def test_a_unix_socket(world, workdir):
    path = workdir / "app.sock"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
        s.listen()
        os.chmod(path, 0o777)

        def serve():
            while True:
                try:
                    c, _ = s.accept()
                except OSError:
                    return
                with c:
                    c.recv(4096)
                    c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        threading.Thread(target=serve, daemon=True).start()
        workload(world, "a", 80, http_probe(80), address=f"unix:{path}")
        world.start()
        wait_state(world, "a", "healthy")
        s.shutdown(socket.SHUT_RDWR)


def test_exec_without_shell_and_never_as_root(world, opened):
    seen = opened / "seen"
    seen.mkdir()
    seen.chmod(0o777)
    script = opened / "probe.py"
    script.write_text(f"""#!/usr/bin/python3
import os, sys
fds = os.listdir("/proc/self/fd")
open("{seen}/who", "w").write(repr((os.geteuid(), os.getgroups(), sys.argv[1:], sorted(os.environ), fds)))
sys.exit(int(sys.argv[1]))
""")
    script.chmod(0o755)
    web = Web("a")
    world.own.append(web)

    def probe(*argv):
        return f'exec = {{ command = [ {", ".join(f"{chr(34)}{a}{chr(34)}" for a in argv)} ]; }}; periodSeconds = 1; failureThreshold = 1;'
    workload(world, "good", web.port, probe("true"))
    workload(world, "bad", web.port, probe(script, "3", "$(id)"))
    workload(world, "none", web.port, probe("/no/such/program"))
    world.start()
    wait_state(world, "good", "healthy")
    wait_state(world, "bad", "unhealthy")
    wait_state(world, "none", "unhealthy")
    assert "exit status 3" in states(world)["bad"]["why"]
    uid, groups, argv, env, fds = eval((seen / "who").read_text())
    assert uid != 0 and 0 not in groups or os.geteuid() != 0
    assert argv == ["3", "$(id)"] and set(env) <= {"HOME", "LC_ALL", "LC_CTYPE", "PATH"} and len(fds) <= 4


def test_exec_that_hangs_is_ended_with_all_it_started(world, opened):
    seen = opened / "pids"
    seen.touch()
    seen.chmod(0o666)
    script = opened / "probe.sh"
    # one child in the group, one that leaves its session and its parent
    script.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! >>{seen}\nsetsid sh -c 'echo $$ >>{seen}; exec sleep 1000' &\nsleep 1000\n")
    script.chmod(0o755)
    web = Web("a")
    world.own.append(web)
    workload(world, "a", web.port, f'exec = {{ command = [ "{script}" ]; }}; periodSeconds = 1; timeoutSeconds = 1; failureThreshold = 1;')
    world.start()
    wait_state(world, "a", "unhealthy")
    assert "no answer within 1 s" in states(world)["a"]["why"]
    world.write("workloads.d/a.conf", "")
    wait_for("no probe", lambda: "a" not in states(world))
    pids = [int(p) for p in seen.read_text().split()]
    assert len(pids) >= 2
    wait_for("all of them to be gone", lambda: not [p for p in pids if running(p)])


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def test_grpc(world):
    grpc = pytest.importorskip("grpc", reason="python3-grpcio is not installed")
    served = {b"": 1, b"\x0a\x04shop": 2}       # HealthCheckRequest → ServingStatus
    asked = []

    def check(request, context):
        asked.append(request)
        if request not in served:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return bytes([1 << 3, served[request]])
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    plain = Web("x")
    world.own.append(plain)
    for name, to, service in (("all", port, ""), ("shop", port, 'service = "shop";'), ("none", port, 'service = "none";'),
                              ("http1", plain.port, "")):
        workload(world, name, plain.port, f"grpc = {{ port = {to}; {service} }}; periodSeconds = 1; failureThreshold = 1;")
    world.start()
    try:
        wait_state(world, "all", "healthy")
        wait_state(world, "shop", "unhealthy")
        wait_state(world, "none", "unhealthy")
        wait_state(world, "http1", "unhealthy")
        assert "NOT_SERVING" in states(world)["shop"]["why"] and "grpc-status 5" in states(world)["none"]["why"]
        served[b"\x0a\x04shop"] = 1
        wait_state(world, "shop", "healthy")
    finally:
        server.stop(None)


def test_flapping_costs_no_history_and_loses_no_request(world):
    webs = start(world, a=200, b=200)
    wait_state(world, "b", "healthy")

    def loads():
        """But for the one that the CA's first key of tokens brings at some moment of the start."""
        entries = world.call("router/router.sock", "History", {"limit": 100})["parameters"]["entries"]
        return len([e for e in entries if e["by"] != "keys of tokens"])
    history = loads()
    flaps = []
    webs["b"].health = lambda c: (flaps.append(1), c.sendall(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % (200 if len(flaps) % 2 else 500)))
    while len(flaps) < 6:
        assert world.get("web").status == 200
    assert loads() == history
    world.assert_sound()


def kill_child(mesh, name):
    for pid in os.listdir("/proc"):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                argv = f.read().split(b"\0")
        except OSError:
            continue
        if argv[0].endswith(f"/{name}".encode()) and f"--run={mesh.run}".encode() in argv:
            os.kill(int(pid), signal.SIGKILL)
            return int(pid)
    raise AssertionError(f"{name} does not run")


def test_what_was_known_survives_a_restart_of_router_and_prober(world):
    webs = start(world, seconds=600, a=200, b=500)
    wait_health(world, a="HEALTHY", b="INACTIVE")
    gate = threading.Event()
    for w in webs.values():                 # nobody is told anything new for now
        w.health = (lambda status: lambda c: (gate.wait(), c.sendall(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)))(w.health)
    kill_child(world, "kvmesh-probe")
    pid = kill_child(world, "kvmesh-router")
    new = wait_for("the router", lambda: (s := world.call("router/router.sock", "Status")["parameters"])["pid"] != pid and s)
    known = {w["workload"]: w["state"] for w in new["workloads"]}
    assert known["b"] == "unhealthy", "as last known"
    assert healths(world) == {"a": "HEALTHY", "b": "INACTIVE"} and answers(world) == {"a"}
    webs["b"].health = 200                  # the first result decides
    gate.set()
    wait_health(world, a="HEALTHY", b="HEALTHY")


def test_a_probe_that_goes_takes_its_verdict_along(world):
    webs = start(world, a=500)
    wait_health(world, a="INACTIVE")
    prober(world)
    workload(world, "a", webs["a"].port, "")
    wait_health(world, a="HEALTHY")
    assert "a" not in states(world) and answers(world) == {"a"}


def test_who_is_no_prober_is_not_heard(world):
    if os.geteuid() != 0:
        pytest.skip("needs another user")
    start(world, a=200)
    wait_state(world, "a", "healthy")
    script = f"""
import json, socket
s = socket.socket(socket.AF_UNIX); s.connect({str(world.run / "router/router.sock")!r})
s.sendall(json.dumps({{"method": "Probed", "parameters": {{"id": "default/a", "round": 1, "ok": False}}}}).encode() + b"\\0")
print(s.recv(65536))
"""
    r = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "/usr/bin/python3", "-c", script],
                       capture_output=True, text=True, timeout=kvmesh.DEADLINE)
    assert "NotPermitted" in r.stdout, r
    assert state(world, "a") == "healthy"


@pytest.mark.parametrize("probe, words", [
    ('httpGet = { port = 80; path = "health"; };', "must begin with /"),
    ('httpGet = { port = 80; scheme = "GOPHER"; };', "must be HTTP or HTTPS"),
    ('httpGet = { port = 80; host = "example.com"; };', "must be an IP address or localhost"),
    ('httpGet = { port = 80; httpHeaders = ( { name = "Connection"; value = "x"; } ); };', "cannot be sent"),
    ('httpGet = { port = 80; httpHeaders = ( { name = "X-A"; value = "a\\r\\nb: c"; } ); };', "cannot be sent"),
    ("exec = { command = [ ]; };", "command"),
    ("periodSeconds = 1;", "a probe needs"),
])
def test_a_probe_that_cannot_be_is_refused(world, probe, words):
    workload(world, "a", 8080, probe)
    r = world.ctl("analyze")
    assert r.returncode != 0 and words in r.stdout + r.stderr, r.stdout + r.stderr


def test_no_process_without_probes(world):
    web = Web("a")
    world.own.append(web)
    workload(world, "a", web.port, "")
    world.start()
    wait_for("its answers", lambda: answers(world, 2) == {"a"})
    with pytest.raises(AssertionError, match="does not run"):
        kill_child(world, "kvmesh-probe")
