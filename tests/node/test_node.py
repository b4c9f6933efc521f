# SPDX-License-Identifier: Apache-2.0
"""The package on a booted systemd: install, the article's example by systemctl only, sandbox, crash, upgrade, purge.
The tests of this file run in order on one node."""

import json
import math
import re

import kvmesh
from conftest import run

UNIT = """\
[Unit]
Description=my-app {v}
[Service]
ExecStart=/usr/sbin/nginx -g 'daemon off;' -c /srv/{v}.conf
DynamicUser=no
[Install]
WantedBy=multi-user.target
"""
NGINX = """\
pid /run/{v}.pid; error_log stderr; worker_processes 1; events {{ }}
http {{ access_log off; server {{ listen 127.0.0.1:{port}; location / {{ default_type text/plain; return 200 "{v}\\n"; }} }} }}
"""
WORKLOAD = """\
Workload = {{ name = "my-app-{v}"; serviceAccount = "my-app"; unit = "my-app-{v}.service";
  ports = ( {{ name = "http"; number = {port}; protocol = "HTTP"; }} ); labels = {{ app = "my-app"; version = "{v}"; }}; }};
"""
SERVICE = """\
Service = { name = "my-app"; selector = { app = "my-app"; };
  ports = ( { name = "http"; number = 80; targetPort = "http"; protocol = "HTTP"; } ); };
"""
STATUS = """python3 - <<'END'
import socket
s = socket.socket(socket.AF_UNIX)
s.connect("/run/kvmesh/router/router.sock")
s.sendall(b'{"method": "Status", "parameters": {}}' + bytes(1))
reply = b""
while not reply.endswith(bytes(1)):
    reply += s.recv(65536)
print(reply[:-1].decode())
END"""
DAEMONS = ["kvmesh-router", "kvmesh-ca", "kvmesh-proxy", "kvmesh-metrics"]


def curl(node, n=1, args=""):
    return node.ok(f"for i in $(seq {n}); do curl -s {args} -x http://127.0.0.1:15080 http://my-app/; done").split()


def test_install_enables_and_starts_the_target(node):
    node.ok("dpkg -i /kvmesh.deb", timeout=300)
    assert node.ok("systemctl is-enabled kvmesh.target").strip() == "enabled"
    assert node.ok("systemctl is-active kvmesh.target").strip() == "active"
    kvmesh.wait_for("all daemons", lambda: node.sh("systemctl is-active " + " ".join(DAEMONS)).stdout.split() == ["active"] * 4)
    assert "degraded" not in node.ok("systemctl list-units --failed --no-legend 'kvmesh*'")


def test_only_the_mesh_port_listens_beyond_loopback(node):
    beyond = [line.split()[3] for line in node.ok("ss -Hltn").splitlines() if not re.match(r"(127\.|\[::1\])", line.split()[3])]
    assert {a.rsplit(":", 1)[1] for a in beyond} <= {"15443"}


def test_nothing_is_captured(node):
    rules = node.sh("nft list ruleset").stdout
    assert "redirect" not in rules and "tproxy" not in rules, rules


def test_the_articles_example_by_files_and_systemctl(node):
    for v, port in (("v1", 8001), ("v2", 8002)):
        node.write(f"/srv/{v}.conf", NGINX.format(v=v, port=port))
        node.write(f"/etc/systemd/system/my-app-{v}.service", UNIT.format(v=v))
        node.write(f"/etc/kvmesh/workloads.d/my-app-{v}.conf", WORKLOAD.format(v=v, port=port))
    node.write("/etc/kvmesh/services.d/my-app.conf", SERVICE)
    node.write("/etc/kvmesh/mesh.d/my-app.yaml", kvmesh.ARTICLE)
    node.ok("systemctl daemon-reload && systemctl enable --now my-app-v1 my-app-v2")
    node.ok("systemctl reload kvmesh-router")
    n = 1000
    answers = kvmesh.wait_for("answers", lambda: curl(node, n) if curl(node, 1) else None)
    assert len(answers) == n and set(answers) == {"v1", "v2"}
    assert abs(answers.count("v2") - n * 0.05) <= 4 * math.sqrt(n * 0.05 * 0.95)


