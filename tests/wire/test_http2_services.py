# SPDX-License-Identifier: Apache-2.0
"""Services that speak HTTP/2, well and badly: frames by hand towards the proxy as their client. Whatever a service
sends, its caller gets a whole answer, an error or a cut; never bytes that could be read in two ways (RFC 9113).
And what messages have besides a head and a body (1xx, trailers), through every pairing of versions.
"""

import contextlib
import http.client
import socket
import struct
import threading

import hpack
import pytest

import kvmesh
from kvmesh import wait_for
from test_http2 import (ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE,
                        PRIORITY, PUSH, REFUSED_STREAM, RST, SETTINGS, WINDOW_UPDATE, App, AppConnection, Client, block,
                        frame)
from server import Server

BOTH = END_HEADERS | END_STREAM


# ---- services --------------------------------------------------------------------------------------------------


class RawService(Server):
    """Reads requests and lets a function of the path answer each with frames: answers[path](connection, sid)."""

    def __init__(self, settings=b""):
        self.settings = settings
        self.answers = {}
        self.seen = []                  # (connection, sid, fields)
        self.resets = []                # (path, code)
        self.lock = threading.Lock()
        self.open, self.most = {}, {}   # exchanges under way by connection, and their peak
        super().__init__()

    def serve(self, c):
        with c, contextlib.suppress(OSError):
            RawConnection(self, c).run()


class RawConnection:
    def __init__(self, service, sock):
        self.service, self.sock = service, sock
        self.decoder = hpack.Decoder()
        self.paths = {}

    def send(self, *frames):
        with contextlib.suppress(OSError):
            self.sock.sendall(b"".join(frames))

    def run(self):
        f = self.sock.makefile("rb")
        assert f.read(24) == PREFACE
        self.send(frame(SETTINGS, 0, 0, self.service.settings))
        while len(head := f.read(9)) == 9:
            n = int.from_bytes(head[:3], "big")
            kind, flags, sid = struct.unpack(">BBI", head[3:])
            self.frame(kind, flags, sid, f.read(n))

    def frame(self, kind, flags, sid, payload):
        s = self.service
        if kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == RST:
            s.resets.append((self.paths.get(sid), int.from_bytes(payload, "big")))
        elif kind == HEADERS:
            fields = dict(self.decoder.decode(payload))
            path = self.paths[sid] = fields[":path"]
            s.seen.append((self, sid, fields))
            with s.lock:
                s.open[self] = s.open.get(self, 0) + 1
                s.most[self] = max(s.most.get(self, 0), s.open[self])
            threading.Thread(target=s.answers.get(path, fine), args=(self, sid), daemon=True).start()

    def over(self):
        with self.service.lock:
            self.service.open[self] -= 1


def head(sid, *fields, status="200", flags=END_HEADERS):
    return frame(HEADERS, flags, sid, block([(":status", status), *fields]))


def fine(c, sid):
    c.over()
    c.send(head(sid, ("x-sid", str(sid))), frame(DATA, END_STREAM, sid, b"fine"))


def end(sid, data=b"body"):
    return frame(DATA, END_STREAM, sid, data)


