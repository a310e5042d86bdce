/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon's ops do in the simulated world: descriptors, memory, messages, the journal, processes. */
#include "tests/stress/state_world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FDS_MAX 65536

static struct object objects[FDS_MAX]; /* of each descriptor that the daemon was given */

/* ---- descriptors and memory ---- */

int world_fd(struct world *w, struct object object)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fd >= FDS_MAX)
		world_fail(w, "the daemon forgets descriptors: %d", fd);
	objects[fd] = object;
	return fd;
}

struct hbus_fd *world_handle(struct world *w, struct object object)
{
	return hbus_fd_new(world_fd(w, object));
}

static void ring_fds(struct world *w, enum object_kind kind, uint64_t id, struct hbus_fd *ret_fds[2])
{
	for (uint32_t i = 0; i < 2; i++)
		ret_fds[i] = world_handle(w, (struct object){kind, i, id});
}

struct memory *world_memory(struct world *w, uint64_t ring_id)
{
	for (size_t i = w->n_memories; i-- > 0;)
		if (w->memories[i].ring_id == ring_id)
			return &w->memories[i];
	return NULL;
}

/* ---- what the daemon does ---- */

/* Each action that somebody else can see is one before which it may be killed. */
static bool acts(struct world *w)
{
	if (w->actions_left > 0 && --w->actions_left == 0) {
		w->is_killed = true;
		w->n_kills_inside++;
	}
	return !w->is_killed;
}

static void answered(struct world *w, struct conn *conn, const struct hbus_msg_header *header)
{
	const struct hbus_msg_reply *reply = (const void *)header;

	for (size_t i = 0; i < conn->n_unanswered; i++) {
		if (conn->unanswered[i].serial != header->serial)
			continue;
		conn->unanswered[i] = conn->unanswered[--conn->n_unanswered];
		return;
	}
	if (header->type == HBUS_MSG_REPLY && reply->status == HBUS_E_PROTOCOL)
		return;
	world_fail(w, "a reply (type %u) to serial %u, which was answered or never asked", header->type, header->serial);
}

static void op_send(void *context, void *at, const void *msg, struct hbus_fd *const *fds, size_t n_fds)
{
	const struct hbus_msg_header *header = msg;
	struct world *w = context;
	struct conn *conn = at;
	struct frame *frame;

	if (!acts(w) || conn->is_closed || conn->is_hung_up)
		return;
	if (header->n_fds != n_fds || header->size > HBUS_MSG_SIZE_MAX)
		world_fail(w, "a message of type %u with %zu descriptors says %u", header->type, n_fds, header->n_fds);
	if (header->type == HBUS_MSG_REPLY || header->type == HBUS_MSG_RING_GRANT)
		answered(w, conn, header);
	if (header->type == HBUS_MSG_RING_OPENED) {
		const struct hbus_msg_ring_opened *opened = msg;

		if (!(opened->flags & HBUS_OPENED_NO_SLOT) && !client_has_gate(w, opened->geometry.ring_id, opened->gate_id))
			world_fail(w, "ring %llx is shown before its publisher has the gate",
				   (unsigned long long)opened->geometry.ring_id);
	}
	if (w->bug == BUG_SEND_DROPS && header->type == HBUS_MSG_GATE_REMOVE && world_random(w, 8) == 0)
		return;
	frame = calloc(1, sizeof(*frame));
	memcpy(frame->bytes, msg, header->size);
	frame->size = header->size;
	frame->n_fds = n_fds;
	for (size_t i = 0; i < n_fds; i++) {
		if (!fds[i] || fds[i]->n_refs == 0 || objects[fds[i]->fd].kind == OBJECT_NONE)
			world_fail(w, "a message of type %u with a descriptor that is not open", header->type);
		frame->objects[i] = objects[fds[i]->fd];
	}
	queue_push(&conn->to_client, frame);
	world_trace(w, "daemon to", conn->member_id, msg);
	if (w->bug == BUG_REPLY_TWICE && header->type == HBUS_MSG_REPLY && world_random(w, 200) == 0)
		op_send(context, at, msg, fds, n_fds);
}

static void op_disconnect(void *context, void *at)
{
	struct world *w = context;
	struct conn *conn = at;

	if (!acts(w))
		return;
	conn->is_closed = true;
	conn->member = NULL;
	conn->n_unanswered = 0;
	queue_clear(&conn->to_daemon);
}

static void op_random(void *context, void *bytes, size_t size)
{
	struct world *w = context;

	memset(bytes, 0x5a, size);
	w->next_token++;
	memcpy(bytes, &w->next_token, sizeof(w->next_token));
}

