/* SPDX-License-Identifier: BSD-3-Clause */
/* Topics: names and their numbers, who owns them, and whether anybody wants them. */
#include <stdlib.h>
#include <string.h>

#include "ctl/daemon/state_int.h"
#include "ctl/proto/topic.h"

struct hbus_topic *hbus_topic_find(struct hbus_state *state, const char *name)
{
	struct hbus_trie_entry *entry = hbus_trie_find(&state->topic_names, name);

	return entry ? hbus_container_of(entry, struct hbus_topic, by_name) : NULL;
}

struct hbus_topic *hbus_topic_by_id(struct hbus_state *state, uint32_t id)
{
	struct hbus_table_node *node = hbus_table_find(&state->topics, id);

	return node ? hbus_container_of(node, struct hbus_topic, by_id) : NULL;
}

/* Ids go round before they come again, so that nobody remembers the old meaning. 0 = none is left. */
static uint32_t new_topic_id(struct hbus_state *state)
{
	if (state->topics.n >= HBUS_TOPIC_ID_MAX)
		return 0;
	do {
		state->has_topic_ids_again |= state->next_topic_id == HBUS_TOPIC_ID_MAX;
		state->next_topic_id = state->next_topic_id % HBUS_TOPIC_ID_MAX + 1;
	} while (hbus_table_find(&state->topics, state->next_topic_id));
	return state->next_topic_id;
}

/* The number had another meaning once, and subscribers may remember. */
static void forget_number(struct hbus_state *state, uint32_t id)
{
	struct hbus_table_node *node = NULL;
	struct hbus_subscriber_state *sub;

	while ((node = hbus_table_next(&state->members, node)))
		LIST_FOREACH(sub, &hbus_container_of(node, struct hbus_member, by_id)->subs, link)
			hbus_tell_forget(sub, id);
}

static struct hbus_topic *topic_new(struct hbus_state *state, uint32_t id, const char *name)
{
	struct hbus_topic *topic = id ? calloc(1, sizeof(*topic)) : NULL;

	if (!topic)
		return NULL;
	hbus_text_copy(topic->name, sizeof(topic->name), name);
	if (hbus_trie_insert(&state->topic_names, topic->name, &topic->by_name) != 0) {
		free(topic);
		return NULL;
	}
	topic->id = id;
	topic->owner = HBUS_UID_NONE;
	LIST_INIT(&topic->rings);
	if (state->has_topic_ids_again)
		forget_number(state, id);
	hbus_table_insert(&state->topics, id, &topic->by_id);
	return topic;
}

static void set_types(struct hbus_topic *topic, const char *type, const char *content_type)
{
	if (type[0])
		hbus_text_copy(topic->type, sizeof(topic->type), type);
	if (content_type[0])
		hbus_text_copy(topic->content_type, sizeof(topic->content_type), content_type);
}

void hbus_topic_save(const struct hbus_topic *topic, struct hbus_journal_record *record)
{
	memset(record, 0, sizeof(*record));
	record->kind = HBUS_RECORD_TOPIC;
	record->id = topic->id;
	record->flags = topic->flags & HBUS_TOPIC_DECLARED;
	record->uid = topic->owner;
	memcpy(record->name, topic->name, sizeof(topic->name));
	memcpy(record->type, topic->type, sizeof(topic->type));
	memcpy(record->content_type, topic->content_type, sizeof(topic->content_type));
}

static void persist(struct hbus_state *state, const struct hbus_topic *topic)
{
	struct hbus_journal_record record;

	hbus_topic_save(topic, &record);
	hbus_state_persist(state, &record);
}

