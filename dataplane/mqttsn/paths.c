/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hash table of fixed size with chains, read without a lock.
 */
#include "dataplane/mqttsn/paths.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ebpf/filter_abi.h"

enum { BUCKETS = 16384, COMMON_KINDS = 2, LINE_SIZE = 64 };

enum topic_flag { CAN_PUBLISH = 1, IS_WANTED = 2 };

struct path {
	struct path *_Atomic next;
	struct hbus_sn_peer peer;
	_Atomic uint64_t heard_ns;
	struct path *closed_next;
	_Atomic uint16_t numbers[];
};
_Static_assert(sizeof(struct path) == LINE_SIZE, "what a loop looks at is one line, and the number's");

struct hbus_sn_paths {
	uint64_t secret;
	uint16_t ids_max;
	struct path *closed, *retired;
	_Atomic uint64_t generation;
	struct path *_Atomic buckets[BUCKETS];
	/* Of predefined and of short topics. */
	_Atomic uint16_t common[COMMON_KINDS][UINT16_MAX + 1];
	_Atomic uint8_t topics[HBUS_SN_NUMBERS_MAX];
};

int hbus_sn_paths_new(uint64_t secret, uint16_t ids_max, struct hbus_sn_paths **ret_paths)
{
	struct hbus_sn_paths *paths = calloc(1, sizeof(*paths));

	if (!paths)
		return -ENOMEM;
	paths->secret = secret;
	paths->ids_max = ids_max < HBUS_SN_PATH_IDS_MAX ? ids_max : HBUS_SN_PATH_IDS_MAX;
	*ret_paths = paths;
	return 0;
}

uint64_t hbus_sn_paths_hash(const struct hbus_sn_paths *paths, const struct hbus_sn_peer *peer)
{
	return hbus_sn_peer_hash(peer, paths->secret);
}

static struct path *_Atomic *bucket_of(struct hbus_sn_paths *paths, const struct hbus_sn_peer *peer)
{
	return &paths->buckets[hbus_sn_paths_hash(paths, peer) % BUCKETS];
}

/* For the writer. */
static struct path *own_next(struct path *_Atomic *link)
{
	/* relaxed: only this thread writes links */
	return atomic_load_explicit(link, memory_order_relaxed);
}

struct hbus_sn_paths *hbus_sn_paths_free(struct hbus_sn_paths *paths)
{
	if (!paths)
		return NULL;
	while (hbus_sn_paths_retire(paths))
		hbus_sn_paths_reclaim(paths);
	for (uint32_t i = 0; i < BUCKETS; i++) {
		struct path *path = own_next(&paths->buckets[i]);

		while (path) {
			struct path *next = own_next(&path->next);

			free(path);
			path = next;
		}
	}
	free(paths);
	return NULL;
}

static struct path *find_own(const struct hbus_sn_paths *paths, const struct hbus_sn_peer *peer)
{
	struct path *path = own_next(bucket_of((struct hbus_sn_paths *)(uintptr_t)paths, peer));

	while (path && !hbus_sn_peer_is_same(&path->peer, peer))
		path = own_next(&path->next);
	return path;
}

/* The head is one cache line, and what is not used of the last one is not another's. */
static size_t path_size(const struct hbus_sn_paths *paths)
{
	size_t size = sizeof(struct path) + paths->ids_max * sizeof(uint16_t);

	return (size + LINE_SIZE - 1) / LINE_SIZE * LINE_SIZE;
}

void hbus_sn_paths_open(struct hbus_sn_paths *paths, const struct hbus_sn_peer *peer)
{
	struct path *_Atomic *bucket = bucket_of(paths, peer);
	struct path *path;

	if (peer->node_size > 0 || find_own(paths, peer))
		return;
	path = aligned_alloc(LINE_SIZE, path_size(paths));
	if (!path)
		return;
	memset(path, 0, path_size(paths));
	path->peer = *peer;
	/* relaxed: shown by the store below */
	atomic_store_explicit(&path->next, own_next(bucket), memory_order_relaxed);
	/* R(path.shown): the path's peer and link before a loop finds it. */
	atomic_store_explicit(bucket, path, memory_order_release);
}

void hbus_sn_paths_set(struct hbus_sn_paths *paths, const struct hbus_sn_peer *peer,
		       uint16_t topic_id, uint32_t number)
{
	struct path *path = find_own(paths, peer);

	if (!path || topic_id == 0 || topic_id > paths->ids_max || number >= HBUS_SN_NUMBERS_MAX)
		return;
	/* relaxed: a number says nothing of other memory; what it stands for was there before */
	atomic_store_explicit(&path->numbers[topic_id - 1], (uint16_t)number, memory_order_relaxed);
	/* relaxed: likewise */
	atomic_fetch_add_explicit(&paths->generation, 1, memory_order_relaxed);
}

