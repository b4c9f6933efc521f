# SPDX-License-Identifier: Apache-2.0
"""Load generators and how their output is read. Each returns requests (or bytes, connections) done, failures, latencies in ms."""

import json
import pathlib
import re
import subprocess
import tempfile

import kvmesh

UNIT = {"us": 1e-3, "ms": 1, "s": 1e3}


def command(*argv):
    r = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    if r.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, argv))}: exit {r.returncode}\n{r.stderr}{r.stdout}")
    return r.stdout


def wrk(stack, path, connections, seconds, close=False):
    """HTTP/1.1, closed loop; close: a connection for every request."""
    text = command("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", f"Host: {stack.host}",
                   *(["-H", "Connection: close"] if close else []), f"http://127.0.0.1:{stack.ports['http']}{path}")

    def latency(percent):
        m = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s)$", text, re.M)
        return float(m[1]) * UNIT[m[2]] if m else 0.0
    bad = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    errors = sum(int(n) for m in re.findall(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text) for n in m)
    return {"requests": int(re.search(r"(\d+) requests in", text)[1]), "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
            "p50": latency(50), "p99": latency(99), "failed": bad + errors}


def h2load(stack, entry, path, seconds, connections=16, streams=10, body=None):
    """HTTP/2 with prior knowledge, closed loop; body: a file to POST as gRPC."""
    host = stack.grpc_host if body else stack.host
    more = ["-d", body, "-H", "content-type: application/grpc", "-H", "te: trailers"] if body else []
    with tempfile.NamedTemporaryFile(prefix="kvmesh-bench-h2load-") as log:
        text = command("h2load", f"-c{connections}", f"-m{streams}", f"-D{seconds}", f"--log-file={log.name}",
                       f"--connect-to=127.0.0.1:{stack.ports[entry]}", *more, f"http://{host}{path}")
        times = sorted(int(line.split("\t")[2]) for line in pathlib.Path(log.name).read_text().splitlines())
    done, good = re.search(r"(\d+) done, (\d+) succeeded", text).groups()

    def at(share):
        return times[min(len(times) - 1, int(share * len(times)))] / 1000 if times else 0.0
    return {"requests": int(done), "rate": int(done) / seconds, "p50": at(.5), "p99": at(.99), "failed": int(done) - int(good)}


def tcp(stack, mode, clients, seconds, entry="tcp"):
    """mode pull: bytes; mode connect: connections."""
    got = json.loads(command(kvmesh.tool("tests/bench/tcpload"), mode, stack.ports[entry], clients, seconds))
    return {"requests": got["bytes"] / (1 << 30) if mode == "pull" else got["connections"],
            "rate": (got["bytes"] / 1e6 if mode == "pull" else got["connections"]) / got["seconds"],
            "p50": got["p50_us"] / 1000, "p99": got["p99_us"] / 1000, "failed": got["failed"]}


def openload(stack, path, rate, seconds, connections=32):
    got = json.loads(command(kvmesh.tool("tests/bench/openload"), stack.ports["http"], stack.host, path, rate, connections, seconds))
    return {**got, "rate": got["requests"] / seconds}
