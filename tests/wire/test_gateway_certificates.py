# SPDX-License-Identifier: Apache-2.0
"""Certificates of a gateway's servers and of their clients: several kinds of keys, authorities apart, pins, revocation
(Istio 2.14.4 and the fields of ServerTLSSettings)."""

import hashlib
import re
import socket
import ssl
import subprocess

import pytest

import kvmesh
import pki
from kvmesh import wait_for
from test_gateway_tls import Edge, ask, server, to


class Shop(Edge):
    def __init__(self, directory):
        super().__init__(directory)
        self.port = kvmesh.free_port()
        web = self.own(kvmesh.Nginx(directory, "web"))
        self.mesh.workload("web", web.port)
        self.mesh.service("web", 80, "http")
        self.route("web", ["*.shop.example"], f"http = ( {{ route = ( {to('web')} ); }} );")

    def https(self, *tls):
        """One server a.shop.example, b.shop.example, … for each tls block."""
        self.servers(*(server(self.port, f"https-{name}", "HTTPS", [f"{name}.shop.example"], block) for name, block in zip("abcdef", tls)))

    def ask(self, name="a", *args):
        return ask(self.port, f"{name}.shop.example", self.ca, "/", *args)

    def with_cert(self, pair, name="a"):
        return self.ask(name, "--cert", pair[0], "--key", pair[1])

    def client(self, *args):
        r = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", "a.shop.example", *args], input="",
                           capture_output=True, text=True, timeout=60)
        return r.stdout


@pytest.fixture
def shop(workdir):
    with Shop(workdir) as s:
        yield s


def pair_of(shop, name, rsa):
    crt, key = shop.ca.issue(name, "DNS:*.shop.example", rsa=rsa)
    to = shop.mesh.etc / "tls" / name
    to.mkdir(parents=True)
    (to / "tls.crt").write_bytes(crt.read_bytes())
    (to / "tls.key").write_bytes(key.read_bytes())
    (to / "tls.key").chmod(0o600)
    return to


def kinds(shop):
    """Which certificate a client gets that can verify only one kind."""
    return [bool(re.search(kind, shop.client("-sigalgs", algs)))
            for algs, kind in (("RSA-PSS+SHA256:RSA+SHA256", "Peer signature type: RSA"), ("ECDSA+SHA256", "Peer signature type: ECDSA"))]


def test_rsa_and_ecdsa_by_credential_names(shop):
    """credentialNames: each client gets the certificate whose signatures it knows; either is renewed by itself."""
    for name, rsa in (("one", True), ("two", False)):
        pair_of(shop, name, rsa)
    shop.https('mode = "SIMPLE"; credentialNames = [ "one", "two" ];')
    shop.start()
    assert kinds(shop) == [True, True]
    assert shop.ask() == "web\n"
    # TLS 1.2: the cipher suites ask for it
    assert "ECDHE-RSA" in shop.client("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
    assert "ECDHE-ECDSA" in shop.client("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")
    before = shop.client("-sigalgs", "ECDSA+SHA256").partition("BEGIN")[2].partition("END")[0]
    crt, key = shop.ca.issue("renewed", "DNS:*.shop.example")
    for source, file in ((crt, "tls.crt"), (key, "tls.key")):
        new = shop.mesh.etc / "tls/two/.new"
        new.write_bytes(source.read_bytes())
        new.rename(shop.mesh.etc / "tls/two" / file)
    wait_for("the second is renewed", lambda: shop.client("-sigalgs", "ECDSA+SHA256").partition("BEGIN")[2].partition("END")[0] not in ("", before))
    assert kinds(shop) == [True, True]


def test_rsa_and_ecdsa_by_paths(shop):
    one, two = pair_of(shop, "one", False), pair_of(shop, "two", True)
    shop.https(f'mode = "SIMPLE"; tlsCertificates = ( {{ serverCertificate = "{one}/tls.crt"; privateKey = "{one}/tls.key"; }}, '
               f'{{ serverCertificate = "{two}/tls.crt"; privateKey = "{two}/tls.key"; }} );')
    shop.start()
    assert kinds(shop) == [True, True]


def test_two_keys_of_one_kind_are_told(shop):
    """One of them would never be used: the server does not open, and both analyze and the journal say why."""
    pair_of(shop, "one", False), pair_of(shop, "two", False)
    shop.https('mode = "SIMPLE"; credentialNames = [ "one", "two" ];')
    shop.start()
    assert isinstance(shop.ask(), int)
    assert re.search(r"gateway-gw.conf:\d+:\d+: the keys \S+ and \S+ are of one kind", shop.mesh.text())
    out = shop.mesh.ctl("config", "test")
    assert re.search(r"of one kind.*\[KVM0161\]", out.stdout + out.stderr)


def test_2_14_4_authorities_of_clients_apart(shop):
    """caCertCredentialName: a credential that holds nothing else."""
    pair_of(shop, "one", False)
    authority = shop.mesh.etc / "tls/clients"
    authority.mkdir()
    (authority / "ca.crt").write_bytes(shop.clients.crt.read_bytes())
    shop.https('mode = "MUTUAL"; credentialName = "one"; caCertCredentialName = "clients";')
    shop.start()
    assert shop.with_cert(shop.clients.issue("partner")) == "web\n"
    assert isinstance(shop.with_cert(shop.ca.issue("stranger")), int)
    assert isinstance(shop.ask(), int)


def spki(crt):
    r = subprocess.run(f"openssl x509 -in {crt} -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64",
                       shell=True, capture_output=True, text=True, check=True)
    return r.stdout.strip()


def fingerprint(crt):
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(crt.read_text())).hexdigest()