void hbus_sn_paths_close(struct hbus_sn_paths *paths, const struct hbus_sn_peer *peer)
{
	struct path *_Atomic *link = bucket_of(paths, peer);
	struct path *path;

	while ((path = own_next(link)) && !hbus_sn_peer_is_same(&path->peer, peer))
		link = &path->next;
	if (!path)
		return;
	/* relaxed: readers on it go on to what they had seen behind it already */
	atomic_store_explicit(link, own_next(&path->next), memory_order_relaxed);
	path->closed_next = paths->closed;
	paths->closed = path;
	/* relaxed: a hint */
	atomic_fetch_add_explicit(&paths->generation, 1, memory_order_relaxed);
}

void hbus_sn_paths_common_set(struct hbus_sn_paths *paths, uint8_t kind, uint16_t topic_id,
			      uint32_t number)
{
	if ((kind != HBUS_SN_KIND_PREDEFINED && kind != HBUS_SN_KIND_SHORT) ||
	    number >= HBUS_SN_NUMBERS_MAX)
		return;
	/* relaxed: as in hbus_sn_paths_set() */
	atomic_store_explicit(&paths->common[kind - 1][topic_id], (uint16_t)number,
			      memory_order_relaxed);
	/* relaxed: a hint */
	atomic_fetch_add_explicit(&paths->generation, 1, memory_order_relaxed);
}

bool hbus_sn_paths_retire(struct hbus_sn_paths *paths)
{
	if (!paths->retired) {
		paths->retired = paths->closed;
		paths->closed = NULL;
	}
	return paths->retired != NULL;
}

void hbus_sn_paths_reclaim(struct hbus_sn_paths *paths)
{
	while (paths->retired) {
		struct path *path = paths->retired;

		paths->retired = path->closed_next;
		free(path);
	}
}

uint64_t hbus_sn_paths_heard_ns(const struct hbus_sn_paths *paths, const struct hbus_sn_peer *peer)
{
	const struct path *path = find_own(paths, peer);

	/* relaxed: loops write it, and nothing but the time is wanted */
	return path ? atomic_load_explicit(&path->heard_ns, memory_order_relaxed) : 0;
}

void hbus_sn_paths_each(const struct hbus_sn_paths *paths, hbus_sn_paths_each_fn each, void *context)
{
	static const struct hbus_sn_peer nobody;

	/* relaxed, all: only this thread writes them */
	for (uint32_t kind = 1; kind <= COMMON_KINDS; kind++)
		for (uint32_t id = 0; id <= UINT16_MAX; id++) {
			uint32_t number = atomic_load_explicit(&paths->common[kind - 1][id],
							       memory_order_relaxed);

			if (number)
				each(context, &nobody, (uint8_t)kind, (uint16_t)id, number);
		}
	for (uint32_t i = 0; i < BUCKETS; i++) {
		const struct path *path = atomic_load_explicit(&paths->buckets[i],
							       memory_order_relaxed);

		for (; path; path = atomic_load_explicit(&path->next, memory_order_relaxed))
			for (uint32_t id = 1; id <= paths->ids_max; id++) {
				uint32_t number = atomic_load_explicit(&path->numbers[id - 1],
								       memory_order_relaxed);

				if (number)
					each(context, &path->peer, HBUS_SN_KIND_NORMAL, (uint16_t)id,
					     number);
			}
	}
}

/* ---- topics ---------------------------------------------------------------------------------- */

void hbus_sn_paths_topic(struct hbus_sn_paths *paths, uint32_t number, bool can_publish,
			 bool is_wanted)
{
	uint8_t flags = (uint8_t)((can_publish ? CAN_PUBLISH : 0) | (is_wanted ? IS_WANTED : 0));

	if (number >= HBUS_SN_NUMBERS_MAX)
		return;
	/* relaxed: only this thread writes it */
	if (atomic_load_explicit(&paths->topics[number], memory_order_relaxed) == flags)
		return;
	/* R(path.topic): the rings of the loops before their topic may be used. */
	atomic_store_explicit(&paths->topics[number], flags, memory_order_release);
	/* relaxed: a hint */
	atomic_fetch_add_explicit(&paths->generation, 1, memory_order_relaxed);
}

static uint8_t topic_flags(const struct hbus_sn_paths *paths, uint32_t number)
{
	/* A(path.topic): pairs with R(path.topic) in hbus_sn_paths_topic(). */
	return atomic_load_explicit(&paths->topics[number % HBUS_SN_NUMBERS_MAX], memory_order_acquire);
}

