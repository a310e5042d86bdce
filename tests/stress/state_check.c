/* SPDX-License-Identifier: BSD-3-Clause */
/* What must hold: in the daemon's tables after each event, between daemon and clients when all is quiet. */
#include "tests/stress/state_world.h"

#include <stdlib.h>
#include <string.h>

#include "ctl/proto/topic.h"

#define ACCOUNTS_MAX 8
#define PENDINGS_MAX 512

#define REQUIRE(w, condition, ...)                                                                                     \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			world_fail(w, "daemon: " __VA_ARGS__);                                                         \
	} while (0)

#define EACH(table, node) for (struct hbus_table_node *node = NULL; (node = hbus_table_next(table, node));)

/* ---- counted anew ---- */

struct count {
	struct world *w;
	size_t n_accounts;
	struct {
		const struct hbus_account *account;
		uint64_t used[HBUS_QUOTA_N_KINDS];
	} accounts[ACCOUNTS_MAX];
	size_t n_pendings;
	struct {
		const struct hbus_pending *pending;
		uint32_t n_waiting;
	} pendings[PENDINGS_MAX];
	size_t n_attachments, n_subs;
};

static void charge(struct count *count, const struct hbus_account *account, enum hbus_quota_kind kind, uint64_t n)
{
	size_t i = 0;

	if (!account)
		return;
	while (i < count->n_accounts && count->accounts[i].account != account)
		i++;
	REQUIRE(count->w, i < ACCOUNTS_MAX, "too many accounts");
	if (i == count->n_accounts)
		count->accounts[count->n_accounts++].account = account;
	count->accounts[i].used[kind] += n;
}

static void refer(struct count *count, const struct hbus_pending *pending, uint32_t n)
{
	size_t i = 0;

	if (!pending)
		return;
	while (i < count->n_pendings && count->pendings[i].pending != pending)
		i++;
	REQUIRE(count->w, i < PENDINGS_MAX, "too many replies that wait");
	if (i == count->n_pendings)
		count->pendings[count->n_pendings++].pending = pending;
	count->pendings[i].n_waiting += n;
}

static void check_accounts(struct count *count)
{
	struct world *w = count->w;
	const struct hbus_quota *quota = &w->state->quota;
	uint64_t total[HBUS_QUOTA_N_KINDS] = {0};
	uint32_t n_holders[HBUS_QUOTA_N_KINDS] = {0};

	for (const struct hbus_account *account = quota->accounts; account; account = account->next) {
		uint64_t used[HBUS_QUOTA_N_KINDS] = {0};

		for (size_t i = 0; i < count->n_accounts; i++)
			if (count->accounts[i].account == account)
				memcpy(used, count->accounts[i].used, sizeof(used));
		for (int kind = 0; kind < HBUS_QUOTA_N_KINDS; kind++) {
			REQUIRE(w, used[kind] == account->used[kind], "uid %u is charged %llu %s and holds %llu", account->uid,
				(unsigned long long)account->used[kind], hbus_quota_kind_name((enum hbus_quota_kind)kind),
				(unsigned long long)used[kind]);
			total[kind] += used[kind];
			n_holders[kind] += used[kind] > 0;
		}
	}
	for (int kind = 0; kind < HBUS_QUOTA_N_KINDS; kind++)
		REQUIRE(w, total[kind] == quota->used[kind] && n_holders[kind] == quota->n_holders[kind],
			"all users' %s are not the sum of each one's", hbus_quota_kind_name((enum hbus_quota_kind)kind));
}

static void check_pendings(struct count *count)
{
	struct world *w = count->w;

	REQUIRE(w, count->n_pendings == w->state->n_pending, "%zu replies wait, %zu are referred to", w->state->n_pending,
		count->n_pendings);
	for (size_t i = 0; i < count->n_pendings; i++)
		REQUIRE(w, count->pendings[i].n_waiting == count->pendings[i].pending->n_waiting && count->pendings[i].n_waiting > 0,
			"a reply (type %u) waits for %u things and %u know of it", count->pendings[i].pending->request_type,
			count->pendings[i].pending->n_waiting, count->pendings[i].n_waiting);
}

/* ---- rings and attachments ---- */

