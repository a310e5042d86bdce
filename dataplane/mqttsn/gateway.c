/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Glue: the service asks the pilot for topics, the pilot tells the paths which of them are wanted.
 */
#include "dataplane/mqttsn/gateway.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_ethdev.h>
#define URCU_API_MAP
#include <urcu/urcu-qsbr.h>

#include "dataplane/log.h"
#include "dataplane/mqttsn/endpoint.h"
#include "dataplane/mqttsn/quiet.h"
#include "dataplane/mqttsn/service.h"
#include "dataplane/pilot.h"

/*
 * The bus answers that it has a topic, and tells beside that who wants it. Loops drop what nobody wants, so
 * they begin only when that has surely been heard.
 */
enum { SETTLED_MS = 50 };

/* Of a wait for the loops, which the service asks for and the updating thread does. */
enum grace { GRACE_NONE, GRACE_WANTED, GRACE_OVER };

struct hbus_sn_gateway {
	const struct hbus_ingress_options *options;
	struct hbus_pilot *pilot;
	struct hbus_loop *loops;
	unsigned int n_loops;
	struct hbus_sn_door *doors;
	struct hbus_sn_paths *paths;
	struct hbus_sn_service *service;
	struct hbus_sn_quiet *quiet;     /* NULL until the ports are known */
	_Atomic uint32_t grace;      /* enum grace */
	uint64_t *named_ms;          /* when a number could first be published to; 0: not yet */
};

static void log_sentence(const char *sentence)
{
	hbus_log("mqttsn: %s", sentence);
}

/* ---- routes -------------------------------------------------------------------------------- */

int hbus_sn_gateway_routes(const struct hbus_ingress_options *options,
			   struct hbus_directory *directory)
{
	struct hbus_route_match matches[HBUS_SN_ENDPOINT_MATCHES_MAX];

	for (unsigned int i = 0; i < options->mqttsn.n; i++) {
		unsigned int n = hbus_sn_endpoint_parse(options->mqttsn.at[i], matches);

		for (unsigned int k = 0; k < n; k++)
			if (hbus_directory_gateway(directory, &matches[k]) != 0) {
				hbus_log("--mqttsn %s: given twice, or no memory", options->mqttsn.at[i]);
				return -EINVAL;
			}
	}
	return 0;
}

/* ---- what the service asks ------------------------------------------------------------------ */

static uint64_t now_ns(void *context)
{
	const struct hbus_sn_gateway *gateway = context;

	return hbus_loop_clock(gateway->loops[0].shared);
}

static bool have_loops_passed(void *context)
{
	struct hbus_sn_gateway *gateway = context;
	/* A(sn.grace_over): pairs with R(sn.grace_over) in hbus_sn_gateway_wait(). */
	uint32_t grace = atomic_load_explicit(&gateway->grace, memory_order_acquire);

	if (grace == GRACE_WANTED)
		return false;
	/* R(sn.grace_wanted): what is not to be found any more, before the wait for those that have found it. */
	atomic_store_explicit(&gateway->grace, grace == GRACE_OVER ? GRACE_NONE : GRACE_WANTED, memory_order_release);
	return grace == GRACE_OVER;
}

void hbus_sn_gateway_wait(struct hbus_sn_gateway *gateway)
{
	/* A(sn.grace_wanted): pairs with R(sn.grace_wanted) in have_loops_passed(). */
	if (!gateway || atomic_load_explicit(&gateway->grace, memory_order_acquire) != GRACE_WANTED)
		return;
	synchronize_rcu();
	/* R(sn.grace_over): the wait before what was found is freed. */
	atomic_store_explicit(&gateway->grace, GRACE_OVER, memory_order_release);
}

static uint32_t name_topic(void *context, const char *topic)
{
	struct hbus_sn_gateway *gateway = context;
	uint32_t number;
	uint64_t now_ms = now_ns(gateway) / 1000000;

	if (hbus_pilot_use(gateway->pilot, topic, &number) != 0 || number >= HBUS_SN_NUMBERS_MAX)
		return HBUS_SN_NAME_NONE;
	if (!hbus_sn_paths_can_publish(gateway->paths, number))
		return HBUS_SN_NAME_PENDING;
	if (gateway->named_ms[number] == 0)
		gateway->named_ms[number] = now_ms;
	return now_ms - gateway->named_ms[number] >= SETTLED_MS ? number : HBUS_SN_NAME_PENDING;
}