# What a service sends for a request on stream sid. RFC 9113 sections in front. None of it is an answer.
BAD_HEADS = {
    "8.2.1 upper-case name": lambda s: head(s, ("X-Upper", "1")) + end(s),
    "8.2.1 crlf in value": lambda s: head(s, ("a", "b\r\nx-smuggled: yes")) + end(s),
    "8.2.1 lf in value": lambda s: head(s, ("a", "b\nx-smuggled: yes")) + end(s),
    "8.2.1 nul in value": lambda s: head(s, ("a", "b\0c")) + end(s),
    "8.2.1 space around value": lambda s: head(s, ("a", " b ")) + end(s),
    "8.2.1 empty name": lambda s: head(s, ("", "b")) + end(s),
    "8.2.1 name with a space": lambda s: head(s, ("a b", "c")) + end(s),
    "8.2.1 name with a colon": lambda s: head(s, ("a:b", "c")) + end(s),
    "8.2.1 name with crlf": lambda s: head(s, ("a\r\nx-smuggled", "c")) + end(s),
    "8.2.1 name beyond ascii": lambda s: head(s, ("ä", "c")) + end(s),
    "8.2.2 connection": lambda s: head(s, ("connection", "close")) + end(s),
    "8.2.2 keep-alive": lambda s: head(s, ("keep-alive", "1")) + end(s),
    "8.2.2 transfer-encoding": lambda s: head(s, ("transfer-encoding", "chunked")) + end(s),
    "8.2.2 upgrade": lambda s: head(s, ("upgrade", "websocket")) + end(s),
    "8.3 pseudo after field": lambda s: frame(HEADERS, 4, s, block([("a", "b"), (":status", "200")])) + end(s),
    "8.3 pseudo of a request": lambda s: head(s, (":path", "/")) + end(s),
    "8.3 unknown pseudo": lambda s: head(s, (":nope", "1")) + end(s),
    "8.3.2 no status": lambda s: frame(HEADERS, 4, s, block([("a", "b")])) + end(s),
    "8.3.2 two statuses": lambda s: head(s, (":status", "200")) + end(s),
    "8.3.2 status 99": lambda s: head(s, status="099") + end(s),
    "8.3.2 status 1000": lambda s: head(s, status="1000") + end(s),
    "8.3.2 status abc": lambda s: head(s, status="abc") + end(s),
    "8.3.2 empty status": lambda s: head(s, status="") + end(s),
    "8.6 switching protocols": lambda s: head(s, status="101") + end(s),
    "8.1 interim that ends": lambda s: head(s, status="103", flags=BOTH),
    "8.1 body before the head": lambda s: frame(DATA, 0, s, b"x") + head(s) + end(s),
    "8.1.1 two lengths": lambda s: head(s, ("content-length", "4"), ("content-length", "4")) + end(s),
    "8.1.1 different lengths": lambda s: head(s, ("content-length", "4"), ("content-length", "5")) + end(s),
    "8.1.1 length with a sign": lambda s: head(s, ("content-length", "+4")) + end(s),
    "8.1.1 length list": lambda s: head(s, ("content-length", "4, 4")) + end(s),
    "8.1.1 length overflow": lambda s: head(s, ("content-length", "18446744073709551620")) + end(s),
    "8.1.1 length and no body": lambda s: head(s, ("content-length", "4"), flags=BOTH),
    "8.4 push": lambda s: frame(PUSH, 4, s, b"\0\0\0\2" + block([(":method", "GET"), (":scheme", "http"), (":authority", "bad"), (":path", "/x")])) + head(s) + end(s),
    "too many interims": lambda s: head(s, status="103") * 20 + head(s) + end(s),
    "too many fields": lambda s: head(s, *[(f"x-{i}", "1") for i in range(150)]) + end(s),
    "too long": lambda s: b"".join(cut_block(s, block([(":status", "200"), *[(f"x-{i}", "v" * 3000) for i in range(30)]]))) + end(s),
    "4.2 frame too large": lambda s: frame(DATA, 0, s, b"x" * 200_000),
    "4.3 hpack": lambda s: frame(HEADERS, 4, s, b"\xff\xff\xff\x0f"),
    "6.1 data on stream 0": lambda s: frame(DATA, 0, 0, b"x"),
    "6.2 headers on stream 0": lambda s: frame(HEADERS, 4, 0, block([(":status", "200")])),
    "5.1 headers on a stream of nobody": lambda s: head(s + 100),
    "6.5 settings length": lambda s: frame(SETTINGS, 0, 0, b"abc"),
    "6.9 window of 0": lambda s: frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"),
    "6.9.1 window overflow": lambda s: frame(WINDOW_UPDATE, 0, s, b"\x7f\xff\xff\xff") + head(s) + end(s),
    "6.10 continuation alone": lambda s: frame(CONTINUATION, 4, s, b"\x88"),
    "3.4 http/1.1": lambda s: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "flood of pings": lambda s: frame(PING, 0, 0, b"12345678") * 20_000,
    "flood of settings": lambda s: frame(SETTINGS, 0, 0) * 20_000,
    "flood of priorities": lambda s: frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 16)) * 20_000,
    "flood of continuations": lambda s: frame(HEADERS, 0, s, b"\x88") + frame(CONTINUATION, 0, s) * 1000,
}

