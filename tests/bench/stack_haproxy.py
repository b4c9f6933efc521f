# SPDX-License-Identifier: Apache-2.0
"""HAProxy, with HTTP/1.1 (its default) or HTTP/2 between the hops; opaque TCP in mode tcp."""

import kvmesh
from stack import HOST, Stack

COMMON = """
global
    nbthread 1
    maxconn 4000
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
    ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
    ssl-default-bind-curves X25519:P-256
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-server-options ssl-min-ver TLSv1.3
defaults
    mode http
    http-reuse always
    timeout client 1h
    timeout server 1h
    timeout connect 5s
    timeout tunnel 1h
"""


class Haproxy(Stack):
    def __init__(self, directory, apps, certs, h2):
        super().__init__()
        self.name, self.certs = "haproxy-h2" if h2 else "haproxy", certs
        out, mid = self.new_ports("http", "h2", "grpc", *([] if h2 else ["tcp"]))
        if h2:
            self.cannot["tcp"] = self.cannot["tcp-plain"] = "as haproxy"
        self.tls_port = mid["http"]
        app = {"http": apps.http, "h2": apps.http, "grpc": apps.grpc, "tcp": apps.tcp}
        text = {"out": COMMON, "in": COMMON}
        for e in out:
            mode = "tcp" if e == "tcp" else "http"
            client = "" if e in ("http", "tcp") else " proto h2"
            service = " proto h2" if e == "grpc" else ""
            alpn, offered = ("", "") if e == "tcp" else (f" alpn {'h2' if h2 else 'http/1.1'}", " alpn h2,http/1.1")
            pool = "" if e == "tcp" else " pool-max-conn 1000"
            text["out"] += (f"listen {e}\n    mode {mode}\n    bind 127.0.0.1:{out[e]}{client}\n    server s 127.0.0.1:{mid[e]} ssl verify required "
                            f"crt {certs.pem} ca-file {certs.ca} sni str({HOST}) verifyhost {HOST}{alpn}{pool}\n")
            text["in"] += (f"listen {e}\n    mode {mode}\n    bind 127.0.0.1:{mid[e]} ssl crt {certs.pem} ca-file {certs.ca} verify required{offered}\n"
                           f"    server s 127.0.0.1:{app[e]}{service}{pool}\n")
        for side in text:
            f = directory / f"{self.name}-{side}.cfg"
            f.write_text(text[side])
            self.run(["haproxy", "-db", "-f", f], directory / f"{self.name}-{side}.log")
        if not h2:
            self.ports["tcp-plain"] = kvmesh.free_port()
            f = directory / f"{self.name}-plain.cfg"
            f.write_text(COMMON + f"listen plain\n    mode tcp\n    option splice-auto\n    bind 127.0.0.1:{self.ports['tcp-plain']}\n"
                         f"    server s 127.0.0.1:{apps.tcp}\n")
            self.run(["haproxy", "-db", "-f", f], directory / f"{self.name}-plain.log")
        self.wait(*self.ports.values(), *mid.values())
