# SPDX-License-Identifier: Apache-2.0
"""The whole text of the rules of one configuration that asks for everything: read it, and nft takes it. With
KVMESH_GOLDEN=update it is written anew."""

import os
import pathlib
import subprocess

import kvmesh

GOLDEN = pathlib.Path(__file__).parent / "golden" / "capture.nft"
CONF = """
Workload = (
  { name = "shop"; namespace = "web"; user = "4001"; inject = true; labels = { app = "shop"; };
    ports = ( { name = "http"; number = 8080; }, { name = "admin"; number = 8081; } );
    capture = { excludeInboundPorts = [ 8081 ]; excludeOutboundPorts = [ 25, 465 ];
      excludeOutboundIPRanges = [ "10.0.0.0/8", "2001:db8::/32" ]; }; },
  { name = "db"; namespace = "web"; user = "4002"; inject = true; labels = { app = "db"; };
    ports = ( { name = "tcp"; number = 5432; } );
    capture = { includeInboundPorts = [ 5432, 5433 ]; includeOutboundIPRanges = [ "192.0.2.0/24", "::/0" ];
      includeOutboundPorts = [ 443 ]; }; },
  { name = "quiet"; namespace = "web"; user = "4003"; inject = true; labels = { app = "quiet"; };
    ports = ( { name = "ssh"; number = 22; } ); },
  { name = "none"; namespace = "web"; user = "4004"; inject = true; labels = { app = "none"; }; capture = { mode = "NONE"; };
    ports = ( { name = "http"; number = 8090; } ); },
  { name = "registered"; namespace = "web"; user = "4005"; labels = { app = "registered"; }; ports = ( { name = "http"; number = 8091; } ); } );
"""


def test_the_rules_of_a_configuration(workdir):
    etc = workdir / "etc"
    (etc / "workloads.d").mkdir(parents=True)
    (etc / "workloads.d/all.conf").write_text(CONF)
    (etc / "kvmesh.conf").write_text('node = { name = "n1"; };\n')
    r = subprocess.run([kvmesh.tool("kvmesh-nft"), "print", "--etc", etc, "--run", workdir, "--state", workdir, "--proxy-user", "4000"],
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    # users of the package may be on this machine as well
    lines = ["add rule inet kvmesh out meta skuid { 4000 } accept" if "4000" in line and "accept" in line else line
             for line in r.stdout.splitlines()]
    text = "\n".join(line.split(" comment ")[0] for line in lines) + "\n"
    if os.environ.get("KVMESH_GOLDEN") == "update":
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
