/* SPDX-License-Identifier: BSD-3-Clause */
/* Routes and source rules: kept here for whoever turns packets into events. */
#include <stdlib.h>
#include <string.h>

#include "ctl/daemon/route.h"
#include "ctl/daemon/state_int.h"

static struct hbus_route_state *find(struct hbus_state *state, const struct hbus_wire_route *route)
{
	struct hbus_table_node *node = hbus_table_find(&state->route_places, hbus_route_place_key(route));

	for (; node; node = node->next) {
		struct hbus_route_state *found =
			hbus_container_of(node, struct hbus_route_state, by_place);

		if (hbus_route_same_place(&found->route, route))
			return found;
	}
	return NULL;
}

/* ---- telling ---- */

static void send_route(struct hbus_state *state, struct hbus_member *member,
		       enum hbus_msg_type type, const struct hbus_wire_route *route)
{
	struct hbus_msg_route msg;

	hbus_msg_init(&msg, type);
	msg.route = *route;
	hbus_state_send(state, member, &msg, NULL, 0);
}

static struct hbus_member *next_listener(struct hbus_state *state, struct hbus_member *member)
{
	struct hbus_table_node *node = member ? &member->by_id : NULL;

	while ((node = hbus_table_next(&state->members, node))) {
		member = hbus_container_of(node, struct hbus_member, by_id);
		if (member->flags & HBUS_CLIENT_WANTS_ROUTES)
			return member;
	}
	return NULL;
}

static void tell(struct hbus_state *state, enum hbus_msg_type type,
		 const struct hbus_wire_route *route)
{
	struct hbus_member *member = NULL;

	while ((member = next_listener(state, member)))
		send_route(state, member, type, route);
}

static void send_source_defaults(struct hbus_state *state, struct hbus_member *member)
{
	struct hbus_msg_source_rule msg;

	hbus_msg_init(&msg, HBUS_MSG_SOURCE_RULE);
	msg.is_deny = state->config->is_source_denied;
	msg.rate = state->config->source_rate;
	msg.burst = state->config->source_burst;
	hbus_state_send(state, member, &msg, NULL, 0);
}

static void send_source(struct hbus_state *state, struct hbus_member *member,
			const struct hbus_config_source *source, bool is_removed)
{
	struct hbus_msg_source_rule msg;

	hbus_msg_init(&msg, HBUS_MSG_SOURCE_RULE);
	memcpy(msg.address, source->address, sizeof(msg.address));
	msg.family = source->family;
	msg.prefix_len = source->prefix_len;
	msg.is_deny = source->is_deny;
	msg.is_removed = is_removed;
	hbus_state_send(state, member, &msg, NULL, 0);
}

void hbus_route_tell_all(struct hbus_state *state, struct hbus_member *member)
{
	struct hbus_route_state *route;

	send_source_defaults(state, member);
	for (size_t i = 0; i < state->config->n_sources; i++)
		send_source(state, member, &state->config->sources[i], false);
	TAILQ_FOREACH(route, &state->routes, link)
		send_route(state, member, HBUS_MSG_ROUTE_SET, &route->route);
}

/* ---- changing ---- */

static void persist(struct hbus_state *state, const struct hbus_wire_route *route,
		    enum hbus_record_kind kind)
{
	struct hbus_journal_record record;

	memset(&record, 0, sizeof(record));
	record.kind = kind;
	record.route = *route;
	hbus_state_persist(state, &record);
}

static int add(struct hbus_state *state, const struct hbus_wire_route *wire, uint32_t flag)
{
	struct hbus_route_state *route = find(state, wire);

	if (route) {
		if (route->route.kind != wire->kind ||
		    strcmp(route->route.topic, wire->topic) != 0)
			return HBUS_E_EXISTS;
		route->flags |= flag;
		return 0;
	}
	if (state->n_routes >= HBUS_ROUTES_TOTAL_MAX)
		return HBUS_E_LIMIT;
	route = calloc(1, sizeof(*route));
	if (!route)
		return HBUS_E_NO_MEMORY;
	route->route = *wire;
	route->flags = flag;
	TAILQ_INSERT_TAIL(&state->routes, route, link);
	hbus_table_insert(&state->route_places, hbus_route_place_key(wire), &route->by_place);
	state->n_routes++;
	tell(state, HBUS_MSG_ROUTE_SET, wire);
	return 0;
}

static void drop(struct hbus_state *state, struct hbus_route_state *route)
{
	TAILQ_REMOVE(&state->routes, route, link);
	hbus_table_remove(&state->route_places, &route->by_place);
	state->n_routes--;
	tell(state, HBUS_MSG_ROUTE_GONE, &route->route);
	free(route);
}

static int check_add(struct hbus_state *state, const struct hbus_wire_route *wire,
		     const char **ret_text)
{
	struct hbus_wire_route batch = *wire;
	const struct hbus_route_state *found = find(state, wire);

	if (found && (found->route.kind != wire->kind ||
		      strcmp(found->route.topic, wire->topic) != 0)) {
		*ret_text = "another route stands at this place: remove it first";
		return HBUS_E_EXISTS;
	}
	if (wire->kind != HBUS_ROUTE_BATCH_TOPIC)
		return 0;
	batch.kind = HBUS_ROUTE_BATCH;
	batch.number = 0;
	found = find(state, &batch);
	if (!found || found->route.kind != HBUS_ROUTE_BATCH) {
		*ret_text = "there is no batch route at this place";
		return HBUS_E_NOT_FOUND;
	}
	return 0;
}

