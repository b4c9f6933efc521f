# SPDX-License-Identifier: Apache-2.0
"""Units put into the mesh and taken out again, on a booted systemd: Debian's nginx and redis, a unit of one's own, instances of a
template. The tests of this file run in order on one node, and leave nothing."""

import json
import re

import pytest

import kvmesh

UNIT = """\
[Unit]
Description=shop
[Service]
ExecStart=/usr/sbin/nginx -g 'daemon off;' -c /srv/shop-v1.conf
X-KVMesh-Label=tier=%N
[X-KVMesh]
X-KVMesh-Label="team=web"
"""
NGINX = """\
pid /run/shop.pid; error_log stderr; worker_processes 1; events { }
http { access_log off; server { listen 127.0.0.1:8001; location / { default_type text/plain; return 200 "shop\\n"; } }
  server { listen [::]:8002 ipv6only=off; } }
"""
SERVICE = """\
Service = ( { name = "shop"; selector = { app = "shop"; }; ports = ( { name = "http"; number = 80; targetPort = 8001; protocol = "HTTP"; } ); },
  { name = "cache"; selector = { app = "redis-server"; }; ports = ( { name = "redis"; number = 6379; targetPort = "redis"; protocol = "REDIS";
    listen = "127.0.0.1:16379"; } ); } );
"""
REDIS = "bind 127.0.0.1\nport {port}\ndaemonize no\nsupervised systemd\ndir /var/lib/redis\nsave \"\"\npidfile /run/redis-{name}/redis-server.pid\n"


@pytest.fixture(scope="module")
def inject(node):
    node.ok("dpkg -i /kvmesh.deb", timeout=300)
    node.write("/srv/shop-v1.conf", NGINX)
    node.write("/etc/systemd/system/shop-v1.service", UNIT)
    node.write("/etc/kvmesh/services.d/shop.conf", SERVICE)
    for name, port in (("a", 7001), ("b", 7002)):
        node.write(f"/etc/redis/redis-{name}.conf", REDIS.format(name=name, port=port))
        node.ok(f"chown redis /etc/redis/redis-{name}.conf")
    node.ok("systemctl daemon-reload && systemctl reload kvmesh-router && systemctl start shop-v1 redis-server@a redis-server@b")
    yield node
    node.sh("systemctl stop shop-v1 redis-server@a redis-server@b; rm -f /srv/shop-v1.conf /etc/systemd/system/shop-v1.service /etc/redis/redis-[ab].conf; "
            "dpkg --purge kvmesh; systemctl daemon-reload", timeout=300)


def show(node, unit, name):
    return node.ok(f"systemctl show -P {name} {unit}").strip()


def tree(node):
    """Every file below /etc with mode, owner, type and content."""
    return node.ok("find /etc -printf '%p %y %m %U %G %l\\n' | sort; find /etc -type f -print0 | sort -z | xargs -0 sha256sum")


def programs(node):
    """What runs, but for the question itself."""
    return sorted(set(node.ok("ps -eo comm=").split()) - {"ps", "bash"})


def test_ports_are_found_and_the_unit_is_ordered(inject):
    node = inject
    out = kvmesh.wait_for("the ports", lambda: (r := node.ok("kvmeshctl inject shop-v1 --dry-run")).count("nginx listens") == 2 and r)
    assert "would be written" in out and node.sh("test -e /etc/kvmesh/workloads.d/shop-v1.conf").returncode != 0
    out = node.ok("kvmeshctl inject shop-v1")
    assert re.search(r"^written +/etc/kvmesh/workloads.d/shop-v1.conf$", out, re.M)
    text = node.ok("cat /etc/kvmesh/workloads.d/shop-v1.conf")
    assert re.search(r'# nginx listens; HTTP by the program\'s name\n.*name = "http"; number = 8001; protocol = "HTTP";', text)
    assert re.search(r'number = 8002;', text) and 'unit = "shop-v1.service";' in text
    assert '"tier=shop-v1", "team=web", "app=shop", "version=v1"' in text
    assert show(node, "shop-v1", "DropInPaths") == "/run/systemd/generator/shop-v1.service.d/50-kvmesh.conf"
    assert "kvmesh-proxy.service" in show(node, "shop-v1", "After").split()
    assert "kvmesh-proxy.service" in show(node, "shop-v1", "Wants").split()
    r = node.sh("systemd-analyze verify --man=no shop-v1.service")
    assert r.returncode == 0 and (r.stdout + r.stderr).strip() == "", r
    assert "# Made by kvmesh-generator" in node.ok("systemctl cat shop-v1")


def test_it_is_in_the_mesh(inject):
    node = inject
    kvmesh.wait_for("an answer", lambda: node.sh("curl -s -m 20 -x http://127.0.0.1:15080 http://shop/").stdout == "shop\n")
    assert "spiffe://cluster.local/ns/default/sa/shop" in node.ok("kvmeshctl identity -o json")


