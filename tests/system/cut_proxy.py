#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A TCP proxy that cuts what goes through it: cut_proxy.py PORT TO-PORT SECONDS [TIMES]

Every SECONDS all connections are reset at once, wherever in a packet that is; after TIMES (3) it leaves them alone.
"""
import socket
import struct
import sys
import threading
import time

RESET = struct.pack("ii", 1, 0)
pairs = []


def copy(source, to):
    try:
        while True:
            data = source.recv(4096)
            if not data:
                break
            to.sendall(data)
    except OSError:
        pass
    for sock in (source, to):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def cut(seconds, times):
    for _ in range(times):
        time.sleep(seconds)
        for sock in [sock for pair in pairs for sock in pair]:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
        pairs.clear()
        print("cut", flush=True)


def main():
    port, to_port, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    listener = socket.create_server(("127.0.0.1", port), reuse_port=True)
    threading.Thread(target=cut, args=(seconds, int(sys.argv[4]) if len(sys.argv) > 4 else 3), daemon=True).start()
    print("ready", flush=True)
    while True:
        pair = listener.accept()[0], socket.create_connection(("127.0.0.1", to_port))
        pairs.append(pair)
        for source, to in (pair, pair[::-1]):
            threading.Thread(target=copy, args=(source, to), daemon=True).start()


if __name__ == "__main__":
    main()
