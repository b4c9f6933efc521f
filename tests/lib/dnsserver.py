# SPDX-License-Identifier: Apache-2.0
"""A DNS server of a few records for tests: A and AAAA with a time to live, counted, and able to fail."""

import socket
import struct
import threading

import kvmesh


class DnsServer:
    """records: name -> list of addresses. refuse: answer SERVFAIL. asked: how often each name was asked.
    mute: kinds of questions (1 A, 28 AAAA) that get no answer at all."""

    def __init__(self, ttl=1):
        self.records, self.asked, self.refuse, self.ttl, self.mute = {}, {}, False, ttl, ()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def resolv_conf(self, path):
        path.write_text(f"nameserver 127.0.0.1:{self.port}\noptions timeout:2 attempts:2\n")
        return path

    def close(self):
        self.socket.close()

    def _serve(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            answer = self._answer(query)
            if answer:
                self.socket.sendto(answer, peer)

    def _answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        name = ".".join(labels).lower()
        kind = struct.unpack(">H", query[at + 1:at + 3])[0]
        question = query[12:at + 5]
        self.asked[name] = self.asked.get(name, 0) + 1
        if kind in self.mute:
            return None
        if self.refuse or name not in self.records:
            return query[:2] + struct.pack(">HHHHH", 0x8180 | (2 if self.refuse else 3), 1, 0, 0, 0) + question
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        found = [a for a in self.records[name] if family == (socket.AF_INET6 if ":" in a else socket.AF_INET)]
        out = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0) + question
        for a in found:
            data = socket.inet_pton(family, a)
            out += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, self.ttl, len(data)) + data
        return out

    def start(self, mesh, hosts=""):
        """The mesh with this server in its resolv.conf and an /etc/hosts of its own; needs root."""
        resolv, table = self.resolv_conf(mesh.dir / "resolv.conf"), mesh.dir / "hosts"
        table.write_text("127.0.0.1 localhost\n" + hosts)
        run = [kvmesh.tool("kvmeshctl"), "run", "--etc", mesh.etc, "--run", mesh.run, "--state", mesh.state]
        script = f'mount --bind {resolv} /etc/resolv.conf && mount --bind {table} /etc/hosts && exec "$@"'
        mesh.process = kvmesh.Process(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *run],
                                      mesh.dir / "run.log")
        mesh.wait_ready()
        return mesh
