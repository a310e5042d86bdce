/* SPDX-License-Identifier: BSD-3-Clause */
/* Peers that lie in shared memory: a publisher in its ring, a subscriber in its slots, a reader with the futexes. */
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus.h"
#include "raw.h"
#include "shm/layout.h"
#include "tests/unit/random.h"

#define N_READERS 4
#define SECONDS_OF_NOISE 4

/* What the processes of a case tell each other. */
struct board {
	_Atomic uint64_t n_corrupt, n_hostile_events, n_honest_events, n_rings_ruined;
	_Atomic uint64_t n_ready;
	_Atomic uint32_t is_over;
	_Atomic uint64_t sleep_max_us;
};

static struct board *board;

static void wait_ready(uint64_t n)
{
	uint64_t until_ms = bus_now_ms() + 10000;

	while (board->n_ready < n) {
		CHECK(bus_now_ms() < until_ms);
		bus_sleep_ms(1);
	}
}

static struct test_random dice;

/* -- one's own ring, as the library has mapped it -- */

struct own_ring {
	struct hbus_ring_header *header;
	unsigned char *data;
	uint64_t capacity;
};

/* The newest writable mappings: this process has one publisher at a time. */
static struct own_ring find_own_ring(uint64_t capacity)
{
	struct own_ring ring = {.capacity = capacity};
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long begin, end;
	char line[512], perms[5];

	CHECK(maps);
	while (fgets(line, sizeof(line), maps)) {
		CHECK_EQ(sscanf(line, "%lx-%lx %4s", &begin, &end, perms), 3);
		if (strcmp(perms, "rw-s") != 0)
			continue;
		if (strstr(line, "memfd:hugebus-header"))
			ring.header = (struct hbus_ring_header *)begin;
		else if (strstr(line, "memfd:hugebus-data") && !ring.data)
			ring.data = (unsigned char *)begin;
	}
	fclose(maps);
	CHECK(ring.header && ring.data);
	return ring;
}

/* -- ways to ruin it -- */

static void scribble_anywhere(struct own_ring *ring)
{
	for (int i = 0; i < 64; i++) {
		memcpy(ring->data + test_random_next(&dice) % (ring->capacity - 8), &(uint64_t){test_random_next(&dice)}, 8);
		if (i % 4 == 0)
			memcpy((char *)ring->header + test_random_next(&dice) % (HBUS_RING_HEADER_SIZE - 8), &(uint64_t){test_random_next(&dice)}, 8);
	}
}

/* Header words that could be: any flags and lengths, topics that are known or not. */
static void scribble_words(struct own_ring *ring)
{
	for (int i = 0; i < 64; i++) {
		uint64_t at = test_random_next(&dice) % (ring->capacity / 8) * 8, word = test_random_next(&dice);

		word = hbus_word_make((uint32_t)word & (word >> 60 ? 0x0f : 0xff), (uint32_t)(word >> 8) % 8,
				      (uint32_t)(word >> 32) % (word & 1 ? 64 : (uint32_t)ring->capacity / 4));
		atomic_store_explicit((_Atomic uint64_t *)(void *)(ring->data + at), word, memory_order_release);
	}
}

static void scribble_intent(struct own_ring *ring)
{
	static uint64_t honest;
	uint64_t random = test_random_next(&dice);

	if (honest == 0 || random % 16 == 0)
		honest = ring->header->intent;
	for (int i = 0; i < 64; i++)
		ring->header->intent = random >> (i % 64) & 1 ? honest : honest + (random % 4) * ring->capacity;
}

static void scribble_checkpoints(struct own_ring *ring)
{
	for (uint32_t i = 0; i < HBUS_RING_BLOCKS; i++) {
		struct hbus_checkpoint *checkpoint = &ring->header->checkpoints[i];
		uint64_t random = test_random_next(&dice);

		checkpoint->position = (random % 64) * ring->capacity + i * hbus_block_size(ring->capacity) +
				       random % 128 * 8;
		checkpoint->sequence = random % 3 ? random : random % 1000;
	}
}

