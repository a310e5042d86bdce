/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes of a WebSocket client: half of the inputs come after a good handshake. Cut in any way, they mean the same; what
 * comes out lies within what went in, and after the end nothing comes any more. The first byte says how they are cut.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/mqtt/websocket.h"

#define OUT_MAX 16384u

static const char handshake[] = "GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
				"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
				"Sec-WebSocket-Protocol: mqtt\r\n\r\n";

struct outcome {
	size_t n_data, n_answers;
	uint8_t data[OUT_MAX], answers[OUT_MAX];
	bool has_ended;
};

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

static void keep(uint8_t *room, size_t *n, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size && *n < OUT_MAX; i++)
		room[(*n)++] = bytes[i];
}

static void feed(struct hbus_websocket *websocket, const uint8_t *bytes, size_t size, struct outcome *outcome)
{
	uint8_t *copy = malloc(size ? size : 1), *at = copy;
	enum hbus_websocket_result result = HBUS_WEBSOCKET_DATA;
	size_t left = size;

	require(copy != NULL);
	memcpy(copy, bytes, size);
	while (result != HBUS_WEBSOCKET_MORE && !outcome->has_ended) {
		result = hbus_websocket_input(websocket, &at, &left);
		require(at + left == copy + size);
		if (result == HBUS_WEBSOCKET_DATA) {
			require(websocket->data >= copy && websocket->data + websocket->data_size <= copy + size);
			keep(outcome->data, &outcome->n_data, websocket->data, websocket->data_size);
		}
		if (result == HBUS_WEBSOCKET_ANSWER || result == HBUS_WEBSOCKET_END) {
			require(websocket->answer_size <= sizeof(websocket->answer));
			keep(outcome->answers, &outcome->n_answers, websocket->answer, websocket->answer_size);
		}
		outcome->has_ended = result == HBUS_WEBSOCKET_END;
	}
	require(outcome->has_ended || left == 0);
	free(copy);
}

static void run(const uint8_t *data, size_t size, bool is_open, size_t piece, struct outcome *outcome)
{
	struct hbus_websocket websocket;

	memset(&websocket, 0, sizeof(websocket));
	memset(outcome, 0, sizeof(*outcome));
	if (is_open)
		feed(&websocket, (const uint8_t *)handshake, sizeof(handshake) - 1, outcome);
	require(!is_open || (websocket.is_open && !outcome->has_ended));
	for (size_t at = 0; at < size && !outcome->has_ended; at += piece)
		feed(&websocket, data + at, size - at < piece ? size - at : piece, outcome);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct outcome whole, cut;
	uint8_t how = size > 0 ? data[0] : 0;

	if (size == 0)
		return 0;
	data++;
	size--;
	run(data, size, how & 1, size + 1, &whole);
	run(data, size, how & 1, (size_t)(how >> 1) % 64 + 1, &cut);
	require(whole.has_ended == cut.has_ended && whole.n_answers == cut.n_answers && whole.n_data == cut.n_data);
	require(memcmp(whole.data, cut.data, whole.n_data) == 0);
	require(memcmp(whole.answers, cut.answers, whole.n_answers) == 0);
	return 0;
}
