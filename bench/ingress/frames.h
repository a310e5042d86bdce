/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The generator's packets: UDP over IPv4 in Ethernet, checksums right, a number in each payload
 *
 * A payload begins with its number and the complement of that, so that the checksum is the same for every
 * number; the flow is in the destination port, and the source port takes up the difference. Of MQTT-SN a flow is a
 * client: it has an address and a port of its own, all send to one port, and the difference of the addresses is taken
 * up by the client's port and by the packet's identification. What follows is the same in all.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BENCH_FRAME_HEADERS 42u /* Ethernet, IPv4, UDP */
#define BENCH_SN_HEAD 7u         /* of a PUBLISH of MQTT-SN, in front of the payload */
#define BENCH_SN_TOPIC_ID 1u
#define BENCH_PAYLOAD_MIN 17u    /* the number, its complement, a byte that stays */
#define BENCH_PAYLOAD_MAX 1400u
#define BENCH_FLOWS_MAX 4096u   /* a power of two */
#define BENCH_PORT_FIRST 9000u  /* of the flows' destination ports */
#define BENCH_PORT_SUM 0x7fffu  /* source port + destination port, of every packet */
#define BENCH_SN_HOST_FIRST 2u  /* the last two octets of the clients' addresses, 10.9.x.y */
#define BENCH_SN_PORT_LAST (BENCH_PORT_SUM - BENCH_PORT_FIRST) /* the first client's, the others have those below */

/*
 * A frame for @payload_size, numbered 0. @destination_mac: 6 bytes, or NULL. @head_size: BENCH_SN_HEAD for a
 * PUBLISH of MQTT-SN, of QoS 0 and topic identifier BENCH_SN_TOPIC_ID; 0 for a bare payload. Return: bytes written.
 */
size_t bench_frame_make(uint8_t *frame, unsigned int head_size, unsigned int payload_size,
			const uint8_t *destination_mac);

static inline void bench_frame_put_client(uint8_t *frame, unsigned int client)
{
	uint16_t id = __builtin_bswap16((uint16_t)(BENCH_PORT_SUM - client));
	uint16_t host = __builtin_bswap16((uint16_t)(BENCH_SN_HOST_FIRST + client));
	uint32_t ports = __builtin_bswap32((BENCH_SN_PORT_LAST - client) << 16 | BENCH_PORT_FIRST);

	memcpy(frame + 18, &id, sizeof(id));
	memcpy(frame + 28, &host, sizeof(host));
	memcpy(frame + 34, &ports, sizeof(ports));
}

/* Gives a frame of bench_frame_make() another number and flow. */
static inline void bench_frame_stamp(uint8_t *frame, unsigned int head_size, uint64_t number, unsigned int flow)
{
	unsigned int port = BENCH_PORT_FIRST + flow;
	uint32_t ports = __builtin_bswap32((BENCH_PORT_SUM - port) << 16 | port);
	uint64_t words[2] = {number, ~number};

	if (head_size)
		bench_frame_put_client(frame, flow);
	else
		memcpy(frame + 34, &ports, sizeof(ports));
	memcpy(frame + BENCH_FRAME_HEADERS + head_size, words, sizeof(words));
}

/* Whether @payload is what bench_frame_make() and bench_frame_stamp() made; its number in *ret_number. */
bool bench_payload_check(const uint8_t *payload, size_t size, unsigned int payload_size, uint64_t *ret_number);

/* Writes a capture of @n_frames frames with the numbers 0, 1, ... Return: 0 or -errno. */
int bench_frames_capture(const char *path, unsigned int n_frames, unsigned int payload_size, unsigned int n_flows);
