/* SPDX-License-Identifier: BSD-3-Clause */
/* One MQTT client connection of the load generator. See client.h. */
#include "bench/mqtt/client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/mqtt/codec.h"
#include "dataplane/mqtt/mqtt.h"

enum { PACKET_ROOM = 1024, CLEAN = 2, HAS_USER = 0x80, HAS_PASSWORD = 0x40 };

static int connect_to(const struct bench_mqtt_endpoint *endpoint)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
	int r = getaddrinfo(endpoint->host, endpoint->port, &hints, &found), fd = -1, error = ENOENT;

	if (r) {
		fprintf(stderr, "hugebus-bench: %s: %s\n", endpoint->host, gai_strerror(r));
		return -EHOSTUNREACH;
	}
	for (struct addrinfo *at = found; at && fd < 0; at = at->ai_next) {
		fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) == 0)
			break;
		error = errno;
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	if (fd >= 0)
		return fd;
	fprintf(stderr, "hugebus-bench: cannot connect to %s port %s: %s\n", endpoint->host, endpoint->port, strerror(error));
	return -error;
}

int bench_mqtt_client_open(struct bench_mqtt_client *client, const struct bench_mqtt_endpoint *endpoint, int epoll_fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
	int one = 1;

	client->receive_max = UINT16_MAX;
	client->fd = connect_to(endpoint);
	if (client->fd < 0)
		return client->fd;
	(void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (fcntl(client->fd, F_SETFL, O_NONBLOCK) < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, client->fd, &event) < 0)
		return -errno;
	return 0;
}

void bench_mqtt_client_close(struct bench_mqtt_client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	hbus_mqtt_frame_deinit(&client->frame);
	free(client->out);
	client->out = NULL;
}

uint8_t *bench_mqtt_client_room(struct bench_mqtt_client *client, size_t size)
{
	if (client->out_sent == client->out_size)
		client->out_sent = client->out_size = 0;
	if (client->out_size + size > client->out_room) {
		size_t room = client->out_room ? client->out_room : PACKET_ROOM;

		while (room < client->out_size + size)
			room *= 2;
		client->out = realloc(client->out, room);
		if (!client->out) {
			fprintf(stderr, "hugebus-bench: out of memory\n");
			exit(1);
		}
		client->out_room = room;
	}
	return client->out + client->out_size;
}

/* A packet whose body is shorter than 128 bytes or fits two bytes of length. */
static void put_packet(struct bench_mqtt_client *client, uint8_t first_byte, const uint8_t *body, size_t size)
{
	struct hbus_mqtt_writer writer = hbus_mqtt_writer(bench_mqtt_client_room(client, size + 5), size + 5);
	uint8_t *begin = writer.at;

	hbus_mqtt_put_u8(&writer, first_byte);
	hbus_mqtt_put_varint(&writer, (uint32_t)size);
	hbus_mqtt_put_bytes(&writer, body, size);
	bench_mqtt_client_put(client, (size_t)(writer.at - begin));
}

void bench_mqtt_client_say_connect(struct bench_mqtt_client *client, const struct bench_mqtt_endpoint *endpoint)
{
	uint8_t body[PACKET_ROOM];
	struct hbus_mqtt_writer writer = hbus_mqtt_writer(body, sizeof(body));
	unsigned int flags = CLEAN | (endpoint->user ? HAS_USER : 0) | (endpoint->password ? HAS_PASSWORD : 0);
	char id[48];
	int n = snprintf(id, sizeof(id), "hbench-%d-%u%c", (int)getpid(), client->idx, client->is_subscriber ? 's' : 'p');

	hbus_mqtt_put_binary(&writer, "MQTT", 4);
	hbus_mqtt_put_u8(&writer, client->version);
	hbus_mqtt_put_u8(&writer, (uint8_t)flags);
	hbus_mqtt_put_u16(&writer, 0); /* no keep-alive: a run is short */
	if (client->version == HBUS_MQTT_V5)
		hbus_mqtt_put_varint(&writer, 0);
	hbus_mqtt_put_binary(&writer, id, (size_t)n);
	if (endpoint->user)
		hbus_mqtt_put_binary(&writer, endpoint->user, strlen(endpoint->user));
	if (endpoint->password)
		hbus_mqtt_put_binary(&writer, endpoint->password, strlen(endpoint->password));
	put_packet(client, HBUS_MQTT_CONNECT << 4, body, (size_t)(writer.at - body));
}

void bench_mqtt_client_say_subscribe(struct bench_mqtt_client *client, const char *filter, uint8_t qos)
{
	uint8_t body[PACKET_ROOM];
	struct hbus_mqtt_writer writer = hbus_mqtt_writer(body, sizeof(body));

	hbus_mqtt_put_u16(&writer, 1);
	if (client->version == HBUS_MQTT_V5)
		hbus_mqtt_put_varint(&writer, 0);
	hbus_mqtt_put_binary(&writer, filter, strlen(filter));
	hbus_mqtt_put_u8(&writer, qos);
	put_packet(client, HBUS_MQTT_SUBSCRIBE << 4 | 2, body, (size_t)(writer.at - body));
}

void bench_mqtt_client_say_ack(struct bench_mqtt_client *client, uint8_t type, uint16_t packet_id)
{
	uint8_t *at = bench_mqtt_client_room(client, 4);

	at[0] = (uint8_t)(type << 4 | (type == HBUS_MQTT_PUBREL ? 2 : 0));
	at[1] = 2;
	at[2] = (uint8_t)(packet_id >> 8);
	at[3] = (uint8_t)packet_id;
	bench_mqtt_client_put(client, 4);
}

void bench_mqtt_client_say_bye(struct bench_mqtt_client *client)
{
	put_packet(client, HBUS_MQTT_DISCONNECT << 4, NULL, 0);
}

static void want_out(struct bench_mqtt_client *client, int epoll_fd, bool wants)
{
	struct epoll_event event = {.events = EPOLLIN | (wants ? EPOLLOUT : 0u), .data.ptr = client};

	if (client->wants_out == wants)
		return;
	client->wants_out = wants;
	(void)epoll_ctl(epoll_fd, EPOLL_CTL_MOD, client->fd, &event);
}

int bench_mqtt_client_flush(struct bench_mqtt_client *client, int epoll_fd)
{
	while (client->out_sent < client->out_size) {
		ssize_t n = send(client->fd, client->out + client->out_sent, client->out_size - client->out_sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return -errno;
		client->out_sent += (size_t)n;
	}
	want_out(client, epoll_fd, client->out_sent < client->out_size);
	if (client->out_sent == client->out_size)
		client->out_sent = client->out_size = 0;
	return 0;
}
