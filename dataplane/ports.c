/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Port set-up: as many queues as asked for and possible, checksums in hardware where there are any.
 */
#include "dataplane/ports.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>

#include "dataplane/log.h"
#include "dataplane/send.h"
#include "dataplane/tcp/wire.h"
#ifdef HBUS_HAVE_XDP
#include "ebpf/loader.h"
#endif

enum {
	TX_DESCRIPTORS = 512,
	BUFFERS_PER_QUEUE = 2 * HBUS_PORT_DESCRIPTORS,
	BUFFER_CACHE = 256,
};

rte_spinlock_t hbus_send_locks[RTE_MAX_ETHPORTS];

__attribute__((format(printf, 2, 3)))
static int fail(int r, const char *format, ...)
{
	char what[256];
	va_list list;

	va_start(list, format);
	vsnprintf(what, sizeof(what), format, list);
	va_end(list);
	hbus_log("%s: %s", what, strerror(-r));
	return r;
}

static unsigned int min(unsigned int a, unsigned int b)
{
	return a < b ? a : b;
}

static int setup_queues(struct hbus_port *port, struct rte_mempool *pool, uint16_t n_tx)
{
	uint16_t n_rx_desc = HBUS_PORT_DESCRIPTORS, n_tx_desc = TX_DESCRIPTORS;
	int socket = rte_eth_dev_socket_id(port->id);
	unsigned int where = socket < 0 ? (unsigned int)SOCKET_ID_ANY : (unsigned int)socket;
	int r = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &n_rx_desc, &n_tx_desc);

	if (r < 0)
		return fail(r, "%s: descriptors", port->name);
	for (uint16_t i = 0; i < port->n_queues; i++) {
		r = rte_eth_rx_queue_setup(port->id, i, n_rx_desc, where, NULL, pool);
		if (r < 0)
			return fail(r, "%s: receive queue %u", port->name, i);
	}
	/* Few ports ever send, but drivers want the queues in pairs. */
	for (uint16_t i = 0; i < n_tx; i++) {
		r = rte_eth_tx_queue_setup(port->id, i, n_tx_desc, where, NULL);
		if (r < 0)
			return fail(r, "%s: send queue %u", port->name, i);
	}
	return 0;
}

static int setup_port(struct hbus_port *port, struct rte_mempool *pool,
		      const struct rte_eth_dev_info *info)
{
	const uint64_t sums = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
	struct rte_eth_conf conf = { 0 };
	uint16_t n_tx = (uint16_t)min(port->n_queues, info->max_tx_queues);
	int r;

	port->n_send_queues = n_tx;
	conf.rxmode.offloads = info->rx_offload_capa & sums;
	if (port->n_queues > 1 && info->flow_type_rss_offloads) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf =
			(RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP) & info->flow_type_rss_offloads;
	}
	r = rte_eth_dev_configure(port->id, port->n_queues, n_tx, &conf);
	if (r < 0)
		return fail(r, "%s: %u queues", port->name, port->n_queues);
	return setup_queues(port, pool, n_tx);
}

/* What kind of port it is. */
static int describe_port(struct hbus_port *port, const struct hbus_ingress_options *options,
			 struct rte_eth_dev_info *ret_info)
{
	int r = rte_eth_dev_info_get(port->id, ret_info);

	if (r < 0)
		return fail(r, "port %u", port->id);
	if (rte_eth_dev_get_name_by_port(port->id, port->name) < 0)
		snprintf(port->name, sizeof(port->name), "port %u", port->id);
	port->n_queues = (uint16_t)min(options->n_queues, ret_info->max_rx_queues);
	port->is_af_xdp = strcmp(ret_info->driver_name, "net_af_xdp") == 0;
	if (port->is_af_xdp) {
		port->ifindex = ret_info->if_index;
		if (!if_indextoname(port->ifindex, port->iface))
			port->iface[0] = '\0';
	}
	return 0;
}

/*
 * As rte_pktmbuf_pool_create(), but without hugepages an object is a whole page. On 4 KiB pages DPDK puts
 * each object on a page of its own, while net_af_xdp takes a pool for as many objects one behind the
 * other: buffers beyond that the kernel refuses, silently, until none is left.
 */
static struct rte_mempool *make_pool(unsigned int n)
{
	const unsigned int header_size = RTE_ALIGN_CEIL((unsigned int)sizeof(struct rte_mempool_objhdr),
							RTE_MEMPOOL_ALIGN);
	bool has_hugepages = rte_eal_has_hugepages();
	unsigned int size = has_hugepages ? (unsigned int)sizeof(struct rte_mbuf) +
						    RTE_MBUF_DEFAULT_BUF_SIZE :
					    (unsigned int)getpagesize() - header_size;
	struct rte_pktmbuf_pool_private private = {
		.mbuf_data_room_size = (uint16_t)(size - sizeof(struct rte_mbuf)),
	};
	struct rte_mempool *pool = rte_mempool_create_empty("ingress", n, size, BUFFER_CACHE,
							    sizeof(private), SOCKET_ID_ANY,
							    has_hugepages ? 0 : RTE_MEMPOOL_F_NO_SPREAD);

