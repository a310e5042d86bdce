/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The door: where a poll loop meets the MQTT-SN gateway.
 *
 * A PUBLISH of QoS 0 or -1 whose topic the paths know is the loop's own to publish, or to drop when
 * nobody wants it. Everything else goes through the inbox to the gateway's thread, and whole frames come
 * back through the outbox for the loop to send.
 *
 * No DPDK types. Thread: hbus_sn_door_*() are the loop's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/mqttsn/engine.h"
#include "dataplane/mqttsn/mailbox.h"
#include "dataplane/mqttsn/paths.h"
#include "dataplane/net.h"

/* ---- limits ---------------------------------------------------------------------------------- */

#define HBUS_SN_INBOX_SLOTS 2048U
#define HBUS_SN_OUTBOX_SLOTS 2048U
/* Letters of one address that may wait in an inbox, and into how many classes a hash puts addresses. */
#define HBUS_SN_INBOX_SHARE (HBUS_SN_INBOX_SLOTS / 4)
#define HBUS_SN_INBOX_CLASSES 1024U
/* Ethernet, two tags, IPv6 and UDP in front of a message. */
#define HBUS_SN_FRAME_MAX (14U + 8U + 40U + 8U + HBUS_SN_MESSAGE_MAX)

/* ---- types ----------------------------------------------------------------------------------- */

struct hbus_sn_letter {              /* into the gateway */
	struct hbus_sn_peer peer;
	struct hbus_sn_link link;
	uint32_t size;
	uint8_t bytes[HBUS_SN_MESSAGE_MAX];
};

struct hbus_sn_frame {               /* out of it */
	uint16_t queue_idx;          /* among the queues of the loop */
	uint16_t size;
	uint8_t bytes[HBUS_SN_FRAME_MAX];
};

struct hbus_sn_door {
	struct hbus_sn_paths *paths; /* borrowed */
	uint8_t loop_idx;
	uint16_t queue_idx;          /* of the burst under way */
	struct hbus_sn_mailbox inbox;
	struct hbus_sn_mailbox outbox;
	/* -- the loop's own: so that who floods fills his share of the inbox and not the others' -- */
	uint64_t settled;            /* letters before it do not count as waiting any more */
	uint16_t waiting[HBUS_SN_INBOX_CLASSES];
	uint16_t class_of[HBUS_SN_INBOX_SLOTS]; /* of the letter in each slot */
	/* -- written by the loop -- */
	_Atomic uint64_t n_sent;
	_Atomic uint64_t n_unsent;   /* the port did not take them, or there was no buffer */
};

/* What the loop is to do with a datagram. */
struct hbus_sn_verdict {
	uint32_t number;             /* publish to this topic; 0: pass it in */
	bool is_wanted;
	uint8_t head_size;           /* the payload begins there */
};

/* ---- functions --------------------------------------------------------------------------------- */

int hbus_sn_door_init(struct hbus_sn_door *door, struct hbus_sn_paths *paths, uint8_t loop_idx);
void hbus_sn_door_deinit(struct hbus_sn_door *door);

/* Looks at the head of the message only. */
struct hbus_sn_verdict hbus_sn_door_judge(struct hbus_sn_door *door, const struct hbus_packet *packet,
					  const uint8_t *payload, uint32_t payload_size,
					  uint64_t now_ns);

/* The same for one over IPv4 without a VLAN: @source is 4 bytes, @port in host order. */
struct hbus_sn_verdict hbus_sn_door_judge_ipv4(struct hbus_sn_door *door, const uint8_t *source,
					       uint16_t port, const uint8_t *payload,
					       uint32_t payload_size, uint64_t now_ns);

/**
 * hbus_sn_door_pass() - to the gateway
 *
 * Return: ACCEPTED, MALFORMED, TOO_LONG, or GATEWAY_FULL: of all, or of this address alone.
 */
enum hbus_reason hbus_sn_door_pass(struct hbus_sn_door *door, const struct hbus_packet *packet,
				   const uint8_t *payload, uint32_t payload_size);
