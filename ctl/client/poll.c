/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Polling: events out of the rings, in the owner's thread
 *
 * One poll hands out events of one ring, so that HBUS_LAPPED concerns exactly these. Rings take turns.
 *
 * Accounts. What a scan saw counts when its batch is released: whole to the end -> delivered and filtered;
 * overwritten meanwhile -> lost, all of it. So for each ring, at any time:
 *	sequence now - sequence at the start = delivered + filtered + lost (+ the open batch)
 */
#include "ctl/client/control.h"
#include "ctl/client/sink.h"
#include "ctl/client/subscriber.h"

/* Records that one call looks at in one ring, wanted or not: a bound on its time. */
#define SCAN_RECORDS_MAX 4096u
/*
 * A span of records ends here. All of its headers are looked at before the caller reads what is behind them: near cores, the longer
 * that takes the longer the publisher waits for these lines a lap later (shm/DESIGN.md, a reader's pages).
 */
#define SPAN_BYTES_MAX 4096u
/* Rings that look empty and whose intent is checked all the same, each pass. */
#define PROBES 8u
/* Of polls in a row that find nothing, the first and every so many more probe. */
#define PROBE_INTERVAL 32u
/* Polls in a row that found nothing, after which the statistics are stored. */
#define IDLE_POLLS 1024u
/* Polls in a row that found nothing, after which the line behind the next header word is asked for too, if it is wanted.
 * Not at once: a reader close behind a busy publisher would take lines away from it. */
#define PREFETCH_AFTER 4u
#define LINE 64u
#define PREFETCH_RINGS 4u
/* How often one call follows readers that were overtaken meanwhile. */
#define PASSES_MAX 4u

/* -- a batch is done -- */

static enum hbus_ring_outcome batch_check(struct hbus_ring_sub *ring)
{
	if (ring->position != ring->batch_position)
		return hbus_ring_sub_release(ring);
	/* A cut run: the ring's own release sees no progress and would not look. */
	return hbus_ring_sub_is_whole(ring, ring->batch_position) ? HBUS_RING_OK : HBUS_RING_LAPPED;
}

/* False: what was in it must be discarded. */
static bool batch_settle(struct hbus_subscriber *sub, struct hbus_attached *at)
{
	if (batch_check(&at->ring) != HBUS_RING_OK) {
		hbus_batch_void(sub, at);
		return false;
	}
	at->n_delivered += at->batch_delivered;
	at->n_filtered += at->batch_filtered;
	at->batch_delivered = at->batch_filtered = 0;
	if (at->is_corrupt)
		hbus_ring_corrupt(sub, at);
	return true;
}

int hbus_batch_release(struct hbus_subscriber *sub)
{
	struct hbus_attached *at = sub->open;

	if (!at)
		return 0;
	sub->open = NULL;
	return batch_settle(sub, at) ? 0 : HBUS_LAPPED;
}

/*
 * The statistics stand beside the cursor, in memory that the publisher reads: a store for each batch delays what
 * this thread publishes next by a cache miss. So: once per block, when nothing comes, and before sleeping.
 */
static inline void stats_due(struct hbus_subscriber *sub, struct hbus_attached *at)
{
	at->has_stats = true;
	sub->has_stats = true;
	if ((at->ring.position ^ at->stats_position) & ~at->ring.block_mask) {
		at->stats_position = at->ring.position;
		hbus_ring_sub_store_stats(&at->ring, at->n_delivered + at->batch_delivered,
					  at->n_filtered + at->batch_filtered, at->n_lost);
	}
}

/* -- scanning one ring -- */

