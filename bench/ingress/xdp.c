/* SPDX-License-Identifier: BSD-3-Clause */
/* What the XDP filter costs. See xdp.h. */
#include "bench/ingress/xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/blame.h"
#include "bench/ingress/frames.h"
#include "bench/ingress/poller.h"
#include "ebpf/loader.h"

#define RUNS_A_CALL 200000u
#define LIVE_A_CALL 32768u
#define LIVE_BATCH 64u
#define TIME_MAX_MS 60000u
#define UNWANTED_FLOW 0u
#define DENIED_FLOW 1u

/* A pair of interfaces: what is sent into the first comes out of the second. */
struct pair {
	unsigned int sender;
	unsigned int receiver;
	int generator; /* program: everything to the sender */
};

struct xdp_bench {
	struct hbus_filter *filter;
	int bare; /* program: drop */
	struct pair ours;
	struct pair others;
	uint8_t frame[BENCH_FRAME_HEADERS + BENCH_PAYLOAD_MAX];
	uint32_t frame_size;
};

static int fail(const char *what, int error)
{
	bench_blame("xdp: %s: %s", what, strerror(error < 0 ? -error : error));
	return -1;
}

/* -- programs -- */

#define INSN(opcode, dst, src, offset, value) ((struct bpf_insn){opcode, dst, src, offset, value})
#define SET(reg, value) INSN(BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, (int)(value))
#define CALL(function) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, function)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

static int load_program(const struct bpf_insn *insns, size_t n)
{
	return bpf_prog_load(BPF_PROG_TYPE_XDP, "hugebus_bench", "BSD", insns, n, NULL);
}

static int load_bare(void)
{
	const struct bpf_insn insns[] = {SET(BPF_REG_0, XDP_DROP), EXIT};

	return load_program(insns, sizeof(insns) / sizeof(insns[0]));
}

static int load_generator(unsigned int ifindex)
{
	const struct bpf_insn insns[] = {SET(BPF_REG_1, ifindex), SET(BPF_REG_2, 0), CALL(BPF_FUNC_redirect), EXIT};

	return load_program(insns, sizeof(insns) / sizeof(insns[0]));
}

/* -- in a test run -- */

static double run_ns(struct xdp_bench *bench, int program, unsigned int flow)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = bench->frame, .data_size_in = bench->frame_size,
		    .repeat = RUNS_A_CALL);

	bench_frame_stamp(bench->frame, 0, 1, flow);
	if (bpf_prog_test_run_opts(program, &opts) != 0 || opts.retval != XDP_DROP)
		return 0;
	return opts.duration > 0 ? opts.duration : 0.5;
}

/* -- under load -- */

/* Frames of the kernel through @program; in *ret_time_ns how long it took. Return: how many, 0 = failed. */
static uint64_t run_live(struct xdp_bench *bench, int program, unsigned int duration_ms, uint64_t *ret_time_ns)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = bench->frame, .data_size_in = bench->frame_size,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .repeat = LIVE_A_CALL, .batch_size = LIVE_BATCH);
	uint64_t begin = bench_now_ns(), n = 0;

	bench_frame_stamp(bench->frame, 0, 1, UNWANTED_FLOW);
	do {
		if (bpf_prog_test_run_opts(program, &opts) != 0)
			return 0;
		n += LIVE_A_CALL;
		*ret_time_ns = bench_now_ns() - begin;
	} while (*ret_time_ns < (uint64_t)duration_ms * 1000000);
	return n;
}

/* @program: drops them, or hands them to a pair of which another program drops them. */
static double bare_rate(struct xdp_bench *bench, int program, unsigned int duration_ms)
{
	uint64_t time_ns, n = run_live(bench, program, duration_ms, &time_ns);

	return n > 0 ? (double)n * 1e9 / (double)time_ns : 0;
}

