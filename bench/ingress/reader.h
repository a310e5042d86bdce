/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reader of a session: attaches when told, reads and checks all, leaves when told
 *
 * Talks to the poll process through words in shared memory.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/ingress/session.h"

enum bench_reader_state { BENCH_READER_AWAY, BENCH_READER_READS, BENCH_READER_ENDS };

struct bench_reader {
	_Atomic uint32_t wanted;   /* enum bench_reader_state: by the poll process */
	_Atomic uint32_t is;       /* by the reader */
	_Atomic uint32_t has_failed;
	/* since it last attached: */
	_Atomic uint64_t n_events;    /* read */
	_Atomic uint64_t n_jumped;    /* numbers that were left out between two that it read */
	_Atomic uint64_t next_number; /* after the last that it read */
};

/* Until it is told to end. Return: 0, or 1 when an event was wrong or the bus failed. */
int bench_reader_run(struct bench_reader *reader, const struct bench_source *source, const char *socket);

/* The other side. Waits until it is so. Return: 0, or -1 when the reader has failed or does not answer. */
int bench_reader_tell(struct bench_reader *reader, enum bench_reader_state state);
