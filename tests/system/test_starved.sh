#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A bus that lacks something: hugepages, descriptors, process numbers, a second processor, memory, locked memory, disk space, a
# steady wall clock. It has to say what is missing, go on with what it has, and be whole again afterwards.
#
# Nothing of the machine is changed but for the moment of a case: limits are those of the programs, file systems are
# in a mount namespace of their own, and the clock is libfaketime's.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
needs_commands jq setpriv timeout taskset prlimit
PATH=$HBUS_BUILD/dataplane/mqtt:$PATH
[ -x "$HBUS_BUILD/ctl/daemon/hugebusd" ] || skip_all "hugebusd is not built"
port=$((20000 + $$ % 12000))

# By a regular expression.
says() { grep -qE -- "$1" "$lab/out" "$lab/err" || { printf 'nobody said "%s":\n' "$1" >&2; tail "$lab/out" "$lab/err" >&2; exit 1; }; }

# flows N [OPTION...]: N events go through, to a reliable reader, all of them.
flows() {
	local n=$1
	shift
	subscriber reader -t 'flow/#' --reliable -C "$n" -W 30
	exits 0 "${with[@]}" hugebus pub -t flow/a --count "$n" --size 100 --timeout 20 "$@"
	ended reader 0 40
	expect "$(jq .delivered "$lab/reader.json")" -eq "$n"
	expect "$(jq .lost "$lab/reader.json")" -eq 0
}

_is_alive() { lab_is_running hugebusd || { echo "the daemon has ended:"; tail "$lab/hugebusd.err"; exit 1; } >&2; }

