/* SPDX-License-Identifier: BSD-3-Clause */
/* Clients that send anything, take everything or read nothing: the others are served as before. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <dirent.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "bus.h"
#include "ctl/proto/wire.h"
#include "raw.h"
#include "shm/layout.h"

#define UID_HOSTILE 65530
#define UID_HONEST 65531
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
#define N_TIMES_MAX 20000

struct board {
	_Atomic uint32_t is_over;
	_Atomic uint32_t n_ready;
	_Atomic uint64_t p50_us, p99_us, max_us, n_times;
	_Atomic uint64_t n_sent;
};

static struct board *board;

static void board_make(void)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(board != MAP_FAILED);
}

static uint64_t random_state = 88172645463325252ull;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static struct raw open_raw(void)
{
	struct raw raw;

	CHECK(raw_connect(&raw, bus_address));
	CHECK_EQ(raw_hello(&raw), 0);
	return raw;
}

static void may_open_files(rlim_t n)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < n)
		bus_skip("the limit of descriptors is too low");
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* -- what the daemon holds -- */

/* Without the counters that it keeps of clients that are gone: at most HBUS_COUNTER_SETS_MAX. */
static int daemon_fds(void)
{
	char path[400], to[256];
	struct dirent *entry;
	DIR *dir;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", bus_daemon_pid());
	dir = opendir(path);
	CHECK(dir);
	while ((entry = readdir(dir))) {
		ssize_t size;

		snprintf(path, sizeof(path), "/proc/%d/fd/%s", bus_daemon_pid(), entry->d_name);
		size = readlink(path, to, sizeof(to) - 1);
		to[size > 0 ? size : 0] = '\0';
		n += strncmp(to, "/memfd:counters", 15) != 0;
	}
	closedir(dir);
	return n;
}

/* After this its lasting descriptors are there. */
static int fds_at_rest(void)
{
	struct hbus *bus = bus_open();

	OK(hbus_topic_declare(bus, "rest", NULL, NULL));
	hbus_close(bus);
	bus_sleep_ms(50);
	return daemon_fds();
}

static long daemon_kib(void)
{
	char path[64], line[256];
	long kib = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", bus_daemon_pid());
	file = fopen(path, "r");
	CHECK(file);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "VmRSS: %ld", &kib);
	fclose(file);
	return kib;
}

static void expect_fds_back_at(int wanted)
{
	uint64_t until_ms = bus_now_ms() + 8000;

	while (daemon_fds() > wanted && bus_now_ms() < until_ms)
		bus_sleep_ms(20);
	if (daemon_fds() > wanted) {
		char command[128];

		snprintf(command, sizeof(command), "ls -l /proc/%d/fd | awk '{print $11,$12}' | sed 's/[0-9]*//g' | sort | uniq -c",
			 bus_daemon_pid());
		(void)!system(command);
	}
	CHECK(daemon_fds() <= wanted);
}

/* -- how long others wait -- */