/* By the filter's own count: what the device lost on the way is not counted. @program: the filter, or a pair's. */
static double unwanted_rate(struct xdp_bench *bench, int program, unsigned int duration_ms)
{
	struct hbus_reason_stats before[HBUS_REASONS_MAX], after[HBUS_REASONS_MAX];
	uint64_t time_ns;

	if (hbus_filter_stats_read(bench->filter, before) != 0 ||
	    run_live(bench, program, duration_ms, &time_ns) == 0 ||
	    hbus_filter_stats_read(bench->filter, after) != 0)
		return 0;
	return (double)(after[HBUS_REASON_NO_INTEREST].packets - before[HBUS_REASON_NO_INTEREST].packets) * 1e9 / (double)time_ns;
}

/* -- set-up -- */

static int run_ip(const char *line)
{
	char command[160];
	int status;

	snprintf(command, sizeof(command), "ip %s 2>/dev/null", line);
	status = system(command);
	if (status != 0)
		bench_blame("xdp: ip %s: failed (iproute2, veth?)", line);
	return status == 0 ? 0 : -1;
}

static int make_pair(const char *sender, const char *receiver, struct pair *pair)
{
	char line[128];

	snprintf(line, sizeof(line), "link add %s type veth peer name %s", sender, receiver);
	if (run_ip(line))
		return -1;
	snprintf(line, sizeof(line), "link set %s up", sender);
	if (run_ip(line))
		return -1;
	snprintf(line, sizeof(line), "link set %s up", receiver);
	if (run_ip(line))
		return -1;
	pair->sender = if_nametoindex(sender);
	pair->receiver = if_nametoindex(receiver);
	pair->generator = load_generator(pair->sender);
	return pair->generator < 0 ? fail("generator", errno) : 0;
}

static int load_filter(struct xdp_bench *bench)
{
	struct hbus_route_match match = {.family = HBUS_FAMILY_IPV4, .prefix_len = 32, .vlan = HBUS_VLAN_ANY};
	struct hbus_filter_error error = {""};
	uint8_t source[16] = {0};

	if (hbus_filter_load(bench_xdp_object(), &bench->filter, &error) != 0) {
		bench_blame("xdp: %s: %s", bench_xdp_object(), error.text);
		return -1;
	}
	memcpy(match.addr, bench->frame + 30, 4);
	memcpy(source, bench->frame + 26, 4);
	match.port = BENCH_PORT_FIRST + UNWANTED_FLOW;
	if (hbus_filter_route_set(bench->filter, UNWANTED_FLOW, &match, 1, 0) != 0)
		return fail("route", EINVAL);
	match.port = BENCH_PORT_FIRST + DENIED_FLOW;
	if (hbus_filter_route_set(bench->filter, DENIED_FLOW, &match, 2, HBUS_ROUTE_WANTED) != 0)
		return fail("route", EINVAL);
	return hbus_filter_source_set(bench->filter, HBUS_FAMILY_IPV4, source, 32, HBUS_SOURCE_DENY) == 0
		       ? 0 : fail("source rule", EINVAL);
}

static int set_up(struct xdp_bench *bench, unsigned int payload_size)
{
	struct hbus_filter_error error = {""};

	bench->frame_size = (uint32_t)bench_frame_make(bench->frame, 0, payload_size, NULL);
	if (unshare(CLONE_NEWNET) != 0)
		return fail("a network namespace", errno);
	bench->bare = load_bare();
	if (bench->bare < 0)
		return fail("loading a program", errno);
	if (load_filter(bench) || make_pair("hbx0", "hbx1", &bench->ours) || make_pair("hby0", "hby1", &bench->others))
		return -1;
	if (hbus_filter_attach(bench->filter, bench->ours.receiver, &error) != 0) {
		bench_blame("xdp: %s", error.text);
		return -1;
	}
	if (bpf_xdp_attach((int)bench->others.receiver, bench->bare, XDP_FLAGS_DRV_MODE, NULL) != 0)
		return fail("attaching", errno);
	return 0;
}

