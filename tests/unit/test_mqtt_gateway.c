/* SPDX-License-Identifier: BSD-3-Clause */
/* What of the gateway needs no socket: its table of topics, names and passwords, WebSocket. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/mqtt/gateway_login.h"
#include "dataplane/mqtt/topics.h"
#include "dataplane/mqtt/websocket.h"
#include "tests/unit/random.h"

/* -- topics -- */

Test(gateway_topics, are_found_after_the_table_has_grown)
{
	struct hbus_mqtt_topics topics = { .secret = { 1, 2 } };
	char name[32];

	cr_assert_null(hbus_mqtt_topics_find(&topics, "t/0"));
	for (uint32_t i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "t/%u", i);
		cr_assert_eq(hbus_mqtt_topics_add(&topics, name, i + 1), 0);
	}
	for (uint32_t i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "t/%u", i);
		cr_assert_eq(*hbus_mqtt_topics_find(&topics, name), i + 1);
	}
	cr_assert_null(hbus_mqtt_topics_find(&topics, "t/5000"));
	hbus_mqtt_topics_deinit(&topics);
}

Test(gateway_topics, are_found_after_others_were_removed)
{
	struct hbus_mqtt_topics topics = { .secret = { 1, 2 } };
	char name[32];

	for (uint32_t i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "t/%u", i);
		cr_assert_eq(hbus_mqtt_topics_add(&topics, name, i), 0);
	}
	for (uint32_t i = 0; i < 1000; i += 1 + i % 3) {
		snprintf(name, sizeof(name), "t/%u", i);
		hbus_mqtt_topics_remove(&topics, name);
		cr_assert_null(hbus_mqtt_topics_find(&topics, name));
		hbus_mqtt_topics_remove(&topics, name);
		for (uint32_t j = i + 1; j < 1000; j++) {
			snprintf(name, sizeof(name), "t/%u", j);
			cr_assert_eq(*hbus_mqtt_topics_find(&topics, name), j);
		}
	}
	hbus_mqtt_topics_deinit(&topics);
}

Test(gateway_topics, end_at_their_limit)
{
	struct hbus_mqtt_topics topics = { .secret = { 1, 2 } };
	char name[32];

	for (uint32_t i = 0; i < HBUS_MQTT_TOPICS_MAX; i++) {
		snprintf(name, sizeof(name), "%u", i);
		cr_assert_eq(hbus_mqtt_topics_add(&topics, name, 1), 0);
	}
	cr_assert_eq(hbus_mqtt_topics_add(&topics, "one more", 1), -ENOSPC);
	cr_assert_eq(*hbus_mqtt_topics_find(&topics, "65535"), 1);
	hbus_mqtt_topics_deinit(&topics);
}

/* -- passwords -- */

/* crypt("right", SHA-512 with few rounds): quick, for tests. */
#define RIGHT "$6$rounds=1000$salt$"

static char path[64];
static struct hbus_gateway_login *login;

static void file_of(const char *text)
{
	FILE *file;

	snprintf(path, sizeof(path), "/tmp/hugebus-passwords.XXXXXX");
	file = fdopen(mkstemp(path), "w");
	fputs(text, file);
	fclose(file);
}

static int open_file(const char *text, unsigned int *ret_line)
{
	int r;

	file_of(text);
	r = hbus_gateway_login_open(path, ret_line, &login);
	unlink(path);
	return r;
}

static bool ask(const char *name, const char *password)
{
	struct hbus_gateway_answer answer;
	struct pollfd event = { .fd = hbus_gateway_login_fd(login), .events = POLLIN };

	cr_assert(hbus_gateway_login_ask(login, 42, name, strlen(name), password, strlen(password)));
	cr_assert_eq(poll(&event, 1, 10000), 1);
	cr_assert(hbus_gateway_login_answer(login, &answer));
	cr_assert_eq(answer.id, 42);
	cr_assert_not(hbus_gateway_login_answer(login, &answer));
	cr_assert(!answer.is_good || strcmp(answer.name, name) == 0);
	return answer.is_good;
}

static void hash_of_stdin(char *line, size_t size)
{
	file_of("right\n");
	cr_assert_not_null(freopen(path, "r", stdin));
	cr_assert_eq(hbus_gateway_login_hash("ann", line, size), 0);
	unlink(path);
}

Test(gateway_login, lets_those_in_who_know_their_password)
{
	char line[1024];
	unsigned int line_no;

	hash_of_stdin(line, sizeof(line));
	cr_assert(strncmp(line, "ann:$y$", 7) == 0, "%s", line);
	strcat(line, "\n# a comment\n\nbob:$6$rounds=1000$x$y\n");
	cr_assert_eq(open_file(line, &line_no), 0);
	cr_assert(ask("ann", "right"));
	cr_assert_not(ask("ann", "wrong"));
	cr_assert_not(ask("ann", ""));
	cr_assert_not(ask("bob", "right"));
	cr_assert_not(ask("nobody", "right"));
	cr_assert_not(ask("", "right"));
	login = hbus_gateway_login_close(login);
}

