/* SPDX-License-Identifier: BSD-3-Clause */
/* MQTT messages as events: nothing is lost on the way, and nothing of a stranger is believed unchecked. */
#include <criterion/criterion.h>
#include <string.h>

#include "dataplane/mqtt/attributes.h"
#include "dataplane/mqtt/cloudevent.h"
#include "dataplane/mqtt/props.h"

static uint8_t room[HBUS_MQTT_ATTRIBUTES_MAX];
static uint8_t props[HBUS_MQTT_ATTRIBUTES_MAX];

static struct hbus_mqtt_message example(void)
{
	return (struct hbus_mqtt_message){
		.props = { (const uint8_t *)"\x26\0\1a\0\1b", 7 },
		.expiry_s = 0xfffffffe,
		.has_expiry = true,
		.is_retain = true,
		.qos = 1,
		.origin = { UINT64_MAX, UINT64_MAX - 1, UINT64_MAX - 2 },
	};
}

Test(mqtt_attributes, come_back_as_they_were)
{
	struct hbus_mqtt_message in = example(), out = { 0 };
	size_t size = hbus_mqtt_attributes_encode(&in, room);

	cr_assert_eq(size, 39);
	cr_assert(hbus_mqtt_attributes_decode(room, size, &out));
	cr_assert(out.qos == 1 && out.is_retain && out.has_expiry && out.expiry_s == in.expiry_s);
	cr_assert_arr_eq(&out.origin, &in.origin, sizeof(in.origin));
	cr_assert(out.props.size == 7 && memcmp(out.props.data, in.props.data, 7) == 0);
}

Test(mqtt_attributes, of_another_kind_leave_the_qos_to_the_subscriber)
{
	struct hbus_mqtt_message in = example(), out = { .is_retain = true };
	size_t size = hbus_mqtt_attributes_encode(&in, room);

	for (size_t cut = 0; cut < size; cut++)
		if (cut != HBUS_MQTT_ATTRIBUTES_SIZE)
			cr_assert_not(hbus_mqtt_attributes_decode(room, cut, &out), "%zu", cut);
	cr_assert(out.qos == 2 && !out.is_retain && out.origin.engine == 0 && out.props.size == 0);
	room[2] = 2;
	cr_assert_not(hbus_mqtt_attributes_decode(room, size, &out), "another version");
}

Test(mqtt_attributes, with_flags_or_properties_that_mean_nothing_are_not_believed)
{
	struct hbus_mqtt_message in = example(), out;
	size_t size = hbus_mqtt_attributes_encode(&in, room);

	room[3] = 3;
	cr_assert_not(hbus_mqtt_attributes_decode(room, size, &out), "QoS 3");
	room[3] = 0x10;
	cr_assert_not(hbus_mqtt_attributes_decode(room, size, &out), "a flag of the future");
	room[3] = 1;
	cr_assert(hbus_mqtt_attributes_decode(room, size, &out));
	room[32] = HBUS_MQTT_P_TOPIC_ALIAS;
	cr_assert_not(hbus_mqtt_attributes_decode(room, size, &out), "a property that is not carried");
}

Test(mqtt_attributes, fit_up_to_their_limit)
{
	struct hbus_mqtt_message in = { .props = { props, HBUS_MQTT_ATTRIBUTES_MAX - HBUS_MQTT_ATTRIBUTES_SIZE } };

	cr_assert_eq(hbus_mqtt_attributes_encode(&in, room), HBUS_MQTT_ATTRIBUTES_MAX);
	in.props.size++;
	cr_assert_eq(hbus_mqtt_attributes_encode(&in, room), 0);
}

static bool next_pair_is(struct hbus_mqtt_reader *reader, const char *key, const char *value)
{
	uint8_t id = hbus_mqtt_get_u8(reader);
	struct hbus_mqtt_span k = hbus_mqtt_get_string(reader), v = hbus_mqtt_get_string(reader);

	return id == HBUS_MQTT_P_USER && k.size == strlen(key) && memcmp(k.data, key, k.size) == 0 &&
	       v.size == strlen(value) && memcmp(v.data, value, v.size) == 0;
}

Test(mqtt_cloudevent, has_the_attributes_as_user_properties)
{
	static uint8_t event[HBUS_MQTT_CLOUDEVENT_MAX];
	size_t size = hbus_mqtt_cloudevent(event, "hugebus://h/", "a b/\xc3\xa4", "", "", 7, UINT64_MAX, UINT64_C(1700000000000000001));
	struct hbus_mqtt_reader reader = hbus_mqtt_reader(event, size);
	struct hbus_mqtt_props checked;

	cr_assert(hbus_mqtt_check_carried(event, size, &checked));
	cr_assert(next_pair_is(&reader, "specversion", "1.0"));
	cr_assert(next_pair_is(&reader, "id", "7:18446744073709551615"));
	cr_assert(next_pair_is(&reader, "source", "hugebus://h/a%20b/%C3%A4"));
	cr_assert(next_pair_is(&reader, "type", "hugebus.event"));
	cr_assert(next_pair_is(&reader, "subject", "a b/\xc3\xa4"));
	cr_assert(next_pair_is(&reader, "time", "2023-11-14T22:13:20.000000001Z"));
	cr_assert_eq(hbus_mqtt_left(&reader), 0);
}

Test(mqtt_cloudevent, has_the_type_and_content_type_that_were_declared)
{
	static uint8_t event[HBUS_MQTT_CLOUDEVENT_MAX];
	size_t size = hbus_mqtt_cloudevent(event, "s/", "t", "org.example.reading", "application/json", 1, 2, 0);
	struct hbus_mqtt_reader reader = hbus_mqtt_reader(event, size);
	struct hbus_mqtt_props checked;

	cr_assert(hbus_mqtt_check_carried(event, size, &checked));
	cr_assert_eq(hbus_mqtt_get_u8(&reader), HBUS_MQTT_P_CONTENT_TYPE);
	cr_assert_eq(hbus_mqtt_get_string(&reader).size, strlen("application/json"));
	cr_assert(next_pair_is(&reader, "specversion", "1.0"));
	cr_assert(next_pair_is(&reader, "id", "1:2"));
	cr_assert(next_pair_is(&reader, "source", "s/t"));
	cr_assert(next_pair_is(&reader, "type", "org.example.reading"));
	size = hbus_mqtt_cloudevent(event, "s/", "t", "\xff", "\xc0\x80", 1, 2, 0);
	cr_assert(hbus_mqtt_check_carried(event, size, &checked), "what is not UTF-8 is left out");
	cr_assert_not(hbus_mqtt_has(&checked, HBUS_MQTT_P_CONTENT_TYPE));
}

Test(mqtt_cloudevent, fits_with_the_longest_topic_and_source)
{
	static uint8_t event[HBUS_MQTT_CLOUDEVENT_MAX];
	static char source[256], topic[256], text[64];
	struct hbus_mqtt_props checked;
	size_t size;

	memset(source, 's', 255);
	memset(topic, ' ', 255);
	memset(text, 't', 63);
	size = hbus_mqtt_cloudevent(event, source, topic, text, text, UINT64_MAX, UINT64_MAX, UINT64_MAX);
	cr_assert(hbus_mqtt_check_carried(event, size, &checked));
	cr_assert_gt(size, 255 + 3 * 255 + 255);
}
