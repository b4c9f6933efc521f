# SPDX-License-Identifier: Apache-2.0
"""AuthorizationPolicy with action CUSTOM: an external authorizer over HTTP, as a service of the mesh and on a Unix socket
(semantics 2.11.2, 2.11.3, 2.11.14, 2.11.15)."""

import concurrent.futures
import http.client
import json
import os
import socket
import struct
import threading
import time

import pytest

import kvmesh
from kvmesh import wait_for
from server import Server

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Authorizer(Server):
    """Answers by the path that is asked about: self.answers[path], bytes or a function of the connection; else 200."""

    def __init__(self):
        self.answers, self.asked, self.open = {}, [], 0
        super().__init__(backlog=2048)

    def serve(self, connection):
        with connection, connection.makefile("rb") as f:
            while line := f.readline():
                method, target, _ = line.decode().split(" ")
                fields = []
                while (field := f.readline().strip()):
                    key, value = field.decode().split(":", 1)
                    fields.append((key.lower(), value.strip()))
                body = f.read(int(dict(fields).get("content-length", 0)))
                self.asked.append((method, target, dict(fields), body))
                answer = self.answers.get(target.split("?")[0].removeprefix("/check"), OK)
                if callable(answer):
                    answer(connection)
                else:
                    connection.sendall(answer)


def answer(status, *fields, body=b""):
    return (f"HTTP/1.1 {status} X\r\n" + "".join(f"{f}\r\n" for f in fields) + f"content-length: {len(body)}\r\n\r\n").encode() + body


class App(Server):
    """Tells the request it got."""

    def serve(self, connection):
        with connection, connection.makefile("rb") as f:
            while line := f.readline():
                method, target, _ = line.decode().split(" ")
                fields = []
                while (field := f.readline().strip()):
                    key, value = field.decode(errors="replace").split(":", 1)
                    fields.append((key.lower(), value.strip()))
                n = int(dict(fields).get("content-length", 0))
                body = f.read(n)
                text = json.dumps({"method": method, "path": target, "fields": fields, "body": len(body)}).encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-app: yes\r\ncontent-length: %d\r\n\r\n" % len(text)
                                   + (text if method != "HEAD" else b""))


