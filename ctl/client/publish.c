/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Publishing: claim, copy, add, commit, wake
 *
 * Runs in the owner's thread. No lock and no system call, but for waking a sleeper, or for waiting when a
 * reliable subscriber is a full ring behind.
 */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "ctl/client/publisher.h"

#define SMALL_MAX HBUS_PUBLISH_SMALL_MAX
#define WORDS_MAX 511u /* bytes; larger ones alone are copied by memcpy() */

/* Prefix and payload, also when their sum would wrap around: then it is too large in any case. */
static inline uint64_t body_len(uint64_t prefix, size_t size)
{
	return __builtin_expect(size > HBUS_WORD_LENGTH_MAX, 0) ? size : prefix + size;
}

static int too_large(const struct hbus_pub_ring *ring, uint64_t len)
{
	if (len > ring->pub.batch_max - HBUS_RECORD_HEADER)
		return hbus_fail(HBUS_E_TOO_LARGE, "%llu bytes in a ring that takes at most %llu at once",
				 (unsigned long long)len, (unsigned long long)ring->pub.batch_max - HBUS_RECORD_HEADER);
	return hbus_fail(HBUS_E_TOO_LARGE, "the batch would exceed %llu bytes",
			 (unsigned long long)ring->pub.batch_max);
}

/* The ring had been full and is not any more: nobody has used up any of its limit. */
static void end_stall(struct hbus_pub_ring *ring)
{
	hbus_gates_forgive(&ring->gates);
	ring->is_stalled = false;
}

static inline int claim(struct hbus_publisher *publisher, struct hbus_pub_ring *ring, uint64_t len,
			int64_t timeout_us, unsigned char **ret_body)
{
	int r = hbus_ring_pub_claim(&ring->pub, len, ret_body);

	if (__builtin_expect(r == HBUS_RING_FULL, 0))
		r = hbus_publisher_claim_slowly(publisher, ring, len, timeout_us, ret_body);
	if (__builtin_expect(r == 0, 1)) {
		if (__builtin_expect(ring->is_stalled, 0))
			end_stall(ring);
		return 0;
	}
	return r == HBUS_RING_TOO_LARGE ? too_large(ring, len) : HBUS_FULL;
}

static __attribute__((noinline)) void wake(struct hbus_pub_ring *ring)
{
	int cancel_state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	hbus_gates_wake(&ring->gates, &ring->pub.header->notify);
	pthread_setcancelstate(cancel_state, NULL);
}

static inline void commit(struct hbus_publisher *publisher, struct hbus_pub_ring *ring)
{
	if (__builtin_expect(hbus_ring_pub_commit(&ring->pub), 0) && !(publisher->flags & HBUS_PUB_DEFER_WAKE))
		wake(ring);
}

void hbus_publisher_commit(struct hbus_publisher *publisher, struct hbus_pub_ring *ring)
{
	commit(publisher, ring);
}

/* Ring and number of the topic, as in struct hbus_topic_page; 0: it cannot be published now, look_up() says why. */
static inline uint32_t place_of(const struct hbus_publisher *publisher, hbus_topic_t topic)
{
	const struct hbus_topic_page *page;

	if (publisher->reserved || topic > HBUS_TOPIC_ID_MAX)
		return 0;
	page = publisher->pages[topic / HBUS_TOPIC_PAGE_SIZE];
	return page ? page->place[topic % HBUS_TOPIC_PAGE_SIZE] : 0;
}

static __attribute__((noinline)) int look_up(struct hbus_publisher *publisher, hbus_topic_t topic)
{
	uint32_t place = place_of(publisher, topic);

	if (hbus_publisher_has_reserved(publisher))
		return hbus_fail(HBUS_E_BUSY, "a reservation is open: commit or abort it first");
	if (topic == 0 || topic > HBUS_TOPIC_ID_MAX)
		return hbus_fail(HBUS_E_INVALID, "%u is not a topic number", topic);
	if (place == 0)
		return hbus_fail(HBUS_E_INVALID, "topic %u is not one of this publisher's", topic);
	publisher->last_topic = topic;
	publisher->last_wire = place & HBUS_TOPIC_ID_MAX;
	publisher->last_word = hbus_word_make(0, publisher->last_wire, 0);
	publisher->last_ring = publisher->rings[(place >> 24) - 1];
	hbus_publisher_set_quick(publisher);
	return 0;
}

