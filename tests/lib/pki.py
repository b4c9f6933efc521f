# SPDX-License-Identifier: Apache-2.0
"""Certificates of the world outside the mesh: an authority, servers and clients, made with openssl."""

import pathlib
import subprocess


def _openssl(*args):
    r = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r.stderr


class Authority:
    """A root in DIRECTORY; issue() makes NAME.crt and NAME.key beside it."""

    def __init__(self, directory, name="ca"):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.crt, self.key = self.dir / f"{name}.crt", self.dir / f"{name}.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30,
                 "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.crt)

    def issue(self, name, *sans, subject=None, expired=False, rsa=False):
        """sans: "DNS:shop.example", "URI:…". Returns the paths of certificate and key."""
        kind = ("-newkey", "rsa:2048") if rsa else ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
        crt, key, csr = (self.dir / f"{name}.{end}" for end in ("crt", "key", "csr"))
        ext = self.dir / f"{name}.ext"
        ext.write_text((f"subjectAltName={','.join(sans)}\n" if sans else "") + "basicConstraints=CA:FALSE\n")
        _openssl("req", "-new", *kind, "-nodes",
                 "-subj", subject or f"/CN={name}", "-keyout", key, "-out", csr)
        _openssl("x509", "-req", "-in", csr, "-CA", self.crt, "-CAkey", self.key, "-CAcreateserial",
                 "-days", -1 if expired else 30, "-extfile", ext, "-out", crt)
        return crt, key

    def crl(self, *revoked, days=30):
        """A revocation list of these certificates; the path."""
        d = self.dir / f"{self.name}-crl"
        d.mkdir(exist_ok=True)
        (d / "index.txt").write_text("")
        (d / "number").write_text("01\n")
        config = d / "ca.conf"
        config.write_text(f"[ca]\ndefault_ca=x\n[x]\ndatabase={d}/index.txt\ncrlnumber={d}/number\ndefault_md=sha256\n"
                          f"certificate={self.crt}\nprivate_key={self.key}\n")
        for crt in revoked:
            _openssl("ca", "-config", config, "-revoke", crt)
        to = self.dir / f"{self.name}.crl"
        _openssl("ca", "-config", config, "-gencrl", "-crlsec" if days < 0 else "-crldays", 1 if days < 0 else days, "-out", d / "new")
        (d / "new").rename(to)
        return to

    def credential(self, etc, name, *sans, clients=None, **how):
        """tls/NAME/{tls.crt,tls.key} below a configuration directory; clients: the authority of ca.crt."""
        crt, key = self.issue(f"{name}-server", *sans, **how)
        to = pathlib.Path(etc) / "tls" / name
        to.mkdir(parents=True, exist_ok=True)
        for path, file in ((crt, "tls.crt"), (key, "tls.key"), (clients and clients.crt, "ca.crt")):
            if path:
                new = to / f".{file}.new"
                new.write_bytes(path.read_bytes())
                new.chmod(0o644 if file != "tls.key" else 0o600)
                new.rename(to / file)
        return to
