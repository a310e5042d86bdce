/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A cursor over the frame: one bounds check for each header taken.
 *
 * Up to the first header of variable length headers are read in place, behind it through a helper
 * of the kernel. So no packet pointer is ever moved by a variable, subtracted, or compared with
 * anything but the end of the frame: the verifier would ask for CAP_PERFMON, with which one may
 * read kernel memory, and CAP_BPF with CAP_NET_ADMIN is to be enough.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct hbus_cursor {
	struct xdp_md *ctx;
	const __u8 *pos; /* good as long as only hbus_cursor_take() moved the cursor */
	const __u8 *end;
	__u32 off; /* where the cursor is, from the first byte of the frame */
	__u32 frame_size;
};

static __always_inline struct hbus_cursor hbus_cursor_of(struct xdp_md *ctx, __u32 frame_size)
{
	struct hbus_cursor cur = {
		.ctx = ctx,
		.pos = (const __u8 *)(unsigned long)ctx->data,
		.end = (const __u8 *)(unsigned long)ctx->data_end,
		.frame_size = frame_size,
	};

	return cur;
}

static __always_inline bool hbus_cursor_has(const struct hbus_cursor *cur, __u32 size)
{
	return size <= cur->frame_size && cur->off <= cur->frame_size - size;
}

/*
 * Takes @size bytes, a constant, in place. Return: false when the frame has fewer; else @ret_begin
 * is where they begin.
 */
static __always_inline bool hbus_cursor_take(struct hbus_cursor *cur, __u32 size,
					     const void **ret_begin)
{
	if (cur->pos + size > cur->end)
		return false;
	*ret_begin = cur->pos;
	cur->pos += size;
	cur->off += size;
	return true;
}

/* Goes on by @size bytes. Return: false when the frame has fewer. */
static __always_inline bool hbus_cursor_skip(struct hbus_cursor *cur, __u32 size)
{
	if (!hbus_cursor_has(cur, size))
		return false;
	cur->off += size;
	return true;
}

/* Copies @size bytes, a constant, to @ret_bytes and goes on. */
static __always_inline bool hbus_cursor_copy(struct hbus_cursor *cur, __u32 size, void *ret_bytes)
{
	if (bpf_xdp_load_bytes(cur->ctx, cur->off, ret_bytes, size) < 0)
		return false;
	cur->off += size;
	return true;
}
