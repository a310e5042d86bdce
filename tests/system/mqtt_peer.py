#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Peers for the tests of MQTT over TCP in the ingress, in the words of sockets and frames.

    mqtt_peer.py publish HOST QOS COUNT ACKED     number COUNT messages to topic "n", come what may; what was
                                                  acknowledged goes to the file ACKED, a number a line
    mqtt_peer.py crowd HOST COUNT [SECONDS]       so many connections at once, each subscribed to "crowd"; says
                                                  READY, then how many have heard a message, and ends
    mqtt_peer.py bad-wire IF IF LOSS REORDER [SEED]
                                                  frames between two interfaces, some lost, doubled or late (percent). With
                                                  a seed these are the most: every few seconds it changes, and sometimes
                                                  nothing comes through for up to two; on SIGTERM it says what it has done
    mqtt_peer.py capture IF FILE                  all frames of an interface into a capture, from READY until SIGTERM
    mqtt_peer.py noise IF MAC ADDRESS COUNT       frames to an address with anything wrong in them
"""
import os
import random
import select
import signal
import socket
import struct
import sys
import time

from mqtt_wire import packet, split, text

PORT = 1883


def connect_packet(name, flags=2):
    return packet(0x10, text(b"MQTT") + bytes([4, flags]) + struct.pack(">H", 60) + text(name))


class Client:
    """One connection; whatever goes wrong is an OSError."""

    def __init__(self, host, name, flags=2):
        self.socket = socket.create_connection((host, PORT), timeout=3)
        self.socket.settimeout(3)
        self.room = b""
        self.socket.sendall(connect_packet(name, flags))
        kind, body = self.read()
        if kind != 0x20 or body[1] != 0:
            raise OSError(f"CONNACK {body!r}")

    def read(self):
        while not (whole := split(self.room)):
            more = self.socket.recv(65536)
            if not more:
                raise OSError("closed")
            self.room += more
        first, body, self.room = whole
        return first, body


def publish(host, qos, count, acked_path):
    """As a careful client: what was not acknowledged is sent again after a reconnect, as a duplicate."""
    qos, count = int(qos), int(count)
    acked, released, client, number = open(acked_path, "w"), False, None, 0
    first_try = True
    while number < count:
        try:
            if client is None:
                client = Client(host, b"careful", flags=0)
            ident = struct.pack(">H", number % 65535 + 1)
            if not released:
                kind = 0x30 | qos << 1 | (0 if first_try else 8)
                client.socket.sendall(packet(kind, text(b"n") + ident + str(number).encode()))
                first_try = False
                while client.read() != (0x40 if qos == 1 else 0x50, ident):
                    pass
                released = qos == 2
            if released:
                client.socket.sendall(packet(0x62, ident))
                while client.read() != (0x70, ident):
                    pass
                released = False
            acked.write(f"{number}\n")
            acked.flush()
            number, first_try = number + 1, True
            time.sleep(0.002)  # so that who kills the other end finds us under way
        except OSError:
            client = None
            time.sleep(0.05)
    print("DONE", flush=True)


def crowd(host, count, seconds="20"):
    clients = []
    for i in range(int(count)):
        try:
            client = Client(host, b"crowd%d" % i)
        except OSError as error:
            print("REFUSED", i, error, flush=True)
            break
        client.socket.sendall(packet(0x82, b"\0\1" + text(b"crowd") + b"\0"))
        if client.read()[0] != 0x90:
            raise OSError("no SUBACK")
        clients.append(client)
    print("READY", len(clients), flush=True)
    poll, heard, end = select.poll(), set(), time.monotonic() + float(seconds)
    by_fd = {client.socket.fileno(): client for client in clients}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    while len(heard) < len(clients) and time.monotonic() < end:
        for fd, _ in poll.poll(500):
            if by_fd[fd].read()[0] & 0xf0 == 0x30:
                heard.add(fd)
            poll.unregister(fd)
    print("HEARD", len(heard), flush=True)


def raw(interface):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.bind((interface, 0))
    return s


class Weather:
    """What a wire does to frames: always the same, or by a seed something else every few seconds."""

    def __init__(self, loss, reorder, seed):
        self.most, self.random, self.changes = (float(loss) / 100, float(reorder) / 100), random.Random(int(seed or 1)), bool(seed)
        self.loss, self.reorder = self.most
        self.until = 0.0
        self.counts = {"passed": 0, "lost": 0, "doubled": 0, "late": 0, "outages": 0}

    def change(self, now):
        if not self.changes or now < self.until:
            return
        is_out = self.random.random() < 0.1
        self.loss = 1.0 if is_out else self.random.uniform(0, self.most[0])
        self.reorder = self.random.uniform(0, self.most[1])
        self.until = now + self.random.uniform(0.3, 2 if is_out else 5)
        self.counts["outages"] += is_out

    def fate(self):
        """How often the frame comes, and whether late."""
        if self.random.random() < self.loss:
            self.counts["lost"] += 1
            return 0, False
        chance = self.random.random()
        is_late, is_doubled = chance < self.reorder, chance > 1 - self.reorder / 4
        self.counts["passed"] += 1
        self.counts["late"] += is_late
        self.counts["doubled"] += is_doubled
        return 1 + is_doubled, is_late


def bad_wire(a, b, loss, reorder, seed=None):
    ends, late, weather = (raw(a), raw(b)), [], Weather(loss, reorder, seed)
    other_of = {ends[0]: ends[1], ends[1]: ends[0]}

    def end(*_):
        print("WIRE", weather.counts, flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    print("READY", flush=True)
    while True:
        ready, _, _ = select.select(ends, [], [], 0.001 if late else None)
        now = time.monotonic()
        weather.change(now)
        for s in ready:
            frame, address = s.recvfrom(65536)
            if address[2] == socket.PACKET_OUTGOING:
                continue
            times, is_late = weather.fate()
            for _ in range(times):
                if is_late:
                    late.append((now + 0.002, other_of[s], frame))
                else:
                    other_of[s].send(frame)
        while late and late[0][0] <= now:
            _, out, frame = late.pop(0)
            out.send(frame)


def capture(interface, path):
    """Unlike a program of others, this one has begun when it says so."""
    s = raw(interface)
    s.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
    with open(path, "wb", buffering=0) as out:
        out.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        print("READY", flush=True)
        while True:
            frame = s.recv(65536)
            now = time.time()
            out.write(struct.pack("<IIII", int(now), int(now % 1 * 1e6), len(frame), len(frame)) + frame)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def segment(seed, source, target):
    """A TCP segment with a good checksum and nonsense in its fields, or a wrong one."""
    options = os.urandom(seed.choice([0, 0, 4, 8, 20, 40]))
    offset = seed.choice([5 + len(options) // 4] * 6 + [0, 3, 15])
    head = struct.pack(">HHIIBBHHH", seed.randrange(65536), seed.choice([PORT, PORT, 80]), seed.getrandbits(32),
                       seed.getrandbits(32), offset << 4, seed.getrandbits(8), seed.getrandbits(16), 0,
                       seed.getrandbits(16)) + options + os.urandom(seed.choice([0, 1, 100, 1400]))
    pseudo = source + target + struct.pack(">BBH", 0, 6, len(head))
    good = checksum(pseudo + head) if seed.random() < 0.9 else 0x1234
    return head[:16] + struct.pack(">H", good) + head[18:]


def nonsense(seed, mac, own_mac, target):
    source = socket.inet_aton(seed.choice(["10.77.0.2", "10.77.0.77", "0.0.0.0", "255.255.255.255", "224.0.0.1",
                                           "127.0.0.1"])) if seed.random() < 0.9 else target
    kind = seed.randrange(4)
    if kind == 0:
        arp = struct.pack(">HHBBH", 1, 0x800, 6, 4, seed.randrange(4)) + os.urandom(6) + source + os.urandom(6) + target
        return mac + own_mac + b"\x08\x06" + arp[:seed.choice([28, 28, 20])]
    body = segment(seed, source, target) if kind > 1 else b"\x08\0" + os.urandom(seed.randrange(100))
    protocol = 6 if kind > 1 else 1
    total = 20 + len(body) if seed.random() < 0.9 else seed.randrange(65536)
    head = struct.pack(">BBHHHBBH", 0x45, 0, total, 0, seed.choice([0, 0, 0x4000, 0x2000, 7]), 64, protocol, 0)
    head += source + target
    if seed.random() < 0.95:
        head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    frame = bytearray(mac + own_mac + b"\x08\0" + head + body)
    if seed.random() < 0.3:
        frame[seed.randrange(14, len(frame))] = seed.getrandbits(8)
    return bytes(frame[:seed.choice([len(frame)] * 4 + [seed.randrange(14, len(frame) + 1)])])


def noise(interface, mac, address, count):
    s, seed = raw(interface), random.Random(int(os.environ.get("HBUS_TEST_SEED", "7")))
    own = s.getsockname()[4]
    for _ in range(int(count)):
        s.send(nonsense(seed, bytes.fromhex(mac.replace(":", "")), own, socket.inet_aton(address)))


def main():
    commands = {"publish": publish, "crowd": crowd, "bad-wire": bad_wire, "capture": capture, "noise": noise}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
