/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The DPDK ports of the process, and the filter in front of those that have one.
 *
 * Thread: the control thread. EAL is initialised.
 */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/loop.h"
#include "dataplane/options.h"

struct hbus_filter;
struct rte_mempool;

/* ---- limits ---------------------------------------------------------------------------- */

#define HBUS_PORTS_MAX 32U
/* net_af_xdp keeps 2048 buffers ready, and only counts its drops when the ring holds as many. */
#define HBUS_PORT_DESCRIPTORS 2048U

/* ---- types ----------------------------------------------------------------------------- */

struct hbus_port {
	uint16_t id;
	uint16_t n_queues;
	uint16_t n_send_queues;
	bool is_af_xdp;
	unsigned int ifindex;            /* of an AF_XDP port */
	char iface[IF_NAMESIZE];         /* likewise */
	char name[64];                   /* of the device, as EAL has it */
	struct hbus_filter *filter;      /* NULL: the filter is in the poll loop */
};

struct hbus_ports {
	struct hbus_port at[HBUS_PORTS_MAX];
	unsigned int n;
	struct rte_mempool *pool;
};

/* What a port has lost before it could be received, by its own count. */
struct hbus_port_losses {
	uint64_t missed;
	uint64_t errors;
	uint64_t no_buffer;
};

/* ---- functions ------------------------------------------------------------------------- */

/* Sets up every port that EAL has. Return: 0 or -errno, and what went wrong is on stderr. */
int hbus_ports_init(struct hbus_ports *ports, const struct hbus_ingress_options *options);
/* Starts them, and takes the filters that come with them. Return: as above. */
int hbus_ports_start(struct hbus_ports *ports);
/* Stops and closes them; what is attached to an interface is detached. */
void hbus_ports_deinit(struct hbus_ports *ports);

/* Spreads the queues over @n_loops loops, one after the other. */
void hbus_ports_spread(const struct hbus_ports *ports, const struct hbus_ingress_options *options,
		       struct hbus_loop *loops, unsigned int n_loops);

struct hbus_port_losses hbus_port_losses(const struct hbus_port *port);
