#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# MQTT clients that others wrote, where test_mqtt.sh does not need them: Eclipse Paho's C client (paho_client.c), mosquitto's
# with shared subscriptions and the rest of MQTT 5, and the packets of npm's mqtt-packet, an encoder that shares nothing with ours.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
PATH=$HBUS_BUILD/dataplane/mqtt:$HBUS_BUILD/tests/system:$PATH
needs_commands mosquitto_pub mosquitto_sub

port=$((20000 + ($$ + 7000) % 12000))

_start() {
	export HUGEBUS_SOCKET=$lab/bus
	lab_spawn daemon hugebusd --socket "$lab/bus"
	lab_until 5 test -S "$lab/bus"
	lab_spawn gateway hugebus-mqtt --socket "$lab/bus" --listen "127.0.0.1:$port" --allow-anonymous "$@"
	lab_wait_line gateway serving
}

# _sub NAME ARGUMENTS...: ready when the broker has acknowledged.
_sub() {
	local name=$1
	shift
	lab_spawn "$name" stdbuf -oL mosquitto_sub -d -p "$port" "$@"
	lab_wait_line "$name" SUBACK
}

_heard() { grep -v '^Client \|^Subscribed ' "$lab/$1.out"; }

_hears() { lab_until 5 grep -qxF -- "$2" "$lab/$1.out" || { cat "$lab/$1.out" && return 1; }; }

_pub() { timeout 10 mosquitto_pub -p "$port" "$@"; }

# -- Paho --

_has_paho() { command -v paho_client >/dev/null; }

_paho() {
	timeout 50 paho_client "tcp://127.0.0.1:$port" "$@" >"$lab/paho" 2>&1 || { cat "$lab/paho" "$lab/gateway.err" && return 1; }
}

paho_gets_each_of_many_messages_once_and_in_order() {
	_has_paho || skip "no Paho (libpaho-mqtt-dev)"
	_start
	_paho 3 flow 300 && _paho 5 flow 300
}

paho_gets_what_came_while_it_was_away() {
	_has_paho || skip "no Paho (libpaho-mqtt-dev)"
	_start
	_paho 3 away 100 && _paho 5 away 100
}

paho_speaks_through_websockets() {
	_has_paho || skip "no Paho (libpaho-mqtt-dev)"
	_start --listen "ws:127.0.0.1:$((port + 1))"
	timeout 50 paho_client "ws://127.0.0.1:$((port + 1))/mqtt" 3 flow 150 >"$lab/paho" 2>&1 || { cat "$lab/paho" && return 1; }
	timeout 50 paho_client "ws://127.0.0.1:$((port + 1))/mqtt" 5 flow 150 >"$lab/paho" 2>&1 || { cat "$lab/paho" && return 1; }
}

_paho_through_cuts() {
	lab_spawn proxy "$system_dir/cut_proxy.py" $((port + 1)) "$port" 0.4
	lab_wait_line proxy ready
	timeout 50 paho_client "tcp://127.0.0.1:$((port + 1))" "$1" through 500 >"$lab/paho" 2>&1 || {
		cat "$lab/paho" "$lab/gateway.err" && return 1
	}
	expect "$(grep -c cut "$lab/proxy.out")" -gt 0
	lab_stop proxy KILL 2>/dev/null
	return 0
}

a_connection_cut_again_and_again_loses_and_repeats_nothing() {
	_has_paho || skip "no Paho (libpaho-mqtt-dev)"
	_start
	_paho_through_cuts 3
}

the_same_holds_with_mqtt_5() {
	_has_paho || skip "no Paho (libpaho-mqtt-dev)"
	_start
	_paho_through_cuts 5
}

# -- mosquitto --

_share_between_two() {
	_start
	_sub a -V "$1" -q 1 -t '$share/g/jobs/#'
	_sub b -V "$1" -q 1 -t '$share/g/jobs/#'
	_sub all -V "$1" -q 1 -t 'jobs/#'
	seq 400 | timeout 20 mosquitto_pub -p "$port" -V "$1" -t jobs/1 -q 1 -l || return 1
	_hears all 400
	lab_until 5 _all_shared
	sort -n <(_heard a) <(_heard b) | cmp - <(seq 400) || return 1
	expect "$(_heard a | wc -l)" -ge 100
	expect "$(_heard b | wc -l)" -ge 100
	_heard all | cmp - <(seq 400)
}

