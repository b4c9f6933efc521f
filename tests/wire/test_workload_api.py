# SPDX-License-Identifier: Apache-2.0
"""The SPIFFE Workload API (X.509) as a client from outside sees it."""

import contextlib
import hashlib
import os
import pathlib
import signal
import socket

import pytest

import kvmesh
from ca import DEFAULT, Ca, identity, registry, spiffe, text_of
from control import is_root, openssl
from kvmesh import wait_for
from workloadapi import NOBODY, Call, certificates, fields

pytestmark = pytest.mark.skipif(not is_root(), reason="needs to become another user")
class Svid:
    def __init__(self, field):
        parts = fields(field)
        assert [n for n, _ in parts] == [1, 2, 3, 4]
        self.spiffe = parts[0][1].decode()
        self.chain, self.bundle = certificates(parts[1][1]), certificates(parts[3][1])
        self.key = parts[2][1]


def svids(message):
    got = fields(message)
    assert got and all(n == 1 for n, _ in got)
    return [Svid(v) for _, v in got]


@pytest.fixture
def ca():
    with Ca() as c:
        c.start().ready()
        c.api = c.run / "workload-api.sock"
        c.dir.chmod(0o755)
        yield c


def test_a_workload_gets_its_identity_and_nothing_else(ca, tmp_path):
    assert ca.api.is_symlink() and ca.api.is_socket()
    with Call(ca.api) as call:
        [svid] = svids(call.message())
    assert svid.spiffe == spiffe("own")
    leaf, issuer = svid.chain
    assert "URI:" + spiffe("own") in text_of(leaf) and "CA:TRUE" in text_of(issuer)
    (tmp_path / "leaf.pem").write_text(leaf)
    (tmp_path / "chain.pem").write_text("".join(svid.chain))
    (tmp_path / "key.der").write_bytes(svid.key)
    # With the root alone, and with the bundle that was handed over.
    openssl("verify", "-x509_strict", "-CAfile", ca.state / "ca/root-cert.pem", "-untrusted", tmp_path / "chain.pem", tmp_path / "leaf.pem")
    (tmp_path / "bundle.pem").write_text("".join(svid.bundle))
    openssl("verify", "-x509_strict", "-partial_chain", "-trusted", tmp_path / "bundle.pem", tmp_path / "leaf.pem")
    pub = openssl("pkey", "-inform", "der", "-in", tmp_path / "key.der", "-pubout").stdout
    assert pub == openssl("x509", "-noout", "-pubkey", "-in", tmp_path / "leaf.pem").stdout
    text = openssl("asn1parse", "-inform", "der", "-in", tmp_path / "key.der").stdout
    assert "id-ecPublicKey" in text, "PKCS#8"
    [entry] = ca.call("List", {"spiffe": spiffe("own")})["certificates"]
    assert entry["uid"] == NOBODY and entry["proxy"] == ""


def test_bundles(ca):
    with Call(ca.api, "FetchX509Bundles") as call:
        [(number, entry)] = fields(call.message())
    assert number == 2
    (_, name), (_, der) = fields(entry)
    assert name == b"spiffe://cluster.local" and certificates(der) == [c for c in ca.bundle()]
    assert ca.call("List")["certificates"] == []


@pytest.mark.parametrize("method, marked, uid, code", [
    ("FetchX509SVID", False, NOBODY, "INVALID_ARGUMENT"),
    ("FetchX509Bundles", False, NOBODY, "INVALID_ARGUMENT"),
    ("FetchX509SVID", True, 4711, "PERMISSION_DENIED"),
    ("FetchX509Bundles", True, 4711, "PERMISSION_DENIED"),
    ("FetchX509SVID", True, 0, "PERMISSION_DENIED"),
    ("FetchJWTSVID", False, NOBODY, "INVALID_ARGUMENT"),
    ("FetchJWTBundles", False, NOBODY, "INVALID_ARGUMENT"),
    ("ValidateJWTSVID", False, NOBODY, "INVALID_ARGUMENT"),
    ("FetchJWTBundles", True, 4711, "PERMISSION_DENIED"),
    ("ValidateJWTSVID", True, 4711, "PERMISSION_DENIED"),
    ("FetchTheMoon", True, NOBODY, "UNIMPLEMENTED"),
])
def test_who_gets_nothing(ca, method, marked, uid, code):
    with Call(ca.api, method, marked=marked, uid=uid) as call:
        got = call.next()
    assert got["code"] == code, got
    assert ca.call("List")["certificates"] == []


