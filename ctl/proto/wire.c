/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages over a socket. See wire.h. */
#include "ctl/proto/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What must hold for a range of bytes of a message. */
enum field_kind {
	FIELD_STRING = 1, /* ends within its array, zero after its end */
	FIELD_ZERO = 2,
};

struct field {
	uint16_t type;
	uint16_t kind;
	uint16_t offset;
	uint16_t size;
};

#define FIELD(kind, msg_type, body, member)                                                        \
	{HBUS_MSG_##msg_type, kind, offsetof(struct body, member), sizeof(((struct body *)0)->member)}
#define STRING(msg_type, body, member) FIELD(FIELD_STRING, msg_type, body, member)
#define ZERO(msg_type, body, member) FIELD(FIELD_ZERO, msg_type, body, member)

static const struct field fields[] = {
	STRING(HELLO, hbus_msg_hello, name),
	STRING(TOPIC_DECLARE, hbus_msg_topic, name),
	STRING(TOPIC_DECLARE, hbus_msg_topic, type),
	STRING(TOPIC_DECLARE, hbus_msg_topic, content_type),
	ZERO(TOPIC_DECLARE, hbus_msg_topic, reserved),
	STRING(TOPIC_REMOVE, hbus_msg_topic, name),
	STRING(TOPIC_REMOVE, hbus_msg_topic, type),
	STRING(TOPIC_REMOVE, hbus_msg_topic, content_type),
	ZERO(TOPIC_REMOVE, hbus_msg_topic, reserved),
	STRING(RING_CREATE, hbus_msg_ring_create, first_topic),
	STRING(RING_CREATE, hbus_msg_ring_create, type),
	STRING(RING_CREATE, hbus_msg_ring_create, content_type),
	ZERO(RING_CREATE, hbus_msg_ring_create, reserved),
	ZERO(RING_MAPPED, hbus_msg_ring, reserved),
	STRING(RING_TOPIC_ADD, hbus_msg_ring_topic_add, name),
	STRING(RING_TOPIC_ADD, hbus_msg_ring_topic_add, type),
	STRING(RING_TOPIC_ADD, hbus_msg_ring_topic_add, content_type),
	ZERO(RING_CLOSE, hbus_msg_ring, reserved),
	ZERO(SUB_OPEN, hbus_msg_sub_open, reserved),
	ZERO(SUB_SLOTS, hbus_msg_sub_slots, reserved),
	STRING(SUB_FILTER_ADD, hbus_msg_sub_filter, filter),
	ZERO(SUB_FILTER_ADD, hbus_msg_sub_filter, reserved),
	STRING(SUB_FILTER_REMOVE, hbus_msg_sub_filter, filter),
	ZERO(SUB_FILTER_REMOVE, hbus_msg_sub_filter, reserved),
	ZERO(SUB_CLOSE, hbus_msg_sub_close, reserved),
	ZERO(SUB_RING_DONE, hbus_msg_ring, reserved),
	STRING(ROUTE_ADD, hbus_msg_route, route.topic),
	STRING(ROUTE_REMOVE, hbus_msg_route, route.topic),
	ZERO(LIST, hbus_msg_list, reserved),
	STRING(COUNTERS_OFFER, hbus_msg_counters_offer, name),
	STRING(REPLY, hbus_msg_reply, text),
	STRING(RING_OPENED, hbus_msg_ring_opened, publisher_name),
	ZERO(RING_OPENED, hbus_msg_ring_opened, reserved),
	STRING(TOPIC_MATCH, hbus_msg_topic_match, name),
	STRING(TOPIC_MATCH, hbus_msg_topic_match, type),
	STRING(TOPIC_MATCH, hbus_msg_topic_match, content_type),
	ZERO(GATE_ADD, hbus_msg_gate_add, reserved),
	STRING(INTEREST, hbus_msg_interest, name),
	STRING(ROUTE_SET, hbus_msg_route, route.topic),
	STRING(ROUTE_GONE, hbus_msg_route, route.topic),
	STRING(ROW, hbus_msg_row, name),
	STRING(ROW, hbus_msg_row, text),
	STRING(ROW, hbus_msg_row, route.topic),
};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

size_t hbus_wire_size(unsigned int type)
{
#define SIZE_OF(name, body) [HBUS_MSG_##name] = sizeof(body),
	static const uint16_t sizes[HBUS_MSG_TYPE_END] = {HBUS_MSG_TABLE(SIZE_OF)};
#undef SIZE_OF

	return type < HBUS_MSG_TYPE_END ? sizes[type] : 0;
}

const char *hbus_wire_type_name(unsigned int type)
{
#define NAME_OF(name, body) [HBUS_MSG_##name] = #name,
	static const char *const names[HBUS_MSG_TYPE_END] = {HBUS_MSG_TABLE(NAME_OF)};
#undef NAME_OF

	return type < HBUS_MSG_TYPE_END && names[type] ? names[type] : "?";
}

void hbus_wire_init(void *message, enum hbus_msg_type type, uint32_t serial)
{
	struct hbus_msg_header *header = message;
	size_t size = hbus_wire_size(type);

	memset(message, 0, size);
	header->magic = HBUS_PROTO_MAGIC;
	header->type = (uint16_t)type;
	header->size = (uint16_t)size;
	header->serial = serial;
}

bool hbus_wire_put_string(char *to, size_t size, const char *from)
{
	size_t len = from ? strlen(from) : 0;

	if (len >= size)
		return false;
	if (len > 0)
		memcpy(to, from, len);
	return true;
}

/* Least and most descriptors of a type. */
static bool n_fds_fits(const union hbus_msg *message, unsigned int n_fds)
{
	switch (message->header.type) {
	case HBUS_MSG_RING_OFFER:
	case HBUS_MSG_RING_GRANT:
		return n_fds == 2;
	case HBUS_MSG_SUB_SLOTS:
	case HBUS_MSG_COUNTERS_OFFER:
		return n_fds == 1;
	case HBUS_MSG_RING_OPENED:
		return n_fds == (message->ring_opened.has_doorbell ? 3u : 2u);
	case HBUS_MSG_GATE_ADD:
		return n_fds == (message->gate_add.flags & HBUS_GATE_HAS_DOORBELL ? 3u : 2u);
	case HBUS_MSG_ROW:
		return n_fds <= 1;
	default:
		return n_fds == 0;
	}
}

static bool is_zero(const unsigned char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i])
			return false;
	return true;
}

