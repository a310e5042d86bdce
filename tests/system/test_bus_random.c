/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random operations against a model: what each ring was given is kept in a log, and every event, gap and report of a
 * reader is held against it. The seed of a case is printed and can be given back in HBUS_TEST_SEED.
 *
 * A reliable reader misses nothing from its subscription on; of what is older, and of all that a lossy one misses, it is
 * told. Nothing comes that was not committed, nothing out of order.
 */
#include "bus.h"
#include "tests/unit/random.h"

#define WRITERS 3
#define READERS 5
#define TOPICS 5
#define FILTERS 6
#define LOG_MAX 60000u
#define PENDING_MAX 4000u
#define SMALL_RING 65536u

struct entry {
	uint32_t topic;
	uint32_t size;
	uint64_t number;
};

struct writer {
	struct hbus_publisher *publisher;
	hbus_topic_t topics[TOPICS];
	uint64_t declared_at[TOPICS]; /* events before it */
	uint64_t ring_id;
	struct entry *log, *pending;
	uint64_t n_log, n_pending;
	bool in_batch;
	unsigned char *reserved;
	struct entry reserved_entry;
	size_t n_reserved; /* events of a run, 0 = a single event */
};

struct reader {
	struct hbus_subscriber *sub;
	bool is_reliable;
	unsigned int filter;
	uint64_t next[WRITERS], lost_to[WRITERS], opened_at[WRITERS];
	bool has_begun[WRITERS];
};

static const char *const names[TOPICS] = {"r/a", "r/b", "r/c/d", "q/a", "r"};
static const char *const filters[FILTERS] = {"#", "r/#", "+/a", "r/+/d", "r", "none/+"};
/* matches[filter][topic] */
static const bool matches[FILTERS][TOPICS] = {
	{true, true, true, true, true}, {true, true, true, false, true}, {true, false, false, true, false},
	{false, false, true, false, false}, {false, false, false, false, true}, {false, false, false, false, false},
};

static struct writer writers[WRITERS];
static struct reader readers[READERS];
static struct hbus *buses[2];
static struct test_random random_state;
static uint64_t n_numbers;
/* Then a subscription may return before each publisher has come back: what it promises begins a little later. */
static bool are_daemons_killed;

static uint64_t below(uint64_t n)
{
	return test_random_next(&random_state) % n;
}

static bool one_in(uint64_t n)
{
	return below(n) == 0;
}

/* -- writing -- */

static void open_writer(struct writer *writer)
{
	static const uint32_t flags[] = {0, HBUS_PUB_ISOLATED, HBUS_PUB_DEFER_WAKE, HBUS_PUB_TIMESTAMP};

	writer->publisher = bus_publisher(buses[below(2)], SMALL_RING,
					  HBUS_PUB_SMALL_PAGES | HBUS_PUB_NEVER_WAIT | flags[below(4)], 0);
	writer->log = calloc(LOG_MAX, sizeof(*writer->log));
	writer->pending = calloc(PENDING_MAX, sizeof(*writer->pending));
	CHECK(writer->log && writer->pending);
}

static hbus_topic_t topic_of(struct writer *writer, uint32_t topic)
{
	struct hbus_publisher_info info;

	if (writer->topics[topic])
		return writer->topics[topic];
	OK(hbus_publisher_topic(writer->publisher, names[topic], NULL, NULL, &writer->topics[topic]));
	writer->declared_at[topic] = writer->n_log;
	OK(hbus_publisher_info(writer->publisher, &info));
	writer->ring_id = info.ring_id;
	return writer->topics[topic];
}

static size_t random_size(void)
{
	switch (below(6)) {
	case 0:
		return below(9);
	case 1:
		return below(64);
	case 2:
		return one_in(4) ? SMALL_RING / 8 - 8 - below(40) : below(1100);
	case 3:
		return one_in(8) ? SMALL_RING / 8 + below(100) : 56;
	default:
		return below(300);
	}
}

static struct entry new_entry(uint32_t topic, size_t size)
{
	return (struct entry){topic, (uint32_t)size, ++n_numbers};
}

