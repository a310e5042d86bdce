/* SPDX-License-Identifier: BSD-3-Clause */
/* What waits for clients, through the table of operations: the queue in memory, and that the engine uses nothing else. */
#include "dataplane/mqtt/engine_pvt.h"
#include "tests/unit/mqtt_kit.h"

TestSuite(mqtt_queue, .init = kit_begin, .fini = kit_end);

static struct hbus_mqtt_queue *queue;

static void open_queue(void)
{
	queue = hbus_mqtt_memory_queue.open(&config);
	cr_assert_not_null(queue);
}

static int put(const char *text, uint8_t qos, uint32_t expiry_s, struct hbus_mqtt_delivery **ret_locked)
{
	const struct hbus_mqtt_message message = { .topic = "t", .payload = text, .payload_size = strlen(text), .qos = qos,
						   .has_expiry = expiry_s > 0, .expiry_s = expiry_s };
	struct hbus_mqtt_source source = { engine, &message, hbus_mqtt_expires_ms(engine, &message), NULL };
	const struct hbus_mqtt_how how = { .qos = qos };
	int r = queue->ops->put(queue, &source, &how, ret_locked);

	hbus_mqtt_kept_put(source.kept);
	return r;
}

/* "a b(3) | c" = a and b available, b with packet identifier 3, c locked; "-" has no message any more. */
static const char *state(void)
{
	static char text[256];
	size_t n = 0;

	text[0] = '\0';
	for (int is_locked = 0; is_locked < 2; is_locked++) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, is_locked ? "|" : "");
		for (const struct hbus_mqtt_delivery *d = NULL; (d = queue->ops->next(queue, is_locked, d));) {
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%.*s", d->kept ? (int)d->kept->view.payload_size : 1,
					      d->kept ? (const char *)d->kept->view.payload : "-");
			if (d->packet_id)
				n += (size_t)snprintf(text + n, sizeof(text) - n, "%u", d->packet_id);
		}
	}
	return text;
}

#define STATE(text) cr_assert_str_eq(state(), text)

static void close_queue(void)
{
	queue->ops->close(queue);
	cr_assert_eq(counters->message_bytes_now, 0);
}

Test(mqtt_queue, gives_what_was_put_in_its_order)
{
	struct hbus_mqtt_delivery *d;
	struct hbus_mqtt_queue_count count;

	open_queue();
	cr_assert_null(queue->ops->take(queue, false));
	cr_assert_null(queue->ops->lock(queue));
	cr_assert_eq(put("a", 0, 0, NULL), 0);
	cr_assert_eq(put("b", 1, 0, NULL), 0);
	cr_assert_eq(put("c", 2, 0, NULL), 0);
	STATE("abc|");
	count = queue->ops->count(queue);
	cr_assert(count.n_available == 3 && count.n_locked == 0 && count.bytes == counters->message_bytes_now);
	d = queue->ops->take(queue, false);
	hbus_mqtt_delivery_free(d);
	d = queue->ops->lock(queue);
	cr_assert(d && d->state == WAIT_PUBACK && d->packet_id == 1);
	d = queue->ops->lock(queue);
	cr_assert(d && d->state == WAIT_PUBREC && d->packet_id == 2);
	STATE("|b1c2");
	count = queue->ops->count(queue);
	cr_assert(count.n_available == 0 && count.n_locked == 2 && count.bytes == 0);
	close_queue();
}

Test(mqtt_queue, settles_by_packet_identifier)
{
	struct hbus_mqtt_delivery *d;

	open_queue();
	put("a", 1, 0, &d);
	put("b", 2, 0, &d);
	put("c", 1, 0, &d);
	STATE("|a1b2c3");
	queue->ops->settle(queue, queue->ops->find(queue, 2), false);
	queue->ops->settle(queue, queue->ops->find(queue, 2), false);
	STATE("|a1c3-2");
	queue->ops->settle(queue, queue->ops->find(queue, 1), true);
	cr_assert_null(queue->ops->find(queue, 1));
	cr_assert_null(queue->ops->find(queue, 17));
	queue->ops->settle(queue, queue->ops->find(queue, 2), true);
	STATE("|c3");
	close_queue();
}

Test(mqtt_queue, gives_back_what_was_locked_before_all_others_and_with_its_identifier)
{
	struct hbus_mqtt_delivery *d;

	open_queue();
	put("a", 1, 0, &d);
	put("b", 2, 0, &d);
	put("c", 2, 0, &d);
	put("d", 1, 0, NULL);
	queue->ops->settle(queue, queue->ops->find(queue, 2), false);
	STATE("d|a1c3-2");
	queue->ops->release(queue);
	STATE("a1c3d|-2");
	cr_assert_eq(queue->ops->lock(queue)->packet_id, 1);
	cr_assert_eq(queue->ops->lock(queue)->packet_id, 3);
	cr_assert_eq(queue->ops->lock(queue)->packet_id, 4);
	STATE("|-2a1c3d4");
	close_queue();
}

