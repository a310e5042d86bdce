/* SPDX-License-Identifier: BSD-3-Clause */
/* Administration: topics, routes, lists. Plain requests; see ctl/PROTOCOL.md for what they mean. */
#include <stdlib.h>
#include <string.h>

#include "ctl/client/control.h"
#include "ctl/client/steering.h"
#include "ctl/proto/topic.h"

/* Asked twice because the link broke before the reply: what is not there any more was removed the first time. */
static int removed(const struct hbus_call *call, enum hbus_msg_type type, int r)
{
	bool is_removal = type == HBUS_MSG_TOPIC_REMOVE || type == HBUS_MSG_ROUTE_REMOVE;

	return r == HBUS_E_NOT_FOUND && is_removal && call->is_repeated ? 0 : r;
}

static int topic_request(struct hbus *bus, enum hbus_msg_type type, const char *name, const char *event_type,
			 const char *content_type)
{
	struct hbus_call call = {0};
	union hbus_msg message;
	int r;

	if (!hbus_is_ours(bus))
		return hbus_fail_handle(bus);
	if (!name)
		return hbus_fail(HBUS_E_INVALID, "no topic name");
	r = hbus_topic_check_name(name, strlen(name));
	if (r != 0)
		return hbus_fail(HBUS_E_NAME, "topic name: %s", hbus_topic_strerror(r));
	hbus_wire_init(&message, type, 0);
	if (!hbus_wire_put_string(message.topic.name, sizeof(message.topic.name), name) ||
	    !hbus_wire_put_string(message.topic.type, sizeof(message.topic.type), event_type) ||
	    !hbus_wire_put_string(message.topic.content_type, sizeof(message.topic.content_type), content_type))
		return hbus_fail(HBUS_E_NAME, "a topic's types have at most 63 bytes");
	return removed(&call, type, hbus_call(bus, &message, NULL, 0, &call));
}

int hbus_topic_declare(struct hbus *bus, const char *name, const char *type, const char *content_type)
{
	return topic_request(bus, HBUS_MSG_TOPIC_DECLARE, name, type, content_type);
}

int hbus_topic_remove(struct hbus *bus, const char *name)
{
	return topic_request(bus, HBUS_MSG_TOPIC_REMOVE, name, NULL, NULL);
}

/* -- routes -- */

static int route_to_wire(const struct hbus_route *route, struct hbus_wire_route *ret_wire)
{
	struct hbus_wire_route wire = {
		.family = route->family,
		.prefix_len = route->prefix_len,
		.port = route->port,
		.vlan = route->vlan,
		.kind = route->kind,
		.number = route->number,
	};

	if ((route->family != 4 && route->family != 6) || route->prefix_len > (route->family == 4 ? 32 : 128))
		return hbus_fail(HBUS_E_INVALID, "a route is of family 4 or 6, with a prefix that fits");
	if (strnlen(route->topic, sizeof(route->topic)) == sizeof(route->topic))
		return hbus_fail(HBUS_E_NAME, "a route's topic has no end");
	memcpy(wire.address, route->address, sizeof(wire.address));
	hbus_wire_put_string(wire.topic, sizeof(wire.topic), route->topic);
	*ret_wire = wire;
	return 0;
}

void hbus_route_from_wire(const struct hbus_wire_route *wire, struct hbus_route *ret_route)
{
	*ret_route = (struct hbus_route){
		.family = (uint8_t)wire->family,
		.prefix_len = (uint8_t)wire->prefix_len,
		.port = (uint16_t)wire->port,
		.vlan = (uint16_t)wire->vlan,
		.kind = (uint16_t)wire->kind,
		.number = wire->number,
	};
	memcpy(ret_route->address, wire->address, sizeof(ret_route->address));
	memcpy(ret_route->topic, wire->topic, sizeof(ret_route->topic));
}

static int route_request(struct hbus *bus, enum hbus_msg_type type, const struct hbus_route *route)
{
	struct hbus_call call = {0};
	union hbus_msg message;
	int r;

	if (!hbus_is_ours(bus))
		return hbus_fail_handle(bus);
	if (!route)
		return hbus_fail(HBUS_E_INVALID, "no route");
	hbus_wire_init(&message, type, 0);
	r = route_to_wire(route, &message.route.route);
	return r < 0 ? r : removed(&call, type, hbus_call(bus, &message, NULL, 0, &call));
}

int hbus_route_add(struct hbus *bus, const struct hbus_route *route)
{
	return route_request(bus, HBUS_MSG_ROUTE_ADD, route);
}

int hbus_route_remove(struct hbus *bus, const struct hbus_route *route)
{
	return route_request(bus, HBUS_MSG_ROUTE_REMOVE, route);
}

int hbus_reload(struct hbus *bus)
{
	struct hbus_call call = {0};
	union hbus_msg message;

	if (!hbus_is_ours(bus))
		return hbus_fail_handle(bus);
	hbus_wire_init(&message, HBUS_MSG_RELOAD, 0);
	return hbus_call(bus, &message, NULL, 0, &call);
}

/* -- lists -- */

struct page {
	struct hbus_row rows[HBUS_LIST_PAGE];
	uint32_t n_rows;
};

static void row_take(struct hbus_call *call, const struct hbus_msg_row *wire)
{
	struct page *page = call->context;
	struct hbus_row *row;

	if (!wire) /* from the start: the link broke in between */
		page->n_rows = 0;
	if (!wire || page->n_rows == HBUS_LIST_PAGE)
		return;
	row = &page->rows[page->n_rows++];
	*row = (struct hbus_row){.kind = wire->kind, .flags = wire->flags};
	memcpy(row->value, wire->value, sizeof(row->value));
	memcpy(row->name, wire->name, sizeof(row->name));
	memcpy(row->text, wire->text, sizeof(row->text));
	hbus_route_from_wire(&wire->route, &row->route);
}

static int list_page(struct hbus *bus, uint32_t kind, uint64_t *cursor, struct page *page)
{
	struct hbus_call call = {.on_row = row_take, .context = page};
	union hbus_msg message;
	int r;

	hbus_wire_init(&message, HBUS_MSG_LIST, 0);
	message.list.kind = kind;
	message.list.cursor = *cursor;
	r = hbus_call(bus, &message, NULL, 0, &call);
	if (r == 0)
		*cursor = call.reply.reply.value[1];
	return r;
}

int hbus_list(struct hbus *bus, uint32_t kind, hbus_row_fn row_fn, void *context)
{
	struct page *page;
	uint64_t cursor = 0;
	int r;

	if (!hbus_is_ours(bus))
		return hbus_fail_handle(bus);
	if (!row_fn)
		return hbus_fail(HBUS_E_INVALID, "hbus_list() needs a function");
	page = calloc(1, sizeof(*page));
	if (!page)
		return hbus_fail(HBUS_E_NO_MEMORY, "no memory for a list");
	do {
		r = list_page(bus, kind, &cursor, page);
		for (uint32_t i = 0; i < page->n_rows && r == 0; i++)
			r = row_fn(&page->rows[i], context);
	} while (r == 0 && cursor != 0);
	free(page);
	return r;
}
