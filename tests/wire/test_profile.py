# SPDX-License-Identifier: Apache-2.0
"""kvmeshctl install and profile: presets become files, nothing of an operator's is lost, nothing is done twice."""

import json
import re
import subprocess

import pytest

import kvmesh

PROFILES = kvmesh.TOP / "etc" / "profiles"
GATEWAYS = {"default": {"ingressgateway"}, "demo": {"ingressgateway", "egressgateway"}, "strict": {"ingressgateway", "egressgateway"},
            "minimal": set(), "empty": set()}


class Node:
    def __init__(self, directory):
        self.etc = directory / "etc"
        self.etc.mkdir()
        (self.etc / "kvmesh.conf").write_text((kvmesh.TOP / "etc" / "kvmesh.conf").read_text())
        self.where = ["--etc", self.etc, "--run", directory / "run", "--state", directory / "state"]

    def __call__(self, *words, check=0, program="kvmeshctl", input=None):
        r = subprocess.run([str(x) for x in [kvmesh.tool(program), *self.where, *words]], capture_output=True, text=True,
                           timeout=kvmesh.DEADLINE, input=input)
        assert check is None or r.returncode == check, (words, r)
        return r

    def install(self, profile, *more, check=0):
        return self("install", "--profile", profile, "--profiles", PROFILES, *more, check=check)

    def rows(self, profile, *more, check=0):
        return {r["name"].removeprefix(f"{self.etc}/"): r["action"] for r in json.loads(self.install(profile, "-o", "json", *more, check=check).stdout)}

    def files(self):
        return {str(p.relative_to(self.etc)): p.read_text() for p in self.etc.rglob("*") if p.is_file() and p.name != "kvmesh.conf"}


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def test_list_tells_every_profile(node):
    rows = json.loads(node("profile", "list", "--profiles", PROFILES, "-o", "json").stdout)
    assert {r["name"]: set(r["components"]) & {"ingressgateway", "egressgateway"} for r in rows} == GATEWAYS
    assert all(r["description"] for r in rows)
    assert node("profile", "list", "--profiles", PROFILES).stdout.splitlines()[0].split() == ["NAME", "COMPONENTS", "DESCRIPTION"]


def test_dump_is_what_install_writes(node):
    for profile in GATEWAYS:
        dump = json.loads(node("profile", "dump", profile, "--profiles", PROFILES, "-o", "json").stdout)
        node.install(profile)
        assert {f["path"]: f["text"] for f in dump["files"]} == node.files()
        text = node("profile", "dump", profile, "--profiles", PROFILES).stdout
        assert all(f["text"] in text and f"# ---- {f['path']}" in text for f in dump["files"])
    assert node("profile", "dump", "defualt", "--profiles", PROFILES, check=4).stderr.endswith("(did you mean 'default'?)\n")


def test_diff_is_a_patch_from_one_to_the_other(node, tmp_path):
    assert node("profile", "diff", "demo", "demo", "--profiles", PROFILES).stdout == ""
    text = node("profile", "diff", "demo", "strict", "--profiles", PROFILES, check=1).stdout
    (tmp_path / "a").write_text(node("profile", "dump", "demo", "--profiles", PROFILES).stdout)
    body = [x for x in text.splitlines()[3:]]
    assert [x[1:] for x in body if x[0] in " -"] == (tmp_path / "a").read_text().splitlines()
    assert [x[1:] for x in body if x[0] in " +"] == node("profile", "dump", "strict", "--profiles", PROFILES).stdout.splitlines()


@pytest.mark.parametrize("profile", sorted(GATEWAYS))
def test_every_profile_loads_and_asks_for_its_gateways(node, profile):
    node.install(profile)
    node("-t", program="kvmesh-router")
    rows = json.loads(node("get", "workloads", "-o", "json").stdout)
    assert {r["metadata"]["name"] for r in rows} == GATEWAYS[profile]
    assert not [m for m in json.loads(node("analyze", "-o", "json").stdout) if m["level"] in ("Error", "Warning")]


def test_the_egress_gateway_of_a_profile_is_the_one_of_the_manual(node):
    """docs/gateway.md: what it begins with is what demo and strict write."""
    text = (kvmesh.TOP / "docs" / "gateway.md").read_text()
    node.install("demo")
    got = json.loads(node("get", "all", "-o", "json").stdout)
    for f in (node.etc / "services.d", node.etc / "workloads.d"):
        for p in f.glob("*egressgateway.conf"):
            p.unlink()
    (node.etc / "mesh.d").mkdir(exist_ok=True)
    (node.etc / "mesh.d" / "egress.yaml").write_text(re.search(r"<!-- example: egress -->\n```yaml\n(.*?)```", text, re.S)[1])
    assert sorted(map(json.dumps, json.loads(node("get", "all", "-o", "json").stdout))) == sorted(map(json.dumps, got))


