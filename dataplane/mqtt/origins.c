/* SPDX-License-Identifier: BSD-3-Clause */
/* Lists by a keyed hash, which nobody can make long by his choice of addresses. */
#include "dataplane/mqtt/origins.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"

enum { N_LISTS = 4096, KEY_SIZE = 9 };

struct hbus_origin {
	struct hbus_origin *next;
	uint32_t n;
	uint8_t key[KEY_SIZE];
};

struct hbus_origins {
	uint32_t max;
	uint64_t secret[2];
	struct hbus_origin *lists[N_LISTS];
};

int hbus_origins_new(uint32_t max, const uint64_t secret[2], struct hbus_origins **ret_origins)
{
	struct hbus_origins *origins = calloc(1, sizeof(*origins));

	if (!origins)
		return -ENOMEM;
	origins->max = max;
	memcpy(origins->secret, secret, sizeof(origins->secret));
	*ret_origins = origins;
	return 0;
}

struct hbus_origins *hbus_origins_free(struct hbus_origins *origins)
{
	if (!origins)
		return NULL;
	for (uint32_t i = 0; i < N_LISTS; i++)
		while (origins->lists[i]) {
			struct hbus_origin *origin = origins->lists[i];

			origins->lists[i] = origin->next;
			free(origin);
		}
	free(origins);
	return NULL;
}

static struct hbus_origin **list_of(struct hbus_origins *origins, const uint8_t key[KEY_SIZE])
{
	return &origins->lists[hbus_siphash(origins->secret, key, KEY_SIZE) % N_LISTS];
}

bool hbus_origins_enter(struct hbus_origins *origins, bool is_ipv6, const uint8_t *addr, struct hbus_origin **ret_origin)
{
	uint8_t key[KEY_SIZE] = { is_ipv6 ? 6 : 4 };
	struct hbus_origin **list, *origin;

	*ret_origin = NULL;
	if (!origins)
		return true;
	memcpy(key + 1, addr, is_ipv6 ? 8 : 4);
	list = list_of(origins, key);
	for (origin = *list; origin; origin = origin->next)
		if (memcmp(origin->key, key, KEY_SIZE) == 0)
			break;
	if (!origin) {
		origin = calloc(1, sizeof(*origin));
		if (!origin)
			return false;
		memcpy(origin->key, key, KEY_SIZE);
		origin->next = *list;
		*list = origin;
	}
	if (origin->n == origins->max)
		return false;
	origin->n++;
	*ret_origin = origin;
	return true;
}

void hbus_origins_leave(struct hbus_origins *origins, struct hbus_origin *origin)
{
	struct hbus_origin **link;

	if (!origin || --origin->n > 0)
		return;
	for (link = list_of(origins, origin->key); *link != origin; link = &(*link)->next)
		;
	*link = origin->next;
	free(origin);
}
