/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lwIP's surroundings. A frame that may stay is lent to lwIP where it lies (pbuf_alloced_custom); when
 * too many buffers are out, as when somebody sends nothing but segments out of order, it is copied.
 */
#include "dataplane/tcp/stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lwip/etharp.h>
#include <lwip/ethip6.h>
#include <lwip/init.h>
#include <lwip/nd6.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>

#include "dataplane/log.h"
#include "dataplane/tcp/acks.h"
#include "dataplane/tcp/demux.h"
#include "dataplane/tcp/neighbour.h"
#include "dataplane/tcp/sums.h"

enum { COUNT_MS = 100, ETHERNET_SIZE = 14, TCP_FLAGS_OFF = 13 };

struct interface {
	struct netif netif;
	struct tcp_pcb *listener;
	uint16_t port_id;
};

struct hbus_stack {
	struct hbus_stack_options options;
	struct hbus_tcp_wire *wire;
	struct hbus_tcp_counters *counters;
	struct hbus_neighbours *neighbours;
	struct hbus_demux *demux;
	uint8_t *merged_ack;         /* the frame that has last taken the place of another */
	uint64_t now_ms, count_at_ms;
	uint64_t sums_logged;
	uint32_t n_pcbs;             /* connections in any state but TIME_WAIT, as far as was counted */
	uint32_t n_half_open;
	struct interface interfaces[HBUS_STACK_ADDRS_MAX];
};

/* The TCP header of a frame that passed check_sums(), or that is lwIP's, or NULL: no TCP. */
static const uint8_t *tcp_header_of(const uint8_t *frame)
{
	const uint8_t *ip = frame + ETHERNET_SIZE;

	if (frame[12] == 0x08 && frame[13] == 0x00)
		return ip[9] == HBUS_STACK_TCP ? ip + (ip[0] & 0x0fu) * 4 : NULL;
	if (frame[12] == 0x86)
		return ip[6] == HBUS_STACK_TCP ? ip + 40 : NULL;
	return NULL;
}

/* ---- frames out ------------------------------------------------------------------------ */

/* Return: the place of an acknowledgement that this one makes needless, or NULL. */
static uint8_t *place_of_older(struct hbus_stack *stack, uint16_t port_id, const struct pbuf *p)
{
	uint32_t size;
	uint8_t *last = hbus_tcp_wire_last(stack->wire, port_id, &size);

	if (!last || p->len != p->tot_len ||
	    !hbus_ack_replaces(p->payload, p->len, last, size, stack->merged_ack == last))
		return NULL;
	stack->merged_ack = last;
	stack->counters->acks_merged++;
	return last;
}

static err_t send_frame(struct netif *netif, struct pbuf *p)
{
	struct hbus_stack *stack = netif->state;
	struct interface *interface = (struct interface *)(void *)netif;
	uint8_t *room = place_of_older(stack, interface->port_id, p);
	const uint8_t *tcp;

	if (!room) {
		room = hbus_tcp_wire_reserve(stack->wire, interface->port_id, p->tot_len);
		/* The buffer may be one that was sent and came back. */
		if (room == stack->merged_ack)
			stack->merged_ack = NULL;
	}
	if (!room)
		return ERR_MEM;
	pbuf_copy_partial(p, room, p->tot_len, 0);
	tcp = tcp_header_of(room);
	stack->counters->resets_out += tcp && (tcp[TCP_FLAGS_OFF] & TCP_RST) != 0;
	return ERR_OK;
}

static err_t send_ipv4(struct netif *netif, struct pbuf *p, const ip4_addr_t *to)
{
	struct hbus_stack *stack = netif->state;
	uint8_t ip[16] = { 0 };
	const uint8_t *mac;

	memcpy(ip, to, 4);
	mac = hbus_neighbours_find(stack->neighbours, HBUS_FAMILY_IPV4, ip);
	if (mac)
		return ethernet_output(netif, p, (const struct eth_addr *)netif->hwaddr,
				       (const struct eth_addr *)mac, ETHTYPE_IP);
	stack->counters->arp_asked++;
	return etharp_output(netif, p, to);
}

