/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon of a case holds. See holds.h. */
#include "holds.h"

#include <dirent.h>
#include <unistd.h>

#include "bus.h"

int holds_fds(void)
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

int holds_fds_at_rest(void)
{
	struct hbus *bus = bus_open();

	OK(hbus_topic_declare(bus, "rest", NULL, NULL));
	hbus_close(bus);
	bus_sleep_ms(50);
	return holds_fds();
}

long holds_kib(void)
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

void holds_expect_fds_back_at(int wanted)
{
	uint64_t until_ms = bus_now_ms() + 8000;

	while (holds_fds() > wanted && bus_now_ms() < until_ms)
		bus_sleep_ms(20);
	if (holds_fds() > wanted) {
		char command[128];

		snprintf(command, sizeof(command), "ls -l /proc/%d/fd | awk '{print $11,$12}' | sed 's/[0-9]*//g' | sort | uniq -c",
			 bus_daemon_pid());
		(void)!system(command);
	}
	CHECK(holds_fds() <= wanted);
}
