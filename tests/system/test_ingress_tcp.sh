#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# MQTT over TCP in the ingress: clients that others wrote reach a listener that no kernel socket serves,
# over a veth pair whose other end the kernel keeps using.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
. "$system_dir/packets.sh"
. "$system_dir/mqtt.sh"
needs_packets
needs_commands jq mosquitto_pub mosquitto_sub python3 timeout
PATH=$HBUS_BUILD/dataplane/mqtt:$PATH
hugebus-ingress --tcp 10.0.0.1/8 --tcp-allow-anonymous --pcap /nonexistent 2>&1 | grep -q 'without lwIP' &&
	skip_all "hugebus-ingress is built without lwIP (liblwip-dev)"

KERNEL=$GATEWAY
STACK=10.77.0.9

# The devices ask for the stack's address by ARP themselves.
_start() { start_ingress --tcp $STACK/24 --tcp-allow-anonymous "$@"; }

balances() {
	expect "$(account '.frames.in_flight')" -eq 0
	expect "$(account '[.ports[].xdp | .accepted + .stack] | add')" -eq "$(account '.frames.received + ([.ports[].missed] | add)')"
	expect "$(account '.frames.stack')" -eq "$(account '.tcp.frames_in + .tcp.frames_full')"
	expect "$(account '.tcp.lent_now')" -eq 0
	expect "$(account '.tcp.accepted')" -eq "$(account '.tcp.closed + .tcp.broken')"
}

pub() { lab_in devices timeout 10 mosquitto_pub -h "${host:-$STACK}" "$@"; }

# sub NAME ARGUMENTS...: in the background; ready when the broker has acknowledged.
sub() {
	local name=$1
	shift
	lab_spawn_in devices "$name" stdbuf -oL mosquitto_sub -d -h "${host:-$STACK}" "$@"
	lab_wait_line "$name" SUBACK || exit 1
}

peer() { lab_in devices python3 "$system_dir/mqtt_peer.py" "$@"; }

_counter() { hugebus stats | awk -v name="$1" '$1 == "tcp" && $2 == name { print $3 }'; }

every_qos_of_both_versions_arrives() {
	local version qos reader
	lab_network
	_start
	for version in mqttv311 mqttv5; do
		for qos in 0 1 2; do
			sub "s$version$qos" -V $version -q $qos -t "q/#" -v -i "$version$qos"
		done
	done
	lab_spawn bus stdbuf -oL hugebus sub -t 'q/#' --ready "$lab/ready" --format '%t %p'
	lab_until 5 test -e "$lab/ready"
	for version in mqttv311 mqttv5; do
		for qos in 0 1 2; do
			pub -V $version -q $qos -t "q/$version/$qos" -m "m$qos" || return 1
		done
	done
	hugebus pub -t q/bus -m local || return 1
	for reader in smqttv3110 smqttv3111 smqttv3112 smqttv50 smqttv51 smqttv52 bus; do
		hears $reader "q/bus local" || return 1
		for version in mqttv311 mqttv5; do
			for qos in 0 1 2; do
				hears $reader "q/$version/$qos m$qos" || return 1
			done
		done
		expect "$(heard $reader | wc -l)" = 7
	done
	stop_ingress
	balances
	expect "$(account '.tcp.mqtt.publishes_in')" -eq 6
}

no_kernel_socket_answers() {
	lab_network
	_start
	expect "$(lab_in gateway ss -Hltn | wc -l)" -eq 0
	! lab_in gateway ip addr show dev gw0 | grep -q $STACK || return 1
	pub -t a -m hello -q 1 || return 1
	# The kernel of that end has seen no segment at all.
	expect "$(lab_in gateway cat /proc/net/snmp | awk '/^Tcp: [0-9]/ { print $11 + $12 + $15 }')" -eq 0
	host=$KERNEL pub -t a -m hello -q 1 2>/dev/null && return 1
	stop_ingress
	balances
}

# Thousands of connections from one host, whose ports come back while the stack remembers them.
clients_that_come_and_go_miss_nothing() {
	lab_network
	_start
	lab_in devices timeout 60 python3 "$system_dir/mqtt_churn.py" $STACK 1883 3 || return 1
	stop_ingress
	balances
}

