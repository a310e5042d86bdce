#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The libraries that need no other, and their tests as plain static programs, with each compiler and optimisation:
#
#     tests/portability.sh                 gcc and clang, x86-64 and aarch64 (qemu-user), -O0 to -O3, -O2 with LTO
#     tests/portability.sh --only aarch64  those whose name holds the text; may be repeated
#     tests/portability.sh --list
#
# What is compiled: shm, ctl/proto, ctl/client, the daemon's state machine, the parsers and tables of the data plane, the MQTT
# engine; with the warnings of the build as errors. What runs: their unit tests, the ring's programs (scheduler, threads,
# kills, a hostile publisher) and the fuzz targets over their corpora. An emulator runs on this machine's memory order: the weaker one of aarch64 is
# simulated by sched_ring and the models. What is missing (a compiler, qemu) is left out and said. Exit: 0, 1, 77.
set -euo pipefail
top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$top"

readonly WARNINGS="-Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wcast-align
	-Wno-missing-field-initializers -Werror"
readonly DEFINES="-std=gnu11 -D_GNU_SOURCE -DHBUS_VERSION=\"0\" -DHBUS_LIBDIR=\"/usr/lib\" -I."

# What qemu-user 7.2 does not do as Linux does, and so cannot be judged there: futex_waitv is unknown to it, and it
# answers MADV_DONTFORK, MADV_POPULATE_* and MADV_REMOVE with success and does nothing. It maps no hugepages.
readonly NOT_EMULATED="segment::mapping_populates segment::a_writable_mapping_is_not_inherited_by_a_child
	segment::what_cannot_be_mapped_is_an_error_and_leaves_nothing segment::a_promise_that_is_not_kept_is_found_out
	segment::another_uid_cannot_even_open_it_for_writing_small_pages segment::after_the_seal_nobody_can_write_small_pages
	segment::after_the_seal_nobody_can_write_hugepages segment::another_uid_cannot_even_open_it_for_writing_hugepages
	segment::mapped_twice_the_end_runs_into_the_beginning_hugepages wait::no_ring_and_one_too_many_are_refused wait::a_shorter_time_out_is_kept wait::no_sleep_is_longer_than_the_cap
	wait::a_word_that_has_changed_is_not_slept_on"

# The sources of a static library, as the build has them.
sources_of() {
	tr -d '\n' <"$2/meson.build" | sed -E "s/.*static_library\('$1',([^)]*)include_directories.*/\1/; s|[^')]*'([^']*)'|$2/\1\n|g" |
		grep '\.c$'
}

