# SPDX-License-Identifier: Apache-2.0
"""kvmeshctl canary: weights are changed where they are written, and nowhere else."""

import os

import pytest

import kvmesh
from kvmesh import wait_for

FILE = "mesh.d/10-article.yaml"


def weights(mesh):
    return {r["subset"]: r["weight"] for r in mesh.ctl_json("canary", "my-app")}


def shares(mesh, n=40):
    got = [mesh.get("my-app").text.strip() for _ in range(n)]
    return {v: got.count(v) for v in ("v1", "v2")}


def test_status_shows_weights_and_observed_shares(article):
    n = shares(article.mesh, 60)
    rows = wait_for("the requests", lambda: (r := article.mesh.ctl_json("canary", "status", "my-app")) and sum(x["requests"] for x in r) == 60 and r)
    assert [(r["subset"], r["weight"], r["requests"]) for r in rows] == [("v1", 95, n["v1"]), ("v2", 5, n["v2"])]
    assert rows[0]["observed"] == f"{n['v1'] / 0.6:.1f}" and rows[0]["success"] == "100.0"
    assert rows == article.mesh.ctl_json("canary"), "the only one there is"
    assert article.mesh.ctl_json("canary", "my-app.default") == rows
    assert "OBSERVED%" in article.mesh.ctl("canary", check=0).stdout
    assert article.mesh.ctl("canary", "nobody").returncode == 4


def test_weights_change_in_the_file_and_at_once(article):
    path = article.mesh.etc / FILE
    before = path.read_text().replace("weight: 95 }", "weight: 95 }   # most").replace("http:", "# the canary\n  http:")
    article.mesh.write(FILE, before)
    article.mesh.ctl("config", "reload", "--wait", check=0)
    out = article.mesh.ctl("canary", "my-app", "v1=0", "v2=100", check=0).stdout
    assert "weight: 0 }   # most" in out and out.count("\n@@ ") == 2
    assert path.read_text() == before.replace("weight: 95", "weight: 0").replace("weight: 5", "weight: 100")
    assert shares(article.mesh) == {"v1": 0, "v2": 40}, "the command ends when every proxy has it"
    assert weights(article.mesh) == {"v1": 0, "v2": 100}


def test_the_file_stays_whose_it_was(article):
    path = article.mesh.etc / FILE
    target = path.with_name("target")
    path.rename(target)
    os.chown(target, 0, 12345)
    target.chmod(0o640)
    path.symlink_to(target)
    article.mesh.ctl("canary", "my-app", "v1=50", "v2=50", check=0)
    st = target.stat()
    assert path.is_symlink() and (st.st_gid, st.st_mode & 0o777) == (12345, 0o640) and "weight: 50" in target.read_text()


def test_promote_and_abort(article):
    mesh = article.mesh
    mesh.ctl("canary", "promote", "my-app", check=0)
    assert weights(mesh) == {"v1": 0, "v2": 100} and shares(mesh)["v2"] == 40
    mesh.ctl("canary", "my-app", "v1=90", "v2=10", check=0)
    mesh.ctl("canary", "abort", "my-app", check=0)
    assert weights(mesh) == {"v1": 100, "v2": 0} and shares(mesh)["v1"] == 40
    mesh.ctl("canary", "promote", "my-app", "v2", check=0)
    assert weights(mesh) == {"v1": 0, "v2": 100}


def test_dry_run_changes_nothing(article):
    before = (article.mesh.etc / FILE).read_text()
    assert "+" in article.mesh.ctl("canary", "my-app", "v1=50", "v2=50", "--dry-run", check=0).stdout
    assert (article.mesh.etc / FILE).read_text() == before


@pytest.mark.parametrize("words,code", [(["v1=50"], 64), (["v1=101", "v2=0"], 64), (["v1=x", "v2=100"], 64), (["v9=5", "v1=95"], 4), (["v1"], 64)])
def test_wrong_weights_are_refused(article, words, code):
    before = (article.mesh.etc / FILE).read_text()
    assert article.mesh.ctl("canary", "my-app", *words).returncode == code
    assert (article.mesh.etc / FILE).read_text() == before


def test_nothing_is_changed_while_the_configuration_is_unusable(article):
    path = article.mesh.etc / FILE
    before = path.read_text()
    article.mesh.write("mesh.d/20-wrong.yaml", "apiVersion: v1\nkind: Service\nmetadata: { name: x }\nspec: { portz: [] }\n")
    r = article.mesh.ctl("canary", "my-app", "v1=50", "v2=50")
    assert r.returncode == 78 and "portz" in r.stderr
    assert path.read_text() == before


