/* SPDX-License-Identifier: BSD-3-Clause */
/* WebSocket as a transport of MQTT. Bytes come from strangers. */
#include "dataplane/mqtt/websocket.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* -- SHA-1: the handshake proves with it that a WebSocket server answers; it protects nothing -- */

static uint32_t rotate(uint32_t x, unsigned int n)
{
	return x << n | x >> (32 - n);
}

static void sha1_block(uint32_t h[5], const uint8_t *block)
{
	uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

	for (unsigned int i = 0; i < 16; i++)
		w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
		       block[4 * i + 3];
	for (unsigned int i = 16; i < 80; i++)
		w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
	for (unsigned int i = 0; i < 80; i++) {
		uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 ? b ^ c ^ d : i < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
		uint32_t k = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1 : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
		uint32_t next = rotate(a, 5) + f + e + k + w[i];

		e = d;
		d = c;
		c = rotate(b, 30);
		b = a;
		a = next;
	}
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
	h[4] += e;
}

/* Of at most 119 bytes: two blocks. */
static void sha1(const void *data, size_t size, uint8_t digest[20])
{
	uint32_t h[5] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 };
	uint8_t blocks[128] = { 0 };
	size_t n = size < 56 ? 64 : 128;

	memcpy(blocks, data, size);
	blocks[size] = 0x80;
	blocks[n - 2] = (uint8_t)(size * 8 >> 8);
	blocks[n - 1] = (uint8_t)(size * 8);
	for (size_t at = 0; at < n; at += 64)
		sha1_block(h, blocks + at);
	for (unsigned int i = 0; i < 20; i++)
		digest[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

/* 20 bytes to 28 characters. */
static void base64(const uint8_t digest[20], char text[29])
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t padded[21] = { 0 };

	memcpy(padded, digest, 20);
	for (unsigned int i = 0; i < 7; i++) {
		uint32_t bits = (uint32_t)padded[3 * i] << 16 | (uint32_t)padded[3 * i + 1] << 8 | padded[3 * i + 2];

		for (unsigned int k = 0; k < 4; k++)
			text[4 * i + k] = digits[bits >> (18 - 6 * k) & 63];
	}
	text[27] = '=';
	text[28] = '\0';
}

/* -- the handshake -- */

/* The value of a header of the request, its end in *ret_size; NULL = it is not there. */
static const char *header(const char *request, const char *name, size_t *ret_size)
{
	const char *line = strstr(request, "\r\n");
	size_t name_size = strlen(name);

	for (; line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
		const char *value = line + 2 + name_size;

		if (strncasecmp(line + 2, name, name_size) != 0 || *value != ':')
			continue;
		value++;
		value += strspn(value, " \t");
		*ret_size = strcspn(value, "\r");
		while (*ret_size > 0 && (value[*ret_size - 1] == ' ' || value[*ret_size - 1] == '\t'))
			(*ret_size)--;
		return value;
	}
	return NULL;
}

/* Is @word one of the values between commas? */
static bool has_word(const char *request, const char *name, const char *word)
{
	size_t size, word_size = strlen(word);
	const char *value = header(request, name, &size), *end = value + (value ? size : 0);

	while (value && value < end) {
		size_t n = strcspn(value, ",\r");

		n = n < (size_t)(end - value) ? n : (size_t)(end - value);
		while (n > 0 && value[n - 1] == ' ')
			n--;
		if (n == word_size && strncasecmp(value, word, n) == 0)
			return true;
		value += strcspn(value, ",\r");
		value += strspn(value, ", \t");
	}
	return false;
}

static enum hbus_websocket_result refuse(struct hbus_websocket *ws, const char *status)
{
	ws->has_ended = true;
	ws->answer_size = (size_t)snprintf((char *)ws->answer, sizeof(ws->answer),
					   "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: 0\r\n"
					   "Sec-WebSocket-Version: 13\r\n\r\n", status);
	return HBUS_WEBSOCKET_END;
}

static enum hbus_websocket_result answer_request(struct hbus_websocket *ws)
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char joined[24 + sizeof(guid)], accept[29];
	uint8_t digest[20];
	size_t size;
	const char *key = header(ws->request, "Sec-WebSocket-Key", &size);

	if (strncmp(ws->request, "GET ", 4) != 0)
		return refuse(ws, "405 Method Not Allowed");
	if (!key || size != 24 || !has_word(ws->request, "Upgrade", "websocket") ||
	    !has_word(ws->request, "Connection", "Upgrade"))
		return refuse(ws, "400 Bad Request");
	if (!has_word(ws->request, "Sec-WebSocket-Version", "13"))
		return refuse(ws, "426 Upgrade Required");
	if (!has_word(ws->request, "Sec-WebSocket-Protocol", "mqtt"))
		return refuse(ws, "400 Bad Request");
	memcpy(joined, key, 24);
	memcpy(joined + 24, guid, sizeof(guid));
	sha1(joined, 24 + sizeof(guid) - 1, digest);
	base64(digest, accept);
	ws->answer_size = (size_t)snprintf((char *)ws->answer, sizeof(ws->answer),
					   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
					   "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"
					   "Sec-WebSocket-Protocol: mqtt\r\n\r\n", accept);
	ws->is_open = true;
	return HBUS_WEBSOCKET_ANSWER;
}

static enum hbus_websocket_result take_request(struct hbus_websocket *ws, uint8_t **data, size_t *size)
{
	while (*size > 0) {
		char c = (char)**data;

		if (ws->request_size == sizeof(ws->request) - 1 || c == '\0')
			return refuse(ws, "431 Request Header Fields Too Large");
		(*data)++;
		(*size)--;
		ws->request[ws->request_size++] = c;
		ws->request[ws->request_size] = '\0';
		if (ws->request_size >= 4 && memcmp(ws->request + ws->request_size - 4, "\r\n\r\n", 4) == 0)
			return answer_request(ws);
	}
	return HBUS_WEBSOCKET_MORE;
}

