# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 through two proxies with real clients and applications, and with frames written by hand.

A client speaks HTTP/2 with prior knowledge to the proxy's port; between the two proxies it is HTTP/2 over mTLS;
the application speaks HTTP/1.1 (nginx, Echo) or HTTP/2 (nghttpd, python3-h2). gRPC: test_grpc.py.
"""

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import threading

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack
import pytest

import kvmesh
from kvmesh import wait_for
from test_http1 import Echo
from server import Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 1, 3, 5, 6
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 7, 8, 9, 11


# ---- applications ----------------------------------------------------------------------------------------------


class App(Server):
    """An h2c application on python3-h2. What it does with a request is told by the path:
    /echo          body back, with its length and a trailer
    /trailers      request trailers back as x-got-NAME, and trailers of its own
    /hold          answers when release() is called
    /silent        never answers
    /stream        sends pieces until the client goes
    /reset         RST_STREAM after the head
    /late          a head, and once it is given up a window full of data that seems to have been on its way
    /big/N         N bytes
    """

    def __init__(self, connection=None):
        self.connection = connection or AppConnection
        self.resets = []                # (path, code) of what clients gave up
        self.seen = []                  # (path, fields)
        self.held = []                  # functions that answer
        super().__init__()

    def serve(self, c):
        with c, contextlib.suppress(OSError, h2.exceptions.ProtocolError):
            self.connection(self, c).run()

    def release(self):
        while self.held:
            self.held.pop()()


class AppConnection:
    def __init__(self, app, sock):
        self.app, self.sock = app, sock
        self.c = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.lock = threading.Lock()
        self.paths, self.fields, self.bodies, self.trailers, self.queues = {}, {}, {}, {}, {}

    def run(self):
        self.c.initiate_connection()
        self.flush()
        while data := self.sock.recv(65536):
            with self.lock:
                for e in self.c.receive_data(data):
                    self.event(e)
                self.pump()
                self.flush()

    def flush(self):
        out = self.c.data_to_send()
        if out:
            self.sock.sendall(out)

    def event(self, e):
        if isinstance(e, h2.events.RequestReceived):
            fields = dict(e.headers)
            self.paths[e.stream_id], self.fields[e.stream_id] = fields[":path"], fields
            self.bodies[e.stream_id] = b""
            self.app.seen.append((fields[":path"], fields))
            if fields[":path"] == "/late":
                self.head(e.stream_id)
            elif fields[":path"] == "/stream":
                self.head(e.stream_id)
                self.queues[e.stream_id] = [1 << 40, None]
            elif fields[":path"] == "/reset":
                self.head(e.stream_id)
                self.c.reset_stream(e.stream_id, 2)
        elif isinstance(e, h2.events.DataReceived):
            self.bodies[e.stream_id] += e.data
            self.c.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
        elif isinstance(e, h2.events.TrailersReceived):
            self.trailers[e.stream_id] = e.headers
        elif isinstance(e, h2.events.StreamReset):
            self.app.resets.append((self.paths.get(e.stream_id), e.error_code))
            self.queues.pop(e.stream_id, None)
            if self.paths.get(e.stream_id) == "/late":
                self.sock.sendall(frame(0, 0, e.stream_id, b"x" * 16000) * 16)
        elif isinstance(e, h2.events.StreamEnded):
            self.request(e.stream_id)

    def head(self, sid, *more):
        self.c.send_headers(sid, [(":status", "200"), *more])

    def request(self, sid):
        path, body = self.paths[sid], self.bodies[sid]
        if path == "/echo":
            self.head(sid, ("x-length", str(len(body))))
            self.queues[sid] = [body, [("x-end", "yes")]]
        elif path == "/trailers":
            self.head(sid, *[(f"x-got-{k}", v) for k, v in self.trailers.get(sid, [])])
            self.queues[sid] = [b"body", [("x-sum", "42"), ("x-more", "a b")]]
        elif path.startswith("/big/"):
            self.head(sid)
            self.queues[sid] = [int(path[5:]), None]
        elif path == "/hold":
            self.app.held.append(lambda: self.answer(sid))
        elif path not in ("/silent", "/stream", "/reset", "/late"):
            self.head(sid, ("x-path", path))
            self.queues[sid] = [path.encode(), None]

    def answer(self, sid):
        with self.lock:
            self.head(sid)
            self.queues[sid] = [b"held", None]
            self.pump()
            self.flush()

    def pump(self):
        for sid, item in list(self.queues.items()):
            self.pump_one(sid, item)

    def pump_one(self, sid, item):
        def left():
            return item[0] if isinstance(item[0], int) else len(item[0])
        with contextlib.suppress(h2.exceptions.StreamClosedError):
            while left() > 0:
                n = min(left(), self.c.local_flow_control_window(sid), self.c.max_outbound_frame_size)
                if n <= 0 or (item[0] == b""):
                    return
                if isinstance(item[0], int):
                    piece, item[0] = b"x" * n, item[0] - n
                else:
                    piece, item[0] = item[0][:n], item[0][n:]
                self.c.send_data(sid, piece)
                if isinstance(item[0], int):
                    self.flush()
            if item[1]:
                self.c.send_headers(sid, item[1], end_stream=True)
            else:
                self.c.end_stream(sid)
        del self.queues[sid]


class Nghttpd(kvmesh.Process):
    def __init__(self, directory):
        self.dir, self.port = directory, kvmesh.free_port()
        (directory / "file").write_bytes(b"0123456789" * 100)
        super().__init__(["nghttpd", "--no-tls", "-d", directory, "-a", "127.0.0.1", self.port], directory / "log")
        wait_for("nghttpd", lambda: kvmesh.port_open(self.port))


class World:
    pass


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World()
    with contextlib.ExitStack() as stack:
        top = tmp_path_factory.mktemp("h2")
        w.echo, w.app = Echo(), App()
        stack.callback(w.echo.sock.close)
        stack.callback(w.app.stop)
        w.nginx = kvmesh.Nginx(top, "web")
        stack.callback(w.nginx.stop)
        (top / "nghttpd").mkdir()
        w.nghttpd = Nghttpd(top / "nghttpd")
        stack.callback(w.nghttpd.stop)
        w.mesh = kvmesh.Mesh(top / "mesh")
        stack.callback(w.mesh.stop)
        for name, port, protocol in (("echo", w.echo.port, "HTTP"), ("web", w.nginx.port, "HTTP"),
                                     ("app", w.app.port, "HTTP2"), ("ngh", w.nghttpd.port, "HTTP2")):
            w.mesh.workload(name, port, protocol=protocol)
            w.mesh.service(name, 80, protocol.lower(), protocol=protocol)
        w.mesh.start()
        yield w


@pytest.fixture(autouse=True)
def still_serving(request):
    """Whatever a test did: afterwards the same proxies serve everybody."""
    yield
    if "world" in request.fixturenames:
        w = request.getfixturevalue("world")
        w.mesh.assert_sound()
        for host in ("web", "app"):
            assert w.mesh.get(host, "/").status == 200


# ---- clients ---------------------------------------------------------------------------------------------------


def curl(mesh, host, path, *args, input=None):
    return subprocess.run(
        ["curl", "-sS", "--http2-prior-knowledge", "--connect-to", f"::127.0.0.1:{mesh.http_port}", *map(str, args),
         f"http://{host}{path}"], capture_output=True, input=input, timeout=kvmesh.DEADLINE)


class Client:
    """An HTTP/2 client on python3-h2 that opens windows only when told to (ack=False)."""

    def __init__(self, mesh, ack=True):
        self.sock = socket.create_connection(("127.0.0.1", mesh.http_port), timeout=kvmesh.DEADLINE)
        self.c = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.c.initiate_connection()
        self.ack = ack
        self.head, self.body, self.trailers, self.ended, self.reset = {}, {}, {}, set(), {}
        self.goaway = None
        self.closed = False
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def flush(self):
        self.sock.sendall(self.c.data_to_send())

    def request(self, host, path, method="GET", fields=(), end=True):
        sid = self.c.get_next_available_stream_id()
        self.c.send_headers(sid, [(":method", method), (":scheme", "http"), (":authority", host), (":path", path),
                                  *fields], end_stream=end)
        self.flush()
        return sid

    def data(self, sid, data, end=False):
        while data or end:
            wait = data and self.c.local_flow_control_window(sid) <= 0
            if wait:
                self.read()
                continue
            n = min(len(data), self.c.local_flow_control_window(sid), self.c.max_outbound_frame_size)
            piece, data = data[:n], data[n:]
            self.c.send_data(sid, piece, end_stream=end and not data)
            self.flush()
            if not data:
                return

    def read(self):
        got = self.sock.recv(65536)
        if not got:
            self.closed = True
            return
        for e in self.c.receive_data(got):
            self.event(e)
        self.flush()

    def event(self, e):
        sid = getattr(e, "stream_id", None)
        if isinstance(e, h2.events.ResponseReceived):
            self.head[sid] = dict(e.headers)
        elif isinstance(e, h2.events.DataReceived):
            self.body[sid] = self.body.get(sid, b"") + e.data
            if self.ack:
                self.c.acknowledge_received_data(e.flow_controlled_length, sid)
        elif isinstance(e, h2.events.TrailersReceived):
            self.trailers[sid] = dict(e.headers)
        elif isinstance(e, h2.events.StreamEnded):
            self.ended.add(sid)
        elif isinstance(e, h2.events.StreamReset):
            self.reset[sid] = e.error_code
        elif isinstance(e, h2.events.ConnectionTerminated):
            self.goaway = e.error_code

    def until(self, condition):
        while not condition() and not self.closed:
            self.read()
        assert condition(), (self.head, self.ended, self.reset, self.goaway)

    def finish(self, *sids):
        self.until(lambda: all(s in self.ended or s in self.reset for s in sids))
        return [self.head[s][":status"] if s in self.ended else f"reset {self.reset[s]}" for s in sids]


# ---- an HTTP/1.1 application behind ---------------------------------------------------------------------------------


def test_curl_gets_from_nginx(world):
    r = curl(world.mesh, "web", "/", "-w", "%{http_version} %{http_code}")
    assert r.stdout == b"web\n2 200", r


@pytest.mark.parametrize("size", [0, 1, 16384, 3_000_000])
def test_a_posted_body_comes_back(world, size):
    data = os.urandom(size)
    r = curl(world.mesh, "echo", "/", "--data-binary", "@-", input=data)
    assert r.returncode == 0 and r.stdout == data


def test_an_upload_of_unknown_length_comes_back(world):
    data = os.urandom(2_000_000)
    r = curl(world.mesh, "echo", "/", "-T", "-", "-X", "POST", input=data)
    assert r.returncode == 0 and r.stdout == data


def test_head_has_a_length_and_no_body(world):
    r = curl(world.mesh, "echo", "/", "-I")
    assert b"content-length: 12345" in r.stdout and r.returncode == 0


def test_204_and_an_answer_without_length(world):
    assert curl(world.mesh, "echo", "/204", "-w", "%{http_code}").stdout == b"204"
    assert curl(world.mesh, "echo", "/close").stdout == b"until the end"


@pytest.mark.parametrize("host", ["echo", "app"])
def test_a_large_download_arrives_whole(world, host):
    r = curl(world.mesh, host, "/big/30000000", "-o", "/dev/null", "-w", "%{size_download}")
    assert r.returncode == 0 and r.stdout == b"30000000"


def test_a_client_that_opens_its_window_in_small_steps_is_served(world):
    """Go's client sends a WINDOW_UPDATE for every few kB it reads: that is no flood."""
    with Client(world.mesh) as c:
        sid = c.request("echo", "/big/3000000")
        got = 0
        c.ack = False
        real = c.event

        def step(e):
            nonlocal got
            real(e)
            if isinstance(e, h2.events.DataReceived):
                got += len(e.data)
                for _ in range(0, e.flow_controlled_length, 512):
                    c.c.increment_flow_control_window(512)
                    with contextlib.suppress(h2.exceptions.StreamClosedError):
                        c.c.increment_flow_control_window(512, sid)
        c.event = step
        assert c.finish(sid) == ["200"] and got == 3_000_000


