#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Clients of an ingress that is killed under them, and the judge of what became of their messages.

    ingress_clients.py publish KIND HOST QOS NAME FILE   numbers its messages to topic n/NAME, one at a time, until SIGTERM;
                                                         what was acknowledged goes to FILE, a number a line
    ingress_clients.py subscribe KIND HOST FILE          hears n/#; a line of FILE for each message
    ingress_clients.py judge DIR KILLS                   DIR/bus.out has what was in the ring ("n/NAME NUMBER" lines),
                                                         DIR/acked.QOS.KIND.NAME what each publisher was told

KIND is sn (MQTT-SN over UDP) or tcp (MQTT 3.1.1). A client that is told nothing, or that it is not known, connects anew
and says again, as a duplicate, what was not acknowledged. The judge's exit is 0 when nothing acknowledged is missing,
numbers of each publisher come first in their order, and of QoS 2 no more came twice than kills explain.
"""
import os
import signal
import socket
import struct
import sys
import time

PORT = 1883
must_end = False


def be16(value):
    return struct.pack(">H", value)


class Lost(Exception):
    """The gateway is gone, or does not know us."""


class Sn:
    """MQTT-SN 1.2."""
    CONNECT, CONNACK, REGISTER, REGACK, PUBLISH, PUBACK = 4, 5, 0x0a, 0x0b, 0x0c, 0x0d
    PUBCOMP, PUBREC, PUBREL, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 0x0e, 0x0f, 0x10, 0x12, 0x13, 0x16, 0x17, 0x18

    def __init__(self, host, name):
        self.host, self.name, self.names, self.message_id, self.heard = host, name, {}, 0, []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.connect((host, PORT))
        self.ask(bytes([self.CONNECT, 4, 1]) + be16(30) + name.encode(), lambda t, b: t == self.CONNACK and b[:1] == b"\0")

    def say(self, message):
        try:
            self.socket.send(bytes([len(message) + 1]) + message)
        except OSError:
            pass  # an earlier one came back: nobody is there now

    def take(self, timeout):
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(2048)
        except OSError:
            return None, b""
        kind, body = data[1], data[2:]
        if kind == self.DISCONNECT:
            raise Lost
        if kind == self.REGISTER:
            self.names[body[:2]] = body[4:]
            self.say(bytes([self.REGACK]) + body[:4] + b"\0")
        elif kind == self.PUBLISH:
            if body[0] & 0x60:
                self.say(bytes([self.PUBACK]) + body[1:5] + b"\0")
            self.heard.append((self.names.get(body[1:3], b"?").decode(), body[5:].decode()))
        return kind, body

    def ask(self, message, is_answer, again=None):
        """Says it up to four times. Return: the answer's body."""
        for _ in range(4):
            self.say(message)
            message, end = again or message, time.monotonic() + 0.4
            while time.monotonic() < end:
                kind, body = self.take(max(0.01, end - time.monotonic()))
                if kind is not None and is_answer(kind, body):
                    return body
        raise Lost

    def next_id(self):
        self.message_id = self.message_id % 65535 + 1
        return be16(self.message_id)

    def register(self, topic):
        mid = self.next_id()
        body = self.ask(bytes([self.REGISTER]) + b"\0\0" + mid + topic.encode(),
                        lambda t, b: t == self.REGACK and b[2:5] == mid + b"\0")
        return body[:2]

    def publish(self, topic, payload, qos, is_dup, acknowledged):
        if topic not in self.names:
            self.names[topic] = self.register(topic)
        mid, tid, flags = self.next_id(), self.names[topic], qos << 5
        rest = tid + mid + payload.encode()
        first, again = bytes([self.PUBLISH, flags | (0x80 if is_dup else 0)]), bytes([self.PUBLISH, flags | 0x80])
        if qos == 1:
            self.ask(first + rest, lambda t, b: t == self.PUBACK and b == tid + mid + b"\0", again + rest)
            acknowledged()
            return
        self.ask(first + rest, lambda t, b: t == self.PUBREC and b == mid, again + rest)
        acknowledged()
        self.ask(bytes([self.PUBREL]) + mid, lambda t, b: t == self.PUBCOMP and b == mid)

    def subscribe(self, topic):
        mid = self.next_id()
        self.ask(bytes([self.SUBSCRIBE, 0x20]) + mid + topic.encode(),
                 lambda t, b: t == self.SUBACK and b[3:] == mid + b"\0")

    def listen(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not must_end:
            self.take(max(0.01, end - time.monotonic()))
        self.ask(bytes([self.PINGREQ]), lambda t, b: t == self.PINGRESP)

    def close(self):
        self.say(bytes([self.DISCONNECT]))
        self.socket.close()


class Tcp:
    """MQTT 3.1.1."""

    def __init__(self, host, name):
        self.heard, self.room, self.message_id = [], b"", 0
        try:
            self.socket = socket.create_connection((host, PORT), timeout=0.5)
            self.say(0x10, b"\0\4MQTT\4\2" + be16(30) + be16(len(name)) + name.encode())
            self.expect(0x20, b"\0\0")
        except OSError:
            raise Lost from None

    def say(self, kind, body):
        try:
            self.socket.sendall(bytes([kind, len(body)]) + body)
        except OSError:
            raise Lost from None

    def take(self, timeout):
        end = time.monotonic() + timeout
        while len(self.room) < 2 or len(self.room) < 2 + self.room[1]:
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                return None, b""
            except OSError:
                raise Lost from None
            if not more:
                raise Lost
            self.room += more
        kind, body = self.room[0], self.room[2:2 + self.room[1]]
        self.room = self.room[2 + self.room[1]:]
        if kind & 0xf0 == 0x30:
            at = 2 + struct.unpack(">H", body[:2])[0]
            topic, qos = body[2:at].decode(), kind >> 1 & 3
            if qos:
                self.say(0x40, body[at:at + 2])
                at += 2
            self.heard.append((topic, body[at:].decode()))
        return kind, body

    def expect(self, kind, body):
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            if self.take(max(0.01, end - time.monotonic())) == (kind, body):
                return
        raise Lost

    def next_id(self):
        self.message_id = self.message_id % 65535 + 1
        return be16(self.message_id)

    def publish(self, topic, payload, qos, is_dup, acknowledged):
        mid = self.next_id()
        self.say(0x30 | qos << 1 | (8 if is_dup else 0), be16(len(topic)) + topic.encode() + mid + payload.encode())
        self.expect(0x40 if qos == 1 else 0x50, mid)
        acknowledged()
        if qos == 2:
            self.say(0x62, mid)
            self.expect(0x70, mid)

    def subscribe(self, topic):
        mid = self.next_id()
        self.say(0x82, mid + be16(len(topic)) + topic.encode() + b"\1")
        self.expect(0x90, mid + b"\1")

    def listen(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not must_end:
            self.take(max(0.01, end - time.monotonic()))
        self.say(0xc0, b"")
        self.expect(0xd0, b"")

    def close(self):
        self.say(0xe0, b"")
        self.socket.close()


KINDS = {"sn": Sn, "tcp": Tcp}


def publish(kind, host, qos, name, path):
    client, number, is_dup = None, 0, False
    with open(path, "w", buffering=1) as acked:
        def acknowledged():
            nonlocal number, is_dup
            acked.write(f"{number}\n")
            number, is_dup = number + 1, False

        while not must_end:
            try:
                client = client or KINDS[kind](host, name)
                payload, sent_as, is_dup = str(number), is_dup, True
                client.publish(f"n/{name}", payload, int(qos), sent_as, acknowledged)
                time.sleep(0.001)
            except Lost:
                client = None
                time.sleep(0.02)
        if client:
            client.close()


def subscribe(kind, host, path):
    client = None
    with open(path, "w", buffering=1) as out:
        while not must_end:
            is_lost = False
            try:
                if not client:
                    client = KINDS[kind](host, f"hears-{kind}")
                    client.subscribe("n/#")
                client.listen(0.5)
            except Lost:
                is_lost = True
            for topic, payload in client.heard if client else []:
                out.write(f"{topic} {payload}\n")
            if client:
                client.heard.clear()
            if is_lost:
                client = None
                time.sleep(0.05)


def judge(directory, n_kills):
    seen, is_good = {}, True
    for line in open(f"{directory}/bus.out", encoding="ascii"):
        topic, number = line.split()
        seen.setdefault(topic, []).append(int(number))
    print(f"{'publisher':12} {'acked':>7} {'in ring':>8} {'missing':>8} {'again':>6} {'disorder':>8}")
    for entry in sorted(os.listdir(directory)):
        if not entry.startswith("acked."):
            continue
        _, qos, _, name = entry.split(".")
        acked = [int(line) for line in open(f"{directory}/{entry}", encoding="ascii")]
        numbers = seen.get(f"n/{name}", [])
        first = list(dict.fromkeys(numbers))
        missing, again = set(acked) - set(first), len(numbers) - len(first)
        disorder = sum(b < a for a, b in zip(first, first[1:]))
        print(f"{name:12} {len(acked):7} {len(numbers):8} {len(missing):8} {again:6} {disorder:8}")
        is_good &= bool(acked) and not missing and not disorder and (qos != "2" or again <= int(n_kills))
    return 0 if is_good and seen else 1


def on_term(*_):
    global must_end
    must_end = True


def main():
    signal.signal(signal.SIGTERM, on_term)
    commands = {"publish": publish, "subscribe": subscribe, "judge": judge}
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    sys.exit(commands[sys.argv[1]](*sys.argv[2:]))


main()
