/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * TLS of the gateway, by OpenSSL; without it hbus_gateway_tls_open() says -ENOTSUP
 *
 * TLS 1.2 and later. With a file of authorities clients must show a certificate that one of them has
 * signed, and its common name is who they are. A session belongs to one non-blocking socket.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct hbus_gateway_tls;
struct hbus_gateway_tls_session;

struct hbus_gateway_tls_files {
	const char *certificate; /* chain, PEM */
	const char *key;         /* PEM */
	const char *authorities; /* PEM; NULL = clients need no certificate */
};

/* Return: 0 or -errno, with a sentence in @ret_text. */
int hbus_gateway_tls_open(const struct hbus_gateway_tls_files *files, const char **ret_text,
			  struct hbus_gateway_tls **ret_tls);
struct hbus_gateway_tls *hbus_gateway_tls_close(struct hbus_gateway_tls *tls);

/* Borrows @fd. Return: NULL without memory. */
struct hbus_gateway_tls_session *hbus_gateway_tls_new(struct hbus_gateway_tls *tls, int fd);
struct hbus_gateway_tls_session *hbus_gateway_tls_free(struct hbus_gateway_tls_session *session);

/*
 * As recv() and send(), with -errno instead of errno: -EAGAIN until the socket is ready again. The
 * handshake is part of both. After -EAGAIN hbus_gateway_tls_wants_write() says for what.
 */
ssize_t hbus_gateway_tls_read(struct hbus_gateway_tls_session *session, void *data, size_t size);
ssize_t hbus_gateway_tls_write(struct hbus_gateway_tls_session *session, const void *data, size_t size);
bool hbus_gateway_tls_wants_write(const struct hbus_gateway_tls_session *session);
/* Decrypted bytes wait that epoll does not know of. */
bool hbus_gateway_tls_has_more(const struct hbus_gateway_tls_session *session);
/* The handshake was not finished. */
bool hbus_gateway_tls_has_failed(const struct hbus_gateway_tls_session *session);
/* Says goodbye; does not wait for an answer. */
void hbus_gateway_tls_bye(struct hbus_gateway_tls_session *session);

/* The common name of the client's certificate. Return: false when it has shown none. */
bool hbus_gateway_tls_name(const struct hbus_gateway_tls_session *session, char *name, size_t size);
