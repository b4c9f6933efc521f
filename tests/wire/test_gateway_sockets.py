# SPDX-License-Identifier: Apache-2.0
"""A gateway on sockets that a service manager has made and keeps (LISTEN_FDS): they are matched to the Gateway's ports by
their addresses, other ports are bound as ever, and nobody is refused while the proxy is restarted."""

import contextlib
import json
import socket
import subprocess
import threading

import pytest

import kvmesh
import pki
from kvmesh import wait_for


class Activated:
    """Router, CA and the two proxies as services of their own; the gateway gets the sockets."""

    def __init__(self, directory):
        self.dir = directory
        self.stack = contextlib.ExitStack()
        self.mesh = kvmesh.Mesh(directory / "mesh")
        web = kvmesh.Nginx(directory, "web")
        self.stack.callback(web.stop)
        self.ca = pki.Authority(directory / "pki")
        self.mesh.workload("web", web.port)
        self.mesh.service("web", 80, "http")
        self.mesh.write("workloads.d/gw.conf", 'Workload = { name = "ingressgateway"; gateway = true; labels = { istio = "ingressgateway"; }; };')
        self.ca.credential(self.mesh.etc, "edge", "DNS:web.example")
        self.sockets, self.gateway, self.starts = [], None, 0

    def listen(self, family=socket.AF_INET, address="0.0.0.0"):
        s = socket.socket(family)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        s.bind((address, 0))
        s.listen(128)
        self.sockets.append(s)
        self.stack.callback(s.close)
        return s.getsockname()[1]

    def config(self, *servers):
        self.mesh.write("mesh.d/gw.conf", f"""
Gateway = {{ name = "gw"; selector = {{ istio = "ingressgateway"; }}; servers = ( {", ".join(servers)} ); }};
VirtualService = {{ name = "web"; hosts = [ "web.example" ]; gateways = [ "gw" ];
  http = ( {{ route = ( {{ destination = {{ host = "web"; }}; }} ); }} ); }};
""")

    def daemon(self, name, *args, prefix=(), fds=()):
        m = self.mesh
        self.starts += 1
        argv = [*prefix, kvmesh.tool(f"kvmesh-{name}"), "--etc", m.etc, "--run", m.run, "--state", m.state, *args]
        log = open(self.dir / f"{name}-{self.starts}.log", "wb")
        p = subprocess.Popen([str(a) for a in argv], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, pass_fds=fds)
        p.log = self.dir / f"{name}-{self.starts}.log"
        self.stack.callback(self.end, p)
        return p

    @staticmethod
    def end(p):
        if p.poll() is None:
            p.terminate()
            try:
                p.wait(40)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        return p.returncode

    def start_gateway(self):
        fds = [s.fileno() for s in self.sockets]
        taken = " ".join(f"{3 + i}<&{fd}" for i, fd in enumerate(100 + i for i in range(len(fds))))
        high = " ".join(f"{100 + i}<&{fd}" for i, fd in enumerate(fds))
        script = f'exec {high}; exec {taken}; LISTEN_FDS={len(fds)} LISTEN_PID=$$ exec "$@"'
        self.gateway = self.daemon("proxy", "--instance", "ingressgateway", prefix=["bash", "-c", script, "bash"], fds=fds)
        return self.gateway

    def start(self):
        self.daemon("router", "--standalone")
        self.daemon("ca", "--standalone")
        self.daemon("proxy", "--instance", "node")
        return self.start_gateway()

    def close(self):
        self.stack.close()


@pytest.fixture
def activated(workdir):
    a = Activated(workdir)
    yield a
    a.close()


def http(port, name="http", bind=""):
    bind = f'bind = "{bind}";' if bind else ""
    return f'{{ port = {{ number = {port}; name = "{name}"; protocol = "HTTP"; }}; {bind} hosts = [ "web.example" ]; }}'


def get(port, address="127.0.0.1", path="/"):
    host = f"[{address}]" if ":" in address else address
    r = subprocess.run(["curl", "-sS", "-m", "60", "-H", "Host: web.example", f"http://{host}:{port}{path}"], capture_output=True, text=True, timeout=90)
    return r.stdout if r.returncode == 0 else r.returncode


def test_passed_sockets_are_the_gateways_ports(activated):
    """Told by address: one for IPv4, one for both families, which shows IPv4 clients as such; a third port is bound by the
    proxy; a socket that no server wants is told."""
    four, both, idle, own = activated.listen(), activated.listen(socket.AF_INET6, "::"), activated.listen(), kvmesh.free_port()
    activated.config(http(four), http(both, "both"), http(own, "own"))
    gateway = activated.start()
    for port in (four, both, own):
        wait_for(f"port {port}", lambda: get(port) == "web\n")
    assert get(both, "::1") == "web\n"
    assert "xff=127.0.0.1\n" in get(both, path="/headers")
    assert "xff=::1\n" in get(both, "::1", path="/headers")
    wait_for("the idle one is told", lambda: f"the socket for 0.0.0.0:{idle} that was passed on is no Gateway server's" in gateway.log.read_text())
    # a port that leaves the configuration and comes again is the same socket
    activated.config(http(four))
    status = lambda: json.dumps(activated.mesh.call("proxy/ingressgateway.sock", "Status")["parameters"]["listeners"])  # noqa: E731
    wait_for("only one is left", lambda: str(both) not in status() and str(four) in status())
    activated.config(http(four), http(both, "both"))
    wait_for("it is back", lambda: str(both) in status())
    assert get(both) == "web\n"


def test_nobody_is_refused_while_the_proxy_restarts(activated):
    """HTTP/1.1, and HTTP/2 behind TLS: who connects meanwhile waits, who has just come in is answered."""
    port, secure = activated.listen(), activated.listen()
    activated.config(http(port), f"""{{ port = {{ number = {secure}; name = "https"; protocol = "HTTPS"; }}; hosts = [ "web.example" ];
       tls = {{ mode = "SIMPLE"; credentialName = "edge"; }}; }}""")
    activated.start()
    wait_for("the gateway", lambda: get(port) == "web\n")
    answers, stop = [], threading.Event()

    def get_tls():
        r = subprocess.run(["curl", "-sS", "-m", "60", "--http2", "--cacert", activated.ca.crt, "--connect-to", f"web.example:443:127.0.0.1:{secure}",
                            "https://web.example/"], capture_output=True, text=True, timeout=90)
        return r.stdout if r.returncode == 0 else (r.returncode, r.stderr)

    def pull(ask):
        while not stop.is_set():
            answers.append(ask())
    threads = [threading.Thread(target=pull, args=(ask,), daemon=True) for ask in (lambda: get(port), get_tls)]
    for t in threads:
        t.start()
    for _ in range(3):
        goal = len(answers) + 4
        wait_for("requests", lambda: len(answers) >= goal)
        assert activated.end(activated.gateway) == 0
        activated.start_gateway()
    goal = len(answers) + 6
    wait_for("requests", lambda: len(answers) >= goal)
    stop.set()
    for t in threads:
        t.join(kvmesh.DEADLINE)
    assert set(answers) == {"web\n"}, answers
