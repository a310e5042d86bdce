/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages that wait for a full socket, with descriptors of their own; under bus->lock. */
#pragma once

#include "ctl/client/bus.h"

/* Borrows @fds. 0 or -errno; -ENOBUFS when HBUS_OUTGOING_MAX wait already. */
int hbus_outgoing_push(struct hbus *bus, const struct hbus_msg_header *message, const int *fds, unsigned int n_fds);
/* 0, -EAGAIN when some are left, -errno. */
int hbus_outgoing_flush(struct hbus *bus);
void hbus_outgoing_clear(struct hbus *bus);
