/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One thread. It sleeps on the bus's descriptor; the loops make no system call, so their inboxes are
 * looked at by time: each 100 us while letters come, each millisecond while none do.
 */
#include "dataplane/mqttsn/service.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "dataplane/mqtt/bus.h"
#include "dataplane/mqttsn/predefined.h"
#include "dataplane/mqttsn/reply.h"
#include "shm/counters.h"

enum {
	LETTERS_PER_ROUND = 64,
	TAKES_PER_ROUND = 64,
	BUSY_SLEEP_NS = 100000,
	IDLE_SLEEP_NS = 1000000,
	BUSY_ROUNDS = 100,           /* without a letter until it sleeps longer */
	FOLLOW_MS = 5,               /* between two looks at what the drivers should drop */
	CHORES_MS = 100,
	GOODBYE_MS = 50,
};

#define RING_SIZE (4U << 20)

/* Beside the engine's. */
enum service_cell { CELL_WAITING, CELL_SENT, CELL_UNSENT, CELL_OUTBOX_FULL, CELL_NO_SOURCE, N_OWN_CELLS };

static const char *const own_cell_names[N_OWN_CELLS] = {
	"inbox_waiting_now", "frames_sent", "frames_unsent", "outbox_full", "no_source",
};

#define COUNT_FIELD(name, text) +1
enum { N_COUNTERS = 0 HBUS_SN_COUNTERS(COUNT_FIELD), N_CELLS = N_COUNTERS + N_OWN_CELLS };

/* Addresses of this host on one queue: as told, or as clients have called it. */
struct local {
	bool has_mac, has_ipv4, has_ipv6;
	uint8_t mac[6], ipv4[4], ipv6[16];
};

struct hbus_sn_service {
	struct hbus_sn_service_options options;
	struct hbus_sn *sn;
	struct hbus_mqtt *mqtt;
	struct hbus_mqtt_bus *bus;
	struct hbus_counter *cells;
	struct local locals[HBUS_SN_LOOPS_MAX][HBUS_SN_QUEUES_MAX];
	uint64_t n_outbox_full, n_no_source, chores_ms, follow_ms;
	unsigned int n_quiet_rounds;
	pthread_t thread;
	bool has_thread;
	_Atomic uint32_t is_stopping;
};

static uint64_t now_ms(const struct hbus_sn_service *service)
{
	return service->options.now_ns(service->options.context) / 1000000;
}

/* ---- frames out -------------------------------------------------------------------------- */

static void post(struct hbus_sn_service *service, const struct hbus_sn_peer *peer,
		 const struct hbus_sn_link *link, const uint8_t *bytes, size_t size)
{
	struct hbus_sn_door *door = &service->options.doors[link->loop_idx];
	struct hbus_sn_frame *frame = hbus_sn_mailbox_reserve(&door->outbox);

	if (!frame) {
		service->n_outbox_full++;
		return;
	}
	frame->queue_idx = link->queue_idx;
	frame->size = (uint16_t)hbus_sn_reply(frame->bytes, peer, link, bytes, size);
	if (frame->size > 0)
		hbus_sn_mailbox_commit(&door->outbox);
}

/* Return: whether an address of this host is known there. */
static bool set_source(const struct local *local, uint8_t family, struct hbus_sn_link *link)
{
	bool is_ipv4 = family == HBUS_FAMILY_IPV4;

	if (!local->has_mac || !(is_ipv4 ? local->has_ipv4 : local->has_ipv6))
		return false;
	memcpy(link->local_mac, local->mac, sizeof(local->mac));
	if (is_ipv4)
		memcpy(link->local_addr, local->ipv4, sizeof(local->ipv4));
	else
		memcpy(link->local_addr, local->ipv6, sizeof(local->ipv6));
	return true;
}

/* All nodes of the link, on every queue where we have an address; the first queue of a port is enough. */
static void broadcast(struct hbus_sn_service *service, const uint8_t *bytes, size_t size)
{
	static const uint8_t all_nodes[16] = { 0xff, 0x02, [15] = 1 };

	for (unsigned int i = 0; i < service->options.n_doors; i++)
		for (unsigned int k = 0; k < HBUS_SN_QUEUES_MAX; k++) {
			struct hbus_sn_peer peer = { .family = HBUS_FAMILY_IPV4,
						     .port = service->options.port };
			struct hbus_sn_link link = { .local_port = service->options.port,
						     .loop_idx = (uint8_t)i,
						     .queue_idx = (uint16_t)k };

			memset(link.peer_mac, 0xff, sizeof(link.peer_mac));
			memset(peer.addr, 0xff, 4);
			if (set_source(&service->locals[i][k], HBUS_FAMILY_IPV4, &link))
				post(service, &peer, &link, bytes, size);
			peer.family = HBUS_FAMILY_IPV6;
			memcpy(peer.addr, all_nodes, sizeof(all_nodes));
			memcpy(link.peer_mac, "\x33\x33\0\0\0\1", 6);
			if (set_source(&service->locals[i][k], HBUS_FAMILY_IPV6, &link))
				post(service, &peer, &link, bytes, size);
		}
}

