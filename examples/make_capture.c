/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes examples/telemetry.pcap, the capture that feeds hugebus-ingress where there is no
 * interface to listen on, and prints what is in it as one JSON object. Always the same bytes.
 *
 *     make_capture telemetry.pcap
 *
 * Ports 5001 to 5003 carry one event each datagram, port 6000 the batched format with the topic
 * numbers 1 to 3. Among them are frames of every kind that an ingress turns away.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { N_ROUNDS = 50, FRAME_MAX = 512, UDP = 17, TCP = 6 };

enum kind {
	PLAIN,
	TAGGED,
	IPV6,
	BATCH,
	BATCH_AGAIN,
	BAD_BATCH,
	UNKNOWN_PORT,
	FRAGMENT,
	BAD_CHECKSUM,
	BAD_LENGTH,
	NOT_UDP,
	NOT_IP,
	N_KINDS,
};

static const char *const kind_names[N_KINDS] = {
	"plain",	"tagged",   "ipv6",	    "batch",	  "duplicate", "bad_batch",
	"unknown_port", "fragment", "bad_checksum", "bad_length", "not_udp",   "not_ip",
};

struct frame {
	uint8_t at[FRAME_MAX];
	size_t size;
};

struct capture {
	FILE *out;
	uint64_t n_frames;
	uint64_t n_kinds[N_KINDS];
	uint64_t n_events;           /* that good frames carry */
	uint64_t n_ports[3];         /* plain datagrams to 5001, 5002, 5003 */
	uint64_t sequence;
};

static void put(struct frame *f, uint64_t value, int n)
{
	while (n-- > 0)
		f->at[f->size++] = (uint8_t)(value >> 8 * n);
}

static void put_at(struct frame *f, size_t off, uint32_t value)
{
	f->at[off] = (uint8_t)(value >> 8);
	f->at[off + 1] = (uint8_t)value;
}

static uint32_t sum(uint32_t start, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		start += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	while (start >> 16)
		start = (start & 0xffff) + (start >> 16);
	return start;
}

static size_t make_payload(const struct capture *c, enum kind kind, uint8_t *at)
{
	struct frame f = { .size = 0 };

	if (kind == BATCH || kind == BATCH_AGAIN || kind == BAD_BATCH) {
		put(&f, 0x48424231, 4);
		put(&f, 3, 2);
		put(&f, 0, 2);
		put(&f, 0x5eed, 8);
		put(&f, c->sequence, 8);
		for (uint32_t number = 1; number <= 3; number++) {
			put(&f, number, 2);
			put(&f, kind == BAD_BATCH ? 900 : 16, 2);
			f.size += (size_t)sprintf((char *)f.at + f.size, "%06" PRIu64 " batched: ",
						  c->n_frames);
		}
	} else {
		f.size = (size_t)sprintf((char *)f.at, "%" PRIu64 " %.1f degrees", c->n_frames,
					 20.0 + (double)(c->n_frames % 50) / 10);
	}
	memcpy(at, f.at, f.size);
	return f.size;
}

static void put_udp(struct frame *f, uint16_t port, size_t payload_size)
{
	put(f, 40000, 2);
	put(f, port, 2);
	put(f, 8 + payload_size, 2);
	put(f, 0, 2);
}

static void put_ipv4(struct frame *f, enum kind kind, size_t payload_size)
{
	size_t ip = f->size;

	put(f, 0x4500, 2);
	put(f, 28 + payload_size + (kind == BAD_LENGTH ? 7 : 0), 2);
	put(f, 1, 2);
	put(f, kind == FRAGMENT ? 0x2000 : 0x4000, 2);
	put(f, 64, 1);
	put(f, kind == NOT_UDP ? TCP : UDP, 1);
	put(f, 0, 2);
	put(f, 0x0a090002, 4);
	put(f, 0x0a090001, 4);
	put_at(f, ip + 10, ~sum(0, f->at + ip, 20));
}

static void put_ipv6(struct frame *f, size_t payload_size)
{
	put(f, 0x60000000, 4);
	put(f, 8 + payload_size, 2);
	put(f, UDP, 1);
	put(f, 64, 1);
	for (uint32_t host = 2; host >= 1; host--) {
		put(f, 0xfd09000000000000, 8);
		put(f, host, 8);
	}
}

