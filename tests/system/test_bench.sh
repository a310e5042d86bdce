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

ingress_measures_generator_and_capture() {
	_has_ingress || return 0
	hugebus bench ingress --repeats 2 --duration 20 --json --only '[rp]*' >"$lab/r.json" 2>"$lab/err" ||
		{ sed 's/^/# /' "$lab/err"; return 1; }
	_holds "$lab/r.json" 'all(k in r for k in ("version", "kernel", "cores", "page_size", "siblings", "noise", "is_quiet", "repeats", "seconds"))' || return 1
	for source in ring pcap; do
		_holds "$lab/r.json" "full(by['ingress.$source.publish']) and full(by['ingress.$source.publish.cost'])" || return 1
		_holds "$lab/r.json" "'above' in by['ingress.$source.publish.cost'] and full(by['ingress.$source.bare'], False)" || return 1
	done
	[ "$(nproc)" -lt 2 ] || _holds "$lab/r.json" "full(by['ingress.ring.read']) and full(by['ingress.pcap.read.cost'])"
}

ingress_measures_a_capture_of_the_user() {
	_has_ingress || return 0
	hugebus bench ingress --repeats 1 --duration 20 --json --pcap "$top/examples/telemetry.pcap" >"$lab/r.json" 2>"$lab/err" ||
		{ sed 's/^/# /' "$lab/err"; return 1; }
	_holds "$lab/r.json" "full(by['ingress.pcap.publish'])"
}

ingress_notices_a_spoilt_event() {
	_has_ingress || return 0
	[ "$(nproc)" -ge 2 ] || return 0
	for fault in torn lost; do
		hugebus bench ingress --only ring --repeats 1 --duration 20 --plant $fault --json >"$lab/r.json" 2>"$lab/err"
		expect $? = 1
		expect "$(grep -c 'reader: .*event' "$lab/err")" -ge 1
		_holds "$lab/r.json" "any(x['failed'] for x in r['results'])" || return 1
	done
}

usage_is_explained() {
	hugebus bench --help | grep -q Usage || return 1
	hugebus bench --list | grep -q rtt.64 || return 1
	hugebus bench nonsense 2>/dev/null
	expect $? = 2
	hugebus bench --repeats 0 2>/dev/null
	expect $? = 2
	hugebus bench --only nonsense.nothing --quick 2>/dev/null
	expect $? = 1
	[ -x "$HBUS_BUILD/bench/hugebus-bench-ingress" ] || return 0
	hugebus bench ingress --help | grep -q Usage || return 1
	hugebus bench ingress --payload 16 2>/dev/null
	expect $? = 2
	hugebus bench ingress --pcap /nonexistent 2>/dev/null
	expect $? = 2
}

run_cases
