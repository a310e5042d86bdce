/* SPDX-License-Identifier: BSD-3-Clause */
/* The generator's packets. See frames.h. */
#include "bench/ingress/frames.h"

#include <errno.h>
#include <stdio.h>

static uint8_t filler(size_t place)
{
	return (uint8_t)(place * 7 + 1);
}

static void put_be16(uint8_t *to, unsigned int value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
}

static uint32_t add_words(uint32_t sum, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i += 2)
		sum += (uint32_t)(bytes[i] << 8 | (i + 1 < size ? bytes[i + 1] : 0));
	return sum;
}

static unsigned int checksum(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

size_t bench_frame_make(uint8_t *frame, unsigned int head_size, unsigned int payload_size,
			const uint8_t *destination_mac)
{
	uint8_t *ip = frame + 14, *udp = ip + 20, *payload = udp + 8 + head_size;
	unsigned int udp_size = 8 + head_size + payload_size;
	unsigned int sum;

	memset(frame, 0, BENCH_FRAME_HEADERS + head_size);
	memcpy(frame, destination_mac ? destination_mac : (const uint8_t *)"\x02\0\0\0\0\1", 6);
	memcpy(frame + 6, "\x02\0\0\0\0\2", 6);
	put_be16(frame + 12, 0x0800);
	ip[0] = 0x45;
	put_be16(ip + 2, 20 + udp_size);
	ip[8] = 64;
	ip[9] = 17;
	memcpy(ip + 12, "\x0a\x09\0\2\x0a\x09\0\1", 8); /* 10.9.0.2 to 10.9.0.1 */
	put_be16(udp + 4, udp_size);
	if (head_size) {
		udp[8] = (uint8_t)(head_size + payload_size);
		udp[9] = 0x0c;
		put_be16(udp + 11, BENCH_SN_TOPIC_ID);
	}
	for (unsigned int i = 16; i < payload_size; i++)
		payload[i] = filler(i);
	bench_frame_stamp(frame, head_size, 0, 0);
	put_be16(ip + 10, checksum(add_words(0, ip, 20)));
	sum = add_words(17 + udp_size, ip + 12, 8);
	sum = checksum(add_words(sum, udp, udp_size));
	put_be16(udp + 6, sum ? sum : 0xffff);
	return BENCH_FRAME_HEADERS + head_size + payload_size;
}

bool bench_payload_check(const uint8_t *payload, size_t size, unsigned int payload_size, uint64_t *ret_number)
{
	uint64_t words[2];

	if (size != payload_size)
		return false;
	memcpy(words, payload, sizeof(words));
	for (size_t i = sizeof(words); i < size; i++)
		if (payload[i] != filler(i))
			return false;
	*ret_number = words[0];
	return words[1] == ~words[0];
}

int bench_frames_capture(const char *path, unsigned int n_frames, unsigned int payload_size, unsigned int n_flows)
{
	static const uint32_t header[6] = {0xa1b2c3d4, 2 | 4 << 16, 0, 0, 65535, 1};
	uint8_t frame[BENCH_FRAME_HEADERS + BENCH_PAYLOAD_MAX];
	uint32_t size = (uint32_t)bench_frame_make(frame, 0, payload_size, NULL);
	FILE *file = fopen(path, "we");
	bool is_good;
	int r;

	if (!file)
		return -errno;
	is_good = fwrite(header, sizeof(header), 1, file) == 1;
	for (unsigned int i = 0; i < n_frames && is_good; i++) {
		uint32_t record[4] = {0, i, size, size};

		bench_frame_stamp(frame, 0, i, i % n_flows);
		is_good = fwrite(record, sizeof(record), 1, file) == 1 && fwrite(frame, size, 1, file) == 1;
	}
	r = is_good ? 0 : -errno;
	return fclose(file) != 0 && r == 0 ? -errno : r;
}
