# SPDX-License-Identifier: Apache-2.0
"""kvmesh-ca alone: a router that says what the test wants, requests from openssl, proxies that acknowledge when told."""

import re
import subprocess

import kvmesh
from control import Daemon, FakeRouter, Refused, openssl
from kvmesh import wait_for

TD = "cluster.local"


def spiffe(sa, ns="default", td=TD):
    return f"spiffe://{td}/ns/{ns}/sa/{sa}"


def identity(sa, proxy="node", **more):
    return {"spiffe": spiffe(sa), "workload": sa, "namespace": "default", "proxy": proxy, **more}


def registry(*identities, td=TD, **more):
    return {"trustDomain": td, "identities": list(identities), **more}


DEFAULT = registry(identity("my-app"), identity("redis"), identity("edge", proxy="ingressgateway"),
                   identity("own", user="nobody"), signBurst=10000, signPerSecond=10000)


def make_csr(directory, *req, key="ec", name="leaf"):
    """A PKCS#10 from openssl; key: ec, p384 or a number of RSA bits."""
    how = {"ec": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "p384": ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"]}.get(
        key, [f"rsa:{key}"])
    path = directory / f"{name}.csr"
    openssl("req", "-new", "-newkey", *how, "-nodes", "-keyout", directory / f"{name}.key", "-out", path, "-subj", "/", *req)
    return path.read_text()


class Ca(Daemon):
    def __init__(self, identities=DEFAULT):
        super().__init__("ca")
        self.router = FakeRouter(self.run, identities)

    def ready(self):
        """Waits until the registry is there."""
        wait_for("the registry", lambda: self.call("Status").get("trustDomain"))
        return self

    def sign(self, csr, id_, proxy="node"):
        return self.call("Sign", {"csr": csr, "spiffe": id_, **({"proxy": proxy} if proxy else {})})

    def close(self):
        self.router.close()
        return super().close()

    def acks(self, *proxies, issuer=None, generation=None, revision=None):
        """These proxies have in force what the CA tells now, or what is given."""
        with self.client() as c:
            told = c.call("Roots", more=True)
        for proxy in proxies or ("node", "ingressgateway"):
            self.call("Ack", {"proxy": proxy, "generation": told["generation"] if generation is None else generation,
                              "issuer": told["issuer"] if issuer is None else issuer,
                              "revision": told.get("revision", 0) if revision is None else revision})
        return told

    def rotation(self):
        """What is under way; {} nothing."""
        return self.call("Status").get("rotation", {})

    def step(self):
        return self.rotation().get("step")

    def bundle(self):
        with self.client() as c:
            return certificates(c.call("Roots", more=True)["bundle"])


def certificates(bundle):
    return re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", bundle, re.S)


def text_of(pem):
    return openssl("x509", "-noout", "-text", input=pem).stdout


def verifies(leaf, anchors, directory):
    """As a peer does: the leaf alone against a bundle."""
    (directory / "anchors.pem").write_text("".join(anchors))
    (directory / "checked.pem").write_text(leaf)
    return openssl("verify", "-x509_strict", "-partial_chain", "-trusted", directory / "anchors.pem",
                   directory / "checked.pem", ok=False).returncode == 0


def plugged_in(ca, directory, name, root_pathlen=None, days=30, ca_true=True, between=False):
    """A CA of somebody else's making under Istio's file names; between: root, intermediate, issuer."""
    d = directory / name
    d.mkdir()
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    root_constraints = "critical,CA:TRUE" + ("" if root_pathlen is None else f",pathlen:{root_pathlen}")
    openssl("req", "-x509", *ec, "-keyout", d / "root.key", "-out", d / "root-cert.pem", "-days", "30",
            "-subj", f"/O={name}/CN=root", "-addext", f"basicConstraints={root_constraints}",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def below(parent, parent_key, who, constraints, valid):
        (d / "ext").write_text(f"basicConstraints=critical,{constraints}\nkeyUsage=critical,keyCertSign,cRLSign\n"
                               "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
        openssl("req", "-new", *ec, "-keyout", d / f"{who}-key.pem", "-out", d / f"{who}.csr", "-subj", f"/O={name}/CN={who}")
        openssl("x509", "-req", "-in", d / f"{who}.csr", "-CA", parent, "-CAkey", parent_key, "-CAcreateserial",
                "-days", str(valid), "-extfile", d / "ext", "-out", d / f"{who}-cert.pem")
        return d / f"{who}-cert.pem", d / f"{who}-key.pem"
    above, chain = (d / "root-cert.pem", d / "root.key"), ""
    if between:
        above = below(*above, "between", "CA:TRUE,pathlen:1", 30)
        chain = above[0].read_text()
    below(*above, "ca", "CA:TRUE,pathlen:0" if ca_true else "CA:FALSE", days)
    for f in ("root-cert.pem", "ca-cert.pem", "ca-key.pem"):
        ca.write(f"ca/{f}", (d / f).read_text(), mode=0o600)
    (d / "chain.pem").write_text((d / "ca-cert.pem").read_text() + chain + (d / "root-cert.pem").read_text())
    ca.write("ca/cert-chain.pem", (d / "chain.pem").read_text())
    return d


def is_sanitized(program):
    """Built with a sanitizer: it wants to be loaded first, and its memory is a world of its own."""
    return "libasan" in subprocess.run(["ldd", kvmesh.tool(program)], capture_output=True, text=True).stdout
