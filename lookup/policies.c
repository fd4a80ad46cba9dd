/*
 * One table: domain -> a version byte and the policy's fields. Their number is counted when the store
 * is opened. A fetch that changes nothing is written once an hour at most; the time of the fetch is
 * all that is lost by that.
 */
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/store.h"
#include "lookup/policies.h"

#define RECORD_VERSION 1
#define RECORD_MAX     16384
#define RETRY_MS       60000
#define REFRESH        86400 /* seconds (RFC 8461 10.2) */
#define SAME_FOR       3600
#define PORTION        400 /* records that one question looks at */
#define DROPPED_MAX    100 /* of them */

struct policies {
	char *directory;
	struct store *store; /* NULL while it can't be used */
	struct store_table *table;
	int64_t retry_at_ms;
	size_t count;
	int64_t second; /* of the changes below */
	unsigned changes;
	int64_t complained_ms;
	bool has_complained;
};

static bool
count_one(const char *key, const void *value, size_t length, void *arg)
{
	size_t *count = arg;

	(void)key;
	(void)value;
	(void)length;
	++*count;
	return true;
}

static void
give_up(struct policies *policies)
{
	store_close(policies->store);
	policies->store = NULL;
	policies->retry_at_ms = clock_monotonic_ms() + RETRY_MS;
	log_error("the MTA-STS policies in %s can't be used: they are fetched again as mail goes "
	          "out, and not kept",
	    policies->directory);
}

/* It can be used, perhaps after it has been opened. */
static bool
is_open(struct policies *policies)
{
	if (policies->store != NULL)
		return true;
	if (clock_monotonic_ms() < policies->retry_at_ms)
		return false;
	policies->store = store_open(policies->directory);
	policies->count = 0;
	if (policies->store != NULL)
		policies->table = store_table_open(policies->store, "policies");
	if (policies->store == NULL || policies->table == NULL ||
	    store_each(policies->table, "", count_one, &policies->count) != STORE_OK) {
		give_up(policies);
		return false;
	}
	return true;
}

struct policies *
policies_new(const char *directory)
{
	struct policies *policies = calloc(1, sizeof(*policies));

	if (policies == NULL || (policies->directory = strdup(directory)) == NULL)
		fatalx("out of memory");
	return policies;
}

void
policies_free(struct policies *policies)
{
	if (policies == NULL)
		return;
	store_close(policies->store);
	free(policies->directory);
	free(policies);
}

static void
encode(struct buf *buf, const struct ipc_sts_policy *policy)
{
	buf_init(buf, RECORD_MAX);
	buf_add_u8(buf, RECORD_VERSION);
	ipc_sts_policy_encode(buf, policy);
}

static bool
decode(const char *key, const void *data, size_t length, struct ipc_sts_policy *policy)
{
	struct buf_reader reader;

	buf_reader_init(&reader, data, length);
	if (buf_get_u8(&reader) == RECORD_VERSION && ipc_sts_policy_decode(&reader, policy) &&
	    strcmp(key, policy->domain) == 0)
		return true;
	log_error("the MTA-STS policy kept for %s can't be understood: it is left out", key);
	return false;
}

static bool
has_run_out(const struct ipc_sts_policy *policy, int64_t now)
{
	return now >= policy->fetched + policy->max_age;
}

void
policies_get(
    struct policies *policies, const char *domain, int64_t now, struct ipc_sts_found *found)
{
	enum store_result result = STORE_ERROR;
	struct buf value;

	memset(found, 0, sizeof(*found));
	found->status = RELAY_FOUND_BROKEN;
	if (!is_open(policies))
		return;
	buf_init(&value, RECORD_MAX);
	if (*domain != '\0')
		result = store_get(policies->table, NULL, domain, &value);
	if (result == STORE_OK && decode(domain, value.data, value.length, &found->policy) &&
	    !has_run_out(&found->policy, now))
		found->status = RELAY_FOUND;
	else if (result == STORE_ERROR && *domain != '\0')
		give_up(policies);
	else
		found->status = RELAY_FOUND_NONE;
	buf_free(&value);
}

struct walk {
	int64_t now;
	struct ipc_sts_found *found;
	unsigned left;
	unsigned dropped_count;
	char dropped[DROPPED_MAX][HOSTNAME_MAX + 1];
};

static bool
is_due(const struct ipc_sts_policy *policy, int64_t now)
{
	int64_t half = policy->max_age / 2;

	/* One from the future was fetched when the clock was wrong. */
	return policy->mode != STS_MODE_NONE &&
	    (now >= policy->fetched + (half < REFRESH ? half : REFRESH) ||
	        now < policy->fetched - REFRESH);
}

