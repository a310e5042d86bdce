#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Fails on what a reader of this tree must be able to rely on without looking.

    tests/style/check_style.py [ROOT]      check a tree; prints FILE:LINE: RULE: what is wrong

The rules are the functions rule_*() below, each with its reason. They look at text, not at what a
compiler sees: a rule that is wrong for a line is changed here, with the reason, not worked around there.
test_check_style.py plants a violation of each rule and sees it found.
"""
import os
import re
import sys

# -- which directory may use what: the first matching prefix counts; tests/ and bench/ may use all --
EDGES = [
    # directory, the project's headers it may include, <system> headers beyond libc and Linux
    ("shm/", ["shm/"], []),
    ("ebpf/", ["ebpf/"], ["bpf/", "xdp/"]),
    ("ctl/proto/", ["ctl/proto/", "shm/layout.h"], []),
    ("ctl/client/", ["ctl/client/", "ctl/proto/", "shm/"], []),
    # what every main() does about its output
    ("program/", ["program/"], []),
    ("ctl/daemon/", ["ctl/daemon/", "program/", "ctl/proto/", "ctl/client/hugebus.h", "shm/"], ["libconfig.h", "jansson.h"]),
    ("ctl/cli/", ["ctl/cli/", "program/", "ctl/proto/", "ctl/client/hugebus.h", "ebpf/filter_abi.h", "ebpf/loader.h",
                  "shm/counters.h"], ["jansson.h"]),
    # topic names and filters are one module for all doors of the bus
    ("dataplane/mqtt/", ["dataplane/mqtt/", "program/", "ctl/proto/topic", "ctl/proto/siphash.h", "ctl/client/hugebus.h", "shm/"],
     ["openssl"]),
    # the stack stands between the poll loops and the engine, and is no part of either
    ("dataplane/tcp/", ["dataplane/", "ebpf/filter_abi.h", "ebpf/loader.h", "ctl/proto/siphash.h", "ctl/client/hugebus.h", "shm/"],
     ["rte_", "lwip", "urcu"]),
    # its sessions are the MQTT engine's
    ("dataplane/mqttsn/", ["dataplane/", "ebpf/filter_abi.h", "ebpf/loader.h", "ctl/proto/topic",
                           "ctl/proto/siphash.h", "ctl/client/hugebus.h", "shm/"], ["rte_", "urcu"]),
    # streams of strangers are told apart by the same keyed hash as topics
    ("dataplane/passive/", ["dataplane/", "ctl/proto/topic", "ctl/proto/siphash.h", "ctl/client/hugebus.h", "shm/"], []),
    ("dataplane/", ["dataplane/", "program/", "ebpf/filter_abi.h", "ebpf/loader.h", "ctl/client/hugebus.h", "shm/"],
     ["rte_", "urcu", "bpf/bpf.h", "bpf/libbpf.h", "jansson.h"]),
    ("examples/", ["ctl/client/hugebus.h", "hugebus.h", "examples/"], ["hugebus.h", "pcap/"]),
]
FREE = ("tests/", "bench/")
EXTERNAL = re.compile(r"^(rte_|urcu|bpf/|xdp/|libconfig|jansson|pcap|criterion|lwip|openssl|curl)")

ABI_HEADERS = ("shm/layout.h", "shm/counters.h", "ctl/proto/proto.h", "ebpf/filter_abi.h")
# In an ABI header, but never in shared memory or on a wire.
PRIVATE_STRUCTS = {"hbus_geometry"}

# volatile says something to the compiler here, and nothing to another thread.
VOLATILE_OK = ("shm/copy.h", ".bpf.c", ".bpf.h")
# A store must be ordered before a load there (wait.h has the argument).
SEQ_CST_OK = ("shm/wait.c", "shm/wait.h", "shm/gate.c", "shm/gate.h", "shm/ring_pub.c", "shm/ring_pub.h", "ctl/client/wait.c")
# Libraries return errors; programs print them.
PRINT_DENIED = ("shm/", "ebpf/", "ctl/proto/", "ctl/client/", "ctl/daemon/", "dataplane/")
PRINT_OK = re.compile(r"(^|/)(main|log|\w+_main|options|usage)\.c$")

SOURCE = re.compile(r"(\.(c|h|cc|py|sh|pml|map|in)|(^|/)(meson\.build|meson_options\.txt|run|demo))$")
BUILD_DIR_MARKS = ("build.ninja", "meson-info")


class Source:
    """One file: lines as they are, as code (comments and strings blanked), and as comments."""

    def __init__(self, path, text):
        self.path = path
        self.lines = text.split("\n")
        self.is_c = path.endswith((".c", ".h", ".cc"))
        code, comment = split_c(text) if self.is_c else (text, text)
        self.code = code.split("\n")
        self.comment = comment.split("\n")


def split_c(text):
    """@text with comments and string contents blanked, and with everything but comments blanked."""
    code, comment = [], []
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    at = 0
    blank = lambda s: re.sub(r"[^\n]", " ", s)
    for match in pattern.finditer(text):
        between, token = text[at:match.start()], match.group()
        code.append(between)
        comment.append(blank(between))
        if token.startswith("/"):
            code.append(blank(token))
            comment.append(token)
        else:
            code.append(token[0] + blank(token[1:-1]) + token[-1])
            comment.append(blank(token))
        at = match.end()
    code.append(text[at:])
    comment.append(blank(text[at:]))
    return "".join(code), "".join(comment)


def around(source, line_no, before):
    """Comments of the line and of the @before lines above it."""
    return "\n".join(source.comment[max(0, line_no - before):line_no + 1])


# -- rules on one file: yield (line number from 0, message) --

def rule_licence(source):
    """Every source file says under which licence it stands."""
    if not SOURCE.search(source.path):
        return
    is_bpf = source.path.endswith((".bpf.c", ".bpf.h")) or source.path == "ebpf/filter_abi.h"
    wanted = "SPDX-License-Identifier: BSD-3-Clause" + (" OR GPL-2.0-only" if is_bpf else "")
    head = "\n".join(source.lines[:3]).replace("(", "").replace(")", "")
    if not re.search(re.escape(wanted) + r"( \*/|$)", head, re.M):
        yield 0, f"its first lines lack '{wanted}'"


def rule_include(source):
    """The arrows between directories run one way, and few use a library beyond libc."""
    if not source.is_c or source.path.startswith(FREE):
        return
    edge = next((edge for edge in EDGES if source.path.startswith(edge[0])), None)
    for n, line in enumerate(source.lines):
        match = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
        if not match:
            continue
        if edge is None:
            yield n, f"no rule says what '{source.path}' may include"
            return
        quote, name = match.groups()
        directory, own, external = edge
        if quote == '"':
            full = name if "/" in name else os.path.dirname(source.path) + "/" + name
            if not full.startswith(tuple(own)):
                yield n, f"{directory} may not include '{name}'"
        elif EXTERNAL.match(name) and not name.startswith(tuple(external)):
            yield n, f"{directory} may not use <{name}>"


def rule_volatile(source):
    """volatile orders nothing between threads or processes."""
    if not source.is_c or source.path.endswith(VOLATILE_OK):
        return
    for n, line in enumerate(source.code):
        if re.search(r"\bvolatile\b", re.sub(r"\b(__asm__|asm)\s+volatile\b|\bvolatile\s+sig_atomic_t\b", "", line)):
            yield n, "volatile is not a means of synchronisation; use _Atomic"


def rule_atomic(source):
    """The order of every atomic access is written out."""
    if not source.is_c or source.path.endswith((".bpf.c", ".bpf.h")):
        return
    implicit = re.compile(r"\b(atomic_(?:load|store|exchange|compare_exchange_\w+?|fetch_\w+?|flag_\w+?))\s*\(")
    own = set(re.findall(r"^(?:static\s+)?_Atomic\s*(?:\(\w+\)|\w+)\s+(\w+)", "\n".join(source.code), re.M))
    plain = re.compile(r"(?<![\w.>&])(%s)\s*(=(?!=)|\+=|-=|\|=|&=|\+\+|--)" % "|".join(own)) if own else None
    for n, line in enumerate(source.code):
        for name in implicit.findall(line):
            if not name.endswith("_explicit"):
                yield n, f"{name}() hides its order: use {name}_explicit()"
        if re.search(r"\b__(sync|atomic)_\w+\s*\(", line):
            yield n, "compiler builtins instead of <stdatomic.h>"
        if plain and "_Atomic" not in line and plain.search(line):
            yield n, "plain access to an _Atomic hides its order"


def rule_seq_cst(source):
    """A full fence stands only where a store must come before a load, and says why."""
    if not source.is_c or source.path.startswith(FREE):
        return
    for n, line in enumerate(source.code):
        if "memory_order_seq_cst" not in line or "atomic_signal_fence" in line:
            continue
        if source.path not in SEQ_CST_OK:
            yield n, "memory_order_seq_cst outside the waiting and gate code"
        elif not around(source, n, 4).strip():
            yield n, "memory_order_seq_cst without a comment that says which store and load it orders"


def rule_order_comment(source):
    """Each acquire and release names its edge; each relaxed access says why that is enough."""
    if not source.is_c or source.path.startswith(FREE) or source.path.endswith((".bpf.c", ".bpf.h")):
        return
    begin = 0
    for n, line in enumerate(source.code):
        if line.startswith(("{", "}")) or re.match(r"#define\b", line):
            begin = n
        if re.search(r"memory_order_(acquire|release|acq_rel)\b", line):
            if not re.search(r"\b[RA]\([\w.]+\)", around(source, n, 8)):
                yield n, "acquire or release without an edge label, R(name) or A(name), in the comment above"
        elif "memory_order_relaxed" in line:
            head = begin
            while head > 0 and source.lines[head - 1].strip() and not source.lines[head - 1].startswith("}"):
                head -= 1
            if "relaxed" not in "\n".join(source.comment[head:n + 1]):
                yield n, "relaxed access without a comment in this function that says why it is enough"


def rule_abi(source):
    """What is shared has asserted sizes and types that are the same for every compiler."""
    if source.path not in ABI_HEADERS:
        return
    code = "\n".join(source.code)
    asserted = set(re.findall(r"ssert\([^;]*?sizeof\(struct (\w+)\)", code))
    if "HBUS_MSG_TABLE(HBUS_MSG_ASSERT_SIZE)" in code:
        asserted |= set(re.findall(r"X\(\w+, struct (\w+)\)", code))
    inside = None
    for n, line in enumerate(source.code):
        match = re.match(r"struct (\w+) \{", line)
        if match:
            inside = match.group(1)
            if inside not in asserted and inside not in PRIVATE_STRUCTS:
                yield n, f"the size of struct {inside} is not asserted"
        elif line.startswith("}"):
            inside = None
        elif inside and inside not in PRIVATE_STRUCTS:
            if re.search(r"\b(bool|enum|long|size_t|unsigned int|int)\b|\*\s*\w+\s*[;\[]", line):
                yield n, "a type whose size or meaning differs between compilers or processes"
            if re.search(r"\w\s*:\s*\d+\s*;", line):
                yield n, "a bit field"
            if re.search(r"__packed|packed", line):
                yield n, "a packed struct"


def rule_public_header(source):
    """The installed header compiles everywhere, C++ too, and shows no shared word."""
    if source.path != "ctl/client/hugebus.h":
        return
    for n, line in enumerate(source.code):
        if re.search(r"\b_Atomic\b|stdatomic", line):
            yield n, "atomics in the installed header"
        match = re.match(r'\s*#\s*include\s+"', source.lines[n])
        if match:
            yield n, "the installed header includes a header that is not installed"


def rule_print(source):
    """Libraries return errors; only programs talk."""
    if not source.is_c or not source.path.startswith(PRINT_DENIED) or PRINT_OK.search(source.path):
        return
    for n, line in enumerate(source.code):
        if re.search(r"(?<![\w.>])((v?f|v|vd|d)?printf|f?puts|perror|putchar)\s*\(", line):
            yield n, "printing outside a program's own file"


def rule_text(source):
    """No path of one machine, nothing left unfinished, no trailing blanks."""
    for n, line in enumerate(source.lines):
        if re.search(r"(?<![\w.])/(?:home|root|work|Users|mnt)/[a-z]", line):
            yield n, "a path of one machine"
        if re.search(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b(?!\(#\d+\))", line):
            yield n, "a note of unfinished work without an issue number"
        if line != line.rstrip() and not source.path.endswith(".md"):
            yield n, "blanks at the end of the line"


def rule_changelog(source):
    """A merge that takes the lines of both sides leaves an entry twice, perhaps in two versions."""
    entries = set()
    for n, line in enumerate(source.lines if source.path == "CHANGELOG.md" else []):
        if line.startswith("## "):
            entries.clear()
        if line.startswith("- "):
            name = line.split("**")[1] if line.startswith("- **") else re.sub(r"\d+", "", line)
            if name in entries:
                yield n, "an entry that stands there already"
            entries.add(name)


# -- rules on the whole tree: yield (path, line number from 0, message) --

def rule_edges(sources):
    """Every edge label has both its ends, and those of shm/ stand in shm/DESIGN.md."""
    ends, listed = {}, {}
    for source in sources:
        if source.path == "shm/DESIGN.md":
            for n, line in enumerate(source.lines):
                match = re.match(r"\| (\w+\.\w+) \|.*\| A: ", line)
                if match:
                    listed[match.group(1)] = n
        if not source.is_c or source.path.startswith(FREE):
            continue
        for n, line in enumerate(source.comment):
            for kind, name in re.findall(r"\b([RA])\((\w+\.\w+)\)", line):
                # "pairs with R(x)" speaks of the other end
                if not re.search(r"(pairs|paired|as) with " + re.escape(f"{kind}({name})"), line):
                    ends.setdefault(name, {}).setdefault(kind, (source.path, n))
    for name, kinds in sorted(ends.items()):
        path, n = next(iter(kinds.values()))
        for kind, what in (("R", "release"), ("A", "acquire")):
            if kind not in kinds:
                yield path, n, f"edge {name} has no {what} end"
        if path.startswith("shm/") and name not in listed:
            yield path, n, f"edge {name} is not in shm/DESIGN.md"
    for name, n in listed.items():
        if name not in ends:
            yield "shm/DESIGN.md", n, f"edge {name} is not in the code"


FILE_RULES = [rule_licence, rule_include, rule_volatile, rule_atomic, rule_seq_cst, rule_order_comment, rule_abi,
              rule_public_header, rule_print, rule_text, rule_changelog]
TREE_RULES = [rule_edges]


def check(sources):
    """All violations as (path, line from 1, rule, message)."""
    found = []
    for rule in FILE_RULES:
        for source in sources:
            found += [(source.path, n + 1, rule.__name__[5:], message) for n, message in rule(source)]
    for rule in TREE_RULES:
        found += [(path, n + 1, rule.__name__[5:], message) for path, n, message in rule(sources)]
    return sorted(found)


def read_tree(root):
    sources = []
    for directory, subdirs, files in os.walk(root):
        if any(mark in files or mark in subdirs for mark in BUILD_DIR_MARKS):
            subdirs.clear()
            continue
        subdirs[:] = [d for d in subdirs if d == ".ci" or not d.startswith((".", "__", "build"))]
        for name in files:
            path = os.path.relpath(os.path.join(directory, name), root)
            if SOURCE.search(path) or path.endswith(".md"):
                with open(os.path.join(root, path), encoding="utf-8") as file:
                    sources.append(Source(path, file.read()))
    return sources


def main():
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    root = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else default)
    sources = read_tree(root)
    found = check(sources)
    for path, line, rule, message in found:
        print(f"{path}:{line}: {rule}: {message}")
    print(f"{len(sources)} files, {len(found)} violations")
    return 1 if found or not sources else 0


if __name__ == "__main__":
    sys.exit(main())
