/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Text that grows: the output buffer of the command line
 *
 * Appending never fails visibly: when memory ends the program does, since nothing that it prints
 * afterwards would be whole. Single-owner.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct hbus_text {
	char *data; /* not terminated; NULL while empty */
	size_t len;
	size_t size;
};

/** hbus_text_free() - give the memory back; the text is empty and usable afterwards */
void hbus_text_free(struct hbus_text *text);

/** hbus_text_grow() - make room for @n more bytes; exits when there is no memory */
void hbus_text_grow(struct hbus_text *text, size_t n);

/** hbus_text_string() - the text as a terminated string; valid until the next change */
const char *hbus_text_string(struct hbus_text *text);

void hbus_text_printf(struct hbus_text *text, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** hbus_text_add_number() - append @value in decimal */
void hbus_text_add_number(struct hbus_text *text, uint64_t value);

/**
 * hbus_text_add_safe() - append @string so that a terminal shows it and obeys nothing in it
 *
 * Control characters (C0, DEL, C1) and bytes that are not UTF-8 become \xNN.
 */
void hbus_text_add_safe(struct hbus_text *text, const char *string);

/**
 * hbus_text_utf8_length() - bytes of the UTF-8 character at @s, 0 when it is ill-formed
 * @n: bytes that may be looked at, at least 1
 */
size_t hbus_text_utf8_length(const unsigned char *s, size_t n);

/** hbus_text_is_utf8() - whether all of @data is well-formed UTF-8 */
bool hbus_text_is_utf8(const void *data, size_t size);

static inline void hbus_text_add_bytes(struct hbus_text *text, const void *data, size_t n)
{
	if (text->size - text->len < n)
		hbus_text_grow(text, n);
	if (n > 0)
		memcpy(text->data + text->len, data, n);
	text->len += n;
}

static inline void hbus_text_add(struct hbus_text *text, const char *string)
{
	hbus_text_add_bytes(text, string, strlen(string));
}

static inline void hbus_text_add_char(struct hbus_text *text, char c)
{
	if (text->size == text->len)
		hbus_text_grow(text, 1);
	text->data[text->len++] = c;
}
