# SPDX-License-Identifier: Apache-2.0
"""DestinationRule.connectionPool beyond the breakers: which protocol is spoken, streams of a connection, its age."""

import contextlib
import re
import shutil
import socket
import subprocess
import threading

import h2.events
import pytest

import kvmesh
from kvmesh import wait_for
from server import Server
from test_http2 import App, AppConnection, PREFACE, curl

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
spec: {{ host: {name}.example, trafficPolicy: {{ connectionPool: {{ {pool} }} }} }}
"""


class Both(Server):
    """HTTP/2 where a connection begins with its preface, else HTTP/1.1; counts connections."""

    def __init__(self):
        self.spoken = []
        self.h2 = App.__new__(App)
        self.h2.resets, self.h2.seen, self.h2.held = [], [], []
        super().__init__()

    def serve(self, c):
        with c:
            try:
                if c.recv(len(PREFACE), socket.MSG_PEEK | socket.MSG_WAITALL).startswith(b"PRI"):
                    self.spoken.append("h2")
                    AppConnection(self.h2, c).run()
                else:
                    self.spoken.append("h1")
                    self.h1(c.makefile("rb"), c)
            except OSError:
                pass

    def h1(self, f, c):
        while line := f.readline():
            if line == b"\r\n":
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh1")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    d = tmp_path_factory.mktemp("pool")
    d.chmod(0o755)
    mesh = kvmesh.Mesh(d / "mesh", 'defaultConfig = { concurrency = 1; }; accessLogFile = "/dev/stdout";')
    servers = {n: Both() for n in ("plain", "upgrade", "client", "streams", "old")}
    pools = {"plain": "http: { maxRetries: 9 }", "upgrade": "http: { h2UpgradePolicy: UPGRADE }",
             "client": "http: { useClientProtocol: true }",
             "streams": "http: { h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 2 }",
             "old": "tcp: { maxConnectionDuration: 1s }"}
    for name, server in servers.items():
        mesh.write(f"mesh.d/{name}.yaml", OUTSIDE.format(name=name, port=server.port, pool=pools[name]))
    nginx = kvmesh.Nginx(d, "n")
    mesh.workload("app", nginx.port)
    mesh.service("app", 80, "http")
    mesh.servers = servers
    mesh.start()
    yield mesh
    for x in (mesh, nginx, *servers.values()):
        x.stop()


def test_http_1_to_endpoints_without_a_proxy(world):
    assert curl(world, "plain.example", "/").stdout == b"h1"
    assert world.servers["plain"].spoken == ["h1"]


def test_h2_upgrade_policy(world):
    assert world.get("upgrade.example", "/x").text == "/x"
    assert set(world.servers["upgrade"].spoken) == {"h2"}


def test_use_client_protocol(world):
    assert world.get("client.example", "/x").text == "h1"
    assert curl(world, "client.example", "/x").stdout == b"/x"
    assert world.servers["client"].spoken == ["h1", "h2"]


def inbound_protocol(mesh, path):
    line = wait_for("the record of the service's side", lambda: next(
        (x for x in mesh.text().splitlines() if f" {path} HTTP" in x and "inbound|" in x), None))
    return line.split(f" {path} ")[1].split('"')[0]


def test_do_not_upgrade_holds_between_proxies_too(world):
    assert world.get("app", "/before").status == 200
    assert inbound_protocol(world, "/before") == "HTTP/2"
    world.write("mesh.d/app.yaml", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: app }\n"
                "spec: { host: app, trafficPolicy: { connectionPool: { http: { h2UpgradePolicy: DO_NOT_UPGRADE } } } }\n")
    world.ctl("config", "reload", "--wait", check=0)
    assert world.get("app", "/after").status == 200
    assert inbound_protocol(world, "/after") == "HTTP/1.1"


def test_the_meshs_h2_upgrade_policy(workdir):
    server = Both()
    mesh = kvmesh.Mesh(workdir / "mesh", 'h2UpgradePolicy = "UPGRADE";')
    mesh.write("mesh.d/a.yaml", OUTSIDE.format(name="a", port=server.port, pool="tcp: { maxConnections: 9 }"))
    mesh.write("mesh.d/b.yaml", OUTSIDE.format(name="b", port=server.port, pool="http: { h2UpgradePolicy: DO_NOT_UPGRADE }"))
    try:
        mesh.start()
        assert mesh.get("a.example", "/x").text == "/x"
        assert mesh.get("b.example", "/x").text == "h1"
    finally:
        mesh.stop()
        server.stop()


def test_streams_of_a_connection(world):
    server = world.servers["streams"]
    assert world.get("streams.example", "/first").status == 200
    got, threads = [], []
    for _ in range(6):
        threads.append(threading.Thread(target=lambda: got.append(world.get("streams.example", "/hold").status), daemon=True))
        threads[-1].start()
    wait_for("all six at the service", lambda: len(server.h2.held) == 6)
    assert server.spoken == ["h2"] * 3, "two on each connection"
    server.h2.release()
    for t in threads:
        t.join(kvmesh.DEADLINE)
    assert got == [200] * 6


def test_the_age_of_a_connection(world):
    server = world.servers["old"]
    c = world.connect()

    def ask():
        c.request("GET", "/", headers={"Host": "old.example"})
        r = c.getresponse()
        r.read()
        assert r.status == 200
        return len(server.spoken)
    ask()
    wait_for("another connection, and no failure in between", lambda: ask() >= 3)
    c.close()


def test_an_opaque_connection_is_cut_at_its_age(workdir):
    class Echo(Server):
        def serve(self, connection):
            with connection:
                while piece := connection.recv(65536):
                    connection.sendall(piece)
    server, entry = Echo(), kvmesh.free_port()
    mesh = kvmesh.Mesh(workdir / "mesh", 'accessLogFile = "/dev/stdout";')
    mesh.workload("app", server.port, protocol="TCP")
    mesh.service("app", 9000, "tcp", protocol="TCP", listen=f"127.0.0.1:{entry}")
    mesh.write("mesh.d/app.yaml", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: app }\n"
               "spec: { host: app, trafficPolicy: { connectionPool: { tcp: { maxConnectionDuration: 2s } } } }\n")
    try:
        mesh.start()
        with socket.create_connection(("127.0.0.1", entry), timeout=kvmesh.DEADLINE) as s:
            s.sendall(b"hello")
            assert s.recv(5) == b"hello"
            assert s.recv(1) == b"", "the end, and no reset"
        wait_for("its record", lambda: any(" DT " in x for x in mesh.text().splitlines()))
    finally:
        mesh.stop()
        server.stop()


@pytest.mark.skipif(not shutil.which("ss"), reason="iproute2's ss is needed")
def test_tcp_keepalive(world):
    """The kernel's timer of the connection to the service, as ss tells it."""
    server = Both()
    world.write("mesh.d/alive.yaml", OUTSIDE.format(
        name="alive", port=server.port, pool="tcp: { tcpKeepalive: { time: 7000s, interval: 10s, probes: 3 } }"))
    world.ctl("config", "reload", "--wait", check=0)
    try:
        assert world.get("alive.example").status == 200
        out = subprocess.run(["ss", "-tnoH", "state", "established", "dport", f"= :{server.port}"], capture_output=True, text=True,
                             timeout=60, check=True).stdout
        assert re.search(r"timer:\(keepalive,(116min|1(h|hour)?[0-9]*)", out), out
    finally:
        server.stop()


