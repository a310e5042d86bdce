#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A gateway with --state is killed again and again while its clients work; nothing it has acknowledged may be missing.

    mqtt_kill.py ROUNDS PORT COMMAND...     COMMAND: the gateway, serving 127.0.0.1:PORT

In each round three publishers (QoS 1, QoS 2, retained), a client that is away (and comes back half-heartedly after
each kill), and one that makes a new session after the other, until SIGKILL. Then:
  - each message of QoS 1 and 2 that was acknowledged has come to the client that was away, those of QoS 2 once, in order;
  - each topic's retained message is the last that was acknowledged, or a later one;
  - each session that was told of its subscription is there, with it.
Prints figures; exit status 1 with a sentence when something is missing. HBUS_TEST_SEED repeats its random choices.
"""
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time

from mqtt_wire import packet, split, text

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK = 2, 3, 4, 5, 6, 7, 9
TOPICS = 8
WINDOW = 60
HEAVY = 40000  # bytes of the largest messages, in rounds with large ones


class Gone(Exception):
    """The gateway is not there any more."""


class Client:
    """One connection of MQTT 3.1.1, with a session."""

    def __init__(self, port, name, is_clean=False):
        self.room = b""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send(packet(0x10, text(b"MQTT") + bytes([4, 2 if is_clean else 0]) + b"\0\0" + text(name)))
        kind, _, body = self.read(10)
        if kind != CONNACK or body[1]:
            raise SystemExit(f"{name}: no CONNACK but {kind} {body!r}")
        self.is_present = body[0] == 1

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Gone from error

    def read(self, seconds):
        """(type, flags, body), or None in time."""
        end = time.monotonic() + seconds
        while True:
            whole = self.take()
            if whole:
                return whole
            left = end - time.monotonic()
            if not select.select([self.socket], [], [], max(left, 0))[0]:
                return None
            try:
                data = self.socket.recv(1 << 16)
            except OSError as error:
                raise Gone from error
            if not data:
                raise Gone
            self.room += data

    def take(self):
        whole = split(self.room)
        if not whole:
            return None
        first, body, self.room = whole
        return first >> 4, first & 15, body

    def publish(self, topic, payload, qos, packet_id, flags=0):
        self.send(packet(0x30 | qos << 1 | flags, text(topic) + struct.pack(">H", packet_id) + payload))

    def answer(self, kind, packet_id):
        self.send(bytes([kind << 4 | (2 if kind == PUBREL else 0), 2]) + struct.pack(">H", packet_id))


class Publisher:
    """Numbers to one topic, with QoS 1 or 2, a window of them under way; goes on after a kill as the standard says."""

    def __init__(self, name, qos):
        self.name, self.qos = name, qos
        self.next, self.acked = 0, set()
        self.under_way = {}  # packet id: number and payload, in order
        self.released = set()  # packet ids; PUBREC has come
        self.client = None

    def come(self, port):
        self.client = Client(port, self.name)
        if self.under_way or self.released:
            if not self.client.is_present:
                raise SystemExit(f"{self.name}: its session is not there")
        for packet_id in self.released:
            self.client.answer(PUBREL, packet_id)
        for packet_id, (_, payload) in self.under_way.items():
            self.client.publish(b"k/" + self.name, payload, self.qos, packet_id, 8)

    def free_id(self):
        return next(i for i in range(1, 10 * WINDOW) if i not in self.under_way and i not in self.released)

    def fill(self, size):
        while len(self.under_way) + len(self.released) < WINDOW:
            packet_id = self.free_id()
            payload = b"%d " % self.next + b"x" * random.randint(0, size)
            self.under_way[packet_id] = self.next, payload
            self.client.publish(b"k/" + self.name, payload, self.qos, packet_id)
            self.next += 1

    def take(self, kind, body):
        packet_id = struct.unpack(">H", body[:2])[0]
        if kind in (PUBACK, PUBREC) and packet_id in self.under_way:
            number, _ = self.under_way.pop(packet_id)
            self.acked.add(number)
            if kind == PUBREC:
                self.released.add(packet_id)
        if kind == PUBREC:
            self.client.answer(PUBREL, packet_id)
        if kind == PUBCOMP:
            self.released.discard(packet_id)


class Retainer:
    """The last number of each topic."""

    def __init__(self):
        self.next = 1
        self.acked, self.said = [0] * TOPICS, [0] * TOPICS
        self.under_way = {}
        self.client = None

    def come(self, port):
        self.client = Client(port, b"retainer", True)
        self.under_way = {}

    def fill(self, _):
        while len(self.under_way) < 10:
            packet_id = next(i for i in range(1, 100) if i not in self.under_way)
            which = random.randrange(TOPICS)
            self.under_way[packet_id] = which, self.next
            self.said[which] = self.next
            self.client.publish(b"r/%d" % which, b"%d" % self.next, 1, packet_id, 1)
            self.next += 1

    def take(self, kind, body):
        if kind == PUBACK:
            which, number = self.under_way.pop(struct.unpack(">H", body[:2])[0])
            self.acked[which] = max(self.acked[which], number)


class Keeper:
    """Is away while the others publish, and wants all of it."""

    def __init__(self):
        self.heard = {b"one": [], b"two": []}
        self.arrived = {b"one": -1, b"two": -1}  # the highest
        self.unreleased = set()
        self.is_known = False

    def listen(self, port, share):
        """Answers a share of what it hears; all = 1."""
        client = Client(port, b"keeper")
        if self.is_known and not client.is_present:
            raise SystemExit("the session of who was away is not there")
        if not self.is_known:
            client.send(packet(0x82, b"\0\1" + text(b"k/#") + b"\2"))
            if client.read(10)[0] != SUBACK:
                raise SystemExit("no SUBACK")
        self.is_known = True
        while True:
            whole = client.read(0.4 if share == 1 else 0.05)
            if not whole:
                break
            kind, flags, body = whole
            self.take(client, kind, flags, body, random.random() < share)
        client.socket.close()

    def take(self, client, kind, flags, body, answers):
        if kind == PUBREL:
            packet_id = struct.unpack(">H", body)[0]
            self.unreleased.discard(packet_id)
            client.answer(PUBCOMP, packet_id)
            return
        if kind != PUBLISH:
            return
        size = struct.unpack(">H", body[:2])[0]
        topic, packet_id = body[2 : 2 + size], struct.unpack(">H", body[2 + size : 4 + size])[0]
        qos = flags >> 1 & 3
        if qos == 1 and answers:
            client.answer(PUBACK, packet_id)
        number = int(body[4 + size : 14 + size].split(b" ")[0])
        if qos == 2 and not flags & 8 and packet_id not in self.unreleased and number <= self.arrived[topic[2:]]:
            raise SystemExit(f"{number} of QoS 2 came after {self.arrived[topic[2:]]}")
        self.arrived[topic[2:]] = max(self.arrived[topic[2:]], number)
        if qos == 2 and packet_id in self.unreleased:
            client.answer(PUBREC, packet_id)
            return
        # Who does not say that he has it does not have it.
        if not answers:
            return
        if qos == 2:
            self.unreleased.add(packet_id)
            client.answer(PUBREC, packet_id)
        self.heard[topic[2:]].append(number)


class Founder:
    """One session after the other, each with a subscription."""

    def __init__(self):
        self.n = 0

    def more(self, port):
        name = b"s%d" % self.n
        client = Client(port, name)
        client.send(packet(0x82, b"\0\1" + text(b"f/" + name) + b"\1"))
        whole = client.read(10)
        if whole and whole[0] == SUBACK:
            self.n += 1
        client.socket.close()

    def check(self, port, first):
        publisher = Client(port, b"", True)
        for i in range(first, self.n):
            client = Client(port, b"s%d" % i)
            if not client.is_present:
                raise SystemExit(f"session s{i} is not there, which was told of its subscription")
            publisher.send(packet(0x30, text(b"f/s%d" % i) + b"x"))
            whole = client.read(10)
            if not whole or whole[0] != PUBLISH:
                raise SystemExit(f"session s{i} is there without its subscription")
            client.socket.close()


def check_heard(keeper, publisher):
    heard = keeper.heard[publisher.name]
    missing = publisher.acked - set(heard)
    if missing:
        raise SystemExit(f"{len(missing)} acknowledged messages of {publisher.name} are missing: {sorted(missing)[:5]}")
    if publisher.qos == 2 and len(set(heard)) != len(heard):
        raise SystemExit("a message of QoS 2 came twice")


def check_retained(port, retainer):
    client = Client(port, b"", True)
    client.send(packet(0x82, b"\0\1" + text(b"r/+") + b"\0"))
    there = [0] * TOPICS
    while True:
        whole = client.read(0.3)
        if not whole:
            break
        kind, _, body = whole
        if kind == PUBLISH:
            there[int(body[4:5])] = int(body[5:])
    for i in range(TOPICS):
        if not retainer.acked[i] <= there[i] <= retainer.said[i]:
            raise SystemExit(f"r/{i} is {there[i]}, which is not within {retainer.acked[i]}..{retainer.said[i]}")
    # What is there counts from now on: what was said and not acknowledged may be it or not.
    retainer.acked, retainer.said = there[:], there[:]


def start(command, port):
    gateway = subprocess.Popen(command)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return gateway
        except OSError:
            if gateway.poll() is not None:
                break
            time.sleep(0.01)
    raise SystemExit("the gateway does not serve")


def work(port, publishers, founder, seconds, gateway, size):
    """Until the kill, which comes while all of it is under way."""
    end = time.monotonic() + seconds
    by_socket = {p.client.socket: p for p in publishers}
    try:
        while time.monotonic() < end:
            for p in publishers:
                p.fill(size)
            for ready in select.select(list(by_socket), [], [], 0.01)[0]:
                p = by_socket[ready]
                whole = p.client.read(0)
                while whole:
                    p.take(whole[0], whole[2])
                    whole = p.client.take()
            if random.random() < 0.05:
                founder.more(port)
    except Gone as error:
        raise SystemExit("the gateway has gone by itself, or hung up on somebody") from error
    gateway.kill()
    gateway.wait()
    # What it still said was said.
    for p in publishers:
        try:
            whole = p.client.read(0)
            while whole:
                if whole[0] in (PUBACK, PUBREC, PUBCOMP):
                    p.client.send = lambda data: None
                    p.take(whole[0], whole[2])
                whole = p.client.read(0)
        except Gone:
            pass


def main():
    rounds, port, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    seed = int(os.environ.get("HBUS_TEST_SEED", random.randrange(1 << 32)))
    random.seed(seed)
    one, two, retainer = Publisher(b"one", 1), Publisher(b"two", 2), Retainer()
    keeper, founder = Keeper(), Founder()
    gateway = start(command, port)
    print(f"HBUS_TEST_SEED={seed}")
    try:
        keeper.listen(port, 1)
        for n in range(rounds):
            first = founder.n
            for p in (one, two, retainer):
                p.come(port)
            work(port, (one, two, retainer), founder, random.uniform(0.02, 0.5), gateway, HEAVY * (n % 2))
            gateway = start(command, port)
            check_retained(port, retainer)
            founder.check(port, first)
            keeper.listen(port, random.random())
            if random.random() < 0.5:
                gateway.send_signal(signal.SIGKILL)
                gateway.wait()
                gateway = start(command, port)
            # Those who are under way are finished by their publishers first, so that order can be told.
            for p in (one, two):
                p.come(port)
                while p.under_way or p.released:
                    whole = p.client.read(10)
                    if not whole:
                        raise SystemExit(f"{p.name}: no answer")
                    p.take(whole[0], whole[2])
            keeper.listen(port, 1)
            for p in (one, two):
                check_heard(keeper, p)
        print(f"{rounds} kills: {len(one.acked)} of QoS 1, {len(two.acked)} of QoS 2, {retainer.next} retained, "
              f"{founder.n} sessions; nothing acknowledged is missing")
    except Gone as error:
        raise SystemExit("the gateway has gone by itself, or hung up on somebody") from error
    finally:
        gateway.terminate()
        gateway.wait()


main()
