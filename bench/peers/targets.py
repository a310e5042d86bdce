# SPDX-License-Identifier: BSD-3-Clause
"""The first tables of the page: what hugebus is to reach, what it reaches in this run, and what is in the way.

A row is true of this run or says that it is not. What explains a row that falls short is a figure of the same run too, and
the command that shows it stands beside it.
"""
from figures import figure, human, is_moving, side, sides, table

COPY = "a bare loop that fills and copies, no bus"
MOVES = "a bare line that moves, as a ring's must"
TURNS = "the same loop with 8 lines in turn"
RECORDS = "a bare loop that shows each item by itself"
WALK = "walk in L1 x streaming share"


class Run:
    """The measurements by name."""

    def __init__(self, host, peers, ingress, packets):
        self.host, self.peers = host, peers
        self.results = {r["name"]: r for run in (host, ingress) if run for r in run["results"]}
        self.packets = {r["name"]: r for r in packets["results"] if not r["failed"]} if packets else {}

    def side(self, name, distance):
        return side(self.results.get(name), distance)

    def has_failed(self, name):
        return self.results.get(name, {}).get("failed", False)

    def ratio(self, name, distance):
        found = self.side(name, distance)
        return found["ratio"]["median"] if found and "ratio" in found else None

    def beside(self, name, other, distance):
        """What @name is of the limit of @other."""
        found, limit = self.side(name, distance), self.side(other, distance)
        return found["value"]["median"] / limit["limit"]["median"] if found and limit and "limit" in limit else None

    def peer_cells(self, column, distance, has_batches):
        """Of the peers' run: each that has @column, with its title and whether it is hugebus."""
        if not self.peers:
            return []
        where = distance if is_moving(self.peers) else None
        found = [(side(peer["cells"].get(column), where), peer) for peer in self.peers["peers"] if has_batches or not peer["batches"]]
        return [(cell, peer["title"], peer["name"].startswith("hugebus"), peer["name"]) for cell, peer in found if cell]

    def best_peer(self, column, distance, has_batches, is_rate=True):
        """The best of the others: its figures and its title."""
        others = [(cell, title) for cell, title, is_own, _ in self.peer_cells(column, distance, has_batches) if not is_own]
        if not others:
            return None
        return (max if is_rate else min)(others, key=lambda other: other[0]["value"]["median"])

    def peer_text(self, column, has_batches, is_rate=True, has_ratio=True):
        best = {distance: self.best_peer(column, distance, has_batches, is_rate) for distance in sides(self.host)}
        ratio = "{:.2f} ({})" if has_ratio else "{1}"
        parts = [f"{name(distance)}{found[1]} " + ratio.format(found[0]["ratio"]["median"], human(found[0]["value"]["median"]) if is_rate else
                                                              figure(found[0]["value"]["median"], "ns"))
                 for distance, found in best.items() if found]
        return "; ".join(parts)


def name(distance):
    return distance + " " if distance else ""


FAILED = "failed, **no**"


def verdict(text, is_reached):
    return f"{text}, yes" if is_reached else f"{text}, **no**"


def command(pattern):
    return f"`hugebus bench --only '{pattern}'`"


class Bound:
    """What stands in the way of a row: a measurement of the same run that has no bus in it."""

    def __init__(self, text, result, pattern, more=None):
        self.text, self.result, self.pattern, self.more = text, result, pattern, more

    def of(self, run, row, distances):
        """In words, for those distances at which the row falls short; nothing when this run does not have it."""
        def ratios(result):
            found = [(distance, run.beside(result, row, distance)) for distance in distances]
            return ", ".join(f"{name(distance)}{ratio:.2f}" for distance, ratio in found if ratio)
        text = f"{self.text}: {ratios(self.result)}" if ratios(self.result) else self.text
        if self.more and ratios(self.more[1]):
            text += f"; {self.more[0]}: {ratios(self.more[1])}"
        return f"{text}. {command(self.pattern)}"


def ratio_cell(run, row, distance, low, high):
    """Return: the text, and whether it falls short."""
    ratio, found = run.ratio(row, distance), run.side(row, distance)
    if ratio is None:
        return FAILED if run.has_failed(row) and (low or high) else "", False
    text = f"{ratio:.2f} ({figure(found['value']['median'], run.results[row]['unit'])})"
    if low is None and high is None:
        return text, False
    is_reached = ratio >= low if low is not None else ratio <= high
    return verdict(text, is_reached), not is_reached


