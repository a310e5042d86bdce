/* SPDX-License-Identifier: BSD-3-Clause */
/* hugebus sub: subscribe and print. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/cli/account.h"
#include "ctl/cli/cli.h"
#include "ctl/cli/cloudevent.h"
#include "ctl/cli/format.h"
#include "ctl/cli/number.h"
#include "ctl/cli/question.h"
#include "ctl/cli/rows.h"

static const char help[] =
	"Usage: hugebus sub -t FILTER [OPTION]...\n"
	"Print events, one payload a line.\n\n"
	"  -t, --topic FILTER    a topic, or a filter with + (one level) and # (all below); repeatable\n"
	"  -C N                  exit with 0 after N events\n"
	"  -W SECONDS            exit with 27 after so long (0.5, 500ms, 10s)\n"
	"  -v, --verbose         the topic and a space before each payload\n"
	"  -N                    no newline behind payloads\n"
	"  -F, --format FORMAT   %t topic, %p payload, %x %X hex, %l bytes, %i ring:sequence, %r ring,\n"
	"                        %s sequence, %I %U time; \\n \\t \\r \\0 \\\\\n"
	"      --json            one CloudEvents 1.0 JSON object a line\n"
	"      --source URI      source attribute is this and the topic (hugebus://HOST/)\n"
	"      --reliable        publishers wait for this subscriber; nothing is lost while it keeps up\n"
	"      --stall T         reliable: it may hold publishers so long, then it is dropped\n"
	"      --from WHERE      latest (the default); earliest: what rings still hold; RING-ID:SEQUENCE:\n"
	"                        this ring from this event on, others from their earliest; repeatable\n"
	"  -q, --qos N           0, 1, 2: accepted, without effect\n"
	"  -i, --id NAME         what lists show for this program\n"
	"      --ready FILE      is made when the subscription stands\n"
	"      --summary FILE    at the end: JSON, delivered by topic, filtered, lost (- = stderr)\n"
	"      --stats           the same on stderr\n" HBUS_CLI_HELP_COMMON "\n"
	"Losses are told on stderr: lost ring=ID first=SEQUENCE count=N reason=lapped|evicted|corrupt|refused\n" HBUS_CLI_HELP_EXIT
	"SIGINT and SIGTERM: what has been published is printed, for at most 1 s, then 0.\n";

enum {
	OPTION_JSON = HBUS_OPTION_OWN,
	OPTION_SOURCE,
	OPTION_RELIABLE,
	OPTION_STALL,
	OPTION_FROM,
	OPTION_READY,
	OPTION_SUMMARY,
	OPTION_STATS
};

static const struct option long_options[] = {
	{ "topic", required_argument, NULL, 't' },
	{ "count", required_argument, NULL, 'C' },
	{ "timeout", required_argument, NULL, 'W' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "format", required_argument, NULL, 'F' },
	{ "qos", required_argument, NULL, 'q' },
	{ "id", required_argument, NULL, 'i' },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "source", required_argument, NULL, OPTION_SOURCE },
	{ "reliable", no_argument, NULL, OPTION_RELIABLE },
	{ "stall", required_argument, NULL, OPTION_STALL },
	{ "from", required_argument, NULL, OPTION_FROM },
	{ "ready", required_argument, NULL, OPTION_READY },
	{ "summary", required_argument, NULL, OPTION_SUMMARY },
	{ "stats", no_argument, NULL, OPTION_STATS },
	HBUS_CLI_LONG_OPTIONS,
};

static const struct hbus_cli_options sub_options = { "sub", help, ":t:C:W:vNF:q:i:", long_options };

#define FILTERS_MAX 1024
#define PLACES_MAX 4096
#define EVENTS_PER_POLL 256
#define OUTPUT_FLUSH_BYTES 65536
/* How often signals, the time limit and a closed output are looked for while nothing happens. */
#define LOOK_MS 100
#define DRAIN_NS 1000000000u

struct place {
	uint64_t ring_id;
	uint64_t sequence;
};

