/* SPDX-License-Identifier: BSD-3-Clause */
/* hugebus pub: publish a message, a file, lines, CloudEvents, or load. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/cli/cli.h"
#include "ctl/cli/cloudevent.h"
#include "ctl/cli/load.h"
#include "ctl/cli/number.h"
#include "ctl/cli/sender.h"

static const char help[] =
	"Usage: hugebus pub -t TOPIC {-m TEXT | -f FILE | -s | -n | -l} [OPTION]...\n"
	"       hugebus pub [-t TOPIC] --json [OPTION]...\n"
	"       hugebus pub -t TOPIC [--count N] [--rate N] [--size N] [OPTION]...   (load)\n"
	"Publish events. Nobody needs to listen; what was sent is delivered after pub has exited.\n\n"
	"  -t, --topic TOPIC     where to; several: messages and lines go to each, load goes round\n"
	"  -m, --message TEXT    one event\n"
	"  -f, --file FILE       one event, the file's content\n"
	"  -s, --stdin-file      one event, all of stdin\n"
	"  -n, --null-message    one event without payload\n"
	"  -l, --stdin-line      an event for each line of stdin\n"
	"      --json            an event for each line of stdin, a CloudEvents object; without -t the\n"
	"                        topic is its subject\n"
	"  -q, --qos N           0, 1, 2: accepted, without effect (see --reliable of sub)\n"
	"  -i, --id NAME         what lists show for this program\n\n"
	"Load, and repetition of -m, -f, -s, -n:\n"
	"      --count N         so many events (k, M, G; 0 = until a signal)\n"
	"      --rate N          so many a second over all topics (0 = as fast as possible, the default)\n"
	"      --size N          payload bytes: a decimal number, a space, dots (the number alone)\n"
	"      --first N         number of the first payload (1)\n"
	"      --topics N        %d in TOPIC is replaced by 0 to N-1: so many topics\n\n"
	"      --type TYPE, --content-type TYPE   CloudEvents attributes of the topics\n"
	"      --timestamp       each event carries the time of its publication\n"
	"      --ring SIZE       bytes of the ring, a power of two (2M, or more for a large event)\n"
	"      --small-pages     4 KiB pages even when there are hugepages\n"
	"      --timeout T       wait so long for a reliable subscriber that is behind (5s), then exit 27\n"
	"      --summary FILE    at the end: JSON, events by topic (- = stderr)\n"
	"      --stats           the same on stderr\n" HBUS_CLI_HELP_COMMON "\n" HBUS_CLI_HELP_EXIT
	"SIGINT and SIGTERM end it cleanly with 0.\n";

enum {
	OPTION_JSON = HBUS_OPTION_OWN,
	OPTION_COUNT,
	OPTION_RATE,
	OPTION_SIZE,
	OPTION_FIRST,
	OPTION_TOPICS,
	OPTION_TYPE,
	OPTION_CONTENT_TYPE,
	OPTION_TIMESTAMP,
	OPTION_RING,
	OPTION_SMALL_PAGES,
	OPTION_TIMEOUT,
	OPTION_SUMMARY,
	OPTION_STATS
};

static const struct option long_options[] = {
	{ "topic", required_argument, NULL, 't' },
	{ "message", required_argument, NULL, 'm' },
	{ "file", required_argument, NULL, 'f' },
	{ "stdin-file", no_argument, NULL, 's' },
	{ "null-message", no_argument, NULL, 'n' },
	{ "stdin-line", no_argument, NULL, 'l' },
	{ "retain", no_argument, NULL, 'r' },
	{ "qos", required_argument, NULL, 'q' },
	{ "id", required_argument, NULL, 'i' },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "count", required_argument, NULL, OPTION_COUNT },
	{ "repeat", required_argument, NULL, OPTION_COUNT },
	{ "rate", required_argument, NULL, OPTION_RATE },
	{ "size", required_argument, NULL, OPTION_SIZE },
	{ "first", required_argument, NULL, OPTION_FIRST },
	{ "topics", required_argument, NULL, OPTION_TOPICS },
	{ "type", required_argument, NULL, OPTION_TYPE },
	{ "content-type", required_argument, NULL, OPTION_CONTENT_TYPE },
	{ "timestamp", no_argument, NULL, OPTION_TIMESTAMP },
	{ "ring", required_argument, NULL, OPTION_RING },
	{ "small-pages", no_argument, NULL, OPTION_SMALL_PAGES },
	{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
	{ "summary", required_argument, NULL, OPTION_SUMMARY },
	{ "stats", no_argument, NULL, OPTION_STATS },
	HBUS_CLI_LONG_OPTIONS,
};

static const struct hbus_cli_options pub_options = { "pub", help, ":t:m:f:snlrq:i:", long_options };

#define TOPICS_GIVEN_MAX 256
#define TOPICS_MAX 1000000

enum mode {
	MODE_NONE,
	MODE_MESSAGE,
	MODE_FILE,
	MODE_STDIN,
	MODE_NULL,
	MODE_LINES,
	MODE_JSON,
	MODE_LOAD
};

struct pub {
	struct hbus_sender sender;
	struct hbus_sender_options sender_options;
	enum mode mode;
	const char *topics[TOPICS_GIVEN_MAX];
	size_t n_topics;
	uint64_t n_topics_each; /* --topics */
	const char *argument;	/* of -m or -f */
	const char *type;
	const char *content_type;
	const char *summary;
	uint64_t count;
	uint64_t rate; /* in 1000 s */
	uint64_t size;
	uint64_t first;
	bool has_load_option;
	bool has_size_option;
	bool is_stats;
};