/* The daemon has lost the ring: a new one, if it can be had now; else publish into the old one. */
static __attribute__((noinline)) int renew(struct hbus_publisher *publisher, hbus_topic_t topic)
{
	hbus_publisher_step_out(publisher);
	hbus_publisher_renew(publisher, publisher->last_ring);
	hbus_publisher_step_in(publisher);
	return look_up(publisher, topic);
}

/* Bytes that the publisher's own attributes take before each payload. */
static inline uint64_t own_prefix(const struct hbus_publisher *publisher)
{
	return publisher->flags & HBUS_PUB_TIMESTAMP ? 8 : 0;
}

/* An empty event may have no data, others not. */
static inline int check_data(const void *data, size_t size)
{
	return data || size == 0 ? 0 : hbus_fail(HBUS_E_INVALID, "%zu bytes of data are at NULL", size);
}

/* Enters the call, and finds the topic's ring in publisher->last_ring. */
static inline int begin(struct hbus_publisher *publisher, hbus_topic_t topic)
{
	int r = hbus_publisher_enter(publisher);

	if (r < 0)
		return r;
	if (__builtin_expect(topic != publisher->last_topic || topic == 0 || hbus_publisher_has_reserved(publisher), 0))
		r = look_up(publisher, topic);
	/* relaxed: the lock of the bus orders what matters; a publish later is early enough */
	if (r == 0 && __builtin_expect(atomic_load_explicit(&publisher->last_ring->is_refused, memory_order_relaxed) != 0, 0))
		r = renew(publisher, topic);
	if (r < 0)
		hbus_publisher_leave(publisher);
	return r;
}

static inline void put_payload(unsigned char *to, const void *data, size_t size)
{
	if (size <= SMALL_MAX)
		hbus_copy_in_words(to, data, size);
	else
		hbus_copy_in_large(to, data, size);
}

static inline void put_u64(unsigned char *to, uint64_t value)
{
	hbus_copy_in(to, &value, sizeof(value));
}

static uint64_t now_realtime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A batch appears at one time, so its events have one. */
static inline uint64_t stamp_ns(struct hbus_publisher *publisher)
{
	if (!publisher->in_batch)
		return now_realtime_ns();
	if (publisher->batch_time_ns == 0) {
		publisher->batch_time_ns = now_realtime_ns();
		hbus_publisher_set_quick(publisher);
	}
	return publisher->batch_time_ns;
}

/* Whatever stands in the way. */
static __attribute__((noinline)) int publish_slowly(struct hbus_publisher *publisher, hbus_topic_t topic, const void *data,
						    size_t size, bool may_wait)
{
	struct hbus_pub_ring *ring;
	unsigned char *body = NULL;
	uint64_t prefix;
	int r;

	r = check_data(data, size);
	if (r == 0)
		r = begin(publisher, topic);
	if (r < 0)
		return r;
	prefix = own_prefix(publisher);
	ring = publisher->last_ring;
	r = claim(publisher, ring, body_len(prefix, size), may_wait ? publisher->timeout_us : 0, &body);
	if (r == 0) {
		if (prefix)
			put_u64(body, stamp_ns(publisher));
		put_payload(body + prefix, data, size);
		hbus_ring_pub_add(&ring->pub, prefix ? HBUS_FLAG_TIME : 0, publisher->last_wire, prefix + size, 1);
		if (!publisher->in_batch)
			commit(publisher, ring);
	}
	hbus_publisher_leave(publisher);
	return r;
}

/* What is due only now and then; the event itself is out. */
static __attribute__((noinline)) int finish(struct hbus_publisher *publisher, bool has_waiter)
{
	struct hbus_pub_ring *ring = publisher->last_ring;

	if (has_waiter && !(publisher->flags & HBUS_PUB_DEFER_WAKE))
		wake(ring);
	if (hbus_ring_pub_is_own_due(&ring->pub, hbus_ring_pub_head(&ring->pub)))
		hbus_ring_pub_own(&ring->pub);
	hbus_publisher_leave(publisher);
	return 0;
}