static err_t send_ipv6(struct netif *netif, struct pbuf *p, const ip6_addr_t *to)
{
	struct hbus_stack *stack = netif->state;
	const uint8_t *mac = hbus_neighbours_find(stack->neighbours, HBUS_FAMILY_IPV6,
						  (const uint8_t *)to->addr);

	if (mac)
		return ethernet_output(netif, p, (const struct eth_addr *)netif->hwaddr,
				       (const struct eth_addr *)mac, ETHTYPE_IPV6);
	if (!ip6_addr_ismulticast(to))
		stack->counters->arp_asked++;
	return ethip6_output(netif, p, to);
}

/* ---- connections ----------------------------------------------------------------------- */

static err_t on_accept(void *context, struct tcp_pcb *pcb, err_t error)
{
	struct hbus_stack *stack = context;

	if (error != ERR_OK || !pcb)
		return ERR_VAL;
	if (stack->options.accept(stack->options.context, stack->demux, pcb))
		return ERR_OK;
	tcp_abort(pcb);
	return ERR_ABRT;
}

/* Counts, and finds the connection that has been half open for longest. */
static struct tcp_pcb *count_connections(struct hbus_stack *stack)
{
	struct tcp_pcb *oldest = NULL;

	stack->n_pcbs = stack->n_half_open = 0;
	for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next) {
		stack->n_pcbs++;
		if (pcb->state != SYN_RCVD)
			continue;
		stack->n_half_open++;
		if (!oldest || (int32_t)(pcb->tmr - oldest->tmr) <= 0)
			oldest = pcb;
	}
	return oldest;
}

/* Ended connections cost memory and a look for each new one: the latest stay. */
static void cut_time_wait(struct hbus_stack *stack)
{
	uint64_t n = 0;

	for (struct tcp_pcb *pcb = tcp_tw_pcbs, *next; pcb; pcb = next) {
		next = pcb->next;
		if (n < stack->options.connections_max) {
			n++;
			continue;
		}
		tcp_abort(pcb);
		stack->counters->time_wait_cut++;
	}
	stack->counters->time_wait_now = n;
}

/*
 * Before a SYN reaches lwIP, which would take any number of them. Return: false to ignore it; the
 * peer will ask again.
 */
static bool may_open(struct hbus_stack *stack)
{
	struct tcp_pcb *oldest;

	stack->counters->opens++;
	if (stack->n_half_open >= HBUS_STACK_HALF_OPEN_MAX) {
		oldest = count_connections(stack);
		if (stack->n_half_open >= HBUS_STACK_HALF_OPEN_MAX && oldest) {
			tcp_abandon(oldest, 0);
			stack->counters->half_open_cut++;
			stack->n_half_open--;
			stack->n_pcbs--;
		}
	}
	if (stack->n_pcbs >= stack->options.connections_max + 2 * HBUS_STACK_HALF_OPEN_MAX) {
		stack->counters->opens_limited++;
		return false;
	}
	stack->n_half_open++;
	stack->n_pcbs++;
	return true;
}

unsigned int hbus_stack_n_open(const struct hbus_stack *stack)
{
	unsigned int n = 0;

	(void)stack;
	for (const struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next)
		n++;
	return n;
}

/* ---- frames in ------------------------------------------------------------------------- */

/* A frame in the hands of lwIP; lies in the note in front of it. */
struct lent {
	struct pbuf_custom custom;
	struct hbus_tcp_counters *counters;
	void *buffer;
};
_Static_assert(sizeof(struct lent) <= HBUS_TCP_WIRE_NOTE_SIZE, "the note has room for it");

static void take_back(struct pbuf *p)
{
	struct lent *lent = (struct lent *)(void *)p;

	lent->counters->lent_now--;
	hbus_tcp_wire_give_back(lent->buffer);
}

/* Consumes @frame. Return: NULL when there is no memory. */
static struct pbuf *wrap(struct hbus_stack *stack, const struct hbus_tcp_wire_frame *frame)
{
	struct lent *lent = frame->note;
	struct pbuf *p;

