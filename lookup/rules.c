/*
 * Each condition answers found, not found or broken. A rule with a broken one, all others of which
 * hold, stops the search: what comes after it might be more than this client is allowed, or less.
 */
#include <sys/socket.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "lookup/rules.h"

#define VALUE_MAX (64UL * 1024) /* of a table of users; what it is doesn't matter */

struct question {
	struct site *site;
	const struct ipc_rcpt *rcpt;
	const struct address *dest;
	bool internal;
};

static enum table_result
found_if(bool found)
{
	return found ? TABLE_FOUND : TABLE_NONE;
}

static enum table_result
negate(enum table_result result, bool negated)
{
	if (!negated || result == TABLE_BROKEN)
		return result;
	return found_if(result == TABLE_NONE);
}

/* A table, by whose entries a text or a regular expression in its place is known. */
struct pattern {
	struct table *table;
	bool regex;
};

static enum table_result
match_source(const struct question *q, struct pattern pattern)
{
	struct netaddr netaddr = { 0 };
	char text[64], *slash;

	if (q->internal)
		return TABLE_NONE;
	switch ((enum client_family)q->rcpt->client_family) {
	case CLIENT_INET4:
		netaddr.family = AF_INET;
		netaddr.bits = 32;
		memcpy(netaddr.address, q->rcpt->client_address, 4);
		break;
	case CLIENT_INET6:
		netaddr.family = AF_INET6;
		netaddr.bits = 128;
		memcpy(netaddr.address, q->rcpt->client_address, 16);
		break;
	case CLIENT_LOCAL:
	case CLIENT_INTERNAL:
	case CLIENT_COUNT:
		return TABLE_NONE;
	}
	if (!pattern.regex)
		return table_match_network(pattern.table, &netaddr);
	netaddr_format(&netaddr, text, sizeof(text));
	slash = strchr(text, '/');
	if (slash != NULL)
		*slash = '\0';
	return table_match_regex(pattern.table, text);
}

static enum table_result
match_word(struct pattern pattern, const char *word)
{
	enum table_result result;
	struct buf value;

	if (pattern.regex)
		return table_match_regex(pattern.table, word);
	buf_init(&value, VALUE_MAX);
	result = table_get(pattern.table, word, &value);
	buf_free(&value);
	return result;
}

/* Whether the client has logged in, as a user of the table if there is one. */
static enum table_result
match_user(const struct question *q, struct pattern users)
{
	if (*q->rcpt->auth_user == '\0')
		return TABLE_NONE;
	return users.table == NULL ? TABLE_FOUND : match_word(users, q->rcpt->auth_user);
}

static enum table_result
match_domain(struct pattern pattern, const char *domain)
{
	char key[TABLE_KEY_MAX];

	if (!pattern.regex)
		return table_match_domain(pattern.table, domain);
	/* What the client says of itself may be anything. */
	if (!table_domain_normalise(domain, key, sizeof(key)))
		return *domain == '\0' ? TABLE_NONE : table_match_regex(pattern.table, domain);
	return table_match_regex(pattern.table, key);
}

static enum table_result
match_address(const struct question *q, struct pattern pattern, const struct address *address)
{
	char domain[TABLE_KEY_MAX], text[ADDRESS_LOCAL_MAX + 1 + TABLE_KEY_MAX];

	if (!pattern.regex)
		return table_match_mailbox(
		    pattern.table, address, q->site->config->subaddress_delimiters);
	/* As we write it, or as OpenSMTPD does. */
	if (address_is_null(address)) {
		enum table_result result = table_match_regex(pattern.table, "<>");

		return result == TABLE_NONE ? table_match_regex(pattern.table, "@") : result;
	}
	if (!table_domain_normalise(address->domain, domain, sizeof(domain)))
		return TABLE_NONE;
	snprintf(text, sizeof(text), "%s@%s", address->local, domain);
	return table_match_regex(pattern.table, text);
}

/* This machine, which the queue's own mail and what aliases lead to comes from, has a name. */
static enum table_result
match_name(const struct question *q, struct pattern names)
{
	const char *name = q->internal ? q->site->config->hostname : q->rcpt->client_name;

	if (!q->internal && q->rcpt->name_unknown)
		return TABLE_BROKEN;
	if (*name == '\0')
		return TABLE_NONE;
	return names.table == NULL ? TABLE_FOUND : match_domain(names, name);
}

