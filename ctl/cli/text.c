/* SPDX-License-Identifier: BSD-3-Clause */
/* Text that grows. */
#include "ctl/cli/text.h"

#include <err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void hbus_text_free(struct hbus_text *text)
{
	free(text->data);
	*text = (struct hbus_text){ 0 };
}

void hbus_text_grow(struct hbus_text *text, size_t n)
{
	size_t size = text->size ? text->size : 256;
	char *data;

	while (size - text->len < n) {
		if (__builtin_mul_overflow(size, 2, &size))
			errx(1, "out of memory");
	}
	data = realloc(text->data, size);
	if (!data)
		errx(1, "out of memory");
	text->data = data;
	text->size = size;
}

const char *hbus_text_string(struct hbus_text *text)
{
	if (text->size == text->len)
		hbus_text_grow(text, 1);
	text->data[text->len] = '\0';
	return text->data;
}

void hbus_text_printf(struct hbus_text *text, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0)
		return;
	if (text->size - text->len < (size_t)n + 1)
		hbus_text_grow(text, (size_t)n + 1);
	va_start(args, format);
	vsnprintf(text->data + text->len, (size_t)n + 1, format, args);
	va_end(args);
	text->len += (size_t)n;
}

void hbus_text_add_number(struct hbus_text *text, uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value > 0);
	hbus_text_add_bytes(text, digits + at, sizeof(digits) - at);
}

size_t hbus_text_utf8_length(const unsigned char *s, size_t n)
{
	static const uint32_t code_min[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t code;
	size_t len;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (len > n)
		return 0;
	code = s[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3fu);
	}
	if (code < code_min[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return len;
}

bool hbus_text_is_utf8(const void *data, size_t size)
{
	const unsigned char *s = data;
	size_t len;

	for (size_t i = 0; i < size; i += len) {
		len = hbus_text_utf8_length(s + i, size - i);
		if (len == 0)
			return false;
	}
	return true;
}

/* C1 controls are U+0080 to U+009F: two bytes, C2 80 to C2 9F. */
static bool is_control(const unsigned char *s, size_t len)
{
	return (len == 1 && (s[0] < 0x20 || s[0] == 0x7f)) ||
	       (len == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

void hbus_text_add_safe(struct hbus_text *text, const char *string)
{
	const unsigned char *s = (const unsigned char *)string;
	size_t n = strlen(string);
	size_t len;

	for (size_t i = 0; i < n; i += len) {
		len = hbus_text_utf8_length(s + i, n - i);
		if (len > 0 && !is_control(s + i, len)) {
			hbus_text_add_bytes(text, s + i, len);
			continue;
		}
		len = len > 0 ? len : 1;
		for (size_t k = 0; k < len; k++)
			hbus_text_printf(text, "\\x%02x", s[i + k]);
	}
}
