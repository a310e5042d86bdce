/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Bytes that wait to be written: put in behind, taken out in front
 *
 * Nothing owns it but the connection that it stands in; it is not for two threads at once. All zero is an empty one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define HBUS_OUTBUF_ROOM_MIN 1024u
#define HBUS_OUTBUF_ROOM_KEEP (16u << 10) /* a larger one is freed when it is empty */

struct hbus_outbuf {
	uint8_t *data;
	size_t at, end, room;
};

static inline size_t hbus_outbuf_left(const struct hbus_outbuf *out)
{
	return out->end - out->at;
}

/* Room for @more bytes. False: there is no memory, and nothing has changed. */
static inline bool hbus_outbuf_make_room(struct hbus_outbuf *out, size_t more)
{
	size_t room = out->room ? out->room : HBUS_OUTBUF_ROOM_MIN;
	uint8_t *data;

	if (out->at > 0 && out->end + more > out->room) {
		memmove(out->data, out->data + out->at, hbus_outbuf_left(out));
		out->end -= out->at;
		out->at = 0;
	}
	if (out->end + more <= out->room)
		return true;
	while (room < out->end + more)
		room *= 2;
	data = realloc(out->data, room);
	if (!data)
		return false;
	out->data = data;
	out->room = room;
	return true;
}

/* There was room made for it. */
static inline void hbus_outbuf_append(struct hbus_outbuf *out, const void *data, size_t size)
{
	if (size > 0)
		memcpy(out->data + out->end, data, size);
	out->end += size;
}

/* All of it is written. */
static inline void hbus_outbuf_reset(struct hbus_outbuf *out)
{
	out->at = out->end = 0;
	if (out->room > HBUS_OUTBUF_ROOM_KEEP) {
		free(out->data);
		*out = (struct hbus_outbuf){ NULL };
	}
}