# The answer had begun: it is cut where it is wrong.
BAD_BODIES = {
    "8.1.1 shorter than its length": lambda s: head(s, ("content-length", "10")) + end(s, b"abc"),
    "8.1.1 longer than its length": lambda s: head(s, ("content-length", "3")) + end(s, b"abcdef"),
    "8.1 trailers that do not end": lambda s: head(s) + frame(DATA, 0, s, b"abc") + head(s, status="200"),
    "8.1 pseudo in trailers": lambda s: head(s) + frame(DATA, 0, s, b"abc") + frame(HEADERS, BOTH, s, block([(":status", "200")])),
    "8.2.1 crlf in trailers": lambda s: head(s) + frame(DATA, 0, s, b"abc") + frame(HEADERS, BOTH, s, block([("a", "b\r\nc: d")])),
    "7 internal error": lambda s: head(s) + frame(DATA, 0, s, b"abc") + frame(RST, 0, s, struct.pack(">I", 2)),
    "6.1 padding": lambda s: head(s) + frame(DATA, 8, s, b"\xff\0"),
    "flood of empty data": lambda s: head(s) + frame(DATA, 0, s) * 20_000,
    "6.8 goaway and gone": lambda s: head(s) + frame(DATA, 0, s, b"abc") + frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0)),
}


def cut_block(sid, data):
    pieces = [data[i:i + 16000] for i in range(0, len(data), 16000)]
    for i, p in enumerate(pieces):
        yield frame(HEADERS if i == 0 else CONTINUATION, END_HEADERS if i == len(pieces) - 1 else 0, sid, p)


class InfoConnection(AppConnection):
    """/info: 103 with a field, then the answer. /continue: 100 when it is waited for."""

    def event(self, e):
        super().event(e)
        if type(e).__name__ == "RequestReceived" and self.fields[e.stream_id].get("expect") == "100-continue":
            self.c.send_headers(e.stream_id, [(":status", "100")])

    def request(self, sid):
        if self.paths[sid] == "/info":
            self.c.send_headers(sid, [(":status", "103"), ("link", "</x>")])
            self.head(sid)
            self.queues[sid] = [b"informed", None]
        elif self.paths[sid] == "/continue":
            self.head(sid)
            self.queues[sid] = [self.bodies[sid], None]
        else:
            super().request(sid)


class H1App(Server):
    """The same in HTTP/1.1, byte by byte."""

    def serve(self, c):
        with c, contextlib.suppress(OSError):
            f = c.makefile("rb")
            while line := f.readline():
                fields = read_fields(f)
                if fields.get("expect") == "100-continue":
                    c.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                body, trailers = read_body(f, fields)
                c.sendall(self.answer(line.split()[1], body, trailers))

    def answer(self, path, body, trailers):
        if path == b"/info":
            return b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ninformed"
        if path == b"/trailers":
            got = b"".join(b"x-got-%s: %s\r\n" % (k.encode(), v.encode()) for k, v in trailers.items())
            return (b"HTTP/1.1 200 OK\r\n" + got + b"Transfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n"
                    b"4\r\nbody\r\n0\r\nX-Sum: 42\r\nX-More: a b\r\n\r\n")
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def read_fields(f):
    fields = {}
    while line := f.readline().strip():
        k, v = line.decode().split(":", 1)
        fields[k.lower()] = v.strip()
    return fields


def read_body(f, fields):
    """(body, trailers)"""
    if fields.get("transfer-encoding") != "chunked":
        return f.read(int(fields.get("content-length", 0))), {}
    body = b""
    while n := int(f.readline(), 16):
        body += f.read(n)
        f.readline()
    return body, read_fields(f)


class Noting(InfoConnection):
    """Remembers the trailers of requests."""

    def request(self, sid):
        self.app.noted.append((self.paths[sid], self.bodies[sid], dict(self.trailers.get(sid, []))))
        super().request(sid)


class NotingH1(H1App):
    def __init__(self):
        self.noted = []
        super().__init__()

    def answer(self, path, body, trailers):
        self.noted.append((path.decode(), body, trailers))
        return super().answer(path, body, trailers)


class World:
    pass