def test_2_14_4_pins_of_clients(shop):
    """verifyCertificateSpki and verifyCertificateHash: either list may have it; OPTIONAL_MUTUAL still lets in who shows none."""
    shop.ca.credential(shop.mesh.etc, "edge", "DNS:*.shop.example", clients=shop.clients)
    good, also, bad = (shop.clients.issue(name) for name in ("good", "also", "bad"))
    digest = fingerprint(also[0])
    colons = ":".join(digest[i:i + 2] for i in range(0, 64, 2)).upper()
    pins = f'credentialName = "edge"; verifyCertificateSpki = [ "{spki(good[0])}" ]; verifyCertificateHash = [ "{colons}" ];'
    shop.https(f'mode = "MUTUAL"; {pins}', f'mode = "OPTIONAL_MUTUAL"; {pins}')
    shop.start()
    for name in "ab":
        assert shop.with_cert(good, name) == "web\n"
        assert shop.with_cert(also, name) == "web\n"
        before = shop.refused("unexpected_peer")
        assert isinstance(shop.with_cert(bad, name), int)
        wait_for("it is counted", lambda: shop.refused("unexpected_peer") > before)
    assert shop.ask("b") == "web\n" and isinstance(shop.ask("a"), int)


def test_2_14_4_a_list_that_names_a_client_ends_its_open_connections(shop):
    """TLS 1.2 and 1.3; others stay."""
    shop.ca.credential(shop.mesh.etc, "edge", "DNS:*.shop.example", clients=shop.clients)
    good, bad = shop.clients.issue("good"), shop.clients.issue("bad")
    tls = shop.mesh.etc / "tls/edge"
    crl = shop.clients.crl()
    shop.https(f'mode = "MUTUAL"; serverCertificate = "{tls}/tls.crt"; privateKey = "{tls}/tls.key"; caCertificates = "{shop.clients.crt}"; caCrl = "{crl}";')
    shop.start()

    def connect(pair, version):
        ctx = ssl.create_default_context(cafile=str(shop.ca.crt))
        ctx.minimum_version = ctx.maximum_version = version
        ctx.load_cert_chain(*pair)
        c = ctx.wrap_socket(socket.create_connection(("127.0.0.1", shop.port), timeout=kvmesh.DEADLINE), server_hostname="a.shop.example")
        assert answers(c)
        return c

    def answers(c):
        try:
            c.sendall(b"GET / HTTP/1.1\r\nHost: a.shop.example\r\n\r\n")
            text = b""
            while not text.endswith(b"web\n"):
                if not (more := c.recv(65536)):
                    return False
                text += more
            return text.startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    versions = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    open_good, open_bad = ([connect(pair, v) for v in versions] for pair in (good, bad))
    shop.clients.crl(bad[0])
    wait_for("the new list is in force", lambda: isinstance(shop.with_cert(bad), int))
    for c in open_bad:
        c.settimeout(kvmesh.DEADLINE)
        assert not answers(c)
    assert all(answers(c) for c in open_good), "who is not named stays"
    for c in (*open_good, *open_bad):
        c.close()
    wait_for("the journal to tell", lambda: sum(map(int, re.findall(r"cut (\d+) connections", shop.mesh.text()))) >= 2)


def test_2_14_4_revoked_clients(shop):
    """caCrl: read again when it changes; a list that has run out lets nobody in."""
    shop.ca.credential(shop.mesh.etc, "edge", "DNS:*.shop.example")
    good, bad = shop.clients.issue("good"), shop.clients.issue("bad")
    crl = shop.clients.crl()
    tls = shop.mesh.etc / "tls/edge"
    shop.https(f'mode = "MUTUAL"; serverCertificate = "{tls}/tls.crt"; privateKey = "{tls}/tls.key"; caCertificates = "{shop.clients.crt}"; caCrl = "{crl}";')
    shop.start()
    assert shop.with_cert(good) == shop.with_cert(bad) == "web\n"
    shop.clients.crl(bad[0])
    wait_for("the new list is in force", lambda: isinstance(shop.with_cert(bad), int))
    assert shop.with_cert(good) == "web\n"
    # The first that failed may have been open when the list came: cut, not refused.
    wait_for("it is counted", lambda: isinstance(shop.with_cert(bad), int) and shop.refused("certificate_revoked") >= 1)
    crl.write_text("no list\n")
    wait_for("the broken file is told", lambda: f"cannot use the revocation list {crl}" in shop.mesh.text())
    assert shop.with_cert(good) == "web\n" and isinstance(shop.with_cert(bad), int), "the list before stays in force"
    shop.clients.crl(bad[0], days=-1)
    wait_for("a list that is over", lambda: isinstance(shop.with_cert(good), int))