/* NULL: not known yet. */
static inline const struct hbus_topic_name *decide(struct hbus_subscriber *sub, struct hbus_attached *at,
						   const struct hbus_record *record)
{
	struct hbus_topic_cache *cache = &at->cache;
	const struct hbus_topic_name *name;

	if (__builtin_expect(record->is_unknown, 0))
		return &hbus_topic_skipped;
	if (__builtin_expect(cache->id == record->topic && cache->news == sub->news_seen, 1) && cache->name)
		return cache->name;
	name = hbus_topic_table_get(&sub->topics, record->topic);
	/* A topic that is wanted, but not this publisher's: as if it had no name. */
	if (name && name != &hbus_topic_skipped && !hbus_id_set_has(&at->carried, record->topic))
		name = NULL;
	if (!name && at->unnamed_topic == record->topic && record->topic != 0)
		return &hbus_topic_skipped;
	/* Not that it is skipped: another thread may subscribe to it before this one hears the news. */
	if (name != &hbus_topic_skipped)
		*cache = (struct hbus_topic_cache){.id = record->topic, .news = sub->news_seen, .name = name};
	return name;
}

/*
 * Has the control side read all that the daemon has sent since the ring was blocked? The daemon tells of a topic before its
 * publisher may use it; but it may be dead for a while, or the control thread without a CPU.
 */
static bool is_all_heard(struct hbus_subscriber *sub, const struct hbus_attached *at)
{
	/* A(bus.heard): pairs with R(bus.heard) in receive(). */
	uint32_t n = atomic_load_explicit(&sub->bus->n_heard, memory_order_acquire) - at->heard;

	/* The first may have begun before. */
	if (n < 2)
		hbus_control_poke(sub->bus);
	return n >= 2;
}

/* The next event's topic is not known: its name is on the way to the control side, or the publisher lies. */
static void ring_blocked(struct hbus_subscriber *sub, struct hbus_attached *at, uint32_t topic)
{
	uint64_t now_ms = hbus_now_ms();

	if (!at->is_blocked || at->blocked_topic != topic) {
		at->is_blocked = true;
		at->blocked_topic = topic;
		at->blocked_until_ms = now_ms + HBUS_UNKNOWN_TOPIC_MS;
		/* relaxed: only a number to compare with */
		at->heard = atomic_load_explicit(&sub->bus->n_heard, memory_order_relaxed);
	} else if (now_ms < at->blocked_until_ms) {
		return;
	} else if (!is_all_heard(sub, at)) {
		at->blocked_until_ms = now_ms + HBUS_UNHEARD_MS;
	} else {
		hbus_loss_add(&sub->losses, at->ring_id, at->ring.sequence, 0, HBUS_LOSS_UNNAMED);
		at->unnamed_topic = topic;
		at->is_blocked = false;
	}
}

/*
 * The quick way through records that carry nothing but a payload and follow one of the same topic: one comparison
 * tells. It stops at anything else, which the loop in scan_ring() then looks at closely.
 */
static inline void fill_plain(struct hbus_event *event, const struct hbus_attached *at, const char *name, uint64_t position,
			      uint64_t sequence, uint64_t len)
{
	event->data = at->ring.data + (position & at->ring.mask) + HBUS_RECORD_HEADER;
	event->size = len;
	event->topic = name;
	event->topic_id = at->cache.id;
	event->key = 0;
	event->ring_id = at->ring_id;
	event->sequence = sequence;
	event->time_ns = 0;
	event->extra = NULL;
	event->extra_size = 0;
	event->has_key = 0;
}

static inline void fill_span(struct hbus_span *span, const struct hbus_attached *at, const char *name, uint64_t position,
			     uint64_t sequence, uint64_t len, uint64_t n_events)
{
	*span = (struct hbus_span){
		.data = at->ring.data + (position & at->ring.mask) + HBUS_RECORD_HEADER,
		.size = len,
		.stride = hbus_record_size(len),
		.n_events = n_events,
		.topic = name,
		.topic_id = at->cache.id,
		.ring_id = at->ring_id,
		.sequence = sequence,
	};
}

