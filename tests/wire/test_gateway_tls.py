# SPDX-License-Identifier: Apache-2.0
"""Gateway servers that are not HTTP over their own certificate: TLS passed through by its server name, TCP, TLS that ends
before TCP, the mesh's own certificates, and several of them on one port (Istio 2.14)."""

import contextlib
import re
import socket
import ssl
import subprocess

import pytest

import kvmesh
import outside
import pki
from kvmesh import wait_for

EDGE = 'Workload = { name = "ingressgateway"; gateway = true; labels = { istio = "ingressgateway"; }; };'


class Edge:
    """A gateway and a mesh behind it; servers and routes are each test's own."""

    def __init__(self, directory, conf='accessLogFile = "/dev/stdout"; accessLogEncoding = "JSON";'):
        self.dir = directory
        self.stack = contextlib.ExitStack()
        self.mesh = kvmesh.Mesh(directory / "mesh", conf=conf)
        self.stack.callback(self.mesh.stop)
        self.ca = pki.Authority(directory / "pki", "public")
        self.clients = pki.Authority(directory / "pki", "partners")
        self.mesh.write("workloads.d/gw.conf", EDGE)
        self.started = False

    def own(self, thing):
        self.stack.callback(thing.stop)
        return thing

    def servers(self, *servers, name="gw"):
        listed = ",\n    ".join(servers)
        self.mesh.write(f"mesh.d/gateway-{name}.conf", f"""
Gateway = {{ name = "{name}"; selector = {{ istio = "ingressgateway"; }};
  servers = (
    {listed} ); }};
""")

    def route(self, name, hosts, body, gateways='"gw"'):
        listed = ", ".join(f'"{h}"' for h in hosts)
        self.mesh.write(f"mesh.d/route-{name}.conf", f"""
VirtualService = {{ name = "{name}"; hosts = [ {listed} ]; gateways = [ {gateways} ]; {body} }};
""")

    def outside(self, host, port, protocol="TLS", number=443):
        """A service outside the mesh that listens here."""
        self.mesh.write(f"mesh.d/entry-{host}.conf", f"""
ServiceEntry = {{ name = "{host.replace('.', '-')}"; hosts = [ "{host}" ]; location = "MESH_EXTERNAL"; resolution = "STATIC";
  ports = ( {{ number = {number}; name = "{protocol.lower()}"; protocol = "{protocol}"; targetPort = {port}; }} );
  endpoints = ( {{ address = "127.0.0.1"; }} ); }};
""")

    def __enter__(self):
        return self

    def start(self):
        self.mesh.start()
        return self

    def __exit__(self, *exc):
        self.stack.close()
        log = self.mesh.dir / "run.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        assert "Sanitizer" not in text and "runtime error" not in text, text

    def refused(self, reason):
        found = [float(line.split()[-1]) for line in self.mesh.metrics().splitlines()
                 if line.startswith("kvmesh_tls_refused_total") and f'reason="{reason}"' in line]
        return sum(found)

    def flagged(self, flag):
        return sum(f'"response_flags":"{flag}"' in line for line in self.mesh.text().splitlines())


def server(port, name, protocol, hosts, tls=""):
    listed = ", ".join(f'"{h}"' for h in hosts)
    tls = f"tls = {{ {tls} }};" if tls else ""
    return f"""{{ port = {{ number = {port}; name = "{name}"; protocol = "{protocol}"; }}; bind = "127.0.0.1";
       hosts = [ {listed} ]; {tls} }}"""


def to(host, port=None, weight=None):
    port = f"port = {{ number = {port}; }};" if port else ""
    weight = f"weight = {weight};" if weight is not None else ""
    return f'{{ destination = {{ host = "{host}"; {port} }}; {weight} }}'


def by_sni(*rows):
    """tls routes: (names, destination)."""
    blocks = ", ".join("{ match = ( { sniHosts = [ %s ]; } ); route = ( %s ); }" % (", ".join(f'"{n}"' for n in names), where)
                       for names, where in rows)
    return f"tls = ( {blocks} );"


