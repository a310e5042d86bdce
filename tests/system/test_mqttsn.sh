#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The MQTT-SN gateway of the ingress: clients of examples/ on a veth pair, through AF_XDP.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
. "$system_dir/packets.sh"
needs_packets
needs_commands jq python3 timeout

# The network, and an ingress that is a gateway.
_network() {
	lab_network
	_start "$@"
}

_start() {
	printf '77 plant/alarm\n# a comment\n\n78 plant/level\n' >"$lab/topics"
	start_ingress --mqttsn 1883 --mqttsn-topics "$lab/topics" --mqttsn-retry 1 "$@"
}

# A busy machine may keep the gateway from its CPU for seconds: clients ask for longer than they would by default.
sn() { lab_in devices timeout 120 mqttsn -h $GATEWAY -n 40 "$@"; }
_sn_subscriber() {
	local name=$1
	shift
	lab_spawn_in devices "$name" timeout 120 mqttsn -h $GATEWAY -n 40 "$@"
	lab_wait_line "$name" 'subscribed' 60 || exit 1
}

_counts() { [ "$(counter "$1")" -eq "$2" ]; }

clients_publish_at_every_qos_to_local_subscribers() {
	_network
	subscriber all -t '#' -C 8 -W 60
	sn pub -t a/b -m zero || exit 1
	sn pub -t a/b -m one -q 1 || exit 1
	sn pub -t a/b -m two -q 2 || exit 1
	sn pub -P 77 -m minus -q -1 || exit 1
	sn pub -t xy -m short -q -1 || exit 1
	sn pub -t xy -m short1 -q 1 || exit 1
	sn pub -t a/b -m kept -q 1 -r || exit 1
	lab_spawn_in devices reader timeout 120 mqttsn -h $GATEWAY sub -t a/b -C 1
	ended_well reader
	sn pub -P 78 -m last || exit 1
	ended_well all
	expect "$(cat "$lab/reader.out")" = "a/b kept"
	stop_ingress
	mqttsn_balances
	expect "$(account '.mqttsn.clients_now')" -eq 0
	expect "$(account '.mqttsn.connects')" -eq 7
}

clients_receive_from_local_publishers_and_from_each_other() {
	_network
	_sn_subscriber one sub -t 'plant/#' -q 1 -C 4 -W 60
	_sn_subscriber two sub -t 'plant/+/temp' -q 2 -C 2 -W 60
	hugebus pub -t plant/a/temp -m 21 || exit 1
	sn pub -t plant/b/temp -m 22 -q 2 || exit 1
	hugebus pub -t plant/alarm -m fire || exit 1
	hugebus pub -t plant/c -m 1 || exit 1
	ended_well one
	ended_well two
	expect "$(sort "$lab/one.out" | tr '\n' ' ')" = "#77 fire plant/a/temp 21 plant/b/temp 22 plant/c 1 "
	expect "$(sort "$lab/two.out" | tr '\n' ' ')" = "plant/a/temp 21 plant/b/temp 22 "
	stop_ingress
	mqttsn_balances
}

a_sleeping_client_gets_what_came_meanwhile() {
	_network
	_sn_subscriber sleeper sleep -t 'plant/#' -q 1 -S 600 -N 0.7 -C 1000
	lab_until 30 _counts asleep_now 1 || exit 1
	hugebus pub -t plant/a -m 1 || exit 1
	hugebus pub -t plant/b -m 2 || exit 1
	lab_until 30 has_lines "$lab/sleeper.out" 2 || { show_account; exit 1; }
	lab_stop sleeper || { echo "the sleeper failed" >&2; show_account; exit 1; }
	expect "$(tr '\n' ' ' <"$lab/sleeper.out")" = "plant/a 1 plant/b 2 "
	stop_ingress
	mqttsn_balances
	expect "$(account '.mqttsn.awakes')" -ge 1
}

