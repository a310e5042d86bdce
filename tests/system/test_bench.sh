#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# hugebus bench: that every part works, that its JSON has what programs rely on, and that its checks see a
# spoilt event. Never how fast anything is.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
PATH=$HBUS_BUILD/bench:$PATH
needs_commands python3

# _holds JSON EXPRESSION: over r, the report, and by, its results by name.
_holds() {
	python3 - "$1" "$2" <<-'END'
		import json, sys
		r = json.load(open(sys.argv[1]))
		by = {x["name"]: x for x in r["results"]}
		def full(x, limit=True):
		    samples = [x["value"]] + ([x["limit"], x["ratio"]] if limit else [])
		    return (not x["failed"] and x["title"] and x["unit"] and isinstance(x["lower_is_better"], bool) and
		            all(s["median"] > 0 and s["spread"] >= 0 and len(s["samples"]) > 0 for s in samples))
		if not eval(sys.argv[2]):
		    print("# not so:", sys.argv[2], json.dumps(r, indent=1)[:4000])
		    sys.exit(1)
	END
}

# Built with DPDK and liburcu.
_has_ingress() {
	[ -x "$HBUS_BUILD/bench/hugebus-bench-ingress" ]
}

host_measures_everything() {
	hugebus bench --repeats 1 --duration 20 --json >"$lab/r.json" 2>"$lab/err" || { sed 's/^/# /' "$lab/err"; return 1; }
	_holds "$lab/r.json" 'all(k in r for k in ("version", "kernel", "cores", "page_size", "siblings", "shared_cache_level", "one_node", "noise", "is_quiet", "repeats", "seconds"))' || return 1
	_holds "$lab/r.json" '(r["n_cpus"] < 2 or r["placement"]["near_ns"] > 0) and all("distances" in by[n] and len(by[n]["distances"]) == 1 for n in ("rtt.56", "broadcast.2", "machine.stream.8") if r["n_cpus"] > 1)' || return 1
	_holds "$lab/r.json" 'all(by[n]["corrected_ns"]["n"] >= by[n]["percentiles_ns"]["n"] > 0 for n in ("rtt.56", "rtt.64", "stopped.p99"))' || return 1
	_holds "$lab/r.json" 'all(k in r["quiet"] for k in ("busy_before", "steal", "switches_per_s", "load"))' || return 1
	_holds "$lab/r.json" 'set(by) == set("""'"$(hugebus bench --list | awk '{print $1}')"'""".split())' || return 1
	_holds "$lab/r.json" 'all(full(x, "limit" in x) for x in r["results"])' || return 1
	_holds "$lab/r.json" 'all("limit" in x for n, x in by.items() if n.split(".")[0] in ("throughput", "rtt", "broadcast", "publishers", "wake", "stopped"))' || return 1
	_holds "$lab/r.json" 'all(all(k in by[n]["percentiles_ns"] for k in ("p50", "p90", "p99", "p99.9", "p99.99", "max", "n")) for n in ("rtt.56", "rtt.64", "wake.64", "open.first", "open.again", "attach", "machine.eventfd"))' || return 1
	_holds "$lab/r.json" 'all(by[n]["limit_p99"]["median"] > 0 and by[n]["p99"]["median"] > 0 and by[n]["p99_ratio"]["median"] > 0 for n in ("rtt.56", "rtt.64", "wake.64"))' || return 1
	_holds "$lab/r.json" 'by["broadcast.8"]["total"]["median"] > 0 and by["idle"]["total_name"] == "daemon"' || return 1
	_holds "$lab/r.json" 'by["calls"]["value"]["median"] < 0.01 and all("limit" in x for n, x in by.items() if n.startswith(("machine.copied", "machine.moving")))' || return 1
	[ "$(nproc)" -ge 9 ] || _holds "$lab/r.json" 'by["broadcast.8"]["oversubscribed"] and not by["machine.memcpy"]["oversubscribed"]'
}

