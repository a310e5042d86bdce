/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Journal records as JSON
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "ctl/daemon/journal.h"

/** hbus_journal_to_json() - the caller owns it; NULL = no memory. */
json_t *hbus_journal_to_json(const struct hbus_journal_record *record);
/** hbus_journal_from_json() - false: not a record that this daemon can use. */
bool hbus_journal_from_json(const json_t *json, struct hbus_journal_record *ret_record);
