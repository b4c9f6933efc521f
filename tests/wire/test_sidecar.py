# SPDX-License-Identifier: Apache-2.0
"""Sidecar, rules 2.15.6, 2.15.7 and 2.2.1 of Istio's semantics: what a workload sees, where its calls to the unknown go,
ports that the proxy opens for it, and where its application listens.

One mesh serves most: root calls as the workload tester of default, nobody as stranger of lab, daemon as clerk of data.
"""

import json
import os
import socket
import subprocess
import threading

import pytest

import kvmesh
from kvmesh import wait_for
from server import Server

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="callers are told apart by their users")

SIDECARS = """\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{ name: tester }}
spec:
  workloadSelector: {{ labels: {{ app: tester }} }}
  egress:
  - {{ port: {{ number: {tcp_door}, protocol: TCP, name: tcp }}, captureMode: NONE, hosts: [ data/* ] }}
  - {{ port: {{ number: {http_door}, protocol: HTTP, name: http }}, captureMode: NONE, hosts: [ "data/*" ] }}
  - {{ port: {{ number: {proxy_door}, protocol: HTTP_PROXY, name: proxy }}, bind: 127.0.0.2, captureMode: NONE, hosts: [ "data/*" ] }}
  - {{ hosts: [ "./app.default.svc.cluster.local", data/shop.example ] }}
  outboundTrafficPolicy: {{ mode: REGISTRY_ONLY }}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{ name: default, namespace: lab }}
spec: {{ egress: [ {{ hosts: [ "~/*" ] }} ], outboundTrafficPolicy: {{ mode: ALLOW_ANY }} }}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{ name: mesh, namespace: kvmesh-system }}
spec: {{ egress: [ {{ hosts: [ "*/app.default.svc.cluster.local", "istio-system/*" ] }} ] }}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{ name: behind }}
spec:
  workloadSelector: {{ labels: {{ app: behind }} }}
  ingress:
  - {{ port: {{ number: {behind}, protocol: HTTP, name: http }}, defaultEndpoint: "unix://{socket}" }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: shop, namespace: data }}
spec: {{ hosts: [ shop.example, second.example ], http: [ {{ route: [ {{ destination: {{ host: hidden.lab.svc.cluster.local }} }} ] }} ] }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: app, namespace: lab }}
spec: {{ hosts: [ app.default.svc.cluster.local ], http: [ {{ directResponse: {{ status: 200, body: {{ string: "of lab" }} }} }} ] }}
"""


class Line(Server):
    """Says who it is, on every connection."""

    def __init__(self, name):
        self.name = name
        super().__init__()

    def serve(self, connection):
        with connection:
            connection.sendall(self.name.encode() + b"\n")


class Scene:
    def __init__(self, directory):
        self.app, self.hidden = kvmesh.Nginx(directory, "app"), kvmesh.Nginx(directory, "hidden")
        self.socket = directory / "behind.sock"
        self.behind = kvmesh.Nginx(directory, "behind", extra=f"listen unix:{self.socket};")
        self.line = Line("bytes of data")
        self.ports = {k: kvmesh.free_port() for k in ("tcp_door", "http_door", "proxy_door", "behind")}
        m = self.mesh = kvmesh.Mesh(directory / "mesh", 'accessLogFile = "/dev/stdout";')
        m.workload("app", self.app.port)
        m.workload("behind", self.ports["behind"])
        m.workload("hidden", self.hidden.port, namespace="lab")
        m.workload("line", self.line.port, namespace="data", protocol="TCP")
        m.workload("web", self.hidden.port, namespace="data")
        m.service("app", 80, "http")
        m.service("behind", 80, "http")
        m.service("hidden", 80, "http", namespace="lab")
        m.service("line", self.ports["tcp_door"], "tcp", protocol="TCP", namespace="data")
        m.service("web", self.ports["http_door"], "http", namespace="data")
        m.workload("tester", kvmesh.free_port(), user="root")
        m.workload("stranger", kvmesh.free_port(), namespace="lab", user="nobody")
        m.workload("clerk", kvmesh.free_port(), namespace="data", user="daemon")
        m.write("mesh.d/50-sidecars.yaml", SIDECARS.format(**self.ports, socket=self.socket))

    def start(self):
        self.mesh.start()
        return self

    def as_user(self, user, host, path="/", door=None):
        """(status, body) of a request by that user's workload."""
        address = door or f"127.0.0.1:{self.mesh.http_port}"
        r = subprocess.run(["curl", "-sS", "-w", "\n%{http_code}", "-H", f"Host: {host}", f"http://{address}{path}"],
                           capture_output=True, text=True, user=user, timeout=kvmesh.DEADLINE, cwd="/")
        body, _, status = r.stdout.rpartition("\n")
        return int(status), body.strip()

    def log(self, path, side="outbound|"):
        line = wait_for(f"log line of {path}", lambda: next(
            (x for x in self.mesh.text().splitlines() if f" {path} HTTP" in x and side in x), None))
        return line.split('" ', 1)[1].split()[:3]

    def view(self, name):
        d = self.mesh.call("proxy/node.sock", "Dump", {"what": "snapshot"})["parameters"]
        snap = d.get("snapshot", d)
        return snap, next(v for v in snap["views"] if v["name"] == name)

    def close(self):
        self.mesh.stop()
        for s in (self.app, self.hidden, self.behind, self.line):
            s.stop()


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sidecar")
    for p in [directory, *directory.parents]:
        if str(p).startswith("/tmp/"):
            p.chmod(p.stat().st_mode | 0o055)
    s = Scene(directory)
    try:
        yield s.start()
    finally:
        s.close()


