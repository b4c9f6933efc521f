# SPDX-License-Identifier: Apache-2.0
"""The witness believes no proxy: it looks at packets. In a network namespace of its own, with real packets: a STRICT mesh
shows no plain byte, and each way round it is found: an application's port, from here and from outside, and the mesh port
without TLS."""

import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import socket
import subprocess

import pytest

import kvmesh
from capture import PROXY, CapturedMesh, InsideNginx
from capture import ask as curl
from kvmesh import wait_for
from netns import NODE4, Pair

NOBODY = 65534
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
STRICT = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: kvmesh-system }
spec: { mtls: { mode: STRICT } }
"""


def sh(*argv, **kw):
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True, **kw).stdout


def can_filter():
    """A network namespace, and an nftables that knows where a payload begins."""
    rule = "table inet t { chain c { @ih,0,8 0x14-0x17 counter; }; }"
    return os.geteuid() == 0 and all(map(shutil.which, ("nft", "ip", "unshare", "setpriv"))) and \
        subprocess.run(["unshare", "-n", "nft", rule], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not can_filter(), reason="needs root, a network namespace and nftables with @ih")


@pytest.fixture
def netns():
    """This thread and what it starts, in a network of their own."""
    old = os.open("/proc/self/ns/net", os.O_RDONLY)
    assert LIBC.unshare(CLONE_NEWNET) == 0
    try:
        sh("ip", "link", "set", "lo", "up")
        yield
    finally:
        assert LIBC.setns(old, CLONE_NEWNET) == 0
        os.close(old)


class Watcher:
    """A witness over a mesh of that user, and what it has seen."""

    def __init__(self, mesh, log, user, inside=lambda *argv: argv):
        self.mesh, self.log, self.user, self.inside = mesh, pathlib.Path(log), user, inside
        self.witness = None

    def look(self, n_ports):
        before = self.log.read_text().count("witness_looks") if self.log.exists() else 0
        one_right = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", "--inh-caps=-all,+net_admin",
                     "--ambient-caps=-all,+net_admin", "--bounding-set=-all,+net_admin", "--no-new-privs"]
        argv = [*one_right, kvmesh.tool("kvmesh-witness"), "--standalone", "--run", self.mesh.run]
        self.witness = kvmesh.Process(self.inside(*argv), self.log)
        wait_for("its table", lambda: self.witness.text().count("witness_looks") > before)
        wait_for("the witness to look", lambda: self.seen().get("looksAt") == n_ports and self.seen()["looking"])

    def stop(self):
        if self.witness:
            self.witness.stop()

    def seen(self):
        return self.mesh.call("metrics/metrics.sock", "Status")["parameters"].get("witness", {})

    def ports(self):
        r = self.mesh.call("metrics/metrics.sock", "Evidence")["parameters"]
        return {(p["kind"], p["port"]): p for p in r["witness"]["ports"]}


class Witnessed(Watcher):
    """The article's mesh, STRICT, run by nobody, and a witness."""

    def __init__(self, directory):
        self.article = kvmesh.Article(directory)
        super().__init__(self.article.mesh, pathlib.Path(directory) / "witness.log", NOBODY)
        self.mesh.write("mesh.d/20-strict.yaml", STRICT)
        self.n_ports = 3

    def start(self):
        mesh = self.mesh
        sh("chown", "-R", NOBODY, mesh.dir)
        mesh.process = kvmesh.Process([kvmesh.tool("kvmeshctl"), "run", "--etc", mesh.etc, "--run", mesh.run, "--state", mesh.state],
                                      mesh.dir / "run.log", user=NOBODY)
        mesh.wait_ready()
        self.look(self.n_ports)
        return self

    def send(self, n):
        c = self.mesh.connect()
        for _ in range(n):
            c.request("GET", "/", headers={"Host": "my-app"})
            r = c.getresponse()
            r.read()
            assert r.status == 200
        c.close()

    def report(self):
        return json.loads(self.mesh.ctl("compliance", "report", "--since", "1h", "--format", "json").stdout)["report"]

    def close(self):
        self.stop()
        self.article.stack.close()


@pytest.fixture
def witnessed(netns, workdir):
    w = Witnessed(workdir)
    try:
        yield w.start()
    finally:
        w.close()


def ask(port, text, address="127.0.0.1"):
    """What comes back, until the other side is done."""
    with socket.create_connection((address, port), 20) as s:
        s.settimeout(20)
        s.sendall(text)
        data = b""
        try:
            while piece := s.recv(65536):
                data += piece
        except ConnectionError:
            pass
        return data


GET = b"GET / HTTP/1.1\r\nHost: my-app\r\nConnection: close\r\n\r\n"


def looked_again(w):
    """What was sent until now is in the evidence."""
    before = w.seen()["lastHeard"]
    wait_for("the next two looks", lambda: w.seen()["lastHeard"] > before)
    before = w.seen()["lastHeard"]
    wait_for("the next look", lambda: w.seen()["lastHeard"] > before)


