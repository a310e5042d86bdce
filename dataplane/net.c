/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Header parsing with a cursor and an end: each header is checked against the end once, then
 * read byte by byte, so neither alignment nor byte order of the host matters.
 */
#include "dataplane/net.h"

#include <string.h>

#include "dataplane/net_sum.h"

enum {
	ETHERNET_SIZE = 14,
	TAG_SIZE = 4,
	IPV4_SIZE_MIN = 20,
	IPV6_SIZE = 40,
	EXT_SIZE_MIN = 8,
	UDP_SIZE = HBUS_NET_UDP_SIZE,
};

enum ethertype {
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_IPV6 = 0x86dd,
	ETHERTYPE_8021Q = 0x8100,
	ETHERTYPE_8021AD = 0x88a8,
};

enum protocol {
	PROTO_HOP_BY_HOP = 0,
	PROTO_UDP = 17,
	PROTO_ROUTING = 43,
	PROTO_FRAGMENT = 44,
	PROTO_DESTINATION = 60,
};

static uint16_t load_be16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static bool is_tag(uint16_t ethertype)
{
	return ethertype == ETHERTYPE_8021Q || ethertype == ETHERTYPE_8021AD;
}

/* Step 1: the link header and its tags. Sets vlan and ip_off. */
static enum hbus_reason parse_link(struct hbus_packet *packet, uint16_t *ret_ethertype)
{
	const uint8_t *frame = packet->frame;
	uint32_t off = ETHERNET_SIZE;
	uint16_t ethertype;

	if (packet->frame_size < ETHERNET_SIZE)
		return HBUS_REASON_TRUNCATED;
	ethertype = load_be16(frame + off - 2);

	for (uint32_t n_tags = 0; is_tag(ethertype); n_tags++) {
		if (n_tags == HBUS_VLAN_TAGS_MAX)
			return HBUS_REASON_TOO_MANY_TAGS;
		if (packet->frame_size - off < TAG_SIZE)
			return HBUS_REASON_TRUNCATED;
		if (n_tags == 0)
			packet->vlan = load_be16(frame + off) & 0x0fff;
		ethertype = load_be16(frame + off + 2);
		off += TAG_SIZE;
	}
	packet->ip_off = off;
	*ret_ethertype = ethertype;
	return HBUS_REASON_ACCEPTED;
}

/* Bytes between @off and the end of the IP packet or of the frame, whichever is first. */
static uint32_t bytes_left(const struct hbus_packet *packet, uint32_t off)
{
	uint32_t end = packet->ip_end_off < packet->frame_size ? packet->ip_end_off
								: packet->frame_size;

	return off < end ? end - off : 0;
}

static enum hbus_reason parse_ipv4(struct hbus_packet *packet)
{
	const uint8_t *ip = packet->frame + packet->ip_off;
	uint32_t header_size, total_size;

	if (packet->frame_size - packet->ip_off < IPV4_SIZE_MIN)
		return HBUS_REASON_TRUNCATED;
	header_size = (ip[0] & 0x0fu) * 4;
	total_size = load_be16(ip + 2);
	if (ip[0] >> 4 != 4 || header_size < IPV4_SIZE_MIN || total_size < header_size)
		return HBUS_REASON_BAD_HEADER;

	packet->family = HBUS_FAMILY_IPV4;
	packet->source = ip + 12;
	packet->destination = ip + 16;
	packet->ip_end_off = packet->ip_off + total_size;
	packet->udp_off = packet->ip_off + header_size;
	if (bytes_left(packet, packet->ip_off) < header_size)
		return HBUS_REASON_TRUNCATED;
	packet->protocol = ip[9];
	if (packet->protocol != PROTO_UDP)
		return HBUS_REASON_NOT_UDP;
	/* More fragments to come, or not the first of them. */
	if ((load_be16(ip + 6) & 0x3fff) != 0)
		return HBUS_REASON_FRAGMENT;
	return HBUS_REASON_ACCEPTED;
}

static bool is_walked(uint8_t next)
{
	return next == PROTO_HOP_BY_HOP || next == PROTO_ROUTING || next == PROTO_DESTINATION;
}

static enum hbus_reason parse_extensions(struct hbus_packet *packet, uint8_t next)
{
	for (uint32_t n_headers = 0; is_walked(next); n_headers++) {
		const uint8_t *header = packet->frame + packet->udp_off;
		uint32_t left = bytes_left(packet, packet->udp_off);
		uint32_t size;

		if (n_headers == HBUS_IPV6_EXT_MAX)
			return HBUS_REASON_EXT_HEADERS;
		if (left < EXT_SIZE_MIN)
			return HBUS_REASON_TRUNCATED;
		size = EXT_SIZE_MIN + header[1] * 8u;
		if (left < size)
			return HBUS_REASON_TRUNCATED;
		/* With segments left the packet is on its way to somebody else. */
		if (next == PROTO_ROUTING && header[3] != 0)
			return HBUS_REASON_EXT_HEADERS;
		next = header[0];
		packet->udp_off += size;
	}
	packet->protocol = next;
	if (next == PROTO_FRAGMENT)
		return HBUS_REASON_FRAGMENT;
	return next == PROTO_UDP ? HBUS_REASON_ACCEPTED : HBUS_REASON_NOT_UDP;
}

static enum hbus_reason parse_ipv6(struct hbus_packet *packet)
{
	const uint8_t *ip = packet->frame + packet->ip_off;

	if (packet->frame_size - packet->ip_off < IPV6_SIZE)
		return HBUS_REASON_TRUNCATED;
	if (ip[0] >> 4 != 6)
		return HBUS_REASON_BAD_HEADER;

