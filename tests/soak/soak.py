#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A mesh under load for minutes, while everything that may happen to it happens again and again: reloads, refused files,
certificates of seconds, endpoints that leave and come back, services that restart or close at random, daemons that are
killed. Passes when no request failed and no daemon holds more memory or descriptors at the end than it did early on.

    soak.py [--minutes N] [--rps N]         as ./dev soak runs it; exit 0: passed
"""

import argparse
import contextlib
import os
import pathlib
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "lib"), str(TESTS / "wire")]
import kvmesh  # noqa: E402
from load import Load  # noqa: E402
from server import Server  # noqa: E402

DAEMONS = ("kvmesh-proxy", "kvmesh-router", "kvmesh-ca", "kvmesh-metrics")
# The allocator, the page cache and the connections of the moment breathe. What leaks with each of hundreds of reloads and
# restarts grows by more than this in minutes.
SLACK_KB, SLACK_FDS = 1536, 24
ROUTES = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: my-app }}
spec: {{ host: my-app, subsets: [ {{ name: v1, labels: {{ version: v1 }} }}, {{ name: v2, labels: {{ version: v2 }} }} ] }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: my-app }}
spec:
  hosts: [ my-app ]
  http:
  - route:
    - {{ destination: {{ host: my-app, subset: v1 }}, weight: {v1} }}
    - {{ destination: {{ host: my-app, subset: v2 }}, weight: {v2} }}
"""


