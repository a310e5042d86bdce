/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reassembly. See flow.h.
 *
 * Flows lie in one array: hash chains and a list by last use go through it by index. Sequence numbers are
 * compared as signed differences (RFC 9293, section 3.4).
 */
#include "dataplane/passive/flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/proto/siphash.h"

#define NONE UINT32_MAX

/* Bytes that came early, in the order of their sequence numbers; they do not overlap. */
struct part {
	struct part *next;
	uint32_t seq, size;
	uint8_t data[];
};

struct flow {
	struct hbus_tcp_key key;
	void *stream;                /* NULL: ignored */
	struct part *parts;
	uint64_t hole_ns;            /* since when the first part waits */
	uint32_t n_parts, waiting;   /* bytes of them */
	uint32_t start_seq;          /* of the first byte, with has_start */
	uint32_t next_seq;           /* that is expected */
	uint32_t fin_seq;            /* where it ends, with has_fin */
	uint32_t next_in_chain;
	uint32_t newer, older;       /* by last use */
	bool has_start, has_fin, is_used;
};

struct hbus_flows {
	struct hbus_flow_limits limits;
	struct hbus_flow_reader reader;
	struct hbus_flow_counters counters;
	uint64_t secret[2];
	uint32_t n_chains;           /* a power of two */
	uint32_t *chains;
	uint32_t newest, oldest, free;
	struct flow at[];
};

/* ---- the table ------------------------------------------------------------------------- */

static uint32_t *chain_of(struct hbus_flows *flows, const struct hbus_tcp_key *key)
{
	return &flows->chains[hbus_siphash(flows->secret, key, sizeof(*key)) & (flows->n_chains - 1)];
}

static void unlink_use(struct hbus_flows *flows, struct flow *flow)
{
	if (flow->newer != NONE)
		flows->at[flow->newer].older = flow->older;
	else
		flows->newest = flow->older;
	if (flow->older != NONE)
		flows->at[flow->older].newer = flow->newer;
	else
		flows->oldest = flow->newer;
}

static void link_newest(struct hbus_flows *flows, struct flow *flow)
{
	uint32_t idx = (uint32_t)(flow - flows->at);

	flow->newer = NONE;
	flow->older = flows->newest;
	if (flows->newest != NONE)
		flows->at[flows->newest].newer = idx;
	else
		flows->oldest = idx;
	flows->newest = idx;
}

static struct flow *find(struct hbus_flows *flows, const struct hbus_tcp_key *key)
{
	for (uint32_t idx = *chain_of(flows, key); idx != NONE; idx = flows->at[idx].next_in_chain)
		if (memcmp(&flows->at[idx].key, key, sizeof(*key)) == 0)
			return &flows->at[idx];
	return NULL;
}

static void drop_part(struct hbus_flows *flows, struct flow *flow)
{
	struct part *part = flow->parts;

	flow->parts = part->next;
	flow->n_parts--;
	flow->waiting -= part->size;
	flows->counters.n_waiting_bytes -= part->size;
	free(part);
}

static void end(struct hbus_flows *flows, struct flow *flow, enum hbus_flow_end how)
{
	uint32_t idx = (uint32_t)(flow - flows->at), *link = chain_of(flows, &flow->key);

	while (flow->parts)
		drop_part(flows, flow);
	if (flow->stream)
		flows->reader.close(flows->reader.context, flow->stream, how);
	while (*link != idx)
		link = &flows->at[*link].next_in_chain;
	*link = flow->next_in_chain;
	unlink_use(flows, flow);
	flow->is_used = false;
	flow->next_in_chain = flows->free;
	flows->free = idx;
	flows->counters.n_open--;
}

static struct flow *begin(struct hbus_flows *flows, const struct hbus_tcp_segment *segment)
{
	bool is_from_start = segment->flags & HBUS_TCP_SYN;
	struct flow *flow;
	uint32_t *chain;

	if (flows->free == NONE) {
		flows->counters.n_forgotten++;
		end(flows, &flows->at[flows->oldest], HBUS_FLOW_FORGOTTEN);
	}
	flow = &flows->at[flows->free];
	flows->free = flow->next_in_chain;
	chain = chain_of(flows, &segment->key);
	*flow = (struct flow){
		.key = segment->key,
		.start_seq = segment->seq + 1,
		.has_start = is_from_start,
		.next_seq = segment->seq + (is_from_start ? 1 : 0),
		.next_in_chain = *chain,
		.is_used = true,
	};
	*chain = (uint32_t)(flow - flows->at);
	link_newest(flows, flow);
	flows->counters.n_opened++;
	flows->counters.n_open++;
	flow->stream = flows->reader.open(flows->reader.context, &flow->key);
	return flow;
}