def ask(port, sni, ca, path="/", *args):
    """The body of an HTTPS request by that name, or curl's exit code."""
    r = subprocess.run(["curl", "-sS", "-m", "30", "--cacert", ca.crt, "--connect-to", f"{sni}:443:127.0.0.1:{port}",
                        f"https://{sni}{path}", *map(str, args)], capture_output=True, timeout=60)
    return r.stdout.decode() if r.returncode == 0 else r.returncode


def tls(port, sni, ca=None, cert=None, alpn=None):
    context = ssl.create_default_context(cafile=str(ca.crt)) if ca else ssl._create_unverified_context()
    if cert:
        context.load_cert_chain(*map(str, cert))
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=kvmesh.DEADLINE), server_hostname=sni)


@pytest.fixture
def edge(workdir):
    with Edge(workdir) as e:
        yield e


# ---- TLS that is passed on -------------------------------------------------------------------------

@pytest.mark.parametrize("protocol", ["TLS", "HTTPS"])
def test_2_14_3_passthrough_by_server_name(edge, protocol):
    """Nothing ends at the gateway: the client sees the service's own certificate. Names: several in one match, wildcards,
    the most specific first; what the server serves and no route has is closed with NR, other names without a word."""
    port = kvmesh.free_port()
    for name in ("one", "two", "wild", "deep"):
        n = edge.own(outside.TlsNginx(edge.dir, name, edge.ca, "DNS:*.in.example", "DNS:*.deep.in.example"))
        edge.outside(f"{name}.svc", n.port)
    edge.servers(server(port, "tls", protocol, ["*.in.example"], 'mode = "PASSTHROUGH";'))
    edge.route("wild", ["*.in.example"], by_sni((["*.deep.in.example"], to("deep.svc")), (["*.wild.in.example", "w.in.example"], to("wild.svc"))))
    edge.route("names", ["one.in.example", "uno.in.example", "two.in.example", "n.deep.in.example"],
               by_sni((["one.in.example", "uno.in.example"], to("one.svc")), (["two.in.example", "n.deep.in.example"], to("two.svc"))))
    edge.start()
    for sni, who in (("one.in.example", "one"), ("uno.in.example", "one"), ("two.in.example", "two"), ("w.in.example", "wild"),
                     ("x.deep.in.example", "deep"), ("n.deep.in.example", "two")):
        got = ask(port, sni, edge.ca)
        assert str(got).splitlines()[:2] == [who, f"sni={sni}"], (sni, got)
    assert ask(port, "ONE.in.example", edge.ca).startswith("one\n")
    assert isinstance(ask(port, "none.in.example", edge.ca), int)
    wait_for("a record of what had no route", lambda: edge.flagged("NR") == 1)
    assert isinstance(ask(port, "elsewhere.org", edge.ca), int)
    wait_for("the other is counted", lambda: edge.refused("unknown_name") == 1)
    assert outside.is_closed(port, b"GET / HTTP/1.1\r\nHost: one.in.example\r\n\r\n")
    edge.mesh.assert_sound()


