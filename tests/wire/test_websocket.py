# SPDX-License-Identifier: Apache-2.0
"""WebSocket through two proxies: an HTTP/1.1 upgrade or a client's own extended CONNECT (RFC 8441) comes in, between
the proxies it is a stream of the shared HTTP/2 connection, the application sees what it speaks.
"""

import asyncio
import base64
import contextlib
import hashlib
import os
import re
import socket
import struct
import threading

import h2.settings
import pytest

import kvmesh
from kvmesh import wait_for
from test_http2 import (CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, PROTOCOL_ERROR, RST, SETTINGS, App,
                        AppConnection, Client, Raw, block, frame)
from server import Server

HTTP_1_1_REQUIRED = 13
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = base64.b64encode(b"0123456789abcdef").decode()


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


# ---- applications ----------------------------------------------------------------------------------------------


class SwitchingApp(Server):
    """Switches protocols as the path says, then sends back what comes, byte by byte:
    /echo        until the peer ends, then ends
    /greet       speaks first, then ends
    /rst         RST after the first byte
    /bad-proof   101 with a digest that is none
    /decline     200, as if nothing had been asked
    /forbid      403
    """

    def __init__(self):
        self.heads, self.ends = [], []
        super().__init__()

    def serve(self, c):
        with c, contextlib.suppress(OSError):
            f = c.makefile("rb")
            while line := f.readline():
                path = line.split()[1].decode()
                fields = {}
                while (line := f.readline().strip()):
                    k, v = line.decode().split(":", 1)
                    fields[k.lower()] = v.strip()
                self.heads.append((path, fields))
                if not self.answer(c, path, fields):
                    self.switched(c, f, path)
                    return

    def answer(self, c, path, fields):
        """True: an answer as any other."""
        if path in ("/forbid", "/decline", "/"):
            status = b"403 Forbidden" if path == "/forbid" else b"200 OK"
            c.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nno")
            return True
        assert fields["upgrade"] == "websocket" and "upgrade" in fields["connection"]
        proof = "nonsense" if path == "/bad-proof" else accept_of(fields["sec-websocket-key"])
        c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  b"Sec-WebSocket-Accept: " + proof.encode() + b"\r\n\r\n")
        return False

    def switched(self, c, f, path):
        if path == "/greet":
            c.sendall(b"hello")
            return
        try:
            while data := f.read1(65536):
                c.sendall(data)
                if path == "/rst":
                    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    f.close()
                    c.close()
                    return
            self.ends.append((path, "end"))
        except ConnectionResetError:
            self.ends.append((path, "reset"))


class ConnectApp(AppConnection):
    """Speaks RFC 8441 itself."""

    def run(self):
        self.c.local_settings = h2.settings.Settings(client=False, initial_values={
            h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,
            h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 100})
        super().run()

    def event(self, e):
        super().event(e)
        if type(e).__name__ == "RequestReceived" and self.fields[e.stream_id].get(":protocol") == "websocket":
            self.head(e.stream_id)
        elif type(e).__name__ == "DataReceived" and ":protocol" in self.fields[e.stream_id]:
            self.c.send_data(e.stream_id, e.data)

    def request(self, sid):
        if ":protocol" in self.fields[sid]:
            self.c.end_stream(sid)
        else:
            super().request(sid)


class World:
    pass


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World()
    with contextlib.ExitStack() as stack:
        top = tmp_path_factory.mktemp("ws")
        w.app, w.h2app, w.plain = SwitchingApp(), App(ConnectApp), App()
        stack.callback(w.app.sock.close)
        stack.callback(w.h2app.stop)
        stack.callback(w.plain.stop)
        w.mesh = kvmesh.Mesh(top / "mesh")
        stack.callback(w.mesh.stop)
        for name, port, protocol in (("app", w.app.port, "HTTP"), ("app2", w.h2app.port, "HTTP2"),
                                     ("plain2", w.plain.port, "HTTP2")):
            w.mesh.workload(name, port, protocol=protocol)
            w.mesh.service(name, 80, protocol.lower(), protocol=protocol)
        w.mesh.start()
        yield w