/* A length that is small when it is checked and large when it is used. */
static void scribble_lengths(struct own_ring *ring)
{
	uint64_t at = test_random_next(&dice) % (ring->capacity / 8) * 8;
	_Atomic uint64_t *word = (_Atomic uint64_t *)(void *)(ring->data + at);
	uint32_t flags = (uint32_t)test_random_next(&dice) & 0x0f;

	for (int i = 0; i < 32; i++) {
		atomic_store_explicit(word, hbus_word_make(flags, 1, 24), memory_order_release);
		for (uint64_t j = 1; j < 4; j++)
			memcpy(ring->data + at + 8 * j, &(uint64_t){j % 2 ? 0x0000001000000001ull : UINT64_MAX}, 8);
		atomic_store_explicit(word, hbus_word_make(flags, 1, HBUS_WORD_LENGTH_MAX), memory_order_release);
		for (uint64_t j = 1; j < 4; j++)
			memcpy(ring->data + at + 8 * j, &(uint64_t){test_random_next(&dice)}, 8);
	}
}

static void (*const scribbles[])(struct own_ring *) = {
	scribble_anywhere, scribble_words, scribble_intent, scribble_checkpoints, scribble_lengths,
};

#define N_SCRIBBLES (sizeof(scribbles) / sizeof(scribbles[0]))

/* A ring, some events, then noise at full speed; again with the next one. */
static void publish_noise(void *context)
{
	struct hbus *bus = bus_open();
	unsigned int round = 0;

	(void)context;
	dice.state += (uint64_t)getpid();
	while (!board->is_over) {
		uint64_t capacity = round % 3 ? 65536 : 2097152, until_ms;
		struct hbus_publisher *publisher = bus_publisher(bus, capacity, 0, 1);
		struct own_ring ring;
		hbus_topic_t topic;

		OK(hbus_publisher_topic(publisher, "noise", NULL, NULL, &topic));
		ring = find_own_ring(capacity);
		for (int i = 0; i < 200; i++)
			if (hbus_publish(publisher, topic, &round, sizeof(round)) != 0)
				break;
		until_ms = bus_now_ms() + 40;
		while (bus_now_ms() < until_ms) {
			for (int i = 0; i < 16; i++)
				scribbles[round % (N_SCRIBBLES + 1) < N_SCRIBBLES ? round % (N_SCRIBBLES + 1) :
										    test_random_next(&dice) % N_SCRIBBLES](&ring);
			/* And goes on publishing into it. */
			(void)hbus_try_publish(publisher, topic, &round, sizeof(round));
		}
		hbus_publisher_close(publisher);
		board->n_rings_ruined++;
		round++;
	}
	hbus_close(bus);
}

static void publish_honestly(void *context)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 262144, 0, 10000);
	unsigned char payload[100];
	hbus_topic_t topic;
	uint64_t n = 0;

	(void)context;
	OK(hbus_publisher_topic(publisher, "honest", NULL, NULL, &topic));
	board->n_ready++;
	wait_ready(1 + N_READERS);
	while (!board->is_over) {
		for (int i = 0; i < 20; i++) {
			bus_fill(payload, sizeof(payload), n++);
			OK(hbus_publish(publisher, topic, payload, sizeof(payload)));
		}
		bus_sleep_ms(1);
	}
	board->n_honest_events = n;
	board->n_ready++;
	while (board->is_over != 2)
		bus_sleep_ms(5);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static _Atomic unsigned char touched;

static void touch(const unsigned char *from, size_t size)
{
	unsigned char sum = 0;

	for (size_t i = 0; i < size; i += 61)
		sum ^= from[i];
	if (size > 0)
		sum ^= from[size - 1];
	touched ^= sum;
}

static void take_losses(struct hbus_subscriber *sub)
{
	struct hbus_loss loss;

	while (hbus_next_loss(sub, &loss) == 1)
		board->n_corrupt += loss.reason == HBUS_LOSS_CORRUPT;
}

