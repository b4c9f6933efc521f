# SPDX-License-Identifier: Apache-2.0
"""What every server that a test writes by hand begins with."""

import socket
import threading


class Server:
    """Listens on a port of its own until stop(); serve(connection) runs in a thread for each connection. What serve needs
    must be there before Server.__init__ is called."""

    def __init__(self, backlog=None, address="127.0.0.1"):
        self.sock = socket.create_server((address, 0), backlog=backlog)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        raise NotImplementedError

    def stop(self):
        self.sock.close()
