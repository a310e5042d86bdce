/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The filter's ABI: what the XDP program, its loader and the poll loop in C agree on.
 *
 * One list of reasons, one meaning of a route, one layout for every map. No function here does
 * I/O and nothing here includes libc, so that the same text compiles with -target bpf.
 *
 * The verdict on a frame, in this order, in XDP and in C alike; the first that applies wins:
 *   1. link      Ethernet, then up to HBUS_VLAN_TAGS_MAX tags (802.1Q, 802.1ad). VLAN of the frame =
 *                id of the outer tag; no tag, or a priority tag (id 0) outside, is VLAN 0.
 *                TRUNCATED, TOO_MANY_TAGS, NOT_IP.
 *   2. network   "IP end" is the end that the IP header claims, or the frame's, whichever is first.
 *                IPv4: 20 bytes must be there: TRUNCATED; version and header length must be possible
 *                and the claimed end not inside the header: BAD_HEADER; the options must be there:
 *                TRUNCATED; then NOT_UDP, then FRAGMENT (any offset, or more to come).
 *                IPv6: 40 bytes must be there: TRUNCATED; version: BAD_HEADER; then one header after
 *                another: UDP ends the walk; a fragment header is FRAGMENT (atomic ones too); what is
 *                not hop-by-hop, routing or destination options is NOT_UDP; one more of those than
 *                HBUS_IPV6_EXT_MAX is EXT_HEADERS, one that crosses the IP end is TRUNCATED, a
 *                routing header with segments left is EXT_HEADERS (it goes on to somebody else).
 *   3. UDP       its 8 bytes must lie before the IP end: TRUNCATED.
 *   4. route     by destination address, UDP destination port and VLAN: UNKNOWN_PORT.
 *   5. length    claimed IP end beyond the frame, UDP length below 8 or beyond the IP end:
 *                BAD_LENGTH. (Bytes behind the UDP length are padding, not an error.)
 *   6. interest  NO_INTEREST when nobody wants the route's topic. On a route to the MQTT-SN gateway: when
 *                nobody wants what a PUBLISH of QoS 0 or -1 is for, as far as its head and its sender
 *                tell; XDP knows less of that than C, and what it does not know goes up.
 *   7. source    SOURCE_DENIED by the longest prefix among the source rules, or by default.
 *   8. rate      RATE_LIMITED by the token bucket of the source.
 *   9. only C    BAD_CHECKSUM and what follows it in the list.
 * A frame that steps 1 to 4 turn away is not known to be ours: XDP gives it to the kernel, a port
 * without a kernel behind it drops it; the reason is the same. What steps 5 to 8 turn away is ours
 * and is dropped in both.
 *
 * Of what step 1 or 2 turns away as NOT_IP or NOT_UDP, an untagged frame is STACK when a TCP stack of
 * the ingress owns an address that it is for:
 *   ARP          of IPv4 over Ethernet, whose target protocol address is the stack's;
 *   IPv4         TCP, or an echo request without IP options, to the stack's address, not a fragment;
 *   IPv6         TCP, an echo request or a neighbour advertisement to the stack's address, or a
 *                neighbour solicitation for it, next to the IPv6 header.
 *
 * Of the rest of NOT_UDP, with up to HBUS_VLAN_TAGS_MAX tags, is TAPPED what --passive reads: TCP to one of tap_ports,
 * whole, next to the IPv4 or IPv6 header, in a frame that was not sent to the interface's own address. So a mirror
 * port is read, while the kernel keeps whatever is its own. (A port without a kernel behind it reads the latter too.)
 */
#pragma once

#include <linux/types.h>

/* ---- limits ---------------------------------------------------------------------------- */

/* Bumped with any change of a map's layout or of a number in this file. */
#define HBUS_FILTER_ABI_VERSION 5U

