/* SPDX-License-Identifier: BSD-3-Clause */
/* See life.h. */
#include "tests/refuse/life.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl/client/hugebus.h"
#include "tests/refuse/beside.h"
#include "tests/refuse/place.h"
#include "tests/refuse/refuse.h"

uint64_t refuse_n_told, refuse_n_lost_told;

/* An error for which a want of room is a reason, with a sentence. */
static bool is_clear(int status)
{
	switch (status) {
	case HBUS_E_NO_MEMORY:
	case HBUS_E_SYSTEM:
	case HBUS_E_LIMIT: /* of descriptors */
		return hbus_error_text()[0] != '\0';
	default:
		return false;
	}
}

static void judge(const char *what, int status)
{
	if (refuse_count() == 0)
		refuse_fail("%s: %d (%s), and nothing was refused", what, status, hbus_error_text());
	if (!is_clear(status))
		refuse_fail("%s: %d, %s: %s: does not say that there was no room", what, status, hbus_strerror(status), hbus_error_text());
	refuse_n_told++;
}

/* A call that fails says why; the next one does not fail. */
#define TRY(call)												\
	do {													\
		int status_;											\
		refuse_doing = #call;										\
		status_ = (call);										\
		if (status_ < 0) {										\
			judge(#call, status_);									\
			refuse_lift();										\
			status_ = (call);									\
		}												\
		if (status_ < 0)										\
			refuse_fail("%s, tried again: %d, %s: %s", #call, status_, hbus_strerror(status_),	\
				    hbus_error_text());								\
	} while (0)

static void take(struct hbus_subscriber *sub, const char *prefix, uint64_t *next)
{
	struct hbus_event events[64];
	int n;

	while ((n = hbus_poll(sub, events, 64)) > 0) {
		for (int i = 0; i < n; i++) {
			uint64_t number = 0;

			if (strncmp(events[i].topic, prefix, strlen(prefix)) != 0)
				continue;
			memcpy(&number, events[i].data, sizeof(number));
			if (number != *next)
				refuse_fail("event %llu of %s came, %llu was the next", (unsigned long long)number,
					    events[i].topic, (unsigned long long)*next);
			++*next;
		}
	}
	if (n < 0)
		refuse_fail("poll: %d %s", n, hbus_error_text());
}

/* False: not all came, and the subscriber says that some are lost. */
static bool wait_for(struct hbus_subscriber *sub, const char *prefix, uint64_t *next, uint64_t until)
{
	uint64_t give_up_ms = refuse_now_ms() + REFUSE_PATIENCE_MS;

	while (*next < until) {
		TRY(hbus_wait(sub, 20));
		take(sub, prefix, next);
		beside_take();
		if (*next < until && refuse_has_loss(sub)) {
			refuse_n_lost_told++;
			return false;
		}
		if (refuse_now_ms() > give_up_ms)
			refuse_fail("%llu of %llu events came, and nothing says why", (unsigned long long)*next,
				    (unsigned long long)until);
	}
	return true;
}

/* While all is open the daemon knows what it knew when nothing was refused: what failed half-way is not there beside it. */
static void compare_in_use(struct hbus_subscriber *sub)
{
	static struct refuse_holding in_use;
	uint64_t give_up_ms = refuse_now_ms() + REFUSE_PATIENCE_MS;
	struct refuse_holding now;
	uint64_t next = 0;

	refuse_doing = "looking at what is in use";
	refuse_lift();
	for (;; nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL)) {
		beside_take();
		hbus_wait(sub, 0); /* without a thread this is what hears the daemon */
		take(sub, "-", &next);
		beside_look(&now);
		if (in_use.n_rows[0] == 0 && now.n_rows[3] == 3)
			in_use = now;
		if (memcmp(now.n_rows, in_use.n_rows, sizeof(now.n_rows)) == 0)
			return;
		if (refuse_now_ms() > give_up_ms)
			refuse_fail("in use: %zu clients, %zu rings, %zu subscribers, %zu attachments; without refusals %zu, %zu, %zu, %zu",
				    now.n_rows[0], now.n_rows[1], now.n_rows[2], now.n_rows[3], in_use.n_rows[0],
				    in_use.n_rows[1], in_use.n_rows[2], in_use.n_rows[3]);
	}
}

struct run {
	struct hbus *bus;
	struct hbus_publisher *publisher;
	struct hbus_subscriber *sub;
	hbus_topic_t topic;
	uint64_t sent, got;
};

static int subscriber_new(struct run *run)
{
	const struct hbus_subscriber_options options = {.struct_size = sizeof(options), .flags = HBUS_SUB_FLAG_RELIABLE};

	return hbus_subscriber_open(run->bus, &options, &run->sub);
}

