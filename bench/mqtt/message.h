/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The messages of the load generator: PUBLISH packets made from a template, and what is checked of those that arrive
 *
 * A payload says of which run and publisher it is, its number and when it was due; every further byte follows from
 * the number. So a lost, repeated, torn or foreign message shows.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bench_mqtt_label {
	uint32_t run;
	uint32_t publisher;
	uint64_t number;
	uint64_t due_ns;
};

/* PUBLISH packets of one publisher are equal but for packet identifier and payload. */
struct bench_mqtt_template {
	uint8_t head[160]; /* fixed header, topic, room for the packet identifier, no properties */
	unsigned int head_size, id_off, size;
};

void bench_mqtt_template_make(struct bench_mqtt_template *template, uint8_t version, uint8_t qos, const char *topic,
			      unsigned int size);
/* Writes head_size + size bytes. */
void bench_mqtt_template_fill(const struct bench_mqtt_template *template, uint16_t packet_id,
			      const struct bench_mqtt_label *label, uint8_t *out);

/* Takes a payload apart. Return: false when it is not one of ours, or not whole. */
bool bench_mqtt_check(const uint8_t *payload, size_t size, unsigned int wanted_size, struct bench_mqtt_label *ret_label);
