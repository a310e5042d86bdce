#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Each limit of hugebus-mqtt is met by a client that goes one beyond it, and its counter says so.

    mqtt_limits.py PORT SOCKET     a gateway with the options that test_mqtt_gateway.sh gives it, on the bus at SOCKET

Says which counters have moved; exit status 1 when one has not, or when a client got another answer than it should.
"""
import socket
import struct
import subprocess
import sys
import time

from mqtt_wire import packet, split, text

PORT, BUS = int(sys.argv[1]), sys.argv[2]


def counters():
    out = subprocess.run(["hugebus", "--socket", BUS, "stats"], capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in out.splitlines()]
    return {line[1]: int(line[2]) for line in lines if len(line) >= 3 and line[0] in ("mqtt", "mqtt-gateway") and line[2].isdigit()}


class Client:
    def __init__(self, name=b"", keeps=False, version=5, hello=True, buffer=None):
        self.room = b""
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", PORT))
        self.version = version
        if hello:
            self.reason = self.connect(name, keeps)

    def connect(self, name, keeps):
        props = b"\x05\x11\0\0\1\0" if keeps else b"\0"
        flags = 0 if keeps else 2
        self.send(packet(0x10, text(b"MQTT") + bytes([self.version, flags]) + b"\0\0" + (props if self.version == 5 else b"")
                         + text(name)))
        first, body = self.read()
        return body[1] if first >> 4 == 2 else None

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        data = self.socket.recv(65536)
        self.room += data
        return bool(data)

    def read(self):
        """(first byte, body), or (0, b"") at the end."""
        try:
            while not (whole := split(self.room)):
                if not self.more():
                    return 0, b""
        except ConnectionError:
            return 0, b""
        first, body, self.room = whole
        return first, body

    def ends_with(self, reason):
        """What it says last: DISCONNECT with this reason; 0 = nothing."""
        last = (0, b"")
        while True:
            whole = self.read()
            if whole[0] == 0:
                break
            last = whole
        said = last[1][0] if last[0] >> 4 == 14 and last[1] else 0
        assert said == reason, f"ended with {said:#x}, not {reason:#x}"

    def publish(self, topic, payload, qos=0, packet_id=1, retain=0):
        self.send(packet(0x30 | qos << 1 | retain, text(topic) + (struct.pack(">H", packet_id) if qos else b"")
                         + (b"\0" if self.version == 5 else b"") + payload))

    def acked(self):
        """The reason code of PUBACK or PUBREC."""
        first, body = self.read()
        assert first >> 4 in (4, 5), f"{first:#x} {body!r}"
        return body[2] if len(body) > 2 else 0

    def subscribe(self, topic, qos=0):
        """The reason code of SUBACK."""
        self.send(packet(0x82, b"\0\1" + (b"\0" if self.version == 5 else b"") + text(topic) + bytes([qos])))
        first, body = self.read()
        assert first >> 4 == 9, f"{first:#x} {body!r}"
        return body[-1]


def expect(got, wanted):
    assert got == wanted, f"{got:#x}, not {wanted:#x}"


def connect_too_large():
    c = Client(hello=False)
    c.send(packet(0x10, b"x" * 4200))
    c.ends_with(0)


def connect_timeouts():
    c = Client(hello=False)
    begin = time.monotonic()
    c.ends_with(0)
    assert 0.5 < time.monotonic() - begin < 5


def packets_too_large():
    c = Client()
    c.publish(b"t", b"x" * 70000)
    c.ends_with(0x95)


def connects_limited():
    many = [Client(b"many%d" % i) for i in range(20)]
    last = Client(hello=False)
    last.ends_with(0)
    return many


def sessions_limited():
    for i in range(30):
        c = Client(b"keeps%d" % i, True)
        c.socket.close()
        if c.reason:
            expect(c.reason, 0x97)
            break
    else:
        raise AssertionError("30 sessions, and none was refused")
    for j in range(i):
        Client(b"keeps%d" % j)  # the end of that session


def receive_max_exceeded():
    c = Client()
    for i in range(1, 10):
        c.publish(b"t", b"x", 2, i)
    c.ends_with(0x93)


def inflight_limited():
    c, p = Client(), Client()
    expect(c.subscribe(b"flight", 1), 1)
    for i in range(1, 7):
        p.publish(b"flight", b"%d" % i, 1, i)
        expect(p.acked(), 0)
    for i in range(1, 7):
        first, body = c.read()
        assert first == 0x32 and body[-1:] == b"%d" % i
        c.send(b"\x40\2" + body[8:10])


def dropped_queue():
    c, p = Client(b"queue", True), Client()
    expect(c.subscribe(b"queue", 1), 1)
    c.socket.close()
    time.sleep(0.1)
    for i in range(1, 13):
        p.publish(b"queue", b"x", 1, i)
        p.acked()
    Client(b"queue")


def queue_overflows():
    c, p = Client(), Client()
    expect(c.subscribe(b"over", 1), 1)
    for i in range(1, 30):
        p.publish(b"over", b"x", 1, i)
        p.acked()
    c.ends_with(0x97)


def dropped_memory():
    keepers = []
    for i in range(4):
        c = Client(b"memory%d" % i, True)
        expect(c.subscribe(b"memory/%d" % i, 1), 1)
        c.socket.close()
        keepers.append(c)
    time.sleep(0.1)
    p = Client()
    for i in range(4):
        for j in range(1, 8):
            p.publish(b"memory/%d" % i, b"x" * 60000, 1, j)
            p.acked()
    for i in range(4):
        Client(b"memory%d" % i)


def slow_readers():
    c, p = Client(buffer=4096), Client()
    expect(c.subscribe(b"slow"), 0)
    end = time.monotonic() + 15
    while counters()["slow_readers"] == 0 and time.monotonic() < end:
        for _ in range(50):
            p.publish(b"slow", b"x" * 60000)
    return c


def retained_refused():
    p = Client()
    for i in range(12):
        p.publish(b"keep/%d" % i, b"x", 1, 1, 1)
        reason = p.acked()
    expect(reason, 0x97)


def snapshots_refused():
    # Ten are retained; five may be under way.
    expect(Client().subscribe(b"keep/#"), 0x97)


def subscriptions_limited():
    c = Client()
    for i in range(4):
        expect(c.subscribe(b"s/%d" % i), 0)
    expect(c.subscribe(b"s/4"), 0x97)


def subscriptions_refused():
    expect(Client().subscribe(b"/".join([b"a"] * 17)), 0x8F)


def publishes_bad_topic():
    p = Client()
    p.publish(b"/".join([b"a"] * 17), b"", 1)
    expect(p.acked(), 0x90)


def takeovers_limited():
    for i in range(12):
        c = Client(b"fight")
        if i == 11:
            expect(c.reason, 0x9F)
        keep.append(c)


def dropped_offline():
    c, p = Client(b"away", True), Client()
    expect(c.subscribe(b"away", 1), 1)
    c.socket.close()
    time.sleep(0.1)
    p.publish(b"away", b"x")
    p.publish(b"away", b"x", 1)
    p.acked()
    Client(b"away")


keep = []


def main():
    checks = [connect_too_large, connect_timeouts, packets_too_large, sessions_limited, receive_max_exceeded, inflight_limited,
              dropped_queue, queue_overflows, dropped_memory, slow_readers, retained_refused, snapshots_refused,
              subscriptions_limited, subscriptions_refused, publishes_bad_topic, takeovers_limited, dropped_offline,
              connects_limited]
    failed = 0
    for check in checks:
        before = counters()[check.__name__]
        try:
            held = check()
            end = time.monotonic() + 5
            while counters()[check.__name__] == before and time.monotonic() < end:
                time.sleep(0.1)
            assert counters()[check.__name__] > before, "the counter has not moved"
            print(f"{check.__name__}: {counters()[check.__name__] - before}")
            del held
        except (AssertionError, OSError, KeyError) as error:
            print(f"{check.__name__}: FAILED: {error}")
            failed += 1
        for c in keep:
            c.socket.close()
        keep.clear()
    return failed > 0


sys.exit(main())
