/* SPDX-License-Identifier: BSD-3-Clause */
/* In place of tcp.c where there is no lwIP: says so when it is asked for. */
#include <errno.h>

#include "dataplane/log.h"
#include "dataplane/tcp/tcp.h"

int hbus_tcp_new(const struct hbus_ingress_options *options, const struct hbus_ports *ports,
		 unsigned int n_loops, struct hbus_tcp **ret_tcp)
{
	(void)ports;
	(void)n_loops;
	*ret_tcp = NULL;
	if (options->tcp_addresses.n == 0)
		return 0;
	hbus_log("--tcp: built without lwIP (Debian's liblwip-dev)");
	return -ENOTSUP;
}

struct hbus_tcp *hbus_tcp_free(struct hbus_tcp *tcp)
{
	return tcp;
}

struct hbus_tap *hbus_tcp_tap(struct hbus_tcp *tcp, unsigned int loop_idx)
{
	(void)tcp;
	(void)loop_idx;
	return NULL;
}

int hbus_tcp_start(struct hbus_tcp *tcp)
{
	(void)tcp;
	return 0;
}

void hbus_tcp_stop(struct hbus_tcp *tcp)
{
	(void)tcp;
}

const struct hbus_tcp_counters *hbus_tcp_counters(const struct hbus_tcp *tcp)
{
	(void)tcp;
	return NULL;
}

const struct hbus_mqtt_counters *hbus_tcp_mqtt_counters(const struct hbus_tcp *tcp)
{
	(void)tcp;
	return NULL;
}
