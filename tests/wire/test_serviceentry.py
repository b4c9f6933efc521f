# SPDX-License-Identifier: Apache-2.0
"""ServiceEntry and WorkloadEntry (rules 2.15.1 to 2.15.5): endpoints, their ports and labels, several entries of one host,
who sees them, unix: addresses, and the names that a server must prove. Names to resolve: test_dns.py, test_egress.py."""

import os
import shutil
import socket

import pytest

import kvmesh
from kvmesh import wait_for
from outside import TlsNginx
from pki import Authority
from server import Server

ENTRIES = []


def entry(name, hosts, spec, namespace="default"):
    ENTRIES.append(f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: {name}, namespace: {namespace} }}
spec:
  hosts: [ {hosts} ]
{spec}
""")


def workload_entry(name, labels, spec, namespace="default"):
    ENTRIES.append(f"""\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{ name: {name}, namespace: {namespace} }}
spec: {{ labels: {{ {labels} }}, {spec} }}
""")


HTTP = "ports: [ { number: 80, name: http, protocol: HTTP } ]"


class Line(Server):
    def serve(self, connection):
        with connection:
            connection.sendall(b"bytes\n")


class Scene:
    def __init__(self, directory):
        self.dir = directory
        self.socket, self.other = directory / "app.sock", directory / "other.sock"
        self.a = kvmesh.Nginx(directory, "a", extra=f"listen unix:{self.socket};")
        self.b = kvmesh.Nginx(directory, "b", extra=f"listen unix:{self.other};")
        self.line = Line()
        self.tcp_door = kvmesh.free_port()
        m = self.mesh = kvmesh.Mesh(directory / "mesh", 'accessLogFile = "/dev/stdout";')
        values = {"a": self.a.port, "b": self.b.port, "socket": self.socket, "other": self.other, "dir": directory,
                  "line": self.line.port, "door": self.tcp_door}
        text = "---\n".join(ENTRIES)
        for k, v in values.items():
            text = text.replace(f"<{k}>", str(v))
        m.write("mesh.d/entries.yaml", text)

    def start(self):
        self.mesh.start()
        return self

    def names(self, host, n=40):
        """Who answers n requests."""
        return {self.mesh.get(host).text.strip() for _ in range(n)}

    def log(self, path):
        line = wait_for(f"log line of {path}", lambda: next(
            (x for x in self.mesh.text().splitlines() if f" {path} HTTP" in x), None))
        return line.split('" ', 1)[1].split()[:3], line

    def close(self):
        self.mesh.stop()
        for s in (self.a, self.b, self.line):
            s.stop()


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    s = Scene(tmp_path_factory.mktemp("entries"))
    try:
        yield s.start()
    finally:
        s.close()


# ---- endpoints and ports -------------------------------------------------------------------------------------------

entry("static", "static.example", f"""\
  resolution: STATIC
  {HTTP}
  endpoints: [ {{ address: 127.0.0.1, ports: {{ http: <a> }} }}, {{ address: 127.0.0.1, ports: {{ http: <b> }} }} ]""")


def test_2_15_1_static_uses_every_endpoint(scene):
    assert scene.names("static.example") == {"a", "b"}


entry("target", "target.example", """\
  resolution: STATIC
  ports: [ { number: 80, name: http, protocol: HTTP, targetPort: <a> }, { number: 81, name: more, protocol: HTTP, targetPort: 1 },
           { number: <b>, name: plain, protocol: HTTP } ]
  endpoints: [ { address: 127.0.0.1, ports: { more: <b> } } ]""")


def test_2_15_3_the_endpoints_port_then_target_port_then_the_ports_own(scene):
    assert scene.names("target.example", 3) == {"a"}
    assert scene.names("target.example:81", 3) == {"b"}
    assert scene.names(f"target.example:{scene.b.port}", 3) == {"b"}


entry("wild", '"*.wild.example"', f"""\
  resolution: STATIC
  {HTTP}
  endpoints: [ {{ address: 127.0.0.1, ports: {{ http: <a> }} }} ]""")
entry("narrow", "exact.wild.example", f"""\
  resolution: STATIC
  {HTTP}
  endpoints: [ {{ address: 127.0.0.1, ports: {{ http: <b> }} }} ]""")


def test_2_15_2_http_is_told_by_its_host(scene):
    assert scene.mesh.get("x.wild.example").text == "a\n" and scene.mesh.get("exact.wild.example").text == "b\n"
    assert scene.mesh.get("wild.example").status == 503


entry("line", "line.example", """\
  addresses: [ 192.0.2.77 ]
  resolution: STATIC
  ports: [ { number: <door>, name: tcp, protocol: TCP } ]
  endpoints: [ { address: 127.0.0.1, ports: { tcp: <line> } } ]""")
ENTRIES.append("""\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: default }
spec: { egress: [ { port: { number: <door>, protocol: TCP, name: tcp }, captureMode: NONE, hosts: [ ./line.example ] },
                  { hosts: [ "*/*" ] } ] }
