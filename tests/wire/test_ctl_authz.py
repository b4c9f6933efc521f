# SPDX-License-Identifier: Apache-2.0
"""kvmeshctl authz: the proxies' own decision over the files, asked before anything happens."""

import json

import pytest

import kvmesh

POLICIES = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: readers }
spec:
  selector: { matchLabels: { app: my-app } }
  rules:
  - from: [ { source: { principals: [ cluster.local/ns/default/sa/web ] } } ]
    to: [ { operation: { methods: [ GET ], paths: [ "/cart*" ] } } ]
  - when: [ { key: "request.headers[X-Tenant]", values: [ a ] } ]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-admin }
spec: { action: DENY, rules: [ { to: [ { operation: { paths: [ /cart/admin ] } } ] } ] }
"""


@pytest.fixture
def mesh(workdir):
    mesh = kvmesh.Mesh(workdir / "mesh")
    for name in ("my-app", "web", "other"):
        mesh.workload(name, kvmesh.free_port(), serviceAccount=name)
        mesh.service(name, 80, "http")
    mesh.write("mesh.d/authz.yaml", POLICIES)
    return mesh


def test_check_lists_the_rules_in_the_order_they_are_asked(mesh):
    rows = mesh.ctl_json("authz", "check", "my-app")
    assert [(r["action"], r["policy"], r["rule"]) for r in rows] == [
        ("DENY", "no-admin.default", 0), ("ALLOW", "readers.default", 0), ("ALLOW", "readers.default", 1)]
    assert rows[1]["what"] == "source.principal = cluster.local/ns/default/sa/web; request.method = GET, request.path = /cart*"
    assert rows[2]["what"] == "request.headers[x-tenant] = a" and rows[2]["file"].endswith("authz.yaml:9")
    assert [r["action"] for r in mesh.ctl_json("authz", "check", "other")] == ["DENY"]
    assert mesh.ctl("authz", "check", "nobody").returncode == 4


@pytest.mark.parametrize("words,allowed,policy", [
    (["web", "my-app", "GET", "/cart/1"], True, "readers.default"),
    (["web", "my-app", "POST", "/cart/1"], False, None),
    (["web.default", "my-app.default", "GET", "/cart/admin"], False, "no-admin.default"),
    (["web", "my-app", "GET", "/cart/x/..%2fadmin"], False, None),
    (["web", "my-app", "GET", "/cart//admin"], False, None),
    (["other", "my-app", "GET", "/cart/1"], False, None),
    (["-", "my-app", "GET", "/x", "-H", "X-Tenant: a"], True, "readers.default"),
    (["spiffe://cluster.local/ns/default/sa/web", "my-app", "GET", "/cart"], True, "readers.default"),
    (["web", "my-app", "--tcp"], False, "no-admin.default"),
    (["web", "other"], True, None),
])
def test_can(mesh, words, allowed, policy):
    r = mesh.ctl("authz", "can", *words, "-o", "json", check=0 if allowed else 1)
    row = json.loads(r.stdout)[0]
    assert row["verdict"] == ("ALLOWED" if allowed else "DENIED") and row.get("policy") == policy


def test_can_agrees_with_what_the_proxy_does(mesh, workdir):
    server = kvmesh.Nginx(workdir, "v1")
    try:
        mesh.workload("my-app", server.port, serviceAccount="my-app")
        mesh.start()
        node = "cluster.local/ns/kvmesh-system/sa/test-1"
        for path, headers in [("/cart/1", {}), ("/cart/admin", {"X-Tenant": "a"}), ("/cart/1", {"X-Tenant": "a"}), ("/cart//admin", {"X-Tenant": "a"})]:
            words = [w for k, v in headers.items() for w in ("-H", f"{k}: {v}")]
            can = mesh.ctl("authz", "can", node, "my-app", "GET", path, *words).returncode == 0
            assert can == (mesh.get("my-app", path, headers=headers).status == 200), (path, headers)
    finally:
        mesh.stop()
        server.stop()


@pytest.mark.parametrize("key", ["request.headers[Host]", "request.headers[:authority]"])
def test_2_11_13_host_is_a_header_of_every_protocol(mesh, key):
    mesh.write("mesh.d/authz.yaml", f"""\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: by-host }}
spec: {{ rules: [ {{ when: [ {{ key: "{key}", values: [ shop.example ] }} ] }} ] }}
""")
    assert mesh.ctl("authz", "can", "-", "my-app", "-H", "Host: shop.example").returncode == 0
    assert mesh.ctl("authz", "can", "-", "my-app", "-H", "Host: other.example").returncode == 1
