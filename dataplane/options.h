/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line of hugebus-ingress, and what EAL is told because of it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* ---- limits ---------------------------------------------------------------------------- */

#define HBUS_INGRESS_DEVICES_MAX 32U
#define HBUS_INGRESS_WORKERS_MAX 32U
#define HBUS_INGRESS_OWN_RINGS_MAX 32U
#define HBUS_INGRESS_EAL_ARGS_MAX 256U
#define HBUS_INGRESS_PASSIVE_PORTS_MAX 8U
#define HBUS_INGRESS_TCP_CONNECTIONS_MAX 16384U

/* ---- types ----------------------------------------------------------------------------- */

/* A list of words from the command line, borrowed from it. */
struct hbus_words {
	const char *at[HBUS_INGRESS_DEVICES_MAX];
	unsigned int n;
};

struct hbus_ingress_options {
	const char *socket;              /* NULL: the library's default */
	const char *name;                /* under which the bus lists this program */
	const char *xdp_object;          /* path of hbus_xdp.bpf.o */
	const char *lcores;              /* for EAL, NULL: chosen here */
	struct hbus_words ifaces;        /* through AF_XDP */
	struct hbus_words pcaps;
	struct hbus_words vdevs;
	struct hbus_words mqttsn;        /* [ADDRESS:]PORT of the MQTT-SN gateway */
	const char *mqttsn_topics;       /* file of predefined topics, or NULL */
	uint8_t mqttsn_gateway_id;
	uint32_t mqttsn_advertise_s;     /* 0: not */
	uint32_t mqttsn_clients_max;
	uint32_t mqttsn_retry_ms;
	struct hbus_words tcp_addresses; /* of the TCP stack: ADDRESS/PREFIX[%INTERFACE] */
	uint16_t tcp_port;
	uint32_t tcp_connections;        /* at most */
	uint32_t tcp_address_connections; /* of one address; 0: no limit */
	bool tcp_allows_anonymous;
	bool has_tcp_cpu;                /* the stack's thread has tcp_cpu for itself, and never sleeps */
	unsigned int tcp_cpu;
	const char *tcp_password_file;   /* NULL: there are no passwords */
	struct hbus_words own_rings;     /* topics that get a ring of their own */
	uint16_t passive_ports[HBUS_INGRESS_PASSIVE_PORTS_MAX]; /* of brokers whose traffic is read */
	unsigned int n_passive_ports;
	unsigned int n_workers;
	unsigned int n_queues;           /* of each port */
	uint64_t count;                  /* stop after so many frames; 0: do not */
	double seconds;                  /* stop after so long; 0: do not */
	double idle_exit;                /* stop when no frame came for so long; 0: do not */
	bool no_huge;
	bool no_checksum;
	bool wakes_inline;
	bool prints_json;
	int n_eal_args;
	char **eal_args;                 /* what stood behind -- */
};

/* Words for rte_eal_init(), which keeps them, and moves and overwrites their places. */
struct hbus_eal_args {
	char *at[HBUS_INGRESS_EAL_ARGS_MAX + 1];
	char *owned[HBUS_INGRESS_EAL_ARGS_MAX];
	int n;
};

/* ---- functions ------------------------------------------------------------------------- */

/* Exits on --help, --version and what it cannot understand (status 2). */
void hbus_options_parse(int argc, char **argv, struct hbus_ingress_options *ret_options);

/**
 * hbus_options_eal() - the words for EAL
 *
 * Without enough free hugepages it chooses 4 KiB pages and says so on stderr.
 * Return: 0, -ENOMEM, or -E2BIG.
 */
int hbus_options_eal(const struct hbus_ingress_options *options, struct hbus_eal_args *ret_args);
/**
 * hbus_options_pin_control() - keep off the CPUs of the poll loops
 *
 * For this thread and those that it starts. hbus_options_eal() comes first: it looks at the CPUs
 * that this thread may use. Return: 0 or -errno.
 */
int hbus_options_pin_control(const struct hbus_ingress_options *options);
void hbus_options_eal_free(struct hbus_eal_args *args);