static int op_ring_make(void *context, struct hbus_geometry *geometry, uint32_t want, struct hbus_fd *ret_fds[2])
{
	struct world *w = context;

	(void)want;
	if (!acts(w) || world_random(w, 40) == 0)
		return HBUS_E_NO_MEMORY;
	if (w->n_memories == WORLD_MEMORIES)
		world_fail(w, "more rings than the simulation has room for");
	w->memories[w->n_memories++] = (struct memory){.ring_id = geometry->ring_id, .n_daemon = 1};
	ring_fds(w, OBJECT_RING_WRITE, geometry->ring_id, ret_fds);
	return 0;
}

static bool is_ring(const struct hbus_fd *fd, enum object_kind kind, uint32_t part, uint64_t id)
{
	const struct object *object = &objects[fd->fd];

	return object->kind == kind && object->part == part && object->id == id;
}

static int op_ring_seal(void *context, const struct hbus_geometry *geometry, struct hbus_fd *const fds[2],
			struct hbus_fd *ret_fds[2])
{
	struct world *w = context;
	struct memory *memory = world_memory(w, geometry->ring_id);

	if (!memory || !is_ring(fds[0], OBJECT_RING_WRITE, 0, memory->ring_id) ||
	    !is_ring(fds[1], OBJECT_RING_WRITE, 1, memory->ring_id))
		world_fail(w, "another ring's memory is sealed");
	if (!acts(w) || world_random(w, 60) == 0)
		return HBUS_E_BAD_FD;
	memory->is_sealed = true;
	ring_fds(w, w->bug == BUG_READ_IS_WRITE ? OBJECT_RING_WRITE : OBJECT_RING_READ, memory->ring_id, ret_fds);
	return 0;
}

static int op_ring_adopt(void *context, const struct hbus_geometry *geometry, struct hbus_fd *const fds[2],
			 struct hbus_fd *ret_fds[2])
{
	struct world *w = context;
	struct memory *memory = world_memory(w, geometry->ring_id);

	if (!memory || !memory->is_sealed || !is_ring(fds[0], OBJECT_RING_WRITE, 0, memory->ring_id) ||
	    !is_ring(fds[1], OBJECT_RING_WRITE, 1, memory->ring_id))
		return HBUS_E_BAD_FD;
	if (!acts(w))
		return HBUS_E_BAD_FD;
	memory->n_daemon++;
	ring_fds(w, OBJECT_RING_READ, memory->ring_id, ret_fds);
	return 0;
}

static void op_ring_gone(void *context, const struct hbus_geometry *geometry)
{
	struct world *w = context;
	struct memory *memory = world_memory(w, geometry->ring_id);

	if (!w->is_killed && memory)
		memory->n_daemon--;
}

static int op_slots_check(void *context, struct hbus_fd *fd, uint32_t n_slots)
{
	(void)context;
	return objects[fd->fd].kind == OBJECT_SLOTS && n_slots > 0 ? 0 : HBUS_E_BAD_FD;
}

static int op_counters_check(void *context, struct hbus_fd *fd, uint32_t *ret_n)
{
	(void)context;
	(void)fd;
	*ret_n = 1;
	return 0;
}

static int op_doorbell_make(void *context, struct hbus_fd *ret_fds[2])
{
	struct world *w = context;

	w->next_doorbell++;
	for (uint32_t i = 0; i < 2; i++)
		ret_fds[i] = world_handle(w, (struct object){OBJECT_DOORBELL, i, w->next_doorbell});
	return 0;
}

static void op_slot_read(void *context, struct hbus_fd *fd, uint32_t slot_idx, struct hbus_slot_stats *stats)
{
	(void)context;
	(void)fd;
	stats->delivered = slot_idx;
}

static void op_ring_read(void *context, const struct hbus_geometry *geometry, struct hbus_fd *const fds[2],
			 struct hbus_ring_stats *stats)
{
	(void)context;
	(void)geometry;
	(void)fds;
	stats->sequence = 1;
}

static bool op_counter_read(void *context, struct hbus_fd *fd, uint32_t idx, char name[64], uint64_t *ret_value)
{
	(void)context;
	(void)fd;
	name[0] = '\0';
	*ret_value = 0;
	return idx < 1;
}

static void op_daemon_read(void *context, struct hbus_daemon_stats *stats)
{
	(void)context;
	memset(stats, 0, sizeof(*stats));
}

static bool is_same_entry(const struct hbus_journal_record *a, const struct hbus_journal_record *b)
{
	return a->kind == b->kind && a->id == b->id && a->topic_id == b->topic_id && memcmp(&a->route, &b->route, sizeof(a->route)) == 0;
}

