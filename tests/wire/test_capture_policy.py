# SPDX-License-Identifier: Apache-2.0
"""What policies and settings make of captured traffic: PeerAuthentication on the application's own port, what nobody
declared, which part is captured, what holds when there is no proxy. One mesh a test, as each has another configuration."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess

import pytest

import kvmesh
import netns
from capture import APP, CALLER, CapturedMesh, InsideNginx, ask, passable_directory
from kvmesh import wait_for
from netns import NODE4, NODE6

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="network namespaces need root")

PORT = 8080


def peer_authentication(mode):
    return f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{ name: pa, namespace: default }}
spec: {{ mtls: {{ mode: {mode} }} }}
"""


@pytest.fixture
def make():
    """make(files, conf, app={}, caller={}) -> the mesh, started and captured; app is nginx on PORT of all addresses."""
    with contextlib.ExitStack() as stack:
        workdir = stack.enter_context(passable_directory())

        def start(files=None, conf="", app=None, caller=None, load=True):
            pair = netns.Pair()
            stack.callback(pair.close)
            mesh = CapturedMesh(workdir / "mesh", pair, conf)
            stack.callback(InsideNginx(pair.node, workdir, PORT).stop)
            mesh.workload("app", PORT, inject=True, **{"user": "nobody", **(app or {})})
            mesh.workload("caller", 9, inject=True, user="games", **(caller or {}))
            mesh.service("app", 80, PORT)
            for name, text in (files or {}).items():
                mesh.write(f"mesh.d/{name}.yaml", text)
            stack.callback(mesh.stop)
            mesh.start()
            if load:
                mesh.nft("load")
            return mesh
        yield start


def refused(ns, host, port, user=0, say=b"GET / HTTP/1.1\r\nHost: app\r\n\r\n"):
    """Not one byte comes back, whether the connection is refused or closed."""
    try:
        with ns.dial(host, port, user) as c:
            c.sendall(say)
            return c.recv(1000) == b""
    except OSError:
        return True


# ---- PeerAuthentication --------------------------------------------------------------------------

def test_rule_2_10_5_strict_refuses_plain_text_on_the_applications_own_port(make):
    mesh = make({"pa": peer_authentication("STRICT")})
    pair = mesh.pair
    for host in (NODE4, NODE6):
        assert refused(pair.client, host, PORT)
        assert refused(pair.node, host, PORT, user=10)
        assert refused(pair.node, host, PORT, user=CALLER)
    assert refused(pair.node, "127.0.0.1", PORT, user=10)
    assert refused(pair.client, NODE4, PORT, say=b"\x01\x02\x03\n")
    code, body = ask(pair.node, "http://192.0.2.10/", "-H", "Host: app", user=CALLER)
    assert code == 200 and "URI=spiffe://cluster.local/ns/default/sa/caller" in body
    code, _ = ask(pair.node, f"http://127.0.0.1:{PORT}/", user=APP)       # the application itself
    assert code == 200
    mesh.assert_sound()


def test_rule_2_10_5_disable_is_plain_text_for_everybody(make):
    mesh = make({"pa": peer_authentication("DISABLE")})
    assert ask(mesh.pair.client, f"http://{NODE4}:{PORT}/")[0] == 200
    assert ask(mesh.pair.node, f"http://127.0.0.1:{PORT}/", user="bin")[0] == 200


def test_the_proxy_is_no_way_around_a_strict_port(make):
    """Not by naming the port's address to it, and not by a DestinationRule that asks for plain text."""
    mesh = make({"pa": peer_authentication("STRICT"), "dr": """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: plain, namespace: default }
spec: { host: app, trafficPolicy: { tls: { mode: DISABLE } } }
"""})
    for host in (NODE4, "127.0.0.1"):
        code, body = ask(mesh.pair.node, f"http://{host}:{PORT}/", "-x", f"http://127.0.0.1:{mesh.http_port}", "--noproxy", "")
        assert code == 503 and "app 1" not in body
    code, body = ask(mesh.pair.node, "http://192.0.2.10/", "-H", "Host: app", user=CALLER)
    assert code == 503
    mesh.assert_sound()


