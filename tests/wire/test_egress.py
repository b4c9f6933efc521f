# SPDX-License-Identifier: Apache-2.0
"""Calls to hosts that nobody declared, or that only a request names (rules 2.3.13, 2.15.1, 2.15.6): by name on the explicit
port, with a DNS server of the test's own. What a Sidecar says of them: test_sidecar.py."""

import os
import socket
import subprocess

import pytest

import kvmesh
from dnsserver import DnsServer
from kvmesh import wait_for
from outside import TlsNginx
from pki import Authority

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="a resolv.conf of its own needs a mount namespace")

WHO = 'location /who { default_type text/plain; return 200 "$server_addr $http_host\\n"; }'


class Out:
    def __init__(self, workdir, ttl, conf, node=""):
        self.dns = DnsServer(ttl)
        self.port = kvmesh.free_port()
        self.server = kvmesh.Nginx(workdir, "out", port=self.port, extra=f"listen 127.0.0.2:{self.port}; {WHO}")
        self.mesh = kvmesh.Mesh(workdir / "mesh", f'accessLogFile = "/dev/stdout"; {conf}')
        if node:
            text = (self.mesh.etc / "kvmesh.conf").read_text()
            self.mesh.write("kvmesh.conf", text.replace("node = {", f"node = {{ {node}"))

    def entry(self, name, host, resolution, more="", target=None):
        self.mesh.write(f"mesh.d/{name}.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: {name} }}
spec:
  hosts: [ "{host}" ]
  location: MESH_EXTERNAL
  resolution: {resolution}
  ports: [ {{ number: 80, name: http, protocol: HTTP, targetPort: {target or self.port} }} ]
  {more}
""")

    def who(self, name, port=None):
        host = f"{name}:{port}" if port else name
        r = self.mesh.get(host, "/who")
        return r.text.split()[0] if r.status == 200 else r.status

    def log(self, path):
        line = wait_for(f"log line of {path}", lambda: next(
            (x for x in self.mesh.text().splitlines() if f" {path} HTTP" in x), None))
        return line.split('" ', 1)[1].split()[:3], line

    def close(self):
        self.mesh.stop()
        self.server.stop()
        self.dns.close()


@pytest.fixture
def make(workdir):
    opened = []

    def start(records, prepare=None, ttl=1, conf="", node=""):
        o = Out(workdir, ttl, conf, node)
        opened.append(o)
        o.dns.records.update(records)
        if prepare:
            prepare(o)
        o.dns.start(o.mesh)
        return o

    yield start
    for o in opened:
        o.close()


# ---- ALLOW_ANY ----------------------------------------------------------------------------------------------------

def test_2_3_13_a_name_that_nobody_declared_is_looked_up(make):
    o = make({"free.example": ["127.0.0.2"]})
    assert o.who("free.example", o.port) == "127.0.0.2"
    r = o.mesh.get(f"FREE.example:{o.port}", "/who")
    assert r.text.split()[1] == f"FREE.example:{o.port}", "the request goes on as it came"
    assert o.log("/who")[0][:2] == ["200", "-"] and "PassthroughCluster" in o.log("/who")[1]


def test_2_3_13_a_name_that_does_not_exist_is_503_DF(make):
    o = make({})
    r = o.mesh.get("nowhere.example", "/nowhere")
    assert (r.status, r.text) == (503, "DNS resolution failure")
    words, line = o.log("/nowhere")
    assert words == ["503", "DF", "dns_resolution_failure"] and "nowhere.example" in line


def test_a_changed_address_is_followed_and_a_failure_keeps_the_last(make):
    o = make({"free.example": ["127.0.0.1"]}, conf="defaultConfig = { concurrency = 1; };")
    assert o.who("free.example", o.port) == "127.0.0.1"
    o.dns.records["free.example"] = ["127.0.0.2"]
    wait_for("the new address", lambda: o.who("free.example", o.port) == "127.0.0.2")
    o.dns.refuse = True
    asked = o.dns.asked["free.example"]
    wait_for("a failed lookup", lambda: o.who("free.example", o.port) == "127.0.0.2" and o.dns.asked["free.example"] > asked)
    assert o.who("free.example", o.port) == "127.0.0.2"


def test_callers_that_come_together_ask_once(make):
    o = make({"free.example": ["127.0.0.1"]}, ttl=300, conf="defaultConfig = { concurrency = 1; };")
    for _ in range(20):
        assert o.who("free.example", o.port) == "127.0.0.1"
    assert o.dns.asked["free.example"] <= 2, "A and AAAA"


def test_remembered_names_are_so_many_and_no_more(make):
    names = [f"n{i}.example" for i in range(1100)]
    o = make({n: ["127.0.0.1"] for n in names}, ttl=300, conf="defaultConfig = { concurrency = 1; };")
    once = None
    for n in names:
        assert o.who(n, o.port) == "127.0.0.1"
        once = once or o.dns.asked[n]
    assert o.who(names[-1], o.port) == "127.0.0.1" and o.dns.asked[names[-1]] == once, "the newest is known"
    assert o.who(names[0], o.port) == "127.0.0.1" and o.dns.asked[names[0]] == 2 * once, "the oldest made room"
    o.mesh.assert_sound()


# ---- round and round -------------------------------------------------------------------------------------------------

def test_a_name_of_the_proxys_own_door_goes_nowhere(make):
    o = make({"me.example": ["127.0.0.1"]})
    for port in (o.mesh.http_port, o.mesh.mesh_port, o.mesh.ready_port):
        r = o.mesh.get(f"me.example:{port}", f"/round-{port}")
        assert r.status == 404
        assert o.log(f"/round-{port}")[0][:2] == ["404", "NR"]


def own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("192.0.2.1", 9))
        return s.getsockname()[0]


def test_nor_does_an_address_behind_a_wildcard_door(make):
    try:
        address = own_address()
    except OSError:
        pytest.skip("this host has no address but the loopback's")
    o = make({"me.example": [address]}, node='localBind = "0.0.0.0";')
    assert o.mesh.get(f"me.example:{o.mesh.http_port}", "/round").status == 404
    assert o.mesh.get(f"{address}:{o.mesh.http_port}", "/round").status == 404


# ---- REGISTRY_ONLY -----------------------------------------------------------------------------------------------------

def test_2_15_6_registry_only_answers_502_and_asks_nobody(make):
    o = make({"free.example": ["127.0.0.1"]}, conf='outboundTrafficPolicy = { mode = "REGISTRY_ONLY"; };')
    r = o.mesh.get(f"free.example:{o.port}", "/blocked")
    assert (r.status, r.text) == (502, "")
    words, line = o.log("/blocked")
    assert words == ["502", "-", "direct_response"] and "BlackHoleCluster" in line and "block_all" in line
    assert "free.example" not in o.dns.asked


def test_2_15_6_what_is_declared_is_reached_all_the_same(make):
    o = make({"free.example": ["127.0.0.2"]}, lambda o: o.entry("free", "free.example", "NONE"),
             conf='outboundTrafficPolicy = { mode = "REGISTRY_ONLY"; };')
    assert o.mesh.get("free.example", "/other").status == 503, "port 80 of that address: nobody listens"
    assert "127.0.0.2:80" in o.log("/other")[1]


# ---- resolutions ---------------------------------------------------------------------------------------------------------

def test_2_15_1_dynamic_dns_resolves_the_host_of_each_request(make):
    o = make({"a.cdn.example": ["127.0.0.1"], "b.cdn.example": ["127.0.0.2"]},
             lambda o: o.entry("cdn", "*.cdn.example", "DYNAMIC_DNS"))
    assert (o.who("a.cdn.example"), o.who("b.cdn.example"), o.who("a.cdn.example")) == ("127.0.0.1", "127.0.0.2", "127.0.0.1")
    assert o.who("c.cdn.example") == 503
    assert "outbound|80||*.cdn.example" in o.log("/who")[1]
    rows = o.mesh.ctl_json("proxy-config", "clusters")
    assert next(r for r in rows if "*.cdn.example" in r["name"])["type"] == "DYNAMIC_DNS"


def test_2_15_1_dynamic_dns_with_tls_of_a_destination_rule(make, workdir):
    ca = Authority(workdir / "ca")
    tls = TlsNginx(workdir, "shop.cdn.example", ca)

    def prepare(o):
        o.entry("cdn", "*.cdn.example", "DYNAMIC_DNS", target=tls.port)
        o.mesh.write("mesh.d/tls.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: cdn }}
spec: {{ host: "*.cdn.example", trafficPolicy: {{ tls: {{ mode: SIMPLE, caCertificates: {ca.crt} }} }} }}
""")
    try:
        o = make({"shop.cdn.example": ["127.0.0.1"], "evil.cdn.example": ["127.0.0.1"]}, prepare)
        r = o.mesh.get("shop.cdn.example")
        assert r.status == 200 and "sni=shop.cdn.example" in r.text
        assert o.mesh.get("evil.cdn.example", "/evil").status == 503, "the certificate is another name's"
        assert o.log("/evil")[0][:2] == ["503", "UF"]
    finally:
        tls.stop()