_all_shared() { [ "$(cat <(_heard a) <(_heard b) | wc -l)" = 400 ]; }

a_group_shares_its_messages_with_3_1_1() { _share_between_two mqttv311; }

a_group_shares_its_messages_with_5() { _share_between_two mqttv5; }

a_member_that_is_killed_leaves_its_share_to_others() {
	_start
	_sub a -V mqttv5 -q 1 -t '$share/g/work'
	_sub b -V mqttv5 -q 1 -t '$share/g/work'
	lab_stop a KILL 2>/dev/null
	seq 100 | timeout 20 mosquitto_pub -p "$port" -V mqttv5 -t work -q 1 -l || return 1
	_hears b 100
	_heard b | tail -n 50 | cmp - <(seq 51 100)
}

retained_messages_and_their_options_with_5() {
	_start
	_pub -V mqttv5 -t r -m kept -r -q 1 -D PUBLISH message-expiry-interval 1000 -D PUBLISH user-property a b || return 1
	_sub plain -V mqttv5 -t r -F '%r %p %P'
	_hears plain "1 kept a:b" || return 1
	_sub asis -V mqttv5 -t r --retain-as-published -F '%r %p'
	_hears asis "1 kept" || return 1
	_pub -V mqttv5 -t r -m new -r -q 1 || return 1
	_hears asis "1 new" && _hears plain "0 new " || return 1
	_pub -V mqttv5 -t r -n -r -q 1 || return 1
	_sub late -V mqttv5 -t r -F '%r %p'
	_pub -V mqttv5 -t r -m last -q 1 || return 1
	_hears late "0 last"
	expect "$(_heard late | wc -l)" = 1
}

a_will_waits_its_delay() {
	_start
	_sub heir -V mqttv5 -t will -F '%p %P'
	lab_spawn victim stdbuf -oL mosquitto_sub -d -V mqttv5 -p "$port" -i victim -c -x 60 -t nothing --will-topic will --will-payload gone \
		-D WILL will-delay-interval 1 -D WILL user-property who victim
	lab_wait_line victim SUBACK
	lab_stop victim KILL 2>/dev/null
	sleep 0.4
	expect "$(_heard heir | wc -l)" = 0
	_hears heir "gone who:victim"
}

a_request_of_mosquitto_rr_gets_its_response() {
	command -v mosquitto_rr >/dev/null || skip "no mosquitto_rr"
	_start
	_sub server -V mqttv5 -t ask -F '%p %R'
	lab_spawn rr timeout 20 mosquitto_rr -V mqttv5 -p "$port" -t ask -e answer -m question
	_hears server "question answer" || return 1
	_pub -V mqttv5 -t answer -m 42 -q 1
	lab_wait_line rr '^42$' 10
}

# -- mqtt-packet --

# Its files are in the build directory; they come there only where HBUS_FETCH=1 asks for it.
_need_packages() {
	command -v node >/dev/null || skip "no node"
	[ ! -d "$HBUS_BUILD/npm/node_modules/mqtt-packet" ] || return 0
	[ "${HBUS_FETCH:-0}" = 1 ] && command -v npm >/dev/null || skip "mqtt-packet is not here, and not fetched without HBUS_FETCH=1"
	mkdir -p "$HBUS_BUILD/npm" && cp "$system_dir"/npm/package*.json "$HBUS_BUILD/npm/" || return 1
	timeout 60 npm ci --ignore-scripts --no-audit --no-fund --prefix "$HBUS_BUILD/npm" >"$lab/npm" 2>&1 ||
		skip "npm cannot fetch mqtt-packet"
}

packets_of_another_encoder_mean_the_same() {
	_need_packages || return 1
	_start
	NODE_PATH=$HBUS_BUILD/npm/node_modules timeout 50 node "$system_dir/mqtt_packet.js" "$port"
}

run_cases "$@"