static int compare_times(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void measure_round_trips(void *context)
{
	static uint32_t times[N_TIMES_MAX];
	struct hbus_msg_list msg = {.kind = HBUS_LIST_DAEMON};
	struct raw raw = open_raw();
	size_t n = 0;

	(void)context;
	board->n_ready++;
	while (!board->is_over && n < N_TIMES_MAX) {
		uint64_t begin_us = now_us();

		CHECK_EQ(raw_send(&raw, &msg, HBUS_MSG_LIST, sizeof(msg), NULL, 0), 0);
		if (!raw_reply(&raw)) {
			printf("# no reply within %llu ms, the connection %s\n", (unsigned long long)(now_us() - begin_us) / 1000,
			       raw_is_ended(&raw) ? "has ended" : "lives");
			CHECK(false);
		}
		times[n++] = (uint32_t)(now_us() - begin_us);
		usleep(500);
	}
	qsort(times, n, sizeof(times[0]), compare_times);
	board->n_times = n;
	board->p50_us = times[n / 2];
	board->p99_us = times[n * 99 / 100];
	board->max_us = times[n - 1];
}

/* Others' round trips while @attack runs as another user. */
static void expect_others_are_served_during(void (*attack)(void *), uint64_t p99_max_us)
{
	pid_t honest, hostile;

	bus_needs_root();
	bus_daemon_configure("", 0);
	board_make();
	honest = bus_fork_as(UID_HONEST, measure_round_trips, NULL);
	while (board->n_ready < 1)
		bus_sleep_ms(1);
	may_open_files(4096);
	hostile = bus_fork_as(UID_HOSTILE, attack, NULL);
	bus_join(hostile);
	board->is_over = 1;
	bus_join(honest);
	printf("# others' round trips: p50 %llu us, p99 %llu us, longest %llu us, of %llu\n",
	       (unsigned long long)board->p50_us, (unsigned long long)board->p99_us, (unsigned long long)board->max_us,
	       (unsigned long long)board->n_times);
	CHECK(board->n_times > 50);
	CHECK(board->p99_us < p99_max_us);
}

/* Sends @frame on all sockets as often as they take it, for a while, and reads nothing. */
static void flood(struct raw *raws, int n_raws, void *frame, enum hbus_msg_type type, size_t size, unsigned int for_ms)
{
	uint64_t until_ms = bus_now_ms() + for_ms;

	for (int i = 0; i < n_raws; i++)
		fcntl(raws[i].socket, F_SETFL, O_NONBLOCK);
	while (bus_now_ms() < until_ms)
		for (int i = 0; i < n_raws; i++) {
			int r = 0;

			for (int j = 0; j < 64 && r == 0; j++)
				r = raw_send(&raws[i], frame, type, size, NULL, 0);
		}
}

#define N_FLOODS 200

static struct raw flooding[N_FLOODS];

static void never_read(void *context)
{
	struct hbus_msg_list msg = {.kind = HBUS_LIST_DAEMON};

	(void)context;
	for (int i = 0; i < N_FLOODS; i++)
		flooding[i] = open_raw();
	flood(flooding, N_FLOODS, &msg, HBUS_MSG_LIST, sizeof(msg), 1500);
}

static void who_never_reads_delays_nobody(void)
{
	expect_others_are_served_during(never_read, 100000);
}

static void answer_what_was_not_asked(void *context)
{
	struct hbus_msg_gate msg = {.ring_id = 1, .gate_id = 2};

	(void)context;
	for (int i = 0; i < N_FLOODS; i++)
		flooding[i] = open_raw();
	flood(flooding, N_FLOODS, &msg, HBUS_MSG_GATE_ADDED, sizeof(msg), 1500);
}

static void answers_that_nobody_asked_for_delay_nobody(void)
{
	expect_others_are_served_during(answer_what_was_not_asked, 100000);
}

/* Full pages of a list, which cost the most. */
static void list_for_ever(void *context)
{
	struct hbus_msg_list list = {.kind = HBUS_LIST_TOPICS};
	struct hbus_msg_topic topic = {.flags = 0};

	(void)context;
	flooding[0] = open_raw();
	for (int i = 0; i < 1000; i++) {
		snprintf(topic.name, sizeof(topic.name), "t/%d", i);
		raw_send(&flooding[0], &topic, HBUS_MSG_TOPIC_DECLARE, sizeof(topic), NULL, 0);
		CHECK_EQ(raw_reply(&flooding[0])->status, 0);
	}
	for (int i = 1; i < N_FLOODS; i++)
		flooding[i] = open_raw();
	flood(flooding, N_FLOODS, &list, HBUS_MSG_LIST, sizeof(list), 1500);
}

static void long_lists_delay_nobody(void)
{
	expect_others_are_served_during(list_for_ever, 100000);
}

static void connect_for_ever(void *context)
{
	uint64_t until_ms = bus_now_ms() + 1500, n = 0;

	(void)context;
	while (bus_now_ms() < until_ms) {
		static struct raw raws[64];

		for (int i = 0; i < 64; i++)
			raw_connect(&raws[i], bus_address);
		for (int i = 0; i < 64; i++)
			close(raws[i].socket);
		n += 64;
	}
	printf("# %llu connections\n", (unsigned long long)n);
}

static void who_connects_for_ever_delays_nobody(void)
{
	expect_others_are_served_during(connect_for_ever, 100000);
}

/* -- anything at all -- */

/* Of each kind that the kernel has for everybody; -1 where it has not. */
static int special_fd(void)
{
	sigset_t none;

	sigemptyset(&none);
	switch (next_random() % 12) {
	case 0:
		return eventfd((unsigned int)next_random() % 3, EFD_CLOEXEC);
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

	switch (next_random() % 10) {
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
		CHECK_EQ(ftruncate(fd, (off_t)(next_random() % 3 ? 64 * 128 : next_random() % 100000)), 0);
		if (next_random() % 2)
			(void)!fallocate(fd, 0, 0, 64 * 128);
		if (next_random() % 4)
			fcntl(fd, F_ADD_SEALS, next_random() % 2 ? SEALS : (int)(next_random() & 0x1f));
		return fd;
	}
}

/* Small numbers that mean something, and large ones. */
static uint64_t some_number(void)
{
	switch (next_random() % 8) {
	case 0:
		return UINT64_MAX;
	case 1:
		return 1ull << (next_random() % 64);
	case 2:
		return next_random();
	case 3:
		return 0;
	case 4:
		return 65536;
	default:
		return next_random() % 5;
	}
}

static void put_topic(union hbus_msg *msg)
{
	static const char *const names[] = {"a", "a/b", "#", "+/b", "", "$SYS", "a//b", "a/#", "/", "\xff\xfe", "a/#/b"};
	const char *name = names[next_random() % 11];

	switch (msg->header.type) {
	case HBUS_MSG_TOPIC_DECLARE:
	case HBUS_MSG_TOPIC_REMOVE:
		snprintf(msg->topic.name, sizeof(msg->topic.name), "%s", name);
		break;
	case HBUS_MSG_RING_CREATE:
		snprintf(msg->ring_create.first_topic, sizeof(msg->ring_create.first_topic), "%s", name);
		msg->ring_create.capacity = next_random() % 4 ? 65536 : some_number();
		msg->ring_create.flags = (uint32_t)next_random() % 8;
		break;
	case HBUS_MSG_RING_TOPIC_ADD:
		snprintf(msg->ring_topic_add.name, sizeof(msg->ring_topic_add.name), "%s", name);
		break;
	case HBUS_MSG_SUB_FILTER_ADD:
	case HBUS_MSG_SUB_FILTER_REMOVE:
		msg->sub_filter.sub_id = (uint32_t)next_random() % 4;
		snprintf(msg->sub_filter.filter, sizeof(msg->sub_filter.filter), "%s", name);
		break;
	case HBUS_MSG_SUB_OPEN:
		msg->sub_open.sub_id = (uint32_t)next_random() % 4;
		break;
	case HBUS_MSG_SUB_SLOTS:
		msg->sub_slots = (struct hbus_msg_sub_slots){msg->header, (uint32_t)next_random() % 4,
							      (uint32_t)next_random() % 3, 64, 0};
		break;
	case HBUS_MSG_HELLO:
		msg->hello.major = HBUS_PROTO_MAJOR;
		break;
	case HBUS_MSG_ROUTE_ADD:
	case HBUS_MSG_ROUTE_REMOVE:
		snprintf(msg->route.route.topic, sizeof(msg->route.route.topic), "%s", name);
		msg->route.route.family = 4;
		msg->route.route.kind = (uint32_t)next_random() % 4;
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
			known_ids[next_random() % 8] = ((const struct hbus_msg_ring_grant *)(const void *)header)->geometry.ring_id;
		if (header->type == HBUS_MSG_RING_OPENED)
			known_ids[next_random() % 8] = ((const struct hbus_msg_ring_opened *)(const void *)header)->geometry.ring_id;
		if (header->type == HBUS_MSG_GATE_ADD)
			known_ids[next_random() % 8] = ((const struct hbus_msg_gate_add *)(const void *)header)->gate_id;
	}
}

/* A message that is nearly right; false: the connection is of no more use. */
static bool send_something(struct raw *raw)
{
	static const uint8_t types[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 32, 33, 34};
	union hbus_msg msg = {.header = {0}};
	unsigned int type = types[next_random() % sizeof(types)];
	int fds[RAW_FDS_MAX];
	size_t size, n_fds = 0;
	int r;

	if (next_random() % 64 == 0)
		type = (unsigned int)next_random() % 90;
	hbus_wire_init(&msg, (enum hbus_msg_type)type, (uint32_t)some_number() + 1);
	size = hbus_wire_size(type);
	if (size >= 32 && next_random() % 3)
		memcpy(msg.bytes + 16, &(uint64_t){next_random() % 2 ? known_ids[next_random() % 8] : some_number()}, 8);
	if (size >= 40 && next_random() % 2)
		memcpy(msg.bytes + 24, &(uint64_t){next_random() % 4}, 8);
	put_topic(&msg);
	if (type == HBUS_MSG_RING_OFFER)
		n_fds = 2;
	if (type == HBUS_MSG_SUB_SLOTS || type == HBUS_MSG_COUNTERS_OFFER)
		n_fds = 1;
	if (next_random() % 256 == 0)
		n_fds = next_random() % 8 ? next_random() % 5 : RAW_FDS_MAX;
	for (size_t i = 0; i < n_fds; i++)
		fds[i] = n_fds > 8 ? dup(0) : junk_fd(raw, type);
	msg.header.n_fds = (uint32_t)n_fds;
	if (size > 0 && next_random() % 64 == 0)
		msg.bytes[next_random() % size] = (unsigned char)next_random();
	if (next_random() % 256 == 0)
		size = next_random() % (sizeof(msg.bytes) + 1);
	r = raw_send_bytes(raw, msg.bytes, size ? size : 8, fds, n_fds);
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]);
	return r == 0 || r == -EAGAIN;
}

