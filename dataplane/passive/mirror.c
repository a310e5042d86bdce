/* SPDX-License-Identifier: BSD-3-Clause */
/* A membership of a packet socket, which the kernel counts and takes back by itself. See mirror.h. */
#include "dataplane/passive/mirror.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

int hbus_mirror_open(const char *iface, unsigned int ifindex, uint8_t ret_mac[6])
{
	const struct packet_mreq all = { .mr_ifindex = (int)ifindex, .mr_type = PACKET_MR_PROMISC };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), r;
	struct ifreq request = { 0 };

	if (fd < 0)
		return -errno;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", iface);
	if (ioctl(fd, SIOCGIFHWADDR, &request) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all)) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	memcpy(ret_mac, request.ifr_hwaddr.sa_data, 6);
	return fd;
}
