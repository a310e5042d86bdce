/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "ctl/daemon/journal_json.h"
#include "ctl/daemon/route.h"
#include "ctl/proto/text.h"

#define JOURNAL_VERSION 1
#define LINE_MAX_BYTES 8192
#define LINES_MIN 4096 /* shorter files are never rewritten */

struct hbus_journal {
	char path[PATH_MAX];
	char dir[PATH_MAX];
	int fd; /* for appending; -1 before the first rewrite */
	struct hbus_journal_head head;
	char machine_boot[64];
	struct hbus_journal_record *records; /* those that stand, while it is read */
	size_t n_records, n_room;
	size_t n_lines, n_lines_fresh;
};

/*
 * Ids are boot number << 32 | count. 21 bits keep them below 2^53, which is what most readers of JSON make of a number; a
 * new journal begins somewhere in the lower half, so that buses do not share ids.
 */
#define BOOT_NUMBER_MASK 0x1fffffu

static void read_machine_boot(char *text, size_t size)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, size - 1) : 0;

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
}

/* ---- reading ---- */

static enum hbus_record_kind kind_of_gone(enum hbus_record_kind kind)
{
	return kind - 1; /* each GONE follows its kind */
}

static bool is_gone(enum hbus_record_kind kind)
{
	return kind == HBUS_RECORD_TOPIC_GONE || kind == HBUS_RECORD_MEMBER_GONE ||
	       kind == HBUS_RECORD_RING_GONE || kind == HBUS_RECORD_ROUTE_GONE;
}

static bool is_same_thing(const struct hbus_journal_record *a, const struct hbus_journal_record *b)
{
	if (a->kind != b->kind)
		return false;
	return a->kind == HBUS_RECORD_ROUTE ? hbus_route_same_place(&a->route, &b->route) :
					      a->id == b->id;
}

static void forget(struct hbus_journal *journal, const struct hbus_journal_record *gone)
{
	struct hbus_journal_record key = *gone;

	key.kind = kind_of_gone(gone->kind);
	/* What goes was mostly said not long ago. */
	for (size_t i = journal->n_records; i-- > 0;) {
		if (!is_same_thing(&journal->records[i], &key))
			continue;
		memmove(&journal->records[i], &journal->records[i + 1],
			(journal->n_records - i - 1) * sizeof(key));
		journal->n_records--;
		return;
	}
}

static int remember(struct hbus_journal *journal, const struct hbus_journal_record *record)
{
	if (is_gone(record->kind)) {
		forget(journal, record);
		return 0;
	}
	if (journal->n_records == journal->n_room) {
		size_t room = journal->n_room ? journal->n_room * 2 : 256;
		void *grown = realloc(journal->records, room * sizeof(*journal->records));

		if (!grown)
			return -ENOMEM;
		journal->records = grown;
		journal->n_room = room;
	}
	journal->records[journal->n_records++] = *record;
	return 0;
}

static bool read_head(struct hbus_journal *journal, const json_t *json)
{
	const char *boot = json_string_value(json_object_get(json, "machine_boot"));
	const char *bus = json_string_value(json_object_get(json, "bus_id"));

	if (json_integer_value(json_object_get(json, "hugebus_journal")) != JOURNAL_VERSION ||
	    !boot || !bus)
		return false;
	journal->head.bus_id = strtoull(bus, NULL, 16);
	journal->head.boot_number =
		((uint32_t)json_integer_value(json_object_get(json, "boot_number")) + 1) & BOOT_NUMBER_MASK;
	journal->head.is_same_boot = strcmp(boot, journal->machine_boot) == 0;
	journal->head.is_new = false;
	return true;
}

static int read_line(struct hbus_journal *journal, const char *line, size_t len, bool is_first)
{
	struct hbus_journal_record record;
	json_t *json;
	int r = 0;

	errno = 0;
	json = json_loadb(line, len, 0, NULL);
	/* A line that was cut costs only itself; one that there is no memory for would be lost for good. The parser may even
	 * return an object that lacks what it had no memory for. */
	if (errno == ENOMEM) {
		json_decref(json);
		return -ENOMEM;
	}
	if (is_first)
		r = json && read_head(journal, json) ? 0 : -EBADMSG;
	else if (json && hbus_journal_from_json(json, &record))
		r = remember(journal, &record);
	json_decref(json);
	return r;
}

static int read_file(struct hbus_journal *journal, FILE *file)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t len;
	int r = 0;
	bool is_first = true;

	while (r == 0 && (len = getline(&line, &room, file)) > 0) {
		r = read_line(journal, line, (size_t)len, is_first);
		is_first = false;
	}
	if (r == 0 && !feof(file))
		r = errno ? -errno : -EIO;
	free(line);
	return r;
}

static int read_old(struct hbus_journal *journal, struct hbus_config_error *error)
{
	FILE *file = fopen(journal->path, "re");
	int r;

	if (!file && errno == ENOENT)
		return 0;
	r = file ? read_file(journal, file) : -errno;
	if (file)
		fclose(file);
	if (r == -EBADMSG) {
		/* Never overwrite what is not ours, or comes from a later version. */
		snprintf(error->text, sizeof(error->text),
			 "%.400s is not a journal of this version: move it away", journal->path);
	} else if (r < 0) {
		snprintf(error->text, sizeof(error->text), "cannot read %.400s: %s", journal->path,
			 strerror(-r));
	}
	return r;
}

