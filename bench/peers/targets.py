# SPDX-License-Identifier: BSD-3-Clause
"""The first table of the page: what hugebus is to reach, what it reaches in this run, and what is in the way.

A row is true of this run or says that it is not: limits that explain a row are figures of the same run.
"""
from figures import figure, human, is_moving, side, sides, table

COPY = "a bare loop that fills and copies, no bus"
MOVES = "a bare line that moves, as a ring's must"


class Run:
    """The measurements by name."""

    def __init__(self, host, peers, ingress, packets):
        self.host, self.peers = host, peers
        self.results = {r["name"]: r for run in (host, ingress) if run for r in run["results"]}
        self.packets = {r["name"]: r for r in packets["results"]} if packets else {}

    def side(self, name, distance):
        return side(self.results.get(name), distance)

    def ratio(self, name, distance):
        found = self.side(name, distance)
        return found["ratio"]["median"] if found and "ratio" in found else None

    def best_peer(self, distance):
        """The fastest that takes one call an event, and the ratio of hugebus to it; both as in the peers' run."""
        if not self.peers:
            return None
        rates = {}
        for peer in self.peers["peers"]:
            found = side(peer["cells"].get("throughput.64"), distance if is_moving(self.peers) else None)
            if found and not peer["batches"]:
                rates[peer["name"]] = (found["value"]["median"], peer["title"])
        own = rates.get("hugebus.single")
        others = [rate for name, rate in rates.items() if not name.startswith("hugebus")]
        return (own[0] / max(others)[0], max(others)[1]) if own and others else None


def verdict(text, is_reached):
    return f"{text}, yes" if is_reached else f"{text}, **no**"


def ratio_row(run, name, low=None, high=None, why=None, bound=None):
    """@low, @high: what its ratio to the limit is to be. @why: what is in the way when it is not; @bound: whose ratio says how much."""
    target = f">= {low:.2f}" if low is not None else f"<= {high:.2f}"
    cells, bounds, is_short = [], [], False
    for distance in sides(run.host):
        ratio, found = run.ratio(name, distance), run.side(name, distance)
        if ratio is None:
            cells.append("")
            continue
        is_reached = ratio >= low if low is not None else ratio <= high
        cells.append(verdict(f"{ratio:.2f} ({figure(found['value']['median'], run.results[name]['unit'])})", is_reached))
        if not is_reached:
            is_short = True
            limit = run.ratio(bound, distance) if bound else None
            bounds += [f"{distance + ' ' if distance else ''}{limit:.2f}"] if limit else []
    reason = why + (": " + ", ".join(bounds) if bounds else "") if is_short and why else ""
    return [run.results[name]["title"], target] + cells + [reason] if name in run.results else None


def p99_row(run, name):
    cells = []
    for distance in sides(run.host):
        found = run.side(name, distance)
        ok = found and "p99_ratio" in found
        cells.append(verdict(f"{found['p99_ratio']['median']:.2f}", found["p99_ratio"]["median"] <= 2) if ok else "")
    return [run.results[name]["title"] + ": p99", "<= 2.00"] + cells + [""] if name in run.results else None


def peer_row(run):
    cells = []
    for distance in sides(run.host):
        best = run.best_peer(distance)
        cells.append(verdict(f"{best[0]:.2f} ({best[1]})", best[0] >= 1.5) if best else "")
    return ["64 B, one by one: beside the best peer", ">= 1.50"] + cells + [""]


def between_cores(run):
    rows = [
        ratio_row(run, "throughput.8.run", low=0.30),
        ratio_row(run, "throughput.64.run", low=0.65, why=COPY, bound="machine.copied.64"),
        ratio_row(run, "throughput.64.run.place", low=0.65),
        ratio_row(run, "throughput.8.single", low=0.60),
        ratio_row(run, "throughput.64.single", low=0.35, why=COPY, bound="machine.copied.64"),
        peer_row(run),
        ratio_row(run, "throughput.256.single", low=0.80, why=COPY, bound="machine.copied.256"),
        ratio_row(run, "throughput.1024.single", low=0.80, why=COPY, bound="machine.copied.1024"),
        ratio_row(run, "throughput.256.place", low=0.80),
        ratio_row(run, "throughput.1024.place", low=0.80),
        ratio_row(run, "throughput.256.run.place", low=0.80),
        ratio_row(run, "throughput.1024.run.place", low=0.80),
        ratio_row(run, "rtt.56", high=1.10, why=MOVES, bound="machine.moving.56"),
        ratio_row(run, "rtt.64", high=1.20, why=MOVES, bound="machine.moving.64"),
        p99_row(run, "rtt.56"),
        p99_row(run, "rtt.64"),
        ratio_row(run, "stopped.rate", low=0.95, why="each reader is one more to look at"),
        ratio_row(run, "stopped.p99", high=1.05),
    ]
    head = ["between two cores: ratio to the limit", "to reach"] + [distance or "this run" for distance in sides(run.host)]
    return table(head + ["what is in the way"], [row for row in rows if row])


