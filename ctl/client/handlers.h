/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the library does with each message that the daemon sends on its own; all run under bus->lock
 *
 * A handler takes out of @fds what it keeps; the rest is closed by the caller.
 */
#pragma once

#include "ctl/client/bus.h"

/* publisher_gates.c */
void hbus_on_gate_add(struct hbus *bus, const struct hbus_msg_gate_add *message, struct hbus_wire_fds *fds);
/* The daemon is gone: the next one has to name the gates again. Under bus->lock. */
void hbus_unclaim_gates(struct hbus *bus);
void hbus_on_gate_remove(struct hbus *bus, const struct hbus_msg_gate *message);

/* attach.c */
void hbus_on_ring_opened(struct hbus *bus, const struct hbus_msg_ring_opened *message, struct hbus_wire_fds *fds);
void hbus_on_ring_live(struct hbus *bus, const struct hbus_msg_ring_event *message);
void hbus_on_ring_ended(struct hbus *bus, const struct hbus_msg_ring_event *message);
void hbus_on_topic_match(struct hbus *bus, const struct hbus_msg_topic_match *message);
void hbus_on_topic_skip(struct hbus *bus, const struct hbus_msg_topic_skip *message);
void hbus_on_ring_topics(struct hbus *bus, const struct hbus_msg_ring_topics *message);
/* Gives back the rings that data threads are done with. */
void hbus_subscribers_tend(struct hbus *bus);

/* resume.c */
void hbus_resume_locked(struct hbus *bus);
