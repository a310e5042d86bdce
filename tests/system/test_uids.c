/* SPDX-License-Identifier: BSD-3-Clause */
/* Publishers and subscribers of different users and in different containers: what works, and what is refused. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus.h"
#include "raw.h"
#include "shm/layout.h"

#define UID_PUBLISHER 65530
#define UID_SUBSCRIBER 65531
#define UID_STRANGER 65532

#define POLICY                                                                                     \
	"policy = ( { uid = 65530; filter = \"feed/#\"; allow = [ \"publish\" ]; },\n"             \
	"           { uid = 65531; filter = \"feed/#\"; allow = [ \"subscribe\", \"reliable\" ]; } );\n"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

static int to_child[2], to_parent[2];

static void make_pipes(void)
{
	CHECK_EQ(pipe(to_child), 0);
	CHECK_EQ(pipe(to_parent), 0);
}

static void say(const int pipe_fds[2])
{
	CHECK_EQ(write(pipe_fds[1], "x", 1), 1);
}

static void hear(const int pipe_fds[2])
{
	char byte;

	CHECK_EQ(read(pipe_fds[0], &byte, 1), 1);
}

/* -- every way to write -- */

/* Of an fd that was opened in another way: it may exist (for root), but it must not write. */
static void expect_read_only(int fd, size_t size)
{
	char byte = 'x';
	int pipe_fds[2];
	void *base;

	CHECK(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	CHECK(mmap(NULL, size, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	CHECK(pwrite(fd, &byte, 1, 0) < 0);
	CHECK(pwritev(fd, &(struct iovec){&byte, 1}, 1, 0) < 0);
	CHECK(ftruncate(fd, 0) < 0);
	CHECK(ftruncate(fd, (off_t)size * 2) < 0);
	CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size) < 0);
	CHECK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, (off_t)size) < 0);
	CHECK(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096) < 0);
	CHECK(fallocate(fd, 0, (off_t)size, 4096) < 0);
	CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0);
	CHECK_EQ(fcntl(fd, F_GET_SEALS) & SEALS, SEALS);
	CHECK_EQ(pipe(pipe_fds), 0);
	CHECK_EQ(write(pipe_fds[1], "garbage", 7), 7);
	CHECK(splice(pipe_fds[0], NULL, fd, &(off_t){0}, 7, 0) < 0);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	base = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED) /* opened for writing only */
		return;
	CHECK(mprotect(base, size, PROT_READ | PROT_WRITE) < 0);
	CHECK(madvise(base, size, MADV_REMOVE) < 0);
	munmap(base, size);
}

/* Through /proc/self/mem the kernel writes where the process itself must not. */
static void expect_no_write_by_proc_mem(int fd, size_t size)
{
	void *base = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	int mem = open("/proc/self/mem", O_RDWR);
	char byte = 'x';

	CHECK(base != MAP_FAILED);
	CHECK(mem < 0 || pwrite(mem, &byte, 1, (off_t)(uintptr_t)base) < 0);
	CHECK(process_vm_writev(getpid(), &(struct iovec){&byte, 1}, 1, &(struct iovec){base, 1}, 1, 0) < 0);
	if (mem >= 0)
		close(mem);
	munmap(base, size);
}

static void try_to_reopen(const char *path, size_t size, bool may_open)
{
	static const int modes[] = {O_RDWR, O_WRONLY, O_RDWR | O_TRUNC, O_WRONLY | O_APPEND};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		int fd = open(path, modes[i] | O_CLOEXEC);

		if (fd < 0)
			continue;
		CHECK(may_open);
		expect_read_only(fd, size);
		close(fd);
	}
}

/* @may_open: this user owns the memfd, or is root: sealed memory must withstand that too. */
static void attack(int fd, bool may_open)
{
	struct stat before, after;
	char path[64];
	size_t size;
	pid_t pid;

	CHECK_EQ(fstat(fd, &before), 0);
	size = (size_t)before.st_size;
	expect_read_only(fd, size);
	expect_no_write_by_proc_mem(fd, size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	try_to_reopen(path, size, may_open);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), fd);
	try_to_reopen(path, size, may_open);
	if (!may_open) {
		CHECK(fchmod(fd, 0666) < 0);
		CHECK(fchown(fd, geteuid(), getegid()) < 0);
	}
	/* As root of a user namespace. */
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWUSER) == 0) {
			snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
			try_to_reopen(path, size, may_open);
			expect_read_only(fd, size);
		}
		_exit(0);
	}
	bus_join(pid);
	CHECK_EQ(fstat(fd, &after), 0);
	CHECK_EQ(after.st_blocks, before.st_blocks);
	CHECK_EQ(after.st_size, before.st_size);
}

