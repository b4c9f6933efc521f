# SPDX-License-Identifier: Apache-2.0
"""kvmeshctl run: starts all, says so once, restarts what dies, leaves nothing behind."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess

import pytest

import kvmesh
from kvmesh import wait_for


def children(pid):
    """{program or program@instance: pid} of the daemons that run below pid."""
    found = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) != pid or fields[0] == "Z":
                continue
            argv = (stat.parent / "cmdline").read_bytes().decode().split("\0")
            name = os.path.basename(argv[0])
            instance = [a.partition("=")[2] for a in argv if a.startswith("--instance=")]
            if name.startswith("kvmesh-"):
                found[f"{name}@{instance[0]}" if instance else name] = int(stat.parent.name)
    return found


def gone(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


ALL = {"kvmesh-router", "kvmesh-ca", "kvmesh-metrics", "kvmesh-proxy@node"}


@pytest.fixture
def mesh(workdir):
    with kvmesh.Mesh(workdir / "mesh") as m:
        yield m


def test_one_line_then_order(mesh):
    """Exactly one line on standard output, the descriptor is told, SIGTERM leaves no process."""
    read_end, write_end = os.pipe()
    with subprocess.Popen([kvmesh.tool("kvmeshctl"), "run", "--etc", mesh.etc, "--run", mesh.run, "--state", mesh.state,
                           "--ready-fd", str(write_end)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, pass_fds=[write_end]) as p:
        try:
            os.close(write_end)
            with os.fdopen(read_end, "rb") as f:
                assert f.read() == b"ready\n"
            pids = children(p.pid)
            assert set(pids) == ALL
            assert mesh.call("proxy/node.sock", "Status")["parameters"]["ready"] is True
            assert mesh.ctl("check", "--wait", "10s").returncode == 0
            p.send_signal(signal.SIGTERM)
            out, _ = p.communicate(timeout=kvmesh.DEADLINE)
        finally:
            p.kill()
    assert p.returncode == 0 and out == b"kvmesh: ready\n"
    assert all(gone(pid) for pid in pids.values())


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_killed_child_is_back(mesh, name):
    mesh.start()
    before = children(mesh.process.pid)
    os.kill(before[name], signal.SIGKILL)
    after = wait_for(f"{name} again", lambda: (lambda c: c if c.get(name, before[name]) != before[name] else None)(
        children(mesh.process.pid)))
    assert {k: v for k, v in after.items() if k != name} == {k: v for k, v in before.items() if k != name}
    wait_for("everything healthy", lambda: mesh.ctl("check", "-q").returncode == 0)
    assert mesh.text().count("kvmesh: ready") == 1


def test_who_runs_since_when_in_which_version(mesh):
    """Every daemon tells its version, process and age; version and status show them."""
    mesh.start()
    own, *daemons = mesh.ctl_json("version")
    assert {r["component"] for r in daemons} == ALL
    assert {r["version"] for r in daemons} == {own["version"]}
    rows = {r["component"]: r for r in mesh.ctl_json("status")}
    assert {name: r["pid"] for name, r in rows.items()} == children(mesh.process.pid)
    assert all(r["since"] and r["version"] == own["version"] for r in rows.values())
    assert "/metrics" in rows["kvmesh-metrics"]["note"]
    for socket in ("router/router.sock", "ca/ca.sock", "metrics/metrics.sock", "proxy/node.sock"):
        st = mesh.call(socket, "Status")["parameters"]
        assert st["uptimeSeconds"] >= 0 and st["pid"] and st["software"] == own["version"], socket


def test_nothing_outlives_it(mesh):
    mesh.start()
    pids = children(mesh.process.pid)
    assert set(pids) == ALL
    os.kill(mesh.process.pid, signal.SIGKILL)
    wait_for("the children to end", lambda: all(gone(p) for p in pids.values()))


def test_an_unusable_configuration_is_78(mesh):
    mesh.write("mesh.d/wrong.yaml", "kind: VirtualService\napiVersion: networking.istio.io/v1\n"
                                    "metadata: { name: x }\nspec: { hostz: [ a ] }\n")
    r = mesh.ctl("run", check=78)
    assert "wrong.yaml:4:" in r.stderr and "hostz" in r.stderr and r.stdout == ""


def test_two_on_one_directory(mesh):
    mesh.start()
    assert "another" in mesh.ctl("run", check=1).stderr
    assert set(children(mesh.process.pid)) == ALL


def test_bad_usage(mesh):
    assert mesh.ctl("run", "--ready-fd", "77").returncode == 64
    r = subprocess.run([kvmesh.tool("kvmeshctl"), "run", "--etc", mesh.etc, "--run", str(mesh.run) + "/x" * 60,
                        "--state", mesh.state], capture_output=True, text=True, timeout=kvmesh.DEADLINE)
    assert r.returncode == 64 and "too long" in r.stderr


def test_gateways_come_and_go_with_the_configuration(mesh):
    mesh.start()
    path = mesh.write("workloads.d/edge.conf", 'Workload = { name = "edge"; gateway = true; labels = { istio = "edge"; }; };\n')
    mesh.process.popen.send_signal(signal.SIGHUP)
    wait_for("the gateway", lambda: "kvmesh-proxy@edge" in children(mesh.process.pid))
    wait_for("the gateway in service", lambda: any(
        p["name"] == "edge" and p["config"] == "SYNCED" for p in json.loads(mesh.ctl("ps", "-o", "json").stdout)))
    path.unlink()
    mesh.process.popen.send_signal(signal.SIGHUP)
    wait_for("the gateway to go", lambda: "kvmesh-proxy@edge" not in children(mesh.process.pid))
    assert set(children(mesh.process.pid)) == ALL