static inline __attribute__((always_inline)) uint64_t take_plain_events(struct hbus_ring_sub *ring, struct hbus_sink *sink,
									const struct hbus_attached *at, const char *name,
									uint32_t topic)
{
	uint64_t top = hbus_word_make(0, topic, 0) >> 24, position = ring->position, sequence = ring->sequence;
	struct hbus_event *event = sink->events + sink->n, *end = sink->events + sink->n_max;

	for (; event < end; event++) {
		uint64_t word = hbus_ring_sub_load_word(ring, position), len = hbus_word_length(word);

		if (word >> 24 != top || hbus_record_size(len) > ring->record_max)
			break;
		fill_plain(event, at, name, position, sequence++, len);
		position += hbus_record_size(len);
		hbus_ring_sub_prefetch(ring, position);
	}
	sink->n = (unsigned int)(event - sink->events);
	ring->position = position;
	sequence -= ring->sequence;
	ring->sequence += sequence;
	return sequence;
}

/* Records of one size in a row: the same header word, again and again. */
static inline uint64_t count_alike(const struct hbus_ring_sub *ring, uint64_t position, uint64_t word, uint64_t stride,
				   uint64_t n_max)
{
	/* A span is contiguous, and a header word is accessed in the first mapping only: so up to its end. */
	uint64_t n_left = ring->mask + 1 - (position & ring->mask), n_fit, n = 1;
	const unsigned char *at = ring->data + (position & ring->mask);

	if (n_left > SPAN_BYTES_MAX)
		n_left = SPAN_BYTES_MAX;
	n_fit = ((uint32_t)n_left + (uint32_t)stride - 1) / (uint32_t)stride;
	if (n_fit < n_max)
		n_max = n_fit;
	for (; n < n_max; n++) {
		at += stride;
		__builtin_prefetch(at + 1024); /* may point behind the ring: a hint only */
		/* A(ring.header): pairs with R(ring.header) in hbus_ring_pub_commit(). */
		if (atomic_load_explicit((const _Atomic uint64_t *)(const void *)at, memory_order_acquire) != word)
			break;
	}
	return n;
}

static inline uint64_t take_plain_spans(struct hbus_ring_sub *ring, struct hbus_sink *sink, const struct hbus_attached *at,
					const char *name, uint32_t topic)
{
	uint64_t top = hbus_word_make(0, topic, 0) >> 24, position = ring->position, n_all = 0;

	while (sink->n < sink->n_max && position - ring->position < SPAN_BYTES_MAX) {
		uint64_t word = hbus_ring_sub_load_word(ring, position), len = hbus_word_length(word), n;

		if (word >> 24 != top || hbus_record_size(len) > ring->record_max)
			break;
		n = count_alike(ring, position, word, hbus_record_size(len), SCAN_RECORDS_MAX);
		fill_span(&sink->spans[sink->n++], at, name, position, ring->sequence + n_all, len, n);
		n_all += n;
		position += n * hbus_record_size(len);
	}
	ring->position = position;
	ring->sequence += n_all;
	return n_all;
}

/* How many events the quick way took. */
static inline __attribute__((always_inline)) uint64_t take_plain(struct hbus_subscriber *sub, struct hbus_attached *at,
								 struct hbus_sink *sink)
{
	const struct hbus_topic_cache *cache = &at->cache;

	if (at->skip > 0 || cache->news != sub->news_seen || !cache->name)
		return 0;
	if (sink->events)
		return take_plain_events(&at->ring, sink, at, cache->name->name, cache->id);
	if (sink->spans)
		return take_plain_spans(&at->ring, sink, at, cache->name->name, cache->id);
	return 0;
}

/* Events of one ring into the sink. Leaves a batch open when there are any. */
static inline __attribute__((always_inline)) void scan_ring(struct hbus_subscriber *sub, struct hbus_attached *at,
							    struct hbus_sink *sink)
{
	struct hbus_ring_sub *ring = &at->ring;
	uint64_t skip = at->skip, delivered = 0, filtered = 0;
	uint32_t unknown_topic = 0;
	bool is_unknown = false, has_more = true; /* true also when the loop ends by its bound */
	enum hbus_ring_outcome outcome;

