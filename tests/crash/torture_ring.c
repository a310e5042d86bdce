/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Publishers killed at random times, readers killed, stopped and continued: raw rings between processes, no daemon
 *
 * Each round makes a ring, two reliable and two lossy readers and a publisher, each a process. The parent stops and
 * continues them at random, sometimes kills a reliable reader, and in the end kills the publisher. The publisher
 * writes into a ledger what it is about to commit and what it has committed. Afterwards each reader must have found
 * what was acknowledged and at most one batch more, nothing torn, nothing out of order, each loss counted; a reliable
 * one must have lost nothing unless it was dropped and told so; nobody may be stuck.
 *
 *	torture_ring [--seconds N] [--seed N] [--rounds N]
 *
 * Shown to fail with gates that are not obeyed, losses counted wrong and a forgotten zero word
 * (tests/mutants).
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "shm/wait.h"
#include "tests/crash/ring_kit.h"
#include "tests/stress/args.h"

#define READERS 4u
#define RELIABLE 2u  /* the first two */
#define STUCK_MS 5000u
#define RESUME_MS_MAX 250u /* after the death of a reader */

struct report {
	uint64_t expected, n_delivered, n_lost, n_torn, n_disordered, n_corrupt;
	uint64_t was_told; /* that it was dropped */
	uint64_t is_done;
};

/* Shared by all processes of a round; the publisher and each reader write their own part. */
struct ledger {
	_Atomic uint64_t is_mapped, go, is_over, stop;
	_Atomic uint64_t started, acked, n_dropped;
	struct report reports[READERS];
};

struct round {
	uint64_t seed;
	bool is_sleeping, is_evicting, kills_reader, is_graceful;
};

static struct ledger *ledger;
static struct hbus_slot *slots;
static struct kit_ring ring;
static struct round round_now;
static struct {
	uint64_t n_rounds, n_kills, n_stops, n_acked, n_delivered, n_lost, n_dropped, worst_resume_ms;
} total;

static uint64_t random_state;

static uint64_t random_next(void)
{
	return kit_mix(random_state += 0x9e3779b97f4a7c15);
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void sleep_us(uint64_t us)
{
	struct timespec span = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};

	nanosleep(&span, NULL);
}

static uint64_t get(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire); /* A: pairs with put() */
}

static void put(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_release); /* R: pairs with get() */
}

/* -- publisher -- */

static void wait_for_room(struct hbus_gates *table, struct hbus_ring_pub *pub)
{
	uint64_t need = hbus_ring_pub_need(pub, hbus_ring_pub_head(pub) + hbus_record_size(KIT_SIZE_MAX)), before = now_us();

	sleep_us(200);
	put(&ledger->n_dropped, get(&ledger->n_dropped) + hbus_gates_reap(table, pub->header, pub->tail, need,
									  KIT_CAPACITY, now_us() - before));
}

static void publish_on(struct hbus_gates *table, struct hbus_ring_pub *pub)
{
	while (!get(&ledger->stop)) {
		uint64_t n = 1 + random_next() % 20;
		bool is_full = false;

		if (n == 1) {
			put(&ledger->started, pub->sequence + 1);
			is_full = kit_publish_one(pub) == HBUS_RING_FULL;
			n = 0;
		}
		while (n-- > 0 && !is_full)
			is_full = kit_add(pub) == HBUS_RING_FULL;
		if (random_next() % 64 == 0)
			hbus_ring_pub_abort(pub);
		put(&ledger->started, pub->sequence + pub->n_pending);
		if (hbus_ring_pub_commit(pub))
			hbus_gates_wake(table, &pub->header->notify);
		put(&ledger->acked, pub->sequence);
		if (is_full)
			wait_for_room(table, pub);
		else
			hbus_gates_forgive(table);
	}
	hbus_ring_pub_close(pub);
}

static void be_publisher(const int *pidfds)
{
	static struct hbus_gates table;
	struct hbus_ring_pub pub;
	struct kit_mapping mapping;

	random_state = round_now.seed;
	kit_map(&ring, 1, &mapping);
	hbus_gates_init(&table, ring.geometry.start, false);
	hbus_ring_pub_init(&pub, &ring.geometry, mapping.header, mapping.data, &table);
	for (uint32_t i = 0; i < READERS; i++) {
		struct hbus_gate_spec spec = {.gate_id = 1 + i, .slot = &slots[i], .pidfd = pidfds[i], .doorbell = -1,
					      .stall_ms = round_now.is_evicting && i == 1 ? 5 : 1000000,
					      .is_reliable = i < RELIABLE};

		if (hbus_gates_install(&table, i, &spec))
			_exit(1);
	}
	put(&ledger->is_mapped, 1);
	while (!get(&ledger->go))
		sched_yield();
	publish_on(&table, &pub);
	_exit(0);
}