def test_cookie_crumbs_are_joined(world):
    with Client(world.mesh) as c:
        sid = c.request("app", "/x", fields=[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")])
        assert c.finish(sid) == ["200"]
    fields = [f for p, f in world.app.seen if p == "/x"][-1]
    assert fields["cookie"] == "a=1; b=2"
    assert fields[":authority"] == "app"


# ---- an HTTP/2 application behind ------------------------------------------------------------------------------------


def h2load(mesh, host, path, *args):
    r = subprocess.run(["h2load", "--connect-to", f"127.0.0.1:{mesh.http_port}", *map(str, args), f"http://{host}{path}"],
                       capture_output=True, text=True, timeout=kvmesh.DEADLINE * 2)
    found = re.search(r"requests: (\d+) total.*?(\d+) succeeded, (\d+) failed.*?status codes: (\d+) 2xx", r.stdout, re.S)
    assert found, r.stdout + r.stderr
    return tuple(map(int, found.groups()))


@pytest.mark.parametrize("host,path", [("web", "/"), ("ngh", "/file")])
def test_many_streams_on_one_connection(world, host, path):
    assert h2load(world.mesh, host, path, "-n", 4000, "-c", 1, "-m", 100) == (4000, 4000, 0, 4000)


def test_many_connections_with_many_streams(world):
    assert h2load(world.mesh, "ngh", "/file", "-n", 4000, "-c", 16, "-m", 32) == (4000, 4000, 0, 4000)


def test_an_http_1_client_reaches_an_http_2_application(world):
    r = world.mesh.get("app", "/echo", method="POST", body=b"hello")
    assert (r.status, r.headers["x-length"], r.body) == (200, "5", b"hello")


def test_trailers_go_both_ways(world):
    with Client(world.mesh) as c:
        sid = c.request("app", "/trailers", method="POST", fields=[("te", "trailers")], end=False)
        c.data(sid, b"hello")
        c.c.send_headers(sid, [("x-req", "7")], end_stream=True)
        c.flush()
        assert c.finish(sid) == ["200"]
        assert c.head[sid]["x-got-x-req"] == "7"
        assert c.body[sid] == b"body" and c.trailers[sid] == {"x-sum": "42", "x-more": "a b"}


def test_a_connection_per_request_when_the_rule_says_so(world):
    """maxRequestsPerConnection: the last request on a connection is still sent."""
    rule = world.mesh.write("mesh.d/20-once.yaml", """\
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: { name: once, namespace: default }
spec: { host: ngh, trafficPolicy: { connectionPool: { http: { maxRequestsPerConnection: 1 } } } }
""")
    try:
        wait_for("the rule", lambda: "once" in world.mesh.ctl("get", "destinationrules").stdout)
        assert h2load(world.mesh, "ngh", "/file", "-n", 200, "-c", 1, "-m", 4) == (200, 200, 0, 200)
    finally:
        rule.unlink()


# ---- one exchange does not disturb the others ---------------------------------------------------------------------------


def rss(mesh):
    return mesh.call("proxy/node.sock", "Status")["parameters"]["rssBytes"]


def test_a_stream_nobody_reads_does_not_stop_the_others(world):
    with Client(world.mesh, ack=False) as slow:
        slow.c.increment_flow_control_window(10_000_000)        # the connection is open, the stream is not
        slow.flush()
        before = rss(world.mesh)
        stuck = [slow.request("app", "/big/50000000") for _ in range(8)]
        slow.until(lambda: all(len(slow.body.get(s, b"")) == 65535 for s in stuck))
        for _ in range(50):
            assert slow.finish(slow.request("app", "/quick")) == ["200"]
        with Client(world.mesh) as other:
            assert other.finish(other.request("app", "/quick")) == ["200"]
        assert rss(world.mesh) - before < 8 * 4_000_000
        assert not any(s in slow.ended for s in stuck)


def test_a_slow_stream_goes_on_when_its_window_opens(world):
    with Client(world.mesh, ack=False) as c:
        c.c.increment_flow_control_window(100_000_000)
        c.flush()
        sid = c.request("app", "/big/5000000")
        c.until(lambda: len(c.body.get(sid, b"")) == 65535)
        assert c.finish(c.request("app", "/quick")) == ["200"]
        c.c.increment_flow_control_window(5_000_000, sid)
        c.flush()
        assert c.finish(sid) == ["200"] and len(c.body[sid]) == 5_000_000


def test_a_client_that_gives_up_is_seen_by_the_application(world):
    with Client(world.mesh) as c:
        sid = c.request("app", "/silent")
        wait_for("the request", lambda: any(p == "/silent" for p, _ in world.app.seen))
        c.c.reset_stream(sid, CANCEL)
        c.flush()
        wait_for("the reset", lambda: ("/silent", CANCEL) in world.app.resets)
        assert c.finish(c.request("app", "/quick")) == ["200"], "the connection goes on"


def test_a_client_connection_that_dies_resets_its_exchanges(world):
    before = len(world.app.resets)
    with Client(world.mesh) as c:
        sid = c.request("app", "/stream")
        c.until(lambda: c.body.get(sid))
    wait_for("the reset", lambda: any(p == "/stream" for p, _ in world.app.resets[before:]))


def test_what_comes_late_for_exchanges_that_were_given_up_is_no_flood(world):
    """A service has sent a window's worth for each before it hears of it. Its connection goes on, with what others have on it."""
    with Client(world.mesh) as c:
        held = c.request("app", "/hold")
        late = [c.request("app", "/late") for _ in range(6)]
        c.until(lambda: all(sid in c.head for sid in late))
        before = len(world.app.resets)
        for sid in late:
            c.c.reset_stream(sid, 8)
        c.flush()
        wait_for("the resets", lambda: len(world.app.resets) >= before + 6)
        world.app.release()
        assert c.finish(held)[0] == "200"


def test_a_reset_by_the_application_is_no_complete_answer(world):
    with Client(world.mesh) as c:
        sid = c.request("app", "/reset")
        assert c.finish(sid)[0] in ("503", "502", "reset 2"), "503: the reset overtook the head"
        assert c.finish(c.request("app", "/quick")) == ["200"]


def test_an_early_answer_arrives_whole_and_the_upload_is_stopped(world):
    """A 404 for an upload that has not ended: its body must not be lost to the RST_STREAM behind it."""
    with Client(world.mesh) as c:
        sid = c.request("nobody.example", "/healthz", method="TRACE", end=False)
        c.until(lambda: sid in c.ended)
        assert c.head[sid][":status"] == "405"
        c.until(lambda: sid in c.reset)
        assert c.reset[sid] == 0


# ---- frames by hand ----------------------------------------------------------------------------------------------------


def frame(kind, flags, sid, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, sid) + payload


def block(fields):
    return hpack.Encoder().encode(fields, huffman=False)


def get(sid=1, flags=END_HEADERS | END_STREAM, authority="web", method="GET", path="/", scheme="http", extra=()):
    return frame(HEADERS, flags, sid, block([(":method", method), (":scheme", scheme), (":authority", authority),
                                             (":path", path), *extra]))


class Raw:
    """Everything that comes back, as frames."""

    def __init__(self, mesh, data=b"", preface=PREFACE + frame(SETTINGS, 0, 0)):
        self.sock = socket.create_connection(("127.0.0.1", mesh.http_port), timeout=kvmesh.DEADLINE)
        self.decoder = hpack.Decoder()
        self.buffer, self.frames = b"", []
        self.send(preface + data)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def send(self, data):
        with contextlib.suppress(OSError):      # it may close while we still send
            self.sock.sendall(data)

    def next(self):
        """The next frame, None at the end."""
        while True:
            if len(self.buffer) >= 9:
                n = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) >= 9 + n:
                    kind, flags, sid = struct.unpack(">BBI", self.buffer[3:9])
                    payload, self.buffer = self.buffer[9:9 + n], self.buffer[9 + n:]
                    self.frames.append((kind, flags, sid, payload))
                    return self.frames[-1]
            try:
                got = self.sock.recv(65536)
            except ConnectionResetError:
                return None
            if not got:
                return None
            self.buffer += got

    def outcome(self, sid=1):
        """What becomes of a stream: its status, "RST code", "GOAWAY code", or "closed"."""
        while f := self.next():
            kind, _, on, payload = f
            if kind == HEADERS:
                fields = dict(self.decoder.decode(payload))
                if on == sid:
                    return int(fields[":status"])
            elif kind == RST and on == sid:
                return f"RST {int.from_bytes(payload, 'big')}"
            elif kind == GOAWAY:
                return f"GOAWAY {int.from_bytes(payload[4:8], 'big')}"
        return "closed"

    def ends(self):
        """Read until the proxy closes; the code of its GOAWAY, None without."""
        code = None
        while f := self.next():
            if f[0] == GOAWAY:
                code = int.from_bytes(f[3][4:8], "big")
        return code


def rst(code):
    return f"RST {code}"


STREAM_ERRORS = {
    "upper-case name": (get(extra=[("X-Upper", "1")]), [rst(PROTOCOL_ERROR)]),
    "connection field": (get(extra=[("connection", "close")]), [rst(PROTOCOL_ERROR)]),
    "transfer-encoding": (get(extra=[("transfer-encoding", "chunked")]), [rst(PROTOCOL_ERROR)]),
    "te": (get(extra=[("te", "gzip")]), [rst(PROTOCOL_ERROR)]),
    "pseudo after field": (frame(HEADERS, 5, 1, block([(":method", "GET"), (":scheme", "http"), ("a", "b"), (":path", "/"), (":authority", "web")])), [rst(PROTOCOL_ERROR)]),
    "unknown pseudo": (frame(HEADERS, 5, 1, block([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "web"), (":nope", "1")])), [rst(PROTOCOL_ERROR)]),
    "no path": (frame(HEADERS, 5, 1, block([(":method", "GET"), (":scheme", "http"), (":authority", "web")])), [rst(PROTOCOL_ERROR)]),
    "no authority": (frame(HEADERS, 5, 1, block([(":method", "GET"), (":scheme", "http"), (":path", "/")])), [rst(PROTOCOL_ERROR), 400]),
    "two methods": (frame(HEADERS, 5, 1, block([(":method", "GET"), (":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "web")])), [rst(PROTOCOL_ERROR)]),
    "crlf in value": (get(extra=[("a", "b\r\nc: d")]), [rst(PROTOCOL_ERROR)]),
    "nul in value": (get(extra=[("a", "b\0c")]), [rst(PROTOCOL_ERROR)]),
    "space around value": (get(extra=[("a", " b ")]), [rst(PROTOCOL_ERROR), 400]),
    "empty name": (get(extra=[("", "b")]), [rst(PROTOCOL_ERROR)]),
    "name with colon": (get(extra=[("a:b", "c")]), [rst(PROTOCOL_ERROR)]),
    "content-length and none": (get(extra=[("content-length", "5")]), [rst(PROTOCOL_ERROR)]),
    "body shorter than its length": (get(flags=4, method="POST", authority="app", path="/echo", extra=[("content-length", "5")]) + frame(DATA, END_STREAM, 1, b"abc"), [rst(PROTOCOL_ERROR)]),
    "body longer than its length": (get(flags=4, method="POST", authority="app", path="/echo", extra=[("content-length", "2")]) + frame(DATA, END_STREAM, 1, b"abc"), [rst(PROTOCOL_ERROR)]),
    "two lengths": (get(flags=4, method="POST", extra=[("content-length", "3"), ("content-length", "3")]), [rst(PROTOCOL_ERROR)]),
    "length list": (get(flags=4, method="POST", extra=[("content-length", "3, 3")]), [rst(PROTOCOL_ERROR)]),
    "host mismatch": (get(extra=[("host", "other")]), [400]),
    "userinfo": (get(authority="user@web"), [400, rst(PROTOCOL_ERROR)]),
    "path in authority": (get(authority="web/x"), [400, rst(PROTOCOL_ERROR)]),
    "relative path": (get(path="x"), [400, rst(PROTOCOL_ERROR)]),
    "scheme": (get(scheme="ftp"), [400, rst(PROTOCOL_ERROR)]),
    "connect": (frame(HEADERS, 5, 1, block([(":method", "CONNECT"), (":authority", "web:80")])), [405, rst(PROTOCOL_ERROR)]),
    "extended connect for something": (frame(HEADERS, 4, 1, block([(":method", "CONNECT"), (":protocol", "x"), (":scheme", "http"), (":path", "/"), (":authority", "web")])), [501]),
    "protocol without connect": (frame(HEADERS, 5, 1, block([(":method", "GET"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/"), (":authority", "web")])), [rst(PROTOCOL_ERROR)]),
    "extended connect without path": (frame(HEADERS, 4, 1, block([(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "web")])), [rst(PROTOCOL_ERROR)]),
    "trace": (get(method="TRACE"), [405]),
    "bad percent": (get(path="/%zz"), [400]),
    "many fields": (get(extra=[(f"x-{i}", "1") for i in range(150)]), [431]),
    "zero window update": (get(flags=4, method="POST", authority="app", path="/echo") + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\0"), [rst(PROTOCOL_ERROR), "GOAWAY 1"]),
    "window overflow": (get(flags=4, method="POST", authority="app", path="/echo") + frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"), [rst(FLOW_CONTROL_ERROR)]),
    "depends on itself": (frame(PRIORITY, 0, 1, struct.pack(">IB", 1, 16)) + get(), [200, rst(PROTOCOL_ERROR), "GOAWAY 1"]),
    "data after the end": (get(authority="app", path="/silent") + frame(DATA, 0, 1, b"x"), [rst(STREAM_CLOSED), f"GOAWAY {STREAM_CLOSED}"]),
}


@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_a_malformed_message_ends_its_stream_only(world, name):
    data, allowed = STREAM_ERRORS[name]
    with Raw(world.mesh, data) as c:
        got = c.outcome()
        assert got in allowed
        if isinstance(got, str) and got.startswith("GOAWAY"):
            c.ends()
        else:
            c.send(frame(HEADERS, 5, 3, hpack.Encoder().encode(
                [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "web")])))
            assert c.outcome(3) == 200, "the connection goes on"


CONNECTION_ERRORS = {
    "frame too large": (frame(DATA, 0, 1, b"x" * 16385), [FRAME_SIZE_ERROR]),
    "data on stream 0": (frame(DATA, 0, 0, b"x"), [PROTOCOL_ERROR]),
    "data on an idle stream": (frame(DATA, 0, 1, b"x"), [PROTOCOL_ERROR]),
    "even stream": (get(sid=2), [PROTOCOL_ERROR]),
    "settings length": (frame(SETTINGS, 0, 0, b"abc"), [FRAME_SIZE_ERROR]),
    "settings on a stream": (frame(SETTINGS, 0, 1), [PROTOCOL_ERROR]),
    "settings ack with payload": (frame(SETTINGS, ACK, 0, b"\0\3\0\0\0\1"), [FRAME_SIZE_ERROR]),
    "settings window": (frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)), [FLOW_CONTROL_ERROR]),
    "settings frame size": (frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 1)), [PROTOCOL_ERROR]),
    "ping length": (frame(PING, 0, 0, b"1234567"), [FRAME_SIZE_ERROR]),
    "ping on a stream": (frame(PING, 0, 1, b"12345678"), [PROTOCOL_ERROR]),
    "push promise": (frame(PUSH, END_HEADERS, 1, b"\0\0\0\2\x82"), [PROTOCOL_ERROR]),
    "rst on an idle stream": (frame(RST, 0, 1, b"\0\0\0\0"), [PROTOCOL_ERROR]),
    "rst length": (frame(RST, 0, 1, b"\0\0\0"), [FRAME_SIZE_ERROR]),
    "continuation alone": (frame(CONTINUATION, END_HEADERS, 1, b"\x82"), [PROTOCOL_ERROR]),
    "block interrupted": (frame(HEADERS, 0, 1, b"\x82") + frame(PING, 0, 0, b"12345678"), [PROTOCOL_ERROR]),
    "hpack index": (frame(HEADERS, 5, 1, b"\xff\xff\xff\x0f"), [COMPRESSION_ERROR]),
    "hpack garbage": (frame(HEADERS, 5, 1, b"\x00\x85\xff\xff\xff\xff\xff\x00"), [COMPRESSION_ERROR]),
    "hpack table size": (frame(HEADERS, 5, 1, b"\x3f\xff\xff\xff\x07\x82"), [COMPRESSION_ERROR]),
    "padding": (frame(HEADERS, 13, 1, b"\xff\x82"), [PROTOCOL_ERROR]),
    "window update length": (frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"), [FRAME_SIZE_ERROR]),
    "zero window update": (frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), [PROTOCOL_ERROR]),
    "window overflow": (frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), [FLOW_CONTROL_ERROR]),
    "settings entries": (frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100) * 100), [ENHANCE_YOUR_CALM]),
}


@pytest.mark.parametrize("name", CONNECTION_ERRORS)
def test_a_broken_frame_ends_the_connection_with_its_code(world, name):
    data, allowed = CONNECTION_ERRORS[name]
    with Raw(world.mesh, data) as c:
        assert c.ends() in allowed


def test_a_first_frame_that_is_no_settings(world):
    with Raw(world.mesh, preface=PREFACE + frame(PING, 0, 0, b"12345678")) as c:
        assert c.ends() == PROTOCOL_ERROR


@pytest.mark.parametrize("preface", [b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n" + b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"])
def test_a_bad_preface_is_a_bad_http_1_request(world, preface):
    with Raw(world.mesh, preface=preface) as c:
        out = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := c.sock.recv(65536):
                out += piece
        assert re.match(rb"HTTP/1.1 (400|405|505) ", out) and out.count(b"HTTP/1.1 ") == 1


def test_a_preface_in_pieces(world):
    with Raw(world.mesh, preface=b"") as c:
        c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in PREFACE + frame(SETTINGS, 0, 0) + get():
            c.send(bytes([byte]))
        assert c.outcome() == 200


@pytest.mark.parametrize("name", ["fields", "cookies"])
def test_a_header_list_that_unpacks_to_more_than_the_limit_is_431(world, name):
    fields = [("x-bomb", "b" * 3900)] * 60 if name == "fields" else [("cookie", "c" * 3900)] * 60
    with Raw(world.mesh, get(extra=fields)) as c:
        assert c.outcome() in (431, rst(PROTOCOL_ERROR), rst(ENHANCE_YOUR_CALM))


FLOODS = {
    "rapid reset": lambda: b"".join(get(sid=i, authority="app", path="/silent") + frame(RST, 0, i, struct.pack(">I", CANCEL)) for i in range(1, 8001, 2)),
    "continuation": lambda: frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 1, b"\x84") * 1000,
    "empty continuation": lambda: frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 1) * 1000,
    "settings": lambda: frame(SETTINGS, 0, 0) * 20_000,
    "ping": lambda: frame(PING, 0, 0, b"12345678") * 20_000,
    "ping acks": lambda: frame(PING, ACK, 0, b"12345678") * 20_000,
    "priority": lambda: frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 16)) * 20_000,
    "window update": lambda: frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 20_000,
    "empty data": lambda: get(flags=4, method="POST", authority="app", path="/echo") + frame(DATA, 0, 1) * 20_000,
    "empty data, then a frame of a wrong size": lambda: get(flags=4, method="POST", authority="app", path="/echo") + frame(DATA, 0, 1) * 400 + frame(PRIORITY, 0, 3),
    "pings, then a frame of a wrong size": lambda: frame(PING, 0, 0, b"12345678") * 2000 + frame(SETTINGS, 0, 0, b"x"),
    "malformed requests": lambda: b"".join(get(sid=i, extra=[("Upper", "1")]) for i in range(1, 2001, 2)),
    "unknown frames": lambda: frame(0x42, 0, 0, b"x") * 60_000,
    "provoked resets": lambda: b"".join(get(sid=i, flags=4, method="POST", authority="app", path="/echo") + frame(WINDOW_UPDATE, 0, i, b"\x7f\xff\xff\xff") for i in range(1, 2001, 2)),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_its_connection(world, name):
    with Raw(world.mesh, FLOODS[name]()) as c:
        assert c.ends() == ENHANCE_YOUR_CALM


def test_a_flood_is_counted(world):
    def count():
        found = re.findall(r'^kvmesh_bad_input_total\{.*reason="h2_flood".*\} (\d+)', world.mesh.metrics(), re.M)
        return sum(map(int, found))
    before = count()
    with Raw(world.mesh, FLOODS["ping"]()) as c:
        c.ends()
    wait_for("h2_flood in the metrics", lambda: count() > before)


def test_more_streams_than_allowed_are_refused(world):
    with Raw(world.mesh, b"".join(get(sid=i, authority="app", path="/silent") for i in range(1, 203, 2))) as c:
        assert c.outcome(201) in (rst(REFUSED_STREAM), f"GOAWAY {PROTOCOL_ERROR}")


def test_acks_nobody_reads_are_bounded(world):
    before = rss(world.mesh)
    with Raw(world.mesh) as c:
        c.sock.settimeout(2)
        with contextlib.suppress(OSError):
            for _ in range(200):
                c.sock.sendall(frame(PING, 0, 0, b"12345678") * 5000)
    assert rss(world.mesh) - before < 8_000_000


def goaway(c):
    """(code, last stream) of the next GOAWAY."""
    while f := c.next():
        if f[0] == HEADERS:
            c.decoder.decode(f[3])
        elif f[0] == GOAWAY:
            return int.from_bytes(f[3][4:8], "big"), int.from_bytes(f[3][:4], "big")
    return None


def test_a_drain_lets_a_running_request_finish(tmp_path):
    app = App()
    mesh = kvmesh.Mesh(tmp_path / "mesh")
    mesh.workload("app", app.port, protocol="HTTP2")
    mesh.service("app", 80, "http2", protocol="HTTP2")
    try:
        mesh.start()
        with Raw(mesh, get(authority="app", path="/quick")) as c:
            assert c.outcome() == 200
            c.send(get(sid=3, authority="app", path="/hold"))
            wait_for("the request", lambda: app.held)
            mesh.process.popen.send_signal(signal.SIGTERM)
            assert goaway(c) == (0, 0x7fffffff), "nothing is refused yet"
            c.send(get(sid=5, authority="app", path="/late"))
            assert c.outcome(5) == 200, "it was on its way, to a workload of the same node"
            ping = next(f for f in c.frames if f[0] == PING and not f[1] & ACK)
            c.send(frame(PING, ACK, 0, ping[3]))
            assert goaway(c) == (0, 5)
            c.send(get(sid=7, authority="app", path="/quick"))
            app.release()
            assert c.outcome(3) == 200
            c.ends()
            assert (DATA, b"held") in [(f[0], f[3]) for f in c.frames if f[2] == 3]
            assert not [f for f in c.frames if f[2] == 7], "too late"
        assert mesh.process.popen.wait(kvmesh.DEADLINE) == 0, "no second signal: that one kills"
    finally:
        mesh.stop()
        app.stop()


def test_an_endless_header_block_times_out(tmp_path):
    """A HEADERS frame whose CONTINUATION never comes holds a connection only as long as a slow HTTP/1.1 head may."""
    nginx = kvmesh.Nginx(tmp_path, "web")
    mesh = kvmesh.Mesh(tmp_path / "mesh")
    mesh.write("kvmesh.conf", (mesh.etc / "kvmesh.conf").read_text() + 'limits = { headerTimeout = "1s"; };\n')
    mesh.workload("web", nginx.port)
    mesh.service("web", 80, "http")
    try:
        mesh.start()
        with Raw(mesh, frame(HEADERS, 1, 1, b"\x82")) as c:
            c.ends()
        with Raw(mesh, preface=PREFACE[:10]) as c:
            while c.sock.recv(4096):
                pass
        with Raw(mesh, preface=PREFACE) as c:
            c.ends()
        assert mesh.get("web").status == 200
    finally:
        mesh.stop()
        nginx.stop()
