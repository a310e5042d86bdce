/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hugebus-peers-packets: a generator of UDP packets, and what else receives them beside hugebus-ingress
 *
 *     hugebus-peers-packets send frames IFACE MAC SECONDS      frames made by XDP (BPF_F_TEST_XDP_LIVE_FRAMES)
 *     hugebus-peers-packets send gso ADDRESS SECONDS           datagrams in 64 KiB parcels (UDP_SEGMENT)
 *     hugebus-peers-packets receive recvmmsg|gro|af_packet|af_xdp IFACE SECONDS
 *
 * A receiver reads the number in each payload, and prints packets and nanoseconds from the first one on. The
 * lab around it is packets.sh.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/udp.h>
#include <net/if.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "program/stdout.h"
#include "tests/system/xsk.h"

#define PORT 5000
#define PAYLOAD 18u
#define HEADERS 42u
#define FRAME_SIZE (HEADERS + PAYLOAD)
#define BURST 64u
#define SEGMENTS 64u
#define RCVBUF (16 << 20)
#define GIVE_UP_NS 5000000000u

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int complain(const char *what)
{
	fprintf(stderr, "hugebus-peers-packets: %s: %s\n", what, strerror(errno));
	return 1;
}

/* -- the generator -- */

/* UDP over IPv4 to PORT; the IPv4 checksum is right, a UDP checksum of 0 is none. */
static void make_frame(uint8_t frame[FRAME_SIZE], const uint8_t mac[6])
{
	static const uint8_t ip[20] = {0x45, 0, 0, 20 + 8 + PAYLOAD, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2};
	uint32_t sum = 0;

	memset(frame, 0, FRAME_SIZE);
	memcpy(frame, mac, 6);
	frame[6] = 2;
	frame[12] = 0x08;
	memcpy(frame + 14, ip, sizeof(ip));
	for (unsigned int i = 0; i < 20; i += 2)
		sum += (uint32_t)(frame[14 + i] << 8 | frame[15 + i]);
	sum = ~((sum & 0xffff) + (sum >> 16));
	frame[24] = (uint8_t)(sum >> 8);
	frame[25] = (uint8_t)sum;
	frame[34] = 0x40;
	frame[36] = PORT >> 8;
	frame[37] = PORT & 0xff;
	frame[39] = 8 + PAYLOAD;
}

static int load_redirect(int ifindex)
{
	const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_1, .imm = ifindex},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "peers_send", "Dual BSD/GPL", code, sizeof(code) / sizeof(code[0]), NULL);
}

static int send_frames(const char *iface, const char *mac_text, double seconds)
{
	uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
	uint8_t frame[FRAME_SIZE], mac[6];
	int ifindex = (int)if_nametoindex(iface), program;

	if (ifindex == 0 || sscanf(mac_text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
				   &mac[5]) != 6)
		return complain(iface);
	program = load_redirect(ifindex);
	if (program < 0)
		return complain("XDP program");
	make_frame(frame, mac);
	while (now_ns() < end) {
		LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame), .repeat = 1 << 15,
			    .flags = BPF_F_TEST_XDP_LIVE_FRAMES);

		if (bpf_prog_test_run_opts(program, &run) < 0)
			return complain("live frames");
	}
	close(program);
	return 0;
}

static int send_gso(const char *address, double seconds)
{
	uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	static uint8_t parcel[SEGMENTS * PAYLOAD];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = PAYLOAD;

	if (fd < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1 || connect(fd, (struct sockaddr *)&to, sizeof(to)) ||
	    setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)))
		return complain(address);
	while (now_ns() < end)
		if (send(fd, parcel, sizeof(parcel), 0) < 0 && errno != ECONNREFUSED && errno != ENOBUFS)
			return complain("send");
	close(fd);
	return 0;
}

/* -- receivers: each reads the number in every payload -- */

struct receiver {
	uint64_t n_packets, sum;
	uint64_t begin_ns, end_ns, last_ns, give_up_ns;
	uint64_t length_ns;
};

