#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# MQTT over TCP in the ingress across a wire that loses, doubles and delays frames both ways, ever differently. See README.md.
#
#     tests/torture/bad_wire.sh [--seconds N] [--seed N] [--loss PERCENT] [--late PERCENT] [--patience SECONDS]
# Exit: 0 passed or skipped, 1 failed, 2 usage.
. "$(dirname -- "${BASH_SOURCE[0]}")/../system/lib.sh"
seconds=30 patience=60 loss=8 late=20 seed=${HBUS_TEST_SEED:-$((EPOCHSECONDS % 32768))}
take_numbers "seconds seed loss late patience" "$@"
set --
needs_packets
needs_commands jq mosquitto_pub mosquitto_sub python3
hugebus-ingress --tcp 10.0.0.1/8 --tcp-allow-anonymous --pcap /nonexistent 2>&1 | grep -q 'without lwIP' &&
	skip_all "hugebus-ingress is built without lwIP (liblwip-dev)"

STACK=10.77.0.9
STACK6=fd77::9
PER_ROUND=100

_wire() {
	lab_namespace devices && lab_namespace wire && lab_namespace gateway || exit 1
	lab_link devices dev0 10.77.0.2/24 wire w0 10.99.0.1/24 && lab_link wire w1 10.99.1.1/24 gateway gw0 10.77.0.1/24 || exit 1
	lab_in wire ip addr flush dev w0
	lab_in wire ip addr flush dev w1
	lab_in wire sh -c 'echo 8 >/proc/sys/net/ipv4/conf/all/arp_ignore'
	lab_spawn_in wire wire python3 "$system_dir/mqtt_peer.py" bad-wire w0 w1 "$loss" "$late" "$seed"
	lab_wait_line wire READY || exit 1
	lab_in devices sh -c 'echo 0 >/proc/sys/net/ipv6/conf/dev0/disable_ipv6; ip addr add fd77::2/64 dev dev0 nodad'
}

_hears_from() {
	lab_spawn_in devices "$1" stdbuf -oL mosquitto_sub -d -h "$2" -t 'n/#' -q 2 -v -k 600
	lab_wait_line "$1" SUBACK "$patience" || exit 1
}

_publish() { seq $PER_ROUND | lab_in devices timeout $((2 * patience)) mosquitto_pub -h "$2" -k 600 -q "$3" -t "n/$1/$2/$3" -l; }
_n_of() { grep -c "^n/$2/" "$lab/$1.out"; }
_has_round() { [ "$(_n_of "$1" "$2")" -ge $((4 * PER_ROUND)) ]; }

# Each message once and in order, at everybody who listens: TCP repeats, MQTT does not.
_check_round() {
	local reader host qos
	for reader in bus four six; do
		lab_until "$patience" _has_round $reader "$1" || { echo "round $1: $reader has $(_n_of $reader "$1") messages" >&2; exit 1; }
		for host in $STACK $STACK6; do
			for qos in 1 2; do
				grep "^n/$1/$host/$qos " "$lab/$reader.out" | cut -d' ' -f2 | cmp - <(seq $PER_ROUND) ||
					{ echo "round $1: $reader, n/$1/$host/$qos" >&2; exit 1; }
			done
		done
	done
}

every_message_comes_once_and_in_order_across_a_bad_wire() {
	local end round=0 host qos pids pid
	_wire
	bus || exit 1
	lab_spawn_in gateway ingress hugebus-ingress --iface gw0 --no-huge --json --tcp $STACK/24 --tcp $STACK6/64 --tcp-allow-anonymous
	lab_wait_line ingress 'ready:' $((2 * patience)) || exit 1
	lab_spawn bus stdbuf -oL hugebus sub --reliable --stall "${patience}s" -t 'n/#' --format '%t %p' --ready "$lab/ready"
	lab_until "$patience" test -e "$lab/ready" || exit 1
	_hears_from four $STACK
	_hears_from six $STACK6
	end=$((SECONDS + seconds))
	while [ $SECONDS -lt $end ]; do
		round=$((round + 1)) pids=()
		for host in $STACK $STACK6; do
			for qos in 1 2; do
				_publish $round $host $qos &
				pids+=($!)
			done
		done
		for pid in "${pids[@]}"; do
			wait "$pid" || { echo "round $round: a publisher failed" >&2; exit 1; }
		done
		_check_round $round
	done
	lab_stop wire
	lab_stop ingress || { cat "$lab/ingress.err" >&2; exit 1; }
	expect "$(jq '.frames.in_flight' "$lab/ingress.out")" -eq 0
	expect "$(jq '.tcp.lent_now' "$lab/ingress.out")" -eq 0
	expect "$(jq '.tcp | .accepted - .closed - .broken' "$lab/ingress.out")" -eq 0
	expect "$(jq '.tcp.accepted' "$lab/ingress.out")" -eq $((2 + 4 * round))
	echo "# seed $seed, $round rounds, $((round * 4 * PER_ROUND)) messages to 3 readers; $(grep WIRE "$lab/wire.out")" >&3
}

exec 3>&1
run_cases