def test_2_14_3_passthrough_is_one_of_several_servers_of_a_port(edge):
    """Servers of one TLS port are told by the name: passed through, ended for HTTP, ended for TCP."""
    port = kvmesh.free_port()
    parrot = edge.own(outside.Parrot("parrot"))
    through = edge.own(outside.TlsNginx(edge.dir, "through", edge.ca, "DNS:through.example"))
    web = edge.own(kvmesh.Nginx(edge.dir, "web"))
    edge.mesh.workload("web", web.port)
    edge.mesh.service("web", 80, "http")
    edge.mesh.workload("parrot", parrot.port, protocol="TCP")
    edge.mesh.service("parrot", 7, "tcp", protocol="TCP")
    edge.outside("through.svc", through.port)
    edge.ca.credential(edge.mesh.etc, "edge", "DNS:web.example", "DNS:parrot.example")
    edge.servers(server(port, "a", "TLS", ["through.example"], 'mode = "PASSTHROUGH";'),
                 server(port, "b", "HTTPS", ["web.example"], 'mode = "SIMPLE"; credentialName = "edge";'),
                 server(port, "c", "TLS", ["parrot.example"], 'mode = "SIMPLE"; credentialName = "edge";'))
    edge.route("through", ["through.example"], by_sni((["through.example"], to("through.svc"))))
    edge.route("web", ["web.example"], f"http = ( {{ route = ( {to('web')} ); }} );")
    edge.route("parrot", ["parrot.example"], f"tcp = ( {{ route = ( {to('parrot', 7)} ); }} );")
    edge.start()
    assert ask(port, "through.example", edge.ca).startswith("through\n")
    assert ask(port, "web.example", edge.ca) == "web\n"
    with tls(port, "parrot.example", edge.ca) as s:
        assert outside.converse(s) == "parrot: hello"
    rows = {r["match"]: r["destination"] for r in edge.mesh.ctl_json("proxy-config", "listeners", "ingressgateway")}
    assert list(rows) == ["SNI: through.example; TLS: passed on", "SNI: web.example; TLS: SIMPLE", "SNI: parrot.example; TLS: SIMPLE"]
    assert [to_.split(":")[0] for to_ in rows.values()] == ["Bytes", "Route", "Bytes"]
    # what ends here for one name is no way to the bytes of another
    assert ask(port, "web.example", edge.ca, "/", "-H", "Host: through.example", "-o", "/dev/null", "-w", "%{http_code}") == "421"
    edge.mesh.assert_sound()


def test_2_14_3_passthrough_by_weight_and_reload(edge):
    port = kvmesh.free_port()
    for name in ("old", "new"):
        edge.outside(f"{name}.svc", edge.own(outside.TlsNginx(edge.dir, name, edge.ca, "DNS:shop.example")).port)
    edge.servers(server(port, "tls", "TLS", ["shop.example"], 'mode = "PASSTHROUGH";'))
    edge.route("shop", ["shop.example"], by_sni((["shop.example"], f"{to('old.svc', weight=50)}, {to('new.svc', weight=50)}")))
    edge.start()
    seen = {ask(port, "shop.example", edge.ca).splitlines()[0] for _ in range(40)}
    assert seen == {"old", "new"}, "one of 40 even choices is missing once in 2^39"
    edge.route("shop", ["shop.example"], by_sni((["shop.example"], to("new.svc"))))
    wait_for("the new route", lambda: {ask(port, "shop.example", edge.ca).splitlines()[0] for _ in range(20)} == {"new"})


# ---- TCP -------------------------------------------------------------------------------------------

def test_2_14_6_tcp_servers(edge):
    """The first tcp route that fits; a port without a route closes; a second server of a TCP port is not opened."""
    first, second, dark = (kvmesh.free_port() for _ in range(3))
    for name in ("one", "two"):
        edge.mesh.workload(name, edge.own(outside.Parrot(name)).port, protocol="TCP")
        edge.mesh.service(name, 7, "tcp", protocol="TCP")
    edge.servers(server(first, "tcp-a", "TCP", ["*"]), server(second, "tcp-b", "MYSQL", ["*"]), server(dark, "tcp-c", "TCP", ["*"]),
                 server(second, "tcp-d", "TCP", ["other.example"]))
    edge.route("tcp", ["*"], f"""tcp = (
      {{ match = ( {{ port = {first}; }} ); route = ( {to('one')} ); }},
      {{ match = ( {{ port = {second}; gateways = [ "gw" ]; }} ); route = ( {to('two')} ); }},
      {{ match = ( {{ port = {first}; }} ); route = ( {to('two')} ); }} );""")
    edge.start()
    for port, who in ((first, "one"), (second, "two")):
        with socket.create_connection(("127.0.0.1", port)) as s:
            assert outside.converse(s) == f"{who}: hello"
    assert outside.is_closed(dark)
    wait_for("a record with NR", lambda: edge.flagged("NR") >= 1)
    out = edge.mesh.ctl("config", "test")
    assert "[KVM0211]" in out.stdout + out.stderr
    wait_for("the service's series", lambda: re.search(r'istio_tcp_connections_opened_total\{[^}]*source_workload="ingressgateway"[^}]*'
                                                       r'destination_service_name="one"', edge.mesh.metrics()))


