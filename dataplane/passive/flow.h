/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reassembly of TCP streams by somebody who only listens
 *
 * Segments of one direction of many connections in, bytes in order out. What comes twice is trimmed (the
 * first copy counts, as the peer has it), what comes early waits, and what never comes is given up as a
 * hole: after @hole_wait_ns, or when what waits behind it exceeds the limits. A listener cannot ask again.
 *
 * Flows are a fixed block; when it is full, the one that was silent longest is forgotten. Waiting bytes are
 * bounded for each flow and in total. No I/O, no clock; one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/passive/segment.h"

/* ---- limits ---------------------------------------------------------------------------- */

/* Bytes beyond the next expected one that a segment may begin at: a large receive window. */
#define HBUS_FLOW_WINDOW (16U << 20)
/* Parts that wait of one flow. */
#define HBUS_FLOW_PARTS_MAX 1024U

struct hbus_flow_limits {
	uint32_t flows_max;
	uint32_t flow_bytes_max;     /* that wait, of one flow */
	uint64_t bytes_max;          /* of all flows */
	uint64_t hole_wait_ns;
};

/* ---- types ----------------------------------------------------------------------------- */

struct hbus_flows;

enum hbus_flow_end {
	HBUS_FLOW_FIN,
	HBUS_FLOW_RESET,
	HBUS_FLOW_REPLACED,          /* the same ports began anew */
	HBUS_FLOW_FORGOTTEN,         /* there were too many */
};

/* Who reads the streams. @stream is what open() returned. */
struct hbus_flow_reader {
	void *context;
	/* Return: NULL to ignore this flow. */
	void *(*open)(void *context, const struct hbus_tcp_key *key);
	void (*bytes)(void *context, void *stream, const uint8_t *data, size_t size);
	/* So many bytes are missing here. */
	void (*hole)(void *context, void *stream, uint64_t size);
	void (*close)(void *context, void *stream, enum hbus_flow_end end);
};

/* X(name, meaning) */
#define HBUS_FLOW_COUNTERS(X)                                                                     \
	X(segments, "segments that were looked at")                                               \
	X(bytes, "bytes handed on in order")                                                      \
	X(opened, "flows that began")                                                             \
	X(open, "flows that are known now")                                                       \
	X(midstream, "of those that began, where no SYN came")                                    \
	X(forgotten, "flows forgotten to make room")                                              \
	X(reordered, "segments that came early")                                                  \
	X(repeated_bytes, "bytes that had come before")                                           \
	X(out_of_window, "segments far from what their flow expects")                             \
	X(holes, "places where bytes are missing")                                                \
	X(hole_bytes, "bytes that are missing")                                                   \
	X(waiting_bytes, "bytes that wait for what comes before them")

struct hbus_flow_counters {
#define HBUS_FLOW_COUNTER(name, meaning) uint64_t n_##name;
	HBUS_FLOW_COUNTERS(HBUS_FLOW_COUNTER)
#undef HBUS_FLOW_COUNTER
};

/* ---- functions ------------------------------------------------------------------------- */

/* @secret: nobody outside knows it. Copies all. Return: 0 or -ENOMEM. */
int hbus_flows_new(const struct hbus_flow_limits *limits, const struct hbus_flow_reader *reader,
		   const uint64_t secret[2], struct hbus_flows **ret_flows);
/* Closes all flows as forgotten. Accepts NULL and returns NULL. */
struct hbus_flows *hbus_flows_free(struct hbus_flows *flows);

/* The segment's bytes may be overwritten when this returns. */
void hbus_flows_segment(struct hbus_flows *flows, const struct hbus_tcp_segment *segment, uint64_t now_ns);
/* Gives up holes that are old enough; all that there are when @now_ns is UINT64_MAX. */
void hbus_flows_tick(struct hbus_flows *flows, uint64_t now_ns);

const struct hbus_flow_counters *hbus_flows_counters(const struct hbus_flows *flows);
