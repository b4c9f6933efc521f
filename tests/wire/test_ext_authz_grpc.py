# SPDX-License-Identifier: Apache-2.0
"""External authorizers over gRPC: envoy.service.auth.v3.Authorization as python3-grpcio and python3-protobuf have it, for
requests and for TCP connections, and one on python3-h2 that answers what a library would not (semantics 2.11.14, 2.11.15)."""

import concurrent.futures
import json
import socket
import threading
import time

import pytest

import kvmesh
from kvmesh import wait_for
from server import Server
from test_ext_authz import App, POLICY
from test_http2 import App as H2App, AppConnection

grpc = pytest.importorskip("grpc", reason="python3-grpcio is not installed")
pytest.importorskip("google.protobuf", reason="python3-protobuf is not installed")
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory   # noqa: E402

# ---- the protocol, as the service's own library reads it -----------------------------------------------------------

# message: { field: (number, type) }; "map" is of strings, "*x" is repeated
MESSAGES = {
    "SocketAddress": {"address": (2, "string"), "port_value": (3, "uint32")},
    "Address": {"socket_address": (1, "SocketAddress")},
    "Peer": {"address": (1, "Address"), "service": (2, "string"), "principal": (4, "string"), "certificate": (5, "string")},
    "Timestamp": {"seconds": (1, "int64"), "nanos": (2, "int32")},
    "HttpRequest": {"id": (1, "string"), "method": (2, "string"), "headers": (3, "map"), "path": (4, "string"), "host": (5, "string"),
                    "scheme": (6, "string"), "query": (7, "string"), "fragment": (8, "string"), "size": (9, "int64"),
                    "protocol": (10, "string"), "body": (11, "string"), "raw_body": (12, "bytes")},
    "Request": {"time": (1, "Timestamp"), "http": (2, "HttpRequest")},
    "TLSSession": {"sni": (1, "string")},
    "AttributeContext": {"source": (1, "Peer"), "destination": (2, "Peer"), "request": (4, "Request"), "context_extensions": (10, "map"),
                         "tls_session": (12, "TLSSession")},
    "CheckRequest": {"attributes": (1, "AttributeContext")},
    "Status": {"code": (1, "int32"), "message": (2, "string")},
    "HttpStatus": {"code": (1, "int32")},
    "BoolValue": {"value": (1, "bool")},
    "HeaderValue": {"key": (1, "string"), "value": (2, "string"), "raw_value": (3, "bytes")},
    "HeaderValueOption": {"header": (1, "HeaderValue"), "append": (2, "BoolValue"), "append_action": (3, "int32"), "keep_empty_value": (4, "bool")},
    "QueryParameter": {"key": (1, "string"), "value": (2, "string")},
    "DeniedHttpResponse": {"status": (1, "HttpStatus"), "headers": (2, "*HeaderValueOption"), "body": (3, "string")},
    "OkHttpResponse": {"headers": (2, "*HeaderValueOption"), "headers_to_remove": (5, "*string"),
                       "response_headers_to_add": (6, "*HeaderValueOption"), "query_parameters_to_set": (7, "*QueryParameter"),
                       "query_parameters_to_remove": (8, "*string")},
    "CheckResponse": {"status": (1, "Status"), "denied_response": (2, "DeniedHttpResponse"), "ok_response": (3, "OkHttpResponse"),
                      "error_response": (5, "DeniedHttpResponse")},
}


