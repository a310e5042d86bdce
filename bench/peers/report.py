#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes BENCHMARKS.md and its pictures of the JSON that the measurements wrote.

    bench/peers/report.py DIR      reads DIR/benchmarks/{peers,host,ingress,packets}.json, writes DIR/BENCHMARKS.md
                                   and DIR/benchmarks/*.svg (where gnuplot is installed)
"""
import json
import os
import shutil
import subprocess
import sys
import time

THROUGHPUT = [8, 64, 256, 1024]
ROUND_TRIP = [56, 64]


def load(directory, name):
    path = os.path.join(directory, "benchmarks", name + ".json")
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def human(value):
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {letter}"
    return f"{value:.3g}"


def span(ns):
    for factor, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if ns >= factor:
            return f"{ns / factor:.3g} {unit}"
    return f"{ns:.3g} ns"


def cell_text(cell, is_rate):
    if cell is None:
        return ""
    if cell["failed"]:
        return "failed"
    value = human(cell["value"]["median"]) if is_rate else f"{cell['value']['median']:.0f}"
    return f"{value} ({cell['ratio']['median']:.2f} ±{100 * cell['ratio']['spread']:.0f} %)"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def throughput_table(run):
    rows = [["*limit: two bare cores*"] + [human(run["limits"][f"throughput.{size}"]["median"]) for size in THROUGHPUT]]
    for peer in run["peers"]:
        cells = [peer["cells"].get(f"throughput.{size}") for size in THROUGHPUT]
        if any(cells):
            rows.append([peer["title"]] + [cell_text(cell, True) for cell in cells])
    return table(["events/s"] + [f"{size} B" for size in THROUGHPUT], rows)


def round_trip_table(run):
    rows = [["*limit: two bare cores*"] + [f"{run['limits'][f'rtt.{size}']['median']:.0f}" for size in ROUND_TRIP] + [""]]
    for peer in run["peers"]:
        cells = [peer["cells"].get(f"rtt.{size}") for size in ROUND_TRIP]
        if peer["batches"] or not any(cells):
            continue
        last = cells[-1]
        tail = "" if last["failed"] else f"{last['percentiles_ns']['p99']} / {last['percentiles_ns']['p99.9']}"
        rows.append([peer["title"]] + [cell_text(cell, False) for cell in cells] + [tail])
    return table(["round trip, ns"] + [f"{size} B" for size in ROUND_TRIP] + ["64 B: p99 / p99.9"], rows)


def settings_table(run):
    return table(["peer", "version", "how it is used"],
                 [[peer["title"], peer["version"], peer["settings"]] for peer in run["peers"]])


def results_table(run):
    """hugebus bench and hugebus bench ingress: a row each, beside their limits."""
    rows = []
    for result in run["results"]:
        if result["failed"]:
            rows.append([result["title"], "failed", "", "", ""])
            continue
        unit = result["unit"]
        number = span if unit == "ns" else (lambda v: f"{v if v > 1e-6 else 0:.3g}") if result["lower_is_better"] else human
        name = "" if unit == "ns" else " " + unit
        limit = ratio = spread = ""
        if "limit" in result and result["limit"]["samples"]:
            limit = f"{number(result['limit']['median'])} ({result['limit_name']})"
            ratio = f"{result['ratio']['median']:.2f}"
            spread = f"±{100 * result['ratio']['spread']:.0f} %"
        title = result["title"] + (" (oversubscribed)" if result.get("oversubscribed") else "")
        rows.append([title, f"{number(result['value']['median'])}{name}", limit, ratio, spread])
        if "p99_ratio" in result:
            rows.append([result["title"] + ": p99", number(result["p99"]["median"]), f"{number(result['limit_p99']['median'])} (its p99)",
                         f"{result['p99_ratio']['median']:.2f}", f"±{100 * result['p99_ratio']['spread']:.0f} %"])
        if "total" in result:
            rows.append([f"{result['title']}: {result['total_name']}", f"{number(result['total']['median'])}{name}", "", "", ""])
    return table(["measure", "median", "limit", "ratio", "spread"], rows)


def colour(label):
    if label.startswith("hugebus"):
        return 0xC0504D
    return 0x909090 if label == "two bare cores" else 0x4682B4


PACKETS = {
    "kernel.recvmmsg": "kernel UDP, recvmmsg of 64",
    "kernel.af_packet": "af_packet, TPACKET_V3",
    "kernel.af_xdp": "raw AF_XDP, copy mode, read in place",
    "ingress.port.bare": "DPDK net_af_xdp, received only",
    "ingress.port.publish": "**hugebus-ingress**: parsed, routed, published",
    "ingress.port.read": "**hugebus-ingress**: and read by a subscriber",
    "kernel.gso_gro": "kernel UDP, 64 datagrams a parcel (GSO, GRO): never split",
}


def packets_table(run):
    found = {result["name"]: result for result in run["results"]}
    bare = found.get("ingress.port.bare", {}).get("median", 0)
    rows = []
    for name, title in PACKETS.items():
        result = found.get(name)
        if result is None or result["failed"]:
            rows.append([title, "failed", "", ""])
            continue
        rows.append([title, human(result["median"]), f"{result['median'] / bare:.2f}" if bare else "",
                     f"{human(min(result['samples']))} to {human(max(result['samples']))}"])
    return table(["60 B frames over veth, packets/s", "median", "beside the bare loop", "range"], rows)


def draw(directory, name, title, unit, bars):
    """One picture: a horizontal bar each, on a logarithmic axis."""
    if not shutil.which("gnuplot"):
        return False
    bars = list(reversed(bars))
    data = "\n".join(f'{i} {value:.6g} "{label}" {colour(label)}' for i, (label, value) in enumerate(bars))
    low = min(value for _, value in bars) / 2
    script = f"""
set terminal svg size 860,{60 + 26 * len(bars)} font 'sans,12' noenhanced background '#ffffff'
set output '{os.path.join(directory, "benchmarks", name)}.svg'
set title '{title}'
set xlabel '{unit}'
set logscale x
set format x '%.0s %c'
set xrange [{low:.6g}:*]
set yrange [-0.7:{len(bars) - 0.3}]
set grid x
unset key
set style fill solid 0.85 noborder
set lmargin 32
$data << EOD
{data}
EOD
plot $data using ({low:.6g}):0:({low:.6g}):2:($0-0.38):($0+0.38):4:yticlabel(3) with boxxyerror linecolor rgb variable
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
    return True


def pictures(directory, run):
    lines = []
    for size in (8, 64, 1024):
        name = f"throughput.{size}"
        bars = [("two bare cores", run["limits"][name]["median"])]
        bars += [(peer["title"], peer["cells"][name]["value"]["median"]) for peer in run["peers"]
                 if name in peer["cells"] and not peer["cells"][name]["failed"]]
        if draw(directory, f"throughput-{size}", f"{size} B events between two processes", "events/s", bars):
            lines.append(f"![{size} B events a second](benchmarks/throughput-{size}.svg)")
    bars = [("two bare cores", run["limits"]["rtt.64"]["median"])]
    bars += [(peer["title"], peer["cells"]["rtt.64"]["value"]["median"]) for peer in run["peers"]
             if not peer["batches"] and "rtt.64" in peer["cells"] and not peer["cells"]["rtt.64"]["failed"]]
    if draw(directory, "round-trip-64", "round trip of 64 B", "ns", bars):
        lines.append("![round trips](benchmarks/round-trip-64.svg)")
    return "\n".join(lines)


def machine(run):
    name = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}; Linux {run['kernel']}; {run['cores']}"


def page(directory):
    peers, host, ingress, packets = (load(directory, name) for name in ("peers", "host", "ingress", "packets"))
    if peers is None:
        sys.exit("report.py: no peers.json in " + directory)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "notes.md"), encoding="utf-8") as file:
        notes = file.read()
    parts = [
        "# Benchmarks",
        "Written by `bench/peers/run`; do not edit. All candidates take turns in every repetition, on the same two pinned cores, "
        "with the same work: every word of an event is written, read and checked, and the number of the event must be the next. "
        "In brackets: the ratio to what two bare cores do in the same second (a streaming loop, a ping-pong of one or "
        "two cache lines), its median and half the distance of its quartiles. Look at the ratios: the same machine "
        "differs from hour to hour.",
        f"Machine: {machine(peers)}. {time.strftime('%Y-%m-%d')}, hugebus {peers['version']}, {peers['repeats']} "
        f"repetitions of {peers['duration_ms']} ms; {100 * peers['noise']:.0f} % of the CPU time was busy before the run"
        + (" (**not quiet**)" if peers["noise"] > 0.1 else "") + ".",
        "## Between two processes", throughput_table(peers), round_trip_table(peers), pictures(directory, peers),
        "## How each is used", settings_table(peers),
    ]
    if host:
        parts += ["## hugebus beside the limits (`hugebus bench`)", results_table(host)]
    if packets:
        parts += ["## Packets over a veth pair", "The generator (frames that XDP makes) has one core, the receiver the other; one "
                  "after the other in each repetition. What comes before the receiver on its way, veth and its softirq, is "
                  "in all of them and is the limit of most.", packets_table(packets)]
    if ingress:
        parts += ["## Packets (`hugebus bench ingress`)", results_table(ingress)]
    parts.append(notes)
    with open(os.path.join(directory, "BENCHMARKS.md"), "w", encoding="utf-8") as file:
        file.write("\n\n".join(part.strip() for part in parts if part) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    page(sys.argv[1])
