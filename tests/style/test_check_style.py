#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Plants a violation of each rule of check_style.py and sees that exactly that rule finds it (TAP)."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import check_style  # noqa: E402

LICENCE = "/* SPDX-License-Identifier: BSD-3-Clause */\n"
PATH_OF_A_MACHINE = "/" + "home/somebody/tree"
UNFINISHED = "TO" + "DO"

# (what is planted, rule that must find it, path, text after the licence line)
PLANTED = [
    ("a file without a licence", "licence", "shm/a.c", None),
    ("a BPF file under the wrong licence", "licence", "ebpf/a.bpf.c", ""),
    ("shm includes ctl", "include", "shm/a.c", '#include "ctl/proto/proto.h"\n'),
    ("ebpf includes shm", "include", "ebpf/a.c", '#include "shm/layout.h"\n'),
    ("the client includes the daemon", "include", "ctl/client/a.c", '#include "ctl/daemon/state.h"\n'),
    ("the client uses a JSON library", "include", "ctl/client/a.c", "#include <jansson.h>\n"),
    ("the daemon includes the command line", "include", "ctl/daemon/a.c", '#include "ctl/cli/cli.h"\n'),
    ("a parser of the daemon uses DPDK", "include", "ctl/daemon/a.c", "#include <rte_mbuf.h>\n"),
    ("the data plane includes a test's header", "include", "dataplane/a.c", '#include "tests/unit/frames.h"\n'),
    ("a new directory without a rule", "include", "newdir/a.c", '#include "shm/layout.h"\n'),
    ("volatile between threads", "volatile", "ctl/client/a.c", "static volatile int is_done;\n"),
    ("an atomic access without its order", "atomic", "ctl/client/a.c", "int f(void)\n{\n\treturn atomic_load(&x);\n}\n"),
    ("an increment of an _Atomic", "atomic", "ctl/client/a.c", "static _Atomic int n;\nvoid f(void)\n{\n\tn++;\n}\n"),
    ("a compiler builtin", "atomic", "ctl/client/a.c", "void f(void)\n{\n\t__sync_synchronize();\n}\n"),
    ("a full fence far from wait.c", "seq_cst", "ctl/client/a.c",
     "/* R(a.b) A(a.b) */\nvoid f(void)\n{\n\tatomic_thread_fence(memory_order_seq_cst);\n}\n"),
    ("a full fence without a reason", "seq_cst", "shm/wait.c",
     "\n\n\n\nvoid f(void)\n{\n\tatomic_thread_fence(memory_order_seq_cst);\n}\n"),
    ("a release without a label", "order_comment", "ctl/client/a.c",
     "void f(void)\n{\n\tatomic_store_explicit(&x, 1, memory_order_release);\n}\n"),
    ("a relaxed access without a reason", "order_comment", "ctl/client/a.c",
     "void f(void)\n{\n\tatomic_store_explicit(&x, 1, memory_order_relaxed);\n}\n"),
    ("a shared struct of no asserted size", "abi", "shm/layout.h", "struct hbus_a {\n\tuint64_t x;\n};\n"),
    ("a bool in a shared struct", "abi", "shm/layout.h",
     'struct hbus_a {\n\tbool x;\n};\nstatic_assert(sizeof(struct hbus_a) == 1, "a");\n'),
    ("a pointer in a shared struct", "abi", "ctl/proto/proto.h",
     'struct hbus_a {\n\tuint8_t *x;\n};\nstatic_assert(sizeof(struct hbus_a) == 8, "a");\n'),
    ("a bit field in a shared struct", "abi", "shm/layout.h",
     'struct hbus_a {\n\tuint32_t x : 3;\n};\nstatic_assert(sizeof(struct hbus_a) == 4, "a");\n'),
    ("an atomic in the installed header", "public_header", "ctl/client/hugebus.h", "_Atomic int x;\n"),
    ("the installed header needs another one", "public_header", "ctl/client/hugebus.h", '#include "shm/layout.h"\n'),
    ("a library prints", "print", "shm/a.c", 'void f(void)\n{\n\tfprintf(stderr, "x");\n}\n'),
    ("a path of one machine", "text", "docs/a.md", f"See {PATH_OF_A_MACHINE}.\n"),
    ("unfinished work", "text", "shm/a.c", f"/* {UNFINISHED}: later */\n"),
    ("blanks at the end of a line", "text", "shm/a.c", "int x; \n"),
    ("an entry twice in two versions", "changelog", "CHANGELOG.md",
     "- **Proved**: 7 planted bugs, each noticed by its test.\n- **Proved**: 8 planted bugs, each noticed by it.\n"),
    ("a release that nobody acquires", "edges", "ctl/client/a.c",
     "/* R(a.b): this before that. */\n"),
    ("an acquire whose partner is named but missing", "edges", "ctl/client/a.c",
     "/* A(a.b): pairs with R(a.b) in f(). */\n"),
    ("an edge of shm that its design does not list", "edges", "shm/a.c", "/* R(a.b): x. */\n/* A(a.b): y. */\n"),
    ("an edge of the design that is not in the code", "edges", "shm/DESIGN.md", "| a.b | R: f | A: g | x | y |\n"),
]

