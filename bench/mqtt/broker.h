/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The brokers that are measured beside each other: those that this program starts, and those that are there
 *
 * hugebus-mqtt on a private bus, mosquitto with its fastest documented settings, and a relay that knows
 * nothing of MQTT but how to greet and copies bytes from one socket to another: what the sockets of this host and the
 * generator itself allow.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "bench/harness.h"
#include "bench/mqtt/load.h"

#define BENCH_MQTT_BROKERS_MAX 6u
#define BENCH_MQTT_ARGS_MAX 16u

enum bench_mqtt_kind { BENCH_MQTT_HUGEBUS, BENCH_MQTT_MOSQUITTO, BENCH_MQTT_RELAY, BENCH_MQTT_OTHER };

struct bench_mqtt_broker {
	enum bench_mqtt_kind kind;
	char name[32];     /* for people and programs */
	char version[64];
	pid_t pid;         /* of a private one, or what the user says; 0 = not known */
	bool is_private;
	struct bench_bus bus; /* HUGEBUS: its own */
	char log[128];     /* file with what a private one says */
	struct bench_mqtt_target target;
};

struct bench_mqtt_setup {
	const char *directory;  /* for configuration and logs */
	int core;               /* of the generator: private brokers run on the others; -1 = anywhere */
	const char *args[BENCH_MQTT_ARGS_MAX]; /* further options of hugebus-mqtt */
	unsigned int n_args;
};

/* Is the program of this kind there? */
bool bench_mqtt_broker_is_here(enum bench_mqtt_kind kind);
/* Return: 0 when it answers, else -1 with a sentence on stderr. */
int bench_mqtt_broker_start(struct bench_mqtt_broker *broker, enum bench_mqtt_kind kind,
			    const struct bench_mqtt_setup *setup);
/* [NAME=]SCHEME://[USER[:PASSWORD]@]HOST[:PORT][/PATH] with mqtt, mqtts, ws or wss. Return: whether @url is that. */
bool bench_mqtt_broker_parse(struct bench_mqtt_broker *broker, const char *url);
void bench_mqtt_broker_stop(struct bench_mqtt_broker *broker);

/* The relay's program; serves until it is killed. @fd: a listening socket. */
_Noreturn void bench_mqtt_relay_main(int fd);