/* -- frames -- */

enum { OP_CONTINUE = 0, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

static enum hbus_websocket_result end(struct hbus_websocket *ws, uint16_t code)
{
	const uint8_t frame[] = { 0x88, 2, (uint8_t)(code >> 8), (uint8_t)code };

	memcpy(ws->answer, frame, sizeof(frame));
	ws->answer_size = sizeof(frame);
	ws->has_ended = true;
	return HBUS_WEBSOCKET_END;
}

/* Bytes that the head has, as far as its beginning is there. */
static uint8_t head_wanted(const struct hbus_websocket *ws)
{
	uint8_t length = ws->head_size >= 2 ? ws->head[1] & 0x7f : 0;

	if (ws->head_size < 2)
		return 2;
	return (uint8_t)(2 + (length == 127 ? 8 : length == 126 ? 2 : 0) + 4);
}

/* What a whole head says. Return: is it allowed? */
static bool judge_head(struct hbus_websocket *ws)
{
	uint8_t n_bytes = (uint8_t)(head_wanted(ws) - 6);
	bool is_control;

	ws->opcode = ws->head[0] & 15;
	ws->left = n_bytes ? 0 : ws->head[1] & 0x7fu;
	for (unsigned int i = 0; i < n_bytes; i++)
		ws->left = ws->left << 8 | ws->head[2 + i];
	memcpy(ws->mask, ws->head + 2 + n_bytes, 4);
	ws->mask_at = 0;
	ws->control_size = 0;
	is_control = ws->opcode & 8;
	/* No extension was agreed on; every client masks; control frames are small and whole. */
	if (ws->head[0] & 0x70 || !(ws->head[1] & 0x80) || ws->left >> 63)
		return false;
	if (is_control)
		return ws->opcode <= OP_PONG && ws->head[0] & 0x80 && ws->left <= sizeof(ws->control);
	/* Text is not MQTT. A message begins with its kind and goes on without. */
	if (ws->opcode != (ws->is_in_message ? OP_CONTINUE : OP_BINARY))
		return false;
	ws->is_in_message = !(ws->head[0] & 0x80);
	return true;
}

static bool take_head(struct hbus_websocket *ws, uint8_t **data, size_t *size)
{
	while (*size > 0 && ws->head_size < head_wanted(ws)) {
		ws->head[ws->head_size++] = *(*data)++;
		(*size)--;
	}
	return ws->head_size >= 2 && ws->head_size == head_wanted(ws);
}

static void unmask(struct hbus_websocket *ws, uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		data[i] ^= ws->mask[ws->mask_at++ & 3];
}

/* A control frame is whole. Return: MORE = nothing to say. */
static enum hbus_websocket_result on_control(struct hbus_websocket *ws)
{
	if (ws->opcode == OP_CLOSE)
		return end(ws, 1000);
	if (ws->opcode == OP_PONG)
		return HBUS_WEBSOCKET_MORE;
	ws->answer[0] = 0x80 | OP_PONG;
	ws->answer[1] = ws->control_size;
	memcpy(ws->answer + 2, ws->control, ws->control_size);
	ws->answer_size = 2u + ws->control_size;
	return HBUS_WEBSOCKET_ANSWER;
}

static enum hbus_websocket_result take_payload(struct hbus_websocket *ws, uint8_t **data, size_t *size)
{
	size_t n = ws->left < *size ? (size_t)ws->left : *size;
	bool is_control = ws->opcode & 8;

	unmask(ws, *data, n);
	ws->data = *data;
	ws->data_size = n;
	*data += n;
	*size -= n;
	ws->left -= n;
	if (is_control && n > 0) {
		memcpy(ws->control + ws->control_size, ws->data, n);
		ws->control_size = (uint8_t)(ws->control_size + n);
	}
	if (ws->left == 0) {
		ws->is_in_frame = false;
		ws->head_size = 0;
	}
	if (!is_control)
		return n > 0 ? HBUS_WEBSOCKET_DATA : HBUS_WEBSOCKET_MORE;
	return ws->left == 0 ? on_control(ws) : HBUS_WEBSOCKET_MORE;
}

enum hbus_websocket_result hbus_websocket_input(struct hbus_websocket *ws, uint8_t **data, size_t *size)
{
	ws->answer_size = 0;
	if (ws->has_ended)
		return HBUS_WEBSOCKET_END;
	if (!ws->is_open)
		return take_request(ws, data, size);
	/* An empty frame or a pong says nothing: on to the next. */
	while (*size > 0 || (ws->is_in_frame && ws->left == 0)) {
		enum hbus_websocket_result result;

		if (!ws->is_in_frame) {
			if (!take_head(ws, data, size))
				return HBUS_WEBSOCKET_MORE;
			if (!judge_head(ws))
				return end(ws, 1002);
			ws->is_in_frame = true;
		}
		result = take_payload(ws, data, size);
		if (result != HBUS_WEBSOCKET_MORE)
			return result;
	}
	return HBUS_WEBSOCKET_MORE;
}

size_t hbus_websocket_head(uint8_t head[HBUS_WEBSOCKET_HEAD_MAX], size_t size)
{
	unsigned int n_bytes = size < 126 ? 0 : size < 65536 ? 2 : 8;

	head[0] = 0x80 | OP_BINARY;
	head[1] = (uint8_t)(n_bytes == 0 ? size : n_bytes == 2 ? 126 : 127);
	for (unsigned int i = 0; i < n_bytes; i++)
		head[2 + i] = (uint8_t)((uint64_t)size >> 8 * (n_bytes - 1 - i));
	return 2 + n_bytes;
}
