/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers as people write and read them. */
#include "ctl/cli/number.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct unit {
	const char *name;
	uint64_t factor;
};

/* Reads digits from *text on. False when there are none or the number does not fit. */
static bool take_digits(const char **text, uint64_t *ret_value)
{
	const char *s = *text;
	uint64_t value = 0;

	if (*s < '0' || *s > '9')
		return false;
	for (; *s >= '0' && *s <= '9'; s++) {
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*s - '0'), &value))
			return false;
	}
	*text = s;
	*ret_value = value;
	return true;
}

/* Reads ".ddd" as a part of factor; digits beyond the factor's precision are dropped. */
static bool take_fraction(const char **text, uint64_t factor, uint64_t *ret_value)
{
	const char *s = *text;
	uint64_t numerator = 0;
	uint64_t denominator = 1;
	size_t n_digits = 0;

	*ret_value = 0;
	if (*s != '.')
		return true;
	for (s++; *s >= '0' && *s <= '9'; s++, n_digits++) {
		if (n_digits >= 9)
			continue;
		numerator = numerator * 10 + (uint64_t)(*s - '0');
		denominator *= 10;
	}
	if (n_digits == 0)
		return false;
	*ret_value = (uint64_t)((unsigned __int128)factor * numerator / denominator);
	*text = s;
	return true;
}

static const struct unit *find_unit(const char *name, const struct unit *units)
{
	for (; units->name; units++) {
		if (strcmp(units->name, name) == 0)
			return units;
	}
	return NULL;
}

/* A fraction needs its unit before its value is known: it is read twice. */
static bool parse_with_units(const char *text, const struct unit *units, uint64_t *ret_value)
{
	const struct unit *unit;
	const char *fraction;
	uint64_t whole;
	uint64_t part;

	if (!take_digits(&text, &whole))
		return false;
	fraction = text;
	if (!take_fraction(&text, 1, &part))
		return false;
	unit = find_unit(text, units);
	if (!unit || (*fraction == '.' && unit->factor == 1) ||
	    !take_fraction(&fraction, unit->factor, &part))
		return false;
	return !__builtin_mul_overflow(whole, unit->factor, &whole) &&
	       !__builtin_add_overflow(whole, part, ret_value);
}

bool hbus_number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
	uint64_t value;

	if (!take_digits(&text, &value) || *text != '\0' || value < min || value > max)
		return false;
	*ret_value = value;
	return true;
}

bool hbus_number_parse_count(const char *text, uint64_t *ret_value)
{
	static const struct unit units[] = {
		{ "", 1 },	  { "k", 1000 },       { "K", 1000 },	    { "M", 1000000 },
		{ "m", 1000000 }, { "G", 1000000000 }, { "g", 1000000000 }, { NULL, 0 },
	};

	return parse_with_units(text, units, ret_value);
}

bool hbus_number_parse_rate(const char *text, uint64_t *ret_per_1000_s)
{
	static const struct unit units[] = {
		{ "", 1000 },		{ "k", 1000000 },    { "K", 1000000 },
		{ "M", 1000000000 },	{ "m", 1000000000 }, { "G", 1000000000000 },
		{ "g", 1000000000000 }, { NULL, 0 },
	};
	bool is_zero = strspn(text, "0.") == strlen(text);

	return parse_with_units(text, units, ret_per_1000_s) && (*ret_per_1000_s > 0 || is_zero);
}

bool hbus_number_parse_size(const char *text, uint64_t *ret_value)
{
	static const struct unit units[] = {
		{ "", 1 },
		{ "B", 1 },
		{ "k", 1ull << 10 },
		{ "K", 1ull << 10 },
		{ "KiB", 1ull << 10 },
		{ "M", 1ull << 20 },
		{ "m", 1ull << 20 },
		{ "MiB", 1ull << 20 },
		{ "G", 1ull << 30 },
		{ "g", 1ull << 30 },
		{ "GiB", 1ull << 30 },
		{ NULL, 0 },
	};

	return parse_with_units(text, units, ret_value);
}

bool hbus_number_parse_duration(const char *text, uint64_t *ret_ms)
{
	static const struct unit units[] = {
		{ "", 1000 },	{ "ms", 1 },	  { "s", 1000 },
		{ "m", 60000 }, { "h", 3600000 }, { NULL, 0 },
	};

	return parse_with_units(text, units, ret_ms);
}

bool hbus_number_parse_place(const char *text, uint64_t *ret_ring_id, uint64_t *ret_sequence)
{
	uint64_t ring_id;
	uint64_t sequence;

	if (!take_digits(&text, &ring_id) || *text++ != ':' || !take_digits(&text, &sequence) ||
	    *text)
		return false;
	*ret_ring_id = ring_id;
	*ret_sequence = sequence;
	return true;
}

/* Three digits that count. What would be rounded to 1000 is 1.00 of the next unit. */
static const char *format_scaled(double value, double base, const char *const *units, char *text)
{
	size_t i = 0;

	while (value >= 999.5 && units[i + 1]) {
		value /= base;
		i++;
	}
	if (i == 0)
		snprintf(text, HBUS_NUMBER_TEXT_SIZE, "%.0f%s", value, units[i]);
	else
		snprintf(text, HBUS_NUMBER_TEXT_SIZE, "%.*f%s",
			 value < 9.995	 ? 2
			 : value < 99.95 ? 1
					 : 0,
			 value, units[i]);
	return text;
}

const char *hbus_number_format_count(double value, char text[HBUS_NUMBER_TEXT_SIZE])
{
	static const char *const units[] = { "", "k", "M", "G", "T", "P", "E", NULL };

	return format_scaled(value, 1000, units, text);
}

const char *hbus_number_format_size(double bytes, char text[HBUS_NUMBER_TEXT_SIZE])
{
	static const char *const units[] = { " B",   " KiB", " MiB", " GiB",
					     " TiB", " PiB", " EiB", NULL };

	return format_scaled(bytes, 1024, units, text);
}

const char *hbus_number_format_duration(uint64_t ms, char text[HBUS_NUMBER_TEXT_SIZE])
{
	unsigned long long s = ms / 1000;

	if (s < 60)
		snprintf(text, HBUS_NUMBER_TEXT_SIZE, "%llus", s);
	else if (s < 3600)
		snprintf(text, HBUS_NUMBER_TEXT_SIZE, "%llum%02llus", s / 60, s % 60);
	else if (s < 86400)
		snprintf(text, HBUS_NUMBER_TEXT_SIZE, "%lluh%02llum", s / 3600, s / 60 % 60);
	else
		snprintf(text, HBUS_NUMBER_TEXT_SIZE, "%llud%02lluh", s / 86400, s / 3600 % 24);
	return text;
}
