/* SPDX-License-Identifier: BSD-3-Clause */
/* Hostile clients harm themselves only: whatever one sends, the daemon serves the others. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <dirent.h>
#include <unistd.h>

#include "bus.h"
#include "raw.h"
#include "shm/layout.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

static pid_t daemon_pid(void)
{
	struct raw raw = raw_open();
	struct hbus_msg_list msg = { .kind = HBUS_LIST_DAEMON };
	const struct hbus_msg_row *row;
	pid_t pid;

	raw_send(&raw, &msg, HBUS_MSG_LIST, sizeof(msg), NULL, 0);
	row = raw_wait(&raw, HBUS_MSG_ROW);
	CHECK(row);
	pid = (pid_t)row->value[0];
	raw_close(&raw);
	return pid;
}

/* Open descriptors of the daemon; -1: this user may not look. */
static int daemon_fds(pid_t pid)
{
	char path[64];
	DIR *dir;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir)
		return -1;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Until the daemon has closed what it was going to close. */
static int settled_fds(pid_t pid, int wanted)
{
	for (int i = 0; i < 200 && daemon_fds(pid) != wanted; i++)
		bus_sleep_ms(10);
	return daemon_fds(pid);
}

/* As many as stay: the daemon closes the end of a client that has gone a moment after the client did. */
static int steady_fds(pid_t pid)
{
	int n = daemon_fds(pid);

	for (int same = 0; n >= 0 && same < 20; same++) {
		int now;

		bus_sleep_ms(10);
		now = daemon_fds(pid);
		if (now != n)
			same = 0;
		n = now;
	}
	return n;
}

/* A request that must be answered, in less than a second. */
static void others_are_served(void)
{
	uint64_t begin_ms = bus_now_ms();
	struct raw raw = raw_open();

	CHECK(bus_now_ms() - begin_ms < 1000);
	raw_close(&raw);
}

static void expect_protocol_error(const void *frame, size_t size, const int *fds, size_t n_fds)
{
	struct raw raw = raw_open();

	CHECK_EQ(raw_send_bytes(&raw, frame, size, fds, n_fds), 0);
	CHECK(raw_is_ended(&raw));
	raw_close(&raw);
}

static void garbage_ends_the_connection_that_sent_it(void)
{
	_Alignas(8) char frame[4096];
	struct hbus_msg_header *header = (void *)frame;
	uint64_t random = 88172645463325252ull;

	for (int i = 0; i < 300; i++) {
		size_t size = 1 + (size_t)i * 13 % sizeof(frame);

		for (size_t j = 0; j < sizeof(frame); j++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			frame[j] = (char)random;
		}
		if (i % 2) {
			header->magic = HBUS_PROTO_MAGIC;
			header->type = (uint16_t)(i % 90);
			header->size = (uint16_t)size;
			header->n_fds = 0;
		}
		expect_protocol_error(frame, size, NULL, 0);
	}
	others_are_served();
}

static void what_is_almost_a_message_is_refused(void)
{
	struct hbus_msg_sub_open good = {
		.header = { HBUS_PROTO_MAGIC, HBUS_MSG_SUB_OPEN, sizeof(good), 5, 0 }, .sub_id = 1 };
	struct hbus_msg_sub_open bad = good;
	struct hbus_msg_sub_filter filter = {
		.header = { HBUS_PROTO_MAGIC, HBUS_MSG_SUB_FILTER_ADD, sizeof(filter), 5, 0 } };

	bad.reserved = 1;
	expect_protocol_error(&bad, sizeof(bad), NULL, 0);
	bad = good;
	bad.header.serial = 0;
	expect_protocol_error(&bad, sizeof(bad), NULL, 0);
	bad = good;
	bad.header.n_fds = 1;
	expect_protocol_error(&bad, sizeof(bad), NULL, 0);
	bad = good;
	bad.header.size--;
	expect_protocol_error(&bad, sizeof(bad) - 1, NULL, 0);
	bad = good;
	bad.header.type = HBUS_MSG_REPLY;
	expect_protocol_error(&bad, sizeof(bad), NULL, 0);
	memset(filter.filter, 'a', sizeof(filter.filter));
	expect_protocol_error(&filter, sizeof(filter), NULL, 0);
}

