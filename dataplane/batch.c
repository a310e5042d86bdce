/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The batched datagram format and the memory of its senders.
 *
 * The tracker is one block: an array of senders, hash chains through it, and a list through it in
 * the order in which they were last heard. Links are indexes, so nothing is allocated later.
 */
#include "dataplane/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint16_t load_be16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static uint32_t load_be32(const uint8_t *bytes)
{
	return (uint32_t)load_be16(bytes) << 16 | load_be16(bytes + 2);
}

static uint64_t load_be64(const uint8_t *bytes)
{
	return (uint64_t)load_be32(bytes) << 32 | load_be32(bytes + 4);
}

/* ---- reading --------------------------------------------------------------------------- */

/* Whether @n entries fill the bytes exactly. */
static bool are_entries_good(const uint8_t *bytes, size_t size, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		size_t payload_size;

		if (size < HBUS_BATCH_ENTRY_HEADER_SIZE)
			return false;
		payload_size = load_be16(bytes + 2);
		if (size - HBUS_BATCH_ENTRY_HEADER_SIZE < payload_size)
			return false;
		bytes += HBUS_BATCH_ENTRY_HEADER_SIZE + payload_size;
		size -= HBUS_BATCH_ENTRY_HEADER_SIZE + payload_size;
	}
	return size == 0;
}

bool hbus_batch_parse(const uint8_t *bytes, size_t size, struct hbus_batch *ret_batch)
{
	uint32_t n_events;

	if (size < HBUS_BATCH_HEADER_SIZE || load_be32(bytes) != HBUS_BATCH_MAGIC)
		return false;
	n_events = load_be16(bytes + 4);
	if (n_events > HBUS_BATCH_N_EVENTS_MAX || load_be16(bytes + 6) != 0)
		return false;
	if (!are_entries_good(bytes + HBUS_BATCH_HEADER_SIZE, size - HBUS_BATCH_HEADER_SIZE,
			      n_events))
		return false;

	*ret_batch = (struct hbus_batch){
		.sender = load_be64(bytes + 8),
		.sequence = load_be64(bytes + 16),
		.entries = bytes + HBUS_BATCH_HEADER_SIZE,
		.n_events = n_events,
	};
	return true;
}

struct hbus_batch_event hbus_batch_next(const uint8_t **cursor)
{
	const uint8_t *entry = *cursor;
	struct hbus_batch_event event = {
		.payload = entry + HBUS_BATCH_ENTRY_HEADER_SIZE,
		.payload_size = load_be16(entry + 2),
		.number = load_be16(entry),
	};

	*cursor = event.payload + event.payload_size;
	return event;
}

/* ---- senders --------------------------------------------------------------------------- */

#define N_BUCKETS HBUS_BATCH_N_SENDERS_MAX
#define NIL UINT32_MAX

struct sender {
	uint64_t id;
	uint64_t newest;             /* highest number accepted */
	uint64_t seen;               /* bit n: newest - n was accepted */
	uint64_t span;               /* bit n: newest - n is not before the lowest accepted */
	uint64_t stale;              /* last number that came from behind the window */
	uint32_t n_stale_run;        /* how many of those came in a row, each the next number */
	uint32_t chain_next;
	uint32_t heard_newer;
	uint32_t heard_older;
};

struct hbus_batch_tracker {
	struct hbus_batch_counters counters;
	uint64_t secret;
	uint32_t n_senders;
	uint32_t heard_last;         /* head of the list: heard most recently */
	uint32_t heard_first;        /* its tail: the next to be forgotten */
	uint32_t buckets[N_BUCKETS];
	struct sender senders[HBUS_BATCH_N_SENDERS_MAX];
};

_Static_assert((N_BUCKETS & (N_BUCKETS - 1)) == 0, "a bucket is chosen by mask");
_Static_assert(HBUS_BATCH_WINDOW == 64, "a window is one word");

int hbus_batch_tracker_new(uint64_t secret, struct hbus_batch_tracker **ret_tracker)
{
	struct hbus_batch_tracker *tracker = calloc(1, sizeof(*tracker));

	if (!tracker)
		return -ENOMEM;
	tracker->secret = secret;
	tracker->heard_last = NIL;
	tracker->heard_first = NIL;
	memset(tracker->buckets, 0xff, sizeof(tracker->buckets));
	*ret_tracker = tracker;
	return 0;
}

struct hbus_batch_tracker *hbus_batch_tracker_free(struct hbus_batch_tracker *tracker)
{
	free(tracker);
	return NULL;
}

const struct hbus_batch_counters *
hbus_batch_tracker_counters(const struct hbus_batch_tracker *tracker)
{
	return &tracker->counters;
}

static uint32_t *bucket_of(struct hbus_batch_tracker *tracker, uint64_t id)
{
	uint64_t word = (id ^ tracker->secret) * 0x9e3779b97f4a7c15U;

	word ^= word >> 29;
	word *= tracker->secret | 1;
	return &tracker->buckets[word >> 32 & (N_BUCKETS - 1)];
}

static void heard_unlink(struct hbus_batch_tracker *tracker, const struct sender *sender)
{
	if (sender->heard_newer == NIL)
		tracker->heard_last = sender->heard_older;
	else
		tracker->senders[sender->heard_newer].heard_older = sender->heard_older;
	if (sender->heard_older == NIL)
		tracker->heard_first = sender->heard_newer;
	else
		tracker->senders[sender->heard_older].heard_newer = sender->heard_newer;
}

static void heard_link(struct hbus_batch_tracker *tracker, uint32_t idx)
{
	struct sender *sender = &tracker->senders[idx];

	sender->heard_newer = NIL;
	sender->heard_older = tracker->heard_last;
	if (tracker->heard_last == NIL)
		tracker->heard_first = idx;
	else
		tracker->senders[tracker->heard_last].heard_newer = idx;
	tracker->heard_last = idx;
}

