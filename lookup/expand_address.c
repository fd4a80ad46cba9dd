/*
 * An address asks the rules: as the client for the recipient itself, as this machine for what an
 * alias leads to. The rule's action then says whether it is relayed, or whose mailbox it is.
 */
#include <stdio.h>
#include <string.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/srs.h"
#include "lookup/expand_address.h"
#include "lookup/expand_list.h"
#include "lookup/expand_nodes.h"
#include "lookup/expand_note.h"
#include "lookup/expand_target.h"
#include "lookup/expand_user.h"
#include "lookup/rules.h"

static void
expand_virtual(struct expansion *x, const struct action *action, const struct address *address)
{
	char keys[6][TABLE_KEY_MAX];
	struct address plain;
	size_t count = 0;
	/* A quoted local part that looks like an address is not looked up as one. */
	bool bare = strchr(address->local, '@') == NULL;

	snprintf(keys[count++], TABLE_KEY_MAX, "%s@%s", address->local, address->domain);
	if (site_without_detail(x->site, address, &plain))
		snprintf(keys[count++], TABLE_KEY_MAX, "%s@%s", plain.local, plain.domain);
	if (bare)
		strlcpy(keys[count++], address->local, TABLE_KEY_MAX);
	if (bare && strcmp(plain.local, address->local) != 0)
		strlcpy(keys[count++], plain.local, TABLE_KEY_MAX);
	snprintf(keys[count++], TABLE_KEY_MAX, "@%s", address->domain);
	strlcpy(keys[count++], "@", TABLE_KEY_MAX);
	for (size_t i = 0; i < count; i++) {
		if (expand_follow_key(x, action, action->virtuals, keys[i]) != TABLE_NONE)
			return;
	}
	expand_dead(x, NULL, 550, "5.1.1", "no such user here");
}

/* An address of ours that stands for the sender of mail that was forwarded. */
static void
expand_srs(struct expansion *x, const struct node *node)
{
	const struct config *config = x->site->config;
	const struct srs_keys keys = { config->srs_key, config->srs_key_backup, config->srs_ttl };
	struct address sender;

	switch (srs_decode(&keys, &node->address, clock_wall(), &sender)) {
	case SRS_OK:
		expand_add_node(x, NODE_ADDRESS, NULL, sender.local, sender.domain, false);
		break;
	case SRS_FORGED:
		expand_dead(x, NULL, 550, "5.7.1", "this SRS address was not made here");
		break;
	case SRS_EXPIRED:
		expand_dead(x, NULL, 550, "5.7.1", "this SRS address has expired");
		break;
	}
}

static void
tell_tried(const struct rule *rule, enum table_result result, const char *condition, void *arg)
{
	const struct expansion *x = arg;

	if (result != TABLE_FOUND)
		explain_tell(x->watch, result == TABLE_NONE ? EXPLAIN_TRIED : EXPLAIN_UNDECIDED,
		    &x->nodes[x->at].address, rule->config->line, NULL, rule->config->file,
		    condition);
}

/* Why no rule is for it; of all that an alias leads to it would be too much. */
static void
tell_no_rule(struct expansion *x, const struct node *node, bool internal)
{
	if (x->watch != NULL && !x->told_rules)
		rules_tell(x->site, x->rcpt, &node->address, internal, tell_tried, x);
	x->told_rules = true;
}

void
expand_user_of_action(struct expansion *x, const struct node *node)
{
	const struct action *action = site_find_action(x->site, x->rcpt->user_action);
	struct node user = *node;

	user.final = true;
	if (action == NULL || action->broken)
		expand_broken(x);
	else
		expand_user(x, action, &user);
}

void
expand_address(struct expansion *x, const struct node *node)
{
	const struct rule *rule;
	const struct action *action;
	bool internal = x->internal || x->at > 0;

	switch (rules_match(x->site, x->rcpt, &node->address, internal, &rule)) {
	case RULES_ACTION:
		x->nodes[x->at].rule = rule->config->line;
		explain_tell(x->watch, EXPLAIN_RULE, &node->address, rule->config->line,
		    rule->config->action, rule->config->file, NULL);
		break;
	case RULES_REJECT:
		explain_tell(x->watch, EXPLAIN_RULE, &node->address, rule->config->line, NULL,
		    rule->config->file, NULL);
		expand_dead(x, NULL, 550, "5.7.1", "this recipient is not accepted from you");
		return;
	case RULES_NONE:
		explain_tell(x->watch, EXPLAIN_NO_RULE, &node->address, 0, NULL, NULL, NULL);
		tell_no_rule(x, node, internal);
		expand_dead(x, NULL, 550, "5.7.1", "foreign domain: relaying denied");
		return;
	case RULES_BROKEN:
		tell_no_rule(x, node, internal);
		expand_broken(x);
		return;
	}
	action = rule->action;
	if (action->config->method != ACTION_RELAY && *x->site->config->srs_key != '\0' &&
	    srs_is_address(&node->address)) {
		expand_srs(x, node);
		return;
	}
	if (action->config->method == ACTION_RELAY) {
		expand_add_relay(x, action, node);
		return;
	}
	switch (site_uses_accounts(x->site, action, node->address.domain)) {
	case ACCOUNT_FOUND:
		expand_account(x, action, node);
		return;
	case ACCOUNT_BROKEN:
		expand_broken(x);
		return;
	case ACCOUNT_NONE:
		break;
	}
	if (action->virtuals != NULL && !node->final)
		expand_virtual(x, action, &node->address);
	else if (action->virtuals != NULL) {
		x->loop = true; /* a virtual entry that names its own key */
		expand_dead(x, NULL, 550, "5.4.6", "the alias leads back to itself");
	} else
		expand_user(x, action, node);
}
