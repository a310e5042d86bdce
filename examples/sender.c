/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A sender of events over UDP: one datagram an event, or with --batch several events in one
 * datagram of docs/BATCH_FORMAT.md. Needs nothing but a socket.
 *
 *     sender --rate 1000 --count 5000 --topics 4 192.0.2.1 5001
 *     sender --batch 10 --count 5000 --topics 4 192.0.2.1 6000
 *
 * Plain: event n goes to port PORT + n % topics. Batch: all go to PORT, under the topic numbers
 * 1 to topics. A payload begins with n in decimal and is filled up to --size with dots.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct job {
	uint64_t rate, count, size, topics, batch; /* batch: events in a datagram, 0 = plain */
};

static size_t make_payload(uint8_t *at, uint64_t n, size_t size)
{
	char text[24];
	size_t len = (size_t)snprintf(text, sizeof(text), "%" PRIu64 " ", n);

	memset(at, '.', size);
	memcpy(at, text, len < size ? len : size);
	return size;
}

static size_t put(uint8_t *at, uint64_t value, size_t size)
{
	value = htobe64(value << (64 - 8 * size));
	memcpy(at, &value, size);
	return size;
}

/* Events first_n to first_n + n_events - 1 as one datagram. */
static size_t make_batch(uint8_t *at, const struct job *job, uint64_t sender, uint64_t sequence,
			 uint64_t first_n, uint64_t n_events)
{
	uint8_t *begin = at;

	memcpy(at, "HBB1", 4);
	at += 4;
	at += put(at, n_events, 2);
	at += put(at, 0, 2);
	at += put(at, sender, 8);
	at += put(at, sequence, 8);
	for (uint64_t n = first_n; n < first_n + n_events; n++) {
		at += put(at, 1 + n % job->topics, 2);
		at += put(at, job->size, 2);
		at += make_payload(at, n, job->size);
	}
	return (size_t)(at - begin);
}

/* Sleeps until event n is due. */
static void pace(const struct timespec *start, const struct job *job, uint64_t n)
{
	uint64_t ns;
	struct timespec due = *start;

	if (job->rate == 0)
		return;
	ns = (uint64_t)due.tv_nsec + n % job->rate * 1000000000U / job->rate;
	due.tv_sec += (time_t)(n / job->rate + ns / 1000000000U);
	due.tv_nsec = (long)(ns % 1000000000U);
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

static void set_port(struct addrinfo *to, uint64_t port)
{
	if (to->ai_family == AF_INET6)
		((struct sockaddr_in6 *)(void *)to->ai_addr)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)(void *)to->ai_addr)->sin_port = htons((uint16_t)port);
}

static int send_all(const struct job *job, struct addrinfo *to, uint64_t port)
{
	static uint8_t bytes[65507];
	uint64_t sender = 0, sequence = 0, n_failed = 0;
	uint64_t step = job->batch ? job->batch : 1;
	int fd = socket(to->ai_family, SOCK_DGRAM, 0);
	struct timespec start;

	if (fd < 0 || getrandom(&sender, sizeof(sender), 0) != (ssize_t)sizeof(sender)) {
		perror("sender");
		return 1;
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (uint64_t n = 0; n < job->count; n += step, sequence++) {
		uint64_t n_events = job->count - n < step ? job->count - n : step;
		size_t size = job->batch ? make_batch(bytes, job, sender, sequence, n, n_events)
					 : make_payload(bytes, n, job->size);

		pace(&start, job, n);
		set_port(to, job->batch ? port : port + n % job->topics);
		if (sendto(fd, bytes, size, 0, to->ai_addr, to->ai_addrlen) < 0)
			n_failed++;
	}
	printf("sent %" PRIu64 " events in %" PRIu64 " datagrams, %" PRIu64 " refused\n", job->count,
	       sequence, n_failed);
	return n_failed > 0;
}

static int usage(FILE *out)
{
	fprintf(out, "usage: sender [--rate EVENTS_PER_S] [--count EVENTS] [--size BYTES] "
		     "[--topics N] [--batch EVENTS_PER_DATAGRAM] HOST PORT\n");
	return out == stderr ? 2 : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "rate", required_argument, NULL, 'r' },  { "count", required_argument, NULL, 'c' },
		{ "size", required_argument, NULL, 's' },  { "topics", required_argument, NULL, 't' },
		{ "batch", required_argument, NULL, 'b' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	struct job job = { .rate = 1000, .count = 1000, .size = 32, .topics = 1 };
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM }, *to;
	int letter, r;

	while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1) {
		uint64_t value = optarg ? strtoull(optarg, NULL, 10) : 0;

		switch (letter) {
		case 'r': job.rate = value; break;
		case 'c': job.count = value; break;
		case 's': job.size = value; break;
		case 't': job.topics = value; break;
		case 'b': job.batch = value; break;
		case 'h': return usage(stdout);
		default: return usage(stderr);
		}
	}
	if (argc - optind != 2 || job.topics == 0 || job.size > 1400 || job.batch > 4096 ||
	    24 + job.batch * (4 + job.size) > 65507)
		return usage(stderr);
	r = getaddrinfo(argv[optind], argv[optind + 1], &hints, &to);
	if (r != 0) {
		fprintf(stderr, "sender: %s: %s\n", argv[optind], gai_strerror(r));
		return 1;
	}
	r = send_all(&job, to, strtoull(argv[optind + 1], NULL, 10));
	freeaddrinfo(to);
	return r;
}
