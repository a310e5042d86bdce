/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Inside the state machine: its objects and who owns them
 *
 *	state -> members -> rings ------> ring topics <-- topics
 *	             |         |
 *	             |         +--------> attachments
 *	             +----> subscribers -----^
 *	                       +-> filters, slot memfds, doorbells
 *
 * An attachment is one subscriber on one ring. It is owned by both and freed when neither needs it:
 * the ring's side until GATE_REMOVED, the subscriber's until SUB_RING_DONE.
 */
#pragma once

#include <sys/queue.h>

#include "ctl/client/hugebus.h" /* enum hbus_error */
#include "ctl/daemon/deadline.h"
#include "ctl/daemon/quota.h"
#include "ctl/daemon/state.h"
#include "ctl/daemon/table.h"
#include "ctl/proto/text.h"
#include "ctl/proto/topic_trie.h"

#define HBUS_ATTACH_NONE UINT32_MAX

/* -- topics -- */

#define HBUS_TOPIC_DECLARED 1u	 /* at run time; survives */
#define HBUS_TOPIC_CONFIGURED 2u /* by the configuration */
#define HBUS_TOPIC_HOT 4u	 /* has a ring of its own */

struct hbus_topic {
	struct hbus_table_node by_id;
	struct hbus_trie_entry by_name;
	uint32_t id;
	uint32_t flags;
	uint32_t n_wanted; /* subscribers whose matched bit is set */
	uid_t owner;	   /* HBUS_UID_NONE: nobody's */
	struct hbus_account *account; /* charged for it; NULL for configured ones */
	bool was_restored; /* from the journal: a ring that is not back yet may carry it */
	LIST_HEAD(, hbus_ring_topic) rings;
	char name[HBUS_TOPIC_NAME_MAX + 1];
	char type[64];
	char content_type[64];
};

/* This ring carries this topic. */
struct hbus_ring_topic {
	struct hbus_topic *topic;
	struct hbus_ring *ring;
	LIST_ENTRY(hbus_ring_topic) in_topic;
	TAILQ_ENTRY(hbus_ring_topic) in_ring;
};

/* -- requests that are answered later -- */

/* What a client is told that asked for more than the daemon has memory for. */
#define HBUS_NO_MEMORY_TEXT "the daemon has no memory"

struct hbus_pending {
	TAILQ_ENTRY(hbus_pending) link; /* in the member */
	struct hbus_member *member;
	struct hbus_deadline deadline;
	uint32_t serial;
	uint16_t request_type;
	uint32_t n_waiting; /* attachments that refer to it, and one while it is being set up */
	uint64_t value[4];
	int status;
	const char *text;
	struct hbus_subscriber_state *sub; /* SUB_CLOSE: free it with the reply */
};

/* -- rings -- */

enum hbus_ring_phase {
	HBUS_RING_GRANTED,   /* its publisher maps it */
	HBUS_RING_ANNOUNCING, /* sealed; first gates are being installed */
	HBUS_RING_RUNNING,
	HBUS_RING_RESTORED, /* from the journal; its publisher has not brought it back yet */
	HBUS_RING_ENDED,    /* nothing more comes; readers may still map it */
};

