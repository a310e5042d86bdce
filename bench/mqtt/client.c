/* SPDX-License-Identifier: BSD-3-Clause */
/* One MQTT client connection of the load generator. See client.h. */
#include "bench/mqtt/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "dataplane/mqtt/codec.h"
#include "dataplane/mqtt/mqtt.h"

enum { PACKET_ROOM = 1024, CLEAN = 2, HAS_USER = 0x80, HAS_PASSWORD = 0x40 };

int bench_mqtt_client_open(struct bench_mqtt_client *client, const struct bench_mqtt_endpoint *endpoint, int epoll_fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
	int r = bench_mqtt_transport_open(&client->transport, endpoint);

	client->receive_max = UINT16_MAX;
	if (r < 0)
		return r;
	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, client->transport.fd, &event) < 0 ? -errno : 0;
}

void bench_mqtt_client_close(struct bench_mqtt_client *client)
{
	bench_mqtt_transport_close(&client->transport);
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
	static const uint8_t lives[] = {5, HBUS_MQTT_P_SESSION_EXPIRY, 0, 0, 1, 44};
	uint8_t body[PACKET_ROOM];
	struct hbus_mqtt_writer writer = hbus_mqtt_writer(body, sizeof(body));
	unsigned int flags = (client->keeps_session ? 0 : CLEAN) | (endpoint->user ? HAS_USER : 0) | (endpoint->password ? HAS_PASSWORD : 0);
	char id[48];
	int n = snprintf(id, sizeof(id), "hbench-%d-%u%c", (int)getpid(), client->idx, client->is_subscriber ? 's' : 'p');

	hbus_mqtt_put_binary(&writer, "MQTT", 4);
	hbus_mqtt_put_u8(&writer, client->version);
	hbus_mqtt_put_u8(&writer, (uint8_t)flags);
	hbus_mqtt_put_u16(&writer, 0); /* no keep-alive: a run is short */
	if (client->version == HBUS_MQTT_V5 && client->keeps_session)
		hbus_mqtt_put_bytes(&writer, lives, sizeof(lives));
	else if (client->version == HBUS_MQTT_V5)
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
	(void)epoll_ctl(epoll_fd, EPOLL_CTL_MOD, client->transport.fd, &event);
}

int bench_mqtt_client_flush(struct bench_mqtt_client *client, int epoll_fd)
{
	struct bench_mqtt_transport *transport = &client->transport;

	while (client->out_sent < client->out_size || bench_mqtt_transport_is_pending(transport)) {
		ssize_t n = bench_mqtt_transport_write(transport, client->out + client->out_sent,
						       client->out_size - client->out_sent);

		if (n == -EINTR)
			continue;
		if (n == -EAGAIN)
			break;
		if (n < 0)
			return (int)n;
		client->out_sent += (size_t)n;
		if (bench_mqtt_transport_is_pending(transport))
			break;
	}
	want_out(client, epoll_fd, client->out_sent < client->out_size || bench_mqtt_transport_is_pending(transport));
	if (client->out_sent == client->out_size)
		client->out_sent = client->out_size = 0;
	return 0;
}
