# SPDX-License-Identifier: Apache-2.0
"""VirtualService, one test per numbered rule of Istio's semantics (docs/istio-compat.md); more of 2.3 to 2.6 in test_traffic.py.

One mesh serves all: the tests call as the workload `tester` (default, tier=edge, by its user) and, with another user, as
`stranger` of the namespace lab. Shares are judged with assert_share: a right proxy fails it less than once in a million runs.
"""

import collections
import getpass
import http.server
import json
import math
import os
import re
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
import time

import pytest

import kvmesh
from kvmesh import wait_for

RESOURCES = []


def vs(name, hosts, http, namespace="default", **more):
    extra = "".join(f"  {k}: {v}\n" for k, v in more.items())
    shown = f"  hosts: [ {hosts} ]\n" if hosts else ""
    RESOURCES.append(f"apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                     f"metadata: {{ name: {name}, namespace: {namespace} }}\nspec:\n{shown}{extra}{http}\n")


def says(word, more=""):
    """A route's action: answer with a word."""
    return f'directResponse: {{ status: 200, body: {{ string: "{word}" }} }}{more}'


TO_APP = "route: [ { destination: { host: app } } ]"


# ---- the mesh ----------------------------------------------------------------------------------------------------

class Echo(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """An application that answers what it got, as JSON, and remembers it."""
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, name):
        super().__init__(("127.0.0.1", 0), EchoHandler)
        self.name, self.port, self.seen, self.hold = name, self.server_address[1], [], None
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def paths(self):
        return [x["path"] for x in self.seen]

    def of(self, path):
        return [x for x in self.seen if x["path"] == path]

    def handle_error(self, request, client_address):
        pass


class EchoHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def body(self):
        if "chunked" in self.headers.get("transfer-encoding", ""):
            data = b""
            while n := int(self.rfile.readline(), 16):
                data += self.rfile.read(n)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def serve(self):
        headers = collections.defaultdict(list)
        for k, v in self.headers.items():
            headers[k.lower()].append(v)
        seen = {"name": self.server.name, "method": self.command, "path": self.requestline.split(" ")[1], "headers": headers,
                "body": self.body().decode("latin-1")}
        self.server.seen.append(seen)
        if self.server.hold:
            self.server.hold.wait(kvmesh.DEADLINE)
        data = json.dumps(seen).encode()
        answers = self.headers.get("x-answers", "200").split(",")      # one for each try
        tries = int(self.headers.get("x-envoy-attempt-count", 1))
        self.send_response(int(answers[min(tries, len(answers)) - 1]))
        self.send_header("content-length", str(len(data)))
        self.send_header("access-control-allow-origin", "https://said-by-the-app.example")
        self.send_header("x-app", "1")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_OPTIONS = do_HEAD = serve

    def log_message(self, *args):
        pass


class Shop:
    def __init__(self, directory):
        self.mesh = m = kvmesh.Mesh(directory / "mesh", 'accessLogFile = "/dev/stdout";')
        self.apps = {name: Echo(name) for name in ("v1", "v2", "lab", "shadow", "covered", "sick")}
        for v in ("v1", "v2"):
            m.workload(f"app-{v}", self.apps[v].port, {"app": "app", "version": v}, serviceAccount="app")
        m.service("app", 80, "http")
        m.service("static", 80, "http", selector={"app": "app"})
        self._service("multi", "default", "app", "{ name: http, port: 80, targetPort: http }, "
                                                 "{ name: http-too, port: 81, targetPort: http }")
        m.workload("app-lab", self.apps["lab"].port, {"app": "app"}, namespace="lab")
        self._service("app", "lab", "app")
        m.workload("shadow", self.apps["shadow"].port, namespace="lab")
        self._service("shadow", "lab", "shadow")
        m.workload("covered", self.apps["covered"].port, namespace="wild")
        self._service("covered", "wild", "covered")
        m.workload("half-up", self.apps["sick"].port, {"app": "half"})
        m.workload("half-down", kvmesh.free_port(), {"app": "half"})
        m.service("half", 80, "http", selector={"app": "half"})
        m.write("mesh.d/00-dead.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: dead }}
spec:
  hosts: [ dead.example ]
  ports: [ {{ number: 80, name: http, protocol: HTTP }} ]
  resolution: STATIC
  endpoints: [ {{ address: 127.0.0.1, ports: {{ http: {kvmesh.free_port()} }} }} ]
""")
        m.workload("tester", kvmesh.free_port(), {"tier": "edge"}, user=getpass.getuser())
        if os.getuid() == 0:
            m.workload("stranger", kvmesh.free_port(), namespace="lab", user="nobody")
        m.write("mesh.d/10-rules.yaml", "---\n".join(RESOURCES))

    def _service(self, name, namespace, app, ports="{ name: http, port: 80, targetPort: http }"):
        self.mesh.write(f"mesh.d/00-{name}-{namespace}.yaml", f"""\
apiVersion: v1
kind: Service
metadata: {{ name: {name}, namespace: {namespace} }}
spec: {{ selector: {{ app: {app} }}, ports: [ {ports} ] }}
""")

    def get(self, host, path="/", method="GET", body=None, **headers):
        return self.mesh.get(host, path, method, body, {k.replace("_", "-"): v for k, v in headers.items()})

    def word(self, host, path="/", **headers):
        r = self.get(host, path, **headers)
        return r.text if r.status == 200 else r.status

    def seen(self, host, path="/", *args, **headers):
        r = self.get(host, path, *args, **headers)
        assert r.status == 200, r
        return json.loads(r.body)

    def as_stranger(self, host, path="/"):
        """(status, body) of a request by the workload of the user nobody."""
        r = subprocess.run(["curl", "-sS", "-w", "\n%{http_code}", "-H", f"Host: {host}",
                            f"http://127.0.0.1:{self.mesh.http_port}{path}"], capture_output=True, text=True,
                           user="nobody", timeout=kvmesh.DEADLINE, cwd="/")
        body, _, status = r.stdout.rpartition("\n")
        return int(status), body

    def log(self, path, side="outbound|"):
        """The access log's words behind the request line: status, flags, details."""
        line = wait_for(f"log line of {path}", lambda: next(
            (x for x in self.mesh.text().splitlines() if f" {path} HTTP" in x and side in x), None))
        return line.split('" ', 1)[1].split()[:3]

    def own(self, name):
        """A counter of the proxy's own, as of now."""
        families = self.mesh.call("proxy/node.sock", "Stats")["parameters"]["families"]
        return sum(series[-1] for f in families if f["name"] == name for series in f["series"])

    def counter(self, name, **labels):
        total = 0.0
        for line in self.mesh.metrics().splitlines():
            if line.startswith(name) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    s = Shop(tmp_path_factory.mktemp("vs"))
    s.mesh.start()
    yield s
    s.mesh.stop()


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="a second user calls: needs root")


def assert_share(k, n, p):
    """k of n as with chance p: within five standard deviations (and one), which a right share misses once in 1.7 million."""
    assert abs(k - n * p) <= 5 * math.sqrt(n * p * (1 - p)) + 1, f"{k} of {n} is not a share of {p}"


def many(shop, n, host, path="/", **headers):
    """n answers over one connection."""
    c = shop.mesh.connect()
    try:
        for _ in range(n):
            c.request("GET", path, headers={"Host": host, **headers})
            r = c.getresponse()
            yield r.status, r.read()
    finally:
        c.close()


# ---- 2.1 names ---------------------------------------------------------------------------------------------------

vs("short", "app", "  http: [ { headers: { response: { set: { x-vs: lab } } }, route: [ { destination: { host: app } } ] } ]",
   "lab")


def test_2_1_1_a_short_name_is_of_the_resources_namespace(shop):
    theirs, ours = shop.get("app.lab"), shop.get("app")
    assert (theirs.headers.get("x-vs"), json.loads(theirs.body)["name"]) == ("lab", "lab")
    assert ("x-vs" in ours.headers, json.loads(ours.body)["name"] in ("v1", "v2")) == (False, True)


@pytest.mark.parametrize("host", ["app", "app.default", "app.default.svc", "app.default.svc.cluster.local",
                                  "app.default.svc.cluster.local.", "app:80", "app.default.svc.cluster.local:80", "APP"])
def test_2_1_2_aliases_of_a_service_of_ones_own_namespace(shop, host):
    assert shop.seen(host)["name"] in ("v1", "v2")


@pytest.mark.parametrize("host,status", [("shadow.lab", 200), ("shadow.lab.svc.cluster.local", 200), ("shadow", 503)])
def test_2_1_2_another_namespace_is_named(shop, host, status):
    assert shop.get(host).status == status


for _name, _host in (("w", '"*.w.example"'), ("deep", '"*.deep.w.example"'), ("one", "one.deep.w.example")):
    vs(f"wild-{_name}", _host, f"  http: [ {{ {says(_name)} }} ]")


@pytest.mark.parametrize("host,word", [
    ("a.w.example", "w"), ("a.b.w.example", "w"), ("x.deep.w.example", "deep"), ("one.deep.w.example", "one"),
    ("ONE.Deep.w.example", "one"), ("one.deep.w.example:80", "one"), ("x.one.deep.w.example", "deep"),
    ("deep.w.example", "w"), ("w.example", 503), ("xw.example", 503),
])
def test_2_1_3_4_5_exact_then_the_longest_wildcard(shop, host, word):
    assert shop.word(host) == word


vs("kept", "kept.example", f"  http: [ {{ {says('lab only')} }} ]", "lab", exportTo='[ "." ]')
vs("lent", "lent.example", f"  http: [ {{ {says('lent')} }} ]", "lab", exportTo="[ default ]")


@needs_root
def test_2_1_6_export_to_decides_who_sees_it(shop):
    assert shop.word("kept.example") == 503 and shop.as_stranger("kept.example") == (200, "lab only")
    assert shop.word("lent.example") == "lent" and shop.as_stranger("lent.example")[0] == 503


RESOURCES.append("""\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: gw }
spec: { selector: { istio: nowhere }, servers: [ { port: { number: 80, name: http, protocol: HTTP }, hosts: [ "*" ] } ] }
""")
vs("at-gateway", "at-gateway.example", f"  http: [ {{ {says('gateway')} }} ]", gateways="[ gw ]")
vs("at-both", "at-both.example", f"  http: [ {{ {says('both')} }} ]", gateways="[ ./gw, mesh ]")


def test_2_1_7_without_mesh_among_its_gateways_it_is_not_for_workloads(shop):
    assert (shop.word("at-gateway.example"), shop.word("at-both.example")) == (503, "both")


# ---- 2.2 which VirtualService ------------------------------------------------------------------------------------

vs("elsewhere", "elsewhere.example", f"  http: [ {{ {says('of lab')} }} ]", "lab")


def test_2_2_1_those_of_other_namespaces_are_used_as_well(shop):
    assert shop.word("elsewhere.example") == "of lab"


def test_2_2_2_two_for_one_host_are_refused_and_the_older_stays(shop):
    path = shop.mesh.write("mesh.d/90-second.yaml", RESOURCES[3].replace("wild-one", "again").replace('"one"', '"two"'))
    try:
        r = shop.mesh.ctl("config", "reload", "--wait")
        assert r.returncode != 0 and "KVM0109" in r.stdout + r.stderr
        assert shop.word("one.deep.w.example") == "one"
    finally:
        path.unlink()
        shop.mesh.ctl("config", "reload", "--wait", check=0)


vs("all-wild", '"*.wild.svc.cluster.local"',
   "  http: [ { headers: { response: { set: { x-vs: wild } } }, route: [ { destination: { host: covered } } ] } ]", "wild")


def test_2_2_3_a_wildcard_covers_services(shop):
    r = shop.get("covered.wild")
    assert (r.headers.get("x-vs"), json.loads(r.body)["name"]) == ("wild", "covered")


vs("root", "root.example", f"""\
  http:
  - name: team
    match: [ {{ name: all, uri: {{ prefix: /team/ }}, headers: {{ x-team: {{ exact: red }} }} }} ]
    headers: {{ response: {{ set: {{ x-root: "1" }} }} }}
    delegate: {{ name: sub, namespace: lab }}
  - {says('rest')}
""")
vs("sub", "", f"""\
  http:
  - {{ name: a, match: [ {{ name: exact, uri: {{ exact: /team/a }} }} ], {says('a')} }}
  - {{ match: [ {{ uri: {{ prefix: /elsewhere/ }} }} ], {says('outside')} }}
  - {{ match: [ {{ headers: {{ x-team: {{ exact: blue }} }} }} ], {says('blue')} }}
  - {{ match: [ {{ uri: {{ prefix: /team/b }}, headers: {{ x-more: {{}} }} }} ], {says('b')},
      headers: {{ response: {{ set: {{ x-sub: "1" }} }} }} }}
  - {says('other')}
""", "lab")


@pytest.mark.parametrize("path,headers,word,mark", [
    ("/team/a", {"x-team": "red"}, "a", "x-root"), ("/team/b/c", {"x-team": "red", "x-more": ""}, "b", "x-sub"),
    ("/team/b/c", {"x-team": "red"}, "other", "x-root"), ("/team/a", {"x-team": "blue"}, "rest", None),
    ("/team/a", {}, "rest", None), ("/elsewhere/x", {"x-team": "red"}, "rest", None),
])
def test_2_2_6_a_delegate_narrows_its_root(shop, path, headers, word, mark):
    r = shop.mesh.get("root.example", path, headers=headers)
    assert (r.status, r.text) == (200, word)
    assert [h for h in ("x-root", "x-sub") if h in r.headers] == ([mark] if mark else [])


def test_2_2_6_names_are_joined(shop):
    shop.mesh.get("root.example", "/team/a", headers={"x-team": "red"})
    line = wait_for("log line", lambda: next((x for x in shop.mesh.text().splitlines() if " /team/a HTTP" in x and
                                              x.endswith("team-a.all-exact")), None))
    assert line


def test_2_2_7_without_a_virtualservice_the_default_route(shop):
    assert shop.seen("app", "/2-2-7")["name"] in ("v1", "v2")
    assert shop.log("/2-2-7")[:2] == ["200", "-"]


# ---- 2.3 matching ------------------------------------------------------------------------------------------------

vs("match", "match.example", f"""\
  http:
  - {{ match: [ {{ uri: {{ prefix: /and }}, method: {{ exact: PUT }}, headers: {{ x-a: {{ exact: "1" }}, x-b: {{ prefix: "2" }} }} }} ], {says('and')} }}
  - {{ match: [ {{ uri: {{ exact: /or-1 }} }}, {{ uri: {{ exact: /or-2 }} }} ], {says('or')} }}
  - {{ match: [ {{ uri: {{ prefix: /pre }} }} ], {says('prefix')} }}
  - {{ match: [ {{ uri: {{ prefix: /pre/longer }} }} ], {says('never')} }}
  - {{ match: [ {{ uri: {{ exact: /Nocase }}, ignoreUriCase: true }} ], {says('nocase')} }}
  - {{ match: [ {{ uri: {{ exact: /list }}, headers: {{ x-list: {{ exact: "a,b" }} }} }} ], {says('joined')} }}
  - {{ match: [ {{ uri: {{ exact: /star }}, headers: {{ x-any: {{ regex: "*" }} }} }} ], {says('present')} }}
  - {{ match: [ {{ uri: {{ exact: /without }}, withoutHeaders: {{ x-no: {{ exact: bad }} }} }} ], {says('without')} }}
  - {{ match: [ {{ uri: {{ exact: /absent }}, withoutHeaders: {{ x-no: {{}} }} }} ], {says('absent')} }}
  - {{ match: [ {{ uri: {{ exact: /query }}, queryParams: {{ a: {{ prefix: x }}, b: {{}} }} }} ], {says('query')} }}
  - {{ match: [ {{ uri: {{ exact: /authority }}, authority: {{ exact: "match.example:80" }} }} ], {says('authority')} }}
  - {{ match: [ {{ uri: {{ exact: /scheme }}, scheme: {{ exact: http }} }} ], {says('scheme')} }}
  - {{ match: [ {{ uri: {{ regex: "/re/[a-c]+(x|y)" }} }} ], {says('regex')} }}
""")


@pytest.mark.parametrize("rule,path,method,headers,word", [
    ("2.3.1", "/and", "PUT", {"x-a": "1", "x-b": "23"}, "and"), ("2.3.1", "/and", "GET", {"x-a": "1", "x-b": "23"}, 404),
    ("2.3.1", "/and", "PUT", {"x-a": "1", "x-b": "3"}, 404), ("2.3.1", "/and", "PUT", {"x-a": "1"}, 404),
    ("2.3.1", "/or-1", "GET", {}, "or"), ("2.3.1", "/or-2", "GET", {}, "or"), ("2.3.1", "/or-3", "GET", {}, 404),
    ("2.3.1", "/pre/longer", "GET", {}, "prefix"), ("2.3.5", "/prefix-is-text", "GET", {}, "prefix"),
    ("2.3.5", "/or-1?q", "GET", {}, "or"), ("2.3.6", "/nocASE", "GET", {}, "nocase"), ("2.3.6", "/OR-1", "GET", {}, 404),
    ("2.3.6", "/star", "GET", {"X-ANY": "1"}, "present"), ("2.3.7", "/list", "GET", {"x-list": "a,b"}, "joined"),
    ("2.3.7", "/star", "GET", {"x-any": "z"}, "present"), ("2.3.7", "/star", "GET", {}, 404),
    ("2.3.8", "/without", "GET", {}, "without"), ("2.3.8", "/without", "GET", {"x-no": "good"}, "without"),
    ("2.3.8", "/without", "GET", {"x-no": "bad"}, 404), ("2.3.8", "/absent", "GET", {}, "absent"),
    ("2.3.8", "/absent", "GET", {"x-no": "any"}, 404), ("2.3.9", "/query?a=xyz&b", "GET", {}, "query"),
    ("2.3.9", "/query?b=1&a=x&a=no", "GET", {}, "query"), ("2.3.9", "/query?a=no&a=x&b", "GET", {}, 404),
    ("2.3.9", "/query?a=x", "GET", {}, 404), ("2.3.10", "/scheme", "GET", {}, "scheme"),
    ("2.3.11", "/re/abcx", "GET", {}, "regex"), ("2.3.11", "/re/abcxz", "GET", {}, 404), ("2.3.11", "/a/re/ax", "GET", {}, 404),
    ("2.3.12", "/nothing", "GET", {}, 404),
])
def test_2_3_match(shop, rule, path, method, headers, word):
    r = shop.mesh.get("match.example", path, method, headers=headers)
    assert (r.text if r.status == 200 else r.status) == word


def test_2_3_7_repeated_lines_are_joined(shop):
    c = shop.mesh.connect()
    c.putrequest("GET", "/list", skip_host=True)
    for k, v in (("Host", "match.example"), ("x-list", "a"), ("x-list", "b")):
        c.putheader(k, v)
    c.endheaders()
    assert c.getresponse().read() == b"joined"


def test_2_3_10_the_authority_is_as_sent(shop):
    assert (shop.word("match.example:80", "/authority"), shop.word("match.example", "/authority")) == ("authority", 404)


def test_2_3_12_it_is_told_as_NR(shop):
    assert shop.get("match.example", "/2-3-12").status == 404
    assert shop.log("/2-3-12", side="")[:3] == ["404", "NR", "route_not_found"]


vs("static", "static", f"""\
  http:
  - {{ match: [ {{ sourceLabels: {{ app: somebody-else }} }} ], {says('label')} }}
  - {{ match: [ {{ port: 9999 }} ], {says('port')} }}
  - {{ match: [ {{ gateways: [ gw ] }} ], {says('gateway')} }}
  - {{ match: [ {{ sourceNamespace: lab }} ], {says('namespace')} }}
""")
vs("source", "source.example", f"""\
  http:
  - {{ match: [ {{ uri: {{ exact: /l }}, sourceLabels: {{ app: tester, tier: edge }} }} ], {says('label')} }}
  - {{ match: [ {{ uri: {{ exact: /n }}, sourceNamespace: default }} ], {says('namespace')} }}
  - {{ match: [ {{ uri: {{ exact: /g }}, gateways: [ mesh ], sourceLabels: {{ app: somebody-else }} }} ], {says('gateways')} }}
  - {{ match: [ {{ uri: {{ exact: /p }}, port: 80 }} ], {says('port')} }}
  - {says('nobody')}
""")


def test_2_3_2_a_virtualservice_of_which_nothing_is_left_counts_as_absent(shop):
    assert shop.seen("static")["name"] in ("v1", "v2")


@needs_root
def test_2_3_2_each_caller_has_its_own_routes(shop):
    assert shop.as_stranger("static.default") == (200, "namespace")


@pytest.mark.parametrize("path,word", [("/l", "label"), ("/n", "namespace"), ("/g", "gateways"), ("/p", "port")])
def test_2_3_2_3_static_predicates(shop, path, word):
    assert shop.word("source.example", path) == word


@needs_root
@pytest.mark.parametrize("path,word", [("/l", "nobody"), ("/n", "nobody"), ("/g", "gateways"), ("/p", "port")])
def test_2_3_2_3_static_predicates_of_another_caller(shop, path, word):
    assert shop.as_stranger("source.example", path) == (200, word)


vs("stop", "stop.example", f"""\
  http:
  - {{ match: [ {{ uri: {{ prefix: / }} }} ], {says('all')} }}
  - {{ match: [ {{ uri: {{ prefix: /later }} }} ], {says('later')} }}
""")


def test_2_3_4_behind_a_catch_all_nothing_is_reached(shop):
    assert shop.word("stop.example", "/later") == "all"


def test_2_3_13_a_host_that_nobody_declared_is_passed_through(shop):
    assert shop.seen(f"127.0.0.1:{shop.apps['v1'].port}", "/2-3-13")["name"] == "v1"
    assert shop.log("/2-3-13", side="PassthroughCluster")[:2] == ["200", "-"]


RESOURCES.append("""\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: hidden, namespace: lab }
spec: { host: shadow, exportTo: [ "." ], subsets: [ { name: hidden, labels: { app: shadow } } ] }
""")
vs("hidden", "hidden.example",
   "  http: [ { route: [ { destination: { host: shadow.lab.svc.cluster.local, subset: hidden } } ] } ]")


def test_2_3_15_a_subset_that_the_caller_does_not_see_is_503_NC(shop):
    assert shop.get("hidden.example", "/2-3-15").status == 503
    assert shop.log("/2-3-15") == ["503", "NC", "cluster_not_found"]


# ---- 2.4 destinations --------------------------------------------------------------------------------------------

RESOURCES.append("""\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: app }
spec: { host: app, subsets: [ { name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } } ] }
""")


def weighted(*pairs):
    return "route: [ " + ", ".join(f"{{ destination: {{ host: app, subset: {s} }}, weight: {w} }}" for s, w in pairs) + " ]"


vs("weights", "weights.example", f"""\
  http:
  - {{ match: [ {{ uri: {{ prefix: /sole }} }} ], {weighted(("v2", 0))} }}
  - {{ match: [ {{ uri: {{ prefix: /dropped }} }} ], {weighted(("v1", 7), ("v2", 0))} }}
  - {{ match: [ {{ uri: {{ prefix: /fifth }} }} ], {weighted(("v1", 80), ("v2", 20))} }}
  - {{ match: [ {{ uri: {{ prefix: /shares }} }} ], {weighted(("v1", 1), ("v2", 3))} }}
""")


@pytest.mark.parametrize("path,n,share", [("/sole", 40, 1), ("/dropped", 40, 0), ("/fifth", 1500, 0.2), ("/shares", 600, 0.75)])
def test_2_4_1_2_weights_are_shares_of_their_sum(shop, path, n, share):
    names = collections.Counter(json.loads(body)["name"] for _, body in many(shop, n, "weights.example", path))
    if share in (0, 1):
        assert names["v2"] == n * share
    else:
        assert_share(names["v2"], n, share)


def test_2_4_1_weights_below_one_percent_in_the_native_syntax(shop):
    """5 in 1,000: the native syntax takes the same shares as YAML does."""
    shop.mesh.write("mesh.d/30-native.conf", """
VirtualService = { name = "native"; hosts = [ "native.example" ]; http = ( { route = (
  { destination = { host = "app"; subset = "v1"; }; weight = 995; },
  { destination = { host = "app"; subset = "v2"; }; weight = 5; } ); } ); };
""")
    shop.mesh.ctl("config", "reload", "--wait", check=0)
    n = 4000
    assert_share(sum(b'"name": "v2"' in body for _, body in many(shop, n, "native.example")), n, 0.005)


vs("ports", "ports.example", """\
  http:
  - { match: [ { uri: { prefix: /81 } } ], route: [ { destination: { host: multi, port: { number: 81 } } } ] }
  - { match: [ { uri: { prefix: /sole } } ], route: [ { destination: { host: shadow.lab.svc.cluster.local } } ] }
  - route: [ { destination: { host: multi } } ]
""")


@pytest.mark.parametrize("path,cluster", [("/81/p", "outbound|81||multi.default"), ("/sole/p", "outbound|80||shadow.lab"),
                                          ("/listener/p", "outbound|80||multi.default")])
def test_2_4_3_the_port_of_a_destination(shop, path, cluster):
    assert shop.get("ports.example", path).status == 200
    assert shop.log(path, side=cluster)[0] == "200"


def _ops(word):
    return (f'{{ request: {{ set: {{ x-set: {word}, x-{word}: "1" }}, add: {{ x-add: {word} }}, remove: [ x-drop-{word} ] }}, '
            f'response: {{ set: {{ x-res: {word} }}, remove: [ x-app ] }} }}')


vs("headers", "headers.example", f"""\
  http:
  - match: [ {{ uri: {{ prefix: /one }} }} ]
    headers: {_ops('route')}
    route: [ {{ destination: {{ host: app }}, headers: {_ops('dest')} }} ]
  - match: [ {{ uri: {{ prefix: /several }} }} ]
    headers: {_ops('route')}
    route:
    - {{ destination: {{ host: app, subset: v1 }}, weight: 1, headers: {_ops('dest')} }}
    - {{ destination: {{ host: app, subset: v2 }}, weight: 1, headers: {_ops('dest')} }}
  - match: [ {{ uri: {{ prefix: /host }} }} ]
    headers: {{ request: {{ set: {{ Host: set.example }} }} }}
    route: [ {{ destination: {{ host: app }} }} ]
  - match: [ {{ uri: {{ prefix: /vars }} }} ]
    name: with-vars
    headers:
      request:
        set:
          x-path: "%REQ(:PATH)%"
          x-alt: "%REQ(X-MISSING?USER-AGENT)%"
          x-protocol: "%PROTOCOL%"
          x-remote: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
          x-percent: "100%%"
          x-route: "%ROUTE_NAME%"
          x-cluster: "%UPSTREAM_CLUSTER%"
          x-time: "%START_TIME%"
          x-empty: "%REQ(X-MISSING)%"
      response: {{ set: {{ x-up: "%UPSTREAM_HOST%", x-id: "%REQ(X-REQUEST-ID)%" }} }}
    route: [ {{ destination: {{ host: app }} }} ]
""")


@pytest.mark.parametrize("path,wins", [("/one", "dest"), ("/several", "route")])
def test_2_4_4_which_level_wins(shop, path, wins):
    r = shop.get("headers.example", path, x_drop_route="1", x_drop_dest="1", x_add="client")
    h = json.loads(r.body)["headers"]
    assert h["x-set"] == [wins] and r.headers["x-res"] == wins and "x-app" not in r.headers
    assert h["x-route"] == h["x-dest"] == ["1"] and "x-drop-route" not in h and "x-drop-dest" not in h
    added = ["client", "dest", "route"] if wins == "route" else ["client", "route", "dest"]
    assert ",".join(h["x-add"]).replace(", ", ",").split(",") == added


def test_2_4_5_host_may_be_set_by_a_header(shop):
    h = shop.seen("headers.example", "/host")["headers"]
    assert h["host"] == ["set.example"] and h["x-envoy-original-host"] == ["headers.example"]


def test_2_4_6_variables(shop):
    r = shop.get("headers.example", "/vars?q", user_agent="ua/1")
    h = {k: v[0] for k, v in json.loads(r.body)["headers"].items()}
    assert h["x-path"] == "/vars?q" and h["x-alt"] == "ua/1" and h["x-protocol"] == "HTTP/1.1" and h["x-percent"] == "100%"
    assert h["x-remote"] == "127.0.0.1" and h["x-route"] == "with-vars"
    assert h["x-cluster"] == "outbound|80||app.default.svc.cluster.local"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", h["x-time"]) and "x-empty" not in h
    assert r.headers["x-up"].startswith("127.0.0.1:") and r.headers["x-id"] == h["x-request-id"]


# ---- 2.4.7 mirrors -----------------------------------------------------------------------------------------------

SHADOW = "{ host: shadow.lab.svc.cluster.local }"
vs("mirror", "mirror.example", f"""\
  http:
  - match: [ {{ uri: {{ prefix: /all }} }} ]
    mirror: {SHADOW}
    rewrite: {{ authority: rewritten.example }}
    headers: {{ request: {{ set: {{ x-by: route }} }} }}
    {TO_APP}
  - {{ match: [ {{ uri: {{ prefix: /plain }} }} ], mirror: {SHADOW}, {TO_APP} }}
  - {{ match: [ {{ uri: {{ prefix: /none }} }} ], mirror: {SHADOW}, mirrorPercentage: {{ value: 0 }}, {TO_APP} }}
  - {{ match: [ {{ uri: {{ prefix: /some }} }} ], mirror: {SHADOW}, mirrorPercentage: {{ value: 12.5 }}, {TO_APP} }}
  - {{ match: [ {{ uri: {{ prefix: /old }} }} ], mirror: {SHADOW}, mirrorPercent: 0, {TO_APP} }}
  - match: [ {{ uri: {{ prefix: /two }} }} ]
    mirrors: [ {{ destination: {SHADOW} }}, {{ destination: {{ host: app.lab.svc.cluster.local }} }} ]
    {TO_APP}
  - {{ match: [ {{ uri: {{ prefix: /down }} }} ], mirror: {{ host: dead.example }}, {TO_APP} }}
  - match: [ {{ uri: {{ prefix: /aborted }} }} ]
    fault: {{ abort: {{ httpStatus: 503, percentage: {{ value: 100 }} }} }}
    mirror: {SHADOW}
    {TO_APP}
""")


def mirrored(shop, path, name="shadow", n=1):
    wait_for(f"{n} copies of {path}", lambda: len(shop.apps[name].of(path)) >= n)
    return shop.apps[name].of(path)


def test_2_4_7_a_copy_is_the_request_but_for_its_host(shop):
    got = shop.seen("mirror.example", "/all/copy?q=1", "POST", b"body of it", x_more="1")
    copy, = mirrored(shop, "/all/copy?q=1")
    assert (got["name"] in ("v1", "v2"), got["headers"]["host"]) == (True, ["rewritten.example"])
    assert copy["headers"]["host"] == ["rewritten.example-shadow"]
    assert (copy["method"], copy["body"], copy["headers"]["x-by"], copy["headers"]["x-more"]) == (
        "POST", "body of it", ["route"], ["1"])
    assert copy["headers"]["x-request-id"] == got["headers"]["x-request-id"]


def test_2_4_7_the_suffix_stands_before_the_port(shop):
    shop.seen("mirror.example:80", "/plain/port")
    assert mirrored(shop, "/plain/port")[0]["headers"]["host"] == ["mirror.example-shadow:80"]


def test_2_4_7_a_chunked_body_is_copied_too(shop):
    c = shop.mesh.connect()
    c.request("POST", "/plain/chunked", body=iter([b"one ", b"two"]), encode_chunked=True,
              headers={"Host": "mirror.example", "Transfer-Encoding": "chunked"})
    assert json.loads(c.getresponse().read())["body"] == "one two"
    assert mirrored(shop, "/plain/chunked")[0]["body"] == "one two"


def test_2_4_7_several_mirrors(shop):
    shop.seen("mirror.example", "/two/x", "POST", b"b" * 5000)
    assert mirrored(shop, "/two/x")[0]["body"] == mirrored(shop, "/two/x", "lab")[0]["body"] == "b" * 5000


def test_2_4_7_an_explicit_zero_mirrors_nothing(shop):
    for path in ("/none/x", "/old/x"):
        shop.seen("mirror.example", path)
    shop.seen("mirror.example", "/plain/after-none")
    mirrored(shop, "/plain/after-none")
    assert not {"/none/x", "/old/x"} & set(shop.apps["shadow"].paths())


def test_2_4_7_a_percentage_is_a_share(shop):
    n = 1200
    before = shop.own("kvmesh_mirror_requests_total")
    assert sum(1 for status, _ in many(shop, n, "mirror.example", "/some/x") if status == 200) == n
    shop.seen("mirror.example", "/plain/after-some")
    mirrored(shop, "/plain/after-some")
    copies = shop.apps["shadow"].of
    wait_for("counter and copies to agree", lambda: shop.own("kvmesh_mirror_requests_total") - before - 1 ==
             len(copies("/some/x")) > 0)
    assert_share(len(copies("/some/x")), n, 0.125)


def test_2_4_7_a_mirror_that_hangs_delays_nothing_and_is_given_up(shop):
    shadow = shop.apps["shadow"]
    dropped = shop.own("kvmesh_mirror_dropped_total")
    shadow.hold = threading.Event()
    try:
        assert sum(1 for status, _ in many(shop, 400, "mirror.example", "/plain/hang") if status == 200) == 400
        wait_for("drops beyond the bound", lambda: shop.own("kvmesh_mirror_dropped_total") > dropped)
    finally:
        shadow.hold.set()
        shadow.hold = None

    def works_again():
        shop.seen("mirror.example", "/plain/works-again")
        return shop.apps["shadow"].of("/plain/works-again")
    wait_for("a copy once the mirror answers", works_again)


def test_2_4_7_a_mirror_that_is_down_is_counted(shop):
    failed = shop.own("kvmesh_mirror_failures_total")
    assert sum(1 for status, _ in many(shop, 40, "mirror.example", "/down/x") if status == 200) == 40
    wait_for("failures", lambda: shop.own("kvmesh_mirror_failures_total") > failed)


def test_2_4_7_a_body_beyond_what_is_kept_is_not_copied(shop):
    dropped = shop.own("kvmesh_mirror_dropped_total")
    got = shop.seen("mirror.example", "/plain/big", "POST", b"x" * 300_000)
    assert len(got["body"]) == 300_000
    wait_for("the drop", lambda: shop.own("kvmesh_mirror_dropped_total") == dropped + 1)
    assert not shop.apps["shadow"].of("/plain/big")


def test_2_4_7_what_is_aborted_is_not_mirrored(shop):
    assert shop.get("mirror.example", "/aborted/x").status == 503
    shop.seen("mirror.example", "/plain/after-abort")
    mirrored(shop, "/plain/after-abort")
    assert not shop.apps["shadow"].of("/aborted/x")


def test_2_4_7_only_the_services_side_counts_a_copy(shop):
    shop.seen("mirror.example", "/plain/metrics")
    mirrored(shop, "/plain/metrics")
    labels = {"destination_service": "shadow.lab.svc.cluster.local", "response_code": "200"}
    wait_for("the service's record", lambda: shop.counter("istio_requests_total", reporter="destination", **labels) > 0)
    to_shadow = [x for x in shop.mesh.text().splitlines() if "outbound|80||shadow.lab" in x and "mirror.example" in x]
    assert not to_shadow, "the caller's side logs no copy"


# ---- 2.4.8 faults ------------------------------------------------------------------------------------------------

vs("fault", "fault.example", f"""\
  http:
  - {{ match: [ {{ uri: {{ prefix: /abort }} }} ], fault: {{ abort: {{ httpStatus: 418, percentage: {{ value: 100 }} }} }}, {TO_APP},
      retries: {{ attempts: 3, retryOn: "5xx,retriable-4xx,418" }} }}
  - {{ match: [ {{ uri: {{ prefix: /delay }} }} ], fault: {{ delay: {{ fixedDelay: 300ms, percentage: {{ value: 100 }} }} }}, {TO_APP},
      timeout: 100ms }}
  - match: [ {{ uri: {{ prefix: /both }} }} ]
    fault:
      delay: {{ fixedDelay: 50ms, percentage: {{ value: 100 }} }}
      abort: {{ httpStatus: 500, percentage: {{ value: 100 }} }}
    {TO_APP}
  - {{ match: [ {{ uri: {{ prefix: /no-percentage }} }} ], fault: {{ abort: {{ httpStatus: 500 }}, delay: {{ fixedDelay: 60s }} }}, {TO_APP} }}
  - {{ match: [ {{ uri: {{ prefix: /tenth }} }} ], fault: {{ abort: {{ httpStatus: 555, percentage: {{ value: 10 }} }} }}, {TO_APP} }}
  - match: [ {{ uri: {{ prefix: /independent }} }} ]
    fault:
      delay: {{ fixedDelay: 1ms, percentage: {{ value: 50 }} }}
      abort: {{ httpStatus: 556, percentage: {{ value: 40 }} }}
    {TO_APP}
  - {{ match: [ {{ uri: {{ prefix: /percent }} }} ], fault: {{ delay: {{ fixedDelay: 1ms, percent: 100 }} }}, {TO_APP} }}
  - {{ match: [ {{ uri: {{ prefix: /grpc }} }} ], fault: {{ abort: {{ grpcStatus: RESOURCE_EXHAUSTED, percentage: {{ value: 100 }} }} }}, {TO_APP} }}
  - {{ match: [ {{ uri: {{ prefix: /long }} }} ], fault: {{ delay: {{ fixedDelay: 60s, percentage: {{ value: 100 }} }} }}, {TO_APP} }}
""")


def reached(shop, path):
    return len(shop.apps["v1"].of(path)) + len(shop.apps["v2"].of(path))


def test_2_4_8_an_abort_is_answered_here_and_not_tried_again(shop):
    r = shop.get("fault.example", "/abort/x")
    assert (r.status, r.text) == (418, "fault filter abort")
    assert shop.log("/abort/x") == ["418", "FI", "fault_filter_abort"]
    assert reached(shop, "/abort/x") == 0


def test_2_4_8_a_delay_comes_before_the_service_and_no_timeout_cuts_it(shop):
    assert shop.seen("fault.example", "/delay/x")["path"] == "/delay/x"
    assert shop.log("/delay/x")[:2] == ["200", "DI"]
    line = next(x for x in shop.mesh.text().splitlines() if " /delay/x HTTP" in x and "outbound|" in x)
    duration_ms = int(line.split('" ', 2)[2].split()[2])
    assert duration_ms >= 300, line


def test_2_4_8_first_the_delay_then_the_abort(shop):
    assert shop.get("fault.example", "/both/x").status == 500
    assert shop.log("/both/x")[:2] == ["500", "DI,FI"] and reached(shop, "/both/x") == 0


def test_2_4_8_without_a_percentage_it_never_happens(shop):
    assert all(status == 200 for status, _ in many(shop, 50, "fault.example", "/no-percentage/x"))


def test_2_4_8_percentages_are_shares(shop):
    n = 1500
    assert_share(sum(status == 555 for status, _ in many(shop, n, "fault.example", "/tenth/x")), n, 0.1)


def test_2_4_8_delay_and_abort_are_independent(shop):
    n = 1000
    aborted = sum(status == 556 for status, _ in many(shop, n, "fault.example", "/independent/x"))
    assert_share(aborted, n, 0.4)

    def lines():
        found = [x.split('" ', 1)[1].split()[:2] for x in shop.mesh.text().splitlines()
                 if " /independent/x HTTP" in x and "outbound|" in x]
        return found if len(found) == n else None
    flags = collections.Counter(map(tuple, wait_for("all log lines", lines)))
    assert_share(flags["556", "DI,FI"], n, 0.2)
    assert_share(flags["556", "FI"], n, 0.2)
    assert_share(flags["200", "DI"], n, 0.3)
    assert_share(flags["200", "-"], n, 0.3)


def test_2_4_8_the_old_percentage(shop):
    shop.seen("fault.example", "/percent/x")
    assert shop.log("/percent/x")[:2] == ["200", "DI"]


def test_2_4_8_a_grpc_status_for_both_kinds_of_callers(shop):
    assert shop.get("fault.example", "/grpc/http").status == 429
    r = shop.get("fault.example", "/grpc/grpc", "POST", b"", content_type="application/grpc")
    assert (r.status, r.headers["grpc-status"], r.headers["grpc-message"]) == (200, "8", "fault filter abort")
    r = shop.get("fault.example", "/abort/grpc", "POST", b"", content_type="application/grpc")
    assert (r.status, r.headers["grpc-status"]) == (200, "2")


def test_2_4_8_who_leaves_during_the_delay_is_told_so(shop):
    c = shop.mesh.connect()
    c.request("GET", "/long/x", headers={"Host": "fault.example"})
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))     # a reset: a half-close waits
    c.close()
    assert shop.log("/long/x")[:2] == ["0", "DI,DC"] and reached(shop, "/long/x") == 0


