#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Instructions and system calls of the proxy per request, both hops, counted by valgrind's callgrind: no noise of the machine.

callgrind.py                 count and print, with the functions that cost most
callgrind.py --check         exit 1 when a scenario needs over 5 % more instructions than tests/bench/README.md records
callgrind.py --record        write the counts there
The record belongs to a build with -O2 by Debian 12's compiler and libraries.
"""

import argparse
import collections
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))
import kvmesh  # noqa: E402
from stack import GRPC_PATH, Applications  # noqa: E402

README = pathlib.Path(__file__).with_name("README.md")
BEGIN, END = "<!-- callgrind: begin -->\n", "<!-- callgrind: end -->\n"
ALLOWED = 1.05
BODY = {"128B": 128, "64kB": 65536}
# name: h2load's arguments, or None: a connection for each request. One at a time, so that what is batched does not depend
# on the scheduler.
H1 = ["-p", "http/1.1", "-c1", "-m1"]
SCENARIOS = {
    "128 B, HTTP/1.1 client": (*H1, "http://app/f/128B"),
    "128 B, HTTP/1.1, a new connection each": None,
    "64 KiB, HTTP/1.1 client": (*H1, "http://app/f/64kB"),
    "128 B, HTTP/2 client, 10 streams": ("-c1", "-m10", "http://app/f/128B"),
    "gRPC unary, 10 streams": ("-c1", "-m10", "-H", "content-type: application/grpc", "-H", "te: trailers", "-d", "GRPC", f"http://grpc{GRPC_PATH}"),
}
PARTS = ("kvmesh", "OpenSSL", "nghttp2", "libc", "other")


def part(path):
    name = pathlib.Path(path).name
    for prefix, group in (("kvmesh-proxy", "kvmesh"), ("libcrypto", "OpenSSL"), ("libssl", "OpenSSL"), ("libnghttp2", "nghttp2"), ("libc.", "libc"),
                          ("vgpreload", "libc")):
        if name.startswith(prefix):
            return group
    return "other"


class Profile:
    """One dump of callgrind: self cost by part and by function, system calls."""

    def __init__(self, text):
        self.parts, self.functions, self.syscalls = collections.Counter(), collections.Counter(), 0
        names = {}
        events = re.search(r"^events: (.*)$", text, re.M)[1].split()
        where = {"ob": "?", "fn": "?"}
        inclusive = False
        for line in text.splitlines():
            m = re.match(r"(ob|fn)=\((\d+)\)(?: (.*))?$", line)
            if m:
                # fn and cfn share their numbers, ob and cob theirs.
                where[m[1]] = names.setdefault((m[1], m[2]), m[3] or "?")
                continue
            m = re.match(r"c(ob|fn)=\((\d+)\) (.*)$", line)
            if m:
                names[m[1], m[2]] = m[3]
            if line.startswith("calls="):
                inclusive = True
            elif line[:1] in "+-*0123456789" and line:
                cost = dict(zip(events, map(int, line.split()[1:])))
                if not inclusive:
                    self.parts[part(where["ob"])] += cost.get("Ir", 0)
                    self.functions[where["fn"].split("'")[0], part(where["ob"])] += cost.get("Ir", 0)
                    if not where["fn"].startswith(("clock_gettime", "__gettimeofday")):     # in the vDSO, but for valgrind
                        self.syscalls += cost.get("sysCount", 0)
                inclusive = False

    def instructions(self):
        return sum(self.parts.values())


class Counted:
    """A mesh whose proxy runs under callgrind."""

    def __init__(self, directory, apps):
        self.dir = directory
        programs = directory / "bin"
        programs.mkdir()
        for name in ("kvmeshctl", "kvmesh-router", "kvmesh-ca", "kvmesh-metrics"):
            shutil.copy2(kvmesh.tool(name), programs / name)
        wrapper = programs / "kvmesh-proxy"
        wrapper.write_text(f"#!/bin/sh\nexec valgrind -q --tool=callgrind --collect-systime=yes --callgrind-out-file={directory}/out "
                           f"{kvmesh.tool('kvmesh-proxy')} \"$@\"\n")
        wrapper.chmod(0o755)
        kvmesh.BUILD = programs
        self.mesh = m = kvmesh.Mesh(directory / "mesh")
        m.write("conf.d/bench.conf", "mesh = { defaultConfig = { concurrency = 1; }; };\n")
        for name, port, protocol in (("app", apps.http, "HTTP"), ("grpc", apps.grpc, "GRPC")):
            m.workload(name, port, protocol=protocol)
            m.service(name, 80, protocol.lower(), protocol=protocol)
        m.write("mesh.d/strict.yaml", kvmesh.ARTICLE.split("---")[0])
        m.start()
        self.pid = m.call("proxy/node.sock", "Status")["parameters"]["pid"]
        self.dumps = 0

    def dump(self):
        """What was counted since the last dump."""
        subprocess.run(["callgrind_control", "--dump", str(self.pid)], check=True, capture_output=True)
        self.dumps += 1
        path = self.dir / f"out.{self.dumps}"
        kvmesh.wait_for("callgrind's dump", lambda: path.exists() and "totals:" in path.read_text())
        return Profile(path.read_text())

    def connections(self, requests):
        for _ in range(requests):
            with socket.create_connection(("127.0.0.1", self.mesh.http_port), timeout=kvmesh.DEADLINE) as s:
                s.sendall(b"GET /f/128B HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
                answer = b""
                while piece := s.recv(65536):
                    answer += piece
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise SystemExit(f"no answer: {answer[:200]}")

    def load(self, arguments, requests):
        port = self.mesh.http_port
        if arguments is None:
            self.connections(requests)
            return
        r = subprocess.run(["h2load", f"-n{requests}", f"--connect-to=127.0.0.1:{port}", *arguments], capture_output=True, text=True)
        if r.returncode != 0 or f"{requests} succeeded" not in r.stdout:
            raise SystemExit(f"h2load: {r.stdout}{r.stderr}")

    def loaded(self, arguments, requests):
        self.load(arguments, requests)
        return self.dump()


def count(directory, requests):
    """{scenario: profile} of so many requests each: the cheapest of three, as what is batched depends a little on time."""
    apps = Applications(directory, BODY)
    mesh = None
    found = {}
    try:
        mesh = Counted(directory, apps)
        for name, arguments in SCENARIOS.items():
            arguments = arguments and [str(apps.grpc_request) if a == "GRPC" else a for a in arguments]
            mesh.load(arguments, requests // 4)
            mesh.dump()
            found[name] = min((mesh.loaded(arguments, requests) for _ in range(3)), key=Profile.instructions)
            print(f"{name}: done", file=sys.stderr, flush=True)
    finally:
        if mesh:
            mesh.mesh.stop()
        apps.stop()
    return found


def table(found, requests):
    lines = ["| scenario | instructions | " + " | ".join(PARTS) + " | system calls |", "|---" * (len(PARTS) + 3) + "|"]
    for name, p in found.items():
        lines.append(f"| {name} | {p.instructions() / requests:.0f} | " + " | ".join(f"{p.parts[g] / requests:.0f}" for g in PARTS)
                     + f" | {p.syscalls / requests:.1f} |")
    return "\n".join(lines) + "\n"


def recorded():
    text = README.read_text().split(BEGIN)[1].split(END)[0]
    return {m[1]: int(m[2]) for m in re.finditer(r"^\| ([^|]+) \| (\d+) \|", text, re.M)}


def check(found, requests):
    record, bad = recorded(), 0
    for name, p in found.items():
        now, then = p.instructions() / requests, record.get(name)
        if then is None or now > then * ALLOWED:
            print(f"{name}: {now:.0f} instructions a request, recorded {then}: {'no record' if then is None else 'more than 5 % over it'}")
            bad += 1
    print(f"{len(found) - bad} passed, {bad} failed")
    return bad


def write_record(text):
    before, rest = README.read_text().split(BEGIN)
    README.write_text(before + BEGIN + text + END + rest.split(END)[1])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--check", action="store_true")
    p.add_argument("--record", action="store_true")
    p.add_argument("--requests", type=int, default=400)
    p.add_argument("--top", type=int, default=12, help="functions to name per scenario")
    args = p.parse_args()
    subprocess.run(["make", "-s", "-C", kvmesh.BUILD, "tests/bench/tcpload"], check=True, env={**os.environ, "MAKEFLAGS": ""})
    directory = pathlib.Path(tempfile.mkdtemp(prefix="kvmesh-callgrind-"))
    directory.chmod(0o755)
    try:
        found = count(directory, args.requests)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    text = table(found, args.requests)
    print(text)
    if args.check:
        sys.exit(check(found, args.requests) > 0)
    for name, p in found.items():
        print(f"{name}: most instructions a request")
        for (function, group), n in p.functions.most_common(args.top):
            print(f"  {n / args.requests:9.0f}  {100 * n / p.instructions():5.1f} %  {function}  ({group})")
    if args.record:
        write_record(text)


if __name__ == "__main__":
    main()
