/* SPDX-License-Identifier: BSD-3-Clause */
/* Why something failed. See blame.h. */
#include "bench/blame.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct blame {
	_Atomic unsigned int is_taken;
	char text[BENCH_BLAME_MAX];
};

static struct blame *blame; /* NULL: nobody has begun, or there is no memory; then stderr alone has it */

void bench_blame_begin(void)
{
	if (!blame) {
		void *memory = mmap(NULL, sizeof(*blame), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

		if (memory == MAP_FAILED)
			return;
		blame = memory;
	}
	memset(blame->text, 0, sizeof(blame->text));
	/* relaxed: others are forked later */
	atomic_store_explicit(&blame->is_taken, 0, memory_order_relaxed);
}

void bench_blame(const char *format, ...)
{
	char text[BENCH_BLAME_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* Below what shows the progress, on a terminal. */
	fprintf(stderr, "%shugebus-bench: %s\n", isatty(STDERR_FILENO) ? "\n" : "", text);
	for (char *at = text; *at; at++)
		if (*at == '\n')
			*at = ' ';
	/* relaxed: the text is read when whoever wrote it has ended */
	if (blame && atomic_fetch_add_explicit(&blame->is_taken, 1, memory_order_relaxed) == 0)
		memcpy(blame->text, text, sizeof(text) - 1);
}

const char *bench_blame_text(void)
{
	return blame ? blame->text : "";
}
