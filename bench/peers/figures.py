# SPDX-License-Identifier: BSD-3-Clause
"""Figures of the measurements' JSON as text, and the parts of a run that were made near and far (docs/CLI.md)."""
DISTANCES = ("near", "far")


def human(value):
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {letter}"
    return f"{value if value > 1e-6 else 0:.3g}"


def span(ns):
    for factor, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if ns >= factor:
            return f"{ns / factor:.3g} {unit}"
    return f"{ns:.3g} ns"


def figure(value, unit):
    """A value of a result, in its unit."""
    return span(value) if unit == "ns" else f"{human(value)} {unit}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def spread(samples):
    """ " ±3 %"; nothing of a single sample """
    return f" ±{100 * samples['spread']:.0f} %" if len(samples["samples"]) > 1 else ""


def is_moving(run):
    return run.get("placement", {}).get("is_moving", False)


def sides(run):
    """The distances that the run has met: their names, or None for a run that has met one."""
    return DISTANCES if is_moving(run) else (None,)


def side(cell, distance):
    """What @cell has of one distance; None when it has nothing. Of None: all of it, but for what has failed."""
    if cell is None or cell.get("failed") or not cell["value"]["samples"]:
        return None
    return cell if distance is None else cell.get(distance)


def apart(run, distance):
    """ "near cores (a line there and back: 110 ns)" """
    placement = run.get("placement", {})
    ns = placement.get((distance or "near") + "_ns", 0)
    name = f"{distance} cores" if distance else "two cores"
    return name + (f" (a line there and back: {ns:.0f} ns)" if ns else "")