# A gateway that was held up answers all at once what was asked again meanwhile: the second answer is not that to the next
# question. Taken for it, each repetition would put a sleeper behind by one more nap, for good.
late_answers_are_not_taken_for_those_to_the_next_question() {
	cat >"$lab/gateway.py" <<-'END'
		import socket
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		s.bind(("127.0.0.1", 0))
		s.settimeout(20)
		print("port", s.getsockname()[1], flush=True)
		def say(*messages):
		    for m in messages:
		        s.sendto(bytes([len(m) + 1]) + m, there)
		heard = []
		ping = b"\x17"
		while True:
		    m, there = s.recvfrom(2048)
		    kind, body = m[1], m[2:]
		    heard.append(kind)
		    if kind == 0x04: say(b"\x05\0")                                        # CONNECT
		    elif kind == 0x12: say(b"\x13\x20\0\0" + body[1:3] + b"\0")           # SUBSCRIBE
		    elif kind == 0x0a: say(b"\x0b\0\7" + body[2:4] + b"\0")                # REGISTER
		    elif kind == 0x18: say(b"\x18", b"\x18")                               # DISCONNECT
		    elif kind == 0x0c and heard.count(0x0c) == 1:                          # PUBLISH
		        say(*[b"\x0d" + body[1:5] + b"\0"] * 3)
		    elif kind == 0x0c and heard.count(0x0c) == 3: say(b"\x0d" + body[1:5] + b"\0")
		    elif kind == 0x16 and heard.count(0x16) == 1: say(*[ping] * 8)         # PINGREQ
		    elif kind == 0x16 and heard.count(0x16) == 2: say(b"\x0a\0\x09\0\1a/b")
		    elif kind == 0x0b: say(b"\x0c\x20\0\x09\0\2late")                     # REGACK
		    elif kind == 0x0d: say(ping)                                           # PUBACK
		    print(kind, flush=True)
	END
	lab_spawn fake python3 "$lab/gateway.py"
	lab_wait_line fake '^port' 30 || exit 1
	port=$(sed -n 's/port //p' "$lab/fake.out")
	timeout 30 mqttsn -h 127.0.0.1 -p "$port" -n 20 pub -t a/b -q 1 -C 2 || exit 1
	# The second message once more, because nobody has acknowledged that.
	lab_until 10 eval '[ "$(grep -c "^12$" "$lab/fake.out")" -eq 3 ]' || { echo "an old PUBACK was taken" >&2; exit 1; }
	timeout 30 mqttsn -h 127.0.0.1 -p "$port" -n 20 sleep -t 'a/#' -q 1 -S 60 -N 0.1 -C 2 >"$lab/sleeper.out" || exit 1
	expect "$(cat "$lab/sleeper.out")" = "a/b late"
	lab_stop fake
	return 0
}

a_client_that_falls_silent_leaves_its_will() {
	_network
	subscriber wills -t will/topic -C 1 -W 60
	# A connection of its own from the same address and port is another client of that address: use -x and
	# a second client with the same identifier, which takes the session over.
	sn pub -t a/b -m x -q 1 -i mortal -T will/topic -M gone -x || exit 1
	sn pub -t a/b -m x -q 1 -i mortal || exit 1
	ended_well wills
	expect "$(cat "$lab/wills.out")" = "gone"
	stop_ingress
	mqttsn_balances
	expect "$(account '.mqttsn.clients_moved')" -eq 1
}

a_gateway_is_found_and_lies_are_counted() {
	_network
	expect "$(sn search)" = "gateway 1"
	expect "$(lab_in devices timeout 120 mqttsn -h 10.77.0.255 search)" = "gateway 1"
	# Lengths that are not their own, an unknown type, nothing at all.
	for bytes in '\x09\x16' '\x01\x00\x03\x16' '\x02\x03' '\x00'; do
		lab_in devices bash -c "printf '$bytes' >/dev/udp/$GATEWAY/1883"
	done
	lab_until 30 _counts in_malformed 1 || exit 1
	stop_ingress
	mqttsn_balances
	expect "$(account '.frames.malformed')" -eq 3
	expect "$(account '.mqttsn.in_malformed')" -eq 1
}

ipv6_is_served_and_the_kernel_keeps_its_ports() {
	_network
	lab_in devices sh -c 'echo 0 >/proc/sys/net/ipv6/conf/dev0/disable_ipv6
		ip addr add fd77::2/64 dev dev0 nodad' || exit 1
	lab_in devices ip neigh replace fd77::1 dev dev0 nud permanent lladdr "$(lab_mac gateway gw0)"
	subscriber all -t a/b -C 1 -W 60
	lab_in devices timeout 120 mqttsn -h fd77::1 pub -t a/b -m six -q 2 || exit 1
	ended_well all
	stop_ingress
	mqttsn_balances
}

# Without AF_XDP: frames come and go through a packet socket, and the filter is the loop's. The address is nobody's, so that
# no kernel answers as well.
ports_without_a_filter_in_the_driver_serve_clients_too() {
	lab_namespace devices && lab_namespace gateway || exit 1
	lab_link devices dev0 10.77.0.2/24 gateway gw0 $GATEWAY/24 || exit 1
	bus || exit 1
	lab_in devices ip neigh replace 10.77.0.9 dev dev0 nud permanent lladdr "$(lab_mac gateway gw0)"
	lab_spawn_in gateway ingress hugebus-ingress --vdev net_af_packet0,iface=gw0 --no-huge --json --mqttsn 1883
	lab_wait_line ingress 'filter in the poll loop' 60 && lab_wait_line ingress 'ready:' 60 || exit 1
	subscriber all -t 'packet/#' -C 52 -W 60
	GATEWAY=10.77.0.9
	_sn_subscriber one sub -t 'packet/+' -q 1 -C 1 -W 60
	sn pub -t packet/one -q 2 -m two || exit 1
	ended_well one
	sn pub -t packet/many -C 50 -R 1000 || exit 1
	sn pub -t packet/one -q 1 -m one || exit 1
	sn pub -t other/one -C 20 -R 200 || exit 1
	ended_well all
	stop_ingress
	expect "$(account '.frames.in_flight')" -eq 0
	expect "$(account '.mqttsn | .published + .passed')" -eq "$(account '.frames.accepted')"
	expect "$(account '.mqttsn.messages_in')" -eq "$(account '.mqttsn.passed')"
	expect "$(account '.frames.no_interest')" -eq 20
}