int hbus_journal_open(const char *dir, struct hbus_journal **ret_journal,
		      struct hbus_journal_head *ret_head, struct hbus_config_error *ret_error)
{
	struct hbus_journal *journal = calloc(1, sizeof(*journal));
	int r;

	if (!journal)
		return -ENOMEM;
	journal->fd = -1;
	hbus_text_copy(journal->dir, sizeof(journal->dir), dir);
	snprintf(journal->path, sizeof(journal->path), "%.4000s/journal.jsonl", dir);
	read_machine_boot(journal->machine_boot, sizeof(journal->machine_boot));
	journal->head.is_new = true;
	if (getrandom(&journal->head.bus_id, sizeof(journal->head.bus_id), 0) < 0)
		journal->head.bus_id = (uint64_t)getpid();
	/* Members of a bus whose journal is lost hold rings by their ids: the new ones must not be the same. */
	journal->head.boot_number = (uint32_t)(journal->head.bus_id >> 44) | 1;
	r = read_old(journal, ret_error);
	if (r < 0) {
		hbus_journal_free(journal);
		return r;
	}
	*ret_head = journal->head;
	*ret_journal = journal;
	return 0;
}

int hbus_journal_replay(struct hbus_journal *journal,
			bool (*restore)(struct hbus_state *state,
					const struct hbus_journal_record *record),
			struct hbus_state *state)
{
	int r = 0;

	for (size_t i = 0; i < journal->n_records && r == 0; i++) {
		const struct hbus_journal_record *record = &journal->records[i];
		bool is_of_processes = record->kind == HBUS_RECORD_MEMBER ||
				       record->kind == HBUS_RECORD_RING ||
				       record->kind == HBUS_RECORD_RING_TOPIC ||
				       (record->kind == HBUS_RECORD_TOPIC && !record->flags);

		errno = 0;
		if ((journal->head.is_same_boot || !is_of_processes) && !restore(state, record) && errno == ENOMEM)
			r = -ENOMEM;
	}
	free(journal->records);
	journal->records = NULL;
	journal->n_records = journal->n_room = 0;
	return r;
}

/* ---- writing ---- */

static int write_line(int fd, json_t *json)
{
	char line[LINE_MAX_BYTES];
	size_t len = json ? json_dumpb(json, line, sizeof(line) - 1, JSON_COMPACT) : 0;
	ssize_t n;

	json_decref(json);
	if (len == 0)
		return -ENOMEM;
	if (len >= sizeof(line))
		return -EMSGSIZE;
	line[len++] = '\n';
	n = write(fd, line, len);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -ENOSPC;
}

static int write_head(const struct hbus_journal *journal, int fd)
{
	char bus[17];

	snprintf(bus, sizeof(bus), "%016llx", (unsigned long long)journal->head.bus_id);
	return write_line(fd, json_pack("{s:i, s:s, s:I, s:s}", "hugebus_journal", JOURNAL_VERSION,
					"bus_id", bus, "boot_number",
					(json_int_t)journal->head.boot_number, "machine_boot",
					journal->machine_boot));
}

struct writer {
	int fd;
	int status;
	size_t n_lines;
};

static void write_record(void *context, const struct hbus_journal_record *record)
{
	struct writer *writer = context;

	if (writer->status == 0)
		writer->status = write_line(writer->fd, hbus_journal_to_json(record));
	writer->n_lines++;
}

static void sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

int hbus_journal_rewrite(struct hbus_journal *journal, struct hbus_state *state)
{
	char fresh[PATH_MAX + 8];
	struct writer writer = { .fd = -1 };

	snprintf(fresh, sizeof(fresh), "%s.new", journal->path);
	writer.fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
			 0600);
	if (writer.fd < 0)
		return -errno;
	writer.status = write_head(journal, writer.fd);
	if (writer.status == 0)
		hbus_state_save(state, write_record, &writer);
	if (writer.status == 0 && fdatasync(writer.fd) < 0)
		writer.status = -errno;
	if (writer.status == 0 && rename(fresh, journal->path) < 0)
		writer.status = -errno;
	if (writer.status < 0) {
		close(writer.fd);
		unlink(fresh);
		return writer.status;
	}
	sync_dir(journal->dir);
	if (journal->fd >= 0)
		close(journal->fd);
	journal->fd = writer.fd;
	journal->n_lines = journal->n_lines_fresh = writer.n_lines;
	return 0;
}

int hbus_journal_append(struct hbus_journal *journal, const struct hbus_journal_record *record)
{
	int r;

	if (journal->fd < 0)
		return 0;
	journal->n_lines++;
	r = write_line(journal->fd, hbus_journal_to_json(record));
	/* What people declared shall survive a loss of power too; they can wait for the disk. */
	if (r == 0 && (record->kind >= HBUS_RECORD_ROUTE ||
		       (record->kind == HBUS_RECORD_TOPIC && record->flags)) &&
	    fdatasync(journal->fd) < 0)
		r = -errno;
	if (r < 0)
		journal->n_lines += LINES_MIN * 4; /* soon rewritten */
	return r;
}

bool hbus_journal_is_long(const struct hbus_journal *journal)
{
	return journal->n_lines > LINES_MIN && journal->n_lines > journal->n_lines_fresh * 4;
}

struct hbus_journal *hbus_journal_free(struct hbus_journal *journal)
{
	if (!journal)
		return NULL;
	if (journal->fd >= 0)
		close(journal->fd);
	free(journal->records);
	free(journal);
	return NULL;
}