	at->batch_skip = skip;
	hbus_ring_sub_begin(ring);
	delivered = take_plain(sub, at, sink);
	for (unsigned int i = 0; i < SCAN_RECORDS_MAX; i++) {
		uint64_t position = ring->position, sequence = ring->sequence, n_taken = 0;
		const struct hbus_topic_name *name;
		struct hbus_record record;

		/* Full: the next header word may stand in a line that only its publisher has touched yet. */
		if (sink->n == sink->n_max && sink->events)
			break;
		if (!hbus_ring_sub_next(ring, &record)) {
			has_more = false;
			break;
		}
		if (skip > record.n_events) /* only in what is void, or forged */
			skip = record.n_events;
		name = decide(sub, at, &record);
		if (name == &hbus_topic_skipped) {
			filtered += record.n_events - skip;
			skip = 0;
			continue;
		}
		if (name && sink->events)
			n_taken = hbus_sink_put_events(sink, at, name->name, &record, skip);
		else if (name && sink->spans)
			n_taken = hbus_sink_put_span(sink, at, name->name, &record, skip);
		delivered += n_taken;
		skip += n_taken;
		if (skip < record.n_events) {
			is_unknown = !name;
			unknown_topic = record.topic;
			has_more = name != NULL;
			ring->position = position;
			ring->sequence = sequence;
			break;
		}
		skip = 0;
	}
	at->skip = skip;
	at->batch_delivered = delivered;
	at->batch_filtered = filtered;
	at->has_more = has_more;
	outcome = hbus_ring_sub_confirm(ring);
	if (__builtin_expect(outcome == HBUS_RING_LAPPED, 0)) {
		sink->n = 0;
		at->has_more = false;
		at->skip = at->batch_skip;
		hbus_ring_lapped(sub, at);
		return;
	}
	hbus_place_note(sub, at);
	at->is_corrupt = outcome == HBUS_RING_CORRUPT;
	if (is_unknown)
		ring_blocked(sub, at, unknown_topic);
	sub->n_seen += delivered + filtered;
	if (delivered | filtered)
		stats_due(sub, at);
	if (delivered > 0)
		sub->open = at;
	else
		batch_settle(sub, at);
}

/* -- all rings -- */

static inline bool looks_empty(const struct hbus_scan *scan)
{
	/* relaxed: only whether it is zero; scan_ring() loads it again with acquire */
	return atomic_load_explicit(scan->word, memory_order_relaxed) == 0;
}

/* One pass over all rings, beginning where the last one ended. */
static inline __attribute__((always_inline)) unsigned int pass(struct hbus_subscriber *sub, struct hbus_sink *sink)
{
	uint32_t n_rings = sub->n_rings, idx = sub->next_idx;

	for (uint32_t i = 0; i < n_rings && sub->n_rings == n_rings; i++, idx++) {
		if (idx >= n_rings)
			idx = 0;
		__builtin_prefetch((const void *)sub->rings[idx + 4 < n_rings ? idx + 4 : 0].word);
		if (looks_empty(&sub->rings[idx]))
			continue;
		if (__builtin_expect(sub->is_armed, 0) && !sub->rings[idx].at->is_awake)
			hbus_waiting_clear(sub);
		scan_ring(sub, sub->rings[idx].at, sink);
		if (sink->n > 0) {
			sub->next_idx = idx + 1;
			return sink->n;
		}
	}
	return 0;
}

/*
 * Whoever waits for a single event wants its second cache line to come with the first, not after it; if it has a second
 * one, as far as the last events tell: a line that is looked at for nothing is one more that the publisher waits for.
 */
static inline const char *line_wanted(const struct hbus_scan *scan)
{
	const struct hbus_ring_sub *ring = &scan->at->ring;
	const char *line = (const char *)(const void *)scan->word;

	return (ring->position & (LINE - 1)) + ring->last_bytes > LINE ? line + LINE : line;
}

