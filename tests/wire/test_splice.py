# SPDX-License-Identifier: Apache-2.0
"""Opaque TCP between two plain sockets goes by a pipe of the kernel once it is bulk. Nothing may tell the two ways apart but
the counters: every test runs on a service with TLS between the hops, which is copied, and on one without, which is spliced."""

import contextlib
import hashlib
import json
import os
import socket
import struct
import threading

import pytest

import kvmesh
from kvmesh import wait_for
from server import Server
from test_backpressure import KERNEL, ZEROS, connect, push, stops_growing
from test_overload import proxy_pid

MUCH = 24 << 20
BLOCK = os.urandom(1 << 20)
RST = struct.pack("ii", 1, 0)


def pour(s, n):
    while n > 0:
        s.sendall(BLOCK[:n])
        n -= min(n, len(BLOCK))


def digest(n):
    h = hashlib.sha256()
    for _ in range(n // len(BLOCK)):
        h.update(BLOCK)
    h.update(BLOCK[:n % len(BLOCK)])
    return h.hexdigest()


def drain(s):
    """(bytes until the end, their digest)"""
    h, n, buffer = hashlib.sha256(), 0, bytearray(1 << 18)
    while k := s.recv_into(buffer):
        h.update(memoryview(buffer)[:k])
        n += k
    return n, h.hexdigest()


class Peer(Server):
    """Does what the first byte says:
    s  reads to the end, then sends MUCH and ends       d  sends without end, counted
    r  sends MUCH, then resets                          u  reads nothing
    e  echoes, counted                                  k  reads to the end or error, remembers how it came
    """

    def __init__(self):
        self.got, self.sent, self.ends = [], 0, []
        self.stopping = threading.Event()
        super().__init__(backlog=200)

    def serve(self, c):
        with c, contextlib.suppress(OSError):
            getattr(self, "do_" + c.recv(1).decode())(c)

    def do_s(self, c):
        self.got.append(drain(c))
        pour(c, MUCH)

    def do_r(self, c):
        pour(c, MUCH)
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)

    def do_d(self, c):
        while True:
            self.sent += c.send(ZEROS)

    def do_u(self, c):
        self.stopping.wait()

    def do_e(self, c):
        while piece := c.recv(1 << 16):
            c.sendall(piece)

    def do_k(self, c):
        try:
            self.ends.append(("end", drain(c)[0]))
        except OSError as e:
            self.ends.append((type(e).__name__, 0))

    def stop(self):
        self.stopping.set()
        super().stop()


RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: {name} }}
spec:
  host: {name}
  trafficPolicy: {{ {tls} connectionPool: {{ tcp: {{ idleTimeout: {idle} }} }} }}
"""


class World:
    def __init__(self, top):
        self.peer, self.log = Peer(), top / "access.log"
        self.mesh = m = kvmesh.Mesh(top / "mesh", conf=f'accessLogFile = "{self.log}"; accessLogEncoding = "JSON";')
        m.write("conf.d/one.conf", "mesh = { defaultConfig = { concurrency = 1; }; };\n")
        self.port = {}
        disable = "tls: { mode: DISABLE },"
        for i, (name, tls, idle) in enumerate((("copied", "", "300s"), ("spliced", disable, "300s"),
                                               ("copied-4s", "", "4s"), ("spliced-4s", disable, "4s"))):
            self.port[name] = kvmesh.free_port()
            m.workload(name, self.peer.port, protocol="TCP")
            m.service(name, 9000 + i, "tcp", protocol="TCP", listen=f"127.0.0.1:{self.port[name]}")
            m.write(f"mesh.d/{name}.yaml", RULE.format(name=name, tls=tls, idle=idle))

    def own(self, name):
        families = self.mesh.call("proxy/node.sock", "Stats")["parameters"]["families"]
        return sum(series[-1] for f in families if f["name"] == name for series in f["series"])

    def spliced(self):
        return self.own("kvmesh_tcp_spliced_bytes_total")

    def pipes(self):
        """The process's own, not the counter's word: pairs of pipe ends on which nothing else waits."""
        pid, n = proxy_pid(self.mesh), 0
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                n += os.readlink(f"/proc/{pid}/fd/{fd}").startswith("pipe:")
        return n

    def pipes_at_rest(self):
        """Those of the process, once no stream of another test has one."""
        wait_for("the pipes of other tests to go", lambda: self.own("kvmesh_tcp_pipes") == 0)
        return self.pipes()

    def lines(self, service, client=""):
        """Of the access log, at the caller's side."""
        return [x for x in map(json.loads, self.log.read_text().splitlines())
                if x["upstream_cluster"] and "outbound" in x["upstream_cluster"] and f"|{service}." in x["upstream_cluster"]
                and client in x["downstream_remote_address"]]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    top = tmp_path_factory.mktemp("splice")
    top.chmod(0o755)
    w = World(top)
    with w.mesh:
        w.mesh.start()
        yield w
        w.mesh.assert_sound()
    w.peer.stop()


both = pytest.mark.parametrize("way", ["copied", "spliced"])


def begin(world, way, what, receive=None):
    s = connect(world.port[way], receive)
    s.sendall(what)
    return s


