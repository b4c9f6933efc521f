# SPDX-License-Identifier: Apache-2.0
"""Data residency: egressPolicy in kvmesh.conf decides where data may leave for, by the address that is dialled. Each way round it
that docs/residency.md names has its test. All in a network namespace with public-looking addresses; the database of
countries is made here (tests/lib/mmdb.py)."""

import contextlib
import json
import os
import subprocess

import pytest

import kvmesh
import mmdb
from dnsserver import DnsServer
from kvmesh import wait_for
from netns import Netns, ip
from server import Server

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="network namespaces need root")

DE, US, FR, NOWHERE = "203.0.113.1", "198.51.100.1", "203.0.113.200", "192.0.2.1"
DE6, US6 = "2001:db8:de::1", "2001:db8:a::1"
COUNTRIES = {"203.0.113.0/24": "DE", f"{FR}/32": "FR", "198.51.100.0/24": "US", "2001:db8:de::/48": "DE", "2001:db8:a::/48": "US"}
FAR = "203.0.113.77"                     # stands for a tunnel, nobody is there
NOBODY = 65534
POLICY = 'allowCountries = [ "DE", "FR" ];'


GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: edge, namespace: default }
spec:
  selector: { istio: edge }
  servers: [ { port: { number: %d, name: http, protocol: HTTP }, hosts: [ "*" ] } ]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: edge, namespace: default }
spec:
  hosts: [ "*" ]
  gateways: [ edge ]
  http:
  - { match: [ { headers: { to: { exact: de } } } ], route: [ { destination: { host: de.example, port: { number: %d } } } ] }
  - route: [ { destination: { host: us.example, port: { number: %d } } } ]