static uint64_t take_events(struct hbus_subscriber *sub, uint64_t next)
{
	struct hbus_event events[64];
	int n = hbus_poll(sub, events, 64);

	CHECK(n >= 0);
	for (int i = 0; i < n; i++) {
		uint64_t number;

		if (strcmp(events[i].topic, "honest") == 0) {
			CHECK(bus_is_filled(events[i].data, events[i].size, &number));
			CHECK_EQ(number, next);
			next++;
			continue;
		}
		touch(events[i].data, events[i].size);
		touch(events[i].extra, events[i].extra_size);
		board->n_hostile_events++;
	}
	return next;
}

static uint64_t take_spans(struct hbus_subscriber *sub, uint64_t next)
{
	struct hbus_span spans[16];
	int n = hbus_poll_spans(sub, spans, 16);

	CHECK(n >= 0);
	for (int i = 0; i < n; i++) {
		bool is_honest = strcmp(spans[i].topic, "honest") == 0;

		for (size_t j = 0; j < spans[i].n_events && (is_honest || j < 100000); j++) {
			const unsigned char *data = spans[i].data + j * spans[i].stride;
			uint64_t number;

			touch(data, spans[i].size);
			board->n_hostile_events += !is_honest;
			if (!is_honest)
				continue;
			CHECK(bus_is_filled(data, spans[i].size, &number));
			CHECK_EQ(number, next);
			next++;
		}
	}
	return next;
}

/* The honest ring is read without a gap, whatever happens in the others. */
static void read_both(void *context)
{
	long which = (long)context;
	struct hbus *bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE,
						     which % 2 ? HBUS_START_EARLIEST : HBUS_START_LATEST, "honest");
	uint64_t next = 0;

	OK(hbus_subscribe(sub, "noise"));
	board->n_ready++;
	while (board->n_honest_events == 0 || next < board->n_honest_events) {
		uint64_t begin_us = bus_now_us();
		int n = hbus_wait(sub, 10);

		CHECK(n >= 0);
		CHECK(bus_now_us() - begin_us < 1000000);
		next = which < 2 ? take_events(sub, next) : take_spans(sub, next);
		hbus_release(sub);
		take_losses(sub);
	}
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

/* Who comes meanwhile finds its place, or is told that there is none. */
static void come_and_go(void *context)
{
	struct hbus *bus = bus_open();

	(void)context;
	while (!board->is_over) {
		struct hbus_subscriber *sub = bus_subscriber(bus, 0, test_random_next(&dice) % 2, NULL);
		uint64_t begin_us = bus_now_us();

		OK(hbus_subscribe(sub, "noise"));
		CHECK(bus_now_us() - begin_us < 2000000);
		for (int i = 0; i < 20; i++)
			take_events(sub, 0);
		take_losses(sub);
		hbus_subscriber_close(sub);
	}
	hbus_close(bus);
}

static int count_row(const struct hbus_row *row, void *context)
{
	(void)row;
	++*(int *)context;
	return 0;
}

/* The daemon looks into rings too, for lists. */
static void list_all(void *context)
{
	struct hbus *bus = bus_open();
	uint64_t longest_us = 0;

	(void)context;
	while (!board->is_over) {
		uint64_t begin_us = bus_now_us();
		int n = 0;

		OK(hbus_list(bus, HBUS_ROW_RING, count_row, &n));
		OK(hbus_list(bus, HBUS_ROW_ATTACHMENT, count_row, &n));
		if (bus_now_us() - begin_us > longest_us)
			longest_us = bus_now_us() - begin_us;
		bus_sleep_ms(20);
	}
	printf("# longest list: %llu us\n", (unsigned long long)longest_us);
	CHECK(longest_us < 1000000);
	hbus_close(bus);
}