@pytest.mark.parametrize("mode", ["PERMISSIVE", "STRICT"])
def test_rule_2_10_10_a_port_that_no_service_declares_has_the_workloads_mode(make, mode):
    mesh = make({"pa": peer_authentication(mode)}, load=False)
    mesh.write("workloads.d/app.conf", f"""
Workload = {{ name = "app"; user = "nobody"; inject = true; ports = ( {{ name = "http"; number = {PORT}; }} );
  labels = {{ app = "app"; }}; capture = {{ includeInboundPorts = [ {PORT}, 8090 ]; }}; }};
""")
    mesh.nft("load")
    with mesh.pair.node.listen("0.0.0.0", 8090, APP) as l:
        wait_for("the port", lambda: '"port":8090' in json.dumps(
            mesh.call("proxy/node.sock", "Dump", {"what": "snapshot"}), separators=(",", ":")))
        if mode == "STRICT":
            assert refused(mesh.pair.client, NODE4, 8090)
            return
        with mesh.pair.client.dial(NODE4, 8090) as c:
            l.settimeout(kvmesh.DEADLINE)
            a, _ = l.accept()
            with a:
                a.sendall(b"hello\n")
                assert c.recv(10) == b"hello\n"


# ---- what nobody declared ------------------------------------------------------------------------

def test_rule_2_3_13_registry_only_blocks_captured_addresses_that_nobody_declared(make):
    mesh = make(conf='outboundTrafficPolicy = { mode = "REGISTRY_ONLY"; };')
    with mesh.pair.client.listen("192.0.2.10", 80) as far, mesh.pair.client.listen("192.0.2.10", 7000) as far_tcp:
        assert ask(mesh.pair.node, "http://192.0.2.10/", user=CALLER)[0] == 502
        assert refused(mesh.pair.node, "192.0.2.10", 7000, CALLER, say=b"\x01\n")
        for l in (far, far_tcp):
            l.settimeout(0)
            with pytest.raises(BlockingIOError):
                l.accept()
    assert ask(mesh.pair.node, "http://192.0.2.10/", "-H", "Host: app", user=CALLER)[0] == 200


def test_rule_2_3_13_allow_any_passes_captured_addresses_on(make):
    mesh = make()
    with mesh.pair.client.listen("192.0.2.10", 80) as far, mesh.pair.node.dial("192.0.2.10", 80, CALLER) as c:
        c.sendall(b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")
        far.settimeout(kvmesh.DEADLINE)
        a, _ = far.accept()
        with a:
            assert b"elsewhere.example" in a.recv(4096)
            a.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            assert b" 200 " in c.recv(4096)


# ---- which part ----------------------------------------------------------------------------------

def reaches_directly(mesh, port, user=CALLER, host="192.0.2.10"):
    """Does the caller's own connection arrive there, with nobody between?"""
    with mesh.pair.client.listen(host, port) as far, mesh.pair.node.dial(host, port, user) as c:
        c.sendall(b"\x01")
        far.settimeout(kvmesh.DEADLINE)
        a, peer = far.accept()
        a.close()
        return peer[1] == c.getsockname()[1]


@pytest.mark.parametrize("annotations,direct,captured", [
    ({"excludeOutboundPorts": "7001,7002"}, [7001, 7002], [7003]),
    ({"excludeOutboundIPRanges": "192.0.2.0/24,198.51.100.0/24"}, [7001], []),
    ({"includeOutboundIPRanges": "198.51.100.0/24"}, [7001], []),
    ({"includeOutboundIPRanges": "192.0.2.0/24,192.0.2.10/32"}, [], [7001]),
    ({"includeOutboundIPRanges": "198.51.100.0/24", "includeOutboundPorts": "7002"}, [7001], [7002]),
    ({"includeOutboundIPRanges": ""}, [7001], []),
    ({"includeOutboundIPRanges": "*", "excludeOutboundPorts": ""}, [], [7001]),
])
def test_annotations_say_which_outgoing_traffic(make, annotations, direct, captured):
    mesh = make(load=False)
    (mesh.etc / "workloads.d/caller.conf").unlink()
    lines = "\n".join(f'    traffic.sidecar.istio.io/{k}: "{v}"' for k, v in annotations.items())
    mesh.write("workloads.d/caller.yaml", f"""
apiVersion: kvmesh/v1
kind: Workload
metadata:
  name: caller
  annotations:
{lines}
spec: {{ user: games, inject: true }}
""")
    mesh.nft("load")
    for port in direct:
        assert reaches_directly(mesh, port), port
    for port in captured:
        assert not reaches_directly(mesh, port), port


def test_a_workload_that_does_not_ask_is_let_alone(make):
    mesh = make(load=False)
    mesh.workload("caller", 9, user="games")
    mesh.workload("app", PORT, user="nobody", inject=False)
    text = mesh.nft("print").stdout
    assert f"skuid {CALLER}" not in text and f"skuid {APP}" not in text and str(PORT) not in text


# ---- without a proxy -----------------------------------------------------------------------------

class Sniffer:
    """Every frame that leaves the node, seen from outside."""

    def __init__(self, ns):
        with ns.entered():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.sock.bind(("kvm1", 0))
        self.sock.setblocking(False)

    def frames(self):
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.sock.recv(65536))
        return found

    def close(self):
        self.sock.close()