def test_a_second_time_nothing_happens_and_changes_by_hand_are_kept(inject):
    node, path = inject, "/etc/kvmesh/workloads.d/shop-v1.conf"
    before = node.ok(f"stat -c %i {path}; cat {path}")
    assert node.ok("kvmeshctl inject shop-v1").startswith("unchanged")
    assert node.ok(f"stat -c %i {path}; cat {path}") == before
    node.ok("systemctl stop shop-v1")
    assert "its ports stay as they were found" in node.ok("kvmeshctl inject shop-v1.service")
    node.ok("systemctl start shop-v1")
    node.ok(f"sed -i 's/team=web/team=other/' {path}")
    r = node.sh("kvmeshctl uninject shop-v1")
    assert r.returncode == 1 and "changed by hand" in r.stderr and "team=other" in node.ok(f"cat {path}")
    kvmesh.wait_for("the ports", lambda: node.sh("kvmeshctl inject shop-v1 --dry-run -o json").stdout.count("listens") == 2)
    assert node.ok("kvmeshctl inject shop-v1 --force").startswith("replaced")
    assert node.ok(f"cat {path}") == before.split("\n", 1)[1]


def test_instances_of_a_template(inject):
    node = inject
    out = json.loads(node.ok("kvmeshctl inject redis-server@.service -o json"))
    assert [r["unit"] for r in out] == ["redis-server@a.service", "redis-server@b.service"]
    assert [r["ports"][0]["number"] for r in out] == [7001, 7002] and out[0]["ports"][0]["protocol"] == "REDIS"
    assert out[0]["resource"]["metadata"]["name"] == "redis-server-a"
    assert "kvmesh-proxy.service" in show(node, "redis-server@b", "After").split()
    kvmesh.wait_for("an answer", lambda: "PONG" in node.sh("printf 'PING\\r\\n' | timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/16379; cat >&3; head -n1 <&3'").stdout)
    rows = json.loads(node.ok("kvmeshctl check-inject -o json"))
    assert {r["unit"] for r in rows if r["ok"]} == {"shop-v1.service", "redis-server@a.service", "redis-server@b.service"}


def test_what_is_refused(inject):
    node = inject
    before = tree(node)
    for unit, why in (("dbus", "proxy and systemd"), ("systemd-journald", "belongs to systemd"), ("kvmesh-ca", "part of kvmesh")):
        r = node.sh(f"kvmeshctl inject {unit}")
        assert r.returncode == 1 and why in r.stderr, r
    assert node.sh("kvmeshctl inject nothing-here").returncode == 4
    assert node.sh("kvmeshctl inject 'nothing@.service'").returncode == 4
    assert node.sh("kvmeshctl inject multi-user.target").returncode == 64
    node.write("/etc/systemd/system/early.service", "[Unit]\nDefaultDependencies=no\nBefore=network-pre.target\n[Service]\nExecStart=/bin/sleep 9\n")
    node.ok("systemctl daemon-reload")
    r = node.sh("kvmeshctl inject early")
    assert r.returncode == 1 and "before the network" in r.stderr
    node.ok("rm /etc/systemd/system/early.service; systemctl daemon-reload")
    assert tree(node) == before
    assert node.sh("kvmeshctl check-inject nginx").returncode == 1


def test_it_starts_after_its_proxy_and_stops_before_it(inject):
    node = inject
    node.ok("systemctl stop shop-v1 kvmesh-proxy")
    node.ok("systemctl start shop-v1")
    assert show(node, "kvmesh-proxy", "ActiveState") == "active"
    assert int(show(node, "kvmesh-proxy", "ActiveEnterTimestampMonotonic")) <= int(show(node, "shop-v1", "ExecMainStartTimestampMonotonic"))
    pid = show(node, "shop-v1", "MainPID")
    node.ok("systemctl restart kvmesh-proxy")
    assert show(node, "shop-v1", "MainPID") == pid, "a restart of the proxy is no restart of the unit"
    node.ok("systemctl stop kvmesh-proxy shop-v1")
    assert int(show(node, "shop-v1", "InactiveEnterTimestampMonotonic")) <= int(show(node, "kvmesh-proxy", "ActiveExitTimestampMonotonic"))
    node.ok("systemctl start shop-v1 kvmesh-proxy")


def test_a_whole_namespace(inject):
    node = inject
    before = tree(node)
    node.write("/etc/systemd/system/till.service", "[Service]\nExecStart=/bin/sleep 9999\n")
    node.write("/etc/kvmesh/workloads.d/till.conf", 'Workload = { name = "till"; namespace = "shop"; unit = "till.service"; };\n')
    node.ok("systemctl daemon-reload; systemctl start till")
    assert show(node, "till", "DropInPaths") == ""
    assert "till.service" in node.ok("kvmeshctl label namespace shop istio-injection=enabled")
    assert show(node, "till", "DropInPaths") == "/run/systemd/generator/till.service.d/50-kvmesh.conf"
    assert "istio-injection=enabled" in node.ok("kvmeshctl check-inject till")
    assert "till.service" in node.ok("kvmeshctl label namespace shop istio-injection-")
    assert show(node, "till", "DropInPaths") == ""
    node.ok("systemctl stop till; rm /etc/systemd/system/till.service /etc/kvmesh/workloads.d/till.conf; systemctl daemon-reload")
    assert tree(node) == before