/* Nothing came. Most of the time that is all: whoever spins here wants to see the next event soon. */
static inline void idle_poll(struct hbus_subscriber *sub)
{
	uint32_t n = sub->n_idle_polls++;

	if (sub->n_rings <= PREFETCH_RINGS)
		for (uint32_t i = 0; i < sub->n_rings; i++) {
			sub->idle_line = line_wanted(&sub->rings[i]);
			if (n >= PREFETCH_AFTER)
				__builtin_prefetch(sub->idle_line);
		}
	if (__builtin_expect(n % PROBE_INTERVAL != 0, 1))
		return;
	if (n >= IDLE_POLLS && sub->has_stats)
		hbus_stats_store(sub);
	hbus_rings_probe(sub, PROBES);
}

/* A ring whose reader was overtaken goes on elsewhere: look again, so that 0 says that there is nothing. */
static inline __attribute__((always_inline)) void passes(struct hbus_subscriber *sub, struct hbus_sink *sink)
{
	for (unsigned int i = 0; i < PASSES_MAX && sink->n_max > 0; i++) {
		sub->has_moved = false;
		if (pass(sub, sink) > 0) {
			sub->n_idle_polls = 0;
			return;
		}
		/* Events came until now, and none do any more. */
		if (!sub->has_moved && sub->n_idle_polls == 0 && hbus_linger_caught_up(&sub->linger, sub->n_seen) &&
		    pass(sub, sink) > 0)
			return;
		if (!sub->has_moved)
			idle_poll(sub);
		if (__builtin_expect(!sub->has_moved, 1))
			return;
	}
}

/* -- the quick way: one ring, and nothing out of the ordinary -- */

static inline bool is_quick(const struct hbus_subscriber *sub)
{
	/* relaxed: as in poll_begin() */
	return sub && sub->n_rings == 1 && sub->n_ending == 0 && !sub->is_armed && !hbus_has_mail(sub) &&
	       atomic_load_explicit(sub->alive, memory_order_relaxed) != 0;
}

/* The only ring still has nothing: false when more than looking is due. */
static inline bool idle_quickly(struct hbus_subscriber *sub)
{
	uint32_t n = sub->n_idle_polls;

	if (sub->open || n % PROBE_INTERVAL == 0)
		return false;
	if (n >= PREFETCH_AFTER)
		__builtin_prefetch(sub->idle_line);
	sub->n_idle_polls = n + 1;
	return true;
}

/* What the caller had was whole, and is accounted for; false: not so, take the long way. */
static inline bool release_quickly(struct hbus_subscriber *sub, struct hbus_attached *at)
{
	struct hbus_ring_sub *ring = &at->ring;

	if (!sub->open)
		return true;
	if (at->is_corrupt || hbus_ring_sub_release(ring) != HBUS_RING_OK)
		return false;
	sub->open = NULL;
	at->n_delivered += at->batch_delivered;
	at->batch_delivered = 0;
	if (at->batch_filtered > 0) {
		at->n_filtered += at->batch_filtered;
		at->batch_filtered = 0;
	}
	return true;
}

/* The ring may go on as its last batch did: same topic, nothing cut, what the caller had is accounted for. */
static inline bool goes_on_plainly(struct hbus_subscriber *sub, struct hbus_attached *at)
{
	const struct hbus_topic_cache *cache = &at->cache;

	return at->skip == 0 && cache->news == sub->news_seen && cache->name &&
	       release_quickly(sub, at);
}

static inline void open_quickly(struct hbus_subscriber *sub, struct hbus_attached *at, uint64_t n)
{
	at->batch_skip = 0;
	at->batch_delivered = n;
	at->has_more = true;
	at->is_corrupt = false;
	sub->open = at;
	sub->n_seen += n;
	sub->n_idle_polls = 0;
	stats_due(sub, at);
}