/* A small event on the topic of the last one, and nothing out of the ordinary: then a few instructions do. */
static inline bool is_quick(const struct hbus_publisher *publisher, hbus_topic_t topic, const void *data, size_t size,
			    size_t size_max, uint32_t *ret_busy)
{
	if (!publisher || topic != publisher->quick_topic || !data || size > size_max)
		return false;
	/* relaxed, all: as in hbus_publisher_enter() and begin() */
	*ret_busy = atomic_load_explicit(&publisher->busy, memory_order_relaxed);
	return atomic_load_explicit(publisher->alive, memory_order_relaxed) != 0 && !(*ret_busy & HBUS_GATES_CALL) &&
	       atomic_load_explicit(&publisher->last_ring->is_refused, memory_order_relaxed) == 0;
}

/* What is due only now and then; the event itself is in the batch. */
static __attribute__((noinline)) int finish_batched(struct hbus_publisher *publisher, struct hbus_pub_ring *ring)
{
	hbus_ring_pub_own(&ring->pub);
	hbus_publisher_leave_quickly(publisher);
	return 0;
}

static __attribute__((noinline)) int leave_for_slow(struct hbus_publisher *publisher, hbus_topic_t topic, const void *data,
						   size_t size, bool may_wait)
{
	hbus_publisher_leave_quickly(publisher);
	return publish_slowly(publisher, topic, data, size, may_wait);
}

/* @prefix: own_prefix(), known to the compiler. */
static inline __attribute__((always_inline)) int add_batched(struct hbus_publisher *publisher, hbus_topic_t topic, const void *data,
							     size_t size, bool may_wait, uint64_t prefix)
{
	uint32_t place = place_of(publisher, topic);
	struct hbus_pub_ring *ring;
	unsigned char *body;

	if (__builtin_expect(place == 0, 0))
		return leave_for_slow(publisher, topic, data, size, may_wait);
	ring = publisher->rings[(place >> 24) - 1];
	body = hbus_ring_pub_begin_more(&ring->pub, prefix + size);
	/* relaxed: as in begin() */
	if (__builtin_expect(!body || atomic_load_explicit(&ring->is_refused, memory_order_relaxed) != 0, 0))
		return leave_for_slow(publisher, topic, data, size, may_wait);
	if (prefix)
		put_u64(body, publisher->batch_time_ns);
	hbus_copy_in_words(body + prefix, data, size);
	hbus_ring_pub_add_word(&ring->pub, hbus_word_make(prefix ? HBUS_FLAG_TIME : 0, place, 0) | (prefix + size), prefix + size, 1);
	if (__builtin_expect(hbus_ring_pub_is_own_due(&ring->pub, hbus_ring_pub_head(&ring->pub)), 0))
		return finish_batched(publisher, ring);
	hbus_publisher_leave_quickly(publisher);
	return 0;
}

/* After is_quick(). False: a signal handler has published something else before it was said that this is a call. */
static inline bool enter_for(struct hbus_publisher *publisher, hbus_topic_t topic, uint32_t busy)
{
	hbus_publisher_enter_quickly(publisher, busy);
	return topic == publisher->quick_topic;
}

/*
 * What costs is stores, in the ring and outside alike: they reach the cache in the order in which they were made, so
 * those that wait for a line that another core has hold up all behind them, and there is room for some 64. Where lines come
 * fast it is instructions: six a cycle at best. Return: whether the event is out, and *@ret what the caller returns.
 */
static inline __attribute__((always_inline)) bool publish_quickly(struct hbus_publisher *publisher, const void *data, size_t size,
								  bool is_by_words, int *ret)
{
	struct hbus_ring_pub *pub = &publisher->last_ring->pub;
	unsigned char *body;
	bool has_waiter;
	uint64_t end;

	body = hbus_ring_pub_begin_one(pub, size, &end);
	if (__builtin_expect(!body, 0)) {
		hbus_publisher_leave_quickly(publisher);
		return false;
	}
	if (is_by_words)
		hbus_copy_in_words(body, data, size);
	else
		hbus_copy_in(body, data, size);
	hbus_ring_pub_end_one(pub, body, publisher->last_word | size, end, 1);
	has_waiter = hbus_ring_pub_has_waiter_inside(pub);
	*ret = 0;
	if (__builtin_expect(has_waiter || hbus_ring_pub_is_own_due(pub, end), 0))
		*ret = finish(publisher, has_waiter);
	else
		hbus_publisher_leave_quickly(publisher);
	return true;
}

