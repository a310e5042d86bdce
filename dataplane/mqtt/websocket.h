/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * WebSocket (RFC 6455) as a transport of MQTT, server side, without I/O
 *
 * Bytes of the client go in, bytes of MQTT and bytes to answer with come out. The handshake asks for
 * the subprotocol "mqtt". Message boundaries say nothing: MQTT's packets have their own lengths.
 * Nothing is allocated: the handshake is bounded by its buffer, and payload is unmasked in place.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HBUS_WEBSOCKET_REQUEST_MAX 4096
/** Bytes of a frame's head that hbus_websocket_head() may write. */
#define HBUS_WEBSOCKET_HEAD_MAX 10
#define HBUS_WEBSOCKET_ANSWER_MAX 256

enum hbus_websocket_result {
	HBUS_WEBSOCKET_MORE,   /* all was taken */
	HBUS_WEBSOCKET_DATA,   /* ->data, ->data_size is MQTT */
	HBUS_WEBSOCKET_ANSWER, /* ->answer is to be sent; go on */
	HBUS_WEBSOCKET_END,    /* ->answer is to be sent, if there is one; then close */
};

/** Zero it before use. */
struct hbus_websocket {
	bool is_open, has_ended;
	char request[HBUS_WEBSOCKET_REQUEST_MAX];
	size_t request_size;
	/* the frame that is being read */
	uint8_t head[14];
	uint8_t head_size, opcode;
	bool is_in_frame, is_in_message;
	uint64_t left;
	uint8_t mask[4];
	unsigned int mask_at;
	uint8_t control[125];
	uint8_t control_size;
	/* results */
	uint8_t *data;
	size_t data_size;
	uint8_t answer[HBUS_WEBSOCKET_ANSWER_MAX];
	size_t answer_size;
};

/**
 * hbus_websocket_input() - what the next of these bytes mean
 * @data, @size: moved over what was used; the bytes are written to
 *
 * Call it again until it says MORE or END.
 */
enum hbus_websocket_result hbus_websocket_input(struct hbus_websocket *websocket, uint8_t **data, size_t *size);

/** hbus_websocket_head() - what goes in front of @size bytes of MQTT. Return: its size. */
size_t hbus_websocket_head(uint8_t head[HBUS_WEBSOCKET_HEAD_MAX], size_t size);