/* -- readers -- */

static void sleep_for_more(struct kit_reader *reader)
{
	struct hbus_slot *slot = reader->sub.slot;
	struct hbus_wait_word word = {.word = &reader->sub.header->notify};

	word.seen = atomic_load_explicit(word.word, memory_order_acquire); /* A: pairs with hbus_wait_wake() */
	atomic_store_explicit(&slot->waiting, 1, memory_order_relaxed); /* relaxed: the barrier orders it */
	hbus_membarrier_global();
	if (kit_poll(reader) == 0 && !get(&ledger->is_over))
		hbus_wait_sleep(&word, 1, -1);
	atomic_store_explicit(&slot->waiting, 0, memory_order_relaxed);
}

static void read_on(struct kit_reader *reader)
{
	for (;;) {
		bool is_over = get(&ledger->is_over) || hbus_ring_sub_is_closed(&reader->sub);

		if (kit_poll(reader) != 0)
			continue;
		if (is_over)
			return;
		if (round_now.is_sleeping)
			sleep_for_more(reader);
		else
			sched_yield();
	}
}

static void be_reader(uint32_t idx)
{
	struct report *report = &ledger->reports[idx];
	struct kit_reader reader = {0};
	struct kit_mapping mapping;
	uint64_t position;

	while (!get(&ledger->go))
		sched_yield();
	kit_map(&ring, 0, &mapping);
	hbus_ring_sub_init(&reader.sub, &ring.geometry, mapping.header, mapping.data, &slots[idx], idx < RELIABLE);
	read_on(&reader);
	*report = (struct report){.expected = reader.expected, .n_delivered = reader.n_delivered,
				  .n_lost = reader.n_lost, .n_torn = reader.n_torn,
				  .n_disordered = reader.n_disordered, .n_corrupt = reader.n_corrupt,
				  .was_told = hbus_ring_sub_is_dropped(&reader.sub, idx, 1 + idx, &position),
				  .is_done = 1};
	_exit(0);
}

/* -- a round -- */

static pid_t start(uint32_t idx, const int *pidfds)
{
	pid_t child = fork();

	if (child < 0)
		kit_die("fork");
	if (child > 0)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (idx < READERS)
		be_reader(idx);
	be_publisher(pidfds);
	_exit(1);
}

static int fail(const char *what, uint32_t reader)
{
	const struct report *report = &ledger->reports[reader % READERS];

	fprintf(stderr,
		"round seed %llu: reader %u: %s (ends at %llu, delivered %llu, lost %llu, torn %llu, disordered %llu, "
		"corrupt %llu; acknowledged %llu, begun %llu, start %llx)\nAgain: torture_ring --seed %llu --rounds 1\n",
		(unsigned long long)round_now.seed, reader, what, (unsigned long long)report->expected,
		(unsigned long long)report->n_delivered, (unsigned long long)report->n_lost,
		(unsigned long long)report->n_torn, (unsigned long long)report->n_disordered,
		(unsigned long long)report->n_corrupt, (unsigned long long)get(&ledger->acked),
		(unsigned long long)get(&ledger->started), (unsigned long long)ring.geometry.start,
		(unsigned long long)round_now.seed);
	return 1;
}

/* A publisher that is held by a reader that was killed must go on soon. */
static int kill_reader(pid_t victim)
{
	uint64_t before, killed_at = now_us();

	kill(victim, SIGKILL);
	total.n_kills++;
	before = get(&ledger->acked);
	while (get(&ledger->acked) == before) {
		if (now_us() - killed_at > STUCK_MS * 1000)
			return fail("the publisher does not go on after its death", 0);
		sleep_us(500);
	}
	if ((now_us() - killed_at) / 1000 > total.worst_resume_ms)
		total.worst_resume_ms = (now_us() - killed_at) / 1000;
	return 0;
}

static int disturb(const pid_t *pids)
{
	uint64_t n = random_next() % 6;

	for (uint64_t i = 0; i < n; i++) {
		uint32_t victim = (uint32_t)(random_next() % (READERS + 1));

		sleep_us(random_next() % 5000);
		kill(pids[victim], SIGSTOP);
		total.n_stops++;
		sleep_us(random_next() % (random_next() % 4 ? 3000 : 30000));
		kill(pids[victim], SIGCONT);
	}
	if (round_now.kills_reader)
		return kill_reader(pids[0]);
	return 0;
}

