# SPDX-License-Identifier: Apache-2.0
"""A mesh on one of two joined network namespaces, with its traffic captured by kvmesh-nft: the mesh runs as user PROXY,
applications as APP, one that calls as CALLER."""

import contextlib
import json
import os
import pathlib
import pwd
import shutil
import tempfile

import kvmesh
import netns

PROXY, APP, CALLER = (pwd.getpwnam(n).pw_uid for n in ("daemon", "nobody", "games"))


@contextlib.contextmanager
def passable_directory():
    """One that every user may pass through, whatever other runs of pytest do to theirs meanwhile."""
    with tempfile.TemporaryDirectory(prefix="kvmesh-capture-") as d:
        os.chmod(d, 0o755)
        yield pathlib.Path(d)


class CapturedMesh(kvmesh.Mesh):
    """Inside the node's namespace; kvmesh-nft by nft()."""

    def __init__(self, directory, pair, conf=""):
        self.pair = pair
        self.outbound, self.inbound = kvmesh.free_port(), kvmesh.free_port()
        super().__init__(directory, conf, inbound_port=self.inbound, outbound_port=self.outbound)

    def start(self, wait=True):
        for d in (self.run, self.state):
            os.chown(d, PROXY, PROXY)
        run = self.pair.node.command(kvmesh.tool("kvmeshctl"), "run", "--etc", self.etc, "--run", self.run, "--state", self.state,
                                     user=PROXY)
        self.process = kvmesh.Process(run, self.dir / "run.log", env={"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "detect_leaks=0")})
        if wait:
            self.wait_ready()
        return self

    def nft(self, *args, check=0):
        r = self.pair.node.run(kvmesh.tool("kvmesh-nft"), *args, "--etc", self.etc, "--run", self.run, "--state", self.dir / "nft-state",
                               "--proxy-user", PROXY)
        if check is not None:
            assert r.returncode == check, f"kvmesh-nft {args}: exit {r.returncode}\n{r.stdout}{r.stderr}"
        return r

    def capture_status(self, check=0):
        return json.loads(self.nft("status", "json", check=check).stdout)

    def captured(self, name, direction):
        """How many connections of that workload were led through the proxy."""
        rows = [w for w in self.capture_status()["workloads"] if w["name"] == name]
        return rows[0]["capturedOut" if direction == "out" else "capturedIn"]


class InsideNginx(kvmesh.Process):
    """A real nginx in a namespace, as APP, on all addresses; its body says who it saw."""

    def __init__(self, ns, directory, port, name="app"):
        d = pathlib.Path(directory) / f"nginx-{name}"
        d.mkdir()
        shutil.chown(d, APP)
        (d / "nginx.conf").write_text(f"""
daemon off; pid {d}/pid; worker_processes 1; error_log {d}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {d}/access.log;
    client_body_temp_path {d}/body; proxy_temp_path {d}/proxy; fastcgi_temp_path {d}/f; uwsgi_temp_path {d}/u; scgi_temp_path {d}/s;
    server {{
        listen {port}; listen [::]:{port};
        location / {{ default_type text/plain; return 200 "{name} $remote_addr $http_x_forwarded_client_cert\\n"; }}
    }}
}}
""")
        super().__init__(ns.command("nginx", "-p", d, "-c", d / "nginx.conf", "-e", d / "error.log", user=APP), d / "log")
        kvmesh.wait_for(f"nginx {name}", lambda: ns.dial("127.0.0.1", port).close() or True)


def ask(ns, url, *args, user=None):
    """curl inside: (status or 0, body)."""
    r = ns.run("curl", "-sS", "--noproxy", "*", "-m", "30", "-w", "\n%{http_code}", *args, url, user=user)
    body, _, code = r.stdout.rpartition("\n")
    return int(code or 0), body