bool hbus_topic_restore(struct hbus_state *state, const struct hbus_journal_record *record)
{
	size_t len = strnlen(record->name, sizeof(record->name));
	struct hbus_topic *topic;

	if (record->id == 0 || record->id > HBUS_TOPIC_ID_MAX ||
	    hbus_topic_check_name(record->name, len) != 0)
		return false;
	topic = hbus_topic_find(state, record->name);
	if (topic) {
		/* The configuration made it a moment ago: nobody has heard of that number yet. */
		if (hbus_topic_by_id(state, (uint32_t)record->id) && topic->id != record->id)
			return false;
		hbus_table_remove(&state->topics, &topic->by_id);
		topic->id = (uint32_t)record->id;
		hbus_table_insert(&state->topics, topic->id, &topic->by_id);
	} else {
		struct hbus_topic *other = hbus_topic_by_id(state, (uint32_t)record->id);

		if (other) {
			/* A configured topic got this number before the journal was read: it yields. */
			hbus_table_remove(&state->topics, &other->by_id);
			other->id = new_topic_id(state);
			hbus_table_insert(&state->topics, other->id, &other->by_id);
		}
		topic = topic_new(state, (uint32_t)record->id, record->name);
	}
	if (!topic)
		return false;
	topic->was_restored = true;
	topic->flags |= record->flags & HBUS_TOPIC_DECLARED;
	topic->owner = record->uid;
	set_types(topic, record->type, record->content_type);
	if (topic->id > state->next_topic_id)
		state->next_topic_id = topic->id;
	if (topic->account || topic->owner == HBUS_UID_NONE || (topic->flags & HBUS_TOPIC_CONFIGURED))
		return true;
	topic->account = hbus_quota_get(&state->quota, topic->owner);
	if (topic->account)
		hbus_account_force(topic->account, HBUS_QUOTA_TOPICS, 1);
	return true;
}

int hbus_topic_obtain(struct hbus_state *state, struct hbus_member *member, const char *name,
		      const char *type, const char *content_type, struct hbus_topic **ret_topic,
		      const char **ret_text)
{
	struct hbus_topic *topic = hbus_topic_find(state, name);
	int r;

	if (!hbus_topic_is_attribute(type) || !hbus_topic_is_attribute(content_type)) {
		*ret_text = "a topic's types are well-formed UTF-8 without control characters";
		return HBUS_E_NAME;
	}
	if (!topic) {
		r = hbus_state_charge(member->account, HBUS_QUOTA_TOPICS, 1, ret_text);
		if (r < 0)
			return r;
		topic = topic_new(state, new_topic_id(state), name);
		if (!topic) {
			hbus_account_release(member->account, HBUS_QUOTA_TOPICS, 1);
			*ret_text = "the bus has as many topics as it can";
			return HBUS_E_LIMIT;
		}
		topic->owner = member->cred.uid;
		topic->account = hbus_account_get(member->account);
		set_types(topic, type, content_type);
		persist(state, topic);
	} else if (!topic->type[0] && !topic->content_type[0]) {
		set_types(topic, type, content_type);
	}
	*ret_topic = topic;
	return 0;
}

static void topic_free(struct hbus_state *state, struct hbus_topic *topic)
{
	if (topic->account) {
		hbus_account_release(topic->account, HBUS_QUOTA_TOPICS, 1);
		hbus_account_put(topic->account);
	}
	hbus_trie_remove(&state->topic_names, &topic->by_name);
	hbus_table_remove(&state->topics, &topic->by_id);
	free(topic);
}

void hbus_topic_check_unused(struct hbus_state *state, struct hbus_topic *topic)
{
	struct hbus_journal_record record;

	/* While members come back, a ring that is not here yet may need the number: its publisher uses it all the time. */
	if ((topic->was_restored && state->n_away_restored > 0) || !LIST_EMPTY(&topic->rings) ||
	    (topic->flags & (HBUS_TOPIC_DECLARED | HBUS_TOPIC_CONFIGURED)))
		return;
	hbus_topic_save(topic, &record);
	record.kind = HBUS_RECORD_TOPIC_GONE;
	hbus_state_persist(state, &record);
	topic_free(state, topic);
}

void hbus_topic_free_all(struct hbus_state *state)
{
	struct hbus_table_node *node;

	while ((node = hbus_table_next(&state->topics, NULL)))
		topic_free(state, hbus_container_of(node, struct hbus_topic, by_id));
}

int hbus_topic_configure(struct hbus_state *state, const struct hbus_config_topic *config)
{
	struct hbus_topic *topic = hbus_topic_find(state, config->name);

	if (!topic) {
		topic = topic_new(state, new_topic_id(state), config->name);
		if (!topic)
			return -1;
		topic->owner = state->options.daemon_uid;
		persist(state, topic);
	}
	topic->flags |= HBUS_TOPIC_CONFIGURED | (config->is_hot ? HBUS_TOPIC_HOT : 0);
	set_types(topic, config->type, config->content_type);
	return 0;
}

