#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The command line as its users meet it: a private bus, pipes, signals, exit codes, what scripts read.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
needs_commands jq setpriv timeout stdbuf
[ -x "$HBUS_BUILD/ctl/cli/hugebus" ] || skip_all "hugebus is not built"
[ -x "$HBUS_BUILD/ctl/daemon/hugebusd" ] || skip_all "hugebusd is not built"

every_command_has_help_and_a_version() {
	local command
	for command in '' pub sub topic route ls top stats reload doctor; do
		# shellcheck disable=SC2086
		exits 0 hugebus $command --help
		says 'Usage: hugebus'
		# shellcheck disable=SC2086
		exits 0 hugebus $command --version
		expect "$(cat "$lab/out")" = "$(hugebus --version)"
	done
}

wrong_usage_exits_with_2_and_says_what_is_wrong() {
	exits 2 hugebus
	exits 2 hugebus tpoic && says "did you mean 'topic'"
	exits 2 hugebus pub && says '-t TOPIC is missing'
	exits 2 hugebus pub -t 'a/+' -m x && says "'+' and '#' are for subscribers"
	exits 2 hugebus pub a -m x && says 'behind -t'
	exits 2 hugebus pub -t a && says 'nothing to publish'
	exits 2 hugebus pub -t a -m x -n && says 'only one of'
	exits 2 hugebus pub -t a -m x -r && says 'retains'
	exits 2 hugebus pub -t a --count many && says "'many'"
	exits 2 hugebus pub -t a -m x -h localhost && says 'unknown option -h'
	exits 2 hugebus sub && says '-t FILTER is missing'
	exits 2 hugebus sub -t -v && says 'the topic is missing between -t and -v'
	exits 2 hugebus sub -t 'a/#/b' && says 'not a topic filter'
	exits 2 hugebus sub -t a -C 0
	exits 2 hugebus sub -t a -W soon
	exits 2 hugebus sub -t a --from yesterday
	exits 2 hugebus route add 10.0.0.1 a && says 'the port is missing'
	exits 2 hugebus --socket '' ls && says '--socket needs a PATH'
	exits 2 hugebus ls --socket= && says '--socket needs a PATH'
	exits 2 hugebus ls ring && says "did you mean 'rings'"
}

without_a_daemon_it_exits_with_3_and_says_how_to_start_one() {
	export HUGEBUS_SOCKET=$lab/nobody.sock
	exits 3 hugebus pub -t a -m x
	says "$lab/nobody.sock"
	says "hugebusd"
	exits 3 hugebus ls
	exits 3 hugebus --socket "$lab/other.sock" sub -t a
	says "$lab/other.sock"
}

what_pub_has_sent_is_delivered_after_it_has_exited() {
	bus || return 1
	subscriber one -t a/b -C 3
	exits 0 hugebus pub -t a/b -m first
	exits 0 hugebus pub -t a/b -m second
	kill -STOP "${lab_pids[one]}"
	exits 0 hugebus pub -t a/b -m 'third, while it sleeps'
	kill -CONT "${lab_pids[one]}"
	ended one 0
	expect "$(cat "$lab/one.out")" = $'first\nsecond\nthird, while it sleeps'
}

a_time_limit_exits_with_27() {
	bus || return 1
	exits 27 hugebus sub -t a -W 0.3
	subscriber one -t a -C 2 -W 1
	exits 0 hugebus pub -t a -m x
	ended one 27
	expect "$(cat "$lab/one.out")" = x
}

filters_and_topics_behave_as_mqtt_users_know_them() {
	bus || return 1
	subscriber plus -v -t 'a/+' -C 2
	subscriber hash -v -t 'a/#' -C 3
	subscriber two -v -t b -t 'a/c/d' -C 2
	exits 0 hugebus pub -t a/1 -t a/2 -m x -q 1
	exits 0 hugebus pub -t a/c/d -m y
	exits 0 hugebus pub -t b -n
	ended plus 0
	ended hash 0
	ended two 0
	expect "$(sort "$lab/plus.out")" = $'a/1 x\na/2 x'
	expect "$(sort "$lab/hash.out")" = $'a/1 x\na/2 x\na/c/d y'
	expect "$(sort "$lab/two.out")" = $'a/c/d y\nb '
}

lines_are_visible_before_the_next_one_comes() {
	bus || return 1
	subscriber one -t log
	mkfifo "$lab/lines"
	lab_spawn writer sh -c "hugebus pub -t log -l <'$lab/lines'"
	exec 7>"$lab/lines"
	echo one >&7
	lab_until 5 has_lines "$lab/one.out" 1 || return 1
	printf 'two\nthree without end' >&7
	exec 7>&-
	ended writer 0
	lab_until 5 has_lines "$lab/one.out" 3 || return 1
	expect "$(cat "$lab/one.out")" = $'one\ntwo\nthree without end'
}

