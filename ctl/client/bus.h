/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The library's view of one bus: its connection to the daemon, and what hangs on it
 *
 * One lock (bus->lock) guards everything here and the control side of publishers and subscribers. The
 * data paths take no lock: they see the control side's work through single words (publisher.h,
 * subscriber.h). The control thread, or in its absence whoever calls hbus_dispatch() or waits for a reply,
 * receives messages and handles them under the lock. User callbacks run without it.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctl/client/error.h"
#include "ctl/client/hugebus.h"
#include "ctl/proto/wire.h"

/* -- limits -- */
#define HBUS_CONNECT_TIMEOUT_MS 2000
#define HBUS_CALL_TIMEOUT_MS 10000  /* a connected daemon answers within this */
#define HBUS_AWAY_TIMEOUT_MS 2500   /* how long a call waits for a daemon to come back */
#define HBUS_CLOSE_TIMEOUT_MS 1000
#define HBUS_RETRY_FIRST_MS 10
#define HBUS_RETRY_MOST_MS 500
#define HBUS_OUTGOING_MAX 65536u    /* messages that wait for a full socket */

enum hbus_link {
	HBUS_LINK_AWAY = 0,      /* no daemon; tries again at retry_at_ms */
	HBUS_LINK_GREETING = 1,  /* HELLO is sent */
	HBUS_LINK_RESUMING = 2,  /* saying again what this member holds */
	HBUS_LINK_CONNECTED = 3,
};

struct hbus_call;
struct hbus_outgoing;
struct hbus_pub_ring;
struct hbus_steering;
struct hbus_counter_set;

struct hbus {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a call is done, or the link has changed */
	const _Atomic uint32_t *alive; /* 1; a page of its own that fork() wipes in the child */
	pthread_t thread;
	bool has_thread;
	pthread_t registrar; /* asks the kernel for barriers, see hbus_barriers_want() */
	_Atomic uint32_t has_registrar;
	bool is_losing;   /* the link breaks: what is still to be read is read, nothing is sent */
	bool is_ending;  /* hbus_link_end_locked() */
	bool is_stopping;
	uint32_t flags;
	/* -- the link -- */
	enum hbus_link link;
	int socket_fd;
	int epoll_fd; /* socket, wake_fd, timer_fd */
	int wake_fd;  /* eventfd: other threads want the control thread's attention */
	int timer_fd;
	uint32_t retry_ms;
	uint64_t retry_at_ms;
	uint32_t serial;
	uint32_t n_links;  /* how often the link came up */
	_Atomic uint32_t n_heard; /* how often all was read that a connected daemon had sent; changes for owners' threads to see */
	struct hbus_call *calls, **calls_tail;
	struct hbus_outgoing *outgoing, **outgoing_tail;
	uint32_t n_outgoing;
	uint32_t n_resuming; /* replies that are missing until the link is up */
	bool wants_output;   /* EPOLLOUT is asked for */
	/* -- what the daemon said -- */
	struct hbus_token token;
	uint64_t client_id;
	uint64_t boot_id;
	uint64_t default_capacity;
	int hello_status; /* why the daemon refused this member, or 0 */
	char hello_text[HBUS_TEXT_MAX + 1];
	/* -- who we are -- */
	char *address; /* NULL: look it up */
	char name[64];
	bool is_embedded;
	/* -- what hangs on it -- */
	struct hbus_pub_ring *pub_rings;
	struct hbus_subscriber *subscribers;
	struct hbus_counter_set *counter_sets;
	struct hbus_steering *steering;
	uint32_t next_sub_id;
};

/*
 * From the first publisher on, readers' barriers shall reach this process. The kernel takes some 10 ms for that, so a
 * thread of its own waits for it; until then rings fence.
 */
void hbus_barriers_want(struct hbus *bus);
void hbus_barriers_end(struct hbus *bus);

uint64_t hbus_now_ms(void);
uint64_t hbus_now_us(void);

/* False in a child of the process that opened the bus, and for NULL. One load. */
static inline bool hbus_is_ours(const struct hbus *bus)
{
	/* relaxed: nobody writes it; fork() replaces the page by zeroes */
	return bus && atomic_load_explicit(bus->alive, memory_order_relaxed) != 0;
}

/* What is wrong with a handle that cannot be used here: it is NULL, or the parent process's. */
int hbus_fail_handle(const void *handle);
/* A result has no place to go to. */
int hbus_fail_no_place(void);

/* Connects to bus->address, or to the first of the usual places that answers. 0 or -errno. */
int hbus_connect(struct hbus *bus, int *ret_fd);
/* Says HELLO on a fresh socket; takes it over. */
int hbus_hello_send(struct hbus *bus, int fd);
