# SPDX-License-Identifier: Apache-2.0
"""A new proxy takes the place of the running one (docs/upgrade.md): nobody who connects, waits or talks notices; one that
does not get ready changes nothing."""

import contextlib
import ctypes
import http.client
import os
import shutil
import signal
import socket
import subprocess
import threading

import kvmesh
import pytest
from kvmesh import wait_for
from load import Load
from server import Server

NODE = "proxy/node.sock"


def status(mesh):
    return mesh.call(NODE, "Status")["parameters"]


def pid(mesh):
    return status(mesh)["pid"]


def upgrade(mesh):
    """The process that serves afterwards."""
    reply = mesh.call(NODE, "Upgrade")
    assert "error" not in reply, (reply, mesh.text())
    return reply["parameters"]["pid"]


def predecessor_ended(mesh):
    return wait_for("the old process to end", lambda: (p := status(mesh).get("predecessor")) and p["ended"] and p)


def is_ready(mesh):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", mesh.ready_port, timeout=kvmesh.DEADLINE)) as c:
        c.request("GET", "/healthz/ready")
        return c.getresponse().status == 200


def is_alive(process):
    try:
        with open(f"/proc/{process}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(process):
    return [int(p) for p in subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True).stdout.split()]


class Slow(Server):
    """Begins an answer at once and ends it when told."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        super().__init__()

    def serve(self, connection):
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(65536)
                if not piece:
                    return
                head += piece
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nbegin")
            self.begun.release()
            self.go_on.wait(kvmesh.DEADLINE)
            connection.sendall(b"ended")


@contextlib.contextmanager
def slow_mesh(directory):
    slow, web = Slow(), kvmesh.Nginx(directory, "web")
    with contextlib.closing(slow.sock), kvmesh.Mesh(directory / "mesh") as mesh, contextlib.ExitStack() as stack:
        stack.callback(web.stop)
        mesh.workload("slow", slow.port, {"app": "slow"})
        mesh.service("slow", 80, "http")
        mesh.workload("web", web.port, {"app": "web"})
        mesh.service("web", 80, "http")
        mesh.start()
        yield mesh, slow


def begin_slow(mesh, slow):
    c = mesh.connect()
    c.request("GET", "/", headers={"Host": "slow"})
    assert slow.begun.acquire(timeout=kvmesh.DEADLINE)
    r = c.getresponse()
    assert r.read(5) == b"begin"
    return c, r


class Newcomers(Load):
    """Every request on a connection of its own."""

    def _run(self):
        while not self._stop.is_set():
            c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=kvmesh.DEADLINE)
            try:
                c.request("GET", self.path, headers={"Host": self.host})
                r = c.getresponse()
                r.read()
                bad = None if r.status == 200 else f"status {r.status}"
            except (OSError, http.client.HTTPException) as e:
                bad = repr(e)
            c.close()
            with self._lock:
                self.done += 1
                if bad:
                    self.failures.append(bad)


def test_nobody_notices(article):
    """Three in a row: new connections, keep-alive ones, and an opaque one that lives through its process's end of days."""
    mesh = article.mesh
    with Load(mesh.http_port) as kept, Newcomers(mesh.http_port, threads=2) as new:
        for _ in range(3):
            before = pid(mesh)
            kept.more(100)
            new.more(50)
            after = upgrade(mesh)
            assert after != before and pid(mesh) == after
            kept.more(100)
            new.more(50)
            ended = predecessor_ended(mesh)
            assert ended["pid"] == before and ended["cut"] == 0
            assert not is_alive(before)
    assert kept.failures == [] and new.failures == []
    mesh.assert_sound()


def test_what_is_under_way_ends_in_the_old_process(tmp_path):
    with slow_mesh(tmp_path) as (mesh, slow):
        before = pid(mesh)
        idle = mesh.connect()
        idle.request("GET", "/", headers={"Host": "web"})
        assert idle.getresponse().read()
        c, r = begin_slow(mesh, slow)
        after = upgrade(mesh)
        assert mesh.get("web").status == 200
        assert is_alive(before) and not status(mesh)["predecessor"]["ended"]
        assert mesh.call(NODE, "Upgrade")["error"] == "Busy"
        # Who was idle may just be sending: it is answered, and told that this was the last one.
        idle.request("GET", "/", headers={"Host": "web"})
        last = idle.getresponse()
        assert last.status == 200 and last.getheader("connection") == "close"
        slow.go_on.set()
        assert r.read() == b"ended"
        c.close()
        ended = predecessor_ended(mesh)
        assert ended["drained"] >= 1 and ended["cut"] == 0
        assert pid(mesh) == after and "exchanges ended, 0 cut" in mesh.text()


