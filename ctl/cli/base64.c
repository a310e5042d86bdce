/* SPDX-License-Identifier: BSD-3-Clause */
/* Base64 (RFC 4648). */
#include "ctl/cli/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Writes four characters for n = 1..3 bytes. */
static void encode_group(const unsigned char *s, size_t n, char *to)
{
	uint32_t bits =
		(uint32_t)s[0] << 16 | (n > 1 ? (uint32_t)s[1] << 8 : 0) | (n > 2 ? s[2] : 0u);

	to[0] = alphabet[bits >> 18];
	to[1] = alphabet[bits >> 12 & 63];
	to[2] = n > 1 ? alphabet[bits >> 6 & 63] : '=';
	to[3] = n > 2 ? alphabet[bits & 63] : '=';
}

void hbus_base64_encode(struct hbus_text *text, const void *data, size_t size)
{
	const unsigned char *s = data;
	char group[4];

	for (size_t i = 0; i < size; i += 3) {
		encode_group(s + i, size - i < 3 ? size - i : 3, group);
		hbus_text_add_bytes(text, group, sizeof(group));
	}
}

static int value_of(char c)
{
	const char *at = c ? memchr(alphabet, c, sizeof(alphabet) - 1) : NULL;

	return at ? (int)(at - alphabet) : -1;
}

/* Returns the number of bytes that four characters stand for, 0 when they are not valid. */
static size_t decode_group(const char *s, bool is_last, unsigned char to[3])
{
	size_t n = 3;
	uint32_t bits = 0;

	if (is_last && s[3] == '=')
		n = s[2] == '=' ? 1 : 2;
	for (size_t i = 0; i < 4; i++) {
		int value = i <= n ? value_of(s[i]) : 0;

		if (value < 0)
			return 0;
		bits = bits << 6 | (uint32_t)value;
	}
	if (bits & ((1u << 8 * (3 - n)) - 1))
		return 0;
	to[0] = (unsigned char)(bits >> 16);
	to[1] = (unsigned char)(bits >> 8);
	to[2] = (unsigned char)bits;
	return n;
}

bool hbus_base64_decode(struct hbus_text *text, const char *encoded, size_t size)
{
	size_t len = text->len;
	unsigned char bytes[3];
	size_t n;

	if (size % 4 != 0)
		return false;
	for (size_t i = 0; i < size; i += 4) {
		n = decode_group(encoded + i, i + 4 == size, bytes);
		if (n == 0) {
			text->len = len;
			return false;
		}
		hbus_text_add_bytes(text, bytes, n);
	}
	return true;
}
