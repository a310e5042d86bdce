/* SPDX-License-Identifier: BSD-3-Clause */
/* hugebus.h from C++, against the shared library, on a bus inside this process. */
#include <cstdio>
#include <cstring>

#include "hugebus.h"

static int fail(const char *what)
{
	std::printf("%s: %s\n", what, hbus_error_text());
	return 1;
}

int main()
{
	struct hbus *bus = nullptr;
	struct hbus_publisher *publisher = nullptr;
	struct hbus_subscriber *subscriber = nullptr;
	struct hbus_event event;
	hbus_topic_t topic = 0;
	int r = hbus_open("embedded:", nullptr, &bus);

	if (r == HBUS_E_NOT_FOUND) {
		std::printf("skipped: %s\n", hbus_error_text());
		return 77;
	}
	if (r < 0)
		return fail("hbus_open");
	if (hbus_publisher_open(bus, nullptr, &publisher) < 0 ||
	    hbus_publisher_topic(publisher, "a/b", nullptr, nullptr, &topic) < 0)
		return fail("publisher");
	if (hbus_subscriber_open(bus, nullptr, &subscriber) < 0 || hbus_subscribe(subscriber, "a/#") < 0)
		return fail("subscriber");
	if (hbus_publish(publisher, topic, "hello", 5) != 0)
		return fail("hbus_publish");
	if (hbus_wait(subscriber, 2000) != 1 || hbus_poll(subscriber, &event, 1) != 1)
		return fail("hbus_poll");
	if (event.size != 5 || std::memcmp(event.data, "hello", 5) != 0 || std::strcmp(event.topic, "a/b") != 0)
		return fail("the event");
	hbus_subscriber_close(subscriber);
	hbus_publisher_close(publisher);
	hbus_close(bus);
	return 0;
}