def test_limits_of_an_instance_of_the_proxy(inject):
    node = inject
    node.write("/etc/kvmesh/workloads.d/edge.yaml", """\
apiVersion: kvmesh/v1
kind: Workload
metadata:
  name: edge
  annotations: { sidecar.istio.io/proxyCPU: 100m, sidecar.istio.io/proxyCPULimit: 2000m, sidecar.istio.io/proxyMemory: 128Mi, sidecar.istio.io/proxyMemoryLimit: 1Gi }
spec: { gateway: true }
""")
    node.ok("systemctl daemon-reload")
    unit = "kvmesh-proxy@edge"
    assert show(node, unit, "CPUWeight") == "100" and show(node, unit, "CPUQuotaPerSecUSec") == "2s"
    assert show(node, unit, "MemoryLow") == str(128 << 20) and show(node, unit, "MemoryMax") == str(1 << 30)
    assert int(show(node, unit, "MemoryHigh")) == (1 << 30) // 100 * 90 // 1024 * 1024
    node.ok("rm /etc/kvmesh/workloads.d/edge.yaml; systemctl daemon-reload")
    assert show(node, unit, "CPUWeight") == "[not set]"


def test_a_proxy_of_its_own(inject):
    node, proxy = inject, "kvmesh-proxy@shop-v1"
    node.ok("kvmeshctl uninject shop-v1")
    node.ok("kvmeshctl inject shop-v1 --sidecar dedicated --annotation sidecar.istio.io/proxyCPU=200m --annotation sidecar.istio.io/proxyMemoryLimit=256Mi")
    assert show(node, proxy, "ActiveState") == "active"
    assert show(node, proxy, "CPUWeight") == "200" and show(node, proxy, "MemoryMax") == str(256 << 20)
    assert f"{proxy}.service" in show(node, "shop-v1", "After").split() and f"{proxy}.service" in show(node, "shop-v1", "Wants").split()
    r = node.sh(f"systemd-analyze verify --man=no shop-v1.service {proxy}.service")
    assert r.returncode == 0 and (r.stdout + r.stderr).strip() == "", r
    kvmesh.wait_for("an answer", lambda: node.sh("curl -s -m 20 -x http://127.0.0.1:15080 http://shop/").stdout == "shop\n")
    assert "sa/shop" in node.ok(f"kvmeshctl proxy-config secret shop-v1") and "sa/shop" not in node.ok("kvmeshctl proxy-config secret node")
    ports = node.ok("grep sidecarPorts /etc/kvmesh/workloads.d/shop-v1.conf")
    assert node.ok("kvmeshctl inject shop-v1 --sidecar dedicated --annotation sidecar.istio.io/proxyCPU=200m "
                   "--annotation sidecar.istio.io/proxyMemoryLimit=256Mi").startswith("unchanged")
    assert node.ok("grep sidecarPorts /etc/kvmesh/workloads.d/shop-v1.conf") == ports
    node.ok("systemctl stop shop-v1")
    kvmesh.wait_for("the end of its proxy", lambda: show(node, proxy, "ActiveState") == "inactive")
    node.ok("systemctl start shop-v1")
    assert show(node, proxy, "ActiveState") == "active"
    node.ok("kvmeshctl uninject shop-v1")
    assert show(node, proxy, "ActiveState") == "inactive" and show(node, proxy, "CPUWeight") == "[not set]"
    assert show(node, "shop-v1", "ActiveState") == "active"


# The witness has a table of its own, and what it counts changes.
RULES = "nft list tables | grep -v kvmesh_witness | while read -r _ family name; do nft list table $family $name; done"


def test_fifty_times_in_and_out(inject):
    node = inject
    node.ok("kvmeshctl uninject shop-v1 redis-server@.service")
    before, processes = tree(node), programs(node)
    rules = node.ok(RULES)
    node.ok("for i in $(seq 50); do kvmeshctl -q inject shop-v1 redis-server@a && kvmeshctl -q uninject shop-v1 redis-server@a || exit 1; done", timeout=600)
    assert tree(node) == before
    kvmesh.wait_for("the same processes", lambda: programs(node) == processes)
    assert node.ok(RULES) == rules
    assert node.sh("find /run/systemd/generator -name '*kvmesh*'").stdout == ""
    assert show(node, "shop-v1", "DropInPaths") == ""


def test_purge_takes_the_drop_ins_along(inject):
    node = inject
    node.ok("kvmeshctl inject shop-v1")
    node.ok("dpkg --purge kvmesh", timeout=300)
    assert show(node, "shop-v1", "DropInPaths") == "" and show(node, "shop-v1", "ActiveState") == "active"
    node.ok("systemctl restart shop-v1")
    assert node.sh("find / -xdev -path /proc -prune -o -path /run/systemd/generator -name '*kvmesh*' -print").stdout == ""
