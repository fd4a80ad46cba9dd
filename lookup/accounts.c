/*
 * Three tables of the store. Keys are "DOMAIN" for domains and "DOMAIN LOCAL" for users and aliases
 * (no domain holds a blank), so that what belongs to a domain stands together. Values begin with a
 * version byte.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/store.h"
#include "lookup/accounts.h"
#include "lookup/table_text.h"

#define RECORD_VERSION 2
#define RECORD_OLDEST  1
#define RECORD_MAX     (4UL * 1024 * 1024)
#define TARGETS_MAX    100000
#define RETRY_MS       2000
#define KEY_MAX        (ADDRESS_DOMAIN_MAX + 1 + ADDRESS_LOCAL_MAX + 1)

struct accounts {
	char *directory;
	struct store *store; /* NULL while it can't be used */
	struct store_table *tables[ACCOUNT_ALIASES + 1];
	struct buf record; /* scratch: the last one read */
	int64_t retry_at_ms;
};

static const char *const table_names[] = { "domains", "users", "aliases" };

static bool
open_store(struct accounts *accounts)
{
	accounts->retry_at_ms = clock_monotonic_ms() + RETRY_MS;
	accounts->store = store_open(accounts->directory);
	if (accounts->store == NULL)
		return false;
	for (size_t i = 0; i <= ACCOUNT_ALIASES; i++) {
		accounts->tables[i] = store_table_open(accounts->store, table_names[i]);
		if (accounts->tables[i] == NULL) {
			store_close(accounts->store);
			accounts->store = NULL;
			return false;
		}
	}
	return true;
}

struct accounts *
accounts_new(const char *directory)
{
	struct accounts *accounts = calloc(1, sizeof(*accounts));

	if (accounts == NULL || (accounts->directory = strdup(directory)) == NULL)
		fatalx("out of memory");
	buf_init(&accounts->record, RECORD_MAX);
	if (!open_store(accounts))
		log_error("the accounts database %s can't be used: mail for its domains is put off "
		          "until it can",
		    directory);
	return accounts;
}

void
accounts_free(struct accounts *accounts)
{
	if (accounts == NULL)
		return;
	store_close(accounts->store);
	if (accounts->record.data != NULL)
		explicit_bzero(accounts->record.data, accounts->record.capacity);
	buf_free(&accounts->record);
	free(accounts->directory);
	free(accounts);
}

bool
accounts_is_open(const struct accounts *accounts)
{
	return accounts->store != NULL;
}

bool
accounts_retry(struct accounts *accounts)
{
	if (accounts->store != NULL || clock_monotonic_ms() < accounts->retry_at_ms ||
	    !open_store(accounts))
		return false;
	log_info("the accounts database %s can be used again", accounts->directory);
	return true;
}

/* After an error the store is closed: opening it again runs its recovery. */
static enum account_result
give_up(struct accounts *accounts)
{
	log_error("the accounts database is closed and will be opened again");
	store_close(accounts->store);
	accounts->store = NULL;
	accounts->retry_at_ms = clock_monotonic_ms() + RETRY_MS;
	return ACCOUNT_BROKEN;
}

static bool
make_key(char *key, const char *domain, const char *local)
{
	if (snprintf(key, KEY_MAX, "%s %s", domain, local) >= KEY_MAX)
		return false;
	text_lower(key);
	return true;
}

static enum account_result
read_untraced(struct accounts *accounts, enum account_kind kind, const char *key)
{
	if (accounts->store == NULL)
		return ACCOUNT_BROKEN;
	switch (store_get(accounts->tables[kind], NULL, key, &accounts->record)) {
	case STORE_OK:
		return ACCOUNT_FOUND;
	case STORE_NOT_FOUND:
		return ACCOUNT_NONE;
	case STORE_EXISTS:
	case STORE_ERROR:
		break;
	}
	return give_up(accounts);
}

static enum account_result
read_record(struct accounts *accounts, enum account_kind kind, const char *key)
{
	int64_t since = log_is_traced(LOG_TRACE_LOOKUP) ? clock_monotonic_us() : 0;
	enum account_result result = read_untraced(accounts, kind, key);
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_LOOKUP, "account-looked-up"))
		return result;
	log_text(&line, "in", table_names[kind]);
	log_text(&line, "key", key);
	log_text(&line, "result",
	    result == ACCOUNT_FOUND      ? "found"
	        : result == ACCOUNT_NONE ? "none"
	                                 : "temporary-error");
	log_number(&line, "time_us", clock_monotonic_us() - since);
	log_end(&line);
	return result;
}