	if (lent && stack->counters->lent_now < HBUS_TCP_WIRE_LENT_MAX) {
		*lent = (struct lent){ .custom.custom_free_function = take_back,
				       .counters = stack->counters,
				       .buffer = frame->buffer };
		stack->counters->lent_now++;
		return pbuf_alloced_custom(PBUF_RAW, (u16_t)frame->size, PBUF_REF, &lent->custom,
					   frame->data, (u16_t)frame->size);
	}
	p = pbuf_alloc(PBUF_RAW, (u16_t)frame->size, PBUF_RAM);
	if (p)
		pbuf_take(p, frame->data, (u16_t)frame->size);
	hbus_tcp_wire_give_back(frame->buffer);
	stack->counters->frames_copied++;
	return p;
}

static const uint8_t *source_of(const uint8_t *frame)
{
	if (frame[12] == 0x86)
		return frame + ETHERNET_SIZE + 8;
	return frame + ETHERNET_SIZE + (frame[13] == 0x06 ? 14 : 12);
}

/*
 * From nobody who could be answered: a group, a loopback, an address of the stack itself. lwIP would
 * talk to itself, by a thread that is not there. Nothing as a source is for those who ask for addresses.
 */
static bool has_bad_source(const struct hbus_claim *claim, const uint8_t *frame)
{
	static const uint8_t loopback[16] = { [15] = 1 }, none[4] = { 0 };
	uint8_t family = frame[12] == 0x86 ? HBUS_FAMILY_IPV6 : HBUS_FAMILY_IPV4;
	const uint8_t *source = source_of(frame);

	if (family == HBUS_FAMILY_IPV6 && (source[0] == 0xff || memcmp(source, loopback, 16) == 0))
		return true;
	if (family == HBUS_FAMILY_IPV4 && (source[0] == 127 || source[0] >= 224))
		return true;
	if (frame[12] == 0x08 && frame[13] == 0x00 && memcmp(source, none, sizeof(none)) == 0)
		return true;
	for (uint32_t i = 0; i < claim->n; i++)
		if (claim->at[i].family == family &&
		    memcmp(claim->at[i].addr, source, family == HBUS_FAMILY_IPV4 ? 4 : 16) == 0)
			return true;
	return false;
}

static void say_unfinished(struct hbus_stack *stack)
{
	if (stack->sums_logged++ > 0)
		return;
	hbus_log("a peer leaves its TCP checksums to hardware that is not there, as hosts do over veth: "
		 "'ethtool -K INTERFACE tx off' on its end, or --no-checksum here");
}

/* Return: whether the segment may go on to lwIP. */
static bool check_sums(struct hbus_stack *stack, const struct hbus_tcp_wire_frame *frame)
{
	switch (hbus_sums_tcp(frame->data, frame->size)) {
	case 0:
		return true;
	case HBUS_SUMS_SHORT:
		stack->counters->frames_short++;
		return false;
	case HBUS_SUMS_UNFINISHED:
		if (stack->options.finishes_sums) {
			stack->counters->sums_finished++;
			hbus_sums_finish(frame->data, frame->size);
			return true;
		}
		stack->counters->sums_unfinished++;
		say_unfinished(stack);
		return false;
	default:
		stack->counters->sums_bad++;
		return false;
	}
}

/* SYN without ACK to the port that listens; lwIP resets the rest. */
static bool is_opening(const struct hbus_stack *stack, const uint8_t *tcp)
{
	return tcp && (tcp[TCP_FLAGS_OFF] & (TCP_SYN | TCP_ACK)) == TCP_SYN &&
	       ((uint32_t)tcp[2] << 8 | tcp[3]) == stack->options.tcp_port;
}

