/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Eclipse Paho's C client against a broker: paho_client URL 3|5 flow|away|through N
 *
 * flow: QoS 2 messages to a subscription of its own, many unacknowledged at a time. away: what was published while a client
 * with a session was gone, abruptly. through: as flow, while the connection is cut again and again by somebody else. In
 * all of them each message must arrive once and in order. Exit: 0 or 1.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <MQTTAsync.h>

enum { TIMEOUT_S = 40, IN_FLIGHT = 100, EXPIRY_S = 600, PACE_US = 3000 };

struct peer {
	MQTTAsync handle;
	bool is_v5;
	bool is_connected, is_subscribed, is_gone;
	int session_present;
	unsigned int n_acked, n_got, n_connects;
	const char *failure; /* what went wrong first */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static const char *url;
static bool is_v5;

#define UPDATE(statement) do { pthread_mutex_lock(&lock); statement; pthread_cond_broadcast(&changed); \
			       pthread_mutex_unlock(&lock); } while (0)

static int die(const char *what)
{
	fprintf(stderr, "paho_client: %s\n", what);
	exit(1);
}

/* -- what Paho's threads say -- */

static void fail(struct peer *peer, const char *what)
{
	UPDATE(if (!peer->failure) peer->failure = what);
}

static void on_failure(void *context, MQTTAsync_failureData *data)
{
	(void)data;
	fail(context, "refused");
}

static void on_failure5(void *context, MQTTAsync_failureData5 *data)
{
	if (data)
		fprintf(stderr, "reason 0x%02x %s\n", (unsigned int)data->reasonCode, data->message ? data->message : "");
	fail(context, "refused");
}

static void on_connected(void *context, MQTTAsync_successData *data)
{
	struct peer *peer = context;

	UPDATE(peer->is_connected = true; peer->session_present = data->alt.connect.sessionPresent);
}

static void on_connected5(void *context, MQTTAsync_successData5 *data)
{
	struct peer *peer = context;

	UPDATE(peer->is_connected = true; peer->session_present = data->alt.connect.sessionPresent);
}

static void on_any_connect(void *context, char *cause)
{
	struct peer *peer = context;

	(void)cause;
	UPDATE(peer->n_connects++);
}

static void on_subscribed(void *context, MQTTAsync_successData *data)
{
	struct peer *peer = context;

	(void)data;
	UPDATE(peer->is_subscribed = true);
}

static void on_subscribed5(void *context, MQTTAsync_successData5 *data)
{
	struct peer *peer = context;

	(void)data;
	UPDATE(peer->is_subscribed = true);
}

static void on_delivered(void *context, MQTTAsync_token token)
{
	struct peer *peer = context;

	(void)token;
	UPDATE(peer->n_acked++);
}

static int on_message(void *context, char *topic, int topic_len, MQTTAsync_message *message)
{
	struct peer *peer = context;
	char wanted[32];
	int n = snprintf(wanted, sizeof(wanted), "message %u", peer->n_got);

	(void)topic_len;
	if (message->payloadlen != n || memcmp(message->payload, wanted, (size_t)n) != 0) {
		fprintf(stderr, "got \"%.*s\", not \"%s\"\n", message->payloadlen, (char *)message->payload, wanted);
		fail(peer, "not once and in order");
	} else if (message->qos != 2) {
		fail(peer, "not with QoS 2");
	}
	UPDATE(peer->n_got++);
	MQTTAsync_freeMessage(&message);
	MQTTAsync_free(topic);
	return 1;
}

/* -- what is asked of it -- */

static void await_that(struct peer *peer, const bool *flag, const unsigned int *count, unsigned int n, const char *what)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += TIMEOUT_S;
	pthread_mutex_lock(&lock);
	while (!peer->failure && (flag ? !*flag : *count < n))
		if (pthread_cond_timedwait(&changed, &lock, &end))
			break;
	if (peer->failure || (flag ? !*flag : *count < n)) {
		fprintf(stderr, "paho_client: %s: %s (%u acknowledged, %u arrived)\n", what,
			peer->failure ? peer->failure : "not in time", peer->n_acked, peer->n_got);
		exit(1);
	}
	pthread_mutex_unlock(&lock);
}

static void create(struct peer *peer, const char *client_id)
{
	MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer;

	memset(peer, 0, sizeof(*peer));
	options.MQTTVersion = is_v5 ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
	options.sendWhileDisconnected = 1;
	options.maxBufferedMessages = 100000;
	if (MQTTAsync_createWithOptions(&peer->handle, url, client_id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &options) ||
	    MQTTAsync_setCallbacks(peer->handle, peer, NULL, on_message, on_delivered) ||
	    MQTTAsync_setConnected(peer->handle, peer, on_any_connect))
		die("cannot create a client");
}

