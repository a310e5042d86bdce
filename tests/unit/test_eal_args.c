/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What EAL is told: devices, CPUs and memory, and that the user's own words come first.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/options.h"

static struct hbus_ingress_options options = { .n_workers = 1, .n_queues = 1, .no_huge = true,
					       .xdp_object = "/x.o" };
static struct hbus_eal_args args;

static void make(void)
{
	cr_assert_eq(hbus_options_eal(&options, &args), 0);
}

static void set_user_words(char **words, int n)
{
	options.eal_args = words;
	options.n_eal_args = n;
}

/* How many of EAL's words begin so. */
static int count(const char *begin)
{
	int n = 0;

	for (int i = 0; i < args.n; i++)
		n += strncmp(args.at[i], begin, strlen(begin)) == 0;
	return n;
}

static const char *find(const char *begin)
{
	for (int i = 0; i < args.n; i++)
		if (strncmp(args.at[i], begin, strlen(begin)) == 0)
			return args.at[i];
	return "";
}

Test(eal_args, drive_an_interface_through_af_xdp_with_our_program)
{
	options.ifaces = (struct hbus_words){ .at = { "eth0", "eth1" }, .n = 2 };
	options.n_queues = 2;
	make();
	cr_assert_eq(count("--vdev="), 2);
	cr_assert_str_eq(find("--vdev=net_af_xdp1"),
			 "--vdev=net_af_xdp1,iface=eth1,busy_budget=0,queue_count=2,xdp_prog=/x.o");
	hbus_options_eal_free(&args);
}

Test(eal_args, name_captures_and_pass_devices_on)
{
	options.pcaps = (struct hbus_words){ .at = { "a.pcap" }, .n = 1 };
	options.vdevs = (struct hbus_words){ .at = { "net_null0" }, .n = 1 };
	make();
	cr_assert_eq(count("--vdev=net_pcap0,rx_pcap=a.pcap"), 1);
	cr_assert_eq(count("--vdev=net_null0"), 1);
	cr_assert_eq(count("--no-pci"), 1);
	hbus_options_eal_free(&args);
}

Test(eal_args, probe_pci_when_the_user_allows_a_device)
{
	char *words[] = { "-a", "0000:01:00.0" };

	set_user_words(words, 2);
	make();
	cr_assert_eq(count("--no-pci"), 0);
	cr_assert_str_eq(args.at[args.n - 1], "0000:01:00.0");
	hbus_options_eal_free(&args);
}

Test(eal_args, take_small_pages_with_a_size_when_told)
{
	make();
	cr_assert_eq(count("--no-huge"), 1);
	cr_assert_eq(count("-m"), 1);
	cr_assert_eq(count("128"), 1);
	hbus_options_eal_free(&args);
	options.n_queues = 16;
	make();
	cr_assert_eq(count("456"), 1); /* a buffer is a page there: twice as much */
	hbus_options_eal_free(&args);
}

Test(eal_args, leave_memory_and_lcores_to_a_user_who_names_them)
{
	char *words[] = { "--in-memory", "-l", "0,1", "--log-level=8" };

	set_user_words(words, 4);
	make();
	cr_assert_eq(count("--no-huge"), 0);
	cr_assert_eq(count("--in-memory"), 1);
	cr_assert_eq(count("--lcores"), 0);
	cr_assert_eq(count("--log-level"), 1);
	cr_assert_eq(hbus_options_pin_control(&options), 0);
	hbus_options_eal_free(&args);
}

Test(eal_args, give_each_poll_loop_a_cpu_that_control_keeps_off)
{
	cpu_set_t before, after;
	unsigned int last = 0;
	char loop[32];

	cr_assert_eq(sched_getaffinity(0, sizeof(before), &before), 0);
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &before))
			last = cpu;
	make();
	snprintf(loop, sizeof(loop), ",1@%u", last);
	cr_assert_not_null(strstr(find("--lcores=0@("), loop));
	cr_assert_eq(hbus_options_pin_control(&options), 0);
	cr_assert_eq(sched_getaffinity(0, sizeof(after), &after), 0);
	if (CPU_COUNT(&before) > 1)
		cr_assert_not(CPU_ISSET(last, &after));
	else
		cr_assert(CPU_ISSET(last, &after));
	hbus_options_eal_free(&args);
}

Test(eal_args, keep_others_off_the_cpu_of_the_tcp_stack)
{
	cpu_set_t before, after;
	unsigned int first = 0;

	cr_assert_eq(sched_getaffinity(0, sizeof(before), &before), 0);
	while (!CPU_ISSET(first, &before))
		first++;
	options.has_tcp_cpu = true;
	options.tcp_cpu = first;
	make();
	cr_assert_eq(hbus_options_pin_control(&options), 0);
	cr_assert_eq(sched_getaffinity(0, sizeof(after), &after), 0);
	/* Unless there is only a poll loop's beside it. */
	cr_assert_eq(CPU_ISSET(first, &after), CPU_COUNT(&before) < 3);
	cr_assert(CPU_COUNT(&before) < 2 || CPU_COUNT(&after) == (CPU_COUNT(&before) < 3 ? 1 : CPU_COUNT(&before) - 2));
	hbus_options_eal_free(&args);
}

Test(eal_args, refuse_more_words_than_there_is_room_for)
{
	static char *words[HBUS_INGRESS_EAL_ARGS_MAX + 1];

	for (unsigned int i = 0; i <= HBUS_INGRESS_EAL_ARGS_MAX; i++)
		words[i] = "x";
	set_user_words(words, HBUS_INGRESS_EAL_ARGS_MAX + 1);
	cr_assert_eq(hbus_options_eal(&options, &args), -E2BIG);
	cr_assert_eq(args.n, 0);
}
