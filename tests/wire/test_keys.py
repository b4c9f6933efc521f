# SPDX-License-Identifier: Apache-2.0
"""Where private keys are, and where they are not: memory that a core would hold, logs, files, messages."""

import base64
import json
import os
import re
import signal
import stat

import pytest

import kvmesh
from ca import Ca, is_sanitized, make_csr, plugged_in, spiffe
from control import is_root, openssl
from test_rotation import ca as ask, child, rotated, root_of
from kvmesh import wait_for


def scalar(path):
    """The secret number of an EC key."""
    text = openssl("pkey", "-in", path, "-noout", "-text").stdout
    digits = re.search(r"priv:\s*((?:[0-9a-f]{2}:?\s*)+)pub:", text, re.S).group(1)
    return bytes.fromhex(re.sub(r"[^0-9a-f]", "", digits)).lstrip(b"\0").rjust(32, b"\0")


def spellings(path):
    """As bytes, as a number of OpenSSL's (limbs, low ones first), as the lines of the file."""
    d = scalar(path)
    lines = [line.encode() for line in path.read_text().splitlines() if line and not line.startswith("-")]
    der = base64.b64decode(b"".join(lines))
    return [d, d[::-1], lines[0], der[-100:]]


def regions(pid):
    """(start, end, may be in a core) of what the process has mapped and may write."""
    found, current = [], None
    for line in open(f"/proc/{pid}/smaps", errors="replace"):
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ", line)
        if head:
            current = [int(head.group(1), 16), int(head.group(2), 16), "w" in head.group(3)]
        elif line.startswith("VmFlags:") and current and current[2]:
            found.append((current[0], current[1], "dd" not in line.split()))
    return found


def where(pid, needles):
    """Addresses of the needles: (those in memory that cores leave out, those in the rest)."""
    kept, dumped = [], []
    with open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for start, end, in_core in regions(pid):
            try:
                mem.seek(start)
                data = mem.read(end - start)
            except OSError:
                continue
            for n in needles:
                if n in data:
                    (dumped if in_core else kept).append((hex(start + data.index(n)), n[:4].hex()))
    return kept, dumped


needs_root = pytest.mark.skipif(not is_root(), reason="reads another process's memory")
plain = pytest.mark.skipif("is_sanitized('kvmesh-ca')", reason="a sanitizer keeps freed memory for itself")


@needs_root
@plain
def test_the_cas_keys_are_in_no_memory_that_a_core_holds(tmp_path):
    csr = make_csr(tmp_path)
    with Ca() as ca:
        ca.start().ready()
        ca.sign(csr, spiffe("my-app"))
        ca.call("Rotate", {"root": True})
        ca.acks()
        ca.acks()
        ca.sign(csr, spiffe("my-app"))
        os.kill(ca.process.pid, signal.SIGHUP)
        wait_for("the reload", lambda: "reload:" in ca.text())
        ca.sign(csr, spiffe("my-app"))
        d = ca.state / "ca"
        kept, dumped = where(ca.process.pid, spellings(d / "ca-key.pem"))
        assert kept, "the key that signs is there, or this test looks in the wrong place"
        assert dumped == []
        assert where(ca.process.pid, spellings(d / "root-key.pem")) == ([], []), "the root's key is needed to sign an issuer, then no more"


@needs_root
@plain
def test_cas_plugged_in_key_likewise(tmp_path):
    csr = make_csr(tmp_path)
    with Ca() as ca:
        plugged_in(ca, tmp_path, "corp")
        ca.start().ready()
        ca.sign(csr, spiffe("my-app"))
        kept, dumped = where(ca.process.pid, spellings(ca.etc / "ca/ca-key.pem"))
        assert kept and dumped == []


def test_no_cores_no_tracing(workdir):
    """Limits, and what the kernel says: files of an undumpable process are root's."""
    with kvmesh.Article(workdir) as a:
        a.start()
        for name in ("kvmesh-ca", "kvmesh-proxy"):
            pid = child(a.mesh, name)
            limits = open(f"/proc/{pid}/limits").read()
            assert re.search(r"Max core file size\s+0\s+0 ", limits), name


def test_no_key_in_logs_messages_or_open_files(workdir):
    """A whole life: certificates, renewal, a rotation, revocation, a certificate by hand; then every byte is looked at."""
    with kvmesh.Article(workdir, conf=f'accessLogFile = "{workdir}/access.log";') as a:
        a.start()
        mesh = a.mesh
        assert mesh.get("my-app").status == 200
        root = root_of(mesh)
        needles = [n for k in ("root-key.pem", "ca-key.pem") for n in spellings(mesh.state / "ca" / k)]
        ask(mesh, "Rotate", {"root": True})
        wait_for("the rotation", rotated(mesh, root))
        needles += [n for k in ("root-key.pem", "ca-key.pem") for n in spellings(mesh.state / "ca" / k)]
        mesh.ctl("ca", "issue", "by-hand", "--out", workdir / "by-hand", check=0)
        needles += spellings(workdir / "by-hand.key")
        mesh.ctl("ca", "init", "--offline-root", "--csr", workdir / "ca.csr", check=0)
        needles += spellings(mesh.state / "ca/ca-asked-key.pem") + spellings(mesh.state / "ca/jwt-key.pem")
        said = json.dumps([ask(mesh, m) for m in ("Status", "List", "Revoked")]) + mesh.ctl("ca", "bundle").stdout
        said += json.dumps(mesh.call("proxy/node.sock", "Dump", {"what": "secrets"})) + mesh.metrics()
        assert "PRIVATE" not in said
        mesh.stop()
        wait_for("every process to end", lambda: True)
        keys = {"root-key.pem", "ca-key.pem", "ca-asked-key.pem", "by-hand.key", "jwt-key.pem"}
        seen = 0
        for path in workdir.rglob("*"):
            if not path.is_file() or stat.S_ISSOCK(path.lstat().st_mode):
                continue
            data = path.read_bytes()
            if path.name in keys:
                seen += 1
                assert path.stat().st_mode & 0o077 == 0, f"{path} is open to others"
                continue
            assert b"PRIVATE KEY" not in data, path
            for n in needles:
                assert n not in data, path
        assert seen == 5


@pytest.mark.parametrize("own", [True, False])
def test_the_issuers_key_as_a_credential(tmp_path, monkeypatch, own):
    """What LoadCredentialEncrypted= hands over is used, and no file holds the key."""
    csr, creds = make_csr(tmp_path), tmp_path / "credentials"
    creds.mkdir(mode=0o700)
    with Ca() as ca:
        if not own:
            plugged_in(ca, tmp_path, "corp")
        ca.start().ready()
        issuer = ca.call("Status")["issuer"]["serial"]
        ca.stop()
        key = (ca.state if own else ca.etc) / "ca/ca-key.pem"
        (creds / "ca-key.pem").write_bytes(key.read_bytes())
        (creds / "ca-key.pem").chmod(0o400)
        key.unlink()
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(creds))
        ca.start().ready()
        st = ca.call("Status")
        assert st["issuer"]["serial"] == issuer and st["issuer"]["pluggedIn"] != own
        ca.sign(csr, spiffe("my-app"))
        assert not key.exists() and ca.once("-t")[0] == 0
        if own:
            # The next issuer's key is a file again.
            ca.call("Rotate", {"root": False})
            ca.acks()
            assert key.exists() and ca.call("Status")["issuer"]["serial"] != issuer
            ca.sign(csr, spiffe("my-app"))
