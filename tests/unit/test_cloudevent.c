/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Events as CloudEvents: what a payload becomes, what is escaped, and that it comes back the same.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cli/base64.h"
#include "ctl/cli/cloudevent.h"
#include "ctl/cli/json.h"
#include "tests/unit/random.h"

static char encoded[65536];

static const char *encode(const void *data, size_t size, const char *content_type)
{
	struct hbus_event event = {
		.data = data, .size = size, .topic = "a/b", .ring_id = 7, .sequence = 42
	};
	struct hbus_text text = { 0 };

	hbus_cloudevent_encode(&text, &event, "hugebus://h/", NULL, content_type);
	snprintf(encoded, sizeof(encoded), "%s", hbus_text_string(&text));
	hbus_text_free(&text);
	return encoded;
}

#define HEAD                                                                                                  \
	"{\"specversion\":\"1.0\",\"id\":\"7:42\",\"source\":\"hugebus://h/a/b\",\"type\":\"hugebus.event\"," \
	"\"subject\":\"a/b\""

Test(cloudevent, text_becomes_a_string)
{
	cr_assert_str_eq(encode("hello", 5, NULL),
			 HEAD ",\"datacontenttype\":\"text/plain\",\"data\":\"hello\"}");
	cr_assert_str_eq(encode("<a/>", 4, "text/xml"),
			 HEAD ",\"datacontenttype\":\"text/xml\",\"data\":\"<a/>\"}");
}

Test(cloudevent, an_empty_payload_has_no_data)
{
	cr_assert_str_eq(encode("", 0, NULL), HEAD "}");
}

Test(cloudevent, json_becomes_a_value_as_it_stands)
{
	const char *json = "{\"x\": 1.50, \"y\": [1e3, null, 18446744073709551616]}";
	char expected[512];

	snprintf(expected, sizeof(expected),
		 HEAD ",\"datacontenttype\":\"application/json\",\"data\":%s}", json);
	cr_assert_str_eq(encode(json, strlen(json), "application/json"), expected);
	cr_assert(strstr(encode("5", 1, "application/vnd.x+json; charset=utf-8"), "\"data\":5}"));
	cr_assert(strstr(encode("\"s\"", 3, "Application/JSON"), "\"data\":\"s\"}"));
}

Test(cloudevent, json_of_several_lines_stays_one_line)
{
	cr_assert(strstr(encode("{\r\n \"x\":\n1}", 11, "application/json"),
			 "\"data\":{   \"x\": 1}}"));
}

Test(cloudevent, what_claims_to_be_json_and_is_not_becomes_base64)
{
	cr_assert_str_eq(encode("{oops", 5, "application/json"), HEAD
			 ",\"datacontenttype\":\"application/json\",\"data_base64\":\"e29vcHM=\"}");
	/* Two values are not one. */
	cr_assert(strstr(encode("1 2", 3, "application/json"), "\"data_base64\":\"MSAy\"}"));
	/* Nor may a payload close the object that it stands in. */
	cr_assert(strstr(encode("1},{\"id\":\"9\"", 12, "application/json"), "\"data_base64\":"));
}

Test(cloudevent, bytes_that_are_not_text_become_base64)
{
	cr_assert_str_eq(
		encode("\xff\x00\x01", 3, NULL),
		HEAD ",\"datacontenttype\":\"application/octet-stream\",\"data_base64\":\"/wAB\"}");
	cr_assert(strstr(encode("a\0b", 3, NULL), "\"data_base64\":\"YQBi\"}"));
	cr_assert(strstr(encode("\xed\xa0\x80", 3, "text/plain"), "\"data_base64\":"));
	cr_assert(strstr(encode("\xc3", 1, NULL), "\"data_base64\":"));
}

Test(cloudevent, strings_are_escaped)
{
	cr_assert(strstr(encode("\"\\\n\t\r\x01\x1f\x7f/", 9, NULL),
			 "\"data\":\"\\\"\\\\\\n\\t\\r\\u0001\\u001f\\u007f/\"}"));
	cr_assert(strstr(encode("gr\xc3\xbc\xc3\x9f \xf0\x9f\x9a\x8c", 11, NULL),
			 "\"data\":\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x9a\x8c\"}"));
}