struct hbus_ring {
	struct hbus_table_node by_id;
	TAILQ_ENTRY(hbus_ring) in_member;
	struct hbus_member *owner; /* NULL when ended */
	struct hbus_account *account;
	uid_t uid;
	uint64_t publisher_id; /* member id, stays after the end */
	char publisher_name[64];
	struct hbus_geometry geometry;
	struct hbus_token token;
	enum hbus_ring_phase phase;
	bool is_said;	     /* since its member came back */
	bool was_restored;   /* came from the journal: which attach indexes are used is not known yet */
	bool is_memory_held; /* the daemon holds its descriptors and accounts for them */
	bool was_running;    /* before it ended */
	bool is_in_end;	     /* being ended or freed: not to be freed by others */
	uint32_t end_flags;
	struct hbus_fd *write_fds[2]; /* until sealed */
	struct hbus_fd *read_fds[2];
	uint64_t birth;		       /* order among rings and filters; 0 = before the restart */
	struct hbus_pending *announce; /* RING_MAPPED, while gates are being installed */
	uint32_t n_gates_pending;      /* of these */
	struct hbus_deadline deadline; /* of the end */
	struct hbus_ring_stats stats; /* for lists; read at most so often */
	uint64_t stats_at_ns;
	TAILQ_HEAD(, hbus_ring_topic) topics;
	uint32_t n_topics;
	uint64_t judged_at;  /* the policy for which is_uniform holds; 0 = none */
	bool is_uniform;     /* who may read one of its topics may read all */
	LIST_HEAD(, hbus_attachment) attachments;
	uint32_t n_attachments;
	struct hbus_attachment *by_idx[HBUS_RING_WAKERS_MAX];
};

/* -- attachments -- */

enum hbus_gate_phase {
	HBUS_GATE_NONE,	    /* the publisher knows nothing of it */
	HBUS_GATE_ADDING,   /* GATE_ADD was sent */
	HBUS_GATE_INSTALLED,
	HBUS_GATE_REMOVING, /* GATE_REMOVE was sent */
};

enum hbus_reader_phase {
	HBUS_READER_WAITING, /* for the gate, or a slot */
	HBUS_READER_OPENED,  /* RING_OPENED was sent, or RING_LIVE to one that was LEAVING */
	HBUS_READER_MAPPED,  /* accepted */
	HBUS_READER_LEAVING, /* RING_ENDED was sent: SUB_RING_DONE will come */
	HBUS_READER_GONE,    /* done, refused, or its subscriber is gone */
};

struct hbus_attachment {
	LIST_ENTRY(hbus_attachment) in_ring;
	LIST_ENTRY(hbus_attachment) in_sub;
	struct hbus_ring *ring;		    /* NULL: the ring is freed */
	struct hbus_subscriber_state *sub;  /* NULL: the subscriber is gone */
	uint64_t gate_id;
	enum hbus_gate_phase gate;
	enum hbus_reader_phase reader;
	uint32_t attach_idx; /* or HBUS_ATTACH_NONE */
	uint32_t memfd_idx;  /* or HBUS_ATTACH_NONE: it has no slot yet */
	uint32_t slot_idx;
	bool is_from_start;
	bool is_without_gate; /* RING_OPENED said NO_SLOT */
	bool is_held;	      /* said again since its subscriber came back */
	bool is_wanted_again; /* asked for when it was too late to stay: attached anew when this is over */
	bool cannot_stay;     /* and it has said so itself, and noted the place: not asked again */
	uint32_t stay_serial; /* of the RING_LIVE that told it to stay, while that is not answered; else 0 */
	bool is_announcing;   /* counts in the ring's n_gates_pending */
	uint32_t end_flags;   /* of the RING_ENDED that it answers, when it is LEAVING */
	bool is_end_said;     /* RING_ENDED was sent on the connection that its subscriber has now */
	bool was_claimed;     /* this daemon knows it by SUB_HELD alone */
	uint64_t n_charged;   /* bytes of an ended ring that the reader pays for */
	struct hbus_account *charged;
	struct hbus_doorbell *doorbell;
	struct hbus_fd *pidfd, *slots; /* what GATE_ADD sends */
	struct hbus_deadline deadline;
	struct hbus_pending *opening;  /* request that waits until the reader was told, and reads */
	struct hbus_pending *accepting; /* request that waits until the reader has mapped */
	struct hbus_pending *closing;  /* request that waits until it is all over */
};

/* -- subscribers -- */

struct hbus_filter {
	struct hbus_trie_entry in_state; /* among all filters */
	struct hbus_trie_entry in_sub;
	TAILQ_ENTRY(hbus_filter) link;
	struct hbus_subscriber_state *sub;
	uint64_t birth;
	uint64_t covers_from; /* rings of before the restart with this id or a later one came after the filter */
	bool is_said;		      /* since its member came back */
	struct hbus_pending *waiting; /* SUB_FILTER_ADD that waits for the end of the restart */
	char text[HBUS_TOPIC_NAME_MAX + 1];
};

