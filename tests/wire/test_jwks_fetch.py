# SPDX-License-Identifier: Apache-2.0
"""Keys of a RequestAuthentication behind a URL (Istio's semantics 2.12.6, security-model §5.5, §5.6): fetched by the proxy over
https, and every answer that is none."""

import contextlib
import http.server
import json
import ssl
import threading
import time

import pytest

import kvmesh
from kvmesh import wait_for
from pki import Authority
from test_jwt import ISSUER, Guarded


WELL_KNOWN = "/.well-known/openid-configuration"


class KeyServer(http.server.ThreadingHTTPServer):
    """What it answers is told by the path; a name in `broken` gets 503."""

    def __init__(self, keys, crt=None, key=None):
        self.keys, self.broken, self.asked = json.dumps({"keys": keys}).encode(), set(), []
        self.stopping = threading.Event()
        self.configurations = {}        # by the issuer's path: bytes
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        if crt:
            ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            ctx.load_cert_chain(crt, key)
            self.socket = ctx.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass                                    # handshakes that fail are the tests' doing

    def close(self):
        self.stopping.set()
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def give(self, body, status=200, length=None, **fields):
        self.send_response(status)
        for k, v in fields.items():
            self.send_header(k.replace("_", "-"), v)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def chunks(self, text):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + text)

    def do_GET(self):
        keys, path = self.server.keys, self.path.split("?")[0]
        self.server.asked.append((self.path, self.headers["Host"]))
        self.close_connection = True
        if path in self.server.broken:
            self.give(b"", 503)
        elif path.endswith(WELL_KNOWN):
            text = self.server.configurations.get(path.removesuffix(WELL_KNOWN))
            self.give(b"" if text is None else text, 404 if text is None else 200)
        elif path == "/chunked":
            half = len(keys) // 2
            self.chunks(b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (keys[:half], keys[half:])) + b"0\r\n\r\n")
        elif path == "/until-close":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + keys)
            with contextlib.suppress(OSError, ssl.SSLError):
                self.connection.unwrap()        # close_notify: that was all of it
        elif path == "/hints":
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            self.give(keys)
        elif path in BAD:
            BAD[path][0](self, keys)
        else:
            self.give(keys)


def cut(h, keys):
    h.give(keys[:20], length=len(keys))


def many_members(keys):
    return b'{"keys": [], ' + keys[1:]


# path: (what is answered, what the journal says of it)
BAD = {
    "/missing": (lambda h, k: h.give(k, 404), "status is 404"),
    "/moved": (lambda h, k: h.give(b"", 302, Location="/keys"), "status is 302"),
    "/empty": (lambda h, k: h.give(b""), ""),
    "/html": (lambda h, k: h.give(b"<html>"), ""),
    "/no-list": (lambda h, k: h.give(b'{"keys": 1}'), "no list 'keys'"),
    "/no-key": (lambda h, k: h.give(b'{"keys": []}'), "no key"),
    "/twice": (lambda h, k: h.give(many_members(k)), ""),
    "/deep": (lambda h, k: h.give(b"[" * 5000), ""),
    "/cut": (cut, "ended too early"),
    "/until-cut": (lambda h, k: h.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + k), "was cut"),
    "/long": (lambda h, k: h.give(k + b" " * (2 << 20)), "too long"),
    "/long-chunks": (lambda h, k: h.chunks(b"".join(b"10000\r\n" + b" " * 65536 + b"\r\n" for _ in range(40)) + b"0\r\n\r\n"), "too long"),
    "/bad-chunks": (lambda h, k: h.chunks(b"zz\r\n"), "malformed"),
    "/no-http": (lambda h, k: h.wfile.write(b"hello\r\n\r\n"), "no HTTP/1.1"),
    "/silent": (lambda h, k: h.server.stopping.wait(kvmesh.DEADLINE), "took too long"),
}