static void descriptors_that_nobody_asked_for_are_closed(void)
{
	struct hbus_msg_sub_open msg = {
		.header = { HBUS_PROTO_MAGIC, HBUS_MSG_SUB_OPEN, sizeof(msg), 5, RAW_FDS_MAX } };
	pid_t pid = daemon_pid();
	int fds[RAW_FDS_MAX], before;

	others_are_served();
	before = steady_fds(pid);
	if (before < 0)
		bus_skip("only root may count the daemon's descriptors");
	for (int i = 0; i < RAW_FDS_MAX; i++)
		fds[i] = dup(0);
	for (int i = 0; i < 300; i++)
		expect_protocol_error(&msg, sizeof(msg), fds, RAW_FDS_MAX);
	expect_protocol_error("", 0, fds, RAW_FDS_MAX);
	others_are_served();
	CHECK_EQ(settled_fds(pid, before), before);
}

/* Many requests, no reading: the answers pile up until the daemon has had enough. */
static void who_never_reads_is_disconnected(void)
{
	struct hbus_msg_list msg = { .kind = HBUS_LIST_DAEMON };
	struct raw raw = raw_open();
	int r = 0;

	fcntl(raw.socket, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 2000000 && (r == 0 || r == -EAGAIN); i++) {
		r = raw_send(&raw, &msg, HBUS_MSG_LIST, sizeof(msg), NULL, 0);
		if (r == -EAGAIN)
			bus_sleep_ms(1);
		if (i % 20000 == 0)
			others_are_served();
	}
	CHECK(r == -EPIPE || r == -ECONNRESET);
	others_are_served();
}

static int slots_status(int fd, uint32_t n_slots)
{
	struct raw raw = raw_open();
	struct hbus_msg_sub_open open_msg = { .sub_id = 1 };
	struct hbus_msg_sub_slots msg = { .sub_id = 1, .n_slots = n_slots };
	int status;

	raw_send(&raw, &open_msg, HBUS_MSG_SUB_OPEN, sizeof(open_msg), NULL, 0);
	CHECK_EQ(raw_reply(&raw)->status, 0);
	raw_send(&raw, &msg, HBUS_MSG_SUB_SLOTS, sizeof(msg), &fd, 1);
	status = raw_reply(&raw)->status;
	raw_close(&raw);
	close(fd);
	return status;
}

