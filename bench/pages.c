/* SPDX-License-Identifier: BSD-3-Clause */
/* What is asked of the bus itself. Apart from the harness, which does not need the library. */
#include <stdio.h>

#include "bench/harness.h"
#include "ctl/client/hugebus.h"

const char *bench_page_size(const char *socket)
{
	struct hbus_publisher_info info = {0};
	struct hbus_publisher *publisher = NULL;
	struct hbus *bus = NULL;
	hbus_topic_t topic;

	if (hbus_open(socket, NULL, &bus) == 0 && hbus_publisher_open(bus, NULL, &publisher) == 0 &&
	    hbus_publisher_topic(publisher, "page-size", NULL, NULL, &topic) == 0)
		(void)hbus_publisher_info(publisher, &info);
	hbus_publisher_close(publisher);
	hbus_close(bus);
	return info.is_huge ? "2 MiB" : "4 KiB";
}

bool bench_answers(const char *socket)
{
	struct hbus *bus = NULL;
	bool is_there = hbus_open(socket, NULL, &bus) == 0;

	if (!is_there)
		fprintf(stderr, "hugebus-bench: %s\n", hbus_error_text());
	hbus_close(bus);
	return is_there;
}
