/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One MQTT client connection of the load generator: what goes out is gathered, what comes in is cut into packets
 *
 * No protocol state beyond that: load.c says what is sent when. Non-blocking; one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/mqtt/transport.h"
#include "dataplane/mqtt/frame.h"

/* Bytes that are gathered before a publisher waits for its socket. */
#define BENCH_MQTT_OUT_BYTES 65536u

struct bench_mqtt_client {
	struct bench_mqtt_transport transport;
	uint32_t idx;
	uint8_t version;
	bool is_subscriber, keeps_session, is_ready, wants_out, is_dirty;
	uint16_t receive_max; /* what the broker takes unacknowledged; MQTT 5 */
	struct hbus_mqtt_frame frame;
	uint8_t *out;
	size_t out_size, out_sent, out_room;
};

/* Connects and registers with @epoll_fd. Return: 0, or -errno with a sentence on stderr. */
int bench_mqtt_client_open(struct bench_mqtt_client *client, const struct bench_mqtt_endpoint *endpoint, int epoll_fd);
void bench_mqtt_client_close(struct bench_mqtt_client *client);

/* Room for @size bytes more of the output; exits when there is no memory. */
uint8_t *bench_mqtt_client_room(struct bench_mqtt_client *client, size_t size);
/* @size: at most what was asked room for. */
static inline void bench_mqtt_client_put(struct bench_mqtt_client *client, size_t size)
{
	client->out_size += size;
}

static inline size_t bench_mqtt_client_waiting(const struct bench_mqtt_client *client)
{
	return client->out_size - client->out_sent;
}

void bench_mqtt_client_say_connect(struct bench_mqtt_client *client, const struct bench_mqtt_endpoint *endpoint);
void bench_mqtt_client_say_subscribe(struct bench_mqtt_client *client, const char *filter, uint8_t qos);
/* PUBACK, PUBREC, PUBREL, PUBCOMP. */
void bench_mqtt_client_say_ack(struct bench_mqtt_client *client, uint8_t type, uint16_t packet_id);
void bench_mqtt_client_say_bye(struct bench_mqtt_client *client);

/* Writes what the socket takes. Return: 0 or -errno. */
int bench_mqtt_client_flush(struct bench_mqtt_client *client, int epoll_fd);
