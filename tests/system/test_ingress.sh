#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The ingress on ports that need nobody's leave: captures, memif, and what its command line promises.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
. "$system_dir/packets.sh"
needs_commands jq setpriv timeout
[ -x "$HBUS_BUILD/dataplane/hugebus-ingress" ] || skip_all "hugebus-ingress is not built (DPDK, liburcu)"
capture=$top/examples/telemetry.pcap

# The routes that the capture is made for.
_capture_routes() {
	local i
	hugebus route add '*:6000' --batch --vlan any || exit 1
	for i in 1 2 3; do
		hugebus route add "*:500$i" "capture/$i" --vlan any || exit 1
		hugebus route add "*:6000" --number $i "batched/$i" --vlan any || exit 1
	done
	hugebus route add '[::]:5002' capture/2 --vlan any || exit 1
}

# ingress OPTION...: to its end; its account is in $lab/account.json.
ingress() {
	timeout 30 hugebus-ingress --no-huge --json "$@" >"$lab/account.json" 2>"$lab/ingress.err" && return 0
	cat "$lab/ingress.err" >&2
	exit 1
}

# balances: frames and events add up.
balances() {
	expect "$(account '.frames.in_flight')" -eq 0
	events_balance
	expect "$(account '[.ports[].missed] | add')" -eq 0
}

a_capture_becomes_events_to_the_last_one() {
	bus || exit 1
	_capture_routes
	subscriber plain -t 'capture/#' -C 700 -W 20
	subscriber batched -t 'batched/#' -C 150 -W 20 --reliable
	ingress --pcap "$capture" --idle-exit 0.5
	lab_until 20 lab_has_ended plain
	lab_until 20 lab_has_ended batched
	lab_stop plain && lab_stop batched || exit 1
	balances
	expect "$(account '.frames.received')" -eq 805
	expect "$(account '.frames.accepted')" -eq 750
	expect "$(account '.events.published')" -eq 850
	expect "$(account '.frames | "\(.fragment) \(.bad_checksum) \(.bad_length) \(.unknown_port) \(.bad_batch) \(.duplicate)"')" = "7 7 7 7 8 5"
	expect "$(account '.batch | "\(.missing) \(.gaps) \(.duplicates)"')" = "10 5 5"
	expect "$(account '.topics[] | select(.topic == "capture/2") | .published')" -eq 250
}

tagged_frames_go_where_their_vlan_says() {
	bus || exit 1
	_capture_routes
	hugebus route add '*:5001' tagged/1 --vlan 9 || exit 1
	subscriber nine -t tagged/1 -C 50 -W 20
	ingress --pcap "$capture" --idle-exit 0.5
	lab_until 20 lab_has_ended nine
	lab_stop nine || exit 1
	balances
	expect "$(account '.events.published')" -eq 50
	expect "$(account '.topics[] | select(.topic == "capture/1") | .no_interest')" -eq 200
}

what_nobody_wants_is_dropped_in_the_poll_loop() {
	bus || exit 1
	_capture_routes
	subscriber one -t capture/1 -C 250 -W 20
	ingress --pcap "$capture" --idle-exit 0.5
	lab_until 20 lab_has_ended one
	lab_stop one || exit 1
	balances
	expect "$(account '.events.published')" -eq 250
	# Seven of them have a bad checksum, which is not looked at when nobody wants them.
	expect "$(account '.topics[] | select(.topic == "capture/3") | .no_interest')" -eq 207
	expect "$(account '.ports[0].filter')" = "poll loop"
}

it_runs_as_any_user() {
	[ "$(id -u)" -eq 0 ] || exit 0
	local -a as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	"${as[@]}" test -r "$0" -a -x "$HBUS_BUILD/dataplane/hugebus-ingress" || skip "another user cannot run what was built"
	chmod 755 "$lab"
	mkdir "$lab/nobody" && chown 65534:65534 "$lab/nobody"
	"${as[@]}" env HBUS_BUILD="$HBUS_BUILD" TMPDIR="$lab/nobody" \
		bash "$0" a_capture_becomes_events_to_the_last_one >"$lab/out" 2>&1 ||
		{ cat "$lab/out" >&2; exit 1; }
	grep -q '^ok 1' "$lab/out"
}

packets_need_no_rights_in_a_user_namespace() {
	unshare -Urn true 2>/dev/null || exit 0
	bus || exit 1
	hugebus route add '*:5001' real --vlan any || exit 1
	subscriber all -t real -C 300 -W 20
	cat >"$lab/inside.sh" <<-'END'
		ip link add v0 type veth peer name v1 && ip addr add 10.5.0.1/24 dev v0 || exit 77
		ip link set v0 up && ip link set v1 up
		ip neigh add 10.5.0.9 dev v0 nud permanent lladdr 02:00:00:00:00:09
		ethtool -K v0 tx off >/dev/null 2>&1
		hugebus-ingress --no-huge --json --vdev net_af_packet0,iface=v1 >"$1/account.json" 2>"$1/ingress.err" &
		for i in $(seq 200); do grep -q ready: "$1/ingress.err" && break; sleep 0.1; done
		devices --count 300 --rate 1000 --seconds 5 10.5.0.9 5001
		sleep 0.3
		kill %1 && wait %1
	END
	unshare -Urn bash "$lab/inside.sh" "$lab" >&2
	case $? in 0) ;; 77) exit 0 ;; *) cat "$lab/ingress.err" >&2; exit 1 ;; esac
	lab_until 10 lab_has_ended all
	lab_stop all || exit 1
	expect "$(account '.events.published')" -eq 300
	expect "$(account '.frames.in_flight')" -eq 0
}

