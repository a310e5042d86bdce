/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages of clients: checked, in their order, and given to what they are about. */
#include <string.h>
#include <unistd.h>

#include "ctl/daemon/state_int.h"

static void reload(struct hbus_state *state, struct hbus_member *member,
		   const struct hbus_msg_header *request)
{
	char text[HBUS_TEXT_MAX + 1] = "";
	int status;

	if (!hbus_policy_is_admin(&state->policy, &member->cred)) {
		hbus_state_reply(state, member, request, HBUS_E_DENIED,
				 "to reload the configuration needs the admin right", 0);
		return;
	}
	status = state->ops.reload(state->ops.context, text, sizeof(text));
	hbus_state_reply(state, member, request, status, text, 0);
}

/* What a publisher says of its rings and their gates. False: not of that kind. */
static bool take_of_publisher(struct hbus_state *state, struct hbus_member *member, const void *msg,
			      struct hbus_fd *const *fds)
{
	switch (((const struct hbus_msg_header *)msg)->type) {
	case HBUS_MSG_RING_CREATE:
		hbus_ring_create(state, member, msg);
		return true;
	case HBUS_MSG_RING_MAPPED:
		hbus_ring_mapped(state, member, msg);
		return true;
	case HBUS_MSG_RING_TOPIC_ADD:
		hbus_ring_topic_add(state, member, msg);
		return true;
	case HBUS_MSG_RING_CLOSE:
		hbus_ring_close(state, member, msg);
		return true;
	case HBUS_MSG_RING_OFFER:
		hbus_ring_offer(state, member, msg, fds);
		return true;
	case HBUS_MSG_GATE_ADDED:
	case HBUS_MSG_GATE_REMOVED:
		hbus_attachment_gate_answer(state, member, msg);
		return true;
	default:
		return false;
	}
}

/* What a subscriber says of its filters, its slots and the rings that it reads. False: not of that kind. */
static bool take_of_subscriber(struct hbus_state *state, struct hbus_member *member, const void *msg,
			       struct hbus_fd *const *fds)
{
	switch (((const struct hbus_msg_header *)msg)->type) {
	case HBUS_MSG_SUB_OPEN:
		hbus_sub_open(state, member, msg);
		return true;
	case HBUS_MSG_SUB_SLOTS:
		hbus_sub_slots(state, member, msg, fds[0]);
		return true;
	case HBUS_MSG_SUB_FILTER_ADD:
		hbus_sub_filter_add(state, member, msg);
		return true;
	case HBUS_MSG_SUB_FILTER_REMOVE:
		hbus_sub_filter_remove(state, member, msg);
		return true;
	case HBUS_MSG_SUB_CLOSE:
		hbus_sub_close(state, member, msg);
		return true;
	case HBUS_MSG_SUB_HELD:
		hbus_sub_held(state, member, msg);
		return true;
	case HBUS_MSG_SUB_RING_DONE:
		hbus_sub_ring_done(state, member, msg);
		return true;
	case HBUS_MSG_RING_ACCEPT:
		hbus_attachment_accept(state, member, msg);
		return true;
	default:
		return false;
	}
}

static void take_request(struct hbus_state *state, struct hbus_member *member, const void *msg,
			 struct hbus_fd *const *fds)
{
	switch (((const struct hbus_msg_header *)msg)->type) {
	case HBUS_MSG_TOPIC_DECLARE:
	case HBUS_MSG_TOPIC_REMOVE:
		hbus_topic_request(state, member, msg);
		break;
	case HBUS_MSG_ROUTE_ADD:
	case HBUS_MSG_ROUTE_REMOVE:
		hbus_route_request(state, member, msg);
		break;
	case HBUS_MSG_LIST:
		hbus_list_request(state, member, msg);
		break;
	case HBUS_MSG_COUNTERS_OFFER:
		hbus_counters_offer(state, member, msg, fds[0]);
		break;
	case HBUS_MSG_RESUMED:
		hbus_member_resumed(state, member, msg);
		break;
	case HBUS_MSG_RELOAD:
		reload(state, member, msg);
		break;
	default:
		break;
	}
}

/* Return: who it is now, as of hbus_state_message(). */
static struct hbus_member *dispatch(struct hbus_state *state, struct hbus_member *member,
				    const void *msg, struct hbus_fd *const *fds)
{
	if (((const struct hbus_msg_header *)msg)->type == HBUS_MSG_HELLO)
		return hbus_member_hello(state, member, msg);
	if (!take_of_publisher(state, member, msg, fds) && !take_of_subscriber(state, member, msg, fds))
		take_request(state, member, msg, fds);
	return member;
}

/* What this member may not send now, or NULL. */
static const char *check_order(const struct hbus_member *member, uint16_t type)
{
	if ((type == HBUS_MSG_HELLO) != (member->phase == HBUS_MEMBER_NEW))
		return "HELLO comes first, and once";
	if ((type == HBUS_MSG_RESUMED || type == HBUS_MSG_SUB_HELD || type == HBUS_MSG_RING_OFFER) &&
	    member->phase != HBUS_MEMBER_RESUMING)
		return "only a member that comes back says what it holds";
	return NULL;
}

static void protocol_error(struct hbus_state *state, struct hbus_member *member, const void *frame,
			   size_t size, const char *text)
{
	struct hbus_msg_header header = { 0 };
	void *conn = member->conn;

	state->n_protocol_errors++;
	if (size >= sizeof(header))
		memcpy(&header, frame, sizeof(header));
	hbus_state_log(state, HBUS_LOG_WARNING, member, "event=protocol-error text=\"%s\" type=%u",
		       text, header.type);
	hbus_state_reply(state, member, &header, HBUS_E_PROTOCOL, text, 0);
	state->ops.disconnect(state->ops.context, conn);
	hbus_state_hangup(state, member, state->now_ns);
}

static size_t wrap_fds(const int *fds, size_t n_fds, struct hbus_fd *handles[HBUS_MSG_FDS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < n_fds; i++) {
		if (n == HBUS_MSG_FDS_MAX) {
			close(fds[i]);
			continue;
		}
		handles[n] = hbus_fd_new(fds[i]);
		n += handles[n] != NULL;
	}
	return n;
}

struct hbus_member *hbus_state_message(struct hbus_state *state, struct hbus_member *member,
				       const void *frame, size_t size, const int *fds, size_t n_fds,
				       uint64_t now_ns)
{
	_Alignas(8) char msg[HBUS_MSG_SIZE_MAX];
	struct hbus_fd *handles[HBUS_MSG_FDS_MAX] = { NULL };
	size_t n_handles = wrap_fds(fds, n_fds, handles);
	const char *error;

	state->now_ns = now_ns;
	error = size > sizeof(msg) ? "the frame is too long" : hbus_msg_check(frame, size, n_fds);
	if (!error) {
		memcpy(msg, frame, size);
		error = check_order(member, ((struct hbus_msg_header *)msg)->type);
	}
	if (error) {
		protocol_error(state, member, frame, size, error);
		member = NULL;
	} else if (n_handles != n_fds) {
		hbus_state_reply(state, member, (struct hbus_msg_header *)msg, HBUS_E_NO_MEMORY, HBUS_NO_MEMORY_TEXT, 0);
	} else {
		member = dispatch(state, member, msg, handles);
	}
	for (size_t i = 0; i < n_handles; i++)
		hbus_fd_put(handles[i]);
	return member;
}