def test_2_14_6_server_speaks_first_and_half_closes(edge):
    port = kvmesh.free_port()
    edge.mesh.workload("one", edge.own(outside.Parrot("one")).port, protocol="TCP")
    edge.mesh.service("one", 7, "tcp", protocol="TCP")
    edge.servers(server(port, "tcp", "TCP", ["*"]))
    edge.route("tcp", ["*"], f"tcp = ( {{ route = ( {to('one')} ); }} );")
    edge.start()
    with socket.create_connection(("127.0.0.1", port), timeout=kvmesh.DEADLINE) as s:
        got = b""
        while got != b"one: ":
            piece = s.recv(100)
            assert piece
            got += piece
        s.sendall(b"bye")
        s.shutdown(socket.SHUT_WR)
        rest = s.makefile("rb").read()
        assert rest == b"bye"


def test_2_14_4_tls_with_client_certificates_before_tcp(edge):
    port = kvmesh.free_port()
    edge.mesh.workload("one", edge.own(outside.Parrot("one")).port, protocol="TCP")
    edge.mesh.service("one", 7, "tcp", protocol="TCP")
    edge.ca.credential(edge.mesh.etc, "edge", "DNS:tcp.example", clients=edge.clients)
    edge.servers(server(port, "tls", "TLS", ["tcp.example"], 'mode = "MUTUAL"; credentialName = "edge";'))
    edge.route("tcp", ["tcp.example"], f"tcp = ( {{ route = ( {to('one')} ); }} );")
    edge.start()
    with tls(port, "tcp.example", edge.ca, edge.clients.issue("partner")) as s:
        assert outside.converse(s) == "one: hello"
    with pytest.raises((ssl.SSLError, ConnectionError)), tls(port, "tcp.example", edge.ca) as s:
        s.recv(1)
    wait_for("it is counted", lambda: edge.refused("no_certificate") == 1)
    # TLS that ends before bytes agrees on no protocol of its own
    with tls(port, "tcp.example", edge.ca, edge.clients.issue("other"), alpn=["h2", "mine"]) as s:
        assert s.selected_alpn_protocol() is None
        assert outside.converse(s) == "one: hello"


# ---- plain HTTP by other names ----------------------------------------------------------------------

@pytest.mark.parametrize("protocol", ["HTTP2", "GRPC", "GRPC-WEB"])
def test_2_14_1_http2_and_grpc_servers(edge, protocol):
    """Words for HTTP: HTTP/1.1 and HTTP/2 with prior knowledge come in; they share a port with HTTP."""
    port = kvmesh.free_port()
    web = edge.own(kvmesh.Nginx(edge.dir, "web"))
    edge.mesh.workload("web", web.port)
    edge.mesh.service("web", 80, "http")
    edge.servers(server(port, "a", protocol, ["a.example"]), server(port, "b", "HTTP", ["b.example"]))
    edge.route("web", ["a.example", "b.example"], f"http = ( {{ route = ( {to('web')} ); }} );")
    edge.start()
    for host in ("a.example", "b.example"):
        for version in ("--http1.1", "--http2-prior-knowledge"):
            r = subprocess.run(["curl", "-sS", "-m", "30", version, "-H", f"Host: {host}", f"http://127.0.0.1:{port}/"],
                               capture_output=True, text=True, timeout=60)
            assert r.stdout == "web\n", r
    out = edge.mesh.ctl("config", "test")
    assert "[KVM0211]" not in out.stdout + out.stderr


