/* SPDX-License-Identifier: BSD-3-Clause */
/* A turn of a loop that waits: it tells the core so, and its sibling has the time. Any thread. */
#pragma once

static inline void hbus_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}
