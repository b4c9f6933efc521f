# SPDX-License-Identifier: Apache-2.0
"""Memory of connections that rest: Pss of the proxies before and after many clients each made one request and stayed.

Each measurement is on a stack just started: memory that earlier load left in free lists would hide the cost.
"""

import contextlib
import socket
import ssl
import time

from proc import pss_anon_kb


def settled(pids):
    """Pss of anonymous memory after it stopped moving."""
    last = None
    for _ in range(20):
        time.sleep(0.5)
        now = sum(map(pss_anon_kb, pids))
        if now == last:
            break
        last = now
    return now


def one_request(s, host):
    s.sendall(f"GET /f/128B HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data or len(data.split(b"\r\n\r\n", 1)[1]) < 128:
        piece = s.recv(65536)
        if not piece:
            raise SystemExit(f"closed instead of an answer: {data[:200]}")
        data += piece
    if not data.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"no 200: {data[:200]}")


def connection_kb(stack, mtls, n):
    """kB of Pss per idle connection, of n to the entry (plaintext) or to the inner proxy (mtls)."""
    if mtls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        name = stack.tls(context)

    with contextlib.ExitStack() as held:
        def connect():
            s = socket.create_connection(("127.0.0.1", stack.tls_port if mtls else stack.ports["http"]), timeout=30)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if mtls:
                s = context.wrap_socket(s, server_hostname=name)
            held.callback(s.close)
            one_request(s, stack.host)
        for _ in range(20):     # what the first ones cost is the process's, not the connection's
            connect()
        pids = stack.pids()
        before = settled(pids)
        for _ in range(n):
            connect()
        return (settled(pids) - before) / n
