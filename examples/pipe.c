/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pipe on the bus: lines "TOPIC TEXT" of stdin become events, and events of a filter become lines.
 *
 *     some-program | pipe 'reply/#' | other-program
 *
 * It shows publishing and subscribing in one loop with other descriptors: hbus_fd() is polled like any other, and is
 * armed only when hbus_poll() has had all. No thread of its own has to wait for events. See examples/README.md.
 */
#include <hugebus.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct pipe {
	struct hbus *bus;
	struct hbus_publisher *publisher;
	struct hbus_subscriber *subscriber;
	char text[65536];
	size_t size; /* bytes that came and are no whole line yet */
};

static int open_pipe(struct pipe *p, const char *filter)
{
	int r = hbus_open(NULL, NULL, &p->bus);

	if (r == 0)
		r = hbus_publisher_open(p->bus, NULL, &p->publisher);
	if (r == 0)
		r = hbus_subscriber_open(p->bus, NULL, &p->subscriber);
	return r == 0 ? hbus_subscribe(p->subscriber, filter) : r;
}

/* Until there is nothing more, and the descriptor will say when there is. */
static int print_events(struct pipe *p)
{
	struct hbus_event events[64];
	struct hbus_loss loss;
	int n;

	do {
		while ((n = hbus_poll(p->subscriber, events, 64)) > 0)
			for (int i = 0; i < n; i++)
				printf("%s %.*s\n", events[i].topic, (int)events[i].size, (const char *)events[i].data);
		while (hbus_next_loss(p->subscriber, &loss) == 1)
			fprintf(stderr, "pipe: %llu events were overwritten\n", (unsigned long long)loss.n_events);
	} while (n == 0 && (n = hbus_fd_arm(p->subscriber)) == 1);
	return fflush(stdout) == 0 ? n : -1;
}

/* The daemon is asked for each topic once; from then on the library knows its number. */
static void publish_line(struct pipe *p, char *line)
{
	char *text = strchr(line, ' ');
	hbus_topic_t topic;
	int r;

	if (!text) {
		fprintf(stderr, "pipe: no text behind the topic: %s\n", line);
		return;
	}
	*text++ = '\0';
	r = hbus_publisher_topic(p->publisher, line, NULL, NULL, &topic);
	if (r == 0)
		r = hbus_publish(p->publisher, topic, text, strlen(text));
	if (r != 0)
		fprintf(stderr, "pipe: %s: %s\n", line, r == HBUS_FULL ? "a reliable reader is too slow" : hbus_error_text());
}

/* Return: false at the end. */
static bool read_lines(struct pipe *p)
{
	ssize_t n = read(STDIN_FILENO, p->text + p->size, sizeof(p->text) - p->size);
	char *line = p->text, *end;

	if (n <= 0)
		return false;
	p->size += (size_t)n;
	while ((end = memchr(line, '\n', p->size - (size_t)(line - p->text)))) {
		*end = '\0';
		publish_line(p, line);
		line = end + 1;
	}
	p->size -= (size_t)(line - p->text);
	memmove(p->text, line, p->size);
	if (p->size < sizeof(p->text))
		return true;
	fprintf(stderr, "pipe: a line is too long\n");
	return false;
}

int main(int argc, char **argv)
{
	static struct pipe p;
	struct pollfd fds[2] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .events = POLLIN } };
	int r = open_pipe(&p, argc > 1 ? argv[1] : "reply/#");

	fds[1].fd = r == 0 ? hbus_fd(p.subscriber) : -1;
	while (r >= 0 && poll(fds, 2, -1) > 0) {
		if (fds[1].revents)
			r = print_events(&p);
		if (r >= 0 && fds[0].revents && !read_lines(&p))
			break;
	}
	if (r < 0)
		fprintf(stderr, "pipe: %s\n", hbus_error_text());
	hbus_subscriber_close(p.subscriber);
	hbus_publisher_close(p.publisher);
	hbus_close(p.bus);
	return r < 0;
}
