# SPDX-License-Identifier: Apache-2.0
"""PeerAuthentication by mesh, namespace, workload and port, with captured traffic in a network namespace of the
test's own: plain and mutual TLS callers at the application's port, redirected by nftables to the inbound side."""

import os
import subprocess

import pytest

import kvmesh
from kvmesh import wait_for

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="network namespaces need root")


def ip(*args):
    subprocess.run(["ip", *map(str, args)], check=True, capture_output=True)


class Netns:
    """Own loopback and two addresses; the mesh, the application and the callers live inside."""

    def __init__(self):
        self.name = f"kvm-{os.getpid()}-{kvmesh.free_port()}"
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")

    def run(self, *args, **kw):
        return subprocess.run(["ip", "netns", "exec", self.name, *map(str, args)], capture_output=True, text=True,
                              timeout=kvmesh.DEADLINE, **kw)

    def nft(self, rules):
        r = self.run("nft", "-f", "-", input=rules)
        assert r.returncode == 0, r.stderr

    def close(self):
        ip("netns", "del", self.name)


def http_program(port, directory):
    return ["/usr/bin/python3", "-m", "http.server", port, "--bind", "127.0.0.1", "--directory", directory]


def https_program(port, directory):
    """A program with TLS of its own."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=own",
                    "-keyout", directory / "own.key", "-out", directory / "own.crt"], check=True, capture_output=True)
    return ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", directory / "own.crt", "-key", directory / "own.key", "-www"]


def greeting_program(port, directory):
    """Speaks first, as SMTP and MySQL do."""
    return ["/usr/bin/python3", "-c", f"""
import contextlib, socket
s = socket.create_server(("127.0.0.1", {port}))
while True:
    c, _ = s.accept()
    with c, contextlib.suppress(OSError):
        c.sendall(b"220 hello\\r\\n")
        c.recv(1)
"""]


@pytest.fixture
def captured(workdir, monkeypatch):
    """make(resources) -> (mesh, ns, app port): calls to 127.0.0.1:APP by anybody but root are redirected to inboundPort,
    so that the proxy (root here) reaches the application. protocol None: the ports do not say."""
    opened = []

    def make(resources, protocol="HTTP", program=http_program):
        ns = Netns()
        opened.append(ns.close)
        inbound = kvmesh.free_port()
        mesh = kvmesh.Mesh(workdir / "mesh", inbound_port=inbound)
        app = kvmesh.free_port()
        said = f'name = "{(protocol or "main").lower()}";' + (f' protocol = "{protocol}";' if protocol else "")
        mesh.write("workloads.d/app.conf", f"""
Workload = {{ name = "app"; address = "127.0.0.1"; ports = ( {{ number = {app}; {said} }} ); labels = {{ app = "app"; }}; }};
""")
        mesh.write("mesh.d/00-app.conf", f"""
Service = {{ name = "app"; selector = {{ app = "app"; }}; ports = ( {{ number = 80; targetPort = {app}; {said} }} ); }};
""")
        mesh.write("mesh.d/pa.yaml", resources)
        run = kvmesh.Process(["ip", "netns", "exec", ns.name, kvmesh.tool("kvmeshctl"), "run", "--etc", mesh.etc, "--run", mesh.run,
                              "--state", mesh.state], mesh.dir / "run.log")
        mesh.process = run
        opened.append(lambda: run.stop())
        server = kvmesh.Process(["ip", "netns", "exec", ns.name, *program(app, workdir)], workdir / "app.log")
        opened.append(server.stop)
        wait_for("the application", lambda: ns.run("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{app}").returncode == 0)
        mesh.wait_ready()
        ns.nft(f"""
table ip test {{
    chain output {{
        type nat hook output priority -100;
        meta skuid != 0 tcp dport {app} redirect to :{inbound}
    }}
}}
""")
        return mesh, ns, app

    yield make
    for close in reversed(opened):
        close()


def plain(ns, port, scheme="http"):
    """A caller of another user speaks plain HTTP, or TLS of its own, to the application's port."""
    return ns.run("setpriv", "--reuid", "65534", "--clear-groups", "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}",
                  "--max-time", "20", f"{scheme}://127.0.0.1:{port}/")


def through_the_mesh(ns, mesh):
    return ns.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-x", f"http://127.0.0.1:{mesh.http_port}", "http://app/").stdout


