/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files that people write for the doors: topics of MQTT-SN with fixed numbers, and passwords. By the first byte. A file is
 * refused with a sentence or a line, or taken.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dataplane/mqtt/gateway_login.h"
#include "dataplane/mqttsn/engine.h"
#include "dataplane/mqttsn/predefined.h"

static unsigned int n_sentences;

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

static void on_log(const char *sentence)
{
	n_sentences += sentence[0] != '\0';
}

static void do_send(void *context, const struct hbus_sn_peer *peer, const struct hbus_sn_link *link, const uint8_t *bytes,
		    size_t size)
{
	(void)context;
	(void)peer;
	(void)link;
	(void)bytes;
	(void)size;
}

static void read_topics(const char *path)
{
	const struct hbus_sn_io io = { .send = do_send };
	struct hbus_sn_config config;
	struct hbus_sn *engine;
	int r;

	hbus_sn_config_default(&config);
	require(hbus_sn_new(&config, &io, 1000, &engine) == 0);
	n_sentences = 0;
	r = hbus_sn_predefined_read(engine, path, on_log);
	require((r < 0) == (n_sentences == 1));
	hbus_sn_free(engine);
}

static void read_passwords(const char *path)
{
	struct hbus_gateway_login *login = NULL;
	unsigned int line = 0;
	int r = hbus_gateway_login_open(path, &line, &login);

	require((r == 0) == (login != NULL));
	if (login)
		hbus_gateway_login_close(login);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	static char path[32];

	if (size == 0)
		return 0;
	if (fd < 0) {
		fd = memfd_create("file", MFD_CLOEXEC);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	require(ftruncate(fd, 0) == 0 && pwrite(fd, data + 1, size - 1, 0) == (ssize_t)size - 1);
	if (data[0] & 1)
		read_topics(path);
	else
		read_passwords(path);
	return 0;
}