Test(mqtt_queue, drops_what_has_expired_at_its_front_and_nothing_that_was_begun)
{
	struct hbus_mqtt_delivery *d;

	open_queue();
	put("a", 1, 5, NULL);
	put("b", 1, 5, NULL);
	put("c", 1, 50, NULL);
	put("d", 1, 5, NULL);
	cr_assert_eq(queue->ops->expire(queue, kit_now_ms + 4999), 0);
	cr_assert_eq(queue->ops->expire(queue, kit_now_ms + 5000), 2);
	STATE("cd|");
	d = queue->ops->lock(queue);
	d->was_sent = true;
	queue->ops->release(queue);
	cr_assert_eq(queue->ops->expire(queue, kit_now_ms + 60000), 0);
	STATE("c1d|");
	close_queue();
}

Test(mqtt_queue, is_full_at_its_limits_but_not_for_what_is_sent_at_once)
{
	struct hbus_mqtt_delivery *d;

	config.queue_max = 2;
	config.queue_bytes_max = 1000;
	open_queue();
	cr_assert_eq(put("a", 1, 0, NULL), 0);
	cr_assert_eq(put("b", 1, 0, NULL), 0);
	cr_assert_eq(put("c", 1, 0, NULL), HBUS_MQTT_QUEUE_FULL);
	cr_assert_eq(put("d", 1, 0, &d), 0);
	STATE("ab|d1");
	hbus_mqtt_delivery_free(queue->ops->take(queue, false));
	config.queue_bytes_max = 1;
	cr_assert_eq(put("c", 1, 0, NULL), HBUS_MQTT_QUEUE_FULL);
	config.queue_bytes_max = 1000;
	cr_assert_eq(put("c", 1, 0, NULL), 0);
	STATE("bc|d1");
	close_queue();
}

Test(mqtt_queue, uses_each_packet_identifier_once_until_it_is_settled)
{
	struct hbus_mqtt_delivery *d;
	static bool is_used[65536];

	open_queue();
	queue->last_id = 65530;
	for (unsigned int i = 0; i < 65535; i++) {
		cr_assert_eq(put("x", 1, 0, &d), 0);
		cr_assert(d->packet_id > 0 && !is_used[d->packet_id]);
		is_used[d->packet_id] = true;
	}
	queue->ops->settle(queue, queue->ops->find(queue, 4711), true);
	cr_assert_eq(put("x", 1, 0, &d), 0);
	cr_assert_eq(d->packet_id, 4711);
	close_queue();
}

Test(mqtt_queue, takes_back_an_earlier_run)
{
	const struct hbus_mqtt_message message = { .topic = "t", .payload = "a", .payload_size = 1 };
	const struct hbus_mqtt_how how = { .qos = 2 }, zero = { .qos = 0 };
	struct hbus_mqtt_kept *kept = hbus_mqtt_keep(engine, &message);

	open_queue();
	cr_assert_eq(queue->ops->restore(queue, kept, &how, WAIT_PUBREC, 7, true), 0);
	cr_assert_eq(queue->ops->restore(queue, NULL, &how, WAIT_PUBCOMP, 8, true), 0);
	cr_assert_eq(queue->ops->restore(queue, kept, &how, QUEUED, 0, false), 0);
	cr_assert_eq(queue->ops->restore(queue, kept, &how, WAIT_PUBREC, 7, true), HBUS_MQTT_QUEUE_NO_MEMORY, "twice the same");
	cr_assert_eq(queue->ops->restore(queue, kept, &how, WAIT_PUBREC, 0, true), HBUS_MQTT_QUEUE_FULL);
	cr_assert_eq(queue->ops->restore(queue, kept, &zero, QUEUED, 0, true), HBUS_MQTT_QUEUE_FULL);
	STATE("a|a7-8");
	queue->ops->release(queue);
	STATE("a7a|-8");
	hbus_mqtt_kept_put(kept);
	close_queue();
}

/* -- the engine, on a queue that is not its own -- */

static unsigned int n_opened, n_closed, n_put, n_locked_at_once, n_taken, n_locks, n_settled, n_released;
static struct hbus_mqtt_queue_ops spy;

static struct hbus_mqtt_queue *spy_open(const struct hbus_mqtt_config *limits)
{
	struct hbus_mqtt_queue *q = hbus_mqtt_memory_queue.open(limits);

	n_opened++;
	q->ops = &spy;
	return q;
}

static void spy_close(struct hbus_mqtt_queue *q)
{
	n_closed++;
	hbus_mqtt_memory_queue.close(q);
}

