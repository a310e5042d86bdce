/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hugebus bench mqtt: a load generator for MQTT brokers, and a comparison of them
 *
 * Without --url it starts hugebus-mqtt on a private bus, mosquitto if there is one, and a bare relay, and measures
 * them in turn, repetition by repetition.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/command.h"
#include "bench/mqtt/report.h"
#include "bench/options.h"
#include "bench/text.h"
#include "dataplane/mqtt/mqtt.h"

enum {
	CASES_MAX = 64,
	TRIES = 3,
	/* MQTT 3.1.1 has no receive maximum: what mosquitto takes by default of QoS 2, and loses beyond. */
	FOREIGN_QOS2_MAX = 20,
};

struct options {
	const char *only;
	const char *brokers;     /* of those that are started */
	struct bench_mqtt_broker urls[BENCH_MQTT_BROKERS_MAX];
	unsigned int n_urls;
	pid_t early_pid;         /* given before the first --url: of that one */
	struct bench_mqtt_tls tls;
	struct bench_mqtt_setup setup;
	struct bench_mqtt_case custom;
	bool is_custom;
	unsigned int n_repeats, duration_ms;
	bool is_json, is_quiet;
};

static volatile sig_atomic_t must_end;

static const char help[] =
	"Usage: hugebus bench mqtt [options]\n"
	"Loads MQTT brokers and measures them beside each other: throughput, CPU, round trips, and the way\n"
	"of a message from MQTT into shared memory. Every message is checked; one lost, repeated or changed\n"
	"fails.\n\n"
	"What to load (without --url: those of --brokers, each started for this run alone):\n"
	"  --url [NAME=]mqtt://[USER[:PASSWORD]@]HOST[:PORT]   a broker that runs; up to 6. mqtts:// for\n"
	"                    TLS, ws:// and wss:// (.../PATH, default /mqtt) for WebSocket\n"
	"  --ca FILE         authorities that the broker's certificate is checked with (default: the\n"
	"                    system's)\n"
	"  --cert FILE --key FILE   certificate to show; --insecure: believe whoever answers\n"
	"  --pid N           the process of the --url before it: for its CPU time\n"
	"  --brokers LIST    of hugebus, mosquitto, relay (default: all that are there); the relay copies\n"
	"                    bytes between sockets and shows what this host and the generator allow\n"
	"  --gateway-arg ARG a further option for hugebus-mqtt, repeatable\n\n"
	"What to measure (default: a table of cases; with any of the following options, this one case):\n"
	"  --publishers N, --subscribers N   connections (1, 1); every subscriber hears everything\n"
	"  --pairs           subscriber i hears publisher i\n"
	"  --mqtt VERSION    3.1.1 or 5 (3.1.1)\n"
	"  --qos N           0, 1 or 2 (0)\n"
	"  --inflight N      QoS 1, 2: unacknowledged messages of a publisher, 1..65535 (100)\n"
	"  --size BYTES      of a payload, 24..261120 (64)\n"
	"  --rate N          messages/s of all publishers together, due at fixed times, latency from then on\n"
	"                    (default: as fast as the broker takes and gives them)\n"
	"  --irregular       with --rate: due after gaps of 0 to twice the mean\n"
	"  --sessions        clients ask for sessions that outlive their connections (5 min with MQTT 5)\n"
	"  --only PATTERN    cases of the table whose name matches, such as 'qos1.*' (--list shows them)\n\n"
	"  --quick           three short repetitions: shows that it works, not the speed\n"
	"  --repeats N       interleaved repetitions, 1..64 (default 5)\n"
	"  --duration MS     of each measurement, 20..600000 (default 300)\n"
	"  --json            for programs\n"
	"  --list            names and titles of the cases\n"
	"  --quiet           no progress on stderr\n"
	"  --help, --version\n\n"
	"Exit: 0 done, 1 a measurement failed or was interrupted, 2 usage.\n";

static void on_signal(int number)
{
	(void)number;
	must_end = 1;
}

static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* -- measuring -- */

/* Changes the case to what this broker can do. Return: false when it cannot at all. */
static bool fits(const struct bench_mqtt_broker *broker, const struct bench_mqtt_case *entry,
		 struct bench_mqtt_params *params)
{
	if (params->is_bus)
		return broker->target.bus_socket != NULL;
	if (broker->kind == BENCH_MQTT_OTHER && params->qos == 2 && params->version == HBUS_MQTT_V3 &&
	    !entry->is_asked_for && params->window > FOREIGN_QOS2_MAX)
		params->window = FOREIGN_QOS2_MAX;
	if (broker->kind != BENCH_MQTT_RELAY)
		return true;
	/* What a relay does is the same for every QoS; the window then limits what is under way. */
	if (params->n_publishers > 1 || params->is_pairs)
		return false;
	if (params->qos > 0 && params->window < params->backlog)
		params->backlog = params->window;
	params->qos = 0;
	return true;
}

