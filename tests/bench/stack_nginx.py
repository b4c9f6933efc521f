# SPDX-License-Identifier: Apache-2.0
"""nginx 1.22: HTTP/1.1 between the hops (it has no HTTP/2 towards upstreams), gRPC by grpc_pass, TCP by its stream module."""

import pathlib

import kvmesh
from stack import HOST, Stack

STREAM_MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")


class NginxHops(Stack):
    name = "nginx"

    def __init__(self, directory, apps, certs):
        super().__init__()
        self.certs = certs
        stream = STREAM_MODULE.exists()
        out, mid = self.new_ports("http", "h2", "grpc", *(["tcp"] if stream else []))
        if not stream:
            self.cannot["tcp"] = self.cannot["tcp-plain"] = "its stream module (libnginx-mod-stream) is not installed"
        self.tls_port = mid["http"]
        tls = "ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; ssl_ecdh_curve X25519:P-256;"
        server = (f"{tls} ssl_certificate {certs.crt}; ssl_certificate_key {certs.key}; ssl_client_certificate {certs.ca}; "
                  "ssl_verify_client on; ssl_session_cache shared:%s:1m;")
        http = "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; proxy_buffering on; proxy_max_temp_file_size 0;"

        def client(prefix):
            p = prefix + "_ssl_"
            return (f"{p}protocols TLSv1.3; {p}conf_command Ciphersuites TLS_AES_128_GCM_SHA256; {p}certificate {certs.crt}; "
                    f"{p}certificate_key {certs.key}; {p}trusted_certificate {certs.ca}; {p}verify on; {p}name {HOST}; "
                    f"{p}server_name on; {p}session_reuse on;")

        def upstream(name, port):
            return f"upstream {name} {{ server 127.0.0.1:{port}; keepalive 1000; keepalive_requests 100000000; }}\n"
        web = {
            "out": upstream("h", mid["http"]) + upstream("g", mid["grpc"])
            + f"server {{ listen 127.0.0.1:{out['http']}; location / {{ {http} proxy_pass https://h; {client('proxy')} }} }}\n"
            + f"server {{ listen 127.0.0.1:{out['h2']} http2; location / {{ {http} proxy_pass https://h; {client('proxy')} }} }}\n"
            + f"server {{ listen 127.0.0.1:{out['grpc']} http2; location / {{ grpc_pass grpcs://g; {client('grpc')} }} }}\n",
            "in": upstream("h", apps.http) + upstream("g", apps.grpc)
            + f"server {{ listen 127.0.0.1:{mid['http']} ssl; {server % 'h'} location / {{ {http} proxy_pass http://h; }} }}\n"
            + f"server {{ listen 127.0.0.1:{mid['grpc']} ssl http2; {server % 'g'} location / {{ grpc_pass grpc://g; }} }}\n"}
        tcp = {"out": "", "in": ""}
        if stream:
            self.ports["tcp-plain"] = kvmesh.free_port()
            tcp["out"] = (f"stream {{ server {{ listen 127.0.0.1:{self.ports['tcp-plain']}; proxy_pass 127.0.0.1:{apps.tcp}; }} server {{ listen 127.0.0.1:{out['tcp']}; proxy_pass 127.0.0.1:{mid['tcp']}; proxy_ssl on; "
                          f"{client('proxy')} }} }}\n")
            tcp["in"] = f"stream {{ server {{ listen 127.0.0.1:{mid['tcp']} ssl; {server % 't'} proxy_pass 127.0.0.1:{apps.tcp}; }} }}\n"
        load = f"load_module {STREAM_MODULE};\n" if stream else ""
        for side in web:
            d = directory / f"nginx-{side}"
            d.mkdir()
            (d / "nginx.conf").write_text(
                f"{load}daemon off; pid {d}/pid; error_log {d}/error.log warn; worker_processes 1;\n"
                f"events {{ worker_connections 8192; }}\n{tcp[side]}http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 1h; "
                f"http2_max_concurrent_streams 256; client_body_temp_path {d}/b; proxy_temp_path {d}/p; fastcgi_temp_path {d}/f; "
                f"uwsgi_temp_path {d}/u; scgi_temp_path {d}/s;\n{web[side]}}}\n")
            self.run(["nginx", "-p", d, "-c", d / "nginx.conf", "-e", d / "error.log"], d / "log")
        self.wait(*out.values(), mid["http"], mid["grpc"])

    def pids(self):
        """The masters rest; their workers work."""
        found = []
        for p in self.owned:
            found += [p.pid] + [int(n) for n in pathlib.Path(f"/proc/{p.pid}/task/{p.pid}/children").read_text().split()]
        return found
