# SPDX-License-Identifier: Apache-2.0
"""A program that is no workload of the mesh, with a certificate that an administrator had made for it: it dials
meshPort as a proxy would, with Python's own TLS."""

import pathlib
import ssl
import socket
import subprocess

import kvmesh


class Outsider:
    """Key and certificate in DIRECTORY, issued through the CA's Issue."""

    def __init__(self, mesh, directory, name="reporter", **more):
        self.mesh, self.dir = mesh, pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.spiffe = f"spiffe://cluster.local/ns/people/sa/{name}"
        csr = self.dir / "csr.pem"
        subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", self.dir / "key.pem", "-out", csr, "-subj", "/"], check=True, capture_output=True)
        reply = mesh.call("ca/ca.sock", "Issue", {"csr": csr.read_text(), "spiffe": self.spiffe, **more})
        assert "error" not in reply, reply
        self.issued = reply["parameters"]
        (self.dir / "crt.pem").write_text(self.issued["certificate"])

    @property
    def serial(self):
        return self.issued["serial"]

    def context(self):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        c.minimum_version = ssl.TLSVersion.TLSv1_3
        c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
        c.load_cert_chain(self.dir / "crt.pem", self.dir / "key.pem")
        return c

    def connect(self, service="my-app", port=80, context=None, session=None):
        """An established connection; ssl.SSLError or OSError when the mesh does not want us."""
        raw = socket.create_connection(("127.0.0.1", self.mesh.mesh_port), timeout=kvmesh.DEADLINE)
        return (context or self.context()).wrap_socket(
            raw, server_hostname=f"outbound_.{port}_._.{service}.default.svc.cluster.local", session=session)

    @staticmethod
    def get(tls, host="my-app"):
        """Status line of one request, "" when the connection ended instead."""
        tls.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            piece = tls.recv(4096)
            if not piece:
                return ""
            data += piece
        return data.split(b"\r\n")[0].decode()

    def try_it(self, service="my-app"):
        """"" when a request was answered; else why not."""
        try:
            with self.connect(service) as tls:
                line = self.get(tls)
                return "" if " 200 " in line else line or "closed"
        except OSError as e:            # ssl.SSLError is one
            return str(e) or repr(e)