def kill_proxy(mesh):
    """The supervisor and the proxy with it, so that nobody starts it again."""
    mesh.stop()
    wait_for("no proxy", lambda: refused(mesh.pair.node, "127.0.0.1", mesh.outbound))


def test_without_a_proxy_nothing_leaves_in_clear(make):
    mesh = make({"pa": peer_authentication("STRICT")})
    pair = mesh.pair
    with contextlib.closing(Sniffer(pair.client)) as wire, pair.client.listen("192.0.2.10", 7000) as far:
        kill_proxy(mesh)
        wire.frames()
        for host, port in (("192.0.2.10", 7000), ("192.0.2.10", 80), ("fd77::2", 7000)):
            with pytest.raises(ConnectionRefusedError):
                pair.node.dial(host, port, CALLER)
        for host in (NODE4, NODE6):
            with pytest.raises(ConnectionRefusedError):
                pair.client.dial(host, PORT)
            with pytest.raises(ConnectionRefusedError):
                pair.node.dial(host, PORT, 10)
        far.settimeout(0)
        with pytest.raises(BlockingIOError):
            far.accept()
        # Of what the caller tried not even a SYN went out; what was said to the outside client is a reset.
        tcp = [f for f in wire.frames() if f[12:14] == b"\x08\x00" and f[23] == 6 and f[26:30] == socket.inet_aton(NODE4)]
        assert tcp and all(struct.unpack(">H", f[34:36])[0] == PORT and f[47] & 0x04 for f in tcp)
    # And who is no workload, SSH first of all, goes on as ever.
    assert reaches_directly(mesh, 22)
    assert reaches_directly(mesh, 7003, user=10)
    with pair.node.listen("0.0.0.0", 22) as near, pair.client.dial(NODE4, 22):
        near.settimeout(kvmesh.DEADLINE)
        near.accept()[0].close()


def test_failure_mode_open_goes_its_own_way_without_a_proxy(make):
    mesh = make(load=False)
    for name in ("app", "caller"):
        path = mesh.etc / f"workloads.d/{name}.conf"
        mesh.write(f"workloads.d/{name}.conf", path.read_text().replace("inject = true;", 'inject = true; capture = { failureMode = "open"; };'))
    mesh.nft("load")
    assert not reaches_directly(mesh, 7001)
    kill_proxy(mesh)
    mesh.nft("refresh")
    assert reaches_directly(mesh, 7001)
    assert ask(mesh.pair.client, f"http://{NODE4}:{PORT}/")[0] == 200
    mesh.start(wait=False)              # the log still says ready of the first time
    wait_for("the proxy", lambda: "error" not in mesh.call("proxy/node.sock", "Status"))
    mesh.nft("refresh")
    wait_for("a way through the proxy", lambda: not reaches_directly(mesh, 7001))


def test_refresh_without_a_table_makes_none(make):
    mesh = make(load=False)
    mesh.nft("refresh")
    assert mesh.capture_status()["state"] == "off"


def test_an_unusable_configuration_leaves_the_rules_as_they_are(make):
    mesh = make(load=False)
    mesh.write("workloads.d/broken.conf", "Workload = {")
    r = mesh.nft("load", check=78)
    assert "broken.conf" in r.stderr and "stay as they are" in r.stderr
    (mesh.etc / "workloads.d/broken.conf").unlink()
    mesh.nft("load")
    before = mesh.pair.node.run("nft", "-s", "list", "ruleset").stdout
    mesh.write("workloads.d/broken.conf", "Workload = {")
    r = mesh.nft("load")
    assert "broken.conf" in r.stderr and "what was loaded last holds" in r.stderr
    assert mesh.pair.node.run("nft", "-s", "list", "ruleset").stdout == before
    mesh.nft("unload")                  # a boot
    mesh.nft("load")
    assert mesh.pair.node.run("nft", "-s", "list", "ruleset").stdout == before


# ---- by cgroup -----------------------------------------------------------------------------------

def unified():
    return next((p for p in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified") if os.path.exists(f"{p}/cgroup.procs") and
                 os.path.exists(f"{p}/cgroup.controllers")), None)