static void a_publisher_that_scribbles_in_its_ring_harms_that_ring_only(void)
{
	pid_t readers[N_READERS], others[5];

	board = bus_shared(sizeof(*board));
	others[0] = bus_fork(publish_honestly, NULL);
	wait_ready(1);
	for (long i = 0; i < N_READERS; i++)
		readers[i] = bus_fork(read_both, (void *)i);
	wait_ready(1 + N_READERS);
	others[1] = bus_fork(publish_noise, NULL);
	others[2] = bus_fork(publish_noise, NULL);
	others[3] = bus_fork(come_and_go, NULL);
	others[4] = bus_fork(list_all, NULL);
	for (int i = 0; i < SECONDS_OF_NOISE * 100 && waitpid(readers[0], NULL, WNOHANG) == 0; i++)
		bus_sleep_ms(10);
	board->is_over = 1;
	for (int i = 0; i < N_READERS; i++)
		bus_join(readers[i]);
	board->is_over = 2;
	for (int i = 0; i < 5; i++)
		bus_join(others[i]);
	printf("# %llu rings ruined, %llu reported corrupt, %llu hostile events looked at, %llu honest ones read by each\n",
	       (unsigned long long)board->n_rings_ruined, (unsigned long long)board->n_corrupt,
	       (unsigned long long)board->n_hostile_events, (unsigned long long)board->n_honest_events);
	CHECK(board->n_corrupt > N_READERS);
	CHECK(board->n_hostile_events > 0);
}

/*
 * A ring full of small events, and an intent that is honest when a reader looks for its place and not when it
 * asks whether what it read was whole: each attempt walks far and fails.
 */
static void publish_for_ever_lapped(void *context)
{
	uint64_t capacity = 64u << 20;
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, capacity, HBUS_PUB_SMALL_PAGES, 0);
	struct own_ring ring;
	hbus_topic_t topic;

	(void)context;
	OK(hbus_publisher_topic(publisher, "noise", NULL, NULL, &topic));
	ring = find_own_ring(capacity);
	for (uint64_t at = 0; at < capacity; at += 8)
		memcpy(ring.data + at, &(uint64_t){hbus_word_make(0, topic, 0)}, 8);
	board->n_ready++;
	while (!board->is_over) {
		atomic_store_explicit(&ring.header->intent, 8, memory_order_relaxed);
		for (int i = 0; i < 2000; i++)
			__asm__ __volatile__("" ::: "memory");
		atomic_store_explicit(&ring.header->intent, 1ull << 40, memory_order_relaxed);
		for (int i = 0; i < 1000000; i++)
			__asm__ __volatile__("" ::: "memory");
	}
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void a_ring_that_is_never_whole_keeps_nobody_busy(void)
{
	struct hbus *bus = bus_open();
	struct hbus_subscriber *sub;
	uint64_t begin_ms, list_ms, subscribe_ms;
	int n = 0;
	pid_t pid;

	board = bus_shared(sizeof(*board));
	pid = bus_fork(publish_for_ever_lapped, NULL);
	wait_ready(1);
	begin_ms = bus_now_ms();
	OK(hbus_list(bus, HBUS_ROW_RING, count_row, &n));
	list_ms = bus_now_ms() - begin_ms;
	CHECK_EQ(n, 1);
	sub = bus_subscriber(bus, 0, HBUS_START_LATEST, NULL);
	begin_ms = bus_now_ms();
	OK(hbus_subscribe(sub, "noise"));
	subscribe_ms = bus_now_ms() - begin_ms;
	board->is_over = 1;
	bus_join(pid);
	printf("# list %llu ms, subscribe %llu ms\n", (unsigned long long)list_ms, (unsigned long long)subscribe_ms);
	CHECK(list_ms < 50);
	CHECK(subscribe_ms < 2000);
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

/* -- wake-ups -- */

enum theft { MOVE_SLEEPERS, SLEEP_BESIDE_THEM, WAKE_FOR_NOTHING, N_THEFTS };
static const enum theft thefts[N_THEFTS] = {MOVE_SLEEPERS, SLEEP_BESIDE_THEM, WAKE_FOR_NOTHING};

/* Return: how many sleepers it met. */
static long steal(enum theft theft, _Atomic uint32_t *notify, _Atomic uint32_t *elsewhere)
{
	struct timespec span = {.tv_nsec = 100000};

	switch (theft) {
	case MOVE_SLEEPERS:
		return syscall(SYS_futex, notify, FUTEX_CMP_REQUEUE, 0, (void *)(uintptr_t)INT32_MAX, elsewhere, *notify);
	case SLEEP_BESIDE_THEM: /* a wake-up that only one gets is gone then */
		return syscall(SYS_futex, notify, FUTEX_WAIT, *notify, &span) == 0;
	default:
		return syscall(SYS_futex, notify, FUTEX_WAKE, INT32_MAX);
	}
}

/* Whoever may read a ring may move its sleepers to another word, where nobody wakes them, and more. */
static void steal_wake_ups(void *context)
{
	struct hbus_subscriber *sub = bus_subscriber(bus_open(), 0, HBUS_START_LATEST, "honest");
	static _Atomic uint32_t elsewhere;
	FILE *maps = fopen("/proc/self/maps", "r");
	_Atomic uint32_t *notify = NULL;
	unsigned long begin;
	char line[512];

	(void)sub;
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "memfd:hugebus-header") && sscanf(line, "%lx", &begin) == 1)
			notify = &((struct hbus_ring_header *)begin)->notify;
	fclose(maps);
	CHECK(notify);
	board->n_ready++;
	while (!board->is_over) {
		board->n_rings_ruined += steal(*(const enum theft *)context, notify, &elsewhere) > 0;
		sched_yield();
	}
}

