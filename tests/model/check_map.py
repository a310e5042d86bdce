#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The table of README.md that maps rules to code and models: everything in it exists, and nothing is missing.

    check_map.py SOURCE-ROOT
"""
import pathlib
import re
import sys


def rows(text):
    """(rule, code, model, mutants) of the table"""
    table = text.split("## Model, protocol, code")[1].split("\n## ")[0]
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 4 and cells[0] != "rule":
            yield cells


def mutants_run(script):
    """{mutant: its models} of those that run.sh expects to fail"""
    found = {}
    for model, _, name in re.findall(r"^run_case [qf] (\w+) (assert|deadlock) (\w+)", script, re.M):
        found.setdefault(name, set()).add(model)
    return found


def check(text, script, models, code, labelled):
    faults = []
    table = list(rows(text))
    run = mutants_run(script)
    named = {m.strip(): cells[2].split(":")[0] for cells in table for m in cells[3].split(",")}
    for name in sorted(set(named) - set(run)):
        faults.append(f"run.sh has no mutant {name}")
    for name in sorted(set(run) - set(named)):
        faults.append(f"the table does not name the mutant {name}")
    for cells in table:
        model = cells[2].split(":")[0]
        for name in (m.strip() for m in cells[3].split(",")):
            if name in run and model not in run[name]:
                faults.append(f"{name} is no mutant of {model}")
        for function in re.findall(r"`(\w+)\(\)`", cells[1]):
            if not re.search(rf"\b{function}\(", code):
                faults.append(f"there is no {function}() in the code")
        for place in re.findall(r"`([^`]+)`", cells[2]):
            if place.rstrip("()") not in models[model]:
                faults.append(f"{model}.pml has no {place}")
    # A row, or a word behind the table about what is not modelled.
    rules = text.split("## Model, protocol, code")[1].split("\n## ")[0]
    for label in sorted(set(re.findall(r"[RAM]\([a-z]+\.[a-z_]+\)", labelled))):
        if label not in rules:
            faults.append(f"the table has no row for {label}")
    return faults


def main():
    root = pathlib.Path(sys.argv[1])
    here = root / "tests/model"
    models = {path.stem: path.read_text() for path in here.glob("*.pml")}
    shm = "".join(path.read_text() for path in sorted((root / "shm").glob("*.[ch]")))
    code = shm + "".join(path.read_text() for path in sorted((root / "ctl").glob("*/*.[ch]")))
    text, script = (here / "README.md").read_text(), (here / "run.sh").read_text()
    assert check(text.replace("header_relaxed", "header_plain"), script, models, code, shm), "a mutant that does not exist"
    assert check(text, script, models, code, shm + "R(ring.other)"), "an edge without a row"
    assert check(text.replace("`drop()`", "`drip()`"), script, models, code, shm), "a function that does not exist"
    faults = check(text, script, models, code, shm)
    print("\n".join(faults) or f"{len(list(rows(text)))} rules, {len(mutants_run(script))} mutants")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
