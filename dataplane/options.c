/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parses the command line. Runs before anything else, in the parent process.
 */
#include "dataplane/options.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/mqttsn/endpoint.h"
#include "dataplane/tcp/address.h"
#include "dataplane/xdp_object.h"

#define SECONDS_MAX 1e9
#define RETRY_SECONDS_MAX 86400.0

const char *argp_program_version = "hugebus-ingress " HBUS_VERSION;

enum key {
	KEY_VDEV = 256,
	KEY_NO_HUGE,
	KEY_NO_CHECKSUM,
	KEY_LCORES,
	KEY_WORKERS,
	KEY_QUEUES,
	KEY_COUNT,
	KEY_SECONDS,
	KEY_IDLE_EXIT,
	KEY_JSON,
	KEY_XDP_OBJECT,
	KEY_OWN_RING,
	KEY_WAKE_INLINE,
	KEY_TCP,
	KEY_TCP_PORT,
	KEY_TCP_CONNECTIONS,
	KEY_TCP_ADDRESS_CONNECTIONS,
	KEY_TCP_ANONYMOUS,
	KEY_TCP_PASSWORDS,
	KEY_TCP_CPU,
	KEY_NAME,
	KEY_PASSIVE,
	KEY_MQTTSN,
	KEY_MQTTSN_TOPICS,
	KEY_MQTTSN_ID,
	KEY_MQTTSN_ADVERTISE,
	KEY_MQTTSN_CLIENTS,
	KEY_MQTTSN_RETRY,
};