def ratio_row(run, row, peers, low=None, high=None, bound=None, limit="streaming", target=None):
    """@low, @high: what its ratio to the limit is to be; neither: it stands there beside others, and @target says so."""
    if row not in run.results:
        return None
    text = target or (f">= {low:.2f}" if low is not None else f"<= {high:.2f}")
    cells = [ratio_cell(run, row, distance, low, high) for distance in sides(run.host)]
    short = [distance for distance, (_, is_short) in zip(sides(run.host), cells) if is_short or (target and bound)]
    reason = bound.of(run, row, short) if bound and short else ""
    return [run.results[row]["title"], limit, peers, text] + [cell for cell, _ in cells] + [reason]


def p99_row(run, row):
    cells = []
    for distance in sides(run.host):
        found = run.side(row, distance)
        ok = found and "p99_ratio" in found
        cells.append(verdict(f"{found['p99_ratio']['median']:.2f}", found["p99_ratio"]["median"] <= 2) if ok else FAILED if run.has_failed(row) else "")
    return [run.results[row]["title"] + ": p99", "the ping-pong's p99", "", "<= 2.00"] + cells + [""] if row in run.results else None


def peer_row(run):
    """hugebus, one by one, beside the best that takes one call an event; both as in the peers' run."""
    cells = []
    for distance in sides(run.host):
        best = run.best_peer("throughput.64", distance, False)
        own = [cell for cell, _, _, peer in run.peer_cells("throughput.64", distance, False) if peer == "hugebus.single"]
        ratio = own[0]["value"]["median"] / best[0]["value"]["median"] if own and best else None
        cells.append(verdict(f"{ratio:.2f} ({best[1]})", ratio >= 1.5) if ratio else "")
    return ["64 B, one by one: beside the best peer", "", "", ">= 1.50"] + cells + [""]


def large_rows(run, size, has_records):
    """256 B and 1 KiB: what the peers' bursts do, which write in the ring; and what else there is, beside it."""
    beside = "(beside it)"
    bursts, single = run.peer_text(f"throughput.{size}", True), run.peer_text(f"throughput.{size}", False)
    copied = Bound(COPY, f"machine.copied.{size}", f"*.{size}*")
    shown = Bound(RECORDS, "machine.records.256", "*.256*") if has_records else None
    return [
        ratio_row(run, f"throughput.{size}.run.place", bursts, low=0.80, bound=Bound("the limit itself", f"throughput.{size}.run.place", f"*.{size}*")),
        ratio_row(run, f"throughput.{size}.run", bursts, bound=copied, target=beside),
        ratio_row(run, f"throughput.{size}.place", single, bound=shown, target=beside),
        ratio_row(run, f"throughput.{size}.single", single, bound=copied, target=beside),
    ]


def between_cores(run):
    def peers(column, has_batches=False, **more):
        return run.peer_text(column, has_batches, **more)
    moves = Bound(MOVES, "machine.moving.56", "rtt.*,machine.moving.*,machine.turns.*", (TURNS, "machine.turns.56"))
    rows = [
        ratio_row(run, "throughput.8.run", peers("throughput.8", True), low=0.30),
        ratio_row(run, "throughput.64.run", peers("throughput.64", True), low=0.65, bound=Bound(COPY, "machine.copied.64", "*.64*")),
        ratio_row(run, "throughput.64.run.place", peers("throughput.64", True), low=0.65),
        ratio_row(run, "throughput.8.single", peers("throughput.8", has_ratio=False), low=0.60, limit=WALK),
        ratio_row(run, "throughput.64.single", peers("throughput.64"), low=0.35, bound=Bound(COPY, "machine.copied.64", "*.64*")),
        peer_row(run),
    ] + large_rows(run, 256, True) + large_rows(run, 1024, False) + [
        ratio_row(run, "rtt.56", peers("rtt.56", is_rate=False), high=1.10, bound=moves, limit="ping-pong of one line"),
        ratio_row(run, "rtt.64", peers("rtt.64", is_rate=False), high=1.20, bound=moves, limit="ping-pong of two lines"),
        p99_row(run, "rtt.56"),
        p99_row(run, "rtt.64"),
        ratio_row(run, "stopped.rate", "", low=0.95, limit="the same without it", bound=Bound("each reader is one more to look at", "", "stopped.*")),
        ratio_row(run, "stopped.p99", "", high=1.05, limit="the same without it", bound=Bound("the scheduler's interruptions are in both", "", "stopped.*")),
    ]
    head = ["between two cores", "limit", "best peer of this run", "ratio to the limit"] + [distance or "hugebus" for distance in sides(run.host)]
    return table(head + ["what is in the way, of the same limit; what shows it"], [row for row in rows if row])