files_and_large_messages_arrive_whole() {
	bus || return 1
	head -c 700000 /dev/urandom >"$lab/large"
	subscriber one -t a -C 2 -N
	exits 0 hugebus pub -t a -f "$lab/large"
	timeout 20 hugebus pub -t a -s <"$lab/large"
	expect $? -eq 0
	ended one 0
	cat "$lab/large" "$lab/large" | cmp - "$lab/one.out"
}

load_is_delivered_to_the_event() {
	bus || return 1
	subscriber one --reliable -t 'load/#' -C 200000
	exits 0 hugebus pub -t 'load/%d' --topics 4 --count 200k --size 32 --summary "$lab/pub.json"
	ended one 0
	expect "$(jq .published "$lab/pub.json")" -eq 200000
	expect "$(jq .delivered "$lab/one.json")" -eq 200000
	expect "$(jq -c '[.topics[].delivered]' "$lab/one.json")" = '[50000,50000,50000,50000]'
	expect "$(jq .lost "$lab/one.json")" -eq 0
	# One ring: the order is that of publishing. Each line is 32 bytes and its number.
	cut -d ' ' -f 1 "$lab/one.out" | cmp - <(seq 1 200000)
	expect "$(awk 'length != 32' "$lab/one.out" | wc -l)" -eq 0
}

a_rate_is_kept() {
	local start seconds
	bus || return 1
	start=${EPOCHREALTIME/[.,]/}
	exits 0 hugebus pub -t a --rate 200 --count 200
	seconds=$(((${EPOCHREALTIME/[.,]/} - start) / 1000))
	expect $seconds -ge 950
	expect $seconds -le 4000
}

losses_are_told_exactly() {
	local delivered lost
	bus || return 1
	subscriber one -t a
	kill -STOP "${lab_pids[one]}"
	exits 0 hugebus pub -t a --count 300k --size 100
	kill -CONT "${lab_pids[one]}"
	lab_stop one
	expect $? -eq 0
	delivered=$(jq .delivered "$lab/one.json")
	lost=$(jq .lost "$lab/one.json")
	expect "$(jq .drained "$lab/one.json")" = true
	expect $((delivered + lost)) -eq 300000
	expect "$lost" -gt 0
	expect "$(wc -l <"$lab/one.out")" -eq "$delivered"
	expect "$(jq '[.losses[].count] | add' "$lab/one.json")" -eq "$lost"
	grep -qE '^hugebus sub: lost ring=[0-9]+ first=[0-9]+ count=[0-9]+ reason=lapped$' "$lab/one.err"
	# What was delivered is the rest, in order.
	cut -d ' ' -f 1 "$lab/one.out" | sort -n -c
}

pub_gives_up_on_a_subscriber_that_stands_still() {
	bus || return 1
	subscriber one -t a --reliable --stall 1h
	kill -STOP "${lab_pids[one]}"
	exits 27 hugebus pub -t a --count 300k --size 100 --timeout 0.5 --summary "$lab/pub.json"
	says 'a reliable subscriber is a full ring behind'
	kill -CONT "${lab_pids[one]}"
	lab_stop one
	expect $? -eq 0
	expect "$(jq .delivered "$lab/one.json")" -eq "$(jq .published "$lab/pub.json")"
}

a_closed_pipe_ends_sub() {
	bus || return 1
	lab_spawn pipe bash -c "hugebus sub -t a --ready '$lab/ready' | head -1; echo \${PIPESTATUS[0]}"
	lab_until 10 test -e "$lab/ready" || return 1
	exits 0 hugebus pub -t a -m x
	ended pipe 0
	expect "$(cat "$lab/pipe.out")" = $'x\n0'
}

signals_end_cleanly_with_the_account() {
	local signal
	bus || return 1
	for signal in TERM INT; do
		rm -f "$lab/one.ready"
		subscriber one -t a
		exits 0 hugebus pub -t a --count 1000
		lab_stop one $signal
		expect $? -eq 0
		expect "$(jq -c '[.delivered, .topics[0].topic, .drained]' "$lab/one.json")" = '[1000,"a",true]'
	done
	lab_spawn endless hugebus pub -t a --rate 100 --summary "$lab/endless.json"
	sleep 0.3
	lab_stop endless
	expect $? -eq 0
	expect "$(jq .published "$lab/endless.json")" -gt 0
}