/* -- a subscriber that speaks by hand, so that it has the descriptors -- */

static void open_by_hand(struct raw *raw, const char *filter)
{
	struct hbus_msg_sub_open open_msg = {.sub_id = 1};
	struct hbus_msg_sub_slots slots = {.sub_id = 1, .n_slots = 64};
	struct hbus_msg_sub_filter filter_msg = {.sub_id = 1};
	int fd = memfd_create("slots", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	CHECK(raw_connect(raw, bus_address));
	CHECK_EQ(raw_hello(raw), 0);
	CHECK_EQ(ftruncate(fd, 64 * sizeof(struct hbus_slot)), 0);
	CHECK_EQ(fallocate(fd, 0, 0, 64 * sizeof(struct hbus_slot)), 0);
	CHECK_EQ(fcntl(fd, F_ADD_SEALS, SEALS), 0);
	raw_send(raw, &open_msg, HBUS_MSG_SUB_OPEN, sizeof(open_msg), NULL, 0);
	CHECK_EQ(raw_reply(raw)->status, 0);
	raw_send(raw, &slots, HBUS_MSG_SUB_SLOTS, sizeof(slots), &fd, 1);
	CHECK_EQ(raw_reply(raw)->status, 0);
	snprintf(filter_msg.filter, sizeof(filter_msg.filter), "%s", filter);
	raw_send(raw, &filter_msg, HBUS_MSG_SUB_FILTER_ADD, sizeof(filter_msg), NULL, 0);
}

static void attack_a_ring(void *context)
{
	const struct hbus_msg_ring_opened *opened;
	struct raw raw;

	open_by_hand(&raw, "feed/a");
	opened = raw_wait(&raw, HBUS_MSG_RING_OPENED);
	CHECK(opened && raw.n_fds == 2);
	CHECK_EQ(fcntl(raw.fds[0], F_GETFL) & O_ACCMODE, O_RDONLY);
	CHECK_EQ(fcntl(raw.fds[1], F_GETFL) & O_ACCMODE, O_RDONLY);
	attack(raw.fds[0], context != NULL);
	attack(raw.fds[1], context != NULL);
	raw_close(&raw);
}

static void publish_feed(void *context)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, context ? 65536 : 2097152, 0, 5000);
	hbus_topic_t topic;

	OK(hbus_publisher_topic(publisher, "feed/a", NULL, NULL, &topic));
	say(to_parent);
	hear(to_child);
	for (uint64_t i = 0; i < 1000; i++) {
		unsigned char payload[64];

		bus_fill(payload, sizeof(payload), i);
		OK(hbus_publish(publisher, topic, payload, sizeof(payload)));
	}
	say(to_parent);
	hear(to_child);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void read_feed(void *context)
{
	struct hbus *bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(bus, HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "feed/#");
	uint64_t numbers[1000];

	(void)context;
	say(to_parent);
	CHECK_EQ(bus_collect(sub, numbers, 1000, 3000), 1000);
	for (uint64_t i = 0; i < 1000; i++)
		CHECK_EQ(numbers[i], i);
	say(to_parent);
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

static void a_ring_cannot_be_written_by_its_readers(void)
{
	pid_t publisher, reader;

	bus_needs_root();
	bus_daemon_configure(POLICY, 0);
	make_pipes();
	publisher = bus_fork_as(UID_PUBLISHER, publish_feed, NULL);
	hear(to_parent);
	reader = bus_fork_as(UID_SUBSCRIBER, read_feed, NULL);
	hear(to_parent);
	bus_join(bus_fork_as(UID_SUBSCRIBER, attack_a_ring, NULL));
	bus_join(bus_fork(attack_a_ring, ""));
	/* Who was attacked did not notice. */
	say(to_child);
	hear(to_parent);
	hear(to_parent);
	bus_join(reader);
	say(to_child);
	bus_join(publisher);
}

/* What the library itself has mapped and open. */
static void attack_own_maps(void *context)
{
	struct hbus *bus = bus_open();
	struct hbus_subscriber *sub = bus_subscriber(bus, 0, HBUS_START_EARLIEST, "feed/#");
	char line[512], path[128];
	int n_maps = 0;
	FILE *maps = fopen("/proc/self/maps", "r");

	(void)context;
	CHECK(maps);
	while (fgets(line, sizeof(line), maps)) {
		unsigned long begin, end;
		char perms[5];

		if (!strstr(line, "memfd:hugebus-header") && !strstr(line, "memfd:hugebus-data"))
			continue;
		CHECK_EQ(sscanf(line, "%lx-%lx %4s", &begin, &end, perms), 3);
		CHECK(strcmp(perms, "r--s") == 0);
		CHECK(mprotect((void *)begin, end - begin, PROT_READ | PROT_WRITE) < 0);
		CHECK(madvise((void *)begin, end - begin, MADV_REMOVE) < 0);
		CHECK(mremap((void *)begin, end - begin, 4 * (end - begin), 0) == MAP_FAILED);
		snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", begin, end);
		CHECK(open(path, O_RDWR) < 0);
		n_maps++;
	}
	fclose(maps);
	CHECK(n_maps >= 2);
	for (int fd = 3; fd < 64; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, line, sizeof(line) - 1);
		if (n <= 0)
			continue;
		line[n] = '\0';
		if (strstr(line, "memfd:hugebus-header") || strstr(line, "memfd:hugebus-data"))
			attack(fd, false);
	}
	hbus_subscriber_close(sub);
	hbus_close(bus);
}