# -- the rest: one figure each --

def failed_row(run, row, target):
    """Of what failed; nothing of what is not in this run."""
    return [run.results[row]["title"], "", target, FAILED, run.results[row].get("reason", "")] if run.has_failed(row) else None


def value_row(run, row, text, is_reached, why="", limit=""):
    found = run.side(row, None)
    if not found:
        return failed_row(run, row, text)
    value = found["value"]["median"]
    return [run.results[row]["title"], limit, text, verdict(figure(value, run.results[row]["unit"]), is_reached(value)),
            "" if is_reached(value) else why]


def above_row(run, source, title):
    found = run.side(f"ingress.{source}.publish.cost", None)
    if not found or "above" not in found:
        return failed_row(run, f"ingress.{source}.publish", "<= 25 ns above a trivial parse")
    above = found["above"]["median"]
    return [f"{title}: a packet parsed, routed, published", f"the same loop with a trivial parse: {found['limit']['median']:.1f} ns", "<= 25 ns above it",
            verdict(f"{above:.1f} ns above it", above <= 25), "" if above <= 25 else f"`hugebus bench ingress --only {source}`"]


def veth_row(run):
    bare, publish, kernel = (run.packets.get(key, {}).get("median") for key in ("ingress.port.bare", "ingress.port.publish", "kernel.recvmmsg"))
    if not bare or not publish:
        return None
    peer = f"; kernel recvmmsg {kernel / bare:.2f}" if kernel else ""
    return ["packets over veth (AF_XDP): parsed, routed, published", f"received only: {human(bare)} packets/s" + peer, ">= 0.95",
            verdict(f"{publish / bare:.2f} ({human(publish)} packets/s)", publish / bare >= 0.95), "" if publish / bare >= 0.95 else "`bench/peers/packets.sh`"]


def drop_row(run):
    """A test run has a cost of its own, which the least program shows in the same repetition; both are said."""
    found = run.side("ingress.xdp.unwanted.cost", None)
    if not found or "above" not in found:
        return failed_row(run, "ingress.xdp.unwanted.cost", "<= 30 ns above a program that drops at once")
    cost, bare, above = (found[key]["median"] for key in ("value", "limit", "above"))
    return ["a packet dropped in XDP, in a test run", f"a program that drops at once: {bare:.0f} ns, the test's own", "<= 30 ns above it",
            verdict(f"{above:.0f} ns above it ({cost:.0f} ns with it)", above <= 30), "" if above <= 30 else "`hugebus bench ingress --only xdp`"]


def live_row(run):
    found = run.side("ingress.xdp.live", None)
    if not found or "limit" not in found:
        return failed_row(run, "ingress.xdp.live", ">= 3 M/s")
    rate, bare = found["value"]["median"], found["limit"]["median"]
    return ["packets dropped in XDP by one core, live frames", f"a program that drops at once: {human(bare)} packets/s", ">= 3 M/s",
            verdict(f"{human(rate)} packets/s; {1e9 / rate - 1e9 / bare:.0f} ns a packet above it", rate >= 3e6), ""]


def where(run, names):
    """Where cores move: near, when all of @names were met there; both in one median would be of neither."""
    return "near" if is_moving(run.host) and all(run.side(each, "near") for each in names) else None


def daemon_row(run):
    found = run.side("idle", None)
    if not found or "total" not in found:
        return failed_row(run, "idle", "0")
    share = found["total"]["median"]
    return ["hugebusd meanwhile", "", "0", verdict(figure(share, run.results["idle"]["unit"]), share < 0.001),
            "" if share < 0.001 else "without enough hugepages it looks for some once a second (`reserve_pages = 0`: never)"]


