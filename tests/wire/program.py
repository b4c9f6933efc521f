# SPDX-License-Identifier: Apache-2.0
"""A program written by hand: what came is looked at byte by byte."""

import contextlib

from server import Server


class Program(Server):
    """Answers by path, and keeps each head as it came."""

    def __init__(self):
        self.heads = []
        super().__init__()

    def serve(self, c):
        with c, contextlib.suppress(OSError):
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = c.recv(65536)
                    if not piece:
                        return
                    head += piece
                self.heads.append(head.decode("latin-1"))
                path = head.split(b" ")[1]
                if path.startswith(b"/close"):
                    return
                if path.startswith((b"/late", b"/wait")):
                    c.recv(1)
                    return
                if path.startswith(b"/junk"):
                    c.sendall(b"this is no answer\r\n\r\n")
                    return
                word = b"503 Busy" if path.startswith(b"/busy") else b"200 OK"
                c.sendall(b"HTTP/1.1 " + word + b"\r\nContent-Length: 2\r\nX-App: Yes\r\n\r\nok")

    def head(self, path):
        """The last head for that path as it came: its lines."""
        return [h for h in self.heads if h.split(" ")[1] == path][-1].split("\r\n")

    def fields(self, path):
        return dict(line.split(": ", 1) for line in self.head(path)[1:] if line)
