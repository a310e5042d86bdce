#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The lab that other system tests and the demonstration stand on: it carries packets, and leaves nothing.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
needs_root
needs_commands ip ethtool nsenter unshare setpriv

a_program_that_is_stopped_gives_its_exit_status() {
	local status
	lab_spawn one bash -c 'trap "exit 7" TERM; echo ready; while :; do sleep 0.05; done'
	lab_wait_line one ready
	lab_stop one
	status=$?
	expect $status -eq 7
}

waiting_for_a_line_that_does_not_come_fails() {
	lab_spawn one sh -c 'echo something else'
	! lab_wait_line one ready 5
}

two_namespaces_are_linked() {
	lab_namespace a && lab_namespace b && lab_link a left 192.0.2.2/24 b right 192.0.2.1/24 || return 1
	lab_spawn_in b listener ip -br addr show right
	lab_wait_line listener 192.0.2.1/24 || return 1
	expect "$(lab_in a ip neigh show | wc -l)" -eq 1
	lab_in a bash -c 'echo hello >/dev/udp/192.0.2.1/9'
	expect "$(lab_in b ip -s link show right | awk '/RX:/ { getline; print $2 }')" -ge 1
}

a_killed_lab_leaves_no_process() {
	local pid left
	bash -c ". '$top/examples/demo/lab.sh'; lab_begin; lab_namespace a; echo \${lab_pids[ns-a]} \$lab; kill -KILL \$\$" \
		>"$lab/killed" 2>/dev/null
	read -r pid left <"$lab/killed"
	rm -rf -- "$left"
	lab_until 5 _is_gone "$pid"
}

_is_gone() { [ ! -e "/proc/$1" ]; }

_hugepages() { cat /proc/sys/vm/nr_hugepages; }

# _leaves_hugepages_alone FUNCTION: there are as many afterwards. Others of this machine may take and give some meanwhile;
# what it loses itself it loses each time.
_leaves_hugepages_alone() {
	local before
	for _ in 1 2 3 4 5; do
		before=$(_hugepages)
		"$1"
		[ "$(_hugepages)" -ne "$before" ] || return 0
		sleep 0.5
	done
	echo "there were $before hugepages, and are $(_hugepages)" >&2
	return 1
}

what_a_killed_lab_has_left_the_next_one_gives_back() { _leaves_hugepages_alone _kill_a_lab; }

_kill_a_lab() {
	local left
	bash -c ". '$top/examples/demo/lab.sh'; lab_begin; echo \$lab; lab_want_hugepages $(($(_hugepages) + 2)); kill -KILL \$\$" \
		>"$lab/killed" 2>/dev/null
	read -r left <"$lab/killed"
	expect -d "$left"
	(lab_begin)
	expect ! -e "$left"
}

a_lab_that_lives_is_left_alone() {
	(lab_begin)
	expect -d "$lab"
}

hugepages_are_given_back() { _leaves_hugepages_alone _take_hugepages; }

_take_hugepages() (
	lab_begin
	lab_want_hugepages $(($(_hugepages) + 2))
)

# Each adds and takes away what is its own, whoever else does: none is lost, none too many is given back.
labs_at_the_same_time_give_back_what_they_took() { _leaves_hugepages_alone _take_hugepages_together; }

_take_hugepages_together() {
	local i
	for i in {1..40}; do
		_take_hugepages &
	done
	wait
}

run_cases "$@"