static void publish_now_and_then(void *context)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 65536, 0, 1000);
	hbus_topic_t topic;

	(void)context;
	OK(hbus_publisher_topic(publisher, "honest", NULL, NULL, &topic));
	board->n_ready++;
	wait_ready(3);
	for (int i = 0; i < 100; i++) {
		uint64_t payload[2] = {(uint64_t)i, 0};

		usleep(5000 + (unsigned int)(test_random_next(&dice) % 10000));
		payload[1] = bus_now_us();
		OK(hbus_publish(publisher, topic, payload, sizeof(payload)));
	}
	while (!board->is_over)
		bus_sleep_ms(5);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void lose_nothing_to(enum theft theft)
{
	struct hbus_subscriber *sub;
	uint64_t longest_us = 0;
	pid_t publisher, thief;
	struct hbus *bus;

	board = bus_shared(sizeof(*board));
	publisher = bus_fork(publish_now_and_then, NULL);
	wait_ready(1);
	thief = bus_fork(steal_wake_ups, (void *)(uintptr_t)&thefts[theft]);
	wait_ready(2);
	bus = bus_open();
	sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "honest");
	board->n_ready++;
	for (uint64_t i = 0; i < 100; i++) {
		struct hbus_event event;
		uint64_t payload[2], us;

		CHECK_EQ(hbus_wait(sub, 3000), 1);
		CHECK_EQ(hbus_poll(sub, &event, 1), 1);
		memcpy(payload, event.data, sizeof(payload));
		CHECK_EQ(payload[0], i);
		us = bus_now_us() - payload[1];
		longest_us = us > longest_us ? us : longest_us;
	}
	board->is_over = 1;
	bus_join(thief);
	bus_join(publisher);
	printf("# %llu times a sleeper was met; the longest delay was %llu us\n", (unsigned long long)board->n_rings_ruined,
	       (unsigned long long)longest_us);
	CHECK(board->n_rings_ruined > 0);
	/* The cap is 50 ms; the rest is a busy machine. */
	CHECK(longest_us < 250000);
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

static void a_stolen_wake_up_costs_little_and_loses_nothing(void)
{
	lose_nothing_to(MOVE_SLEEPERS);
}

static void who_sleeps_where_others_do_takes_no_wake_up_from_them(void)
{
	lose_nothing_to(SLEEP_BESIDE_THEM);
}

static void who_is_woken_for_nothing_sleeps_on(void)
{
	lose_nothing_to(WAKE_FOR_NOTHING);
}

/* -- topics that are not one's own -- */

#define POLICY                                                                                     \
	"policy = ( { uid = 65530; filter = \"honest\"; allow = [ \"publish\" ]; },\n"           \
	"           { uid = 65531; filter = \"noise\"; allow = [ \"publish\" ]; },\n"            \
	"           { uid = 65532; filter = \"#\"; allow = [ \"subscribe\", \"reliable\" ]; } );\n"

