/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages as bytes: what may come in at all, how replies go out, and replies that must wait. */
#include <stdlib.h>
#include <string.h>

#include "ctl/daemon/state_int.h"

/* ---- what comes in ---- */

struct message_type {
	uint16_t size;
	uint16_t n_fds;
	uint16_t strings[3][2];	 /* offset, size; size 0 ends */
	uint16_t reserved[2][2]; /* likewise: bytes that are zero */
};

#define SPAN(type, field) { offsetof(struct type, field), sizeof(((struct type *)0)->field) }

/* What clients may send. Other types have size 0 here and are refused. */
static const struct message_type types[HBUS_MSG_TYPE_END] = {
	[HBUS_MSG_HELLO] = { sizeof(struct hbus_msg_hello), 0, { SPAN(hbus_msg_hello, name) } },
	[HBUS_MSG_TOPIC_DECLARE] = { sizeof(struct hbus_msg_topic), 0,
		{ SPAN(hbus_msg_topic, name), SPAN(hbus_msg_topic, type),
		  SPAN(hbus_msg_topic, content_type) },
		{ SPAN(hbus_msg_topic, flags), SPAN(hbus_msg_topic, reserved) } },
	[HBUS_MSG_TOPIC_REMOVE] = { sizeof(struct hbus_msg_topic), 0,
		{ SPAN(hbus_msg_topic, name), SPAN(hbus_msg_topic, type),
		  SPAN(hbus_msg_topic, content_type) },
		{ SPAN(hbus_msg_topic, flags), SPAN(hbus_msg_topic, reserved) } },
	[HBUS_MSG_RING_CREATE] = { sizeof(struct hbus_msg_ring_create), 0,
		{ SPAN(hbus_msg_ring_create, first_topic), SPAN(hbus_msg_ring_create, type),
		  SPAN(hbus_msg_ring_create, content_type) },
		{ SPAN(hbus_msg_ring_create, reserved) } },
	[HBUS_MSG_RING_MAPPED] = { sizeof(struct hbus_msg_ring), 0, { { 0 } },
		{ SPAN(hbus_msg_ring, sub_id), SPAN(hbus_msg_ring, reserved) } },
	[HBUS_MSG_RING_TOPIC_ADD] = { sizeof(struct hbus_msg_ring_topic_add), 0,
		{ SPAN(hbus_msg_ring_topic_add, name), SPAN(hbus_msg_ring_topic_add, type),
		  SPAN(hbus_msg_ring_topic_add, content_type) } },
	[HBUS_MSG_RING_CLOSE] = { sizeof(struct hbus_msg_ring), 0, { { 0 } },
		{ SPAN(hbus_msg_ring, sub_id), SPAN(hbus_msg_ring, reserved) } },
	[HBUS_MSG_RING_OFFER] = { sizeof(struct hbus_msg_ring_offer), 2, { { 0 } }, { { 0 } } },
	[HBUS_MSG_SUB_OPEN] = { sizeof(struct hbus_msg_sub_open), 0, { { 0 } },
		{ SPAN(hbus_msg_sub_open, reserved) } },
	[HBUS_MSG_SUB_SLOTS] = { sizeof(struct hbus_msg_sub_slots), 1, { { 0 } },
		{ SPAN(hbus_msg_sub_slots, reserved) } },
	[HBUS_MSG_SUB_FILTER_ADD] = { sizeof(struct hbus_msg_sub_filter), 0,
		{ SPAN(hbus_msg_sub_filter, filter) }, { SPAN(hbus_msg_sub_filter, reserved) } },
	[HBUS_MSG_SUB_FILTER_REMOVE] = { sizeof(struct hbus_msg_sub_filter), 0,
		{ SPAN(hbus_msg_sub_filter, filter) }, { SPAN(hbus_msg_sub_filter, reserved) } },
	[HBUS_MSG_SUB_CLOSE] = { sizeof(struct hbus_msg_sub_close), 0, { { 0 } },
		{ SPAN(hbus_msg_sub_close, reserved) } },
	[HBUS_MSG_SUB_HELD] = { sizeof(struct hbus_msg_sub_held), 0, { { 0 } }, { { 0 } } },
	[HBUS_MSG_SUB_RING_DONE] = { sizeof(struct hbus_msg_ring), 0, { { 0 } },
		{ SPAN(hbus_msg_ring, reserved) } },
	[HBUS_MSG_ROUTE_ADD] = { sizeof(struct hbus_msg_route), 0,
		{ SPAN(hbus_msg_route, route.topic) } },
	[HBUS_MSG_ROUTE_REMOVE] = { sizeof(struct hbus_msg_route), 0,
		{ SPAN(hbus_msg_route, route.topic) } },
	[HBUS_MSG_LIST] = { sizeof(struct hbus_msg_list), 0, { { 0 } },
		{ SPAN(hbus_msg_list, reserved) } },
	[HBUS_MSG_COUNTERS_OFFER] = { sizeof(struct hbus_msg_counters_offer), 1,
		{ SPAN(hbus_msg_counters_offer, name) } },
	[HBUS_MSG_RESUMED] = { sizeof(struct hbus_msg_simple), 0, { { 0 } }, { { 0 } } },
	[HBUS_MSG_RELOAD] = { sizeof(struct hbus_msg_simple), 0, { { 0 } }, { { 0 } } },
	[HBUS_MSG_RING_ACCEPT] = { sizeof(struct hbus_msg_ring_accept), 0, { { 0 } }, { { 0 } } },
	[HBUS_MSG_GATE_ADDED] = { sizeof(struct hbus_msg_gate), 0, { { 0 } }, { { 0 } } },
	[HBUS_MSG_GATE_REMOVED] = { sizeof(struct hbus_msg_gate), 0, { { 0 } }, { { 0 } } },
};

