/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bus inside this process: the daemon's core, loaded with dlopen when the first "embedded:" is opened
 *
 * One for the process, shared by all who open it, ended by the last who closes.
 */
#pragma once

/* 0 or an error with its sentence. */
int hbus_embedded_get(void);
void hbus_embedded_put(void);
/* A connection to it. 0 or -errno. */
int hbus_embedded_connect(int *ret_fd);
