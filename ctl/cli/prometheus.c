/* SPDX-License-Identifier: BSD-3-Clause */
/* The Prometheus text exposition format. */
#include "ctl/cli/prometheus.h"

void hbus_prometheus_family(struct hbus_text *text, const char *name, const char *type,
			    const char *help)
{
	hbus_text_printf(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A backslash, a quote and a newline are escaped; what is not UTF-8 or a control becomes '?'. */
static void add_label_value(struct hbus_text *text, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;
	size_t n = strlen(value);
	size_t len;

	for (size_t i = 0; i < n; i += len) {
		len = hbus_text_utf8_length(s + i, n - i);
		if (s[i] == '\n') {
			hbus_text_add(text, "\\n");
		} else if (s[i] == '"' || s[i] == '\\') {
			hbus_text_add_char(text, '\\');
			hbus_text_add_char(text, (char)s[i]);
		} else if (len == 0 || s[i] < 0x20 || s[i] == 0x7f) {
			hbus_text_add_char(text, '?');
			len = 1;
		} else {
			hbus_text_add_bytes(text, s + i, len);
		}
	}
}

void hbus_prometheus_sample(struct hbus_text *text, const char *name,
			    const struct hbus_prometheus_label *labels, size_t n_labels,
			    uint64_t value)
{
	hbus_text_add(text, name);
	for (size_t i = 0; i < n_labels; i++) {
		hbus_text_add_char(text, i == 0 ? '{' : ',');
		hbus_text_add(text, labels[i].name);
		hbus_text_add(text, "=\"");
		add_label_value(text, labels[i].value);
		hbus_text_add_char(text, '"');
	}
	hbus_text_add(text, n_labels > 0 ? "} " : " ");
	hbus_text_add_number(text, value);
	hbus_text_add_char(text, '\n');
}