/*
 * The event that has just come, when none stands behind it or the caller wants no more: of all ways the shortest. Who has waited for it
 * does not even look behind it: that line is its publisher's, and what follows would wait for it. Return: whether it was
 * that, in @event or @span; if not, nothing has changed.
 */
static inline __attribute__((always_inline)) bool take_one(struct hbus_subscriber *sub, struct hbus_event *event,
							   struct hbus_span *span, unsigned int n_max)
{
	struct hbus_attached *at = sub->rings[0].at;
	struct hbus_ring_sub *ring = &at->ring;
	uint64_t position = ring->position, word = hbus_ring_sub_load_word(ring, position), len = hbus_word_length(word);
	uint64_t end = position + hbus_record_size(len);

	if (word >> 24 != hbus_word_make(0, at->cache.id, 0) >> 24 || end - position > ring->record_max)
		return false;
	if (n_max > 1 && sub->n_idle_polls < HBUS_WAITED_POLLS && hbus_ring_sub_load_word(ring, end) != 0)
		return false;
	if (!goes_on_plainly(sub, at) || !hbus_ring_sub_is_whole(ring, position))
		return false;
	if (event)
		fill_plain(event, at, at->cache.name->name, position, ring->sequence, len);
	else
		fill_span(span, at, at->cache.name->name, position, ring->sequence, len, 1);
	if (sub->n_idle_polls == 0) /* else it stands right behind the publisher, and would take lines from it */
		hbus_ring_sub_prefetch(ring, position);
	ring->batch_position = position;
	ring->batch_sequence = ring->sequence++;
	ring->position = end;
	hbus_place_note(sub, at);
	open_quickly(sub, at, 1);
	return true;
}

/*
 * Plain events of the topic that came last, as scan_ring() would find them. Nothing here is decided that it would decide
 * otherwise: at whatever is not plain, or not whole, the ring is set back and it looks again. So what stands between an
 * event's arrival and its delivery is short; accounts are made at the next call, when the caller waits anyway.
 */
static inline __attribute__((always_inline)) bool take_many(struct hbus_subscriber *sub, struct hbus_sink *sink)
{
	struct hbus_attached *at = sub->rings[0].at;
	struct hbus_ring_sub *ring = &at->ring;
	uint64_t n;

	if (!goes_on_plainly(sub, at))
		return false;
	hbus_ring_sub_begin(ring);
	n = take_plain(sub, at, sink);
	if (n == 0)
		return false;
	hbus_place_note(sub, at);
	if ((sink->n < sink->n_max && ring->position - ring->batch_position < SPAN_BYTES_MAX && !looks_empty(&sub->rings[0])) ||
	    !hbus_ring_sub_is_whole(ring, ring->batch_position)) {
		ring->position = ring->batch_position;
		ring->sequence = ring->batch_sequence;
		hbus_place_note(sub, at);
		sink->n = 0;
		return false;
	}
	open_quickly(sub, at, n);
	return true;
}

static int poll_begin(struct hbus_subscriber *sub)
{
	/* relaxed: nobody writes it; fork() replaces the page by zeroes */
	if (__builtin_expect(!sub || atomic_load_explicit(sub->alive, memory_order_relaxed) == 0, 0))
		return hbus_fail_handle(sub);
	hbus_batch_release(sub);
	if (__builtin_expect(hbus_has_mail(sub), 0))
		hbus_mail_take(sub);
	if (__builtin_expect(sub->is_armed && !(sub->flags & HBUS_SUB_FLAG_NO_OWN_WAKE), 0))
		hbus_waiting_clear(sub);
	if (__builtin_expect(sub->n_ending > 0, 0))
		hbus_rings_leave_ended(sub);
	return 0;
}

static __attribute__((noinline)) int poll_slowly(struct hbus_subscriber *sub, struct hbus_sink *sink)
{
	int r = poll_begin(sub);

	if (r < 0)
		return r;
	if (!sink->events && !sink->spans && sink->n_max > 0)
		return hbus_fail_no_place();
	passes(sub, sink);
	return (int)sink->n;
}

