/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The least that a broker must do: copy a publisher's bytes to each subscriber
 *
 * It answers CONNECT and SUBSCRIBE, each the only bytes of one read as the generator sends them, and from then on looks
 * at nothing. So it serves one publisher with QoS 0, and no MQTT broker on the same sockets can be faster.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "bench/mqtt/broker.h"
#include "dataplane/mqtt/mqtt.h"

enum { CLIENTS_MAX = 1024, BYTES = 262144, LEVEL_OFF = 8 };

struct relay_client {
	int fd;
	bool has_greeted, is_subscriber, is_publisher, is_v5;
};

static struct relay_client clients[CLIENTS_MAX];
static unsigned int n_clients;

static void send_whole(int fd, const uint8_t *data, size_t size)
{
	while (size > 0) {
		ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return;
		data += n;
		size -= (size_t)n;
	}
}

static void leave(struct relay_client *client)
{
	close(client->fd);
	client->fd = -1;
	client->is_subscriber = false;
}

static void greet(struct relay_client *client, const uint8_t *data, size_t size)
{
	static const uint8_t connack[] = {HBUS_MQTT_CONNACK << 4, 2, 0, 0};
	static const uint8_t connack5[] = {HBUS_MQTT_CONNACK << 4, 3, 0, 0, 0};

	client->has_greeted = true;
	client->is_v5 = size > LEVEL_OFF && data[LEVEL_OFF] == HBUS_MQTT_V5;
	send_whole(client->fd, client->is_v5 ? connack5 : connack, client->is_v5 ? sizeof(connack5) : sizeof(connack));
}

static void take(struct relay_client *client)
{
	static const uint8_t suback[] = {HBUS_MQTT_SUBACK << 4, 3, 0, 1, 0};
	static const uint8_t suback5[] = {HBUS_MQTT_SUBACK << 4, 4, 0, 1, 0, 0};
	static uint8_t data[BYTES];
	ssize_t n = recv(client->fd, data, sizeof(data), 0);

	if (n <= 0) {
		leave(client);
	} else if (!client->has_greeted) {
		greet(client, data, (size_t)n);
	} else if (!client->is_publisher && data[0] >> 4 == HBUS_MQTT_SUBSCRIBE) {
		client->is_subscriber = true;
		send_whole(client->fd, client->is_v5 ? suback5 : suback, client->is_v5 ? sizeof(suback5) : sizeof(suback));
	} else if (!client->is_subscriber) {
		client->is_publisher = true;
		for (unsigned int i = 0; i < n_clients; i++)
			if (clients[i].is_subscriber)
				send_whole(clients[i].fd, data, (size_t)n);
	}
}

static void welcome(int listen_fd, int epoll_fd)
{
	struct epoll_event event = {.events = EPOLLIN};
	unsigned int i = 0;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC), one = 1;

	while (i < n_clients && clients[i].fd >= 0)
		i++;
	if (fd < 0 || i == CLIENTS_MAX)
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	clients[i] = (struct relay_client){.fd = fd};
	n_clients = i < n_clients ? n_clients : i + 1;
	event.data.ptr = &clients[i];
	(void)epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

void bench_mqtt_relay_main(int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[64];
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		_exit(1);
	for (;;) {
		int n = epoll_wait(epoll_fd, events, 64, -1);

		for (int i = 0; i < n; i++) {
			struct relay_client *client = events[i].data.ptr;

			if (!client)
				welcome(fd, epoll_fd);
			else if (client->fd >= 0)
				take(client);
		}
	}
}
