/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The TCP stack with lwIP in it. An input is a frame of any kind, or what a peer says on one connection: segments with
 * flags, numbers, windows and sizes of its choice, around those that would be right. lwIP asserts nothing, every buffer
 * comes back, and no connection is left when all are ended.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>

#include "dataplane/tcp/demux.h"
#include "dataplane/tcp/stack.h"
#include "dataplane/tcp/sums.h"
#include "ebpf/filter_abi.h"
#include "tests/unit/frames.h"

enum { RST = 4, SYN = 2, ACK = 16, PORT = 1883, RECORD_SIZE = 8, OUT_SIZE = 2048 };

static struct {
	uint8_t last[OUT_SIZE];
	uint32_t size;
	uint64_t n_lent, n_back;
} out;

static struct hbus_tcp_counters counters;
static struct hbus_claim claim = { .n = 2,
				   .at = { { .family = HBUS_FAMILY_IPV4, .addr = { 10, 0, 0, 2 } },
					   { .family = HBUS_FAMILY_IPV6, .addr = { 0xfd, [15] = 2 } } } };
static struct hbus_stack *stack;
static uint64_t now_ms = 1000;
static struct hbus_demux_entry entry;
static struct tcp_pcb *served;

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

uint8_t *hbus_tcp_wire_reserve(struct hbus_tcp_wire *wire, uint16_t port_id, uint32_t size)
{
	(void)wire;
	(void)port_id;
	require(size <= OUT_SIZE);
	out.size = size;
	return out.last;
}

uint8_t *hbus_tcp_wire_last(struct hbus_tcp_wire *wire, uint16_t port_id, uint32_t *ret_size)
{
	(void)wire;
	(void)port_id;
	*ret_size = out.size;
	return out.size > 0 ? out.last : NULL;
}

void hbus_tcp_wire_give_back(void *buffer)
{
	out.n_back++;
	free(buffer);
}

/* ---- the client: says back what it hears ------------------------------------------------- */

static err_t on_receive(void *context, struct tcp_pcb *pcb, struct pbuf *p, err_t error)
{
	(void)context;
	(void)error;
	if (!p)
		return ERR_OK;
	tcp_recved(pcb, p->tot_len);
	(void)tcp_write(pcb, p->payload, p->len, TCP_WRITE_FLAG_COPY);
	pbuf_free(p);
	return ERR_OK;
}

static void on_error(void *context, err_t error)
{
	(void)context;
	(void)error;
	hbus_demux_remove(&entry);
	served = NULL;
}

static bool accept_one(void *context, struct hbus_demux *demux, struct tcp_pcb *pcb)
{
	(void)context;
	if (served)
		return false;
	served = pcb;
	tcp_recv(pcb, on_receive);
	tcp_err(pcb, on_error);
	hbus_demux_add(demux, &entry, pcb);
	return true;
}

/* ---- the peer ---------------------------------------------------------------------------- */

static void give(const uint8_t *bytes, uint32_t size)
{
	uint8_t *buffer = malloc(HBUS_TCP_WIRE_NOTE_SIZE + size + 1);
	struct hbus_tcp_wire_frame frame = { .buffer = buffer, .note = buffer, .size = size };

	require(buffer != NULL);
	frame.data = buffer + HBUS_TCP_WIRE_NOTE_SIZE;
	memcpy(frame.data, bytes, size);
	out.n_lent++;
	hbus_stack_input(stack, &frame, 1, ++now_ms);
}

struct segment {
	uint32_t seq, ack;
	uint16_t window;
	uint8_t flags;
	uint32_t options_size, size;
};

