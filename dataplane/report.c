/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The account of the ingress as one JSON object. Its members are explained in
 * dataplane/DESIGN.md.
 */
#include <arpa/inet.h>
#include <stdio.h>

#include <jansson.h>

#include "dataplane/pilot_pvt.h"
#include "dataplane/counters.h"
#include "dataplane/mqttsn/engine.h"
#include "dataplane/tcp/tcp.h"
#ifdef HBUS_HAVE_XDP
#include "ebpf/loader.h"
#endif

static void put(json_t *object, const char *name, uint64_t value)
{
	json_object_set_new(object, name, json_integer((json_int_t)value));
}

/* One cell for each reason, from @first_idx on. Return: their sum. */
static uint64_t put_reasons(json_t *object, const struct hbus_pilot *pilot,
			    unsigned int first_idx)
{
	uint64_t sum = 0;

	for (unsigned int reason = 0; reason < HBUS_N_REASONS; reason++) {
		uint64_t value = hbus_counters_sum(pilot, first_idx + reason);

		put(object, hbus_reason_name(reason), value);
		sum += value;
	}
	return sum;
}

static json_t *report_frames(const struct hbus_pilot *pilot)
{
	json_t *frames = json_object();
	uint64_t received = hbus_counters_sum(pilot, HBUS_CELL_RECEIVED);

	put(frames, "received", received);
	put(frames, "bytes", hbus_counters_sum(pilot, HBUS_CELL_BYTES));
	put(frames, "in_flight", received - put_reasons(frames, pilot, HBUS_CELL_FRAMES));
	return frames;
}

static json_t *report_events(const struct hbus_pilot *pilot)
{
	json_t *events = json_object();

	put(events, "received", hbus_counters_sum(pilot, HBUS_CELL_EVENTS_RECEIVED));
	put(events, "published", hbus_counters_sum(pilot, HBUS_CELL_EVENTS_PUBLISHED));
	put(events, "no_interest", hbus_counters_sum(pilot, HBUS_CELL_EVENTS_NO_INTEREST));
	put(events, "too_long", hbus_counters_sum(pilot, HBUS_CELL_EVENTS_TOO_LONG));
	put(events, "unknown_topic", hbus_counters_sum(pilot, HBUS_CELL_EVENTS_UNKNOWN_TOPIC));
	put(events, "ring_full", hbus_counters_sum(pilot, HBUS_CELL_EVENTS_RING_FULL));
	put(events, "no_ring", hbus_counters_sum(pilot, HBUS_CELL_EVENTS_NO_RING));
	return events;
}

static json_t *report_batches(const struct hbus_pilot *pilot)
{
	json_t *batch = json_object();

	put(batch, "missing", hbus_counters_sum(pilot, HBUS_CELL_BATCH_MISSING));
	put(batch, "gaps", hbus_counters_sum(pilot, HBUS_CELL_BATCH_GAPS));
	put(batch, "duplicates", hbus_counters_sum(pilot, HBUS_CELL_BATCH_DUPLICATES));
	put(batch, "reordered", hbus_counters_sum(pilot, HBUS_CELL_BATCH_REORDERED));
	put(batch, "stale", hbus_counters_sum(pilot, HBUS_CELL_BATCH_STALE));
	put(batch, "restarts", hbus_counters_sum(pilot, HBUS_CELL_BATCH_RESTARTS));
	put(batch, "senders", hbus_counters_sum(pilot, HBUS_CELL_BATCH_SENDERS));
	put(batch, "forgotten", hbus_counters_sum(pilot, HBUS_CELL_BATCH_FORGOTTEN));
	return batch;
}

/* What loops and the gateway did with datagrams of MQTT-SN, and what the gateway counted. */
static json_t *report_mqttsn(const struct hbus_pilot *pilot)
{
	const struct hbus_sn_counters *counters = hbus_sn_gateway_counters(pilot->gateway);
	json_t *entry = json_object();

	put(entry, "published", hbus_counters_sum(pilot, HBUS_CELL_MQTTSN_PUBLISHED));
	put(entry, "passed", hbus_counters_sum(pilot, HBUS_CELL_MQTTSN_PASSED));
#define PUT_COUNTER(name, text) put(entry, #name, counters->name);
	HBUS_SN_COUNTERS(PUT_COUNTER)
#undef PUT_COUNTER
	return entry;
}

static json_t *report_topics(const struct hbus_pilot *pilot)
{
	json_t *topics = json_array();

	for (uint32_t i = 1; i <= hbus_directory_n_topics(pilot->directory); i++) {
		const struct hbus_directory_topic *topic =
			hbus_directory_topic(pilot->directory, i);
		struct hbus_topic_sums sums = hbus_counters_topic(pilot, i);
		json_t *entry = json_object();

		json_object_set_new(entry, topic->is_pseudo ? "route" : "topic",
				    json_string(topic->name));
		put(entry, "received", sums.received);
		put(entry, "published", sums.published);
		put(entry, "no_interest", sums.no_interest);
		put(entry, "ring_full", sums.ring_full);
		put(entry, "dropped", sums.dropped);
		json_array_append_new(topics, entry);
	}
	return topics;
}

static json_t *report_passive(const struct hbus_pilot *pilot)
{
	json_t *flows = json_object(), *streams = json_object(), *root = json_object();
	struct hbus_passive_counters counters;

	hbus_passive_counters(pilot->passive, &counters);
#define PUT_FLOW(name, meaning) put(flows, #name, counters.flows.n_##name);
	HBUS_FLOW_COUNTERS(PUT_FLOW)
#define PUT_STREAM(name, meaning) put(streams, #name, counters.reader.n_##name);
	HBUS_TAP_COUNTERS(PUT_STREAM)
	json_object_set_new(root, "flows", flows);
	json_object_set_new(root, "streams", streams);
	put(root, "events_published", counters.n_events);
	put(root, "ring_full", counters.n_ring_full);
	put(root, "too_large", counters.n_too_large);
	put(root, "no_topic", counters.n_no_topic);
	put(root, "overruns", counters.n_overruns);
	return root;
}

