# SPDX-License-Identifier: Apache-2.0
"""The RPM on a booted systemd, and the tarball it is made of. In order, on the node that test_node.py has purged."""

import shutil
import tarfile

import kvmesh
from conftest import TOP, run

UNITS = "kvmesh-router kvmesh-ca kvmesh-proxy kvmesh-metrics"


def package(rpm):
    (file,) = rpm.glob("kvmesh-[0-9]*.rpm")
    return file


def query(rpm, *what):
    return run("rpm", "-qp", *what, package(rpm)).stdout


def test_the_tarball_holds_every_file_of_the_source(rpm):
    """What "make dist" forgets is missed by everybody who builds from it."""
    (tarball,) = rpm.glob("kvmesh-*.tar.xz")
    with tarfile.open(tarball) as tar:
        held = {m.name.split("/", 1)[1] for m in tar if m.isfile()}
    tracked = run("git", "-C", TOP, "ls-files").stdout.split()
    assert "configure" in held
    assert set(tracked) - held - {".gitignore"} == set()
    assert [name for name in held if "__pycache__" in name or name.endswith((".o", ".Po"))] == []


def test_scriptlets_hold_no_macro_that_was_not_known(rpm):
    scripts = query(rpm, "--scripts")
    assert "systemd-sysusers" in scripts and "%" not in scripts.replace("%s", "")


def test_it_asks_for_no_library_that_only_debian_has(rpm):
    requires = query(rpm, "--requires")
    assert "libssl.so.3" in requires and "libconfig.so" not in requires


def test_every_program_has_its_page(rpm):
    files = query(rpm, "-l").split()
    pages = {f.rsplit("/", 1)[1].split(".")[0] for f in files if "/man/" in f}
    programs = {f.rsplit("/", 1)[1] for f in files if "/bin/" in f or "/sbin/" in f}
    assert "kvmeshctl" in programs and programs - pages == set()


def install(node, rpm, how):
    shutil.copy(package(rpm), node.root / "kvmesh.rpm")
    node.ok(f"rpm {how} --nodeps /kvmesh.rpm", timeout=300)


def test_a_fresh_install_is_whole_and_runs(node, rpm):
    install(node, rpm, "-i")
    assert node.ok("rpm -V --nodeps kvmesh") == ""
    assert node.ok("getent passwd kvmesh-proxy") != ""
    node.ok("systemctl start kvmesh.target")
    kvmesh.wait_for("the mesh is ready", lambda: node.sh("curl -sf http://127.0.0.1:15021/healthz/ready").returncode == 0)
    assert set(node.sh(f"systemctl is-active {UNITS}").stdout.split()) == {"active"}


def test_an_upgrade_keeps_what_was_edited_and_runs_the_new_programs(node, rpm):
    pids = node.ok(f"systemctl show -P MainPID {UNITS}").split()
    root = node.ok("kvmeshctl ca bundle | sha256sum")
    node.ok("echo '# mine' >>/etc/kvmesh/kvmesh.conf")
    assert node.sh("rpm -V --nodeps kvmesh").stdout.split() == ["S.5....T.", "c", "/etc/kvmesh/kvmesh.conf"]
    install(node, rpm, "-U --force")
    assert "# mine" in node.ok("cat /etc/kvmesh/kvmesh.conf")
    kvmesh.wait_for("the mesh is ready again", lambda: node.sh("curl -sf http://127.0.0.1:15021/healthz/ready").returncode == 0)
    assert not set(pids) & set(node.ok(f"systemctl show -P MainPID {UNITS}").split())
    assert node.ok("kvmeshctl ca bundle | sha256sum") == root


def test_erasing_stops_all_and_leaves_what_is_the_operators(node):
    node.ok("rpm -e kvmesh", timeout=300)
    assert node.sh("pgrep -l kvmesh").stdout == ""
    assert node.sh("systemctl list-unit-files --no-legend 'kvmesh*'").stdout == ""
    assert "# mine" in node.ok("cat /etc/kvmesh/kvmesh.conf.rpmsave")
    assert node.ok("ls /var/lib/kvmesh/ca") != ""