@pytest.mark.skipif(unified() is None, reason="no unified cgroup hierarchy")
def test_a_units_processes_are_told_by_its_cgroup(make):
    """Root's processes too, and no others of root's."""
    unit = f"kvm-test-{os.getpid()}.service"
    directory = pathlib.Path(unified()) / "system.slice" / unit
    mesh = make(load=False)
    mesh.write("workloads.d/unit.conf", f'Workload = {{ name = "unit"; unit = "{unit}"; inject = true; labels = {{ app = "unit"; }}; }};\n')
    assert "does not run" in mesh.nft("load").stderr
    had_slice = directory.parent.exists()
    directory.mkdir(parents=True)
    try:
        mesh.nft("refresh")
        row = next(w for w in mesh.capture_status()["workloads"] if w["name"] == "unit")
        assert row["by"].startswith("cgroup ") and row["outbound"] is True
        script = f"echo $$ >{directory}/cgroup.procs; exec curl -sS -m 20 -o /dev/null -w '%{{http_code}}' -H 'Host: app' http://192.0.2.10/"
        wait_for("the workload's identity", lambda: mesh.pair.node.run("sh", "-c", script).stdout == "200")
        assert mesh.captured("unit", "out") >= 1
        assert reaches_directly(mesh, 7001, user=0)
    finally:
        wait_for("an empty cgroup", lambda: not (directory / "cgroup.procs").read_text())
        directory.rmdir()
        if not had_slice:
            directory.parent.rmdir()
        # a unit that is gone does not keep the others from being captured
        mesh.nft("refresh")


# ---- on trial ------------------------------------------------------------------------------------

def test_a_trial_goes_back_by_itself_and_confirm_keeps_it(make):
    mesh = make(load=False)
    assert "1 s" in mesh.nft("try", "1").stdout
    wait_for("the way back", lambda: mesh.capture_status()["state"] == "off")
    wait_for("no trace of it", lambda: not list((mesh.run / "nft").iterdir()))
    mesh.nft("confirm", check=1)
    mesh.nft("try", "3600")
    assert 0 < mesh.capture_status()["revertsInSeconds"] <= 3600
    mesh.nft("confirm")
    assert "revertsInSeconds" not in mesh.capture_status()
    assert mesh.capture_status()["state"] == "on"
    wait_for("nobody to wait any more", lambda: subprocess.run(["pgrep", "-f", f"kvmesh-nft try .*{mesh.run}"]).returncode == 1)


def test_a_trial_goes_back_to_the_rules_that_were_there(make):
    mesh = make()
    before = mesh.pair.node.run("nft", "-s", "list", "ruleset").stdout
    mesh.workload("third", 8123, user="bin", inject=True)
    mesh.nft("try", "2")
    mesh.nft("try", "1")                # again, while the first is pending: the way back stays that of the first
    assert "8123" in mesh.pair.node.run("nft", "list", "ruleset").stdout
    wait_for("the way back", lambda: mesh.pair.node.run("nft", "-s", "list", "ruleset").stdout == before)


def test_what_takes_a_trial_back_outlives_who_began_it(make):
    """The session that called it is gone, killed."""
    mesh = make(load=False)
    p = kvmesh.Process(mesh.pair.node.command("setsid", "sh", "-c", f"{kvmesh.tool('kvmesh-nft')} try 2 --etc {mesh.etc} --run "
                                              f"{mesh.run} --proxy-user daemon; sleep 600"), mesh.dir / "try.log")
    wait_for("the trial", lambda: mesh.capture_status()["state"] == "on")
    os.killpg(os.getpgid(p.pid), signal.SIGKILL) if os.getpgid(p.pid) != os.getpgid(0) else p.popen.kill()
    p.stop()
    wait_for("the way back", lambda: mesh.capture_status()["state"] == "off")


def test_kvmeshctl_capture(make):
    mesh = make(load=False)

    def capture(*args, check=0):
        r = mesh.pair.node.run(kvmesh.tool("kvmeshctl"), "--etc", mesh.etc, "--run", mesh.run, "--state", mesh.dir / "nft-state",
                               "capture", *args, "--proxy-user", "daemon")
        assert r.returncode == check, r.stdout + r.stderr
        return r

    assert "off" in capture("status").stdout
    capture("confirm", check=1)
    assert "goes back" in capture("on", "--seconds", "3600").stdout
    assert json.loads(capture("status", "-o", "json").stdout)["state"] == "on"
    capture("confirm")
    assert "not confirmed" not in capture("status").stdout
    mesh.pair.node.run("nft", "flush", "chain", "inet", "kvmesh", "in")
    assert "changed by something else" in capture("status", check=1).stdout
    capture("repair")
    assert f"{APP}" in capture("status").stdout
    capture("off")
    assert "kvmesh" not in mesh.pair.node.run("nft", "list", "ruleset").stdout
    capture("on", "--yes")
    assert json.loads(capture("status", "-o", "json").stdout)["state"] == "on"
    r = mesh.pair.node.run(kvmesh.tool("kvmeshctl"), "--etc", mesh.etc, "--run", mesh.run, "capture", "off", user=CALLER)
    assert r.returncode == 77 and "root" in r.stderr