@pytest.fixture(autouse=True)
def still_serving(request):
    yield
    if "world" in request.fixturenames:
        w = request.getfixturevalue("world")
        w.mesh.assert_sound()
        assert w.mesh.get("app", "/").status == 200


# ---- clients ---------------------------------------------------------------------------------------------------


class Upgraded:
    """An HTTP/1.1 client that asks for WebSocket."""

    def __init__(self, mesh, path, host="app", extra=b""):
        self.sock = socket.create_connection(("127.0.0.1", mesh.http_port), timeout=kvmesh.DEADLINE)
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode() + extra)
        self.f = self.sock.makefile("rb")
        self.status = int(self.f.readline().split()[1])
        self.fields = {}
        while line := self.f.readline().strip():
            k, v = line.decode().split(":", 1)
            self.fields[k.lower()] = v.strip()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.f.close()
        self.sock.close()

    def echo(self, data):
        threading.Thread(target=self.sock.sendall, args=(data,), daemon=True).start()
        got = self.f.read(len(data))
        return got


def connect(mesh, path, host="app", protocol="websocket", fields=(), flags=END_HEADERS, more=b""):
    """An extended CONNECT of the client's own."""
    return Raw(mesh, frame(HEADERS, flags, 1, block([
        (":method", "CONNECT"), (":protocol", protocol), (":scheme", "http"), (":path", path), (":authority", host),
        ("sec-websocket-version", "13"), *fields])) + more)


def read_data(c, n, sid=1):
    got = b""
    while len(got) < n:
        f = c.next()
        assert f, got
        assert f[0] != RST, f
        if f[0] == DATA and f[2] == sid:
            got += f[3]
            if f[1] & END_STREAM:
                c.ended = True
                break
    return got


def end_of(c, sid=1):
    """How a stream ends: "end" or its reset's code."""
    if getattr(c, "ended", False):
        return "end"
    while f := c.next():
        if f[2] == sid and f[0] == RST:
            return int.from_bytes(f[3], "big")
        if f[2] == sid and f[1] & END_STREAM and f[0] in (DATA, HEADERS):
            return "end"
    return "closed"


def opened(mesh):
    return sum(float(x) for x in re.findall(r"^kvmesh_upstream_connections_opened_total\{.*\} (\d+)", mesh.metrics(), re.M))


# ---- HTTP/1.1 at both ends -------------------------------------------------------------------------------------


def test_an_upgrade_comes_out_as_one(world):
    with Upgraded(world.mesh, "/echo") as c:
        assert (c.status, c.fields["upgrade"], c.fields["sec-websocket-accept"]) == (101, "websocket", accept_of(KEY))
        for n in (1, 70_000, 2_000_000):
            data = os.urandom(n)
            assert c.echo(data) == data
        c.sock.shutdown(socket.SHUT_WR)
        assert c.f.read() == b""
    path, fields = world.app.heads[-1]
    assert (fields["sec-websocket-key"], fields["sec-websocket-version"]) == (KEY, "13")
    wait_for("the end", lambda: ("/echo", "end") in world.app.ends)


def test_upgrades_share_the_connection_between_the_proxies(world):
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Upgraded(world.mesh, "/echo"))
        assert first.echo(b"x") == b"x"
        before = opened(world.mesh)
        more = [stack.enter_context(Upgraded(world.mesh, "/echo")) for _ in range(10)]
        assert all(c.echo(b"%d" % i) == b"%d" % i for i, c in enumerate(more))
        wait_for("as many connections to the application, but for idle ones used again",
                 lambda: opened(world.mesh) - before >= 8)
        # The first count may be older than the first connections; one for each stream would be 20.
        assert opened(world.mesh) - before <= 16, "and one between the proxies for each worker, not each stream"


