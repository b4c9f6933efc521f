# SPDX-License-Identifier: Apache-2.0
"""A client of workload-api.sock: python3-grpcio in a process of its own (as another user), messages encoded by hand here."""

import base64
import json
import re
import subprocess

NOBODY = 65534
SPIFFE = "/SpiffeWorkloadAPI/"
SDS = "/envoy.service.secret.v3.SecretDiscoveryService/"

# Requests come on standard input, a line each (base64): one, or many when the method is a stream of them. Prints each message
# and at last the status, a line each.
CLIENT = r"""
import base64, json, sys
import grpc
path, method, n, marked, duplex = sys.argv[1:6]
n = int(n)
metadata = [("workload.spiffe.io", "true")] if marked == "1" else []
same = lambda b: b
def lines():
    for line in sys.stdin:
        yield base64.b64decode(line)
with grpc.insecure_channel("unix://" + path, options=[("grpc.max_send_message_length", -1)]) as channel:
    if duplex == "1":
        call = channel.stream_stream(method, same, same)(lines(), metadata=metadata, timeout=120)
    else:
        call = channel.unary_stream(method, same, same)(next(lines()), metadata=metadata, timeout=120)
    try:
        for message in call:
            print(json.dumps({"message": base64.b64encode(message).decode()}), flush=True)
            n -= 1
            if n == 0:
                break
        else:
            print(json.dumps({"code": "OK"}), flush=True)
    except grpc.RpcError as e:
        print(json.dumps({"code": e.code().name, "text": e.details()}), flush=True)
"""


class Call:
    """One call in a process of its own."""

    def __init__(self, path, method="FetchX509SVID", n=0, marked=True, uid=NOBODY, request=b"", duplex=False):
        method = method if method.startswith("/") else SPIFFE + method
        self.popen = subprocess.Popen(["/usr/bin/python3", "-c", CLIENT, str(path), method, str(n),
                                       "1" if marked else "0", "1" if duplex else "0"],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, user=uid,
                                      group=uid, extra_groups=[], cwd="/", env={"PATH": "/usr/bin", "GRPC_VERBOSITY": "NONE"})
        if not duplex:
            self.say(request)

    def next(self):
        line = self.popen.stdout.readline()
        assert line, "the client ended"
        return json.loads(line)

    def message(self):
        got = self.next()
        assert "message" in got, got
        return base64.b64decode(got["message"])

    def say(self, request):
        self.popen.stdin.write(base64.b64encode(request).decode() + "\n")
        self.popen.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.popen.kill()
        self.popen.wait()
        self.popen.stdout.close()
        self.popen.stdin.close()


def ask(path, method, request=b"", **how):
    """The one answer's bytes, or {"code", "text"}."""
    with Call(path, method, request=request, **how) as call:
        got = call.next()
    return base64.b64decode(got["message"]) if "message" in got else got


def varint(v):
    out = b""
    while v >= 0x80:
        out += bytes([v & 0x7F | 0x80])
        v >>= 7
    return out + bytes([v])


def put(*pairs):
    """A message of (number, text, bytes or int)."""
    out = b""
    for number, value in pairs:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def fields(data):
    """[(number, value)] of a message: bytes, or the number of a varint, or the eight bytes of a double."""
    out, at = [], 0

    def number():
        nonlocal at
        v = shift = 0
        while True:
            b = data[at]
            at += 1
            v |= (b & 0x7F) << shift
            shift += 7
            if b < 0x80:
                return v
    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            out.append((tag >> 3, number()))
            continue
        n = {2: number, 1: lambda: 8}[tag & 7]()
        out.append((tag >> 3, data[at:at + n]))
        assert at + n <= len(data)
        at += n
    return out


def certificates(der):
    """Concatenated DER as PEM, one each."""
    out = []
    while der:
        assert der[0] == 0x30 and der[1] == 0x82
        n = 4 + int.from_bytes(der[2:4], "big")
        out.append(subprocess.run(["openssl", "x509", "-inform", "der"], input=der[:n], capture_output=True, check=True).stdout.decode())
        der = der[n:]
    return out


def pems(text):
    """The certificates of a PEM text."""
    return re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", text, re.S)