def broadcast_row(run):
    totals, distance = [], where(run, [f"broadcast.{n}" for n in (1, 2, 4, 8)])
    for n in (1, 2, 4, 8):
        found = run.side(f"broadcast.{n}", distance)
        if found:
            fair = found["value"]["median"] * n / found["total"]["median"] if "total" in found else 1
            totals.append((n, found.get("total", found["value"])["median"], fair, run.results[f"broadcast.{n}"]["oversubscribed"]))
    if len(totals) < 4:
        missing = [f"broadcast.{n}" for n in (1, 2, 4, 8) if run.has_failed(f"broadcast.{n}")]
        return failed_row(run, missing[0], "rises with each; none starves") if missing else None
    text = ", ".join(f"{n}: {human(total)}" + (" (oversubscribed)" if over else "") for n, total, _, over in totals)
    fair = min(entry[2] for entry in totals)
    rises = all(after[1] > before[1] for before, after in zip(totals, totals[1:]))
    return ["64 B batches to N readers: all together, and the slowest's share of an equal part", "", "rises with each; none starves (> 0.5)",
            verdict(f"{name(distance)}{text}; {fair:.2f}", fair > 0.5 and rises), "" if fair > 0.5 and rises else command("broadcast.*")]


def each_row(run):
    distance = where(run, ["broadcast.2.run", "broadcast.2"])
    found, batches = run.side("broadcast.2.run", distance), run.side("broadcast.2", distance)
    if not found:
        return failed_row(run, "broadcast.2.run", "each >= 66 M/s")
    value = found["value"]["median"]
    beside = f" ({human(batches['value']['median'])} in batches of records)" if batches else ""
    return [run.results["broadcast.2.run"]["title"], "Aeron, not in this run: 33 M/s each, oversubscribed", "each >= 66 M/s",
            verdict(f"{name(distance)}{human(value)} events/s{beside}", value >= 66e6), "" if value >= 66e6 else command("broadcast.2*")]


def wake_row(run):
    ratio, found = run.ratio("wake.64", None), run.side("wake.64", None)
    if ratio is None:
        return failed_row(run, "wake.64", "<= 1.15")
    return [run.results["wake.64"]["title"], f"a bare futex: {figure(found['limit']['median'], 'ns')}", "<= 1.15 of it",
            verdict(f"{ratio:.2f} ({figure(found['value']['median'], 'ns')})", ratio <= 1.15), "" if ratio <= 1.15 else command("wake.64")]


def the_rest(run):
    rows = [
        broadcast_row(run),
        each_row(run),
        wake_row(run),
        value_row(run, "calls", "0", lambda value: value < 0.001, why=command("calls")),
        above_row(run, "ring", "generator (net_ring)"),
        above_row(run, "pcap", "capture (net_pcap)"),
        value_row(run, "ingress.ring.publish", ">= 20 M/s on one core", lambda value: value >= 20e6, why="`hugebus bench ingress --only ring`"),
        value_row(run, "ingress.pcap.publish", ">= 20 M/s on one core", lambda value: value >= 20e6, why="`hugebus bench ingress --only pcap`"),
        veth_row(run),
        drop_row(run),
        live_row(run),
        value_row(run, "open.first", "< 5 ms", lambda value: value < 5e6, why=command("open.*")),
        value_row(run, "attach", "< 2 ms", lambda value: value < 2e6, why=command("attach")),
        value_row(run, "idle", "< 0.1 %", lambda value: value < 0.1, why=f"for its first 0.3 s it looks after its publishers 20 times a second. {command('idle')}"),
        daemon_row(run),
    ]
    return table(["the rest", "beside it", "to reach", "this run", "what is in the way"], [row for row in rows if row])


def count(tables):
    """How many of the figures in them are what they are to be."""
    return tables.count(", yes |"), tables.count(", yes |") + tables.count(", **no** |")


WORDS = """A ratio is to what bare cores do in the same second, the peers' too. Where a row says **no**, the last column says what bare cores without any bus
make of the same, with the command that shows both side by side on any machine; [shm/DESIGN.md](../shm/DESIGN.md#what-bounds-it) has
the loops behind it. The target for 256 B and 1 KiB is that of publishing many at a time in place, as the bursts of its best peer do; by copy, or one
call an event, stands beside it, with what bare cores make of the same; it has no verdict."""


def targets(host, peers, ingress, packets):
    """Both tables, or nothing without a run of `hugebus bench`."""
    if not host:
        return ""
    run = Run(host, peers, ingress, packets)
    tables = between_cores(run) + "\n\n" + the_rest(run)
    n_reached, n = count(tables)
    return f"## What is to be reached, and what is\n\n**{n_reached} of {n} figures of this run are what they are to be.** {WORDS}\n\n{tables}"
