/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A load on an MQTT broker: publishers and subscribers of one thread, and every message looked at
 *
 * Either as fast as the broker takes and gives them (rate 0), or at times fixed beforehand: then a message's
 * latency counts from the time when it was due, so that waiting before it was sent is not left out
 * (coordinated omission).
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/mqtt/client.h"
#include "bench/stats.h"

/* Smallest payload: which run and publisher, its number, when it was due. */
#define BENCH_MQTT_SIZE_MIN 24u
#define BENCH_MQTT_SIZE_MAX 261120u /* with topic and attributes an event of a ring of 2 MiB */
#define BENCH_MQTT_CLIENTS_MAX 20000u
/* Publisher-subscriber pairs whose order is checked. */
#define BENCH_MQTT_PAIRS_MAX 16000000u

struct bench_mqtt_params {
	uint8_t version; /* HBUS_MQTT_V3, HBUS_MQTT_V5 */
	uint8_t qos;
	bool is_pairs;          /* subscriber i hears publisher i; else each hears all */
	bool is_bus;            /* nobody subscribes by MQTT: this process reads the bus in shared memory */
	bool is_irregular;      /* rate: due after gaps of 0 to twice the mean, the same ones in each run */
	bool keeps_sessions;    /* of clients, beyond their connections */
	bool spins;             /* the generator does not sleep: its waking is not the broker's latency */
	unsigned int n_publishers, n_subscribers;
	unsigned int size;      /* of a payload */
	unsigned int window;    /* QoS 1, 2: messages not acknowledged, of a publisher */
	unsigned int backlog;   /* rate 0: messages published that not all subscribers have yet */
	unsigned int rate;      /* messages/s of all publishers together; 0 = as fast as possible */
	unsigned int duration_ms;
	bool may_lose;            /* messages of QoS 0: counted, and no failure */
	unsigned int patience_ms; /* without progress, until what is missing is lost; 0 = 2 s */
};

struct bench_mqtt_outcome {
	double rate;          /* messages/s that subscribers got, all together */
	double broker_cpu;    /* CPU time of the broker by time; < 0 = not known */
	double loader_cpu;
	uint64_t n_sent, n_received;
	uint64_t n_lost, n_repeated, n_corrupt, n_strange; /* strange: of no run of ours */
	unsigned int window;  /* as the broker has allowed */
	struct bench_histogram latency; /* rate > 0 */
};

/* CPU time that the broker has used, in ns; or UINT64_MAX. */
typedef uint64_t (*bench_mqtt_cpu_fn)(const void *context);

struct bench_mqtt_target {
	struct bench_mqtt_endpoint endpoint;
	const char *bus_socket; /* or NULL: is_bus is not possible */
	bench_mqtt_cpu_fn cpu_fn;
	const void *context;
};

/**
 * bench_mqtt_load() - one measurement
 * @must_end: becomes not 0 when the user wants an end
 *
 * Return: 0, or -1 with a sentence on stderr: the broker refused or closed, or a message was lost, repeated or
 * corrupt; the outcome says how many.
 */
int bench_mqtt_load(const struct bench_mqtt_params *params, const struct bench_mqtt_target *target,
		    const volatile sig_atomic_t *must_end, struct bench_mqtt_outcome *ret_outcome);
