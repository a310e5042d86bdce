/* SPDX-License-Identifier: BSD-3-Clause */
/* What was found of MQTT brokers, as a table for people and as JSON for programs. */
#pragma once

#include <stdio.h>

#include "bench/mqtt/broker.h"
#include "bench/mqtt/cases.h"

/* One case with one broker. */
struct bench_mqtt_cell {
	bool is_run, has_failed;
	struct bench_samples value; /* what the case measures */
	struct bench_samples rate, cpu, loader; /* cpu, loader: CPUs in use; cpu only where it is known */
	struct bench_samples ratio; /* the first broker's value / this one's, of the same repetition */
	struct bench_histogram *latency;
	uint64_t n_messages;
	uint64_t n_faults; /* lost, repeated, corrupt, of nobody */
	unsigned int window;
};

struct bench_mqtt_report {
	const struct bench_cores *cores;
	const struct bench_mqtt_case *cases;
	unsigned int n_cases;
	const struct bench_mqtt_broker *brokers;
	unsigned int n_brokers;
	struct bench_mqtt_cell (*cells)[BENCH_MQTT_BROKERS_MAX]; /* by case */
	double noise, seconds;
	unsigned int n_repeats;
	bool was_interrupted;
};

void bench_mqtt_report_table(const struct bench_mqtt_report *report, FILE *out);
/* Return: 0 or -1. */
int bench_mqtt_report_json(const struct bench_mqtt_report *report, FILE *out);