/* Descriptors of others, through their /proc. */
static void attack_other_processes(void *context)
{
	const pid_t *pids = context;
	char path[64];

	for (int i = 0; i < 2; i++) {
		for (int fd = 0; fd < 64; fd++) {
			snprintf(path, sizeof(path), "/proc/%d/fd/%d", pids[i], fd);
			CHECK(open(path, O_RDWR) < 0);
			CHECK(open(path, O_RDONLY) < 0);
		}
		snprintf(path, sizeof(path), "/proc/%d/mem", pids[i]);
		CHECK(open(path, O_RDWR) < 0);
	}
}

static void what_the_library_maps_is_read_only(void)
{
	pid_t pids[2];

	bus_needs_root();
	bus_daemon_configure(POLICY, 0);
	make_pipes();
	pids[0] = bus_fork_as(UID_PUBLISHER, publish_feed, "");
	hear(to_parent);
	say(to_child);
	hear(to_parent);
	pids[1] = bus_daemon_pid();
	bus_join(bus_fork_as(UID_SUBSCRIBER, attack_own_maps, NULL));
	bus_join(bus_fork_as(UID_SUBSCRIBER, attack_other_processes, pids));
	say(to_child);
	bus_join(pids[0]);
}

/* The other direction: slots are the subscriber's, and a publisher gets their descriptor. */
static void attack_slots(void *context)
{
	struct hbus_msg_ring_create create = {.capacity = 65536, .flags = HBUS_RING_WANT_SMALL_PAGES,
					      .first_topic = "feed/a"};
	const struct hbus_msg_gate_add *add;
	struct hbus_msg_ring mapped = {0};
	struct raw raw;

	(void)context;
	CHECK(raw_connect(&raw, bus_address));
	CHECK_EQ(raw_hello(&raw), 0);
	raw_send(&raw, &create, HBUS_MSG_RING_CREATE, sizeof(create), NULL, 0);
	CHECK(raw_wait(&raw, HBUS_MSG_RING_GRANT));
	mapped.ring_id = ((const struct hbus_msg_ring_grant *)(const void *)raw.msg)->geometry.ring_id;
	for (int i = 0; i < 2; i++) {
		size_t size = i == 0 ? 4096 : 65536;
		void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, raw.fds[i], 0);

		CHECK(base != MAP_FAILED);
		memset(base, 0, size);
	}
	raw_send(&raw, &mapped, HBUS_MSG_RING_MAPPED, sizeof(mapped), NULL, 0);
	add = raw_wait(&raw, HBUS_MSG_GATE_ADD);
	CHECK(add && raw.n_fds >= 2);
	attack(raw.fds[0], false);
	/* The pidfd tells of the subscriber's end and lets nobody cause it. */
	CHECK(syscall(424 /* pidfd_send_signal */, raw.fds[1], SIGKILL, NULL, 0) < 0);
	raw_close(&raw);
}