PA = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{ name: {name}, namespace: {ns} }}
spec: {spec}
---
"""


def mode(name, ns, mode, more=""):
    return PA.format(name=name, ns=ns, spec=f"{{ {more} mtls: {{ mode: {mode} }} }}")


APP, OTHER = ("selector: { matchLabels: { app: %s } }," % a for a in ("app", "other"))


@pytest.mark.parametrize("rule,resources,answered", [
    ("2.10.2", "# nothing\n", True),
    ("2.10.1", mode("mesh", "istio-system", "STRICT"), False),
    ("2.10.1", mode("ns", "default", "STRICT"), False),
    ("2.10.1", mode("mesh", "istio-system", "STRICT") + mode("ns", "default", "PERMISSIVE"), True),
    ("2.10.1", mode("ns", "default", "PERMISSIVE") + mode("app", "default", "STRICT", APP), False),
    ("2.10.1", mode("app", "default", "STRICT", OTHER), True),
    ("2.10.1", mode("app", "istio-system", "STRICT", APP), True),
    ("2.10.2", mode("ns", "default", "STRICT") + mode("app", "default", "UNSET", APP), False),
    ("2.10.2", mode("mesh", "istio-system", "STRICT") + mode("ns", "default", "UNSET"), False),
    ("2.10.3", mode("a-first", "default", "STRICT") + mode("b-second", "default", "PERMISSIVE"), False),
    ("2.10.3", mode("mesh", "istio-system", "STRICT") + mode("a-first", "default", "UNSET") + mode("b-second", "default", "PERMISSIVE"), False),
    ("2.10.5", mode("ns", "default", "DISABLE"), True),
])
def test_plain_text_at_the_applications_port(captured, rule, resources, answered):
    mesh, ns, app = captured(resources)
    r = plain(ns, app)
    if answered:
        assert r.stdout == "200", r
    else:
        assert r.stdout == "000" and r.returncode in (52, 56), "closed without a byte: " + repr(r)


def test_2_10_4_ports_are_the_workloads_and_beat_its_mode(captured):
    def policy(port, word):
        return PA.format(name="app", ns="default", spec=f"{{ {APP} mtls: {{ mode: STRICT }}, portLevelMtls: {{ {port}: {{ mode: {word} }} }} }}")
    mesh, ns, app = captured(policy(80, "DISABLE"))     # the service's port is nobody's
    assert plain(ns, app).stdout == "000"
    mesh.write("mesh.d/pa.yaml", policy(app, "PERMISSIVE"))
    wait_for("plain text to be served", lambda: plain(ns, app).stdout == "200")


def test_2_10_5_strict_takes_mutual_tls_and_nothing_else(captured):
    mesh, ns, app = captured(mode("ns", "default", "STRICT"))
    assert through_the_mesh(ns, mesh) == "200"
    assert plain(ns, app).stdout == "000"
    assert plain(ns, app, "https").stdout == "000"


def test_2_10_5_disable_leaves_tls_to_the_program(captured):
    mesh, ns, app = captured(mode("ns", "default", "DISABLE"), protocol="TCP", program=https_program)
    assert plain(ns, app, "https").stdout == "200"


def test_2_10_6_permissive_on_an_http_port(captured):
    mesh, ns, app = captured("# nothing\n")
    assert plain(ns, app).stdout == "200" and through_the_mesh(ns, mesh) == "200"
    r = plain(ns, app, "https")
    assert r.stdout == "000" and r.returncode == 35, r


def test_2_10_7_permissive_on_a_tcp_port(captured):
    mesh, ns, app = captured("# nothing\n", protocol="TCP", program=https_program)
    assert plain(ns, app, "https").stdout == "200"
    assert plain(ns, app).stdout == "000"       # reached the program, which speaks TLS alone
    assert "http request" in wait_for("the program's word", lambda: (mesh.dir.parent / "app.log").read_text(errors="replace"))


@pytest.mark.parametrize("program,scheme", [(http_program, "http"), (https_program, "https")])
def test_2_10_8_permissive_on_a_port_that_says_nothing(captured, program, scheme):
    mesh, ns, app = captured("# nothing\n", protocol=None, program=program)
    assert plain(ns, app, scheme).stdout == "200"


def test_2_10_9_a_server_that_speaks_first_behind_a_tcp_port(captured):
    mesh, ns, app = captured("# nothing\n", protocol="TCP", program=greeting_program)
    r = ns.run("setpriv", "--reuid", "65534", "--clear-groups", "bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{app}; head -n 1 <&3")
    assert r.stdout.strip() == "220 hello", r


@pytest.mark.parametrize("port,as_http", [
    ("name: http", True), ("name: http-web", True), ("name: grpc-web", True), ("name: http2-x", True),
    ("name: tcp-web", False), ("name: mysql", False), ("name: redis-main", False), ("name: web", True),      # looked at
    ("name: tcp-web, appProtocol: http", True), ("name: http-web, appProtocol: tcp", False),
])
def test_2_16_a_service_says_the_protocol_by_name_or_appProtocol(captured, port, as_http):
    mesh, ns, app = captured("# nothing\n", protocol=None)
    mesh.write("mesh.d/00-app.conf", "")
    mesh.write("mesh.d/00-app.yaml", f"""\
apiVersion: v1
kind: Service
metadata: {{ name: app, namespace: default }}
spec: {{ selector: {{ app: app }}, ports: [ {{ {port}, port: 80, targetPort: {app} }} ] }}
""")
    mesh.ctl("config", "reload", "--wait", check=0)
    r = ns.run("setpriv", "--reuid", "65534", "--clear-groups", "curl", "-si", "--max-time", "20", f"http://127.0.0.1:{app}/")
    assert ("server: istio-envoy" in r.stdout) == as_http, r
    assert as_http or "SimpleHTTP" in r.stdout, r
