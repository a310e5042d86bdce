#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A line a second of what flows on a bus, for the demonstration: watch.py SECONDS.

The numbers are those of `hugebus stats --json`; `hugebus top` shows more of them.
"""
import json
import subprocess
import sys
import time

HEADING = (
    "          packets   packets |    events/s    |   reliable    |         lossy        |\n"
    "  second  to us/s  dropped/s| packets  local | events/s  lag | events/s  lag  lost  | not delivered, by reason"
)
LINE = "{:>8} {:>8} {:>9} |{:>8}{:>7} |{:>9}{:>5} |{:>9}{:>5}{:>6}  | {}"
# Counted in the driver under these names, they are handed on and not the end of a packet.
NO_DROP = {"accepted", "published", "received", "bytes"}


class Counters:
    """Sums over all programs that ever offered a counter: an ingress that ends keeps its share."""

    def __init__(self):
        self.cells = {}

    def update(self, rows):
        for row in rows:
            self.cells[row["client"], row["counter"]] = max(row["value"], self.cells.get((row["client"], row["counter"]), 0))

    def total(self, is_wanted):
        return sum(value for (_, name), value in self.cells.items() if is_wanted(name))

    def reasons(self):
        """Packets that the driver kept from us, events that the poll loop did not publish."""
        sums = {}
        for (_, name), value in self.cells.items():
            where, _, reason = name.rpartition(".")
            is_reason = where.endswith(".xdp") or where.endswith(".frames") or where.endswith(".events")
            if is_reason and reason not in NO_DROP and value:
                sums[reason] = sums.get(reason, 0) + value
        return sums


def take(counters):
    run = subprocess.run(["hugebus", "stats", "--json"], stdout=subprocess.PIPE, check=True)
    stats = json.loads(run.stdout)
    counters.update(stats.get("counters", []))
    xdp = counters.total(lambda name: ".xdp." in name)
    frames = counters.total(lambda name: name.endswith("frames.received"))
    sample = {
        "to_us": frames,
        "dropped": max(xdp - counters.total(lambda name: name.endswith(".xdp.accepted")), 0),
        "packets": counters.total(lambda name: name.endswith("events.published")),
        "local": sum(ring["events"] for ring in stats.get("rings", []) if ring["program"] == "publisher"),
    }
    for name in ("reliable", "lossy"):
        row = next((row for row in stats.get("subscribers", []) if row["program"] == name), {})
        for key in ("delivered", "lag", "lost"):
            sample[name, key] = row.get(key, 0)
    return sample


def show(second, now, before, reasons):
    rate = {key: max(now[key] - before[key], 0) for key in now}
    print(LINE.format(second, rate["to_us"], rate["dropped"], rate["packets"], rate["local"],
                      rate["reliable", "delivered"], now["reliable", "lag"],
                      rate["lossy", "delivered"], now["lossy", "lag"], now["lossy", "lost"], reasons), flush=True)


def main():
    seconds = int(sys.argv[1])
    counters = Counters()
    begin = time.monotonic()
    print(HEADING, flush=True)
    before, reasons_before = take(counters), counters.reasons()
    for second in range(1, seconds + 1):
        time.sleep(max(begin + second - time.monotonic(), 0))
        now, reasons = take(counters), counters.reasons()
        text = "  ".join(f"{name} {value - reasons_before.get(name, 0)}" for name, value in sorted(reasons.items())
                         if value > reasons_before.get(name, 0))
        show(second, now, before, text)
        before, reasons_before = now, reasons


if __name__ == "__main__":
    main()
