/* SPDX-License-Identifier: BSD-3-Clause */
/* JSON text written straight into a buffer. */
#include "ctl/cli/json.h"

static void add_escaped(struct hbus_text *text, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	char code[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };

	switch (c) {
	case '"':
		hbus_text_add_bytes(text, "\\\"", 2);
		break;
	case '\\':
		hbus_text_add_bytes(text, "\\\\", 2);
		break;
	case '\n':
		hbus_text_add_bytes(text, "\\n", 2);
		break;
	case '\r':
		hbus_text_add_bytes(text, "\\r", 2);
		break;
	case '\t':
		hbus_text_add_bytes(text, "\\t", 2);
		break;
	default:
		hbus_text_add_bytes(text, code, sizeof(code));
	}
}

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

void hbus_json_add_string(struct hbus_text *text, const void *data, size_t size)
{
	const unsigned char *s = data;
	size_t run;
	size_t len;

	hbus_text_add_char(text, '"');
	for (size_t i = 0; i < size; i += len) {
		for (run = i; run < size && is_plain(s[run]); run++)
			;
		len = run - i;
		if (len > 0) {
			hbus_text_add_bytes(text, s + i, len);
			continue;
		}
		len = hbus_text_utf8_length(s + i, size - i);
		if (len == 0) {
			hbus_text_add(text, "\xef\xbf\xbd");
			len = 1;
		} else if (len == 1) {
			add_escaped(text, s[i]);
		} else {
			hbus_text_add_bytes(text, s + i, len);
		}
	}
	hbus_text_add_char(text, '"');
}