static void open_all(uint32_t open_flags, struct run *run)
{
	const struct hbus_options options = {.struct_size = sizeof(options), .name = "refused", .flags = open_flags};
	const struct hbus_publisher_options pub_options = {.struct_size = sizeof(pub_options), .capacity = 65536,
							   .flags = HBUS_PUB_SMALL_PAGES};

	TRY(hbus_open(refuse_place.address, &options, &run->bus));
	TRY(hbus_publisher_open(run->bus, &pub_options, &run->publisher));
	TRY(hbus_publisher_topic(run->publisher, "a/b", "a.type", "text/plain", &run->topic));
	TRY(subscriber_new(run));
	TRY(hbus_subscribe(run->sub, "a/+"));
	TRY(hbus_subscribe(run->sub, "by/x"));
}

static void publish(struct run *run)
{
	for (int i = 0; i < REFUSE_EVENTS; i++, run->sent++)
		TRY(hbus_publish(run->publisher, run->topic, &run->sent, sizeof(run->sent)));
}

/* What is lost is said, and a new subscriber gets all that comes. */
static void deliver(struct run *run)
{
	publish(run);
	beside_wait_a(run->sent);
	if (wait_for(run->sub, "a/", &run->got, run->sent))
		return;
	refuse_lift();
	hbus_subscriber_close(run->sub);
	run->sub = NULL;
	TRY(subscriber_new(run));
	TRY(hbus_subscribe(run->sub, "a/+"));
	TRY(hbus_subscribe(run->sub, "by/x"));
	run->got = run->sent;
	publish(run);
	if (!wait_for(run->sub, "a/", &run->got, run->sent))
		refuse_fail("a new subscriber loses events too");
}

/* True when it is armed, and can be slept on. */
static bool arm(struct run *run)
{
	bool is_armed = false;

	refuse_doing = "hbus_fd_arm()";
	switch (hbus_fd_arm(run->sub)) {
	case 0: is_armed = true; break;
	case 1: break;
	default: refuse_fail("hbus_fd_arm: %s", hbus_error_text());
	}
	return is_armed;
}

/* Events of the program beside come to who sleeps on the descriptor. */
static void sleep_on_descriptor(struct run *run)
{
	struct pollfd waiter = {.fd = hbus_fd(run->sub), .events = POLLIN};
	uint64_t give_up_ms = refuse_now_ms() + REFUSE_PATIENCE_MS, next = beside_sent();
	bool was_lost = false;

	do
		take(run->sub, "-", &next);
	while (!arm(run) && refuse_now_ms() < give_up_ms);
	beside_publish();
	while (next < beside_sent()) {
		refuse_doing = "sleeping on the descriptor";
		if (poll(&waiter, 1, 1000) == 0 && !(was_lost = refuse_has_loss(run->sub)))
			refuse_fail("nobody wakes who sleeps on the descriptor");
		do
			take(run->sub, "by/", &next);
		while (next < beside_sent() && !arm(run) && refuse_now_ms() < give_up_ms);
		if (was_lost || refuse_has_loss(run->sub)) {
			refuse_n_lost_told++;
			break;
		}
		if (refuse_now_ms() > give_up_ms)
			refuse_fail("%llu of %llu events beside came", (unsigned long long)next, (unsigned long long)beside_sent());
	}
	beside_wait_own();
}

static int any_row(const struct hbus_row *row, void *context)
{
	(void)row;
	++*(size_t *)context;
	return 0;
}

static void administer(struct run *run)
{
	const struct hbus_route route = {.kind = HBUS_ROUTE_KIND_TOPIC, .family = 4, .port = 4711};
	struct hbus_route named = route;
	struct hbus_counter *counters = NULL;
	size_t n = 0;

	snprintf(named.topic, sizeof(named.topic), "a/b");
	TRY(hbus_topic_declare(run->bus, "d/e", "d.type", NULL));
	TRY(hbus_route_add(run->bus, &named));
	TRY(hbus_list(run->bus, HBUS_ROW_TOPIC, any_row, &n));
	TRY(hbus_counters_create(run->bus, "refused", 4, &counters));
	TRY(hbus_route_remove(run->bus, &named));
	TRY(hbus_topic_remove(run->bus, "d/e"));
	TRY(hbus_unsubscribe(run->sub, "by/x"));
}

static void close_all(struct run *run)
{
	refuse_doing = "closing";
	hbus_publisher_close(run->publisher);
	hbus_subscriber_close(run->sub);
	hbus_close(run->bus);
}

void refuse_life(uint32_t open_flags)
{
	struct run run = {0};

	open_all(open_flags, &run);
	deliver(&run);
	sleep_on_descriptor(&run);
	administer(&run);
	deliver(&run);
	compare_in_use(run.sub);
	close_all(&run);
}
