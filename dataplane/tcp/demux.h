/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whose a segment is, found by a hash.
 *
 * lwIP looks for the connection of a segment in a list and moves it to the front: with thousands of
 * connections that speak in turn it walks all of them for each segment. Here the connections that
 * somebody serves are in a table too, and lwIP is shown the list from the right one on, so that it finds
 * it at once. What is not in the table (connections that begin or end) lwIP looks for as ever.
 *
 * Thread: the stack's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct hbus_demux;
struct netif;
struct pbuf;
struct tcp_pcb;

/* Of a connection; its owner keeps it. All zero: not in a table. */
struct hbus_demux_entry {
	struct tcp_pcb *pcb;
	uint32_t n_late;             /* its user's: segments out of order, about */
	uint64_t hash;
	struct hbus_demux_entry *next, **link;
};

/* @connections_max: how many are expected. Return: 0 or -ENOMEM. The caller owns *ret_demux. */
int hbus_demux_new(const uint64_t secret[2], uint32_t connections_max, struct hbus_demux **ret_demux);
/* Entries are forgotten. Accepts NULL and returns NULL. */
struct hbus_demux *hbus_demux_free(struct hbus_demux *demux);

void hbus_demux_add(struct hbus_demux *demux, struct hbus_demux_entry *entry, struct tcp_pcb *pcb);
/* Before or just when lwIP frees the connection. Of an entry in no table nothing is done. */
void hbus_demux_remove(struct hbus_demux_entry *entry);

/**
 * hbus_demux_reopen() - a SYN between the two ends of a connection that is over: forget that one
 * @ip, @tcp: the headers of the SYN
 *
 * A host whose connections we have closed first has the port free at once, and may use it again while we
 * remember it; lwIP would answer with the old numbers until it forgets, which takes two minutes. As RFC 1122
 * (4.2.2.13) has it, a number beyond all of the old connection begins a new one. One that its owner has not
 * let go yet stays.
 *
 * Return: whether there was one.
 */
bool hbus_demux_reopen(struct netif *netif, const uint8_t *ip, const uint8_t *tcp);

/**
 * hbus_demux_input() - give lwIP a frame
 * @p: consumed
 * @ip, @tcp: the headers in it, of a segment; NULL when it is none
 *
 * Return: the entry of the connection that it was for, or NULL: unknown, or over by now.
 */
struct hbus_demux_entry *hbus_demux_input(struct hbus_demux *demux, struct netif *netif, struct pbuf *p,
					  const uint8_t *ip, const uint8_t *tcp);
