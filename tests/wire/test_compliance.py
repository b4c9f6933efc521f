# SPDX-License-Identifier: Apache-2.0
"""The report that an auditor gets (promise A8: a false proof is worse than none): what was sent is counted once, clear text is
found, a changed report or a changed past is told, and what was not watched is no proof."""

import csv
import http.client
import io
import json
import os
import sqlite3
import subprocess

import pytest

import kvmesh
from kvmesh import wait_for

STRICT = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: %s }
spec: { mtls: { mode: STRICT } }
"""
REQUESTS = 50


def report(mesh, *args, code=None):
    r = mesh.ctl("compliance", "report", "--format", "json", *args)
    if code is not None:
        assert r.returncode == code, r.stdout + r.stderr
    return json.loads(r.stdout)["report"]


def requests_of(r, **wanted):
    return sum(e["requests"] for e in r["edges"] if all(e[k] == v for k, v in wanted.items()))


def send(mesh, n=REQUESTS, host="my-app"):
    c = mesh.connect()
    for _ in range(n):
        c.request("GET", "/", headers={"Host": host})
        r = c.getresponse()
        r.read()
        assert r.status == 200
    c.close()


def start_again(article):
    article.mesh.stop()
    (article.mesh.dir / "run.log").unlink()         # it says ready
    article.start()


@pytest.fixture
def article(workdir):
    with kvmesh.Article(workdir) as a:
        a.mesh.write("mesh.d/20-strict.yaml", STRICT % "kvmesh-system")
        yield a


def test_every_request_once_and_a_verdict(article):
    mesh = article.start().mesh
    send(mesh)
    r = wait_for("the requests", lambda: (x := report(mesh, "--since", "2s"))["exchanges"]["total"] >= REQUESTS and x)
    assert r["exchanges"] == {"mutual_tls": REQUESTS, "tls": 0, "clear": 0, "total": REQUESTS, "encryptedPercent": 100.0}
    assert requests_of(r, security="mutual_tls", service="my-app.default.svc.cluster.local", tls="TLSv1.3") == REQUESTS
    assert r["bytes"]["total"] == r["bytes"]["mutual_tls"] == 3 * REQUESTS           # "v1\n" each
    assert r["policy"]["strict"] and not r["policy"]["exceptions"]
    assert r["keys"]["issued"] > 0 and r["keys"]["longestLifeSeconds"] <= 25 * 3600
    assert r["ciphers"][0]["tls"] == "TLSv1.3"
    # Watched from its start on: a short period is proven, a long one is not.
    r = wait_for("a watched period", lambda: (x := report(mesh, "--since", "3s"))["verdict"] == "COMPLIANT" and x)
    assert r["reasons"] == []
    r = report(mesh, code=3)
    assert r["verdict"] == "NOT ENOUGH EVIDENCE" and any("was watched" in why for why in r["reasons"])


def test_clear_text_is_found(article):
    mesh = article.mesh
    mesh.write("mesh.d/30-clear.yaml", """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: clear, namespace: default }
spec: { host: legacy.example, trafficPolicy: { tls: { mode: DISABLE } } }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: legacy, namespace: default }
spec:
  hosts: [ legacy.example ]
  ports: [ { number: 80, name: http, protocol: HTTP } ]
  resolution: STATIC
  endpoints: [ { address: 127.0.0.1, ports: { http: %d } } ]
""" % article.v1.port)
    article.start()
    send(mesh, 7)
    send(mesh, 5, "legacy.example")
    r = wait_for("all", lambda: (x := report(mesh))["exchanges"]["total"] >= 12 and x)
    assert r["exchanges"]["clear"] == 5 and r["exchanges"]["mutual_tls"] == 7
    assert r["verdict"] == "NON-COMPLIANT" and "1 clear edge" in r["reasons"]
    assert requests_of(r, security="clear", egress=True, service="legacy.example") == 5
    text = mesh.ctl("compliance", "report", check=1).stdout
    assert "CLEAR EDGES" in text and "legacy.example" in text and "NON-COMPLIANT (1 clear edge" in text
    rows = list(csv.DictReader(io.StringIO(mesh.ctl("compliance", "report", "--format", "csv", check=1).stdout)))
    assert [x["requests"] for x in rows if x["security"] == "clear"] == ["5"]
    page = mesh.ctl("compliance", "report", "--format", "html", check=1).stdout
    assert page.startswith("<!doctype html>") and "legacy.example" in page and "<script" not in page and "http://" not in page


EGRESS = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: outside, namespace: default, annotations: { kvmesh.io/country: DE, kvmesh.io/operator: "Rechen & <Zentrum>" } }
spec:
  hosts: [ outside.example ]
  ports: [ { number: 80, name: http, protocol: HTTP } ]
  resolution: STATIC
  endpoints: [ { address: 127.0.0.1, ports: { http: %d } } ]
"""