what_is_on_the_wire_is_sound() {
	command -v tshark >/dev/null || exit 0
	lab_network
	_start
	lab_spawn_in devices capture python3 "$system_dir/mqtt_peer.py" capture dev0 "$lab/wire.pcap"
	lab_wait_line capture READY 20 || return 1
	sub one -t a -q 2
	pub -t a -m hello -q 2 || return 1
	hears one hello || return 1
	lab_stop one
	sleep 0.3
	lab_stop capture
	expect "$(tshark -r "$lab/wire.pcap" -Y "tcp.flags.syn == 1 && tcp.flags.ack == 1 && ip.src == $STACK" 2>/dev/null | wc -l)" -eq 2
	expect "$(tshark -r "$lab/wire.pcap" -Y "mqtt.msgtype == 2 && ip.src == $STACK" 2>/dev/null | wc -l)" -eq 2
	expect "$(tshark -r "$lab/wire.pcap" -o tcp.check_checksum:TRUE -o ip.check_checksum:TRUE \
		-Y '_ws.malformed || tcp.checksum.status == 0 || ip.checksum.status == 0 || tcp.analysis.retransmission || mqtt.msgtype == 0' 2>/dev/null | wc -l)" -eq 0
	stop_ingress
	balances
}

the_kernel_keeps_its_own_tcp_on_the_same_interface() {
	lab_network
	lab_spawn_in gateway kernel hugebus-mqtt --listen $KERNEL:1883 --allow-anonymous
	lab_wait_line kernel serving || return 1
	_start
	sub stack -t both -v
	host=$KERNEL sub kernel_sub -t both -v
	pub -t both -m "to the stack" -q 1 || return 1
	host=$KERNEL pub -t both -m "to the kernel" -q 1 || return 1
	for reader in stack kernel_sub; do
		hears $reader "both to the stack" || return 1
		hears $reader "both to the kernel" || return 1
	done
	stop_ingress
	balances
	# Without the ingress the kernel goes on.
	host=$KERNEL pub -t both -m "after that" -q 1 || return 1
	hears kernel_sub "both after that"
}

several_addresses_of_both_families_are_found_by_arp_and_nd() {
	lab_network
	lab_in devices sh -c 'echo 0 >/proc/sys/net/ipv6/conf/dev0/disable_ipv6; ip addr add fd77::2/64 dev dev0 nodad'
	_start --tcp 10.77.0.10/24,fd77::9/64 --tcp "fd77::a/64%gw0"
	sub all -t '#' -v
	for host in $STACK 10.77.0.10 fd77::9 fd77::a; do
		pub -t "to/$host" -m hello -q 1 || return 1
		hears all "to/$host hello" || return 1
	done
	lab_in devices timeout 1 mosquitto_pub -h 10.77.0.11 -t a -m nobody -q 1 2>/dev/null && return 1
	expect "$(lab_in devices ip neigh | grep -cE "^($STACK|10.77.0.10|fd77::9|fd77::a) .*lladdr $(lab_mac gateway gw0)")" -eq 4
	# The kernel's own address is still found, too.
	lab_in devices ip neigh del $KERNEL dev dev0
	lab_in devices timeout 3 bash -c "exec 3<>/dev/tcp/$KERNEL/9" 2>/dev/null
	lab_in devices ip neigh show $KERNEL | grep -q lladdr || return 1
	stop_ingress
	balances
	expect "$(account '.tcp.accepted')" -eq 5
}

