# SPDX-License-Identifier: Apache-2.0
"""kvmeshctl bug-report: what helps is in it, what is secret is not."""

import tarfile

SECRETS = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: with-secrets, namespace: default }
spec:
  hosts: [ elsewhere.example ]
  http:
  - headers: { request: { set: { authorization: "Bearer s3cr3t-of-a-header", x-api-key: s3cr3t-in-a-key } } }
    route: [ { destination: { host: my-app.default.svc.cluster.local } } ]
"""


def test_what_helps_and_no_secret(article, tmp_path):
    mesh = article.mesh
    mesh.write("mesh.d/50-secrets.yaml", SECRETS)
    mesh.get("my-app", "/?card=s3cr3t-in-a-query")
    out = tmp_path / "report.tar.gz"
    said = mesh.ctl("bug-report", "--out", out, check=0).stdout
    assert str(out) in said and "places" in said
    assert out.stat().st_mode & 0o077 == 0
    with tarfile.open(out) as tar:
        text = {m.name.split("/", 1)[1]: tar.extractfile(m).read().decode(errors="replace") for m in tar if m.isfile()}
    assert "kvmesh-router" in text["version.txt"] and "my-app" in text["clusters.json"] and "exit 0" in text["SUMMARY.txt"]
    assert "with-secrets" in text["resources.yaml"] and "elsewhere.example" in text["resources.yaml"]
    for name, part in text.items():
        assert "s3cr3t" not in part and "PRIVATE KEY-----\nM" not in part, name


def test_without_daemons_it_says_what_it_can(article, tmp_path):
    article.mesh.stop()
    article.mesh.ctl("bug-report", "--out", tmp_path / "r.tar.gz", check=0)
    with tarfile.open(tmp_path / "r.tar.gz") as tar:
        assert any(m.name.endswith("SUMMARY.txt") for m in tar)


def test_a_place_that_cannot_be_written_is_told(article, tmp_path):
    r = article.mesh.ctl("bug-report", "--out", tmp_path / "no" / "r.tar.gz", check=1)
    assert "tar" in r.stderr
