#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The ingress on real interfaces: veth through AF_XDP with the filter in the driver, and a tap.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
. "$system_dir/packets.sh"
needs_packets
needs_commands jq python3 setpriv timeout

# The network, and some routes. Takes the daemon's options.
_network() {
	local i
	lab_network "$@"
	for i in 1 2 3; do
		hugebus route add "10.77.0.0/16:500$i" "t/$i" || exit 1
	done
}

_start() {
	start_ingress "$@"
	grep -q 'filter in the driver' "$lab/ingress.err" || exit 1
}

balances() {
	expect "$(account '.frames.in_flight')" -eq 0
	events_balance
	expect "$(account '[.ports[] | .xdp.accepted - .missed] | add')" -eq "$(account '.frames.received')"
}

# send COUNT PORT...: a case never sends more than what the queue of a loop holds (2048), so that one
# that does not get its CPU loses nothing.
send() {
	local count=$1
	shift
	lab_in devices devices --count "$count" --rate 2000 --seconds 60 $GATEWAY "$@" >"$lab/sent.json" || exit 1
}

# flows NAME COUNT [TOPIC PORT]: who subscribes now gets all that is sent from now on.
flows() {
	subscriber "$1" -t "${3:-t/1}" -C "$2" -W 20
	lab_until 5 _wants 1 || exit 1
	send "$2" "${4:-5001}"
	ended_well "$1"
}

# 1800 packets on their way to a subscriber, RATE a second.
_steady_flow() {
	subscriber all -t t/1 -C 1800 -W 30
	lab_until 5 _wants 1 || exit 1
	lab_spawn_in devices devices devices --count 1800 --rate "$1" --seconds 30 $GATEWAY 5001
}

# It has ended, and all of it has come.
_has_flowed() {
	ended_well devices
	ended_well all
}

# _wants N: loops and filters follow a plan with so many wanted routes.
_wants() { [ "$(counter plan.routes_wanted)" -eq "$1" ]; }

_is_gone() { ! kill -0 "$1" 2>/dev/null; }
# nsenter has become the ingress.
_guard() { echo "${lab_pids[ingress]}"; }
_poll_process() { pgrep -P "$(_guard)"; }

_has_xdp() { lab_in gateway ip link show gw0 | grep -q 'prog/xdp'; }
_has_no_xdp() { ! _has_xdp; }

wanted_flows_unwanted_is_dropped_in_the_driver_and_the_rest_is_the_kernels() {
	_network
	_start
	subscriber one -t t/1 -C 500 -W 20
	subscriber two -t t/2 -C 500 -W 20 --reliable
	lab_until 5 _wants 2 || exit 1
	send 2000 5001 5002 5003 7777
	ended_well one
	ended_well two
	expect "$(lab_in gateway awk '$1 == "Udp:" && $2 ~ /[0-9]/ { print $3 }' /proc/net/snmp)" -eq 500
	stop_ingress
	balances
	expect "$(account '.ports[0].xdp.no_interest')" -eq 500
	expect "$(account '.ports[0].xdp.unknown_port')" -eq 500
	expect "$(account '.frames.received')" -eq 1000
	_has_no_xdp
}

packets_flow_after_a_subscription_and_stop_when_it_ends() {
	_network
	_start
	lab_spawn_in devices devices devices --rate 500 --seconds 60 $GATEWAY 5001
	sleep 0.5
	subscriber late -t t/1 -C 10 -W 20
	ended_well late 25
	lab_until 10 _wants 0 || exit 1
	# What was on its way on a busy machine comes first.
	lab_until 10 _stands_still || exit 1
	expect "$(_published)" -ge 10
	subscriber again -t t/1 -C 10 -W 20
	ended_well again 25
	lab_stop devices
	stop_ingress
	balances
	expect "$(account '.ports[0].xdp.no_interest')" -gt 0
}

_published() { counter worker0.events.published; }
_stands_still() {
	local before
	before=$(_published)
	sleep 0.5
	[ "$(_published)" -eq "$before" ]
}

routes_change_while_packets_flow_and_others_lose_none() {
	local i
	_network
	_start
	_steady_flow 900
	for i in $(seq 20); do
		hugebus route add "$GATEWAY:$((8000 + i))" "n/$i" || exit 1
		[ $((i % 2)) -eq 0 ] || hugebus route remove "$GATEWAY:$((8000 + i))" || exit 1
	done
	_has_flowed
	lab_until 5 _wants 0 || exit 1
	flows new 100 n/20 8020
	stop_ingress
	balances
	expect "$(account '.topics[] | select(.topic == "t/1") | .published')" -eq 1800
}

the_interface_may_go_down_and_up() {
	_network
	_start
	subscriber all -t t/1 -C 400 -W 20
	lab_until 5 _wants 1 || exit 1
	send 200 5001
	lab_until 5 has_lines "$lab/all.out" 200
	lab_in gateway ip link set gw0 down
	sleep 0.3
	lab_in gateway ip link set gw0 up
	lab_in devices ip neigh replace $GATEWAY dev dev0 nud permanent lladdr "$(lab_mac gateway gw0)"
	lab_until 5 _link_is_up
	send 200 5001
	ended_well all
	stop_ingress
	balances
}