without_a_hugepage_rings_are_on_small_pages_and_it_says_so() {
	local free
	free=$(awk '/HugePages_Free/ { print $2 }' /proc/meminfo)
	# Whatever is free is taken for the time of the case.
	if [ "${free:-0}" -gt 0 ]; then
		lab_spawn taker python3 -c "
import mmap, time
m = mmap.mmap(-1, $free << 21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
print('taken', flush=True)
time.sleep(100)"
		lab_wait_line taker taken || skip "hugepages cannot be taken away here"
	fi
	bus || return 1
	lab_wait_line hugebusd 'too few free hugepages' || return 1
	flows 20000
	_is_alive
	if [ -x "$HBUS_BUILD/dataplane/hugebus-ingress" ]; then
		exits 0 hugebus-ingress --json --pcap "$top/examples/telemetry.pcap" --idle-exit 0.2
		says '0 hugepages free|packets live on 4 KiB pages'
	fi
	[ "${free:-0}" -eq 0 ] || lab_stop taker
	flows 1000
}

with_64_descriptors_it_refuses_with_a_reason_and_serves_on() {
	local i status n_refused=0
	export HUGEBUS_SOCKET=$lab/bus.sock
	lab_spawn hugebusd prlimit --nofile=64:64 hugebusd --socket "$HUGEBUS_SOCKET"
	lab_until 10 test -S "$HUGEBUS_SOCKET" || return 1
	flows 1000
	for i in {1..60}; do
		lab_spawn "idle$i" hugebus sub -t nothing/here --ready "$lab/idle$i.ready"
	done
	for i in {1..60}; do
		lab_until 10 eval "test -e $lab/idle$i.ready || lab_has_ended idle$i" || return 1
		lab_has_ended "idle$i" || continue
		n_refused=$((n_refused + 1))
		grep -qE 'no more clients|quota|share|descriptors' "$lab/idle$i.err" || { echo "no reason:"; cat "$lab/idle$i.err"; return 1; } >&2
	done
	expect $n_refused -gt 10
	_is_alive
	for i in {1..60}; do lab_stop "idle$i" TERM; done
	flows 1000
	_is_alive
}

a_program_with_few_descriptors_says_so() {
	bus || return 1
	timeout 20 prlimit --nofile=5:5 hugebus pub -t a -m x >"$lab/out" 2>&1 </dev/null
	status=$?
	expect $status -ne 0 && expect $status -lt 124
	says 'open files|descriptors|Too many'
	with=(prlimit --nofile=64:64)
	flows 1000
}

a_gateway_with_64_descriptors_serves_those_that_it_has() {
	command -v mosquitto_pub >/dev/null || skip "needs mosquitto_pub"
	local i fd
	local -a fds=()
	bus || return 1
	lab_spawn gateway prlimit --nofile=64:64 hugebus-mqtt --listen "127.0.0.1:$port" --allow-anonymous
	lab_wait_line gateway serving || return 1
	subscriber reader -t m -C 2 -W 30
	for i in {1..100}; do
		exec {fd}<>"/dev/tcp/127.0.0.1/$port" && fds+=("$fd")
	done
	sleep 0.3
	lab_is_running gateway || { cat "$lab/gateway.err" >&2; return 1; }
	for fd in "${fds[@]}"; do exec {fd}>&-; done
	# As soon as there is room again.
	lab_until 10 timeout 5 mosquitto_pub -p "$port" -t m -m one -q 1 || { echo "no room afterwards" >&2; return 1; }
	timeout 5 mosquitto_pub -p "$port" -t m -m two -q 1 || return 1
	ended reader 0
	lab_stop gateway TERM || { echo "no clean end" >&2; return 1; }
}

an_ingress_with_64_descriptors_works_and_with_8_says_so() {
	[ -x "$HBUS_BUILD/dataplane/hugebus-ingress" ] || skip "hugebus-ingress is not built"
	bus || return 1
	hugebus route add '*:5001' few/1 --vlan any || return 1
	subscriber packets -t few/1 -C 250 -W 20
	timeout 20 prlimit --nofile=8:8 hugebus-ingress --no-huge --pcap "$top/examples/telemetry.pcap" --idle-exit 0.2 >"$lab/out" 2>&1
	status=$?
	expect $status -ne 0 && expect $status -lt 124
	says 'open files|descriptors|Too many|cannot'
	exits 0 prlimit --nofile=64:64 hugebus-ingress --no-huge --json --pcap "$top/examples/telemetry.pcap" --idle-exit 0.5
	ended packets 0
}

on_one_processor_everything_flows() {
	export HUGEBUS_SOCKET=$lab/bus.sock
	lab_spawn hugebusd taskset -c 0 hugebusd --socket "$HUGEBUS_SOCKET"
	lab_until 10 test -S "$HUGEBUS_SOCKET" || return 1
	with=(taskset -c 0)
	flows 100000
	flows 200 --rate 2000
	command -v mosquitto_pub >/dev/null || return 0
	lab_spawn gateway taskset -c 0 hugebus-mqtt --listen "127.0.0.1:$port" --allow-anonymous
	lab_wait_line gateway serving || return 1
	subscriber mqtt -t one/cpu -C 100 -W 20
	seq 100 | taskset -c 0 timeout 20 mosquitto_pub -p "$port" -t one/cpu -l -q 1 || return 1
	ended mqtt 0
}

# Real-time programs among the others: what they wait for has to run too, on the same processor. So no wait may spin.
real_time_programs_wait_without_spinning() {
	chrt -f 1 true 2>/dev/null || skip "needs the right to real-time priorities"
	export HUGEBUS_SOCKET=$lab/bus.sock
	lab_spawn hugebusd taskset -c 0 hugebusd --socket "$HUGEBUS_SOCKET"
	lab_until 10 test -S "$HUGEBUS_SOCKET" || return 1
	with=(taskset -c 0)
	# The publisher waits for a reader that only runs when it sleeps, then the reader for the publisher.
	subscriber reader -t 'flow/#' --reliable -C 20000 -W 30
	exits 0 taskset -c 0 chrt -f 1 hugebus pub -t flow/a --count 20000 --size 100 --ring 64K --timeout 20
	ended reader 0
	expect "$(jq .lost "$lab/reader.json")" -eq 0
	with=(taskset -c 0 chrt -f 1)
	subscriber reader -t 'flow/#' --reliable -C 20000 -W 30
	with=(taskset -c 0)
	exits 0 "${with[@]}" hugebus pub -t flow/a --count 20000 --size 100 --ring 64K --timeout 20
	ended reader 0
	expect "$(jq .lost "$lab/reader.json")" -eq 0
	with=(taskset -c 0 chrt -f 1)
	flows 20000
	_is_alive
}

# Somebody else's that never sleeps: what the kernel takes from it (sched_rt_runtime_us, one part in twenty) has to do.
a_spinning_real_time_thread_delays_and_loses_nothing() {
	chrt -f 1 true 2>/dev/null || skip "needs the right to real-time priorities"
	[ "$(nproc)" -gt 1 ] || skip "needs a second processor, for the test itself"
	[ "$(cat /proc/sys/kernel/sched_rt_runtime_us)" -gt 0 ] || skip "the kernel leaves nothing to others (sched_rt_runtime_us)"
	export HUGEBUS_SOCKET=$lab/bus.sock
	lab_spawn hugebusd taskset -c 0 hugebusd --socket "$HUGEBUS_SOCKET"
	lab_until 10 test -S "$HUGEBUS_SOCKET" || return 1
	with=(taskset -c 0)
	flows 1000
	subscriber steady -t steady --reliable --stall 2 -C 2000 -W 40
	lab_spawn publisher "${with[@]}" hugebus pub -t steady --count 2000 --rate 1000 --timeout 20
	lab_spawn spinner timeout -s KILL 3 taskset -c 0 chrt -f 1 sh -c 'while :; do :; done'
	sleep 0.5
	flows 1000
	lab_is_running spinner || { echo "it ended before anything was shown" >&2; return 1; }
	ended publisher 0
	ended steady 0
	expect "$(jq .delivered "$lab/steady.json")" -eq 2000
	expect "$(jq .lost "$lab/steady.json")" -eq 0
	lab_until 10 lab_has_ended spinner || return 1
	flows 1000
	_is_alive
}

# The clock of every program goes a day on, then two back, again and again; the monotonic one does not.
a_wall_clock_that_jumps_evicts_nobody() {
	local faketime=/usr/lib/$(uname -m)-linux-gnu/faketime/libfaketime.so.1 i
	[ -e "$faketime" ] || skip "needs libfaketime"
	echo '+0' >"$lab/clock"
	export HUGEBUS_SOCKET=$lab/bus.sock
	with=(env "LD_PRELOAD=$faketime" "FAKETIME_TIMESTAMP_FILE=$lab/clock" FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1
		DONT_FAKE_MONOTONIC=1)
	lab_spawn hugebusd "${with[@]}" hugebusd --socket "$HUGEBUS_SOCKET"
	lab_until 10 test -S "$HUGEBUS_SOCKET" || return 1
	subscriber steady -t clock --reliable --stall 2 -C 3000 -W 30 -F '%U'
	lab_spawn publisher "${with[@]}" hugebus pub -t clock --count 3000 --rate 1000 --timestamp --timeout 10 --summary "$lab/publisher.json"
	for i in 1 2 3 4 5 6; do
		sleep 0.3
		if [ $((i % 2)) -eq 1 ]; then echo '+1d' >"$lab/clock"; else echo '-1d' >"$lab/clock"; fi
	done
	ended publisher 0
	ended steady 0
	expect "$(jq .delivered "$lab/steady.json")" -eq 3000
	expect "$(jq .lost "$lab/steady.json")" -eq 0
	grep -qE 'evicted|died|gone' "$lab/hugebusd.err" && { cat "$lab/hugebusd.err" >&2; return 1; }
	# The clock did jump, for them too.
	expect "$(sort -n "$lab/steady.out" | sed -n '1p;$p' | awk -F. '{ t[NR] = $1 } END { print (t[2] - t[1] > 86400) }')" = 1
	_is_alive
}

# The group of version 2, in which all that runs can be made to stand still at once.
_freezer_group() {
	local base
	for base in /sys/fs/cgroup /sys/fs/cgroup/unified; do
		[ "$(stat -fc %T "$base" 2>/dev/null)" = cgroup2fs ] || continue
		group=$base/hugebus-test-$$
		mkdir "$group" 2>/dev/null && [ -w "$group/cgroup.freeze" ] && return 0
		rmdir "$group" 2>/dev/null
	done
	return 1
}

_is_frozen() { grep -qx "frozen $1" "$group/cgroup.events"; }

# A container that may have two hugepages of eight: what it may not have is known when the daemon takes its reserve, and no
# ring is made of it, so that nobody meets a signal later. The controller is the machine's again before anything is judged.
a_limit_of_hugepages_of_its_group_is_kept_without_a_signal() {
	local base group='' given='' i
	for base in /sys/fs/cgroup /sys/fs/cgroup/unified; do
		grep -qw hugetlb "$base/cgroup.controllers" 2>/dev/null && [ -w "$base/cgroup.subtree_control" ] && group=$base/hugebus-test-$$ && break
	done
	[ -n "$group" ] || skip "no controller of hugepages that this user may use"
	lab_want_hugepages 8 || skip "no hugepages can be had here"
	grep -qw hugetlb "$base/cgroup.subtree_control" || { given=yes && echo +hugetlb >"$base/cgroup.subtree_control"; } || return 1
	mkdir "$group" && echo $((2 << 21)) | tee "$group/hugetlb.2MB.max" >"$group/hugetlb.2MB.rsvd.max" || return 1
	export HUGEBUS_SOCKET=$lab/bus.sock
	lab_spawn hugebusd sh -c "echo \$\$ >'$group/cgroup.procs'; exec hugebusd --socket '$HUGEBUS_SOCKET'"
	lab_until 10 test -S "$HUGEBUS_SOCKET"
	subscriber all -t 'limit/#' --reliable -C 4000 -W 20
	for i in 1 2 3 4; do lab_spawn "publisher$i" hugebus pub -t "limit/$i" --count 1000 --rate 2000 --size 100 --ring 2M --timeout 10; done
	lab_until 5 sh -c 'hugebus ls rings --json | jq -e "length == 4" >/dev/null'
	hugebus ls rings --json >"$lab/rings"
	lab_until 20 lab_has_ended all
	lab_stop hugebusd TERM
	i=$?
	lab_until 5 rmdir "$group"
	[ -z "$given" ] || echo -hugetlb >"$base/cgroup.subtree_control"
	expect $i -eq 0
	for i in 1 2 3 4; do ended "publisher$i" 0; done
	ended all 0
	expect "$(jq .lost "$lab/all.json")" -eq 0
	expect "$(jq '[.[] | select(.huge)] | length' "$lab/rings")" -le 2
	expect "$(jq 'length' "$lab/rings")" -eq 4
	grep -q 'pages=2 wanted' "$lab/hugebusd.err" || { cat "$lab/hugebusd.err" >&2; return 1; }
}

# As a machine that is suspended, for longer than a reader may hold its publisher; which waits for one just then.
a_bus_that_is_frozen_as_a_whole_evicts_nobody() {
	local group= name
	bus || return 1
	_freezer_group || skip "no control group that this user may freeze"
	subscriber steady -t frozen --reliable --stall 1 -C 50000 -W 30
	lab_spawn publisher hugebus pub -t frozen --count 50000 --size 100 --ring 64K --timeout 20 --rate 50000
	for name in hugebusd steady publisher; do echo "${lab_pids[$name]}" >"$group/cgroup.procs" || return 1; done
	kill -STOP "${lab_pids[steady]}"
	sleep 0.2
	echo 1 >"$group/cgroup.freeze"
	lab_until 5 _is_frozen 1 || return 1
	sleep 1.1
	echo 0 >"$group/cgroup.freeze"
	kill -CONT "${lab_pids[steady]}"
	ended publisher 0
	ended steady 0
	expect "$(jq .delivered "$lab/steady.json")" -eq 50000
	expect "$(jq .lost "$lab/steady.json")" -eq 0
	grep -qE 'evicted|died|gone' "$lab/hugebusd.err" && { cat "$lab/hugebusd.err" >&2; return 1; }
	_is_alive
	lab_stop hugebusd TERM || return 1
	lab_until 5 rmdir "$group"
}

# In a namespace with a hundred process numbers: that of a killed reader who holds a publisher, and then of a killed
# publisher, is another's before those who have to notice may look.
a_process_number_that_is_used_again_is_nobody_else_s() {
	[ "$(id -u)" -eq 0 ] || skip "needs root (process numbers of its own)"
	# Before, the number of numbers was the machine's.
	printf '%s\n' 6.14 "$(uname -r)" | sort -VC || skip "needs a limit of process numbers for each namespace (Linux 6.14)"
	cat >"$lab/inner" <<-'END'
		again() {
			local i=0
			until [ -e "/proc/$1" ]; do
				sleep 100 &
				[ $! -eq "$1" ] || kill -KILL $!
				i=$((i + 1))
				[ $i -lt 1000 ] || exit 3
			done 2>/dev/null
		}
		events() { hugebus ls rings --json | jq "[.[] | select(.ended | not) | .events] | add // -1"; }
		echo 400 >/proc/sys/kernel/pid_max || exit 2
		cd "$1" && export HUGEBUS_SOCKET=$1/bus.sock
		i=0
		while [ $i -lt 310 ]; do /bin/true; i=$((i + 1)); done # those below 300 are given once only
		hugebusd --socket "$HUGEBUS_SOCKET" 2>daemon.err &
		daemon=$!
		while [ ! -S bus.sock ]; do sleep 0.02; done
		hugebus sub -t a --reliable --stall 60 -W 60 --ready ready >/dev/null &
		reader=$!
		while [ ! -e ready ]; do sleep 0.02; done
		hugebus pub -t a --count 2000000000 --size 100 --ring 64K --timeout 60 >/dev/null 2>&1 &
		publisher=$!
		while [ "$(events)" -lt 1000 ]; do sleep 0.02; done
		kill -STOP $reader
		sleep 0.1
		held=$(events)
		kill -STOP $publisher
		kill -KILL $reader && wait $reader 2>/dev/null
		again $reader
		kill -CONT $publisher
		i=0
		while [ "$(events)" -le "$held" ]; do sleep 0.05; i=$((i + 1)); [ $i -lt 100 ] || exit 4; done
		kill -STOP $daemon
		kill -KILL $publisher && wait $publisher 2>/dev/null
		again $publisher
		kill -CONT $daemon
		i=0
		while [ "$(events)" -ge 0 ]; do sleep 0.05; i=$((i + 1)); [ $i -lt 100 ] || exit 5; done
	END
	unshare -p -f --mount-proc sh "$lab/inner" "$lab" >"$lab/out" 2>&1 || { tail "$lab/out" "$lab/daemon.err" >&2; return 1; }
}

# _memory_group BYTES: in $group, for children; by whichever version has the controller.
_memory_group() {
	local base=/sys/fs/cgroup
	if [ -e "$base/memory/memory.limit_in_bytes" ]; then
		group=$base/memory/hugebus-test-$$
		mkdir "$group" 2>/dev/null && echo "$1" >"$group/memory.limit_in_bytes" 2>/dev/null && return 0
	elif grep -qw memory "$base/cgroup.subtree_control" 2>/dev/null; then
		group=$base/hugebus-test-$$
		mkdir "$group" 2>/dev/null && echo "$1" >"$group/memory.max" 2>/dev/null && return 0
	fi
	rmdir "$group" 2>/dev/null
	return 1
}

# The publisher pays for its ring's pages: what is too much for it ends it, and harms nobody else.
a_publisher_beyond_its_memory_harms_only_itself() {
	local group= status before
	bus || return 1
	_memory_group $((16 << 20)) || skip "no memory controller that this user may use"
	subscriber other -t other -C 2000 -W 30 --reliable
	lab_spawn steady hugebus pub -t other --count 2000 --rate 1000 --timeout 10
	for _ in 1 2 3; do
		timeout 20 sh -c "echo \$\$ >'$group/cgroup.procs'; exec hugebus pub -t big -m x --ring 64M --small-pages" >"$lab/out" 2>&1
		status=$?
		expect $status -ne 0
		expect $status -ne 124
	done
	ended steady 0
	ended other 0
	_is_alive
	lab_until 10 rmdir "$group" || return 1
	expect "$(hugebus ls rings --json | jq length)" -eq 0
	flows 1000
}

with_64_kib_of_locked_memory_it_works() {
	local -a poor=(prlimit --memlock=65536:65536)
	[ "$(id -u)" -ne 0 ] || poor+=(setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock)
	export HUGEBUS_SOCKET=$lab/bus.sock
	lab_spawn hugebusd "${poor[@]}" hugebusd --socket "$HUGEBUS_SOCKET"
	lab_until 10 test -S "$HUGEBUS_SOCKET" || return 1
	with=("${poor[@]}")
	flows 20000
	lab_spawn gateway "${poor[@]}" hugebus-mqtt --listen "127.0.0.1:$port" --allow-anonymous
	lab_wait_line gateway serving || return 1
	lab_stop gateway TERM || return 1
	[ -x "$HBUS_BUILD/dataplane/hugebus-ingress" ] || return 0
	hugebus route add '*:5001' locked/1 --vlan any || return 1
	subscriber packets -t locked/1 -C 250 -W 20
	"${poor[@]}" timeout 30 hugebus-ingress --no-huge --json --pcap "$top/examples/telemetry.pcap" --idle-exit 0.5 \
		>"$lab/out" 2>&1 || { tail -n 5 "$lab/out" >&2; return 1; }
	ended packets 0
}

# In a mount namespace: a file system of 64 KiB for what the daemon keeps.
a_full_disk_costs_the_journal_and_nothing_else() {
	[ "$(id -u)" -eq 0 ] || skip "needs root (a small file system)"
	mkdir "$lab/disk" "$lab/shm"
	cat >"$lab/inner" <<-'END'
		set -e
		mount -t tmpfs -o size=64k none "$1/disk"
		exec hugebusd --socket "$1/bus.sock" --state "$1/disk/state" 2>"$1/disk.log"
	END
	export HUGEBUS_SOCKET=$lab/bus.sock
	lab_spawn hugebusd unshare -m sh "$lab/inner" "$lab"
	lab_until 10 test -S "$HUGEBUS_SOCKET" || return 1
	local root=/proc/${lab_pids[hugebusd]}/root
	flows 1000
	# Full to the last byte, while programs come, go, and declare.
	dd if=/dev/zero of="$root$lab/disk/fill" bs=1k 2>/dev/null
	flows 5000
	hugebus topic add full/declared --type a.type >/dev/null 2>&1
	for _ in 1 2 3 4 5 6 7 8; do exits 0 hugebus pub -t "full/$_" -m x; done
	_is_alive
	grep -q 'journal-failed' "$lab/disk.log" || { echo "it did not say so" >&2; cat "$lab/disk.log" >&2; return 1; }
	expect "$(wc -c <"$lab/disk.log")" -lt 65536
	# A publisher that came while there was no room is known to the next daemon once there is.
	subscriber lasting -t lasting --reliable -C 4000 -W 40
	lab_spawn publisher hugebus pub -t lasting --count 4000 --rate 1000 --timeout 20
	sleep 0.5
	rm "$root$lab/disk/fill"
	exits 0 hugebus pub -t full/again -m x
	sleep 0.5
	cp -r "$root$lab/disk/state" "$lab/state"
	lab_stop hugebusd KILL
	lab_spawn hugebusd hugebusd --socket "$HUGEBUS_SOCKET" --state "$lab/state"
	ended publisher 0 40
	ended lasting 0 40
	expect "$(jq .lost "$lab/lasting.json")" -eq 0
	expect "$(hugebus ls topics --json | jq '[.[] | select(.topic == "full/declared")] | length')" -eq 1
	flows 1000
}

# Nothing of the bus is a file of /dev/shm or /tmp; and where its log goes may be full too.
full_file_systems_for_shared_memory_and_logs_do_not_matter() {
	[ "$(id -u)" -eq 0 ] || skip "needs root (small file systems)"
	mkdir "$lab/log"
	cat >"$lab/inner" <<-'END'
		set -e
		mount -t tmpfs -o size=4k none /dev/shm
		mount -t tmpfs -o size=4k none "$1/log"
		dd if=/dev/zero of=/dev/shm/fill bs=1k 2>/dev/null || true
		dd if=/dev/zero of="$1/log/fill" bs=1k 2>/dev/null || true
		exec hugebusd --log-level debug --socket "$1/bus.sock" --state "$1/state" 2>"$1/log/daemon.log"
	END
	export HUGEBUS_SOCKET=$lab/bus.sock
	lab_spawn hugebusd unshare -m sh "$lab/inner" "$lab"
	lab_until 10 test -S "$HUGEBUS_SOCKET" || return 1
	flows 20000
	_is_alive
	lab_stop hugebusd TERM || { echo "no clean end" >&2; return 1; }
}

where_the_socket_cannot_be_made_it_says_why() {
	[ "$(id -u)" -eq 0 ] || skip "needs root (a small file system)"
	cat >"$lab/inner" <<-'END'
		mount -t tmpfs -o size=4k,nr_inodes=2 none "$1/disk" || exit 99
		touch "$1/disk/last"
		exec hugebusd --socket "$1/disk/bus.sock"
	END
	mkdir "$lab/disk"
	exits 1 unshare -m sh "$lab/inner" "$lab"
	says 'No space left on device'
}

# libfaketime leaves two files of a process that did not come to its own end.
_sweep_faketime() {
	local file
	for file in /dev/shm/*faketime_*_*; do
		[ -O "$file" ] && [ ! -e "/proc/${file##*_}" ] && rm -f -- "$file"
	done
}

run_cases "$@"
status=$?
_sweep_faketime
exit $status
