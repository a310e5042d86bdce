/* SPDX-License-Identifier: BSD-3-Clause */
/* What is measured of MQTT brokers: the lines of the table. */
#pragma once

#include "bench/mqtt/load.h"

enum bench_mqtt_value {
	BENCH_MQTT_RATE,    /* messages/s that subscribers got; more is better */
	BENCH_MQTT_CPU,     /* of the broker at a given rate; less is better */
	BENCH_MQTT_LATENCY, /* median at a given rate; less is better */
};

struct bench_mqtt_case {
	const char *name;
	const char *title;
	enum bench_mqtt_value value;
	struct bench_mqtt_params params;
	bool is_asked_for; /* by the user, as it is: not fitted to a broker */
};

extern const struct bench_mqtt_case bench_mqtt_cases[];
extern const unsigned int bench_mqtt_n_cases;

/* Messages under way in a case without a rate: enough to keep everybody busy, too few for a queue to overflow. */
unsigned int bench_mqtt_backlog(unsigned int size);