host_notices_a_spoilt_event() {
	local modes=throughput.64.single,throughput.64.batch,throughput.64.run,throughput.8.single
	for fault in torn lost; do
		hugebus bench --only $modes --repeats 1 --duration 20 --plant $fault --json >"$lab/r.json" 2>"$lab/err"
		expect $? = 1
		expect "$(grep -c 'wrong content' "$lab/err")" -ge 4
		_holds "$lab/r.json" 'len(by) == 4 and all(x["failed"] and "wrong content" in x["reason"] for x in r["results"])' || return 1
	done
}

# A process of one measurement is killed: that one fails and says why, and the others stand.
what_fails_costs_only_itself() {
	hugebus bench --only throughput.64.single,rtt.64 --repeats 2 --duration 20 --plant killed --json >"$lab/r.json" 2>"$lab/err"
	expect $? = 1
	_holds "$lab/r.json" 'by["throughput.64.single"]["failed"] and "Killed" in by["throughput.64.single"]["reason"]' || return 1
	_holds "$lab/r.json" 'full(by["rtt.64"]) and len(by["rtt.64"]["value"]["samples"]) == 2' || return 1
	hugebus bench --only throughput.64.single --repeats 1 --duration 20 --plant killed >"$lab/out" 2>/dev/null
	grep -q 'one by one .*failed' "$lab/out" && grep -q '^    .*Killed' "$lab/out"
}

percentiles_show_a_planted_stall() {
	hugebus bench --only '[rw]*' --repeats 1 --duration 100 --plant stall --json >"$lab/r.json" 2>"$lab/err" || { sed 's/^/# /' "$lab/err"; return 1; }
	# 20 events were due in the 20 ms, and a fifth of the round trips of a client that does not wait
	_holds "$lab/r.json" 'by["wake.64"]["percentiles_ns"]["p99"] > 10e6 and by["wake.64"]["percentiles_ns"]["p90"] > 2e6' || return 1
	_holds "$lab/r.json" 'all(by[n]["percentiles_ns"]["max"] > 20e6 and by[n]["corrected_ns"]["p90"] > 2e6 for n in ("rtt.56", "rtt.64"))'
}

the_table_fits_a_terminal() {
	hugebus bench --only '[rbi]*' --repeats 1 --duration 20 --quiet >"$lab/table" || return 1
	expect "$(awk '{ if (length($0) > n) n = length($0) } END { print n }' "$lab/table")" -le 80
}

host_measures_on_the_bus_it_is_given() {
	bus || return 1
	hugebus bench --socket "$HUGEBUS_SOCKET" --only 'throughput.64.single' --repeats 2 --duration 20 >"$lab/table" 2>&1 || return 1
	grep -q '64 B, one by one .*/s' "$lab/table"
}

ingress_measures_generator_and_capture() {
	_has_ingress || return 0
	hugebus bench ingress --repeats 2 --duration 20 --json --only '[rp]*' >"$lab/r.json" 2>"$lab/err" ||
		{ sed 's/^/# /' "$lab/err"; return 1; }
	_holds "$lab/r.json" 'all(k in r for k in ("version", "kernel", "cores", "page_size", "siblings", "noise", "is_quiet", "repeats", "seconds"))' || return 1
	for source in ring pcap; do
		_holds "$lab/r.json" "full(by['ingress.$source.publish']) and full(by['ingress.$source.publish.cost'])" || return 1
		_holds "$lab/r.json" "'above' in by['ingress.$source.publish.cost'] and full(by['ingress.$source.bare'], False)" || return 1
	done
	_holds "$lab/r.json" "full(by['ingress.ring.over_bare.cost']) and full(by['ingress.passive.loop.over_bare.cost'])" || return 1
	[ "$(nproc)" -lt 2 ] ||
		_holds "$lab/r.json" "full(by['ingress.ring.read']) and full(by['ingress.pcap.read.cost']) and full(by['ingress.passive.publish'])"
}

ingress_measures_mqtt_over_tcp_beside_the_kernels() {
	_has_ingress || return 0
	if [ "$(id -u)" -ne 0 ]; then
		hugebus bench ingress --only tcp 2>&1 | grep -q 'needs root'
		return
	fi
	hugebus bench ingress --only tcp --repeats 1 --duration 300 --json >"$lab/r.json" 2>"$lab/err" ||
		{ grep -q 'without lwIP' "$lab/err" && return 0; sed 's/^/# /' "$lab/err"; return 1; }
	_holds "$lab/r.json" 'all(full(by["ingress.tcp." + n]) for n in ("qos0.64", "qos1.100", "qos0.8192", "rtt")) and by["ingress.tcp.rtt"]["unit"] == "ns"'
}

