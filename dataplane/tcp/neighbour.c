/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rows of eight places; which row is a keyed hash of the address.
 */
#include "dataplane/tcp/neighbour.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"
#include "ebpf/filter_abi.h"

enum { N_ROWS = HBUS_NEIGHBOURS_MAX / HBUS_NEIGHBOURS_ROW };

struct neighbour {
	uint64_t heard_ms;           /* + 1; 0: a free place */
	uint8_t family;
	uint8_t ip[16];
	uint8_t mac[6];
};

struct hbus_neighbours {
	uint64_t secret[2];
	struct neighbour rows[N_ROWS][HBUS_NEIGHBOURS_ROW];
};

int hbus_neighbours_new(const uint64_t secret[2], struct hbus_neighbours **ret_table)
{
	struct hbus_neighbours *table = calloc(1, sizeof(*table));

	if (!table)
		return -ENOMEM;
	table->secret[0] = secret[0];
	table->secret[1] = secret[1];
	*ret_table = table;
	return 0;
}

struct hbus_neighbours *hbus_neighbours_free(struct hbus_neighbours *table)
{
	free(table);
	return NULL;
}

static uint64_t row_of(const struct hbus_neighbours *table, uint8_t family, const uint8_t ip[16])
{
	uint8_t key[17];

	key[0] = family;
	memcpy(key + 1, ip, 16);
	return hbus_siphash(table->secret, key, sizeof(key)) % N_ROWS;
}

static bool is_of(const struct neighbour *place, uint8_t family, const uint8_t ip[16])
{
	return place->heard_ms != 0 && place->family == family && memcmp(place->ip, ip, 16) == 0;
}

const uint8_t *hbus_neighbours_find(const struct hbus_neighbours *table, uint8_t family,
				    const uint8_t ip[16])
{
	const struct neighbour *row = table->rows[row_of(table, family, ip)];

	for (unsigned int i = 0; i < HBUS_NEIGHBOURS_ROW; i++)
		if (is_of(&row[i], family, ip))
			return row[i].mac;
	return NULL;
}

void hbus_neighbours_hear(struct hbus_neighbours *table, uint8_t family, const uint8_t ip[16],
			  const uint8_t mac[6], uint64_t now_ms)
{
	struct neighbour *row = table->rows[row_of(table, family, ip)], *place = &row[0];

	for (unsigned int i = 0; i < HBUS_NEIGHBOURS_ROW; i++) {
		if (is_of(&row[i], family, ip)) {
			place = &row[i];
			break;
		}
		if (row[i].heard_ms < place->heard_ms)
			place = &row[i];
	}
	if (is_of(place, family, ip) && memcmp(place->mac, mac, 6) != 0 &&
	    now_ms + 1 - place->heard_ms < HBUS_NEIGHBOUR_MOVE_MS)
		return;
	place->heard_ms = now_ms + 1;
	place->family = family;
	memcpy(place->ip, ip, 16);
	memcpy(place->mac, mac, 6);
}

/* Neither nothing nor a group: a host. */
static bool is_host(const uint8_t *bytes, uint32_t size, bool is_group)
{
	for (uint32_t i = 0; i < size; i++)
		if (bytes[i] != 0)
			return !is_group;
	return false;
}

void hbus_neighbours_learn(struct hbus_neighbours *table, const uint8_t *frame, uint32_t size,
			   uint64_t now_ms)
{
	uint8_t ip[16] = { 0 }, family = HBUS_FAMILY_IPV4;
	uint32_t ethertype;
	bool is_group;

	if (size < 14 + 28 || !is_host(frame + 6, 6, frame[6] & 1))
		return;
	ethertype = (uint32_t)frame[12] << 8 | frame[13];
	if (ethertype == 0x0806) {
		memcpy(ip, frame + 14 + 14, 4);
	} else if (ethertype == 0x0800) {
		memcpy(ip, frame + 14 + 12, 4);
	} else if (ethertype == 0x86dd && size >= 14 + 40) {
		memcpy(ip, frame + 14 + 8, 16);
		family = HBUS_FAMILY_IPV6;
	} else {
		return;
	}
	is_group = family == HBUS_FAMILY_IPV4 ? ip[0] >= 224 : ip[0] == 0xff;
	if (is_host(ip, sizeof(ip), is_group))
		hbus_neighbours_hear(table, family, ip, frame + 6, now_ms);
}
