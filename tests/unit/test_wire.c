/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages over a socket pair: what is refused, and that no descriptor is left behind. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/proto/wire.h"
#include "tests/stress/fds.h"

static int ends[2];

static void setup(void)
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

static void teardown(void)
{
	close(ends[0]);
	close(ends[1]);
}

TestSuite(wire, .init = setup, .fini = teardown);

static void send_raw(const void *bytes, size_t size, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * HBUS_WIRE_FDS_MAX)];
	} control;
	struct iovec iov = {(void *)bytes, size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	memset(&control, 0, sizeof(control));
	if (n_fds > 0) {
		struct cmsghdr *cmsg;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * n_fds);
	}
	cr_assert_geq(sendmsg(ends[0], &msg, 0), 0);
}

static int receive(union hbus_msg *message, struct hbus_wire_fds *fds)
{
	return hbus_wire_receive(ends[1], message, fds);
}

static void expect_invalid(const union hbus_msg *message, size_t size)
{
	union hbus_msg got;
	struct hbus_wire_fds fds;

	send_raw(message, size, NULL, 0);
	cr_assert_eq(receive(&got, &fds), HBUS_WIRE_INVALID);
}

Test(wire, every_type_has_a_size_and_arrives_as_it_was_sent)
{
	for (unsigned int type = 0; type < HBUS_MSG_TYPE_END; type++) {
		union hbus_msg message, got;
		struct hbus_wire_fds fds;
		unsigned int n;
		int in[2] = {0, 1};

		if (hbus_wire_size(type) == 0)
			continue;
		hbus_wire_init(&message, (enum hbus_msg_type)type, type + 5);
		for (n = 0; n <= 2; n++) {
			message.header.n_fds = n;
			if (hbus_wire_is_valid(&message, message.header.size, n))
				break;
		}
		cr_assert_leq(n, 2u, "%s", hbus_wire_type_name(type));
		cr_assert_eq(hbus_wire_send(ends[0], &message, in, n), 0);
		cr_assert_eq(receive(&got, &fds), 0, "%s", hbus_wire_type_name(type));
		cr_assert_eq(memcmp(&got, &message, message.header.size), 0);
		cr_assert_eq(fds.n, n);
		hbus_wire_fds_close(&fds);
	}
}

Test(wire, an_empty_socket_and_a_closed_one_are_told_apart)
{
	union hbus_msg got;
	struct hbus_wire_fds fds;

	cr_assert_eq(receive(&got, &fds), HBUS_WIRE_EMPTY);
	shutdown(ends[0], SHUT_RDWR);
	cr_assert_eq(receive(&got, &fds), HBUS_WIRE_CLOSED);
}

Test(wire, a_message_of_another_size_magic_or_type_is_refused)
{
	union hbus_msg message;

	hbus_wire_init(&message, HBUS_MSG_HELLO, 1);
	expect_invalid(&message, message.header.size - 1u);
	expect_invalid(&message, message.header.size + 1u);
	expect_invalid(&message, 4);
	message.header.magic++;
	expect_invalid(&message, message.header.size);
	hbus_wire_init(&message, HBUS_MSG_HELLO, 1);
	message.header.type = HBUS_MSG_TYPE_END;
	expect_invalid(&message, message.header.size);
	message.header.type = HBUS_MSG_NONE;
	expect_invalid(&message, message.header.size);
}

Test(wire, a_frame_longer_than_any_message_is_refused)
{
	unsigned char bytes[4096] = {0};
	union hbus_msg message, got;
	struct hbus_wire_fds fds;

	hbus_wire_init(&message, HBUS_MSG_HELLO, 1);
	memcpy(bytes, &message, message.header.size);
	send_raw(bytes, sizeof(bytes), NULL, 0);
	cr_assert_eq(receive(&got, &fds), HBUS_WIRE_INVALID);
}