static void check_attachment(struct count *count, struct hbus_ring *ring, struct hbus_attachment *att)
{
	struct world *w = count->w;
	bool is_reliable = att->sub && (att->sub->flags & HBUS_SUB_RELIABLE);

	count->n_attachments++;
	REQUIRE(w, att->ring == ring, "an attachment in another ring's list");
	REQUIRE(w, att->sub || att->reader == HBUS_READER_GONE, "a reader without a subscriber");
	REQUIRE(w, !(att->reader == HBUS_READER_GONE && att->gate == HBUS_GATE_NONE), "an attachment that is over stays");
	REQUIRE(w, !(att->reader == HBUS_READER_GONE && att->gate == HBUS_GATE_INSTALLED), "a gate of a reader that is gone stays");
	REQUIRE(w, ring->owner || att->gate == HBUS_GATE_NONE, "a gate at a ring without a publisher");
	if (att->attach_idx != HBUS_ATTACH_NONE) {
		REQUIRE(w, ring->by_idx[att->attach_idx] == att, "a place in the gate table that is another's");
		REQUIRE(w, !att->sub || (att->attach_idx < HBUS_RING_GATES_MAX) == is_reliable, "a place of the other kind");
	}
	REQUIRE(w, att->gate == HBUS_GATE_NONE || att->attach_idx != HBUS_ATTACH_NONE, "a gate without a place");
	REQUIRE(w, !is_reliable || att->reader != HBUS_READER_OPENED || !ring->owner || att->is_without_gate || !att->is_held || att->stay_serial != 0 ||
		att->gate == HBUS_GATE_INSTALLED || att->gate == HBUS_GATE_ADDING,
		"a reliable reader was sent its ring and has no gate");
	REQUIRE(w, !att->opening || att->reader == HBUS_READER_WAITING || att->stay_serial != 0 || att->is_wanted_again,
		"a reply waits for a reader that was told");
	REQUIRE(w, !att->accepting || att->reader < HBUS_READER_MAPPED || att->is_wanted_again,
		"a reply waits for a reader that has mapped its ring");
	REQUIRE(w, att->stay_serial == 0 || att->reader == HBUS_READER_OPENED, "a reader that is not there is to stay");
	refer(count, att->opening, 1);
	refer(count, att->accepting, 1);
	refer(count, att->closing, 1);
	charge(count, att->charged, HBUS_QUOTA_BYTES, att->n_charged);
}

static void check_ring(struct count *count, struct hbus_ring *ring)
{
	struct world *w = count->w;
	struct hbus_attachment *att;
	struct hbus_ring_topic *carried;
	uint32_t n = 0, n_topics = 0, n_announcing = 0, n_places = 0;

	REQUIRE(w, (ring->phase == HBUS_RING_ENDED) == !ring->owner, "a ring that has ended has an owner, or the reverse");
	REQUIRE(w, ring->owner || !LIST_EMPTY(&ring->attachments), "an ended ring without readers stays");
	LIST_FOREACH(att, &ring->attachments, in_ring) {
		check_attachment(count, ring, att);
		n_announcing += att->is_announcing;
		n_places += att->attach_idx != HBUS_ATTACH_NONE;
		n++;
	}
	REQUIRE(w, n == ring->n_attachments, "a ring counts %u attachments and has %u", ring->n_attachments, n);
	for (uint32_t i = 0; i < HBUS_RING_WAKERS_MAX; i++)
		n_places -= ring->by_idx[i] != NULL;
	REQUIRE(w, n_places == 0, "places in the gate table that nobody holds");
	REQUIRE(w, ring->phase != HBUS_RING_ANNOUNCING || (ring->n_gates_pending == n_announcing && n_announcing > 0),
		"an announcement waits for %u gates of %u", ring->n_gates_pending, n_announcing);
	TAILQ_FOREACH(carried, &ring->topics, in_ring) {
		REQUIRE(w, hbus_topic_by_id(w->state, carried->topic->id) == carried->topic, "a ring carries a topic that is gone");
		n_topics++;
	}
	REQUIRE(w, n_topics == ring->n_topics, "a ring counts %u topics and has %u", ring->n_topics, n_topics);
	REQUIRE(w, !ring->write_fds[0] || ring->phase == HBUS_RING_GRANTED || ring->phase == HBUS_RING_ENDED,
		"the daemon can still write a ring that others read");
	refer(count, ring->announce, ring->announce ? 1 : 0);
	charge(count, ring->account, HBUS_QUOTA_RINGS, 1);
	if (ring->is_memory_held) {
		charge(count, ring->account, HBUS_QUOTA_BYTES, hbus_ring_bytes(&ring->geometry));
		charge(count, ring->account, HBUS_QUOTA_FDS, 2);
	}
}

