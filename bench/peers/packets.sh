#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What receives UDP packets how fast: hugebus's ingress, a bare DPDK loop, and what the kernel offers, in turns over
# one veth pair of its own. The generator has one core, the receiver the other. Prints JSON.
# Exit status: 0 done; 1 a measurement failed; 2 wrong usage; 77 this machine lacks what it takes (root, ...).
set -u
dir=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
top=$(cd -- "$dir/../.." && pwd -P)
build=${HBUS_BUILD:-$top/build}
# shellcheck source=examples/demo/lab.sh
. "$top/examples/demo/lab.sh"
PATH=$PATH:/usr/sbin:/sbin
repeats=5 seconds=0.5
while [ $# -gt 0 ]; do
	case $1 in
	--repeats) repeats=${2:?a number}; shift ;;
	--quick) repeats=1 seconds=0.2 ;;
	*) echo "Usage: bench/peers/packets.sh [--repeats N] [--quick]" >&2; exit 2 ;;
	esac
	shift
done
peers=$build/bench/peers/hugebus-peers-packets
for needed in "$peers" "$build/bench/hugebus-bench-ingress"; do
	[ -x "$needed" ] || { echo "packets.sh: not built: $needed (libbpf, DPDK)" >&2; exit 77; }
done
[ "$(id -u)" -eq 0 ] || { echo "packets.sh: needs root" >&2; exit 77; }
for needed in jq ip ethtool nsenter taskset; do
	command -v "$needed" >/dev/null || { echo "packets.sh: needs $needed" >&2; exit 77; }
done

mapfile -t cpus < <(taskset -cp $$ | sed 's/.*: //' | tr , '\n' | awk -F- '{ for (i = $1; i <= (NF > 1 ? $2 : $1); i++) print i }')
send_on=${cpus[0]} receive_on=${cpus[-1]}

lab_begin
lab_namespace out && lab_namespace in && lab_link out a0 10.9.0.1/24 in b0 10.9.0.2/24 || exit 1
# Frames that XDP makes come in only where the device polls.
lab_in in ethtool -K b0 gro on >/dev/null
mac=$(lab_mac in b0)

# generator KIND SECONDS: in the background.
generator() {
	case $1 in
	frames) lab_spawn_in out generator taskset -c "$send_on" "$peers" send frames a0 "$mac" "$2" ;;
	gso) lab_spawn_in out generator taskset -c "$send_on" "$peers" send gso 10.9.0.2 "$2" ;;
	esac
}

offloads() {
	lab_in out ethtool -K a0 tx "$1" gso "$1" tx-udp-segmentation "$1" >/dev/null 2>&1
	lab_in in ethtool -K b0 rx "$1" gro on >/dev/null 2>&1
}

# one KEY METHOD GENERATOR: a line "KEY rate", or "KEY failed".
one() {
	local n ns
	generator "$3" 60
	if read -r n ns < <(lab_in in taskset -c "$receive_on" "$peers" receive "$2" b0 "$seconds" 2>>"$lab/errors"); then
		awk "BEGIN { printf \"$1 %.0f\n\", $n * 1e9 / $ns }" >>"$lab/rates"
	else
		echo "$1 failed" >>"$lab/rates"
	fi
	lab_stop generator >/dev/null 2>&1
}

# The ingress's own code, and the loops beside it, each for a while with the generator running.
ingress() {
	local ms
	ms=$(awk "BEGIN { print int($seconds * 1000) }")
	generator frames 60
	lab_in in "$build/bench/hugebus-bench-ingress" --iface b0 --port 5000 --repeats 1 --duration "$ms" --json >"$lab/ingress.json" \
		2>>"$lab/errors" && jq -r '.results[] | select(.unit == "packets/s") |
			"\(.name) \(if .failed then "failed" else (.value.median | floor | tostring) end)"' "$lab/ingress.json" >>"$lab/rates" ||
		echo "ingress failed" >>"$lab/rates"
	lab_stop generator >/dev/null 2>&1
}

for ((i = 0; i < repeats; i++)); do
	offloads off
	one kernel.recvmmsg recvmmsg frames
	one kernel.af_packet af_packet frames
	one kernel.af_xdp af_xdp frames
	ingress
	offloads on
	one kernel.gso_gro gro gso
done
[ ! -s "$lab/errors" ] || sort "$lab/errors" | uniq -c >&2
jq -R -s --argjson seconds "$seconds" '
	def median: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2] + .[length / 2 - 1]) / 2 end;
	[split("\n")[] | select(length > 0) | split(" ")] | group_by(.[0]) |
	{seconds: $seconds, results: [.[] | {name: .[0][0], failed: any(.[]; .[1] == "failed"),
		samples: [.[] | select(.[1] != "failed") | .[1] | tonumber]} | .median = (if .samples == [] then 0 else (.samples | median) end)]}' "$lab/rates"
! grep -q failed "$lab/rates"
