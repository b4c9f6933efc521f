# SPDX-License-Identifier: Apache-2.0
"""What every measured stack has in common: client → proxy → mTLS → proxy → application.

A stack offers entries (http, h2, grpc, tcp) by port; one that lacks an entry says why in `cannot`. `tls_port` is its inner
proxy's mTLS port, where `tls` tells how a client of the same trust gets in.
"""

import subprocess

import kvmesh

HOST = "app.bench"
GRPC_PATH = "/bench.Echo/Say"


class Certificates:
    """A throw-away root and one leaf for both sides of the peers' hops: P-256, as kvmesh's."""

    def __init__(self, directory):
        self.ca, self.pem = directory / "ca.pem", directory / "leaf-and-key.pem"
        self.crt, self.key = directory / "leaf.pem", directory / "leaf.key"
        ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

        def openssl(*args):
            subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)
        openssl("req", "-x509", *ec, "-keyout", directory / "ca.key", "-out", self.ca, "-days", 2, "-subj", "/CN=bench root")
        openssl("req", "-new", *ec, "-keyout", self.key, "-out", directory / "leaf.csr", "-subj", "/CN=" + HOST)
        (directory / "ext").write_text(f"subjectAltName=DNS:{HOST}\nextendedKeyUsage=clientAuth,serverAuth\n")
        openssl("x509", "-req", "-in", directory / "leaf.csr", "-CA", self.ca, "-CAkey", directory / "ca.key", "-CAcreateserial",
                "-days", 2, "-extfile", directory / "ext", "-out", self.crt)
        self.pem.write_text(self.crt.read_text() + self.key.read_text())


class Applications:
    """nginx with files of every size, nghttpd as the gRPC service (h2c, one framed message and grpc-status as a trailer),
    tcpload for TCP."""

    def __init__(self, directory, sizes):
        www = directory / "www"
        (www / "bench.Echo").mkdir(parents=True)
        for name, size in sizes.items():
            (www / name).write_bytes(b"x" * size)
        message = b"\0" + (64).to_bytes(4, "big") + b"m" * 64
        (www / "bench.Echo" / "Say").write_bytes(message)
        self.grpc_request = directory / "grpc-request"
        self.grpc_request.write_bytes(message)
        self.owned = []
        self.http = self._own(kvmesh.Nginx(directory, "app", extra=f"location /f/ {{ access_log off; alias {www}/; open_file_cache max=10; }}")).port
        self.tcp, self.grpc = kvmesh.free_port(), kvmesh.free_port()
        self._own(kvmesh.Process([kvmesh.tool("tests/bench/tcpload"), "serve", self.tcp], directory / "tcpload.log"))
        kvmesh.wait_for("tcpload", lambda: kvmesh.port_open(self.tcp))
        self._own(kvmesh.Process(["nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", www, "--trailer", "grpc-status: 0", self.grpc],
                                 directory / "nghttpd.log"))
        kvmesh.wait_for("nghttpd", lambda: kvmesh.port_open(self.grpc))

    def _own(self, process):
        self.owned.append(process)
        return process

    def stop(self):
        for p in reversed(self.owned):
            p.stop()


class Stack:
    name = ""
    host = HOST             # of http and h2 requests
    grpc_host = HOST

    def __init__(self):
        self.owned = []
        self.ports = {}     # entry: port
        self.cannot = {}    # entry: why not
        self.tls_port = 0

    def new_ports(self, *entries):
        """(entry ports, inner ports), each by entry."""
        self.ports = {e: kvmesh.free_port() for e in entries}
        return self.ports, {e: kvmesh.free_port() for e in entries}

    def run(self, argv, log):
        self.owned.append(kvmesh.Process(argv, log))

    def wait(self, *ports):
        def up():
            for p in self.owned:
                if not p.alive():
                    raise SystemExit(f"{self.name} ended at once:\n{p.text()}")
            return all(kvmesh.port_open(p) for p in ports)
        kvmesh.wait_for(self.name, up)

    def pids(self):
        return [p.pid for p in self.owned]

    def tls(self, context):
        """Make an SSLContext a client of the inner proxy; returns the server name to ask for."""
        context.load_cert_chain(self.certs.crt, self.certs.key)
        return HOST

    def stop(self):
        for p in reversed(self.owned):
            p.stop()
