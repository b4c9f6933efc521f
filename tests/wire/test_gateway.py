# SPDX-License-Identifier: Apache-2.0
"""A gateway in front of the mesh: HTTP and HTTPS servers, real clients outside, a real nginx behind (Istio 2.13, 2.14)."""

import contextlib
import json
import re
import socket
import ssl
import subprocess
import threading

import pytest

import kvmesh
import pki
from kvmesh import wait_for

STRICT = """
PeerAuthentication = { name = "default"; namespace = "kvmesh-system"; mtls = { mode = "STRICT"; }; };
"""


class Outcome:
    def __init__(self, run):
        self.code, self.err = run.returncode, run.stderr.decode()
        head, _, self.body = run.stdout.decode().partition("\r\n\r\n")
        while self.body.startswith("HTTP/"):
            head, _, self.body = self.body.partition("\r\n\r\n")
        lines = head.split("\r\n")
        self.version, self.status = (lines[0].split() + ["", ""])[:2] if lines[0] else ("", "")
        self.headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}

    def __repr__(self):
        return f"<curl {self.code} {self.version} {self.status} {self.headers} {self.body!r} {self.err!r}>"


class Edge:
    """One gateway on an HTTP and an HTTPS port; shop is served by both, api demands client certificates."""

    def __init__(self, directory):
        self.dir = directory
        self.stack = contextlib.ExitStack()
        self.nginx = kvmesh.Nginx(directory, "shop", extra="""
        location /slow { default_type text/plain; limit_rate 1k; return 200 "slow\\n"; }
        location /fields { default_type text/plain; return 200
            "eop=$http_x_envoy_original_path\\ntimeout=$http_x_envoy_upstream_rq_timeout_ms\\nkv=$http_x_kvmesh_caller\\nxfcc=$http_x_forwarded_client_cert\\n"; }
        """)
        self.stack.callback(self.nginx.stop)
        self.mesh = m = kvmesh.Mesh(directory / "mesh", conf='accessLogFile = "/dev/stdout"; accessLogEncoding = "JSON";')
        self.stack.callback(m.stop)
        self.ca = pki.Authority(directory / "pki", "public")
        self.clients = pki.Authority(directory / "pki", "partners")
        self.strangers = pki.Authority(directory / "pki", "strangers")
        self.http, self.https = kvmesh.free_port(), kvmesh.free_port()
        m.workload("shop", self.nginx.port)
        m.service("shop", 80, "http")
        m.write("mesh.d/strict.conf", STRICT)
        m.write("workloads.d/gw.conf",
                'Workload = { name = "ingressgateway"; gateway = true; labels = { istio = "ingressgateway"; }; };')
        self.ca.credential(m.etc, "shop", "DNS:shop.example", "DNS:*.shop.example")
        self.ca.credential(m.etc, "api", "DNS:api.example", clients=self.clients)
        self.write_gateway()
        self.route("shop", ["shop.example"])
        self.route("api", ["api.example"])

    def write_gateway(self, more="", shop_hosts='"shop.example", "www.shop.example"', api_tls=""):
        self.mesh.write("mesh.d/gateway.conf", f"""
Gateway = {{ name = "public"; selector = {{ istio = "ingressgateway"; }};
  servers = (
    {{ port = {{ number = {self.http}; name = "http"; protocol = "HTTP"; }}; bind = "127.0.0.1";
       hosts = [ "shop.example", "*.wild.example", "dark.example" ]; }},
    {{ port = {{ number = {self.https}; name = "https"; protocol = "HTTPS"; }}; bind = "127.0.0.1";
       hosts = [ {shop_hosts} ]; tls = {{ mode = "SIMPLE"; credentialName = "shop"; }}; }},
    {{ port = {{ number = {self.https}; name = "https-api"; protocol = "HTTPS"; }}; bind = "127.0.0.1";
       hosts = [ "default/api.example" ]; tls = {{ mode = "MUTUAL"; credentialName = "api"; {api_tls} }}; }}
    {more} ); }};
""")

    def route(self, name, hosts, http='route = ( { destination = { host = "shop"; }; } );', namespace="default"):
        listed = ", ".join(f'"{h}"' for h in hosts)
        self.mesh.write(f"mesh.d/route-{name}.conf", f"""
VirtualService = {{ name = "{name}"; namespace = "{namespace}"; hosts = [ {listed} ]; gateways = [ "default/public" ];
  http = ( {{ {http} }} ); }};
""")

    def __enter__(self):
        return self

    def start(self):
        self.mesh.start()
        return self

    def __exit__(self, *exc):
        self.stack.close()

    def curl(self, url, *args):
        """url: http(s)://HOST/…; the name leads to the gateway's port of that scheme."""
        scheme, host = re.match(r"(https?)://([^/]+)", url).groups()
        port = self.https if scheme == "https" else self.http
        return Outcome(subprocess.run(
            ["curl", "-sS", "-i", "-m", "30", "--cacert", self.ca.crt, "--connect-to", f"{host}:{443 if scheme == 'https' else 80}:127.0.0.1:{port}",
             url, *map(str, args)], capture_output=True, timeout=60))

    def s_client(self, *args):
        return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.https}", *map(str, args)],
                              input="", capture_output=True, text=True, timeout=60)

    def tls(self, sni, cafile=None, alpn=("http/1.1",)):
        context = ssl.create_default_context(cafile=cafile or str(self.ca.crt))
        context.set_alpn_protocols(list(alpn))
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.https), timeout=30), server_hostname=sni)

    def refused(self, reason):
        """How many handshakes were refused for a reason."""
        found = [float(line.split()[-1]) for line in self.mesh.metrics().splitlines()
                 if line.startswith("kvmesh_tls_refused_total") and f'reason="{reason}"' in line]
        return sum(found)


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    directory = tmp_path_factory.mktemp("edge")
    for p in [directory, *directory.parents]:
        if str(p).startswith("/tmp/"):
            p.chmod(p.stat().st_mode | 0o055)
    with Edge(directory) as e:
        yield e.start()


