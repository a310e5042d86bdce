# SPDX-License-Identifier: BSD-3-Clause
"""MQTT packets as bytes, for the clients and brokers of tests, which import it from beside them."""
import struct


def packet(first, body):
    size, head = len(body), bytes([first])
    while True:
        byte, size = size % 128, size // 128
        head += bytes([byte | 128 if size else byte])
        if not size:
            return head + body


def text(value):
    return struct.pack(">H", len(value)) + value


def head(room):
    """(where the body begins, how long it is) of the packet at the front of @room; None: that has not come yet."""
    size, at, shift = 0, 1, 0
    while at < len(room):
        size |= (room[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if not room[at - 1] & 128:
            return at, size
    return None


def split(room):
    """(first byte, body, what follows) of @room; None: a whole packet has not come yet."""
    there = head(room)
    if not there or len(room) < sum(there):
        return None
    at, size = there
    return room[0], room[at:at + size], room[at + size:]
