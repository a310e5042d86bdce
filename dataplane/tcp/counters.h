/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the TCP stack counts; `hugebus stats` shows it as the set "tcp".
 *
 * Plain numbers of the stack's thread, copied to where others see them a few times a second.
 */
#pragma once

#include <stdint.h>

/* X(name, what it counts). Values of now end in _now. */
#define HBUS_TCP_COUNTERS(X)                                                                       \
	X(frames_in, "frames taken over from the poll loops")                                      \
	X(frames_full, "frames that the poll loops could not hand over: TCP sends them again")     \
	X(frames_not_linear, "frames over several buffers that do not fit one")                    \
	X(frames_short, "frames that end before their TCP segment does")                           \
	X(frames_bad_source, "frames from a group, a loopback or the stack's own address")         \
	X(sums_bad, "segments with a wrong checksum")                                              \
	X(sums_unfinished, "segments whose checksum their sender has left to hardware")            \
	X(sums_finished, "likewise, finished here (--no-checksum)")                                \
	X(frames_copied, "frames copied, since too many buffers were lent to the stack")           \
	X(frames_lost, "frames dropped for want of memory")                                        \
	X(frames_out, "frames sent")                                                               \
	X(acks_merged, "acknowledgements that a later one in the same round made needless")        \
	X(frames_no_buffer, "frames not sent for want of buffers")                                 \
	X(frames_unsent, "frames that the port did not take")                                      \
	X(arp_asked, "frames to peers not heard of lately, by way of ARP or ND")                   \
	X(opens, "attempts to connect: SYN to the port that is served")                            \
	X(resets_in, "resets that came in, heeded or not")                                         \
	X(resets_out, "resets sent: to whom nobody knows, to whom is refused or cut")              \
	X(late_cut, "times that what had come out of order was dropped, as too many segments")     \
	X(half_open_cut, "half-open connections dropped for newer ones")                           \
	X(opens_limited, "attempts to connect ignored: too many connections in any state")         \
	X(time_wait_cut, "ended connections forgotten early")                                      \
	X(time_wait_reopened, "ended connections forgotten for a new one of the same two ends")    \
	X(accepted, "connections accepted")                                                        \
	X(refused, "connections refused at the limit (--tcp-connections)")                         \
	X(refused_address, "connections refused: their address has --tcp-connections-per-address") \
	X(closed, "connections that ended in order")                                               \
	X(broken, "connections that were reset or timed out")                                      \
	X(bytes_in, "bytes of MQTT received")                                                      \
	X(bytes_out, "bytes of MQTT sent")                                                         \
	X(held, "times a client was not read from for a while")                                    \
	X(connections_now, "connections")                                                          \
	X(half_open_now, "half-open connections")                                                  \
	X(time_wait_now, "ended connections remembered")                                           \
	X(lent_now, "buffers lent to the stack")                                                   \
	X(naps, "times the thread went to sleep for want of work")

struct hbus_tcp_counters {
#define HBUS_TCP_COUNTER_FIELD(name, text) uint64_t name;
	HBUS_TCP_COUNTERS(HBUS_TCP_COUNTER_FIELD)
#undef HBUS_TCP_COUNTER_FIELD
};
