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
