/* SPDX-License-Identifier: BSD-3-Clause */
/* A capture of the user. See capture.h. */
#include "bench/ingress/capture.h"

#include <byteswap.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC_US 0xa1b2c3d4u
#define MAGIC_NS 0xa1b23c4du
#define MAGIC_NG 0x0a0d0d0au
#define LINK_ETHERNET 1u
#define DAMAGED_SIZE 262144u /* libpcap believes no larger packet */

/* As they stand in the file. */
struct file_header {
	uint32_t magic, version, zone, accuracy, snap_size, link;
};

struct packet_header {
	uint32_t s, fraction, size, size_on_wire;
};

/* What was found in it. */
struct capture {
	FILE *file;
	bool is_swapped;
	bool is_damaged; /* behind those that were counted */
	unsigned int n_packets;
	uint32_t size_max; /* the largest of them */
};

static char text[128];

static uint32_t word(const struct capture *capture, uint32_t value)
{
	return capture->is_swapped ? bswap_32(value) : value;
}

static bool has_all(struct capture *capture, uint32_t size)
{
	return size == 0 || (fseek(capture->file, (long)size - 1, SEEK_CUR) == 0 && fgetc(capture->file) != EOF);
}

static void count(struct capture *capture)
{
	struct packet_header header;
	size_t n;

	while ((n = fread(&header, 1, sizeof(header), capture->file)) == sizeof(header)) {
		uint32_t size = word(capture, header.size);

		capture->is_damaged = size > DAMAGED_SIZE || !has_all(capture, size);
		if (capture->is_damaged)
			return;
		capture->n_packets++;
		if (size > capture->size_max)
			capture->size_max = size;
	}
	capture->is_damaged = n > 0;
}

/* Return: as bench_capture_refusal(). */
static const char *look(struct capture *capture)
{
	struct file_header header;
	uint32_t link;

	if (fread(&header, 1, sizeof(header), capture->file) < sizeof(header))
		return ferror(capture->file) ? strerror(errno) : "not a capture: it is too short";
	if (header.magic == MAGIC_NG)
		return NULL;
	capture->is_swapped = header.magic == bswap_32(MAGIC_US) || header.magic == bswap_32(MAGIC_NS);
	if (!capture->is_swapped && header.magic != MAGIC_US && header.magic != MAGIC_NS)
		return "not a capture: neither pcap nor pcapng";
	link = word(capture, header.link) & 0xffff;
	if (link != LINK_ETHERNET) {
		snprintf(text, sizeof(text), "its packets do not begin with Ethernet (link type %u)", link);
		return text;
	}
	count(capture);
	if (capture->n_packets == 0)
		return capture->is_damaged ? "damaged: its first packet is not whole" : "no packet in it";
	if (capture->n_packets > BENCH_CAPTURE_PACKETS_MAX) {
		snprintf(text, sizeof(text), "%u packets are too many, %u is the most (editcap -r FILE NEW 1-%u)", capture->n_packets,
			 BENCH_CAPTURE_PACKETS_MAX, BENCH_CAPTURE_PACKETS_MAX);
		return text;
	}
	if (capture->size_max <= BENCH_CAPTURE_SIZE_MAX)
		return NULL;
	snprintf(text, sizeof(text), "a packet of %u bytes is too large, %u is the most (editcap -s %u FILE NEW cuts them)", capture->size_max,
		 BENCH_CAPTURE_SIZE_MAX, BENCH_CAPTURE_SIZE_MAX);
	return text;
}

const char *bench_capture_refusal(const char *path)
{
	struct capture capture = {.file = fopen(path, "rbe")};
	const char *refusal;
	struct stat status;

	if (!capture.file)
		return strerror(errno);
	if (fstat(fileno(capture.file), &status) != 0 || !S_ISREG(status.st_mode))
		refusal = "not a regular file";
	else
		refusal = look(&capture);
	if (!refusal && capture.is_damaged)
		fprintf(stderr, "hugebus-bench: %s: damaged behind packet %u; what stands before is used\n", path, capture.n_packets);
	fclose(capture.file);
	return refusal;
}
