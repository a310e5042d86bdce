#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Plants bugs in a private copy of the tree, one at a time; the test that each names must find it.

    mutants.py [--work DIR] [--sample N [--seed S]] [--only NAME...] [--results FILE]
    mutants.py --stand       only look whether every text that a mutant replaces still stands exactly once
    mutants.py --list
    mutants.py --table FILE  the table of README.md from the results in FILE

The copy and its build stay in DIR (default: build/mutants), so that a later run compiles only what changed. Before a
test may judge mutants it has to pass without one. Exit status: 0 all caught, 1 a mutant survived, 2 a text does not stand
any more or a test fails by itself. What this machine cannot run is said, and counts as neither.
"""
import argparse
import fnmatch
import json
import os
import pathlib
import random
import re
import shlex
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from planted import MUTANTS  # noqa: E402

# Programs of real processes find a mutant by chance, where the scheduler finds it by search: they have several tries.
TRIES = {"tsan_ring": 8, "step": 2, "bus_again_threads": 4, "torture_ring": 8, "scribble": 8}

# What tests of whole systems run beside themselves.
PROGRAMS = {"hugebusd", "hugebus", "hugebus-daemon"}

NOT_COPIED = {".git", "__pycache__"}


class Broken(Exception):
    """The mutants cannot be judged."""


# -- the private copy --

def wanted_files(root, work):
    for directory, names, files in os.walk(root):
        path = pathlib.Path(directory)
        names[:] = [n for n in names if n not in NOT_COPIED and path / n != work
                    and not (path / n / "meson-info").is_dir()]
        for name in files:
            yield (path / name).relative_to(root)


def write_if_new(path, content, mode):
    """Leaves the time of an unchanged file alone: only what changed is compiled again."""
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    path.chmod(mode)


def copy_tree(root, tree, work):
    wanted = set(wanted_files(root, work))
    for file in wanted:
        source = root / file
        if source.is_file():
            write_if_new(tree / file, source.read_bytes(), source.stat().st_mode & 0o777)
    for file in set(wanted_files(tree, tree / "build")) - wanted:
        (tree / file).unlink()


def quietly(command, cwd, what, env=None):
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=env)
    if result.returncode != 0:
        raise Broken(f"{what}:\n" + "\n".join((result.stdout + result.stderr).splitlines()[-25:]))
    return result.stdout


def compile_cached():
    """With ccache, objects of the tree beside it are hits."""
    env = dict(os.environ)
    env.setdefault("CCACHE_NOHASHDIR", "1")
    return env


class Tree:
    def __init__(self, root, work, cc):
        self.path = work / "tree"
        self.build = self.path / "build"
        self.path.mkdir(parents=True, exist_ok=True)
        copy_tree(root, self.path, work)
        env = compile_cached()
        if cc:
            env["CC"] = cc
        if not (self.build / "build.ninja").exists():
            quietly(["meson", "setup", "-Dwerror=false", self.build, self.path], self.path, "meson setup fails", env)
        self.env = env
        self.read_tests()

    def read_tests(self):
        # What was changed in the build files is taken in before the tests are read.
        quietly(["ninja", "build.ninja"], self.build, "meson fails", self.env)
        tests = json.loads(quietly(["meson", "introspect", "--tests", self.build], self.path, "introspection fails"))
        targets = json.loads(quietly(["meson", "introspect", "--targets", self.build], self.path, "introspection fails"))
        names = [test["name"] for test in tests]
        if len(set(names)) != len(names):
            raise Broken("two tests are named " + ", ".join(sorted({n for n in names if names.count(n) > 1})))
        self.tests = {test["name"]: test for test in tests}
        self.files = {t["id"]: [os.path.relpath(f, self.build) for f in t["filename"]] for t in targets}
        self.programs = [file for t in targets if t["name"] in PROGRAMS for file in self.files[t["id"]]]

    def test_of(self, check):
        name = check.split()[0]
        if name not in self.tests:
            return None
        return self.tests[name]

    def ninja(self, check):
        """Builds what the test needs: what it says, and the programs that whole-system tests run. For scripts all."""
        test = self.test_of(check)
        files = [file for target in test["depends"] for file in self.files[target]]
        is_script = test["cmd"][0].endswith(".sh")
        if "HBUS_BUILD" in test["env"]:
            files += self.programs
        command = ["ninja", *([] if is_script else files)]
        result = subprocess.run(command, cwd=self.build, capture_output=True, text=True, check=False, env=self.env)
        return "" if result.returncode == 0 else (result.stdout + result.stderr)[-3000:] or "ninja fails"

    def run(self, check, seconds):
        """(exit status or None for too long, output)"""
        test = self.test_of(check)
        with subprocess.Popen([*test["cmd"], *shlex.split(check)[1:]], cwd=test["workdir"] or self.build,
                              env={**os.environ, **test["env"]}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True) as process:
            try:
                output, _ = process.communicate(timeout=seconds)
                return process.returncode, output
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                output, _ = process.communicate()
                return None, output


# -- judging --

def skip_reason(status, output):
    lines = output.strip().splitlines() or ["?"]
    match = re.search(r"^1\.\.0 # SKIP (.*)$", output, re.M)
    if match:
        return match.group(1)
    cases = [line for line in lines if re.match(r"(not )?ok\b", line)]
    if cases and all(re.search(r"# SKIP", line, re.I) for line in cases):
        return re.sub(r".*# SKIP\s*", "", cases[0], flags=re.I) or "skipped"
    return lines[-1] if status == 77 else None


class Judge:
    def __init__(self, tree):
        self.tree = tree
        self.passed = {}  # check: seconds that it took, or the reason why it cannot run

    def baseline(self, check):
        if check in self.passed:
            return self.passed[check]
        if not self.tree.test_of(check):
            self.passed[check] = "this build has no test " + check.split()[0]
            return self.passed[check]
        error = self.tree.ninja(check)
        if error:
            raise Broken(f"the tree does not build:\n{error}")
        started = time.monotonic()
        status, output = self.tree.run(check, self.tree.test_of(check)["timeout"])
        reason = skip_reason(status, output) if status in (0, 77) else None
        if status not in (0, 77):
            raise Broken(f"{check} fails without a mutant:\n" + "\n".join(output.splitlines()[-25:]))
        self.passed[check] = reason or time.monotonic() - started
        return self.passed[check]

    def judge(self, mutant):
        """(verdict, why, seconds): caught, survived, unrun, broken"""
        before = self.baseline(mutant.check)
        if isinstance(before, str):
            return "unrun", before, 0
        path = self.tree.path / mutant.file
        original = path.read_bytes() if path.exists() else b""
        if original.decode().count(mutant.old) != 1:
            return "broken", "its text does not stand once in " + mutant.file, 0
        started = time.monotonic()
        try:
            path.write_text(mutant.planted(path.read_text()))
            error = self.tree.ninja(mutant.check)
            if error:
                return "broken", "does not compile:\n" + error, time.monotonic() - started
            limit = min(self.tree.test_of(mutant.check)["timeout"], max(30, 10 * before))
            for _ in range(TRIES.get(mutant.check.split()[0], 1)):
                status, output = self.tree.run(mutant.check, limit)
                if status != 0:
                    break
        finally:
            path.write_bytes(original)
        seconds = time.monotonic() - started
        if status == 0:
            return "survived", "", seconds
        return "caught", what_failed(status, output, limit), seconds


def what_failed(status, output, limit):
    """The first case that failed, or the last thing that was said."""
    match = re.search(r"^not ok\b\s*\d*\s*-?\s*(.*)$", output, re.M)
    if match:
        return re.sub(r"\s*\([\d.]+ ?m?s\)\s*$", "", match.group(1).strip())
    if status is None:
        return f"not done after {limit:.0f} s"
    match = re.search(r"SUMMARY: (ThreadSanitizer: [a-z ]+)", output)
    if match:
        return match.group(1).strip()
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if status < 0:
        return f"{signal.Signals(-status).name}" + (f": {lines[-1]}" if lines else "")
    return lines[-1] if lines else f"exit status {status}"


# -- the table --

def neutral(text):
    """What differs from run to run is left out of a table that is kept."""
    text = re.sub(r"/\S*/build/", "", text)  # where the copy stands is nobody's business
    text = re.sub(r"0x[0-9a-f]+|\b\d{3,}\b", "N", text)
    return text.replace("|", "\\|").replace("`", "'")[:90]


def table(results):
    lines = ["| planted in | mutant | what it does | caught by | case or message | s |", "|---|---|---|---|---|---|"]
    for m in MUTANTS:
        r = results.get(m.name)
        verdict = "not run here" if not r or r["verdict"] == "unrun" else r["why"] if r["verdict"] == "caught" else "**survived**"
        lines.append(f"| `{m.file}` | {m.name} | {m.what} | `{m.check.split()[0]}` | {neutral(verdict)} | "
                     f"{r['seconds'] if r else 0:.1f} |")
    return "\n".join(lines)


def write_table(readme, results):
    text = readme.read_text()
    begin, end = "<!-- table -->\n", "<!-- end of table -->"
    head, tail = text.split(begin)[0], text.split(end)[1]
    n = sum(results.get(m.name, {}).get("verdict") == "caught" for m in MUTANTS)
    readme.write_text(f"{head}{begin}{table(results)}\n\n{n} of {len(MUTANTS)} caught.\n{end}{tail}")


# -- main --

def check_stand(root):
    gone = []
    for mutant in MUTANTS:
        path = root / mutant.file
        n = path.read_text().count(mutant.old) if path.exists() else 0
        if n != 1:
            gone.append(f"{mutant.name}: its text stands {n} times in {mutant.file}")
    names = [m.name for m in MUTANTS]
    gone += [f"{name}: two mutants have this name" for name in set(names) if names.count(name) > 1]
    return gone


def choose(args):
    return [m for m in MUTANTS if not args.only or any(fnmatch.fnmatch(m.name, p) or m.file.startswith(p) for p in args.only)]


def sample(chosen, n, seed, tree):
    """Of those that stand (--stand says which do not) and whose test is one program: for whole systems most would be built."""
    small = [m for m in chosen if "HBUS_BUILD" not in (tree.test_of(m.check) or {"env": {}})["env"]
             and (tree.path / m.file).exists() and (tree.path / m.file).read_text().count(m.old) == 1]
    return random.Random(seed).sample(small, min(n, len(small)))


def run(args, chosen):
    tree = Tree(args.root.resolve(), args.work.resolve(), args.cc)
    if args.sample:
        chosen = sample(chosen, args.sample, args.seed, tree)
    judge = Judge(tree)
    counts = dict.fromkeys(("caught", "survived", "unrun", "broken"), 0)
    results = json.loads(args.results.read_text()) if args.results and args.results.exists() else {}
    print(f"seed {args.seed}: {len(chosen)} of {len(MUTANTS)} mutants", flush=True)
    for number, mutant in enumerate(chosen, 1):
        verdict, why, seconds = judge.judge(mutant)
        counts[verdict] += 1
        results[mutant.name] = {"verdict": verdict, "why": why, "seconds": round(seconds, 1)}
        shown = why if verdict == "broken" else why[:100]
        print(f"{number:3}/{len(chosen)} {mutant.name:40} {verdict:8} {mutant.check.split()[0]:16} {seconds:5.1f} s  {shown}",
              flush=True)
        if args.results:
            args.results.write_text(json.dumps(results, indent=1))
    print(f"{counts['caught']} caught, {counts['survived']} survived, {counts['unrun']} not run")
    if counts["broken"]:
        return 2
    if counts["unrun"] == len(chosen):
        return 77
    return 1 if counts["survived"] else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help="the tree that is copied")
    parser.add_argument("--work", type=pathlib.Path, help="where the copy and its build are kept")
    parser.add_argument("--cc", help="the compiler")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", nargs="+", help="names, patterns of names, or the beginning of a path")
    parser.add_argument("--results", type=pathlib.Path)
    parser.add_argument("--stand", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table", type=pathlib.Path)
    args = parser.parse_args()
    args.work = args.work or args.root / "build" / "mutants"
    if args.stand:
        gone = check_stand(args.root)
        print("\n".join(gone) or f"{len(MUTANTS)} mutants stand")
        return 2 if gone else 0
    if args.list:
        for m in MUTANTS:
            print(f"{m.name:40} {m.file:36} {m.check}")
    elif args.table:
        write_table(HERE / "README.md", json.loads(args.table.read_text()))
    else:
        chosen = choose(args)
        if not chosen:
            print("no such mutant")
            return 2
        try:
            return run(args, chosen)
        except Broken as why:
            print(why)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
