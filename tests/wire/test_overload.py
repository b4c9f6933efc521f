# SPDX-License-Identifier: Apache-2.0
"""Limits and what happens near them: connections, descriptors, memory, handshakes, slow clients, logs that cannot be
written, allocations that fail. docs/overload.md is what these tests hold the proxy to."""

import contextlib
import mmap
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import time
import unittest.mock

import pytest

import kvmesh
from kvmesh import wait_for

MIB = 1 << 20


class Held:
    """Connections that stay open."""

    def __init__(self):
        self.socks = []

    def open(self, port, n, source=None, data=b""):
        for _ in range(n):
            s = socket.create_connection(("127.0.0.1", port), timeout=kvmesh.DEADLINE,
                                         source_address=(source, 0) if source else None)
            if data:
                s.sendall(data)
            self.socks.append(s)
        return self

    def closed(self):
        """How many of them the other side has closed by now."""
        n = 0
        for s in self.socks:
            s.setblocking(False)
            try:
                n += s.recv(1) == b""
            except BlockingIOError:
                pass
            except OSError:
                n += 1
            s.setblocking(True)
        return n

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for s in self.socks:
            s.close()


def proxy_pid(mesh):
    return int(mesh.call("proxy/node.sock", "Status")["parameters"]["pid"])


def metric(mesh, name, **labels):
    """Sum of a family's rows with these labels, straight from the proxy."""
    total = 0
    for f in mesh.call("proxy/node.sock", "Stats")["parameters"]["families"]:
        if f["name"] != name:
            continue
        for row in f["series"]:
            values = dict(zip(f["labels"], row))
            if all(values.get(k) == v for k, v in labels.items()):
                total += row[-1]
    return total


def shed(mesh, reason):
    return metric(mesh, "kvmesh_overload_shed_total", reason=reason)


@contextlib.contextmanager
def mesh_with(tmp_path, limits="", conf="", extra=None, env=None):
    nginx = kvmesh.Nginx(tmp_path, "web")
    mesh = kvmesh.Mesh(tmp_path / "mesh", conf=conf)
    set_limits(mesh, limits)
    mesh.workload("web", nginx.port)
    mesh.service("web", 80, "http")
    if extra:
        extra(mesh)
    try:
        with unittest.mock.patch.dict(os.environ, env or {}):
            mesh.start()
        yield mesh
    finally:
        mesh.stop()
        nginx.stop()


def set_limits(mesh, limits):
    text = re.sub(r"(?m)^limits = .*\n", "", (mesh.etc / "kvmesh.conf").read_text())
    mesh.write("kvmesh.conf", text + f"limits = {{ {limits} }};\n")


def reload(mesh, limits):
    generation = metric(mesh, "kvmesh_config_generation")
    set_limits(mesh, limits)
    mesh.ctl("reload")
    wait_for("the new limits", lambda: metric(mesh, "kvmesh_config_generation") > generation)


def ok(mesh):
    try:
        return mesh.get("web").status == 200
    except (OSError, kvmesh.http.client.HTTPException):
        return False


# ---- connections --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("limit,reason", [("maxConnections = 20;", "connections_listener"),
                                          ("maxTotalConnections = 20;", "connections_total")])
def test_connections_over_the_limit_are_closed_and_room_comes_back(tmp_path, limit, reason):
    with mesh_with(tmp_path, limit) as mesh, Held() as held:
        assert ok(mesh)
        held.open(mesh.http_port, 30)
        wait_for("the surplus to be closed", lambda: held.closed() >= 9)
        assert held.closed() <= 12
        assert shed(mesh, reason) >= 9
        assert not ok(mesh)
        held.__exit__()
        wait_for("room again", lambda: ok(mesh))
        assert proxy_pid(mesh) > 0