/* bus_fill() needs eight bytes for the number: shorter ones are told apart by their size and place only. */
static void fill(unsigned char *to, const struct entry *entry)
{
	if (entry->size >= 8)
		bus_fill(to, entry->size, entry->number);
}

static void settle(struct writer *writer)
{
	if (writer->in_batch)
		return;
	CHECK(writer->n_log + writer->n_pending <= LOG_MAX);
	memcpy(writer->log + writer->n_log, writer->pending, writer->n_pending * sizeof(*writer->log));
	writer->n_log += writer->n_pending;
	writer->n_pending = 0;
}

static void note(struct writer *writer, int status, const struct entry *entries, size_t n)
{
	CHECK(status == 0 || status == HBUS_FULL || status == HBUS_E_TOO_LARGE);
	CHECK(writer->n_pending + n <= PENDING_MAX);
	if (status == 0 && n > 0)
		memcpy(writer->pending + writer->n_pending, entries, n * sizeof(*entries));
	writer->n_pending += status == 0 ? n : 0;
	settle(writer);
}

static void publish_some(struct writer *writer, uint32_t topic)
{
	static unsigned char payload[2 * SMALL_RING];
	uint64_t n = one_in(3) ? 1 : below(30);

	while (n-- > 0) {
		struct entry entry = new_entry(topic, random_size());

		fill(payload, &entry);
		note(writer, hbus_publish(writer->publisher, topic_of(writer, topic), payload, entry.size), &entry, 1);
	}
}

static void publish_run(struct writer *writer, uint32_t topic)
{
	static unsigned char payload[300 * 300];
	struct entry entries[300];
	size_t n = 1 + below(one_in(5) ? 299 : 20), size = below(300);

	for (size_t i = 0; i < n; i++) {
		entries[i] = new_entry(topic, size);
		fill(payload + i * size, &entries[i]);
	}
	note(writer, hbus_publish_run(writer->publisher, topic_of(writer, topic), payload, size, n), entries, n);
}

static void reserve(struct writer *writer, uint32_t topic)
{
	struct entry entry = {topic, (uint32_t)random_size(), 0};
	size_t n = one_in(2) ? 1 + below(30) : 0;
	void *data = NULL;
	int r;

	r = n ? hbus_reserve_run(writer->publisher, topic_of(writer, topic), entry.size, n, &data)
	      : hbus_reserve(writer->publisher, topic_of(writer, topic), entry.size, &data);
	note(writer, r, NULL, 0);
	if (r != 0)
		return;
	writer->reserved = data;
	writer->reserved_entry = entry;
	writer->n_reserved = n;
}

static void end_reservation(struct writer *writer)
{
	size_t size = writer->reserved_entry.size, stride = (size + 7) / 8 * 8, n = 1;
	struct entry entries[32];

	CHECK_EQ(hbus_publish(writer->publisher, writer->topics[writer->reserved_entry.topic], "x", 1), HBUS_E_BUSY);
	if (writer->n_reserved)
		n = 1 + below(writer->n_reserved);
	else
		size = one_in(2) ? size : below(size + 1);
	for (size_t i = 0; i < n; i++) {
		entries[i] = new_entry(writer->reserved_entry.topic, size);
		fill(writer->reserved + i * stride, &entries[i]);
	}
	if (one_in(4))
		OK(hbus_abort(writer->publisher));
	else
		note(writer, writer->n_reserved ? hbus_commit_run(writer->publisher, n) : hbus_commit(writer->publisher, size),
		     entries, n);
	writer->reserved = NULL;
}

static void turn_batch(struct writer *writer)
{
	if (!writer->in_batch) {
		OK(hbus_batch_begin(writer->publisher));
		writer->in_batch = true;
		return;
	}
	writer->in_batch = false;
	if (one_in(3)) {
		OK(hbus_batch_abort(writer->publisher));
		writer->n_pending = 0;
		return;
	}
	OK(hbus_batch_commit(writer->publisher));
	settle(writer);
}

