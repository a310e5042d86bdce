/* SPDX-License-Identifier: BSD-3-Clause */
/* CloudEvents for MQTT 3.1.1: JSON, and what is JSON already. */
#include "dataplane/mqtt/structured.h"
#include "tests/unit/mqtt_kit.h"

static bool is_json(const char *text)
{
	return hbus_mqtt_is_json((const uint8_t *)text, strlen(text));
}

Test(mqtt_json, is_told_from_what_is_not)
{
	static const char *const good[] = { "1", "-0.5e+10", " \"a\\u00e4\\n\" ", "true", "null", "[]", "{}", "[1,[2,{}],\"x\"]",
					    "{\"a\":{\"b\":[]},\"c\":0}", "\t{ \"a\" : 1 , \"b\" : [ ] }\r\n", "\"gr\xc3\xbc\xc3\x9f\"" };
	static const char *const bad[] = { "", " ", "01", "1.", "-", "1e", "+1", ".5", "tru", "nulll", "\"a", "\"\\x\"", "\"\\u12g4\"",
					   "\"\n\"", "[", "]", "[1,]", "[,1]", "[1 2]", "{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1,}",
					   "{\"a\":1]", "[1}", "1 2", "{}[]", "\"\xff\"", "'a'", "{\"a\" 1}", ",", ":", "{,}" };

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		cr_assert(is_json(good[i]), "%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not(is_json(bad[i]), "%s", bad[i]);
}

Test(mqtt_json, has_a_depth)
{
	char text[600];

	memset(text, '[', 256);
	memset(text + 256, ']', 256);
	cr_assert(hbus_mqtt_is_json((const uint8_t *)text, 512));
	cr_assert_not(hbus_mqtt_is_json((const uint8_t *)text, 511));
	memset(text, '[', 257);
	memset(text + 257, ']', 257);
	cr_assert_not(hbus_mqtt_is_json((const uint8_t *)text, 514));
}

#define ATTRIBUTES "\x26\0\x0bspecversion\0\3" "1.0\x26\0\2id\0\2" "7\"\x26\0\6source\0\2/s\x26\0\4type\0\1t"
#define TYPE(size, text) "\3\0" size text

static const char *structured(const char *props, size_t props_size, const char *payload, size_t size)
{
	static char text[1024];
	const struct hbus_mqtt_message message = { .topic = "t", .payload = payload, .payload_size = size,
						   .props = { (const uint8_t *)props, props_size } };
	char *json = NULL;
	size_t n = hbus_mqtt_structured(&message, &json);

	cr_assert_lt(n, sizeof(text));
	memcpy(text, json ? json : "", n);
	text[n] = '\0';
	cr_assert(n == 0 || hbus_mqtt_is_json((const uint8_t *)text, n), "%s", text);
	free(json);
	return text;
}

#define STRUCTURED(props, payload, text) \
	cr_assert_str_eq(structured(props, sizeof(props) - 1, payload, sizeof(payload) - 1), text)
#define BEGIN "{\"specversion\":\"1.0\",\"id\":\"7\\\"\",\"source\":\"/s\",\"type\":\"t\""

Test(mqtt_structured, has_the_attributes_and_the_data_as_their_type_says)
{
	STRUCTURED(ATTRIBUTES, "", BEGIN "}");
	STRUCTURED(ATTRIBUTES, "a\"b\n", BEGIN ",\"datacontenttype\":\"text/plain\",\"data\":\"a\\\"b\\u000a\"}");
	STRUCTURED(ATTRIBUTES, "\xff\0\1", BEGIN ",\"datacontenttype\":\"application/octet-stream\",\"data_base64\":\"/wAB\"}");
	STRUCTURED(ATTRIBUTES TYPE("\x10", "application/json"), "{\"a\":1}",
		   BEGIN ",\"datacontenttype\":\"application/json\",\"data\":{\"a\":1}}");
	STRUCTURED(ATTRIBUTES TYPE("\x10", "application/json"), "{\"a\":",
		   BEGIN ",\"datacontenttype\":\"application/json\",\"data_base64\":\"eyJhIjo=\"}");
	STRUCTURED(ATTRIBUTES TYPE("\x06", "x+json"), "2", BEGIN ",\"datacontenttype\":\"x+json\",\"data\":2}");
	STRUCTURED(ATTRIBUTES TYPE("\x08", "text/csv") "\x26\0\x03key\0\1k", "1,2",
		   BEGIN ",\"key\":\"k\",\"datacontenttype\":\"text/csv\",\"data\":\"1,2\"}");
}

Test(mqtt_structured, leaves_out_what_is_no_attribute)
{
	STRUCTURED(ATTRIBUTES "\x26\0\x04Name\0\1x\x26\0\4data\0\1x\x26\0\2id\0\1x\x26\0\x0b" "data_base64\0\1x\1\1\x08\0\1r", "",
		   BEGIN "}");
}

Test(mqtt_structured, is_not_made_of_what_is_no_cloudevent_or_is_structured)
{
	STRUCTURED("", "x", "");
	STRUCTURED("\x26\0\2id\0\1x", "x", "");
	STRUCTURED(ATTRIBUTES TYPE("\x1c", "application/cloudevents+json"), "{}", "");
	STRUCTURED("\x26\0\2", "x", "");
}

static void begin(void)
{
	kit_defaults();
	config.structures_cloudevents = true;
	kit_start();
}

TestSuite(mqtt_cloudevents_for_all, .init = begin, .fini = kit_end);

Test(mqtt_cloudevents_for_all, go_as_json_to_3_and_with_properties_to_5)
{
	struct kit_client *three = connected("c", V3), *five = connected("d", V5);

	subscribe(three, 1, "t", 1);
	subscribe(five, 1, "t", 1);
	hear(three);
	hear(five);
	publish_with(five, "t", "x", 2, 1, ATTRIBUTES, sizeof(ATTRIBUTES) - 1);
	publish(five, "t", "plain", 2, 2);
	settle();
	HEARS(three, "PUBLISH t q1 r0 d0 #1 " BEGIN ",\"datacontenttype\":\"text/plain\",\"data\":\"x\"}");
	HEARS(three, "PUBLISH t q1 r0 d0 #2 plain");
	HEARS(five, "PUBACK #1");
	HEARS(five, "PUBACK #2");
	HEARS(five, "PUBLISH t q1 r0 d0 #1 x specversion=1.0 id=7\" source=/s type=t");
}