def test_as_a_service_the_process_is_looked_at():
    """Without --standalone: pinned by a pidfd, its user and unit read."""
    with Ca() as ca:
        ca.start(standalone=False).ready()
        ca.dir.chmod(0o755)
        with Call(ca.run / "ca/workload-api.sock") as call:
            assert [s.spiffe for s in svids(call.message())] == [spiffe("own")]
        with Call(ca.run / "ca/workload-api.sock", uid=4711) as call:
            assert call.next()["code"] == "PERMISSION_DENIED"


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


PYTHON = os.path.realpath("/usr/bin/python3")


@pytest.mark.parametrize("program, standalone, gets", [
    ({"executable": "/usr/bin/python3"}, False, True),
    ({"executable": PYTHON, "executableSha256": sha256(PYTHON).upper()}, False, True),
    ({"executableSha256": sha256(PYTHON)}, False, True),
    ({"executable": "/usr/bin/env"}, False, False),
    ({"executable": "/nowhere"}, False, False),
    ({"executable": PYTHON, "executableSha256": sha256("/usr/bin/env")}, False, False),
    ({"executable": PYTHON}, True, False)])
def test_the_callers_program_counts_where_it_is_registered(program, standalone, gets):
    """By the file that it runs, and its bytes; where processes are not looked at nobody gets such an identity."""
    with Ca(registry(identity("own", user="nobody", **program))) as ca:
        ca.start(standalone=standalone).ready()
        ca.dir.chmod(0o755)
        for _ in range(2):
            with Call(ca.run / "ca/workload-api.sock") as call:
                if gets:
                    assert [s.spiffe for s in svids(call.message())] == [spiffe("own")]
                else:
                    assert call.next()["code"] == "PERMISSION_DENIED"
        if not gets:
            assert "attest_denied" in ca.text()


def test_unavailable_before_there_is_a_ca():
    with Ca(identities=None) as ca:
        ca.start()
        ca.dir.chmod(0o755)
        with Call(ca.run / "workload-api.sock") as call:
            assert call.next()["code"] == "UNAVAILABLE"


def test_a_stream_is_told_of_renewal(ca):
    ca.router.set({**DEFAULT, "leafLifetimeUs": 4_000_000})
    wait_for("the list", lambda: ca.call("Status")["registry"]["generation"] == 1)
    with Call(ca.api) as call:
        seen = [svids(call.message())[0] for _ in range(3)]
    assert len({s.chain[0] for s in seen}) == 3 and len({s.key for s in seen}) == 3


def test_a_stream_is_told_of_a_rotation(ca):
    with Call(ca.api) as call, Call(ca.api, "FetchX509Bundles") as bundles:
        [before] = svids(call.message())
        bundles.message()
        ca.call("Rotate", {"root": True})
        [both] = svids(call.message())
        assert len(both.bundle) == 4 and both.chain[1] == before.chain[1]
        assert len(certificates(dict(fields(dict(fields(bundles.message()))[2]))[2])) == 4
        ca.acks()
        [after] = svids(call.message())
        assert after.chain[1] != before.chain[1] and set(after.bundle) == set(both.bundle)


def test_a_stream_ends_when_the_identity_does(ca):
    with Call(ca.api) as call:
        svids(call.message())
        ca.call("Revoke", {"spiffe": spiffe("own")})
        assert call.next()["code"] == "PERMISSION_DENIED"
    with Call(ca.api) as call:
        assert call.next()["code"] == "PERMISSION_DENIED"
    ca.call("Revoke", {"spiffe": spiffe("own"), "lift": True})
    with Call(ca.api) as call:
        svids(call.message())
        ca.router.set(registry(identity("my-app")))
        assert call.next()["code"] == "PERMISSION_DENIED"


def test_several_identities_of_one_user(ca):
    ca.router.set(registry(identity("one", user="nobody"), identity("two", user="nobody"), identity("one", user="nobody"),
                           identity("other"), signBurst=1000))
    wait_for("the list", lambda: ca.call("Status")["registry"]["generation"] == 1)
    with Call(ca.api) as call:
        assert [s.spiffe for s in svids(call.message())] == [spiffe("one"), spiffe("two")]


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def test_bytes_that_are_no_grpc(ca):
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100000, PREFACE + os.urandom(5000),
                 PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\0\x40\0\0\0\0\0\0\1" + bytes(16384) + b"\xff" * 9):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(kvmesh.DEADLINE)
            s.connect(str(ca.api.resolve()))
            with contextlib.suppress(OSError):
                s.sendall(data)
                while s.recv(4096):
                    pass
    assert ca.process.alive()
    with Call(ca.api) as call:
        svids(call.message())


def test_many_connections_of_one_user_do_not_shut_out_others(ca):
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            s = stack.enter_context(socket.socket(socket.AF_UNIX))
            s.connect(str(ca.api.resolve()))
        with Call(ca.api) as call:
            svids(call.message())
    assert ca.stop(signal.SIGTERM) == 0
