/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Why something failed: a sentence on stderr when it happens, and the first of them in the report
 *
 * Whoever fails is a process of its own mostly, so the sentence is kept where all that are forked after
 * bench_blame_begin() reach it.
 */
#pragma once

#define BENCH_BLAME_MAX 160u

/* Nothing has failed yet. Not while anybody runs who may say that something did. */
void bench_blame_begin(void);
/* What failed and why, without a full stop. */
__attribute__((format(printf, 1, 2))) void bench_blame(const char *format, ...);
/* What was said first; "" = nothing was. */
const char *bench_blame_text(void);
