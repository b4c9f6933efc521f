# SPDX-License-Identifier: Apache-2.0
"""VirtualService and DestinationRule as Istio's rules say, by their numbers (docs/ARCHITECTURE.md names the reference)."""

import http.server
import json
import threading
import time

import pytest

import kvmesh
from kvmesh import wait_for
from server import Server


class Scripted(Server):
    """An HTTP/1.1 server that does to each connection what a function says, and counts requests."""

    def __init__(self, handler):
        self.requests = []
        self.handler = handler
        super().__init__()

    def serve(self, c):
        data = b""
        with c:
            try:
                while True:
                    while b"\r\n\r\n" not in data:
                        piece = c.recv(65536)
                        if not piece:
                            return
                        data += piece
                    head, data = data.split(b"\r\n\r\n", 1)
                    self.requests.append(head)
                    if not self.handler(self, c, head, len(self.requests)):
                        return
            except OSError:
                pass


def answer(c, body=b"ok\n", status=b"200 OK", extra=b""):
    c.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n" % len(body) + extra + b"\r\n" + body)
    return True


VS = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: {name} }}
spec:
  hosts: [ {host} ]
  http:
{http}
"""

ROUTES = VS.format(name="routes", host="web", http="""\
  - name: exact
    match: [ { uri: { exact: /exact } } ]
    route: [ { destination: { host: my-app, subset: v1 } } ]
  - name: by-header
    match:
    - headers: { x-canary: { exact: always } }
      method: { exact: GET }
    - queryParams: { v: { exact: "2" } }
    route: [ { destination: { host: my-app, subset: v2 } } ]
  - name: present
    match: [ { headers: { x-present: {} }, withoutHeaders: { x-not: { exact: "yes" } } } ]
    route: [ { destination: { host: my-app, subset: v2 } } ]
  - name: regex
    match: [ { uri: { regex: "/r/[0-9]+" } } ]
    rewrite: { uri: /headers }
    route: [ { destination: { host: my-app, subset: v2 } } ]
  - name: rewrite
    match: [ { uri: { prefix: /api/ } } ]
    rewrite: { uri: /headers/, authority: rewritten.example }
    headers:
      request: { set: { x-forwarded-for: 192.0.2.7 }, remove: [ x-secret ] }
      response: { add: { x-added: "yes" }, remove: [ x-backend ] }
    route: [ { destination: { host: my-app, subset: v1 } } ]
  - name: redirect
    match: [ { uri: { exact: /old } } ]
    redirect: { uri: /new, authority: other.example, redirectCode: 302 }
  - name: case
    match: [ { uri: { prefix: /CASE }, ignoreUriCase: true } ]
    route: [ { destination: { host: my-app, subset: v2 } } ]
  - name: direct
    match: [ { uri: { exact: /teapot } } ]
    directResponse: { status: 418, body: { string: "short and stout" } }
