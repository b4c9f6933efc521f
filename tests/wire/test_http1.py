# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 through two proxies with real clients: bodies, framing, upgrades, bad input."""

import base64
import hashlib
import http.client
import os
import socket
import subprocess
import threading

import pytest

import kvmesh
from kvmesh import wait_for
from server import Server


def read_request(f):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = f.readline()
        if not line:
            return None, None
        head += line
    fields = {k.strip().lower(): v.strip() for k, v in
              (line.split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)}
    return head, fields


class Echo(Server):
    """HTTP/1.1 server: echoes bodies the way they came (length or chunked), does upgrades, sends big bodies."""

    def serve(self, c):
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with c, c.makefile("rb") as f:
            try:
                while self.one(c, f):
                    pass
            except OSError:
                pass

    def one(self, c, f):
        head, fields = read_request(f)
        if head is None:
            return False
        method, path = head.split()[:2]
        if fields.get(b"upgrade"):
            c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: " + fields[b"upgrade"] + b"\r\nConnection: Upgrade\r\n\r\n")
            while piece := c.recv(65536):
                c.sendall(piece)
            return False
        if fields.get(b"expect") == b"100-continue":
            c.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if path.startswith(b"/big/"):
            n = int(path[5:])
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % n)
            block = b"0123456789abcdef" * 4096
            while n > 0:
                c.sendall(block[:n])
                n -= len(block)
            return True
        if path == b"/close":
            c.sendall(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
            return False
        if path == b"/204":
            c.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            return True
        if method == b"HEAD":
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
            return True
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n")
            digest = hashlib.sha256()
            while n := int(f.readline().split(b";")[0], 16):
                data = f.read(n)
                f.readline()
                digest.update(data)
                c.sendall(b"%x\r\n" % n + data + b"\r\n")
            while f.readline() not in (b"\r\n", b""):
                pass
            c.sendall(b"0\r\nx-sum: " + digest.hexdigest().encode() + b"\r\n\r\n")
            return True
        n = int(fields.get(b"content-length", 0))
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % n)
        while n > 0:
            data = f.read1(min(n, 65536))
            if not data:
                return False
            c.sendall(data)
            n -= len(data)
        return True


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    server = Echo()
    mesh = kvmesh.Mesh(tmp_path_factory.mktemp("echo") / "mesh")
    mesh.workload("echo", server.port)
    mesh.service("echo", 80, "http")
    try:
        yield mesh.start()
    finally:
        mesh.stop()
        server.sock.close()


def curl(mesh, *args, input=None):
    return subprocess.run(["curl", "-sS", "-x", f"http://127.0.0.1:{mesh.http_port}", *map(str, args)],
                          capture_output=True, input=input, timeout=kvmesh.DEADLINE)


def raw(mesh, data, shut=False):
    """Send bytes, return everything that comes back until the proxy closes."""
    with socket.create_connection(("127.0.0.1", mesh.http_port), timeout=kvmesh.DEADLINE) as s:
        s.sendall(data)
        if shut:
            s.shutdown(socket.SHUT_WR)
        out = b""
        try:
            while piece := s.recv(65536):
                out += piece
        except ConnectionResetError:
            pass
        return out


@pytest.mark.parametrize("size", [0, 1, 1023, 65536, 3_000_000])
def test_a_body_comes_back_as_it_went(echo, size, tmp_path):
    data = os.urandom(size)
    r = curl(echo, "--data-binary", "@-", "http://echo/", input=data)
    assert r.returncode == 0 and r.stdout == data


@pytest.mark.parametrize("size", [1, 70_000, 2_000_000])
def test_a_chunked_body_comes_back_with_its_trailer(echo, size):
    data = os.urandom(size)
    c = echo.connect()
    c.request("POST", "/", body=iter([data[:1], data[1:]]) if size > 1 else iter([data]), headers={"Host": "echo"}, encode_chunked=True)
    r = c.getresponse()
    assert r.read() == data


def test_curl_waits_for_100_continue(echo):
    data = os.urandom(2_000_000)
    r = curl(echo, "-H", "Expect: 100-continue", "--data-binary", "@-", "http://echo/", input=data)
    assert r.returncode == 0 and r.stdout == data


def test_head_has_a_length_and_no_body(echo):
    c = echo.connect()
    for _ in range(3):
        c.request("HEAD", "/", headers={"Host": "echo"})
        r = c.getresponse()
        assert (r.status, r.headers["content-length"], r.read()) == (200, "12345", b"")


