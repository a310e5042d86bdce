/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TCP segments as somebody sees them who only listens (RFC 9293, section 3.1).
 *
 * Bytes in, no state, no DPDK: any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/net.h"

#define HBUS_TCP_FIN 0x01U
#define HBUS_TCP_SYN 0x02U
#define HBUS_TCP_RST 0x04U
#define HBUS_TCP_ACK 0x10U

/* One direction of a connection. Addresses in network order; IPv4 in the first four bytes, the others 0. */
struct hbus_tcp_key {
	uint8_t source[16];
	uint8_t destination[16];
	uint16_t source_port;        /* host order */
	uint16_t port;
	uint32_t family;             /* HBUS_FAMILY_* */
};

struct hbus_tcp_segment {
	struct hbus_tcp_key key;
	const uint8_t *data;         /* in the frame */
	uint32_t size;
	uint32_t seq;                /* of the first byte, or of SYN */
	uint32_t flags;
};

/**
 * hbus_tcp_parse() - the TCP segment of a packet
 * @packet: of hbus_net_parse(), which said HBUS_REASON_NOT_UDP
 *
 * Return: HBUS_REASON_ACCEPTED; NOT_UDP for another protocol; FRAGMENT; TRUNCATED or BAD_LENGTH for lengths that
 * contradict each other. Checksums are not looked at: a mirror shows what others have accepted, and a host's own packets
 * have none yet.
 */
enum hbus_reason hbus_tcp_parse(const struct hbus_packet *packet, struct hbus_tcp_segment *ret_segment);