@pytest.fixture
def own(workdir):
    """An edge whose configuration the test changes."""
    with Edge(workdir) as e:
        yield e


# ---- who gets where --------------------------------------------------------------------------------

def test_http(edge):
    r = edge.curl("http://shop.example/")
    assert (r.status, r.body) == ("200", "shop\n")
    assert r.headers["server"] == "istio-envoy"


def test_https(edge):
    r = edge.curl("https://shop.example/", "--http1.1")
    assert (r.code, r.version, r.status, r.body) == (0, "HTTP/1.1", "200", "shop\n")


def test_https_h2(edge):
    r = edge.curl("https://shop.example/", "--http2")
    assert (r.code, r.version, r.status, r.body) == (0, "HTTP/2", "200", "shop\n")


def test_from_the_gateway_on_it_is_mtls(edge):
    """STRICT is in force behind the gateway, and the service sees the gateway's identity."""
    r = edge.curl("https://shop.example/headers")
    assert r.status == "200"
    assert "URI=spiffe://cluster.local/ns/default/sa/ingressgateway" in r.body


@pytest.mark.parametrize("host", ["nobody.example", "www.shop.example", "shop", "shop.default.svc.cluster.local", "127.0.0.1"])
def test_2_3_14_unknown_host(edge, host):
    """A gateway serves what it was told to; services of the mesh are not reached by their names."""
    r = edge.curl(f"http://{host}/")
    assert r.status == "404"


def test_served_host_without_route(edge):
    assert edge.curl("http://dark.example/").status == "404"


def test_host_with_port_and_capitals(edge):
    assert edge.curl("http://shop.example/", "-H", "Host: SHOP.Example:8080").status == "200"


# ---- TLS -------------------------------------------------------------------------------------------

def test_certificate_by_sni(edge):
    for name, host in (("shop", "shop.example"), ("api", "api.example")):
        out = edge.s_client("-servername", host, "-CAfile", edge.ca.crt).stdout
        assert f"subject=CN = {name}-server" in out