def test_a_stopped_unit_is_given_no_work_at_once(node):
    """systemd tells: after systemctl stop returned and the router heard of it, no request meets the dead port."""
    def state(name):
        return next((w for w in json.loads(node.ok(STATUS))["parameters"]["workloads"] if w["workload"] == name), {}).get("state")
    kvmesh.wait_for("the state", lambda: state("my-app-v1") == "active")
    node.ok("systemctl stop my-app-v1")
    kvmesh.wait_for("the news", lambda: state("my-app-v1") == "inactive")
    kvmesh.wait_for("v2 alone", lambda: node.ok("kvmeshctl proxy-config endpoints node").count("UNHEALTHY") >= 1)
    assert "its unit my-app-v1.service is inactive" in node.ok("journalctl -u kvmesh-router --no-pager -n 50")
    codes = node.ok("for i in $(seq 20); do curl -s -o /dev/null -w '%{http_code} ' -x http://127.0.0.1:15080/ http://my-app/; done").split()
    assert set(codes) <= {"200", "503"}
    node.ok("systemctl start my-app-v1")
    kvmesh.wait_for("the state", lambda: state("my-app-v1") == "active")
    kvmesh.wait_for("both", lambda: "UNHEALTHY" not in node.ok("kvmeshctl proxy-config endpoints node"))


def test_probes_run_in_a_unit_of_their_own_while_there_are_some(node):
    assert node.sh("systemctl is-active kvmesh-probe").stdout.strip() == "inactive"
    path = "/etc/kvmesh/workloads.d/my-app-v1.conf"
    before = node.ok(f"cat {path}")
    probe = 'probe = { exec = { command = [ "sh", "-c", "id -un >/tmp/who; exec false" ]; }; periodSeconds = 1; failureThreshold = 1; }; };'
    node.write(path, before.rstrip().removesuffix("};") + probe + "\n")
    node.ok("systemctl reload kvmesh-router")
    kvmesh.wait_for("kvmesh-probe", lambda: node.sh("systemctl is-active kvmesh-probe").stdout.strip() == "active")
    kvmesh.wait_for("the verdict", lambda: "exit status 1" in node.ok(STATUS), deadline=60)
    assert node.ok("cat /tmp/systemd-private-*kvmesh-probe*/tmp/who").strip() == "kvmesh-probe"
    node.write(path, before)
    node.ok("systemctl reload kvmesh-router")
    kvmesh.wait_for("its end", lambda: node.sh("systemctl is-active kvmesh-probe").stdout.strip() == "inactive")
    kvmesh.wait_for("both", lambda: "UNHEALTHY" not in node.ok("kvmeshctl proxy-config endpoints node"))


def test_tls_check_shows_strict_and_what_was_seen(node):
    out = node.ok("kvmeshctl authn tls-check -o wide")
    row = next(line for line in out.splitlines() if line.startswith("my-app.default"))
    assert "OK" in row and "STRICT" in row and "TLSv1.3" in row


def test_the_witness_finds_a_planted_bypass(node):
    """With one capability, in the unit's sandbox: what goes past the proxy is counted, what goes through it is not."""
    def seen():
        note = re.search(r"kvmesh-witness +running .*plain bytes seen: (\d+), looks at (\d+) ports", node.sh("kvmeshctl status").stdout)
        return [int(n) for n in note.groups()] if note else [0, 0]
    pid = node.ok("systemctl show -P MainPID kvmesh-witness").strip()
    status = node.ok(f"cat /proc/{pid}/status")
    assert re.search(r"CapEff:\s+0{12}1000", status) and re.search(r"CapBnd:\s+0{12}1000", status) and re.search(r"NoNewPrivs:\s+1", status)
    kvmesh.wait_for("the witness to look", lambda: seen()[1] == 3)
    before = seen()[0]
    curl(node, 20)
    assert node.ok("curl -s http://127.0.0.1:8001/").strip() == "v1"
    kvmesh.wait_for("the bypass", lambda: seen()[0] > before)
    report = node.sh("kvmeshctl compliance report --since 1h")
    assert report.returncode == 1 and "PLAIN BYTES SEEN" in report.stdout and "plain bytes were seen on the wire" in report.stdout
    assert "no plain bytes were seen on the wire" in node.sh("kvmeshctl check").stdout
    assert node.ok("kvmeshctl compliance report --since 1h --sign --out /tmp/report || test $? = 1; kvmeshctl compliance verify /tmp/report").count("signed by") == 1


