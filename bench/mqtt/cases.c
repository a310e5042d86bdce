/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of MQTT measurements. See cases.h. */
#include "bench/mqtt/cases.h"

#include "dataplane/mqtt/mqtt.h"

#define V3 HBUS_MQTT_V3
#define V5 HBUS_MQTT_V5
#define RATE BENCH_MQTT_RATE
#define CPU BENCH_MQTT_CPU
#define LATENCY BENCH_MQTT_LATENCY

const struct bench_mqtt_case bench_mqtt_cases[] = {
	{"qos0.64", "QoS 0, 64 B, 1 -> 1", RATE, {V3, 0, .n_publishers = 1, .n_subscribers = 1, .size = 64}},
	{"qos0.64.v5", "the same, MQTT 5", RATE, {V5, 0, .n_publishers = 1, .n_subscribers = 1, .size = 64}},
	{"qos0.1024", "QoS 0, 1 KiB, 1 -> 1", RATE, {V3, 0, .n_publishers = 1, .n_subscribers = 1, .size = 1024}},
	{"qos0.8192", "QoS 0, 8 KiB, 1 -> 1", RATE, {V3, 0, .n_publishers = 1, .n_subscribers = 1, .size = 8192}},
	{"qos1.100", "QoS 1, 64 B, 100 in flight", RATE,
	 {V3, 1, .n_publishers = 1, .n_subscribers = 1, .size = 64, .window = 100}},
	{"qos1.1000", "QoS 1, 64 B, 1000 in flight", RATE,
	 {V3, 1, .n_publishers = 1, .n_subscribers = 1, .size = 64, .window = 1000}},
	{"qos1.1000.v5", "the same, MQTT 5", RATE, {V5, 1, .n_publishers = 1, .n_subscribers = 1, .size = 64, .window = 1000}},
	{"qos2.100", "QoS 2, 64 B, 100 in flight", RATE,
	 {V3, 2, .n_publishers = 1, .n_subscribers = 1, .size = 64, .window = 100}},
	{"fanout.10", "QoS 0, 64 B, 1 -> 10", RATE, {V3, 0, .n_publishers = 1, .n_subscribers = 10, .size = 64}},
	{"fanin.100", "QoS 0, 64 B, 100 -> 1", RATE, {V3, 0, .n_publishers = 100, .n_subscribers = 1, .size = 64}},
	{"pairs.10", "QoS 1, 64 B, 10 x (1 -> 1)", RATE,
	 {V3, 1, .is_pairs = true, .n_publishers = 10, .n_subscribers = 10, .size = 64, .window = 100}},
	{"fleet.1000", "1000 clients x 10/s -> 1, QoS 0, CPU", CPU,
	 {V3, 0, .n_publishers = 1000, .n_subscribers = 1, .size = 64, .rate = 10000}},
	{"fleet.1000.qos1", "the same, QoS 1", CPU,
	 {V3, 1, .n_publishers = 1000, .n_subscribers = 1, .size = 64, .window = 100, .rate = 10000}},
	{"rtt.qos0", "round trip, 64 B, 1000/s, QoS 0", LATENCY,
	 {V3, 0, .spins = true, .n_publishers = 1, .n_subscribers = 1, .size = 64, .rate = 1000}},
	{"rtt.qos1", "the same, QoS 1", LATENCY,
	 {V3, 1, .spins = true, .n_publishers = 1, .n_subscribers = 1, .size = 64, .window = 100, .rate = 1000}},
	{"rtt.irregular", "the same, QoS 0, after gaps of 0 to 2 ms", LATENCY,
	 {V3, 0, .is_irregular = true, .spins = true, .n_publishers = 1, .n_subscribers = 1, .size = 64, .rate = 1000}},
	{"rtt.20k", "round trip, 64 B, 20000/s, QoS 0", LATENCY,
	 {V3, 0, .spins = true, .n_publishers = 1, .n_subscribers = 1, .size = 64, .rate = 20000}},
	{"bus.qos0", "MQTT -> shared memory, one way, 1000/s", LATENCY,
	 {V3, 0, .is_bus = true, .spins = true, .n_publishers = 1, .size = 64, .rate = 1000}},
	{"bus.20k", "the same, 20000/s", LATENCY,
	 {V3, 0, .is_bus = true, .spins = true, .n_publishers = 1, .size = 64, .rate = 20000}},
};
const unsigned int bench_mqtt_n_cases = sizeof(bench_mqtt_cases) / sizeof(bench_mqtt_cases[0]);

unsigned int bench_mqtt_backlog(unsigned int size)
{
	unsigned int n = (1u << 20) / (size > 0 ? size : 1);

	return n > 4096 ? 4096 : n < 16 ? 16 : n;
}