def test_2_14_1_the_oldest_decides_what_a_port_speaks(edge):
    port = kvmesh.free_port()
    web = edge.own(kvmesh.Nginx(edge.dir, "web"))
    edge.mesh.workload("web", web.port)
    edge.mesh.service("web", 80, "http")
    edge.servers(server(port, "http", "HTTP", ["web.example"]))
    edge.route("web", ["web.example"], f"http = ( {{ route = ( {to('web')} ); }} );")
    edge.start()
    edge.servers(server(port, "tls", "TLS", ["*.example"], 'mode = "PASSTHROUGH";'), name="younger")
    edge.mesh.ctl("config", "reload", "--wait", check=0)
    r = subprocess.run(["curl", "-sS", "-m", "30", "-H", "Host: web.example", f"http://127.0.0.1:{port}/"], capture_output=True, text=True)
    assert r.stdout == "web\n"
    out = edge.mesh.ctl("config", "test")
    text = out.stdout + out.stderr
    assert re.search(rf"port {port} is plain HTTP by Gateway gw.default at line \d+: this server of TLS is not opened \[KVM0211\]", text), text


def test_2_14_1_the_port_of_a_service_is_its_target_port(edge):
    """As in Istio a Gateway speaks of the ports of the Service in front of the gateway; matches of routes too."""
    listen, plain = kvmesh.free_port(), kvmesh.free_port()
    web = edge.own(kvmesh.Nginx(edge.dir, "web"))
    edge.mesh.workload("web", web.port)
    edge.mesh.service("web", 80, "http")
    edge.mesh.write("mesh.d/front.conf", f"""
Service = ( {{ name = "front"; selector = {{ istio = "ingressgateway"; }};
  ports = ( {{ name = "http"; port = 80; targetPort = {listen}; protocol = "HTTP"; }} ); }},
  {{ name = "other"; namespace = "elsewhere"; selector = {{ istio = "ingressgateway"; }};
  ports = ( {{ name = "http"; port = {plain}; targetPort = {kvmesh.free_port()}; protocol = "HTTP"; }} ); }} );""")
    edge.servers(server(80, "http", "HTTP", ["web.example"]), server(plain, "plain", "HTTP", ["web.example"]))
    edge.route("web", ["web.example"], f"""http = (
      {{ match = ( {{ port = 80; }} ); route = ( {to('web')} ); }},
      {{ match = ( {{ port = {plain}; }} ); directResponse = {{ status = 203; }}; }},
      {{ directResponse = {{ status = 204; }}; }} );""")
    edge.start()

    def status(port):
        return subprocess.run(["curl", "-sS", "-m", "30", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: web.example",
                               f"http://127.0.0.1:{port}/"], capture_output=True, text=True).stdout
    assert (status(listen), status(plain)) == ("200", "203")


def test_bind_to_a_path(edge):
    """A Unix socket: HTTP, and TLS by its name; a reload keeps it, a restart takes the path again."""
    web = edge.own(kvmesh.Nginx(edge.dir, "web"))
    edge.mesh.workload("web", web.port)
    edge.mesh.service("web", 80, "http")
    edge.ca.credential(edge.mesh.etc, "edge", "DNS:web.example")
    plain, secure = edge.mesh.run / "http", edge.mesh.run / "https"
    edge.servers(server(0, "http", "HTTP", ["web.example"]).replace("127.0.0.1", f"unix:{plain}"),
                 server(0, "https", "HTTPS", ["web.example"], 'mode = "SIMPLE"; credentialName = "edge";').replace("127.0.0.1", f"unix:{secure}"))
    edge.route("web", ["web.example"], f"http = ( {{ route = ( {to('web')} ); }} );")
    edge.start()

    def get(path, url, *args):
        r = subprocess.run(["curl", "-sS", "-m", "30", "--unix-socket", path, *map(str, args), url], capture_output=True, text=True, timeout=60)
        return r.stdout if r.returncode == 0 else r
    assert get(plain, "http://web.example/") == "web\n"
    assert get(secure, "https://web.example/", "--cacert", edge.ca.crt) == "web\n"
    assert "xff=1.2.3.4\n" in get(plain, "http://web.example/headers", "-H", "X-Forwarded-For: 1.2.3.4")
    inode = plain.stat().st_ino
    edge.route("web", ["web.example"], f"http = ( {{ match = ( {{ uri = {{ prefix = \"/x\"; }}; }} ); route = ( {to('web')} ); }} );")
    wait_for("the new route", lambda: get(plain, "http://web.example/", "-o", "/dev/null", "-w", "%{http_code}") == "404")
    assert plain.stat().st_ino == inode and get(plain, "http://web.example/x") == "web\n"
    edge.mesh.stop()
    edge.mesh.start()
    wait_for("the path is served again", lambda: get(plain, "http://web.example/x") == "web\n")
    edge.mesh.assert_sound()


