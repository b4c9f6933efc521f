# SPDX-License-Identifier: Apache-2.0
"""What stands in front of a gateway (mesh.defaultConfig.gatewayTopology): proxies whose X-Forwarded-For is believed, the PROXY
protocol, client certificates that others have told; and who behind it is believed what of clients (Istio 2.13.1, 2.11.10)."""

import re
import socket
import struct
import subprocess

import pytest

import kvmesh
import outside
from kvmesh import wait_for
from test_gateway_tls import Edge, server, to


class Front(Edge):
    def __init__(self, directory, topology):
        super().__init__(directory, conf=f'accessLogFile = "/dev/stdout"; accessLogEncoding = "JSON"; '
                                         f'defaultConfig = {{ gatewayTopology = {{ {topology} }}; }};')
        web = self.own(kvmesh.Nginx(directory, "web", extra="""location /fields { default_type text/plain; return 200
            "xff=$http_x_forwarded_for\\nproto=$http_x_forwarded_proto\\nexternal=$http_x_envoy_external_address\\nxfcc=$http_x_forwarded_client_cert\\n"; }"""))
        self.mesh.workload("web", web.port)
        self.mesh.service("web", 80, "http")
        self.http, self.https = kvmesh.free_port(), kvmesh.free_port()
        self.ca.credential(self.mesh.etc, "edge", "DNS:web.example", clients=self.clients)
        self.servers(server(self.http, "http", "HTTP", ["web.example"]),
                     server(self.https, "https", "HTTPS", ["web.example"], 'mode = "OPTIONAL_MUTUAL"; credentialName = "edge";'))
        self.route("web", ["web.example"], f"http = ( {{ route = ( {to('web')} ); }} );")

    def policy(self, workload, blocks, field="remoteIpBlocks"):
        listed = ", ".join(f'"{b}"' for b in blocks)
        self.mesh.write("mesh.d/policy.conf", f"""
AuthorizationPolicy = {{ name = "by-address"; selector = {{ matchLabels = {{ {workload} }}; }}; action = "DENY";
  rules = ( {{ from = ( {{ source = {{ {field} = [ {listed} ]; }}; }} ); }} ); }};
""")

    def get(self, *headers, path="/fields"):
        r = subprocess.run(["curl", "-sS", "-m", "30", "-w", "%{http_code}", "-H", "Host: web.example",
                            *(a for h in headers for a in ("-H", h)), f"http://127.0.0.1:{self.http}{path}"], capture_output=True, text=True, timeout=60)
        return r.stdout

    def get_tls(self, *args):
        r = subprocess.run(["curl", "-sS", "-m", "30", "--cacert", self.ca.crt, "--connect-to", f"web.example:443:127.0.0.1:{self.https}",
                            "https://web.example/fields", *map(str, args)], capture_output=True, text=True, timeout=60)
        return r.stdout


@pytest.fixture
def front(workdir):
    opened = []

    def make(topology):
        opened.append(Front(workdir, topology))
        return opened[0]
    yield make
    for f in opened:
        f.__exit__()


GATEWAY, WEB = 'istio = "ingressgateway";', 'app = "web";'
LIST = "X-Forwarded-For: 56.5.6.7, 72.9.5.6, 98.1.2.3"


def test_2_13_1_client_behind_trusted_proxies(front):
    """numTrustedProxies = 2: the second address from the right is the client, for log, policies and hashes, at the gateway and at
    the service; the list goes on with who connected."""
    f = front("numTrustedProxies = 2;").start()
    got = f.get(LIST, "X-Forwarded-Proto: https")
    assert "xff=56.5.6.7, 72.9.5.6, 98.1.2.3,127.0.0.1\n" in got
    assert "external=72.9.5.6\n" in got and "proto=https\n" in got
    assert "proto=http\n" in f.get(LIST, "X-Forwarded-Proto: gopher")
    # fewer addresses than proxies: somebody came past them, and is believed nothing
    assert "external=127.0.0.1\n" in f.get("X-Forwarded-For: 56.5.6.7")
    assert "external=127.0.0.1\n" in f.get("X-Forwarded-For: nonsense, 98.1.2.3")
    # the header on several lines is one list
    assert "external=72.9.5.6\n" in f.get("X-Forwarded-For: 56.5.6.7, 72.9.5.6", "X-Forwarded-For: 98.1.2.3")
    wait_for("the log names the client", lambda: '"downstream_remote_address":"72.9.5.6:0"' in f.mesh.text())
    for workload in (GATEWAY, WEB):
        f.policy(workload, ["72.9.5.0/24"])
        wait_for("the client is denied", lambda: f.get(LIST).endswith("403"))
        assert f.get("X-Forwarded-For: 72.9.5.6, 1.2.3.4, 98.1.2.3").endswith("200")
        assert f.get("X-Forwarded-For: 72.9.5.6").endswith("200")


def test_2_13_1_without_trusted_proxies_nothing_is_believed(front):
    f = front("").start()
    got = f.get(LIST, "X-Forwarded-Proto: https")
    assert "external=127.0.0.1\n" in got and "proto=http\n" in got
    for workload in (GATEWAY, WEB):
        f.policy(workload, ["72.9.5.6", "98.1.2.3", "56.5.6.7"])
        f.mesh.ctl("config", "reload", "--wait", check=0)
        assert f.get(LIST).endswith("200")
        f.policy(workload, ["127.0.0.0/8"])
        wait_for("the connection's other end is meant", lambda: f.get(LIST).endswith("403"))


