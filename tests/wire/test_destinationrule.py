# SPDX-License-Identifier: Apache-2.0
"""DestinationRule (semantics 2.7 to 2.9) beyond what test_outlier, test_hash and test_locality show."""

import http.server
import math
import threading
import time

import pytest

import kvmesh
from kvmesh import wait_for

RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: app }}
spec: {{ host: app, trafficPolicy: {{ {policy} }} }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: app }}
spec: {{ hosts: [ app ], http: [ {{ route: [ {{ destination: {{ host: app }} }} ], retries: {{ attempts: 0 }} }} ] }}
"""


class App:
    """A mesh with one worker and a service `app` of as many nginx as are asked for."""

    def __init__(self, directory, policy, n):
        self.dir = directory
        self.servers = []
        self.mesh = kvmesh.Mesh(directory / "mesh", "defaultConfig = { concurrency = 1; };")
        self.mesh.service("app", 80, "http")
        self.mesh.write("mesh.d/10-app.yaml", RULE.format(policy=policy))
        for _ in range(n):
            self.add(reload=False)
        self.mesh.start()

    def add(self, reload=True):
        name = f"n{len(self.servers)}"
        server = kvmesh.Nginx(self.dir, name, extra="location /fail { return 500; }")
        self.servers.append(server)
        self.mesh.workload(name, server.port, {"app": "app"})
        if reload:
            self.reload()

    def reload(self):
        self.mesh.ctl("config", "reload", "--wait", check=0)

    def use(self, policy):
        self.mesh.write("mesh.d/10-app.yaml", RULE.format(policy=policy))
        self.reload()

    def who(self, n, path="/"):
        """How many of n requests each endpoint has answered."""
        c = self.mesh.connect()
        got = {}
        for _ in range(n):
            c.request("GET", path, headers={"Host": "app"})
            r = c.getresponse()
            r.read()
            got[r.headers["x-backend"]] = got.get(r.headers["x-backend"], 0) + 1
        c.close()
        return got

    def stop(self):
        for x in [self.mesh, *self.servers]:
            x.stop()


@pytest.fixture
def app(workdir):
    opened = []

    def make(policy, n=2):
        opened.append(App(workdir, policy, n))
        return opened[0]

    yield make
    for x in opened:
        x.stop()


def within(got, n, share, sd=5):
    """The bound is five standard deviations: missed once in 1.7 million runs."""
    return abs(got - n * share) <= sd * math.sqrt(n * share * (1 - share))


# ---- 2.8.13: warm-up ---------------------------------------------------------------------------------------------

def test_2_8_13_a_new_endpoint_begins_with_a_small_share(app):
    # ten hours: what a test takes is nothing of it, so that the share stays at the minimum
    a = app("loadBalancer: { simple: ROUND_ROBIN, warmup: { duration: 36000s, minimumPercent: 25 } }", 1)
    a.add()
    got = a.who(250)
    assert abs(got["n1"] - 50) <= 1, f"25 of 125, smoothly interleaved: {got}"


def test_2_8_13_with_least_request(app):
    a = app("loadBalancer: { warmupDurationSecs: 36000s }", 1)
    a.add()
    got = a.who(1100)
    assert within(got["n1"], 1100, 1 / 11), f"10 of 110 by lot: {got}"


def test_2_8_13_endpoints_that_come_together_are_equal(app):
    a = app("loadBalancer: { simple: ROUND_ROBIN, warmup: { duration: 36000s } }", 3)
    assert set(a.who(90).values()) == {30}


def test_2_8_13_after_the_duration_it_has_its_share(app):
    a = app("loadBalancer: { simple: ROUND_ROBIN, warmup: { duration: 1s, minimumPercent: 1 } }", 2)
    a.add()
    wait_for("equal shares", lambda: set(a.who(60).values()) == {20})


def test_2_8_13_not_with_other_algorithms(app):
    a = app("loadBalancer: { simple: RANDOM, warmup: { duration: 36000s } }", 1)
    a.add()
    assert within(a.who(400)["n1"], 400, 1 / 2)
    assert "KVM0133" in a.mesh.ctl("analyze").stdout


def test_2_8_13_who_comes_back_from_an_ejection_begins_anew(app):
    a = app("loadBalancer: { simple: ROUND_ROBIN, warmup: { duration: 36000s } }, "
            "outlierDetection: { consecutive5xxErrors: 1, baseEjectionTime: 1s, maxEjectionPercent: 1 }")
    (ejected,) = a.who(1, "/fail")
    wait_for("its return", lambda: ejected in a.who(22))
    got = a.who(220)
    assert abs(got[ejected] - 20) <= 1, got


# ---- our own: EWMA -----------------------------------------------------------------------------------------------

class Slow(http.server.ThreadingHTTPServer):
    """Answers after self.delay seconds."""

    daemon_threads = True

    def __init__(self, name):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                time.sleep(self.server.delay)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.send_header("x-backend", name)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.name, self.delay = name, 0.0
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def test_ewma_a_slow_endpoint_gets_few_requests_and_recovers(app):
    a = app("loadBalancer: { simple: EWMA }", 0)
    servers = [Slow(n) for n in ("a", "b", "slow")]
    slow = servers[2]
    try:
        for s in servers:
            s.delay = 0.2 if s is slow else 0.02
            a.mesh.workload(s.name, s.server_address[1], {"app": "app"})
        a.reload()
        got = a.who(150)
        assert 1 <= got["slow"] <= 15, f"once to find out, and hardly again; a fair share is 50: {got}"
        slow.delay = 0.02
        # what is known of it falls to a tenth in 23 s
        wait_for("its share to be back", lambda: a.who(30).get("slow", 0) >= 4)
    finally:
        for s in servers:
            s.shutdown()
            s.server_close()


def test_ewma_failing_fast_attracts_nobody(app):
    a = app("loadBalancer: { simple: EWMA }")
    a.mesh.workload("dead", kvmesh.free_port(), {"app": "app"})
    a.reload()
    got = [a.mesh.get("app").status for _ in range(60)]
    assert got.count(503) <= 2 and set(got) == {200, 503}, got


def test_ewma_is_told_to_be_our_own(app):
    a = app("loadBalancer: { simple: EWMA }")
    a.mesh.write("mesh.d/20-native.conf", 'DestinationRule = { name = "other"; host = "app"; subsets = ( { name = "s"; '
                 'trafficPolicy = { loadBalancer = { simple = "EWMA"; }; }; } ); };')
    found = a.mesh.ctl("analyze", check=0).stdout
    assert found.count("KVM0902") == 2, found