static void send_anything(void *context)
{
	uint64_t until_ms = bus_now_ms() + 2500, seed = *(const uint64_t *)context;
	struct raw raws[8];

	random_state = seed;
	for (int i = 0; i < 8; i++)
		raws[i].socket = -1;
	for (int i = 0; i < 120000 && bus_now_ms() < until_ms; i++) {
		struct raw *raw = &raws[next_random() % 8];

		if (raw->socket < 0) {
			if (!raw_connect(raw, bus_address))
				continue;
			fcntl(raw->socket, F_SETFL, O_NONBLOCK);
			if (next_random() % 16)
				raw_hello(raw);
		}
		if (!send_something(raw) || next_random() % 4096 == 0)
			raw_close(raw);
		else if (next_random() % 16)
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
	board_make();
	fds_before = fds_at_rest();
	/* The memory of one round is what the allocator keeps; a second one must not add to it. */
	for (int round = 0; round < 2; round++) {
		kib_before = daemon_kib();
		board->is_over = 0;
		honest = bus_fork_as(UID_HONEST, use_honestly, NULL);
		for (int i = 0; i < 2; i++)
			hostile[i] = bus_fork_as(UID_HOSTILE, send_anything, &seeds[i]);
		for (int i = 0; i < 2; i++)
			bus_join(hostile[i]);
		board->is_over = 1;
		bus_join(honest);
		expect_fds_back_at(fds_before);
	}
	printf("# %llu messages, memory %ld -> %ld KiB in the second round\n", (unsigned long long)board->n_sent, kib_before,
	       daemon_kib());
	CHECK(board->n_sent > 20000);
	CHECK(daemon_kib() < kib_before + 4096);
}

/* -- no descriptors are left -- */

static void take_all_connections(void *context)
{
	static struct raw raws[300];

	(void)context;
	for (int i = 0; i < 300; i++)
		if (raw_connect(&raws[i], bus_address))
			raw_hello(&raws[i]);
	board->n_ready++;
	while (!board->is_over)
		bus_sleep_ms(5);
}

static void existing_clients_work_when_no_descriptor_is_left(void)
{
	struct hbus *bus, *other = NULL;
	struct hbus_publisher *publisher;
	struct hbus_subscriber *sub;
	uint64_t numbers[100];
	hbus_topic_t topic;
	int fds_before, r;
	pid_t hostile;

	bus_needs_root();
	board_make();
	bus_daemon_configure("", 64);
	fds_before = fds_at_rest();
	bus = bus_open();
	publisher = bus_publisher(bus, 65536, 0, 1000);
	OK(hbus_publisher_topic(publisher, "t", NULL, NULL, &topic));
	sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "t");
	hostile = bus_fork_as(UID_HOSTILE, take_all_connections, NULL);
	while (board->n_ready < 1)
		bus_sleep_ms(1);
	for (int round = 0; round < 20; round++) {
		struct hbus_subscriber *late;
		char name[16];

		snprintf(name, sizeof(name), "t/%d", round);
		OK(hbus_publisher_topic(publisher, name, NULL, NULL, &topic));
		late = bus_subscriber(bus, 0, HBUS_START_LATEST, name); /* sends and receives descriptors */
		for (uint64_t i = 0; i < 100; i++) {
			unsigned char payload[16];

			bus_fill(payload, sizeof(payload), i);
			OK(hbus_publish(publisher, topic, payload, sizeof(payload)));
		}
		CHECK_EQ(bus_collect(late, numbers, 100, 2000), 100);
		hbus_subscriber_close(late);
	}
	CHECK_EQ(hbus_is_connected(bus), 1);
	/* Who comes now is told why not, if there is nothing for him. */
	r = hbus_open(bus_address, &(struct hbus_options){.struct_size = sizeof(struct hbus_options), .connect_timeout_ms = 200},
		      &other);
	if (r == 0)
		hbus_close(other);
	else
		CHECK(r == HBUS_E_QUOTA || r == HBUS_E_LIMIT || r == HBUS_E_DISCONNECTED);
	board->is_over = 1;
	bus_join(hostile);
	bus_sleep_ms(100);
	OK(hbus_open(bus_address, NULL, &other));
	hbus_close(other);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
	expect_fds_back_at(fds_before);
}

