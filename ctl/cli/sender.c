/* SPDX-License-Identifier: BSD-3-Clause */
/* The publishing side of `hugebus pub`. */
#include "ctl/cli/sender.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cli/cli.h"

/* One look at the signal flag at least so often while a subscriber is waited for. */
#define WAIT_SLICE_MS 100
#define CAPACITY_DEFAULT (2u << 20)
/* More than any header of a record. */
#define RECORD_OVERHEAD 64

/* The smallest power of two of which an event is at most an eighth. */
static uint64_t capacity_for(uint64_t event_size)
{
	uint64_t capacity = CAPACITY_DEFAULT;

	while (capacity / 8 < event_size + RECORD_OVERHEAD && capacity < 1ull << 40)
		capacity *= 2;
	return capacity == CAPACITY_DEFAULT ? 0 : capacity;
}

int hbus_sender_open(struct hbus_sender *sender, const struct hbus_sender_options *options)
{
	struct hbus_publisher_options publisher_options = {
		.struct_size = sizeof(publisher_options),
		.flags = options->publisher_flags,
		.capacity = options->capacity ? options->capacity
					      : capacity_for(options->event_size_max),
		.timeout_ms = WAIT_SLICE_MS,
	};
	int r = hbus_cli_open("pub", options->client_name, &sender->bus);

	if (r != 0)
		return r;
	sender->timeout_ms = options->timeout_ms;
	r = hbus_publisher_open(sender->bus, &publisher_options, &sender->publisher);
	if (r == 0)
		return HBUS_EXIT_OK;
	r = hbus_cli_fault("pub", r, "cannot publish");
	hbus_close(sender->bus);
	sender->bus = NULL;
	return r;
}

/* Rings come with their first topic; batches must fit the smallest. */
static void update_batch_limit(struct hbus_sender *sender)
{
	struct hbus_publisher_info info;

	if (hbus_publisher_info(sender->publisher, &info) == 0)
		sender->batch_bytes_max = info.capacity / 16;
}

int hbus_sender_add_topic(struct hbus_sender *sender, const char *name, size_t *ret_idx)
{
	struct hbus_sender_topic topic = { 0 };
	int r = hbus_sender_flush(sender);

	if (r != HBUS_EXIT_OK)
		return r;
	r = hbus_publisher_topic(sender->publisher, name, sender->type, sender->content_type,
				 &topic.id);
	if (r < 0)
		return hbus_cli_fault("pub", r, "cannot publish to '%s'", name);
	topic.name = strdup(name);
	if (sender->n_topics == sender->n_allocated) {
		sender->n_allocated = sender->n_allocated ? 2 * sender->n_allocated : 8;
		sender->topics =
			reallocarray(sender->topics, sender->n_allocated, sizeof(*sender->topics));
	}
	if (!topic.name || !sender->topics)
		errx(1, "out of memory");
	*ret_idx = sender->n_topics;
	sender->topics[sender->n_topics++] = topic;
	update_batch_limit(sender);
	return HBUS_EXIT_OK;
}

size_t hbus_sender_find_topic(const struct hbus_sender *sender, const char *name)
{
	size_t i;

	for (i = 0; i < sender->n_topics && strcmp(sender->topics[i].name, name) != 0; i++)
		;
	return i;
}

static void account(struct hbus_sender *sender, size_t topic_idx, size_t size)
{
	sender->topics[topic_idx].n_events++;
	sender->topics[topic_idx].n_bytes += size;
	sender->n_events++;
	if (!sender->is_batch_open)
		return;
	sender->batch[sender->batch_events].topic_idx = topic_idx;
	sender->batch[sender->batch_events++].size = size;
	sender->batch_bytes += size + RECORD_OVERHEAD;
}

/* The open batch was not published after all. */
static void take_back(struct hbus_sender *sender)
{
	for (size_t i = 0; i < sender->batch_events; i++) {
		sender->topics[sender->batch[i].topic_idx].n_events--;
		sender->topics[sender->batch[i].topic_idx].n_bytes -= sender->batch[i].size;
		sender->n_events--;
	}
}