SIGN = """\
import json, socket, subprocess, sys
csr = subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null",
                      "-subj", "/"], capture_output=True, text=True).stdout
s = socket.socket(socket.AF_UNIX)
s.connect("/run/kvmesh/ca/ca.sock")
s.sendall(json.dumps({"method": "Sign", "parameters": {"csr": csr, "spiffe": sys.argv[1], **(json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})}}).encode() + b"\\0")
reply = b""
while not reply.endswith(b"\\0"):
    reply += s.recv(65536)
print(sorted(json.loads(reply[:-1])))
"""
MINE = "spiffe://cluster.local/ns/default/sa/my-app"


def test_an_identity_is_given_to_its_unit_and_to_nobody_else(node):
    """The CA tells callers by cgroup: a process of the unit gets my-app, the same user outside of it gets nothing."""
    node.write("/srv/sign.py", SIGN)
    as_user = "setpriv --reuid www-data --regid www-data --clear-groups python3 /srv/sign.py"
    stranger = f"systemd-run --quiet --pipe --wait --unit=stranger.service {as_user}"
    cgroup = node.ok("systemctl show -P ControlGroup my-app-v1.service").strip()
    join = (f"for h in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do "
            f"if [ -e $h{cgroup}/cgroup.procs ]; then echo $$ > $h{cgroup}/cgroup.procs; fi; done")
    assert "error" in node.ok(f"{stranger} {MINE}")
    assert "error" in node.ok(f"{stranger} {MINE} '{{\"proxy\": \"node\"}}'")
    assert "error" in node.ok(f"{stranger} spiffe://cluster.local/ns/kvmesh-system/sa/$(hostname)")
    inside = node.ok(f"{join}; {as_user} {MINE}")
    assert "parameters" in inside and "error" not in inside, node.journal()
    assert "error" in node.ok(f"{join}; {as_user} spiffe://cluster.local/ns/kvmesh-system/sa/$(hostname)")
    assert "error" in node.ok(f"{join}; python3 /srv/sign.py {MINE}"), "root is nobody's workload"


def test_istios_metrics(node):
    text = node.ok("curl -s http://127.0.0.1:15090/metrics")
    assert re.search(r'istio_requests_total\{[^}]*reporter="destination"[^}]*destination_workload="my-app-v2"[^}]*mutual_tls', text) \
        or 'destination_workload="my-app-v2"' in text


def test_install_of_a_profile_runs_its_gateway(node):
    out = node.ok("kvmeshctl install --profile default -y")
    assert "kvmesh-proxy@ingressgateway.socket enabled" in out and "kvmesh-proxy@ingressgateway.service enabled" in out
    kvmesh.wait_for("the gateway", lambda: node.sh("systemctl is-active kvmesh-proxy@ingressgateway").stdout.strip() == "active")
    assert node.ok("systemctl is-enabled kvmesh-proxy@ingressgateway").strip() == "enabled"
    assert node.ok("kvmeshctl install --profile default -y").count("unchanged") == 1, "a second time nothing happens"
    node.ok("kvmeshctl install --profile empty -y")
    assert node.sh("systemctl is-active kvmesh-proxy@ingressgateway").stdout.strip() == "inactive"
    assert node.sh("test -e /etc/kvmesh/workloads.d/00-ingressgateway.conf").returncode != 0


