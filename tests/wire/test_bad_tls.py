# SPDX-License-Identifier: Apache-2.0
"""The mesh port against peers that do not finish, mangle or overdo their TLS: raw bytes, no answer that says anything,
and the port serves on. Certificates are judged in tests/unit/test_tls_certs.c, identities in test_identity.py."""

import os
import socket
import ssl
import struct

import pytest

import kvmesh
from test_identity import REQUEST, SNI, ask_mesh_port, mesh_certificate

NODE = "spiffe://cluster.local/ns/kvmesh-system/sa/test-1"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with kvmesh.Article(tmp_path_factory.mktemp("tls")) as a:
        a.start()
        a.mesh.cert = mesh_certificate(a.mesh, a.dir, NODE)
        yield a.mesh


def client(cert, sni=SNI, tune=None):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    ctx.set_alpn_protocols(["http/1.1"])
    if cert:
        ctx.load_cert_chain(*cert)
    if tune:
        tune(ctx)
    down, up = ssl.MemoryBIO(), ssl.MemoryBIO()
    return ctx.wrap_bio(down, up, server_hostname=sni), down, up


def hello(sni=SNI):
    tls, _, up = client(None, sni)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return up.read()


def answer_to(mesh, *pieces, shut=False):
    with socket.create_connection(("127.0.0.1", mesh.mesh_port), timeout=kvmesh.DEADLINE) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        out = b""
        try:
            for piece in pieces:
                s.sendall(piece)
            if shut:
                s.shutdown(socket.SHUT_WR)
            while piece := s.recv(65536):
                out += piece
        except (ConnectionResetError, BrokenPipeError):
            pass
        return out


def only_alerts(data):
    while data:
        kind, _, n = struct.unpack("!BHH", data[:5])
        if kind != 21:
            return False
        data = data[5 + n:]
    return True


def serves(mesh):
    return b" 200 OK\r\n" in ask_mesh_port(mesh, mesh.cert)


def refused(mesh):
    families = mesh.call("proxy/node.sock", "Stats")["parameters"]["families"]
    return sum(int(r[-1]) for f in families if f["name"] == "kvmesh_tls_refused_total" for r in f["series"])


