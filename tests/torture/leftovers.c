/* SPDX-License-Identifier: BSD-3-Clause */
/* What may not be left when it is over: processes, files, descriptors, hugepages, filters on interfaces. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/torture/torture.h"

/* The epoll of a daemon that has just lost somebody may lag behind. */
#define FDS_MORE 2u

static unsigned int count_entries(const char *path, const char *const *known)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned int n = 0;

	while (dir && (entry = readdir(dir))) {
		bool is_known = entry->d_name[0] == '.';

		for (const char *const *name = known; name && *name && !is_known; name++)
			is_known = strncmp(entry->d_name, *name, strlen(*name)) == 0;
		if (!is_known && known)
			fprintf(stderr, "torture: left over: %s/%s\n", path, entry->d_name);
		n += !is_known;
	}
	if (dir)
		closedir(dir);
	return n;
}

static unsigned int count_fds(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	return count_entries(path, NULL);
}

static long free_huge_pages(void)
{
	FILE *file = fopen("/proc/meminfo", "r");
	char line[128];
	long n = 0;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "HugePages_Free: %ld", &n) == 1)
			break;
	if (file)
		fclose(file);
	return n;
}

void leftovers_before(struct torture *t, struct leftovers *ret)
{
	/* Orphans become ours, and are seen. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	ret->daemon_fds = count_fds(t->victim[0].pid);
	ret->huge_pages = free_huge_pages();
}

static unsigned int count_processes(const struct torture *t)
{
	char path[64], text[512];
	unsigned int n = 0;
	FILE *file;

	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	file = fopen(path, "r");
	if (file && fgets(text, sizeof(text), file))
		for (char *at = strtok(text, " "); at; at = strtok(NULL, " ")) {
			pid_t pid = (pid_t)strtol(at, NULL, 10);

			if (pid <= 0 || pid == t->victim[0].pid)
				continue;
			fprintf(stderr, "torture: left over: process %d\n", (int)pid);
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			n++;
		}
	if (file)
		fclose(file);
	return n;
}

unsigned int leftovers_after(struct torture *t, const struct leftovers *before)
{
	static const char *const known[] = {"bus.sock", "bus.conf", "ingress.log", NULL};
	unsigned int n = count_processes(t), daemon_fds = count_fds(t->victim[0].pid);

	n += count_entries(t->directory, known);
	if (daemon_fds > before->daemon_fds + FDS_MORE) {
		fprintf(stderr, "torture: left over: descriptors of the daemon, %u after %u\n", daemon_fds, before->daemon_fds);
		n++;
	}
	if (t->ingress_path && packets_has_filter()) {
		fprintf(stderr, "torture: left over: a filter on " PACKETS_INTERFACE "\n");
		n++;
	}
	printf("daemon's descriptors: %u before, %u after; free hugepages: %ld before, %ld after\n", before->daemon_fds,
	       daemon_fds, before->huge_pages, free_huge_pages());
	return n;
}

void leftovers_plant(void)
{
	if (fork() == 0) {
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, 0);
			sleep(600);
		}
		_exit(0);
	}
}
