#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""An MQTT 3.1.1 broker that does its duty, or lies in one way: liar.py honest|loses|repeats|changes|swaps|refuses|hangs

For the tests of who must notice. Prints its port. QoS 0 and 1, one topic space without filters: each subscriber hears all.
"""
import socket
import struct
import sys
import threading

from mqtt_wire import packet, split


class Liar:
    """What all connections share."""

    def __init__(self, lie):
        self.lie = lie
        self.lock = threading.Lock()
        self.subscribers = []
        self.count = 0
        self.held = None

    def copies(self, body):
        """What a subscriber is to get for this message, and in place of it."""
        self.count += 1
        if self.count % 50 or self.lie == "honest":
            held, self.held = self.held, None
            return [body, held] if held else [body]
        if self.lie == "loses":
            return []
        if self.lie == "repeats":
            return [body, body]
        if self.lie == "changes":
            return [body[:-1] + bytes([body[-1] ^ 1])]
        if self.lie == "swaps":
            self.held = body
            return []
        return [body]

    def publish(self, qos, body):
        with self.lock:
            if self.lie == "hangs" and self.count >= 50:
                return
            for copy in self.copies(body):
                for sock in self.subscribers:
                    sock.sendall(packet(0x30 | qos << 1, copy))

    def serve(self, sock):
        room = b""
        try:
            while True:
                while not (whole := split(room)):
                    more = sock.recv(65536)
                    if not more:
                        raise ConnectionError
                    room += more
                first, body, room = whole
                kind = first >> 4
                if kind == 1:
                    sock.sendall(b"\x20\x02\x00" + (b"\x05" if self.lie == "refuses" else b"\x00"))
                elif kind == 8:
                    with self.lock:
                        self.subscribers.append(sock)
                    sock.sendall(b"\x90\x03" + body[:2] + body[-1:])
                elif kind == 3:
                    qos = first >> 1 & 3
                    self.publish(qos, body)
                    if qos:
                        at = 2 + struct.unpack(">H", body[:2])[0]
                        sock.sendall(b"\x40\x02" + body[at:at + 2])
        except (ConnectionError, OSError):
            with self.lock:
                if sock in self.subscribers:
                    self.subscribers.remove(sock)


def main():
    liar = Liar(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=liar.serve, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
