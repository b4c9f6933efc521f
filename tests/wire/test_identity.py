# SPDX-License-Identifier: Apache-2.0
"""Who gets through the mesh port, and who is believed to be the service."""

import socket
import ssl
import subprocess
import threading

import pytest

import kvmesh

SNI = "outbound_.80_._.my-app.default.svc.cluster.local"
REQUEST = b"GET / HTTP/1.1\r\nHost: my-app\r\nConnection: close\r\n\r\n"


def openssl(*args, **kw):
    return subprocess.run(["openssl", *map(str, args)], capture_output=True, timeout=kvmesh.DEADLINE, check=True, **kw)


def key_and_csr(directory, name):
    key, csr = directory / f"{name}.key", directory / f"{name}.csr"
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
            "-out", csr, "-subj", "/")
    return key, csr


def mesh_certificate(mesh, directory, spiffe, name="client"):
    """A certificate of the mesh's own CA: in a mesh run by `kvmeshctl run` the CA's user speaks for the proxy."""
    key, csr = key_and_csr(directory, name)
    reply = mesh.call("ca/ca.sock", "Sign", {"csr": csr.read_text(), "spiffe": spiffe, "proxy": "node"})
    assert "error" not in reply, reply
    crt = directory / f"{name}.crt"
    crt.write_text(reply["parameters"]["certificate"])
    return crt, key


def foreign_certificate(directory, spiffe, name="foreign"):
    """The same SPIFFE ID, signed by somebody else."""
    key = directory / f"{name}.key"
    crt = directory / f"{name}.crt"
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", crt,
            "-days", "1", "-subj", "/", "-addext", f"subjectAltName=critical,URI:{spiffe}",
            "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=critical,digitalSignature",
            "-addext", "extendedKeyUsage=clientAuth,serverAuth")
    return crt, key


def ask_mesh_port(mesh, cert=None, sni=SNI, alpn="http/1.1", request=REQUEST):
    """Bytes of the answer; b"" when the connection was refused at any stage."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    ctx.set_alpn_protocols([alpn])
    if cert:
        ctx.load_cert_chain(*cert)
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", mesh.mesh_port), timeout=kvmesh.DEADLINE) as raw, \
                ctx.wrap_socket(raw, server_hostname=sni) as s:
            s.sendall(request)
            while piece := s.recv(65536):
                answer += piece
    except (ssl.SSLError, ConnectionError):
        pass
    return answer


def test_a_mesh_certificate_gets_through_by_istios_sni(article, workdir):
    cert = mesh_certificate(article.mesh, workdir, "spiffe://cluster.local/ns/kvmesh-system/sa/test-1")
    assert ask_mesh_port(article.mesh, cert).startswith(b"HTTP/1.1 200")
    assert ask_mesh_port(article.mesh, cert, SNI.replace("80_._", "80_.v2_")).endswith(b"v2\n")


def test_no_certificate_gets_nothing(article):
    assert ask_mesh_port(article.mesh) == b""


def test_a_foreign_certificate_gets_nothing(article, workdir):
    spiffe = "spiffe://cluster.local/ns/kvmesh-system/sa/test-1"
    assert ask_mesh_port(article.mesh, foreign_certificate(workdir, spiffe)) == b""


def test_plain_text_gets_nothing(article):
    with socket.create_connection(("127.0.0.1", article.mesh.mesh_port), timeout=kvmesh.DEADLINE) as s:
        s.sendall(REQUEST)
        try:
            assert s.recv(1024) == b""
        except ConnectionResetError:
            pass


@pytest.mark.parametrize("sni", ["my-app", "outbound_.81_._.my-app.default.svc.cluster.local",
                                 "outbound_.80_.v9_.my-app.default.svc.cluster.local",
                                 "outbound_.80_._.other.default.svc.cluster.local"])
def test_an_sni_that_names_nothing_local_gets_nothing(article, workdir, sni):
    cert = mesh_certificate(article.mesh, workdir, "spiffe://cluster.local/ns/kvmesh-system/sa/test-1")
    assert ask_mesh_port(article.mesh, cert, sni) == b""


@pytest.mark.parametrize("spiffe", ["spiffe://cluster.local/ns/default/sa/nobody", "spiffe://other/ns/default/sa/my-app",
                                    "spiffe://cluster.local/ns/default/sa/my-app/../nobody", "", "my-app"])
def test_the_ca_signs_no_identity_that_the_registry_does_not_give(article, workdir, spiffe):
    _, csr = key_and_csr(workdir, "x")
    reply = article.mesh.call("ca/ca.sock", "Sign", {"csr": csr.read_text(), "spiffe": spiffe, "proxy": "node"})
    assert "error" in reply and "certificate" not in reply.get("parameters", {})


def test_a_server_with_another_workloads_identity_is_refused(workdir):
    """Secure naming: the endpoint's certificate is of this mesh, but not of the service's account."""
    mesh_port = kvmesh.free_port()
    mesh = kvmesh.Mesh(workdir / "mesh", mesh_port=mesh_port)
    backend = kvmesh.Nginx(workdir, "other")
    mesh.workload("other", backend.port, serviceAccount="other")
    mesh.write("mesh.d/remote.yaml", """
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: { name: remote }
spec:
  hosts: [ remote.example ]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [ { number: 80, name: http, protocol: HTTP } ]
  endpoints:
  - { address: 127.0.0.2, serviceAccount: remote, labels: { security.istio.io/tlsMode: istio } }
""")
    try:
        mesh.start()
        cert = mesh_certificate(mesh, workdir, "spiffe://cluster.local/ns/default/sa/other")
        got = []

        def impostor(listener):
            ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            ctx.load_cert_chain(*cert)
            ctx.set_alpn_protocols(["istio-http/1.1", "istio", "http/1.1", "h2"])
            while True:
                try:
                    raw, _ = listener.accept()
                except OSError:
                    return
                try:
                    with ctx.wrap_socket(raw, server_side=True) as s:
                        got.append(s.recv(65536))
                except (ssl.SSLError, OSError):
                    pass

        with socket.create_server(("127.0.0.2", mesh_port), reuse_port=True) as listener:
            threading.Thread(target=impostor, args=(listener,), daemon=True).start()
            r = mesh.get("remote.example", "/secret-path")
        assert r.status == 503
        assert not any(b"secret-path" in g for g in got)
    finally:
        mesh.stop()
        backend.stop()


def test_every_leaf_has_one_spiffe_uri_and_lives_a_day(article, workdir):
    crt, _ = mesh_certificate(article.mesh, workdir, "spiffe://cluster.local/ns/default/sa/my-app")
    text = openssl("x509", "-in", crt, "-noout", "-text").stdout.decode()
    assert text.count("URI:") == 1 and "URI:spiffe://cluster.local/ns/default/sa/my-app" in text
    assert "CA:FALSE" in text and "DNS:" not in text
    assert subprocess.run(["openssl", "x509", "-in", crt, "-noout", "-checkend", str(23 * 3600)],
                          capture_output=True).returncode == 0
    assert subprocess.run(["openssl", "x509", "-in", crt, "-noout", "-checkend", str(24 * 3600 + 60)],
                          capture_output=True).returncode == 1
    bundle = workdir / "bundle.pem"
    bundle.write_text(article.mesh.ctl("ca", "bundle", check=0).stdout)
    openssl("verify", "-partial_chain", "-CAfile", bundle, crt)