static enum table_result
match_from(const struct question *q, const struct rule *rule)
{
	struct pattern pattern = { rule->from, rule->config->from_regex };

	switch (rule->config->from) {
	case MATCH_FROM_LOCAL:
		return found_if(q->internal || site_is_own_client(q->site, q->rcpt));
	case MATCH_FROM_ANY:
		return TABLE_FOUND;
	case MATCH_FROM_AUTH:
		return match_user(q, pattern);
	case MATCH_FROM_SOURCE:
		return match_source(q, pattern);
	case MATCH_FROM_SOCKET:
		return found_if(!q->internal && q->rcpt->client_family == CLIENT_LOCAL);
	case MATCH_FROM_RDNS:
		return match_name(q, pattern);
	case MATCH_FROM_COUNT:
		break;
	}
	return TABLE_NONE;
}

/* "from rdns <table>" is about clients with a name, negated or not, as in OpenSMTPD. */
static bool
is_nameless(const struct question *q, const struct rule *rule)
{
	return rule->config->from == MATCH_FROM_RDNS && rule->from != NULL && !q->internal &&
	    !q->rcpt->name_unknown && *q->rcpt->client_name == '\0';
}

static enum table_result
match_for(const struct question *q, const struct rule *rule)
{
	struct pattern pattern = { rule->for_, rule->config->for_regex };

	switch (rule->config->for_) {
	case MATCH_FOR_LOCAL:
		return found_if(site_is_own_host(q->site, q->dest->domain));
	case MATCH_FOR_ANY:
		return TABLE_FOUND;
	case MATCH_FOR_DOMAIN:
		return match_domain(pattern, q->dest->domain);
	case MATCH_FOR_RCPT:
		return match_address(q, pattern, q->dest);
	case MATCH_FOR_COUNT:
		break;
	}
	return TABLE_NONE;
}

/* What the conditions looked at so far say together, and the one that decided. */
struct outcome {
	enum table_result result;
	const char *condition;
};

/* One more; false when the rule isn't for it, whatever else. */
static bool
add(struct outcome *outcome, const char *condition, enum table_result result, bool negated)
{
	result = negate(result, negated);
	if (result == TABLE_FOUND)
		return true;
	if (result == TABLE_NONE || outcome->result != TABLE_BROKEN)
		*outcome = (struct outcome){ result, condition };
	return result == TABLE_BROKEN;
}

/* Everything but "from" and "for", of which a rule usually has nothing. */
static void
match_rest(const struct question *q, const struct rule *rule, struct outcome *outcome)
{
	const struct rule_config *config = rule->config;
	struct pattern pattern;

	pattern = (struct pattern){ rule->tag, config->tag_regex };
	if (rule->tag != NULL &&
	    !add(outcome, "tag",
	        q->internal || *q->rcpt->tag == '\0' ? TABLE_NONE
	                                             : match_word(pattern, q->rcpt->tag),
	        config->tag_negated))
		return;
	pattern = (struct pattern){ rule->auth, config->auth_regex };
	if (config->auth && !add(outcome, "auth", match_user(q, pattern), config->auth_negated))
		return;
	/* The queue's own mail has crossed no network. */
	if (config->tls &&
	    !add(outcome, "tls",
	        found_if(q->rcpt->tls || q->rcpt->client_family == CLIENT_INTERNAL),
	        config->tls_negated))
		return;
	pattern = (struct pattern){ rule->helo, config->helo_regex };
	if (rule->helo != NULL &&
	    !add(outcome, "helo", match_domain(pattern, q->internal ? "" : q->rcpt->helo),
	        config->helo_negated))
		return;
	pattern = (struct pattern){ rule->mail_from, config->mail_from_regex };
	if (rule->mail_from != NULL &&
	    !add(outcome, "mail-from", match_address(q, pattern, &q->rcpt->sender),
	        config->mail_from_negated))
		return;
	pattern = (struct pattern){ rule->rcpt_to, config->rcpt_to_regex };
	if (rule->rcpt_to != NULL)
		(void)add(outcome, "rcpt-to", match_address(q, pattern, q->dest),
		    config->rcpt_to_negated);
}