static void publish_until_over(void *context)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 65536, 0, 1000);
	hbus_topic_t topic;

	(void)context;
	OK(hbus_publisher_topic(publisher, "honest", NULL, NULL, &topic));
	board->n_hostile_events = topic; /* the number that is forged below */
	board->n_ready++;
	while (!board->is_over) {
		OK(hbus_publish(publisher, topic, "honest", 6));
		bus_sleep_ms(2);
	}
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void forge(void *context)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 65536, 0, 1000);
	hbus_topic_t topic;

	(void)context;
	CHECK_EQ(hbus_publisher_topic(publisher, "honest", NULL, NULL, &topic), HBUS_E_DENIED);
	OK(hbus_publisher_topic(publisher, "noise", NULL, NULL, &topic));
	board->n_ready++;
	while (!board->is_over) {
		struct own_ring ring = find_own_ring(65536);
		struct hbus_publisher_info info;
		uint64_t word = hbus_word_make(0, (uint32_t)board->n_hostile_events, 6);

		OK(hbus_publish(publisher, topic, "noise!", 6));
		OK(hbus_publisher_info(publisher, &info));
		if (board->n_ready == 4) { /* what was published becomes another's */
			atomic_store_explicit((_Atomic uint64_t *)(void *)(ring.data + (info.position - 16) % 65536), word,
					      memory_order_release);
			board->n_rings_ruined++;
		}
		bus_sleep_ms(1);
	}
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void read_all(void *context)
{
	struct hbus *bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(bus, 0, HBUS_START_LATEST, "#");
	uint64_t honest_ring = 0, n = 0, until_ms = bus_now_ms() + 1500;

	(void)context;
	board->n_ready++;
	while (bus_now_ms() < until_ms) {
		struct hbus_event event;

		CHECK(hbus_wait(sub, 100) >= 0);
		if (hbus_poll(sub, &event, 1) != 1)
			continue;
		if (strcmp(event.topic, "honest") != 0)
			continue;
		/* The first comes before anybody forges. */
		if (honest_ring == 0) {
			honest_ring = event.ring_id;
			board->n_ready++;
		}
		CHECK_EQ(event.ring_id, honest_ring);
		CHECK_EQ(memcmp(event.data, "honest", 6), 0);
		n++;
	}
	CHECK(n > 100);
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

/* Who may publish on a topic is policy's to say, not the bytes' in the ring. */
static void a_publisher_cannot_forge_the_topics_of_others(void)
{
	pid_t honest, forger, reader;

	bus_needs_root();
	bus_daemon_configure(POLICY, 0);
	board = bus_shared(sizeof(*board));
	honest = bus_fork_as(65530, publish_until_over, NULL);
	wait_ready(1);
	forger = bus_fork_as(65531, forge, NULL);
	wait_ready(2);
	reader = bus_fork_as(65532, read_all, NULL);
	bus_join(reader);
	board->is_over = 1;
	bus_join(honest);
	bus_join(forger);
	CHECK(board->n_rings_ruined > 0);
}

static const struct bus_case cases[] = {
	{"a_publisher_cannot_forge_the_topics_of_others", a_publisher_cannot_forge_the_topics_of_others},
	{"a_publisher_that_scribbles_in_its_ring_harms_that_ring_only",
	 a_publisher_that_scribbles_in_its_ring_harms_that_ring_only},
	{"a_stolen_wake_up_costs_little_and_loses_nothing", a_stolen_wake_up_costs_little_and_loses_nothing},
	{"who_sleeps_where_others_do_takes_no_wake_up_from_them", who_sleeps_where_others_do_takes_no_wake_up_from_them},
	{"who_is_woken_for_nothing_sleeps_on", who_is_woken_for_nothing_sleeps_on},
	{"a_ring_that_is_never_whole_keeps_nobody_busy", a_ring_that_is_never_whole_keeps_nobody_busy},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