/* ---- members and subscribers ---- */

static void check_slots(struct count *count, struct hbus_subscriber_state *sub)
{
	struct world *w = count->w;

	for (uint32_t i = 0; i < HBUS_SLOT_MEMFDS_MAX; i++) {
		const struct hbus_slot_memfd *memfd = &sub->memfds[i];
		const struct hbus_attachment *att;
		const struct hbus_kept_slot *kept;
		uint32_t n_bits = 0, n_atts = 0;
		uint64_t seen[64] = {0};

		if (!memfd->fd)
			continue;
		charge(count, sub->member->account, HBUS_QUOTA_FDS, 1);
		LIST_FOREACH(att, &sub->attachments, in_sub) {
			if (att->memfd_idx != i)
				continue;
			REQUIRE(w, att->slot_idx < memfd->n_slots, "a slot behind the last");
			REQUIRE(w, !(seen[att->slot_idx / 64] >> (att->slot_idx % 64) & 1), "two rings in one slot");
			seen[att->slot_idx / 64] |= 1ull << (att->slot_idx % 64);
			n_atts++;
		}
		LIST_FOREACH(kept, &sub->kept_slots, link) {
			if (kept->memfd_idx != i)
				continue;
			seen[kept->slot_idx / 64] |= 1ull << (kept->slot_idx % 64);
			n_atts++;
		}
		for (uint32_t k = 0; k < (memfd->n_slots + 63) / 64; k++) {
			REQUIRE(w, memfd->used[k] == seen[k], "slots are taken that nobody has, or free that somebody has");
			n_bits += (uint32_t)__builtin_popcountll(memfd->used[k]);
		}
		REQUIRE(w, n_bits == memfd->n_used && n_bits == n_atts, "%u slots counted, %u taken", memfd->n_used, n_bits);
	}
}

static void check_doorbells(struct count *count, struct hbus_subscriber_state *sub)
{
	const struct hbus_doorbell *doorbell;

	LIST_FOREACH(doorbell, &sub->doorbells, link) {
		const struct hbus_attachment *att;
		uint32_t n = 0;

		LIST_FOREACH(att, &sub->attachments, in_sub)
			n += att->doorbell == doorbell;
		REQUIRE(count->w, n == doorbell->n_refs && n > 0, "a doorbell counts %u rings and has %u", doorbell->n_refs, n);
		charge(count, doorbell->account, HBUS_QUOTA_FDS, 2);
	}
}

static void check_sub(struct count *count, struct hbus_member *member, struct hbus_subscriber_state *sub)
{
	struct world *w = count->w;
	const struct hbus_attachment *att;
	const struct hbus_filter *filter;
	uint32_t n = 0, n_filters = 0;

	count->n_subs++;
	REQUIRE(w, sub->member == member, "a subscriber in another's list");
	LIST_FOREACH(att, &sub->attachments, in_sub) {
		REQUIRE(w, att->sub == sub && hbus_ring_find(w->state, att->ring->geometry.ring_id) == att->ring,
			"an attachment to a ring that is gone");
		n++;
	}
	REQUIRE(w, n == sub->n_attachments, "a subscriber counts %u attachments and has %u", sub->n_attachments, n);
	TAILQ_FOREACH(filter, &sub->filters, link) {
		refer(count, filter->waiting, 1);
		n_filters++;
	}
	REQUIRE(w, n_filters == sub->n_filters, "a subscriber counts %u filters and has %u", sub->n_filters, n_filters);
	charge(count, member->account, HBUS_QUOTA_SUBSCRIPTIONS, 1 + n_filters);
	check_slots(count, sub);
	check_doorbells(count, sub);
}

