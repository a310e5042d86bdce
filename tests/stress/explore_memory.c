/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory that shows each thread what it must have seen, or what is older: regions, locations, views. See explore.h. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/stress/explore_int.h"

#define HISTORY 8u          /* values of a location that can still be read */
#define VIEWS_MAX 8192u     /* released in one schedule */
#define REGIONS_MAX 16u

struct message {
	uint64_t value;
	uint32_t view; /* what who acquires it has seen too; NO_VIEW = nothing */
};

struct location {
	struct message history[HISTORY];
	uint64_t epoch;
	uint16_t newest;
};

struct region {
	const unsigned char *base;
	size_t size, mask;
	enum sched_kind kind;
	uint16_t *ids; /* of each 4 bytes; 0 = none yet */
	bool is_alias, is_unmapped;
};

static struct location locations[LOCATIONS_MAX];
static unsigned int n_locations = 1;
static struct view views[VIEWS_MAX];
static uint32_t n_views;
static struct region regions[REGIONS_MAX];
static unsigned int n_regions;
static struct view sc_view; /* of the sequentially consistent fences */
static uint64_t epoch; /* the schedule: what was written in an earlier one is not there */

static struct region *region_of(const void *at)
{
	for (unsigned int i = 0; i < n_regions; i++)
		if ((uintptr_t)at - (uintptr_t)regions[i].base < regions[i].size)
			return &regions[i];
	return NULL;
}

static struct region *region_at(const void *base)
{
	for (unsigned int i = 0; i < n_regions; i++)
		if (regions[i].base == base)
			return &regions[i];
	return NULL;
}

void sched_region(void *base, size_t size, enum sched_kind kind, size_t mask, const void *like)
{
	struct region *region = region_at(base);

	if (region) {
		region->is_unmapped = false;
		return;
	}
	if (n_regions == REGIONS_MAX)
		abort();
	region = &regions[n_regions++];
	*region = (struct region){.base = base, .size = size, .mask = mask, .kind = kind, .is_alias = like};
	region->ids = like ? region_at(like)->ids : calloc(size / 4, sizeof(uint16_t));
}

void sched_memory_forget(void)
{
	for (unsigned int i = 0; i < n_regions; i++)
		if (!regions[i].is_alias)
			free(regions[i].ids);
	n_regions = 0;
	n_locations = 1;
}

void sched_region_unmap(const void *base)
{
	region_at(base)->is_unmapped = true;
}

void sched_region_remap(const void *base)
{
	region_at(base)->is_unmapped = false;
}

static struct location *location_of(const struct region *region, const void *at)
{
	size_t offset = (size_t)((const unsigned char *)at - region->base) & region->mask;
	uint16_t *id = &region->ids[offset / 4];
	struct location *location;

	if (region->is_unmapped)
		sched_fail("access to memory that is not mapped any more");
	if (!*id) {
		if (n_locations == LOCATIONS_MAX)
			abort();
		locations[n_locations].epoch = 0;
		*id = (uint16_t)n_locations++;
	}
	location = &locations[*id];
	if (location->epoch != epoch) {
		location->epoch = epoch;
		location->newest = 0;
		location->history[0] = (struct message){0};
	}
	return location;
}

/* Memory that no scenario has declared is the thread's own. */
static uint64_t load_own(const void *at, size_t size)
{
	uint64_t value = 0;

	if ((uintptr_t)at < 4096)
		sched_fail("access through a null pointer");
	memcpy(&value, at, size);
	return value;
}

static void join(struct view *into, const struct view *from)
{
	unsigned int n = from->n < n_locations ? from->n : n_locations;

	for (unsigned int i = 0; i < n; i++)
		into->seen[i] = into->seen[i] > from->seen[i] ? into->seen[i] : from->seen[i];
}

static uint32_t view_keep(const struct view *view)
{
	if (n_views == VIEWS_MAX)
		sched_fail("too many releases in one schedule");
	memcpy(views[n_views].seen, view->seen, n_locations * sizeof(uint16_t));
	views[n_views].n = n_locations;
	return n_views++;
}

static size_t offset_in(const struct region *region, const void *at)
{
	return (size_t)((const unsigned char *)at - region->base);
}

