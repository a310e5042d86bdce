/* SPDX-License-Identifier: BSD-3-Clause */
/* The surroundings of the daemon: sockets, time, its life and its death between two actions. */
#include "tests/stress/state_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINGER_NS 1500000000ull
#define REPLY_NS 2500000000ull

const char *const world_bugs[BUG_MAX] = {"none", "journal-drops", "reply-twice", "send-drops", "read-is-write"};
const char *const world_topics[WORLD_N_TOPICS] = {"a", "a/b", "a/c", "b", "b/c/d", "c"};
const char *const world_filters[WORLD_N_FILTERS] = {"#", "a/#", "+/c", "b", "a/b", "+"};

void world_fail(struct world *w, const char *format, ...)
{
	va_list args;

	printf("seed %llu, step %llu: ", (unsigned long long)w->seed, (unsigned long long)w->step);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\nAlone: sim_state --seed %llu --bug %s\n", (unsigned long long)w->seed, world_bugs[w->bug]);
	fflush(stdout);
	_exit(1);
}

uint32_t world_random(struct world *w, uint32_t n)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (uint32_t)((w->random * 0x2545f4914f6cdd1dull >> 32) % n);
}

/* The first eight words behind the header say most of what there is to say. */
void world_trace(const struct world *w, const char *who, uint64_t id, const void *msg)
{
	const struct hbus_msg_header *header = msg;
	uint64_t words[8];

	if (!w->is_verbose)
		return;
	memcpy(words, (const char *)msg + sizeof(*header), sizeof(words));
	printf("%8llu %s %llx: type %u serial %u:", (unsigned long long)w->step, who, (unsigned long long)id, header->type,
	       header->serial);
	for (size_t i = 0; i < 8 && 16 + 8 * i < header->size; i++)
		printf(" %llx", (unsigned long long)words[i]);
	putchar('\n');
}

/* ---- queues ---- */

void queue_init(struct queue *queue)
{
	queue->first = NULL;
	queue->tail = &queue->first;
	queue->n = 0;
}

void queue_push(struct queue *queue, struct frame *frame)
{
	frame->next = NULL;
	*queue->tail = frame;
	queue->tail = &frame->next;
	queue->n++;
}

struct frame *queue_pop(struct queue *queue)
{
	struct frame *frame = queue->first;

	if (!frame)
		return NULL;
	queue->first = frame->next;
	if (!queue->first)
		queue->tail = &queue->first;
	queue->n--;
	return frame;
}

void queue_clear(struct queue *queue)
{
	struct frame *frame;

	while ((frame = queue_pop(queue)))
		free(frame);
}

/* ---- its life ---- */

static void rewrite(void *context, const struct hbus_journal_record *record)
{
	world_journal_put(context, record);
}

void world_start(struct world *w)
{
	const struct hbus_state_ops ops = world_ops(w);
	const struct hbus_state_options options = {4711, ++w->boot_number, 77, 1};
	struct hbus_journal_record *old = calloc(WORLD_JOURNAL, sizeof(*old));
	size_t n = w->n_journal;

	/* Until the journal is written anew, the old one is the journal. */
	memcpy(old, w->journal, n * sizeof(*old));
	w->is_killed = false;
	w->actions_left = 0;
	w->state = hbus_state_new(&w->config, &ops, &options, w->now_ns);
	for (size_t i = 0; i < n; i++)
		hbus_state_restore(w->state, &old[i]);
	w->n_journal = 0;
	hbus_state_save(w->state, rewrite, w);
	free(old);
	if (w->n_kills > 0 && world_random(w, 4) == 0)
		w->actions_left = 1 + world_random(w, 6);
	hbus_state_restored(w->state, w->now_ns);
	world_settle(w);
}

/* Its sockets are closed; what it had sent is still there to be read, but for what it had only queued. */
static void lose_conns(struct world *w)
{
	for (struct conn *conn = w->conns; conn; conn = conn->next) {
		size_t n_kept = world_random(w, 4) ? conn->to_client.n : world_random(w, (uint32_t)conn->to_client.n + 1);
		struct queue kept;
		struct frame *frame;

		conn->member = NULL;
		conn->is_closed = true;
		conn->n_unanswered = 0;
		queue_clear(&conn->to_daemon);
		queue_init(&kept);
		while (kept.n < n_kept && (frame = queue_pop(&conn->to_client)))
			queue_push(&kept, frame);
		queue_clear(&conn->to_client);
		while ((frame = queue_pop(&kept)))
			queue_push(&conn->to_client, frame);
	}
}