def test_near_the_connection_limit_connections_are_not_kept(tmp_path):
    """At 92 % of the connections an answer says Connection: close, and an idle one goes; an HTTP/2 one gets GOAWAY."""
    with mesh_with(tmp_path, "maxTotalConnections = 100;") as mesh, Held() as held:
        held.open(mesh.http_port, 93)
        wait_for("level shed", lambda: metric(mesh, "kvmesh_overload_level") == 3)
        r = mesh.get("web")
        assert (r.status, r.headers.get("connection")) == (200, "close")
        assert shed(mesh, "keepalive") > 0
        held.__exit__()
        wait_for("level normal", lambda: metric(mesh, "kvmesh_overload_level") == 0)
        assert mesh.get("web").headers.get("connection") != "close"
        lines = [l for l in mesh.text().splitlines() if "overload: level" in l]
        assert any("level shed" in l and "connections" in l for l in lines)
        assert any("level normal" in l for l in lines)


def test_an_idle_connection_goes_when_room_is_short(tmp_path):
    with mesh_with(tmp_path, "maxTotalConnections = 100;") as mesh, Held() as held:
        c = mesh.connect()
        c.request("GET", "/", headers={"Host": "web"})
        assert c.getresponse().read() == b"web\n"
        held.open(mesh.http_port, 93)
        wait_for("level shed", lambda: metric(mesh, "kvmesh_overload_level") == 3)
        assert c.sock.recv(1) == b"", "an idle time of an hour became a second"
        c.close()


def test_no_descriptors_left_is_no_end(tmp_path):
    """EMFILE: one client at a time sees a close, accepting pauses instead of spinning, and goes on when there are some."""
    resource = pytest.importorskip("resource")
    with mesh_with(tmp_path) as mesh, Held() as held:
        assert ok(mesh)
        pid = proxy_pid(mesh)
        used = len(os.listdir(f"/proc/{pid}/fd"))
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 8, hard))
        held.open(mesh.http_port, 40)
        wait_for("a client that is turned away", lambda: held.closed() > 0)
        ticks = cpu_seconds(pid)
        time.sleep(1)
        assert cpu_seconds(pid) - ticks < 0.7, "it spins"
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        held.__exit__()
        wait_for("descriptors again", lambda: ok(mesh))
        assert proxy_pid(mesh) == pid
        assert shed(mesh, "descriptors") > 0
        assert mesh.text().count("no file descriptors left") <= 30


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        v = f.read().rsplit(")", 1)[1].split()
    return (int(v[11]) + int(v[12])) / os.sysconf("SC_CLK_TCK")


# ---- memory -------------------------------------------------------------------------------------------------

def test_without_memory_requests_are_refused_and_service_comes_back(tmp_path):
    log = tmp_path / "access.log"
    with mesh_with(tmp_path, conf=f'accessLogFile = "{log}";') as mesh:
        assert ok(mesh)
        pid = proxy_pid(mesh)
        c = mesh.connect()
        c.connect()
        c.send(b"GET / HTTP/1.1\r\n")                   # a head that is not complete yet: neither idle nor under way
        reload(mesh, f"maxMemoryBytes = {MIB};")
        wait_for("level full", lambda: metric(mesh, "kvmesh_overload_level") == 4)
        time.sleep(0.5)                                 # workers are told by a post
        c.send(b"Host: web\r\n\r\n")
        r = kvmesh.http.client.HTTPResponse(c.sock)
        r.begin()
        assert (r.status, r.getheader("x-envoy-overloaded")) == (503, "true")
        assert r.getheader("connection") == "close"
        c.close()
        wait_for("the flag UO in the log", lambda: re.search(r" 503 UO ", log.read_text()))
        waiting = mesh.connect()
        waiting.request("GET", "/", headers={"Host": "web"})
        health = kvmesh.http.client.HTTPConnection("127.0.0.1", mesh.ready_port, timeout=kvmesh.DEADLINE)
        health.request("GET", "/healthz/ready")
        assert health.getresponse().status == 200, "health is answered at any level"
        assert metric(mesh, "kvmesh_overload_used", resource="memory") > MIB
        reload(mesh, f"maxMemoryBytes = 2000000000;")
        assert waiting.getresponse().status == 200, "who waited to be accepted is served"
        wait_for("level normal", lambda: metric(mesh, "kvmesh_overload_level") == 0)
        assert ok(mesh) and proxy_pid(mesh) == pid
        assert shed(mesh, "requests") > 0
        assert re.search(r"overload: level full after \w+: memory, \d+ of 1048576", mesh.text())