static void name_end(void *context, const char *topic)
{
	struct hbus_sn_gateway *gateway = context;

	hbus_pilot_unuse(gateway->pilot, topic);
}

static void follow_paths(void *context)
{
	struct hbus_sn_gateway *gateway = context;

	if (gateway->quiet)
		(void)hbus_sn_quiet_follow(gateway->quiet, gateway->paths);
}

static uint64_t dropped_ns(void *context, const struct hbus_sn_peer *peer)
{
	const struct hbus_sn_gateway *gateway = context;
	uint64_t seen_ns = gateway->quiet ? hbus_sn_quiet_seen_ns(gateway->quiet, peer) : 0;
	struct timespec now;
	uint64_t ago_ns;

	if (seen_ns == 0)
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &now);
	ago_ns = (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec - seen_ns;
	return now_ns(context) - ago_ns;
}

void hbus_sn_gateway_follow(struct hbus_sn_gateway *gateway, const struct hbus_directory *directory)
{
	if (!gateway)
		return;
	for (uint32_t i = 1; i <= hbus_directory_n_topics(directory); i++) {
		const struct hbus_directory_topic *topic = hbus_directory_topic(directory, i);

		if (!topic->is_pseudo)
			hbus_sn_paths_topic(gateway->paths, i, topic->topic != 0 && topic->is_told,
					    topic->is_wanted);
	}
}

/* ---- life ---------------------------------------------------------------------------------- */

static int make_doors(struct hbus_sn_gateway *gateway)
{
	int r = hbus_sn_paths_new((uint64_t)(uintptr_t)gateway ^ now_ns(gateway),
				  HBUS_SN_PATH_IDS_MAX / 4, &gateway->paths);

	gateway->doors = aligned_alloc(64, gateway->n_loops * sizeof(*gateway->doors));
	gateway->named_ms = calloc(HBUS_SN_NUMBERS_MAX, sizeof(*gateway->named_ms));
	if (r < 0 || !gateway->doors || !gateway->named_ms) {
		free(gateway->doors);
		gateway->doors = NULL;
		return -ENOMEM;
	}
	memset(gateway->doors, 0, gateway->n_loops * sizeof(*gateway->doors));
	for (unsigned int i = 0; i < gateway->n_loops && r == 0; i++) {
		r = hbus_sn_door_init(&gateway->doors[i], gateway->paths, (uint8_t)i);
		gateway->loops[i].worker.door = &gateway->doors[i];
	}
	return r;
}

static int make_service(struct hbus_sn_gateway *gateway)
{
	const struct hbus_ingress_options *options = gateway->options;
	struct hbus_route_match matches[HBUS_SN_ENDPOINT_MATCHES_MAX];
	struct hbus_sn_service_options service = {
		.bus = hbus_pilot_bus(gateway->pilot), .doors = gateway->doors,
		.n_doors = gateway->n_loops, .paths = gateway->paths,
		.topics_file = options->mqttsn_topics, .context = gateway, .now_ns = now_ns,
		.have_loops_passed = have_loops_passed, .name = name_topic, .name_end = name_end,
		.follow = follow_paths, .dropped_ns = dropped_ns,
		.log = log_sentence,
	};

	(void)hbus_sn_endpoint_parse(options->mqttsn.at[0], matches);
	service.port = matches[0].port;
	hbus_sn_config_default(&service.limits);
	service.limits.gateway_id = options->mqttsn_gateway_id;
	service.limits.advertise_s = options->mqttsn_advertise_s;
	service.limits.clients_max = options->mqttsn_clients_max;
	service.limits.retry_ms = options->mqttsn_retry_ms;
	return hbus_sn_service_new(&service, &gateway->service);
}

int hbus_sn_gateway_new(const struct hbus_ingress_options *options, struct hbus_pilot *pilot,
			struct hbus_loop *loops, unsigned int n_loops,
			struct hbus_sn_gateway **ret_gateway)
{
	struct hbus_sn_gateway *gateway;
	int r;

