/* SPDX-License-Identifier: BSD-3-Clause */
/* Load: payloads that count, and the clock that says how many are due. */
#include "ctl/cli/load.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX 20
#define NS_PER_1000_S 1000000000000u

/* Behind the digits: a space, which the next digit will replace, and dots. */
static void set_size(struct hbus_load *load)
{
	load->size = load->size_min > load->n_digits ? load->size_min : load->n_digits;
	if (load->size > load->n_digits)
		load->data[load->n_digits] = ' ';
}

void hbus_load_init(struct hbus_load *load, uint64_t first, size_t size)
{
	char digits[DIGITS_MAX + 1];
	int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)first);

	*load = (struct hbus_load){ .size_min = size, .n_digits = (size_t)n };
	load->data = malloc(size + DIGITS_MAX + 2);
	if (!load->data)
		errx(1, "out of memory");
	memset(load->data, '.', size + DIGITS_MAX + 2);
	memcpy(load->data, digits, load->n_digits);
	set_size(load);
}

void hbus_load_next(struct hbus_load *load)
{
	size_t i = load->n_digits;

	while (i > 0 && load->data[i - 1] == '9')
		load->data[--i] = '0';
	if (i > 0) {
		load->data[i - 1]++;
		return;
	}
	/* 99 -> 100: nines are zeros by now. After the twentieth digit it starts again. */
	if (load->n_digits == DIGITS_MAX) {
		load->data[0] = '1';
		return;
	}
	load->data[0] = '1';
	load->data[load->n_digits++] = '0';
	set_size(load);
}

void hbus_load_deinit(struct hbus_load *load)
{
	free(load->data);
	*load = (struct hbus_load){ 0 };
}

uint64_t hbus_load_due(uint64_t rate, uint64_t elapsed_ns)
{
	return (uint64_t)((unsigned __int128)rate * elapsed_ns / NS_PER_1000_S) + 1;
}

uint64_t hbus_load_due_at(uint64_t rate, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)n * NS_PER_1000_S + rate - 1) / rate);
}