""")


@pytest.fixture(scope="module")
def routed(tmp_path_factory):
    with kvmesh.Article(tmp_path_factory.mktemp("routes")) as a:
        a.mesh.service("web", 80, "http", selector={"app": "my-app"})
        a.mesh.write("mesh.d/20-routes.yaml", ROUTES)
        yield a.start()


@pytest.mark.parametrize("path,headers,version", [
    ("/exact", {}, "v1"), ("/exact?x=1", {}, "v1"),
    ("/any", {"x-canary": "always"}, "v2"), ("/any?v=2", {}, "v2"), ("/any?a=b&v=2", {}, "v2"),
    ("/any", {"x-present": "1"}, "v2"), ("/caseless", {}, "v2"), ("/CASE/x", {}, "v2"),
])
def test_2_3_first_match_wins(routed, path, headers, version):
    r = routed.mesh.get("web", path, headers=headers)
    assert (r.status, r.headers["x-backend"]) == (200, version)


@pytest.mark.parametrize("path,headers", [
    ("/exact/", {}), ("/any", {"x-canary": "Always"}), ("/any?v=22", {}), ("/any?v=1&v=2", {}),
    ("/any", {"x-present": "1", "x-not": "yes"}), ("/r/12x", {}), ("/", {}),
])
def test_2_3_12_no_route_is_404(routed, path, headers):
    r = routed.mesh.get("web", path, headers=headers)
    assert r.status == 404


def test_2_3_method_belongs_to_its_block(routed):
    assert routed.mesh.get("web", "/any", method="POST", body=b"", headers={"x-canary": "always"}).status == 404


def test_2_6_1_rewrite_of_path_and_authority(routed):
    r = routed.mesh.get("web", "/api/x?q=1", headers={"x-secret": "s"})
    seen = dict(line.split("=", 1) for line in r.text.splitlines() if "=" in line)
    assert r.status == 200
    assert seen["host"] == "rewritten.example" and seen["uri"] == "/headers/x?q=1" and seen["xff"] == "192.0.2.7"
    assert r.headers["x-added"] == "yes" and "x-backend" not in r.headers


def test_2_6_1_a_regex_match_replaces_the_whole_path(routed):
    r = routed.mesh.get("web", "/r/12?q=1")
    assert "uri=/headers?q=1" in r.text


def test_2_6_5_redirect(routed):
    r = routed.mesh.get("web", "/old?q=1")
    assert (r.status, r.headers["location"]) == (302, "http://other.example/new?q=1")


def test_2_4_9_direct_response(routed):
    r = routed.mesh.get("web", "/teapot")
    assert (r.status, r.text) == (418, "short and stout")


# ---- failures --------------------------------------------------------------------------------------------


@pytest.fixture
def scripted(workdir):
    """make(handler, http="", dr="") -> (mesh, server): one service `app` served by the handler."""
    made = []

    def make(handler, http=None, rule="", protocol="HTTP"):
        server = Scripted(handler)
        mesh = kvmesh.Mesh(workdir / f"mesh{len(made)}", 'accessLogFile = "/dev/stdout";')
        mesh.workload("app", server.port, protocol=protocol)
        mesh.service("app", 80, protocol.lower(), protocol=protocol)
        if http:
            mesh.write("mesh.d/vs.yaml", VS.format(name="app", host="app", http=http))
        if rule:
            mesh.write("mesh.d/dr.yaml", rule)
        made.append((mesh, server))
        mesh.start()
        return mesh, server

    yield make
    for mesh, server in made:
        mesh.stop()
        server.stop()


def flags(mesh, path, side="outbound|"):
    line = wait_for(f"log line of {path}", lambda: next(
        (x for x in mesh.text().splitlines() if f" {path} HTTP" in x and side in x), None))
    return line.split('" ', 1)[1].split()[:2]


ROUTE = "  - route: [ { destination: { host: app } } ]\n"


def test_2_5_1_timeout_is_504_UT(scripted):
    hold = threading.Event()
    mesh, _ = scripted(lambda s, c, h, n: hold.wait(kvmesh.DEADLINE), ROUTE + "    timeout: 200ms\n")
    r = mesh.get("app", "/slow")
    hold.set()
    assert (r.status, r.text) == (504, "upstream request timeout")
    assert flags(mesh, "/slow") == ["504", "UT"]


def test_2_5_retries_on_5xx_until_an_answer(scripted):
    def third_time_lucky(s, c, h, n):
        return answer(c, b"busy\n", b"503 Service Unavailable") if n < 3 else answer(c)
    mesh, server = scripted(third_time_lucky, ROUTE + "    retries: { attempts: 3, retryOn: 5xx }\n")
    r = mesh.get("app", "/")
    assert (r.status, len(server.requests)) == (200, 3)
    counts = [int(line.split(b":")[1]) for h in server.requests for line in h.split(b"\r\n")
              if line.lower().startswith(b"x-envoy-attempt-count")]
    assert counts == [1, 2, 3]


def test_2_5_9_retries_exhausted_pass_the_last_answer_with_URX(scripted):
    mesh, server = scripted(lambda s, c, h, n: answer(c, b"busy\n", b"503 Service Unavailable"),
                            ROUTE + "    retries: { attempts: 2, retryOn: 5xx }\n")
    r = mesh.get("app", "/x")
    assert (r.status, r.text, len(server.requests)) == (503, "busy\n", 3)
    assert flags(mesh, "/x") == ["503", "URX"]


def test_2_5_4_the_default_policy_does_not_retry_a_503(scripted):
    mesh, server = scripted(lambda s, c, h, n: answer(c, b"busy\n", b"503 Service Unavailable"))
    assert mesh.get("app", "/").status == 503
    assert len(server.requests) == 1


def test_2_5_5_attempts_0_tries_once(scripted):
    mesh, server = scripted(lambda s, c, h, n: answer(c, b"busy\n", b"503 Service Unavailable"),
                            ROUTE + "    retries: { attempts: 0 }\n")
    assert mesh.get("app", "/").status == 503
    assert len(server.requests) == 1


def test_a_service_that_hangs_up_is_503(scripted):
    mesh, _ = scripted(lambda s, c, h, n: False)
    r = mesh.get("app", "/x", method="POST", body=b"data")
    assert r.status == 503
    assert "upstream connect error or disconnect/reset before headers" in r.text


def test_nobody_listens_is_503(scripted, workdir):
    mesh, server = scripted(lambda s, c, h, n: answer(c))
    server.stop()
    mesh.workload("app", kvmesh.free_port())
    mesh.ctl("config", "reload", "--wait", check=0)
    assert mesh.get("app", "/x").status == 503


def test_an_unknown_host_under_registry_only_is_502(workdir):
    mesh = kvmesh.Mesh(workdir / "mesh", "outboundTrafficPolicy = { mode = \"REGISTRY_ONLY\"; };")
    try:
        mesh.start()
        assert mesh.get("nowhere.example", "/").status == 502
    finally:
        mesh.stop()


def test_2_7_6_a_subset_without_endpoints_is_503_no_healthy_upstream(scripted):
    mesh, server = scripted(lambda s, c, h, n: answer(c), ROUTE.replace("host: app", "host: app, subset: none"), """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: app }
