/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stands for steer.c where the project is built without XDP: no port has a filter then, so there
 * is nothing to steer.
 */
#include <errno.h>
#include <stddef.h>

#include "dataplane/steer.h"

int hbus_steer_new(const struct hbus_port *port, struct hbus_steer **ret_steer)
{
	(void)port;
	*ret_steer = NULL;
	return -ENOTSUP;
}

struct hbus_steer *hbus_steer_free(struct hbus_steer *steer)
{
	(void)steer;
	return NULL;
}

unsigned int hbus_steer_remove(struct hbus_steer *steer, const struct hbus_directory *directory)
{
	(void)steer;
	(void)directory;
	return 0;
}

unsigned int hbus_steer_add(struct hbus_steer *steer, const struct hbus_directory *directory)
{
	(void)steer;
	(void)directory;
	return 0;
}

void hbus_steer_replace(struct hbus_steer *steer, const char *path)
{
	(void)steer;
	(void)path;
}

void hbus_steer_check(struct hbus_steer *steer)
{
	(void)steer;
}

void hbus_steer_tap(struct hbus_steer *steer, const uint16_t *ports, uint32_t n, const uint8_t own_mac[6])
{
	(void)steer;
	(void)ports;
	(void)n;
	(void)own_mac;
}

void hbus_steer_dry(struct hbus_steer *steer)
{
	(void)steer;
}
