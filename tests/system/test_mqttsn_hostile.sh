#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# MQTT-SN on the wire as it should not be: whoever floods, lies, moves or repeats costs only itself, and every
# frame is accounted for.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
needs_packets
needs_commands jq python3 timeout

GATEWAY=10.77.0.1

_lab_network() {
	lab_namespace devices && lab_namespace gateway || exit 1
	lab_link devices dev0 10.77.0.2/24 gateway gw0 $GATEWAY/24 || exit 1
	bus || exit 1
	lab_spawn_in gateway ingress hugebus-ingress --iface gw0 --no-huge --json --mqttsn 1883 --mqttsn-retry 1 "$@"
	lab_wait_line ingress 'ready:' 60 || { cat "$lab/ingress.err" >&2; exit 1; }
}

_stop_ingress() {
	lab_stop ingress || { cat "$lab/ingress.err" >&2; exit 1; }
	cp "$lab/ingress.out" "$lab/account.json"
}

account() { jq -r "$1" "$lab/account.json"; }

balances() {
	expect "$(account '.frames.in_flight')" -eq 0
	expect "$(account '[.ports[] | .xdp.accepted - .missed] | add')" -eq "$(account '.frames.received')"
	expect "$(account '.mqttsn | .published + .passed')" -eq "$(account '.frames.accepted')"
	expect "$(account '.mqttsn.messages_in')" -eq "$(account '.mqttsn.passed')"
	expect "$(account '.mqttsn | .messages_in - .in_taken - .in_malformed - .in_unexpected - .in_stranger - .in_limited')" -eq 0
}

_peer_command() { echo python3 "$system_dir/sn_peer.py" dev0 "$(lab_mac gateway gw0)" $GATEWAY fd77::1 "$@"; }

# shellcheck disable=SC2046 # a list of words
peer() { lab_in devices timeout 120 $(_peer_command "$@") >"$lab/peer.out" 2>&1 || { tail -n 20 "$lab/peer.out" >&2; exit 1; }; }

subscriber() {
	local name=$1
	shift
	lab_spawn "$name" hugebus sub --ready "$lab/$name.ready" "$@"
	lab_until 30 test -e "$lab/$name.ready" || { cat "$lab/$name.err" >&2; exit 1; }
}

# Somebody well-behaved, whose address the others do not have.
_good_client_works() {
	lab_in devices timeout 60 mqttsn -h $GATEWAY -n 40 pub -t good/one -q 1 -m fine || { echo "the good client is not served" >&2; exit 1; }
}

what_stands_around_a_datagram_is_judged_and_answered_in_kind() {
	_lab_network
	peer frames
	_good_client_works
	_stop_ingress
	balances
	expect "$(account '.frames.bad_checksum')" -eq 4
	expect "$(account '.ports[0].xdp.fragment')" -eq 2
	expect "$(account '.ports[0].xdp.bad_length')" -eq 2
}

messages_out_of_turn_get_the_answer_that_is_due() {
	_lab_network
	peer rules
	_good_client_works
	_stop_ingress
	balances
	expect "$(account '.mqttsn.in_stranger')" -ge 4
	expect "$(account '.mqttsn.in_malformed')" -ge 2
}

lengths_that_lie_cost_only_themselves() {
	local n
	_lab_network
	peer lies
	n=$(sed -n 's/LIES //p' "$lab/peer.out")
	_good_client_works
	_stop_ingress
	balances
	expect "$n" -gt 150
	# One lie in ten is by chance no lie: a SEARCHGW, say, whose length of three octets is right.
	expect "$(account '.frames.malformed + .mqttsn.in_malformed')" -ge $((n * 9 / 10))
}

a_client_that_moves_on_and_on_is_stopped() {
	_lab_network
	peer moves
	_good_client_works
	_stop_ingress
	balances
	expect "$(account '.mqttsn.clients_moved')" -ge 9
	expect "$(account '.mqttsn.clients_moved')" -le 14
}

what_is_said_twice_is_heard_once() {
	_lab_network
	subscriber all -t tw -C 20 -W 60
	peer twice
	lab_until 30 lab_has_ended all || exit 1
	expect "$(cat "$lab/all.out")" = "$(seq -f 'twice %g' 20)"
	_stop_ingress
	balances
}

a_flood_costs_others_nothing_but_time() {
	local i
	_lab_network
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
	_stop_ingress
	balances
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