def classes():
    f = descriptor_pb2.FileDescriptorProto(name="ext_authz.proto", package="t", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in MESSAGES.items():
        m = f.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            d = m.field.add(name=field, number=number, label=kinds.LABEL_REPEATED if kind[0] == "*" or kind == "map" else kinds.LABEL_OPTIONAL)
            kind = kind.lstrip("*")
            if kind == "map":
                entry = m.nested_type.add(name=field.title().replace("_", "") + "Entry")
                entry.options.map_entry = True
                for i, part in enumerate(("key", "value"), 1):
                    entry.field.add(name=part, number=i, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_STRING)
                d.type, d.type_name = kinds.TYPE_MESSAGE, f".t.{name}.{entry.name}"
            elif kind in MESSAGES:
                d.type, d.type_name = kinds.TYPE_MESSAGE, ".t." + kind
            else:
                d.type = getattr(kinds, "TYPE_" + kind.upper())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(f)
    factory = message_factory.MessageFactory(pool)
    return {n: factory.GetPrototype(pool.FindMessageTypeByName("t." + n)) for n in MESSAGES}


T = classes()
CheckRequest, CheckResponse = T["CheckRequest"], T["CheckResponse"]


def option(key, value, **more):
    append = more.pop("append", None)
    o = T["HeaderValueOption"](header=T["HeaderValue"](key=key, value=value), **more)
    if append is not None:
        o.append.value = append
        o.append.SetInParent()
    return o


def ok(headers=(), **more):
    return CheckResponse(status=T["Status"](code=0), ok_response=T["OkHttpResponse"](headers=headers, **more))


def denied(code=0, headers=(), body=""):
    return CheckResponse(status=T["Status"](code=7), denied_response=T["DeniedHttpResponse"](status=T["HttpStatus"](code=code), headers=headers, body=body))


# ---- authorizers ---------------------------------------------------------------------------------------------------


class Authorizer:
    """Answers by the path that is asked about, "" for a connection: self.answers[path], a message or a function; else it allows."""

    def __init__(self):
        self.answers, self.asked, self.metadata = {}, [], []
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        handler = grpc.unary_unary_rpc_method_handler(self.check, request_deserializer=CheckRequest.FromString,
                                                      response_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString())
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {"Check": handler}),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def check(self, request, context):
        self.asked.append(request.attributes)
        self.metadata.append((dict(context.invocation_metadata()), context.time_remaining()))
        answer = self.answers.get(request.attributes.request.http.path.split("?")[0], ok())
        return answer(context) if callable(answer) else answer

    def stop(self):
        self.server.stop(0).wait()


def message(m):
    data = m.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


class HostileConnection(AppConnection):
    """What app.answer does with a question: a function (connection, stream id), or (fields, body, trailers)."""

    def request(self, sid):
        answer = self.app.answer
        if callable(answer):
            answer(self, sid)
            return
        fields, body, trailers = answer
        if not body and trailers is None:
            self.c.send_headers(sid, fields, end_stream=True)
            return
        self.c.send_headers(sid, fields)
        self.queues[sid] = [body, trailers]


class Hostile(H2App):
    def __init__(self):
        self.answer = None
        super().__init__(HostileConnection)


class Echo(Server):
    def serve(self, connection):
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)


PROVIDER = """\
mesh = {{ extensionProviders = ( {{ name = "ext"; envoyExtAuthzGrpc = {{ service = "{service}.default.svc.cluster.local"; port = 9000; {more} }}; }} ); }};
"""
CUSTOM = "action: CUSTOM, provider: { name: ext }, rules: [ { to: [ { operation: { notPaths: [ /free* ] } } ] } ]"
FINE = [(":status", "200"), ("content-type", "application/grpc")]
DONE = [("grpc-status", "0")]


