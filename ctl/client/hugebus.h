/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * hugebus.h - publish and subscribe on a hugebus, one Linux host's event bus
 *
 * A program opens a bus, and on it publishers and subscribers. A publisher writes events into a ring
 * in shared memory that only it can write; subscribers read them there, without a system call and
 * without a copy by a third process. hugebusd introduces them to each other and is not on the way.
 *
 * Errors: functions return 0 or a count, or a negative enum hbus_error. hbus_error_text() has the
 * sentence of this thread's last error. What is expected now and then is positive (HBUS_FULL...).
 * NULL for a handle, for data that has a size, or for the place of a result is HBUS_E_INVALID; closing NULL is nothing.
 *
 * Threads: a struct hbus may be used by several threads. A publisher or subscriber handle belongs to
 * one thread at a time; different handles may be used by different threads.
 *
 * fork(): handles stay the parent's. In the child every call returns HBUS_E_FORKED, but hbus_close()
 * and the other close functions, which free memory there and touch nothing shared. All descriptors
 * are close-on-exec.
 *
 * Names of places: an event is named by the id of its ring and its sequence in it, "RING:SEQUENCE".
 * Order is per ring, that is per publisher handle and read policy.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HBUS_API_MAJOR 1
#define HBUS_API_MINOR 0

#if defined(__GNUC__)
#define HBUS_API __attribute__((visibility("default")))
#else
#define HBUS_API
#endif

struct hbus;
struct hbus_publisher;
struct hbus_subscriber;

enum hbus_error {
	HBUS_E_INVALID = -1001,      /* an argument is wrong */
	HBUS_E_NAME = -1002,         /* not a topic name or filter */
	HBUS_E_DENIED = -1003,       /* policy does not allow it */
	HBUS_E_QUOTA = -1004,        /* the user's quota is used up */
	HBUS_E_LIMIT = -1005,        /* a fixed limit of the bus */
	HBUS_E_NOT_FOUND = -1006,
	HBUS_E_EXISTS = -1007,
	HBUS_E_TOO_LARGE = -1008,    /* an event larger than capacity / 8, or a batch */
	HBUS_E_NO_MEMORY = -1009,
	HBUS_E_NO_HUGEPAGES = -1010,
	HBUS_E_VERSION = -1011,      /* protocol or memory layout differ */
	HBUS_E_PROTOCOL = -1012,     /* the peer broke the protocol */
	HBUS_E_DISCONNECTED = -1013, /* no daemon answers now; the library goes on trying */
	HBUS_E_FORKED = -1014,       /* the handle is the parent process's */
	HBUS_E_BUSY = -1015,         /* called again from a signal handler, or in the wrong state */
	HBUS_E_TIMEOUT = -1016,
	HBUS_E_POLICY = -1017,       /* the topic's readers differ from the ring's */
	HBUS_E_CLOSED = -1018,
	HBUS_E_SYSTEM = -1019,       /* a system call failed; the sentence has errno's */
	HBUS_E_BAD_FD = -1020        /* a descriptor of the wrong kind, size or seals */
};

/* Outcomes that a caller must expect. */
#define HBUS_FULL 1     /* a reliable subscriber is a full ring behind; nothing was published */
#define HBUS_LAPPED 2   /* the events of the last poll were overwritten while in use: discard them */

/* The version that was linked, such as "0.1.0". */
HBUS_API const char *hbus_version(void);
/* A few words for an error code. Never NULL. */
HBUS_API const char *hbus_strerror(int error);
/* The sentence of the calling thread's last error. Valid until its next failing call. Never NULL. */
HBUS_API const char *hbus_error_text(void);

/* -- the bus -- */

/**
 * struct hbus_options - how to open a bus; zero it, set struct_size, then what differs
 * @struct_size: sizeof(struct hbus_options), so that later versions can grow it
 * @name: what lists show for this program; NULL = the program's own name
 * @flags: HBUS_OPEN_*
 * @connect_timeout_ms: how long hbus_open() tries; 0 = 2000, negative = once
 */
struct hbus_options {
	uint32_t struct_size;
	uint32_t flags;
	const char *name;
	int32_t connect_timeout_ms;
	uint32_t reserved[5];
};