"""


class Echo(Server):
    def __init__(self):
        super().__init__(address="0.0.0.0")

    def serve(self, connection):
        with connection, contextlib.suppress(OSError):
            while piece := connection.recv(65536):
                connection.sendall(piece)


class World:
    def __init__(self, d):
        self.dir, self.dns, self.port = d, DnsServer(1), kvmesh.free_port()
        self.tcp, self.outbound = kvmesh.free_port(), kvmesh.free_port()
        # nginx forks nothing per address: it listens on all of them
        where = f"location /where {{ default_type text/plain; return 200 $server_addr; }}"
        away = f"location /away {{ return 302 http://{US}:{self.port}/where; }}"
        self.nginx = kvmesh.Nginx(d, "out", port=self.port, extra="".join(
            f"listen {f'[{a}]' if ':' in a else a}:{self.port};" for a in (DE, US, FR, NOWHERE, DE6, US6)) + where + away)
        self.echo = Echo()
        self.db = d / "countries.mmdb"
        mmdb.write(self.db, COUNTRIES)
        self.mesh = kvmesh.Mesh(d / "mesh", 'accessLogFile = "/dev/stdout"; defaultConfig = { concurrency = 1; };',
                                outbound_port=self.outbound)
        self.mesh.workload("app", kvmesh.free_port(), user="nobody")
        self.policy()
        self.dns.records.update({"de.example": [DE], "us.example": [US], "mixed.example": [US, DE], "six.example": [US6]})
        for host in ("de", "us", "mixed"):
            self.entry(host)
        self.entry("wild", hosts='"*.dyn.example"', resolution="DYNAMIC_DNS")
        self.edge = kvmesh.free_port()
        self.mesh.write("workloads.d/edge.conf", 'Workload = { name = "edge"; namespace = "default"; gateway = true; labels = { istio = "edge"; }; };\n')
        self.mesh.write("mesh.d/gateway.yaml", GATEWAY % (self.edge, self.port, self.port))
        self.dns.start(self.mesh)
        table = f"table ip t {{ chain out {{ type nat hook output priority -100; meta skuid {NOBODY} tcp dport {{ {self.port}, {self.echo.port} }} redirect to :{self.outbound} ; }} ; }}"
        subprocess.run(["nft", "-f", "-"], input=table, text=True, check=True)

    def policy(self, text=POLICY, database=True):
        db = f'database = "{self.db}";' if database else ""
        self.change("conf.d/egress.conf", f"egressPolicy = {{ {text} {db} }};\n" if text else "")

    def change(self, name, text):
        """Write a file that proxies see; they serve it when this returns."""
        path = self.mesh.etc / name
        if path.exists() and path.read_text() == text:
            return
        before = self.applied()
        self.mesh.write(name, text)
        if self.mesh.process:
            wait_for(f"{name} to be served", lambda: self.applied() > before)

    def applied(self):
        return self.mesh.call("proxy/node.sock", "Status")["parameters"]["version"] if self.mesh.process else 0

    def entry(self, name, country=None, hosts=None, resolution="DNS", more="", protocol="HTTP", number=None, location="MESH_EXTERNAL"):
        note = f'annotations: {{ kvmesh.io/country: {country} }}' if country else ""
        self.change(f"mesh.d/{name}.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: {name}, namespace: default, {note} }}
spec:
  hosts: [ {hosts or name + ".example"} ]
  location: {location}
  resolution: {resolution}
  ports: [ {{ number: {number or self.port}, name: p, protocol: {protocol} }} ]
  {more}
""")

    def where(self, host, port=None):
        r = self.mesh.get(f"{host}:{port or self.port}", "/where")
        return r.text if r.status == 200 else r.status

    def captured(self, address, *args, port=None):
        """curl as a captured workload: the original destination counts."""
        return subprocess.run(["setpriv", "--reuid", str(NOBODY), "--clear-groups", "--", "curl", "-s", "-m", "20", *args,
                               f"http://{address}:{port or self.port}/where"], capture_output=True, text=True)

    def last_line(self, word):
        return wait_for(f"a log line with {word}", lambda: next((x for x in reversed(self.mesh.text().splitlines()) if word in x), None))

    def count(self, country, verdict):
        for f in self.mesh.call("proxy/node.sock", "Stats")["parameters"]["families"]:
            if f["name"] == "kvmesh_egress_total":
                assert f["labels"] == ["proxy", "country", "verdict"]
                return sum(r[-1] for r in f["series"] if r[1:3] == [country, verdict])
        return 0

    def close(self):
        self.mesh.stop()
        self.nginx.stop()
        self.echo.stop()
        self.dns.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    d = tmp_path_factory.mktemp("residency")
    for p in (d, d.parent):
        p.chmod(0o755)
    ns = Netns("residency")
    for a in (DE, US, FR, NOWHERE, FAR, DE6, US6):
        ip("-n", ns.name, "addr", "add", *((f"{a}/128", "nodad") if ":" in a else (f"{a}/32",)), "dev", "lo")
    with ns.entered():
        w = World(d)
    yield w, ns
    with ns.entered():
        w.close()
    ns.close()


@pytest.fixture
def world(made):
    w, ns = made
    with ns.entered():
        w.policy()
        yield w
        w.mesh.assert_sound()


# ---- the address decides -------------------------------------------------------------------------------------------------

def test_an_address_in_an_allowed_country_is_reached_and_counted(world):
    before = world.count("DE", "allowed")
    assert world.where(DE) == DE and world.where("de.example") == DE and world.where(FR) == FR
    assert world.count("DE", "allowed") > before


def test_bypass_direct_ip(world):
    before = world.count("US", "refused")
    r = world.mesh.get(f"{US}:{world.port}", "/direct-ip")
    assert (r.status, r.text) == (403, "egress denied: data residency")
    line = world.last_line(" /direct-ip ")
    assert " 403 RD residency_denied{country=US,by=database} " in line
    assert world.count("US", "refused") > before


def test_bypass_ipv6(world):
    assert world.where(f"[{DE6}]") == DE6
    assert world.where(f"[{US6}]") == 403
    world.dns.records["v6.example"] = [US6]
    assert world.where("v6.example") == 403


def test_bypass_ipv4_mapped_and_translated_ipv6(world):
    for a in (f"::ffff:{US}", "::ffff:c633:6401", f"64:ff9b::{US}", "2002:c633:6401::1"):
        assert world.where(f"[{a}]") == 403, a
    assert world.where(f"[::ffff:{DE}]") == DE


