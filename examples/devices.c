/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crowd of devices that report over UDP, for demonstrations and tests.
 *
 * Each device has a socket of its own and sends in turn to each of the ports given; with
 * --batch-port it also sends every tenth time a batched datagram there. The whole crowd is paced
 * to one rate. Prints what it sent, by port, as one JSON object.
 *
 *     devices --devices 8 --rate 2000 --seconds 5 --batch-port 6000 192.0.2.1 5001 5002 5003
 *
 * A payload begins with its decimal number: the n-th datagram of the crowd to this port.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
	DEVICES_MAX = 1000,
	PORTS_MAX = 64,
	BATCH_EVENTS = 3,            /* in a batched datagram, topics 1 to 3 */
	BATCH_EVERY = 10,
	SLICE_NS = 1000000,
};

struct device {
	int fd;
	uint64_t id;                 /* as a batch sender */
	uint64_t sequence;
};

struct target {
	uint16_t port;
	uint64_t n_sent;
	uint64_t n_refused;
};

struct crowd {
	struct addrinfo *to;
	struct device devices[DEVICES_MAX];
	struct target ports[PORTS_MAX];
	struct target batch;         /* port 0: none */
	uint32_t n_devices;
	uint32_t n_ports;
	uint64_t rate;               /* datagrams per second */
	uint64_t count;              /* datagrams, 0 = until the time is over */
	double seconds;
	size_t size;
};

static volatile sig_atomic_t is_stopped;

static void stop(int signal_number)
{
	(void)signal_number;
	is_stopped = 1;
}

static void send_to(struct crowd *crowd, struct device *device, struct target *target,
		    const void *bytes, size_t size)
{
	struct sockaddr_storage address;
	in_port_t port = htons(target->port);

	memcpy(&address, crowd->to->ai_addr, crowd->to->ai_addrlen);
	if (crowd->to->ai_family == AF_INET6)
		((struct sockaddr_in6 *)&address)->sin6_port = port;
	else
		((struct sockaddr_in *)&address)->sin_port = port;
	if (sendto(device->fd, bytes, size, 0, (struct sockaddr *)&address,
		   crowd->to->ai_addrlen) == (ssize_t)size)
		target->n_sent++;
	else
		target->n_refused++;
}

static void send_reading(struct crowd *crowd, struct device *device, struct target *target)
{
	char text[1500];
	int len = snprintf(text, sizeof(text), "%" PRIu64 " %.1f degrees", target->n_sent,
			   20.0 + (double)(target->n_sent % 100) / 10);

	if ((size_t)len < crowd->size) {
		memset(text + len, '.', crowd->size - (size_t)len);
		len = (int)crowd->size;
	}
	send_to(crowd, device, target, text, (size_t)len);
}

static size_t put(uint8_t *at, uint64_t value, size_t size)
{
	value = htobe64(value << (64 - 8 * size));
	memcpy(at, &value, size);
	return size;
}

static void send_batch(struct crowd *crowd, struct device *device)
{
	uint8_t bytes[256], *at = bytes;

	memcpy(at, "HBB1", 4);
	at += 4;
	at += put(at, BATCH_EVENTS, 2);
	at += put(at, 0, 2);
	at += put(at, device->id, 8);
	at += put(at, device->sequence++, 8);
	for (uint32_t number = 1; number <= BATCH_EVENTS; number++) {
		char text[32];
		int len = snprintf(text, sizeof(text), "%" PRIu64 " batched", crowd->batch.n_sent);

		at += put(at, number, 2);
		at += put(at, (uint64_t)len, 2);
		memcpy(at, text, (size_t)len);
		at += len;
	}
	send_to(crowd, device, &crowd->batch, bytes, (size_t)(at - bytes));
}

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

