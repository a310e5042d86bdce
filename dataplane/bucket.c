/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A set-associative table of token buckets: a source lives in one set only, so a lookup reads a
 * few neighbouring words and nothing is ever linked or moved.
 */
#include "dataplane/bucket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { WAYS = 8, N_SETS = HBUS_BUCKETS_MAX / WAYS };

#define UNITS_PER_S (UINT64_C(1000000000) * HBUS_BUCKET_UNITS_PER_NS)

struct bucket {
	uint64_t source;             /* 0: free */
	uint64_t full_at;
};

struct hbus_buckets {
	uint64_t secret;
	struct bucket sets[N_SETS][WAYS];
};

_Static_assert((N_SETS & (N_SETS - 1)) == 0, "a set is chosen by mask");

int hbus_buckets_new(uint64_t secret, struct hbus_buckets **ret_buckets)
{
	struct hbus_buckets *buckets = calloc(1, sizeof(*buckets));

	if (!buckets)
		return -ENOMEM;
	buckets->secret = secret | 1;
	*ret_buckets = buckets;
	return 0;
}

struct hbus_buckets *hbus_buckets_free(struct hbus_buckets *buckets)
{
	free(buckets);
	return NULL;
}

/* Never 0. IPv4 addresses look like prefixes of 100::/32, which is never a source. */
static uint64_t source_id(uint8_t family, const uint8_t *source)
{
	uint64_t id = 0;

	memcpy(&id, source, family == HBUS_FAMILY_IPV4 ? 4 : 8);
	if (family == HBUS_FAMILY_IPV4)
		return id << 32 | 1;
	return id ? id : 1;
}

static struct bucket *find_set(struct hbus_buckets *buckets, uint64_t id)
{
	uint64_t word = (id ^ buckets->secret) * 0x9e3779b97f4a7c15U;

	word ^= word >> 29;
	word *= buckets->secret;
	return buckets->sets[word >> 40 & (N_SETS - 1)];
}

/* A free bucket is as good as full: its source is new. */
static struct bucket *find_bucket(struct bucket *set, uint64_t id)
{
	struct bucket *fullest = set;

	for (uint32_t i = 0; i < WAYS; i++) {
		if (set[i].source == id)
			return &set[i];
		if (set[i].full_at < fullest->full_at)
			fullest = &set[i];
	}
	*fullest = (struct bucket){ .source = id };
	return fullest;
}

bool hbus_buckets_take(struct hbus_buckets *buckets, const struct hbus_rate *rate,
		       uint8_t family, const uint8_t *source, uint64_t now_ns)
{
	struct bucket *bucket;
	uint64_t id, interval, next;

	if (rate->packets_per_s == 0)
		return true;
	id = source_id(family, source);
	bucket = find_bucket(find_set(buckets, id), id);
	interval = UNITS_PER_S / rate->packets_per_s;
	next = hbus_bucket_next(bucket->full_at, now_ns * HBUS_BUCKET_UNITS_PER_NS, interval,
				interval * rate->burst);
	if (next == 0)
		return false;
	bucket->full_at = next;
	return true;
}
