# SPDX-License-Identifier: Apache-2.0
"""kvmesh-router alone, over its socket: what it tells the proxies, and what a wrong file does (nothing)."""

import json
import os
import resource
import signal
import sqlite3

import pytest

import kvmesh
from control import Client, Daemon, Refused, call_as, is_root
from kvmesh import wait_for

CONF = """
mesh = { trustDomain = "mesh.example"; proxyHttpPort = 15080; };
node = { name = "test-1"; address = "127.0.0.1"; };
"""

SERVICE = """
Service = { name = "my-app"; namespace = "default"; selector = { app = "my-app"; };
  ports = ( { name = "http"; number = 80; targetPort = 8001; protocol = "HTTP"; } ); };
"""

GATEWAY = 'Workload = { name = "edge"; gateway = true; labels = { istio = "edge"; }; };\n'


def workload(name, port=8001, more=""):
    return f"""
Workload = {{ name = "{name}"; namespace = "default"; serviceAccount = "{name}"; unit = "{name}.service";
  address = "127.0.0.1"; ports = ( {{ name = "http"; number = {port}; protocol = "HTTP"; }} );
  labels = {{ app = "my-app"; version = "{name}"; }}; {more} }};
"""


def route(weight):
    return f"""
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {{ name: my-app }}
spec:
  hosts: [ my-app ]
  http:
  - route:
    - {{ destination: {{ host: my-app }}, weight: 100 }}
    timeout: {weight}s
"""


class Router(Daemon):
    def __init__(self):
        super().__init__("router")
        self.write("kvmesh.conf", CONF)
        self.write("mesh.d/service.conf", SERVICE)
        self.write("mesh.d/route.yaml", route(5))
        self.write("workloads.d/v1.conf", workload("v1"))

    def status(self):
        return self.call("Status")

    def proxy(self, name="node"):
        return next(p for p in self.status()["proxies"] if p["name"] == name)

    def generation(self):
        return self.status()["generation"]

    def reload(self, **params):
        return self.call("Reload", params)


@pytest.fixture
def router():
    with Router() as r:
        yield r.start()


class Proxy:
    """What a proxy does with its router: one connection watches, another acknowledges."""

    def __init__(self, router, name="node"):
        self.router, self.name = router, name
        self.watch = Client(router.sock)
        self.acks = Client(router.sock)
        first = self.watch.call("Watch", {"proxy": name}, more=True)
        self.version, self.snapshot = first["version"], first["snapshot"]

    def next(self):
        reply = self.watch.next()
        self.version, self.snapshot = reply["version"], reply["snapshot"]
        return self

    def ack(self, **more):
        self.acks.call("Ack", {"proxy": self.name, "version": self.version, "pid": 4711, "software": "test", **more})

    def close(self):
        self.watch.close()
        self.acks.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


# ---- snapshots ----------------------------------------------------------------------------------


def test_watch_begins_with_the_present_snapshot(router):
    with Proxy(router) as p:
        assert p.version == 1 and p.snapshot["version"] == 1 and p.snapshot["proxy"] == "node"
        assert "spiffe://mesh.example/ns/default/sa/v1" in p.snapshot["identities"]
        # The same as everybody may look at.
        assert router.call("Dump", {"proxy": "node"}) == {"version": 1, "snapshot": p.snapshot}


def test_an_edit_is_a_new_version_by_itself(router):
    with Proxy(router) as p:
        before = p.snapshot
        router.write("mesh.d/route.yaml", route(7))
        p.next()
        assert p.version == 2 and p.snapshot["version"] == 2 and p.snapshot != before
        router.write("mesh.d/deep/er/more.conf", workload("v2", 8002))
        p.next()
        assert "spiffe://mesh.example/ns/default/sa/v2" in p.snapshot["identities"]
        (router.etc / "mesh.d/deep/er/more.conf").unlink()
        p.next()
        assert "spiffe://mesh.example/ns/default/sa/v2" not in p.snapshot["identities"]
        assert p.version == 4


def test_an_edit_without_meaning_is_none(router):
    with Proxy(router) as p:
        router.write("kvmesh.conf", CONF + "# a remark\n")
        router.write("mesh.d/empty.conf", "")
        got = router.reload()
        assert got["ok"] and not got["changed"] and got["generation"] == 1
        router.write("mesh.d/route.yaml", route(9))
        assert p.next().version == 2            # and nothing came between


