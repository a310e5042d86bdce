#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The MQTT load generator: it measures every broker, and a broker that loses, repeats, changes or exchanges one message of
# fifty is found out.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
needs_commands jq

_bench() { timeout 60 hugebus bench mqtt --repeats 1 --duration 50 "$@"; }

# Below those that the kernel hands out.
port=$((20000 + ($$ + 9000) % 12000))

# _start_gateway ARGUMENTS...: on a bus of its own.
_start_gateway() {
	lab_spawn daemon hugebusd --socket "$lab/bus"
	lab_until 5 test -S "$lab/bus" || return 1
	lab_spawn gateway "$HBUS_BUILD/dataplane/mqtt/hugebus-mqtt" --socket "$lab/bus" --allow-anonymous "$@"
	lab_wait_line gateway serving
}

_start_liar() {
	lab_spawn liar "$system_dir/liar.py" "$1"
	lab_wait_line liar '^[0-9]+$' || return 1
	url=mqtt://127.0.0.1:$(cat "$lab/liar.out")
}

# _is_found_out LIE WORDS [OPTION...]
_is_found_out() {
	local lie=$1 words=$2
	shift 2
	_start_liar "$lie" || return 1
	_bench --url "$url" --size 64 "$@" >"$lab/out" 2>"$lab/err"
	expect $? = 1
	grep -qE -- "$words" "$lab/err" || { cat "$lab/err" && return 1; }
}

an_honest_broker_passes() {
	_start_liar honest || return 1
	_bench --url "old=$url" --pid "${lab_pids[liar]}" --json --qos 1 >"$lab/out" || return 1
	jq -e '.cases[0].brokers[0] | .broker == "old" and (.failed | not) and .faults == 0 and .messages > 0 and
		.value.median > 0 and .broker_cpu.median > 0' "$lab/out" >/dev/null || { cat "$lab/out" && return 1; }
}

a_lost_message_is_found_out() { _is_found_out loses ' [1-9][0-9]* lost, 0 repeated, 0 corrupt'; }

a_lost_acknowledged_message_is_found_out() { _is_found_out loses ' [1-9][0-9]* lost, 0 repeated' --qos 1; }

a_repeated_message_is_found_out() { _is_found_out repeats ' 0 lost, [1-9][0-9]* repeated, 0 corrupt'; }

a_changed_message_is_found_out() { _is_found_out changes ' [1-9][0-9]* corrupt'; }

exchanged_messages_are_found_out() { _is_found_out swaps '[1-9][0-9]* lost, [1-9][0-9]* repeated'; }

a_broker_that_says_no_is_reported() { _is_found_out refuses 'refused the connection: 0x05'; }

a_broker_that_falls_silent_does_not_hold_it_up() {
	SECONDS=0
	_is_found_out hangs 'does not answer|[1-9][0-9]* lost' && expect $SECONDS -lt 20
}

nobody_there_is_reported() {
	_bench --url mqtt://127.0.0.1:1 2>"$lab/err"
	expect $? = 1
	grep -q 'cannot connect to 127.0.0.1 port 1' "$lab/err"
}

every_case_of_the_gateway_passes() {
	_bench --brokers hugebus,relay --json >"$lab/out" || return 1
	expect "$(jq '.cases | length' "$lab/out")" = "$(hugebus bench mqtt --list | wc -l)"
	jq -e 'all(.cases[].brokers[]; (.failed | not) and .faults == 0 and .messages > 0)' "$lab/out" >/dev/null &&
		jq -e '[.cases[] | select(.name == "bus.qos0") | .brokers[].latency_ns.p99] | length == 1 and .[0] > 0' \
			"$lab/out" >/dev/null
}

mosquitto_is_measured_beside_it() {
	[ -x /usr/sbin/mosquitto ] || skip "no mosquitto"
	_bench --brokers hugebus,mosquitto --only 'qos1.1000*' --json >"$lab/out" || { cat "$lab/out" && return 1; }
	jq -e '.cases | length == 2 and all(.[].brokers; length == 2 and .[1].broker == "mosquitto" and .[1].ratio.median > 0)' \
		"$lab/out" >/dev/null
}

