/*
 * Options and conditions about logins.
 */
#include <stdlib.h>

#include "smtpd/parse_build.h"

#define ACCOUNTS "accounts" /* the database, which is there without being defined */

void
listen_auth(struct parse *parse, struct place place, enum listener_auth auth, char *table)
{
	struct listener_config *listener = &parse->draft.listener;

	if (listener->auth != LISTEN_AUTH_NONE) {
		problem_error(
		    &parse->problems, place, "\"auth\" or \"auth-optional\" is given twice");
		free(table);
		return;
	}
	if (table != NULL)
		table_refer(parse, place, table, TABLE_USE_CREDENTIALS);
	listener->auth = auth;
	listener->auth_table = table != NULL ? table : parse_copy(ACCOUNTS);
}

void
listen_senders(struct parse *parse, struct place place, char *table, bool masquerade)
{
	table_refer(parse, place, table, TABLE_USE_SENDERS);
	option_string(parse, place, "senders", &parse->draft.listener.senders_table, table);
	parse->draft.listener.masquerade = masquerade;
}

bool
listen_auth_fits(struct parse *parse)
{
	const struct draft *draft = &parse->draft;
	const struct listener_config *listener = &draft->listener;
	const char *without = listener->senders_table != NULL ? "senders"
	    : listener->auth_without_tls                      ? "auth-cleartext"
	                                                      : NULL;

	if (listener->auth == LISTEN_AUTH_NONE && without != NULL) {
		problem_error(&parse->problems, draft->place,
		    "\"%s\" needs \"auth\" or \"auth-optional\"", without);
		return false;
	}
	/* Nobody could log in, or everybody could read their passwords. */
	if (listener->auth != LISTEN_AUTH_NONE && listener->tls == LISTEN_TLS_NONE &&
	    !listener->auth_without_tls) {
		problem_error(&parse->problems, draft->place,
		    "\"auth\" needs \"tls\", \"tls-require\" or \"smtps\", or \"auth-cleartext\" "
		    "where nobody can listen");
		return false;
	}
	return true;
}

void
rule_auth(struct parse *parse, struct place place, bool negated, char *table)
{
	struct rule_config *rule = &parse->draft.rule;

	if (table != NULL)
		table_refer(parse, place, table, TABLE_USE_USERS);
	option_flag(parse, place, "auth", &rule->auth);
	free(rule->auth_table);
	rule->auth_table = table;
	rule->auth_negated = negated;
}
