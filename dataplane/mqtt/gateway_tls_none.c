/* SPDX-License-Identifier: BSD-3-Clause */
/* The gateway without OpenSSL: it says so when it is asked for TLS, and there are no sessions. */
#include <errno.h>

#include "dataplane/mqtt/gateway_tls.h"

int hbus_gateway_tls_open(const struct hbus_gateway_tls_files *files, const char **ret_text,
			  struct hbus_gateway_tls **ret_tls)
{
	(void)files;
	(void)ret_tls;
	*ret_text = "this program was built without OpenSSL";
	return -ENOTSUP;
}

struct hbus_gateway_tls *hbus_gateway_tls_close(struct hbus_gateway_tls *tls)
{
	(void)tls;
	return NULL;
}

struct hbus_gateway_tls_session *hbus_gateway_tls_new(struct hbus_gateway_tls *tls, int fd)
{
	(void)tls;
	(void)fd;
	return NULL;
}

struct hbus_gateway_tls_session *hbus_gateway_tls_free(struct hbus_gateway_tls_session *session)
{
	(void)session;
	return NULL;
}

ssize_t hbus_gateway_tls_read(struct hbus_gateway_tls_session *session, void *data, size_t size)
{
	(void)session;
	(void)data;
	(void)size;
	return -ENOTSUP;
}

ssize_t hbus_gateway_tls_write(struct hbus_gateway_tls_session *session, const void *data, size_t size)
{
	(void)session;
	(void)data;
	(void)size;
	return -ENOTSUP;
}

bool hbus_gateway_tls_wants_write(const struct hbus_gateway_tls_session *session)
{
	(void)session;
	return false;
}

bool hbus_gateway_tls_has_more(const struct hbus_gateway_tls_session *session)
{
	(void)session;
	return false;
}

bool hbus_gateway_tls_has_failed(const struct hbus_gateway_tls_session *session)
{
	(void)session;
	return false;
}

void hbus_gateway_tls_bye(struct hbus_gateway_tls_session *session)
{
	(void)session;
}

bool hbus_gateway_tls_name(const struct hbus_gateway_tls_session *session, char *name, size_t size)
{
	(void)session;
	(void)name;
	(void)size;
	return false;
}