#define HBUS_VLAN_TAGS_MAX 2U
#define HBUS_IPV6_EXT_MAX 4U
/* Routes of one port; each costs 64 bytes of counters per CPU. */
#define HBUS_ROUTES_MAX 16384U
/* Keys of the trie: one more, for a route on its way from one match to the next. */
#define HBUS_ROUTE_KEYS_MAX (HBUS_ROUTES_MAX + 1U)
/* Source rules (address or prefix) of one port. */
#define HBUS_SOURCES_MAX 16384U
/* Sources whose rate is remembered; beyond it the least recently seen is forgotten. */
#define HBUS_BUCKETS_MAX 65536U
/* Receive queues of one port that may have a socket. */
#define HBUS_QUEUES_MAX 64U
/* Addresses of one port that a TCP stack of the ingress owns. */
#define HBUS_STACK_ADDRS_MAX 64U
/* TCP ports of one port that are read passively. */
#define HBUS_TAP_PORTS_MAX 8U
/* Topics of MQTT-SN clients of one port that XDP knows to be unwanted. */
#define HBUS_SN_QUIET_MAX 65536U
/* Lookups that each CPU remembers, of routes and of sources. */
#define HBUS_LATELY_BITS 10U
#define HBUS_LATELY_MAX (1U << HBUS_LATELY_BITS)
/* Room for reasons in the maps: more than there are today. */
#define HBUS_REASONS_MAX 32U

/* ---- reasons --------------------------------------------------------------------------- */

/* What XDP does with a frame of this reason. NONE: XDP never says it, only C does (and drops). */
#define HBUS_ACTION_NONE 0U
#define HBUS_ACTION_REDIRECT 1U
#define HBUS_ACTION_PASS 2U
#define HBUS_ACTION_DROP 3U

/*
 * X(number, NAME, "name", XDP action, "meaning"): numbers are for ever, names go to users.
 * Every frame is counted under exactly one of them, in XDP and again (if it gets there) in C.
 */
#define HBUS_REASONS(X)                                                                           \
	X(0, ACCEPTED, "accepted", REDIRECT, "to the socket (XDP); published (C)")                \
	X(1, NOT_IP, "not_ip", PASS, "neither IPv4 nor IPv6")                                     \
	X(2, TOO_MANY_TAGS, "too_many_tags", PASS, "more than two VLAN tags")                     \
	X(3, NOT_UDP, "not_udp", PASS, "another protocol than UDP")                               \
	X(4, FRAGMENT, "fragment", PASS, "a fragment of an IP packet")                            \
	X(5, TRUNCATED, "truncated", PASS, "ends before its UDP header does")                     \
	X(6, BAD_HEADER, "bad_header", PASS, "impossible version or length in the IP header")     \
	X(7, EXT_HEADERS, "ext_headers", PASS, "IPv6 extension headers beyond what is walked")    \
	X(8, UNKNOWN_PORT, "unknown_port", PASS, "UDP that no route matches")                     \
	X(9, BAD_LENGTH, "bad_length", DROP, "routed, but its lengths contradict each other")     \
	X(10, NO_INTEREST, "no_interest", DROP, "routed to a topic that nobody wants")            \
	X(11, SOURCE_DENIED, "source_denied", DROP, "its source is not allowed")                  \
	X(12, RATE_LIMITED, "rate_limited", DROP, "its source sends faster than it may")          \
	X(13, NO_SOCKET, "no_socket", PASS, "wanted, but no socket listens on its queue")         \
	X(14, BAD_CHECKSUM, "bad_checksum", NONE, "IPv4 or UDP checksum does not match")          \
	X(15, TOO_LONG, "too_long", NONE, "payload longer than a record may be")                  \
	X(16, BAD_BATCH, "bad_batch", NONE, "a batched datagram that breaks its format")          \
	X(17, UNKNOWN_TOPIC, "unknown_topic", NONE, "a batched event for a topic not offered")    \
	X(18, RING_FULL, "ring_full", NONE, "the ring has no room: a reliable reader is behind")  \
	X(19, NO_RING, "no_ring", NONE, "no ring is attached for the topic yet")                  \
	X(20, NOT_LINEAR, "not_linear", NONE, "spread over more buffers than are looked at")      \
	X(21, DUPLICATE, "duplicate", NONE, "a batched datagram that came before, or far too late")   \
	X(22, STACK, "stack", REDIRECT, "for the TCP stack of the ingress")                       \
	X(23, TAPPED, "tapped", REDIRECT, "TCP that is read and left alone (--passive)")               \
	X(24, MALFORMED, "malformed", NONE, "an MQTT-SN message whose length is not its own")     \
	X(25, GATEWAY_FULL, "gateway_full", NONE, "the MQTT-SN gateway is behind: no room for more")

