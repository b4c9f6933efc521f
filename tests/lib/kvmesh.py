# SPDX-License-Identifier: Apache-2.0
"""What wire tests, the demo and the benchmarks start: a mesh under `kvmeshctl run` on free ports in a
directory of its own, and real peers (nginx, Redis, …). Everything is stopped by pid.

Standard library only. Binaries come from $KVMESH_BUILD (a build directory), default ../../build.
"""

import contextlib
import fcntl
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("KVMESH_BUILD", TOP / "build")).resolve()
# Generous: sanitizers on an oversold machine. No test asserts that something is fast.
DEADLINE = float(os.environ.get("KVMESH_TEST_DEADLINE", "60"))

_claimed = []


def free_port():
    """A TCP port nobody else of this test run has or gets: below the ephemeral range and above kvmesh's own defaults,
    claimed by a lock."""
    locks = pathlib.Path(tempfile.gettempdir()) / f"kvmesh-test-ports-{os.getuid()}"
    locks.mkdir(exist_ok=True)
    while True:
        port = random.randrange(21000, 32000)
        fd = os.open(locks / str(port), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.0.0.1", port))
        except OSError:
            os.close(fd)
            continue
        _claimed.append(fd)
        return port


def wait_for(what, condition, deadline=None):
    """Poll condition until it returns something true, and return that."""
    end = time.monotonic() + (deadline or DEADLINE)
    last = None
    while time.monotonic() < end:
        try:
            value = condition()
            if value:
                return value
        except (OSError, http.client.HTTPException, json.JSONDecodeError) as e:
            last = e
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}" + (f": {last}" if last else ""))


def port_open(port, host="127.0.0.1"):
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


class Process:
    """A child with its output in a file; stop() ends exactly this process."""

    def __init__(self, argv, log, env=None, cwd=None, preexec_fn=None, user=None):
        self.argv = [str(a) for a in argv]
        self.log = pathlib.Path(log)
        self._out = open(self.log, "ab")
        self.popen = subprocess.Popen(
            self.argv, stdin=subprocess.DEVNULL, stdout=self._out, stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})}, cwd=cwd, preexec_fn=preexec_fn, user=user)

    @property
    def pid(self):
        return self.popen.pid

    def text(self):
        return self.log.read_text(errors="replace")

    def alive(self):
        return self.popen.poll() is None

    def stop(self, sig=signal.SIGTERM, deadline=20):
        if self.alive():
            self.popen.send_signal(sig)
            try:
                self.popen.wait(deadline)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        self._out.close()
        return self.popen.returncode


class Nginx(Process):
    """A real nginx whose answers name it: body "NAME\\n", header x-backend: NAME."""

    def __init__(self, directory, name, port=None, extra=""):
        self.dir = pathlib.Path(directory) / f"nginx-{name}"
        self.dir.mkdir(parents=True)
        (self.dir / "www").mkdir()
        os.chmod(self.dir, 0o755)
        self.name, self.port = name, port or free_port()
        (self.dir / "nginx.conf").write_text(f"""
daemon off; pid {self.dir}/pid; error_log {self.dir}/error.log warn; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log {self.dir}/access.log;
    client_body_temp_path {self.dir}/body; proxy_temp_path {self.dir}/proxy;
    fastcgi_temp_path {self.dir}/fcgi; uwsgi_temp_path {self.dir}/uwsgi; scgi_temp_path {self.dir}/scgi;
    keepalive_requests 1000000; client_max_body_size 0;
    server {{
        listen 127.0.0.1:{self.port};
        add_header x-backend {name} always;
        location / {{ default_type text/plain; return 200 "{name}\\n"; }}
        location /headers {{ default_type text/plain;
            return 200 "xfcc=$http_x_forwarded_client_cert\\nrid=$http_x_request_id\\nhost=$http_host\\nxff=$http_x_forwarded_for\\nproto=$http_x_forwarded_proto\\npeer=$http_x_kvmesh_peer\\nuri=$request_uri\\n"; }}
        location /status/503 {{ return 503 "busy\\n"; }}
        location /file/ {{ alias {self.dir}/www/; }}
        {extra}
    }}
}}
""")
        super().__init__(["nginx", "-p", self.dir, "-c", self.dir / "nginx.conf", "-e", self.dir / "error.log"],
                         self.dir / "log")
        wait_for(f"nginx {name}", lambda: port_open(self.port))


