# SPDX-License-Identifier: Apache-2.0
"""kvmesh-ca alone, over its socket: what it signs, for whom, and what it refuses."""

import json
import os
import re
import resource
import signal
import sqlite3
import time

import pytest

import control
from ca import (DEFAULT, TD, Ca, certificates, identity, make_csr, plugged_in, registry, spiffe, text_of)
from control import Refused, call_as, is_root, openssl
from kvmesh import wait_for

NOBODY = 65534


@pytest.fixture
def ca():
    with Ca() as c:
        yield c.start().ready()


@pytest.fixture
def csr(tmp_path):
    return make_csr(tmp_path)


def days(pem, field):
    """Validity as seconds since 1970."""
    out = openssl("x509", "-noout", f"-{field}", input=pem).stdout
    return time.mktime(time.strptime(out.split("=", 1)[1].strip(), "%b %d %H:%M:%S %Y %Z")) - time.timezone


def test_first_start_makes_root_and_issuer(ca):
    files = {f: ca.state / "ca" / f for f in ("root-key.pem", "root-cert.pem", "ca-key.pem", "ca-cert.pem")}
    for f in files.values():
        assert f.stat().st_mode & 0o777 == 0o400, f
    assert (ca.state / "ca").stat().st_mode & 0o777 == 0o700
    root, issuer = files["root-cert.pem"].read_text(), files["ca-cert.pem"].read_text()
    assert "CA:TRUE, pathlen:0" in text_of(issuer)
    assert re.search(r"Name Constraints: critical\s+Permitted:\s+URI:cluster.local", text_of(issuer))
    assert "ASN1 OID: prime256v1" in text_of(issuer)
    year = 365 * 86400
    assert abs(days(root, "enddate") - days(root, "startdate") - 10 * year) < 5 * 86400
    assert abs(days(issuer, "enddate") - days(issuer, "startdate") - year) < 86400
    openssl("verify", "-x509_strict", "-CAfile", files["root-cert.pem"], files["ca-cert.pem"])
    st = ca.call("Status")
    assert st["root"]["keyOnNode"] and st["issued"] == 0 and st["identities"] == 4 and st["registry"]["fresh"]


def test_certificate_is_what_the_mesh_expects(ca, csr, tmp_path):
    before = time.time()
    reply = ca.sign(csr, spiffe("my-app"))
    pem = reply["certificate"]
    assert pem.count("BEGIN CERTIFICATE") == 1
    leaf = tmp_path / "leaf.pem"
    leaf.write_text(pem)
    # As proxies verify: the issuer is an anchor. And as others do: the chain up to the root.
    for purpose in ("sslserver", "sslclient"):
        openssl("verify", "-x509_strict", "-partial_chain", "-purpose", purpose, "-trusted", ca.state / "ca/ca-cert.pem", leaf)
        openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile", ca.state / "ca/root-cert.pem", "-untrusted",
                ca.state / "ca/ca-cert.pem", leaf)
    text = text_of(pem)
    assert re.search(r"Subject Alternative Name: critical\s+URI:spiffe://cluster.local/ns/default/sa/my-app\n", text)
    assert text.count("URI:") == 1 and "DNS:" not in text
    assert re.search(r"Subject: *\n", text)
    assert re.search(r"Key Usage: critical\s+Digital Signature\n", text)
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in text
    assert re.search(r"Basic Constraints: critical\s+CA:FALSE", text)
    assert "Authority Key Identifier" in text
    assert before - 62 <= days(pem, "startdate") <= time.time() - 58
    assert abs(days(pem, "enddate") - days(pem, "startdate") - 86400 - 60) < 3
    serial = openssl("x509", "-noout", "-serial", input=pem).stdout.strip().split("=")[1].lower()
    assert serial == reply["serial"] and len(serial) == 32
    # The key is the caller's.
    assert openssl("x509", "-noout", "-pubkey", input=pem).stdout == openssl("pkey", "-in", tmp_path / "leaf.key", "-pubout").stdout


def test_lifetime_comes_from_the_configuration(ca, csr):
    ca.router.set({**DEFAULT, "leafLifetimeUs": 60_000_000})
    wait_for("the new registry", lambda: ca.call("Status")["registry"]["generation"] == 1)
    pem = ca.sign(csr, spiffe("my-app"))["certificate"]
    assert days(pem, "enddate") - days(pem, "startdate") == 120


