/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames for peers: Ethernet, VLAN tags, IPv4 or IPv6, UDP, and around the message what a forwarder
 * wants. Pure; any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "dataplane/mqttsn/door.h"

/**
 * hbus_sn_reply() - a whole frame, checksums included
 *
 * @link->local_mac and @link->local_addr are the source, so they must be one host's.
 * Return: its size, or 0 when the message is too long.
 */
size_t hbus_sn_reply(uint8_t room[HBUS_SN_FRAME_MAX], const struct hbus_sn_peer *peer,
		     const struct hbus_sn_link *link, const uint8_t *message, size_t message_size);
