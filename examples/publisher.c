/* SPDX-License-Identifier: BSD-3-Clause */
/* Publishes ten events: publisher [SOCKET]. See examples/README.md. */
#include <hugebus.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct hbus *bus = NULL;
	struct hbus_publisher *publisher = NULL;
	hbus_topic_t topic;
	char text[32];
	int r = hbus_open(argc > 1 ? argv[1] : NULL, NULL, &bus);

	if (r == 0)
		r = hbus_publisher_open(bus, NULL, &publisher);
	if (r == 0)
		r = hbus_publisher_topic(publisher, "examples/greeting", NULL, "text/plain", &topic);
	for (int i = 1; i <= 10 && r == 0; i++) {
		snprintf(text, sizeof(text), "hello %d", i);
		r = hbus_publish(publisher, topic, text, strlen(text));
	}
	if (r != 0)
		fprintf(stderr, "publisher: %s\n", r == HBUS_FULL ? "a subscriber is too slow" : hbus_error_text());
	hbus_publisher_close(publisher);
	hbus_close(bus);
	return r != 0;
}
