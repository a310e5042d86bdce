#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""MQTT clients that come and go, subscribe, unsubscribe and subscribe again at once; each message is accounted for.

    mqtt_churn.py HOST PORT SECONDS [ACTOR...]

  pairs      subscribes, hears each message of a publisher once and in order, unsubscribes or leaves, hears no more
  sessions   is away without a word or with one, or answers half of what it hears: the rest comes when it is back,
             with QoS 2 once
  shared     members of a group come and go; each message reaches one that has acknowledged it
  retained   who subscribes is given the last of each topic once, and then what is live
  wills      come of who went without a word or was taken over, and of nobody else
  fresh      topics and filters that nobody has ever heard of

Each actor is as many clients as a thread has; without names all of them. Prints figures; exit status 1 with a sentence
when something is missing, or comes twice. HBUS_TEST_SEED repeats their choices, not their timing.
"""
import os
import random
import select
import socket
import struct
import sys
import threading
import time

from mqtt_wire import packet, split, text

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT = 2, 3, 4, 5, 6, 7, 9, 11, 14
PATIENCE = 10
V3, V5 = 4, 5


class Wrong(Exception):
    """What must not be."""


class Client:
    """A connection. Answers what it hears, unless is_silent; then it is for whoever uses it (unanswered)."""

    def __init__(self, where, name=b"", version=V3, is_clean=True, will=None, unreleased=()):
        self.version, self.room, self.answers, self.last_id = version, b"", {}, 0
        self.heard, self.unreleased, self.unanswered, self.is_silent = [], set(unreleased), [], False
        self.socket = socket.create_connection(where, timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        props = b""
        if version == V5:
            props = b"\0" if is_clean else b"\5\x11" + struct.pack(">I", 3600)
        flags = (2 if is_clean else 0) | (0x0c if will else 0)
        said = text(name)
        if will:
            said += (b"\0" if version == V5 else b"") + text(will[0]) + text(will[1])
        self.socket.sendall(packet(0x10, text(b"MQTT") + bytes([version, flags]) + b"\0\0" + props + said))
        answer = self.wait(lambda: self.answers.pop((CONNACK, 0), None), "CONNACK")
        if answer[1]:
            raise Wrong(f"{name}: refused with {answer[1]}")
        self.is_present = answer[0] == 1

    def read(self, seconds):
        """Takes what is there; False: nothing has come in time."""
        if not select.select([self.socket], [], [], max(seconds, 0))[0]:
            return False
        data = self.socket.recv(1 << 16)
        if not data:
            raise OSError("hung up on")
        self.room += data
        while whole := split(self.room):
            first, body, self.room = whole
            self.take(first, body)
        return True

    def take(self, first, body):
        kind = first >> 4
        if kind == PUBLISH:
            self.take_message(first, body)
        elif kind == PUBREL:
            self.unreleased.discard(body[:2])
            self.say(PUBCOMP, body[:2])
        elif kind == DISCONNECT:
            raise OSError(f"hung up on with {body!r}")
        elif kind == CONNACK:
            self.answers[CONNACK, 0] = body
        else:
            self.answers[kind, body[:2]] = body[2:] or b"\0"

    def take_message(self, first, body):
        size, qos = struct.unpack(">H", body[:2])[0], first >> 1 & 3
        topic, at = body[2:2 + size], 2 + size + (2 if qos else 0)
        ident = body[2 + size:at]
        if self.version == V5:
            at += 1 + body[at]  # none is longer than a byte can tell
        if qos < 2 or ident not in self.unreleased:
            self.heard.append((topic, body[at:], bool(first & 1), bool(first & 8)))
        if qos == 2:
            self.unreleased.add(ident)
        if qos and self.is_silent:
            self.unanswered.append((PUBACK if qos == 1 else PUBREC, ident))
        elif qos:
            self.say(PUBACK if qos == 1 else PUBREC, ident)

    def say(self, kind, ident):
        self.socket.sendall(bytes([kind << 4 | (2 if kind == PUBREL else 0), 2]) + ident)

    def wait(self, condition, what):
        """A machine that stands still for seconds takes no more of the patience than one look."""
        left, before = PATIENCE, time.monotonic()
        while not (result := condition()):
            if left <= 0:
                raise Wrong(f"no {what}")
            self.read(0.1)
            now = time.monotonic()
            left, before = left - min(now - before, 0.2), now
        return result

    def ask(self, kind, body):
        self.last_id = self.last_id % 65535 + 1
        ident = struct.pack(">H", self.last_id)
        self.socket.sendall(packet(kind, ident + (b"\0" if self.version == V5 else b"") + body))
        return ident

    def subscribe(self, name, qos):
        ident = self.ask(0x82, text(name) + bytes([qos]))
        answer = self.wait(lambda: self.answers.pop((SUBACK, ident), None), f"SUBACK for {name}")
        if answer[-1] > 2:
            raise Wrong(f"SUBACK for {name}: {answer[-1]}")

    def unsubscribe(self, name):
        ident = self.ask(0xa2, text(name))
        self.wait(lambda: self.answers.pop((UNSUBACK, ident), None), f"UNSUBACK for {name}")

    def publish(self, topic, payloads, qos, is_retained=False):
        """All at once, then their acknowledgements."""
        idents = []
        for payload in payloads:
            self.last_id = self.last_id % 65535 + 1
            ident = struct.pack(">H", self.last_id) if qos else b""
            end = b"\0" if self.version == V5 else b""
            self.socket.sendall(packet(0x30 | qos << 1 | is_retained, text(topic) + ident + end + payload))
            idents.append(ident)
        for ident in idents if qos else ():
            self.settle(ident, qos)

    def settle(self, ident, qos):
        kind = PUBACK if qos == 1 else PUBREC
        if self.wait(lambda: self.answers.pop((kind, ident), None), "PUBACK or PUBREC")[0] >= 128:
            raise Wrong("a message was refused")
        if qos == 2:
            self.say(PUBREL, ident)
            self.wait(lambda: self.answers.pop((PUBCOMP, ident), None), "PUBCOMP")

    def payloads(self):
        return [message[1] for message in self.heard]

    def leave(self, says_so):
        if says_so:
            self.socket.sendall(b"\xe0\0")
        self.socket.close()


def expect(client, wanted, who):
    """These, once and in order."""
    try:
        client.wait(lambda: len(client.heard) >= len(wanted), "message")
    except Wrong as error:
        missing = [payload for payload in wanted if payload not in client.payloads()]
        raise Wrong(f"{who}: {len(missing)} of {len(wanted)} messages did not come: {missing[:5]}") from error
    if client.payloads() != wanted:
        raise Wrong(f"{who}: {client.payloads()[:8]} came instead of {wanted[:8]}")
    client.heard = []


class Actor:
    """What all of them have; life() is one round."""

    def __init__(self, where, name, seed):
        self.where, self.name, self.random = where, name, random.Random(f"{seed} {name}")
        self.n, self.rounds = 0, 0
        self.publisher = Client(where, version=self.random.choice((V3, V5)))
        self.begin()

    def begin(self):
        pass

    def client(self, suffix=b"", **how):
        return Client(self.where, self.name.encode() + suffix, self.random.choice((V3, V5)), **how)

    def numbers(self, n):
        self.n += n
        return [b"%d" % i for i in range(self.n - n, self.n)]


class Pairs(Actor):
    def begin(self):
        self.reader = self.client()

    def life(self):
        base = self.name.encode()
        topic = base + b"/z/" + self.random.choice((b"x", b"y", b"n%d" % self.random.randrange(50)))
        name = self.random.choice((topic, base + b"/z/+", base + b"/#", base + b"/+/+"))
        qos, most = self.random.randrange(3), self.random.randrange(3)
        self.reader.subscribe(name, most)
        who = self.reader if self.random.random() < 0.2 else self.publisher
        wanted = self.numbers(self.random.choice((1, 1, 2, 5, 30)))
        who.publish(topic, wanted, qos)
        expect(self.reader, wanted, f"{self.name}, {name} of {topic}, QoS {qos} to {most}")
        if self.random.random() < 0.7:
            self.reader.unsubscribe(name)
        else:
            self.reader.leave(self.random.random() < 0.5)
            self.reader = self.client()
        if self.reader.heard:
            raise Wrong(f"{self.name}: heard {self.reader.heard[:3]} without a subscription")


class Sessions(Actor):
    def begin(self):
        self.client().leave(True)
        self.reader = self.client(is_clean=False)
        self.reader.subscribe(self.name.encode() + b"/+", 2)

    def had_before_it_went(self, qos):
        """What it has answered, and what it must not be given again."""
        reader, had = self.reader, self.reader.payloads()
        if reader.is_silent:
            n = self.random.randrange(len(reader.unanswered) + 1)
            for kind, ident in reader.unanswered[:n]:
                reader.say(kind, ident)
            had = had[:n]
            reader.unreleased = {ident for kind, ident in reader.unanswered[:n] if kind == PUBREC}
        reader.leave(self.random.random() < 0.5)
        return had, reader.unreleased if qos == 2 else ()

    def life(self):
        qos, topic = self.random.choice((1, 2)), self.name.encode() + b"/t"
        wanted = self.numbers(self.random.choice((2, 20, 60)))
        early = self.random.randrange(len(wanted))
        self.reader.is_silent = self.random.random() < 0.3
        self.publisher.publish(topic, wanted[:early], qos)
        end = time.monotonic() + self.random.random() * 0.01
        while time.monotonic() < end:
            self.reader.read(0.002)
        had, unreleased = self.had_before_it_went(qos)
        self.publisher.publish(topic, wanted[early:], qos)
        time.sleep(0.002)  # else it is a take-over, of which there may be ten in ten seconds
        self.reader = self.client(is_clean=False, unreleased=unreleased)
        if not self.reader.is_present:
            raise Wrong(f"{self.name}: the session is not there")
        try:
            self.reader.wait(lambda: set(wanted) <= set(had) | set(self.reader.payloads()), "message")
        except Wrong as error:
            missing = set(wanted) - set(had) - set(self.reader.payloads())
            raise Wrong(f"{self.name}: QoS {qos}: {len(missing)} of {len(wanted)} did not come") from error
        came = had + self.reader.payloads()
        if [payload for payload in dict.fromkeys(came) if payload in wanted] != wanted:
            raise Wrong(f"{self.name}: QoS {qos}: not in order: {came[:20]}")
        if qos == 2 and len(set(came)) != len(came):
            raise Wrong(f"{self.name}: of QoS 2, but came twice: {[p for p in came if came.count(p) > 1][:5]}")
        self.reader.wait(lambda: not self.reader.unreleased, "PUBREL")
        self.reader.heard = []


class Shared(Actor):
    def begin(self):
        self.group = b"$share/g/" + self.name.encode()
        self.stays, self.members = self.client(b"s"), {}
        self.stays.subscribe(self.group, 1)
        self.missing = set()

    def collect(self, member):
        while member.read(0):
            pass
        self.missing -= set(member.payloads())
        member.heard = []

    def change(self):
        which = b"%d" % self.random.randrange(4)
        member = self.members.pop(which, None)
        if not member:
            self.members[which] = self.client(which)
            self.members[which].subscribe(self.group, self.random.choice((1, 2)))
            return
        member.is_silent = self.random.random() < 0.3
        if member.is_silent:  # hears it, and goes without an answer
            member.read(0.01)
            member.heard = []
        elif self.random.random() < 0.3:
            member.unsubscribe(self.group)
        self.missing -= set(member.payloads())
        member.leave(self.random.random() < 0.5)

    def life(self):
        sent = self.numbers(self.random.choice((1, 5, 40)))
        self.missing |= set(sent)
        self.publisher.publish(self.name.encode(), sent, 1)
        if self.random.random() < 0.5:
            self.change()
        end = time.monotonic() + PATIENCE if self.random.random() < 0.2 else 0
        for member in (*self.members.values(), self.stays):
            self.collect(member)
        while self.missing and time.monotonic() < end:
            self.stays.read(0.002)
            for member in (*self.members.values(), self.stays):
                self.collect(member)
        if self.missing and end:
            raise Wrong(f"{self.name}: {len(self.missing)} messages reached nobody: {sorted(self.missing)[:5]}")


class Retained(Actor):
    def begin(self):
        self.last = {self.name.encode() + b"/%d" % i: b"" for i in range(4)}
        for topic in self.last:
            self.publisher.publish(topic, [b""], 1, True)

    def retain(self, payload):
        topic = self.random.choice(list(self.last))
        self.publisher.publish(topic, [payload], self.random.choice((1, 2)), True)
        self.last[topic] = payload

    def life(self):
        for payload in self.numbers(self.random.randrange(4)):
            self.retain(b"" if self.random.random() < 0.2 else payload)
        reader = self.client()
        reader.subscribe(self.name.encode() + b"/+", 1)
        wanted = {topic: payload for topic, payload in self.last.items() if payload}
        live = self.numbers(1)[0]
        self.retain(live)
        reader.wait(lambda: live in reader.payloads(), f"live message for {self.name}")
        given = {topic: payload for topic, payload, is_retained, _ in reader.heard if is_retained}
        if given != wanted or len(reader.heard) != len(wanted) + 1 or reader.heard[-1][2]:
            raise Wrong(f"{self.name}: {reader.heard} instead of {wanted} and {live}")
        reader.leave(True)


class Wills(Actor):
    def begin(self):
        self.reader = self.client(b"r")
        self.reader.subscribe(self.name.encode(), 1)

    def life(self):
        last = self.numbers(1)
        mortal = self.client(will=(self.name.encode(), last[0]))
        way = self.random.choice(("says so", "without a word", "taken over"))
        if way == "taken over":
            self.client().leave(True)
        mortal.leave(way == "says so")
        if way != "says so":
            expect(self.reader, last, f"{self.name}: the will of who was {way}")
        elif self.reader.read(0.002) and self.reader.heard:
            raise Wrong(f"{self.name}: the will of who said so came")


class Fresh(Actor):
    def life(self):
        topic = self.name.encode() + b"/%d" % self.rounds
        reader = self.client(b"r")
        reader.subscribe(topic, 1)
        wanted = self.numbers(5)
        self.publisher.publish(topic, wanted, 1)
        expect(reader, wanted, f"{self.name}, {topic}")
        reader.leave(True)


ACTORS = {"pairs": (Pairs, 4), "sessions": (Sessions, 2), "shared": (Shared, 1), "retained": (Retained, 1),
          "wills": (Wills, 1), "fresh": (Fresh, 1)}


def live(actor, end, wrongs):
    try:
        while time.monotonic() < end and not wrongs:
            actor.life()
            actor.rounds += 1
    except (Wrong, OSError) as error:
        wrongs.append(f"{actor.name}, round {actor.rounds}: {error}")


def main():
    where, seconds = (sys.argv[1], int(sys.argv[2])), float(sys.argv[3])
    seed = os.environ.get("HBUS_TEST_SEED", str(random.randrange(1 << 32)))
    print(f"HBUS_TEST_SEED={seed}")
    actors = [kind(where, f"{name}{i}", seed) for name in sys.argv[4:] or ACTORS
              for kind, n in (ACTORS[name],) for i in range(n)]
    wrongs, end = [], time.monotonic() + seconds
    threads = [threading.Thread(target=live, args=(actor, end, wrongs)) for actor in actors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(", ".join(f"{actor.name}: {actor.rounds} rounds" for actor in actors))
    sys.exit("\n".join(wrongs) or 0)


main()