static int add_declared(struct hbus_state *state, const struct hbus_wire_route *wire,
			const char **ret_text)
{
	int r = check_add(state, wire, ret_text);

	if (r == 0)
		r = add(state, wire, HBUS_TOPIC_DECLARED);
	if (r == 0)
		persist(state, wire, HBUS_RECORD_ROUTE);
	return r;
}

/* The topics of a batch go with it. */
static void drop_batch_topics(struct hbus_state *state, const struct hbus_wire_route *batch)
{
	struct hbus_route_state *route, *next;

	for (route = TAILQ_FIRST(&state->routes); route; route = next) {
		next = TAILQ_NEXT(route, link);
		if (route->route.kind != HBUS_ROUTE_BATCH_TOPIC ||
		    !hbus_route_same_match(&route->route, batch))
			continue;
		if (route->flags & HBUS_TOPIC_DECLARED)
			persist(state, &route->route, HBUS_RECORD_ROUTE_GONE);
		drop(state, route);
	}
}

static int remove_declared(struct hbus_state *state, const struct hbus_wire_route *wire,
			   const char **ret_text)
{
	struct hbus_route_state *route = find(state, wire);

	if (!route || route->route.kind != wire->kind) {
		*ret_text = "there is no such route";
		return HBUS_E_NOT_FOUND;
	}
	if (!(route->flags & HBUS_TOPIC_DECLARED)) {
		*ret_text = "the route is the configuration file's: remove it there";
		return HBUS_E_BUSY;
	}
	persist(state, &route->route, HBUS_RECORD_ROUTE_GONE);
	route->flags &= ~HBUS_TOPIC_DECLARED;
	if (route->flags)
		return 0;
	if (wire->kind == HBUS_ROUTE_BATCH)
		drop_batch_topics(state, wire);
	drop(state, route);
	return 0;
}

static bool may_route(const struct hbus_state *state, const struct hbus_member *member,
		      const struct hbus_wire_route *wire)
{
	if (wire->kind == HBUS_ROUTE_BATCH || wire->topic[0] == '\0')
		return hbus_policy_is_admin(&state->policy, &member->cred);
	return hbus_policy_allows(&state->policy, &member->cred, HBUS_RIGHT_ADMIN, wire->topic,
				  HBUS_UID_NONE);
}

/* To remove a route its topic need not be named. */
static void complete(struct hbus_state *state, struct hbus_wire_route *wire)
{
	const struct hbus_route_state *route = find(state, wire);

	if (route && wire->topic[0] == '\0' && route->route.kind == wire->kind)
		memcpy(wire->topic, route->route.topic, sizeof(wire->topic));
}

void hbus_route_request(struct hbus_state *state, struct hbus_member *member,
			const struct hbus_msg_route *msg)
{
	struct hbus_wire_route wire = msg->route;
	const char *text;
	int r;

	if (msg->header.type == HBUS_MSG_ROUTE_REMOVE)
		complete(state, &wire);
	text = hbus_route_check(&wire);
	if (text) {
		r = HBUS_E_INVALID;
	} else if (!may_route(state, member, &wire)) {
		text = "to change routes needs the admin right on their topic";
		r = HBUS_E_DENIED;
	} else if (msg->header.type == HBUS_MSG_ROUTE_ADD) {
		r = add_declared(state, &wire, &text);
	} else {
		r = remove_declared(state, &wire, &text);
	}
	hbus_state_reply(state, member, &msg->header, r, text, 0);
}

/* ---- configuration and journal ---- */

static void configure_sources(struct hbus_state *state, const struct hbus_config *old)
{
	struct hbus_member *member = NULL;

	while ((member = next_listener(state, member))) {
		send_source_defaults(state, member);
		for (size_t i = 0; i < old->n_sources; i++)
			send_source(state, member, &old->sources[i], true);
		for (size_t i = 0; i < state->config->n_sources; i++)
			send_source(state, member, &state->config->sources[i], false);
	}
}

/* What the file says now stands; what only the old file said goes. */
void hbus_route_configure(struct hbus_state *state, const struct hbus_config *old)
{
	struct hbus_route_state *route, *next;

	TAILQ_FOREACH(route, &state->routes, link)
		route->flags &= ~HBUS_TOPIC_CONFIGURED;
	for (size_t i = 0; i < state->config->n_routes; i++) {
		const struct hbus_wire_route *wire = &state->config->routes[i];

		route = find(state, wire);
		if (route && (route->route.kind != wire->kind ||
			      strcmp(route->route.topic, wire->topic) != 0)) {
			if (route->flags & HBUS_TOPIC_DECLARED)
				persist(state, &route->route, HBUS_RECORD_ROUTE_GONE);
			drop(state, route);
		}
		if (add(state, wire, HBUS_TOPIC_CONFIGURED) < 0)
			hbus_state_log(state, HBUS_LOG_ERROR, NULL,
				       "event=route-refused text=\"no room for a configured route\"");
	}
	for (route = TAILQ_FIRST(&state->routes); route; route = next) {
		next = TAILQ_NEXT(route, link);
		if (route->flags == 0)
			drop(state, route);
	}
	if (old)
		configure_sources(state, old);
}

bool hbus_route_restore(struct hbus_state *state, const struct hbus_journal_record *record)
{
	const char *text;

	return !hbus_route_check(&record->route) && check_add(state, &record->route, &text) == 0 &&
	       add(state, &record->route, HBUS_TOPIC_DECLARED) == 0;
}

void hbus_route_free_all(struct hbus_state *state)
{
	while (!TAILQ_EMPTY(&state->routes))
		drop(state, TAILQ_FIRST(&state->routes));
}
