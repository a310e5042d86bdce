/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Names and passwords of MQTT clients
 *
 * A file of lines NAME:HASH, where HASH is what crypt(5) makes; yescrypt is meant, and only methods
 * that are slow on purpose are accepted. `hugebus-mqtt --hash-password NAME` writes such a line.
 * Hashes are computed by a thread of its own, one after another; who comes while many wait is told
 * that the server is busy. An unknown name takes as long as a known one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HBUS_GATEWAY_LOGINS_MAX 64 /* that wait for their hash */

struct hbus_gateway_login;

struct hbus_gateway_answer {
	uint64_t id;
	bool is_good;
	char name[64];
};

/* Return: 0, or -errno with *ret_line the line that is wrong (0 = the file itself). */
int hbus_gateway_login_open(const char *path, unsigned int *ret_line, struct hbus_gateway_login **ret_login);
struct hbus_gateway_login *hbus_gateway_login_close(struct hbus_gateway_login *login);

/* Reads the file again, soon; a file that is wrong changes nothing. @log: hears, in the thread, how it went. */
void hbus_gateway_login_reload(struct hbus_gateway_login *login, void (*log)(const char *sentence));

/* Readable when there is an answer. */
int hbus_gateway_login_fd(const struct hbus_gateway_login *login);

/* @id comes back in the answer. Return: false when too many wait. */
bool hbus_gateway_login_ask(struct hbus_gateway_login *login, uint64_t id, const void *name, size_t name_size,
			    const void *password, size_t password_size);

/* Return: false when there is none. */
bool hbus_gateway_login_answer(struct hbus_gateway_login *login, struct hbus_gateway_answer *ret_answer);

/* A line for the file, for the password on the first line of stdin. Return: 0 or -errno. */
int hbus_gateway_login_hash(const char *name, char *room, size_t room_size);