void world_journal_put(struct world *w, const struct hbus_journal_record *record)
{
	for (size_t i = 0; i < w->n_journal; i++) {
		if (!is_same_entry(&w->journal[i], record))
			continue;
		w->journal[i] = *record;
		return;
	}
	if (w->n_journal == WORLD_JOURNAL)
		world_fail(w, "the journal holds %zu things", w->n_journal);
	w->journal[w->n_journal++] = *record;
}

static void journal_take(struct world *w, const struct hbus_journal_record *record, enum hbus_record_kind kind)
{
	struct hbus_journal_record gone = *record;

	gone.kind = kind;
	for (size_t i = 0; i < w->n_journal; i++) {
		if (!is_same_entry(&w->journal[i], &gone))
			continue;
		memmove(&w->journal[i], &w->journal[i + 1], (w->n_journal - i - 1) * sizeof(gone));
		w->n_journal--;
		return;
	}
	world_fail(w, "the journal is told that something is gone (kind %d, %llx) that it never knew", record->kind,
		   (unsigned long long)record->id);
}

/* What a ring carried goes with it. */
static void journal_forget_topics(struct world *w, uint64_t ring_id)
{
	size_t n = 0;

	for (size_t i = 0; i < w->n_journal; i++)
		if (w->journal[i].kind != HBUS_RECORD_RING_TOPIC || w->journal[i].id != ring_id)
			w->journal[n++] = w->journal[i];
	w->n_journal = n;
}

static void op_persist(void *context, const struct hbus_journal_record *record)
{
	struct world *w = context;

	if (!acts(w))
		return;
	if (w->bug == BUG_JOURNAL_DROPS && record->kind == HBUS_RECORD_RING_GONE && world_random(w, 4) == 0)
		return;
	switch (record->kind) {
	case HBUS_RECORD_TOPIC:
	case HBUS_RECORD_MEMBER:
	case HBUS_RECORD_RING:
	case HBUS_RECORD_RING_TOPIC:
	case HBUS_RECORD_ROUTE:
		world_journal_put(w, record);
		break;
	case HBUS_RECORD_TOPIC_GONE:
		journal_take(w, record, HBUS_RECORD_TOPIC);
		break;
	case HBUS_RECORD_MEMBER_GONE:
		journal_take(w, record, HBUS_RECORD_MEMBER);
		break;
	case HBUS_RECORD_RING_GONE:
		journal_take(w, record, HBUS_RECORD_RING);
		journal_forget_topics(w, record->id);
		break;
	case HBUS_RECORD_ROUTE_GONE:
		journal_take(w, record, HBUS_RECORD_ROUTE);
		break;
	}
}

static int op_reload(void *context, char *text, size_t size)
{
	(void)context;
	(void)text;
	(void)size;
	return 0;
}

static void op_log(void *context, enum hbus_log_level level, const struct hbus_member *member, const char *text)
{
	const struct world *w = context;

	(void)level;
	if (w->is_verbose)
		printf("%8llu daemon %llx: %s\n", (unsigned long long)w->step,
		       member ? (unsigned long long)hbus_member_id(member) : 0, text);
}

static uint64_t op_process_began(void *context, int32_t pid, const struct hbus_fd *pidfd)
{
	struct world *w = context;

	if (objects[pidfd->fd].kind != OBJECT_PIDFD || objects[pidfd->fd].id != (uint64_t)pid)
		world_fail(w, "a member's process is another's");
	return (uint64_t)pid + 1;
}

bool world_is_alive(const struct world *w, uint64_t process)
{
	for (int i = 0; i < WORLD_CLIENTS; i++)
		if (w->clients[i].process == process)
			return true;
	return false;
}

static int op_process_watch(void *context, uint64_t member_id, int32_t pid, uint64_t began)
{
	struct world *w = context;

	if (began != (uint64_t)pid + 1)
		world_fail(w, "the journal says another process");
	if (!acts(w) || world_random(w, 4) == 0)
		return -1;
	if (!world_is_alive(w, (uint64_t)pid))
		return 0;
	if (member_id == 0)
		return 1;
	if (w->n_watches == sizeof(w->watches) / sizeof(w->watches[0]))
		return -1;
	w->watches[w->n_watches].member_id = member_id;
	w->watches[w->n_watches++].process = (uint64_t)pid;
	return 1;
}

struct hbus_state_ops world_ops(struct world *w)
{
	return (struct hbus_state_ops){
		w,		  op_send,	op_disconnect, op_random,	 op_ring_make,
		op_ring_seal,	  op_ring_adopt, op_ring_gone, op_slots_check,	 op_counters_check,
		op_doorbell_make, op_slot_read, op_ring_read,  op_counter_read,	 op_daemon_read,
		op_persist,	  op_reload,	op_log,	       op_process_began, op_process_watch,
	};
}