def test_strict_is_strict(node):
    node.install("strict")
    dump = {r["key"]: r["value"] for r in json.loads(node("config", "dump", "-o", "json").stdout)}
    assert dump["mesh.outboundTrafficPolicy.mode"] == "REGISTRY_ONLY" and dump["node.unregisteredCallers"] == "refuse"
    pa, = json.loads(node("get", "pa", "-o", "json").stdout)
    assert pa["metadata"]["namespace"] == "kvmesh-system" and pa["spec"]["mtls"]["mode"] == "STRICT"


def test_a_second_time_nothing_happens(node):
    first = node.rows("demo")
    before, stat = node.files(), {p: p.stat().st_mtime_ns for p in node.etc.rglob("*.conf")}
    again = node.rows("demo")
    assert {a for k, a in first.items() if k in before} == {"written"} and {a for k, a in again.items() if k in before} == {"unchanged"}
    assert node.files() == before and {p: p.stat().st_mtime_ns for p in node.etc.rglob("*.conf")} == stat
    assert node("install", "--set", "profile=demo", "--profiles", PROFILES).stdout.count("unchanged") == 4, "as istioctl writes it"
    assert node("install", "--set", "mesh.trustDomain=x", "--profiles", PROFILES, check=64)


def test_another_profile_takes_away_what_the_one_before_has_written(node):
    node.install("strict")
    (node.etc / "mesh.d" / "10-mine.conf").write_text("# mine\n")
    rows = node.rows("minimal")
    assert rows["conf.d/00-profile.conf"] == "replaced" and rows["mesh.d/00-profile.conf"] == "removed"
    assert set(node.files()) == {"conf.d/00-profile.conf", "mesh.d/10-mine.conf"}
    node.install("empty")
    assert set(node.files()) == {"mesh.d/10-mine.conf"}


def test_what_was_changed_by_hand_stays(node):
    node.install("demo")
    mine = node.etc / "conf.d" / "00-profile.conf"
    mine.write_text(mine.read_text().replace('"/dev/stdout"', '"/var/log/mesh.log"'))
    text = mine.read_text()
    r = node.install("strict", check=1)
    assert mine.read_text() == text and "00-profile.conf kept" in r.stdout and "--force" in r.stderr
    assert (node.etc / "mesh.d" / "00-profile.conf").exists(), "the others are written"
    assert node.rows("empty", check=1)["conf.d/00-profile.conf"] == "kept" and mine.read_text() == text
    assert node.rows("strict", "--force")["conf.d/00-profile.conf"] == "replaced" and "REGISTRY_ONLY" in mine.read_text()


def test_a_file_that_was_there_before_is_no_profiles(node):
    (node.etc / "workloads.d").mkdir()
    mine = node.etc / "workloads.d" / "00-ingressgateway.conf"
    mine.write_text('Workload = { name = "ingressgateway"; gateway = true; labels = { istio = "other"; }; };\n')
    text = mine.read_text()
    assert node.rows("default", check=1)["workloads.d/00-ingressgateway.conf"] == "kept" and mine.read_text() == text


def test_dry_run_writes_nothing(node):
    r = node.install("strict", "--dry-run")
    assert node.files() == {} and "would be written" in r.stdout and "REGISTRY_ONLY" in r.stdout
    assert node.rows("strict", "--dry-run")["mesh.d/00-profile.conf"] == "written" and node.files() == {}


def test_files_that_would_not_load_are_taken_back(node):
    node.install("demo")
    before = node.files()
    (node.etc / "mesh.d").mkdir(exist_ok=True)
    (node.etc / "mesh.d" / "wrong.yaml").write_text("apiVersion: v1\nkind: Service\nmetadata: { name: x }\nspec: { portz: [] }\n")
    r = node.install("strict", check=78)
    assert "portz" in r.stderr and "as it was" in r.stderr
    assert {k: v for k, v in node.files().items() if k != "mesh.d/wrong.yaml"} == before


def test_a_running_mesh_gets_its_gateway(workdir):
    with kvmesh.Mesh(workdir / "mesh") as mesh:
        mesh.start()
        mesh.ctl("install", "--profile", "default", "--profiles", PROFILES, check=0)
        rows = json.loads(mesh.ctl("get", "workloads", "-o", "json", check=0).stdout)
        assert [r["metadata"]["name"] for r in rows] == ["ingressgateway"], "the router has read it"