	packet->family = HBUS_FAMILY_IPV6;
	packet->source = ip + 8;
	packet->destination = ip + 24;
	packet->ip_end_off = packet->ip_off + IPV6_SIZE + load_be16(ip + 4);
	packet->udp_off = packet->ip_off + IPV6_SIZE;
	return parse_extensions(packet, ip[6]);
}

/*
 * What nearly all frames are: IPv4 without tags and options, UDP in one piece. Says the same as the long
 * way, in fewer steps. Return: false when the frame is another, or has to be refused.
 */
static bool parse_plain(const uint8_t *frame, uint32_t frame_size, struct hbus_packet *ret_packet)
{
	const uint8_t *ip = frame + ETHERNET_SIZE, *udp = ip + IPV4_SIZE_MIN;
	uint32_t total_size;

	if (frame_size < ETHERNET_SIZE + IPV4_SIZE_MIN + UDP_SIZE ||
	    load_be16(ip - 2) != ETHERTYPE_IPV4 || ip[0] != 0x45 || ip[9] != PROTO_UDP ||
	    (load_be16(ip + 6) & 0x3fff) != 0)
		return false;
	total_size = load_be16(ip + 2);
	if (total_size < IPV4_SIZE_MIN + UDP_SIZE)
		return false;
	*ret_packet = (struct hbus_packet){
		.frame = frame,
		.source = ip + 12,
		.destination = ip + 16,
		.frame_size = frame_size,
		.ip_off = ETHERNET_SIZE,
		.ip_end_off = ETHERNET_SIZE + total_size,
		.udp_off = ETHERNET_SIZE + IPV4_SIZE_MIN,
		.source_port = load_be16(udp),
		.port = load_be16(udp + 2),
		.vlan = 0,
		.family = HBUS_FAMILY_IPV4,
	};
	return true;
}

static __attribute__((noinline)) enum hbus_reason parse_any(struct hbus_packet *packet)
{
	enum hbus_reason reason;
	uint16_t ethertype;
	const uint8_t *udp;

	reason = parse_link(packet, &ethertype);
	if (reason != HBUS_REASON_ACCEPTED)
		return reason;

	if (ethertype == ETHERTYPE_IPV4)
		reason = parse_ipv4(packet);
	else if (ethertype == ETHERTYPE_IPV6)
		reason = parse_ipv6(packet);
	else
		reason = HBUS_REASON_NOT_IP;
	if (reason != HBUS_REASON_ACCEPTED)
		return reason;

	if (bytes_left(packet, packet->udp_off) < UDP_SIZE)
		return HBUS_REASON_TRUNCATED;
	udp = packet->frame + packet->udp_off;
	packet->source_port = load_be16(udp);
	packet->port = load_be16(udp + 2);
	return HBUS_REASON_ACCEPTED;
}

enum hbus_reason hbus_net_parse(const uint8_t *frame, size_t frame_size,
				struct hbus_packet *ret_packet)
{
	/* Beyond the maximum lies no byte that an IP header could claim. */
	uint32_t size = frame_size < HBUS_NET_FRAME_MAX ? (uint32_t)frame_size : HBUS_NET_FRAME_MAX;

	if (parse_plain(frame, size, ret_packet))
		return HBUS_REASON_ACCEPTED;
	*ret_packet = (struct hbus_packet){ .frame = frame, .frame_size = size };
	return parse_any(ret_packet);
}

static inline bool is_ip_sum_good(const uint8_t *ip)
{
	uint32_t options_size = (ip[0] & 0x0fu) * 4 - IPV4_SIZE_MIN;
	uint64_t sum = hbus_sum_add(hbus_sum_load(ip), hbus_sum_load(ip + 8));

	/* The last word of the 20 bytes, and the options, which are whole words of 4. */
	for (ip += 16; options_size >= 8; ip += 8, options_size -= 8)
		sum = hbus_sum_add(sum, hbus_sum_load(ip));
	sum = hbus_sum_add(sum, hbus_sum_load(ip - 4) >> 32);
	return hbus_sum_is_good(options_size ? hbus_sum_add(sum, hbus_sum_load(ip) >> 32) : sum);
}

static inline bool is_udp_sum_good(const struct hbus_packet *packet)
{
	const uint8_t *udp = packet->frame + packet->udp_off;
	uint32_t udp_size = load_be16(udp + 4);
	uint64_t sum;

	if (load_be16(udp + 6) == 0)
		return packet->family == HBUS_FAMILY_IPV4;
	/* The pseudo header: the length, the protocol, and both addresses, which lie side by side. */
	sum = __builtin_bswap16((uint16_t)udp_size) + (uint64_t)__builtin_bswap16(PROTO_UDP);
	sum = hbus_sum_add(sum, hbus_sum_load(packet->source));
	if (packet->family != HBUS_FAMILY_IPV4)
		sum = hbus_sum_add_bytes(sum, packet->source + 8, 24);
	return hbus_sum_is_good(hbus_sum_add_bytes(sum, udp, udp_size));
}

enum hbus_reason hbus_net_check_sums(const struct hbus_packet *packet, unsigned int trust)
{
	if (packet->family == HBUS_FAMILY_IPV4 && !(trust & HBUS_NET_TRUST_IP) &&
	    !is_ip_sum_good(packet->frame + packet->ip_off))
		return HBUS_REASON_BAD_CHECKSUM;
	if (!(trust & HBUS_NET_TRUST_UDP) && !is_udp_sum_good(packet))
		return HBUS_REASON_BAD_CHECKSUM;
	return HBUS_REASON_ACCEPTED;
}
