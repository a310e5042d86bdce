/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a packet to a peer, and to a verdict or a letter.
 */
#include "dataplane/mqttsn/door.h"

#include <string.h>

enum { MACS_SIZE = 12, TAG_SIZE = 4 };

int hbus_sn_door_init(struct hbus_sn_door *door, struct hbus_sn_paths *paths, uint8_t loop_idx)
{
	int r;

	door->paths = paths;
	door->loop_idx = loop_idx;
	r = hbus_sn_mailbox_init(&door->inbox, HBUS_SN_INBOX_SLOTS, sizeof(struct hbus_sn_letter));
	if (r == 0)
		r = hbus_sn_mailbox_init(&door->outbox, HBUS_SN_OUTBOX_SLOTS,
					 sizeof(struct hbus_sn_frame));
	return r;
}

void hbus_sn_door_deinit(struct hbus_sn_door *door)
{
	hbus_sn_mailbox_deinit(&door->inbox);
	hbus_sn_mailbox_deinit(&door->outbox);
}

static void learn_peer(struct hbus_sn_peer *peer, const struct hbus_packet *packet)
{
	*peer = (struct hbus_sn_peer){ .port = packet->source_port, .vlan = packet->vlan,
				       .family = packet->family };
	memcpy(peer->addr, packet->source, packet->family == HBUS_FAMILY_IPV4 ? 4 : 16);
}

struct hbus_sn_verdict hbus_sn_door_judge_ipv4(struct hbus_sn_door *door, const uint8_t *source,
					       uint16_t port, const uint8_t *payload,
					       uint32_t payload_size, uint64_t now_ns)
{
	struct hbus_sn_verdict verdict = { 0 };
	struct hbus_sn_publish_head head;
	uint32_t addr;

	if (!hbus_sn_publish_head(payload, payload_size, &head) || !hbus_sn_is_plain(head.flags))
		return verdict;
	memcpy(&addr, source, sizeof(addr));
	verdict.head_size = head.head_size;
	verdict.number = hbus_sn_paths_find_ipv4(door->paths, addr, port, &head, now_ns,
						 &verdict.is_wanted);
	return verdict;
}

struct hbus_sn_verdict hbus_sn_door_judge(struct hbus_sn_door *door, const struct hbus_packet *packet,
					  const uint8_t *payload, uint32_t payload_size,
					  uint64_t now_ns)
{
	struct hbus_sn_verdict verdict = { 0 };
	struct hbus_sn_publish_head head;
	struct hbus_sn_peer peer;

	if (!hbus_sn_publish_head(payload, payload_size, &head) || !hbus_sn_is_plain(head.flags))
		return verdict;
	learn_peer(&peer, packet);
	verdict.head_size = head.head_size;
	verdict.number = hbus_sn_paths_find(door->paths, &peer, &head, now_ns, &verdict.is_wanted);
	return verdict;
}

static void learn_link(struct hbus_sn_link *link, const struct hbus_sn_door *door,
		       const struct hbus_packet *packet)
{
	const uint8_t *frame = packet->frame;
	uint32_t tags_size = packet->ip_off - MACS_SIZE - 2;

	*link = (struct hbus_sn_link){ .local_port = packet->port, .loop_idx = door->loop_idx,
				       .queue_idx = door->queue_idx,
				       .n_tags = (uint8_t)(tags_size / TAG_SIZE) };
	memcpy(link->local_mac, frame, sizeof(link->local_mac));
	memcpy(link->peer_mac, frame + sizeof(link->local_mac), sizeof(link->peer_mac));
	if (tags_size <= sizeof(link->tags))
		memcpy(link->tags, frame + MACS_SIZE, tags_size);
	memcpy(link->local_addr, packet->destination, packet->family == HBUS_FAMILY_IPV4 ? 4 : 16);
}

/* Does the length field say what there is? The rest of the format is the gateway's to judge. */
static bool is_framed(const uint8_t *bytes, uint32_t size)
{
	if (size < 2)
		return false;
	if (bytes[1] == HBUS_SN_ENCAPSULATED && bytes[0] != HBUS_SN_LONG_LENGTH)
		return bytes[0] >= 4 && bytes[0] < size;
	if (bytes[0] != HBUS_SN_LONG_LENGTH)
		return bytes[0] == size;
	return size >= 4 && (uint32_t)(bytes[1] << 8 | bytes[2]) == size;
}

/* Forgets letters that the gateway is through with. */
static void settle(struct hbus_sn_door *door)
{
	/* relaxed: a number; slots are taken by hbus_sn_mailbox_reserve() */
	uint64_t released = atomic_load_explicit(&door->inbox.released, memory_order_relaxed);

	for (; door->settled != released; door->settled++)
		door->waiting[door->class_of[door->settled % HBUS_SN_INBOX_SLOTS]]--;
}

static uint16_t class_of(const struct hbus_sn_door *door, const struct hbus_packet *packet)
{
	struct hbus_sn_peer peer;

	learn_peer(&peer, packet);
	peer.port = 0;
	return (uint16_t)(hbus_sn_paths_hash(door->paths, &peer) % HBUS_SN_INBOX_CLASSES);
}

/* Return: a slot, or NULL: the inbox is full, or this class has its share of it. */
static struct hbus_sn_letter *reserve(struct hbus_sn_door *door, uint16_t class)
{
	/* relaxed: only this thread writes it */
	uint64_t sent = atomic_load_explicit(&door->inbox.sent, memory_order_relaxed);
	struct hbus_sn_letter *letter;

	if (door->waiting[class] >= HBUS_SN_INBOX_SHARE || sent - door->settled >= HBUS_SN_INBOX_SLOTS)
		settle(door);
	if (door->waiting[class] >= HBUS_SN_INBOX_SHARE || sent - door->settled >= HBUS_SN_INBOX_SLOTS)
		return NULL;
	letter = hbus_sn_mailbox_reserve(&door->inbox);
	if (!letter)
		return NULL;
	door->class_of[sent % HBUS_SN_INBOX_SLOTS] = class;
	door->waiting[class]++;
	return letter;
}

enum hbus_reason hbus_sn_door_pass(struct hbus_sn_door *door, const struct hbus_packet *packet,
				   const uint8_t *payload, uint32_t payload_size)
{
	struct hbus_sn_letter *letter;

	if (!is_framed(payload, payload_size))
		return HBUS_REASON_MALFORMED;
	if (payload_size > HBUS_SN_MESSAGE_MAX)
		return HBUS_REASON_TOO_LONG;
	letter = reserve(door, class_of(door, packet));
	if (!letter)
		return HBUS_REASON_GATEWAY_FULL;
	learn_peer(&letter->peer, packet);
	learn_link(&letter->link, door, packet);
	letter->size = payload_size;
	memcpy(letter->bytes, payload, payload_size);
	hbus_sn_mailbox_commit(&door->inbox);
	return HBUS_REASON_ACCEPTED;
}