def test_inventory_custody_history_and_egress_are_in_it(article):
    mesh = article.mesh
    mesh.write("mesh.d/40-outside.yaml", EGRESS % article.v1.port)
    article.start()
    send(mesh, 3, "outside.example")
    mesh.write("mesh.d/20-strict.yaml", (STRICT % "kvmesh-system").replace("STRICT", "PERMISSIVE"))
    mesh.ctl("config", "reload", check=0)
    mesh.write("mesh.d/20-strict.yaml", STRICT % "kvmesh-system")
    mesh.ctl("config", "reload", check=0)
    r = wait_for("the requests", lambda: (x := report(mesh))["exchanges"]["total"] >= 3 and x)
    inventory = r["inventory"]
    assert inventory["node"] == "test-1" and [p["proxy"] for p in inventory["proxies"]] == ["node"]
    assert {w["workload"]: w["identity"] for w in inventory["workloads"]}["my-app-v1.default"] == "spiffe://cluster.local/ns/default/sa/my-app"
    assert {"my-app.default", "outside.default"} <= {x["service"] for x in inventory["services"]}
    keys = r["keys"]
    assert keys["rootKeyOnNode"] and not keys["issuerPluggedIn"] and keys["revoked"] == 0 and keys["outsideOfProxies"] == 0
    # STRICT was taken back for a while: since when it is in force is told, and the days before are not proven.
    loads = r["policy"]["loads"]
    changes = [x for x in loads if "PeerAuthentication default.kvmesh-system" in x["changed"]]
    assert loads[0]["by"] == "start" and len(changes) == 2 and all(x["ok"] for x in loads)
    assert r["policy"]["strict"] and r["policy"]["since"] == changes[-1]["at"] > loads[0]["at"]
    assert any(why == "STRICT only since " + changes[-1]["at"] for why in r["reasons"])
    assert ("PeerAuthentication", "default.kvmesh-system", "STRICT") in {(x["kind"], x["policy"], x["says"]) for x in r["policy"]["policies"]}
    (way,) = r["egress"]["destinations"]
    assert (way["destination"], way["country"], way["operator"]) == ("outside.example", "DE", "Rechen & <Zentrum>")
    assert way["requests"] == 3 and way["security"] == "clear" and r["egress"]["outboundTrafficPolicy"] == "ALLOW_ANY"
    text = mesh.ctl("compliance", "report", check=1).stdout
    for head in "INVENTORY", "EGRESS", "POLICIES", "CHANGES", "WORKLOADS", "SERVICES", "PROXIES":
        assert f"\n{head}" in text, text
    page = mesh.ctl("compliance", "report", "--format", "html", check=1).stdout
    assert "Rechen &amp; &lt;Zentrum&gt;" in page and "<Zentrum" not in page and "default-src 'none'" in page


def test_exceptions_from_strict_are_told(article):
    mesh = article.mesh
    mesh.write("mesh.d/30-lax.yaml", (STRICT % "default").replace("STRICT", "PERMISSIVE").replace("name: default", "name: lax"))
    article.start()
    r = report(mesh, code=1)
    assert [(x["policy"], x["mode"], x["line"] > 0) for x in r["policy"]["exceptions"]] == [("lax.default", "PERMISSIVE", True)]
    assert "1 exception from STRICT" in r["reasons"]


def test_it_is_kept_over_restarts_and_a_killed_collector(article):
    mesh = article.start().mesh
    send(mesh)
    wait_for("the requests", lambda: report(mesh)["exchanges"]["total"] == REQUESTS)
    pid = mesh.call("metrics/metrics.sock", "Status")["parameters"]["pid"]
    os.kill(pid, 9)
    send(mesh)                          # while nobody collects

    def total():
        try:
            return report(mesh)["exchanges"]["total"]
        except (json.JSONDecodeError, AssertionError):
            return 0
    wait_for("the collector to be back", lambda: total() == 2 * REQUESTS)
    start_again(article)
    send(mesh)
    wait_for("the next run's", lambda: total() == 3 * REQUESTS)


def test_a_changed_report_and_a_changed_past_are_told(article, workdir):
    mesh = article.start().mesh
    send(mesh)
    wait_for("the requests", lambda: report(mesh)["exchanges"]["total"] == REQUESTS)
    whole = mesh.ctl("compliance", "report", "--format", "json").stdout
    file = workdir / "report.json"
    file.write_text(whole)
    assert "unchanged" in mesh.ctl("compliance", "verify", file, check=0).stdout
    file.write_text(whole.replace('"clear": 0', '"clear": 1', 1))
    assert "was changed" in mesh.ctl("compliance", "verify", file, check=1).stderr
    file.write_text("{}")
    mesh.ctl("compliance", "verify", file, check=65)
    mesh.stop()
    db = sqlite3.connect(mesh.state / "metrics" / "evidence.db")
    with db:                            # two days ago, and then less of it
        db.execute("UPDATE traffic SET hour = hour - 48")
    db.close()
    start_again(article)
    wait_for("seals", lambda: report(mesh)["evidence"]["sealedDays"] >= 1)
    assert "brokenDay" not in json.dumps(report(mesh))
    mesh.stop()
    db = sqlite3.connect(mesh.state / "metrics" / "evidence.db")
    with db:
        db.execute("UPDATE traffic SET requests = requests - 1")
    db.close()
    start_again(article)
    r = report(mesh, code=1)
    assert r["verdict"] == "NON-COMPLIANT" and any("was changed after it was sealed" in why for why in r["reasons"])


