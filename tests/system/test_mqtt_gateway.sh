#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# hugebus-mqtt as a program: what happens around it (a daemon that does not answer, signals, restarts, many
# connections), with clients that others wrote. What they say to each other is test_mqtt.sh.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
needs_commands mosquitto_pub mosquitto_sub
PATH=$HBUS_BUILD/dataplane/mqtt:$PATH

# Whoever asks first for this port gets it; in a namespace of its own a test would need root.
port=$((20000 + ($$ + 7000) % 20000))

_start_daemon() {
	export HUGEBUS_SOCKET=$lab/bus
	lab_spawn daemon hugebusd --socket "$lab/bus" "$@"
	lab_until 5 test -S "$lab/bus"
}

_start_gateway() {
	lab_spawn gateway hugebus-mqtt --socket "$lab/bus" --listen "127.0.0.1:$port" "$@"
	lab_wait_line gateway serving
}

_start() {
	_start_daemon
	_start_gateway --allow-anonymous "$@"
}

pub() { timeout 10 mosquitto_pub -p "$port" "$@"; }

# sub NAME ARGUMENTS...: in the background; ready when the broker has acknowledged.
sub() {
	local name=$1
	shift
	lab_spawn "$name" stdbuf -oL mosquitto_sub -d -p "$port" "$@"
	lab_wait_line "$name" SUBACK
}

heard() { grep -v '^Client \|^Subscribed ' "$lab/$1.out"; }

hears() {
	lab_until 10 grep -qxF -- "$2" "$lab/$1.out" && return 0
	printf '%s did not hear "%s" but:\n' "$1" "$2" >&2
	cat "$lab/$1.out" >&2
	return 1
}

a_daemon_that_does_not_answer_holds_up_only_who_needs_its_answer() {
	_start
	sub all -t '#' -v
	pub -t known -m 1 -q 1 || return 1
	kill -STOP "${lab_pids[daemon]}"
	lab_spawn waits timeout 20 mosquitto_pub -p "$port" -t unknown -m 2 -q 1
	lab_spawn asks stdbuf -oL mosquitto_sub -d -p "$port" -t a/filter
	lab_wait_line asks CONNACK
	for n in 3 4 5; do
		timeout 2 mosquitto_pub -p "$port" -t known -m $n -q 1 || return 1
	done
	hears all "known 5" || return 1
	! grep -q "unknown 2" "$lab/all.out" || return 1
	! grep -q SUBACK "$lab/asks.out" || return 1
	kill -CONT "${lab_pids[daemon]}"
	hears all "unknown 2" || return 1
	lab_wait_line asks SUBACK
}

run_cases "$@"