def test_2_14_7_tcp_has_no_faults_retries_rewrites_mirrors(edge):
    """They are no fields of tcp and tls routes: an error, not a word that is passed over."""
    port = kvmesh.free_port()
    edge.servers(server(port, "tcp", "TCP", ["*"]))
    for field in ('fault = { abort = { httpStatus = 503; }; };', 'retries = { attempts = 3; };', 'rewrite = { uri = "/"; };', 'timeout = "1s";',
                  'mirror = { host = "x"; };'):
        edge.route("tcp", ["*"], f"tcp = ( {{ route = ( {to('x')} ); {field} }} );")
        out = edge.mesh.ctl("config", "test", check=78)
        assert f"unknown field '{field.split()[0]}'" in out.stdout + out.stderr, out


# ---- the mesh's own certificates ---------------------------------------------------------------------

ISTIO = 'mode = "ISTIO_MUTUAL";'


def mesh_rule(host, sni, port=None):
    inner = f'tls = {{ mode = "ISTIO_MUTUAL"; sni = "{sni}"; }};'
    if port:
        inner = f"portLevelSettings = ( {{ port = {{ number = {port}; }}; {inner} }} );"
    return f'DestinationRule = {{ name = "{host}"; host = "{host}"; trafficPolicy = {{ {inner} }}; }};'


def gate_service(edge, ports):
    """The gateway as a service of the mesh: (service port, port that it listens on, protocol)."""
    listed = ", ".join(f'{{ name = "{proto.lower()}-{number}"; number = {number}; targetPort = {port}; protocol = "{proto}"; }}'
                       for number, port, proto in ports)
    edge.mesh.write("mesh.d/gate-service.conf",
                    f'Service = {{ name = "gate"; selector = {{ istio = "ingressgateway"; }}; ports = ( {listed} ); }};')


