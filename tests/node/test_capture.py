# SPDX-License-Identifier: Apache-2.0
"""Capture on a booted systemd, by kvmeshctl and systemctl alone: units told by their cgroups, a client outside, what holds without
a proxy, what is left when the package goes. The tests of this file run in order on one node."""

import json
import os
import subprocess

import pytest

import kvmesh

OUTSIDE = "192.0.2.2"
NODE = "192.0.2.1"
SHOP = """\
pid /run/shop.pid; error_log stderr; worker_processes 1; events { }
http { access_log off; server { listen 8080; location / { default_type text/plain; return 200 "shop $http_x_forwarded_client_cert\\n"; } } }
"""
UNIT = """\
[Unit]
Description=shop
[Service]
ExecStart=/usr/sbin/nginx -g 'daemon off;' -c /srv/shop.conf
"""
ASKER = """\
[Unit]
Description=asks the shop, as root
[Service]
Type=oneshot
ExecStart=/usr/bin/curl -sS -m 20 -H 'Host: shop' -o /run/asked http://198.51.100.7/
"""
SERVICE = """\
Service = { name = "shop"; selector = { app = "shop"; }; ports = ( { name = "http"; number = 80; targetPort = 8080; protocol = "HTTP"; } ); };
"""
STRICT = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: strict, namespace: default }
spec: { mtls: { mode: STRICT } }
"""
WORKLOAD = 'Workload = { name = "asker"; unit = "asker.service"; inject = true; labels = { app = "asker"; }; };\n'


@pytest.fixture(scope="module")
def host(node):
    """The node with a wire to a client of its own namespace."""
    client = f"kvm-out-{os.getpid()}"
    run = lambda *a: subprocess.run([str(x) for x in a], check=True, capture_output=True)  # noqa: E731
    run("ip", "netns", "add", client)
    run("ip", "-n", client, "link", "add", "far0", "type", "veth", "peer", "name", "near0", "netns", node.leader)
    run("ip", "-n", client, "addr", "add", f"{OUTSIDE}/24", "dev", "far0")
    run("ip", "-n", client, "link", "set", "far0", "up")
    node.ok(f"ip addr add {NODE}/24 dev near0 && ip link set near0 up && ip route add default via {OUTSIDE}")
    node.client = lambda *a: subprocess.run(["ip", "netns", "exec", client, *map(str, a)], capture_output=True, text=True, timeout=kvmesh.DEADLINE)
    node.ok("dpkg -i /kvmesh.deb", timeout=300)
    node.write("/srv/shop.conf", SHOP)
    node.write("/etc/systemd/system/shop.service", UNIT)
    node.write("/etc/systemd/system/asker.service", ASKER)
    node.write("/etc/kvmesh/services.d/shop.conf", SERVICE)
    node.write("/etc/kvmesh/workloads.d/asker.conf", WORKLOAD)
    node.write("/srv/ssh.py", "import socket\ns = socket.create_server(('0.0.0.0', 22))\nwhile True:\n    c, _ = s.accept()\n    c.sendall(b'SSH-2.0-x\\r\\n')\n    c.close()\n")
    node.ok("systemd-run --unit=fake-ssh /usr/bin/python3 /srv/ssh.py")
    node.ok("systemctl daemon-reload && systemctl start kvmesh.target shop")
    yield node
    node.sh("systemctl stop shop fake-ssh; rm -f /srv/shop.conf /srv/ssh.py /run/asked /etc/systemd/system/shop.service /etc/systemd/system/asker.service; "
            "dpkg --purge kvmesh; systemctl daemon-reload; ip link del near0", timeout=300)
    subprocess.run(["ip", "netns", "del", client], check=False)


def ssh_answers(host):
    return "SSH-2.0" in host.client("bash", "-c", f"exec 3<>/dev/tcp/{NODE}/22; head -1 <&3").stdout


def outside(host):
    r = host.client("curl", "-s", "-m", "20", f"http://{NODE}:8080/")
    return r.stdout if r.returncode == 0 else ""


def status(host):
    return json.loads(host.sh("kvmeshctl capture status -o json").stdout)


def asked(host):
    host.ok("rm -f /run/asked; systemctl restart asker")
    return host.ok("cat /run/asked")


def test_nothing_is_captured_before_somebody_says_so(host):
    assert host.sh("systemctl is-enabled kvmesh-nft").stdout.strip() == "disabled"
    assert "inet kvmesh\n" not in host.ok("nft list tables")
    kvmesh.wait_for("the ports", lambda: "nginx listens" in host.ok("kvmeshctl inject shop --dry-run"))
    host.ok("kvmeshctl inject shop && systemctl daemon-reload && systemctl restart shop")
    kvmesh.wait_for("an answer", lambda: outside(host) == "shop \n")


def test_a_trial_goes_back_by_systemds_timer(host):
    host.ok("kvmeshctl capture on --seconds 2")
    kvmesh.wait_for("the way back", lambda: "inet kvmesh\n" not in host.ok("nft list tables"))
    assert host.sh("systemctl is-enabled kvmesh-nft").stdout.strip() == "disabled"


def test_units_are_led_through_the_proxy_by_their_cgroups(host):
    host.ok("kvmeshctl capture on --seconds 3000")
    assert "kvmesh-capture-revert" in host.ok("systemctl list-timers --all --no-pager")
    host.ok("kvmeshctl capture confirm")
    assert "kvmesh-capture-revert" not in host.ok("systemctl list-timers --all --no-pager")
    assert host.ok("systemctl is-enabled kvmesh-nft").strip() == "enabled"
    assert host.ok("systemctl is-active kvmesh-nft").strip() == "active"
    s = status(host)
    assert s["state"] == "on" and "revertsInSeconds" not in s
    rows = {w["name"]: w for w in s["workloads"]}
    assert rows["shop"]["by"].startswith("cgroup ") and rows["shop"]["inbound"] == [8080]
    # the unit starts anew, in a cgroup that is a new one; the rules know it before curl runs
    for _ in range(2):
        assert "URI=spiffe://cluster.local/ns/default/sa/asker" in kvmesh.wait_for("the shop", lambda: asked(host))
    host.ok("systemctl restart shop")
    assert status(host)["state"] == "on"
    kvmesh.wait_for("an answer", lambda: outside(host) == "shop \n")


def test_strict_holds_on_the_applications_own_port(host):
    host.write("/etc/kvmesh/mesh.d/strict.yaml", STRICT)
    host.ok("systemctl reload kvmesh-router")
    kvmesh.wait_for("a refusal", lambda: outside(host) == "")
    assert host.sh("curl -s -m 20 http://127.0.0.1:8080/").returncode != 0
    assert "URI=" in asked(host)
    assert ssh_answers(host)


def test_the_unit_alone_loads_the_same_rules_as_at_boot(host):
    host.ok("systemctl start asker")
    before = host.ok("kvmesh-nft refresh && nft -s list table inet kvmesh")
    host.ok("systemctl reload kvmesh-nft")
    assert host.ok("nft -s list table inet kvmesh") == before
    host.ok("systemctl stop kvmesh-nft")
    assert "inet kvmesh\n" not in host.ok("nft list tables")
    host.ok("systemctl start kvmesh-nft")
    assert host.ok("nft -s list table inet kvmesh") == before
    # a configuration that cannot be used takes nothing away
    host.write("/etc/kvmesh/mesh.d/broken.yaml", "kind: [")
    host.ok("systemctl restart kvmesh-nft")
    assert host.ok("nft -s list table inet kvmesh") == before
    host.ok("rm /etc/kvmesh/mesh.d/broken.yaml; systemctl reload kvmesh-nft")
    r = host.sh("systemd-analyze security --no-pager --threshold=13 kvmesh-nft.service")
    assert r.returncode == 0, r.stdout.splitlines()[-1]


def test_without_a_proxy_it_is_refused_and_ssh_answers(host):
    host.ok("rm /etc/kvmesh/mesh.d/strict.yaml; systemctl reload kvmesh-router")
    kvmesh.wait_for("an answer", lambda: outside(host) == "shop \n")
    # the drop-in of the asker would start it again
    host.ok("systemctl mask --runtime kvmesh-proxy && systemctl stop kvmesh-proxy")
    assert outside(host) == ""
    assert host.sh("rm -f /run/asked; systemctl restart asker").returncode != 0 and host.sh("test -e /run/asked").returncode != 0
    assert ssh_answers(host)
    host.ok("systemctl unmask --runtime kvmesh-proxy && systemctl start kvmesh-proxy")
    kvmesh.wait_for("an answer", lambda: outside(host) == "shop \n")


def test_the_proxys_unit_tells_of_itself_for_what_may_go_without(host):
    host.ok("sed -i 's/inject = true;/inject = true; capture = { failureMode = \"open\"; };/' /etc/kvmesh/workloads.d/shop.conf && systemctl reload kvmesh-router")
    host.ok("kvmeshctl capture repair && systemctl stop kvmesh-proxy")
    kvmesh.wait_for("an answer of its own", lambda: outside(host) == "shop \n")
    host.ok("systemctl start kvmesh-proxy")
    assert next(w for w in status(host)["workloads"] if w["name"] == "shop")["failureMode"] == "open"
    assert status(host)["state"] == "on"


def test_the_package_takes_its_rules_along(host):
    host.ok("systemctl stop shop")
    host.ok("dpkg --purge kvmesh", timeout=300)
    assert "kvmesh" not in host.ok("nft list ruleset")
    left = host.ok("find /etc /var/lib /run /usr/sbin /lib/systemd -name '*kvmesh*' -not -path '*/log/*' -not -path '/var/lib/dpkg/*' "
                   "-not -path '/var/lib/systemd/*' -not -path '/run/systemd/*'").split()
    assert [p for p in left if p != "/var/lib/kvmesh"] == []
    host.ok("dpkg -i /kvmesh.deb", timeout=300)
    assert host.sh("systemctl is-enabled kvmesh-nft").stdout.strip() == "disabled"
    assert "inet kvmesh\n" not in host.ok("nft list tables")