a_topic_with_a_ring_of_its_own_shares_it_with_none() {
	bus || exit 1
	_capture_routes
	lab_spawn ingress hugebus-ingress --no-huge --pcap "$capture" --own-ring capture/1
	lab_wait_line ingress 'ready:' 20 || exit 1
	hugebus ls rings --json >"$lab/rings.json"
	expect "$(jq 'length' "$lab/rings.json")" -eq 2
	expect "$(jq -r '[.[] | select(.first_topic == "capture/1") | .topics] | @csv' "$lab/rings.json")" = 1
	lab_stop ingress
}

it_stops_after_a_count_of_frames_or_seconds() {
	bus || exit 1
	ingress --vdev net_null0,size=64 --count 100000
	expect "$(account '.frames.received')" -ge 100000
	balances
	ingress --pcap "$capture" --seconds 0.3
	expect "$(account '.frames.received')" -eq 805
}

a_full_ring_drops_the_new_and_counts_it() {
	bus || exit 1
	_capture_routes
	subscriber slow -t capture/1 --reliable --stall 60s -W 30
	lab_spawn ingress hugebus-ingress --no-huge --json --count 1000000 --vdev "net_pcap0,rx_pcap=$capture,infinite_rx=1"
	lab_wait_line ingress 'ready:' 20 || exit 1
	kill -STOP "${lab_pids[slow]}"
	lab_until 20 lab_has_ended ingress
	lab_stop ingress || exit 1
	cp "$lab/ingress.out" "$lab/account.json"
	kill -CONT "${lab_pids[slow]}"
	lab_stop slow
	balances
	expect "$(account '.frames.ring_full')" -gt 0
	expect "$(account '.topics[] | select(.topic == "capture/1") | .received - .published - .ring_full')" -eq 0
	expect "$(jq .delivered "$lab/slow.json")" -eq "$(account '.events.published')"
	expect "$(jq .lost "$lab/slow.json")" -eq 0
}

# A peer that sends the capture over and over; takes orders from descriptor 9.
_start_memif_peer() {
	rm -f "$lab/orders"
	mkfifo "$lab/orders"
	lab_spawn peer sh -c 'exec dpdk-testpmd "$@" <"$0"' "$lab/orders" --no-huge -m 128 --no-shconf --no-telemetry \
		--no-pci --lcores 0@0,1@0 --vdev "net_memif0,role=client,socket=$lab/memif.sock,socket-abstract=no" \
		--vdev "net_pcap0,rx_pcap=$capture,infinite_rx=1" -- --disable-link-check --total-num-mbufs=4096 \
		--forward-mode=io -i --auto-start
	exec 9>"$lab/orders"
}

_start_memif_ingress() {
	bus || exit 1
	_capture_routes
	lab_spawn ingress hugebus-ingress --no-huge --json --vdev "net_memif0,role=server,socket=$lab/memif.sock,socket-abstract=no"
	lab_wait_line ingress 'ready:' 20 || exit 1
}

frames_cross_a_memif_to_the_last_one() {
	local sent
	command -v dpdk-testpmd >/dev/null || exit 0
	_start_memif_ingress
	_start_memif_peer
	sleep 1.5
	echo stop >&9
	sleep 0.5
	echo quit >&9
	exec 9>&-
	lab_until 10 lab_has_ended peer
	lab_stop ingress || { cat "$lab/ingress.err" >&2; exit 1; }
	cp "$lab/ingress.out" "$lab/account.json"
	sent=$(sed -nE 's/.*TX-packets: ([0-9]+).*/\1/p' "$lab/peer.out" | head -n 1)
	expect "$sent" -gt 0
	expect "$(account '.frames.received')" -eq "$sent"
	balances
}

a_memif_peer_may_be_killed_while_it_sends() {
	local i
	command -v dpdk-testpmd >/dev/null || exit 0
	_start_memif_ingress
	for i in 1 2 3 4; do
		_start_memif_peer
		sleep 0.8
		lab_stop peer KILL
		exec 9>&-
	done
	lab_stop ingress || { cat "$lab/ingress.err" >&2; exit 1; }
	cp "$lab/ingress.out" "$lab/account.json"
	expect "$(account '.frames.received')" -gt 0
	balances
}

its_errors_say_what_is_wrong() {
	hugebus-ingress --count x >"$lab/out" 2>&1
	expect $? -eq 2
	grep -q "is not a number" "$lab/out" || exit 1
	hugebus-ingress --iface nowhere0 >"$lab/out" 2>&1
	expect $? -eq 1
	grep -q "no interface nowhere0" "$lab/out" || exit 1
	hugebus-ingress --socket "$lab/none.sock" --pcap "$capture" >"$lab/out" 2>&1
	expect $? -eq 1
	grep -q "the bus" "$lab/out" || exit 1
	hugebus-ingress --no-huge --seconds 1 >"$lab/out" 2>&1
	expect $? -eq 2
	grep -q "where do packets come from" "$lab/out" || exit 1
	hugebus-ingress --pcap "$capture" net_null0 >"$lab/out" 2>&1
	expect $? -eq 2
	grep -q "unexpected argument 'net_null0'" "$lab/out" || exit 1
	hugebus-ingress --pcap "$capture" --count 99999999999999999999 >"$lab/out" 2>&1
	expect $? -eq 2
	hugebus-ingress --pcap "$capture" --tcp= --tcp-allow-anonymous >"$lab/out" 2>&1
	expect $? -eq 2
	expect "$(hugebus-ingress --version)" = "hugebus-ingress $(hugebus --version | awk '{ print $2 }')"
}

run_cases "$@"