def test_a_strict_mesh_shows_no_plain_byte(witnessed):
    w = witnessed
    w.send(50)
    looked_again(w)
    assert w.seen()["plainBytes"] == 0 and w.ports() == {}
    r = wait_for("the requests", lambda: (x := w.report())["exchanges"]["total"] >= 50 and x)
    assert r["exchanges"]["mutual_tls"] == 50 and r["witness"]["plainBytes"] == 0 and r["witness"]["watchedPercent"] > 0
    assert not any("plain bytes" in why for why in r["reasons"])
    assert "plain bytes seen: 0" in w.mesh.ctl("compliance", "report").stdout
    assert "plain bytes seen: 0, looks at 3 ports" in w.mesh.ctl("status").stdout
    assert "no plain bytes were seen on the wire" in w.mesh.ctl("check").stdout


def test_a_planted_bypass_to_an_application_is_found(witnessed):
    w = witnessed
    port = w.article.v1.port
    w.send(5)
    assert b"v1" in ask(port, GET)
    wait_for("the bypass", lambda: w.seen()["plainBytes"] > 0)
    (key, row), = w.ports().items()
    assert key == ("application", port) and row["workload"] == "my-app-v1.default" and row["bytes"] >= len(GET)
    r = w.report()
    assert r["verdict"] == "NON-COMPLIANT" and r["witness"]["plainBytes"] == row["bytes"]
    assert f"{row['bytes']} plain bytes were seen on the wire" in r["reasons"]
    text = w.mesh.ctl("compliance", "report", check=1).stdout
    assert "PLAIN BYTES SEEN" in text and "my-app-v1.default" in text
    assert f'kvmesh_witness_plain_bytes_total{{port="{port}",kind="application",workload="my-app-v1.default"}} {row["bytes"]}' \
        in w.mesh.metrics()
    check = w.mesh.ctl("check")
    assert check.returncode != 0 and f"{row['bytes']} bytes in" in check.stdout
    # Traffic of the mesh adds nothing to it.
    w.send(20)
    looked_again(w)
    assert w.seen()["plainBytes"] == row["bytes"]


def test_the_mesh_port_without_tls_is_found(witnessed):
    w = witnessed
    w.send(5)
    ask(w.mesh.mesh_port, GET)
    wait_for("the plain text", lambda: ("mesh", w.mesh.mesh_port) in w.ports())
    assert w.ports()["mesh", w.mesh.mesh_port]["bytes"] >= len(GET) and len(w.ports()) == 1


