/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What hugebus-ingress says to its users: one line at a time, on stderr. Not for poll loops.
 */
#pragma once

/* The line gets the program's name in front and a newline behind. */
__attribute__((format(printf, 1, 2))) void hbus_log(const char *format, ...);
