/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of hugebus-mqtt. */
#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/mqtt/gateway.h"

const char *argp_program_version = "hugebus-mqtt " HBUS_VERSION;

enum key {
	KEY_ANONYMOUS = 256,
	KEY_PASSWORDS,
	KEY_HASH,
	KEY_CERTIFICATE,
	KEY_KEY,
	KEY_AUTHORITIES,
	KEY_RELIABLE,
	KEY_CLOUDEVENTS,
	KEY_RING,
	KEY_PACKET,
	KEY_CONNS,
	KEY_ADDRESS_CONNS,
	KEY_SESSIONS,
	KEY_SUBSCRIPTIONS,
	KEY_QUEUE,
	KEY_QUEUE_BYTES,
	KEY_INFLIGHT,
	KEY_RECEIVE,
	KEY_RETAINED,
	KEY_RETAINED_BYTES,
	KEY_MEMORY,
	KEY_EXPIRY,
	KEY_KEEP_ALIVE,
	KEY_CONNECT,
	KEY_STALL,
	KEY_PROMISES,
	KEY_THREADS,
	KEY_NAP,
	KEY_SPIN,
	KEY_STATE,
};

static const struct argp_option options[] = {
	{ NULL, 0, NULL, 0, "Who may come:", 1 },
	{ "listen", 'l', "ADDRESS", 0, "HOST:PORT, PORT or unix:PATH; tls:, ws: or wss: in front: TLS, WebSocket, both "
	  "(repeatable; 127.0.0.1:1883)", 1 },
	{ "allow-anonymous", KEY_ANONYMOUS, NULL, 0, "serve clients that give no name and password", 1 },
	{ "password-file", KEY_PASSWORDS, "FILE", 0, "names and passwords, lines of NAME:HASH", 1 },
	{ "hash-password", KEY_HASH, "NAME", 0, "read a password from stdin, print a line for that file, end", 1 },
	{ "cert", KEY_CERTIFICATE, "FILE", 0, "for TLS: the certificate and its chain, PEM", 1 },
	{ "key", KEY_KEY, "FILE", 0, "its private key", 1 },
	{ "ca", KEY_AUTHORITIES, "FILE", 0, "clients need a certificate of these authorities; its common name is their name", 1 },
	{ NULL, 0, NULL, 0, "The bus:", 2 },
	{ "socket", 's', "PATH", 0, "its socket (HUGEBUS_SOCKET, else the system's)", 2 },
	{ "reliable", KEY_RELIABLE, NULL, 0, "publishers on the bus wait for this gateway (needs the right)", 2 },
	{ "cloudevents", KEY_CLOUDEVENTS, "all", OPTION_ARG_OPTIONAL,
	  "give events of local processes their CloudEvents attributes as user properties; =all: MQTT 3.1.1 clients get "
	  "every CloudEvent too, as JSON", 2 },
	{ "ring-bytes", KEY_RING, "N", 0, "size of the gateway's ring, a power of two (4194304)", 2 },
	{ "state", KEY_STATE, "DIR", 0, "keep sessions and retained messages there over a restart", 2 },
	{ "threads", KEY_THREADS, "N", 0, "threads that share the sockets and TLS (1)", 2 },
	{ "nap-us", KEY_NAP, "US", 0, "with many clients that say little each, sleep so long to serve several at once; "
	  "0 = never (300)", 2 },
	{ "spin-us", KEY_SPIN, "US", 0, "while clients come back so soon, look again instead of sleeping; costs a core; "
	  "0 = never, and do not wait awake for who comes regularly (50)", 2 },
	{ NULL, 0, NULL, 0, "Limits:", 3 },
	{ "packet-max", KEY_PACKET, "BYTES", 0, "a packet from a client (262144)", 3 },
	{ "connections-max", KEY_CONNS, "N", 0, "connections (16384)", 3 },
	{ "connections-per-address", KEY_ADDRESS_CONNS, "N", 0, "of these, from one address; of IPv6 from one /64 (no limit)", 3 },
	{ "sessions-max", KEY_SESSIONS, "N", 0, "sessions, with and without a connection (65536)", 3 },
	{ "session-expiry-max", KEY_EXPIRY, "S", 0, "life of a session without a connection (604800)", 3 },
	{ "subscriptions-max", KEY_SUBSCRIPTIONS, "N", 0, "subscriptions of a session, up to 256 (256)", 3 },
	{ "queue-max", KEY_QUEUE, "N", 0, "messages that wait for a session (8192)", 3 },
	{ "queue-bytes-max", KEY_QUEUE_BYTES, "BYTES", 0, "the same in bytes (8388608)", 3 },
	{ "inflight-max", KEY_INFLIGHT, "N", 0, "messages to a client that it has not acknowledged (1024)", 3 },
	{ "receive-max", KEY_RECEIVE, "N", 0, "QoS 2 messages of an MQTT 5 client not released yet (64)", 3 },
	{ "retained-max", KEY_RETAINED, "N", 0, "retained messages (100000)", 3 },
	{ "retained-bytes-max", KEY_RETAINED_BYTES, "BYTES", 0, "the same in bytes (67108864)", 3 },
	{ "memory-max", KEY_MEMORY, "BYTES", 0, "all messages kept for clients (268435456)", 3 },
	{ "keep-alive-max", KEY_KEEP_ALIVE, "S", 0, "told to MQTT 5 clients that want longer; 0 = any (0)", 3 },
	{ "connect-timeout", KEY_CONNECT, "S", 0, "from a connection to its CONNECT (10)", 3 },
	{ "stall", KEY_STALL, "S", 0, "how long a client may leave what it is sent unread (30)", 3 },
	{ "promises-max", KEY_PROMISES, "N", 0, "retained messages on their way to new subscriptions (1000000)", 3 },
	{ 0 },
};