/* No thread is started: poll hbus_control_fd() and call hbus_dispatch() when it is readable. */
#define HBUS_OPEN_NO_THREAD 0x1u
#define HBUS_OPEN_WANTS_INTEREST 0x2u /* hbus_set_interest_handler() will be used */
#define HBUS_OPEN_WANTS_ROUTES 0x4u   /* hbus_set_route_handler() will be used; needs the admin right */

/**
 * hbus_open() - connect to a bus
 * @address: path of the daemon's socket; NULL = $HUGEBUS_SOCKET, else /run/hugebus/hugebus.sock, else
 *	$XDG_RUNTIME_DIR/hugebus/hugebus.sock; "embedded:" = a bus of its own inside this process
 * @options: NULL = defaults
 *
 * Starts one control thread (all signals blocked) unless HBUS_OPEN_NO_THREAD. When the daemon goes away
 * the data path goes on, and the library reconnects by itself.
 * The caller owns *ret_bus; close it with hbus_close() after its publishers and subscribers.
 */
HBUS_API int hbus_open(const char *address, const struct hbus_options *options, struct hbus **ret_bus);
/* Not in a handler of this bus: there it does nothing. */
HBUS_API void hbus_close(struct hbus *bus);
HBUS_API int hbus_control_fd(struct hbus *bus);
HBUS_API int hbus_dispatch(struct hbus *bus);
/* 1 while a daemon is connected, else 0. */
HBUS_API int hbus_is_connected(struct hbus *bus);

/* -- publishing -- */

typedef uint32_t hbus_topic_t;

/**
 * struct hbus_publisher_options - zero it, set struct_size, then what differs
 * @capacity: bytes of the ring, a power of two from 64 KiB; 0 = the daemon's default (2 MiB)
 * @flags: HBUS_PUB_*
 * @timeout_ms: how long hbus_publish() waits for a reliable subscriber; 0 = 5000, negative = for ever
 */
struct hbus_publisher_options {
	uint32_t struct_size;
	uint32_t flags;
	uint64_t capacity;
	int32_t timeout_ms;
	uint32_t reserved;
	uint64_t start_position; /* for tests: position of the first record; 0 */
	uint64_t reserved2[4];
};

#define HBUS_PUB_TIMESTAMP 0x1u   /* each event carries the time of its publication; those of a batch one */
#define HBUS_PUB_SMALL_PAGES 0x2u /* 4 KiB pages even when hugepages are there */
#define HBUS_PUB_HUGE_ONLY 0x4u   /* HBUS_E_NO_HUGEPAGES rather than 4 KiB pages */
#define HBUS_PUB_ISOLATED 0x8u    /* a fence at each commit; no membarrier by readers disturbs it */
#define HBUS_PUB_DEFER_WAKE 0x10u /* sleeping subscribers are woken by hbus_publisher_wake() only */
#define HBUS_PUB_NEVER_WAIT 0x20u /* every publish returns HBUS_FULL at once, as hbus_try_publish() */

HBUS_API int hbus_publisher_open(struct hbus *bus, const struct hbus_publisher_options *options,
				 struct hbus_publisher **ret_publisher);
HBUS_API void hbus_publisher_close(struct hbus_publisher *publisher);

/**
 * hbus_publisher_topic() - the number under which to publish a topic
 * @name: an MQTT topic name
 * @type, @content_type: CloudEvents attributes of its events, or NULL
 *
 * The first call of a publisher creates its ring. Asks the daemon: some 100 us. Topics of one publisher
 * share a ring as long as the same users may read them.
 * May be called by another thread than the publisher's while that one publishes, but by one at a time; the
 * new number reaches the publisher's thread by a lock, an atomic or the like.
 */
HBUS_API int hbus_publisher_topic(struct hbus_publisher *publisher, const char *name, const char *type,
				  const char *content_type, hbus_topic_t *ret_topic);

/**
 * hbus_publish() - publish one event by copy
 *
 * Progress: wait-free unless a reliable subscriber is a ring behind; then it waits up to the
 * publisher's time-out. Return: 0, HBUS_FULL after the time-out, HBUS_E_TOO_LARGE...
 */
