/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hugebus-bench-ingress: `hugebus bench ingress`
 *
 * Packets of a generator, of a capture or of a port become events of a private bus, through the code that
 * hugebus-ingress runs. Each source is a session of its own: EAL starts once in a process.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/ingress/capture.h"
#include "bench/ingress/frames.h"
#include "bench/ingress/results.h"
#include "bench/ingress/session.h"
#include "bench/ingress/tcp.h"
#ifdef HBUS_HAVE_XDP
#include "bench/ingress/xdp.h"
#endif
#include "bench/options.h"
#include "bench/text.h"
#include "program/stdout.h"

#define CAPTURE_FRAMES 1024u

struct options {
	const char *only;
	const char *pcap;
	const char *iface;
	const char *vdev;
	const char *plant;
	unsigned int n_repeats;
	unsigned int duration_ms;
	unsigned int payload_size;
	unsigned int n_flows;
	unsigned int port;
	bool no_checksum;
	bool is_json;
	bool is_quiet;
};

static const char help[] =
	"Usage: hugebus bench ingress [options]\n"
	"Measures what becomes of packets: parse, route and publish, as hugebus-ingress does them, on one\n"
	"core. Beside each result stands what the same core does with the same packets when it only receives\n"
	"them.\n\n"
	"What the packets come from; without any of these a generator in memory, a capture made of its\n"
	"packets, and as root, in network namespaces of its own, a load made in the kernel for the XDP\n"
	"filter, and MQTT clients of the TCP stack beside the same of hugebus-mqtt on kernel sockets:\n"
	"  --pcap FILE       a capture, again and again (at most 4000 packets of 2048 bytes)\n"
	"  --iface NAME      an interface through AF_XDP: takes its UDP packets away from the kernel\n"
	"                    meanwhile\n"
	"  --vdev DEVICE     any device of DPDK, such as net_memif0,role=client\n"
	"  --port N          of these three only UDP packets to port N (all)\n"
	"  --no-checksum     take UDP checksums as good: senders on the other end of a veth leave them\n"
	"                    unfinished\n\n"
	"  --payload N       bytes of a generated payload, 17..1400 (18: the smallest Ethernet frame)\n"
	"  --flows N         topics that generated packets go to in turns, a power of two up to 4096 (16)\n"
	"  --quick           three short repetitions: shows that it works, not the speed\n"
	"  --repeats N       interleaved repetitions, 1..64 (default 5)\n"
	"  --duration MS     of each measurement, 20..10000 (default 200)\n"
	"  --only PATTERN    sources whose name matches, several with commas between: ring, mqttsn, pcap,\n"
	"                    passive, xdp, tcp\n"
	"  --plant FAULT     torn or lost: spoil one event, to see that the reader notices (exit 1)\n"
	"  --json            for programs (docs/CLI.md has every member)\n"
	"  --list            the sources\n"
	"  --quiet           no progress on stderr\n"
	"  --help, --version\n\n"
	"Exit: 0 done, 1 a measurement failed or was interrupted, 2 usage.\n";

static const char *const sources[] = {"ring", "mqttsn", "pcap", "passive", "xdp", "tcp"};

static bool is_wanted(const struct options *options, const char *name)
{
	return bench_matches(options->only, name);
}

static void say(const struct options *options, const char *what)
{
	if (!options->is_quiet)
		bench_text_progress("%s", what);
}

/* Of packets of the user: whether any became an event; else it is blamed. */
static bool has_events(const struct bench_source *source, const struct bench_session *session)
{
	if (source->payload_size)
		return true;
	if (session->n_routed == 0)
		bench_blame("no packet came");
	else if (session->n_published == 0)
		bench_blame("no packet became an event: they are no UDP, not to this port, or damaged");
	return session->n_published > 0;
}

/* A rate says little where few of the user's packets are events. */
static void say_what_came(const struct bench_source *source, const struct bench_session *session, struct bench_result *result)
{
	double share = source->payload_size ? 100 : 100 * (double)session->n_published / (double)session->n_routed;
	int n = snprintf(result->note, sizeof(result->note), "%s; lost before: %lu", session->text, (unsigned long)session->n_missed);

	if (share < 99.95 && n > 0 && (size_t)n < sizeof(result->note))
		snprintf(result->note + n, sizeof(result->note) - (size_t)n, "; %.3g %% of the packets became events", share);
}

