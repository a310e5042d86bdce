/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The generator's TCP: what MQTT clients send to a broker, as somebody sees it who only listens
 *
 * Each flow is a connection: SYN with CONNECT, then one PUBLISH of QoS 0 in each segment, its payload as in frames.h.
 * Checksums are left out, as --passive does not look at them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/ingress/frames.h"

#define BENCH_STREAM_PORT 1883u
/* Ethernet, IPv4, TCP, and of PUBLISH what stands before the payload. */
#define BENCH_STREAM_HEADERS (14u + 20u + 20u)
#define BENCH_STREAM_TOPIC "bench/0000"

struct bench_stream {
	unsigned int payload_size;
	uint32_t next_seq[BENCH_FLOWS_MAX];
	bool is_open[BENCH_FLOWS_MAX];
};

/* The next segment of @flow, which has the message @number, or none when it is the first. Return: its size. */
size_t bench_stream_next(struct bench_stream *stream, uint8_t *frame, unsigned int flow, uint64_t number);