static void write_some(struct writer *writer)
{
	uint32_t topic = (uint32_t)below(TOPICS);

	if (writer->n_log + PENDING_MAX > LOG_MAX)
		return;
	if (writer->reserved) {
		end_reservation(writer);
		return;
	}
	switch (below(8)) {
	case 0:
		turn_batch(writer);
		break;
	case 1:
		reserve(writer, topic);
		break;
	case 2:
	case 3:
		publish_run(writer, topic);
		break;
	default:
		publish_some(writer, topic);
	}
}

/* -- reading -- */

static void open_reader(struct reader *reader)
{
	*reader = (struct reader){.is_reliable = one_in(2), .filter = (unsigned int)below(FILTERS)};
	reader->sub = bus_subscriber(buses[below(2)], reader->is_reliable ? HBUS_SUB_FLAG_RELIABLE : 0,
				     one_in(2) ? HBUS_START_EARLIEST : HBUS_START_LATEST, filters[reader->filter]);
	for (unsigned int i = 0; i < WRITERS; i++)
		reader->opened_at[i] = writers[i].n_log;
}

static unsigned int writer_of(uint64_t ring_id)
{
	for (unsigned int i = 0; i < WRITERS; i++)
		if (writers[i].ring_id == ring_id)
			return i;
	CHECK(!"a ring that nobody has");
	return 0;
}

/* From here on a reliable reader gets all: it had subscribed, and the ring carried what it wants. */
static uint64_t promised_from(const struct reader *reader, unsigned int idx)
{
	const struct writer *writer = &writers[idx];
	uint64_t from = UINT64_MAX;

	for (unsigned int i = 0; i < TOPICS; i++)
		if (writer->topics[i] && matches[reader->filter][i] && writer->declared_at[i] < from)
			from = writer->declared_at[i];
	return from > reader->opened_at[idx] ? from : reader->opened_at[idx];
}

static void take_losses(struct reader *reader)
{
	struct hbus_loss loss;

	while (hbus_next_loss(reader->sub, &loss) == 1) {
		unsigned int idx = writer_of(loss.ring_id);
		uint64_t end = loss.first_sequence + loss.n_events;

		CHECK_EQ(loss.reason, HBUS_LOSS_LAPPED);
		CHECK(are_daemons_killed || !reader->is_reliable || end <= promised_from(reader, idx));
		if (end > reader->lost_to[idx])
			reader->lost_to[idx] = end;
	}
}

static bool is_as_written(const struct reader *reader, const struct entry *entry, const void *data, size_t size, const char *topic)
{
	uint64_t number = entry->number;

	return strcmp(topic, names[entry->topic]) == 0 && matches[reader->filter][entry->topic] && size == entry->size &&
	       (size < 8 || (bus_is_filled(data, size, &number) && number == entry->number));
}

/* Events next..sequence-1 did not come: nobody wanted them, or their loss was told. */
static void check_gap(struct reader *reader, unsigned int idx, uint64_t sequence)
{
	CHECK(!reader->has_begun[idx] || sequence >= reader->next[idx]);
	for (uint64_t i = reader->next[idx]; reader->has_begun[idx] && i < sequence; i++)
		CHECK(i < reader->lost_to[idx] || !matches[reader->filter][writers[idx].log[i].topic]);
	reader->has_begun[idx] = true;
	reader->next[idx] = sequence + 1;
}

/* Spans and events alike: what came, before it was released, and whether it is as it was written. */
static size_t take(struct reader *reader, uint64_t *sequences, size_t n_max, unsigned int *ret_idx, bool *ret_is_good)
{
	static struct hbus_span spans[40];
	int n = hbus_poll_spans(reader->sub, spans, 1 + (unsigned int)below(40));
	size_t n_all = 0;

	CHECK(n >= 0);
	*ret_is_good = true;
	for (int i = 0; i < n; i++) {
		*ret_idx = writer_of(spans[i].ring_id);
		for (size_t j = 0; j < spans[i].n_events; j++) {
			uint64_t sequence = spans[i].sequence + j;

			CHECK(n_all < n_max);
			*ret_is_good &= sequence < writers[*ret_idx].n_log &&
					is_as_written(reader, &writers[*ret_idx].log[sequence], spans[i].data + j * spans[i].stride,
						      spans[i].size, spans[i].topic);
			sequences[n_all++] = sequence;
		}
	}
	return n_all;
}

