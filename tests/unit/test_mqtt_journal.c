/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The journal of what an engine remembers: whatever clients do, what was saved once and every change since are the state,
 * wherever the program is killed.
 *
 * A run of random steps is recorded. Then two engines are filled, one with all that was saved at the end, one with what was
 * saved at some time before and the journals since, and what their clients hear is compared, line by line.
 */
#include "tests/unit/mqtt_kit.h"
#include "tests/unit/random.h"

TestSuite(mqtt_journal, .init = kit_begin, .fini = kit_end);

enum { CLIENTS = 5, TOPICS = 4, IDS = 6, JOURNALS_MAX = 64, DUMP_ROOM = 1 << 20 };
#define WALL_MS UINT64_C(1700000000000)

struct bytes {
	uint8_t *data;
	size_t size;
};

/* What is on the disk. */
static struct bytes saved, journals[JOURNALS_MAX];
static size_t n_journals;
static uint64_t base_ms;

static struct kit_client *online[CLIENTS];

static uint64_t wall_ms(void)
{
	return WALL_MS + kit_now_ms - base_ms;
}

static void bytes_add(struct bytes *bytes, const void *data, size_t size)
{
	if (size == 0)
		return;
	bytes->data = realloc(bytes->data, bytes->size + size);
	memcpy(bytes->data + bytes->size, data, size);
	bytes->size += size;
}

static void bytes_free(struct bytes *bytes)
{
	free(bytes->data);
	*bytes = (struct bytes){ NULL, 0 };
}

static void write_down(void)
{
	const uint8_t *data;
	size_t size;

	cr_assert_eq(hbus_mqtt_journal_take(engine, wall_ms(), &data, &size), 0);
	bytes_add(&journals[n_journals - 1], data, size);
	hbus_mqtt_journal_clear(engine);
}

/* What was published and not settled will never come back. */
static void commit(void)
{
	hbus_mqtt_journal_settle(engine);
	write_down();
}

/* Another generation. @keeps: what was saved before stays, and the journals are read one behind the other. */
static void turn(bool keeps)
{
	uint8_t head[HBUS_MQTT_JOURNAL_HEAD_SIZE], *data;
	size_t size;

	if (n_journals > 0)
		commit();
	cr_assert_eq(hbus_mqtt_save(engine, wall_ms(), &data, &size), 0);
	if (keeps) {
		free(data);
	} else {
		bytes_free(&saved);
		saved = (struct bytes){ data, size };
		while (n_journals > 0)
			bytes_free(&journals[--n_journals]);
	}
	hbus_mqtt_journal_start(engine);
	hbus_mqtt_journal_head(engine, head);
	cr_assert_lt(n_journals, JOURNALS_MAX);
	bytes_add(&journals[n_journals++], head, sizeof(head));
}

static void disk_free(void)
{
	bytes_free(&saved);
	while (n_journals > 0)
		bytes_free(&journals[--n_journals]);
}

static void begin(void)
{
	base_ms = kit_now_ms;
	memset(online, 0, sizeof(online));
	turn(false);
}

/* -- what an engine says of itself -- */

static char *dump_at;
static size_t dump_left;

static void note(const char *line)
{
	int n = snprintf(dump_at, dump_left, "%s\n", line);

	cr_assert(n > 0 && (size_t)n < dump_left);
	dump_at += n;
	dump_left -= (size_t)n;
}

static void note_number(const char *what, uint64_t number)
{
	char line[64];

	snprintf(line, sizeof(line), "%s %llu", what, (unsigned long long)number);
	note(line);
}