static double value_of(enum bench_mqtt_value kind, const struct bench_mqtt_outcome *outcome)
{
	switch (kind) {
	case BENCH_MQTT_RATE:
		return outcome->rate;
	case BENCH_MQTT_CPU:
		return outcome->broker_cpu;
	case BENCH_MQTT_LATENCY:
		return (double)bench_histogram_percentile(&outcome->latency, 0.5);
	}
	return 0;
}

static void measure(const struct bench_mqtt_case *entry, unsigned int duration_ms, const struct bench_mqtt_broker *broker,
		    struct bench_mqtt_cell *cell)
{
	static struct bench_mqtt_outcome outcome;
	struct bench_mqtt_params params = entry->params;
	double value = 0;
	bool is_known = true;
	int r = 0;

	params.duration_ms = duration_ms;
	params.backlog = bench_mqtt_backlog(params.size);
	if (!fits(broker, entry, &params))
		return;
	cell->is_run = true;
	/* On a machine that is busy with something else a short time can pass without a message. */
	for (int i = 0; i < TRIES && r == 0 && value <= 0 && is_known && !must_end; i++) {
		r = bench_mqtt_load(&params, &broker->target, &must_end, &outcome);
		value = value_of(entry->value, &outcome);
		is_known = entry->value != BENCH_MQTT_CPU || outcome.broker_cpu >= 0;
	}
	if (must_end)
		return;
	cell->n_messages += outcome.n_sent;
	cell->n_faults += outcome.n_lost + outcome.n_repeated + outcome.n_corrupt + outcome.n_strange;
	cell->has_failed = r < 0 || (is_known && value <= 0);
	if (cell->has_failed) {
		fprintf(stderr, "hugebus-bench: %s with %s failed\n", entry->name, broker->name);
		if (r < 0 && params.qos == 2 && params.version == HBUS_MQTT_V3 && params.window > FOREIGN_QOS2_MAX)
			fprintf(stderr, "hugebus-bench: does it take %u QoS 2 messages in flight? Try --inflight %d\n",
				params.window, FOREIGN_QOS2_MAX);
		return;
	}
	cell->window = outcome.window;
	if (is_known)
		bench_samples_add(&cell->value, value);
	bench_samples_add(&cell->rate, outcome.rate);
	bench_samples_add(&cell->loader, outcome.loader_cpu);
	if (outcome.broker_cpu >= 0)
		bench_samples_add(&cell->cpu, outcome.broker_cpu);
	if (!cell->latency)
		cell->latency = calloc(1, sizeof(*cell->latency));
	if (cell->latency)
		bench_histogram_merge(cell->latency, &outcome.latency);
}

/* One repetition of a case with each broker; the order turns, so that a drift of the machine favours none. */
static void measure_all(const struct bench_mqtt_report *report, unsigned int idx, unsigned int repeat, unsigned int duration_ms)
{
	struct bench_mqtt_cell *cells = report->cells[idx];
	unsigned int n = report->n_brokers, has[BENCH_MQTT_BROKERS_MAX];

	for (unsigned int i = 0; i < n; i++)
		has[i] = cells[i].value.n;
	for (unsigned int i = 0; i < n && !must_end; i++) {
		unsigned int j = (i + repeat) % n;

		if (!cells[j].has_failed)
			measure(&report->cases[idx], duration_ms, &report->brokers[j], &cells[j]);
	}
	if (cells[0].value.n == has[0])
		return;
	for (unsigned int j = 1; j < n; j++)
		if (cells[j].value.n > has[j])
			bench_samples_add(&cells[j].ratio, cells[0].value.value[has[0]] / cells[j].value.value[has[j]]);
}