static void wait_with_subscription(void *context)
{
	struct hbus_subscriber *sub = bus_subscriber(bus_open(), HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "feed/#");

	(void)context;
	(void)sub;
	say(to_parent);
	hear(to_child);
}

static void a_publisher_cannot_write_the_slots_of_its_readers(void)
{
	pid_t reader;

	bus_needs_root();
	bus_daemon_configure(POLICY, 0);
	make_pipes();
	reader = bus_fork_as(UID_SUBSCRIBER, wait_with_subscription, NULL);
	hear(to_parent);
	bus_join(bus_fork_as(UID_PUBLISHER, attack_slots, NULL));
	say(to_child);
	bus_join(reader);
}

/* -- who has no rule -- */

static void expect_denied(void *context)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 65536, 0, 0);
	struct hbus_subscriber *sub = bus_subscriber(bus, 0, HBUS_START_EARLIEST, NULL);
	struct hbus_event event;
	hbus_topic_t topic;

	(void)context;
	CHECK_EQ(hbus_publisher_topic(publisher, "feed/a", NULL, NULL, &topic), HBUS_E_DENIED);
	CHECK(strstr(hbus_error_text(), "publish"));
	CHECK_EQ(hbus_subscribe(sub, "feed/a"), HBUS_E_DENIED);
	CHECK(strlen(hbus_error_text()) > 10);
	CHECK_EQ(hbus_publisher_topic(publisher, "$own", NULL, NULL, &topic), HBUS_E_DENIED);
	/* A wildcard means what may be read: nothing here. */
	OK(hbus_subscribe(sub, "#"));
	CHECK_EQ(hbus_wait(sub, 100), 0);
	CHECK_EQ(hbus_poll(sub, &event, 1), 0);
	CHECK_EQ(hbus_topic_declare(bus, "feed/b", NULL, NULL), HBUS_E_DENIED);
	CHECK_EQ(hbus_reload(bus), HBUS_E_DENIED);
	hbus_subscriber_close(sub);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

static void who_has_no_rule_is_denied_clearly(void)
{
	pid_t publisher;

	bus_needs_root();
	bus_daemon_configure(POLICY, 0);
	make_pipes();
	publisher = bus_fork_as(UID_PUBLISHER, publish_feed, NULL);
	hear(to_parent);
	say(to_child);
	hear(to_parent);
	bus_join(bus_fork_as(UID_STRANGER, expect_denied, NULL));
	say(to_child);
	bus_join(publisher);
}

/* -- containers -- */

static char outer_address[256];

