# SPDX-License-Identifier: Apache-2.0
"""JWT SVIDs of the SPIFFE Workload API: tokens, their keys, and what becomes of both."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import pathlib
import random
import shutil
import stat
import struct
import tempfile

import pytest

from ca import DEFAULT, TD, Ca, identity, registry, spiffe
from control import is_root, openssl
from kvmesh import Mesh, Nginx, wait_for
from workloadapi import NOBODY, Call, ask, fields, put

pytestmark = pytest.mark.skipif(not is_root(), reason="needs to become another user")
AUD = "spiffe://cluster.local/ns/default/sa/redis"


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture
def ca():
    with Ca() as c:
        c.start().ready()
        c.api = c.run / "workload-api.sock"
        wait_for("the keys of tokens", lambda: jwks_file(c).exists())
        yield c


def jwks_file(ca):
    return ca.state / "jwks/mesh.json"


def jwks(ca):
    return json.loads(jwks_file(ca).read_text())["keys"]


def tokens(message):
    """[(SPIFFE ID, token)] of JWTSVIDResponse."""
    out = []
    for number, svid in fields(message):
        assert number == 1
        got = dict(fields(svid))
        out.append((got[1].decode(), got[2].decode()))
    return out


def fetch(ca, *audiences, uid=NOBODY, who=""):
    request = put(*[(1, a) for a in audiences or (AUD,)], *([(2, who)] if who else []))
    return ask(ca.api, "FetchJWTSVID", request, uid=uid)


def token(ca, *audiences, **how):
    [(_, t)] = tokens(fetch(ca, *audiences, **how))
    return t


def head_of(t):
    return json.loads(unb64(t.split(".")[0]))


def claims_of(t):
    return json.loads(unb64(t.split(".")[1]))


def is_signed_by(t, keys, directory):
    """By OpenSSL's own program, from the JWK set alone."""
    head, payload, signature = t.split(".")
    [k] = [k for k in keys if k["kid"] == head_of(t)["kid"]]
    spki = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004") + unb64(k["x"]) + unb64(k["y"])
    raw = unb64(signature)
    assert len(raw) == 64

    def integer(b):
        b = b.lstrip(b"\0") or b"\0"
        b = (b"\0" if b[0] & 0x80 else b"") + b
        return bytes([2, len(b)]) + b
    body = integer(raw[:32]) + integer(raw[32:])
    (directory / "pub.der").write_bytes(spki)
    (directory / "sig").write_bytes(bytes([0x30, len(body)]) + body)
    (directory / "in").write_text(head + "." + payload)
    openssl("pkey", "-pubin", "-inform", "der", "-in", directory / "pub.der", "-out", directory / "pub.pem")
    return openssl("dgst", "-sha256", "-verify", directory / "pub.pem", "-signature", directory / "sig", directory / "in",
                   ok=False).returncode == 0


def struct_of(data):
    """google.protobuf.Struct."""
    out = {}
    for number, entry in fields(data):
        assert number == 1
        pair = dict(fields(entry))
        out[pair[1].decode()] = value_of(pair[2])
    return out


def value_of(data):
    [(number, v)] = fields(data)
    if number == 2:
        return struct.unpack("<d", v)[0]
    return {1: lambda: None, 3: lambda: v.decode(), 4: lambda: bool(v), 5: lambda: struct_of(v),
            6: lambda: [value_of(x) for _, x in fields(v)]}[number]()


def validate(ca, t, audience=AUD, uid=NOBODY):
    return ask(ca.api, "ValidateJWTSVID", put((1, audience), (2, t)), uid=uid)


# ---- tokens ---------------------------------------------------------------------------------------------------------------------


def test_a_workload_gets_a_token(ca, tmp_path):
    [(name, t)] = tokens(fetch(ca, AUD, "https://other.example"))
    assert name == spiffe("own")
    head, claims = head_of(t), claims_of(t)
    assert head == {"alg": "ES256", "typ": "JWT", "kid": jwks(ca)[0]["kid"]}
    assert claims["sub"] == spiffe("own") and claims["aud"] == [AUD, "https://other.example"]
    assert claims["iss"] == "spiffe://" + TD and claims["exp"] - claims["iat"] == 300
    assert is_signed_by(t, jwks(ca), tmp_path)
    [(number, entry)] = fields(ask(ca.api, "FetchJWTBundles"))
    pair = dict(fields(entry))
    assert number == 1 and pair[1].decode() == "spiffe://" + TD and json.loads(pair[2])["keys"] == jwks(ca)


