/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parent of the poll process. Single-threaded, allocates nothing, waits for signals only.
 */
#include "dataplane/guard.h"

#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/log.h"
#ifdef HBUS_HAVE_XDP
#include "ebpf/loader.h"
#endif

/* How often, and after how long each time, a claim is tried that somebody has. */
#define CLAIM_TRIES 100U
#define CLAIM_NAP_NS 20000000L

/* The interfaces that any net_af_xdp device of this command line drives. */
struct interfaces {
	unsigned int idx[2 * HBUS_INGRESS_DEVICES_MAX];
	unsigned int n;
};

static void add_interface(struct interfaces *ifaces, const char *name)
{
	unsigned int ifindex = if_nametoindex(name);

	if (ifindex != 0 && ifaces->n < sizeof(ifaces->idx) / sizeof(ifaces->idx[0]))
		ifaces->idx[ifaces->n++] = ifindex;
}

/* From "net_af_xdp0,iface=NAME,..." */
static void add_device(struct interfaces *ifaces, const char *device)
{
	const char *at = strstr(device, "net_af_xdp") ? strstr(device, "iface=") : NULL;
	char name[IF_NAMESIZE];
	size_t len;

	if (!at)
		return;
	at += strlen("iface=");
	len = strcspn(at, ",");
	if (len >= sizeof(name))
		return;
	memcpy(name, at, len);
	name[len] = '\0';
	add_interface(ifaces, name);
}

static void find_interfaces(const struct hbus_ingress_options *options, struct interfaces *ifaces)
{
	for (unsigned int i = 0; i < options->ifaces.n; i++)
		add_interface(ifaces, options->ifaces.at[i]);
	for (unsigned int i = 0; i < options->vdevs.n; i++)
		add_device(ifaces, options->vdevs.at[i]);
	for (int i = 0; i < options->n_eal_args; i++)
		add_device(ifaces, options->eal_args[i]);
}

static int check_names(const struct hbus_ingress_options *options)
{
	for (unsigned int i = 0; i < options->ifaces.n; i++) {
		if (if_nametoindex(options->ifaces.at[i]) == 0) {
			hbus_log("no interface %s", options->ifaces.at[i]);
			return -ENODEV;
		}
	}
	return 0;
}

#ifdef HBUS_HAVE_XDP
/*
 * Of a killed ingress the guard may be gone while the poll process still gives back its memory: whoever starts the next
 * one at once must not be told that it lives.
 */
static int claim(unsigned int ifindex, int *ret_fd, struct hbus_filter_error *error)
{
	for (unsigned int i = 0;; i++) {
		int r = hbus_filter_claim(ifindex, ret_fd, error);

		if (r != HBUS_FILTER_BUSY || i == CLAIM_TRIES)
			return r;
		nanosleep(&(struct timespec){ .tv_nsec = CLAIM_NAP_NS }, NULL);
	}
}

/* The claims last as long as this process and its child, so their descriptors are not kept. */
static int take(const struct interfaces *ifaces)
{
	for (unsigned int i = 0; i < ifaces->n; i++) {
		struct hbus_filter_error error = { "" };
		char name[IF_NAMESIZE] = "?";
		int fd, r;

		if_indextoname(ifaces->idx[i], name);
		r = claim(ifaces->idx[i], &fd, &error);
		if (r == 0)
			r = hbus_filter_remove(ifaces->idx[i], &error);
		if (r == 0)
			hbus_log("%s: removed the filter that a killed ingress had left", name);
		else if (r != HBUS_FILTER_NONE) {
			hbus_log("%s: %s", name, error.text);
			return r < 0 ? r : -EBUSY;
		}
	}
	return 0;
}

/* What a filter has let through and no counter of the killed process has was in its queues. */
static void report_filter(unsigned int ifindex)
{
	struct hbus_reason_stats stats[HBUS_REASONS_MAX];
	struct hbus_filter *filter = NULL;
	char name[IF_NAMESIZE] = "?";

	if (hbus_filter_open(ifindex, &filter, NULL) != 0)
		return;
	if_indextoname(ifindex, name);
	if (hbus_filter_stats_read(filter, stats) == 0)
		hbus_log("%s: the filter had accepted %llu frames", name,
			 (unsigned long long)(stats[HBUS_REASON_ACCEPTED].packets +
					      stats[HBUS_REASON_STACK].packets +
					      stats[HBUS_REASON_TAPPED].packets));
	hbus_filter_free(filter);
}

/* Return: how many filters were still attached. */
static unsigned int release(const struct interfaces *ifaces)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ifaces->n; i++) {
		report_filter(ifaces->idx[i]);
		n += hbus_filter_remove(ifaces->idx[i], NULL) == 0;
	}
	return n;
}
#else
static int take(const struct interfaces *ifaces)
{
	if (ifaces->n > 0) {
		hbus_log("built without XDP: use --vdev net_af_packet");
		return -ENOTSUP;
	}
	return 0;
}

static unsigned int release(const struct interfaces *ifaces)
{
	(void)ifaces;
	return 0;
}
#endif

static int run_child(const struct hbus_ingress_options *options, hbus_guard_fn poll_fn,
		     pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		return EXIT_FAILURE;
	return poll_fn(options);
}

/* Waits for the child's end and passes on what the guard is told meanwhile. */
static int watch(pid_t child, const sigset_t *signals)
{
	for (;;) {
		int status, signal_number = sigwaitinfo(signals, NULL);

		if (signal_number == SIGCHLD) {
			if (waitpid(child, &status, WNOHANG) == child)
				return status;
		} else if (signal_number > 0) {
			kill(child, signal_number);
		}
	}
}

int hbus_guard_run(const struct hbus_ingress_options *options, hbus_guard_fn poll_fn)
{
	struct interfaces ifaces = { .n = 0 };
	pid_t parent = getpid(), child;
	unsigned int n_left;
	sigset_t signals;
	int status;

	if (check_names(options) < 0)
		return EXIT_FAILURE;
	find_interfaces(options, &ifaces);
	if (take(&ifaces) < 0)
		return EXIT_FAILURE;

	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	child = fork();
	if (child < 0) {
		hbus_log("fork: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	if (child == 0)
		exit(run_child(options, poll_fn, parent));
	status = watch(child, &signals);
	n_left = release(&ifaces);
	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);
	hbus_log("the poll process was killed by signal %d; %u filter%s detached", WTERMSIG(status),
		 n_left, n_left == 1 ? "" : "s");
	return EXIT_FAILURE;
}
