#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hostile and unusual peers of an MQTT-SN gateway, in raw frames from addresses that no kernel has.

    sn_peer.py IF GATEWAY-MAC GATEWAY-IPV4 GATEWAY-IPV6 SCENARIO [SECONDS]

frames   what may stand around a datagram: options, tags, fragments, checksums, padding, extension headers
rules    messages out of turn, and what the gateway must say to each
lies     lengths that are not their own, cut and stretched
moves    one client identifier from ever new ports
twice    everything said two or three times
flood    as much as this process can send, for SECONDS, of anything that the gateway must look at

Exit: 0, or 1 with a line for each answer that was wrong.
"""
import os
import random
import socket
import struct
import sys
import time

CONNECT, CONNACK, WILLTOPICREQ, REGISTER, REGACK, PUBLISH, PUBACK = 4, 5, 6, 0x0a, 0x0b, 0x0c, 0x0d
PUBCOMP, PUBREC, PUBREL, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 0x0e, 0x0f, 0x10, 0x12, 0x13, 0x14, 0x15
PINGREQ, PINGRESP, DISCONNECT, WILLTOPICUPD, WILLTOPICRESP, WILLMSGUPD = 0x16, 0x17, 0x18, 0x1a, 0x1b, 0x1c
SEARCHGW, GWINFO, ENCAPSULATED = 1, 2, 0xfe
PORT, AUXDATA = 1883, 8


def message(kind, body=b""):
    size = len(body) + 2
    return bytes([size, kind]) + body if size < 256 else b"\1" + struct.pack(">HB", size + 2, kind) + body


def connect(name, flags=4):
    return message(CONNECT, bytes([flags, 1, 0, 60]) + name.encode())


def publish(topic, mid, data, flags):
    return message(PUBLISH, struct.pack(">BHH", flags, topic, mid) + data)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Wire:
    def __init__(self, interface, mac, ipv4, ipv6):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind((interface, 0))
        self.socket.setsockopt(263, AUXDATA, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.own = self.socket.getsockname()[4]
        self.mac = bytes.fromhex(mac.replace(":", ""))
        self.ipv4, self.ipv6 = socket.inet_aton(ipv4), socket.inet_pton(socket.AF_INET6, ipv6)
        self.n_wrong = 0

    def udp(self, source, target, port, data, spoils_udp=False, no_sum=False, udp_size=None):
        head = struct.pack(">HHHH", port, PORT, udp_size or 8 + len(data), 0)
        pseudo = source + target + struct.pack(">HH", 17, 8 + len(data))
        value = 0 if no_sum else checksum(pseudo + head + data) or 0xffff
        return head[:6] + struct.pack(">H", value ^ 0x1111 if spoils_udp else value) + data

    def frame(self, data, port, host=50, options=b"", tags=(), fragment=0, spoils_ip=False, padding=b"", to_all=False, **udp):
        source, target = bytes([10, 77, 0, host]), b"\xff" * 4 if to_all else self.ipv4
        body = self.udp(source, target, port, data, **udp)
        ip = struct.pack(">BBHHHBBH", 0x45 + len(options) // 4, 0, 20 + len(options) + len(body), 7, fragment, 64, 17, 0)
        ip += source + target + options
        ip = ip[:10] + struct.pack(">H", checksum(ip) ^ (0x1111 if spoils_ip else 0)) + ip[12:]
        link = (b"\xff" * 6 if to_all else self.mac) + self.own
        for tag in tags:
            link += struct.pack(">HH", 0x8100, tag)
        return link + b"\x08\0" + ip + body + padding

    def frame6(self, data, port, host=50, extension=b"", **udp):
        source = self.ipv6[:15] + bytes([host])
        body = self.udp(source, self.ipv6, port, data, **udp)
        head = struct.pack(">IHBB", 0x60000000, len(extension) + len(body), 0 if extension else 17, 64)
        return self.mac + self.own + b"\x86\xdd" + head + source + self.ipv6 + extension + body

    def send(self, frame):
        try:
            self.socket.send(frame)
        except OSError:
            pass  # the queue is full: lost, as on any wire

    def hear(self, port, timeout=2.0):
        """The next message to our port, and its VLAN. None when there is none."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                frame, notes, _, address = self.socket.recvmsg(4096, 256)
            except OSError:
                break
            if address[2] == socket.PACKET_OUTGOING:
                continue
            tag = next((struct.unpack("IIIHHHH", n[2])[5] & 4095 for n in notes if n[0] == 263 and n[1] == AUXDATA and
                        struct.unpack("IIIHHHH", n[2])[0] & 0x10), 0)
            at = {b"\x08\0": 34, b"\x86\xdd": 54, b"\x81\0": 38}.get(frame[12:14])
            if at and len(frame) > at + 8 and struct.unpack(">HH", frame[at:at + 4]) == (PORT, port):
                size = struct.unpack(">H", frame[at + 4:at + 6])[0]
                return frame[at + 8:at + size], tag
        return None, 0

    def expect(self, what, port, wanted, timeout=2.0):
        """@wanted: how the answer begins behind its length, or None for silence."""
        data, tag = self.hear(port, timeout if wanted is not None else 0.15)
        is_right = data is None if wanted is None else data is not None and data[1:1 + len(wanted)] == wanted
        if not is_right:
            print(f"{what}: wanted {wanted!r}, got {data!r}", flush=True)
            self.n_wrong += 1
        return data, tag

    def client(self, name, port, host=50):
        self.send(self.frame(connect(name), port, host))
        self.expect(f"{name} connects", port, bytes([CONNACK, 0]), 20)

    def ask(self, what, data, port, wanted, host=50):
        self.send(self.frame(data, port, host))
        return self.expect(what, port, wanted, 20)[0]


