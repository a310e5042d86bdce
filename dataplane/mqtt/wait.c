/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What waits for the bus, so that nobody else has to: a connection whose packet names a topic or a filter
 * that the bus has yet to be asked for, and wills. The packet is held and gone through again when the
 * answer is there; what came behind it is held too, so that order stays.
 *
 * Of one filter several questions may be out, when its last subscription went and a new one came. They
 * are answered in order, and the last answer counts.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"
#include "dataplane/mqtt/engine_pvt.h"

struct hbus_mqtt_ask {
	struct hbus_mqtt_ask *next;
	uint32_t n; /* questions that are out */
	char filter[];
};

struct hbus_mqtt_late_will {
	struct hbus_mqtt_late_will *next;
	struct hbus_mqtt_kept *kept;
	uint64_t hash, session_number;
};

static uint64_t hash_of(const struct hbus_mqtt *engine, const char *name)
{
	return hbus_siphash(engine->config.secret, name, strlen(name));
}

/* -- connections -- */

void hbus_mqtt_wait(struct hbus_mqtt_conn *conn, bool is_filter, const char *name)
{
	struct hbus_mqtt *engine = conn->engine;
	struct hbus_mqtt_wait *wait = &conn->wait;
	struct hbus_mqtt_wait **head;

	wait->hash = hash_of(engine, name);
	wait->is_filter = is_filter;
	head = &engine->waits[wait->hash % HBUS_MQTT_WAIT_BUCKETS];
	wait->next = *head;
	wait->link = head;
	if (wait->next)
		wait->next->link = &wait->next;
	*head = wait;
	engine->counters.waits++;
}

void hbus_mqtt_wait_end(struct hbus_mqtt_conn *conn)
{
	struct hbus_mqtt_wait *wait = &conn->wait;

	if (!wait->link)
		return;
	*wait->link = wait->next;
	if (wait->next)
		wait->next->link = wait->link;
	wait->link = NULL;
}

/* Moves those who wait for this into a list of their own; who is closed meanwhile leaves it. */
static void take_waits(struct hbus_mqtt *engine, bool is_filter, uint64_t hash, struct hbus_mqtt_wait **list)
{
	struct hbus_mqtt_wait *wait = engine->waits[hash % HBUS_MQTT_WAIT_BUCKETS], *next;

	*list = NULL;
	for (; wait; wait = next) {
		next = wait->next;
		if (wait->hash != hash || wait->is_filter != is_filter)
			continue;
		hbus_mqtt_wait_end(hbus_mqtt_of(wait, struct hbus_mqtt_conn, wait));
		wait->next = *list;
		wait->link = list;
		if (*list)
			(*list)->link = &wait->next;
		*list = wait;
	}
}

static void answer_waits(struct hbus_mqtt *engine, bool is_filter, const char *name, uint8_t reason)
{
	struct hbus_mqtt_wait *list;

	take_waits(engine, is_filter, hash_of(engine, name), &list);
	while (list) {
		struct hbus_mqtt_conn *conn = hbus_mqtt_of(list, struct hbus_mqtt_conn, wait);

		hbus_mqtt_wait_end(conn);
		conn->wait.reason = reason;
		hbus_mqtt_go_on(conn);
	}
}

/* -- wills -- */

bool hbus_mqtt_will_wait(struct hbus_mqtt_session *session)
{
	struct hbus_mqtt *engine = session->engine;
	struct hbus_mqtt_late_will *late = malloc(sizeof(*late));

	if (!late)
		return false;
	late->kept = hbus_mqtt_kept_get(session->will);
	late->hash = hash_of(engine, session->will->view.topic);
	late->session_number = session->number;
	late->next = engine->late_wills;
	engine->late_wills = late;
	return true;
}

static void late_will_free(struct hbus_mqtt_late_will *late)
{
	hbus_mqtt_kept_put(late->kept);
	free(late);
}

static void answer_wills(struct hbus_mqtt *engine, const char *topic)
{
	struct hbus_mqtt_late_will **link = &engine->late_wills, *late;
	uint64_t hash = hash_of(engine, topic);

	while ((late = *link)) {
		struct hbus_mqtt_message message = late->kept->view;
		uint8_t reason;

		if (late->hash != hash) {
			link = &late->next;
			continue;
		}
		reason = hbus_mqtt_publish(engine, late->session_number, &message);
		if (reason == HBUS_MQTT_PENDING) {
			link = &late->next;
			continue;
		}
		engine->counters.wills += reason == 0;
		*link = late->next;
		late_will_free(late);
	}
}

/* -- questions about filters -- */

static struct hbus_mqtt_ask **ask_of(struct hbus_mqtt *engine, const char *filter)
{
	struct hbus_mqtt_ask **link = &engine->asks[hash_of(engine, filter) % HBUS_MQTT_WAIT_BUCKETS];

	while (*link && strcmp((*link)->filter, filter) != 0)
		link = &(*link)->next;
	return link;
}

bool hbus_mqtt_is_asked(struct hbus_mqtt *engine, const char *filter)
{
	return *ask_of(engine, filter) != NULL;
}

bool hbus_mqtt_ask(struct hbus_mqtt *engine, const char *filter)
{
	struct hbus_mqtt_ask **link = ask_of(engine, filter), *ask = *link;
	size_t size = strlen(filter) + 1;

	if (!ask) {
		ask = malloc(sizeof(*ask) + size);
		if (!ask)
			return false;
		ask->next = NULL;
		ask->n = 0;
		memcpy(ask->filter, filter, size);
		*link = ask;
	}
	ask->n++;
	return true;
}

void hbus_mqtt_topic_answer(struct hbus_mqtt *engine, const char *topic)
{
	answer_waits(engine, false, topic, 0);
	answer_wills(engine, topic);
	hbus_mqtt_reap(engine);
}

void hbus_mqtt_filter_answer(struct hbus_mqtt *engine, const char *filter, uint8_t reason)
{
	struct hbus_mqtt_ask **link = ask_of(engine, filter), *ask = *link;

	if (!ask || --ask->n > 0)
		return;
	*link = ask->next;
	free(ask);
	if (reason)
		hbus_mqtt_filter_refused(engine, filter);
	answer_waits(engine, true, filter, reason);
	hbus_mqtt_reap(engine);
}

void hbus_mqtt_waits_free(struct hbus_mqtt *engine)
{
	while (engine->late_wills) {
		struct hbus_mqtt_late_will *late = engine->late_wills;

		engine->late_wills = late->next;
		late_will_free(late);
	}
	for (size_t i = 0; i < HBUS_MQTT_WAIT_BUCKETS; i++) {
		while (engine->asks[i]) {
			struct hbus_mqtt_ask *ask = engine->asks[i];

			engine->asks[i] = ask->next;
			free(ask);
		}
	}
}