_link_is_up() { lab_in devices ip link show dev0 | grep -q 'state UP'; }

the_daemon_may_die_and_come_back() {
	_network
	_start
	_steady_flow 600
	sleep 0.5
	kill -KILL "${lab_pids[hugebusd]}"
	lab_stop hugebusd
	sleep 1
	bus || exit 1
	_has_flowed
	lab_until 5 hugebus route add "$GATEWAY:9001" back/again || exit 1
	lab_until 5 _wants 0 || exit 1
	flows back 100 back/again 9001
	stop_ingress
	balances
	expect "$(account '.topics[] | select(.topic == "t/1") | .published')" -eq 1800
}

a_killed_poll_process_leaves_no_filter() {
	_network
	_start
	_has_xdp || exit 1
	kill -KILL "$(_poll_process)"
	lab_until 5 lab_has_ended ingress || exit 1
	lab_stop ingress
	expect $? -eq 1
	_has_no_xdp || exit 1
	grep -q 'killed by signal 9; 1 filter detached' "$lab/ingress.err" || exit 1
	grep -q 'gw0: the filter had accepted 0 frames' "$lab/ingress.err"
}

a_kill_loses_what_was_in_flight_and_that_can_be_told() {
	local accepted received published delivered
	_network
	_start
	subscriber all -t t/1 -W 30
	lab_until 5 _wants 1 || exit 1
	lab_spawn_in devices devices devices --count 1800 --rate 3000 --seconds 30 $GATEWAY 5001
	sleep 0.3
	kill -KILL "$(_poll_process)"
	lab_until 5 lab_has_ended ingress || exit 1
	lab_stop ingress
	lab_stop all
	accepted=$(sed -nE 's/.*the filter had accepted ([0-9]+) frames/\1/p' "$lab/ingress.err")
	received=$(counter worker0.frames.received)
	published=$(counter worker0.events.published)
	delivered=$(jq .delivered "$lab/all.json")
	expect "$received" -gt 0
	expect "$accepted" -ge "$received"
	expect $((accepted - received)) -le 2048
	# A burst appears in the ring before it is counted, never after.
	expect "$delivered" -ge "$published"
	expect $((delivered - published)) -le 64
}

a_killed_guard_takes_the_poll_process_with_it() {
	local poll
	_network
	_start
	poll=$(_poll_process)
	kill -KILL "$(_guard)"
	lab_until 5 _is_gone "$poll" || exit 1
	_has_no_xdp
}

what_two_kills_leave_the_next_start_removes() {
	local poll
	_network
	_start
	poll=$(_poll_process)
	kill -KILL "$(_guard)" "$poll"
	lab_until 5 _is_gone "$poll" || exit 1
	_has_xdp || exit 1
	lab_stop ingress
	_start
	grep -q 'removed the filter that a killed ingress had left' "$lab/ingress.err" || exit 1
	flows one 50
	stop_ingress
	_has_no_xdp
}

# What is gone does not come back under its number: it says so, serves what else it has, and ends when it is told to.
an_interface_that_goes_away_is_missed() {
	_network
	_start
	flows one 100
	lab_in gateway ip link del dev gw0 || exit 1
	lab_wait_line ingress 'gw0: the filter is not attached any more' 5 || { cat "$lab/ingress.err" >&2; exit 1; }
	stop_ingress
	expect "$(account '.events.published')" -eq 100
}

# Its packets go to the kernel from then on: nothing that could be counted, so it must be said.
a_filter_that_somebody_else_takes_away_is_missed() {
	_network
	_start
	flows one 100
	lab_in gateway ip link set dev gw0 xdp off || skip "the program cannot be taken off here"
	lab_wait_line ingress 'gw0: the filter is not attached any more' 5 || { cat "$lab/ingress.err" >&2; exit 1; }
	sleep 1.2
	expect "$(grep -c 'not attached any more' "$lab/ingress.err")" -eq 1
	stop_ingress
	expect "$(account '.events.published')" -eq 100
	_start
	flows again 100
	stop_ingress
	_has_no_xdp
}

source_rules_and_rates_hold_in_the_driver() {
	cat >"$lab/bus.conf" <<-END
		sources = {
			otherwise = "allow";
			rate = 100;
			burst = 50;
			rules = ( { from = "10.77.0.3/32"; action = "deny"; } );
		};
	END
	_network --config "$lab/bus.conf"
	_start
	subscriber all -t t/1 -W 20
	lab_until 5 _wants 1 || exit 1
	send 1000 5001
	lab_in devices ip addr del 10.77.0.2/24 dev dev0
	lab_in devices ip addr add 10.77.0.3/24 dev dev0
	lab_in devices ip neigh replace $GATEWAY dev dev0 nud permanent lladdr "$(lab_mac gateway gw0)"
	send 200 5001
	stop_ingress
	balances
	expect "$(account '.ports[0].xdp.source_denied')" -eq 200
	expect "$(account '.ports[0].xdp | .accepted + .rate_limited')" -eq 1000
	# A burst of 50 and half a second at 100 a second, give or take what this machine is late.
	expect "$(account '.events.published')" -ge 80
	expect "$(account '.events.published')" -le 200
	lab_stop all
	expect "$(jq .delivered "$lab/all.json")" -eq "$(account '.events.published')"
}

