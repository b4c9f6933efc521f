# SPDX-License-Identifier: Apache-2.0
"""The walk through an egress gateway, as docs/gateway.md has it: mesh caller, gateway over mTLS, a real nginx outside under its own
authority. All in a network namespace with an address for the outside, and captured callers where applications speak TLS."""

import os
import re
import subprocess

import pytest

import kvmesh
import outside
import pki
from kvmesh import wait_for

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="network namespaces need root")

OUTSIDE = "192.0.2.10"
NOBODY = 65534


def example(name):
    """A block of docs/gateway.md."""
    text = (kvmesh.TOP / "docs" / "gateway.md").read_text()
    return re.search(rf"<!-- example: {name} -->\n```yaml\n(.*?)```", text, re.S)[1]


class Walk:
    def __init__(self, directory):
        self.dir = directory
        self.name = f"kvm-egress-{os.getpid()}-{kvmesh.free_port()}"
        self.ip("netns", "add", self.name)
        self.ip("-n", self.name, "link", "set", "lo", "up")
        self.ip("-n", self.name, "addr", "add", f"{OUTSIDE}/32", "dev", "lo")
        self.inside = ["ip", "netns", "exec", self.name]
        self.outbound = kvmesh.free_port()
        self.mesh = kvmesh.Mesh(directory / "mesh", outbound_port=self.outbound,
                                conf='accessLogFile = "/dev/stdout"; accessLogEncoding = "JSON"; outboundTrafficPolicy = { mode = "REGISTRY_ONLY"; };')
        self.mesh.workload("app", kvmesh.free_port(), user="nobody")
        self.mesh.write("mesh.d/egress.yaml", example("egress"))
        self.ca = pki.Authority(directory / "pki", "their-own")
        self.hosts = directory / "hosts"
        self.hosts.write_text(f"127.0.0.1 localhost\n{OUTSIDE} api.pay.example login.bank.example other.bank.example\n")
        self.server = outside.TlsNginx(directory, "theirs", self.ca, "DNS:api.pay.example", "DNS:login.bank.example", "DNS:other.bank.example",
                                       inside=self.inside, address=OUTSIDE, port=443)

    @staticmethod
    def ip(*args):
        subprocess.run(["ip", *map(str, args)], check=True, capture_output=True)

    def run(self, *args, user=None, **kw):
        return subprocess.run([*self.inside, *(["setpriv", "--reuid", str(user), "--clear-groups", "--"] if user else []), *map(str, args)],
                              capture_output=True, text=True, timeout=kvmesh.DEADLINE, **kw)

    def capture(self):
        """Connections of nobody are led to the outbound port."""
        rules = f"meta skuid {NOBODY} tcp dport 443 redirect to :{self.outbound}"
        r = self.run("nft", "-f", "-", input=f"table ip walk {{\nchain out {{\ntype nat hook output priority -100;\n{rules}\n}}\n}}\n")
        assert r.returncode == 0, r.stderr

    def start(self, *examples, edit=lambda text: text):
        for name in examples:
            self.mesh.write(f"mesh.d/{name}.yaml", edit(example(name).replace("/etc/kvmesh/", f"{self.mesh.etc}/")))
        m = self.mesh
        run = [kvmesh.tool("kvmeshctl"), "run", "--etc", m.etc, "--run", m.run, "--state", m.state]
        script = f'mount --bind {self.hosts} /etc/hosts && exec "$@"'
        m.process = kvmesh.Process([*self.inside, "unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *run], m.dir / "run.log")
        m.wait_ready()
        out = m.ctl("config", "test")
        assert out.returncode == 0 and "warning" not in out.stdout + out.stderr, out.stdout + out.stderr

    def curl(self, url, *args):
        return self.run("curl", "-sS", "-m", "30", *args, url, user=NOBODY)

    def records(self):
        return [line for line in self.mesh.text().splitlines() if '"response_flags"' in line]

    def close(self):
        self.mesh.stop()
        self.server.stop()
        self.ip("netns", "del", self.name)


@pytest.fixture
def walk(workdir):
    w = Walk(workdir)
    yield w
    w.close()


def trust(walk, ca, name="pay"):
    to = walk.mesh.etc / "tls" / name
    to.mkdir(parents=True)
    (to / "ca.crt").write_bytes(ca.crt.read_bytes())


def test_the_walk_with_tls_from_the_gateway_on(walk):
    trust(walk, walk.ca)
    walk.start("egress-origination")
    proxy = ["-x", f"http://127.0.0.1:{walk.mesh.http_port}"]
    r = walk.curl("http://api.pay.example/x", *proxy)
    assert r.returncode == 0, r
    assert r.stdout.splitlines()[:3] == ["theirs", "sni=api.pay.example", "host=api.pay.example"], r.stdout

    def leg(cluster):
        return [line for line in walk.records() if f'"upstream_cluster":"{cluster}"' in line]
    wait_for("a record of each leg", lambda: leg("outbound|80|pay|egressgateway.default.svc.cluster.local") and leg("outbound|443||api.pay.example"))
    (gate,) = leg("outbound|443||api.pay.example")
    assert '"requested_server_name":"api.pay.example"' in gate and f'"upstream_host":"{OUTSIDE}:443"' in gate, gate

    def series():
        text = walk.run("curl", "-s", f"http://127.0.0.1:{walk.mesh.metrics_port}/metrics").stdout
        return (re.search(r'istio_requests_total\{[^}]*reporter="source"[^}]*source_workload="app"[^}]*destination_service_name="egressgateway"'
                          r'[^}]*connection_security_policy="mutual_tls"', text)
                and re.search(r'istio_requests_total\{[^}]*reporter="source"[^}]*source_workload="egressgateway"[^}]*destination_service_name="api.pay.example"', text))
    wait_for("both legs are measured", series)
    # the host has its own authority, and no other will do
    assert walk.curl("http://other.bank.example/", *proxy, "-o", "/dev/null", "-w", "%{http_code}").stdout == "502"
    # who may call out is the gateway's policy
    walk.mesh.write("mesh.d/policy.conf", """
AuthorizationPolicy = { name = "out"; selector = { matchLabels = { istio = "egressgateway"; }; }; action = "ALLOW";
  rules = ( { from = ( { source = { principals = [ "cluster.local/ns/default/sa/else" ]; }; } ); } ); };
""")
    wait_for("the policy is in force", lambda: walk.curl("http://api.pay.example/", *proxy, "-o", "/dev/null", "-w", "%{http_code}").stdout == "403")
    n = walk.server.requests()
    walk.mesh.write("mesh.d/policy.conf", """
AuthorizationPolicy = { name = "out"; selector = { matchLabels = { istio = "egressgateway"; }; }; action = "ALLOW";
  rules = ( { from = ( { source = { principals = [ "cluster.local/ns/default/sa/app" ]; }; } );
              to = ( { operation = { hosts = [ "api.pay.example" ]; methods = [ "GET" ]; }; } ); } ); };
""")
    wait_for("app may", lambda: walk.curl("http://api.pay.example/", *proxy, "-o", "/dev/null", "-w", "%{http_code}").stdout == "200")
    assert walk.curl("http://api.pay.example/", *proxy, "-X", "POST", "-o", "/dev/null", "-w", "%{http_code}").stdout == "403"
    assert walk.server.requests() == n + 1
    walk.mesh.assert_sound()


def test_the_walk_checks_the_host_outside(walk):
    """An authority that did not sign the host's certificate: 503, and nothing is sent there."""
    trust(walk, pki.Authority(walk.dir / "pki", "wrong"))
    walk.start("egress-origination")
    r = walk.curl("http://api.pay.example/", "-x", f"http://127.0.0.1:{walk.mesh.http_port}", "-o", "/dev/null", "-w", "%{http_code}")
    assert r.stdout == "503"
    assert walk.server.requests() == 0
    wait_for("the record says why", lambda: any("certificate" in line for line in walk.records()))


def tls_curl(walk, host, *args):
    return walk.curl(f"https://{host}/", "--resolve", f"{host}:443:{OUTSIDE}", "--cacert", walk.ca.crt, *args)


def check_passed_on(walk):
    r = tls_curl(walk, "login.bank.example")
    assert r.returncode == 0, r
    assert r.stdout.splitlines()[:3] == ["theirs", "sni=login.bank.example", "host=login.bank.example"], r.stdout
    wait_for("both legs are recorded", lambda: len([x for x in walk.records() if "login.bank.example" in x]) >= 2)
    clusters = [m[1] for x in walk.records() if (m := re.search(r'"upstream_cluster":"([^"]*)"', x))]
    assert any(c.startswith("outbound|443|") and "egressgateway" in c for c in clusters) and "outbound|443||login.bank.example" in clusters
    assert tls_curl(walk, "other.bank.example").returncode != 0
    assert walk.server.requests() == 1
    walk.mesh.assert_sound()


def test_the_walk_with_tls_of_the_application_passed_on(walk):
    walk.start("egress-passthrough")
    walk.capture()
    check_passed_on(walk)


def test_the_walk_with_tls_of_the_application_inside_mtls(walk):
    """The variant that the page tells in words."""
    def inside(text):
        text = text.replace("mode: PASSTHROUGH", "mode: ISTIO_MUTUAL")
        start = text.index("  - match: [ { gateways: [ egress-tls ]")
        return text[:start] + """\
  tcp:
  - match: [ { gateways: [ egress-tls ], port: 443 } ]
    route: [ { destination: { host: login.bank.example, port: { number: 443 } } } ]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: egressgateway }
spec: { host: egressgateway, trafficPolicy: { tls: { mode: ISTIO_MUTUAL, sni: login.bank.example } } }
"""
    walk.start("egress-passthrough", edit=inside)
    walk.capture()
    check_passed_on(walk)
