# SPDX-License-Identifier: Apache-2.0
"""Injection where no systemd is asked: files written and taken away, and what the generator makes of them."""

import json
import os
import pathlib
import subprocess

import pytest

import kvmesh


@pytest.fixture
def etc(tmp_path):
    directory = tmp_path / "etc"
    for d in ("mesh.d", "workloads.d"):
        (directory / d).mkdir(parents=True)
    return directory


def ctl(etc, *args, check=0):
    r = subprocess.run([kvmesh.tool("kvmeshctl"), "--etc", etc, *map(str, args)], capture_output=True, text=True, timeout=kvmesh.DEADLINE)
    assert check is None or r.returncode == check, r
    return r


def files(directory):
    return {str(p.relative_to(directory)): p.read_text() for p in sorted(pathlib.Path(directory).rglob("*")) if p.is_file()}


def generate(etc, out, expect=0):
    out.mkdir(exist_ok=True)
    r = subprocess.run([kvmesh.tool("kvmesh-generator"), out, out, out], capture_output=True, text=True, timeout=kvmesh.DEADLINE,
                       env={**os.environ, "KVMESH_ETC": str(etc)})
    assert r.returncode == expect, r
    return r


def test_in_and_out_leaves_the_tree_as_it_was(etc, tmp_path):
    before = files(etc)
    ctl(etc, "inject", "my-app-v1", "redis-server@x", "--port", "8001:http/HTTP", "--label", "tier=web")
    assert set(files(etc)) == {"workloads.d/my-app-v1.conf", "workloads.d/redis-server@x.conf"}
    generate(etc, tmp_path / "out")
    assert set(files(tmp_path / "out")) == {"my-app-v1.service.d/50-kvmesh.conf", "redis-server@x.service.d/50-kvmesh.conf"}
    once = files(etc)
    assert ctl(etc, "inject", "my-app-v1", "redis-server@x", "--port", "8001:http/HTTP", "--label", "tier=web").stdout.count("unchanged") == 2
    assert files(etc) == once
    ctl(etc, "uninject", "my-app-v1.service", "redis-server@x")
    assert files(etc) == before
    generate(etc, tmp_path / "again")
    assert files(tmp_path / "again") == {}
    assert "not injected" in ctl(etc, "uninject", "my-app-v1.service").stdout


def test_the_drop_in(etc, tmp_path):
    ctl(etc, "inject", "shop", "--port", "8001")
    generate(etc, tmp_path / "out")
    made = {k: v.replace("/usr/local/sbin/", "/usr/sbin/") for k, v in files(tmp_path / "out").items()}
    assert made == {"shop.service.d/50-kvmesh.conf": f"""\
# Made by kvmesh-generator for Workload shop.default of {etc}/workloads.d/shop.conf.
# It starts once its proxy serves and stops before that drains.
[Unit]
Wants=kvmesh-proxy.service
After=kvmesh-nft.service kvmesh-proxy.service
# Its cgroup is a new one each time: the rules of capture follow, if there are any.
[Service]
ExecStartPre=+/usr/sbin/kvmesh-nft refresh
"""}


def test_dry_run_writes_nothing_and_yaml_shows_the_resource(etc):
    out = ctl(etc, "inject", "shop", "--dry-run", "--port", "8001").stdout
    assert "(would be written)" in out and "number = 8001;" in out
    (row,) = json.loads(ctl(etc, "inject", "shop", "--dry-run", "--port", "8001", "-n", "web", "-o", "json").stdout)
    assert row["resource"]["metadata"] == {"name": "shop", "namespace": "web", "labels": {"app": "shop"}}
    assert row["resource"]["spec"]["inject"] is True and row["ports"] == [{"number": 8001}]
    assert "Wants=kvmesh-proxy.service" in row["dropInText"]
    assert "kind: Workload" in ctl(etc, "inject", "shop", "--dry-run", "-o", "yaml").stdout
    assert files(etc) == {}


def test_what_was_changed_by_hand_is_kept(etc):
    ctl(etc, "inject", "shop", "--port", "8001")
    path = etc / "workloads.d/shop.conf"
    path.write_text(path.read_text().replace("8001", "8002"))
    kept = files(etc)
    for command in ("inject", "uninject"):
        assert "changed by hand" in ctl(etc, command, "shop", check=1).stderr
        assert files(etc) == kept
    ctl(etc, "inject", "shop", "--port", "8003", "--force")
    assert "8003" in path.read_text()
    path.write_text("# mine\n" + path.read_text())
    ctl(etc, "uninject", "shop", "--force")
    assert files(etc) == {}


def test_a_workload_that_is_there_is_its_authors(etc):
    (etc / "mesh.d/shop.yaml").write_text("apiVersion: kvmesh/v1\nkind: Workload\nmetadata: { name: shop }\nspec: { unit: shop.service }\n")
    before = files(etc)
    assert "shop.yaml:1 describes shop.service: write 'inject = true;' there" in ctl(etc, "inject", "shop", check=1).stderr
    ctl(etc, "label", "namespace", "default", "istio-injection=enabled")
    assert "describes it" in ctl(etc, "inject", "shop").stdout
    assert "is not from 'kvmeshctl inject'" in ctl(etc, "uninject", "shop", check=1).stderr
    ctl(etc, "label", "namespace", "default", "istio-injection-")
    assert files(etc) == before


