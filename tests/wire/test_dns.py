# SPDX-License-Identifier: Apache-2.0
"""ServiceEntries whose endpoints are names: looked up by the proxy, followed as they change, kept when that fails."""

import json
import os

import pytest

import kvmesh
from dnsserver import DnsServer
from kvmesh import wait_for

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="a resolv.conf of its own needs a mount namespace")

ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: out }}
spec:
  hosts: [ api.example ]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [ {{ number: 80, name: http, protocol: HTTP, targetPort: {port} }} ]
  {more}
"""


class Resolving:
    def __init__(self, workdir, hosts=""):
        self.dns = DnsServer()
        self.server = kvmesh.Nginx(workdir, "out")
        self.mesh = kvmesh.Mesh(workdir / "mesh")
        self.hosts = hosts

    def start(self, more=""):
        self.mesh.write("mesh.d/out.yaml", ENTRY.format(port=self.server.port, more=more))
        self.dns.start(self.mesh, self.hosts)
        return self

    def endpoints(self):
        d = self.mesh.call("proxy/node.sock", "Dump", {"what": "endpoints"})["parameters"]
        return sorted(e["address"] for e in json.loads(json.dumps(d))["endpoints"] if "api.example" in e["cluster"])

    def close(self):
        self.mesh.stop()
        self.server.stop()
        self.dns.close()


@pytest.fixture
def make(workdir):
    opened = []

    def start(records, more="", hosts=""):
        r = Resolving(workdir, hosts)
        opened.append(r)
        r.dns.records.update(records)
        return r.start(more)

    yield start
    for r in opened:
        r.close()


def ok(r):
    return r.mesh.get("api.example").status == 200


def test_a_name_is_looked_up_and_followed(make):
    r = make({"api.example": ["127.0.0.1"]})
    wait_for("an answer of the service", lambda: ok(r))
    r.dns.records["api.example"] = ["127.0.0.2", "127.0.0.1"]
    wait_for("both addresses", lambda: r.endpoints() == ["127.0.0.1", "127.0.0.2"])
    r.dns.records["api.example"] = ["127.0.0.3"]
    wait_for("only the new address", lambda: r.endpoints() == ["127.0.0.3"])


def test_a_failure_keeps_the_last_answer(make):
    r = make({"api.example": ["127.0.0.1"]})
    wait_for("an answer of the service", lambda: ok(r))
    r.dns.refuse = True
    asked = r.dns.asked["api.example"]
    wait_for("some failed lookups", lambda: r.dns.asked["api.example"] > asked + 1)
    assert ok(r) and r.endpoints() == ["127.0.0.1"]
    del r.dns.records["api.example"]
    r.dns.refuse = False
    asked = r.dns.asked["api.example"]
    wait_for("a lookup that finds no such name", lambda: r.dns.asked["api.example"] > asked)
    assert ok(r), "a name that is gone for a moment takes no service down"


def test_a_name_without_address_is_no_healthy_upstream_until_it_has_one(make):
    r = make({})
    assert r.mesh.get("api.example").status == 503
    r.dns.records["api.example"] = ["127.0.0.1"]
    wait_for("the service", lambda: ok(r))


def test_ipv6_when_there_is_no_ipv4(make):
    r = make({"api.example": ["::1"]})
    wait_for("the address", lambda: r.endpoints() == ["::1"])


def test_hosts_file_goes_first(make):
    r = make({"api.example": ["127.0.0.9"]}, hosts="127.0.0.1\tapi.example other # comment\n")
    wait_for("an answer of the service", lambda: ok(r))
    assert r.endpoints() == ["127.0.0.1"] and "api.example" not in r.dns.asked


def test_endpoints_by_name_and_a_reload(make):
    r = make({"a.example": ["127.0.0.1"], "b.example": ["127.0.0.2"]},
             "endpoints: [ { address: a.example }, { address: b.example, weight: 3 } ]")
    wait_for("both", lambda: r.endpoints() == ["127.0.0.1", "127.0.0.2"])
    text = (r.mesh.etc / "mesh.d/out.yaml").read_text()
    r.mesh.write("mesh.d/out.yaml", text.replace(", { address: b.example, weight: 3 }", ""))
    r.mesh.ctl("config", "reload", "--wait", check=0)
    assert r.endpoints() == ["127.0.0.1"], "known at once: nobody waits for a name twice"
    asked = r.dns.asked["b.example"]
    before = r.dns.asked["a.example"]
    wait_for("more lookups of what is left", lambda: r.dns.asked["a.example"] > before + 1)
    assert r.dns.asked["b.example"] <= asked + 2, "both kinds of a question that was under way"
