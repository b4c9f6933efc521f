# SPDX-License-Identifier: Apache-2.0
"""Who is revoked is refused by every proxy, and what it has open is cut: on both sides, and over restarts."""

import os
import re
import signal
import socket
import ssl

import pytest

import kvmesh
from kvmesh import wait_for
from load import Load
from outsider import Outsider
from test_rotation import ca, child, serials

MY_APP = "spiffe://cluster.local/ns/default/sa/my-app"
REDIS = "spiffe://cluster.local/ns/default/sa/redis"


def in_force(mesh):
    return not ca(mesh)["revoked"]["waitsFor"]


def revoke(mesh, **what):
    ca(mesh, "Revoke", what)
    wait_for("every proxy to know", lambda: in_force(mesh))


def is_cut(tls):
    try:
        return tls.recv(1) == b""
    except (ConnectionError, ssl.SSLError):
        return True


@pytest.fixture
def mesh(workdir):
    with kvmesh.Article(workdir, redis=True) as a:
        yield a.start().mesh


@pytest.mark.parametrize("by", ["serial", "spiffe"])
def test_open_connections_of_a_revoked_peer_are_cut_and_new_ones_refused(mesh, workdir, by):
    bad, good = Outsider(mesh, workdir / "bad", "bad"), Outsider(mesh, workdir / "good", "good")
    context = bad.context()
    with bad.connect() as idle, bad.connect(context=context) as used, good.connect() as other:
        assert " 200 " in bad.get(used) and " 200 " in good.get(other)
        session = used.session
        with bad.connect(context=context, session=session) as resumed:
            assert " 200 " in bad.get(resumed) and resumed.session_reused
        revoke(mesh, **({"serial": bad.serial} if by == "serial" else {"spiffe": bad.spiffe}), reason="a test")
        assert is_cut(idle) and is_cut(used)
        assert " 200 " in good.get(other), "others go on"
    assert "revoked" in bad.try_it() and good.try_it() == ""
    # A session of before is no way round.
    with pytest.raises(OSError, match="revoked"), bad.connect(context=context, session=session) as tls:
        bad.get(tls)
    wait_for("the metrics", lambda: 'reason="certificate_revoked"' in mesh.metrics() and
             re.search(r"^kvmesh_revoked_connections_total\S* [1-9]", mesh.metrics(), re.M))
    listed = ca(mesh, "List", {"spiffe": bad.spiffe})["certificates"]
    assert [c["state"] for c in listed] == ["revoked"]
    assert ca(mesh, "Revoked")["revoked"][0]["reason"] == "a test"


def test_a_revoked_identity_gets_no_certificate(mesh, workdir):
    bad = Outsider(mesh, workdir / "bad", "bad")
    revoke(mesh, spiffe=bad.spiffe)
    reply = mesh.call("ca/ca.sock", "Issue", {"csr": (bad.dir / "csr.pem").read_text(), "spiffe": bad.spiffe})
    assert reply["error"] == "NotPermitted" and "revoked" in reply["parameters"]["message"]
    ca(mesh, "Revoke", {"spiffe": bad.spiffe, "lift": True})
    wait_for("every proxy to know", lambda: in_force(mesh))
    assert bad.try_it() == ""


def test_a_revoked_serial_can_be_replaced(mesh, workdir):
    before = Outsider(mesh, workdir / "before", "same")
    after = Outsider(mesh, workdir / "after", "same")
    revoke(mesh, serial=before.serial)
    assert before.try_it() != "" and after.try_it() == ""


def test_revocation_survives_the_restart_of_every_daemon(mesh, workdir):
    bad = Outsider(mesh, workdir / "bad", "bad")
    revoke(mesh, serial=bad.serial)
    for name in ("kvmesh-ca", "kvmesh-proxy", "kvmesh-router", "kvmesh-metrics"):
        pid = child(mesh, name)
        os.kill(pid, signal.SIGKILL)
        wait_for(f"another {name}", lambda: child(mesh, name) not in (0, pid))
        wait_for("the mesh to work", lambda: mesh.get("my-app").status == 200)
        wait_for("every proxy to know", lambda: in_force(mesh))
        assert "revoked" in bad.try_it(), name


def test_a_revoked_workload_is_cut_on_both_sides_and_others_are_not(mesh, workdir):
    """The identity of a local workload: its inbound legs, the pools towards it, long TCP connections."""
    redis_entry = next(r["port"] for r in mesh.call("proxy/node.sock", "Dump", {"what": "listeners"})["parameters"]["listeners"]
                       if r["kind"] == "TCP")
    with socket.create_connection(("127.0.0.1", redis_entry)) as redis, Load(mesh.http_port) as load:
        redis.sendall(b"PING\r\n")
        assert redis.recv(64) == b"+PONG\r\n"
        load.more(20)
        revoke(mesh, spiffe=REDIS)
        redis.settimeout(kvmesh.DEADLINE)
        assert is_cut(redis)
        load.more(20)
    assert load.failures == [], "the other workloads have nothing to do with it"
    assert REDIS not in {c["spiffe"] for c in mesh.call("proxy/node.sock", "Status")["parameters"]["certificates"] if "serial" in c}
    assert mesh.call("proxy/node.sock", "Status")["parameters"]["ready"], "nobody waits for that certificate"
    with socket.create_connection(("127.0.0.1", redis_entry)) as again:
        again.settimeout(kvmesh.DEADLINE)
        assert is_cut(again), "before anything was sent"
    # And back.
    ca(mesh, "Revoke", {"spiffe": REDIS, "lift": True})
    wait_for("a certificate", lambda: REDIS in {c["spiffe"] for c in
                                              mesh.call("proxy/node.sock", "Status")["parameters"]["certificates"] if "serial" in c})

    def ping():
        with socket.create_connection(("127.0.0.1", redis_entry)) as s:
            s.settimeout(kvmesh.DEADLINE)
            s.sendall(b"PING\r\n")
            return s.recv(64) == b"+PONG\r\n"
    wait_for("redis", ping)


def test_a_proxys_own_revoked_certificate_is_replaced_at_once(mesh):
    before = serials(mesh)[MY_APP]
    ca(mesh, "Revoke", {"serial": before})
    wait_for("another certificate", lambda: serials(mesh).get(MY_APP) not in (None, before))
    wait_for("the mesh to work", lambda: mesh.get("my-app").status == 200)


@pytest.mark.parametrize("what, error", [
    ({}, "InvalidParameter"),
    ({"serial": "00" * 16, "spiffe": MY_APP}, "InvalidParameter"),
    ({"serial": "00" * 16}, "NotFound"),
    ({"spiffe": "spiffe://cluster.local/ns/default/sa/never-heard-of"}, "NotFound"),
    ({"spiffe": "nonsense"}, "InvalidParameter"),
    ({"spiffe": MY_APP, "lift": True}, "NotFound"),
])
def test_orders_that_make_no_sense(shared_article, what, error):
    assert shared_article.mesh.call("ca/ca.sock", "Revoke", what)["error"] == error
