# SPDX-License-Identifier: Apache-2.0
"""Back-pressure through two proxies: a side that does not take holds back the side that gives, in bounded memory,
whatever protocol either speaks; and a side that is gone ends the other.

What is asserted is how much the giving side could get rid of (the proxies' buffers and the kernel's of three
connections) and how much the proxy grew, never how long something took.
"""

import contextlib
import socket
import struct
import threading
import time

import h2.exceptions
import pytest

import kvmesh
from kvmesh import wait_for
from test_http2 import App, AppConnection, Client
from server import Server

HUGE = 10 << 30
# Each TCP connection may hold up to tcp_wmem + tcp_rmem (10 MB by default); the proxies hold some 100 kB.
KERNEL = 40 << 20
ZEROS = bytes(1 << 18)


def sanitized():
    return b"__asan_init" in kvmesh.tool("kvmesh-proxy").read_bytes()


class Growth:
    """How much the proxy grew since; a sanitizer's quarantine of freed memory is not the proxy's doing."""

    def __init__(self, mesh):
        self.mesh, self.before = mesh, self.rss(mesh)

    @staticmethod
    def rss(mesh):
        return mesh.call("proxy/node.sock", "Status")["parameters"]["rssBytes"]

    def at_most(self, n):
        grown = self.rss(self.mesh) - self.before
        assert grown < n + (400 << 20 if sanitized() else 0), f"grew by {grown} bytes"


def stops_growing(what, count):
    """Wait until count() stays the same for a while, and return it."""
    last = [-1, time.monotonic()]

    def still():
        now = count()
        if now != last[0]:
            last[:] = [now, time.monotonic()]
        return time.monotonic() - last[1] > 1.5
    wait_for(f"{what} to be held back", still)
    return last[0]


# ---- applications ----------------------------------------------------------------------------------------------


class Hose(Server):
    """HTTP/1.1 and, as what is no HTTP request, plain TCP:
    GET /endless    10 GB
    POST /deaf      reads nothing of the body
    POST /gulp      reads it all
    d               (one byte) endless bytes;  u: reads nothing;  g: reads all
    """

    def __init__(self):
        self.sent = self.got = self.pouring = 0
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        super().__init__(backlog=200)

    def count(self, **more):
        with self.lock:
            for k, v in more.items():
                setattr(self, k, getattr(self, k) + v)

    def serve(self, c):
        with c, contextlib.suppress(OSError):
            if c.recv(1, socket.MSG_PEEK) in (b"d", b"u", b"g"):
                self.act(c, {b"d": "/endless", b"u": "/deaf", b"g": "/gulp"}[c.recv(1)])
            else:
                self.http(c)

    def http(self, c):
        while True:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                piece = c.recv(1)
                if not piece:
                    return
                head += piece
            path = head.split()[1].decode()
            if path == "/endless":
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % HUGE)
            if path in ("/endless", "/deaf", "/gulp"):
                self.act(c, path)
                return
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def act(self, c, path):
        if path == "/endless":
            self.endless(c)
        if path == "/deaf":
            self.stopping.wait()
        while path == "/gulp":
            n = len(c.recv(1 << 18))
            if n == 0:
                return
            self.count(got=n)

    def endless(self, c):
        self.count(pouring=1)
        try:
            while True:
                self.count(sent=c.send(ZEROS))
        finally:
            self.count(pouring=-1)

    def stop(self):
        self.stopping.set()
        super().stop()


class H2Connection(AppConnection):
    """As test_http2's application, and /deaf, which gives no window back; counts what it sends."""

    def event(self, e):
        sid = getattr(e, "stream_id", None)
        if isinstance(e, h2.events.DataReceived) and self.paths.get(sid) == "/deaf":
            return
        super().event(e)

    def pump_one(self, sid, item):
        before = item[0] if isinstance(item[0], int) else None
        try:
            super().pump_one(sid, item)
        finally:
            if before is not None:
                self.app.sent += before - item[0]


class H2Hose(App):
    def __init__(self):
        self.sent = 0
        super().__init__(H2Connection)


