# SPDX-License-Identifier: Apache-2.0
"""Certificates as files (Workload.certificate, kvmeshctl certs): for nginx and Redis, which speak no SPIFFE. systemctl is a script
here that does what ExecReload= of the unit would; tests/node has the real one."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
import time

import pytest

import kvmesh
from ca import Ca, identity, registry, spiffe, text_of
from control import Refused, is_root, openssl
from kvmesh import Mesh, Process, free_port, wait_for
from workloadapi import pems

pytestmark = pytest.mark.skipif(not is_root(), reason="gives files to other users")
FILES = ("svid.pem", "svid_key.pem", "svid_pair.pem", "svid_bundle.pem")


@pytest.fixture
def place():
    """A directory that others cannot rename, and a short name for sockets."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="kvmesh-pem-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def mesh(place):
    with Mesh(place / "m") as m:
        m.write("conf.d/short.conf", 'ca = { workloadValidity = "8s"; };\n')
        m.systemctl = place / "bin/systemctl"
        m.told = place / "told"
        yield m


def workload(mesh, name="web", **certificate):
    fields = " ".join(f'{k} = "{v}";' for k, v in certificate.items())
    mesh.write(f"workloads.d/{name}.conf", f'Workload = {{ name = "{name}"; unit = "{name}.service"; certificate = {{ {fields} }}; }};\n')


def unit_tool(mesh, on_reload, active=True):
    """What stands for systemctl: told keeps its words."""
    mesh.systemctl.parent.mkdir(exist_ok=True)
    mesh.systemctl.write_text(f"""#!/bin/sh
[ "$1" = is-active ] && exit {0 if active else 3}
echo "$@" >>{mesh.told}
{on_reload}
""")
    mesh.systemctl.chmod(0o755)


def certs(mesh, *more, name="web"):
    log = mesh.dir / "certs.log"
    return Process([kvmesh.tool("kvmeshctl"), "--etc", mesh.etc, "--run", mesh.run, "--state", mesh.state, "certs", name, *more], log,
                   env={"PATH": f"{mesh.systemctl.parent}:/usr/bin:/bin:/usr/sbin"})


def once(mesh, *words, name="web"):
    return mesh.ctl("certs", name, "--once", *words)


def default_dir(mesh, name="web"):
    return mesh.run / "certs" / name


def mode_of(path):
    st = path.stat()
    return st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)


def test_the_files(mesh, tmp_path):
    workload(mesh, owner="nobody", group="games", mode="0640")
    mesh.start()
    assert once(mesh).returncode == 0
    d = default_dir(mesh)
    assert sorted(os.listdir(d)) == sorted(FILES)
    import grp
    import pwd
    nobody, games = pwd.getpwnam("nobody").pw_uid, grp.getgrnam("games").gr_gid
    for f in FILES:
        assert mode_of(d / f) == (nobody, games, 0o640 if f in ("svid_key.pem", "svid_pair.pem") else 0o644), f
    leaf, issuer = pems((d / "svid.pem").read_text())
    assert "URI:" + spiffe("web") in text_of(leaf) and "CA:TRUE" in text_of(issuer)
    openssl("verify", "-x509_strict", "-CAfile", mesh.state / "ca/root-cert.pem", "-untrusted", d / "svid.pem", d / "svid.pem")
    openssl("verify", "-x509_strict", "-partial_chain", "-trusted", d / "svid_bundle.pem", d / "svid.pem")
    assert openssl("pkey", "-in", d / "svid_key.pem", "-pubout").stdout == openssl("x509", "-in", d / "svid.pem", "-noout", "-pubkey").stdout
    assert (d / "svid_pair.pem").read_text() == (d / "svid_key.pem").read_text() + (d / "svid.pem").read_text()
    assert (d / "svid_bundle.pem").read_text() == mesh.ctl("ca", "bundle").stdout
    assert "PRIVATE" not in mesh.text()


