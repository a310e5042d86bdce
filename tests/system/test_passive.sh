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
	elif kind == "recut":  # other segments of the same bytes: small, overlapping, and not in order
	    cut = []
	    for record in records:
	        head, frame = record[:16], record[16:]
	        ip = 14 + (frame[14] & 15) * 4
	        tcp = ip + (frame[ip + 12] >> 4) * 4
	        end = 14 + struct.unpack_from(">H", frame, 16)[0]
	        seq, pieces, i = struct.unpack_from(">I", frame, ip + 4)[0], [], tcp
	        while i < end and not frame[ip + 13] & 0x02 and len(pieces) < 400:
	            size = chance.choice([1, 2, 7, 100, 1400])
	            begin = max(tcp, i - chance.randrange(6))
	            last = i + size >= end or len(pieces) == 399
	            piece = bytearray(frame[:tcp] + frame[begin:end if last else i + size])
	            struct.pack_into(">H", piece, 16, len(piece) - 14)
	            struct.pack_into(">I", piece, ip + 4, (seq + begin - tcp) & 0xffffffff)
	            if not last:
	                piece[ip + 13] &= ~0x01
	            pieces.append(head[:8] + struct.pack("<II", len(piece), len(piece)) + piece)
	            i = end if last else i + size
	        for k in range(len(pieces) - 2):
	            j = k + chance.randrange(2)
	            pieces[k], pieces[j] = pieces[j], pieces[k]
	        cut += pieces or [record]
	    records = cut
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

order_repetition_and_cuts_do_not_matter() {
	local kind
	for kind in reordered repeated recut; do
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

# The capture is sent on to an interface that it is not for, as a mirror does; then to the interface itself.
a_mirror_port_is_read_through_the_filter_in_the_driver() {
	[ "$(id -u)" -eq 0 ] || { echo "# mirror: needs root"; return 0; }
	[ -f "$HBUS_BUILD/ebpf/hbus_xdp.bpf.o" ] || { echo "# mirror: the XDP program is not built"; return 0; }
	local n
	lab_namespace switch && lab_namespace listener && lab_link switch s0 10.7.0.1/24 listener m0 10.7.0.2/24 || exit 1
	bus && _listen || exit 1
	lab_spawn_in listener ingress hugebus-ingress --no-huge --json --passive 1883 --iface m0
	lab_wait_line ingress 'ready:' 20 || exit 1
	# Whoever listens to a mirror needs to see what is not for it; and no longer than it listens.
	_is_not_promiscuous && { lab_in listener ip -d link show m0 >&2; cat "$lab/ingress.err" >&2; exit 1; }
	_send_capture 00:00:00:00:00:00
	lab_until 10 _has_heard "$(wc -l <"$system_dir/data/mosquitto.txt")"
	_heard | diff - "$system_dir/data/mosquitto.txt" || exit 1
	_send_capture "$(lab_mac listener m0)"
	lab_stop ingress || exit 1
	cp "$lab/ingress.out" "$lab/account.json"
	_balances
	n=$(_account '.frames.tapped')
	expect "$n" -gt 50
	expect "$(_account '.ports[0].xdp.tapped')" -eq "$n"
	expect "$(_account '.ports[0].xdp.tapped - .ports[0].missed')" -eq "$(_account '.frames.received')"
	# What brokers answered, and all that was for the interface itself, went to the kernel.
	expect "$(_account '.ports[0].xdp.not_udp')" -gt "$n"
	lab_until 5 _is_not_promiscuous || exit 1
}

_is_not_promiscuous() { lab_in listener ip -d link show m0 | grep -q 'promiscuity 0'; }

_send_capture() {
	lab_in switch python3 - "$capture" s0 "$1" <<-'END'
	import socket, struct, sys, time
	data, at = open(sys.argv[1], "rb").read(), 24
	wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
	wire.bind((sys.argv[2], 0))
	to = bytes.fromhex(sys.argv[3].replace(":", ""))
	while at < len(data):
	    size = struct.unpack_from("<I", data, at + 8)[0]
	    frame = to + data[at + 16 + 6:at + 16 + size]
	    for part in [frame] if size <= 1514 else []:
	        wire.send(part)
	    if size > 1514:  # segments as large as loopback makes them: cut as a sender would
	        ip = (frame[14] & 15) * 4
	        head = 14 + ip + (frame[14 + ip + 12] >> 4) * 4
	        seq = struct.unpack_from(">I", frame, 14 + ip + 4)[0]
	        for off in range(head, size, 1400):
	            piece = bytearray(frame[:head] + frame[off:off + 1400])
	            struct.pack_into(">H", piece, 16, len(piece) - 14)
	            struct.pack_into(">I", piece, 14 + ip + 4, (seq + off - head) % 2**32)
	            wire.send(piece)
	    at += 16 + size
	    time.sleep(0.0005)
	END
}

run_cases "$@"
