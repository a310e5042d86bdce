#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# All fuzzers for as long as wanted, with libFuzzer, ASan and UBSan; see README.md. Each gets its share
# of the time in slices, so that an early end has given something to everyone.
set -euo pipefail
top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)

usage() {
	cat <<-END
	Usage: tests/fuzz/run.sh [--hours N | --minutes N | --seconds N] [OPTION...]

	  --only NAME[,NAME...]  only these (default: all of tests/fuzz/fuzz_NAME.c)
	  --dir DIR              build, inputs found, logs and findings go there (default: build-fuzz)
	  --keep                 at the end, put inputs that reach something new into tests/fuzz/corpus
	  --help

	The time (default 5 minutes) is that of all together. A line for each slice, at the end a table and
	one line of figures. An input that fails stays in DIR/findings; run the fuzzer on that file to see it
	again. Exit: 0 nothing found, 1 findings, 2 usage, 3 cannot build, 77 no clang.
	END
}

wrong() {
	echo "run.sh: $*" >&2
	usage >&2
	exit 2
}

seconds=300 dir=$top/build-fuzz only='' keep=no
while [ $# -gt 0 ]; do
	case $1 in
	--hours | --minutes | --seconds | --only | --dir) [ $# -ge 2 ] || wrong "$1 needs a value" ;;
	esac
	case $1 in
	--hours | --minutes | --seconds)
		[[ $2 =~ ^[0-9]{1,6}([.][0-9]{1,3})?$ ]] || wrong "$1 needs a number"
		case $1 in --hours) unit=3600 ;; --minutes) unit=60 ;; *) unit=1 ;; esac
		seconds=$(awk -v n="$2" -v unit=$unit 'BEGIN { printf "%d", n * unit }')
		shift
		;;
	--only) only=$2 && shift ;;
	--dir) dir=$2 && shift ;;
	--keep) keep=yes ;;
	-h | --help) usage && exit 0 ;;
	*) wrong "unknown option '$1'" ;;
	esac
	shift
done

# -- building --

command -v clang >/dev/null || { echo "needs clang" && exit 77; }
mkdir -p "$dir" && dir=$(cd -- "$dir" && pwd -P)
[ -f "$dir/build.ninja" ] || CC=${FUZZ_CC:-clang} meson setup "$dir" "$top" -Dfuzz=true -Dbuildtype=debugoptimized \
	-Db_sanitize=address,undefined -Db_lundef=false >"$dir/setup.log" 2>&1 || { tail "$dir/setup.log" && exit 3; }