PROVIDER = """\
mesh = {{ extensionProviders = ( {{ name = "ext"; envoyExtAuthzHttp = {{ service = "{service}"; port = {port}; {more} }}; }} ); }};
"""
POLICY = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: {name}, namespace: default }}
spec: {{ selector: {{ matchLabels: {{ app: my-app }} }}, {spec} }}
"""
CUSTOM = "action: CUSTOM, provider: { name: ext }, rules: [ { to: [ { operation: { notPaths: [ /free* ] } } ] } ]"


class World:
    def __init__(self, directory):
        self.dir = directory
        self.log = directory / "access.log"
        self.authorizer, self.app = Authorizer(), App()
        self.mesh = kvmesh.Mesh(directory / "mesh", f'accessLogFile = "{self.log}"; accessLogEncoding = "JSON"; '
                                                    "defaultConfig = { concurrency = 1; };")
        self.mesh.workload("my-app", self.app.port, serviceAccount="my-app")
        self.mesh.service("my-app", 80, "http")
        self.mesh.workload("ext", self.authorizer.port)
        self.mesh.service("ext", 8000, "http")
        self.provider()
        self.policies(CUSTOM)
        self.mesh.start()

    def provider(self, more="", service="ext.default.svc.cluster.local", port=8000):
        self.mesh.write("conf.d/ext.conf", PROVIDER.format(service=service, port=port, more=more))

    def policies(self, *specs):
        self.mesh.write("mesh.d/50-authz.yaml", "---\n".join(POLICY.format(name=f"p{i}", spec=s) for i, s in enumerate(specs)))

    def set(self, more="", *specs, **where):
        self.provider(more, **where)
        self.policies(*(specs or (CUSTOM,)))
        self.mesh.ctl("config", "reload", "--wait", check=0)
        self.authorizer.answers.clear()
        self.authorizer.asked.clear()

    def get(self, path="/", **kw):
        return self.mesh.get("my-app", path, **kw)

    def records(self, path):
        if not self.log.exists():
            return []
        return [r for r in map(json.loads, self.log.read_text().splitlines()) if r.get("path") == path]

    def stop(self):
        self.mesh.stop()
        self.authorizer.stop()
        self.app.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ext")
    directory.chmod(0o755)
    w = World(directory)
    yield w
    w.stop()


def sent(response):
    return json.loads(response.body)


def test_2_11_15_an_authorizer_of_the_mesh_is_asked_and_allows(world):
    world.set('pathPrefix = "/check"; includeRequestHeadersInCheck = [ "authorization", "x-t-*", "*-id" ]; '
              'includeAdditionalHeadersInCheck = [ "x-from=kvmesh" ]; headersToUpstreamOnAllow = [ "x-user", "x-role-*" ]; '
              'headersToDownstreamOnAllow = [ "x-session" ];')
    world.authorizer.answers["/a"] = answer(200, "x-user: jo", "x-role-a: 1", "x-role-a: 2", "x-other: no", "x-session: s1", "connection: keep-alive")
    r = world.get("/a?b=c", headers={"Authorization": "Bearer t", "X-T-One": "1", "X-Our-Id": "7", "Cookie": "secret", "X-User": "forged"})
    assert r.status == 200 and r.headers["x-session"] == "s1" and "x-user" not in r.headers
    (method, target, fields, body), = world.authorizer.asked
    assert (method, target, body) == ("GET", "/check/a?b=c", b"")
    assert fields["host"] == "my-app" and fields.get("content-length", "0") == "0" and fields["x-from"] == "kvmesh"
    assert fields["authorization"] == "Bearer t" and fields["x-t-one"] == "1" and fields["x-our-id"] == "7"
    assert "cookie" not in fields and "x-user" not in fields
    got = sent(r)["fields"]
    assert [v for k, v in got if k == "x-user"] == ["jo"], "what the client said of it is replaced"
    assert [v for k, v in got if k == "x-role-a"] == ["1", "2"] and not [v for k, v in got if k == "x-other"]
    assert sent(r)["path"] == "/a?b=c"
    # it was called over mTLS, as the workload that asks
    assert "spiffe://cluster.local/ns/default/sa/my-app" in fields["x-forwarded-client-cert"]


def test_2_11_3_a_refusal_is_the_authorizers_answer_with_UAEX(world):
    world.set()
    world.authorizer.answers["/no"] = answer(401, "www-authenticate: Basic", "x-why: because", "content-type: text/html", body=b"<b>no</b>")
    r = world.get("/no")
    assert (r.status, r.body) == (401, b"<b>no</b>")
    assert r.headers["www-authenticate"] == "Basic" and r.headers["x-why"] == "because" and r.headers["content-type"] == "text/html"
    record = wait_for("the record", lambda: [x for x in world.records("/no") if x["response_code_details"] == "ext_authz_denied"])[0]
    assert record["response_flags"] == "UAEX" and record["response_code"] == 401
    world.authorizer.answers["/login"] = answer(302, "location: https://login.example/?back=1")
    r = world.get("/login")
    assert r.status == 302 and r.headers["location"] == "https://login.example/?back=1"
    assert 'kvmesh_ext_authz_total{' in wait_for("the count", lambda: "kvmesh_ext_authz_total" in (t := world.mesh.metrics()) and t)


def test_2_11_15_only_named_headers_go_to_the_client_on_refusal(world):
    world.set('headersToDownstreamOnDeny = [ "x-why" ];')
    world.authorizer.answers["/no"] = answer(403, "www-authenticate: Basic", "x-why: because", "x-secret: 1")
    r = world.get("/no")
    assert r.status == 403 and r.headers["x-why"] == "because" and r.headers["www-authenticate"] == "Basic" and "x-secret" not in r.headers


def test_2_11_2_custom_comes_before_deny_and_allow(world):
    world.set("", CUSTOM, "action: DENY, rules: [ { to: [ { operation: { paths: [ /denied ] } } ] } ]",
              "rules: [ { to: [ { operation: { paths: [ /denied, /yes, /free* ] } } ] }, { when: [ { key: 'request.headers[x-user]', values: [ jo ] } ] } ]")
    world.authorizer.answers["/denied"] = answer(418)
    assert world.get("/denied").status == 418, "the authorizer's word comes first"
    world.authorizer.answers.clear()
    r = world.get("/denied")
    assert r.status == 403 and r.text == "RBAC: access denied", "and allows nothing that DENY refuses"
    assert world.get("/yes").status == 200 and world.get("/other").status == 403
    n = len(world.authorizer.asked)
    assert world.get("/free").status == 200 and len(world.authorizer.asked) == n, "its rules do not fit: nobody is asked"


def test_2_11_17_rules_see_what_the_authorizer_added(world):
    world.set('headersToUpstreamOnAllow = [ "x-user" ];', CUSTOM,
              "rules: [ { when: [ { key: 'request.headers[x-user]', values: [ jo ] } ] } ]")
    world.authorizer.answers["/jo"] = answer(200, "x-user: jo")
    assert world.get("/jo").status == 200 and world.get("/nobody").status == 403


@pytest.mark.parametrize("broken", ["closes", "500", "no HTTP", "hangs", "long refusal"])
@pytest.mark.parametrize("how, status", [("", 403), ('statusOnError = "503";', 503), ("failOpen = true;", 200)])
def test_2_11_15_who_does_not_answer(world, broken, how, status):
    world.set(f'timeout = "0.5s"; {how}')
    world.authorizer.answers["/x"] = {
        "closes": lambda c: c.shutdown(socket.SHUT_RDWR), "500": answer(500), "no HTTP": b"what?\r\n\r\n",
        "hangs": lambda c: time.sleep(3), "long refusal": answer(403, body=b"x" * 100000)}[broken]
    r = world.get("/x")
    assert r.status == status
    if status != 200:
        assert wait_for("the record", lambda: [x for x in world.records("/x") if x["response_code_details"] == "ext_authz_error" and x["response_flags"] == "UAEX"])


def test_2_11_15_an_authorizer_that_is_away(world):
    world.mesh.workload("ext", kvmesh.free_port())
    try:
        world.set()
        assert world.get("/x").status == 403
        world.set("failOpen = true;")
        assert world.get("/x").status == 200
    finally:
        world.mesh.workload("ext", world.authorizer.port)
        world.set()


def test_a_unix_socket(world):
    path = world.dir / "ext.sock"
    asked = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        os.chmod(path, 0o777)
        listener.listen()

        def serve():
            while True:
                try:
                    c, _ = listener.accept()
                except OSError:
                    return
                with c:
                    while data := c.recv(65536):
                        asked.append(data.split(b"\r\n")[0])
                        c.sendall(answer(403, body=b"unix says no") if b"/no" in data else OK)
        threading.Thread(target=serve, daemon=True).start()
        world.mesh.write("mesh.d/10-unix.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: ext-unix }}
spec:
  hosts: [ ext.local ]
  ports: [ {{ number: 80, name: http, protocol: HTTP }} ]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [ {{ address: "unix://{path}" }} ]
""")
        world.set(service="ext.local", port=80)
        assert world.get("/yes").status == 200
        r = world.get("/no")
        assert r.status == 403 and r.text == "unix says no"
        assert asked == [b"GET /yes HTTP/1.1", b"GET /no HTTP/1.1"]
        listener.shutdown(socket.SHUT_RDWR)
    world.set()