def frames(w):
    hop_by_hop = bytes([17, 0, 1, 4, 0, 0, 0, 0])
    cases = [
        ("plain", {}, True), ("IP options", {"options": b"\1" * 8}, True), ("a VLAN", {"tags": (5,)}, True),
        ("two VLANs", {"tags": (6, 7)}, True), ("no UDP checksum", {"no_sum": True}, True),
        ("padding", {"padding": b"\xaa" * 18}, True), ("wrong UDP checksum", {"spoils_udp": True}, False),
        ("wrong IP checksum", {"spoils_ip": True}, False), ("a first fragment", {"fragment": 0x2000}, False),
        ("a later fragment", {"fragment": 7}, False), ("a UDP length of 4", {"udp_size": 4}, False),
        ("a UDP length beyond the packet", {"udp_size": 1000}, False),
        ("a UDP length that leaves some out", {"udp_size": 12}, False),
    ]
    for i, (what, how, is_good) in enumerate(cases):
        w.send(w.frame(connect(f"frame{i}"), 3000 + i, **how))
        _, tag = w.expect(what, 3000 + i, bytes([CONNACK, 0]) if is_good else None)
        if is_good and tag != how.get("tags", (0,))[0]:
            print(f"{what}: answered on VLAN {tag}")
            w.n_wrong += 1
    for i, (what, how, is_good) in enumerate([("IPv6", {}, True), ("an extension header", {"extension": hop_by_hop}, True),
                                              ("wrong UDP checksum in IPv6", {"spoils_udp": True}, False)]):
        w.send(w.frame6(connect(f"six{i}"), 3100 + i, **how))
        w.expect(what, 3100 + i, bytes([CONNACK, 0]) if is_good else None)
    w.client("large", 3200)
    for size in (240, 248, 249, 250, 1400):
        what = f"a payload of {size}"
        w.ask(what, publish(0x6162, size, b"x" * size, 0x22), 3200, struct.pack(">BHHB", PUBACK, 0x6162, size, 0)) \
            if size < 248 else w.send(w.frame(publish(0x6162, size, b"x" * size, 0x22), 3200))
        if size >= 248:
            w.expect(what, 3200, struct.pack(">BHHB", PUBACK, 0x6162, size, 0), 20)
    # Three octets for what one could say are as good.
    short = publish(0x6162, 9, b"three", 0x22)
    w.ask("a length of three octets", b"\1" + struct.pack(">H", len(short) + 2) + short[1:], 3200,
          struct.pack(">BHHB", PUBACK, 0x6162, 9, 0))