enum hbus_reason {
#define HBUS_REASON_ENUM(number, name, text, action, meaning) HBUS_REASON_##name = (number),
	HBUS_REASONS(HBUS_REASON_ENUM)
#undef HBUS_REASON_ENUM
};

/* Number of reasons in use: they are numbered without holes. */
#define HBUS_REASON_COUNT_ONE(number, name, text, action, meaning) +1U
#define HBUS_N_REASONS (0U HBUS_REASONS(HBUS_REASON_COUNT_ONE))

_Static_assert(HBUS_N_REASONS <= HBUS_REASONS_MAX, "reasons fit the maps");

#ifndef __bpf__
/* Name of @reason as users see it, NULL when it has no such number. */
static inline const char *hbus_reason_name(__u32 reason)
{
	static const char *const names[] = {
#define HBUS_REASON_NAME(number, name, text, action, meaning) [number] = text,
		HBUS_REASONS(HBUS_REASON_NAME)
#undef HBUS_REASON_NAME
	};

	return reason < HBUS_N_REASONS ? names[reason] : (const char *)0;
}

/* HBUS_ACTION_* that XDP takes for @reason. */
static inline __u32 hbus_reason_action(__u32 reason)
{
	static const __u8 actions[] = {
#define HBUS_REASON_ACTION(number, name, text, action, meaning) [number] = HBUS_ACTION_##action,
		HBUS_REASONS(HBUS_REASON_ACTION)
#undef HBUS_REASON_ACTION
	};

	return reason < HBUS_N_REASONS ? actions[reason] : HBUS_ACTION_NONE;
}
#endif

/* ---- routes ---------------------------------------------------------------------------- */

#define HBUS_FAMILY_IPV4 4U
#define HBUS_FAMILY_IPV6 6U

/* VLAN of a route: an id 1..4094, 0 = only untagged frames, or this. */
#define HBUS_VLAN_ANY 0xffffu
/* UDP port of a route: 1..65535, or this. */
#define HBUS_PORT_ANY 0U

/*
 * What a route matches. Among the routes that fit a frame the one with the longest prefix wins,
 * then exact VLAN before any, then exact port before any.
 */
struct hbus_route_match {
	__u8 family;	 /* HBUS_FAMILY_* */
	__u8 prefix_len; /* 0..32 or 0..128; 0 = any destination of this family */
	__u16 vlan;	 /* host order, or HBUS_VLAN_ANY */
	__u16 port;	 /* host order, or HBUS_PORT_ANY */
	__u16 reserved;	 /* 0 */
	__u8 addr[16];	 /* network order; IPv4 in the first four bytes, the others 0 */
};
_Static_assert(sizeof(struct hbus_route_match) == 24, "no padding");

/*
 * Route classes: which of VLAN and port are exact. One trie holds all four, the class among the
 * leading bits of the key, so that a lookup per class gives the longest prefix of that class; the
 * longest of the four wins, on ties the higher class. That is the order above, without backtracking.
 */
#define HBUS_ROUTE_EXACT_PORT 1U
#define HBUS_ROUTE_EXACT_VLAN 2U
#define HBUS_ROUTE_CLASSES 4U
/* In classes_used of the configuration. */
#define HBUS_CLASS_BITS_OFF(family) ((family) == HBUS_FAMILY_IPV4 ? 0U : HBUS_ROUTE_CLASSES)
#define HBUS_CLASS_BIT(family, route_class) (1U << (HBUS_CLASS_BITS_OFF(family) + (route_class)))

/* Key of map hbus_routes (LPM trie): the fields after prefix_bits are compared bit by bit. */
struct hbus_route_key {
	__u32 prefix_bits; /* HBUS_ROUTE_KEY_FIXED_BITS + prefix length of the address */
	__u8 family;
	__u8 route_class; /* HBUS_ROUTE_EXACT_* */
	__be16 vlan;	  /* 0 when any */
	__be16 port;	  /* 0 when any */
	__be16 zero;
	__u8 addr[16]; /* bits beyond the prefix are 0 */
};
#define HBUS_ROUTE_KEY_FIXED_BITS 64U
_Static_assert(sizeof(struct hbus_route_key) == 28, "no padding in a trie key");

/* Value of map hbus_routes. */
struct hbus_route_val {
	__u32 route_idx; /* < HBUS_ROUTES_MAX */
	__u32 prefix_len;
};
_Static_assert(sizeof(struct hbus_route_val) == 8, "no padding");

