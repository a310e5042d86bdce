/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control protocol between clients and hugebusd, version 1.0
 *
 * One SOCK_SEQPACKET frame is one message: a struct hbus_msg_header and the body of its type, of
 * exactly the size of that struct. File descriptors travel by SCM_RIGHTS, in the order
 * that the comment of the message names. ctl/PROTOCOL.md tells the story; this header is the ABI.
 *
 * Every string is NUL-terminated within its array and zero-padded. Reserved bytes are zero.
 * A request (client to daemon) is answered by HBUS_MSG_REPLY with the request's serial. What the
 * daemon sends on its own has serial 0. Little endian.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

#define HBUS_PROTO_MAGIC 0x31424845u
#define HBUS_PROTO_MAJOR 1u
#define HBUS_PROTO_MINOR 0u

/* -- limits -- */
#define HBUS_TOPIC_NAME_MAX 255u
#define HBUS_TOPIC_LEVELS_MAX 16u
#define HBUS_CLIENT_NAME_MAX 63u
#define HBUS_TEXT_MAX 191u
#define HBUS_MSG_SIZE_MAX 1024u
#define HBUS_MSG_FDS_MAX 4u
#define HBUS_SUBSCRIBERS_PER_CLIENT_MAX 256u
#define HBUS_FILTERS_PER_SUBSCRIBER_MAX 4096u
#define HBUS_SLOT_MEMFDS_MAX 8u
#define HBUS_RINGS_PER_SUBSCRIBER_MAX 4096u
#define HBUS_SKIP_IDS 128u

enum hbus_msg_type {
	HBUS_MSG_NONE = 0,
	/* client -> daemon, requests */
	HBUS_MSG_HELLO = 1,
	HBUS_MSG_TOPIC_DECLARE = 2,
	HBUS_MSG_TOPIC_REMOVE = 3,
	HBUS_MSG_RING_CREATE = 4,
	HBUS_MSG_RING_MAPPED = 5,
	HBUS_MSG_RING_TOPIC_ADD = 6,
	HBUS_MSG_RING_CLOSE = 7,
	HBUS_MSG_RING_OFFER = 8,
	HBUS_MSG_SUB_OPEN = 9,
	HBUS_MSG_SUB_SLOTS = 10,
	HBUS_MSG_SUB_FILTER_ADD = 11,
	HBUS_MSG_SUB_FILTER_REMOVE = 12,
	HBUS_MSG_SUB_CLOSE = 13,
	HBUS_MSG_SUB_HELD = 14,
	HBUS_MSG_SUB_RING_DONE = 15,
	HBUS_MSG_ROUTE_ADD = 16,
	HBUS_MSG_ROUTE_REMOVE = 17,
	HBUS_MSG_LIST = 18,
	HBUS_MSG_COUNTERS_OFFER = 19,
	HBUS_MSG_RESUMED = 20,
	HBUS_MSG_RELOAD = 21,
	/* client -> daemon, answers to what the daemon asked (serial is the daemon's) */
	HBUS_MSG_RING_ACCEPT = 32,
	HBUS_MSG_GATE_ADDED = 33,
	HBUS_MSG_GATE_REMOVED = 34,
	/* daemon -> client */
	HBUS_MSG_REPLY = 64,
	HBUS_MSG_RING_GRANT = 65,
	HBUS_MSG_RING_OPENED = 66,
	HBUS_MSG_RING_LIVE = 67,
	HBUS_MSG_RING_ENDED = 68,
	HBUS_MSG_TOPIC_MATCH = 69,
	HBUS_MSG_TOPIC_SKIP = 70,
	HBUS_MSG_GATE_ADD = 71,
	HBUS_MSG_GATE_REMOVE = 72,
	HBUS_MSG_INTEREST = 73,
	HBUS_MSG_ROUTE_SET = 74,
	HBUS_MSG_ROUTE_GONE = 75,
	HBUS_MSG_ROW = 76,
	HBUS_MSG_SOURCE_RULE = 77,
	HBUS_MSG_RING_TOPICS = 78,
	HBUS_MSG_TYPE_END
};

struct hbus_msg_header {
	uint32_t magic;  /* HBUS_PROTO_MAGIC */
	uint16_t type;   /* enum hbus_msg_type */
	uint16_t size;   /* of header and body */
	uint32_t serial; /* of the request; 0 when the daemon speaks first and wants no answer */
	uint32_t n_fds;  /* that travel with it */
};