struct sub {
	/* what was asked for */
	const char *filters[FILTERS_MAX];
	size_t n_filters;
	struct place *places;
	size_t n_places;
	struct hbus_subscriber_options options;
	bool has_start;
	const char *client_name;
	const char *format;
	const char *source;
	const char *ready;
	const char *summary;
	uint64_t count;	     /* 0 = no limit */
	uint64_t timeout_ns; /* 0 = no limit */
	bool is_verbose;
	bool is_json;
	bool is_stats;
	bool has_no_newline;
	/* what is going on */
	struct hbus *bus;
	struct hbus_subscriber *subscriber;
	struct hbus_account account;
	struct hbus_text output;
	struct hbus_text payload;
	uint64_t start_ns;
	struct hbus_question question; /* after a signal */
	bool is_drained;
	bool is_output_closed;
};

/* -- options -- */

static int take_from(struct sub *sub, const char *where)
{
	uint32_t start = HBUS_START_POSITIONS;
	struct place place;

	if (strcmp(where, "latest") == 0)
		start = HBUS_START_LATEST;
	else if (strcmp(where, "earliest") == 0)
		start = HBUS_START_EARLIEST;
	else if (!hbus_number_parse_place(where, &place.ring_id, &place.sequence))
		return hbus_cli_usage(
			"sub", "--from '%s' is none of latest, earliest, RING-ID:SEQUENCE", where);
	if (sub->has_start && sub->options.start != start)
		return hbus_cli_usage(
			"sub", "--from is latest, earliest, or places; not more than one of these");
	sub->has_start = true;
	sub->options.start = start;
	if (start != HBUS_START_POSITIONS)
		return 0;
	if (sub->n_places == PLACES_MAX)
		return hbus_cli_usage("sub", "at most %d places", PLACES_MAX);
	sub->places[sub->n_places++] = place;
	return 0;
}

static int take_filter(struct sub *sub, const char *filter)
{
	if (sub->n_filters == FILTERS_MAX)
		return hbus_cli_usage("sub", "at most %d times -t", FILTERS_MAX);
	sub->filters[sub->n_filters++] = filter;
	return hbus_cli_check_filter("sub", filter);
}

static int take_duration(const char *option, uint64_t *ret_ms)
{
	if (hbus_number_parse_duration(optarg, ret_ms) && *ret_ms > 0 && *ret_ms < UINT32_MAX)
		return 0;
	return hbus_cli_usage("sub", "%s '%s' is not a time such as 2, 0.5 or 500ms", option,
			      optarg);
}

static int take_number(struct sub *sub, int c)
{
	uint64_t value = 0;
	int r = 0;

	switch (c) {
	case 'C':
		if (!hbus_number_parse_count(optarg, &sub->count) || sub->count == 0)
			r = hbus_cli_usage("sub", "-C '%s' is not a number from 1", optarg);
		break;
	case 'W':
		r = take_duration("-W", &value);
		sub->timeout_ns = value * 1000000u;
		break;
	case OPTION_STALL:
		r = take_duration("--stall", &value);
		sub->options.stall_ms = (uint32_t)value;
		break;
	default:
		if (!hbus_number_parse(optarg, 0, 2, &value))
			r = hbus_cli_usage("sub", "-q '%s' is not 0, 1 or 2", optarg);
	}
	return r;
}

static int take_format(struct sub *sub, const char *format)
{
	const char *fault = hbus_format_check(format);

	sub->format = format;
	return fault ? hbus_cli_usage("sub", "-F '%s': %s", format, fault) : 0;
}

static int take_option(struct sub *sub, int c)
{
	switch (c) {
	case 't':
		return take_filter(sub, optarg);
	case 'v':
		sub->is_verbose = true;
		return 0;
	case 'N':
		sub->has_no_newline = true;
		return 0;
	case 'F':
		return take_format(sub, optarg);
	case 'i':
		sub->client_name = optarg;
		return 0;
	case OPTION_JSON:
		sub->is_json = true;
		return 0;
	case OPTION_SOURCE:
		sub->source = optarg;
		return 0;
	case OPTION_RELIABLE:
		sub->options.flags |= HBUS_SUB_FLAG_RELIABLE;
		return 0;
	case OPTION_FROM:
		return take_from(sub, optarg);
	case OPTION_READY:
		sub->ready = optarg;
		return 0;
	case OPTION_SUMMARY:
		sub->summary = optarg;
		return 0;
	case OPTION_STATS:
		sub->is_stats = true;
		return 0;
	default:
		return take_number(sub, c);
	}
}

