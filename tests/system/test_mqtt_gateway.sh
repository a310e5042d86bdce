#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# hugebus-mqtt as a program: what happens around it (a daemon that does not answer, signals, restarts, many
# connections), with clients that others wrote. What they say to each other is test_mqtt.sh.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
. "$system_dir/mqtt.sh"
needs_commands mosquitto_pub mosquitto_sub
PATH=$HBUS_BUILD/dataplane/mqtt:$PATH

# Whoever asks first for this port gets it; in a namespace of its own a test would need root.
port=$((20000 + ($$ + 7000) % 12000))

_start_daemon() {
	export HUGEBUS_SOCKET=$lab/bus
	lab_spawn daemon hugebusd --socket "$lab/bus" "$@"
	lab_until 5 test -S "$lab/bus"
}

_start_gateway() {
	lab_spawn gateway hugebus-mqtt --socket "$lab/bus" --listen "127.0.0.1:$port" "$@"
	lab_wait_line gateway serving
}

_start() {
	_start_daemon
	_start_gateway --allow-anonymous "$@"
}

pub() { timeout 30 mosquitto_pub -p "$port" "$@"; }

# sub NAME ARGUMENTS...: in the background; ready when the broker has acknowledged.
sub() {
	local name=$1
	shift
	lab_spawn "$name" stdbuf -oL mosquitto_sub -d -p "$port" "$@"
	lab_wait_line "$name" SUBACK
}

a_daemon_that_does_not_answer_holds_up_only_who_needs_its_answer() {
	_start
	sub all -t '#' -v
	pub -t known -m 1 -q 1 || return 1
	kill -STOP "${lab_pids[daemon]}"
	lab_spawn waits timeout 20 mosquitto_pub -p "$port" -t unknown -m 2 -q 1
	lab_spawn asks stdbuf -oL mosquitto_sub -d -p "$port" -t a/filter
	lab_wait_line asks CONNACK
	for n in 3 4 5; do
		timeout 20 mosquitto_pub -p "$port" -t known -m $n -q 1 || return 1
	done
	hears all "known 5" || return 1
	! grep -q "unknown 2" "$lab/all.out" || return 1
	! grep -q SUBACK "$lab/asks.out" || return 1
	kill -CONT "${lab_pids[daemon]}"
	hears all "unknown 2" || return 1
	lab_wait_line asks SUBACK
}

three_threads_are_one_broker() {
	_start --threads 3
	local i
	for i in 1 2 3 4 5 6; do
		sub "plain$i" -t 'x/#' -q 1
		sub "shared$i" -V mqttv5 -t '$share/g/x/#' -q 1
	done
	for i in 1 2 3; do
		seq "${i}0000" "${i}0499" | timeout 60 mosquitto_pub -p "$port" -t "x/$i" -q 1 -l || return 1
	done
	pub -t x/end -m end -q 1
	for i in 1 2 3 4 5 6; do
		hears "plain$i" end || return 1
		for n in 1 2 3; do
			heard "plain$i" | grep "^$n" | cmp - <(seq "${n}0000" "${n}0499") || return 1
		done
	done
	lab_until 30 _all_shared_came || return 1
	# Each message went to one member, and to more than one member in all.
	expect "$(for i in 1 2 3 4 5 6; do heard "shared$i"; done | sort | uniq -d)" = ""
	expect "$(for i in 1 2 3 4 5 6; do heard "shared$i" | head -n 1; done | wc -l)" = 6
}

_all_shared_came() { [ "$(for i in 1 2 3 4 5 6; do heard "shared$i"; done | wc -l)" = 1501 ]; }

a_session_is_taken_over_from_another_thread() {
	_start --threads 4
	local i
	for i in 1 2 3 4 5 6; do
		sub "taker$i" -i same -c -q 1 -t t
	done
	pub -t t -m last -q 1
	hears taker6 last || return 1
	lab_stop taker6
	pub -t t -m "while away" -q 1
	sub taker7 -i same -c -q 1 -t t
	hears taker7 "while away" || return 1
	! grep -q last "$lab"/taker[1-5].out || return 1
	lab_until 20 _counts mqtt takeovers 5
}