events_are_cloudevents_and_come_back() {
	bus || return 1
	exits 0 hugebus topic add typed --type org.example.reading --content-type application/json
	subscriber one -t '#' -C 4 --json --source 'urn:bus:'
	exits 0 hugebus pub -t typed -m '{"x": 1.50}'
	exits 0 hugebus pub -t plain -m $'two\nlines "quoted"' --timestamp
	printf 'a\0b' | timeout 10 hugebus pub -t binary -s
	exits 0 hugebus pub -t empty -n
	ended one 0
	expect "$(jq -c 'select(.subject == "typed") | [.specversion, .source, .type, .datacontenttype, .data.x * 2]' "$lab/one.out")" \
		= '["1.0","urn:bus:typed","org.example.reading","application/json",3]'
	expect "$(jq -r 'select(.subject == "plain") | .data' "$lab/one.out")" = $'two\nlines "quoted"'
	jq -r 'select(.subject == "plain") | .time' "$lab/one.out" | grep -qE '^20[0-9]{2}-[0-9-]+T[0-9:]+\.[0-9]{9}Z$' || return 1
	expect "$(jq -r 'select(.subject == "binary") | .data_base64' "$lab/one.out")" = YQBi
	expect "$(jq -c 'select(.subject == "empty") | has("data")' "$lab/one.out")" = false
	expect "$(jq -r .id "$lab/one.out" | grep -cE '^[0-9]+:[0-9]+$')" -eq 4
	# Again, from what was printed.
	cp "$lab/one.out" "$lab/events"
	rm "$lab/one.ready"
	subscriber one -t '#' -C 4 --json
	timeout 10 hugebus pub --json <"$lab/events"
	expect $? -eq 0
	ended one 0
	expect "$(jq -c '[.subject, .type, .datacontenttype, .data, .data_base64, .time]' "$lab/one.out")" \
		= "$(jq -c '[.subject, .type, .datacontenttype, .data, .data_base64, .time]' "$lab/events")"
}

sub_begins_where_it_is_told() {
	local place
	bus || return 1
	mkfifo "$lab/lines"
	lab_spawn writer sh -c "hugebus pub -t a -l <'$lab/lines'"
	exec 7>"$lab/lines"
	seq 1 100 >&7
	lab_until 5 _ring_has 100 || return 1
	exits 0 hugebus sub -t a --from earliest -C 100
	seq 1 100 | cmp - "$lab/out" || return 1
	exits 0 hugebus sub -t a --from earliest -C 1 -F '%i'
	place=$(cat "$lab/out")
	exits 0 hugebus sub -t a --from "${place%:*}:$((${place#*:} + 40))" -C 60
	seq 41 100 | cmp - "$lab/out" || return 1
	exits 27 hugebus sub -t a -W 0.3
	expect "$(cat "$lab/out")" = ''
	exec 7>&-
	ended writer 0
}

_ring_has() { [ "$(hugebus ls rings --json | jq '[.[].events] | add // 0')" -ge "$1" ]; }

topics_and_routes_are_listed_and_survive_a_restart() {
	bus || return 1
	exits 0 hugebus topic add a/b c --type t --content-type application/json
	exits 0 hugebus route add 10.0.0.0/8:5000 a/b --vlan none
	exits 0 hugebus route add '[::]:5000' c --vlan 7
	exits 0 hugebus route add '*:6000' --batch
	exits 0 hugebus route add '*:6000' --number 3 c
	lab_stop hugebusd
	bus || return 1
	exits 0 hugebus topic list --json
	expect "$(jq -c '[.[] | [.topic, .type, .datacontenttype, .declared]] | sort' "$lab/out")" \
		= '[["a/b","t","application/json",true],["c","t","application/json",true]]'
	exits 0 hugebus route list --json
	expect "$(jq -c '[.[] | [.destination, .vlan, .kind, .number, .topic]] | sort' "$lab/out")" = \
		'[["0.0.0.0/0:6000","any","batch",0,""],["0.0.0.0/0:6000","any","number",3,"c"],["10.0.0.0/8:5000","none","topic",0,"a/b"],["[::]/0:5000","7","topic",0,"c"]]'
	exits 1 hugebus route remove 10.0.0.0/8:5000
	grep -q 'there is no such route' "$lab/err" || return 1
	exits 0 hugebus route remove 10.0.0.0/8:5000 --vlan none
	exits 0 hugebus route remove '0.0.0.0/0:6000' --number 3
	exits 0 hugebus topic remove a/b
	expect "$(hugebus route list --json | jq length)" -eq 2
	exits 1 hugebus topic remove a/b
	exits 0 hugebus route
	grep -qE '^\[::\]/0:5000 +7 +topic +- +c ' "$lab/out"
}

