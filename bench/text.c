/* SPDX-License-Identifier: BSD-3-Clause */
/* Figures and sentences for people. See text.h. */
#include "bench/text.h"

#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct scale {
	double factor;
	const char *prefix;
};

/* Three digits; what would be 1000 of one prefix is 1 of the next. */
static const struct scale *choose(const struct scale *scales, size_t n, double value)
{
	for (size_t i = 0; i < n; i++)
		if (value >= scales[i].factor * 0.9995)
			return &scales[i];
	return &scales[n - 1];
}

void bench_text_figure(double value, const char *unit, char *text, size_t size)
{
	static const struct scale times[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}, {1, "ns"}};
	static const struct scale others[] = {{1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}};
	int is_time = strcmp(unit, "ns") == 0;
	const struct scale *scale = is_time ? choose(times, 4, value) : choose(others, 4, value);
	double scaled = value / scale->factor;
	int decimals = scaled >= 99.95 ? 0 : scaled >= 9.995 ? 1 : scaled >= 0.9995 ? 2 : 3;

	snprintf(text, size, "%.*f %s%s", decimals, scaled, scale->prefix, is_time ? "" : unit);
}

void bench_text_wrap(const char *text, unsigned int at, unsigned int indent, FILE *out)
{
	size_t word;

	for (text += strspn(text, " "); (word = strcspn(text, " ")) > 0; text += word, text += strspn(text, " ")) {
		if (at > indent && at + 1 + word > BENCH_COLUMNS) {
			fprintf(out, "\n%*s", (int)indent, "");
			at = indent;
		} else if (at > indent) {
			fputc(' ', out);
			at++;
		}
		fwrite(text, 1, word, out);
		at += (unsigned int)word;
	}
	fputc('\n', out);
}

void bench_text_progress(const char *format, ...)
{
	int columns = (int)BENCH_COLUMNS - 1;
	struct winsize window;
	char text[128];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* A longer one would begin a new line each time. */
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1 && window.ws_col <= columns)
		columns = window.ws_col - 1;
	fprintf(stderr, "\r%-*.*s%s", columns, columns, text, text[0] ? "" : "\r");
}