def test_a_key_is_never_open_to_others(mesh):
    """Watched from outside while it is written again and again: no name in the directory ever shows another mode or owner."""
    workload(mesh, owner="nobody", mode="0600")
    mesh.start()
    assert once(mesh).returncode == 0
    d, seen, stop = default_dir(mesh), set(), threading.Event()

    def watch():
        while not stop.is_set():
            for e in os.scandir(d):
                with contextlib.suppress(FileNotFoundError):
                    st = e.stat()
                    if "key" in e.name or "pair" in e.name:
                        seen.add((stat.S_IMODE(st.st_mode) & 0o077, st.st_size > 0 and st.st_uid))
    t = threading.Thread(target=watch)
    t.start()
    try:
        for _ in range(10):
            assert once(mesh).returncode == 0
    finally:
        stop.set()
        t.join()
    assert {m for m, _ in seen} == {0}
    assert {u for _, u in seen} <= {False, 65534}


@pytest.mark.parametrize("field, value, word", [
    ("directory", "relative", "absolute"), ("directory", "/a/../b", "absolute"), ("directory", "/", "absolute"), ("mode", "0644", "mode"),
    ("mode", "rw", "mode"), ("reload", "nginx", "reload"), ("reload", "--now.service x", "reload"), ("reload", "a;b", "reload"),
    ("signal", "SIGKILL", "signal"), ("signal", "SIGHUP", "reload"),
])
def test_fields_that_cannot_work(mesh, field, value, word):
    workload(mesh, **{field: value})
    r = mesh.ctl("analyze")
    assert r.returncode != 0 and "KVM0361" in r.stdout + r.stderr and word in r.stdout + r.stderr


def test_places_that_are_refused(mesh, place):
    mesh.start()
    open_dir, foreign, link, secret = (place / n for n in ("open", "foreign", "link", "secret"))
    for d in (open_dir, foreign, secret):
        d.mkdir()
    open_dir.chmod(0o777)
    os.chown(foreign, 65534, 65534)
    link.symlink_to(secret)
    (foreign / "below").mkdir()
    for d, word in ((open_dir, "only root"), (foreign, "only root"), (foreign / "below", "only root"), (link, "no link"), (place / "none", "No such file")):
        workload(mesh, directory=d)
        wait_for("the load", lambda: mesh.ctl("config", "reload").returncode == 0)
        r = once(mesh)
        assert r.returncode == 78 and word in r.stderr, (d, r.stderr)
    assert os.listdir(secret) == [] and os.listdir(foreign) == ["below"]
    workload(mesh, owner="no-such-user")
    assert once(mesh).returncode == 78
    workload(mesh)
    assert once(mesh, name="nobody-knows").returncode == 4
    mesh.write("workloads.d/plain.conf", 'Workload = { name = "plain"; unit = "plain.service"; };\n')
    assert once(mesh, name="plain").returncode == 78


def test_who_may_ask_for_files():
    """As a service: the helper's own unit as root; here nobody is in one, so root is refused, files or not."""
    with Ca(registry(identity("web", unit="web.service", files=True), signBurst=1000)) as ca:
        ca.start(standalone=False).ready()
        ca.dir.chmod(0o755)
        import tempfile as t
        with t.TemporaryDirectory() as d:
            from ca import make_csr
            with pytest.raises(Refused):
                ca.sign(make_csr(pathlib.Path(d)), spiffe("web"), proxy=None)


def test_without_files_only_proxies_and_workloads(tmp_path):
    """Standalone: the same user gets an identity for files where they are wanted, and no other."""
    from ca import make_csr
    with Ca(registry(identity("web", files=True), identity("other"), signBurst=1000)) as ca:
        ca.start().ready()
        csr = make_csr(tmp_path)
        assert ca.sign(csr, spiffe("web"), proxy=None)["certificate"]
        with pytest.raises(Refused):
            ca.sign(csr, spiffe("other"), proxy=None)