#define HBUS_ROUTE_WANTED 1U /* somebody wants the topic (a batch route: any topic of it) */
#define HBUS_ROUTE_BATCH 2U  /* datagrams in the batched format, several topics in one */
#define HBUS_ROUTE_MQTTSN 4U /* datagrams of MQTT-SN, for the gateway */

/* Value of map hbus_route_info (array by route index). */
struct hbus_route_info {
	__u32 topic; /* of a batch route: 0 */
	__u32 flags; /* HBUS_ROUTE_* */
};
_Static_assert(sizeof(struct hbus_route_info) == 8, "no padding");

/* Value of map hbus_rt_stats (per-CPU array by route index): frames of this route by reason. */
struct hbus_route_stats {
	__u64 accepted;
	__u64 accepted_bytes;
	__u64 bad_length;
	__u64 no_interest;
	__u64 source_denied;
	__u64 rate_limited;
	__u64 no_socket;
	__u64 reserved;
};
_Static_assert(sizeof(struct hbus_route_stats) == 64, "one cache line");

/* Value of map hbus_stats (per-CPU array by reason). Bytes are those of whole frames. */
struct hbus_reason_stats {
	__u64 packets;
	__u64 bytes;
};
_Static_assert(sizeof(struct hbus_reason_stats) == 16, "no padding");

/* ---- sources --------------------------------------------------------------------------- */

/* Key of map hbus_sources (LPM trie). */
struct hbus_source_key {
	__u32 prefix_bits; /* HBUS_SOURCE_KEY_FIXED_BITS + prefix length */
	__u8 family;
	__u8 zero[3];
	__u8 addr[16];
};
#define HBUS_SOURCE_KEY_FIXED_BITS 32U
_Static_assert(sizeof(struct hbus_source_key) == 24, "no padding in a trie key");

#define HBUS_SOURCE_ALLOW 0U
#define HBUS_SOURCE_DENY 1U
#define HBUS_SOURCE_TRUST 2U /* allowed, and exempt from the rate limit */

/* Value of map hbus_sources. */
struct hbus_source_val {
	__u32 action; /* HBUS_SOURCE_* */
};
_Static_assert(sizeof(struct hbus_source_val) == 4, "one word");

/* Key of map hbus_buckets: IPv4 as ::ffff:a.b.c.d, IPv6 under the mask of the configuration. */
struct hbus_bucket_key {
	__u8 addr[16];
};
_Static_assert(sizeof(struct hbus_bucket_key) == 16, "one address");

/*
 * A token bucket in one word, so that CPUs can share it by compare and swap: the time at which the
 * bucket will be full again. A packet moves it on by one interval and is refused if that would take
 * it more than the window ahead of now.
 */
struct hbus_bucket {
	__u64 full_at; /* in 1/16 ns of CLOCK_MONOTONIC */
};
_Static_assert(sizeof(struct hbus_bucket) == 8, "one word");
#define HBUS_BUCKET_UNITS_PER_NS 16U
#define HBUS_RATE_PPS_MAX 100000000U
#define HBUS_BURST_MAX 1000000U

/* Moves @full_at on for one packet at @now (1/16 ns). Return: 0 when the packet is refused. */
static inline __u64 hbus_bucket_next(__u64 full_at, __u64 now, __u64 interval, __u64 window)
{
	__u64 from = full_at > now ? full_at : now;
	__u64 next = from + interval;

	return next - now > window ? 0 : next;
}

/* ---- lookups made lately ------------------------------------------------------------------ */

/*
 * Value of maps hbus_flows and hbus_senders (per-CPU arrays by a hash of key): what the trie of routes or of
 * sources has said last of this key. It holds while @generation is that of the configuration, so whoever changes a
 * trie gives the configuration another generation afterwards. All zero is nobody's: a key has a family.
 */
struct hbus_lately {
	__u64 generation;
	__u64 addr[2];
	__u64 rest; /* HBUS_LATELY_REST() */
	__u64 found; /* route index, or HBUS_SOURCE_* */
};
_Static_assert(sizeof(struct hbus_lately) == 40, "no padding");
#define HBUS_LATELY_REST(family, vlan, port) ((__u64)(family) << 32 | (__u32)(vlan) << 16 | (port))

/* ---- TCP stack --------------------------------------------------------------------------- */

