#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Figures against peers in one run: client → proxy → mTLS → proxy → nginx, for kvmesh, HAProxy and nginx.

Stacks are interleaved round by round, CPU is what the scheduler charged to the proxies (schedstat) divided by the
requests, medians of the rounds are printed with their ratio to each peer. See tests/bench/README.md.
"""

import argparse
import contextlib
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))
import kvmesh  # noqa: E402

BODY = {"128B": 128, "1kB": 1024, "64kB": 65536, "1MB": 1 << 20}


def cpu_ns(pids):
    total = 0
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
    return total


def pss_kb(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])


def rss_kb(pid):
    return int(re.search(r"^VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])


class Certificates:
    """A throw-away root and one leaf for both sides of HAProxy's and nginx's hops: P-256, as kvmesh's."""

    def __init__(self, directory):
        self.dir = directory
        self.ca, self.pem = directory / "ca.pem", directory / "leaf-and-key.pem"
        self.crt, self.key = directory / "leaf.pem", directory / "leaf.key"
        ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

        def openssl(*args):
            subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)
        openssl("req", "-x509", *ec, "-keyout", directory / "ca.key", "-out", self.ca, "-days", 2, "-subj", "/CN=bench root")
        openssl("req", "-new", *ec, "-keyout", self.key, "-out", directory / "leaf.csr", "-subj", "/CN=app.bench")
        (directory / "ext").write_text("subjectAltName=DNS:app.bench\nextendedKeyUsage=clientAuth,serverAuth\n")
        openssl("x509", "-req", "-in", directory / "leaf.csr", "-CA", self.ca, "-CAkey", directory / "ca.key", "-CAcreateserial",
                "-days", 2, "-extfile", directory / "ext", "-out", self.crt)
        self.pem.write_text(self.crt.read_text() + self.key.read_text())


class Stack:
    name = ""

    def __init__(self):
        self.owned = []

    def stop(self):
        for p in reversed(self.owned):
            p.stop()

    host = "app.bench"


class Kvmesh(Stack):
    name = "kvmesh"
    host = "app"

    def __init__(self, directory, app_port):
        super().__init__()
        self.mesh = kvmesh.Mesh(directory / "mesh")
        self.mesh.write("conf.d/bench.conf", "mesh = { defaultConfig = { concurrency = 1; }; };\n")
        self.mesh.workload("app", app_port)
        self.mesh.service("app", 80, "http")
        self.mesh.write("mesh.d/strict.yaml", kvmesh.ARTICLE.split("---")[0])
        self.mesh.start()
        self.owned.append(self.mesh)
        self.port = self.mesh.http_port

    def pids(self):
        return [self.mesh.call("proxy/node.sock", "Status")["parameters"]["pid"]]


class Haproxy(Stack):
    def __init__(self, directory, app_port, certs, h2):
        super().__init__()
        self.name = "haproxy-h2" if h2 else "haproxy"
        self.port, mid = kvmesh.free_port(), kvmesh.free_port()
        alpn = "h2" if h2 else "http/1.1"
        common = """
global
    nbthread 1
    maxconn 4000
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
    ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
    ssl-default-bind-curves X25519:P-256
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-server-options ssl-min-ver TLSv1.3
defaults
    mode http
    http-reuse always
    timeout client 1h
    timeout server 1h
    timeout connect 5s
"""
        configs = {
            "out": f"frontend f\n    bind 127.0.0.1:{self.port}\n    default_backend b\nbackend b\n    server s 127.0.0.1:{mid} ssl verify required "
                   f"crt {certs.pem} ca-file {certs.ca} sni str(app.bench) verifyhost app.bench alpn {alpn} pool-max-conn 1000\n",
            "in": f"frontend f\n    bind 127.0.0.1:{mid} ssl crt {certs.pem} ca-file {certs.ca} verify required alpn h2,http/1.1\n    default_backend b\n"
                  f"backend b\n    server s 127.0.0.1:{app_port} pool-max-conn 1000\n"}
        for side, text in configs.items():
            f = directory / f"{self.name}-{side}.cfg"
            f.write_text(common + text)
            self.owned.append(kvmesh.Process(["haproxy", "-db", "-f", f], directory / f"{self.name}-{side}.log"))
        kvmesh.wait_for(self.name, lambda: kvmesh.port_open(self.port) and kvmesh.port_open(mid))

    def pids(self):
        return [p.pid for p in self.owned]