def test_the_body_is_shown_when_asked_for(world):
    world.set("includeRequestBodyInCheck = { maxRequestBytes = 1000; };")
    r = world.get("/b", method="POST", body=b"x" * 1000)
    assert r.status == 200 and sent(r)["body"] == 1000 and world.authorizer.asked[-1][3] == b"x" * 1000
    n = len(world.authorizer.asked)
    assert world.get("/b", method="POST", body=b"x" * 1001).status == 413 and len(world.authorizer.asked) == n
    world.set("includeRequestBodyInCheck = { maxRequestBytes = 1000; allowPartialMessage = true; };")
    r = world.get("/b", method="POST", body=b"y" * 300000)
    assert r.status == 200 and sent(r)["body"] == 300000 and world.authorizer.asked[-1][3] == b"y" * 1000
    world.set()
    r = world.get("/b", method="POST", body=b"z" * 2000000)
    assert r.status == 200 and sent(r)["body"] == 2000000 and world.authorizer.asked[-1][3] == b""


def test_a_client_that_waits_to_be_asked_for_its_body(world):
    world.set("includeRequestBodyInCheck = { maxRequestBytes = 1000; };")
    with socket.create_connection(("127.0.0.1", world.mesh.http_port), timeout=kvmesh.DEADLINE) as s, s.makefile("rb") as f:
        s.sendall(b"POST /e HTTP/1.1\r\nHost: my-app\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert f.readline().startswith(b"HTTP/1.1 100")
        assert f.readline() == b"\r\n"
        s.sendall(b"hello")
        assert f.readline().startswith(b"HTTP/1.1 200")
    assert world.authorizer.asked[-1][3] == b"hello"


def test_who_leaves_takes_the_question_along(world):
    world.set()
    gone = threading.Event()

    def hold(c):
        gone.set() if c.recv(1) == b"" else None
    world.authorizer.answers["/slow"] = hold
    with socket.create_connection(("127.0.0.1", world.mesh.http_port), timeout=kvmesh.DEADLINE) as s:
        s.sendall(b"GET /slow HTTP/1.1\r\nHost: my-app\r\n\r\n")
        wait_for("the question", lambda: [a for a in world.authorizer.asked if a[1] == "/slow"])
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))      # a reset: a half-close waits
    assert gone.wait(kvmesh.DEADLINE), "the question's connection ends"
    assert world.get("/next").status == 200
    world.mesh.assert_sound()


