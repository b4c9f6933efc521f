# SPDX-License-Identifier: Apache-2.0
"""Configuration that means harm, or is merely huge: a finding with its place, in bounded time and memory; what runs goes on.

Time: every command ends within the deadline of all tests, on any machine. Memory: the peak that the kernel has seen."""

import os
import subprocess
import tempfile

import pytest

import kvmesh
from kvmesh import wait_for

SANITIZED = "ASAN_OPTIONS" in os.environ
PEAK_MB = 512 * (4 if SANITIZED else 1)

APP = """\
apiVersion: v1
kind: Service
metadata: { name: app }
spec: { selector: { app: app }, ports: [ { name: http, port: 80 } ] }
---
"""


def service(i):
    return (f"apiVersion: v1\nkind: Service\nmetadata: {{ name: s{i} }}\n"
            f"spec: {{ selector: {{ app: a{i} }}, ports: [ {{ name: http, port: 80 }} ] }}\n")


def virtual_service(name, hosts, http):
    shown = f"hosts: [ {hosts} ]," if hosts else ""
    return (f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: {name} }}\n"
            f"spec: {{ {shown} http: [ {http} ] }}\n")


def routes(i, n, to="app"):
    rows = "".join(f"  - {{ match: [ {{ uri: {{ exact: /r{k} }} }} ], route: [ {{ destination: {{ host: {to} }} }} ] }}\n" for k in range(n))
    return (f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: vs-{i} }}\n"
            f"spec:\n  hosts: [ h{i}.example ]\n  http:\n{rows}")


def analyze(*paths):
    """(exit code, output) of kvmeshctl analyze; its peak of memory is looked at, but for what a sanitizer keeps of the freed."""
    env = {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "detect_leaks=1") + ":quarantine_size_mb=16"}
    with tempfile.TemporaryFile("w+") as out:
        p = subprocess.Popen([kvmesh.tool("kvmeshctl"), "--etc", "/nonexistent", "analyze", *map(str, paths)],
                             stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env)
        pid, status, usage = wait_for("analyze to end", lambda: (r := os.wait4(p.pid, os.WNOHANG))[0] and r, 4 * kvmesh.DEADLINE)
        p.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    assert usage.ru_maxrss < PEAK_MB * 1024, f"{usage.ru_maxrss} kB"
    assert p.returncode >= 0, f"ended by signal {-p.returncode}"
    assert "Sanitizer" not in text and "runtime error" not in text
    return p.returncode, text


def laughs():
    lines = ["a0: &a0 [ lol, lol, lol, lol, lol, lol, lol, lol, lol ]\n"]
    lines += [f"a{i}: &a{i} [ {', '.join(f'*a{i - 1}' for _ in range(9))} ]\n" for i in range(1, 10)]
    return "".join(lines)


REFUSED = {
    "10 MB of comment": ("yaml", APP + "#" + "x" * (10 << 20), "larger than 4194304 bytes"),
    "10 MB of one text": ("yaml", "a: \"" + "x" * (10 << 20) + "\"\n", "larger than 4194304 bytes"),
    "10 MB, native": ("conf", "# " + "x" * (10 << 20), "larger than 4194304 bytes"),
    "100,000 routes in one file": ("yaml", APP + routes(1, 100000), "larger than 4194304 bytes"),
    "a billion laughs": ("yaml", laughs(), ":1) anchors and aliases are refused ('&a0')"),
    "anchors at every depth": ("yaml", "a: " + "&x [ " * 3000 + "]" * 3000 + "\n", ":1) "),
    "deep lists": ("yaml", "a: " + "[" * 100000 + "]" * 100000 + "\n", ":1) nested deeper than 32 levels"),
    "deep maps": ("yaml", "{" * 50000, ":1) a name must be text, not a map"),
    "deep blocks": ("yaml", "".join("  " * i + "a:\n" for i in range(1500)), ":33) nested deeper than 32 levels"),
    "deep questions": ("yaml", "? " * 100000 + "\n", ":1) a name must be text, not a map"),
    "deep JSON": ("json", '{"a":' + "[" * 100000 + "]" * 100000 + "}", ":1) not JSON: maximum parsing depth"),
    "deep native lists": ("conf", "a = " + "(" * 100000 + ")" * 100000 + ";", ":1) nested deeper than 32 levels"),
    "a file that includes itself": ("conf", '@include "case.conf"\n', ":1) includes are nested deeper than 4 files"),
    "noise": ("yaml", bytes(range(128, 256)) * 8000, ":1) this byte is not UTF-8"),
    "NUL bytes": ("yaml", b"a: \0\0\0\n", ":1) a NUL byte"),
    "10,001 resources": ("yaml", "---\n".join(service(i) for i in range(10001)), ":50001) more than 10000 resources"),
    "the same host 3,000 times": ("yaml", APP + "---\n".join(
        virtual_service(f"vs-{i}", "same.example", "{ route: [ { destination: { host: app } } ] }") for i in range(3000)),
        ":11) host 'same.example' is already routed by VirtualService vs-0.default"),
}
REGEX = {"((a{1000}){1000}){1000}": "nested repetitions beyond 1000", "(x{0,1000}){0,1000}": "nested repetitions beyond 1000",
         "(" * 300 + "a" + ")*" * 300: "regular expression", "a" * 2000: "1024", "(?=a)a": "regular expression",
         "(a)\\1": "regular expression", "(": "regular expression"}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_its_place(workdir, name):
    ending, text, finding = REFUSED[name]
    path = workdir / f"case.{ending}"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    code, out = analyze(path)
    assert code in (65, 79), out[:2000]
    assert f"case.{ending}" in out and finding in out, out[:2000]
    assert len(out) < 1 << 20