def test_2_4_8_faults_are_in_the_metrics(shop):
    shop.get("fault.example", "/abort/metrics")
    wait_for("FI", lambda: shop.counter("istio_requests_total", response_flags="FI", response_code="418", reporter="source") > 0)
    shop.get("fault.example", "/percent/metrics")
    wait_for("DI", lambda: shop.counter("istio_requests_total", response_flags="DI", response_code="200", reporter="source") > 0)


vs("direct", "direct.example", """\
  http:
  - match: [ { uri: { exact: /typed } } ]
    directResponse: { status: 404, body: { bytes: eyJhIjoxfQ== } }
    headers: { response: { set: { content-type: application/json } } }
  - match: [ { uri: { exact: /binary } } ]
    directResponse: { status: 200, body: { bytes: "/wABgA==" } }
  - directResponse: { status: 503 }
""")


def test_2_4_9_a_direct_response(shop):
    r = shop.get("direct.example", "/typed")
    assert (r.status, r.text, r.headers["content-type"]) == (404, '{"a":1}', "application/json")
    assert shop.get("direct.example", "/binary").body == b"\xff\x00\x01\x80"
    r = shop.get("direct.example", "/2-4-9")
    assert (r.status, r.body) == (503, b"")
    assert shop.log("/2-4-9", side="direct.example") == ["503", "-", "direct_response"]