static void check_member(struct count *count, struct hbus_member *member)
{
	struct world *w = count->w;
	struct hbus_subscriber_state *sub;
	struct hbus_pending *pending;
	struct hbus_ring *ring;
	uint32_t n_rings = 0, n_subs = 0;

	charge(count, member->account, HBUS_QUOTA_CLIENTS, 1);
	charge(count, member->account, HBUS_QUOTA_FDS, 2);
	REQUIRE(w, (member->phase == HBUS_MEMBER_AWAY) == !member->conn, "a member that is away has a connection, or the reverse");
	REQUIRE(w, member->phase != HBUS_MEMBER_AWAY || member->deadline.is_armed || world_is_watched(w, member->id),
		"a member is waited for without end");
	TAILQ_FOREACH(ring, &member->rings, in_member) {
		REQUIRE(w, ring->owner == member, "a ring in another's list");
		n_rings++;
	}
	LIST_FOREACH(sub, &member->subs, link) {
		check_sub(count, member, sub);
		n_subs++;
	}
	TAILQ_FOREACH(pending, &member->pendings, link) {
		REQUIRE(w, pending->deadline.is_armed && pending->member == member, "a reply is waited for without end");
		refer(count, pending, 0);
	}
	REQUIRE(w, n_rings == member->n_rings && n_subs == member->n_subs, "a member miscounts its rings or subscribers");
}

static void check_topic(struct count *count, struct hbus_topic *topic)
{
	struct world *w = count->w;
	uint32_t n_wanted = 0;

	REQUIRE(w, hbus_topic_find(w->state, topic->name) == topic, "topic %s is not found by its name", topic->name);
	REQUIRE(w, (topic->was_restored && w->state->n_away_restored > 0) || !LIST_EMPTY(&topic->rings) ||
		(topic->flags & (HBUS_TOPIC_DECLARED | HBUS_TOPIC_CONFIGURED)), "topic %s that nothing uses stays", topic->name);
	EACH(&w->state->members, node) {
		const struct hbus_subscriber_state *sub;

		LIST_FOREACH(sub, &hbus_container_of(node, struct hbus_member, by_id)->subs, link)
			n_wanted += topic->id < sub->n_bits && (sub->matched[topic->id / 64] >> (topic->id % 64) & 1);
	}
	REQUIRE(w, n_wanted == topic->n_wanted, "topic %s is wanted by %u and counts %u", topic->name, n_wanted, topic->n_wanted);
	charge(count, topic->account, HBUS_QUOTA_TOPICS, 1);
}

void check_structure(struct world *w)
{
	static struct count count;
	struct hbus_state *state = w->state;

	if (!state)
		return;
	memset(&count, 0, sizeof(count));
	count.w = w;
	EACH(&state->members, node)
		check_member(&count, hbus_container_of(node, struct hbus_member, by_id));
	EACH(&state->rings, node)
		check_ring(&count, hbus_container_of(node, struct hbus_ring, by_id));
	EACH(&state->topics, node)
		check_topic(&count, hbus_container_of(node, struct hbus_topic, by_id));
	REQUIRE(w, count.n_attachments == state->n_attachments, "%zu attachments counted, %zu there", state->n_attachments,
		count.n_attachments);
	REQUIRE(w, count.n_subs == state->n_subscribers, "%zu subscribers counted, %zu there", state->n_subscribers, count.n_subs);
	check_pendings(&count);
	check_accounts(&count);
	for (size_t i = 0; i < w->n_memories; i++) {
		const struct hbus_ring *ring = hbus_ring_find(state, w->memories[i].ring_id);
		bool is_held = ring && ring->is_memory_held && ring->phase != HBUS_RING_RESTORED;

		REQUIRE(w, w->memories[i].n_daemon >= 0 || !ring, "the memory of ring %llx is given up twice",
			(unsigned long long)w->memories[i].ring_id);
		REQUIRE(w, w->memories[i].n_daemon <= is_held, "the memory of ring %llx is kept",
			(unsigned long long)w->memories[i].ring_id);
	}
}

/* ---- the journal ---- */

struct comparison {
	struct world *w;
	size_t n;
};

static void compare(void *context, const struct hbus_journal_record *record)
{
	struct comparison *comparison = context;
	struct world *w = comparison->w;

	comparison->n += record->kind != HBUS_RECORD_RING_TOPIC;
	for (size_t i = 0; i < w->n_journal; i++) {
		const struct hbus_journal_record *at = &w->journal[i];

		if (at->kind != record->kind || at->id != record->id || at->topic_id != record->topic_id)
			continue;
		if (at->member_id == record->member_id && at->uid == record->uid &&
		    memcmp(&at->token, &record->token, sizeof(at->token)) == 0 &&
		    memcmp(&at->geometry, &record->geometry, sizeof(at->geometry)) == 0 &&
		    (record->kind != HBUS_RECORD_TOPIC || (strcmp(at->name, record->name) == 0 && at->flags == record->flags)))
			return;
	}
	world_fail(w, "daemon: the journal does not hold what it should (kind %d, %llx %s)", record->kind,
		   (unsigned long long)record->id, record->name);
}