def test_a_name_that_is_taken_changes_nothing(etc):
    (etc / "mesh.d/shop.yaml").write_text("apiVersion: kvmesh/v1\nkind: Workload\nmetadata: { name: shop }\nspec: { unit: other.service }\n")
    before = files(etc)
    r = ctl(etc, "inject", "shop", check=78)
    assert "defined a second time" in r.stderr and "every file is as it was" in r.stderr
    assert files(etc) == before
    ctl(etc, "inject", "shop", "--name", "shop-2")


def test_what_is_refused(etc):
    for unit in ("ssh", "sshd.service", "systemd-resolved", "dbus", "kvmesh-router", "NetworkManager", "systemd-networkd"):
        assert "is left alone" in ctl(etc, "inject", unit, check=1).stderr
    for unit in ("shop.socket", "a/b", "../x", "x@.service", "*"):
        ctl(etc, "inject", unit, check=64)
    assert "must be a port" in ctl(etc, "inject", "shop", "--port", "99999", check=64).stderr
    assert "must be KEY=VALUE" in ctl(etc, "inject", "shop", "--label", "x", check=64).stderr
    assert files(etc) == {}


def test_force_is_written_down(etc, tmp_path):
    ctl(etc, "inject", "ssh", "--force")
    generate(etc, tmp_path / "out")
    assert set(files(tmp_path / "out")) == {"ssh.service.d/50-kvmesh.conf"}
    path = etc / "workloads.d/ssh.conf"
    path.write_text(path.read_text().replace("force-inject=true", "force-inject=false"))
    generate(etc, tmp_path / "again")
    assert files(tmp_path / "again") == {}


def test_a_namespace_injects_its_workloads(etc, tmp_path):
    (etc / "workloads.d/shop.conf").write_text("""\
Workload = ( { name = "till"; namespace = "shop"; unit = "till.service"; },
  { name = "out"; namespace = "shop"; unit = "out.service"; inject = false; },
  { name = "other"; unit = "other.service"; } );
""")
    generate(etc, tmp_path / "none")
    assert files(tmp_path / "none") == {}
    out = json.loads(ctl(etc, "label", "namespace", "shop", "istio-injection=enabled", "team=a", "-o", "json").stdout)
    assert out["units"] == [{"unit": "till.service", "injected": True}] and out["action"] == "written"
    generate(etc, tmp_path / "some")
    assert set(files(tmp_path / "some")) == {"till.service.d/50-kvmesh.conf"}
    assert json.loads(ctl(etc, "label", "ns", "shop", "istio-injection=enabled", "-o", "json").stdout)["action"] == "unchanged"
    assert "--overwrite" in ctl(etc, "label", "ns", "shop", "istio-injection=disabled", check=1).stderr
    rows = {r["unit"]: r for r in json.loads(ctl(etc, "check-inject", "-o", "json").stdout)}
    assert rows["till.service"]["injected"] and "namespace shop has istio-injection=enabled" in rows["till.service"]["reason"]
    assert not rows["out.service"]["injected"] and not rows["other.service"]["injected"]
    ctl(etc, "check-inject", "out", check=1)
    ctl(etc, "label", "ns", "shop", "istio-injection=disabled", "--overwrite")
    ctl(etc, "label", "ns", "shop", "istio-injection=maybe", "--overwrite", check=78)
    assert "istio-injection=disabled" in (etc / "mesh.d/namespace-shop.conf").read_text()
    ctl(etc, "label", "ns", "shop", "istio-injection-", "team-")
    assert set(files(etc)) == {"workloads.d/shop.conf"}


def test_label_is_for_namespaces_and_their_authors_files_are_left(etc):
    ctl(etc, "label", "workload", "shop", "a=b", check=64)
    ctl(etc, "label", "namespace", "../shop", "a=b", check=64)
    ctl(etc, "label", "namespace", "shop", "a", check=64)
    (etc / "mesh.d/ns.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { istio-injection: enabled } }\n")
    assert "ns.yaml:1 describes namespace shop" in ctl(etc, "label", "namespace", "shop", "a=b", check=1).stderr


def test_the_generator_is_never_in_the_way_of_a_boot(etc, tmp_path):
    """Files that nobody could use are told and left out; the others count."""
    ctl(etc, "inject", "shop", "--port", "8001")
    (etc / "workloads.d/broken.conf").write_text("Workload = {")
    (etc / "workloads.d/wrong.yaml").write_text("apiVersion: kvmesh/v1\nkind: Workload\nmetadata: { name: w }\nspec: { unit: w.service, injekt: true }\n")
    (etc / "workloads.d/evil.conf").write_text('Workload = { name = "e"; unit = "../../e.service"; inject = true; };\n')
    (etc / "kvmesh.conf").write_text("nonsense")
    r = generate(etc, tmp_path / "out")
    assert "left out:" in r.stderr and "broken.conf" in r.stderr
    assert set(files(tmp_path / "out")) == {"shop.service.d/50-kvmesh.conf"}
    generate(tmp_path / "nowhere", tmp_path / "empty")
    assert files(tmp_path / "empty") == {}


def test_the_generators_options():
    run = lambda *args: subprocess.run([kvmesh.tool("kvmesh-generator"), *args], capture_output=True, text=True, timeout=kvmesh.DEADLINE)
    assert run("--version").stdout.startswith("kvmesh-generator ") and "systemd.generator" in run("--help").stdout
    assert run().returncode == 64 and run("a", "b").returncode == 64 and run("--nothing").returncode == 64
