/* SPDX-License-Identifier: BSD-3-Clause */
/* Accounts per uid. There are as many as uids with clients: a list is enough. */
#include "ctl/daemon/quota.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1000000000ull
#define SPEND_MAX 1000000u
#define DEBT_MAX_NS (5 * (int64_t)NS_PER_S)

static const struct hbus_quota_limits *limits_of(const struct hbus_quota *quota, uid_t uid)
{
	for (size_t i = 0; i < quota->config.n_overrides; i++)
		if (quota->config.overrides[i].uid == uid)
			return &quota->config.overrides[i].limits;
	return &quota->config.limits;
}

void hbus_quota_init(struct hbus_quota *quota, const struct hbus_quota_config *config)
{
	memset(quota, 0, sizeof(*quota));
	quota->config = *config;
}

void hbus_quota_configure(struct hbus_quota *quota, const struct hbus_quota_config *config)
{
	quota->config = *config;
	for (struct hbus_account *account = quota->accounts; account; account = account->next)
		account->limits = *limits_of(quota, account->uid);
}

void hbus_quota_deinit(struct hbus_quota *quota)
{
	assert(!quota->accounts);
	memset(quota, 0, sizeof(*quota));
}

struct hbus_account *hbus_quota_get(struct hbus_quota *quota, uid_t uid)
{
	struct hbus_account *account;

	for (account = quota->accounts; account; account = account->next)
		if (account->uid == uid)
			return hbus_account_get(account);
	account = calloc(1, sizeof(*account));
	if (!account)
		return NULL;
	account->quota = quota;
	account->uid = uid;
	account->n_refs = 1;
	account->limits = *limits_of(quota, uid);
	account->is_fresh = true;
	account->next = quota->accounts;
	quota->accounts = account;
	return account;
}

struct hbus_account *hbus_account_get(struct hbus_account *account)
{
	account->n_refs++;
	return account;
}

void hbus_account_put(struct hbus_account *account)
{
	struct hbus_account **link;

	if (!account || --account->n_refs > 0)
		return;
	for (size_t kind = 0; kind < HBUS_QUOTA_N_KINDS; kind++)
		assert(account->used[kind] == 0);
	for (link = &account->quota->accounts; *link != account; link = &(*link)->next)
		;
	*link = account->next;
	free(account);
}

static uint64_t share_of(const struct hbus_account *account, enum hbus_quota_kind kind)
{
	const struct hbus_quota *quota = account->quota;
	uint64_t mine = account->used[kind], others = quota->used[kind] - mine;
	uint64_t n = quota->n_holders[kind] + (mine == 0);

	if (others >= quota->config.total[kind])
		return 0;
	return (quota->config.total[kind] - others) / (n + 1);
}

uint64_t hbus_account_limit(const struct hbus_account *account, enum hbus_quota_kind kind)
{
	uint64_t share = share_of(account, kind);

	return share < account->limits.max[kind] ? share : account->limits.max[kind];
}

void hbus_account_force(struct hbus_account *account, enum hbus_quota_kind kind, uint64_t amount)
{
	if (amount == 0)
		return;
	if (account->used[kind] == 0)
		account->quota->n_holders[kind]++;
	account->used[kind] += amount;
	account->quota->used[kind] += amount;
}

static bool fits(uint64_t used, uint64_t amount, uint64_t limit)
{
	return used <= limit && amount <= limit - used;
}

int hbus_account_charge(struct hbus_account *account, enum hbus_quota_kind kind, uint64_t amount)
{
	if (!fits(account->used[kind], amount, account->limits.max[kind]))
		return HBUS_QUOTA_OVER_LIMIT;
	if (!fits(account->used[kind], amount, share_of(account, kind)))
		return HBUS_QUOTA_OVER_SHARE;
	hbus_account_force(account, kind, amount);
	return 0;
}

void hbus_account_release(struct hbus_account *account, enum hbus_quota_kind kind, uint64_t amount)
{
	assert(account->used[kind] >= amount);
	if (amount == 0)
		return;
	account->used[kind] -= amount;
	account->quota->used[kind] -= amount;
	if (account->used[kind] == 0)
		account->quota->n_holders[kind]--;
}

static int64_t request_cost(const struct hbus_account *account)
{
	return (int64_t)(NS_PER_S / account->limits.requests_per_s);
}

uint64_t hbus_account_take_request(struct hbus_account *account, uint64_t now_ns)
{
	int64_t cost = request_cost(account);
	int64_t full = cost * (int64_t)account->limits.request_burst;
	uint64_t passed = now_ns - account->filled_ns;

	if (account->is_fresh || account->tokens_ns >= full ||
	    passed >= (uint64_t)(full - account->tokens_ns))
		account->tokens_ns = full;
	else
		account->tokens_ns += (int64_t)passed;
	account->is_fresh = false;
	account->filled_ns = now_ns;
	if (account->tokens_ns < cost)
		return (uint64_t)(cost - account->tokens_ns);
	account->tokens_ns -= cost;
	return 0;
}

void hbus_account_spend(struct hbus_account *account, uint64_t n)
{
	if (n > SPEND_MAX)
		n = SPEND_MAX;
	account->tokens_ns -= request_cost(account) * (int64_t)n;
	if (account->tokens_ns < -DEBT_MAX_NS)
		account->tokens_ns = -DEBT_MAX_NS;
}

bool hbus_account_has_time(struct hbus_account *account, uint64_t round)
{
	if (account->round != round) {
		account->round = round;
		account->spent_ns = 0;
	}
	return account->spent_ns < HBUS_QUOTA_ROUND_NS;
}

void hbus_account_use_time(struct hbus_account *account, uint64_t ns)
{
	account->spent_ns += ns;
}

const char *hbus_quota_kind_name(enum hbus_quota_kind kind)
{
	static const char *const names[] = { "bytes", "rings", "topics", "subscriptions", "fds",
					     "clients" };

	return kind < HBUS_QUOTA_N_KINDS ? names[kind] : "resources";
}
