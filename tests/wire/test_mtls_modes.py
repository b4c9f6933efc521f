# SPDX-License-Identifier: Apache-2.0
"""PeerAuthentication by mesh, namespace, workload and port, with captured traffic in a network namespace of the
test's own: plain and mutual TLS callers at the application's port, redirected by nftables to the inbound side."""

import os
import socket
import subprocess

import pytest

import kvmesh
from kvmesh import wait_for

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="network namespaces need root")


def ip(*args):
    subprocess.run(["ip", *map(str, args)], check=True, capture_output=True)


class Netns:
    """Own loopback and two addresses; the mesh, the application and the callers live inside."""

    def __init__(self):
        self.name = f"kvm-{os.getpid()}-{kvmesh.free_port()}"
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")

    def run(self, *args, **kw):
        return subprocess.run(["ip", "netns", "exec", self.name, *map(str, args)], capture_output=True, text=True,
                              timeout=kvmesh.DEADLINE, **kw)

    def nft(self, rules):
        r = self.run("nft", "-f", "-", input=rules)
        assert r.returncode == 0, r.stderr

    def close(self):
        ip("netns", "del", self.name)


@pytest.fixture
def captured(workdir, monkeypatch):
    """make(resources) -> (mesh, ns, app port): calls to 127.0.0.1:APP by anybody but root are redirected to inboundPort,
    so that the proxy (root here) reaches the application."""
    opened = []

    def make(resources, protocol="HTTP"):
        ns = Netns()
        opened.append(ns.close)
        inbound = kvmesh.free_port()
        mesh = kvmesh.Mesh(workdir / "mesh", inbound_port=inbound)
        app = kvmesh.free_port()
        mesh.workload("app", app, protocol=protocol)
        mesh.service("app", 80, protocol.lower(), protocol=protocol)
        mesh.write("mesh.d/pa.yaml", resources)
        run = kvmesh.Process(["ip", "netns", "exec", ns.name, kvmesh.tool("kvmeshctl"), "run", "--etc", mesh.etc, "--run", mesh.run,
                              "--state", mesh.state], mesh.dir / "run.log")
        mesh.process = run
        opened.append(lambda: run.stop())
        server = kvmesh.Process(["ip", "netns", "exec", ns.name, "/usr/bin/python3", "-m", "http.server", str(app), "--bind", "127.0.0.1",
                                 "--directory", str(workdir)], workdir / "app.log")
        opened.append(lambda: server.stop())
        mesh.wait_ready()
        wait_for("the application", lambda: ns.run("curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{app}/").returncode == 0)
        ns.nft(f"""
table ip test {{
    chain output {{
        type nat hook output priority -100;
        meta skuid != 0 tcp dport {app} redirect to :{inbound}
    }}
}}
""")
        return mesh, ns, app

    yield make
    for close in reversed(opened):
        close()


def plain(ns, port):
    """A caller of another user speaks plain HTTP to the application's port."""
    return ns.run("setpriv", "--reuid", "65534", "--clear-groups", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
                  "--max-time", "20", f"http://127.0.0.1:{port}/")


PA = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{ name: {name}, namespace: {ns} }}
spec: {spec}
---
"""


@pytest.mark.parametrize("resources,answered", [
    ("", True),
    (PA.format(name="mesh", ns="istio-system", spec="{ mtls: { mode: STRICT } }"), False),
    (PA.format(name="ns", ns="default", spec="{ mtls: { mode: STRICT } }"), False),
    (PA.format(name="mesh", ns="istio-system", spec="{ mtls: { mode: STRICT } }") +
     PA.format(name="ns", ns="default", spec="{ mtls: { mode: PERMISSIVE } }"), True),
    (PA.format(name="ns", ns="default", spec="{ mtls: { mode: PERMISSIVE } }") +
     PA.format(name="app", ns="default", spec="{ selector: { matchLabels: { app: app } }, mtls: { mode: STRICT } }"), False),
    (PA.format(name="ns", ns="default", spec="{ mtls: { mode: STRICT } }") +
     PA.format(name="app", ns="default", spec="{ selector: { matchLabels: { app: app } }, mtls: { mode: UNSET } }"), False),
    (PA.format(name="app", ns="default", spec="{ selector: { matchLabels: { app: other } }, mtls: { mode: STRICT } }"), True),
    (PA.format(name="ns", ns="default", spec="{ mtls: { mode: DISABLE } }"), True),
])
def test_2_10_plain_text_at_the_applications_port(captured, resources, answered):
    mesh, ns, app = captured(resources or "# nothing\n")
    r = plain(ns, app)
    if answered:
        assert r.stdout == "200", r
    else:
        assert r.stdout == "000" and r.returncode in (52, 56), "closed without a byte: " + repr(r)


def test_2_10_port_level_mode_beats_the_workloads(captured):
    # the port is only known inside: a policy for every port of the workload but a wrong one is STRICT
    mesh, ns, app = captured(PA.format(name="app", ns="default",
                                       spec="{ selector: { matchLabels: { app: app } }, mtls: { mode: STRICT }, portLevelMtls: { 1: { mode: DISABLE } } }"))
    assert plain(ns, app).stdout == "000"
    mesh.write("mesh.d/pa.yaml", PA.format(name="app", ns="default",
               spec=f"{{ selector: {{ matchLabels: {{ app: app }} }}, mtls: {{ mode: STRICT }}, portLevelMtls: {{ {app}: {{ mode: PERMISSIVE }} }} }}"))
    wait_for("plain text to be served", lambda: plain(ns, app).stdout == "200")


def test_mutual_tls_goes_through_in_strict(captured):
    mesh, ns, app = captured(PA.format(name="ns", ns="default", spec="{ mtls: { mode: STRICT } }"))
    r = ns.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-x", f"http://127.0.0.1:{mesh.http_port}", "http://app/")
    assert r.stdout == "200"