def test_a_token_of_each_identity_or_of_the_one_that_is_named(ca):
    ca.router.set(registry(identity("one", user="nobody"), identity("two", user="nobody"), identity("other"), signBurst=1000))
    wait_for("the list", lambda: ca.call("Status")["registry"]["generation"] == 1)
    assert [name for name, _ in tokens(fetch(ca))] == [spiffe("one"), spiffe("two")]
    assert [name for name, _ in tokens(fetch(ca, who=spiffe("two")))] == [spiffe("two")]
    for other in (spiffe("other"), spiffe("nobody-knows"), "x", spiffe("one") + "x"):
        assert fetch(ca, who=other)["code"] == "PERMISSION_DENIED"


@pytest.mark.parametrize("request_, code", [
    (b"", "INVALID_ARGUMENT"), (put((1, "")), "INVALID_ARGUMENT"), (put((1, "a\n")), "INVALID_ARGUMENT"),
    (put((1, b"\xff\xfe")), "INVALID_ARGUMENT"), (put((1, "a" * 513)), "INVALID_ARGUMENT"),
    (put(*[(1, str(i)) for i in range(17)]), "INVALID_ARGUMENT"), (put((1, "a"))[:-1] + b"", "INVALID_ARGUMENT"),
    (b"\x0b", "INVALID_ARGUMENT"), (b"\xff" * 20, "INVALID_ARGUMENT"), (b"\x0a\xff\xff\xff\xff\x0f", "INVALID_ARGUMENT"),
    (put((1, "a" * 20000)), "RESOURCE_EXHAUSTED"),
], ids=range(11))
def test_requests_for_tokens_that_are_none(ca, request_, code):
    got = ask(ca.api, "FetchJWTSVID", request_)
    assert got["code"] == code, got
    assert "\n" not in got["text"]


def test_random_bytes_as_requests(ca):
    """Mutations of good ones; none crashes, and none gets what its caller may not have."""
    chance, good = random.Random(7), put((1, AUD), (2, spiffe("own")), (9, 12345))
    for _ in range(40):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        got = ask(ca.api, chance.choice(["FetchJWTSVID", "ValidateJWTSVID"]), bytes(data[:chance.randrange(len(data) + 1)]))
        if isinstance(got, bytes):
            assert [n for n, _ in tokens(got)] == [spiffe("own")]
        else:
            assert got["code"] in ("INVALID_ARGUMENT", "PERMISSION_DENIED"), got
    assert ca.process.alive()
    token(ca)


def test_tokens_are_for_whom_the_kernel_proves():
    """Without --standalone, and a stranger's process: nothing."""
    with Ca() as ca:
        ca.start(standalone=False).ready()
        ca.api = ca.run / "ca/workload-api.sock"
        wait_for("the keys of tokens", lambda: jwks_file(ca).exists())
        assert claims_of(token(ca))["sub"] == spiffe("own")
        for uid in (4711, 0):
            assert fetch(ca, uid=uid)["code"] == "PERMISSION_DENIED"


def test_tokens_are_counted_as_certificates_are():
    """A request for five is too much where three at once are allowed; for one of them it is not."""
    five = [identity(f"n{i}", user="nobody") for i in range(5)]
    with Ca(registry(*five, signBurst=3, signPerSecond=1)) as ca:
        ca.start().ready()
        ca.api = ca.run / "workload-api.sock"
        wait_for("the keys of tokens", lambda: jwks_file(ca).exists())
        got = fetch(ca)
        assert got["code"] == "UNAVAILABLE" and "too often" in got["text"]
        wait_for("another one", lambda: isinstance(fetch(ca, who=spiffe("n4")), bytes))


# ---- validation -----------------------------------------------------------------------------------------------------------------


