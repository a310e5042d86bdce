/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters of this program. See counter_set.h. */
#include "ctl/client/counter_set.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client/control.h"
#include "shm/counters.h"
#include "shm/segment.h"

static_assert(sizeof(struct hbus_counter) == sizeof(struct hbus_counter_cell), "the public view of a cell");
static_assert(offsetof(struct hbus_counter, value) == offsetof(struct hbus_counter_cell, value), "as above");

static void set_free(struct hbus_counter_set *set, bool is_ours)
{
	if (is_ours)
		hbus_segment_unmap(set->base, set->size);
	close(set->fd);
	free(set);
}

void hbus_counter_sets_free(struct hbus *bus)
{
	bool is_ours = bus->alive && hbus_is_ours(bus);

	while (bus->counter_sets) {
		struct hbus_counter_set *set = bus->counter_sets;

		bus->counter_sets = set->next;
		set_free(set, is_ours);
	}
}

static void offer_message(union hbus_msg *message, const struct hbus_counter_set *set)
{
	hbus_wire_init(message, HBUS_MSG_COUNTERS_OFFER, 0);
	hbus_wire_put_string(message->counters_offer.name, sizeof(message->counters_offer.name), set->name);
}

bool hbus_counter_set_offer(struct hbus *bus, struct hbus_counter_set *set)
{
	union hbus_msg message;

	offer_message(&message, set);
	return hbus_request_locked(bus, &message, &set->fd, 1);
}

static int set_new(const char *name, unsigned int n_counters, struct hbus_counter_set **ret_set)
{
	struct hbus_counter_set *set = calloc(1, sizeof(*set));
	int r;

	if (!set)
		return hbus_fail(HBUS_E_NO_MEMORY, "no memory for counters");
	set->fd = -1;
	set->size = hbus_counters_size(n_counters);
	memcpy(set->name, name, strlen(name));
	r = hbus_memfd_new("hugebus-counters", set->size, 0, &set->fd);
	if (r == 0)
		r = hbus_segment_map(set->fd, set->size, 1, &set->base);
	if (r == 0)
		r = hbus_memfd_seal(set->fd);
	if (r < 0) {
		set_free(set, true);
		return hbus_fail_errno(r, "making counters");
	}
	*ret_set = set;
	return 0;
}

int hbus_counters_create(struct hbus *bus, const char *name, unsigned int n_counters,
			 struct hbus_counter **ret_counters)
{
	struct hbus_counter_set *set = NULL;
	struct hbus_call call = {0};
	union hbus_msg message;
	int r;

	if (!hbus_is_ours(bus))
		return hbus_fail_handle(bus);
	if (!name || strlen(name) >= sizeof(set->name) || n_counters == 0 || !ret_counters)
		return hbus_fail(HBUS_E_INVALID, "a set of counters has a name of at most 63 bytes, and counters");
	if (n_counters > HBUS_COUNTERS_MAX)
		return hbus_fail(HBUS_E_LIMIT, "a set has at most %u counters", HBUS_COUNTERS_MAX);
	r = set_new(name, n_counters, &set);
	if (r < 0)
		return r;
	offer_message(&message, set);
	r = hbus_call(bus, &message, &set->fd, 1, &call);
	if (r < 0) {
		set_free(set, true);
		return r;
	}
	pthread_mutex_lock(&bus->lock);
	set->next = bus->counter_sets;
	bus->counter_sets = set;
	pthread_mutex_unlock(&bus->lock);
	*ret_counters = set->base;
	return 0;
}
