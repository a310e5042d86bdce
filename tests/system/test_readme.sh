#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# README's commands as they stand there: each block that has prompts is run whole, without a pause of our own, and
# must print the lines that it shows. Paths and ports are the lab's; what would not end is told to. A machine that is
# too busy for README's pauses gets longer ones.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
needs_commands stdbuf timeout
[ -x "$HBUS_BUILD/ctl/cli/hugebus" ] || skip_all "hugebus is not built"
[ -x "$HBUS_BUILD/ctl/daemon/hugebusd" ] || skip_all "hugebusd is not built"

# block HEADING [LANGUAGE]: the first block of code under the heading.
block() {
	awk -v heading="$1" -v fence="\`\`\`${2-}" '
		index($0, heading) { is_under = 1 }
		is_in && /^```/ { exit }
		is_in
		is_under && !is_in && $0 == fence { is_in = 1 }' "$top/README.md"
}

# _run_block HEADING: its commands as they stand, then with pauses that are longer.
_run_block() {
	local pause
	for pause in 1 5 10; do
		(_run_with "$pause" "$1") && return 0
	done
	return 1
}

# _run_with PAUSE HEADING: in one shell, whose children end with it; output in $lab/out.
_run_with() {
	local port=$((20000 + $$ % 20000))
	ln -sfn "$HBUS_BUILD" "$lab/build" && ln -sfn "$top/ctl" "$lab/ctl"
	block "$2" >"$lab/block"
	expect "$(grep -c '^\$ ' "$lab/block")" -gt 2
	sed -n 's/^\$ //p' "$lab/block" | grep -v '^\./run' |
		sed -e "s|/tmp/my.sock|$lab/my.sock|g" -e "s|1884|$port|g" -e 's|hugebus top|& -n 1|' \
			-e "s|sleep 1|sleep $1|g" >"$lab/commands"
	printf 'sleep %s\nkill $(jobs -p)\nwait\n' "$1" >>"$lab/commands"
	rm -f "$lab/my.sock"
	(cd "$lab" && timeout 100 bash commands >out 2>err)
	# Each line that is shown, as often as it is shown.
	grep -v '^\$ ' "$lab/block" | sort | uniq -c | while read -r count line; do
		expect "$(grep -cxF -- "$line" "$lab/out")" -eq "$count" || exit 1
	done
}

the_quick_start_prints_what_it_shows() {
	_run_block '## Quick start' || { cat "$lab/commands" "$lab/out" "$lab/err" >&2; return 1; }
}

from_mosquitto_pub_to_the_c_program_it_prints_what_it_shows() {
	command -v cc mosquitto_pub mosquitto_sub >/dev/null || skip "needs cc and mosquitto-clients"
	[ -x "$HBUS_BUILD/dataplane/mqtt/hugebus-mqtt" ] || skip "hugebus-mqtt is not built"
	[ -f "$HBUS_BUILD/ctl/client/libhugebus.a" ] || skip "no static library"
	block 'In C, with' c >"$lab/sub.c"
	expect "$(wc -l <"$lab/sub.c")" -ge 15
	_run_block '### From mosquitto_pub' || { cat "$lab/commands" "$lab/out" "$lab/err" >&2; return 1; }
}

run_cases "$@"