lists_name_what_is_there() {
	bus || return 1
	subscriber reader -t a/b -t 'c/#' --reliable
	mkfifo "$lab/lines"
	lab_spawn writer sh -c "hugebus pub -i writer -t a/b -l <'$lab/lines'"
	exec 7>"$lab/lines"
	seq 1 10 >&7
	lab_until 5 has_lines "$lab/reader.out" 10 || return 1
	expect "$(hugebus ls topics --json | jq -c '.[] | select(.topic == "a/b") | [.rings, .subscribers]')" = '[1,1]'
	expect "$(hugebus ls rings --json | jq -c '.[] | [.program, .first_topic, .topics, .events, .attachments, .gates, .ended]')" \
		= '["writer","a/b",1,10,1,1,false]'
	expect "$(hugebus ls subscribers --json | jq -c '.[] | [.program, .first_filter, .filters, .rings, .delivered, .lost, .lag, .reliable]')" \
		= '["reader","a/b",2,1,10,0,0,true]'
	expect "$(hugebus ls attachments --json | jq -c '.[] | [.subscriber, .publisher, .delivered, .lag, .reliable, .no_slot]')" \
		= '["reader","writer",10,0,true,false]'
	expect "$(hugebus ls clients --json | jq -c '[.[] | select(.program == "reader" or .program == "writer") | [.program, .rings, .subscribers]] | sort')" \
		= '[["reader",0,1],["writer",1,0]]'
	expect "$(hugebus ls quotas --json | jq -c ".[] | select(.uid == $(id -u)) | .rings")" -eq 1
	expect "$(hugebus ls daemon --json | jq -r '.[0].pid')" -eq "${lab_pids[hugebusd]}"
	expect "$(hugebus stats --json | jq -c 'keys')" = \
		'["attachments","counters","daemon","quotas","rings","subscribers","topics"]'
	exits 0 hugebus ls
	says 'FIRST TOPIC'
	exits 0 hugebus stats
	exec 7>&-
	ended writer 0
}

stats_are_valid_prometheus_text() {
	local line family='' label='[a-z_]+="([^"\\]|\\["\\n])*"'
	bus || return 1
	subscriber quoted -i 'a "quoted\" name' -t 'a/#'
	exits 0 hugebus pub -t a/b -m x
	exits 0 hugebus stats --prometheus
	expect "$(grep -c '^hugebus_subscriber_delivered_total{.*} 1$' "$lab/out")" -eq 1
	while IFS= read -r line; do
		case $line in
		'# HELP '*) [[ $line =~ ^'# HELP '([a-z_]+)' '.+$ ]] || break; family=${BASH_REMATCH[1]} ;;
		'# TYPE '*) [[ $line =~ ^"# TYPE $family "(counter|gauge|untyped)$ ]] || break ;;
		*) [[ $line =~ ^$family(\{$label(,$label)*\})?' '[0-9]+$ ]] || break ;;
		esac
		line=
	done <"$lab/out"
	expect "$line" = ''
	expect "$(grep '^# TYPE' "$lab/out" | sort | uniq -d | wc -l)" -eq 0
}

top_prints_rates_where_there_is_no_terminal() {
	bus || return 1
	subscriber one -t load
	lab_spawn load hugebus pub -i load -t load --rate 1000
	exits 0 hugebus top -n 2 -d 0.5
	expect "$(grep -c 'EVENTS/S' "$lab/out")" -eq 2
	expect "$(grep -c 'DELIVERED/S' "$lab/out")" -eq 2
	grep -qE '^published +[0-9.]+k?/s' "$lab/out"
}

a_waiting_sub_survives_a_restart_of_the_daemon() {
	bus || return 1
	subscriber one -t a
	exits 0 hugebus pub -t a -m before
	lab_stop hugebusd KILL
	sleep 0.3
	lab_is_running one || return 1
	bus || return 1
	# It comes back by itself; until then its subscription does not stand.
	lab_until 10 _is_listed one || return 1
	exits 0 hugebus pub -t a -m after
	lab_until 5 has_lines "$lab/one.out" 2 || return 1
	lab_stop one
	expect $? -eq 0
	expect "$(cat "$lab/one.out")" = $'before\nafter'
}