struct hbus_token {
	uint8_t bytes[16];
};

#define HBUS_CLIENT_WANTS_INTEREST 0x1u /* send INTEREST for the topics of my rings */
#define HBUS_CLIENT_WANTS_ROUTES 0x2u   /* send ROUTE_SET, ROUTE_GONE and SOURCE_RULE (needs the admin right) */

/* First message of a connection. A zero token is a new member; else the member comes back. */
struct hbus_msg_hello {
	struct hbus_msg_header header;
	uint16_t major;
	uint16_t minor;
	uint32_t layout_version;
	uint32_t layout_hash;
	uint32_t flags;          /* HBUS_CLIENT_* */
	struct hbus_token token; /* zero, or what the REPLY of the first HELLO gave */
	char name[HBUS_CLIENT_NAME_MAX + 1]; /* of the program, for people */
};

/* value[] of a REPLY by request: see HBUS_MSG_REPLY's comments in ctl/PROTOCOL.md. */
struct hbus_msg_reply {
	struct hbus_msg_header header;
	int32_t status;        /* 0, or enum hbus_error (negative) */
	uint16_t request_type;
	uint16_t minor;        /* HELLO: what both speak */
	uint64_t value[4];
	struct hbus_token token;
	char text[HBUS_TEXT_MAX + 1]; /* a sentence when status is not 0 */
};

/* REPLY value[0] = topic id. Declares at run time; survives a restart. */
struct hbus_msg_topic {
	struct hbus_msg_header header; /* TOPIC_DECLARE, TOPIC_REMOVE */
	uint32_t flags;                /* 0 */
	uint32_t reserved;
	char name[256];
	char type[64];         /* CloudEvents type, may be empty */
	char content_type[64]; /* CloudEvents datacontenttype, may be empty */
};

#define HBUS_RING_WANT_SMALL_PAGES 0x1u /* 4 KiB pages, do not try 2 MiB */
#define HBUS_RING_WANT_ISOLATED 0x2u
#define HBUS_RING_WANT_HUGE_ONLY 0x4u /* an error rather than the fallback */

/*
 * Asks for a ring that will carry first_topic (it fixes the ring's read policy).
 * Answered by RING_GRANT (fds: header read-write, data read-write), or by a REPLY with the error.
 * The client maps, populates, and sends RING_MAPPED; the REPLY to that says the ring is announced:
 * value[0] = topic id of first_topic. Gates of matching reliable subscribers come as GATE_ADD between
 * RING_MAPPED and its REPLY and must be installed before the first publish.
 */
struct hbus_msg_ring_create {
	struct hbus_msg_header header;
	uint64_t capacity; /* bytes, power of two; 0 = the daemon's default */
	uint64_t start;    /* first position, for tests; else 0 */
	uint32_t flags;    /* HBUS_RING_WANT_* */
	uint32_t reserved;
	char first_topic[256];
	char type[64];
	char content_type[64];
};

struct hbus_wire_geometry {
	uint64_t ring_id;
	uint64_t capacity;
	uint64_t start;
	uint32_t layout_version;
	uint32_t layout_hash;
	uint32_t is_huge;
	uint32_t is_isolated;
};

/* serial = the RING_CREATE's. fds: header, data (both read-write). */
struct hbus_msg_ring_grant {
	struct hbus_msg_header header;
	struct hbus_wire_geometry geometry;
	struct hbus_token token; /* the owner shows it when it offers the ring to a restarted daemon */
};

/* RING_MAPPED, RING_CLOSE, SUB_RING_DONE (with sub_id): names one ring. */
struct hbus_msg_ring {
	struct hbus_msg_header header;
	uint64_t ring_id;
	uint32_t sub_id; /* SUB_RING_DONE only */
	uint32_t reserved;
};

/* REPLY value[0] = topic id. HBUS_E_POLICY: the topic's readers differ, take another ring. */
struct hbus_msg_ring_topic_add {
	struct hbus_msg_header header;
	uint64_t ring_id;
	char name[256];
	char type[64];
	char content_type[64];
};

/*
 * After a restart: fds header, data, the owner's (opened read-write, sealed). The ring's topics
 * follow as RING_TOPIC_ADD. REPLY value[0] = 1 when the daemon knew the ring.
 */
struct hbus_msg_ring_offer {
	struct hbus_msg_header header;
	struct hbus_wire_geometry geometry;
	struct hbus_token token;
};

