# SPDX-License-Identifier: Apache-2.0
"""nghttpx (Debian's nghttp2-proxy): HTTP/2 between the hops; no opaque TCP."""

from stack import GRPC_PATH, HOST, Stack


class Nghttpx(Stack):
    name = "nghttpx"

    def __init__(self, directory, apps, certs):
        super().__init__()
        self.certs = certs
        out, mid = self.new_ports("http")
        self.ports = {"http": out["http"], "h2": out["http"], "grpc": out["http"]}
        self.cannot["tcp"] = self.cannot["tcp-plain"] = "it proxies HTTP only"
        self.tls_port = mid["http"]
        common = ("workers=1\nsingle-process=yes\nno-ocsp=yes\naccesslog-file=/dev/null\nerrorlog-file=/dev/stderr\nlog-level=ERROR\n"
                  "tls13-ciphers=TLS_AES_128_GCM_SHA256\ntls13-client-ciphers=TLS_AES_128_GCM_SHA256\ntls-min-proto-version=TLSv1.3\n"
                  "tls-max-proto-version=TLSv1.3\necdh-curves=X25519:P-256\nfrontend-http2-max-concurrent-streams=256\n"
                  "backend-keep-alive-timeout=1h\nfrontend-keep-alive-timeout=1h\nfrontend-http2-read-timeout=1h\n")
        text = {
            "out": f"frontend=127.0.0.1,{out['http']};no-tls\nbackend=127.0.0.1,{mid['http']};;proto=h2;tls;sni={HOST}\n"
                   f"client-cert-file={certs.crt}\nclient-private-key-file={certs.key}\ncacert={certs.ca}\n",
            "in": f"frontend=127.0.0.1,{mid['http']};tls\nprivate-key-file={certs.key}\ncertificate-file={certs.crt}\nverify-client=yes\n"
                  f"verify-client-cacert={certs.ca}\nbackend=127.0.0.1,{apps.http};/;proto=http/1.1\n"
                  f"backend=127.0.0.1,{apps.grpc};{GRPC_PATH};proto=h2\n"}
        for side in text:
            f = directory / f"nghttpx-{side}.conf"
            f.write_text(common + text[side])
            self.run(["nghttpx", f"--conf={f}"], directory / f"nghttpx-{side}.log")
        self.wait(out["http"], mid["http"])