# ---- 2.5 retries -------------------------------------------------------------------------------------------------

vs("half", "half", """\
  http:
  - { match: [ { uri: { prefix: /once } } ], retries: { attempts: 0 }, route: [ { destination: { host: half } } ] }
  - match: [ { uri: { prefix: /avoid } } ]
    retries: { attempts: 1, retryOn: "connect-failure,5xx", backoff: 1ms }
    route: [ { destination: { host: half } } ]
""")


def test_2_5_4_a_host_that_was_tried_is_avoided(shop):
    """One of two endpoints refuses: with one retry every request reaches the other."""
    assert collections.Counter(status for status, _ in many(shop, 100, "half", "/avoid/x")) == {200: 100}


def _conditions(*words):
    return "".join(f'  - {{ match: [ {{ uri: {{ exact: "/{w}" }} }} ], retries: {{ attempts: 2, backoff: 1ms, retryOn: "{w}" }}, {TO_APP} }}\n'
                   for w in words)


vs("timed", "timed.example", f"  http:\n  - {{ timeout: 400ms, {TO_APP} }}")
vs("retry", "retry.example", "  http:\n" + _conditions("5xx", "gateway-error", "retriable-4xx", "429", "connect-failure",
                                                       "reset,retriable-status-codes,418"))


def test_2_5_2_the_timeout_begins_with_the_end_of_the_request(shop):
    with socket.create_connection(("127.0.0.1", shop.mesh.http_port), timeout=kvmesh.DEADLINE) as s:
        s.sendall(b"POST /slow HTTP/1.1\r\nHost: timed.example\r\nContent-Length: 4\r\nConnection: close\r\n\r\n")
        for _ in range(4):
            time.sleep(0.2)
            s.sendall(b"x")
        assert s.makefile("rb").read().startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path,answers,status", [
    ("/5xx", "500,503,200", 200), ("/5xx", "404,200", 404), ("/5xx", "500,500,500", 500),
    ("/gateway-error", "502,504,200", 200), ("/gateway-error", "500,200", 500), ("/retriable-4xx", "409,200", 200),
    ("/retriable-4xx", "404,200", 404), ("/429", "429,200", 200), ("/429", "503,200", 503), ("/connect-failure", "503,200", 503),
    ("/reset,retriable-status-codes,418", "418,200", 200),
])
def test_2_5_6_conditions(shop, path, answers, status):
    assert shop.get("retry.example", path, x_answers=answers).status == status


