/*
 * Options of listeners about logins.
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

void
listen_access(struct parse *parse, struct place place, enum listener_protocol protocol)
{
	struct listener_config *listener = &parse->draft.listener;

	if (listener->protocol != LISTEN_SMTP)
		problem_error(&parse->problems, place,
		    "one of \"lmtp\", \"imap\", \"imaps\", \"pop3\", \"pop3s\" and \"sieve\", and "
		    "once");
	listener->protocol = protocol;
}

/* What is about taking mail in has no meaning where it is handed out. */
static const char *
find_foreign(const struct draft *draft)
{
	const struct listener_config *listener = &draft->listener;

	return draft->is_socket                      ? "socket"
	    : listener->no_dsn                       ? "no-dsn"
	    : listener->mask_source                  ? "mask-src"
	    : listener->hostnames                    ? "hostnames"
	    : listener->senders_table                ? "senders"
	    : listener->received_auth                ? "received-auth"
	    : listener->proxy_v2                     ? "proxy-v2"
	    : listener->tls_verify                   ? "verify"
	    : listener->auth == LISTEN_AUTH_OPTIONAL ? "auth-optional"
	    /* RFC 5804 1.8 has no port for it. */
	    : listener->protocol == LISTEN_SIEVE && listener->tls == LISTEN_TLS_IMPLICIT ? "smtps"
	                                                                                 : NULL;
}

bool
listen_access_fits(struct parse *parse)
{
	struct listener_config *listener = &parse->draft.listener;
	const char *foreign = find_foreign(&parse->draft);

	if (!listener_is_access(listener))
		return true;
	if (foreign != NULL) {
		problem_error(&parse->problems, parse->draft.place,
		    "\"%s\" doesn't go with \"imap\", \"pop3\" and \"sieve\"", foreign);
		return false;
	}
	/* Nobody reads mail without a login. */
	if (listener->auth == LISTEN_AUTH_NONE) {
		listener->auth = LISTEN_AUTH_REQUIRED;
		listener->auth_table = parse_copy(ACCOUNTS);
	}
	return true;
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