/* Segments that are no stream but holes: their sender may say them again. */
static void limit_late(struct hbus_stack *stack, struct hbus_demux_entry *entry)
{
	struct tcp_pcb *pcb = entry->pcb;
	uint32_t n = 0;

	if (!pcb->ooseq) {
		entry->n_late = 0;
		return;
	}
	/* At most so many, as each comes in a frame of its own. Now and then they are counted. */
	if (++entry->n_late <= HBUS_STACK_LATE_MAX)
		return;
	for (const struct tcp_seg *segment = pcb->ooseq; segment; segment = segment->next)
		n++;
	if (n >= HBUS_STACK_LATE_MAX) {
		tcp_free_ooseq(pcb);
		stack->counters->late_cut++;
		n = 0;
	}
	entry->n_late = n;
}

static void take_frame(struct hbus_stack *stack, const struct hbus_tcp_wire_frame *frame)
{
	int i = hbus_claim_find(stack->options.claim, frame->port_id, frame->data, frame->size);
	struct netif *netif = i < 0 ? NULL : &stack->interfaces[i].netif;
	struct hbus_demux_entry *entry;
	const uint8_t *tcp;
	struct pbuf *p;

	if (!netif || frame->size > UINT16_MAX)
		goto drop;
	if (has_bad_source(stack->options.claim, frame->data)) {
		stack->counters->frames_bad_source++;
		goto drop;
	}
	if (!check_sums(stack, frame))
		goto drop;
	hbus_neighbours_learn(stack->neighbours, frame->data, frame->size, stack->now_ms);
	tcp = tcp_header_of(frame->data);
	if (is_opening(stack, tcp)) {
		if (!may_open(stack))
			goto drop;
		stack->counters->time_wait_reopened += hbus_demux_reopen(netif, frame->data + ETHERNET_SIZE, tcp);
	}
	stack->counters->resets_in += tcp && (tcp[TCP_FLAGS_OFF] & TCP_RST) != 0;
	p = wrap(stack, frame);
	if (!p) {
		stack->counters->frames_lost++;
		return;
	}
	entry = hbus_demux_input(stack->demux, netif, p, frame->data + ETHERNET_SIZE, tcp);
	if (entry)
		limit_late(stack, entry);
	return;
drop:
	hbus_tcp_wire_give_back(frame->buffer);
}

void hbus_stack_input(struct hbus_stack *stack, const struct hbus_tcp_wire_frame *frames, unsigned int n,
		      uint64_t now_ms)
{
	stack->now_ms = now_ms;
	for (unsigned int i = 0; i < n; i++)
		take_frame(stack, &frames[i]);
}

void hbus_stack_tick(struct hbus_stack *stack, uint64_t now_ms)
{
	stack->now_ms = now_ms;
	sys_check_timeouts();
	if (now_ms < stack->count_at_ms)
		return;
	stack->count_at_ms = now_ms + COUNT_MS;
	(void)count_connections(stack);
	stack->counters->half_open_now = stack->n_half_open;
	cut_time_wait(stack);
}

/* ---- life ------------------------------------------------------------------------------ */

static err_t init_netif(struct netif *netif)
{
	struct hbus_stack *stack = netif->state;
	uint32_t i = (uint32_t)((struct interface *)(void *)netif - stack->interfaces);

	netif->name[0] = 'h';
	netif->name[1] = 'b';
	netif->hwaddr_len = 6;
	memcpy(netif->hwaddr, stack->options.macs[i], 6);
	netif->mtu = stack->options.mtus[i];
	netif->mtu6 = netif->mtu;
	netif->linkoutput = send_frame;
	netif->output = send_ipv4;
	netif->output_ip6 = send_ipv6;
	netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET |
		       NETIF_FLAG_MLD6 | NETIF_FLAG_LINK_UP;
	return ERR_OK;
}

static void prefix_mask(ip4_addr_t *mask, uint8_t prefix_len)
{
	mask->addr = prefix_len == 0 ? 0 : lwip_htonl(~UINT32_C(0) << (32 - prefix_len));
}

