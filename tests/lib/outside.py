# SPDX-License-Identifier: Apache-2.0
"""Servers of the world outside the mesh: a real nginx behind TLS of its own authority, and one that says a word."""

import contextlib
import os
import pathlib
import socket

import kvmesh
from kvmesh import wait_for
from server import Server


class TlsNginx(kvmesh.Process):
    """An HTTPS server; its answer tells its name, the server name that the client asked for, and what it sent.
    clients: the authority of the client certificates that it demands."""

    def __init__(self, directory, name, ca, *sans, clients=None, inside=(), address="127.0.0.1", port=None):
        self.dir = pathlib.Path(directory) / f"outside-{name}"
        self.dir.mkdir(parents=True)
        os.chmod(self.dir, 0o755)
        self.name, self.port = name, port or kvmesh.free_port()
        crt, key = ca.issue(f"{name}-outside", *(sans or (f"DNS:{name}",)))
        demand = f"ssl_client_certificate {clients.crt}; ssl_verify_client on;" if clients else ""
        (self.dir / "nginx.conf").write_text(f"""
daemon off; pid {self.dir}/pid; error_log {self.dir}/error.log warn; worker_processes 1; user root;
events {{ worker_connections 1024; }}
http {{
    access_log {self.dir}/access.log;
    client_body_temp_path {self.dir}/body; proxy_temp_path {self.dir}/proxy;
    fastcgi_temp_path {self.dir}/fcgi; uwsgi_temp_path {self.dir}/uwsgi; scgi_temp_path {self.dir}/scgi;
    server {{
        listen {address}:{self.port} ssl;
        ssl_certificate {crt}; ssl_certificate_key {key}; {demand}
        location / {{ default_type text/plain;
            return 200 "{name}\\nsni=$ssl_server_name\\nhost=$http_host\\nclient=$ssl_client_s_dn\\nxfcc=$http_x_forwarded_client_cert\\n"; }}
    }}
}}
""")
        super().__init__([*inside, "nginx", "-p", self.dir, "-c", self.dir / "nginx.conf", "-e", self.dir / "error.log"], self.dir / "log")
        if not inside:
            wait_for(f"nginx {name}", lambda: kvmesh.port_open(self.port))

    def requests(self):
        log = self.dir / "access.log"
        return len(log.read_text().splitlines()) if log.exists() else 0


class Parrot(Server):
    """Says "NAME: " and then everything that it hears, until the client has said all."""

    def __init__(self, name):
        self.name = name
        super().__init__()

    def serve(self, connection):
        with connection, contextlib.suppress(ConnectionError):
            connection.sendall(f"{self.name}: ".encode())
            while data := connection.recv(65536):
                connection.sendall(data)


def converse(sock, text="hello"):
    """What a Parrot says to text."""
    sock.settimeout(kvmesh.DEADLINE)
    sock.sendall(text.encode())
    got = b""
    while not got.endswith(text.encode()):
        piece = sock.recv(65536)
        if not piece:
            break
        got += piece
    return got.decode()


def is_closed(port, said=b""):
    """A connection is closed without a word."""
    with socket.create_connection(("127.0.0.1", port), timeout=kvmesh.DEADLINE) as s:
        try:
            s.sendall(said)
            return s.recv(100) == b""
        except ConnectionResetError:
            return True
