#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# ./run when it is interrupted: what it has started ends with it, in each of its phases. Compilers and tests are
# stand-ins here that take their time.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
needs_commands setpriv flock

# _tool NAME TEXT: a program of that name in front of all others.
_tool() {
	printf '#!/bin/bash\n%s\n' "$2" >"$lab/bin/$1"
	chmod 755 "$lab/bin/$1"
}

# _tree: as much of this tree as ./run needs, and a machine on which everything is installed.
_tree() {
	mkdir -p "$lab/bin" "$lab/tmp" "$lab/tree/examples/demo" "$lab/tree/tests"
	cp "$top/run" "$lab/tree/"
	cp "$top/examples/demo/lab.sh" "$lab/tree/examples/demo/"
	_tool dpkg-query 'printf installed'
	_tool apt-get 'exit 1'
	_tool cc ''
	_tool ninja ''
	_tool meson 'mkdir -p "${@: -2:1}"; touch "${@: -2:1}/build.ninja"'
}

# What a program says that takes long: its number, for who looks whether it is still there.
readonly SLOW='echo $$ >"$SLOW_PID"; exec sleep 60'

# _start COMMAND: ./run with it, as a terminal would start it, until the slow program runs.
_start() {
	rm -f "$lab/pid"
	export SLOW_PID=$lab/pid
	TMPDIR=$lab/tmp PATH=$lab/bin:$PATH lab_spawn run setsid env --default-signal=INT,QUIT "$lab/tree/run" "$@"
	lab_until 10 test -s "$lab/pid" || { cat "$lab/run.out" "$lab/run.err"; return 1; }
}

# _ends SIGNAL STATUS: told by this signal, sent to ./run alone, both are gone soon.
_ends() {
	local slow
	slow=$(cat "$lab/pid")
	kill "-$1" "${lab_pids[run]}"
	wait "${lab_pids[run]}" 2>/dev/null
	expect $? -eq "$2"
	lab_until 3 _is_gone "$slow" || { kill -KILL "$slow"; echo "$slow goes on" && return 1; }
}

_is_gone() { ! kill -0 "$1" 2>/dev/null; }

a_build_ends_with_it() {
	_tree
	_tool ninja "$SLOW"
	_start build && _ends TERM 143 && _start build && _ends INT 130 && _start build && _ends HUP 143 || return 1
	_start build && _ends KILL 137
}

configuring_ends_with_it() {
	_tree
	_tool meson "$SLOW"
	_start build && _ends TERM 143
}

tests_end_with_it_and_their_lab_goes() {
	local before
	before=$(cat /proc/sys/vm/nr_hugepages)
	_tree
	printf '#!/bin/bash\n%s\n' "$SLOW" >"$lab/tree/tests/report.py"
	chmod 755 "$lab/tree/tests/report.py"
	_start test && _ends TERM 143 || return 1
	expect -z "$(ls -A "$lab/tmp")"
	expect "$(cat /proc/sys/vm/nr_hugepages)" -eq "$before"
}

the_tests_themselves_end_with_it() {
	_tree
	cp "$top/tests/report.py" "$lab/tree/tests/"
	_tool meson 'if [ "$1" = test ]; then '"$SLOW"'; fi; mkdir -p "${@: -2:1}"; touch "${@: -2:1}/build.ninja"'
	_start test && _ends TERM 143 && _start test && _ends KILL 137 || return 1
	# Its lab is locked until the last of its processes has ended.
	lab_until 20 _is_swept || { ls -A "$lab/tmp" >&2; return 1; }
}

_is_swept() {
	(TMPDIR=$lab/tmp lab_sweep)
	[ -z "$(ls -A "$lab/tmp")" ]
}

an_installation_is_not_cut_in_two() {
	[ "$(id -u)" -eq 0 ] || skip "needs root: others are only told what to install"
	_tree
	_tool dpkg-query '[ -e "$SLOW_PID.done" ] && printf installed || :'
	_tool apt-get 'echo $$ >"$SLOW_PID"; sleep 0.5; touch "$SLOW_PID.done"'
	_start build && _ends TERM 143 || return 1
	expect -e "$lab/pid.done"
	expect -z "$(ls -A "$lab/tmp")"
}

run_cases "$@"
