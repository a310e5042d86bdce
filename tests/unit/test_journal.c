/* SPDX-License-Identifier: BSD-3-Clause */
/* The journal: what was appended comes back, in spite of cut lines, rewrites and reboots. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/daemon/journal.h"
#include "tests/unit/sim.h"

static char dir[64], path[96];
static struct hbus_config_error error;
static struct hbus_journal_record got[64];
static size_t n_got;
static struct sim sim;

static void setup(void)
{
	strcpy(dir, "/tmp/hugebus-test-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/journal.jsonl", dir);
	sim_init(&sim);
}

static void teardown(void)
{
	char fresh[128];

	snprintf(fresh, sizeof(fresh), "%s.new", path);
	unlink(fresh);
	unlink(path);
	rmdir(dir);
	sim_deinit(&sim);
}

TestSuite(journal, .init = setup, .fini = teardown);

static uint32_t first_boot;

static bool collect(struct hbus_state *state, const struct hbus_journal_record *record)
{
	(void)state;
	got[n_got++] = *record;
	return true;
}

static struct hbus_journal *open_journal(struct hbus_journal_head *head)
{
	struct hbus_journal *journal;

	cr_assert_eq(hbus_journal_open(dir, &journal, head, &error), 0, "%s", error.text);
	n_got = 0;
	hbus_journal_replay(journal, collect, NULL);
	return journal;
}

static struct hbus_journal *new_journal(void)
{
	struct hbus_journal_head head;
	struct hbus_journal *journal = open_journal(&head);

	cr_assert(head.is_new);
	/* Odd, and the journal's own: ids of a bus whose journal is gone must not come again. */
	cr_assert_eq(head.boot_number & 1, 1);
	first_boot = head.boot_number;
	cr_assert_eq(hbus_journal_rewrite(journal, sim.state), 0);
	return journal;
}

static struct hbus_journal_record record_of(enum hbus_record_kind kind, uint64_t id)
{
	struct hbus_journal_record record = { .kind = kind, .id = id, .uid = 1000 };

	memset(record.token.bytes, (int)id, sizeof(record.token.bytes));
	if (kind == HBUS_RECORD_RING_TOPIC)
		record.topic_id = 0xabcdef;
	if (kind == HBUS_RECORD_MEMBER) {
		record.pid = 4711;
		record.began = (1ull << 63) + 1;
	}
	if (kind == HBUS_RECORD_TOPIC)
		strcpy(record.name, "a/\xc3\xbc/\"quoted\\");
	if (kind == HBUS_RECORD_RING) {
		record.member_id = (1ull << 32) + 7;
		record.geometry = (struct hbus_geometry){ id, 65536, 1ull << 63, 1, 1 };
	}
	if (kind == HBUS_RECORD_ROUTE || kind == HBUS_RECORD_ROUTE_GONE)
		record.route = (struct hbus_wire_route){
			.address = { 0x20, 1 }, .family = 6, .prefix_len = 16, .port = 5,
			.vlan = HBUS_ROUTE_VLAN_ANY, .kind = HBUS_ROUTE_BATCH_TOPIC,
			.number = (uint32_t)id, .topic = "t" };
	return record;
}

static void append(struct hbus_journal *journal, enum hbus_record_kind kind, uint64_t id)
{
	struct hbus_journal_record record = record_of(kind, id);

	cr_assert_eq(hbus_journal_append(journal, &record), 0);
}

Test(journal, what_was_appended_comes_back_as_it_was)
{
	struct hbus_journal *journal = new_journal();
	struct hbus_journal_head head;
	struct hbus_journal_record route = record_of(HBUS_RECORD_ROUTE, 3);

	append(journal, HBUS_RECORD_TOPIC, 1);
	append(journal, HBUS_RECORD_MEMBER, (1ull << 32) + 7);
	append(journal, HBUS_RECORD_RING, (1ull << 63) + 5);
	append(journal, HBUS_RECORD_ROUTE, 3);
	append(journal, HBUS_RECORD_RING_TOPIC, (1ull << 63) + 5);
	hbus_journal_free(journal);
	journal = open_journal(&head);
	cr_assert_not(head.is_new);
	cr_assert(head.is_same_boot);
	cr_assert_eq(head.boot_number, first_boot + 1);
	cr_assert_eq(n_got, 5);
	cr_assert_eq(got[4].id, (1ull << 63) + 5);
	cr_assert_eq(got[4].topic_id, 0xabcdef);
	cr_assert_str_eq(got[0].name, "a/\xc3\xbc/\"quoted\\");
	cr_assert_eq(got[1].id, (1ull << 32) + 7);
	cr_assert_eq(got[1].token.bytes[15], 7);
	cr_assert_eq(got[1].pid, 4711);
	cr_assert_eq(got[1].began, (1ull << 63) + 1);
	cr_assert_eq(got[2].id, (1ull << 63) + 5);
	cr_assert_eq(got[2].geometry.ring_id, got[2].id);
	cr_assert_eq(got[2].geometry.start, 1ull << 63);
	cr_assert_eq(got[2].geometry.is_huge, 1);
	cr_assert_eq(got[2].member_id, (1ull << 32) + 7);
	cr_assert_eq(memcmp(&got[3].route, &route.route, sizeof(route.route)), 0);
	hbus_journal_free(journal);
}

