#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes BENCHMARKS.md and its pictures of the JSON that the measurements wrote.

    bench/peers/report.py DIR      reads DIR/benchmarks/{peers,host,ingress,packets,gaps}.json, writes DIR/BENCHMARKS.md
                                   and DIR/benchmarks/*.svg (where gnuplot is installed), and prints what failed
"""
import json
import os
import shutil
import subprocess
import sys
import time

from figures import apart, figure, human, is_moving, side, sides, span, spread, table
from targets import targets

THROUGHPUT = [8, 64, 256, 1024]
ROUND_TRIP = [56, 64]


def load(directory, name):
    path = os.path.join(directory, "benchmarks", name + ".json")
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def cell_text(cell, distance, is_rate):
    if cell is None:
        return ""
    if cell["failed"]:
        return "failed"
    found = side(cell, distance)
    if found is None:
        return "–"
    value = human(found["value"]["median"]) if is_rate else f"{found['value']['median']:.0f}"
    return f"{value} ({found['ratio']['median']:.2f}{spread(found['ratio'])})"


def limit_text(run, name, distance, is_rate):
    found = side({"failed": False, **run["limits"][name]}, distance)
    if found is None:
        return "–"
    return human(found["value"]["median"] if "value" in found else found["median"]) if is_rate else f"{found['value']['median']:.0f}"


def throughput_table(run, distance):
    rows = [["*limit: two bare cores*"] + [limit_text(run, f"throughput.{size}", distance, True) for size in THROUGHPUT]]
    for peer in run["peers"]:
        cells = [peer["cells"].get(f"throughput.{size}") for size in THROUGHPUT]
        if any(cells):
            rows.append([peer["title"]] + [cell_text(cell, distance, True) for cell in cells])
    return table([f"events/s, {apart(run, distance)}"] + [f"{size} B" for size in THROUGHPUT], rows)


def tail_text(cell, distance):
    found = side(cell, distance)
    if found is None or "percentiles_ns" not in found:
        return ""
    return " / ".join(span(found["percentiles_ns"][name]) for name in ("p99", "p99.9", "p99.99") if name in found["percentiles_ns"])


def round_trip_table(run, distance):
    rows = [["*limit: two bare cores*"] + [limit_text(run, f"rtt.{size}", distance, False) for size in ROUND_TRIP] + [""]]
    for peer in run["peers"]:
        cells = [peer["cells"].get(f"rtt.{size}") for size in ROUND_TRIP]
        if peer["batches"] or not any(cells):
            continue
        rows.append([peer["title"]] + [cell_text(cell, distance, False) for cell in cells] + [tail_text(cells[-1], distance)])
    return table([f"round trip, ns, {apart(run, distance)}"] + [f"{size} B" for size in ROUND_TRIP]
                 + ["64 B: p99 / p99.9 / p99.99"], rows)


def settings_table(run):
    return table(["peer", "version", "how it is used"],
                 [[peer["title"], peer["version"], peer["settings"]] for peer in run["peers"]])


class Legend:
    """A letter for each limit; what they mean stands below the table."""

    def __init__(self):
        self.names = []

    def letter(self, name):
        if name not in self.names:
            self.names.append(name)
        return chr(ord("a") + self.names.index(name))

    def text(self):
        return "; ".join(f"{chr(ord('a') + i)}: {name}" for i, name in enumerate(self.names)) + "."


def result_rows(result, distance, legend, n_columns):
    """A row, and what else was measured with it."""
    unit, found = result["unit"], side(result, distance)
    title = result["title"] + (" (oversubscribed)" if result.get("oversubscribed") else "")
    start = [title] + ([distance or ""] if n_columns == 6 else [])
    rest = ["", "", ""]
    if "limit" in found:
        rest = [f"{figure(found['limit']['median'], unit)} {legend.letter(result['limit_name'])}",
                f"{found['ratio']['median']:.2f}", spread(found["ratio"]).strip()]
    rows = [start + [figure(found["value"]["median"], unit)] + rest]
    more = [result["title"]] + start[1:]
    if "p99_ratio" in found:
        rows.append([more[0] + ": p99"] + more[1:] + [figure(found["p99"]["median"], unit), f"{figure(found['limit_p99']['median'], unit)} (its p99)",
                    f"{found['p99_ratio']['median']:.2f}", spread(found["p99_ratio"]).strip()])
    if "total" in found:
        rows.append([f"{more[0]}: {result['total_name']}"] + more[1:] + [figure(found["total"]["median"], unit), "", "", ""])
    return rows


def results_table(run):
    """hugebus bench and hugebus bench ingress: a row each, or one for each distance, beside their limits."""
    legend, rows = Legend(), []
    head = ["measure"] + (["cores"] if is_moving(run) else []) + ["median", "limit", "ratio", "spread"]
    for result in run["results"]:
        if result["failed"]:
            rows.append([result["title"], "failed"] + [""] * (len(head) - 2))
            continue
        found = [distance for distance in sides(run) if side(result, distance)] if is_moving(run) else []
        for distance in found or [None]:
            rows += result_rows(result, distance, legend, len(head))
    return table(head, rows) + "\n\n" + legend.text()


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


def bars_of(run, name, distance, is_rate):
    bars = [("two bare cores", side({"failed": False, **run["limits"][name]}, distance))]
    bars += [(peer["title"], side(peer["cells"].get(name), distance)) for peer in run["peers"] if is_rate or not peer["batches"]]
    return [(label, found["value"]["median"]) for label, found in bars if found]


def pictures(directory, run):
    """Of each distance that the run has met; those of another are removed."""
    lines = []
    for old in os.listdir(os.path.join(directory, "benchmarks")):
        if old.endswith(".svg"):
            os.unlink(os.path.join(directory, "benchmarks", old))
    kinds = [(f"throughput.{size}", f"{size} B events between two processes", "events/s") for size in (8, 64, 1024)]
    for name, title, unit in kinds + [("rtt.64", "round trip of 64 B", "ns")]:
        for distance in sides(run):
            bars = bars_of(run, name, distance, unit == "events/s")
            file = name.replace("rtt", "round-trip").replace(".", "-") + (f"-{distance}" if distance else "")
            if len(bars) > 1 and draw(directory, file, f"{title}, {apart(run, distance)}", unit, bars):
                lines.append(f"![{title}, {apart(run, distance)}](benchmarks/{file}.svg)")
    return "\n".join(lines)


def machine(run):
    name = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}; Linux {run['kernel']}; {run['cores']}"


INTRODUCTION = """Written by `bench/peers/run`; do not edit. All candidates take turns in every repetition, on the same two pinned
cores, with the same work: every word of an event is written, read and checked, and the number of the event must be the next. In
brackets: the ratio to what two bare cores do in the same second (a streaming loop, a ping-pong of one or two cache lines), its median and half the
distance of its quartiles. Look at the ratios: the same machine differs from hour to hour."""


def quiet(run, name):
    """How still the machine was during @run, and whether its host moved the CPUs."""
    state = f"was not quiet: {run['warning']}" if run.get("warning") else f"had a quiet machine ({100 * run['noise']:.0f} % busy before)"
    text = f"{name} {state}"
    if is_moving(run):
        place = run["placement"]
        text += (f"; the host of this machine moved its two CPUs meanwhile, between near ({place['near_ns']:.0f} ns for a line there and back, "
                 f"{place['n_near']} of {place['n_near'] + place['n_far']} looks) and far ({place['far_ns']:.0f} ns): each "
                 "figure between two cores is given for both, from those repetitions that began and ended there")
    return text + "."


def failures(peers, host, ingress, packets, gaps):
    """Each as a sentence: what could not be measured, and why."""
    found = [f"all of {name}.json: {reason}" for name, reason in (gaps or {}).items()]
    found += [f"the limit of `{name}`" for name, limit in peers["limits"].items() if not limit["value"]["samples"]] if peers else []
    for peer in peers["peers"] if peers else []:
        found += [f"{peer['title']}, `{name}`: {cell.get('reason', 'failed')}" for name, cell in peer["cells"].items() if cell["failed"]]
    for result in [result for run in (host, ingress) if run for result in run["results"]]:
        if result["failed"]:
            found.append(f"{result['title']}, `{result['name']}`: {result.get('reason', 'failed')}")
    for result in packets["results"] if packets else []:
        if result["failed"]:
            found.append(f"{PACKETS.get(result['name'], result['name'])}, `{result['name']}`: failed in a repetition")
    return found


def gap_text(found):
    return "**Not all was measured.** What failed in this run, and is missing below:\n\n" + "\n".join(f"- {text}" for text in found) if found else ""


def page_head(peers, host, ingress):
    run = peers or host or ingress
    count = f"{run['repeats']} repetition{'s' if run['repeats'] > 1 else ''}" + (f" of {run['duration_ms']} ms" if "duration_ms" in run else "")
    states = [quiet(each, name) for each, name in ((peers, "The peers' run"), (host, "`hugebus bench`")) if each]
    return f"Machine: {machine(run)}. {time.strftime('%Y-%m-%d')}, hugebus {run['version']}, {count}. " + " ".join(states)


def peers_parts(directory, peers):
    parts = ["## Between two processes"]
    for distance in sides(peers):
        parts += [throughput_table(peers, distance), round_trip_table(peers, distance)]
    parts += [pictures(directory, peers), "## How each is used", settings_table(peers)]
    if peers.get("left_out"):
        parts.append("Not in this run: " + "; ".join(f"{peer['title']} ({peer['reason']})" for peer in peers["left_out"]) + ".")
    return parts


def page(directory):
    peers, host, ingress, packets, gaps = (load(directory, name) for name in ("peers", "host", "ingress", "packets", "gaps"))
    if not (peers or host or ingress):
        sys.exit("report.py: no results in " + directory)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "notes.md"), encoding="utf-8") as file:
        notes = file.read()
    found = failures(peers, host, ingress, packets, gaps)
    parts = ["# Benchmarks", INTRODUCTION, page_head(peers, host, ingress), gap_text(found), targets(host, peers, ingress, packets)]
    parts += peers_parts(directory, peers) if peers else []
    if host:
        parts += ["## hugebus beside the limits (`hugebus bench`)", results_table(host)]
    if packets:
        parts += ["## Packets over a veth pair", "The generator (frames that XDP makes) has one core, the receiver the other; one "
                  "after the other in each repetition. What comes before the receiver on its way, veth and its softirq, is "
                  "in all of them and is the limit of most.", packets_table(packets)]
    if ingress:
        parts += ["## Packets (`hugebus bench ingress`)", results_table(ingress)]
    if not (packets and ingress):
        parts.append("Packets are not all in this run: those over a veth pair need root, and all a build with DPDK.")
    parts.append(notes)
    with open(os.path.join(directory, "BENCHMARKS.md"), "w", encoding="utf-8") as file:
        file.write("\n\n".join(part.strip() for part in parts if part) + "\n")
    for text in found:
        print("Failed: " + text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    page(sys.argv[1])