def test_serials_differ_and_are_listed(ca, csr):
    serials = [ca.sign(csr, spiffe(sa))["serial"] for sa in ("my-app", "redis", "my-app")]
    assert len(set(serials)) == 3
    listed = ca.call("List")["certificates"]
    assert [c["serial"] for c in listed] == serials[::-1]
    assert listed[0] == {**listed[0], "spiffe": spiffe("my-app"), "uid": os.geteuid(), "proxy": "node", "state": "valid"}
    assert [c["serial"] for c in ca.call("List", {"spiffe": spiffe("redis")})["certificates"]] == [serials[1]]
    assert len(ca.call("List", {"limit": 2})["certificates"]) == 2
    with pytest.raises(Refused) as e:
        ca.call("List", {"limit": 0})
    assert e.value.name == "InvalidParameter"


@pytest.mark.parametrize("id_, proxy, error", [
    (spiffe("edge"), "node", "NotPermitted"),                   # another instance's
    (spiffe("my-app"), "ingressgateway", "NotPermitted"),
    (spiffe("my-app"), None, "NotPermitted"),                   # says not who it is
    (spiffe("nobody-knows"), "node", "NotFound"),
    (spiffe("my-app", td="other.example"), "node", "NotFound"),
    (spiffe("my-app") + "/", "node", "NotFound"),
    ("", "node", "NotFound"),
])
def test_only_registered_identities_of_that_instance(ca, csr, id_, proxy, error):
    with pytest.raises(Refused) as e:
        ca.sign(csr, id_, proxy)
    assert e.value.name == error
    assert ca.call("List")["certificates"] == []


def test_gateway_gets_its_own(ca, csr):
    assert "BEGIN CERTIFICATE" in ca.sign(csr, spiffe("edge"), "ingressgateway")["certificate"]


@pytest.mark.skipif(not is_root(), reason="needs to become another user")
def test_other_users(ca, csr):
    # Naming a proxy helps nobody who is not the CA's own user.
    for params in ({"spiffe": spiffe("my-app"), "proxy": "node"}, {"spiffe": spiffe("my-app")},
                   {"spiffe": spiffe("own"), "proxy": "node"}):
        params["csr"] = csr
        error, text, _ = call_as(4711, ca.sock, "Sign", params)
        assert error == "NotPermitted", (params, text)
    # A workload that is registered by its user gets its identity and no other.
    error, text, got = call_as(NOBODY, ca.sock, "Sign", {"csr": csr, "spiffe": spiffe("own")})
    assert error is None, text
    assert "URI:" + spiffe("own") in text_of(got["certificate"])
    error, _, _ = call_as(NOBODY, ca.sock, "Sign", {"csr": csr, "spiffe": spiffe("my-app")})
    assert error == "NotPermitted"
    # And neither may look at what was issued.
    for method in ("Status", "List"):
        error, _, _ = call_as(NOBODY, ca.sock, method)
        assert error == "NotPermitted"
    assert [c["uid"] for c in ca.call("List")["certificates"]] == [NOBODY]
    assert "attest_denied" in ca.text()


@pytest.mark.skipif(not is_root(), reason="needs to become another user")
def test_as_a_service_nobody_is_believed(csr):
    """Without --standalone the own user is no proxy: unit and user of the process decide."""
    with Ca() as ca:
        ca.start(standalone=False).ready()
        for proxy in ("node", None):
            with pytest.raises(Refused) as e:
                ca.sign(csr, spiffe("my-app"), proxy)
            assert e.value.name == "NotPermitted"
        error, text, got = call_as(NOBODY, ca.sock, "Sign", {"csr": csr, "spiffe": spiffe("own")})
        assert error is None, text
        assert "URI:" + spiffe("own") in text_of(got["certificate"])
        assert re.search(r"attest_denied: pid \d+ uid 0 unit \S+ executable /\S*python", ca.text())


@pytest.mark.parametrize("req", [
    ["-addext", "subjectAltName=URI:spiffe://cluster.local/ns/default/sa/redis"],
    ["-addext", "subjectAltName=DNS:evil.example,URI:spiffe://cluster.local/ns/kvmesh-system/sa/root"],
    ["-addext", "basicConstraints=critical,CA:TRUE"],
    ["-addext", "keyUsage=critical,keyCertSign,cRLSign", "-addext", "extendedKeyUsage=codeSigning"],
])
def test_nothing_in_the_request_is_copied(ca, tmp_path, req):
    text = text_of(ca.sign(make_csr(tmp_path, *req), spiffe("my-app"))["certificate"])
    assert text.count("URI:") == 1 and "URI:" + spiffe("my-app") in text
    assert "CA:FALSE" in text and "CA:TRUE" not in text
    for word in ("evil", "Certificate Sign", "Code Signing", "DNS:"):
        assert word not in text