static int weaken(const struct region *region, const void *at, int order, bool is_store)
{
	size_t offset = offset_in(region, at);
	bool is_checkpoint = region->kind == SCHED_HEADER && offset >= 1536;
	bool is_state = region->kind == SCHED_HEADER && offset == 136;

	switch (sched_mutant) {
	case MUT_HEADER_STORE:
		return is_store && region->kind == SCHED_DATA ? memory_order_relaxed : order;
	case MUT_HEADER_LOAD:
		return !is_store && region->kind == SCHED_DATA ? memory_order_relaxed : order;
	case MUT_CHECKPOINT_STORE:
		return is_store && is_checkpoint ? memory_order_relaxed : order;
	case MUT_CHECKPOINT_LOAD:
		return !is_store && is_checkpoint ? memory_order_relaxed : order;
	case MUT_STATE_STORE:
		return is_store && is_state ? memory_order_relaxed : order;
	case MUT_NOTIFY_LOAD:
		return !is_store && region->kind == SCHED_HEADER && offset == 256 ? memory_order_relaxed : order;
	case MUT_STATE_LOAD:
		return !is_store && is_state ? memory_order_relaxed : order;
	default:
		return order;
	}
}

static bool is_lost(const struct region *region, const void *at, uint64_t value)
{
	if (sched_mutant == MUT_INTENT_STORE)
		return sched_current && region->kind == SCHED_HEADER && offset_in(region, at) == 128;
	return sched_mutant == MUT_ZERO_STORE && region->kind == SCHED_DATA && value == 0;
}

static bool is_acquire(int order)
{
	return order == memory_order_acquire || order == memory_order_seq_cst;
}

uint64_t sched_load(const void *at, size_t size, int order)
{
	struct region *region = region_of(at);
	struct location *location;
	const struct message *message;
	uint16_t oldest, value_idx;

	if (!region)
		return load_own(at, size);
	sched_point();
	location = location_of(region, at);
	if (!sched_current)
		return location->history[location->newest % HISTORY].value;
	order = weaken(region, at, order, false);
	oldest = sched_current->view.seen[location - locations];
	if (location->newest - oldest >= (int)HISTORY)
		oldest = (uint16_t)(location->newest - HISTORY + 1);
	value_idx = (uint16_t)(location->newest - sched_choose_value(location->newest - oldest + 1u));
	sched_result_now.n_stale += value_idx != location->newest;
	message = &location->history[value_idx % HISTORY];
	sched_current->view.seen[location - locations] = value_idx;
	if (message->view != NO_VIEW)
		join(is_acquire(order) ? &sched_current->view : &sched_current->read, &views[message->view]);
	return message->value;
}

static void append(struct location *location, uint64_t value, uint32_t view)
{
	if (location->newest == UINT16_MAX)
		sched_fail("too many values of one location");
	location->newest++;
	location->history[location->newest % HISTORY] = (struct message){.value = value, .view = view};
	if (sched_current)
		sched_current->view.seen[location - locations] = location->newest;
}

static bool is_release(int order)
{
	return order == memory_order_release || order == memory_order_acq_rel || order == memory_order_seq_cst;
}

void sched_store(void *at, size_t size, uint64_t value, int order)
{
	struct region *region = region_of(at);
	struct location *location;

	if (!region) {
		if ((uintptr_t)at < 4096)
			sched_fail("store through a null pointer");
		memcpy(at, &value, size);
		return;
	}
	sched_point();
	location = location_of(region, at);
	if (is_lost(region, at, value))
		return;
	append(location, value, sched_current ? sched_current->released : NO_VIEW);
	if (sched_current && is_release(weaken(region, at, order, true)))
		location->history[location->newest % HISTORY].view = view_keep(&sched_current->view);
}

/* Read-modify-writes see the newest value, acquire and release. */
static uint64_t modify(struct location *location, uint64_t value)
{
	const struct message *old = &location->history[location->newest % HISTORY];
	uint64_t old_value = old->value;

	if (sched_current && old->view != NO_VIEW)
		join(&sched_current->view, &views[old->view]);
	append(location, value, NO_VIEW);
	if (sched_current)
		location->history[location->newest % HISTORY].view = view_keep(&sched_current->view);
	return old_value;
}