def test_a_thousand_at_once(world):
    world.set()
    gate, held = threading.Event(), []

    def hold(c):
        held.append(1)
        gate.wait()
        c.sendall(answer(403) if len(held) % 2 else OK)
    world.authorizer.answers["/many"] = hold
    clients = []
    try:
        for _ in range(1000):
            s = socket.create_connection(("127.0.0.1", world.mesh.http_port), timeout=kvmesh.DEADLINE)
            s.sendall(b"GET /many HTTP/1.1\r\nHost: my-app\r\nConnection: close\r\n\r\n")
            clients.append(s)
        wait_for("all to be asked about", lambda: len(held) == 1000)
        assert world.get("/free").status == 200, "others are not held up"
        gate.set()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            statuses = list(pool.map(lambda s: s.recv(65536)[9:12], clients))
        assert set(statuses) <= {b"200", b"403"} and len(statuses) == 1000 and b"200" in statuses
    finally:
        gate.set()
        for s in clients:
            s.close()
    world.mesh.assert_sound()


def test_a_policy_that_changes_while_somebody_is_asked(world):
    world.set()
    gate = threading.Event()
    world.authorizer.answers["/held"] = lambda c: (gate.wait(), c.sendall(OK))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        r = pool.submit(world.get, "/held")
        wait_for("the question", lambda: [a for a in world.authorizer.asked if a[1] == "/held"])
        world.policies("rules: [ {} ]")
        world.mesh.ctl("config", "reload", "--wait", check=0)
        gate.set()
        assert r.result().status == 200
    world.set()


def test_2_11_15_told_beforehand(world):
    world.set()
    rows = world.mesh.ctl_json("authz", "check", "my-app")
    rows = rows if isinstance(rows, list) else next(v for v in rows.values() if isinstance(v, list))
    assert [r for r in rows if r["action"] == "CUSTOM by ext"]
    can = json.loads(world.mesh.ctl("authz", "can", "my-app", "my-app", "GET", "/x", "-o", "json").stdout)
    assert '"asks": "ext"' in json.dumps(can)


def test_a_gateway_asks_too(world):
    port = kvmesh.free_port()
    world.mesh.write("workloads.d/edge.conf", 'Workload = { name = "edge"; gateway = true; labels = { istio = "edge"; }; };')
    world.mesh.write("mesh.d/20-edge.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{ name: edge }}
spec: {{ selector: {{ istio: edge }}, servers: [ {{ port: {{ number: {port}, name: http, protocol: HTTP }}, hosts: [ "*" ] }} ] }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: edge }}
spec: {{ hosts: [ "*" ], gateways: [ edge ], http: [ {{ route: [ {{ destination: {{ host: my-app }} }} ] }} ] }}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: edge, namespace: default }}
spec: {{ selector: {{ matchLabels: {{ istio: edge }} }}, {CUSTOM} }}
""")
    try:
        world.set("", "rules: [ {} ]")
        world.authorizer.answers["/no"] = answer(401, body=b"edge says no")

        def get(path):
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=kvmesh.DEADLINE)
            c.request("GET", path)
            r = c.getresponse()
            return r.status, r.read()
        wait_for("the gateway", lambda: get("/yes")[0] == 200)
        assert get("/no") == (401, b"edge says no")
        assert [a[1] for a in world.authorizer.asked][-2:] == ["/yes", "/no"]
    finally:
        (world.mesh.etc / "workloads.d/edge.conf").unlink()
        (world.mesh.etc / "mesh.d/20-edge.yaml").unlink()
        world.set()


@pytest.mark.parametrize("more, words", [
    ('statusOnError = "200";', "statusOnError"), ('pathPrefix = "check";', "pathPrefix"),
    ("includeRequestBodyInCheck = { maxRequestBytes = 1000000; };", "maxRequestBytes")])
def test_a_provider_that_cannot_be_is_refused(world, more, words):
    world.provider(more)
    r = world.mesh.ctl("analyze")
    assert r.returncode != 0 and words in r.stdout + r.stderr
    world.provider(service="nobody.default.svc.cluster.local")
    r = world.mesh.ctl("analyze")
    assert r.returncode != 0 and "no Service or ServiceEntry has the host 'nobody" in r.stdout + r.stderr
    world.set()