class NginxHops(Stack):
    name = "nginx"

    def __init__(self, directory, app_port, certs):
        super().__init__()
        self.port, mid = kvmesh.free_port(), kvmesh.free_port()
        upstream = "upstream u {{ server 127.0.0.1:{}; keepalive 1000; keepalive_requests 100000000; }}"
        proxy = "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; proxy_buffering on; proxy_max_temp_file_size 0;"
        tls = "ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; ssl_ecdh_curve X25519:P-256;"
        configs = {
            "out": upstream.format(mid) + f"server {{ listen 127.0.0.1:{self.port}; location / {{ {proxy} proxy_pass https://u; "
                   f"proxy_ssl_protocols TLSv1.3; proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; proxy_ssl_certificate {certs.crt}; "
                   f"proxy_ssl_certificate_key {certs.key}; proxy_ssl_trusted_certificate {certs.ca}; proxy_ssl_verify on; proxy_ssl_name app.bench; "
                   f"proxy_ssl_server_name on; proxy_ssl_session_reuse on; }} }}",
            "in": upstream.format(app_port) + f"server {{ listen 127.0.0.1:{mid} ssl; {tls} ssl_certificate {certs.crt}; ssl_certificate_key {certs.key}; "
                  f"ssl_client_certificate {certs.ca}; ssl_verify_client on; ssl_session_cache shared:s:1m; location / {{ {proxy} proxy_pass http://u; }} }}"}
        for side, text in configs.items():
            d = directory / f"nginx-{side}"
            d.mkdir()
            (d / "nginx.conf").write_text(f"daemon off; pid {d}/pid; error_log {d}/error.log warn; worker_processes 1;\n"
                                          f"events {{ worker_connections 4096; }}\nhttp {{ access_log off; keepalive_requests 100000000; "
                                          f"client_body_temp_path {d}/b; proxy_temp_path {d}/p; fastcgi_temp_path {d}/f; uwsgi_temp_path {d}/u; "
                                          f"scgi_temp_path {d}/s;\n{text}\n}}\n")
            self.owned.append(kvmesh.Process(["nginx", "-p", d, "-c", d / "nginx.conf", "-e", d / "error.log"], d / "log"))
        kvmesh.wait_for("nginx hops", lambda: kvmesh.port_open(self.port) and kvmesh.port_open(mid))

    def pids(self):
        out = []
        for p in self.owned:
            out += [p.pid, *map(int, subprocess.run(["pgrep", "-P", str(p.pid)], capture_output=True, text=True).stdout.split())]
        return out


def wrk(port, host, path, connections, seconds):
    r = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", f"Host: {host}", f"http://127.0.0.1:{port}{path}"],
                       capture_output=True, text=True)
    if r.returncode != 0:
        raise SystemExit(f"wrk: {r.stderr}{r.stdout}")
    unit = {"us": 1e-3, "ms": 1, "s": 1e3}

    def latency(percent):
        m = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s)$", r.stdout, re.M)
        return float(m[1]) * unit[m[2]]
    bad = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", r.stdout))
    errors = sum(int(n) for m in re.findall(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", r.stdout) for n in m)
    return {"requests": int(re.search(r"(\d+) requests in", r.stdout)[1]), "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", r.stdout)[1]),
            "p50": latency(50), "p99": latency(99), "failed": bad + errors}