# ---- which one, and what it lets see -----------------------------------------------------------------------------

def test_2_15_7_the_one_that_selects_the_workload_decides(scene):
    assert scene.as_user("root", "app") == (200, "app")
    assert scene.as_user("root", "behind")[0] == 502, "of its own namespace, but not listed"


def test_2_15_7_tilde_is_nothing(scene):
    assert scene.as_user("nobody", "hidden", "/tilde")[0] == 503, "not even what is its own: a name that nobody knows"
    assert scene.log("/tilde", "PassthroughCluster")[:2] == ["503", "DF"]


def test_2_15_7_the_roots_default_is_for_namespaces_without_one(scene):
    assert scene.as_user("daemon", "app.default") == (200, "of lab"), "*/ takes in every namespace's VirtualServices"
    assert scene.as_user("daemon", "web", "/roots")[0] == 503


def test_2_2_1_a_virtual_service_is_whole_when_one_of_its_hosts_is_listed(scene):
    assert scene.as_user("root", "shop.example") == (200, "hidden"), "also where its destination is not listed"
    assert scene.as_user("root", "second.example") == (200, "hidden")


def test_2_2_1_one_of_a_namespace_that_is_not_listed_is_not_in_force(scene):
    assert scene.as_user("root", "app.default") == (200, "app"), "the VirtualService of lab is not"


def test_2_15_7_a_port_of_its_own_is_not_the_catch_alls(scene):
    door = f"web.data.svc.cluster.local:{scene.ports['http_door']}"
    assert scene.as_user("root", door) == (200, "hidden"), "through the explicit entry as well"
    assert scene.as_user("daemon", door)[0] == 503


# ---- what a proxy gets --------------------------------------------------------------------------------------------

def hosts(view):
    return {h["name"] for h in view["vhosts"]}


def test_2_15_7_a_view_holds_what_its_callers_see_and_no_more(scene):
    _, view = scene.view("default by tester.default")
    assert hosts(view) == {"app.default.svc.cluster.local:80", "shop.example:80", "second.example:80", "block_all",
                           f"web.data.svc.cluster.local:{scene.ports['http_door']}"}
    _, view = scene.view("lab by default.lab")
    assert hosts(view) == {"allow_any"} and not view.get("l4")


def test_2_15_7_clusters_that_nobody_sees_do_not_travel(workdir):
    mesh = kvmesh.Mesh(workdir / "mesh")
    text = (mesh.etc / "kvmesh.conf").read_text()
    mesh.write("kvmesh.conf", text.replace('node = {', 'node = { unregisteredCallers = "refuse";'))
    mesh.workload("web", kvmesh.free_port(), user="nobody")
    mesh.write("mesh.d/many.yaml", "---\n".join(f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: out-{i}, namespace: n{i % 10} }}
spec: {{ hosts: [ out-{i}.example ], location: MESH_EXTERNAL, resolution: STATIC, ports: [ {{ number: 80, name: http, protocol: HTTP }} ],
  endpoints: [ {{ address: 192.0.2.1 }}, {{ address: 192.0.2.2 }} ] }}
""" for i in range(500)))
    def names():
        rows = mesh.ctl_json("proxy-config", "clusters")
        return [r for r in rows if "example" in json.dumps(r)], len(json.dumps(mesh.call(
            "proxy/node.sock", "Dump", {"what": "snapshot"})))
    try:
        mesh.start()
        every, before = names()
        assert len(every) == 500
        mesh.write("mesh.d/scope.yaml", """\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: default }
