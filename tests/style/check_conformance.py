#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""docs/MQTT_CONFORMANCE.md names tests that exist, and every normative statement once.

    tests/style/check_conformance.py [ROOT]

It first sees that a table with a test that is not there, a statement too few and one too many would be found.
"""
import glob
import os
import re
import sys

FILES = {
    "v3": ["tests/unit/test_mqtt_v3.c"],
    "v5": ["tests/unit/test_mqtt_v5*.c"],
    "packet": ["tests/unit/test_mqtt_packet.c"],
    "limits": ["tests/unit/test_mqtt_limits.c"],
    "gateway": ["tests/unit/test_mqtt_gateway.c"],
    "wait": ["tests/unit/test_mqtt_wait.c"],
    "topic": ["tests/unit/test_topic*.c"],
    "system": ["tests/system/test_mqtt.sh"],
    "clients": ["tests/system/test_mqtt_clients.sh"],
}

# How many statements each section has; the first number where it is not 1.
V3 = """1.5.3:3 2.2.2:2 2.3.1:7 3.1.0:2 3.1.2:24 3.1.3:11 3.1.4:5 3.2.0:1 3.2.2:6 3.3.1:12 3.3.2:3 3.3.4:1 3.3.5:2 3.6.1:1
3.8.1:1 3.8.3:4 3.8.4:6 3.9.3:2 3.10.1:1 3.10.3:2 3.10.4:6 3.12.4:1 3.14.1:1 3.14.4:3 4.1.0:2 4.3.1:1 4.3.2:2 4.3.3:2
4.4.0:1 4.5.0:2 4.6.0:6 4.7.1:3 4.7.2:1 4.7.3:4 4.8.0:2 6.0.0:4"""
V5 = """1.5.4:3 1.5.5:1 1.5.7:1 2.1.3:1 2.2.1:2-6 2.2.2:1 3.1.0:2 3.1.2:30 3.1.3:12 3.1.4:6 3.2.0:2 3.2.2:22 3.3.1:13
3.3.2:20 3.3.4:10 3.4.2:3 3.5.2:3 3.6.1:1 3.6.2:3 3.7.2:3 3.8.1:1 3.8.3:5 3.8.4:8 3.9.2:2 3.9.3:2 3.10.1:1 3.10.3:2
3.10.4:6 3.11.2:2 3.11.3:2 3.12.4:1 3.14.0:1 3.14.1:1 3.14.2:4 3.14.4:3 3.15.1:1 3.15.2:3 4.1.0:2 4.2.0:1 4.3.1:1 4.3.2:5
4.3.3:13 4.4.0:2 4.5.0:2 4.6.0:6 4.7.0:1 4.7.1:2 4.7.2:1 4.7.3:4 4.8.2:6 4.9.0:3 4.12.0:7 4.12.1:2 4.13.1:1 4.13.2:1
6.0.0:4"""


def wanted(text):
    statements = set()
    for entry in text.split():
        section, count = entry.split(":")
        first, last = count.split("-") if "-" in count else (1, count)
        statements |= {f"{section}-{n}" for n in range(int(first), int(last) + 1)}
    return statements


def expand(cell):
    """"3.1.2-1..3, 3.2.0-1" -> each of them."""
    for part in cell.split(","):
        match = re.fullmatch(r"\s*(\d+\.\d+\.\d+)-(\d+)(?:\.\.(\d+))?\s*", part)
        if match:
            for n in range(int(match.group(2)), int(match.group(3) or match.group(2)) + 1):
                yield f"{match.group(1)}-{n}"
        elif part.strip() != "-":
            yield f"?{part.strip()}"


def test_names(root):
    names = {}
    for alias, patterns in FILES.items():
        text = ""
        for pattern in patterns:
            for path in glob.glob(os.path.join(root, pattern)):
                with open(path, encoding="utf-8") as file:
                    text += file.read()
        names[alias] = re.findall(r"^Test\(\w+, (\w+)", text, re.M) + re.findall(r"^([a-z0-9]\w+)\(\) ", text, re.M)
    return names


def check(lines, names):
    """Sentences about what is wrong."""
    found, said = [], {"3.1.1": [], "5.0": []}
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 4 or not re.match(r"(-|\d+\.\d+\.\d+-\d.*)$", cells[0]):
            continue
        said["3.1.1"] += expand(cells[0])
        said["5.0"] += expand(cells[1])
        references = re.findall(r"\b(\w+):(\w+)", cells[3])
        if not references:
            found.append(f"{cells[2]}: no test")
        for alias, part in references:
            if not any(part in name for name in names.get(alias, [])):
                found.append(f"{cells[2]}: there is no test {alias}:{part}")
    for version, text in (("3.1.1", V3), ("5.0", V5)):
        all_said = said[version]
        found += [f"{version}: {s} is left out" for s in sorted(wanted(text) - set(all_said))]
        found += [f"{version}: {s} is not a statement" for s in sorted(set(all_said) - wanted(text))]
        found += [f"{version}: {s} stands twice" for s in sorted({s for s in all_said if all_said.count(s) > 1})]
    return found


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "..")
    names = test_names(root)
    with open(os.path.join(root, "docs/MQTT_CONFORMANCE.md"), encoding="utf-8") as file:
        lines = file.read().split("\n")
    found = check(lines, names)
    for sentence in found:
        print(sentence)
    row = next(n for n, line in enumerate(lines) if line.startswith("| 3.12.4-1 "))
    planted = {
        "no test": lines[row].replace("v3:answers_pings", "v3:answers_nothing"),
        "too few": lines[row].replace("3.12.4-1", "-", 1),
        "too many": lines[row].replace("3.12.4-1", "3.12.4-1..2", 1),
        "twice": lines[row] + "\n" + lines[row],
    }
    for what, line in planted.items():
        if len(check("\n".join(lines[:row] + [line] + lines[row + 1:]).split("\n"), names)) <= len(found):
            print(f"a planted fault is not found: {what}")
            return 1
    print(f"{len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