static void on_send(void *context, const struct hbus_sn_peer *peer, const struct hbus_sn_link *link,
		    const uint8_t *bytes, size_t size)
{
	struct hbus_sn_service *service = context;
	struct hbus_sn_link there;

	if (!peer) {
		broadcast(service, bytes, size);
		return;
	}
	there = *link;
	/* What came for everybody is answered from our own address. */
	if (there.local_mac[0] & 1 &&
	    !set_source(&service->locals[there.loop_idx][there.queue_idx], peer->family, &there)) {
		service->n_no_source++;
		return;
	}
	post(service, peer, &there, bytes, size);
}

void hbus_sn_service_local(struct hbus_sn_service *service, unsigned int loop_idx,
			   unsigned int queue_idx, const uint8_t mac[6], uint8_t family,
			   const uint8_t *addr)
{
	struct local *local;

	if (loop_idx >= HBUS_SN_LOOPS_MAX || queue_idx >= HBUS_SN_QUEUES_MAX)
		return;
	local = &service->locals[loop_idx][queue_idx];
	memcpy(local->mac, mac, sizeof(local->mac));
	local->has_mac = true;
	if (family == HBUS_FAMILY_IPV4) {
		memcpy(local->ipv4, addr, sizeof(local->ipv4));
		local->has_ipv4 = true;
	} else if (family == HBUS_FAMILY_IPV6) {
		memcpy(local->ipv6, addr, sizeof(local->ipv6));
		local->has_ipv6 = true;
	}
}

/* ---- the engine's callbacks ---------------------------------------------------------------- */

static uint32_t on_name(void *context, const char *topic)
{
	struct hbus_sn_service *service = context;

	return service->options.name(service->options.context, topic);
}

static void on_name_end(void *context, const char *topic)
{
	struct hbus_sn_service *service = context;

	service->options.name_end(service->options.context, topic);
}

static void on_path_open(void *context, const struct hbus_sn_peer *peer)
{
	hbus_sn_paths_open(((struct hbus_sn_service *)context)->options.paths, peer);
}

static void on_path_set(void *context, const struct hbus_sn_peer *peer, uint16_t topic_id,
			uint32_t number)
{
	hbus_sn_paths_set(((struct hbus_sn_service *)context)->options.paths, peer, topic_id, number);
}

static void on_path_close(void *context, const struct hbus_sn_peer *peer)
{
	hbus_sn_paths_close(((struct hbus_sn_service *)context)->options.paths, peer);
}

static void on_common_set(void *context, uint8_t kind, uint16_t topic_id, uint32_t number)
{
	hbus_sn_paths_common_set(((struct hbus_sn_service *)context)->options.paths, kind, topic_id,
				 number);
}

static uint64_t on_heard(void *context, const struct hbus_sn_peer *peer)
{
	const struct hbus_sn_service *service = context;
	uint64_t heard_ns = hbus_sn_paths_heard_ns(service->options.paths, peer);
	uint64_t dropped_ns = service->options.dropped_ns(service->options.context, peer);

	return (heard_ns > dropped_ns ? heard_ns : dropped_ns) / 1000000;
}

/* ---- rounds -------------------------------------------------------------------------------- */

static void take_letter(struct hbus_sn_service *service, const struct hbus_sn_letter *letter)
{
	const struct hbus_sn_link *link = &letter->link;

	if (!(link->local_mac[0] & 1))
		hbus_sn_service_local(service, link->loop_idx, link->queue_idx, link->local_mac,
				      letter->peer.family, link->local_addr);
	hbus_sn_input(service->sn, &letter->peer, link, letter->bytes, letter->size);
	while (hbus_mqtt_bus_is_pressed(service->bus) &&
	       hbus_mqtt_bus_take(service->bus, service->mqtt))
		hbus_sn_settle(service->sn);
}