/* `*condition` is the one that decided. */
static enum table_result
match_rule(const struct question *q, const struct rule *rule, const char **condition)
{
	struct outcome outcome = { TABLE_FOUND, "" };

	if (rule->broken)
		outcome = (struct outcome){ TABLE_BROKEN, "table" };
	else if (add(&outcome, "from", match_from(q, rule),
	             rule->config->from_negated && !is_nameless(q, rule)) &&
	    add(&outcome, "for", match_for(q, rule), rule->config->for_negated))
		match_rest(q, rule, &outcome);
	*condition = outcome.condition;
	return outcome.result;
}

/* One rule tried for a recipient; which of its conditions failed. */
static void
trace_tried(const struct question *q, const struct rule *rule, enum table_result result,
    const char *condition)
{
	char text[ADDRESS_TEXT_MAX + 1];
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_RULES, "rule-tried"))
		return;
	address_format(q->dest, text, sizeof(text));
	log_text(&line, "to", text);
	log_number(&line, "line", rule->config->line);
	log_text(&line, "result",
	    result == TABLE_FOUND      ? "matches"
	        : result == TABLE_NONE ? "does-not-match"
	                               : "temporary-error");
	if (result != TABLE_FOUND)
		log_text(&line, "condition", condition);
	log_end(&line);
}

static void
trace_chosen(const struct question *q, const struct rule *rule, enum rules_result result)
{
	char text[ADDRESS_TEXT_MAX + 1];
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_RULES, "rule-chosen"))
		return;
	address_format(q->dest, text, sizeof(text));
	log_text(&line, "to", text);
	address_format(&q->rcpt->sender, text, sizeof(text));
	log_text(&line, "from", text);
	log_text(&line, "client", q->internal ? "local" : q->rcpt->client_name);
	switch (result) {
	case RULES_ACTION:
		log_number(&line, "line", rule->config->line);
		log_text(&line, "action", rule->config->action);
		break;
	case RULES_REJECT:
		log_number(&line, "line", rule->config->line);
		log_text(&line, "action", "reject");
		break;
	case RULES_NONE:
		log_text(&line, "action", "none");
		break;
	case RULES_BROKEN:
		log_text(&line, "action", "temporary-error");
		break;
	}
	log_end(&line);
}

enum rules_result
rules_match(struct site *site, const struct ipc_rcpt *rcpt, const struct address *dest,
    bool internal, const struct rule **found)
{
	struct question question = { site, rcpt, dest, internal };
	enum rules_result result = RULES_NONE;

	*found = NULL;
	for (size_t i = 0; i < site->config->rule_count && result == RULES_NONE; i++) {
		const struct rule *rule = &site->rules[i];
		const char *condition;
		enum table_result matches = match_rule(&question, rule, &condition);

		if (log_is_traced(LOG_TRACE_RULES))
			trace_tried(&question, rule, matches, condition);
		switch (matches) {
		case TABLE_FOUND:
			*found = rule;
			result = rule->action == NULL ? RULES_REJECT : RULES_ACTION;
			break;
		case TABLE_NONE:
			break;
		case TABLE_BROKEN:
			result = RULES_BROKEN;
			break;
		}
	}
	if (log_is_traced(LOG_TRACE_RULES))
		trace_chosen(&question, *found, result);
	return result;
}

void
rules_tell(struct site *site, const struct ipc_rcpt *rcpt, const struct address *dest,
    bool internal,
    void (*tell)(const struct rule *, enum table_result, const char *condition, void *arg),
    void *arg)
{
	struct question question = { site, rcpt, dest, internal };
	enum table_result result = TABLE_NONE;
	const char *condition;

	for (size_t i = 0; i < site->config->rule_count && result == TABLE_NONE; i++) {
		result = match_rule(&question, &site->rules[i], &condition);
		tell(&site->rules[i], result, condition, arg);
	}
}

bool
rules_serve_domain(struct site *site, const char *domain)
{
	for (size_t i = 0; i < site->config->rule_count; i++) {
		const struct rule *rule = &site->rules[i];
		enum table_result result = TABLE_NONE;

		if (rule->broken || rule->action == NULL || rule->config->for_negated ||
		    rule->action->config->method == ACTION_RELAY)
			continue;
		if (rule->config->for_ == MATCH_FOR_DOMAIN)
			result = match_domain(
			    (struct pattern){ rule->for_, rule->config->for_regex }, domain);
		else if (rule->config->for_ == MATCH_FOR_LOCAL)
			result = found_if(site_is_own_host(site, domain));
		if (result == TABLE_FOUND)
			return true;
	}
	return false;
}