void world_kill(struct world *w)
{
	w->is_killed = true;
	hbus_state_free(w->state);
	w->state = NULL;
	w->n_kills++;
	for (size_t i = 0; i < w->n_memories; i++)
		w->memories[i].n_daemon = 0;
	w->n_watches = 0;
	lose_conns(w);
	w->restart_ns = w->now_ns + world_random(w, 1500) * 1000000ull;
}

void world_settle(struct world *w)
{
	if (w->is_killed && w->state)
		world_kill(w);
}

void world_free(struct world *w)
{
	if (w->state)
		hbus_state_free(w->state);
	while (w->conns) {
		struct conn *conn = w->conns;

		w->conns = conn->next;
		queue_clear(&conn->to_daemon);
		queue_clear(&conn->to_client);
		free(conn);
	}
	hbus_config_deinit(&w->config);
}

/* ---- what it is told ---- */

struct conn *world_connect(struct world *w, struct client *client)
{
	struct conn *conn = calloc(1, sizeof(*conn));

	conn->client = client;
	conn->process = client->process;
	conn->uid = client->uid;
	conn->is_process_alive = true;
	queue_init(&conn->to_daemon);
	queue_init(&conn->to_client);
	conn->next = w->conns;
	w->conns = conn;
	return conn;
}

void world_accept(struct world *w, struct conn *conn)
{
	const struct hbus_cred cred = {.uid = conn->uid, .gid = conn->uid};

	if (!w->state || conn->is_closed || conn->is_accepted)
		return;
	conn->is_accepted = true;
	conn->member = hbus_state_connect(w->state, conn, &cred, (int32_t)conn->process,
					  world_handle(w, (struct object){OBJECT_PIDFD, 0, conn->process}), w->now_ns);
	if (conn->member)
		conn->member_id = hbus_member_id(conn->member);
	else
		conn->is_closed = true;
	world_settle(w);
}

static void note_request(struct world *w, struct conn *conn, const struct frame *frame)
{
	const struct hbus_msg_header *header = (const void *)frame->bytes;

	if (frame->size < sizeof(*header) || header->type >= HBUS_MSG_RING_ACCEPT || header->serial == 0)
		return;
	if (conn->n_unanswered == sizeof(conn->unanswered) / sizeof(conn->unanswered[0]))
		world_fail(w, "%zu requests are not answered", conn->n_unanswered);
	conn->unanswered[conn->n_unanswered++] = (struct unanswered){header->serial, header->type, w->now_ns};
}

void world_deliver(struct world *w, struct conn *conn)
{
	struct frame *frame;
	int fds[HBUS_MSG_FDS_MAX];

	world_accept(w, conn);
	if (!w->state || !conn->member)
		return;
	frame = queue_pop(&conn->to_daemon);
	if (!frame)
		return;
	for (size_t i = 0; i < frame->n_fds; i++)
		fds[i] = world_fd(w, frame->objects[i]);
	note_request(w, conn, frame);
	world_trace(w, "daemon from", conn->member_id, frame->bytes);
	w->n_messages++;
	conn->member = hbus_state_message(w->state, conn->member, frame->bytes, frame->size, fds, frame->n_fds, w->now_ns);
	if (conn->member)
		conn->member_id = hbus_member_id(conn->member);
	free(frame);
	world_settle(w);
}

/* A socket that its client closed: what it had said before may be lost with it. */
void world_hang_up(struct world *w, struct conn *conn)
{
	struct hbus_member *member;

	while (w->state && conn->member && conn->to_daemon.n > 0 && world_random(w, 16) != 0)
		world_deliver(w, conn);
	if (!w->state || !conn->member)
		return;
	member = conn->member;
	conn->member = NULL;
	conn->is_hung_up = true;
	conn->n_unanswered = 0;
	conn->until_ns = w->now_ns + LINGER_NS;
	queue_clear(&conn->to_daemon);
	hbus_state_hangup(w->state, member, w->now_ns);
	if (!hbus_state_is_away(w->state, conn->member_id))
		conn->is_closed = true;
	world_settle(w);
}