/* ---- requests ---- */

static int declare(struct hbus_state *state, struct hbus_member *member,
		   const struct hbus_msg_topic *msg, uint64_t *ret_id, const char **ret_text)
{
	struct hbus_topic *topic;
	int r = hbus_topic_obtain(state, member, msg->name, msg->type, msg->content_type, &topic,
				  ret_text);

	if (r < 0)
		return r;
	topic->flags |= HBUS_TOPIC_DECLARED;
	set_types(topic, msg->type, msg->content_type);
	persist(state, topic);
	*ret_id = topic->id;
	return 0;
}

static int undeclare(struct hbus_state *state, const struct hbus_msg_topic *msg,
		     const char **ret_text)
{
	struct hbus_topic *topic = hbus_topic_find(state, msg->name);

	if (!topic || !(topic->flags & (HBUS_TOPIC_DECLARED | HBUS_TOPIC_CONFIGURED))) {
		*ret_text = "no such topic was declared";
		return HBUS_E_NOT_FOUND;
	}
	if (!(topic->flags & HBUS_TOPIC_DECLARED)) {
		*ret_text = "the topic is the configuration file's: remove it there";
		return HBUS_E_BUSY;
	}
	topic->flags &= ~HBUS_TOPIC_DECLARED;
	persist(state, topic);
	hbus_topic_check_unused(state, topic);
	return 0;
}

/* Declaring needs the right to publish, or to administrate; removing to be the owner, or the latter. */
static bool may_declare(struct hbus_state *state, const struct hbus_member *member,
			const struct hbus_msg_topic *msg)
{
	const struct hbus_topic *topic = hbus_topic_find(state, msg->name);
	uid_t owner = topic ? topic->owner : HBUS_UID_NONE;

	if (hbus_policy_allows(&state->policy, &member->cred, HBUS_RIGHT_ADMIN, msg->name, owner))
		return true;
	if (msg->header.type == HBUS_MSG_TOPIC_REMOVE)
		return owner == member->cred.uid;
	return hbus_policy_allows(&state->policy, &member->cred, HBUS_RIGHT_PUBLISH, msg->name,
				  owner);
}

void hbus_topic_request(struct hbus_state *state, struct hbus_member *member,
			const struct hbus_msg_topic *msg)
{
	const char *text = NULL;
	uint64_t id = 0;
	int r = hbus_topic_check_name(msg->name, strlen(msg->name));

	if (r != 0) {
		text = hbus_topic_strerror(r);
		r = HBUS_E_NAME;
	} else if (!may_declare(state, member, msg)) {
		text = "policy does not let this user declare or remove the topic";
		r = HBUS_E_DENIED;
	} else if (msg->header.type == HBUS_MSG_TOPIC_DECLARE) {
		r = declare(state, member, msg, &id, &text);
	} else {
		r = undeclare(state, msg, &text);
	}
	hbus_state_reply(state, member, &msg->header, r, text, id);
}

/* ---- interest ---- */

static void tell_one(struct hbus_state *state, const struct hbus_topic *topic,
		     struct hbus_member *member)
{
	struct hbus_msg_interest msg;

	if (!(member->flags & HBUS_CLIENT_WANTS_INTEREST))
		return;
	hbus_msg_init(&msg, HBUS_MSG_INTEREST);
	msg.topic_id = topic->id;
	msg.is_wanted = topic->n_wanted > 0;
	memcpy(msg.name, topic->name, sizeof(msg.name));
	hbus_state_send(state, member, &msg, NULL, 0);
}

void hbus_topic_tell_interest(struct hbus_state *state, struct hbus_topic *topic,
			      struct hbus_member *member)
{
	struct hbus_ring_topic *carried;

	if (member) {
		tell_one(state, topic, member);
		return;
	}
	LIST_FOREACH(carried, &topic->rings, in_topic)
		if (carried->ring->owner)
			tell_one(state, topic, carried->ring->owner);
}

void hbus_topic_want(struct hbus_state *state, struct hbus_topic *topic, int difference)
{
	bool was_wanted = topic->n_wanted > 0;

	topic->n_wanted += (uint32_t)difference;
	if (was_wanted == (topic->n_wanted > 0))
		return;
	if (was_wanted && state->is_restarting)
		return;
	hbus_topic_tell_interest(state, topic, NULL);
}
