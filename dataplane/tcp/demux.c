/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A table of chains, its size a power of two at least as large as the connections expected; the hash is
 * keyed, as peers choose their ports.
 *
 * tcp_active_pcbs is a list with one link for each: a connection in the middle cannot be moved without its
 * predecessor. But lwIP can be made to begin there: it looks no further back, and finds the first one to be
 * the right one. Only when it has removed the connection is the predecessor looked for, as lwIP itself
 * does for each that ends.
 */
#include "dataplane/tcp/demux.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>

#include "ctl/proto/siphash.h"

struct hbus_demux {
	uint64_t secret[2];
	uint64_t mask;
	struct hbus_demux_entry *rows[];
};

/* Both ends of a connection as the peer writes them, addresses of IPv4 in the first four bytes. */
struct key {
	uint8_t remote[16], local[16];
	uint16_t remote_port, local_port; /* in the host's order */
	uint16_t netif_idx, is_v6;
};

int hbus_demux_new(const uint64_t secret[2], uint32_t connections_max, struct hbus_demux **ret_demux)
{
	struct hbus_demux *demux;
	size_t n_rows = 64;

	while (n_rows < connections_max)
		n_rows *= 2;
	demux = calloc(1, sizeof(*demux) + n_rows * sizeof(demux->rows[0]));
	if (!demux)
		return -ENOMEM;
	demux->secret[0] = secret[0];
	demux->secret[1] = secret[1];
	demux->mask = n_rows - 1;
	*ret_demux = demux;
	return 0;
}

struct hbus_demux *hbus_demux_free(struct hbus_demux *demux)
{
	if (!demux)
		return NULL;
	for (uint64_t i = 0; i <= demux->mask; i++)
		while (demux->rows[i])
			hbus_demux_remove(demux->rows[i]);
	free(demux);
	return NULL;
}

static struct key key_of_pcb(const struct tcp_pcb *pcb)
{
	struct key key = { .remote_port = pcb->remote_port, .local_port = pcb->local_port,
			   .netif_idx = pcb->netif_idx, .is_v6 = IP_IS_V6(&pcb->remote_ip) };

	if (key.is_v6) {
		memcpy(key.remote, ip_2_ip6(&pcb->remote_ip)->addr, 16);
		memcpy(key.local, ip_2_ip6(&pcb->local_ip)->addr, 16);
	} else {
		memcpy(key.remote, ip_2_ip4(&pcb->remote_ip), 4);
		memcpy(key.local, ip_2_ip4(&pcb->local_ip), 4);
	}
	return key;
}

static struct key key_of_segment(struct netif *netif, const uint8_t *ip, const uint8_t *tcp)
{
	struct key key = { .remote_port = (uint16_t)(tcp[0] << 8 | tcp[1]),
			   .local_port = (uint16_t)(tcp[2] << 8 | tcp[3]),
			   .netif_idx = netif_get_index(netif), .is_v6 = ip[0] >> 4 == 6 };

	if (key.is_v6) {
		memcpy(key.remote, ip + 8, 16);
		memcpy(key.local, ip + 24, 16);
	} else {
		memcpy(key.remote, ip + 12, 4);
		memcpy(key.local, ip + 16, 4);
	}
	return key;
}

static bool is_of(const struct tcp_pcb *pcb, const struct key *key)
{
	struct key other;

	if (pcb->remote_port != key->remote_port)
		return false;
	other = key_of_pcb(pcb);
	return memcmp(&other, key, sizeof(other)) == 0;
}

void hbus_demux_add(struct hbus_demux *demux, struct hbus_demux_entry *entry, struct tcp_pcb *pcb)
{
	struct key key = key_of_pcb(pcb);
	struct hbus_demux_entry **row;

	entry->pcb = pcb;
	entry->hash = hbus_siphash(demux->secret, &key, sizeof(key));
	row = &demux->rows[entry->hash & demux->mask];
	entry->next = *row;
	entry->link = row;
	if (entry->next)
		entry->next->link = &entry->next;
	*row = entry;
}

void hbus_demux_remove(struct hbus_demux_entry *entry)
{
	if (!entry->link)
		return;
	*entry->link = entry->next;
	if (entry->next)
		entry->next->link = entry->link;
	*entry = (struct hbus_demux_entry){ .pcb = NULL };
}

/* Return: NULL when there is none, or when lwIP has it among those that are over. */
static struct hbus_demux_entry *find(const struct hbus_demux *demux, const struct key *key)
{
	uint64_t hash = hbus_siphash(demux->secret, key, sizeof(*key));
	struct hbus_demux_entry *entry = demux->rows[hash & demux->mask];

	while (entry && (entry->hash != hash || !is_of(entry->pcb, key)))
		entry = entry->next;
	if (!entry || entry->pcb->state == TIME_WAIT || entry->pcb->state == CLOSED)
		return NULL;
	return entry;
}

bool hbus_demux_reopen(struct netif *netif, const uint8_t *ip, const uint8_t *tcp)
{
	struct key key = key_of_segment(netif, ip, tcp);
	uint32_t number = (uint32_t)tcp[4] << 24 | (uint32_t)tcp[5] << 16 | (uint32_t)tcp[6] << 8 | tcp[7];

	for (struct tcp_pcb *pcb = tcp_tw_pcbs; pcb; pcb = pcb->next) {
		if (!is_of(pcb, &key))
			continue;
		if (pcb->callback_arg || !TCP_SEQ_GT(number, pcb->rcv_nxt))
			return false;
		tcp_abort(pcb);
		return true;
	}
	return false;
}

/*
 * lwIP's list has all connections again. @first was its head when it began with @pcb; if that is gone, what
 * came behind it is the head now.
 */
static void restore(struct tcp_pcb *first, const struct tcp_pcb *pcb)
{
	struct tcp_pcb *rest = tcp_active_pcbs, **link = &first;

	if (rest != pcb) {
		while (*link && *link != pcb)
			link = &(*link)->next;
		*link = rest;
	}
	tcp_active_pcbs = first;
}

struct hbus_demux_entry *hbus_demux_input(struct hbus_demux *demux, struct netif *netif, struct pbuf *p,
					  const uint8_t *ip, const uint8_t *tcp)
{
	struct tcp_pcb *first = tcp_active_pcbs, *pcb = NULL;
	struct hbus_demux_entry *entry = NULL;

	if (tcp) {
		struct key key = key_of_segment(netif, ip, tcp);

		entry = find(demux, &key);
		pcb = entry ? entry->pcb : NULL;
	}
	if (pcb)
		tcp_active_pcbs = pcb;
	if (netif->input(p, netif) != ERR_OK)
		pbuf_free(p);
	if (pcb && pcb != first)
		restore(first, pcb);
	return entry && entry->pcb ? entry : NULL;
}