void check_journal(struct world *w)
{
	struct comparison comparison = {w, 0};
	size_t n = 0;

	if (!w->state)
		return;
	hbus_state_save(w->state, compare, &comparison);
	/* A topic that a ring carries no more stays as long as the ring: a number too many is kept, none is lost. */
	for (size_t i = 0; i < w->n_journal; i++)
		n += w->journal[i].kind != HBUS_RECORD_RING_TOPIC;
	if (comparison.n != n)
		world_fail(w, "daemon: the journal holds %zu things, there are %zu", n, comparison.n);
}

/* ---- when all is quiet ---- */

static bool was_left(const struct client_sub *sub, uint64_t ring_id)
{
	for (size_t i = 0; i < sub->n_left; i++)
		if (sub->left[i] == ring_id)
			return true;
	return false;
}

static bool may_read(const struct world *w, const struct client *reader, const struct client_sub *sub,
		     const struct client *owner, const char *topic)
{
	const struct hbus_cred cred = {.uid = reader->uid, .gid = reader->uid};

	return hbus_policy_allows(&w->state->policy, &cred, HBUS_RIGHT_SUBSCRIBE, topic, owner->uid) &&
	       (!(sub->flags & HBUS_SUB_RELIABLE) ||
		hbus_policy_allows(&w->state->policy, &cred, HBUS_RIGHT_RELIABLE, topic, owner->uid));
}

/* A literal filter is refused by rules that it has met: when it was said, or said again. */
static bool is_refused(const struct world *w, const struct client *reader, const char *filter)
{
	const struct hbus_cred cred = {.uid = reader->uid, .gid = reader->uid};

	return !hbus_topic_has_wildcard(filter) &&
	       !hbus_policy_allows(&w->state->policy, &cred, HBUS_RIGHT_SUBSCRIBE, filter, reader->uid);
}

static bool wants(const struct world *w, const struct client *reader, const struct client_sub *sub,
		  const struct client_ring *ring)
{
	for (int i = 0; i < WORLD_FILTERS; i++)
		for (int k = 0; k < WORLD_TOPICS; k++)
			if (sub->filters[i].is_confirmed && ring->topics[k].is_said &&
			    client_matches(&sub->filters[i], ring->topics[k].name) &&
			    !is_refused(w, reader, world_filters[sub->filters[i].text]))
				return true;
	return false;
}

/* A ring carries what its publisher asked for, also when it was killed, or its link broke, before it knew that it was granted. */
static bool may_want(struct world *w, const struct client_sub *sub, uint64_t ring_id)
{
	const struct hbus_ring *ring = hbus_ring_find(w->state, ring_id);
	const struct hbus_ring_topic *carried;

	TAILQ_FOREACH(carried, &ring->topics, in_ring)
		for (int i = 0; i < WORLD_FILTERS; i++)
			if (sub->filters[i].text >= 0 &&
			    hbus_topic_matches(world_filters[sub->filters[i].text], carried->topic->name))
				return true;
	return false;
}

static const struct client_held *held_of(const struct client_sub *sub, uint64_t ring_id)
{
	for (int i = 0; i < WORLD_HELD; i++)
		if (sub->held[i].ring_id == ring_id)
			return &sub->held[i];
	return NULL;
}

static const char *first_topic(struct world *w, const struct client_ring *ring)
{
	const struct hbus_ring *known = hbus_ring_find(w->state, ring->geometry.ring_id);

	if (!known || !known->owner)
		world_fail(w, "quiet: ring %llx runs and the daemon does not know it", (unsigned long long)ring->geometry.ring_id);
	return hbus_ring_first_topic(known);
}

