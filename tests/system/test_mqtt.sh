#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# MQTT clients that others wrote (mosquitto_pub and _sub) on a bus through hugebus-mqtt: both versions,
# every QoS, and one topic space with the programs that use shared memory.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
. "$system_dir/mqtt.sh"
needs_commands mosquitto_pub mosquitto_sub
PATH=$HBUS_BUILD/dataplane/mqtt:$PATH

# Whoever asks first for this port gets it; in a namespace of its own a test would need root.
port=$((20000 + $$ % 12000))

_start_gateway() {
	export HUGEBUS_SOCKET=$lab/bus
	lab_spawn daemon hugebusd --socket "$lab/bus"
	lab_until 5 test -S "$lab/bus"
	lab_spawn gateway hugebus-mqtt --socket "$lab/bus" --listen "127.0.0.1:$port" --listen "unix:$lab/mqtt" \
		--allow-anonymous "$@"
	lab_wait_line gateway serving
}

pub() { timeout 10 mosquitto_pub -p "$port" "$@"; }

# sub NAME ARGUMENTS...: in the background; ready when the broker has acknowledged.
sub() {
	local name=$1
	shift
	lab_spawn "$name" stdbuf -oL mosquitto_sub -d -p "$port" "$@"
	lab_wait_line "$name" SUBACK
}

every_qos_of_both_versions_arrives() {
	_start_gateway
	local version qos
	for version in mqttv311 mqttv5; do
		for qos in 0 1 2; do
			sub "s$version$qos" -V $version -q $qos -t "q/#" -v -i "$version$qos"
		done
	done
	for version in mqttv311 mqttv5; do
		for qos in 0 1 2; do
			pub -V $version -q $qos -t "q/$version/$qos" -m "m$qos" || return 1
		done
	done
	for reader in smqttv3110 smqttv3111 smqttv3112 smqttv50 smqttv51 smqttv52; do
		for version in mqttv311 mqttv5; do
			for qos in 0 1 2; do
				hears $reader "q/$version/$qos m$qos" || return 1
			done
		done
		expect "$(heard $reader | wc -l)" = 6
	done
}

mqtt_and_shared_memory_share_one_topic_space() {
	_start_gateway
	sub mqtt -t "room/+" -v
	lab_spawn bus stdbuf -oL hugebus sub -t 'room/+' --ready "$lab/ready" --format '%t %p\n'
	lab_until 5 test -e "$lab/ready"
	pub -t room/1 -m "from mqtt" -q 1
	hugebus pub -t room/2 -m "from the bus" || return 1
	hears mqtt "room/1 from mqtt" || return 1
	hears mqtt "room/2 from the bus" || return 1
	hears bus "room/1 from mqtt" || return 1
	hears bus "room/2 from the bus"
}

properties_reach_a_version_5_subscriber() {
	_start_gateway
	sub five -V mqttv5 -t p -F '%t|%p|%P|%C|%R|%D'
	pub -V mqttv5 -t p -m x -D PUBLISH user-property key value -D PUBLISH content-type text/plain \
		-D PUBLISH response-topic back -D PUBLISH correlation-data 7
	hears five "p|x|key:value|text/plain|back|7"
}

local_events_become_cloudevents_when_asked_for() {
	_start_gateway --cloudevents
	sub five -V mqttv5 -t ce -F '%p|%P'
	hugebus pub -t ce -m hello || return 1
	lab_wait_line five '^hello\|specversion:1.0 id:[0-9]+:[0-9]+ source:hugebus://.*/ce type:hugebus.event subject:ce' 5
}

a_request_gets_its_response() {
	needs_rr=$(command -v mosquitto_rr) || return 0
	_start_gateway
	sub server -V mqttv5 -t ask -F '%p %R'
	lab_spawn asks timeout 20 "$needs_rr" -V mqttv5 -p "$port" -t ask -e answer -m question
	hears server "question answer" || return 1
	pub -V mqttv5 -t answer -m 42
	lab_wait_line asks '^42$' 5
}

retained_messages_wait_for_subscribers() {
	_start_gateway
	pub -t r/1 -m old -r -q 1
	pub -t r/1 -m new -r -q 1
	pub -t r/2 -m two -r -q 1
	sub late -t 'r/#' -F '%r %t %p'
	hears late "1 r/1 new" || return 1
	hears late "1 r/2 two"
	expect "$(heard late | wc -l)" = 2
	pub -t r/1 -n -r -q 1
	expect "$(timeout 2 mosquitto_sub -p "$port" -t 'r/#' -W 1 -F '%t')" = "r/2"
}

a_session_keeps_its_messages() {
	_start_gateway
	sub first -i keeper -c -q 1 -t s
	lab_stop first
	pub -t s -m while-away -q 1
	sub again -i keeper -c -q 1 -t s
	hears again while-away
}

