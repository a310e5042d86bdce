/* SPDX-License-Identifier: BSD-3-Clause */
/* Registers the process for membarrier, without making anybody wait. See bus.h. */
#include <pthread.h>
#include <signal.h>

#include "ctl/client/bus.h"
#include "shm/wait.h"

static void *register_main(void *unused)
{
	(void)unused;
	(void)hbus_membarrier_register(); /* refused: fences go on doing it */
	return NULL;
}

void hbus_barriers_want(struct hbus *bus)
{
	sigset_t all, before;
	int r = -1;

	if (hbus_membarrier_is_registered() || !hbus_membarrier_works())
		return;
	/* relaxed: once for each bus is enough, and twice in a process does no harm */
	if (atomic_exchange_explicit(&bus->has_registrar, 1, memory_order_relaxed) != 0)
		return;
	sigfillset(&all);
	if (bus->has_thread) {
		pthread_sigmask(SIG_SETMASK, &all, &before);
		r = pthread_create(&bus->registrar, NULL, register_main, NULL);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	if (r == 0)
		return;
	/* No thread is wanted, or none can be had. */
	(void)hbus_membarrier_register();
	atomic_store_explicit(&bus->has_registrar, 0, memory_order_relaxed); /* relaxed: as above */
}

void hbus_barriers_end(struct hbus *bus)
{
	/* relaxed: whoever closes a bus knows of its publishers */
	if (atomic_exchange_explicit(&bus->has_registrar, 0, memory_order_relaxed) != 0)
		pthread_join(bus->registrar, NULL);
}