static int run_all(const struct options *options, struct bench_mqtt_report *report)
{
	static struct bench_mqtt_cell cells[CASES_MAX][BENCH_MQTT_BROKERS_MAX];
	uint64_t begin = bench_now_ns();
	int r = 0;

	report->cells = cells;
	report->noise = bench_noise(300);
	for (unsigned int repeat = 0; repeat < options->n_repeats && !must_end; repeat++) {
		for (unsigned int i = 0; i < report->n_cases && !must_end; i++) {
			if (!options->is_quiet)
				bench_text_progress("%u/%u %s", repeat + 1, options->n_repeats, report->cases[i].title);
			measure_all(report, i, repeat, options->duration_ms);
		}
	}
	if (!options->is_quiet)
		bench_text_progress("%s", "");
	report->seconds = (double)(bench_now_ns() - begin) / 1e9;
	report->was_interrupted = must_end;
	if (options->is_json)
		r = bench_mqtt_report_json(report, stdout);
	else
		bench_mqtt_report_table(report, stdout);
	for (unsigned int i = 0; i < report->n_cases; i++) {
		for (unsigned int j = 0; j < report->n_brokers; j++) {
			r |= cells[i][j].has_failed;
			free(cells[i][j].latency);
		}
	}
	return r || must_end ? 1 : 0;
}

/* -- brokers -- */

static bool is_listed(const char *list, const char *name)
{
	size_t size = strlen(name);

	for (const char *at = list; at; at = strchr(at, ','), at = at ? at + 1 : NULL)
		if (strncmp(at, name, size) == 0 && (at[size] == ',' || at[size] == '\0'))
			return true;
	return false;
}

static const struct {
	const char *name;
	enum bench_mqtt_kind kind;
} kinds[] = {{"hugebus", BENCH_MQTT_HUGEBUS}, {"mosquitto", BENCH_MQTT_MOSQUITTO}, {"relay", BENCH_MQTT_RELAY}};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* Are these names of brokers, with commas? */
static bool is_list_of_brokers(const char *list)
{
	size_t n = 1, n_known = 0;

	for (const char *at = strchr(list, ','); at; at = strchr(at + 1, ','))
		n++;
	for (size_t i = 0; i < N_KINDS; i++)
		n_known += is_listed(list, kinds[i].name);
	return n == n_known;
}

static int start_all(const struct options *options, struct bench_mqtt_broker *brokers, unsigned int *ret_n)
{
	for (size_t i = 0; i < N_KINDS && !must_end; i++) {
		if (options->brokers ? !is_listed(options->brokers, kinds[i].name) : false)
			continue;
		if (!bench_mqtt_broker_is_here(kinds[i].kind)) {
			fprintf(stderr, "hugebus-bench: no %s here: left out\n", kinds[i].name);
			continue;
		}
		if (bench_mqtt_broker_start(&brokers[(*ret_n)++], kinds[i].kind, &options->setup))
			return -1;
	}
	if (*ret_n == 0)
		fprintf(stderr, "hugebus-bench: no broker to measure\n");
	return *ret_n > 0 ? 0 : -1;
}