bool hbus_sn_paths_can_publish(const struct hbus_sn_paths *paths, uint32_t number)
{
	return topic_flags(paths, number) & CAN_PUBLISH;
}

bool hbus_sn_paths_is_wanted(const struct hbus_sn_paths *paths, uint32_t number)
{
	return topic_flags(paths, number) & IS_WANTED;
}

uint64_t hbus_sn_paths_generation(const struct hbus_sn_paths *paths)
{
	/* relaxed: a hint to look again */
	return atomic_load_explicit(&paths->generation, memory_order_relaxed);
}

/* ---- poll loops ------------------------------------------------------------------------------ */

static struct path *find_shared(struct hbus_sn_paths *paths, const struct hbus_sn_peer *peer)
{
	/* A(path.shown): pairs with R(path.shown) in hbus_sn_paths_open(). */
	struct path *path = atomic_load_explicit(bucket_of(paths, peer), memory_order_acquire);

	/* A(path.shown): the same, further down the chain. */
	while (path && !hbus_sn_peer_is_same(&path->peer, peer))
		path = atomic_load_explicit(&path->next, memory_order_acquire);
	return path;
}

static struct path *find_shared_ipv4(struct hbus_sn_paths *paths, uint32_t addr, uint16_t port)
{
	uint64_t rest = hbus_sn_peer_rest(port, 0, HBUS_FAMILY_IPV4), words[HBUS_SN_PEER_WORDS];
	uint64_t hash = hbus_sn_peer_hash_words(addr, rest, paths->secret);
	/* A(path.shown): as above. */
	struct path *path = atomic_load_explicit(&paths->buckets[hash % BUCKETS], memory_order_acquire);

	for (; path; path = atomic_load_explicit(&path->next, memory_order_acquire)) {
		memcpy(words, &path->peer, sizeof(words));
		if (words[HBUS_SN_PEER_ADDR] == addr && words[HBUS_SN_PEER_REST] == rest)
			break;
	}
	return path;
}

/* relaxed, all: a number says nothing of other memory, and the time is only a time */
static inline uint32_t number_of(struct hbus_sn_paths *paths, struct path *path,
				 const struct hbus_sn_publish_head *head, uint64_t now_ns)
{
	uint8_t kind = head->flags & HBUS_SN_KIND_MASK;

	if (path && atomic_load_explicit(&path->heard_ns, memory_order_relaxed) != now_ns)
		atomic_store_explicit(&path->heard_ns, now_ns, memory_order_relaxed);
	if (kind != HBUS_SN_KIND_NORMAL)
		return atomic_load_explicit(&paths->common[kind - 1][head->topic_id], memory_order_relaxed);
	if (!path || head->topic_id - 1U >= paths->ids_max)
		return 0;
	return atomic_load_explicit(&path->numbers[head->topic_id - 1U], memory_order_relaxed);
}

/* @path: NULL for a QoS of -1, which needs none. */
static inline uint32_t judge(struct hbus_sn_paths *paths, struct path *path,
			     const struct hbus_sn_publish_head *head, uint64_t now_ns, bool *ret_is_wanted)
{
	uint32_t number = number_of(paths, path, head, now_ns);
	uint8_t flags;

	if (number == 0)
		return 0;
	flags = topic_flags(paths, number);
	*ret_is_wanted = flags & IS_WANTED;
	return flags & CAN_PUBLISH ? number : 0;
}

static inline bool needs_path(const struct hbus_sn_publish_head *head)
{
	return (head->flags & HBUS_SN_QOS_MASK) != HBUS_SN_QOS_MINUS_1;
}

uint32_t hbus_sn_paths_find(struct hbus_sn_paths *paths, const struct hbus_sn_peer *peer,
			    const struct hbus_sn_publish_head *head, uint64_t now_ns,
			    bool *ret_is_wanted)
{
	struct path *path = needs_path(head) ? find_shared(paths, peer) : NULL;

	return path || !needs_path(head) ? judge(paths, path, head, now_ns, ret_is_wanted) : 0;
}

uint32_t hbus_sn_paths_find_ipv4(struct hbus_sn_paths *paths, uint32_t addr, uint16_t port,
				 const struct hbus_sn_publish_head *head, uint64_t now_ns,
				 bool *ret_is_wanted)
{
	struct path *path = needs_path(head) ? find_shared_ipv4(paths, addr, port) : NULL;

	return path || !needs_path(head) ? judge(paths, path, head, now_ns, ret_is_wanted) : 0;
}