ingress_measures_a_capture_of_the_user() {
	_has_ingress || return 0
	hugebus bench ingress --repeats 1 --duration 20 --json --pcap "$top/examples/telemetry.pcap" >"$lab/r.json" 2>"$lab/err" ||
		{ sed 's/^/# /' "$lab/err"; return 1; }
	_holds "$lab/r.json" "full(by['ingress.pcap.publish'])"
}

# _frames [LINK-TYPE [PROTOCOL]]: a capture of one packet: UDP over IPv4 and Ethernet, unless said otherwise.
_frames() {
	python3 - "${1-1}" "${2-17}" <<-'END'
		import struct, sys
		ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 46, 1, 0, 64, int(sys.argv[2]), 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
		frame = b"\2\0\0\0\0\2\2\0\0\0\0\1\x08\0" + ip + struct.pack("!HHHH", 1, 5000, 26, 0) + bytes(18)
		sys.stdout.buffer.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, int(sys.argv[1])))
		sys.stdout.buffer.write(struct.pack("<IIII", 1, 0, len(frame), len(frame)) + frame)
	END
}

# _refuses FILE STATUS TEXT
_refuses() {
	hugebus bench ingress --repeats 1 --duration 20 --pcap "$1" >"$lab/out" 2>"$lab/err"
	expect $? = "$2"
	grep -q "$3" "$lab/out" "$lab/err" || { echo "not so: $3"; cat "$lab/err"; return 1; }
}

ingress_says_what_is_wrong_with_a_capture() {
	_has_ingress || return 0
	_frames >"$lab/good" && head -c 24 "$lab/good" >"$lab/none" && head -c 60 "$lab/good" >"$lab/cut" && : >"$lab/empty" || return 1
	_frames 101 >"$lab/raw" && _frames 1 6 >"$lab/tcp" || return 1
	_refuses "$lab/none" 2 'none: no packet in it' || return 1
	_refuses "$lab/cut" 2 'first packet is not whole' || return 1
	_refuses "$lab/empty" 2 'too short' || return 1
	_refuses "$lab" 2 'not a regular file' || return 1
	_refuses "$top/README.md" 2 'neither pcap nor pcapng' || return 1
	_refuses "$lab/raw" 2 'link type 101' || return 1
	_refuses "$lab/tcp" 1 'no packet became an event' || return 1
	tail -c +25 "$lab/good" >"$lab/one" && cp "$lab/good" "$lab/half" && head -c 50 "$lab/one" >>"$lab/half" || return 1
	hugebus bench ingress --repeats 1 --duration 20 --pcap "$lab/half" >/dev/null 2>"$lab/err"
	grep -q 'damaged behind packet 1' "$lab/err"
}

ingress_measures_the_filter() {
	_has_ingress && [ -f "$HBUS_BUILD/ebpf/hbus_xdp.bpf.o" ] || return 0
	if [ "$(id -u)" -ne 0 ]; then
		hugebus bench ingress --only xdp 2>&1 | grep -q 'needs root'
		return
	fi
	hugebus bench ingress --only xdp --repeats 1 --duration 20 --json >"$lab/r.json" 2>"$lab/err" ||
		{ sed 's/^/# /' "$lab/err"; return 1; }
	_holds "$lab/r.json" 'all(full(by[n]) for n in ("ingress.xdp.unwanted.cost", "ingress.xdp.denied.cost", "ingress.xdp.load"))'
}

ingress_notices_a_spoilt_event() {
	_has_ingress || return 0
	[ "$(nproc)" -ge 2 ] || return 0
	for fault in torn lost; do
		hugebus bench ingress --only ring --repeats 1 --duration 60 --plant $fault --json >"$lab/r.json" 2>"$lab/err"
		expect $? = 1
		sed 's/^/# /' "$lab/err"
		expect "$(grep -c 'reader: .*event' "$lab/err")" -ge 1
		_holds "$lab/r.json" "any(x['failed'] for x in r['results'])" || return 1
	done
}