	if (!pool)
		return NULL;
	if (rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL) < 0)
		goto fail;
	rte_pktmbuf_pool_init(pool, &private);
	if (rte_mempool_populate_default(pool) < 0)
		goto fail;
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
fail:
	rte_mempool_free(pool);
	rte_errno = ENOMEM;
	return NULL;
}

static int create_pool(struct hbus_ports *ports, const struct hbus_ingress_options *options)
{
	unsigned int n_queues = 0, n_more = 0;

	if (options->tcp_addresses.n > 0)
		n_more = HBUS_TCP_WIRE_BUFFERS(options->n_workers, ports->n);
	for (unsigned int i = 0; i < ports->n; i++)
		n_queues += ports->at[i].n_queues;
	ports->pool = make_pool(n_queues * BUFFERS_PER_QUEUE + n_more +
				rte_lcore_count() * BUFFER_CACHE * 2 - 1);
	return ports->pool ? 0 : fail(-rte_errno, "buffers for %u queues", n_queues);
}

int hbus_ports_init(struct hbus_ports *ports, const struct hbus_ingress_options *options)
{
	struct rte_eth_dev_info infos[HBUS_PORTS_MAX];
	int r;

	*ports = (struct hbus_ports){ .n = 0 };
	for (uint64_t port_id = rte_eth_find_next(0); port_id < RTE_MAX_ETHPORTS;
	     port_id = rte_eth_find_next((uint16_t)(port_id + 1))) {
		if (ports->n == HBUS_PORTS_MAX)
			return fail(-E2BIG, "more than %u ports", HBUS_PORTS_MAX);
		ports->at[ports->n].id = (uint16_t)port_id;
		r = describe_port(&ports->at[ports->n], options, &infos[ports->n]);
		if (r < 0)
			return r;
		ports->n++;
	}
	if (ports->n == 0)
		return fail(-ENODEV, "no ports (name one with --iface, --pcap or --vdev)");
	r = create_pool(ports, options);
	for (unsigned int i = 0; i < ports->n && r == 0; i++)
		r = setup_port(&ports->at[i], ports->pool, &infos[i]);
	return r;
}

/* ---- filters --------------------------------------------------------------------------- */

#ifdef HBUS_HAVE_XDP
static void take_filter(struct hbus_port *port)
{
	struct hbus_filter_error error = { "" };

	if (port->is_af_xdp && hbus_filter_open(port->ifindex, &port->filter, &error) != 0) {
		port->filter = NULL;
		hbus_log("%s: no filter in the driver: %s", port->iface,
			error.text);
	}
}

static void leave_filter(struct hbus_port *port)
{
	port->filter = hbus_filter_free(port->filter);
}
#else
static void take_filter(struct hbus_port *port)
{
	port->filter = NULL;
}

static void leave_filter(struct hbus_port *port)
{
	port->filter = NULL;
}
#endif

int hbus_ports_start(struct hbus_ports *ports)
{
	for (unsigned int i = 0; i < ports->n; i++) {
		int r = rte_eth_dev_start(ports->at[i].id);

		if (r < 0)
			return fail(r, "%s: start", ports->at[i].name);
		take_filter(&ports->at[i]);
	}
	return 0;
}

void hbus_ports_deinit(struct hbus_ports *ports)
{
	for (unsigned int i = 0; i < ports->n; i++) {
		leave_filter(&ports->at[i]);
		(void)rte_eth_dev_stop(ports->at[i].id);
		(void)rte_eth_dev_close(ports->at[i].id);
	}
	ports->n = 0;
	rte_mempool_free(ports->pool);
	ports->pool = NULL;
}

void hbus_ports_spread(const struct hbus_ports *ports, const struct hbus_ingress_options *options,
		       struct hbus_loop *loops, unsigned int n_loops)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ports->n; i++) {
		const struct hbus_port *port = &ports->at[i];
		uint32_t flags = (options->no_checksum ? HBUS_WORKER_TRUST_UDP : 0) |
				 (port->filter ? HBUS_WORKER_IS_FILTERED : 0);

		for (uint16_t queue_id = 0; queue_id < port->n_queues; queue_id++, n++) {
			struct hbus_loop *loop = &loops[n % n_loops];

			if (loop->n_queues == HBUS_LOOP_QUEUES_MAX)
				continue;
			loop->queues[loop->n_queues++] =
				(struct hbus_loop_queue){ port->id, queue_id, flags,
							  queue_id < port->n_send_queues };
		}
	}
}

struct hbus_port_losses hbus_port_losses(const struct hbus_port *port)
{
	struct rte_eth_stats stats = { 0 };

	if (rte_eth_stats_get(port->id, &stats) != 0)
		return (struct hbus_port_losses){ 0 };
	return (struct hbus_port_losses){ stats.imissed, stats.ierrors, stats.rx_nombuf };
}