static const struct argp_option options[] = {
	{ NULL, 0, NULL, 0, "Where packets come from:", 1 },
	{ "iface", 'i', "NAME", 0,
	  "a network interface through AF_XDP, filtered by XDP (repeatable)", 1 },
	{ "pcap", 'p', "FILE", 0, "a capture (repeatable)", 1 },
	{ "vdev", KEY_VDEV, "DEVICE", 0, "any virtual device of DPDK (repeatable)", 1 },
	{ "queues", KEY_QUEUES, "N", 0, "receive queues of each port (1)", 1 },
	{ "xdp-object", KEY_XDP_OBJECT, "FILE", 0, "the XDP program", 1 },
	{ "passive", KEY_PASSIVE, "PORT", 0,
	  "read what MQTT clients publish to brokers on this TCP port, and answer nothing: for captures and "
	  "mirrored traffic (repeatable)", 1 },
	{ "no-checksum", KEY_NO_CHECKSUM, NULL, 0,
	  "take UDP checksums as good: senders on the other end of a veth leave them unfinished",
	  1 },
	{ NULL, 0, NULL, 0, "Where events go:", 2 },
	{ "socket", 's', "PATH", 0, "the bus (HUGEBUS_SOCKET, else the system's)", 2 },
	{ "own-ring", KEY_OWN_RING, "TOPIC", 0,
	  "give a busy topic rings of its own (repeatable)", 2 },
	{ "name", KEY_NAME, "NAME", 0, "what the bus lists this program as", 2 },
	{ "wake-inline", KEY_WAKE_INLINE, NULL, 0,
	  "wake sleeping readers from the poll loop: up to a system call per burst, but at once",
	  2 },
	{ NULL, 0, NULL, 0, "MQTT-SN, answered by the poll loops (docs/MQTT-SN.md):", 6 },
	{ "mqttsn", KEY_MQTTSN, "[ADDRESS:]PORT", 0,
	  "be an MQTT-SN gateway there, for whoever the source rules let in (repeatable)", 6 },
	{ "mqttsn-topics", KEY_MQTTSN_TOPICS, "FILE", 0,
	  "predefined topics, a line IDENTIFIER NAME for each", 6 },
	{ "mqttsn-gateway-id", KEY_MQTTSN_ID, "N", 0, "in GWINFO and ADVERTISE (1)", 6 },
	{ "mqttsn-advertise", KEY_MQTTSN_ADVERTISE, "S", 0, "advertise each S seconds (never)", 6 },
	{ "mqttsn-clients", KEY_MQTTSN_CLIENTS, "N", 0, "at most so many clients (4096)", 6 },
	{ "mqttsn-retry", KEY_MQTTSN_RETRY, "S", 0,
	  "say again what no client has acknowledged for so long (10)", 6 },
	{ NULL, 0, NULL, 0, "MQTT over TCP, by a stack of its own (hugebus-mqtt is for kernel sockets):", 5 },
	{ "tcp", KEY_TCP, "ADDRESS", 0,
	  "ADDRESS/PREFIX[%INTERFACE] that the stack owns, and the kernel must not have "
	  "(repeatable, or a list with commas)", 5 },
	{ "tcp-listen", KEY_TCP_PORT, "PORT", 0, "where it listens (1883)", 5 },
	{ "tcp-connections", KEY_TCP_CONNECTIONS, "N", 0, "at most so many; more are refused (1000)", 5 },
	{ "tcp-connections-per-address", KEY_TCP_ADDRESS_CONNECTIONS, "N", 0,
	  "of these, from one address; of IPv6 from one /64 (no limit)", 5 },
	{ "tcp-allow-anonymous", KEY_TCP_ANONYMOUS, NULL, 0,
	  "serve clients that give no name and password", 5 },
	{ "tcp-password-file", KEY_TCP_PASSWORDS, "FILE", 0,
	  "names and passwords, lines of NAME:HASH (hugebus-mqtt --hash-password)", 5 },
	{ "tcp-cpu", KEY_TCP_CPU, "N", 0,
	  "a CPU that the stack has for itself: it polls and never sleeps (with the other threads)", 5 },
	{ NULL, 0, NULL, 0, "Where it runs:", 3 },
	{ "workers", KEY_WORKERS, "N", 0, "poll loops, one CPU each (1)", 3 },
	{ "lcores", KEY_LCORES, "LIST", 0,
	  "lcores as EAL writes them; the first controls, the others poll", 3 },
	{ "no-huge", KEY_NO_HUGE, NULL, 0, "4 KiB pages even when there are hugepages", 3 },
	{ NULL, 0, NULL, 0, "When it ends, and what it says then:", 4 },
	{ "count", KEY_COUNT, "N", 0, "stop after N frames", 4 },
	{ "seconds", KEY_SECONDS, "S", 0, "stop after S seconds", 4 },
	{ "idle-exit", KEY_IDLE_EXIT, "S", 0, "stop when no frame came for S seconds", 4 },
	{ "json", KEY_JSON, NULL, 0, "print the account as JSON at the end", 4 },
	{ 0 },
};

static uint64_t parse_number(struct argp_state *state, const char *text, uint64_t max)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end != '\0' || value > max)
		argp_error(state, "'%s' is not a number from 0 to %llu", text,
			   (unsigned long long)max);
	return value;
}

static double parse_seconds(struct argp_state *state, const char *text, double max)
{
	char *end;
	double value = strtod(text, &end);

	if (*text < '0' || *text > '9' || *end != '\0' || !(value >= 0) || value > max)
		argp_error(state, "'%s' is not a number of seconds from 0 to %.0f", text, max);
	return value;
}

static void add_word(struct argp_state *state, struct hbus_words *words, const char *word)
{
	if (words->n == sizeof(words->at) / sizeof(words->at[0]))
		argp_error(state, "more than %zu of '%s' and the like",
			   sizeof(words->at) / sizeof(words->at[0]), word);
	words->at[words->n++] = word;
}

static bool parse_end(int key, char *arg, struct argp_state *state,
		      struct hbus_ingress_options *o)
{
	switch (key) {
	case KEY_COUNT: o->count = parse_number(state, arg, UINT64_MAX); return true;
	case KEY_SECONDS: o->seconds = parse_seconds(state, arg, SECONDS_MAX); return true;
	case KEY_IDLE_EXIT: o->idle_exit = parse_seconds(state, arg, SECONDS_MAX); return true;
	case KEY_JSON: o->prints_json = true; return true;
	default: return false;
	}
}