""")


def test_2_15_2_bytes_by_the_port(scene):
    with socket.create_connection(("127.0.0.1", scene.tcp_door), timeout=kvmesh.DEADLINE) as s:
        assert s.makefile("rb").readline() == b"bytes\n"


# ---- WorkloadEntries -------------------------------------------------------------------------------------------------

workload_entry("one", "app: picked, version: v1", "address: 127.0.0.1, ports: { http: <a> }")
workload_entry("two", "app: picked, version: v2", "address: 127.0.0.1, ports: { http: <b> }")
workload_entry("elsewhere", "app: picked, version: v2", "address: 192.0.2.1", namespace="lab")
workload_entry("another", "app: other, version: v2", "address: 192.0.2.2")
entry("picked", "picked.internal", f"""\
  location: MESH_INTERNAL
  resolution: STATIC
  {HTTP}
  workloadSelector: {{ labels: {{ app: picked }} }}""")
ENTRIES.append("""\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: picked }
spec: { host: picked.internal, subsets: [ { name: v2, labels: { version: v2 } } ] }
""")
ENTRIES.append("""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: picked }
spec: { hosts: [ second.internal ], http: [ { route: [ { destination: { host: picked.internal, subset: v2 } } ] } ] }
""")


def test_2_15_4_a_selector_picks_entries_of_its_namespace(scene):
    assert scene.names("picked.internal") == {"a", "b"}


def test_2_15_4_their_labels_make_subsets(scene):
    assert scene.names("second.internal", 20) == {"b"}


# ---- several entries of one host, and who sees them ---------------------------------------------------------------------

entry("first", "shared.example", f"""\
  resolution: STATIC
  {HTTP}
  endpoints: [ {{ address: 127.0.0.1, ports: {{ http: <a> }} }} ]""")
entry("second", "shared.example", """\
  resolution: STATIC
  ports: [ { number: 80, name: web, protocol: HTTP }, { number: 81, name: more, protocol: HTTP } ]
  endpoints: [ { address: 127.0.0.1, ports: { web: <b>, more: <b> } } ]""", namespace="lab")
entry("first", "partly.example", f"""\
  resolution: STATIC
  {HTTP}
  endpoints: [ {{ address: 127.0.0.1, ports: {{ http: <a> }} }} ]""", namespace="other")
entry("private", "partly.example", """\
  resolution: STATIC
  ports: [ { number: 80, name: web, protocol: HTTP }, { number: 81, name: more, protocol: HTTP } ]
  endpoints: [ { address: 127.0.0.1, ports: { web: <b>, more: <b> } } ]
  exportTo: [ "." ]""", namespace="lab")
entry("nobody", "nobody.example", f"""\
  resolution: STATIC
  {HTTP}
  endpoints: [ {{ address: 127.0.0.1, ports: {{ http: <a> }} }} ]
  exportTo: [ "~" ]""")


def test_2_15_5_ports_and_endpoints_of_one_host_come_together(scene):
    assert scene.names("shared.example") == {"a", "b"} and scene.names("shared.example:81", 3) == {"b"}


def test_2_1_6_an_entry_that_is_not_exported_adds_nothing(scene):
    assert scene.names("partly.example") == {"a"}
    assert scene.mesh.get("partly.example:81").status == 503
    assert scene.mesh.get("nobody.example").status == 503


# ---- unix: ----------------------------------------------------------------------------------------------------------------

entry("unix", "unix.example", f"""\
  resolution: STATIC
  {HTTP}
  endpoints: [ {{ address: "unix://<socket>" }} ]""")
workload_entry("socket", "app: socket", 'address: "unix://<other>"')
entry("socket", "socket.internal", f"""\
  location: MESH_INTERNAL
  resolution: STATIC
  {HTTP}
  workloadSelector: {{ labels: {{ app: socket }} }}""")
entry("gone", "gone.example", f"""\
  resolution: STATIC
  {HTTP}
  endpoints: [ {{ address: "unix://<dir>/gone.sock" }} ]""")


def test_2_15_1_an_endpoint_may_be_a_unix_socket(scene):
    assert scene.names("unix.example", 5) == {"a"} and scene.names("socket.internal", 5) == {"b"}
    r = scene.mesh.get("unix.example", "/unix-line", method="POST", body=b"x" * 100000)
    assert r.status == 200 and f"unix:{scene.socket}" in scene.log("/unix-line")[1]


def test_a_unix_socket_that_is_not_there_is_503_UF(scene):
    r = scene.mesh.get("gone.example", "/gone")
    assert r.status == 503 and "connection failure" in r.text
    words, line = scene.log("/gone")
    assert words[:2] == ["503", "UF,URX"] and "No such file or directory" in line and "gone.sock" in line


@pytest.mark.skipif(os.getuid() != 0, reason="another user is needed")
def test_a_unix_socket_that_the_proxy_may_not_use_is_503_UF(workdir):
    home = workdir / "home"
    home.mkdir()
    mesh = kvmesh.Mesh(home / "mesh", 'accessLogFile = "/dev/stdout";')
    app = kvmesh.Nginx(workdir, "app", extra=f"listen unix:{workdir}/app.sock;")
    wait_for("the socket", lambda: (workdir / "app.sock").exists())
    (workdir / "app.sock").chmod(0o600)
    mesh.write("mesh.d/out.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: out }}
spec: {{ hosts: [ out.example ], resolution: STATIC, {HTTP}, endpoints: [ {{ address: "unix://{workdir}/app.sock" }} ] }}
""")
    for path in [home, *home.rglob("*")]:
        shutil.chown(path, "nobody")
    try:
        mesh.process = kvmesh.Process([kvmesh.tool("kvmeshctl"), "run", "--etc", mesh.etc, "--run", mesh.run,
                                       "--state", mesh.state], workdir / "run.log", user="nobody", cwd="/")
        mesh.wait_ready()
        assert mesh.get("out.example", "/refused").status == 503
        line = wait_for("its line", lambda: next((x for x in mesh.text().splitlines() if " /refused HTTP" in x), None))
        assert " 503 UF,URX " in line and "Permission denied" in line
        (workdir / "app.sock").chmod(0o666)
        wait_for("an answer", lambda: mesh.get("out.example").status == 200)
    finally:
        mesh.stop()
        app.stop()


# ---- names that a server must prove ------------------------------------------------------------------------------------------

def test_2_9_3_subject_alt_names_are_what_the_server_must_prove(workdir):
    ca = Authority(workdir / "ca")
    server = TlsNginx(workdir, "shop.example", ca, "DNS:shop.example", "DNS:tills.example")
    mesh = kvmesh.Mesh(workdir / "mesh")
    for name, san in (("right", "tills.example"), ("wrong", "other.example")):
        mesh.write(f"mesh.d/{name}.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: {name} }}
spec: {{ hosts: [ {name}.example ], resolution: STATIC, ports: [ {{ number: 80, name: http, protocol: HTTP, targetPort: {server.port} }} ],
  endpoints: [ {{ address: 127.0.0.1 }} ], subjectAltNames: [ {san} ] }}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: {name} }}
spec: {{ host: {name}.example, trafficPolicy: {{ tls: {{ mode: SIMPLE, caCertificates: {ca.crt} }} }} }}
""")
    try:
        mesh.start()
        assert mesh.get("right.example").status == 200
        assert mesh.get("wrong.example").status == 503
    finally:
        mesh.stop()
        server.stop()