/* After a restart the place of a reader that comes back may be another's: then it goes on without a gate. */
static bool lost_its_place(struct world *w, const struct client *reader, const struct client_sub *sub, uint64_t ring_id)
{
	struct hbus_ring *ring = hbus_ring_find(w->state, ring_id);
	const struct hbus_attachment *att;

	LIST_FOREACH(att, &ring->attachments, in_ring)
		if (att->sub && att->sub->member->id == reader->id && att->sub->id == sub->id)
			return w->n_kills > 0 && att->is_without_gate;
	return false;
}

static void check_gate(struct world *w, const struct client *reader, const struct client_sub *sub,
		       const struct client_ring *ring, const struct client_held *held)
{
	for (int i = 0; i < WORLD_GATES; i++) {
		const struct client_gate *gate = &ring->gates[i];

		if (gate->gate_id != held->gate_id)
			continue;
		if (gate->slots.id != (reader->process << 16 | sub->id) || gate->slots.part != held->memfd_idx ||
		    gate->slot_idx != held->slot_idx || gate->idx != held->attach_idx)
			world_fail(w, "quiet: the gate of ring %llx is at another slot than its reader",
				   (unsigned long long)ring->geometry.ring_id);
		return;
	}
	if (held->has_slot && !reader->was_given_up && !lost_its_place(w, reader, sub, ring->geometry.ring_id))
		world_fail(w, "quiet: ring %llx has no gate for a reader that counts on it",
			   (unsigned long long)ring->geometry.ring_id);
}

/* Whoever has the ring sees all that is in it. */
static bool may_read_all(const struct world *w, const struct client *reader, const struct client_sub *sub,
			 const struct client *owner, uint64_t ring_id)
{
	const struct hbus_ring *ring = hbus_ring_find(w->state, ring_id);
	const struct hbus_ring_topic *carried;

	TAILQ_FOREACH(carried, &ring->topics, in_ring)
		if (!may_read(w, reader, sub, owner, carried->topic->name))
			return false;
	return true;
}

static void check_pair(struct world *w, struct client *owner, struct client_ring *ring, struct client *reader,
		       struct client_sub *sub)
{
	uint64_t id = ring->geometry.ring_id;
	const struct client_held *held = held_of(sub, id);
	bool is_allowed = may_read_all(w, reader, sub, owner, id);
	bool is_wanted = wants(w, reader, sub, ring) && is_allowed;

	if (was_left(sub, id))
		return;
	/* Rules have taken the topic away that decided who may read: who has the ring keeps it. */
	if (ring->topics[0].name < 0 || strcmp(first_topic(w, ring), world_topics[ring->topics[0].name]) != 0)
		return;
	if (is_wanted && !held)
		world_fail(w, "quiet: subscriber %u of client %llx asks for ring %llx and does not have it", sub->id,
			   (unsigned long long)reader->id, (unsigned long long)id);
	if (held && !(is_allowed && may_want(w, sub, id)))
		world_fail(w, "quiet: subscriber %u of client %llx has ring %llx and does not ask for it, or must not", sub->id,
			   (unsigned long long)reader->id, (unsigned long long)id);
	if (held)
		check_gate(w, reader, sub, ring, held);
}

/* A gate whose reader is gone would hold its publisher for ever. */
static void check_gates_have_readers(struct world *w, const struct client_ring *ring)
{
	for (int i = 0; i < WORLD_GATES; i++) {
		const struct client_gate *gate = &ring->gates[i];
		bool is_found = gate->gate_id == 0;

		for (int c = 0; c < WORLD_CLIENTS && !is_found; c++)
			for (int s = 0; s < WORLD_SUBS && !is_found; s++) {
				const struct client_sub *sub = &w->clients[c].subs[s];
				const struct client_held *held =
					w->clients[c].process ? held_of(sub, ring->geometry.ring_id) : NULL;

				is_found = held && held->gate_id == gate->gate_id;
			}
		if (!is_found)
			world_fail(w, "quiet: ring %llx has a gate (%llx) that nobody reads behind",
				   (unsigned long long)ring->geometry.ring_id, (unsigned long long)gate->gate_id);
	}
}

static bool is_topic_asked_for(const struct world *w, int name)
{
	for (int c = 0; c < WORLD_CLIENTS; c++)
		for (int s = 0; s < WORLD_SUBS; s++)
			for (int f = 0; f < WORLD_FILTERS; f++)
				if (w->clients[c].process && client_matches(&w->clients[c].subs[s].filters[f], name))
					return true;
	return false;
}