# ---- handshakes ---------------------------------------------------------------------------------------------

def test_unfinished_handshakes_are_limited_by_source(tmp_path):
    with mesh_with(tmp_path, "maxHandshakesPerSource = 20;") as mesh, Held() as held, Held() as other:
        held.open(mesh.mesh_port, 40, source="127.0.0.2")
        wait_for("the surplus to be closed", lambda: held.closed() >= 20)
        assert shed(mesh, "handshakes_source") >= 20
        other.open(mesh.mesh_port, 5, source="127.0.0.3")
        assert other.closed() == 0, "another source is let in"
        assert ok(mesh)
        assert metric(mesh, "kvmesh_tls_handshakes_pending") <= 25
        wait_for("the others to be closed as well", lambda: held.closed() == 40)    # L6: 10 s
        wait_for("none pending", lambda: metric(mesh, "kvmesh_tls_handshakes_pending") == 0)


def test_unfinished_handshakes_are_limited_in_total_with_early_drop(tmp_path):
    with mesh_with(tmp_path, "maxHandshakes = 40; maxHandshakesPerSource = 1000;") as mesh, Held() as held:
        held.open(mesh.mesh_port, 200, source="127.0.0.2")
        wait_for("the surplus to be closed", lambda: held.closed() >= 160)
        assert metric(mesh, "kvmesh_tls_handshakes_pending") <= 40
        assert shed(mesh, "handshakes_early") > 0, "before the limit is reached some are refused at random"
        held.__exit__()
        wait_for("room again", lambda: metric(mesh, "kvmesh_tls_handshakes_pending") == 0)
        assert ok(mesh)


# ---- slow clients -------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    limits = 'headerTimeout = "1s"; streamIdleTimeout = "1s"; idleTimeout = "1s";'
    with mesh_with(tmp_path_factory.mktemp("impatient"), limits) as mesh:
        yield mesh


def trickle(s, data, pause):
    """One byte after the other until the other side has had enough; what it said."""
    s.setblocking(False)
    for byte in data:
        with contextlib.suppress(BlockingIOError):
            got = s.recv(65536)
            return got
        try:
            s.send(bytes([byte]))
        except OSError:
            return b""
        time.sleep(pause)
    s.settimeout(kvmesh.DEADLINE)
    return s.recv(65536)


def test_a_head_byte_by_byte_is_408(impatient):
    with socket.create_connection(("127.0.0.1", impatient.http_port)) as s:
        got = trickle(s, b"GET / HTTP/1.1\r\nHost: web\r\n" + b"x: y\r\n" * 1000, 0.1)
    assert got.startswith(b"HTTP/1.1 408 ")


def test_a_silent_client_is_closed(impatient):
    with Held() as held:
        held.open(impatient.http_port, 20)
        wait_for("all to be closed", lambda: held.closed() == 20)


def test_a_body_that_stalls_ends(impatient):
    with socket.create_connection(("127.0.0.1", impatient.http_port), timeout=kvmesh.DEADLINE) as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 1000000\r\n\r\nabc")
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := s.recv(65536):
                got += piece
    assert got == b"" or got.split()[1] in (b"200", b"405", b"408", b"504")
    assert ok(impatient)


def test_an_idle_connection_is_closed(impatient):
    c = impatient.connect()
    c.request("GET", "/", headers={"Host": "web"})
    assert c.getresponse().read() == b"web\n"
    assert c.sock.recv(1) == b""
    c.close()


# ---- HTTP/2: what test_http2.py does not flood with ------------------------------------------------------------