static int check_options(const struct sub *sub, int argc, char **argv)
{
	if (optind < argc)
		return hbus_cli_usage("sub", "unexpected argument '%s': topics stand behind -t",
				      argv[optind]);
	if (sub->n_filters == 0)
		return hbus_cli_usage("sub", "-t FILTER is missing ('#' is all topics)");
	if ((sub->is_json != 0) + (sub->format != NULL) + (sub->is_verbose != 0) > 1)
		return hbus_cli_usage("sub", "only one of -v, -F, --json can be given");
	if (sub->options.stall_ms && !(sub->options.flags & HBUS_SUB_FLAG_RELIABLE))
		return hbus_cli_usage("sub", "--stall is for --reliable: others hold nobody");
	return 0;
}

/* -- printing -- */

/*
 * Declared types are the daemon's to know. It is asked when a topic is first seen, for all it has.
 */
static void look_up_types(struct sub *sub, struct hbus_account_topic *wanted)
{
	struct hbus_rows rows = { 0 };
	char type[256];
	char content_type[256];

	wanted->has_types = true;
	if (hbus_rows_fetch(&rows, sub->bus, HBUS_ROW_TOPIC) < 0)
		wanted->has_types = false;
	for (size_t i = 0; i < rows.n_rows; i++) {
		const struct hbus_row *row = &rows.rows[i];
		struct hbus_account_topic *topic =
			hbus_account_topic(&sub->account, (hbus_topic_t)row->value[0], row->name);

		hbus_rows_split_types(row, type, content_type);
		free(topic->type);
		free(topic->content_type);
		topic->type = strdup(type);
		topic->content_type = strdup(content_type);
		topic->has_types = true;
	}
	hbus_rows_deinit(&rows);
}

/*
 * A payload is looked at several times here, and its publisher may change it meanwhile: on a copy.
 */
static void print_json(struct sub *sub, const struct hbus_event *event)
{
	struct hbus_account_topic *topic =
		hbus_account_topic(&sub->account, event->topic_id, event->topic);
	struct hbus_event copy = *event;

	if (!topic->has_types)
		look_up_types(sub, topic);
	sub->payload.len = 0;
	hbus_text_add_bytes(&sub->payload, event->data, event->size);
	copy.data = sub->payload.data;
	hbus_cloudevent_encode(&sub->output, &copy, sub->source, topic->type, topic->content_type);
}

static void print_event(struct sub *sub, const struct hbus_event *event)
{
	if (sub->is_json) {
		print_json(sub, event);
	} else if (sub->format) {
		hbus_format_event(&sub->output, sub->format, event);
	} else {
		if (sub->is_verbose) {
			hbus_text_add(&sub->output, event->topic);
			hbus_text_add_char(&sub->output, ' ');
		}
		hbus_text_add_bytes(&sub->output, event->data, event->size);
	}
	if (!sub->has_no_newline)
		hbus_text_add_char(&sub->output, '\n');
}

static int flush(struct sub *sub)
{
	int r = sub->output.len > 0 ? hbus_cli_write(STDOUT_FILENO, &sub->output) : 0;

	if (r == 0)
		return HBUS_EXIT_OK;
	sub->is_output_closed = true;
	/* Who reads has enough, as `head` does: that is no fault. */
	if (r == -EPIPE)
		return HBUS_EXIT_OK;
	if (r == -EINTR)
		hbus_cli_warn("sub", "the output is not read; what was not written is gone");
	else
		hbus_cli_warn("sub", "cannot write: %s", strerror(-r));
	return HBUS_EXIT_FAULT;
}

static void report_losses(struct sub *sub)
{
	struct hbus_loss loss;

	while (hbus_next_loss(sub->subscriber, &loss) == 1) {
		char count[24] = "unknown";

		if (loss.n_events > 0)
			snprintf(count, sizeof(count), "%llu", (unsigned long long)loss.n_events);
		hbus_cli_warn("sub", "lost ring=%llu first=%llu count=%s reason=%s",
			      (unsigned long long)loss.ring_id,
			      (unsigned long long)loss.first_sequence, count,
			      hbus_account_reason(loss.reason));
		hbus_account_loss(&sub->account, &loss);
	}
}

/* -- the loop -- */