/* A root directory that holds the socket and nothing else; other processes, interfaces and IPC are not there. */
static void enter_container(void)
{
	static char inner[] = "/bus";
	char root[512], place[600];
	int status;
	pid_t pid;

	CHECK_EQ(unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid > 0) {
		waitpid(pid, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	}
	snprintf(outer_address, sizeof(outer_address), "%s", bus_address);
	snprintf(root, sizeof(root), "%s.root", bus_address);
	mkdir(root, 0755);
	CHECK_EQ(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	CHECK_EQ(mount("tmpfs", root, "tmpfs", 0, "size=64k"), 0);
	snprintf(place, sizeof(place), "%s/bus", root);
	close(open(place, O_CREAT | O_WRONLY, 0600));
	CHECK_EQ(mount(bus_address, place, NULL, MS_BIND, NULL), 0);
	CHECK_EQ(chroot(root), 0);
	CHECK_EQ(chdir("/"), 0);
	CHECK(access("/proc/self", F_OK) < 0);
	bus_address = inner;
}

struct container_job {
	uid_t uid;
	void (*run)(void *);
	void *context;
};

static void run_in_container(void *context)
{
	const struct container_job *job = context;

	enter_container();
	bus_join(bus_fork_as(job->uid, job->run, job->context));
}

static void events_cross_containers(void)
{
	struct container_job publish = {UID_PUBLISHER, publish_feed, NULL};
	struct container_job read = {UID_SUBSCRIBER, read_feed, NULL};
	pid_t publisher, inside, outside;

	bus_needs_root();
	bus_daemon_configure(POLICY, 0);
	make_pipes();
	for (int i = 0; i < 2; i++) {
		publisher = i == 0 ? bus_fork(run_in_container, &publish) :
				     bus_fork_as(UID_PUBLISHER, publish_feed, NULL);
		hear(to_parent);
		inside = bus_fork(run_in_container, &read);
		outside = bus_fork_as(UID_SUBSCRIBER, read_feed, NULL);
		hear(to_parent);
		hear(to_parent);
		say(to_child);
		for (int j = 0; j < 3; j++)
			hear(to_parent);
		bus_join(inside);
		bus_join(outside);
		say(to_child);
		bus_join(publisher);
	}
}

static void stand_still(void *context)
{
	struct hbus_subscriber *sub;

	(void)context;
	sub = bus_subscriber(bus_open(), HBUS_SUB_FLAG_RELIABLE, HBUS_START_LATEST, "feed/#");
	(void)sub;
	say(to_parent);
	pause();
}

/* Its only reader stands still and is then killed. */
static void fill_until_killed(void *context)
{
	struct hbus *bus = bus_open();
	struct hbus_publisher *publisher = bus_publisher(bus, 65536, 0, 5000);
	hbus_topic_t topic;
	uint64_t begin_ms;

	(void)context;
	OK(hbus_publisher_topic(publisher, "feed/a", NULL, NULL, &topic));
	say(to_parent);
	hear(to_child);
	while (hbus_try_publish(publisher, topic, "0123456789abcdef", 16) == 0)
		;
	say(to_parent);
	begin_ms = bus_now_ms();
	OK(hbus_publish(publisher, topic, "x", 1));
	/* Its end was noticed: far below the 5 s that a reader which lives may hold it. Ending a container takes its time on a busy machine. */
	CHECK(bus_now_ms() - begin_ms < 2500);
	hbus_publisher_close(publisher);
	hbus_close(bus);
}

/* Its end is seen through namespaces: by a pidfd, not by a number. */
static void a_gate_across_containers_ends_with_its_process(void)
{
	struct container_job publish = {UID_PUBLISHER, fill_until_killed, NULL};
	struct container_job read = {UID_SUBSCRIBER, stand_still, NULL};

	bus_needs_root();
	bus_daemon_configure(POLICY, 0);
	for (int i = 0; i < 4; i++) {
		pid_t publisher, reader;

		if (i == 2)
			bus_daemon_unshare(CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC); /* sees no pid of its clients */
		make_pipes();
		publisher = i % 2 ? bus_fork(run_in_container, &publish) :
				    bus_fork_as(UID_PUBLISHER, fill_until_killed, NULL);
		hear(to_parent);
		reader = i % 2 ? bus_fork_as(UID_SUBSCRIBER, stand_still, NULL) : bus_fork(run_in_container, &read);
		hear(to_parent);
		say(to_child);
		hear(to_parent);
		bus_sleep_ms(100);
		/* In a container: the first process of its pid namespace, and with it all of it. */
		if (i % 2 == 0) {
			char path[64];
			FILE *file;
			int child = 0;

			snprintf(path, sizeof(path), "/proc/%d/task/%d/children", reader, reader);
			file = fopen(path, "r");
			CHECK(file && fscanf(file, "%d", &child) == 1);
			fclose(file);
			kill(child, SIGKILL);
		} else {
			kill(reader, SIGKILL);
		}
		waitpid(reader, NULL, 0);
		bus_join(publisher);
	}
}

static const struct bus_case cases[] = {
	{"a_ring_cannot_be_written_by_its_readers", a_ring_cannot_be_written_by_its_readers},
	{"what_the_library_maps_is_read_only", what_the_library_maps_is_read_only},
	{"a_publisher_cannot_write_the_slots_of_its_readers", a_publisher_cannot_write_the_slots_of_its_readers},
	{"who_has_no_rule_is_denied_clearly", who_has_no_rule_is_denied_clearly},
	{"events_cross_containers", events_cross_containers},
	{"a_gate_across_containers_ends_with_its_process", a_gate_across_containers_ends_with_its_process},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