static void add_passive_port(struct argp_state *state, struct hbus_ingress_options *o, const char *arg)
{
	uint64_t port = parse_number(state, arg, UINT16_MAX);

	if (port == 0 || o->n_passive_ports == HBUS_INGRESS_PASSIVE_PORTS_MAX)
		argp_error(state, "--passive takes ports from 1 to 65535, at most %u of them",
			   HBUS_INGRESS_PASSIVE_PORTS_MAX);
	o->passive_ports[o->n_passive_ports++] = (uint16_t)port;
}

static bool parse_source(int key, char *arg, struct argp_state *state,
			 struct hbus_ingress_options *o)
{
	switch (key) {
	case 'i': add_word(state, &o->ifaces, arg); return true;
	case 'p': add_word(state, &o->pcaps, arg); return true;
	case KEY_VDEV: add_word(state, &o->vdevs, arg); return true;
	case KEY_PASSIVE: add_passive_port(state, o, arg); return true;
	case KEY_QUEUES: o->n_queues = (unsigned int)parse_number(state, arg, 64); return true;
	case KEY_XDP_OBJECT: o->xdp_object = arg; return true;
	case KEY_NO_CHECKSUM: o->no_checksum = true; return true;
	default: return false;
	}
}

static void add_endpoint(struct argp_state *state, struct hbus_ingress_options *o, char *text)
{
	struct hbus_route_match matches[HBUS_SN_ENDPOINT_MATCHES_MAX];

	if (hbus_sn_endpoint_parse(text, matches) == 0)
		argp_error(state, "'%s' is not [ADDRESS:]PORT", text);
	add_word(state, &o->mqttsn, text);
}

static bool parse_mqttsn(int key, char *arg, struct argp_state *state,
			 struct hbus_ingress_options *o)
{
	switch (key) {
	case KEY_MQTTSN: add_endpoint(state, o, arg); return true;
	case KEY_MQTTSN_TOPICS: o->mqttsn_topics = arg; return true;
	case KEY_MQTTSN_ID: o->mqttsn_gateway_id = (uint8_t)parse_number(state, arg, 255); return true;
	case KEY_MQTTSN_ADVERTISE:
		o->mqttsn_advertise_s = (uint32_t)parse_number(state, arg, 65535);
		return true;
	case KEY_MQTTSN_CLIENTS:
		o->mqttsn_clients_max = (uint32_t)parse_number(state, arg, 65536);
		return true;
	case KEY_MQTTSN_RETRY:
		o->mqttsn_retry_ms = (uint32_t)(parse_seconds(state, arg, RETRY_SECONDS_MAX) * 1000);
		return true;
	default: return false;
	}
}

static void add_addresses(struct argp_state *state, struct hbus_ingress_options *o, char *list)
{
	struct hbus_tcp_address address;

	if (list[strspn(list, ",")] == '\0')
		argp_error(state, "--tcp needs an address");
	for (char *word = strtok(list, ","); word; word = strtok(NULL, ",")) {
		if (hbus_tcp_address_parse(word, &address) < 0)
			argp_error(state, "--tcp: '%s' is not ADDRESS/PREFIX of a host", word);
		add_word(state, &o->tcp_addresses, word);
	}
}

static bool parse_tcp(int key, char *arg, struct argp_state *state, struct hbus_ingress_options *o)
{
	switch (key) {
	case KEY_TCP: add_addresses(state, o, arg); return true;
	case KEY_TCP_PORT: o->tcp_port = (uint16_t)parse_number(state, arg, 65535); return true;
	case KEY_TCP_CONNECTIONS:
		o->tcp_connections = (uint32_t)parse_number(state, arg, HBUS_INGRESS_TCP_CONNECTIONS_MAX);
		return true;
	case KEY_TCP_ADDRESS_CONNECTIONS:
		o->tcp_address_connections = (uint32_t)parse_number(state, arg, HBUS_INGRESS_TCP_CONNECTIONS_MAX);
		return true;
	case KEY_TCP_ANONYMOUS: o->tcp_allows_anonymous = true; return true;
	case KEY_TCP_PASSWORDS: o->tcp_password_file = arg; return true;
	case KEY_TCP_CPU:
		o->tcp_cpu = (unsigned int)parse_number(state, arg, CPU_SETSIZE - 1);
		o->has_tcp_cpu = true;
		return true;
	default: return false;
	}
}

