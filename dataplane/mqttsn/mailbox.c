/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory of a mailbox. */
#include "dataplane/mqttsn/mailbox.h"

#include <errno.h>
#include <stdlib.h>

int hbus_sn_mailbox_init(struct hbus_sn_mailbox *box, uint32_t n_slots, uint32_t slot_size)
{
	box->slots = calloc(n_slots, slot_size);
	box->n_slots = n_slots;
	box->slot_size = slot_size;
	return box->slots ? 0 : -ENOMEM;
}

void hbus_sn_mailbox_deinit(struct hbus_sn_mailbox *box)
{
	free(box->slots);
	box->slots = NULL;
}
