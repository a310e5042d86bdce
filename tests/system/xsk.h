/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The smallest AF_XDP receiver: one queue, copy mode, every frame goes back to the kernel at once.
 */
#pragma once

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_xdp.h>

enum { XSK_N_FRAMES = 2048, XSK_FRAME_SIZE = 2048 };

struct xsk {
	int fd;
	uint8_t *umem, *rx, *fill;
	uint64_t rx_size, fill_size;
	_Atomic uint32_t *rx_producer, *rx_consumer, *fill_producer;
	struct xdp_desc *rx_descs;
	uint64_t *fill_addrs;
};

static inline void *xsk_map_ring(int fd, uint64_t size, off_t at)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, at);
}

static inline int xsk_set_ring(int fd, int option, int n)
{
	return setsockopt(fd, SOL_XDP, option, &n, sizeof(n));
}

static inline void xsk_give_back(struct xsk *xsk, uint64_t addr)
{
	uint32_t at = atomic_load_explicit(xsk->fill_producer, memory_order_relaxed);

	xsk->fill_addrs[at % XSK_N_FRAMES] = addr;
	atomic_store_explicit(xsk->fill_producer, at + 1, memory_order_release);
}

/* Return: 0 or -errno. */
static inline int xsk_open(struct xsk *xsk, unsigned int ifindex)
{
	struct sockaddr_xdp addr = { .sxdp_family = AF_XDP, .sxdp_ifindex = ifindex,
				     .sxdp_flags = XDP_COPY };
	struct xdp_umem_reg umem = { .len = (uint64_t)XSK_N_FRAMES * XSK_FRAME_SIZE,
				     .chunk_size = XSK_FRAME_SIZE };
	struct xdp_mmap_offsets offs;
	socklen_t offs_size = sizeof(offs);

	*xsk = (struct xsk){ .fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0) };
	if (xsk->fd < 0)
		return -errno;
	xsk->umem = mmap(NULL, umem.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	umem.addr = (uintptr_t)xsk->umem;
	if (xsk->umem == MAP_FAILED ||
	    setsockopt(xsk->fd, SOL_XDP, XDP_UMEM_REG, &umem, sizeof(umem)) < 0 ||
	    xsk_set_ring(xsk->fd, XDP_UMEM_FILL_RING, XSK_N_FRAMES) < 0 ||
	    xsk_set_ring(xsk->fd, XDP_UMEM_COMPLETION_RING, 16) < 0 ||
	    xsk_set_ring(xsk->fd, XDP_RX_RING, XSK_N_FRAMES) < 0 ||
	    getsockopt(xsk->fd, SOL_XDP, XDP_MMAP_OFFSETS, &offs, &offs_size) < 0)
		return -errno;
	xsk->rx_size = offs.rx.desc + XSK_N_FRAMES * sizeof(struct xdp_desc);
	xsk->rx = xsk_map_ring(xsk->fd, xsk->rx_size, XDP_PGOFF_RX_RING);
	xsk->fill_size = offs.fr.desc + XSK_N_FRAMES * sizeof(uint64_t);
	xsk->fill = xsk_map_ring(xsk->fd, xsk->fill_size, XDP_UMEM_PGOFF_FILL_RING);
	if (xsk->rx == MAP_FAILED || xsk->fill == MAP_FAILED)
		return -errno;
	xsk->rx_producer = (void *)(xsk->rx + offs.rx.producer);
	xsk->rx_consumer = (void *)(xsk->rx + offs.rx.consumer);
	xsk->rx_descs = (void *)(xsk->rx + offs.rx.desc);
	xsk->fill_producer = (void *)(xsk->fill + offs.fr.producer);
	xsk->fill_addrs = (void *)(xsk->fill + offs.fr.desc);
	for (uint64_t i = 0; i < XSK_N_FRAMES; i++)
		xsk_give_back(xsk, i * XSK_FRAME_SIZE);
	return bind(xsk->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
}

/* The mappings hold the socket as its descriptor does. */
static inline void xsk_close(struct xsk *xsk)
{
	munmap(xsk->rx, xsk->rx_size);
	munmap(xsk->fill, xsk->fill_size);
	close(xsk->fd);
	munmap(xsk->umem, (size_t)XSK_N_FRAMES * XSK_FRAME_SIZE);
}

/* Return: size of a received frame, copied to @bytes, or 0 when there is none. */
static inline uint32_t xsk_receive(struct xsk *xsk, uint8_t bytes[XSK_FRAME_SIZE])
{
	uint32_t at = atomic_load_explicit(xsk->rx_consumer, memory_order_relaxed);
	struct xdp_desc desc;

	if (atomic_load_explicit(xsk->rx_producer, memory_order_acquire) == at)
		return 0;
	desc = xsk->rx_descs[at % XSK_N_FRAMES];
	memcpy(bytes, xsk->umem + desc.addr, desc.len);
	atomic_store_explicit(xsk->rx_consumer, at + 1, memory_order_release);
	xsk_give_back(xsk, desc.addr / XSK_FRAME_SIZE * XSK_FRAME_SIZE);
	return desc.len;
}
