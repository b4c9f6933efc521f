# SPDX-License-Identifier: Apache-2.0
"""kvmeshctl explain request: what it foretells is what the proxies do, for random routes, policies and requests."""

import json
import os
import random
import re
import subprocess
import sys

import pytest

import kvmesh
from kvmesh import wait_for

N_WORLDS, N_REQUESTS = 4, 80
PATHS = ["/", "/a", "/a/b", "/a/b/c", "/b", "/b/1", "/c%2Fd", "/a//b", "/a/./b", "/A"]
NODE, WEB = "cluster.local/ns/kvmesh-system/sa/test-1", "cluster.local/ns/shop/sa/web"
ASK = """
import http.client, json, sys
for line in sys.stdin:
    q = json.loads(line)
    c = http.client.HTTPConnection("127.0.0.1", q["port"], timeout=60)
    c.putrequest(q["method"], q["path"], skip_host=True, skip_accept_encoding=True)
    for k, v in q["headers"].items():
        c.putheader(k, v)
    c.endheaders()
    r = c.getresponse()
    print(json.dumps({"status": r.status, "headers": {k.lower(): v for k, v in r.getheaders()}, "body": r.read().decode(errors="replace")}), flush=True)
    c.close()
"""


class World:
    """Two versions of app, one of other, a third subset that is empty, one that is dialled in plain text; callers are
    the node itself and, for root, web (user nobody, namespace shop)."""

    def __init__(self, directory):
        self.log = directory / "access.log"
        self.mesh = m = kvmesh.Mesh(directory / "mesh", conf=f'accessLogFile = "{self.log}"; accessLogEncoding = "JSON";')
        self.callers = {"-": None}
        self.servers = {n: kvmesh.Nginx(directory, n, extra="location ~ ^/status { return 404; }") for n in ("v1", "v1b", "v2", "other")}
        for name, s in self.servers.items():
            app = "other" if name == "other" else "app"
            m.workload(name, s.port, {"app": app, "version": name[:2]}, serviceAccount=app)
        m.workload("web", kvmesh.free_port(), namespace="shop", serviceAccount="web", user="nobody")
        if os.getuid() == 0:
            self.callers["web"] = "nobody"
        m.service("app", 80, "http")
        m.service("other", 80, "http")
        m.write("mesh.d/10-rule.yaml", """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: strict }
spec: { mtls: { mode: STRICT } }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: app }
spec:
  host: app
  subsets:
  - { name: v1, labels: { version: v1 } }
  - { name: v2, labels: { version: v2 } }
  - { name: hashed, trafficPolicy: { loadBalancer: { consistentHash: { httpHeaderName: x-user } } } }
  - { name: none, labels: { version: v9 } }
  - { name: plain, labels: { version: v1 }, trafficPolicy: { tls: { mode: DISABLE } } }
""")
        m.start()

    def configure(self, rng):
        self.routes = self.mesh.write("mesh.d/20-routes.yaml", random_routes(rng))
        self.mesh.write("mesh.d/30-authz.yaml", random_policies(rng))
        self.mesh.ctl("config", "reload", "--wait", check=0)

    def send(self, caller, questions):
        user = self.callers[caller]
        argv = [sys.executable, "-c", ASK]
        r = subprocess.run([*(["setpriv", f"--reuid={user}", "--clear-groups"] if user else []), *argv], text=True, capture_output=True,
                           input="".join(json.dumps({**q, "port": self.mesh.http_port}) + "\n" for q in questions), timeout=300)
        assert r.returncode == 0, r.stderr
        return [json.loads(line) for line in r.stdout.splitlines()]

    def explain(self, caller, q, *more):
        host = q["headers"]["Host"]
        words = [w for k, v in q["headers"].items() if k != "Host" for w in ("-H", f"{k}: {v}")]
        r = self.mesh.ctl("explain", "request", caller, q["method"], f"http://{host}{q['path']}", *words, "-o", "json", *more)
        assert r.returncode in (0, 1), r
        out = json.loads(r.stdout)
        assert (r.returncode == 0) == (out["verdict"] in ("DELIVERED", "ANSWERED"))
        return out

    def lines(self, ids):
        """Of each request id: what the caller's side logged, and what the workload's did."""
        found = {}
        for x in map(json.loads, self.log.read_text().splitlines() if self.log.exists() else []):
            if x["request_id"] in ids:
                side = "in" if (x.get("upstream_cluster") or "").startswith("inbound|") or "rbac_access" in x["response_code_details"] \
                    or x.get("requested_server_name") else "out"
                found.setdefault(x["request_id"], {})[side] = x
        return found


