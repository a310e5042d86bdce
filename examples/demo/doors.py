#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Lines for mosquitto_pub -l: doors.py RATE SECONDS COUNT-FILE. Says in COUNT-FILE, as JSON, how many it was."""
import json
import sys
import time

rate, seconds = int(sys.argv[1]), int(sys.argv[2])
begin = time.monotonic()
for number in range(rate * seconds):
    time.sleep(max(begin + number / rate - time.monotonic(), 0))
    print(f"door {number % 8} {'open' if number % 2 else 'closed'} {number}", flush=True)
with open(sys.argv[3], "w", encoding="utf-8") as file:
    json.dump({"sent": rate * seconds}, file)