RULE = """\
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: { name: few, namespace: default }
spec: { host: few, trafficPolicy: { connectionPool: { http: { http2MaxRequests: 2 } } } }
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: { name: few, namespace: default }
spec: { hosts: [ few ], http: [ { retries: { attempts: 0 }, route: [ { destination: { host: few } } ] } ] }
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: { name: copied, namespace: default }
spec:
  hosts: [ copied.example ]
  http:
  - route: [ { destination: { host: h2 } } ]
    mirrors: [ { destination: { host: shadow2 } }, { destination: { host: shadow1 } } ]
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World()
    with contextlib.ExitStack() as stack:
        top = tmp_path_factory.mktemp("h2s")
        w.bad, w.one, w.few = RawService(), RawService(struct.pack(">HI", 3, 1)), RawService()
        w.h2, w.h1 = App(InfoConnection), H1App()
        w.shadow2, w.shadow1 = App(Noting), NotingH1()
        w.shadow2.noted = []
        for s in (w.bad, w.one, w.few, w.h2, w.shadow1, w.shadow2):
            stack.callback(s.stop)
        stack.callback(w.h1.sock.close)
        w.bad.answers = {f"/{n.replace(' ', '-')}": bad(f) for n, f in {**BAD_HEADS, **BAD_BODIES}.items()}
        w.mesh = kvmesh.Mesh(top / "mesh")
        stack.callback(w.mesh.stop)
        for name, port, protocol in (("bad", w.bad.port, "HTTP2"), ("one", w.one.port, "HTTP2"),
                                     ("few", w.few.port, "HTTP2"), ("h2", w.h2.port, "HTTP2"), ("h1", w.h1.port, "HTTP"),
                                     ("shadow2", w.shadow2.port, "HTTP2"), ("shadow1", w.shadow1.port, "HTTP")):
            w.mesh.workload(name, port, protocol=protocol)
            w.mesh.service(name, 80, protocol.lower(), protocol=protocol)
        w.mesh.write("mesh.d/10-rule.yaml", RULE)
        w.mesh.start()
        yield w


def bad(f):
    def answer(c, sid):
        c.over()
        c.send(f(sid))
    return answer


@pytest.fixture(autouse=True)
def still_serving(request):
    yield
    if "world" in request.fixturenames:
        w = request.getfixturevalue("world")
        w.mesh.assert_sound()
        assert w.mesh.get("bad", "/fine").body == b"fine"


def h2_outcome(world, host, path):
    """Status, or "cut"."""
    with Client(world.mesh) as c:
        sid = c.request(host, path)
        c.until(lambda: sid in c.ended or sid in c.reset)
        assert not any("smuggled" in k for k in c.head.get(sid, {}))
        return c.head[sid][":status"] if sid in c.ended else "cut"


def h1_outcome(world, host, path):
    try:
        r = world.mesh.get(host, path)
    except (http.client.IncompleteRead, ConnectionResetError):
        return "cut"
    assert not any("smuggled" in k for k in r.headers)
    return "502" if r.status == 103 else str(r.status)          # http.client takes an interim for the answer


CLIENTS = {"h1 client": h1_outcome, "h2 client": h2_outcome}


# ---- bad services ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", BAD_HEADS)
def test_a_bad_head_is_a_bad_gateway(world, name, client):
    assert CLIENTS[client](world, "bad", f"/{name.replace(' ', '-')}") in ("502", "503")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_is_cut(world, name, client):
    """502 and 503: the error overtook the head, which then never left."""
    assert CLIENTS[client](world, "bad", f"/{name.replace(' ', '-')}") in ("cut", "502", "503")


def test_bad_services_are_counted(world):
    h1_outcome(world, "bad", "/8.2.2-connection")
    wait_for("http2_response in the metrics",
             lambda: [r for r in world.mesh.metrics().splitlines() if "kvmesh_bad_input_total" in r and "http2_response" in r])


# ---- streams and connections of a peer ---------------------------------------------------------------------------


def together(n, f):
    """n calls at once; their results."""
    out, threads = [None] * n, []
    for i in range(n):
        def one(i=i):
            out[i] = f(i)
        threads.append(threading.Thread(target=one, daemon=True))
        threads[-1].start()
    for t in threads:
        t.join(kvmesh.DEADLINE)
    return out


def test_a_peer_that_takes_one_stream_gets_one_at_a_time(world):
    def slow(c, sid):
        go.wait(kvmesh.DEADLINE)
        fine(c, sid)
    go = threading.Event()
    world.one.answers["/warm"] = fine
    assert world.mesh.get("one", "/warm").status == 200
    for c in list(world.one.most):
        world.one.most[c] = 0
    world.one.answers["/slow"] = slow
    threading.Timer(0.5, go.set).start()
    assert {r.status for r in together(12, lambda i: world.mesh.get("one", "/slow"))} == {200}
    assert max(world.one.most.values()) == 1


def test_what_a_peer_that_goes_has_not_seen_is_asked_of_another_connection(world):
    """GOAWAY with the last stream it did something with (RFC 9113 6.8): the others are sent again."""
    first = {}

    def goes(c, sid):
        if first.setdefault("c", c) is not c:
            fine(c, sid)
            return
        with lock:
            first.setdefault("sids", []).append(sid)
            if len(first["sids"]) < 4:
                return
        keep = min(first["sids"])
        c.send(frame(GOAWAY, 0, 0, struct.pack(">II", keep, 0)))
        c.send(head(keep), end(keep, b"fine"))
    lock = threading.Lock()
    world.bad.answers["/goes"] = goes
    with Client(world.mesh) as c:
        sids = [c.request("bad", "/goes", method="POST", fields=[("content-length", "0")]) for _ in range(4)]
        assert c.finish(*sids) == ["200"] * 4
        assert {c.body[s] for s in sids} == {b"fine"}


def test_a_peer_that_drains_keeps_what_it_has(world):
    def drains(c, sid):
        if not drained:
            drained.append(c)
            c.send(frame(GOAWAY, 0, 0, struct.pack(">II", 0x7fffffff, 0)))
            held.append(lambda: c.send(head(sid), end(sid, b"fine")))
            return
        assert c is not drained[0], "it said that it goes"
        fine(c, sid)
    drained, held = [], []
    world.bad.answers["/drains"] = drains
    with Client(world.mesh) as c:
        sid = c.request("bad", "/drains")
        wait_for("the request", lambda: held)
        wait_for("another connection for the next", lambda: [1 for _ in range(4) if world.mesh.get("bad", "/drains").status == 200])
        held.pop()()
        assert c.finish(sid) == ["200"] and c.body[sid] == b"fine"


def test_a_refused_stream_is_asked_again(world):
    def refuses(c, sid):
        if len(refused) < 1:
            refused.append(sid)
            c.over()
            c.send(frame(RST, 0, sid, struct.pack(">I", REFUSED_STREAM)))
        else:
            fine(c, sid)
    refused = []
    world.bad.answers["/refuses"] = refuses
    r = world.mesh.get("bad", "/refuses")
    assert (r.status, len(refused)) == (200, 1)


def refuses(times):
    left = [times]

    def answer(c, sid):
        left[0] -= 1
        if left[0] < 0:
            fine(c, sid)
            return
        c.over()
        c.send(frame(RST, 0, sid, struct.pack(">I", REFUSED_STREAM)))
    return answer


@pytest.mark.parametrize("size", [0, 20_000])
def test_a_refused_post_is_asked_again(world, size):
    """The service did nothing with it: sending it twice does no harm, whatever the method."""
    path = f"/refuses-post-{size}"
    world.bad.answers[path] = refuses(1)
    assert world.mesh.get("bad", path, "POST", body=b"x" * size).status == 200
    assert sum(f[":path"] == path for _, _, f in world.bad.seen) == 2


def test_a_post_that_is_refused_for_ever_ends(world):
    world.bad.answers["/refuses-always"] = refuses(1 << 30)
    assert world.mesh.get("bad", "/refuses-always", "POST", body=b"x" * 5000).status == 503
    assert sum(f[":path"] == "/refuses-always" for _, _, f in world.bad.seen) <= 12


def test_a_client_that_goes_cancels_at_the_service(world):
    world.bad.answers["/never"] = lambda c, sid: None
    with contextlib.closing(world.mesh.connect()) as c:
        c.request("GET", "/never", headers={"Host": "bad"})
        wait_for("the request", lambda: any(f[":path"] == "/never" for _, _, f in world.bad.seen))
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for("CANCEL", lambda: ("/never", CANCEL) in world.bad.resets)


def test_http2_max_requests(world):
    """DestinationRule http2MaxRequests: 2 are under way, the third is refused at once."""
    go = threading.Event()

    def slow(c, sid):
        go.wait(kvmesh.DEADLINE)
        fine(c, sid)
    world.few.answers["/slow"] = slow
    with Client(world.mesh) as c:
        first = [c.request("few", "/slow") for _ in range(2)]
        wait_for("two", lambda: sum(f[":path"] == "/slow" for _, _, f in world.few.seen) == 2)
        third = c.request("few", "/slow")
        assert c.finish(third) == ["503"]
        assert c.head[third]["x-envoy-overloaded"] == "true"
        go.set()
        assert c.finish(*first) == ["200", "200"]


# ---- 1xx and trailers through every pairing ------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_early_hints_for_an_http_2_client(world, host):
    with Client(world.mesh) as c:
        infos = []
        real = c.event

        def note(e):
            if type(e).__name__ == "InformationalResponseReceived":
                infos.append(dict(e.headers))
            real(e)
        c.event = note
        sid = c.request(host, "/info")
        assert c.finish(sid) == ["200"] and c.body[sid] == b"informed"
        assert [(i[":status"], i["link"]) for i in infos] == [("103", "</x>")]


def exchange(mesh, request, *more):
    """HTTP/1.1 by hand: everything that comes until the end."""
    with socket.create_connection(("127.0.0.1", mesh.http_port), timeout=kvmesh.DEADLINE) as s:
        s.sendall(request)
        f = s.makefile("rb")
        for wait, data in more:
            assert f.readline().startswith(wait), wait
            read_fields(f)
            s.sendall(data)
        return f.read().decode()


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_early_hints_for_an_http_1_client(world, host):
    got = exchange(world.mesh, f"GET /info HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert got.startswith("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert "informed" in got


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_an_http_1_client_is_told_to_continue(world, host):
    got = exchange(world.mesh, f"POST /continue HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n"
                   "Connection: close\r\n\r\n".encode(), (b"HTTP/1.1 100 ", b"hello"))
    assert got.startswith("HTTP/1.1 200 OK\r\n") and "hello" in got


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_an_http_2_client_is_told_to_continue(world, host):
    with Client(world.mesh) as c:
        infos = []
        real = c.event

        def note(e):
            if type(e).__name__ == "InformationalResponseReceived":
                infos.append(dict(e.headers)[":status"])
            real(e)
        c.event = note
        sid = c.request(host, "/continue", method="POST", fields=[("expect", "100-continue")], end=False)
        c.until(lambda: infos)
        c.data(sid, b"hello", end=True)
        assert c.finish(sid) == ["200"] and c.body[sid] == b"hello" and infos == ["100"]


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_trailers_between_an_http_2_client_and(world, host):
    with Client(world.mesh) as c:
        sid = c.request(host, "/trailers", method="POST", fields=[("te", "trailers")], end=False)
        c.data(sid, b"hello")
        c.c.send_headers(sid, [("x-req", "7")], end_stream=True)
        c.flush()
        assert c.finish(sid) == ["200"]
        assert c.head[sid]["x-got-x-req"] == "7"
        assert c.body[sid] == b"body" and c.trailers[sid] == {"x-sum": "42", "x-more": "a b"}


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_trailers_between_an_http_1_client_and(world, host):
    got = exchange(world.mesh, f"POST /trailers HTTP/1.1\r\nHost: {host}\r\nTE: trailers\r\nConnection: close, te\r\n"
                   "Transfer-Encoding: chunked\r\nTrailer: x-req\r\n\r\n5\r\nhello\r\n0\r\nX-Req: 7\r\n\r\n".encode())
    head, _, body = got.partition("\r\n\r\n")
    assert "x-got-x-req: 7" in head
    assert body.endswith("0\r\nx-sum: 42\r\nx-more: a b\r\n\r\n")


@pytest.mark.parametrize("host", ["shadow1", "shadow2"])
def test_trailers_of_a_request_are_mirrored_too(world, host):
    shadow = getattr(world, host)
    shadow.noted.clear()
    with Client(world.mesh) as c:
        sid = c.request("copied.example", "/trailers", method="POST", fields=[("te", "trailers")], end=False)
        c.data(sid, b"hello")
        c.c.send_headers(sid, [("x-req", "7")], end_stream=True)
        c.flush()
        assert c.finish(sid) == ["200"]
        assert c.head[sid]["x-got-x-req"] == "7"
    wait_for("the copy", lambda: shadow.noted)
    assert shadow.noted == [("/trailers", b"hello", {"x-req": "7"})]


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_an_expectation_nobody_knows(world, host):
    with Client(world.mesh) as c:
        sid = c.request(host, "/x", method="POST", fields=[("expect", "a miracle")], end=False)
        assert c.finish(sid) == ["417"]
