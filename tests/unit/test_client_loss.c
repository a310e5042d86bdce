/* SPDX-License-Identifier: BSD-3-Clause */
/* Loss reports: merged when they follow each other, never forgotten when there are too many. */
#include <criterion/criterion.h>

#include "ctl/client/loss.h"

Test(client_loss, losses_that_follow_each_other_are_one_report)
{
	struct hbus_loss_list list = {0};
	struct hbus_loss loss;

	hbus_loss_add(&list, 1, 10, 5, HBUS_LOSS_LAPPED);
	hbus_loss_add(&list, 1, 15, 5, HBUS_LOSS_LAPPED);
	hbus_loss_add(&list, 2, 20, 1, HBUS_LOSS_LAPPED);
	hbus_loss_add(&list, 1, 20, 1, HBUS_LOSS_EVICTED);
	hbus_loss_add(&list, 1, 22, 1, HBUS_LOSS_EVICTED);
	cr_assert(hbus_loss_take(&list, &loss));
	cr_assert_eq(loss.ring_id, 1);
	cr_assert_eq(loss.first_sequence, 10);
	cr_assert_eq(loss.n_events, 10);
	cr_assert_eq(loss.reason, HBUS_LOSS_LAPPED);
	cr_assert(hbus_loss_take(&list, &loss) && loss.ring_id == 2);
	cr_assert(hbus_loss_take(&list, &loss) && loss.reason == HBUS_LOSS_EVICTED && loss.n_events == 1);
	cr_assert(hbus_loss_take(&list, &loss) && loss.first_sequence == 22);
	cr_assert_not(hbus_loss_take(&list, &loss));
	hbus_loss_deinit(&list);
}

Test(client_loss, one_report_more_than_the_list_holds_is_merged_into_its_ring)
{
	struct hbus_loss_list list = {0};
	struct hbus_loss loss;
	uint64_t n_events = 0, n_reports = 0;

	for (uint64_t i = 0; i < HBUS_LOSSES_MAX + 10; i++)
		hbus_loss_add(&list, i % 4, 100 * i, 2, HBUS_LOSS_LAPPED);
	cr_assert_eq(list.n, HBUS_LOSSES_MAX);
	while (hbus_loss_take(&list, &loss)) {
		n_events += loss.n_events;
		n_reports++;
	}
	cr_assert_eq(n_reports, HBUS_LOSSES_MAX);
	cr_assert_eq(n_events, 2 * (HBUS_LOSSES_MAX + 10));
	cr_assert_eq(list.n_unreported, 0);
	hbus_loss_deinit(&list);
}

Test(client_loss, what_cannot_even_be_merged_is_counted)
{
	struct hbus_loss_list list = {0};

	for (uint64_t i = 0; i < HBUS_LOSSES_MAX + 1; i++)
		hbus_loss_add(&list, i, 0, 3, HBUS_LOSS_LAPPED);
	cr_assert_eq(list.n, HBUS_LOSSES_MAX);
	cr_assert_eq(list.n_unreported, 3);
	hbus_loss_deinit(&list);
}

Test(client_loss, the_list_goes_round)
{
	struct hbus_loss_list list = {0};
	struct hbus_loss loss;

	for (uint64_t i = 0; i < 5 * HBUS_LOSSES_MAX; i++) {
		hbus_loss_add(&list, 7, 10 * i, 1, HBUS_LOSS_LAPPED);
		if (i % 2 == 0)
			continue;
		cr_assert(hbus_loss_take(&list, &loss) && loss.first_sequence == 10 * (i - 1));
		cr_assert(hbus_loss_take(&list, &loss) && loss.first_sequence == 10 * i);
	}
	hbus_loss_deinit(&list);
}