def random_match(rng):
    m = []
    if rng.random() < 0.8:
        kind = rng.choice(["exact", "prefix", "regex"])
        value = rng.choice(["/a", "/a/b", "/b", "/b/1", "/"]) if kind != "regex" else rng.choice(["/[ab]", "/a/.*", "/b(/[0-9])?"])
        m.append(f'uri: {{ {kind}: "{value}" }}' + (", ignoreUriCase: true" if rng.random() < 0.2 and kind != "regex" else ""))
    if rng.random() < 0.3:
        m.append(f'method: {{ exact: {rng.choice(["GET", "POST"])} }}')
    if rng.random() < 0.3:
        m.append(rng.choice(['headers: { x-user: { exact: ann } }', 'headers: { x-user: {} }', 'withoutHeaders: { x-user: {} }',
                             'headers: { x-user: { regex: "b.*" } }']))
    if rng.random() < 0.2:
        m.append('queryParams: { q: { exact: "1" } }')
    return "{ " + ", ".join(m or ['uri: { prefix: "/b" }']) + " }"


def random_action(rng):
    to = lambda s, w=None: f"{{ destination: {{ host: app, subset: {s} }}" + (f", weight: {w}" if w is not None else "") + " }"
    pick = rng.randrange(10)
    extra = rng.choice(["", "", ', rewrite: { uri: "/b" }', ", headers: { request: { set: { x-user: cid } } }", ", timeout: 5s, retries: { attempts: 0 }",
                        ", rewrite: { authority: other }", ", fault: { abort: { percentage: { value: 100 }, httpStatus: 418 } }"])
    if pick == 0:
        return 'redirect: { uri: "/moved", authority: elsewhere }'
    if pick == 1:
        return 'directResponse: { status: 418, body: { string: teapot } }'
    if pick == 2:
        return f"route: [ {to('none')} ], retries: {{ attempts: 0 }}"
    if pick == 3:
        return f"route: [ {to('plain')} ], retries: {{ attempts: 0 }}"
    if pick == 4:
        return f"route: [ {to('hashed')} ]"
    if pick == 5:
        return f"route: [ {to('v1', 50)}, {to('none', 50)} ], timeout: 5s, retries: {{ attempts: 0 }}"
    return f"route: [ {to(rng.choice(['v1', 'v2']))} ]" + extra


def random_routes(rng):
    routes = [f"  - {{ name: r{i}, match: [ {', '.join(random_match(rng) for _ in range(rng.randint(1, 2)))} ], {random_action(rng)} }}"
              for i in range(10)]
    if rng.random() < 0.7:
        routes.append(f"  - {{ name: last, {random_action(rng)} }}")
    return """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: app }
spec:
  hosts: [ app ]
  http:
""" + "\n".join(routes) + "\n"


