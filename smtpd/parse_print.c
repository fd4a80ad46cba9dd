/*
 * Prints a config as smtpd.conf. Anonymous tables are printed where they are used, everything else
 * in the order settings, tables, listeners, actions, rules: none of it depends on what comes
 * before.
 */
#include <sys/socket.h>
#include <sys/un.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

#include "smtpd/parse.h"
#include "smtpd/parse_print.h"

void
print_quoted(FILE *file, const char *text)
{
	fputc('"', file);
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', file);
		fputc(*text, file);
	}
	fputc('"', file);
}

static void
print_option(FILE *file, const char *word, const char *value)
{
	if (*value == '\0')
		return;
	fprintf(file, " %s ", word);
	print_quoted(file, value);
}

static void
print_content(FILE *file, const struct table_config *table)
{
	switch (table->backend) {
	case TABLE_FILE:
	case TABLE_DB:
		fputs(table->backend == TABLE_FILE ? "\"file:" : "\"db:", file);
		for (const char *at = table->path; *at != '\0'; at++) {
			if (*at == '"' || *at == '\\')
				fputc('\\', file);
			fputc(*at, file);
		}
		fputc('"', file);
		return;
	case TABLE_STATIC:
		break;
	case TABLE_ACCOUNTS:
	case TABLE_BACKEND_COUNT:
		return;
	}
	fputs("{ ", file);
	for (size_t i = 0; i < table->entry_count; i++) {
		if (i > 0)
			fputs(", ", file);
		print_quoted(file, table->entries[i].key);
		if (*table->entries[i].value != '\0') {
			fputs(" = ", file);
			print_quoted(file, table->entries[i].value);
		}
	}
	fputs(" }", file);
}

static bool
is_anonymous(const struct table_config *table)
{
	return *table->name == '<';
}

static void
print_table(FILE *file, const struct config *config, const char *word, const char *name)
{
	const struct table_config *table;

	if (*name == '\0')
		return;
	if (*word != '\0')
		fprintf(file, " %s", word);
	fputc(' ', file);
	table = config_find_table(config, name);
	if (table != NULL && is_anonymous(table))
		print_content(file, table);
	else
		fprintf(file, "<%s>", name);
}

static void
print_tls(FILE *file, const struct listener_config *listener)
{
	static const char *const words[] = {
		[LISTEN_TLS_NONE] = "",
		[LISTEN_TLS_OPTIONAL] = " tls",
		[LISTEN_TLS_REQUIRED] = " tls-require",
		[LISTEN_TLS_IMPLICIT] = " smtps",
	};
	const char *at;

	if (listener->protocol == LISTEN_SIEVE) {
		fprintf(file, " sieve%s", words[listener->tls]);
	} else if (listener_is_access(listener)) {
		bool implicit = listener->tls == LISTEN_TLS_IMPLICIT;

		fprintf(file, " %s%s", listener->protocol == LISTEN_IMAP ? "imap" : "pop3",
		    implicit ? "s" : words[listener->tls]);
	} else
		fputs(words[listener->tls], file);
	if (listener->tls_verify)
		fputs(" verify", file);
	/* No name holds a blank, nor what would have to be escaped but these. */
	for (at = listener->pkis; *at != '\0'; at += *at == ' ') {
		fputs(" pki \"", file);
		for (; *at != '\0' && *at != ' '; at++) {
			if (*at == '"' || *at == '\\')
				fputc('\\', file);
			fputc(*at, file);
		}
		fputc('"', file);
	}
	print_option(file, "ca", listener->ca);
	print_option(file, "ciphers", listener->tls_ciphers);
	if (listener->tls_1_3_only)
		fputs(" protocols tlsv1.3", file);
	if (listener->tls_no_tickets)
		fputs(" no-tickets", file);
}

static void
print_file(FILE *file, const char *statement, const char *name, const char *word, const char *path)
{
	fprintf(file, "%s ", statement);
	print_quoted(file, name);
	fprintf(file, " %s ", word);
	print_quoted(file, path);
	fputc('\n', file);
}

static void
print_auth(FILE *file, const struct config *config, const struct listener_config *listener)
{
	if (listener->auth != LISTEN_AUTH_NONE) {
		fputs(listener->auth == LISTEN_AUTH_REQUIRED ? " auth" : " auth-optional", file);
		if (strcmp(listener->auth_table, "accounts") != 0)
			print_table(file, config, "", listener->auth_table);
	}
	if (listener->auth_without_tls)
		fputs(" auth-cleartext", file);
	print_table(file, config, "senders", listener->senders_table);
	if (listener->masquerade)
		fputs(" masquerade", file);
	if (listener->received_auth)
		fputs(" received-auth", file);
}