CLEAN = [
    ("volatile for a signal handler", "shm/a.c", "static volatile sig_atomic_t is_stopped;\n"),
    ("forbidden words in strings and comments", "ctl/client/a.c", '/* no volatile here, no printf("x") */\nchar *s = "volatile";\n'),
    ("a labelled pair", "ctl/client/a.c",
     "void f(void)\n{\n\t/* R(a.b): x before y. */\n\tatomic_store_explicit(&x, 1, memory_order_release);\n"
     "\t/* A(a.b): pairs with R(a.b) in f(). */\n\tatomic_load_explicit(&x, memory_order_acquire);\n"
     "\t/* relaxed: only this thread writes it */\n\tatomic_load_explicit(&x, memory_order_relaxed);\n}\n"),
    ("a listed edge of shm", "shm/a.c", "/* R(a.b): x. */\n/* A(a.b): pairs with R(a.b) in f(). */\n"),
    ("an asserted shared struct", "shm/layout.h",
     'struct hbus_a {\n\tuint64_t x;\n};\nstatic_assert(sizeof(struct hbus_a) == 8, "a");\n'),
    ("allowed includes", "dataplane/a.c", '#include "shm/ring_pub.h"\n#include <rte_mbuf.h>\n#include <stdio.h>\n'),
    ("a program prints", "ctl/daemon/main.c", 'void f(void)\n{\n\tprintf("x");\n}\n'),
]
LISTED = "| a.b | R: f | A: g | x | y |\n"


def main():
    number = 0
    failed = 0

    def report(is_ok, name, found):
        nonlocal number, failed
        number += 1
        failed += not is_ok
        print(f"{'ok' if is_ok else 'not ok'} {number} - {name}")
        if not is_ok:
            print("".join(f"# {violation}\n" for violation in found) or "# nothing found\n", end="")

    print("TAP version 13")
    print(f"1..{len(PLANTED) + len(CLEAN) + 1}")
    for name, rule, path, text in PLANTED:
        source = check_style.Source(path, "int x;\n" if text is None else LICENCE + text)
        found = check_style.check([source])
        report({violation[2] for violation in found} == {rule}, f"{name} is found", found)
    for name, path, text in CLEAN:
        sources = [check_style.Source(path, LICENCE + text)]
        if name == "a listed edge of shm":
            sources.append(check_style.Source("shm/DESIGN.md", LISTED))
        found = check_style.check(sources)
        report(not found, f"{name} is left alone", found)
    rules = {rule.__name__[5:] for rule in check_style.FILE_RULES + check_style.TREE_RULES}
    unproved = rules - {planted[1] for planted in PLANTED}
    report(not unproved, "every rule was shown to find something", unproved)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
