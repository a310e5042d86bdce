/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stack's thread: frames, clients, events, frames. It sleeps only when there has been nothing to do
 * for a moment, and then never long, for the poll loops must not spend a system call on waking it. With
 * a CPU of its own it never does.
 */
#include "dataplane/tcp/tcp.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <time.h>

#include <rte_ethdev.h>

#include "ctl/client/hugebus.h"
#include "dataplane/log.h"
#include "dataplane/mqtt/gateway_login.h"
#include "dataplane/tcp/address.h"
#include "dataplane/tcp/client.h"
#include "dataplane/tcp/stack.h"
#include "dataplane/tcp/tap.h"
#include "dataplane/tcp/wire.h"
#ifdef HBUS_HAVE_XDP
#include "ebpf/loader.h"
#endif
#include "shm/counters.h"

enum {
	RING_SIZE = 4 << 20,
	TAKES_PER_ROUND = 64,        /* polls of the bus between two looks at the taps */
	CHORES_MS = 100,
	GOODBYE_MS = 500,            /* for the last words to all clients */
	MTU_MAX = 1500,
};

/* Without work: how long it looks on, and how long it sleeps then: a part of the time that nothing has come. */
#define SPIN_NS UINT64_C(50000)
#define NAP_PART 16
#define NAP_NS_MIN UINT64_C(20000)
#define NAP_NS_MAX UINT64_C(500000)

#define COUNT_FIELD(name, text) +1
enum { N_CELLS = 0 HBUS_TCP_COUNTERS(COUNT_FIELD) };