class World:
    def __init__(self, directory):
        self.log = directory / "access.log"
        self.authorizer, self.hostile, self.app, self.echo = Authorizer(), Hostile(), App(), Echo()
        self.tcp_port = kvmesh.free_port()
        self.mesh = kvmesh.Mesh(directory / "mesh", f'accessLogFile = "{self.log}"; accessLogEncoding = "JSON"; '
                                                    "defaultConfig = { concurrency = 1; };")
        self.mesh.workload("my-app", self.app.port, serviceAccount="my-app")
        self.mesh.service("my-app", 80, "http")
        self.mesh.workload("echo", self.echo.port, protocol="TCP", serviceAccount="echo")
        self.mesh.service("echo", 7000, "tcp", protocol="TCP", listen=f"127.0.0.1:{self.tcp_port}")
        for name, port in (("ext", self.authorizer.port), ("bad", self.hostile.port)):
            self.mesh.workload(name, port, protocol="GRPC")
            self.mesh.service(name, 9000, "grpc", protocol="GRPC")
        self.write("", "ext", CUSTOM)
        self.mesh.start()

    def write(self, more, service, spec):
        self.mesh.write("conf.d/ext.conf", PROVIDER.format(more=more, service=service))
        self.mesh.write("mesh.d/50-authz.yaml", POLICY.format(name="p", spec=spec) + "---\n" +
                        POLICY.replace("my-app", "echo").format(name="tcp", spec="action: CUSTOM, provider: { name: ext }, rules: [ {} ]"))

    def set(self, more="", service="ext", spec=CUSTOM):
        self.write(more, service, spec)
        self.mesh.ctl("config", "reload", "--wait", check=0)
        self.authorizer.answers.clear()
        self.authorizer.asked.clear()
        self.authorizer.metadata.clear()

    def get(self, path="/", **kw):
        return self.mesh.get("my-app", path, **kw)

    def tcp(self, data=b"hello"):
        with socket.create_connection(("127.0.0.1", self.tcp_port), timeout=kvmesh.DEADLINE) as s:
            try:
                s.sendall(data)
                return s.recv(100)
            except ConnectionError:
                return b""

    def records(self, **fields):
        if not self.log.exists():
            return []
        return [r for r in map(json.loads, self.log.read_text().splitlines()) if all(r.get(k) == v for k, v in fields.items())]

    def stop(self):
        self.mesh.stop()
        self.authorizer.stop()
        for s in (self.hostile, self.app, self.echo):
            s.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    directory = tmp_path_factory.mktemp("extgrpc")
    directory.chmod(0o755)
    w = World(directory)
    yield w
    w.stop()


def sent(response):
    return json.loads(response.body)


def values(response, name):
    return [v for k, v in sent(response)["fields"] if k == name]


# ---- what is asked -------------------------------------------------------------------------------------------------


def test_2_11_15_what_an_authorizer_over_gRPC_is_told(world):
    world.set('timeout = "2s";')
    before = time.time()
    assert world.get("/a?b=c", headers={"Cookie": "k=v", "X-Two": "1", "X-Kvmesh-Own": "no"}).status == 200
    a, = world.authorizer.asked
    http = a.request.http
    assert (http.method, http.path, http.host, http.scheme, http.protocol) == ("GET", "/a?b=c", "my-app", "http", "HTTP/2")
    assert http.query == "" and http.size == 0 and http.id == http.headers["x-request-id"] != ""
    assert http.headers["cookie"] == "k=v" and http.headers["x-two"] == "1" and http.headers[":path"] == "/a?b=c" and http.headers[":method"] == "GET"
    assert not [k for k in http.headers if k.startswith("x-kvmesh") or k == "x-forwarded-client-cert"]
    assert a.source.principal.startswith("spiffe://cluster.local/ns/") and a.destination.principal == "spiffe://cluster.local/ns/default/sa/my-app"
    assert a.source.address.socket_address.address == "127.0.0.1" and a.source.address.socket_address.port_value > 0
    assert a.destination.address.socket_address.port_value == world.app.port
    assert before - 5 < a.request.time.seconds < time.time() + 5
    assert "my-app" in a.tls_session.sni
    metadata, left = world.authorizer.metadata[0]
    assert 0 < left <= 2 and "spiffe://cluster.local/ns/default/sa/my-app" in metadata["x-forwarded-client-cert"]
    assert world.get("/free").status == 200 and len(world.authorizer.asked) == 1