def test_204_and_an_answer_that_ends_with_the_connection(echo):
    assert echo.get("echo", "/204").status == 204
    assert echo.get("echo", "/close").body == b"until the end"


def test_a_large_download_arrives_whole(echo):
    r = curl(echo, "-o", "/dev/null", "-w", "%{size_download}", "http://echo/big/50000000")
    assert r.returncode == 0 and r.stdout == b"50000000"


def test_pipelined_requests_are_answered_in_order(echo):
    one = b"POST /%d HTTP/1.1\r\nHost: echo\r\nContent-Length: 2\r\n\r\n%02d"
    last = b"GET / HTTP/1.1\r\nHost: echo\r\nConnection: close\r\n\r\n"
    out = raw(echo, b"".join(one % (i, i) for i in range(10)) + last)
    bodies = [part.split(b"\r\n\r\n", 1)[1] for part in out.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"%02d" % i for i in range(10)] + [b""]


def test_pipelined_requests_across_buffer_borders(echo):
    """Many at once, so that heads, chunk lines and trailers lie across the borders of the proxy's buffers."""
    n = 300
    one = (b"POST /n%d HTTP/1.1\r\nHost: echo\r\nX-Pad: " + b"p" * 150 + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
           b"4;ext=1\r\n%04d\r\n0\r\nx-trailer: " + b"t" * 60 + b"\r\n\r\n")
    last = b"GET / HTTP/1.1\r\nHost: echo\r\nConnection: close\r\n\r\n"
    data = b"".join(one % (i, i) for i in range(n)) + last
    with socket.create_connection(("127.0.0.1", echo.http_port), timeout=kvmesh.DEADLINE) as s:
        threading.Thread(target=s.sendall, args=(data,), daemon=True).start()
        out = b""
        while piece := s.recv(65536):
            out += piece
    heads = out.split(b"HTTP/1.1 200 OK")[1:]
    assert len(heads) == n + 1, out[-300:]
    for i, part in enumerate(heads[:n]):
        assert b"\r\n\r\n4\r\n%04d\r\n0\r\n" % i in part, part


def test_a_request_split_at_every_byte(echo):
    request = b"POST /x?y=1 HTTP/1.1\r\nHost: echo\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    for cut in range(1, len(request)):
        with socket.create_connection(("127.0.0.1", echo.http_port), timeout=kvmesh.DEADLINE) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.sendall(request[:cut])
            s.sendall(request[cut:])
            out = b""
            while piece := s.recv(65536):
                out += piece
        assert out.startswith(b"HTTP/1.1 200 OK\r\n") and out.endswith(b"\r\n\r\nhello"), (cut, out)


def test_websocket_upgrade_becomes_a_tunnel(echo):
    key = base64.b64encode(os.urandom(16))
    with socket.create_connection(("127.0.0.1", echo.http_port), timeout=kvmesh.DEADLINE) as s:
        s.sendall(b"GET /ws HTTP/1.1\r\nHost: echo\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: " + key +
                  b"\r\nSec-WebSocket-Version: 13\r\n\r\n")
        f = s.makefile("rb")
        assert f.readline().startswith(b"HTTP/1.1 101 ")
        fields = b""
        while (line := f.readline()) != b"\r\n":
            fields += line.lower()
        assert b"upgrade: websocket" in fields
        for n in (1, 1000, 200_000):
            data = os.urandom(n)
            s.sendall(data)
            assert f.read(n) == data


def test_http_1_0_is_served_and_closed(echo):
    out = raw(echo, b"GET / HTTP/1.0\r\nHost: echo\r\n\r\n")
    assert out.startswith(b"HTTP/1.") and b" 200 " in out.split(b"\r\n")[0]


def close_asked(echo, size):
    s = socket.create_connection(("127.0.0.1", echo.http_port), timeout=30)
    s.sendall(b"GET /big/%d HTTP/1.1\r\nHost: echo\r\nConnection: close\r\n\r\n" % size)
    return s


def test_a_client_that_asked_for_the_end_gets_all_and_then_the_end(echo):
    """The proxy closes at once when everything has left: what the kernel still holds must arrive, and no reset."""
    with close_asked(echo, 3_000_000) as s:
        first = s.recv(1000)
        got = len(first)
        while piece := s.recv(65536):
            got += len(piece)
    assert first.startswith(b"HTTP/1.1 200 ") and got > 3_000_000