/* One source, measured and reported under @name. */
static void measure(const struct options *options, const struct bench_cores *cores, const char *socket,
		    const struct bench_source *source, const char *name, const char *title,
		    struct bench_results *results)
{
	static struct bench_session session;
	char path[64], text[64];
	unsigned int first = results->n;

	say(options, title);
	bench_blame_begin();
	snprintf(path, sizeof(path), "ingress.%s.publish", name);
	snprintf(text, sizeof(text), "%s: publish", title);
	if (bench_session_run(source, cores, socket, options->n_repeats, options->duration_ms, &session) || !has_events(source, &session)) {
		bench_results_add_failed(results, path, text);
		fprintf(stderr, "hugebus-bench: %s failed\n", title);
		return;
	}
	bench_results_add_phase(results, path, text, &session, BENCH_PHASE_PUBLISH, BENCH_PHASE_TRIVIAL);
	say_what_came(source, &session, &results->at[first]);
	if (session.phase[BENCH_PHASE_READ].rate.n) {
		snprintf(path, sizeof(path), "ingress.%s.read", name);
		snprintf(text, sizeof(text), "%s: and read", title);
		bench_results_add_phase(results, path, text, &session, BENCH_PHASE_READ, BENCH_PHASE_TRIVIAL);
		snprintf(results->at[first + 2].note, sizeof(results->at[0].note), "%lu events checked, %lu dropped",
			 (unsigned long)session.n_checked, (unsigned long)session.n_dropped);
	}
	snprintf(path, sizeof(path), "ingress.%s.over_bare", name);
	snprintf(text, sizeof(text), "%s: over bare", title);
	(void)bench_results_add(results, path, text, &session.phase[BENCH_PHASE_PUBLISH].cost,
				&session.phase[BENCH_PHASE_BARE].cost, "bare receive loop: receive, free", true);
	snprintf(path, sizeof(path), "ingress.%s.bare", name);
	snprintf(text, sizeof(text), "%s: receive only", title);
	(void)bench_results_add(results, path, text, &session.phase[BENCH_PHASE_BARE].rate, NULL, NULL, false);
}

/* -- sources -- */

static struct bench_source generated(const struct options *options, const struct bench_cores *cores)
{
	return (struct bench_source){
		.payload_size = options->payload_size, .n_flows = options->n_flows,
		.has_reader = cores->n >= 2, .plant = options->plant,
	};
}

static void measure_ring(const struct options *options, const struct bench_cores *cores, const char *socket,
			 struct bench_results *results)
{
	struct bench_source source = generated(options, cores);

	source.kind = BENCH_SOURCE_RING;
	source.device = "net_ring0";
	measure(options, cores, socket, &source, "ring", "generator", results);
}

static void measure_mqttsn(const struct options *options, const struct bench_cores *cores, const char *socket,
			   struct bench_results *results)
{
	struct bench_source source = generated(options, cores);

	source.kind = BENCH_SOURCE_RING;
	source.device = "net_ring0";
	source.head_size = BENCH_SN_HEAD;
	if (BENCH_SN_HEAD + source.payload_size <= UINT8_MAX)
		measure(options, cores, socket, &source, "mqttsn", "MQTT-SN", results);
}

static void measure_passive(const struct options *options, const struct bench_cores *cores, const char *socket,
			    struct bench_results *results)
{
	struct bench_source source = generated(options, cores);

	source.kind = BENCH_SOURCE_RING;
	source.device = "net_ring0";
	source.has_reader = false;
	source.passive = BENCH_PASSIVE_LOOP;
	measure(options, cores, socket, &source, "passive.loop", "passive loop", results);
	source.passive = BENCH_PASSIVE_ALL;
	if (cores->n >= 2)
		measure(options, cores, socket, &source, "passive", "passive MQTT", results);
}