static uint64_t number(struct argp_state *state, const char *text, uint64_t min, uint64_t max)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || value < min || value > max)
		argp_error(state, "'%s' is not a number from %llu to %llu", text, (unsigned long long)min,
			   (unsigned long long)max);
	return value;
}

static uint32_t number32(struct argp_state *state, const char *text, uint64_t min, uint64_t max)
{
	return (uint32_t)number(state, text, min, max);
}

static error_t parse_limit(int key, char *arg, struct argp_state *state, struct hbus_mqtt_config *limits)
{
	switch (key) {
	case KEY_PACKET: limits->packet_max = number32(state, arg, 1024, HBUS_MQTT_VARINT_MAX); return 0;
	case KEY_CONNS: limits->conns_max = number32(state, arg, 1, 1u << 20); return 0;
	case KEY_SESSIONS: limits->sessions_max = number32(state, arg, 1, 1u << 24); return 0;
	case KEY_EXPIRY: limits->session_expiry_max_s = number32(state, arg, 0, UINT32_MAX); return 0;
	case KEY_SUBSCRIPTIONS: limits->subscriptions_max = number32(state, arg, 1, 256); return 0;
	case KEY_QUEUE: limits->queue_max = number32(state, arg, 1, 1u << 24); return 0;
	case KEY_QUEUE_BYTES: limits->queue_bytes_max = number32(state, arg, 1, UINT32_MAX); return 0;
	case KEY_INFLIGHT: limits->inflight_max = (uint16_t)number(state, arg, 1, 65535); return 0;
	case KEY_RECEIVE: limits->receive_max = (uint16_t)number(state, arg, 1, 65535); return 0;
	case KEY_RETAINED: limits->retained_max = number32(state, arg, 0, 1u << 24); return 0;
	case KEY_RETAINED_BYTES: limits->retained_bytes_max = number(state, arg, 0, UINT64_MAX / 2); return 0;
	case KEY_MEMORY: limits->message_bytes_max = number(state, arg, 0, UINT64_MAX / 2); return 0;
	case KEY_KEEP_ALIVE: limits->keep_alive_max_s = (uint16_t)number(state, arg, 0, 43690); return 0;
	case KEY_CONNECT: limits->connect_timeout_ms = 1000 * number32(state, arg, 1, 3600); return 0;
	case KEY_STALL: limits->stall_ms = 1000 * number32(state, arg, 1, 3600); return 0;
	case KEY_PROMISES: limits->snapshot_max = number32(state, arg, 1, 1u << 24); return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static void add_listen(struct hbus_gateway_options *o, const char *address, struct argp_state *state)
{
	if (o->n_listen == HBUS_GATEWAY_LISTENERS_MAX)
		argp_error(state, "more than %d times --listen", HBUS_GATEWAY_LISTENERS_MAX);
	o->listen[o->n_listen++] = address;
}

static void check(const struct hbus_gateway_options *o, struct argp_state *state)
{
	if (o->hash_name)
		return;
	if (!o->allows_anonymous && !o->password_file && !o->tls.authorities)
		argp_error(state, "nobody could come: give --password-file, --ca or --allow-anonymous");
	if (!o->tls.certificate != !o->tls.key || (o->tls.authorities && !o->tls.certificate))
		argp_error(state, "TLS needs --cert and --key");
	for (unsigned int i = 0; i < o->n_listen; i++)
		if ((strncmp(o->listen[i], "tls:", 4) == 0 || strncmp(o->listen[i], "wss:", 4) == 0) &&
		    !o->tls.certificate)
			argp_error(state, "--listen %s needs --cert and --key", o->listen[i]);
}

/* Options whose value is a name: where it goes, or NULL. */
static const char **name_of(struct hbus_gateway_options *o, int key)
{
	switch (key) {
	case 's': return &o->socket;
	case KEY_PASSWORDS: return &o->password_file;
	case KEY_CERTIFICATE: return &o->tls.certificate;
	case KEY_KEY: return &o->tls.key;
	case KEY_AUTHORITIES: return &o->tls.authorities;
	case KEY_HASH: return &o->hash_name;
	case KEY_STATE: return &o->state_dir;
	default: return NULL;
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct hbus_gateway_options *o = state->input;
	const char **name = name_of(o, key);

	if (name) {
		*name = arg;
		return 0;
	}
	switch (key) {
	case 'l':
		add_listen(o, arg, state);
		return 0;
	case KEY_ANONYMOUS:
		o->allows_anonymous = true;
		return 0;
	case KEY_RELIABLE:
		o->is_reliable = true;
		return 0;
	case KEY_CLOUDEVENTS:
		if (arg && strcmp(arg, "all") != 0)
			argp_error(state, "--cloudevents is given alone or as --cloudevents=all, not =%s", arg);
		o->adds_cloudevents = true;
		o->limits.structures_cloudevents = arg != NULL;
		return 0;
	case KEY_RING:
		o->ring_size = number(state, arg, 65536, UINT64_C(1) << 32);
		return 0;
	case KEY_ADDRESS_CONNS:
		o->address_conns_max = number32(state, arg, 1, 1u << 20);
		return 0;
	case KEY_THREADS:
		o->n_threads = number32(state, arg, 1, HBUS_GATEWAY_THREADS_MAX);
		return 0;
	case KEY_NAP:
		o->nap_us = number32(state, arg, 0, 100000);
		return 0;
	case KEY_SPIN:
		o->spin_us = number32(state, arg, 0, 1000000);
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is not an option", arg);
		return 0;
	case ARGP_KEY_END:
		check(o, state);
		return 0;
	default:
		return parse_limit(key, arg, state, &o->limits);
	}
}

void hbus_gateway_options_parse(int argc, char **argv, struct hbus_gateway_options *ret_options)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Serve MQTT 3.1.1 and 5.0 clients on a hugebus: their topics are the bus's topics.\v"
		       "Sessions and retained messages are kept in memory and are lost when this program ends, but for --state."
		       "\n\n"
		       "SIGHUP reads the password file and the certificates again.\n\n"
		       "Exit status: 0 ended as asked, 1 could not go on, 2 wrong usage.",
	};

	argp_err_exit_status = 2;
	*ret_options = (struct hbus_gateway_options){ .ring_size = 4 << 20, .n_threads = 1, .nap_us = 300, .spin_us = 50 };
	hbus_mqtt_config_default(&ret_options->limits);
	argp_parse(&argp, argc, argv, 0, NULL, ret_options);
	if (ret_options->n_listen == 0)
		ret_options->listen[ret_options->n_listen++] = "127.0.0.1:1883";
}
