/*
 * Conditions of rules, and rules as they stand: each names an action that there is. What can be seen
 * of all rules together is in parse_reach.c.
 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "smtpd/parse_build.h"

/* The pattern becomes a condition's table, whose entries are of this use. */
static void
take_pattern(struct parse *parse, struct place place, const struct pattern *pattern,
    enum table_use use, char **table, bool *regex)
{
	if (pattern == NULL || pattern->table == NULL)
		return;
	table_refer(parse, place, pattern->table, pattern->regex ? TABLE_USE_REGEX : use);
	*table = pattern->table;
	*regex = pattern->regex;
}

static void
drop_pattern(const struct pattern *pattern)
{
	if (pattern != NULL)
		free(pattern->table);
}

static enum table_use
use_of_from(enum match_from from)
{
	switch (from) {
	case MATCH_FROM_AUTH:
		return TABLE_USE_USERS;
	case MATCH_FROM_RDNS:
		return TABLE_USE_DOMAIN;
	case MATCH_FROM_LOCAL:
	case MATCH_FROM_ANY:
	case MATCH_FROM_SOURCE:
	case MATCH_FROM_SOCKET:
	case MATCH_FROM_COUNT:
		break;
	}
	return TABLE_USE_NETWORK;
}

void
rule_from(struct parse *parse, struct place place, bool negated, enum match_from from,
    const struct pattern *pattern)
{
	struct draft *draft = &parse->draft;

	if (draft->has_from) {
		given_twice(parse, place, "from");
		drop_pattern(pattern);
		return;
	}
	draft->has_from = true;
	draft->rule.from = from;
	draft->rule.from_negated = negated;
	take_pattern(parse, place, pattern, use_of_from(from), &draft->rule.from_table,
	    &draft->rule.from_regex);
}

void
rule_for(struct parse *parse, struct place place, bool negated, enum match_for for_,
    const struct pattern *pattern)
{
	struct draft *draft = &parse->draft;

	if (draft->has_for) {
		given_twice(parse, place, "for");
		drop_pattern(pattern);
		return;
	}
	draft->has_for = true;
	draft->rule.for_ = for_;
	draft->rule.for_negated = negated;
	take_pattern(parse, place, pattern,
	    for_ == MATCH_FOR_RCPT ? TABLE_USE_ADDRESS : TABLE_USE_DOMAIN, &draft->rule.for_table,
	    &draft->rule.for_regex);
}

void
rule_auth(struct parse *parse, struct place place, bool negated, const struct pattern *pattern)
{
	struct rule_config *rule = &parse->draft.rule;

	if (rule->auth) {
		given_twice(parse, place, "auth");
		drop_pattern(pattern);
		return;
	}
	rule->auth = true;
	rule->auth_negated = negated;
	take_pattern(parse, place, pattern, TABLE_USE_USERS, &rule->auth_table, &rule->auth_regex);
}

void
rule_tls(struct parse *parse, struct place place, bool negated)
{
	option_flag(parse, place, "tls", &parse->draft.rule.tls);
	parse->draft.rule.tls_negated = negated;
}

void
rule_pattern(struct parse *parse, struct place place, bool negated, enum rule_pattern which,
    const struct pattern *pattern)
{
	struct rule_config *rule = &parse->draft.rule;
	const struct {
		const char *word;
		enum table_use use;
		char **table;
		bool *negated;
		bool *regex;
	} patterns[] = {
		[RULE_TAG] = { "tag", TABLE_USE_TAG, &rule->tag_table, &rule->tag_negated,
		    &rule->tag_regex },
		[RULE_HELO] = { "helo", TABLE_USE_HELO, &rule->helo_table, &rule->helo_negated,
		    &rule->helo_regex },
		[RULE_MAIL_FROM] = { "mail-from", TABLE_USE_ADDRESS, &rule->mail_from_table,
		    &rule->mail_from_negated, &rule->mail_from_regex },
		[RULE_RCPT_TO] = { "rcpt-to", TABLE_USE_ADDRESS, &rule->rcpt_to_table,
		    &rule->rcpt_to_negated, &rule->rcpt_to_regex },
	};

	if (*patterns[which].table != NULL) {
		given_twice(parse, place, patterns[which].word);
		drop_pattern(pattern);
		return;
	}
	*patterns[which].negated = negated;
	take_pattern(parse, place, pattern, patterns[which].use, patterns[which].table,
	    patterns[which].regex);
}

void
rule_finish(struct parse *parse, char *action)
{
	struct config *config = parse->config;
	struct rule_config *rule = &parse->draft.rule;
	struct place place = parse->draft.place;

	rule->action = action;
	if (action == NULL || action_name_fits(parse, place, "an action", action)) {
		/* As in OpenSMTPD, a rule that doesn't say is about local mail. */
		if (!parse->draft.has_from)
			rule->from = MATCH_FROM_LOCAL;
		if (!parse->draft.has_for)
			rule->for_ = MATCH_FOR_LOCAL;
		config_complete_rule(rule);
		rule->line = place.line;
		if (strcmp(place.file, lexer_main_name(parse->lexer)) != 0) {
			free(rule->file);
			rule->file = parse_copy(place.file);
		}
		parse->rule_places =
		    parse_grow(parse->rule_places, config->rule_count, sizeof(place));
		parse->rule_places[config->rule_count] = place;
		config->rules =
		    parse_grow(config->rules, config->rule_count, sizeof(*config->rules));
		config->rules[config->rule_count++] = *rule;
		memset(rule, 0, sizeof(*rule));
	}
	draft_clear(parse);
}

static bool
is_accounts(const struct config *config, const char *name)
{
	const struct table_config *table = config_find_table(config, name);

	return table != NULL && table->backend == TABLE_ACCOUNTS;
}

void
rules_check(struct parse *parse)
{
	const struct config *config = parse->config;
	bool *used = calloc(config->action_count + 1, sizeof(*used));

	if (used == NULL)
		fatal("parse: calloc");
	for (size_t i = 0; i < config->rule_count; i++) {
		const struct rule_config *rule = &config->rules[i];
		const struct action_config *action = config_find_action(config, rule->action);

		if (action != NULL)
			used[action - config->actions] = true;
		else if (*rule->action != '\0')
			problem_error(&parse->problems, parse->rule_places[i],
			    "action \"%s\" is not defined", rule->action);
		/* Its users would be looked for elsewhere; without a table, they aren't. */
		if (action != NULL && action_is_local(action) && !rule->for_negated &&
		    is_accounts(config, rule->for_table) &&
		    (*action->virtual_table != '\0' || *action->userbase_table != '\0') &&
		    !is_accounts(config, action->virtual_table) &&
		    !is_accounts(config, action->userbase_table))
			problem_warning(&parse->problems, parse->rule_places[i],
			    "the rule is for <accounts>, but action \"%s\" uses other tables",
			    action->name);
	}
	for (size_t i = 0; i < config->action_count; i++) {
		if (!used[i])
			problem_warning(&parse->problems, parse->action_places[i],
			    "action \"%s\" is not used", config->actions[i].name);
	}
	free(used);
	reach_check(parse);
}