ipv6_frames_find_their_routes() {
	_network
	hugebus route add "[fd77::]/64:5001" six || exit 1
	lab_in devices sh -c 'echo 0 >/proc/sys/net/ipv6/conf/dev0/disable_ipv6
		ip addr add fd77::2/64 dev dev0 nodad' || exit 1
	lab_in devices ip neigh add fd77::1 dev dev0 nud permanent lladdr "$(lab_mac gateway gw0)"
	_start
	subscriber six -t six -C 100 -W 10
	lab_until 5 _wants 1 || exit 1
	lab_in devices devices --count 100 --rate 1000 --seconds 9 fd77::1 5001 >/dev/null || exit 1
	ended_well six
	stop_ingress
	balances
	expect "$(account '.frames.accepted')" -eq 100
}

the_filter_is_replaced_without_losing_a_packet() {
	local i
	_network
	_start
	_steady_flow 900
	for i in $(seq 10); do
		sleep 0.1
		kill -HUP "$(_guard)"
	done
	_has_flowed
	stop_ingress
	balances
	expect "$(grep -c 'filter replaced' "$lab/ingress.err")" -ge 2
	_has_no_xdp
}

the_poll_loop_makes_no_system_call() {
	local task poll
	command -v strace >/dev/null || exit 0
	_network
	_start
	subscriber lossy -t t/1
	subscriber reliable -t t/1 --reliable
	lab_until 5 _wants 1 || exit 1
	lab_spawn_in devices devices devices --count 1000 --rate 1000 --seconds 30 $GATEWAY 5001
	poll=$(_poll_process)
	for task in "/proc/$poll/task"/*; do
		grep -q rte-worker "$task/comm" && break
	done
	timeout 1 strace -qq -o "$lab/calls" -p "${task##*/}"
	expect "$(wc -l <"$lab/calls")" -eq 0
	ended_well devices
	stop_ingress
	balances
	expect "$(account '.events.published')" -eq 1000
}

two_interfaces_feed_two_poll_loops() {
	[ "$(nproc)" -ge 2 ] || exit 0
	_network
	lab_link devices dev1 10.78.0.2/24 gateway gw1 10.78.0.1/24 || exit 1
	hugebus route add 10.78.0.0/16:5001 u/1 || exit 1
	_start --iface gw1 --workers 2
	subscriber one -t t/1 -C 300 -W 20
	subscriber two -t u/1 -C 300 -W 20
	lab_until 5 _wants 2 || exit 1
	send 300 5001
	lab_in devices devices --count 300 --rate 2000 --seconds 60 10.78.0.1 5001 >/dev/null || exit 1
	ended_well one
	ended_well two
	stop_ingress
	balances
	expect "$(account '.workers')" -eq 2
	expect "$(account '[.ports[].xdp.accepted] | @csv')" = 300,300
}

a_second_ingress_is_refused_while_the_first_lives() {
	_network
	_start
	lab_in gateway timeout 20 hugebus-ingress --iface gw0 --no-huge >"$lab/out" 2>&1
	expect $? -eq 1
	_has_xdp || exit 1
	stop_ingress
}

# As long as a killed one needs to give back its memory.
an_ingress_that_is_still_dying_is_waited_for() {
	_network
	lab_spawn_in gateway dying python3 -c '
import socket, time
name = socket.socket(socket.AF_UNIX)
name.bind("\0hugebus-filter/%d" % socket.if_nametoindex("gw0"))
name.listen()
print("claimed", flush=True)
time.sleep(0.7)'
	lab_wait_line dying claimed 20 || exit 1
	_start
	stop_ingress
}

a_tap_carries_what_the_kernel_sends() {
	[ -c /dev/net/tun ] || exit 0
	lab_namespace gateway || exit 1
	bus || exit 1
	hugebus route add '*:5001' tapped || exit 1
	subscriber all -t tapped -C 300 -W 20
	lab_spawn_in gateway ingress hugebus-ingress --vdev net_tap0,iface=tap0 --no-huge --json
	lab_wait_line ingress 'ready:' 20 || exit 1
	lab_in gateway sh -c 'ip addr add 10.79.0.1/24 dev tap0; ip link set tap0 up
		ip neigh add 10.79.0.9 dev tap0 nud permanent lladdr 02:00:00:00:00:09'
	lab_in gateway devices --count 300 --rate 2000 --seconds 60 10.79.0.9 5001 >/dev/null || exit 1
	ended_well all
	stop_ingress
	expect "$(account '.events.published')" -eq 300
	expect "$(account '.frames.in_flight')" -eq 0
}

run_cases "$@"