static int check_reader(uint32_t idx)
{
	const struct report *report = &ledger->reports[idx];

	if (!report->is_done)
		return fail("has not come to its end", idx);
	if (report->n_torn || report->n_disordered || report->n_corrupt)
		return fail("faults", idx);
	if (report->expected < get(&ledger->acked) || report->expected > get(&ledger->started))
		return fail("not what was acknowledged", idx);
	if (report->n_delivered + report->n_lost != report->expected)
		return fail("the account does not balance", idx);
	if (idx < RELIABLE && report->n_lost && !report->was_told)
		return fail("lost without being told", idx);
	total.n_delivered += report->n_delivered;
	total.n_lost += report->n_lost;
	return 0;
}

static int wait_for(pid_t child)
{
	uint64_t until = now_us() + STUCK_MS * 1000;
	int status;

	while (waitpid(child, &status, WNOHANG) != child) {
		if (now_us() > until) {
			kill(child, SIGKILL);
			waitpid(child, &status, 0);
			return 1;
		}
		sleep_us(500);
	}
	return 0;
}

static void plan_round(uint64_t seed)
{
	static const uint64_t borders[] = {1ull << 20, 1ull << 32, 1ull << 63, 0};

	random_state = seed;
	round_now = (struct round){.seed = seed, .is_sleeping = random_next() % 2,
				   .is_evicting = random_next() % 4 == 0, .kills_reader = random_next() % 3 == 0,
				   .is_graceful = random_next() % 8 == 0};
	memset(ledger, 0, sizeof(*ledger));
	memset(slots, 0, READERS * sizeof(*slots));
	kit_ring_new(&ring, borders[random_next() % 4] - hbus_block_size(KIT_CAPACITY) * (random_next() % 64));
}

static int run_round(uint64_t seed)
{
	int pidfds[READERS], r = 0;
	pid_t pids[READERS + 1];

	plan_round(seed);
	for (uint32_t i = 0; i < READERS; i++) {
		pids[i] = start(i, NULL);
		pidfds[i] = (int)syscall(SYS_pidfd_open, pids[i], 0);
	}
	pids[READERS] = start(READERS, pidfds);
	while (!get(&ledger->is_mapped))
		sched_yield();
	kit_ring_seal(&ring);
	put(&ledger->go, 1);
	sleep_us(random_next() % 10000);
	r = disturb(pids);
	if (round_now.is_graceful)
		put(&ledger->stop, 1);
	else
		kill(pids[READERS], SIGKILL);
	total.n_kills += !round_now.is_graceful;
	if (wait_for(pids[READERS]))
		r |= fail("the publisher does not end", 0);
	put(&ledger->is_over, 1);
	for (uint32_t i = 0; i < READERS; i++) {
		(void)wait_for(pids[i]);
		close(pidfds[i]);
		if (!(round_now.kills_reader && i == 0))
			r |= check_reader(i);
	}
	total.n_acked += get(&ledger->acked);
	total.n_dropped += get(&ledger->n_dropped);
	total.n_rounds++;
	kit_ring_close(&ring);
	return r;
}

static const char usage[] =
	"Usage: torture_ring [--seconds N] [--rounds N] [--seed N]\n"
	"Publishers and readers of one ring, killed and stopped at random for 5 s; every event is accounted for.\n"
	"Exit: 0 passed, 1 failed, 2 usage.\n";

int main(int argc, char **argv)
{
	uint64_t seconds = 5, seed = now_us(), n_rounds = UINT64_MAX, until;
	const struct kit_arg args[] = {{.name = "--seconds", .number = &seconds}, {.name = "--seed", .number = &seed},
				       {.name = "--rounds", .number = &n_rounds}, {0}};
	int r = 0;

	kit_args(argc, argv, usage, args);
	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	slots = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ledger == MAP_FAILED || slots == MAP_FAILED)
		kit_die("mmap");
	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	until = now_us() + seconds * 1000000;
	while (!r && now_us() < until && total.n_rounds < n_rounds)
		r = run_round(seed++);
	printf("%llu rounds, %llu kills, %llu stops: %llu events acknowledged, %llu delivered, %llu lost and counted, "
	       "%llu gates dropped; publishing goes on %llu ms after a reader's death at worst\n",
	       (unsigned long long)total.n_rounds, (unsigned long long)total.n_kills, (unsigned long long)total.n_stops,
	       (unsigned long long)total.n_acked, (unsigned long long)total.n_delivered,
	       (unsigned long long)total.n_lost, (unsigned long long)total.n_dropped,
	       (unsigned long long)total.worst_resume_ms);
	if (total.worst_resume_ms > RESUME_MS_MAX)
		fprintf(stderr, "warning: more than %u ms; a busy machine?\n", RESUME_MS_MAX);
	return r;
}
