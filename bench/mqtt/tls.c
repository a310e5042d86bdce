/* SPDX-License-Identifier: BSD-3-Clause */
/* TLS of the load generator, by OpenSSL. See tls.h. */
#include "bench/mqtt/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>

static SSL_CTX *context;

bool bench_mqtt_tls_is_here(void)
{
	return true;
}

static const char *last_error(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	return text ? text : "the broker ended it";
}

int bench_mqtt_tls_init(const struct bench_mqtt_tls *options)
{
	bool is_good;

	context = SSL_CTX_new(TLS_client_method());
	if (!context)
		return -1;
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_verify(context, options->is_unchecked ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	is_good = options->authorities ? SSL_CTX_load_verify_locations(context, options->authorities, NULL) == 1
				       : SSL_CTX_set_default_verify_paths(context) == 1;
	if (is_good && options->certificate)
		is_good = SSL_CTX_use_certificate_chain_file(context, options->certificate) == 1;
	if (is_good && options->key)
		is_good = SSL_CTX_use_PrivateKey_file(context, options->key, SSL_FILETYPE_PEM) == 1 &&
			  SSL_CTX_check_private_key(context) == 1;
	if (!is_good)
		fprintf(stderr, "hugebus-bench: cannot use --ca, --cert or --key: %s\n", last_error());
	return is_good ? 0 : -1;
}

static bool set_host(SSL *ssl, const char *host)
{
	uint8_t address[16];

	if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

void *bench_mqtt_tls_connect(int fd, const char *host)
{
	SSL *ssl = SSL_new(context);
	long verified;

	ERR_clear_error();
	if (ssl && set_host(ssl, host) && SSL_set_fd(ssl, fd) == 1 && SSL_connect(ssl) == 1)
		return ssl;
	verified = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;
	fprintf(stderr, "hugebus-bench: no TLS with %s: %s\n", host,
		verified == X509_V_OK ? last_error() : X509_verify_cert_error_string(verified));
	SSL_free(ssl);
	return NULL;
}

void bench_mqtt_tls_free(void *session)
{
	(void)SSL_shutdown(session);
	SSL_free(session);
}

/* Of a call that has not done anything. */
static ssize_t result_of(SSL *ssl, int r)
{
	switch (SSL_get_error(ssl, r)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		return -ECONNRESET;
	}
}

ssize_t bench_mqtt_tls_read(void *session, void *data, size_t size)
{
	int r;

	ERR_clear_error();
	r = SSL_read(session, data, size < INT_MAX ? (int)size : INT_MAX);
	return r > 0 ? r : result_of(session, r);
}

ssize_t bench_mqtt_tls_write(void *session, const void *data, size_t size)
{
	ssize_t n;
	int r;

	if (size == 0)
		return 0;
	ERR_clear_error();
	r = SSL_write(session, data, size < INT_MAX ? (int)size : INT_MAX);
	n = r > 0 ? r : result_of(session, r);
	return n == 0 ? -ECONNRESET : n;
}

bool bench_mqtt_tls_has_more(void *session)
{
	return SSL_has_pending(session);
}
