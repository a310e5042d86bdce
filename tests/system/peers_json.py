#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Made-up results, to see what the page makes of them: peers_json.py peers|host [moving]

Near figures are 100 times a size or so, far ones a quarter of these; each cell has two repetitions near and one far.
"""
import json
import sys


def samples(values):
    values = sorted(values)
    return {"median": values[len(values) // 2], "spread": 0.01, "samples": values}


def figures(value, limit, is_moving):
    def part(factors):
        result = {"value": samples([value * f for f in factors]), "failed": False}
        if limit:
            result["limit"] = samples([limit * f for f in factors])
            result["ratio"] = samples([value / limit] * len(factors))
        return result
    whole = part([1, 1, 0.25] if is_moving else [1, 1, 1])
    whole["distances"] = ["near", "near", "far"] if is_moving else ["same"] * 3
    if is_moving:
        whole["near"], whole["far"] = part([1, 1]), part([0.25])
    return whole


def head(is_moving):
    placement = {"is_moving": is_moving, "near_ns": 110, "far_ns": 430 if is_moving else 110, "boundary_ns": 200, "n_near": 8, "n_far": 4}
    return {"version": "0", "kernel": "6", "cores": "2 usable CPUs", "noise": 0.02, "is_quiet": True, "repeats": 3, "duration_ms": 200,
            "seconds": 1, "placement": placement}


def peers(is_moving):
    columns = [f"throughput.{size}" for size in (8, 64, 256, 1024)] + ["rtt.56", "rtt.64"]
    rows = [{"name": name, "title": title, "settings": "-", "version": "1", "batches": False,
             "cells": {column: figures(value, 1000e6, is_moving) for column in columns}}
            for name, title, value in (("hugebus.single", "hugebus, one by one", 400e6), ("pipe.single", "pipe", 100e6))]
    rows[1]["cells"]["throughput.256"] = {"failed": True, "reason": "wrong content", "value": samples([0])}
    return {**head(is_moving), "limits": {column: figures(1000e6, None, is_moving) for column in columns}, "peers": rows,
            "left_out": [{"name": "nng", "title": "nng", "reason": "built without libnng-dev"}]}


def host(is_moving):
    def result(name, title, unit, value, limit, lower=False):
        return {"name": name, "title": title, "unit": unit, "lower_is_better": lower, "oversubscribed": False,
                "limit_name": "bare cores", **figures(value, limit, is_moving)}
    return {**head(is_moving), "results": [
        result("throughput.64.single", "64 B, one by one", "events/s", 300e6, 1000e6),
        result("throughput.8.run", "8 B, run records", "events/s", 500e6, 1000e6),
        result("machine.copied.64", "bare streaming by copy, 64 B", "events/s", 390e6, 1000e6),
        result("attach", "subscriber open to event seen", "ns", 500e3, None, True)]}


if __name__ == "__main__":
    print(json.dumps({"peers": peers, "host": host}[sys.argv[1]](sys.argv[2:] == ["moving"])))
