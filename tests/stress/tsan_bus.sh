#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A bus of programs that are built with ThreadSanitizer: the daemon, a gateway with four threads, the command line; MQTT
# clients that publish and subscribe, configurations that are read again, a daemon that is killed and comes back:
#
#     tests/stress/tsan_bus.sh BUILD-DIR     (tests/sanitizers.sh thread BUILD-DIR makes one and runs this)
#
# What it can see: threads of one process, which is all of the gateway and the library's control thread beside its owner's.
# Shared memory between processes is for sched_ring and the models. Nothing is suppressed. Exit: 0, 1 a race, 77.
set -euo pipefail
if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then
	sed -n '4,10s/^# \?//p' "$0"
	exit 0
fi
[ $# -eq 1 ] && [ -x "$1/ctl/daemon/hugebusd" ] || { echo "usage: tsan_bus.sh BUILD-DIR (--help)" >&2; exit 2; }
build=$1
command -v mosquitto_pub >/dev/null && command -v mosquitto_sub >/dev/null || { echo "needs mosquitto's clients" && exit 77; }
dir=$(mktemp -d)
pids=()
end() {
	kill "${pids[@]}" 2>/dev/null || :
	rm -rf "$dir"
}
trap end EXIT
trap 'exit 1' INT TERM
export TSAN_OPTIONS="log_path=$dir/tsan" HUGEBUS_SOCKET=$dir/bus

# wait_for SECONDS COMMAND...
wait_for() {
	local left=$(($1 * 10))
	shift
	until "$@"; do
		[ $((left--)) -gt 0 ] || { echo "not within its time: $*"; exit 1; }
		sleep 0.1
	done
}

start_daemon() {
	"$build/ctl/daemon/hugebusd" --socket "$HUGEBUS_SOCKET" --state "$dir/state" >>"$dir/daemon.log" 2>&1 &
	daemon=$!
	pids+=("$daemon")
	wait_for 60 test -S "$HUGEBUS_SOCKET"
}

lines() { [ "$(wc -l <"$dir/events")" -ge "$1" ]; }

start_daemon
"$build/dataplane/mqtt/hugebus-mqtt" --listen "unix:$dir/mqtt" --allow-anonymous --threads 4 --state "$dir/sessions" >"$dir/gateway.log" 2>&1 &
gateway=$!
"$build/ctl/cli/hugebus" sub -t 'a/#' --json >"$dir/events" 2>"$dir/sub.log" &
reader=$!
pids+=("$gateway" "$reader")
wait_for 60 grep -q serving "$dir/gateway.log"
for i in 0 1 2; do
	mosquitto_sub --unix "$dir/mqtt" -c -i "reader$i" -q "$i" -t 'a/#' >/dev/null 2>&1 &
	pids+=($!)
done
until_seen() { mosquitto_pub --unix "$dir/mqtt" -t a/begin -q 1 -m x && lines 1; }
wait_for 60 until_seen
for round in 1 2 3; do
	publishers=()
	for i in 0 1 2; do
		(seq 200 | mosquitto_pub --unix "$dir/mqtt" -i "writer$i" -q "$i" -t "a/$i" -l) &
		publishers+=($!)
	done
	kill -HUP "$gateway" "$daemon"
	wait "${publishers[@]}"
	[ "$round" != 2 ] || { kill -KILL "$daemon"; wait "$daemon" 2>/dev/null || :; rm -f "$HUGEBUS_SOCKET"; start_daemon; }
done
# QoS 0 may be lost while no daemon runs; what was acknowledged may not.
wait_for 60 lines 1201
status=0
for program in reader gateway daemon; do
	kill -TERM "${!program}"
	wait "${!program}" || { echo "$program: exit status $?"; status=1; }
done
if compgen -G "$dir/tsan*" >/dev/null; then
	cat "$dir"/tsan*
	status=1
fi
echo "$(wc -l <"$dir/events") events through a bus with ThreadSanitizer, a daemon killed, 3 configurations read again: races $([ $status = 0 ] && echo 0 || echo "see above")"
exit $status