struct hbus_slot_memfd {
	struct hbus_fd *fd;
	uint32_t n_slots, n_used;
	uint64_t *used; /* bits */
};

/* A slot that the subscriber still uses for a ring that this daemon does not know, or not as its own. */
struct hbus_kept_slot {
	LIST_ENTRY(hbus_kept_slot) link;
	uint64_t ring_id;
	uint32_t memfd_idx, slot_idx;
	bool is_said; /* since its member came back */
};

/* One socket pair between a subscriber and a publisher's process. */
struct hbus_doorbell {
	LIST_ENTRY(hbus_doorbell) link;
	uint64_t publisher_id;
	uint32_t n_refs;
	struct hbus_fd *publisher_end;
	struct hbus_fd *subscriber_end;
	bool is_sent; /* on the connection that the subscriber has now */
	struct hbus_account *account;
};

struct hbus_subscriber_state {
	LIST_ENTRY(hbus_subscriber_state) link;
	struct hbus_member *member;
	uint32_t id;
	uint32_t flags; /* HBUS_SUB_* */
	uint32_t stall_ms;
	bool is_said;
	bool is_closing;
	bool is_slotless; /* a ring waits until a slot is free */
	bool is_resuming; /* new to this daemon: which slots are taken is not known yet */
	struct hbus_pending *closing;
	struct hbus_pending *close_room; /* memory for it: who closes cannot be told to try again */
	TAILQ_HEAD(, hbus_filter) filters;
	uint32_t n_filters;
	struct hbus_trie filter_trie;
	struct hbus_slot_memfd memfds[HBUS_SLOT_MEMFDS_MAX];
	LIST_HEAD(, hbus_attachment) attachments;
	uint32_t n_attachments;
	LIST_HEAD(, hbus_doorbell) doorbells;
	LIST_HEAD(, hbus_kept_slot) kept_slots;
	/* By topic id: was it told of this topic, and as one that it asked for? */
	uint64_t *told, *matched;
	uint32_t n_bits; /* of each, a multiple of 64 */
	/* of attachments that are gone */
	uint64_t n_delivered, n_filtered, n_lost;
};

/* -- members -- */

enum hbus_member_phase {
	HBUS_MEMBER_NEW,      /* before HELLO */
	HBUS_MEMBER_RESUMING, /* came back; says what it holds */
	HBUS_MEMBER_READY,
	HBUS_MEMBER_AWAY,
};

struct hbus_member {
	struct hbus_table_node by_id;
	struct hbus_table_node by_token;
	void *conn; /* NULL when away */
	uint64_t id;
	struct hbus_token token;
	struct hbus_cred cred;
	int32_t pid;
	uint64_t began; /* once it is kept; 0 = not known */
	struct hbus_fd *pidfd;
	enum hbus_member_phase phase;
	uint32_t flags; /* HBUS_CLIENT_* */
	bool is_ending;
	bool has_token;	   /* stands in by_token */
	bool is_kept;	   /* stands in the journal: it holds something */
	bool was_restored; /* from the journal, and not back yet */
	struct hbus_account *account;
	struct hbus_deadline deadline;
	TAILQ_HEAD(, hbus_ring) rings;
	uint32_t n_rings;
	LIST_HEAD(, hbus_subscriber_state) subs;
	uint32_t n_subs;
	TAILQ_HEAD(, hbus_pending) pendings;
	LIST_HEAD(, hbus_counter_set) counters;
	char name[64];
};

struct hbus_counter_set {
	LIST_ENTRY(hbus_counter_set) in_member;
	TAILQ_ENTRY(hbus_counter_set) in_state;
	struct hbus_member *member; /* NULL: its owner is gone */
	struct hbus_account *account;
	struct hbus_fd *fd;
	uint64_t member_id;
	uid_t uid;
	int32_t pid;
	uint32_t n;
	char name[64];
};