def test_sighup_loads(router):
    os.kill(router.process.pid, signal.SIGHUP)
    wait_for("a load", lambda: any(e["by"] == "SIGHUP" for e in router.call("History")["entries"]))
    assert router.generation() == 1


def test_unknown_proxy(router):
    for method in ("Watch", "Dump", "Ack"):
        with Client(router.sock) as c, pytest.raises(Refused) as e:
            c.call(method, {"proxy": "unheard-of", "version": 1})
        assert e.value.name == "NotFound"


def test_gateways_come_and_go(router):
    router.write("workloads.d/edge.conf", GATEWAY)
    wait_for("the gateway", lambda: [p["name"] for p in router.status()["proxies"]] == ["node", "edge"])
    with Proxy(router, "edge") as p:
        assert p.snapshot["proxy"] == "edge"
        (router.etc / "workloads.d/edge.conf").unlink()
        with pytest.raises(Refused) as e:
            while True:
                p.next()
        assert e.value.name == "NotFound"
    assert [p["name"] for p in router.status()["proxies"]] == ["node"]


def test_slow_watcher_gets_the_newest(router):
    """It reads nothing while the configuration changes many times: it is not buried in old versions."""
    for i in range(300):
        router.write(f"workloads.d/w{i}.conf", workload(f"w{i}", 9000 + i))
    assert router.reload()["ok"]
    with Proxy(router) as p:
        first = p.version
        for i in range(30):
            router.write("mesh.d/route.yaml", route(10 + i))
            last = router.reload()["generation"]
        assert last >= first + 10
        n = 0
        while p.version < last:
            p.next()
            n += 1
        assert n < last - first
        assert p.version == last


# ---- wrong files ----------------------------------------------------------------------------------

WRONG = [
    ("mesh.d/bad.yaml", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: x }\nspec:\n  hostz: [ a ]\n", 5),
    ("mesh.d/bad.yaml", "apiVersion: [\n", None),
    ("mesh.d/bad.conf", "Service = { name = \"x\"; \n", None),
    ("mesh.d/bad.conf", "Unicorn = { name = \"x\"; };\n", 1),
    ("kvmesh.conf", CONF + "node = { nmae = \"y\"; };\n", None),
    ("conf.d/10.conf", "mesh = { proxyHttpPort = \"no\"; };\n", 1),
]


@pytest.mark.parametrize("name, text, line", WRONG)
def test_a_wrong_file_changes_nothing(router, name, text, line):
    with Proxy(router) as p:
        good = (router.etc / name).read_text() if (router.etc / name).exists() else None
        router.write(name, text)
        got = router.reload()
        assert not got["ok"] and not got["changed"] and got["generation"] == 1
        errors = [f for f in got["findings"] if f["level"] == "error"]
        assert errors and errors[0]["file"].endswith(name) and errors[0]["text"]
        assert line is None or errors[0]["line"] == line
        st = router.status()
        assert st["generation"] == 1 and not st["lastReload"]["ok"] and st["lastReload"]["findings"] == got["findings"]
        entry = router.call("History")["entries"][0]
        assert not entry["ok"] and name in entry["error"] and entry["generation"] == 1
        # Mended, the mesh goes on as if nothing had been.
        if good is None:
            (router.etc / name).unlink()
        else:
            router.write(name, good)
        wait_for("recovery", lambda: router.status()["lastReload"]["ok"])
        router.write("mesh.d/route.yaml", route(8))
        assert p.next().version == 2


def test_one_wrong_file_among_good_changes(router):
    """All or nothing: what is right in the same load is not applied either."""
    router.write("mesh.d/bad.yaml", "nonsense: [")
    router.write("mesh.d/route.yaml", route(8))
    assert not router.reload()["ok"]
    assert router.call("Config")["generation"] == 1
    spec = next(r for r in router.call("Config")["resources"] if r["kind"] == "VirtualService")["spec"]
    assert spec["http"][0]["timeout"] == "5s"


def test_first_start_with_a_wrong_file():
    with Router() as r:
        r.write("mesh.d/bad.yaml", WRONG[0][1])
        r.start(wait=False)
        assert r.process.popen.wait(kvmesh.DEADLINE) == 6
        assert "bad.yaml:5:" in r.text() and "hostz" in r.text()


