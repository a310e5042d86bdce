/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP headers. See segment.h. */
#include "dataplane/passive/segment.h"

#include <string.h>

enum { TCP_SIZE_MIN = 20, PROTO_TCP = 6, IPV4_FRAGMENT = 0x3fff };

static uint16_t load_be16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static uint32_t load_be32(const uint8_t *bytes)
{
	return (uint32_t)load_be16(bytes) << 16 | load_be16(bytes + 2);
}

static void copy_addresses(const struct hbus_packet *packet, struct hbus_tcp_key *key)
{
	size_t size = packet->family == HBUS_FAMILY_IPV4 ? 4 : 16;

	memcpy(key->source, packet->source, size);
	memcpy(key->destination, packet->destination, size);
}

enum hbus_reason hbus_tcp_parse(const struct hbus_packet *packet, struct hbus_tcp_segment *ret_segment)
{
	const uint8_t *tcp = packet->frame + packet->udp_off;
	uint32_t header_size;

	if (packet->protocol != PROTO_TCP)
		return HBUS_REASON_NOT_UDP;
	if (packet->family == HBUS_FAMILY_IPV4 && load_be16(packet->frame + packet->ip_off + 6) & IPV4_FRAGMENT)
		return HBUS_REASON_FRAGMENT;
	if (packet->ip_end_off > packet->frame_size)
		return HBUS_REASON_TRUNCATED;
	if (packet->ip_end_off < packet->udp_off + TCP_SIZE_MIN)
		return HBUS_REASON_BAD_LENGTH;
	header_size = (uint32_t)(tcp[12] >> 4) * 4;
	if (header_size < TCP_SIZE_MIN || packet->udp_off + header_size > packet->ip_end_off)
		return HBUS_REASON_BAD_LENGTH;
	*ret_segment = (struct hbus_tcp_segment){
		.key = { .source_port = load_be16(tcp), .port = load_be16(tcp + 2), .family = packet->family },
		.data = tcp + header_size,
		.size = packet->ip_end_off - packet->udp_off - header_size,
		.seq = load_be32(tcp + 4),
		.flags = tcp[13],
	};
	copy_addresses(packet, &ret_segment->key);
	return HBUS_REASON_ACCEPTED;
}
