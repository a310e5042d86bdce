/* SPDX-License-Identifier: BSD-3-Clause */
/* Built without OpenSSL: no TLS. */
#include <errno.h>
#include <stdio.h>

#include "bench/mqtt/tls.h"

bool bench_mqtt_tls_is_here(void)
{
	return false;
}

int bench_mqtt_tls_init(const struct bench_mqtt_tls *options)
{
	(void)options;
	return 0;
}

void *bench_mqtt_tls_connect(int fd, const char *host)
{
	(void)fd;
	fprintf(stderr, "hugebus-bench: %s: built without TLS\n", host);
	return NULL;
}

void bench_mqtt_tls_free(void *session)
{
	(void)session;
}

ssize_t bench_mqtt_tls_read(void *session, void *data, size_t size)
{
	(void)session;
	(void)data;
	(void)size;
	return -ENOTSUP;
}

ssize_t bench_mqtt_tls_write(void *session, const void *data, size_t size)
{
	(void)session;
	(void)data;
	(void)size;
	return -ENOTSUP;
}

bool bench_mqtt_tls_has_more(void *session)
{
	(void)session;
	return false;
}