void world_process_ended(struct world *w, struct conn *conn)
{
	if (conn->is_closed || !conn->is_accepted)
		return;
	while (w->state && conn->member && conn->to_daemon.n > 0)
		world_deliver(w, conn);
	if (!w->state || conn->is_closed)
		return;
	conn->is_closed = true;
	conn->n_unanswered = 0;
	hbus_state_died(w->state, conn->member_id, conn, w->now_ns);
	conn->member = NULL;
	world_settle(w);
}

void world_watch(struct world *w)
{
	for (size_t i = 0; w->state && i < w->n_watches; i++) {
		uint64_t member_id = w->watches[i].member_id;

		if (world_is_alive(w, w->watches[i].process))
			continue;
		w->watches[i--] = w->watches[--w->n_watches];
		hbus_state_died(w->state, member_id, NULL, w->now_ns);
		world_settle(w);
	}
}

bool world_is_watched(const struct world *w, uint64_t member_id)
{
	for (size_t i = 0; i < w->n_watches; i++)
		if (w->watches[i].member_id == member_id)
			return true;
	return false;
}

void world_tick(struct world *w, uint64_t ms)
{
	bool was_restarting = w->state && w->state->is_restarting;

	w->now_ns += ms * 1000000;
	if (!w->state)
		return;
	hbus_state_tick(w->state, w->now_ns);
	/* Who is not back by now has no right to its place any more. */
	if (was_restarting && !w->state->is_restarting)
		for (int i = 0; i < WORLD_CLIENTS; i++)
			w->clients[i].was_given_up |= w->clients[i].boot_number != w->boot_number;
	world_settle(w);
	for (struct conn *conn = w->conns; w->state && conn; conn = conn->next)
		for (size_t i = 0; i < conn->n_unanswered; i++)
			if (w->now_ns - conn->unanswered[i].at_ns > REPLY_NS)
				world_fail(w, "request of type %u is not answered after 2.5 s", conn->unanswered[i].type);
	for (struct conn *conn = w->conns; conn; conn = conn->next)
		conn->is_closed |= conn->is_hung_up && conn->until_ns <= w->now_ns;
}

/* Sockets that neither side needs any more. */
void world_sweep(struct world *w)
{
	for (struct conn **at = &w->conns; *at;) {
		struct conn *conn = *at;

		if (conn->client || !(conn->is_closed || !conn->is_accepted)) {
			at = &conn->next;
			continue;
		}
		*at = conn->next;
		queue_clear(&conn->to_daemon);
		queue_clear(&conn->to_client);
		free(conn);
	}
}

/* ---- the administrator ---- */

void world_configure(struct world *w, uint32_t variant)
{
	struct hbus_config *config = &w->config;

	if (!config->rules) {
		config->rules = calloc(3, sizeof(*config->rules));
		config->topics = calloc(1, sizeof(*config->topics));
	}
	config->n_rules = variant % 4;
	config->rules[0] = (struct hbus_policy_rule){.is_allowed = true, .subject = HBUS_SUBJECT_ANY,
		.rights = HBUS_RIGHT_SUBSCRIBE | HBUS_RIGHT_RELIABLE, .filter = "#"};
	config->rules[1] = (struct hbus_policy_rule){.is_allowed = false, .subject = HBUS_SUBJECT_UID, .id = 1001,
		.rights = HBUS_RIGHT_SUBSCRIBE, .filter = "a/b"};
	config->rules[2] = (struct hbus_policy_rule){.is_allowed = false, .subject = HBUS_SUBJECT_ANY,
		.rights = HBUS_RIGHT_RELIABLE, .filter = "b/#"};
	strcpy(config->topics[0].name, "c");
	config->topics[0].is_hot = variant & 8;
	config->n_topics = variant >> 4 & 1;
	if (w->state)
		hbus_state_configure(w->state, config, w->now_ns);
	world_settle(w);
}
