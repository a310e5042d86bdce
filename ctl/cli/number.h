/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Numbers as people write and read them: counts, sizes, durations, rates, places in a ring
 *
 * Pure functions. What is parsed must be the whole string: no blanks, no sign, no trailing text.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define HBUS_NUMBER_TEXT_SIZE 32

/** hbus_number_parse() - a decimal number in min..max */
bool hbus_number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value);

/**
 * hbus_number_parse_count() - also with k, M or G behind it (thousands), and then a fraction: 1.5M
 */
bool hbus_number_parse_count(const char *text, uint64_t *ret_value);

/**
 * hbus_number_parse_rate() - likewise, in thousandths: 0.5 is 500. What is not 0 is not read as 0.
 */
bool hbus_number_parse_rate(const char *text, uint64_t *ret_per_1000_s);

/** hbus_number_parse_size() - bytes; k, M and G (also KiB, MiB, GiB) are powers of 1024 */
bool hbus_number_parse_size(const char *text, uint64_t *ret_value);

/**
 * hbus_number_parse_duration() - seconds with a fraction, or with ms, s, m or h behind; to
 * milliseconds
 */
bool hbus_number_parse_duration(const char *text, uint64_t *ret_ms);

/** hbus_number_parse_place() - RING-ID:SEQUENCE */
bool hbus_number_parse_place(const char *text, uint64_t *ret_ring_id, uint64_t *ret_sequence);

/** hbus_number_format_count() - at most 6 columns: 999, 1.23k, 45.6M. Return: @text. */
const char *hbus_number_format_count(double value, char text[HBUS_NUMBER_TEXT_SIZE]);

/** hbus_number_format_size() - 512 B, 64.0 KiB, 2.00 MiB. Return: @text. */
const char *hbus_number_format_size(double bytes, char text[HBUS_NUMBER_TEXT_SIZE]);

/** hbus_number_format_duration() - 5s, 2m05s, 3h07m, 4d02h. Return: @text. */
const char *hbus_number_format_duration(uint64_t ms, char text[HBUS_NUMBER_TEXT_SIZE]);