def test_text_that_is_no_UTF_8_is_told_as_Envoy_does(world):
    world.set()
    with socket.create_connection(("127.0.0.1", world.mesh.http_port), timeout=kvmesh.DEADLINE) as s:
        s.sendall(b"GET /u HTTP/1.1\r\nHost: my-app\r\nX-Bad: a\xff\xc3\xa9z\r\nConnection: close\r\n\r\n")
        assert s.makefile("rb").readline().startswith(b"HTTP/1.1 200")
    assert world.authorizer.asked[-1].request.http.headers["x-bad"] == "a!\u00e9z"


def test_the_body_is_shown_when_asked_for(world):
    world.set("includeRequestBodyInCheck = { maxRequestBytes = 1000; };")
    r = world.get("/b", method="POST", body=b"x" * 1000)
    http = world.authorizer.asked[-1].request.http
    assert r.status == 200 and sent(r)["body"] == 1000
    assert http.body == "x" * 1000 and http.raw_body == b"" and http.size == 1000 and http.headers["x-envoy-auth-partial-body"] == "false"
    assert world.get("/b", method="POST", body=b"x" * 1001).status == 413
    world.set("includeRequestBodyInCheck = { maxRequestBytes = 1000; allowPartialMessage = true; packAsBytes = true; };")
    r = world.get("/b", method="POST", body=b"\xff" * 300000)
    http = world.authorizer.asked[-1].request.http
    assert r.status == 200 and sent(r)["body"] == 300000
    assert http.raw_body == b"\xff" * 1000 and http.body == "" and http.headers["x-envoy-auth-partial-body"] == "true"
    world.set("includeRequestBodyInCheck = { maxRequestBytes = 131072; };")
    assert world.get("/b", method="POST", body=b"y" * 131072).status == 200
    assert len(world.authorizer.asked[-1].request.http.body) == 131072


# ---- what the answer does ------------------------------------------------------------------------------------------


def test_2_11_15_what_an_allowing_answer_changes(world):
    world.set()
    world.authorizer.answers["/c"] = ok(
        [option("X-User", "jo"), option("x-one", "2", append=True), option("x-none", "2", append=True), option("x-two", "2", append=False),
         option("x-mine", "2", append_action=1), option("x-new", "2", append_action=1), option("x-forwarded-client-cert", "By=evil"),
         option("content-length", "9"), option(":path", "/other")],
        headers_to_remove=["Authorization", "host", ":path"],
        response_headers_to_add=[option("x-app", "again"), option("x-session", "s1"), option("content-type", "text/x", append=False)],
        query_parameters_to_set=[T["QueryParameter"](key="u", value="jo"), T["QueryParameter"](key="n", value="1")], query_parameters_to_remove=["secret"])
    r = world.get("/c?secret=1&u=x&keep=%2f&u=y", headers={"X-User": "forged", "X-One": "1", "X-Two": "1", "X-Mine": "1", "Authorization": "Bearer t"})
    assert r.status == 200
    assert values(r, "x-user") == ["jo"] and values(r, "x-one") == ["1", "2"] and values(r, "x-none") == [] and values(r, "x-two") == ["2"]
    assert values(r, "x-mine") == ["1"] and values(r, "x-new") == ["2"] and values(r, "authorization") == [] and values(r, "host") == ["my-app"]
    assert not [v for v in values(r, "x-forwarded-client-cert") if "evil" in v]
    assert sent(r)["path"] == "/c?keep=%2f&u=jo&n=1"
    assert r.headers["x-session"] == "s1" and r.headers["content-type"] == "text/x" and r.headers["x-app"] == "again"


def test_2_11_17_rules_see_what_the_authorizer_added(world):
    world.set()
    world.mesh.write("mesh.d/51-allow.yaml", POLICY.format(name="allow", spec="rules: [ { when: [ { key: 'request.headers[x-user]', values: [ jo ] } ] } ]"))
    try:
        world.mesh.ctl("config", "reload", "--wait", check=0)
        world.authorizer.answers["/jo"] = ok([option("x-user", "jo")])
        assert world.get("/jo").status == 200 and world.get("/nobody").status == 403
    finally:
        (world.mesh.etc / "mesh.d/51-allow.yaml").unlink()
        world.set()


