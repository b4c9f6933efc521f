# SPDX-License-Identifier: Apache-2.0
"""Captured traffic, end to end: kvmesh-nft's rules in the kernel of a namespace, real programs that know nothing of the
mesh, a client outside. What PeerAuthentication asks of a port holds on the application's own port."""

import contextlib
import os

import pytest

import kvmesh
import netns
from capture import APP, CALLER, CapturedMesh, InsideNginx, ask, passable_directory
from netns import CLIENT4, NODE4, NODE6

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="network namespaces need root")

@pytest.fixture(scope="module")
def world():
    """app (nginx, user APP) and caller (user CALLER) on the node, both injected and captured; PERMISSIVE."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(passable_directory())
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


# ---- what is never captured ----------------------------------------------------------------------

def answer_once(listener, text=b"hello\n"):
    """Accepts one connection, in this thread, and greets it; who was it?"""
    listener.settimeout(kvmesh.DEADLINE)
    c, peer = listener.accept()
    with c:
        c.sendall(text)
    return peer


@pytest.mark.parametrize("user", [CALLER, 0])
def test_ssh_is_let_alone_in_both_directions(world, user):
    with world.pair.client.listen("192.0.2.10", 22) as far, world.pair.node.dial("192.0.2.10", 22, user):
        assert answer_once(far)[0] == NODE4
    with world.pair.node.listen("0.0.0.0", 22) as near, world.pair.client.dial(NODE4, 22):
        assert answer_once(near)[0] == CLIENT4


@pytest.mark.parametrize("port", [53, 123, 853])
def test_the_resolver_and_the_time_are_let_alone(world, port):
    with world.pair.client.listen("192.0.2.10", port) as far, world.pair.node.dial("192.0.2.10", port, CALLER):
        assert answer_once(far)[0] == NODE4


def test_loopback_that_is_no_workloads_port_is_let_alone(world):
    before = world.captured("caller", "out")
    with world.pair.node.listen("127.0.0.1", 5432) as l, world.pair.node.dial("127.0.0.1", 5432, CALLER):
        answer_once(l)
    with world.pair.node.listen(NODE4, 5433) as l, world.pair.node.dial(NODE4, 5433, CALLER):
        answer_once(l)
    assert world.captured("caller", "out") == before


def test_others_of_this_host_are_let_alone(world):
    """Who is no workload calls what it likes, and other ports of this host are as they were."""
    with world.pair.client.listen("192.0.2.10", 8000) as far, world.pair.node.dial("192.0.2.10", 8000, user=10):
        answer_once(far)
    with world.pair.node.listen("0.0.0.0", 8001) as near, world.pair.client.dial(NODE4, 8001):
        answer_once(near)


def test_the_proxys_own_connections_are_not_led_to_itself(world):
    """A captured call to somewhere nobody declared: the proxy makes the same call, once, and it arrives."""
    before = world.captured("caller", "out")
    with world.pair.client.listen("192.0.2.10", 7000) as far, world.pair.node.dial("192.0.2.10", 7000, CALLER) as c:
        c.sendall(b"\x01\n")
        answer_once(far)
        assert c.recv(100) == b"hello\n"
    assert world.captured("caller", "out") == before + 1
    world.assert_sound()


# ---- the proxy's own doors -----------------------------------------------------------------------

@pytest.mark.parametrize("address", [NODE4, NODE6])
def test_the_port_of_redirected_calls_is_no_port_to_call(world, address):
    before = world.capture_status()["refused"]
    with pytest.raises(ConnectionRefusedError):
        world.pair.client.dial(address, world.inbound)
    assert world.capture_status()["refused"] == before + 1


def test_who_is_captured_cannot_call_round_in_circles(world):
    """Without the guard's rule the proxy itself sees that a call was meant for its own door."""
    with world.pair.node.dial("127.0.0.1", world.outbound, CALLER) as c:
        c.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{world.outbound}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := c.recv(4096):
            answer += piece
    assert b" 404 " in answer.split(b"\r\n")[0]
    world.assert_sound()


# ---- who speaks first ----------------------------------------------------------------------------

