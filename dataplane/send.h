/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sending from a port's queue that another thread may send from, too: poll loops send for the MQTT-SN
 * gateway, the TCP stack's thread for itself. A driver's send queue is for one at a time.
 *
 * Thread: any that polls. Nobody waits long: a burst is what is sent within the lock.
 */
#pragma once

#include <rte_ethdev.h>
#include <rte_spinlock.h>

/* One lock a port: few queues are shared, and an uncontended lock costs less than the sending. */
extern rte_spinlock_t hbus_send_locks[RTE_MAX_ETHPORTS];

static inline uint16_t hbus_send_burst(uint16_t port_id, uint16_t queue_id, struct rte_mbuf **mbufs,
				       uint16_t n)
{
	uint16_t n_sent;

	rte_spinlock_lock(&hbus_send_locks[port_id]);
	n_sent = rte_eth_tx_burst(port_id, queue_id, mbufs, n);
	rte_spinlock_unlock(&hbus_send_locks[port_id]);
	return n_sent;
}
