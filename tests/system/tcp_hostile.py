#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Who means no good, for the tests of MQTT over TCP in the ingress; in the words of sockets and frames.

    tcp_hostile.py flood IF MAC ADDRESS RATE   frames that no program of ours would send, RATE a second, until SIGTERM:
                                               openings from everywhere, resets, ends, acknowledgements and data of
                                               connections that exist and that do not, scans of ports, pings; says how many
    tcp_hostile.py loiter HOST COUNT           COUNT connections of each kind: says nothing; says a byte of its CONNECT
                                               a second; says CONNECT and a packet that never ends. Says READY, and ends
                                               when the other end has ended the first two; says LEFT with how many it has not
    tcp_hostile.py small HOST SEGMENT WINDOW   subscribes to "big" with segments and a receive buffer of these sizes; says
                                               READY, then how many bytes its first message has
"""
import os
import random
import select
import signal
import socket
import struct
import sys
import time

from mqtt_peer import PORT, checksum, connect_packet, raw
from mqtt_wire import head, packet, text

FIN, SYN, RST, PUSH, ACK = 1, 2, 4, 8, 16
must_end = False


def frame(macs, source, target, ports, flags, seed):
    options = b"\2\4" + struct.pack(">H", seed.choice([1, 88, 1460, 65535])) if flags == SYN else b""
    data = os.urandom(seed.choice([1, 100, 1400])) if flags & PUSH else b""
    tcp = struct.pack(">HHIIBBHHH", *ports, seed.getrandbits(32), seed.getrandbits(32), (5 + len(options) // 4) << 4, flags,
                      seed.getrandbits(16), 0, 0) + options + data
    tcp = tcp[:16] + struct.pack(">H", checksum(source + target + struct.pack(">BBH", 0, 6, len(tcp)) + tcp)) + tcp[18:]
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + source + target
    return macs + b"\x08\0" + ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:] + tcp


def ping(macs, source, target, seed):
    icmp = struct.pack(">BBHHH", 8, 0, 0, 1, seed.getrandbits(16)) + os.urandom(56)
    icmp = icmp[:2] + struct.pack(">H", checksum(icmp)) + icmp[4:]
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(icmp), 0, 0, 64, 1, 0) + source + target
    return macs + b"\x08\0" + ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:] + icmp


def bad_frames(macs, target, seed, count):
    """A mixture; what is not an opening comes half from a host whose connections exist, whose ports it guesses."""
    for i in range(count):
        source = bytes([10, 77, seed.randrange(1, 255), seed.randrange(1, 255)])
        host = source if seed.random() < 0.5 else b"\x0a\x4d\0\2"
        port = seed.randrange(32768, 61000)
        kind = i % 8
        if kind < 2:
            yield frame(macs, source, target, (seed.randrange(1024, 65536), PORT), SYN, seed)
        elif kind == 7:
            yield ping(macs, source, target, seed)
        elif kind == 6:
            yield frame(macs, host, target, (port, seed.randrange(1, 1024)), SYN, seed)
        else:
            yield frame(macs, host, target, (port, PORT), (RST, FIN | ACK, ACK, PUSH | ACK)[kind - 2], seed)


def flood(interface, mac, address, rate):
    s, seed, rate, n = raw(interface), random.Random(int(os.environ.get("HBUS_TEST_SEED", "7"))), int(rate), 0
    macs = bytes.fromhex(mac.replace(":", "")) + s.getsockname()[4]
    frames = list(bad_frames(macs, socket.inet_aton(address), seed, 8000))
    print("READY", flush=True)
    start = time.monotonic()
    while not must_end:
        if n > (time.monotonic() - start) * rate:
            time.sleep(0.001)
            continue
        try:
            s.send(frames[n % len(frames)])
        except OSError:
            pass
        n += 1
    print("SENT", n, flush=True)


def loiter(host, count):
    silent, slow, endless = [], [], []
    whole = connect_packet(b"x" * 20)
    for _ in range(int(count)):
        for group in (silent, slow, endless):
            group.append(socket.create_connection((host, PORT), timeout=5))
    for i, s in enumerate(endless):
        s.sendall(connect_packet(b"endless%d" % i) + b"\x32\xff\xff\x7f" + text(b"never"))
    print("READY", flush=True)
    left, at = set(silent + slow), 0
    end = time.monotonic() + 20
    while left and time.monotonic() < end:
        for s in left & set(slow) if at < len(whole) - 1 else ():
            try:
                s.send(whole[at:at + 1])
            except OSError:
                pass
        at += 1
        until = time.monotonic() + 1
        while left and time.monotonic() < until:
            for s in select.select(list(left), [], [], max(0.0, until - time.monotonic()))[0]:
                try:
                    if s.recv(100):
                        continue
                except OSError:
                    pass
                left.discard(s)
                s.close()
    print("LEFT", len(left), flush=True)


def small(host, segment, window):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, int(segment))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(window))
    s.settimeout(20)
    s.connect((host, PORT))
    s.sendall(connect_packet(b"small" + segment.encode()) + packet(0x82, b"\0\1" + text(b"big") + b"\0"))
    room = b""
    while len(room) < 4 + 5:
        room += s.recv(4096)
    print("READY", flush=True)
    room = room[9:]
    while not (there := head(room)):
        room += s.recv(100)
    at, size = there
    n = len(room) - at
    while n < size:
        got = len(s.recv(4096))
        if not got:
            break
        n += got
    print("GOT", n, "OF", size, flush=True)


def on_term(*_):
    global must_end
    must_end = True


def main():
    signal.signal(signal.SIGTERM, on_term)
    commands = {"flood": flood, "loiter": loiter, "small": small}
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])


main()
