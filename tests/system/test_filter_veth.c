/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The filter on a real interface: a veth pair in a network namespace of this process's own, which
 * ends with it. Attached in the driver, replaced under traffic, left behind by a killed owner, met
 * by other people's programs.
 *
 * Exit status: 0 pass, 1 fail, 77 skipped.
 */
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>

#include "ebpf/loader.h"
#include "tests/system/xsk.h"
#include "tests/unit/frames.h"

enum { PORT = 5001, PORT_UNWANTED = 5002, PORT_NOT_OURS = 9, N_REPLACEMENTS = 25 };

static unsigned int if_a, if_b;
static struct hbus_filter_error error;

static void fail(int line, const char *what)
{
	fprintf(stderr, "test_filter_veth.c:%d: %s (errno %s; last error text: %s)\n", line, what,
		strerror(errno), error.text);
	exit(1);
}

#define check(condition)                                                                          \
	do {                                                                                      \
		if (!(condition))                                                                 \
			fail(__LINE__, #condition);                                               \
	} while (0)

static void skip(const char *why)
{
	printf("SKIP: %s\n", why);
	exit(77);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void nap(void)
{
	nanosleep(&(const struct timespec){ .tv_nsec = 200000 }, NULL);
}

/* ---- the stage ----------------------------------------------------------------------------- */

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

static void make_stage(void)
{
	FILE *file;

	if (unshare(CLONE_NEWNET) < 0)
		skip("needs a network namespace (CAP_SYS_ADMIN)");
	/* No router solicitations between the frames that are counted. */
	file = fopen("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w");
	if (file) {
		fputs("1", file);
		fclose(file);
	}
	if (system("ip link add hbft0 type veth peer name hbft1 2>/dev/null && "
		   "ip link set hbft0 up && ip link set hbft1 up") != 0)
		skip("needs iproute2 and veth interfaces");
	if_a = if_nametoindex("hbft0");
	if_b = if_nametoindex("hbft1");
	check(if_a != 0 && if_b != 0);
}

static struct hbus_filter *load(void)
{
	struct hbus_filter *filter = NULL;
	int ret = hbus_filter_load(HBUS_XDP_OBJECT, &filter, &error);

	if (ret == -EPERM)
		skip("needs CAP_BPF and CAP_NET_ADMIN");
	check(ret == 0);
	return filter;
}

static struct hbus_filter *load_and_attach(unsigned int ifindex)
{
	struct hbus_filter *filter = load();

	check(hbus_filter_attach(filter, ifindex, &error) == 0);
	return filter;
}

static uint32_t attached_id(unsigned int ifindex)
{
	uint32_t id = 0;

	check(bpf_xdp_query_id((int)ifindex, 0, &id) == 0);
	return id;
}

static void set_route(struct hbus_filter *filter, uint32_t idx, uint16_t port, uint32_t flags)
{
	const struct hbus_route_match match = {
		.family = HBUS_FAMILY_IPV4,
		.vlan = HBUS_VLAN_ANY,
		.port = port,
	};

	check(hbus_filter_route_set(filter, idx, &match, idx + 1, flags) == 0);
}

static void set_routes(struct hbus_filter *filter)
{
	set_route(filter, 0, PORT, HBUS_ROUTE_WANTED);
	set_route(filter, 1, PORT_UNWANTED, 0);
}

static uint64_t count(const struct hbus_filter *filter, uint32_t reason)
{
	struct hbus_reason_stats stats[HBUS_REASONS_MAX];

	check(hbus_filter_stats_read(filter, stats) == 0);
	return stats[reason].packets;
}

static uint64_t count_all(const struct hbus_filter *filter)
{
	uint64_t n = 0;

	for (uint32_t reason = 0; reason < HBUS_REASONS_MAX; reason++)
		n += count(filter, reason);
	return n;
}

static int packet_socket(unsigned int ifindex)
{
	const struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)ifindex,
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));

	check(fd >= 0);
	check(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0);
	return fd;
}

static void send_number(int fd, uint16_t port, uint32_t number)
{
	struct frame f;

	frame_link(&f, NULL, NULL, 0, 0x0800);
	frame_ipv4_udp(&f, 0, port, &number, sizeof(number));
	while (send(fd, f.bytes, f.size, 0) < 0) {
		check(errno == ENOBUFS);
		nap();
	}
}

static uint32_t number_in(const uint8_t *bytes)
{
	uint32_t number;

	memcpy(&number, bytes + 14 + 20 + 8, sizeof(number));
	return number;
}

