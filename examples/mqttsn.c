/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small MQTT-SN 1.2 client: publish, subscribe, sleep, search for a gateway. It needs nothing of
 * hugebus, so that it can speak to any gateway, and be read on its own.
 *
 *     mqttsn -h 10.0.0.1 pub -t plant/temp -m 21.5 -q 1
 *     mqttsn -h 10.0.0.1 sub -t 'plant/#' -q 2 -C 10
 *     mqttsn -h 10.0.0.1 sleep -t 'plant/#' -S 10 -C 3
 *
 * One message is under way at a time, said again each second, five times unless told otherwise.
 */
#include <argp.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_MAX = 2048, TOPICS_MAX = 1024, RETRY_MS = 1000, DURATION_S = 60 };

enum type {
	SEARCHGW = 0x01, GWINFO = 0x02, CONNECT = 0x04, CONNACK = 0x05, WILLTOPICREQ = 0x06,
	WILLTOPIC = 0x07, WILLMSGREQ = 0x08, WILLMSG = 0x09, REGISTER = 0x0a, REGACK = 0x0b,
	PUBLISH = 0x0c, PUBACK = 0x0d, PUBCOMP = 0x0e, PUBREC = 0x0f, PUBREL = 0x10, SUBSCRIBE = 0x12,
	SUBACK = 0x13, PINGREQ = 0x16, PINGRESP = 0x17, DISCONNECT = 0x18,
};

enum flag { DUP = 0x80, RETAIN = 0x10, WILL = 0x08, CLEAN = 0x04, PREDEFINED = 1, SHORT = 2 };

struct options {
	const char *summary;
	const char *host, *port, *id, *command, *topic, *message, *will_topic, *will_message;
	int qos;
	bool is_retained, keeps_session, is_quiet, stays;
	unsigned int predefined, count, sleep_s, size;
	unsigned int n_tries;
	double rate, wait_s, nap_s;
};

struct client {
	const struct options *o;
	int fd;
	uint16_t next_id;
	char *names[TOPICS_MAX];     /* by identifier, as the gateway or we have registered them */
	unsigned int n_received;
	unsigned long n_datagrams, n_published; /* PUBLISH, said again or not */
	uint16_t last_qos2;          /* received and not released */
};

static volatile sig_atomic_t must_end;