/* -- options -- */

static int set_mode(struct pub *pub, enum mode mode, const char *argument)
{
	if (pub->mode != MODE_NONE)
		return hbus_cli_usage("pub", "only one of -m, -f, -s, -n, -l, --json can be given");
	pub->mode = mode;
	pub->argument = argument;
	return 0;
}

static int take_topic(struct pub *pub, const char *topic)
{
	if (pub->n_topics == TOPICS_GIVEN_MAX)
		return hbus_cli_usage("pub", "at most %d times -t; --topics makes more",
				      TOPICS_GIVEN_MAX);
	pub->topics[pub->n_topics++] = topic;
	return hbus_cli_check_topic("pub", topic);
}

static int bad_value(int c, const char *expected)
{
	const struct option *option = long_options;

	while (option->name && option->val != c)
		option++;
	return hbus_cli_usage("pub", "--%s '%s' is not %s", option->name, optarg, expected);
}

static int take_number(struct pub *pub, int c)
{
	switch (c) {
	case OPTION_COUNT:
		pub->has_load_option = true;
		return hbus_number_parse_count(optarg, &pub->count)
			       ? 0
			       : bad_value(c, "a number such as 1000 or 1.5M");
	case OPTION_RATE:
		pub->has_load_option = true;
		return hbus_number_parse_rate(optarg, &pub->rate)
			       ? 0
			       : bad_value(c, "a rate such as 0.5, 1000 or 1.5M");
	case OPTION_SIZE:
		pub->has_load_option = pub->has_size_option = true;
		return hbus_number_parse_size(optarg, &pub->size) && pub->size <= 1u << 30
			       ? 0
			       : bad_value(c, "a size such as 64 or 4K, at most 1G");
	case OPTION_FIRST:
		pub->has_load_option = pub->has_size_option = true;
		return hbus_number_parse(optarg, 0, UINT64_MAX, &pub->first)
			       ? 0
			       : bad_value(c, "a number");
	case OPTION_TOPICS:
		return hbus_number_parse(optarg, 1, TOPICS_MAX, &pub->n_topics_each)
			       ? 0
			       : bad_value(c, "a number in 1..1000000");
	case OPTION_RING:
		return hbus_number_parse_size(optarg, &pub->sender_options.capacity)
			       ? 0
			       : bad_value(c, "a size such as 2M");
	default:
		return hbus_number_parse_duration(optarg, &pub->sender_options.timeout_ms)
			       ? 0
			       : bad_value(c, "a time such as 2, 0.5 or 500ms");
	}
}

static int take_option(struct pub *pub, int c)
{
	uint64_t qos;

	switch (c) {
	case 't':
		return take_topic(pub, optarg);
	case 'm':
		return set_mode(pub, MODE_MESSAGE, optarg);
	case 'f':
		return set_mode(pub, MODE_FILE, optarg);
	case 's':
		return set_mode(pub, MODE_STDIN, NULL);
	case 'n':
		return set_mode(pub, MODE_NULL, NULL);
	case 'l':
		return set_mode(pub, MODE_LINES, NULL);
	case OPTION_JSON:
		return set_mode(pub, MODE_JSON, NULL);
	case 'r':
		return hbus_cli_usage(
			"pub",
			"-r: the bus retains no message for later subscribers; 'hugebus sub --from "
			"earliest' begins with the oldest events that the rings still hold");
	case 'q':
		return hbus_number_parse(optarg, 0, 2, &qos)
			       ? 0
			       : hbus_cli_usage("pub", "-q '%s' is not 0, 1 or 2", optarg);
	case 'i':
		pub->sender_options.client_name = optarg;
		return 0;
	case OPTION_TYPE:
		pub->type = optarg;
		return 0;
	case OPTION_CONTENT_TYPE:
		pub->content_type = optarg;
		return 0;
	case OPTION_TIMESTAMP:
		pub->sender_options.publisher_flags |= HBUS_PUB_TIMESTAMP;
		return 0;
	case OPTION_SMALL_PAGES:
		pub->sender_options.publisher_flags |= HBUS_PUB_SMALL_PAGES;
		return 0;
	case OPTION_SUMMARY:
		pub->summary = optarg;
		return 0;
	case OPTION_STATS:
		pub->is_stats = true;
		return 0;
	default:
		return take_number(pub, c);
	}
}

