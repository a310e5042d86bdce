/* SPDX-License-Identifier: BSD-3-Clause */
/* Segments. See stream.h. */
#include "bench/ingress/stream.h"

#include <stdio.h>

enum { TCP_SYN = 0x02, TCP_PUSH_ACK = 0x18, FIRST_SEQ = 1000, TOPIC_DIGITS = 4 };

static void put_be16(uint8_t *to, unsigned int value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
}

static size_t put_connect(uint8_t *at, unsigned int flow)
{
	char id[8];
	int size = snprintf(id, sizeof(id), "c%u", flow);

	memcpy(at, "\x10\0\0\4MQTT\4\2\0\x3c\0", 13);
	at[1] = (uint8_t)(12 + size);
	at[13] = (uint8_t)size;
	memcpy(at + 14, id, (size_t)size);
	return 14 + (size_t)size;
}

static size_t put_publish(uint8_t *at, unsigned int payload_size, unsigned int flow, uint64_t number)
{
	unsigned int left = 2 + sizeof(BENCH_STREAM_TOPIC) - 1 + payload_size, digits = flow;
	uint64_t words[2] = {number, ~number};
	uint8_t *begin = at;

	*at++ = 0x30;
	if (left > 127)
		*at++ = (uint8_t)(left | 0x80);
	*at++ = (uint8_t)(left > 127 ? left >> 7 : left);
	put_be16(at, sizeof(BENCH_STREAM_TOPIC) - 1);
	memcpy(at + 2, BENCH_STREAM_TOPIC, sizeof(BENCH_STREAM_TOPIC) - 1);
	at += 2 + sizeof(BENCH_STREAM_TOPIC) - 1;
	for (unsigned int i = 1; i <= TOPIC_DIGITS; i++, digits /= 10)
		at[-(int)i] = (uint8_t)('0' + digits % 10);
	memcpy(at, words, sizeof(words));
	return (size_t)(at - begin) + payload_size;
}

size_t bench_stream_next(struct bench_stream *stream, uint8_t *frame, unsigned int flow, uint64_t number)
{
	uint8_t *ip = frame + 14, *tcp = ip + 20;
	bool is_first = !stream->is_open[flow];
	uint32_t seq = is_first ? FIRST_SEQ : stream->next_seq[flow], seq_be = __builtin_bswap32(seq);
	size_t size;

	memcpy(frame, "\x02\0\0\0\0\1\x02\0\0\0\0\2\x08\0\x45\0", 16);
	memset(ip + 2, 0, 38);
	ip[8] = 64;
	ip[9] = 6;
	memcpy(ip + 12, "\x0a\x09\0\2\x0a\x09\0\1", 8);
	put_be16(tcp, 20000 + flow);
	put_be16(tcp + 2, BENCH_STREAM_PORT);
	memcpy(tcp + 4, &seq_be, sizeof(seq_be));
	tcp[12] = 5 << 4;
	tcp[13] = is_first ? TCP_SYN : TCP_PUSH_ACK;
	size = is_first ? put_connect(tcp + 20, flow) : put_publish(tcp + 20, stream->payload_size, flow, number);
	put_be16(ip + 2, 40 + (unsigned int)size);
	stream->next_seq[flow] = seq + (is_first ? 1 : 0) + (uint32_t)size;
	stream->is_open[flow] = true;
	return BENCH_STREAM_HEADERS + size;
}