/* More than one, or not what was expected. */
static __attribute__((noinline)) int poll_events(struct hbus_subscriber *sub, struct hbus_event *events, unsigned int n_max,
						 bool may_be_quick)
{
	struct hbus_sink sink = {.events = events, .n_max = n_max};

	if (may_be_quick && take_many(sub, &sink))
		return (int)sink.n;
	return poll_slowly(sub, &sink);
}

int hbus_poll(struct hbus_subscriber *sub, struct hbus_event *events, unsigned int n_max)
{
	if (__builtin_expect(!is_quick(sub), 0))
		return poll_events(sub, events, n_max, false);
	if (looks_empty(&sub->rings[0]))
		return idle_quickly(sub) ? 0 : poll_events(sub, events, n_max, false);
	if (n_max == 0 || !events)
		return poll_events(sub, events, n_max, false);
	if (take_one(sub, events, NULL, n_max))
		return 1;
	return poll_events(sub, events, n_max, true);
}

int hbus_poll_spans(struct hbus_subscriber *sub, struct hbus_span *spans, unsigned int n_max)
{
	struct hbus_sink sink = {.spans = spans, .n_max = n_max};
	int r;

	if (__builtin_expect(is_quick(sub), 1)) {
		if (looks_empty(&sub->rings[0])) {
			if (idle_quickly(sub))
				return 0;
		} else if (n_max > 0 && spans) {
			if (sub->n_idle_polls >= HBUS_WAITED_POLLS && take_one(sub, NULL, spans, 1))
				return 1;
			if (take_many(sub, &sink))
				return (int)sink.n;
		}
	}
	r = poll_slowly(sub, &sink);
	for (unsigned int i = 0; i < sink.n; i++)
		spans[i].reserved = 0;
	return r;
}

int hbus_release(struct hbus_subscriber *sub)
{
	return sub && hbus_is_ours(sub->bus) ? hbus_batch_release(sub) : hbus_fail_handle(sub);
}

/* A plain event of the topic that came last, as far as its header tells: who polls now looks closely. */
static bool stands_plainly(const struct hbus_subscriber *sub, const struct hbus_attached *at)
{
	const struct hbus_topic_cache *cache = &at->cache;
	uint64_t word = hbus_ring_sub_load_word(&at->ring, at->ring.position);

	return at->skip == 0 && cache->news == sub->news_seen && cache->name &&
	       word >> 24 == hbus_word_make(0, cache->id, 0) >> 24 && hbus_record_size(hbus_word_length(word)) <= at->ring.record_max;
}

/* Skips what is filtered; true when an event that is wanted stands next. */
static bool ring_has_work(struct hbus_subscriber *sub, uint32_t idx)
{
	struct hbus_attached *at = sub->rings[idx].at;
	struct hbus_sink sink = {0};

	if (looks_empty(&sub->rings[idx]))
		return false;
	/* No scan, which would take lines away from a publisher that is close: whoever waits wants the event soon. */
	if (stands_plainly(sub, at))
		return true;
	at->has_more = false;
	scan_ring(sub, at, &sink);
	/* The ring may have been left as corrupt: then another stands here, or none. */
	return idx < sub->n_rings && sub->rings[idx].at == at && at->has_more;
}

bool hbus_subscriber_has_work(struct hbus_subscriber *sub, bool is_thorough)
{
	if (sub->n_ending > 0)
		hbus_rings_leave_ended(sub);
	for (uint32_t round = 0; round < PASSES_MAX; round++) {
		sub->has_moved = false;
		for (uint32_t i = 0; i < sub->n_rings; i++)
			if (ring_has_work(sub, i))
				return true;
		hbus_rings_probe(sub, is_thorough ? sub->n_rings : PROBES);
		if (!sub->has_moved)
			return false;
	}
	return true; /* so fast a publisher: there is something, somewhere */
}