def test_subject_of_the_request_is_ignored(ca, tmp_path):
    pem = tmp_path / "n.csr"
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", tmp_path / "n.key",
            "-out", pem, "-subj", "/CN=root/O=evil")
    assert "evil" not in text_of(ca.sign(pem.read_text(), spiffe("my-app"))["certificate"])


def broken_signature(tmp_path):
    der = tmp_path / "b.der"
    (tmp_path / "b.csr").write_text(make_csr(tmp_path))
    openssl("req", "-in", tmp_path / "b.csr", "-outform", "der", "-out", der)
    data = bytearray(der.read_bytes())
    data[-3] ^= 1
    der.write_bytes(data)
    return openssl("req", "-inform", "der", "-in", der, "-outform", "pem").stdout


@pytest.mark.parametrize("make, word", [
    (broken_signature, "own key"),
    (lambda d: make_csr(d, key=1024), "2048"),
    (lambda d: make_csr(d, key="p384"), "P-256"),
    (lambda d: make_csr(d) + "x" * 20000, "16384"),
    (lambda d: "no request at all", "PKCS#10"),
    (lambda d: "", "PKCS#10"),
    (lambda d: make_csr(d)[:200], "PKCS#10"),
    (lambda d: openssl("genpkey", "-algorithm", "ed25519").stdout, "PKCS#10"),
])
def test_bad_requests_are_refused(ca, tmp_path, make, word):
    with pytest.raises(Refused) as e:
        ca.sign(make(tmp_path), spiffe("my-app"))
    assert e.value.name == "InvalidParameter" and word in e.value.text
    assert ca.call("List")["certificates"] == []


def test_rsa_2048_is_accepted(ca, tmp_path):
    assert "BEGIN CERTIFICATE" in ca.sign(make_csr(tmp_path, key=2048), spiffe("my-app"))["certificate"]


def test_the_own_key_is_never_certified(ca, tmp_path):
    out = openssl("req", "-new", "-key", ca.state / "ca/ca-key.pem", "-subj", "/").stdout
    with pytest.raises(Refused) as e:
        ca.sign(out, spiffe("my-app"))
    assert "CA itself" in e.value.text


def test_restart_keeps_root_registry_and_serials(ca, csr):
    root = (ca.state / "ca/root-cert.pem").read_bytes()
    serials = [ca.sign(csr, spiffe("my-app"))["serial"] for _ in range(3)]
    ca.router.close()
    wait_for("the loss of the router", lambda: not ca.call("Status")["registry"]["fresh"])
    assert ca.stop(signal.SIGKILL) == -signal.SIGKILL
    ca.start()
    assert [c["serial"] for c in ca.call("List")["certificates"]] == serials[::-1]
    assert ca.call("Status")["issued"] == 3
    assert (ca.state / "ca/root-cert.pem").read_bytes() == root
    # The router is away: the list kept on disk is in force.
    assert not ca.call("Status")["registry"]["fresh"]
    new = ca.sign(csr, spiffe("redis"))["serial"]
    assert new not in serials
    with pytest.raises(Refused):
        ca.sign(csr, spiffe("edge"))


def test_waits_for_the_first_registry(tmp_path, csr):
    with Ca(identities=None) as ca:
        ca.start()
        with pytest.raises(Refused) as e:
            ca.sign(csr, spiffe("my-app"))
        assert e.value.name == "Busy" and "first list" in e.value.text
        assert not (ca.state / "ca/root-cert.pem").exists()
        with ca.client() as roots:
            roots.frames.send({"method": "Roots", "parameters": {}, "more": True})
            ca.router.set(registry(identity("my-app"), td="mesh.example"))
            # The identity is outside of that trust domain: the list is refused as a whole.
            wait_for("a reason", lambda: "outside the trust domain" in ca.call("Status")["registry"].get("error", ""))
            ca.router.set({**DEFAULT})
            bundle = roots.next()
            assert bundle["trustDomain"] == TD and bundle["bundle"].count("BEGIN CERTIFICATE") == 2
        assert "BEGIN" in ca.sign(csr, spiffe("my-app"))["certificate"]


