/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The TCP stack between a wire and clients of this test: peers that speak in turn, end in all ways, or mean
 * no good. No port and no privileges; frames are the test's own.
 */
#include "dataplane/tcp/stack.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>

#include "dataplane/tcp/demux.h"
#include "ebpf/filter_abi.h"
#include "tests/unit/frames.h"
#include "tests/unit/random.h"

enum { FIN = 1, SYN = 2, RST = 4, PUSH = 8, ACK = 16, PORT = 1883, PEERS_MAX = 4096, OUT_MAX = 512, CONNECTIONS_MAX = 3000 };

/* ---- the wire --------------------------------------------------------------------------- */

static struct {
	uint8_t frames[OUT_MAX][1600];
	uint32_t sizes[OUT_MAX];
	unsigned int n;
	uint64_t n_lent, n_back;
} out;

uint8_t *hbus_tcp_wire_reserve(struct hbus_tcp_wire *wire, uint16_t port_id, uint32_t size)
{
	(void)wire;
	(void)port_id;
	cr_assert_leq(size, sizeof(out.frames[0]));
	out.n %= OUT_MAX;
	out.sizes[out.n] = size;
	return out.frames[out.n++];
}

uint8_t *hbus_tcp_wire_last(struct hbus_tcp_wire *wire, uint16_t port_id, uint32_t *ret_size)
{
	(void)wire;
	(void)port_id;
	if (out.n == 0)
		return NULL;
	*ret_size = out.sizes[out.n - 1];
	return out.frames[out.n - 1];
}

void hbus_tcp_wire_give_back(void *buffer)
{
	out.n_back++;
	free(buffer);
}

/* ---- the clients ------------------------------------------------------------------------- */

struct served {
	struct tcp_pcb *pcb;
	struct hbus_demux_entry entry;
	uint32_t n_bytes, n_sent;    /* received; acknowledged */
	uint8_t last;
	bool has_ended, is_broken;
};

struct peer {
	uint32_t ip;
	uint16_t port;
	uint32_t seq, ack;
	uint16_t window;
	bool is_open;
	uint32_t n_bytes;
};

static struct peer peers[PEERS_MAX];
static struct served served[PEERS_MAX];
static struct hbus_tcp_counters counters;
static struct hbus_claim claim = { .n = 1, .at = { { .family = HBUS_FAMILY_IPV4, .addr = { 10, 0, 0, 2 } } } };
static struct hbus_stack *stack;
static uint64_t now_ms = 1000;

static struct served *served_of(const struct tcp_pcb *pcb)
{
	uint32_t ip = lwip_ntohl(ip_2_ip4(&pcb->remote_ip)->addr);

	return &served[ip - 0x0a010000];
}

static err_t on_receive(void *context, struct tcp_pcb *pcb, struct pbuf *p, err_t error)
{
	struct served *s = context;

	cr_assert(error == ERR_OK && pcb == s->pcb);
	if (!p) {
		s->has_ended = true;
		return ERR_OK;
	}
	s->n_bytes += p->tot_len;
	s->last = pbuf_get_at(p, (u16_t)(p->tot_len - 1));
	tcp_recved(pcb, p->tot_len);
	pbuf_free(p);
	return ERR_OK;
}

static err_t on_sent(void *context, struct tcp_pcb *pcb, u16_t size)
{
	struct served *s = context;

	(void)pcb;
	s->n_sent += size;
	return ERR_OK;
}

static void on_error(void *context, err_t error)
{
	struct served *s = context;

	(void)error;
	hbus_demux_remove(&s->entry);
	s->pcb = NULL;
	s->is_broken = true;
}

static bool accept_any(void *context, struct hbus_demux *demux, struct tcp_pcb *pcb)
{
	struct served *s = served_of(pcb);

	(void)context;
	*s = (struct served){ .pcb = pcb };
	tcp_arg(pcb, s);
	tcp_recv(pcb, on_receive);
	tcp_sent(pcb, on_sent);
	tcp_err(pcb, on_error);
	hbus_demux_add(demux, &s->entry, pcb);
	return true;
}

static void close_served(struct served *s)
{
	struct tcp_pcb *pcb = s->pcb;

	hbus_demux_remove(&s->entry);
	tcp_arg(pcb, NULL);
	tcp_recv(pcb, NULL);
	tcp_err(pcb, NULL);
	s->pcb = NULL;
	cr_assert_eq(tcp_close(pcb), ERR_OK);
}

