# SPDX-License-Identifier: Apache-2.0
"""RequestAuthentication (Istio's semantics 2.12, security-model §5.5): tokens signed by the openssl program, and every way to
pass off what is none."""

import base64
import hashlib
import hmac
import json
import subprocess
import time

import pytest

import kvmesh
from kvmesh import wait_for
from program import Program

ISSUER = "https://id.example"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*args, stdin=b""):
    return subprocess.run(["openssl", *map(str, args)], input=stdin, capture_output=True, check=True).stdout


class Key:
    """A key pair in a directory; sign(bytes, alg) gives the bytes of a JWS signature."""

    MAKE = {"RSA": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            "EC": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "OKP": ["-algorithm", "ED25519"]}

    def __init__(self, directory, kid, kty):
        self.kid, self.kty, self.file, self.dir = kid, kty, directory / f"{kid}.key", directory
        openssl("genpkey", *self.MAKE[kty], "-out", self.file)
        self.pem = openssl("pkey", "-in", self.file, "-pubout")
        self.der = openssl("pkey", "-in", self.file, "-pubout", "-outform", "DER")

    def jwk(self, **more):
        k = {"kid": self.kid, "kty": self.kty}
        if self.kty == "RSA":
            n = openssl("rsa", "-in", self.file, "-noout", "-modulus").decode().strip().split("=")[1]
            k |= {"n": b64(bytes.fromhex(n)), "e": "AQAB"}
        elif self.kty == "EC":
            k |= {"crv": "P-256", "x": b64(self.der[-64:-32]), "y": b64(self.der[-32:])}
        else:
            k |= {"crv": "Ed25519", "x": b64(self.der[-32:])}
        return k | more

    def sign(self, data, alg):
        if alg == "EdDSA":
            (self.dir / "input").write_bytes(data)
            return openssl("pkeyutl", "-sign", "-inkey", self.file, "-rawin", "-in", self.dir / "input")
        pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if alg.startswith("PS") else []
        der = openssl("dgst", f"-sha{alg[2:]}", "-sign", self.file, *pss, stdin=data)
        if not alg.startswith("ES"):
            return der
        raw, at = b"", 2
        for _ in range(2):              # SEQUENCE { INTEGER r, INTEGER s }
            n = der[at + 1]
            raw += der[at + 2:at + 2 + n].lstrip(b"\0").rjust(32, b"\0")
            at += 2 + n
        return raw


GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: edge, namespace: default }
spec: { selector: { istio: edge }, servers: [ { port: { number: %d, name: http, protocol: HTTP }, hosts: [ "*" ] } ] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: by-claim, namespace: default }
spec:
  hosts: [ "*" ]
  gateways: [ edge ]
  http:
  - match: [ { headers: { "@request.auth.claims.realm.roles": { exact: admin } } } ]
    directResponse: { status: 200, body: { string: admin } }
  - match: [ { headers: { "@request.auth.claims[tenant]": { prefix: eu- } } } ]
    directResponse: { status: 200, body: { string: eu } }
  - match: [ { headers: { "@request.auth.claims[sub]": {} }, withoutHeaders: { "@request.auth.claims[tenant]": { exact: us } } } ]
    directResponse: { status: 200, body: { string: somebody } }
  - directResponse: { status: 200, body: { string: nobody } }
