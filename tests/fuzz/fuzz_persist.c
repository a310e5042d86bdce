/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an MQTT gateway finds in its state directory. The input becomes a file whose check is right, so that what is
 * behind it is read; one in four is read as it is. Limits hold, what was taken can be saved and taken again, and the
 * second time nothing changes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"
#include "dataplane/mqtt/engine.h"

#define WALL_MS 1000000u
#define CHECK_SIZE 8u

static const uint64_t check_key[2] = { 0x6873756765627573, 0x7374617465636865 };
static const uint8_t magic[8] = { 'H', 'B', 'M', 'Q', 'T', 'T', 0, 1 };

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

static size_t do_send(void *context, void *link, const struct iovec *parts, int n_parts)
{
	(void)context;
	(void)link;
	(void)parts;
	(void)n_parts;
	return 0;
}

static void do_close(void *context, void *link)
{
	(void)context;
	(void)link;
}

static uint8_t do_publish(void *context, const struct hbus_mqtt_message *message)
{
	(void)context;
	(void)message;
	return 0;
}

static uint8_t do_subscribe(void *context, const char *filter)
{
	(void)context;
	(void)filter;
	return 0;
}

static void do_unsubscribe(void *context, const char *filter)
{
	(void)context;
	(void)filter;
}

static struct hbus_mqtt *engine_new(struct hbus_mqtt_config *config)
{
	const struct hbus_mqtt_io io = { .send = do_send, .close = do_close, .publish = do_publish, .subscribe = do_subscribe,
					 .unsubscribe = do_unsubscribe };
	struct hbus_mqtt *engine;

	hbus_mqtt_config_default(config);
	config->sessions_max = 3;
	config->subscriptions_max = 6;
	config->queue_max = 6;
	config->message_bytes_max = 8000;
	config->retained_max = 4;
	require(hbus_mqtt_new(config, &io, 1000, &engine) == 0);
	return engine;
}

static void check(struct hbus_mqtt *engine, const struct hbus_mqtt_config *config)
{
	const struct hbus_mqtt_counters *counters = hbus_mqtt_counters(engine);

	require(counters->sessions_now <= config->sessions_max && counters->retained_now <= config->retained_max);
	require(counters->subscriptions_now <= (uint64_t)config->sessions_max * config->subscriptions_max);
	require(counters->message_bytes_now <= config->message_bytes_max);
}

/* Loads, and saves again. */
static int round_trip(const uint8_t *data, size_t size, uint8_t **ret_data, size_t *ret_size)
{
	struct hbus_mqtt_config config;
	struct hbus_mqtt *engine = engine_new(&config);
	int r = hbus_mqtt_load(engine, data, size, WALL_MS);

	check(engine, &config);
	require(hbus_mqtt_save(engine, WALL_MS, ret_data, ret_size) == 0);
	hbus_mqtt_free(engine);
	return r;
}

static uint8_t *file_of(const uint8_t *data, size_t size, size_t *ret_size)
{
	uint8_t *file = malloc(sizeof(magic) + size + CHECK_SIZE);
	uint64_t sum;

	require(file != NULL);
	memcpy(file, magic, sizeof(magic));
	memcpy(file + sizeof(magic), data, size);
	sum = hbus_siphash(check_key, file, sizeof(magic) + size);
	for (size_t i = 0; i < CHECK_SIZE; i++)
		file[sizeof(magic) + size + i] = (uint8_t)(sum >> (8 * (CHECK_SIZE - 1 - i)));
	*ret_size = sizeof(magic) + size + CHECK_SIZE;
	return file;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *file = NULL, *once = NULL, *twice = NULL;
	size_t file_size = 0, once_size = 0, twice_size = 0;

	if (size == 0)
		return 0;
	if (data[0] % 4) {
		file = file_of(data + 1, size - 1, &file_size);
		round_trip(file, file_size, &once, &once_size);
	} else {
		round_trip(data + 1, size - 1, &once, &once_size);
	}
	require(round_trip(once, once_size, &twice, &twice_size) == 0);
	require(once_size == twice_size);
	free(file);
	free(once);
	free(twice);
	return 0;
}