library_sources() {
	ls shm/*.c ctl/proto/*.c ctl/client/*.c
	ls ctl/daemon/{config,deadline,fd,log,policy,quota,route,table}.c ctl/daemon/state*.c
	sources_of hbus_dataplane dataplane
	sources_of hbus_mqtt dataplane/mqtt
	sources_of hbus_mqttsn dataplane/mqttsn
	printf '%s\n' dataplane/mqtt/websocket.c dataplane/passive/flow.c dataplane/passive/reader.c
}

# Unit tests that need nothing but these and criterion's few macros.
unit_tests() {
	printf '%s\n' ring gate segment wait record topic topic_trie wire policy quota log state state_hostile state_limits state_policy \
		state_restart state_return client_loss client_topics net route batch bucket directory eal_args worker \
		mqtt_attributes mqtt_limits mqtt_packet mqtt_received mqtt_v3 mqtt_v5 mqtt_v5_publish mqtt_v5_subscribe mqttsn mqttsn_door mqttsn_limits mqttsn_session passive tcp wheel
}

fuzz_targets() { printf '%s\n' ring net batch topic mqtt mqttsn passive tcp; }

# -- one combination --

# compile OBJECT-DIR SOURCE FLAGS...; its object is named after the source
compile_one() {
	local out=$1 source=$2
	shift 2
	case $source in
	tests/*) set -- "$@" -w -Itests/plain -DHBUS_CAPTURE="\"$top/examples/telemetry.pcap\"" ;;
	*) # shellcheck disable=SC2086 # a list of words
		set -- "$@" $WARNINGS ;;
	esac
	# shellcheck disable=SC2086
	$CC $DEFINES "$@" -c "$source" -o "$out/${source//\//_}.o"
}
export -f compile_one
export WARNINGS DEFINES top

compile_all() {
	local out=$1
	shift
	{
		library_sources
		unit_tests | sed 's|.*|tests/unit/test_&.c|'
		fuzz_targets | sed 's|.*|tests/fuzz/fuzz_&.c|'
		printf '%s\n' tests/fuzz/driver.c tests/stress/explore.c tests/stress/explore_memory.c tests/stress/sched_{main,reader,ring}.c \
			tests/stress/tsan_ring.c tests/crash/torture_ring.c tests/crash/scribble.c
	} | xargs -P "$(nproc)" -I{} bash -c 'compile_one "$@"' compile "$out" {} "$@"
}

link_one() {
	local out=$1 program=$2
	shift 2
	local -a objects=()
	local source
	for source; do objects+=("$out/${source//\//_}.o"); done
	# shellcheck disable=SC2086
	$CC $FLAGS $LINK -static -pthread -o "$out/$program" "${objects[@]}" "$out/libs.a" -pthread 2>"$out/link.log" ||
		{ cat "$out/link.log"; return 1; }
}

link_all() {
	local out=$1 name
	local -a libraries
	mapfile -t libraries < <(library_sources | sed "s|/|_|g; s|.*|$out/&.o|")
	$AR rcs "$out/libs.a" "${libraries[@]}"
	for name in $(unit_tests); do link_one "$out" "unit_$name" "tests/unit/test_$name.c" || return 1; done
	for name in $(fuzz_targets); do
		link_one "$out" "fuzz_$name" "tests/fuzz/fuzz_$name.c" tests/fuzz/driver.c || return 1
	done
	# The scheduler compiles the ring's sources itself: nothing of it comes from the archive.
	link_one "$out" sched_ring tests/stress/explore.c tests/stress/explore_memory.c tests/stress/sched_{main,reader,ring}.c &&
		link_one "$out" threads tests/stress/tsan_ring.c &&
		link_one "$out" torture_ring tests/crash/torture_ring.c &&
		link_one "$out" scribble tests/crash/scribble.c
}

# run NAME ARGS...: says what failed
run() {
	local name=$1
	shift
	if ! $RUNNER "$out/$name" "$@" >"$out/run.log" 2>&1; then
		echo "  failed: $name $*"
		grep -v '^ok' "$out/run.log" | tail -n 15 | sed 's/^/    /'
		return 1
	fi
	n_cases=$((n_cases + $(grep -c '^ok' "$out/run.log" || true)))
}

run_all() {
	local out=$1 name failed=0 corpus n_cases=0
	for name in $(unit_tests); do run "unit_$name" || failed=1; done
	for name in $(fuzz_targets); do
		corpus=tests/fuzz/corpus/$name
		# shellcheck disable=SC2046
		if [ -d "$corpus" ]; then run "fuzz_$name" $(find "$corpus" -type f) || failed=1; fi
		run "fuzz_$name" || failed=1
	done
	for name in lossy reliable crash join die evict sleep; do
		run sched_ring --scenario $name --count 500 || failed=1
	done
	run threads --ms 500 || failed=1
	run torture_ring --seconds 1 || failed=1
	run scribble --seconds 1 || failed=1
	echo "  $n_cases unit cases"
	return $failed
}

# -- all of them --

combinations() {
	local cc arch level
	for cc in gcc clang; do
		for arch in x86_64 aarch64; do
			for level in O0 O1 O2 O3 O2-lto; do echo "$cc-$arch-$level"; done
		done
	done
}

# Sets CC, AR, RUNNER, FLAGS, LINK for a combination; says what is missing.
choose() {
	local cc arch level
	IFS=- read -r cc arch level <<<"$1"
	CC=$cc AR=$cc-ar RUNNER= FLAGS="-${level/-/ -f}"
	[ "$cc" = gcc ] || AR=llvm-ar-14
	if [ "$arch" != "$(uname -m)" ]; then
		RUNNER=qemu-$arch
		case $cc in
		gcc) CC=$arch-linux-gnu-gcc AR=$arch-linux-gnu-gcc-ar ;;
		clang) CC="clang --target=$arch-linux-gnu" ;;
		esac
	fi
	command -v "$AR" >/dev/null || [ "$cc" = gcc ] || AR=llvm-ar
	LINK=
	[ "$cc-$level" != clang-O2-lto ] || LINK=-fuse-ld=lld
	for tool in ${CC%% *} "$AR" $RUNNER ${LINK:+ld.lld}; do
		command -v "$tool" >/dev/null || { echo "no $tool"; return 1; }
	done
	echo 'int main(void) { return 0; }' >"$work/probe.c"
	# shellcheck disable=SC2086
	$CC $FLAGS $LINK -static "$work/probe.c" -o "$work/probe" 2>/dev/null || { echo "$CC $FLAGS cannot link a static program"; return 1; }
	export CC AR RUNNER FLAGS LINK
}

check() {
	local name=$1 out=$work/$1 missing
	choose "$name" >"$work/missing" || { missing=$(cat "$work/missing"); echo "$name: left out: $missing"; n_left=$((n_left + 1)); return 0; }
	mkdir "$out"
	unset HBUS_PLAIN_SKIP
	[ -z "$RUNNER" ] || export HBUS_PLAIN_SKIP="${NOT_EMULATED//[$'\n\t']/ }"
	local started=$SECONDS
	echo "$name"
	# shellcheck disable=SC2086
	if compile_all "$out" $FLAGS && link_all "$out" && run_all "$out"; then
		echo "$name: passed, $((SECONDS - started)) s"
		n_passed=$((n_passed + 1))
	else
		echo "$name: FAILED"
		n_failed=$((n_failed + 1))
	fi
	rm -rf "$out"
}

only=()
while [ $# -gt 0 ]; do
	case $1 in
	--only) only+=("${2:?--only needs a text (--help)}"); shift ;;
	--list) combinations; exit 0 ;;
	-h | --help) sed -n '4,14s/^# \?//p' "$0"; exit 0 ;;
	*) echo "usage: portability.sh [--only TEXT]... [--list]" >&2; exit 2 ;;
	esac
	shift
done

for text in ${only[@]+"${only[@]}"}; do
	combinations | grep -qF -- "$text" || { echo "portability.sh: no combination holds '$text' (--list)" >&2; exit 2; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
n_passed=0 n_failed=0 n_left=0
for name in $(combinations); do
	is_wanted=$([ ${#only[@]} -eq 0 ] && echo yes || echo no)
	for text in ${only[@]+"${only[@]}"}; do case $name in *"$text"*) is_wanted=yes ;; esac; done
	[ $is_wanted = no ] || check "$name"
done
echo "$n_passed combinations passed, $n_failed failed, $n_left left out"
[ $n_passed -gt 0 ] || [ $n_failed -gt 0 ] || exit 77
[ $n_failed -eq 0 ]
