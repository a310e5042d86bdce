/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The service manager's notification protocol (sd_notify(3)), by hand
 */
#pragma once

/** hbus_notify() - send @text, lines of NAME=value, to $NOTIFY_SOCKET; does nothing without one. */
void hbus_notify(const char *text);

/** hbus_notify_reloading() - RELOADING=1 with the monotonic time that the protocol wants. */
void hbus_notify_reloading(void);