spec: { egress: [ { hosts: [ "n3/*", "*/out-1.example" ] } ] }
""")
        mesh.ctl("config", "reload", "--wait", check=0)
        left, after = names()
        assert len(left) == 51
        print(f"snapshot of {before} bytes before, {after} with the Sidecar")
        assert after < before / 5
    finally:
        mesh.stop()


# ---- the unknown --------------------------------------------------------------------------------------------------

def test_2_15_6_the_workloads_sidecar_before_the_mesh(scene):
    assert scene.as_user("root", f"127.0.0.1:{scene.app.port}", "/unknown")[0] == 502
    assert scene.log("/unknown", "block_all") == ["502", "-", "direct_response"]


def test_2_15_6_the_namespaces_sidecar_allows(scene):
    assert scene.as_user("nobody", f"127.0.0.1:{scene.app.port}") == (200, "app")


# ---- doors --------------------------------------------------------------------------------------------------------

def first_line(port):
    with socket.create_connection(("127.0.0.1", port), timeout=kvmesh.DEADLINE) as s:
        return s.makefile("rb").readline()


def test_2_15_7_a_listener_without_capture_is_opened_for_tcp(scene):
    assert first_line(scene.ports["tcp_door"]) == b"bytes of data\n"


def test_2_15_7_a_listener_without_capture_is_opened_for_http(scene):
    door = f"127.0.0.1:{scene.ports['http_door']}"
    assert scene.as_user("root", "web.data", door=door) == (200, "hidden"), "the port is the listener's"
    assert scene.as_user("root", "app", door=door)[0] == 502, "and no other service is behind it"


def test_2_15_7_an_http_proxy_listener_serves_every_port(scene):
    door = f"127.0.0.2:{scene.ports['proxy_door']}"
    assert scene.as_user("root", "app", door=door) == (200, "app")


def test_2_15_7_who_does_not_see_the_service_gets_no_byte(scene):
    r = subprocess.run(["curl", "-sS", "--max-time", "20", f"telnet://127.0.0.1:{scene.ports['tcp_door']}"],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, user="nobody", cwd="/")
    assert "bytes" not in r.stdout


# ---- ingress ------------------------------------------------------------------------------------------------------

def test_2_15_7_the_application_listens_at_default_endpoint(scene):
    """By the workload daemon, which sees it through no Sidecar: through a mesh of its own."""
    scene.mesh.write("mesh.d/60-behind.yaml", """\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: clerk, namespace: data }
spec: { workloadSelector: { labels: { app: clerk } }, egress: [ { hosts: [ "default/*" ] } ] }
""")
    scene.mesh.ctl("config", "reload", "--wait", check=0)
    assert scene.as_user("daemon", "behind.default") == (200, "behind"), "nothing listens on the workload's own port"


def test_2_15_7_a_bound_listener_is_opened_for_the_workload(workdir):
    app, door = kvmesh.Nginx(workdir, "app"), kvmesh.free_port()
    mesh = kvmesh.Mesh(workdir / "mesh")
    mesh.workload("app", door)
    mesh.service("app", 80, "http")
    text = f"""\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{ name: app }}
spec:
  workloadSelector: {{ labels: {{ app: app }} }}
  ingress: [ {{ port: {{ number: {door}, protocol: HTTP, name: http }}, bind: 127.0.0.1, captureMode: NONE, defaultEndpoint: "127.0.0.1:{app.port}" }} ]
"""
    mesh.write("mesh.d/sidecar.yaml", text)

    def direct():
        r = subprocess.run(["curl", "-sS", f"http://127.0.0.1:{door}/"], capture_output=True, text=True, timeout=kvmesh.DEADLINE)
        return r.stdout
    try:
        mesh.start()
        assert direct() == "app\n" and mesh.get("app").text == "app\n"
        mesh.write("mesh.d/strict.yaml", """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default }
spec: { mtls: { mode: STRICT } }
""")
        mesh.ctl("config", "reload", "--wait", check=0)
        assert direct() == "" and mesh.get("app").text == "app\n", "plain text gets no byte, mTLS goes on"
        mesh.write("mesh.d/sidecar.yaml", text.replace(f'"127.0.0.1:{app.port}"', f'"127.0.0.1:{door}"'))
        r = mesh.ctl("config", "reload", "--wait", check=78)
        assert "a listener of the proxy itself" in r.stdout + r.stderr, "no way round in circles"
    finally:
        mesh.stop()
        app.stop()


LIMITED = """\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: app }
spec:
  workloadSelector: { labels: { app: app } }
  inboundConnectionPool: { http: { http2MaxRequests: 1 } }
"""


class Slow(Server):
    """Answers when it may."""

    def __init__(self):
        self.may, self.n = threading.Event(), 0
        super().__init__()

    def serve(self, connection):
        with connection:
            if not connection.recv(65536):
                return
            self.n += 1
            self.may.wait(kvmesh.DEADLINE)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")


def test_2_15_7_an_inbound_pool_limits_what_the_application_gets(workdir):
    mesh, slow = kvmesh.Mesh(workdir / "mesh", 'accessLogFile = "/dev/stdout";'), Slow()
    mesh.workload("app", slow.port)
    mesh.service("app", 80, "http")
    mesh.write("mesh.d/limits.yaml", LIMITED)
    got = []
    first = threading.Thread(target=lambda: got.append(mesh.get("app", "/first").status))
    try:
        mesh.start()
        first.start()
        wait_for("the first request at the application", lambda: slow.n == 1)
        r = mesh.get("app", "/second", headers={"x-envoy-max-retries": "0"})
        assert r.status == 503 and "overflow" in r.text
        line = wait_for("its line", lambda: next((x for x in mesh.text().splitlines() if " /second HTTP" in x and "inbound|" in x), None))
        assert line.split('" ', 1)[1].split()[:2] == ["503", "UO"]
        slow.may.set()
        first.join(kvmesh.DEADLINE)
        assert got == [200] and mesh.get("app", "/third").status == 200
    finally:
        slow.may.set()
        mesh.stop()
        slow.stop()
