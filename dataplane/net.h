/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Network headers: from the bytes of a frame to the payload of a UDP datagram.
 *
 * The order of the checks and the reason of each refusal are those that ebpf/filter_abi.h lays
 * down for the XDP program and for C alike: hbus_net_parse() is its steps 1 to 3,
 * hbus_net_check_length() its step 5, hbus_net_check_sums() the checksums of step 9. What lies
 * between them (route, interest, source, rate) belongs to others.
 *
 * Bytes in, no DPDK types, no state: any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ebpf/filter_abi.h"

/* ---- limits ---------------------------------------------------------------------------- */

/* Longest frame that is looked at: an IP packet of 64 KiB and its link headers. */
#define HBUS_NET_FRAME_MAX (65535U + 40U + 14U + 4U * HBUS_VLAN_TAGS_MAX)

#define HBUS_NET_UDP_SIZE 8U

/* ---- types ----------------------------------------------------------------------------- */

/* Where things are in a frame whose headers were parsed. Offsets count from its first byte. */
struct hbus_packet {
	const uint8_t *frame;
	const uint8_t *source;      /* 4 or 16 bytes, in the frame */
	const uint8_t *destination; /* 4 or 16 bytes, in the frame */
	uint32_t frame_size;
	uint32_t ip_off;
	uint32_t ip_end_off;        /* as the IP header claims; may lie beyond the frame */
	uint32_t udp_off;
	uint16_t source_port;       /* host order, as all below */
	uint16_t port;              /* of the destination */
	uint16_t vlan;              /* id of the outer tag, 0 for none */
	uint8_t family;             /* HBUS_FAMILY_* */
	uint8_t protocol;           /* of IP, what begins at udp_off; also when that is not UDP */
};

/* What hbus_net_check_sums() is to take on trust. */
#define HBUS_NET_TRUST_IP 1U
#define HBUS_NET_TRUST_UDP 2U

/* ---- functions ------------------------------------------------------------------------- */

/**
 * hbus_net_parse() - find the UDP header of a frame
 * @frame: borrowed; @ret_packet points into it
 *
 * Return: HBUS_REASON_ACCEPTED, or why the frame is no UDP datagram that can be routed.
 * @ret_packet is complete only when accepted.
 */
enum hbus_reason hbus_net_parse(const uint8_t *frame, size_t frame_size,
				struct hbus_packet *ret_packet);

/**
 * hbus_net_check_length() - find the payload of a parsed packet
 *
 * Return: HBUS_REASON_ACCEPTED, or HBUS_REASON_BAD_LENGTH when the lengths in the IP header,
 * in the UDP header and of the frame contradict each other. Bytes behind the UDP length are
 * padding.
 */
static inline enum hbus_reason hbus_net_check_length(const struct hbus_packet *packet,
						     const uint8_t **ret_payload,
						     uint32_t *ret_payload_size)
{
	const uint8_t *udp = packet->frame + packet->udp_off;
	uint32_t udp_size = (uint32_t)udp[4] << 8 | udp[5];

	if (packet->ip_end_off > packet->frame_size)
		return HBUS_REASON_BAD_LENGTH;
	if (udp_size < HBUS_NET_UDP_SIZE || udp_size > packet->ip_end_off - packet->udp_off)
		return HBUS_REASON_BAD_LENGTH;
	*ret_payload = udp + HBUS_NET_UDP_SIZE;
	*ret_payload_size = udp_size - HBUS_NET_UDP_SIZE;
	return HBUS_REASON_ACCEPTED;
}

/**
 * hbus_net_check_sums() - verify the checksums of a packet whose length was found good
 * @trust: HBUS_NET_TRUST_*: what the hardware has verified, or what a virtual port leaves
 *         unfinished
 *
 * A UDP checksum of 0 means "none" over IPv4 and is wrong over IPv6.
 * Return: HBUS_REASON_ACCEPTED or HBUS_REASON_BAD_CHECKSUM.
 */
enum hbus_reason hbus_net_check_sums(const struct hbus_packet *packet, unsigned int trust);
