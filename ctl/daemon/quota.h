/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What one uid may take of the daemon's resources
 *
 * Each uid has an account. A charge is granted when two things hold afterwards:
 *   - the uid holds no more than its own limit (the configuration's, by default or for this uid);
 *   - the uid holds no more than its share: (what is free + what it holds) / (n + 1), where n is the
 *     number of uids that hold something of this kind, this one included.
 * So whoever comes first and takes all it can gets a half, the next a sixth of the whole, the k-th
 * 1 / (k * (k + 1)): nobody can shut out the next, whatever the others have taken.
 *
 * Requests are limited by a token bucket per uid on the caller's clock. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HBUS_QUOTA_OVERRIDES_MAX 1024u
#define HBUS_QUOTA_ROUND_NS 500000u

enum hbus_quota_kind {
	HBUS_QUOTA_BYTES,
	HBUS_QUOTA_RINGS,
	HBUS_QUOTA_TOPICS,
	HBUS_QUOTA_SUBSCRIPTIONS, /* subscribers, and each of their filters */
	HBUS_QUOTA_FDS,		  /* descriptors that the daemon keeps for the uid */
	HBUS_QUOTA_CLIENTS,
	HBUS_QUOTA_N_KINDS,
};

/* Conditions. */
#define HBUS_QUOTA_OVER_LIMIT 1
#define HBUS_QUOTA_OVER_SHARE 2

struct hbus_quota_limits {
	uint64_t max[HBUS_QUOTA_N_KINDS];
	uint64_t requests_per_s; /* at least 1 */
	uint64_t request_burst;	 /* at least 1 */
};

struct hbus_quota_override {
	uid_t uid;
	struct hbus_quota_limits limits;
};

struct hbus_quota_config {
	uint64_t total[HBUS_QUOTA_N_KINDS];
	struct hbus_quota_limits limits;
	const struct hbus_quota_override *overrides; /* borrowed */
	size_t n_overrides;
};

struct hbus_quota;

struct hbus_account {
	struct hbus_account *next;
	struct hbus_quota *quota;
	uid_t uid;
	uint32_t n_refs;
	uint64_t used[HBUS_QUOTA_N_KINDS];
	struct hbus_quota_limits limits;
	int64_t tokens_ns;  /* of the bucket, in time: one request costs 1 s / requests_per_s */
	uint64_t filled_ns; /* when it was last filled */
	bool is_fresh;	    /* the bucket was never used: full */
	uint64_t round;	    /* of the server's loop, to which spent_ns belongs */
	uint64_t spent_ns;  /* of the daemon's time in this round */
};

struct hbus_quota {
	struct hbus_quota_config config;
	struct hbus_account *accounts;
	uint64_t used[HBUS_QUOTA_N_KINDS];
	uint32_t n_holders[HBUS_QUOTA_N_KINDS];
};

/** hbus_quota_init() - @config is copied, its overrides are borrowed until the next configure. */
void hbus_quota_init(struct hbus_quota *quota, const struct hbus_quota_config *config);

/** hbus_quota_configure() - new limits; who holds more keeps it, but gets nothing more. */
void hbus_quota_configure(struct hbus_quota *quota, const struct hbus_quota_config *config);

/** hbus_quota_deinit() - every account must have been put. */
void hbus_quota_deinit(struct hbus_quota *quota);

/** hbus_quota_get() - a reference to the account of @uid, made if needed; NULL = no memory. */
struct hbus_account *hbus_quota_get(struct hbus_quota *quota, uid_t uid);

/** hbus_account_get() - another reference; returns its argument. */
struct hbus_account *hbus_account_get(struct hbus_account *account);

/** hbus_account_put() - NULL is fine. An account without references holds nothing and is freed. */
void hbus_account_put(struct hbus_account *account);

/** hbus_account_charge() - Return: 0, HBUS_QUOTA_OVER_LIMIT or HBUS_QUOTA_OVER_SHARE (then nothing changed). */
int hbus_account_charge(struct hbus_account *account, enum hbus_quota_kind kind, uint64_t amount);

/** hbus_account_force() - charge what the uid holds already and cannot be taken away. */
void hbus_account_force(struct hbus_account *account, enum hbus_quota_kind kind, uint64_t amount);

/** hbus_account_release() - @amount was charged before. */
void hbus_account_release(struct hbus_account *account, enum hbus_quota_kind kind, uint64_t amount);

/** hbus_account_limit() - the most that the uid could hold now. */
uint64_t hbus_account_limit(const struct hbus_account *account, enum hbus_quota_kind kind);

/**
 * hbus_account_take_request() - count one request at @now_ns (monotonic)
 *
 * Return: 0 = go on; else nothing was taken and the next would be granted in so many nanoseconds.
 */
uint64_t hbus_account_take_request(struct hbus_account *account, uint64_t now_ns);

/** hbus_account_spend() - a request was as much work as @n more; the bucket may go below empty. */
void hbus_account_spend(struct hbus_account *account, uint64_t n);

/**
 * hbus_account_has_time() - may the daemon do more for this uid in this round?
 *
 * Each uid has HBUS_QUOTA_ROUND_NS a round, whatever its connections have sent: so nobody waits longer
 * for the others than that for each of them.
 */
bool hbus_account_has_time(struct hbus_account *account, uint64_t round);
void hbus_account_use_time(struct hbus_account *account, uint64_t ns);

/** hbus_quota_kind_name() - a word for people, such as "rings". */
const char *hbus_quota_kind_name(enum hbus_quota_kind kind);
