# SPDX-License-Identifier: Apache-2.0
"""Two nodes by files (docs/nodes.md): issuers of one offline root, and WorkloadEntries for what runs on the other."""

import contextlib
import re
import subprocess

import kvmesh
import pytest
from ca import openssl
from kvmesh import wait_for

EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Root:
    """An offline root; its key touches no node."""

    def __init__(self, directory):
        self.dir = directory
        directory.mkdir()
        openssl("req", "-x509", *EC, "-keyout", directory / "root.key", "-out", directory / "root-cert.pem", "-days", "30",
                "-subj", "/O=corp/CN=root", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def plug_into(self, mesh, name):
        d = self.dir
        (d / "ext").write_text("basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n"
                               "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
        openssl("req", "-new", *EC, "-keyout", d / f"{name}.key", "-out", d / f"{name}.csr", "-subj", f"/O=corp/CN={name}")
        openssl("x509", "-req", "-in", d / f"{name}.csr", "-CA", d / "root-cert.pem", "-CAkey", d / "root.key", "-CAcreateserial",
                "-days", "20", "-extfile", d / "ext", "-out", d / f"{name}.pem")
        for to, of in (("root-cert.pem", "root-cert.pem"), ("ca-cert.pem", f"{name}.pem"), ("ca-key.pem", f"{name}.key"),
                       ("cert-chain.pem", f"{name}.pem")):
            mesh.write(f"ca/{to}", (d / of).read_text()).chmod(0o600)


class Node(kvmesh.Mesh):
    """One of several on this machine: an address of its own, and the mesh's port."""

    def __init__(self, directory, name, address, mesh_port):
        super().__init__(directory, mesh_port=mesh_port)
        self.name, self.address = name, address
        conf = (self.etc / "kvmesh.conf").read_text().replace('"test-1"', f'"{name}"')
        self.write("kvmesh.conf", conf.replace('address = "127.0.0.1";', f'address = "{address}"; meshBind = "{address}";'))

    def knows(self, name, node, account, port, version="v1"):
        """A workload of another node."""
        self.write(f"mesh.d/10-{name}.yaml", f"""
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{ name: {name}, namespace: default }}
spec:
  address: {node.address}
  ports: {{ http: {port} }}
  serviceAccount: {account}
  labels: {{ app: {account}, version: {version}, security.istio.io/tlsMode: istio }}
""")


SERVICE = """
Service = {{ name = "{name}"; namespace = "default"; selector = {{ app = "{name}"; }};
  ports = ( {{ name = "http"; number = 80; targetPort = "http"; protocol = "HTTP"; }} ); }};
"""
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: kvmesh-system }
spec: { mtls: { mode: STRICT } }
"""
ONLY_SHOP = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: only-shop, namespace: default }
spec:
  selector: { matchLabels: { app: stock } }
  rules: [ { from: [ { source: { principals: [ cluster.local/ns/default/sa/shop ] } } ] } ]
"""


@pytest.fixture
def nodes(tmp_path):
    """On "one" runs shop, on "two" stock."""
    port = kvmesh.free_port()
    one, two = Node(tmp_path / "one", "one", "127.0.0.2", port), Node(tmp_path / "two", "two", "127.0.0.3", port)
    root = Root(tmp_path / "root")
    stock = kvmesh.Nginx(tmp_path, "stock")
    with contextlib.ExitStack() as stack:
        stack.callback(stock.stop)
        for node in (one, two):
            stack.callback(node.stop)
            root.plug_into(node, node.name)
            node.write("mesh.d/00-stock.conf", SERVICE.format(name="stock"))
            node.write("mesh.d/20-strict.yaml", STRICT)
        two.workload("stock-1", stock.port, {"app": "stock"}, serviceAccount="stock")
        one.knows("stock-1", two, "stock", stock.port)
        one.start()
        two.start()
        yield one, two


def test_a_call_goes_over_mutual_tls_to_the_other_node(nodes):
    one, two = nodes
    assert "stock" in wait_for("an answer", lambda: (r := one.get("stock")).status == 200 and r.text)
    rows = two.ctl_json("authn", "tls-check")
    assert rows
    edges = two.call("proxy/node.sock", "Edges")["parameters"]["edges"]
    (edge,) = [e for e in edges if e["reporter"] == "destination" and e["requests"] > 0]
    assert edge["mutual"] and edge["sourcePrincipal"] == "spiffe://cluster.local/ns/kvmesh-system/sa/one"
    assert edge["destinationPrincipal"] == "spiffe://cluster.local/ns/default/sa/stock"


def test_policies_hold_across_nodes(nodes):
    one, two = nodes
    wait_for("an answer", lambda: one.get("stock").status == 200)
    two.write("mesh.d/30-only-shop.yaml", ONLY_SHOP)
    wait_for("the policy", lambda: one.get("stock").status == 403)
    two.write("mesh.d/30-only-shop.yaml", ONLY_SHOP.replace("default/sa/shop", "kvmesh-system/sa/one"))
    wait_for("the policy to allow", lambda: one.get("stock").status == 200)


def test_a_node_of_another_root_is_refused(nodes, tmp_path):
    one, _ = nodes
    wait_for("an answer", lambda: one.get("stock").status == 200)
    stranger = Node(tmp_path / "three", "three", "127.0.0.4", one.mesh_port)
    Root(tmp_path / "other").plug_into(stranger, "three")
    stranger.write("mesh.d/00-stock.conf", SERVICE.format(name="stock"))
    stranger.write("mesh.d/10-stock-1.yaml", (one.etc / "mesh.d/10-stock-1.yaml").read_text())
    try:
        stranger.start()
        assert stranger.get("stock").status == 503
    finally:
        stranger.stop()


def test_the_issuer_travels_with_the_leaf(nodes):
    """A peer that knows the root alone can verify."""
    _, two = nodes
    r = subprocess.run(["openssl", "s_client", "-connect", f"{two.address}:{two.mesh_port}", "-showcerts", "-servername",
                        "outbound_.80_._.stock.default.svc.cluster.local"], input="", capture_output=True, text=True)
    assert len(re.findall("BEGIN CERTIFICATE", r.stdout)) == 2, r.stdout + r.stderr


CANARY = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: stock, namespace: default }
spec: { host: stock, subsets: [ { name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } } ] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: stock, namespace: default }
spec:
  hosts: [ stock ]
  http: [ { route: [ { destination: { host: stock, subset: v1 }, weight: 50 }, { destination: { host: stock, subset: v2 }, weight: 50 } ] } ]
"""


def test_a_canary_over_two_nodes_and_its_metrics(nodes, tmp_path):
    """v1 on the other node, v2 on this one."""
    one, two = nodes
    new = kvmesh.Nginx(tmp_path, "newer")
    try:
        one.workload("stock-2", new.port, {"app": "stock", "version": "v2"}, serviceAccount="stock")
        one.write("mesh.d/40-canary.yaml", CANARY)
        wait_for("both", lambda: {"stock", "newer"} <= {one.get("stock").text.split()[0] for _ in range(20)})
        seen = [one.get("stock").text.split()[0] for _ in range(100)]
        assert 20 <= seen.count("newer") <= 80 and seen.count("stock") + seen.count("newer") == 100

        def counted(node, reporter):
            return [line for line in node.metrics().splitlines() if line.startswith("istio_requests_total") and f'reporter="{reporter}"' in line
                    and 'destination_workload="stock-1"' in line and 'connection_security_policy="mutual_tls"' in line]
        wait_for("the caller's series", lambda: counted(one, "source") or 'destination_workload="stock-1"' in one.metrics())
        wait_for("the other node's series", lambda: counted(two, "destination"))
    finally:
        new.stop()
