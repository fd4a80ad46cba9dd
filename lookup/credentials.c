/*
 * A user that isn't there must not be told from one that is by how long a login takes: so such a
 * login is checked against a hash of the same kind. Of the accounts database that is yescrypt with
 * the default cost, and of a table the kind of its first entry. (Of a db file none is at hand, and yescrypt is it.)
 */
#include <string.h>

#include <bsd/string.h>

#include "common/ipc_control.h"
#include "common/log.h"
#include "lookup/credentials.h"

#define SAMPLE_HASH "$y$j9T$mGqbmh8bNDIYqGkGJtPwH0$" /* a salt with yescrypt's default cost */
#define VALUE_MAX   (64UL * 1024)

static enum table_result
find_account(struct site *site, const char *name, struct credentials *found)
{
	struct account_user user;
	struct address address;
	enum account_result result;
	char key[ADDRESS_DOMAIN_MAX + 1];

	if (address_parse(name, ADDRESS_ALLOW_UTF8, &address) != ADDRESS_OK ||
	    address_is_literal(&address) || !address_domain_key(address.domain, key, sizeof(key)))
		return TABLE_NONE;
	strlcpy(address.domain, key, sizeof(address.domain));
	text_lower(address.local);
	result = accounts_find_user(site->accounts, address.domain, address.local, &user);
	if (result == ACCOUNT_FOUND) {
		char text[ADDRESS_TEXT_MAX + 1];

		address_format(&address, text, sizeof(text));
		found->exists =
		    strlcpy(found->user, text, sizeof(found->user)) < sizeof(found->user);
		strlcpy(found->stored, user.hash, sizeof(found->stored));
		found->has_verifier =
		    *user.scram != '\0' && scram_verifier_parse(user.scram, &found->verifier);
	}
	explicit_bzero(&user, sizeof(user));
	if (result == ACCOUNT_BROKEN)
		return TABLE_BROKEN;
	return found->exists ? TABLE_FOUND : TABLE_NONE;
}

static void
take_value(const char *value, struct credentials *found)
{
	(void)password_from_value(value, found->stored);
	found->has_verifier = password_verifier(found->stored, &found->verifier);
}

static enum table_result
find_in_table(struct table *table, const char *name, struct credentials *found)
{
	enum table_result result;
	struct buf value;

	buf_init(&value, VALUE_MAX);
	result = table_get(table, name, &value);
	if (result == TABLE_FOUND) {
		take_value((const char *)value.data, found);
		found->exists =
		    strlcpy(found->user, name, sizeof(found->user)) < sizeof(found->user);
		text_lower(found->user);
	}
	if (value.data != NULL)
		explicit_bzero(value.data, value.capacity);
	buf_free(&value);
	return result == TABLE_FOUND && !found->exists ? TABLE_NONE : result;
}

/* Fills in what is missing. */
static void
complete(struct table *table, const char *name, const struct credentials_secret *secret,
    struct credentials *found)
{
	struct credentials sample = { .verifier = { .iterations = ACCOUNT_SCRAM_ITERATIONS,
		                          .salt_length = ACCOUNT_SCRAM_SALT } };
	struct buf value;

	buf_init(&value, VALUE_MAX);
	if (table != NULL && table_get_sample(table, &value))
		take_value((const char *)value.data, &sample);
	buf_free(&value);
	if (!password_is_usable(found->stored)) {
		if (found->exists && *found->stored != '\0')
			log_warning("the password of \"%s\" is stored in a way that isn't known "
			            "here, or locked: nobody can log in by it",
			    found->user);
		found->exists = false;
		strlcpy(found->stored,
		    password_is_usable(sample.stored) ? sample.stored : SAMPLE_HASH,
		    sizeof(found->stored));
	}
	if (!found->has_verifier) {
		if (sample.verifier.iterations == 0) {
			sample.verifier.iterations = ACCOUNT_SCRAM_ITERATIONS;
			sample.verifier.salt_length = ACCOUNT_SCRAM_SALT;
		}
		found->verifier = sample.verifier;
		scram_verifier_invent(&found->verifier, name, secret->bytes);
	}
	explicit_bzero(&sample, sizeof(sample));
}

enum table_result
credentials_find(struct site *site, const char *table_name, const char *user,
    const struct credentials_secret *secret, struct credentials *found)
{
	struct table *table = tables_find(site->tables, table_name);
	enum table_result result;
	char name[ADDRESS_TEXT_MAX + 1];

	memset(found, 0, sizeof(*found));
	if (table != NULL && table_is_accounts(table))
		table = NULL;
	else if (table == NULL && strcmp(table_name, CREDENTIALS_ACCOUNTS) != 0)
		return TABLE_BROKEN;
	strlcpy(name, user, sizeof(name));
	text_lower(name);
	if (table == NULL)
		result = find_account(site, name, found);
	else
		result = find_in_table(table, name, found);
	if (result != TABLE_BROKEN)
		complete(table, name, secret, found);
	if (result == TABLE_FOUND && !found->exists)
		result = TABLE_NONE;
	return result;
}