static bool is_zero(const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i])
			return false;
	return true;
}

const char *hbus_msg_check(const void *frame, size_t size, size_t n_fds)
{
	const struct hbus_msg_header *header = frame;
	const struct message_type *type;

	if (size < sizeof(*header))
		return "a frame is at least a header";
	if (header->magic != HBUS_PROTO_MAGIC)
		return "a frame begins with the magic number";
	if (header->type >= HBUS_MSG_TYPE_END || types[header->type].size == 0)
		return "clients do not send messages of this type";
	type = &types[header->type];
	if (header->size != size || size != type->size)
		return "the message is not as long as its type says";
	if (header->n_fds != n_fds || n_fds != type->n_fds)
		return "the message has not as many descriptors as its type says";
	for (size_t i = 0; i < 3 && type->strings[i][1]; i++)
		if (!memchr((const char *)frame + type->strings[i][0], 0, type->strings[i][1]))
			return "a string does not end within its field";
	for (size_t i = 0; i < 2 && type->reserved[i][1]; i++)
		if (!is_zero((const char *)frame + type->reserved[i][0], type->reserved[i][1]))
			return "reserved bytes are not zero";
	if (header->type < HBUS_MSG_RING_ACCEPT && header->serial == 0)
		return "a request has a serial";
	return NULL;
}

/* ---- what goes out ---- */

static uint16_t size_of(enum hbus_msg_type type)
{
	switch (type) {
#define HBUS_MSG_SIZE_CASE(name, body)                                                             \
	case HBUS_MSG_##name:                                                                      \
		return sizeof(body);
		HBUS_MSG_TABLE(HBUS_MSG_SIZE_CASE)
#undef HBUS_MSG_SIZE_CASE
	default:
		return 0;
	}
}

void hbus_msg_init(void *msg, enum hbus_msg_type type)
{
	struct hbus_msg_header *header = msg;

	memset(msg, 0, size_of(type));
	header->magic = HBUS_PROTO_MAGIC;
	header->type = (uint16_t)type;
	header->size = size_of(type);
}

void hbus_state_send(struct hbus_state *state, struct hbus_member *member, void *msg,
		     struct hbus_fd *const *fds, size_t n_fds)
{
	struct hbus_msg_header *header = msg;

	header->n_fds = (uint32_t)n_fds;
	if (member->conn)
		state->ops.send(state->ops.context, member->conn, msg, fds, n_fds);
}

static void send_reply(struct hbus_state *state, struct hbus_member *member, uint32_t serial,
		       uint16_t type, int status, const char *text, const uint64_t value[4])
{
	struct hbus_msg_reply reply;

	hbus_msg_init(&reply, HBUS_MSG_REPLY);
	reply.header.serial = serial;
	reply.status = status;
	reply.request_type = type;
	memcpy(reply.value, value, sizeof(reply.value));
	if (status && text)
		hbus_text_copy(reply.text, sizeof(reply.text), text);
	hbus_state_send(state, member, &reply, NULL, 0);
}

void hbus_state_reply(struct hbus_state *state, struct hbus_member *member,
		      const struct hbus_msg_header *request, int status, const char *text,
		      uint64_t value0)
{
	const uint64_t value[4] = { value0 };

	send_reply(state, member, request->serial, request->type, status, text, value);
}

/* ---- replies that wait ---- */

void hbus_pending_begin(struct hbus_state *state, struct hbus_member *member,
			const struct hbus_msg_header *request, struct hbus_pending *pending)
{
	pending->member = member;
	pending->serial = request->serial;
	pending->request_type = request->type;
	pending->n_waiting = 1;
	TAILQ_INSERT_TAIL(&member->pendings, pending, link);
	hbus_deadline_arm(&state->deadlines, &pending->deadline, HBUS_WAIT_REPLY, state->now_ns);
	state->n_pending++;
}

struct hbus_pending *hbus_pending_new(struct hbus_state *state, struct hbus_member *member,
				      const struct hbus_msg_header *request)
{
	struct hbus_pending *pending = calloc(1, sizeof(*pending));

	if (pending)
		hbus_pending_begin(state, member, request, pending);
	return pending;
}

void hbus_pending_drop(struct hbus_state *state, struct hbus_pending *pending)
{
	if (!pending)
		return;
	TAILQ_REMOVE(&pending->member->pendings, pending, link);
	hbus_deadline_disarm(&state->deadlines, &pending->deadline);
	state->n_pending--;
	free(pending);
}

static void pending_reply(struct hbus_state *state, struct hbus_pending *pending)
{
	struct hbus_member *member = pending->member;

	if (!member)
		return;
	pending->member = NULL;
	TAILQ_REMOVE(&member->pendings, pending, link);
	hbus_deadline_disarm(&state->deadlines, &pending->deadline);
	send_reply(state, member, pending->serial, pending->request_type, pending->status,
		   pending->text, pending->value);
}

void hbus_pending_done(struct hbus_state *state, struct hbus_pending *pending)
{
	if (!pending || --pending->n_waiting > 0)
		return;
	pending_reply(state, pending);
	if (pending->sub) {
		pending->sub->closing = NULL;
		hbus_sub_free(state, pending->sub);
	}
	state->n_pending--;
	free(pending);
}

/* The reply goes out; the object stays until those who refer to it have said so. */
void hbus_pending_expired(struct hbus_state *state, struct hbus_pending *pending)
{
	pending_reply(state, pending);
}