static void note_all(struct kit_client *c, const char *who)
{
	char *at;

	note(who);
	while (*hear(c)) {
		/* Which identifier a new one gets depends on how large a table has become. */
		at = strstr(c->line, " d0 #");
		if (at)
			memmove(at + 4, at + 5 + strspn(at + 5, "0123456789"), strlen(at + 5 + strspn(at + 5, "0123456789")) + 1);
		note(c->line);
	}
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void note_retained(void)
{
	struct kit_client *c = connected("reader", V5);
	char *lines[256];
	size_t n = 0;

	subscribe(c, 1, "#", 0);
	while (*hear(c))
		lines[n++] = strdup(c->line);
	qsort(lines, n, sizeof(lines[0]), by_text);
	for (size_t i = 0; i < n; i++) {
		note(lines[i]);
		free(lines[i]);
	}
}

/* Where they begin to differ. */
static void expect_same(const char *got, const char *expected)
{
	size_t at = 0, line = 0;

	for (; got[at] && got[at] == expected[at]; at++)
		line = got[at] == '\n' ? at + 1 : line;
	cr_assert(got[at] == expected[at], "with the journal:\n%.250s\nfrom what was saved:\n%.250s", got + line, expected + line);
}

/* Everybody comes back, hears what waits for him, and asks for more. */
static char *dump(void)
{
	char *text = dump_at = malloc(DUMP_ROOM), id[8];
	struct kit_client *c;

	dump_left = DUMP_ROOM;
	note_number("sessions", counters->sessions_now);
	note_number("subscriptions", counters->subscriptions_now);
	note_number("retained", counters->retained_now);
	note_retained();
	for (int i = 0; i < CLIENTS; i++) {
		snprintf(id, sizeof(id), "c%d", i);
		c = client();
		hello(c, id, (struct kit_hello){ .version = 5, .is_persistent = true, .props = LIVES_100, .props_size = 5 });
		note_all(c, id);
		for (uint16_t n = 1; n <= IDS; n++) {
			publish(c, "dup", id, 4 | 8, n);
			note_all(c, kit_n_events ? "new" : "old");
			kit_events_free();
		}
		for (uint16_t n = 1; n <= 40 && c->conn; n++)
			ack(c, HBUS_MQTT_PUBACK, n);
		note_all(c, "then");
	}
	c = connected("publisher", V3);
	publish(c, "t/0", "end", 2, 1);
	publish(c, "t/1", "end", 2, 2);
	settle();
	for (struct kit_client *other = kit_clients; other; other = other->next)
		if (other->conn)
			note_all(other, "end");
	return text;
}

static void restart_with(const struct bytes *state, const struct bytes *journal, size_t n)
{
	uint64_t wall = wall_ms();
	struct hbus_mqtt_loader *loader;

	kit_end();
	kit_defaults();
	config.secret[0] = 4321;
	config.queue_max = 16;
	kit_start();
	loader = hbus_mqtt_load_begin(engine, wall);
	cr_assert_eq(hbus_mqtt_load_saved(loader, state->data, state->size), 0);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(hbus_mqtt_load_journal(loader, journal[i].data, journal[i].size), (int64_t)journal[i].size, "journal %zu",
			     i);
	hbus_mqtt_load_end(loader);
}

/* Ends the run. */
static void compare(void)
{
	struct bytes whole;
	char *expected, *got;

	commit();
	cr_assert_eq(hbus_mqtt_save(engine, wall_ms(), &whole.data, &whole.size), 0);
	/* Time stands still. */
	uint64_t now = kit_now_ms;

	restart_with(&whole, NULL, 0);
	expected = dump();
	kit_now_ms = now;
	restart_with(&saved, journals, n_journals);
	got = dump();
	expect_same(got, expected);
	free(expected);
	free(got);
	bytes_free(&whole);
	disk_free();
}

/* -- steps -- */

static void come(int who, struct test_random *random)
{
	static const struct kit_hello hellos[] = {
		{ .version = 4, .is_persistent = true },
		{ .version = 5, .is_persistent = true, .props = "\x11\0\0\0\x64\x21\0\3", .props_size = 8 },
		{ .version = 5, .is_persistent = true, .props = "\x11\0\0\0\x05", .props_size = 5 },
		{ .version = 5, .is_persistent = true },
		{ .version = 4 },
	};
	uint32_t which = test_random_below(random, 24);
	char id[8];

	snprintf(id, sizeof(id), "c%d", who);
	online[who] = client();
	hello(online[who], id, hellos[which < 20 ? which % 3 : 3 + which % 2]);
}

static void go(int who, struct test_random *random)
{
	struct kit_client *c = online[who];

	if (test_random_below(random, 2))
		hang_up(c);
	else if (c->version == 5 && test_random_below(random, 8) == 0)
		SAY(c, 0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0);
	else
		SAY(c, 0xe0, 0);
}

static void want(struct kit_client *c, struct test_random *random)
{
	static const char *const filters[] = { "t/0", "t/#", "t/+", "#", "$share/g/s/#", "$share/h/s/1", "s/1" };
	const char *filter = filters[test_random_below(random, 7)];

	if (test_random_below(random, 4) == 0)
		unsubscribe(c, 9, filter);
	else if (c->version == 5 && test_random_below(random, 2))
		subscribe_with(c, 9, filter, (uint8_t)test_random_below(random, 3), "\x0b\x07", 2);
	else
		subscribe(c, 9, filter, (uint8_t)test_random_below(random, 3));
}

static void tell(struct kit_client *c, struct test_random *random)
{
	static unsigned int n;
	char topic[8], payload[16];
	uint8_t flags = (uint8_t)(test_random_below(random, 3) << 1 | (test_random_below(random, 4) == 0));
	uint16_t id = (uint16_t)(1 + test_random_below(random, IDS));

	snprintf(topic, sizeof(topic), "t/%u", test_random_below(random, TOPICS));
	snprintf(payload, sizeof(payload), "m%u", n++);
	if (flags & 1 && test_random_below(random, 3) == 0)
		payload[0] = '\0';
	if (test_random_below(random, 5) == 0)
		snprintf(topic, sizeof(topic), "s/1");
	if (c->version == 5 && test_random_below(random, 3) == 0)
		publish_with(c, topic, payload, flags, id, "\x02\0\0\0\x04", 5);
	else
		publish(c, topic, payload, flags, id);
}

/* Some of what it hears is answered. */
static void listen_to(struct kit_client *c, struct test_random *random)
{
	unsigned int type, id;
	char name[16], *at;

	while (c->conn && *hear(c)) {
		at = strchr(c->line, '#');
		if (!at || sscanf(at, "#%u", &id) != 1 || sscanf(c->line, "%15s", name) != 1)
			continue;
		type = strcmp(name, "PUBLISH") == 0 ? strstr(c->line, " q1 ") ? HBUS_MQTT_PUBACK : HBUS_MQTT_PUBREC :
		       strcmp(name, "PUBREL") == 0	? HBUS_MQTT_PUBCOMP :
		       strcmp(name, "PUBREC") == 0	? HBUS_MQTT_PUBREL :
							  0;
		if (type && test_random_below(random, 3))
			ack(c, (uint8_t)type, (uint16_t)id);
	}
}

static void step(struct test_random *random)
{
	int who = (int)test_random_below(random, CLIENTS);
	struct kit_client *c = online[who];
	bool is_online = c && c->conn;

	switch (test_random_below(random, 16)) {
	case 0:
	case 1:
		if (!is_online)
			come(who, random);
		break;
	case 2:
		if (is_online)
			go(who, random);
		break;
	case 3:
	case 4:
		if (is_online)
			want(c, random);
		break;
	case 5:
		/* What is left of a time counts from when it is taken. */
		commit();
		pass(test_random_below(random, 2000));
		break;
	case 6:
	case 7:
	case 8:
		if (is_online)
			listen_to(c, random);
		break;
	case 9:
		if (is_online && test_random_below(random, 3) == 0) {
			c->is_slow = !c->is_slow;
			c->unsent = c->is_slow ? config.backlog_high + 1 : 0;
			if (!c->is_slow)
				hbus_mqtt_writable(c->conn);
		}
		break;
	default:
		if (is_online)
			tell(c, random);
		if (test_random_below(random, 2))
			settle();
	}
}

Test(mqtt_journal, what_was_saved_and_every_change_since_are_the_state)
{
	struct test_random random;

	test_random_init(&random, "mqtt_journal");
	for (int round = 0; round < 300; round++) {
		uint32_t n = test_random_below(&random, 400);

		kit_end();
		kit_defaults();
		config.queue_max = 16;
		kit_start();
		begin();
		for (uint32_t i = 0; i < n; i++) {
			step(&random);
			if (test_random_below(&random, 5) == 0)
				commit();
			if (test_random_below(&random, 100) == 0)
				turn(test_random_below(&random, 2));
		}
		compare();
	}
}

/* -- damage -- */

static void fill(void)
{
	struct kit_client *c, *p = connected("p", V5);

	begin();
	c = connected("c", V5_PERSISTENT(LIVES_100));
	subscribe(c, 1, "t/#", 1);
	commit();
	for (int i = 0; i < 3; i++) {
		publish(p, "t/1", "x", 3, 1);
		settle();
		commit();
	}
}

/* What is read of the first journal, with these many bytes of it. */
static int64_t load_part(size_t size)
{
	struct hbus_mqtt_loader *loader;
	uint8_t *copy = kit_copy(journals[0].data, size);
	int64_t taken;

	kit_end();
	kit_defaults();
	kit_start();
	loader = hbus_mqtt_load_begin(engine, wall_ms());
	cr_assert_eq(hbus_mqtt_load_saved(loader, saved.data, saved.size), 0);
	taken = hbus_mqtt_load_journal(loader, copy, size);
	hbus_mqtt_load_end(loader);
	free(copy);
	return taken;
}

Test(mqtt_journal, a_torn_batch_is_not_there_and_those_before_it_are)
{
	int64_t last = 0;

	fill();
	for (size_t size = 0; size <= journals[0].size; size++) {
		int64_t taken = load_part(size);

		cr_assert(taken >= last && taken <= (int64_t)size, "%zu bytes: %lld", size, (long long)taken);
		last = taken;
	}
	cr_assert_eq(last, (int64_t)journals[0].size);
	cr_assert(counters->sessions_now == 1 && counters->subscriptions_now == 1 && counters->retained_now == 1);
	disk_free();
}

Test(mqtt_journal, a_rotten_byte_ends_it)
{
	fill();
	for (size_t i = 0; i < journals[0].size; i++) {
		journals[0].data[i] ^= 0x20;
		cr_assert_lt(load_part(journals[0].size), (int64_t)journals[0].size, "byte %zu", i);
		journals[0].data[i] ^= 0x20;
	}
	disk_free();
}

Test(mqtt_journal, one_of_another_generation_is_refused)
{
	struct bytes first;

	fill();
	first = journals[0];
	journals[0] = (struct bytes){ NULL, 0 };
	turn(false);
	bytes_free(&journals[0]);
	journals[0] = first;
	cr_assert_eq(load_part(journals[0].size), -1);
	disk_free();
}

/* Nobody can go on where something is missing. */
Test(mqtt_journal, after_a_stop_the_next_journal_does_not_follow)
{
	struct hbus_mqtt_loader *loader;

	fill();
	hbus_mqtt_journal_stop(engine);
	cr_assert_eq(hbus_mqtt_journal_size(engine), 0);
	n_journals = 0;
	bytes_add(&journals[1], journals[0].data, journals[0].size);
	bytes_free(&journals[0]);
	turn(true);
	kit_end();
	kit_defaults();
	kit_start();
	loader = hbus_mqtt_load_begin(engine, wall_ms());
	cr_assert_eq(hbus_mqtt_load_saved(loader, saved.data, saved.size), 0);
	cr_assert_eq(hbus_mqtt_load_journal(loader, journals[1].data, journals[1].size), (int64_t)journals[1].size);
	cr_assert_eq(hbus_mqtt_load_journal(loader, journals[0].data, journals[0].size), -1);
	hbus_mqtt_load_end(loader);
	n_journals = 2;
	disk_free();
}

Test(mqtt_journal, who_was_connected_when_it_ended_begins_to_be_away_then)
{
	fill();
	kit_now_ms += 1000000000;
	cr_assert_eq(load_part(journals[0].size), (int64_t)journals[0].size);
	cr_assert_eq(counters->sessions_now, 1, "100 s from now");
	pass(99999);
	cr_assert_eq(counters->sessions_now, 1);
	pass(1);
	cr_assert_eq(counters->sessions_now, 0);
	disk_free();
}

Test(mqtt_journal, what_nobody_keeps_is_not_written)
{
	struct kit_client *c = connected("c", V5), *p = connected("p", V3);

	begin();
	subscribe(c, 1, "t", 2);
	publish(p, "t", "x", 2, 1);
	settle();
	hang_up(c);
	cr_assert_eq(hbus_mqtt_journal_size(engine), 0);
	disk_free();
}

/* Killed between a message's way to the bus and its way back: the client sends it again, and it is published then. */
Test(mqtt_journal, a_message_of_qos_2_is_received_with_those_who_keep_it)
{
	struct kit_client *c = connected("c", V3_PERSISTENT), *p = connected("p", V3_PERSISTENT);

	subscribe(c, 1, "t", 2);
	hang_up(c);
	begin();
	publish(p, "t", "x", 4, 7);
	write_down();
	cr_assert_eq(load_part(journals[0].size), (int64_t)journals[0].size);
	p = connected("p", V3_PERSISTENT);
	publish(p, "t", "x", 4 | 8, 7);
	cr_assert_eq(kit_n_events, 1);
	n_journals = 0;
	bytes_free(&journals[0]);
	begin();
	settle();
	write_down();
	cr_assert_eq(load_part(journals[0].size), (int64_t)journals[0].size);
	p = connected("p", V3_PERSISTENT);
	publish(p, "t", "x", 4 | 8, 7);
	cr_assert_eq(kit_n_events, 0, "it is there");
	c = connected("c", V3_PERSISTENT);
	HEARS(c, "PUBLISH t q2 r0 d0 #1 x");
	disk_free();
}