def measure(stack, path, connections, seconds):
    pids = stack.pids()
    before = cpu_ns(pids)
    got = wrk(stack.port, stack.host, path, connections, seconds)
    got["cpu_us"] = (cpu_ns(pids) - before) / 1000 / max(1, got["requests"])
    return got


def throughput(args, directory):
    certs = Certificates(directory)
    www = directory / "www"
    www.mkdir()
    app = kvmesh.Nginx(directory, "app", extra="location /f/ { alias %s/; open_file_cache max=10; }" % www)
    for name, size in BODY.items():
        (www / name).write_bytes(b"x" * size)
    stacks = [Kvmesh(directory, app.port)]
    if shutil.which("haproxy"):
        stacks += [Haproxy(directory, app.port, certs, False), Haproxy(directory, app.port, certs, True)]
    else:
        print("haproxy is not installed: not run")
    stacks.append(NginxHops(directory, app.port, certs))
    rows = []
    try:
        for size, connections in args.scenarios:
            results = {s.name: [] for s in stacks}
            for s in stacks:
                wrk(s.port, s.host, f"/f/{size}", connections, 1)
            for _ in range(args.rounds):
                for s in stacks:
                    results[s.name].append(measure(s, f"/f/{size}", connections, args.seconds))
            medians = {n: {k: statistics.median(r[k] for r in v) for k in v[0]} for n, v in results.items()}
            rows.append({"size": size, "connections": connections, "stacks": medians})
            print(f"\n{size}, {connections} connection(s): median of {args.rounds} rounds of {args.seconds} s, CPU of both hops")
            print(f"{'stack':12}{'CPU µs/req':>12}{'kvmesh ÷':>10}{'req/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'failed':>8}")
            mine = medians["kvmesh"]["cpu_us"]
            for n, m in medians.items():
                print(f"{n:12}{m['cpu_us']:12.1f}{mine / m['cpu_us']:10.2f}{m['rps']:10.0f}{m['p50']:9.2f}{m['p99']:9.2f}{m['failed']:8.0f}")
    finally:
        for s in stacks:
            s.stop()
        app.stop()
    return rows


def suite(directory):
    """Idle memory of the whole suite with the demo's configuration, and time from saving a file to the proxy's ack."""
    with kvmesh.Article(directory / "article") as a:
        a.start()
        mesh = a.mesh
        mesh.get("my-app")
        time.sleep(2)
        children = [int(p) for p in subprocess.run(["pgrep", "-P", str(mesh.process.pid)], capture_output=True, text=True).stdout.split()]
        memory = {pathlib.Path(f"/proc/{p}/comm").read_text().strip(): (rss_kb(p), pss_kb(p)) for p in children}
        print("\nIdle memory, MB (RSS, Pss)")
        for name, (rss, pss) in memory.items():
            print(f"{name:16}{rss / 1024:8.1f}{pss / 1024:8.1f}")
        total = sum(r for r, _ in memory.values()) / 1024
        print(f"{'total':16}{total:8.1f}{sum(p for _, p in memory.values()) / 1024:8.1f}")
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
        return {"memory_kb": memory, "save_to_ack_ms": times}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=int, default=3)
    p.add_argument("--scenario", action="append", help="SIZE:CONNECTIONS, for example 128B:16 (sizes: %s)" % ", ".join(BODY))
    p.add_argument("--no-suite", action="store_true")
    p.add_argument("--json", help="write the figures there as well")
    args = p.parse_args()
    args.scenarios = [(s.split(":")[0], int(s.split(":")[1])) for s in args.scenario or ["128B:1", "128B:16", "128B:64", "64kB:16"]]
    directory = pathlib.Path(tempfile.mkdtemp(prefix="kvmesh-bench-"))
    directory.chmod(0o755)
    try:
        out = {"throughput": throughput(args, directory)}
        if not args.no_suite:
            (directory / "article").mkdir()
            out["suite"] = suite(directory)
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps(out, indent=1))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