static void put_socket(const struct hbus_filter *filter, const struct xsk *xsk)
{
	uint32_t queue = 0;

	check(bpf_map_update_elem(hbus_filter_sockets_fd(filter), &queue, &xsk->fd, BPF_ANY) == 0);
}

/* ---- attached ------------------------------------------------------------------------------ */

static void attaches_in_the_driver(void)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);
	struct hbus_filter *filter = load_and_attach(if_b), *second = load();

	check(bpf_xdp_query((int)if_b, 0, &opts) == 0);
	check(opts.attach_mode == XDP_ATTACHED_DRV);
	check(opts.drv_prog_id == hbus_filter_prog_id(filter));
	check(hbus_filter_check(filter, &error) == 0);
	check(hbus_filter_attach(second, if_b, &error) == HBUS_FILTER_FOREIGN);
	check(hbus_filter_check(second, &error) == HBUS_FILTER_NONE);

	check(system("ip link set hbft1 down && ip link set hbft1 up") == 0);
	check(hbus_filter_check(filter, &error) == 0);
	check(hbus_filter_detach(filter, &error) == 0);
	check(attached_id(if_b) == 0);
	check(hbus_filter_check(filter, &error) == HBUS_FILTER_NONE);
	check(hbus_filter_detach(filter, &error) == HBUS_FILTER_NONE);
	hbus_filter_free(second);
	hbus_filter_free(filter);
}

