# SPDX-License-Identifier: Apache-2.0
"""What an administrator does with the CA: kvmeshctl ca rotate, revoke, issue, list, init."""

import ssl
import re

import pytest

import kvmesh
from ca import text_of
from control import openssl
from outsider import Outsider
from test_rotation import ca, root_of, serials

EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    d = tmp_path_factory.mktemp("people")
    with kvmesh.Article(d) as a:
        yield a.start().mesh


def test_rotate_and_follow(article):
    mesh = article.mesh
    root, issuer = root_of(mesh), ca(mesh)["issuer"]["serial"]
    before = serials(mesh)
    out = mesh.ctl("ca", "rotate", "--root", "--wait", "60s", check=0).stdout
    assert out.splitlines()[-1] == "rotation: done" and root_of(mesh) != root
    mesh.ctl("ca", "rotate", "--wait", "60s", check=0)
    assert ca(mesh)["issuer"]["serial"] != issuer
    now = serials(mesh)
    assert all(now[s] != before[s] for s in before)
    assert mesh.ctl("ca", "rotate", "--force", check=4).stderr
    mesh.ctl("ca", "rotate", "--root", "--force", check=64)


def test_a_certificate_for_a_database_client(mesh, tmp_path):
    """Key, certificate and bundle as files that psql or curl take; the port between proxies lets it in."""
    out = mesh.ctl("ca", "issue", "psql", "-n", "people", "--out", tmp_path / "psql", "--valid", "1h", check=0).stdout
    assert out.startswith("spiffe://cluster.local/ns/people/sa/psql serial ")
    assert (tmp_path / "psql.key").stat().st_mode & 0o777 == 0o600
    openssl("verify", "-x509_strict", "-partial_chain", "-purpose", "sslclient", "-CAfile", tmp_path / "psql-ca.crt", tmp_path / "psql.crt")
    text = text_of((tmp_path / "psql.crt").read_text())
    assert text.count("URI:") == 1 and "URI:spiffe://cluster.local/ns/people/sa/psql" in text
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    c.load_cert_chain(tmp_path / "psql.crt", tmp_path / "psql.key")
    peer = Outsider(mesh, tmp_path / "peer", "other")
    with peer.connect(context=c) as tls:
        assert " 200 " in peer.get(tls)
    serial = re.search(r"serial (\w+)", out).group(1)
    listed = mesh.ctl("ca", "list", "spiffe://cluster.local/ns/people/sa/psql", check=0).stdout
    assert serial in listed and "valid" in listed
    # And away with it.
    said = mesh.ctl("ca", "revoke", serial, "--reason", "left the team", check=0).stdout
    assert re.match(r"revoked, in force in every proxy after \d+ ms", said)
    with pytest.raises(OSError), peer.connect(context=c) as tls:
        assert peer.get(tls) == ""
        raise ConnectionError
    assert "left the team" in mesh.ctl("ca", "list", "--revoked", check=0).stdout
    assert "revoked       1" in mesh.ctl("ca", "status", check=0).stdout
    assert mesh.ctl("ca", "revoke", serial, "--lift", check=0).stdout.startswith("trusted again")


def test_a_request_that_was_made_elsewhere(mesh, tmp_path):
    openssl("req", "-new", *EC, "-keyout", tmp_path / "k", "-out", tmp_path / "r", "-subj", "/CN=x")
    mesh.ctl("ca", "issue", "elsewhere", "--csr", tmp_path / "r", "--out", tmp_path / "e", check=0)
    assert not (tmp_path / "e.key").exists()
    pub = openssl("x509", "-noout", "-pubkey", "-in", tmp_path / "e.crt").stdout
    assert pub == openssl("pkey", "-in", tmp_path / "k", "-pubout").stdout


@pytest.mark.parametrize("name, code, word", [
    ("spiffe://cluster.local/ns/default/sa/my-app", 77, "identity of a workload"),
    ("spiffe://cluster.local/ns/kvmesh-system/sa/me", 77, "own namespace"),
    ("spiffe://other.example/ns/people/sa/me", 65, "outside of the trust domain"),
    ("spiffe://cluster.local/somewhere", 65, "NAMESPACE"),
    ("a/../b", 65, "SPIFFE"),
])
def test_limits_of_names(mesh, tmp_path, name, code, word):
    r = mesh.ctl("ca", "issue", name, "--out", tmp_path / "x")
    assert r.returncode != 0 and word in r.stderr, r.stderr
    assert not (tmp_path / "x.key").exists() and not (tmp_path / "x.crt").exists()


def test_limits_of_life(mesh, tmp_path):
    for valid in ("1s", "2161h"):
        r = mesh.ctl("ca", "issue", "long", "--valid", valid, "--out", tmp_path / "x")
        assert r.returncode != 0 and "1m to 2160h" in r.stderr


# ---- a root that is not here -----------------------------------------------------------------