/* One repetition of each; those beside which it stands in the same second. Return: whether all of them came. */
static bool test_run(struct xdp_bench *bench, struct bench_xdp *xdp, bool is_turned)
{
	int filter = hbus_filter_prog_fd(bench->filter);
	double bare = is_turned ? 0 : run_ns(bench, bench->bare, UNWANTED_FLOW);
	double unwanted = run_ns(bench, filter, UNWANTED_FLOW), denied = run_ns(bench, filter, DENIED_FLOW);

	if (is_turned)
		bare = run_ns(bench, bench->bare, UNWANTED_FLOW);
	if (bare <= 0 || unwanted <= 0 || denied <= 0)
		return false;
	bench_samples_add(&xdp->bare_ns, bare);
	bench_samples_add(&xdp->unwanted_ns, unwanted);
	bench_samples_add(&xdp->denied_ns, denied);
	return true;
}

static bool live(struct xdp_bench *bench, struct bench_xdp *xdp, unsigned int duration_ms)
{
	double others = bare_rate(bench, bench->bare, duration_ms);
	double ours = unwanted_rate(bench, hbus_filter_prog_fd(bench->filter), duration_ms);

	if (others <= 0 || ours <= 0)
		return false;
	bench_samples_add(&xdp->live_bare_rate, others);
	bench_samples_add(&xdp->live_rate, ours);
	return true;
}

static bool over_veth(struct xdp_bench *bench, struct bench_xdp *xdp, unsigned int duration_ms)
{
	double others = bare_rate(bench, bench->others.generator, duration_ms);
	double ours = unwanted_rate(bench, bench->ours.generator, duration_ms);

	if (others <= 0 || ours <= 0)
		return false;
	bench_samples_add(&xdp->bare_rate, others);
	bench_samples_add(&xdp->unwanted_rate, ours);
	return true;
}

static void measure_way(struct xdp_bench *bench, enum bench_xdp_way way, unsigned int repeat, unsigned int duration_ms,
			struct bench_xdp *xdp)
{
	static const char *const names[BENCH_N_XDP_WAYS] = {"test run", "live frames", "veth"};
	bool r = false;

	if (xdp->reason[way][0])
		return;
	bench_blame_begin();
	errno = 0;
	if (way == BENCH_XDP_TEST_RUN)
		r = test_run(bench, xdp, repeat % 2);
	else if (way == BENCH_XDP_LIVE)
		r = live(bench, xdp, duration_ms);
	else
		r = over_veth(bench, xdp, duration_ms);
	if (r)
		return;
	bench_blame("xdp: %s failed in repetition %u: %s", names[way], repeat + 1, errno ? strerror(errno) : "not what was expected");
	snprintf(xdp->reason[way], sizeof(xdp->reason[way]), "%s", bench_blame_text());
}

static void measure(struct xdp_bench *bench, unsigned int n_repeats, unsigned int duration_ms, struct bench_xdp *xdp)
{
	for (unsigned int repeat = 0; repeat < n_repeats; repeat++)
		for (unsigned int way = 0; way < BENCH_N_XDP_WAYS; way++)
			measure_way(bench, way, repeat, duration_ms, xdp);
}

/* The namespace, its devices and what is attached to them end with this process. */
static _Noreturn void child(const struct bench_cores *cores, unsigned int payload_size, unsigned int n_repeats,
			    unsigned int duration_ms, struct bench_xdp *xdp)
{
	static struct xdp_bench bench;
	int r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	bench_pin(cores->core[cores->n - 1]);
	alarm(TIME_MAX_MS / 1000);
	r = set_up(&bench, payload_size);
	if (r == 0)
		measure(&bench, n_repeats, duration_ms, xdp);
	_exit(r ? 1 : 0);
}

int bench_xdp_run(const struct bench_cores *cores, unsigned int payload_size, unsigned int n_repeats, unsigned int duration_ms,
		  struct bench_xdp *ret_xdp)
{
	struct bench_xdp *xdp = mmap(NULL, sizeof(*xdp), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 1;
	pid_t pid;

	if (xdp == MAP_FAILED)
		return -1;
	pid = fork();
	if (pid == 0)
		child(cores, payload_size, n_repeats, duration_ms, xdp);
	if (pid > 0)
		waitpid(pid, &status, 0);
	*ret_xdp = *xdp;
	munmap(xdp, sizeof(*xdp));
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}