def test_renewal_rotation_and_revocation(mesh):
    workload(mesh, reload="web.service")
    unit_tool(mesh, "")
    mesh.start()
    helper, d = certs(mesh), default_dir(mesh)
    try:
        def leaf():
            text = (d / "svid.pem").read_text()
            return pems(text)[0]
        wait_for("the files", lambda: (d / "svid.pem").exists())
        first = leaf()
        second = wait_for("the next certificate", lambda: (n := leaf()) != first and n)
        wait_for("the unit to be told", lambda: mesh.told.exists() and len(mesh.told.read_text().splitlines()) >= 2)
        assert set(mesh.told.read_text().splitlines()) == {"reload web.service"}
        bundle = (d / "svid_bundle.pem").read_text()
        mesh.ctl("ca", "rotate", "--root", "--wait", "50s", check=0)
        wait_for("the new root alone", lambda: (d / "svid_bundle.pem").read_text() == mesh.ctl("ca", "bundle").stdout)
        assert (d / "svid_bundle.pem").read_text() != bundle
        wait_for("a leaf below it", lambda: openssl("verify", "-partial_chain", "-trusted", d / "svid_bundle.pem", d / "svid.pem", ok=False).returncode == 0)
        # A serial that is revoked is replaced at once; an identity that is revoked keeps what it has, and gets no other.
        serial = openssl("x509", "-in", d / "svid.pem", "-noout", "-serial").stdout.strip().split("=")[1].lower()
        mesh.ctl("ca", "revoke", serial, check=0)
        wait_for("another serial", lambda: serial not in openssl("x509", "-in", d / "svid.pem", "-noout", "-serial").stdout.lower())
        mesh.ctl("ca", "revoke", spiffe("web"), check=0)
        wait_for("the refusal", lambda: "certs_failed" in helper.text() and "revoked" in helper.text())
        assert helper.alive() and "PRIVATE" not in helper.text() + mesh.text()
        mesh.ctl("ca", "revoke", spiffe("web"), "--lift", check=0)
        last = leaf()
        wait_for("a certificate again", lambda: leaf() != last)
        assert second != first
    finally:
        assert helper.stop() == 0


def test_a_signal_a_unit_that_is_not_there_and_one_that_cannot(mesh):
    workload(mesh, reload="db.service", signal="SIGHUP")
    unit_tool(mesh, "")
    mesh.start()
    env = {**os.environ, "PATH": f"{mesh.systemctl.parent}:/usr/bin:/bin:/usr/sbin"}

    def run():
        return subprocess.run([kvmesh.tool("kvmeshctl"), "--etc", mesh.etc, "--run", mesh.run, "--state", mesh.state, "certs", "web", "--once"],
                              env=env, capture_output=True, text=True, timeout=kvmesh.DEADLINE)
    assert run().returncode == 0
    assert mesh.told.read_text() == "kill --kill-who=main --signal SIGHUP db.service\n"
    mesh.told.unlink()
    unit_tool(mesh, "", active=False)
    assert run().returncode == 0 and not mesh.told.exists()
    unit_tool(mesh, "exit 1")
    r = run()
    assert r.returncode == 1 and "certs_untold" in r.stderr
    # A unit that could not be told is told again.
    unit_tool(mesh, f'[ -e {mesh.told}.fail ] || {{ touch {mesh.told}.fail; exit 1; }}')
    mesh.told.unlink()
    helper = certs(mesh)
    try:
        wait_for("the second attempt", lambda: "certs_told" in helper.text())
        assert helper.text().count("certs_untold") >= 1
    finally:
        helper.stop()


def load_pair(context, pair):
    """The file is read once here: OpenSSL opens it for the certificate and again for the key, and it may be replaced between."""
    with tempfile.NamedTemporaryFile() as copy:
        copy.write(pathlib.Path(pair).read_bytes())
        copy.flush()
        context.load_cert_chain(copy.name)


def serial_at(port, roots, pair=None):
    """Whom a client meets that trusts this mesh, and what it answers."""
    context = ssl.create_default_context(cafile=str(roots))
    context.check_hostname = False
    if pair:
        load_pair(context, pair)
    with socket.create_connection(("127.0.0.1", port), timeout=kvmesh.DEADLINE) as raw, context.wrap_socket(raw) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = b""
        while piece := s.recv(65536):
            text += piece
        assert b"hello" in text
        return s.getpeercert()["serialNumber"]