/* ---- bytes ----------------------------------------------------------------------------- */

/* Bytes that are due. Moves the expectation behind them. */
static void deliver(struct hbus_flows *flows, struct flow *flow, const uint8_t *data, uint32_t size)
{
	flow->next_seq += size;
	flows->counters.n_bytes += size;
	if (flow->stream && size > 0)
		flows->reader.bytes(flows->reader.context, flow->stream, data, size);
}

/* Hands on the parts that are due now. */
static void deliver_parts(struct hbus_flows *flows, struct flow *flow, uint64_t now_ns)
{
	while (flow->parts && (int32_t)(flow->parts->seq - flow->next_seq) <= 0) {
		struct part *part = flow->parts;
		uint32_t old = flow->next_seq - part->seq;

		flows->counters.n_repeated_bytes += old < part->size ? old : part->size;
		if (old < part->size)
			deliver(flows, flow, part->data + old, part->size - old);
		drop_part(flows, flow);
	}
	flow->hole_ns = now_ns;
}

/* What is missing before the first part will not come any more. */
static void give_up_hole(struct hbus_flows *flows, struct flow *flow, uint64_t now_ns)
{
	uint32_t size = flow->parts->seq - flow->next_seq;

	flows->counters.n_holes++;
	flows->counters.n_hole_bytes += size;
	flow->next_seq += size;
	if (flow->stream)
		flows->reader.hole(flows->reader.context, flow->stream, size);
	deliver_parts(flows, flow, now_ns);
}

/* Keeps what no other part has; a segment may lie across several of them. */
static void keep(struct hbus_flows *flows, struct flow *flow, uint32_t seq, const uint8_t *data, uint32_t size)
{
	struct part **link = &flow->parts;

	while (size > 0) {
		uint32_t room = size;
		struct part *part;

		while (*link && (int32_t)((*link)->seq + (*link)->size - seq) <= 0)
			link = &(*link)->next;
		if (*link && (int32_t)((*link)->seq - seq) <= 0) {
			uint32_t have = (*link)->seq + (*link)->size - seq;

			have = have < size ? have : size;
			flows->counters.n_repeated_bytes += have;
			seq += have;
			data += have;
			size -= have;
			continue;
		}
		if (*link && (*link)->seq - seq < room)
			room = (*link)->seq - seq;
		part = malloc(sizeof(*part) + room);
		if (!part)
			return; /* as if it had been lost on the way */
		*part = (struct part){ .next = *link, .seq = seq, .size = room };
		memcpy(part->data, data, room);
		*link = part;
		flow->n_parts++;
		flow->waiting += room;
		flows->counters.n_waiting_bytes += room;
		seq += room;
		data += room;
		size -= room;
	}
}

/* Without SYN the first part that came is the beginning, once earlier ones have had their time to come. */
static void start_midstream(struct hbus_flows *flows, struct flow *flow, uint64_t now_ns)
{
	flow->has_start = true;
	if (flow->parts)
		flow->next_seq = flow->parts->seq;
	flow->start_seq = flow->next_seq;
	flows->counters.n_midstream++;
	deliver_parts(flows, flow, now_ns);
}

static bool is_over(const struct hbus_flows *flows, const struct flow *flow)
{
	return flow->waiting > flows->limits.flow_bytes_max || flow->n_parts > HBUS_FLOW_PARTS_MAX ||
	       flows->counters.n_waiting_bytes > flows->limits.bytes_max;
}

static void take_bytes(struct hbus_flows *flows, struct flow *flow, uint32_t seq, const uint8_t *data, uint32_t size,
		       uint64_t now_ns)
{
	int32_t ahead = flow->has_start ? (int32_t)(seq - flow->next_seq) : 1;

	if (ahead < 0) {
		uint32_t old = (uint32_t)-ahead < size ? (uint32_t)-ahead : size;

		flows->counters.n_repeated_bytes += old;
		data += old;
		size -= old;
		ahead = 0;
		seq = flow->next_seq;
	}
	if (size == 0)
		return;
	if (ahead == 0) {
		/* What of it has come early already is trimmed there. */
		deliver(flows, flow, data, size);
		deliver_parts(flows, flow, now_ns);
		return;
	}
	flows->counters.n_reordered++;
	if (!flow->parts)
		flow->hole_ns = now_ns;
	keep(flows, flow, seq, data, size);
	if (!flow->has_start && is_over(flows, flow))
		start_midstream(flows, flow, now_ns);
	while (flow->parts && is_over(flows, flow))
		give_up_hole(flows, flow, now_ns);
}

/* Return: whether the flow has ended. */
static bool is_at_end(const struct flow *flow)
{
	return flow->has_start && flow->has_fin && (int32_t)(flow->next_seq - flow->fin_seq) >= 0;
}