@pytest.mark.parametrize("size,status", [(60_000, 200), (200_000, 503)])
def test_2_5_7_a_long_body_is_not_kept_for_another_try(shop, size, status):
    assert shop.get("retry.example", "/5xx", "POST", b"x" * size, x_answers="503,200").status == status


def test_2_5_8_tries_are_counted_from_1(shop):
    h = shop.seen("retry.example", "/5xx", x_answers="503,500,200")["headers"]
    assert h["x-envoy-attempt-count"] == ["3"]


# ---- 2.6 rewrite, redirect ---------------------------------------------------------------------------------------

vs("rewrite", "rewrite.example", f"""\
  http:
  - {{ match: [ {{ uri: {{ prefix: /text/ }} }} ], rewrite: {{ uri: / }}, {TO_APP} }}
  - {{ match: [ {{ uri: {{ prefix: /double }} }} ], rewrite: {{ uri: / }}, {TO_APP} }}
  - {{ match: [ {{ uri: {{ exact: /exact }} }} ], rewrite: {{ uri: /whole }}, {TO_APP} }}
  - {{ match: [ {{ uri: {{ prefix: /re/ }} }} ], rewrite: {{ uriRegexRewrite: {{ match: "/([^/]+)/v([0-9]+)", rewrite: "/\\\\2-\\\\1" }} }}, {TO_APP} }}
  - {{ match: [ {{ uri: {{ prefix: /auth }} }} ], rewrite: {{ authority: new.example }}, {TO_APP} }}
  - {{ match: [ {{ headers: {{ x-root: {{}} }} }} ], rewrite: {{ uri: /base/ }}, {TO_APP} }}
""")


