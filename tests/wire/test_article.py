# SPDX-License-Identifier: Apache-2.0
"""The article's example end to end: canary, encryption with proof, access log, metrics."""

import http.client
import math
import re
import socket
import struct
import subprocess
import threading

import pytest

import kvmesh
from kvmesh import wait_for


def ask(port, host, n, path="/"):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=kvmesh.DEADLINE)
    out = []
    for _ in range(n):
        c.request("GET", path, headers={"Host": host})
        r = c.getresponse()
        out.append((r.status, r.read().decode().strip(), dict(r.getheaders())))
    c.close()
    return out


def test_canary_split_is_within_4_sigma(shared_article):
    n = 4000
    answers = ask(shared_article.mesh.http_port, "my-app", n)
    assert {s for s, _, _ in answers} == {200}
    v2 = sum(body == "v2" for _, body, _ in answers)
    assert abs(v2 - n * 0.05) <= 4 * math.sqrt(n * 0.05 * 0.95)


@pytest.mark.parametrize("host", ["my-app", "my-app:80", "my-app.default", "my-app.default.svc",
                                  "my-app.default.svc.cluster.local", "MY-APP.Default.svc.cluster.local:80"])
def test_every_istio_alias_of_the_host_works(shared_article, host):
    assert ask(shared_article.mesh.http_port, host, 1)[0][0] == 200


def test_absolute_form_as_curl_sends_it(shared_article):
    r = subprocess.run(["curl", "-s", "-x", f"http://127.0.0.1:{shared_article.mesh.http_port}", "http://my-app/"],
                       capture_output=True, text=True, timeout=kvmesh.DEADLINE)
    assert r.returncode == 0 and r.stdout.strip() in ("v1", "v2")


def test_the_application_sees_identity_and_request_id(shared_article):
    _, body, headers = ask(shared_article.mesh.http_port, "my-app", 1, "/headers")[0]
    seen = dict(line.split("=", 1) for line in body.splitlines())
    assert re.search(r"By=spiffe://cluster\.local/ns/default/sa/my-app;Hash=[0-9a-f]{64};Subject=\"\";"
                     r"URI=spiffe://cluster\.local/ns/kvmesh-system/sa/test-1", seen["xfcc"])
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", seen["rid"])
    assert seen["host"] == "my-app"
    assert seen["peer"] == ""
    assert seen["proto"] == "http"
    lower = {k.lower() for k in headers}
    assert "x-envoy-upstream-service-time" in lower and "x-kvmesh-peer" not in lower


def test_a_client_cannot_choose_its_identity(shared_article):
    r = shared_article.mesh.get("my-app", "/headers", headers={
        "x-forwarded-client-cert": "By=spiffe://cluster.local/ns/default/sa/my-app;URI=spiffe://evil",
        "x-kvmesh-peer": "my-app-v1.default"})
    assert "evil" not in r.text and "my-app-v1" not in r.text


def test_redis_through_the_tcp_service(shared_article):
    r = subprocess.run(["redis-benchmark", "-p", str(shared_article.redis_entry), "-n", "2000", "-c", "10", "-q",
                        "-t", "set,get"], capture_output=True, text=True, timeout=kvmesh.DEADLINE)
    assert r.returncode == 0 and "SET" in r.stdout and "GET" in r.stdout
    with socket.create_connection(("127.0.0.1", shared_article.redis_entry), timeout=kvmesh.DEADLINE) as s:
        s.sendall(b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$900000\r\n" + b"x" * 900_000 + b"\r\nSTRLEN big\r\n")
        f = s.makefile("rb")
        assert f.readline() == b"+OK\r\n" and f.readline() == b":900000\r\n"


def test_tls_check_configured_and_observed(shared_article):
    mesh = shared_article.mesh
    ask(mesh.http_port, "my-app", 5)
    rows = wait_for("my-app seen on the wire", lambda: [
        r for r in mesh.ctl_json("authn", "tls-check") if r["host"].startswith("my-app.") and r["observed"]["tls"]])
    for row in rows:
        assert (row["status"], row["server"]) == ("OK", "STRICT")
        assert row["authn_policy"].startswith("default-strict-mtls")
        assert row["observed"]["mutual"] is True
        assert row["observed"]["tls"] == "TLSv1.3"
        assert row["observed"]["cipher"] == "TLS_AES_128_GCM_SHA256"


def test_access_log_line_has_istios_form(shared_article):
    mesh = shared_article.mesh
    ask(mesh.http_port, "my-app", 1, "/log-line")
    line = wait_for("the line", lambda: next(
        (x for x in mesh.text().splitlines() if '"GET /log-line HTTP/1.1" 200' in x and "outbound|80|v" in x), None))
    assert re.search(
        r'\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] "GET /log-line HTTP/1\.1" 200 - via_upstream - "-" 0 3 \d+ \d+ '
        r'"-" "-" "[0-9a-f-]{36}" "my-app" "127\.0\.0\.1:\d+" outbound\|80\|v[12]\|my-app\.default\.svc\.cluster\.local '
        r'127\.0\.0\.1:\d+ 127\.0\.0\.1:\d+ 127\.0\.0\.1:\d+ - ', line), line


class Sniffer(threading.Thread):
    """TCP payload to and from a set of loopback ports, by a packet socket."""

    def __init__(self, ports):
        super().__init__(daemon=True)
        self.ports = set(ports)
        self.bytes = {p: bytearray() for p in ports}
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(0x0800))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.sock.bind(("lo", 0))
        self.sock.settimeout(0.2)
        self.running = True

    def run(self):
        while self.running:
            try:
                frame = self.sock.recv(1 << 17)
            except TimeoutError:
                continue
            ip = frame[14:]
            if len(ip) < 40 or ip[9] != 6:
                continue
            tcp = ip[(ip[0] & 15) * 4:]
            sport, dport = struct.unpack("!HH", tcp[:4])
            for p in {sport, dport} & self.ports:
                self.bytes[p] += tcp[(tcp[12] >> 4) * 4:]

    def stop(self):
        self.running = False
        self.join()
        self.sock.close()


def test_no_plain_byte_between_the_two_sides(article):
    mesh = article.mesh
    try:
        sniffer = Sniffer([mesh.mesh_port, article.v1.port, article.v2.port])
    except PermissionError:
        pytest.skip("a packet socket needs root")
    sniffer.start()
    secret = "PlainTextMarkerThatMustNotBeSeen"
    try:
        for _ in range(40):
            assert mesh.get("my-app", f"/{secret}", headers={"x-secret": secret}).status == 200
        wait_for("the marker on the application's own port",
                 lambda: secret.encode() in sniffer.bytes[article.v1.port])
        wait_for("TLS records on the mesh port", lambda: b"\x17\x03\x03" in sniffer.bytes[mesh.mesh_port])
    finally:
        sniffer.stop()
    assert secret.encode() not in sniffer.bytes[mesh.mesh_port]
    assert b"HTTP/1.1" not in sniffer.bytes[mesh.mesh_port]
