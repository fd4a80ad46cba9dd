/*
 * Options of actions that relay, and `mta limit`.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>

#include "common/address.h"
#include "common/envelope.h"
#include "common/log.h"
#include "smtpd/parse_build.h"
#include "smtpd/parse_print.h"

#define HOSTS_MAX   32 /* the relay tries no more */
#define URL_MAX_LEN 512
#define LABEL_WORDS "a host with a label (label@) needs \"auth <table>\", where its credentials are"

static bool
host_fits(const char *url)
{
	static const char *const schemes[] = { "smtp", "smtp+tls", "smtp+notls", "smtps", "lmtp" };
	const char *host = strstr(url, "://"), *at, *end;
	bool known = host == NULL;

	for (size_t i = 0; host != NULL && i < PARSE_COUNT(schemes); i++) {
		if (strlen(schemes[i]) == (size_t)(host - url) &&
		    strncmp(schemes[i], url, (size_t)(host - url)) == 0)
			known = true;
	}
	host = host == NULL ? url : host + 3;
	at = strchr(host, '@');
	if (at != NULL)
		host = at + 1;
	for (end = host; isascii((unsigned char)*end) && isgraph((unsigned char)*end); end++)
		;
	return known && end > host && *end == '\0' && *host != ':' && strlen(url) <= URL_MAX_LEN;
}

static size_t
host_count(const char *hosts)
{
	size_t count = 1;

	while ((hosts = strchr(hosts, ' ')) != NULL) {
		hosts++;
		count++;
	}
	return count;
}

/* Adds a host, taking it over. */
static void
hosts_add(struct parse *parse, struct place place, char **hosts, char *url)
{
	char *all;

	if (!host_fits(url)) {
		problem_error(&parse->problems, place,
		    "\"host\" wants a host name or a URL like smtp://label@host:port, by smtp, "
		    "smtp+tls, smtp+notls, smtps or lmtp, not \"%.100s\"",
		    url);
		free(url);
		return;
	}
	if (*hosts == NULL) {
		*hosts = url;
		return;
	}
	if (host_count(*hosts) == HOSTS_MAX) {
		problem_error(&parse->problems, place, "more than %d hosts", HOSTS_MAX);
	} else {
		if (asprintf(&all, "%s %s", *hosts, url) == -1)
			fatal("parse: asprintf");
		free(*hosts);
		*hosts = all;
	}
	free(url);
}

void
relay_host(struct parse *parse, struct place place, char *url)
{
	hosts_add(parse, place, &parse->draft.action.relay_hosts, url);
}

void
relay_host_table(struct parse *parse, struct place place, char *table)
{
	table_refer(parse, place, table, TABLE_USE_HOSTS);
	option_string(parse, place, "host", &parse->draft.host_table, table);
}

/* HOST:PORT, where an IPv6 address stands in brackets. */
static bool
has_port(const char *place)
{
	const char *colon = strrchr(place, ':'), *error;

	if (colon == NULL || (*place != '[' && strchr(place, ':') != colon) ||
	    (*place == '[' && colon[-1] != ']'))
		return false;
	(void)strtonum(colon + 1, 1, UINT16_MAX, &error);
	return error == NULL && strchr(place, '@') == NULL;
}

/* Absolute, and such that it is one word among hosts. */
static bool
is_socket_path(const char *place)
{
	const char *at;

	for (at = place; isascii((unsigned char)*at) && isgraph((unsigned char)*at); at++)
		;
	return *place == '/' && place[1] != '\0' && *at == '\0' && at - place <= SOCKET_PATH_MAX;
}

void
lmtp_destination(struct parse *parse, struct place place, char *destination)
{
	struct action_config *action = &parse->draft.action;

	action->method = ACTION_LMTP;
	if (asprintf(&action->relay_hosts, LMTP_URL "%s", destination) == -1)
		fatal("parse: asprintf");
	if (!is_socket_path(destination) &&
	    (!host_fits(action->relay_hosts) || !has_port(destination)))
		problem_error(&parse->problems, place,
		    "\"lmtp\" wants the path of a Unix socket, of at most %d bytes without blanks, "
		    "or host:port, not \"%.100s\"",
		    SOCKET_PATH_MAX, destination);
	free(destination);
}

void
relay_tls(struct parse *parse, struct place place, enum relay_tls tls)
{
	if (parse->draft.action.relay_tls != RELAY_TLS_OPPORTUNISTIC)
		problem_error(&parse->problems, place, "\"tls\" is given twice");
	parse->draft.action.relay_tls = tls;
}

void
relay_backup(struct parse *parse, struct place place, char *word, char *name)
{
	if (word != NULL && strcmp(word, "mx") != 0)
		problem_error(&parse->problems, place,
		    "\"backup\" wants nothing behind it, or \"mx\" and this server's name as an "
		    "MX");
	option_flag(parse, place, "backup", &parse->draft.action.relay_backup);
	if (name != NULL)
		option_string(parse, place, "backup", &parse->draft.action.relay_backup_name, name);
	free(word);
}