Test(wire, a_string_without_an_end_or_with_bytes_behind_it_is_refused)
{
	union hbus_msg message;

	hbus_wire_init(&message, HBUS_MSG_HELLO, 1);
	memset(message.hello.name, 'x', sizeof(message.hello.name));
	expect_invalid(&message, message.header.size);
	hbus_wire_init(&message, HBUS_MSG_HELLO, 1);
	message.hello.name[0] = 'a';
	message.hello.name[5] = 'b';
	expect_invalid(&message, message.header.size);
}

Test(wire, reserved_bytes_in_use_are_refused)
{
	union hbus_msg message;

	hbus_wire_init(&message, HBUS_MSG_SUB_OPEN, 1);
	message.sub_open.reserved = 1;
	expect_invalid(&message, message.header.size);
}

Test(wire, descriptors_nobody_asked_for_are_closed_also_253_of_them)
{
	union hbus_msg message, got;
	struct hbus_wire_fds fds;
	int many[HBUS_WIRE_FDS_MAX];
	int before;

	for (unsigned int i = 0; i < HBUS_WIRE_FDS_MAX; i++)
		many[i] = 0;
	hbus_wire_init(&message, HBUS_MSG_HELLO, 1);
	before = kit_n_open_fds();
	send_raw(&message, message.header.size, many, HBUS_WIRE_FDS_MAX);
	cr_assert_eq(receive(&got, &fds), HBUS_WIRE_INVALID);
	message.header.n_fds = 1;
	send_raw(&message, message.header.size, many, 1);
	cr_assert_eq(receive(&got, &fds), HBUS_WIRE_INVALID);
	cr_assert_eq(kit_n_open_fds(), before);
}

/* The kernel drops what this process has no room for; the header may say that nothing was sent. */
Test(wire, a_message_whose_descriptors_were_cut_off_is_refused)
{
	struct rlimit limit = {0};
	union hbus_msg message, got;
	struct hbus_wire_fds fds;
	int in = 0;

	hbus_wire_init(&message, HBUS_MSG_HELLO, 1);
	send_raw(&message, message.header.size, &in, 1);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 1;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(receive(&got, &fds), HBUS_WIRE_INVALID);
}

Test(wire, descriptors_arrive_close_on_exec_and_belong_to_the_receiver)
{
	union hbus_msg message, got;
	struct hbus_wire_fds fds;
	size_t before = kit_n_open_fds();
	int in = 0, taken;

	hbus_wire_init(&message, HBUS_MSG_SUB_SLOTS, 1);
	cr_assert_eq(hbus_wire_send(ends[0], &message, &in, 1), 0);
	cr_assert_eq(receive(&got, &fds), 0);
	cr_assert_eq(fds.n, 1);
	taken = hbus_wire_fds_take(&fds, 0);
	cr_assert_geq(taken, 0);
	cr_assert_eq(hbus_wire_fds_take(&fds, 0), -1);
	cr_assert(fcntl(taken, F_GETFD) & FD_CLOEXEC);
	hbus_wire_fds_close(&fds);
	cr_assert_geq(fcntl(taken, F_GETFD), 0);
	close(taken);
	cr_assert_eq(kit_n_open_fds(), before);
}

Test(wire, a_full_socket_is_said_and_never_waited_for)
{
	union hbus_msg message;
	int r = 0;

	hbus_wire_init(&message, HBUS_MSG_HELLO, 1);
	for (int i = 0; i < 100000 && r == 0; i++)
		r = hbus_wire_send(ends[0], &message, NULL, 0);
	cr_assert_eq(r, -EAGAIN);
}

Test(wire, a_string_that_just_fits_is_taken_and_one_byte_more_is_not)
{
	char to[8] = {0};

	cr_assert(hbus_wire_put_string(to, sizeof(to), "1234567"));
	cr_assert_str_eq(to, "1234567");
	cr_assert_not(hbus_wire_put_string(to, sizeof(to), "12345678"));
	cr_assert(hbus_wire_put_string(to, sizeof(to), NULL));
}