# _counts SET COUNTER VALUE
_counts() { hugebus stats | grep -qE "$1 +$2 +$3 "; }

# Resident memory of the gateway in KiB.
_memory() { awk '$1 == "VmRSS:" { print $2 }' "/proc/${lab_pids[gateway]}/status"; }

ten_thousand_clients_connect() {
	local before
	if [ "$(ulimit -Hn)" -lt 10100 ]; then
		echo "not tried: $(ulimit -Hn) descriptors are too few for 10000 clients" >&2
		return 0
	fi
	_start --threads 2
	before=$(_memory)
	timeout 60 python3 - "$port" "${lab_pids[gateway]}" "$before" <<-'END' || { tail -n 5 "$lab/gateway.err"; return 1; }
		import resource, select, socket, sys
		N = 10000
		resource.setrlimit(resource.RLIMIT_NOFILE, (10100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
		socks = []
		for i in range(N):
		    # One source address has 28 000 ports, of which others may have some.
		    s = socket.socket()
		    s.bind(("127.0.0.%d" % (2 + i % 4), 0))
		    s.connect(("127.0.0.1", int(sys.argv[1])))
		    name = b"c%05d" % i
		    s.sendall(b"\x10\x12\0\4MQTT\4\2\0\0\0\6" + name + b"\x82\x0d\0\1\0\x08n/" + name + b"\0")
		    socks.append(s)
		for s in socks:
		    got = s.recv(9, socket.MSG_WAITALL)
		    assert got == b"\x20\2\0\0\x90\3\0\1\0", got
		# They say nothing: that is what they cost.
		with open(f"/proc/{sys.argv[2]}/status") as status:
		    rss = int([line.split()[1] for line in status if line.startswith("VmRSS:")][0])
		each = (rss - int(sys.argv[3])) * 1024 // N
		print(f"# {N} idle clients with a subscription each: {rss // 1024} MiB, {each} bytes each", file=sys.stderr)
		assert each < 8192, each
		# Each tells the next one something, and hears something.
		for i, s in enumerate(socks):
		    s.sendall(b"\x30\x0d\0\x08n/c%05dabc" % ((i + 1) % N))
		for i, s in enumerate(socks):
		    got = s.recv(15, socket.MSG_WAITALL)
		    assert got == b"\x30\x0d\0\x08n/c%05dabc" % i, (i, got)
	END
	lab_until 20 _counts mqtt connects 10000
}

# HBUS_CHURN_SECONDS makes it long.
clients_that_come_and_go_and_subscribe_again_at_once_miss_nothing() {
	command -v python3 >/dev/null || skip "needs python3"
	_start
	timeout $((${HBUS_CHURN_SECONDS:-3} + 60)) \
		python3 "$system_dir/mqtt_churn.py" 127.0.0.1 "$port" "${HBUS_CHURN_SECONDS:-3}"
}

thousands_of_topics_share_one_ring() {
	_start
	sub all -t 'n/#' -F %t
	seq -f 'n/%.0f/a' 5000 >"$lab/topics"
	timeout 60 python3 - "$port" "$lab/topics" <<-'END' || return 1
		import socket, sys
		s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
		s.sendall(b"\x10\x0c\0\4MQTT\4\2\0\0\0\0")
		assert s.recv(4, socket.MSG_WAITALL) == b"\x20\2\0\0"
		for n, topic in enumerate(open(sys.argv[2], "rb").read().split(), 1):
		    body = bytes([0, len(topic)]) + topic + n.to_bytes(2, "big") + b"x"
		    s.sendall(bytes([0x32, len(body)]) + body)
		    if n % 100 == 0:
		        assert len(s.recv(400, socket.MSG_WAITALL)) == 400
	END
	lab_until 20 _has_heard 5000 || return 1
	heard all | cmp - "$lab/topics" || return 1
	expect "$(hugebus ls rings --json | jq length)" = 1
}

_has_heard() { [ "$(heard all | wc -l)" -ge "$1" ]; }

a_port_that_is_none_is_not_listened_on() {
	local wrong
	_start_daemon || return 1
	for wrong in 0 65536 85536 -1 18446744073709571616 1x; do
		timeout 5 hugebus-mqtt --socket "$lab/bus" --listen "127.0.0.1:$wrong" --allow-anonymous 2>"$lab/err"
		expect $? -eq 1
		expect "$(cat "$lab/err")" = "hugebus-mqtt: cannot listen on 127.0.0.1:$wrong: it is neither HOST:PORT nor PORT, a port being 1 to 65535"
	done
	exits 1 hugebus-mqtt --socket "$lab/bus" --listen no.such.host.invalid:1883 --allow-anonymous
	grep -q 'cannot listen on no.such.host.invalid:1883: .*[Nn]ame' "$lab/err"
}

too_few_descriptors_are_said_and_refuse_nobody_else() {
	_start_daemon
	# Who may raise the limit does.
	prlimit --nofile=200:200 bash -c '! ulimit -n 300' 2>/dev/null || return 0
	lab_spawn gateway prlimit --nofile=200:200 hugebus-mqtt --socket "$lab/bus" --listen "127.0.0.1:$port" --allow-anonymous
	lab_wait_line gateway serving
	grep -q 'at most 136 connections, since this process may have 200 descriptors' "$lab/gateway.err" || return 1
	timeout 20 python3 - "$port" <<-'END' || return 1
		import socket, sys
		hello = b"\x10\x0c\0\4MQTT\4\2\0\0\0\0"
		socks, n_refused = [], 0
		for i in range(250):
		    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
		    s.settimeout(5)
		    try:
		        s.sendall(hello)
		        n_refused += s.recv(4) != b"\x20\2\0\0"
		    except ConnectionError:
		        n_refused += 1
		    socks.append(s)
		assert n_refused == 250 - 136, n_refused
		socks[0].sendall(b"\xc0\0")
		assert socks[0].recv(2) == b"\xd0\0"
	END
	lab_until 20 _counts mqtt connects_limited 114
}

# Where there is no IPv6, "localhost" is ::1 all the same.
a_name_is_served_at_those_of_its_addresses_that_are_here() {
	[ "$(id -u)" -eq 0 ] || skip "needs root (a host without IPv6)"
	_start_daemon
	printf '::1 localhost\n127.0.0.1 localhost\n' >"$lab/hosts"
	cat >"$lab/inner" <<-'END'
		mount --bind "$1/hosts" /etc/hosts && ip link set lo up && echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 || exit 77
		hugebus-mqtt --socket "$1/bus" --listen '[::1]:1883' --allow-anonymous && exit 1
		hugebus-mqtt --socket "$1/bus" --listen localhost:1883 --allow-anonymous &
		for i in $(seq 100); do
			mosquitto_pub -h 127.0.0.1 -t here -m yes -q 1 && break
			sleep 0.1
		done
		kill %1 && wait %1
	END
	lab_spawn reader hugebus --socket "$lab/bus" sub -t here -C 1 -W 20
	lab_until 10 _is_subscribed_to here || return 1
	timeout 30 unshare -nm bash "$lab/inner" "$lab" >"$lab/said" 2>&1
	status=$?
	[ $status -ne 77 ] || skip "IPv6 cannot be switched off here"
	expect $status -eq 0 || { cat "$lab/said" >&2; return 1; }
	grep -q 'cannot listen on .::1.:1883: Cannot assign requested address' "$lab/said" || return 1
	lab_until 10 lab_has_ended reader || return 1
	expect "$(cat "$lab/reader.out")" = "yes"
}

_is_subscribed_to() { hugebus --socket "$lab/bus" ls | grep -q "$1"; }

one_address_has_as_many_connections_as_it_may_and_others_theirs() {
	_start --connections-per-address 3 --listen "unix:$lab/mqtt"
	sub one -t 'share/#' -C 4 && sub two -t 'share/#' || return 1
	pub -t share/a -m third -q 1 || return 1
	sub three -t 'share/#' || return 1
	pub -t share/a -m fourth -q 1 2>/dev/null && { echo "a fourth connection was taken" >&2; return 1; }
	lab_until 20 _counts mqtt-gateway refused_address 1 || return 1
	pub -A 127.0.0.2 -t share/a -m "another address" -q 1 || return 1
	pub --unix "$lab/mqtt" -t share/a -m "no address" -q 1 || return 1
	hears three "no address" || return 1
	# Room again when one has ended.
	lab_stop two
	lab_until 20 pub -t share/a -m "room again" -q 1 2>/dev/null || return 1
	lab_until 20 lab_has_ended one || return 1
	expect "$(heard one | tr '\n' ,)" = "third,another address,no address,room again,"
}

each_limit_is_kept_and_counted() {
	_start --connect-timeout 1 --packet-max 65536 --connections-max 20 --sessions-max 25 --receive-max 8 --inflight-max 4 \
		--queue-max 10 --memory-max 1000000 --retained-max 10 --promises-max 5 --subscriptions-max 4 --stall 1
	timeout 60 python3 "$system_dir/mqtt_limits.py" "$port" "$lab/bus"
}

passwords_are_read_again_on_sighup() {
	echo secret | hugebus-mqtt --hash-password ann >"$lab/passwords"
	_start_daemon
	_start_gateway --password-file "$lab/passwords"
	! pub -u bob -P other -t t -m x -q 1 2>/dev/null || return 1
	echo other | hugebus-mqtt --hash-password bob >>"$lab/passwords"
	kill -HUP "${lab_pids[gateway]}"
	lab_wait_line gateway 'read again, 2 names' 20
	pub -u bob -P other -t t -m x -q 1 || return 1
	pub -u ann -P secret -t t -m x -q 1 || return 1
	echo "nobody:plain" >"$lab/passwords"
	kill -HUP "${lab_pids[gateway]}"
	lab_wait_line gateway 'passwords:1 is wrong' 20
	pub -u bob -P other -t t -m x -q 1 || return 1
	lab_until 10 _counts mqtt-gateway reloads 2
}

_restart() {
	lab_stop gateway "$@"
	_start_gateway --allow-anonymous --state "$lab/state"
}

state_outlives_an_orderly_end() {
	_start --state "$lab/state"
	pub -t r/1 -m kept -r -q 1
	sub keeper -i keeper -c -q 1 -t s
	lab_stop keeper
	pub -t s -m while-away -q 1
	_restart
	pub -t s -m after -q 1
	expect "$(timeout 5 mosquitto_sub -p "$port" -t 'r/#' -C 1 -F '%r %t %p')" = "1 r/1 kept"
	sub again -i keeper -c -q 1 -t s
	hears again while-away || return 1
	hears again after || return 1
	expect "$(stat -c %a "$lab/state/mqtt.state")" = 600
}

state_outlives_a_kill() {
	_start --state "$lab/state"
	local i
	for i in 1 2 3; do
		pub -t "r/$i" -m "$i" -r -q 1
		sub "keeper$i" -i "keeper$i" -c -q 1 -t s
		lab_stop "keeper$i"
		pub -t s -m "m$i" -q 1
		_restart KILL 2>/dev/null
		expect ! -e "$lab/state/mqtt.state.bad"
	done
	expect "$(timeout 5 mosquitto_sub -p "$port" -t 'r/#' -C 3 | sort | tr '\n' ' ')" = "1 2 3 "
	sub again -i keeper1 -c -q 1 -t s
	for i in 1 2 3; do
		hears again "m$i" || return 1
	done
}

a_kill_under_load_loses_nothing_that_was_acknowledged() {
	_start_daemon
	timeout 560 python3 "$system_dir/mqtt_kill.py" "${HBUS_KILLS:-4}" "$port" hugebus-mqtt --socket "$lab/bus" \
		--listen "127.0.0.1:$port" --allow-anonymous --state "$lab/state" --queue-max 1000000 --threads 2 \
		--queue-bytes-max 1000000000 --memory-max 2000000000
}

# The journal's last bytes are lost, as they are when the disk was still to get them.
a_torn_journal_is_read_to_where_it_is_whole() {
	_start --state "$lab/state"
	pub -t r/1 -m one -r -q 1
	pub -t r/2 -m two -r -q 1
	lab_stop gateway KILL 2>/dev/null
	local journal
	journal=$(echo "$lab"/state/mqtt.journal.*)
	truncate -s -1 "$journal"
	_start_gateway --allow-anonymous --state "$lab/state"
	grep -q 'bytes of the journal are torn' "$lab/gateway.err" || return 1
	expect "$(timeout 5 mosquitto_sub -p "$port" -t 'r/#' -C 1)" = one
	lab_stop gateway
	expect "$(ls "$lab/state")" = "$(printf 'lock\nmqtt.state')"
}

a_damaged_state_is_put_aside() {
	_start --state "$lab/state"
	pub -t r/1 -m kept -r -q 1
	lab_stop gateway
	printf x | dd of="$lab/state/mqtt.state" bs=1 seek=30 conv=notrunc 2>/dev/null
	_start_gateway --allow-anonymous --state "$lab/state"
	grep -q 'mqtt.state is damaged' "$lab/gateway.err" || return 1
	expect -e "$lab/state/mqtt.state.bad"
	pub -t r/2 -m new -r -q 1
}

# _ends_within MILLISECONDS, with status 0, on SIGTERM
_ends_within() {
	local begin=${EPOCHREALTIME/[.,]/} status
	kill -TERM "${lab_pids[gateway]}"
	wait "${lab_pids[gateway]}"
	status=$?
	unset "lab_pids[gateway]"
	expect $status = 0
	expect $(((${EPOCHREALTIME/[.,]/} - begin) / 1000)) -lt "$1"
}

it_ends_soon_whether_the_daemon_answers_or_not() {
	_start --state "$lab/state"
	sub one -t 'a/#' -i one -c -q 1
	pub -t r -m kept -r -q 1
	_ends_within 1000
	_start_gateway --allow-anonymous --state "$lab/state"
	sub two -t 'b/#'
	kill -STOP "${lab_pids[daemon]}"
	lab_spawn asks stdbuf -oL mosquitto_sub -d -p "$port" -t c/filter
	lab_wait_line asks CONNACK
	_ends_within 1000
	# It may be asked to end while it waits for its daemon.
	lab_spawn gateway hugebus-mqtt --socket "$lab/bus" --listen "127.0.0.1:$port" --allow-anonymous
	sleep 0.3
	_ends_within 1000
	kill -CONT "${lab_pids[daemon]}"
	_start_gateway --allow-anonymous --state "$lab/state"
	sub three -t 'd/#'
	lab_stop daemon KILL 2>/dev/null
	_ends_within 1000
	_start_daemon
	_start_gateway --allow-anonymous --state "$lab/state"
	expect "$(timeout 5 mosquitto_sub -p "$port" -t r -C 1)" = kept
}

two_gateways_do_not_share_a_state() {
	_start --state "$lab/state"
	timeout 5 hugebus-mqtt --socket "$lab/bus" --listen "127.0.0.1:$((port + 1))" --allow-anonymous \
		--state "$lab/state" 2>"$lab/second"
	expect $? = 1
	grep -q "another gateway's" "$lab/second"
}

a_full_disk_leaves_the_old_state_and_serves_on() {
	[ "$EUID" = 0 ] || return 0
	mkdir "$lab/disk"
	unshare -m true 2>/dev/null || return 0
	mount -t tmpfs -o size=64k tmpfs "$lab/disk" 2>/dev/null || return 0
	_full_disk
	local r=$?
	lab_stop gateway
	umount "$lab/disk"
	return $r
}

_full_disk() {
	_start --state "$lab/disk/state"
	pub -t r/1 -m small -r -q 1
	lab_until 10 test -s "$lab/disk/state/mqtt.state" || return 1
	head -c 100000 /dev/zero | tr '\0' x >"$lab/large"
	pub -t r/2 -q 1 -r -f "$lab/large" || return 1
	lab_wait_line gateway 'could not be saved' 20 || return 1
	pub -t r/3 -m more -r -q 1 || return 1
	expect -s "$lab/disk/state/mqtt.state"
	expect ! -e "$lab/disk/state/mqtt.state.new"
	pub -t r/2 -n -r -q 1
	lab_wait_line gateway 'is saved again' 20
}

_with_policy() { printf 'policy = (\n%s\n);\n' "$1" >"$lab/bus.conf"; }

policy_says_what_a_client_may_do() {
	local rules='{ client = "ann"; filter = "room/#"; allow = [ "publish", "subscribe" ]; },
		{ client = "*"; filter = "public/#"; allow = [ "publish", "subscribe" ]; }'
	{ echo secret | hugebus-mqtt --hash-password ann; echo secret | hugebus-mqtt --hash-password bob; } >"$lab/passwords"
	_with_policy "$rules"
	_start_daemon --config "$lab/bus.conf"
	_start_gateway --password-file "$lab/passwords"
	sub ann -V mqttv5 -u ann -P secret -t 'room/#' -t 'public/#' -t '#' -v -q 1
	lab_until 20 grep -q 'Subscribed (mid: 1): 1, 1, 135' "$lab/ann.out" || return 1
	sub bob -V mqttv5 -u bob -P secret -t 'room/1' -t 'public/+' -v
	lab_until 20 grep -q 'Subscribed (mid: 1): 135, 0' "$lab/bob.out" || return 1
	pub -V mqttv5 -u ann -P secret -t room/1 -m yes -q 1 || return 1
	pub -V mqttv5 -d -u bob -P secret -t room/1 -m no -q 1 2>&1 | grep -q 'RC:135' || return 1
	pub -V mqttv5 -u bob -P secret -t public/1 -m all -q 1 || return 1
	hears ann "room/1 yes" || return 1
	hears ann "public/1 all" || return 1
	hears bob "public/1 all" || return 1
	expect "$(heard ann | wc -l) $(heard bob | wc -l)" = "2 1"
	_with_policy '{ client = "bob"; filter = "#"; allow = [ "publish", "subscribe" ]; }'
	kill -HUP "${lab_pids[daemon]}"
	lab_wait_line gateway 'policy has 1 rules' 20 || return 1
	pub -V mqttv5 -u bob -P secret -t room/1 -m unheard -q 1 || return 1
	pub -V mqttv5 -u bob -P secret -t public/1 -m more -q 1 || return 1
	hears bob "public/1 more" || return 1
	! grep -q unheard "$lab/ann.out" || return 1
	lab_until 20 _counts mqtt subscriptions_revoked 2
}

a_declared_type_reaches_mqtt_clients() {
	_start_daemon
	hugebus topic add ce --type org.example.reading --content-type application/json || return 1
	_start_gateway --allow-anonymous --cloudevents
	sub five -V mqttv5 -t ce -F '%p|%C|%P'
	hugebus pub -t ce -m '{}' || return 1
	lab_wait_line five '^\{\}\|application/json\|.*type:org.example.reading' 20
}

a_publisher_waits_for_a_reliable_reader_that_is_behind() {
	local n=20000
	_start --ring-bytes 65536 || return 1
	lab_spawn reader hugebus --socket "$lab/bus" sub -t 'flood/#' --reliable --stall 20s
	lab_until 5 _is_subscribed || return 1
	kill -STOP "${lab_pids[reader]}"
	# MQTT 3.1.1 has no word for "later"; nobody else has to wait.
	seq "$n" | timeout 60 mosquitto_pub -p "$port" -t flood/1 -q 1 -l &
	local publisher=$!
	lab_until 5 _is_stuck || return 1
	sub other -t other -C 1
	expect "$(kill -0 "$publisher" 2>/dev/null && echo waits)" = waits
	kill -CONT "${lab_pids[reader]}"
	wait "$publisher"
	expect $? = 0
	lab_until 10 has_lines "$lab/reader.out" "$n" || return 1
	seq "$n" | cmp - "$lab/reader.out"
	pub -t other -m x
	lab_wait_line other x
	expect "$(_counter publishes_bus_refused)" = 0
}

_is_subscribed() { hugebus --socket "$lab/bus" ls | grep -q flood; }
_counter() { hugebus --socket "$lab/bus" stats | awk -v name="$1" '$1 == "mqtt" && $2 == name { print $3 }'; }
_is_stuck() { [ "$(_counter waits)" -gt 1 ]; }

run_cases "$@"
