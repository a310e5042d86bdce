/* SPDX-License-Identifier: BSD-3-Clause */
/* TLS of the gateway. See gateway_tls.h. */
#include "dataplane/mqtt/gateway_tls.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

struct hbus_gateway_tls {
	SSL_CTX *context;
};

struct hbus_gateway_tls_session {
	SSL *ssl;
	bool wants_write, is_broken;
};

static int load_files(SSL_CTX *context, const struct hbus_gateway_tls_files *files)
{
	if (SSL_CTX_use_certificate_chain_file(context, files->certificate) != 1 ||
	    SSL_CTX_use_PrivateKey_file(context, files->key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(context) != 1)
		return -EINVAL;
	if (!files->authorities)
		return 0;
	if (SSL_CTX_load_verify_locations(context, files->authorities, NULL) != 1)
		return -EINVAL;
	SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(files->authorities));
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return 0;
}

static const char *describe(unsigned long error, char *text, size_t size)
{
	if (ERR_SYSTEM_ERROR(error))
		return strerror(ERR_GET_REASON(error));
	ERR_error_string_n(error, text, size);
	return text;
}

int hbus_gateway_tls_open(const struct hbus_gateway_tls_files *files, const char **ret_text,
			  struct hbus_gateway_tls **ret_tls)
{
	static const unsigned char session_context[] = "hugebus-mqtt";
	static char text[256];
	struct hbus_gateway_tls *tls = calloc(1, sizeof(*tls));
	int r = -ENOMEM;

	ERR_clear_error();
	if (tls)
		tls->context = SSL_CTX_new(TLS_server_method());
	if (tls && tls->context) {
		SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
		SSL_CTX_set_options(tls->context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
		SSL_CTX_set_mode(tls->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
						       SSL_MODE_RELEASE_BUFFERS);
		SSL_CTX_set_session_id_context(tls->context, session_context, sizeof(session_context) - 1);
		r = load_files(tls->context, files);
	}
	if (r < 0) {
		*ret_text = describe(ERR_get_error(), text, sizeof(text));
		hbus_gateway_tls_close(tls);
		return r;
	}
	*ret_tls = tls;
	return 0;
}

struct hbus_gateway_tls *hbus_gateway_tls_close(struct hbus_gateway_tls *tls)
{
	if (tls)
		SSL_CTX_free(tls->context);
	free(tls);
	return NULL;
}

struct hbus_gateway_tls_session *hbus_gateway_tls_new(struct hbus_gateway_tls *tls, int fd)
{
	struct hbus_gateway_tls_session *session = calloc(1, sizeof(*session));

	if (session)
		session->ssl = SSL_new(tls->context);
	if (!session || !session->ssl || SSL_set_fd(session->ssl, fd) != 1)
		return hbus_gateway_tls_free(session);
	SSL_set_accept_state(session->ssl);
	return session;
}

struct hbus_gateway_tls_session *hbus_gateway_tls_free(struct hbus_gateway_tls_session *session)
{
	if (session)
		SSL_free(session->ssl);
	free(session);
	return NULL;
}

/* What a call that moved nothing means. */
static ssize_t outcome(struct hbus_gateway_tls_session *session, int r)
{
	int error = SSL_get_error(session->ssl, r);

	session->wants_write = error == SSL_ERROR_WANT_WRITE;
	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
		return -EAGAIN;
	if (error == SSL_ERROR_ZERO_RETURN)
		return 0;
	session->is_broken = true;
	ERR_clear_error();
	return -ECONNRESET;
}

ssize_t hbus_gateway_tls_read(struct hbus_gateway_tls_session *session, void *data, size_t size)
{
	size_t n;
	int r;

	if (session->is_broken)
		return -ECONNRESET;
	ERR_clear_error();
	r = SSL_read_ex(session->ssl, data, size, &n);
	session->wants_write = false;
	return r == 1 ? (ssize_t)n : outcome(session, r);
}

ssize_t hbus_gateway_tls_write(struct hbus_gateway_tls_session *session, const void *data, size_t size)
{
	size_t n;
	ssize_t result;
	int r;

	if (session->is_broken)
		return -ECONNRESET;
	ERR_clear_error();
	r = SSL_write_ex(session->ssl, data, size, &n);
	session->wants_write = false;
	if (r == 1)
		return (ssize_t)n;
	result = outcome(session, r);
	return result == 0 ? -ECONNRESET : result;
}

bool hbus_gateway_tls_wants_write(const struct hbus_gateway_tls_session *session)
{
	return session->wants_write;
}

bool hbus_gateway_tls_has_more(const struct hbus_gateway_tls_session *session)
{
	return !session->is_broken && SSL_pending(session->ssl) > 0;
}

bool hbus_gateway_tls_has_failed(const struct hbus_gateway_tls_session *session)
{
	return session->is_broken && !SSL_is_init_finished(session->ssl);
}

void hbus_gateway_tls_bye(struct hbus_gateway_tls_session *session)
{
	if (!session->is_broken && SSL_is_init_finished(session->ssl))
		(void)SSL_shutdown(session->ssl);
	ERR_clear_error();
}

bool hbus_gateway_tls_name(const struct hbus_gateway_tls_session *session, char *name, size_t size)
{
	X509 *certificate = SSL_get0_peer_certificate(session->ssl);
	int n;

	if (!certificate || size > INT_MAX || SSL_get_verify_result(session->ssl) != X509_V_OK)
		return false;
	n = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, (int)size);
	/* A name that was cut, or that holds a terminator, could be somebody else's. */
	return n > 0 && (size_t)n < size - 1 && strlen(name) == (size_t)n;
}