def test_unknown_sni_is_closed(edge):
    before = edge.refused("unknown_name")
    r = edge.s_client("-servername", "nobody.example")
    assert r.returncode != 0 and "BEGIN CERTIFICATE" not in r.stdout
    assert edge.s_client("-noservername").returncode != 0
    wait_for("both are counted", lambda: edge.refused("unknown_name") >= before + 2)


def test_client_certificate(edge):
    crt, key = edge.clients.issue("partner", "DNS:partner.example", "URI:https://partner.example/agent")
    r = edge.curl("https://api.example/headers", "--cert", crt, "--key", key)
    assert (r.code, r.status) == (0, "200")
    xfcc = re.search(r"xfcc=(.*)", r.body)[1]
    ours, _, mesh = xfcc.partition(",By=")
    digest = subprocess.run(["openssl", "x509", "-in", crt, "-noout", "-fingerprint", "-sha256"], capture_output=True,
                            text=True).stdout.partition("=")[2].strip().replace(":", "").lower()
    assert ours == f'Hash={digest};Subject="CN=partner";URI=https://partner.example/agent;DNS=partner.example'
    assert "sa/ingressgateway" in mesh


def test_no_client_certificate(edge):
    before = edge.refused("no_certificate")
    r = edge.curl("https://api.example/")
    assert r.code != 0 and r.status == ""
    wait_for("it is counted", lambda: edge.refused("no_certificate") > before)


def test_client_certificate_of_strangers(edge):
    crt, key = edge.strangers.issue("stranger", "DNS:partner.example")
    r = edge.curl("https://api.example/", "--cert", crt, "--key", key)
    assert r.code != 0 and r.status == ""


def test_expired_client_certificate(edge):
    before = edge.refused("expired")
    crt, key = edge.clients.issue("late", expired=True)
    r = edge.curl("https://api.example/", "--cert", crt, "--key", key)
    assert r.code != 0 and r.status == ""
    wait_for("it is counted", lambda: edge.refused("expired") > before)