/* -- versions -- */

static void another_major_version_is_refused_clearly(void)
{
	struct hbus_msg_hello hello = {.major = HBUS_PROTO_MAJOR + 1, .name = "new"};
	const struct hbus_msg_reply *reply;
	struct raw raw;

	CHECK(raw_connect(&raw, bus_address));
	raw_send(&raw, &hello, HBUS_MSG_HELLO, sizeof(hello), NULL, 0);
	reply = raw_reply(&raw);
	CHECK(reply);
	CHECK_EQ(reply->status, HBUS_E_VERSION);
	CHECK(strlen(reply->text) > 10);
	raw_close(&raw);
	/* A later minor one is spoken down to. */
	CHECK(raw_connect(&raw, bus_address));
	hello.major = HBUS_PROTO_MAJOR;
	hello.minor = 99;
	raw_send(&raw, &hello, HBUS_MSG_HELLO, sizeof(hello), NULL, 0);
	reply = raw_reply(&raw);
	CHECK(reply && reply->status == 0);
	CHECK_EQ(reply->minor, HBUS_PROTO_MINOR);
	raw_close(&raw);
}

/* A daemon of another version, by hand: @status to HELLO, then rings of another layout. */
static void serve_other_version(const char *path, int status)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct raw raw = {.socket = -1};
	const struct hbus_msg_header *header;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	CHECK_EQ(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_EQ(listen(listener, 4), 0);
	board->n_ready++;
	raw.socket = accept(listener, NULL, NULL);
	while ((header = raw_next(&raw, 5000))) {
		struct hbus_msg_reply reply;
		struct hbus_msg_ring_grant granted;
		int fds[2];

		if (header->type == HBUS_MSG_RING_CREATE) {
			hbus_wire_init(&granted, HBUS_MSG_RING_GRANT, header->serial);
			granted.geometry = (struct hbus_wire_geometry){7, 65536, 0, HBUS_LAYOUT_VERSION + 1, 1, 0, 0};
			fds[0] = memfd_create("h", 0);
			fds[1] = memfd_create("d", 0);
			granted.header.n_fds = 2;
			raw_send_bytes(&raw, &granted, sizeof(granted), fds, 2);
			close(fds[0]);
			close(fds[1]);
			continue;
		}
		hbus_wire_init(&reply, HBUS_MSG_REPLY, header->serial);
		reply.request_type = header->type;
		if (header->type == HBUS_MSG_HELLO) {
			reply.status = status;
			snprintf(reply.text, sizeof(reply.text), "%s", status ? "this daemon speaks version 2" : "");
		}
		raw_send_bytes(&raw, &reply, sizeof(reply), NULL, 0);
	}
}

