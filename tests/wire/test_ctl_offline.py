# SPDX-License-Identifier: Apache-2.0
"""kvmeshctl without any daemon: files in, answers and exit codes out."""

import json
import os
import pathlib
import re
import subprocess

import pytest

import kvmesh

GOOD = """\
apiVersion: v1
kind: Service
metadata: { name: my-app }
spec:
  selector: { app: my-app }
  ports:
  - { name: http, port: 80, targetPort: http }
---
apiVersion: kvmesh/v1
kind: Workload
metadata: { name: my-app-v1, labels: { app: my-app, version: v1 } }
spec:
  unit: my-app-v1.service
  ports: [ { name: http, number: 8001 } ]
---
apiVersion: kvmesh/v1
kind: Workload
metadata: { name: my-app-v2, labels: { app: my-app, version: v2 } }
spec:
  unit: my-app-v2.service
  ports: [ { name: http, number: 8002 } ]
---
""" + kvmesh.ARTICLE

UNKNOWN_FIELD = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: x }
spec:
  hostz: [ my-app ]
"""


class Ctl:
    """kvmeshctl on directories of its own, in which nothing runs."""

    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.etc = self.dir / "etc"
        (self.etc / "mesh.d").mkdir(parents=True)
        self.write("etc/kvmesh.conf", 'mesh = { trustDomain = "example.mesh"; };\nnode = { name = "fra-1"; };\n')

    def write(self, name, text):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def __call__(self, *args, check=None, input=None, dirs=True, **env):
        where = ["--etc", self.etc, "--run", self.dir / "run", "--state", self.dir / "state"] if dirs else []
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("KVMESH_", "KVMESHCTL_", "NO_COLOR"))}
        r = subprocess.run([str(a) for a in [kvmesh.tool("kvmeshctl"), *where, *args]], capture_output=True,
                           text=True, input=input, timeout=kvmesh.DEADLINE, env={**clean, **env})
        assert check is None or r.returncode == check, f"{args}: {r.returncode}\n{r.stdout}{r.stderr}"
        return r

    def json(self, *args, check=0, **kw):
        return json.loads(self(*args, "-o", "json", check=check, **kw).stdout)


@pytest.fixture
def ctl(tmp_path):
    return Ctl(tmp_path)


# ---- the frame --------------------------------------------------------------------------------------

def commands(ctl):
    """Every command with its sub-commands, from --help."""
    names = re.findall(r"^  ([a-z][a-z-]*) ", ctl("--help", check=0).stdout, re.M)
    found = []
    for name in names:
        text = ctl(name, "--help", check=0).stdout
        subs = re.findall(r"^  ([a-z][a-z-]*) ", text, re.M) if " COMMAND …" in text.splitlines()[0] else []
        found += [(name, s) for s in subs] or [(name,)]
    return found


def test_help_of_every_command(ctl):
    all_commands = commands(ctl)
    for wanted in [("check",), ("analyze",), ("config", "reload"), ("authn", "tls-check"), ("proxy-config", "route"),
                   ("run",), ("ca", "bundle")]:
        assert wanted in all_commands
    for words in all_commands:
        text = ctl(*words, "--help", check=0).stdout
        assert text.startswith("kvmeshctl " + " ".join(words)), text


@pytest.mark.parametrize("words, hint", [
    (["analyse"], "did you mean 'analyze'?"),
    (["config", "tset"], "did you mean 'test'?"),
    (["get", "virtualservise"], "did you mean 'virtualservices'?"),
    (["analyze", "--failure-treshold=Info"], "did you mean '--failure-threshold'?"),
])
def test_slips_of_the_finger_are_named(ctl, words, hint):
    r = ctl(*words, check=64)
    assert hint in r.stderr and r.stdout == ""


@pytest.mark.parametrize("words", [
    [], ["config"], ["get"], ["convert"], ["explain", "a", "b"], ["-o", "xml", "explain"], ["--timeout", "soon", "explain"],
    ["--color=maybe", "explain"], ["analyze", "--output-threshold", "Loud"], ["explain", "--no-such-option"],
    ["validate"], ["convert", "--to", "xml", "/dev/null"], ["config", "history", "--limit", "0"],
])
def test_wrong_usage_is_64(ctl, words):
    assert ctl(*words).returncode == 64


def test_words_that_mean_nothing(ctl):
    plain = ctl("explain", check=0).stdout
    for prefix in ("x", "experimental", "viz"):
        assert ctl(prefix, "explain", check=0).stdout == plain


def test_options_anywhere_and_in_the_environment(ctl):
    want = ctl.json("explain")
    assert json.loads(ctl("-ojson", "explain", check=0).stdout) == want
    assert json.loads(ctl("explain", "--json=short", check=0).stdout) == want
    assert json.loads(ctl("explain", check=0, KVMESHCTL_OUTPUT="json").stdout) == want
    assert ctl("explain", "--json=short", check=0).stdout.count("\n") == 1
    assert ctl("-q", "config", "test", check=0, dirs=False, KVMESH_ETC=str(ctl.etc)).stderr == ""


def test_legend_and_short_form(ctl):
    table = ctl("explain", check=0).stdout.splitlines()
    assert table[0].split()[:2] == ["KIND", "NAMES"]
    assert ctl("explain", "--no-legend", check=0).stdout.splitlines()[0].split()[0] == "VirtualService"
    assert ctl("explain", "-o", "short", check=0).stdout.split()[:2] == ["VirtualService", "DestinationRule"]
    assert len(ctl("explain", "-o", "wide", check=0).stdout.splitlines()[0]) > len(table[0].split("STATUS")[0])


def test_colour_only_when_asked(ctl):
    assert "\033" not in ctl("explain", check=0).stdout
    assert "\033[1m" in ctl("explain", "--color=always", check=0).stdout
    assert "\033[1m" in ctl("explain", check=0, SYSTEMD_COLORS="1").stdout
    assert "\033" not in ctl("explain", "--color=never", check=0, SYSTEMD_COLORS="1").stdout


def test_completion(ctl, tmp_path):
    script = tmp_path / "kvmeshctl.bash"
    script.write_text(ctl("completion", "bash", check=0).stdout)
    subprocess.run(["bash", "-n", script], check=True)

    def words(*line):
        return ctl("completion", "words", "--", *line, check=0).stdout.split()
    assert words("conf") == ["config"]
    assert words("config", "") == ["test", "dump", "reload", "history"]
    assert words("get", "virt") == ["virtualservices"]
    assert words("-o", "ya") == ["yaml"]
    assert "--failure-threshold" in words("analyze", "--f")
    ctl.write("etc/mesh.d/app.yaml", GOOD)
    assert words("explain", "request") == ["requestauthentications", "request"] and "virtualservices" in words("explain", "virt")
    assert words("explain", "request", "") == ["-", "my-app-v1", "my-app-v2"]
    assert words("describe", "") == ["service", "workload", "unit", "node"] and words("describe", "service", "") == ["my-app"]
    assert words("routes", "my") == ["my-app"] and words("authz", "check", "my-app-v2") == ["my-app-v2"]
    assert words("install", "--profile", "d") == ["default", "demo"]
    line = subprocess.run(["bash", "-c", f'''. {script}; COMP_WORDS=({kvmesh.tool("kvmeshctl")} authn ""); COMP_CWORD=2
                           _kvmeshctl; echo "${{COMPREPLY[@]}}"'''], capture_output=True, text=True, check=True)
    assert line.stdout.split() == ["tls-check"]
    assert ctl("completion", "tcsh").returncode == 64


# ---- analyze, validate ---------------------------------------------------------------------------------

def test_analyze_finds_nothing(ctl):
    path = ctl.write("good.yaml", GOOD)
    r = ctl("analyze", path, check=0)
    assert "No validation issues found" in r.stderr or "Error" not in r.stdout
    assert json.loads(ctl("analyze", path, "-o", "json", "--output-threshold=Error", check=0).stdout) == []


def test_analyze_on_the_installed_files(ctl):
    ctl.write("etc/mesh.d/app.yaml", GOOD.replace("subset: v2 }", "subset: v3 }"))
    r = ctl("analyze", check=79)
    line = next(x for x in r.stdout.splitlines() if "v3" in x)
    assert re.match(r"Error \[KVM\d{4}\] \(VirtualService my-app-route\.default .*app\.yaml:\d+\) ", line), line


def test_analyze_as_json_and_yaml(ctl):
    ctl.write("etc/mesh.d/app.yaml", GOOD.replace("subset: v2 }", "subset: v3 }"))
    found = [m for m in ctl.json("analyze", check=79) if "v3" in m["message"]]
    assert found[0]["level"] == "Error" and found[0]["origin"] == "VirtualService my-app-route.default"
    assert re.fullmatch(r".*/app\.yaml:\d+", found[0]["reference"]) and found[0]["istio"] == "IST0101"
    assert found[0]["code"] in ctl("analyze", "-o", "yaml", check=79).stdout


def test_all_errors_of_a_file_with_their_places(ctl):
    path = ctl.write("bad.yaml", UNKNOWN_FIELD + "  http:\n  - timeout: soon\n")
    r = ctl("analyze", path, check=79)
    text = r.stdout + r.stderr
    assert "bad.yaml:5" in text and "'hostz'" in text and "hosts" in text
    assert "bad.yaml:7" in text and "timeout" in text


def test_a_file_that_cannot_be_parsed_is_65(ctl):
    assert "broken.yaml:1" in ctl("analyze", ctl.write("broken.yaml", "{ not: [ yaml"), check=65).stdout
    assert ctl("analyze", ctl.write("broken.conf", "VirtualService = { name = "), check=65)
    assert "nowhere" in ctl("analyze", ctl.dir / "nowhere.yaml", check=65).stdout


def test_analyze_reads_standard_input_and_directories(ctl):
    assert ctl("analyze", "-", input=UNKNOWN_FIELD, check=79)
    assert ctl("analyze", "-", input=GOOD, check=0)
    ctl.write("dir/sub/app.yaml", UNKNOWN_FIELD)
    assert "app.yaml:5" in ctl("analyze", ctl.dir / "dir", check=79).stdout


def test_analyze_names_the_resource_once(ctl):
    ctl.write("etc/mesh.d/app.yaml", GOOD.replace("subset: v2 }", "subset: v3 }"))
    line = next(x for x in ctl("analyze", check=79).stdout.splitlines() if "v3" in x)
    assert line.count("VirtualService my-app-route.default") == 1, line
    found = next(m for m in ctl.json("analyze", check=79) if "v3" in m["message"])
    assert "VirtualService my-app-route.default" not in found["message"]


def test_files_are_judged_over_what_is_installed(ctl):
    """A route alone refers to a Service and subsets that this node has."""
    services, _, article = GOOD.partition(kvmesh.ARTICLE)
    route = ctl.write("route.yaml", "---".join(kvmesh.ARTICLE.split("---")[2:]))
    ctl.write("etc/workloads.d/app.yaml", services)
    assert ctl("analyze", route, check=79), "the subsets are not installed"
    ctl.write("etc/mesh.d/app.yaml", kvmesh.ARTICLE)
    assert ctl.json("analyze", route) == ctl.json("analyze")
    assert ctl("analyze", "-", input=route.read_text(), check=0)
    assert ctl("analyze", ctl.etc / "mesh.d/app.yaml", check=0), "an installed file itself"
    assert ctl("analyze", "--use-kube=false", route, check=79)
    assert ctl("analyze", "--use-kube=maybe", route, check=64)


def test_a_file_replaces_what_is_installed(ctl):
    """A new version of an installed resource is no second definition, and is the one that is judged."""
    ctl.write("etc/mesh.d/app.yaml", GOOD)
    new = ctl.write("new.yaml", kvmesh.ARTICLE.replace("subset: v2 }", "subset: v3 }"))
    found = ctl.json("analyze", new, check=79)
    assert all("KVM0005" != m["code"] for m in found)
    assert [m["file"] for m in found if "v3" in m["message"]] == [str(new)]
    twice = ctl.write("twice.yaml", kvmesh.ARTICLE + "---\n" + kvmesh.ARTICLE)
    assert "KVM0005" in [m["code"] for m in ctl.json("analyze", twice, check=79)]


def test_a_broken_installation_is_remarked_and_left_out(ctl):
    ctl.write("etc/mesh.d/broken.yaml", UNKNOWN_FIELD)
    r = ctl("analyze", ctl.write("good.yaml", GOOD), check=0)
    assert "judged without" in r.stderr and "hostz" not in r.stdout


def test_thresholds_and_suppression(ctl):
    # a DestinationRule for a host that is not in the registry is worth a warning
    path = ctl.write("dr.yaml", """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: odd }
