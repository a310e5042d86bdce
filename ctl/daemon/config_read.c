/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctl/daemon/config_read.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/daemon/route.h"
#include "ctl/proto/text.h"
#include "ctl/proto/topic.h"

bool hbus_read_fail(struct hbus_config_reader *reader, const config_setting_t *setting,
		    const char *format, ...)
{
	const char *file = config_setting_source_file(setting);
	char *text = reader->error->text;
	size_t size = sizeof(reader->error->text);
	va_list args;
	int n;

	n = snprintf(text, size, "%.300s:%u: ", file ? file : reader->path,
		     (unsigned int)config_setting_source_line(setting));
	va_start(args, format);
	vsnprintf(text + n, size - (size_t)n, format, args);
	va_end(args);
	return false;
}

bool hbus_read_group(struct hbus_config_reader *reader, const config_setting_t *group,
		     const char *const *keys)
{
	if (!config_setting_is_group(group))
		return hbus_read_fail(reader, group, "a group, { ... }, is expected here");
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *member = config_setting_get_elem(group, (unsigned int)i);
		const char *const *key = keys;

		while (*key && strcmp(*key, config_setting_name(member)) != 0)
			key++;
		if (!*key)
			return hbus_read_fail(reader, member, "unknown setting '%.60s'",
					      config_setting_name(member));
	}
	return true;
}

bool hbus_read_list(struct hbus_config_reader *reader, const config_setting_t *list,
		    const char *what, size_t n_max)
{
	if (!config_setting_is_list(list))
		return hbus_read_fail(reader, list, "%s are a list, ( ... )", what);
	if ((size_t)config_setting_length(list) > n_max)
		return hbus_read_fail(reader, list, "at most %zu %s are possible", n_max, what);
	return true;
}

static const config_setting_t *get(const config_setting_t *group, const char *key)
{
	return config_setting_get_member((config_setting_t *)(uintptr_t)group, key);
}

static bool is_integer(const config_setting_t *setting)
{
	int type = config_setting_type(setting);

	return type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
}

static bool check_range(struct hbus_config_reader *reader, const config_setting_t *setting,
			const char *key, uint64_t min, uint64_t max, uint64_t *ret)
{
	long long value = config_setting_get_int64(setting);

	if (config_setting_type(setting) == CONFIG_TYPE_INT)
		value = config_setting_get_int(setting);
	if (value < 0 || (uint64_t)value < min || (uint64_t)value > max)
		return hbus_read_fail(reader, setting, "'%s' is a number from %llu to %llu", key,
				      (unsigned long long)min, (unsigned long long)max);
	*ret = (uint64_t)value;
	return true;
}

bool hbus_read_uint(struct hbus_config_reader *reader, const config_setting_t *group,
		    const char *key, uint64_t min, uint64_t max, uint64_t *ret)
{
	const config_setting_t *setting = get(group, key);

	if (!setting)
		return true;
	if (!is_integer(setting))
		return hbus_read_fail(reader, setting, "'%s' is a whole number", key);
	return check_range(reader, setting, key, min, max, ret);
}

bool hbus_read_bool(struct hbus_config_reader *reader, const config_setting_t *group,
		    const char *key, bool *ret)
{
	const config_setting_t *setting = get(group, key);

	if (!setting)
		return true;
	if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
		return hbus_read_fail(reader, setting, "'%s' is true or false", key);
	*ret = config_setting_get_bool(setting);
	return true;
}

/* "2M" and the like; false: not a size. */
static bool parse_size(const char *text, uint64_t *ret)
{
	unsigned int shift = 0;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (*end) {
		const char *letters = "KMGT", *letter = strchr(letters, *end);

		if (!letter || end[1])
			return false;
		shift = 10 * (unsigned int)(letter - letters + 1);
	}
	if (*ret > UINT64_MAX >> shift)
		return false;
	*ret <<= shift;
	return true;
}

