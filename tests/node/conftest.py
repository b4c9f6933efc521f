# SPDX-License-Identifier: Apache-2.0
"""A Debian 12 with systemd booted in a container, the built .deb installed in it. One per run: booting and building
are what costs. Driven by nsenter; everything inside is done with systemctl and files, as an operator would."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "lib"))
import kvmesh  # noqa: E402

INSIDE = "systemd,systemd-sysv,dbus,iproute2,nftables,nginx-light,redis-server,curl,openssl,procps,util-linux,python3,rpm"


def run(*args, **kw):
    return subprocess.run([str(a) for a in args], capture_output=True, text=True, **kw)


class Node:
    def __init__(self, root, name):
        self.root, self.name = pathlib.Path(root), name
        self.nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "-D", self.root, "-M", name, "--boot",
             "--private-network", "--kill-signal=SIGRTMIN+3"],
            stdin=subprocess.DEVNULL, stdout=open(self.root.parent / "console.log", "wb"), stderr=subprocess.STDOUT)
        self.leader = kvmesh.wait_for("the container's init", self._leader, deadline=120)
        kvmesh.wait_for("the container to boot", lambda: self.sh("systemctl is-system-running").stdout.strip() in ("running", "degraded"),
                        deadline=180)

    def _leader(self):
        if self.nspawn.poll() is not None:
            raise AssertionError((self.root.parent / "console.log").read_text(errors="replace"))
        for line in run("ps", "--ppid", self.nspawn.pid, "-o", "pid=,comm=").stdout.splitlines():
            pid, comm = line.split(None, 1)
            if comm.strip() in ("systemd", "init"):
                return int(pid)
        return None

    def sh(self, script, check=False, timeout=180):
        r = run("nsenter", "-t", self.leader, "-m", "-u", "-i", "-n", "-p", "-C", "--root", "--wd", "/bin/bash", "-c", f"cd /; {script}",
                timeout=timeout, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"})
        if check:
            assert r.returncode == 0, f"{script}\n{r.stdout}{r.stderr}\n{self.journal()}"
        return r

    def ok(self, script, **kw):
        return self.sh(script, check=True, **kw).stdout

    def journal(self):
        return run("nsenter", "-t", self.leader, "-m", "-p", "--root", "--wd", "journalctl", "--no-pager", "-n", "80").stdout

    def write(self, path, text):
        p = self.root / path.lstrip("/")
        p.parent.mkdir(parents=True, exist_ok=True)
        p.write_text(text)
        p.chmod(0o644)

    def stop(self):
        if self.nspawn.poll() is None:
            self.nspawn.send_signal(signal.SIGTERM)
            try:
                self.nspawn.wait(60)
            except subprocess.TimeoutExpired:
                os.kill(self.leader, signal.SIGKILL)
                self.nspawn.kill()
                self.nspawn.wait()


@pytest.fixture(scope="session")
def deb(tmp_path_factory):
    if ready := os.environ.get("KVMESH_DEB"):
        return pathlib.Path(ready)
    dist = tmp_path_factory.mktemp("dist")
    r = run(TOP / "packaging" / "build-deb.sh", dist, timeout=1800)
    assert r.returncode == 0, r.stdout[-8000:] + r.stderr[-4000:]
    (package,) = [p for p in dist.glob("kvmesh_*.deb")]
    return package


@pytest.fixture(scope="session")
def rpm(tmp_path_factory):
    """The folder that build-rpm.sh has filled: the package and the tarball it was made of."""
    if ready := os.environ.get("KVMESH_RPM"):
        return pathlib.Path(ready)
    dist = tmp_path_factory.mktemp("rpm")
    r = run(TOP / "packaging" / "build-rpm.sh", dist, timeout=1800)
    assert r.returncode == 0, r.stdout[-8000:] + r.stderr[-4000:]
    return dist


@pytest.fixture(scope="session")
def node(deb, tmp_path_factory):
    directory = tmp_path_factory.mktemp("node")
    root = directory / "root"
    depends = run("dpkg-deb", "-f", deb, "Depends").stdout
    names = sorted({re.split(r"[ (|]", d.strip())[0] for d in depends.split(",")})
    r = run("mmdebstrap", "--variant=minbase", f"--include={INSIDE},{','.join(names)}", "--aptopt=APT::Sandbox::User \"root\"",
            "bookworm", root, *mirrors(), timeout=900)
    assert r.returncode == 0, r.stderr[-4000:]
    shutil.copy(deb, root / "kvmesh.deb")
    # nginx of the package itself is not used: the units below start their own
    (root / "etc/systemd/system/multi-user.target.wants/nginx.service").unlink(missing_ok=True)
    n = Node(root, f"kvmesh-{os.getpid()}")
    try:
        yield n
    finally:
        n.stop()
        shutil.rmtree(root, ignore_errors=True)


def mirrors():
    """The apt sources of this machine, as it has them."""
    files = [pathlib.Path("/etc/apt/sources.list"), *pathlib.Path("/etc/apt/sources.list.d").glob("*.list"),
             *pathlib.Path("/etc/apt/sources.list.d").glob("*.sources")]
    return [str(f) for f in files if f.exists() and f.read_text().strip()]