def test_leftovers_of_a_crash_do_not_prevent_a_start(ca, csr):
    """Killed between root and issuer, or between a key and its certificate: the next start makes the rest."""
    root = (ca.state / "ca/root-cert.pem").read_bytes()
    ca.stop(signal.SIGKILL)
    (ca.state / "ca/ca-cert.pem").unlink()
    ca.start().ready()
    assert (ca.state / "ca/root-cert.pem").read_bytes() == root
    assert "BEGIN" in ca.sign(csr, spiffe("my-app"))["certificate"]
    ca.stop(signal.SIGKILL)
    for f in ("root-cert.pem", "ca-key.pem", "ca-cert.pem"):
        (ca.state / "ca" / f).unlink()
    ca.start().ready()
    assert "BEGIN" in ca.sign(csr, spiffe("my-app"))["certificate"]


def test_root_key_may_be_moved_away(ca, csr):
    ca.stop()
    (ca.state / "ca/root-key.pem").unlink()
    ca.start().ready()
    assert not ca.call("Status")["root"]["keyOnNode"]
    assert "BEGIN" in ca.sign(csr, spiffe("my-app"))["certificate"]
    # Without it there is no other issuer: told, not hidden.
    ca.stop()
    (ca.state / "ca/ca-cert.pem").unlink()
    ca.start(wait=False)
    assert ca.process.popen.wait(60) == 6
    assert "root-key.pem" in ca.text()


