/* SPDX-License-Identifier: BSD-3-Clause */
/* The processes that are tortured. Each runs in a child of its own; none returns but with an exit code. */
#pragma once

#include "tests/torture/ledger.h"

int role_publisher(struct ledger *ledger, uint32_t idx, const char *socket, uint32_t topic_idx, uint64_t seed);
int role_subscriber(struct ledger *ledger, uint32_t idx, const char *socket, bool is_reliable);
