/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing a bus. See bus.h. */
#include "ctl/client/bus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "ctl/client/control.h"
#include "ctl/client/counter_set.h"
#include "ctl/client/embedded.h"
#include "ctl/client/handlers.h"
#include "ctl/client/steering.h"
#include "shm/layout.h"

#define SYSTEM_SOCKET "/run/hugebus/hugebus.sock"
#define EMBEDDED_PREFIX "embedded:"
#define ALIVE_PAGE_SIZE 4096
/* While hbus_open() waits for a daemon, it looks this often. */
#define OPEN_SLICE_MS 10

uint64_t hbus_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t hbus_now_ms(void)
{
	return hbus_now_us() / 1000;
}

int hbus_fail_no_place(void)
{
	return hbus_fail(HBUS_E_INVALID, "no place for the result");
}

int hbus_fail_handle(const void *handle)
{
	if (!handle)
		return hbus_fail(HBUS_E_INVALID, "the handle is NULL");
	return hbus_fail(HBUS_E_FORKED, "this handle belongs to the parent process; open the bus again after fork()");
}

/* -- the socket -- */

static int connect_to(const char *path, int *ret_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

int hbus_connect(struct hbus *bus, int *ret_fd)
{
	const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int n, r;

	if (bus->is_embedded)
		return hbus_embedded_connect(ret_fd);
	if (bus->address)
		return connect_to(bus->address, ret_fd);
	r = connect_to(SYSTEM_SOCKET, ret_fd);
	if (r == 0 || !runtime)
		return r;
	n = snprintf(path, sizeof(path), "%s/hugebus/hugebus.sock", runtime);
	if (n < 0 || (size_t)n >= sizeof(path))
		return r;
	return connect_to(path, ret_fd);
}

/* -- HELLO -- */

static void on_hello_reply(struct hbus *bus, struct hbus_call *call)
{
	const struct hbus_msg_reply *reply = &call->reply.reply;
	bool is_return = false;

	if (!call->is_lost && reply->status != 0) {
		bus->hello_status = reply->status < 0 ? reply->status : HBUS_E_PROTOCOL;
		memcpy(bus->hello_text, reply->text, sizeof(bus->hello_text));
		call->is_lost = true;
		hbus_link_lost_locked(bus);
	}
	if (!call->is_lost) {
		is_return = bus->n_links > 0;
		bus->token = reply->token;
		bus->client_id = reply->value[0];
		bus->boot_id = reply->value[1];
		bus->default_capacity = reply->value[2];
		if (is_return)
			hbus_resume_locked(bus);
		else
			hbus_link_up_locked(bus);
	}
	free(call);
}

int hbus_hello_send(struct hbus *bus, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	struct hbus_call *call = hbus_call_new(on_hello_reply, NULL);
	union hbus_msg message;

	bus->socket_fd = fd;
	if (!call || epoll_ctl(bus->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		free(call);
		return -ENOMEM;
	}
	bus->link = HBUS_LINK_GREETING;
	bus->hello_status = 0;
	hbus_wire_init(&message, HBUS_MSG_HELLO, 0);
	message.hello.major = HBUS_PROTO_MAJOR;
	message.hello.minor = HBUS_PROTO_MINOR;
	message.hello.layout_version = HBUS_LAYOUT_VERSION;
	message.hello.layout_hash = HBUS_LAYOUT_HASH;
	message.hello.flags = (bus->flags & HBUS_OPEN_WANTS_INTEREST ? HBUS_CLIENT_WANTS_INTEREST : 0) |
			      (bus->flags & HBUS_OPEN_WANTS_ROUTES ? HBUS_CLIENT_WANTS_ROUTES : 0);
	message.hello.token = bus->token;
	hbus_wire_put_string(message.hello.name, sizeof(message.hello.name), bus->name);
	return hbus_call_start_locked(bus, &message, NULL, 0, call);
}

/* -- open -- */

static int alive_page_new(const _Atomic uint32_t **ret_word)
{
	_Atomic uint32_t *word;
	void *page;

	page = mmap(NULL, ALIVE_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return -errno;
	if (madvise(page, ALIVE_PAGE_SIZE, MADV_WIPEONFORK) < 0) {
		munmap(page, ALIVE_PAGE_SIZE);
		return -EINVAL;
	}
	word = page;
	atomic_store_explicit(word, 1, memory_order_relaxed); /* relaxed: no other thread has it yet */
	*ret_word = word;
	return 0;
}

static int watch(struct hbus *bus, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return fd < 0 || epoll_ctl(bus->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int descriptors_open(struct hbus *bus)
{
	int r;

	bus->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (bus->epoll_fd < 0)
		return -errno;
	bus->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = watch(bus, bus->wake_fd);
	if (r < 0)
		return r;
	bus->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return watch(bus, bus->timer_fd);
}

static void close_if(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void bus_free(struct hbus *bus)
{
	close_if(bus->socket_fd);
	close_if(bus->timer_fd);
	close_if(bus->wake_fd);
	close_if(bus->epoll_fd);
	hbus_control_free(bus);
	hbus_steering_free(bus->steering);
	hbus_counter_sets_free(bus);
	if (bus->is_embedded)
		hbus_embedded_put();
	if (bus->alive)
		munmap((void *)(uintptr_t)bus->alive, ALIVE_PAGE_SIZE);
	free(bus->address);
	free(bus);
}

static int bus_new(struct hbus **ret_bus)
{
	struct hbus *bus = calloc(1, sizeof(*bus));
	pthread_condattr_t monotonic;
	int r;

	if (!bus)
		return hbus_fail(HBUS_E_NO_MEMORY, "no memory for a bus");
	bus->socket_fd = bus->epoll_fd = bus->wake_fd = bus->timer_fd = -1;
	bus->retry_ms = HBUS_RETRY_FIRST_MS;
	bus->outgoing_tail = &bus->outgoing;
	bus->calls_tail = &bus->calls;
	bus->next_sub_id = 1;
	pthread_mutex_init(&bus->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&bus->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	r = alive_page_new(&bus->alive);
	if (r == 0)
		r = descriptors_open(bus);
	if (r < 0) {
		bus_free(bus);
		return hbus_fail_errno(r, "opening a bus");
	}
	*ret_bus = bus;
	return 0;
}

static int take_options(struct hbus *bus, const char *address, const struct hbus_options *options)
{
	const char *name = options && options->name ? options->name : program_invocation_short_name;
	int r;

	if (options && options->struct_size < offsetof(struct hbus_options, reserved))
		return hbus_fail(HBUS_E_INVALID, "hbus_options.struct_size is not set");
	if (options && (options->flags & ~(HBUS_OPEN_NO_THREAD | HBUS_OPEN_WANTS_INTEREST | HBUS_OPEN_WANTS_ROUTES)))
		return hbus_fail(HBUS_E_INVALID, "unknown flags in hbus_options");
	bus->flags = options ? options->flags : 0;
	snprintf(bus->name, sizeof(bus->name), "%s", name);
	if (!address)
		address = secure_getenv("HUGEBUS_SOCKET");
	if (address && strncmp(address, EMBEDDED_PREFIX, strlen(EMBEDDED_PREFIX)) == 0) {
		r = hbus_embedded_get();
		if (r < 0)
			return r;
		bus->is_embedded = true;
		return 0;
	}
	if (address && *address) {
		bus->address = strdup(address);
		if (!bus->address)
			return hbus_fail(HBUS_E_NO_MEMORY, "no memory for an address");
	}
	return 0;
}

static int describe_connect_failure(const struct hbus *bus, int fault)
{
	const char *where = bus->address ? bus->address : SYSTEM_SOCKET " or $XDG_RUNTIME_DIR/hugebus/hugebus.sock";

	if (bus->hello_status < 0)
		return hbus_fail(bus->hello_status, "%s", bus->hello_text);
	if (fault == -EACCES || fault == -EPERM)
		return hbus_fail(HBUS_E_DENIED, "no permission to connect to %s", where);
	if (fault == -ENAMETOOLONG)
		return hbus_fail(HBUS_E_INVALID, "the path of the socket is too long");
	return hbus_fail(HBUS_E_DISCONNECTED, "no daemon at %s: %s", where,
			 fault < 0 ? strerrordesc_np(-fault) : "it does not answer");
}

static bool is_worth_waiting(const struct hbus *bus, int fault)
{
	return bus->hello_status == 0 && fault != -EACCES && fault != -EPERM && fault != -ENAMETOOLONG;
}

/* Tries until HELLO was answered, in the calling thread: there is no other yet. */
static int connect_first(struct hbus *bus, int timeout_ms)
{
	uint64_t until_ms = hbus_now_ms() + (uint64_t)(timeout_ms > 0 ? timeout_ms : timeout_ms < 0 ? 0 : HBUS_CONNECT_TIMEOUT_MS);
	uint64_t greet_until_ms = until_ms > hbus_now_ms() + HBUS_CONNECT_TIMEOUT_MS ? until_ms
										  : hbus_now_ms() + HBUS_CONNECT_TIMEOUT_MS;
	int fault = 0;

	pthread_mutex_lock(&bus->lock);
	while (bus->link != HBUS_LINK_CONNECTED) {
		uint64_t now_ms = hbus_now_ms();
		struct epoll_event event;
		int fd = -1;

		if (bus->link == HBUS_LINK_AWAY) {
			fault = hbus_connect(bus, &fd);
			if (fault == 0 && hbus_hello_send(bus, fd) < 0)
				hbus_link_lost_locked(bus); /* and hears why, if it was refused */
		}
		if (bus->link == HBUS_LINK_AWAY && (now_ms >= until_ms || !is_worth_waiting(bus, fault)))
			break;
		if (now_ms >= greet_until_ms)
			break;
		epoll_wait(bus->epoll_fd, &event, 1, OPEN_SLICE_MS);
		bus->retry_at_ms = UINT64_MAX; /* this loop connects, dispatch does not */
		hbus_dispatch_locked(bus);
		if (bus->link == HBUS_LINK_AWAY && bus->hello_status < 0)
			break; /* refused: asking again would bring the same answer */
	}
	bus->retry_at_ms = 0;
	pthread_mutex_unlock(&bus->lock);
	return bus->link == HBUS_LINK_CONNECTED ? 0 : describe_connect_failure(bus, fault);
}

int hbus_open(const char *address, const struct hbus_options *options, struct hbus **ret_bus)
{
	struct hbus *bus = NULL;
	int r;

	if (!ret_bus)
		return hbus_fail(HBUS_E_INVALID, "hbus_open() needs a place for its result");
	r = bus_new(&bus);
	if (r < 0)
		return r;
	r = take_options(bus, address, options);
	if (r == 0)
		r = hbus_steering_new(bus->flags, &bus->steering);
	if (r == 0)
		r = connect_first(bus, options ? options->connect_timeout_ms : 0);
	if (r == 0 && !(bus->flags & HBUS_OPEN_NO_THREAD)) {
		r = hbus_control_start(bus);
		if (r < 0)
			r = hbus_fail_errno(r, "starting the control thread");
	}
	if (r < 0) {
		hbus_control_stop(bus);
		bus_free(bus);
		return r;
	}
	*ret_bus = bus;
	return 0;
}

void hbus_close(struct hbus *bus)
{
	if (!bus)
		return;
	if (hbus_is_ours(bus)) {
		if (hbus_steering_is_inside(bus)) {
			hbus_fail(HBUS_E_BUSY, "a handler cannot close the bus that calls it");
			return;
		}
		hbus_control_stop(bus);
		hbus_barriers_end(bus);
	}
	bus_free(bus);
}

int hbus_control_fd(struct hbus *bus)
{
	return hbus_is_ours(bus) ? bus->epoll_fd : hbus_fail_handle(bus);
}

int hbus_dispatch(struct hbus *bus)
{
	if (!hbus_is_ours(bus))
		return hbus_fail_handle(bus);
	if (bus->has_thread)
		return hbus_fail(HBUS_E_BUSY, "hbus_dispatch() is for HBUS_OPEN_NO_THREAD");
	pthread_mutex_lock(&bus->lock);
	hbus_dispatch_locked(bus);
	pthread_mutex_unlock(&bus->lock);
	return 0;
}

int hbus_is_connected(struct hbus *bus)
{
	int is_connected;

	if (!hbus_is_ours(bus))
		return hbus_fail_handle(bus);
	pthread_mutex_lock(&bus->lock);
	is_connected = bus->link == HBUS_LINK_CONNECTED;
	pthread_mutex_unlock(&bus->lock);
	return is_connected;
}