struct hbus_tcp {
	const struct hbus_ingress_options *options;
	const struct hbus_ports *ports;
	struct hbus_claim claim;
	struct hbus_stack_options stack_options;
	struct hbus_tcp_wire *wire;
	struct hbus_stack *stack;
	struct hbus *bus;
	struct hbus_mqtt_bus *mqtt_bus;
	struct hbus_mqtt *engine;
	struct hbus_gateway_login *login;
	struct hbus_origins *origins; /* NULL: no limit of an address */
	struct hbus_tcp_clients clients;
	struct hbus_tcp_counters counters;
	struct hbus_counter *cells;
	uint64_t chores_ms;
	bool bus_has_rung;           /* while the thread slept */
	pthread_t thread;
	bool has_thread;
	_Atomic uint32_t is_stopping;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* ---- addresses ------------------------------------------------------------------------- */

static const struct hbus_port *find_port(const struct hbus_ports *ports, const char *name)
{
	if (name[0] == '\0')
		return &ports->at[0];
	for (unsigned int i = 0; i < ports->n; i++)
		if (strcmp(ports->at[i].iface, name) == 0 || strcmp(ports->at[i].name, name) == 0)
			return &ports->at[i];
	return NULL;
}

static int describe_port(struct hbus_tcp *tcp, const struct hbus_port *port, uint32_t i)
{
	struct rte_eth_dev_info info;
	struct rte_ether_addr mac;
	uint16_t mtu = MTU_MAX;

	if (rte_eth_dev_info_get(port->id, &info) < 0 || info.nb_tx_queues == 0) {
		hbus_log("%s: cannot send, so there can be no TCP", port->name);
		return -ENOTSUP;
	}
	if (rte_eth_macaddr_get(port->id, &mac) < 0)
		return -ENODEV;
	(void)rte_eth_dev_get_mtu(port->id, &mtu);
	memcpy(tcp->stack_options.macs[i], mac.addr_bytes, 6);
	tcp->stack_options.mtus[i] = mtu < MTU_MAX ? mtu : MTU_MAX;
	return 0;
}

static int add_address(struct hbus_tcp *tcp, const char *text)
{
	struct hbus_tcp_address address;
	const struct hbus_port *port;
	uint32_t i = tcp->claim.n;
	int r;

	if (i == HBUS_STACK_ADDRS_MAX) {
		hbus_log("more than %u TCP addresses", HBUS_STACK_ADDRS_MAX);
		return -E2BIG;
	}
	r = hbus_tcp_address_parse(text, &address);
	if (r < 0)
		return r;
	port = find_port(tcp->ports, address.iface);
	if (!port) {
		hbus_log("--tcp %s: no port of that name", text);
		return -ENODEV;
	}
	r = describe_port(tcp, port, i);
	if (r < 0)
		return r;
	tcp->claim.at[i] = (struct hbus_claim_address){ .port_id = port->id, .family = address.family };
	memcpy(tcp->claim.at[i].addr, address.addr, 16);
	tcp->stack_options.prefix_lens[i] = address.prefix_len;
	tcp->claim.n++;
	return 0;
}

static int add_addresses(struct hbus_tcp *tcp)
{
	const struct hbus_words *words = &tcp->options->tcp_addresses;

	for (unsigned int i = 0; i < words->n; i++) {
		int r = add_address(tcp, words->at[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

#ifdef HBUS_HAVE_XDP
/* Before the pilot's thread takes the filters. */
static int claim_addresses(struct hbus_tcp *tcp)
{
	for (uint32_t i = 0; i < tcp->claim.n; i++) {
		const struct hbus_claim_address *address = &tcp->claim.at[i];

		for (unsigned int p = 0; p < tcp->ports->n; p++) {
			const struct hbus_port *port = &tcp->ports->at[p];

			if (port->id != address->port_id || !port->filter)
				continue;
			if (hbus_filter_stack_add(port->filter, address->family, address->addr) != 0) {
				hbus_log("%s: the filter does not take a TCP address", port->iface);
				return -EIO;
			}
		}
	}
	return 0;
}
#else
static int claim_addresses(struct hbus_tcp *tcp)
{
	(void)tcp;
	return 0;
}
#endif

/* ---- the bus --------------------------------------------------------------------------- */

static void log_sentence(const char *sentence)
{
	hbus_log("tcp: %s", sentence);
}

static void name_cells(struct hbus_counter *cells)
{
	static const char *const names[N_CELLS] = {
#define COUNTER_NAME(name, text) #name,
		HBUS_TCP_COUNTERS(COUNTER_NAME)
#undef COUNTER_NAME
	};

	for (unsigned int i = 0; i < N_CELLS; i++)
		strncpy(cells[i].name, names[i], sizeof(cells[i].name) - 1);
}

static void show_counters(struct hbus_tcp *tcp)
{
	struct hbus_counter_cell *cells = (struct hbus_counter_cell *)(void *)tcp->cells;
	const uint64_t values[N_CELLS] = {
#define COUNTER_VALUE(name, text) tcp->counters.name,
		HBUS_TCP_COUNTERS(COUNTER_VALUE)
#undef COUNTER_VALUE
	};

	hbus_mqtt_bus_count(tcp->mqtt_bus, hbus_mqtt_counters(tcp->engine));
	for (unsigned int i = 0; cells && i < N_CELLS; i++)
		hbus_counter_set(&cells[i], values[i]);
}

static int open_bus(struct hbus_tcp *tcp, const struct hbus_mqtt_config *limits)
{
	const struct hbus_options options = { .struct_size = sizeof(options), .name = "hugebus-ingress-tcp" };
	struct hbus_mqtt_bus_options glue = {
		.counters = "mqtt_tcp",
		.ring_size = RING_SIZE,
		.event_max = limits->packet_max,
		.waits_for_room = true,
		.log = log_sentence,
	};

	if (hbus_open(tcp->options->socket, &options, &tcp->bus) < 0)
		goto fail;
	glue.bus = tcp->bus;
	if (hbus_mqtt_bus_open(&glue, &tcp->mqtt_bus) < 0)
		goto fail;
	if (hbus_counters_create(tcp->bus, "tcp", N_CELLS, &tcp->cells) == 0)
		name_cells(tcp->cells);
	return 0;
fail:
	hbus_log("tcp: no bus: %s", hbus_error_text());
	return -ENOTCONN;
}

static int open_login(struct hbus_tcp *tcp)
{
	const char *path = tcp->options->tcp_password_file;
	unsigned int line;
	int r = path ? hbus_gateway_login_open(path, &line, &tcp->login) : 0;

	if (r < 0)
		hbus_log("%s, line %u: %s", path, line, strerror(-r));
	return r;
}

static int open_engine(struct hbus_tcp *tcp)
{
	struct hbus_mqtt_config limits;
	struct hbus_mqtt_io io = { .context = NULL };
	int r;

	hbus_mqtt_config_default(&limits);
	limits.conns_max = tcp->options->tcp_connections;
	if (getrandom(limits.secret, sizeof(limits.secret), 0) < 0)
		return -errno;
	r = open_bus(tcp, &limits);
	if (r < 0)
		return r;
	hbus_tcp_clients_io(&tcp->clients, &io);
	hbus_mqtt_bus_io(tcp->mqtt_bus, &io);
	r = hbus_mqtt_new(&limits, &io, now_ns() / 1000000, &tcp->engine);
	if (r == 0 && tcp->options->tcp_address_connections > 0)
		r = hbus_origins_new(tcp->options->tcp_address_connections, limits.secret, &tcp->origins);
	tcp->clients = (struct hbus_tcp_clients){
		.engine = tcp->engine,
		.bus = tcp->mqtt_bus,
		.login = tcp->login,
		.origins = tcp->origins,
		.counters = &tcp->counters,
		.allows_anonymous = tcp->options->tcp_allows_anonymous,
		.max = tcp->options->tcp_connections,
		.backlog_high = limits.backlog_high,
		.now_ms = now_ns() / 1000000,
	};
	return r;
}

/* ---- the thread ------------------------------------------------------------------------ */

/* Return: whether there was anything to do. */
static bool take_events(struct hbus_tcp *tcp)
{
	for (int i = 0; i < TAKES_PER_ROUND; i++)
		if (!hbus_mqtt_bus_take(tcp->mqtt_bus, tcp->engine))
			return i > 0;
	return true;
}

static void do_chores(struct hbus_tcp *tcp)
{
	if (tcp->clients.now_ms < tcp->chores_ms)
		return;
	tcp->chores_ms = tcp->clients.now_ms + CHORES_MS;
	hbus_tcp_clients_chores(&tcp->clients);
	hbus_tcp_wire_count(tcp->wire, &tcp->counters);
	show_counters(tcp);
}

/* Return: whether there was anything to do. */
static bool do_round(struct hbus_tcp *tcp)
{
	struct hbus_tcp_wire_frame frames[HBUS_TCP_WIRE_BURST];
	unsigned int n = hbus_tcp_wire_receive(tcp->wire, frames);
	uint64_t now_ms = now_ns() / 1000000;
	bool is_busy = n > 0;

	tcp->clients.now_ms = now_ms;
	hbus_mqtt_tick(tcp->engine, now_ms);
	hbus_stack_input(tcp->stack, frames, n, now_ms);
	hbus_tcp_clients_answer(&tcp->clients);
	is_busy |= hbus_tcp_clients_read(&tcp->clients);
	/* Commits what they have published: only then may the answers go out. */
	is_busy |= take_events(tcp);
	is_busy |= hbus_tcp_clients_serve(&tcp->clients);
	hbus_stack_tick(tcp->stack, now_ms);
	do_chores(tcp);
	hbus_tcp_wire_flush(tcp->wire);
	return is_busy;
}

static void nap(struct hbus_tcp *tcp, uint64_t idle_ns)
{
	struct pollfd fds[3] = { { .fd = hbus_mqtt_bus_fd(tcp->mqtt_bus), .events = POLLIN },
				 { .fd = hbus_mqtt_bus_answer_fd(tcp->mqtt_bus), .events = POLLIN } };
	uint64_t ns = idle_ns / NAP_PART;
	nfds_t n = 2;

	ns = ns < NAP_NS_MIN ? NAP_NS_MIN : ns > NAP_NS_MAX ? NAP_NS_MAX : ns;
	if (!hbus_mqtt_bus_arm(tcp->mqtt_bus, tcp->bus_has_rung))
		return;
	if (tcp->login)
		fds[n++] = (struct pollfd){ .fd = hbus_gateway_login_fd(tcp->login), .events = POLLIN };
	tcp->counters.naps++;
	(void)ppoll(fds, n, &(struct timespec){ .tv_nsec = (long)ns }, NULL);
	tcp->bus_has_rung = fds[0].revents != 0;
}

/* relaxed: nothing but the stop itself is told by this word */
static bool is_stopping(const struct hbus_tcp *tcp)
{
	return atomic_load_explicit(&tcp->is_stopping, memory_order_relaxed);
}

static void say_goodbye(struct hbus_tcp *tcp)
{
	uint64_t end_ns = now_ns() + GOODBYE_MS * UINT64_C(1000000);

	hbus_stack_deafen(tcp->stack);
	hbus_mqtt_shutdown(tcp->engine);
	while (now_ns() < end_ns && hbus_stack_n_open(tcp->stack) > 0)
		if (!do_round(tcp) && !tcp->options->has_tcp_cpu)
			nap(tcp, 0);
}

static void *run(void *context)
{
	struct hbus_tcp *tcp = context;
	uint64_t busy_ns = now_ns();

	pthread_setname_np(pthread_self(), "tcp");
	prctl(PR_SET_TIMERSLACK, 1UL);
	hbus_tcp_wire_enter(tcp->wire);
	while (!is_stopping(tcp)) {
		uint64_t idle_ns;

		if (do_round(tcp)) {
			busy_ns = now_ns();
			continue;
		}
		if (tcp->options->has_tcp_cpu)
			continue;
		idle_ns = now_ns() - busy_ns;
		if (idle_ns > SPIN_NS)
			nap(tcp, idle_ns);
	}
	say_goodbye(tcp);
	hbus_mqtt_bus_commit(tcp->mqtt_bus);
	hbus_tcp_clients_free(&tcp->clients);
	tcp->stack = hbus_stack_free(tcp->stack);
	hbus_tcp_wire_flush(tcp->wire);
	hbus_tcp_wire_count(tcp->wire, &tcp->counters);
	show_counters(tcp);
	hbus_tcp_wire_leave(tcp->wire);
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------ */

int hbus_tcp_new(const struct hbus_ingress_options *options, const struct hbus_ports *ports,
		 unsigned int n_loops, struct hbus_tcp **ret_tcp)
{
	struct hbus_tcp *tcp;
	int r;

	*ret_tcp = NULL;
	if (options->tcp_addresses.n == 0)
		return 0;
	tcp = calloc(1, sizeof(*tcp));
	if (!tcp)
		return -ENOMEM;
	tcp->options = options;
	tcp->ports = ports;
	r = add_addresses(tcp);
	if (r == 0)
		r = hbus_tcp_wire_new(ports, &tcp->claim, n_loops, &tcp->wire);
	if (r == 0)
		r = open_login(tcp);
	if (r == 0)
		r = open_engine(tcp);
	if (r < 0) {
		hbus_tcp_free(tcp);
		return r;
	}
	*ret_tcp = tcp;
	return 0;
}

struct hbus_tcp *hbus_tcp_free(struct hbus_tcp *tcp)
{
	if (!tcp)
		return NULL;
	hbus_tcp_stop(tcp);
	hbus_mqtt_free(tcp->engine);
	hbus_mqtt_bus_close(tcp->mqtt_bus);
	if (tcp->bus)
		hbus_close(tcp->bus);
	hbus_gateway_login_close(tcp->login);
	hbus_origins_free(tcp->origins);
	hbus_tcp_wire_free(tcp->wire);
	free(tcp);
	return NULL;
}

struct hbus_tap *hbus_tcp_tap(struct hbus_tcp *tcp, unsigned int loop_idx)
{
	return tcp ? hbus_tcp_wire_tap(tcp->wire, loop_idx) : NULL;
}

/* Return: 0 or an errno. */
static int start_thread(struct hbus_tcp *tcp)
{
	const struct hbus_ingress_options *options = tcp->options;
	pthread_attr_t attributes;
	cpu_set_t set;
	int r = pthread_attr_init(&attributes);

	if (r != 0)
		return r;
	if (options->has_tcp_cpu) {
		CPU_ZERO(&set);
		CPU_SET(options->tcp_cpu, &set);
		r = pthread_attr_setaffinity_np(&attributes, sizeof(set), &set);
	}
	if (r == 0)
		r = pthread_create(&tcp->thread, &attributes, run, tcp);
	if (r == EINVAL && options->has_tcp_cpu)
		hbus_log("--tcp-cpu %u: there is no such CPU, or it may not be used", options->tcp_cpu);
	pthread_attr_destroy(&attributes);
	return r;
}

int hbus_tcp_start(struct hbus_tcp *tcp)
{
	int r;

	if (!tcp)
		return 0;
	tcp->stack_options.claim = &tcp->claim;
	tcp->stack_options.tcp_port = tcp->options->tcp_port;
	tcp->stack_options.connections_max = tcp->options->tcp_connections;
	tcp->stack_options.finishes_sums = tcp->options->no_checksum;
	tcp->stack_options.accept = hbus_tcp_clients_accept;
	tcp->stack_options.context = &tcp->clients;
	if (getrandom(tcp->stack_options.secret, sizeof(tcp->stack_options.secret), 0) < 0)
		return -errno;
	r = hbus_stack_new(&tcp->stack_options, tcp->wire, &tcp->counters, &tcp->stack);
	if (r == 0)
		r = claim_addresses(tcp);
	if (r == 0)
		r = -start_thread(tcp);
	if (r < 0) {
		hbus_log("no TCP: %s", strerror(-r));
		tcp->stack = hbus_stack_free(tcp->stack);
		return r;
	}
	tcp->has_thread = true;
	hbus_log("MQTT over TCP: %u address%s, port %u, at most %u connections", tcp->claim.n,
		 tcp->claim.n == 1 ? "" : "es", tcp->options->tcp_port, tcp->options->tcp_connections);
	return 0;
}

void hbus_tcp_stop(struct hbus_tcp *tcp)
{
	if (!tcp || !tcp->has_thread)
		return;
	/* relaxed: nothing but the stop itself is told by this word */
	atomic_store_explicit(&tcp->is_stopping, 1, memory_order_relaxed);
	pthread_join(tcp->thread, NULL);
	tcp->has_thread = false;
}

const struct hbus_tcp_counters *hbus_tcp_counters(const struct hbus_tcp *tcp)
{
	return tcp ? &tcp->counters : NULL;
}

const struct hbus_mqtt_counters *hbus_tcp_mqtt_counters(const struct hbus_tcp *tcp)
{
	return tcp ? hbus_mqtt_counters(tcp->engine) : NULL;
}