def test_full_disk_no_certificate(csr):
    """A file size limit stands for the full disk: no record, no certificate; and none is listed later."""
    with Ca() as ca:
        ca.start(preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN)).ready()
        first = ca.sign(csr, spiffe("my-app"))["serial"]
        old = resource.prlimit(ca.process.pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        for _ in range(3):
            with pytest.raises(Refused) as e:
                ca.sign(csr, spiffe("my-app"))
            assert e.value.name == "Failed"
        assert [c["serial"] for c in ca.call("List")["certificates"]] == [first]
        resource.prlimit(ca.process.pid, resource.RLIMIT_FSIZE, old)
        second = ca.sign(csr, spiffe("my-app"))["serial"]
        assert [c["serial"] for c in ca.call("List")["certificates"]] == [second, first]


def test_damaged_ledger_is_told_and_refused(ca, csr):
    ca.sign(csr, spiffe("my-app"))
    ca.stop()
    assert ca.once("-t")[0] == 0
    for f in (ca.state / "ca").glob("ledger.db*"):
        f.chmod(0o600)
        f.write_bytes(b"\0nonsense" * 1000)
    code, _, err = ca.once("-t")
    assert code == 78 and "ledger.db is damaged" in err and "restore" in err
    ca.start(wait=False)
    assert ca.process.popen.wait(60) == 6
    assert "ledger.db is damaged" in ca.text()


def test_clock_behind_the_last_certificate(ca, csr):
    ca.sign(csr, spiffe("my-app"))
    ca.stop()
    with sqlite3.connect(ca.state / "ca/ledger.db") as db:
        db.execute("UPDATE mark SET high_water = ?", (int((time.time() + 3600) * 1e6),))
    db.close()
    ca.start().ready()
    with pytest.raises(Refused) as e:
        ca.sign(csr, spiffe("my-app"))
    assert e.value.name == "Failed" and "clock" in e.value.text


def test_too_many_requests_are_put_off(csr):
    with Ca({**DEFAULT, "signBurst": 3, "signPerSecond": 1}) as ca:
        ca.start().ready()
        seen = set()
        for _ in range(20):
            try:
                ca.sign(csr, spiffe("my-app"))
                seen.add("signed")
            except Refused as e:
                seen.add(e.name)
        assert seen == {"signed", "Busy"}
        # Not for ever.
        wait_for("a token", lambda: _signs(ca, csr))


def _signs(ca, csr):
    try:
        return ca.sign(csr, spiffe("my-app"))
    except Refused:
        return None


def test_trust_domain_cannot_change_under_a_ca(ca, csr):
    other = {"trustDomain": "other.example", "identities": [
        {"spiffe": spiffe("my-app", td="other.example"), "workload": "x", "namespace": "default", "proxy": "node"}]}
    ca.router.set(other)
    wait_for("the refusal", lambda: "other.example" in ca.call("Status")["registry"].get("error", ""))
    # What was in force still is.
    assert "BEGIN" in ca.sign(csr, spiffe("my-app"))["certificate"]


@pytest.mark.parametrize("bad", [
    {"trustDomain": TD},
    registry({"spiffe": "spiffe://cluster.local/../x", "workload": "w", "namespace": "n", "proxy": "node"}),
    registry({"spiffe": spiffe("x%41"), "workload": "w", "namespace": "n", "proxy": "node"}),
    {**DEFAULT, "leafLifetimeUs": 8 * 86400 * 1_000_000},
    {**DEFAULT, "somethingNew": True},
])
def test_unusable_registry_changes_nothing(ca, csr, bad):
    ca.router.set(bad)
    wait_for("the refusal", lambda: ca.call("Status")["registry"].get("error"))
    assert "BEGIN" in ca.sign(csr, spiffe("my-app"))["certificate"]
    ca.router.set(registry(identity("other"), signBurst=1000))
    wait_for("the next list", lambda: not ca.call("Status")["registry"].get("error"))
    with pytest.raises(Refused):
        ca.sign(csr, spiffe("my-app"))


def test_damaged_registry_on_disk_falls_back(ca, csr):
    ca.router.set(registry(identity("my-app"), identity("second"), signBurst=1000))
    wait_for("the list", lambda: ca.call("Status")["identities"] == 2)
    ca.router.close()
    ca.stop()
    path = ca.state / "ca/registry.json"
    path.write_bytes(path.read_bytes()[:-10])
    ca.start()
    assert ca.call("Status")["identities"] == 4          # the version before it
    assert "damaged" in ca.text()


def test_issuer_is_replaced_before_it_ends(tmp_path, csr):
    """The next one is trusted before it signs, and what the one before signed stays good."""
    with Ca({**DEFAULT, "issuerLifetimeUs": 20_000_000}) as ca:
        ca.start().ready()
        first = ca.call("Status")["issuer"]["serial"]
        leaves = [ca.sign(csr, spiffe("my-app"))["certificate"]]
        with ca.client() as roots:
            assert len(certificates(roots.call("Roots", more=True)["bundle"])) == 2
            both = certificates(roots.next()["bundle"])
            assert len(both) == 3
            assert ca.call("Status")["issuer"]["serial"] == first
            # The same bundle is in force when the next one begins to sign.
            wait_for("the change", lambda: ca.call("Status")["issuer"]["serial"] != first)
        leaves.append(ca.sign(csr, spiffe("my-app"))["certificate"])
        anchors = tmp_path / "anchors.pem"
        anchors.write_text("".join(both[1:]))
        for i, pem in enumerate(leaves):
            (tmp_path / f"{i}.pem").write_text(pem)
            openssl("verify", "-x509_strict", "-no_check_time", "-partial_chain", "-trusted", anchors, tmp_path / f"{i}.pem")
        issuers = [openssl("x509", "-noout", "-issuer", input=pem).stdout for pem in leaves]
        assert issuers[0] != issuers[1]
        for f in (ca.state / "ca").glob("*.pem"):
            assert f.stat().st_mode & 0o777 == 0o400, f


@pytest.mark.parametrize("moved", [["ca-next-key.pem"], ["ca-next-cert.pem"]])
def test_crash_while_the_issuer_is_replaced(csr, moved):
    """Of the two moves that put the next issuer in place one reached the disk: the next start does the other."""
    with Ca() as ca:
        ca.start().ready()
        ca.stop()
        d = ca.state / "ca"
        old = {f: (d / f).read_bytes() for f in ("ca-key.pem", "ca-cert.pem")}
        for f in old:
            (d / f).unlink()
        ca.start().ready()                  # another issuer of the same root
        ca.stop(signal.SIGKILL)
        for f in old:
            (d / f).rename(d / f.replace("ca-", "ca-next-"))
            (d / f).write_bytes(old[f])
            (d / f).chmod(0o400)
        next_serial = openssl("x509", "-noout", "-serial", "-in", d / "ca-next-cert.pem").stdout.split("=")[1].strip().lower()
        for f in moved:
            (d / f).rename(d / f.replace("ca-next-", "ca-"))
        ca.start().ready()
        assert ca.call("Status")["issuer"]["serial"] == next_serial
        assert not list(d.glob("ca-next-*"))
        assert "BEGIN" in ca.sign(csr, spiffe("my-app"))["certificate"]


def test_plug_in_ca(tmp_path, csr):
    with Ca() as ca:
        d = plugged_in(ca, tmp_path, "corp")
        ca.start().ready()
        leaf = tmp_path / "leaf.pem"
        leaf.write_text(ca.sign(csr, spiffe("my-app"))["certificate"])
        openssl("verify", "-x509_strict", "-CAfile", d / "root-cert.pem", "-untrusted", d / "ca-cert.pem", leaf)
        assert not (ca.state / "ca/root-cert.pem").exists()
        st = ca.call("Status")
        assert st["issuer"]["pluggedIn"] and not st["root"]["keyOnNode"] and "corp" in st["issuer"]["subject"]
        # Another one takes its place without a restart, and watchers of the bundle are told.
        with ca.client() as roots:
            first = roots.call("Roots", more=True)
            plugged_in(ca, tmp_path, "corp2")
            os.kill(ca.process.pid, signal.SIGHUP)
            second = roots.next()
            assert second["generation"] != first["generation"] and second["bundle"] != first["bundle"]
        # … and it signs once every proxy trusts it.
        assert "corp2" not in text_of(ca.sign(csr, spiffe("my-app"))["certificate"])
        ca.acks()
        assert "corp2" in text_of(ca.sign(csr, spiffe("my-app"))["certificate"])
        # A wrong one changes nothing.
        ca.write("ca/ca-cert.pem", "nonsense")
        os.kill(ca.process.pid, signal.SIGHUP)
        wait_for("the refusal", lambda: "the old keys stay in use" in ca.text())
        assert "corp2" in text_of(ca.sign(csr, spiffe("my-app"))["certificate"])
        code, _, err = ca.once("-t")
        assert code == 78 and "ca-cert.pem" in err


@pytest.mark.parametrize("spoil, word", [
    (lambda ca: (ca.etc / "ca/ca-key.pem").chmod(0o644), "open to every user"),
    (lambda ca: ca.write("ca/ca-key.pem", openssl("genpkey", "-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-256").stdout,
                         mode=0o600), "does not belong"),
    (lambda ca: ca.write("ca/root-cert.pem", openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null",
        "-subj", "/CN=x", "-days", "2").stdout), "no good issuing CA"),
    (lambda ca: plugged_in(ca, ca.dir, "shallow", root_pathlen=0), "allows 0 authorities below it (pathlen)"),
    (lambda ca: plugged_in(ca, ca.dir, "old", days=-1), "certificate has expired"),
    (lambda ca: plugged_in(ca, ca.dir, "leaf", ca_true=False), "may not sign certificates"),
    (lambda ca: ca.write("ca/cert-chain.pem", "nonsense"), "holds no certificate in PEM"),
])
def test_bad_plug_in_ca_is_refused_at_start(tmp_path, spoil, word):
    with Ca() as ca:
        plugged_in(ca, tmp_path, "corp")
        spoil(ca)
        ca.start(wait=False)
        assert ca.process.popen.wait(60) == 6
        assert word in ca.text()
        assert ca.once("-t")[0] == 78