spec: { host: app, subsets: [ { name: none, labels: { version: none } } ] }
""")
    r = mesh.get("app", "/x")
    assert (r.status, r.text) == (503, "no healthy upstream")
    assert flags(mesh, "/x") == ["503", "UH"]


def test_2_8_5_circuit_breaker_is_503_UO(scripted):
    hold = threading.Event()
    mesh, server = scripted(lambda s, c, h, n: hold.wait(kvmesh.DEADLINE) and answer(c), rule="""\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: app }
spec:
  host: app
  trafficPolicy: { connectionPool: { tcp: { maxConnections: 1 }, http: { http1MaxPendingRequests: 1, http2MaxRequests: 1 } } }
""")
    results = []
    first = threading.Thread(target=lambda: results.append(mesh.get("app", "/first").status))
    first.start()
    wait_for("the first request at the service", lambda: server.requests)
    r = mesh.get("app", "/second")
    hold.set()
    first.join()
    assert (r.status, r.headers.get("x-envoy-overloaded"), results) == (503, "true", [200])
    assert flags(mesh, "/second") == ["503", "UO"]


def test_2_8_6_one_request_per_connection(scripted):
    seen = set()

    def note(s, c, h, n):
        seen.add(c.getpeername())
        return answer(c)
    mesh, server = scripted(note)
    c = mesh.connect()
    for _ in range(5):
        c.request("GET", "/", headers={"Host": "app"})
        c.getresponse().read()
    assert len(seen) < 5, "keep-alive towards the application"


def test_an_idle_connection_that_the_service_closes_is_no_error_for_the_client(scripted):
    """The service closes each connection right after its answer, without saying so."""
    def answer_then_close(s, c, h, n):
        answer(c)
        return False
    mesh, _ = scripted(answer_then_close)
    c = mesh.connect()
    for _ in range(300):
        c.request("GET", "/", headers={"Host": "app"})
        r = c.getresponse()
        r.read()
        assert r.status == 200


def test_a_broken_answer_is_502(scripted):
    def broken(s, c, h, n):
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello")
        return False
    mesh, _ = scripted(broken)
    assert mesh.get("app", "/x").status == 502