/* Receives what is there for the kernel with fd @fd. Return: how many frames of ours. */
static uint32_t passed_to_kernel(int fd)
{
	uint8_t bytes[2048];
	uint32_t n = 0;
	ssize_t size;

	while ((size = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		n += size == 14 + 20 + 8 + 4 && bytes[12] == 0x08 && bytes[13] == 0;
	return n;
}

static void sends_each_frame_where_it_belongs(void)
{
	struct hbus_filter *filter = load_and_attach(if_b);
	int from = packet_socket(if_a), kernel = packet_socket(if_b);
	uint8_t bytes[XSK_FRAME_SIZE];
	uint32_t n_redirected = 0;
	struct xsk xsk;
	uint64_t start;

	set_routes(filter);
	check(xsk_open(&xsk, if_b) == 0);
	put_socket(filter, &xsk);
	passed_to_kernel(kernel);
	for (uint32_t i = 0; i < 100; i++) {
		send_number(from, PORT, i);
		send_number(from, PORT_UNWANTED, i);
		send_number(from, PORT_NOT_OURS, i);
	}
	for (start = now_ms(); now_ms() - start < 5000 && count_all(filter) < 300;)
		nap();
	for (start = now_ms(); now_ms() - start < 5000 && n_redirected < 100;) {
		if (xsk_receive(&xsk, bytes) == 0) {
			nap();
			continue;
		}
		check(number_in(bytes) == n_redirected);
		n_redirected++;
	}
	check(n_redirected == 100);
	check(passed_to_kernel(kernel) == 100);
	check(count(filter, HBUS_REASON_ACCEPTED) == 100);
	check(count(filter, HBUS_REASON_NO_INTEREST) == 100);
	check(count(filter, HBUS_REASON_UNKNOWN_PORT) == 100);

	/* Its socket gone, what was redirected goes to the kernel. */
	xsk_close(&xsk);
	send_number(from, PORT, 0);
	for (start = now_ms(); now_ms() - start < 5000 && count(filter, HBUS_REASON_NO_SOCKET) < 1;)
		nap();
	check(count(filter, HBUS_REASON_NO_SOCKET) == 1);
	check(passed_to_kernel(kernel) == 1);
	close(from);
	close(kernel);
	check(hbus_filter_detach(filter, &error) == 0);
	hbus_filter_free(filter);
}

/* ---- replaced ------------------------------------------------------------------------------ */

struct traffic {
	struct xsk xsk;
	_Atomic uint32_t n_received;
	_Atomic uint32_t n_sent;
	_Atomic bool is_over; /* for the sender */
	_Atomic bool is_sent; /* for the receiver: n_sent is the last word */
};

/* Sends on and on, but never more ahead of the receiver than the smallest queue on the way. */
static void *send_traffic(void *arg)
{
	struct traffic *traffic = arg;
	int fd = packet_socket(if_a);
	uint32_t n = 0;

	while (!atomic_load_explicit(&traffic->is_over, memory_order_relaxed)) {
		if (n - atomic_load_explicit(&traffic->n_received, memory_order_relaxed) >= 64) {
			sched_yield();
			continue;
		}
		send_number(fd, PORT, n++);
		atomic_store_explicit(&traffic->n_sent, n, memory_order_relaxed);
	}
	close(fd);
	return NULL;
}

/* Each number once and in order; a frame that is lost stops the sender, and then this. */
static void *receive_traffic(void *arg)
{
	struct traffic *traffic = arg;
	uint8_t bytes[XSK_FRAME_SIZE];
	uint64_t last_ms = now_ms();
	uint32_t n = 0;

	while (!atomic_load_explicit(&traffic->is_sent, memory_order_relaxed) ||
	       n < atomic_load_explicit(&traffic->n_sent, memory_order_relaxed)) {
		if (xsk_receive(&traffic->xsk, bytes) == 0) {
			if (now_ms() - last_ms > 10000) {
				fprintf(stderr, "frame %u never came\n", n);
				exit(1);
			}
			sched_yield();
			continue;
		}
		last_ms = now_ms();
		check(number_in(bytes) == n);
		n++;
		atomic_store_explicit(&traffic->n_received, n, memory_order_relaxed);
	}
	return NULL;
}

static void wait_for_frames(struct traffic *traffic, uint32_t n)
{
	uint32_t start = atomic_load_explicit(&traffic->n_received, memory_order_relaxed);

	while (atomic_load_explicit(&traffic->n_received, memory_order_relaxed) - start < n)
		nap();
}

static void replaces_under_traffic_without_a_loss(void)
{
	struct hbus_filter *filter = load_and_attach(if_b);
	struct traffic traffic = { 0 };
	pthread_t sender, receiver;
	uint32_t n_sent, n_meanwhile = 0;

	set_routes(filter);
	check(xsk_open(&traffic.xsk, if_b) == 0);
	put_socket(filter, &traffic.xsk);
	check(pthread_create(&receiver, NULL, receive_traffic, &traffic) == 0);
	check(pthread_create(&sender, NULL, send_traffic, &traffic) == 0);
	for (uint32_t i = 0; i < N_REPLACEMENTS; i++) {
		uint32_t old_id = hbus_filter_prog_id(filter);
		uint32_t before;

		wait_for_frames(&traffic, 100);
		before = atomic_load_explicit(&traffic.n_received, memory_order_relaxed);
		check(hbus_filter_replace(filter, HBUS_XDP_OBJECT, &error) == 0);
		n_meanwhile += atomic_load_explicit(&traffic.n_received, memory_order_relaxed) -
			       before;
		check(hbus_filter_prog_id(filter) != old_id);
		check(attached_id(if_b) == hbus_filter_prog_id(filter));
	}
	wait_for_frames(&traffic, 100);
	atomic_store_explicit(&traffic.is_over, true, memory_order_relaxed);
	pthread_join(sender, NULL);
	atomic_store_explicit(&traffic.is_sent, true, memory_order_relaxed);
	pthread_join(receiver, NULL);
	n_sent = atomic_load_explicit(&traffic.n_sent, memory_order_relaxed);
	check(count(filter, HBUS_REASON_ACCEPTED) == n_sent);
	check(count_all(filter) == n_sent);
	check(n_meanwhile > 64);
	check(hbus_filter_n_routes(filter) == 2);
	printf("%u frames, %u of them during %d replacements, none lost\n", n_sent, n_meanwhile,
	       N_REPLACEMENTS);
	xsk_close(&traffic.xsk);
	check(hbus_filter_detach(filter, &error) == 0);
	hbus_filter_free(filter);
}

static void keeps_the_old_program_when_the_new_one_is_no_good(void)
{
	struct hbus_filter *filter = load_and_attach(if_b);

	check(hbus_filter_replace(filter, "/nonexistent.o", &error) == -ENOENT);
	check(hbus_filter_replace(filter, "/proc/self/exe", &error) != 0);
	check(hbus_filter_check(filter, &error) == 0);
	check(hbus_filter_detach(filter, &error) == 0);
	hbus_filter_free(filter);
}

/* ---- found --------------------------------------------------------------------------------- */

static void finds_each_of_two_ports_and_what_was_set(void)
{
	struct hbus_filter *owner_a = load_and_attach(if_a), *owner_b = load_and_attach(if_b);
	struct hbus_filter *found_a = NULL, *found_b = NULL;
	struct hbus_route_match match;
	struct hbus_route_info info;

	set_route(owner_a, 7, PORT, HBUS_ROUTE_WANTED);
	set_routes(owner_b);
	check(hbus_filter_open(if_a, &found_a, &error) == 0);
	check(hbus_filter_open(if_b, &found_b, &error) == 0);
	check(hbus_filter_prog_id(found_a) == hbus_filter_prog_id(owner_a));
	check(hbus_filter_prog_id(found_b) == hbus_filter_prog_id(owner_b));
	check(hbus_filter_n_routes(found_a) == 1);
	check(hbus_filter_n_routes(found_b) == 2);
	check(hbus_filter_route_get(found_a, 7, &match, &info) == 0);
	check(match.port == PORT && match.vlan == HBUS_VLAN_ANY && info.topic == 8);

	/* What one handle changes the other's program obeys. */
	check(hbus_filter_route_del(found_a, 7) == 0);
	hbus_filter_free(found_a);
	check(hbus_filter_open(if_a, &found_a, &error) == 0);
	check(hbus_filter_n_routes(found_a) == 0);

	hbus_filter_free(found_a);
	hbus_filter_free(found_b);
	check(hbus_filter_detach(owner_a, &error) == 0);
	check(hbus_filter_detach(owner_b, &error) == 0);
	hbus_filter_free(owner_a);
	hbus_filter_free(owner_b);
	check(hbus_filter_open(if_a, &found_a, &error) == HBUS_FILTER_NONE);
}

/* Runs @act in a child. Return: its wait status. */
static int in_child(void (*act)(void))
{
	pid_t pid = fork();
	int status;

	check(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		act();
		_exit(0);
	}
	check(waitpid(pid, &status, 0) == pid);
	return status;
}

static void keep_two_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	data[CAP_TO_INDEX(CAP_NET_ADMIN)].permitted |= CAP_TO_MASK(CAP_NET_ADMIN);
	data[CAP_TO_INDEX(CAP_BPF)].permitted |= CAP_TO_MASK(CAP_BPF);
	data[0].effective = data[0].permitted;
	data[1].effective = data[1].permitted;
	check(syscall(SYS_capset, &header, data) == 0);
}

static void live_with_two_capabilities(void)
{
	struct hbus_filter *owner, *found = NULL;

	keep_two_capabilities();
	owner = load_and_attach(if_b);
	check(hbus_filter_open(if_b, &found, &error) == 0);
	set_routes(found);
	check(hbus_filter_replace(found, HBUS_XDP_OBJECT, &error) == 0);
	check(hbus_filter_detach(found, &error) == 0);
	hbus_filter_free(owner);
	hbus_filter_free(found);
}

static void open_without_rights(void)
{
	struct hbus_filter *found = NULL;

	/* The descriptors of the parent's handle were closed before the fork. */
	keep_two_capabilities();
	check(hbus_filter_open(if_b, &found, &error) == -EPERM);
	check(strstr(error.text, "CAP_SYS_ADMIN"));
}

static void needs_no_more_rights_than_it_says(void)
{
	struct hbus_filter *filter;

	check(in_child(live_with_two_capabilities) == 0);
	filter = load_and_attach(if_b);
	hbus_filter_free(filter);
	check(in_child(open_without_rights) == 0);
	check(hbus_filter_remove(if_b, &error) == 0);
}

/* ---- left behind --------------------------------------------------------------------------- */

/* A child that claims and attaches and then waits to be killed. */
static pid_t start_owner(void)
{
	int ready[2];
	char byte;
	pid_t pid;

	check(pipe(ready) == 0);
	pid = fork();
	check(pid >= 0);
	if (pid == 0) {
		int claim_fd;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		check(hbus_filter_claim(if_b, &claim_fd, &error) == 0);
		load_and_attach(if_b);
		check(write(ready[1], "x", 1) == 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	check(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	return pid;
}

/* As the next ingress does. Return: of the claim, else of the removal. */
static int remove_stale(void)
{
	int claim_fd = -1, ret = hbus_filter_claim(if_b, &claim_fd, &error);

	if (ret != 0)
		return ret;
	ret = hbus_filter_remove(if_b, &error);
	close(claim_fd);
	return ret;
}

static void removes_what_a_killed_owner_left(void)
{
	char pid_text[32];
	uint32_t id;
	pid_t owner = start_owner();
	int claim_fd = -1;

	id = attached_id(if_b);
	check(id != 0);
	check(remove_stale() == HBUS_FILTER_BUSY);
	snprintf(pid_text, sizeof(pid_text), "process %d,", (int)owner);
	check(strstr(error.text, pid_text));
	check(hbus_filter_claim(if_b, &claim_fd, &error) == HBUS_FILTER_BUSY);
	check(attached_id(if_b) == id);

	kill(owner, SIGKILL);
	check(waitpid(owner, NULL, 0) == owner);
	check(attached_id(if_b) == id);
	check(remove_stale() == 0);
	check(attached_id(if_b) == 0);
	check(remove_stale() == HBUS_FILTER_NONE);
	check(hbus_filter_claim(if_b, &claim_fd, &error) == 0);
	check(remove_stale() == HBUS_FILTER_BUSY);
	check(hbus_filter_remove(if_b, &error) == HBUS_FILTER_NONE);
	close(claim_fd);
}

static void squat_as_nobody(void)
{
	int claim_fd;

	check(setuid(65534) == 0);
	check(hbus_filter_claim(if_b, &claim_fd, &error) == 0);
	raise(SIGSTOP);
}

static void names_the_user_who_squats_on_a_claim(void)
{
	int status, claim_fd;
	pid_t pid = fork();

	check(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		squat_as_nobody();
		_exit(0);
	}
	check(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	check(hbus_filter_claim(if_b, &claim_fd, &error) == -EADDRINUSE);
	check(strstr(error.text, "uid 65534"));
	kill(pid, SIGKILL);
	check(waitpid(pid, NULL, 0) == pid);
}

/* ---- other people's programs --------------------------------------------------------------- */

static int load_foreign(const char *name)
{
	/* return XDP_PASS */
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, name, "GPL", insns, 2, NULL);

	check(fd >= 0);
	return fd;
}

/* A program of our name with our stamp, in a map that anybody might have written. */
static int load_forged(void)
{
	const struct hbus_filter_stamp stamp = { HBUS_FILTER_MAGIC, HBUS_FILTER_ABI_VERSION, 0 };
	const uint32_t zero = 0;
	int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, ".rodata.stamp", 4, sizeof(stamp), 1, NULL);
	const struct bpf_insn insns[] = {
		{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = BPF_REG_1,
		  .src_reg = BPF_PSEUDO_MAP_FD, .imm = map },
		{ .imm = 0 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd;

	check(map >= 0 && bpf_map_update_elem(map, &zero, &stamp, BPF_ANY) == 0);
	fd = bpf_prog_load(BPF_PROG_TYPE_XDP, HBUS_FILTER_PROG_NAME, "GPL", insns, 4, NULL);
	check(fd >= 0);
	close(map);
	return fd;
}

/* @fd: consumed */
static void leaves_foreign_programs_alone(int fd, const char *name)
{
	struct hbus_filter *filter = NULL;
	uint32_t id;

	check(bpf_xdp_attach((int)if_b, fd, 0, NULL) == 0);
	id = attached_id(if_b);
	check(remove_stale() == HBUS_FILTER_FOREIGN);
	check(strstr(error.text, name) && strstr(error.text, "not a hugebus filter"));
	check(hbus_filter_open(if_b, &filter, &error) == HBUS_FILTER_FOREIGN);
	filter = load();
	check(hbus_filter_attach(filter, if_b, &error) == HBUS_FILTER_FOREIGN);
	check(attached_id(if_b) == id);
	check(bpf_xdp_detach((int)if_b, 0, NULL) == 0);
	hbus_filter_free(filter);
	close(fd);
}

static void notices_when_another_takes_its_place(void)
{
	struct hbus_filter *filter = load_and_attach(if_b);
	int fd = load_foreign("usurper");
	uint32_t id;

	check(bpf_xdp_attach((int)if_b, fd, 0, NULL) == 0);
	id = attached_id(if_b);
	check(hbus_filter_check(filter, &error) == HBUS_FILTER_FOREIGN);
	check(hbus_filter_replace(filter, HBUS_XDP_OBJECT, &error) == HBUS_FILTER_FOREIGN);
	check(hbus_filter_detach(filter, &error) == HBUS_FILTER_FOREIGN);
	check(attached_id(if_b) == id);
	check(bpf_xdp_detach((int)if_b, 0, NULL) == 0);
	check(hbus_filter_check(filter, &error) == HBUS_FILTER_NONE);
	hbus_filter_free(filter);
	close(fd);
}

int main(void)
{
	libbpf_set_print(quiet);
	make_stage();
	attaches_in_the_driver();
	sends_each_frame_where_it_belongs();
	replaces_under_traffic_without_a_loss();
	keeps_the_old_program_when_the_new_one_is_no_good();
	finds_each_of_two_ports_and_what_was_set();
	needs_no_more_rights_than_it_says();
	removes_what_a_killed_owner_left();
	names_the_user_who_squats_on_a_claim();
	leaves_foreign_programs_alone(load_foreign("xdp_other"), "xdp_other");
	leaves_foreign_programs_alone(load_foreign(HBUS_FILTER_PROG_NAME), HBUS_FILTER_PROG_NAME);
	leaves_foreign_programs_alone(load_forged(), HBUS_FILTER_PROG_NAME);
	notices_when_another_takes_its_place();
	return 0;
}