def random_policies(rng):
    def rule():
        parts = []
        if rng.random() < 0.6:
            parts.append(f"from: [ {{ source: {{ principals: [ {rng.choice([NODE, WEB])} ] }} }} ]")
        if rng.random() < 0.6:
            what = rng.choice(["methods: [ GET ]", 'paths: [ "/a*" ]', "paths: [ /b ]", "notPaths: [ /a/b ]", "hosts: [ other ]"])
            parts.append(f"to: [ {{ operation: {{ {what} }} }} ]")
        if rng.random() < 0.3:
            parts.append('when: [ { key: "request.headers[x-user]", values: [ ann, cid ] } ]')
        return "  - { " + ", ".join(parts or ["to: [ { operation: { methods: [ GET, POST ] } } ]"]) + " }"
    docs = []
    for i, action in enumerate(rng.choice([["ALLOW"], ["DENY"], ["ALLOW", "DENY"], ["ALLOW", "ALLOW", "DENY"], []])):
        docs.append(f"""\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: p{i} }}
spec:
  action: {action}
  selector: {{ matchLabels: {{ app: app }} }}
  rules:
""" + "\n".join(rule() for _ in range(rng.randint(1, 3))) + "\n")
    return "---\n".join(docs) or "# none\n"


def random_question(rng, rid):
    headers = {"Host": rng.choice(["app"] * 8 + ["app.default.svc.cluster.local", "other", "nowhere.example"]), "X-Request-Id": rid}
    if rng.random() < 0.6:
        headers["X-User"] = rng.choice(["ann", "bob", "cid"])
    path = rng.choice(PATHS) + rng.choice(["", "", "?q=1", "?q=2&q=1"])
    return {"method": rng.choice(["GET", "GET", "POST"]), "path": path, "headers": headers}