def sign(mesh, form, file, code=1):
    mesh.ctl("compliance", "report", "--format", form, "--sign", "--out", file, check=code)
    return file.read_bytes()


def test_a_signed_report_in_every_form(article, workdir):
    mesh = article.start().mesh
    send(mesh)
    wait_for("the requests", lambda: report(mesh)["exchanges"]["total"] == REQUESTS)
    root = workdir / "root.pem"
    root.write_text(mesh.ctl("ca", "bundle", check=0).stdout)
    strange = workdir / "strange.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null",
                    "-out", strange, "-subj", "/CN=root"], check=True, capture_output=True)
    issued = json.loads(mesh.ctl("ca", "status", "-o", "json", check=0).stdout)["issued"]
    files = []
    for form in "json", "text", "html", "csv":
        file = workdir / f"report.{form}"
        whole = sign(mesh, form, file, 3)
        files.append((file, whole))
        for args in [], ["--ca-file", root]:
            told = mesh.ctl("compliance", "verify", file, *args, check=0).stdout
            assert "unchanged" in told and "signed by spiffe://cluster.local/compliance at " in told
        assert "certificate" in mesh.ctl("compliance", "verify", file, "--ca-file", strange, check=1).stderr
        for at in 1, len(whole) // 2, len(whole) - 2:
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
            assert mesh.ctl("compliance", "verify", file).returncode in (1, 65), (form, at)
        file.write_bytes(whole)
    assert "signed by spiffe://cluster.local/compliance" in files[1][1].decode().split("-----")[0]
    # Each in the CA's list.
    made = json.loads(mesh.ctl("ca", "list", "spiffe://cluster.local/compliance", "-o", "json", check=0).stdout)
    assert len(made) == 4
    assert json.loads(mesh.ctl("ca", "status", "-o", "json", check=0).stdout)["issued"] >= issued + 4
    # CSV on a pipe has no place for it; what is not signed is said, and is no proof to who asks for one.
    mesh.ctl("compliance", "report", "--format", "csv", "--sign", check=64)
    bare = workdir / "bare.json"
    bare.write_text(mesh.ctl("compliance", "report", "--format", "json", check=3).stdout)
    assert "not signed" in mesh.ctl("compliance", "verify", bare, check=0).stdout
    assert "is not signed" in mesh.ctl("compliance", "verify", bare, "--ca-file", root, check=1).stderr
    # On the auditor's desk: no daemon, the root in hand.
    mesh.stop()
    for file, _ in files:
        assert "signed by" in mesh.ctl("compliance", "verify", file, "--ca-file", root, check=0).stdout
        assert "--ca-file" in mesh.ctl("compliance", "verify", file, check=69).stderr


def test_the_seal_of_a_report_is_looked_for(article, workdir):
    mesh = article.start().mesh
    send(mesh)
    wait_for("the requests", lambda: report(mesh)["exchanges"]["total"] == REQUESTS)
    mesh.stop()
    path = mesh.state / "metrics" / "evidence.db"
    with sqlite3.connect(path) as db:
        db.execute("UPDATE traffic SET hour = hour - 48")
    db.close()
    start_again(article)
    wait_for("seals", lambda: report(mesh)["evidence"]["sealedDays"] >= 1)
    file = workdir / "report.json"
    sign(mesh, "json", file, 3)
    assert "the chain holds" in mesh.ctl("compliance", "verify", file, check=0).stdout
    mesh.stop()
    with sqlite3.connect(path) as db:         # another past, sealed anew
        db.execute("UPDATE traffic SET requests = requests - 1")
        db.execute("DELETE FROM seal")
    db.close()
    start_again(article)
    wait_for("seals", lambda: report(mesh)["evidence"]["sealedDays"] >= 1)
    assert "chain was made anew" in mesh.ctl("compliance", "verify", file, check=1).stderr


def test_only_administrators_have_reports_signed(article):
    mesh = article.start().mesh
    digest = "7d0e" * 16
    assert "signature" in mesh.call("ca/ca.sock", "SignReport", {"sha256": digest})["parameters"]
    assert mesh.call("ca/ca.sock", "SignReport", {"sha256": "x"})["error"] == "InvalidParameter"
    if os.geteuid() != 0:
        pytest.skip("needs root to be somebody else")
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            code = 0 if mesh.call("ca/ca.sock", "SignReport", {"sha256": digest}).get("error") == "NotPermitted" else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_without_a_collector_there_is_no_report(article):
    mesh = article.start().mesh
    mesh.ctl("compliance", "report", "--since", "tomorrow", check=64)
    mesh.ctl("compliance", "report", "--format", "xml", check=64)
    mesh.stop()
    r = mesh.ctl("compliance", "report")
    assert r.returncode == 69 and not r.stdout