class Fetching(Guarded):
    def __init__(self, directory):
        super().__init__(directory)
        self.server = KeyServer(self.keys, *self.ca.issue("localhost", "DNS:localhost"))

    def use(self, url, **more):
        """A policy with keys from there alone."""
        spec = {"jwtRules": [{"issuer": ISSUER, "jwksUri": url, **more}]}
        self.mesh.write("mesh.d/50-jwt.yaml", f"""\
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{ name: tokens, namespace: default }}
spec: {json.dumps(spec)}
""")
        self.mesh.ctl("config", "reload", "--wait", check=0)

    def discover(self, path, configuration, scheme="https", server=None):
        """A policy with an issuer of that path alone, whose configuration is that; its URL."""
        server = server or self.server
        issuer = self.url(path, scheme, port=server.port)
        if isinstance(configuration, dict):
            configuration = json.dumps({"issuer": issuer, **configuration}).encode()
        server.configurations[path.removesuffix("/")] = configuration
        self.mesh.write("mesh.d/50-jwt.yaml", f"""\
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{ name: tokens, namespace: default }}
spec: {json.dumps({"jwtRules": [{"issuer": issuer}]})}
""")
        self.mesh.ctl("config", "reload", "--wait", check=0)
        return issuer

    def url(self, path, scheme="https", host="localhost", port=None):
        return f"{scheme}://{host}:{port or self.server.port}{path}"

    def said(self, url, words=""):
        return any(f"jwks_fetch_failed: {url}: " in x and words in x for x in self.mesh.text().splitlines())

    def accepts(self, **kw):
        return self.get(token=self.token(**kw)).status == 200


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    directory = tmp_path_factory.mktemp("jwks")
    directory.chmod(0o755)
    Fetching.ca = Authority(directory / "pki")
    with pytest.MonkeyPatch.context() as m:
        m.setenv("SSL_CERT_FILE", str(Fetching.ca.crt))
        w = Fetching(directory)
    yield w
    w.mesh.assert_sound()
    w.mesh.stop()
    w.server.close()
    w.program.stop()


@pytest.mark.parametrize("path", ["/keys?x=1", "/chunked", "/until-close", "/hints"])
def test_2_12_6_keys_are_fetched(world, path):
    world.use(world.url(path))
    wait_for("the keys", world.accepts)
    assert world.accepts(key=world.ec, alg="ES256")
    assert world.refused(token=world.token(world.other, header={"alg": "RS256", "kid": "r"})) == (401, "Jwt verification fails")
    assert (path, f"localhost:{world.server.port}") in world.server.asked


@pytest.mark.parametrize("path", BAD)
def test_2_12_6_an_answer_that_is_no_set_of_keys_leaves_none(world, path):
    url = world.url(path)
    time.sleep(0.2)                     # the journal takes ten such lines a second, and the one waited for is told once
    world.use(url, **({"timeout": "1s"} if path == "/silent" else {}))
    wait_for("the journal to tell", lambda: world.said(url, BAD[path][1]))
    assert world.refused(token=world.token())[0] == 401
    assert world.get().status == 200, "who has no token passes"


def test_2_12_6_a_server_that_comes_back_is_found(world):
    world.server.broken.add("/later")
    url = world.url("/later")
    world.use(url)
    wait_for("the failure", lambda: world.said(url, "status is 503"))
    assert not world.accepts()
    world.server.broken.clear()
    wait_for("the keys", world.accepts)


def test_2_12_6_known_keys_survive_a_reload_at_once(world):
    url = world.url("/kept")
    world.use(url)
    wait_for("the keys", world.accepts)
    world.server.broken.add("/kept")
    world.use(url, forwardOriginalToken=True)
    assert world.accepts()
    world.server.broken.clear()


def test_the_servers_certificate_is_verified(world):
    """Of another name, of a CA that this host does not trust."""
    stranger = Authority(world.dir / "stranger")
    for pair in (world.ca.issue("other", "DNS:other.example"), stranger.issue("localhost", "DNS:localhost")):
        server = KeyServer(world.keys, *pair)
        url = world.url("/keys", port=server.port)
        world.use(url)
        wait_for("the journal to tell", lambda url=url: world.said(url))
        assert not world.accepts() and not server.asked
        server.close()


def test_http_is_for_this_host_alone(world):
    server = KeyServer(world.keys)
    world.use(world.url("/keys", scheme="http", host="127.0.0.1", port=server.port))
    wait_for("the keys", world.accepts)
    server.close()
    world.use("http://192.0.2.1/keys")
    wait_for("the journal to tell", lambda: world.said("http://192.0.2.1/keys", "https is needed"))


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"])
def test_metadata_services_are_not_asked(world, host):
    url = f"https://{host}/latest/keys"
    world.use(url)
    wait_for("the journal to tell", lambda: world.said(url, "not asked"))


def test_a_key_server_that_is_no_more_needed_is_left_alone(world):
    url = world.url("/gone-soon")
    world.server.broken.add("/gone-soon")
    world.use(url)
    wait_for("the failure", lambda: world.said(url))
    world.use(world.url("/keys"))
    wait_for("the keys", world.accepts)
    asked = sum(p == "/gone-soon" for p, _ in world.server.asked)
    time.sleep(3)                               # it would have been asked again after 2 s
    assert sum(p == "/gone-soon" for p, _ in world.server.asked) <= asked + 1
    world.server.broken.clear()