@pytest.mark.parametrize("rule,path,to", [
    ("2.6.1", "/text/a?q=1", "/a?q=1"), ("2.6.2", "/double/a", "//a"), ("2.6.1", "/exact?q", "/whole?q"),
    ("2.6.4", "/re/v1/re/v2?q=/x/v3", "/1-re/2-re?q=/x/v3"), ("2.6.1", "/no-uri", "/base/no-uri"),
])
def test_2_6_rewrite_of_the_path(shop, rule, path, to):
    got = shop.seen("rewrite.example", path, x_root="1")
    assert got["path"] == to and got["headers"]["x-envoy-original-path"] == [path]


def test_2_6_3_rewrite_of_the_authority(shop):
    h = shop.seen("rewrite.example", "/auth")["headers"]
    assert (h["host"], h["x-envoy-original-host"]) == (["new.example"], ["rewrite.example"])


def _redirect(path, fields, match="prefix"):
    return f"  - {{ match: [ {{ uri: {{ {match}: {path} }} }} ], redirect: {{ {fields} }} }}\n"


vs("redirect", "redirect.example", "  http:\n" + "".join((
    _redirect("/uri", "uri: /new"), _redirect("/query", 'uri: "/new?own=1"'), _redirect("/host", "authority: other.example"),
    _redirect("/code", "uri: /new, redirectCode: 308"), _redirect("/port", "port: 8443, scheme: https"),
    _redirect("/from-request", "derivePort: FROM_REQUEST_PORT"), _redirect("/secure-request", "derivePort: FROM_REQUEST_PORT, scheme: https"),
    _redirect("/from-protocol", "derivePort: FROM_PROTOCOL_DEFAULT, uri: /new"), _redirect("/scheme", "scheme: https"),
    _redirect("/prefix/", "prefixRewrite: /other/"))))