static int check_options(struct pub *pub, int argc, char **argv)
{
	if (optind < argc && pub->n_topics == 0)
		return hbus_cli_usage("pub", "unexpected argument '%s': the topic stands behind -t",
				      argv[optind]);
	if (optind < argc)
		return hbus_cli_usage(
			"pub",
			"unexpected argument '%s': the message stands behind -m (in quotes when "
			"it has blanks)",
			argv[optind]);
	if (pub->n_topics == 0 && pub->mode != MODE_JSON)
		return hbus_cli_usage("pub", "-t TOPIC is missing");
	if (pub->mode == MODE_NONE && !pub->has_load_option)
		return hbus_cli_usage(
			"pub",
			"nothing to publish: one of -m, -f, -s, -n, -l, --json, or --count for load");
	if (pub->mode == MODE_NONE)
		pub->mode = MODE_LOAD;
	if (pub->has_size_option && pub->mode != MODE_LOAD)
		return hbus_cli_usage("pub", "--size and --first are for load, not with a message");
	if (pub->has_load_option && (pub->mode == MODE_LINES || pub->mode == MODE_JSON))
		return hbus_cli_usage("pub", "--count and --rate are not for lines of stdin");
	for (size_t i = 0; i < pub->n_topics && pub->n_topics_each > 0; i++) {
		if (!strstr(pub->topics[i], "%d"))
			return hbus_cli_usage("pub", "--topics needs %%d in '%s'", pub->topics[i]);
	}
	/* A message is sent once unless told otherwise. */
	if (pub->mode != MODE_LOAD && !pub->has_load_option)
		pub->count = 1;
	return 0;
}

/* -- topics -- */

/* The topic with %d replaced. */
static int add_numbered(struct pub *pub, const char *pattern, uint64_t number)
{
	const char *at = strstr(pattern, "%d");
	struct hbus_text name = { 0 };
	size_t idx;
	int r;

	hbus_text_add_bytes(&name, pattern, (size_t)(at - pattern));
	hbus_text_add_number(&name, number);
	hbus_text_add(&name, at + 2);
	r = hbus_sender_add_topic(&pub->sender, hbus_text_string(&name), &idx);
	hbus_text_free(&name);
	return r;
}

static int add_topics(struct pub *pub)
{
	size_t idx;
	int r = HBUS_EXIT_OK;

	pub->sender.type = pub->type;
	pub->sender.content_type = pub->content_type;
	for (size_t i = 0; i < pub->n_topics && r == HBUS_EXIT_OK; i++) {
		if (pub->n_topics_each == 0)
			r = hbus_sender_add_topic(&pub->sender, pub->topics[i], &idx);
		for (uint64_t k = 0; k < pub->n_topics_each && r == HBUS_EXIT_OK; k++)
			r = add_numbered(pub, pub->topics[i], k);
	}
	return r;
}

/* -- messages and load -- */

static int put_to_all(struct pub *pub, const void *data, size_t size)
{
	int r = HBUS_EXIT_OK;

	for (size_t i = 0; i < pub->sender.n_topics && r == HBUS_EXIT_OK; i++)
		r = hbus_sender_put(&pub->sender, i, data, size, 0);
	return r;
}