class Fickle(Server):
    """Answers the first request of each connection, then closes at random: said or unsaid, before or behind the next."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        super().__init__(backlog=128)

    def serve(self, c):
        with c, contextlib.suppress(OSError):
            while b"\r\n\r\n" in c.recv(65536):
                end = self.rng.randrange(8)
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + (b"Connection: close\r\n" if end == 0 else b"") + b"\r\nok")
                if end == 1:
                    time.sleep(self.rng.random() / 1000)
                if end == 2:
                    c.recv(65536)
                if end < 3:
                    return


class H2load:
    """h2load at a steady rate, one protocol; failed() counts what it saw fail."""

    def __init__(self, mesh, seconds, rps, *args):
        clients = 8
        self.out = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            ["h2load", "-t1", f"-c{clients}", f"-D{seconds}", f"--rps={max(1, rps // clients)}", *args,
             f"--connect-to=127.0.0.1:{mesh.http_port}", "http://my-app/"], stdout=self.out, stderr=subprocess.STDOUT)

    def result(self):
        self.process.wait(120)
        self.out.seek(0)
        text = self.out.read().decode()
        n = re.search(r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", text)
        codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
        if not n or not codes:
            return 0, [f"h2load: {text[-500:]}"]
        bad = int(n[5]) + int(n[6]) + sum(int(codes[i]) for i in (2, 3, 4))
        return int(n[3]), [f"h2load: {n[0]}; {codes[0]}"] if bad else []


def children(mesh):
    found = {}
    for d in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = (d / "stat").read_text()
            if int(stat.rsplit(")", 1)[1].split()[1]) == mesh.process.pid:
                name = stat[stat.index("(") + 1:stat.rindex(")")]
                found.update({x: int(d.name) for x in DAEMONS if x.startswith(name) and name.startswith("kvmesh-")})
    return found


def connections_to(port):
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    return [x for x in lines if x.split()[2].endswith(f":{port:04X}") and x.split()[3] in ("01", "02")]


def sample(pid):
    smaps = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss_Anon:\s+(\d+)", smaps, re.M)[1]), len(os.listdir(f"/proc/{pid}/fd"))


class Soak:
    def __init__(self, directory, seed=1):
        self.rng = random.Random(seed)
        self.dir = pathlib.Path(directory)
        self.mesh = kvmesh.Mesh(self.dir / "mesh")
        self.nginx = {v: kvmesh.Nginx(self.dir, v) for v in ("v1", "v2", "spare")}
        self.fickle = Fickle(seed)
        self.counts, self.samples = {}, []

    # ---- the mesh ----------------------------------------------------------------------------------------------
    def member(self, name, version, port):
        self.mesh.workload(name, port, {"app": "my-app", "version": version}, serviceAccount="my-app")

    def start(self):
        for v in ("v1", "v2"):
            self.member(f"my-app-{v}", v, self.nginx[v].port)
        self.member("my-app-spare", "v2", self.nginx["spare"].port)
        self.mesh.service("my-app", 80, "http")
        self.mesh.workload("fickle", self.fickle.port)
        self.mesh.service("fickle", 80, "http")
        self.mesh.write("mesh.d/10-routes.yaml", ROUTES.format(v1=50, v2=50))
        self.mesh.write("conf.d/short.conf", 'ca = { workloadValidity = "20s"; };\n')
        self.mesh.start()

    def stop(self):
        self.mesh.stop()
        for n in self.nginx.values():
            n.stop()
        self.fickle.stop()

    def reload(self, ok=True):
        r = self.mesh.ctl("config", "reload", "--wait")
        if (r.returncode == 0) != ok:
            raise AssertionError(f"reload: exit {r.returncode}\n{r.stdout}{r.stderr}")

    # ---- what happens ------------------------------------------------------------------------------------------
    def weights(self):
        v1 = self.rng.randrange(101)
        self.mesh.write("mesh.d/10-routes.yaml", ROUTES.format(v1=v1, v2=100 - v1))
        self.reload()

    def mistake(self):
        path = self.mesh.write("mesh.d/90-wrong.yaml", "kind: VirtualService\nspec: { hosts: [ my-app ], nonsense: 1 }\n")
        self.reload(ok=False)
        path.unlink()
        self.reload()

    def leave(self):
        """The spare endpoint leaves, its service restarts, it comes back: as an administrator does it."""
        (self.mesh.etc / "workloads.d/my-app-spare.conf").unlink()
        self.reload()
        port = self.nginx["spare"].port
        kvmesh.wait_for("the last connection to it to end", lambda: not connections_to(port))
        self.nginx["spare"].stop(signal.SIGQUIT)
        self.nginx["spare"] = kvmesh.Nginx(self.dir, f"spare{len(self.samples)}-{self.counts.get('leave', 0)}", port)
        self.member("my-app-spare", "v2", port)
        self.reload()

    def restart_in_place(self):
        """nginx replaces its workers: every idle connection to it is closed, requests under way end."""
        self.nginx["v1"].popen.send_signal(signal.SIGHUP)

    def kill(self, name):
        pid = children(self.mesh).get(name)
        if pid:
            os.kill(pid, signal.SIGKILL)
            kvmesh.wait_for(f"another {name}", lambda: children(self.mesh).get(name) not in (None, pid))
            kvmesh.wait_for(f"{name} to answer", lambda: self.mesh.call(
                name.removeprefix("kvmesh-") + "/" + name.removeprefix("kvmesh-") + ".sock", "Status"))

    def happen(self):
        what = self.rng.choice(["weights"] * 4 + ["leave"] * 3 + ["restart_in_place"] * 2 +
                               ["mistake", "router", "ca", "metrics"])
        if what in ("router", "ca", "metrics"):
            self.kill(f"kvmesh-{what}")
        else:
            getattr(self, what)()
        self.counts[what] = self.counts.get(what, 0) + 1

    # ---- the measure -------------------------------------------------------------------------------------------
    def measure(self, began):
        row = {}
        for name, pid in children(self.mesh).items():
            with contextlib.suppress(OSError):
                row[name] = (pid, *sample(pid))
        self.samples.append((time.monotonic() - began, row))

    def growth(self):
        """Of the proxy, which is never restarted: the middle against the end, each the median of a fifth of the time. In the
        first half what has a cap fills up (512 sessions of TLS servers, with certificates of 20 seconds a new one for nearly
        every connection); what leaks goes on growing."""
        rows = [r["kvmesh-proxy"] for _, r in self.samples if "kvmesh-proxy" in r]
        n = max(1, len(rows) // 5)
        early, late = rows[2 * n:3 * n] or rows, rows[-n:]
        return [(statistics.median(r[i] for r in early), statistics.median(r[i] for r in late)) for i in (1, 2)]

    def run(self, seconds, rps):
        with contextlib.ExitStack() as stack:
            fast = [H2load(self.mesh, seconds, rps // 2, "--h1"), H2load(self.mesh, seconds, rps // 2, "-m4")]
            stack.callback(lambda: [f.process.kill() for f in fast if f.process.poll() is None])
            exact = stack.enter_context(Load(self.mesh.http_port, threads=2))
            odd = stack.enter_context(Load(self.mesh.http_port, host="fickle", threads=2))
            began = time.monotonic()
            pid = children(self.mesh)["kvmesh-proxy"]
            while time.monotonic() - began < seconds - 2:
                self.measure(began)
                self.happen()
                time.sleep(self.rng.uniform(0.2, 1.5))
            done, failures = 0, []
            for f in fast:
                n, bad = f.result()
                done, failures = done + n, failures + bad
            self.measure(began)
            same = children(self.mesh).get("kvmesh-proxy") == pid
        done += exact.done + odd.done
        failures += exact.failures + [f"fickle: {x}" for x in odd.failures]
        return done, failures + ([] if same else ["the proxy was restarted"])


def stat(mesh, name):
    families = mesh.call("proxy/node.sock", "Stats")["parameters"]["families"]
    return sum(int(r[-1]) for f in families if f["name"] == name for r in f["series"])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=10)
    p.add_argument("--rps", type=int, default=800, help="requests a second of h2load, beside two closed loops")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="kvmesh-soak-") as d:
        os.chmod(d, 0o755)
        soak = Soak(d, a.seed)
        try:
            soak.start()
            done, failures = soak.run(int(a.minutes * 60), a.rps)
            mesh = soak.mesh
            print(f"{done} requests, {len(failures)} failures; " + ", ".join(f"{k} {v}" for k, v in sorted(soak.counts.items())))
            print(", ".join(f"{n.removeprefix('kvmesh_')} {stat(mesh, n)}" for n in (
                "kvmesh_upstream_idle_close_races_total", "kvmesh_upstream_connections_opened_total", "kvmesh_tls_handshakes_total",
                "kvmesh_tls_resumed_total", "kvmesh_retries_total")))
            time.sleep(1)
            (rss0, rss1), (fd0, fd1) = soak.growth()
            for at, row in soak.samples[::max(1, len(soak.samples) // 12)]:
                print(f"{at:6.0f} s  " + "  ".join(f"{k.removeprefix('kvmesh-')} {v[1]} kB {v[2]} fds" for k, v in sorted(row.items())))
            print(f"proxy: private memory {rss0:.0f} -> {rss1:.0f} kB, descriptors {fd0:.0f} -> {fd1:.0f} (middle, end)")
        finally:
            soak.stop()
    for f in failures[:20]:
        print("FAILED", f)
    grew = rss1 > rss0 + SLACK_KB or fd1 > fd0 + SLACK_FDS
    if grew:
        print("FAILED: the proxy grew")
    return 1 if failures or grew else 0


if __name__ == "__main__":
    sys.exit(main())
