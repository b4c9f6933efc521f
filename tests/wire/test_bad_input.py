# SPDX-License-Identifier: Apache-2.0
"""What a hostile or unlucky HTTP/1.1 peer may send, byte for byte, on both sides of two proxies with mutual TLS between
them. docs/bad-input.md says which row of which rule is shown by which test; the last test here holds it to that."""

import json
import pathlib
import re
import socket
import struct
import time

import pytest

import kvmesh
from kvmesh import wait_for
from server import Server

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n"


class RawService(Server):
    """Keeps every byte of every connection. Answers each whole head with the bytes that `script` holds for its path
    (a list: pieces, None closes, "reset" resets, a number waits), without it with a short 200."""

    def __init__(self):
        self.script = {}
        self.seen = []                  # one bytearray a connection
        self.ended = []                 # those whose connection is over
        super().__init__()

    def serve(self, c):
        got, at = bytearray(), 0
        self.seen.append(got)
        with c:
            try:
                while piece := c.recv(65536):
                    got += piece
                    while (end := got.find(b"\r\n\r\n", at)) >= 0:
                        head = bytes(got[at:end])
                        at = end + 4
                        if re.match(rb"[A-Z]+ \S+ HTTP/1\.1\r\n", head) and not self._answer(c, head.split()[1]):
                            return
            except OSError:
                pass
        self.ended.append(got)

    def _answer(self, c, path):
        for step in self.script.get(path.decode(), [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]):
            if step is None:
                return False
            if step == "reset":
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            if isinstance(step, (int, float)):
                time.sleep(step)
            else:
                c.sendall(step)
        return True

    def text(self):
        return b"\n".join(bytes(x) for x in list(self.seen))


class World:
    def __init__(self, directory, limits=""):
        self.app = RawService()
        self.mesh = kvmesh.Mesh(directory)
        self.mesh.workload("app", self.app.port)
        self.mesh.service("app", 80, "http")
        if limits:
            self.mesh.write("conf.d/limits.conf", f"limits = {{ {limits} }};\n")

    def start(self):
        self.mesh.start()
        return self

    def stop(self):
        self.mesh.stop()
        self.app.stop()

    def raw(self, *pieces, shut=False):
        """Everything that comes back until the proxy ends the connection. A reset would be a failure: the answer to bad
        input must be readable although more of it lies unread."""
        with socket.create_connection(("127.0.0.1", self.mesh.http_port), timeout=kvmesh.DEADLINE) as s:
            for piece in pieces:
                s.sendall(piece)
            if shut:
                s.shutdown(socket.SHUT_WR)
            out = b""
            while piece := s.recv(65536):
                out += piece
            return out

    def one(self, data):
        """One exchange that leaves the connection open: status and body by Content-Length."""
        return self.raw(data.replace(b"Host: app\r\n", b"Host: app\r\nConnection: close\r\n", 1))

    def bad(self, layer, reason):
        families = self.mesh.call("proxy/node.sock", "Stats")["parameters"]["families"]
        rows = next((f["series"] for f in families if f["name"] == "kvmesh_bad_input_total"), [])
        return sum(int(r[-1]) for r in rows if layer in r and reason in r)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World(tmp_path_factory.mktemp("bad") / "mesh")
    try:
        yield w.start()
    finally:
        w.stop()


def request(line=b"GET /x HTTP/1.1", fields=b"Host: app\r\n", body=b""):
    return line + b"\r\n" + fields + b"\r\n" + body


def post(framing, body=b"", path=b"/x"):
    return request(b"POST " + path + b" HTTP/1.1", b"Host: app\r\n" + framing, body)


CL, TE = b"Content-Length: ", b"Transfer-Encoding: "
CHUNKED = TE + b"chunked\r\n"
MANY = b"".join(b"X-%d: 1\r\n" % i for i in range(150))

