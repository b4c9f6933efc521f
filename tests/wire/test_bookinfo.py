# SPDX-License-Identifier: Apache-2.0
"""Istio's Bookinfo sample as one walk: the resources of etc/demo/bookinfo, four programs as users of their own, a gateway in
front. Each test is one of the sample's tasks, in their order."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

import kvmesh
from kvmesh import wait_for

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="programs of several users need root")

FILES = kvmesh.TOP / "etc" / "demo" / "bookinfo"
PROGRAMS = ["productpage-v1", "details-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3"]
FIRST_UID = 45001
UNAVAILABLE = "Sorry, product reviews are currently unavailable for this book."


class Bookinfo:
    def __init__(self, directory):
        self.stack = contextlib.ExitStack()
        self.mesh = m = kvmesh.Mesh(directory / "mesh", conf='accessLogFile = "/dev/stdout";')
        self.stack.callback(m.stop)
        self.door = kvmesh.free_port()
        ports = {p: kvmesh.free_port() for p in PROGRAMS}
        for uid, program in enumerate(PROGRAMS, FIRST_UID):
            app, version = program.split("-")
            m.workload(program, ports[program], {"app": app, "version": version}, serviceAccount=f"bookinfo-{app}", user=str(uid))
        for app in ("productpage", "details", "ratings", "reviews"):
            m.service(app, 9080, "http")
        m.write("workloads.d/gateway.conf",
                'Workload = { name = "ingressgateway"; namespace = "kvmesh-system"; gateway = true; labels = { istio = "ingressgateway"; }; };')
        self.write("gateway.yaml", lambda text: text.replace("number: 8080", f"number: {self.door}"))
        self.write("destination-rules.yaml")
        m.start()
        for uid, program in enumerate(PROGRAMS, FIRST_UID):
            self.run(directory, program, ports[program], uid)

    def run(self, directory, program, port, uid):
        app = pathlib.Path(kvmesh.TOP / "tests" / "demo" / "bookinfo_app.py").read_text()
        role = program if program.startswith("reviews") else program.split("-")[0]
        p = kvmesh.Process([sys.executable, "-c", app, role, port, self.mesh.http_port], directory / f"{program}.log", user=uid)
        self.stack.callback(p.stop)
        wait_for(program, lambda: kvmesh.port_open(port))

    def write(self, name, change=lambda text: text):
        self.mesh.write(f"mesh.d/10-{pathlib.Path(name).name}", change((FILES / name).read_text()))

    def task(self, *names):
        """Only these tasks' resources are in force."""
        for old in self.mesh.etc.glob("mesh.d/50-*"):
            old.unlink()
        for name in names:
            self.mesh.write(f"mesh.d/50-{name}.yaml", (FILES / "tasks" / f"{name}.yaml").read_text())
        self.mesh.ctl("config", "reload", "--wait", check=0)
        found = [f for f in self.mesh.ctl_json("analyze") if f["level"] != "Info"]
        assert not found, found

    def get(self, path="/productpage", user=None):
        """(status, body) as a browser outside has it."""
        argv = ["curl", "-s", "-w", "\n%{http_code}", "--max-time", kvmesh.DEADLINE, f"http://127.0.0.1:{self.door}{path}"]
        if user:
            argv += ["-H", f"end-user: {user}"]
        body, _, status = subprocess.run(list(map(str, argv)), capture_output=True, text=True).stdout.rpartition("\n")
        return int(status), body

    def page(self, user=None):
        status, body = self.get(user=user)
        assert status == 200, (status, body)
        return json.loads(body)

    def version(self, user=None):
        return self.page(user)["reviews"]["podname"]


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bookinfo")
    for d in (directory, *directory.parents[:2]):
        d.chmod(0o755)
    b = Bookinfo(directory)
    try:
        wait_for("the door", lambda: b.get()[0] == 200)
        yield b
        b.mesh.assert_sound()
    finally:
        b.stack.close()


def test_without_rules_every_version_of_reviews_is_seen(book):
    book.task()
    seen = set()
    wait_for("three versions", lambda: seen.add(book.version()) or len(seen) == 3)
    assert book.page()["details"]["author"] == "William Shakespeare"