/* Sleeps until event number n is due, or a signal comes. */
static void sleep_until_due(const struct pub *pub, uint64_t start_ns, uint64_t n)
{
	uint64_t at = start_ns + hbus_load_due_at(pub->rate, n);
	struct timespec time = { .tv_sec = (time_t)(at / 1000000000u),
				 .tv_nsec = (long)(at % 1000000000u) };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

/* Calls put(pub, n) for n = 0, 1... as often and as fast as asked for. */
static int pace(struct pub *pub, int (*put)(struct pub *pub, uint64_t n))
{
	uint64_t start_ns = hbus_cli_now_ns();
	uint64_t n_due = UINT64_MAX;
	uint64_t n = 0;
	int r = HBUS_EXIT_OK;

	while (r == HBUS_EXIT_OK && (pub->count == 0 || n < pub->count) && !hbus_cli_is_stopped()) {
		if (pub->rate > 0 && n >= n_due) {
			r = hbus_sender_flush(&pub->sender);
			sleep_until_due(pub, start_ns, n);
		}
		if (pub->rate > 0)
			n_due = hbus_load_due(pub->rate, hbus_cli_now_ns() - start_ns);
		/* A clock is read and the signal looked at once per so many. */
		for (int i = 0; i < 256 && r == HBUS_EXIT_OK && n < n_due &&
				(pub->count == 0 || n < pub->count);
		     i++)
			r = put(pub, n++);
	}
	return r;
}

static struct hbus_load load;
static struct hbus_text message;

static int put_load(struct pub *pub, uint64_t n)
{
	int r = hbus_sender_put(&pub->sender, n % pub->sender.n_topics, load.data, load.size, 0);

	hbus_load_next(&load);
	return r;
}

static int put_message(struct pub *pub, uint64_t n)
{
	(void)n;
	return put_to_all(pub, message.data ? message.data : "", message.len);
}

/* -- input -- */

/*
 * Appends what there is. Return: bytes, 0 = end, or -errno; -EINTR only after a signal that ends
 * pub.
 */
static ssize_t read_more(int fd, struct hbus_text *text)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	ssize_t n;

	/* A signal can come just before poll() sleeps: it looks again now and then. */
	while (poll(&poll_fd, 1, 200) <= 0) {
		if (hbus_cli_is_stopped())
			return -EINTR;
	}
	hbus_text_grow(text, 65536);
	n = read(fd, text->data + text->len, text->size - text->len);
	if (n < 0)
		return -errno;
	text->len += (size_t)n;
	return n;
}

static int read_all(int fd, const char *name, struct hbus_text *text)
{
	ssize_t n;

	while ((n = read_more(fd, text)) > 0)
		;
	if (n == 0)
		return HBUS_EXIT_OK;
	hbus_cli_warn("pub", "cannot read %s: %s", name, strerror((int)-n));
	return HBUS_EXIT_FAULT;
}

static int read_message(struct pub *pub)
{
	int fd;
	int r;

	switch (pub->mode) {
	case MODE_MESSAGE:
		hbus_text_add(&message, pub->argument);
		return HBUS_EXIT_OK;
	case MODE_STDIN:
		return read_all(STDIN_FILENO, "stdin", &message);
	case MODE_FILE:
		fd = open(pub->argument, O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			hbus_cli_warn("pub", "cannot open %s: %s", pub->argument, strerror(errno));
			return HBUS_EXIT_FAULT;
		}
		r = read_all(fd, pub->argument, &message);
		close(fd);
		return r;
	default:
		return HBUS_EXIT_OK;
	}
}

static int put_event(struct pub *pub, const struct hbus_cloudevent *event)
{
	size_t idx;
	int r = HBUS_EXIT_OK;

	if (pub->n_topics > 0) {
		for (size_t i = 0; i < pub->sender.n_topics && r == HBUS_EXIT_OK; i++)
			r = hbus_sender_put(&pub->sender, i,
					    event->payload.data ? event->payload.data : "",
					    event->payload.len, event->time_ns);
		return r;
	}
	if (!event->subject) {
		hbus_cli_warn("pub", "an event has no subject and there is no -t: to which topic?");
		return HBUS_EXIT_FAULT;
	}
	idx = hbus_sender_find_topic(&pub->sender, event->subject);
	if (idx == pub->sender.n_topics) {
		r = hbus_cli_check_topic("pub", event->subject);
		pub->sender.type = pub->type ? pub->type : event->type;
		pub->sender.content_type =
			pub->content_type ? pub->content_type : event->content_type;
		if (r == HBUS_EXIT_OK)
			r = hbus_sender_add_topic(&pub->sender, event->subject, &idx);
	}
	if (r != HBUS_EXIT_OK)
		return r;
	return hbus_sender_put(&pub->sender, idx, event->payload.data ? event->payload.data : "",
			       event->payload.len, event->time_ns);
}