/* Return: whether to go on. The clock starts with the first packet. */
static bool count(struct receiver *receiver, uint64_t n)
{
	uint64_t now = now_ns();

	if (n > 0 && receiver->begin_ns == 0) {
		receiver->begin_ns = now;
		receiver->end_ns = now + receiver->length_ns;
		return true;
	}
	receiver->n_packets += n;
	if (n > 0)
		receiver->last_ns = now;
	/* On a busy machine there may have been none yet. */
	return now < receiver->end_ns || (receiver->n_packets == 0 && now < receiver->give_up_ns);
}

static void read_payload(struct receiver *receiver, const uint8_t *payload)
{
	uint64_t word;

	memcpy(&word, payload, sizeof(word));
	receiver->sum += word;
}

static int udp_socket(bool is_gro)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, room = RCVBUF;

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (is_gro && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)))
		return -1;
	return bind(fd, (struct sockaddr *)&any, sizeof(any)) ? -1 : fd;
}

static int receive_udp(struct receiver *receiver, bool is_gro)
{
	static uint8_t room[BURST][65536];
	struct mmsghdr messages[BURST];
	struct iovec parts[BURST];
	int fd = udp_socket(is_gro), n;
	uint64_t packets;

	if (fd < 0)
		return complain("socket");
	memset(messages, 0, sizeof(messages));
	for (unsigned int i = 0; i < BURST; i++) {
		parts[i] = (struct iovec){room[i], is_gro ? sizeof(room[i]) : 2048};
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	do {
		n = recvmmsg(fd, messages, BURST, MSG_DONTWAIT, NULL);
		packets = 0;
		for (int i = 0; i < n; i++)
			for (uint32_t at = 0; at + PAYLOAD <= messages[i].msg_len; at += PAYLOAD, packets++)
				read_payload(receiver, room[i] + at);
	} while (count(receiver, packets));
	close(fd);
	return 0;
}

/* A ring of blocks that the kernel fills and we hand back (TPACKET_V3). */
static int receive_af_packet(struct receiver *receiver, unsigned int ifindex)
{
	struct tpacket_req3 ring = {.tp_block_size = 1 << 20, .tp_block_nr = 16, .tp_frame_size = 2048,
				    .tp_frame_nr = 16 * 512, .tp_retire_blk_tov = 1};
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)ifindex};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), version = TPACKET_V3;
	unsigned int at = 0;
	uint64_t packets;
	uint8_t *map;

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof(ring)))
		return complain("af_packet");
	map = mmap(NULL, (size_t)ring.tp_block_size * ring.tp_block_nr, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED || bind(fd, (struct sockaddr *)&address, sizeof(address)))
		return complain("af_packet");
	do {
		struct tpacket_block_desc *block = (void *)(map + (size_t)at * ring.tp_block_size);
		/* The kernel's word: nobody here writes it but us, when we give the block back. */
		_Atomic uint32_t *status = (_Atomic uint32_t *)&block->hdr.bh1.block_status;
		struct tpacket3_hdr *packet;

		packets = 0;
		if (!(atomic_load_explicit(status, memory_order_acquire) & TP_STATUS_USER))
			continue;
		packet = (void *)((uint8_t *)block + block->hdr.bh1.offset_to_first_pkt);
		for (uint32_t i = 0; i < block->hdr.bh1.num_pkts; i++) {
			if (packet->tp_snaplen == FRAME_SIZE) {
				read_payload(receiver, (uint8_t *)packet + packet->tp_mac + HEADERS);
				packets++;
			}
			packet = (void *)((uint8_t *)packet + packet->tp_next_offset);
		}
		atomic_store_explicit(status, TP_STATUS_KERNEL, memory_order_release);
		at = (at + 1) % ring.tp_block_nr;
	} while (count(receiver, packets));
	close(fd);
	return 0;
}