/* Key of map hbus_stack (hash): an address that a TCP stack of the ingress owns. The value is 1. */
struct hbus_stack_key {
	__u8 family; /* HBUS_FAMILY_* */
	__u8 zero[3];
	__u8 addr[16]; /* IPv4: the first four bytes, the others 0 */
};
_Static_assert(sizeof(struct hbus_stack_key) == 20, "no padding in a hashed key");

/* What of a frame the stack takes; the numbers of the protocols themselves. */
#define HBUS_STACK_ETHERTYPE_ARP 0x0806U
#define HBUS_STACK_ICMP 1U
#define HBUS_STACK_TCP 6U
#define HBUS_STACK_ICMPV6 58U
#define HBUS_STACK_ICMP_ECHO 8U
#define HBUS_STACK_ICMPV6_ECHO 128U
#define HBUS_STACK_ICMPV6_SOLICIT 135U
#define HBUS_STACK_ICMPV6_ADVERT 136U

/* ---- MQTT-SN ----------------------------------------------------------------------------- */

/*
 * Key of map hbus_sn_quiet (hash): a PUBLISH that nobody wants. QoS 0 and a normal topic identifier: by
 * its sender. QoS -1: family, address, port and VLAN are 0, as anybody may have sent it.
 */
struct hbus_sn_quiet_key {
	__u8 addr[16]; /* IPv4: the first four bytes, the others 0 */
	__be16 port;
	__be16 vlan;
	__be16 topic_id;
	__u8 family; /* HBUS_FAMILY_* */
	__u8 kind;   /* of the identifier, as in the flags of PUBLISH */
};
_Static_assert(sizeof(struct hbus_sn_quiet_key) == 24, "no padding in a hashed key");

struct hbus_sn_quiet_val {
	__u64 seen_at; /* when such a message was last dropped, in ns of CLOCK_MONOTONIC */
};
_Static_assert(sizeof(struct hbus_sn_quiet_val) == 8, "one word");

/* ---- configuration --------------------------------------------------------------------- */

#define HBUS_CONFIG_HAS_SOURCES 1U /* there are source rules: look them up */
#define HBUS_CONFIG_HAS_STACK 2U   /* a TCP stack owns addresses: look them up */
#define HBUS_CONFIG_HAS_TAP 4U     /* TCP to tap_ports is read passively */

/*
 * The one entry of map hbus_config. All zero, as the kernel makes it, passes everything to the
 * kernel. Words change one by one under the program's eyes: each is valid beside any other.
 */
struct hbus_filter_config {
	__u32 flags;	      /* HBUS_CONFIG_* */
	__u32 source_default; /* HBUS_SOURCE_*: for sources that no rule names */
	__u32 classes_used;   /* HBUS_CLASS_BIT()s: only classes that have routes are looked up */
	__u32 reserved;	      /* 0 */
	__u64 generation;     /* of what the tries say: another one after each change */
	__u64 bucket_interval; /* 1/16 ns per packet; 0 = no limit */
	__u64 bucket_window;   /* burst times interval */
	__u64 bucket_mask[2];  /* IPv6 sources that share a bucket, network order */
	__be16 tap_ports[HBUS_TAP_PORTS_MAX]; /* 0: none */
	__u8 own_mac[6];      /* of the interface: what is sent to it is not tapped */
	__u8 zero[2];
};
_Static_assert(sizeof(struct hbus_filter_config) == 80, "no padding in the configuration");

/*
 * The generation behind @generation. No number comes twice in 2^64 steps, and what a CPU reads while another writes,
 * some bytes of one and some of the next, is none that comes soon.
 */
static inline __u64 hbus_generation_next(__u64 generation)
{
	return generation * 6364136223846793005ULL + 1442695040888963407ULL;
}

/* ---- stamp ----------------------------------------------------------------------------- */

/*
 * Built into the program's frozen read-only data, which only its loader could fill: how a program
 * found on an interface is known to be one of ours, whatever its version.
 */
#define HBUS_FILTER_PROG_NAME "hbus_xdp"
#define HBUS_FILTER_MAGIC "hugebus filter\n"

struct hbus_filter_stamp {
	char magic[16]; /* HBUS_FILTER_MAGIC */
	__u32 abi_version;
	__u32 reserved;
};
_Static_assert(sizeof(struct hbus_filter_stamp) == 24, "no padding");
