# SPDX-License-Identifier: Apache-2.0
"""Outlier detection (semantics 2.8.8, 2.8.9): endpoints that fail in a row are left out, come back, and never all by
default. No time is asserted: conditions are waited for."""

import json

import pytest

import kvmesh
from kvmesh import wait_for

DR = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: app }}
spec:
  host: app
  trafficPolicy: {{ loadBalancer: {{ simple: ROUND_ROBIN }}, outlierDetection: {{ {rules} }} }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: app }}
spec: {{ hosts: [ app ], http: [ {{ route: [ {{ destination: {{ host: app }} }} ], retries: {{ attempts: 0 }} }} ] }}
"""


@pytest.fixture
def pool(workdir):
    """pool(rules, good=2, bad=1, dead=0) -> mesh: `bad` endpoints answer 500 to everything, `dead` ones refuse."""
    opened = []

    def make(rules, good=2, bad=1, dead=0, status=500):
        mesh = kvmesh.Mesh(workdir / "mesh", "defaultConfig = { concurrency = 1; };")
        opened.append(mesh)
        for i in range(good + bad):
            answer = f"error_page {status} =;" if i < good else ""
            server = kvmesh.Nginx(workdir, f"n{i}", extra=f"location /app {{ {answer} return {200 if i < good else status} 'n{i}'; }}")
            opened.append(server)
            mesh.workload(f"n{i}", server.port, {"app": "app"})
        for i in range(dead):
            mesh.workload(f"d{i}", kvmesh.free_port(), {"app": "app"})
        mesh.service("app", 80, "http")
        mesh.write("mesh.d/10-dr.yaml", DR.format(rules=rules))
        return mesh.start()

    yield make
    for x in reversed(opened):
        x.stop()


def statuses(mesh, n):
    return [mesh.get("app", "/app").status for _ in range(n)]


def endpoints(mesh):
    d = mesh.call("proxy/node.sock", "Dump", {"what": "endpoints"})["parameters"]
    return {e["workload"]: e for e in json.loads(json.dumps(d))["endpoints"] if "|app." in e["cluster"]}


def ejected(mesh):
    return sorted(name for name, e in endpoints(mesh).items() if e["health"] == "EJECTED")


def test_2_8_8_an_endpoint_that_fails_in_a_row_is_left_out(pool):
    mesh = pool("consecutive5xxErrors: 3, baseEjectionTime: 300s")
    got = statuses(mesh, 30)
    assert got.count(500) == 3, "the third failure in a row is the last one: one may always be ejected"
    assert ejected(mesh) == ["n2"]
    assert statuses(mesh, 10) == [200] * 10
    assert "kvmesh_endpoint_ejections_total" in wait_for("the count", lambda: mesh.metrics())


def test_2_8_8_successes_in_between_count_from_zero(pool):
    mesh = pool("consecutive5xxErrors: 5, consecutiveGatewayErrors: 2, baseEjectionTime: 300s", status=500)
    assert statuses(mesh, 12).count(500) == 4, "500 is no gateway error"
    assert statuses(mesh, 12).count(500) == 1


def test_2_8_8_gateway_errors(pool):
    mesh = pool("consecutive5xxErrors: 0, consecutiveGatewayErrors: 2, baseEjectionTime: 300s", status=502)
    assert statuses(mesh, 30).count(502) == 2


def test_2_8_8_it_comes_back(pool):
    mesh = pool("consecutive5xxErrors: 2, baseEjectionTime: 0.2s, interval: 1s")
    assert 500 in statuses(mesh, 9)
    wait_for("the endpoint to be tried again", lambda: mesh.get("app", "/app").status == 500)
    wait_for("a second ejection", lambda: statuses(mesh, 3) and ejected(mesh) == ["n2"])


def test_2_8_8_no_more_than_allowed(pool):
    mesh = pool("consecutive5xxErrors: 1, baseEjectionTime: 300s, maxEjectionPercent: 50", good=1, bad=3)
    statuses(mesh, 40)
    assert len(ejected(mesh)) == 2
    assert statuses(mesh, 20).count(500) == 10


def test_2_8_8_endpoints_that_refuse(pool):
    mesh = pool("consecutive5xxErrors: 2, baseEjectionTime: 300s", good=2, bad=0, dead=1)
    assert statuses(mesh, 30).count(503) == 2
    assert ejected(mesh) == ["d0"]


@pytest.mark.parametrize("percent,status", [(0, 503), (50, 500)])
def test_2_8_9_all_ejected(pool, percent, status):
    mesh = pool(f"consecutive5xxErrors: 1, baseEjectionTime: 300s, maxEjectionPercent: 100, minHealthPercent: {percent}", good=0, bad=2)
    statuses(mesh, 4)
    assert statuses(mesh, 3) == [status] * 3


@pytest.mark.parametrize("codes,left_out", [("[ 429, 503 ]", True), ("[ 500, 503 ]", False)])
def test_2_8_8_which_codes_count(pool, codes, left_out):
    mesh = pool(f"consecutive5xxErrors: 2, baseEjectionTime: 300s, outlierDetectionHttpErrorCodes: {codes}", status=429)
    assert statuses(mesh, 30).count(429) == (2 if left_out else 10)