def test_a_wrong_file_fails_the_reload_and_nothing_else(node):
    node.write("/etc/kvmesh/mesh.d/wrong.yaml", "kind: VirtualService\napiVersion: networking.istio.io/v1\nmetadata: { name: x }\nspec: { hostz: [ a ] }\n")
    r = node.sh("systemctl reload kvmesh-router")
    assert r.returncode != 0
    assert node.ok("systemctl is-active kvmesh-router").strip() == "active"
    assert "unknown field 'hostz'" in node.ok("journalctl -u kvmesh-router --no-pager -n 50")
    assert set(curl(node, 20)) <= {"v1", "v2"}
    node.ok("rm /etc/kvmesh/mesh.d/wrong.yaml && systemctl reload kvmesh-router")


def test_units_verify_and_score(node):
    out = node.sh("cd /lib/systemd/system && systemd-analyze verify --man=no ./kvmesh*.service ./kvmesh.target ./kvmesh.slice")
    assert out.returncode == 0 and (out.stdout + out.stderr).strip() == "", out
    # conventions §3.4; the proxy asks netlink who a caller is and cannot use PrivateUsers=
    for unit, limit in (("kvmesh-ca", 6), ("kvmesh-metrics", 12), ("kvmesh-proxy", 16), ("kvmesh-router", 15), ("kvmesh-probe", 22), ("kvmesh-witness", 13),
                        ("kvmesh-certs@web", 24)):
        r = node.sh(f"systemd-analyze security --no-pager --threshold={limit} {unit}.service")
        assert r.returncode == 0, r.stdout.splitlines()[-1]


def test_the_sandbox_holds(node):
    """From inside each unit's namespaces: foreign state is out of reach."""
    for unit in DAEMONS:
        pid = node.ok(f"systemctl show -P MainPID {unit}").strip()
        status = node.ok(f"cat /proc/{pid}/status")
        assert re.search(r"CapEff:\s+0{16}", status) and re.search(r"NoNewPrivs:\s+1", status) and re.search(r"Seccomp:\s+2", status)
        for path in ("/etc/x", "/usr/x", "/var/lib/x"):
            assert node.sh(f"nsenter -t {pid} -m touch {path}").returncode != 0
    pid = node.ok("systemctl show -P MainPID kvmesh-proxy").strip()
    assert node.sh(f"nsenter -t {pid} -m ls -A /var/lib/kvmesh/ca /var/lib/kvmesh/router").stdout.count(".") == 0
    pid = node.ok("systemctl show -P MainPID kvmesh-ca").strip()
    assert "lo" not in [w for w in node.ok(f"nsenter -t {pid} -n ip -o link show up").split(":")]


TLS_NGINX = """\
pid /run/tls.pid; error_log stderr; worker_processes 1; events { }
http { access_log off; server { listen 127.0.0.1:8443 ssl; ssl_certificate /run/kvmesh/certs/web/svid_pair.pem;
  ssl_certificate_key /run/kvmesh/certs/web/svid_pair.pem; location / { return 200 "ok"; } } }
"""


def test_certificates_as_files(node):
    """kvmesh-certs@web.service proves itself to the CA by its unit; nginx starts behind it and is told by systemd."""
    node.write("/srv/tls.conf", TLS_NGINX)
    node.write("/etc/systemd/system/web.service", "[Unit]\nAfter=kvmesh-certs@web.service\nWants=kvmesh-certs@web.service\n[Service]\n"
               "ExecStart=/usr/sbin/nginx -g 'daemon off;' -c /srv/tls.conf\nExecReload=/bin/kill -HUP $MAINPID\n")
    node.write("/etc/kvmesh/workloads.d/web.conf", 'Workload = { name = "web"; unit = "web.service"; certificate = { owner = "www-data"; reload = "web.service"; }; };\n')
    node.ok("systemctl daemon-reload && systemctl reload kvmesh-router && systemctl start web")

    def serial():
        return node.sh("openssl s_client -connect 127.0.0.1:8443 </dev/null 2>/dev/null | openssl x509 -noout -serial").stdout.strip().lower()
    first = kvmesh.wait_for("nginx", serial)
    assert node.ok("stat -c '%U %a' /run/kvmesh/certs/web/svid_key.pem").strip() == "www-data 600"
    assert "spiffe://cluster.local/ns/default/sa/web" in node.ok("openssl x509 -in /run/kvmesh/certs/web/svid.pem -noout -ext subjectAltName")
    pid = node.ok("systemctl show -P MainPID kvmesh-certs@web").strip()
    assert re.search(r"CapEff:\s+0*9\n", node.ok(f"cat /proc/{pid}/status"))
    node.ok(f"kvmeshctl ca revoke {first.split('=')[1]}")
    kvmesh.wait_for("another certificate", lambda: serial() not in ("", first))
    # Root alone, outside of that unit, gets nothing.
    assert node.sh("kvmeshctl certs web --once").returncode == 1
    node.ok("systemctl stop web kvmesh-certs@web && rm /etc/kvmesh/workloads.d/web.conf && systemctl reload kvmesh-router")


