# SPDX-License-Identifier: Apache-2.0
"""A writer of MaxMind database files (format 2.0, public), for tests: networks and their countries."""
import ipaddress
import os
import struct

MARKER = b"\xab\xcd\xefMaxMind.com"
STRING, UINT16, UINT32, MAP, UINT64, ARRAY = 2, 5, 6, 7, 9, 11


def _head(kind, n):
    ext = b"" if kind < 8 else bytes([kind - 7])
    first = (kind << 5 if kind < 8 else 0) | min(n, 29)
    assert n < 29 + 256
    return bytes([first]) + ext + (bytes([n - 29]) if n >= 29 else b"")


def _number(kind, v):
    raw = v.to_bytes((v.bit_length() + 7) // 8, "big")
    return _head(kind, len(raw)) + raw


def encode(v):
    if isinstance(v, str):
        raw = v.encode()
        return _head(STRING, len(raw)) + raw
    if isinstance(v, int):
        return _number(UINT32, v)
    if isinstance(v, tuple):                    # (kind, number)
        return _number(*v)
    if isinstance(v, list):
        return _head(ARRAY, len(v)) + b"".join(encode(x) for x in v)
    return _head(MAP, len(v)) + b"".join(encode(k) + encode(x) for k, x in v.items())


def geolite(code):
    return {"continent": {"code": "EU"}, "country": {"geoname_id": 1, "iso_code": code}}


def _bits(net):
    v6 = net.version == 6
    n = net.prefixlen if v6 else 96 + net.prefixlen
    value = int(net.network_address)
    return [value >> (127 - i) & 1 for i in range(n)]


def build(networks, record_size=28, row=geolite, kind="Test-Country"):
    """networks: {"203.0.113.0/24": "DE", …}; the longer prefixes win. Returns bytes."""
    nodes, data, offsets = [[None, None]], b"", {}
    for text, code in sorted(networks.items(), key=lambda kv: len(_bits(ipaddress.ip_network(kv[0])))):
        if code not in offsets:
            offsets[code] = len(data)
            data += encode(row(code))
        leaf, at, bits = ("data", offsets[code]), 0, _bits(ipaddress.ip_network(text))
        for b in bits[:-1]:
            if not isinstance(nodes[at][b], int):
                nodes.append([nodes[at][b], nodes[at][b]])
                nodes[at][b] = len(nodes) - 1
            at = nodes[at][b]
        nodes[at][bits[-1]] = leaf
    n = len(nodes)

    def value(r):
        return n if r is None else r if isinstance(r, int) else n + 16 + r[1]

    tree = b""
    for left, right in ((value(a), value(b)) for a, b in nodes):
        if record_size == 28:
            tree += (left & 0xffffff).to_bytes(3, "big") + bytes([left >> 24 << 4 | right >> 24]) + \
                (right & 0xffffff).to_bytes(3, "big")
        else:
            tree += left.to_bytes(record_size // 8, "big") + right.to_bytes(record_size // 8, "big")
    meta = {"binary_format_major_version": (UINT16, 2), "binary_format_minor_version": (UINT16, 0),
            "build_epoch": (UINT64, 1700000000), "database_type": kind, "description": {"en": "test"},
            "ip_version": (UINT16, 6), "languages": ["en"], "node_count": n, "record_size": (UINT16, record_size)}
    return tree + bytes(16) + data + MARKER + encode(meta)


def write(path, networks, **more):
    """Beside it and renamed, as a good updater does."""
    new = f"{path}.new"
    with open(new, "wb") as f:
        f.write(build(networks, **more))
    os.replace(new, path)
    return path


if __name__ == "__main__":
    import sys
    write(sys.argv[1], dict(a.split("=") for a in sys.argv[2:]))
