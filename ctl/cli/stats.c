/* SPDX-License-Identifier: BSD-3-Clause */
/* hugebus stats: every counter of every part, for people, as JSON, or for Prometheus. */
#include <inttypes.h>
#include <stdio.h>

#include "ctl/cli/cli.h"
#include "ctl/cli/list.h"
#include "ctl/cli/prometheus.h"
#include "ctl/cli/rows.h"

static const char help[] =
	"Usage: hugebus stats [--json | --prometheus]\n"
	"Show all counters: of the daemon, rings, subscribers, attachments, of programs such as the\n"
	"ingress, and the quotas.\n\n"
	"      --json            an object with an array for each list (docs/LISTS.md)\n"
	"      --prometheus      the Prometheus text format\n" HBUS_CLI_HELP_COMMON
	"\n" HBUS_CLI_HELP_EXIT;

enum { OPTION_PROMETHEUS = HBUS_OPTION_OWN };

static const uint32_t list_kinds[] = { HBUS_ROW_DAEMON,	    HBUS_ROW_TOPIC,	 HBUS_ROW_RING,
				       HBUS_ROW_SUBSCRIBER, HBUS_ROW_ATTACHMENT, HBUS_ROW_COUNTER,
				       HBUS_ROW_QUOTA };
#define N_LIST_KINDS (sizeof(list_kinds) / sizeof(list_kinds[0]))

/* A label of all metrics of a kind of row. index: of value[], or one of these. */
#define LABEL_NAME -1
#define LABEL_TEXT -2
#define LABELS_MAX 4

struct label {
	const char *name;
	int index;
};

struct metric {
	uint32_t kind;
	int index; /* of value[]; -1 = 1 for each row */
	const char *name;
	const char *type;
	const char *help;
	uint64_t divisor; /* 0 = 1 */
};

static const struct label ring_labels[LABELS_MAX] = {
	{ "ring", 0 }, { "program", LABEL_NAME }, { "topic", LABEL_TEXT }, { "uid", 2 }
};
static const struct label subscriber_labels[LABELS_MAX] = {
	{ "client", 1 }, { "subscriber", 0 }, { "program", LABEL_NAME }, { "filter", LABEL_TEXT }
};
static const struct label attachment_labels[LABELS_MAX] = {
	{ "ring", 0 }, { "client", 1 }, { "subscriber", 2 }, { "program", LABEL_NAME }
};
static const struct label counter_labels[LABELS_MAX] = {
	{ "set", LABEL_TEXT }, { "counter", LABEL_NAME }, { "client", 1 }, { "pid", 2 }
};
static const struct label quota_labels[LABELS_MAX] = { { "uid", 0 } };
static const struct label version_labels[LABELS_MAX] = { { "version", LABEL_NAME } };

static const struct metric metrics[] = {
	{ HBUS_ROW_DAEMON, -1, "hugebus_info", "gauge", "1, with the version of the daemon." },
	{ HBUS_ROW_DAEMON, 1, "hugebus_daemon_uptime_seconds", "gauge", "Since the daemon started.",
	  1000 },
	{ HBUS_ROW_DAEMON, 3, "hugebus_hugepages_reserved", "gauge",
	  "Hugepages of 2 MiB that the daemon holds." },
	{ HBUS_ROW_DAEMON, 4, "hugebus_hugepages_free", "gauge", "Of these, not in a ring." },
	{ HBUS_ROW_DAEMON, 5, "hugebus_clients", "gauge", "Programs that are connected." },
	{ HBUS_ROW_DAEMON, 6, "hugebus_protocol_errors_total", "counter",
	  "Connections closed for breaking the protocol." },
	{ HBUS_ROW_DAEMON, 7, "hugebus_refused_total", "counter",
	  "Requests refused by policy, quota or limit." },
	{ HBUS_ROW_RING, 4, "hugebus_ring_events_total", "counter",
	  "Events published into the ring." },
	{ HBUS_ROW_RING, 5, "hugebus_ring_bytes_total", "counter",
	  "Bytes of the ring used so far, headers included." },
	{ HBUS_ROW_RING, 3, "hugebus_ring_capacity_bytes", "gauge", "Size of the ring." },
	{ HBUS_ROW_RING, 6, "hugebus_ring_topics", "gauge", "Topics of the ring." },
	{ HBUS_ROW_RING, 7, "hugebus_ring_attachments", "gauge",
	  "Subscribers that read the ring." },
	{ HBUS_ROW_RING, 8, "hugebus_ring_gates", "gauge", "Of these, reliable ones." },
	{ HBUS_ROW_SUBSCRIBER, 5, "hugebus_subscriber_delivered_total", "counter",
	  "Events delivered." },
	{ HBUS_ROW_SUBSCRIBER, 6, "hugebus_subscriber_filtered_total", "counter",
	  "Events of other topics skipped." },
	{ HBUS_ROW_SUBSCRIBER, 7, "hugebus_subscriber_lost_total", "counter",
	  "Events lost, of all topics of the rings." },
	{ HBUS_ROW_SUBSCRIBER, 8, "hugebus_subscriber_lag_events", "gauge",
	  "Events published and not yet read." },
	{ HBUS_ROW_SUBSCRIBER, 4, "hugebus_subscriber_rings", "gauge",
	  "Rings that the subscriber reads." },
	{ HBUS_ROW_ATTACHMENT, 3, "hugebus_attachment_delivered_total", "counter",
	  "Events of the ring delivered." },
	{ HBUS_ROW_ATTACHMENT, 4, "hugebus_attachment_filtered_total", "counter",
	  "Events of the ring skipped." },
	{ HBUS_ROW_ATTACHMENT, 5, "hugebus_attachment_lost_total", "counter",
	  "Events of the ring lost." },
	{ HBUS_ROW_ATTACHMENT, 8, "hugebus_attachment_lag_bytes", "gauge",
	  "Bytes of the ring not yet read." },
	{ HBUS_ROW_COUNTER, 0, "hugebus_program_counter", "untyped",
	  "A counter that a program offers, such as the ingress." },
	{ HBUS_ROW_QUOTA, 1, "hugebus_quota_bytes", "gauge", "Ring memory of the user." },
	{ HBUS_ROW_QUOTA, 2, "hugebus_quota_bytes_limit", "gauge",
	  "Ring memory that the user may have." },
	{ HBUS_ROW_QUOTA, 3, "hugebus_quota_rings", "gauge", "Rings of the user." },
	{ HBUS_ROW_QUOTA, 4, "hugebus_quota_rings_limit", "gauge",
	  "Rings that the user may have." },
	{ HBUS_ROW_QUOTA, 5, "hugebus_quota_topics", "gauge", "Topics of the user." },
	{ HBUS_ROW_QUOTA, 6, "hugebus_quota_topics_limit", "gauge",
	  "Topics that the user may have." },
	{ HBUS_ROW_QUOTA, 7, "hugebus_quota_subscriptions", "gauge", "Subscriptions of the user." },
	{ HBUS_ROW_QUOTA, 8, "hugebus_quota_subscriptions_limit", "gauge",
	  "Subscriptions that the user may have." },
	{ HBUS_ROW_QUOTA, 9, "hugebus_quota_fds", "gauge",
	  "Descriptors that the daemon holds for the user." },
	{ HBUS_ROW_QUOTA, 10, "hugebus_quota_fds_limit", "gauge",
	  "Descriptors that it may hold for the user." },
};