websockets_and_their_frames_are_measured() {
	local size
	_start_gateway --listen "ws:127.0.0.1:$port" || return 1
	for size in 24 100 300 70000; do # heads of each length
		_bench --url "ws://127.0.0.1:$port" --qos 1 --size "$size" --json >"$lab/out" || return 1
		jq -e '.cases[0].brokers[0] | (.failed | not) and .faults == 0 and .messages > 0' "$lab/out" >/dev/null || return 1
	done
	_bench --url "ws://127.0.0.1:$port/mqtt" --subscribers 3 --size 20000 >/dev/null
}

what_is_no_websocket_is_reported() {
	_start_liar honest || return 1
	_bench --url "ws${url#mqtt}" --qos 0 2>"$lab/err"
	expect $? = 1
	grep -q 'no WebSocket at 127.0.0.1' "$lab/err"
}

tls_is_measured_and_checked() {
	command -v openssl >/dev/null || skip "no openssl"
	ldd "$HBUS_BUILD/dataplane/mqtt/hugebus-mqtt" | grep -q libssl || skip "built without TLS"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
		-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$lab/key" -out "$lab/cert" 2>/dev/null || return 1
	_start_gateway --listen "tls:127.0.0.1:$port" --listen "wss:127.0.0.1:$((port + 1))" --cert "$lab/cert" --key "$lab/key"
	_bench --url "mqtts://127.0.0.1:$port" --ca "$lab/cert" --qos 1 --size 20000 >/dev/null || return 1
	_bench --url "wss://127.0.0.1:$((port + 1))" --ca "$lab/cert" --qos 2 --mqtt 5 >/dev/null || return 1
	_bench --url "mqtts://127.0.0.1:$port" --insecure --publishers 50 --rate 2000 >/dev/null || return 1
	_bench --url "mqtts://127.0.0.1:$port" >/dev/null 2>"$lab/err"
	expect $? = 1
	grep -q 'no TLS with 127.0.0.1: self' "$lab/err"
}

cases_that_need_a_process_do_not_fail_without_one() {
	_start_gateway --listen "127.0.0.1:$port" || return 1
	_bench --url "mqtt://127.0.0.1:$port" --only fleet.1000 --json >"$lab/out" || { cat "$lab/out" && return 1; }
	jq -e '.cases[0].brokers[0] | (.failed | not) and .faults == 0 and .messages > 0 and .value == null' "$lab/out" \
		>/dev/null || return 1
	_bench --url "mqtt://127.0.0.1:$port" --pid "${lab_pids[gateway]}" --only fleet.1000 --json >"$lab/out" || return 1
	jq -e '.cases[0].brokers[0].value.median > 0' "$lab/out" >/dev/null
}

a_mosquitto_as_installed_gets_what_it_takes() {
	[ -x /usr/sbin/mosquitto ] || skip "no mosquitto"
	lab_spawn mosquitto /usr/sbin/mosquitto -p "$port"
	lab_until 5 mosquitto_pub -p "$port" -t x -n || skip "mosquitto does not start here"
	_bench --url "mqtt://127.0.0.1:$port" --only 'qos2*' --json >"$lab/out" || return 1
	jq -e '.cases[0].brokers[0] | (.failed | not) and .faults == 0 and .window == 20' "$lab/out" >/dev/null
}

asked_to_end_it_ends_and_leaves_nothing() {
	mkdir "$lab/tmp"
	TMPDIR=$lab/tmp lab_spawn bench hugebus bench mqtt --brokers hugebus --duration 60000 --qos 1
	lab_until 5 _has_gateway || return 1
	sleep 0.3
	lab_stop bench TERM
	expect $? = 1
	expect -z "$(ls -A "$lab/tmp")"
	grep -q interrupted "$lab/bench.out"
}

_has_gateway() { [ -n "$(cd "$lab/tmp" && ls -d hugebus-bench-*/hugebus.log 2>/dev/null)" ]; }

wrong_usage_is_refused() {
	local arguments
	for arguments in "--qos 3" "--size 8" "--inflight 0" "--mqtt 4" "--pairs --publishers 2" "--brokers nobody" "--brokers hugebus," "--url http://h" "--only nothing" \
		"--pid 1" "--qos 1 --only qos0" "--irregular" "--cert x" "--url ws:/h" "--url mqtts://" "--url mqtt://h:" "--url mqtt://h:65537" more; do
		# shellcheck disable=SC2086 # words
		_bench $arguments 2>/dev/null
		expect $? = 2
	done
}

run_cases "$@"