static void measure_capture(const struct options *options, const struct bench_cores *cores, const char *directory,
			    const char *socket, struct bench_results *results)
{
	struct bench_source source = generated(options, cores);
	char path[128], device[192];
	int r;

	source.kind = BENCH_SOURCE_PCAP;
	source.n_numbers = CAPTURE_FRAMES;
	snprintf(path, sizeof(path), "%s/generated.pcap", directory);
	snprintf(device, sizeof(device), "net_pcap0,rx_pcap=%s,infinite_rx=1", path);
	source.device = device;
	bench_blame_begin();
	r = bench_frames_capture(path, CAPTURE_FRAMES, options->payload_size, options->n_flows);
	if (r < 0) {
		bench_blame("cannot write %s: %s", path, strerror(-r));
		bench_results_add_failed(results, "ingress.pcap.publish", "capture: publish");
	} else {
		measure(options, cores, socket, &source, "pcap", "capture", results);
	}
}

/* What the user named. Its content is not ours, so the reader counts and does not check. */
static void measure_named(const struct options *options, const struct bench_cores *cores, const char *socket,
			  struct bench_results *results)
{
	struct bench_source source = {
		.kind = BENCH_SOURCE_PORT, .device = options->vdev, .iface = options->iface, .port = options->port,
		.has_reader = cores->n >= 2, .trusts_sums = options->no_checksum,
	};
	char device[1100];

	if (options->pcap) {
		source.kind = BENCH_SOURCE_PCAP;
		snprintf(device, sizeof(device), "net_pcap0,rx_pcap=%.1000s,infinite_rx=1", options->pcap);
		source.device = device;
		measure(options, cores, socket, &source, "pcap", "capture", results);
	} else {
		measure(options, cores, socket, &source, "port", options->iface ? options->iface : "device", results);
	}
}

/* -- the filter in the driver -- */

#ifdef HBUS_HAVE_XDP
static struct bench_result *add_xdp(struct bench_results *results, const char *name, const char *title, const struct bench_samples *value,
				    const struct bench_samples *limit, const char *reason, bool is_cost)
{
	struct bench_result *result;
	char path[64];

	snprintf(path, sizeof(path), "ingress.xdp.%s", name);
	result = bench_results_add(results, path, title, value, limit, "a program that drops at once", is_cost);
	if (reason[0])
		bench_results_fail(result, reason);
	return result;
}

static void measure_xdp(const struct options *options, const struct bench_cores *cores, struct bench_results *results)
{
	static struct bench_xdp xdp;

	if (geteuid() != 0) {
		fprintf(stderr, "hugebus-bench: the XDP filter is left out: it needs root (CAP_BPF, CAP_NET_ADMIN)\n");
		return;
	}
	say(options, "XDP filter");
	bench_blame_begin();
	if (bench_xdp_run(cores, options->payload_size, options->n_repeats, options->duration_ms, &xdp)) {
		bench_results_add_failed(results, "ingress.xdp.unwanted.cost", "XDP drop: unwanted, cost");
		fprintf(stderr, "hugebus-bench: the XDP filter failed\n");
		return;
	}
	(void)add_xdp(results, "unwanted", "XDP drop: unwanted", &xdp.unwanted_ns, &xdp.bare_ns, xdp.reason[BENCH_XDP_TEST_RUN], true);
	(void)add_xdp(results, "denied", "XDP drop: source denied", &xdp.denied_ns, &xdp.bare_ns, xdp.reason[BENCH_XDP_TEST_RUN], true);
	snprintf(add_xdp(results, "live", "XDP drop, live frames", &xdp.live_rate, &xdp.live_bare_rate, xdp.reason[BENCH_XDP_LIVE],
			 false)->note, sizeof(results->at[0].note), "one core makes the frames and judges them, no device");
	snprintf(add_xdp(results, "load", "XDP drop under load", &xdp.unwanted_rate, &xdp.bare_rate, xdp.reason[BENCH_XDP_VETH],
			 false)->note, sizeof(results->at[0].note), "one core generates, carries and drops");
}
#else
static void measure_xdp(const struct options *options, const struct bench_cores *cores, struct bench_results *results)
{
	(void)options;
	(void)cores;
	(void)results;
}
#endif

