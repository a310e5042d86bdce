/* SPDX-License-Identifier: BSD-3-Clause */
/* The set of QoS 2 identifiers, as a list and as bits, beside one that keeps a flag for each. */
#include <criterion/criterion.h>
#include <string.h>

#include "dataplane/mqtt/received.h"
#include "tests/unit/random.h"

static bool naive[65536];

static void expect_same(const struct hbus_mqtt_received *received, uint32_t n)
{
	cr_assert_eq(received->n, n);
	for (uint32_t id = 1; id < 65536; id++)
		cr_assert_eq(hbus_mqtt_received_has(received, (uint16_t)id), naive[id], "identifier %u of %u", id, n);
}

/* Grows beyond the list and shrinks to nothing, again and again; what is released was not always the last. */
Test(mqtt_received, agrees_with_a_flag_for_each_identifier)
{
	struct hbus_mqtt_received received = { 0 };
	struct test_random random;
	uint32_t n = 0;

	test_random_init(&random, "mqtt_received");
	for (uint32_t step = 0; step < 20000; step++) {
		bool is_growing = step / 300 % 2 == 0;
		uint16_t id = (uint16_t)(1 + test_random_below(&random, 200));

		if (naive[id] && !(is_growing && test_random_below(&random, 3))) {
			cr_assert(hbus_mqtt_received_remove(&received, id));
			naive[id] = false;
			n--;
		} else if (!naive[id] && is_growing) {
			cr_assert(hbus_mqtt_received_add(&received, id));
			naive[id] = true;
			n++;
		} else if (!naive[id]) {
			cr_assert_not(hbus_mqtt_received_remove(&received, id));
		}
		if (step % 97 == 0)
			expect_same(&received, n);
	}
	for (uint32_t id = 1; id <= 200; id++)
		if (naive[id]) {
			cr_assert(hbus_mqtt_received_remove(&received, (uint16_t)id));
			naive[id] = false;
			expect_same(&received, --n);
		}
	cr_assert_null(received.bits);
	hbus_mqtt_received_deinit(&received);
}

Test(mqtt_received, takes_every_identifier_there_is)
{
	struct hbus_mqtt_received received = { 0 };

	for (uint32_t id = 1; id < 65536; id++) {
		cr_assert(hbus_mqtt_received_add(&received, (uint16_t)id));
		naive[id] = true;
	}
	expect_same(&received, 65535);
	for (uint32_t id = 65535; id > 0; id--)
		cr_assert(hbus_mqtt_received_remove(&received, (uint16_t)id));
	cr_assert_null(received.bits);
	cr_assert_not(hbus_mqtt_received_has(&received, 1));
	hbus_mqtt_received_deinit(&received);
}
