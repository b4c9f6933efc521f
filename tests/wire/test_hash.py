# SPDX-License-Identifier: Apache-2.0
"""Consistent hashing (semantics 2.8.3): the same key, the same endpoint."""

import pytest

import kvmesh

DR = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: app }}
spec: {{ host: app, trafficPolicy: {{ loadBalancer: {{ consistentHash: {{ {hash} }} }}, outlierDetection: {{ consecutive5xxErrors: 2, baseEjectionTime: 300s }} }} }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: app }}
spec: {{ hosts: [ app ], http: [ {{ route: [ {{ destination: {{ host: app }} }} ], retries: {{ attempts: 0 }} }} ] }}
"""
N = 5


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    d = tmp_path_factory.mktemp("hash")
    d.chmod(0o755)
    servers = [kvmesh.Nginx(d, f"n{i}", extra="location /fail { return 500; }") for i in range(N)]
    mesh = kvmesh.Mesh(d / "mesh", "defaultConfig = { concurrency = 2; };")
    for i, s in enumerate(servers):
        mesh.workload(f"n{i}", s.port, {"app": "app"})
    mesh.service("app", 80, "http")
    mesh.start()
    yield mesh
    for s in [mesh, *servers]:
        s.stop()


def by(mesh, text):
    mesh.write("mesh.d/10-dr.yaml", DR.format(hash=text))
    mesh.ctl("config", "reload", "--wait", check=0)


def who(mesh, path="/", **headers):
    r = mesh.get("app", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    assert r.status == 200
    return r.text.strip()


@pytest.mark.parametrize("algorithm", ["", ", ringHash: { minimumRingSize: 2048 }", ", maglev: {}", ", maglev: { tableSize: 1009 }"])
def test_2_8_3_a_header(mesh, algorithm):
    by(mesh, "httpHeaderName: X-User" + algorithm)
    homes = {u: {who(mesh, x_user=u) for _ in range(4)} for u in map(str, range(40))}
    assert all(len(h) == 1 for h in homes.values()), homes
    found = set.union(*homes.values()) | {who(mesh, x_user=u) for u in map(str, range(40, 140))}
    assert len(found) == N, "140 keys find all of 5 endpoints"
    assert len({who(mesh) for _ in range(60)}) == N, "no key: anywhere"


def test_2_8_3_a_query_parameter(mesh):
    by(mesh, "httpQueryParameterName: user")
    homes = {u: {who(mesh, f"/?a=1&user={u}&b={i}") for i in range(4)} for u in range(20)}
    assert all(len(h) == 1 for h in homes.values()) and len(set.union(*homes.values())) > 1


def test_2_8_3_the_source_address(mesh):
    by(mesh, "useSourceIp: true")
    assert len({who(mesh) for _ in range(20)}) == 1


def test_2_8_3_a_cookie_is_made_when_it_has_a_lifetime(mesh):
    by(mesh, "httpCookie: { name: stick, path: /shop, ttl: 3600s }")
    r = mesh.get("app")
    made = r.headers["set-cookie"]
    assert made.startswith("stick=") and "; Max-Age=3600" in made and "; Path=/shop" in made and made.endswith("; HttpOnly")
    cookie = made.partition(";")[0]
    again = [mesh.get("app", headers={"Cookie": f"a=b; {cookie}; c=d"}) for _ in range(6)]
    assert {x.text.strip() for x in again} == {r.text.strip()} and not any("set-cookie" in x.headers for x in again)
    by(mesh, "httpCookie: { name: stick }")
    assert "set-cookie" not in mesh.get("app").headers
    by(mesh, "httpCookie: { name: stick, ttl: 0s }")
    assert "Max-Age" not in mesh.get("app").headers["set-cookie"], "a session cookie"


def test_2_8_3_an_ejected_endpoint_gives_its_keys_to_others(mesh):
    by(mesh, "httpHeaderName: x-user")
    homes = {u: who(mesh, x_user=u) for u in map(str, range(40))}
    victim = homes["0"]
    for _ in range(2):
        assert mesh.get("app", "/fail", headers={"x-user": "0"}).status == 500
    moved = {u: who(mesh, x_user=u) for u in homes}
    assert all(moved[u] == h for u, h in homes.items() if h != victim)
    assert victim not in moved.values()


def test_2_8_3_attributes_of_the_cookie(mesh):
    by(mesh, "httpCookie: { name: stick, ttl: 0s, attributes: [ { name: SameSite, value: Lax }, { name: Secure } ] }")
    assert mesh.get("app").headers["set-cookie"].endswith("; HttpOnly; SameSite=Lax; Secure")