static bool
decode_version(struct buf_reader *reader, const char *key, uint8_t *version)
{
	*version = buf_get_u8(reader);
	if (!reader->failed && *version >= RECORD_OLDEST && *version <= RECORD_VERSION)
		return true;
	log_error("the accounts database's record of \"%s\" has version %u; this program knows %u",
	    key, *version, RECORD_VERSION);
	return false;
}

static bool
decode_user(const void *data, size_t length, const char *key, struct account_user *user)
{
	struct buf_reader reader;
	uint8_t version;

	memset(user, 0, sizeof(*user));
	buf_reader_init(&reader, data, length);
	if (!decode_version(&reader, key, &version))
		return false;
	buf_get_string(&reader, user->hash, sizeof(user->hash));
	user->quota_bytes = buf_get_u64(&reader);
	user->quota_messages = buf_get_u64(&reader);
	user->created = (int64_t)buf_get_u64(&reader);
	if (version >= 2)
		buf_get_string(&reader, user->scram, sizeof(user->scram));
	if (buf_reader_done(&reader))
		return true;
	log_error("the accounts database's record of \"%s\" is damaged", key);
	return false;
}

static bool
decode_targets(const void *data, size_t length, const char *key, struct buf *targets)
{
	struct buf_reader reader;
	char target[PATH_TEXT_MAX + 1];
	uint32_t count;
	uint8_t version;

	buf_clear(targets);
	buf_reader_init(&reader, data, length);
	if (!decode_version(&reader, key, &version))
		return false;
	count = buf_get_u32(&reader);
	if (count > TARGETS_MAX)
		reader.failed = true;
	for (uint32_t i = 0; i < count && !reader.failed; i++) {
		buf_get_string(&reader, target, sizeof(target));
		if (!reader.failed)
			buf_add(targets, target, strlen(target) + 1);
	}
	if (buf_reader_done(&reader) && buf_ok(targets))
		return true;
	log_error("the accounts database's record of \"%s\" is damaged", key);
	return false;
}

enum account_result
accounts_find_domain(struct accounts *accounts, const char *domain)
{
	return read_record(accounts, ACCOUNT_DOMAINS, domain);
}

enum account_result
accounts_find_user(
    struct accounts *accounts, const char *domain, const char *local, struct account_user *user)
{
	enum account_result result;
	char key[KEY_MAX];

	memset(user, 0, sizeof(*user));
	if (!make_key(key, domain, local))
		return ACCOUNT_NONE;
	result = read_record(accounts, ACCOUNT_USERS, key);
	if (result == ACCOUNT_FOUND &&
	    !decode_user(accounts->record.data, accounts->record.length, key, user))
		return ACCOUNT_BROKEN;
	return result;
}

enum account_result
accounts_find_alias(
    struct accounts *accounts, const char *domain, const char *local, struct buf *targets)
{
	enum account_result result;
	char key[KEY_MAX];

	buf_clear(targets);
	if (!make_key(key, domain, local))
		return ACCOUNT_NONE;
	result = read_record(accounts, ACCOUNT_ALIASES, key);
	if (result == ACCOUNT_FOUND &&
	    !decode_targets(accounts->record.data, accounts->record.length, key, targets))
		return ACCOUNT_BROKEN;
	return result;
}

/* One record put (or, without `record`, deleted) as a transaction of its own. */
static enum account_result
change(struct accounts *accounts, enum account_kind kind, const char *key, const struct buf *record)
{
	struct store_transaction *transaction;
	enum store_result result;

	if (accounts->store == NULL)
		return ACCOUNT_BROKEN;
	if (record != NULL && !buf_ok(record)) {
		log_error("the accounts database's record of \"%s\" would be too large", key);
		return ACCOUNT_BROKEN;
	}
	transaction = store_begin(accounts->store);
	if (transaction == NULL)
		return ACCOUNT_BROKEN;
	if (record != NULL)
		result = store_put(
		    accounts->tables[kind], transaction, key, record->data, record->length, true);
	else
		result = store_delete(accounts->tables[kind], transaction, key);
	if (result != STORE_OK) {
		store_abort(transaction);
		return result == STORE_NOT_FOUND ? ACCOUNT_NONE : give_up(accounts);
	}
	return store_commit(transaction) ? ACCOUNT_FOUND : give_up(accounts);
}

