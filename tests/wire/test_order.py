# SPDX-License-Identifier: Apache-2.0
"""Order of resources (semantics 2.1.8) and timeouts of connects (2.8.7)."""

import socket

import pytest

import kvmesh
from kvmesh import wait_for

DR = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: {name}, namespace: default }}
spec: {{ host: my-app, subsets: [ {{ name: chosen, labels: {{ version: {version} }} }} ] }}
"""
VS = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: my-app-route }
spec: { hosts: [ my-app ], http: [ { route: [ { destination: { host: my-app, subset: chosen } } ] } ] }
"""


@pytest.fixture
def ordered(workdir):
    with kvmesh.Article(workdir) as a:
        a.mesh.write("mesh.d/10-article.yaml", VS)
        a.mesh.write("mesh.d/zz.yaml", DR.format(name="zz", version="v2"))
        yield a.start()


def versions(article, n=6):
    return {article.mesh.get("my-app").text.strip() for _ in range(n)}


def test_2_1_8_what_was_seen_first_goes_first_over_restarts_too(ordered):
    """By name and by file "aa" would be the first of two rules with one subset; it came later."""
    mesh = ordered.mesh
    assert versions(ordered) == {"v2"}
    mesh.write("mesh.d/aa.yaml", DR.format(name="aa", version="v1"))
    mesh.ctl("config", "reload", "--wait", check=0)
    assert versions(ordered) == {"v2"}
    mesh.stop()
    (mesh.dir / "run.log").unlink()         # its "ready" is the first run's
    mesh.start()
    assert versions(ordered) == {"v2"}
    (mesh.etc / "mesh.d/zz.yaml").unlink()
    mesh.ctl("config", "reload", "--wait", check=0)
    assert versions(ordered) == {"v1"}
    mesh.write("mesh.d/zz.yaml", DR.format(name="zz", version="v2"))
    mesh.ctl("config", "reload", "--wait", check=0)
    assert versions(ordered) == {"v1"}, "what went and came back is young"


def test_2_8_7_a_connect_that_takes_too_long_is_503_UF(workdir):
    """A listener whose backlog is full answers no SYN."""
    log = workdir / "access.log"
    mesh = kvmesh.Mesh(workdir / "mesh", f'accessLogFile = "{log}"; accessLogFormat = "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\\n";')
    deaf, held = socket.socket(), []
    deaf.bind(("127.0.0.1", 0))
    deaf.listen(0)
    port = deaf.getsockname()[1]
    for _ in range(4):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", port))
        held.append(s)
    mesh.write("mesh.d/10-deaf.yaml", f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: deaf }}
spec:
  hosts: [ deaf.example ]
  ports: [ {{ number: 80, name: http, protocol: HTTP, targetPort: {port} }} ]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [ {{ address: 127.0.0.1 }} ]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: deaf }}
spec: {{ host: deaf.example, trafficPolicy: {{ connectionPool: {{ tcp: {{ connectTimeout: 300ms }} }} }} }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: deaf }}
spec: {{ hosts: [ deaf.example ], http: [ {{ route: [ {{ destination: {{ host: deaf.example }} }} ], retries: {{ attempts: 0 }} }} ] }}
""")
    try:
        mesh.start()
        r = mesh.get("deaf.example")
        assert r.status == 503 and "connection timeout" in r.text
        wait_for("the record", lambda: log.exists() and "UF upstream_reset_before_response_started{connection_timeout}" in log.read_text())
    finally:
        mesh.stop()
        for s in [deaf, *held]:
            s.close()