def test_keys_are_not_readable_by_others(node):
    out = node.ok("find /var/lib/kvmesh -type f \\( -name '*key*' -o -name '*.db' \\) -perm /077")
    assert out == ""


WORKLOAD_API = r"""
import socket, struct, sys
def literal(name, value):
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
def frame(kind, flags, stream, data):
    return struct.pack(">I", len(data))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + data
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect("/run/kvmesh/workload-api.sock")
head = b"".join(literal(n, v) for n, v in ((b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"localhost"),
    (b":path", b"/SpiffeWorkloadAPI/FetchX509SVID"), (b"content-type", b"application/grpc"), (b"te", b"trailers"),
    (b"workload.spiffe.io", b"true")))
s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, head) + frame(0, 1, 1, bytes(5)))
data = b""
while True:
    piece = s.recv(65536)
    data += piece
    at, body, ended = 0, b"", False
    while len(data) - at >= 9 and len(data) - at >= 9 + int.from_bytes(data[at:at+3], "big"):
        n, kind, flags = int.from_bytes(data[at:at+3], "big"), data[at+3], data[at+4]
        if kind == 0:
            body += data[at+9:at+9+n]
        ended |= kind == 1 and flags & 1 or kind == 3
        at += 9 + n
    if len(body) >= 5 and len(body) >= 5 + int.from_bytes(body[1:5], "big"):
        print(body[body.index(b"spiffe://"):].split(b"\x12")[0].decode())
        break
    if ended or not piece:
        print("nothing")
        break
"""


def test_the_workload_api_knows_a_unit_by_its_cgroup(node):
    """The same program, the same user: inside the unit it has the unit's identity, outside none."""
    node.write("/srv/api.py", WORKLOAD_API)
    node.write("/etc/systemd/system/asks.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nUser=nobody\n"
               "ExecStart=/usr/bin/python3 /srv/api.py\n")
    node.write("/etc/kvmesh/workloads.d/asks.conf", 'Workload = { name = "asks"; namespace = "default"; unit = "asks.service"; };\n')
    node.ok("systemctl daemon-reload && systemctl reload kvmesh-router")

    def answer():
        node.sh("systemctl restart asks")
        return "sa/asks" in node.sh("journalctl -o cat -u asks").stdout
    kvmesh.wait_for("the identity", answer)
    assert "spiffe://" in node.sh("journalctl -o cat -u asks").stdout
    assert node.ok("runuser -u nobody -- python3 /srv/api.py").strip() == "nothing"
    node.ok("rm /etc/kvmesh/workloads.d/asks.conf && systemctl reload kvmesh-router && systemctl stop asks")


def test_rotation_and_revocation_under_systemd(node):
    before = node.ok("kvmeshctl ca status -o json")
    # Certificates that programs took for themselves are waited for; they are not what this is about.
    node.ok("kvmeshctl ca rotate --root")
    for _ in range(3):
        node.sh("timeout 20 kvmeshctl ca rotate --force")
    kvmesh.wait_for("the end of the rotation", lambda: '"rotation"' not in node.ok("kvmeshctl ca status -o json"))
    assert json.loads(before)["root"]["serial"] != json.loads(node.ok("kvmeshctl ca status -o json"))["root"]["serial"]
    kvmesh.wait_for("answers", lambda: len(curl(node, 20)) == 20 and set(curl(node, 20)) <= {"v1", "v2"})
    node.ok("cd /root && kvmeshctl ca issue by-hand --out by-hand")
    assert "in force in every proxy" in node.ok("kvmeshctl ca revoke spiffe://cluster.local/ns/people/sa/by-hand")


