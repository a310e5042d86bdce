#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Passive MQTT: what a broker's own subscriber saw is read out of its traffic, from a capture and from a live
# interface, and nothing is ever sent.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
needs_commands jq timeout python3
[ -x "$HBUS_BUILD/dataplane/hugebus-ingress" ] || skip_all "hugebus-ingress is not built (DPDK, liburcu)"
PATH=$HBUS_BUILD/dataplane/mqtt:$PATH
capture=$system_dir/data/mosquitto.pcap

# Subscribed to everything when this returns.
_listen() {
	lab_spawn listener hugebus sub --ready "$lab/ready" -t '#' -v
	lab_until 10 test -e "$lab/ready"
}

_ingress() {
	timeout 30 hugebus-ingress --no-huge --json --passive 1883 "$@" >"$lab/account.json" 2>"$lab/ingress.err" && return 0
	cat "$lab/ingress.err" >&2
	exit 1
}

_account() { jq -r "$1" "$lab/account.json"; }

# Every frame and every message is accounted for.
_balances() {
	expect "$(_account '.frames.in_flight')" -eq 0
	expect "$(_account '.passive | .streams.published - .events_published - .ring_full - .too_large - .no_topic')" -eq 0
	expect "$(_account '.passive.flows.waiting_bytes')" -eq 0
}

_has_heard() { [ "$(wc -l <"$lab/listener.out")" -ge "$1" ]; }

# What was heard, as mosquitto.txt has it.
_heard() { awk '{ p = substr($0, length($1) + 2); print $1 (length(p) < 100 ? " " p : " (" length(p) " bytes)") }' "$lab/listener.out" | LC_ALL=C sort; }

# damage KIND <capture >damaged: rewrites the records of a capture.
_damage() {
	python3 - "$1" "$capture" "$lab/damaged.pcap" <<-'END'
	import random, struct, sys
	kind, source, target = sys.argv[1:]
	data = open(source, "rb").read()
	records, at = [], 24
	while at < len(data):
	    size = struct.unpack_from("<I", data, at + 8)[0]
	    records.append(data[at:at + 16 + size])
	    at += 16 + size
	chance = random.Random(7)
	if kind == "reordered":
	    for i in range(len(records) - 3):
	        j = i + chance.randrange(3)
	        records[i], records[j] = records[j], records[i]
	elif kind == "repeated":
	    records = [r for record in records for r in [record] * (1 + chance.randrange(2))]
	elif kind == "lossy":
	    records = [r for r in records if chance.random() > 0.1]
	elif kind == "headless":  # from the middle of every connection on
	    records = [r for r in records if not r[16 + 47] & 0x02 and b"MQTT" not in r]
	open(target, "wb").write(data[:24] + b"".join(records))
	END
}

a_capture_gives_what_the_brokers_subscriber_saw() {
	bus && _listen || exit 1
	_ingress --pcap "$capture" --idle-exit 0.3
	lab_until 10 _has_heard "$(wc -l <"$system_dir/data/mosquitto.txt")"
	_balances
	_heard | diff - "$system_dir/data/mosquitto.txt" || exit 1
	expect "$(_account '.frames.tapped')" -gt 100
	expect "$(_account '.passive | .flows.holes + .flows.midstream + .flows.open + .streams.kept_bytes')" -eq 0
}

order_and_repetition_do_not_matter() {
	local kind
	for kind in reordered repeated; do
		bus && _listen || exit 1
		_damage $kind
		_ingress --pcap "$lab/damaged.pcap" --idle-exit 0.3
		lab_until 10 _has_heard "$(wc -l <"$system_dir/data/mosquitto.txt")"
		_balances
		_heard | diff - "$system_dir/data/mosquitto.txt" || exit 1
		expect "$(_account '.passive.flows.reordered + .passive.flows.repeated_bytes')" -gt 0
		lab_stop listener
		lab_stop hugebusd
	done
}

what_is_lost_is_counted_and_the_rest_is_right() {
	bus && _listen || exit 1
	_damage lossy
	_ingress --pcap "$lab/damaged.pcap" --idle-exit 0.3
	lab_until 10 _has_heard "$(_account .passive.events_published)"
	_balances
	expect "$(_account .passive.flows.holes)" -gt 0
	expect "$(_account .passive.events_published)" -gt 0
	# Nothing that was not sent.
	expect -z "$(_heard | LC_ALL=C comm -23 - "$system_dir/data/mosquitto.txt")"
	_damage headless
	_ingress --pcap "$lab/damaged.pcap" --idle-exit 0.3
	expect "$(_account .passive.events_published)" -eq 0
	expect "$(_account '.passive.flows.midstream - .passive.streams.not_mqtt')" -eq 0
}

other_traffic_is_left_alone() {
	bus || exit 1
	timeout 30 hugebus-ingress --no-huge --json --passive 1884 --pcap "$capture" --idle-exit 0.3 >"$lab/account.json" 2>/dev/null
	expect "$(_account '.frames | .received - .not_udp')" -eq 0
	timeout 30 hugebus-ingress --no-huge --json --pcap "$capture" --idle-exit 0.3 >"$lab/account.json" 2>/dev/null
	expect "$(_account '.passive')" = null
	hugebus-ingress --passive 0 --pcap "$capture" 2>"$lab/err"
	expect $? -eq 2
	grep -q 'ports from 1 to 65535' "$lab/err"
}

# The broker, its clients and the listener's device are one veth pair; the bus that listens is another than the broker's.
a_live_interface_is_read_and_nothing_is_sent() {
	[ "$(id -u)" -eq 0 ] || { echo "# live interface: needs root"; return 0; }
	command -v mosquitto_pub >/dev/null || { echo "# live interface: needs mosquitto_pub"; return 0; }
	local i
	lab_namespace broker && lab_namespace clients && lab_link broker b0 10.7.0.1/24 clients c0 10.7.0.2/24 || exit 1
	bus && _listen || exit 1
	lab_spawn daemon2 hugebusd --socket "$lab/other"
	lab_until 10 test -S "$lab/other"
	lab_spawn_in broker gateway hugebus-mqtt --socket "$lab/other" --listen 10.7.0.1:1883 --allow-anonymous
	lab_wait_line gateway serving || exit 1
	lab_spawn_in broker ingress hugebus-ingress --no-huge --json --passive 1883 --vdev net_af_packet0,iface=b0
	lab_wait_line ingress 'ready:' || exit 1
	for i in 0 1 2; do
		lab_in clients timeout 10 mosquitto_pub -V mqttv5 -h 10.7.0.1 -q $i -t "live/$i" -m "over the wire $i" || exit 1
	done
	seq 1 200 | lab_in clients timeout 10 mosquitto_pub -h 10.7.0.1 -q 1 -t live/lines -l || exit 1
	lab_until 10 _has_heard 203
	expect "$(wc -l <"$lab/listener.out")" -eq 203
	grep -qx 'live/2 over the wire 2' "$lab/listener.out" || exit 1
	lab_stop ingress || exit 1
	cp "$lab/ingress.out" "$lab/account.json"
	_balances
	expect "$(_account '.passive.events_published')" -eq 203
	expect "$(_account '.passive.flows.hole_bytes')" -eq 0
}

run_cases "$@"