def test_bypass_spellings_of_an_address(world):
    for host in ("3325256705", "0xc6336401", "0306.063.0144.1", "198.51.25601"):
        assert world.where(host) in (403, 503), host
    assert "GET /spelled" not in (world.nginx.dir / "access.log").read_text()


def test_bypass_dns_rebinding_to_another_country(world):
    world.dns.records["moving.example"] = [DE]
    assert world.where("moving.example") == DE
    world.dns.records["moving.example"] = [US]
    wait_for("the name to have moved", lambda: world.where("moving.example") == 403)
    world.entry("claims", country="DE")         # says DE, leads to US
    world.dns.records["claims.example"] = [US]
    wait_for("the name to be known", lambda: world.where("claims.example") == 403)
    assert "by=database" in world.last_line("residency_denied{country=US")


@pytest.mark.parametrize("private", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "::1", "fd00::1"])
def test_bypass_dns_rebinding_to_a_private_address(world, private):
    name = f"p{abs(hash(private))}.example"
    world.dns.records[name] = [private]
    r = world.mesh.get(f"{name}:{world.port}", f"/private-{name}")
    assert r.status == 403
    assert "residency_denied{private_address_of_name}" in world.last_line(f" /private-{name} ")


def test_private_addresses_are_no_egress_where_no_name_from_outside_leads_there(world):
    assert world.where("127.0.0.1") == "127.0.0.1"
    world.dns.records["db.corp"] = ["127.0.0.1"]
    world.entry("corp", hosts="db.corp", location="MESH_INTERNAL")
    wait_for("the name to be known", lambda: world.where("db.corp") == "127.0.0.1")


def test_bypass_redirect_that_the_client_follows(world):
    r = subprocess.run(["curl", "-s", "-L", "-m", "20", "-o", "/dev/null", "-w", "%{num_redirects} %{http_code}", "-x",
                        f"http://127.0.0.1:{world.mesh.http_port}", f"http://{DE}:{world.port}/away"], capture_output=True, text=True)
    assert r.stdout == "1 403"


def test_bypass_captured_http_with_the_name_of_another(world):
    """The Host header belongs to a service in DE; the address that was dialled does not."""
    world.entry("named", country="DE", resolution="NONE")
    assert world.captured(DE, "-H", f"Host: named.example:{world.port}").stdout == DE
    for address in (US, NOWHERE):
        r = world.captured(address, "-w", "%{http_code}", "-o", "/dev/null", "-H", f"Host: named.example:{world.port}")
        assert r.stdout == "403", address


