/* SPDX-License-Identifier: BSD-3-Clause */
/* The reader of a session. See reader.h. */
#include "bench/ingress/reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "bench/blame.h"
#include "bench/harness.h"
#include "bench/ingress/frames.h"
#include "ctl/client/hugebus.h"

#define SPANS 64u
#define TELL_MS 9000u
/* Polls without an event, after the end was told, until all has been read. */
#define LAST_POLLS 1000u

static void nap_us(unsigned int us)
{
	nanosleep(&(struct timespec){.tv_nsec = (long)us * 1000}, NULL);
}

static int complain(const char *what)
{
	bench_blame("reader: %s: %s", what, hbus_error_text());
	return 1;
}

/*
 * What must come next. The ring's sequences are dense: what is missing there the bus has lost. The packets' own numbers
 * may jump, since the poll process drops what finds the ring full: how many it says, and the session compares.
 */
struct sequence {
	uint64_t next;
	uint64_t next_number;
	uint64_t n_jumped;
	bool has_begun;
};

static bool check_sequence(const struct hbus_span *span, struct sequence *sequence)
{
	if (sequence->has_begun && span->sequence != sequence->next) {
		bench_blame("reader: sequence %" PRIu64 " where %" PRIu64 " was to come", span->sequence,
			sequence->next);
		return false;
	}
	sequence->next = span->sequence + span->n_events;
	return true;
}

static bool check_span(const struct bench_source *source, const struct hbus_span *span, struct sequence *sequence)
{
	if (!check_sequence(span, sequence))
		return false;
	for (size_t i = 0; source->payload_size && i < span->n_events; i++) {
		uint64_t number;

		if (!bench_payload_check(span->data + i * span->stride, span->size, source->payload_size, &number)) {
			bench_blame("reader: an event is torn or corrupted");
			return false;
		}
		if (sequence->has_begun && number != sequence->next_number)
			sequence->n_jumped += (number < sequence->next_number ? source->n_numbers : 0) + number - sequence->next_number;
		sequence->has_begun = true;
		sequence->next_number = number + 1 == source->n_numbers ? 0 : number + 1;
	}
	sequence->has_begun = true;
	return true;
}

static int complain_of(const struct hbus_loss *loss)
{
	bench_blame("reader: %" PRIu64 " events from %" PRIu64 " on reported lost, reason %u", loss->n_events,
		loss->first_sequence, loss->reason);
	return 1;
}

static int read_all(struct bench_reader *reader, const struct bench_source *source, struct hbus_subscriber *subscriber)
{
	struct hbus_span spans[SPANS];
	struct sequence sequence = {0};
	struct hbus_loss loss;
	unsigned int n_last = 0;
	uint64_t n_events = 0;

	while (n_last < LAST_POLLS) {
		int n = hbus_poll_spans(subscriber, spans, SPANS);

		if (n < 0)
			return complain("poll");
		for (int i = 0; i < n; i++) {
			n_events += spans[i].n_events;
			if (!check_span(source, &spans[i], &sequence))
				return 1;
		}
		if (hbus_next_loss(subscriber, &loss) > 0)
			return complain_of(&loss);
		if (n == 0)
			bench_pause();
		if (n == 0 && atomic_load_explicit(&reader->wanted, memory_order_acquire) != BENCH_READER_READS)
			n_last++;
	}
	/* relaxed, all: shown by `is` */
	atomic_store_explicit(&reader->n_jumped, sequence.n_jumped, memory_order_relaxed);
	atomic_store_explicit(&reader->next_number, sequence.next_number, memory_order_relaxed);
	atomic_store_explicit(&reader->n_events, n_events, memory_order_relaxed);
	return 0;
}

static int attend(struct bench_reader *reader, const struct bench_source *source, const char *socket)
{
	struct hbus_subscriber_options options = {.struct_size = sizeof(options), .flags = HBUS_SUB_FLAG_RELIABLE};
	struct hbus_subscriber *subscriber = NULL;
	struct hbus *bus = NULL;
	int r = 1;

	if (hbus_open(socket, NULL, &bus) || hbus_subscriber_open(bus, &options, &subscriber) ||
	    hbus_subscribe(subscriber, "bench/#")) {
		complain("subscribe");
	} else {
		/* Ring and gate are there: an empty poll maps what is to be mapped. */
		(void)hbus_poll_spans(subscriber, &(struct hbus_span){0}, 1);
		atomic_store_explicit(&reader->is, BENCH_READER_READS, memory_order_release);
		r = read_all(reader, source, subscriber);
	}
	hbus_subscriber_close(subscriber);
	hbus_close(bus);
	return r;
}

int bench_reader_run(struct bench_reader *reader, const struct bench_source *source, const char *socket)
{
	for (;;) {
		switch (atomic_load_explicit(&reader->wanted, memory_order_acquire)) {
		case BENCH_READER_ENDS:
			return 0;
		case BENCH_READER_READS:
			if (attend(reader, source, socket)) {
				atomic_store_explicit(&reader->has_failed, 1, memory_order_release);
				return 1;
			}
			atomic_store_explicit(&reader->is, BENCH_READER_AWAY, memory_order_release);
			break;
		default:
			nap_us(200);
		}
	}
}

int bench_reader_tell(struct bench_reader *reader, enum bench_reader_state state)
{
	atomic_store_explicit(&reader->wanted, state, memory_order_release);
	if (state == BENCH_READER_ENDS)
		return 0;
	for (unsigned int ms = 0; ms < TELL_MS; ms++) {
		if (atomic_load_explicit(&reader->has_failed, memory_order_acquire))
			return -1;
		if (atomic_load_explicit(&reader->is, memory_order_acquire) == state)
			return 0;
		nap_us(1000);
	}
	bench_blame("the reader does not answer");
	return -1;
}
