# SPDX-License-Identifier: Apache-2.0
"""AuthorizationPolicy on real requests and connections: semantics 2.11 by number, and the spellings of a path that
must not get round a rule (security-model §5.1)."""

import json
import os
import socket
import subprocess

import pytest

import kvmesh
from kvmesh import wait_for

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="callers of several users need root")

NODE = "cluster.local/ns/kvmesh-system/sa/test-1"
WEB = "cluster.local/ns/shop/sa/web"


class Guarded:
    """my-app behind policies; callers are the node itself, and web (another user) of namespace shop."""

    def __init__(self, directory):
        self.log = directory / "access.log"
        self.article = kvmesh.Article(directory, redis=True, conf=f'accessLogFile = "{self.log}"; accessLogEncoding = "JSON";')
        self.mesh = self.article.mesh
        self.mesh.workload("web", kvmesh.free_port(), namespace="shop", serviceAccount="web", user="nobody")
        self.article.start()

    def policies(self, *specs, ns="default", annotations=None):
        """Each spec is the policy's whole spec in YAML flow form."""
        meta = f", annotations: {json.dumps(annotations)}" if annotations else ""
        self.mesh.write("mesh.d/50-authz.yaml", "---\n".join(f"""\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: p{i}, namespace: {ns}{meta} }}
spec: {spec}
""" for i, spec in enumerate(specs)) or "# none\n")
        self.mesh.ctl("config", "reload", "--wait", check=0)

    def ask(self, path="/", method="GET", headers=(), user=None, host="my-app.default"):
        """Status of one request; --path-as-is, so that curl does not tidy what is tested."""
        argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--path-as-is", "-X", method, "-x", f"http://127.0.0.1:{self.mesh.http_port}"]
        for h in headers:
            argv += ["-H", h]
        if method == "HEAD":
            argv[-1:] = [argv[-1], "-I"]
        if user:
            argv = ["setpriv", f"--reuid={user}", "--clear-groups", *argv]
        r = subprocess.run([*argv, f"http://{host}{path}"], capture_output=True, text=True, timeout=kvmesh.DEADLINE)
        assert r.stdout in ("200", "400", "403"), r
        return int(r.stdout)

    def redis_ping(self, user=None):
        with socket.create_connection(("127.0.0.1", self.article.redis_entry), timeout=kvmesh.DEADLINE) as s:
            s.sendall(b"PING\r\n")
            try:
                return s.recv(100)
            except ConnectionResetError:
                return b""

    def denied(self):
        return [x for x in self.lines() if x["response_code_details"].startswith("rbac")]

    def lines(self):
        return [json.loads(x) for x in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    directory = tmp_path_factory.mktemp("authz")
    directory.chmod(0o755)
    g = Guarded(directory)
    yield g
    g.article.__exit__(None, None, None)


def test_2_11_2_order_of_actions(guarded):
    g = guarded
    g.policies()
    assert g.ask() == 200, "no policy: everything"
    g.policies('{ action: ALLOW, rules: [ { to: [ { operation: { methods: [ GET ] } } ] } ] }')
    assert g.ask() == 200 and g.ask(method="POST") == 403
    g.policies('{ action: ALLOW, rules: [ { to: [ { operation: { methods: [ GET ] } } ] } ] }',
               '{ action: DENY, rules: [ { to: [ { operation: { paths: [ "/secret*" ] } } ] } ] }')
    assert g.ask() == 200 and g.ask("/secret") == 403 and g.ask("/secrets/x") == 403
    g.policies('{ action: AUDIT, rules: [ {} ] }')
    assert g.ask() == 200
    wait_for("the count of audited requests", lambda: 'kvmesh_authz_audited_total{policy="p0.default"' in g.mesh.metrics()
             or "kvmesh_authz_audited_total" in g.mesh.metrics())


def test_2_11_3_the_answer(guarded):
    g = guarded
    g.policies('{ action: DENY, rules: [ { to: [ { operation: { paths: [ /a ] } } ] }, { to: [ { operation: { paths: [ /b ] } } ] } ] }')
    before = len(g.denied())
    r = g.mesh.get("my-app", "/b")
    assert (r.status, r.text) == (403, "RBAC: access denied")
    line = wait_for("the line in the access log", lambda: g.denied()[before:])[0]
    assert line["response_flags"] == "-"
    details = line["response_code_details"]
    assert details.startswith("rbac_access_denied_matched_policy[ns[default]-policy[p0]-rule[1]]{"), details
    assert "50-authz.yaml:" in details
    wait_for("the counter", lambda: "kvmesh_authz_denied_total{" in g.mesh.metrics())


@pytest.mark.parametrize("spec,allowed", [
    ("{}", False),                                  # ALLOW without rules: nothing
    ("{ rules: [ {} ] }", True),
    ("{ action: DENY, rules: [ {} ] }", False),
])
def test_2_11_4_empty(guarded, spec, allowed):
    guarded.policies(spec)
    assert (guarded.ask() == 200) == allowed


@pytest.mark.parametrize("rule,source,node,web", [
    ("2.11.7", f"principals: [ {NODE} ]", True, False),
    ("2.11.7", f"principals: [ {WEB} ]", False, True),
    ("2.11.7", 'principals: [ "*" ]', True, True),
    ("2.11.7", 'principals: [ "*/sa/web" ]', False, True),
    ("2.11.7", 'principals: [ "cluster.local/ns/shop/*" ]', False, True),
    ("2.11.7", f"notPrincipals: [ {WEB} ]", True, False),
    ("2.11.8", "namespaces: [ shop ]", False, True),
    ("2.11.8", 'namespaces: [ "sh*" ]', False, True),
    ("2.11.8", "notNamespaces: [ shop ]", True, False),
    ("2.11.9", "serviceAccounts: [ shop/web ]", False, True),
    ("2.11.9", "serviceAccounts: [ web ]", False, False),      # of the policy's own namespace
    ("2.11.10", "ipBlocks: [ 127.0.0.0/8 ]", True, True),
    ("2.11.10", "ipBlocks: [ 10.0.0.0/8 ]", False, False),
    ("2.11.10", 'notIpBlocks: [ "::/0" ]', False, False),
])
def test_sources(guarded, rule, source, node, web):
    guarded.policies(f"{{ rules: [ {{ from: [ {{ source: {{ {source} }} }} ] }} ] }}")
    assert (guarded.ask() == 200, guarded.ask(user="nobody") == 200) == (node, web)


@pytest.mark.parametrize("rule,operation,fits,misses", [
    ("2.11.5", "methods: [ GET ]", dict(), dict(method="POST")),
    ("2.11.6", 'methods: [ "P*" ]', dict(method="POST"), dict()),
    ("2.11.5", "notMethods: [ POST ]", dict(), dict(method="POST")),
    ("2.11.12", "paths: [ /a ]", dict(path="/a"), dict(path="/a/")),
    ("2.11.12", "paths: [ /a ]", dict(path="/a?x=1"), dict(path="/b?/a")),
    ("2.11.6", 'paths: [ "/a*" ]', dict(path="/abc"), dict(path="/ba")),
    ("2.11.6", 'paths: [ "*.html" ]', dict(path="/x.html"), dict(path="/x.htm")),
    ("2.11.5", 'notPaths: [ "/admin*" ]', dict(path="/ok"), dict(path="/admin/x")),
    ("2.11.12", "hosts: [ my-app ]", dict(host="my-app"), dict()),
    ("2.11.12", "hosts: [ MY-APP ]", dict(host="my-app"), dict()),
    ("2.11.6", 'hosts: [ "*.default" ]', dict(), dict(host="my-app")),
    ("2.11.12", 'paths: [ "/v/{*}/x" ]', dict(path="/v/1/x"), dict(path="/v/1/2/x")),
    ("2.11.12", 'paths: [ "/v/{**}" ]', dict(path="/v/1/2/x"), dict(path="/w/1")),
    ("2.11.12", 'paths: [ "/v/{**}/end" ]', dict(path="/v/1/2/end"), dict(path="/v/1/2")),
])
def test_operations(guarded, rule, operation, fits, misses):
    guarded.policies(f"{{ rules: [ {{ to: [ {{ operation: {{ {operation} }} }} ] }} ] }}")
    assert guarded.ask(**fits) == 200 and guarded.ask(**misses) == 403
    guarded.policies(f"{{ action: DENY, rules: [ {{ to: [ {{ operation: {{ {operation} }} }} ] }} ] }}")
    assert guarded.ask(**fits) == 403 and guarded.ask(**misses) == 200


@pytest.mark.parametrize("when,fits,misses", [
    ('key: "request.headers[X-Tenant]", values: [ a ]', dict(headers=["x-tenant: a"]), dict(headers=["x-tenant: b"])),
    ('key: "request.headers[x-tenant]", values: [ "*" ]', dict(headers=["x-tenant: b"]), dict()),
    ('key: "request.headers[x-tenant]", notValues: [ a ]', dict(), dict(headers=["x-tenant: a"])),
    ("key: source.namespace, values: [ kvmesh-system ]", dict(), dict(user="nobody")),
    (f"key: source.principal, values: [ {WEB} ]", dict(user="nobody"), dict()),
])
def test_2_11_13_conditions(guarded, when, fits, misses):
    guarded.policies(f"{{ rules: [ {{ when: [ {{ {when} }} ] }} ] }}")
    assert guarded.ask(**fits) == 200 and guarded.ask(**misses) == 403


@pytest.mark.parametrize("host", ["my-app", "MY-APP", "my-app:80"])
def test_p11_a_host_with_its_port_is_the_same_host(guarded, host):
    guarded.policies("{ action: DENY, rules: [ { to: [ { operation: { hosts: [ my-app ] } } ] } ] }")
    assert guarded.ask(host=host) == 403
    guarded.policies("{ rules: [ { to: [ { operation: { notHosts: [ my-app ] } } ] } ] }")
    assert guarded.ask(host=host) == 403


def test_a_forwarded_address_that_is_none_does_not_get_round_a_rule(guarded):
    guarded.policies("{ action: DENY, rules: [ { from: [ { source: { remoteIpBlocks: [ 127.0.0.0/8 ] } } ] } ] }")
    for value in ("junk", "10.0.0.1:55", "10.0.0.1, junk"):
        assert guarded.ask(headers=[f"x-forwarded-for: {value}"]) == 403, value
    # a caller that is no gateway is not believed what it says of others: test_gateway_topology.py
    assert guarded.ask(headers=["x-forwarded-for: 10.0.0.1"]) == 403


def test_p11_every_value_of_a_repeated_header_counts(guarded):
    twice = ["x-role: user", "x-role: admin"]
    guarded.policies('{ action: DENY, rules: [ { when: [ { key: "request.headers[x-role]", values: [ admin ] } ] } ] }')
    assert guarded.ask(headers=twice) == 403 and guarded.ask(headers=["x-role: user"]) == 200
    guarded.policies('{ rules: [ { when: [ { key: "request.headers[x-role]", values: [ user ] } ] } ] }')
    assert guarded.ask(headers=twice) == 403 and guarded.ask(headers=["x-role: user"]) == 200
    guarded.policies('{ rules: [ { when: [ { key: "request.headers[x-role]", notValues: [ admin ] } ] } ] }')
    assert guarded.ask(headers=twice) == 403 and guarded.ask(headers=["x-role: user"]) == 200


def test_2_11_1_selectors_and_the_root_namespace(guarded):
    g = guarded
    deny = "{{ {}action: DENY, rules: [ {{}} ] }}"
    g.policies(deny.format("selector: { matchLabels: { app: other } }, "))
    assert g.ask() == 200
    g.policies(deny.format("selector: { matchLabels: { app: my-app } }, "))
    assert g.ask() == 403
    g.policies(deny.format(""), ns="elsewhere")
    assert g.ask() == 200
    g.policies(deny.format(""), ns="istio-system")
    assert g.ask() == 403
    g.policies(deny.format("selector: { matchLabels: { app: my-app } }, "), ns="istio-system")
    assert g.ask() == 403


def test_2_11_14_http_fields_on_a_tcp_port(guarded):
    g = guarded
    g.policies()
    assert g.redis_ping() == b"+PONG\r\n"
    sel = "selector: { matchLabels: { app: redis } }, "
    g.policies("{ " + sel + "rules: [ { to: [ { operation: { methods: [ GET ] } } ] } ] }")
    assert g.redis_ping() == b"", "an ALLOW rule about HTTP is dropped"
    g.policies("{ " + sel + "action: DENY, rules: [ { to: [ { operation: { methods: [ GET ] } } ] } ] }")
    assert g.redis_ping() == b"", "a DENY rule about HTTP gets wider"
    g.policies("{ " + sel + f"rules: [ {{ from: [ {{ source: {{ principals: [ {NODE} ] }} }} ] }} ] }}")
    assert g.redis_ping() == b"+PONG\r\n"
    g.policies("{ " + sel + f"rules: [ {{ from: [ {{ source: {{ principals: [ {WEB} ] }} }} ] }} ] }}")
    assert g.redis_ping() == b""


def test_2_11_15_with_two_authorizers_custom_refuses(guarded):
    http = 'envoyExtAuthzHttp = { service = "my-app.default.svc.cluster.local"; port = 80; };'
    guarded.mesh.write("conf.d/authorizer.conf", f'mesh = {{ extensionProviders = ( {{ name = "ext"; {http} }}, {{ name = "two"; {http} }} ); }};')
    custom = '{{ action: CUSTOM, provider: {{ name: {} }}, rules: [ {{ to: [ {{ operation: {{ paths: [ {} ] }} }} ] }} ] }}'
    guarded.policies(custom.format("ext", "/x"), custom.format("two", "/z"))
    assert guarded.ask("/x") == 403 and guarded.ask("/y") == 200


def test_2_11_16_dry_run_only_counts(guarded):
    guarded.policies('{ action: DENY, rules: [ {} ] }', annotations={"istio.io/dry-run": "true"})
    assert guarded.ask() == 200
    wait_for("the dry-run counter", lambda: "kvmesh_authz_dry_run_denied_total{" in guarded.mesh.metrics())


def test_2_11_17_callers_are_judged_at_the_services_side_after_what_their_own_side_does(guarded):
    guarded.policies('{ action: DENY, rules: [ {} ] }')
    assert guarded.ask() == 403
    guarded.mesh.write("mesh.d/60-fault.yaml", """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: early, namespace: default }
spec:
  hosts: [ early.example ]
  http:
  - fault: { abort: { httpStatus: 400, percentage: { value: 100 } } }
    route: [ { destination: { host: my-app } } ]
""")
    guarded.mesh.ctl("config", "reload", "--wait", check=0)
    assert guarded.ask(host="early.example") == 400


SPELLINGS = ["/admin", "//admin", "/./admin", "/x/../admin", "/%61dmin", "/x/%2e%2e/admin", "/%2fadmin", "/x/..%2fadmin", "/x%2f..%2fadmin",
             "/x/..;/admin", "/admin;a=b", "/x/..%5cadmin", "/x\\..\\admin", "/x%2fy/..;/admin", "/admin/", "/admin//x", "/admin/../admin", "/admin#x"]


@pytest.mark.parametrize("path", SPELLINGS)
def test_2_11_18_no_spelling_of_a_path_gets_round_a_rule(guarded, path):
    guarded.policies('{ action: DENY, rules: [ { to: [ { operation: { paths: [ /admin, "/admin/*" ] } } ] } ] }')
    assert guarded.ask(path) in (400, 403), path
    guarded.policies('{ rules: [ { to: [ { operation: { notPaths: [ /admin, "/admin/*" ] } } ] } ] }')
    assert guarded.ask(path) in (400, 403), path


@pytest.mark.parametrize("path", ["/a%2fb", "/a;x", "/a//b", "/a/./b"])
def test_other_paths_are_not_in_the_way(guarded, path):
    guarded.policies('{ action: DENY, rules: [ { to: [ { operation: { paths: [ /admin ] } } ] } ] }')
    assert guarded.ask(path) == 200


def test_a_living_connection_obeys_the_new_policy(guarded):
    guarded.policies()
    c = guarded.mesh.connect()
    try:
        def status():
            c.request("GET", "/", headers={"Host": "my-app"})
            r = c.getresponse()
            r.read()
            return r.status
        assert status() == 200
        guarded.policies('{ action: DENY, rules: [ {} ] }')
        assert status() == 403
        guarded.policies()
        assert status() == 200
    finally:
        c.close()