Test(cloudevent, a_topic_is_percent_encoded_in_the_source_only)
{
	struct hbus_event event = {
		.data = "x", .size = 1, .topic = "a b/\xc3\xbc?#\"", .ring_id = 1
	};
	struct hbus_text text = { 0 };

	hbus_cloudevent_encode(&text, &event, "hugebus://h/", "t", "text/plain");
	cr_assert(strstr(hbus_text_string(&text),
			 "\"source\":\"hugebus://h/a%20b/%C3%BC%3F%23%22\""));
	cr_assert(strstr(hbus_text_string(&text), "\"subject\":\"a b/\xc3\xbc?#\\\"\""));
	cr_assert(strstr(hbus_text_string(&text), "\"type\":\"t\""));
	hbus_text_free(&text);
}

Test(cloudevent, time_and_key_are_there_when_the_event_has_them)
{
	struct hbus_event event = { .data = "x",
				    .size = 1,
				    .topic = "a",
				    .time_ns = 1700000000123456789u,
				    .key = 4000000000u,
				    .has_key = 1 };
	struct hbus_text text = { 0 };

	hbus_cloudevent_encode(&text, &event, "s/", NULL, NULL);
	cr_assert(strstr(hbus_text_string(&text), "\"time\":\"2023-11-14T22:13:20.123456789Z\""));
	cr_assert(strstr(hbus_text_string(&text), "\"partitionkey\":\"4000000000\""));
	hbus_text_free(&text);
}

static const char *decode(const char *line, struct hbus_cloudevent *event)
{
	return hbus_cloudevent_decode(line, strlen(line), event);
}

static void assert_payload(const char *line, const void *expected, size_t size)
{
	struct hbus_cloudevent event;
	const char *fault = decode(line, &event);

	cr_assert_null(fault, "%s: %s", line, fault);
	cr_assert_eq(event.payload.len, size, "%s: %zu bytes", line, event.payload.len);
	cr_assert(size == 0 || memcmp(event.payload.data, expected, size) == 0, "%s", line);
	hbus_cloudevent_deinit(&event);
}

Test(cloudevent, decodes_each_form_of_data)
{
	assert_payload("{\"datacontenttype\":\"text/plain\",\"data\":\"a\\u0000b\"}", "a\0b", 3);
	assert_payload("{\"data\":\"x\"}", "\"x\"", 3);
	assert_payload("{\"data\":{\"a\": [1, true]}}", "{\"a\":[1,true]}", 14);
	assert_payload("{\"data\":0}", "0", 1);
	assert_payload("{\"data_base64\":\"/wAB\"}", "\xff\x00\x01", 3);
	assert_payload("{\"data_base64\":\"\"}", "", 0);
	assert_payload("{}", "", 0);
	assert_payload("{\"data\":-7}", "-7", 2);
	/* Beyond 64 bits only its magnitude is kept. */
	assert_payload("{\"data\":100000000000000000000}", "1e20", 4);
}

Test(cloudevent, decodes_attributes)
{
	struct hbus_cloudevent event;

	cr_assert_null(decode(
		"{\"specversion\":\"1.0\",\"subject\":\"a/b\",\"type\":\"t\",\"datacontenttype\":\"text/plain\","
		"\"time\":\"2023-11-14T22:13:20.5Z\",\"data\":\"x\"}",
		&event));
	cr_assert_str_eq(event.subject, "a/b");
	cr_assert_str_eq(event.type, "t");
	cr_assert_str_eq(event.content_type, "text/plain");
	cr_assert_eq(event.time_ns, 1700000000500000000u);
	hbus_cloudevent_deinit(&event);
}

Test(cloudevent, refuses_what_is_not_an_event)
{
	static const char *const bad[] = {
		"",
		"[]",
		"1",
		"{",
		"{} {}",
		"{\"data\":1,\"data_base64\":\"\"}",
		"{\"data_base64\":1}",
		"{\"data_base64\":\"a\"}",
		"{\"subject\":1}",
		"{\"subject\":\"a\\u0000\"}",
		"{\"specversion\":\"0.3\"}",
		"{\"time\":\"yesterday\"}",
	};
	struct hbus_cloudevent event;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not_null(decode(bad[i], &event), "%s was taken", bad[i]);
}

