/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages over a SOCK_SEQPACKET socket: build, send, receive and check their form
 *
 * Both sides receive through here, so that no other code meets a message of a wrong size, a string
 * without an end, a reserved byte in use, or a descriptor that nobody asked for. What the values mean,
 * and whether the peer may say them now, is the caller's business. Thread: any. Never blocks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ctl/proto/proto.h"

/* SCM_MAX_FD of the kernel: no message can carry more. */
#define HBUS_WIRE_FDS_MAX 253u

/* Outcomes of hbus_wire_receive(). */
#define HBUS_WIRE_EMPTY 1   /* nothing there now */
#define HBUS_WIRE_CLOSED 2  /* the peer has hung up */
#define HBUS_WIRE_INVALID 3 /* not a message of this protocol; its descriptors are closed */

/* Room for any message, aligned for all of them. */
union hbus_msg {
	struct hbus_msg_header header;
	struct hbus_msg_hello hello;
	struct hbus_msg_reply reply;
	struct hbus_msg_topic topic;
	struct hbus_msg_ring_create ring_create;
	struct hbus_msg_ring_grant ring_grant;
	struct hbus_msg_ring ring;
	struct hbus_msg_ring_topic_add ring_topic_add;
	struct hbus_msg_ring_offer ring_offer;
	struct hbus_msg_ring_opened ring_opened;
	struct hbus_msg_ring_accept ring_accept;
	struct hbus_msg_ring_event ring_event;
	struct hbus_msg_sub_open sub_open;
	struct hbus_msg_sub_slots sub_slots;
	struct hbus_msg_sub_filter sub_filter;
	struct hbus_msg_sub_close sub_close;
	struct hbus_msg_sub_held sub_held;
	struct hbus_msg_topic_match topic_match;
	struct hbus_msg_topic_skip topic_skip;
	struct hbus_msg_ring_topics ring_topics;
	struct hbus_msg_gate_add gate_add;
	struct hbus_msg_gate gate;
	struct hbus_msg_route route;
	struct hbus_msg_source_rule source_rule;
	struct hbus_msg_list list;
	struct hbus_msg_row row;
	struct hbus_msg_counters_offer counters_offer;
	struct hbus_msg_interest interest;
	struct hbus_msg_simple simple;
	unsigned char bytes[HBUS_MSG_SIZE_MAX];
};

/* Descriptors of one received message; those beyond n are -1. */
struct hbus_wire_fds {
	int fd[HBUS_MSG_FDS_MAX];
	unsigned int n;
};

/* Size of header and body of a type, 0 for an unknown one. */
size_t hbus_wire_size(unsigned int type);
/* "RING_CREATE", or "?" . For people. */
const char *hbus_wire_type_name(unsigned int type);

/* Zeroes the message (as many bytes as its type has) and fills its header in. */
void hbus_wire_init(void *message, enum hbus_msg_type type, uint32_t serial);
/* Copies a string into its zeroed array. False when it does not fit; then nothing is written. NULL is "". */
bool hbus_wire_put_string(char *to, size_t size, const char *from);

/**
 * hbus_wire_send() - send one message, whole or not at all
 * @message: begins with a struct hbus_msg_header that hbus_wire_init() made; n_fds is written here
 * @fds: borrowed; @n_fds: 0..HBUS_MSG_FDS_MAX
 *
 * Return: 0, -EAGAIN when the socket is full, -EPIPE or -ECONNRESET when the peer is gone, -errno.
 */
int hbus_wire_send(int socket_fd, void *message, const int *fds, unsigned int n_fds);

/**
 * hbus_wire_receive() - receive one message
 * @ret_fds: the caller's on 0; on every other return nothing is left open
 *
 * Return: 0, HBUS_WIRE_*, or -errno.
 */
int hbus_wire_receive(int socket_fd, union hbus_msg *ret_message, struct hbus_wire_fds *ret_fds);

/* The checks of hbus_wire_receive() on size bytes and n_fds descriptors, for fuzzers and replays. */
bool hbus_wire_is_valid(const union hbus_msg *message, size_t size, unsigned int n_fds);

/* Takes descriptor idx out of the set, so that hbus_wire_fds_close() leaves it. -1 when it is not there. */
int hbus_wire_fds_take(struct hbus_wire_fds *fds, unsigned int idx);
/* Closes those that are left. Keeps errno. */
void hbus_wire_fds_close(struct hbus_wire_fds *fds);
