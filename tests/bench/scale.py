# SPDX-License-Identifier: Apache-2.0
"""What a large configuration costs: SERVICES services, each with a VirtualService of three routes, a DestinationRule of two
subsets and ENDPOINTS / SERVICES endpoints.

    scale.py [--services 500] [--endpoints 2000] [--rounds 3] [--live]

CPU time, so that a loaded machine changes little: of reading, checking and compiling (the router), writing the snapshot,
reading and preparing it (the proxy), by scale.c in one process. --live: the same in the daemons of a running mesh, for a
changed weight, and the proxy's memory against that of an empty mesh.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import kvmesh  # noqa: E402
from proc import cpu_ns, pss_kb  # noqa: E402

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{ name: svc-{i} }}
spec: {{ selector: {{ app: app-{i} }}, ports: [ {{ name: http, port: 80, targetPort: 8080 }} ] }}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: svc-{i} }}
spec: {{ host: svc-{i}, subsets: [ {{ name: v1, labels: {{ version: v1 }} }}, {{ name: v2, labels: {{ version: v2 }} }} ] }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: svc-{i} }}
spec:
  hosts: [ svc-{i}, svc-{i}.example.org ]
  http:
  - match: [ {{ uri: {{ exact: /health }} }} ]
    route: [ {{ destination: {{ host: svc-{i}, subset: v1 }} }} ]
  - match: [ {{ headers: {{ x-canary: {{ exact: "yes" }} }}, uri: {{ prefix: /api/ }} }} ]
    retries: {{ attempts: 3, retryOn: "5xx,reset", perTryTimeout: 2s }}
    route: [ {{ destination: {{ host: svc-{i}, subset: v2 }} }} ]
  - timeout: 10s
    route:
    - {{ destination: {{ host: svc-{i}, subset: v1 }}, weight: {weight} }}
    - {{ destination: {{ host: svc-{i}, subset: v2 }}, weight: {rest} }}
"""
ENDPOINT = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{ name: app-{i}-{k} }}
spec: {{ address: 10.{a}.{b}.{k}, labels: {{ app: app-{i}, version: v{version}, "security.istio.io/tlsMode": istio }}, serviceAccount: app-{i}, locality: eu/fra/{k} }}
"""


def write(mesh, services, endpoints, weight=90):
    each = max(1, endpoints // services)
    for start in range(0, services, 100):
        some = range(start, min(start + 100, services))
        mesh.write(f"mesh.d/services-{start}.yaml", "---\n".join(
            SERVICE.format(i=i, weight=weight, rest=100 - weight) for i in some))
        mesh.write(f"mesh.d/endpoints-{start}.yaml", "---\n".join(
            ENDPOINT.format(i=i, k=k + 1, a=i // 250, b=i % 250, version=k % 2 + 1) for i in some for k in range(each)))


def offline(directory, services, endpoints, rounds):
    mesh = kvmesh.Mesh(directory)
    write(mesh, services, endpoints)
    r = subprocess.run([kvmesh.tool("tests/bench/scale"), mesh.etc, str(rounds)], capture_output=True, text=True)
    if r.returncode:
        sys.exit(r.stderr)
    return json.loads(r.stdout)


def child(mesh, name):
    for p in subprocess.run(["pgrep", "-P", str(mesh.process.pid)], capture_output=True, text=True).stdout.split():
        if pathlib.Path(f"/proc/{p}/comm").read_text().strip() == name:
            return int(p)
    raise LookupError(name)


def proxy_memory(directory, prepare):
    mesh = kvmesh.Mesh(directory)
    prepare(mesh)
    mesh.start()
    time.sleep(1)
    return mesh, pss_kb(child(mesh, "kvmesh-proxy"))


def live(directory, services, endpoints):
    empty, before = proxy_memory(directory / "empty", lambda m: None)
    empty.stop()
    mesh, after = proxy_memory(directory / "full", lambda m: write(m, services, endpoints))
    try:
        pids = {n: child(mesh, f"kvmesh-{n}") for n in ("router", "proxy")}
        time.sleep(2)
        status = lambda: mesh.call("router/router.sock", "Status")["parameters"]  # noqa: E731
        start, before_change = {n: cpu_ns([p]) for n, p in pids.items()}, status()["generation"]
        mesh.write("mesh.d/services-0.yaml", (mesh.etc / "mesh.d/services-0.yaml").read_text().replace("weight: 90", "weight: 80", 1)
                   .replace("weight: 10", "weight: 20", 1))
        kvmesh.wait_for("the proxy's ack", lambda: (s := status())["generation"] > before_change and all(
            p["state"] == "SYNCED" for p in s["proxies"]))
        time.sleep(1)
        took = {f"change_{n}_ms": (cpu_ns([p]) - start[n]) / 1e6 for n, p in pids.items()}
        return {**took, "proxy_pss_kb": pss_kb(pids["proxy"]), "proxy_pss_at_start_kb": after, "proxy_pss_empty_kb": before}
    finally:
        mesh.stop()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--services", type=int, default=500)
    p.add_argument("--endpoints", type=int, default=2000)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--live", action="store_true")
    a = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="kvmesh-scale-") as d:
        d = pathlib.Path(d)
        got = offline(d / "offline", a.services, a.endpoints, a.rounds)
        if a.live:
            got.update(live(d, a.services, a.endpoints))
    print(json.dumps(got, indent=1))


if __name__ == "__main__":
    main()