static int add_interface(struct hbus_stack *stack, uint32_t i)
{
	const struct hbus_claim_address *address = &stack->options.claim->at[i];
	struct netif *netif = &stack->interfaces[i].netif;
	ip4_addr_t ip = { 0 }, mask = { 0 }, none = { 0 };
	bool is_v4 = address->family == HBUS_FAMILY_IPV4;

	stack->interfaces[i].port_id = address->port_id;
	if (is_v4) {
		memcpy(&ip, address->addr, 4);
		prefix_mask(&mask, stack->options.prefix_lens[i]);
	}
	if (!netif_add(netif, &ip, &mask, &none, stack, init_netif, ethernet_input))
		return -ENOMEM;
	netif_set_up(netif);
	if (!is_v4) {
		memcpy(ip_2_ip6(&netif->ip6_addr[0])->addr, address->addr, 16);
		IP_SET_TYPE_VAL(netif->ip6_addr[0], IPADDR_TYPE_V6);
		netif_ip6_addr_set_state(netif, 0, IP6_ADDR_PREFERRED);
	}
	/* Routers are not asked: the stack answers where it is spoken from. */
	netif->rs_count = 0;
	return 0;
}

static int listen_on(struct hbus_stack *stack, uint32_t i)
{
	const struct hbus_claim_address *address = &stack->options.claim->at[i];
	struct interface *interface = &stack->interfaces[i];
	bool is_v4 = address->family == HBUS_FAMILY_IPV4;
	struct tcp_pcb *pcb = tcp_new_ip_type(is_v4 ? IPADDR_TYPE_V4 : IPADDR_TYPE_V6), *listener;

	if (!pcb)
		return -ENOMEM;
	if (tcp_bind(pcb, is_v4 ? &interface->netif.ip_addr : &interface->netif.ip6_addr[0],
		     stack->options.tcp_port) != ERR_OK) {
		tcp_close(pcb);
		return -EADDRINUSE;
	}
	listener = tcp_listen(pcb);
	if (!listener) {
		tcp_close(pcb);
		return -ENOMEM;
	}
	/* So that its connections go out by this interface, whatever else is in the same network. */
	tcp_bind_netif(listener, &interface->netif);
	tcp_arg(listener, stack);
	tcp_accept(listener, on_accept);
	interface->listener = listener;
	return 0;
}

int hbus_stack_new(const struct hbus_stack_options *options, struct hbus_tcp_wire *wire,
		   struct hbus_tcp_counters *counters, struct hbus_stack **ret_stack)
{
	struct hbus_stack *stack = calloc(1, sizeof(*stack));
	int r;

	if (!stack)
		return -ENOMEM;
	stack->options = *options;
	stack->wire = wire;
	stack->counters = counters;
	r = hbus_neighbours_new(options->secret, &stack->neighbours);
	if (r == 0)
		r = hbus_demux_new(options->secret, options->connections_max, &stack->demux);
	if (r < 0) {
		hbus_neighbours_free(stack->neighbours);
		free(stack);
		return r;
	}
	hbus_isn_init(options->secret);
	lwip_init();
	for (uint32_t i = 0; i < options->claim->n && r == 0; i++) {
		r = add_interface(stack, i);
		if (r == 0)
			r = listen_on(stack, i);
	}
	if (r < 0) {
		hbus_stack_free(stack);
		return r;
	}
	*ret_stack = stack;
	return 0;
}

void hbus_stack_deafen(struct hbus_stack *stack)
{
	for (uint32_t i = 0; i < stack->options.claim->n; i++) {
		if (stack->interfaces[i].listener)
			tcp_close(stack->interfaces[i].listener);
		stack->interfaces[i].listener = NULL;
	}
}

struct hbus_stack *hbus_stack_free(struct hbus_stack *stack)
{
	if (!stack)
		return NULL;
	hbus_stack_deafen(stack);
	while (tcp_active_pcbs)
		tcp_abort(tcp_active_pcbs);
	while (tcp_tw_pcbs)
		tcp_abort(tcp_tw_pcbs);
	for (uint32_t i = 0; i < stack->options.claim->n; i++)
		if (stack->interfaces[i].netif.state)
			netif_remove(&stack->interfaces[i].netif);
	hbus_demux_free(stack->demux);
	hbus_neighbours_free(stack->neighbours);
	free(stack);
	return NULL;
}