def test_2_11_3_a_refusal_over_gRPC(world):
    world.set()
    world.authorizer.answers["/no"] = denied(401, [option("www-authenticate", "Basic"), option("content-type", "text/html"), option("connection", "close")],
                                             "<b>no</b>")
    r = world.get("/no")
    assert (r.status, r.text, r.headers["www-authenticate"], r.headers["content-type"]) == (401, "<b>no</b>", "Basic", "text/html")
    record = wait_for("the record", lambda: world.records(path="/no", response_code_details="ext_authz_denied"))[0]
    assert record["response_flags"] == "UAEX" and record["response_code"] == 401
    world.authorizer.answers["/plain"] = CheckResponse(status=T["Status"](code=16))
    r = world.get("/plain")
    assert (r.status, r.text) == (403, "")
    world.authorizer.answers["/zero"] = denied(0)
    assert world.get("/zero").status == 403
    world.authorizer.answers["/login"] = denied(302, [option("location", "https://login.example/")])
    assert world.get("/login").headers["location"] == "https://login.example/"


# ---- who does not answer -------------------------------------------------------------------------------------------


def abort(context):
    context.abort(grpc.StatusCode.UNAVAILABLE, "away")


@pytest.mark.parametrize("broken", ["status", "hangs", "cannot decide", "no message"])
@pytest.mark.parametrize("how, status", [("", 403), ('statusOnError = "503";', 503), ("failOpen = true;", 200)])
def test_2_11_15_who_does_not_answer_over_gRPC(world, broken, how, status):
    world.set(f'timeout = "0.5s"; {how}')
    gate = threading.Event()
    undecided = CheckResponse(status=T["Status"](code=13))
    undecided.error_response.status.code = 200
    world.authorizer.answers["/x"] = {"status": abort, "hangs": lambda c: (gate.wait(5), ok())[1], "cannot decide": undecided,
                                      "no message": b"\x0a\xff\xff"}[broken]
    try:
        assert world.get("/x").status == status
    finally:
        gate.set()
    if status != 200:
        assert wait_for("the record", lambda: world.records(path="/x", response_code_details="ext_authz_error", response_flags="UAEX"))


def reset(code):
    return lambda c, sid: c.c.reset_stream(sid, code)


def goaway(c, sid):
    c.c.close_connection()


def hang_up(c, sid):
    c.sock.shutdown(socket.SHUT_RDWR)


def garbage(c, sid):
    c.sock.sendall(b"\xff" * 1000)


def with_extra(c, sid):
    c.c.send_headers(sid, FINE)
    c.queues[sid] = [message(ok()) + b"\0\0\0\0\0", DONE]