	*ret_gateway = NULL;
	if (options->mqttsn.n == 0)
		return 0;
	gateway = calloc(1, sizeof(*gateway));
	if (!gateway)
		return -ENOMEM;
	*gateway = (struct hbus_sn_gateway){ .options = options, .pilot = pilot, .loops = loops,
					     .n_loops = n_loops };
	r = make_doors(gateway);
	if (r == 0)
		r = make_service(gateway);
	if (r < 0) {
		hbus_sn_gateway_free(gateway);
		return r;
	}
	*ret_gateway = gateway;
	return 0;
}

/* The kernel's addresses of the interface: broadcasts are answered from them. */
static void tell_addresses(struct hbus_sn_gateway *gateway, const struct ifaddrs *list,
			   const struct hbus_port *port, const uint8_t mac[6], unsigned int loop_idx,
			   unsigned int queue_idx)
{
	for (; list; list = list->ifa_next) {
		const struct sockaddr *addr = list->ifa_addr;

		if (!addr || strcmp(list->ifa_name, port->iface) != 0)
			continue;
		if (addr->sa_family == AF_INET)
			hbus_sn_service_local(gateway->service, loop_idx, queue_idx, mac, HBUS_FAMILY_IPV4,
					      (const uint8_t *)&((const struct sockaddr_in *)(const void *)addr)->sin_addr);
		else if (addr->sa_family == AF_INET6)
			hbus_sn_service_local(gateway->service, loop_idx, queue_idx, mac, HBUS_FAMILY_IPV6,
					      (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr);
	}
}

static const struct hbus_port *port_of(const struct hbus_ports *ports, uint16_t port_id)
{
	for (unsigned int i = 0; i < ports->n; i++)
		if (ports->at[i].id == port_id)
			return &ports->at[i];
	return NULL;
}

void hbus_sn_gateway_ports(struct hbus_sn_gateway *gateway, const struct hbus_ports *ports)
{
	struct ifaddrs *list = NULL;

	if (!gateway)
		return;
	(void)hbus_sn_quiet_new(ports, &gateway->quiet);
	(void)!getifaddrs(&list);
	for (unsigned int i = 0; i < gateway->n_loops; i++)
		for (unsigned int k = 0; k < gateway->loops[i].n_queues; k++) {
			const struct hbus_loop_queue *queue = &gateway->loops[i].queues[k];
			const struct hbus_port *port = port_of(ports, queue->port_id);
			struct rte_ether_addr mac;

			if (port && port->iface[0] && queue->queue_id == 0 &&
			    rte_eth_macaddr_get(queue->port_id, &mac) == 0)
				tell_addresses(gateway, list, port, mac.addr_bytes, i, k);
		}
	freeifaddrs(list);
}

int hbus_sn_gateway_start(struct hbus_sn_gateway *gateway)
{
	return gateway ? hbus_sn_service_start(gateway->service) : 0;
}

void hbus_sn_gateway_stop(struct hbus_sn_gateway *gateway)
{
	if (gateway)
		hbus_sn_service_stop(gateway->service);
}

void hbus_sn_gateway_finish(struct hbus_sn_gateway *gateway)
{
	if (gateway)
		hbus_sn_service_finish(gateway->service);
}

struct hbus_sn_gateway *hbus_sn_gateway_free(struct hbus_sn_gateway *gateway)
{
	if (!gateway)
		return NULL;
	gateway->service = hbus_sn_service_free(gateway->service);
	gateway->quiet = hbus_sn_quiet_free(gateway->quiet);
	for (unsigned int i = 0; gateway->doors && i < gateway->n_loops; i++) {
		gateway->loops[i].worker.door = NULL;
		hbus_sn_door_deinit(&gateway->doors[i]);
	}
	free(gateway->doors);
	free(gateway->named_ms);
	gateway->paths = hbus_sn_paths_free(gateway->paths);
	free(gateway);
	return NULL;
}

const struct hbus_sn_counters *hbus_sn_gateway_counters(const struct hbus_sn_gateway *gateway)
{
	return gateway ? hbus_sn_service_counters(gateway->service) : NULL;
}