/*
 * Takes some events and prints them into the buffer. What was overwritten meanwhile is taken back:
 * it counts as lost, not as delivered. Return: number of events taken, or an error.
 */
static int take_events(struct sub *sub)
{
	static struct hbus_event events[EVENTS_PER_POLL];
	uint64_t left = sub->count ? sub->count - sub->account.n_delivered : EVENTS_PER_POLL;
	size_t len = sub->output.len;
	int n = hbus_poll(sub->subscriber, events,
			  left < EVENTS_PER_POLL ? (unsigned int)left : EVENTS_PER_POLL);
	int r;

	if (n <= 0)
		return n;
	for (int i = 0; i < n; i++)
		print_event(sub, &events[i]);
	/* The account reads sizes and names only: they are the library's, not the ring's. */
	r = hbus_release(sub->subscriber);
	if (r == HBUS_LAPPED) {
		sub->output.len = len;
		return n;
	}
	for (int i = 0; i < n; i++)
		hbus_account_event(&sub->account, &events[i]);
	return r < 0 ? r : n;
}

/* Sleeps until there may be events, and notices when nobody reads the output any more. */
static int wait_for_events(struct sub *sub, uint64_t now_ns)
{
	struct pollfd output = { .fd = STDOUT_FILENO };
	int timeout_ms = LOOK_MS;
	int r;

	if (sub->timeout_ns && sub->start_ns + sub->timeout_ns < now_ns + LOOK_MS * 1000000u)
		timeout_ms = (int)((sub->start_ns + sub->timeout_ns - now_ns) / 1000000u) + 1;
	r = hbus_wait(sub->subscriber, timeout_ms);
	if (r == 0 && poll(&output, 1, 0) > 0 && (output.revents & (POLLERR | POLLHUP)))
		sub->is_output_closed = true;
	return r;
}

/* Without a daemon the rings go on; what else fails ends it. */
static int on_error(int error)
{
	static const struct timespec pause = { .tv_nsec = LOOK_MS * 1000000 };

	if (error != HBUS_E_DISCONNECTED)
		return hbus_cli_fault("sub", error, "cannot read events");
	nanosleep(&pause, NULL);
	return HBUS_EXIT_OK;
}

/*
 * After a signal: has everything been printed that was published before? When the daemon has
 * answered, the rings of which it had told are known here; then all is looked at.
 */
static bool is_all_read(struct sub *sub)
{
	if (!sub->question.is_asked) {
		hbus_question_ask(&sub->question, sub->bus);
		return false;
	}
	return hbus_question_is_answered(&sub->question) && hbus_wait(sub->subscriber, 0) <= 0;
}

/* Whether it is time to end, and with what. */
static bool is_over(struct sub *sub, uint64_t now_ns, bool is_empty, int *exit_code)
{
	static uint64_t stopped_ns;

	if (*exit_code != HBUS_EXIT_OK || sub->is_output_closed)
		return true;
	if (sub->count && sub->account.n_delivered == sub->count)
		return true;
	if (sub->timeout_ns && now_ns - sub->start_ns >= sub->timeout_ns) {
		*exit_code = HBUS_EXIT_TIMEOUT;
		return true;
	}
	if (!hbus_cli_is_stopped())
		return false;
	if (stopped_ns == 0)
		stopped_ns = now_ns;
	sub->is_drained = is_empty && is_all_read(sub);
	return sub->is_drained || now_ns - stopped_ns > DRAIN_NS;
}

static int print_events(struct sub *sub)
{
	int exit_code = HBUS_EXIT_OK;
	uint64_t now_ns;
	bool is_empty;
	int r;

	for (;;) {
		r = take_events(sub);
		is_empty = r <= 0;
		report_losses(sub);
		if (r < 0)
			exit_code = on_error(r);
		if (exit_code == HBUS_EXIT_OK &&
		    (is_empty || sub->output.len >= OUTPUT_FLUSH_BYTES))
			exit_code = flush(sub);
		now_ns = hbus_cli_now_ns();
		if (is_over(sub, now_ns, is_empty, &exit_code))
			break;
		if (r != 0 || hbus_cli_is_stopped())
			continue;
		r = wait_for_events(sub, now_ns);
		if (r < 0)
			exit_code = on_error(r);
	}
	if (!sub->is_output_closed) {
		r = flush(sub);
		exit_code = exit_code == HBUS_EXIT_OK ? r : exit_code;
	}
	return exit_code;
}