def test_bytes_behind_the_request_wait_for_the_switch(world):
    with Upgraded(world.mesh, "/echo", extra=b"early") as c:
        assert c.status == 101 and c.f.read(5) == b"early"


def test_a_service_that_speaks_first_and_ends(world):
    with Upgraded(world.mesh, "/greet") as c:
        assert c.f.read() == b"hello"


@pytest.mark.parametrize("path,status", [("/decline", 200), ("/forbid", 403)])
def test_a_service_need_not_switch(world, path, status):
    with Upgraded(world.mesh, path) as c:
        assert c.status == status and c.f.read(2) == b"no"
        c.sock.sendall(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
        assert c.f.readline().startswith(b"HTTP/1.1 200"), "the connection goes on"


def test_a_client_that_resets_is_reset_at_the_service(world):
    with Upgraded(world.mesh, "/echo") as c:
        assert c.echo(b"x") == b"x"
        world.app.ends.clear()
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for("the reset", lambda: world.app.ends == [("/echo", "reset")])


def test_a_service_that_resets_is_a_reset_for_the_client(world):
    with Upgraded(world.mesh, "/rst") as c:
        c.sock.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            while c.sock.recv(10):
                pass
            c.sock.sendall(b"y")
            c.sock.recv(10)


def test_a_real_server_and_client(world, tmp_path):
    websockets = pytest.importorskip("websockets", reason="python3-websockets is not installed")

    async def echo(ws, *path):
        async for message in ws:
            await ws.send(message)

    async def talk():
        async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
            mesh = kvmesh.Mesh(tmp_path / "mesh")
            mesh.workload("chat", server.sockets[0].getsockname()[1])
            mesh.service("chat", 80, "http")
            try:
                await asyncio.to_thread(mesh.start)
                async with websockets.connect("ws://chat/x", host="127.0.0.1", port=mesh.http_port,
                                              max_size=None) as ws:
                    for message in ("hello", "ä" * 1000, os.urandom(1_500_000)):
                        await ws.send(message)
                        assert await ws.recv() == message
                    pong = await ws.ping()
                    await pong
                assert ws.close_code == 1000
            finally:
                await asyncio.to_thread(mesh.stop)
    asyncio.run(asyncio.wait_for(talk(), kvmesh.DEADLINE * 2))


# ---- extended CONNECT of the client (RFC 8441) -------------------------------------------------------------------


def test_the_setting_is_announced(world):
    with Raw(world.mesh) as c:
        f = next(iter(c.next, None))
        assert f[0] == SETTINGS
        assert (8, 1) in [struct.unpack(">HI", f[3][i:i + 6]) for i in range(0, len(f[3]), 6)]


def test_a_client_s_connect_is_an_upgrade_at_the_service(world):
    with connect(world.mesh, "/echo") as c:
        assert c.outcome() == 200
        c.send(frame(DATA, 0, 1, b"hello"))
        assert read_data(c, 5) == b"hello"
        c.send(frame(DATA, END_STREAM, 1, b"bye"))
        assert read_data(c, 3) == b"bye"
        assert end_of(c) == "end"
    path, fields = world.app.heads[-1]
    assert len(base64.b64decode(fields["sec-websocket-key"])) == 16, "made for it"


def test_its_answer_has_no_proof_of_a_key_that_it_never_sent(world):
    with Client(world.mesh) as c:
        c.c.send_headers(1, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"),
                             (":path", "/echo"), (":authority", "app")])
        c.flush()
        c.until(lambda: 1 in c.head)
        assert c.head[1][":status"] == "200"
        assert not {"sec-websocket-accept", "upgrade", "connection", "content-length"} & set(c.head[1])