static void
print_listener(FILE *file, const struct config *config, const struct listener_config *listener)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];

	fputs(listener_is_metrics(listener) ? "metrics on " : "listen on ", file);
	if (listener->address.ss_family == AF_UNIX) {
		fputs("socket ", file);
		print_quoted(file, ((const struct sockaddr_un *)&listener->address)->sun_path);
	} else if (getnameinfo((const struct sockaddr *)&listener->address,
	               listener->address_length, host, sizeof(host), port, sizeof(port),
	               NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		fprintf(file, "%s port %s", host, port);
	if (listener->protocol == LISTEN_LMTP)
		fputs(" lmtp", file);
	print_option(file, "hostname", listener->hostname);
	print_table(file, config, "hostnames", listener->hostnames);
	print_option(file, "tag", listener->tag);
	if (listener->no_dsn)
		fputs(" no-dsn", file);
	if (listener->mask_source)
		fputs(" mask-src", file);
	print_tls(file, listener);
	print_auth(file, config, listener);
	if (*listener->proxy_trusted != '\0')
		print_table(file, config, "proxy-v2", listener->proxy_trusted);
	else if (listener->proxy_v2)
		fputs(" proxy-v2", file);
	fputc('\n', file);
}

/* Each with a word of its own. */
static void
print_hosts(FILE *file, const char *hosts)
{
	size_t length;

	for (; *hosts != '\0'; hosts += length + (hosts[length] == ' ')) {
		length = strcspn(hosts, " ");
		fprintf(file, " host \"%.*s\"", (int)length, hosts);
	}
}

static void
print_action(FILE *file, const struct config *config, const struct action_config *action)
{
	fputs("action ", file);
	print_quoted(file, action->name);
	switch (action->method) {
	case ACTION_MAILDIR:
		fputs(" maildir", file);
		if (*action->path != '\0') {
			fputc(' ', file);
			print_quoted(file, action->path);
		}
		break;
	case ACTION_RELAY:
		fputs(" relay", file);
		break;
	case ACTION_EXPAND_ONLY:
		fputs(" expand-only", file);
		break;
	case ACTION_LMTP:
		fputs(" lmtp ", file);
		print_quoted(file, action->relay_hosts + strlen(LMTP_URL));
		if (action->lmtp_rcpt_to)
			fputs(" rcpt-to", file);
		break;
	case ACTION_MBOX:
		fputs(" mbox", file);
		if (*action->path != '\0') {
			fputc(' ', file);
			print_quoted(file, action->path);
		}
		break;
	case ACTION_MDA:
		fputs(" mda ", file);
		print_quoted(file, action->command);
		break;
	case ACTION_FORWARD_ONLY:
		fputs(" forward-only", file);
		break;
	case ACTION_METHOD_COUNT:
		break;
	}
	print_table(file, config, "alias", action->alias_table);
	print_table(file, config, "virtual", action->virtual_table);
	print_table(file, config, "userbase", action->userbase_table);
	print_option(file, "user", action->user);
	print_option(file, "wrapper", action->wrapper);
	if (action->method == ACTION_RELAY)
		print_hosts(file, action->relay_hosts);
	print_table(file, config, "domain", action->relay_domains);
	print_table(file, config, "auth", action->relay_auth);
	if (action->relay_tls != RELAY_TLS_OPPORTUNISTIC)
		fputs(action->relay_tls == RELAY_TLS_REQUIRED ? " tls" : " tls no-verify", file);
	print_option(file, "pki", action->relay_pki);
	print_option(file, "ciphers", action->relay_ciphers);
	if (action->relay_tls_1_3_only)
		fputs(" protocols tlsv1.3", file);
	print_option(file, "ca", action->relay_ca);
	print_option(file, "helo", action->relay_helo);
	if (action->relay_backup)
		fputs(" backup", file);
	print_option(file, "mx", action->relay_backup_name);
	print_option(file, "mail-from", action->relay_mail_from);
	if (action->relay_srs)
		fputs(" srs", file);
	print_table(file, config, "src", action->relay_source);
	print_table(file, config, "helo-src", action->relay_helo_table);
	if (action->ttl != 0) {
		fputs(" ttl ", file);
		print_duration(file, action->ttl);
	}
	if (action->allow_pipes)
		fputs(" pipes", file);
	if (action->junk)
		fputs(" junk", file);
	fputc('\n', file);
}

static const char * not(bool negated)
{
	return negated ? " !" : "";
}

static void
print_pattern(FILE *file, const struct config *config, bool regex, const char *table)
{
	if (regex)
		fputs(" regex", file);
	print_table(file, config, "", table);
}

/* A condition of its own, if there is one. */
static void
print_condition(FILE *file, const struct config *config, const char *word, bool negated, bool regex,
    const char *table)
{
	if (*table == '\0')
		return;
	fprintf(file, "%s %s", not(negated), word);
	print_pattern(file, config, regex, table);
}

static void
print_rule(FILE *file, const struct config *config, const struct rule_config *rule)
{
	static const char *const from[] = {
		[MATCH_FROM_LOCAL] = "local",
		[MATCH_FROM_ANY] = "any",
		[MATCH_FROM_AUTH] = "auth",
		[MATCH_FROM_SOURCE] = "src",
		[MATCH_FROM_SOCKET] = "socket",
		[MATCH_FROM_RDNS] = "rdns",
	};
	static const char *const for_[] = {
		[MATCH_FOR_LOCAL] = "local",
		[MATCH_FOR_ANY] = "any",
		[MATCH_FOR_DOMAIN] = "domain",
		[MATCH_FOR_RCPT] = "rcpt-to",
	};

	fprintf(file, "match%s from %s", not(rule->from_negated), from[rule->from]);
	print_pattern(file, config, rule->from_regex, rule->from_table);
	fprintf(file, "%s for %s", not(rule->for_negated), for_[rule->for_]);
	print_pattern(file, config, rule->for_regex, rule->for_table);
	print_condition(file, config, "tag", rule->tag_negated, rule->tag_regex, rule->tag_table);
	print_condition(
	    file, config, "helo", rule->helo_negated, rule->helo_regex, rule->helo_table);
	print_condition(file, config, "mail-from", rule->mail_from_negated, rule->mail_from_regex,
	    rule->mail_from_table);
	print_condition(file, config, "rcpt-to", rule->rcpt_to_negated, rule->rcpt_to_regex,
	    rule->rcpt_to_table);
	if (rule->auth) {
		fprintf(file, "%s auth", not(rule->auth_negated));
		print_pattern(file, config, rule->auth_regex, rule->auth_table);
	}
	if (rule->tls)
		fprintf(file, "%s tls", not(rule->tls_negated));
	if (*rule->action == '\0')
		fputs(" reject", file);
	print_option(file, "action", rule->action);
	fputc('\n', file);
}

void
parse_print_config(FILE *file, const struct config *config)
{
	settings_print(file, config);
	mta_limits_print(file, config);
	fputs("bounce warn-interval ", file);
	if (config->bounce_warn_count == 0)
		fputs("none", file);
	else
		fputs("{ ", file);
	for (size_t i = 0; i < config->bounce_warn_count; i++) {
		print_duration(file, config->bounce_warn[i]);
		fputc(' ', file);
	}
	fputs(config->bounce_warn_count == 0 ? "\n" : "}\n", file);
	for (size_t i = 0; i < config->table_count; i++) {
		const struct table_config *table = &config->tables[i];

		if (is_anonymous(table) || table->backend == TABLE_ACCOUNTS)
			continue;
		fprintf(file, "table %s ", table->name);
		print_content(file, table);
		fputc('\n', file);
	}
	for (size_t i = 0; i < config->pki_count; i++) {
		print_file(file, "pki", config->pkis[i].name, "cert", config->pkis[i].certificate);
		print_file(file, "pki", config->pkis[i].name, "key", config->pkis[i].key);
	}
	for (size_t i = 0; i < config->ca_count; i++)
		print_file(file, "ca", config->cas[i].name, "cert", config->cas[i].certificates);
	for (size_t i = 0; i < config->wrapper_count; i++) {
		fputs("mda wrapper ", file);
		print_quoted(file, config->wrappers[i].name);
		fputc(' ', file);
		print_quoted(file, config->wrappers[i].command);
		fputc('\n', file);
	}
	for (size_t i = 0; i < config->listener_count; i++)
		print_listener(file, config, &config->listeners[i]);
	for (size_t i = 0; i < config->action_count; i++)
		print_action(file, config, &config->actions[i]);
	for (size_t i = 0; i < config->rule_count; i++) {
		parse_print_words(file, config, &config->rules[i], i + 1);
		print_rule(file, config, &config->rules[i]);
	}
}