a_killed_client_leaves_its_will() {
	_start_gateway
	sub heir -t will -v
	sub victim -t nothing --will-topic will --will-payload gone --will-qos 1
	lab_stop victim KILL
	hears heir "will gone"
}

the_unix_socket_serves_too() {
	_start_gateway
	sub tcp -t u
	timeout 10 mosquitto_pub --unix "$lab/mqtt" -t u -m "by a path" -q 1
	hears tcp "by a path"
	expect "$(stat -c %F "$lab/mqtt")" = socket
	lab_stop gateway
	expect ! -e "$lab/mqtt"
}

twenty_thousand_messages_arrive_in_order() {
	# On a busy machine the reader may fall behind by all of them, and is not to be dropped for that.
	_start_gateway --queue-max 100000
	sub all -t flood -q 1
	seq 20000 | timeout 60 mosquitto_pub -p "$port" -t flood -q 1 -l || return 1
	lab_until 60 _last_came
	heard all | cmp - <(seq 20000)
}

_last_came() { [ "$(tail -n 1 "$lab/all.out")" = 20000 ]; }

large_messages_pass_up_to_the_limit() {
	_start_gateway
	head -c 200000 /dev/zero | tr '\0' x >"$lab/large"
	head -c 300000 /dev/zero | tr '\0' x >"$lab/too-large"
	sub big -t big
	pub -t big -q 1 -f "$lab/large"
	lab_until 5 _large_came || return 1
	! timeout 5 mosquitto_pub -p "$port" -t big -q 1 -f "$lab/too-large" 2>/dev/null
}

_large_came() { [ "$(heard big | tr -d '\n' | wc -c)" = 200000 ]; }

a_malformed_packet_closes_its_own_connection_only() {
	_start_gateway
	sub other -t o
	exec 7<>"/dev/tcp/127.0.0.1/$port"
	printf '\x10\x0d\0\4MQTT\4\2\0\0\0\1x\x82\0' >&7
	expect "$(timeout 5 od -An -tx1 <&7 | tr -d ' \n')" = 20020000
	exec 7>&-
	pub -t o -m alive
	hears other alive
}

the_gateway_ends_with_a_goodbye_and_counts() {
	_start_gateway
	sub one -V mqttv5 -t x
	pub -t x -m 1 -q 1
	hears one 1
	lab_until 5 _counted
	lab_stop gateway
	expect $? = 0
}

_counted() { hugebus stats | grep -qE 'mqtt +publishes_in +1 '; }

nobody_comes_without_being_allowed() {
	_start_gateway
	timeout 5 hugebus-mqtt --socket "$lab/bus" --listen 127.0.0.1:1 2>/dev/null
	expect $? = 2
}

passwords_decide_who_comes() {
	echo secret | hugebus-mqtt --hash-password ann >"$lab/passwords"
	_start_gateway --password-file "$lab/passwords"
	lab_stop gateway
	lab_spawn gateway hugebus-mqtt --socket "$lab/bus" --listen "127.0.0.1:$port" --password-file "$lab/passwords"
	lab_wait_line gateway serving
	pub -u ann -P secret -t t -m x -q 1 || return 1
	! pub -u ann -P wrong -t t -m x -q 1 2>/dev/null || return 1
	! pub -u bob -P secret -t t -m x -q 1 2>/dev/null || return 1
	! pub -V mqttv5 -u ann -P wrong -t t -m x -q 1 2>/dev/null || return 1
	! pub -t t -m x -q 1 2>/dev/null
}

# An authority, and certificates of it for the server and for the client "ann"; another authority for nobody.
_make_certificates() {
	local name
	for name in ca other; do
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$name" \
			-keyout "$lab/$name.key" -out "$lab/$name.pem" 2>/dev/null || return 1
	done
	for name in localhost ann; do
		openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
			-keyout "$lab/$name.key" -out "$lab/$name.csr" 2>/dev/null &&
			openssl x509 -req -in "$lab/$name.csr" -CA "$lab/ca.pem" -CAkey "$lab/ca.key" -days 2 \
				-extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1") -out "$lab/$name.pem" 2>/dev/null ||
			return 1
	done
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=mallory \
		-CA "$lab/other.pem" -CAkey "$lab/other.key" -keyout "$lab/mallory.key" -out "$lab/mallory.pem" 2>/dev/null
}

_has_openssl() { command -v openssl >/dev/null && ldd "$(command -v hugebus-mqtt)" | grep -q libssl; }

