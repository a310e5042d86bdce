/* SPDX-License-Identifier: BSD-3-Clause */
/* Clients that send anything at all, with descriptors of every kind: the daemon lives, forgets them and serves the others. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "bus.h"
#include "ctl/proto/wire.h"
#include "holds.h"
#include "raw.h"
#include "tests/unit/random.h"

#define UID_HOSTILE 65530
#define UID_HONEST 65531
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

struct board {
	_Atomic uint32_t is_over;
	_Atomic uint64_t n_sent;
};

static struct board *board;
static struct test_random dice;

/* Of each kind that the kernel has for everybody; -1 where it has not. */
static int special_fd(void)
{
	sigset_t none;

	sigemptyset(&none);
	switch (test_random_next(&dice) % 12) {
	case 0:
		return eventfd((unsigned int)test_random_next(&dice) % 3, EFD_CLOEXEC);
	case 1:
		return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	case 2:
		return signalfd(-1, &none, SFD_CLOEXEC);
	case 3:
		return epoll_create1(EPOLL_CLOEXEC);
	case 4:
		return inotify_init1(IN_CLOEXEC);
	case 5:
		return (int)syscall(SYS_pidfd_open, getpid(), 0);
	case 6:
		return open("/", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	case 7:
		return open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	case 8:
		return open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	case 9:
		return memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
	case 10: /* may only be read */
		return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	default:
		return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	}
}

static int junk_fd(const struct raw *raw, unsigned int type)
{
	int fd, pipe_fds[2];

	switch (test_random_next(&dice) % 10) {
	case 8: /* the connection itself, to whoever reads from it */
		return fcntl(raw->socket, F_DUPFD_CLOEXEC, 0);
	case 9:
		fd = special_fd();
		return fd >= 0 ? fd : open("/dev/zero", O_RDWR | O_CLOEXEC);
	case 0:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case 1:
		return open("/proc/self/exe", O_PATH | O_CLOEXEC);
	case 2:
		CHECK_EQ(pipe(pipe_fds), 0);
		close(pipe_fds[1]);
		return pipe_fds[0];
	case 3:
		return open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	case 4:
		return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	default:
		fd = memfd_create(type == HBUS_MSG_COUNTERS_OFFER ? "counters" : "junk", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		CHECK_EQ(ftruncate(fd, (off_t)(test_random_next(&dice) % 3 ? 64 * 128 : test_random_next(&dice) % 100000)), 0);
		if (test_random_next(&dice) % 2)
			(void)!fallocate(fd, 0, 0, 64 * 128);
		if (test_random_next(&dice) % 4)
			fcntl(fd, F_ADD_SEALS, test_random_next(&dice) % 2 ? SEALS : (int)(test_random_next(&dice) & 0x1f));
		return fd;
	}
}

/* Small numbers that mean something, and large ones. */
static uint64_t some_number(void)
{
	switch (test_random_next(&dice) % 8) {
	case 0:
		return UINT64_MAX;
	case 1:
		return 1ull << (test_random_next(&dice) % 64);
	case 2:
		return test_random_next(&dice);
	case 3:
		return 0;
	case 4:
		return 65536;
	default:
		return test_random_next(&dice) % 5;
	}
}

static void put_topic(union hbus_msg *msg)
{
	static const char *const names[] = {"a", "a/b", "#", "+/b", "", "$SYS", "a//b", "a/#", "/", "\xff\xfe", "a/#/b"};
	const char *name = names[test_random_next(&dice) % 11];

	switch (msg->header.type) {
	case HBUS_MSG_TOPIC_DECLARE:
	case HBUS_MSG_TOPIC_REMOVE:
		snprintf(msg->topic.name, sizeof(msg->topic.name), "%s", name);
		break;
	case HBUS_MSG_RING_CREATE:
		snprintf(msg->ring_create.first_topic, sizeof(msg->ring_create.first_topic), "%s", name);
		msg->ring_create.capacity = test_random_next(&dice) % 4 ? 65536 : some_number();
		msg->ring_create.flags = (uint32_t)test_random_next(&dice) % 8;
		break;
	case HBUS_MSG_RING_TOPIC_ADD:
		snprintf(msg->ring_topic_add.name, sizeof(msg->ring_topic_add.name), "%s", name);
		break;
	case HBUS_MSG_SUB_FILTER_ADD:
	case HBUS_MSG_SUB_FILTER_REMOVE:
		msg->sub_filter.sub_id = (uint32_t)test_random_next(&dice) % 4;
		snprintf(msg->sub_filter.filter, sizeof(msg->sub_filter.filter), "%s", name);
		break;
	case HBUS_MSG_SUB_OPEN:
		msg->sub_open.sub_id = (uint32_t)test_random_next(&dice) % 4;
		break;
	case HBUS_MSG_SUB_SLOTS:
		msg->sub_slots = (struct hbus_msg_sub_slots){msg->header, (uint32_t)test_random_next(&dice) % 4,
							      (uint32_t)test_random_next(&dice) % 3, 64, 0};
		break;
	case HBUS_MSG_HELLO:
		msg->hello.major = HBUS_PROTO_MAJOR;
		break;
	case HBUS_MSG_ROUTE_ADD:
	case HBUS_MSG_ROUTE_REMOVE:
		snprintf(msg->route.route.topic, sizeof(msg->route.route.topic), "%s", name);
		msg->route.route.family = 4;
		msg->route.route.kind = (uint32_t)test_random_next(&dice) % 4;
		break;
	default:
		break;
	}
}

/* The ids that the daemon has told this client. */
static uint64_t known_ids[8];

static void learn(struct raw *raw)
{
	const struct hbus_msg_header *header;

	while ((header = raw_next(raw, 0))) {
		if (header->type == HBUS_MSG_RING_GRANT)
			known_ids[test_random_next(&dice) % 8] = ((const struct hbus_msg_ring_grant *)(const void *)header)->geometry.ring_id;
		if (header->type == HBUS_MSG_RING_OPENED)
			known_ids[test_random_next(&dice) % 8] = ((const struct hbus_msg_ring_opened *)(const void *)header)->geometry.ring_id;
		if (header->type == HBUS_MSG_GATE_ADD)
			known_ids[test_random_next(&dice) % 8] = ((const struct hbus_msg_gate_add *)(const void *)header)->gate_id;
	}
}

/* A message that is nearly right; false: the connection is of no more use. */
static bool send_something(struct raw *raw)
{
	static const uint8_t types[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 32, 33, 34};
	union hbus_msg msg = {.header = {0}};
	unsigned int type = types[test_random_next(&dice) % sizeof(types)];
	int fds[RAW_FDS_MAX];
	size_t size, n_fds = 0;
	int r;

	if (test_random_next(&dice) % 64 == 0)
		type = (unsigned int)test_random_next(&dice) % 90;
	hbus_wire_init(&msg, (enum hbus_msg_type)type, (uint32_t)some_number() + 1);
	size = hbus_wire_size(type);
	if (size >= 32 && test_random_next(&dice) % 3)
		memcpy(msg.bytes + 16, &(uint64_t){test_random_next(&dice) % 2 ? known_ids[test_random_next(&dice) % 8] : some_number()}, 8);
	if (size >= 40 && test_random_next(&dice) % 2)
		memcpy(msg.bytes + 24, &(uint64_t){test_random_next(&dice) % 4}, 8);
	put_topic(&msg);
	if (type == HBUS_MSG_RING_OFFER)
		n_fds = 2;
	if (type == HBUS_MSG_SUB_SLOTS || type == HBUS_MSG_COUNTERS_OFFER)
		n_fds = 1;
	if (test_random_next(&dice) % 256 == 0)
		n_fds = test_random_next(&dice) % 8 ? test_random_next(&dice) % 5 : RAW_FDS_MAX;
	for (size_t i = 0; i < n_fds; i++)
		fds[i] = n_fds > 8 ? dup(0) : junk_fd(raw, type);
	msg.header.n_fds = (uint32_t)n_fds;
	if (size > 0 && test_random_next(&dice) % 64 == 0)
		msg.bytes[test_random_next(&dice) % size] = (unsigned char)test_random_next(&dice);
	if (test_random_next(&dice) % 256 == 0)
		size = test_random_next(&dice) % (sizeof(msg.bytes) + 1);
	r = raw_send_bytes(raw, msg.bytes, size ? size : 8, fds, n_fds);
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]);
	return r == 0 || r == -EAGAIN;
}