static void make_frame(const struct capture *c, enum kind kind, uint16_t port, struct frame *f)
{
	uint8_t payload[FRAME_MAX];
	size_t payload_size = make_payload(c, kind, payload), ip, udp;
	uint32_t udp_sum;

	f->size = 0;
	put(f, 0x020000000001, 6);
	put(f, 0x020000000002, 6);
	if (kind == TAGGED)
		put(f, 0x81000009, 4);
	put(f, kind == NOT_IP ? 0x0806 : kind == IPV6 ? 0x86dd : 0x0800, 2);
	ip = f->size;
	if (kind == IPV6)
		put_ipv6(f, payload_size);
	else
		put_ipv4(f, kind, payload_size);
	udp = f->size;
	put_udp(f, port, payload_size);
	memcpy(f->at + f->size, payload, payload_size);
	f->size += payload_size;
	udp_sum = UDP + 8 + (uint32_t)payload_size;
	udp_sum = sum(udp_sum, f->at + ip + (kind == IPV6 ? 8 : 12), kind == IPV6 ? 32 : 8);
	udp_sum = sum(udp_sum, f->at + udp, 8 + payload_size);
	put_at(f, udp + 6, (~udp_sum & 0xffff) ^ (kind == BAD_CHECKSUM ? 0x1111 : 0));
}

/* One record of the capture: little-endian header, frames a millisecond apart. */
static void write_frame(struct capture *c, enum kind kind, uint16_t port)
{
	struct frame f;
	uint32_t record[4];

	make_frame(c, kind, port, &f);
	record[0] = (uint32_t)(1700000000 + c->n_frames / 1000);
	record[1] = (uint32_t)(c->n_frames % 1000 * 1000);
	record[2] = record[3] = (uint32_t)f.size;
	fwrite(record, sizeof(record), 1, c->out);
	fwrite(f.at, f.size, 1, c->out);
	c->n_frames++;
	c->n_kinds[kind]++;
	if (kind == BATCH)
		c->n_events += 3;
	if (kind <= IPV6) {
		c->n_events++;
		c->n_ports[port - 5001]++;
	}
}

static void write_round(struct capture *c, uint32_t round)
{
	for (uint16_t i = 0; i < 12; i++)
		write_frame(c, PLAIN, (uint16_t)(5001 + i % 3));
	write_frame(c, TAGGED, 5001);
	write_frame(c, IPV6, 5002);
	write_frame(c, BATCH, 6000);
	if (round % 10 == 5)
		write_frame(c, BATCH_AGAIN, 6000);
	c->sequence += round % 10 == 7 ? 3 : 1;
	/* One kind of trouble in each round. */
	write_frame(c, (enum kind)(BAD_BATCH + round % (N_KINDS - BAD_BATCH)),
		    round % (N_KINDS - BAD_BATCH) == 0 ? 6000
		    : round % (N_KINDS - BAD_BATCH) == 1 ? 5999
							 : 5003);
}

static void print_account(const struct capture *c)
{
	printf("{\"frames\": %" PRIu64 ", \"events\": %" PRIu64, c->n_frames, c->n_events);
	for (uint32_t i = 0; i < N_KINDS; i++)
		printf(", \"%s\": %" PRIu64, kind_names[i], c->n_kinds[i]);
	for (uint32_t i = 0; i < 3; i++)
		printf(", \"%u\": %" PRIu64, 5001 + i, c->n_ports[i]);
	printf("}\n");
}

int main(int argc, char **argv)
{
	static const uint32_t header[6] = { 0xa1b2c3d4, 0x00040002, 0, 0, 65535, 1 };
	struct capture c = { 0 };

	if (argc != 2 || argv[1][0] == '-') {
		fprintf(stderr, "usage: make_capture FILE\n");
		return 2;
	}
	c.out = fopen(argv[1], "wb");
	if (!c.out) {
		perror(argv[1]);
		return 1;
	}
	fwrite(header, sizeof(header), 1, c.out);
	for (uint32_t round = 0; round < N_ROUNDS; round++)
		write_round(&c, round);
	if (fclose(c.out) != 0) {
		perror(argv[1]);
		return 1;
	}
	print_account(&c);
	return 0;
}
