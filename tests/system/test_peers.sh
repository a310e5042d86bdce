#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# bench/peers: every peer moves events, the page says what was measured, and one command does it. Never how fast anything is.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
PATH=$HBUS_BUILD/bench/peers:$PATH
needs_commands python3 jq flock

every_peer_moves_events() {
	hugebus-peers --repeats 1 --duration 20 >"$lab/peers.json" 2>"$lab/err" || { sed 's/^/# /' "$lab/err"; return 1; }
	# Every peer of this build is there or said to be left out, each cell beside its own limit.
	jq -e '[.peers[].cells[]] | length > 40 and all(.[]; (.failed | not) and .value.median > 0 and .limit.median > 0 and
		.ratio.median > 0)' "$lab/peers.json" >/dev/null || { cat "$lab/peers.json"; return 1; }
	expect "$(jq '.peers + .left_out | length' "$lab/peers.json")" = "$(hugebus-peers --list | wc -l)"
	jq -e '[.limits[].value.median] | length == 6 and all(. > 0)' "$lab/peers.json" >/dev/null ||
		{ cat "$lab/err"; jq .limits "$lab/peers.json"; return 1; }
	jq -e '[.peers[].cells["rtt.64"] | select(.) | .percentiles_ns["p99.99"], .corrected_ns.p50] | all(. > 0)' \
		"$lab/peers.json" >/dev/null || { cat "$lab/peers.json"; return 1; }
	mkdir -p "$lab/out/benchmarks" && cp "$lab/peers.json" "$lab/out/benchmarks/"
	_report "$lab/out" && grep -q '^| hugebus, one by one | ' "$lab/out/BENCHMARKS.md"
}

_report() { PYTHONDONTWRITEBYTECODE=1 "$top/bench/peers/report.py" "$1"; }

# _page [moving]: of made-up results.
_page() {
	local kind
	mkdir -p "$lab/out/benchmarks"
	for kind in peers host; do
		"$system_dir/peers_json.py" $kind "$@" >"$lab/out/benchmarks/$kind.json" || return 1
	done
	touch "$lab/out/benchmarks/of-another-run.svg"
	_report "$lab/out"
}

# _says TEXT...: the page has each of them.
_says() {
	local text
	for text; do
		grep -qF -- "$text" "$lab/out/BENCHMARKS.md" || { echo "not there: $text"; cat "$lab/out/BENCHMARKS.md"; return 1; }
	done
}

the_page_has_one_figure_where_cores_stay() {
	_page || return 1
	_says '| hugebus, one by one | 400 M (0.40 ±1 %)' \
		'| 64 B, one by one | streaming | pipe 0.10 (100 M) | >= 0.35 | 0.30 (300 M events/s), **no** | a bare loop that fills and copies, no bus: 0.39. `hugebus bench --only' \
		'| 8 B, run records | streaming | pipe 0.10 (100 M) | >= 0.30 | 0.50 (500 M events/s), yes |' '64 B, one by one: beside the best peer |  |  | >= 1.50 | 4.00 (pipe), yes' \
		'**3 of 4 figures' 'Not in this run: nng (built without libnng-dev).' '| pipe | 100 M (0.10 ±1 %) | 100 M (0.10 ±1 %) | failed |' || return 1
	! grep -qE 'near cores|far cores' "$lab/out/BENCHMARKS.md" || return 1
	expect ! -e "$lab/out/benchmarks/of-another-run.svg"
	! command -v gnuplot >/dev/null || expect -s "$lab/out/benchmarks/throughput-64.svg"
}

the_page_has_near_and_far_where_cores_move() {
	_page moving || return 1
	_says 'moved its two CPUs meanwhile' 'events/s, near cores (a line there and back: 110 ns)' 'events/s, far cores (a line there and back: 430 ns)' \
		'| hugebus, one by one | 400 M (0.40 ±1 %)' '| hugebus, one by one | 100 M (0.40) |' '0.30 (300 M events/s), **no** | 0.30 (75 M events/s), **no**' \
		'a bare loop that fills and copies, no bus: near 0.39, far 0.39. `hugebus' '| 64 B, one by one | near | 300 M events/s | 1 G events/s a | 0.30 |' || return 1
	! command -v gnuplot >/dev/null || expect -s "$lab/out/benchmarks/throughput-64-far.svg"
}

# -- the one command; what it runs are stand-ins --

# _tool PATH TEXT
_tool() {
	mkdir -p "$(dirname "$1")"
	printf '#!/bin/bash\n%s\n' "$2" >"$1"
	chmod 755 "$1"
}

_stand_ins() {
	local bin=$lab/bin build=$lab/build
	_tool "$bin/dpkg-query" 'printf installed'
	_tool "$bin/meson" ''
	_tool "$bin/ninja" ''
	_tool "$build/bench/peers/hugebus-peers" "exec $system_dir/peers_json.py peers"
	_tool "$build/bench/hugebus-bench" "exec $system_dir/peers_json.py host"
	touch "$build/build.ninja"
	run=("env" "PATH=$bin:$PATH" "$top/bench/peers/run" --build "$build" --out "$lab/out")
}

