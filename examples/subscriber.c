/* SPDX-License-Identifier: BSD-3-Clause */
/* Prints events until ten have come: subscriber [SOCKET]. See examples/README.md. */
#include <hugebus.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct hbus *bus = NULL;
	struct hbus_subscriber *subscriber = NULL;
	struct hbus_event event;
	int n_events = 0;
	int r = hbus_open(argc > 1 ? argv[1] : NULL, NULL, &bus);

	if (r == 0)
		r = hbus_subscriber_open(bus, NULL, &subscriber);
	if (r == 0)
		r = hbus_subscribe(subscriber, "examples/#");
	while (r >= 0 && n_events < 10) {
		r = hbus_poll(subscriber, &event, 1);
		if (r == 1)
			n_events += printf("%s: %.*s\n", event.topic, (int)event.size, (const char *)event.data) > 0;
		else if (r == 0)
			r = hbus_wait(subscriber, -1);
	}
	if (r < 0)
		fprintf(stderr, "subscriber: %s\n", hbus_error_text());
	hbus_subscriber_close(subscriber);
	hbus_close(bus);
	return r < 0;
}
