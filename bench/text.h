/* SPDX-License-Identifier: BSD-3-Clause */
/* Figures and sentences for people, on a terminal of 80 columns. */
#pragma once

#include <stddef.h>
#include <stdio.h>

#define BENCH_COLUMNS 80u

/* Three digits and a unit: "102 M/s", "22.9 us". A @unit of "ns" is scaled as time, anything else by thousands. */
void bench_text_figure(double value, const char *unit, char *text, size_t size);
/*
 * The words of @text and a newline, in lines of at most BENCH_COLUMNS that begin behind @indent blanks. @at: where in the first
 * line we are; behind @indent a blank comes before the first word.
 */
void bench_text_wrap(const char *text, unsigned int at, unsigned int indent, FILE *out);
/* One line of progress on stderr, a terminal, in the place of the last: cut where that ends. "": none any more. */
__attribute__((format(printf, 1, 2))) void bench_text_progress(const char *format, ...);