/* -- all of it -- */

static int subscribe(struct sub *sub)
{
	int r = hbus_subscriber_open(sub->bus, &sub->options, &sub->subscriber);

	if (r < 0)
		return hbus_cli_fault("sub", r, "cannot subscribe");
	for (size_t i = 0; i < sub->n_places; i++) {
		r = hbus_subscriber_resume_from(sub->subscriber, sub->places[i].ring_id,
						sub->places[i].sequence);
		if (r < 0)
			return hbus_cli_fault("sub", r, "cannot begin at %llu:%llu",
					      (unsigned long long)sub->places[i].ring_id,
					      (unsigned long long)sub->places[i].sequence);
	}
	for (size_t i = 0; i < sub->n_filters; i++) {
		r = hbus_subscribe(sub->subscriber, sub->filters[i]);
		if (r < 0)
			return hbus_cli_fault("sub", r, "cannot subscribe to '%s'",
					      sub->filters[i]);
	}
	return HBUS_EXIT_OK;
}

static int say_ready(const struct sub *sub)
{
	int fd;

	if (!sub->ready)
		return HBUS_EXIT_OK;
	fd = open(sub->ready, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0) {
		hbus_cli_warn("sub", "cannot make %s: %s", sub->ready, strerror(errno));
		return HBUS_EXIT_FAULT;
	}
	close(fd);
	return HBUS_EXIT_OK;
}

static int write_summary(struct sub *sub)
{
	struct hbus_subscriber_info info = { 0 };
	json_t *summary;

	if (!sub->summary && !sub->is_stats)
		return HBUS_EXIT_OK;
	hbus_subscriber_info(sub->subscriber, &info);
	summary = hbus_account_json(&sub->account, &info);
	json_object_set_new(summary, "reliable",
			    json_boolean(sub->options.flags & HBUS_SUB_FLAG_RELIABLE));
	json_object_set_new(summary, "drained", json_boolean(sub->is_drained));
	json_object_set_new(summary, "seconds",
			    json_real((double)(hbus_cli_now_ns() - sub->start_ns) / 1e9));
	return hbus_cli_write_summary("sub", summary, sub->summary, sub->is_stats);
}

static int run(struct sub *sub)
{
	int exit_code = hbus_cli_open("sub", sub->client_name, &sub->bus);
	int r;

	if (exit_code != HBUS_EXIT_OK)
		return exit_code;
	sub->start_ns = hbus_cli_now_ns();
	exit_code = subscribe(sub);
	if (exit_code == HBUS_EXIT_OK)
		exit_code = say_ready(sub);
	if (exit_code == HBUS_EXIT_OK) {
		exit_code = print_events(sub);
		r = write_summary(sub);
		exit_code = exit_code == HBUS_EXIT_OK ? r : exit_code;
	}
	/* A daemon that stands still does not keep us. What we leave behind the end of the process closes. */
	if (!hbus_question_is_open(&sub->question)) {
		hbus_subscriber_close(sub->subscriber);
		hbus_close(sub->bus);
	}
	hbus_account_deinit(&sub->account);
	hbus_text_free(&sub->output);
	hbus_text_free(&sub->payload);
	return exit_code;
}

int hbus_cli_sub(int argc, char **argv)
{
	static struct sub sub = { .options = { .struct_size = sizeof(sub.options) } };
	static struct place places[PLACES_MAX];
	char host[HOST_NAME_MAX + 1] = "localhost";
	char source[HOST_NAME_MAX + 32];
	int exit_code;
	int c;

	gethostname(host, HOST_NAME_MAX);
	snprintf(source, sizeof(source), "hugebus://%s/", host);
	sub.source = source;
	sub.places = places;
	while ((c = hbus_cli_next_option(&sub_options, argc, argv, &exit_code)) != HBUS_CLI_END) {
		if (c == HBUS_CLI_EXIT || (exit_code = take_option(&sub, c)) != 0)
			return exit_code;
	}
	exit_code = check_options(&sub, argc, argv);
	if (exit_code != 0)
		return exit_code;
	hbus_cli_catch_signals();
	return run(&sub);
}
