/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What EAL is told: devices, CPUs and memory, unless the user has told it already.
 */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/log.h"
#include "dataplane/options.h"

/* What EAL needs, and the buffers of a queue, in MiB. */
enum { EAL_MIB = 36, QUEUE_MIB = 12, TCP_MIB = 6, NO_HUGE_MIB_MIN = 128 };

__attribute__((format(printf, 2, 3)))
static int add(struct hbus_eal_args *args, const char *format, ...)
{
	va_list list;
	int r;

	if (args->n == (int)HBUS_INGRESS_EAL_ARGS_MAX)
		return -E2BIG;
	va_start(list, format);
	r = vasprintf(&args->at[args->n], format, list);
	va_end(list);
	if (r < 0)
		return -ENOMEM;
	args->owned[args->n] = args->at[args->n];
	args->n++;
	return 0;
}

/* Whether the user's words for EAL have one that begins so. */
static bool has_word(const struct hbus_ingress_options *options, const char *begin)
{
	for (int i = 0; i < options->n_eal_args; i++)
		if (strncmp(options->eal_args[i], begin, strlen(begin)) == 0)
			return true;
	return false;
}

static long read_number(const char *path)
{
	FILE *file = fopen(path, "re");
	long value = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%ld", &value) != 1)
		value = 0;
	fclose(file);
	return value;
}

static long free_hugepages(void)
{
	return read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") -
	       read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages");
}

/* An estimate: ports that only EAL's own words name count as one. */
static unsigned int memory_mib(const struct hbus_ingress_options *options)
{
	unsigned int n_ports = options->ifaces.n + options->pcaps.n + options->vdevs.n;

	unsigned int tcp_mib = options->tcp_addresses.n > 0 ?
				       TCP_MIB * (1 + options->n_workers + (n_ports ? n_ports : 1)) :
				       0;

	return EAL_MIB + QUEUE_MIB * options->n_queues * (n_ports ? n_ports : 1) + tcp_mib;
}

static int add_memory(const struct hbus_ingress_options *options, struct hbus_eal_args *args)
{
	unsigned int mib = memory_mib(options);
	/* There a buffer is a page. */
	unsigned int no_huge_mib = 2 * mib > NO_HUGE_MIB_MIN ? 2 * mib : NO_HUGE_MIB_MIN;
	long n_free = free_hugepages(), n_needed = (long)mib / 2;
	int r;

	if (has_word(options, "--no-huge") || has_word(options, "--in-memory") ||
	    has_word(options, "--huge-dir"))
		return 0;
	if (!options->no_huge && n_free >= n_needed)
		return add(args, "--in-memory");
	if (!options->no_huge)
		hbus_log("%ld hugepages free, %ld needed: packets live on 4 KiB pages "
			 "(sysctl vm.nr_hugepages=%ld gives more)",
			 n_free > 0 ? n_free : 0, n_needed, n_needed + 72);
	r = add(args, "--no-huge");
	if (r == 0 && !has_word(options, "-m"))
		r = add(args, "-m") ?: add(args, "%u", no_huge_mib);
	if (r == 0 && !has_word(options, "--no-shconf"))
		r = add(args, "--no-shconf");
	return r;
}

/* ---- CPUs ------------------------------------------------------------------------------ */

/*
 * The TCP stack takes the CPU that it was given, the poll loops one each, from the last on; control has those that
 * are left, if any.
 */
struct places {
	unsigned int cpus[CPU_SETSIZE];
	unsigned int n_cpus;
	unsigned int n_control;      /* the first so many are control's */
};

static int find_places(const struct hbus_ingress_options *options, struct places *places)
{
	cpu_set_t allowed;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		return -errno;
	*places = (struct places){ .n_cpus = 0 };
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && !(options->has_tcp_cpu && cpu == options->tcp_cpu))
			places->cpus[places->n_cpus++] = cpu;
	/* Better there than on a poll loop's. */
	if (options->has_tcp_cpu && places->n_cpus <= options->n_workers && places->n_cpus < CPU_SETSIZE) {
		memmove(places->cpus + 1, places->cpus, places->n_cpus * sizeof(places->cpus[0]));
		places->cpus[0] = options->tcp_cpu;
		places->n_cpus++;
	}
	places->n_control = places->n_cpus > options->n_workers
				    ? places->n_cpus - options->n_workers
				    : places->n_cpus;
	return 0;
}