many_messages_are_published_by_the_poll_loop_and_unwanted_ones_dropped() {
	_network
	subscriber all -t 'fast/#' -C 500 -W 60
	sn pub -t fast/one -C 500 -R 2000 -s 8 || exit 1
	sn pub -t slow/one -C 300 -R 500 || exit 1
	ended_well all
	stop_ingress
	mqttsn_balances
	expect "$(account '.mqttsn.published')" -eq 500
	expect "$(account '[.frames.no_interest, .ports[0].xdp.no_interest] | add')" -eq 300
	expect "$(account '.ports[0].xdp.no_interest')" -ge 50
	expect "$(account '.topics[] | select(.topic == "fast/one") | .published')" -eq 500
}

a_killed_ingress_loses_nothing_that_it_has_acknowledged() {
	local i acked=0 poll
	_network
	subscriber all -t kill/me -W 60
	lab_spawn_in devices talker bash -c '
		for i in $(seq 80); do
			until timeout 120 mqttsn -h '$GATEWAY' -n 2 -i talker pub -t kill/me -m "$i" -q 1 2>/dev/null; do
				sleep 0.05
			done
			echo "$i"
		done'
	for i in 1 2; do
		acked=$(wc -l <"$lab/talker.out")
		lab_until 60 has_lines "$lab/talker.out" $((acked + 10)) || exit 1
		poll=$(pgrep -P "${lab_pids[ingress]}")
		kill -KILL "$poll"
		lab_until 30 lab_has_ended ingress || exit 1
		lab_stop ingress
		_start
	done
	ended_well talker 60
	lab_stop all
	# Every acknowledged number is there, once or more.
	expect "$(sort -un "$lab/all.out" | wc -l)" -eq 80
	stop_ingress
	mqttsn_balances
}

what_the_gateway_sends_is_dissected_without_complaint() {
	command -v tshark >/dev/null || exit 0
	_network
	lab_spawn_in devices capture python3 "$system_dir/mqtt_peer.py" capture dev0 "$lab/trace.pcap"
	lab_wait_line capture READY 60 || exit 1
	_sn_subscriber one sub -t 'a/#' -q 2 -C 3 -W 60
	_sn_subscriber sleeper sleep -t 'a/b' -q 1 -S 600 -N 0.7 -C 1000
	sn search >/dev/null || exit 1
	sn pub -t a/b -m two -q 2 -T will/topic -M gone || exit 1
	sn pub -t a/b -m one -q 1 || exit 1
	sn pub -t a/c -m "$(head -c 400 /dev/zero | tr '\0' x)" -q 1 || exit 1
	sn pub -P 99 -m unknown -q 1 && exit 1
	ended_well one
	lab_until 30 has_lines "$lab/sleeper.out" 2 || { show_account; exit 1; }
	lab_stop sleeper || { echo "the sleeper failed" >&2; show_account; exit 1; }
	stop_ingress
	lab_stop capture
	tshark -r "$lab/trace.pcap" -d udp.port==1883,mqttsn -o ip.check_checksum:TRUE -o udp.check_checksum:TRUE \
		-Y "udp && !icmp && ip.src == $GATEWAY" -T fields -e mqttsn.msg.type -e _ws.malformed -e _ws.expert.message \
		-e udp.checksum.status -e ip.checksum.status >"$lab/fields" 2>/dev/null || { echo "tshark cannot read its trace" >&2; exit 1; }
	expect "$(wc -l <"$lab/fields")" -ge 15
	if awk -F'\t' '$1 == "" || $2 != "" || $3 != "" || $4 != 1 || $5 != 1' "$lab/fields" | grep .; then
		exit 1
	fi
	# GWINFO, CONNACK, WILLTOPICREQ, WILLMSGREQ, REGISTER, REGACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP,
	# SUBACK, PINGRESP and DISCONNECT are all among them.
	expect "$(cut -f 1 "$lab/fields" | sort -u | wc -l)" -ge 14
}

run_cases "$@"
