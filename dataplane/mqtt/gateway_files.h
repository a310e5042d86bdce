/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The files of a state directory: the saved state, and the journals of its generations
 *
 *	mqtt.state            as hbus_mqtt_save() made it
 *	mqtt.journal.NUMBER   what has changed since, of the generation of that number
 *
 * No thread of its own, no state; all return 0 or -errno.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All of it, in as many pieces as it takes. */
int hbus_gateway_files_write(int fd, const void *data, size_t size);
/* The whole file on the disk, or the old one stays. */
int hbus_gateway_files_replace(int dir_fd, const uint8_t *data, size_t size);
/* -ENOENT when there is none. The caller frees *ret_data. */
int hbus_gateway_files_read_saved(int dir_fd, uint8_t **ret_data, size_t *ret_size);
int hbus_gateway_files_read_journal(int dir_fd, uint64_t generation, uint8_t **ret_data, size_t *ret_size);
/* A new one, for appending. Return: its descriptor, the caller's. */
int hbus_gateway_files_make_journal(int dir_fd, uint64_t generation);
/* All journals but that of this generation; UINT64_MAX = all. */
void hbus_gateway_files_remove_journals(int dir_fd, uint64_t but_generation);
/* What is damaged gets another name: the saved state with all journals, or one journal. */
int hbus_gateway_files_put_aside_all(int dir_fd);
int hbus_gateway_files_put_aside(int dir_fd, uint64_t generation);
