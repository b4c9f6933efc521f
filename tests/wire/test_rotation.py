# SPDX-License-Identifier: Apache-2.0
"""Roots and issuers change under a whole mesh with load, and while the CA or a proxy is away."""

import contextlib
import os
import signal
import socket
import subprocess

import kvmesh
from ca import certificates
from kvmesh import wait_for
from load import Load
from outsider import Outsider


def child(mesh, name):
    out = subprocess.run(["pgrep", "-P", str(mesh.process.pid), "-x", name], capture_output=True, text=True).stdout
    return int(out) if out.strip() else 0


def ca(mesh, method="Status", parameters=None):
    reply = mesh.call("ca/ca.sock", method, parameters)
    assert "error" not in reply, reply
    return reply["parameters"]


def step(mesh):
    return ca(mesh).get("rotation", {}).get("step")


def root_of(mesh):
    return ca(mesh)["root"]["serial"]


def serials(mesh):
    return {c["spiffe"]: c["serial"] for c in mesh.call("proxy/node.sock", "Status")["parameters"]["certificates"]}


def rotated(mesh, root):
    """No rotation is under way and that root has left."""
    return lambda: (lambda st: "rotation" not in st and st["root"]["serial"] != root)(ca(mesh))


def bundle(mesh):
    return certificates(mesh.ctl("ca", "bundle", check=0).stdout)


def test_ten_root_rotations_under_load_fail_no_request(workdir):
    with kvmesh.Article(workdir, redis=True) as a:
        a.start()
        mesh = a.mesh
        with Load(mesh.http_port) as load, socket.create_connection(("127.0.0.1", a.redis_entry)) as redis:
            load.more(20)
            for _ in range(10):
                root = root_of(mesh)
                ca(mesh, "Rotate", {"root": True})
                wait_for("the rotation to end", rotated(mesh, root))
                assert len(bundle(mesh)) == 2
                load.more(20)
                # One TCP connection lives through all of them.
                redis.sendall(b"PING\r\n")
                assert redis.recv(64) == b"+PONG\r\n"
        assert load.failures == []
        mesh.assert_sound()


def test_sigkill_of_the_ca_at_each_step_under_load(workdir):
    """A stopped proxy holds the step; the CA is killed there, and goes on once the proxy does."""
    with kvmesh.Article(workdir) as a:
        a.start()
        mesh = a.mesh
        state = mesh.state / "ca/rotation.json"
        with Load(mesh.http_port) as load:
            load.more(20)
            for at in ("distribute", "switch", "renew", "retire"):
                root = root_of(mesh)
                killed = child(mesh, "kvmesh-ca")
                ca(mesh, "Rotate", {"root": True})
                # The journal on disk says where it is: killed as soon as that step is seen, or when all is over.
                with contextlib.suppress(FileNotFoundError):
                    while f'"step":"{at}"' not in state.read_text():
                        pass
                os.kill(killed, signal.SIGKILL)
                wait_for("another CA", lambda: child(mesh, "kvmesh-ca") not in (0, killed))
                wait_for("the rotation to end", rotated(mesh, root))
                load.more(20)
        assert load.failures == []


def test_the_step_waits_for_a_proxy_that_is_away_and_the_ca_survives_there(workdir):
    with kvmesh.Article(workdir) as a:
        a.start()
        mesh = a.mesh
        root, before = root_of(mesh), serials(mesh)
        proxy = child(mesh, "kvmesh-proxy")
        os.kill(proxy, signal.SIGSTOP)
        try:
            ca(mesh, "Rotate", {"root": True})
            for _ in range(3):
                assert ca(mesh)["rotation"] == {**ca(mesh)["rotation"], "step": "distribute", "waitsFor": ["node"]}
                assert root_of(mesh) == root and len(bundle(mesh)) == 4
                killed = child(mesh, "kvmesh-ca")
                os.kill(killed, signal.SIGKILL)
                wait_for("another CA", lambda: child(mesh, "kvmesh-ca") not in (0, killed))
                wait_for("its socket", lambda: step(mesh))
        finally:
            os.kill(proxy, signal.SIGCONT)
        wait_for("the rotation to end", rotated(mesh, root))
        assert mesh.get("my-app").status == 200
        now = serials(mesh)
        assert set(now) == set(before) and all(now[s] != before[s] for s in before)


def test_old_certificates_are_good_during_the_overlap_and_refused_after(workdir):
    """Seen by a peer from outside with a certificate of the root before, at the port between proxies."""
    with kvmesh.Article(workdir) as a:
        a.start()
        mesh = a.mesh
        peer = Outsider(mesh, workdir / "peer")
        assert peer.try_it() == ""
        root = root_of(mesh)
        proxy = child(mesh, "kvmesh-proxy")
        ca(mesh, "Rotate", {"root": True})
        # The peer's own certificate is one that no proxy renews: the old root stays for its sake.
        wait_for("the next issuer to sign", lambda: step(mesh) == "renew" and not ca(mesh)["rotation"]["waitsFor"])
        assert root_of(mesh) != root and len(bundle(mesh)) == 4
        assert "othersUntil" in ca(mesh)["rotation"]
        assert peer.try_it() == ""
        fresh = Outsider(mesh, workdir / "fresh", "fresh")
        assert fresh.try_it() == ""
        ca(mesh, "Rotate", {"force": True})
        wait_for("the rotation to end", rotated(mesh, root))
        assert peer.try_it() != ""
        assert fresh.try_it() == ""
        assert child(mesh, "kvmesh-proxy") == proxy
