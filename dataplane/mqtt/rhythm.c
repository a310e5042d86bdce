/* SPDX-License-Identifier: BSD-3-Clause */
/* Who speaks at regular intervals. See rhythm.h. */
#include "dataplane/mqtt/rhythm.h"

#include <stddef.h>

enum {
	CREDIT_MAX = 8,
	CREDIT_ENOUGH = 4,
	OWED_MAX_US = 20000, /* what is not used is not kept for longer than this */
};

/* Its row; or that of who has been silent for too long to have a rhythm; or NULL. */
static struct hbus_rhythm *row_of(struct hbus_rhythms *rhythms, const void *who, uint64_t now_us)
{
	struct hbus_rhythm *oldest = NULL;

	for (int i = 0; i < HBUS_RHYTHM_MAX; i++) {
		struct hbus_rhythm *row = &rhythms->table[i];

		if (row->who == who)
			return row;
		if (!oldest || row->last_us < oldest->last_us)
			oldest = row;
	}
	if (oldest->who && now_us - oldest->last_us <= HBUS_RHYTHM_PERIOD_MAX_US)
		return NULL;
	*oldest = (struct hbus_rhythm){ .who = who };
	return oldest;
}

static bool is_expected(const struct hbus_rhythm *row, uint64_t gap_us)
{
	return gap_us + HBUS_RHYTHM_BEFORE_US >= row->period_us && gap_us <= row->period_us + HBUS_RHYTHM_AFTER_US;
}

void hbus_rhythm_heard(struct hbus_rhythms *rhythms, const void *who, uint64_t now_us)
{
	struct hbus_rhythm *row = row_of(rhythms, who, now_us);
	uint64_t gap_us;

	if (!row)
		return;
	gap_us = now_us - row->last_us;
	if (gap_us < HBUS_RHYTHM_BURST_US)
		return;
	row->last_us = now_us;
	if (gap_us > HBUS_RHYTHM_PERIOD_MAX_US) {
		row->credit = 0;
		row->period_us = 0;
	} else if (row->period_us && is_expected(row, gap_us)) {
		row->credit = row->credit < CREDIT_MAX ? row->credit + 1 : CREDIT_MAX;
		row->period_us = (uint32_t)((3 * row->period_us + gap_us) / 4);
	} else if (row->credit > 1) {
		row->credit = (uint8_t)(row->credit - 2); /* a pause of the machine is two of these */
	} else {
		row->credit = 0;
		row->period_us = (uint32_t)gap_us;
	}
}

/* A share of the time that has passed, not more than OWED_MAX_US together. */
static void grant(struct hbus_rhythms *rhythms, uint64_t now_us)
{
	rhythms->owed_us += (now_us - rhythms->paid_us) / HBUS_RHYTHM_SHARE;
	rhythms->paid_us = now_us - (now_us - rhythms->paid_us) % HBUS_RHYTHM_SHARE;
	if (rhythms->owed_us > OWED_MAX_US)
		rhythms->owed_us = OWED_MAX_US;
}

bool hbus_rhythm_next(struct hbus_rhythms *rhythms, uint64_t now_us, uint64_t *ret_begin_us, uint64_t *ret_end_us)
{
	uint64_t best_us = UINT64_MAX;

	grant(rhythms, now_us);
	if (rhythms->owed_us < HBUS_RHYTHM_BEFORE_US + HBUS_RHYTHM_AFTER_US)
		return false;
	for (int i = 0; i < HBUS_RHYTHM_MAX; i++) {
		const struct hbus_rhythm *row = &rhythms->table[i];
		uint64_t due_us = row->last_us + row->period_us;

		if (row->credit >= CREDIT_ENOUGH && due_us + HBUS_RHYTHM_AFTER_US > now_us && due_us < best_us)
			best_us = due_us;
	}
	if (best_us == UINT64_MAX)
		return false;
	*ret_begin_us = best_us > HBUS_RHYTHM_BEFORE_US ? best_us - HBUS_RHYTHM_BEFORE_US : 0;
	*ret_end_us = best_us + HBUS_RHYTHM_AFTER_US;
	return true;
}

void hbus_rhythm_spent(struct hbus_rhythms *rhythms, uint64_t spent_us)
{
	rhythms->owed_us -= spent_us < rhythms->owed_us ? spent_us : rhythms->owed_us;
}
