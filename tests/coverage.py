#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Adds up what gcov counted in a build directory: coverage.py BUILD-DIR SOURCE-ROOT run|report|uncovered [PATH]

One table, a line a directory. With "uncovered": the functions that never ran and the lines that did not, of files
whose path begins with PATH.
"""
import collections
import json
import os
import pathlib
import subprocess
import sys

DIRECTORIES = ["shm", "ctl/proto", "ctl/daemon", "ctl/client", "ctl/cli", "dataplane", "dataplane/mqtt", "dataplane/mqttsn",
               "dataplane/passive", "dataplane/tcp", "ebpf"]
# The parts that take bytes from strangers, wherever they stand.
PARSERS = ["shm/ring_sub.c", "shm/ring_sub.h", "ctl/proto/wire.c", "ctl/proto/topic.c", "ctl/daemon/state_msg.c", "ctl/daemon/wire.c",
           "ctl/daemon/config_read.c", "ctl/daemon/config_load.c", "ctl/daemon/journal_json.c", "ctl/cli/cloudevent.c",
           "ctl/cli/base64.c", "ctl/cli/number.c", "ctl/cli/route_text.c", "dataplane/net.c", "dataplane/net.h", "dataplane/batch.c",
           "dataplane/mqtt/codec.c", "dataplane/mqtt/frame.c", "dataplane/mqtt/packet.c", "dataplane/mqtt/props.c",
           "dataplane/mqtt/websocket.c", "dataplane/mqttsn/packet.c", "dataplane/passive/flow.c"]


class File:
    def __init__(self):
        self.lines = collections.Counter()
        self.branches = {}
        self.functions = collections.Counter()
        self.starts = {}


def read(build, root):
    """{path below the root: File}, added up over all objects."""
    files = collections.defaultdict(File)
    counts = sorted(pathlib.Path(build).rglob("*.gcda"))
    for at in range(0, len(counts), 40):
        result = subprocess.run(["gcov", "--json-format", "--branch-probabilities", "--stdout", *counts[at:at + 40]],
                                cwd=build, capture_output=True, text=True, check=False)
        for line in result.stdout.splitlines():
            if line.startswith("{"):
                add(files, json.loads(line), root)
    return files


def add(files, report, root):
    for part in report["files"]:
        path = os.path.relpath(os.path.realpath(os.path.join(report["current_working_directory"], part["file"])), root)
        if path.startswith("..") or not path.endswith((".c", ".h")):
            continue
        file = files[path]
        for line in part["lines"]:
            file.lines[line["line_number"]] += line["count"]
            for idx, branch in enumerate(line.get("branches", ())):
                key = (line["line_number"], line.get("function_name"), idx)
                file.branches[key] = file.branches.get(key, 0) + branch["count"]
        for function in part["functions"]:
            file.functions[function["name"]] += function["execution_count"]
            file.starts[function["name"]] = function["start_line"]


def sums(files):
    n = [0, 0, 0, 0]
    for file in files:
        n[0] += sum(count > 0 for count in file.lines.values())
        n[1] += len(file.lines)
        n[2] += sum(count > 0 for count in file.branches.values())
        n[3] += len(file.branches)
    return n


def show(label, files):
    lines, n_lines, branches, n_branches = sums(files)
    if n_lines == 0:
        return
    print(f"| {label:16} | {lines:6} of {n_lines:6} | {100 * lines / n_lines:5.1f} % | {branches:6} of {n_branches:6} | "
          f"{100 * branches / max(n_branches, 1):5.1f} % |")


def table(files):
    print(f"| {'directory':16} | {'lines':16} | {'':7} | {'branches':16} | {'':7} |\n|---|---|---|---|---|")
    for directory in DIRECTORIES:
        show(directory, [f for path, f in files.items() if os.path.dirname(path) == directory])
    show("all parsers", [f for path, f in files.items() if path in PARSERS])
    show("all of these", [f for path, f in files.items() if os.path.dirname(path) in DIRECTORIES])


def ranges(file):
    """(first, last) of lines that did not run, joined over lines without code."""
    found, begin, last = [], None, None
    for number in sorted(file.lines):
        if file.lines[number] == 0:
            begin, last = begin or number, number
        elif begin:
            found.append((begin, last))
            begin = None
    return found + ([(begin, last)] if begin else [])


def uncovered(files, prefix):
    for path in sorted(files):
        file = files[path]
        if os.path.dirname(path) not in DIRECTORIES or not path.startswith(prefix):
            continue
        gaps = ranges(file)
        if not gaps:
            continue
        lines, n_lines, _, _ = sums([file])
        print(f"{path}: {lines} of {n_lines}")
        for name in sorted(n for n, count in file.functions.items() if count == 0):
            print(f"    never: {name}() at {file.starts[name]}")
        print("    lines: " + ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in gaps))


def main():
    if len(sys.argv) < 4:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    build, root, mode = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2]), sys.argv[3]
    files = read(build, root)
    if not files:
        print("no counts there: run coverage.sh first")
        return 1
    if mode == "uncovered":
        uncovered(files, sys.argv[4] if len(sys.argv) > 4 else "")
    else:
        table(files)
    return 0


if __name__ == "__main__":
    sys.exit(main())