h2 = pytest.importorskip("test_http2")


def h2_floods():
    f, get = h2.frame, h2.get
    closed = get() + b"".join(f(h2.DATA, 0, 1, b"x") for _ in range(2000))
    return {
        "settings acks": f(h2.SETTINGS, h2.ACK, 0) * 20_000,
        "settings entries": f(h2.SETTINGS, 0, 0, struct.pack(">HI", 4, 65535) * 1000) * 20,
        "header table sizes": b"".join(f(h2.SETTINGS, 0, 0, struct.pack(">HI", 1, n % 2 * 65536)) for n in range(20_000)),
        "window updates of a stream": get(flags=4, method="POST") + f(h2.WINDOW_UPDATE, 0, 1, b"\0\0\0\1") * 20_000,
        "data on a closed stream": closed,
    }


@pytest.mark.parametrize("name", h2_floods())
def test_a_flood_ends_its_connection_only(impatient, name):
    before = h2.rss(impatient)
    with h2.Raw(impatient, h2_floods()[name]) as c:
        assert c.ends() != 0
    assert ok(impatient)
    assert h2.rss(impatient) - before < 8 * MIB


@pytest.mark.parametrize("size", [1000, 8 * MIB])
def test_a_window_that_stays_shut_ends_its_stream(workdir, size):
    """A client that asks and reads nothing: bounded memory, and the stream goes with its idle time, whether the answer
    waits in the proxy whole or its service is held back."""
    def big(mesh):
        (workdir / "nginx-web" / "www" / "big").write_bytes(b"x" * size)
    with mesh_with(workdir, 'streamIdleTimeout = "1s";', extra=big) as mesh:
        before = h2.rss(mesh)
        shut = h2.frame(h2.SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
        asks = b"".join(h2.get(sid=i, path="/file/big") for i in range(1, 41, 2))
        with h2.Raw(mesh, shut + asks, preface=h2.PREFACE) as c:
            ended = set()
            while len(ended) < 20 and (f := c.next()):
                if f[0] == h2.RST:
                    ended.add(f[2])
            assert len(ended) == 20
        assert h2.rss(mesh) - before < 80 * MIB, "half of what was asked for"
        assert ok(mesh)


# ---- logs -----------------------------------------------------------------------------------------------------

def test_a_log_on_a_full_disk_stops_nobody(tmp_path):
    with mesh_with(tmp_path, conf='accessLogFile = "/dev/full";') as mesh:
        for _ in range(200):
            assert ok(mesh)
        wait_for("lines counted as lost", lambda: metric(mesh, "kvmesh_access_log_dropped_total") > 0)
        assert "No space left on device" in mesh.text()


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small file system needs root")
def test_a_log_is_written_again_when_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=16k none {disk} 2>/dev/null") != 0:
        pytest.skip("no file system can be mounted here")
    try:
        with mesh_with(tmp_path, conf=f'accessLogFile = "{disk}/access.log";') as mesh:
            wait_for("a full disk", lambda: ok(mesh) and metric(mesh, "kvmesh_access_log_dropped_total") > 0)
            before = (disk / "access.log").stat().st_size
            os.truncate(disk / "access.log", 0)
            wait_for("lines again", lambda: ok(mesh) and 0 < (disk / "access.log").stat().st_size <= before)
    finally:
        os.system(f"umount -l {disk}")


# ---- allocations that fail --------------------------------------------------------------------------------------

class Injector:
    """Fails chosen allocations of kvmesh-proxy through a preloaded library and five words of shared memory."""

    def __init__(self, directory):
        compiler = shutil.which(os.environ.get("CC", "cc").split()[-1]) or pytest.skip("no C compiler")
        library = directory / "failmalloc.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, kvmesh.TOP / "tests/lib/failmalloc.c", "-ldl"],
                       check=True)
        plan = directory / "plan"
        plan.write_bytes(bytes(40))
        with open(plan, "r+b") as f:
            self.words = memoryview(mmap.mmap(f.fileno(), 40)).cast("Q")
        self.env = {"LD_PRELOAD": self.preload(library), "FAILMALLOC": str(plan), "FAILMALLOC_PROGRAM": "kvmesh-proxy",
                    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "detect_leaks=0") + ":verify_asan_link_order=0"}

    @staticmethod
    def preload(library):
        """Under AddressSanitizer its library must come behind ours, so that its malloc is the next one."""
        out = subprocess.run(["ldd", kvmesh.tool("kvmesh-proxy")], capture_output=True, text=True).stdout
        asan = re.search(r"=> (\S*libasan\S*)", out)
        return f"{library} {asan.group(1)}" if asan else str(library)

    def count(self):
        return self.words[0]

    def arm(self, nth, n=1):
        self.words[3], self.words[2] = 0, n
        self.words[1] = self.words[0] + nth

    def disarm(self):
        self.words[1] = 0
        return self.words[3]