static void chain_unlink(struct hbus_batch_tracker *tracker, uint32_t idx)
{
	uint32_t *link = bucket_of(tracker, tracker->senders[idx].id);

	while (*link != idx)
		link = &tracker->senders[*link].chain_next;
	*link = tracker->senders[idx].chain_next;
}

/* A place for one more sender: a fresh one, or that of the sender not heard for longest. */
static uint32_t take_place(struct hbus_batch_tracker *tracker)
{
	uint32_t idx;

	if (tracker->n_senders < HBUS_BATCH_N_SENDERS_MAX)
		return tracker->n_senders++;
	idx = tracker->heard_first;
	heard_unlink(tracker, &tracker->senders[idx]);
	chain_unlink(tracker, idx);
	tracker->counters.n_forgotten++;
	return idx;
}

static struct sender *find_sender(struct hbus_batch_tracker *tracker, uint64_t id)
{
	uint32_t idx = *bucket_of(tracker, id);

	while (idx != NIL && tracker->senders[idx].id != id)
		idx = tracker->senders[idx].chain_next;
	if (idx == NIL)
		return NULL;
	if (idx != tracker->heard_last) {
		heard_unlink(tracker, &tracker->senders[idx]);
		heard_link(tracker, idx);
	}
	return &tracker->senders[idx];
}

/* Nothing before the first number counts as missing: it may have been sent before we listened. */
static void start_at(struct sender *sender, uint64_t sequence)
{
	sender->newest = sequence;
	sender->seen = 1;
	sender->span = 1;
	sender->n_stale_run = 0;
}

static void add_sender(struct hbus_batch_tracker *tracker, uint64_t id, uint64_t sequence)
{
	uint32_t idx = take_place(tracker);
	uint32_t *bucket = bucket_of(tracker, id);
	struct sender *sender = &tracker->senders[idx];

	sender->id = id;
	sender->chain_next = *bucket;
	*bucket = idx;
	heard_link(tracker, idx);
	start_at(sender, sequence);
	tracker->counters.n_senders++;
}

static void step_forward(struct hbus_batch_counters *counters, struct sender *sender,
			 uint64_t step)
{
	if (step > 1) {
		counters->n_gaps++;
		counters->n_missing += step - 1;
	}
	if (step < HBUS_BATCH_WINDOW) {
		sender->seen = sender->seen << step | 1;
		sender->span = sender->span << step | ((UINT64_C(1) << step) - 1);
	} else {
		sender->seen = 1;
		sender->span = UINT64_MAX;
	}
	sender->newest += step;
	sender->n_stale_run = 0;
}

/* A number within the window, at or behind the newest. */
static enum hbus_batch_verdict fill_window(struct hbus_batch_counters *counters,
					   struct sender *sender, uint64_t behind)
{
	uint64_t bit = UINT64_C(1) << behind;
	uint64_t up_to_bit = bit | (bit - 1);

	if (sender->seen & bit) {
		counters->n_duplicates++;
		return HBUS_BATCH_DUPLICATE;
	}
	sender->seen |= bit;
	counters->n_reordered++;
	/* A number before the lowest makes the span longer, and what lies between is missing. */
	counters->n_missing += (uint64_t)__builtin_popcountll(up_to_bit & ~sender->span);
	counters->n_missing--;
	sender->span |= up_to_bit;
	return HBUS_BATCH_ACCEPTED;
}

/*
 * Behind the window. A few such datagrams are late; a run of them, in order and with nothing new
 * in between, is a sender that counts from a new beginning with its old id.
 */
static enum hbus_batch_verdict judge_stale(struct hbus_batch_counters *counters,
					   struct sender *sender, uint64_t sequence)
{
	bool is_next = sender->n_stale_run > 0 && sequence == sender->stale + 1;

	sender->n_stale_run = is_next ? sender->n_stale_run + 1 : 1;
	sender->stale = sequence;
	if (sender->n_stale_run == HBUS_BATCH_RESTART_RUN) {
		counters->n_restarts++;
		start_at(sender, sequence);
		return HBUS_BATCH_ACCEPTED;
	}
	counters->n_stale++;
	return HBUS_BATCH_STALE;
}

static enum hbus_batch_verdict judge(struct hbus_batch_tracker *tracker, uint64_t id,
				     uint64_t sequence)
{
	struct hbus_batch_counters *counters = &tracker->counters;
	struct sender *sender = find_sender(tracker, id);
	uint64_t ahead, behind;

	if (!sender) {
		add_sender(tracker, id, sequence);
		return HBUS_BATCH_ACCEPTED;
	}
	ahead = sequence - sender->newest;
	behind = sender->newest - sequence;
	if (behind < HBUS_BATCH_WINDOW)
		return fill_window(counters, sender, behind);
	if (behind <= ahead)
		return judge_stale(counters, sender, sequence);
	if (ahead > HBUS_BATCH_GAP_MAX) {
		counters->n_restarts++;
		start_at(sender, sequence);
		return HBUS_BATCH_ACCEPTED;
	}
	step_forward(counters, sender, ahead);
	return HBUS_BATCH_ACCEPTED;
}

enum hbus_batch_verdict hbus_batch_tracker_see(struct hbus_batch_tracker *tracker,
					       uint64_t sender, uint64_t sequence)
{
	enum hbus_batch_verdict verdict = judge(tracker, sender, sequence);

	tracker->counters.n_datagrams++;
	if (verdict == HBUS_BATCH_ACCEPTED)
		tracker->counters.n_accepted++;
	return verdict;
}