/* By memcpy(), whose call would make the way of the smaller ones save registers; or whatever stands in the way. */
static __attribute__((noinline)) int publish_larger(struct hbus_publisher *publisher, hbus_topic_t topic, const void *data,
						    size_t size, bool may_wait)
{
	uint32_t busy;
	int r;

	if (size <= WORDS_MAX || !is_quick(publisher, topic, data, size, SMALL_MAX, &busy))
		return publish_slowly(publisher, topic, data, size, may_wait);
	if (__builtin_expect(!enter_for(publisher, topic, busy), 0))
		return leave_for_slow(publisher, topic, data, size, may_wait);
	if (__builtin_expect(!publish_quickly(publisher, data, size, false, &r), 0))
		return publish_slowly(publisher, topic, data, size, may_wait);
	return r;
}

/* One more of a batch, of any topic, with the time of those before. Nothing is called but at the end. */
static __attribute__((noinline)) int publish_otherwise(struct hbus_publisher *publisher, hbus_topic_t topic, const void *data,
						       size_t size, bool may_wait)
{
	uint32_t busy;

	if (__builtin_expect(!publisher || !data || size >= publisher->batch_size_end, 0))
		return publish_larger(publisher, topic, data, size, may_wait);
	/* relaxed, both: as in is_quick() */
	busy = atomic_load_explicit(&publisher->busy, memory_order_relaxed);
	if (__builtin_expect(atomic_load_explicit(publisher->alive, memory_order_relaxed) == 0 || busy & HBUS_GATES_CALL, 0))
		return publish_slowly(publisher, topic, data, size, may_wait);
	hbus_publisher_enter_quickly(publisher, busy);
	if (publisher->flags & HBUS_PUB_TIMESTAMP)
		return add_batched(publisher, topic, data, size, may_wait, 8);
	return add_batched(publisher, topic, data, size, may_wait, 0);
}

/* Nothing is called but at the end, so that no register is saved. */
static inline __attribute__((always_inline)) int publish(struct hbus_publisher *publisher, hbus_topic_t topic,
							 const void *data, size_t size, bool may_wait)
{
	uint32_t busy;
	int r;

	if (__builtin_expect(!is_quick(publisher, topic, data, size, WORDS_MAX, &busy), 0))
		return publish_otherwise(publisher, topic, data, size, may_wait);
	if (__builtin_expect(!enter_for(publisher, topic, busy), 0))
		return leave_for_slow(publisher, topic, data, size, may_wait);
	if (__builtin_expect(!publish_quickly(publisher, data, size, true, &r), 0))
		return publish_slowly(publisher, publisher->last_topic, data, size, may_wait);
	return r;
}

int hbus_publish(struct hbus_publisher *publisher, hbus_topic_t topic, const void *data, size_t size)
{
	return publish(publisher, topic, data, size, true);
}

int hbus_try_publish(struct hbus_publisher *publisher, hbus_topic_t topic, const void *data, size_t size)
{
	return publish(publisher, topic, data, size, false);
}

/* Flags of the record that these attributes make, and how many bytes stand before the payload. */
static uint32_t attribute_flags(const struct hbus_publisher *publisher, const struct hbus_attributes *attributes,
				uint64_t *ret_prefix)
{
	uint32_t flags = 0;

	*ret_prefix = 0;
	if (attributes->time_ns || (publisher->flags & HBUS_PUB_TIMESTAMP)) {
		flags |= HBUS_FLAG_TIME;
		*ret_prefix += 8;
	}
	if (attributes->has_key) {
		flags |= HBUS_FLAG_KEY;
		*ret_prefix += 8;
	}
	if (attributes->extra && attributes->extra_size > 0) {
		flags |= HBUS_FLAG_ATTRS;
		*ret_prefix += 8 + HBUS_ALIGN8(attributes->extra_size);
	}
	return flags;
}

