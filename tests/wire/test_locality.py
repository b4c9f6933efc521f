# SPDX-License-Identifier: Apache-2.0
"""Localities (semantics 2.8.10 to 2.8.12): near endpoints first, failover as they fail, weights between places."""

import pytest

import kvmesh

PLACES = {"near": "eu/fra/a", "zone": "eu/fra/b", "region": "eu/ber/c", "us": "us/nyc/x", "asia": "asia/sin/y"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    d = tmp_path_factory.mktemp("locality")
    d.chmod(0o755)
    fail = "location /fail { return 500; } location /only-near-fails { return %d; }"
    servers = {n: kvmesh.Nginx(d, n, extra=fail % (500 if n == "near" else 200)) for n in PLACES}
    mesh = kvmesh.Mesh(d / "mesh")
    conf = (mesh.etc / "kvmesh.conf").read_text()
    mesh.write("kvmesh.conf", conf.replace('node = {', 'node = { locality = "eu/fra/a";'))
    for name, place in PLACES.items():
        mesh.workload(name, servers[name].port, {"app": "app", "tier": "gold" if name == "asia" else "iron"}, locality=place)
    mesh.service("app", 80, "http")
    mesh.start()
    yield mesh
    for x in [mesh, *servers.values()]:
        x.stop()


OUTLIER = "outlierDetection: { consecutive5xxErrors: 1, baseEjectionTime: 300s, maxEjectionPercent: 100 }"


def use(mesh, locality="", outlier=OUTLIER):
    # a new name each time: another cluster, with no memory of ejections
    lb = f"loadBalancer: {{ simple: ROUND_ROBIN, localityLbSetting: {{ {locality} }} }}" if locality else ""
    policy = ", ".join(x for x in (lb, outlier) if x) or "connectionPool: { tcp: { maxConnections: 100 } }"
    use.n = getattr(use, "n", 0) + 1
    mesh.write("mesh.d/10-app.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: app }}
spec: {{ host: app, subsets: [ {{ name: s{use.n}, trafficPolicy: {{ {policy} }} }} ] }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: app }}
spec: {{ hosts: [ app ], http: [ {{ route: [ {{ destination: {{ host: app, subset: s{use.n} }} }} ], retries: {{ attempts: 0 }} }} ] }}
""")
    mesh.ctl("config", "reload", "--wait", check=0)


def who(mesh, n=40):
    got = [mesh.get("app").text.strip() for _ in range(n)]
    return {name: got.count(name) for name in PLACES if name in got}


def fail_one(mesh):
    """The endpoint that answers is ejected by its first failure."""
    assert mesh.get("app", "/fail").status == 500


def test_2_8_10_the_nearest_first_then_further_away(world):
    use(world)
    order = []
    for _ in range(3):
        got = who(world)
        assert len(got) == 1, got
        order += got
        fail_one(world)
    assert order == ["near", "zone", "region"]
    assert set(who(world)) == {"us", "asia"}


def test_2_8_10_only_with_outlier_detection(world):
    use(world, outlier="")
    assert set(who(world, 80)) == set(PLACES)
    use(world, "enabled: false")
    assert set(who(world, 80)) == set(PLACES)


def test_2_8_10_a_region_that_takes_over(world):
    use(world, "failover: [ { from: eu, to: asia } ]")
    for _ in range(3):
        fail_one(world)
    assert set(who(world)) == {"asia"}


def test_2_8_12_failover_priority(world):
    use(world, "failoverPriority: [ tier=gold, topology.kubernetes.io/region ]")
    assert set(who(world)) == {"asia"}, "the first key decides"
    fail_one(world)
    assert set(who(world, 60)) == {"near", "zone", "region", "us"}, "all others fail the first key alike"


def test_2_8_11_distribute(world):
    use(world, 'distribute: [ { from: "eu/fra/*", to: { "eu/fra/*": 75, "us/*": 25 } } ]', outlier="")
    got = who(world, 400)
    assert set(got) == {"near", "zone", "us"}
    # smooth round robin: exact up to one turn for each worker
    assert abs(got["us"] - 100) <= 8 and abs(got["near"] - got["zone"]) <= 8, got


def test_retry_remote_localities(world):
    """The nearest fails twice, the third try goes further away; without it every try stays where it is healthy."""
    use(world)
    for remote, status in (("true", 200), ("false", 500)):
        world.write("mesh.d/10-app.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: app }}
spec: {{ host: app, subsets: [ {{ name: remote{remote}, trafficPolicy: {{ outlierDetection: {{ consecutive5xxErrors: 100 }} }} }} ] }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: app }}
spec:
  hosts: [ app ]
  http:
  - route: [ {{ destination: {{ host: app, subset: remote{remote} }} }} ]
    retries: {{ attempts: 2, retryOn: 5xx, retryRemoteLocalities: {remote}, backoff: 1ms }}
""")
        world.ctl("config", "reload", "--wait", check=0)
        r = world.get("app", "/only-near-fails")
        assert r.status == status
        assert (r.headers["x-backend"] == "near") == (status == 500)
