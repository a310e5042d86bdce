#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every test, path and case that tests/FAULTS.md names must exist: check_faults.py SOURCE-ROOT BUILD-DIR"""
import json
import pathlib
import re
import subprocess
import sys

NUMBERS = 75


def rows(text):
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if cells[0].isdigit():
            yield cells


def named(cell):
    """(test or path, case or None) of each thing in backticks."""
    for name, case in re.findall(r"`([^`]+)`(?:: ([a-z0-9_]+))?", cell):
        yield name.split()[0], case


def is_defined(case, sources):
    """A case stands in a test as a name of its own, not within another."""
    return any(re.search(rf"\b{case}\b", text) for text in sources)


def check(text, root, tests, sources):
    faults, numbers = [], []
    for cells in rows(text):
        number = int(cells[0])
        numbers.append(number)
        if len(cells) != 5 or not all(cells):
            faults.append(f"row {number} has not five cells")
            continue
        things = list(named(cells[3]))
        if not things and not cells[4].startswith("not applicable"):
            faults.append(f"row {number} names no test and no reason")
        for name, case in things:
            if name not in tests and not (root / name).exists():
                faults.append(f"row {number}: there is no test or file {name}")
            if case and not is_defined(case, sources):
                faults.append(f"row {number}: there is no case {case}")
    if numbers != list(range(1, NUMBERS + 1)):
        faults.append(f"the rows are not numbered 1 to {NUMBERS}")
    return faults


def self_test(root, sources):
    """Each kind of fault is found in a table that has it."""
    good = "\n".join(f"| {n} | a | b | `here`: a_case | c |" for n in range(1, NUMBERS + 1))
    spoilt = [good.replace("| 7 | a | b | `here`", "| 7 | a | b | `gone`"), good.replace("| 7 | a", "| 8 | a"),
              good.replace("| 7 | a | b | `here`: a_case", "| 7 | a | b | `here`: no_such" + "_case_here"),
              good.replace("| 7 | a | b | `here`: a_case", "| 7 | a | b | -"), good.replace("| 7 | a | b |", "| 7 | a |")]
    assert check(good, root, {"here"}, [*sources, "a_case"]) == []
    for text in spoilt:
        assert check(text, root, {"here"}, ["a_case"]), text


def main():
    root, build = pathlib.Path(sys.argv[1]), sys.argv[2]
    found = subprocess.run(["meson", "introspect", "--tests", build], capture_output=True, text=True, check=True)
    # Those that this machine cannot build stand in the build files at least.
    tests = {test["name"] for test in json.loads(found.stdout)}
    for path in (root / "tests").rglob("meson.build"):
        tests |= set(re.findall(r"'([a-z0-9_]+)'", path.read_text()))
    sources = [path.read_text() for pattern in ("*.c", "*.h", "*.sh", "*.cc") for path in (root / "tests").rglob(pattern)]
    self_test(root, sources)
    faults = check((root / "tests/FAULTS.md").read_text(), root, tests, sources)
    print("\n".join(faults) or f"{NUMBERS} faults, each with what shows it, or why it does not apply")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