def test_2_11_10_only_a_gateway_is_believed(front):
    """What a workload of the mesh passes on in X-Forwarded-For is its application's word: remote.ip is its own address then."""
    f = front("").start()
    f.policy(WEB, ["203.0.113.0/24"])
    f.mesh.ctl("config", "reload", "--wait", check=0)
    assert f.mesh.get("web", "/fields", headers={"X-Forwarded-For": "203.0.113.9"}).status == 200
    f.policy(WEB, ["127.0.0.1"])
    wait_for("it is its own address", lambda: f.mesh.get("web", "/fields", headers={"X-Forwarded-For": "198.51.100.1"}).status == 403)
    assert "xff=198.51.100.1\n" not in f.mesh.get("web", "/fields", headers={"X-Forwarded-For": "198.51.100.1"}).text


# ---- PROXY protocol ----------------------------------------------------------------------------------

V1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x11" + struct.pack(">H", 12 + 5) + socket.inet_aton("203.0.113.8") + socket.inet_aton("192.0.2.1") \
     + struct.pack(">HH", 4711, 80) + b"\x04\0\x02ab"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


def talk(port, header, request=b"GET /fields HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n", pieces=1):
    with socket.create_connection(("127.0.0.1", port), timeout=kvmesh.DEADLINE) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        step = len(header) // pieces + 1
        for i in range(0, len(header), step):
            s.sendall(header[i:i + step])
        s.sendall(request)
        try:
            return s.makefile("rb").read().decode()
        except ConnectionResetError:
            return ""


def test_proxy_protocol_names_the_client(front):
    """Either version, in one piece or many; what it says is the client's address everywhere, and source.ip who sent it."""
    f = front("proxyProtocol = { };").start()
    for header, who in ((V1, "203.0.113.7"), (V2, "203.0.113.8"), (LOCAL, "127.0.0.1"), (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
                        (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", "2001:db8::1")):
        for pieces in (1, 7):
            got = talk(f.http, header, pieces=pieces)
            assert f"xff={who}\n" in got and f"external={who}\n" in got, (header, pieces, got)
    wait_for("the log has it", lambda: '"downstream_remote_address":"203.0.113.7:4711"' in f.mesh.text())
    for header in (b"", b"PROXY TCP4 203.0.113.7\r\n", b"PROXY TCP4 x y 1 2\r\n"):
        assert talk(f.http, header) == ""
    wait_for("they are counted", lambda: re.search(r'kvmesh_bad_input_total\{[^}]*proxy_protocol[^}]*\} [3-9]', f.mesh.metrics()))
    f.policy(GATEWAY, ["203.0.113.7"])
    wait_for("remote.ip is the client", lambda: "403" in talk(f.http, V1).split("\r\n")[0])
    assert "200" in talk(f.http, V2).split("\r\n")[0]
    f.policy(GATEWAY, ["127.0.0.1"], "ipBlocks")
    wait_for("source.ip is who sent the header", lambda: "403" in talk(f.http, V2).split("\r\n")[0])
    f.policy(WEB, ["203.0.113.8"])
    wait_for("the service knows the client too", lambda: ["403" in talk(f.http, v).split("\r\n")[0] for v in (V2, V1)] == [True, False])


def test_proxy_protocol_in_front_of_tls(front):
    f = front("proxyProtocol = { };").start()
    relay = Relay(f.https, V2)
    try:
        r = subprocess.run(["curl", "-sS", "-m", "30", "--cacert", f.ca.crt, "--connect-to", f"web.example:443:127.0.0.1:{relay.port}",
                            "https://web.example/fields"], capture_output=True, text=True, timeout=60)
        assert "xff=203.0.113.8\n" in r.stdout and "proto=https\n" in r.stdout, r
    finally:
        relay.stop()
    assert f.get_tls() == "", "without the header there is no handshake"


class Relay(outside.Server):
    """Passes a connection on, behind a header."""

    def __init__(self, port, header):
        self.to, self.header = port, header
        super().__init__()

    def serve(self, connection):
        import threading
        with connection, socket.create_connection(("127.0.0.1", self.to)) as up:
            up.sendall(self.header)

            def pump(a, b):
                try:
                    while data := a.recv(65536):
                        b.sendall(data)
                    b.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
            t = threading.Thread(target=pump, args=(connection, up), daemon=True)
            t.start()
            pump(up, connection)
            t.join()


# ---- X-Forwarded-Client-Cert --------------------------------------------------------------------------

TOLD = "X-Forwarded-Client-Cert: Hash=abc;Subject=\"CN=told\""


@pytest.mark.parametrize("mode, proved, plain", [
    ("SANITIZE_SET", 'Hash=[0-9a-f]{64};Subject="CN=partner"', ""),
    ("SANITIZE", "", ""),
    ("FORWARD_ONLY", 'Hash=abc;Subject="CN=told"', ""),
    ("APPEND_FORWARD", 'Hash=abc;Subject="CN=told",Hash=[0-9a-f]{64};Subject="CN=partner"', ""),
    ("ALWAYS_FORWARD_ONLY", 'Hash=abc;Subject="CN=told"', 'Hash=abc;Subject="CN=told"'),
])
def test_2_13_5_forwarded_client_certificates(front, mode, proved, plain):
    """The service's proxy appends the gateway in any case."""
    f = front(f'forwardClientCertDetails = "{mode}";').start()
    crt, key = f.clients.issue("partner")

    def told(text):
        return re.search(r"xfcc=(.*?),?By=spiffe", text)[1]
    assert re.fullmatch(proved, told(f.get_tls("--cert", crt, "--key", key, "-H", TOLD)))
    assert told(f.get_tls("-H", TOLD)) == plain
    assert told(f.get(TOLD)) == plain