def test_a_client_that_goes_on_after_asking_for_the_end_gets_its_answer(echo):
    """What follows is not answered, and does not take the answer away either."""
    with close_asked(echo, 200_000) as s:
        s.sendall(b"GET /more HTTP/1.1\r\nHost: echo\r\n\r\n" * 50)
        got = b""
        while piece := s.recv(65536):
            got += piece
    assert got.count(b"HTTP/1.1 200 ") == 1 and len(got) > 200_000


def test_a_client_that_shuts_its_side_still_gets_the_answer(echo):
    out = raw(echo, b"GET /big/100000 HTTP/1.1\r\nHost: echo\r\n\r\n", shut=True)
    assert b" 200 " in out.split(b"\r\n")[0] and len(out.split(b"\r\n\r\n", 1)[1]) == 100_000


BAD = {
    "cl and te": (b"POST / HTTP/1.1\r\nHost: echo\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two cl": (b"POST / HTTP/1.1\r\nHost: echo\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "cl list": (b"POST / HTTP/1.1\r\nHost: echo\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
    "cl sign": (b"POST / HTTP/1.1\r\nHost: echo\r\nContent-Length: +3\r\n\r\nabc", 400),
    "te not chunked": (b"POST / HTTP/1.1\r\nHost: echo\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    "te unknown": (b"POST / HTTP/1.1\r\nHost: echo\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "te twice": (b"POST / HTTP/1.1\r\nHost: echo\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "obs-fold": (b"GET / HTTP/1.1\r\nHost: echo\r\nX: a\r\n b\r\n\r\n", 400),
    "space before colon": (b"GET / HTTP/1.1\r\nHost : echo\r\n\r\n", 400),
    "bare lf": (b"GET / HTTP/1.1\nHost: echo\n\n", 400),
    "bare cr": (b"GET / HTTP/1.1\r\nHost: echo\r\nX: a\rb\r\n\r\n", 400),
    "nul": (b"GET / HTTP/1.1\r\nHost: echo\r\nX: a\0b\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: echo\r\nHost: echo\r\n\r\n", 400),
    "host mismatch": (b"GET http://echo/ HTTP/1.1\r\nHost: other\r\n\r\n", 400),
    "version": (b"GET / HTTP/3.0\r\nHost: echo\r\n\r\n", 505),
    "trace": (b"TRACE / HTTP/1.1\r\nHost: echo\r\n\r\n", 405),
    "long line": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: echo\r\n\r\n", 414),
    "long head": (b"GET / HTTP/1.1\r\nHost: echo\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 1000) for i in range(70)) + b"\r\n", 431),
    "many fields": (b"GET / HTTP/1.1\r\nHost: echo\r\n" + b"".join(b"X-%d: 1\r\n" % i for i in range(150)) + b"\r\n", 431),
    "bad percent": (b"GET /%zz HTTP/1.1\r\nHost: echo\r\n\r\n", 400),
    "nul percent": (b"GET /%00 HTTP/1.1\r\nHost: echo\r\n\r\n", 400),
    "expect": (b"GET / HTTP/1.1\r\nHost: echo\r\nExpect: miracles\r\n\r\n", 417),
    "bad chunk": (b"POST / HTTP/1.1\r\nHost: echo\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    "garbage": (b"\x16\x03\x01\x00\x05hello\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_its_status_and_the_connection_ends(echo, name):
    data, status = BAD[name]
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: echo\r\n\r\n"
    out = raw(echo, data + smuggled)
    assert out.startswith(b"HTTP/1.1 %d " % status), out[:200]
    assert out.count(b"HTTP/1.1 ") == 1, "nothing after an error is interpreted"


def test_a_path_that_climbs_above_the_root_is_400(echo):
    assert raw(echo, b"GET /a/../../x HTTP/1.1\r\nHost: echo\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_slow_reader_does_not_make_the_proxy_grow(echo):
    """50 MB towards clients that do not read: what waits is bounded by the buffers, not by the body."""
    def rss():
        return echo.call("proxy/node.sock", "Status")["parameters"]["rssBytes"]
    echo.get("echo", "/")
    before = rss()
    socks = []
    for _ in range(8):
        s = socket.create_connection(("127.0.0.1", echo.http_port), timeout=kvmesh.DEADLINE)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(b"GET /big/50000000 HTTP/1.1\r\nHost: echo\r\n\r\n")
        socks.append(s)
    for s in socks:
        assert s.recv(10)
    assert echo.get("echo", "/").status == 200, "others are served meanwhile"
    grown = rss() - before
    for s in socks:
        s.close()
    assert grown < 8 * 4_000_000, f"{grown} bytes for 8 slow readers"
