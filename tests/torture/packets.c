/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets for the ingress: a network namespace of this process with a pair of virtual interfaces, numbered datagrams
 * into one end, the ingress on the other. It goes with the last process in it.
 */
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/torture/torture.h"
#include "tests/unit/frames.h"

#define SENDER_INTERFACE "dev0"
#define PORT 5001
#define BURST 8u

bool packets_setup(void)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL) < 0) {
		perror("torture: a network namespace");
		return false;
	}
	if (system("for f in all default; do echo 1 >/proc/sys/net/ipv6/conf/$f/disable_ipv6; done 2>/dev/null; "
		   "ip link add " SENDER_INTERFACE " type veth peer name " PACKETS_INTERFACE " && "
		   "ip link set lo up && ip link set " SENDER_INTERFACE " up && ip link set " PACKETS_INTERFACE " up") != 0) {
		fprintf(stderr, "torture: no virtual interfaces\n");
		return false;
	}
	return true;
}

bool packets_has_filter(void)
{
	return system("ip link show " PACKETS_INTERFACE " | grep -q prog/xdp") == 0;
}

/* Numbered, with the time of sending and a pattern to the last byte. */
static void make(struct frame *frame, uint64_t sequence)
{
	unsigned char bytes[PAYLOAD_MAX];
	uint32_t size = PACKET_MIN + (uint32_t)(sequence * 2654435761u >> 7) % (sequence % 8 ? 64 : 900);
	struct payload head = {.publisher = PAYLOAD_OF_INGRESS, .size = size, .sequence = sequence};
	uint64_t now = ledger_now_ns();

	memcpy(bytes, &head, sizeof(head));
	memcpy(bytes + PAYLOAD_MIN, &now, sizeof(now));
	for (uint32_t i = PACKET_MIN; i < size; i++)
		bytes[i] = payload_byte(head.publisher, sequence, i);
	frame_link(frame, NULL, NULL, 0, 0x0800);
	frame_ipv4_udp(frame, 0, PORT, bytes, size);
}

static void send_packets(struct ledger *ledger)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(SENDER_INTERFACE), .sll_halen = 6};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_IP));
	struct timespec nap = {.tv_nsec = 5000000};
	struct frame frame;

	if (fd < 0)
		_exit(1);
	for (uint64_t sequence = 0;; nanosleep(&nap, NULL))
		for (unsigned int i = 0; i < BURST; i++, sequence++) {
			make(&frame, sequence);
			if (sendto(fd, frame.bytes, frame.size, 0, (const struct sockaddr *)&to, sizeof(to)) > 0)
				atomic_fetch_add_explicit(&ledger->n_packets_sent, 1, memory_order_relaxed);
		}
}

pid_t packets_start(struct ledger *ledger)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		send_packets(ledger);
	}
	return pid;
}
