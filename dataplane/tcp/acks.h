/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Acknowledgements that say all that earlier ones said.
 *
 * lwIP acknowledges every other segment and each opening of the window at once, as a wire would want it.
 * Here frames are collected and sent together, so that of several acknowledgements in a row the peer
 * needs only the last; each of the others would cost it and us as much as a segment.
 *
 * Frames in, verdicts out: any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/**
 * hbus_ack_replaces() - may a frame take the place of the one that is to be sent just before it?
 * @has_replaced: @before took the place of another one already
 *
 * Both are acknowledgements of one connection without data, and @frame acknowledges more. With the same
 * number it could be the repetition that tells the peer of a loss, and stands for itself: unless it
 * opens the window, and @before is known to be no repetition.
 */
bool hbus_ack_replaces(const uint8_t *frame, uint32_t size, const uint8_t *before, uint32_t before_size,
		       bool has_replaced);
