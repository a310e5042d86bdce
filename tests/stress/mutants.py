#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Plants bugs in copies of shm's sources, one at a time; the tests here and in ../crash must find each.

    mutants.py SOURCE-ROOT CC [--sample N [--seed S]] [--only NAME]

A mutant whose text is not found in the source any more is an error: it has to follow the code.
"""
import argparse
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

# name, file, what stands there, what is planted, the scenario of sched_ring, or the program, that must fail
MUTANTS = [
    ("intent-not-rounded", "ring_pub.h",
     "(end + HBUS_RECORD_HEADER + pub->block_mask) & ~pub->block_mask", "end + HBUS_RECORD_HEADER", "lossy"),
    ("intent-without-zero-word", "ring_pub.h",
     "end + HBUS_RECORD_HEADER + pub->block_mask", "end + pub->block_mask", "lossy"),
    ("batch-shown-record-by-record", "ring_pub.h",
     "pub->first_word = word;\n\t} else {", "pub->first_word = word;\n\t}\n\t{", "lossy"),
    ("early-zero-believed", "ring_pub.h",
     "\t\tpub->zeroed = pub->head; /* no longer: and what lies ahead may have been scribbled on */\n", "", "lossy"),
    ("intent-falls-on-abort", "ring_pub.h",
     "pub->head = pub->tail;\n\tpub->n_pending = 0;",
     "pub->head = pub->tail;\n\tpub->n_pending = 0;\n\tpub->intent = pub->tail;", "lossy"),
    ("nobody-woken", "ring_pub.h", "return hbus_gates_has_waiter(pub->gates);", "return false;", "sleep"),
    ("gates-not-obeyed", "ring_pub.c", "if ((int64_t)(need - permit) > 0)", "if (permit == 0)", "reliable"),
    ("payload-before-intent", "ring_pub.c",
     "\tatomic_store_explicit(&pub->header->intent, need, memory_order_relaxed);\n"
     "\tatomic_thread_fence(memory_order_release);\n",
     "\tatomic_thread_fence(memory_order_release);\n"
     "\tatomic_store_explicit(&pub->header->intent, need, memory_order_relaxed);\n", "lossy"),
    ("unwritten-checkpoints-are-zero", "ring_pub.c", "HBUS_CHECKPOINT_NONE, memory", "0, memory", "lossy"),
    ("close-wakes-nobody", "ring_pub.c", "\thbus_gates_wake(pub->gates, &pub->header->notify);\n", "", "sleep"),
    ("one-block-too-generous", "ring_sub.h",
     "return intent - position <= sub->capacity;",
     "return intent - position <= sub->capacity + sub->block_mask + 1;", "lossy"),
    ("release-does-not-look-again", "ring_sub.h",
     "\tif (!hbus_ring_sub_is_whole(sub, sub->batch_position))\n\t\treturn HBUS_RING_LAPPED;\n\tsub->batch_position",
     "\tsub->batch_position", "lossy"),
    ("zero-believed-at-once", "ring_sub.h",
     "if (!hbus_ring_sub_is_whole(sub, sub->batch_position))\n\t\treturn HBUS_RING_LAPPED;\n\treturn is_bad",
     "if (sub->stop_word && !hbus_ring_sub_is_whole(sub, sub->batch_position))\n"
     "\t\treturn HBUS_RING_LAPPED;\n\treturn is_bad", "lossy"),
    ("bad-word-believed-at-once", "ring_sub.h",
     "\tsub->stop_is_bad = false;\n\tif (!hbus_ring_sub_is_whole",
     "\tsub->stop_is_bad = false;\n\tif (is_bad)\n\t\treturn HBUS_RING_CORRUPT;\n\tif (!hbus_ring_sub_is_whole",
     "lossy"),
    ("checkpoint-not-checked", "ring_sub.c",
     "\tif (!hbus_ring_sub_is_whole(sub, position))\n\t\treturn false;\n", "", "lossy"),
    ("walk-too-short", "ring_sub.c", "sub->capacity / 4)", "sub->capacity / 64)", "crash"),
    ("loss-off-by-one", "ring_sub.c",
     "*ret_lost = place.sequence - sequence;", "*ret_lost = place.sequence - sequence - 1;", "lossy"),
    ("cursor-zero-at-zero", "ring_sub.c",
     "sub->position ? sub->position : 0 - (uint64_t)HBUS_RECORD_HEADER", "sub->position", "reliable"),
    ("cursor-never-stored", "ring_sub.c", "\tsub->cursor = sub->position;\n", "\treturn;\n", "reliable"),
    ("floor-at-adoption", "gate.c", "gate->floor = table->scan_tail;", "gate->floor = tail;", "join"),
    ("not-joined-read-as-position", "gate.c", "if (cursor == 0) /* not joined yet */", "if (cursor == 1)", "join"),
    ("left-by-the-reader-before", "gate.c",
     "if (cursor == HBUS_CURSOR_LEFT && !gate->has_joined)", "if (cursor == 1)", "join"),
    ("unmap-at-once", "gate.c", "while ((busy & 1) &&", "while (false && (busy & 1) &&", "join"),
    ("dropped-gate-still-gates", "gate.c", "== HBUS_GATE_READY &&\n\t       gate", "!= HBUS_GATE_FREE &&\n\t       gate",
     "die"),
    ("gate-shown-before-it-is-filled", "gate.c",
     "HBUS_GATE_READY, memory_order_release", "HBUS_GATE_READY, memory_order_relaxed", "tsan"),
    ("data-thread-leaves-early", "gate.h",
     "busy + 1, memory_order_release", "busy + 1, memory_order_relaxed", "tsan"),
    ("install-writes-data-threads-count", "gate.c",
     "\tgate->is_adopted = false;\n", "\tgate->is_adopted = false;\n\tgate->stalled_us = 0;\n", "tsan"),
    ("zero-word-forgotten-stepped", "ring_pub.h",
     "\tatomic_store_explicit(hbus_ring_pub_word(pub, position), 0, memory_order_relaxed);\n", "", "step"),
    ("batch-shown-record-by-record-stepped", "ring_pub.h",
     "pub->first_word = word;\n\t} else {", "pub->first_word = word;\n\t}\n\t{", "step"),
    ("gates-not-obeyed-tortured", "ring_pub.c", "if ((int64_t)(need - permit) > 0)", "if (permit == 0)", "torture"),
    ("loss-off-by-one-tortured", "ring_sub.c",
     "*ret_lost = place.sequence - sequence;", "*ret_lost = place.sequence - sequence - 1;", "torture"),
    ("zero-word-forgotten-tortured", "ring_pub.h",
     "\tatomic_store_explicit(hbus_ring_pub_word(pub, position), 0, memory_order_relaxed);\n", "", "torture"),
    ("length-not-bounded", "ring_sub.h",
     "if (!hbus_word_has_magic(word) || size > sub->record_max)", "if (!hbus_word_has_magic(word))", "fuzz"),
    ("length-not-bounded-scribbled", "ring_sub.h",
     "if (!hbus_word_has_magic(word) || size > sub->record_max)", "if (!hbus_word_has_magic(word))", "scribble"),
    ("header-word-loaded-twice", "ring_sub.h",
     "uint64_t size = hbus_word_length(word);",
     "uint64_t size = hbus_word_length(hbus_ring_sub_load_word(sub, sub->position));", "scribble"),
    ("padding-of-attributes-not-counted", "ring_sub.c",
     " || HBUS_ALIGN8((uint64_t)size) > left - 8", "", "fuzz"),
    ("run-beyond-its-record", "ring_sub.c", " || n * HBUS_ALIGN8(size) > left - 8", "", "fuzz"),
    ("position-of-checkpoint-not-aligned", "ring_sub.c", " || position % 8 != 0", "", "fuzz"),
]

# Scenarios that are programs of their own: sources, compiler arguments, arguments
PROGRAMS = {
    "tsan": ("tests/stress/tsan_ring.c", ["-fsanitize=thread", "-pthread"], ["1500"]),
    "step": ("tests/crash/step.c", [], []),
    "fuzz": ("tests/fuzz/fuzz_ring.c", ["tests/fuzz/driver.c"], []),
    "scribble": ("tests/crash/scribble.c", ["-pthread"], []),
    "torture": ("tests/crash/torture_ring.c", [], ["--seconds", "5"]),
}


def build(root, cc, tree, name, scenario):
    program = tree / ("mutant-" + name)
    if scenario in PROGRAMS:
        source, cc_args, _ = PROGRAMS[scenario]
        sources = [*cc_args, root / source, *(tree / "shm").glob("*.c")]
    else:
        sources = [root / "tests/stress/explore.c", root / "tests/stress/sched_ring.c"]
    subprocess.run([*cc.split(), "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-w", "-I", tree, "-I", root, *sources,
                    "-o", program], check=True, cwd=root)
    return program


# Programs of real processes find a mutant by chance, where the scheduler finds it by search: they have this many tries.
CHANCES = 8


def run(program, scenario):
    args = PROGRAMS[scenario][2] if scenario in PROGRAMS else ["--scenario", scenario, "--count", "20000"]
    for _ in range(CHANCES if scenario in PROGRAMS else 1):
        result = subprocess.run([program, *args], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            break
    return result


def plant(root, tree, mutant):
    name, file, old, new, _ = mutant
    shutil.rmtree(tree / "shm", ignore_errors=True)
    shutil.copytree(root / "shm", tree / "shm")
    path = tree / "shm" / file
    text = path.read_text()
    if text.count(old) != 1:
        sys.exit(f"{name}: its text stands {text.count(old)} times in shm/{file}")
    path.write_text(text.replace(old, new))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("cc")
    parser.add_argument("--sample", type=int, default=len(MUTANTS))
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only")
    args = parser.parse_args()
    chosen = [m for m in MUTANTS if args.only in (None, m[0])]
    chosen = random.Random(args.seed).sample(chosen, min(args.sample, len(chosen)))
    survivors = 0
    print(f"seed {args.seed}: {len(chosen)} of {len(MUTANTS)} mutants")
    with tempfile.TemporaryDirectory() as directory:
        tree = pathlib.Path(directory)
        for mutant in chosen:
            plant(args.root.resolve(), tree, mutant)
            program = build(args.root.resolve(), args.cc, tree, mutant[0], mutant[4])
            result = run(program, mutant[4])
            why = (result.stderr.strip().splitlines() or ["?"])[-1]
            survivors += result.returncode == 0
            print(f"{mutant[0]:36} {'SURVIVED' if result.returncode == 0 else why}", flush=True)
    print(f"{len(chosen) - survivors} caught, {survivors} survived")
    return survivors > 0


if __name__ == "__main__":
    sys.exit(main())