_has_bus() { compgen -G "$lab/t/*/bus.sock" >/dev/null; }

_is_empty() { [ -z "$(ls -A "$1")" ]; }

what_is_told_to_end_leaves_nothing() {
	local -a kinds=("" ingress)
	local kind
	[ -x "$HBUS_BUILD/bench/hugebus-bench-ingress" ] || kinds=("")
	mkdir "$lab/t"
	for kind in "${kinds[@]}"; do
		# shellcheck disable=SC2086 # none or one word
		TMPDIR=$lab/t lab_spawn bench hugebus bench $kind
		lab_until 10 _has_bus || return 1
		sleep 0.5
		lab_stop bench
		expect $? -eq 1
		_is_empty "$lab/t" || { find "$lab/t"; return 1; }
	done
}

# What a script starts in the background ignores it, until env has undone that: a signal before then is lost.
_ignores_int() {
	local ignored

	ignored=$(sed -n 's/^SigIgn:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null)
	[ -n "$ignored" ] && (((0x$ignored & 2) != 0))
}

# As a terminal does it: the whole group, also while the bus starts.
ctrl_c_leaves_nothing_in_any_phase() {
	local after pid
	mkdir "$lab/t"
	for after in 0.002 0.005 0.01 0.02 0.04 0.3; do
		TMPDIR=$lab/t setsid env --default-signal=INT hugebus bench --quick >/dev/null 2>"$lab/err" &
		pid=$!
		until kill -0 -- -$pid 2>/dev/null && ! _ignores_int $pid; do :; done
		sleep $after
		kill -INT -- -$pid 2>/dev/null || kill -INT $pid
		wait $pid
		expect $? -ne 0
		_is_empty "$lab/t" || { find "$lab/t"; return 1; }
	done
	grep -q interrupted "$lab/err"
}

a_bus_that_is_not_there_is_said_once() {
	hugebus bench --socket "$lab/nobody" >"$lab/out" 2>"$lab/err"
	expect $? -eq 1
	expect "$(wc -l <"$lab/err")" = 1
	expect ! -s "$lab/out"
}

who_is_told_twice_clears_up_too() {
	mkdir "$lab/t"
	TMPDIR=$lab/t lab_spawn bench hugebus bench
	lab_until 10 _has_bus || return 1
	sleep 0.3
	kill -TERM "${lab_pids[bench]}"
	lab_stop bench INT
	expect $? -eq 1
	_is_empty "$lab/t" || { find "$lab/t"; return 1; }
}

results_that_cannot_be_written_are_said() {
	hugebus bench --quick --only rtt.64 --json >/dev/full 2>"$lab/err"
	expect $? -eq 1
	grep -q 'cannot write: No space' "$lab/err" || { cat "$lab/err"; return 1; }
}

usage_is_explained() {
	hugebus bench --help | grep -q Usage || return 1
	hugebus bench --list | grep -q rtt.64 || return 1
	hugebus bench --plant nothing 2>/dev/null
	expect $? = 2
	hugebus bench nonsense 2>/dev/null
	expect $? = 2
	hugebus bench --repeats 0 2>/dev/null
	expect $? = 2
	hugebus bench --only nonsense.nothing --quick 2>/dev/null
	expect $? = 2
	[ -x "$HBUS_BUILD/bench/hugebus-bench-ingress" ] || return 0
	hugebus bench ingress --help | grep -q Usage || return 1
	expect "$(hugebus bench ingress --list | head -1)" = ring
	hugebus bench ingress --nonsense 2>&1 | grep -q '^hugebus-bench ingress: ' || return 1
	hugebus bench ingress --iface nonesuch 2>/dev/null
	expect $? = 2
	hugebus bench ingress --only nonsense 2>/dev/null
	expect $? = 2
	hugebus bench ingress --payload 16 2>/dev/null
	expect $? = 2
	hugebus bench ingress --pcap /nonexistent 2>/dev/null
	expect $? = 2
}

run_cases "$@"
