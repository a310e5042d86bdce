/* SPDX-License-Identifier: BSD-3-Clause */
/* One source of packets, measured. See session.h. */
#include "bench/ingress/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "bench/blame.h"
#include "bench/ingress/poller.h"
#include "bench/ingress/reader.h"

/* What the processes of a session share. */
struct stage {
	const struct bench_source *source;
	const char *socket;
	unsigned int n_repeats;
	unsigned int duration_ms;
	struct bench_reader reader;
	struct bench_session session;
};

/*
 * What was read is what was published, and what is missing between the packets' numbers is what was dropped: the ring
 * was full while the reader had no CPU. Of a capture the numbers say it but for multiples of its length.
 */
static int compare(const struct bench_poller *poller, struct stage *stage)
{
	/* relaxed, all: the reader has said that it is away */
	uint64_t n_read = atomic_load_explicit(&stage->reader.n_events, memory_order_relaxed);
	uint64_t n_missing = atomic_load_explicit(&stage->reader.n_jumped, memory_order_relaxed);
	uint64_t next_number = atomic_load_explicit(&stage->reader.next_number, memory_order_relaxed);
	const struct bench_poll_result *result = &poller->result;
	bool counts_all = stage->source->kind == BENCH_SOURCE_RING && n_read > 0;

	if (n_read != result->n_published) {
		bench_blame("%" PRIu64 " events read of %" PRIu64 " published", n_read, result->n_published);
		return -1;
	}
	if (counts_all)
		n_missing += poller->next_number - next_number;
	if (n_missing > result->n_dropped || (counts_all && n_missing < result->n_dropped)) {
		bench_blame("reader: %" PRIu64 " events are missing, %" PRIu64 " were dropped", n_missing,
			result->n_dropped);
		return -1;
	}
	return 0;
}

static int measure_phase(struct bench_poller *poller, struct stage *stage, enum bench_phase phase)
{
	struct bench_phase_samples *samples = &stage->session.phase[phase];
	const struct bench_poll_result *result = &poller->result;

	if (phase == BENCH_PHASE_READ && bench_reader_tell(&stage->reader, BENCH_READER_READS))
		return 1;
	if (bench_poller_phase(poller, phase, stage->duration_ms))
		return 1;
	if (phase == BENCH_PHASE_READ) {
		if (bench_reader_tell(&stage->reader, BENCH_READER_AWAY) || compare(poller, stage))
			return 1;
		stage->session.n_checked += result->n_published;
	}
	stage->session.n_frames += result->n_frames;
	if (phase == BENCH_PHASE_PUBLISH || phase == BENCH_PHASE_READ)
		stage->session.n_routed += result->n_frames;
	stage->session.n_published += result->n_published;
	stage->session.n_dropped += result->n_dropped;
	if (result->n_frames == 0)
		return 0;
	bench_samples_add(&samples->rate, (double)result->n_frames * 1e9 / (double)result->wall_ns);
	bench_samples_add(&samples->cost, (double)result->busy_ns / (double)result->n_frames);
	return 0;
}

/* Forwards and backwards in turns, so that a drift of the machine favours no phase. */
static int measure_all(struct bench_poller *poller, struct stage *stage)
{
	for (unsigned int repeat = 0; repeat < stage->n_repeats; repeat++) {
		for (unsigned int i = 0; i < BENCH_N_PHASES; i++) {
			enum bench_phase phase = repeat % 2 ? BENCH_N_PHASES - 1 - i : i;

			if (phase == BENCH_PHASE_READ && !stage->source->has_reader)
				continue;
			if (measure_phase(poller, stage, phase))
				return 1;
		}
	}
	return 0;
}

static int poller_role(struct bench_run *run, unsigned int role)
{
	struct stage *stage = (struct stage *)(uintptr_t)run->params;
	static struct bench_poller poller;
	struct hbus_port_losses losses;
	int r;

	(void)role;
	poller.source = stage->source;
	if (bench_poller_init(&poller, stage->socket)) {
		bench_blame("there is no such port, or it cannot be set up; what is printed above says why");
		return 1;
	}
	snprintf(stage->session.text, sizeof(stage->session.text), "%.60s, filter in the %s", poller.ports.at[0].name,
		 poller.ports.at[0].filter ? "driver (XDP)" : "poll loop");
	/* The first turns fault pages in and fill caches. */
	r = bench_poller_phase(&poller, BENCH_PHASE_PUBLISH, 20);
	bench_barrier(run);
	if (r == 0)
		r = measure_all(&poller, stage);
	(void)bench_reader_tell(&stage->reader, BENCH_READER_ENDS);
	losses = hbus_port_losses(&poller.ports.at[0]);
	stage->session.n_missed = losses.missed + losses.no_buffer;
	return bench_poller_deinit(&poller) || r;
}

static int reader_role(struct bench_run *run, unsigned int role)
{
	struct stage *stage = (struct stage *)(uintptr_t)run->params;

	(void)role;
	bench_barrier(run);
	return bench_reader_run(&stage->reader, stage->source, stage->socket);
}

int bench_session_run(const struct bench_source *source, const struct bench_cores *cores, const char *socket,
		      unsigned int n_repeats, unsigned int duration_ms, struct bench_session *ret_session)
{
	struct stage *stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct bench_run run = {.duration_ms = n_repeats * BENCH_N_PHASES * (duration_ms + 20), .params = stage};
	int r = -1;

	if (stage == MAP_FAILED)
		return -1;
	*stage = (struct stage){.source = source, .socket = socket, .n_repeats = n_repeats, .duration_ms = duration_ms};
	run.shared = mmap(NULL, sizeof(*run.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run.shared != MAP_FAILED) {
		run.n_roles = 2;
		run.role[0] = (struct bench_role){poller_role, -1};
		run.role[1] = (struct bench_role){reader_role, cores->core[0]};
		r = bench_run_roles(&run);
		*ret_session = stage->session;
		munmap(run.shared, sizeof(*run.shared));
	}
	munmap(stage, sizeof(*stage));
	return r;
}