struct hbus_route_state {
	struct hbus_table_node by_place;
	TAILQ_ENTRY(hbus_route_state) link;
	struct hbus_wire_route route;
	uint32_t flags; /* HBUS_TOPIC_DECLARED, HBUS_TOPIC_CONFIGURED */
};

struct hbus_state {
	struct hbus_state_ops ops;
	struct hbus_state_options options;
	const struct hbus_config *config;
	struct hbus_policy policy;
	uint64_t n_policies; /* so far: this one's number */
	struct hbus_quota quota;
	uint64_t now_ns, started_ns;
	struct hbus_deadlines deadlines;
	struct hbus_table members, tokens, rings, topics, route_places;
	struct hbus_trie topic_names, filters;
	TAILQ_HEAD(, hbus_route_state) routes;
	size_t n_routes;
	TAILQ_HEAD(, hbus_counter_set) counter_sets;
	size_t n_counter_sets;
	uint32_t last_serial, next_topic_id, next_id;
	uint64_t next_birth;
	bool has_topic_ids_again; /* all were used once */
	size_t n_subscribers, n_attachments, n_pending;
	uint64_t n_protocol_errors;
	int refused_status; /* of the last connection that was refused */
	const char *refused_text;
	size_t n_away_restored; /* journalled members that are not back; also after the restart, see HBUS_WAIT_OWNER */
	bool is_restarting;
	struct hbus_deadline restart_deadline;
};

