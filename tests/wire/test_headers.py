# SPDX-License-Identifier: Apache-2.0
"""What the mesh and its gateway write into requests and answers (Istio's semantics 2.13), and the flags by which an access log
tells how a request ended (2.17). The program behind is written by hand: what came is looked at byte by byte."""

import contextlib
import re
import socket
import struct
import subprocess

import pytest

import kvmesh
from kvmesh import wait_for
from program import Program

ROUTES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: app, namespace: default }
spec:
  hosts: [ app ]
  http:
  - match: [ { uri: { prefix: /late } } ]
    timeout: 0.3s
    route: [ { destination: { host: app } } ]
  - match: [ { uri: { prefix: /old } } ]
    rewrite: { uri: /new, authority: other.example }
    timeout: 20s
    route: [ { destination: { host: app } } ]
  - match: [ { uri: { prefix: /abort } } ]
    fault: { abort: { httpStatus: 418, percentage: { value: 100 } }, delay: { fixedDelay: 0.01s, percentage: { value: 100 } } }
    route: [ { destination: { host: app } } ]
  - match: [ { uri: { prefix: /gone } } ]
    retries: { attempts: 0 }
    route: [ { destination: { host: gone } } ]
  - match: [ { uri: { prefix: /empty } } ]
    route: [ { destination: { host: app, subset: none } } ]
  - match: [ { uri: { prefix: /busy } } ]
    retries: { attempts: 1, retryOn: 5xx }
    route: [ { destination: { host: app } } ]
  - match: [ { uri: { prefix: / } } ]
    retries: { attempts: 0 }
    route: [ { destination: { host: app } } ]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: app, namespace: default }
spec: { host: app, subsets: [ { name: none, labels: { version: none } } ] }
"""


class Stack:
    def __init__(self, directory):
        self.program = Program()
        self.mesh = m = kvmesh.Mesh(directory / "mesh", conf='accessLogFile = "/dev/stdout";')
        self.door = kvmesh.free_port()
        m.workload("app", self.program.port)
        m.service("app", 80, "http")
        m.workload("gone", kvmesh.free_port())
        m.service("gone", 80, "http")
        m.write("workloads.d/gateway.conf", 'Workload = { name = "edge"; gateway = true; labels = { istio = "edge"; }; };')
        m.write("mesh.d/10-routes.yaml", ROUTES)
        m.write("mesh.d/20-gateway.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{ name: edge }}
spec: {{ selector: {{ istio: edge }}, servers: [ {{ port: {{ number: {self.door}, name: http, protocol: HTTP }}, hosts: [ "*" ] }} ] }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: edge }}
spec: {{ hosts: [ "*" ], gateways: [ edge ], http: [ {{ route: [ {{ destination: {{ host: app }} }} ] }} ] }}
""")
        m.start()
        wait_for("the gateway", lambda: kvmesh.port_open(self.door))

    def raw(self, data, port=None):
        """All that is answered to these bytes."""
        with socket.create_connection(("127.0.0.1", port or self.mesh.http_port), timeout=kvmesh.DEADLINE) as s:
            s.sendall(data)
            got = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := s.recv(65536):
                    got += piece
            return got.decode("latin-1")

    def through_gateway(self, path, *fields):
        """The program's fields for a request from outside."""
        argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{self.door}{path}"]
        for f in fields:
            argv += ["-H", f]
        assert subprocess.run(argv, capture_output=True, text=True).stdout == "200"
        return self.program.fields(path)

    def through_mesh(self, path, **fields):
        r = self.mesh.get("app", path, headers={k.replace("_", "-"): v for k, v in fields.items()})
        assert r.status == 200, r
        return self.program.fields(path)

    def ended(self, path, side="outbound|"):
        """(status, flags) of the access log's line for path."""
        line = wait_for(f"log line of {path}", lambda: next(
            (x for x in self.mesh.text().splitlines() if f" {path} " in x and side in x), None))
        return tuple(line.split('" ', 1)[1].split()[:2])


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    directory = tmp_path_factory.mktemp("headers")
    directory.chmod(0o755)
    s = Stack(directory)
    yield s
    s.mesh.assert_sound()
    s.mesh.stop()
    s.program.stop()


# ---- 2.13 --------------------------------------------------------------------------------------------------------

def test_2_13_1_forwarded_for_grows_at_the_edge_and_is_left_alone_in_the_mesh(stack):
    assert stack.through_gateway("/13-1a")["x-forwarded-for"] == "127.0.0.1"
    assert stack.through_gateway("/13-1b", "X-Forwarded-For: 203.0.113.9")["x-forwarded-for"] == "203.0.113.9,127.0.0.1"
    assert "x-forwarded-for" not in stack.through_mesh("/13-1c")
    assert stack.through_mesh("/13-1d", X_Forwarded_For="203.0.113.9, 10.0.0.1")["x-forwarded-for"] == "203.0.113.9, 10.0.0.1"


def test_2_13_2_forwarded_proto_is_what_the_client_spoke(stack):
    assert stack.through_gateway("/13-2a", "X-Forwarded-Proto: https")["x-forwarded-proto"] == "http"
    assert stack.through_mesh("/13-2b")["x-forwarded-proto"] == "http"


