# SPDX-License-Identifier: Apache-2.0
"""A workload whose systemd unit is not active is given no work. A real message bus of our own, on which a program plays
systemd; the real one is met by the node tests."""

import pathlib
import shutil
import subprocess

import pytest

import kvmesh
from kvmesh import wait_for
from test_probes import Web, answers, healths, http_probe, state, states, wait_health, wait_state, workload

if shutil.which("dbus-daemon") is None or subprocess.run(
        ["/usr/bin/python3", "-c", "import dbus, gi"], capture_output=True).returncode != 0:
    pytest.skip("dbus-daemon, python3-dbus or python3-gi is not installed", allow_module_level=True)

CONF = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow send_type="signal"/><allow send_type="method_call"/><allow send_requested_reply="true"/><allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/><allow own="*"/><allow user="*"/></policy>
</busconfig>
"""


class Bus:
    """dbus-daemon and, on it, the program that plays systemd."""

    def __init__(self, directory):
        self.dir = directory
        self.path = directory / "bus"
        self.address = f"unix:path={self.path}"
        (directory / "bus.conf").write_text(CONF.format(path=self.path))
        self.daemon = self.systemd = None

    def start(self):
        self.path.unlink(missing_ok=True)
        self.daemon = kvmesh.Process(["dbus-daemon", f"--config-file={self.dir}/bus.conf", "--nofork", "--nopidfile"],
                                     self.dir / "bus.log")
        wait_for("the bus", lambda: self.path.exists() and self._play())
        return self

    def _play(self):
        script = pathlib.Path(kvmesh.__file__).with_name("fake_systemd.py")
        self.systemd = subprocess.Popen(["/usr/bin/python3", script, self.address], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return self.systemd.stdout.readline() == "ok\n"

    def set(self, unit, what):
        self.systemd.stdin.write(f"{unit} {what}\n")
        self.systemd.stdin.flush()
        assert self.systemd.stdout.readline() == "ok\n"

    def stop(self):
        for p in (self.systemd, self.daemon and self.daemon.popen):
            if p:
                p.terminate()
                p.wait(20)


@pytest.fixture
def bus(workdir):
    b = Bus(workdir)
    yield b
    b.stop()


@pytest.fixture
def world(workdir, bus, monkeypatch):
    mesh = kvmesh.Mesh(workdir / "mesh", "defaultConfig = { concurrency = 1; };")
    mesh.service("web", 80, "http")
    mesh.own = []
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    yield mesh
    mesh.stop()
    for x in mesh.own:
        x.stop()


def webs(mesh, probe=False, **units):
    made = {}
    for name, unit in units.items():
        made[name] = Web(name)
        mesh.own.append(made[name])
        workload(mesh, name, made[name].port, http_probe(made[name].port) if probe else "", more=f'unit = "{unit}";')
    return made


def test_who_is_not_active_is_out_at_once(world, bus):
    bus.start()
    webs(world, a="a.service", b="b@1.service")
    bus.set("a.service", "active")
    bus.set("b@1.service", "active")
    world.start()
    wait_state(world, "a", "active")
    wait_state(world, "b", "active")
    wait_for("both", lambda: answers(world) == {"a", "b"})
    for out in ("deactivating", "failed", "inactive", "activating"):
        bus.set("b@1.service", out)
        wait_health(world, a="HEALTHY", b="INACTIVE")
        assert answers(world) == {"a"} and states(world)["b"]["unitState"] == out
        bus.set("b@1.service", "active")
        wait_health(world, b="HEALTHY")
    assert "workload_inactive: default/b is given no work: its unit b@1.service is failed" in world.text()
    bus.set("b@1.service", "reloading")
    wait_for("the state", lambda: states(world)["b"]["unitState"] == "reloading")
    assert healths(world)["b"] == "HEALTHY", "a unit that reloads still serves"
    bus.set("a.service", "inactive")
    bus.set("b@1.service", "inactive")
    wait_health(world, a="INACTIVE", b="INACTIVE")
    r = world.get("web")
    assert r.status == 503 and r.text == "no healthy upstream"


def test_a_unit_that_begins_anew_is_out_until_its_first_good_probe(world, bus):
    bus.start()
    a = webs(world, probe=True, a="a.service")["a"]
    bus.set("a.service", "active")
    world.start()
    wait_state(world, "a", "healthy")
    bus.set("a.service", "inactive")
    wait_state(world, "a", "inactive")
    n = len(a.seen)
    a.health = 500
    bus.set("a.service", "active")
    wait_for("probes", lambda: len(a.seen) > n)
    assert state(world, "a") in ("starting", "unhealthy") and states(world)["a"]["out"]
    a.health = 200
    wait_state(world, "a", "healthy")
    wait_for("its answers", lambda: answers(world, 2) == {"a"})


def test_without_a_bus_units_count_as_active_and_what_was_told_stays(world, bus):
    webs(world, a="a.service", b="b.service")
    world.start()
    assert answers(world) == {"a", "b"}
    bus.start()
    bus.set("a.service", "active")
    wait_health(world, a="HEALTHY", b="INACTIVE")
    bus.stop()
    wait_for("the loss", lambda: "units are not watched for now" in world.text())
    assert answers(world) == {"a"}
    bus.start()
    bus.set("a.service", "active")
    bus.set("b.service", "active")
    wait_health(world, a="HEALTHY", b="HEALTHY")
    world.assert_sound()


def test_a_signal_of_somebody_else_changes_nothing(world, bus):
    bus.start()
    webs(world, a="a.service")
    bus.set("a.service", "active")
    world.start()
    wait_state(world, "a", "active")
    r = subprocess.run(["dbus-send", f"--bus={bus.address}", "--type=signal", "/org/freedesktop/systemd1/unit/a_2eservice",
                        "org.freedesktop.DBus.Properties.PropertiesChanged", "string:org.freedesktop.systemd1.Unit",
                        "dict:string:string:ActiveState,failed", "array:string:"], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    bus.set("a.service", "active")          # what comes behind it was heard
    assert state(world, "a") == "active" and answers(world, 2) == {"a"}


def test_the_initial_delay_counts_from_the_start_of_the_unit(world, bus):
    bus.start()
    a = Web("a")
    world.own.append(a)
    workload(world, "a", a.port, http_probe(a.port, times="periodSeconds = 1; initialDelaySeconds = 3;"), more='unit = "a.service";')
    bus.set("a.service", "inactive")
    world.start()
    wait_state(world, "a", "inactive")
    assert not a.seen, "what does not run is not probed"
    bus.set("a.service", "active")
    wait_state(world, "a", "starting")
    assert not a.seen and world.get("web").status == 503
    wait_state(world, "a", "healthy")
    wait_for("its answers", lambda: answers(world, 2) == {"a"})
    assert a.seen
