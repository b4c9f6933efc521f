# SPDX-License-Identifier: Apache-2.0
"""For tests of one control daemon alone: start it on its own directories, call it, stand in for its router."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

import kvmesh
from kvmesh import wait_for


class Refused(Exception):
    """An error reply: name and sentence."""

    def __init__(self, reply):
        self.name = reply["error"]
        self.text = reply.get("parameters", {}).get("message", "")
        super().__init__(f"{self.name}: {self.text}")


class Frames:
    """NUL-ended JSON on a socket."""

    def __init__(self, sock):
        self.sock, self.data = sock, b""

    def send(self, message):
        self.sock.sendall(json.dumps(message).encode() + b"\0")

    def receive(self):
        """The next message, or None at the end."""
        while b"\0" not in self.data:
            piece = self.sock.recv(1 << 16)
            if not piece:
                return None
            self.data += piece
        frame, self.data = self.data.split(b"\0", 1)
        return json.loads(frame)


class Client:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(kvmesh.DEADLINE)
        self.sock.connect(str(path))
        self.frames = Frames(self.sock)

    def call(self, method, parameters=None, more=False):
        """One reply's parameters; Refused for an error."""
        self.frames.send({"method": method, "parameters": parameters or {}, "more": more})
        return self.next()

    def next(self):
        reply = self.frames.receive()
        if reply is None:
            raise OSError("the daemon closed the connection")
        if "error" in reply:
            raise Refused(reply)
        return reply["parameters"]

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def call(path, method, parameters=None):
    with Client(path) as c:
        return c.call(method, parameters)


def call_as(uid, path, method, parameters=None):
    """The same from a process of another user: (error name or None, sentence, parameters)."""
    program = ("import json,socket,sys\n"
               "s=socket.socket(socket.AF_UNIX); s.settimeout(60); s.connect(sys.argv[1]); s.sendall(sys.stdin.buffer.read())\n"
               "d=b''\n"
               "while not d.endswith(b'\\0'):\n"
               "    p=s.recv(65536)\n"
               "    if not p: break\n"
               "    d+=p\n"
               "sys.stdout.buffer.write(d[:-1])\n")
    message = json.dumps({"method": method, "parameters": parameters or {}}).encode() + b"\0"
    r = subprocess.run(["/usr/bin/python3", "-c", program, str(path)], input=message, capture_output=True,
                       timeout=kvmesh.DEADLINE, user=uid, group=uid, extra_groups=[], check=True, cwd="/")
    reply = json.loads(r.stdout)
    p = reply.get("parameters", {})
    return reply.get("error"), p.get("message", ""), p


class Daemon:
    """kvmesh-NAME on directories of its own. Its path is short, so that sockets fit."""

    def __init__(self, name):
        self.name = name
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"kvmesh-{name}-", dir="/tmp"))
        self.dir.chmod(0o755)
        self.etc, self.run, self.state = (self.dir / d for d in ("etc", "run", "state"))
        for d in (self.etc, self.run, self.state):
            d.mkdir(mode=0o755)
        self.sock = self.run / name / f"{name}.sock"
        self.process = None
        self.starts = 0

    def argv(self, *more):
        return [kvmesh.tool(f"kvmesh-{self.name}"), "--etc", self.etc, "--run", self.run, "--state", self.state, *more]

    def start(self, *more, wait=True, standalone=True, preexec_fn=None):
        self.starts += 1
        more = ["--standalone", *more] if standalone else more
        self.process = kvmesh.Process(self.argv(*more), self.dir / f"log.{self.starts}",
                                      preexec_fn=preexec_fn)
        if wait:
            wait_for(f"kvmesh-{self.name} to listen", self._listens)
        return self

    def _listens(self):
        if not self.process.alive():
            raise AssertionError(f"ended with {self.process.popen.returncode}:\n{self.text()}")
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.sock))
            return True

    def once(self, *more):
        """Run to its end with these options: (exit code, stdout, stderr)."""
        r = subprocess.run([str(a) for a in self.argv(*more)], capture_output=True, text=True, timeout=kvmesh.DEADLINE)
        return r.returncode, r.stdout, r.stderr

    def stop(self, sig=signal.SIGTERM):
        code = self.process.stop(sig) if self.process else None
        self.process = None
        return code

    def text(self):
        return (self.dir / f"log.{self.starts}").read_text(errors="replace")

    def call(self, method, parameters=None):
        return call(self.sock, method, parameters)

    def client(self):
        return Client(self.sock)

    def write(self, name, text, mode=0o644):
        """Below etc, as an editor does it: a new file that takes the old one's name."""
        path = self.etc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp = path.with_name("." + path.name + ".new")
        tmp.write_text(text)
        tmp.chmod(mode)
        tmp.rename(path)
        return path

    def close(self):
        code = self.stop()
        text = "".join(p.read_text(errors="replace") for p in sorted(self.dir.glob("log.*")))
        shutil.rmtree(self.dir, ignore_errors=True)
        if "Sanitizer" in text or "runtime error" in text:
            raise AssertionError(text)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class FakeRouter:
    """router.sock with Identities alone: set() what every watcher is told."""

    def __init__(self, run, identities=None):
        self.path = pathlib.Path(run) / "router" / "router.sock"
        self.path.parent.mkdir(exist_ok=True)
        self.identities = identities
        self.generation = 0
        self._lock = threading.Lock()
        self._watchers = []
        self._listener = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self._listener.bind(str(self.path))
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn):
        frames = Frames(conn)
        with contextlib.suppress(OSError):
            while (message := frames.receive()) is not None:
                assert message["method"] == "Identities", message
                with self._lock:
                    self._watchers.append(frames)
                    if self.identities is not None:
                        self._tell(frames)

    def _tell(self, frames):
        with contextlib.suppress(OSError):
            frames.send({"parameters": {**self.identities, "generation": self.generation}, "continues": True})

    def set(self, identities):
        with self._lock:
            self.identities = identities
            self.generation += 1
            for w in self._watchers:
                self._tell(w)

    def close(self):
        # shutdown wakes the thread in accept(), which close() alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for w in self._watchers:
                with contextlib.suppress(OSError):
                    w.sock.shutdown(socket.SHUT_RDWR)
                w.sock.close()
            self._watchers.clear()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()


def openssl(*args, input=None, ok=True):
    r = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, timeout=kvmesh.DEADLINE, input=input)
    if ok and r.returncode != 0:
        raise AssertionError(f"openssl {' '.join(map(str, args))}:\n{r.stdout}{r.stderr}")
    return r


def is_root():
    return os.geteuid() == 0


__all__ = [n for n in dir(sys.modules[__name__]) if not n.startswith("_")]
