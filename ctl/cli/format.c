/* SPDX-License-Identifier: BSD-3-Clause */
/* Output formats of `hugebus sub -F`. */
#include "ctl/cli/format.h"

#include "ctl/cli/cloudevent.h"

#define NS_PER_S 1000000000u

static const char letters[] = "tpxXlirsIU%";
static const char escapes[] = "ntr0\\";

const char *hbus_format_check(const char *format)
{
	for (; *format; format++) {
		if (*format == '%' && (format[1] == '\0' || !strchr(letters, *++format)))
			return "after % stands one of t p x X l i r s I U %";
		if (*format == '\\' && (format[1] == '\0' || !strchr(escapes, *++format)))
			return "after \\ stands one of n t r 0 \\";
	}
	return NULL;
}

static void add_hex(struct hbus_text *text, const struct hbus_event *event, const char *digits)
{
	const unsigned char *s = event->data;

	for (size_t i = 0; i < event->size; i++) {
		hbus_text_add_char(text, digits[s[i] >> 4]);
		hbus_text_add_char(text, digits[s[i] & 15]);
	}
}

static void add_time(struct hbus_text *text, char letter, uint64_t time_ns)
{
	if (time_ns == 0)
		hbus_text_add_char(text, '-');
	else if (letter == 'I')
		hbus_cloudevent_add_time(text, time_ns);
	else
		hbus_text_printf(text, "%llu.%09u", (unsigned long long)(time_ns / NS_PER_S),
				 (unsigned int)(time_ns % NS_PER_S));
}

static void add_letter(struct hbus_text *text, char letter, const struct hbus_event *event)
{
	switch (letter) {
	case 't':
		hbus_text_add(text, event->topic);
		break;
	case 'p':
		hbus_text_add_bytes(text, event->data, event->size);
		break;
	case 'x':
		add_hex(text, event, "0123456789abcdef");
		break;
	case 'X':
		add_hex(text, event, "0123456789ABCDEF");
		break;
	case 'l':
		hbus_text_add_number(text, event->size);
		break;
	case 'i':
		hbus_text_add_number(text, event->ring_id);
		hbus_text_add_char(text, ':');
		hbus_text_add_number(text, event->sequence);
		break;
	case 'r':
		hbus_text_add_number(text, event->ring_id);
		break;
	case 's':
		hbus_text_add_number(text, event->sequence);
		break;
	case 'I':
	case 'U':
		add_time(text, letter, event->time_ns);
		break;
	default:
		hbus_text_add_char(text, letter);
	}
}

void hbus_format_event(struct hbus_text *text, const char *format, const struct hbus_event *event)
{
	static const char meanings[] = "\n\t\r\0\\";

	for (; *format; format++) {
		if (*format == '%')
			add_letter(text, *++format, event);
		else if (*format == '\\')
			hbus_text_add_char(text, meanings[strchr(escapes, *++format) - escapes]);
		else
			hbus_text_add_char(text, *format);
	}
}