HBUS_API int hbus_publish(struct hbus_publisher *publisher, hbus_topic_t topic, const void *data, size_t size);
/* As hbus_publish(), never waits. */
HBUS_API int hbus_try_publish(struct hbus_publisher *publisher, hbus_topic_t topic, const void *data, size_t size);

/* Attributes that travel in the event. */
struct hbus_attributes {
	uint64_t time_ns;      /* 0 = none, or now with HBUS_PUB_TIMESTAMP; CLOCK_REALTIME */
	uint32_t key;          /* with has_key */
	uint32_t has_key;
	const void *extra;     /* encoded attributes, opaque to the bus; NULL = none */
	size_t extra_size;     /* bytes, at most 65535 */
};
HBUS_API int hbus_publish_with(struct hbus_publisher *publisher, hbus_topic_t topic, const void *data, size_t size,
			       const struct hbus_attributes *attributes);

/**
 * hbus_publish_run() - publish n events of one size under one header
 * @data: n * size bytes, back to back
 *
 * They appear together. The way to move small events fastest.
 */
HBUS_API int hbus_publish_run(struct hbus_publisher *publisher, hbus_topic_t topic, const void *data, size_t size,
			      size_t n);

/**
 * hbus_reserve() - claim room for one event in place
 * @ret_data: room for size bytes, 8-byte aligned, the caller's until commit or abort
 *
 * Waits as hbus_publish(). One reservation at a time; a second one is HBUS_E_BUSY.
 */
HBUS_API int hbus_reserve(struct hbus_publisher *publisher, hbus_topic_t topic, size_t size, void **ret_data);
/* @size: at most what was reserved. */
HBUS_API int hbus_commit(struct hbus_publisher *publisher, size_t size);
/**
 * hbus_reserve_run() - the same for n events of one size, which are published as hbus_publish_run() does
 * @ret_data: event i begins i times size, rounded up to 8 bytes each, behind it
 *
 * What fills a buffer only to publish it writes everything twice; this writes once.
 */
HBUS_API int hbus_reserve_run(struct hbus_publisher *publisher, hbus_topic_t topic, size_t size, size_t n, void **ret_data);
/* @n: at most what was reserved; the first n events. */
HBUS_API int hbus_commit_run(struct hbus_publisher *publisher, size_t n);
HBUS_API int hbus_abort(struct hbus_publisher *publisher);

/**
 * hbus_batch_begin() - what is published until hbus_batch_commit() appears whole, or not at all
 *
 * A batch is at most capacity / 8 bytes: a publish beyond that returns HBUS_E_TOO_LARGE, and one that
 * would wait for a subscriber beyond the time-out HBUS_FULL; the batch stays open and can be committed.
 */
HBUS_API int hbus_batch_begin(struct hbus_publisher *publisher);
HBUS_API int hbus_batch_commit(struct hbus_publisher *publisher);
HBUS_API int hbus_batch_abort(struct hbus_publisher *publisher);

/* With HBUS_PUB_DEFER_WAKE: wake whoever sleeps. Any thread. Return: how many were woken. */
HBUS_API int hbus_publisher_wake(struct hbus_publisher *publisher);

struct hbus_publisher_info {
	uint64_t ring_id;
	uint64_t capacity;
	uint64_t sequence;   /* events published so far */
	uint64_t position;
	uint32_t is_huge;    /* 2 MiB pages */
	uint32_t n_gates;    /* reliable subscribers attached */
	uint32_t n_wakers;   /* subscribers attached that can be woken */
	uint32_t n_rings;
};
HBUS_API int hbus_publisher_info(struct hbus_publisher *publisher, struct hbus_publisher_info *ret_info);

/* -- subscribing -- */

enum hbus_start {
	HBUS_START_LATEST = 0,   /* what comes after the subscription; all of rings created later */
	HBUS_START_EARLIEST = 1, /* the oldest events that the rings still hold */
	HBUS_START_POSITIONS = 2 /* hbus_subscriber_resume_from() before the first subscribe; others earliest */
};

