# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# For tests of the ingress on a veth pair, to be sourced after lib.sh: dev0 of the namespace devices is at the other end of
# gw0 of the namespace gateway, which hugebus-ingress has. What it says at its end is the account.

GATEWAY=10.77.0.1

# The two namespaces, and a bus. Takes the daemon's options.
lab_network() {
	lab_namespace devices && lab_namespace gateway || exit 1
	lab_link devices dev0 10.77.0.2/24 gateway gw0 $GATEWAY/24 || exit 1
	bus "$@" || exit 1
}

# start_ingress OPTION...
start_ingress() {
	lab_spawn_in gateway ingress hugebus-ingress --iface gw0 --no-huge --json "$@"
	lab_wait_line ingress 'ready:' 60 || { cat "$lab/ingress.err" >&2; exit 1; }
}

stop_ingress() {
	lab_stop ingress || { cat "$lab/ingress.err" >&2; exit 1; }
	cp "$lab/ingress.out" "$lab/account.json"
}

account() { jq -r "$1" "$lab/account.json"; }

# For whoever must find out what went wrong.
show_account() {
	lab_stop ingress
	tail -n 20 "$lab"/*.err >&2
	jq -c '.ports, .frames, .events, .topics, .mqttsn' "$lab/ingress.out" >&2
}

# ended_well NAME [SECONDS]
ended_well() {
	lab_until "${2:-60}" lab_has_ended "$1" || { echo "$1 does not end" >&2; show_account; exit 1; }
	lab_stop "$1" || { echo "$1 failed: $(cat "$lab/$1.err")" >&2; show_account; exit 1; }
}

# What hugebus stats says of a counter now.
counter() {
	hugebus stats --json | jq --arg name "$1" '[.. | objects | select(.counter? == $name or .name? == $name) | .value] | add // 0'
}

# Each event is accounted for.
events_balance() {
	expect "$(account '.events | .received - .published - .no_interest - .too_long - .unknown_topic - .ring_full - .no_ring')" -eq 0
}

# Each MQTT-SN message that came is accounted for.
mqttsn_balances() {
	expect "$(account '.frames.in_flight')" -eq 0
	expect "$(account '[.ports[] | .xdp.accepted - .missed] | add')" -eq "$(account '.frames.received')"
	expect "$(account '.mqttsn | .published + .passed')" -eq "$(account '.frames.accepted')"
	expect "$(account '.mqttsn.messages_in')" -eq "$(account '.mqttsn.passed')"
	expect "$(account '.mqttsn | .messages_in - .in_taken - .in_malformed - .in_unexpected - .in_stranger - .in_limited')" -eq 0
}
