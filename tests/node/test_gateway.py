# SPDX-License-Identifier: Apache-2.0
"""A gateway on a booted systemd: ports 80 and 443 by its socket unit, as its own user without a capability; reload, restart and
stop with nobody refused. The tests of this file run in order on one node, and leave nothing."""

import re

import pytest

import kvmesh

INSTANCE = "kvmesh-proxy@ingressgateway"
CONFIG = """\
Workload = (
  { name = "ingressgateway"; gateway = true; labels = { istio = "ingressgateway"; }; },
  { name = "web"; unit = "web.service"; ports = ( { name = "http"; number = 8001; protocol = "HTTP"; } ); labels = { app = "web"; }; } );
Service = { name = "web"; selector = { app = "web"; }; ports = ( { name = "http"; number = 80; targetPort = "http"; protocol = "HTTP"; } ); };
Gateway = { name = "gw"; selector = { istio = "ingressgateway"; };
  servers = ( { port = { number = 80; name = "http"; protocol = "HTTP"; }; hosts = [ "web.example" ]; },
              { port = { number = 443; name = "https"; protocol = "HTTPS"; }; hosts = [ "web.example" ];
                tls = { mode = "SIMPLE"; credentialName = "web"; }; } ); };
VirtualService = { name = "web"; hosts = [ "web.example" ]; gateways = [ "gw" ]; http = ( { route = ( { destination = { host = "web"; }; } ); } ); };
"""
UNIT = """\
[Service]
ExecStart=/usr/sbin/nginx -g 'daemon off;' -c /srv/web.conf
"""
NGINX = """\
pid /run/web.pid; error_log stderr; worker_processes 1; events { }
http { access_log off; server { listen 127.0.0.1:8001; location / { default_type text/plain; return 200 "web $http_x_forwarded_for\\n"; } } }
"""
LOOP = """\
while [ ! -e /run/stop ]; do curl -s -m 90 -o /dev/null -w '%{http_code} %{exitcode}\\n' -H 'Host: web.example' http://127.0.0.1/; done >>/run/answers
"""


@pytest.fixture(scope="module")
def gateway(node):
    node.ok("dpkg -i /kvmesh.deb", timeout=300)
    node.write("/srv/web.conf", NGINX)
    node.write("/etc/systemd/system/web.service", UNIT)
    node.write("/srv/loop.sh", LOOP)
    node.write("/etc/kvmesh/mesh.d/web.conf", CONFIG)
    node.ok("mkdir -p /etc/kvmesh/tls/web && cd /etc/kvmesh/tls/web && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3 "
            "-subj /CN=web -addext subjectAltName=DNS:web.example -keyout tls.key -out tls.crt 2>/dev/null && "
            "chown -R root:kvmesh-proxy . && chmod 750 . && chmod 640 tls.key tls.crt")
    node.ok("systemctl daemon-reload && systemctl start web && systemctl reload kvmesh-router")
    yield node
    node.sh(f"touch /run/stop; systemctl disable --now {INSTANCE}.socket {INSTANCE}; systemctl stop web; "
            "rm -rf /srv/web.conf /srv/loop.sh /etc/systemd/system/web.service /run/answers /run/stop; "
            "dpkg --purge kvmesh; systemctl daemon-reload", timeout=300)


def http(node):
    return node.sh("curl -s -m 60 -H 'Host: web.example' http://127.0.0.1/").stdout


def https(node):
    return node.sh("curl -s -m 60 --cacert /etc/kvmesh/tls/web/tls.crt --resolve web.example:443:127.0.0.1 https://web.example/").stdout


def main_pid(node):
    return node.ok(f"systemctl show -P MainPID {INSTANCE}").strip()


def test_a_connection_starts_the_gateway(gateway):
    gateway.ok(f"systemctl enable --now {INSTANCE}.socket")
    assert gateway.ok(f"systemctl is-active {INSTANCE}.socket").strip() == "active"
    assert gateway.sh(f"systemctl is-active {INSTANCE}").stdout.strip() == "inactive"
    assert http(gateway) == "web 127.0.0.1\n", gateway.journal()
    assert gateway.ok(f"systemctl is-active {INSTANCE}").strip() == "active"


def test_it_serves_low_ports_without_a_capability(gateway):
    pid = main_pid(gateway)
    status = gateway.ok(f"cat /proc/{pid}/status")
    assert re.search(r"CapEff:\s+0{16}", status) and re.search(r"CapBnd:\s+0{16}", status) and re.search(r"CapAmb:\s+0{16}", status)
    assert gateway.ok(f"stat -c %U /proc/{pid}").strip() == "kvmesh-proxy"
    assert http(gateway) == "web 127.0.0.1\n" and https(gateway) == "web 127.0.0.1\n", gateway.journal()
    listening = gateway.ok("ss -Hltnp")
    for port in (80, 443):
        row = next(line for line in listening.splitlines() if re.search(rf":{port}\s", line))
        assert "systemd" in row and "kvmesh-proxy" in row


def test_reload_keeps_the_process(gateway):
    pid = main_pid(gateway)
    gateway.ok(f"systemctl reload {INSTANCE}")
    assert http(gateway) == "web 127.0.0.1\n" and main_pid(gateway) == pid


def test_nobody_is_refused_by_a_restart_or_a_stop(gateway):
    gateway.ok("rm -f /run/answers /run/stop; systemd-run --quiet --unit=pull1 bash /srv/loop.sh; systemd-run --quiet --unit=pull2 bash /srv/loop.sh")

    def answers():
        return gateway.sh("cat /run/answers").stdout.splitlines()
    for what in ("restart", "restart", "stop"):
        goal = len(answers()) + 20
        kvmesh.wait_for("requests", lambda: len(answers()) >= goal)
        gateway.ok(f"systemctl {what} {INSTANCE} 2>&1")
    goal = len(answers()) + 20
    kvmesh.wait_for("requests", lambda: len(answers()) >= goal)
    gateway.ok("touch /run/stop")
    kvmesh.wait_for("the loops to end", lambda: gateway.sh("systemctl is-active pull1 pull2").stdout.split().count("active") == 0)
    seen = answers()
    assert set(seen) == {"200 0"}, (sorted(set(seen)), gateway.journal())
    assert gateway.ok(f"systemctl is-active {INSTANCE}").strip() == "active"


def test_units_verify_and_score(gateway):
    out = gateway.sh(f"cd /lib/systemd/system && systemd-analyze verify --man=no {INSTANCE}.socket {INSTANCE}.service")
    assert out.returncode == 0 and (out.stdout + out.stderr).strip() == "", out
    r = gateway.sh(f"systemd-analyze security --no-pager --threshold=16 {INSTANCE}.service")
    assert r.returncode == 0, r.stdout.splitlines()[-1]


def test_without_its_socket_the_journal_says_what_to_do(gateway):
    gateway.ok(f"systemctl stop {INSTANCE}.socket {INSTANCE} 2>&1; systemctl reset-failed {INSTANCE} 2>&1 || true")
    gateway.sh(f"systemctl start --no-block {INSTANCE}")
    kvmesh.wait_for("the hint", lambda: "systemctl enable --now kvmesh-proxy@ingressgateway.socket binds it"
                    in gateway.ok(f"journalctl -u {INSTANCE} --no-pager -n 60"))
    gateway.ok(f"systemctl stop {INSTANCE}; systemctl reset-failed {INSTANCE} {INSTANCE}.socket 2>&1; systemctl start {INSTANCE}.socket")
    kvmesh.wait_for("it serves again", lambda: http(gateway) == "web 127.0.0.1\n")