/* Return: whether there was any. */
static bool take_letters(struct hbus_sn_service *service)
{
	bool was_any = false;

	for (unsigned int i = 0; i < service->options.n_doors; i++) {
		struct hbus_sn_mailbox *inbox = &service->options.doors[i].inbox;

		for (int n = 0; n < LETTERS_PER_ROUND; n++) {
			const struct hbus_sn_letter *letter = hbus_sn_mailbox_peek(inbox);

			if (!letter)
				break;
			take_letter(service, letter);
			hbus_sn_mailbox_release(inbox);
			was_any = true;
		}
	}
	return was_any;
}

/* Return: whether there is more. */
static bool take_events(struct hbus_sn_service *service)
{
	bool has_more = true;

	for (int i = 0; i < TAKES_PER_ROUND && has_more; i++)
		has_more = hbus_mqtt_bus_take(service->bus, service->mqtt);
	hbus_sn_settle(service->sn);
	return has_more;
}

static void count(struct hbus_sn_service *service)
{
	const struct hbus_sn_counters *counters = hbus_sn_counters(service->sn);
	const uint64_t *values = (const uint64_t *)counters;
	uint64_t own[N_OWN_CELLS] = { [CELL_OUTBOX_FULL] = service->n_outbox_full,
				      [CELL_NO_SOURCE] = service->n_no_source };

	for (unsigned int i = 0; i < service->options.n_doors; i++) {
		struct hbus_sn_door *door = &service->options.doors[i];

		/* relaxed, all: loops write them, and nothing but the numbers is wanted */
		own[CELL_WAITING] += atomic_load_explicit(&door->inbox.sent, memory_order_relaxed) -
				     atomic_load_explicit(&door->inbox.released, memory_order_relaxed);
		own[CELL_SENT] += atomic_load_explicit(&door->n_sent, memory_order_relaxed);
		own[CELL_UNSENT] += atomic_load_explicit(&door->n_unsent, memory_order_relaxed);
	}
	for (unsigned int i = 0; service->cells && i < N_CELLS; i++)
		hbus_counter_set((struct hbus_counter_cell *)(void *)&service->cells[i],
				 i < N_COUNTERS ? values[i] : own[i - N_COUNTERS]);
	hbus_mqtt_bus_count(service->bus, hbus_mqtt_counters(service->mqtt));
}

static void do_chores(struct hbus_sn_service *service, uint64_t at_ms)
{
	if (at_ms - service->follow_ms >= FOLLOW_MS) {
		service->follow_ms = at_ms;
		service->options.follow(service->options.context);
	}
	if (hbus_sn_paths_retire(service->options.paths) &&
	    service->options.have_loops_passed(service->options.context))
		hbus_sn_paths_reclaim(service->options.paths);
	if (at_ms - service->chores_ms < CHORES_MS)
		return;
	service->chores_ms = at_ms;
	count(service);
}

static void rest(struct hbus_sn_service *service, bool was_busy)
{
	struct pollfd fd = { .fd = hbus_mqtt_bus_fd(service->bus), .events = POLLIN };
	struct timespec time = { .tv_nsec = IDLE_SLEEP_NS };

	service->n_quiet_rounds = was_busy ? 0 : service->n_quiet_rounds + 1;
	if (was_busy)
		return;
	if (service->n_quiet_rounds < BUSY_ROUNDS)
		time.tv_nsec = BUSY_SLEEP_NS;
	(void)ppoll(&fd, 1, &time, NULL);
}