struct hbus_subscriber_options {
	uint32_t struct_size;
	uint32_t flags;        /* HBUS_SUB_* */
	uint32_t start;        /* enum hbus_start */
	uint32_t stall_ms;     /* reliable: how long it may hold a publisher before it is dropped; 0 = default */
	uint64_t reserved[4];
};

/*
 * Publishers wait for this subscriber (needs the right): it gets all that comes after hbus_subscribe(). What it also
 * reads of the time before (HBUS_START_EARLIEST, _POSITIONS) can be overwritten, as a lossy one's.
 * They wait with all that they publish into the same ring, of whatever topic: who does not poll any more closes it.
 */
#define HBUS_SUB_FLAG_RELIABLE 0x1u
/* Publishers of the same struct hbus do not wake this subscriber: whoever publishes sees to it that it polls. */
#define HBUS_SUB_FLAG_NO_OWN_WAKE 0x2u

HBUS_API int hbus_subscriber_open(struct hbus *bus, const struct hbus_subscriber_options *options,
				  struct hbus_subscriber **ret_subscriber);
HBUS_API void hbus_subscriber_close(struct hbus_subscriber *subscriber);
/*
 * @filter: an MQTT filter, with + and #. When it returns, existing rings are attached: what is published from then on is
 * delivered, or reported as lost. Both ask the daemon, and may be called by another thread than the one that polls, by
 * one at a time. A poll that began before hbus_unsubscribe() returned may still find events. Who subscribes again finds
 * a ring that no poll has left meanwhile as before, with HBUS_START_LATEST behind its newest event. A ring that is read
 * already for another filter is read on from where it stands.
 */
HBUS_API int hbus_subscribe(struct hbus_subscriber *subscriber, const char *filter);
HBUS_API int hbus_unsubscribe(struct hbus_subscriber *subscriber, const char *filter);
/* Begin this ring at this sequence (HBUS_START_POSITIONS). Before hbus_subscribe(). */
HBUS_API int hbus_subscriber_resume_from(struct hbus_subscriber *subscriber, uint64_t ring_id, uint64_t sequence);

struct hbus_event {
	const void *data;      /* in the ring; see hbus_poll() for how long */
	size_t size;
	const char *topic;     /* name; valid until the subscriber is closed */
	hbus_topic_t topic_id;
	uint32_t key;
	uint64_t ring_id;
	uint64_t sequence;
	uint64_t time_ns;      /* 0 = the event has none */
	const void *extra;     /* attributes of hbus_publish_with(), or NULL */
	uint32_t extra_size;
	uint32_t has_key;
};

/*
 * The CloudEvents attributes that an event's topic was declared with. @topic: of an event or a span of this library, no
 * other string. Valid as long as the topic. Never NULL; "" = none.
 */
HBUS_API const char *hbus_topic_type(const char *topic);
HBUS_API const char *hbus_topic_content_type(const char *topic);

/**
 * hbus_poll() - take up to n_max events
 *
 * Never blocks; one that has caught up with a busy publisher may take 8 us, where that makes it faster. The events of
 * one call are of one ring; rings take turns. Who has polled in vain several times is given the next event alone, and at once; what
 * stands behind it comes with the next call. The events and their data stay as they are until the next call on this
 * subscriber that polls, waits or releases. What a reliable subscriber was promised cannot change meanwhile while its
 * publisher is honest. Other data can be overwritten: call hbus_release() after use, and when it says HBUS_LAPPED
 * discard what was computed from them (they are counted as lost).
 * Data of a publisher that is not trusted may change at any time: copy before you check.
 * Return: number of events, 0 = none now, or an error.
 */
HBUS_API int hbus_poll(struct hbus_subscriber *subscriber, struct hbus_event *events, unsigned int n_max);

/**
 * struct hbus_span - events of one topic, of one size, that follow each other in memory
 * Event i is at data + i * stride and has sequence + i.
 */