@pytest.mark.parametrize("rule,host,path,status,location", [
    ("2.6.5", "redirect.example", "/uri/x?q=1", 301, "http://redirect.example/new?q=1"),
    ("2.6.5", "redirect.example", "/query?q=1", 301, "http://redirect.example/new?own=1"),
    ("2.6.5", "redirect.example", "/host/x?q=1", 301, "http://other.example/host/x?q=1"),
    ("2.6.5", "redirect.example", "/code", 308, "http://redirect.example/new"),
    ("2.6.5", "redirect.example", "/prefix/x?q", 301, "http://redirect.example/other/x?q"),
    ("2.6.6", "redirect.example:80", "/uri", 301, "http://redirect.example:80/new"),
    ("2.6.6", "redirect.example", "/port/x", 301, "https://redirect.example:8443/port/x"),
    ("2.6.6", "redirect.example", "/from-request/foo", 301, "http://redirect.example/from-request/foo"),
    ("2.6.6", "redirect.example:80", "/from-request/foo", 301, "http://redirect.example:80/from-request/foo"),
    ("2.6.6", "redirect.example", "/secure-request/foo", 301, "https://redirect.example:80/secure-request/foo"),
    ("2.6.6", "redirect.example:80", "/from-protocol", 301, "http://redirect.example/new"),
    ("2.6.6", "redirect.example:80", "/scheme", 301, "https://redirect.example/scheme"),
])
def test_2_6_redirect(shop, rule, host, path, status, location):
    r = shop.get(host, path)
    assert (r.status, r.headers["location"], r.body) == (status, location, b"")


