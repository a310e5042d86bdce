#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# hugebusd as administrators meet it: its command line, the places it takes without being told, a reload by command.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
needs_commands jq setpriv timeout
[ -x "$HBUS_BUILD/ctl/daemon/hugebusd" ] || skip_all "hugebusd is not built"

its_command_line_is_explained_and_wrong_usage_exits_with_2() {
	exits 0 hugebusd --help && says 'Usage: hugebusd'
	exits 0 hugebusd --version && says "$(hugebus --version | cut -d ' ' -f 2)"
	exits 2 hugebusd --no-such-option && says "Try 'hugebusd --help'"
	exits 2 hugebusd --log-level loud && says 'no such log level: loud'
	exits 2 hugebusd surplus && says 'unexpected argument: surplus'
	exits 2 hugebusd --socket '' && says '--socket needs a PATH'
	exits 2 hugebusd --config '' && says '--config needs a FILE'
	exits 2 hugebusd --state '' && says '--state needs a DIR'
	exits 2 hugebusd --check-config && says '--check-config needs --config FILE'
}

a_configuration_is_checked_without_starting() {
	echo 'rings = { capacity = 131072; };' >"$lab/good"
	echo 'rings = { capacity = 3; };' >"$lab/bad"
	exits 3 hugebusd --check-config --config "$lab/bad" && says "$lab/bad"
	exits 3 hugebusd --check-config --config "$lab/nowhere" && says 'nowhere'
	exits 0 hugebusd --check-config --config "$top/packaging/hugebus.conf" && says ': ok'
	exits 3 hugebusd --socket "$lab/s" --config "$lab/bad"
	[ ! -e "$lab/s" ]
}

# Without --socket: below XDG_RUNTIME_DIR and XDG_STATE_HOME, or where the service manager says.
an_ordinary_users_bus_is_where_its_session_is() {
	local -a as=() run
	mkdir -m 700 "$lab/run" "$lab/state" "$lab/home"
	if [ "$(id -u)" -eq 0 ]; then
		as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
		chown 65534:65534 "$lab/run" "$lab/state" "$lab/home"
		chmod 755 "$lab"
		"${as[@]}" test -x "$HBUS_BUILD/ctl/daemon/hugebusd" || skip "another user cannot run what was built"
	fi
	run=(env -u RUNTIME_DIRECTORY -u STATE_DIRECTORY -u HUGEBUS_SOCKET)
	exits 3 "${as[@]}" "${run[@]}" -u XDG_RUNTIME_DIR "HOME=$lab/home" hugebusd
	says 'XDG_RUNTIME_DIR is not set'
	lab_spawn session "${as[@]}" "${run[@]}" "HOME=$lab/home" "XDG_RUNTIME_DIR=$lab/run" "XDG_STATE_HOME=$lab/state" hugebusd
	lab_until 10 test -S "$lab/run/hugebus/hugebus.sock" || { cat "$lab/session.err" >&2; return 1; }
	exits 0 "${as[@]}" "${run[@]}" "HOME=$lab/home" "XDG_RUNTIME_DIR=$lab/run" hugebus topic add here/it/is
	test -s "$lab/state/hugebus/journal.jsonl" || return 1
	lab_stop session TERM || return 1
	lab_spawn home "${as[@]}" "${run[@]}" -u XDG_STATE_HOME "HOME=$lab/home" "XDG_RUNTIME_DIR=$lab/run" hugebusd
	lab_until 10 test -s "$lab/home/.local/state/hugebus/journal.jsonl" || { cat "$lab/home.err" >&2; return 1; }
	lab_stop home TERM || return 1
	mkdir "$lab/service" "$lab/service-state"
	[ ${#as[@]} -eq 0 ] || chown 65534:65534 "$lab/service" "$lab/service-state"
	lab_spawn service "${as[@]}" "${run[@]}" "HOME=$lab/home" "RUNTIME_DIRECTORY=$lab/service" "STATE_DIRECTORY=$lab/service-state" hugebusd
	lab_until 10 test -S "$lab/service/hugebus.sock" || { cat "$lab/service.err" >&2; return 1; }
	test -s "$lab/service-state/journal.jsonl" || return 1
	lab_stop service TERM
}

a_reload_by_command_takes_all_or_nothing_and_shows_the_fault() {
	echo 'topics = ( { name = "conf/one"; } );' >"$lab/conf"
	bus --config "$lab/conf" || return 1
	expect "$(hugebus ls topics --json | jq -r '.[] | select(.configured) | .topic')" = conf/one
	echo 'topics = ( { name = "conf/two"; } );' >"$lab/conf"
	exits 0 hugebus reload
	lab_until 5 _has_topic conf/two || return 1
	echo 'topics = ( { name = "conf/#"; } );' >"$lab/conf"
	exits 1 hugebus reload
	says "$lab/conf"
	_has_topic conf/two || { echo "the old configuration is gone" >&2; return 1; }
	lab_stop hugebusd TERM
}

_has_topic() { [ "$(hugebus ls topics --json | jq -r '.[] | select(.configured) | .topic')" = "$1" ]; }

run_cases "$@"
