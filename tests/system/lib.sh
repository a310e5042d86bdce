# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# For system tests, to be sourced: cases as functions, reported as TAP, and what the machine must
# have for them. The lab (examples/demo/lab.sh) gives them programs and network namespaces.
#
#     . "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
#     needs_root
#     a_killed_publisher_stalls_nobody() { ...; expect "$lost" = 0; }
#     run_cases
#
# Meson sets HBUS_BUILD, the build directory; by hand it is build/. A function is a case when its
# declaration begins a line of the test's file and its name holds an underscore but does not begin with
# one. It fails when it returns other than 0 or when an expectation in it does not hold; skip ends it with a reason. Every case has
# a lab of its own.

set -u
system_dir=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
top=$(cd -- "$system_dir/../.." && pwd -P)
HBUS_BUILD=${HBUS_BUILD:-$top/build}
# shellcheck source=examples/demo/lab.sh
. "$top/examples/demo/lab.sh"
PATH=$HBUS_BUILD/ctl/cli:$HBUS_BUILD/ctl/daemon:$HBUS_BUILD/dataplane:$HBUS_BUILD/examples:$PATH:/usr/sbin:/sbin
export PATH

# Skips the whole test: before any case has run.
skip_all() {
	echo "TAP version 13"
	echo "1..0 # SKIP $*"
	exit 0
}

# skip_all, but not where whoever runs the tests has said that this must work (.ci/run does).
skip_xdp() {
	[ "${HBUS_REQUIRE_XDP:-0}" = 1 ] || skip_all "$@"
	echo "TAP version 13"
	echo "1..1"
	echo "not ok 1 - needed, HBUS_REQUIRE_XDP is set: $*"
	exit 1
}

# take_numbers "NAME..." ARGS...: --NAME N for each of these names, into the variable NAME; --help is the head of the test's file.
take_numbers() {
	local names=" $1 " option
	shift
	while [ $# -gt 0 ]; do
		option=${1#--}
		case $1 in
		-h | --help) sed -n '4,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
		esac
		[[ $1 == --* && $names == *" $option "* ]] || { echo "${0##*/}: unknown option '$1' (--help)" >&2; exit 2; }
		[[ ${2:-} =~ ^[0-9]{1,9}$ ]] || { echo "${0##*/}: $1 needs a number (--help)" >&2; exit 2; }
		printf -v "$option" %d "$((10#$2))"
		shift 2
	done
}

needs_root() { [ "$(id -u)" -eq 0 ] || skip_all "needs root"; }

needs_commands() {
	local command
	for command; do
		command -v "$command" >/dev/null || skip_all "needs $command"
	done
}

# Root, namespaces, the XDP program and the ingress: the whole packet path.
needs_packets() {
	[ "$(id -u)" -eq 0 ] || skip_xdp "needs root (CAP_NET_ADMIN, CAP_BPF, CAP_NET_RAW, CAP_IPC_LOCK)"
	needs_commands ip ethtool nsenter unshare
	[ -x "$HBUS_BUILD/dataplane/hugebus-ingress" ] || skip_xdp "hugebus-ingress is not built (DPDK, liburcu)"
	[ -f "$HBUS_BUILD/ebpf/hbus_xdp.bpf.o" ] || skip_xdp "the XDP program is not built (clang, libbpf)"
}

# expect A OP B, as test(1): ends the case with a sentence when it does not hold.
expect() {
	# shellcheck disable=SC2244
	[ "$@" ] && return 0
	printf 'expected: %s\n' "$*" >&2
	exit 1
}

# skip REASON: this case cannot be run here.
skip() {
	printf '%s\n' "$*"
	exit 77
}

run_case() (
	lab_begin
	"$1"
)

# Runs every case of this test's file, or those named on its command line.
run_cases() {
	local -a cases
	local name number=0 failed=0 started output status
	mapfile -t cases < <(sed -nE 's/^([a-z0-9]+_[a-z0-9_]+)\(\) .*/\1/p' "$0")
	[ $# -eq 0 ] || cases=("$@")
	echo "TAP version 13"
	echo "1..${#cases[@]}"
	for name in "${cases[@]}"; do
		number=$((number + 1))
		started=${EPOCHREALTIME/[.,]/}
		output=$(run_case "$name" 2>&1)
		status=$?
		if [ $status -eq 77 ]; then
			echo "ok $number - $name # SKIP ${output##*$'\n'}"
		elif [ $status -eq 0 ]; then
			echo "ok $number - $name ($((${EPOCHREALTIME/[.,]/} / 1000 - started / 1000)) ms)"
		else
			failed=$((failed + 1))
			echo "not ok $number - $name"
			printf '%s\n' "$output" | tail -n 40 | sed 's/^/# /'
		fi
	done
	[ $failed -eq 0 ]
}

# bus [OPTION...]: a private bus in the lab; HUGEBUS_SOCKET names it.
bus() {
	export HUGEBUS_SOCKET=$lab/bus.sock
	lab_spawn hugebusd hugebusd --socket "$HUGEBUS_SOCKET" "$@"
	lab_until 10 test -S "$HUGEBUS_SOCKET" || { tail "$lab/hugebusd.err" >&2; return 1; }
}

# exits CODE COMMAND...: runs it, its output in $lab/out and $lab/err.
exits() {
	local wanted=$1 status
	shift
	timeout 30 "$@" >"$lab/out" 2>"$lab/err" </dev/null
	status=$?
	[ $status -eq "$wanted" ] && return 0
	printf '%s: exit code %s, not %s\n' "$*" $status "$wanted" >&2
	tail -n 5 "$lab/out" "$lab/err" >&2
	exit 1
}

# What exits() ran has said this.
says() { grep -qF -- "$1" "$lab/out" "$lab/err" || { printf 'nobody said "%s"\n' "$1" >&2; tail "$lab/out" "$lab/err" >&2; exit 1; }; }

# subscriber NAME OPTION...: in the background, subscribed when this returns; what it got is in $lab/NAME.json when it has
# ended. What stands in the array `with` (taskset, prlimit) comes before it.
with=()
subscriber() {
	local name=$1
	shift
	rm -f "$lab/$name.ready"
	lab_spawn "$name" "${with[@]}" hugebus sub -i "$name" --ready "$lab/$name.ready" --summary "$lab/$name.json" "$@"
	lab_until 30 test -e "$lab/$name.ready" || { cat "$lab/$name.err" >&2; exit 1; }
}

# ended NAME CODE [SECONDS]: it ends by itself, with this code.
ended() {
	local status
	lab_until "${3:-30}" lab_has_ended "$1" || { echo "$1 does not end" >&2; exit 1; }
	lab_stop "$1"
	status=$?
	[ $status -eq "$2" ] || { echo "$1 ended with $status, not $2" >&2; tail -n 5 "$lab/$1.err" >&2; exit 1; }
}

# has_lines FILE N: so many, or more.
has_lines() { [ "$(wc -l <"$1")" -ge "$2" ]; }