Test(journal, what_is_gone_does_not_come_back)
{
	struct hbus_journal *journal = new_journal();
	struct hbus_journal_head head;

	append(journal, HBUS_RECORD_TOPIC, 1);
	append(journal, HBUS_RECORD_TOPIC, 2);
	append(journal, HBUS_RECORD_ROUTE, 1);
	append(journal, HBUS_RECORD_ROUTE, 2);
	append(journal, HBUS_RECORD_TOPIC_GONE, 1);
	append(journal, HBUS_RECORD_ROUTE_GONE, 2);
	append(journal, HBUS_RECORD_MEMBER_GONE, 1);
	hbus_journal_free(journal);
	journal = open_journal(&head);
	cr_assert_eq(n_got, 2);
	cr_assert_eq(got[0].id, 2);
	cr_assert_eq(got[1].route.number, 1);
	hbus_journal_free(journal);
}

Test(journal, a_line_that_was_cut_costs_only_itself)
{
	struct hbus_journal *journal = new_journal();
	struct hbus_journal_head head;
	struct stat st;

	append(journal, HBUS_RECORD_TOPIC, 1);
	append(journal, HBUS_RECORD_TOPIC, 2);
	hbus_journal_free(journal);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(truncate(path, st.st_size - 7), 0);
	journal = open_journal(&head);
	cr_assert_eq(n_got, 1);
	cr_assert_eq(hbus_journal_rewrite(journal, sim.state), 0);
	append(journal, HBUS_RECORD_TOPIC, 3);
	hbus_journal_free(journal);
	journal = open_journal(&head);
	cr_assert_eq(n_got, 1);
	cr_assert_eq(got[0].id, 3);
	hbus_journal_free(journal);
}

static void write_file(const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* Power may go at any byte: what ends with its newline is there, the rest is not, and nothing is taken for something else. */
Test(journal, a_file_cut_at_any_byte_gives_all_its_whole_lines)
{
	struct hbus_journal *journal = new_journal();
	struct hbus_journal_head head;
	char text[4096];
	size_t size, begin;
	FILE *file;

	for (uint32_t id = 1; id <= 5; id++)
		append(journal, HBUS_RECORD_TOPIC, id);
	hbus_journal_free(journal);
	file = fopen(path, "r");
	size = fread(text, 1, sizeof(text), file);
	fclose(file);
	begin = (size_t)((char *)memchr(text, '\n', size) - text) + 1;
	for (size_t cut = begin; cut <= size; cut++) {
		size_t n_whole = 0;

		for (size_t i = begin; i < cut; i++)
			n_whole += text[i] == '\n';
		file = fopen(path, "w");
		cr_assert_eq(fwrite(text, 1, cut, file), cut);
		fclose(file);
		journal = open_journal(&head);
		/* A line of which only the newline is missing may be taken: it is whole. */
		cr_assert(n_got == n_whole || (cut < size && text[cut] == '\n' && n_got == n_whole + 1), "cut at %zu: %zu, not %zu", cut,
			  n_got, n_whole);
		for (size_t i = 0; i < n_got; i++)
			cr_assert_eq(got[i].id, i + 1);
		hbus_journal_free(journal);
	}
	cr_assert_gt(size - begin, 200);
}

Test(journal, what_is_not_a_journal_is_never_overwritten)
{
	struct hbus_journal_head head;
	struct hbus_journal *journal;

	write_file("my diary\n");
	cr_assert_lt(hbus_journal_open(dir, &journal, &head, &error), 0);
	cr_assert_not_null(strstr(error.text, "move it away"));
	write_file("{\"hugebus_journal\":2,\"bus_id\":\"1\",\"machine_boot\":\"x\"}\n");
	cr_assert_lt(hbus_journal_open(dir, &journal, &head, &error), 0);
}

Test(journal, after_a_reboot_only_what_was_declared_is_left)
{
	struct hbus_journal_head head;
	struct hbus_journal *journal;

	write_file("{\"hugebus_journal\":1,\"bus_id\":\"00000000000000ff\",\"boot_number\":4,\"machine_boot\":\"before\"}\n"
		   "{\"record\":\"topic\",\"id\":1,\"flags\":1,\"uid\":0,\"name\":\"kept\",\"type\":\"\",\"content_type\":\"\"}\n"
		   "{\"record\":\"topic\",\"id\":2,\"flags\":0,\"uid\":0,\"name\":\"gone\",\"type\":\"\",\"content_type\":\"\"}\n"
		   "{\"record\":\"member\",\"id\":3,\"uid\":0,\"token\":\"000102030405060708090a0b0c0d0e0f\",\"name\":\"x\"}\n"
		   "nonsense\n"
		   "{\"record\":\"topic\",\"id\":\"4\"}\n");
	journal = open_journal(&head);
	cr_assert_eq(head.bus_id, 255);
	cr_assert_eq(head.boot_number, 5);
	cr_assert_not(head.is_same_boot);
	cr_assert_eq(n_got, 1);
	cr_assert_str_eq(got[0].name, "kept");
	hbus_journal_free(journal);
}

Test(journal, is_rewritten_when_it_says_little_in_many_lines)
{
	struct hbus_journal *journal = new_journal();
	struct hbus_journal_head head;
	struct stat before, after;

	for (int i = 0; i < 4096; i++) {
		cr_assert_not(hbus_journal_is_long(journal));
		append(journal, i % 2 ? HBUS_RECORD_TOPIC_GONE : HBUS_RECORD_TOPIC, 1);
	}
	append(journal, HBUS_RECORD_TOPIC, 1);
	cr_assert(hbus_journal_is_long(journal));
	cr_assert_eq(stat(path, &before), 0);
	cr_assert_eq(hbus_journal_rewrite(journal, sim.state), 0);
	cr_assert_eq(stat(path, &after), 0);
	cr_assert_lt(after.st_size, before.st_size / 100);
	cr_assert_eq(after.st_mode & 0777, 0600);
	hbus_journal_free(journal);
	journal = open_journal(&head);
	cr_assert_eq(n_got, 0);
	hbus_journal_free(journal);
}