class Redis(Process):
    def __init__(self, directory, port=None):
        self.dir = pathlib.Path(directory) / "redis"
        self.dir.mkdir()
        self.port = port or free_port()
        super().__init__(["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "",
                          "--appendonly", "no", "--dir", self.dir, "--daemonize", "no"], self.dir / "log")
        wait_for("redis", lambda: port_open(self.port))


def tool(name):
    path = BUILD / name
    if not path.exists():
        raise FileNotFoundError(f"{path}: build first (./dev build)")
    return path


class Mesh:
    """A whole mesh in a directory. write() files, start(), talk through http(), ctl()."""

    def __init__(self, directory, conf="", **ports):
        self.dir = pathlib.Path(directory)
        self.etc, self.run, self.state = (self.dir / d for d in ("etc", "run", "state"))
        for d in (self.etc / "mesh.d", self.etc / "workloads.d", self.run, self.state):
            d.mkdir(parents=True, exist_ok=True)
        self.http_port = ports.get("http_port") or free_port()
        self.mesh_port = ports.get("mesh_port") or free_port()
        self.ready_port = ports.get("ready_port") or free_port()
        self.metrics_port = ports.get("metrics_port") or free_port()
        self.inbound_port = ports.get("inbound_port", 0)
        self.outbound_port = ports.get("outbound_port", 0)
        self.process = None
        self.write("kvmesh.conf", f"""
mesh = {{ proxyHttpPort = {self.http_port}; {conf} }};
node = {{ name = "test-1"; address = "127.0.0.1"; meshPort = {self.mesh_port};
         outboundPort = {self.outbound_port}; inboundPort = {self.inbound_port};
         readyPort = {self.ready_port}; dnsPort = 0; }};
metrics = {{ listen = "127.0.0.1:{self.metrics_port}"; }};
""")

    # ---- files -------------------------------------------------------------------------------
    def write(self, name, text):
        path = self.etc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp = path.with_name("." + path.name + ".new")
        tmp.write_text(text)
        tmp.rename(path)
        return path

    def workload(self, name, port, labels=None, protocol="HTTP", namespace="default", **more):
        labels = {"app": name, **(labels or {})}
        pairs = " ".join(f'{k} = "{v}";' for k, v in labels.items())
        extra = " ".join(f"{k} = {json.dumps(v)};" for k, v in more.items())
        self.write(f"workloads.d/{name}.conf", f"""
Workload = {{ name = "{name}"; namespace = "{namespace}"; address = "127.0.0.1";
  ports = ( {{ name = "{protocol.lower()}"; number = {port}; protocol = "{protocol}"; }} );
  labels = {{ {pairs} }}; {extra} }};
""")

    def service(self, name, port, target, protocol="HTTP", selector=None, namespace="default", listen=None):
        pairs = " ".join(f'{k} = "{v}";' for k, v in (selector or {"app": name}).items())
        more = f'listen = "{listen}";' if listen else ""
        target = json.dumps(target)
        self.write(f"mesh.d/00-service-{name}.conf", f"""
Service = {{ name = "{name}"; namespace = "{namespace}"; selector = {{ {pairs} }};
  ports = ( {{ name = "{protocol.lower()}"; number = {port}; targetPort = {target}; protocol = "{protocol}"; {more} }} ); }};
""")

    # ---- life ----------------------------------------------------------------------------------
    def start(self, wait=True):
        self.process = Process(
            [tool("kvmeshctl"), "run", "--etc", self.etc, "--run", self.run, "--state", self.state],
            self.dir / "run.log", env={"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "detect_leaks=1")})
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        def ready():
            if not self.process.alive():
                raise AssertionError(f"kvmeshctl run ended early:\n{self.process.text()}")
            return "kvmesh: ready" in self.process.text()
        try:
            wait_for("kvmesh: ready", ready)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.process.text()}") from None

    def stop(self):
        if self.process:
            code = self.process.stop()
            self.process = None
            return code
        return None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def text(self):
        return self.process.text() if self.process else (self.dir / "run.log").read_text(errors="replace")

    # ---- talking -------------------------------------------------------------------------------
    def assert_sound(self):
        """Everything runs, and no sanitizer has had a word to say."""
        assert self.process.alive()
        assert "AddressSanitizer" not in self.text() and "runtime error" not in self.text()

    def ctl(self, *args, check=None, input=None):
        r = subprocess.run(
            [tool("kvmeshctl"), "--etc", self.etc, "--run", self.run, "--state", self.state, *map(str, args)],
            capture_output=True, text=True, timeout=DEADLINE, input=input)
        if check is not None and r.returncode != check:
            raise AssertionError(f"kvmeshctl {' '.join(map(str, args))}: exit {r.returncode}, wanted {check}\n"
                                 f"{r.stdout}{r.stderr}")
        return r

    def ctl_json(self, *args):
        return json.loads(self.ctl(*args, "-o", "json", check=0).stdout)

    def call(self, socket_name, method, parameters=None):
        """One IPC call, one reply."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(DEADLINE)
            s.connect(str(self.run / socket_name))
            s.sendall(json.dumps({"method": method, "parameters": parameters or {}}).encode() + b"\0")
            data = b""
            while not data.endswith(b"\0"):
                piece = s.recv(1 << 16)
                if not piece:
                    raise OSError(f"{socket_name}: closed during {method}")
                data += piece
        return json.loads(data[:-1])

    def connect(self):
        """A keep-alive HTTP connection to the explicit proxy port: request("GET", "/", headers={"Host": …})."""
        return http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=DEADLINE)

    def get(self, host, path="/", method="GET", body=None, headers=None):
        c = self.connect()
        try:
            c.request(method, path, body=body, headers={"Host": host, **(headers or {})})
            r = c.getresponse()
            return Response(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        finally:
            c.close()

    def metrics(self):
        c = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=DEADLINE)
        try:
            c.request("GET", "/metrics")
            return c.getresponse().read().decode()
        finally:
            c.close()


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode(errors="replace")

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:200]!r}>"


ARTICLE = """\
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata: { name: default-strict-mtls, namespace: default }
spec: { mtls: { mode: STRICT } }
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: { name: my-app-destination }
spec:
  host: my-app
  subsets:
  - { name: v1, labels: { version: v1 } }
  - { name: v2, labels: { version: v2 } }
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: { name: my-app-route }
spec:
  hosts: [ my-app ]
  http:
  - route:
    - { destination: { host: my-app, subset: v1 }, weight: 95 }
    - { destination: { host: my-app, subset: v2 }, weight: 5 }
"""


class Article:
    """The article's example: my-app v1 and v2 as two nginx, its YAML, and (redis=True) a Redis by TCP."""

    def __init__(self, directory, redis=False, **kw):
        self.dir = pathlib.Path(directory)
        self.stack = contextlib.ExitStack()
        self.v1 = self._own(Nginx(self.dir, "v1"))
        self.v2 = self._own(Nginx(self.dir, "v2"))
        self.mesh = Mesh(self.dir / "mesh", **kw)
        self.stack.callback(self.mesh.stop)
        for n in (self.v1, self.v2):
            self.mesh.workload(f"my-app-{n.name}", n.port, {"app": "my-app", "version": n.name},
                               serviceAccount="my-app")
        self.mesh.service("my-app", 80, "http")
        self.mesh.write("mesh.d/10-article.yaml", ARTICLE)
        if redis:
            self.redis = self._own(Redis(self.dir))
            self.redis_entry = free_port()
            self.mesh.workload("redis", self.redis.port, protocol="TCP")
            self.mesh.service("redis", 6379, "tcp", protocol="TCP", listen=f"127.0.0.1:{self.redis_entry}")

    def _own(self, process):
        self.stack.callback(process.stop)
        return process

    def __enter__(self):
        return self

    def start(self):
        self.mesh.start()
        return self

    def __exit__(self, *exc):
        self.stack.close()