/* ---- the peers --------------------------------------------------------------------------- */

static void build(struct frame *f, const struct peer *peer, uint32_t seq, uint8_t flags, const void *data, uint32_t size)
{
	uint8_t segment[1500] = { 0 }, *ip, *tcp;
	uint32_t header_size = flags & SYN ? 24 : 20;

	if (flags & SYN)
		memcpy(segment + 20, (uint8_t[]){ 2, 4, 5, 0xb4 }, 4);
	if (size > 0)
		memcpy(segment + header_size, data, size);
	frame_link(f, NULL, NULL, 0, 0x0800);
	/* What is made as UDP becomes TCP: the segment is its payload, which then moves over the header. */
	frame_ipv4_udp(f, 0, 1, segment, header_size + size);
	ip = f->bytes + f->ip_off;
	f->size -= 8;
	tcp = f->bytes + f->udp_off;
	memcpy(tcp, segment, header_size + size);
	ip[9] = 6;
	frame_put16(ip + 2, 20 + header_size + size);
	frame_put16(ip + 12, peer->ip >> 16);
	frame_put16(ip + 14, peer->ip & 0xffff);
	frame_put16(tcp, peer->port);
	frame_put16(tcp + 2, PORT);
	frame_put16(tcp + 4, seq >> 16);
	frame_put16(tcp + 6, seq & 0xffff);
	frame_put16(tcp + 8, peer->ack >> 16);
	frame_put16(tcp + 10, peer->ack & 0xffff);
	tcp[12] = (uint8_t)(header_size / 4 << 4);
	tcp[13] = flags;
	frame_put16(tcp + 14, peer->window);
	frame_seal_ipv4(f);
	frame_put16(tcp + 16, ~frame_sum(frame_sum(6 + header_size + size, ip + 12, 8), tcp, header_size + size) & 0xffff);
}

static void give(const struct frame *f)
{
	struct hbus_tcp_wire_frame frame = { .size = f->size };
	uint8_t *buffer = malloc(HBUS_TCP_WIRE_NOTE_SIZE + FRAME_ROOM);

	cr_assert(buffer);
	memcpy(buffer + HBUS_TCP_WIRE_NOTE_SIZE, f->bytes, f->size);
	frame.buffer = frame.note = buffer;
	frame.data = buffer + HBUS_TCP_WIRE_NOTE_SIZE;
	out.n_lent++;
	hbus_stack_input(stack, &frame, 1, now_ms);
}

static void say(const struct peer *peer, uint32_t seq, uint8_t flags, const void *data, uint32_t size)
{
	struct frame f;

	build(&f, peer, seq, flags, data, size);
	give(&f);
}

static void check_sums(const uint8_t *ip)
{
	uint32_t size = frame_get16(ip + 2) - 20;

	cr_assert_eq(frame_sum(0, ip, 20), 0xffff);
	cr_assert_eq(frame_sum(frame_sum(6 + size, ip + 12, 8), ip + 20, size), 0xffff, "flags %x", ip[20 + 13]);
}

/* Whether the stack has sent this peer a segment with these flags; takes its numbers. */
static bool hears(struct peer *peer, uint8_t flags)
{
	for (unsigned int i = 0; i < out.n; i++) {
		const uint8_t *ip = out.frames[i] + 14, *tcp = ip + 20;
		uint32_t size = frame_get16(ip + 2) - 20 - (tcp[12] >> 4) * 4u, ack;

		if (frame_get16(out.frames[i] + 12) != 0x0800 || (frame_get16(ip + 16) << 16 | frame_get16(ip + 18)) != peer->ip ||
		    frame_get16(tcp + 2) != peer->port || (tcp[13] & flags) != flags)
			continue;
		check_sums(ip);
		ack = frame_get16(tcp + 8) << 16 | frame_get16(tcp + 10);
		cr_assert((tcp[13] & RST) || !(tcp[13] & ACK) || (int32_t)(ack - peer->seq) <= 0, "acknowledged what was not said");
		peer->ack = (frame_get16(tcp + 4) << 16 | frame_get16(tcp + 6)) + size + ((tcp[13] & (SYN | FIN)) != 0);
		out.n = 0;
		return true;
	}
	return false;
}