def test_bytes_before_the_answer_wait(world):
    with connect(world.mesh, "/echo", more=frame(DATA, 0, 1, b"ear") + frame(DATA, END_STREAM, 1, b"ly")) as c:
        assert c.outcome() == 200
        assert read_data(c, 5) == b"early"
        assert end_of(c) == "end"


def test_a_service_that_ends_first(world):
    with connect(world.mesh, "/greet") as c:
        assert c.outcome() == 200
        assert read_data(c, 5) == b"hello"


@pytest.mark.parametrize("path,want", [("/forbid", 403), ("/decline", f"RST {HTTP_1_1_REQUIRED}"), ("/bad-proof", 502)])
def test_what_does_not_switch_opens_no_tunnel(world, path, want):
    with connect(world.mesh, path) as c:
        assert c.outcome() == want


@pytest.mark.parametrize("name,kw,want", [
    ("another protocol", {"protocol": "connect-udp"}, [501]),
    ("end of stream", {"flags": END_HEADERS | END_STREAM}, [400]),
    ("content-length", {"fields": [("content-length", "5")]}, [400, f"RST {PROTOCOL_ERROR}"]),
])
def test_a_connect_that_is_none(world, name, kw, want):
    with connect(world.mesh, "/echo", **kw) as c:
        assert c.outcome() in want


def test_resets_go_both_ways(world):
    with connect(world.mesh, "/rst") as c:
        assert c.outcome() == 200
        c.send(frame(DATA, 0, 1, b"x"))
        assert end_of(c) == CANCEL
    world.app.ends.clear()
    with connect(world.mesh, "/echo") as c:
        assert c.outcome() == 200
        c.send(frame(DATA, 0, 1, b"x"))
        read_data(c, 1)
        c.send(frame(RST, 0, 1, struct.pack(">I", CANCEL)))
        wait_for("the reset", lambda: world.app.ends == [("/echo", "reset")])


def test_trailers_have_no_place_in_a_tunnel(world):
    with connect(world.mesh, "/echo", more=frame(HEADERS, END_HEADERS | END_STREAM, 1, block([("x", "y")]))) as c:
        assert c.outcome() == 200
        assert end_of(c) in ("end", PROTOCOL_ERROR)


def test_a_stuck_tunnel_holds_bounded_memory(world):
    """Nobody reads the answer and the service does not read either: windows close."""
    with connect(world.mesh, "/echo") as c:
        assert c.outcome() == 200
        c.sock.settimeout(1)
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 2_000_000:         # more than any window would let through
                c.sock.sendall(frame(DATA, 0, 1, b"x" * 16000))
                sent += 16000
        c.sock.settimeout(kvmesh.DEADLINE)
        assert world.mesh.get("app", "/").status == 200


# ---- an application that speaks HTTP/2 ---------------------------------------------------------------------------


def test_an_upgrade_reaches_an_application_that_speaks_rfc_8441(world):
    with Upgraded(world.mesh, "/chat", host="app2") as c:
        assert (c.status, c.fields["sec-websocket-accept"]) == (101, accept_of(KEY))
        data = os.urandom(40_000)
        assert c.echo(data) == data
        c.sock.shutdown(socket.SHUT_WR)
        assert c.f.read() == b""
    fields = [f for p, f in world.h2app.seen if p == "/chat"][-1]
    assert (fields[":method"], fields[":protocol"]) == ("CONNECT", "websocket")


def test_rfc_8441_at_both_ends(world):
    with connect(world.mesh, "/chat", host="app2") as c:
        assert c.outcome() == 200
        c.send(frame(DATA, 0, 1, b"hello"))
        assert read_data(c, 5) == b"hello"


def test_an_http_2_application_that_cannot_is_not_asked(world):
    """Its SETTINGS do not allow it; HTTP/1.1, tried then, it does not speak."""
    with Upgraded(world.mesh, "/x", host="plain2") as c:
        assert c.status in (502, 503)
    assert not any(":protocol" in f for _, f in world.plain.seen)