struct hbus_span {
	const unsigned char *data;
	size_t size;
	size_t stride;
	size_t n_events;
	const char *topic;
	hbus_topic_t topic_id;
	uint32_t reserved;
	uint64_t ring_id;
	uint64_t sequence;
	uint64_t time_ns;
};
/* As hbus_poll(), without an entry per event: events of one size in a row share a span. */
HBUS_API int hbus_poll_spans(struct hbus_subscriber *subscriber, struct hbus_span *spans, unsigned int n_max);

/*
 * Done with the last poll's events. Return: 0 = they were whole to the end, HBUS_LAPPED = discard them. To a reliable
 * subscriber those that are still there come again.
 */
HBUS_API int hbus_release(struct hbus_subscriber *subscriber);

/**
 * hbus_wait() - sleep until something can be polled
 * @timeout_ms: 0 = only look, negative = for ever
 *
 * Spins briefly, then sleeps. A signal handler that runs while it sleeps ends it; one that runs just before does
 * not, so who waits for a signal too waits in slices, or with signalfd() and hbus_fd().
 * Return: 1 = poll now, 0 = the time is over or a signal came, or an error.
 */
HBUS_API int hbus_wait(struct hbus_subscriber *subscriber, int timeout_ms);

/**
 * hbus_fd() - a descriptor for poll() or epoll, readable when there may be events
 *
 * Owned by the subscriber. It is readable at first. When it is, call hbus_poll() until it returns 0, then
 * hbus_fd_arm() before the next epoll_wait(); when hbus_fd_arm() returns 1, poll again instead.
 */
HBUS_API int hbus_fd(struct hbus_subscriber *subscriber);
HBUS_API int hbus_fd_arm(struct hbus_subscriber *subscriber);
/**
 * hbus_fd_arm_again() - hbus_fd_arm(), cheaper, where the descriptor was not readable since it was armed last
 *
 * For a loop with other descriptors beside: it may poll on each of its rounds. With HBUS_SUB_FLAG_NO_OWN_WAKE the
 * subscriber stays armed until an event of another program comes, so that this costs no system call.
 */
HBUS_API int hbus_fd_arm_again(struct hbus_subscriber *subscriber);

enum hbus_loss_reason {
	HBUS_LOSS_LAPPED = 1,  /* overwritten before they were read */
	HBUS_LOSS_EVICTED = 2, /* likewise, after this reliable subscriber held its publisher for too long */
	HBUS_LOSS_CORRUPT = 3, /* the ring's content is not valid: it is left, count unknown (0) */
	HBUS_LOSS_REFUSED = 4, /* a ring that this library cannot read (layout, size, seals) */
	HBUS_LOSS_UNNAMED = 5  /* nothing is lost: a topic that the daemon did not name in time; its events are filtered */
};

/* Events first_sequence .. first_sequence + n_events - 1 of the ring were lost, of all its topics. */
struct hbus_loss {
	uint64_t ring_id;
	uint64_t first_sequence;
	uint64_t n_events;
	uint32_t reason; /* enum hbus_loss_reason */
	uint32_t reserved;
};
/* Takes the oldest loss report. Return: 1 = there was one, 0 = none. Reports beyond 1024 are merged per ring. */
HBUS_API int hbus_next_loss(struct hbus_subscriber *subscriber, struct hbus_loss *ret_loss);

struct hbus_subscriber_info {
	uint64_t n_delivered;
	uint64_t n_filtered; /* events of other topics in the same rings */
	uint64_t n_lost;     /* of all topics of the rings */
	uint32_t n_rings;    /* attached now */
	uint32_t n_topics;   /* matched so far */
};
HBUS_API int hbus_subscriber_info(struct hbus_subscriber *subscriber, struct hbus_subscriber_info *ret_info);

/* -- administration: what `hugebus` shows and changes -- */

/* @type, @content_type: or NULL. Survives a restart of the daemon. */
HBUS_API int hbus_topic_declare(struct hbus *bus, const char *name, const char *type, const char *content_type);
HBUS_API int hbus_topic_remove(struct hbus *bus, const char *name);

enum hbus_route_kind {
	HBUS_ROUTE_KIND_TOPIC = 1,      /* each datagram is one event of the topic */
	HBUS_ROUTE_KIND_BATCH = 2,      /* datagrams in the batch format */
	HBUS_ROUTE_KIND_BATCH_TOPIC = 3 /* number -> topic on the batch route of the same destination */
};
#define HBUS_VLAN_ANY 0xffffu