static struct peer *open_peer(unsigned int i)
{
	struct peer *peer = &peers[i];

	*peer = (struct peer){ .ip = 0x0a010000 + i, .port = (uint16_t)(20000 + i), .seq = 77 * i, .window = 65535 };
	out.n = 0;
	say(peer, peer->seq++, SYN, NULL, 0);
	if (!hears(peer, SYN | ACK))
		return NULL;
	say(peer, peer->seq, ACK, NULL, 0);
	peer->is_open = served[i].pcb && served[i].pcb->state == ESTABLISHED;
	return peer->is_open ? peer : NULL;
}

/* One segment that must reach its own client and nobody else. */
static void speak(unsigned int i, uint8_t byte)
{
	struct peer *peer = &peers[i];
	uint8_t data[3] = { 1, 2, byte };

	say(peer, peer->seq, ACK | PUSH, data, sizeof(data));
	peer->seq += sizeof(data);
	peer->n_bytes += sizeof(data);
	cr_assert(served[i].n_bytes == peer->n_bytes && served[i].last == byte, "client %u: %u bytes of %u", i, served[i].n_bytes,
		  peer->n_bytes);
}

static void set_up(void)
{
	struct hbus_stack_options options = { .claim = &claim,
					      .prefix_lens = { 8 },
					      .macs = { { 2, 0, 0, 0, 0, 2 } },
					      .mtus = { 1500 },
					      .tcp_port = PORT,
					      .connections_max = CONNECTIONS_MAX,
					      .secret = { 1, 2 },
					      .accept = accept_any };

	cr_assert_eq(hbus_stack_new(&options, NULL, &counters, &stack), 0);
}

static void tear_down(void)
{
	for (unsigned int i = 0; i < PEERS_MAX; i++)
		hbus_demux_remove(&served[i].entry);
	stack = hbus_stack_free(stack);
	cr_assert_eq(counters.lent_now, 0);
	cr_assert_eq(out.n_lent, out.n_back, "buffers are missing");
}

TestSuite(tcp_stack, .init = set_up, .fini = tear_down);

Test(tcp_stack, finds_the_connection_of_each_of_many_that_speak_in_turn)
{
	for (unsigned int i = 0; i < 1000; i++)
		cr_assert(open_peer(i), "%u", i);
	cr_assert_eq(hbus_stack_n_open(stack), 1000);
	for (unsigned int round = 0; round < 20; round++)
		for (unsigned int i = 0; i < 1000; i++)
			speak(i, (uint8_t)(round + i));
	cr_assert_eq(hbus_stack_n_open(stack), 1000);
	cr_assert_eq(counters.resets_out, 0);
}

static void end_by_reset(unsigned int i)
{
	say(&peers[i], peers[i].seq, RST, NULL, 0);
	cr_assert(served[i].is_broken);
}

static void end_by_peer(unsigned int i)
{
	struct peer *peer = &peers[i];

	say(peer, peer->seq++, FIN | ACK, NULL, 0);
	cr_assert(served[i].has_ended);
	out.n = 0;
	close_served(&served[i]);
	cr_assert(hears(peer, FIN | ACK));
	say(peer, peer->seq, ACK, NULL, 0);
}

/* The client's half first, as after DISCONNECT by the engine: the connection is ended within a frame that it was found for. */
static void end_by_client(unsigned int i)
{
	struct peer *peer = &peers[i];

	out.n = 0;
	cr_assert_eq(tcp_shutdown(served[i].pcb, 0, 1), ERR_OK);
	cr_assert(hears(peer, FIN | ACK));
	say(peer, peer->seq, ACK, NULL, 0);
	speak(i, 9);
	say(peer, peer->seq++, FIN | ACK, NULL, 0);
	cr_assert(served[i].has_ended);
	/* Twice, as if the answer was lost: it is in the table still, but in another list. */
	say(peer, peer->seq - 1, FIN | ACK, NULL, 0);
	close_served(&served[i]);
}