/* ---- filters --------------------------------------------------------------------------- */

#ifdef HBUS_HAVE_XDP
static json_t *report_reasons(const struct hbus_port *port)
{
	struct hbus_reason_stats stats[HBUS_REASONS_MAX];
	json_t *xdp = json_object();

	if (hbus_filter_stats_read(port->filter, stats) != 0)
		return xdp;
	for (unsigned int reason = 0; reason < HBUS_N_REASONS; reason++)
		if (hbus_reason_action(reason) != HBUS_ACTION_NONE)
			put(xdp, hbus_reason_name(reason), stats[reason].packets);
	return xdp;
}

static json_t *report_route(const struct hbus_directory_route *route,
			    const struct hbus_route_stats *stats)
{
	json_t *entry = json_object();
	char address[INET6_ADDRSTRLEN] = "";

	inet_ntop(route->match.family == HBUS_FAMILY_IPV4 ? AF_INET : AF_INET6, route->match.addr,
		  address, sizeof(address));
	json_object_set_new(entry, "address", json_string(address));
	put(entry, "prefix_len", route->match.prefix_len);
	put(entry, "port", route->match.port);
	put(entry, "vlan", route->match.vlan);
	json_object_set_new(entry, "topic", json_string(route->topic->name));
	put(entry, "accepted", stats->accepted);
	put(entry, "bad_length", stats->bad_length);
	put(entry, "no_interest", stats->no_interest);
	put(entry, "source_denied", stats->source_denied);
	put(entry, "rate_limited", stats->rate_limited);
	put(entry, "no_socket", stats->no_socket);
	return entry;
}

static json_t *report_routes(const struct hbus_pilot *pilot, const struct hbus_port *port)
{
	json_t *routes = json_array();

	for (uint32_t i = 0; i < hbus_directory_n_routes(pilot->directory); i++) {
		const struct hbus_directory_route *route =
			hbus_directory_route_at(pilot->directory, i);
		struct hbus_route_stats stats;

		if (route->topic && hbus_filter_route_stats_read(port->filter, i, 1, &stats) == 0)
			json_array_append_new(routes, report_route(route, &stats));
	}
	return routes;
}

static void report_filter(const struct hbus_pilot *pilot, const struct hbus_port *port,
			  json_t *entry)
{
	json_object_set_new(entry, "xdp", report_reasons(port));
	json_object_set_new(entry, "xdp_routes", report_routes(pilot, port));
}
#else
static void report_filter(const struct hbus_pilot *pilot, const struct hbus_port *port,
			  json_t *entry)
{
	(void)pilot;
	(void)port;
	(void)entry;
}
#endif

static json_t *report_ports(const struct hbus_pilot *pilot)
{
	json_t *ports = json_array();

	for (unsigned int i = 0; pilot->ports && i < pilot->ports->n; i++) {
		const struct hbus_port *port = &pilot->ports->at[i];
		struct hbus_port_losses losses = hbus_port_losses(port);
		json_t *entry = json_object();

		json_object_set_new(entry, "name", json_string(port->name));
		if (port->iface[0] != '\0')
			json_object_set_new(entry, "iface", json_string(port->iface));
		json_object_set_new(entry, "filter",
				    json_string(port->filter ? "driver" : "poll loop"));
		put(entry, "missed", losses.missed);
		put(entry, "errors", losses.errors);
		put(entry, "no_buffer", losses.no_buffer);
		if (port->filter)
			report_filter(pilot, port, entry);
		json_array_append_new(ports, entry);
	}
	return ports;
}

/* What the TCP stack and the MQTT engine behind it have counted. */
static json_t *report_tcp(const struct hbus_tcp *tcp)
{
	const struct hbus_tcp_counters *counters = hbus_tcp_counters(tcp);
	const struct hbus_mqtt_counters *engine = hbus_tcp_mqtt_counters(tcp);
	json_t *entry = json_object(), *mqtt = json_object();

#define PUT_COUNTER(name, text) put(entry, #name, counters->name);
	HBUS_TCP_COUNTERS(PUT_COUNTER)
#undef PUT_COUNTER
#define PUT_COUNTER(name, text) put(mqtt, #name, engine->name);
	HBUS_MQTT_COUNTERS(PUT_COUNTER)
#undef PUT_COUNTER
	json_object_set_new(entry, "mqtt", mqtt);
	return entry;
}

void hbus_pilot_report(struct hbus_pilot *pilot, FILE *out, double seconds, const struct hbus_tcp *tcp)
{
	json_t *root = json_object();

	pthread_mutex_lock(&pilot->lock);
	json_object_set_new(root, "seconds", json_real(seconds));
	json_object_set_new(root, "workers", json_integer(pilot->n_loops));
	json_object_set_new(root, "ports", report_ports(pilot));
	json_object_set_new(root, "frames", report_frames(pilot));
	json_object_set_new(root, "events", report_events(pilot));
	json_object_set_new(root, "batch", report_batches(pilot));
	json_object_set_new(root, "topics", report_topics(pilot));
	if (pilot->passive)
		json_object_set_new(root, "passive", report_passive(pilot));
	if (pilot->gateway)
		json_object_set_new(root, "mqttsn", report_mqttsn(pilot));
	if (tcp)
		json_object_set_new(root, "tcp", report_tcp(tcp));
	pthread_mutex_unlock(&pilot->lock);
	json_dumpf(root, out, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
	fputc('\n', out);
	fflush(out);
	json_decref(root);
}