HOSTILE = {
    "truncated": (FINE, message(ok([option("x-user", "jo")]))[:-2], DONE),
    "shorter than said": (FINE, b"\0\0\0\0\x20" + b"\x0a\x02\x08\x07", DONE),
    "a length of all": (FINE, b"\0\xff\xff\xff\xff", DONE),
    "two messages": with_extra,
    "compressed": (FINE, b"\x01" + message(ok())[1:], DONE),
    "huge": (FINE, b"\0\0\x10\0\0" + b"\x1a\x00" * 0x80000, DONE),
    "too many headers": (FINE, message(ok([option(f"x-{i}", "v") for i in range(200)])), DONE),
    "a name that is none": (FINE, message(ok([option("x y", "v")])), DONE),
    "a value of two lines": (FINE, message(ok([option("x-user", "jo\r\nx-admin: yes")])), DONE),
    "a query of two": (FINE, message(ok(query_parameters_to_set=[T["QueryParameter"](key="a", value="1&admin=1")])), DONE),
    "another content type": ([(":status", "200"), ("content-type", "text/html")], message(ok()), DONE),
    "no content type": ([(":status", "200")], message(ok()), DONE),
    "another status": ([(":status", "503"), ("content-type", "application/grpc")], message(ok()), DONE),
    "no grpc-status": (FINE, message(ok()), None),
    "a failed status behind a message": (FINE, message(ok()), [("grpc-status", "13")]),
    "trailers only": ([*FINE, ("grpc-status", "7")], b"", None),
    "trailers only and all well": ([*FINE, ("grpc-status", "0")], b"", None),
    "reset": reset(2), "refused": reset(7), "goaway": goaway, "hangs up": hang_up, "no frames": garbage,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_answers_over_gRPC(world, what):
    world.set('timeout = "3s";', service="bad")
    world.hostile.answer = HOSTILE[what]
    assert world.get("/h").status == 403
    assert world.get("/free").status == 200
    assert world.tcp() == b"", "nor does a connection come through"
    world.hostile.answer = (FINE, message(ok()), DONE)
    assert wait_for("an authorizer that is well again", lambda: world.get("/h").status == 200)
    world.mesh.assert_sound()


# ---- connections ---------------------------------------------------------------------------------------------------


def test_2_11_14_connections_are_asked_about_over_gRPC(world):
    world.set()
    assert world.tcp() == b"hello"
    a = next(a for a in world.authorizer.asked if not a.request.HasField("http"))
    assert a.destination.principal == "spiffe://cluster.local/ns/default/sa/echo" and a.source.principal.startswith("spiffe://")
    assert a.destination.address.socket_address.port_value == world.echo.port
    world.authorizer.answers[""] = denied(401)
    assert world.tcp() == b""
    assert wait_for("the record", lambda: world.records(connection_termination_details="ext_authz_denied", response_flags="UAEX"))
    world.authorizer.answers[""] = abort
    assert world.tcp() == b""
    world.set("failOpen = true;")
    world.authorizer.answers[""] = abort
    assert world.tcp() == b"hello"


def test_what_comes_while_somebody_is_asked_about_a_connection_is_kept(world):
    world.set()
    gate = threading.Event()
    world.authorizer.answers[""] = lambda c: (gate.wait(kvmesh.DEADLINE), ok())[1]
    data = b"z" * 2000000
    with socket.create_connection(("127.0.0.1", world.tcp_port), timeout=kvmesh.DEADLINE) as s:
        sender = threading.Thread(target=lambda: s.sendall(data), daemon=True)
        sender.start()
        wait_for("the question", lambda: [a for a in world.authorizer.asked if not a.request.HasField("http")])
        gate.set()
        got = b""
        while len(got) < len(data):
            got += s.recv(1 << 20)
        sender.join()
    assert got == data


def test_who_leaves_takes_the_question_along(world):
    world.set()
    gone = threading.Event()

    def hold(context):
        context.add_callback(gone.set)
        gone.wait(kvmesh.DEADLINE)
        return ok()
    world.authorizer.answers["/slow"] = hold
    with socket.create_connection(("127.0.0.1", world.mesh.http_port), timeout=kvmesh.DEADLINE) as s:
        s.sendall(b"GET /slow HTTP/1.1\r\nHost: my-app\r\n\r\n")
        wait_for("the question", lambda: world.authorizer.asked)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert gone.wait(kvmesh.DEADLINE)
    assert world.get("/next").status == 200
    world.mesh.assert_sound()


def test_a_provider_over_gRPC_that_cannot_be_is_refused(world):
    for more, words in (('statusOnError = "200";', "statusOnError"), ('pathPrefix = "/x";', "pathPrefix")):
        world.write(more, "ext", CUSTOM)
        r = world.mesh.ctl("analyze")
        assert r.returncode != 0 and words in r.stdout + r.stderr
    world.write("", "nobody", CUSTOM)
    r = world.mesh.ctl("analyze")
    assert r.returncode != 0 and "no Service or ServiceEntry has the host 'nobody" in r.stdout + r.stderr
    world.set()
