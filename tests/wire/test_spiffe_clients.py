# SPDX-License-Identifier: Apache-2.0
"""Clients of SPIFFE that others wrote: go-spiffe and python's spiffe, with nothing set but SPIFFE_ENDPOINT_SOCKET. Both are optional:

    python3 -m venv DIR && DIR/bin/pip install spiffe                   KVMESH_SPIFFE_PYTHON=DIR/bin/python
    a module with tests/lib/spiffe_go/main.go, go mod tidy, go build     KVMESH_SPIFFE_GO=PROGRAM
"""

import os
import pathlib
import shutil
import subprocess

import pytest

from ca import DEFAULT, Ca, spiffe
from control import is_root
from kvmesh import wait_for
from workloadapi import NOBODY

pytestmark = pytest.mark.skipif(not is_root(), reason="needs to become another user")
LIB = pathlib.Path(__file__).resolve().parents[1] / "lib"


@pytest.fixture
def ca():
    with Ca({**DEFAULT, "leafLifetimeUs": 8_000_000}) as c:
        c.start().ready()
        wait_for("the keys of tokens", lambda: (c.state / "jwks/mesh.json").exists())
        yield c


def run(ca, *argv):
    r = subprocess.run([str(a) for a in argv], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", capture_output=True, text=True, timeout=170,
                       env={"PATH": "/usr/bin:/bin", "HOME": "/", "SPIFFE_ENDPOINT_SOCKET": f"unix://{ca.run}/workload-api.sock"})
    assert r.returncode == 0 and r.stdout.startswith("ok"), r.stdout + r.stderr
    assert spiffe("own") in r.stdout
    assert ca.process.alive()


@pytest.mark.skipif("KVMESH_SPIFFE_PYTHON" not in os.environ, reason="no python with the package spiffe (KVMESH_SPIFFE_PYTHON)")
def test_python_spiffe(ca):
    script = shutil.copy(LIB / "spiffe_py.py", ca.dir)
    os.chmod(script, 0o644)
    run(ca, os.environ["KVMESH_SPIFFE_PYTHON"], script)


@pytest.mark.skipif("KVMESH_SPIFFE_GO" not in os.environ, reason="no client built on go-spiffe (KVMESH_SPIFFE_GO)")
def test_go_spiffe(ca):
    program = shutil.copy(os.environ["KVMESH_SPIFFE_GO"], ca.dir)
    os.chmod(program, 0o755)
    run(ca, program)