# -- the rest: one figure each --

def value_row(run, name, text, is_reached, why=""):
    found = run.side(name, None)
    if not found:
        return None
    value = found["value"]["median"]
    return [run.results[name]["title"], text, verdict(figure(value, run.results[name]["unit"]), is_reached(value)),
            "" if is_reached(value) else why]


def above_row(run):
    found = run.side("ingress.ring.publish.cost", None)
    if not found:
        return None
    above = found["above"]["median"]
    return ["a packet: parse, route, publish, above a trivial parse", "<= 25 ns", verdict(f"{above:.1f} ns", above <= 25), ""]


def veth_row(run):
    bare, publish = (run.packets.get("ingress.port." + name, {}).get("median") for name in ("bare", "publish"))
    if not bare or not publish:
        return None
    return ["packets over veth: published, beside received only", ">= 0.95", verdict(f"{publish / bare:.2f}", publish / bare >= 0.95), ""]


def drop_row(run):
    found = run.side("ingress.xdp.unwanted.cost", None)
    if not found:
        return None
    cost, bare = found["value"]["median"], found["limit"]["median"]
    reason = f"test-running a program that drops at once: {bare:.0f} ns; above it {cost - bare:.0f}" if cost > 30 else ""
    return ["a packet dropped in XDP", "<= 30 ns", verdict(f"{cost:.0f} ns", cost <= 30), reason]


def broadcast_row(run):
    totals = []
    for n in (1, 2, 4, 8):
        found = run.side(f"broadcast.{n}", None)
        if found:
            fair = found["value"]["median"] * n / found["total"]["median"] if "total" in found else 1
            totals.append((n, found.get("total", found["value"])["median"], fair, run.results[f"broadcast.{n}"]["oversubscribed"]))
    if not totals:
        return None
    text = ", ".join(f"{n}: {human(total)}" + (" (oversubscribed)" if over else "") for n, total, _, over in totals)
    fair = min(entry[2] for entry in totals)
    return ["broadcast to N readers: all together; the slowest's share of an equal part", "none starves (> 0.5)",
            verdict(f"{text}; {fair:.2f}", fair > 0.5), ""]


def the_rest(run):
    rows = [
        ratio_row_single(run, "wake.64", 1.15),
        value_row(run, "calls", "0", lambda value: value < 0.001),
        value_row(run, "open.first", "< 5 ms", lambda value: value < 5e6),
        value_row(run, "attach", "< 2 ms", lambda value: value < 2e6),
        value_row(run, "idle", "< 0.1 %", lambda value: value < 0.1, "for its first 0.3 s it looks after its publishers 20 times a second"),
        broadcast_row(run),
        value_row(run, "broadcast.2.run", "each >= 66 M/s (twice Aeron's 33)", lambda value: value >= 66e6),
        above_row(run),
        value_row(run, "ingress.ring.publish", ">= 20 M/s", lambda value: value >= 20e6),
        veth_row(run),
        drop_row(run),
        value_row(run, "ingress.xdp.live", ">= 3 M/s", lambda value: value >= 3e6),
    ]
    return table(["the rest", "to reach", "this run", "what is in the way"], [row for row in rows if row])


def ratio_row_single(run, name, high):
    ratio = run.ratio(name, None)
    if ratio is None:
        return None
    found = run.side(name, None)
    return [run.results[name]["title"] + ", beside a bare futex", f"<= {high:.2f}",
            verdict(f"{ratio:.2f} ({figure(found['value']['median'], 'ns')})", ratio <= high), ""]


def count(tables):
    """How many of the figures in them are what they are to be."""
    return tables.count(", yes |"), tables.count(", yes |") + tables.count(", **no** |")


def targets(host, peers, ingress, packets):
    """Both tables, or nothing without a run of `hugebus bench`."""
    if not host:
        return ""
    run = Run(host, peers, ingress, packets)
    tables = between_cores(run) + "\n\n" + the_rest(run)
    n_reached, n = count(tables)
    return (f"## What is to be reached, and what is\n\n**{n_reached} of {n} figures of this run are what they are to be.** A ratio is to what bare cores do in the "
            "same second; where a row says **no**, the last column says what bare cores themselves lose to the same thing, or what is in the way; "
            "[shm/DESIGN.md](../shm/DESIGN.md#measured) has the loops that show it.\n\n" + tables)