names=()
for source in "$top"/tests/fuzz/fuzz_*.c; do
	name=$(basename "$source" .c)
	name=${name#fuzz_}
	[ -z "$only" ] || [[ ,$only, == *,$name,* ]] || continue
	# One that this machine cannot build (no libbpf, say) is no target.
	! ninja -C "$dir" -t query "tests/fuzz/fuzz_$name" >/dev/null 2>&1 || names+=("$name")
done
[ ${#names[@]} -gt 0 ] || wrong "no fuzzer called '$only'"
# shellcheck disable=SC2086 # FUZZ_NINJA is a list of options
ninja -C "$dir" ${FUZZ_NINJA:-} "${names[@]/#/tests/fuzz/fuzz_}" >"$dir/build.log" 2>&1 || { tail -n 40 "$dir/build.log" && exit 3; }

# -- running --

mkdir -p "$dir/findings" "$dir/logs"
declare -A executed coverage features inputs findings
for name in "${names[@]}"; do
	mkdir -p "$dir/found/$name"
	executed[$name]=0 coverage[$name]=0 features[$name]=0 inputs[$name]=0 findings[$name]=0
done

# Ends early, with figures, on SIGINT and SIGTERM.
fuzzer='' is_over=no
stop() {
	is_over=yes
	[ -z "$fuzzer" ] || kill -TERM "$fuzzer" 2>/dev/null || :
}
trap stop INT TERM

# slice NAME SECONDS
slice() {
	local name=$1 log=$dir/logs/$1.log status=0 corpus=$top/tests/fuzz/corpus/$1 words=$top/tests/fuzz/$1.dict last n
	[ -d "$corpus" ] || corpus=
	[ -f "$words" ] || words=
	"$dir/tests/fuzz/fuzz_$name" -max_total_time="$2" -print_final_stats=1 -timeout=180 -rss_limit_mb=2048 \
		${words:+-dict="$words"} -artifact_prefix="$dir/findings/$name-" "$dir/found/$name" ${corpus:+"$corpus"} >"$log" 2>&1 &
	fuzzer=$!
	wait $fuzzer || status=$?
	# A signal ends the wait, not the fuzzer.
	! kill -0 $fuzzer 2>/dev/null || { kill -TERM $fuzzer; status=0; wait $fuzzer || :; }
	fuzzer=''
	n=$(awk '/^stat::number_of_executed_units/ { n = $2 } END { print n + 0 }' "$log")
	executed[$name]=$((executed[$name] + n))
	last=$(grep -E '^#[0-9]+.* cov: ' "$log" | tail -n 1) || :
	coverage[$name]=$(sed -nE 's/.* cov: ([0-9]+).*/\1/p' <<<"$last")
	features[$name]=$(sed -nE 's/.* ft: ([0-9]+).*/\1/p' <<<"$last")
	inputs[$name]=$(find "$dir/found/$name" ${corpus:+"$corpus"} -type f | wc -l)
	if [ $status -ne 0 ] && [ $is_over = no ]; then
		findings[$name]=$((findings[$name] + 1))
		cp "$log" "$dir/findings/$name-$(date +%s).log"
		echo "$name: FOUND something: see $dir/findings" >&2
	fi
	printf '%s  %6d of %d s  %-12s %12d executed, coverage %s, features %s, inputs %s, findings %s\n' "$(date +%T)" \
		$((SECONDS - started)) "$seconds" "$name" "$n" "${coverage[$name]:-0}" "${features[$name]:-0}" \
		"${inputs[$name]}" "${findings[$name]}"
}

# keep_new NAME: what reaches something new (edges only, or there would be hundreds), under names by content.
keep_new() {
	local corpus=$top/tests/fuzz/corpus/$1 file
	mkdir -p "$corpus" "$dir/merged/$1"
	rm -f "$dir/merged/$1"/*
	"$dir/tests/fuzz/fuzz_$1" -merge=1 -use_counters=0 "$dir/merged/$1" "$corpus" "$dir/found/$1" >"$dir/logs/$1-merge.log" 2>&1 || :
	for file in "$dir/merged/$1"/*; do
		[ ! -f "$file" ] || [ -n "$(find "$corpus" -type f -size "$(stat -c %s "$file")c" -exec cmp -s {} "$file" \; -print -quit)" ] ||
			cp "$file" "$corpus/$(sha1sum <"$file" | cut -c 1-12)"
	done
}

started=$SECONDS
share=$((seconds / ${#names[@]}))
rounds=$(((share + 299) / 300))
[ $rounds -gt 0 ] || rounds=1
each=$((share / rounds))
[ $each -gt 0 ] || each=1
echo "${#names[@]} fuzzers, $rounds rounds of $each s each: $((rounds * each * ${#names[@]})) s; in $dir"
for ((round = 0; round < rounds; round++)); do
	for name in "${names[@]}"; do
		[ $is_over = yes ] || slice "$name" $each
	done
done

if [ $keep = yes ]; then
	for name in "${names[@]}"; do keep_new "$name"; done
fi
total=0 found=0
printf '%-12s %14s %10s %10s %8s %8s\n' fuzzer executed coverage features inputs findings
for name in "${names[@]}"; do
	printf '%-12s %14d %10s %10s %8s %8d\n' "$name" "${executed[$name]}" "${coverage[$name]:-0}" "${features[$name]:-0}" \
		"${inputs[$name]}" "${findings[$name]}"
	total=$((total + executed[$name])) found=$((found + findings[$name]))
done
echo "fuzzers ${#names[@]}, seconds $((SECONDS - started)), executed $total, findings $found"
[ $found -eq 0 ]
