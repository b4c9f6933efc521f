# SPDX-License-Identifier: Apache-2.0
"""DestinationRule.proxyProtocol: whose connection it is, told to services outside the mesh; HAProxy's specification."""

import http.client
import socket
import struct
import threading

import pytest

import kvmesh
import pki
from kvmesh import wait_for
from server import Server

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class Receiver(Server):
    """Reads a PROXY header of either version, then echoes bytes, or answers HTTP requests with it."""

    def __init__(self, http):
        self.http = http
        self.seen = []                  # one (command, source, destination) for each connection
        self.first = []                 # the bytes of each header
        super().__init__()

    @staticmethod
    def header(f):
        start = f.read(12)
        if start != SIGNATURE:
            line = start + f.readline()
            words = line.decode().split()
            assert line.endswith(b"\r\n") and words[0] == "PROXY", line
            if words[1] == "UNKNOWN":
                return line, ("LOCAL", None, None)
            return line, (words[1], (words[2], int(words[4])), (words[3], int(words[5])))
        fixed = f.read(4)
        rest = f.read(struct.unpack(">H", fixed[2:])[0])
        assert fixed[0] in (0x20, 0x21)
        if fixed[0] == 0x20:
            return start + fixed + rest, ("LOCAL", None, None)
        assert fixed[1] == 0x11 and len(rest) == 12
        a, b, x, y = struct.unpack(">4s4sHH", rest)
        return start + fixed + rest, ("TCP4", (socket.inet_ntoa(a), x), (socket.inet_ntoa(b), y))

    def serve(self, connection):
        with connection, connection.makefile("rb") as f:
            raw, told = self.header(f)
            self.first.append(raw)
            self.seen.append(told)
            if not self.http:
                while piece := f.read1(65536):
                    connection.sendall(piece)
                return
            while line := f.readline():
                if line == b"\r\n":
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")


OUTSIDE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: {name} }}
spec: {{ hosts: [ {name}.example ], location: MESH_EXTERNAL, resolution: STATIC,
  ports: [ {{ number: 80, name: http, protocol: HTTP }} ], endpoints: [ {{ address: 127.0.0.1, ports: {{ http: {port} }} }} ] }}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: {name} }}
spec: {{ host: {name}.example, trafficPolicy: {{ proxyProtocol: {{ version: {version} }}{more} }} }}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    d = tmp_path_factory.mktemp("proxy-protocol")
    d.chmod(0o755)
    ca = pki.Authority(d / "ca")
    crt, key = ca.issue("server", "DNS:secure.example")
    for p in (d / "ca", *(d / "ca").iterdir()):
        p.chmod(0o755)
    secure, told = kvmesh.free_port(), kvmesh.free_port()
    answer = 'location / { default_type text/plain; return 200 "$proxy_protocol_addr:$proxy_protocol_port>$proxy_protocol_server_port\\n"; }'
    nginx = kvmesh.Nginx(d, "n", extra=f"}} server {{ listen 127.0.0.1:{told} proxy_protocol; {answer} }} server {{ "
                         f"listen 127.0.0.1:{secure} ssl proxy_protocol; ssl_certificate {crt}; ssl_certificate_key {key}; {answer} ")
    servers = {"one": Receiver(True), "two": Receiver(True), "tcp": Receiver(False)}
    mesh = kvmesh.Mesh(d / "mesh", "defaultConfig = { concurrency = 1; };")
    for name, version in (("one", "V1"), ("two", "V2")):
        mesh.write(f"mesh.d/{name}.yaml", OUTSIDE.format(name=name, port=servers[name].port, version=version, more=""))
    mesh.write("mesh.d/told.yaml", OUTSIDE.format(name="told", port=told, version="V2", more=""))
    mesh.write("mesh.d/secure.yaml", OUTSIDE.format(
        name="secure", port=secure, version="V1", more=f", tls: {{ mode: SIMPLE, caCertificates: {ca.crt}, sni: secure.example }}"))
    entry = kvmesh.free_port()
    mesh.service("tcp", 9000, "tcp", protocol="TCP", listen=f"127.0.0.1:{entry}")
    mesh.write("mesh.d/tcp.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{ name: tcp }}
spec: {{ address: 127.0.0.1, labels: {{ app: tcp }}, ports: {{ tcp: {servers["tcp"].port} }} }}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: tcp }}
spec: {{ host: tcp, trafficPolicy: {{ proxyProtocol: {{ version: V2 }} }} }}
""")
    mesh.workload("meshed", nginx.port)
    mesh.service("meshed", 80, "http")
    mesh.write("mesh.d/meshed.yaml", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: meshed }\n"
               "spec: { host: meshed, trafficPolicy: { proxyProtocol: {} } }\n")
    mesh.start()
    mesh.servers, mesh.entry = servers, entry
    yield mesh
    for x in (mesh, nginx, *servers.values()):
        x.stop()


def ask(c, host):
    c.request("GET", "/", headers={"Host": host})
    r = c.getresponse()
    return r.status, r.read().decode()


@pytest.mark.parametrize("name,sort", [("one", b"PROXY TCP4 "), ("two", SIGNATURE)])
def test_http(world, name, sort):
    c = world.connect()
    assert ask(c, f"{name}.example")[0] == 200
    server = world.servers[name]
    assert server.first[-1].startswith(sort)
    assert server.seen[-1] == ("TCP4", c.sock.getsockname(), ("127.0.0.1", world.http_port))
    c.close()


def test_a_connection_is_one_clients_alone(world):
    server = world.servers["one"]
    before = len(server.seen)
    a, b = world.connect(), world.connect()
    for _ in range(3):
        assert ask(a, "one.example")[0] == ask(b, "one.example")[0] == 200
    sources = [source for _, source, _ in server.seen[before:]]
    assert sorted(sources) == sorted([a.sock.getsockname(), b.sock.getsockname()]), "one for each, used again by it"
    a.close(), b.close()


def test_tcp(world):
    with socket.create_connection(("127.0.0.1", world.entry), timeout=kvmesh.DEADLINE) as s:
        server = world.servers["tcp"]
        wait_for("the header, before the client says a word", lambda: server.seen)
        assert server.seen[-1] == ("TCP4", s.getsockname(), ("127.0.0.1", world.entry))
        s.sendall(b"hello")
        assert s.recv(5) == b"hello"


@pytest.mark.parametrize("host", ["told.example", "secure.example"])
def test_nginx_takes_it_in_the_clear_and_before_tls(world, host):
    c = world.connect()
    status, text = ask(c, host)
    address, port = c.sock.getsockname()
    assert (status, text) == (200, f"{address}:{port}>{world.http_port}\n")
    c.close()


def test_endpoints_of_the_mesh_get_none(world):
    assert world.get("meshed").status == 200


def test_a_copy_has_no_client(world):
    world.write("mesh.d/vs.yaml", """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: one }
spec: { hosts: [ one.example ], http: [ { route: [ { destination: { host: one.example } } ], mirror: { host: two.example } } ] }
""")
    world.ctl("config", "reload", "--wait", check=0)
    two = world.servers["two"]
    before = len(two.seen)
    assert world.get("one.example").status == 200
    wait_for("the copy", lambda: len(two.seen) > before)
    assert two.seen[-1] == ("LOCAL", None, None)


def test_many_clients_leave_no_connections_behind(world):
    def served():
        return {t for t in threading.enumerate() if "serve" in t.name}
    others = served()                   # of other tests of this process
    for _ in range(30):
        assert world.get("one.example").status == 200
    wait_for("the idle ones to go", lambda: len(served() - others) <= 8)
