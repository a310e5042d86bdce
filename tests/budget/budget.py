#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Instructions that one publish and one poll may take, counted by callgrind.

    budget.py PROGRAM [--plant]

Time is noise on a shared machine, instructions are not. A figure above its budget fails the test; one far below it
is told, so that the table follows. Exit: 0 within, 1 above, 77 no valgrind.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# Instructions an event, whole; on x86-64 by gcc 12 -O2 and what other compilers add.
BUDGETS = {
    "publish.8": 100,
    "publish.64": 124,
    "publish.batch.64": 182,
    "publish.run.64": 22,
    "publish.in-place.64": 140,
    "publish.run-in-place.64": 6,
    "poll.1.64": 182,
    "poll.64.64": 47,
    "poll.spans.64": 18,
    "poll.spans.run.64": 9,
    "poll.nothing": 62,
}


def counts(program, args):
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory) / "callgrind"
        run = subprocess.run(["valgrind", "--tool=callgrind", "--collect-atstart=no", f"--callgrind-out-file={out}",
                              program, *args], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            sys.exit(f"{program} failed:\n{run.stderr}")
        for path in sorted(pathlib.Path(directory).iterdir()):
            text = path.read_text()
            name = re.search(r"^desc: Trigger: Client Request: (\S+) (\d+)", text, re.M)
            total = re.search(r"^(?:summary|totals): (\d+)", text, re.M)
            if name and total:
                yield name[1], int(total[1]) / int(name[2])


def main():
    if not shutil.which("valgrind"):
        print("SKIP: valgrind is not installed: nobody counts instructions")
        return 77
    seen = dict(counts(sys.argv[1], sys.argv[2:]))
    n_above = 0
    for name, budget in BUDGETS.items():
        if name not in seen:
            print(f"{name:22} was not counted")
            n_above += 1
            continue
        remark = "ABOVE" if seen[name] > budget else "far below: lower it" if seen[name] < budget / 2 else ""
        n_above += seen[name] > budget
        print(f"{name:22} {seen[name]:7.1f} of {budget:4} instructions an event  {remark}")
    return 1 if n_above else 0


if __name__ == "__main__":
    sys.exit(main())