#define HBUS_SUB_RELIABLE 0x1u
#define HBUS_SUB_DOORBELL 0x2u /* wants a socket per publisher that becomes readable */

struct hbus_msg_sub_open {
	struct hbus_msg_header header;
	uint32_t sub_id; /* chosen by the client, unique in its connection, not 0 */
	uint32_t flags;  /* HBUS_SUB_* */
	uint32_t stall_ms; /* how long a reliable one may hold a publisher; 0 = the daemon's default */
	uint32_t reserved;
};

/* fds: a memfd of n_slots * 128 bytes, fully allocated, sealed SHRINK GROW FUTURE_WRITE SEAL. */
struct hbus_msg_sub_slots {
	struct hbus_msg_header header;
	uint32_t sub_id;
	uint32_t memfd_idx; /* 0, 1, 2... */
	uint32_t n_slots;
	uint32_t reserved;
};

struct hbus_msg_sub_filter {
	struct hbus_msg_header header; /* SUB_FILTER_ADD, SUB_FILTER_REMOVE */
	uint32_t sub_id;
	uint32_t reserved;
	uint64_t covers_from; /* ADD after a restart: value[2] of its first REPLY; else 0 */
	char filter[256];
};

struct hbus_msg_sub_close {
	struct hbus_msg_header header;
	uint32_t sub_id;
	uint32_t reserved;
};

/* After a restart, before RESUMED: this subscriber still maps this ring in this slot. */
struct hbus_msg_sub_held {
	struct hbus_msg_header header;
	uint64_t ring_id;
	uint64_t gate_id;
	uint32_t sub_id;
	uint32_t memfd_idx;
	uint32_t slot_idx;
	uint32_t attach_idx;
};

struct hbus_wire_route {
	uint8_t address[16];    /* IPv6, or IPv4 in the first four bytes */
	uint32_t family;        /* 4 or 6 */
	uint32_t prefix_len;
	uint32_t port;          /* 0 = any */
	uint32_t vlan;          /* 0 = untagged, 1..4094, HBUS_ROUTE_VLAN_ANY */
	uint32_t kind;          /* HBUS_ROUTE_* */
	uint32_t number;        /* BATCH_TOPIC: the sender's topic number */
	char topic[256];        /* empty for BATCH */
};

#define HBUS_ROUTE_VLAN_ANY 0xffffu
#define HBUS_ROUTE_TOPIC 1u       /* every datagram is one event of this topic */
#define HBUS_ROUTE_BATCH 2u       /* datagrams are in the batch format */
#define HBUS_ROUTE_BATCH_TOPIC 3u /* on the batch route of the same destination: number -> topic */

/* ROUTE_ADD, ROUTE_REMOVE (client), ROUTE_SET, ROUTE_GONE (daemon). */
struct hbus_msg_route {
	struct hbus_msg_header header;
	struct hbus_wire_route route;
};

/* Daemon to ingress: allow or deny a source, or set the token bucket (family 0). */
struct hbus_msg_source_rule {
	struct hbus_msg_header header;
	uint8_t address[16];
	uint32_t family;     /* 4, 6; 0 = defaults below */
	uint32_t prefix_len;
	uint32_t is_deny;    /* of the rule; family 0: of sources without a rule */
	uint32_t is_removed;
	uint64_t rate;       /* family 0: packets per second and source, 0 = unlimited */
	uint64_t burst;      /* family 0: packets */
};

enum hbus_list_kind {
	HBUS_LIST_TOPICS = 1,
	HBUS_LIST_ROUTES = 2,
	HBUS_LIST_CLIENTS = 3,
	HBUS_LIST_RINGS = 4,
	HBUS_LIST_SUBSCRIBERS = 5,
	HBUS_LIST_ATTACHMENTS = 6,
	HBUS_LIST_COUNTERS = 7,
	HBUS_LIST_QUOTAS = 8,
	HBUS_LIST_DAEMON = 9,
	HBUS_LIST_CLIENT_RULES = 10,
};

/* Rows come one by one as ROW with this serial, then a REPLY (value[0] = rows, value[1] = next
 * cursor or 0). A page has at most HBUS_LIST_PAGE rows. */
#define HBUS_LIST_PAGE 64u
struct hbus_msg_list {
	struct hbus_msg_header header;
	uint32_t kind;
	uint32_t reserved;
	uint64_t cursor; /* 0 = from the start */
};