static int publish(struct hbus_sender *sender, size_t topic_idx, const void *data, size_t size,
		   uint64_t time_ns)
{
	struct hbus_attributes attributes = { .time_ns = time_ns };
	hbus_topic_t id = sender->topics[topic_idx].id;

	return time_ns ? hbus_publish_with(sender->publisher, id, data, size, &attributes)
		       : hbus_publish(sender->publisher, id, data, size);
}

int hbus_sender_flush(struct hbus_sender *sender)
{
	int r;

	if (!sender->is_batch_open)
		return HBUS_EXIT_OK;
	r = hbus_batch_commit(sender->publisher);
	if (r < 0)
		take_back(sender);
	sender->is_batch_open = false;
	sender->batch_events = 0;
	sender->batch_bytes = 0;
	return r < 0 ? hbus_cli_fault("pub", r, "cannot publish a batch") : HBUS_EXIT_OK;
}

/*
 * Waits in slices for the subscriber that holds the ring, until the time is over or a signal
 * comes.
 */
static int put_alone(struct hbus_sender *sender, size_t topic_idx, const void *data, size_t size,
		     uint64_t time_ns)
{
	uint64_t deadline = 0;
	int r;

	while ((r = publish(sender, topic_idx, data, size, time_ns)) == HBUS_FULL) {
		uint64_t now = hbus_cli_now_ns();

		if (hbus_cli_is_stopped())
			return HBUS_SENDER_STOPPED;
		if (deadline == 0)
			deadline = now + sender->timeout_ms * 1000000u;
		if (now >= deadline) {
			hbus_cli_warn(
				"pub",
				"a reliable subscriber is a full ring behind and has not moved in time; "
				"%llu events were published",
				(unsigned long long)sender->n_events);
			return HBUS_EXIT_TIMEOUT;
		}
	}
	if (r < 0)
		return hbus_cli_fault(
			"pub", r, "cannot publish an event of %zu bytes to '%s'%s", size,
			sender->topics[topic_idx].name,
			r == HBUS_E_TOO_LARGE
				? " (an event is at most an eighth of the ring, see --ring)"
				: "");
	account(sender, topic_idx, size);
	return HBUS_EXIT_OK;
}

int hbus_sender_put(struct hbus_sender *sender, size_t topic_idx, const void *data, size_t size,
		    uint64_t time_ns)
{
	int r;

	if (sender->batch_events == HBUS_SENDER_BATCH_MAX ||
	    sender->batch_bytes + size + RECORD_OVERHEAD > sender->batch_bytes_max) {
		r = hbus_sender_flush(sender);
		if (r != HBUS_EXIT_OK)
			return r;
	}
	if (size + RECORD_OVERHEAD > sender->batch_bytes_max)
		return put_alone(sender, topic_idx, data, size, time_ns);
	if (!sender->is_batch_open)
		sender->is_batch_open = hbus_batch_begin(sender->publisher) == 0;
	r = publish(sender, topic_idx, data, size, time_ns);
	if (r == 0) {
		account(sender, topic_idx, size);
		return HBUS_EXIT_OK;
	}
	/* Let out what is in the batch, then see what is wrong with this one alone. */
	r = hbus_sender_flush(sender);
	return r == HBUS_EXIT_OK ? put_alone(sender, topic_idx, data, size, time_ns) : r;
}

json_t *hbus_sender_summary(const struct hbus_sender *sender)
{
	json_t *topics = json_array();
	uint64_t n_bytes = 0;

	for (size_t i = 0; i < sender->n_topics; i++) {
		const struct hbus_sender_topic *topic = &sender->topics[i];

		n_bytes += topic->n_bytes;
		json_array_append_new(topics, json_pack("{s:s, s:I, s:I}", "topic", topic->name,
							"published", (json_int_t)topic->n_events,
							"bytes", (json_int_t)topic->n_bytes));
	}
	return json_pack("{s:s, s:I, s:I, s:o}", "role", "publisher", "published",
			 (json_int_t)sender->n_events, "bytes", (json_int_t)n_bytes, "topics",
			 topics);
}

void hbus_sender_close(struct hbus_sender *sender)
{
	hbus_publisher_close(sender->publisher);
	hbus_close(sender->bus);
	for (size_t i = 0; i < sender->n_topics; i++)
		free(sender->topics[i].name);
	free(sender->topics);
	*sender = (struct hbus_sender){ 0 };
}
