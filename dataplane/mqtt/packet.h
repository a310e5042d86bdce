/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What clients send, taken apart
 *
 * One function a packet type: the body (what follows the Remaining Length) of one whole packet in,
 * a structure whose spans point into it out. Everything that the standards call malformed or a
 * protocol error and that can be seen in one packet alone is refused here.
 *
 * Every function returns 0 or the MQTT 5 reason code of what is wrong. Pure; any thread.
 */
#pragma once

#include "dataplane/mqtt/props.h"

struct hbus_mqtt_connect {
	uint8_t version; /* HBUS_MQTT_V3 or HBUS_MQTT_V5 */
	bool is_clean, has_will, has_user, has_password;
	bool will_retain;
	uint8_t will_qos;
	uint16_t keep_alive;
	struct hbus_mqtt_span client_id, will_topic, will_payload, user, password;
	struct hbus_mqtt_props props, will_props;
};

/**
 * hbus_mqtt_parse_connect()
 *
 * On HBUS_MQTT_BAD_VERSION ->version is what the client asked for, whatever that is.
 */
uint8_t hbus_mqtt_parse_connect(const uint8_t *body, size_t size, struct hbus_mqtt_connect *ret);

struct hbus_mqtt_publish {
	uint8_t qos;
	bool is_retain, is_dup;
	uint16_t packet_id; /* 0 with QoS 0 */
	struct hbus_mqtt_span topic, payload;
	struct hbus_mqtt_props props;
};

/* @flags: the low four bits of the first byte. */
uint8_t hbus_mqtt_parse_publish(uint8_t version, uint8_t flags, const uint8_t *body, size_t size,
				struct hbus_mqtt_publish *ret);

struct hbus_mqtt_ack {
	uint16_t packet_id;
	uint8_t reason;
	struct hbus_mqtt_props props;
};

/* @type: PUBACK, PUBREC, PUBREL or PUBCOMP. */
uint8_t hbus_mqtt_parse_ack(uint8_t version, uint8_t type, const uint8_t *body, size_t size,
			    struct hbus_mqtt_ack *ret);

/** SUBSCRIBE and UNSUBSCRIBE: the list was checked whole, and is read with the two functions below. */
struct hbus_mqtt_subscribe {
	uint16_t packet_id;
	uint16_t n_filters;
	struct hbus_mqtt_props props;
	struct hbus_mqtt_reader filters;
};

uint8_t hbus_mqtt_parse_subscribe(uint8_t version, const uint8_t *body, size_t size,
				  struct hbus_mqtt_subscribe *ret);
uint8_t hbus_mqtt_parse_unsubscribe(uint8_t version, const uint8_t *body, size_t size,
				    struct hbus_mqtt_subscribe *ret);

struct hbus_mqtt_filter {
	struct hbus_mqtt_span filter;
	uint8_t qos, retain_handling;
	bool no_local, retain_as_published;
};

bool hbus_mqtt_next_subscribe(struct hbus_mqtt_subscribe *packet, struct hbus_mqtt_filter *ret);
bool hbus_mqtt_next_unsubscribe(struct hbus_mqtt_subscribe *packet, struct hbus_mqtt_span *ret);

struct hbus_mqtt_bye {
	uint8_t reason;
	struct hbus_mqtt_props props;
};

/* @type: DISCONNECT or AUTH. */
uint8_t hbus_mqtt_parse_bye(uint8_t version, uint8_t type, const uint8_t *body, size_t size,
			    struct hbus_mqtt_bye *ret);

/** hbus_mqtt_check_flags() - are the low four bits those that the packet type must have? */
bool hbus_mqtt_check_flags(uint8_t first_byte);
