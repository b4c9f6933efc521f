# SPDX-License-Identifier: Apache-2.0
"""TLS to services (semantics 2.9): what a DestinationRule asks for, towards servers of the world outside and of the mesh."""

import os
import re
import socket
import ssl
import subprocess

import pytest

import kvmesh
import pki
from kvmesh import wait_for

OUTSIDE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: {name} }}
spec: {{ hosts: [ {name}.example ], location: MESH_EXTERNAL, resolution: STATIC,
  ports: [ {{ number: 80, name: http, protocol: HTTP }} ], endpoints: [ {{ address: 127.0.0.1, ports: {{ http: {port} }} }} ] }}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: {name} }}
spec: {{ host: {name}.example, {more} trafficPolicy: {{ tls: {{ {tls} }} }} }}
"""


def server(port, pair, more=""):
    return (f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {pair[0]}; ssl_certificate_key {pair[1]}; {more} "
            'location / { default_type text/plain; return 200 "$ssl_server_name $ssl_client_s_dn\\n"; } }')


class World:
    """One nginx with TLS servers of all kinds, and a mesh whose rules lead there."""

    def __init__(self, d):
        self.dir = d
        self.ca, self.strangers, self.clients = (pki.Authority(d / "pki", n) for n in ("ca", "strangers", "clients"))
        self.good = self.ca.issue("good", "DNS:good.example")
        self.other = self.ca.issue("other", "DNS:other.example")
        self.revoked = self.ca.issue("revoked", "DNS:good.example")
        self.client, self.impostor = self.clients.issue("client"), self.strangers.issue("impostor")
        pairs = {"good": (self.good, ""), "other": (self.other, ""), "revoked": (self.revoked, ""),
                 "stranger": (self.strangers.issue("stranger", "DNS:good.example"), ""),
                 "expired": (self.ca.issue("expired", "DNS:good.example", expired=True), ""),
                 "mutual": (self.good, f"ssl_verify_client on; ssl_client_certificate {self.clients.crt};"),
                 "tls12": (self.good, "ssl_protocols TLSv1.2;"), "tls13": (self.good, "ssl_protocols TLSv1.3;"),
                 "tls11": (self.good, "ssl_protocols TLSv1.1; ssl_ciphers DEFAULT@SECLEVEL=0;")}
        for p in (d / "pki", *(d / "pki").iterdir()):
            p.chmod(0o755)
        self.ports = {n: kvmesh.free_port() for n in pairs}
        blocks = " ".join(server(self.ports[n], *p) for n, p in pairs.items())
        # the class's own server ends here, and its closing brace ends one of nobody
        self.nginx = kvmesh.Nginx(d, "tls", extra=f"}} {blocks} server {{ listen 127.0.0.1:{kvmesh.free_port()};")
        self.plain, self.second = kvmesh.Nginx(d, "plain"), kvmesh.Nginx(d, "second")
        self.mesh = m = kvmesh.Mesh(d / "mesh", 'defaultConfig = { concurrency = 1; }; accessLogFile = "/dev/stdout";')
        m.workload("app", self.plain.port)
        m.service("app", 80, "http")
        m.write("workloads.d/caller.conf", f'Workload = {{ name = "caller"; user = "{os.getuid()}"; labels = {{ app = "caller"; }}; '
                'ports = ( { name = "http"; number = 1; protocol = "HTTP"; } ); };')

    def rule(self, name, to, tls, more=""):
        self.mesh.write(f"mesh.d/{name}.yaml", OUTSIDE.format(name=name, port=self.ports[to], tls=tls, more=more))

    def reload(self):
        self.mesh.ctl("config", "reload", "--wait", check=0)

    def stop(self):
        for x in (self.mesh, self.nginx, self.plain, self.second):
            x.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    d = tmp_path_factory.mktemp("upstream-tls")
    d.chmod(0o755)
    w = World(d)
    for name, (to, tls, _) in CASES.items():
        w.rule(name, to, tls.format(w=w))
    w.mesh.start()
    yield w
    w.stop()


# towards, the rule's block, status: 503 is a connection that never was, 400 what nginx says to who has no certificate
SNI = "sni: good.example"
CASES = {
    "verified": ("good", f"mode: SIMPLE, caCertificates: {{w.ca.crt}}, {SNI}", 200),
    "wrongname": ("other", f"mode: SIMPLE, caCertificates: {{w.ca.crt}}, {SNI}", 503),
    "othername": ("other", f"mode: SIMPLE, caCertificates: {{w.ca.crt}}, subjectAltNames: [ none.example, other.example ], {SNI}", 200),
    "nobodysname": ("good", f"mode: SIMPLE, caCertificates: {{w.ca.crt}}, subjectAltNames: [ none.example ], {SNI}", 503),
    "stranger": ("stranger", f"mode: SIMPLE, caCertificates: {{w.ca.crt}}, {SNI}", 503),
    "expired": ("expired", f"mode: SIMPLE, caCertificates: {{w.ca.crt}}, {SNI}", 503),
    "system": ("good", f"mode: SIMPLE, {SNI}", 503),
    "unverified": ("stranger", f"mode: SIMPLE, insecureSkipVerify: true, {SNI}", 200),
    "noclient": ("mutual", f"mode: SIMPLE, caCertificates: {{w.ca.crt}}, {SNI}", 400),
    "client": ("mutual", f"mode: MUTUAL, clientCertificate: {{w.client[0]}}, privateKey: {{w.client[1]}}, caCertificates: {{w.ca.crt}}, {SNI}", 200),
    "impostor": ("mutual", f"mode: MUTUAL, clientCertificate: {{w.impostor[0]}}, privateKey: {{w.impostor[1]}}, caCertificates: {{w.ca.crt}}, {SNI}", 400),
    "mutualstranger": ("stranger", f"mode: MUTUAL, clientCertificate: {{w.client[0]}}, privateKey: {{w.client[1]}}, caCertificates: {{w.ca.crt}}, {SNI}", 503),
    "wrongkey": ("mutual", f"mode: MUTUAL, clientCertificate: {{w.client[0]}}, privateKey: {{w.impostor[1]}}, caCertificates: {{w.ca.crt}}, {SNI}", 503),
    "nofile": ("good", f"mode: SIMPLE, caCertificates: /nonexistent/ca.crt, {SNI}", 503),
    "clear": ("good", "mode: DISABLE", 400),
    "meshs": ("good", "mode: ISTIO_MUTUAL", 503),
    "twelve": ("tls12", f"mode: SIMPLE, caCertificates: {{w.ca.crt}}, {SNI}", 200),
    "thirteen": ("tls13", f"mode: SIMPLE, caCertificates: {{w.ca.crt}}, {SNI}", 200),
    "eleven": ("tls11", f"mode: SIMPLE, caCertificates: {{w.ca.crt}}, {SNI}", 503),
}


@pytest.mark.parametrize("name", CASES)
def test_2_9_4_simple_and_mutual(world, name):
    r = world.mesh.get(f"{name}.example", f"/{name}")
    assert r.status == CASES[name][2], r
    if r.status == 503:
        line = wait_for("its record", lambda: next(
            (x for x in world.mesh.text().splitlines() if f" /{name} HTTP" in x and "outbound|" in x), None))
        assert " 503 UF" in line
    if name == "client":
        assert r.text == "good.example CN=client\n"


def test_2_9_4_without_sni_it_is_the_host_that_is_asked_for(world):
    world.rule("good", "good", f"mode: SIMPLE, caCertificates: {world.ca.crt}")
    world.reload()
    assert world.mesh.get("good.example").text == "good.example \n"


# ---- inside the mesh -----------------------------------------------------------------------------------------------

MESH_RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: app }}
spec: {{ host: app, {spec} }}
"""
STRICT = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default }
spec: { mtls: { mode: STRICT } }
"""


@pytest.fixture
def rule(world):
    def write(spec, more=""):
        world.mesh.write("mesh.d/app.yaml", MESH_RULE.format(spec=spec) + ("---\n" + more if more else ""))
        world.reload()

    yield write
    (world.mesh.etc / "mesh.d/app.yaml").unlink(missing_ok=True)
    world.reload()


def caller_proved(mesh):
    """Did the application's side see a certificate of the caller?"""
    return "xfcc=By=spiffe://" in mesh.get("app", "/headers").text