Test(tcp_stack, loses_no_connection_while_others_come_and_end)
{
	static void (*const ends[])(unsigned int) = { end_by_reset, end_by_peer, end_by_client };
	struct test_random seed;
	unsigned int n_open = 0;

	test_random_init(&seed, "tcp_stack");
	for (unsigned int step = 0; step < 20000; step++) {
		unsigned int i = (unsigned int)(test_random_next(&seed) % 300);

		if (!peers[i].is_open) {
			/* As another one: the old one may be remembered. */
			peers[i].is_open = open_peer(i) != NULL;
			cr_assert(peers[i].is_open || hears(&peers[i], RST) || tcp_tw_pcbs, "%u", i);
			n_open += peers[i].is_open;
		} else if (test_random_next(&seed) % 4) {
			speak(i, (uint8_t)step);
		} else {
			ends[test_random_next(&seed) % 3](i);
			peers[i].is_open = false;
			n_open--;
			/* Nobody waits two minutes here. */
			while (tcp_tw_pcbs)
				tcp_abort(tcp_tw_pcbs);
		}
		cr_assert_eq(hbus_stack_n_open(stack), n_open, "step %u", step);
	}
}

/* A host may use a port again as soon as the connection is over for it, which may be before it is for us. */
Test(tcp_stack, who_has_been_hung_up_on_may_come_back_by_the_same_port_at_once)
{
	struct peer *peer = open_peer(7);

	cr_assert(peer);
	for (unsigned int i = 0; i < 100; i++) {
		end_by_client(7);
		cr_assert(tcp_tw_pcbs);
		peer->ack = 0;
		/* An old SYN that comes late is none. */
		out.n = 0;
		say(peer, peer->seq - 1000, SYN, NULL, 0);
		cr_assert_not(hears(peer, SYN | ACK));
		peer->seq += 64000;
		say(peer, peer->seq++, SYN, NULL, 0);
		cr_assert(hears(peer, SYN | ACK), "round %u", i);
		say(peer, peer->seq, ACK, NULL, 0);
		peer->n_bytes = 0;
		speak(7, (uint8_t)i);
	}
	cr_assert_eq(counters.time_wait_reopened, 100);
	cr_assert_eq(hbus_stack_n_open(stack), 1);
}

Test(tcp_stack, a_flood_of_openings_costs_only_itself)
{
	struct peer stranger = { .window = 1000 };

	cr_assert(open_peer(0));
	for (uint32_t i = 0; i < 20000; i++) {
		stranger.ip = 0x0a020000 + i;
		stranger.port = (uint16_t)i;
		say(&stranger, i, SYN, NULL, 0);
		if (i % 1000 == 0)
			speak(0, 5);
	}
	cr_assert_leq(hbus_stack_n_open(stack), HBUS_STACK_HALF_OPEN_MAX + 1);
	cr_assert_geq(counters.half_open_cut, 20000 - HBUS_STACK_HALF_OPEN_MAX);
	cr_assert_eq(counters.opens, 20001);
	/* And whoever means it comes in meanwhile. */
	cr_assert(open_peer(1));
	speak(1, 6);
}

Test(tcp_stack, a_port_scan_is_told_that_nobody_is_there)
{
	struct peer scanner = { .ip = 0x0a010005, .port = 9, .window = 1000 };

	for (uint32_t i = 0; i < 1000; i++) {
		struct frame f;

		build(&f, &scanner, i, (uint8_t)(i % 2 ? SYN : FIN), NULL, 0);
		/* Not the port that listens; the sum moves with it. */
		frame_put16(f.bytes + f.udp_off + 2, 1);
		frame_put16(f.bytes + f.udp_off + 4, frame_get16(f.bytes + f.udp_off + 4) + PORT - 1);
		give(&f);
	}
	cr_assert_eq(hbus_stack_n_open(stack), 0);
	cr_assert_eq(counters.sums_bad, 0);
	cr_assert_eq(counters.resets_out, 1000);
}

Test(tcp_stack, of_acknowledgements_in_a_row_the_last_is_sent_but_repetitions_are_too)
{
	struct peer *peer = open_peer(0);
	uint8_t data[1400] = { 0 };

	cr_assert(peer);
	out.n = 0;
	for (unsigned int i = 0; i < 40; i++, peer->seq += sizeof(data))
		say(peer, peer->seq, ACK, data, sizeof(data));
	cr_assert_eq(out.n, 1);
	cr_assert_geq(counters.acks_merged, 19);
	cr_assert(hears(peer, ACK));
	cr_assert_eq(frame_get16(out.frames[0] + 14 + 20 + 8) << 16 | frame_get16(out.frames[0] + 14 + 20 + 10), peer->seq);
	/* One is lost: each that comes behind is told, or the peer would wait for its timer. */
	for (unsigned int i = 1; i <= 5; i++)
		say(peer, peer->seq + i * (uint32_t)sizeof(data), ACK, data, sizeof(data));
	cr_assert_eq(out.n, 5);
}