bool hbus_read_size(struct hbus_config_reader *reader, const config_setting_t *group,
		    const char *key, uint64_t min, uint64_t max, uint64_t *ret)
{
	const config_setting_t *setting = get(group, key);
	uint64_t value;

	if (!setting)
		return true;
	if (is_integer(setting))
		return check_range(reader, setting, key, min, max, ret);
	if (config_setting_type(setting) != CONFIG_TYPE_STRING ||
	    !parse_size(config_setting_get_string(setting), &value))
		return hbus_read_fail(reader, setting,
				      "'%s' is a number of bytes, such as 65536, \"64K\" or \"2M\"",
				      key);
	if (value < min || value > max)
		return hbus_read_fail(reader, setting, "'%s' is from %llu to %llu bytes", key,
				      (unsigned long long)min, (unsigned long long)max);
	*ret = value;
	return true;
}

bool hbus_read_text(struct hbus_config_reader *reader, const config_setting_t *group,
		    const char *key, char *ret, size_t size)
{
	const config_setting_t *setting = get(group, key);
	const char *text;

	if (!setting)
		return true;
	if (config_setting_type(setting) != CONFIG_TYPE_STRING)
		return hbus_read_fail(reader, setting, "'%s' is a string", key);
	text = config_setting_get_string(setting);
	if (strlen(text) >= size)
		return hbus_read_fail(reader, setting, "'%s' has at most %zu bytes", key, size - 1);
	hbus_text_copy(ret, size, text);
	return true;
}

bool hbus_read_word(struct hbus_config_reader *reader, const config_setting_t *group,
		    const char *key, const char *const *words, unsigned int *ret)
{
	const config_setting_t *setting = get(group, key);
	const char *text = setting ? config_setting_get_string(setting) : NULL;
	char list[128] = "";

	if (!setting)
		return true;
	for (unsigned int i = 0; words[i]; i++) {
		if (text && strcmp(text, words[i]) == 0) {
			*ret = i;
			return true;
		}
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s\"%s\"",
			 i ? ", " : "", words[i]);
	}
	return hbus_read_fail(reader, setting, "'%s' is one of %s", key, list);
}

static bool parse_prefix_len(const char *slash, uint32_t *ret)
{
	uint32_t n = 0;

	if (slash[1] == '\0' || strlen(slash + 1) > 3)
		return false;
	for (const char *c = slash + 1; *c; c++) {
		if (*c < '0' || *c > '9')
			return false;
		n = n * 10 + (uint32_t)(*c - '0');
	}
	*ret = n;
	return true;
}

bool hbus_read_prefix(struct hbus_config_reader *reader, const config_setting_t *setting,
		      uint8_t address[16], uint32_t *ret_family, uint32_t *ret_prefix_len)
{
	const char *text = config_setting_get_string(setting), *slash, *wrong;
	char copy[64];

	if (!text || strlen(text) >= sizeof(copy))
		return hbus_read_fail(reader, setting, "an address such as \"192.0.2.0/24\" is expected");
	memcpy(copy, text, strlen(text) + 1);
	slash = strchr(text, '/');
	if (slash)
		copy[slash - text] = '\0';
	memset(address, 0, 16);
	*ret_family = strchr(copy, ':') ? 6 : 4;
	*ret_prefix_len = *ret_family == 4 ? 32 : 128;
	if (inet_pton(*ret_family == 4 ? AF_INET : AF_INET6, copy, address) != 1 ||
	    (slash && !parse_prefix_len(slash, ret_prefix_len)))
		return hbus_read_fail(reader, setting, "'%s' is not an IPv4 or IPv6 address or prefix",
				      text);
	wrong = hbus_prefix_check(address, *ret_family, *ret_prefix_len);
	return !wrong || hbus_read_fail(reader, setting, "'%s': %s", text, wrong);
}

bool hbus_read_topic(struct hbus_config_reader *reader, const config_setting_t *group,
		     const char *key, bool is_filter, char ret[HBUS_TOPIC_NAME_MAX + 1])
{
	const config_setting_t *setting = get(group, key);
	const char *text = setting ? config_setting_get_string(setting) : NULL;
	int r;

	if (!setting)
		return hbus_read_fail(reader, group, "'%s' is missing here", key);
	if (!text)
		return hbus_read_fail(reader, setting, "'%s' is a string", key);
	r = is_filter ? hbus_topic_check_filter(text, strlen(text)) :
			hbus_topic_check_name(text, strlen(text));
	if (r)
		return hbus_read_fail(reader, setting, "'%.100s': %s", text, hbus_topic_strerror(r));
	hbus_text_copy(ret, HBUS_TOPIC_NAME_MAX + 1, text);
	return true;
}