static bool field_holds(const struct field *field, const union hbus_msg *message)
{
	const unsigned char *bytes = message->bytes + field->offset;
	size_t len = 0;

	if (field->kind == FIELD_STRING) {
		len = strnlen((const char *)bytes, field->size);
		if (len == field->size)
			return false;
	}
	return is_zero(bytes + len, field->size - len);
}

bool hbus_wire_is_valid(const union hbus_msg *message, size_t size, unsigned int n_fds)
{
	const struct hbus_msg_header *header = &message->header;

	if (size < sizeof(*header) || header->magic != HBUS_PROTO_MAGIC)
		return false;
	if (size != header->size || size != hbus_wire_size(header->type))
		return false;
	if (header->n_fds != n_fds || !n_fds_fits(message, n_fds))
		return false;
	for (size_t i = 0; i < N_FIELDS; i++)
		if (fields[i].type == header->type && !field_holds(&fields[i], message))
			return false;
	return true;
}

int hbus_wire_send(int socket_fd, void *message, const int *fds, unsigned int n_fds)
{
	union {
		struct cmsghdr align;
		unsigned char bytes[CMSG_SPACE(sizeof(int) * HBUS_MSG_FDS_MAX)];
	} control;
	struct hbus_msg_header *header = message;
	struct iovec iov = {.iov_base = message, .iov_len = header->size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds > HBUS_MSG_FDS_MAX)
		return -EINVAL;
	header->n_fds = n_fds;
	if (n_fds > 0) {
		struct cmsghdr *cmsg;

		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * n_fds);
	}
	if (sendmsg(socket_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

int hbus_wire_fds_take(struct hbus_wire_fds *fds, unsigned int idx)
{
	int fd = idx < HBUS_MSG_FDS_MAX ? fds->fd[idx] : -1;

	if (fd >= 0)
		fds->fd[idx] = -1;
	return fd;
}

void hbus_wire_fds_close(struct hbus_wire_fds *fds)
{
	int saved = errno;

	for (unsigned int i = 0; i < HBUS_MSG_FDS_MAX; i++)
		if (fds->fd[i] >= 0)
			close(fds->fd[i]);
	memset(fds->fd, 0xff, sizeof(fds->fd));
	fds->n = 0;
	errno = saved;
}

/* Keeps the first HBUS_MSG_FDS_MAX descriptors and closes the rest. Return: how many came. */
static unsigned int collect_fds(struct msghdr *msg, struct hbus_wire_fds *fds)
{
	unsigned int n = 0;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		size_t n_here;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		n_here = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n_here; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
			if (n < HBUS_MSG_FDS_MAX)
				fds->fd[n] = fd;
			else
				close(fd);
			n++;
		}
	}
	return n;
}

int hbus_wire_receive(int socket_fd, union hbus_msg *ret_message, struct hbus_wire_fds *ret_fds)
{
	union {
		struct cmsghdr align;
		unsigned char bytes[CMSG_SPACE(sizeof(int) * HBUS_WIRE_FDS_MAX)];
	} control;
	struct iovec iov = {.iov_base = ret_message, .iov_len = sizeof(*ret_message)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t size;

	memset(ret_fds->fd, 0xff, sizeof(ret_fds->fd));
	ret_fds->n = 0;
	size = recvmsg(socket_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (size < 0)
		return errno == EAGAIN || errno == EINTR ? HBUS_WIRE_EMPTY : -errno;
	ret_fds->n = collect_fds(&msg, ret_fds);
	/* A frame of no bytes looks like the end; this protocol has none, so both end the connection. */
	if (size == 0 && ret_fds->n == 0)
		return HBUS_WIRE_CLOSED;
	if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
	    !hbus_wire_is_valid(ret_message, (size_t)size, ret_fds->n)) {
		hbus_wire_fds_close(ret_fds);
		return HBUS_WIRE_INVALID;
	}
	return 0;
}