static void say(const struct segment *s, const uint8_t *data)
{
	uint8_t *ip, *tcp;
	struct frame f;
	uint8_t room[1500] = { 0 };
	uint32_t total = 20 + s->options_size + s->size;

	memcpy(room + 20, data, s->options_size + s->size);
	frame_link(&f, NULL, NULL, 0, 0x0800);
	frame_ipv4_udp(&f, 0, 1, room, total);
	f.size -= 8;
	ip = f.bytes + f.ip_off;
	tcp = f.bytes + f.udp_off;
	memcpy(tcp, room, total);
	ip[9] = 6;
	frame_put16(ip + 2, 20 + total);
	frame_put16(tcp, 40000);
	frame_put16(tcp + 2, PORT);
	frame_put16(tcp + 4, s->seq >> 16);
	frame_put16(tcp + 6, s->seq & 0xffff);
	frame_put16(tcp + 8, s->ack >> 16);
	frame_put16(tcp + 10, s->ack & 0xffff);
	tcp[12] = (uint8_t)((20 + s->options_size) / 4 << 4);
	tcp[13] = s->flags;
	frame_put16(tcp + 14, s->window);
	frame_seal_ipv4(&f);
	hbus_sums_finish(f.bytes, f.size);
	give(f.bytes, f.size);
}

/*
 * Record: flags and options, number and acknowledgement less the right ones plus 32768, window, size. Often the
 * numbers are the right ones.
 */
static void try_connection(const uint8_t *data, size_t size)
{
	static const uint8_t filler[1500];
	uint32_t seq = 1000, ack;

	out.size = 0;
	say(&(struct segment){ .seq = seq++, .flags = SYN, .window = 65535 }, filler);
	require(out.size >= 54);
	ack = (frame_get16(out.last + 38) << 16 | frame_get16(out.last + 40)) + 1;
	say(&(struct segment){ .seq = seq, .ack = ack, .flags = ACK, .window = 65535 }, filler);
	require(served != NULL);
	for (; size >= RECORD_SIZE; data += RECORD_SIZE, size -= RECORD_SIZE) {
		struct segment s = { .flags = data[0] & 0x3f,
				     .options_size = (data[0] >> 6) * 4u,
				     .seq = seq + frame_get16(data + 1) - 0x8000,
				     .ack = ack + frame_get16(data + 3) - 0x8000,
				     .window = (uint16_t)frame_get16(data + 5),
				     .size = data[7] * 5u };

		if (data[1] < 0x60)
			s.seq = seq;
		if (data[3] < 0xa0)
			s.ack = ack;
		say(&s, size >= RECORD_SIZE + s.options_size + s.size ? data + RECORD_SIZE : filler);
		if (s.seq == seq && served)
			seq = served->rcv_nxt;
		if (served)
			ack = served->snd_nxt;
		if (served && data[7] % 16 == 7)
			(void)tcp_shutdown(served, 0, 1);
	}
}

static void try_frame(const uint8_t *data, size_t size)
{
	uint8_t frame[FRAME_ROOM];

	if (size < 60 || size > sizeof(frame))
		return;
	memcpy(frame, data, size);
	hbus_sums_finish(frame, (uint32_t)size);
	give(frame, (uint32_t)size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hbus_stack_options options = { .claim = &claim,
					      .prefix_lens = { 8, 64 },
					      .macs = { { 2, 0, 0, 0, 0, 2 }, { 2, 0, 0, 0, 0, 2 } },
					      .mtus = { 1500, 1500 },
					      .tcp_port = PORT,
					      .connections_max = 100,
					      .secret = { 1, 2 },
					      .accept = accept_one };

	if (!stack)
		require(hbus_stack_new(&options, NULL, &counters, &stack) == 0);
	if (size == 0)
		return 0;
	if (data[0] & 1)
		try_frame(data + 1, size - 1);
	else
		try_connection(data + 1, size - 1);
	hbus_demux_remove(&entry);
	while (tcp_active_pcbs)
		tcp_abort(tcp_active_pcbs);
	while (tcp_tw_pcbs)
		tcp_abort(tcp_tw_pcbs);
	served = NULL;
	require(out.n_lent == out.n_back && counters.lent_now == 0);
	return 0;
}
