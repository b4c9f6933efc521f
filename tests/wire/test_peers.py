# SPDX-License-Identifier: Apache-2.0
"""Protocols in which the server speaks first or the client speaks no HTTP, as opaque TCP over mutual TLS."""

import glob
import os
import pwd
import shutil
import smtplib
import socket
import subprocess
import threading

import pytest

import kvmesh
from kvmesh import wait_for


@pytest.fixture
def tcp(workdir):
    """connect(name, port): the mesh with one TCP service; the address of its door on this node."""
    mesh = kvmesh.Mesh(workdir / "mesh")

    def connect(name, port):
        entry = kvmesh.free_port()
        mesh.workload(name, port, protocol="TCP")
        mesh.service(name, 9000, "tcp", protocol="TCP", listen=f"127.0.0.1:{entry}")
        mesh.start()
        return entry
    yield connect
    mesh.stop()


def smtp_server(sock, got):
    """Greets first, as RFC 5321 wants it, and takes one mail."""
    c, _ = sock.accept()
    with c, c.makefile("rwb") as f:
        def say(text):
            f.write(text + b"\r\n")
            f.flush()
        say(b"220 mail.example ESMTP")
        data = False
        while line := f.readline().rstrip(b"\r\n"):
            word = line.split(b" ")[0].upper()
            if word == b"DATA":
                say(b"354 go on")
                while (line := f.readline()) != b".\r\n":
                    got.append(line)
                data = True
            say(b"221 bye" if word == b"QUIT" else b"250 ok")
            if word == b"QUIT":
                return data


def test_smtp_speaks_first_and_is_not_stalled(tcp):
    got = []
    with socket.create_server(("127.0.0.1", 0)) as sock:
        threading.Thread(target=smtp_server, args=(sock, got), daemon=True).start()
        entry = tcp("mail", sock.getsockname()[1])
        with smtplib.SMTP("127.0.0.1", entry, timeout=kvmesh.DEADLINE) as s:
            s.sendmail("a@example", ["b@example"], b"Subject: hello\r\n\r\n" + b"line\r\n" * 20000)
    assert got[0] == b"Subject: hello\r\n" and len(got) == 20002


@pytest.fixture
def postgres(workdir):
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))
    if not found or not shutil.which("psql"):
        pytest.skip("no PostgreSQL here")
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    programs, data, port = os.path.dirname(found[-1]), workdir / "pg", kvmesh.free_port()
    data.mkdir(mode=0o700)
    if os.getuid() == 0:
        shutil.chown(data, user)
    who = {"user": user} if os.getuid() == 0 else {}
    subprocess.run([f"{programs}/initdb", "-D", data, "-U", "mesh", "-A", "trust", "--no-sync"], check=True,
                   capture_output=True, cwd="/", timeout=kvmesh.DEADLINE * 2, **who)
    p = kvmesh.Process([f"{programs}/postgres", "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1",
                        "-c", "unix_socket_directories=", "-c", "fsync=off"], workdir / "pg.log", cwd="/",
                       user=user if who else None)
    wait_for("postgres", lambda: "ready to accept connections" in p.text())
    yield port
    p.stop()


def test_postgresql_answers_queries(tcp, postgres):
    entry = tcp("db", postgres)

    def psql(*sql):
        r = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-p", str(entry), "-U", "mesh", "postgres",
                            *[x for s in sql for x in ("-c", s)]], capture_output=True, text=True, timeout=kvmesh.DEADLINE)
        assert r.returncode == 0, r.stderr
        return r.stdout
    psql("create table t (i int, s text)", "insert into t select i, repeat('x', 100) from generate_series(1, 20000) i")
    assert psql("select count(*), sum(length(s)) from t").strip() == "20000|2000000"
    assert len(psql("select s from t")) == 20000 * 101
