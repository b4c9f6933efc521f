#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Certificates of a minute for half an hour under load: HTTP/1.1, HTTP/2 and connections that live long. Passes when no
request failed and every identity was renewed as often as half of its life says, at least.

    leaf.py [--minutes N] [--rps N] [--life SECONDS]         ./dev soak leaf [MINUTES]; exit 0: passed
"""

import argparse
import collections
import os
import sys
import tempfile
import time

import soak
from load import Load

import kvmesh


def certificates(mesh):
    return {c["spiffe"]: c["serial"] for c in mesh.call("proxy/node.sock", "Status")["parameters"]["certificates"]}


def run(article, seconds, rps):
    """(requests, failures, serials that were seen of each identity)"""
    mesh, seen = article.mesh, collections.defaultdict(set)
    loads = [soak.H2load(mesh, seconds, rps // 2, "--h1"), soak.H2load(mesh, seconds, rps // 2, "-m4")]
    try:
        with Load(mesh.http_port, threads=1) as exact:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for spiffe, serial in certificates(mesh).items():
                    seen[spiffe].add(serial)
                time.sleep(1)
        results = [x.result() for x in loads]
    finally:
        for x in loads:
            if x.process.poll() is None:
                x.process.kill()
    return exact.done + sum(n for n, _ in results), exact.failures + [f for _, bad in results for f in bad], seen


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=30)
    p.add_argument("--rps", type=int, default=400, help="requests a second of h2load, beside one closed loop")
    p.add_argument("--life", type=int, default=60)
    a = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="kvmesh-leaf-") as d:
        os.chmod(d, 0o755)
        with kvmesh.Article(d) as article:
            article.mesh.write("conf.d/short.conf", f'ca = {{ workloadValidity = "{a.life}s"; }};\n')
            article.start()
            done, failures, seen = run(article, int(a.minutes * 60), a.rps)
    wanted = int(a.minutes * 60 / a.life)
    print(f"{done} requests, {len(failures)} failures; certificates of each identity: "
          f"{min(map(len, seen.values()))} to {max(map(len, seen.values()))}, {wanted} at least are right")
    for f in failures[:20]:
        print("FAILED", f)
    return 1 if failures or min(map(len, seen.values())) < wanted or done < a.minutes * 60 else 0


if __name__ == "__main__":
    sys.exit(main())