static int new_memfd(size_t size, bool is_allocated, int seals)
{
	int fd = memfd_create("slots", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	CHECK_EQ(ftruncate(fd, (off_t)size), 0);
	if (is_allocated)
		CHECK_EQ(fallocate(fd, 0, 0, (off_t)size), 0);
	CHECK_EQ(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void slots_that_could_raise_sigbus_are_refused(void)
{
	size_t size = 64 * sizeof(struct hbus_slot);
	int pipe_fds[2];

	CHECK_EQ(slots_status(new_memfd(size, true, SEALS), 64), 0);
	CHECK_EQ(slots_status(new_memfd(size, true, SEALS & ~F_SEAL_SHRINK), 64), HBUS_E_BAD_FD);
	CHECK_EQ(slots_status(new_memfd(size, true, SEALS & ~F_SEAL_SEAL), 64), HBUS_E_BAD_FD);
	CHECK_EQ(slots_status(new_memfd(size, false, SEALS), 64), HBUS_E_BAD_FD);
	CHECK_EQ(slots_status(new_memfd(size, true, SEALS), 65), HBUS_E_BAD_FD);
	CHECK_EQ(slots_status(new_memfd(size, true, SEALS), 63), HBUS_E_BAD_FD);
	CHECK_EQ(slots_status(open("/dev/zero", O_RDWR), 64), HBUS_E_BAD_FD);
	CHECK_EQ(slots_status(open("/proc/self/exe", O_PATH), 64), HBUS_E_BAD_FD);
	CHECK_EQ(slots_status(open("/tmp", O_TMPFILE | O_RDWR, 0600), 64), HBUS_E_BAD_FD);
	CHECK_EQ(pipe(pipe_fds), 0);
	CHECK_EQ(slots_status(pipe_fds[0], 64), HBUS_E_BAD_FD);
}

static struct hbus_msg_ring_grant grant(struct raw *raw, int ret_fds[2])
{
	struct hbus_msg_ring_create msg = { .capacity = 65536, .flags = HBUS_RING_WANT_SMALL_PAGES,
					    .first_topic = "t" };
	const struct hbus_msg_ring_grant *reply;

	raw_send(raw, &msg, HBUS_MSG_RING_CREATE, sizeof(msg), NULL, 0);
	reply = raw_wait(raw, HBUS_MSG_RING_GRANT);
	CHECK(reply && raw->n_fds == 2);
	ret_fds[0] = raw->fds[0];
	ret_fds[1] = raw->fds[1];
	raw->n_fds = 0;
	return *reply;
}

static void *map_ring(int fd, size_t size)
{
	void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(base != MAP_FAILED);
	memset(base, 0, size);
	return base;
}

static int say_mapped(struct raw *raw, uint64_t ring_id)
{
	struct hbus_msg_ring msg = { .ring_id = ring_id };

	raw_send(raw, &msg, HBUS_MSG_RING_MAPPED, sizeof(msg), NULL, 0);
	return raw_reply(raw)->status;
}

static void a_ring_with_holes_is_refused(void)
{
	struct raw raw = raw_open();
	struct hbus_msg_ring_grant ring;
	int fds[2];

	ring = grant(&raw, fds); /* nothing was written */
	CHECK_EQ(say_mapped(&raw, ring.geometry.ring_id), HBUS_E_BAD_FD);
	ring = grant(&raw, fds);
	map_ring(fds[0], 4096);
	map_ring(fds[1], 65536);
	CHECK_EQ(fallocate(fds[1], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 4096), 0);
	CHECK_EQ(say_mapped(&raw, ring.geometry.ring_id), HBUS_E_BAD_FD);
	ring = grant(&raw, fds);
	map_ring(fds[0], 4096);
	map_ring(fds[1], 65536);
	CHECK_EQ(say_mapped(&raw, ring.geometry.ring_id), 0);
	CHECK(fallocate(fds[1], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 4096) < 0);
	CHECK(ftruncate(fds[1], 4096) < 0);
}

static void nobody_gets_a_writable_way_into_a_ring(void)
{
	struct raw raw = raw_open(), reader = raw_open();
	struct hbus_msg_sub_open open_msg = { .sub_id = 1 };
	struct hbus_msg_sub_slots slots = { .sub_id = 1, .n_slots = 64 };
	struct hbus_msg_sub_filter filter = { .sub_id = 1, .filter = "t" };
	int slots_fd = new_memfd(64 * 128, true, SEALS), fds[2];
	struct hbus_msg_ring_grant ring = grant(&raw, fds);
	const struct hbus_msg_ring_opened *opened;
	char path[64];

	map_ring(fds[0], 4096);
	map_ring(fds[1], 65536);
	CHECK_EQ(say_mapped(&raw, ring.geometry.ring_id), 0);
	raw_send(&reader, &open_msg, HBUS_MSG_SUB_OPEN, sizeof(open_msg), NULL, 0);
	raw_send(&reader, &slots, HBUS_MSG_SUB_SLOTS, sizeof(slots), &slots_fd, 1);
	raw_send(&reader, &filter, HBUS_MSG_SUB_FILTER_ADD, sizeof(filter), NULL, 0);
	/* The publisher never answers the gate: the reader begins without after a second. */
	opened = raw_wait(&reader, HBUS_MSG_RING_OPENED);
	CHECK(opened && opened->flags == HBUS_OPENED_NO_SLOT && reader.n_fds == 2);
	for (int i = 0; i < 2; i++) {
		int fd = reader.fds[i];
		void *base = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

		CHECK(base != MAP_FAILED);
		CHECK(mprotect(base, 4096, PROT_READ | PROT_WRITE) < 0);
		CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
		CHECK(pwrite(fd, "x", 1, 0) < 0);
		CHECK(ftruncate(fd, 0) < 0);
		CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		fd = open(path, O_RDWR); /* as root; and even so: */
		if (fd >= 0) {
			CHECK(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
			CHECK(pwrite(fd, "x", 1, 0) < 0);
		}
	}
}

static void a_thousand_clients_attach(void)
{
	static struct raw raws[1000];
	struct rlimit limit;
	uint64_t begin_ms = bus_now_ms();

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < 2500)
		bus_skip("RLIMIT_NOFILE is below 2500");
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (int i = 0; i < 1000; i++)
		raws[i] = raw_open();
	CHECK(bus_now_ms() - begin_ms < 10000);
	others_are_served();
	for (int i = 0; i < 1000; i++)
		raw_close(&raws[i]);
	others_are_served();
}

static const struct bus_case cases[] = {
	{ "garbage_ends_the_connection_that_sent_it", garbage_ends_the_connection_that_sent_it },
	{ "what_is_almost_a_message_is_refused", what_is_almost_a_message_is_refused },
	{ "descriptors_that_nobody_asked_for_are_closed", descriptors_that_nobody_asked_for_are_closed },
	{ "who_never_reads_is_disconnected", who_never_reads_is_disconnected },
	{ "slots_that_could_raise_sigbus_are_refused", slots_that_could_raise_sigbus_are_refused },
	{ "a_ring_with_holes_is_refused", a_ring_with_holes_is_refused },
	{ "nobody_gets_a_writable_way_into_a_ring", nobody_gets_a_writable_way_into_a_ring },
	{ "a_thousand_clients_attach", a_thousand_clients_attach },
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