class Captured:
    """A captured workload's TCP connection, held by a process of its own: the original destination counts."""
    SCRIPT = """
import socket, sys
try:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
    s.settimeout(60)
    for line in sys.stdin:
        s.sendall(line.encode())
        print(s.recv(100), flush=True)
    print(s.recv(100), flush=True)
except OSError as e:
    print(type(e).__name__, flush=True)
"""

    def __init__(self, address, port):
        self.p = subprocess.Popen(["setpriv", "--reuid", str(NOBODY), "--clear-groups", "--", "/usr/bin/python3", "-c", self.SCRIPT, address, str(port)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, text):
        with contextlib.suppress(BrokenPipeError):
            self.p.stdin.write(text + "\n")
            self.p.stdin.flush()
        return self.p.stdout.readline().strip()

    def kill(self):
        self.p.kill()
        self.p.wait(kvmesh.DEADLINE)

    def end(self):
        """What comes when it is cut."""
        with contextlib.suppress(BrokenPipeError):
            self.p.stdin.close()
        line = self.p.stdout.readline().strip()
        self.p.wait(kvmesh.DEADLINE)
        return line


def test_bypass_opaque_bytes_are_reset(world):
    allowed, refused = Captured(DE, world.echo.port), Captured(US, world.echo.port)
    assert allowed.say("SSH-2.0-x") == str(b"SSH-2.0-x\n")
    assert refused.say("SSH-2.0-x") == "ConnectionResetError"
    assert "RD - residency_denied{country=US" in world.last_line(f' {US}:{world.echo.port} {US}:')
    allowed.kill()
    refused.kill()


def test_bypass_tls_passthrough(world):
    """The server name says a place that is allowed, the address is another."""
    tried = world.count("US", "refused")
    r = subprocess.run(["setpriv", "--reuid", str(NOBODY), "--clear-groups", "--", "curl", "-sk", "-m", "20", "-w", "%{http_code}",
                        "--resolve", f"de.example:{world.echo.port}:{US}", f"https://de.example:{world.echo.port}/"], capture_output=True, text=True)
    assert r.returncode == 35 and r.stdout.startswith("000")
    assert world.count("US", "refused") > tried


def test_bypass_dynamic_dns(world):
    world.dns.records.update({"a.dyn.example": [US], "b.dyn.example": [DE]})
    assert world.where("a.dyn.example") == 403 and world.where("b.dyn.example") == DE


def test_bypass_gateway(world):
    def ask(to):
        r = subprocess.run(["curl", "-s", "-m", "20", "-H", f"to: {to}", f"http://127.0.0.1:{world.edge}/where"], capture_output=True, text=True)
        return r.stdout
    wait_for("the gateway", lambda: ask("de") == DE)
    assert ask("us") == "egress denied: data residency"


def test_of_several_addresses_those_in_allowed_countries_are_used(world):
    assert {world.where("mixed.example") for _ in range(12)} == {DE}
    assert world.where("us.example") == 403


def test_bypass_tunnel_proxy_that_is_asked_for_another_country(world):
    """The tunnel's proxy stands in DE; the destination that it is asked for has to be in an allowed country too."""
    port = kvmesh.free_port()
    world.change("mesh.d/tunnel.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: forward, namespace: default }}
spec:
  hosts: [ forward.example ]
  location: MESH_EXTERNAL
  resolution: STATIC
  addresses: [ {FAR} ]
  endpoints: [ {{ address: {DE} }} ]
  ports: [ {{ number: {port}, targetPort: {world.echo.port}, name: tcp, protocol: TCP }} ]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: forward, namespace: default }}
spec:
  host: forward.example
  trafficPolicy: {{ tunnel: {{ protocol: CONNECT, targetHost: {US}, targetPort: 443 }} }}