def test_tls_1_2_and_nothing_older(edge):
    assert edge.curl("https://shop.example/", "--tls-max", "1.2").status == "200"
    r = edge.s_client("-servername", "shop.example", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")
    assert "BEGIN CERTIFICATE" not in r.stdout


def test_plain_text_on_the_tls_port(edge):
    with socket.create_connection(("127.0.0.1", edge.https), timeout=30) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert s.recv(100) == b""


def test_windows_of_an_edge(edge):
    """L8: what one client may have on its way is bounded tighter than between proxies."""
    with edge.tls("shop.example", alpn=("h2",)) as s:
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        data, settings, window = b"", {}, 65535
        while not (settings and window > 65535):
            data += s.recv(4096)
            while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
                n, kind, flags = int.from_bytes(data[:3], "big"), data[3], data[4]
                body, data = data[9:9 + n], data[9 + n:]
                if kind == 4 and not flags & 1:
                    settings = {int.from_bytes(body[i:i + 2], "big"): int.from_bytes(body[i + 2:i + 6], "big") for i in range(0, n, 6)}
                elif kind == 8:
                    window += int.from_bytes(body, "big")
        assert settings[3] == 100 and settings[4] == 65536 and settings[6] == 61440 and settings[5] <= 16384 << 3
        assert window == 1 << 20


# ---- SNI and Host ----------------------------------------------------------------------------------

def test_host_of_another_server_is_misdirected(edge):
    """What a client proved (or did not) to one server opens nothing of another: no way around client certificates."""
    for version in ("--http1.1", "--http2"):
        r = edge.curl("https://shop.example/", version, "-H", "Host: api.example")
        assert r.status == "421", r


def test_host_of_nobody(edge):
    assert edge.curl("https://shop.example/", "-H", "Host: nobody.example").status == "404"
    assert edge.curl("https://shop.example/", "-H", "Host: dark.example").status == "404"


# ---- what clients say of themselves ----------------------------------------------------------------

def test_forwarded_fields(edge):
    """2.13.1, 2.13.2, 2.13.3, 2.13.5."""
    lies = ["-H", "x-forwarded-for: 203.0.113.9", "-H", "x-forwarded-proto: https",
            "-H", "x-request-id: mine", "-H", 'x-forwarded-client-cert: By=x;URI=spiffe://cluster.local/ns/a/sa/admin']
    r = edge.curl("http://shop.example/headers", *lies)
    assert "xff=203.0.113.9,127.0.0.1\n" in r.body
    assert "proto=http\n" in r.body
    assert "admin" not in r.body
    assert re.search(r"rid=[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\n", r.body)
    assert "proto=https\n" in edge.curl("https://shop.example/headers", "-H", "x-forwarded-proto: http").body


def test_internal_fields_are_removed(edge):
    r = edge.curl("http://shop.example/fields", "-H", "x-envoy-original-path: /evil", "-H", "x-envoy-upstream-rq-timeout-ms: 1",
                  "-H", "x-kvmesh-caller: admin", "-H", "x-envoy-attempt-count: 9")
    assert r.status == "200"
    assert "eop=\n" in r.body and "timeout=\n" in r.body and "kv=\n" in r.body


# ---- what is told ----------------------------------------------------------------------------------

def test_metrics_and_access_log(edge):
    edge.curl("https://shop.example/marked")
    edge.curl("http://unknown.example/")

    def series():
        return [line for line in edge.mesh.metrics().splitlines()
                if line.startswith("istio_requests_total") and 'source_workload="ingressgateway"' in line]
    wait_for("the gateway's own series", lambda: any(
        'reporter="source"' in s and 'destination_service_name="shop"' in s and 'connection_security_policy="mutual_tls"' in s
        for s in series()))
    wait_for("404 without a route", lambda: any(
        'reporter="source"' in s and 'response_code="404"' in s and 'response_flags="NR"' in s for s in series()))

    def entry():
        for line in edge.mesh.text().splitlines():
            start = line.find("{")
            if "/marked" in line and start >= 0:
                e = json.loads(line[start:])
                if e.get("requested_server_name") == "shop.example":
                    return e
        return None
    e = wait_for("an entry of the gateway", entry)
    assert e["authority"] == "shop.example" and e["response_code"] == 200
    assert e["downstream_remote_address"].startswith("127.0.0.1:")
    assert e["upstream_cluster"].startswith("outbound|80||shop.default")


# ---- configuration ---------------------------------------------------------------------------------

def test_2_2_5_the_narrower_of_both_hosts(own):
    """The narrower is served; ns/ limits whose VirtualServices count."""
    own.write_gateway(more=f""", {{ port = {{ number = {own.http}; name = "http-b"; protocol = "HTTP"; }}; bind = "127.0.0.1";
       hosts = [ "shops/closed.example" ]; }}""")
    own.route("wild", ["*.wild.example"])
    own.route("closed", ["closed.example"])
    own.start()
    assert own.curl("http://a.wild.example/").status == "200"
    assert own.curl("http://a.b.wild.example/").status == "200"
    assert own.curl("http://wild.example/").status == "404"
    assert own.curl("http://closed.example/").status == "404"
    assert own.curl("http://dark.example/").status == "404"
    own.route("broad", ["*.example"], 'directResponse = { status = 203; };')
    wait_for("the broad route", lambda: own.curl("http://dark.example/").status == "203")
    assert own.curl("http://other.example/").status == "404"
    own.route("closed", ["closed.example"], namespace="shops", http='route = ( { destination = { host = "shop.default.svc.cluster.local"; }; } );')
    wait_for("the namespace is right", lambda: own.curl("http://closed.example/").status == "200")


def test_2_2_4_joined_with_catch_alls_last(own):
    own.route("a", ["shop.example"], 'directResponse = { status = 203; };')
    own.route("b", ["shop.example"], 'match = ( { uri = { prefix = "/b"; }; } ); directResponse = { status = 204; };')
    (own.mesh.etc / "mesh.d/route-shop.conf").unlink()
    own.start()
    assert own.curl("http://shop.example/").status == "203"
    assert own.curl("http://shop.example/b").status == "204"


def test_2_6_7_https_redirect(own):
    """Before any route, for all hosts of the server."""
    own.mesh.write("mesh.d/gateway.conf", f"""
Gateway = {{ name = "public"; selector = {{ istio = "ingressgateway"; }};
  servers = ( {{ port = {{ number = {own.http}; name = "http"; protocol = "HTTP"; }}; bind = "127.0.0.1";
       hosts = [ "shop.example" ]; tls = {{ httpsRedirect = true; }}; }} ); }};
""")
    own.start()
    r = own.curl("http://shop.example/a?b=c")
    assert (r.status, r.headers["location"]) == ("301", "https://shop.example/a?b=c")
    assert own.curl("http://other.example/").status == "404"


def test_protocol_versions_and_ciphers(own):
    own.write_gateway(shop_hosts='"shop.example"', more=f""", {{ port = {{ number = {own.https}; name = "new"; protocol = "HTTPS"; }};
       bind = "127.0.0.1"; hosts = [ "new.shop.example" ];
       tls = {{ mode = "SIMPLE"; credentialName = "shop"; minProtocolVersion = "TLSV1_3"; }}; }},
      {{ port = {{ number = {own.https}; name = "old"; protocol = "HTTPS"; }}; bind = "127.0.0.1"; hosts = [ "old.shop.example" ];
       tls = {{ mode = "SIMPLE"; credentialName = "shop"; maxProtocolVersion = "TLSV1_2";
                cipherSuites = [ "ECDHE-ECDSA-AES256-GCM-SHA384" ]; }}; }}""")
    own.start()

    def agreed(sni, *args):
        found = re.search(r"New, (\S+), Cipher is (\S+)", own.s_client("-servername", sni, *args).stdout)
        return found.groups() if found else None
    assert agreed("new.shop.example")[0] == "TLSv1.3"
    assert agreed("new.shop.example", "-tls1_2")[1] == "(NONE)"
    assert agreed("old.shop.example") == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")
    assert agreed("old.shop.example", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", "-tls1_2")[1] == "(NONE)"


def test_names_of_clients(own):
    """subjectAltNames: of the authority's clients only those."""
    own.write_gateway(api_tls='subjectAltNames = [ "partner.example" ];')
    own.start()
    good = own.clients.issue("good", "DNS:partner.example")
    bad = own.clients.issue("bad", "DNS:other.example")
    assert own.curl("https://api.example/", "--cert", good[0], "--key", good[1]).status == "200"
    assert own.curl("https://api.example/", "--cert", bad[0], "--key", bad[1]).code != 0


def test_optional_client_certificate(own):
    own.mesh.write("mesh.d/gateway.conf", f"""
Gateway = {{ name = "public"; selector = {{ istio = "ingressgateway"; }};
  servers = ( {{ port = {{ number = {own.https}; name = "https"; protocol = "HTTPS"; }}; bind = "127.0.0.1";
       hosts = [ "api.example" ]; tls = {{ mode = "OPTIONAL_MUTUAL"; credentialName = "api"; }}; }} ); }};
""")
    own.start()
    r = own.curl("https://api.example/headers")
    assert r.status == "200" and "Subject=\"CN=partner\"" not in r.body
    crt, key = own.clients.issue("partner")
    r = own.curl("https://api.example/headers", "--cert", crt, "--key", key)
    assert r.status == "200" and "Subject=\"CN=partner\"" in r.body
    crt, key = own.strangers.issue("stranger")
    assert own.curl("https://api.example/", "--cert", crt, "--key", key).code != 0


def test_renewed_certificate_is_served(own):
    """No reload is needed; one that cannot be used changes nothing."""
    own.start()

    def served():
        return own.s_client("-servername", "shop.example").stdout.partition("-----BEGIN")[2].partition("-----END")[0]
    first = served()
    assert first
    (own.mesh.etc / "tls/shop/tls.key").write_text("no key\n")
    wait_for("the broken file is told", lambda: re.search(r"gateway.conf:\d+:\d+: .*tls/shop/tls.key", own.mesh.text()))
    assert served() == first
    own.ca.credential(own.mesh.etc, "shop", "DNS:shop.example")
    wait_for("the new certificate", lambda: served() not in ("", first))
    assert own.curl("https://shop.example/").status == "200"


def test_missing_certificate_closes_one_server_only(own):
    (own.mesh.etc / "tls/api/tls.key").unlink()
    own.start()
    assert own.curl("https://shop.example/").status == "200"
    assert own.curl("https://api.example/").code != 0
    assert re.search(r"gateway.conf:\d+:\d+: .*tls/api/tls.key", own.mesh.text())


def test_reload_under_load(own):
    """Routes, hosts and whole servers come and go while others are served without a failure."""
    own.start()
    failures, done, stop = [], [0], threading.Event()

    def pull():
        request = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
        s = own.tls("shop.example")
        while not stop.is_set():
            try:
                s.sendall(request)
                data = s.recv(4096)
                while b"\r\n\r\nshop\n" not in data:
                    piece = s.recv(4096)
                    assert piece, data
                    data += piece
                if not data.startswith(b"HTTP/1.1 200"):
                    failures.append(data[:40])
                done[0] += 1
            except (OSError, AssertionError) as e:
                failures.append(repr(e))
                return
        s.close()
    threads = [threading.Thread(target=pull, daemon=True) for _ in range(3)]
    for t in threads:
        t.start()
    for i in range(6):
        own.route("wild", [f"r{i}.wild.example"])
        own.write_gateway(more="" if i % 2 else f""", {{ port = {{ number = {own.https}; name = "x"; protocol = "HTTPS"; }};
            bind = "127.0.0.1"; hosts = [ "x.shop.example" ]; tls = {{ mode = "SIMPLE"; credentialName = "shop"; }}; }}""")
        wait_for("the new route", lambda: own.curl(f"http://r{i}.wild.example/").status == "200")
        goal = done[0] + 50
        wait_for("more requests", lambda: done[0] >= goal or failures)
    stop.set()
    for t in threads:
        t.join(kvmesh.DEADLINE)
    assert failures == [] and done[0] > 300


def test_server_that_goes_takes_its_connections_along(own):
    """A connection opened for a host is of no use once no server has it."""
    own.start()
    with own.tls("shop.example") as s:
        ask = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
        s.sendall(ask)
        assert s.recv(4096).startswith(b"HTTP/1.1 200")
        own.write_gateway(shop_hosts='"www.shop.example"')
        wait_for("the new servers", lambda: own.curl("https://shop.example/").code != 0)
        s.sendall(ask)
        assert s.recv(4096).split(b" ")[1] in (b"404", b"421")


# ---- analyze ---------------------------------------------------------------------------------------

def test_analyze_judges_credentials(own):
    def findings():
        out = own.mesh.ctl("config", "test")
        return [line for line in (out.stdout + out.stderr).splitlines() if "[KVM0161]" in line]

    own.write_gateway(shop_hosts='"shop.example", "other.example"')
    tls = own.mesh.etc / "tls"
    (tls / "api/tls.key").write_bytes((tls / "shop/tls.key").read_bytes())
    found = findings()
    assert len(found) == 2, found
    assert re.search(r"mesh.d/gateway.conf:7:\d+: warning: .*is not for host 'other.example'", found[0])
    assert re.search(r"mesh.d/gateway.conf:9:\d+: warning: .*tls/api/tls.key", found[1])

    own.write_gateway()
    own.ca.credential(own.mesh.etc, "api", "DNS:api.example", clients=own.clients)
    assert findings() == []
    own.ca.credential(own.mesh.etc, "api", "DNS:api.example", clients=own.clients, expired=True)
    assert "has expired" in findings()[0]
    (tls / "api/ca.crt").unlink()
    assert "tls/api/ca.crt" in findings()[0]
    (tls / "shop/tls.key").chmod(0o644)
    assert any("open to every user" in f for f in findings())


def test_listeners_that_collide(own):
    own.mesh.workload("other", own.http)
    out = own.mesh.ctl("config", "test", check=78)
    assert re.search(r"gateway.conf:4:\d+: error: .*Workload other.default and Workload ingressgateway.default both want .*KVM0202", out.stdout + out.stderr)
