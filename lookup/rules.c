/*
 * Each condition answers found, not found or broken. A broken one stops the search: what comes
 * after it might be more than this client is allowed, or less.
 */
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

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

static enum table_result
match_source(const struct question *q, struct table *table)
{
	struct netaddr netaddr = { 0 };

	if (q->internal)
		return TABLE_NONE;
	switch ((enum client_family)q->rcpt->client_family) {
	case CLIENT_INET4:
		netaddr.family = AF_INET;
		netaddr.bits = 32;
		memcpy(netaddr.address, q->rcpt->client_address, 4);
		return table_match_network(table, &netaddr);
	case CLIENT_INET6:
		netaddr.family = AF_INET6;
		netaddr.bits = 128;
		memcpy(netaddr.address, q->rcpt->client_address, 16);
		return table_match_network(table, &netaddr);
	case CLIENT_LOCAL:
	case CLIENT_INTERNAL:
	case CLIENT_COUNT:
		break;
	}
	return TABLE_NONE;
}

/* Whether the client has logged in, as a user of the table if there is one. */
static enum table_result
match_user(const struct question *q, struct table *users)
{
	enum table_result result;
	struct buf value;

	if (*q->rcpt->auth_user == '\0')
		return TABLE_NONE;
	if (users == NULL)
		return TABLE_FOUND;
	buf_init(&value, VALUE_MAX);
	result = table_get(users, q->rcpt->auth_user, &value);
	buf_free(&value);
	return result;
}

static enum table_result
match_from(const struct question *q, const struct rule *rule)
{
	switch (rule->config->from) {
	case MATCH_FROM_LOCAL:
		return found_if(q->internal || site_is_own_client(q->site, q->rcpt));
	case MATCH_FROM_ANY:
		return TABLE_FOUND;
	case MATCH_FROM_AUTH:
		return match_user(q, rule->from);
	case MATCH_FROM_SOURCE:
		return match_source(q, rule->from);
	case MATCH_FROM_SOCKET:
		return found_if(!q->internal && q->rcpt->client_family == CLIENT_LOCAL);
	case MATCH_FROM_COUNT:
		break;
	}
	return TABLE_NONE;
}

static enum table_result
match_for(const struct question *q, const struct rule *rule)
{
	switch (rule->config->for_) {
	case MATCH_FOR_LOCAL:
		return found_if(site_is_own_host(q->site, q->dest->domain));
	case MATCH_FOR_ANY:
		return TABLE_FOUND;
	case MATCH_FOR_DOMAIN:
		return table_match_domain(rule->for_, q->dest->domain);
	case MATCH_FOR_RCPT:
		return table_match_mailbox(
		    rule->for_, q->dest, q->site->config->subaddress_delimiters);
	case MATCH_FOR_COUNT:
		break;
	}
	return TABLE_NONE;
}

/* Everything but "from" and "for", of which a rule usually has nothing. */
static enum table_result
match_rest(const struct question *q, const struct rule *rule, const char **condition)
{
	const struct rule_config *config = rule->config;
	const char *delimiters = q->site->config->subaddress_delimiters;
	enum table_result result = TABLE_FOUND;

	if (*config->tag != '\0') {
		*condition = "tag";
		result =
		    negate(found_if(!q->internal && strcasecmp(config->tag, q->rcpt->tag) == 0),
		        config->tag_negated);
	}
	if (result == TABLE_FOUND && config->auth) {
		*condition = "auth";
		result = negate(match_user(q, rule->auth), config->auth_negated);
	}
	if (result == TABLE_FOUND && rule->helo != NULL) {
		*condition = "helo";
		result = negate(table_match_domain(rule->helo, q->internal ? "" : q->rcpt->helo),
		    config->helo_negated);
	}
	if (result == TABLE_FOUND && rule->mail_from != NULL) {
		*condition = "mail-from";
		result = negate(table_match_mailbox(rule->mail_from, &q->rcpt->sender, delimiters),
		    config->mail_from_negated);
	}
	if (result == TABLE_FOUND && rule->rcpt_to != NULL) {
		*condition = "rcpt-to";
		result = negate(table_match_mailbox(rule->rcpt_to, q->dest, delimiters),
		    config->rcpt_to_negated);
	}
	return result;
}

/* `*condition` is the last one that was looked at: it decided. */
static enum table_result
match_rule(const struct question *q, const struct rule *rule, const char **condition)
{
	enum table_result result;

	*condition = "table";
	if (rule->broken)
		return TABLE_BROKEN;
	*condition = "from";
	result = negate(match_from(q, rule), rule->config->from_negated);
	if (result == TABLE_FOUND) {
		*condition = "for";
		result = negate(match_for(q, rule), rule->config->for_negated);
	}
	if (result == TABLE_FOUND)
		result = match_rest(q, rule, condition);
	return result;
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
			result = table_match_domain(rule->for_, domain);
		else if (rule->config->for_ == MATCH_FOR_LOCAL)
			result = found_if(site_is_own_host(site, domain));
		if (result == TABLE_FOUND)
			return true;
	}
	return false;
}