static void send_anything(void *context)
{
	uint64_t until_ms = bus_now_ms() + 2500, seed = *(const uint64_t *)context;
	struct raw raws[8];

	dice.state = seed;
	for (int i = 0; i < 8; i++)
		raws[i].socket = -1;
	for (int i = 0; i < 120000 && bus_now_ms() < until_ms; i++) {
		struct raw *raw = &raws[test_random_next(&dice) % 8];

		if (raw->socket < 0) {
			if (!raw_connect(raw, bus_address))
				continue;
			fcntl(raw->socket, F_SETFL, O_NONBLOCK);
			if (test_random_next(&dice) % 16)
				raw_hello(raw);
		}
		if (!send_something(raw) || test_random_next(&dice) % 4096 == 0)
			raw_close(raw);
		else if (test_random_next(&dice) % 16)
			learn(raw);
		board->n_sent++;
	}
}

/* Honest use by the side: everything arrives. */
static void use_honestly(void *context)
{
	struct hbus *bus = bus_open();
	uint64_t n = 0, numbers[64];

	(void)context;
	while (!board->is_over) {
		struct hbus_publisher *publisher = bus_publisher(bus, 65536, 0, 1000);
		struct hbus_subscriber *sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "honest");
		hbus_topic_t topic;

		OK(hbus_publisher_topic(publisher, "honest", NULL, NULL, &topic));
		for (uint64_t i = 0; i < 50; i++) {
			unsigned char payload[32];

			bus_fill(payload, sizeof(payload), i);
			OK(hbus_publish(publisher, topic, payload, sizeof(payload)));
		}
		CHECK_EQ(bus_collect(sub, numbers, 50, 2000), 50);
		hbus_subscriber_close(sub);
		hbus_publisher_close(publisher);
		n++;
	}
	printf("# honest rounds by the side: %llu\n", (unsigned long long)n);
	CHECK(n > 5);
	hbus_close(bus);
}

