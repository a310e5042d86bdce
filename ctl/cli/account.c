/* SPDX-License-Identifier: BSD-3-Clause */
/* The account of `hugebus sub`. */
#include "ctl/cli/account.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

static void *must_have(void *memory)
{
	if (!memory)
		errx(1, "out of memory");
	return memory;
}

/*
 * The slot of the topic, or the free one where it belongs. A number can stand for another name
 * later.
 */
static struct hbus_account_topic **find(struct hbus_account_topic **slots, size_t n_slots,
					hbus_topic_t id, const char *name)
{
	size_t i = (id * 2654435761u) & (n_slots - 1);

	while (slots[i] && (slots[i]->id != id || strcmp(slots[i]->name, name) != 0))
		i = (i + 1) & (n_slots - 1);
	return &slots[i];
}

static void grow(struct hbus_account *account)
{
	size_t n_slots = account->n_slots ? 2 * account->n_slots : 64;
	struct hbus_account_topic **slots =
		must_have(calloc(n_slots, sizeof(struct hbus_account_topic *)));

	for (size_t i = 0; i < account->n_slots; i++) {
		if (account->slots[i])
			*find(slots, n_slots, account->slots[i]->id, account->slots[i]->name) =
				account->slots[i];
	}
	free(account->slots);
	account->slots = slots;
	account->n_slots = n_slots;
}

struct hbus_account_topic *hbus_account_topic(struct hbus_account *account, hbus_topic_t id,
					      const char *name)
{
	struct hbus_account_topic **slot;

	if (account->last && account->last->id == id && strcmp(account->last->name, name) == 0)
		return account->last;
	if (account->n_topics * 2 >= account->n_slots)
		grow(account);
	slot = find(account->slots, account->n_slots, id, name);
	if (!*slot) {
		*slot = must_have(calloc(1, sizeof(**slot)));
		(*slot)->id = id;
		(*slot)->name = must_have(strdup(name));
		account->n_topics++;
	}
	account->last = *slot;
	account->last_name = NULL;
	return *slot;
}

void hbus_account_event(struct hbus_account *account, const struct hbus_event *event)
{
	struct hbus_account_topic *topic = account->last;

	if (event->topic != account->last_name || !topic || topic->id != event->topic_id) {
		topic = hbus_account_topic(account, event->topic_id, event->topic);
		account->last_name = event->topic;
	}
	topic->n_events++;
	topic->n_bytes += event->size;
	account->n_delivered++;
}

void hbus_account_loss(struct hbus_account *account, const struct hbus_loss *loss)
{
	if (account->n_losses < HBUS_ACCOUNT_LOSSES_MAX)
		account->losses[account->n_losses] = *loss;
	account->n_losses++;
}

const char *hbus_account_reason(uint32_t reason)
{
	switch (reason) {
	case HBUS_LOSS_LAPPED:
		return "lapped";
	case HBUS_LOSS_EVICTED:
		return "evicted";
	case HBUS_LOSS_CORRUPT:
		return "corrupt";
	case HBUS_LOSS_REFUSED:
		return "refused";
	default:
		return "unknown";
	}
}

static json_t *losses_json(const struct hbus_account *account)
{
	json_t *losses = json_array();

	for (size_t i = 0; i < account->n_losses && i < HBUS_ACCOUNT_LOSSES_MAX; i++) {
		const struct hbus_loss *loss = &account->losses[i];

		json_array_append_new(losses, json_pack("{s:I, s:I, s:I, s:s}", "ring",
							(json_int_t)loss->ring_id, "first",
							(json_int_t)loss->first_sequence, "count",
							(json_int_t)loss->n_events, "reason",
							hbus_account_reason(loss->reason)));
	}
	return losses;
}

/* By name, so that the same account is the same text. */
static int compare_topics(const void *a, const void *b)
{
	return strcmp((*(struct hbus_account_topic *const *)a)->name,
		      (*(struct hbus_account_topic *const *)b)->name);
}

static json_t *topics_json(const struct hbus_account *account, uint64_t *ret_bytes)
{
	struct hbus_account_topic **topics =
		must_have(calloc(account->n_topics + 1, sizeof(struct hbus_account_topic *)));
	json_t *array = json_array();
	size_t n = 0;

	for (size_t i = 0; i < account->n_slots; i++) {
		if (account->slots[i] && account->slots[i]->n_events > 0)
			topics[n++] = account->slots[i];
	}
	qsort(topics, n, sizeof(struct hbus_account_topic *), compare_topics);
	for (size_t i = 0; i < n; i++) {
		*ret_bytes += topics[i]->n_bytes;
		json_array_append_new(array, json_pack("{s:s, s:I, s:I}", "topic", topics[i]->name,
						       "delivered", (json_int_t)topics[i]->n_events,
						       "bytes", (json_int_t)topics[i]->n_bytes));
	}
	free(topics);
	return array;
}

json_t *hbus_account_json(const struct hbus_account *account,
			  const struct hbus_subscriber_info *info)
{
	uint64_t n_bytes = 0;
	json_t *topics = topics_json(account, &n_bytes);

	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:o}", "role", "subscriber",
			 "delivered", (json_int_t)account->n_delivered, "bytes",
			 (json_int_t)n_bytes, "filtered", (json_int_t)info->n_filtered, "lost",
			 (json_int_t)info->n_lost, "rings", (json_int_t)info->n_rings, "topics",
			 topics, "loss_reports", (json_int_t)account->n_losses, "losses",
			 losses_json(account));
}

void hbus_account_deinit(struct hbus_account *account)
{
	for (size_t i = 0; i < account->n_slots; i++) {
		if (!account->slots[i])
			continue;
		free(account->slots[i]->name);
		free(account->slots[i]->type);
		free(account->slots[i]->content_type);
		free(account->slots[i]);
	}
	free(account->slots);
	account->slots = NULL;
}
