# SPDX-License-Identifier: Apache-2.0
"""Steady load from threads while something happens to the mesh."""

import http.client
import threading

import kvmesh


class Load:
    """Closed-loop GETs on keep-alive connections. Failures are kept with what was seen."""

    def __init__(self, port, host="my-app", threads=4, path="/"):
        self.port, self.host, self.path = port, host, path
        self.done = 0
        self.failures = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def _run(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=kvmesh.DEADLINE)
        while not self._stop.is_set():
            try:
                c.request("GET", self.path, headers={"Host": self.host})
                r = c.getresponse()
                r.read()
                bad = None if r.status == 200 else f"status {r.status}"
            except (OSError, http.client.HTTPException) as e:
                bad = repr(e)
                c.close()
            with self._lock:
                self.done += 1
                if bad:
                    self.failures.append(bad)
            if bad:
                self._stop.wait(0.01)
        c.close()

    def __enter__(self):
        for t in self._threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for t in self._threads:
            t.join(kvmesh.DEADLINE)

    def more(self, n):
        """Wait until n more requests are done."""
        goal = self.done + n
        kvmesh.wait_for(f"{n} more requests", lambda: self.done >= goal)