static void whatever_is_sent_the_daemon_lives_and_forgets(void)
{
	const char *forced = getenv("HBUS_SEED");
	uint64_t seeds[2] = {forced ? strtoull(forced, NULL, 0) : 20261120, 4711};
	pid_t hostile[2], honest;
	long kib_before;
	int fds_before;

	bus_needs_root();
	bus_daemon_configure("quotas = { each = { requests_per_s = 1000000; request_burst = 1000000; }; };", 0);
	board = bus_shared(sizeof(*board));
	fds_before = holds_fds_at_rest();
	/* The memory of one round is what the allocator keeps; a second one must not add to it. */
	for (int round = 0; round < 2; round++) {
		kib_before = holds_kib();
		board->is_over = 0;
		honest = bus_fork_as(UID_HONEST, use_honestly, NULL);
		for (int i = 0; i < 2; i++)
			hostile[i] = bus_fork_as(UID_HOSTILE, send_anything, &seeds[i]);
		for (int i = 0; i < 2; i++)
			bus_join(hostile[i]);
		board->is_over = 1;
		bus_join(honest);
		holds_expect_fds_back_at(fds_before);
	}
	printf("# %llu messages, memory %ld -> %ld KiB in the second round\n", (unsigned long long)board->n_sent, kib_before,
	       holds_kib());
	CHECK(board->n_sent > 20000);
	CHECK(holds_kib() < kib_before + 4096);
}

static const struct bus_case cases[] = {
	{"whatever_is_sent_the_daemon_lives_and_forgets", whatever_is_sent_the_daemon_lives_and_forgets},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
