/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Paths: what poll loops know of MQTT-SN clients, so that they can publish for them.
 *
 * Which peers are connected, which topic number stands behind each of their identifiers, which behind
 * predefined and short ones, and which numbers anybody wants. One thread writes, any number of poll
 * loops read at any time. A path that is closed stays readable until its writer has made sure that no
 * loop is still within the burst in which it may have found it.
 *
 *              | open, set, close, reclaim | topic | find
 *    open, ... |             X             |   -   |  -       X: one thread
 *    topic     |             -             |   X   |  -       -: at any time
 *    find      |             -             |   -   |  -
 *
 * find is wait-free: a chain is only as long as the writer makes it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/mqttsn/packet.h"
#include "dataplane/mqttsn/peer.h"

struct hbus_sn_paths;

/* Numbers are below this. */
#define HBUS_SN_NUMBERS_MAX 65536U
/* Identifiers of one client that a path holds; others are the gateway's to look up. */
#define HBUS_SN_PATH_IDS_MAX 1024U

/* ---- the writer ------------------------------------------------------------------------------ */

/* @ids_max: identifiers of each client. Return: 0 or -errno. */
int hbus_sn_paths_new(uint64_t secret, uint16_t ids_max, struct hbus_sn_paths **ret_paths);
/* Accepts NULL, returns NULL. Nobody reads any more. */
struct hbus_sn_paths *hbus_sn_paths_free(struct hbus_sn_paths *paths);

/* Without memory there is no path, and the gateway does what a loop could have done. */
void hbus_sn_paths_open(struct hbus_sn_paths *paths, const struct hbus_sn_peer *peer);
/* @number: 0 = none any more */
void hbus_sn_paths_set(struct hbus_sn_paths *paths, const struct hbus_sn_peer *peer,
		       uint16_t topic_id, uint32_t number);
void hbus_sn_paths_close(struct hbus_sn_paths *paths, const struct hbus_sn_peer *peer);
void hbus_sn_paths_common_set(struct hbus_sn_paths *paths, uint8_t kind, uint16_t topic_id,
			      uint32_t number);

/*
 * Closed paths are retired together, those that are closed meanwhile wait their turn. From the first true on every loop
 * has to end its burst; then hbus_sn_paths_reclaim() frees what is retired.
 * Return: whether there is anything to free.
 */
bool hbus_sn_paths_retire(struct hbus_sn_paths *paths);
void hbus_sn_paths_reclaim(struct hbus_sn_paths *paths);

/* When a loop has last found a path of @peer; 0 = never. */
uint64_t hbus_sn_paths_heard_ns(const struct hbus_sn_paths *paths, const struct hbus_sn_peer *peer);

/* What each client's identifiers stand for, for filters in front of the loops. */
typedef void (*hbus_sn_paths_each_fn)(void *context, const struct hbus_sn_peer *peer, uint8_t kind,
				      uint16_t topic_id, uint32_t number);
void hbus_sn_paths_each(const struct hbus_sn_paths *paths, hbus_sn_paths_each_fn each, void *context);

/* ---- whoever knows the bus -------------------------------------------------------------------- */

/* @can_publish: every loop has a ring for it. */
void hbus_sn_paths_topic(struct hbus_sn_paths *paths, uint32_t number, bool can_publish,
			 bool is_wanted);
bool hbus_sn_paths_can_publish(const struct hbus_sn_paths *paths, uint32_t number);
bool hbus_sn_paths_is_wanted(const struct hbus_sn_paths *paths, uint32_t number);
/* Moves on with every change of what topics are wanted. */
uint64_t hbus_sn_paths_generation(const struct hbus_sn_paths *paths);

/* Of a peer, by the secret of these paths. */
uint64_t hbus_sn_paths_hash(const struct hbus_sn_paths *paths, const struct hbus_sn_peer *peer);

/* ---- poll loops --------------------------------------------------------------------------------- */

/**
 * hbus_sn_paths_find() - what a PUBLISH of QoS 0 or -1 is for
 * @head: hbus_sn_is_plain() has found it so
 *
 * Return: the topic's number, or 0 when only the gateway can tell.
 */
uint32_t hbus_sn_paths_find(struct hbus_sn_paths *paths, const struct hbus_sn_peer *peer,
			    const struct hbus_sn_publish_head *head, uint64_t now_ns,
			    bool *ret_is_wanted);
/* The same for a peer of IPv4 without a VLAN: @addr is the four bytes as they stand in memory. */
uint32_t hbus_sn_paths_find_ipv4(struct hbus_sn_paths *paths, uint32_t addr, uint16_t port,
				 const struct hbus_sn_publish_head *head, uint64_t now_ns,
				 bool *ret_is_wanted);