static void check_tcp(struct argp_state *state, const struct hbus_ingress_options *o)
{
	if (o->tcp_addresses.n == 0)
		return;
	if (o->tcp_port == 0 || o->tcp_connections == 0)
		argp_error(state, "--tcp-listen and --tcp-connections begin at 1");
	if (!o->tcp_allows_anonymous && !o->tcp_password_file)
		argp_error(state, "nobody could come: give --tcp-password-file or --tcp-allow-anonymous");
}

static bool parse_place(int key, char *arg, struct argp_state *state,
			struct hbus_ingress_options *o)
{
	switch (key) {
	case 's': o->socket = arg; return true;
	case KEY_OWN_RING: add_word(state, &o->own_rings, arg); return true;
	case KEY_NAME: o->name = arg; return true;
	case KEY_WAKE_INLINE: o->wakes_inline = true; return true;
	case KEY_WORKERS:
		o->n_workers = (unsigned int)parse_number(state, arg, HBUS_INGRESS_WORKERS_MAX);
		return true;
	case KEY_LCORES: o->lcores = arg; return true;
	case KEY_NO_HUGE: o->no_huge = true; return true;
	default: return false;
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct hbus_ingress_options *o = state->input;

	if (parse_end(key, arg, state, o) || parse_source(key, arg, state, o) ||
	    parse_place(key, arg, state, o) || parse_mqttsn(key, arg, state, o) ||
	    parse_tcp(key, arg, state, o))
		return 0;
	if (key == ARGP_KEY_ARGS) {
		if (!state->quoted || state->next < state->quoted)
			argp_error(state, "unexpected argument '%s': what is EAL's stands behind --",
				   state->argv[state->next]);
		o->eal_args = state->argv + state->next;
		o->n_eal_args = state->argc - state->next;
		return 0;
	}
	if (key == ARGP_KEY_END && (o->n_workers == 0 || o->n_queues == 0))
		argp_error(state, "--workers and --queues begin at 1");
	if (key == ARGP_KEY_END && o->ifaces.n + o->pcaps.n + o->vdevs.n + (unsigned int)o->n_eal_args == 0)
		argp_error(state, "where do packets come from? Name a port with --iface, --pcap or --vdev");
	if (key == ARGP_KEY_END)
		check_tcp(state, o);
	return ARGP_ERR_UNKNOWN;
}

void hbus_options_parse(int argc, char **argv, struct hbus_ingress_options *ret_options)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "[-- EAL_ARGUMENTS...]",
		.doc = "Turn packets into events of a hugebus: poll with DPDK, filter with XDP.\v"
		       "Routes and source rules come from the bus. What stands behind -- goes to "
		       "DPDK's EAL as it is; with devices among it (-a), PCI is probed.\n\n"
		       "Exit status: 0 ended as asked, 1 could not go on, 2 wrong usage.",
	};

	argp_err_exit_status = 2;
	*ret_options = (struct hbus_ingress_options){
		.name = "hugebus-ingress",
		.n_workers = 1,
		.n_queues = 1,
		.mqttsn_gateway_id = 1,
		.mqttsn_clients_max = 4096,
		.mqttsn_retry_ms = 10000,
		.tcp_port = 1883,
		.tcp_connections = 1000,
	};
	argp_parse(&argp, argc, argv, 0, NULL, ret_options);
	if (!ret_options->xdp_object)
		ret_options->xdp_object = hbus_xdp_object_find(HBUS_XDP_OBJECT);
}
