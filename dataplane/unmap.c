/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Holds up the unmapping of a peer's memory until no poll loop can be inside a driver.
 *
 * net_memif of DPDK 22.11 notices in EAL's interrupt thread that a peer has gone, clears a flag
 * that its receive function looks at, and unmaps the shared memory at once. A loop that has passed
 * the flag, and stands still because its CPU is taken away at that moment, then reads what is
 * gone: SIGSEGV, because some peer ended. The drivers call munmap() of the first object that has
 * one, which is this program. Here the interrupt thread waits until every loop has ended its turn;
 * the next turn sees the flag.
 */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define URCU_API_MAP
#include <urcu/urcu-qsbr.h>

static int is_interrupt_thread(void)
{
	char name[16] = "";

	return pthread_getname_np(pthread_self(), name, sizeof(name)) == 0 &&
	       strncmp(name, "eal-intr", strlen("eal-intr")) == 0;
}

int munmap(void *address, size_t size)
{
	if (is_interrupt_thread())
		synchronize_rcu();
	return (int)syscall(SYS_munmap, address, size);
}
