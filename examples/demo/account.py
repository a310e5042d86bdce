#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The account of the demonstration: account.py DIRECTORY live|capture|none

Reads what everybody has counted for himself: the devices (or the capture's maker) and the publisher
what they sent, the filter and the ingress what became of it, the network device what it lost, each
subscriber what it got. Prints it by topic, and exits with 0 only when every event is in it once.
"""
import glob
import json
import os
import signal
import sys

TOPICS = {"5001": "plant/temperature", "5002": "plant/vibration", "5003": "plant/pressure"}
METERS = ["meter/power", "meter/water", "meter/gas"]
BATCH_ROUTE = "(broken, port 6000)"
NO_ROUTE = "(not ours, port 9999)"
FILTERED = ("no_interest",)
COLUMNS = ["sent", "filtered", "to kernel", "malformed", "dropped", "published", "reliable", "lossy", "MQTT"]
MQTT_TOPICS = ["local/clock", "room/door"]
# Of the gateway: PUBLISH packets that did not get to the bus, and events that did not get to a client.
MQTT_REFUSED = ["publishes_denied", "publishes_bad_topic", "publishes_bad_payload", "publishes_bus_refused"]
MQTT_LOST = ["bus_lost", "bus_too_large", "dropped_offline", "dropped_queue", "dropped_memory", "dropped_too_large",
             "dropped_expired", "dropped_session"]
# The port of MQTT over TCP: what it loses is sent again.
LIGHTS_PORT = "gw1"


class Account:
    """Rows by topic; what does not add up is kept as sentences."""

    def __init__(self):
        self.rows = {}
        self.errors = []
        self.notes = {}

    def add(self, topic, column, value):
        row = self.rows.setdefault(topic, dict.fromkeys(COLUMNS, 0))
        row[column] += value

    def note(self, reason, value):
        if value:
            self.notes[reason] = self.notes.get(reason, 0) + value

    def must_be(self, where, left, right):
        if left != right:
            self.errors.append(f"{where}: {left} is not {right}")

    def total(self, column):
        return sum(row[column] for row in self.rows.values())


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def ingress_reports(directory):
    reports = []
    for path in sorted(glob.glob(os.path.join(directory, "ingress*.out"))):
        if os.path.getsize(path):
            reports.append(load(path))
    return reports


def topic_sums(reports):
    """What became of a topic's events in all ingresses: {topic or route: {counter: sum}}."""
    sums = {}
    for report in reports:
        for entry in report["topics"]:
            name = entry.get("topic") or "route"
            row = sums.setdefault(name, {})
            for key, value in entry.items():
                if isinstance(value, int):
                    row[key] = row.get(key, 0) + value
    return sums


def frame_sum(reports, reason):
    return sum(report["frames"].get(reason, 0) for report in reports)


def xdp_route_sums(reports):
    """What the filter did with a topic's packets: {topic: {reason: sum}}; the batch route is under its own name."""
    sums = {}
    for report in reports:
        for port in report["ports"]:
            for route in port.get("xdp_routes", []):
                name = "route" if route["port"] == 6000 else route["topic"]
                row = sums.setdefault(name, {})
                for key, value in route.items():
                    if isinstance(value, int) and key not in ("prefix_len", "port", "vlan"):
                        row[key] = row.get(key, 0) + value
    return sums


def link_drops(directory):
    """Packets that the devices' end of the link says it could not hand over."""
    def dropped(path):
        return load(os.path.join(directory, path))[0]["stats64"]["tx"]["dropped"]
    return dropped("link-after.json") - dropped("link-before.json")


def take_topic(account, topic, sums):
    """What the ingress did with the events of a topic, but for those it drops as malformed."""
    account.add(topic, "filtered", sums.get("no_interest", 0))
    account.add(topic, "dropped", sums.get("ring_full", 0))
    account.add(topic, "published", sums.get("published", 0))
    account.note("ring full", sums.get("ring_full", 0))


def take_mqttsn(account, directory, reports, topics):
    """The rows of the MQTT-SN clients. Return: how many of their other datagrams did not arrive."""
    sums = {name: sum(report["mqttsn"][name] for report in reports) for name in ("passed", "publishes_in")}
    quiet = sum(route["no_interest"] for report in reports for port in report["ports"]
                for route in port.get("xdp_routes", []) if route["port"] == 1883)
    control = 0
    for topic in ("level", "draft"):
        said = load(os.path.join(directory, f"mqttsn-{topic}.json"))
        account.add(f"tank/{topic}", "sent", said["published"])
        take_topic(account, f"tank/{topic}", topics.get(f"tank/{topic}", {}))
        control += said["datagrams"] - said["published"]
    account.add("tank/draft", "filtered", quiet)
    # Before a poll loop has the topic the gateway publishes; clients wait for that, so it is rare.
    account.add("tank/level", "published", sums["publishes_in"])
    lost = control - (sums["passed"] - sums["publishes_in"])
    if lost < 0:
        account.errors.append(f"MQTT-SN: {-lost} more datagrams beside PUBLISH arrived than were sent")
    return lost


def take_live(account, directory):
    devices = load(os.path.join(directory, "devices.out"))
    reports = ingress_reports(directory)
    topics, routes = topic_sums(reports), xdp_route_sums(reports)
    missing = 0

    for port, topic in TOPICS.items():
        sent, xdp = devices["ports"][port], routes.get(topic, {})
        account.add(topic, "sent", sent)
        account.add(topic, "filtered", xdp.get("no_interest", 0))
        account.add(topic, "to kernel", xdp.get("no_socket", 0))
        account.add(topic, "dropped", xdp.get("rate_limited", 0) + xdp.get("source_denied", 0))
        account.add(topic, "malformed", xdp.get("bad_length", 0))
        take_topic(account, topic, topics.get(topic, {}))
    account.add(NO_ROUTE, "sent", devices["ports"]["9999"])
    account.add(NO_ROUTE, "to kernel", sum(port["xdp"]["unknown_port"] for report in reports for port in report["ports"]))
    account.add(BATCH_ROUTE, "sent", devices["ports"]["6000"])
    account.add(BATCH_ROUTE, "malformed", frame_sum(reports, "bad_batch"))
    account.add(BATCH_ROUTE, "filtered", routes.get("route", {}).get("no_interest", 0))
    for topic in METERS:
        account.add(topic, "sent", devices["batch"]["datagrams"])
        take_topic(account, topic, topics.get(topic, {}))

    missing += take_mqttsn(account, directory, reports, topics)

    # What the link or the queue of the socket lost is known by number, not by topic: the rows must be
    # short of exactly that many packets; a lost batched datagram is missing in three rows.
    link = link_drops(directory)
    queue = sum(port["missed"] + port["errors"] + port["no_buffer"] for report in reports for port in report["ports"]
                if port.get("iface") != LIGHTS_PORT)
    for topic, row in account.rows.items():
        short = row["sent"] - sum(row[column] for column in COLUMNS[1:6])
        if short < 0:
            account.errors.append(f"{topic}: {-short} more arrived than were sent")
        account.add(topic, "dropped", short)
        missing += short if topic not in METERS[1:] else 0
    account.must_be("packets that are missing, against those that link and queue say they lost", missing, link + queue)
    account.note("lost by the link", link)
    account.note("lost by the socket's queue", queue)
    account.must_be("datagrams that the devices could not send", devices["refused"], 0)


def take_lights(account, directory):
    """MQTT over TCP in the ingress: what mosquitto_pub has sent, and what the stack's engine did with it."""
    path = os.path.join(directory, "lights.json")
    engines = [report["tcp"]["mqtt"] for report in ingress_reports(directory) if "tcp" in report]
    if not os.path.exists(path) or not engines:
        return
    refused = sum(engine[name] for engine in engines for name in MQTT_REFUSED)
    account.add("hall/light", "sent", load(path)["sent"])
    account.add("hall/light", "dropped", refused)
    account.add("hall/light", "published", sum(engine["publishes_in"] for engine in engines) - refused)


# Kinds of frames in the capture that are nobody's, by the reason that they must be counted under.
CAPTURE_TROUBLE = ["bad_batch", "duplicate", "unknown_port", "fragment", "bad_checksum", "bad_length", "not_udp", "not_ip"]


def take_capture(account, directory):
    made = load(os.path.join(directory, "capture.json"))
    reports = ingress_reports(directory)
    topics = topic_sums(reports)
    n = len(reports)

    for port, topic in TOPICS.items():
        account.add(topic, "sent", made[port] * n)
        take_topic(account, topic, topics.get(topic, {}))
    for topic in METERS:
        account.add(topic, "sent", made["batch"] * n)
        take_topic(account, topic, topics.get(topic, {}))
    for reason in CAPTURE_TROUBLE:
        account.add(f"({reason})", "sent", made[reason] * n)
        account.add(f"({reason})", "malformed", frame_sum(reports, reason))
    account.must_be("frames received, against those in the capture", frame_sum(reports, "received"), made["frames"] * n)


def take_subscriber(account, directory, name):
    summary = load(os.path.join(directory, f"{name}.json"))
    for entry in summary["topics"]:
        account.add(entry["topic"], name, entry["delivered"])
    with open(os.path.join(directory, f"{name}.out"), "rb") as out:
        lines = sum(block.count(b"\n") for block in iter(lambda: out.read(1 << 20), b""))
    account.must_be(f"{name}: lines printed, against events delivered", lines, summary["delivered"])
    short = sum(row["published"] - row[name] for row in account.rows.values())
    account.must_be(f"{name}: published and not delivered, against losses told", short, summary["lost"])
    return summary["lost"]


def take_mqtt(account, directory):
    """What mosquitto_pub and mosquitto_sub have counted, and what the gateway says it lost. Return: that, or None."""
    if not os.path.exists(os.path.join(directory, "mqtt.json")):
        return None
    counters = {}
    for row in load(os.path.join(directory, "mqtt.json"))["counters"]:
        if row["set"] != "mqtt":
            continue
        counters[row["counter"]] = counters.get(row["counter"], 0) + row["value"]
    refused = sum(counters[name] for name in MQTT_REFUSED)
    account.add("room/door", "sent", load(os.path.join(directory, "mosquitto_pub.json"))["sent"])
    account.add("room/door", "dropped", refused)
    account.add("room/door", "published", counters["publishes_in"] - refused)
    with open(os.path.join(directory, "mosquitto_sub.out"), encoding="utf-8") as out:
        for line in out:
            account.add(line.rstrip("\n"), "MQTT", 1)
    lost = sum(counters[name] for name in MQTT_LOST)
    short = sum(account.rows[topic]["published"] - account.rows[topic]["MQTT"] for topic in MQTT_TOPICS)
    account.must_be("mosquitto_sub: published and not delivered, against losses told", short, lost)
    return lost


def print_line(name, cells):
    """100 columns, unless a number is longer than its heading."""
    print(f"{name:<22}", *(f" {cell:>{max(len(column), 6)}}" for column, cell in zip(COLUMNS, cells)), sep="")


def print_table(account):
    print()
    print_line("topic", COLUMNS)
    for topic, row in sorted(account.rows.items(), key=lambda item: (item[0].startswith("("), item[0])):
        print_line(topic, [row[column] or "" for column in COLUMNS])
    print_line("all", [account.total(column) for column in COLUMNS])


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who has read enough is no fault
    directory, packets = sys.argv[1:]
    account = Account()
    if packets == "live":
        take_live(account, directory)
        take_lights(account, directory)
    elif packets == "capture":
        take_capture(account, directory)
    for entry in load(os.path.join(directory, "publisher.json"))["topics"]:
        account.add(entry["topic"], "sent", entry["published"])
        account.add(entry["topic"], "published", entry["published"])
    mqtt_lost = take_mqtt(account, directory)
    reliable_lost = take_subscriber(account, directory, "reliable")
    lossy_lost = take_subscriber(account, directory, "lossy")
    account.must_be("reliable: events lost", reliable_lost, 0)

    for topic, row in account.rows.items():
        account.must_be(f"{topic}: sent, against the sum of what became of it", row["sent"],
                        sum(row[column] for column in COLUMNS[1:6]))
    print_table(account)
    dropped = ", ".join(f"{reason} {value}" for reason, value in account.notes.items())
    print(f"\ndropped: {dropped or 'nothing'}; reliable lost {reliable_lost}, lossy lost {lossy_lost}"
          + (f", MQTT lost {mqtt_lost}" if mqtt_lost is not None else "") + " (told exactly)")
    if account.errors:
        print("\nThe account does not balance:")
        print("".join(f"  {error}\n" for error in account.errors), end="")
        return 1
    print(f"The account balances: {account.total('sent')} sent = {account.total('filtered')} filtered"
          f" + {account.total('to kernel')} to the kernel\n+ {account.total('malformed')} malformed"
          f" + {account.total('dropped')} dropped + {account.total('published')} published,"
          f" and each subscriber got what was published{' or was told' if lossy_lost else ''}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
