# SPDX-License-Identifier: Apache-2.0
"""kvmesh: one node proxy serves both hops, as on a node of its users."""

import subprocess

import kvmesh
from stack import Stack


BARE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: bare }
spec: { host: bare, trafficPolicy: { tls: { mode: DISABLE } } }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: bare }
spec: { selector: { matchLabels: { app: bare } }, mtls: { mode: PERMISSIVE } }
"""


class Kvmesh(Stack):
    name = "kvmesh"
    host = "app"
    grpc_host = "grpc"

    def __init__(self, directory, apps, certs=None):
        super().__init__()
        self.dir = directory / "kvmesh"
        self.mesh = m = kvmesh.Mesh(self.dir)
        tcp = kvmesh.free_port()
        m.write("conf.d/bench.conf", "mesh = { defaultConfig = { concurrency = 1; }; };\n")
        m.workload("app", apps.http)
        m.service("app", 80, "http")
        m.workload("grpc", apps.grpc, protocol="GRPC")
        m.service("grpc", 80, "grpc", protocol="GRPC")
        m.workload("tcp", apps.tcp, protocol="TCP")
        m.service("tcp", 7000, "tcp", protocol="TCP", listen=f"127.0.0.1:{tcp}")
        plain = kvmesh.free_port()
        m.workload("bare", apps.tcp, protocol="TCP")
        m.service("bare", 7001, "tcp", protocol="TCP", listen=f"127.0.0.1:{plain}")
        m.write("mesh.d/bare.yaml", BARE)
        m.write("mesh.d/strict.yaml", kvmesh.ARTICLE.split("---")[0])
        m.start()
        self.owned.append(m)
        self.ports = {"http": m.http_port, "h2": m.http_port, "grpc": m.http_port, "tcp": tcp, "tcp-plain": plain}
        self.tls_port = m.mesh_port
        self.wait()

    def wait(self, *ports):
        kvmesh.wait_for("kvmesh's TCP entry", lambda: kvmesh.port_open(self.ports["tcp"]))

    def pids(self):
        return [self.mesh.call("proxy/node.sock", "Status")["parameters"]["pid"]]

    def tls(self, context):
        key, csr, crt = (self.dir / f"client.{e}" for e in ("key", "csr", "crt"))
        subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                        "-out", csr, "-subj", "/"], check=True, capture_output=True)
        reply = self.mesh.call("ca/ca.sock", "Sign", {"csr": csr.read_text(), "proxy": "node",
                                                      "spiffe": "spiffe://cluster.local/ns/kvmesh-system/sa/test-1"})
        if "error" in reply:
            raise SystemExit(f"kvmesh's CA: {reply}")
        crt.write_text(reply["parameters"]["certificate"])
        context.load_cert_chain(crt, key)
        return "outbound_.80_._.app.default.svc.cluster.local"