Test(gateway_login, refuses_a_file_with_a_bad_line_and_says_which)
{
	unsigned int line;

	cr_assert_eq(open_file("ann:" RIGHT "x\nbob\n", &line), -EINVAL);
	cr_assert_eq(line, 2);
	cr_assert_eq(open_file("ann:plain\n", &line), -EINVAL, "no password in clear");
	cr_assert_eq(open_file("ann:$1$salt$0123\n", &line), -EINVAL, "no MD5");
	cr_assert_eq(open_file("ann:$7$101$ptvNnKz/1nqYAS37$/db0WI0j11Mi+OLF9yOcJldYNAOROXLtjn9KUIDDq8FVe7Ltm4ZGP/1bpg==\n",
			       &line), -EINVAL, "mosquitto_passwd's, of which nobody would ever come in");
	cr_assert_eq(open_file(":" RIGHT "x\n", &line), -EINVAL);
	cr_assert_eq(hbus_gateway_login_open("/nonexistent", &line, &login), -ENOENT);
	cr_assert_eq(line, 0);
}

Test(gateway_login, takes_no_more_questions_than_its_limit)
{
	unsigned int line;
	int n = 0;

	cr_assert_eq(open_file("ann:" RIGHT "x\n", &line), 0);
	while (n < 10 * HBUS_GATEWAY_LOGINS_MAX && hbus_gateway_login_ask(login, 1, "ann", 3, "x", 1))
		n++;
	cr_assert_eq(n, HBUS_GATEWAY_LOGINS_MAX, "answers that nobody took keep their place");
	login = hbus_gateway_login_close(login);
}

/* -- WebSocket -- */

static struct hbus_websocket ws;

static enum hbus_websocket_result websocket_says(const void *bytes, size_t size)
{
	static uint8_t room[70000];
	uint8_t *data = room;

	memcpy(room, bytes, size);
	return hbus_websocket_input(&ws, &data, &size);
}

#define REQUEST(key, upgrade, version, protocol)                                                             \
	"GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: " upgrade "\r\nConnection: keep-alive, Upgrade\r\n"          \
	"Sec-WebSocket-Key: " key "\r\nSec-WebSocket-Version: " version "\r\n"                               \
	"sec-websocket-protocol: mqttv3.1, " protocol "\r\n\r\n"
/* The key and its answer of RFC 6455, 1.3. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define GOOD REQUEST(KEY, "WebSocket", "13", "mqtt")

static bool answers(const char *text)
{
	ws.answer[ws.answer_size] = '\0';
	return strstr((const char *)ws.answer, text) != NULL;
}

static void open_websocket(void)
{
	memset(&ws, 0, sizeof(ws));
	cr_assert_eq(websocket_says(GOOD, strlen(GOOD)), HBUS_WEBSOCKET_ANSWER);
}

Test(websocket, proves_in_its_answer_that_it_read_the_key)
{
	open_websocket();
	cr_assert(answers("HTTP/1.1 101 "));
	cr_assert(answers("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
	cr_assert(answers("Sec-WebSocket-Protocol: mqtt\r\n"));
}

Test(websocket, takes_a_request_byte_by_byte)
{
	memset(&ws, 0, sizeof(ws));
	for (size_t i = 0; i + 1 < strlen(GOOD); i++)
		cr_assert_eq(websocket_says(&GOOD[i], 1), HBUS_WEBSOCKET_MORE);
	cr_assert_eq(websocket_says("\n", 1), HBUS_WEBSOCKET_ANSWER);
}

static void refused(const char *request, const char *status)
{
	memset(&ws, 0, sizeof(ws));
	cr_assert_eq(websocket_says(request, strlen(request)), HBUS_WEBSOCKET_END, "%s", request);
	cr_assert(answers(status), "%s", ws.answer);
	cr_assert_eq(websocket_says("x", 1), HBUS_WEBSOCKET_END);
}

Test(websocket, refuses_requests_that_ask_for_something_else)
{
	static char endless[HBUS_WEBSOCKET_REQUEST_MAX + 1];

	refused(REQUEST("short", "websocket", "13", "mqtt"), "400");
	refused(REQUEST(KEY, "h2c", "13", "mqtt"), "400");
	refused(REQUEST(KEY, "websocket", "8", "mqtt"), "426");
	refused(REQUEST(KEY, "websocket", "13", "amqp"), "400");
	refused("GET / HTTP/1.1\r\n\r\n", "400");
	refused("POST / HTTP/1.1\r\n\r\n", "405");
	memset(endless, 'x', sizeof(endless) - 1);
	refused(endless, "431");
}

Test(websocket, unmasks_data_and_answers_pings_between_its_fragments)
{
	uint8_t bytes[] = { 0x02, 0x82, 1, 2, 3, 4, 'a' ^ 1, 'b' ^ 2,      /* a fragment */
			    0x89, 0x81, 9, 9, 9, 9, '!' ^ 9,               /* a ping */
			    0x80, 0x81, 5, 5, 5, 5, 'c' ^ 5 };             /* the last fragment */
	uint8_t *data = bytes;
	size_t size = sizeof(bytes);

	open_websocket();
	cr_assert_eq(hbus_websocket_input(&ws, &data, &size), HBUS_WEBSOCKET_DATA);
	cr_assert(ws.data_size == 2 && memcmp(ws.data, "ab", 2) == 0);
	cr_assert_eq(hbus_websocket_input(&ws, &data, &size), HBUS_WEBSOCKET_ANSWER);
	cr_assert(ws.answer_size == 3 && memcmp(ws.answer, "\x8a\x01!", 3) == 0);
	cr_assert_eq(hbus_websocket_input(&ws, &data, &size), HBUS_WEBSOCKET_DATA);
	cr_assert(ws.data_size == 1 && ws.data[0] == 'c');
	cr_assert_eq(hbus_websocket_input(&ws, &data, &size), HBUS_WEBSOCKET_MORE);
}