/* -- MQTT over TCP -- */

static void measure_tcp(const struct options *options, const struct bench_cores *cores, const char *socket,
			struct bench_results *results)
{
	static const char *const limit = "hugebus-mqtt on kernel sockets, the same load";
	static struct bench_tcp tcp;
	int r;

	if (geteuid() != 0) {
		fprintf(stderr, "hugebus-bench: MQTT over TCP is left out: it needs root (CAP_NET_ADMIN)\n");
		return;
	}
	say(options, "MQTT over TCP");
	bench_blame_begin();
	r = bench_tcp_run(cores, socket, options->n_repeats, options->duration_ms, &tcp);
	for (unsigned int i = 0; r <= 0 && i < BENCH_N_TCP_CASES; i++) {
		struct bench_result *result;
		char name[48], title[64];

		snprintf(name, sizeof(name), "ingress.tcp.%s", tcp.at[i].name);
		snprintf(title, sizeof(title), "TCP: %s", tcp.at[i].title);
		result = bench_results_add(results, name, title, &tcp.at[i].stack, &tcp.at[i].kernel, limit, false);
		result->unit = tcp.at[i].is_latency ? "ns" : "messages/s";
		result->unit_short = tcp.at[i].is_latency ? "ns" : "/s";
		result->is_lower_better = tcp.at[i].is_latency;
		if (tcp.at[i].has_failed || r < 0)
			bench_results_fail(result, tcp.at[i].has_failed ? tcp.at[i].reason : bench_blame_text());
		if (tcp.at[i].n_lost > 0)
			snprintf(result->note, sizeof(result->note), "%" PRIu64 " of %" PRIu64 " messages of QoS 0 lost", tcp.at[i].n_lost,
				 tcp.at[i].n_sent);
	}
}

static int run_all(const struct bench_bus *bus, void *context)
{
	const struct options *options = context;
	static struct bench_results results;
	struct bench_cores cores;
	struct bench_quiet quiet;
	struct bench_report report = {.cores = &cores, .results = results.at, .n_repeats = options->n_repeats, .quiet = &quiet};
	uint64_t begin = bench_now_ns();
	unsigned int n_failed = 0;

	bench_cores_find(&cores);
	bench_quiet_begin(&quiet);
	report.page_size = bench_page_size(bus->socket);
	if (options->pcap || options->iface || options->vdev) {
		measure_named(options, &cores, bus->socket, &results);
	} else {
		if (is_wanted(options, "ring"))
			measure_ring(options, &cores, bus->socket, &results);
		if (is_wanted(options, "mqttsn"))
			measure_mqttsn(options, &cores, bus->socket, &results);
		if (is_wanted(options, "pcap"))
			measure_capture(options, &cores, bus->directory, bus->socket, &results);
		if (is_wanted(options, "passive"))
			measure_passive(options, &cores, bus->socket, &results);
		if (is_wanted(options, "xdp"))
			measure_xdp(options, &cores, &results);
		if (is_wanted(options, "tcp"))
			measure_tcp(options, &cores, bus->socket, &results);
	}
	say(options, "");
	bench_quiet_end(&quiet, 0, 0);
	report.n_results = results.n;
	report.seconds = (double)(bench_now_ns() - begin) / 1e9;
	if (options->is_json)
		bench_report_json(&report, stdout);
	else
		bench_report_table(&report, stdout);
	for (unsigned int i = 0; i < results.n; i++)
		n_failed += results.at[i].has_failed;
	if (results.n == 0)
		fprintf(stderr, "hugebus-bench: nothing was measured\n");
	return n_failed > 0 || results.n == 0;
}

/* -- options -- */