class Pinged(Both):
    """Counts PINGs; deaf: connections of now answer nothing any more."""

    def __init__(self):
        self.pings, self.deaf = 0, False
        super().__init__()

    def serve(self, c):
        outer = self

        class Connection(AppConnection):
            def event(self, e):
                if isinstance(e, h2.events.PingReceived):
                    outer.pings += 1
                super().event(e)

            def flush(self):
                if not outer.deaf:
                    super().flush()
        with c, contextlib.suppress(OSError):
            self.spoken.append("h2")
            Connection(self.h2, c).run()
        self.deaf = False


def test_http_2_keep_alive(workdir):
    server = Pinged()
    mesh = kvmesh.Mesh(workdir / "mesh", "defaultConfig = { concurrency = 1; };")
    mesh.write("mesh.d/a.yaml", OUTSIDE.format(name="a", port=server.port, pool="http: { h2UpgradePolicy: UPGRADE, "
                                               "http2KeepAlive: { interval: 100ms, timeout: 1s } }"))
    try:
        mesh.start()
        assert mesh.get("a.example", "/x").status == 200
        wait_for("some pings on an idle connection", lambda: server.pings >= 5)
        assert mesh.get("a.example", "/x").status == 200
        assert len(server.spoken) == 1, "answered: the connection stays"
        server.deaf = True
        wait_for("the end of the one that is deaf, and another one", lambda: (
            mesh.get("a.example", "/x").status == 200 and len(server.spoken) >= 2))
    finally:
        mesh.stop()
        server.stop()