tls_serves_large_messages_too() {
	_has_openssl || return 0
	_make_certificates || return 1
	_start_gateway --listen "tls:127.0.0.1:$((port + 1))" --cert "$lab/localhost.pem" --key "$lab/localhost.key"
	head -c 200000 /dev/urandom | base64 -w 0 | head -c 200000 >"$lab/large"
	sub clear -t s -q 1
	lab_spawn secret stdbuf -oL mosquitto_sub -d -h 127.0.0.1 -p $((port + 1)) --cafile "$lab/ca.pem" -t s -q 1
	lab_wait_line secret SUBACK
	timeout 10 mosquitto_pub -h 127.0.0.1 -p $((port + 1)) --cafile "$lab/ca.pem" -t s -q 2 -f "$lab/large" || return 1
	lab_until 5 _large_reached clear
	lab_until 5 _large_reached secret
	# Plain bytes on the TLS port get nowhere, and nobody else notices.
	! timeout 2 mosquitto_pub -p $((port + 1)) -t s -m x -q 1 2>/dev/null || return 1
	pub -t s -m "after that" -q 1
	hears secret "after that"
}

_large_reached() { heard "$1" | grep -qxFf "$lab/large"; }

certificates_say_who_comes() {
	_has_openssl || return 0
	_make_certificates || return 1
	_start_gateway
	lab_stop gateway
	lab_spawn gateway hugebus-mqtt --socket "$lab/bus" --listen "tls:127.0.0.1:$port" --cert "$lab/localhost.pem" \
		--key "$lab/localhost.key" --ca "$lab/ca.pem"
	lab_wait_line gateway serving
	pub -h 127.0.0.1 --cafile "$lab/ca.pem" --cert "$lab/ann.pem" --key "$lab/ann.key" -t t -m x -q 1 || return 1
	! pub -h 127.0.0.1 --cafile "$lab/ca.pem" -t t -m x -q 1 2>/dev/null || return 1
	! pub -h 127.0.0.1 --cafile "$lab/ca.pem" --cert "$lab/mallory.pem" --key "$lab/mallory.key" -t t -m x -q 1 2>/dev/null
}

websocket_clients_share_the_topics() {
	_start_gateway --listen "ws:127.0.0.1:$((port + 1))"
	sub tcp -t 'ws/#' -v
	timeout 10 python3 - $((port + 1)) <<-'END' || return 1
		import os, socket, struct, sys
		s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
		s.sendall(b"GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		          b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
		          b"Sec-WebSocket-Protocol: mqtt\r\n\r\n")
		answer = b""
		while b"\r\n\r\n" not in answer:
		    answer += s.recv(4096)
		assert answer.startswith(b"HTTP/1.1 101 ") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer, answer
		def say(data, kind=0x82):
		    mask = os.urandom(4)
		    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
		    s.sendall(bytes([kind]) + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))
		def hear():
		    head = s.recv(2, socket.MSG_WAITALL)
		    assert head[1] < 126
		    return head[0], s.recv(head[1], socket.MSG_WAITALL)
		# CONNECT and SUBSCRIBE to "ws/a" in one frame
		say(b"\x10\x0d\0\4MQTT\4\2\0\0\0\1w" + b"\x82\x09\0\1\0\4ws/a\0")
		assert hear() == (0x82, b"\x20\2\0\0")
		assert hear() == (0x82, b"\x90\3\0\1\0")
		say(b"!", 0x89)
		assert hear() == (0x8a, b"!")
		say(b"\x30\x0a\0\4ws/ahi" + b"ws")
		assert hear() == (0x82, b"\x30\x0a\0\4ws/ahiws")
		say(b"", 0x88)
		assert hear() == (0x88, b"\x03\xe8")
		assert s.recv(1) == b""
	END
	hears tcp "ws/a hiws"
}

a_reader_that_does_not_read_is_dropped_and_slows_nobody() {
	_start_gateway --queue-max 100 --inflight-max 10
	sub stopped -t flood -q 1
	sub reads -t last -q 1
	kill -STOP "${lab_pids[stopped]}"
	seq 2000 | timeout 60 mosquitto_pub -p "$port" -t flood -q 1 -l || return 1
	pub -t last -m done -q 1
	hears reads "done" || return 1
	lab_until 5 _overflowed
}

_overflowed() { hugebus stats | grep -qE 'mqtt +queue_overflows +1 '; }

clients_go_on_while_the_daemon_is_away() {
	_start_gateway
	sub all -t '#' -v
	pub -t known -m 1 -q 1 || return 1
	lab_stop daemon KILL 2>/dev/null
	pub -t known -m 2 -q 1 || return 1
	! timeout 2 mosquitto_pub -p "$port" -t unknown -m 3 -q 1 2>/dev/null || return 1
	pub -V mqttv5 -t known -m 4 -q 1 || return 1
	hears all "known 2" || return 1
	hears all "known 4" || return 1
	lab_spawn daemon hugebusd --socket "$lab/bus"
	lab_until 10 _takes_unknown || return 1
	hears all "unknown 5"
}

_takes_unknown() { timeout 2 mosquitto_pub -p "$port" -t unknown -m 5 -q 1 2>/dev/null; }

run_cases "$@"