def test_later_start_with_a_wrong_file_serves_what_was(router):
    with Proxy(router) as p:
        before = p.snapshot
    router.stop()
    router.write("mesh.d/bad.yaml", WRONG[0][1])
    router.start()
    with Proxy(router) as p:
        assert p.version == 1 and p.snapshot == before
        st = router.status()
        assert st["kept"] and st["generation"] == 1 and not st["lastReload"]["ok"]
        with pytest.raises(Refused) as e:
            router.call("Config")
        assert e.value.name == "Failed" and "generation 1" in e.value.text
        with Client(router.sock) as c:
            assert c.call("Identities", more=True)["trustDomain"] == "mesh.example"
        (router.etc / "mesh.d/bad.yaml").unlink()
        wait_for("recovery", lambda: not router.status()["kept"])
        assert router.generation() == 1
        router.write("mesh.d/route.yaml", route(8))
        assert p.next().version == 2


def test_full_disk_keeps_the_old():
    """A generation that cannot be recorded is not put in force. (A file size limit stands for the full disk.)"""
    with Router() as r:
        r.start(preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
        with Proxy(r) as p:
            old = resource.prlimit(r.process.pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
            r.write("mesh.d/route.yaml", route(8))
            got = r.reload()
            assert not got["ok"] and got["generation"] == 1 and "router.db" in got["findings"][0]["text"]
            resource.prlimit(r.process.pid, resource.RLIMIT_FSIZE, old)
            assert r.reload()["generation"] == 2
            assert p.next().version == 2


# ---- over restarts ----------------------------------------------------------------------------------


def test_kill_keeps_generation_versions_and_ages(router):
    router.write("mesh.d/route.yaml", route(8))
    wait_for("generation 2", lambda: router.generation() == 2)
    router.write("mesh.d/telemetry.yaml", "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: { name: t }\nspec: {}\n")
    wait_for("generation 3", lambda: router.generation() == 3)
    ages = {r["name"]: r.get("firstSeen") for r in router.call("Config")["resources"]}
    before = router.call("Dump", {"proxy": "node"})
    assert router.stop(signal.SIGKILL) == -signal.SIGKILL
    router.start()
    assert router.generation() == 3
    assert router.call("Dump", {"proxy": "node"}) == before
    assert {r["name"]: r.get("firstSeen") for r in router.call("Config")["resources"]} == ages
    assert None not in ages.values()
    # A change made while it was down is the next generation, never an old number.
    router.stop(signal.SIGKILL)
    router.write("mesh.d/route.yaml", route(9))
    router.start()
    assert router.generation() == 4
    assert router.call("Dump", {"proxy": "node"})["version"] == 4


@pytest.mark.parametrize("lost", ["router.db", "last.json"])
def test_generation_never_goes_back(router, lost):
    for i in range(3):
        router.write("mesh.d/route.yaml", route(10 + i))
        assert router.reload()["ok"]
    top = router.generation()
    assert top >= 2
    # last.json is written after the proxies were told.
    wait_for("the kept state", lambda: f'"generation":{top}' in (router.state / "router/last.json").read_text())
    router.stop(signal.SIGKILL)
    for f in (router.state / "router").glob(lost + "*"):
        f.unlink()
    router.start()
    assert router.generation() == top
    router.write("mesh.d/route.yaml", route(20))
    wait_for("the next", lambda: router.generation() == top + 1)


def test_damaged_database_is_told(router):
    router.stop()
    for f in (router.state / "router").glob("router.db*"):
        f.write_bytes(b"\0nonsense" * 1000)
    router.start(wait=False)
    assert router.process.popen.wait(kvmesh.DEADLINE) == 6
    assert "router.db is damaged" in router.text()


def test_history_names_what_changed(router):
    router.write("workloads.d/v2.conf", workload("v2", 8002))
    router.write("mesh.d/route.yaml", route(8))
    wait_for("the changes", lambda: router.generation() >= 2)
    (router.etc / "workloads.d/v2.conf").unlink()
    wait_for("the removal", lambda: "removed Workload v2.default" in router.call("History")["entries"][0]["changed"])
    entries = router.call("History", {"limit": 50})["entries"]
    changed = [c for e in entries for c in e["changed"]]
    assert "added Workload v2.default" in changed and "changed VirtualService my-app.default" in changed
    assert entries[-1]["by"] == "start" and entries[-1]["generation"] == 1
    assert all(e["ok"] for e in entries) and len(router.call("History", {"limit": 1})["entries"]) == 1
    assert {e["by"] for e in entries[:-1]} == {"file change"}


# ---- acknowledgements -------------------------------------------------------------------------------


def test_states_of_a_proxy(router):
    assert router.proxy()["state"] == "NOT SENT" and not router.proxy()["connected"]
    with Proxy(router) as p:
        assert router.proxy()["state"] == "STALE" and router.proxy()["connected"]
        p.ack()
        got = router.proxy()
        assert got["state"] == "SYNCED" and got["version"] == 1 and got["pid"] == 4711 and got["software"] == "test"
        router.write("mesh.d/route.yaml", route(8))
        p.next()
        assert router.proxy()["state"] == "STALE"
        p.ack(error="cannot listen on port 80")
        got = router.proxy()
        assert got["state"] == "STALE" and got["error"] == "cannot listen on port 80"
        router.write("mesh.d/route.yaml", route(9))
        p.next().ack()
        assert router.proxy()["state"] == "SYNCED" and "error" not in router.proxy()
    wait_for("the departure", lambda: router.proxy()["state"] == "NOT SENT")
    # A new process has taken nothing yet.
    with Proxy(router):
        assert router.proxy()["state"] == "STALE"


def reload_waiting(router):
    c = Client(router.sock)
    c.frames.send({"method": "Reload", "parameters": {"wait": True}})
    return c


def test_reload_waits_for_the_proxies(router):
    router.write("workloads.d/edge.conf", GATEWAY)
    assert router.reload()["ok"]
    with Proxy(router) as node, Proxy(router, "edge") as edge:
        node.ack()
        edge.ack()
        router.write("mesh.d/route.yaml", route(8))
        with reload_waiting(router) as waiting:
            for p in (node, edge):
                while p.version < router.generation():
                    if p.version == router.call("Dump", {"proxy": p.name})["version"]:
                        break
                    p.next()
            node.ack()
            edge.ack()
            got = waiting.next()
        assert got["ok"] and got["generation"] == router.generation()
        # A proxy that goes away is not waited for.
        router.write("mesh.d/route.yaml", route(9))
        with reload_waiting(router) as waiting:
            node.next().ack()
            edge.close()
            assert waiting.next()["ok"]


def test_reload_tells_who_refuses(router):
    with Proxy(router) as p:
        p.ack()
        router.write("mesh.d/route.yaml", route(8))
        with reload_waiting(router) as waiting:
            p.next().ack(error="no such certificate")
            with pytest.raises(Refused) as e:
                waiting.next()
    assert e.value.name == "Failed" and "node" in e.value.text and "no such certificate" in e.value.text


def test_reload_does_not_wait_for_ever(router):
    with Proxy(router):
        with reload_waiting(router) as waiting, pytest.raises(Refused) as e:
            waiting.next()
    assert "after 10 s not with node" in e.value.text


def test_reload_without_proxies_returns_at_once(router):
    assert router.reload(wait=True)["ok"]


# ---- identities, configuration ------------------------------------------------------------------------


def test_identities_follow_the_workloads(router):
    with Client(router.sock) as c:
        first = c.call("Identities", more=True)
        assert first["trustDomain"] == "mesh.example" and first["leafLifetimeUs"] == 24 * 3600 * 10**6
        mine = {i["spiffe"]: i for i in first["identities"]}
        v1 = mine["spiffe://mesh.example/ns/default/sa/v1"]
        assert v1 == {"spiffe": v1["spiffe"], "workload": "v1", "namespace": "default", "proxy": "node", "unit": "v1.service"}
        node = mine["spiffe://mesh.example/ns/kvmesh-system/sa/test-1"]
        assert node["proxy"] == "node" and "unit" not in node
        router.write("workloads.d/edge.conf", GATEWAY)
        second = c.next()
        assert second["generation"] > first["generation"]
        assert {i["proxy"] for i in second["identities"]} == {"node", "edge"}


def test_config_tells_where_from(router):
    router.write("conf.d/10-port.conf", "mesh = { proxyHttpPort = 15099; };\n")
    wait_for("the drop-in", lambda: router.generation() == 2)
    got = router.call("Config")
    assert got["kvmesh"]["mesh"]["proxyHttpPort"] == 15099
    assert got["origins"]["mesh.proxyHttpPort"] == f"{router.etc}/conf.d/10-port.conf:1"
    assert got["origins"]["mesh.trustDomain"] == f"{router.etc}/kvmesh.conf:2"
    assert got["kvmesh"]["node"]["meshPort"] == 15443 and "node.meshPort" not in got["origins"]
    names = {(r["kind"], r["name"]): r for r in got["resources"]}
    vs = names["VirtualService", "my-app"]
    assert vs["namespace"] == "default" and vs["file"].endswith("route.yaml") and vs["line"] == 2
    assert vs["spec"]["hosts"] == ["my-app"] and vs["firstSeen"]
    assert ("Service", "my-app") in names and ("Workload", "v1") in names


def test_check_only(router):
    code, out, err = router.once("-t")
    assert code == 0 and out == "" and "is valid" in err
    code, out, _ = router.once("-T")
    assert code == 0
    assert f'mesh.trustDomain = "mesh.example"  # {router.etc}/kvmesh.conf:2' in out
    assert "node.meshPort = 15443  # default" in out
    router.write("mesh.d/bad.yaml", WRONG[0][1])
    for option in ("-t", "-T"):
        code, out, err = router.once(option)
        assert code == 78 and out == ""
        assert f"{router.etc}/mesh.d/bad.yaml:5:3: error: " in err and "hosts" in err
        assert "  hostz: [ a ]" in err and "^" in err
    # Looking changed nothing.
    assert router.generation() == 1


def test_other_etc_is_missing():
    with Router() as r:
        code, _, err = r.once("-t", "--etc", "/nonexistent/kvmesh")
        assert code == 78 and "/nonexistent/kvmesh" in err


@pytest.mark.skipif(not is_root(), reason="needs to become another user")
def test_other_users_get_nothing(router):
    for method, params in (("Status", {}), ("Watch", {"proxy": "node"}), ("Ack", {"proxy": "node", "version": 1}),
                           ("Reload", {}), ("Config", {}), ("Dump", {"proxy": "node"}), ("History", {}), ("Identities", {})):
        error, text, _ = call_as(4711, router.sock, method, params)
        assert error == "NotPermitted", (method, text)
    assert "ipc_refused: uid 4711" in router.text()


def test_stops_cleanly(router):
    with Proxy(router), reload_waiting(router):
        assert router.stop() == 0


def test_two_on_one_directory(router):
    code, _, err = router.once("--standalone")
    assert code == 1 and "router.sock" in err
    assert router.generation() == 1


def test_kept_state_is_whole_json(router):
    wait_for("the kept state", lambda: (router.state / "router/last.json").exists())
    head, body = (router.state / "router/last.json").read_text().split("\n", 1)
    assert head.startswith("kvmesh-kept 1 ")
    assert json.loads(json.loads(body)["proxies"][0]["snapshot"])["proxy"] == "node"
    with sqlite3.connect(f"file:{router.state}/router/router.db?mode=ro", uri=True) as db:
        assert db.execute("PRAGMA quick_check").fetchone() == ("ok",)
    db.close()


# ---- with the real CA ---------------------------------------------------------------------------------


def test_router_and_ca_together(router, tmp_path):
    from test_ca import Ca, make_csr
    ca = Ca.__new__(Ca)
    Daemon.__init__(ca, "ca")
    try:
        ca.run = router.run
        ca.sock = router.run / "ca" / "ca.sock"
        ca.start().ready()
        csr = make_csr(tmp_path)
        assert "BEGIN" in ca.sign(csr, "spiffe://mesh.example/ns/default/sa/v1")["certificate"]
        with pytest.raises(Refused):
            ca.sign(csr, "spiffe://mesh.example/ns/default/sa/v2")
        router.write("workloads.d/v2.conf", workload("v2", 8002))
        wait_for("the new identity", lambda: ca.call("Status")["registry"]["generation"] == 2)
        assert "BEGIN" in ca.sign(csr, "spiffe://mesh.example/ns/default/sa/v2")["certificate"]
        # The router's death takes nothing away.
        router.stop(signal.SIGKILL)
        assert "BEGIN" in ca.sign(csr, "spiffe://mesh.example/ns/default/sa/v1")["certificate"]
        router.start()
        wait_for("the router's return", lambda: ca.call("Status")["registry"]["fresh"])
    finally:
        Daemon.close(ca)
