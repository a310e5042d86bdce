# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# A lab for the demonstration and the system tests, to be sourced: a temporary directory ($lab),
# programs in the background, network namespaces that nobody else sees, and nothing left at the end.
#
# Programs and namespaces die with the shell that sourced this, also when it is killed: each child asks
# the kernel for that. Namespaces have no names, so nothing is mounted, and parallel labs do not meet.
# The directory and hugepages of a killed lab are given back by the next one.

declare -A lab_pids=()
lab=
lab_lock= # a descriptor of the directory, locked as long as the lab lives
lab_hugepages_added=0

lab_begin() {
	lab_sweep
	lab=$(mktemp -d "${TMPDIR:-/tmp}/hugebus-lab.XXXXXX")
	exec {lab_lock}<"$lab"
	flock "$lab_lock"
	echo 0 >"$lab/.hugepages" # from here on, without the lock it is a killed lab's
	trap lab_end EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

# What killed labs of this user have left.
lab_sweep() {
	local left lock added
	for left in "${TMPDIR:-/tmp}"/hugebus-lab.*; do
		[ -O "$left" ] && [ ! -L "$left" ] && [ -f "$left/.hugepages" ] || continue
		{ exec {lock}<"$left"; } 2>/dev/null || continue
		if flock -n "$lock"; then
			added=$(cat "$left/.hugepages" 2>/dev/null)
			[ "${added:-0}" -eq 0 ] || lab_give_hugepages_back "$added"
			rm -rf -- "$left"
		fi
		exec {lock}<&-
	done
}

# lab_add_hugepages N, which may be negative: one lab of this machine at a time, or one of two changes is lost. Prints
# how many have come.
lab_add_hugepages() {
	local before
	{
		flock 8
		before=$(cat /proc/sys/vm/nr_hugepages)
		echo $((before + $1 > 0 ? before + $1 : 0)) >/proc/sys/vm/nr_hugepages
		echo $(($(cat /proc/sys/vm/nr_hugepages) - before))
	} 8</proc/sys/vm/nr_hugepages
}

# The difference, not what there was: another lab may have come or gone meanwhile.
lab_give_hugepages_back() { lab_add_hugepages "-$1" >/dev/null; }

lab_end() {
	local pid
	trap - EXIT
	for pid in "${lab_pids[@]}"; do kill -KILL "$pid" 2>/dev/null; done
	for pid in "${lab_pids[@]}"; do wait "$pid" 2>/dev/null; done
	if [ "$lab_hugepages_added" -ne 0 ]; then
		lab_give_hugepages_back "$lab_hugepages_added"
		lab_hugepages_added=0
	fi
	rm -rf -- "$lab"
	exec {lab_lock}<&-
}

# lab_spawn NAME COMMAND...: in the background; its output goes to $lab/NAME.out and NAME.err.
lab_spawn() {
	local name=$1
	shift
	# Here, not in the child: what an earlier program of this name has said must not be taken for its word.
	: >"${lab:?lab_begin first}/$name.out" 2>"$lab/$name.err"
	setpriv --pdeathsig KILL -- "$@" >"${lab:?lab_begin first}/$name.out" 2>"$lab/$name.err" </dev/null {lab_lock}<&- &
	lab_pids[$name]=$!
}

lab_is_running() {
	local state
	# A zombie has ended, though its number is still there.
	read -r _ _ state _ 2>/dev/null <"/proc/${lab_pids[$1]:-0}/stat" && [ "$state" != Z ]
}

# lab_until SECONDS COMMAND...: tries it every 50 ms until it succeeds or the time is over.
lab_until() {
	local end=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
	shift
	until "$@"; do
		[ "${EPOCHREALTIME/[.,]/}" -lt $end ] || return 1
		sleep 0.05
	done
}

lab_has_line() {
	grep -qE -- "$2" "$lab/$1.out" "$lab/$1.err" && return 0
	lab_is_running "$1" || return 0 # not what was asked for, but waiting on is no use
	return 1
}

# lab_wait_line NAME REGEX [SECONDS]: until a line of its output matches.
lab_wait_line() {
	lab_until "${3:-10}" lab_has_line "$1" "$2"
	grep -qE -- "$2" "$lab/$1.out" "$lab/$1.err" && return 0
	printf '%s did not say "%s"; it said:\n' "$1" "$2" >&2
	tail -n 20 "$lab/$1.out" "$lab/$1.err" >&2
	return 1
}

lab_has_ended() { ! lab_is_running "$1"; }

# lab_stop NAME [SIGNAL]: asks it to end, kills it after 10 s. Return: its exit status.
lab_stop() {
	local pid=${lab_pids[$1]:-}
	[ -n "$pid" ] || return 0
	kill "-${2:-TERM}" "$pid" 2>/dev/null
	if ! lab_until 10 lab_has_ended "$1"; then
		printf '%s did not end within 10 s of SIG%s\n' "$1" "${2:-TERM}" >&2
		kill -KILL "$pid" 2>/dev/null
	fi
	unset "lab_pids[$1]"
	wait "$pid" 2>/dev/null
}

# lab_namespace NAME: a network namespace with its loopback up and no IPv6 chatter.
lab_namespace() {
	local own
	own=$(readlink /proc/self/ns/net)
	lab_spawn "ns-$1" unshare --net -- sleep infinity
	lab_until 5 lab_is_elsewhere "$1" "$own" || {
		echo "cannot make a network namespace: $(cat "$lab/ns-$1.err")" >&2
		return 1
	}
	lab_in "$1" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6;
		echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6' 2>/dev/null
	lab_in "$1" ip link set lo up
}

lab_is_elsewhere() {
	local there
	there=$(readlink "/proc/${lab_pids[ns-$1]}/ns/net" 2>/dev/null) && [ "$there" != "$2" ]
}

# lab_in NAMESPACE COMMAND...: replaces the mount of /sys for nobody, unlike `ip netns exec`.
lab_in() {
	local ns=/proc/${lab_pids[ns-$1]}/ns/net
	shift
	nsenter --net="$ns" -- "$@"
}

# lab_spawn_in NAMESPACE NAME COMMAND...
lab_spawn_in() {
	local ns=/proc/${lab_pids[ns-$1]}/ns/net name=$2
	shift 2
	lab_spawn "$name" nsenter --net="$ns" -- "$@"
}

# lab_link NAMESPACE-A NAME-A ADDRESS-A NAMESPACE-B NAME-B ADDRESS-B: a veth pair between two
# namespaces. Both ends know each other, so there is no ARP to count; offloads are off, so that the
# frames on the wire are what a NIC would send: whole, with checksums.
lab_link() {
	local a=$1 a_if=$2 a_addr=$3 b=$4 b_if=$5 b_addr=$6
	lab_in "$a" ip link add "$a_if" type veth peer name "$b_if" netns "${lab_pids[ns-$b]}" || return 1
	lab_set_up "$a" "$a_if" "$a_addr" && lab_set_up "$b" "$b_if" "$b_addr" || return 1
	lab_in "$a" ip neigh add "${b_addr%/*}" dev "$a_if" nud permanent lladdr "$(lab_mac "$b" "$b_if")"
	lab_in "$b" ip neigh add "${a_addr%/*}" dev "$b_if" nud permanent lladdr "$(lab_mac "$a" "$a_if")"
}

lab_set_up() {
	lab_in "$1" ip link set "$2" up && lab_in "$1" ip addr add "$3" dev "$2" &&
		lab_in "$1" ethtool -K "$2" tx off rx off tso off gso off gro off >/dev/null 2>&1
}

lab_mac() { lab_in "$1" ip -br link show "$2" | awk '{ print $3 }'; }

# lab_want_hugepages N: at least N free ones of 2 MiB; what there was comes back at the end.
lab_want_hugepages() {
	local free added
	[ -r /proc/meminfo ] || return 1
	free=$(awk '/^HugePages_Free/ { print $2 }' /proc/meminfo)
	[ "${free:-0}" -lt "$1" ] || return 0
	[ "$(id -u)" -eq 0 ] && [ -w /proc/sys/vm/nr_hugepages ] || return 1
	: "${lab:?lab_begin first}"
	echo $((lab_hugepages_added + $1 - free)) >"$lab/.hugepages" # before, for who clears up after a kill
	added=$(lab_add_hugepages $(($1 - free)))
	lab_hugepages_added=$((lab_hugepages_added + ${added:-0}))
	echo "$lab_hugepages_added" >"$lab/.hugepages"
	[ "$(awk '/^HugePages_Free/ { print $2 }' /proc/meminfo)" -ge "$1" ]
}
