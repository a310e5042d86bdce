#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Standard output that cannot be written: every program says so and exits with 1. Nobody reads what is asked for: no fault.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

# Those of this build, with what makes each of them print and end.
_commands() {
	local b=$HBUS_BUILD
	cat <<-END
	$b/ctl/cli/hugebus --help
	$b/ctl/cli/hugebus --version
	$b/ctl/cli/hugebus pub --help
	$b/ctl/cli/hugebus top --version
	$b/ctl/daemon/hugebusd --help
	$b/ctl/daemon/hugebusd --version
	$b/ctl/daemon/hugebusd --config $lab/empty.conf --check-config
	$b/dataplane/hugebus-ingress --help
	$b/dataplane/hugebus-ingress --version
	$b/dataplane/mqtt/hugebus-mqtt --help
	$b/dataplane/mqtt/hugebus-mqtt --version
	$b/bench/hugebus-bench --help
	$b/bench/hugebus-bench --list
	$b/bench/hugebus-bench mqtt --help
	$b/bench/hugebus-bench mqtt --list
	$b/bench/hugebus-bench-ingress --help
	$b/bench/hugebus-bench-ingress --version
	$b/bench/peers/hugebus-peers --help
	$b/bench/peers/hugebus-peers --list
	$top/run --help
	$top/bench/peers/run --help
	END
}

_each() {
	local command n=0
	: >"$lab/empty.conf"
	while read -r command; do
		[ -x "${command%% *}" ] || continue
		"$@" $command || { echo "$*: $command"; return 1; }
		n=$((n + 1))
	done < <(_commands)
	expect "$n" -ge 12
}

_prints() {
	"$@" >"$lab/out" 2>"$lab/err" && [ -s "$lab/out" ] && [ ! -s "$lab/err" ]
}

_fails_on_a_full_disk() {
	local status
	"$@" >/dev/full 2>"$lab/err"
	status=$?
	[ $status = 1 ] && grep -qi 'no space' "$lab/err"
}

_fails_when_closed() {
	local status
	"$@" >&- 2>"$lab/err"
	status=$?
	[ $status = 1 ] && [ -s "$lab/err" ]
}

what_is_asked_for_is_printed() { _each _prints; }

a_full_disk_is_a_fault() { _each _fails_on_a_full_disk; }

a_closed_output_is_a_fault() { _each _fails_when_closed; }

a_daemon_without_output_runs() {
	lab_spawn daemon bash -c "exec $HBUS_BUILD/ctl/daemon/hugebusd --socket $lab/bus >&-"
	lab_until 5 test -S "$lab/bus" || return 1
	lab_stop daemon TERM
	expect $? = 0
}

run_cases "$@"