/* -- state.c -- */
uint64_t hbus_state_new_id(struct hbus_state *state);
void hbus_state_log(struct hbus_state *state, enum hbus_log_level level,
		    const struct hbus_member *member, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void hbus_state_persist(struct hbus_state *state, const struct hbus_journal_record *record);
/** Turns a quota condition into HBUS_E_QUOTA with a sentence; 0 stays 0. */
int hbus_state_charge(struct hbus_account *account, enum hbus_quota_kind kind, uint64_t amount,
		      const char **ret_text);
/** The restart is over: everything may be taken away again. */
void hbus_state_end_restart(struct hbus_state *state);
/** Topics that nothing uses any more go. */
void hbus_state_sweep_topics(struct hbus_state *state);

/* -- state_msg.c: what goes out -- */
void hbus_msg_init(void *msg, enum hbus_msg_type type);
void hbus_state_send(struct hbus_state *state, struct hbus_member *member, void *msg,
		     struct hbus_fd *const *fds, size_t n_fds);
/** Answers a request. @text: NULL = the general sentence of @status. */
void hbus_state_reply(struct hbus_state *state, struct hbus_member *member,
		      const struct hbus_msg_header *request, int status, const char *text,
		      uint64_t value0);
struct hbus_pending *hbus_pending_new(struct hbus_state *state, struct hbus_member *member,
				      const struct hbus_msg_header *request);
/** hbus_pending_begin() - the same in memory that was allocated before; hbus_pending_done() frees it */
void hbus_pending_begin(struct hbus_state *state, struct hbus_member *member,
			const struct hbus_msg_header *request, struct hbus_pending *pending);
/** hbus_pending_drop() - nobody has been told to wait, and the request is answered by somebody else. NULL is fine. */
void hbus_pending_drop(struct hbus_state *state, struct hbus_pending *pending);
/** One thing less to wait for; the last sends the reply and frees it. NULL is fine. */
void hbus_pending_done(struct hbus_state *state, struct hbus_pending *pending);
void hbus_pending_expired(struct hbus_state *state, struct hbus_pending *pending);
/** Is the frame a message with the size, strings, reserved bytes and descriptors of its type? */
const char *hbus_msg_check(const void *frame, size_t size, size_t n_fds);

/* -- state_member.c -- */
struct hbus_member *hbus_member_hello(struct hbus_state *state, struct hbus_member *member,
				      const struct hbus_msg_hello *msg);
void hbus_member_resumed(struct hbus_state *state, struct hbus_member *member,
			 const struct hbus_msg_simple *msg);
/** Ends all that it has and frees it. Its connection must be gone. */
void hbus_member_end(struct hbus_state *state, struct hbus_member *member, uint32_t ring_flags);
bool hbus_member_restore(struct hbus_state *state, const struct hbus_journal_record *record);
void hbus_member_await(struct hbus_state *state, struct hbus_member *member);
void hbus_member_save(const struct hbus_member *member, struct hbus_journal_record *record);
/** It holds something from now on: the journal shall know it. */
void hbus_member_keep(struct hbus_state *state, struct hbus_member *member);
struct hbus_member *hbus_member_find(struct hbus_state *state, uint64_t id);

/* -- state_topic.c -- */
struct hbus_topic *hbus_topic_find(struct hbus_state *state, const char *name);
struct hbus_topic *hbus_topic_by_id(struct hbus_state *state, uint32_t id);
/** Finds or makes it, charged to @member (NULL: nobody). 0 or HBUS_E_*. */
int hbus_topic_obtain(struct hbus_state *state, struct hbus_member *member, const char *name,
		      const char *type, const char *content_type, struct hbus_topic **ret_topic,
		      const char **ret_text);
/** Frees it if nothing needs it any more. */
void hbus_topic_check_unused(struct hbus_state *state, struct hbus_topic *topic);
int hbus_topic_configure(struct hbus_state *state, const struct hbus_config_topic *config);
void hbus_topic_free_all(struct hbus_state *state);
void hbus_topic_request(struct hbus_state *state, struct hbus_member *member,
			const struct hbus_msg_topic *msg);
/** A subscriber more or less wants it; tells publishers at the border. */
void hbus_topic_want(struct hbus_state *state, struct hbus_topic *topic, int difference);
void hbus_topic_tell_interest(struct hbus_state *state, struct hbus_topic *topic,
			      struct hbus_member *member);
bool hbus_topic_restore(struct hbus_state *state, const struct hbus_journal_record *record);
void hbus_topic_save(const struct hbus_topic *topic, struct hbus_journal_record *record);

/* -- state_ring.c, state_ring_topic.c, state_ring_end.c -- */
struct hbus_ring *hbus_ring_find_own(struct hbus_state *state, const struct hbus_member *member,
				     uint64_t id);
/** What it takes of its user's quota. */
uint64_t hbus_ring_bytes(const struct hbus_geometry *geometry);
/** The daemon lets go of the memory: its descriptors, and the charge for it. */
void hbus_ring_release_memory(struct hbus_state *state, struct hbus_ring *ring);
void hbus_ring_persist(struct hbus_state *state, const struct hbus_ring *ring,
		       enum hbus_record_kind kind);
/** May this member publish this topic, by name and by policy? 0 or HBUS_E_*. */
int hbus_ring_check_topic(struct hbus_state *state, const struct hbus_member *member,
			  const char *name, const char **ret_text);
/** The ring carries the topic from now on. False: no memory. */
bool hbus_ring_link_topic(struct hbus_ring *ring, struct hbus_topic *topic);
void hbus_ring_unlink_topic(struct hbus_state *state, struct hbus_ring_topic *carried);
struct hbus_ring *hbus_ring_find(struct hbus_state *state, uint64_t id);
void hbus_ring_create(struct hbus_state *state, struct hbus_member *member,
		      const struct hbus_msg_ring_create *msg);
void hbus_ring_mapped(struct hbus_state *state, struct hbus_member *member,
		      const struct hbus_msg_ring *msg);
void hbus_ring_close(struct hbus_state *state, struct hbus_member *member,
		     const struct hbus_msg_ring *msg);
void hbus_ring_offer(struct hbus_state *state, struct hbus_member *member,
		     const struct hbus_msg_ring_offer *msg, struct hbus_fd *const fds[2]);
void hbus_ring_topic_add(struct hbus_state *state, struct hbus_member *member,
			 const struct hbus_msg_ring_topic_add *msg);
/** Its publisher is gone or done. */
void hbus_ring_end(struct hbus_state *state, struct hbus_ring *ring, uint32_t flags);
/** Frees an ended ring without attachments; lets go of its memory when every reader has mapped. */
void hbus_ring_check_over(struct hbus_state *state, struct hbus_ring *ring);
/** One gate of an announcing ring less to wait for. */
void hbus_ring_gate_done(struct hbus_state *state, struct hbus_ring *ring);
void hbus_ring_expired(struct hbus_state *state, struct hbus_ring *ring);
/** Attach every subscriber whose filter matches this topic of the ring. */
/* Where readers begin that meet a ring now. */
enum hbus_attach_from {
	HBUS_FROM_NEWEST,   /* a topic is new in the ring: none of its events can be older */
	HBUS_FROM_START,    /* the ring is new */
	HBUS_FROM_PROMISED, /* from the start for who subscribed before the ring was made, else the newest */
};
/** Return: false when there was no memory for one of those who want it. */
bool hbus_ring_attach_matching(struct hbus_state *state, struct hbus_ring *ring,
			       struct hbus_topic *topic, enum hbus_attach_from from,
			       struct hbus_pending *waits);
bool hbus_ring_is_attachable(const struct hbus_state *state, const struct hbus_ring *ring);
const char *hbus_ring_first_topic(const struct hbus_ring *ring);
bool hbus_ring_restore(struct hbus_state *state, const struct hbus_journal_record *record);
bool hbus_ring_restore_topic(struct hbus_state *state, const struct hbus_journal_record *record);
void hbus_ring_save_topic(const struct hbus_ring_topic *carried, struct hbus_journal_record *record);
void hbus_ring_persist_topic(struct hbus_state *state, const struct hbus_ring_topic *carried);
void hbus_ring_save(const struct hbus_ring *ring, struct hbus_journal_record *record);
void hbus_ring_free(struct hbus_state *state, struct hbus_ring *ring);

/* -- state_sub.c -- */
void hbus_slot_stats(struct hbus_state *state, const struct hbus_attachment *att,
		     struct hbus_slot_stats *stats);
struct hbus_subscriber_state *hbus_sub_find(struct hbus_member *member, uint32_t id);
void hbus_sub_open(struct hbus_state *state, struct hbus_member *member,
		   const struct hbus_msg_sub_open *msg);
void hbus_sub_slots(struct hbus_state *state, struct hbus_member *member,
		    const struct hbus_msg_sub_slots *msg, struct hbus_fd *fd);
void hbus_sub_filter_add(struct hbus_state *state, struct hbus_member *member,
			 const struct hbus_msg_sub_filter *msg);
void hbus_sub_filter_remove(struct hbus_state *state, struct hbus_member *member,
			    const struct hbus_msg_sub_filter *msg);
void hbus_sub_close(struct hbus_state *state, struct hbus_member *member,
		    const struct hbus_msg_sub_close *msg);
void hbus_sub_held(struct hbus_state *state, struct hbus_member *member,
		   const struct hbus_msg_sub_held *msg);
void hbus_sub_ring_done(struct hbus_state *state, struct hbus_member *member,
			const struct hbus_msg_ring *msg);
/** Its member is gone: nobody is told but the publishers. */
void hbus_sub_free(struct hbus_state *state, struct hbus_subscriber_state *sub);
/** Slots are free: rings that waited for one go on. */
void hbus_sub_retry(struct hbus_state *state, struct hbus_subscriber_state *sub);
/** Does policy let it read the ring, and hold its publisher back if it is reliable? */
bool hbus_sub_may_read(const struct hbus_state *state, const struct hbus_subscriber_state *sub,
		       struct hbus_ring *ring);
/** Does a filter of it match a topic of the ring? */
bool hbus_sub_wants_ring(const struct hbus_subscriber_state *sub, const struct hbus_ring *ring);
/** Whatever waited for the end of the restart goes on. */
bool hbus_filter_covers(const struct hbus_filter *filter, const struct hbus_ring *ring);
void hbus_sub_restart_over(struct hbus_state *state, struct hbus_subscriber_state *sub);
/** Its member is back: filters that it did not say again go. */
void hbus_sub_sweep_filters(struct hbus_state *state, struct hbus_subscriber_state *sub);
/** Attach it to every ring that it asks for and is not attached to. */
void hbus_sub_attach_all(struct hbus_state *state, struct hbus_subscriber_state *sub);

/* -- state_slot.c: slots, doorbells, and what a subscriber was told of topics -- */
bool hbus_slot_take(struct hbus_subscriber_state *sub, struct hbus_attachment *att);
bool hbus_slot_take_this(struct hbus_subscriber_state *sub, uint32_t memfd_idx, uint32_t slot_idx);
void hbus_slot_give(struct hbus_subscriber_state *sub, struct hbus_attachment *att);
/** The subscriber holds a ring that it cannot have: its slot is nobody else's until it says that it is done. */
void hbus_slot_keep(struct hbus_subscriber_state *sub, const struct hbus_msg_sub_held *msg);
/** It is done with it. False: nothing was kept. */
bool hbus_slot_kept_done(struct hbus_subscriber_state *sub, uint64_t ring_id);
/** Its member is back: what it did not say again it has given up meanwhile. */
void hbus_slot_sweep_kept(struct hbus_subscriber_state *sub);
struct hbus_doorbell *hbus_doorbell_get(struct hbus_state *state, struct hbus_subscriber_state *sub,
					uint64_t publisher_id);
void hbus_doorbell_put(struct hbus_doorbell *doorbell);
/** TOPIC_MATCH or TOPIC_SKIP for each topic of the ring that it was not told of. */
void hbus_tell_ring(struct hbus_state *state, struct hbus_subscriber_state *sub,
		    const struct hbus_ring *ring);
/** Likewise for one topic, whether it was told of it or not. */
void hbus_tell_topic(struct hbus_state *state, struct hbus_subscriber_state *sub,
		     struct hbus_topic *topic);
/** RING_TOPICS: all topics that the ring carries, or one more. */
void hbus_tell_carried(struct hbus_state *state, struct hbus_subscriber_state *sub,
		       const struct hbus_ring *ring);
void hbus_tell_carries(struct hbus_state *state, struct hbus_subscriber_state *sub,
		       const struct hbus_ring *ring, const struct hbus_topic *topic);
/** The filter came or goes: says again what topics it matches now are to the subscriber, if told. */
void hbus_tell_again(struct hbus_state *state, struct hbus_subscriber_state *sub,
		     const char *filter);
/** It may not have read what it was told: from now on it was told of nothing. */
void hbus_tell_all_again(struct hbus_subscriber_state *sub);
void hbus_tell_forget(struct hbus_subscriber_state *sub, uint32_t topic_id);
void hbus_tell_unwant_all(struct hbus_state *state, struct hbus_subscriber_state *sub);
bool hbus_sub_matches(const struct hbus_subscriber_state *sub, const char *topic);

/* -- state_attach.c -- */
struct hbus_attachment *hbus_attachment_find(struct hbus_ring *ring,
					     struct hbus_subscriber_state *sub);
/** 0, HBUS_E_DENIED or HBUS_E_LIMIT. Does nothing if it is attached. */
int hbus_attach(struct hbus_state *state, struct hbus_ring *ring,
		struct hbus_subscriber_state *sub, bool is_from_start, struct hbus_pending *opening,
		struct hbus_pending *accepting);
/** A subscriber that came back says that it holds this. False: it cannot. */
bool hbus_attach_held(struct hbus_state *state, struct hbus_ring *ring,
		      struct hbus_subscriber_state *sub, const struct hbus_msg_sub_held *msg);
/** The publisher of a restored ring is back: ask it to confirm what this reader holds. */
void hbus_attachment_confirm_held(struct hbus_state *state, struct hbus_attachment *att);
/** The subscriber shall leave the ring: RING_ENDED, unless it never heard of it. */
void hbus_attachment_leave(struct hbus_state *state, struct hbus_attachment *att, uint32_t flags);
/** Its subscriber came back and holds the ring: it may not have heard that this is over. */
void hbus_attachment_repeat_end(struct hbus_state *state, struct hbus_attachment *att);
/** The reader is done with it: nothing of the subscriber's is used any more. */
void hbus_attachment_reader_gone(struct hbus_state *state, struct hbus_attachment *att);
/** Its subscriber is about to be freed; hbus_attachment_reader_gone() was called. */
void hbus_attachment_orphan(struct hbus_attachment *att);
/** The publisher is gone: there is no gate any more. */
void hbus_attachment_ring_ended(struct hbus_state *state, struct hbus_attachment *att);
/** Sends RING_OPENED if the time has come. */
void hbus_attachment_open(struct hbus_state *state, struct hbus_attachment *att);
/** Slots have come: go on if it waited for one. */
void hbus_attachment_retry(struct hbus_state *state, struct hbus_attachment *att);
void hbus_attachment_accept(struct hbus_state *state, struct hbus_member *member,
			    const struct hbus_msg_ring_accept *msg);
/** RING_ENDED or RING_LIVE to the reader. */
void hbus_attachment_tell(struct hbus_state *state, struct hbus_attachment *att, enum hbus_msg_type type, uint32_t flags);
/** Reader and gate are both gone: frees it. A subscriber that asked for the ring again meanwhile gets it now. */
void hbus_attachment_finish(struct hbus_state *state, struct hbus_attachment *att);

/** Of a request of the daemon; never 0. */
static inline uint32_t hbus_state_next_serial(struct hbus_state *state)
{
	if (++state->last_serial == 0)
		state->last_serial = 1;
	return state->last_serial;
}

/* -- state_gate.c -- */
bool hbus_attachment_is_reliable(const struct hbus_attachment *att);
/** A place in the publisher's table. False: none is free. */
bool hbus_attachment_take_idx(struct hbus_attachment *att);
void hbus_attachment_free_idx(struct hbus_attachment *att);
void hbus_attachment_add_gate(struct hbus_state *state, struct hbus_attachment *att);
/** May finish the attachment. */
void hbus_attachment_remove_gate(struct hbus_state *state, struct hbus_attachment *att);
/** The announcement of its ring waits for it no more. */
void hbus_attachment_announced(struct hbus_state *state, struct hbus_attachment *att);
/** Says again to a publisher that came back what it may have missed. */
void hbus_ring_sweep_gates(struct hbus_state *state, const struct hbus_ring *ring);
void hbus_attachment_repeat_gate(struct hbus_state *state, struct hbus_attachment *att);
void hbus_attachment_gate_answer(struct hbus_state *state, struct hbus_member *member,
				 const struct hbus_msg_gate *msg);
void hbus_attachment_expired(struct hbus_state *state, struct hbus_attachment *att);

/* -- state_route.c -- */
void hbus_route_request(struct hbus_state *state, struct hbus_member *member,
			const struct hbus_msg_route *msg);
void hbus_route_configure(struct hbus_state *state, const struct hbus_config *old);
void hbus_route_tell_all(struct hbus_state *state, struct hbus_member *member);
bool hbus_route_restore(struct hbus_state *state, const struct hbus_journal_record *record);
void hbus_route_free_all(struct hbus_state *state);

/* -- state_counters.c -- */
void hbus_counters_offer(struct hbus_state *state, struct hbus_member *member,
			 const struct hbus_msg_counters_offer *msg, struct hbus_fd *fd);
void hbus_counters_orphan(struct hbus_state *state, struct hbus_member *member);
void hbus_counters_free_all(struct hbus_state *state);

/* -- state_list.c -- */
void hbus_list_request(struct hbus_state *state, struct hbus_member *member,
		       const struct hbus_msg_list *msg);
