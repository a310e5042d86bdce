/* SPDX-License-Identifier: BSD-3-Clause */
/* MQTT messages as events: nothing is lost on the way, and nothing of a stranger is believed unchecked. */
#include <criterion/criterion.h>
#include <string.h>

#include "dataplane/mqtt/attributes.h"

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