static unsigned char *put_attributes(unsigned char *body, uint32_t flags, const struct hbus_attributes *attributes)
{
	if (flags & HBUS_FLAG_TIME) {
		put_u64(body, attributes->time_ns ? attributes->time_ns : now_realtime_ns());
		body += 8;
	}
	if (flags & HBUS_FLAG_KEY) {
		put_u64(body, attributes->key);
		body += 8;
	}
	if (flags & HBUS_FLAG_ATTRS) {
		uint64_t padded = HBUS_ALIGN8(attributes->extra_size);

		put_u64(body, attributes->extra_size);
		if (padded > 0) /* the last word first: its padding is zero then */
			put_u64(body + padded, 0);
		hbus_copy_in(body + 8, attributes->extra, attributes->extra_size);
		body += 8 + padded;
	}
	return body;
}

int hbus_publish_with(struct hbus_publisher *publisher, hbus_topic_t topic, const void *data, size_t size,
		      const struct hbus_attributes *attributes)
{
	struct hbus_pub_ring *ring;
	unsigned char *body = NULL;
	uint64_t prefix;
	uint32_t flags;
	int r;

	if (!attributes)
		return hbus_publish(publisher, topic, data, size);
	if (attributes->extra_size > UINT16_MAX)
		return hbus_fail(HBUS_E_TOO_LARGE, "attributes have at most 65535 bytes");
	r = check_data(data, size);
	if (r == 0)
		r = begin(publisher, topic);
	if (r < 0)
		return r;
	ring = publisher->last_ring;
	flags = attribute_flags(publisher, attributes, &prefix);
	r = claim(publisher, ring, body_len(prefix, size), publisher->timeout_us, &body);
	if (r == 0) {
		put_payload(put_attributes(body, flags, attributes), data, size);
		hbus_ring_pub_add(&ring->pub, flags, publisher->last_wire, prefix + size, 1);
		if (!publisher->in_batch)
			commit(publisher, ring);
	}
	hbus_publisher_leave(publisher);
	return r;
}

static void put_run(unsigned char *body, const unsigned char *data, size_t size, size_t n)
{
	size_t stride = HBUS_ALIGN8(size);

	put_u64(body, (uint64_t)size << 32 | n);
	body += 8;
	if (stride == size) {
		put_payload(body, data, n * size);
		return;
	}
	for (size_t i = 0; i < n; i++)
		hbus_copy_in(body + i * stride, data + i * size, size);
}

int hbus_publish_run(struct hbus_publisher *publisher, hbus_topic_t topic, const void *data, size_t size, size_t n)
{
	struct hbus_pub_ring *ring;
	unsigned char *body = NULL;
	uint64_t prefix, len;
	int r;

	if (n == 0)
		return publisher ? 0 : hbus_fail_handle(publisher);
	if (size > HBUS_WORD_LENGTH_MAX || n > HBUS_WORD_LENGTH_MAX)
		return hbus_fail(HBUS_E_TOO_LARGE, "a run of %zu events of %zu bytes", n, size);
	r = check_data(data, size);
	if (r == 0)
		r = begin(publisher, topic);
	if (r < 0)
		return r;
	prefix = own_prefix(publisher);
	ring = publisher->last_ring;
	len = prefix + 8 + n * HBUS_ALIGN8(size);
	r = claim(publisher, ring, len, publisher->timeout_us, &body);
	if (r == 0) {
		if (prefix)
			put_u64(body, stamp_ns(publisher));
		put_run(body + prefix, data, size, n);
		hbus_ring_pub_add(&ring->pub, HBUS_FLAG_RUN | (prefix ? HBUS_FLAG_TIME : 0), publisher->last_wire,
				  len, n);
		if (!publisher->in_batch)
			commit(publisher, ring);
	}
	hbus_publisher_leave(publisher);
	return r;
}

static void note_reservation(struct hbus_publisher *publisher, unsigned char *body, size_t size, size_t n_run)
{
	publisher->reserved = publisher->last_ring;
	publisher->quick_topic = HBUS_NO_TOPIC;
	publisher->batch_size_end = 0;
	publisher->reserved_body = body;
	publisher->reserved_size = size;
	publisher->reserved_run = n_run;
}

static void end_reservation(struct hbus_publisher *publisher)
{
	publisher->reserved = NULL;
	hbus_publisher_set_quick(publisher);
}