def test_2_15_1_dynamic_dns_by_the_server_name_of_tls(make, workdir):
    ca, door = Authority(workdir / "ca"), kvmesh.free_port()
    tls = TlsNginx(workdir, "shop.cdn.example", ca)

    def prepare(o):
        o.mesh.write("mesh.d/cdn.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: cdn }}
spec: {{ hosts: [ "*.cdn.example" ], location: MESH_EXTERNAL, resolution: DYNAMIC_DNS,
        ports: [ {{ number: {door}, name: tls, protocol: TLS, targetPort: {tls.port} }} ] }}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{ name: default }}
spec: {{ egress: [ {{ port: {{ number: {door}, protocol: TLS, name: tls }}, captureMode: NONE, hosts: [ ./*.cdn.example ] }} ] }}
""")

    def get(name):
        r = subprocess.run(["curl", "-sS", "--cacert", ca.crt, "--connect-to", f"::127.0.0.1:{door}", f"https://{name}/"],
                           capture_output=True, text=True, timeout=kvmesh.DEADLINE)
        return r.stdout
    try:
        o = make({"shop.cdn.example": ["127.0.0.1"]}, prepare)
        assert "sni=shop.cdn.example" in get("shop.cdn.example")
        assert get("gone.cdn.example") == "" and "gone.cdn.example" in o.dns.asked
    finally:
        tls.stop()


def test_2_15_1_dns_round_robin_has_one_address_at_a_time(make):
    o = make({"many.example": ["127.0.0.1", "127.0.0.2", "127.0.0.3"], "all.example": ["127.0.0.1", "127.0.0.2"]},
             lambda o: (o.entry("many", "many.example", "DNS_ROUND_ROBIN"), o.entry("all", "all.example", "DNS")))

    def endpoints(host):
        d = o.mesh.call("proxy/node.sock", "Dump", {"what": "endpoints"})["parameters"]
        return [e["address"] for e in d["endpoints"] if host in e["cluster"]]
    wait_for("the addresses", lambda: len(endpoints("all.example")) == 2)
    wait_for("one address", lambda: endpoints("many.example") == ["127.0.0.1"])
    o.dns.records["many.example"] = ["127.0.0.2"]
    wait_for("the other one", lambda: o.who("many.example") == "127.0.0.2")


def test_2_15_8_an_address_as_host_is_where_it_goes(make):
    o = make({})
    assert o.who("127.0.0.2", o.port) == "127.0.0.2"