static const struct label *labels_of(const struct metric *metric)
{
	switch (metric->kind) {
	case HBUS_ROW_RING:
		return ring_labels;
	case HBUS_ROW_SUBSCRIBER:
		return subscriber_labels;
	case HBUS_ROW_ATTACHMENT:
		return attachment_labels;
	case HBUS_ROW_COUNTER:
		return counter_labels;
	case HBUS_ROW_QUOTA:
		return quota_labels;
	default:
		return metric->index < 0 ? version_labels : NULL;
	}
}

static void add_sample(struct hbus_text *text, const struct metric *metric,
		       const struct hbus_row *row)
{
	const struct label *labels = labels_of(metric);
	struct hbus_prometheus_label filled[LABELS_MAX];
	char numbers[LABELS_MAX][24];
	size_t n = 0;

	for (; labels && n < LABELS_MAX && labels[n].name; n++) {
		filled[n].name = labels[n].name;
		filled[n].value = numbers[n];
		if (labels[n].index == LABEL_NAME)
			filled[n].value = row->name;
		else if (labels[n].index == LABEL_TEXT)
			filled[n].value = row->text;
		else
			snprintf(numbers[n], sizeof(numbers[n]), "%" PRIu64,
				 row->value[labels[n].index]);
	}
	hbus_prometheus_sample(text, metric->name, filled, n,
			       metric->index < 0 ? 1
						 : row->value[metric->index] /
							   (metric->divisor ? metric->divisor : 1));
}

static int print_prometheus(struct hbus *bus)
{
	struct hbus_rows rows[HBUS_ROW_DAEMON + 1] = { 0 };
	struct hbus_text text = { 0 };
	int r = 0;

	for (size_t i = 0; i < N_LIST_KINDS && r >= 0; i++)
		r = hbus_rows_fetch(&rows[list_kinds[i]], bus, list_kinds[i]);
	for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]) && r >= 0; i++) {
		hbus_prometheus_family(&text, metrics[i].name, metrics[i].type, metrics[i].help);
		for (size_t k = 0; k < rows[metrics[i].kind].n_rows; k++)
			add_sample(&text, &metrics[i], &rows[metrics[i].kind].rows[k]);
	}
	if (r >= 0) {
		hbus_prometheus_family(&text, "hugebus_topics", "gauge",
				       "Topics that the bus knows.");
		hbus_prometheus_sample(&text, "hugebus_topics", NULL, 0,
				       rows[HBUS_ROW_TOPIC].n_rows);
		r = hbus_cli_print("stats", &text);
	} else {
		r = hbus_cli_fault("stats", r, "cannot read the counters");
	}
	for (size_t i = 0; i < N_LIST_KINDS; i++)
		hbus_rows_deinit(&rows[list_kinds[i]]);
	hbus_text_free(&text);
	return r;
}

int hbus_cli_stats(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "prometheus", no_argument, NULL, OPTION_PROMETHEUS },
		HBUS_CLI_LONG_OPTIONS,
	};
	static const struct hbus_cli_options options = { "stats", help, ":j", long_options };
	bool is_json = false;
	bool is_prometheus = false;
	struct hbus *bus;
	int exit_code;
	int c;

	while ((c = hbus_cli_next_option(&options, argc, argv, &exit_code)) != HBUS_CLI_END) {
		if (c == HBUS_CLI_EXIT)
			return exit_code;
		if (c == OPTION_PROMETHEUS)
			is_prometheus = true;
		else
			is_json = true;
	}
	if (optind < argc)
		return hbus_cli_usage("stats", "unexpected argument '%s'", argv[optind]);
	if (is_json && is_prometheus)
		return hbus_cli_usage("stats", "--json or --prometheus, not both");
	if (!is_prometheus)
		return hbus_list_show("stats", list_kinds, N_LIST_KINDS, is_json);
	exit_code = hbus_cli_open("stats", NULL, &bus);
	if (exit_code != HBUS_EXIT_OK)
		return exit_code;
	exit_code = print_prometheus(bus);
	hbus_close(bus);
	return exit_code;
}