static int attach_to_socket(unsigned int ifindex, int fd)
{
	int map = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "peers_xsk", 4, 4, 1, NULL), key = 0, program;
	const struct bpf_insn code[] = {
		{.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = BPF_REG_2, .src_reg = BPF_REG_1, .off = 16}, /* queue */
		{.code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = BPF_REG_1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map},
		{0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map},
		{.code = BPF_JMP | BPF_EXIT},
	};

	if (map < 0)
		return -1;
	program = bpf_prog_load(BPF_PROG_TYPE_XDP, "peers_recv", "Dual BSD/GPL", code, sizeof(code) / sizeof(code[0]), NULL);
	if (program < 0 || bpf_map_update_elem(map, &key, &fd, BPF_ANY))
		return -1;
	return bpf_xdp_attach((int)ifindex, program, XDP_FLAGS_DRV_MODE, NULL);
}

/* All that is there is read in place and given back at once. */
static uint64_t take_xsk(struct xsk *xsk, struct receiver *receiver)
{
	uint32_t at = atomic_load_explicit(xsk->rx_consumer, memory_order_relaxed);
	uint32_t n = atomic_load_explicit(xsk->rx_producer, memory_order_acquire) - at;
	uint32_t fill = atomic_load_explicit(xsk->fill_producer, memory_order_relaxed);

	if (n == 0)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t addr = xsk->rx_descs[(at + i) % XSK_N_FRAMES].addr;

		read_payload(receiver, xsk->umem + addr + HEADERS);
		xsk->fill_addrs[(fill + i) % XSK_N_FRAMES] = addr / XSK_FRAME_SIZE * XSK_FRAME_SIZE;
	}
	atomic_store_explicit(xsk->rx_consumer, at + n, memory_order_release);
	atomic_store_explicit(xsk->fill_producer, fill + n, memory_order_release);
	return n;
}

static int receive_af_xdp(struct receiver *receiver, unsigned int ifindex)
{
	struct xsk xsk;
	int r;

	errno = -xsk_open(&xsk, ifindex);
	if (errno)
		return complain("AF_XDP");
	r = attach_to_socket(ifindex, xsk.fd);
	if (r < 0)
		return complain("XDP program");
	while (count(receiver, take_xsk(&xsk, receiver)))
		;
	bpf_xdp_detach((int)ifindex, XDP_FLAGS_DRV_MODE, NULL);
	xsk_close(&xsk);
	return 0;
}

static int receive(const char *method, const char *iface, double seconds)
{
	struct receiver receiver = {.length_ns = (uint64_t)(seconds * 1e9), .give_up_ns = now_ns() + GIVE_UP_NS};
	unsigned int ifindex = if_nametoindex(iface);
	int r = 2;

	if (ifindex == 0)
		return complain(iface);
	if (strcmp(method, "recvmmsg") == 0 || strcmp(method, "gro") == 0)
		r = receive_udp(&receiver, method[0] == 'g');
	else if (strcmp(method, "af_packet") == 0)
		r = receive_af_packet(&receiver, ifindex);
	else if (strcmp(method, "af_xdp") == 0)
		r = receive_af_xdp(&receiver, ifindex);
	if (r != 0)
		return r;
	if (receiver.n_packets == 0 || receiver.sum != 0) {
		fprintf(stderr, "hugebus-peers-packets: %s: no packet came, or a wrong one\n", method);
		return 1;
	}
	printf("%llu %llu\n", (unsigned long long)receiver.n_packets,
	       (unsigned long long)(receiver.last_ns - receiver.begin_ns));
	return 0;
}

int main(int argc, char **argv)
{
	hbus_stdout_check();
	if (argc == 6 && strcmp(argv[1], "send") == 0 && strcmp(argv[2], "frames") == 0)
		return send_frames(argv[3], argv[4], atof(argv[5]));
	if (argc == 5 && strcmp(argv[1], "send") == 0 && strcmp(argv[2], "gso") == 0)
		return send_gso(argv[3], atof(argv[4]));
	if (argc == 5 && strcmp(argv[1], "receive") == 0)
		return receive(argv[2], argv[3], atof(argv[4]));
	fprintf(stderr, "Usage: hugebus-peers-packets send frames IFACE MAC SECONDS | send gso ADDRESS SECONDS |\n"
			"       receive recvmmsg|gro|af_packet|af_xdp IFACE SECONDS\n");
	return 2;
}