def test_2_9_1_an_explicit_block_goes_before_automatic_mtls(world, rule):
    assert caller_proved(world.mesh)
    rule("trafficPolicy: { tls: { mode: DISABLE } }")
    assert not caller_proved(world.mesh)
    rule("trafficPolicy: { tls: { mode: DISABLE }, portLevelSettings: [ { port: { number: 80 }, tls: { mode: ISTIO_MUTUAL } } ] }")
    assert caller_proved(world.mesh), "the port's block goes before the rule's"
    rule("trafficPolicy: { tls: { mode: DISABLE }, portLevelSettings: [ { port: { number: 80 }, loadBalancer: { simple: RANDOM } } ] }")
    assert caller_proved(world.mesh), "a port without a block: the built-in default, not the block above"


def test_2_9_2_automatic_mtls_is_decided_for_each_endpoint(world):
    m = world.mesh
    m.service("mixed", 80, "http", selector={"group": "mixed"})
    m.workload("inside", world.plain.port, {"group": "mixed"})
    m.write("mesh.d/outside.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{ name: outside }}
spec: {{ address: 127.0.0.1, labels: {{ group: mixed }}, ports: {{ http: {world.second.port} }} }}
""")
    world.reload()
    got = {(r.headers["x-backend"], "xfcc=By=spiffe://" in r.text) for r in (m.get("mixed", "/headers") for _ in range(40))}
    assert got == {("plain", True), ("second", False)}, "only one of them has a proxy"


def test_2_9_3_whom_the_server_must_prove_to_be(world, rule):
    rule("trafficPolicy: { tls: { mode: ISTIO_MUTUAL, subjectAltNames: [ spiffe://cluster.local/ns/default/sa/somebody ] } }")
    assert world.mesh.get("app", "/x").status == 503
    rule("trafficPolicy: { tls: { mode: ISTIO_MUTUAL, subjectAltNames: [ spiffe://cluster.local/ns/default/sa/app, "
         "spiffe://cluster.local/ns/default/sa/default ] } }")
    assert world.mesh.get("app", "/x").status == 200


def test_2_9_5_disable_towards_strict(world, rule):
    rule("trafficPolicy: { tls: { mode: DISABLE } }", STRICT)
    assert world.mesh.get("app", "/strict").status == 503
    line = wait_for("its record", lambda: next((x for x in world.mesh.text().splitlines()
                                                if " /strict HTTP" in x and "outbound|" in x), None))
    assert re.search(r" 503 U[CF]", line), line
    assert "KVM0113" in world.mesh.ctl("analyze").stdout


# ---- files ----------------------------------------------------------------------------------------------------------

def credential(world, name, pair, ca):
    to = world.mesh.etc / "tls" / name
    to.mkdir(parents=True, exist_ok=True)
    for path, file in ((pair and pair[0], "tls.crt"), (pair and pair[1], "tls.key"), (ca, "ca.crt")):
        if path:
            new = to / f".{file}.new"
            new.write_bytes(path.read_bytes())
            new.chmod(0o644)
            new.rename(to / file)
    return to


def test_2_9_6_a_credential_for_workloads_that_the_rule_selects(world):
    credential(world, "bank", world.client, world.ca.crt)
    tls = f"mode: MUTUAL, credentialName: bank, {SNI}"
    world.rule("selected", "mutual", tls, "workloadSelector: { matchLabels: { app: caller } },")
    world.rule("unselected", "mutual", tls)
    world.rule("simple", "good", f"mode: SIMPLE, credentialName: bank, {SNI}", "workloadSelector: { matchLabels: { app: caller } },")
    world.reload()
    assert world.mesh.get("selected.example").text == "good.example CN=client\n"
    assert world.mesh.get("unselected.example").status == 503, "no files: the system's authorities do not know the server"
    assert world.mesh.get("simple.example").status == 200
    found = world.mesh.ctl("analyze").stdout
    assert found.count("credentialName without workloadSelector") == 1


def test_2_9_7_replaced_files_are_read_again(world):
    to = credential(world, "renewed", world.impostor, world.ca.crt)
    world.rule("renewed", "mutual", f"mode: MUTUAL, credentialName: renewed, {SNI}", "workloadSelector: { matchLabels: { app: caller } },")
    world.reload()
    assert world.mesh.get("renewed.example").status == 400, "a certificate of strangers"
    credential(world, "renewed", world.client, None)
    wait_for("the new pair, without a reload", lambda: world.mesh.get("renewed.example").status == 200)
    (to / "tls.key").write_text("half a copy")
    wait_for("word of it", lambda: "the files before stay in use" in world.mesh.text())
    assert world.mesh.get("renewed.example").status == 200


def test_2_9_7_whatever_changed_of_a_file(world):
    """As when its owner or mode changes: neither its size nor the time of its content tells."""
    path = world.dir / "pki" / "in-place.crt"
    bad, good = (p.read_bytes().ljust(4096, b"\n") for p in (world.strangers.crt, world.ca.crt))
    path.write_bytes(bad)
    path.chmod(0o644)
    world.rule("inplace", "good", f"mode: SIMPLE, caCertificates: {path}, {SNI}")
    world.reload()
    assert world.mesh.get("inplace.example").status == 503
    before = path.stat()
    path.write_bytes(good)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    wait_for("the authority that is right", lambda: world.mesh.get("inplace.example").status == 200)


def test_revocation_lists_of_a_rule(world):
    crl = world.ca.crl(world.revoked[0])
    crl.chmod(0o644)
    for name, to in (("listed", "revoked"), ("unlisted", "good")):
        world.rule(name, to, f"mode: SIMPLE, caCertificates: {world.ca.crt}, caCrl: {crl}, {SNI}")
    world.reload()
    assert world.mesh.get("unlisted.example").status == 200
    assert world.mesh.get("listed.example", "/listed").status == 503
    # revoked later: noticed without a reload, and what is open ends
    assert "a certificate is revoked" not in world.mesh.text()
    world.ca.crl(world.good[0]).chmod(0o644)
    wait_for("the new list", lambda: world.mesh.get("unlisted.example").status == 503)
    wait_for("what is open to be cut", lambda: re.search(r"cut \d+ connections: a certificate is revoked", world.mesh.text()))


# ---- the mesh's own certificates ------------------------------------------------------------------------------------

def test_2_9_8_9_identity_and_protocol_of_the_mesh_port(world):
    """A stranger to the mesh sees the server's name and versions, and gets no further."""
    sni = "outbound_.80_._.app.default.svc.cluster.local"
    r = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{world.mesh.mesh_port}", "-servername", sni, "-showcerts"],
                       input="", capture_output=True, text=True, timeout=60)
    pem = r.stdout[r.stdout.index("-----BEGIN CERTIFICATE-----"):]
    names = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=pem, capture_output=True, text=True, timeout=60).stdout
    assert re.search(r"URI:spiffe://cluster\.local/ns/default/sa/[a-z-]+\s*$", names), names
    assert "TLSv1.3" in r.stdout and re.search(r"Cipher is TLS_(AES|CHACHA20)", r.stdout)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", world.mesh.mesh_port), timeout=kvmesh.DEADLINE) as s, pytest.raises((ssl.SSLError, OSError)):
        old.wrap_socket(s, server_hostname=sni).recv(1)