/* Sends in slices of a millisecond what has become due. Return: seconds that it took. */
static double run(struct crowd *crowd)
{
	uint64_t n = 0;
	struct timespec start;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (!is_stopped) {
		double now = seconds_since(&start);
		uint64_t due = (uint64_t)((now < crowd->seconds ? now : crowd->seconds) *
					  (double)crowd->rate);

		if (crowd->count && due > crowd->count)
			due = crowd->count;
		for (; n < due && !is_stopped; n++) {
			struct device *device = &crowd->devices[n % crowd->n_devices];

			if (crowd->batch.port && n % BATCH_EVERY == BATCH_EVERY - 1)
				send_batch(crowd, device);
			else
				send_reading(crowd, device, &crowd->ports[n % crowd->n_ports]);
		}
		if (now >= crowd->seconds || (crowd->count && n >= crowd->count))
			break;
		nanosleep(&(struct timespec){ .tv_nsec = SLICE_NS }, NULL);
	}
	return seconds_since(&start);
}

static void print_result(const struct crowd *crowd, double seconds)
{
	uint64_t n_sent = crowd->batch.n_sent, n_refused = crowd->batch.n_refused;

	printf("{\"ports\": {");
	for (uint32_t i = 0; i < crowd->n_ports; i++) {
		printf("%s\"%u\": %" PRIu64, i ? ", " : "", crowd->ports[i].port,
		       crowd->ports[i].n_sent);
		n_sent += crowd->ports[i].n_sent;
		n_refused += crowd->ports[i].n_refused;
	}
	printf("}, \"batch\": {\"port\": %u, \"datagrams\": %" PRIu64 ", \"events\": %" PRIu64
	       "}, \"sent\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"seconds\": %.3f}\n",
	       crowd->batch.port, crowd->batch.n_sent, crowd->batch.n_sent * BATCH_EVENTS, n_sent,
	       n_refused, seconds);
}

static bool open_devices(struct crowd *crowd)
{
	for (uint32_t i = 0; i < crowd->n_devices; i++) {
		struct device *device = &crowd->devices[i];

		device->fd = socket(crowd->to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (device->fd < 0 || getrandom(&device->id, sizeof(device->id), 0) < 0)
			return false;
	}
	return true;
}

static int usage(FILE *out)
{
	fprintf(out,
		"usage: devices [--devices N] [--rate DATAGRAMS_PER_S] [--seconds S] [--count N]\n"
		"               [--size BYTES] [--batch-port PORT] HOST PORT...\n");
	return out == stderr ? 2 : 0;
}

static bool parse_option(struct crowd *crowd, int letter, const char *value)
{
	switch (letter) {
	case 'd': crowd->n_devices = (uint32_t)strtoul(value, NULL, 10); break;
	case 'r': crowd->rate = strtoull(value, NULL, 10); break;
	case 's': crowd->seconds = strtod(value, NULL); break;
	case 'c': crowd->count = strtoull(value, NULL, 10); break;
	case 'z': crowd->size = strtoul(value, NULL, 10); break;
	case 'b': crowd->batch.port = (uint16_t)strtoul(value, NULL, 10); break;
	default: return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "devices", required_argument, NULL, 'd' },
		{ "rate", required_argument, NULL, 'r' },
		{ "seconds", required_argument, NULL, 's' },
		{ "count", required_argument, NULL, 'c' },
		{ "size", required_argument, NULL, 'z' },
		{ "batch-port", required_argument, NULL, 'b' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	static struct crowd crowd = { .n_devices = 4, .rate = 1000, .seconds = 5, .size = 48 };
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM };
	int letter, r;

	while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (letter == 'h')
			return usage(stdout);
		if (!parse_option(&crowd, letter, optarg))
			return usage(stderr);
	}
	if (argc - optind < 2 || argc - optind - 1 > PORTS_MAX || crowd.n_devices == 0 ||
	    crowd.n_devices > DEVICES_MAX || crowd.rate == 0 || crowd.size > 1400)
		return usage(stderr);
	r = getaddrinfo(argv[optind], NULL, &hints, &crowd.to);
	if (r != 0) {
		fprintf(stderr, "devices: %s: %s\n", argv[optind], gai_strerror(r));
		return 1;
	}
	for (int i = optind + 1; i < argc; i++)
		crowd.ports[crowd.n_ports++].port = (uint16_t)strtoul(argv[i], NULL, 10);
	if (!open_devices(&crowd)) {
		fprintf(stderr, "devices: %s\n", strerror(errno));
		return 1;
	}
	signal(SIGINT, stop);
	signal(SIGTERM, stop);
	print_result(&crowd, run(&crowd));
	freeaddrinfo(crowd.to);
	return 0;
}
