#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A line a second of what flows on a bus, for the demonstration: watch.py SECONDS.

The numbers are those of `hugebus stats --json`; `hugebus top` shows more of them.
"""
import json
import shutil
import signal
import subprocess
import sys
import time

HEADING = (
    "    | packets/s in XDP |     events/s from    |   reliable    |       lossy        |  MQTT\n"
    "  s |  to us elsewhere | packets  local  MQTT | events/s  lag | events/s  lag lost |    /s | elsewhere and why, /s"
)
LINE = "{:>3} |{:>7}{:>10} |{:>8}{:>7}{:>6} |{:>9}{:>5} |{:>9}{:>5}{:>5} |{:>6} | {}"
# Counted in the driver under these names, they are handed on and not the end of a packet.
NO_DROP = {"accepted", "published", "received", "bytes", "stack"}


class Counters:
    """Each count at its highest: what a ring or a program has counted still counts when it is gone."""

    def __init__(self):
        self.cells = {}

    def update(self, key, value):
        self.cells[key] = max(value, self.cells.get(key, 0))

    def total(self, *kinds):
        return sum(value for key, value in self.cells.items() if key[0] in kinds)

    def by_reason(self):
        return {key[0]: self.total(key[0]) for key in self.cells if isinstance(key[0], tuple)}


# What MQTT clients have sent to the gateway, and got from it.
MQTT_COUNTERS = {"publishes_in": "from mqtt", "publishes_out": "to mqtt"}


def update_counter(counters, row):
    """A counter of the ingress: "worker0.frames.received", "port0.xdp.no_interest"; or of the gateway: "publishes_in"."""
    if "." not in row["counter"]:
        if row["counter"] in MQTT_COUNTERS:
            counters.update((MQTT_COUNTERS[row["counter"]], row["client"]), row["value"])
        return
    *_, where, reason = row["counter"].split(" ")[0].split(".")
    key = row["client"], row["counter"]
    if (where, reason) in (("frames", "received"), ("events", "published")):
        counters.update((where, *key), row["value"])
    elif where == "xdp" and reason != "accepted":
        counters.update(("xdp", *key), row["value"])
    if where in ("xdp", "frames", "events") and reason not in NO_DROP:
        counters.update((("drop", reason), *key), row["value"])


def take(counters):
    """Now: rates are the difference between two of these. Return: what is not a rate."""
    run = subprocess.run(["hugebus", "stats", "--json"], stdout=subprocess.PIPE, check=True)
    stats = json.loads(run.stdout)
    lag = {"reliable": 0, "lossy": 0}
    for row in stats["counters"]:
        update_counter(counters, row)
    for row in stats["rings"]:
        if row["program"] == "publisher":
            counters.update(("local", row["ring"]), row["events"])
    for row in stats["attachments"]:
        name = row["subscriber"]
        if name in lag:
            counters.update((name, row["ring"]), row["delivered"])
            counters.update(("lost " + name, row["ring"]), row["lost"])
            lag[name] += row["lag"]
    sums = {kind: counters.total(kind) for kind in ("frames", "events", "xdp", "local", "reliable", "lossy", "lost lossy",
                                                      "from mqtt", "to mqtt")}
    return time.monotonic(), sums, counters.by_reason(), lag


def print_fitting(text):
    """A terminal shows what fits, a file all."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print("\n".join(line[:width] for line in text.split("\n")), flush=True)


def show(second, before, now):
    elapsed = now[0] - before[0]
    rate = {kind: round((now[1][kind] - before[1][kind]) / elapsed) for kind in now[1]}
    reasons = {reason[1]: round((value - before[2].get(reason, 0)) / elapsed) for reason, value in now[2].items()}
    text = "  ".join(f"{reason} {value}" for reason, value in sorted(reasons.items()) if value)
    line = LINE.format(second, rate["frames"], rate["xdp"], rate["events"], rate["local"], rate["from mqtt"],
                       rate["reliable"], now[3]["reliable"], rate["lossy"], now[3]["lossy"], now[1]["lost lossy"],
                       rate["to mqtt"], text)
    print_fitting(line)


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who has read enough is no fault
    seconds = int(sys.argv[1])
    counters = Counters()
    print_fitting(HEADING)
    before = take(counters)
    begin, second = before[0], 0
    while second < seconds:
        time.sleep(max(begin + second + 1 - time.monotonic(), 0))
        now = take(counters)
        # On a busy machine a look can take longer than a second.
        second = max(int(now[0] - begin), second + 1)
        show(second, before, now)
        before = now


if __name__ == "__main__":
    main()