# ---- found by the issuer (OpenID discovery) ------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/id", "/id/slash/", ""])
def test_2_12_6_keys_are_found_by_the_issuers_configuration(world, path):
    issuer = world.discover(path, {"jwks_uri": world.url("/found" + path.replace("/", "-"))})
    wait_for("the keys", lambda: world.accepts(iss=issuer))
    assert world.refused(token=world.token(world.other, iss=issuer, header={"alg": "RS256", "kid": "r"})) == (401, "Jwt verification fails")
    assert world.refused(token=world.token(iss=issuer + "x"))[1] == "Jwt issuer is not configured"


NO_CONFIGURATION = {
    "none": (None, "status is 404"),
    "no-json": (b"<html>", ""),
    "a-list": (b"[]", "issuer"),
    "another-issuer": ({"issuer": "https://other.example", "jwks_uri": "KEYS"}, "not the issuer's configuration"),
    "no-issuer": (b'{"jwks_uri": "https://localhost/keys"}', "not the issuer's configuration"),
    "issuer-twice": (b'{"issuer": "https://other.example", "issuer": "ISSUER", "jwks_uri": "KEYS"}', ""),
    "no-uri": ({}, "does not say where the keys are"),
    "no-text": ({"jwks_uri": ["KEYS"]}, "does not say where the keys are"),
    "long": ({"jwks_uri": "https://localhost/" + "x" * 5000}, "does not say where the keys are"),
    "http": ({"jwks_uri": "http://127.0.0.1:1/keys"}, "no https URL"),
    "file": ({"jwks_uri": "file:///etc/passwd"}, "no https URL"),
    "metadata": ({"jwks_uri": "https://169.254.169.254/keys"}, "not asked"),
    "no-keys-there": ({"jwks_uri": "MISSING"}, "status is 404"),
}


@pytest.mark.parametrize("name", NO_CONFIGURATION)
def test_2_12_6_a_configuration_that_leads_to_no_keys(world, name):
    configuration, words = NO_CONFIGURATION[name]
    text = json.dumps(configuration) if isinstance(configuration, dict) else (configuration or b"").decode()
    text = text.replace("KEYS", world.url("/keys")).replace("MISSING", world.url("/missing")).replace("ISSUER", world.url(f"/bad/{name}"))
    time.sleep(0.2)
    issuer = world.discover(f"/bad/{name}", None if configuration is None else json.loads(text) if isinstance(configuration, dict) else text.encode())
    wait_for("the journal to tell", lambda: world.said(issuer + WELL_KNOWN, words))
    assert world.refused(token=world.token(iss=issuer))[0] == 401 and world.get().status == 200


def test_2_12_6_a_configuration_over_http_on_this_host(world):
    server = KeyServer(world.keys)
    issuer = world.discover("/id", {"jwks_uri": f"http://localhost:{server.port}/keys"}, "http", server)
    wait_for("the keys", lambda: world.accepts(iss=issuer))
    server.close()


# ---- keys that are not known yet -----------------------------------------------------------------------------------


def asked(server, path):
    return sum(p == path for p, _ in server.asked)


def test_2_12_6_a_new_key_is_fetched_when_a_token_names_it(world):
    world.use(world.url("/rotated"))
    wait_for("the keys", world.accepts)
    wait_for("the gateway to have them too", lambda: asked(world.server, "/rotated") == 2)
    assert world.refused(token=world.token(world.other))[0] == 401
    server_keys = world.server.keys
    try:
        wait_for("the fetch that the unknown kid made", lambda: asked(world.server, "/rotated") == 3)
        world.server.keys = json.dumps({"keys": [*world.keys, world.other.jwk()]}).encode()
        wait_for("the new key", lambda: world.accepts(key=world.other))
        assert world.accepts(), "the old one is still there"
    finally:
        world.server.keys = server_keys


def test_2_12_6_made_up_kids_cause_one_fetch_in_a_while(world):
    world.use(world.url("/flooded"))
    wait_for("the keys", world.accepts)
    wait_for("the gateway to have them too", lambda: asked(world.server, "/flooded") == 2)
    begin = time.monotonic()
    for i in range(300):
        assert world.refused(token=world.token(world.other, header={"alg": "RS256", "kid": f"made-up-{i}"}))[0] == 401
    wait_for("a fetch", lambda: asked(world.server, "/flooded") >= 3)
    assert asked(world.server, "/flooded") <= 3 + (time.monotonic() - begin) / 10
    assert world.accepts()
    world.server.broken.add("/flooded-away")
    url = world.url("/flooded-away")
    world.use(url)
    wait_for("the failure", lambda: world.said(url))
    for i in range(50):
        world.refused(token=world.token(world.other, header={"alg": "RS256", "kid": f"made-up-{i}"}))
    assert asked(world.server, "/flooded-away") <= 6, "who fails is asked again in his own time"
    world.server.broken.clear()
