/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What of lwIP this program replaces. The library calls its own functions as symbols that a program
 * may define.
 *
 * tcp_next_iss(): initial sequence numbers that nobody can guess. lwIP 2.1 counts them up from a
 * constant, and Debian's build leaves out the hook for better ones. Here they are F(connection, secret)
 * and a clock, as in RFC 6528. Without that, who cannot even see the network could open connections and
 * inject bytes into them under any address.
 *
 * tcpip_try_callback(): there is no thread to call, which the library would answer with abort().
 *
 * lwip_standard_chksum(): the library adds two bytes at a time, for each byte that it sends.
 *
 * ip_chksum_pseudo(): what comes in was looked at before (sums.h), so it is not added up again.
 */
#include <string.h>
#include <time.h>

#include <lwip/inet_chksum.h>
#include <lwip/ip.h>
#include <lwip/tcp.h>
#include <lwip/tcpip.h>

#include "ctl/proto/siphash.h"
#include "dataplane/tcp/stack.h"
#include "dataplane/tcp/sums.h"

static uint64_t secret_key[2];

void hbus_isn_init(const uint64_t secret[2])
{
	secret_key[0] = secret[0];
	secret_key[1] = secret[1];
}

u32_t tcp_next_iss(struct tcp_pcb *pcb);

/* One step of the clock is 4 microseconds. */
u32_t tcp_next_iss(struct tcp_pcb *pcb)
{
	struct {
		uint8_t local[16], remote[16];
		uint16_t ports[2];
	} connection = { .ports = { pcb->local_port, pcb->remote_port } };
	struct timespec now;

	if (IP_IS_V4(&pcb->remote_ip)) {
		memcpy(connection.local, ip_2_ip4(&pcb->local_ip), 4);
		memcpy(connection.remote, ip_2_ip4(&pcb->remote_ip), 4);
	} else {
		memcpy(connection.local, ip_2_ip6(&pcb->local_ip)->addr, 16);
		memcpy(connection.remote, ip_2_ip6(&pcb->remote_ip)->addr, 16);
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (u32_t)hbus_siphash(secret_key, &connection, sizeof(connection)) +
	       (u32_t)((uint64_t)now.tv_sec * 250000U + (uint64_t)now.tv_nsec / 4000U);
}

err_t tcpip_try_callback(tcpip_callback_fn function, void *context)
{
	(void)function;
	(void)context;
	return ERR_MEM;
}

u16_t lwip_standard_chksum(const void *bytes, int size);

u16_t lwip_standard_chksum(const void *bytes, int size)
{
	return (u16_t)hbus_sums_add(0, bytes, size > 0 ? (uint32_t)size : 0);
}

/* TCP asks with the address of the packet that is being taken in, or with one of a connection. */
u16_t ip_chksum_pseudo(struct pbuf *p, u8_t protocol, u16_t size, const ip_addr_t *from, const ip_addr_t *to)
{
	if (protocol == IP_PROTO_TCP && from == ip_current_src_addr())
		return 0;
	if (IP_IS_V6(to))
		return ip6_chksum_pseudo(p, protocol, size, ip_2_ip6(from), ip_2_ip6(to));
	return inet_chksum_pseudo(p, protocol, size, ip_2_ip4(from), ip_2_ip4(to));
}
