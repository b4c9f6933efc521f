# SPDX-License-Identifier: Apache-2.0
"""The whole suite with the demo's configuration: idle memory, and the time from saving a file to the proxy's ack."""

import pathlib
import statistics
import subprocess
import time

import kvmesh
from proc import pss_kb, rss_kb


def memory(mesh):
    """{daemon: (RSS, Pss)} in kB."""
    children = [int(p) for p in subprocess.run(["pgrep", "-P", str(mesh.process.pid)], capture_output=True, text=True).stdout.split()]
    found = {pathlib.Path(f"/proc/{p}/comm").read_text().strip(): (rss_kb(p), pss_kb(p)) for p in children}
    print("\nIdle memory with the demo's configuration, MB (RSS, Pss)")
    for name, (rss, pss) in found.items():
        print(f"{name:16}{rss / 1024:8.1f}{pss / 1024:8.1f}")
    print(f"{'total':16}{sum(r for r, _ in found.values()) / 1024:8.1f}{sum(p for _, p in found.values()) / 1024:8.1f}")
    return found


def save_to_ack(mesh):
    """Milliseconds, eleven times."""
    times = []
    for i in range(11):
        text = kvmesh.ARTICLE.replace("weight: 95", f"weight: {90 - i}").replace("weight: 5 }", f"weight: {10 + i} }}")
        before = mesh.call("router/router.sock", "Status")["parameters"]["generation"]
        start = time.perf_counter()
        mesh.write("mesh.d/10-article.yaml", text)

        def acked():
            s = mesh.call("router/router.sock", "Status")["parameters"]
            return s["generation"] > before and all(p["state"] == "SYNCED" for p in s["proxies"])
        while not acked():
            time.sleep(0.001)
        times.append((time.perf_counter() - start) * 1000)
    print(f"\nFrom saving a file to the last proxy's ack: median {statistics.median(times):.0f} ms, slowest {max(times):.0f} ms")
    return times


def run(directory):
    with kvmesh.Article(directory) as a:
        a.start()
        a.mesh.get("my-app")
        time.sleep(2)
        return {"memory_kb": memory(a.mesh), "save_to_ack_ms": save_to_ack(a.mesh)}