class World:
    pass


@contextlib.contextmanager
def make_world(top):
    w = World()
    with contextlib.ExitStack() as stack:
        w.hose, w.h2hose = Hose(), H2Hose()
        stack.callback(w.hose.stop)
        stack.callback(w.h2hose.stop)
        w.mesh = kvmesh.Mesh(top / "mesh")
        stack.callback(w.mesh.stop)
        w.tcp_port = kvmesh.free_port()
        w.mesh.workload("h1", w.hose.port)
        w.mesh.service("h1", 80, "http")
        w.mesh.workload("h2", w.h2hose.port, protocol="HTTP2")
        w.mesh.service("h2", 80, "http2", protocol="HTTP2")
        w.mesh.workload("raw", w.hose.port, protocol="TCP")
        w.mesh.service("raw", 9000, "tcp", protocol="TCP", listen=f"127.0.0.1:{w.tcp_port}")
        w.curt, w.curt_port = socket.create_server(("127.0.0.1", 0)), kvmesh.free_port()
        w.curt.settimeout(kvmesh.DEADLINE)
        stack.callback(w.curt.close)
        w.mesh.workload("curt", w.curt.getsockname()[1], protocol="TCP")
        w.mesh.service("curt", 9001, "tcp", protocol="TCP", listen=f"127.0.0.1:{w.curt_port}")
        w.mesh.start()
        for host in ("h1", "h2"):
            assert w.mesh.get(host, "/").status == 200
        yield w
        w.mesh.assert_sound()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with make_world(tmp_path_factory.mktemp("pressure")) as w:
        yield w


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """One in which no test leaves anything behind."""
    with make_world(tmp_path_factory.mktemp("quiet")) as w:
        yield w


def connect(port, receive=None):
    s = socket.socket()
    if receive:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    s.settimeout(kvmesh.DEADLINE)
    s.connect(("127.0.0.1", port))
    return s


def given(world, app):
    return (world.hose if app == "h1" else world.h2hose).sent


PATHS = {"h1": "/endless", "h2": "/stream"}


def ask(world, app, receive=4096):
    s = connect(world.mesh.http_port, receive)
    s.sendall(f"GET {PATHS[app]} HTTP/1.1\r\nHost: {app}\r\n\r\n".encode())
    return s


# ---- a reader that does not read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("app", ["h1", "h2"])
def test_a_slow_http1_reader_holds_the_service_back(world, app):
    grown, before = Growth(world.mesh), given(world, app)
    with ask(world, app) as s:
        stuck = stops_growing("the service", lambda: given(world, app) - before)
        assert 0 < stuck < KERNEL
        grown.at_most(6 << 20)
        for _ in range(200):                    # one byte at a time is slow too
            assert len(s.recv(1)) == 1
        grown.at_most(6 << 20)
        moved = 0
        while moved < 2 * stuck:                # it goes on when the reader does
            moved += len(s.recv(1 << 18))
        assert given(world, app) - before > stuck
        grown.at_most(8 << 20)


@pytest.mark.parametrize("app", ["h1", "h2"])
def test_a_slow_http2_reader_holds_the_service_back(world, app):
    grown, before = Growth(world.mesh), given(world, app)
    with Client(world.mesh, ack=False) as c:
        c.c.increment_flow_control_window(1 << 30)
        sid = c.request(app, PATHS[app])
        c.until(lambda: len(c.body.get(sid, b"")) == 65535)
        stuck = stops_growing("the service", lambda: given(world, app) - before)
        assert 0 < stuck < KERNEL
        grown.at_most(6 << 20)
        other = c.request("h1", "/")            # its neighbours on the connection do not wait
        assert c.finish(other) == ["200"]
        c.c.increment_flow_control_window(1 << 20, sid)
        c.flush()
        c.until(lambda: len(c.body[sid]) == 65535 + (1 << 20))