spec: { host: nowhere.example }
""")
    warnings = [m for m in ctl.json("analyze", path) if m["level"] == "Warning"]
    assert warnings, "a warning is needed for this test"
    code = warnings[0]["code"]
    assert ctl("analyze", path, "--failure-threshold", "Warning", check=79)
    assert ctl("analyze", path, "--output-threshold", "Error", check=0).stdout == ""
    for pattern in (f"{code}=DestinationRule odd.default", f"{code}=Destination* *", code):
        rest = ctl.json("analyze", path, "-S", pattern)
        assert code not in [m["code"] for m in rest], pattern
    assert code in [m["code"] for m in ctl.json("analyze", path, "-S", f"{code}=Gateway *")]
    assert ctl("analyze", path, "--failure-threshold=Warning", "-S", code, check=0)


def test_rules_are_listed(ctl):
    rules = ctl.json("analyze", "-L")
    codes = [r["code"] for r in rules]
    assert codes == sorted(codes) and len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"KVM\d{4}", c) for c in codes)
    assert all(r["name"] and r["help"] and r["level"] in ("Error", "Warning", "Info") for r in rules)
    assert "IST0101" in [r["istio"] for r in rules]


def test_validate_judges_a_file_by_itself(ctl):
    # what it refers to is elsewhere
    good = ctl.write("article.yaml", kvmesh.ARTICLE)
    assert "is valid" in ctl("validate", "-f", good, check=0).stderr
    bad = ctl.write("bad.yaml", UNKNOWN_FIELD)
    r = ctl("validate", "-f", good, "-f", bad, check=79)
    assert re.search(r"bad\.yaml:5:\d+: error: ", r.stderr) and "hostz: [ my-app ]" in r.stderr and "^" in r.stderr
    assert ctl("validate", ctl.write("broken.yaml", "a: [")).returncode == 65


# ---- convert ----------------------------------------------------------------------------------------------

def test_there_and_back(ctl):
    yaml = ctl.write("app.yaml", GOOD)
    native = ctl("convert", yaml, check=0).stdout
    assert "VirtualService = " in native and re.search(r"^# from .*app\.yaml:\d+$", native, re.M)
    assert "# from" not in ctl("convert", "--no-marks", yaml, check=0).stdout
    conf = ctl.write("app.conf", native)
    again = ctl("convert", "--to", "yaml", conf, check=0).stdout
    one, two = (ctl("convert", "--to", "json", p, check=0).stdout for p in (yaml, ctl.write("again.yaml", again)))
    assert one == two and "my-app-route" in one
    for path in (yaml, conf):
        assert ctl("convert", "--check", path, check=0).stdout == ""


def test_converted_files_mean_the_same(ctl):
    ctl.write("etc/mesh.d/app.yaml", GOOD)
    before = ctl.json("get", "all")
    (ctl.etc / "mesh.d/app.yaml").rename(ctl.dir / "app.yaml")
    ctl.write("etc/mesh.d/app.conf", ctl("convert", ctl.dir / "app.yaml", check=0).stdout)
    by_name = {(r["kind"], r["metadata"]["name"]): r["spec"] for r in ctl.json("get", "all")}
    assert by_name == {(r["kind"], r["metadata"]["name"]): r["spec"] for r in before}


def test_convert_reads_standard_input(ctl):
    assert "PeerAuthentication = " in ctl("convert", "-", input=kvmesh.ARTICLE, check=0).stdout


def test_convert_refuses_what_it_does_not_know(ctl):
    r = ctl("convert", ctl.write("bad.yaml", UNKNOWN_FIELD), check=65)
    assert re.search(r"bad\.yaml:5:\d+: error: .*hostz", r.stderr) and r.stdout == ""
    assert ctl("convert", ctl.dir / "nowhere.yaml", check=65)


# ---- config test, dump ---------------------------------------------------------------------------------------

def test_config_test(ctl):
    ctl.write("etc/mesh.d/app.yaml", GOOD)
    r = ctl("config", "test", check=0)
    assert r.stdout == "" and "5 resources" not in r.stderr and "6 resources" in r.stderr
    ctl.write("etc/mesh.d/wrong.yaml", UNKNOWN_FIELD)
    r = ctl("config", "test", check=78)
    assert re.search(r"wrong\.yaml:5:\d+: error: ", r.stderr)
    assert ctl("config", "test", "--etc", ctl.dir / "nowhere", check=78)


def test_config_dump_tells_where_values_are_from(ctl):
    ctl.write("etc/conf.d/10-more.conf", 'mesh = { clusterName = "eu"; };\n')
    rows = {r["key"]: r for r in ctl.json("config", "dump")}
    assert rows["mesh.trustDomain"]["value"] == "example.mesh"
    assert rows["mesh.trustDomain"]["origin"].endswith("kvmesh.conf:1")
    assert rows["mesh.clusterName"]["origin"].endswith("10-more.conf:1")
    assert rows["node.meshPort"] == {"key": "node.meshPort", "value": 15443, "origin": "default"}
    assert re.search(r'^mesh\.trustDomain +"example\.mesh" +.*kvmesh\.conf:1$', ctl("config", "dump", check=0).stdout, re.M)


def commented_settings(text):
    """The file with its examples in force: '  # NAME = VALUE;   # remark' becomes '  NAME = VALUE;'."""
    return re.sub(r"^  # (\w+ = .*;)(?= |$)", r"  \1", text, flags=re.M)


def test_the_shipped_kvmesh_conf_says_the_defaults(ctl):
    """Every key named in its comments exists, and the value beside it is the default."""
    shipped = (kvmesh.TOP / "etc" / "kvmesh.conf").read_text()
    ctl.write("etc/kvmesh.conf", "")
    defaults = {r["key"]: r["value"] for r in ctl.json("config", "dump")}
    ctl.write("etc/kvmesh.conf", shipped)
    assert {r["key"]: r["value"] for r in ctl.json("config", "dump")} == defaults
    text = commented_settings(shipped)
    ctl.write("etc/kvmesh.conf", text)
    ctl("config", "test", check=0)
    rows = [r for r in ctl.json("config", "dump") if r["origin"] != "default"]
    assert {"mesh.trustDomain", "node.meshPort", "metrics.listen"} <= {r["key"] for r in rows}
    assert len(rows) >= len(re.findall(r"^  # \w+ = ", shipped, re.M))
    for r in rows:
        assert r["key"] == "node.name" or defaults[r["key"]] == r["value"], r


# ---- get --------------------------------------------------------------------------------------------------------

def offline_get(ctl, *args, **kw):
    """Only --etc: the files are meant."""
    return ctl("--etc", ctl.etc, "get", *args, dirs=False, **kw)


def test_get_from_files(ctl):
    ctl.write("etc/mesh.d/app.yaml", GOOD)
    table = offline_get(ctl, "workloads", check=0).stdout.splitlines()
    assert table[0].split() == ["NAMESPACE", "NAME", "APPLIES", "TO", "SOURCE", "AGE"]
    assert "my-app-v1.service" in table[1] and re.search(r"app\.yaml:\d+", table[1])
    names = [r["metadata"]["name"] for r in json.loads(offline_get(ctl, "wl", "-o", "json", check=0).stdout)]
    assert names == ["my-app-v1", "my-app-v2"]
    assert json.loads(offline_get(ctl, "wl", "-l", "version=v2", "-o", "json", check=0).stdout)[0]["metadata"]["name"] == "my-app-v2"
    assert json.loads(offline_get(ctl, "wl", "-n", "other", "-o", "json", check=0).stdout) == []
    one = json.loads(offline_get(ctl, "vs", "my-app-route", "-o", "json", check=0).stdout)
    assert one["apiVersion"] == "networking.istio.io/v1" and one["spec"]["hosts"] == ["my-app"]
    assert offline_get(ctl, "vs", "nothing").returncode == 4


def test_get_yaml_can_be_read_back(ctl):
    ctl.write("etc/mesh.d/app.yaml", GOOD)
    text = offline_get(ctl, "all", "-o", "yaml", check=0).stdout
    assert ctl("analyze", ctl.write("copy.yaml", text), check=0)


def test_root_reads_another_systems_files(ctl):
    etc = re.search(r"--etc DIR +configuration \((.*)\)", ctl("--help", check=0).stdout).group(1)
    ctl.write(f"sys/{etc}/mesh.d/app.yaml", GOOD)
    services = json.loads(ctl("--root", ctl.dir / "sys", "get", "svc", "-o", "json", dirs=False, check=0).stdout)
    assert [s["metadata"]["name"] for s in services] == ["my-app"]
    checks = json.loads(ctl("--root", ctl.dir / "sys", "check", "-o", "json", dirs=False, check=0).stdout)
    assert [c["categoryName"] for c in checks["categories"]] == ["kvmesh-config"]


# ---- explain -----------------------------------------------------------------------------------------------------

def test_explain(ctl):
    kinds = ctl.json("explain")
    assert {"VirtualService", "PeerAuthentication", "Workload"} <= {k["kind"] for k in kinds}
    fields = ctl.json("explain", "virtualservice")
    assert {"hosts", "http"} <= {f["name"] for f in fields}
    weight = ctl.json("explain", "vs.http.route.weight")
    assert weight["help"] and weight["status"] == "works"
    assert ctl.json("explain", "VirtualService.spec.http.route.weight") == weight
    assert ctl.json("explain", "mesh.trustDomain")["help"]
    assert "STRICT" in ctl.json("explain", "pa.mtls.mode")["words"]
    assert "mode" in ctl("explain", "PeerAuthentication.mtls", check=0).stdout
    assert "did you mean 'weight'?" in ctl("explain", "vs.http.route.weigth", check=4).stderr
    assert ctl("explain", "nothing", check=4)


def test_every_kind_explains_all_its_fields(ctl):
    for kind in ctl.json("explain"):
        for field in ctl.json("explain", kind["kind"]):
            assert field["help"], (kind["kind"], field["name"])


# ---- authn tls-check ------------------------------------------------------------------------------------------------

def tls_check(ctl, *args, check=0):
    out = ctl("--etc", ctl.etc, "authn", "tls-check", *args, "-o", "json", dirs=False, check=check).stdout
    return json.loads(out)


def test_tls_check_of_the_article(ctl):
    ctl.write("etc/mesh.d/app.yaml", GOOD)
    row, = tls_check(ctl)
    assert (row["host"], row["port"]) == ("my-app.default", 80)
    assert (row["status"], row["server"], row["client"]) == ("OK", "STRICT", "mTLS (auto)")
    assert row["authn_policy"] == "default-strict-mtls/default"
    assert row["observed"] == {"mutual": None, "tls": None, "cipher": None}
    head = ctl("--etc", ctl.etc, "authn", "tls-check", dirs=False, check=0).stdout.splitlines()[0]
    assert re.split(r" {2,}", head) == ["HOST:PORT", "STATUS", "SERVER", "CLIENT", "AUTHN POLICY", "DESTINATION RULE"]
    head = ctl("--etc", ctl.etc, "authn", "tls-check", "-o", "wide", dirs=False, check=0).stdout.splitlines()[0]
    assert re.split(r" {2,}", head)[6:8] == ["OBSERVED", "CIPHER"]


def rule(mode, subset=""):
    inner = f"trafficPolicy: {{ tls: {{ mode: {mode} }} }}"
    text = GOOD.replace("  host: my-app\n", f"  host: my-app\n  {inner}\n") if not subset else \
        GOOD.replace(f"name: {subset}, labels", f"name: {subset}, {inner}, labels")
    assert text != GOOD
    return text


@pytest.mark.parametrize("server, client, status", [
    ("STRICT", "DISABLE", "CONFLICT"), ("STRICT", "ISTIO_MUTUAL", "OK"), ("STRICT", "SIMPLE", "CONFLICT"),
    ("PERMISSIVE", "DISABLE", "OK"), ("PERMISSIVE", "ISTIO_MUTUAL", "OK"), ("PERMISSIVE", None, "AUTO"),
    ("DISABLE", "ISTIO_MUTUAL", "CONFLICT"), ("DISABLE", None, "AUTO"), ("DISABLE", "DISABLE", "OK"),
])
def test_tls_check_judges(ctl, server, client, status):
    text = rule(client) if client else GOOD
    ctl.write("etc/mesh.d/app.yaml", text.replace("mode: STRICT", f"mode: {server}"))
    # a conflict that analysis calls an error makes the configuration unusable; tls-check shows it all the same
    row, = tls_check(ctl, check=1 if status == "CONFLICT" else 0)
    assert (row["status"], row["server"]) == (status, server)
    if client:
        assert row["client"] == client and row["destination_rule"] == "my-app-destination/default"


def test_tls_check_of_a_subset(ctl):
    ctl.write("etc/mesh.d/app.yaml", rule("DISABLE", "v2"))
    rows = tls_check(ctl, check=1)
    assert [(r.get("subset"), r["status"]) for r in rows] == [(None, "OK"), ("v2", "CONFLICT")]


def test_tls_check_by_caller_and_host(ctl):
    ctl.write("etc/mesh.d/app.yaml", GOOD)
    for words in (["my-app-v1"], ["my-app-v1.default"], ["default/my-app-v1"], ["my-app"], ["my-app.default"],
                  ["my-app-v1", "my-app.default.svc.cluster.local"]):
        assert [r["host"] for r in tls_check(ctl, *words)] == ["my-app.default"], words
    for words in (["nobody"], ["nobody", "my-app"], ["my-app-v1", "nowhere"]):
        assert ctl("--etc", ctl.etc, "authn", "tls-check", *words, dirs=False).returncode == 4, words


# ---- nobody answers ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("words", [
    ["proxy-status"], ["proxy-config", "cluster"], ["pc", "r", "node"], ["config", "reload"], ["config", "history"],
    ["identity"], ["ca", "status"], ["ca", "bundle"], ["edges"],
])
def test_no_daemon_is_69(ctl, words):
    r = ctl(*words, check=69)
    assert r.stdout == "" and r.stderr.startswith("kvmeshctl: ")


def test_status_says_that_nothing_runs(ctl):
    rows = ctl.json("status", check=3)
    assert {r["component"] for r in rows} == {"kvmesh-router", "kvmesh-ca", "kvmesh-metrics", "kvmesh-proxy@node"}
    assert {r["state"] for r in rows} == {"not running"}
    assert ctl("status", "ca", check=3) and ctl("status", "nobody", check=4)


def test_version_needs_nobody(ctl):
    assert ctl.json("version")[0]["component"] == "kvmeshctl"
    assert re.fullmatch(r"kvmeshctl \d+\.\d+\.\d+\n", ctl("--version", check=0).stdout)


def test_check_in_linkerds_form(ctl):
    r = ctl.json("check", check=1)
    assert r["success"] is False
    by_name = {c["categoryName"]: c["checks"] for c in r["categories"]}
    assert {"kvmesh-host", "kvmesh-config", "kvmesh-control-plane", "kvmesh-data-plane"} <= set(by_name)
    router = by_name["kvmesh-control-plane"][0]
    assert router["result"] == "error" and router["error"] and router["hint"]
    assert by_name["kvmesh-config"][0]["result"] == "success"
    text = ctl("check", check=1, LC_ALL="C.UTF-8").stdout
    assert "kvmesh-config\n-------------\n" in text and text.endswith("Status check results are ×\n")
    assert "XX" in ctl("check", check=1, LC_ALL="C").stdout
    assert "√" not in ctl("check", "-o", "short", check=1, LC_ALL="C.UTF-8").stdout.replace("results are √", "")
    assert ctl("check", "--pre").returncode == 0
    assert ctl("check", "--wait", "100ms").returncode == 75


def test_check_finds_bad_files_and_modes(ctl):
    key = ctl.write("etc/tls/shop/tls.key", "secret")
    key.chmod(0o644)
    (ctl.etc / "kvmesh.conf").chmod(0o666)
    checks = {k["description"]: k for c in ctl.json("check", "--pre", check=None)["categories"] for k in c["checks"]}
    assert "tls.key" in checks["private keys are not readable by everybody"]["error"]
    bad = [k for k in checks.values() if "kvmesh.conf" in k.get("error", "")]
    assert bad and {k["result"] for k in bad} <= {"warning", "error"}
    (ctl.etc / "kvmesh.conf").chmod(0o644)
    ctl.write("etc/mesh.d/wrong.yaml", UNKNOWN_FIELD)
    assert ctl("check", "--pre").returncode == 78


# ---- the manual ------------------------------------------------------------------------------------------------------

MAN = kvmesh.TOP / "docs" / "man"


@pytest.mark.parametrize("page", sorted(p.name for p in MAN.iterdir()))
def test_manual_pages_are_clean(page):
    r = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", MAN / page], capture_output=True,
                       env={**os.environ, "MANROFFSEQ": "", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
    assert r.returncode == 0 and r.stderr == b"", r.stderr


def test_every_command_is_in_the_manual(ctl):
    text = (MAN / "kvmeshctl.1").read_text()
    for words in commands(ctl):
        assert re.search(r"\.It Cm " + words[0] + r"\b.*" + ("" if len(words) == 1 else r"\b" + words[1] + r"\b"), text), words


@pytest.mark.parametrize("daemon", ["kvmesh-router", "kvmesh-ca", "kvmesh-proxy", "kvmesh-metrics", "kvmesh-probe", "kvmesh-witness"])
def test_every_option_of_a_daemon_is_in_its_manual(daemon):
    out = subprocess.run([kvmesh.tool(daemon), "--help"], capture_output=True, text=True, timeout=kvmesh.DEADLINE)
    text = (MAN / f"{daemon}.8").read_text().replace(r"\-", "-")
    options = set(re.findall(r"--([a-z-]+)", out.stdout))
    assert out.returncode == 0 and "state" in options
    for option in options:
        assert re.search(r"Fl (\w , )?-" + option + r"\b", text), option


def test_every_setting_of_ours_is_in_the_manual(ctl):
    text = (MAN / "kvmesh.conf.5").read_text()
    for group in ("node", "ca", "metrics", "dashboard", "limits", "router"):
        for field in ctl.json("explain", group)["fields"]:
            assert re.search(r"\.(It )?.*\bCm " + field["name"] + r"\b|^\.Cm " + field["name"] + r"\b|, " +
                             field["name"] + r"\b", text, re.M), f"{group}.{field['name']}"