""")
    table = f"table ip far {{ chain out {{ type nat hook output priority -100; meta skuid {NOBODY} tcp dport {port} redirect to :{world.outbound} ; }} ; }}"
    subprocess.run(["nft", "-f", "-"], input=table, text=True, check=True)
    before = world.count("US", "refused")
    client = Captured(FAR, port)
    assert client.say("SSH-2.0-x") == "ConnectionResetError"
    client.kill()
    assert world.count("US", "refused") > before
    assert "residency_denied{country=US,by=database}" in world.last_line("outbound|%d||forward.example" % port)


def test_bypass_keys_of_tokens_from_elsewhere(world):
    world.change("mesh.d/token.yaml", f"""\
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{ name: token, namespace: default }}
spec: {{ jwtRules: [ {{ issuer: a, jwksUri: "https://{US}:1/keys" }} ] }}
""")
    assert "residency_denied{country=US,by=database}" in world.last_line("jwks_fetch_failed")


# ---- unknown, declared, contradicted -------------------------------------------------------------------------------------

def test_an_unknown_country_is_refused_unless_it_is_allowed(world):
    assert world.where(NOWHERE) == 403
    assert "residency_denied{country=unknown}" in world.last_line("residency_denied{country=unknown")
    world.policy(POLICY + ' unknown = "allow";')
    assert world.where(NOWHERE) == NOWHERE and world.where(US) == 403


def test_declared_countries_count_without_a_database(world):
    world.entry("de", country="DE")
    world.entry("us", country="US")
    world.policy(POLICY + f' ranges = ( {{ cidr = "{NOWHERE}/32"; country = "FR"; }}, {{ cidr = "192.0.2.0/24"; country = "US"; }} );', database=False)
    assert world.where("de.example") == DE and world.where("us.example") == 403
    assert world.where(NOWHERE) == NOWHERE, "the longest range counts"
    assert world.where(DE) == 403, "an address that nobody declared"
    world.entry("de")
    world.entry("us")


def test_what_the_database_contradicts_needs_both_countries(world):
    world.policy('allowCountries = [ "DE", "US" ]; ranges = ( { cidr = "198.51.100.0/24"; country = "FR"; } );')
    assert world.where(US) == 403
    world.policy('allowCountries = [ "FR", "US" ]; ranges = ( { cidr = "198.51.100.0/24"; country = "FR"; } );')
    assert world.where(US) == US


# ---- audit, absence, change ----------------------------------------------------------------------------------------------

def test_audit_counts_and_logs_and_lets_pass(world):
    world.policy(POLICY + " audit = true;")
    before = world.count("US", "audited")
    assert world.where(US) == US and world.where("us.example") == US
    assert world.count("US", "audited") >= before + 2
    assert world.last_line("residency_audit: ")
    assert {world.where("mixed.example") for _ in range(12)} >= {US}


def test_without_a_policy_nothing_is_judged(world):
    world.policy(None)
    before = world.count("US", "refused"), world.count("DE", "allowed")
    assert world.where(US) == US and world.where(NOWHERE) == NOWHERE
    assert (world.count("US", "refused"), world.count("DE", "allowed")) == before


def test_a_policy_cuts_what_it_forbids(world):
    """A pooled connection is not used any more, and one under way ends."""
    world.policy(None)
    assert world.where(US) == US
    live = Captured(US, world.echo.port)
    assert live.say("SSH-2.0-x") == str(b"SSH-2.0-x\n")
    world.policy()
    assert live.end() == "ConnectionResetError"
    assert world.where(US) == 403


def test_a_database_that_turns_bad_leaves_the_last_good_one(world):
    good = world.db.read_bytes()
    bad = [good[:len(good) // 2], os.urandom(4096), b"", good[:-20], b"\xab\xcd\xefMaxMind.com" * 3]
    for i, data in enumerate(bad):
        before = world.mesh.text().count("cannot be used")
        if i % 2:                               # in place: what is mapped is cut
            world.db.write_bytes(data)
        else:
            world.db.with_name("new").write_bytes(data)
            world.db.with_name("new").rename(world.db)
        wait_for("a word about it", lambda: world.mesh.text().count("cannot be used") > before)
        assert world.where(US) == 403 and world.where(DE) == DE
    world.db.unlink()
    assert world.where(US) == 403 and world.where(DE) == DE
    os.mkfifo(world.db)
    assert world.where(DE) == DE
    world.db.unlink()
    mmdb.write(world.db, {**COUNTRIES, "198.51.100.0/24": "FR", "203.0.113.0/24": "US"})
    wait_for("the new countries", lambda: world.where(US) == US and world.where(DE) == 403)
    mmdb.write(world.db, COUNTRIES)
    wait_for("the old countries", lambda: world.where(US) == 403 and world.where(DE) == DE)


# ---- beforehand ----------------------------------------------------------------------------------------------------------

def test_analyze_says_what_is_refused_and_contradicted(world):
    world.entry("static", country="DE", resolution="STATIC", more=f"endpoints: [ {{ address: {US} }} ]")
    out = world.mesh.ctl("analyze").stdout
    assert "KVM0231" in out and "KVM0233" in out and US in out
    world.db.write_bytes(b"x" * 100)
    out = world.mesh.ctl("analyze").stdout
    assert "KVM0234" in out and str(world.db) in out
    mmdb.write(world.db, COUNTRIES)
    world.change("mesh.d/static.yaml", "")


def test_explain_tells_the_country_by_the_same_code(world):
    def ask(host):
        return world.mesh.ctl("explain", "request", "app.default", f"http://{host}:{world.port}/", "-o", "wide").stdout
    out = ask(US)
    assert "in US by the database, which is not allowed" in out and "403" in out, out
    assert "in DE by the database, which is allowed" in ask(DE)
    world.entry("fixed", resolution="STATIC", more=f"endpoints: [ {{ address: {US} }}, {{ address: {DE} }} ]")
    out = ask("fixed.example")
    assert "egressPolicy: in US by the database, which is not allowed" in out and "in DE by the database, which is allowed" in out, out
