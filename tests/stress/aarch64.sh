#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Builds the ring's tests as static programs for aarch64 and runs them with qemu-user: compiler, alignment and page
# arithmetic, not the memory order of the machine (qemu runs on the host's; sched_ring simulates a weaker one).
#
#     aarch64.sh SOURCE-ROOT
set -euo pipefail
root=$1
cc=aarch64-linux-gnu-gcc

for tool in "$cc" qemu-aarch64; do
	command -v "$tool" >/dev/null || { echo "skipped: no $tool (packages gcc-aarch64-linux-gnu, qemu-user)"; exit 77; }
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

build() {
	local name=$1
	shift
	(cd "$root" && "$cc" -static -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -Wno-sign-compare -pthread -I. "$@" -o "$dir/$name")
}

build sched_ring tests/stress/explore.c tests/stress/sched_ring.c
build threads tests/stress/tsan_ring.c shm/*.c
build torture_ring tests/crash/torture_ring.c shm/*.c
build scribble tests/crash/scribble.c shm/*.c
build fuzz_ring tests/fuzz/fuzz_ring.c tests/fuzz/driver.c shm/*.c
for scenario in lossy reliable crash join die evict sleep; do
	qemu-aarch64 "$dir/sched_ring" --scenario "$scenario" --count 1000
done
qemu-aarch64 "$dir/threads" 2000
qemu-aarch64 "$dir/torture_ring" --seconds 3
qemu-aarch64 "$dir/scribble" --seconds 2
qemu-aarch64 "$dir/fuzz_ring" "$root"/tests/fuzz/corpus/ring/*