Test(tcp_stack, who_guesses_numbers_ends_no_connection)
{
	static const uint8_t kinds[] = { RST, RST | ACK, FIN | ACK, SYN, SYN | ACK, ACK | PUSH };
	struct peer *peer, liar;
	struct test_random seed;

	test_random_init(&seed, "tcp_stack");
	peer = open_peer(0);
	cr_assert(peer);
	for (unsigned int i = 0; i < 20000; i++) {
		uint32_t guess = (uint32_t)test_random_next(&seed);

		/* Outside the window, where all but one guess in 65 536 is. */
		if (guess - peer->seq < 70000)
			continue;
		liar = *peer;
		liar.ack = (uint32_t)test_random_next(&seed);
		say(&liar, guess, kinds[i % sizeof(kinds)], "evil", i % sizeof(kinds) == 5 ? 4 : 0);
		/* Within the window, but not the next one: asked for again, not obeyed. */
		say(&liar, peer->seq + 1 + guess % 1000, RST, NULL, 0);
	}
	speak(0, 8);
	cr_assert_geq(counters.resets_in, 20000);
	cr_assert_eq(hbus_stack_n_open(stack), 1);
}

Test(tcp_stack, segments_out_of_order_are_put_in_order_and_bounded)
{
	struct peer *peer = open_peer(0);
	unsigned int n_late = 0;
	uint8_t bytes[100];

	cr_assert(peer);
	for (unsigned int i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	for (unsigned int i = sizeof(bytes) - 1; i > 0; i--)
		say(peer, peer->seq + i, ACK | PUSH, bytes + i, 1);
	cr_assert_eq(served[0].n_bytes, 0);
	say(peer, peer->seq, ACK | PUSH, bytes, 1);
	cr_assert(served[0].n_bytes == sizeof(bytes) && served[0].last == sizeof(bytes) - 1);
	peer->seq += sizeof(bytes);
	peer->n_bytes = sizeof(bytes);
	cr_assert_eq(counters.late_cut, 0);
	/* Every other byte of the window, and never the first: lwIP would walk all of them for each. */
	for (uint32_t at = 60000; at > 0; at -= 2)
		say(peer, peer->seq + at, ACK | PUSH, "x", 1);
	cr_assert_gt(counters.late_cut, 0);
	for (const struct tcp_seg *late = served[0].pcb->ooseq; late; late = late->next)
		n_late++;
	cr_assert_leq(n_late, HBUS_STACK_LATE_MAX + 1);
	speak(0, 3);
}

Test(tcp_stack, what_comes_in_is_summed_once_and_what_goes_out_is_right)
{
	struct peer *peer = open_peer(0);
	uint8_t data[1000];
	uint32_t n = 0;

	cr_assert(peer);
	for (unsigned int i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31);
	out.n = 0;
	/* Odd sizes, one after another in a segment. */
	for (unsigned int size = 1; size < 60; n += size, size += 2)
		cr_assert_eq(tcp_write(served[0].pcb, data + n, (u16_t)size, TCP_WRITE_FLAG_COPY), ERR_OK);
	cr_assert_eq(tcp_output(served[0].pcb), ERR_OK);
	cr_assert_gt(out.n, 0);
	for (unsigned int i = 0; i < out.n; i++)
		check_sums(out.frames[i] + 14);
	/* Those without data, too. */
	out.n = 0;
	say(peer, peer->seq + 5, ACK | PUSH, data, 10);
	cr_assert(hears(peer, ACK));
	say(peer, peer->seq + 5, SYN, NULL, 0);
	cr_assert(hears(peer, ACK));
	/* A wrong sum is seen before lwIP, which no longer looks. */
	{
		struct frame f;

		build(&f, peer, peer->seq, ACK | PUSH, data, 100);
		f.bytes[f.size - 1] ^= 1;
		give(&f);
	}
	cr_assert(served[0].n_bytes == 0 && counters.sums_bad == 1);
}
