# SPDX-License-Identifier: Apache-2.0
"""DestinationRule.tunnel: TCP through an HTTP proxy that is asked by CONNECT, in the clear and by TLS."""

import contextlib
import socket
import ssl

import pytest

import kvmesh
import pki
from kvmesh import wait_for
from server import Server


class Echo(Server):
    def serve(self, connection):
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"220 hello\n")
            while piece := connection.recv(65536):
                connection.sendall(piece)
            connection.sendall(b"bye")


class Proxy(Server):
    """CONNECT NAME:PORT leads to where self.to says; mode: how it answers."""

    def __init__(self, to, context=None):
        self.to, self.context, self.asked, self.mode = to, context, [], "fine"
        super().__init__()

    def serve(self, connection):
        with contextlib.suppress(OSError, ssl.SSLError):
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            with connection:
                self.talk(connection)

    def talk(self, connection):
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1)
        self.asked.append(head.decode())
        if self.mode == "close":
            return
        if self.mode == "endless":
            with contextlib.suppress(OSError):
                while True:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 65536)
        if self.mode == "refuse":
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", self.to)) as on:
            # the server's first words come in one piece with the head
            connection.sendall(b"HTTP/1.1 200 Connection established\r\nContent-Length: 7\r\n\r\n" + on.recv(100))
            while piece := connection.recv(65536):
                on.sendall(piece)
                connection.sendall(on.recv(65536))
            on.shutdown(socket.SHUT_WR)
            connection.sendall(on.recv(100))
            if self.context:
                connection.unwrap()


@pytest.fixture(scope="module", params=["clear", "tls"])
def world(request, tmp_path_factory):
    d = tmp_path_factory.mktemp(f"tunnel-{request.param}")
    d.chmod(0o755)
    context, tls = None, ""
    if request.param == "tls":
        ca = pki.Authority(d / "pki")
        crt, key = ca.issue("proxy", "DNS:proxy.example")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(crt, key)
        for p in (d / "pki", *(d / "pki").iterdir()):
            p.chmod(0o755)
        tls = f", tls: {{ mode: SIMPLE, caCertificates: {ca.crt}, sni: proxy.example }}"
    echo = Echo()
    proxy = Proxy(echo.port, context)
    mesh = kvmesh.Mesh(d / "mesh", 'defaultConfig = { concurrency = 1; }; accessLogFile = "/dev/stdout";')
    mesh.entry = kvmesh.free_port()
    mesh.service("far", 9000, "tcp", protocol="TCP", listen=f"127.0.0.1:{mesh.entry}")
    mesh.write("mesh.d/far.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{ name: proxy }}
spec: {{ address: 127.0.0.1, labels: {{ app: far }}, ports: {{ tcp: {proxy.port} }} }}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: far }}
spec: {{ host: far, trafficPolicy: {{ tunnel: {{ protocol: CONNECT, targetHost: far.example, targetPort: 7000 }}{tls} }} }}
""")
    mesh.start()
    mesh.proxy = proxy
    yield mesh
    for x in (mesh, proxy, echo):
        x.stop()


def connect(world):
    return socket.create_connection(("127.0.0.1", world.entry), timeout=kvmesh.DEADLINE)


def test_bytes_go_through_and_the_server_may_speak_first(world):
    world.proxy.mode = "fine"
    with connect(world) as s:
        f = s.makefile("rb")
        assert f.readline() == b"220 hello\n"
        for word in (b"one\n", b"two\n"):
            s.sendall(word)
            assert f.readline() == word
        s.shutdown(socket.SHUT_WR)
        assert f.read() == b"bye", "each direction ends by itself"
    assert world.proxy.asked[-1] == "CONNECT far.example:7000 HTTP/1.1\r\nHost: far.example:7000\r\n\r\n"


@pytest.mark.parametrize("mode,why", [("refuse", "refused the tunnel"), ("close", "closed instead"), ("endless", "has no end")])
def test_no_tunnel(world, mode, why):
    world.proxy.mode = mode
    with contextlib.suppress(ConnectionResetError), connect(world) as s:
        assert s.recv(1) == b""
    line = wait_for("its record", lambda: next((x for x in world.text().splitlines() if why in x), None))
    assert " UF " in line


def test_post_is_told_to_be_connect(workdir):
    mesh = kvmesh.Mesh(workdir / "mesh")
    mesh.service("far", 9000, "tcp", protocol="TCP")
    mesh.write("mesh.d/far.yaml", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: far }\n"
               "spec: { host: far, trafficPolicy: { tunnel: { protocol: POST, targetHost: far.example, targetPort: 7000 } } }\n")
    assert "POST is not enforced yet" in mesh.ctl("analyze").stdout
