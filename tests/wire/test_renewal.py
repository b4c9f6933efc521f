# SPDX-License-Identifier: Apache-2.0
"""Certificates of seconds: renewed at half of their life and swapped under load without a failed request."""

import kvmesh
from kvmesh import wait_for
from load import Load


def serials(mesh):
    return {c["spiffe"]: c["serial"] for c in mesh.call("proxy/node.sock", "Status")["parameters"]["certificates"]}


def test_renewal_under_load_fails_no_request(workdir):
    with kvmesh.Article(workdir) as a:
        a.mesh.write("conf.d/short.conf", 'ca = { workloadValidity = "10s"; };\n')
        a.start()
        mesh = a.mesh
        before = serials(mesh)
        with Load(mesh.http_port) as load:
            load.more(20)
            for _ in range(2):
                wait_for("every certificate to be renewed",
                         lambda: set(serials(mesh)) == set(before) and all(serials(mesh)[s] != before[s] for s in before))
                before = serials(mesh)
                load.more(20)
        assert load.failures == []


def test_traffic_goes_on_while_the_ca_is_away_and_renewal_catches_up(workdir):
    """The CA is stopped (not dead) over a renewal: the old certificate serves until it is back."""
    import os
    import signal
    import subprocess
    with kvmesh.Article(workdir) as a:
        a.mesh.write("conf.d/short.conf", 'ca = { workloadValidity = "30s"; };\n')
        a.start()
        mesh = a.mesh
        before = serials(mesh)
        ca = int(subprocess.run(["pgrep", "-P", str(mesh.process.pid), "-x", "kvmesh-ca"], capture_output=True, text=True).stdout)
        os.kill(ca, signal.SIGSTOP)
        try:
            with Load(mesh.http_port) as load:
                load.more(200)
            assert load.failures == [] and serials(mesh) == before
        finally:
            os.kill(ca, signal.SIGCONT)
        wait_for("renewal", lambda: all(serials(mesh).get(s) not in (None, before[s]) for s in before))
        assert mesh.get("my-app").status == 200