_is_listed() { [ "$(hugebus ls subscribers --json | jq "[.[] | select(.program == \"$1\")] | length")" -eq 1 ]; }

without_its_daemon_sub_goes_on_and_ends_at_once() {
	local start
	bus || return 1
	subscriber one -t a
	mkfifo "$lab/lines"
	lab_spawn writer sh -c "hugebus pub -t a -l <'$lab/lines'"
	exec 7>"$lab/lines"
	echo before >&7
	lab_until 5 has_lines "$lab/one.out" 1 || return 1
	lab_stop hugebusd KILL
	echo after >&7
	lab_until 5 has_lines "$lab/one.out" 2 || return 1
	start=${EPOCHREALTIME/[.,]/}
	lab_stop one
	expect $? -eq 0
	expect $((${EPOCHREALTIME/[.,]/} - start)) -lt 1500000
	exec 7>&-
	ended writer 0
	expect "$(jq -c '[.delivered, .lost, .drained]' "$lab/one.json")" = '[2,0,true]'
}

doctor_says_what_is_missing_and_how_to_mend_it() {
	local code
	bus || return 1
	timeout 10 hugebus doctor --json >"$lab/out"
	code=$?
	expect $code -le 1
	expect "$(jq -r '.[] | select(.check == "daemon") | .level' "$lab/out")" = ok
	expect "$(jq '[.[] | select(.level == "less" and (.cost == null or .mend == null))] | length' "$lab/out")" -eq 0
	expect "$(jq '[.[] | select(.level == "less")] | length > 0' "$lab/out")" = "$([ $code -eq 1 ] && echo true || echo false)"
	# Without a daemon something is missing.
	export HUGEBUS_SOCKET=$lab/nobody.sock
	exits 1 hugebus doctor
	says "no daemon at $lab/nobody.sock"
	says 'costs:'
}

# takes MILLISECONDS COMMAND...: not longer.
takes() {
	local most=$1 started=${EPOCHREALTIME/[.,]/}
	shift
	"$@"
	expect $((${EPOCHREALTIME/[.,]/} / 1000 - started / 1000)) -le "$most"
}

sub_ends_soon_although_the_daemon_stands_still_or_is_gone() {
	bus || return 1
	subscriber one -t t -v
	hugebus pub -t t -m seen || return 1
	kill -STOP "${lab_pids[hugebusd]}"
	takes 3000 lab_stop one
	kill -CONT "${lab_pids[hugebusd]}"
	expect "$(cat "$lab/one.out")" = 't seen'
	subscriber two -t t
	lab_stop hugebusd
	takes 2000 lab_stop two
}

other_commands_are_programs_of_their_own() {
	mkdir "$lab/libexec"
	printf '#!/bin/sh\necho "$HUGEBUS_SOCKET $@"; exit 9\n' >"$lab/libexec/hugebus-greet"
	chmod +x "$lab/libexec/hugebus-greet"
	HUGEBUS_LIBEXECDIR=$lab/libexec exits 9 hugebus --socket /x/y greet --loud you
	says '/x/y --loud you'
	exits 2 hugebus greet
	says "unknown command 'greet'"
}

the_examples_meet() {
	bus || return 1
	lab_spawn one stdbuf -oL "$HBUS_BUILD/examples/subscriber" "$HUGEBUS_SOCKET"
	lab_until 10 _is_listed subscriber || return 1
	exits 0 "$HBUS_BUILD/examples/publisher" "$HUGEBUS_SOCKET"
	ended one 0
	expect "$(wc -l <"$lab/one.out")" -eq 10
	expect "$(tail -n 1 "$lab/one.out")" = 'examples/greeting: hello 10'
}

a_pipe_becomes_events_and_events_lines() {
	bus || return 1
	mkfifo "$lab/in"
	lab_spawn pipe bash -c '"$1" "reply/#" <"$2"' bash "$HBUS_BUILD/examples/pipe" "$lab/in"
	exec {in}>"$lab/in"
	lab_until 10 _is_listed pipe || return 1
	lab_spawn all hugebus sub -t 'sensor/#' -v -C 2002 -W 20 --ready "$lab/all.ready" --reliable
	lab_until 10 test -e "$lab/all.ready" || return 1
	printf 'sensor/a 1\nno-text\nsensor/+ x\nsensor/b two words\n' >&$in
	seq -f 'sensor/a %g' 2000 >&$in
	ended all 0
	expect "$(head -n 2 "$lab/all.out" | tr '\n' ,)" = "sensor/a 1,sensor/b two words,"
	expect "$(tail -n 1 "$lab/all.out")" = "sensor/a 2000"
	exits 0 hugebus pub -t reply/x -m pong
	lab_wait_line pipe '^reply/x pong$' || return 1
	exec {in}>&-
	ended pipe 0
	grep -q 'no text behind the topic: no-text' "$lab/pipe.err" && grep -q 'sensor/+: topic name' "$lab/pipe.err"
}

run_cases "$@"
