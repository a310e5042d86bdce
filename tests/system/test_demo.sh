#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The demonstration ends with an account that balances, and the account can fail: every number that
# somebody has counted is changed by one, and must be missed.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
[ -x "$HBUS_BUILD/dataplane/hugebus-ingress" ] || skip_all "hugebus-ingress is not built (DPDK, liburcu)"
demo=$top/examples/demo
readonly NOBODY=65534

_show() { "$demo/demo" --build "$HBUS_BUILD" --seconds 2 --rate 500 "$@" >"$lab/said" 2>&1 || { cat "$lab/said"; return 1; }; }

_balances() { grep -q '^The account balances: ' "$lab/said"; }

# _is_missed PATTERN FILE KIND: adds one to the number behind the first match and wants that seen.
_is_missed() {
	local file=$lab/kept/$2 found number
	cp "$file" "$lab/whole"
	found=$(grep -oE -m 1 -- "$1[0-9]+" "$file" | head -n 1)
	number=${found##*[!0-9]}
	[ -n "$number" ] || { echo "no number behind $1 in $2"; return 1; }
	sed -i "s|$found|${found%"$number"}$((number + 1))|" "$file"
	if "$demo/account.py" "$lab/kept" "$3" >"$lab/account"; then
		echo "one more behind $1 in $2 was not seen"
		return 1
	fi
	cp "$lab/whole" "$file"
}

# The same for what MQTT clients have counted, where there are any.
_mqtt_is_missed() {
	[ -e "$lab/kept/mqtt.json" ] || return 0
	_is_missed '"sent": ' mosquitto_pub.json "$1" &&
		_is_missed '"counter": ?"publishes_in", ?"value": ?' mqtt.json "$1" &&
		_is_missed '"counter": ?"dropped_queue", ?"value": ?' mqtt.json "$1" || return 1
	echo room/door >>"$lab/kept/mosquitto_sub.out"
	! "$demo/account.py" "$lab/kept" "$1" >/dev/null || { echo "one more of mosquitto_sub was not seen" && return 1; }
	sed -i '$d' "$lab/kept/mosquitto_sub.out"
	"$demo/account.py" "$lab/kept" "$1" >/dev/null
}

over_a_network_it_balances_and_every_miscount_is_seen() {
	[ "$(id -u)" -eq 0 ] || return 0
	mkdir "$lab/kept"
	_show --keep "$lab/kept" && _balances || return 1
	grep -q 'filter in the driver' "$lab/said" || { cat "$lab/said"; return 1; }
	"$demo/account.py" "$lab/kept" live >/dev/null || return 1
	_is_missed '"5001": ' devices.out live &&
		_is_missed '"5002": ' devices.out live &&
		_is_missed '"9999": ' devices.out live &&
		_is_missed '"datagrams": ' devices.out live &&
		_is_missed '"refused": ' devices.out live &&
		_is_missed '"unknown_port":' ingress.out live &&
		_is_missed '"missed":' ingress.out live &&
		_is_missed '"published": ' mqttsn-level.json live &&
		_is_missed '"datagrams": ' mqttsn-draft.json live &&
		_is_missed '"topic":"tank/level","received":[0-9]+,"published":' ingress.out live &&
		_is_missed '"mqttsn":."published":[0-9]+,"passed":' ingress.out live &&
		_is_missed '"bad_batch":' ingress.out live &&
		_is_missed '"topic":"plant/temperature","received":[0-9]+,"published":' ingress.out live &&
		_is_missed '"topic":"plant/vibration","accepted":[0-9]+,"bad_length":[0-9]+,"no_interest":' ingress.out live &&
		_is_missed '"tx":.*"dropped":' link-after.json live &&
		_is_missed '"topic": ?"local/clock", ?"published": ?' publisher.json live &&
		_is_missed '"topic": ?"local/clock", ?"delivered": ?' reliable.json live &&
		_is_missed '"topic": ?"room/door", ?"delivered": ?' lossy.json live &&
		_mqtt_is_missed live &&
		_is_missed '"lost": ?' reliable.json live &&
		_is_missed '"lost": ?' lossy.json live &&
		_is_missed '"delivered": ?' lossy.json live
}

from_a_capture_it_balances_and_every_miscount_is_seen() {
	mkdir "$lab/kept"
	_show --no-root --keep "$lab/kept" && _balances || return 1
	"$demo/account.py" "$lab/kept" capture >/dev/null && _mqtt_is_missed capture || return 1
	_is_missed '"5001": ' capture.json capture &&
		_is_missed '"frames": ' capture.json capture &&
		_is_missed '"fragment": ' capture.json capture &&
		_is_missed '"bad_checksum":' ingress-1.out capture &&
		_is_missed '"topic":"meter/gas","received":[0-9]+,"published":[0-9]+,"no_interest":' ingress-2.out capture
}

# _ends_alone SIGNAL STATUS [OPTION...]: in the middle of its show; nothing of its session stays, whatever it has started.
_ends_alone() {
	local signal=$1 status=$2
	shift 2
	mkdir -p "$lab/tmp"
	TMPDIR=$lab/tmp lab_spawn show setsid env --default-signal=INT,QUIT "$demo/demo" --build "$HBUS_BUILD" --seconds 6 --rate 100 "$@"
	lab_wait_line show '^ +[0-9]+ \|' 20 || return 1
	kill "-$signal" -- "-${lab_pids[show]}"
	wait "${lab_pids[show]}"
	expect $? -eq "$status"
	lab_until 3 _is_empty "${lab_pids[show]}" || { ps -o pid,args -s "${lab_pids[show]}"; return 1; }
	grep -q Traceback "$lab/show.err" && { cat "$lab/show.err"; return 1; }
	expect -z "$(ls -A "$lab/tmp")"
}

_is_empty() { ! pgrep -s "$1" >/dev/null; }

told_to_end_it_leaves_nothing() {
	_ends_alone TERM 143
}

interrupted_it_leaves_nothing() {
	_ends_alone INT 130 --no-root
}

who_reads_the_first_lines_only_hears_no_complaint() {
	"$demo/demo" --build "$HBUS_BUILD" --seconds 1 --rate 100 --no-root 2>"$lab/complaint" | head -n 2 >/dev/null
	[ ! -s "$lab/complaint" ] || { cat "$lab/complaint"; return 1; }
}

an_ordinary_user_is_told_what_is_less() {
	[ "$(id -u)" -eq 0 ] || return 0
	chmod 755 "$lab"
	# Where that user cannot even read the tree there is nothing to show.
	setpriv --reuid $NOBODY --regid $NOBODY --clear-groups test -r "$demo/lab.sh" -a -x "$HBUS_BUILD/ctl/cli/hugebus" || return 0
	setpriv --reuid $NOBODY --regid $NOBODY --clear-groups env -u HOME -u HUGEBUS_SOCKET \
		"$demo/demo" --build "$HBUS_BUILD" --seconds 1 >"$lab/said" 2>&1 || { cat "$lab/said"; return 1; }
	_balances && grep -q '^Less: packets come from a capture' "$lab/said"
}

run_cases "$@"
