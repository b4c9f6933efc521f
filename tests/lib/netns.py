# SPDX-License-Identifier: Apache-2.0
"""A virtual server and a client outside, as two network namespaces joined by a veth. Programs run inside as any user;
a test's own sockets are made inside as any user as well. Needs root."""

import contextlib
import ctypes
import os
import socket
import subprocess

import kvmesh

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000

NODE4, CLIENT4 = "10.77.0.1", "10.77.0.2"
NODE6, CLIENT6 = "fd77::1", "fd77::2"


def ip(*args):
    subprocess.run(["ip", *map(str, args)], check=True, capture_output=True)


class Netns:
    def __init__(self, label):
        self.name = f"kvm-{label}-{os.getpid()}-{kvmesh.free_port()}"
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")

    def command(self, *args, user=None):
        """argv that runs ARGS inside, as USER (root when None)."""
        as_user = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"] if user is not None else []
        return ["nsenter", f"--net=/run/netns/{self.name}", *map(str, as_user), *map(str, args)]

    def run(self, *args, user=None, **kw):
        return subprocess.run(self.command(*args, user=user), capture_output=True, text=True, timeout=kvmesh.DEADLINE, **kw)

    @contextlib.contextmanager
    def entered(self, user=0):
        """This thread is inside, and what it opens is USER's."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            if LIBC.setns(there, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            LIBC.setfsuid(user)
            try:
                yield self
            finally:
                LIBC.setfsuid(0)
                LIBC.setns(here, CLONE_NEWNET)
        finally:
            os.close(here)
            os.close(there)

    def dial(self, host, port, user=0):
        """A connection from inside; OSError when it is refused."""
        with self.entered(user):
            return socket.create_connection((host, port), timeout=kvmesh.DEADLINE)

    def listen(self, host, port, user=0):
        with self.entered(user):
            return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)

    def close(self):
        ip("netns", "del", self.name)


class Pair:
    """node and client, each with its own addresses of both families."""

    def __init__(self):
        self.node = Netns("node")
        self.client = Netns("client")
        a, b = "kvm0", "kvm1"
        ip("-n", self.node.name, "link", "add", a, "type", "veth", "peer", "name", b, "netns", self.client.name)
        for ns, dev, four, six in ((self.node, a, NODE4, NODE6), (self.client, b, CLIENT4, CLIENT6)):
            ip("-n", ns.name, "addr", "add", f"{four}/24", "dev", dev)
            ip("-n", ns.name, "addr", "add", f"{six}/64", "dev", dev, "nodad")
            ip("-n", ns.name, "link", "set", dev, "up")
        ip("-n", self.node.name, "route", "add", "default", "via", CLIENT4)
        # the client's side stands for the world: it has more addresses
        ip("-n", self.client.name, "addr", "add", "192.0.2.10/32", "dev", "lo")

    def close(self):
        self.client.close()
        self.node.close()