def test_only_what_the_gateway_opens_is_open(book):
    book.task()
    assert book.get("/")[0] == 404
    assert book.get("/reviews/0")[0] == 404


def test_request_routing(book):
    book.task("all-v1")
    assert {book.version() for _ in range(30)} == {"reviews-v1"}
    assert all("rating" not in r for r in book.page()["reviews"]["reviews"])
    book.task("jason-v2")
    assert {book.version() for _ in range(15)} == {"reviews-v1"}
    assert {book.version("jason") for _ in range(15)} == {"reviews-v2"}
    assert book.page("jason")["reviews"]["reviews"][0]["rating"] == {"stars": 5, "color": "black"}


def test_fault_injection_delay_finds_the_timeout_nobody_knew_of(book):
    book.task("ratings-delay")
    assert book.page("jason")["reviews"] == UNAVAILABLE
    assert book.page()["reviews"]["podname"] == "reviews-v1"


def test_fault_injection_abort(book):
    book.task("ratings-abort")
    rows = book.page("jason")["reviews"]["reviews"]
    assert [r["rating"] for r in rows] == [{"error": "Ratings service is currently unavailable"}] * 2
    assert book.page()["reviews"]["podname"] == "reviews-v1"


def test_traffic_shifting(book):
    book.task("reviews-50-v3")
    seen = [book.version() for _ in range(200)]
    assert set(seen) == {"reviews-v1", "reviews-v3"}
    assert 100 - 36 < seen.count("reviews-v3") < 100 + 36      # 5 sigma: wrong once in a million runs
    book.task("reviews-v3")
    assert {book.version() for _ in range(20)} == {"reviews-v3"}


def test_request_timeouts(book):
    book.task("reviews-timeout")
    assert book.page()["reviews"] == UNAVAILABLE


def test_mutual_tls(book):
    book.task("all-v1", "strict")
    assert book.version() == "reviews-v1"
    rows = [r for r in book.mesh.ctl_json("authn", "tls-check") if ":9080" in r["host"] or "9080" in str(r.get("port", ""))]
    assert rows and all(r["server"] == "STRICT" for r in rows), rows
    with socket.create_connection(("127.0.0.1", book.mesh.mesh_port), timeout=kvmesh.DEADLINE) as s:
        s.sendall(b"GET /reviews/0 HTTP/1.1\r\nHost: reviews:9080\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert s.recv(100) == b""


def test_authorization_step_by_step(book):
    book.task("strict", "allow-nothing")
    assert book.get() == (403, "RBAC: access denied")
    book.task("strict", "allow-nothing", "viewer-productpage")
    page = book.page()
    assert page["reviews"] == UNAVAILABLE and page["details"].startswith("Sorry")
    book.task("strict", "allow-nothing", "viewer-productpage", "viewers")
    wait_for("a page with stars", lambda: "stars" in book.get()[1])
    assert book.page()["details"]["author"] == "William Shakespeare"
    # Who has no business with ratings is refused, by name.
    argv = ["setpriv", f"--reuid={FIRST_UID}", "--clear-groups", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
            "-H", "Host: ratings:9080", f"http://127.0.0.1:{book.mesh.http_port}/ratings/0"]
    assert subprocess.run(argv, capture_output=True, text=True).stdout == "403"


def test_the_graph_of_the_sample_is_in_the_metrics(book):
    book.task()
    wait_for("the second version", lambda: book.version() == "reviews-v2")
    edges = {("ingressgateway", "productpage-v1"), ("productpage-v1", "details-v1"), ("productpage-v1", "reviews-v2"),
             ("reviews-v2", "ratings-v1")}

    def seen():
        rows = [line for line in book.mesh.metrics().splitlines()
                if line.startswith("istio_requests_total{") and 'reporter="destination"' in line and 'response_code="200"' in line]
        return all(any(f'source_workload="{s}"' in r and f'destination_workload="{d}"' in r for r in rows) for s, d in edges)
    wait_for("the edges", seen)