def test_validation(ca):
    t = token(ca, AUD, "b")
    got = dict(fields(validate(ca, t, "b")))
    assert got[1].decode() == spiffe("own") and struct_of(got[2]) == claims_of(t)
    head, payload, signature = t.split(".")

    def signed(alg, key=None):
        h = b64(json.dumps({"alg": alg, "typ": "JWT", "kid": jwks(ca)[0]["kid"]}).encode())
        s = hmac.new(key, f"{h}.{payload}".encode(), hashlib.sha256).digest() if key else b""
        return f"{h}.{payload}.{b64(s)}"
    x, y = (unb64(jwks(ca)[0][k]) for k in "xy")
    bad = {
        "another audience": (t, "c"), "no audience": (t, ""), "no token": ("", "b"), "half of one": (head + "." + payload, "b"),
        "alg none": (signed("none"), "b"), "HMAC with the public key": (signed("HS256", b"\4" + x + y), "b"),
        "another payload": (head + "." + b64(json.dumps({**claims_of(t), "sub": spiffe("redis")}).encode()) + "." + signature, "b"),
        "another signature": (head + "." + payload + "." + b64(bytes(64)), "b"), "huge": ("a" * 30000, "b"),
        "no kid": (b64(b'{"alg":"ES256"}') + "." + payload + "." + signature, "b"),
    }
    for what, (text, audience) in bad.items():
        got = validate(ca, text, audience)
        assert isinstance(got, dict) and got["code"] == "INVALID_ARGUMENT", what
    assert validate(ca, t, "b", uid=4711)["code"] == "PERMISSION_DENIED"


def test_a_revoked_identity_gets_no_token_and_has_none(ca):
    t = token(ca)
    ca.call("Revoke", {"spiffe": spiffe("own")})
    assert fetch(ca)["code"] == "PERMISSION_DENIED"
    ca.router.set(registry(identity("own", user="nobody"), identity("two", user="nobody"), signBurst=1000))
    wait_for("the list", lambda: ca.call("Status")["registry"]["generation"] == 1)
    assert [n for n, _ in tokens(fetch(ca))] == [spiffe("two")]
    assert fetch(ca, who=spiffe("own"))["code"] == "PERMISSION_DENIED"
    assert "revoked" in validate(ca, t)["text"]
    ca.call("Revoke", {"spiffe": spiffe("own"), "lift": True})
    assert dict(fields(validate(ca, t)))[1].decode() == spiffe("own")


# ---- keys -----------------------------------------------------------------------------------------------------------------------


def test_keys_of_tokens_are_kept_as_those_of_the_ca(ca):
    t, [key] = token(ca), jwks(ca)
    private = ca.state / "ca/jwt-key.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o400 and stat.S_IMODE(jwks_file(ca).stat().st_mode) == 0o644
    assert set(key) == {"kty", "crv", "alg", "kid", "x", "y"}
    assert "PRIVATE" in private.read_text() and t not in ca.text() and t.split(".")[2] not in ca.text()
    # Its own: it is neither the issuer's nor the root's.
    pub = {openssl("pkey", "-in", ca.state / "ca" / f, "-pubout").stdout for f in ("jwt-key.pem", "ca-key.pem", "root-key.pem")}
    assert len(pub) == 3
    # The kid is the thumbprint of RFC 7638.
    text = json.dumps({k: key[k] for k in ("crv", "kty", "x", "y")}, separators=(",", ":"), sort_keys=True)
    assert key["kid"] == b64(hashlib.sha256(text.encode()).digest())
    jwks_file(ca).unlink()
    ca.stop()
    ca.start().ready()
    wait_for("the keys of tokens", lambda: jwks_file(ca).exists())
    assert jwks(ca) == [key]
    assert dict(fields(validate(ca, t)))[1].decode() == spiffe("own")


def test_keys_of_tokens_change_by_themselves(ca):
    """The next one is published before it signs; the one before stays for what it signed."""
    ca.router.set({**DEFAULT, "jwtKeyLifetimeUs": 6_000_000, "jwtLifetimeUs": 60_000_000})
    first = token(ca)
    with Call(ca.api, "FetchJWTBundles") as call:
        seen = []

        def told():
            [(_, entry)] = fields(call.message())
            seen.append([k["kid"] for k in json.loads(dict(fields(entry))[2])["keys"]])
            return seen[-1]
        assert told() == [head_of(first)["kid"]]
        both = told()
        assert len(both) == 2 and both[0] == head_of(first)["kid"]
        second = wait_for("the next key to sign", lambda: (t := token(ca)) and head_of(t)["kid"] == both[1] and t)
        third = told()
        while len(third) < 3:
            third = told()
        assert third[:2] == both
    for t in (first, second):
        assert dict(fields(validate(ca, t)))[1].decode() == spiffe("own")
    assert not (ca.state / "ca/jwt-key.pem").read_text() in ca.text()
    # Killed at any time: the list is what it was, and goes on.
    ca.process.popen.kill()
    ca.process.popen.wait()
    ca.start().ready()
    assert [k["kid"] for k in jwks(ca)][:2] == both
    assert dict(fields(validate(ca, first)))[1].decode() == spiffe("own")