struct hbus_route {
	uint8_t address[16]; /* network order; IPv4 in the first four bytes */
	uint8_t family;      /* 4 or 6 */
	uint8_t prefix_len;
	uint16_t port;       /* 0 = any */
	uint16_t vlan;       /* 0 = untagged, HBUS_VLAN_ANY */
	uint16_t kind;       /* enum hbus_route_kind */
	uint32_t number;     /* BATCH_TOPIC */
	char topic[256];
};
HBUS_API int hbus_route_add(struct hbus *bus, const struct hbus_route *route);
HBUS_API int hbus_route_remove(struct hbus *bus, const struct hbus_route *route);
/* As SIGHUP for the daemon: reload its configuration, all or nothing. Needs the admin right. */
HBUS_API int hbus_reload(struct hbus *bus);

enum hbus_row_kind {
	HBUS_ROW_TOPIC = 1,
	HBUS_ROW_ROUTE = 2,
	HBUS_ROW_CLIENT = 3,
	HBUS_ROW_RING = 4,
	HBUS_ROW_SUBSCRIBER = 5,
	HBUS_ROW_ATTACHMENT = 6,
	HBUS_ROW_COUNTER = 7,
	HBUS_ROW_QUOTA = 8,
	HBUS_ROW_DAEMON = 9,
	HBUS_ROW_CLIENT_RULE = 10 /* for doors: what the policy says of their clients */
};

/* One row of a list; docs/LISTS.md says what value[] and the strings are for each kind. */
struct hbus_row {
	uint32_t kind;
	uint32_t flags;
	uint64_t value[12];
	char name[256];
	char text[256];
	struct hbus_route route;
};
typedef int (*hbus_row_fn)(const struct hbus_row *row, void *context);
/* Calls row_fn for each row of the kind; stops when it returns not 0 and returns that. */
HBUS_API int hbus_list(struct hbus *bus, uint32_t kind, hbus_row_fn row_fn, void *context);

/* One counter of a program: a name, and a value that only the program writes. */
struct hbus_counter {
	char name[56];
	uint64_t value;
};

/**
 * hbus_counters_create() - counters of this program that `hugebus stats` shows
 * @name: of the set, such as "ingress"
 * @n_counters: at most 4096
 * @ret_counters: n_counters cells; name each, then write its value with relaxed stores. The bus owns them.
 *
 * They live in a memfd of which the daemon keeps a descriptor, so they can be read after a crash.
 */
HBUS_API int hbus_counters_create(struct hbus *bus, const char *name, unsigned int n_counters,
				  struct hbus_counter **ret_counters);

/*
 * Handlers may call the library, but not what another thread is doing with the same publisher or subscriber, and not
 * hbus_close() of their own bus.
 *
 * Called in the control thread (or hbus_dispatch()) when a topic of this program's publishers becomes wanted or not.
 */
typedef void (*hbus_interest_fn)(void *context, hbus_topic_t topic, const char *name, int is_wanted);
HBUS_API int hbus_set_interest_handler(struct hbus *bus, hbus_interest_fn fn, void *context);

/* Called likewise for each route that exists, comes (is_set 1) or goes (0). */
typedef void (*hbus_route_fn)(void *context, const struct hbus_route *route, int is_set);
HBUS_API int hbus_set_route_handler(struct hbus *bus, hbus_route_fn fn, void *context);

/* Source rules; family 0 = the defaults: deny of sources without a rule, rate and burst per source. */
struct hbus_source_rule {
	uint8_t address[16];
	uint8_t family;
	uint8_t prefix_len;
	uint8_t is_deny;
	uint8_t is_removed;
	uint64_t rate;  /* packets per second, 0 = unlimited */
	uint64_t burst; /* packets */
};
typedef void (*hbus_source_fn)(void *context, const struct hbus_source_rule *rule);
HBUS_API int hbus_set_source_handler(struct hbus *bus, hbus_source_fn fn, void *context);

#ifdef __cplusplus
}
#endif
