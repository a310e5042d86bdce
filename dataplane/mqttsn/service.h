/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gateway's thread: the MQTT-SN engine, the MQTT engine behind it, and the bus, between the doors of
 * the poll loops.
 *
 * It may wait for the daemon and take memory, which the loops may not; for the loops it does not wait, as on a
 * busy machine they may be without a CPU for long, and all clients would wait too. No DPDK types: the clock is
 * the caller's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ctl/client/hugebus.h"
#include "dataplane/mqttsn/door.h"

struct hbus_sn_service;

#define HBUS_SN_LOOPS_MAX 32U
#define HBUS_SN_QUEUES_MAX 64U

struct hbus_sn_service_options {
	struct hbus *bus;                /* borrowed */
	struct hbus_sn_door *doors;      /* likewise, one for each loop */
	unsigned int n_doors;
	struct hbus_sn_paths *paths;     /* likewise */
	struct hbus_sn_config limits;
	const char *topics_file;         /* of predefined topics; NULL = none */
	uint16_t port;                   /* that ADVERTISE comes from and goes to */
	void *context;
	/* Of the loops: what they call now. */
	uint64_t (*now_ns)(void *context);
	/*
	 * Asked again and again: have all loops ended the burst in which they were at the first question? A yes
	 * is said once, and the next question is a first one.
	 */
	bool (*have_loops_passed)(void *context);
	/* As struct hbus_sn_io. */
	uint32_t (*name)(void *context, const char *topic);
	void (*name_end)(void *context, const char *topic);
	/* Filters in front of the loops follow the paths. */
	void (*follow)(void *context);
	/* When such a filter has last dropped something of @peer, in the clock of the loops; 0: never. */
	uint64_t (*dropped_ns)(void *context, const struct hbus_sn_peer *peer);
	/* A line for an operator. */
	void (*log)(const char *sentence);
};

/* Reads the file and opens the bus. Return: 0 or -errno; why not has been logged. */
int hbus_sn_service_new(const struct hbus_sn_service_options *options,
			struct hbus_sn_service **ret_service);

/*
 * An address of this host, for answers to what was sent to everybody. Before the start.
 * @family: HBUS_FAMILY_*
 */
void hbus_sn_service_local(struct hbus_sn_service *service, unsigned int loop_idx,
			   unsigned int queue_idx, const uint8_t mac[6], uint8_t family,
			   const uint8_t *addr);

int hbus_sn_service_start(struct hbus_sn_service *service);
/* Takes what is in the inboxes, says goodbye to all clients, and waits a moment for the loops to send it. */
void hbus_sn_service_stop(struct hbus_sn_service *service);
/* The loops have ended: takes what they still brought. Nothing can be answered any more. */
void hbus_sn_service_finish(struct hbus_sn_service *service);
/* Accepts NULL, returns NULL. */
struct hbus_sn_service *hbus_sn_service_free(struct hbus_sn_service *service);

/* The engine's counters, for the account. After the stop. */
const struct hbus_sn_counters *hbus_sn_service_counters(const struct hbus_sn_service *service);