def test_who_comes_from_outside(witnessed, workdir):
    """A program that listens on every address answers plainly: found. A stranger who shouts at the mesh port and hears nothing
    but TLS alerts is not the mesh's plain text, nor is a proper handshake."""
    w = witnessed
    outside = subprocess.Popen(["unshare", "-n", "sleep", "600"])
    try:
        wait_for("another network", lambda: os.readlink(f"/proc/{outside.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        sh("ip", "link", "add", "in0", "type", "veth", "peer", "name", "out0", "netns", outside.pid)
        sh("ip", "addr", "add", "10.99.0.1/24", "dev", "in0")
        sh("ip", "link", "set", "in0", "up")
        there = ["nsenter", "-t", outside.pid, "-n"]
        sh(*there, "ip", "addr", "add", "10.99.0.2/24", "dev", "out0")
        sh(*there, "ip", "link", "set", "out0", "up")

        def shout(port):
            code = f"import socket; s = socket.create_connection(('10.99.0.1', {port}), 20); s.sendall({GET!r}); print(s.recv(99))"
            return subprocess.run([str(x) for x in [*there, "python3", "-c", code]], capture_output=True, text=True, timeout=60).stdout
        shout(w.mesh.mesh_port)
        subprocess.run([str(x) for x in [*there, "openssl", "s_client", "-connect", f"10.99.0.1:{w.mesh.mesh_port}"]], input="",
                       capture_output=True, text=True, timeout=60)
        looked_again(w)
        assert w.ports() == {}
        # The application itself, on every address.
        with socket.socket() as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            door.bind(("10.99.0.1", w.article.v2.port))
            door.listen()
            door.settimeout(30)
            p = subprocess.Popen([str(x) for x in [*there, "python3", "-c",
                                                   f"import socket; s = socket.create_connection(('10.99.0.1', {w.article.v2.port}), 20); "
                                                   f"s.sendall({GET!r}); print(s.recv(99))"]])
            c, _ = door.accept()
            with c:
                assert c.recv(9999) == GET
                wait_for("what was said", lambda: ("application", w.article.v2.port) in w.ports())
                said = w.ports()["application", w.article.v2.port]["bytes"]
                assert said >= len(GET)
                c.sendall(b"plain answer")
            assert p.wait(30) == 0
            wait_for("what was answered", lambda: w.ports()["application", w.article.v2.port]["bytes"] > said)
    finally:
        outside.kill()
        outside.wait()


def test_ipv6_as_well(netns, workdir):
    w = Witnessed(workdir)
    try:
        port = kvmesh.free_port()
        w.mesh.write("workloads.d/six.conf", f"""
Workload = {{ name = "six"; namespace = "default"; address = "::1";
  ports = ( {{ name = "tcp"; number = {port}; protocol = "TCP"; }} ); labels = {{ app = "six"; }}; }};
""")
        w.n_ports = 4
        w.start()
        with socket.create_server(("::1", port), family=socket.AF_INET6) as door, \
                socket.create_connection(("::1", port), 20) as s:
            c, _ = door.accept()
            with c:
                s.sendall(GET)
                assert c.recv(9999) == GET
                wait_for("what was said", lambda: ("application", port) in w.ports())
        row = w.ports()["application", port]
        assert row["bytes"] == len(GET) + 40 + 32 and row["workload"] == "six.default"
    finally:
        w.close()


def test_a_captured_port(workdir):
    """Plain text from outside is led to the proxy and refused: nothing to see. Without the rules it reaches the application, and
    with a proxy that answers plainly it would be answered: both are seen."""
    with contextlib.ExitStack() as stack:
        pair = Pair()
        stack.callback(pair.close)
        mesh = CapturedMesh(workdir / "mesh", pair)
        app = InsideNginx(pair.node, workdir, 8080)
        stack.callback(app.stop)
        mesh.workload("app", 8080, inject=True, user="nobody")
        mesh.service("app", 80, 8080)
        mesh.write("mesh.d/20-strict.yaml", STRICT)
        mesh.start()
        stack.callback(mesh.stop)
        mesh.nft("load")
        w = Watcher(mesh, workdir / "witness.log", PROXY, pair.node.command)
        stack.callback(w.stop)
        w.look(2)
        code, _ = curl(pair.client, f"http://{NODE4}:8080/")
        assert code == 0 and mesh.captured("app", "in") == 1
        looked_again(w)
        assert w.ports() == {}
        mesh.nft("unload")
        assert curl(pair.client, f"http://{NODE4}:8080/")[0] == 200
        wait_for("what the application said", lambda: ("application", 8080) in w.ports())
        assert len(w.ports()) == 1
        mesh.nft("load")
        mesh.stop()
        with pair.node.listen("0.0.0.0", mesh.inbound) as door:
            door.settimeout(30)
            with pair.client.dial(NODE4, 8080) as s:
                s.sendall(GET)
                c, _ = door.accept()
                with c:
                    assert c.recv(9999) == GET
                    c.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    assert s.recv(99).startswith(b"HTTP")
        shown = pair.node.run("nft", "list", "counter", "inet", "kvmesh_witness", "captured_8080").stdout
        assert "packets 1 bytes 71" in shown, shown


def test_ports_that_may_be_plain_are_not_looked_at(witnessed):
    w = witnessed
    w.mesh.write("mesh.d/20-strict.yaml", STRICT.replace("STRICT", "PERMISSIVE"))
    w.mesh.write("mesh.d/30-lax.yaml", STRICT.replace("STRICT", "PERMISSIVE").replace("kvmesh-system", "default"))
    (w.mesh.etc / "mesh.d/10-article.yaml").write_text(kvmesh.ARTICLE.replace("STRICT", "PERMISSIVE"))
    w.mesh.ctl("config", "reload", check=0)
    wait_for("the mesh port alone", lambda: w.seen()["looksAt"] == 1)
    assert b"v1" in ask(w.article.v1.port, GET)
    looked_again(w)
    assert w.ports() == {}


def test_who_takes_its_table_away_or_kills_it_blinds_it_for_seconds(witnessed):
    w = witnessed
    sh("nft", "delete", "table", "inet", "kvmesh_witness")
    wait_for("a table again", lambda: "kvmesh_witness" in sh("nft", "list", "tables"))
    ask(w.article.v1.port, GET)
    wait_for("the bypass", lambda: w.seen()["plainBytes"] > 0)
    first = w.seen()["plainBytes"]
    w.witness.stop(9)
    w.look(3)
    ask(w.article.v1.port, GET)
    wait_for("the next bypass", lambda: w.seen()["plainBytes"] == 2 * first)
    # It leaves nothing behind.
    w.witness.stop()
    assert "kvmesh_witness" not in sh("nft", "list", "tables")


def test_nobody_else_speaks_for_it(witnessed):
    w = witnessed
    before = w.seen()
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            os.setgroups([])
            os.setgid(1)
            os.setuid(1)
            r = w.mesh.call("metrics/metrics.sock", "Witnessed", {"pid": 1, "ports": []})
            code = 0 if r.get("error") == "NotPermitted" else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for bad in {}, {"ports": [{}]}, {"ports": [{"kind": "mesh", "port": 0, "packets": 1, "bytes": 1}]}, \
            {"ports": [{"kind": "mesh", "port": 80, "packets": -1, "bytes": 1}]}:
        assert w.mesh.call("metrics/metrics.sock", "Witnessed", bad)["error"] == "InvalidParameter"
    assert w.seen()["plainBytes"] == before["plainBytes"] == 0