def compare(world, q, told, got, log):
    """What was foretold of one request beside what was answered and logged."""
    out, route = log["out"], told.get("route") or {}
    assert (out["route_name"] or "").lstrip("-") == (route.get("name") or "").lstrip("-") or "virtual_service" not in route, (route, out)
    if route.get("name") in ("last", *(f"r{i}" for i in range(10))):
        line = world.routes.read_text().splitlines()[route["line"] - 1]
        assert f"name: {route['name']}," in line and route["file"] == str(world.routes)
    way = next((d for d in told.get("destinations", []) if d["cluster"] == out.get("upstream_cluster")), None)
    if told["verdict"] == "ANSWERED" or not way or route.get("fault", {}).get("abort_percent") == 100:
        assert got["status"] == told["status"] and (out["response_flags"] or "-").strip("-") == told.get("flags", ""), (told, out)
        assert got["headers"].get("location") == route.get("location")
        return told["verdict"]
    if "endpoints" not in way:
        assert got["status"] == 503, "nowhere.example has no address"
    elif way["verdict"] == "DELIVERED":
        assert got["status"] == 200, (way, got)
    else:
        assert got["status"] == way["status"], (way, got)
        assert way.get("flags", "") == (out["response_flags"] or "-").strip("-"), (way, out)
    inside = {e["endpoint"]: e for e in way.get("endpoints", []) if e["in"]}
    if out.get("upstream_host") and way.get("flags") not in ("UH", "UC"):
        assert out["upstream_host"] in inside, (inside, out)
    if "in" in log:
        row = next(p for p in way["policies"] if out["upstream_host"].endswith(f":{p['port']}"))
        details = log["in"]["response_code_details"]
        assert (row["verdict"] == "DENIED") == details.startswith("rbac") or details == "ambiguous_path", (row, details)
        if "policy" in row and row["verdict"] == "DENIED":
            m = re.fullmatch(r"rbac_access_denied_matched_policy\[ns\[(.*)\]-policy\[(.*)\]-rule\[(\d+)\]\]\{(.*)\}", details)
            assert (f"{m[2]}.{m[1]}", int(m[3]), m[4]) == (row["policy"], row["rule"], row["file"])
    return way["verdict"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    d = tmp_path_factory.mktemp("explain")
    d.chmod(0o755)
    w = World(d)
    yield w
    w.mesh.stop()
    for s in w.servers.values():
        s.stop()


@pytest.mark.parametrize("seed", range(N_WORLDS))
def test_what_is_foretold_is_what_happens(world, seed):
    rng = random.Random(seed)
    world.configure(rng)
    seen = set()
    for caller in world.callers:
        questions = [random_question(rng, f"{seed}-{caller}-{i}") for i in range(N_REQUESTS // len(world.callers))]
        told = [world.explain(caller, q) for q in questions]
        got = world.send(caller, questions)
        ids = {q["headers"]["X-Request-Id"] for q in questions}
        log = wait_for("the access log", lambda: (x := world.lines(ids)) and all("out" in x.get(i, {}) for i in ids) and x)
        for q, t, g in zip(questions, told, got, strict=True):
            seen.add(compare(world, q, t, g, log[q["headers"]["X-Request-Id"]]))
    assert len(seen) >= 2, f"a world in which everything ends alike shows nothing: {seen}"


# ---- without a mesh: the files alone --------------------------------------------------------------------------

FILES = """\
Workload = ( { name = "app-v1"; unit = "app-v1.service"; serviceAccount = "app"; ports = ( { name = "http"; number = 8001; } ); labels = { app = "app"; version = "v1"; }; locality = "eu/fra/a"; },
             { name = "app-v2"; unit = "app-v2.service"; serviceAccount = "app"; ports = ( { name = "http"; number = 8002; } ); labels = { app = "app"; version = "v2"; }; locality = "us/nyc/x"; },
             { name = "web"; user = "nobody"; serviceAccount = "web"; ports = ( { name = "http"; number = 8003; } ); labels = { app = "web"; }; },
             { name = "db"; unit = "db.service"; ports = ( { name = "tcp-db"; number = 5432; } ); labels = { app = "db"; }; } );
Service = ( { name = "app"; selector = { app = "app"; }; ports = ( { name = "http"; port = 80; targetPort = "http"; } ); },
            { name = "db"; selector = { app = "db"; }; ports = ( { name = "tcp"; port = 5432; targetPort = "tcp-db"; } ); } );
PeerAuthentication = { name = "strict"; mtls = { mode = "STRICT"; }; };
AuthorizationPolicy = { name = "readers"; selector = { matchLabels = { app = "app"; }; };
  rules = ( { from = ( { source = { principals = [ "cluster.local/ns/default/sa/web" ]; }; } ); to = ( { operation = { methods = [ "GET" ]; }; } ); } ); };
DestinationRule = { name = "app"; host = "app";
  trafficPolicy = { outlierDetection = { consecutive5xxErrors = 5; }; };
  subsets = ( { name = "v1"; labels = { version = "v1"; }; }, { name = "plain"; trafficPolicy = { tls = { mode = "DISABLE"; }; }; } ); };
VirtualService = { name = "app"; hosts = [ "app" ]; http = (
  { name = "old"; match = ( { uri = { prefix = "/old/"; }; } ); redirect = { uri = "/new"; redirectCode = 308; }; },
  { name = "v1"; match = ( { uri = { prefix = "/v1/"; }; } ); timeout = "3s"; retries = { attempts = 2; perTryTimeout = "1s"; retryOn = "5xx,418"; };
    rewrite = { uri = "/"; }; mirror = { host = "app"; }; mirrorPercentage = { value = 12.5; };
    route = ( { destination = { host = "app"; subset = "v1"; }; } ); },
  { name = "plain"; match = ( { uri = { prefix = "/plain"; }; } ); route = ( { destination = { host = "app"; subset = "plain"; }; } ); },
  { name = "all"; route = ( { destination = { host = "app"; }; } ); } ); };
"""


class Draft:
    """A directory of files and no daemon: only --etc is given."""

    def __init__(self, directory):
        self.etc = directory / "etc"
        (self.etc / "mesh.d").mkdir(parents=True)
        (self.etc / "kvmesh.conf").write_text('node = { name = "fra-1"; locality = "eu/fra/a"; };\n')
        (self.etc / "mesh.d" / "all.conf").write_text(FILES)

    def __call__(self, *words, check=None):
        r = subprocess.run([str(x) for x in [kvmesh.tool("kvmeshctl"), "--etc", self.etc, *words]], capture_output=True, text=True, timeout=kvmesh.DEADLINE)
        assert check is None or r.returncode == check, (words, r)
        return r

    def text(self, *words, check=0):
        return self(*words, check=check).stdout.replace(f"{self.etc}/", "ETC/").replace(str(self.etc), "ETC")

    def json(self, *words, check=0):
        return json.loads(self(*words, "-o", "json", check=check).stdout)


@pytest.fixture
def draft(tmp_path):
    return Draft(tmp_path)


def test_times_and_copies_of_a_route(draft):
    out = draft.json("explain", "request", "web", "http://app/v1/x?q=1")
    route, to = out["route"], out["destinations"][0]
    assert (route["name"], route["virtual_service"], route["match"]) == ("v1", "app.default", "/v1/*")
    assert route["timeout_ms"] == 3000 and route["retries"] == {"attempts": 2, "per_try_ms": 1000, "on": ["5xx", "retriable-status-codes", 418]}
    assert route["mirrors"] == [{"cluster": "outbound|80||app.default.svc.cluster.local", "percent": 12.5}]
    assert to["path"] == "/x?q=1" and to["destination_rule"] == "app.default" and to["destination_rule_file"].endswith("all.conf:10")
    asked = draft.json("explain", "request", "web", "http://app/v1/x", "-H", "x-envoy-upstream-rq-timeout-ms: 50", "-H", "X-Envoy-Max-Retries: 7")
    assert asked["route"]["timeout_ms"] == 50 and asked["route"]["retries"]["attempts"] == 7, "what the caller asks for"


def test_why_an_endpoint_is_out(draft):
    rows = draft.json("explain", "request", "web", "http://app/v1/x")["destinations"][0]["endpoints"]
    assert [(r["workload"], r["in"], r["why"]) for r in rows] == [
        ("app-v1.default", True, "healthy"), ("app-v2.default", False, "not in subset v1: version is v2, not v1")]
    rows = draft.json("explain", "request", "web", "http://app/")["destinations"][0]["endpoints"]
    assert [(r["in"], r.get("share"), r["why"]) for r in rows] == [
        (True, 100, "healthy; priority 0 takes 100 %"), (False, None, "priority 1: nearer ones are healthy enough")]


def test_verdicts_of_policies_and_mtls(draft):
    row, = draft.json("explain", "request", "web", "http://app/v1/x")["destinations"][0]["policies"]
    assert (row["mtls"], row["transport"], row["peer_authentication"], row["verdict"]) == ("STRICT", "mTLS", "strict.default", "ALLOWED")
    assert (row["policy"], row["rule"]) == ("readers.default", 0) and row["file"].endswith("all.conf:9")
    out = draft.json("explain", "request", "-", "POST", "http://app/v1/x", check=1)
    assert (out["verdict"], out["status"], out["destinations"][0]["policies"][0]["verdict"]) == ("REFUSED", 403, "DENIED")
    out = draft.json("explain", "request", "web", "http://app/plain", check=1)
    assert (out["status"], out["flags"]) == (503, "UC") and "STRICT" in out["why"]


def test_what_the_proxy_says_itself(draft):
    out = draft.json("explain", "request", "web", "http://app/old/x")
    assert (out["verdict"], out["status"], out["route"]["location"]) == ("ANSWERED", 308, "http://app/new")
    assert draft.json("explain", "request", "web", "TRACE", "http://app/", check=1)["status"] == 405
    assert draft.json("explain", "request", "web", "http://app/../x", check=1)["status"] == 400
    (draft.etc / "conf.d").mkdir()
    (draft.etc / "conf.d" / "strict.conf").write_text('mesh = { outboundTrafficPolicy = { mode = "REGISTRY_ONLY"; }; };\nnode = { unregisteredCallers = "refuse"; };\n')
    assert draft.json("explain", "request", "web", "http://nowhere/", check=1)["status"] == 502
    assert draft.json("explain", "request", "-", "http://app/", check=1)["status"] == 403


def test_opaque_streams(draft):
    out = draft.json("explain", "request", "web", "tcp://db:5432")
    assert out["destinations"][0]["policies"][0]["transport"] == "mTLS" and "status" not in out and "method" not in out["request"]
    (draft.etc / "mesh.d" / "db.conf").write_text("""\
AuthorizationPolicy = { name = "db"; action = "DENY"; selector = { matchLabels = { app = "db"; }; };
  rules = ( { from = ( { source = { namespaces = [ "default" ]; }; } ); } ); };
""")
    out = draft.json("explain", "request", "web", "tcp://db:5432", check=1)
    assert out["destinations"][0]["policies"][0]["policy"] == "db.default" and "status" not in out


@pytest.mark.parametrize("words,code", [
    (["nobody", "http://app/"], 4), (["web", "ftp://app/"], 64), (["web", "tcp://db"], 64), (["web", "https://app/"], 64), (["web"], 64),
    (["web", "http://"], 64), (["web", "GE T", "http://app/"], 64), (["web", "http://app/", "-H", "x"], 64), (["web", "GET", "http://app/", "x"], 64),
])
def test_wrong_questions(draft, words, code):
    r = draft("explain", "request", *words, check=code)
    assert r.stdout == "" and r.stderr.startswith("kvmeshctl: ")


# ---- how it looks ---------------------------------------------------------------------------------------------

GOLDEN = kvmesh.TOP / "tests" / "wire" / "golden"


@pytest.mark.parametrize("name,words,code", [
    ("explain-request", ["explain", "request", "web", "http://app/v1/x"], 0),
    ("explain-refused", ["explain", "request", "-", "POST", "http://app/plain"], 1),
    ("describe-service", ["describe", "service", "app"], 0),
    ("describe-workload", ["describe", "workload", "app-v1"], 0),
    ("describe-node", ["describe", "node", "fra-1"], 0),
    ("routes", ["routes", "app"], 0),
    ("routes-wide", ["routes", "app.default", "-o", "wide"], 0),
])
def test_text_is_as_before(draft, name, words, code):
    """KVMESH_GOLDEN_UPDATE=1 writes the files anew."""
    got, path = draft.text(*words, check=code), GOLDEN / f"{name}.txt"
    if os.environ.get("KVMESH_GOLDEN_UPDATE"):
        path.write_text(got)
    assert got == path.read_text()


def test_describe_by_other_names(draft):
    service = draft.json("describe", "service", "app")
    for words in (["svc", "app.default"], ["service", "app.default.svc.cluster.local"], ["services", "app"]):
        assert draft.json("describe", *words) == service == draft.json("x", "describe", *words)
    workload = draft.json("describe", "workload", "app-v1")
    for words in (["pod", "default/app-v1"], ["unit", "app-v1"], ["unit", "app-v1.service"]):
        assert draft.json("describe", *words) == workload
    for words in (["service", "nobody"], ["workload", "nobody"], ["unit", "nobody"], ["node", "fra-2"], ["service", "app.shop"]):
        draft("describe", *words, check=4)
    assert draft("routes", "nobody").returncode == 4


# ---- with one -------------------------------------------------------------------------------------------------

def without_time(out):
    return {k: v for k, v in out.items() if k != "of"}


def test_files_and_proxy_say_the_same(world):
    world.configure(random.Random(99))
    draft = Draft.__new__(Draft)
    draft.etc = world.mesh.etc
    for i in range(20):
        q = random_question(random.Random(i), f"same-{i}")
        words = [w for k, v in q["headers"].items() if k != "Host" for w in ("-H", f"{k}: {v}")]
        r = draft("explain", "request", "-", q["method"], f"http://{q['headers']['Host']}{q['path']}", *words, "-o", "json")
        assert without_time(json.loads(r.stdout)) == without_time(world.explain("-", q))


def test_ejected_and_probed_endpoints_are_told(workdir):
    mesh = kvmesh.Mesh(workdir / "mesh")
    bad = kvmesh.Nginx(workdir, "bad", extra="location /app { return 500; }")
    good = kvmesh.Nginx(workdir, "good", extra="location /app { return 200; }")
    try:
        mesh.workload("bad", bad.port, {"app": "app"})
        mesh.workload("good", good.port, {"app": "app"})
        mesh.service("app", 80, "http")
        mesh.write("mesh.d/dr.yaml", """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: app }
spec: { host: app, trafficPolicy: { outlierDetection: { consecutive5xxErrors: 1, baseEjectionTime: 300s, maxEjectionPercent: 100 } } }
""")
        mesh.start()

        def rows():
            return {r["workload"]: r for r in mesh.ctl_json("explain", "request", "-", "http://app/app")["destinations"][0]["endpoints"]}
        assert all(r["in"] and r["share"] == 50 for r in rows().values())
        wait_for("the ejection", lambda: mesh.get("app", "/app").status == 500 and rows()["bad.default"]["in"] is False)
        assert "ejected" in rows()["bad.default"]["why"] and rows()["good.default"]["share"] == 100
        seen = mesh.ctl_json("routes", "app")[0]
        assert seen["requests"] > 0 and 0 <= seen["success"] < 1 and seen["latency_ms_p50"] >= 0 and seen["service"] == "app.default"
    finally:
        mesh.stop()
        bad.stop()
        good.stop()


def test_a_way_through_an_egress_gateway(draft):
    """The walk of docs/gateway.md: the caller's proxy leads to the gateway, the gateway to the outside."""
    text = (kvmesh.TOP / "docs" / "gateway.md").read_text()
    for name in ("egress", "egress-origination"):
        (draft.etc / "mesh.d" / f"{name}.yaml").write_text(re.search(rf"<!-- example: {name} -->\n```yaml\n(.*?)```", text, re.S)[1])
    service = draft.json("describe", "service", "api.pay.example")
    assert (service["kind"], service["name"]) == ("ServiceEntry", "pay.default") and service["name_file"].endswith("egress-origination.yaml:1")
    assert [r["service"] for r in draft.json("routes", "api.pay.example")][0] == "egressgateway.default/pay"
    row, = draft.json("explain", "request", "web", "http://api.pay.example/x")["destinations"][0]["policies"]
    assert (row["workload"], row["transport"], row["verdict"]) == ("egressgateway.default", "mTLS", "GOES ON")
    assert "explain request egressgateway" in row["why"]
    out = draft.json("explain", "request", "egressgateway", "https://api.pay.example:8080/x")
    assert out["destinations"][0]["cluster"].startswith("outbound|443||api.pay.example") and out["destinations"][0]["tls"] == "SIMPLE"


GATEWAY = """
Workload = {{ name = "edge"; gateway = true; labels = {{ istio = "edge"; }}; }};
Gateway = {{ name = "edge"; selector = {{ istio = "edge"; }};
  servers = ( {{ port = {{ number = {port}; name = "http"; protocol = "HTTP"; }}; hosts = [ "shop.example", "*.shop.example" ]; }} ); }};
VirtualService = {{ name = "shop"; hosts = [ "shop.example", "www.shop.example" ]; gateways = [ "edge" ]; http = (
  {{ name = "api"; match = ( {{ uri = {{ prefix = "/api/"; }}; }} ); route = ( {{ destination = {{ host = "shop"; }}; }} ); }},
  {{ name = "old"; match = ( {{ uri = {{ exact = "/old"; }}; }} ); redirect = {{ uri = "/api/"; }}; }} ); }};
AuthorizationPolicy = ( {{ name = "edge"; action = "DENY"; selector = {{ matchLabels = {{ istio = "edge"; }}; }}; rules = ( {{ to = ( {{ operation = {{ paths = [ "/api/admin*" ]; }}; }} ); }} ); }},
  {{ name = "shop"; selector = {{ matchLabels = {{ app = "shop"; }}; }}; rules = ( {{ from = ( {{ source = {{ principals = [ "cluster.local/ns/default/sa/edge" ]; }}; }} ); to = ( {{ operation = {{ methods = [ "GET" ]; }}; }} ); }} ); }} );
"""


def test_a_gateway_does_what_is_foretold(workdir):
    mesh, port = kvmesh.Mesh(workdir / "mesh"), kvmesh.free_port()
    shop = kvmesh.Nginx(workdir, "shop")
    try:
        mesh.workload("shop", shop.port)
        mesh.service("shop", 80, "http")
        mesh.write("mesh.d/edge.conf", GATEWAY.format(port=port))
        mesh.start()
        seen = []
        for method in ("GET", "POST"):
            for host in ("shop.example", "www.shop.example", "x.shop.example", "other.example"):
                for path in ("/api/1", "/api/admin/1", "/old", "/nothing"):
                    r = mesh.ctl("explain", "request", "edge", method, f"http://{host}:{port}{path}", "-o", "json")
                    out = json.loads(r.stdout)
                    got = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, "-H", f"Host: {host}:{port}",
                                          f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, timeout=kvmesh.DEADLINE)
                    want = 200 if out["verdict"] == "DELIVERED" else out["status"]
                    assert int(got.stdout) == want, (method, host, path, out)
                    seen.append(want)
        assert {200, 301, 403, 404} <= set(seen)
        assert mesh.ctl("explain", "request", "edge", f"https://shop.example:{port}/").returncode == 64
        assert mesh.ctl("explain", "request", "edge", "http://shop.example:1/").returncode == 4
    finally:
        mesh.stop()
        shop.stop()


def test_a_probe_that_fails_is_told(workdir):
    mesh, dead = kvmesh.Mesh(workdir / "mesh"), kvmesh.free_port()
    mesh.write("workloads.d/app.conf", f"""
Workload = {{ name = "app"; ports = ( {{ name = "http"; number = {dead}; protocol = "HTTP"; }} ); labels = {{ app = "app"; }};
  probe = {{ tcpSocket = {{ port = {dead}; }}; periodSeconds = 1; failureThreshold = 1; }}; }};
""")
    mesh.service("app", 80, "http")
    with mesh.start():
        def told():
            out = json.loads(mesh.ctl("explain", "request", "-", "http://app/", "-o", "json").stdout)
            return out["verdict"] == "REFUSED" and out
        out = wait_for("the probe", told)
        assert (out["status"], out["flags"]) == (503, "UH") and mesh.get("app").status == 503
        row, = out["destinations"][0]["endpoints"]
        assert row["in"] is False and row["why"].startswith("unhealthy: "), row
        assert mesh.ctl_json("describe", "workload", "app")["state"].startswith("unhealthy: ")


def test_a_token_is_told_not_judged(draft):
    (draft.etc / "mesh.d" / "jwt.yaml").write_text("""\
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: jwt }
spec:
  selector: { matchLabels: { app: app } }
  jwtRules: [ { issuer: "https://id.example", jwks: '{"keys":[]}' } ]
""")
    plain, = draft.json("explain", "request", "web", "http://app/v1/x")["destinations"][0]["policies"]
    row, = draft.json("explain", "request", "web", "http://app/v1/x", "-H", "Authorization: Bearer a.b.c")["destinations"][0]["policies"]
    assert "token" not in plain and row["token"].startswith("not judged here; ") and "jwt.yaml:6" in row["token"]
