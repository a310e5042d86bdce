#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs the tests of a build directory with meson and says what came out, test case by test case.

    tests/report.py BUILD-DIR [--check-leftovers] [options of meson test]

Meson counts programs; this counts the cases inside them (TAP lines). The last line of the output is
"N passed, N failed, N skipped". --check-leftovers adds a case: that processes, namespaces, mounts,
files, hugepages and BPF programs are afterwards what they were before. Exit status: 0 all passed or
were skipped, 1 something failed or there was nothing to run.
"""
import difflib
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

TAIL_LINES = 40
TAP_LINE = re.compile(r"^(not )?ok\b\s*\d*\s*-?\s*([^#]*)(?:#\s*(\S+)\s*(.*))?$")
FAILED = {"FAIL", "ERROR", "TIMEOUT", "INTERRUPT", "UNEXPECTEDPASS"}


def tap_cases(text):
    """(name, verdict, reason) of each TAP line; a name may end in its duration."""
    for line in text.splitlines():
        match = TAP_LINE.match(line)
        if not match:
            continue
        is_not_ok, name, directive, reason = match.groups()
        name = re.sub(r"\s*\([\d.]+ ?m?s\)\s*$", "", name.strip())
        if directive and directive.upper().startswith("SKIP"):
            yield name, "skip", reason
        else:
            yield name, "fail" if is_not_ok else "pass", ""


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def cases_of(test):
    """The cases of one program; a program that failed has at least one failed case."""
    output = test.get("stdout") or ""
    result = test["result"]
    cases = list(tap_cases(output)) if output.startswith("TAP version") else []
    if result in FAILED:
        if not any(verdict == "fail" for _, verdict, _ in cases):
            cases.append((f"({result.lower()}, exit status {test.get('returncode')})", "fail", ""))
    elif result == "SKIP":
        cases = cases or [("", "skip", re.sub(r"^1\.\.0 # SKIP ", "", last_line(output)))]
    elif not cases:
        cases = [("", "pass", "")]
    return cases


def newest_log(build):
    logs = glob.glob(os.path.join(build, "meson-logs", "testlog*.json"))
    return max(logs, key=os.path.getmtime) if logs else None


def read_log(path):
    with open(path, encoding="utf-8", errors="replace") as log:
        return [json.loads(line) for line in log if line.strip()]


def indented_tail(text):
    return "".join(f"    {line}\n" for line in text.splitlines()[-TAIL_LINES:])


def leftovers():
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "system", "leftovers.sh")
    return subprocess.run([script], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def left_behind(before):
    """What differs from @before; the kernel may take a moment to free what has been given up."""
    for _ in range(20):
        after = leftovers()
        if after == before:
            return []
        time.sleep(0.5)
    return [line for line in difflib.unified_diff(before, after, lineterm="", n=0) if line[:2].strip("+-@")]


def run_meson(build, options):
    """Its exit status. It ends when we are told to end, or are killed, and ends its tests."""
    command = ["meson", "test", "-C", build, "--no-rebuild", *options]
    if shutil.which("setpriv"):
        command = ["setpriv", "--pdeathsig", "TERM", "--", *command]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as meson:
        signal.signal(signal.SIGTERM, lambda *_: meson.terminate())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells meson too, which then says what came out
        return meson.wait()


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip(), file=sys.stdout if len(sys.argv) > 1 else sys.stderr)
        return 0 if len(sys.argv) > 1 else 2
    build, options = sys.argv[1], sys.argv[2:]
    is_checked = "--check-leftovers" in options
    if is_checked:
        options.remove("--check-leftovers")
        before = leftovers()
    for log in glob.glob(os.path.join(build, "meson-logs", "testlog*.json")):
        os.remove(log)
    status = run_meson(build, options)

    path = newest_log(build)
    tests = read_log(path) if path else []
    counts = {"pass": 0, "fail": 0, "skip": 0}
    failed, skipped = [], []
    for test in tests:
        cases = cases_of(test)
        for name, verdict, reason in cases:
            counts[verdict] += 1
            label = f"{test['name']}: {name}" if name else test["name"]
            if verdict == "fail":
                failed.append(label)
            elif verdict == "skip":
                skipped.append(f"{label}: {reason}" if reason else label)
        if any(verdict == "fail" for _, verdict, _ in cases):
            print(f"\n-- {test['name']} failed; the end of what it said:")
            print(indented_tail((test.get("stdout") or "") + (test.get("stderr") or "")), end="")

    if is_checked:
        changes = left_behind(before)
        counts["fail" if changes else "pass"] += 1
        failed += [f"the machine is not as it was before: {line}" for line in changes]

    for title, labels in (("Skipped:", skipped), ("Failed:", failed)):
        if labels:
            print("\n" + title)
            print("".join(f"  {label}\n" for label in labels), end="")
    if not tests:
        print("\nNo test ran")
    elif status and not failed:
        # Meson saw an error that is in no test's log: it must not be lost.
        counts["fail"] += 1
        print(f"\nFailed:\n  meson test ended with {status}")
    print(f"\n{counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped")
    return 0 if tests and counts["fail"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