static bool is_in_window(const struct flow *flow, uint32_t seq)
{
	int32_t ahead = (int32_t)(seq - flow->next_seq);

	return ahead > -(int32_t)HBUS_FLOW_WINDOW && ahead < (int32_t)HBUS_FLOW_WINDOW;
}

/* Is it this flow's, repeated or late? Else the same ports have begun anew. */
static bool is_its_syn(const struct flow *flow, uint32_t start_seq)
{
	if (flow->has_start)
		return flow->start_seq == start_seq;
	return is_in_window(flow, start_seq) && flow->parts && (int32_t)(flow->parts->seq - start_seq) >= 0;
}

void hbus_flows_segment(struct hbus_flows *flows, const struct hbus_tcp_segment *segment, uint64_t now_ns)
{
	struct flow *flow = find(flows, &segment->key);
	bool is_syn = segment->flags & HBUS_TCP_SYN;

	flows->counters.n_segments++;
	if (flow && is_syn && !is_its_syn(flow, segment->seq + 1)) {
		end(flows, flow, HBUS_FLOW_REPLACED);
		flow = NULL;
	}
	if (!flow && (segment->flags & HBUS_TCP_RST || (!is_syn && segment->size == 0)))
		return;
	if (!flow)
		flow = begin(flows, segment);
	unlink_use(flows, flow);
	link_newest(flows, flow);
	if (!is_in_window(flow, segment->seq)) {
		flows->counters.n_out_of_window++;
		return;
	}
	if (is_syn && !flow->has_start) {
		flow->has_start = true;
		flow->next_seq = flow->start_seq = segment->seq + 1;
		deliver_parts(flows, flow, now_ns);
	}
	if (segment->flags & HBUS_TCP_RST) {
		if (!flow->has_start)
			start_midstream(flows, flow, now_ns);
		end(flows, flow, HBUS_FLOW_RESET);
		return;
	}
	if (segment->flags & HBUS_TCP_FIN && !flow->has_fin) {
		flow->has_fin = true;
		flow->fin_seq = segment->seq + (is_syn ? 1 : 0) + segment->size;
	}
	take_bytes(flows, flow, segment->seq + (is_syn ? 1 : 0), segment->data, segment->size, now_ns);
	if (is_at_end(flow))
		end(flows, flow, HBUS_FLOW_FIN);
}

void hbus_flows_tick(struct hbus_flows *flows, uint64_t now_ns)
{
	for (uint32_t i = 0; i < flows->limits.flows_max; i++) {
		struct flow *flow = &flows->at[i];

		if (!flow->is_used)
			continue;
		if (!flow->has_start && now_ns - flow->hole_ns >= flows->limits.hole_wait_ns)
			start_midstream(flows, flow, now_ns == UINT64_MAX ? 0 : now_ns);
		while (flow->parts && now_ns - flow->hole_ns >= flows->limits.hole_wait_ns)
			give_up_hole(flows, flow, now_ns == UINT64_MAX ? 0 : now_ns);
		if (is_at_end(flow))
			end(flows, flow, HBUS_FLOW_FIN);
	}
}

const struct hbus_flow_counters *hbus_flows_counters(const struct hbus_flows *flows)
{
	return &flows->counters;
}

/* ---- life ------------------------------------------------------------------------------ */

int hbus_flows_new(const struct hbus_flow_limits *limits, const struct hbus_flow_reader *reader,
		   const uint64_t secret[2], struct hbus_flows **ret_flows)
{
	struct hbus_flows *flows = calloc(1, sizeof(*flows) + limits->flows_max * sizeof(flows->at[0]));

	if (!flows)
		return -ENOMEM;
	flows->limits = *limits;
	flows->reader = *reader;
	memcpy(flows->secret, secret, sizeof(flows->secret));
	for (flows->n_chains = 1; flows->n_chains < limits->flows_max;)
		flows->n_chains *= 2;
	flows->chains = malloc(flows->n_chains * sizeof(flows->chains[0]));
	if (!flows->chains) {
		free(flows);
		return -ENOMEM;
	}
	memset(flows->chains, 0xff, flows->n_chains * sizeof(flows->chains[0]));
	flows->newest = flows->oldest = flows->free = NONE;
	for (uint32_t i = limits->flows_max; i-- > 0;) {
		flows->at[i].next_in_chain = flows->free;
		flows->free = i;
	}
	*ret_flows = flows;
	return 0;
}

struct hbus_flows *hbus_flows_free(struct hbus_flows *flows)
{
	if (!flows)
		return NULL;
	while (flows->oldest != NONE)
		end(flows, &flows->at[flows->oldest], HBUS_FLOW_FORGOTTEN);
	free(flows->chains);
	free(flows);
	return NULL;
}
