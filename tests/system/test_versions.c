/* SPDX-License-Identifier: BSD-3-Clause */
/* A daemon and clients of other versions: each side says clearly that they do not fit. */
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bus.h"
#include "ctl/proto/wire.h"
#include "raw.h"
#include "shm/layout.h"

static _Atomic uint32_t *n_ready; /* daemons of another version that listen */

static void another_major_version_is_refused_clearly(void)
{
	struct hbus_msg_hello hello = {.major = HBUS_PROTO_MAJOR + 1, .name = "new"};
	const struct hbus_msg_reply *reply;
	struct raw raw;

	CHECK(raw_connect(&raw, bus_address));
	raw_send(&raw, &hello, HBUS_MSG_HELLO, sizeof(hello), NULL, 0);
	reply = raw_reply(&raw);
	CHECK(reply);
	CHECK_EQ(reply->status, HBUS_E_VERSION);
	CHECK(strlen(reply->text) > 10);
	raw_close(&raw);
	/* A later minor one is spoken down to. */
	CHECK(raw_connect(&raw, bus_address));
	hello.major = HBUS_PROTO_MAJOR;
	hello.minor = 99;
	raw_send(&raw, &hello, HBUS_MSG_HELLO, sizeof(hello), NULL, 0);
	reply = raw_reply(&raw);
	CHECK(reply && reply->status == 0);
	CHECK_EQ(reply->minor, HBUS_PROTO_MINOR);
	raw_close(&raw);
}

/* A daemon of another version, by hand: @status to HELLO, then rings of another layout. */
static void serve_other_version(const char *path, int status)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct raw raw = {.socket = -1};
	const struct hbus_msg_header *header;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	CHECK_EQ(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_EQ(listen(listener, 4), 0);
	(*n_ready)++;
	raw.socket = accept(listener, NULL, NULL);
	while ((header = raw_next(&raw, 5000))) {
		struct hbus_msg_reply reply;
		struct hbus_msg_ring_grant granted;
		int fds[2];

		if (header->type == HBUS_MSG_RING_CREATE) {
			hbus_wire_init(&granted, HBUS_MSG_RING_GRANT, header->serial);
			granted.geometry = (struct hbus_wire_geometry){7, 65536, 0, HBUS_LAYOUT_VERSION + 1, 1, 0, 0};
			fds[0] = memfd_create("h", 0);
			fds[1] = memfd_create("d", 0);
			granted.header.n_fds = 2;
			raw_send_bytes(&raw, &granted, sizeof(granted), fds, 2);
			close(fds[0]);
			close(fds[1]);
			continue;
		}
		hbus_wire_init(&reply, HBUS_MSG_REPLY, header->serial);
		reply.request_type = header->type;
		if (header->type == HBUS_MSG_HELLO) {
			reply.status = status;
			snprintf(reply.text, sizeof(reply.text), "%s", status ? "this daemon speaks version 2" : "");
		}
		raw_send_bytes(&raw, &reply, sizeof(reply), NULL, 0);
	}
}

static char other_path[100];

static void serve_refusal(void *context)
{
	serve_other_version(other_path, context ? HBUS_E_VERSION : 0);
}

static void the_library_says_so_when_versions_differ(void)
{
	struct hbus_publisher *publisher;
	struct hbus *bus = NULL;
	hbus_topic_t topic;
	pid_t pid;
	int r;

	n_ready = bus_shared(sizeof(*n_ready));
	snprintf(other_path, sizeof(other_path), "%.80s.other", bus_address);
	pid = bus_fork(serve_refusal, "");
	while (*n_ready < 1)
		bus_sleep_ms(1);
	CHECK_EQ(hbus_open(other_path, NULL, &bus), HBUS_E_VERSION);
	CHECK(strstr(hbus_error_text(), "version 2"));
	kill(pid, SIGKILL);
	unlink(other_path);
	pid = bus_fork(serve_refusal, NULL);
	while (*n_ready < 2)
		bus_sleep_ms(1);
	OK(hbus_open(other_path, NULL, &bus));
	publisher = bus_publisher(bus, 65536, 0, 0);
	r = hbus_publisher_topic(publisher, "t", NULL, NULL, &topic);
	CHECK_EQ(r, HBUS_E_VERSION);
	CHECK(strlen(hbus_error_text()) > 10);
	hbus_publisher_close(publisher);
	hbus_close(bus);
	kill(pid, SIGKILL);
}

static const struct bus_case cases[] = {
	{"another_major_version_is_refused_clearly", another_major_version_is_refused_clearly},
	{"the_library_says_so_when_versions_differ", the_library_says_so_when_versions_differ},
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