uint64_t sched_fetch_add(void *at, size_t size, uint64_t value)
{
	struct region *region = region_of(at);
	struct location *location;

	(void)size;
	if (!region)
		sched_fail("a counter that no scenario declares");
	sched_point();
	location = location_of(region, at);
	if (sched_mutant == MUT_NOTIFY)
		value = 0;
	return modify(location, location->history[location->newest % HISTORY].value + value);
}

bool sched_compare_exchange(void *at, size_t size, uint32_t *expected, uint32_t desired)
{
	struct location *location;

	(void)size;
	sched_point();
	location = location_of(region_of(at), at);
	if (location->history[location->newest % HISTORY].value != *expected) {
		*expected = (uint32_t)location->history[location->newest % HISTORY].value;
		return false;
	}
	modify(location, desired);
	return true;
}

static void fence_full(struct thread *thread)
{
	join(&thread->view, &thread->read);
	join(&sc_view, &thread->view);
	join(&thread->view, &sc_view);
	thread->released = view_keep(&thread->view);
}

void sched_fence(int order)
{
	sched_point();
	if (!sched_current)
		return;
	if (order == memory_order_seq_cst && sched_mutant != MUT_SEQ_CST_FENCE)
		fence_full(sched_current);
	if (order == memory_order_acquire && sched_mutant != MUT_ACQUIRE_FENCE)
		join(&sched_current->view, &sched_current->read);
	if (order == memory_order_release && sched_mutant != MUT_RELEASE_FENCE)
		sched_current->released = view_keep(&sched_current->view);
}

/* Each running thread passes a full barrier, all at one moment. */
void sched_membarrier(unsigned int processes)
{
	sched_point();
	if (!sched_current)
		return;
	if (sched_mutant == (processes == SCHED_PUBLISHER ? MUT_PRIVATE_BARRIER : MUT_GLOBAL_BARRIER)) {
		fence_full(sched_current);
		return;
	}
	for (int round = 0; round < 2; round++)
		for (unsigned int i = 0; i < sched_n_threads; i++)
			if ((sched_threads[i].process & processes) || &sched_threads[i] == sched_current)
				fence_full(&sched_threads[i]);
}

uint64_t sched_peek(const void *at)
{
	struct location *location = location_of(region_of(at), at);

	return location->history[location->newest % HISTORY].value;
}

static void copy_out_of(unsigned char *to, const unsigned char *from, size_t n)
{
	for (size_t done = 0; done < n;) {
		size_t shift = (uintptr_t)(from + done) % 8;
		size_t part = 8 - shift < n - done ? 8 - shift : n - done;
		uint64_t word = sched_load(from + done - shift, 8, memory_order_relaxed);

		memcpy(to + done, (unsigned char *)&word + shift, part);
		done += part;
	}
}

static void copy_into(unsigned char *to, const unsigned char *from, size_t n)
{
	for (size_t done = 0; done < n;) {
		size_t shift = (uintptr_t)(to + done) % 8;
		size_t part = 8 - shift < n - done ? 8 - shift : n - done;
		uint64_t word = part < 8 ? sched_peek(to + done - shift) : 0;

		memcpy((unsigned char *)&word + shift, from + done, part);
		/* A value of zero in the payload is not the zero word that a mutant forgets. */
		sched_point();
		append(location_of(region_of(to), to + done - shift), word, sched_current ? sched_current->released : NO_VIEW);
		done += part;
	}
}

void *sched_memcpy(void *to, const void *from, size_t n)
{
	if (region_of(from))
		copy_out_of(to, from, n);
	else if (region_of(to))
		copy_into(to, from, n);
	else
		memcpy(to, from, n);
	return to;
}

bool sched_is_same_word(const void *a, const void *b)
{
	return location_of(region_of(a), a) == location_of(region_of(b), b);
}

void sched_see_everything(struct view *view)
{
	for (unsigned int i = 0; i < n_locations; i++)
		view->seen[i] = locations[i].epoch == epoch ? locations[i].newest : 0;
}

void sched_memory_begin(void)
{
	epoch++;
	n_views = 1;
	memset(&sc_view, 0, sizeof(sc_view));
	sc_view.n = LOCATIONS_MAX;
}