Test(cloudevent, time_is_rfc_3339)
{
	uint64_t ns;

	cr_assert(hbus_cloudevent_parse_time("1970-01-01T00:00:00Z", &ns) && ns == 0);
	cr_assert(hbus_cloudevent_parse_time("2023-11-14T23:43:20.000000001+01:30", &ns) &&
		  ns == 1700000000000000001u);
	cr_assert(hbus_cloudevent_parse_time("2023-11-14T17:13:20-05:00", &ns) &&
		  ns == 1700000000000000000u);
	cr_assert(hbus_cloudevent_parse_time("2023-11-14t22:13:20.1234567899z", &ns) &&
		  ns == 1700000000123456789u);
	cr_assert_not(hbus_cloudevent_parse_time("1969-12-31T23:59:59Z", &ns));
	cr_assert_not(hbus_cloudevent_parse_time("2023-11-14T22:13:20", &ns));
	cr_assert_not(hbus_cloudevent_parse_time("2023-11-14T22:13:20.Z", &ns));
	cr_assert_not(hbus_cloudevent_parse_time("2023-11-14T22:13:20+1:30", &ns));
	cr_assert_not(hbus_cloudevent_parse_time("2023-13-14T22:13:20Z", &ns));
	cr_assert_not(hbus_cloudevent_parse_time("2999-01-01T00:00:00Z", &ns));
}

Test(cloudevent, any_bytes_come_back_from_one_valid_line)
{
	struct test_random random;
	unsigned char data[64];

	test_random_init(&random, "cloudevent");
	for (int round = 0; round < 2000; round++) {
		size_t size = test_random_below(&random, sizeof(data)) + 1;
		const char *content_type =
			test_random_below(&random, 2) ? "application/json" : NULL;
		struct hbus_cloudevent event;
		const char *fault;

		/* Mostly ASCII, so that text and JSON are met too. */
		for (size_t i = 0; i < size; i++)
			data[i] = (unsigned char)(test_random_below(&random, 20)
							  ? test_random_below(&random, 128)
							  : test_random_below(&random, 256));
		encode(data, size, content_type);
		cr_assert_null(strpbrk(encoded, "\n\r"));
		fault = decode(encoded, &event);
		cr_assert_null(fault, "%s: %s", fault, encoded);
		if (!content_type || strstr(encoded, "data_base64"))
			cr_assert(event.payload.len == size &&
					  memcmp(event.payload.data, data, size) == 0,
				  "%s", encoded);
		hbus_cloudevent_deinit(&event);
	}
}

/* -- base64: the vectors of RFC 4648 -- */

Test(cloudevent, base64_vectors)
{
	static const char *const vectors[][2] = { { "", "" },
						  { "f", "Zg==" },
						  { "fo", "Zm8=" },
						  { "foo", "Zm9v" },
						  { "foob", "Zm9vYg==" },
						  { "fooba", "Zm9vYmE=" },
						  { "foobar", "Zm9vYmFy" } };
	struct hbus_text text = { 0 };

	for (size_t i = 0; i < 7; i++) {
		text.len = 0;
		hbus_base64_encode(&text, vectors[i][0], strlen(vectors[i][0]));
		cr_assert_str_eq(hbus_text_string(&text), vectors[i][1]);
		text.len = 0;
		cr_assert(hbus_base64_decode(&text, vectors[i][1], strlen(vectors[i][1])));
		cr_assert_str_eq(hbus_text_string(&text), vectors[i][0]);
	}
	hbus_text_free(&text);
}

Test(cloudevent, base64_refuses_what_is_not_strict)
{
	static const char *const bad[] = { "Zg",   "Zg=",      "Zh==", "Zm9=", "Z===",
					   "====", "Zg==Zg==", "Zm 9", "Zm9-", "=Zm9" };
	struct hbus_text text = { 0 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_not(hbus_base64_decode(&text, bad[i], strlen(bad[i])), "%s was taken",
			      bad[i]);
		cr_assert_eq(text.len, 0);
	}
	hbus_text_free(&text);
}