one_command_measures_and_writes() {
	_stand_ins
	"${run[@]}" --quick >"$lab/said" 2>&1 || { cat "$lab/said"; return 1; }
	_says '# Benchmarks' && expect "$(cd "$lab/out/benchmarks" && echo *.json)" = "host.json peers.json"
	rm "$lab/out/BENCHMARKS.md"
	"${run[@]}" --only-report >/dev/null && _says '# Benchmarks'
}

# All of one run, and one case of another: the rest is measured and shown, and what is missing is named, with why.
what_fails_costs_only_itself() {
	_stand_ins
	"${run[@]}" --quick >/dev/null 2>&1 || return 1
	_tool "$lab/build/bench/hugebus-bench" 'echo {; exit 1'
	_tool "$lab/build/bench/peers/hugebus-peers" "$system_dir/peers_json.py peers; exit 1"
	"${run[@]}" --quick >"$lab/said" 2>&1
	expect $? -eq 1
	expect "$(cd "$lab/out/benchmarks" && echo *.json)" = "gaps.json peers.json"
	grep -q 'Failed: pipe, `throughput.256`: wrong content' "$lab/said" && grep -q 'Failed: all of host' "$lab/said" || { cat "$lab/said"; return 1; }
	_says '**Not all was measured.**' '- all of host.json: it ended with status 1' '- pipe, `throughput.256`: wrong content' '| hugebus, one by one | 400 M (0.40 ±1 %)' || return 1
	_stand_ins
	"${run[@]}" --quick >"$lab/said" 2>&1 || { cat "$lab/said"; return 1; }
	expect "$(cd "$lab/out/benchmarks" && echo *.json)" = "host.json peers.json"
}

without_any_result_the_last_ones_stay() {
	_stand_ins
	"${run[@]}" --quick >/dev/null 2>&1 || return 1
	cp -r "$lab/out" "$lab/before"
	_tool "$lab/build/bench/hugebus-bench" 'exit 1'
	_tool "$lab/build/bench/peers/hugebus-peers" 'echo nothing; exit 1'
	"${run[@]}" --quick >"$lab/said" 2>&1
	expect $? -eq 1
	grep -q 'nothing was measured' "$lab/said" && diff -r "$lab/out" "$lab/before"
}

what_is_interrupted_ends_and_leaves_nothing() {
	_stand_ins
	_tool "$lab/build/bench/hugebus-bench" "echo \$\$ >$lab/pid; exec sleep 60"
	lab_spawn run "${run[@]}" --quick
	lab_until 10 test -s "$lab/pid" || return 1
	lab_stop run TERM
	expect $? -eq 1
	! kill -0 "$(cat "$lab/pid")" 2>/dev/null || return 1
	expect -z "$(ls -A "$lab/out/benchmarks")"
}

two_do_not_measure_each_other() {
	_stand_ins
	flock "$top/bench/peers/run" "${run[@]}" --quick >"$lab/said" 2>&1
	expect $? -eq 1
	grep -q 'another one is running' "$lab/said"
}

where_it_cannot_write_it_says_so() {
	_stand_ins
	touch "$lab/file"
	"${run[@]}" --out "$lab/file" >"$lab/said" 2>&1
	expect $? -eq 1
	grep -q 'cannot write to .*--out' "$lab/said" || return 1
	"${run[@]}" --build "$lab/file" >"$lab/said" 2>&1
	expect $? -eq 1
	grep -q 'cannot build in .*--build' "$lab/said"
}

_has_bus() { compgen -G "$lab/t/*/bus.sock" >/dev/null; }

told_to_end_peers_leave_nothing() {
	mkdir "$lab/t"
	TMPDIR=$lab/t lab_spawn peers hugebus-peers --only 'p*'
	lab_until 10 _has_bus || return 1
	sleep 0.3
	lab_stop peers INT
	expect $? -eq 1
	expect -z "$(ls -A "$lab/t")"
}

usage_is_explained() {
	local arguments
	hugebus-peers --help | grep -q Usage && "$top/bench/peers/run" --help | grep -q Usage || return 1
	for arguments in "--repeats 0" "--duration 5" "--only nobody" "--nonsense" "more"; do
		# shellcheck disable=SC2086 # words
		hugebus-peers $arguments >/dev/null 2>&1
		expect $? = 2
	done
	for arguments in "--repeats 0" "--repeats 65" "--repeats" "--nonsense" "more"; do
		# shellcheck disable=SC2086 # words
		"$top/bench/peers/run" $arguments >/dev/null 2>&1
		expect $? = 2
	done
}

run_cases "$@"