# ---- 2.6.8, 2.6.9 CORS -------------------------------------------------------------------------------------------

vs("cors", "cors.example", f"""\
  http:
  - match: [ {{ uri: {{ prefix: /ignore }} }} ]
    corsPolicy: {{ allowOrigins: [ {{ exact: "https://a.example" }} ], unmatchedPreflights: IGNORE }}
    {TO_APP}
  - match: [ {{ uri: {{ prefix: /any }} }} ]
    corsPolicy: {{ allowOrigins: [ {{ exact: "*" }} ] }}
    {TO_APP}
  - match: [ {{ uri: {{ prefix: /aborted }} }} ]
    corsPolicy: {{ allowOrigins: [ {{ exact: "https://a.example" }} ] }}
    fault: {{ abort: {{ httpStatus: 500, percentage: {{ value: 100 }} }} }}
    {TO_APP}
  - corsPolicy:
      allowOrigins: [ {{ exact: "https://a.example" }}, {{ prefix: "https://b." }}, {{ regex: "https://[a-z]+\\\\.c\\\\.example" }} ]
      allowMethods: [ GET, PUT ]
      allowHeaders: [ x-one, x-two ]
      exposeHeaders: [ x-app, x-three ]
      maxAge: 24h
      allowCredentials: true
    {TO_APP}
""")