static void *serve(void *context)
{
	struct hbus_sn_service *service = context;

	/* relaxed: nothing but the stop itself is told by this word */
	while (!atomic_load_explicit(&service->is_stopping, memory_order_relaxed)) {
		uint64_t at_ms = now_ms(service);
		bool was_busy;

		/* Before the clock moves: after a stall, who has spoken in time is not too late. */
		was_busy = take_letters(service);
		hbus_sn_tick(service->sn, at_ms);
		was_busy |= take_events(service);
		do_chores(service, at_ms);
		rest(service, was_busy);
	}
	return NULL;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void make_cells(struct hbus_sn_service *service)
{
	static const char *const names[N_COUNTERS] = {
#define COUNTER_NAME(name, text) #name,
		HBUS_SN_COUNTERS(COUNTER_NAME)
#undef COUNTER_NAME
	};

	if (hbus_counters_create(service->options.bus, "mqttsn", N_CELLS, &service->cells) != 0) {
		service->cells = NULL;
		service->options.log("the counters of MQTT-SN stay private");
		return;
	}
	for (unsigned int i = 0; i < N_CELLS; i++)
		snprintf(service->cells[i].name, sizeof(service->cells[i].name), "%s",
			 i < N_COUNTERS ? names[i] : own_cell_names[i - N_COUNTERS]);
}

static int make_mqtt(struct hbus_sn_service *service)
{
	const struct hbus_mqtt_bus_options bus_options = {
		.bus = service->options.bus, .counters = "mqttsn-sessions", .ring_size = RING_SIZE,
		.event_max = HBUS_SN_MESSAGE_MAX, .log = service->options.log,
	};
	struct hbus_mqtt_io io = { .send = hbus_sn_mqtt_send, .close = hbus_sn_mqtt_close };
	struct hbus_mqtt_config config;
	int r = hbus_mqtt_bus_open(&bus_options, &service->bus);

	if (r != 0) {
		service->options.log(hbus_error_text());
		return -ENOTCONN;
	}
	hbus_mqtt_config_default(&config);
	config.conns_max = service->options.limits.clients_max + 1;
	/* As much may wait behind a message whose topic the bus has yet to hear of. */
	config.packet_max = 32 * HBUS_SN_MESSAGE_MAX;
	if (getrandom(config.secret, sizeof(config.secret), 0) < 0)
		return -errno;
	hbus_mqtt_bus_io(service->bus, &io);
	r = hbus_mqtt_new(&config, &io, now_ms(service), &service->mqtt);
	if (r == 0)
		hbus_sn_attach(service->sn, service->mqtt);
	return r;
}

int hbus_sn_service_new(const struct hbus_sn_service_options *options,
			struct hbus_sn_service **ret_service)
{
	struct hbus_sn_service *service = calloc(1, sizeof(*service));
	const struct hbus_sn_io io = {
		.context = service, .send = on_send, .name = on_name, .name_end = on_name_end,
		.path_open = on_path_open, .path_set = on_path_set, .path_close = on_path_close,
		.common_set = on_common_set, .heard = on_heard,
	};
	int r;

	if (!service)
		return -ENOMEM;
	service->options = *options;
	if (getrandom(service->options.limits.secret, sizeof(service->options.limits.secret), 0) < 0) {
		free(service);
		return -errno;
	}
	r = hbus_sn_new(&service->options.limits, &io, now_ms(service), &service->sn);
	if (r == 0)
		r = make_mqtt(service);
	if (r == 0 && options->topics_file)
		r = hbus_sn_predefined_read(service->sn, options->topics_file, options->log);
	if (r < 0) {
		hbus_sn_service_free(service);
		return r;
	}
	make_cells(service);
	*ret_service = service;
	return 0;
}

int hbus_sn_service_start(struct hbus_sn_service *service)
{
	int r = pthread_create(&service->thread, NULL, serve, service);

	service->has_thread = r == 0;
	return -r;
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000L }, NULL);
}

void hbus_sn_service_stop(struct hbus_sn_service *service)
{
	if (!service || !service->has_thread)
		return;
	/* relaxed: nothing but the stop itself is told by this word */
	atomic_store_explicit(&service->is_stopping, 1, memory_order_relaxed);
	pthread_join(service->thread, NULL);
	service->has_thread = false;
	while (take_letters(service))
		;
	(void)take_events(service);
	hbus_sn_shutdown(service->sn);
	for (int i = 0; i < GOODBYE_MS; i++) {
		bool is_sent = true;

		for (unsigned int k = 0; k < service->options.n_doors; k++)
			is_sent &= hbus_sn_mailbox_is_empty(&service->options.doors[k].outbox);
		if (is_sent)
			break;
		pause_ms(1);
	}
	count(service);
}

void hbus_sn_service_finish(struct hbus_sn_service *service)
{
	while (take_letters(service))
		;
	(void)take_events(service);
	count(service);
}

struct hbus_sn_service *hbus_sn_service_free(struct hbus_sn_service *service)
{
	if (!service)
		return NULL;
	service->mqtt = hbus_mqtt_free(service->mqtt);
	service->sn = hbus_sn_free(service->sn);
	service->bus = hbus_mqtt_bus_close(service->bus);
	free(service);
	return NULL;
}

const struct hbus_sn_counters *hbus_sn_service_counters(const struct hbus_sn_service *service)
{
	return hbus_sn_counters(service->sn);
}