def test_nginx_gets_others_while_requests_go_on(mesh, place):
    """Requests all the time, one of them longer than a certificate's life; none fails, and the certificate changes."""
    port, d = free_port(), default_dir(mesh)
    conf = place / "nginx"
    conf.mkdir()
    (conf / "big").write_bytes(b"hello" + bytes(600_000))
    (conf / "nginx.conf").write_text(f"""
daemon off; pid {conf}/pid; error_log {conf}/error.log warn; worker_processes 1; user root;
events {{ }}
http {{
    access_log off; client_body_temp_path {conf}/b; proxy_temp_path {conf}/p; fastcgi_temp_path {conf}/f; uwsgi_temp_path {conf}/u; scgi_temp_path {conf}/s;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {d}/svid_pair.pem; ssl_certificate_key {d}/svid_pair.pem;
        ssl_client_certificate {d}/svid_bundle.pem; ssl_verify_client optional; ssl_verify_depth 3;
        location / {{ return 200 "hello $ssl_client_verify\\n"; }}
        location /big {{ alias {conf}/big; limit_rate 60k; }}
    }}
}}
""")
    workload(mesh, reload="web.service")
    unit_tool(mesh, f"exec nginx -p {conf} -c {conf}/nginx.conf -e {conf}/error.log -s reload")
    mesh.start()
    helper = certs(mesh)
    nginx = None
    try:
        wait_for("the files", lambda: (d / "svid.pem").exists())
        nginx = Process(["nginx", "-p", conf, "-c", conf / "nginx.conf", "-e", conf / "error.log"], conf / "log")
        roots = mesh.state / "ca/root-cert.pem"
        wait_for("nginx", lambda: kvmesh.port_open(port))
        context = ssl.create_default_context(cafile=str(roots))
        context.check_hostname = False
        with socket.create_connection(("127.0.0.1", port), timeout=kvmesh.DEADLINE) as raw, context.wrap_socket(raw) as s:
            s.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            text = s.recv(10)
            serials, n = [], 0
            while len(set(serials)) < 3:
                serials.append(serial_at(port, roots, d / "svid_pair.pem"))
                n += 1
            # What was begun before came to its end.
            while piece := s.recv(65536):
                text += piece
        assert n > 3 and text.endswith(bytes(1000)) and len(text) > 600_000
        assert len(mesh.told.read_text().splitlines()) >= 2
        assert nginx.alive() and "emerg" not in (conf / "error.log").read_text()
    finally:
        helper.stop()
        if nginx:
            nginx.stop()


def test_redis_gets_others_while_connections_go_on(mesh, place):
    """Mutual TLS in Redis itself; the connection of before goes on, new ones meet the new certificate."""
    port, d = free_port(), default_dir(mesh)
    data = place / "redis"
    data.mkdir()
    tls = ["--tls-cert-file", d / "svid.pem", "--tls-key-file", d / "svid_key.pem", "--tls-ca-cert-file", d / "svid_bundle.pem"]
    cli = f"redis-cli -s {data}/sock"
    workload(mesh, reload="web.service")
    unit_tool(mesh, f"exec {cli} config set tls-cert-file {d}/svid.pem tls-key-file {d}/svid_key.pem tls-ca-cert-file {d}/svid_bundle.pem")
    mesh.start()
    helper = certs(mesh)
    redis = None
    try:
        wait_for("the files", lambda: (d / "svid.pem").exists())
        redis = Process(["redis-server", "--port", "0", "--tls-port", port, "--unixsocket", data / "sock", "--save", "", "--dir", data, *tls], data / "log")
        wait_for("redis", lambda: kvmesh.port_open(port))

        def connect():
            context = ssl.create_default_context(cafile=str(mesh.state / "ca/root-cert.pem"))
            context.check_hostname = False
            load_pair(context, d / "svid_pair.pem")
            return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=kvmesh.DEADLINE))

        def ping(s):
            s.sendall(b"PING\r\n")
            assert s.recv(100) == b"+PONG\r\n"
            return s.getpeercert()["serialNumber"]
        with connect() as old:
            first = ping(old)

            def another():
                with connect() as s:
                    return (n := ping(s)) != first and n
            second = wait_for("another certificate", another)
            wait_for("a third", lambda: (n := another()) and n != second)
            assert ping(old) == first
        assert "OK" in subprocess.run([*cli.split(), "ping"], capture_output=True, text=True).stdout or redis.alive()
    finally:
        helper.stop()
        if redis:
            redis.stop()
