/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RFC 1071 sums of a segment that is found at fixed places: no tags, no IPv6 extension headers.
 */
#include "dataplane/tcp/sums.h"

#include <stdbool.h>
#include <string.h>

enum { ETHERNET_SIZE = 14, IPV4_SIZE = 20, IPV6_SIZE = 40, TCP_SIZE = 20, TCP = 6, SUM_OFF = 16 };

struct segment {
	const uint8_t *addresses;    /* both, side by side */
	uint32_t addresses_size;
	uint32_t off;                /* in the frame */
	uint32_t size;
};

static uint32_t load_be16(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 8 | bytes[1];
}

/* Return: 0, HBUS_SUMS_SHORT, or -1: no TCP. */
static int find_segment(const uint8_t *frame, uint32_t size, struct segment *ret_segment)
{
	const uint8_t *ip = frame + ETHERNET_SIZE;
	uint32_t left = size - ETHERNET_SIZE, header_size, total_size;

	if (size < ETHERNET_SIZE + IPV4_SIZE)
		return -1;
	if (load_be16(frame + 12) == 0x0800) {
		header_size = (ip[0] & 0x0fu) * 4;
		total_size = load_be16(ip + 2);
		if (ip[9] != TCP)
			return -1;
		*ret_segment = (struct segment){ .addresses = ip + 12, .addresses_size = 8 };
	} else if (load_be16(frame + 12) == 0x86dd && left >= IPV6_SIZE) {
		header_size = IPV6_SIZE;
		total_size = IPV6_SIZE + load_be16(ip + 4);
		if (ip[6] != TCP)
			return -1;
		*ret_segment = (struct segment){ .addresses = ip + 8, .addresses_size = 32 };
	} else {
		return -1;
	}
	if (header_size < IPV4_SIZE || total_size > left || total_size < header_size + TCP_SIZE)
		return HBUS_SUMS_SHORT;
	ret_segment->off = ETHERNET_SIZE + header_size;
	ret_segment->size = total_size - header_size;
	return 0;
}

uint32_t hbus_sums_add(uint64_t sum, const uint8_t *bytes, uint32_t size)
{
	uint64_t high = 0, words[2];
	uint32_t word;
	uint16_t half;

	/* Halves of 32 bits, each with a sum of its own: neither can overflow, nor wait for the other. */
	sum = (uint32_t)sum + (sum >> 32);
	for (; size >= sizeof(words); bytes += sizeof(words), size -= (uint32_t)sizeof(words)) {
		memcpy(words, bytes, sizeof(words));
		sum += (words[0] & UINT32_MAX) + (words[1] & UINT32_MAX);
		high += (words[0] >> 32) + (words[1] >> 32);
	}
	sum += high;
	for (; size >= sizeof(word); bytes += sizeof(word), size -= (uint32_t)sizeof(word)) {
		memcpy(&word, bytes, sizeof(word));
		sum += word;
	}
	if (size >= sizeof(half)) {
		memcpy(&half, bytes, sizeof(half));
		sum += half;
		bytes += sizeof(half);
		size -= (uint32_t)sizeof(half);
	}
	if (size > 0) {
		half = 0;
		memcpy(&half, bytes, 1);
		sum += half;
	}
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint32_t)sum;
}

static uint32_t sum_pseudo(const struct segment *segment)
{
	uint64_t sum = (uint64_t)__builtin_bswap16((uint16_t)segment->size) +
		       __builtin_bswap16(TCP);

	return hbus_sums_add(sum, segment->addresses, segment->addresses_size);
}

int hbus_sums_tcp(const uint8_t *frame, uint32_t size)
{
	struct segment segment;
	uint32_t pseudo;
	uint16_t field;
	int r = find_segment(frame, size, &segment);

	if (r != 0)
		return r < 0 ? 0 : r;
	pseudo = sum_pseudo(&segment);
	if (hbus_sums_add(pseudo, frame + segment.off, segment.size) == 0xffff)
		return 0;
	memcpy(&field, frame + segment.off + SUM_OFF, sizeof(field));
	return field == pseudo ? HBUS_SUMS_UNFINISHED : HBUS_SUMS_BAD;
}

void hbus_sums_finish(uint8_t *frame, uint32_t size)
{
	struct segment segment;
	uint16_t field = 0;

	if (find_segment(frame, size, &segment) != 0)
		return;
	memcpy(frame + segment.off + SUM_OFF, &field, sizeof(field));
	field = (uint16_t)~hbus_sums_add(sum_pseudo(&segment), frame + segment.off, segment.size);
	memcpy(frame + segment.off + SUM_OFF, &field, sizeof(field));
}