def test_what_begins_late_and_is_cut_is_counted(tmp_path):
    with slow_mesh(tmp_path) as (mesh, slow):
        mesh.write("conf.d/drain.conf", 'limits = { drainTimeout = "3s"; };')
        mesh.ctl("config", "reload", check=0)
        kept = mesh.connect()
        kept.request("GET", "/", headers={"Host": "web"})
        assert kept.getresponse().read()
        upgrade(mesh)
        kept.request("GET", "/", headers={"Host": "slow"})      # by the old process, and longer than it has
        assert slow.begun.acquire(timeout=kvmesh.DEADLINE)
        ended = predecessor_ended(mesh)
        assert ended["drained"] == 0 and ended["cut"] >= 1, ended
        slow.go_on.set()
        kept.close()


def test_an_opaque_connection_goes_on(tmp_path):
    with kvmesh.Article(tmp_path, redis=True) as article:
        article.start()
        mesh = article.mesh
        with socket.create_connection(("127.0.0.1", article.redis_entry), timeout=kvmesh.DEADLINE) as s:
            s.sendall(b"PING\r\n")
            assert s.recv(64) == b"+PONG\r\n"
            upgrade(mesh)
            s.sendall(b"PING\r\n")
            assert s.recv(64) == b"+PONG\r\n"
            with socket.create_connection(("127.0.0.1", article.redis_entry), timeout=kvmesh.DEADLINE) as other:
                other.sendall(b"PING\r\n")
                assert other.recv(64) == b"+PONG\r\n"
        assert predecessor_ended(mesh)["cut"] == 0


def test_the_signal_does_the_same(article):
    mesh = article.mesh
    before = pid(mesh)
    os.kill(before, signal.SIGUSR2)
    wait_for("another process", lambda: pid(mesh) != before)
    predecessor_ended(mesh)
    assert mesh.get("my-app").status == 200


def test_kvmeshctl_upgrades_every_proxy(article):
    mesh = article.mesh
    before = pid(mesh)
    with Newcomers(mesh.http_port) as load:
        load.more(20)
        (row,) = mesh.ctl_json("upgrade", "--hot")
        load.more(20)
    assert load.failures == []
    assert row["proxy"] == "node" and row["pid"] == pid(mesh) != before and row["dropped"] == 0
    assert row["from"] == row["to"] != "-"
    with standing_ca(mesh):
        pending_upgrade(mesh)
        busy = mesh.ctl("upgrade", check=75)
        assert "under way" in busy.stderr


def kept_sockets(process, port):
    """Descriptors of that process's listening sockets, as systemd keeps them."""
    pidfd = os.pidfd_open(process)
    kept = []
    for name in os.listdir(f"/proc/{process}/fd"):
        fd = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, int(name), 0)        # pidfd_getfd
        if fd < 0:
            continue
        try:
            s = socket.socket(fileno=fd)
            if s.family == socket.AF_INET and s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and s.getsockname()[1] == port:
                kept.append(s)
                continue
            s.close()
        except OSError:
            os.close(fd)
    os.close(pidfd)
    return kept


@pytest.mark.skipif(os.getuid() != 0, reason="takes descriptors of another process")
def test_a_request_that_is_under_way_ends_although_sockets_outlive_the_process(article):
    """Its own node's mesh port is dialled while one worker has nothing to do any more: that one accepts still, for its
    socket stays in the kernel's choice."""
    mesh = article.mesh
    # Shorter than the patience with a handshake that nobody answers: the request would be cut, not merely late.
    mesh.write("conf.d/drain.conf", 'limits = { drainTimeout = "8s"; };')
    mesh.ctl("config", "reload", check=0)
    for _ in range(4):
        old = wait_for("the proxy", lambda: mesh.get("my-app").status == 200 and pid(mesh))
        c = mesh.connect()
        c.connect()
        c.send(b"GET / HTTP/1.1\r\n")
        with contextlib.ExitStack() as stack:
            kept = [stack.enter_context(contextlib.closing(s)) for s in kept_sockets(old, mesh.mesh_port)]
            assert kept
            os.kill(old, signal.SIGTERM)
            wait_for("the drain", lambda: not kvmesh.port_open(mesh.http_port))
            c.send(b"Host: my-app\r\n\r\n")
            r = http.client.HTTPResponse(c.sock)
            r.begin()
            assert r.status == 200
        c.close()
        wait_for("another process", lambda: pid(mesh) != old)


