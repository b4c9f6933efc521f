# SPDX-License-Identifier: Apache-2.0
"""SIGKILL to each daemon while requests flow (P13, P14, F1, F3)."""

import os
import signal
import subprocess

import pytest

from kvmesh import wait_for
from load import Load


def children(mesh, name):
    out = subprocess.run(["pgrep", "-P", str(mesh.process.pid), "-x", name[:15]], capture_output=True, text=True).stdout
    return [int(p) for p in out.split()]


def kill(mesh, name):
    (pid,) = children(mesh, name)
    os.kill(pid, signal.SIGKILL)
    return pid


@pytest.mark.parametrize("daemon", ["kvmesh-router", "kvmesh-ca", "kvmesh-metrics"])
def test_killing_a_daemon_beside_the_traffic_fails_no_request(article, daemon):
    mesh = article.mesh
    with Load(mesh.http_port) as load:
        load.more(50)
        old = kill(mesh, daemon)
        load.more(100)
        wait_for(f"{daemon} to be back", lambda: children(mesh, daemon) not in ([], [old]))
        load.more(100)
    assert load.failures == []


def test_a_killed_proxy_is_back_and_serves(article):
    mesh = article.mesh
    old = kill(mesh, "kvmesh-proxy")
    wait_for("a new proxy", lambda: children(mesh, "kvmesh-proxy") not in ([], [old]))
    assert wait_for("an answer", lambda: mesh.get("my-app").status == 200)


def test_a_proxy_starts_from_its_last_snapshot_while_the_router_is_down(article):
    """The router cannot come back: its configuration is unreadable. The proxy serves what it had."""
    mesh = article.mesh
    mesh.get("my-app")
    (mesh.state / "router").rename(mesh.state / "router.away")
    mesh.write("kvmesh.conf", "mesh = {")
    kill(mesh, "kvmesh-router")
    kill(mesh, "kvmesh-proxy")
    assert wait_for("an answer from the last good snapshot", lambda: mesh.get("my-app").status == 200)
    status = mesh.call("proxy/node.sock", "Status")["parameters"]
    assert status["stale"] is True


def test_the_generation_never_goes_back(article):
    mesh = article.mesh
    before = mesh.call("router/router.sock", "Status")["parameters"]["generation"]
    old = kill(mesh, "kvmesh-router")
    wait_for("a new router", lambda: children(mesh, "kvmesh-router") not in ([], [old]))
    assert wait_for("its status", lambda: mesh.call("router/router.sock", "Status"))["parameters"]["generation"] >= before


def test_sigterm_leaves_no_process(article):
    mesh = article.mesh
    pids = [p for d in ("kvmesh-router", "kvmesh-ca", "kvmesh-metrics", "kvmesh-proxy") for p in children(mesh, d)]
    assert len(pids) == 4
    assert mesh.stop() == 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