def rules(w):
    name = b"rules/of/engagement"
    away = bytes([DISCONNECT])
    w.ask("REGISTER of a stranger", message(REGISTER, b"\0\0\0\1" + name), 4000, away)
    w.ask("SUBSCRIBE of a stranger", message(SUBSCRIBE, b"\x20\0\1" + name), 4000, away)
    w.ask("PUBLISH of a stranger", publish(1, 1, b"x", 0x20), 4000, away)
    w.ask("PINGREQ of a stranger", message(PINGREQ), 4000, away)
    w.ask("an acknowledgement of a stranger", message(PUBACK, b"\0\1\0\1\0"), 4000, None)
    w.ask("QoS -1 to a normal identifier", publish(1, 0, b"x", 0x60), 4000, None)
    w.ask("QoS -1 to a predefined one that is not", publish(999, 0, b"x", 0x61), 4000, None)
    w.ask("SEARCHGW", message(SEARCHGW, b"\0"), 4000, bytes([GWINFO]))
    w.send(w.frame(message(SEARCHGW, b"\7"), 4001, to_all=True))
    w.expect("SEARCHGW to all", 4001, bytes([GWINFO]), 20)
    w.client("rules", 4002)
    w.ask("CONNECT again", connect("rules"), 4002, bytes([CONNACK, 0]))
    first = w.ask("REGISTER", message(REGISTER, b"\0\0\0\1" + name), 4002, bytes([REGACK]))
    again = w.ask("REGISTER again", message(REGISTER, b"\0\0\0\2" + name), 4002, bytes([REGACK]))
    if not first or not again or first[2:4] != again[2:4]:
        print(f"one name, two identifiers: {first!r} {again!r}")
        w.n_wrong += 1
    wrong = w.ask("REGISTER of a filter", message(REGISTER, b"\0\0\0\3a/#"), 4002, bytes([REGACK]))
    if wrong and wrong[-1] == 0:
        print("a filter was registered")
        w.n_wrong += 1
    w.ask("PUBLISH to an identifier that is not", publish(77, 4, b"x", 0x20), 4002, struct.pack(">BHHB", PUBACK, 77, 4, 2))
    w.ask("the same at QoS 0", publish(77, 0, b"x", 0), 4002, struct.pack(">BHHB", PUBACK, 77, 0, 2))
    w.ask("SUBSCRIBE to a predefined one that is not", message(SUBSCRIBE, b"\x21\0\5\3\xe7"), 4002, bytes([SUBACK]))
    w.ask("UNSUBSCRIBE from nothing", message(UNSUBSCRIBE, b"\0\0\6" + name), 4002, bytes([UNSUBACK, 0, 6]))
    w.ask("PUBREL of nothing", message(PUBREL, b"\0\7"), 4002, bytes([PUBCOMP, 0, 7]))
    w.ask("a will topic changed without a will", message(WILLTOPICUPD, b"\0w/t"), 4002, bytes([WILLTOPICRESP]))
    w.ask("CONNACK from a client", message(CONNACK, b"\0"), 4002, None)
    w.ask("a type that is not", message(0x1f), 4002, None)
    inner = message(ENCAPSULATED, b"\0in") + connect("nested")
    w.ask("a forwarder's packet in another's", message(ENCAPSULATED, b"\0out") + inner, 4003, None)
    data = w.ask("a node behind a forwarder", message(ENCAPSULATED, b"\0node") + connect("node"), 4003, bytes([ENCAPSULATED]))
    if data and data[data[0] + 1:data[0] + 3] != bytes([CONNACK, 0]):
        print(f"the node was told {data!r}")
        w.n_wrong += 1
    w.ask("still there", message(PINGREQ), 4002, bytes([PINGRESP]))
    w.ask("the end", message(DISCONNECT), 4002, away)