@both
def test_bulk_and_half_closes_both_ways_arrive_whole(world, way):
    before = world.spliced()
    world.peer.got.clear()
    with begin(world, way, b"s") as s:
        me = "%s:%d" % s.getsockname()
        pour(s, MUCH)
        s.shutdown(socket.SHUT_WR)
        assert drain(s) == (MUCH, digest(MUCH))
    assert world.peer.got == [(MUCH, digest(MUCH))]
    gained = world.spliced() - before
    assert gained > MUCH if way == "spliced" else gained == 0
    line = wait_for("the access log's line", lambda: world.lines(way, me))[0]
    assert (line["bytes_received"], line["bytes_sent"], line["response_flags"]) == (MUCH + 1, MUCH, "-")
    wait_for("the pipes to go", lambda: world.own("kvmesh_tcp_pipes") == 0)


def test_pipes_are_there_while_bulk_moves_and_gone_after(world):
    rest = world.pipes_at_rest()
    with begin(world, "spliced", b"d") as s:
        s.recv(8 << 20, socket.MSG_WAITALL)
        assert world.pipes() == rest + 2 and world.own("kvmesh_tcp_pipes") == 1
    wait_for("the pipe to go", lambda: world.pipes() == rest and world.own("kvmesh_tcp_pipes") == 0)


@both
def test_a_reset_in_the_middle_is_no_end(world, way):
    with begin(world, way, b"r") as s, pytest.raises(ConnectionResetError):
        drain(s)


@both
def test_a_client_that_resets_is_a_reset_for_the_service(world, way):
    world.peer.ends.clear()
    with begin(world, way, b"k") as s:
        pour(s, MUCH)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    assert wait_for("the service's end", lambda: world.peer.ends)[0][0] == "ConnectionResetError"


@both
def test_a_reader_that_does_not_read_holds_the_service_back(world, way):
    before = world.peer.sent
    with begin(world, way, b"d") as s:
        s.recv(4 << 20, socket.MSG_WAITALL)
        stuck = stops_growing("the service", lambda: world.peer.sent - before)
        assert stuck < KERNEL + (4 << 20)
        moved = 0
        while moved < 2 * stuck:
            moved += len(s.recv(1 << 18))


@both
def test_a_service_that_does_not_read_holds_the_client_back(world, way):
    with begin(world, way, b"u") as s:
        assert push(s) < KERNEL
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)


@both
def test_a_client_that_resets_while_nobody_reads_is_noticed(world, way):
    """Its connection is not read, so no event tells: it is looked after. The service ends with it."""
    before = world.own("kvmesh_streams")
    with begin(world, way, b"u") as s:
        me = "%s:%d" % s.getsockname()
        push(s)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    line = wait_for("its end", lambda: world.lines(way, me))[0]
    assert line["response_flags"] == "DC"
    wait_for("no stream to be left", lambda: world.own("kvmesh_streams") <= before)


@both
def test_a_slow_reader_is_not_idle_and_a_silent_one_is(world, way):
    """4 s without a byte end it; so long a reader of some bytes now and then keeps it."""
    way += "-4s"
    with begin(world, way, b"d", receive=1 << 18) as s:
        me = "%s:%d" % s.getsockname()
        s.recv(4 << 20, socket.MSG_WAITALL)
        waits = threading.Event()
        for _ in range(40):                     # 8 s
            s.recv(256 << 10, socket.MSG_WAITALL)
            waits.wait(0.2)
        assert not world.lines(way, me)
        line = wait_for("its end", lambda: world.lines(way, me))[0]
        assert line["bytes_sent"] > 4 << 20
        with contextlib.suppress(ConnectionResetError):
            drain(s)


@both
def test_single_bytes_come_at_once_after_bulk(world, way):
    """What is laid for bulk keeps nothing back."""
    with begin(world, way, b"e") as s:
        sender = threading.Thread(target=pour, args=(s, MUCH))
        sender.start()
        n = 0
        while n < MUCH:
            n += len(s.recv(1 << 18))
        sender.join()
        for i in range(100):
            s.sendall(bytes([i]))
            assert s.recv(10) == bytes([i])


def test_more_than_there_are_pipes_for_is_copied(world):
    """16 a worker, here one worker; both directions of each want one."""
    def one(results):
        with begin(world, "spliced", b"s") as s:
            pour(s, MUCH)
            s.shutdown(socket.SHUT_WR)
            results.append(drain(s))
    results, seen, rest = [], [], world.pipes_at_rest()
    threads = [threading.Thread(target=one, args=(results,)) for _ in range(24)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        seen.append(world.pipes() - rest)
        threads[0].join(0.05)
    assert results == [(MUCH, digest(MUCH))] * 24
    assert 0 < max(seen) <= 32
    wait_for("the pipes to go", lambda: world.pipes() == rest)


def test_without_descriptors_it_is_copied(world):
    resource = pytest.importorskip("resource")
    pid = proxy_pid(world.mesh)
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    before = world.spliced()
    world.peer.got.clear()
    with begin(world, "spliced", b"s") as s:
        wait_for("its connection", lambda: world.own("kvmesh_streams") > 0)
        pour(s, 1 << 16)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) - 1, hard))
        pour(s, MUCH - (1 << 16))
        s.shutdown(socket.SHUT_WR)
        n, _ = drain(s)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    assert n == MUCH and world.peer.got[0][0] == MUCH
    assert world.spliced() == before