def test_2_14_2_istio_mutual_http(edge):
    """Mesh callers prove themselves to the gateway, which shows its own identity; policies see who called, the next service
    sees the gateway, and nobody without a certificate of the mesh gets in."""
    port = kvmesh.free_port()
    web = edge.own(kvmesh.Nginx(edge.dir, "web"))
    edge.mesh.workload("web", web.port)
    edge.mesh.service("web", 80, "http")
    edge.mesh.write("mesh.d/strict.conf", 'PeerAuthentication = { name = "default"; namespace = "kvmesh-system"; mtls = { mode = "STRICT"; }; };')
    gate_service(edge, [(80, port, "HTTP")])
    edge.mesh.write("mesh.d/rule.conf", mesh_rule("gate", "web.out"))
    edge.servers(server(port, "https", "HTTPS", ["web.out"], ISTIO))
    edge.route("web", ["web.out"], f"""http = (
      {{ match = ( {{ gateways = [ "mesh" ]; }} ); route = ( {to('gate', 80)} ); }},
      {{ match = ( {{ gateways = [ "gw" ]; }} ); route = ( {to('web', 80)} ); }} );""", '"mesh", "gw"')
    edge.start()
    r = edge.mesh.get("web.out", "/headers", headers={"x-request-id": "mine"})
    assert r.status == 200, r
    xfcc = re.search(r"xfcc=(.*)", r.text)[1]
    assert "URI=spiffe://cluster.local/ns/kvmesh-system/sa/test-1" in xfcc.split(",By=")[0]
    assert xfcc.endswith("URI=spiffe://cluster.local/ns/default/sa/ingressgateway")
    assert "rid=mine\n" in r.text and "xff=127.0.0.1\n" in r.text and "proto=https\n" in r.text
    # two requests at once on what is one HTTP/2 connection between proxies
    assert [edge.mesh.get("web.out").text for _ in range(5)] == ["web\n"] * 5

    for cert in (None, edge.clients.issue("partner")):
        with pytest.raises((ssl.SSLError, ConnectionError)), tls(port, "web.out", cert=cert, alpn=["http/1.1"]) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: web.out\r\n\r\n")
            assert not s.recv(100)
            raise ConnectionError("closed")

    def series():
        return [x for x in edge.mesh.metrics().splitlines() if x.startswith("istio_requests_total") and 'source_workload="ingressgateway"' in x]
    wait_for("the gateway is a source", lambda: any('reporter="source"' in x and 'destination_service_name="web"' in x for x in series()))
    edge.mesh.write("mesh.d/policy.conf", """
AuthorizationPolicy = { name = "edge"; selector = { matchLabels = { istio = "ingressgateway"; }; }; action = "ALLOW";
  rules = ( { from = ( { source = { principals = [ "cluster.local/ns/default/sa/somebody" ]; }; } ); } ); };
""")
    wait_for("the policy is in force", lambda: edge.mesh.get("web.out").status == 403)
    edge.mesh.write("mesh.d/policy.conf", """
AuthorizationPolicy = { name = "edge"; selector = { matchLabels = { istio = "ingressgateway"; }; }; action = "ALLOW";
  rules = ( { from = ( { source = { principals = [ "cluster.local/ns/kvmesh-system/sa/test-1" ]; }; } ); } ); };
""")
    wait_for("the caller is let in by name", lambda: edge.mesh.get("web.out").status == 200)
    edge.mesh.assert_sound()


def test_2_14_2_istio_mutual_lets_in_whom_it_names(edge):
    port = kvmesh.free_port()
    web = edge.own(kvmesh.Nginx(edge.dir, "web"))
    edge.mesh.workload("web", web.port)
    edge.mesh.service("web", 80, "http")
    gate_service(edge, [(80, port, "HTTP")])
    edge.mesh.write("mesh.d/rule.conf", mesh_rule("gate", "web.out"))

    def write(name):
        edge.servers(server(port, "https", "HTTPS", ["web.out"], f'{ISTIO} subjectAltNames = [ "spiffe://cluster.local/ns/kvmesh-system/sa/{name}" ];'))
    write("other")
    edge.route("web", ["web.out"], f"""http = (
      {{ match = ( {{ gateways = [ "mesh" ]; }} ); route = ( {to('gate', 80)} ); }},
      {{ match = ( {{ gateways = [ "gw" ]; }} ); route = ( {to('web', 80)} ); }} );""", '"mesh", "gw"')
    edge.start()
    assert edge.mesh.get("web.out").status == 503
    wait_for("it is counted", lambda: edge.refused("unexpected_peer") >= 1)
    write("test-1")
    wait_for("now it is the right one", lambda: edge.mesh.get("web.out").status == 200)


