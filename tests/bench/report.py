#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tables for people from what `bench.py --json FILE` kept: report.py FILE… [--record] (into tests/bench/README.md)."""

import argparse
import json
import pathlib

README = pathlib.Path(__file__).with_name("README.md")
BEGIN, END = "<!-- report: begin -->\n", "<!-- report: end -->\n"


def number(x):
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def ratios(rows):
    """CPU, or p99 of an open loop: kvmesh's figure and its share of each peer's."""
    names = [n for n in dict.fromkeys(n for r in rows for n in r["stacks"]) if n != "kvmesh"]
    lines = ["| scenario | kvmesh | " + " | ".join("÷ " + n for n in names) + " |", "|---" * (len(names) + 2) + "|"]
    for r in rows:
        stacks = r["stacks"]
        if "kvmesh" not in stacks:
            continue
        key = r["key"]
        mine = stacks["kvmesh"][key]
        unit = "ms p99" if key == "p99" else "µs/" + r["unit"]
        shown = f"{mine / 1e6:.2f} s/GiB" if r["unit"] == "GiB" else f"{number(mine)} {unit}"
        best = min((stacks[n][key] for n in names if n in stacks), default=0)
        cells = []
        for n in names:
            if n not in stacks:
                cells.append("–")
                continue
            cell = f"{mine / stacks[n][key]:.2f}" if stacks[n][key] else "–"
            cells.append(f"**{cell}**" if stacks[n][key] == best else cell)
        lines.append(f"| {r['title']} | {shown} | " + " | ".join(cells) + " |")
    return lines


def idle(table):
    lines = ["| idle connection, kB of Pss | " + " | ".join(table) + " |", "|---" * (len(table) + 1) + "|"]
    for key, title in (("plain", "plaintext"), ("mtls", "mTLS")):
        lines.append(f"| {title} | " + " | ".join(f"{t[key]:.2f}" for t in table.values()) + " |")
    return lines


def match(got):
    lines = ["| finding the route | ns |", "|---|---|"]
    for part in got.values():
        lines += [f"| {name} | {ns:.0f} |" for name, ns in part.items() if name != "end"]
    return lines


def suite(got):
    pss = {name: figures[1] / 1024 for name, figures in got["memory_kb"].items()}
    total = sum(pss.values())
    times = sorted(got["save_to_ack_ms"])
    return ["| at rest with the demo's configuration, MB of Pss | " + " | ".join(pss) + " | total |", "|---" * (len(pss) + 2) + "|",
            "| | " + " | ".join(f"{v:.1f}" for v in pss.values()) + f" | {total:.1f} |", "",
            f"From saving a file to the last proxy's ack: median {times[len(times) // 2]:.0f} ms, slowest {times[-1]:.0f} ms."]


def report(got):
    parts = [f(got[k]) for k, f in (("throughput", ratios), ("idle", idle), ("match", match), ("suite", suite)) if k in got]
    return "\n\n".join("\n".join(p) for p in parts) + "\n"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("files", metavar="FILE", nargs="+", help="of one run, or of several that each did a part of the scenarios")
    p.add_argument("--record", action="store_true")
    args = p.parse_args()
    got = {}
    for f in args.files:
        got.update(json.loads(pathlib.Path(f).read_text()))
    text = report(got)
    if args.record:
        before, rest = README.read_text().split(BEGIN)
        README.write_text(before + BEGIN + text + END + rest.split(END)[1])
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