def test_plug_in_ca_of_three_tiers(tmp_path, csr):
    """Root, intermediate, issuer: what is between them is in cert-chain.pem, as Istio has it."""
    with Ca() as ca:
        d = plugged_in(ca, tmp_path, "corp", between=True)
        ca.start().ready()
        leaf = tmp_path / "leaf.pem"
        leaf.write_text(ca.sign(csr, spiffe("my-app"))["certificate"])
        openssl("verify", "-x509_strict", "-CAfile", d / "root-cert.pem", "-untrusted", d / "chain.pem", leaf)
        assert len(ca.bundle()) == 3
        ca.stop()
        # Without it there is no way to the root.
        (ca.etc / "ca/cert-chain.pem").unlink()
        ca.start(wait=False)
        assert ca.process.popen.wait(60) == 6 and "unable to get" in ca.text()


def test_stops_cleanly_and_starts_over_its_old_socket(ca):
    assert ca.stop() == 0
    ca.start().ready()
    assert ca.stop(signal.SIGKILL) == -9
    assert ca.sock.exists()
    ca.start().ready()


def test_two_on_one_directory(ca):
    code, _, err = ca.once("--standalone")
    assert code == 1 and "ca.sock" in err
    assert ca.ready()


def test_no_key_material_in_messages(ca, csr):
    ca.sign(csr, spiffe("my-app"))
    everything = json.dumps([ca.call("Status"), ca.call("List")]) + ca.text()
    with ca.client() as c:
        everything += c.call("Roots", more=True)["bundle"]
    assert "PRIVATE" not in everything
    assert "cert_issued: serial" in ca.text() and control.openssl("version").stdout.split()[1] in ca.text()
