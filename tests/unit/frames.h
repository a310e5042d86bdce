/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Builds Ethernet frames for tests: correct in every field, so that a test spoils one.
 */
#pragma once

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { FRAME_ROOM = 2048 };

struct frame {
	uint8_t bytes[FRAME_ROOM];
	uint32_t size;
	uint32_t ip_off;
	uint32_t udp_off;
};

static inline void frame_put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline uint32_t frame_get16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

/* The sum of RFC 1071, written for clarity: the code under test has its own. */
static inline uint32_t frame_sum(uint32_t sum, const uint8_t *bytes, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static inline void frame_link(struct frame *f, const uint16_t *tpids, const uint16_t *tags,
			      uint32_t n_tags, uint16_t ethertype)
{
	static const uint8_t macs[12] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1 };

	memset(f, 0, sizeof(*f));
	memcpy(f->bytes, macs, sizeof(macs));
	f->size = sizeof(macs);
	for (uint32_t i = 0; i < n_tags; i++, f->size += 4) {
		frame_put16(f->bytes + f->size, tpids[i]);
		frame_put16(f->bytes + f->size + 2, tags[i]);
	}
	frame_put16(f->bytes + f->size, ethertype);
	f->size += 2;
	f->ip_off = f->size;
}

static inline void frame_seal_ipv4(struct frame *f)
{
	uint8_t *ip = f->bytes + f->ip_off;

	frame_put16(ip + 10, 0);
	frame_put16(ip + 10, ~frame_sum(0, ip, (ip[0] & 15u) * 4) & 0xffff);
}

/* The UDP checksum over as many bytes as the UDP header claims. */
static inline void frame_seal_udp(struct frame *f)
{
	uint8_t *ip = f->bytes + f->ip_off, *udp = f->bytes + f->udp_off;
	bool is_v4 = ip[0] >> 4 == 4;
	uint32_t size = frame_get16(udp + 4), sum;

	frame_put16(udp + 6, 0);
	sum = frame_sum(17 + size, ip + (is_v4 ? 12 : 8), is_v4 ? 8 : 32);
	sum = ~frame_sum(sum, udp, size) & 0xffff;
	frame_put16(udp + 6, sum ? sum : 0xffff);
}

static inline void frame_udp(struct frame *f, uint16_t port, const void *payload, uint32_t size)
{
	uint8_t *udp = f->bytes + f->size;

	f->udp_off = f->size;
	frame_put16(udp, 40000);
	frame_put16(udp + 2, port);
	frame_put16(udp + 4, 8 + size);
	memcpy(udp + 8, payload, size);
	f->size += 8 + size;
}

/* From 10.0.0.1 to 10.0.0.2 after frame_link(). @options_size: a multiple of 4, up to 40. */
static inline void frame_ipv4_udp(struct frame *f, uint32_t options_size, uint16_t port,
				  const void *payload, uint32_t size)
{
	uint8_t *ip = f->bytes + f->size;
	uint32_t header_size = 20 + options_size;

	ip[0] = (uint8_t)(0x40 | header_size / 4);
	frame_put16(ip + 2, header_size + 8 + size);
	ip[8] = 64;
	ip[9] = 17;
	memcpy(ip + 12, (const uint8_t[]){ 10, 0, 0, 1, 10, 0, 0, 2 }, 8);
	memset(ip + 20, 1, options_size);
	f->size += header_size;
	frame_udp(f, port, payload, size);
	frame_seal_ipv4(f);
	frame_seal_udp(f);
}

/* From fd00::1 to fd00::2, with eight-byte extension headers of these kinds. */
static inline void frame_ipv6_udp(struct frame *f, const uint8_t *kinds, uint32_t n_kinds,
				  uint16_t port, const void *payload, uint32_t size)
{
	uint8_t *ip = f->bytes + f->size;

	ip[0] = 0x60;
	frame_put16(ip + 4, n_kinds * 8 + 8 + size);
	ip[6] = n_kinds ? kinds[0] : 17;
	ip[7] = 64;
	ip[8] = ip[24] = 0xfd;
	ip[23] = 1;
	ip[39] = 2;
	f->size += 40;
	for (uint32_t i = 0; i < n_kinds; i++, f->size += 8)
		f->bytes[f->size] = i + 1 < n_kinds ? kinds[i + 1] : 17;
	frame_udp(f, port, payload, size);
	frame_seal_udp(f);
}
