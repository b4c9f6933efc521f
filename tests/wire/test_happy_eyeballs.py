# SPDX-License-Identifier: Apache-2.0
"""A name with addresses of both families (RFC 8305): IPv6 first, the other beside it when that is slow, the first that connects
serves. Addresses that swallow every SYN stand for broken networks; connect timeouts are far longer than the tests' patience."""

import contextlib
import http.server
import json
import os
import socket
import threading

import pytest

import kvmesh
from kvmesh import wait_for
from test_dns import Resolving, ok

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="a resolv.conf of its own needs a mount namespace")

RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: out }}
spec:
  host: api.example
  trafficPolicy:
    connectionPool:
      tcp: {{ connectTimeout: {timeout}{more} }}
      http: {{ maxRequestsPerConnection: 1 }}
"""
BOTH = {"api.example": ["127.0.0.1", "::1"]}


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Hole:
    """A listener whose queue is full: the kernel drops what else comes."""

    def __init__(self, address, port):
        self.all = [socket.socket(family(address))]
        self.all[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.all[0].bind((address, port))
        self.all[0].listen(0)
        for _ in range(3):
            s = socket.socket(family(address))
            s.setblocking(False)
            s.connect_ex((address, port))
            self.all.append(s)
        with socket.socket(family(address)) as s, pytest.raises(TimeoutError):
            s.settimeout(1.2)
            s.connect((address, port))

    def close(self):
        for s in reversed(self.all):
            s.close()


class Six(http.server.ThreadingHTTPServer):
    """HTTP on ::1."""

    address_family = socket.AF_INET6

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    def __init__(self, port):
        super().__init__(("::1", port), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class World(Resolving):
    def __init__(self, workdir):
        super().__init__(workdir)
        self.log = workdir / "access.log"
        self.mesh.write("conf.d/log.conf", f'mesh = {{ accessLogFile = "{self.log}"; accessLogEncoding = "JSON"; }};\n')

    def begin(self, records=None, timeout="300s", more=""):
        self.dns.records.update(records or BOTH)
        self.mesh.write("mesh.d/rule.yaml", RULE.format(timeout=timeout, more=more))
        self.start()
        wait_for("the addresses", lambda: self.endpoints() != ["api.example"])
        return self

    def served(self, n):
        """Where the n requests so far went, without ports."""
        lines = wait_for("lines in the access log", lambda: (t := self.log.read_text().splitlines()) and len(t) >= n and t)
        return [x["upstream_host"].rpartition(":")[0].strip("[]") for x in map(json.loads, lines)]

    def own(self, name):
        families = self.mesh.call("proxy/node.sock", "Stats")["parameters"]["families"]
        return sum(series[-1] for f in families if f["name"] == name for series in f["series"])

    def dialling(self):
        """Connections to the service's port that are being made: in either family, the test's own left out."""
        mine = set()
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                mine.add(os.readlink(f"/proc/self/fd/{fd}"))
        n = 0
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            with open(table) as f:
                for line in list(f)[1:]:
                    v = line.split()
                    n += (v[2].endswith(":%04X" % self.server.port) and v[3] == "02"
                          and f"socket:[{v[9]}]" not in mine)
        return n


@pytest.fixture
def world(workdir):
    w = World(workdir)
    yield w
    w.mesh.assert_sound()
    w.close()


@pytest.fixture
def hole():
    """hole(address, port)"""
    made = []

    def make(kind, *where):
        made.append(kind(*where))
        return made[-1]
    yield make
    for x in made:
        with contextlib.suppress(OSError):
            x.close()


def test_an_ipv6_address_that_swallows_everything_costs_no_timeout(world, hole):
    hole(Hole, "::1", world.server.port)
    w = world.begin()
    assert w.endpoints() == ["::1"], "one endpoint, the IPv4 address stands behind it"
    assert ok(w)
    assert w.served(1) == ["127.0.0.1"]
    wait_for("the loser to be closed", lambda: w.dialling() == 0)


def test_an_ipv4_address_that_swallows_everything_is_not_even_asked(world, hole):
    world.server.stop()
    hole(Hole, "127.0.0.1", world.server.port)
    hole(Six, world.server.port)
    w = world.begin()
    assert ok(w)
    assert w.served(1) == ["::1"]


def test_an_address_that_lost_goes_last_and_the_other_way_round(world, hole):
    """Each request has a connection of its own. IPv6 recovers: IPv4 is used as long as it is remembered; when IPv4 then breaks,
    IPv6 takes over, and is first again."""
    six = hole(Hole, "::1", world.server.port)
    w = world.begin()
    assert ok(w)
    six.close()
    hole(Six, world.server.port)
    assert ok(w)
    assert w.served(2) == ["127.0.0.1"] * 2
    w.server.stop()
    hole(Hole, "127.0.0.1", w.server.port)
    assert ok(w) and ok(w)
    assert w.served(4)[2:] == ["::1"] * 2
    wait_for("the loser to be closed", lambda: w.dialling() == 0)


def test_a_refusing_ipv6_address_is_followed_by_the_other_at_once(world):
    """Nobody listens on ::1."""
    w = world.begin()
    assert ok(w) and w.served(1) == ["127.0.0.1"]


def test_a_circuit_breaker_of_one_connection_does_not_forbid_the_second_attempt(world, hole):
    hole(Hole, "::1", world.server.port)
    w = world.begin(more=", maxConnections: 1")
    assert ok(w) and w.served(1) == ["127.0.0.1"]
    wait_for("one connection or none in the count", lambda: w.own("kvmesh_upstream_connections") <= 1)


def test_when_both_swallow_everything_the_connect_timeout_ends_it(world, hole):
    hole(Hole, "::1", world.server.port)
    world.server.stop()
    hole(Hole, "127.0.0.1", world.server.port)
    w = world.begin(timeout="1s")
    r = w.mesh.get("api.example")
    assert r.status == 503 and b"connection timeout" in r.body
    wait_for("no attempt to be left", lambda: w.dialling() == 0 and w.own("kvmesh_upstream_connections") == 0)


def test_what_one_family_has_more_stands_by_itself(world):
    w = world.begin({"api.example": ["127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"]})
    wait_for("all of them", lambda: w.endpoints() == ["127.0.0.2", "127.0.0.3", "::1"])


@pytest.mark.parametrize("mute", [1, 28])
def test_a_dns_server_that_never_answers_for_one_family_does_not_hold_up_the_other(world, mute):
    world.dns.mute = (mute,)
    w = world.begin()
    assert w.endpoints() == ["127.0.0.1" if mute == 28 else "::1"]