class Vault:
    """The machine that holds the root: openssl and nothing else, as docs/ca.md says."""

    def __init__(self, directory, name="vault", pathlen=None):
        self.dir = directory
        self.dir.mkdir(parents=True, exist_ok=True)
        basic = "critical,CA:TRUE" + ("" if pathlen is None else f",pathlen:{pathlen}")
        openssl("req", "-x509", *EC, "-keyout", self.dir / "root-key.pem", "-out", self.dir / "root-cert.pem", "-days", "3650",
                "-subj", f"/O={name}/CN=root", "-addext", f"basicConstraints={basic}",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def sign(self, csr, days=365, ext=None, out="ca-cert.pem"):
        how = ["-copy_extensions", "copy"]
        if ext is not None:
            (self.dir / "ext").write_text(ext)
            how = ["-extfile", self.dir / "ext"]
        openssl("x509", "-req", "-in", csr, "-CA", self.dir / "root-cert.pem", "-CAkey", self.dir / "root-key.pem",
                "-days", str(days), *how, "-out", self.dir / out)
        return self.dir / out


def test_ceremony_with_an_offline_root(article, tmp_path):
    mesh = article.mesh
    vault = Vault(tmp_path / "vault")
    mesh.ctl("ca", "init", "--offline-root", "--csr", tmp_path / "ca.csr", check=0)
    assert "CA:TRUE, pathlen:0" in openssl("req", "-noout", "-text", "-in", tmp_path / "ca.csr").stdout
    cert = vault.sign(tmp_path / "ca.csr")
    before = serials(mesh)
    out = mesh.ctl("ca", "init", "--certificate", cert, "--root-certificate", vault.dir / "root-cert.pem", "--wait", "60s", check=0).stdout
    assert out.splitlines()[-1] == "rotation: done"
    st = ca(mesh)
    assert "vault" in st["root"]["subject"] and not st["root"]["keyOnNode"]
    assert not (mesh.state / "ca/root-key.pem").exists(), "the key of the root before went with it"
    now = serials(mesh)
    assert all(now[s] != before[s] for s in before) and mesh.get("my-app").status == 200
    # Another intermediate of the same root, a year later.
    mesh.ctl("ca", "init", "--offline-root", "--csr", tmp_path / "again.csr", check=0)
    cert = vault.sign(tmp_path / "again.csr", out="again.pem")
    mesh.ctl("ca", "init", "--certificate", cert, "--wait", "60s", check=0)
    assert ca(mesh)["issuer"]["serial"] != st["issuer"]["serial"] and ca(mesh)["root"]["serial"] == st["root"]["serial"]
    # What it cannot do by itself it says.
    r = mesh.ctl("ca", "rotate")
    assert r.returncode != 0 and "--offline-root" in r.stderr


CA_EXT = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"


@pytest.mark.parametrize("make, word", [
    (lambda v, t: (v.sign(t / "ca.csr", days=-1, ext=CA_EXT), v.dir / "root-cert.pem"), "expired"),
    (lambda v, t: (v.sign(t / "ca.csr", ext="basicConstraints=critical,CA:FALSE\n"), v.dir / "root-cert.pem"), "may not sign certificates"),
    (lambda v, t: (v.sign(t / "ca.csr", ext="basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature\n"),
                   v.dir / "root-cert.pem"), "may not sign certificates"),
    (lambda v, t: (v.sign(t / "ca.csr", ext=CA_EXT), Vault(t / "v2", "other").dir / "root-cert.pem"), "no good issuing CA"),
    (lambda v, t: (v.sign(t / "ca.csr", ext=CA_EXT), None), "no good issuing CA"),
    (lambda v, t: (lambda w: (w.sign(t / "ca.csr", ext=CA_EXT), w.dir / "root-cert.pem"))(Vault(t / "v0", "short", pathlen=0)), "pathlen"),
    (lambda v, t: (v.sign(t / "ca.csr", ext=CA_EXT + "nameConstraints=critical,permitted;URI:other.example\n"), v.dir / "root-cert.pem"),
     "not for the trust domain"),
    (lambda v, t: (v.dir / "root-cert.pem", v.dir / "root-cert.pem"), "root itself"),
    (lambda v, t: (t / "ca.csr", v.dir / "root-cert.pem"), "no certificate in PEM"),
    (lambda v, t: (v.sign(_other_key(t), ext=CA_EXT), v.dir / "root-cert.pem"), "another key"),
])
def test_wrong_answers_change_nothing(mesh, tmp_path, make, word):
    vault = Vault(tmp_path / "vault")
    mesh.ctl("ca", "init", "--offline-root", "--csr", tmp_path / "ca.csr", check=0)
    before = mesh.ctl("ca", "bundle", check=0).stdout
    cert, root = make(vault, tmp_path)
    r = mesh.ctl("ca", "init", "--certificate", cert, *(["--root-certificate", root] if root else []))
    assert r.returncode != 0 and word in r.stderr, r.stderr
    assert mesh.ctl("ca", "bundle", check=0).stdout == before and "rotation" not in ca(mesh)


def _other_key(t):
    openssl("req", "-new", *EC, "-keyout", t / "o.key", "-out", t / "o.csr", "-subj", "/CN=x")
    return t / "o.csr"


def test_usage(mesh):
    mesh.ctl("ca", "init", check=64)
    mesh.ctl("ca", "revoke", check=64)
    mesh.ctl("ca", "revoke", "ff" * 16, check=4)
    mesh.ctl("ca", "list", "--limit", "0", check=64)
