# SPDX-License-Identifier: Apache-2.0
"""gRPC through two proxies: a real client and server (grpcio), and an application on python3-h2 for what a library
would not do; what a caller asks for itself (deadlines, timeouts, tries).
"""

import collections
import concurrent.futures
import contextlib
import os
import re
import threading

import pytest

import kvmesh
from kvmesh import wait_for
from test_http2 import CANCEL, REFUSED_STREAM, App, AppConnection, Client

grpc = pytest.importorskip("grpc", reason="python3-grpcio is not installed")


# ---- applications ----------------------------------------------------------------------------------------------


class Grpc:
    """A gRPC service without generated code: messages are bytes."""

    def __init__(self):
        self.cancelled = threading.Event()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        handlers = {
            "Echo": grpc.unary_unary_rpc_method_handler(lambda r, c: r),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Sum": grpc.stream_unary_rpc_method_handler(lambda it, c: str(sum(len(m) for m in it)).encode()),
            "Same": grpc.stream_stream_rpc_method_handler(lambda it, c: it),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "Forever": grpc.unary_stream_rpc_method_handler(self.forever),
        }
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def fail(self, request, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")

    def count(self, request, context):
        for i in range(int(request)):
            yield b"%d" % i

    def chat(self, messages, context):
        for m in messages:
            yield m.upper()

    def forever(self, request, context):
        over = threading.Event()
        context.add_callback(over.set)
        context.add_callback(self.cancelled.set)
        while not over.wait(0.05):
            yield b"tick"

    def stop(self):
        self.server.stop(0).wait()


class RpcConnection(AppConnection):
    """The path says what becomes of a call:
    /status/CODE       trailers-only with this grpc-status, every time
    /once/CODE         the first time; then a message
    /late/CODE         a message, then this status in real trailers
    /http/CODE         an HTTP answer without gRPC
    /refuse-once       REFUSED_STREAM the first time
    /silent, /hold     as in App
    """

    def head(self, sid, *more):
        super().head(sid, ("content-type", "application/grpc"), *more)

    def message(self, sid, status, data=b"\0\0\0\0\3abc"):
        self.head(sid)
        self.queues[sid] = [data, [("grpc-status", status)]]

    def request(self, sid):
        path = self.paths[sid]
        first = path not in self.app.tried
        self.app.tried[path] += 1
        kind, _, code = path[1:].split("?")[0].partition("/")
        if kind == "status" or (kind == "once" and first):
            self.c.send_headers(sid, [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", code),
                                      ("grpc-message", "told so")], end_stream=True)
        elif kind == "http":
            self.c.send_headers(sid, [(":status", code)], end_stream=True)
        elif kind == "late":
            self.message(sid, code)
        elif path == "/refuse-once" and first:
            self.c.reset_stream(sid, REFUSED_STREAM)
        elif kind != "silent":
            self.message(sid, "0")


class RpcApp(App):
    def __init__(self):
        self.tried = collections.Counter()
        super().__init__(RpcConnection)


class World:
    pass


# Retries for everything gRPC calls a failure worth another try; a timeout; an answer of the route's own.
RULES = """\
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: { name: rules, namespace: default }
spec:
  hosts: [ app ]
  http:
  - match: [ { uri: { prefix: /own } } ]
    directResponse: { status: 403, body: { string: "nein: café 100%\\n" } }
  - match: [ { uri: { prefix: /silent/capped } } ]
    timeout: 0.3s
    route: [ { destination: { host: app } } ]
  - match: [ { uri: { prefix: /silent/tries } } ]
    retries: { attempts: 2, perTryTimeout: 0.2s, retryOn: "gateway-error" }
    route: [ { destination: { host: app } } ]
  - match: [ { headers: { x-never: { exact: "1" } } } ]
    retries: { attempts: 0 }
    route: [ { destination: { host: app } } ]
  - match: [ { headers: { x-rule: { exact: grpc } } } ]
    retries: { attempts: 3, retryOn: "cancelled,deadline-exceeded,internal,resource-exhausted,unavailable" }
    route: [ { destination: { host: app } } ]
  - route: [ { destination: { host: app } } ]
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World()
    with contextlib.ExitStack() as stack:
        top = tmp_path_factory.mktemp("grpc")
        w.app, w.grpc = RpcApp(), Grpc()
        stack.callback(w.app.stop)
        stack.callback(w.grpc.stop)
        w.mesh = kvmesh.Mesh(top / "mesh")
        stack.callback(w.mesh.stop)
        for name, port in (("app", w.app.port), ("rpc", w.grpc.port), ("gone", kvmesh.free_port())):
            w.mesh.workload(name, port, protocol="GRPC")
            w.mesh.service(name, 80, "grpc", protocol="GRPC")
        w.mesh.service("empty", 80, "grpc", protocol="GRPC", selector={"app": "nobody"})
        w.mesh.write("mesh.d/10-rules.yaml", RULES)
        w.mesh.start()
        yield w


@pytest.fixture(autouse=True)
def still_serving(request):
    yield
    if "world" in request.fixturenames:
        w = request.getfixturevalue("world")
        w.mesh.assert_sound()
        assert call(w, "/fine")["grpc-status"] == "0"


# ---- calls by hand ---------------------------------------------------------------------------------------------


def call(world, path, host="app", fields=(), end=True, message=b"\0\0\0\0\2hi"):
    """One call; the head and the trailers of its answer in one, and "only" when there were only trailers."""
    with Client(world.mesh) as c:
        sid = c.request(host, path, "POST", [("content-type", "application/grpc"), ("te", "trailers"), *fields],
                        end=False)
        if end:
            c.data(sid, message, end=True)
        outcome = c.finish(sid)
        assert outcome[0] == "200", outcome
        return {"only": sid not in c.trailers, **c.head[sid], **c.trailers.get(sid, {})}


def http(world, path, method="POST", body=b"x", **headers):
    """An HTTP call of the same service."""
    return world.mesh.get("app", path, method=method, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


def seen(world, path):
    return [f for p, f in world.app.seen if p == path]


def rows(world, metric, **labels):
    """Sum of all rows of a metric that have these labels."""
    total = 0
    for line in world.mesh.metrics().splitlines():
        if line.startswith(metric + "{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


# ---- a real client and server ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def channel(world):
    with grpc.insecure_channel(f"127.0.0.1:{world.mesh.http_port}",
                               options=[("grpc.default_authority", "rpc"), ("grpc.enable_http_proxy", 0)]) as c:
        yield c


def test_grpc_unary(channel):
    call = channel.unary_unary("/test.Test/Echo")
    for n in (0, 1, 100_000, 3_000_000):
        data = os.urandom(n)
        assert call(data, timeout=kvmesh.DEADLINE) == data


def test_grpc_streams_in_all_directions(channel):
    got = list(channel.unary_stream("/test.Test/Count")(b"1000", timeout=kvmesh.DEADLINE))
    assert got == [b"%d" % i for i in range(1000)]
    assert channel.stream_unary("/test.Test/Sum")(iter([b"x" * 1000] * 500), timeout=kvmesh.DEADLINE) == b"500000"
    assert list(channel.stream_stream("/test.Test/Chat")(iter([b"a", b"b", b"c"]), timeout=kvmesh.DEADLINE)) == [b"A", b"B", b"C"]


def test_grpc_messages_are_answered_while_the_stream_stays_open(channel):
    go = threading.Semaphore(0)

    def messages():
        for m in (b"one", b"two", b"three"):
            yield m
            go.acquire()
    answers = channel.stream_stream("/test.Test/Chat")(messages(), timeout=kvmesh.DEADLINE)
    for want in (b"ONE", b"TWO", b"THREE"):
        assert next(answers) == want
        go.release()


def test_grpc_errors_reach_the_client_and_the_metrics(world, channel):
    with pytest.raises(grpc.RpcError) as e:
        channel.unary_unary("/test.Test/Fail")(b"", timeout=kvmesh.DEADLINE)
    assert (e.value.code(), e.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not today")
    channel.unary_unary("/test.Test/Echo")(b"", timeout=kvmesh.DEADLINE)

    def rows():
        return [r for r in world.mesh.metrics().splitlines()
                if r.startswith("istio_requests_total") and 'request_protocol="grpc"' in r]

    def seen(reporter, code):
        return any(f'reporter="{reporter}"' in r and f'grpc_response_status="{code}"' in r for r in rows())
    for reporter in ("source", "destination"):
        for code in (0, 9):
            wait_for(f"{reporter} {code}", lambda: seen(reporter, code))


def test_grpc_gets_a_status_when_there_is_no_such_service(world):
    with grpc.insecure_channel(f"127.0.0.1:{world.mesh.http_port}",
                               options=[("grpc.default_authority", "nothing"), ("grpc.enable_http_proxy", 0)]) as c:
        with pytest.raises(grpc.RpcError) as e:
            c.unary_unary("/test.Test/Echo")(b"", timeout=kvmesh.DEADLINE)
    assert e.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED)


def test_grpc_cancel_reaches_the_server(world, channel):
    world.grpc.cancelled.clear()
    answers = channel.unary_stream("/test.Test/Forever")(b"", timeout=kvmesh.DEADLINE)
    assert next(answers) == b"tick"
    answers.cancel()
    assert world.grpc.cancelled.wait(kvmesh.DEADLINE)


# ---- deadlines -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [True, False], ids=["unary", "streaming"])
def test_2_5_1_a_deadline_ends_the_call_with_status_4(world, end):
    """Also while the client still streams: a deadline is one for the whole call."""
    path = f"/silent/deadline-{end}"
    got = call(world, path, fields=[("grpc-timeout", "200m")], end=end)
    assert (got["grpc-status"], got["grpc-message"], got["only"]) == ("4", "upstream request timeout", True)
    if end:
        wait_for("CANCEL at the application", lambda: (path, CANCEL) in world.app.resets)
        assert seen(world, path)[0]["grpc-timeout"] == "200m"
    wait_for("the metric", lambda: rows(world, "istio_requests_total", reporter="source", response_flags="UT",
                                        request_protocol="grpc", grpc_response_status="4", response_code="200"))


def test_2_5_1_the_route_s_timeout_caps_the_deadline(world):
    assert call(world, "/silent/capped", fields=[("grpc-timeout", "1H")])["grpc-status"] == "4"
    assert seen(world, "/silent/capped")[0]["x-envoy-expected-rq-timeout-ms"] == "300"


@pytest.mark.parametrize("value", ["", "1", "S", "1s", "-1S", "999999999S", "1.5S", "0x1S", "9 S"])
def test_a_deadline_that_cannot_be_read_is_none(world, value):
    assert call(world, "/fine", fields=[("grpc-timeout", value)])["grpc-status"] == "0"


def test_the_time_for_each_try_counts(world):
    assert call(world, "/silent/tries")["grpc-status"] == "4"
    assert world.app.tried["/silent/tries"] == 3


def test_a_real_client_s_deadline(channel):
    with pytest.raises(grpc.RpcError) as e:
        for _ in channel.unary_stream("/test.Test/Forever")(b"", timeout=0.5):
            pass
    assert e.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


# ---- answers that are made here --------------------------------------------------------------------------------


@pytest.mark.parametrize("host,path,code,message", [
    ("empty", "/x", "14", "no healthy upstream"),
    ("gone", "/x", "14", "upstream connect error or disconnect/reset before headers. reset reason: connection failure"),
    ("app", "/own", "7", "nein: caf%C3%A9 100%25%0A"),
], ids=["no endpoint", "refused", "direct answer"])
def test_a_failure_is_told_in_trailers_only(world, host, path, code, message):
    got = call(world, path, host=host)
    assert (got[":status"], got["content-type"], got["grpc-status"], got["grpc-message"], got["only"]) == \
        ("200", "application/grpc", code, message, True)


def test_a_real_client_reads_the_message(world):
    with grpc.insecure_channel(f"127.0.0.1:{world.mesh.http_port}",
                               options=[("grpc.default_authority", "app"), ("grpc.enable_http_proxy", 0)]) as c:
        with pytest.raises(grpc.RpcError) as e:
            c.unary_unary("/own/Method")(b"", timeout=kvmesh.DEADLINE)
    assert (e.value.code(), e.value.details()) == (grpc.StatusCode.PERMISSION_DENIED, "nein: café 100%\n")


def test_others_get_http(world):
    r = http(world, "/own")
    assert (r.status, r.body) == (403, "nein: café 100%\n".encode())
    r = http(world, "/own", content_type="application/grpc-web+proto")
    assert r.status == 403, "grpc-web is HTTP"


def test_an_http_1_caller_of_grpc_gets_trailers_only_too(world):
    r = http(world, "/own", content_type="application/grpc+proto", te="trailers")
    assert (r.status, r.headers["grpc-status"], r.body) == (200, "7", b"")


# ---- tries -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1, 4, 8, 13, 14])
def test_2_5_10_a_status_of_the_policy_is_tried_again(world, code):
    path = f"/once/{code}?rule"
    got = call(world, path, fields=[("x-rule", "grpc")])
    assert (got["grpc-status"], world.app.tried[path]) == ("0", 2)


def test_the_default_policy_tries_again_when_unavailable(world):
    assert call(world, "/once/14")["grpc-status"] == "0"
    assert call(world, "/once/8")["grpc-status"] == "8"


def test_a_refused_stream_is_tried_again(world):
    assert call(world, "/refuse-once")["grpc-status"] == "0"
    assert world.app.tried["/refuse-once"] == 2


def test_2_5_10_other_statuses_and_late_ones_are_not_tried_again(world):
    for path in ("/status/5", "/late/14"):
        before = world.app.tried[path]
        assert call(world, path, fields=[("x-rule", "grpc")])["grpc-status"] == path.rsplit("/", 1)[1]
        assert world.app.tried[path] - before == 1


def test_the_last_answer_stands_when_the_tries_are_used_up(world):
    got = call(world, "/status/14", fields=[("x-rule", "grpc")])
    assert (got["grpc-status"], got["grpc-message"], world.app.tried["/status/14"]) == ("14", "told so", 4)
    wait_for("URX", lambda: rows(world, "istio_requests_total", reporter="source", grpc_response_status="14",
                                 response_flags="URX"))


# ---- what a caller asks for itself (Istio 2.5.3) -----------------------------------------------------------------


def test_2_5_3_a_caller_s_timeout(world):
    r = http(world, "/silent/own", x_envoy_upstream_rq_timeout_ms="200")
    assert (r.status, r.body) == (504, b"upstream request timeout")
    got = seen(world, "/silent/own")[0]
    assert got["x-envoy-expected-rq-timeout-ms"] == "200"
    assert "x-envoy-upstream-rq-timeout-ms" not in got


def test_2_5_3_a_caller_s_timeout_for_each_try(world):
    r = http(world, "/silent/each", x_envoy_upstream_rq_per_try_timeout_ms="100", x_envoy_retry_on="5xx",
             x_envoy_max_retries="2")
    assert (r.status, world.app.tried["/silent/each"]) == (504, 3)


def test_2_5_3_a_caller_s_conditions_and_tries(world):
    r = http(world, "/http/500", x_envoy_retry_on="gateway-error, 5xx", x_envoy_max_retries="4")
    assert (r.status, world.app.tried["/http/500"]) == (500, 5)
    r = http(world, "/http/418", x_envoy_retriable_status_codes="418,nonsense", x_envoy_max_retries="1",
             x_envoy_retry_on="retriable-status-codes")
    assert (r.status, world.app.tried["/http/418"]) == (418, 2)


def test_2_5_3_a_caller_s_conditions_where_the_route_has_no_policy(world):
    fields = [("x-never", "1")]
    assert call(world, "/status/14?never", fields=fields)["grpc-status"] == "14"
    assert world.app.tried["/status/14?never"] == 1
    got = call(world, "/once/8?never", fields=[*fields, ("x-envoy-retry-grpc-on", "resource-exhausted")])
    assert (got["grpc-status"], world.app.tried["/once/8?never"]) == ("0", 2)


def test_2_5_3_a_caller_can_do_without_tries(world):
    assert call(world, "/status/14?none", fields=[("x-envoy-max-retries", "0")])["grpc-status"] == "14"
    assert world.app.tried["/status/14?none"] == 1


@pytest.mark.parametrize("value", ["", "-1", "x", "99999999999999999999", "1 2"])
def test_2_5_3_what_cannot_be_read_is_not_there(world, value):
    r = http(world, "/fine", x_envoy_upstream_rq_timeout_ms=value, x_envoy_max_retries=value, x_envoy_retry_on=value)
    assert r.status == 200
    got = seen(world, "/fine")[-1]
    assert not [k for k in got if k.startswith("x-envoy-") and k not in ("x-envoy-attempt-count",)]


# ---- messages --------------------------------------------------------------------------------------------------


def test_messages_are_counted_on_both_sides(world, channel):
    def count(metric, reporter):
        return rows(world, metric, reporter=reporter, destination_service_name="rpc")
    both = [(m, r) for m in ("istio_request_messages_total", "istio_response_messages_total")
            for r in ("source", "destination")]
    before = {b: count(*b) for b in both}
    list(channel.unary_stream("/test.Test/Count")(b"300", timeout=kvmesh.DEADLINE))
    channel.stream_unary("/test.Test/Sum")(iter([b"x" * 100_000] * 20), timeout=kvmesh.DEADLINE)
    for b in both:
        want = 21 if "request" in b[0] else 301
        wait_for(f"{b}: {want}", lambda: count(*b) - before[b] == want)


def test_a_large_message_each_way(channel):
    data = os.urandom(3_500_000)
    got = list(channel.stream_stream("/test.Test/Same")(iter([data, b"", data]), timeout=kvmesh.DEADLINE))
    assert got == [data, b"", data]


def test_many_calls_at_once_on_one_channel(channel):
    echo = channel.unary_unary("/test.Test/Echo")
    calls = [echo.future(b"%d" % i, timeout=kvmesh.DEADLINE) for i in range(500)]
    assert [c.result() for c in calls] == [b"%d" % i for i in range(500)]