static int parse_source(int c, struct options *options)
{
	const char *refusal;

	switch (c) {
	case 'p':
		options->pcap = optarg;
		refusal = bench_capture_refusal(optarg);
		return refusal ? bench_usage(optarg, refusal) : 0;
	case 'i':
		options->iface = optarg;
		return if_nametoindex(optarg) ? 0 : bench_usage(strerror(errno), optarg);
	case 'v':
		options->vdev = optarg;
		return 0;
	case 'P':
		return bench_number(optarg, 1, 65535, &options->port) ? 0 : bench_usage("--port takes 1 to 65535", optarg);
	case 'n':
		options->no_checksum = true;
		return 0;
	case 'y':
		return bench_number(optarg, BENCH_PAYLOAD_MIN, BENCH_PAYLOAD_MAX, &options->payload_size)
			       ? 0 : bench_usage("--payload takes 17 to 1400", optarg);
	case 'f':
		if (bench_number(optarg, 1, BENCH_FLOWS_MAX, &options->n_flows) &&
		    (options->n_flows & (options->n_flows - 1)) == 0)
			return 0;
		return bench_usage("--flows takes a power of two up to 4096", optarg);
	case 'x':
		options->plant = optarg;
		return strcmp(optarg, "torn") == 0 || strcmp(optarg, "lost") == 0
			       ? 0 : bench_usage("--plant takes torn or lost", optarg);
	default:
		return 2;
	}
}

static int parse_one(int c, struct options *options)
{
	switch (c) {
	case 'q':
		options->n_repeats = 3;
		options->duration_ms = 50;
		return 0;
	case 'r':
		return bench_number(optarg, 1, BENCH_REPEATS_MAX, &options->n_repeats)
			       ? 0 : bench_usage("--repeats takes 1 to 64", optarg);
	case 'd':
		return bench_number(optarg, 20, 10000, &options->duration_ms)
			       ? 0 : bench_usage("--duration takes 20 to 10000 ms", optarg);
	case 'o':
		options->only = optarg;
		for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
			if (is_wanted(options, sources[i]))
				return 0;
		return bench_usage("no source has such a name", optarg);
	case 'j':
		options->is_json = true;
		return 0;
	case 'Q':
		options->is_quiet = true;
		return 0;
	case 'l':
		for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
			puts(sources[i]);
		return -1;
	case 'h':
		fputs(help, stdout);
		return -1;
	case 'V':
		printf("hugebus-bench-ingress %s\n", HBUS_VERSION);
		return -1;
	default:
		return parse_source(c, options);
	}
}

static int parse(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{"quick", no_argument, NULL, 'q'},	  {"repeats", required_argument, NULL, 'r'},
		{"duration", required_argument, NULL, 'd'}, {"only", required_argument, NULL, 'o'},
		{"json", no_argument, NULL, 'j'},	  {"list", no_argument, NULL, 'l'},	{"quiet", no_argument, NULL, 'Q'},
		{"pcap", required_argument, NULL, 'p'},	  {"iface", required_argument, NULL, 'i'},
		{"vdev", required_argument, NULL, 'v'},	  {"port", required_argument, NULL, 'P'},
		{"payload", required_argument, NULL, 'y'}, {"flows", required_argument, NULL, 'f'},
		{"no-checksum", no_argument, NULL, 'n'},  {"plant", required_argument, NULL, 'x'},
		{"help", no_argument, NULL, 'h'},	  {"version", no_argument, NULL, 'V'},
		{0},
	};
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "hV", longs, NULL)) != -1)
		r = parse_one(c, options);
	if (r == 0 && optind < argc)
		r = bench_usage("not an option", argv[optind]);
	if (r == 0 && (options->pcap != NULL) + (options->iface != NULL) + (options->vdev != NULL) > 1)
		r = bench_usage("one of --pcap, --iface, --vdev at a time", NULL);
	return r;
}

int main(int argc, char **argv)
{
	struct options options = {.n_repeats = 5, .duration_ms = 200, .payload_size = 18, .n_flows = 16};
	struct bench_bus bus = {0};
	int r;

	hbus_stdout_check();
	r = parse(argc, argv, &options);
	if (r)
		return r < 0 ? 0 : r;
	if (!isatty(STDERR_FILENO))
		options.is_quiet = true;
	bench_bus_hold(&bus);
	if (bench_bus_start(&bus))
		return 1;
	r = bench_bus_measure(&bus, run_all, &options);
	bench_bus_stop(&bus);
	return r;
}
