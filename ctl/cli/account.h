/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The account of `hugebus sub`: what was delivered, by topic, and what was lost
 *
 * Topics are found by number in a hash table, the last one without it. Single-owner.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/client/hugebus.h"

/* Loss reports that are kept; beyond it only their sum. */
#define HBUS_ACCOUNT_LOSSES_MAX 1024

struct hbus_account_topic {
	hbus_topic_t id;
	bool has_types; /* type and content_type were looked up */
	char *name;
	char *type;
	char *content_type;
	uint64_t n_events;
	uint64_t n_bytes;
};

struct hbus_account {
	struct hbus_account_topic **slots; /* power of two of them, NULL = free */
	size_t n_slots;
	size_t n_topics;
	struct hbus_account_topic *last;
	const char
		*last_name; /* as the library gave it: it keeps names, so one pointer is one name */
	uint64_t n_delivered;
	uint64_t n_losses;
	struct hbus_loss losses[HBUS_ACCOUNT_LOSSES_MAX];
};

/**
 * hbus_account_topic() - the topic with this number and name, made when it is new. Exits without
 * memory.
 */
struct hbus_account_topic *hbus_account_topic(struct hbus_account *account, hbus_topic_t id,
					      const char *name);

/** hbus_account_event() - one event was delivered; its topic's name stays where it is for ever */
void hbus_account_event(struct hbus_account *account, const struct hbus_event *event);

/** hbus_account_loss() - one loss report */
void hbus_account_loss(struct hbus_account *account, const struct hbus_loss *loss);

/** hbus_account_reason() - the word for an enum hbus_loss_reason */
const char *hbus_account_reason(uint32_t reason);

/** hbus_account_json() - the summary; @info has what only the library knows */
json_t *hbus_account_json(const struct hbus_account *account,
			  const struct hbus_subscriber_info *info);

void hbus_account_deinit(struct hbus_account *account);