static void ends_on(const void *bytes, size_t size, const char *answer)
{
	open_websocket();
	cr_assert_eq(websocket_says(bytes, size), HBUS_WEBSOCKET_END);
	cr_assert(ws.answer_size == 4 && memcmp(ws.answer, answer, 4) == 0);
}

Test(websocket, ends_on_close_and_on_frames_that_are_not_allowed)
{
	ends_on("\x88\x80\0\0\0\0", 6, "\x88\x02\x03\xe8");
	ends_on("\x82\x01\0\0\0\0x", 7, "\x88\x02\x03\xea"); /* not masked */
	ends_on("\x81\x81\0\0\0\0x", 7, "\x88\x02\x03\xea"); /* text */
	ends_on("\x80\x81\0\0\0\0x", 7, "\x88\x02\x03\xea"); /* goes on with nothing */
	ends_on("\xc2\x81\0\0\0\0x", 7, "\x88\x02\x03\xea"); /* a reserved bit */
	ends_on("\x89\xfe\0\x7e\0\0\0\0", 8, "\x88\x02\x03\xea"); /* a ping of 126 bytes */
	ends_on("\x09\x80\0\0\0\0", 6, "\x88\x02\x03\xea"); /* a ping in fragments */
	ends_on("\x82\xff\xff\0\0\0\0\0\0\0\0\0\0\0", 14, "\x88\x02\x03\xea"); /* 2^63 bytes */
}

Test(websocket, each_frame_is_unmasked_from_its_mask_s_beginning)
{
	/* "abc" and "def", each with the mask 1 2 3 4 */
	static const uint8_t frames[] = "\x82\x83\1\2\3\4" "``\x60" "\x82\x83\1\2\3\4" "ege";
	uint8_t copy[sizeof(frames) - 1], *at = copy;
	size_t left = sizeof(copy);

	open_websocket();
	memcpy(copy, frames, sizeof(copy));
	cr_assert_eq(hbus_websocket_input(&ws, &at, &left), HBUS_WEBSOCKET_DATA);
	cr_assert_eq(ws.data_size, 3);
	cr_assert_arr_eq(ws.data, "abc", 3);
	cr_assert_eq(hbus_websocket_input(&ws, &at, &left), HBUS_WEBSOCKET_DATA);
	cr_assert_arr_eq(ws.data, "def", 3);
}

/* The head that it writes, read as a client's with a mask of zero. */
Test(websocket, gives_the_same_bytes_however_frames_are_cut)
{
	static const size_t sizes[] = { 1, 125, 126, 65535, 65536 };
	static uint8_t stream[70000];
	struct test_random random;

	test_random_init(&random, "websocket");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t head_size = hbus_websocket_head(stream, sizes[i]), end = head_size + 4 + sizes[i], n_got = 0;

		stream[1] |= 0x80;
		memset(stream + head_size, 0, 4);
		memset(stream + head_size + 4, 'x', sizes[i]);
		open_websocket();
		for (size_t at = 0; at < end;) {
			size_t n = 1 + test_random_below(&random, 1000), left = n < end - at ? n : end - at;
			uint8_t *data = stream + at;

			at += left;
			while (hbus_websocket_input(&ws, &data, &left) == HBUS_WEBSOCKET_DATA) {
				cr_assert(ws.data[0] == 'x' && ws.data[ws.data_size - 1] == 'x');
				n_got += ws.data_size;
			}
			cr_assert_not(ws.has_ended);
		}
		cr_assert_eq(n_got, sizes[i]);
	}
}
