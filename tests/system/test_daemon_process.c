/* SPDX-License-Identifier: BSD-3-Clause */
/* hugebusd as a process: its socket, its signals, its configuration, what survives it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus.h"
#include "raw.h"

static char directory[256], socket_path[300], config_path[300], log_path[300];

/* Beside the case's own bus. */
static void make_place(void)
{
	snprintf(directory, sizeof(directory), "%s.d", bus_address);
	CHECK_EQ(mkdir(directory, 0755), 0);
	snprintf(socket_path, sizeof(socket_path), "%s/s", directory);
	snprintf(config_path, sizeof(config_path), "%s/conf", directory);
	snprintf(log_path, sizeof(log_path), "%s/log", directory);
}

static void write_config(const char *text)
{
	int fd = open(config_path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static bool log_has(const char *text)
{
	static char log[65536];
	int fd = open(log_path, O_RDONLY);
	ssize_t n = fd >= 0 ? read(fd, log, sizeof(log) - 1) : 0;

	close(fd);
	log[n > 0 ? n : 0] = '\0';
	return strstr(log, text) != NULL;
}

static void wait_for_log(const char *text)
{
	for (int i = 0; i < 300 && !log_has(text); i++)
		bus_sleep_ms(10);
	CHECK(log_has(text));
}

/* @argument: one more option and its value, or NULL. */
static pid_t start(const char *option, const char *value, rlim_t n_files)
{
	const char *daemon = getenv("HUGEBUSD"), *build = getenv("HBUS_BUILD");
	struct rlimit limit = { n_files, n_files };
	char path[512];
	pid_t pid;
	int fd;

	snprintf(path, sizeof(path), "%s/ctl/daemon/hugebusd", build ? build : "build");
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
		dup2(fd, STDERR_FILENO);
		if (n_files)
			setrlimit(RLIMIT_NOFILE, &limit);
		execl(daemon ? daemon : path, "hugebusd", "--socket", socket_path, option, value,
		      (char *)NULL);
		_exit(127);
	}
	return pid;
}

static int wait_for(pid_t pid)
{
	int status;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static struct raw connect_to(const char *path)
{
	struct raw raw;

	for (int i = 0; i < 300 && !raw_connect(&raw, path); i++)
		bus_sleep_ms(10);
	CHECK(raw.socket >= 0);
	return raw;
}

static struct raw open_raw(void)
{
	struct raw raw = connect_to(socket_path);

	CHECK_EQ(raw_hello(&raw), 0);
	return raw;
}

static void sigterm_ends_it_and_takes_the_socket_away(void)
{
	struct raw raw;
	pid_t pid;

	make_place();
	pid = start(NULL, NULL, 0);
	raw = open_raw();
	kill(pid, SIGTERM);
	CHECK_EQ(wait_for(pid), 0);
	CHECK(access(socket_path, F_OK) < 0);
	CHECK(raw_is_ended(&raw));
}

static void a_stale_socket_is_replaced(void)
{
	struct raw raw;
	pid_t pid;

	make_place();
	pid = start(NULL, NULL, 0);
	raw = open_raw();
	raw_close(&raw);
	kill(pid, SIGKILL);
	wait_for(pid);
	CHECK_EQ(access(socket_path, F_OK), 0);
	pid = start(NULL, NULL, 0);
	raw = open_raw();
	raw_close(&raw);
	kill(pid, SIGTERM);
	CHECK_EQ(wait_for(pid), 0);
}

static void a_socket_that_is_served_is_never_stolen(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct raw raw;
	pid_t pid, second;
	int fd;

	make_place();
	pid = start(NULL, NULL, 0);
	raw = open_raw();
	second = start(NULL, NULL, 0);
	CHECK_EQ(wait_for(second), 1);
	CHECK(log_has("another hugebusd serves"));
	raw_close(&raw);
	raw = open_raw();
	kill(pid, SIGTERM);
	wait_for(pid);
	/* Nor one that does not know of our lock. */
	fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
	CHECK_EQ(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_EQ(listen(fd, 1), 0);
	CHECK_EQ(wait_for(start(NULL, NULL, 0)), 1);
	CHECK(log_has("something listens at"));
	CHECK_EQ(access(socket_path, F_OK), 0);
	close(fd);
	/* Nor a file that is no socket. */
	unlink(socket_path);
	fd = open(socket_path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	CHECK_EQ(wait_for(start(NULL, NULL, 0)), 1);
	CHECK_EQ(access(socket_path, F_OK), 0);
}

static int publish_status(struct raw *raw, const char *topic)
{
	struct hbus_msg_topic msg = { .flags = 0 };

	snprintf(msg.name, sizeof(msg.name), "%s", topic);
	raw_send(raw, &msg, HBUS_MSG_TOPIC_DECLARE, sizeof(msg), NULL, 0);
	return raw_reply(raw)->status;
}

/* A request with a descriptor, which is not a good one. */
static int offer_slots(struct raw *raw)
{
	struct hbus_msg_sub_slots msg = { .sub_id = 1, .n_slots = 64 };

	raw_send(raw, &msg, HBUS_MSG_SUB_SLOTS, sizeof(msg), &(int){ 0 }, 1);
	return raw_reply(raw)->status;
}

static uint64_t count_rows(struct raw *raw, uint32_t kind)
{
	struct hbus_msg_list msg = { .kind = kind };

	raw_send(raw, &msg, HBUS_MSG_LIST, sizeof(msg), NULL, 0);
	return raw_reply(raw)->value[0];
}

static void a_reload_takes_all_or_nothing(void)
{
	struct raw raw;
	pid_t pid;

	make_place();
	write_config("topics = ( { name = \"one\"; } );");
	pid = start("--config", config_path, 0);
	raw = open_raw();
	CHECK_EQ(count_rows(&raw, HBUS_LIST_TOPICS), 1);
	write_config("topics = ( { name = \"one\"; }, { name = \"two\"; } );\nnonsense = 1;\n");
	kill(pid, SIGHUP);
	wait_for_log("conf:2: unknown setting 'nonsense'");
	CHECK_EQ(count_rows(&raw, HBUS_LIST_TOPICS), 1);
	write_config("topics = ( { name = \"three\"; }, { name = \"two\"; } );\n"
		     "routes = ( { to = \"::\"; topic = \"two\"; } );\n");
	kill(pid, SIGHUP);
	wait_for_log("event=reloaded");
	CHECK_EQ(count_rows(&raw, HBUS_LIST_TOPICS), 2);
	CHECK_EQ(count_rows(&raw, HBUS_LIST_ROUTES), 1);
	kill(pid, SIGTERM);
	CHECK_EQ(wait_for(pid), 0);
	write_config("daemon = {\n capacity = 3; };");
	CHECK_EQ(wait_for(start("--config", config_path, 0)), 3);
	CHECK(log_has("conf:2: "));
}

static void what_was_declared_survives_a_kill(void)
{
	struct hbus_msg_route route = {
		.route = { .family = 4, .port = 7, .vlan = HBUS_ROUTE_VLAN_ANY,
			   .kind = HBUS_ROUTE_TOPIC, .topic = "kept" } };
	struct raw raw;
	pid_t pid;

	make_place();
	pid = start(NULL, NULL, 0);
	raw = open_raw();
	CHECK_EQ(publish_status(&raw, "kept"), 0);
	raw_send(&raw, &route, HBUS_MSG_ROUTE_ADD, sizeof(route), NULL, 0);
	CHECK_EQ(raw_reply(&raw)->status, 0);
	kill(pid, SIGKILL);
	wait_for(pid);
	raw_close(&raw);
	pid = start(NULL, NULL, 0);
	raw = open_raw();
	CHECK_EQ(count_rows(&raw, HBUS_LIST_TOPICS), 1);
	CHECK_EQ(count_rows(&raw, HBUS_LIST_ROUTES), 1);
	kill(pid, SIGTERM);
	CHECK_EQ(wait_for(pid), 0);
}

static void the_service_manager_is_told(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char notify_path[300], text[256];
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	pid_t pid;

	make_place();
	snprintf(notify_path, sizeof(notify_path), "%s/notify", directory);
	memcpy(address.sun_path, notify_path, strlen(notify_path) + 1);
	CHECK_EQ(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setenv("NOTIFY_SOCKET", notify_path, 1);
	pid = start(NULL, NULL, 0);
	memset(text, 0, sizeof(text));
	CHECK(recv(fd, text, sizeof(text) - 1, 0) > 0 && strstr(text, "READY=1"));
	kill(pid, SIGHUP);
	memset(text, 0, sizeof(text));
	CHECK(recv(fd, text, sizeof(text) - 1, 0) > 0 && strstr(text, "RELOADING=1\nMONOTONIC_USEC="));
	memset(text, 0, sizeof(text));
	CHECK(recv(fd, text, sizeof(text) - 1, 0) > 0 && strstr(text, "READY=1"));
	kill(pid, SIGTERM);
	memset(text, 0, sizeof(text));
	CHECK(recv(fd, text, sizeof(text) - 1, 0) > 0 && strstr(text, "STOPPING=1"));
	CHECK_EQ(wait_for(pid), 0);
	unsetenv("NOTIFY_SOCKET");
}

/* As root one uid may take all but a share; so no limit but the descriptors themselves is met here. */
/* What it says to who connects: the status, or 1 when it says nothing. A refusal may come before the HELLO. */
static int said(struct raw *raw)
{
	struct hbus_msg_hello msg = { .major = HBUS_PROTO_MAJOR, .name = "raw" };
	const struct hbus_msg_reply *reply;

	(void)raw_send(raw, &msg, HBUS_MSG_HELLO, sizeof(msg), NULL, 0);
	reply = raw_wait(raw, HBUS_MSG_REPLY);
	if (!reply) /* closed with the HELLO unread: the kernel tells that first, and then hands out the reply */
		reply = raw_wait(raw, HBUS_MSG_REPLY);
	return reply ? reply->status : 1;
}

static void without_descriptors_it_refuses_politely_and_serves_on(void)
{
	static struct raw raws[200];
	struct raw first;
	int n_served = 0, n_refused = 0;
	pid_t pid;

	make_place();
	pid = start(NULL, NULL, 64);
	first = open_raw();
	for (int i = 0; i < 200; i++) {
		int status;

		raws[i] = connect_to(socket_path);
		status = said(&raws[i]);
		n_served += status == 0;
		n_refused += status == HBUS_E_LIMIT || status == HBUS_E_QUOTA;
	}
	CHECK(n_served > 2);
	CHECK(n_refused > 100);
	CHECK_EQ(publish_status(&first, "t"), 0);
	for (int i = 0; i < 200; i++)
		raw_close(&raws[i]);
	bus_sleep_ms(50);
	raws[0] = open_raw();
	kill(pid, SIGTERM);
	CHECK_EQ(wait_for(pid), 0);
}

static int fds_of(pid_t pid)
{
	char path[64];
	DIR *dir;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -1;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

/* The limit falls under what quotas were made for: nobody can be accepted, but who comes is told. */
static void when_its_last_descriptor_is_taken_it_still_says_no(void)
{
	struct hbus_msg_sub_open open_msg = { .sub_id = 1 };
	struct rlimit limit = { 0, 0 }, few;
	struct raw first, other;
	int n_fds;
	pid_t pid;

	make_place();
	pid = start(NULL, NULL, 0);
	first = open_raw();
	CHECK_EQ(publish_status(&first, "t"), 0);
	raw_send(&first, &open_msg, HBUS_MSG_SUB_OPEN, sizeof(open_msg), NULL, 0);
	CHECK_EQ(raw_reply(&first)->status, 0);
	CHECK_EQ(prlimit(pid, RLIMIT_NOFILE, NULL, &limit), 0);
	few = limit;
	n_fds = fds_of(pid);
	if (n_fds < 0) {
		kill(pid, SIGTERM);
		CHECK_EQ(wait_for(pid), 0);
		bus_skip("only root may count the daemon's descriptors");
	}
	few.rlim_cur = (rlim_t)n_fds;
	CHECK_EQ(prlimit(pid, RLIMIT_NOFILE, &few, NULL), 0);
	for (int i = 0; i < 3; i++) {
		other = connect_to(socket_path);
		CHECK_EQ(said(&other), HBUS_E_LIMIT);
		raw_close(&other);
	}
	/* Who is there is told what did not fit, and stays. */
	CHECK_EQ(offer_slots(&first), HBUS_E_LIMIT);
	CHECK_EQ(prlimit(pid, RLIMIT_NOFILE, &limit, NULL), 0);
	CHECK_EQ(offer_slots(&first), HBUS_E_BAD_FD);
	other = open_raw();
	raw_close(&other);
	CHECK_EQ(publish_status(&first, "t2"), 0);
	kill(pid, SIGTERM);
	CHECK_EQ(wait_for(pid), 0);
}

static void who_asks_too_often_is_served_slowly(void)
{
	struct hbus_msg_list msg = { .kind = HBUS_LIST_DAEMON };
	struct raw greedy, other;
	uint64_t begin_ms;
	pid_t pid;

	make_place();
	write_config("quotas = { each = { requests_per_s = 20; request_burst = 10; }; };");
	pid = start("--config", config_path, 0);
	greedy = open_raw();
	begin_ms = bus_now_ms();
	for (int i = 0; i < 30; i++)
		raw_send(&greedy, &msg, HBUS_MSG_LIST, sizeof(msg), NULL, 0);
	CHECK(raw_reply(&greedy) != NULL); /* the last one's */
	CHECK(bus_now_ms() - begin_ms >= 800);
	CHECK(bus_now_ms() - begin_ms < 5000);
	other = open_raw(); /* the same user: it waits too, but is served */
	raw_close(&other);
	kill(pid, SIGTERM);
	CHECK_EQ(wait_for(pid), 0);
}

/* It was stopped for longer than a member may be away; who came back meanwhile is not sent away. */
static void a_daemon_that_was_stopped_ends_nobody(void)
{
	struct hbus_msg_sub_open open_msg = { .sub_id = 1 };
	struct hbus_msg_hello hello = { .major = HBUS_PROTO_MAJOR, .name = "raw" };
	const struct hbus_msg_reply *reply;
	struct hbus_token token;
	struct raw raw;
	uint64_t id;
	pid_t pid;

	make_place();
	pid = start(NULL, NULL, 0);
	raw = connect_to(socket_path);
	raw_send(&raw, &hello, HBUS_MSG_HELLO, sizeof(hello), NULL, 0);
	reply = raw_reply(&raw);
	CHECK(reply != NULL);
	token = reply->token;
	id = reply->value[0];
	raw_send(&raw, &open_msg, HBUS_MSG_SUB_OPEN, sizeof(open_msg), NULL, 0);
	CHECK_EQ(raw_reply(&raw)->status, 0);
	raw_close(&raw);
	bus_sleep_ms(100);
	kill(pid, SIGSTOP);
	raw = connect_to(socket_path);
	hello.token = token;
	raw_send(&raw, &hello, HBUS_MSG_HELLO, sizeof(hello), NULL, 0);
	bus_sleep_ms(2500);
	kill(pid, SIGCONT);
	reply = raw_reply(&raw);
	CHECK(reply != NULL);
	CHECK_EQ(reply->value[0], id);
	kill(pid, SIGTERM);
	CHECK_EQ(wait_for(pid), 0);
}

/* ---- users ---- */

static int as_user(uid_t uid, int (*fn)(void))
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		if (setgid(uid) < 0 || setuid(uid) < 0)
			_exit(99);
		_exit(fn());
	}
	return wait_for(pid);
}

static int subscribe_to_t(void)
{
	struct raw raw = open_raw();
	struct hbus_msg_sub_open open_msg = { .sub_id = 1 };
	struct hbus_msg_sub_filter filter = { .sub_id = 1, .filter = "t" };

	raw_send(&raw, &open_msg, HBUS_MSG_SUB_OPEN, sizeof(open_msg), NULL, 0);
	if (raw_reply(&raw)->status != 0)
		return 2;
	raw_send(&raw, &filter, HBUS_MSG_SUB_FILTER_ADD, sizeof(filter), NULL, 0);
	return raw_reply(&raw)->status == HBUS_E_DENIED ? 1 : 0;
}

static int take_topics(void)
{
	struct raw raw = open_raw();
	char name[32];
	int n = 0;

	do
		snprintf(name, sizeof(name), "u%u/%d", (unsigned int)getuid(), n);
	while (publish_status(&raw, name) == 0 && ++n < 200);
	return n;
}

static void start_for_users(const char *config, pid_t *ret_pid)
{
	char *slash;

	if (geteuid() != 0)
		bus_skip("only root can be several users");
	make_place();
	/* The case's directory lets nobody else in; nor does this one, if the umask is so. */
	CHECK_EQ(chmod(directory, 0755), 0);
	slash = strrchr(directory, '/');
	*slash = '\0';
	CHECK_EQ(chmod(directory, 0755), 0);
	*slash = '/';
	write_config(config);
	*ret_pid = start("--config", config_path, 0);
	connect_to(socket_path);
}

static void users_are_kept_apart_by_policy(void)
{
	pid_t pid;

	start_for_users("topics = ( { name = \"t\"; } );\n"
			"policy = ( { uid = 65533; filter = \"t\"; allow = [ \"subscribe\" ]; },\n"
			"{ uid = 65534; filter = \"t\"; deny = [ \"subscribe\" ]; } );", &pid);
	CHECK_EQ(as_user(65533, subscribe_to_t), 0);
	CHECK_EQ(as_user(65534, subscribe_to_t), 1);
	kill(pid, SIGTERM);
	CHECK_EQ(wait_for(pid), 0);
}

static void one_user_that_takes_all_it_can_leaves_the_next_its_share(void)
{
	pid_t pid;

	start_for_users("quotas = { total = { topics = 120; }; users = ( { uid = 65532; topics = 7; } ); };",
			&pid);
	CHECK_EQ(as_user(65533, take_topics), 60);
	CHECK_EQ(as_user(65534, take_topics), 20);
	CHECK_EQ(as_user(65532, take_topics), 7);
	kill(pid, SIGTERM);
	CHECK_EQ(wait_for(pid), 0);
}

static const struct bus_case cases[] = {
	{ "sigterm_ends_it_and_takes_the_socket_away", sigterm_ends_it_and_takes_the_socket_away },
	{ "a_stale_socket_is_replaced", a_stale_socket_is_replaced },
	{ "a_socket_that_is_served_is_never_stolen", a_socket_that_is_served_is_never_stolen },
	{ "a_reload_takes_all_or_nothing", a_reload_takes_all_or_nothing },
	{ "what_was_declared_survives_a_kill", what_was_declared_survives_a_kill },
	{ "the_service_manager_is_told", the_service_manager_is_told },
	{ "without_descriptors_it_refuses_politely_and_serves_on",
	  without_descriptors_it_refuses_politely_and_serves_on },
	{ "when_its_last_descriptor_is_taken_it_still_says_no",
	  when_its_last_descriptor_is_taken_it_still_says_no },
	{ "who_asks_too_often_is_served_slowly", who_asks_too_often_is_served_slowly },
	{ "a_daemon_that_was_stopped_ends_nobody", a_daemon_that_was_stopped_ends_nobody },
	{ "users_are_kept_apart_by_policy", users_are_kept_apart_by_policy },
	{ "one_user_that_takes_all_it_can_leaves_the_next_its_share",
	  one_user_that_takes_all_it_can_leaves_the_next_its_share },
};

int main(int argc, char **argv)
{
	return bus_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