def test_a_slow_tcp_reader_holds_the_service_back(world):
    grown, before = Growth(world.mesh), world.hose.sent
    with connect(world.tcp_port, 4096) as s:
        s.sendall(b"d")
        stuck = stops_growing("the service", lambda: world.hose.sent - before)
        assert 0 < stuck < KERNEL
        grown.at_most(6 << 20)
        moved = 0
        while moved < 2 * stuck:
            moved += len(s.recv(1 << 18))
        grown.at_most(8 << 20)


def test_many_slow_readers_cost_little_each(world):
    grown = Growth(world.mesh)
    with contextlib.ExitStack() as stack:
        for app in ("h1", "h2") * 16:
            stack.enter_context(ask(world, app))
        stops_growing("the services", lambda: world.hose.sent + world.h2hose.sent)
        grown.at_most(32 * (3 << 19))
        assert world.mesh.get("h1", "/").status == 200


# ---- a service that does not read --------------------------------------------------------------------------------


def push(s, keep_going=lambda: True):
    """Send until nothing goes any more for a while; how much went."""
    sent, last = 0, time.monotonic()
    s.setblocking(False)
    while time.monotonic() - last < 1.5 and keep_going():
        try:
            sent += s.send(ZEROS)
            last = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
        assert sent < 8 * KERNEL
    return sent


@pytest.mark.parametrize("app", ["h1", "h2"])
def test_a_service_that_does_not_read_holds_the_http1_client_back(world, app):
    grown = Growth(world.mesh)
    with connect(world.mesh.http_port) as s:
        s.sendall(f"POST /deaf HTTP/1.1\r\nHost: {app}\r\nContent-Length: {HUGE}\r\n\r\n".encode())
        assert push(s) < KERNEL
        grown.at_most(6 << 20)
        assert world.mesh.get(app, "/").status == 200


@pytest.mark.parametrize("app", ["h1", "h2"])
def test_a_service_that_does_not_read_closes_the_http2_clients_window(world, app):
    grown = Growth(world.mesh)
    with Client(world.mesh) as c:
        sid = c.request(app, "/deaf", method="POST", end=False)
        sent, last = 0, time.monotonic()
        c.sock.settimeout(0.2)
        while time.monotonic() - last < 2:
            n = min(c.c.local_flow_control_window(sid), 16384)
            if n > 0:
                c.c.send_data(sid, ZEROS[:n])
                c.flush()
                sent, last = sent + n, time.monotonic()
            else:
                with contextlib.suppress(TimeoutError):
                    c.read()
            assert sent < 8 * KERNEL
        assert 0 < sent < KERNEL
        grown.at_most(6 << 20)
        c.sock.settimeout(kvmesh.DEADLINE)
        assert c.finish(c.request("h1", "/")) == ["200"]


def test_a_service_that_does_not_read_holds_the_tcp_client_back(world):
    grown = Growth(world.mesh)
    with connect(world.tcp_port) as s:
        s.sendall(b"u")
        assert push(s) < KERNEL
        grown.at_most(6 << 20)


# ---- much of it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("app", ["h1", "h2"])
def test_a_part_of_ten_gigabytes_down(world, app):
    much = (256 if app == "h1" else 48) << 20
    grown, buffer, moved = Growth(world.mesh), bytearray(1 << 18), 0
    with ask(world, app, receive=None) as s:
        while moved < much:
            n = s.recv_into(buffer)
            assert n > 0
            moved += n
        grown.at_most(16 << 20)


@pytest.mark.parametrize("port", ["http", "tcp"])
def test_a_part_of_ten_gigabytes_up(world, port):
    grown, before, moved = Growth(world.mesh), world.hose.got, 0
    with connect(world.mesh.http_port if port == "http" else world.tcp_port) as s:
        s.sendall(b"POST /gulp HTTP/1.1\r\nHost: h1\r\nContent-Length: %d\r\n\r\n" % HUGE if port == "http" else b"g")
        while moved < 256 << 20:
            s.sendall(ZEROS)
            moved += len(ZEROS)
        wait_for("all of it to arrive", lambda: world.hose.got - before >= moved)
        grown.at_most(16 << 20)


