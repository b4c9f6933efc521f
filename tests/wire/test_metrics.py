# SPDX-License-Identifier: Apache-2.0
"""Istio's metrics: names, labels and values; a real Prometheus scrapes and answers the dashboards' queries."""

import http.client
import json
import re
import shutil
import socket
import subprocess
import urllib.parse

import pytest

import kvmesh
from kvmesh import wait_for

LABELS = ["reporter", "source_workload", "source_workload_namespace", "source_principal", "source_app", "source_version",
          "source_canonical_service", "source_canonical_revision", "source_cluster", "destination_workload",
          "destination_workload_namespace", "destination_principal", "destination_app", "destination_version",
          "destination_service", "destination_service_name", "destination_service_namespace",
          "destination_canonical_service", "destination_canonical_revision", "destination_cluster", "request_protocol",
          "response_flags", "connection_security_policy"]


def series(text, name):
    out = []
    for line in text.splitlines():
        m = re.fullmatch(re.escape(name) + r"\{(.*)\} ([0-9.e+-]+)", line)
        if m:
            out.append((dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', m[1])), float(m[2])))
    return out


def test_requests_total_has_both_reporters_with_all_labels(shared_article):
    mesh = shared_article.mesh
    for _ in range(40):
        assert mesh.get("my-app").status == 200

    def found():
        s = series(mesh.metrics(), "istio_requests_total")
        return s if {x[0]["reporter"] for x in s} == {"source", "destination"} else None
    all_series = wait_for("both reporters", found)
    for labels, _ in all_series:
        assert set(LABELS) | {"response_code", "grpc_response_status"} == set(labels) - {"instance"}
    for reporter in ("source", "destination"):
        labels = next(x for x, _ in all_series if x["reporter"] == reporter and x["response_code"] == "200"
                      and x["destination_version"] == "v1")
        assert labels["destination_workload"] == "my-app-v1"
        assert labels["destination_workload_namespace"] == "default"
        assert labels["destination_principal"] == "spiffe://cluster.local/ns/default/sa/my-app"
        assert labels["source_principal"] == "spiffe://cluster.local/ns/kvmesh-system/sa/test-1"
        assert labels["destination_service"] == "my-app.default.svc.cluster.local"
        assert labels["destination_service_name"] == "my-app"
        assert labels["destination_service_namespace"] == "default"
        assert labels["destination_app"] == labels["destination_canonical_service"] == "my-app"
        assert labels["destination_canonical_revision"] == "v1"
        assert labels["request_protocol"] == "http"
        assert labels["response_flags"] == "-"
        assert labels["connection_security_policy"] == "mutual_tls"


def test_every_request_is_counted_once_by_each_side(article):
    mesh = article.mesh
    for i in range(50):
        mesh.get("my-app", f"/{i}")

    def sums():
        out = {"source": 0, "destination": 0}
        for labels, value in series(mesh.metrics(), "istio_requests_total"):
            out[labels["reporter"]] += value
        return out if out == {"source": 50, "destination": 50} else None
    wait_for("50 at the source and 50 at the destination", sums)
    durations = sum(v for _, v in series(mesh.metrics(), "istio_request_duration_milliseconds_count"))
    assert durations == 100


def test_tcp_metrics(shared_article):
    with socket.create_connection(("127.0.0.1", shared_article.redis_entry), timeout=kvmesh.DEADLINE) as s:
        s.sendall(b"PING\r\n")
        assert s.recv(64) == b"+PONG\r\n"

    def found():
        text = shared_article.mesh.metrics()
        return all(any(labels["destination_service_name"] == "redis" and value > 0 for labels, value in series(text, name))
                   for name in ("istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total",
                                "istio_tcp_sent_bytes_total", "istio_tcp_received_bytes_total"))
    wait_for("TCP series of redis", found)


def test_promtool_accepts_the_exposition(shared_article):
    shared_article.mesh.get("my-app")
    r = subprocess.run(["promtool", "check", "metrics"], input=shared_article.mesh.metrics(), capture_output=True, text=True,
                       timeout=kvmesh.DEADLINE)
    complaints = [line for line in (r.stdout + r.stderr).splitlines() if line.strip()]
    # conventions §5.2: Istio's own name is in milliseconds
    assert [c for c in complaints if 'use base unit "seconds" instead of "milliseconds"' not in c] == []


def test_only_loopback_names_and_reads(shared_article):
    c = http.client.HTTPConnection("127.0.0.1", shared_article.mesh.metrics_port, timeout=kvmesh.DEADLINE)
    c.request("GET", "/metrics", headers={"Host": "evil.example"})
    r = c.getresponse()
    r.read()
    assert r.status in (400, 403, 421)
    c.close()
    c.request("POST", "/metrics", body=b"x")
    r = c.getresponse()
    assert r.status == 405


@pytest.fixture(scope="module")
def prometheus(shared_article, tmp_path_factory):
    directory = tmp_path_factory.mktemp("prometheus")
    port = kvmesh.free_port()
    (directory / "p.yml").write_text(f"""
global: {{ scrape_interval: 1s }}
scrape_configs:
- job_name: kvmesh
  static_configs: [ {{ targets: [ "127.0.0.1:{shared_article.mesh.metrics_port}" ] }} ]
""")
    p = kvmesh.Process(["prometheus", f"--config.file={directory}/p.yml", f"--storage.tsdb.path={directory}/data",
                        f"--web.listen-address=127.0.0.1:{port}"], directory / "log")

    def query(q):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=kvmesh.DEADLINE)
        c.request("GET", "/api/v1/query?" + urllib.parse.urlencode({"query": q}))
        reply = json.loads(c.getresponse().read())
        assert reply["status"] == "success", reply
        return reply["data"]["result"]
    try:
        wait_for("prometheus", lambda: kvmesh.port_open(port))
        yield query
    finally:
        p.stop()


PEER = ('destination_workload_namespace=~"default", destination_workload=~"my-app-v1"')
QUERIES = [
    'round(sum(irate(istio_requests_total{reporter="source"}[1m])), 0.001)',
    'sum(rate(istio_requests_total{reporter="source", response_code!~"5.*"}[1m])) / sum(rate(istio_requests_total{reporter="source"}[1m]))',
    'label_join(sum(rate(istio_requests_total{reporter="source", response_code="200"}[1m])) by (destination_workload, '
    'destination_workload_namespace, destination_service), "destination_workload_var", ".", "destination_workload", '
    '"destination_workload_namespace")',
    '(histogram_quantile(0.95, sum(irate(istio_request_duration_milliseconds_bucket{reporter="destination",'
    'destination_service=~"my-app.default.svc.cluster.local"}[1m])) by (le)) / 1000) or histogram_quantile(0.95, '
    'sum(irate(istio_request_duration_seconds_bucket{reporter="destination"}[1m])) by (le))',
    'sum(irate(istio_requests_total{connection_security_policy="mutual_tls",reporter="destination",' + PEER +
    '}[5m])) by (source_workload, source_workload_namespace, response_code)',
    'sum(istio_build) by (component, tag)',
    'sum(rate(istio_tcp_received_bytes_total{reporter="source"}[1m])) by (destination_workload, destination_service)',
    'sum(rate(istio_requests_total{reporter="destination",destination_workload_namespace="default"} [60s])) by '
    '(source_cluster,source_workload_namespace,source_workload,source_canonical_service,source_canonical_revision,'
    'destination_cluster,destination_service_namespace,destination_service,destination_service_name,'
    'destination_workload_namespace,destination_workload,destination_canonical_service,destination_canonical_revision,'
    'request_protocol,response_code,grpc_response_status,response_flags) > 0',
    'sum(rate(istio_requests_total{reporter="destination"}[60s])) by (source_principal,destination_principal,'
    'connection_security_policy) > 0',
    'histogram_quantile(0.95, sum(rate(istio_response_bytes_bucket{reporter="destination"}[60s])) by (le))',
    'process_resident_memory_bytes',
]


@pytest.mark.parametrize("q", QUERIES)
def test_the_dashboards_queries_return_data(shared_article, prometheus, q):
    def asked():
        shared_article.mesh.get("my-app")
        with socket.create_connection(("127.0.0.1", shared_article.redis_entry), timeout=kvmesh.DEADLINE) as s:
            s.sendall(b"PING\r\n")
            s.recv(64)
        return [r for r in prometheus(q) if r["value"][1] != "NaN"]
    wait_for("data", asked)
