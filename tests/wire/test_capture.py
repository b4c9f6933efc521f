# SPDX-License-Identifier: Apache-2.0
"""Captured traffic, end to end: kvmesh-nft's rules in the kernel of a namespace, real programs that know nothing of the
mesh, a client outside. What PeerAuthentication asks of a port holds on the application's own port."""

import contextlib
import os
import socket

import pytest

import kvmesh
import netns
from capture import APP, CALLER, PROXY, CapturedMesh, InsideNginx, ask
from kvmesh import wait_for
from netns import CLIENT4, CLIENT6, NODE4, NODE6

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="network namespaces need root")

STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: strict, namespace: default }
spec: { mtls: { mode: STRICT } }
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """app (nginx, user APP) and caller (user CALLER) on the node, both injected and captured; PERMISSIVE."""
    directory = tmp_path_factory.mktemp("capture")
    for p in [directory, *directory.parents]:
        if str(p).startswith("/tmp/"):
            p.chmod(p.stat().st_mode | 0o055)
    with contextlib.ExitStack() as stack:
        pair = netns.Pair()
        stack.callback(pair.close)
        mesh = CapturedMesh(directory / "mesh", pair)
        mesh.app_port = 8080
        app = InsideNginx(pair.node, directory, mesh.app_port)
        stack.callback(app.stop)
        mesh.workload("app", mesh.app_port, inject=True, user="nobody")
        mesh.workload("caller", 9, inject=True, user="games")
        mesh.service("app", 80, mesh.app_port)
        mesh.start()
        stack.callback(mesh.stop)
        mesh.nft("load")
        yield mesh


def test_a_call_by_name_becomes_mutual_tls(world):
    """The caller knows an address and a Host; its request is a route's from then on."""
    before = world.captured("caller", "out")
    code, body = ask(world.pair.node, "http://192.0.2.10/", "-H", "Host: app", user=CALLER)
    assert code == 200
    assert body.startswith("app ") and "URI=spiffe://cluster.local/ns/default/sa/caller" in body
    assert world.captured("caller", "out") == before + 1
    world.assert_sound()


@pytest.mark.parametrize("address", [NODE4, f"[{NODE6}]"])
def test_a_client_outside_is_served_where_plain_text_is_allowed(world, address):
    before = world.captured("app", "in")
    code, body = ask(world.pair.client, f"http://{address}:{world.app_port}/")
    assert (code, body.split()[0]) == (200, "app")
    assert "URI=" not in body
    assert world.captured("app", "in") == before + 1


def test_status_says_what_is_captured(world):
    s = world.capture_status()
    assert s["state"] == "on"
    rows = {w["name"]: w for w in s["workloads"]}
    assert rows["app"]["inbound"] == [world.app_port] and rows["app"]["by"] == f"user {APP}"
    assert rows["caller"]["outbound"] is True and rows["caller"]["by"] == f"user {CALLER}"
