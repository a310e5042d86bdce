/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the crash tests share: rings in sealed memory, events that name themselves, and a reader that checks
 *
 * The parent plays the daemon: it makes the memory, forks who writes and who reads, and seals in between.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/ring_pub.h"
#include "shm/ring_sub.h"
#include "shm/segment.h"

#define KIT_CAPACITY HBUS_RING_CAPACITY_MIN
#define KIT_SIZE_MAX 200u
#define KIT_POLL_MAX 64u

struct kit_ring {
	struct hbus_geometry geometry;
	int header_fd, data_fd;
};

static inline void kit_die(const char *what)
{
	perror(what);
	exit(1);
}

static inline void kit_ring_new(struct kit_ring *ring, uint64_t start)
{
	ring->geometry = (struct hbus_geometry){.ring_id = 1, .capacity = KIT_CAPACITY, .start = start};
	if (hbus_memfd_new("header", HBUS_RING_HEADER_SIZE, 0, &ring->header_fd) ||
	    hbus_memfd_new("data", KIT_CAPACITY, 0, &ring->data_fd))
		kit_die("memfd");
}

static inline void kit_ring_seal(const struct kit_ring *ring)
{
	if (hbus_memfd_seal(ring->header_fd) || hbus_memfd_seal(ring->data_fd) ||
	    hbus_memfd_check(ring->data_fd, KIT_CAPACITY, hbus_memfd_seals_final(), 1))
		kit_die("seal");
}

static inline void kit_ring_close(struct kit_ring *ring)
{
	close(ring->header_fd);
	close(ring->data_fd);
}

struct kit_mapping {
	void *header, *data;
};

/* To write: a new ring, all zeroes. qemu-user ignores that it is to be populated, so it is written to. */
static inline void kit_map(const struct kit_ring *ring, int is_writable, struct kit_mapping *ret)
{
	if (hbus_segment_map(ring->header_fd, HBUS_RING_HEADER_SIZE, is_writable, &ret->header) ||
	    hbus_segment_map_twice(ring->data_fd, KIT_CAPACITY, is_writable, 0, &ret->data))
		kit_die("map");
	if (is_writable) {
		memset(ret->header, 0, HBUS_RING_HEADER_SIZE);
		memset(ret->data, 0, KIT_CAPACITY);
	}
}

static inline void kit_unmap(struct kit_mapping *mapping)
{
	hbus_segment_unmap(mapping->header, HBUS_RING_HEADER_SIZE);
	hbus_segment_unmap_twice(mapping->data, KIT_CAPACITY);
}

/* -- events: size and bytes follow from the sequence -- */

static inline uint64_t kit_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

static inline uint32_t kit_size(uint64_t sequence)
{
	return 8 + (uint32_t)(kit_mix(sequence + 1) % (KIT_SIZE_MAX - 8));
}

static inline void kit_fill(unsigned char *bytes, uint64_t sequence)
{
	memset(bytes, (int)kit_mix(sequence), kit_size(sequence));
	memcpy(bytes, &sequence, 8);
}

static inline bool kit_is_right(const unsigned char *bytes, uint64_t sequence, uint32_t size)
{
	unsigned char right[KIT_SIZE_MAX];

	if (size != kit_size(sequence))
		return false;
	kit_fill(right, sequence);
	return memcmp(bytes, right, size) == 0;
}

/* Adds the next event to the open batch. HBUS_RING_FULL or 0. */
static inline int kit_add(struct hbus_ring_pub *pub)
{
	uint64_t sequence = pub->sequence + pub->n_pending;
	unsigned char *body = NULL;
	int r = hbus_ring_pub_claim(pub, kit_size(sequence), &body);

	if (r)
		return r;
	kit_fill(body, sequence);
	hbus_ring_pub_add(pub, 0, 1, kit_size(sequence), 1);
	return 0;
}

/* The next event alone, the quick way where that will do. HBUS_RING_FULL or 0. */
static inline int kit_publish_one(struct hbus_ring_pub *pub)
{
	uint64_t sequence = pub->sequence, end;
	uint32_t size = kit_size(sequence);
	unsigned char *body = hbus_ring_pub_begin_one(pub, size, &end);
	int r = 0;

	if (!body) {
		r = kit_add(pub);
		if (hbus_ring_pub_commit(pub))
			hbus_gates_wake(pub->gates, &pub->header->notify);
		return r;
	}
	kit_fill(body, sequence);
	hbus_ring_pub_end_one(pub, body, hbus_word_make(0, 1, size), end, 1);
	if (hbus_ring_pub_has_waiter(pub))
		hbus_gates_wake(pub->gates, &pub->header->notify);
	if (hbus_ring_pub_is_own_due(pub, end))
		hbus_ring_pub_own(pub);
	return r;
}

/* -- a reader that believes nothing -- */

struct kit_reader {
	struct hbus_ring_sub sub;
	uint64_t expected, n_delivered, n_lost, n_torn, n_disordered, n_corrupt;
};

static inline void kit_reader_void(struct kit_reader *reader)
{
	uint64_t first, lost;

	if (hbus_ring_sub_reenter(&reader->sub, &first, &lost) != HBUS_RING_OK)
		reader->n_corrupt++;
	if (first != reader->expected)
		reader->n_disordered++;
	reader->n_lost += lost;
	reader->expected += lost;
}

/* Return: events taken, -1 = what was read is void. */
static inline int kit_poll(struct kit_reader *reader)
{
	static unsigned char bytes[KIT_POLL_MAX][KIT_SIZE_MAX];
	uint32_t sizes[KIT_POLL_MAX];
	struct hbus_record record;
	enum hbus_ring_outcome outcome;
	int n = 0;

	hbus_ring_sub_begin(&reader->sub);
	while (n < (int)KIT_POLL_MAX && hbus_ring_sub_next(&reader->sub, &record)) {
		sizes[n] = record.size;
		hbus_copy_out(bytes[n++], record.payload, record.size < KIT_SIZE_MAX ? record.size : KIT_SIZE_MAX);
	}
	outcome = hbus_ring_sub_confirm(&reader->sub);
	if (outcome == HBUS_RING_CORRUPT)
		reader->n_corrupt++;
	if (outcome == HBUS_RING_OK)
		outcome = hbus_ring_sub_release(&reader->sub);
	if (outcome == HBUS_RING_LAPPED) {
		kit_reader_void(reader);
		return -1;
	}
	for (int i = 0; i < n; i++)
		if (!kit_is_right(bytes[i], reader->expected + (uint64_t)i, sizes[i]))
			reader->n_torn++;
	reader->expected += (uint64_t)n;
	reader->n_delivered += (uint64_t)n;
	return n;
}

static inline bool kit_is_faultless(const struct kit_reader *reader)
{
	return !reader->n_torn && !reader->n_disordered && !reader->n_corrupt;
}