def test_a_key_of_tokens_as_a_credential(tmp_path, monkeypatch):
    creds = tmp_path / "credentials"
    creds.mkdir(mode=0o700)
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", creds / "jwt-key.pem")
    (creds / "jwt-key.pem").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(creds))
    with Ca({**DEFAULT, "jwtKeyLifetimeUs": 4_000_000}) as ca:
        ca.start().ready()
        ca.api = ca.run / "workload-api.sock"
        wait_for("the keys of tokens", lambda: jwks_file(ca).exists())
        t = token(ca)
        assert is_signed_by(t, jwks(ca), tmp_path)
        assert [f for f in os.listdir(ca.state / "ca") if "jwt" in f and f.endswith(".pem")] == []
        # Another one: what the first signed is good still.
        ca.stop()
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", creds / "new.pem")
        (creds / "new.pem").replace(creds / "jwt-key.pem")
        ca.start().ready()
        wait_for("another key", lambda: len(jwks(ca)) == 2)
        assert head_of(token(ca))["kid"] == jwks(ca)[1]["kid"]
        assert dict(fields(validate(ca, t)))[1].decode() == spiffe("own")


@pytest.mark.parametrize("curve", ["P-384", "broken"])
def test_a_key_of_tokens_that_is_unusable(tmp_path, monkeypatch, curve):
    """Certificates go on; tokens are not issued, and the log says why."""
    creds = tmp_path / "credentials"
    creds.mkdir(mode=0o700)
    if curve == "broken":
        (creds / "jwt-key.pem").write_text("none")
    else:
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", creds / "jwt-key.pem")
    (creds / "jwt-key.pem").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(creds))
    with Ca() as ca:
        ca.start().ready()
        ca.api = ca.run / "workload-api.sock"
        wait_for("the log", lambda: "the keys of tokens stay as they are" in ca.text())
        assert fetch(ca)["code"] == "UNAVAILABLE"
        assert isinstance(ask(ca.api, "FetchX509SVID", n=1), bytes)


# ---- the mesh -------------------------------------------------------------------------------------------------------------------

KEYS = """\
RequestAuthentication = { name = "mesh-tokens"; selector = { matchLabels = { app = "shop"; }; };
  jwtRules = ( { issuer = "spiffe://cluster.local"; audiences = [ "shop" ]; jwksUri = "file://%s/jwks/mesh.json"; } ); };
"""
BEARERS = """\
AuthorizationPolicy = { name = "bearers"; selector = { matchLabels = { app = "shop"; }; };
  rules = ( { from = ( { source = { requestPrincipals = [ "spiffe://cluster.local/spiffe://cluster.local/ns/default/sa/buyer" ]; }; } ); } ); };
"""


@pytest.fixture
def open_dir():
    """Another user's process must reach the socket in it."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="kvmesh-jwt-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_a_service_trusts_the_tokens_of_the_mesh(tmp_path, open_dir):
    """A workload fetches a JWT SVID and calls a service whose RequestAuthentication points at the CA's keys."""
    with contextlib.ExitStack() as stack:
        shop = Nginx(tmp_path, "shop")
        stack.callback(shop.stop)
        mesh = stack.enter_context(Mesh(open_dir))
        mesh.write("conf.d/tokens.conf", 'ca = { tokenKeyValidity = "8s"; tokenValidity = "60s"; };\n')
        mesh.workload("shop", shop.port)
        mesh.write("workloads.d/buyer.conf", 'Workload = { name = "buyer"; user = "nobody"; };\n')
        mesh.service("shop", 80, shop.port)
        mesh.write("mesh.d/tokens.conf", KEYS % mesh.state)
        mesh.write("mesh.d/bearers.conf", BEARERS)
        mesh.start()
        api = mesh.run / "workload-api.sock"

        def call(t=None):
            return mesh.get("shop", headers={"Authorization": "Bearer " + t} if t else {}).status

        def fresh(audience):
            [(_, t)] = tokens(ask(api, "FetchJWTSVID", put((1, audience))))
            return t
        good = fresh("shop")
        wait_for("the token to be taken", lambda: call(good) == 200)
        assert call() == 403 and call(fresh("bank")) == 403
        assert call(good[:-8] + "AAAAAAAA") == 401
        # Another key signs; nobody noticed.
        other = wait_for("another key", lambda: (t := fresh("shop")) and head_of(t)["kid"] != head_of(good)["kid"] and t)
        assert call(other) == 200 and call(good) == 200