HELLO = hello()
GARBAGE = {
    "nothing": b"",
    "one byte": b"\x16",
    "half a hello": HELLO[:len(HELLO) // 2],
    "noise": bytes(range(256)) * 4,
    "plain HTTP": REQUEST,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "an alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "application data first": b"\x17\x03\x03\x00\x05hello",
    "SSLv2 hello": b"\x80\x2e\x01\x03\x03\x00\x15\x00\x00\x00\x10" + b"\0" * 37,
    "empty record": b"\x16\x03\x01\x00\x00" * 3,
    "record beyond 16 KiB": b"\x16\x03\x01\xff\xff" + b"\x01\x00\xff\xfb" + b"\0" * 0xfffb,
    "handshake of 16 MiB announced": b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + b"\0" * 0x3ffc,
    "hello twice": HELLO + HELLO,
    "lengths that lie": HELLO[:43] + b"\xff" + HELLO[44:],
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_is_no_handshake_gets_nothing(mesh, name):
    out = answer_to(mesh, GARBAGE[name], shut=True)
    # Nothing shorter than four bytes: by chance it is in what is encrypted.
    assert not any(x in out for x in (b"HTTP", b"nginx", b"<html")), out
    if name != "hello twice":       # a hello is answered before the second one is read
        assert only_alerts(out), out
    assert serves(mesh)


def test_a_hello_with_any_byte_changed_is_survived(mesh):
    for at in range(len(HELLO)):
        for flip in (0x01, 0x80, 0xff):
            answer_to(mesh, HELLO[:at] + bytes([HELLO[at] ^ flip]) + HELLO[at + 1:], shut=True)
    assert serves(mesh)


@pytest.mark.parametrize("sni", ["x" * 60 + ".example", "outbound_.80_._.nobody.default.svc.cluster.local",
                                 "outbound_.99999_._.my-app.default.svc.cluster.local", "outbound_.80_._.", "my-app"])
def test_a_name_that_leads_nowhere_gets_nothing(mesh, sni):
    assert ask_mesh_port(mesh, mesh.cert, sni=sni) == b""


def exchange(mesh, cut, tune=None):
    """The whole exchange with everything the client says cut once at byte cut of its stream: what came back."""
    tls, down, up = client(mesh.cert, tune=tune)
    sent, done = 0, False
    with socket.create_connection(("127.0.0.1", mesh.mesh_port), timeout=kvmesh.DEADLINE) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def flush():
            nonlocal sent
            data = up.read()
            at = cut - sent
            if 0 < at < len(data):
                s.sendall(data[:at])
                s.sendall(data[at:])
            elif data:
                s.sendall(data)
            sent += len(data)

        out = b""
        while True:
            try:
                if not done:
                    tls.do_handshake()
                    done = True
                    tls.write(REQUEST)
                flush()
                piece = tls.read(65536)
                if not piece:
                    return out, sent
                out += piece
            except (ssl.SSLWantReadError, ssl.SSLZeroReturnError) as e:
                flush()
                if isinstance(e, ssl.SSLZeroReturnError):
                    return out, sent
                piece = s.recv(65536)
                if not piece:
                    return out, sent
                down.write(piece)


def test_a_handshake_split_at_every_byte(mesh):
    out, n = exchange(mesh, 0)
    assert b" 200 OK\r\n" in out
    for cut in range(1, n):
        out, _ = exchange(mesh, cut)
        assert b" 200 OK\r\n" in out, cut


def test_tls_below_1_3_is_refused(mesh):
    def old(ctx):
        ctx.maximum_version = ssl.TLSVersion.TLSv1_2
    tls, down, up = client(mesh.cert, tune=old)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    before = refused(mesh)
    assert only_alerts(answer_to(mesh, up.read()))
    assert refused(mesh) > before
    assert serves(mesh)


def test_records_changed_after_the_handshake_end_the_connection(mesh):
    tls, down, up = client(mesh.cert)
    with socket.create_connection(("127.0.0.1", mesh.mesh_port), timeout=kvmesh.DEADLINE) as s:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                s.sendall(up.read())
                down.write(s.recv(65536))
        s.sendall(up.read())
        tls.write(REQUEST)
        data = bytearray(up.read())
        data[-1] ^= 1
        s.sendall(data)
        out = b""
        try:
            while piece := s.recv(65536):
                down.write(piece)
        except ConnectionResetError:
            pass
        try:
            out = tls.read(65536)
        except ssl.SSLError:
            pass
        assert b"HTTP" not in out
    assert serves(mesh)


def test_many_who_stop_in_the_middle_hold_up_nobody(mesh):
    socks = []
    try:
        for i in range(200):
            s = socket.create_connection(("127.0.0.1", mesh.mesh_port), timeout=kvmesh.DEADLINE)
            socks.append(s)
            s.sendall(HELLO[:1 + i * (len(HELLO) - 1) // 200])
        assert serves(mesh)
        assert mesh.get("my-app", "/").status == 200
    finally:
        for s in socks:
            s.close()


def test_a_certificate_list_that_is_too_large_is_refused(mesh, tmp_path):
    """A chain of many certificates costs its verifier: it is refused by its size, before any is verified."""
    crt, key = mesh.cert
    fat = tmp_path / "fat.crt"
    fat.write_text(crt.read_text() * 40)
    assert ask_mesh_port(mesh, (fat, key)) == b""
    huge = tmp_path / "huge.crt"
    huge.write_text(crt.read_text() * 200)
    assert ask_mesh_port(mesh, (huge, key)) == b""
    assert serves(mesh)


def test_random_bytes_in_a_handshake_are_survived(mesh):
    """What follows a good hello is noise of every record type."""
    for kind in (20, 21, 22, 23, 24, 99):
        noise = struct.pack("!BHH", kind, 0x0303, 64) + os.urandom(64)
        out = answer_to(mesh, HELLO + noise * 3, shut=True)
        assert b"HTTP" not in out
    assert serves(mesh)
