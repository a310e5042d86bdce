/* SPDX-License-Identifier: BSD-3-Clause */
/* The publisher's table of subscribers: who holds it, who is dropped, who owns what. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/gate.h"
#include "shm/segment.h"
#include "shm/wait.h"

#define CAPACITY HBUS_RING_CAPACITY_MIN

static struct hbus_gates table;
static struct hbus_slot slots[HBUS_RING_WAKERS_MAX];
static struct hbus_ring_header header;

static struct hbus_gate_spec spec_of(uint32_t idx, uint64_t gate_id, bool is_reliable)
{
	return (struct hbus_gate_spec){.gate_id = gate_id, .slot = &slots[idx], .pidfd = -1, .doorbell = -1,
				       .stall_ms = 100, .is_reliable = is_reliable};
}

static void install(uint32_t idx, uint64_t gate_id, bool is_reliable)
{
	struct hbus_gate_spec spec = spec_of(idx, gate_id, is_reliable);

	cr_assert_eq(hbus_gates_install(&table, idx, &spec), 0);
}

static void set_cursor(uint32_t idx, uint64_t cursor)
{
	atomic_store_explicit(&slots[idx].cursor, cursor, memory_order_release);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void setup(void)
{
	memset(slots, 0, sizeof(slots));
	memset(&header, 0, sizeof(header));
	hbus_gates_init(&table, 4096, false);
}

TestSuite(gate, .init = setup);

Test(gate, without_gates_two_capacities_are_permitted)
{
	cr_assert_eq(hbus_gates_scan(&table, 8192, CAPACITY), 8192 + 2 * CAPACITY);
}

Test(gate, the_slowest_reliable_one_decides_and_lossy_ones_do_not_count)
{
	install(0, 10, true);
	install(1, 11, true);
	install(2, 12, false);
	set_cursor(0, 8000);
	set_cursor(1, 5000);
	set_cursor(2, 4096);
	cr_assert_eq(hbus_gates_scan(&table, 9000, CAPACITY), 5000 + CAPACITY);
}

Test(gate, a_new_gate_begins_at_the_tail_of_the_scan_before)
{
	hbus_gates_scan(&table, 10000, CAPACITY);
	install(0, 10, true);
	cr_assert_eq(hbus_gates_scan(&table, 12000, CAPACITY), 10000 + CAPACITY);
	cr_assert_eq(hbus_gates_scan(&table, 14000, CAPACITY), 10000 + CAPACITY, "it has not joined yet");
	set_cursor(0, 12000);
	cr_assert_eq(hbus_gates_scan(&table, 14000, CAPACITY), 12000 + CAPACITY);
}

Test(gate, the_floor_never_falls_and_never_passes_the_tail)
{
	static const uint64_t lies[] = {8, 4096, 9999, 1ull << 63, 10000 + (1ull << 62), 0, UINT64_MAX - 7};

	install(0, 10, true);
	set_cursor(0, 10000);
	cr_assert_eq(hbus_gates_scan(&table, 12000, CAPACITY), 10000 + CAPACITY);
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		uint64_t permit;

		set_cursor(0, lies[i]);
		permit = hbus_gates_scan(&table, 12000, CAPACITY);
		cr_assert(permit == 10000 + CAPACITY || permit == 12000 + CAPACITY, "lie %zu: %lu", i,
			  (unsigned long)permit);
	}
}

Test(gate, one_that_has_left_holds_nobody)
{
	install(0, 10, true);
	set_cursor(0, 40000);
	hbus_gates_scan(&table, 40000, CAPACITY);
	set_cursor(0, HBUS_CURSOR_LEFT);
	cr_assert_eq(hbus_gates_scan(&table, 50000, CAPACITY), 50000 + CAPACITY);
}

Test(gate, a_slot_in_which_another_has_left_is_of_one_that_has_not_joined_yet)
{
	hbus_gates_scan(&table, 40000, CAPACITY);
	set_cursor(0, HBUS_CURSOR_LEFT);
	install(0, 10, true);
	cr_assert_eq(hbus_gates_scan(&table, 50000, CAPACITY), 40000 + CAPACITY);
	set_cursor(0, 45000);
	cr_assert_eq(hbus_gates_scan(&table, 60000, CAPACITY), 45000 + CAPACITY);
	set_cursor(0, HBUS_CURSOR_LEFT);
	cr_assert_eq(hbus_gates_scan(&table, 60000, CAPACITY), 60000 + CAPACITY);
}

Test(gate, one_that_has_not_joined_holds_the_publisher_briefly_while_unclaimed)
{
	struct hbus_gate_spec spec = spec_of(0, 10, true);

	spec.stall_ms = 1000;
	cr_assert_eq(hbus_gates_install(&table, 0, &spec), 0);
	hbus_gates_scan(&table, 0, CAPACITY);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(hbus_gates_reap(&table, &header, CAPACITY, 2 * CAPACITY, CAPACITY, 20000), 0);
	hbus_gates_forgive(&table);
	hbus_gates_unclaim(&table);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(hbus_gates_reap(&table, &header, CAPACITY, 2 * CAPACITY, CAPACITY, 20000), 0);
	cr_assert_eq(hbus_gates_reap(&table, &header, CAPACITY, 2 * CAPACITY, CAPACITY, 20000), 1);
}

Test(gate, floors_follow_across_2_to_the_64)
{
	hbus_gates_init(&table, 0 - 4096ull, false);
	install(0, 10, true);
	set_cursor(0, 0 - 2048ull);
	cr_assert_eq(hbus_gates_scan(&table, 0 - 1024ull, CAPACITY), CAPACITY - 2048);
	set_cursor(0, 1024);
	cr_assert_eq(hbus_gates_scan(&table, 2048, CAPACITY), 1024 + CAPACITY);
	set_cursor(0, 0 - 8ull);
	cr_assert_eq(hbus_gates_scan(&table, 2048, CAPACITY), 1024 + CAPACITY);
}

Test(gate, a_gate_that_the_publisher_has_not_scanned_yet_is_not_to_blame_for_a_stall)
{
	struct hbus_gate_spec spec = spec_of(1, 11, true);
	uint64_t tail = 10 * CAPACITY, need = tail + CAPACITY / 4;

	hbus_gates_scan(&table, tail, CAPACITY);
	install(0, 10, true);
	spec.stall_ms = 15;
	cr_assert_eq(hbus_gates_install(&table, 1, &spec), 0);
	cr_assert_eq(hbus_gates_reap(&table, &header, tail, need, CAPACITY, 20000), 0);
	cr_assert_eq(hbus_gates_count(&table, true), 2);
	cr_assert_eq(hbus_gates_scan(&table, tail, CAPACITY), tail + CAPACITY);
	cr_assert_eq(hbus_gates_reap(&table, &header, tail, need, CAPACITY, 20000), 0);
}

Test(gate, what_a_gate_has_stalled_is_forgiven_after_the_wait)
{
	uint64_t need = 4096 + CAPACITY + 4096;

	install(0, 10, true);
	hbus_gates_scan(&table, 4096, CAPACITY);
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 4; i++)
			cr_assert_eq(hbus_gates_reap(&table, &header, 4096, need, CAPACITY, 20000), 0);
		hbus_gates_forgive(&table);
	}
	for (int i = 0; i < 4; i++)
		cr_assert_eq(hbus_gates_reap(&table, &header, 4096, need, CAPACITY, 20000), 0);
	cr_assert_eq(hbus_gates_reap(&table, &header, 4096, need, CAPACITY, 20000), 1);
	cr_assert_eq(hbus_gates_scan(&table, 4096, CAPACITY), 4096 + 2 * CAPACITY);
	cr_assert_eq(atomic_load_explicit(&header.dropped[0].gate_id, memory_order_relaxed), 10);
	cr_assert_eq(hbus_gates_remove(&table, 0, 10), 0, "a dropped gate can still be removed");
}

Test(gate, a_pause_of_the_whole_machine_is_not_the_reader_s)
{
	struct hbus_gate_spec spec = spec_of(0, 10, true);

	spec.stall_ms = 50;
	cr_assert_eq(hbus_gates_install(&table, 0, &spec), 0);
	hbus_gates_scan(&table, 0, CAPACITY);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(hbus_gates_reap(&table, &header, CAPACITY, 2 * CAPACITY, CAPACITY, 3600000000u), 0);
	cr_assert_eq(hbus_gates_reap(&table, &header, CAPACITY, 2 * CAPACITY, CAPACITY, 3600000000u), 1);
}

Test(gate, a_dead_subscriber_is_dropped_at_once)
{
	struct hbus_gate_spec spec = spec_of(0, 10, true);
	pid_t child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	spec.pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	spec.stall_ms = 1000000;
	cr_assert_geq(spec.pidfd, 0);
	cr_assert_eq(hbus_gates_install(&table, 0, &spec), 0);
	hbus_gates_scan(&table, 4096, CAPACITY);
	cr_assert_eq(hbus_gates_reap(&table, &header, 4096, 4096 + CAPACITY + 8, CAPACITY, 1), 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	cr_assert_eq(hbus_gates_reap(&table, &header, 4096, 4096 + CAPACITY + 8, CAPACITY, 1), 1);
}

Test(gate, indices_beyond_the_tables_are_refused)
{
	struct hbus_gate_spec spec = spec_of(0, 10, true);

	cr_assert_eq(hbus_gates_install(&table, HBUS_RING_GATES_MAX, &spec), -EINVAL);
	cr_assert_eq(hbus_gates_install(&table, HBUS_RING_GATES_MAX - 1, &spec), 0);
	spec.is_reliable = false;
	cr_assert_eq(hbus_gates_install(&table, HBUS_RING_WAKERS_MAX, &spec), -EINVAL);
	cr_assert_eq(hbus_gates_install(&table, HBUS_RING_WAKERS_MAX - 1, &spec), 0);
	cr_assert_eq(hbus_gates_remove(&table, HBUS_RING_WAKERS_MAX, 10), -ENOENT);
	cr_assert_eq(hbus_gates_remove(&table, 5, 10), -ENOENT);
	cr_assert_eq(hbus_gates_remove(&table, HBUS_RING_WAKERS_MAX - 1, 11), -ENOENT, "another gate's id");
	cr_assert_eq(hbus_gates_remove(&table, HBUS_RING_WAKERS_MAX - 1, 10), 0);
}

Test(gate, another_gate_at_the_same_place_is_refused_and_keeps_what_it_brought)
{
	struct hbus_gate_spec spec = spec_of(0, 11, true);

	install(0, 10, true);
	spec.doorbell = dup(0);
	cr_assert_eq(hbus_gates_install(&table, 0, &spec), -EEXIST);
	cr_assert(is_open(spec.doorbell));
	close(spec.doorbell);
}

Test(gate, a_gate_that_is_offered_again_leaks_nothing)
{
	struct hbus_gate_spec spec = spec_of(0, 10, true);
	int first = dup(0), again = dup(0), pid = dup(0);
	void *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char resident;

	spec.doorbell = first;
	cr_assert_eq(hbus_gates_install(&table, 0, &spec), 0);
	spec.doorbell = again;
	spec.pidfd = pid;
	spec.map_base = map;
	spec.map_size = 4096;
	cr_assert_eq(hbus_gates_install(&table, 0, &spec), 0);
	cr_assert(is_open(first), "the gate keeps what it has");
	cr_assert_not(is_open(again));
	cr_assert_not(is_open(pid));
	cr_assert_eq(mincore(map, 4096, &resident), -1, "unmapped");
}

Test(gate, removing_closes_and_unmaps_what_the_gate_owned)
{
	struct hbus_gate_spec spec = spec_of(0, 10, true);
	int doorbell = dup(0), pidfd = dup(0);

	spec.doorbell = doorbell;
	spec.pidfd = pidfd;
	cr_assert_eq(hbus_gates_install(&table, 0, &spec), 0);
	cr_assert_eq(hbus_gates_remove(&table, 0, 10), 0);
	cr_assert_not(is_open(doorbell));
	cr_assert_not(is_open(pidfd));
	cr_assert_eq(hbus_gates_count(&table, false), 0);
	cr_assert_not(hbus_gates_has_waiter(&table));
}

Test(gate, whoever_waits_is_seen_and_its_doorbell_rings)
{
	struct hbus_gate_spec spec = spec_of(3, 13, false);
	_Atomic uint32_t notify = 0;
	int pair[2];
	char byte;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
	spec.doorbell = pair[0];
	cr_assert_eq(hbus_gates_install(&table, 3, &spec), 0);
	cr_assert_not(hbus_gates_has_waiter(&table));
	hbus_gates_wake(&table, &notify);
	cr_assert_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), -1);
	atomic_store_explicit(&slots[3].waiting, HBUS_WAITING_DOORBELL, memory_order_relaxed);
	cr_assert(hbus_gates_has_waiter(&table));
	hbus_gates_wake(&table, &notify);
	cr_assert_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), 1);
	cr_assert_eq(atomic_load_explicit(&notify, memory_order_relaxed), 0, "nobody sleeps on the word: no system call");
	atomic_store_explicit(&slots[3].waiting, HBUS_WAITING_NOTIFY, memory_order_relaxed);
	hbus_gates_wake(&table, &notify);
	cr_assert_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), -1);
	cr_assert_eq(atomic_load_explicit(&notify, memory_order_relaxed), 1);
}

static bool is_seen(uint32_t idx)
{
	bool found;

	atomic_store_explicit(&slots[idx].waiting, HBUS_WAITING_NOTIFY, memory_order_relaxed);
	found = hbus_gates_has_waiter(&table);
	atomic_store_explicit(&slots[idx].waiting, 0, memory_order_relaxed);
	return found;
}

Test(gate, whoever_is_there_is_looked_at_whatever_others_came_and_went)
{
	static const uint32_t places[] = {0, 5, HBUS_RING_GATES_MAX, HBUS_RING_GATES_MAX + 1, HBUS_RING_WAKERS_MAX - 1};
	const unsigned int n = sizeof(places) / sizeof(places[0]);

	for (unsigned int turn = 0; turn < 1u << n; turn++) { /* whom to take out: each choice of them, in both orders */
		for (unsigned int i = 0; i < n; i++)
			install(places[i], 10 + i, false);
		for (unsigned int k = 0; k < n; k++) {
			unsigned int i = turn % 2 ? n - 1 - k : k;

			if (turn & 1u << i)
				cr_assert_eq(hbus_gates_remove(&table, places[i], 10 + i), 0);
		}
		for (unsigned int i = 0; i < n; i++)
			cr_assert_eq(is_seen(places[i]), !(turn & 1u << i), "turn %u, place %u", turn, places[i]);
		for (unsigned int i = 0; i < n; i++)
			if (!(turn & 1u << i))
				cr_assert_eq(hbus_gates_remove(&table, places[i], 10 + i), 0);
		cr_assert_not(is_seen(places[0]));
	}
}