static bool
walk_step(const char *key, const void *value, size_t length, void *arg)
{
	struct walk *walk = arg;
	bool good = decode(key, value, length, &walk->found->policy);

	strlcpy(walk->found->after, key, sizeof(walk->found->after));
	walk->left--;
	if (!good || has_run_out(&walk->found->policy, walk->now))
		strlcpy(walk->dropped[walk->dropped_count++], key, sizeof(walk->dropped[0]));
	else if (is_due(&walk->found->policy, walk->now))
		walk->found->status = RELAY_FOUND;
	return walk->found->status != RELAY_FOUND && walk->left > 0 &&
	    walk->dropped_count < DROPPED_MAX;
}

static void
drop(struct policies *policies, const struct walk *walk)
{
	struct store_transaction *transaction;
	bool good = true;

	if (walk->dropped_count == 0)
		return;
	transaction = store_begin(policies->store);
	if (transaction == NULL)
		return;
	for (unsigned i = 0; i < walk->dropped_count && good; i++)
		good = store_delete(policies->table, transaction, walk->dropped[i]) != STORE_ERROR;
	if (!good)
		store_abort(transaction);
	else if (store_commit(transaction))
		policies->count -= walk->dropped_count;
}

void
policies_due(struct policies *policies, const char *after, int64_t now, struct ipc_sts_found *found)
{
	static struct walk walk;
	enum store_result result;

	memset(found, 0, sizeof(*found));
	found->status = RELAY_FOUND_BROKEN;
	if (!is_open(policies))
		return;
	found->status = RELAY_FOUND_NONE;
	walk = (struct walk){ .now = now, .found = found, .left = PORTION };
	result = store_each_after(policies->table, "", after, walk_step, &walk);
	if (result == STORE_ERROR) {
		found->status = RELAY_FOUND_BROKEN;
		give_up(policies);
		return;
	}
	drop(policies, &walk);
	if (found->status != RELAY_FOUND && walk.left > 0 && walk.dropped_count < DROPPED_MAX)
		*found->after = '\0'; /* the end */
}

static bool
is_flooded(struct policies *policies)
{
	int64_t now_ms = clock_monotonic_ms();

	if (policies->second != now_ms / 1000) {
		policies->second = now_ms / 1000;
		policies->changes = 0;
	}
	return ++policies->changes > POLICIES_PER_SECOND;
}

/* Once a minute. */
static void
complain(struct policies *policies, const char *why)
{
	int64_t now_ms = clock_monotonic_ms();

	if (policies->has_complained && now_ms - policies->complained_ms < 60000)
		return;
	policies->has_complained = true;
	policies->complained_ms = now_ms;
	log_warning("MTA-STS policies aren't kept: %s", why);
}

static void
write_policy(struct policies *policies, const struct ipc_sts_policy *policy, bool is_new)
{
	struct store_transaction *transaction = store_begin(policies->store);
	struct buf value;

	if (transaction == NULL)
		return; /* the log says why; it may do later */
	encode(&value, policy);
	if (!buf_ok(&value) ||
	    store_put(policies->table, transaction, policy->domain, value.data, value.length,
	        true) != STORE_OK) {
		store_abort(transaction);
		give_up(policies);
	} else if (!store_commit(transaction)) {
		give_up(policies);
	} else {
		policies->count += is_new;
	}
	buf_free(&value);
}

static bool
is_same(const struct ipc_sts_policy *a, const struct ipc_sts_policy *b)
{
	return a->mode == b->mode && a->max_age == b->max_age && strcmp(a->id, b->id) == 0 &&
	    strcmp(a->mx, b->mx) == 0 && b->fetched >= a->fetched &&
	    b->fetched - a->fetched < SAME_FOR && b->fetched - a->fetched < a->max_age / 4;
}

void
policies_put(struct policies *policies, const struct ipc_sts_policy *policy, int64_t now)
{
	static struct ipc_sts_found last;

	if (!is_open(policies) || has_run_out(policy, now))
		return;
	if (is_flooded(policies)) {
		complain(policies, "too many come at once");
		return;
	}
	policies_get(policies, policy->domain, now, &last);
	if (last.status == RELAY_FOUND && is_same(&last.policy, policy))
		return;
	if (last.status == RELAY_FOUND_NONE && policies->count >= POLICIES_MAX) {
		complain(policies, "there are too many");
		return;
	}
	if (last.status != RELAY_FOUND_BROKEN)
		write_policy(policies, policy, last.status == RELAY_FOUND_NONE);
}