/* @n_run: 0 = one event */
static __attribute__((noinline)) int reserve_slowly(struct hbus_publisher *publisher, hbus_topic_t topic, size_t size,
						    size_t n_run, void **ret_data)
{
	unsigned char *body = NULL;
	uint64_t prefix, len;
	int r;

	if (!ret_data)
		return hbus_fail_no_place();
	r = begin(publisher, topic);
	if (r < 0)
		return r;
	prefix = own_prefix(publisher);
	len = n_run ? prefix + 8 + n_run * HBUS_ALIGN8(size) : body_len(prefix, size);
	r = claim(publisher, publisher->last_ring, len, publisher->timeout_us, &body);
	if (r == 0) {
		note_reservation(publisher, body, size, n_run);
		*ret_data = body + prefix + (n_run ? 8 : 0);
	}
	hbus_publisher_leave(publisher);
	return r;
}

/*
 * What is written down is one word: it keeps all other calls out, those of a signal handler too, and the event stands where
 * the next one begins. Nothing else changes before the commit, so no gate is looked at and nothing need be entered.
 */
int hbus_reserve(struct hbus_publisher *publisher, hbus_topic_t topic, size_t size, void **ret_data)
{
	unsigned char *body;
	uint32_t busy;
	uint64_t end;

	if (__builtin_expect(!is_quick(publisher, topic, ret_data, size, HBUS_WORD_LENGTH_MAX, &busy), 0))
		return reserve_slowly(publisher, topic, size, 0, ret_data);
	publisher->quick_topic = HBUS_QUICKLY_RESERVED | size;
	atomic_signal_fence(memory_order_seq_cst); /* a signal handler that publishes has done so before the end is looked at */
	body = hbus_ring_pub_begin_one(&publisher->last_ring->pub, size, &end);
	if (__builtin_expect(!body || topic != publisher->last_topic, 0)) { /* as in enter_for() */
		hbus_publisher_set_quick(publisher);
		return reserve_slowly(publisher, topic, size, 0, ret_data);
	}
	*ret_data = body;
	return 0;
}

int hbus_reserve_run(struct hbus_publisher *publisher, hbus_topic_t topic, size_t size, size_t n, void **ret_data)
{
	if (n == 0)
		return hbus_fail(HBUS_E_INVALID, "a run of no events");
	if (size > HBUS_WORD_LENGTH_MAX || n > HBUS_WORD_LENGTH_MAX)
		return hbus_fail(HBUS_E_TOO_LARGE, "a run of %zu events of %zu bytes", n, size);
	return reserve_slowly(publisher, topic, size, n, ret_data);
}

/* From here on it is as if it had been reserved slowly. */
static void settle(struct hbus_publisher *publisher)
{
	struct hbus_ring_pub *pub;

	if (!hbus_publisher_is_quickly_reserved(publisher))
		return;
	pub = &publisher->last_ring->pub;
	note_reservation(publisher, pub->data + (pub->tail & pub->mask) + HBUS_RECORD_HEADER, (uint32_t)publisher->quick_topic, 0);
}

static int commit_reserved(struct hbus_publisher *publisher, size_t size)
{
	uint64_t prefix = own_prefix(publisher);
	struct hbus_pub_ring *ring;

	settle(publisher);
	ring = publisher->reserved;
	if (!ring)
		return hbus_fail(HBUS_E_BUSY, "nothing is reserved");
	if (publisher->reserved_run)
		return hbus_fail(HBUS_E_INVALID, "a run is reserved: hbus_commit_run()");
	if (size > publisher->reserved_size)
		return hbus_fail(HBUS_E_INVALID, "%zu bytes were reserved, not %zu", publisher->reserved_size, size);
	if (prefix)
		put_u64(publisher->reserved_body, stamp_ns(publisher));
	hbus_ring_pub_add(&ring->pub, prefix ? HBUS_FLAG_TIME : 0, publisher->last_wire, prefix + size, 1);
	end_reservation(publisher);
	if (!publisher->in_batch)
		commit(publisher, ring);
	return 0;
}

