/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an MQTT gateway finds in its state directory. The input becomes a file whose check is right, so that what is
 * behind it is read, or the two parts of it become saved state and a journal; one in four is read as it is. Limits hold,
 * what was taken can be saved and taken again, and the second time nothing changes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"
#include "dataplane/mqtt/engine.h"
#include "dataplane/mqtt/records.h"

#define WALL_MS 1000000u
#define CHECK_SIZE 8u

static const uint64_t check_key[2] = HBUS_MQTT_CHECK_KEY;
static const uint8_t magic[8] = HBUS_MQTT_SAVED_MAGIC;
static const uint8_t journal_magic[8] = HBUS_MQTT_JOURNAL_MAGIC;

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

struct file {
	uint8_t *data;
	size_t size;
};

/* Loads, and saves again. @journal: NULL = none */
static int round_trip(const uint8_t *data, size_t size, const struct file *journal, uint8_t **ret_data, size_t *ret_size)
{
	struct hbus_mqtt_config config;
	struct hbus_mqtt *engine = engine_new(&config);
	struct hbus_mqtt_loader *loader = hbus_mqtt_load_begin(engine, WALL_MS);
	int r;

	require(loader != NULL);
	r = hbus_mqtt_load_saved(loader, data, size);
	if (r == 0 && journal)
		(void)hbus_mqtt_load_journal(loader, journal->data, journal->size);
	hbus_mqtt_load_end(loader);
	check(engine, &config);
	require(hbus_mqtt_save(engine, WALL_MS, ret_data, ret_size) == 0);
	hbus_mqtt_free(engine);
	return r;
}

static void put_number(uint8_t *at, uint64_t number, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		at[i] = (uint8_t)(number >> (8 * (n - 1 - i)));
}

/* @data: wall clock, generation and records */
static struct file saved_of(const uint8_t *data, size_t size)
{
	struct file file = { malloc(sizeof(magic) + size + CHECK_SIZE), sizeof(magic) + size + CHECK_SIZE };

	require(file.data != NULL);
	memcpy(file.data, magic, sizeof(magic));
	memcpy(file.data + sizeof(magic), data, size);
	put_number(file.data + sizeof(magic) + size, hbus_siphash(check_key, file.data, sizeof(magic) + size), CHECK_SIZE);
	return file;
}

/* Of one batch, that follows what was saved as generation @generation. */
static struct file journal_of(const uint8_t *records, size_t size, const uint8_t *generation)
{
	struct file file = { malloc(HBUS_MQTT_JOURNAL_HEAD + HBUS_MQTT_BATCH_HEAD + size),
			     HBUS_MQTT_JOURNAL_HEAD + HBUS_MQTT_BATCH_HEAD + size };
	uint8_t *at = file.data;

	require(at != NULL);
	memcpy(at, journal_magic, sizeof(journal_magic));
	memcpy(at + sizeof(journal_magic), generation, sizeof(uint64_t));
	at += HBUS_MQTT_JOURNAL_HEAD;
	put_number(at, size, 4);
	put_number(at + 4, 0, 4);
	put_number(at + 8, WALL_MS, 8);
	put_number(at + 16, hbus_mqtt_batch_check(records, (uint32_t)size, 0, WALL_MS), 8);
	if (size > 0)
		memcpy(at + HBUS_MQTT_BATCH_HEAD, records, size);
	return file;
}

/* The first byte says how the input is taken, the next two where its two parts meet. */
static void first_trip(const uint8_t *data, size_t size, uint8_t **ret_data, size_t *ret_size)
{
	static const size_t numbers = HBUS_MQTT_SAVED_HEAD - sizeof(magic), how = 3;
	const uint8_t *parts = data + how;
	size_t first, rest;
	struct file saved, journal;

	if (data[0] % 4 == 0 || size < how + numbers) {
		(void)round_trip(data + 1, size - 1, NULL, ret_data, ret_size);
		return;
	}
	rest = size - how - numbers;
	first = data[0] % 4 == 1 ? rest : ((size_t)data[1] << 8 | data[2]) % (rest + 1);
	saved = saved_of(parts, numbers + first);
	journal = journal_of(parts + numbers + first, rest - first, parts + sizeof(uint64_t));
	(void)round_trip(saved.data, saved.size, &journal, ret_data, ret_size);
	free(saved.data);
	free(journal.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *once = NULL, *twice = NULL;
	size_t once_size = 0, twice_size = 0;

	if (size == 0)
		return 0;
	first_trip(data, size, &once, &once_size);
	require(round_trip(once, once_size, NULL, &twice, &twice_size) == 0);
	require(once_size == twice_size);
	free(once);
	free(twice);
	return 0;
}