static void remove_directory(const char *path)
{
	pid_t pid = fork();

	if (pid == 0) {
		execlp("rm", "rm", "-rf", "--", path, (char *)NULL);
		_exit(127);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

/* Chooses the cases, starts what is to be started, and measures. */
static int run(struct options *options)
{
	static struct bench_mqtt_broker brokers[BENCH_MQTT_BROKERS_MAX];
	static struct bench_mqtt_case cases[CASES_MAX];
	struct bench_cores cores;
	struct bench_mqtt_report report = {.cores = &cores, .cases = cases, .brokers = brokers,
					   .n_repeats = options->n_repeats};
	const char *base = getenv("TMPDIR");
	char directory[64];
	int r = 0;

	if (options->is_custom)
		cases[report.n_cases++] = options->custom;
	for (unsigned int i = 0; i < bench_mqtt_n_cases && !options->is_custom; i++)
		if (bench_matches(options->only, bench_mqtt_cases[i].name))
			cases[report.n_cases++] = bench_mqtt_cases[i];
	if (report.n_cases == 0)
		return bench_usage("no case has such a name", options->only);
	snprintf(directory, sizeof(directory), "%s/hugebus-bench-XXXXXX", base && strlen(base) < 32 ? base : "/tmp");
	if (!mkdtemp(directory)) {
		fprintf(stderr, "hugebus-bench: cannot make %s: %s\n", directory, strerror(errno));
		return 1;
	}
	bench_cores_find(&cores);
	options->setup.directory = directory;
	options->setup.core = cores.n > 1 ? cores.core[1] : -1;
	memcpy(brokers, options->urls, sizeof(brokers));
	report.n_brokers = options->n_urls;
	for (unsigned int i = 0; i < report.n_brokers; i++)
		brokers[i].target.context = &brokers[i];
	if (report.n_brokers == 0)
		r = start_all(options, brokers, &report.n_brokers);
	bench_pin(options->setup.core);
	if (r == 0)
		r = run_all(options, &report);
	for (unsigned int i = 0; i < report.n_brokers; i++)
		bench_mqtt_broker_stop(&brokers[i]);
	remove_directory(directory);
	return r ? 1 : 0;
}

/* -- the command line -- */

enum key { PUBLISHERS = 256, SUBSCRIBERS, PAIRS, MQTT, QOS, INFLIGHT, SIZE, RATE, IRREGULAR, SESSIONS, URL, PID, BROKERS, CA, CERT, KEY, INSECURE, GATEWAY_ARG };

static int parse_custom(int key, const char *value, struct options *options)
{
	struct bench_mqtt_params *params = &options->custom.params;
	unsigned int n = 0;

	options->is_custom = true;
	switch (key) {
	case PUBLISHERS:
		return bench_number(value, 1, BENCH_MQTT_CLIENTS_MAX, &params->n_publishers)
			       ? 0 : bench_usage("--publishers takes 1 to 20000", value);
	case SUBSCRIBERS:
		return bench_number(value, 1, BENCH_MQTT_CLIENTS_MAX, &params->n_subscribers)
			       ? 0 : bench_usage("--subscribers takes 1 to 20000", value);
	case PAIRS:
		params->is_pairs = true;
		return 0;
	case MQTT:
		params->version = strcmp(value, "5") == 0 ? HBUS_MQTT_V5 : HBUS_MQTT_V3;
		return strcmp(value, "5") == 0 || strcmp(value, "3.1.1") == 0 ? 0
			       : bench_usage("--mqtt takes 3.1.1 or 5", value);
	case QOS:
		if (!bench_number(value, 0, 2, &n))
			return bench_usage("--qos takes 0 to 2", value);
		params->qos = (uint8_t)n;
		return 0;
	case INFLIGHT:
		return bench_number(value, 1, UINT16_MAX, &params->window) ? 0
			       : bench_usage("--inflight takes 1 to 65535", value);
	case SIZE:
		return bench_number(value, BENCH_MQTT_SIZE_MIN, BENCH_MQTT_SIZE_MAX, &params->size)
			       ? 0 : bench_usage("--size takes 24 to 261120", value);
	case RATE:
		return bench_number(value, 1, 100000000, &params->rate) ? 0
			       : bench_usage("--rate takes 1 to 100000000", value);
	case IRREGULAR:
		params->is_irregular = true;
		return 0;
	case SESSIONS:
		params->keeps_sessions = true;
		return 0;
	default:
		return 2;
	}
}

static int parse_target(int key, const char *value, struct options *options)
{
	unsigned int pid;

	switch (key) {
	case URL:
		if (options->n_urls == BENCH_MQTT_BROKERS_MAX)
			return bench_usage("more than 6 times --url", NULL);
		return bench_mqtt_broker_parse(&options->urls[options->n_urls++], value) ? 0
			       : bench_usage("--url takes [NAME=]mqtt://[USER[:PASSWORD]@]HOST[:PORT], or mqtts, ws or wss", value);
	case PID:
		if (!bench_number(value, 1, 1u << 22, &pid))
			return bench_usage("--pid takes a process", value);
		*(options->n_urls ? &options->urls[options->n_urls - 1].pid : &options->early_pid) = (pid_t)pid;
		return 0;
	case BROKERS:
		options->brokers = value;
		return is_list_of_brokers(value) ? 0 : bench_usage("--brokers takes hugebus, mosquitto, relay", value);
	case CA:
		options->tls.authorities = value;
		return 0;
	case CERT:
		options->tls.certificate = value;
		return 0;
	case KEY:
		options->tls.key = value;
		return 0;
	case INSECURE:
		options->tls.is_unchecked = true;
		return 0;
	default:
		if (options->setup.n_args == BENCH_MQTT_ARGS_MAX)
			return bench_usage("more than 16 times --gateway-arg", NULL);
		options->setup.args[options->setup.n_args++] = value;
		return 0;
	}
}

static int check(struct options *options)
{
	struct bench_mqtt_params *params = &options->custom.params;

	if (params->is_pairs && params->n_publishers != params->n_subscribers)
		return bench_usage("--pairs needs as many publishers as subscribers", NULL);
	if ((uint64_t)params->n_publishers * params->n_subscribers > BENCH_MQTT_PAIRS_MAX)
		return bench_usage("too many publishers times subscribers", NULL);
	if (params->is_irregular && !params->rate)
		return bench_usage("--irregular goes with --rate", NULL);
	if (options->early_pid && options->n_urls == 0)
		return bench_usage("--pid goes with --url", NULL);
	if (options->early_pid && !options->urls[0].pid)
		options->urls[0].pid = options->early_pid;
	if (options->brokers && options->n_urls)
		return bench_usage("--brokers starts brokers, --url takes one that runs", NULL);
	if (options->is_custom && options->only)
		return bench_usage("--only chooses from the table, and this is a case of its own", NULL);
	if (!options->tls.certificate != !options->tls.key)
		return bench_usage("--cert and --key go together", NULL);
	for (unsigned int i = 0; i < options->n_urls; i++)
		if (options->urls[i].target.endpoint.is_tls && !bench_mqtt_tls_is_here())
			return bench_usage("built without TLS", NULL);
	options->custom.value = params->rate ? BENCH_MQTT_LATENCY : BENCH_MQTT_RATE;
	params->spins = params->rate > 0;
	return 0;
}

static const struct option long_options[] = {
	{"quick", no_argument, NULL, 'q'},
	{"repeats", required_argument, NULL, 'r'},
	{"duration", required_argument, NULL, 'd'},
	{"only", required_argument, NULL, 'o'},
	{"json", no_argument, NULL, 'j'},
	{"list", no_argument, NULL, 'l'},
	{"quiet", no_argument, NULL, 'Q'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{"publishers", required_argument, NULL, PUBLISHERS},
	{"subscribers", required_argument, NULL, SUBSCRIBERS},
	{"pairs", no_argument, NULL, PAIRS},
	{"mqtt", required_argument, NULL, MQTT},
	{"qos", required_argument, NULL, QOS},
	{"inflight", required_argument, NULL, INFLIGHT},
	{"size", required_argument, NULL, SIZE},
	{"rate", required_argument, NULL, RATE},
	{"irregular", no_argument, NULL, IRREGULAR},
	{"sessions", no_argument, NULL, SESSIONS},
	{"url", required_argument, NULL, URL},
	{"pid", required_argument, NULL, PID},
	{"brokers", required_argument, NULL, BROKERS},
	{"ca", required_argument, NULL, CA},
	{"cert", required_argument, NULL, CERT},
	{"key", required_argument, NULL, KEY},
	{"insecure", no_argument, NULL, INSECURE},
	{"gateway-arg", required_argument, NULL, GATEWAY_ARG},
	{0},
};

static int parse_run(int key, const char *value, struct options *options)
{
	switch (key) {
	case 'q':
		options->n_repeats = 3;
		options->duration_ms = 100;
		return 0;
	case 'r':
		return bench_number(value, 1, BENCH_REPEATS_MAX, &options->n_repeats) ? 0
			       : bench_usage("--repeats takes 1 to 64", value);
	case 'd':
		return bench_number(value, 20, 600000, &options->duration_ms) ? 0
			       : bench_usage("--duration takes 20 to 600000 ms", value);
	case 'o':
		options->only = value;
		return 0;
	case 'j':
		options->is_json = true;
		return 0;
	case 'Q':
		options->is_quiet = true;
		return 0;
	default:
		return 2;
	}
}

/* What is asked for instead of a run is said at once. False: it is another option. */
static bool says(int key)
{
	switch (key) {
	case 'l':
		for (unsigned int i = 0; i < bench_mqtt_n_cases; i++)
			printf("%-18s %s\n", bench_mqtt_cases[i].name, bench_mqtt_cases[i].title);
		return true;
	case 'h':
		fputs(help, stdout);
		return true;
	case 'V':
		printf("hugebus-bench %s\n", HBUS_VERSION);
		return true;
	default:
		return false;
	}
}

/* Return: 0, the exit status of wrong usage, or -1: there is nothing more to do. */
static int parse(int argc, char **argv, struct options *options)
{
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "hV", long_options, NULL)) != -1) {
		if (says(c))
			return -1;
		r = c < 256 ? parse_run(c, optarg, options) : c < URL ? parse_custom(c, optarg, options)
								      : parse_target(c, optarg, options);
	}
	if (r)
		return r;
	return optind < argc ? bench_usage("not an option", argv[optind]) : check(options);
}

int bench_mqtt_main(int argc, char **argv)
{
	static struct options options = {
		.n_repeats = 5,
		.duration_ms = 300,
		.custom = {"custom", "as asked for", BENCH_MQTT_RATE, .is_asked_for = true, .params =
			   {HBUS_MQTT_V3, 0, .n_publishers = 1, .n_subscribers = 1, .size = 64, .window = 100}},
	};
	int r = parse(argc, argv, &options);

	if (r)
		return r < 0 ? 0 : r;
	if (!isatty(STDERR_FILENO))
		options.is_quiet = true;
	catch_signals();
	raise_fd_limit();
	if (bench_mqtt_tls_init(&options.tls))
		return 1;
	return run(&options);
}