static const char *
given_option(const struct action_config *action)
{
	return action->relay_hosts != NULL                 ? "host"
	    : action->relay_domains != NULL                ? "domain"
	    : action->relay_auth != NULL                   ? "auth"
	    : action->relay_tls != RELAY_TLS_OPPORTUNISTIC ? "tls"
	    : action->relay_pki != NULL                    ? "pki"
	    : action->relay_ca != NULL                     ? "ca"
	    : action->relay_ciphers != NULL                ? "ciphers"
	    : action->relay_helo != NULL                   ? "helo"
	    : action->relay_source != NULL                 ? "src"
	    : action->relay_helo_table != NULL             ? "helo-src"
	    : action->relay_backup                         ? "backup"
	    : action->relay_mail_from != NULL              ? "mail-from"
	    : action->relay_srs                            ? "srs"
	                                                   : NULL;
}

const char *
relay_misplaced(const struct draft *draft)
{
	struct action_config action = draft->action;

	if (action.method == ACTION_RELAY)
		return NULL;
	if (draft->host_table != NULL)
		return "host";
	if (draft->relay_protocols)
		return "protocols";
	/* Its own destination stands there, and nothing else. */
	if (action.method == ACTION_LMTP && strchr(action.relay_hosts, ' ') == NULL)
		action.relay_hosts = NULL;
	return given_option(&action);
}

/* A host's URL has a label, whose credentials must be somewhere. */
static bool
has_label(const char *hosts)
{
	return hosts != NULL && strchr(hosts, '@') != NULL;
}

bool
relay_fits(struct parse *parse)
{
	const struct draft *draft = &parse->draft;
	struct action_config *action = &parse->draft.action;
	struct problems *problems = &parse->problems;
	struct address sender;

	if (action->relay_pki != NULL)
		parse_lowercase(action->relay_pki);
	if (action->relay_ca != NULL)
		parse_lowercase(action->relay_ca);

	if (has_label(action->relay_hosts) && action->relay_auth == NULL) {
		problem_error(problems, draft->place, LABEL_WORDS);
		return false;
	}
	if (draft->host_table != NULL && action->relay_hosts != NULL) {
		problem_error(
		    problems, draft->place, "\"host\" is given twice, as a table and otherwise");
		return false;
	}
	if (action->relay_backup && (action->relay_hosts != NULL || draft->host_table != NULL)) {
		problem_error(problems, draft->place,
		    "\"backup\" goes by MX records, and \"host\" by none: not both");
		return false;
	}
	if (action->relay_helo_table != NULL && action->relay_source == NULL) {
		problem_error(problems, draft->place,
		    "\"helo-src\" needs \"src\", the addresses that it names");
		return false;
	}
	if (action->relay_helo != NULL && !address_domain_is_valid(action->relay_helo, false)) {
		problem_error(problems, draft->place, "\"helo\" wants a name, not \"%.100s\"",
		    action->relay_helo);
		return false;
	}
	if (action->relay_mail_from != NULL && *action->relay_mail_from == '@' &&
	    address_domain_is_valid(action->relay_mail_from + 1, false))
		return true;
	if (action->relay_mail_from != NULL &&
	    (address_parse(action->relay_mail_from, ADDRESS_ALLOW_BARE_LOCAL, &sender) !=
	            ADDRESS_OK ||
	        address_is_null(&sender))) {
		problem_error(problems, draft->place,
		    "\"mail-from\" wants a mail address, @ and a domain, or a name, not "
		    "\"%.100s\"",
		    action->relay_mail_from);
		return false;
	}
	return true;
}

/* A table of smarthosts, which is known by now, becomes those of the action. */
static void
hosts_from_table(
    struct parse *parse, struct place place, const char *name, struct action_config *action)
{
	const struct table_config *table = config_find_table(parse->config, name);

	if (table == NULL || table->backend != TABLE_STATIC)
		return; /* reported */
	free(action->relay_hosts);
	action->relay_hosts = NULL;
	for (size_t i = 0; i < table->entry_count; i++)
		hosts_add(parse, place, &action->relay_hosts, parse_copy(table->entries[i].key));
	if (has_label(action->relay_hosts) && *action->relay_auth == '\0')
		problem_error(&parse->problems, place, LABEL_WORDS);
	if (action->relay_hosts == NULL)
		action->relay_hosts = parse_copy("");
}