/* It is written, and the word behind it is empty. */
static inline __attribute__((always_inline)) int commit_quickly(struct hbus_publisher *publisher, unsigned char *body, size_t size,
								uint64_t end)
{
	struct hbus_ring_pub *pub = &publisher->last_ring->pub;
	bool has_waiter;

	hbus_ring_pub_end_one(pub, body, publisher->last_word | size, end, 1);
	publisher->quick_topic = publisher->last_topic; /* as hbus_publisher_set_quick(): it is neither in a batch nor stamped */
	has_waiter = hbus_ring_pub_has_waiter_inside(pub);
	if (__builtin_expect(has_waiter || hbus_ring_pub_is_own_due(pub, end), 0))
		return finish(publisher, has_waiter);
	hbus_publisher_leave_quickly(publisher);
	return 0;
}

/* Fewer bytes than were reserved, or not the quick way. */
static __attribute__((noinline)) int commit_otherwise(struct hbus_publisher *publisher, size_t size)
{
	unsigned char *body;
	uint64_t end;
	int r = hbus_publisher_enter(publisher);

	if (r < 0)
		return r;
	if (hbus_publisher_is_quickly_reserved(publisher) && size < (uint32_t)publisher->quick_topic) {
		body = hbus_ring_pub_begin_one(&publisher->last_ring->pub, size, &end);
		if (body)
			return commit_quickly(publisher, body, size, end);
	}
	r = commit_reserved(publisher, size);
	hbus_publisher_leave(publisher);
	return r;
}

int hbus_commit(struct hbus_publisher *publisher, size_t size)
{
	unsigned char *body;
	uint32_t busy;
	uint64_t end;

	if (__builtin_expect(!publisher || publisher->quick_topic != (HBUS_QUICKLY_RESERVED | size), 0))
		return commit_otherwise(publisher, size);
	/* relaxed, both: as in is_quick() */
	busy = atomic_load_explicit(&publisher->busy, memory_order_relaxed);
	if (__builtin_expect(atomic_load_explicit(publisher->alive, memory_order_relaxed) == 0 || (busy & HBUS_GATES_CALL), 0))
		return commit_otherwise(publisher, size);
	hbus_publisher_enter_quickly(publisher, busy);
	body = hbus_ring_pub_begun(&publisher->last_ring->pub, size, &end);
	return commit_quickly(publisher, body, size, end);
}

static int commit_reserved_run(struct hbus_publisher *publisher, size_t n)
{
	uint64_t prefix = own_prefix(publisher), len = prefix + 8 + n * HBUS_ALIGN8(publisher->reserved_size);
	struct hbus_pub_ring *ring;

	settle(publisher);
	ring = publisher->reserved;
	if (!ring)
		return hbus_fail(HBUS_E_BUSY, "nothing is reserved");
	if (!publisher->reserved_run)
		return hbus_fail(HBUS_E_INVALID, "one event is reserved: hbus_commit()");
	if (n > publisher->reserved_run)
		return hbus_fail(HBUS_E_INVALID, "%zu events were reserved, not %zu", publisher->reserved_run, n);
	end_reservation(publisher);
	if (n == 0) /* as hbus_abort() */
		return 0;
	if (prefix)
		put_u64(publisher->reserved_body, stamp_ns(publisher));
	put_u64(publisher->reserved_body + prefix, (uint64_t)publisher->reserved_size << 32 | n);
	hbus_ring_pub_add(&ring->pub, HBUS_FLAG_RUN | (prefix ? HBUS_FLAG_TIME : 0), publisher->last_wire, len, n);
	if (!publisher->in_batch)
		commit(publisher, ring);
	return 0;
}

int hbus_commit_run(struct hbus_publisher *publisher, size_t n)
{
	int r = hbus_publisher_enter(publisher);

	if (r < 0)
		return r;
	r = commit_reserved_run(publisher, n);
	hbus_publisher_leave(publisher);
	return r;
}

int hbus_abort(struct hbus_publisher *publisher)
{
	int r = hbus_publisher_enter(publisher);

	if (r < 0)
		return r;
	settle(publisher);
	if (!publisher->reserved)
		r = hbus_fail(HBUS_E_BUSY, "nothing is reserved");
	else
		end_reservation(publisher); /* a claim that is not added leaves nothing */
	hbus_publisher_leave(publisher);
	return r;
}
