/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A cursor over the frame: one bounds check for each header taken.
 *
 * Pointers are compared with the end, never subtracted: subtracting them would ask the loader for
 * CAP_PERFMON, which the ingress otherwise does without.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct hbus_cursor {
	const __u8 *pos;
	const __u8 *end;
};

static __always_inline struct hbus_cursor hbus_cursor_of(const struct xdp_md *ctx)
{
	struct hbus_cursor cur = {
		.pos = (const __u8 *)(unsigned long)ctx->data,
		.end = (const __u8 *)(unsigned long)ctx->data_end,
	};

	return cur;
}

static __always_inline bool hbus_cursor_has(const struct hbus_cursor *cur, __u32 len)
{
	return cur->pos + len <= cur->end;
}

/* Moves on by @len bytes. Return: where they begin, or NULL when the frame has fewer. */
static __always_inline const void *hbus_cursor_take(struct hbus_cursor *cur, __u32 len)
{
	const __u8 *begin = cur->pos;

	if (begin + len > cur->end)
		return NULL;
	cur->pos = begin + len;
	return begin;
}