the_stack_may_have_a_cpu_of_its_own() {
	local cpu task
	lab_network
	cpu=$(taskset -cp $$ | sed -E 's/.*: ([0-9]+).*/\1/')
	_start --tcp-cpu "$cpu"
	for task in /proc/"$(pgrep -P "${lab_pids[ingress]}")"/task/*; do
		[ "$(cat "$task/comm")" = tcp ] || continue
		expect "$(awk '/^Cpus_allowed_list/ { print $2 }' "$task/status")" = "$cpu"
		cpu=found
	done
	expect "$cpu" = found
	pub -t a -m hello -q 2 || return 1
	stop_ingress
	balances
	expect "$(account '.tcp.naps')" -eq 0
	lab_spawn_in gateway ingress hugebus-ingress --iface gw0 --no-huge --tcp $STACK/24 --tcp-allow-anonymous --tcp-cpu 1023
	lab_wait_line ingress 'tcp-cpu 1023: there is no such CPU' 20
}

retained_messages_and_wills_work() {
	lab_network
	_start
	pub -t r/1 -m kept -r -q 1 || return 1
	sub late -t 'r/#' -F '%r %t %p'
	hears late "1 r/1 kept" || return 1
	sub heir -t will -v
	sub victim -t nothing --will-topic will --will-payload gone --will-qos 1
	lab_stop victim KILL
	hears heir "will gone" || return 1
	stop_ingress
	balances
}

passwords_decide_who_comes() {
	lab_network
	echo secret | hugebus-mqtt --hash-password ann >"$lab/passwords"
	lab_spawn_in gateway ingress hugebus-ingress --iface gw0 --no-huge --tcp $STACK/24 --tcp-password-file "$lab/passwords"
	lab_wait_line ingress 'ready:' 20 || return 1
	pub -u ann -P secret -t t -m x -q 1 || return 1
	! pub -u ann -P wrong -t t -m x -q 1 2>/dev/null || return 1
	! pub -t t -m x -q 1 2>/dev/null
}

large_messages_and_long_streams_pass() {
	lab_network
	_start
	head -c 200000 /dev/zero | tr '\0' x >"$lab/large"
	sub big -t big -q 1
	sub all -t flood -q 1
	pub -t big -q 1 -f "$lab/large" || return 1
	seq 5000 | pub -t flood -q 1 -l || return 1
	hears all 5000 20 || return 1
	heard all | cmp - <(seq 5000) || return 1
	lab_until 5 _large_came || return 1
	stop_ingress
	balances
}

interfaces_with_other_mtus_work() {
	local mtu
	lab_network
	head -c 30000 /dev/zero | tr '\0' x >"$lab/large"
	for mtu in 600 3000; do
		lab_in devices ip link set dev0 mtu $mtu
		lab_in gateway ip link set gw0 mtu $mtu
		_start
		sub big$mtu -t big -q 1
		pub -t big -q 1 -f "$lab/large" || return 1
		lab_until 10 _has_30000 big$mtu || return 1
		lab_stop big$mtu
		stop_ingress
		balances
	done
}

_has_30000() { [ "$(heard "$1" | tr -d '\n' | wc -c)" = 30000 ]; }

_large_came() { [ "$(heard big | tr -d '\n' | wc -c)" = 200000 ]; }

a_reader_that_stands_still_slows_nobody() {
	lab_network
	_start
	sub stopped -t flood -q 0
	sub reads -t last -q 1
	kill -STOP "${lab_pids[stopped]}"
	seq -f "%01000.0f" 4000 | pub -t flood -q 0 -l || return 1
	pub -t last -m "done" -q 1 || return 1
	hears reads "done" || return 1
	kill -CONT "${lab_pids[stopped]}"
	stop_ingress
	balances
}

more_clients_than_allowed_are_refused_and_counted() {
	lab_network
	_start --tcp-connections 5
	lab_spawn_in devices crowd python3 "$system_dir/mqtt_peer.py" crowd $STACK 6 20
	lab_wait_line crowd READY || return 1
	grep -q 'REFUSED 5' "$lab/crowd.out" || return 1
	grep -q 'there are 5 connections .--tcp-connections.: no more are taken' "$lab/ingress.err" || return 1
	lab_stop crowd
	lab_until 5 _all_gone || return 1
	pub -t a -m "room again" -q 1 || return 1
	stop_ingress
	balances
	expect "$(account '.tcp.refused')" -ge 1
	expect "$(account '.tcp.accepted')" -eq 6
}

one_address_has_as_many_connections_as_it_may_and_others_theirs() {
	lab_network
	_start --tcp-connections-per-address 5
	lab_in devices ip addr add 10.77.0.3/24 dev dev0 || return 1
	lab_spawn_in devices crowd python3 "$system_dir/mqtt_peer.py" crowd $STACK 6 60
	lab_wait_line crowd READY 30 || return 1
	grep -q 'REFUSED 5' "$lab/crowd.out" || return 1
	pub -A 10.77.0.3 -t crowd -m "another address" -q 1 || return 1
	lab_wait_line crowd 'HEARD 5' 30 || return 1
	lab_until 10 lab_has_ended crowd || return 1
	lab_until 10 _all_gone || return 1
	pub -t a -m "room again" -q 1 || return 1
	stop_ingress
	balances
	expect "$(account '.tcp.refused_address')" -eq 1
	expect "$(account '.tcp.refused')" -eq 0
	expect "$(account '.tcp.accepted')" -eq 7
	grep -q 'counted as refused_address' "$lab/ingress.err"
}

_all_gone() { [ "$(_counter connections_now)" = 0 ]; }

unfinished_checksums_are_named_or_taken() {
	lab_network
	lab_in devices ethtool -K dev0 tx on >/dev/null
	_start
	! lab_in devices timeout 1 mosquitto_pub -h $STACK -t a -m hello -q 1 2>/dev/null || return 1
	lab_has_line ingress 'leaves its TCP checksums to hardware' || return 1
	stop_ingress
	balances
	expect "$(account '.tcp.sums_unfinished')" -gt 0
	_start --no-checksum
	pub -t a -m hello -q 1 || return 1
	stop_ingress
	balances
	expect "$(account '.tcp.sums_finished')" -gt 0
}

a_bad_wire_loses_nothing_that_was_acknowledged() {
	local qos reader topic
	lab_namespace devices && lab_namespace wire && lab_namespace gateway || return 1
	lab_link devices dev0 10.77.0.2/24 wire w0 10.99.0.1/24 || return 1
	lab_link wire w1 10.99.1.1/24 gateway gw0 $KERNEL/24 || return 1
	lab_in wire ip addr flush dev w0
	lab_in wire ip addr flush dev w1
	lab_in wire sh -c 'echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore; echo 8 >/proc/sys/net/ipv4/conf/all/arp_ignore'
	lab_spawn_in wire wire python3 "$system_dir/mqtt_peer.py" bad-wire w0 w1 3 10
	lab_wait_line wire READY || return 1
	bus || return 1
	lab_in devices sh -c 'echo 0 >/proc/sys/net/ipv6/conf/dev0/disable_ipv6; ip addr add fd77::2/64 dev dev0 nodad'
	_start --tcp fd77::9/64
	# Both ways, over both families: what is lost is sent again, and at QoS 2 nothing comes twice.
	sub all -t 'n/#' -q 2 -v
	host=fd77::9 sub all6 -t 'n/#' -q 2 -v
	for host in $STACK fd77::9; do
		for qos in 1 2; do
			seq 50 | lab_in devices timeout 60 mosquitto_pub -h $host -q $qos -t "n/$qos/$host" -l || return 1
		done
	done
	for reader in all all6; do
		hears $reader "n/2/fd77::9 50" 30 || return 1
		for topic in n/1/$STACK n/2/$STACK n/1/fd77::9 n/2/fd77::9; do
			grep "^$topic " "$lab/$reader.out" | cut -d' ' -f2 | cmp - <(seq 50) || return 1
		done
	done
	lab_stop wire
	stop_ingress
	expect "$(account '.frames.in_flight')" -eq 0
	expect "$(account '.tcp.lent_now')" -eq 0
}

malformed_frames_cost_nothing_but_themselves() {
	lab_network
	_start
	sub all -t a -v
	peer noise dev0 "$(lab_mac gateway gw0)" $STACK 8000 || return 1
	pub -t a -m alive -q 1 || return 1
	hears all "a alive" || return 1
	lab_until 10 _has_taken_all || return 1
	stop_ingress
	expect "$(account '.frames.in_flight')" -eq 0
	expect "$(account '.tcp.lent_now')" -eq 0
	expect "$(account '.tcp.sums_bad')" -gt 0
	expect "$(account '.tcp.frames_bad_source')" -gt 0
}

_has_taken_all() { [ "$(_counter frames_in)" -ge 3000 ]; }

hostile_peers_cost_only_themselves() {
	local name
	lab_network
	lab_spawn_in gateway kernel hugebus-mqtt --listen $KERNEL:1883 --allow-anonymous
	lab_wait_line kernel serving || return 1
	_start
	sub all -t 'f/#' -q 2
	lab_spawn_in devices loiter python3 "$system_dir/tcp_hostile.py" loiter $STACK 20
	lab_wait_line loiter READY || return 1
	lab_spawn_in devices flood python3 "$system_dir/tcp_hostile.py" flood dev0 "$(lab_mac gateway gw0)" $STACK 20000
	lab_wait_line flood READY || return 1
	# Those who are there notice nothing, others still come, and the kernel's own TCP goes on.
	seq 300 | lab_in devices timeout 30 mosquitto_pub -h $STACK -q 2 -t f/stack -l || return 1
	pub -t f/late -m 301 -q 2 || return 1
	host=$KERNEL pub -t f/kernel -m 302 -q 2 || return 1
	hears all 302 20 || return 1
	# Who never says who he is goes after ten seconds; the flood does not keep him.
	lab_wait_line loiter 'LEFT 0' 25 || return 1
	pub -t f/late -m 303 -q 2 || return 1
	hears all 303 || return 1
	heard all | cmp - <(seq 303) || return 1
	lab_stop flood
	grep -q 'SENT' "$lab/flood.out" || return 1
	stop_ingress
	expect "$(account '.frames.in_flight')" -eq 0
	expect "$(account '.tcp.lent_now')" -eq 0
	expect "$(account '.tcp.accepted')" -eq "$(account '.tcp.closed + .tcp.broken')"
	expect "$(account '.tcp.mqtt.connect_timeouts')" -eq 40
	for name in opens half_open_cut resets_in resets_out; do
		expect "$(account ".tcp.$name")" -gt 100
	done
}

who_takes_little_at_a_time_gets_large_messages_too() {
	local size
	lab_network
	_start
	head -c 150000 /dev/zero | tr '\0' x >"$lab/large"
	for size in 88 536; do
		lab_spawn_in devices "small$size" python3 "$system_dir/tcp_hostile.py" small $STACK $size 2500
		lab_wait_line "small$size" READY || return 1
	done
	pub -t big -q 1 -f "$lab/large" || return 1
	for size in 88 536; do
		# The topic and its length are the rest.
		lab_wait_line "small$size" 'GOT 150005 OF 150005' 20 || return 1
	done
	stop_ingress
	balances
}

a_publisher_waits_for_a_reliable_reader_that_is_behind() {
	local n=15000 publisher
	lab_network
	_start
	lab_spawn reader hugebus sub -t 'flood/#' --reliable --stall 20s --ready "$lab/ready"
	lab_until 5 test -e "$lab/ready" || return 1
	kill -STOP "${lab_pids[reader]}"
	# More than the ring holds; mosquitto_pub counts messages to 65535.
	_numbers "$n" | lab_in devices timeout 60 mosquitto_pub -h $STACK -t flood/1 -q 1 -l &
	publisher=$!
	lab_until 10 _is_stuck || return 1
	# Who does not publish has not to wait.
	sub other -t other
	expect "$(kill -0 "$publisher" 2>/dev/null && echo waits)" = waits
	kill -CONT "${lab_pids[reader]}"
	wait "$publisher"
	expect $? = 0
	lab_until 20 _has_all "$n" || return 1
	_numbers "$n" | cmp - "$lab/reader.out" || return 1
	pub -t other -m x -q 2 || return 1
	hears other x || return 1
	stop_ingress
	balances
	expect "$(account '.tcp.mqtt.publishes_bus_refused')" -eq 0
}

_numbers() { seq -f '%0400.0f' "$1"; }
_is_stuck() { [ "$(hugebus stats | awk '$1 == "mqtt_tcp" && $2 == "waits" { print $3 }')" -gt 1 ]; }
_has_all() { [ "$(wc -l <"$lab/reader.out")" -ge "$1" ]; }

a_kill_loses_no_acknowledged_message() {
	local qos kills accepted
	lab_network
	for qos in 1 2; do
		rm -f "$lab/ready"
		lab_spawn "bus$qos" stdbuf -oL hugebus sub -t n --reliable --ready "$lab/ready" --format '%p'
		lab_until 5 test -e "$lab/ready"
		_start
		lab_spawn_in devices careful python3 "$system_dir/mqtt_peer.py" publish $STACK $qos 300 "$lab/acked$qos"
		for kills in 1 2; do
			lab_until 20 _has_acked "$lab/acked$qos" $((kills * 80)) || return 1
			kill -KILL "$(pgrep -P "${lab_pids[ingress]}")"
			lab_until 5 lab_has_ended ingress || return 1
			lab_stop ingress
			accepted=$(sed -nE 's/.*the filter had accepted ([0-9]+) frames/\1/p' "$lab/ingress.err")
			expect "$accepted" -gt 0
			_start
		done
		lab_wait_line careful DONE 30 || return 1
		lab_stop careful
		lab_until 5 grep -qx 299 "$lab/bus$qos.out" || return 1
		stop_ingress
		lab_stop "bus$qos"
		# Whatever was acknowledged is there; what was not may be there twice.
		expect "$(comm -23 <(sort -u "$lab/acked$qos") <(sort -u "$lab/bus$qos.out") | wc -l)" -eq 0
		expect "$(wc -l <"$lab/acked$qos")" -eq 300
		# Not more than one is on its way at a time: at each kill one may come again.
		expect "$(wc -l <"$lab/bus$qos.out")" -le 302
	done
}

_has_acked() { [ -e "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]; }

a_thousand_clients_hear_one_message() {
	lab_network
	_start
	lab_spawn_in devices crowd python3 "$system_dir/mqtt_peer.py" crowd $STACK 1000 30
	lab_wait_line crowd 'READY 1000' 60 || return 1
	pub -t crowd -m all -q 1 2>/dev/null # the thousand and first is refused
	hugebus pub -t crowd -m all || return 1
	lab_wait_line crowd 'HEARD 1000' 30 || return 1
	lab_until 5 _all_gone || return 1
	stop_ingress
	balances
	expect "$(account '.tcp.accepted')" -eq 1000
	expect "$(account '.tcp.mqtt.publishes_out')" -eq 1000
}

run_cases "$@"