def preflight(shop, path, origin):
    return shop.get("cors.example", path, "OPTIONS", origin=origin, access_control_request_method="PUT")


def cors_fields(r):
    return {k.removeprefix("access-control-"): v for k, v in r.headers.items() if k.startswith("access-control-")}


@pytest.mark.parametrize("origin", ["https://a.example", "https://b.anything", "https://xy.c.example"])
def test_2_6_8_a_preflight_is_answered_here(shop, origin):
    path = f"/preflight/{origin[8:]}"
    r = preflight(shop, path, origin)
    assert (r.status, r.body) == (200, b"") and "x-app" not in r.headers
    assert cors_fields(r) == {"allow-origin": origin, "allow-methods": "GET,PUT", "allow-headers": "x-one,x-two",
                              "max-age": "86400", "allow-credentials": "true"}
    assert reached(shop, path) == 0
    assert shop.log(path, side="cors.example") == ["200", "-", "cors_response"]


@pytest.mark.parametrize("origin", ["https://a.example.evil", "http://a.example", "https://xy.c.example.evil", "null"])
def test_2_6_8_a_preflight_of_another_origin_is_forwarded(shop, origin):
    r = preflight(shop, "/other", origin)
    assert json.loads(r.body)["method"] == "OPTIONS"
    assert cors_fields(r) == {"allow-origin": "https://said-by-the-app.example"}


def test_2_6_8_or_answered_without_a_field(shop):
    r = preflight(shop, "/ignore/x", "https://other.example")
    assert (r.status, r.body, cors_fields(r)) == (200, b"", {}) and reached(shop, "/ignore/x") == 0
    r = shop.get("cors.example", "/ignore/get", origin="https://other.example")
    assert json.loads(r.body)["method"] == "GET"


def test_2_6_8_options_without_the_asked_method_is_no_preflight(shop):
    r = shop.get("cors.example", "/options", "OPTIONS", origin="https://a.example")
    assert json.loads(r.body)["method"] == "OPTIONS"


def test_2_6_9_an_allowed_origin_may_read_the_answer(shop):
    r = shop.get("cors.example", "/simple", origin="https://a.example")
    assert json.loads(r.body)["path"] == "/simple"
    assert cors_fields(r) == {"allow-origin": "https://a.example", "allow-credentials": "true", "expose-headers": "x-app,x-three"}
    assert cors_fields(shop.get("cors.example", "/any", origin="https://x.example")) == {"allow-origin": "https://x.example"}


@pytest.mark.parametrize("headers", [{}, {"origin": "https://other.example"}])
def test_2_6_9_others_get_the_answer_unchanged(shop, headers):
    r = shop.get("cors.example", "/simple", **headers)
    assert cors_fields(r) == {"allow-origin": "https://said-by-the-app.example"}


def test_2_6_9_an_answer_made_here_may_be_read_too(shop):
    r = shop.get("cors.example", "/aborted", origin="https://a.example")
    assert (r.status, cors_fields(r)) == (500, {"allow-origin": "https://a.example"})


# ---- 2.14 TLS and TCP routes -------------------------------------------------------------------------------------

class Greeter(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Says its name to whoever connects, over TLS when it has a certificate."""
    daemon_threads = allow_reuse_address = True

    def __init__(self, name, cert=None):
        super().__init__(("127.0.0.1", 0), None)
        self.name, self.port, self.ctx = name, self.server_address[1], None
        if cert:
            self.ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.ctx.load_cert_chain(*cert)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request, client_address):
        try:
            s = self.ctx.wrap_socket(request, server_side=True) if self.ctx else request
            s.sendall(self.name.encode())
            s.close()
        except OSError:
            pass


L4 = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: PROTO }
spec: { host: PROTO, subsets: [ { name: one, labels: { n: one } }, { name: two, labels: { n: two } } ] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: PROTO }
spec:
  hosts: [ PROTO, "*.tls.example" ]
"""
TLS_ROUTES = """\
  tls:
  - match: [ { sniHosts: [ one.tls.example ] } ]
    route: [ { destination: { host: tls, subset: one } } ]
  - match: [ { sniHosts: [ "*.tls.example" ], sourceLabels: { app: somebody-else } }, { sniHosts: [ two.tls.example ], port: 7443 } ]
    route: [ { destination: { host: tls, subset: two } } ]
"""
TCP_ROUTES = """\
  tcp:
  - match: [ { sourceLabels: { app: somebody-else } }, { port: 9999 }, { sourceNamespace: lab } ]
    route: [ { destination: { host: tcp, subset: one } } ]
  - match: [ { port: 7000, sourceLabels: { tier: edge } } ]
    route: [ { destination: { host: tcp, subset: one }, weight: 30 }, { destination: { host: tcp, subset: two }, weight: 70 } ]
"""


@pytest.fixture
def l4(workdir):
    made = []

    def make(proto, port, routes, cert=None):
        mesh, listen = kvmesh.Mesh(workdir / proto), kvmesh.free_port()
        for n in ("one", "two"):
            mesh.workload(f"{proto}-{n}", Greeter(n, cert).port, {"app": proto, "n": n}, protocol=proto.upper())
        mesh.workload("tester", kvmesh.free_port(), {"tier": "edge"}, user=getpass.getuser())
        mesh.service(proto, port, proto, protocol=proto.upper(), listen=f"127.0.0.1:{listen}")
        mesh.write("mesh.d/20-routes.yaml", L4.replace("PROTO", proto).replace(', "*.tls.example"', "" if proto == "tcp" else
                                                                               ', "*.tls.example"') + routes)
        made.append(mesh)
        mesh.start()
        return listen

    yield make
    for mesh in made:
        mesh.stop()


def hear(port, sni=None):
    with socket.create_connection(("127.0.0.1", port), timeout=kvmesh.DEADLINE) as raw:
        if not sni:
            return raw.makefile("rb").read().decode()
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
        with ctx.wrap_socket(raw, server_hostname=sni) as s:
            return s.makefile("rb").read().decode()


def test_2_14_5_tls_routes_by_server_name(l4, workdir):
    key, crt = workdir / "k.pem", workdir / "c.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                    "-out", crt, "-days", "1", "-subj", "/CN=x"], check=True, capture_output=True, timeout=kvmesh.DEADLINE)
    port = l4("tls", 7443, TLS_ROUTES, (crt, key))
    for _ in range(8):
        assert (hear(port, "one.tls.example"), hear(port, "two.tls.example")) == ("one", "two")


def test_2_14_6_tcp_routes_split_connections(l4):
    port = l4("tcp", 7000, TCP_ROUTES)
    n = 300
    assert_share(sum(hear(port) == "two" for _ in range(n)), n, 0.7)