def test_2_14_2_istio_mutual_tcp(edge):
    port, entry = kvmesh.free_port(), kvmesh.free_port()
    edge.outside("parrot.svc", edge.own(outside.Parrot("parrot")).port, "TCP", 7)
    edge.mesh.write("mesh.d/gate-service.conf", f"""
Service = {{ name = "gate"; selector = {{ istio = "ingressgateway"; }};
  ports = ( {{ name = "tcp"; number = 7; targetPort = {port}; protocol = "TCP"; listen = "127.0.0.1:{entry}"; }} ); }};""")
    edge.mesh.write("mesh.d/rule.conf", mesh_rule("gate", "parrot.out"))
    edge.servers(server(port, "tls", "TLS", ["parrot.out"], ISTIO))
    edge.route("parrot", ["parrot.out"], f"tcp = ( {{ match = ( {{ port = {port}; }} ); route = ( {to('parrot.svc', 7)} ); }} );")
    edge.start()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", entry)) as s:
            assert outside.converse(s) == "parrot: hello"
    out = edge.mesh.ctl("config", "test")
    assert "[KVM0115]" not in out.stdout + out.stderr


# ---- AUTO_PASSTHROUGH -------------------------------------------------------------------------------

def test_2_14_3_auto_passthrough(edge):
    """The server name says service, port and subset; the caller's mTLS goes through to that service's own proxy. What is no
    service, or none of those that the server's hosts admit, is closed with NR."""
    port = kvmesh.free_port()
    m = edge.mesh
    for v in ("v1", "v2"):
        n = edge.own(kvmesh.Nginx(edge.dir, v))
        m.workload(f"web-{v}", n.port, {"app": "web", "version": v}, serviceAccount="web")
    m.service("web", 80, "http")
    m.service("other", 80, "http", selector={"app": "web"}, namespace="default")
    m.write("mesh.d/subsets.conf", 'DestinationRule = { name = "web"; host = "web"; subsets = ( { name = "v1"; labels = { version = "v1"; }; }, '
                                   '{ name = "v2"; labels = { version = "v2"; }; } ); };')
    m.write("mesh.d/strict.conf", 'PeerAuthentication = { name = "default"; namespace = "kvmesh-system"; mtls = { mode = "STRICT"; }; };')
    edge.servers(server(port, "auto", "TLS", ["web.default.svc.cluster.local"], 'mode = "AUTO_PASSTHROUGH";'))
    edge.start()
    crt, key, bundle = mesh_client(edge)

    def get(sni):
        context = ssl.create_default_context(cafile=bundle)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_cert_chain(crt, key)
        context.set_alpn_protocols(["http/1.1"])
        with socket.create_connection(("127.0.0.1", port), timeout=kvmesh.DEADLINE) as raw, context.wrap_socket(raw, server_hostname=sni) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
            return s.makefile("rb").read().split(b"\r\n\r\n")[1].strip()
    full = "web.default.svc.cluster.local"
    assert {get(f"outbound_.80_.v1_.{full}") for _ in range(5)} == {b"v1"}
    assert {get(f"outbound_.80_.v2_.{full}") for _ in range(5)} == {b"v2"}
    assert {get(f"outbound_.80_._.{full}") for _ in range(60)} == {b"v1", b"v2"}
    for wrong in (f"outbound_.81_._.{full}", f"outbound_.80_.v3_.{full}", f"x.{full}"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(wrong)
    wait_for("they are recorded", lambda: edge.flagged("NR") == 3)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        get("outbound_.80_._.other.default.svc.cluster.local")
    wait_for("no server's", lambda: edge.refused("unknown_name") == 1)
    edge.mesh.assert_sound()


def mesh_client(edge):
    """A certificate of this mesh for the node, and the bundle."""
    d = edge.dir
    key, csr, crt, bundle = d / "mc.key", d / "mc.csr", d / "mc.crt", d / "mc.bundle"
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", csr,
                    "-subj", "/"], check=True, capture_output=True)
    reply = edge.mesh.call("ca/ca.sock", "Sign", {"csr": csr.read_text(), "spiffe": "spiffe://cluster.local/ns/kvmesh-system/sa/test-1",
                                                  "proxy": "node"})
    assert "parameters" in reply and "error" not in reply, reply
    p = reply["parameters"]
    crt.write_text(p["certificate"])
    bundle.write_text(edge.mesh.ctl("ca", "bundle", check=0).stdout)
    return crt, key, bundle
