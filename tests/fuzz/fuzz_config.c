/* SPDX-License-Identifier: BSD-3-Clause */
/* Any text as a configuration: it is refused with a sentence, or it is taken whole. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ctl/daemon/config.h"

/* libconfig 1.5 leaks a string when the syntax is wrong behind it. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	static char path[32];
	struct hbus_config_error error = { "" };
	struct hbus_config config;
	int r;

	if (fd < 0) {
		fd = memfd_create("config", MFD_CLOEXEC);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	/* An include would read other files of this machine. */
	for (size_t i = 0; i < size; i++)
		if (data[i] == '@')
			return 0;
	if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	r = hbus_config_load(path, &config, &error);
	if (r == 0)
		hbus_config_deinit(&config);
	else if (error.text[0] == '\0')
		abort();
	return 0;
}