def test_the_issuers_key_encrypted_at_rest(node):
    """systemd-creds, LoadCredentialEncrypted=: the key is in no file that can be read as it is."""
    kvmesh.wait_for("the key of tokens", lambda: node.sh("test -e /var/lib/kvmesh/ca/jwt-key.pem").returncode == 0)
    node.ok("mkdir -p /etc/credstore.encrypted")
    for key in ("ca", "jwt"):
        node.ok(f"systemd-creds --with-key=host --name={key}-key.pem encrypt /var/lib/kvmesh/ca/{key}-key.pem "
                f"/etc/credstore.encrypted/kvmesh-{key}-key.pem")
    issuer = json.loads(node.ok("kvmeshctl ca status -o json"))["issuer"]["serial"]
    node.ok("mv /var/lib/kvmesh/ca/ca-key.pem /var/lib/kvmesh/ca/jwt-key.pem /root/ && systemctl restart kvmesh-ca && systemctl is-active kvmesh-ca")
    assert json.loads(node.ok("kvmeshctl ca status -o json"))["issuer"]["serial"] == issuer
    node.ok("systemctl restart kvmesh-proxy")         # every certificate is signed anew
    kvmesh.wait_for("answers", lambda: len(curl(node, 20)) == 20)
    assert node.sh("grep -rl 'PRIVATE KEY' /var/lib/kvmesh/ca /etc/credstore.encrypted").stdout.split() in ([], ["/var/lib/kvmesh/ca/root-key.pem"])
    node.ok("rm /etc/credstore.encrypted/kvmesh-*-key.pem && mv /root/ca-key.pem /root/jwt-key.pem /var/lib/kvmesh/ca/ && systemctl restart kvmesh-ca")


def test_sigkill_of_each_daemon_is_survived(node):
    for unit in DAEMONS:
        old = node.ok(f"systemctl show -P MainPID {unit}").strip()
        node.ok(f"kill -9 {old}")
        if unit != "kvmesh-proxy":
            assert set(curl(node, 20)) <= {"v1", "v2"}
        kvmesh.wait_for(f"{unit} back", lambda: node.sh(f"systemctl is-active {unit}").stdout.strip() == "active"
                        and node.ok(f"systemctl show -P MainPID {unit}").strip() not in ("0", old))
    kvmesh.wait_for("answers", lambda: set(curl(node, 20)) <= {"v1", "v2"} and len(curl(node, 20)) == 20)


CLIENTS = """
import http.client, pathlib, threading
stop, out, lock = pathlib.Path("/run/clients.stop"), open("/run/clients", "a"), threading.Lock()
def client(kept):
    c = None
    while not stop.exists():
        try:
            c = c or http.client.HTTPConnection("127.0.0.1", 15080, timeout=60)
            c.request("GET", "/", headers={"Host": "my-app"})
            r = c.getresponse()
            r.read()
            word = str(r.status)
        except Exception as e:
            word, c = repr(e), None
        if not kept and c:
            c.close()
            c = None
        with lock:
            print("kept" if kept else "new", word, file=out, flush=True)
for kept in (True, True, False, False):
    threading.Thread(target=client, args=(kept,)).start()
"""


class Clients:
    """Requests without a pause, on kept connections and on new ones, from inside the node."""

    def __init__(self, node):
        self.node = node

    def seen(self):
        return self.node.sh("cat /run/clients").stdout.splitlines()

    def more(self, n):
        goal = len(self.seen()) + n
        kvmesh.wait_for("requests", lambda: len(self.seen()) >= goal)

    def __enter__(self):
        self.node.write("/srv/clients.py", CLIENTS)
        self.node.ok("rm -f /run/clients /run/clients.stop; systemd-run --quiet --unit=clients python3 /srv/clients.py")
        return self

    def __exit__(self, *exc):
        self.node.ok("touch /run/clients.stop")
        kvmesh.wait_for("the clients to end", lambda: self.node.sh("systemctl is-active clients").stdout.strip() != "active")