"""


class Guarded:
    def __init__(self, directory):
        self.dir = directory
        self.rsa, self.other, self.ec, self.ed = (Key(directory, kid, kty) for kid, kty in
                                                  (("r", "RSA"), ("stranger", "RSA"), ("e", "EC"), ("d", "OKP")))
        self.program = Program()
        self.log = directory / "access.log"
        self.mesh = m = kvmesh.Mesh(directory / "mesh", conf=f'accessLogFile = "{self.log}";')
        m.workload("app", self.program.port)
        m.service("app", 80, "http")
        self.door = kvmesh.free_port()
        m.write("workloads.d/edge.conf", 'Workload = { name = "edge"; gateway = true; labels = { istio = "edge"; }; };')
        self.keys = [self.rsa.jwk(), self.ec.jwk(alg="ES256"), self.ed.jwk(use="sig")]
        m.start()

    def rules(self, *rules, policies=""):
        """Each rule is what it says besides issuer and keys."""
        spec = {"jwtRules": [{"issuer": ISSUER, "jwks": json.dumps({"keys": self.keys}), **r} for r in rules or [{}]]}
        self.mesh.write("mesh.d/50-jwt.yaml", f"""\
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{ name: tokens, namespace: default }}
spec: {json.dumps(spec)}
{policies}""")
        self.mesh.ctl("config", "reload", "--wait", check=0)

    def token(self, key=None, alg="RS256", header=None, signature=None, **claims):
        key = key or self.rsa
        h = {"alg": alg, "kid": key.kid, "typ": "JWT"} if header is None else header
        c = {"iss": ISSUER, "sub": "alice", "exp": int(time.time()) + 600, **claims}
        signed = b64(json.dumps(h).encode()) + "." + b64(json.dumps({k: v for k, v in c.items() if v is not None}).encode())
        return signed + "." + b64(key.sign(signed.encode(), alg) if signature is None else signature(signed.encode()))

    def get(self, path="/", token=None, method="GET", **headers):
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return self.mesh.get("app", path, method, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def outside(self, token=None):
        """Who answers a request that comes in by the gateway."""
        argv = ["curl", "-s", f"http://127.0.0.1:{self.door}/"] + (["-H", f"Authorization: Bearer {token}"] if token else [])
        return subprocess.run(argv, capture_output=True, text=True).stdout

    def refused(self, **kw):
        """(status, body) of a request with that token."""
        r = self.get(**kw)
        assert r.status in (401, 403) and "www-authenticate" in r.headers or r.status == 403, r
        return r.status, r.text


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    directory = tmp_path_factory.mktemp("jwt")
    directory.chmod(0o755)
    g = Guarded(directory)
    yield g
    g.mesh.assert_sound()
    g.mesh.stop()
    g.program.stop()


REQUIRED = """---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: required, namespace: default }
spec: { rules: [ { %s } ] }
"""


def test_2_12_1_without_a_token_a_request_is_anonymous(guarded):
    guarded.rules()
    assert guarded.get().status == 200
    assert guarded.get(authorization="Basic YTpi").status == 200
    guarded.rules(policies=REQUIRED % 'from: [ { source: { requestPrincipals: [ "*" ] } } ]')
    assert guarded.get().status == 403
    assert guarded.get(token=guarded.token()).status == 200


@pytest.mark.parametrize("alg", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "EdDSA"])
def test_2_12_2_algorithms(guarded, alg):
    guarded.rules()
    key = {"E": guarded.ec, "S": guarded.ed}.get(alg[0] if alg == "ES256" else "S" if alg == "EdDSA" else "", guarded.rsa)
    good = guarded.token(key, alg)
    assert guarded.get(token=good).status == 200
    head, payload, sig = good.split(".")
    bent = ("B" if sig[5] == "A" else "A").join((sig[:5], sig[6:]))
    assert guarded.refused(token=f"{head}.{payload}.{bent}") == (401, "Jwt verification fails")


def test_2_12_2_what_is_not_valid(guarded):
    guarded.rules({"audiences": ["shop"]})
    now, g = int(time.time()), guarded
    assert g.get(token=g.token(aud="shop")).status == 200 and g.get(token=g.token(aud=["x", "shop"])).status == 200
    assert g.refused(token=g.token(exp=now - 61, aud="shop")) == (401, "Jwt is expired")
    assert g.get(token=g.token(exp=now - 30, aud="shop")).status == 200, "60 s of skew"
    assert g.refused(token=g.token(nbf=now + 120, aud="shop")) == (401, "Jwt not yet valid")
    assert g.refused(token=g.token(exp=None, aud="shop")) == (401, "Jwt has no exp field")
    assert g.refused(token=g.token(iss="https://else.example", aud="shop")) == (401, "Jwt issuer is not configured")
    assert g.refused(token=g.token(iss=None, aud="shop")) == (401, "Jwt issuer is not configured")
    assert g.refused(token=g.token(aud="other")) == (403, "Audiences in Jwt are not allowed")
    assert g.refused(token=g.token()) == (403, "Audiences in Jwt are not allowed")
    assert g.refused(token="junk")[0] == 401
    assert g.refused(token="a.b.c")[0] == 401
    line = wait_for("the log", lambda: [x for x in g.log.read_text().splitlines() if "jwt_authn_access_denied" in x])
    assert any("jwt_authn_access_denied{Jwt_is_expired}" in x for x in line)
    assert all(len(part) < 60 for x in line for part in x.replace('"', " ").split(".") if part.startswith("eyJ")), "no token in the log"
    wait_for("the counter", lambda: 'kvmesh_jwt_denied_total{proxy="node",reason="Jwt is expired"}' in g.mesh.metrics())


def test_no_confusion_of_algorithms_and_keys(guarded):
    guarded.rules()
    g = guarded
    none = {"alg": "none", "kid": "r"}
    assert g.refused(token=g.token(header=none, signature=lambda d: b""))[0] == 401
    assert g.refused(token=g.token(header={"alg": "None"}, signature=lambda d: b""))[0] == 401
    for secret in (g.rsa.pem, g.rsa.der, g.rsa.pem.strip()):        # the public key as a shared secret
        forged = g.token(header={"alg": "HS256", "kid": "r"}, signature=lambda d: hmac.new(secret, d, hashlib.sha256).digest())
        assert g.refused(token=forged) == (401, "Jwt header [alg] is not supported")
    stranger = g.token(g.other, header={"alg": "RS256", "kid": "r"})
    assert g.refused(token=stranger) == (401, "Jwt verification fails")
    assert g.refused(token=g.token(g.other)) == (401, "Jwks doesn't have key to match kid or alg from Jwt")
    for kid in ("../../dev/null", "r\u0000", "R", ""):
        assert g.refused(token=g.token(header={"alg": "RS256", "kid": kid}))[0] == 401, kid
    assert g.get(token=g.token(header={"alg": "RS256"})).status == 200, "without kid any fitting key"
    # Keys that the token brings along, or names, are not looked at.
    for brought in ({"jwk": g.other.jwk()}, {"jku": "https://evil.example/k"}, {"x5u": "https://evil.example/c"}):
        assert g.refused(token=g.token(g.other, header={"alg": "RS256", **brought}))[0] == 401
    assert g.refused(token=g.token(header={"alg": "RS256", "kid": "r", "crit": ["exp"]}))[0] == 401
    # ES256 with the RSA key's kid, RS256 with the EC key's: an algorithm belongs to a kind of key.
    assert g.refused(token=g.token(g.ec, "ES256", header={"alg": "ES256", "kid": "r"}))[0] == 401
    assert g.refused(token=g.token(header={"alg": "RS256", "kid": "e"}))[0] == 401
    assert g.refused(token=g.token(g.ec, "ES256", signature=lambda d: bytes(64)))[0] == 401, "r = s = 0"


def test_no_confusion_of_spellings(guarded):
    guarded.rules()
    head, payload, sig = guarded.token().split(".")
    for bad in (f"{head}.{payload}.{sig}=", f"{head}.{payload}.{sig}.", f"{head}.{payload}", f"{head}..{sig}", f"{head}.{payload}.{sig} x",
                f"{head}.{payload}=.{sig}", head + "." + payload + "." + sig.replace("_", "/").replace("-", "+") + "/"):
        assert guarded.refused(token=bad)[0] == 401, bad
    twice = b64(b'{"alg":"RS256","kid":"r","alg":"none"}')
    assert guarded.refused(token=f"{twice}.{payload}.{sig}")[0] == 401
    double = b64(json.dumps({"iss": ISSUER, "exp": int(time.time()) + 600}).encode()[:-1] + b',"sub":"a","sub":"admin"}')
    assert guarded.refused(token=f"{head}.{double}.{b64(guarded.rsa.sign(f'{head}.{double}'.encode(), 'RS256'))}")[0] == 401
    assert guarded.refused(token=guarded.token(pad="x" * 17000))[1] == "Jwt is too long"


def test_two_credentials_are_none(guarded):
    guarded.rules()
    a, b = guarded.token(), guarded.token(sub="bob")
    assert guarded.get(f"/?access_token={a}", token=a).status == 200, "one and the same"
    assert guarded.refused(path=f"/?access_token={b}", token=a)[0] == 401
    assert guarded.refused(path=f"/?access_token={a}&access_token={b}")[0] == 401


def test_2_12_3_places(guarded):
    token = guarded.token()
    guarded.rules()
    assert guarded.get(f"/?access_token={token}&x=1").status == 200
    assert guarded.refused(path="/?access_token=junk")[0] == 401
    assert guarded.get("/?other=junk").status == 200
    guarded.rules({"fromHeaders": [{"name": "X-Token", "prefix": "tok "}], "fromParams": ["t"], "fromCookies": ["session"]},
                  policies=REQUIRED % 'from: [ { source: { requestPrincipals: [ "*" ] } } ]')
    assert guarded.get(token=token).status == 403, "the default place is replaced"
    assert guarded.get(x_token=f"tok {token}").status == 200 and guarded.get(f"/?t={token}").status == 200
    assert guarded.get(cookie=f"a=b; session={token}").status == 200
    assert guarded.refused(cookie="session=junk")[0] == 401


def test_2_12_4_several_rules(guarded):
    g = guarded
    second = {"issuer": "https://two.example", "jwks": json.dumps({"keys": [g.other.jwk()]})}
    g.rules({}, second)
    assert g.get(token=g.token()).status == 200
    assert g.get(token=g.token(g.other, iss="https://two.example")).status == 200
    assert g.refused(token=g.token(iss="https://two.example"))[0] == 401, "one issuer's keys are not another's"
    assert g.refused(token=g.token(g.other))[0] == 401


def test_2_12_5_what_a_valid_token_leaves(guarded):
    g = guarded
    g.rules({"outputPayloadToHeader": "X-Payload", "outputClaimToHeaders": [
        {"header": "X-User", "claim": "sub"}, {"header": "x-level", "claim": "a.level"}, {"header": "x-flag", "claim": "flag"},
        {"header": "x-list", "claim": "list"}, {"header": "x-evil", "claim": "evil"}]})
    token = g.token(a={"level": 7}, flag=True, list=["x"], evil="a\r\nb: c")
    assert g.get(f"/left?access_token={token}&x=1", x_user="admin", x_payload="forged", x_list="forged").status == 200
    got = g.program.fields("/left?x=1")
    assert (got["x-user"], got["x-level"], got["x-flag"]) == ("alice", "7", "true")
    assert json.loads(base64.urlsafe_b64decode(got["x-payload"] + "==="))["sub"] == "alice" and "=" not in got["x-payload"]
    assert "x-list" not in got and "x-evil" not in got and "b" not in got
    assert g.get("/anonymous", x_user="admin", x_payload="forged").status == 200
    assert not {"x-user", "x-payload"} & set(g.program.fields("/anonymous")), "nobody else fills them in"
    assert g.get("/gone", token=token).status == 200 and "authorization" not in g.program.fields("/gone")
    g.rules({"forwardOriginalToken": True})
    assert g.get("/kept", token=token).status == 200 and g.program.fields("/kept")["authorization"] == f"Bearer {token}"
    assert g.get(f"/kept2?access_token={token}").status == 200 and g.program.fields(f"/kept2?access_token={token}")
    assert wait_for("the log", lambda: [x for x in g.log.read_text().splitlines() if "/kept2" in x])
    assert token not in g.log.read_text()


def test_2_12_5_claims_in_policies(guarded):
    g = guarded
    def allowed(rule, **claims):
        g.rules({}, policies=REQUIRED % rule)
        return g.get(token=g.token(**claims)).status == 200
    assert allowed(f'from: [ {{ source: {{ requestPrincipals: [ "{ISSUER}/alice" ] }} }} ]')
    assert not allowed(f'from: [ {{ source: {{ requestPrincipals: [ "{ISSUER}/bob" ] }} }} ]')
    assert allowed('when: [ { key: "request.auth.claims[group]", values: [ admin ] } ]', group=["users", "admin"])
    assert not allowed('when: [ { key: "request.auth.claims[group]", values: [ admin ] } ]', group="users")
    assert allowed('when: [ { key: "request.auth.claims[realm][roles]", values: [ "r*" ] } ]', realm={"roles": ["reader"]})
    assert allowed('when: [ { key: "request.auth.claims[scope]", values: [ write ] } ]', scope="read write")
    assert allowed('when: [ { key: "request.auth.audiences", values: [ b ] } ]', aud=["a", "b"])
    assert allowed('when: [ { key: "request.auth.presenter", values: [ cli ] } ]', azp="cli")


def test_2_11_11_request_principals_are_issuer_and_subject(guarded):
    g = guarded
    for principals, answer in ((f'"{ISSUER}/*"', 200), ('"*/alice"', 200), ('"*"', 200), ('"alice"', 403), (f'"{ISSUER}"', 403)):
        g.rules({}, policies=REQUIRED % f"from: [ {{ source: {{ requestPrincipals: [ {principals} ] }} }} ]")
        assert g.get(token=g.token()).status == answer, principals


def test_2_12_6_keys_in_a_file(guarded):
    g = guarded
    file = g.mesh.write("jwks/id.json", json.dumps({"keys": g.keys}))
    rule = {"jwks": "", "jwksUri": f"file://{file}"}
    g.rules(rule)
    assert g.get(token=g.token()).status == 200
    g.mesh.write("jwks/id.json", json.dumps({"keys": [g.other.jwk()]}))
    g.mesh.ctl("config", "reload", "--wait", check=0)
    assert g.refused(token=g.token())[0] == 401 and g.get(token=g.token(g.other)).status == 200
    for bad in ("{", "[]", '{"keys": 7}', '{"keys": [ { "kty": "oct", "k": "c2VjcmV0" } ] }'):
        g.mesh.write("jwks/id.json", bad)
        r = g.mesh.ctl("config", "reload")
        assert r.returncode and "50-jwt.yaml" in r.stdout + r.stderr, bad
    file.unlink()
    assert g.mesh.ctl("config", "reload").returncode
    assert g.get(token=g.token(g.other)).status == 200, "the last good keys stay"


def test_2_12_6_keys_that_nobody_has_refuse_every_token(guarded):
    g = guarded
    g.rules({"jwks": "", "jwksUri": "https://id.example/keys"})
    assert g.refused(token=g.token())[0] == 401 and g.get().status == 200
    g.rules({"jwks": ""})
    assert g.refused(token=g.token())[0] == 401 and g.get().status == 200
    g.mesh.write("mesh.d/50-jwt.yaml", """\
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: tokens, namespace: default }
spec: { jwtRules: [ { issuer: "me@here" } ] }
""")
    r = g.mesh.ctl("analyze")
    assert r.returncode and "issuer 'me@here' is no URL" in r.stdout


def test_2_12_7_preflights_need_no_token(guarded):
    guarded.rules()
    preflight = dict(origin="https://a.example", access_control_request_method="GET")
    assert guarded.get(method="OPTIONS", token="junk", **preflight).status == 200
    assert guarded.refused(method="OPTIONS", token="junk")[0] == 401
    assert guarded.refused(method="OPTIONS", token="junk", **{**preflight, "origin": ""})[0] == 401
    assert guarded.refused(method="OPTIONS", token="junk", **{**preflight, "access_control_request_method": ""})[0] == 401


def test_2_3_16_claims_choose_the_route_at_gateways(guarded):
    g = guarded
    g.rules()
    g.mesh.write("mesh.d/60-gateway.yaml", GATEWAY % g.door)
    g.mesh.ctl("config", "reload", "--wait", check=0)
    wait_for("the gateway", lambda: g.outside() == "nobody")
    assert g.outside(g.token(realm={"roles": ["user", "admin"]})) == "admin"
    assert g.outside(g.token(realm={"roles": "admin"})) == "admin"
    assert g.outside(g.token(tenant="eu-west")) == "eu" and g.outside(g.token(tenant="us")) == "nobody"
    assert g.outside(g.token(realm={"roles": []})) == "somebody" and g.outside(g.token(realm=7, tenant=7)) == "somebody"
    assert g.outside("junk").startswith("Jwt is not in the form")
