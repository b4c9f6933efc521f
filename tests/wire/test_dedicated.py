# SPDX-License-Identifier: Apache-2.0
"""Workloads with a proxy of their own: kvmesh-proxy@NAME serves that one, the node's proxy all others."""

import getpass
import http.client

import pytest

import kvmesh

STRICT = 'PeerAuthentication = { name = "default"; namespace = "kvmesh-system"; mtls = { mode = "STRICT"; }; };\n'


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dedicated")
    v1, v2 = kvmesh.Nginx(directory, "v1"), kvmesh.Nginx(directory, "v2")
    m = kvmesh.Mesh(directory / "mesh")
    m.ports = {n: (kvmesh.free_port(), kvmesh.free_port()) for n in ("my-app-v1", "client", "other")}
    rows = [("my-app-v1", "", v1.port, 'app = "my-app"; version = "v1";'), ("client", f'user = "{getpass.getuser()}";', 0, 'app = "client";'),
            ("other", 'user = "nobody";', 0, 'app = "other";')]
    for name, user, port, labels in rows:
        listens = f'ports = ( {{ name = "http"; number = {port}; protocol = "HTTP"; }} );' if port else ""
        mesh_port, http_port = m.ports[name]
        m.write(f"workloads.d/{name}.conf", f"""
Workload = {{ name = "{name}"; {user} {listens} labels = {{ {labels} }}; sidecar = "dedicated";
  sidecarPorts = {{ mesh = {mesh_port}; http = {http_port}; }}; }};
""")
    m.workload("my-app-v2", v2.port, {"app": "my-app", "version": "v2"})
    m.service("my-app", 80, "http")
    m.write("mesh.d/strict.conf", STRICT)
    with m:
        try:
            yield m.start()
        finally:
            v1.stop()
            v2.stop()


def get(port, host, path="/"):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=kvmesh.DEADLINE)
    try:
        c.request("GET", path, headers={"Host": host})
        r = c.getresponse()
        return r.status, r.read().decode()
    finally:
        c.close()


def test_each_has_an_instance(mesh):
    rows = mesh.ctl_json("proxy-status")
    assert {r["name"] for r in rows} == {"node", "my-app-v1", "client", "other"}
    assert {r["state"] for r in rows if "state" in r} <= {"SYNCED"}


def test_the_door_of_its_own_proxy_is_dialled(mesh):
    """The node's proxy finds both versions; the dedicated one's traffic is seen by its own proxy."""
    assert {mesh.get("my-app").text.strip() for _ in range(40)} == {"v1", "v2"}
    endpoints = mesh.ctl("proxy-config", "endpoints", "node", "-o", "json").stdout
    assert str(mesh.ports["my-app-v1"][0]) in endpoints
    edges = mesh.call("proxy/my-app-v1.sock", "Edges")["parameters"]["edges"]
    assert [e["destinationWorkload"] for e in edges] == ["my-app-v1"] and edges[0]["mutual"] and edges[0]["requests"] > 0
    assert {e["destinationWorkload"] for e in mesh.call("proxy/node.sock", "Edges")["parameters"]["edges"] if e["reporter"] == "destination"} == {"my-app-v2"}


def test_its_identity_is_with_its_own_proxy_alone(mesh):
    def identities(proxy):
        return {c["spiffe"].rsplit("/", 1)[1] for c in mesh.call(f"proxy/{proxy}.sock", "Status")["parameters"]["certificates"]}
    assert identities("my-app-v1") == {"my-app-v1"} and identities("client") == {"client"}
    assert identities("node") == {"test-1", "my-app-v2"}


def test_it_calls_through_its_own_proxy(mesh):
    status, body = get(mesh.ports["client"][1], "my-app", "/headers")
    assert status == 200 and "/sa/client" in body


def test_others_are_turned_away_there(mesh):
    """The entry of a workload's own proxy is for that workload: nobody borrows its identity."""
    try:
        status, _ = get(mesh.ports["other"][1], "my-app")
        assert status == 403
    except (http.client.HTTPException, OSError):
        pass
    assert get(mesh.ports["client"][1], "my-app")[0] == 200


def test_policies_are_in_force_at_its_own_proxy(mesh):
    mesh.write("mesh.d/only-client.yaml", """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: only-client }
spec: { selector: { matchLabels: { app: my-app } }, rules: [ { from: [ { source: { principals: [ cluster.local/ns/default/sa/client ] } } ] } ] }
""")
    mesh.ctl("config", "reload", "--wait", check=0)
    assert {mesh.get("my-app").status for _ in range(20)} == {403}
    assert {get(mesh.ports["client"][1], "my-app")[1].strip() for _ in range(40)} == {"v1", "v2"}
    (mesh.etc / "mesh.d/only-client.yaml").unlink()
    mesh.ctl("config", "reload", "--wait", check=0)
    assert mesh.get("my-app").status == 200


def test_back_to_the_nodes_proxy(mesh):
    path = mesh.etc / "workloads.d/my-app-v1.conf"
    text = path.read_text()
    mesh.write("workloads.d/my-app-v1.conf", text.replace('sidecar = "dedicated";', 'sidecar = "shared";'))
    mesh.ctl("config", "reload", "--wait", check=0)
    kvmesh.wait_for("both", lambda: {r.text.strip() for r in (mesh.get("my-app") for _ in range(20)) if r.status == 200} == {"v1", "v2"})
    assert {r["name"] for r in mesh.call("router/router.sock", "Status")["parameters"]["proxies"]} == {"node", "client", "other"}
    mesh.write("workloads.d/my-app-v1.conf", text)
    mesh.ctl("config", "reload", check=0)
    kvmesh.wait_for("both", lambda: {r.text.strip() for r in (mesh.get("my-app") for _ in range(20)) if r.status == 200} == {"v1", "v2"})
    mesh.assert_sound()


def test_what_is_asked_of_it(mesh, tmp_path):
    for text, why in (('name = "x"; unit = "x.service"; sidecar = "dedicated";', "needs ports of its own"),
                      ('name = "node"; unit = "x.service"; sidecar = "dedicated"; sidecarPorts = { mesh = 15601; };', "there is an instance kvmesh-proxy@node already")):
        (tmp_path / "w.conf").write_text(f"Workload = {{ {text} }};\n")
        r = mesh.ctl("analyze", "--use-kube=false", tmp_path / "w.conf")
        assert why in r.stdout + r.stderr