static int put_line(struct pub *pub, const char *line, size_t size)
{
	struct hbus_cloudevent event;
	const char *fault;
	int r;

	if (pub->mode == MODE_LINES)
		return put_to_all(pub, line, size);
	if (strspn(line, " \t\r") >= size)
		return HBUS_EXIT_OK;
	fault = hbus_cloudevent_decode(line, size, &event);
	if (fault) {
		hbus_cli_warn("pub", "event %llu of stdin: %s",
			      (unsigned long long)pub->sender.n_events + 1, fault);
		return HBUS_EXIT_FAULT;
	}
	r = put_event(pub, &event);
	hbus_cloudevent_deinit(&event);
	return r;
}

/* Publishes the whole lines of @text and leaves the rest in it. */
static int put_lines(struct pub *pub, struct hbus_text *text)
{
	size_t start = 0;
	int r = HBUS_EXIT_OK;

	while (r == HBUS_EXIT_OK && start < text->len) {
		const char *line = text->data + start;
		const char *end = memchr(line, '\n', text->len - start);

		if (!end)
			break;
		r = put_line(pub, line, (size_t)(end - line));
		start += (size_t)(end - line) + 1;
	}
	memmove(text->data, text->data + start, text->len - start);
	text->len -= start;
	return r;
}

/* What is read appears before more is waited for. */
static int publish_lines(struct pub *pub)
{
	struct hbus_text text = { 0 };
	ssize_t n = 1;
	int r = HBUS_EXIT_OK;

	while (r == HBUS_EXIT_OK && n > 0 && !hbus_cli_is_stopped()) {
		n = read_more(STDIN_FILENO, &text);
		r = put_lines(pub, &text);
		/* The last line may lack its newline. */
		if (r == HBUS_EXIT_OK && n == 0 && text.len > 0)
			r = put_line(pub, hbus_text_string(&text), text.len);
		if (r == HBUS_EXIT_OK)
			r = hbus_sender_flush(&pub->sender);
	}
	hbus_text_free(&text);
	if (n >= 0 || n == -EINTR)
		return r;
	hbus_cli_warn("pub", "cannot read stdin: %s", strerror((int)-n));
	return HBUS_EXIT_FAULT;
}

/* -- all of it -- */

static int publish_all(struct pub *pub)
{
	int r = add_topics(pub);
	int r_flush;

	if (r != HBUS_EXIT_OK)
		return r;
	if (pub->mode == MODE_LINES || pub->mode == MODE_JSON) {
		r = publish_lines(pub);
	} else if (pub->mode == MODE_LOAD) {
		hbus_load_init(&load, pub->first, pub->size);
		r = pace(pub, put_load);
		hbus_load_deinit(&load);
	} else {
		r = pace(pub, put_message);
	}
	r_flush = hbus_sender_flush(&pub->sender);
	if (r == HBUS_SENDER_STOPPED)
		r = HBUS_EXIT_OK;
	return r != HBUS_EXIT_OK ? r : r_flush;
}

static int run(struct pub *pub)
{
	uint64_t start_ns;
	json_t *summary;
	int r = read_message(pub);
	int r_summary = HBUS_EXIT_OK;

	if (r != HBUS_EXIT_OK)
		return r;
	pub->sender_options.event_size_max = pub->mode == MODE_LOAD ? pub->size : message.len;
	r = hbus_sender_open(&pub->sender, &pub->sender_options);
	if (r != HBUS_EXIT_OK)
		return r;
	start_ns = hbus_cli_now_ns();
	r = publish_all(pub);
	if (pub->summary || pub->is_stats) {
		summary = hbus_sender_summary(&pub->sender);
		json_object_set_new(summary, "seconds",
				    json_real((double)(hbus_cli_now_ns() - start_ns) / 1e9));
		r_summary = hbus_cli_write_summary("pub", summary, pub->summary, pub->is_stats);
	}
	hbus_sender_close(&pub->sender);
	hbus_text_free(&message);
	return r != HBUS_EXIT_OK ? r : r_summary;
}

int hbus_cli_pub(int argc, char **argv)
{
	struct pub pub = { .first = 1, .sender_options = { .timeout_ms = 5000 } };
	int exit_code;
	int c;

	while ((c = hbus_cli_next_option(&pub_options, argc, argv, &exit_code)) != HBUS_CLI_END) {
		if (c == HBUS_CLI_EXIT || (exit_code = take_option(&pub, c)) != 0)
			return exit_code;
	}
	exit_code = check_options(&pub, argc, argv);
	if (exit_code != 0)
		return exit_code;
	hbus_cli_catch_signals();
	return run(&pub);
}