@pytest.fixture
def own_programs(tmp_path, monkeypatch):
    """A directory of the programs that a test may replace."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("kvmeshctl", "kvmesh-router", "kvmesh-ca", "kvmesh-metrics", "kvmesh-proxy", "kvmesh-probe"):
        shutil.copy2(kvmesh.BUILD / name, programs / name)
    monkeypatch.setattr(kvmesh, "BUILD", programs)
    return programs


@pytest.mark.parametrize("new, why", [("#!/bin/sh\nexit 3\n", "ended with exit code 3"), ("no program", "cannot start")])
def test_a_new_program_that_does_not_start_changes_nothing(own_programs, tmp_path, new, why):
    with kvmesh.Article(tmp_path) as article:
        article.start()
        mesh = article.mesh
        before = pid(mesh)
        (own_programs / "new").write_text(new)
        (own_programs / "new").chmod(0o755)
        good = (own_programs / "kvmesh-proxy").rename(own_programs / "good")
        (own_programs / "new").rename(own_programs / "kvmesh-proxy")
        with Load(mesh.http_port) as load:
            reply = mesh.call(NODE, "Upgrade")
            assert reply["error"] == "Failed" and why in reply["parameters"]["message"]
            load.more(50)
        assert load.failures == [] and pid(mesh) == before
        good.rename(own_programs / "kvmesh-proxy")
        assert upgrade(mesh) != before, "the next attempt is a new one"


def pending_upgrade(mesh):
    """The CA stands still, so nobody gets ready: (the reply to be, the new process)."""
    reply = {}
    asking = threading.Thread(target=lambda: reply.update(mesh.call(NODE, "Upgrade")), daemon=True)
    asking.start()
    (new,) = wait_for("the new process", lambda: children(pid(mesh)))
    return asking, reply, new


@contextlib.contextmanager
def standing_ca(mesh):
    (ca,) = [p for p in children(mesh.process.pid) if "kvmesh-ca" in open(f"/proc/{p}/comm").read()]
    os.kill(ca, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(ca, signal.SIGCONT)


def test_one_that_dies_before_it_is_ready_changes_nothing(article):
    mesh = article.mesh
    before = pid(mesh)
    with standing_ca(mesh), Load(mesh.http_port) as load:
        asking, reply, new = pending_upgrade(mesh)
        assert mesh.call(NODE, "Upgrade")["error"] == "Busy"
        for _ in range(20):
            assert is_ready(mesh)
        load.more(50)
        os.kill(new, signal.SIGKILL)
        asking.join(kvmesh.DEADLINE)
        assert reply["error"] == "Failed" and "SIGKILL" in reply["parameters"]["message"]
        load.more(50)
    assert load.failures == [] and pid(mesh) == before and not is_alive(new)
    upgrade(mesh)
    assert pid(mesh) != before


def test_an_end_ends_both(article):
    mesh = article.mesh
    old = pid(mesh)
    with standing_ca(mesh):
        _, _, new = pending_upgrade(mesh)
        os.kill(old, signal.SIGTERM)
        wait_for("both to end", lambda: not is_alive(old) and not is_alive(new))
    wait_for("another one", lambda: mesh.get("my-app").status == 200)


def test_one_that_dies_after_it_took_over_is_started_again(tmp_path):
    with slow_mesh(tmp_path) as (mesh, slow):
        before = pid(mesh)
        c, r = begin_slow(mesh, slow)
        after = upgrade(mesh)
        os.kill(after, signal.SIGKILL)
        wait_for("a third process", lambda: pid(mesh) not in (before, after))
        assert wait_for("an answer", lambda: mesh.get("web").status == 200)
        slow.go_on.set()
        c.close()
        assert not is_alive(before) and not is_alive(after)


def test_a_program_that_nobody_passes_sockets_to_ends(tmp_path):
    for fd in ("9", "x", ""):
        r = subprocess.run([kvmesh.tool("kvmesh-proxy"), "--instance=node", f"--run={tmp_path}", f"--state={tmp_path}", "--standalone"],
                           env={**os.environ, "KVMESH_HANDOVER": fd}, capture_output=True, text=True, timeout=kvmesh.DEADLINE)
        assert r.returncode == 1 and ("KVMESH_HANDOVER" in r.stderr or "passes no sockets" in r.stderr)