void
relay_check(struct parse *parse)
{
	const struct config *config = parse->config;

	for (size_t i = 0; i < config->action_count; i++) {
		if (parse->host_tables[i] != NULL)
			hosts_from_table(parse, parse->action_places[i], parse->host_tables[i],
			    &config->actions[i]);
	}
	for (size_t i = 0; i < config->action_count; i++) {
		const char *ca = config->actions[i].relay_ca, *pki = config->actions[i].relay_pki;

		if (*pki != '\0' && config_find_pki(config, pki) == NULL)
			problem_error(&parse->problems, parse->action_places[i],
			    "there is no pki \"%.64s\"", pki);
		if (config->actions[i].relay_srs && *config->srs_key == '\0')
			problem_error(&parse->problems, parse->action_places[i],
			    "\"srs\" of action \"%s\" needs a key (\"srs key\")",
			    config->actions[i].name);
		if (*ca != '\0' && config_find_ca(config, ca) == NULL)
			problem_error(&parse->problems, parse->action_places[i],
			    "there is no ca \"%.64s\"", ca);
	}
}

static const struct {
	const char *word;
	size_t offset;
	uint64_t most;
} limits[] = {
#define AT(member) offsetof(struct mta_limit_config, member)
	{ "sessions", AT(sessions), 10000 },
	{ "sessions-total", AT(sessions_total), 10000 },
	{ "messages", AT(messages), 1000000 },
	{ "recipients", AT(recipients), 100000 },
	{ "messages-per-minute", AT(messages_per_minute), 1000000 },
	{ "pause-ms", AT(pause_ms), 600000 },
};

/* A name, or "*." and a name. */
static bool
pattern_fits(const char *pattern)
{
	return address_domain_is_valid(
	    strncmp(pattern, "*.", 2) == 0 ? pattern + 2 : pattern, false);
}

/* The limit's place in the rule; NULL, and an error, when it can't be understood. */
static uint32_t *
limit_place(struct parse *parse, struct place place, const char *word, const char *value,
    struct mta_limit_config *rule)
{
	const char *error;
	uint32_t *at;

	for (size_t i = 0; i < PARSE_COUNT(limits); i++) {
		if (strcmp(limits[i].word, word) != 0)
			continue;
		at = (uint32_t *)(void *)((char *)rule + limits[i].offset);
		*at = (uint32_t)strtonum(value, 1, (long long)limits[i].most, &error);
		if (error == NULL)
			return at;
		problem_error(&parse->problems, place,
		    "\"mta limit %s\" wants a number from 1 to %ju, not \"%.40s\"", word,
		    (uintmax_t)limits[i].most, value);
		return NULL;
	}
	problem_error(&parse->problems, place,
	    "unknown limit \"%.40s\": there are \"sessions\", \"sessions-total\", \"messages\", "
	    "\"recipients\", \"messages-per-minute\" and \"pause-ms\"",
	    word);
	return NULL;
}

void
limit_is_for_mx(struct parse *parse, struct place place, char *word)
{
	if (strcmp(word, "mx") != 0)
		problem_error(&parse->problems, place,
		    "\"for\" wants \"domain\" or \"mx\", not \"%.40s\"", word);
	free(word);
}

/* "inet4", "inet6", or a number of something. */
static bool
limit_read(struct parse *parse, struct place place, const char *word, const char *value,
    struct mta_limit_config *rule)
{
	if (value != NULL)
		return limit_place(parse, place, word, value, rule) != NULL;
	rule->family = strcmp(word, "inet4") == 0 ? RELAY_INET4 : RELAY_INET6;
	return true;
}

void
mta_limit(
    struct parse *parse, struct place place, bool of_domain, char *name, char *word, char *value)
{
	struct config *config = parse->config;
	struct mta_limit_config rule = { .domain = NULL };

	if (name != NULL && !pattern_fits(name)) {
		problem_error(&parse->problems, place,
		    "\"%.100s\" is neither a name nor *. and a name", name);
	} else if (limit_read(parse, place, word, value, &rule)) {
		if (of_domain)
			rule.domain = name;
		else
			rule.mx = name;
		name = NULL;
		config_complete_mta_limit(&rule);
		config->mta_limits = parse_grow(
		    config->mta_limits, config->mta_limit_count, sizeof(*config->mta_limits));
		config->mta_limits[config->mta_limit_count++] = rule;
	}
	free(name);
	free(word);
	free(value);
}

static void
print_limit(FILE *file, const struct mta_limit_config *rule)
{
	fputs("mta limit", file);
	if (*rule->domain != '\0')
		fprintf(file, " for domain %s", rule->domain);
	if (*rule->mx != '\0')
		fprintf(file, " for mx %s", rule->mx);
}

void
mta_limits_print(FILE *file, const struct config *config)
{
	for (size_t i = 0; i < config->mta_limit_count; i++) {
		const struct mta_limit_config *rule = &config->mta_limits[i];

		if (rule->family != RELAY_FAMILY_ANY) {
			print_limit(file, rule);
			fputs(rule->family == RELAY_INET4 ? " inet4\n" : " inet6\n", file);
		}

		for (size_t j = 0; j < PARSE_COUNT(limits); j++) {
			uint32_t value = *(
			    const uint32_t *)(const void *)((const char *)rule + limits[j].offset);

			if (value == 0)
				continue;
			print_limit(file, rule);
			fprintf(file, " %s %u\n", limits[j].word, value);
		}
	}
}
