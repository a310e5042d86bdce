/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MQTT-SN messages, taken apart and put together.
 *
 * A datagram is one message: its length field says exactly so many bytes as there are. Everything
 * that can be seen to be wrong in one message alone is refused here. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/mqttsn/mqttsn.h"

/* Octets of a wireless node's address in a forwarder's encapsulation. */
#define HBUS_SN_NODE_MAX 16U

/* Fields that a type does not have are 0. */
struct hbus_sn_message {
	uint8_t type;
	uint8_t flags;
	uint8_t code;                /* return code, radius or gateway id */
	bool has_duration;
	uint16_t duration;
	uint16_t topic_id;           /* also of SUBSCRIBE and UNSUBSCRIBE, unless they have a name */
	uint16_t msg_id;
	const uint8_t *data;         /* client id, topic name, will or payload; in the message */
	size_t data_size;
};

/**
 * hbus_sn_parse() - take a message apart
 *
 * Return: false when it breaks its format, has a type that does not exist, or a flag that its type
 * cannot have.
 */
bool hbus_sn_parse(const uint8_t *bytes, size_t size, struct hbus_sn_message *ret_message);

/* What a forwarder has put around a message. Everything points into the bytes. */
struct hbus_sn_wrapping {
	const uint8_t *node;
	size_t node_size;
	const uint8_t *inner;
	size_t inner_size;
};

bool hbus_sn_is_wrapped(const uint8_t *bytes, size_t size);
/* Return: false when it breaks its format or the node's address is too long. */
bool hbus_sn_unwrap(const uint8_t *bytes, size_t size, struct hbus_sn_wrapping *ret_wrapping);
/* Writes the encapsulation's header into @room. Return: its size. */
size_t hbus_sn_wrap(uint8_t room[3 + HBUS_SN_NODE_MAX], const uint8_t *node, size_t node_size);

/*
 * hbus_sn_build() - put a message together
 * @fixed: what stands between the type and the variable part
 *
 * Return: its size, or 0 when it does not fit.
 */
size_t hbus_sn_build(uint8_t *room, size_t room_size, uint8_t type, const void *fixed,
		     size_t fixed_size, const void *data, size_t data_size);

/*
 * The head of a PUBLISH, without a look at the rest: for those who decide by it alone. @bytes needs
 * to hold only what is there of the first HBUS_SN_PUBLISH_HEAD bytes.
 */
#define HBUS_SN_PUBLISH_HEAD 9U

struct hbus_sn_publish_head {
	uint8_t flags;
	uint8_t head_size;           /* the payload begins there */
	uint16_t topic_id;
};

/* Return: whether @size bytes are a PUBLISH whose length field is right. */
static inline bool hbus_sn_publish_head(const uint8_t *bytes, size_t size,
					struct hbus_sn_publish_head *ret_head)
{
	size_t at, claimed;

	if (size < 7)
		return false;
	if (bytes[0] == HBUS_SN_LONG_LENGTH) {
		at = 3;
		claimed = (size_t)(bytes[1] << 8 | bytes[2]);
		if (size < HBUS_SN_PUBLISH_HEAD)
			return false;
	} else {
		at = 1;
		claimed = bytes[0];
	}
	if (claimed != size || bytes[at] != HBUS_SN_PUBLISH)
		return false;
	ret_head->flags = bytes[at + 1];
	ret_head->topic_id = (uint16_t)(bytes[at + 2] << 8 | bytes[at + 3]);
	ret_head->head_size = (uint8_t)(at + 6);
	return true;
}

/* 0, 1, 2, or 3 for what is called -1. */
static inline uint8_t hbus_sn_qos(uint8_t flags)
{
	return (uint8_t)((flags & HBUS_SN_QOS_MASK) >> HBUS_SN_QOS_OFF);
}

/* Of a PUBLISH: may it be judged by its topic alone, without what the gateway knows of the client? */
static inline bool hbus_sn_is_plain(uint8_t flags)
{
	uint8_t qos = flags & HBUS_SN_QOS_MASK, kind = flags & HBUS_SN_KIND_MASK;

	if (flags & (HBUS_SN_RETAIN | HBUS_SN_WILL | HBUS_SN_CLEAN))
		return false;
	if (qos == HBUS_SN_QOS_MINUS_1)
		return kind == HBUS_SN_KIND_PREDEFINED || kind == HBUS_SN_KIND_SHORT;
	return qos == 0 && kind <= HBUS_SN_KIND_SHORT;
}
