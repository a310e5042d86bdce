/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Reading typed values out of a libconfig tree, with errors that name file and line
 *
 * Every function returns false after it has written the error; the first error counts.
 */
#pragma once

#include <libconfig.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctl/daemon/config.h"

struct hbus_config_reader {
	config_t tree;
	const char *path;
	struct hbus_config_error *error;
};

/** hbus_read_fail() - "FILE:LINE: sentence" for this setting; always false. */
bool hbus_read_fail(struct hbus_config_reader *reader, const config_setting_t *setting,
		    const char *format, ...) __attribute__((format(printf, 3, 4)));

/** hbus_read_group() - is it a group ("{ }") with no keys but these? @keys ends with NULL. */
bool hbus_read_group(struct hbus_config_reader *reader, const config_setting_t *group,
		     const char *const *keys);
/** hbus_read_list() - is it a list ("( )") of at most @n_max elements? */
bool hbus_read_list(struct hbus_config_reader *reader, const config_setting_t *list,
		    const char *what, size_t n_max);

/* Optional members of a group: what is not there leaves *ret as it is. */
bool hbus_read_uint(struct hbus_config_reader *reader, const config_setting_t *group,
		    const char *key, uint64_t min, uint64_t max, uint64_t *ret);
bool hbus_read_bool(struct hbus_config_reader *reader, const config_setting_t *group,
		    const char *key, bool *ret);
/** A number of bytes: an integer, or a string such as "64K", "2M", "1G". */
bool hbus_read_size(struct hbus_config_reader *reader, const config_setting_t *group,
		    const char *key, uint64_t min, uint64_t max, uint64_t *ret);
/** Copies into @ret of @size bytes; longer strings are an error. */
bool hbus_read_text(struct hbus_config_reader *reader, const config_setting_t *group,
		    const char *key, char *ret, size_t size);
/** One of @words (ends with NULL); its index. */
bool hbus_read_word(struct hbus_config_reader *reader, const config_setting_t *group,
		    const char *key, const char *const *words, unsigned int *ret);
/** "192.0.2.0/24" or "2001:db8::/32"; without a slash all of the address. */
bool hbus_read_prefix(struct hbus_config_reader *reader, const config_setting_t *setting,
		      uint8_t address[16], uint32_t *ret_family, uint32_t *ret_prefix_len);
/** A topic name or, with @is_filter, a filter; must be there. */
bool hbus_read_topic(struct hbus_config_reader *reader, const config_setting_t *group,
		     const char *key, bool is_filter, char ret[HBUS_TOPIC_NAME_MAX + 1]);
