/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client that speaks the control protocol by hand, well or badly
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/proto/proto.h"

#define RAW_FDS_MAX 253

struct raw {
	int socket;
	uint32_t serial;
	int fds[8]; /* that came with the last message */
	size_t n_fds;
	_Alignas(8) char msg[2048];
	size_t size;
};

/* Connects; no HELLO yet. False: nobody is there. */
bool raw_connect(struct raw *raw, const char *path);
void raw_close(struct raw *raw);
/* Fills in the header and sends; 0 or -errno. */
int raw_send(struct raw *raw, void *msg, enum hbus_msg_type type, size_t size, const int *fds, size_t n_fds);
/* Any bytes with any descriptors. */
int raw_send_bytes(struct raw *raw, const void *bytes, size_t size, const int *fds, size_t n_fds);
/* The next message within @wait_ms, its descriptors in raw->fds. NULL: none came, or the end. */
const struct hbus_msg_header *raw_next(struct raw *raw, int wait_ms);
/* Answers gates by the way and returns the REPLY to the last request; NULL: none came, or the end. */
const struct hbus_msg_reply *raw_reply(struct raw *raw);
/* The next message of this type, or NULL. */
const void *raw_wait(struct raw *raw, enum hbus_msg_type type);
/* A client of the case's bus that has said HELLO. */
struct raw raw_open(void);
/* HELLO; the status of the reply, or 1 if none came. */
int raw_hello(struct raw *raw);
/* The daemon has ended the connection, or does so within a second. */
bool raw_is_ended(struct raw *raw);