def lies(w):
    whole = [connect("liar"), message(REGISTER, b"\0\0\0\1name"), publish(1, 1, b"data", 0x20), message(SUBSCRIBE, b"\x20\0\1a/b"),
             message(PINGREQ, b"liar"), message(DISCONNECT, b"\0\5"), message(PUBREL, b"\0\1"), message(SEARCHGW, b"\0"),
             message(ENCAPSULATED, b"\0node") + connect("liar")]
    n = 0
    for data in whole:
        for claimed in {0, 1, 2, 3, len(data) - 1, len(data) + 1, 255} - {data[0]}:
            n += 1
            w.send(w.frame(bytes([claimed]) + data[1:], 5000))
        for cut in range(len(data)):
            n += 1
            w.send(w.frame(data[:cut], 5000))
        for claimed in (0, 3, 4, len(data), len(data) + 1, len(data) + 3, 65535):
            n += 1
            w.send(w.frame(b"\1" + struct.pack(">H", claimed) + data[1:], 5000))
        time.sleep(0.01)
    print(f"LIES {n}", flush=True)
    w.expect("a lie was answered", 5000, None)
    w.client("honest", 5001)


def moves(w):
    """Ten times in ten seconds is often enough for anybody."""
    n_refused = 0
    for i in range(20):
        w.send(w.frame(connect("mover", 0), 6000 + i))
        data, _ = w.hear(6000 + i, 20)
        if not data or data[1] != CONNACK:
            print(f"move {i}: {data!r}")
            w.n_wrong += 1
        elif data[2] != 0:
            n_refused += 1
    if not 5 <= n_refused <= 10:
        print(f"{n_refused} moves of 19 were refused")
        w.n_wrong += 1


def twice(w):
    for _ in range(3):
        w.ask("CONNECT", connect("twice"), 7000, bytes([CONNACK, 0]))
    for mid in range(1, 21):
        data = b"twice %d" % mid
        for flags in (0x42, 0xc2, 0xc2):
            w.ask("PUBLISH of QoS 2", publish(0x7477, mid, data, flags), 7000, struct.pack(">BH", PUBREC, mid))
        for _ in range(2):
            w.ask("PUBREL", message(PUBREL, struct.pack(">H", mid)), 7000, struct.pack(">BH", PUBCOMP, mid))
    for _ in range(2):
        w.ask("SUBSCRIBE", message(SUBSCRIBE, b"\x20\0\x09t/x"), 7000, bytes([SUBACK]))


def flood(w, seconds):
    seed, n, end = random.Random(int(os.environ.get("HBUS_TEST_SEED", "7"))), 0, time.monotonic() + float(seconds)
    pool = []
    for i in range(9000):
        port, kind = seed.randrange(1024, 65536), i % 6
        data = (connect(f"flood{seed.getrandbits(40)}"), connect("flood", 0), publish(seed.getrandbits(16), i, os.urandom(20), 0x20),
                message(SUBSCRIBE, b"\x20\0\1#"), message(SEARCHGW, b"\0"), message(PINGREQ, b"flood%d" % i))[kind]
        pool.append(w.frame(data, port, host=60))
    w.socket.settimeout(None)
    while time.monotonic() < end:
        for frame in pool[n % 9000:n % 9000 + 100]:
            w.send(frame)
        n += 100
    print(f"SENT {n}", flush=True)


def main():
    scenarios = {"frames": frames, "rules": rules, "lies": lies, "moves": moves, "twice": twice, "flood": flood}
    if len(sys.argv) < 6 or sys.argv[5] not in scenarios:
        sys.exit(__doc__)
    wire = Wire(*sys.argv[1:5])
    scenarios[sys.argv[5]](wire, *sys.argv[6:])
    sys.exit(1 if wire.n_wrong else 0)


main()