static int spy_put(struct hbus_mqtt_queue *q, struct hbus_mqtt_source *source, const struct hbus_mqtt_how *how,
		   struct hbus_mqtt_delivery **ret_locked)
{
	n_put++;
	n_locked_at_once += ret_locked != NULL;
	return hbus_mqtt_memory_queue.put(q, source, how, ret_locked);
}

static struct hbus_mqtt_delivery *spy_take(struct hbus_mqtt_queue *q, bool is_locked)
{
	struct hbus_mqtt_delivery *d = hbus_mqtt_memory_queue.take(q, is_locked);

	n_taken += d != NULL;
	return d;
}

static struct hbus_mqtt_delivery *spy_lock(struct hbus_mqtt_queue *q)
{
	n_locks++;
	return hbus_mqtt_memory_queue.lock(q);
}

static void spy_settle(struct hbus_mqtt_queue *q, struct hbus_mqtt_delivery *d, bool is_done)
{
	n_settled++;
	hbus_mqtt_memory_queue.settle(q, d, is_done);
}

static void spy_release(struct hbus_mqtt_queue *q)
{
	n_released++;
	hbus_mqtt_memory_queue.release(q);
}

static void spy_begin(void)
{
	spy = hbus_mqtt_memory_queue;
	spy.open = spy_open;
	spy.close = spy_close;
	spy.put = spy_put;
	spy.take = spy_take;
	spy.lock = spy_lock;
	spy.settle = spy_settle;
	spy.release = spy_release;
	kit_defaults();
	config.queues = &spy;
	kit_start();
}

static void spy_end(void)
{
	kit_end();
	cr_assert_eq(n_opened, n_closed);
}

TestSuite(mqtt_queue_of_another, .init = spy_begin, .fini = spy_end);

Test(mqtt_queue_of_another, is_all_that_a_session_waits_in)
{
	struct kit_client *c = connected("c", V3_PERSISTENT), *p = connected("p", V3);

	subscribe(c, 1, "t", 2);
	hear(c);
	publish(p, "t", "zero", 0, 0);
	settle();
	HEARS(c, "PUBLISH t q0 r0 d0 zero");
	cr_assert_eq(n_put, 0, "what goes straight through waits nowhere");
	publish(p, "t", "one", 2, 1);
	settle();
	HEARS(c, "PUBLISH t q1 r0 d0 #1 one");
	cr_assert(n_put == 1 && n_locked_at_once == 1);
	ack(c, HBUS_MQTT_PUBACK, 1);
	cr_assert_eq(n_settled, 1);
	hang_up(c);
	publish(p, "t", "two", 4, 2);
	settle();
	cr_assert(n_put == 2 && n_locked_at_once == 1);
	c = connected("c", V3_PERSISTENT);
	HEARS(c, "PUBLISH t q2 r0 d0 #2 two");
	cr_assert(n_locks == 1 && n_released > 0);
	ack(c, HBUS_MQTT_PUBREC, 2);
	ack(c, HBUS_MQTT_PUBCOMP, 2);
	cr_assert_eq(n_settled, 3);
	cr_assert_eq(n_taken, 0);
}

Test(mqtt_queue_of_another, is_what_a_group_gives_to_and_takes_back_from)
{
	struct kit_client *c = connected("c", V3), *d = connected("d", V3), *p = connected("p", V3);

	subscribe(c, 1, "$share/g/t", 1);
	subscribe(d, 1, "$share/g/t", 1);
	hear(c);
	hear(d);
	publish(p, "t", "a", 2, 1);
	publish(p, "t", "b", 2, 2);
	settle();
	HEARS(c, "PUBLISH t q1 r0 d0 #1 a");
	HEARS(d, "PUBLISH t q1 r0 d0 #1 b");
	cr_assert_eq(n_put, 2);
	hang_up(c);
	HEARS(d, "PUBLISH t q1 r0 d0 #2 a");
	cr_assert(n_taken == 1 && n_put == 3 && counters->shared_moved == 1);
}

Test(mqtt_queue_of_another, is_what_a_restart_saves_and_fills)
{
	struct kit_client *c = connected("c", V3_PERSISTENT), *p = connected("p", V3);
	uint8_t *data;
	size_t size;

	subscribe(c, 1, "t", 1);
	hang_up(c);
	publish(p, "t", "a", 2, 1);
	settle();
	cr_assert_eq(hbus_mqtt_save(engine, 1000, &data, &size), 0);
	kit_end();
	kit_start();
	cr_assert_eq(hbus_mqtt_load(engine, data, size, 1000), 0);
	free(data);
	c = connected("c", V3_PERSISTENT);
	HEARS(c, "PUBLISH t q1 r0 d0 #1 a");
}