def test_a_server_that_speaks_first_is_heard_before_the_caller_says_a_word(world):
    """Outgoing to an undeclared port, and incoming to a TCP port: the greeting comes while nobody sends anything."""
    with world.pair.client.listen("192.0.2.10", 3306) as far, world.pair.node.dial("192.0.2.10", 3306, CALLER) as c:
        far.settimeout(kvmesh.DEADLINE)
        accepted, _ = far.accept()
        with accepted:
            accepted.sendall(b"5.5.5-10.11 greeting\n")
            assert c.recv(100).startswith(b"5.5.5")


def test_a_server_that_speaks_first_is_learned(world):
    """The caller says nothing at all, again and again; and where it does speak, what it says is looked at as ever."""
    with world.pair.client.listen("192.0.2.10", 2525) as far:
        far.settimeout(kvmesh.DEADLINE)
        for _ in range(3):
            with world.pair.node.dial("192.0.2.10", 2525, CALLER) as c:
                accepted, _ = far.accept()
                with accepted:
                    accepted.sendall(b"220 greeting\r\n")
                    assert c.recv(100) == b"220 greeting\r\n"
        with world.pair.node.dial("192.0.2.10", 2525, CALLER) as c:
            c.sendall(b"GET / HTTP/1.1\r\nHost: there\r\n\r\n")
            accepted, _ = far.accept()
            with accepted:
                assert b"x-request-id" in accepted.recv(4096).lower()


# ---- one table, and nothing else -----------------------------------------------------------------

FOREIGN = """
table inet mine {
    chain c {
        type filter hook output priority 0; policy accept;
        tcp dport 9999 counter comment "mine"
    }
}
table ip nat {
    chain POSTROUTING {
        type nat hook postrouting priority 100; policy accept;
    }
}
"""


def test_rules_of_others_stay_byte_for_byte_and_unload_leaves_nothing(world):
    ns = world.pair.node
    assert ns.run("nft", "-f", "-", input=FOREIGN).returncode == 0
    try:
        world.nft("unload")
        assert world.capture_status()["state"] == "off"
        without = ns.run("nft", "list", "ruleset").stdout
        assert "kvmesh" not in without
        for _ in range(3):
            world.nft("load")
            world.nft("load")
            world.nft("unload")
            world.nft("unload")
        assert ns.run("nft", "list", "ruleset").stdout == without
        assert ns.run("ip", "rule").stdout.count("\n") == 3
    finally:
        ns.run("nft", "flush", "ruleset")
        world.nft("load")


def test_replacing_the_rules_moves_no_connection(world):
    """One that goes through the proxy goes on through it, one that does not stays as it is."""
    ns = world.pair.node
    with contextlib.ExitStack() as stack:
        direct_far = stack.enter_context(world.pair.client.listen("192.0.2.10", 7001))
        through_far = stack.enter_context(world.pair.client.listen("192.0.2.10", 7002))
        direct_far.settimeout(kvmesh.DEADLINE)
        through_far.settimeout(kvmesh.DEADLINE)
        world.nft("unload")
        direct = stack.enter_context(ns.dial("192.0.2.10", 7001, CALLER))
        d, peer = direct_far.accept()
        stack.enter_context(d)
        world.nft("load")
        through = stack.enter_context(ns.dial("192.0.2.10", 7002, CALLER))
        through.sendall(b"\x01")
        t, _ = through_far.accept()
        stack.enter_context(t)
        assert t.recv(1) == b"\x01"
        for _ in range(3):
            world.nft("load")
            for a, b in ((direct, d), (through, t)):
                a.sendall(b"over\n")
                assert b.recv(100) == b"over\n"
                b.sendall(b"back\n")
                assert a.recv(100) == b"back\n"
        assert peer[1] == direct.getsockname()[1]       # nobody stands between
        assert world.captured("caller", "out") >= 1


def test_status_tells_damage_and_repair_mends_it(world):
    ns = world.pair.node
    world.nft("load")
    try:
        assert ns.run("nft", "flush", "chain", "inet", "kvmesh", "guard").returncode == 0
        assert world.capture_status(check=1)["state"] == "damaged"
        assert "capture repair" in world.nft("status", check=1).stdout
    finally:
        world.nft("load")
    assert world.capture_status()["state"] == "on"
