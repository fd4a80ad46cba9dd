/*
 * The accounts database: domains, users, quotas, password hashes and aliases of the hosted
 * organization.
 *
 * A domain is named by its A-labels, a local part in lower case (ASCII). Every record begins with a
 * version; a newer one than this program knows is an error, not a guess.
 *
 * When the store can't be opened or fails, lookups answer ACCOUNT_BROKEN and accounts_retry() tries
 * to open it again.
 */
#ifndef LOOKUP_ACCOUNTS_H
#define LOOKUP_ACCOUNTS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/address.h"
#include "common/buf.h"

#define ACCOUNT_HASH_MAX  384
#define ACCOUNT_SCRAM_MAX 255

enum account_result {
	ACCOUNT_FOUND,
	ACCOUNT_NONE,
	ACCOUNT_BROKEN,
};

struct account_user {
	char hash[ACCOUNT_HASH_MAX + 1];   /* crypt(3); "" no password. Never logged */
	char scram[ACCOUNT_SCRAM_MAX + 1]; /* see scram_verifier_parse(); "" none. Never logged */
	uint64_t quota_bytes;              /* 0: none */
	uint64_t quota_messages;
	int64_t created; /* wall clock, seconds */
};

struct accounts;

/* Opens the database in `directory`, or logs why not and tries again later. Never NULL. */
struct accounts *accounts_new(const char *directory);
void accounts_free(struct accounts *);
bool accounts_is_open(const struct accounts *);
/* When it isn't open: tries again, every two seconds at most. True when it is open now and wasn't.
 */
bool accounts_retry(struct accounts *);

/* `domain` as address_domain_key() gives it, `local` in any case. */
enum account_result accounts_find_domain(struct accounts *, const char *domain);
enum account_result accounts_find_user(
    struct accounts *, const char *domain, const char *local, struct account_user *);
/* The targets, each a terminated string, one after another; `local` "" is the catch-all. */
enum account_result accounts_find_alias(
    struct accounts *, const char *domain, const char *local, struct buf *targets);

/* Changes: each is one transaction, durable when ACCOUNT_FOUND is returned; ACCOUNT_NONE when there
 * was nothing to delete. */
enum account_result accounts_put_domain(struct accounts *, const char *domain);
enum account_result accounts_delete_domain(struct accounts *, const char *domain);
enum account_result accounts_put_user(
    struct accounts *, const char *domain, const char *local, const struct account_user *);
enum account_result accounts_delete_user(struct accounts *, const char *domain, const char *local);
/* An alias without targets is deleted. */
enum account_result accounts_put_alias(
    struct accounts *, const char *domain, const char *local, const struct buf *targets);

/* What a walk goes over. */
enum account_kind {
	ACCOUNT_DOMAINS,
	ACCOUNT_USERS,
	ACCOUNT_ALIASES,
};
struct account_item {
	const char *key; /* to go on after it */
	struct address address;
	const struct account_user *user; /* ACCOUNT_USERS */
	const struct buf *targets;       /* ACCOUNT_ALIASES */
};
/* Calls `each` for what is in `domain` ("" all), in order, after the key `after` ("" from the
 * start), until it returns false. */
typedef bool (*accounts_each_fn)(const struct account_item *, void *arg);
enum account_result accounts_each(struct accounts *, enum account_kind, const char *domain,
    const char *after, accounts_each_fn, void *arg);

#endif