def test_single_bytes_are_not_kept_back(world):
    before = world.hose.got
    with connect(world.mesh.http_port) as s:
        s.sendall(b"POST /gulp HTTP/1.1\r\nHost: h1\r\nContent-Length: 1000\r\n\r\n")
        for i in range(1, 101):
            s.sendall(b"x")
            wait_for(f"byte {i}", lambda i=i: world.hose.got - before >= i)


# ---- one side is gone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["read", "unread", "half"])
def test_a_tcp_client_that_is_gone_ends_its_service(world, how):
    """However the end and the bytes on their way meet: nobody goes on sending into nothing."""
    for _ in range(25):
        with connect(world.tcp_port) as s:
            s.sendall(b"d")
            assert s.recv(1 << 16)
            if how == "half":
                s.shutdown(socket.SHUT_WR)
            if how != "unread":
                s.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while s.recv(1 << 20):
                        pass
    wait_for("the service to stop", lambda: world.hose.pouring == 0)
    before = world.hose.sent
    time.sleep(0.3)
    assert world.hose.sent == before


@pytest.mark.parametrize("client", ["h1", "h2"])
def test_an_http_client_that_is_gone_ends_its_service(world, client):
    for _ in range(10):
        if client == "h1":
            with ask(world, "h1", receive=None) as s:
                assert s.recv(1 << 16)
        else:
            with Client(world.mesh) as c:
                sid = c.request("h1", "/endless")
                c.until(lambda c=c, sid=sid: len(c.body.get(sid, b"")) > 100_000)
    wait_for("the service to stop", lambda: world.hose.pouring == 0)


def running(world):
    """Exchanges that the proxy has under way."""
    families = world.mesh.call("proxy/node.sock", "Stats")["parameters"]["families"]
    return sum(series[-1] for f in families if f["name"] == "kvmesh_streams" for series in f["series"])


def upload_unread(world, app, client):
    """An upload that nobody reads, and the socket that it comes from."""
    if client == "h2":
        c = Client(world.mesh)
        sid = c.request(app, "/deaf", method="POST", end=False)
        c.sock.settimeout(0.2)
        for _ in range(10):
            while (n := min(c.c.local_flow_control_window(sid), 16384)) > 0:
                c.c.send_data(sid, ZEROS[:n])
                c.flush()
            with contextlib.suppress(TimeoutError):
                c.read()
        return c.sock
    s = connect(world.mesh.http_port)
    if client == "pipelined":
        s.sendall(f"GET /deaf HTTP/1.1\r\nHost: {app}\r\n\r\n".encode())
    else:
        s.sendall(f"POST /deaf HTTP/1.1\r\nHost: {app}\r\nContent-Length: {HUGE}\r\n\r\n".encode())
    push(s)
    return s


@pytest.mark.parametrize(("client", "app"), [("h1", "h1"), ("h1", "h2"), ("h2", "h1"), ("h2", "h2"), ("pipelined", "h1")])
def test_an_http_client_that_resets_while_nobody_reads_is_noticed(quiet, client, app):
    """Its connection may not be read, then no event tells: it is looked after."""
    wait_for("the exchanges before to end", lambda: running(quiet) == 0)
    with upload_unread(quiet, app, client) as s:
        wait_for("the exchange", lambda: running(quiet) > 0)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for("no exchange to be left", lambda: running(quiet) == 0)


def test_bytes_before_an_end_arrive_however_the_end_comes(world):
    """A server that answers and closes for good while its client still sends: the answer is not lost."""
    for _ in range(10):
        with connect(world.curt_port) as s:
            s.sendall(b"question")
            c, _ = world.curt.accept()
            c.settimeout(kvmesh.DEADLINE)
            assert c.recv(8, socket.MSG_WAITALL) == b"question"
            c.sendall(b"x" * 30_000)
            c.close()
            s.sendall(b"more that nobody reads")
            got = 0
            while got < 30_000:
                n = len(s.recv(1 << 16))
                assert n > 0
                got += n
