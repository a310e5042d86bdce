/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages between the library and the daemon: calls that wait for a reply, and a queue for a full socket
 *
 * Functions named _locked are called with bus->lock held.
 */
#pragma once

#include "ctl/client/bus.h"

struct hbus_call;
/* Runs under the lock when the reply is there, or the link was lost (is_lost). Frees the call. */
typedef void (*hbus_reply_fn)(struct hbus *bus, struct hbus_call *call);
/* A row of a list; NULL: they come from the start now. */
typedef void (*hbus_call_row_fn)(struct hbus_call *call, const struct hbus_msg_row *row);

/* Runs under the lock, in the thread that waits, every few milliseconds of the wait. */
typedef void (*hbus_call_wait_fn)(struct hbus_call *call);

/* A request under way. */
struct hbus_call {
	struct hbus_call *next;
	uint32_t serial;
	bool is_done;
	bool is_lost;          /* the link broke before the reply */
	bool is_repeated;      /* it was sent on another link before */
	bool no_retry;         /* without a link, or when it is lost, it fails; else it is sent when the link is back */
	int timeout_ms;        /* 0 = HBUS_CALL_TIMEOUT_MS */
	bool is_brief;         /* timeout_ms is for all of it: a link that comes back, sending again, the reply */
	hbus_reply_fn on_reply; /* NULL: somebody waits in hbus_call() */
	hbus_call_row_fn on_row;
	hbus_call_wait_fn on_wait;
	void *context;
	bool *ret_ok;          /* or NULL; set under the lock when a reply with status 0 comes */
	union hbus_msg reply;  /* REPLY or RING_GRANT */
	struct hbus_wire_fds fds;
};

/**
 * hbus_call() - send a request and wait for its reply
 * @message: header without a serial
 * @fds: borrowed
 * @call: zeroed, but for what the caller wants; call->fds are the caller's on 0
 *
 * Takes the lock. Return: 0 when the reply's status is 0, else the error; its sentence is set.
 */
int hbus_call(struct hbus *bus, void *message, const int *fds, unsigned int n_fds, struct hbus_call *call);

/* A call whose reply runs @fn. NULL when there is no memory. */
struct hbus_call *hbus_call_new(hbus_reply_fn fn, void *context);

/* Sends a request whose reply runs on_reply; @call is from malloc. On failure it is freed without a run. */
int hbus_call_start_locked(struct hbus *bus, void *message, const int *fds, unsigned int n_fds,
			   struct hbus_call *call);

/*
 * Something that the daemon said could not be kept, or something could not be said to it: the link ends when it is next
 * listened to, and on the next one both sides say again what they hold. From everywhere, also while it is listened to.
 */
void hbus_link_end_locked(struct hbus *bus);

/* Sends a request whose reply nobody asks for; it needs no memory. False: it could not be sent, and the link ends. */
bool hbus_request_locked(struct hbus *bus, void *message, const int *fds, unsigned int n_fds);

/* Sends, or queues when the socket is full. Errors end the link, so there is nothing to return. */
void hbus_send_locked(struct hbus *bus, void *message, const int *fds, unsigned int n_fds);

/* Tells the daemon that a ring which it has granted is not wanted any more; nobody waits for the answer. */
void hbus_give_back_ring_locked(struct hbus *bus, uint64_t ring_id);

/* The link is broken: close it, finish all calls as lost, come back later. */
void hbus_link_lost_locked(struct hbus *bus);
void hbus_link_up_locked(struct hbus *bus);

/* Receives and handles what is there; reconnects when it is time. */
void hbus_dispatch_locked(struct hbus *bus);

/* Asks the control thread to look at the subscribers' lists. Any thread. */
void hbus_control_poke(struct hbus *bus);

int hbus_control_start(struct hbus *bus);
void hbus_control_stop(struct hbus *bus);
/* What still waits to be sent or answered; also in a child after fork(), where nothing runs. */
void hbus_control_free(struct hbus *bus);