enum account_result
accounts_put_domain(struct accounts *accounts, const char *domain)
{
	enum account_result result;
	struct buf record;

	buf_init(&record, RECORD_MAX);
	buf_add_u8(&record, RECORD_VERSION);
	buf_add_u64(&record, (uint64_t)clock_wall());
	result = change(accounts, ACCOUNT_DOMAINS, domain, &record);
	buf_free(&record);
	return result;
}

enum account_result
accounts_delete_domain(struct accounts *accounts, const char *domain)
{
	return change(accounts, ACCOUNT_DOMAINS, domain, NULL);
}

enum account_result
accounts_put_user(struct accounts *accounts, const char *domain, const char *local,
    const struct account_user *user)
{
	enum account_result result;
	struct buf record;
	char key[KEY_MAX];

	if (!make_key(key, domain, local))
		return ACCOUNT_NONE;
	buf_init(&record, RECORD_MAX);
	buf_add_u8(&record, RECORD_VERSION);
	buf_add_string(&record, user->hash);
	buf_add_u64(&record, user->quota_bytes);
	buf_add_u64(&record, user->quota_messages);
	buf_add_u64(&record, (uint64_t)user->created);
	buf_add_string(&record, user->scram);
	result = change(accounts, ACCOUNT_USERS, key, &record);
	if (record.data != NULL)
		explicit_bzero(record.data, record.capacity);
	buf_free(&record);
	return result;
}

enum account_result
accounts_delete_user(struct accounts *accounts, const char *domain, const char *local)
{
	char key[KEY_MAX];

	return make_key(key, domain, local) ? change(accounts, ACCOUNT_USERS, key, NULL)
	                                    : ACCOUNT_NONE;
}

enum account_result
accounts_put_alias(
    struct accounts *accounts, const char *domain, const char *local, const struct buf *targets)
{
	enum account_result result;
	struct buf record;
	uint32_t count = 0;
	char key[KEY_MAX];

	if (!make_key(key, domain, local))
		return ACCOUNT_NONE;
	if (targets->length == 0)
		return change(accounts, ACCOUNT_ALIASES, key, NULL);
	for (size_t i = 0; i < targets->length; i++)
		count += targets->data[i] == '\0';
	buf_init(&record, RECORD_MAX);
	buf_add_u8(&record, RECORD_VERSION);
	buf_add_u32(&record, count);
	for (size_t at = 0; at < targets->length;) {
		const char *target = (const char *)targets->data + at;

		buf_add_string(&record, target);
		at += strlen(target) + 1;
	}
	result = change(accounts, ACCOUNT_ALIASES, key, &record);
	buf_free(&record);
	return result;
}

struct walk {
	enum account_kind kind;
	struct account_user user;
	struct buf targets;
	accounts_each_fn each;
	void *arg;
};

static bool
walk_step(const char *key, const void *value, size_t length, void *arg)
{
	struct walk *walk = arg;
	struct account_item item = { .key = key };
	size_t domain = strcspn(key, " ");

	strlcpy(item.address.domain, key, sizeof(item.address.domain));
	if (domain < sizeof(item.address.domain))
		item.address.domain[domain] = '\0';
	if (key[domain] == ' ')
		strlcpy(item.address.local, key + domain + 1, sizeof(item.address.local));
	switch (walk->kind) {
	case ACCOUNT_DOMAINS:
		break;
	case ACCOUNT_USERS:
		/* A damaged record is logged and left out; the others are still wanted. */
		if (!decode_user(value, length, key, &walk->user))
			return true;
		item.user = &walk->user;
		break;
	case ACCOUNT_ALIASES:
		if (!decode_targets(value, length, key, &walk->targets))
			return true;
		item.targets = &walk->targets;
		break;
	}
	return walk->each(&item, walk->arg);
}

enum account_result
accounts_each(struct accounts *accounts, enum account_kind kind, const char *domain,
    const char *after, accounts_each_fn each, void *arg)
{
	struct walk walk = { .kind = kind, .each = each, .arg = arg };
	enum store_result result;
	char prefix[KEY_MAX] = "";

	if (accounts->store == NULL)
		return ACCOUNT_BROKEN;
	if (*domain != '\0' && kind == ACCOUNT_DOMAINS)
		strlcpy(prefix, domain, sizeof(prefix));
	else if (*domain != '\0' && !make_key(prefix, domain, ""))
		return ACCOUNT_NONE;
	buf_init(&walk.targets, RECORD_MAX);
	result = store_each_after(accounts->tables[kind], prefix, after, walk_step, &walk);
	buf_free(&walk.targets);
	explicit_bzero(&walk.user, sizeof(walk.user));
	return result == STORE_OK ? ACCOUNT_FOUND : give_up(accounts);
}
