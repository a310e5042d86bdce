#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# hugebus-ingress is killed again and again, at random moments, under MQTT-SN and TCP clients. See README.md.
#
#     tests/torture/ingress_clients.sh [--seconds N] [--seed N] [--patience SECONDS]
# Exit: 0 passed or skipped, 1 failed, 2 usage.
. "$(dirname -- "${BASH_SOURCE[0]}")/../system/lib.sh"
# Patience is for machines on which this stands still now and then.
seconds=8 patience=30 seed=${HBUS_TEST_SEED:-$((EPOCHSECONDS % 32768))}
take_numbers "seconds seed patience" "$@"
set --
needs_packets
needs_commands jq python3
hugebus-ingress --tcp 10.0.0.1/8 --tcp-allow-anonymous --pcap /nonexistent 2>&1 | grep -q 'without lwIP' &&
	skip_all "hugebus-ingress is built without lwIP (liblwip-dev)"

KERNEL=10.77.0.1
STACK=10.77.0.9
clients=$top/tests/torture/ingress_clients.py
n_kills=0 in_flight_max=0

_start_ingress() {
	lab_spawn_in gateway ingress hugebus-ingress --iface gw0 --no-huge --json --mqttsn 1883 --mqttsn-retry 1 \
		--tcp $STACK/24 --tcp-allow-anonymous
	lab_wait_line ingress 'ready:' $((2 * patience)) || exit 1
}

# What the counters of a killed poll process, which the bus still has, say of what it received.
_received_by() {
	hugebus stats --json | jq --argjson pid "$1" '[.. | objects | select(.pid? == $pid and .owner_gone? == true and
		(.counter | test("^(worker[0-9]+[.]frames[.]received|port[0-9]+[.]missed)$"))) | .value] | add // -1'
}

# One time in four both processes go, so that nobody is left to clean up; else the one that polls.
_kill_ingress() {
	local guard=${lab_pids[ingress]} poll accepted received in_flight
	poll=$(pgrep -P "$guard" | head -n 1)
	[ -n "$poll" ] || exit 1
	if [ $((RANDOM % 4)) -eq 0 ] && [ $n_kills -gt 0 ]; then
		kill -KILL "$guard" "$poll"
	else
		kill -KILL "$poll"
	fi
	n_kills=$((n_kills + 1))
	lab_until $patience lab_has_ended ingress || exit 1
	lab_stop ingress 2>/dev/null
	accepted=$(sed -nE 's/.*the filter had accepted ([0-9]+) frames/\1/p' "$lab/ingress.err")
	[ -n "$accepted" ] || return 0
	# What the filter let through and nobody has counted was in the queues, which hold 2048 frames.
	received=$(_received_by "$poll")
	expect "$received" -ge 0
	in_flight=$((accepted - received))
	expect $in_flight -ge 0
	expect $in_flight -le 2048
	n_told=$((n_told + 1))
	[ $in_flight -le $in_flight_max ] || in_flight_max=$in_flight
}

_publishers() {
	local kind qos
	for kind in sn tcp; do
		for qos in 1 2; do
			"$@" $kind $qos "$kind$qos"
		done
	done
}

_spawn_publisher() {
	lab_spawn_in devices "$3" python3 "$clients" publish "$1" "$([ "$1" = sn ] && echo $KERNEL || echo $STACK)" "$2" "$3" \
		"$lab/acked.$2.$1.$3"
}

_stop_publisher() { lab_stop "$3" || { cat "$lab/$3.err" >&2; exit 1; }; }
_has_acked() { [ -e "$lab/acked.$2.$1.$3" ] && [ "$(wc -l <"$lab/acked.$2.$1.$3")" -gt "${since[$3]:-0}" ]; }
_goes_on() { lab_until $patience _has_acked "$@" || { echo "$3 is acknowledged nothing any more" >&2; tail "$lab/$3.err" >&2; exit 1; }; }
_note() { since[$3]=$(wc -l <"$lab/acked.$2.$1.$3"); }
_hears() { [ -e "$lab/$1.heard" ] && [ "$(wc -l <"$lab/$1.heard")" -gt "${since[$1]:-0}" ]; }

