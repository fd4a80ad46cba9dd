/*
 * What is known of who wants to log in: from the accounts database, or a table of credentials
 * (smtpd.conf(5), table(5)).
 */
#ifndef LOOKUP_CREDENTIALS_H
#define LOOKUP_CREDENTIALS_H

#include <stdint.h>

#include "lookup/password.h"
#include "lookup/site.h"

#define CREDENTIALS_ACCOUNTS "accounts" /* the database, as a table's name */

/*
 * For a user that isn't there all is filled in as well: with what costs as much to check, and
 * doesn't let anybody in.
 */
struct credentials {
	bool exists;
	char user[USER_NAME_MAX + 1]; /* as the table has it; "" when it doesn't exist */
	char stored[PASSWORD_STORED_MAX + 1];
	struct scram_verifier verifier;
	bool has_verifier;
};

struct credentials_secret {
	uint8_t bytes[32]; /* what is invented of users that there aren't comes from it */
};

/* TABLE_BROKEN: it can't be known now. TABLE_NONE: nobody. */
enum table_result credentials_find(struct site *, const char *table, const char *user,
    const struct credentials_secret *, struct credentials *);

#endif