def test_2_13_3_request_ids(stack):
    uuid = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert re.fullmatch(uuid, stack.through_mesh("/13-3a")["x-request-id"])
    assert stack.through_mesh("/13-3b", X_Request_Id="mine")["x-request-id"] == "mine"
    assert re.fullmatch(uuid, stack.through_gateway("/13-3c", "X-Request-Id: mine")["x-request-id"])
    assert "x-request-id" not in stack.mesh.get("app", "/13-3d").headers


def test_2_13_4_trace_headers_are_passed_on(stack):
    sent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "tracestate": "a=1",
            "b3": "0", "x-b3-traceid": "463ac35c9f6413ad48485a3953bb6124", "x-b3-spanid": "a2fb4a1d1a96d312",
            "x-b3-parentspanid": "0020000000000001", "x-b3-sampled": "0", "x-b3-flags": "0"}
    got = stack.through_mesh("/13-4", **sent)
    assert {k: got.get(k) for k in sent} == sent


def test_2_13_5_client_certificates_are_told_and_cannot_be_claimed(stack):
    lie = "By=x;URI=spiffe://cluster.local/ns/a/sa/admin"
    inside = stack.through_mesh("/13-5a", X_Forwarded_Client_Cert=lie)["x-forwarded-client-cert"]
    outside = stack.through_gateway("/13-5b", f"X-Forwarded-Client-Cert: {lie}")["x-forwarded-client-cert"]
    for value, caller in ((inside, "kvmesh-system/sa/test-1"), (outside, "default/sa/edge")):
        assert "admin" not in value
        assert re.fullmatch(r'By=spiffe://cluster.local/ns/default/sa/app;Hash=[0-9a-f]{64};Subject="[^"]*";'
                            + re.escape(f"URI=spiffe://cluster.local/ns/{caller}"), value), value


def test_2_13_6_headers_of_answers(stack):
    h = stack.mesh.get("app", "/13-6").headers
    assert h["server"] in ("istio-envoy", "envoy") and int(h["x-envoy-upstream-service-time"]) >= 0
    assert "x-envoy-decorator-operation" not in h and h["x-app"] == "Yes"
    argv = ["curl", "-si", f"http://127.0.0.1:{stack.door}/13-6b"]
    assert "\nserver: istio-envoy\n" in subprocess.run(argv, capture_output=True, text=True).stdout.replace("\r", "")


def test_2_13_7_headers_about_timeouts_and_rewrites(stack):
    r = stack.mesh.get("app", "/old?q=1")
    assert r.status == 200
    got = stack.program.fields("/new?q=1")
    assert got["host"] == "other.example"
    assert got["x-envoy-original-path"] == "/old?q=1"
    assert int(got["x-envoy-expected-rq-timeout-ms"]) in range(1, 20001)
    assert "x-envoy-expected-rq-timeout-ms" not in stack.through_mesh("/13-7")
    assert not [k for k in got if k.startswith(("x-envoy-peer-metadata", "x-kvmesh-caller"))]


def test_2_13_8_http_1_0_is_answered_and_closed(stack):
    got = stack.raw(b"GET /13-8 HTTP/1.0\r\nHost: app\r\n\r\n")
    assert got.startswith("HTTP/1.") and " 200 " in got.split("\r\n")[0] and got.endswith("ok")


def test_2_13_9_names_of_headers_are_lower_case(stack):
    answer = stack.raw(b"GET /13-9 HTTP/1.1\r\nHOST: app\r\nX-MiXed: VaLue\r\nConnection: close\r\n\r\n")
    names = [line.split(":")[0] for line in stack.program.head("/13-9")[1:] if line]
    assert names == [n.lower() for n in names] and stack.program.fields("/13-9")["x-mixed"] == "VaLue"
    names = [line.split(":")[0] for line in answer.split("\r\n\r\n")[0].split("\r\n")[1:]]
    assert names == [n.lower() for n in names] and "x-app" in names


# ---- 2.17 --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("path,status,flags,side", [
    ("/fine", "200", "-", "outbound"),
    ("/fine", "200", "-", "inbound"),
    ("/close", "503", "-", "outbound"),         # the service's side has answered
    ("/close", "503", "UC", "inbound"),
    ("/junk", "502", "UPE", "inbound"),
    ("/gone", "503", "UF", "inbound"),
    ("/late", "504", "UT", "outbound"),
    ("/empty", "503", "UH", "outbound"),
    ("/busy", "503", "URX", "outbound"),
    ("/abort", "418", "DI,FI", "outbound"),
])
def test_2_17_how_a_request_ended(stack, path, status, flags, side):
    path = f"{path}/{side}"
    assert str(stack.mesh.get("app", path).status) == status
    assert stack.ended(path, f"{side}|") == (status, flags)


def test_2_17_what_is_no_request(stack):
    assert stack.raw(b"GET /bad HTTP/1.1\r\nHost: app\r\nA b: c\r\n\r\n").startswith("HTTP/1.1 400 ")
    wait_for("the line", lambda: any(" 400 DPE " in line for line in stack.mesh.text().splitlines()))


def test_2_17_a_client_that_leaves(stack):
    with socket.create_connection(("127.0.0.1", stack.mesh.http_port), timeout=kvmesh.DEADLINE) as s:
        s.sendall(b"GET /wait HTTP/1.1\r\nHost: app\r\n\r\n")
        wait_for("the request at the program", lambda: any(" /wait " in h for h in stack.program.heads))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))     # one that only stops sending may still read
    assert stack.ended("/wait") == ("0", "DC")