/* What a row's fields mean depends on its kind; ctl/PROTOCOL.md has the table. COUNTERS: fd. */
struct hbus_msg_row {
	struct hbus_msg_header header;
	uint32_t kind;
	uint32_t flags;
	uint64_t value[12];
	char name[256];
	char text[256];
	struct hbus_wire_route route;
};

/* fds: a counter memfd (shm/counters.h), sealed. The daemon keeps it when the owner is killed. */
struct hbus_msg_counters_offer {
	struct hbus_msg_header header;
	char name[64];
};

/* RESUMED: all that the member held has been said again. RELOAD: as SIGHUP (admin). */
struct hbus_msg_simple {
	struct hbus_msg_header header;
};

/*
 * Daemon to subscriber. fds: header, data (read-only), then the doorbell when the subscriber asked for
 * one and this publisher's has not been sent yet (has_doorbell). Answered by RING_ACCEPT.
 */
#define HBUS_OPENED_FROM_START 0x1u /* created after the subscription: read from its first event, now */
#define HBUS_OPENED_NO_SLOT 0x2u    /* polling only: no gate, no wake-up */
struct hbus_msg_ring_opened {
	struct hbus_msg_header header;
	struct hbus_wire_geometry geometry;
	uint64_t gate_id;
	uint64_t publisher_id; /* the client that owns the ring; one doorbell per publisher */
	uint32_t sub_id;
	uint32_t flags; /* HBUS_OPENED_* */
	uint32_t memfd_idx;
	uint32_t slot_idx;
	uint32_t attach_idx;
	uint32_t has_doorbell;
	uint32_t publisher_uid;
	uint32_t reserved;
	char publisher_name[HBUS_CLIENT_NAME_MAX + 1];
};

struct hbus_msg_ring_accept {
	struct hbus_msg_header header;
	uint64_t ring_id;
	uint32_t sub_id;
	int32_t status; /* 0 = mapped or stays; HBUS_E_BUSY to STAYS: it leaves, and wants the ring anew; else refused */
};

/*
 * RING_LIVE: the gate and waker are installed; with STAYS: read on, whatever RING_ENDED said (RING_ACCEPT with its serial,
 * or SUB_RING_DONE when it was left already). RING_ENDED: its publisher is gone (flags below).
 */
#define HBUS_LIVE_STAYS 0x1u
#define HBUS_ENDED_PUBLISHER_DIED 0x1u
#define HBUS_ENDED_EVICTED 0x2u
#define HBUS_ENDED_REVOKED 0x4u
struct hbus_msg_ring_event {
	struct hbus_msg_header header;
	uint64_t ring_id;
	uint32_t sub_id;
	uint32_t flags;
};

struct hbus_msg_topic_match {
	struct hbus_msg_header header;
	uint32_t sub_id;
	uint32_t topic_id;
	char name[256];
	char type[64];
	char content_type[64];
};

/* These topics are not asked for (or no longer). */
struct hbus_msg_topic_skip {
	struct hbus_msg_header header;
	uint32_t sub_id;
	uint32_t n_ids;
	uint32_t ids[HBUS_SKIP_IDS];
};

/*
 * Daemon to subscriber, after RING_OPENED and when the ring gets another topic: these topics are the
 * publisher's to use in this ring. A record that names any other is not believed.
 */
struct hbus_msg_ring_topics {
	struct hbus_msg_header header;
	uint64_t ring_id;
	uint32_t sub_id;
	uint32_t n_ids;
	uint32_t ids[HBUS_SKIP_IDS];
};

#define HBUS_GATE_RELIABLE 0x1u
#define HBUS_GATE_HAS_DOORBELL 0x2u /* third fd */

/* Daemon to publisher. fds: slots memfd, pidfd, and the doorbell's other end. Known gate_id: only ack. */
struct hbus_msg_gate_add {
	struct hbus_msg_header header;
	uint64_t ring_id;
	uint64_t gate_id;
	uint64_t subscriber_id; /* for people */
	uint32_t attach_idx;    /* < 64 for reliable ones */
	uint32_t flags;         /* HBUS_GATE_* */
	uint32_t n_slots;       /* of the memfd */
	uint32_t slot_idx;
	uint32_t stall_ms;
	uint32_t reserved;
};