static void connect_to_broker(struct peer *peer, bool is_clean, bool returns)
{
	MQTTAsync_connectOptions v3 = MQTTAsync_connectOptions_initializer;
	MQTTAsync_connectOptions v5 = MQTTAsync_connectOptions_initializer5;
	MQTTAsync_connectOptions v3_ws = MQTTAsync_connectOptions_initializer_ws;
	MQTTAsync_connectOptions v5_ws = MQTTAsync_connectOptions_initializer5_ws;
	bool is_ws = strncmp(url, "ws:", 3) == 0;
	MQTTAsync_connectOptions options = is_v5 ? (is_ws ? v5_ws : v5) : is_ws ? v3_ws : v3;
	MQTTProperties properties = MQTTProperties_initializer;
	MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, .value.integer4 = EXPIRY_S};

	options.keepAliveInterval = 10;
	options.maxInflight = IN_FLIGHT;
	options.context = peer;
	options.automaticReconnect = returns;
	options.minRetryInterval = 1;
	options.maxRetryInterval = 1;
	if (is_v5) {
		options.cleanstart = is_clean;
		options.onSuccess5 = on_connected5;
		options.onFailure5 = on_failure5;
		MQTTProperties_add(&properties, &expiry);
		options.connectProperties = &properties;
	} else {
		options.MQTTVersion = MQTTVERSION_3_1_1;
		options.cleansession = is_clean;
		options.onSuccess = on_connected;
		options.onFailure = on_failure;
	}
	if (MQTTAsync_connect(peer->handle, &options))
		die("cannot connect");
	await_that(peer, &peer->is_connected, NULL, 0, "connect");
	MQTTProperties_free(&properties);
}

static void subscribe(struct peer *peer, const char *filter)
{
	MQTTAsync_responseOptions response = MQTTAsync_responseOptions_initializer;

	response.context = peer;
	if (is_v5) {
		response.onSuccess5 = on_subscribed5;
		response.onFailure5 = on_failure5;
	} else {
		response.onSuccess = on_subscribed;
		response.onFailure = on_failure;
	}
	if (MQTTAsync_subscribe(peer->handle, filter, 2, &response))
		die("cannot subscribe");
	await_that(peer, &peer->is_subscribed, NULL, 0, "subscribe");
}

static void publish(struct peer *peer, const char *topic, unsigned int number)
{
	MQTTAsync_message message = MQTTAsync_message_initializer;
	char text[32];

	message.payload = text;
	message.payloadlen = snprintf(text, sizeof(text), "message %u", number);
	message.qos = 2;
	if (MQTTAsync_sendMessage(peer->handle, topic, &message, NULL))
		die("cannot publish");
}

/* -- the cases -- */

static void flow(unsigned int n, bool is_cut)
{
	struct peer peer;

	create(&peer, is_cut ? "paho-through" : "paho-flow");
	connect_to_broker(&peer, !is_cut, is_cut);
	subscribe(&peer, "paho/flow/+");
	puts("ready");
	fflush(stdout);
	for (unsigned int i = 0; i < n; i++) {
		publish(&peer, "paho/flow/1", i);
		if (is_cut)
			usleep(PACE_US);
	}
	await_that(&peer, NULL, &peer.n_acked, n, "acknowledgements");
	await_that(&peer, NULL, &peer.n_got, n, "messages");
	usleep(100000); /* for one too many */
	await_that(&peer, NULL, &peer.n_got, n, "messages");
	if (peer.n_got != n || (is_cut && peer.n_connects < 2))
		die(is_cut ? "too many messages, or never cut" : "too many messages");
	printf("%u messages, %u connections\n", n, peer.n_connects);
	MQTTAsync_destroy(&peer.handle);
}

static void away(unsigned int n)
{
	struct peer peer, other;

	create(&peer, "paho-away");
	connect_to_broker(&peer, true, false);
	if (peer.session_present)
		die("a session though none was wanted");
	MQTTAsync_destroy(&peer.handle);
	create(&peer, "paho-away");
	connect_to_broker(&peer, false, false);
	subscribe(&peer, "paho/away");
	MQTTAsync_destroy(&peer.handle); /* without a DISCONNECT */
	create(&other, "paho-other");
	connect_to_broker(&other, true, false);
	for (unsigned int i = 0; i < n; i++)
		publish(&other, "paho/away", i);
	await_that(&other, NULL, &other.n_acked, n, "acknowledgements");
	MQTTAsync_destroy(&other.handle);
	create(&peer, "paho-away");
	connect_to_broker(&peer, false, false);
	if (!peer.session_present)
		die("the session is gone");
	await_that(&peer, NULL, &peer.n_got, n, "messages of a time away");
	MQTTAsync_destroy(&peer.handle);
	create(&peer, "paho-away");
	connect_to_broker(&peer, true, false);
	if (peer.session_present)
		die("the session is still there");
	MQTTAsync_destroy(&peer.handle);
	printf("%u messages\n", n);
}

int main(int argc, char **argv)
{
	unsigned int n;

	if (argc != 5)
		return die("usage: paho_client URL 3|5 flow|away|through N");
	url = argv[1];
	is_v5 = strcmp(argv[2], "5") == 0;
	n = (unsigned int)strtoul(argv[4], NULL, 10);
	if (strcmp(argv[3], "away") == 0)
		away(n);
	else
		flow(n, strcmp(argv[3], "through") == 0);
	return 0;
}
