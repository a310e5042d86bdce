#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# MQTT-SN on the wire as it should not be: whoever floods, lies, moves or repeats costs only itself, and every
# frame is accounted for.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
. "$system_dir/packets.sh"
needs_packets
needs_commands jq python3 timeout

_network() {
	lab_network
	start_ingress --mqttsn 1883 --mqttsn-retry 1 "$@"
}

_peer_command() { echo python3 "$system_dir/sn_peer.py" dev0 "$(lab_mac gateway gw0)" $GATEWAY fd77::1 "$@"; }

# shellcheck disable=SC2046 # a list of words
peer() { lab_in devices timeout 120 $(_peer_command "$@") >"$lab/peer.out" 2>&1 || { tail -n 20 "$lab/peer.out" >&2; exit 1; }; }

# Somebody well-behaved, whose address the others do not have.
_good_client_works() {
	lab_in devices timeout 60 mqttsn -h $GATEWAY -n 40 pub -t good/one -q 1 -m fine || { echo "the good client is not served" >&2; exit 1; }
}

what_stands_around_a_datagram_is_judged_and_answered_in_kind() {
	_network
	peer frames
	_good_client_works
	stop_ingress
	mqttsn_balances
	expect "$(account '.frames.bad_checksum')" -eq 4
	expect "$(account '.ports[0].xdp.fragment')" -eq 2
	expect "$(account '.ports[0].xdp.bad_length')" -eq 2
}

messages_out_of_turn_get_the_answer_that_is_due() {
	_network
	peer rules
	_good_client_works
	stop_ingress
	mqttsn_balances
	expect "$(account '.mqttsn.in_stranger')" -ge 4
	expect "$(account '.mqttsn.in_malformed')" -ge 2
}

lengths_that_lie_cost_only_themselves() {
	local n
	_network
	peer lies
	n=$(sed -n 's/LIES //p' "$lab/peer.out")
	_good_client_works
	stop_ingress
	mqttsn_balances
	expect "$n" -gt 150
	# One lie in ten is by chance no lie: a SEARCHGW, say, whose length of three octets is right.
	expect "$(account '.frames.malformed + .mqttsn.in_malformed')" -ge $((n * 9 / 10))
}

a_client_that_moves_on_and_on_is_stopped() {
	_network
	peer moves
	_good_client_works
	stop_ingress
	mqttsn_balances
	expect "$(account '.mqttsn.clients_moved')" -ge 9
	expect "$(account '.mqttsn.clients_moved')" -le 14
}

what_is_said_twice_is_heard_once() {
	_network
	subscriber all -t tw -C 20 -W 60
	peer twice
	lab_until 30 lab_has_ended all || exit 1
	expect "$(cat "$lab/all.out")" = "$(seq -f 'twice %g' 20)"
	stop_ingress
	mqttsn_balances
}

a_flood_costs_others_nothing_but_time() {
	local i
	_network
	subscriber all -t good/one -C 12 -W 90
	# shellcheck disable=SC2046
	lab_spawn_in devices flood $(_peer_command flood 4)
	for i in 1 2 3 4 5 6 7 8 9 10 11; do
		_good_client_works
	done
	lab_until 60 lab_has_ended flood || exit 1
	grep -q SENT "$lab/flood.out" || { cat "$lab/flood.err" >&2; exit 1; }
	_good_client_works
	lab_until 30 lab_has_ended all || exit 1
	expect "$(wc -l <"$lab/all.out")" -eq 12
	stop_ingress
	mqttsn_balances
	# As many clients as one address may be.
	expect "$(account '.mqttsn.connects_limited')" -gt 0
}

what_predefines_topics_wrongly_is_refused_by_line() {
	local line
	bus || exit 1
	for line in '0 a/b' '65536 a' 'x a/b' '7' '7 a/#' '3 again'; do
		printf '# right\n3 right\n%s\n' "$line" >"$lab/topics"
		timeout 30 hugebus-ingress --no-huge --vdev net_null0 --mqttsn 1883 --mqttsn-topics "$lab/topics" --seconds 0.1 2>"$lab/err"
		expect $? -ne 0
		grep -q 'topics.*3' "$lab/err" || { echo "of '$line' it said:" >&2; cat "$lab/err" >&2; exit 1; }
	done
}

run_cases "$@"
