/* SPDX-License-Identifier: BSD-3-Clause */
/* A process is known again by a later daemon: while it lives, and no other in its place. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/daemon/process.h"

static pid_t sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		pause();
		_exit(0);
	}
	cr_assert_gt(pid, 0);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static struct hbus_fd *pidfd_of(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	cr_assert_geq(fd, 0);
	return hbus_fd_new(fd);
}

Test(process, is_known_again_while_it_lives)
{
	pid_t pid = sleeper();
	struct hbus_fd *pidfd = pidfd_of(pid), *again = NULL;
	uint64_t began = hbus_process_began(pid, pidfd);

	cr_assert_neq(began, 0);
	hbus_fd_put(pidfd);
	cr_assert_eq(hbus_process_open(pid, began, &again), 0);
	cr_assert_eq(hbus_process_began(pid, again), began);
	end(pid);
	hbus_fd_put(again);
	cr_assert_eq(hbus_process_open(pid, began, &again), -ESRCH);
}

/* As before Linux 6.9. */
Test(process, is_known_again_by_the_time_of_its_beginning)
{
	pid_t pid = sleeper();
	struct hbus_fd *pidfd = pidfd_of(pid), *again = NULL;
	uint64_t by_inode = hbus_process_began(pid, pidfd), began;

	setenv("HBUS_NO_PEERPIDFD", "1", 1);
	began = hbus_process_began(pid, pidfd);
	hbus_fd_put(pidfd);
	cr_assert_neq(began, 0);
	cr_assert_neq(began, by_inode);
	cr_assert_eq(hbus_process_open(pid, began, &again), 0);
	hbus_fd_put(again);
	again = NULL;
	cr_assert_eq(hbus_process_open(getpid(), began + 1, &again), -ESRCH);
	end(pid);
	cr_assert_eq(hbus_process_open(pid, began, &again), -ESRCH);
}

Test(process, another_with_its_pid_is_not_it)
{
	struct hbus_fd *pidfd = pidfd_of(getpid()), *again = NULL;
	uint64_t began = hbus_process_began(getpid(), pidfd);

	hbus_fd_put(pidfd);
	cr_assert_eq(hbus_process_open(getpid(), began + 1, &again), -ESRCH);
	cr_assert_null(again);
}

Test(process, one_that_has_ended_and_was_not_waited_for_has_ended)
{
	pid_t pid = sleeper();
	struct hbus_fd *pidfd = pidfd_of(pid), *again = NULL;
	uint64_t began = hbus_process_began(pid, pidfd);
	siginfo_t info;

	hbus_fd_put(pidfd);
	kill(pid, SIGKILL);
	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	cr_assert_eq(hbus_process_open(pid, began, &again), -ESRCH);
	end(pid);
}

Test(process, what_was_never_known_cannot_be_known_again)
{
	struct hbus_fd *again = NULL;

	cr_assert_eq(hbus_process_open(0, 5, &again), -EINVAL);
	cr_assert_eq(hbus_process_open(getpid(), 0, &again), -EINVAL);
	cr_assert_eq(hbus_process_began(getpid(), NULL), 0);
}
