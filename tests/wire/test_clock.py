# SPDX-License-Identifier: Apache-2.0
"""Renewal over outages of the CA, jumps of the clock in both directions, and a week of sleep. The clocks of all daemons
are moved by a preloaded library; nobody waits an hour here."""

import http.client
import mmap
import os
import shutil
import signal
import struct
import subprocess

import pytest

import kvmesh
from ca import is_sanitized
from kvmesh import wait_for
from load import Load
from outsider import Outsider
from test_rotation import ca, child, serials

MINUTE = 60
HOUR = 60 * MINUTE


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    out = tmp_path_factory.mktemp("fakeclock") / "fakeclock.so"
    subprocess.run([shutil.which("gcc") or shutil.which("cc"), "-shared", "-fPIC", "-O1", "-o", out,
                    kvmesh.TOP / "tests/lib/fakeclock.c", "-ldl"], check=True)
    return out


class Clocks:
    """The clocks of every daemon of one mesh."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(16))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 16)
        self.real = self.boot = 0

    def _put(self):
        self.map[:] = struct.pack("qq", int(self.real * 1e6), int(self.boot * 1e6))

    def set_by(self, seconds):
        """Somebody, or NTP, sets the clock of the wall."""
        self.real += seconds
        self._put()

    def pass_by(self, seconds):
        """Time passes, awake or asleep."""
        self.real += seconds
        self.boot += seconds
        self._put()


@pytest.fixture
def mesh(workdir, library, monkeypatch):
    if is_sanitized("kvmesh-proxy"):
        pytest.skip("a sanitizer wants to be loaded first")
    clocks = Clocks(workdir / "clocks")
    with kvmesh.Article(workdir) as a:
        a.mesh.write("conf.d/hour.conf", 'ca = { workloadValidity = "1h"; };\n')
        with monkeypatch.context() as m:
            m.setenv("LD_PRELOAD", str(library))
            m.setenv("FAKECLOCK", str(clocks.path))
            a.start()
        a.mesh.clocks = clocks
        yield a.mesh


def renewed(mesh, before):
    """Every identity has another certificate."""
    return lambda: (lambda now: set(now) == set(before) and all(now[s] != before[s] for s in before))(serials(mesh))


def works(mesh):
    return lambda: mesh.get("my-app").status == 200


def test_half_of_the_life_passes(mesh):
    before = serials(mesh)
    mesh.clocks.pass_by(20 * MINUTE)
    assert mesh.get("my-app").status == 200
    assert serials(mesh) == before, "a third of the life is no reason"
    mesh.clocks.pass_by(17 * MINUTE)
    wait_for("renewal", renewed(mesh, before))


def test_ca_is_away_for_longer_than_half_a_life(mesh):
    before = serials(mesh)
    pid = child(mesh, "kvmesh-ca")
    os.kill(pid, signal.SIGSTOP)
    try:
        with Load(mesh.http_port) as load:
            for _ in range(5):
                mesh.clocks.pass_by(10 * MINUTE)
                load.more(50)
        assert load.failures == [] and serials(mesh) == before
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for("renewal", renewed(mesh, before))
    assert mesh.get("my-app").status == 200


def test_ca_is_away_until_certificates_have_ended(mesh):
    """STRICT stays closed; nothing falls back to clear text; and it heals by itself."""
    before = serials(mesh)
    pid = child(mesh, "kvmesh-ca")
    os.kill(pid, signal.SIGSTOP)
    try:
        mesh.clocks.pass_by(2 * HOUR)
        # What is open may go on; a new connection is refused.
        proxy = child(mesh, "kvmesh-proxy")
        wait_for("not ready", lambda: not mesh.call("proxy/node.sock", "Status")["parameters"]["ready"])
        assert child(mesh, "kvmesh-proxy") == proxy
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for("renewal", renewed(mesh, before))
    wait_for("the mesh to work", works(mesh))
    wait_for("ready", lambda: mesh.call("proxy/node.sock", "Status")["parameters"]["ready"])


@pytest.mark.parametrize("seconds", [7 * 24 * HOUR, 3 * HOUR])
def test_a_sleep_that_is_longer_than_certificates_live(mesh, seconds):
    before = serials(mesh)
    mesh.clocks.pass_by(seconds)
    wait_for("renewal", renewed(mesh, before))
    wait_for("the mesh to work", works(mesh))
    assert ca(mesh)["issuer"]["notAfter"]


def test_the_clock_is_set_forward(mesh):
    """By less than a life: nobody fails. By more: everything is renewed at once."""
    before = serials(mesh)
    with Load(mesh.http_port) as load:
        load.more(20)
        mesh.clocks.set_by(50 * MINUTE)
        wait_for("renewal", renewed(mesh, before))
        load.more(50)
    assert load.failures == []
    before = serials(mesh)
    mesh.clocks.set_by(5 * HOUR)
    wait_for("renewal", renewed(mesh, before))
    wait_for("the mesh to work", works(mesh))


def test_the_clock_is_set_back_and_right_again(mesh):
    """The CA signs nothing before its last certificate's time, and says so; what is open goes on; then all is as before."""
    c = http.client.HTTPConnection("127.0.0.1", mesh.http_port, timeout=kvmesh.DEADLINE)

    def get():
        c.request("GET", "/", headers={"Host": "my-app"})
        r = c.getresponse()
        r.read()
        return r.status
    assert get() == 200
    before = serials(mesh)
    mesh.clocks.set_by(-3 * HOUR)
    wait_for("the refusal", lambda: "behind the last certificate" in mesh.text())
    assert serials(mesh) == before
    mesh.clocks.set_by(3 * HOUR)
    wait_for("the mesh to work", works(mesh))
    mesh.clocks.pass_by(40 * MINUTE)
    wait_for("renewal", renewed(mesh, before))
    assert get() == 200


def test_a_rotation_while_a_week_is_slept(mesh):
    root = ca(mesh)["root"]["serial"]
    proxy = child(mesh, "kvmesh-proxy")
    os.kill(proxy, signal.SIGSTOP)
    try:
        ca(mesh, "Rotate", {"root": True})
        mesh.clocks.pass_by(7 * 24 * HOUR)
    finally:
        os.kill(proxy, signal.SIGCONT)
    wait_for("the rotation", lambda: "rotation" not in ca(mesh) and ca(mesh)["root"]["serial"] != root)
    wait_for("the mesh to work", works(mesh))


def test_what_is_revoked_leaves_the_list_once_it_has_ended(mesh, workdir):
    """Serials with their certificate; identities when nobody is registered for them and the last certificate has ended."""
    short = Outsider(mesh, workdir / "short", "short", lifetimeUs=60_000_000)
    long = Outsider(mesh, workdir / "long", "long")
    for what in ({"serial": short.serial}, {"spiffe": short.spiffe}, {"serial": long.serial},
                 {"spiffe": "spiffe://cluster.local/ns/default/sa/my-app"}):
        ca(mesh, "Revoke", what)
    before = ca(mesh, "Revoked")
    assert len(before["revoked"]) == 4
    mesh.clocks.pass_by(2 * HOUR)
    os.kill(child(mesh, "kvmesh-ca"), signal.SIGHUP)
    wait_for("what has ended to leave", lambda: len(ca(mesh, "Revoked")["revoked"]) == 2)
    now = ca(mesh, "Revoked")
    assert {r.get("serial", r.get("spiffe")) for r in now["revoked"]} == {long.serial, "spiffe://cluster.local/ns/default/sa/my-app"}
    assert now["revision"] > before["revision"]
    wait_for("every proxy to know", lambda: not ca(mesh)["revoked"]["waitsFor"])
