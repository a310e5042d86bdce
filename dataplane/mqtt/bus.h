/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * An MQTT engine on a bus: what its clients publish and want, and the events that come back
 *
 * For any loop that drives an engine: there is no socket and no epoll here, and nothing waits for the
 * daemon, which is asked by a thread of its own.
 *
 *   engine --io->publish, subscribe, unsubscribe--> this --> struct hbus
 *   engine <--events, answers------------- hbus_mqtt_bus_take()
 *
 * To set up: fill in io->context, send, close and authenticate; hbus_mqtt_bus_open();
 * hbus_mqtt_bus_io(); hbus_mqtt_new(). In each round of the loop: give the engine its input; then take
 * until it says false (or so often as the loop can afford); only then let out what the engine sent, for
 * what its clients published is in the ring as a batch that taking commits. A loop that sleeps arms the
 * descriptors before and watches them; one that spins need not.
 * After each input that a connection gave: while hbus_mqtt_bus_is_pressed(), take again, so that the
 * engine cannot overtake itself as a reader of its own ring.
 *
 * One thread at a time, the engine's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ctl/client/hugebus.h"
#include "dataplane/mqtt/engine.h"

struct hbus_mqtt_bus;

struct hbus_mqtt_bus_options {
	struct hbus *bus;         /* borrowed; outlives this */
	const char *counters;     /* name of the set that `hugebus stats` shows; NULL = none */
	uint64_t ring_size;       /* bytes of the publisher's ring, a power of two */
	uint64_t event_max;       /* bytes of a payload to give to the engine; larger ones are counted */
	int32_t publish_wait_ms;  /* for a reliable reader that is a ring behind; 0 = do not wait */
	bool waits_for_room;      /* a client whose message finds the ring full waits with it, instead of being refused */
	bool is_reliable;         /* publishers wait for this reader */
	bool adds_cloudevents;    /* events of local processes get user properties */
	/* Where sentences for an operator go; NULL = nowhere. */
	void (*log)(const char *sentence);
};

/**
 * hbus_mqtt_bus_open() - a publisher and a subscriber for one engine
 *
 * Return: 0 or an enum hbus_error, whose sentence is hbus_error_text(). The caller owns *ret_bus.
 */
int hbus_mqtt_bus_open(const struct hbus_mqtt_bus_options *options, struct hbus_mqtt_bus **ret_bus);

/* After the engine was freed. Accepts NULL, returns NULL. */
struct hbus_mqtt_bus *hbus_mqtt_bus_close(struct hbus_mqtt_bus *bus);

/* Somebody waits for room in the ring: hbus_mqtt_bus_take() is to be called each millisecond. */
bool hbus_mqtt_bus_is_stuck(const struct hbus_mqtt_bus *bus);

/* Sets the callbacks that concern the bus, and their context. */
void hbus_mqtt_bus_io(struct hbus_mqtt_bus *bus, struct hbus_mqtt_io *io);

/* Readable when there may be events, while it is armed, and when there are answers of the daemon. The bus owns both. */
int hbus_mqtt_bus_fd(const struct hbus_mqtt_bus *bus);
int hbus_mqtt_bus_answer_fd(const struct hbus_mqtt_bus *bus);

/**
 * hbus_mqtt_bus_take() - commit what was published, give the engine answers of the daemon and some events
 *
 * Never waits. Return: false when there was nothing.
 */
bool hbus_mqtt_bus_take(struct hbus_mqtt_bus *bus, struct hbus_mqtt *engine);

/* Nothing that clients published waits to be taken. */
bool hbus_mqtt_bus_is_settled(const struct hbus_mqtt_bus *bus, const struct hbus_mqtt *engine);

/* Answers of the daemon are awaited. */
bool hbus_mqtt_bus_is_asking(const struct hbus_mqtt_bus *bus);

/* Commits what was published; PUBACKs may go out. */
void hbus_mqtt_bus_commit(struct hbus_mqtt_bus *bus);

/**
 * hbus_mqtt_bus_arm() - before sleeping on the descriptors, when taking has said false
 * @has_rung: hbus_mqtt_bus_fd() was readable since the last time
 *
 * Return: false when there is something to take after all.
 */
bool hbus_mqtt_bus_arm(struct hbus_mqtt_bus *bus, bool has_rung);

/* So much was published that our own events should be taken before more is. */
bool hbus_mqtt_bus_is_pressed(const struct hbus_mqtt_bus *bus);

/* Now and then: copies counters to where `hugebus stats` finds them, and asks what the policy says of clients. */
void hbus_mqtt_bus_count(struct hbus_mqtt_bus *bus, const struct hbus_mqtt_counters *counters);