static char other_path[100];

static void serve_refusal(void *context)
{
	serve_other_version(other_path, context ? HBUS_E_VERSION : 0);
}

static void the_library_says_so_when_versions_differ(void)
{
	struct hbus_publisher *publisher;
	struct hbus *bus = NULL;
	hbus_topic_t topic;
	pid_t pid;
	int r;

	board_make();
	snprintf(other_path, sizeof(other_path), "%.80s.other", bus_address);
	pid = bus_fork(serve_refusal, "");
	while (board->n_ready < 1)
		bus_sleep_ms(1);
	CHECK_EQ(hbus_open(other_path, NULL, &bus), HBUS_E_VERSION);
	CHECK(strstr(hbus_error_text(), "version 2"));
	kill(pid, SIGKILL);
	unlink(other_path);
	pid = bus_fork(serve_refusal, NULL);
	while (board->n_ready < 2)
		bus_sleep_ms(1);
	OK(hbus_open(other_path, NULL, &bus));
	publisher = bus_publisher(bus, 65536, 0, 0);
	r = hbus_publisher_topic(publisher, "t", NULL, NULL, &topic);
	CHECK_EQ(r, HBUS_E_VERSION);
	CHECK(strlen(hbus_error_text()) > 10);
	hbus_publisher_close(publisher);
	hbus_close(bus);
	kill(pid, SIGKILL);
}

static const struct bus_case cases[] = {
	{"who_never_reads_delays_nobody", who_never_reads_delays_nobody},
	{"answers_that_nobody_asked_for_delay_nobody", answers_that_nobody_asked_for_delay_nobody},
	{"long_lists_delay_nobody", long_lists_delay_nobody},
	{"who_connects_for_ever_delays_nobody", who_connects_for_ever_delays_nobody},
	{"whatever_is_sent_the_daemon_lives_and_forgets", whatever_is_sent_the_daemon_lives_and_forgets},
	{"existing_clients_work_when_no_descriptor_is_left", existing_clients_work_when_no_descriptor_is_left},
	{"another_major_version_is_refused_clearly", another_major_version_is_refused_clearly},
	{"the_library_says_so_when_versions_differ", the_library_says_so_when_versions_differ},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
