/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TLS of the load generator: OpenSSL in tls.c, or nothing in tls_none.c
 *
 * A session is a void pointer to whoever is not tls.c.
 */
#pragma once

#include "bench/mqtt/transport.h"

/* On a connected, blocking socket, which stays the caller's. Return: NULL with a sentence on stderr. */
void *bench_mqtt_tls_connect(int fd, const char *host);
void bench_mqtt_tls_free(void *session);
/* As bench_mqtt_transport_read() and _write(). */
ssize_t bench_mqtt_tls_read(void *session, void *data, size_t size);
ssize_t bench_mqtt_tls_write(void *session, const void *data, size_t size);
bool bench_mqtt_tls_has_more(void *session);