def test_a_document_behind_a_hostile_one_is_read_all_the_same(workdir):
    path = workdir / "case.yaml"
    path.write_text("a: " + "[" * 50000 + "\n---\nb: ]\n")
    code, out = analyze(path)
    assert code == 65 and ":1) nested deeper" in out and ":3) " in out, out


@pytest.mark.parametrize("regex", REGEX)
def test_a_regex_bomb_is_refused_with_its_place(workdir, regex):
    path = workdir / "case.yaml"
    path.write_text(APP + virtual_service("r", "r.example", f"{{ match: [ {{ uri: {{ regex: '{regex}' }} }} ], "
                                                            "route: [ { destination: { host: app } } ] }"))
    code, out = analyze(path)
    assert code == 79 and "KVM0308" in out and "case.yaml:9" in out and REGEX[regex] in out, out[:2000]


def test_delegates_in_a_circle_are_told(workdir):
    path = workdir / "case.yaml"
    to = "{{ match: [ {{ uri: {{ prefix: /{0} }} }} ], delegate: {{ name: {1} }} }}"
    path.write_text("---\n".join([virtual_service("root", "root.example", to.format("root", "one")),
                                  virtual_service("one", "", to.format("one", "two")), virtual_service("two", "", to.format("two", "one")),
                                  virtual_service("self", "self.example", to.format("self", "self"))]))
    code, out = analyze(path)
    assert "delegates again" in out and "case.yaml:" in out
    assert "'self.default'" in out or "self" in out


def test_100000_routes_in_many_files_are_read(workdir):
    files = workdir / "routes"
    files.mkdir()
    (files / "00.yaml").write_text(APP)
    for i in range(20):
        (files / f"v{i:02}.yaml").write_text(routes(i, 5000))
    code, out = analyze(files)
    assert code == 0, out[:2000]


def test_4900_services_with_their_virtual_services_are_read(workdir):
    path = workdir / "pairs.yaml"
    path.write_text("---\n".join(service(i) + "---\n" + virtual_service(f"vs-{i}", f"s{i}", f"{{ route: [ {{ destination: {{ host: s{i} }} }} ] }}")
                                 for i in range(4900)))
    code, out = analyze(path)
    assert code == 0 and len(out) < 1 << 20


# ---- a mesh that runs ------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with kvmesh.Article(tmp_path_factory.mktemp("hostile")) as a:
        yield a.start()


@pytest.mark.parametrize("name", ["a billion laughs", "deep lists", "10 MB of comment", "10,001 resources", "noise"])
def test_a_hostile_file_changes_nothing(running, name):
    ending, text, _ = REFUSED[name]
    path = running.mesh.etc / f"mesh.d/case.{ending}"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        r = running.mesh.ctl("config", "reload", "--wait")
        assert r.returncode == 78 and f"case.{ending}" in r.stdout + r.stderr
        assert running.mesh.get("my-app").status == 200
    finally:
        path.unlink()
    running.mesh.ctl("config", "reload", "--wait", check=0)
    running.mesh.assert_sound()


def test_a_configuration_that_no_message_has_room_for_changes_nothing(running):
    files = [running.mesh.etc / f"mesh.d/huge-{i}.yaml" for i in range(12)]
    for i, path in enumerate(files):
        path.write_text(routes(i, 4000, "my-app"))
    try:
        line = wait_for("the verdict", lambda: next(
            (x for x in running.mesh.text().splitlines() if "config_rejected" in x and "more than 15728640" in x), None), 4 * kvmesh.DEADLINE)
        assert "huge-" in line and "stays in force" in line
        assert running.mesh.get("my-app").status == 200
    finally:
        for path in files:
            path.unlink()
    wait_for("a reload", lambda: running.mesh.ctl("config", "reload", "--wait").returncode == 0, 4 * kvmesh.DEADLINE)
    running.mesh.assert_sound()


def test_a_regex_that_backtracks_for_ever_does_not_match(running):
    running.mesh.write("mesh.d/slow.yaml", virtual_service(
        "slow", "slow.example", "{ match: [ { uri: { regex: '/(a|aa)+$' } } ], directResponse: { status: 418 } }, "
        "{ match: [ { uri: { regex: '/(a+)+$' } } ], directResponse: { status: 418 } }, { directResponse: { status: 200 } }"))
    running.mesh.ctl("config", "reload", "--wait", check=0)
    assert running.mesh.get("slow.example", "/aaa").status == 418
    for _ in range(20):
        assert running.mesh.get("slow.example", "/" + "a" * 7000 + "b").status == 200
    assert running.mesh.get("my-app").status == 200
    wait_for("the limit's counter", lambda: 'reason="match_limit"' in running.mesh.metrics())
