/* SPDX-License-Identifier: BSD-3-Clause */
/* See beside.h. */
#include "tests/refuse/beside.h"

#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#include "tests/refuse/place.h"
#include "tests/refuse/refuse.h"
#include "tests/stress/fds.h"

static struct hbus *bus;
static struct hbus_publisher *pub;
static struct hbus_subscriber *sub;
static hbus_topic_t topic;
static uint64_t own_sent, own_got, a_got;

void beside_open(void)
{
	const struct hbus_publisher_options pub_options = {.struct_size = sizeof(pub_options), .capacity = 65536,
							   .flags = HBUS_PUB_SMALL_PAGES};

	if (hbus_open(refuse_place.address, NULL, &bus) != 0 || hbus_publisher_open(bus, &pub_options, &pub) != 0 ||
	    hbus_publisher_topic(pub, "by/x", NULL, NULL, &topic) != 0)
		refuse_fail("beside: %s", hbus_error_text());
}

void beside_close(void)
{
	hbus_publisher_close(pub);
	hbus_close(bus);
}

/* The subscriber beside reads two topics; nothing of either may be missing. */
void beside_take(void)
{
	enum refuse_side side = refuse_enter(REFUSE_NOBODY);
	struct hbus_event events[64];
	int n;

	while ((n = hbus_poll(sub, events, 64)) > 0) {
		for (int i = 0; i < n; i++) {
			uint64_t *next = strcmp(events[i].topic, "by/x") == 0 ? &own_got : &a_got;
			uint64_t number = 0;

			memcpy(&number, events[i].data, sizeof(number));
			if (number != *next)
				refuse_fail("beside: event %llu of %s came, %llu was the next",
					    (unsigned long long)number, events[i].topic, (unsigned long long)*next);
			++*next;
		}
	}
	refuse_enter(side);
}

bool refuse_has_loss(struct hbus_subscriber *whose)
{
	struct hbus_loss loss;
	bool has_any = false;

	while (hbus_next_loss(whose, &loss) == 1)
		has_any |= loss.reason != HBUS_LOSS_UNNAMED;
	return has_any;
}

static void wait_for(const uint64_t *got, uint64_t sent, const char *what)
{
	enum refuse_side side = refuse_enter(REFUSE_NOBODY);
	uint64_t give_up_ms = refuse_now_ms() + REFUSE_PATIENCE_MS;

	refuse_doing = what;
	while (*got < sent) {
		hbus_wait(sub, 20);
		beside_take();
		if (refuse_has_loss(sub))
			refuse_fail("beside: a loss, to whom nothing was refused");
		if (refuse_now_ms() > give_up_ms)
			refuse_fail("beside: %llu of %llu events came", (unsigned long long)*got, (unsigned long long)sent);
	}
	refuse_enter(side);
}

void beside_wait_own(void)
{
	wait_for(&own_got, own_sent, "beside: waiting for its own");
}

void beside_wait_a(uint64_t sent)
{
	wait_for(&a_got, sent, "beside: waiting for what the run publishes");
}

uint64_t beside_sent(void)
{
	return own_sent;
}

void beside_publish(void)
{
	enum refuse_side side = refuse_enter(REFUSE_NOBODY);

	for (int i = 0; i < REFUSE_EVENTS; i++, own_sent++)
		if (hbus_publish(pub, topic, &own_sent, sizeof(own_sent)) != 0)
			refuse_fail("beside: publish: %s", hbus_error_text());
	refuse_enter(side);
}

static size_t n_mapped(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	char line[512];
	size_t n = 0;

	while (file && fgets(line, sizeof(line), file))
		n += strstr(line, "/memfd:") != NULL;
	if (file)
		fclose(file);
	return n;
}

static int count_row(const struct hbus_row *row, void *context)
{
	(void)row;
	++*(size_t *)context;
	return 0;
}

void beside_look(struct refuse_holding *ret_holding)
{
	enum refuse_side side = refuse_enter(REFUSE_NOBODY);
	static const uint32_t kinds[] = {HBUS_ROW_CLIENT, HBUS_ROW_RING, HBUS_ROW_SUBSCRIBER, HBUS_ROW_ATTACHMENT};

	memset(ret_holding, 0, sizeof(*ret_holding));
	for (int i = 0; i < 4; i++)
		if (hbus_list(bus, kinds[i], count_row, &ret_holding->n_rows[i]) != 0)
			refuse_fail("beside: list: %s", hbus_error_text());
	ret_holding->n_fds = kit_n_open_fds();
	ret_holding->n_maps = n_mapped();
	ret_holding->n_allocations = refuse_n_held();
	refuse_enter(side);
}

void beside_settle(const struct refuse_holding *before, size_t size)
{
	uint64_t give_up_ms = refuse_now_ms() + REFUSE_PATIENCE_MS;
	struct refuse_holding after;

	refuse_doing = "settling";
	for (;; nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL)) {
		beside_look(&after);
		if (memcmp(&after, before, size) == 0)
			return;
		if (refuse_now_ms() > give_up_ms)
			break;
	}
	refuse_report();
	refuse_fail("left: %zd clients, %zd rings, %zd subscribers, %zd attachments; %zd allocations, %zd descriptors, %zd mappings",
		    (ssize_t)(after.n_rows[0] - before->n_rows[0]), (ssize_t)(after.n_rows[1] - before->n_rows[1]),
		    (ssize_t)(after.n_rows[2] - before->n_rows[2]), (ssize_t)(after.n_rows[3] - before->n_rows[3]),
		    (ssize_t)(after.n_allocations - before->n_allocations), (ssize_t)(after.n_fds - before->n_fds),
		    (ssize_t)(after.n_maps - before->n_maps));
}

void beside_subscribe(void)
{
	const struct hbus_subscriber_options options = {.struct_size = sizeof(options), .flags = HBUS_SUB_FLAG_RELIABLE};

	a_got = 0;
	if (hbus_subscriber_open(bus, &options, &sub) != 0 || hbus_subscribe(sub, "a/#") != 0 ||
	    hbus_subscribe(sub, "by/#") != 0)
		refuse_fail("beside: %s", hbus_error_text());
}

void beside_unsubscribe(void)
{
	hbus_subscriber_close(sub);
}
