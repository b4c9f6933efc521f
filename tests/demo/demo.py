#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""./dev demo: the article's example on real services, every printed claim checked.

Two nginx are my-app v1 and v2, a Redis stands behind a TCP service; the suite runs under `kvmeshctl run`
with etc/demo's resources. With --once it ends by itself: 0 when all claims held.
"""

import argparse
import http.client
import math
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))
import kvmesh  # noqa: E402

REQUESTS = 2000
CANARY = 0.05


class Claims:
    def __init__(self):
        self.failed = 0

    def check(self, text, held):
        print(f"  {'ok' if held else 'FAILED':6} {text}", flush=True)
        self.failed += not held
        return held


def head(text):
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


def drive(port, host, n):
    """n requests on one keep-alive connection: (answers by body, milliseconds of each, failures)."""
    answers, times, failures = {}, [], 0
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(n):
        start = time.perf_counter()
        try:
            c.request("GET", "/", headers={"Host": host})
            r = c.getresponse()
            body = r.read().decode().strip()
            if r.status != 200:
                failures += 1
                continue
        except (OSError, http.client.HTTPException):
            failures += 1
            c.close()
            continue
        times.append((time.perf_counter() - start) * 1000)
        answers[body] = answers.get(body, 0) + 1
    c.close()
    return answers, times, failures


def redis_ping(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(b"PING\r\n")
        return s.recv(64)


def handshake_without_certificate(port):
    """What a client that has no certificate gets from the mesh port: bytes of an answer, if any."""
    r = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3", "-quiet",
         "-servername", "outbound_.80_._.my-app.default.svc.cluster.local", "-alpn", "http/1.1"],
        input=b"GET / HTTP/1.1\r\nHost: my-app\r\n\r\n", capture_output=True, timeout=20)
    return r.stdout


def plain_text(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: my-app\r\n\r\n")
        s.settimeout(10)
        try:
            return s.recv(1024)
        except ConnectionResetError:
            return b""


def access_log_line(mesh):
    def last():
        lines = [line for line in mesh.text().splitlines() if '"GET / HTTP/1.1" 200' in line and "outbound|" in line]
        return lines[-1] if lines else None
    return kvmesh.wait_for("an access log line", last)


def tour(a, claims):
    mesh = a.mesh
    head(f"Canary: {REQUESTS} requests to my-app through the mesh")
    answers, times, failures = drive(mesh.http_port, "my-app", REQUESTS)
    v2 = answers.get("v2", 0) / REQUESTS
    sigma = math.sqrt(CANARY * (1 - CANARY) / REQUESTS)
    print(f"  configured  v1 95.0 %  v2 5.0 %\n  measured    v1 {answers.get('v1', 0) * 100 / REQUESTS:.1f} %"
          f"  v2 {v2 * 100:.1f} %")
    claims.check(f"the measured split is within 4 sigma (±{4 * sigma * 100:.1f} %) of the configured", abs(v2 - CANARY) <= 4 * sigma)
    claims.check(f"no request failed ({failures} of {REQUESTS})", failures == 0)

    head("Redis through a TCP service")
    claims.check("PING is answered +PONG", redis_ping(a.redis_entry) == b"+PONG\r\n")

    head("Encrypted: kvmeshctl authn tls-check -o wide")
    table = mesh.ctl("authn", "tls-check", "-o", "wide")
    print(table.stdout, end="")
    rows = [r for r in mesh.ctl_json("authn", "tls-check") if r["host"].startswith("my-app.")]
    claims.check("my-app is STRICT and no conflict was found",
                 table.returncode == 0 and rows and all(r["server"] == "STRICT" for r in rows))
    claims.check("what the proxies saw on the wire: TLSv1.3, both sides with a certificate",
                 rows and all(r["observed"]["mutual"] and r["observed"]["tls"] == "TLSv1.3" for r in rows))
    claims.check("a client without a certificate gets no byte of an answer", handshake_without_certificate(mesh.mesh_port) == b"")
    claims.check("plain text on the mesh port gets no byte of an answer", plain_text(mesh.mesh_port) == b"")

    head("One access log line")
    print(" ", access_log_line(mesh))

    head("Latency, one request at a time, milliseconds")
    direct = drive(a.v1.port, "my-app", REQUESTS)[1]
    print(f"  without the mesh  p50 {quantile(direct, .5):.2f}  p99 {quantile(direct, .99):.2f}")
    print(f"  through the mesh  p50 {quantile(times, .5):.2f}  p99 {quantile(times, .99):.2f}   (two proxies' work, mutual TLS between them)")

    head("Metrics")
    text = mesh.metrics()
    wanted = 'istio_requests_total{'
    claims.check(f"http://127.0.0.1:{mesh.metrics_port}/metrics has Istio's istio_requests_total from both sides",
                 any(wanted in line and 'reporter="source"' in line and 'my-app' in line for line in text.splitlines())
                 and any(wanted in line and 'reporter="destination"' in line and 'connection_security_policy="mutual_tls"' in line
                         for line in text.splitlines()))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--once", action="store_true", help="end after the tour; exit 0 when every claim held")
    args = p.parse_args()
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda *_: sys.exit(143))

    claims = Claims()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="kvmesh-demo-"))
    directory.chmod(0o755)
    try:
        with kvmesh.Article(directory, redis=True, conf='accessLogFile = "/dev/stdout";') as a:
            (a.mesh.etc / "mesh.d" / "10-article.yaml").unlink()
            shutil.copy(TOP / "etc" / "demo" / "mesh.d" / "10-my-app.yaml", a.mesh.etc / "mesh.d")
            print(f"Starting the mesh in {directory} (two nginx as my-app v1 and v2, one Redis) …", flush=True)
            a.start()
            tour(a, claims)
            head("Try it yourself")
            print(f"  curl -x http://127.0.0.1:{a.mesh.http_port} http://my-app/\n"
                  f"  {kvmesh.BUILD}/kvmeshctl --etc {a.mesh.etc} --run {a.mesh.run} --state {a.mesh.state} status\n"
                  f"  edit {a.mesh.etc}/mesh.d/10-my-app.yaml: the new weights are live as you save", flush=True)
            if not args.once:
                print("\nThe mesh stays up until Ctrl-C.", flush=True)
                while a.mesh.process.alive():
                    time.sleep(0.5)
                claims.check("the mesh stayed up", False)
    except KeyboardInterrupt:
        print("\nStopped.")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if claims.failed:
        print(f"\n{claims.failed} claim(s) did not hold.")
    return 1 if claims.failed else 0


if __name__ == "__main__":
    sys.exit(main())
