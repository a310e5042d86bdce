/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MQTT-SN 1.2: the numbers of the wire.
 *
 * Named as in the specification. What is a choice of ours is in engine.h.
 */
#pragma once

/* Types of messages. */
#define HBUS_SN_ADVERTISE 0x00U
#define HBUS_SN_SEARCHGW 0x01U
#define HBUS_SN_GWINFO 0x02U
#define HBUS_SN_CONNECT 0x04U
#define HBUS_SN_CONNACK 0x05U
#define HBUS_SN_WILLTOPICREQ 0x06U
#define HBUS_SN_WILLTOPIC 0x07U
#define HBUS_SN_WILLMSGREQ 0x08U
#define HBUS_SN_WILLMSG 0x09U
#define HBUS_SN_REGISTER 0x0aU
#define HBUS_SN_REGACK 0x0bU
#define HBUS_SN_PUBLISH 0x0cU
#define HBUS_SN_PUBACK 0x0dU
#define HBUS_SN_PUBCOMP 0x0eU
#define HBUS_SN_PUBREC 0x0fU
#define HBUS_SN_PUBREL 0x10U
#define HBUS_SN_SUBSCRIBE 0x12U
#define HBUS_SN_SUBACK 0x13U
#define HBUS_SN_UNSUBSCRIBE 0x14U
#define HBUS_SN_UNSUBACK 0x15U
#define HBUS_SN_PINGREQ 0x16U
#define HBUS_SN_PINGRESP 0x17U
#define HBUS_SN_DISCONNECT 0x18U
#define HBUS_SN_WILLTOPICUPD 0x1aU
#define HBUS_SN_WILLTOPICRESP 0x1bU
#define HBUS_SN_WILLMSGUPD 0x1cU
#define HBUS_SN_WILLMSGRESP 0x1dU
#define HBUS_SN_ENCAPSULATED 0xfeU

/* Flags. */
#define HBUS_SN_DUP 0x80U
#define HBUS_SN_QOS_MASK 0x60U
#define HBUS_SN_QOS_MINUS_1 0x60U
#define HBUS_SN_QOS_OFF 5U
#define HBUS_SN_RETAIN 0x10U
#define HBUS_SN_WILL 0x08U
#define HBUS_SN_CLEAN 0x04U
#define HBUS_SN_KIND_MASK 0x03U

/* Kinds of topic identifiers. In SUBSCRIBE and UNSUBSCRIBE, normal means a name. */
#define HBUS_SN_KIND_NORMAL 0U
#define HBUS_SN_KIND_PREDEFINED 1U
#define HBUS_SN_KIND_SHORT 2U

/* Return codes. */
#define HBUS_SN_ACCEPTED 0U
#define HBUS_SN_CONGESTION 1U
#define HBUS_SN_INVALID_TOPIC 2U
#define HBUS_SN_NOT_SUPPORTED 3U

#define HBUS_SN_PROTOCOL_ID 0x01U
/* 0 and this are no topic identifiers. */
#define HBUS_SN_TOPIC_ID_NONE 0xffffU
/* A length that does not fit one octet is this octet and two more. */
#define HBUS_SN_LONG_LENGTH 0x01U