@contextlib.contextmanager
def failing_mesh(tmp_path):
    injector = Injector(tmp_path)
    with mesh_with(tmp_path, extra=lambda mesh: mesh.write("mesh.d/50-fresh.yaml", FRESH), env=injector.env) as mesh:
        yield mesh, injector


# Every request makes a connection between the proxies of its own: a handshake, an HTTP/2 session, buffers.
FRESH = """\
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: { name: fresh }
spec: { host: web, trafficPolicy: { connectionPool: { http: { maxRequestsPerConnection: 1 } } } }
"""


def attempt(mesh):
    """The status, or None when the connection ended without one."""
    c = kvmesh.http.client.HTTPConnection("127.0.0.1", mesh.http_port, timeout=20)
    try:
        c.request("POST", "/", body=b"x" * 20_000, headers={"Host": "web"})
        r = c.getresponse()
        r.read()
        return r.status
    except (ConnectionError, kvmesh.http.client.HTTPException):
        return None
    finally:
        c.close()


def no_sanitizer_report(mesh):
    found = re.search(r"(?s)ERROR: AddressSanitizer.{0,4000}|runtime error: .{0,2000}", mesh.text())
    assert not found, found.group()


def test_an_allocation_that_fails_costs_at_most_its_request(tmp_path):
    """Each allocation of a whole exchange in turn (new connections, two handshakes, two HTTP/2 sessions, bodies): the
    process lives, the client gets an answer or a close, the next request is served."""
    with failing_mesh(tmp_path) as (mesh, injector):
        pid = proxy_pid(mesh)
        wait_for("a served request", lambda: attempt(mesh) is not None)
        start = injector.count()
        attempt(mesh)
        per_request = injector.count() - start
        assert per_request > 100, "the injector is not there"
        every = max(1, per_request // int(os.environ.get("KVMESH_TEST_ALLOCATIONS", "300")))
        failed = 0
        for nth in range(1 + random.randrange(every), per_request + 1, every):
            injector.arm(nth)
            status = attempt(mesh)
            failed += injector.disarm()
            assert status is None or 200 <= status < 600
            assert mesh.process.alive()
        assert failed > per_request / every / 2
        assert proxy_pid(mesh) == pid, mesh.text()
        wait_for("full service", lambda: metric(mesh, "kvmesh_overload_level") == 0 and ok(mesh))
        assert "served from the reserve" in mesh.text()
        no_sanitizer_report(mesh)


def test_without_any_memory_the_process_ends_by_the_rule_and_comes_back(tmp_path):
    """The reserve is used up and still nothing: an abort that says so, a new process, service."""
    with failing_mesh(tmp_path) as (mesh, injector):
        pid = proxy_pid(mesh)
        injector.arm(50, 100_000_000)
        attempt(mesh)
        wait_for("its end", lambda: "out of memory" in mesh.text())
        injector.disarm()
        wait_for("another process", lambda: proxy_pid(mesh) != pid)
        wait_for("service", lambda: ok(mesh))
        no_sanitizer_report(mesh)