static bool has_lcores(const struct hbus_ingress_options *options)
{
	return options->lcores || has_word(options, "-l") || has_word(options, "-c") ||
	       has_word(options, "--lcores");
}

int hbus_options_pin_control(const struct hbus_ingress_options *options)
{
	struct places places;
	cpu_set_t control;
	int r;

	if (has_lcores(options))
		return 0;
	r = find_places(options, &places);
	if (r < 0)
		return r;
	CPU_ZERO(&control);
	for (unsigned int i = 0; i < places.n_control; i++)
		CPU_SET(places.cpus[i], &control);
	return sched_setaffinity(0, sizeof(control), &control) < 0 ? -errno : 0;
}

static int add_lcores(const struct hbus_ingress_options *options, struct hbus_eal_args *args)
{
	struct places places;
	char text[4096];
	int len, r;

	if (options->lcores)
		return add(args, "--lcores=%s", options->lcores);
	if (has_lcores(options))
		return 0;
	r = find_places(options, &places);
	if (r < 0)
		return r;
	len = snprintf(text, sizeof(text), "0@(");
	for (unsigned int i = 0; i < places.n_control && len < (int)sizeof(text) - 600; i++)
		len += snprintf(text + len, 8, "%s%u", i ? "," : "", places.cpus[i]);
	len += snprintf(text + len, 8, ")");
	for (unsigned int i = 0; i < options->n_workers; i++)
		len += snprintf(text + len, 16, ",%u@%u", i + 1,
				places.cpus[places.n_cpus - 1 - i % places.n_cpus]);
	return add(args, "--lcores=%s", text);
}

/* ---- all ------------------------------------------------------------------------------- */

static int add_devices(const struct hbus_ingress_options *options, struct hbus_eal_args *args)
{
	int r = 0;

	if (!has_word(options, "-a") && !has_word(options, "-b") && !has_word(options, "--allow") &&
	    !has_word(options, "--no-pci"))
		r = add(args, "--no-pci");
	for (unsigned int i = 0; i < options->ifaces.n && r == 0; i++)
		r = add(args, "--vdev=net_af_xdp%u,iface=%s,"
			      "busy_budget=0,queue_count=%u,xdp_prog=%s",
			i, options->ifaces.at[i], options->n_queues, options->xdp_object);
	for (unsigned int i = 0; i < options->pcaps.n && r == 0; i++)
		r = add(args, "--vdev=net_pcap%u,rx_pcap=%s", i, options->pcaps.at[i]);
	for (unsigned int i = 0; i < options->vdevs.n && r == 0; i++)
		r = add(args, "--vdev=%s", options->vdevs.at[i]);
	return r;
}

int hbus_options_eal(const struct hbus_ingress_options *options, struct hbus_eal_args *ret_args)
{
	int r;

	*ret_args = (struct hbus_eal_args){ .n = 0 };
	r = add(ret_args, "hugebus-ingress");
	if (r == 0 && !has_word(options, "--no-telemetry"))
		r = add(ret_args, "--no-telemetry");
	if (r == 0 && !has_word(options, "--log-level"))
		r = add(ret_args, "--log-level=warning");
	if (r == 0)
		r = add_lcores(options, ret_args);
	if (r == 0)
		r = add_memory(options, ret_args);
	if (r == 0)
		r = add_devices(options, ret_args);
	for (int i = 0; i < options->n_eal_args && r == 0; i++)
		r = add(ret_args, "%s", options->eal_args[i]);
	if (r < 0)
		hbus_options_eal_free(ret_args);
	return r;
}

void hbus_options_eal_free(struct hbus_eal_args *args)
{
	for (int i = 0; i < args->n; i++)
		free(args->owned[i]);
	args->n = 0;
}