/*
 * GATE_REMOVE (daemon), GATE_ADDED and GATE_REMOVED (answers; status in flags' place). A GATE_REMOVE with gate_id 0 and
 * serial 0 is the sweep after a restart: take out all that no GATE_ADD of this connection has named; no answer.
 */
struct hbus_msg_gate {
	struct hbus_msg_header header;
	uint64_t ring_id;
	uint64_t gate_id;
	uint32_t attach_idx;
	int32_t status;
};

struct hbus_msg_interest {
	struct hbus_msg_header header;
	uint32_t topic_id;
	uint32_t is_wanted;
	char name[256];
};

/* X(TYPE, struct): every message and its body, for checks of size. */
#define HBUS_MSG_TABLE(X)                                                                          \
	X(HELLO, struct hbus_msg_hello)                                                            \
	X(TOPIC_DECLARE, struct hbus_msg_topic)                                                    \
	X(TOPIC_REMOVE, struct hbus_msg_topic)                                                     \
	X(RING_CREATE, struct hbus_msg_ring_create)                                                \
	X(RING_MAPPED, struct hbus_msg_ring)                                                       \
	X(RING_TOPIC_ADD, struct hbus_msg_ring_topic_add)                                          \
	X(RING_CLOSE, struct hbus_msg_ring)                                                        \
	X(RING_OFFER, struct hbus_msg_ring_offer)                                                  \
	X(SUB_OPEN, struct hbus_msg_sub_open)                                                      \
	X(SUB_SLOTS, struct hbus_msg_sub_slots)                                                    \
	X(SUB_FILTER_ADD, struct hbus_msg_sub_filter)                                              \
	X(SUB_FILTER_REMOVE, struct hbus_msg_sub_filter)                                           \
	X(SUB_CLOSE, struct hbus_msg_sub_close)                                                    \
	X(SUB_HELD, struct hbus_msg_sub_held)                                                      \
	X(SUB_RING_DONE, struct hbus_msg_ring)                                                     \
	X(ROUTE_ADD, struct hbus_msg_route)                                                        \
	X(ROUTE_REMOVE, struct hbus_msg_route)                                                     \
	X(LIST, struct hbus_msg_list)                                                              \
	X(COUNTERS_OFFER, struct hbus_msg_counters_offer)                                          \
	X(RESUMED, struct hbus_msg_simple)                                                         \
	X(RELOAD, struct hbus_msg_simple)                                                          \
	X(RING_ACCEPT, struct hbus_msg_ring_accept)                                                \
	X(GATE_ADDED, struct hbus_msg_gate)                                                        \
	X(GATE_REMOVED, struct hbus_msg_gate)                                                      \
	X(REPLY, struct hbus_msg_reply)                                                            \
	X(RING_GRANT, struct hbus_msg_ring_grant)                                                  \
	X(RING_OPENED, struct hbus_msg_ring_opened)                                                \
	X(RING_LIVE, struct hbus_msg_ring_event)                                                   \
	X(RING_ENDED, struct hbus_msg_ring_event)                                                  \
	X(TOPIC_MATCH, struct hbus_msg_topic_match)                                                \
	X(TOPIC_SKIP, struct hbus_msg_topic_skip)                                                  \
	X(GATE_ADD, struct hbus_msg_gate_add)                                                      \
	X(GATE_REMOVE, struct hbus_msg_gate)                                                       \
	X(INTEREST, struct hbus_msg_interest)                                                      \
	X(ROUTE_SET, struct hbus_msg_route)                                                        \
	X(ROUTE_GONE, struct hbus_msg_route)                                                       \
	X(ROW, struct hbus_msg_row)                                                                \
	X(SOURCE_RULE, struct hbus_msg_source_rule)                                                \
	X(RING_TOPICS, struct hbus_msg_ring_topics)

#define HBUS_MSG_ASSERT_SIZE(type, body)                                                           \
	static_assert(sizeof(body) <= HBUS_MSG_SIZE_MAX && sizeof(body) % 8 == 0, #type);
HBUS_MSG_TABLE(HBUS_MSG_ASSERT_SIZE)
#undef HBUS_MSG_ASSERT_SIZE

static_assert(sizeof(struct hbus_msg_header) == 16, "message header");
static_assert(sizeof(struct hbus_token) == 16, "token");
static_assert(sizeof(struct hbus_wire_geometry) == 40, "geometry");
static_assert(sizeof(struct hbus_wire_route) == 296, "route");