static size_t take_events(struct reader *reader, uint64_t *sequences, unsigned int *ret_idx, bool *ret_is_good)
{
	static struct hbus_event events[200];
	int n = hbus_poll(reader->sub, events, 1 + (unsigned int)below(200));

	CHECK(n >= 0);
	*ret_is_good = true;
	for (int i = 0; i < n; i++) {
		*ret_idx = writer_of(events[i].ring_id);
		*ret_is_good &= events[i].sequence < writers[*ret_idx].n_log &&
				is_as_written(reader, &writers[*ret_idx].log[events[i].sequence], events[i].data, events[i].size,
					      events[i].topic);
		sequences[i] = events[i].sequence;
	}
	return (size_t)n;
}

static bool read_some(struct reader *reader)
{
	static uint64_t sequences[LOG_MAX];
	unsigned int idx = 0;
	bool is_good;
	size_t n = one_in(2) ? take(reader, sequences, LOG_MAX, &idx, &is_good) : take_events(reader, sequences, &idx, &is_good);
	int r;

	if (n == 0)
		return false;
	for (int i = 0; i < 20 && one_in(2); i++)
		write_some(&writers[idx]);
	r = hbus_release(reader->sub);
	take_losses(reader);
	if (r == HBUS_LAPPED) /* none of it counts */
		return true;
	CHECK_EQ(r, 0);
	CHECK(is_good);
	for (size_t i = 0; i < n; i++)
		check_gap(reader, idx, sequences[i]);
	return true;
}

static void close_reader(struct reader *reader)
{
	while (read_some(reader) || hbus_wait(reader->sub, 30) == 1)
		;
	take_losses(reader);
	for (unsigned int i = 0; i < WRITERS; i++)
		if (reader->has_begun[i])
			check_gap(reader, i, writers[i].n_log);
	hbus_subscriber_close(reader->sub);
	reader->sub = NULL;
}

/* -- cases -- */

static void step(void)
{
	struct reader *reader = &readers[below(READERS)];
	uint64_t dice = below(1000);

	if (dice < 6) {
		if (reader->sub)
			close_reader(reader);
		else
			open_reader(reader);
	} else if (dice < 8) {
		if (are_daemons_killed) {
			bus_daemon_kill();
			bus_daemon_start();
		}
	} else if (dice < 500) {
		write_some(&writers[below(WRITERS)]);
	} else if (reader->sub) {
		read_some(reader);
	}
}

static void run(unsigned int n_steps)
{
	test_random_init(&random_state, "test_bus_random");
	for (unsigned int i = 0; i < 2; i++)
		buses[i] = bus_open();
	for (unsigned int i = 0; i < WRITERS; i++)
		open_writer(&writers[i]);
	for (unsigned int i = 0; i < n_steps; i++)
		step();
	for (unsigned int i = 0; i < READERS; i++)
		if (readers[i].sub)
			close_reader(&readers[i]);
	for (unsigned int i = 0; i < WRITERS; i++) {
		hbus_publisher_close(writers[i].publisher);
		free(writers[i].log);
		free(writers[i].pending);
	}
	for (unsigned int i = 0; i < 2; i++)
		hbus_close(buses[i]);
}

static void random_operations_agree_with_a_model(void)
{
	run(12000);
}

static void also_while_the_daemon_is_killed(void)
{
	are_daemons_killed = true;
	run(6000);
}

static const struct bus_case cases[] = {
	{"random_operations_agree_with_a_model", random_operations_agree_with_a_model},
	{"also_while_the_daemon_is_killed", also_while_the_daemon_is_killed},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