def test_a_restart_or_a_crash_of_the_proxy_refuses_nobody(node):
    """systemd holds the listening sockets."""
    with Clients(node) as clients:
        clients.more(40)
        node.ok("systemctl restart kvmesh-proxy")
        clients.more(100)
    # The last request of a kept connection may meet its close (RFC 9112 9.6): not being refused is what is promised.
    assert {w for w in clients.seen() if w.startswith("new")} == {"new 200"}, node.journal()
    with Clients(node) as clients:
        clients.more(40)
        node.ok("kill -9 $(systemctl show -P MainPID kvmesh-proxy)")
        clients.more(100)
    seen = clients.seen()
    # What was under way is gone with the process.
    assert not [w for w in seen if "refused" in w], (sorted(set(seen)), node.journal())
    assert [w for w in seen if w == "new 200"] and seen[-1] == "new 200" or seen[-1] == "kept 200"


def version_of(node):
    return node.ok("dpkg-query -W -f '${Version}' kvmesh")


def test_an_upgrade_and_a_downgrade_fail_no_request(node, deb):
    """By one version: the same programs under another number."""
    tree = node.root / "other"
    run("dpkg-deb", "-R", deb, tree)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", "Version: 0.1.0+1", control.read_text(), flags=re.M))
    assert run("dpkg-deb", "-b", tree, node.root / "next.deb").returncode == 0
    root = node.ok("kvmeshctl ca bundle | sha256sum")
    edited = node.ok("sha256sum /etc/kvmesh/mesh.d/my-app.yaml")
    pids = []
    with Clients(node) as clients:
        for package in ("next", "kvmesh"):
            clients.more(40)
            pids.append(node.ok("systemctl show -P MainPID kvmesh-proxy").strip())
            node.ok(f"dpkg -i /{package}.deb", timeout=300)
            pids.append(node.ok("systemctl show -P MainPID kvmesh-proxy").strip())
            clients.more(100)
    assert set(clients.seen()) == {"new 200", "kept 200"}, (sorted(set(clients.seen())), node.journal())
    assert len(set(pids)) == 3 and version_of(node) == "0.1.0"
    kvmesh.wait_for("no old program to run", lambda: "(deleted)" not in node.ok("for p in $(pgrep kvmesh); do readlink /proc/$p/exe || true; done"))
    assert node.ok("sha256sum /etc/kvmesh/mesh.d/my-app.yaml") == edited
    assert node.ok("kvmeshctl ca bundle | sha256sum") == root
    assert set(node.sh("systemctl is-active kvmesh-router kvmesh-ca kvmesh-proxy kvmesh-metrics").stdout.split()) == {"active"}


def test_a_new_program_that_does_not_start_leaves_the_old_one_serving(node):
    before = node.ok("systemctl show -P MainPID kvmesh-proxy").strip()
    node.ok("cp -p /usr/sbin/kvmesh-proxy /usr/sbin/good && printf '#!/bin/sh\\nexit 3\\n' >/usr/sbin/bad && chmod 755 /usr/sbin/bad"
            " && mv /usr/sbin/bad /usr/sbin/kvmesh-proxy")
    try:
        r = node.sh("kvmeshctl upgrade --hot")
        assert r.returncode == 1 and "exit code 3" in r.stderr
        assert node.ok("systemctl show -P MainPID kvmesh-proxy").strip() == before and set(curl(node, 20)) <= {"v1", "v2"}
    finally:
        node.ok("mv /usr/sbin/good /usr/sbin/kvmesh-proxy")


def test_purge_leaves_nothing(node):
    node.ok("dpkg --purge kvmesh", timeout=300)
    assert node.sh("ls -d /etc/kvmesh /var/lib/kvmesh /run/kvmesh 2>/dev/null").stdout == ""
    assert node.sh("pgrep -l kvmesh").stdout == ""
    assert "kvmesh" not in node.sh("nft list ruleset").stdout
    assert node.sh("systemctl list-unit-files --no-legend 'kvmesh*'").stdout == ""
