/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a frame for the TCP stack, and as an address on the command line: what is looked at of
 * them before lwIP is, reads and writes within them only, and what was finished is good.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/tcp/address.h"
#include "dataplane/tcp/claim.h"
#include "dataplane/tcp/neighbour.h"
#include "dataplane/tcp/sums.h"

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

/* The addresses that the frame may be for are in the frame, so that it is often somebody's. */
static void try_claim(const uint8_t *frame, size_t size)
{
	struct hbus_claim claim = { .n = 3 };
	int i;

	for (uint32_t n = 0; n < claim.n; n++)
		claim.at[n].family = n < 2 ? HBUS_FAMILY_IPV4 : HBUS_FAMILY_IPV6;
	if (size >= 42)
		memcpy(claim.at[0].addr, frame + 38, 4);
	if (size >= 34)
		memcpy(claim.at[1].addr, frame + 30, 4);
	if (size >= 54)
		memcpy(claim.at[2].addr, frame + 38, 16);
	i = hbus_claim_find(&claim, 0, frame, size);
	require(i >= -1 && i < (int)claim.n);
	require(hbus_claim_find(&claim, 1, frame, size) == -1);
}

static void try_sums(uint8_t *frame, uint32_t size)
{
	int r = hbus_sums_tcp(frame, size);

	require(r >= 0 && r <= HBUS_SUMS_SHORT);
	if (r != HBUS_SUMS_BAD && r != HBUS_SUMS_UNFINISHED)
		return;
	hbus_sums_finish(frame, size);
	require(hbus_sums_tcp(frame, size) == 0);
}

static void try_address(const uint8_t *bytes, size_t size)
{
	struct hbus_tcp_address address;
	char *text = malloc(size + 1);

	memcpy(text, bytes, size);
	text[size] = '\0';
	if (hbus_tcp_address_parse(text, &address) == 0)
		require(address.prefix_len <= (address.family == HBUS_FAMILY_IPV4 ? 32 : 128));
	free(text);
}

/* Puts the frame into memory of exactly its size. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct hbus_neighbours *neighbours;
	static const uint64_t secret[2] = { 3, 4 };
	static uint64_t now_ms;
	uint8_t *frame = malloc(size ? size : 1);

	if (!neighbours)
		require(hbus_neighbours_new(secret, &neighbours) == 0);
	memcpy(frame, data, size);
	try_claim(frame, size);
	hbus_neighbours_learn(neighbours, frame, (uint32_t)size, now_ms++);
	try_sums(frame, (uint32_t)size);
	try_address(data, size < 200 ? size : 200);
	free(frame);
	return 0;
}