static bool is_topic_read(const struct world *w, const struct client_ring *ring, int name)
{
	for (int c = 0; c < WORLD_CLIENTS; c++)
		for (int s = 0; s < WORLD_SUBS; s++)
			for (int f = 0; f < WORLD_FILTERS; f++)
				if (w->clients[c].process && held_of(&w->clients[c].subs[s], ring->geometry.ring_id) &&
				    w->clients[c].subs[s].filters[f].is_confirmed &&
				    client_matches(&w->clients[c].subs[s].filters[f], name))
					return true;
	return false;
}

static void check_interest(struct world *w, const struct client_ring *ring)
{
	for (int i = 0; i < WORLD_TOPICS; i++) {
		const struct client_topic *topic = &ring->topics[i];

		if (topic->name < 0 || !topic->is_said)
			continue;
		if (topic->is_wanted != 1 && is_topic_read(w, ring, topic->name))
			world_fail(w, "quiet: somebody reads %s and its publisher was not told", world_topics[topic->name]);
		if (topic->is_wanted == 1 && !is_topic_asked_for(w, topic->name))
			world_fail(w, "quiet: nobody asks for %s and its publisher believes so", world_topics[topic->name]);
	}
}

static void check_ring_quiet(struct world *w, struct client *owner, struct client_ring *ring)
{
	for (int c = 0; c < WORLD_CLIENTS; c++)
		for (int s = 0; s < WORLD_SUBS; s++)
			if (w->clients[c].process && w->clients[c].subs[s].stage == SUB_RUNS)
				check_pair(w, owner, ring, &w->clients[c], &w->clients[c].subs[s]);
	check_gates_have_readers(w, ring);
	check_interest(w, ring);
}

/* A reader of a ring that is over was told so, and has given it back by now. */
static void check_no_dead_rings(struct world *w, const struct client *client, const struct client_sub *sub)
{
	for (int i = 0; i < WORLD_HELD; i++) {
		uint64_t id = sub->held[i].ring_id;
		const struct hbus_ring *ring = id ? hbus_ring_find(w->state, id) : NULL;

		if (id && (!ring || !ring->owner))
			world_fail(w, "quiet: subscriber %u of client %llx was not told that ring %llx is over", sub->id,
				   (unsigned long long)client->id, (unsigned long long)id);
	}
}

void check_quiet(struct world *w)
{
	size_t n_members = 0;

	for (int c = 0; c < WORLD_CLIENTS; c++) {
		struct client *client = &w->clients[c];

		if (!client->process)
			continue;
		n_members++;
		if (client->link != LINK_UP)
			world_fail(w, "quiet: client %d is not connected", c);
		for (int i = 0; i < WORLD_CALLS; i++)
			if (client->calls[i].serial)
				world_fail(w, "quiet: client %d waits for a reply (type %u)", c, client->calls[i].type);
		for (int i = 0; i < WORLD_SUBS; i++)
			check_no_dead_rings(w, client, &client->subs[i]);
		for (int i = 0; i < WORLD_RINGS; i++)
			if (client->rings[i].stage == RING_RUNS)
				check_ring_quiet(w, client, &client->rings[i]);
	}
	if (w->state->members.n != n_members)
		world_fail(w, "quiet: %zu clients are there, the daemon knows %zu", n_members, w->state->members.n);
	if (w->state->n_pending)
		world_fail(w, "quiet: %zu replies wait", w->state->n_pending);
}

void check_empty(struct world *w)
{
	struct hbus_state_counts counts;

	hbus_state_count(w->state, &counts);
	if (counts.n_members + counts.n_rings + counts.n_subscribers + counts.n_attachments + counts.n_pending)
		world_fail(w, "left when all are gone: members %zu, rings %zu, subscribers %zu, attachments %zu, replies %zu",
			   counts.n_members, counts.n_rings, counts.n_subscribers, counts.n_attachments, counts.n_pending);
	if (counts.n_topics > w->config.n_topics)
		world_fail(w, "left when all are gone: %zu topics", counts.n_topics);
	if (w->n_journal > counts.n_topics)
		world_fail(w, "left when all are gone: %zu things in the journal", w->n_journal);
	for (size_t i = 0; i < w->n_memories; i++)
		if (w->memories[i].n_daemon > 0)
			world_fail(w, "left when all are gone: the memory of ring %llx", (unsigned long long)w->memories[i].ring_id);
}