static void on_signal(int number)
{
	(void)number;
	must_end = 1;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void die(const char *what)
{
	fprintf(stderr, "mqttsn: %s\n", what);
	exit(1);
}

/* ---- messages ------------------------------------------------------------------------------ */

struct message {
	uint8_t type;
	const uint8_t *body;
	size_t size;
};

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static size_t build(uint8_t *room, uint8_t type, const void *head, size_t head_size, const void *data,
		    size_t data_size)
{
	size_t size = 2 + head_size + data_size;
	uint8_t *at = room;

	if (size > 255) {
		size += 2;
		*at++ = 1;
		*at++ = (uint8_t)(size >> 8);
	}
	if (size > MESSAGE_MAX)
		die("the message is too long");
	*at++ = (uint8_t)size;
	*at++ = type;
	if (head_size > 0)
		memcpy(at, head, head_size);
	if (data_size > 0)
		memcpy(at + head_size, data, data_size);
	return size;
}

static void say(struct client *client, uint8_t type, const void *head, size_t head_size,
		const void *data, size_t data_size)
{
	uint8_t room[MESSAGE_MAX];
	size_t size = build(room, type, head, head_size, data, data_size);

	client->n_datagrams++;
	client->n_published += type == PUBLISH;
	/* What is lost is said again; what cannot be sent now is as good as lost. */
	(void)!send(client->fd, room, size, 0);
}

static bool parse(const uint8_t *bytes, size_t size, struct message *message)
{
	size_t at = size > 0 && bytes[0] == 1 ? 3 : 1;

	if (size < at + 1 || (at == 1 ? bytes[0] : get16(bytes + 1)) != size)
		return false;
	*message = (struct message){ bytes[at], bytes + at + 1, size - at - 1 };
	return true;
}

static void say_id(struct client *client, uint8_t type, uint16_t id)
{
	const uint8_t head[] = { (uint8_t)(id >> 8), (uint8_t)id };

	say(client, type, head, sizeof(head), NULL, 0);
}

static void say_ack(struct client *client, uint8_t type, uint16_t topic, uint16_t id, uint8_t code)
{
	const uint8_t head[] = { (uint8_t)(topic >> 8), (uint8_t)topic, (uint8_t)(id >> 8), (uint8_t)id,
				 code };

	say(client, type, head, sizeof(head), NULL, 0);
}

/* ---- what gateways say by themselves ---------------------------------------------------------- */

static void remember(struct client *client, uint16_t id, const void *name, size_t size)
{
	if (id >= TOPICS_MAX)
		return;
	free(client->names[id]);
	client->names[id] = strndup(name, size);
}

static void show(struct client *client, uint8_t flags, uint16_t topic, const uint8_t *data, size_t size)
{
	client->n_received++;
	if (client->o->is_quiet)
		return;
	if ((flags & 3) == SHORT)
		printf("%c%c ", topic >> 8, topic & 255);
	else if ((flags & 3) == PREDEFINED)
		printf("#%u ", topic);
	else
		printf("%s ", topic < TOPICS_MAX && client->names[topic] ? client->names[topic] : "?");
	fwrite(data, 1, size, stdout);
	putchar('\n');
	fflush(stdout);
}

static void on_publish(struct client *client, const struct message *m)
{
	uint8_t flags = m->body[0], qos = (flags >> 5) & 3;
	uint16_t topic, id;

	if (m->size < 5)
		return;
	topic = get16(m->body + 1);
	id = get16(m->body + 3);
	if ((flags & 3) == 0 && (topic >= TOPICS_MAX || !client->names[topic])) {
		say_ack(client, PUBACK, topic, id, 2);
		return;
	}
	if (qos != 2 || client->last_qos2 != id)
		show(client, flags, topic, m->body + 5, m->size - 5);
	if (qos == 1)
		say_ack(client, PUBACK, topic, id, 0);
	if (qos == 2) {
		client->last_qos2 = id;
		say_id(client, PUBREC, id);
	}
}

/* Return: whether it was something that nobody waits for. */
static bool serve(struct client *client, const struct message *m)
{
	switch (m->type) {
	case PUBLISH:
		if (m->size >= 5)
			on_publish(client, m);
		return true;
	case REGISTER:
		if (m->size < 4)
			return true;
		remember(client, get16(m->body), m->body + 4, m->size - 4);
		say_ack(client, REGACK, get16(m->body), get16(m->body + 2), 0);
		return true;
	case PUBREL:
		if (m->size < 2)
			return true;
		client->last_qos2 = 0;
		say_id(client, PUBCOMP, get16(m->body));
		return true;
	case WILLTOPICREQ: {
		const uint8_t flags = 0x20;

		say(client, WILLTOPIC, &flags, 1, client->o->will_topic, strlen(client->o->will_topic));
		return true;
	}
	case WILLMSGREQ:
		say(client, WILLMSG, NULL, 0, client->o->will_message, strlen(client->o->will_message));
		return true;
	default: return false;
	}
}

/* The identifier that an answer repeats; 0 where there is none. */
static uint16_t id_of(const struct message *m)
{
	static const uint8_t ats[] = { [REGACK] = 2, [PUBACK] = 2, [SUBACK] = 3 };
	size_t at = m->type < sizeof(ats) ? ats[m->type] : 0;
	bool has_id = at > 0 || m->type == PUBREC || m->type == PUBCOMP;

	return has_id && m->size >= at + 2 ? get16(m->body + at) : 0;
}

static bool has_enough(const struct client *client)
{
	return client->o->count > 0 && client->n_received >= client->o->count;
}

/* Return: whether the answer @type to request @id came before @until_ms; what comes meanwhile is served. */
static bool hear(struct client *client, uint8_t type, uint16_t id, uint64_t until_ms, uint8_t *room, struct message *m)
{
	while (!must_end) {
		struct pollfd fd = { .fd = client->fd, .events = POLLIN };
		uint64_t now = now_ms();
		ssize_t size;

		if (now >= until_ms || poll(&fd, 1, (int)(until_ms - now)) <= 0)
			return false;
		size = recv(client->fd, room, MESSAGE_MAX, 0);
		if (size < 0 || !parse(room, (size_t)size, m) || serve(client, m)) {
			if (type == PINGRESP && has_enough(client))
				return false;
			continue;
		}
		if (m->type == type && id_of(m) == id)
			return true;
		if (m->type == DISCONNECT)
			die("the gateway has closed the connection");
	}
	return false;
}

/*
 * What has come meanwhile. Of what was said twice the second answer may be there: PINGRESP and DISCONNECT have no
 * identifier, and would be taken for the answer to what is said next, again and again.
 */
static void hear_out(struct client *client)
{
	uint8_t room[MESSAGE_MAX];
	struct message m;
	ssize_t size;

	while ((size = recv(client->fd, room, sizeof(room), MSG_DONTWAIT)) >= 0)
		if (parse(room, (size_t)size, &m))
			(void)serve(client, &m);
}

/* Says it until it is answered. @id: of the request, which the answer repeats. Return: whether it was. */
static bool try_ask(struct client *client, uint8_t type, uint8_t answer, uint16_t id, const void *head,
		    size_t head_size, const void *data, size_t data_size, struct message *m)
{
	static uint8_t room[MESSAGE_MAX];

	for (unsigned int i = 0; i < client->o->n_tries && !must_end; i++) {
		say(client, type, head, head_size, data, data_size);
		if (hear(client, answer, id, now_ms() + RETRY_MS, room, m))
			return true;
	}
	return false;
}

static struct message ask(struct client *client, uint8_t type, uint8_t answer, uint16_t id, const void *head,
			  size_t head_size, const void *data, size_t data_size)
{
	struct message m = { 0 };

	if (!try_ask(client, type, answer, id, head, head_size, data, data_size, &m))
		die(must_end ? "interrupted" : "no answer");
	return m;
}

/* ---- requests ------------------------------------------------------------------------------- */

static void check_code(uint8_t code, const char *what)
{
	static const char *const words[] = { "accepted", "congestion", "invalid topic", "not supported" };

	if (code == 0)
		return;
	fprintf(stderr, "mqttsn: %s refused: %s\n", what, code < 4 ? words[code] : "?");
	exit(1);
}

static void connect_gateway(struct client *client)
{
	const struct options *o = client->o;
	const uint8_t head[] = { (uint8_t)((o->keeps_session ? 0 : CLEAN) | (o->will_topic ? WILL : 0)), 1,
				 DURATION_S >> 8, DURATION_S & 255 };
	struct message m = ask(client, CONNECT, CONNACK, 0, head, sizeof(head), o->id, strlen(o->id));

	check_code(m.size > 0 ? m.body[0] : 255, "the connection was");
}

static uint16_t new_id(struct client *client)
{
	if (++client->next_id == 0)
		client->next_id = 1;
	return client->next_id;
}

/* The identifier of the topic in the options, and its kind. */
static uint16_t topic_id(struct client *client, uint8_t *kind)
{
	const struct options *o = client->o;
	uint16_t id = new_id(client);
	const uint8_t head[] = { 0, 0, (uint8_t)(id >> 8), (uint8_t)id };
	struct message m;

	if (o->predefined) {
		*kind = PREDEFINED;
		return (uint16_t)o->predefined;
	}
	if (strlen(o->topic) == 2) {
		*kind = SHORT;
		return get16((const uint8_t *)o->topic);
	}
	*kind = 0;
	m = ask(client, REGISTER, REGACK, id, head, sizeof(head), o->topic, strlen(o->topic));
	check_code(m.size >= 5 ? m.body[4] : 255, "the topic was");
	return get16(m.body);
}

static void publish_one(struct client *client, uint8_t kind, uint16_t topic, const char *text, size_t size)
{
	const struct options *o = client->o;
	uint16_t id = o->qos > 0 ? new_id(client) : 0;
	uint8_t head[] = { (uint8_t)(kind | (o->qos & 3) << 5 | (o->is_retained ? RETAIN : 0)),
			   (uint8_t)(topic >> 8), (uint8_t)topic, (uint8_t)(id >> 8), (uint8_t)id };
	struct message m;

	if (o->qos <= 0) {
		say(client, PUBLISH, head, sizeof(head), text, size);
		return;
	}
	m = ask(client, PUBLISH, o->qos == 1 ? PUBACK : PUBREC, id, head, sizeof(head), text, size);
	if (o->qos == 1) {
		check_code(m.size >= 5 ? m.body[4] : 255, "the message was");
		return;
	}
	(void)ask(client, PUBREL, PUBCOMP, id, head + 3, 2, NULL, 0);
}

static void pause_until(uint64_t at_ms)
{
	uint64_t now = now_ms();

	if (at_ms > now)
		usleep((useconds_t)(at_ms - now) * 1000);
}

static void publish(struct client *client)
{
	const struct options *o = client->o;
	unsigned int count = o->count ? o->count : 1;
	uint64_t start_ms = now_ms();
	char *text = malloc(MESSAGE_MAX);
	uint8_t kind;
	uint16_t topic;

	if (o->qos >= 0)
		connect_gateway(client);
	else if (!o->predefined && strlen(o->topic) != 2)
		die("QoS -1 takes predefined and short topics only");
	topic = topic_id(client, &kind);
	for (unsigned int i = 0; i < count && !must_end; i++) {
		int size = o->message ? snprintf(text, MESSAGE_MAX, "%s", o->message) :
					snprintf(text, MESSAGE_MAX, "%0*u", (int)o->size, i);

		publish_one(client, kind, topic, text, (size_t)size);
		if (o->rate > 0)
			pause_until(start_ms + (uint64_t)((i + 1) * 1000.0 / o->rate));
	}
	free(text);
}

static void subscribe(struct client *client)
{
	const struct options *o = client->o;
	uint16_t id = new_id(client);
	uint8_t kind = o->predefined ? PREDEFINED : strlen(o->topic) == 2 ? SHORT : 0;
	const uint8_t head[] = { (uint8_t)(kind | (o->qos & 3) << 5), (uint8_t)(id >> 8), (uint8_t)id };
	const uint8_t predefined[] = { (uint8_t)(o->predefined >> 8), (uint8_t)o->predefined };
	struct message m;

	m = o->predefined ? ask(client, SUBSCRIBE, SUBACK, id, head, sizeof(head), predefined, 2) :
			    ask(client, SUBSCRIBE, SUBACK, id, head, sizeof(head), o->topic, strlen(o->topic));
	check_code(m.size >= 6 ? m.body[5] : 255, "the subscription was");
	if (kind == 0 && get16(m.body + 1) != 0)
		remember(client, get16(m.body + 1), o->topic, strlen(o->topic));
	fprintf(stderr, "mqttsn: subscribed\n");
}

/* Until there are enough, or for so long. */
static void listen_on(struct client *client)
{
	const struct options *o = client->o;
	uint64_t end_ms = o->wait_s > 0 ? now_ms() + (uint64_t)(o->wait_s * 1000) : UINT64_MAX;
	uint8_t room[MESSAGE_MAX];
	struct message m;

	while (!must_end && now_ms() < end_ms && (o->count == 0 || client->n_received < o->count)) {
		uint64_t ping_ms = now_ms() + DURATION_S * 500;

		say(client, PINGREQ, NULL, 0, NULL, 0);
		(void)hear(client, PINGRESP, 0, now_ms() + RETRY_MS, room, &m);
		while (!must_end && (o->count == 0 || client->n_received < o->count) &&
		       now_ms() < (ping_ms < end_ms ? ping_ms : end_ms))
			(void)hear(client, PINGRESP, 0, ping_ms < end_ms ? ping_ms : end_ms, room, &m);
	}
}

/* Sleeps and comes back for its messages, so many times or until a signal. */
static void sleep_on(struct client *client)
{
	const struct options *o = client->o;
	const uint8_t duration[] = { (uint8_t)(o->sleep_s >> 8), (uint8_t)o->sleep_s };
	struct message m;

	(void)ask(client, DISCONNECT, DISCONNECT, 0, duration, sizeof(duration), NULL, 0);
	for (unsigned int i = 0; i < (o->count ? o->count : 1) && !must_end; i++) {
		fprintf(stderr, "mqttsn: asleep\n");
		pause_until(now_ms() + (uint64_t)((o->nap_s > 0 ? o->nap_s : o->sleep_s) * 1000));
		hear_out(client);
		if (!must_end && !try_ask(client, PINGREQ, PINGRESP, 0, NULL, 0, o->id, strlen(o->id), &m) && !must_end)
			die("no answer");
	}
}

/* ---- program -------------------------------------------------------------------------------- */

static const struct argp_option argp_options[] = {
	{ "host", 'h', "HOST", 0, "of the gateway (127.0.0.1)", 0 },
	{ "port", 'p', "PORT", 0, "likewise (1883)", 0 },
	{ "id", 'i', "ID", 0, "client identifier (mqttsn-PID)", 0 },
	{ "topic", 't', "TOPIC", 0, "name or filter; two letters are a short topic", 0 },
	{ "predefined", 'P', "N", 0, "instead: the predefined topic N", 0 },
	{ "message", 'm', "TEXT", 0, "what to publish (numbers from 0)", 0 },
	{ "qos", 'q', "N", 0, "-1, 0, 1 or 2 (0)", 0 },
	{ "retain", 'r', NULL, 0, "publish retained", 0 },
	{ "count", 'C', "N", 0, "messages to publish (1) or to receive, or sleeps (1)", 0 },
	{ "rate", 'R', "N", 0, "publish at most so many a second", 0 },
	{ "size", 's', "N", 0, "digits of the numbers that are published (1)", 0 },
	{ "wait", 'W', "S", 0, "receive for so long", 0 },
	{ "sleep", 'S', "S", 0, "how long to sleep (10)", 0 },
	{ "nap", 'N', "S", 0, "sleep: come back earlier than that, after so long", 0 },
	{ "tries", 'n', "N", 0, "give up after asking so many times, once a second (5)", 0 },
	{ "keep", 'k', NULL, 0, "not a clean session", 0 },
	{ "stay", 'x', NULL, 0, "end without DISCONNECT", 0 },
	{ "quiet", 'Q', NULL, 0, "do not print what is received", 0 },
	{ "will-topic", 'T', "TOPIC", 0, "a will, of QoS 1", 0 },
	{ "will-message", 'M', "TEXT", 0, "likewise", 0 },
	{ "summary", 'o', "FILE", 0, "write what was sent, as JSON", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'h': o->host = arg; return 0;
	case 'p': o->port = arg; return 0;
	case 'i': o->id = arg; return 0;
	case 't': o->topic = arg; return 0;
	case 'P': o->predefined = (unsigned int)atoi(arg); return 0;
	case 'm': o->message = arg; return 0;
	case 'q': o->qos = atoi(arg); return 0;
	case 'r': o->is_retained = true; return 0;
	case 'C': o->count = (unsigned int)atoi(arg); return 0;
	case 'R': o->rate = atof(arg); return 0;
	case 's': o->size = (unsigned int)atoi(arg); return 0;
	case 'W': o->wait_s = atof(arg); return 0;
	case 'S': o->sleep_s = (unsigned int)atoi(arg); return 0;
	case 'N': o->nap_s = atof(arg); return 0;
	case 'n': o->n_tries = (unsigned int)atoi(arg); return 0;
	case 'k': o->keeps_session = true; return 0;
	case 'x': o->stays = true; return 0;
	case 'Q': o->is_quiet = true; return 0;
	case 'o': o->summary = arg; return 0;
	case 'T': o->will_topic = arg; return 0;
	case 'M': o->will_message = arg; return 0;
	case ARGP_KEY_ARG:
		if (o->command)
			return ARGP_ERR_UNKNOWN;
		o->command = arg;
		return 0;
	case ARGP_KEY_END:
		if (!o->command)
			argp_error(state, "pub, sub, sleep or search?");
		if (strcmp(o->command, "search") != 0 && (o->topic == NULL) == (o->predefined == 0))
			argp_error(state, "one of --topic and --predefined");
		return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static int open_socket(const struct options *o)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_DGRAM };
	struct addrinfo *list;
	int fd, yes = 1;

	if (getaddrinfo(o->host, o->port, &hints, &list) != 0)
		die("no such host or port");
	fd = socket(list->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &yes, sizeof(yes));
	/* A search goes to everybody, so its answer comes from somebody else. */
	if (strcmp(o->command, "search") == 0) {
		uint8_t room[MESSAGE_MAX];
		size_t size = build(room, SEARCHGW, "\0", 1, NULL, 0);

		if (sendto(fd, room, size, 0, list->ai_addr, list->ai_addrlen) < 0)
			die(strerror(errno));
	} else if (fd < 0 || connect(fd, list->ai_addr, list->ai_addrlen) < 0) {
		die(strerror(errno));
	}
	freeaddrinfo(list);
	return fd;
}

static void search(struct client *client)
{
	uint8_t room[MESSAGE_MAX];
	struct message m;

	if (!hear(client, GWINFO, 0, now_ms() + client->o->n_tries * (uint64_t)RETRY_MS, room, &m) || m.size == 0)
		die("no gateway has answered");
	printf("gateway %u\n", m.body[0]);
}

static void write_summary(const struct client *client)
{
	FILE *file = fopen(client->o->summary, "w");

	if (!file)
		die(strerror(errno));
	fprintf(file, "{\"datagrams\": %lu, \"published\": %lu}\n", client->n_datagrams,
		client->n_published);
	fclose(file);
}

int main(int argc, char **argv)
{
	static const struct argp argp = { argp_options, parse_option, "pub|sub|sleep|search",
					  "A small MQTT-SN client.\vExit status: 0 done, 1 it did not "
					  "work, 2 wrong usage.", NULL, NULL, NULL };
	static struct options o = { .host = "127.0.0.1", .port = "1883", .sleep_s = 10, .size = 1, .n_tries = 5,
				    .will_message = "gone" };
	static struct client client = { .o = &o };
	struct sigaction action = { .sa_handler = on_signal };
	char id[24];

	argp_err_exit_status = 2;
	snprintf(id, sizeof(id), "mqttsn-%d", (int)getpid());
	o.id = id;
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	client.fd = open_socket(&o);
	if (strcmp(o.command, "search") == 0) {
		search(&client);
		return 0;
	}
	if (strcmp(o.command, "pub") == 0) {
		publish(&client);
	} else {
		connect_gateway(&client);
		subscribe(&client);
		if (strcmp(o.command, "sleep") == 0)
			sleep_on(&client);
		else
			listen_on(&client);
	}
	if (!o.stays && o.qos >= 0)
		say(&client, DISCONNECT, NULL, 0, NULL, 0);
	if (o.summary)
		write_summary(&client);
	return 0;
}
