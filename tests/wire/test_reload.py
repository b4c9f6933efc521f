# SPDX-License-Identifier: Apache-2.0
"""Configuration under load: changes take hold, mistakes change nothing."""

import pytest

import kvmesh
from kvmesh import wait_for
from load import Load


def split(v1, v2):
    return kvmesh.ARTICLE.replace("weight: 95", f"weight: {v1}").replace("weight: 5 }", f"weight: {v2} }}")


def test_eleven_reloads_under_load_fail_no_request(article):
    mesh = article.mesh
    with Load(mesh.http_port) as load:
        load.more(50)
        for i in range(11):
            mesh.write("mesh.d/10-article.yaml", split(100 - 9 * i, 9 * i + 1))
            mesh.ctl("config", "reload", "--wait", check=0)
            load.more(50)
    assert load.failures == []


def test_a_saved_file_is_live_without_a_command(article):
    mesh = article.mesh
    mesh.write("mesh.d/10-article.yaml", split(0, 100))
    wait_for("all traffic on v2", lambda: {mesh.get("my-app").text for _ in range(20)} == {"v2\n"})


WRONG = {
    "yaml-syntax": ("mesh.d/90-wrong.yaml", "kind: VirtualService\n  bad: [ indentation\n", "90-wrong.yaml:"),
    "native-syntax": ("mesh.d/90-wrong.conf", 'VirtualService = {\n  name = "x";\n  hosts = [ "a", ];\n};\n', "90-wrong.conf:3:"),
    "unknown-field": ("mesh.d/90-wrong.yaml",
                      "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: x }\nspec:\n  hosts: [ my-app ]\n"
                      "  http:\n  - route:\n    - destination: { host: my-app }\n      weigth: 5\n", "90-wrong.yaml:9:7: error: unknown field 'weigth'"),
    "wrong-type": ("mesh.d/90-wrong.yaml",
                   "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: x }\nspec:\n  hosts: [ x ]\n"
                   "  http:\n  - route:\n    - destination: { host: my-app }\n      weight: many\n", "90-wrong.yaml:9:"),
    "unknown-kind": ("mesh.d/90-wrong.conf", 'VirtualServise = { name = "x"; };\n', "VirtualService"),
    "missing-subset": ("mesh.d/10-article.yaml", kvmesh.ARTICLE.replace("subset: v2 }", "subset: v3 }"), "v3"),
    "duplicate": ("mesh.d/90-wrong.yaml", kvmesh.ARTICLE, "10-article.yaml"),
    "missing-service": ("mesh.d/90-wrong.yaml",
                        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: x }\nspec:\n  hosts: [ x.example ]\n"
                        "  http:\n  - route:\n    - destination: { host: nowhere.example }\n", "nowhere.example"),
    "kvmesh.conf": ("conf.d/90-wrong.conf", 'node = { meshPort = 99999; };\n', "90-wrong.conf:1:"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_changes_nothing(article, name):
    mesh = article.mesh
    before = mesh.call("router/router.sock", "Status")["parameters"]["generation"]
    path, text, sentence = WRONG[name]
    with Load(mesh.http_port) as load:
        load.more(20)
        mesh.write(path, text)
        r = mesh.ctl("config", "reload", "--wait")
        load.more(20)
    assert r.returncode != 0
    assert sentence in r.stdout + r.stderr and "error" in r.stdout + r.stderr
    assert load.failures == []
    assert mesh.call("router/router.sock", "Status")["parameters"]["generation"] == before
    test = mesh.ctl("config", "test")
    assert test.returncode != 0 and sentence in test.stdout + test.stderr


def test_all_errors_of_a_file_are_reported(article):
    mesh = article.mesh
    mesh.write("mesh.d/90-wrong.yaml", """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: x }
spec:
  hostz: [ my-app ]
  http:
  - rout: []
    timeout: soon
""")
    out = mesh.ctl("analyze")
    text = out.stdout + out.stderr
    assert out.returncode in (65, 79)
    for word in ("'hostz'", "'rout'", "timeout"):
        assert word in text, text
