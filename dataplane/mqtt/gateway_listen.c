/* SPDX-License-Identifier: BSD-3-Clause */
/* Listening sockets: TCP by host and port, Unix by path. */
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
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "dataplane/mqtt/gateway.h"

enum { BACKLOG = 1024, ACCEPTS_PER_ROUND = 64 };

#define UNIX_PREFIX "unix:"

struct listener {
	struct hbus_gateway_source source;
	bool is_unix;
	unsigned int flags; /* of its clients */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/*
 * There is a client, and no descriptor for it: left in the queue it would be reported without end. So it is
 * taken with the one that was put aside for this, and let go.
 */
static void refuse(struct hbus_gateway_worker *worker, int listen_fd)
{
	struct hbus_gateway *gateway = worker->gateway;
	int fd;

	if (gateway->spare_fd >= 0)
		close(gateway->spare_fd);
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	gateway->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	hbus_gateway_lock(worker);
	if (gateway->counters.refused_descriptors++ == 0)
		hbus_gateway_log("no descriptor for one more client; further ones are counted as refused_descriptors");
	hbus_gateway_unlock(worker);
}

static void ready(struct hbus_gateway_worker *worker, struct hbus_gateway_source *source, uint32_t events)
{
	struct listener *listener = (struct listener *)(void *)source;
	int one = 1;

	(void)events;
	for (int i = 0; i < ACCEPTS_PER_ROUND; i++) {
		struct sockaddr_storage from = { .ss_family = AF_UNSPEC };
		socklen_t from_size = sizeof(from);
		int fd = accept4(source->fd, (struct sockaddr *)&from, &from_size, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE)
				refuse(worker, source->fd);
			return;
		}
		if (!listener->is_unix)
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		hbus_gateway_client_new(worker, fd, (const struct sockaddr *)&from, listener->flags);
	}
}

/* Consumes @fd. */
static int add(struct hbus_gateway *gateway, int fd, const char *path)
{
	struct listener *listener = calloc(1, sizeof(*listener));
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = listener };

	if (!listener || listen(fd, BACKLOG) < 0 || epoll_ctl(gateway->workers[0].epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		int r = listener ? -errno : -ENOMEM;

		free(listener);
		close(fd);
		return r;
	}
	listener->source = (struct hbus_gateway_source){ ready, fd };
	if (path) {
		listener->is_unix = true;
		snprintf(listener->path, sizeof(listener->path), "%s", path);
	}
	gateway->listeners[gateway->n_listeners++] = &listener->source;
	return 0;
}

/* A socket that nobody listens on any more is replaced, a living one is not. */
static int remove_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = 0;
	struct stat st;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		r = -EADDRINUSE;
	else if (errno == ECONNREFUSED && lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(address->sun_path);
	close(fd);
	return r;
}

static int listen_unix(struct hbus_gateway *gateway, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	r = remove_stale(&address);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return add(gateway, fd, path);
}

static int listen_address(struct hbus_gateway *gateway, const struct addrinfo *info)
{
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, info->ai_protocol);
	int one = 1, r;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (info->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, info->ai_addr, info->ai_addrlen) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return add(gateway, fd, NULL);
}

/* A name, or 1 to 65535: getaddrinfo() takes any number, modulo 65536. */
static bool is_port(const char *port)
{
	char *end;
	long number = strtol(port, &end, 10);

	return *end != '\0' || (number > 0 && number <= UINT16_MAX);
}

/* Cuts HOST:PORT, [HOST]:PORT or PORT in two. Return: false when it is none of them. */
static bool split(const char *address, char host[256], const char **ret_port)
{
	const char *colon = strrchr(address, ':');
	size_t size = colon ? (size_t)(colon - address) : 0;
	bool has_brackets = size >= 2 && address[0] == '[' && address[size - 1] == ']';

	if (has_brackets) {
		address++;
		size -= 2;
	} else if (memchr(address, ':', size)) {
		return false;
	}
	if (size >= 256)
		return false;
	memcpy(host, address, size);
	host[size] = '\0';
	*ret_port = colon ? colon + 1 : address;
	return **ret_port != '\0' && is_port(*ret_port);
}

/* An address that a name has and this host has not: "localhost" is ::1 too, also where there is no IPv6. */
static bool is_not_here(int error)
{
	return error == -EADDRNOTAVAIL || error == -EAFNOSUPPORT;
}

static const char no_place[] = "it is neither HOST:PORT nor PORT, a port being 1 to 65535";

/* *ret_text: why not, where an error number says too little. */
static int listen_tcp(struct hbus_gateway *gateway, const char *address, const char **ret_text)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *infos, *info;
	unsigned int n_before = gateway->n_listeners;
	char host[256];
	const char *port;
	int r;

	if (!split(address, host, &port)) {
		*ret_text = no_place;
		return -EINVAL;
	}
	/* A port alone is the loopback's: what can be reached from outside is named. */
	r = getaddrinfo(host[0] ? host : "127.0.0.1", port, &hints, &infos);
	if (r == EAI_SYSTEM)
		return -errno;
	if (r != 0) {
		*ret_text = r == EAI_SERVICE ? no_place : gai_strerror(r);
		return -EINVAL;
	}
	r = -EADDRNOTAVAIL;
	for (info = infos; info && gateway->n_listeners < HBUS_GATEWAY_LISTENERS_MAX; info = info->ai_next) {
		r = listen_address(gateway, info);
		if (r < 0 && !is_not_here(r))
			break;
	}
	freeaddrinfo(infos);
	/* One of several that this host has is enough. */
	return is_not_here(r) && gateway->n_listeners > n_before ? 0 : r;
}

/* What stands in front of the place says what its clients speak. Return: its size. */
static size_t take_prefix(const char *address, unsigned int *ret_flags)
{
	static const struct {
		const char *text;
		unsigned int flags;
	} prefixes[] = {
		{ "tls:", HBUS_GATEWAY_TLS },
		{ "ws:", HBUS_GATEWAY_WEBSOCKET },
		{ "wss:", HBUS_GATEWAY_TLS | HBUS_GATEWAY_WEBSOCKET },
	};

	*ret_flags = 0;
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		if (strncmp(address, prefixes[i].text, strlen(prefixes[i].text)) == 0) {
			*ret_flags = prefixes[i].flags;
			return strlen(prefixes[i].text);
		}
	}
	return 0;
}

int hbus_gateway_listen(struct hbus_gateway *gateway, const char *address)
{
	unsigned int n_before = gateway->n_listeners, flags;
	const char *place = address + take_prefix(address, &flags), *text = NULL;
	int r;

	if (gateway->n_listeners == HBUS_GATEWAY_LISTENERS_MAX)
		r = -ENOSPC;
	else if (strncmp(place, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
		r = listen_unix(gateway, place + strlen(UNIX_PREFIX));
	else
		r = listen_tcp(gateway, place, &text);
	for (unsigned int i = n_before; i < gateway->n_listeners; i++)
		((struct listener *)(void *)gateway->listeners[i])->flags = flags;
	if (r < 0)
		hbus_gateway_log("cannot listen on %s: %s", address, text ? text : strerror(-r));
	return r;
}

void hbus_gateway_listen_close(struct hbus_gateway *gateway)
{
	while (gateway->n_listeners > 0) {
		struct listener *listener = (struct listener *)(void *)gateway->listeners[--gateway->n_listeners];

		close(listener->source.fd);
		if (listener->is_unix)
			unlink(listener->path);
		free(listener);
	}
}