def test_native_syntax(workdir):
    mesh = kvmesh.Mesh(workdir / "mesh")
    mesh.write("workloads.d/app.conf", """
Workload = ( { name = "a"; address = "127.0.0.1"; ports = ( { name = "http"; number = 21001; protocol = "HTTP"; } ); labels = { app = "app"; version = "v1"; }; },
             { name = "b"; address = "127.0.0.1"; ports = ( { name = "http"; number = 21002; protocol = "HTTP"; } ); labels = { app = "app"; version = "v2"; }; } );
Service = { name = "app"; selector = { app = "app"; }; ports = ( { name = "http"; port = 80; targetPort = "http"; } ); };
""")
    path = mesh.write("mesh.d/app.conf", """
DestinationRule = { name = "app"; host = "app"; subsets = ( { name = "v1"; labels = { version = "v1"; }; }, { name = "v2"; labels = { version = "v2"; }; } ); };
VirtualService = { name = "app"; hosts = [ "app" ];
  http = ( { route = ( { destination = { host = "app"; subset = "v1"; }; weight = 90; },   // old
                       { destination = { host = "app"; subset = "v2"; }; weight = 10; } ); } ); };
""")
    before = path.read_text()
    mesh.ctl("canary", "app", "v1=25", "v2=75", check=0)
    assert path.read_text() == before.replace("weight = 90", "weight = 25").replace("weight = 10", "weight = 75")


def test_a_weight_that_is_not_written_is_said(workdir):
    mesh = kvmesh.Mesh(workdir / "mesh")
    path = mesh.write("mesh.d/app.yaml", kvmesh.ARTICLE.replace(", weight: 5", ""))
    before = path.read_text()
    r = mesh.ctl("canary", "my-app", "v1=50", "v2=50")
    assert r.returncode != 0 and path.read_text() == before


NATIVE = """
Workload = ( { name = "a"; address = "127.0.0.1"; ports = ( { name = "http"; number = 21001; protocol = "HTTP"; } ); labels = { app = "app"; version = "v1"; }; },
             { name = "b"; address = "127.0.0.1"; ports = ( { name = "http"; number = 21002; protocol = "HTTP"; } ); labels = { app = "app"; version = "v2"; }; } );
Service = { name = "app"; selector = { app = "app"; }; ports = ( { name = "http"; port = 80; targetPort = "http"; } ); };
DestinationRule = { name = "app"; host = "app"; subsets = ( { name = "v1"; labels = { version = "v1"; }; }, { name = "v2"; labels = { version = "v2"; }; } ); };
"""
ROUTE = """VirtualService = { name = "app"; hosts = [ "app" ];
  http = ( { route = ( { destination = { host = "app"; subset = "v1"; }; weight = %s; },
                       { destination = { host = "app"; subset = "v2"; }; weight = %s; } ); } ); };
"""


@pytest.mark.parametrize("form", ["0x5a", "90L", "90LL", "+90"])
def test_only_plain_digits_are_replaced(workdir, form):
    """Digits at the place may be the beginning of another form of number."""
    mesh = kvmesh.Mesh(workdir / "mesh")
    mesh.write("workloads.d/app.conf", NATIVE)
    path = mesh.write("mesh.d/app.conf", ROUTE % (form, "10"))
    before = path.read_text()
    assert weights_of(mesh, "app") == {"v1": 90, "v2": 10}
    r = mesh.ctl("canary", "app", "v1=25", "v2=75", check=1)
    assert "app.conf:2" in r.stderr and "plain digits" in r.stderr and path.read_text() == before


def weights_of(mesh, service):
    return {r["subset"]: r["weight"] for r in mesh.ctl_json("canary", service)}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_byte_order_mark_shifts_nothing(workdir, mark):
    mesh = kvmesh.Mesh(workdir / "mesh")
    mesh.write("workloads.d/app.conf", NATIVE)
    path = mesh.write("mesh.d/app.conf", mark + " ".join((ROUTE % ("90", "10")).split("\n")))
    before = path.read_text()
    mesh.ctl("canary", "app", "v1=25", "v2=75", check=0)
    assert path.read_text() == before.replace("= 90", "= 25").replace("= 10", "= 75")


def test_weights_in_an_included_file_are_changed_there(workdir):
    """The same line and column of the including file are another number."""
    mesh = kvmesh.Mesh(workdir / "mesh")
    mesh.write("workloads.d/app.conf", NATIVE)
    inner = mesh.write("mesh.d/route.inc", "http = ( { route = ( { destination = { host = \"app\"; subset = \"v1\"; }; weight = 90; },\n"
                       "  { destination = { host = \"app\"; subset = \"v2\"; }; weight = 10; } ); } );\n")
    outer = mesh.write("mesh.d/app.conf", "VirtualService = { name = \"app\"; hosts = [ \"app\" ]; labels = [ \"column=90\" ];\n@include \"route.inc\"\n};\n")
    before = inner.read_text(), outer.read_text()
    mesh.ctl("canary", "app", "v1=25", "v2=75", check=0)
    assert inner.read_text() == before[0].replace("= 90", "= 25").replace("= 10", "= 75") and outer.read_text() == before[1]