# name: (bytes, status, reason). Nothing of these may reach the service.
REFUSED = {
    "line: no version": (b"GET /x\r\nHost: app\r\n\r\n", 400, "bad_request_line"),
    "line: no target": (request(b"GET HTTP/1.1"), 400, "bad_request_line"),
    "line: two spaces": (request(b"GET  /x HTTP/1.1"), 400, "bad_request_line"),
    "line: space in front": (request(b" GET /x HTTP/1.1"), 400, "bad_request_line"),
    "line: space behind": (request(b"GET /x HTTP/1.1 "), 400, "bad_request_line"),
    "line: tab for space": (request(b"GET\t/x HTTP/1.1"), 400, "bad_request_line"),
    "line: fourth part": (request(b"GET /x y HTTP/1.1"), 400, "bad_request_line"),
    "line: control byte": (request(b"GET /x\x01 HTTP/1.1"), 400, "bad_request_line"),
    "line: delete": (request(b"GET /x\x7f HTTP/1.1"), 400, "bad_request_line"),
    "line: byte above 127": (request(b"GET /\xe4 HTTP/1.1"), 400, "bad_request_line"),
    "line: method no token": (request(b"G(T /x HTTP/1.1"), 400, "bad_request_line"),
    "line: NUL": (request(b"GET /\0 HTTP/1.1"), 400, "bad_request_line"),
    "line: bare CR": (request(b"GET /x\r HTTP/1.1"), 400, "bad_request_line"),
    "line: backslash host": (request(b"GET \\\\evil/x HTTP/1.1"), 400, "bad_target"),
    "line: backslash scheme": (request(b"GET http:\\\\app\\x HTTP/1.1"), 400, "bad_target"),
    "line: a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64 + b"\r\n\r\n", 400, "bad_request_line"),
    "line: two empty lines in front": (b"\r\n\r\n" + request(), 400, "bad_request_line"),
    "version: HTTP/0.9": (request(b"GET /x HTTP/0.9"), 505, "bad_version"),
    "version: HTTP/2.0": (request(b"GET /x HTTP/2.0"), 505, "bad_version"),
    "version: HTTP/1.10": (request(b"GET /x HTTP/1.10"), 505, "bad_version"),
    "version: HTTP/01.1": (request(b"GET /x HTTP/01.1"), 505, "bad_version"),
    "version: HTTP/1": (request(b"GET /x HTTP/1"), 400, "bad_version"),
    "version: HTTP/1.x": (request(b"GET /x HTTP/1.x"), 400, "bad_version"),
    "version: lower case": (request(b"GET /x http/1.1"), 505, "bad_version"),
    "version: another name": (request(b"GET /x HTCPCP/1.0"), 400, "bad_request_line"),
    "1.0: Transfer-Encoding": (request(b"POST /x HTTP/1.0", b"Host: app\r\n" + CHUNKED, b"0\r\n\r\n"), 400, "te_in_10"),
    "field: bare LF": (b"GET /x HTTP/1.1\r\nHost: app\nX: y\r\n\r\n", 400, "bad_field"),
    "field: LF only": (b"GET /x HTTP/1.1\nHost: app\n\n", 400, "bad_request_line"),
    "field: bare CR": (request(fields=b"Host: app\r\nX: a\rb\r\n"), 400, "bad_field"),
    "field: CR CR LF": (request(fields=b"Host: app\r\nX: a\r\r\n"), 400, "bad_field"),
    "field: NUL in value": (request(fields=b"Host: app\r\nX: a\0b\r\n"), 400, "bad_field"),
    "field: NUL in name": (request(fields=b"Host: app\r\nX\0: a\r\n"), 400, "bad_field"),
    "field: control byte": (request(fields=b"Host: app\r\nX: a\x1bb\r\n"), 400, "bad_field"),
    "field: obs-fold": (request(fields=b"Host: app\r\nX: a\r\n b\r\n"), 400, "bad_field"),
    "field: obs-fold by tab": (request(fields=b"Host: app\r\nX: a\r\n\tb\r\n"), 400, "bad_field"),
    "field: space before the first": (request(fields=b" X: y\r\nHost: app\r\n"), 400, "bad_field"),
    "field: space before colon": (request(fields=b"Host: app\r\nContent-Length : 5\r\n"), 400, "bad_field"),
    "field: no name": (request(fields=b"Host: app\r\n: a\r\n"), 400, "bad_field"),
    "field: no colon": (request(fields=b"Host: app\r\nnonsense\r\n"), 400, "bad_field"),
    "field: name no token": (request(fields=b"Host: app\r\nX Y: a\r\n"), 400, "bad_field"),
    "field: name above 127": (request(fields=b"Host: app\r\nX\xc3\xa4: a\r\n"), 400, "bad_field"),
    "connection: no token": (request(fields=b"Host: app\r\nConnection: a b\r\n"), 400, "bad_field"),
    "host: missing": (request(fields=b"X: y\r\n"), 400, "bad_host"),
    "host: twice": (request(fields=b"Host: app\r\nHost: app\r\n"), 400, "bad_host"),
    "host: empty": (request(fields=b"Host:\r\n"), 400, "bad_host"),
    "host: userinfo": (request(fields=b"Host: u@app\r\n"), 400, "bad_host"),
    "host: path": (request(fields=b"Host: app/x\r\n"), 400, "bad_host"),
    "host: space": (request(fields=b"Host: app evil\r\n"), 400, "bad_host"),
    "host: list": (request(fields=b"Host: app, evil\r\n"), 400, "bad_host"),
    "host: port 65536": (request(fields=b"Host: app:65536\r\n"), 400, "bad_host"),
    "host: port empty": (request(fields=b"Host: app:\r\n"), 400, "bad_host"),
    "host: port no number": (request(fields=b"Host: app:8o\r\n"), 400, "bad_host"),
    "host: half an address": (request(fields=b"Host: [::1\r\n"), 400, "bad_host"),
    "host: zone": (request(fields=b"Host: [fe80::1%25eth0]\r\n"), 400, "bad_host"),
    "host: percent": (request(fields=b"Host: a%70p\r\n"), 400, "bad_host"),
    "absolute: other host": (request(b"GET http://app/ HTTP/1.1", b"Host: other\r\n"), 400, "host_mismatch"),
    "absolute: other port": (request(b"GET http://app:81/ HTTP/1.1"), 400, "host_mismatch"),
    "absolute: userinfo": (request(b"GET http://u@app/ HTTP/1.1"), 400, "bad_host"),
    "absolute: other scheme": (request(b"GET ftp://app/ HTTP/1.1"), 400, "bad_target"),
    "target: percent cut": (request(b"GET /%a HTTP/1.1"), 400, "bad_target"),
    "target: percent no hex": (request(b"GET /%zz HTTP/1.1"), 400, "bad_target"),
    "target: percent NUL": (request(b"GET /a%00 HTTP/1.1"), 400, "bad_target"),
    "target: no slash": (request(b"GET x HTTP/1.1"), 400, "bad_target"),
    "target: * for GET": (request(b"GET * HTTP/1.1"), 400, "bad_target"),
    "method: CONNECT without port": (request(b"CONNECT app HTTP/1.1"), 400, "bad_target"),
    "method: TRACE": (request(b"TRACE /x HTTP/1.1"), 405, "method"),
    "cl+te": (post(CL + b"3\r\n" + CHUNKED, b"0\r\n\r\n"), 400, "cl_te"),
    "te+cl": (post(CHUNKED + CL + b"3\r\n", b"0\r\n\r\n"), 400, "cl_te"),
    "cl: repeated, equal": (post(CL + b"3\r\n" + CL + b"3\r\n", b"abc"), 400, "bad_cl"),
    "cl: repeated, differing": (post(CL + b"3\r\n" + CL + b"4\r\n", b"abc"), 400, "bad_cl"),
    "cl: list": (post(CL + b"3, 3\r\n", b"abc"), 400, "bad_cl"),
    "cl: plus": (post(CL + b"+3\r\n", b"abc"), 400, "bad_cl"),
    "cl: minus": (post(CL + b"-1\r\n", b"abc"), 400, "bad_cl"),
    "cl: hex": (post(CL + b"0x3\r\n", b"abc"), 400, "bad_cl"),
    "cl: empty": (post(CL + b"\r\n", b"abc"), 400, "bad_cl"),
    "cl: 2^63": (post(CL + b"9223372036854775808\r\n", b"abc"), 400, "bad_cl"),
    "cl: 2^64 + 3": (post(CL + b"18446744073709551619\r\n", b"abc"), 400, "bad_cl"),
    "cl: space inside": (post(CL + b"1 2\r\n", b"abc"), 400, "bad_cl"),
    "te: not chunked": (post(TE + b"gzip\r\n"), 400, "bad_te"),
    "te: identity": (post(TE + b"identity\r\n"), 400, "bad_te"),
    "te: empty": (post(TE + b"\r\n"), 400, "bad_te"),
    "te: quoted": (post(TE + b'"chunked"\r\n', b"0\r\n\r\n"), 400, "bad_te"),
    "te: chunked not last": (post(TE + b"chunked, gzip\r\n", b"0\r\n\r\n"), 400, "bad_te"),
    "te: chunked twice": (post(TE + b"chunked, chunked\r\n", b"0\r\n\r\n"), 400, "bad_te"),
    "te: two fields": (post(CHUNKED + CHUNKED, b"0\r\n\r\n"), 400, "bad_te"),
    "te: vertical tab": (post(TE + b"\x0bchunked\r\n", b"0\r\n\r\n"), 400, "bad_field"),
    "te: coding that nobody knows": (post(TE + b"gzip, chunked\r\n"), 501, "bad_te"),
    "limit: request line": (request(b"GET /" + b"a" * 20_000 + b" HTTP/1.1"), 414, "too_large"),
    "limit: header section": (request(fields=b"Host: app\r\n" + (b"X: " + b"v" * 1000 + b"\r\n") * 70), 431, "too_large"),
    "limit: one field": (request(fields=b"Host: app\r\nX: " + b"v" * 70_000 + b"\r\n"), 431, "too_large"),
    "limit: fields": (request(fields=b"Host: app\r\n" + MANY), 431, "too_large"),
    "expect: unknown": (post(b"Expect: miracles\r\n" + CL + b"3\r\n", b"abc"), 417, "expect"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_is_refused(world, name):
    data, status, reason = REFUSED[name]
    before, seen = world.bad("http1", reason), world.app.text()
    out = world.raw(data, SMUGGLED)
    assert out.startswith(b"HTTP/1.1 %d " % status), out[:200]
    assert out.count(b"HTTP/1.") == 1, "nothing after an error is interpreted"
    assert b"\r\nconnection: close\r\n" in out.lower()
    assert world.bad("http1", reason) == before + 1, reason
    assert world.app.text() == seen, "nothing of it reaches the service"


@pytest.mark.parametrize("name,line", [
    ("CONNECT", b"CONNECT app:80 HTTP/1.1\r\nHost: app:80\r\n\r\n"), ("lower case", request(b"get /x HTTP/1.1")),
    ("mixed case", request(b"Get /x HTTP/1.1"))])
def test_a_method_that_is_not_served_is_405(world, name, line):
    before, seen = world.bad("http", "method"), world.app.text()
    out = world.raw(line, shut=True)
    assert out.startswith(b"HTTP/1.1 405 ")
    assert world.bad("http", "method") == before + 1
    assert world.app.text() == seen


def test_a_path_above_the_root_is_400_however_it_is_written(world):
    seen = world.app.text()
    for path in (b"/..", b"/a/../../x", b"/%2e%2e/x", b"/.%2E/x", b"/a/..\\..\\..\\x"):
        assert world.one(request(b"GET " + path + b" HTTP/1.1")).startswith(b"HTTP/1.1 400 "), path
    assert world.app.text() == seen


# name: (body, reason). The head is good, so the service may see the exchange begin: it must never see it complete.
BAD_BODIES = {
    "size: no hex": (b"xyz\r\n", "bad_chunk"),
    "size: none": (b"\r\n", "bad_chunk"),
    "size: sign": (b"+5\r\nhello\r\n0\r\n\r\n", "bad_chunk"),
    "size: 0x": (b"0x5\r\nhello\r\n0\r\n\r\n", "bad_chunk"),
    "size: space in front": (b" 5\r\nhello\r\n0\r\n\r\n", "bad_chunk"),
    "size: 17 digits": (b"00000000000000005\r\nhello\r\n0\r\n\r\n", "bad_chunk"),
    "size: 2^63": (b"8000000000000000\r\nhello", "bad_chunk"),
    "size: LF alone": (b"5\nhello\n0\n\n", "bad_chunk"),
    "extension: too long": (b"5;" + b"e" * 300 + b"\r\nhello\r\n0\r\n\r\n", "bad_chunk"),
    "extension: control byte": (b"5;a=\x01\r\nhello\r\n0\r\n\r\n", "bad_chunk"),
    "extension: bare CR": (b"5;a=\rb\r\nhello\r\n0\r\n\r\n", "bad_chunk"),
    "extension: LF alone": (b"5;a\nhello\r\n0\r\n\r\n", "bad_chunk"),
    "data: longer than said": (b"5\r\nhello!\r\n0\r\n\r\n", "bad_chunk"),
    "data: no CRLF": (b"5\r\nhello0\r\n\r\n", "bad_chunk"),
    "data: LF alone": (b"5\r\nhello\n0\r\n\r\n", "bad_chunk"),
    "last: LF alone": (b"5\r\nhello\r\n0\n\n", "bad_chunk"),
    "trailer: Content-Length": (b"0\r\nContent-Length: 5\r\n\r\n", "bad_trailer"),
    "trailer: Transfer-Encoding": (b"0\r\nTransfer-Encoding: chunked\r\n\r\n", "bad_trailer"),
    "trailer: Host": (b"0\r\nHost: evil\r\n\r\n", "bad_trailer"),
    "trailer: Authorization": (b"0\r\nAuthorization: Basic eA==\r\n\r\n", "bad_trailer"),
    "trailer: identity": (b"0\r\nX-Forwarded-Client-Cert: By=x\r\n\r\n", "bad_trailer"),
    "trailer: obs-fold": (b"0\r\nX: a\r\n b\r\n\r\n", "bad_trailer"),
    "trailer: no colon": (b"0\r\nnonsense\r\n\r\n", "bad_trailer"),
    "trailer: NUL": (b"0\r\nX: \0\r\n\r\n", "bad_trailer"),
    "trailer: too many": (b"0\r\n" + MANY + b"\r\n", "too_large"),
    "trailer: too long": (b"0\r\n" + (b"X: " + b"v" * 1000 + b"\r\n") * 70 + b"\r\n", "too_large"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_chunked_body_that_is_broken_is_never_completed(world, name):
    body, reason = BAD_BODIES[name]
    path = "/body-" + re.sub(r"\W", "-", name)
    world.app.script[path] = []                 # hears, says nothing: the answer is the proxy's
    before = world.bad("http1", reason)
    out = world.raw(post(CHUNKED, body, path.encode()), SMUGGLED)
    assert out.startswith(b"HTTP/1.1 400 ") and out.count(b"HTTP/1.") == 1, out[:200]
    assert world.bad("http1", reason) == before + 1
    seen = next((bytes(x) for x in world.app.seen if path.encode() in x), b"")
    assert not seen.endswith(b"0\r\n\r\n") and b"smuggled" not in world.app.text()


def test_a_body_that_its_client_does_not_finish_is_never_completed(world):
    for path, head in (("/unfinished", CL + b"100\r\n"), ("/unfinished-chunked", CHUNKED)):
        world.app.script[path] = []
        body = b"abc" if head.startswith(CL) else b"3\r\nabc\r\n"
        with socket.create_connection(("127.0.0.1", world.mesh.http_port), timeout=kvmesh.DEADLINE) as s:
            s.sendall(post(head, body, path.encode()))
            seen = wait_for("it at the service", lambda: next((x for x in world.app.seen if path.encode() in x), None))
        wait_for("the end of what will not be finished", lambda: seen in world.app.ended)
        assert not seen.endswith(b"0\r\n\r\n")


# ---- what is put right ---------------------------------------------------------------------------------------


def last_head(world, path):
    text = world.app.text()
    return text[text.rindex(b" " + path):].split(b"\r\n\r\n")[0].lower()


def test_versions_of_1_are_served(world):
    for minor in b"1259":
        assert world.one(request(b"GET /minor HTTP/1.%c" % minor)).startswith(b"HTTP/1.1 200 ")


def test_http_1_0_is_kept_alive_only_when_asked(world):
    line = b"GET /old HTTP/1.0"
    assert world.raw(request(line)).count(b"200 OK") == 1
    out = world.raw(request(line, b"Host: app\r\nConnection: keep-alive\r\n"), request(line))
    assert out.count(b"200 OK") == 2 and b"connection: keep-alive" in out.lower()
    assert last_head(world, b"/old").split(b"\r\n")[0].endswith(b"http/1.1")


def test_http_1_0_without_host_is_answered_and_goes_nowhere_by_chance(world):
    seen = world.app.text()
    assert world.raw(b"GET /nohost HTTP/1.0\r\n\r\n").split(b" ")[1] in (b"400", b"404", b"502", b"503")
    assert world.app.text() == seen
    assert world.raw(b"GET http://app/nohost HTTP/1.0\r\n\r\n").split(b" ")[1] == b"200"
    assert b"\r\nhost: app" in last_head(world, b"/nohost")


def test_one_empty_line_in_front_is_ignored(world):
    assert world.one(b"\r\n" + request()).startswith(b"HTTP/1.1 200 ")


def test_a_fragment_is_dropped_and_counted(world):
    before = world.bad("http1", "fragment")
    assert world.one(request(b"GET /frag?q=1#secret HTTP/1.1")).startswith(b"HTTP/1.1 200 ")
    assert last_head(world, b"/frag").startswith(b" /frag?q=1 ") and b"secret" not in world.app.text()
    assert world.bad("http1", "fragment") == before + 1


def test_what_belongs_to_the_connection_stays_there(world):
    fields = (b"Host: app\r\nConnection: X-Named, keep-alive, Host, Authorization, X-Forwarded-For\r\nX-Named: 1\r\n"
              b"Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip, trailers\r\nUpgrade: h2c\r\n"
              b"HTTP2-Settings: AAMAAABk\r\nAuthorization: Basic eA==\r\nX-Kept: 1\r\n")
    assert b" 200 " in world.raw(request(b"GET /hop HTTP/1.1", fields), shut=True).split(b"\r\n")[0]
    head = last_head(world, b"/hop")
    for gone in (b"x-named", b"keep-alive", b"proxy-connection", b"upgrade", b"http2-settings", b"gzip"):
        assert gone not in head, gone
    for kept in (b"\r\nhost: app", b"\r\nauthorization: basic ea==", b"\r\nx-kept: 1"):
        assert kept in head, kept


def test_an_upgrade_that_is_not_websocket_stays_http(world):
    fields = b"Host: app\r\nConnection: Upgrade\r\nUpgrade: tunnel/9\r\n"
    assert b" 200 " in world.raw(request(b"GET /up HTTP/1.1", fields), shut=True).split(b"\r\n")[0]
    assert b"upgrade" not in last_head(world, b"/up")


def test_bytes_after_a_last_request_are_dropped(world):
    out = world.raw(request(b"GET /final HTTP/1.1", b"Host: app\r\nConnection: close\r\n"), SMUGGLED)
    assert out.count(b"HTTP/1.") == 1
    assert b"smuggled" not in world.app.text()


def test_max_forwards(world):
    seen = world.app.text()
    out = world.one(request(b"OPTIONS /mf HTTP/1.1", b"Host: app\r\nMax-Forwards: 0\r\n"))
    assert out.split(b" ")[1] == b"200"
    assert world.app.text() == seen, "it ends here"
    assert world.one(request(b"OPTIONS /mf HTTP/1.1", b"Host: app\r\nMax-Forwards: 7\r\n")).split(b" ")[1] == b"200"
    assert re.search(rb"max-forwards: [56]\b", last_head(world, b"/mf"))
    for value in (b"-1", b"x", b"1, 1", b""):
        out = world.one(request(b"OPTIONS /mf HTTP/1.1", b"Host: app\r\nMax-Forwards: " + value + b"\r\n"))
        assert out.split(b" ")[1] == b"400", value
    assert world.one(request(b"GET /mf HTTP/1.1", b"Host: app\r\nMax-Forwards: 0\r\n")).split(b" ")[1] == b"200"


# ---- time and size ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    w = World(tmp_path_factory.mktemp("strict") / "mesh",
              'headerTimeout = "400ms"; streamIdleTimeout = "600ms"; maxBodyBytes = 1000;')
    try:
        yield w.start()
    finally:
        w.stop()


def test_a_head_that_does_not_come_is_408(strict):
    for part in (b"G", b"GET /x HTTP/1.1\r\n", request()[:-2]):
        before = strict.bad("http1", "slow_header")
        out = strict.raw(part)
        assert out.startswith(b"HTTP/1.1 408 ") and b"connection: close" in out.lower(), out
        assert strict.bad("http1", "slow_header") == before + 1
    assert strict.raw() == b"", "a client that says nothing is told nothing"


def test_a_head_that_comes_byte_by_byte_is_408_too(strict):
    """Progress does not extend the time: a slow head costs no more than a silent one."""
    with socket.create_connection(("127.0.0.1", strict.mesh.http_port), timeout=kvmesh.DEADLINE) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.sendall(b"GET /x HTTP/1.1\r\nHost: app\r\nX: ")
        s.settimeout(0.05)
        out = b""
        for _ in range(1000):
            try:
                s.sendall(b"y")
                out += s.recv(4096)
                if out:
                    break
            except TimeoutError:
                continue
        assert out.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("framing,body", [(CL + b"100\r\n", b"abc"), (CHUNKED, b"3\r\nabc\r\n")])
def test_a_body_that_stalls_is_408(strict, framing, body):
    strict.app.script["/stall"] = []
    before = strict.bad("http", "slow_body")
    out = strict.raw(post(framing, body, b"/stall"))            # returns: the connection ends
    assert out.startswith(b"HTTP/1.1 408 "), out
    assert strict.bad("http", "slow_body") > before
    assert not any(x.endswith(b"0\r\n\r\n") for x in strict.app.seen)


def test_a_service_that_says_nothing_is_504(strict):
    strict.app.script["/mute"] = []
    assert strict.one(request(b"GET /mute HTTP/1.1")).startswith(b"HTTP/1.1 504 ")


def test_a_body_beyond_the_limit_is_413(strict):
    seen = strict.app.text()
    assert strict.raw(post(CL + b"1001\r\n", b"x" * 1001)).startswith(b"HTTP/1.1 413 ")
    assert strict.raw(post(CL + b"100000000\r\n", b"x" * 3_000_000)).startswith(b"HTTP/1.1 413 "), "readable all the same"
    assert strict.app.text() == seen
    strict.app.script["/grows"] = []
    chunk = b"100\r\n" + b"x" * 256 + b"\r\n"
    assert strict.raw(post(CHUNKED, chunk * 8, b"/grows")).startswith(b"HTTP/1.1 413 ")
    assert not any(x.endswith(b"0\r\n\r\n") for x in strict.app.seen)
    assert strict.one(post(CL + b"1000\r\n", b"x" * 1000)).startswith(b"HTTP/1.1 200 ")


# ---- hostile services ----------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"
# name: (what the service says before it hangs up, status). Every one of these is refused as a whole.
BAD_ANSWERS = {
    "line: no version": b"200 OK\r\n\r\n",
    "line: HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "line: HTTP/1.10": b"HTTP/1.10 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "line: two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    "line: four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
    "line: status 099": b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
    "line: no status": b"HTTP/1.1\r\nContent-Length: 2\r\n\r\nok",
    "line: two spaces": b"HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok",
    "line: control byte": b"HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nok",
    "line: NUL": b"HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok",
    "line: empty line in front": b"\r\n" + OK + b"Content-Length: 2\r\n\r\nok",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "not HTTP, binary": bytes(range(256)),
    "field: LF alone": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "field: bare CR": OK + b"X: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
    "field: bare LF": OK + b"X: a\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
    "field: NUL": OK + b"X: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "field: obs-fold": OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "field: space before colon": OK + b"Content-Length : 2\r\n\r\nok",
    "field: no colon": OK + b"nonsense\r\nContent-Length: 2\r\n\r\nok",
    "field: no name": OK + b": a\r\nContent-Length: 2\r\n\r\nok",
    "limit: fields": OK + MANY + b"Content-Length: 2\r\n\r\nok",
    "limit: section": OK + (b"X: " + b"v" * 1000 + b"\r\n") * 70 + b"Content-Length: 2\r\n\r\nok",
    "cl: differing": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "cl: differing list": OK + b"Content-Length: 2, 3\r\n\r\nok",
    "cl: sign": OK + b"Content-Length: +2\r\n\r\nok",
    "cl: empty": OK + b"Content-Length: \r\n\r\nok",
    "cl: 2^63": OK + b"Content-Length: 9223372036854775808\r\n\r\nok",
    "cl+te": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te: unknown": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "te: twice": OK + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "te: in 1.0": b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "101: not asked for": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" + OK + b"\r\n",
    "1xx: without end": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40 + OK + b"Content-Length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_an_answer_that_is_refused(world, name):
    path = "/answer-" + re.sub(r"\W", "-", name)
    world.app.script[path] = [BAD_ANSWERS[name], 0.05, None]
    before = world.bad("http1_response", "bad_response")
    out = world.one(request(b"GET " + path.encode() + b" HTTP/1.1"))
    out = re.sub(rb"HTTP/1\.1 103 [^\r]*\r\n(?:[^\r]+\r\n)*\r\n", b"", out)
    assert out.startswith(b"HTTP/1.1 502 "), out[:300]
    assert out.count(b"HTTP/1.") == 1 and b"Set-Cookie" not in out
    assert world.bad("http1_response", "bad_response") == before + 1
    assert world.one(request()).startswith(b"HTTP/1.1 200 "), "the next request finds a sound connection"


# name: (what the service says, then it closes or resets). The head was good: the client must see that something is missing.
CUT_ANSWERS = {
    "length": [OK + b"Content-Length: 100\r\n\r\nonly this", None],
    "length, reset": [OK + b"Content-Length: 100\r\n\r\nonly this", 0.05, "reset"],
    "chunk": [OK + CHUNKED + b"\r\n64\r\nonly this", None],
    "no last chunk": [OK + CHUNKED + b"\r\n9\r\nonly this\r\n", None],
    "no end of trailers": [OK + CHUNKED + b"\r\n9\r\nonly this\r\n0\r\n", None],
    "chunk size": [OK + CHUNKED + b"\r\n9\r\nonly this\r\nzz\r\n", 0.05, None],
    "chunk end": [OK + CHUNKED + b"\r\n9\r\nonly thisXX0\r\n\r\n", 0.05, None],
    "trailer": [OK + CHUNKED + b"\r\n9\r\nonly this\r\n0\r\nContent-Length: 5\r\n\r\n", 0.05, None],
    "no length, reset": [OK + b"\r\nonly this", 0.05, "reset"],
}


@pytest.mark.parametrize("name", CUT_ANSWERS)
def test_an_answer_that_is_cut_never_looks_complete(world, name):
    path = "/cut-" + re.sub(r"\W", "-", name)
    world.app.script[path] = [CUT_ANSWERS[name][0][:-3], 0.2, CUT_ANSWERS[name][0][-3:], *CUT_ANSWERS[name][1:]]
    with socket.create_connection(("127.0.0.1", world.mesh.http_port), timeout=kvmesh.DEADLINE) as s:
        s.sendall(request(b"GET " + path.encode() + b" HTTP/1.1", b"Host: app\r\nConnection: close\r\n"))
        out, clean = b"", True
        try:
            while piece := s.recv(65536):
                out += piece
        except ConnectionResetError:
            clean = False
    if not out.startswith(b"HTTP/1.1 200 "):
        assert re.match(rb"HTTP/1\.1 50[23] ", out), "the fault was seen before anything left: a whole answer of the proxy"
        return
    head, body = out.split(b"\r\n\r\n", 1)
    length = re.search(rb"content-length: (\d+)", head.lower())
    if length:
        assert len(body) < int(length[1])
    elif b"chunked" in head.lower():
        assert not body.endswith(b"0\r\n\r\n")
    else:
        assert not clean, "an end that looks like a proper one"


def test_a_service_that_is_not_there_resets_or_hangs_up(world):
    world.app.script["/hangup"], world.app.script["/reset"] = [None], ["reset"]
    world.app.script["/half"] = [OK[:20], None]
    for path in (b"/hangup", b"/reset", b"/half"):
        assert world.one(post(CL + b"2\r\n", b"ab", path)).startswith(b"HTTP/1.1 503 "), path


@pytest.mark.parametrize("name,answer", [
    ("bytes behind", OK + b"Content-Length: 2\r\n\r\nok" + OK + b"Content-Length: 6\r\n\r\npoison"),
    ("204 with a body", b"HTTP/1.1 204 No Content\r\n\r\n" + OK + b"Content-Length: 6\r\n\r\npoison"),
    ("204 with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison"),
    ("304 with a body", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison"),
    ("behind the last chunk", OK + CHUNKED + b"\r\n0\r\n\r\n" + OK + b"Content-Length: 6\r\n\r\npoison")])
def test_bytes_beyond_an_answer_are_nobodys(world, name, answer):
    path = "/excess-" + re.sub(r"\W", "-", name)
    world.app.script[path] = [answer]
    before = world.bad("http1_response", "upstream_excess")
    with socket.create_connection(("127.0.0.1", world.mesh.http_port), timeout=kvmesh.DEADLINE) as s:
        s.sendall(request(b"GET " + path.encode() + b" HTTP/1.1") + request(b"GET /sound HTTP/1.1", b"Host: app\r\nConnection: close\r\n"))
        out = b""
        while piece := s.recv(65536):
            out += piece
    assert b"poison" not in out
    assert out.endswith(b"\r\n\r\nok") and out.count(b"HTTP/1.1 ") == 2
    assert b" 204 " not in out or b"content-length: 6" not in out.lower()
    assert world.bad("http1_response", "upstream_excess") == before + 1


def test_bytes_on_an_idle_connection_are_nobodys(world):
    world.app.script["/late"] = [OK + b"Content-Length: 2\r\n\r\nok", 0.1, OK + b"Content-Length: 6\r\n\r\npoison"]
    before = world.bad("http1_response", "upstream_excess")
    assert world.one(request(b"GET /late HTTP/1.1")).endswith(b"ok")
    wait_for("the excess to be noticed", lambda: world.bad("http1_response", "upstream_excess") == before + 1)
    assert b"poison" not in world.one(request(b"GET /sound HTTP/1.1"))


def test_head_with_a_body_poisons_nobody(world):
    world.app.script["/head"] = [OK + b"Content-Length: 6\r\n\r\npoison"]
    out = world.raw(request(b"HEAD /head HTTP/1.1") + request(b"GET /sound HTTP/1.1", b"Host: app\r\nConnection: close\r\n"))
    assert b"poison" not in out and out.endswith(b"\r\n\r\nok")


def test_informational_answers_up_to_16(world):
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    world.app.script["/hints"] = [hint * 16 + OK + b"Content-Length: 2\r\n\r\nok"]
    out = world.one(request(b"GET /hints HTTP/1.1"))
    assert b"HTTP/1.1 200 OK" in out and out.endswith(b"ok")


def test_statuses_of_a_service_pass_through(world):
    """Those that the proxy gives itself are not changed when a service gives them."""
    for status in (400, 408, 413, 414, 417, 421, 426, 431, 501, 505, 599):
        world.app.script[f"/s{status}"] = [b"HTTP/1.1 %d Why Not\r\nContent-Length: 2\r\n\r\nok" % status]
        out = world.one(request(b"GET /s%d HTTP/1.1" % status))
        assert out.startswith(b"HTTP/1.1 %d " % status) and out.endswith(b"ok"), status


# ---- cut anywhere ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer,body", [
    (OK + b"Content-Length: 5\r\nX-A: b\r\n\r\nhello", b"hello"),
    (OK + CHUNKED + b"\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nX-T: u\r\n\r\n", b"hello"),
    (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", b"")])
def test_an_answer_split_at_every_byte(world, answer, body):
    for cut in range(1, len(answer)):
        path = f"/split{cut}"
        world.app.script[path] = [answer[:cut], 0.001, answer[cut:]]
        out = world.one(request(b"GET " + path.encode() + b" HTTP/1.1"))
        if b" 103 " in answer:
            assert out.startswith(b"HTTP/1.1 103 ") and b"HTTP/1.1 204 " in out and out.endswith(b"\r\n\r\n"), (cut, out)
            continue
        assert out.startswith(b"HTTP/1.1 200 "), (cut, out)
        got = out.split(b"\r\n\r\n", 1)[1]
        if b"chunked" in answer:        # how it is cut into chunks is the proxy's business
            got, end = got.split(b"0\r\n", 1)
            got = re.sub(rb"(?:^|\r\n)[0-9a-f]+\r\n", b"", got).removesuffix(b"\r\n")
            assert end == b"x-t: u\r\n\r\n", (cut, out)
        assert got == body, (cut, out)


def test_a_bad_request_split_at_every_byte(world):
    data = post(CHUNKED, b"5\r\nhello\r\n0\r\nHost: evil\r\n\r\n", b"/badsplit")
    world.app.script["/badsplit"] = []
    for cut in range(1, len(data)):
        out = world.raw(data[:cut], data[cut:])
        assert out.startswith(b"HTTP/1.1 400 ") and out.count(b"HTTP/1.") == 1, (cut, out)


# ---- the table ---------------------------------------------------------------------------------------------------


def test_every_row_of_the_table_names_tests_that_exist():
    named, missing = 0, []
    for line in (kvmesh.TOP / "docs/bad-input.md").read_text().splitlines():
        for file, tests in re.findall(r"`(tests/[\w/.]+)`((?::? `\w+`,?)*)", line):
            text = (kvmesh.TOP / file).read_text() if (kvmesh.TOP / file).is_file() else None
            for test in re.findall(r"`(\w+)`", tests) or [None]:
                named += 1
                if text is None or (test and not re.search(rf"(?:START_TEST\(|def ){test}\b", text)):
                    missing.append((file, test))
    assert named > 50 and not missing, missing