acknowledged_messages_survive_every_kill() {
	local -A since=()
	local n_told=0 end kind line
	lab_namespace devices && lab_namespace gateway || exit 1
	lab_link devices dev0 10.77.0.2/24 gateway gw0 $KERNEL/24 || exit 1
	bus || exit 1
	lab_spawn bus hugebus sub --reliable --stall ${patience}s -t 'n/#' --format '%t %p' --ready "$lab/ready"
	lab_until $patience test -e "$lab/ready" || exit 1
	_start_ingress
	for kind in sn tcp; do
		lab_spawn_in devices $kind-hears python3 "$clients" subscribe $kind \
			"$([ $kind = sn ] && echo $KERNEL || echo $STACK)" "$lab/$kind-hears.heard"
	done
	_publishers _spawn_publisher
	_publishers _goes_on
	RANDOM=$seed
	end=$((SECONDS + seconds))
	while [ $SECONDS -lt $end ] || [ $n_kills -lt 4 ]; do
		sleep "$(printf '0.%03d' $((RANDOM % 700)))"
		_kill_ingress
		# Sometimes it stays away for longer than a client has patience.
		[ $((RANDOM % 8)) -gt 0 ] || sleep 2
		_start_ingress
	done
	# All of them find back, whatever they were doing.
	_publishers _note
	for kind in sn-hears tcp-hears; do since[$kind]=$(wc -l <"$lab/$kind.heard"); done
	_publishers _goes_on
	for kind in sn-hears tcp-hears; do
		lab_until $patience _hears $kind || { echo "$kind hears nothing any more" >&2; exit 1; }
	done
	_publishers _stop_publisher
	lab_stop sn-hears
	lab_stop tcp-hears
	lab_stop ingress || { cat "$lab/ingress.err" >&2; exit 1; }
	expect "$(jq '.frames.in_flight' "$lab/ingress.out")" -eq 0
	expect "$(jq '[.ports[].xdp | .accepted + .stack] | add' "$lab/ingress.out")" -eq \
		"$(jq '.frames.received + ([.ports[].missed] | add)' "$lab/ingress.out")"
	expect "$(jq '.mqttsn | .messages_in - .in_taken - .in_malformed - .in_unexpected - .in_stranger - .in_limited' "$lab/ingress.out")" -eq 0
	expect "$(jq '.tcp | .accepted - .closed - .broken' "$lab/ingress.out")" -eq 0
	# Whoever outlives the poll process says what the filter had let through.
	expect $n_told -gt 0
	lab_stop bus
	python3 "$clients" judge "$lab" $n_kills >"$lab/verdict" || { cat "$lab/verdict" >&2; echo "seed $seed, $n_kills kills" >&2; exit 1; }
	while read -r line; do echo "# $line"; done <"$lab/verdict" >&3
	echo "# seed $seed, $n_kills kills, $n_told times the account said what was in flight: at most $in_flight_max frames" >&3
	# And the judge sees it when one is missing, comes late, or comes twice too often.
	cp "$lab/bus.out" "$lab/all"
	grep -vx 'n/tcp1 50' "$lab/all" >"$lab/bus.out"
	python3 "$clients" judge "$lab" $n_kills >/dev/null && exit 1
	echo 'n/tcp1 50' >>"$lab/bus.out"
	python3 "$clients" judge "$lab" $n_kills >/dev/null && exit 1
	{ cat "$lab/all"; yes 'n/tcp2 50' | head -n $((n_kills + 1)); } >"$lab/bus.out"
	python3 "$clients" judge "$lab" $n_kills >/dev/null && exit 1
	return 0
}

exec 3>&1
run_cases