/* A publish looks at the first places whatever their number is: a fault tells of one that was left there. */
Test(gate, who_was_unmapped_is_not_looked_at_whoever_went_first)
{
	for (unsigned int round = 0; round < 4; round++) {
		for (uint32_t i = 0; i < 3; i++) {
			struct hbus_gate_spec spec = spec_of(i, 70 + i, false);

			spec.map_size = 4096;
			spec.map_base = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			spec.slot = spec.map_base;
			cr_assert_eq(hbus_gates_install(&table, i, &spec), 0);
		}
		for (uint32_t k = 0; k < 3; k++) {
			uint32_t i = round < 3 ? (round + k) % 3 : 2 - k;

			cr_assert_eq(hbus_gates_remove(&table, i, 70 + i), 0);
			cr_assert_not(hbus_gates_look(&table));
		}
	}
}

Test(gate, a_full_doorbell_does_not_hold_the_publisher)
{
	struct hbus_gate_spec spec = spec_of(0, 13, false);
	_Atomic uint32_t notify = 0;
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
	spec.doorbell = pair[0];
	atomic_store_explicit(&slots[0].waiting, HBUS_WAITING_DOORBELL, memory_order_relaxed);
	cr_assert_eq(hbus_gates_install(&table, 0, &spec), 0);
	for (int i = 0; i < 10000; i++)
		hbus_gates_wake(&table, &notify);
	close(pair[1]);
	hbus_gates_wake(&table, &notify);
}

Test(gate, barriers_between_threads_work_also_when_nobody_has_registered_for_membarrier)
{
	if (!hbus_membarrier_works())
		cr_skip("membarrier is refused here");
	/* setup() has made a table in a process that had not registered. */
	cr_assert(table.needs_fence || hbus_membarrier_private() == 0,
		  "a table that relies on membarrier has made sure that the kernel obeys it");
}

static void *publish_cancelled(void *notify)
{
	pthread_cancel(pthread_self());
	hbus_gates_scan(&table, 4096, CAPACITY);
	hbus_gates_reap(&table, &header, 4096, 4096 + 2 * CAPACITY, CAPACITY, 1);
	hbus_gates_wake(&table, notify);
	hbus_gates_has_waiter(&table);
	return NULL;
}

/* Else the control thread would wait for it for ever in hbus_gates_remove(). */
Test(gate, a_thread_that_is_cancelled_leaves_the_table_first)
{
	struct hbus_gate_spec spec = spec_of(0, 10, true);
	_Atomic uint32_t notify = 0;
	pthread_t thread;
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
	spec.doorbell = pair[0];
	spec.pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	atomic_store_explicit(&slots[0].waiting, 1, memory_order_relaxed);
	cr_assert_eq(hbus_gates_install(&table, 0, &spec), 0);
	cr_assert_eq(pthread_create(&thread, NULL, publish_cancelled, &notify), 0);
	pthread_join(thread, NULL);
	cr_assert_eq(atomic_load_explicit(table.busy, memory_order_relaxed) & 1, 0);
}

static _Atomic bool stop;

static void *look(void *unused)
{
	(void)unused;
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		hbus_gates_has_waiter(&table);
		hbus_gates_scan(&table, 4096, CAPACITY);
	}
	return NULL;
}

Test(gate, a_slot_is_unmapped_only_when_the_data_thread_cannot_be_reading_it, .timeout = 30)
{
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, look, NULL), 0);
	for (int i = 0; i < 3000; i++) {
		void *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		struct hbus_gate_spec spec = spec_of(0, (uint64_t)i, true);

		spec.slot = map;
		spec.map_base = map;
		spec.map_size = 4096;
		cr_assert_eq(hbus_gates_install(&table, 0, &spec), 0);
		cr_assert_eq(hbus_gates_remove(&table, 0, (uint64_t)i), 0);
	}
	atomic_store_explicit(&stop, true, memory_order_relaxed);
	pthread_join(thread, NULL);
}
