/*
 * Aliases come first, then the mailbox: of the name with its "+detail", then of the one without. A
 * user of the system may have a .forward, which comes between them. What it says is a list like any
 * other, but that its user's own name in it means his mailbox.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/log.h"
#include "lookup/expand_list.h"
#include "lookup/expand_lost.h"
#include "lookup/expand_note.h"
#include "lookup/expand_target.h"
#include "lookup/expand_user.h"
#include "lookup/mailbox.h"

static void
log_failing(const struct expansion *x, const struct ipc_mailbox *mailbox, const char *why)
{
	struct log_line line;

	expand_trace(x, "forward-unusable", NULL, why);
	explain_tell(x->watch, EXPLAIN_DEAD, &x->nodes[x->at].address, 0, NULL, FORWARD_NAME, why);
	if (x->watch != NULL)
		return;
	log_begin(&line, LOG_LEVEL_WARNING, "forward-unusable");
	log_text(&line, "user", mailbox->user);
	log_number(&line, "uid", mailbox->uid);
	log_text(&line, "reason", why);
	log_end(&line);
}

/* What stands for a .forward that isn't followed: who has no mailbox waits for it. */
static enum envelope_kind
kind_instead(const struct action *action)
{
	return action_is_local(action->config) ? ENVELOPE_MAILDIR : ENVELOPE_FORWARD;
}

/* Where the mailbox's owner wants his mail to go; false when it is his mailbox, or to be asked again when
 * it is delivered. */
static bool
follow_forward(struct expansion *x, const struct action *action, const struct address *dest,
    const struct ipc_mailbox *mailbox, bool *failing, enum envelope_kind *kind)
{
	char path[PATH_TEXT_MAX + sizeof(FORWARD_NAME) + FORWARD_DETAIL_MAX + 1];
	struct forward forward;
	size_t count;
	char *text;

	if (!forward_set_find(x->forwards, mailbox, &forward)) {
		x->waits = true;
		return true;
	}
	switch (forward.state) {
	case FORWARD_NONE:
		return false;
	case FORWARD_FOUND:
		if (!x->follows_none)
			break;
		*failing = true;
		*kind = kind_instead(action);
		log_failing(x, mailbox, "it, or another's, leads to too many");
		return false;
	case FORWARD_FAILED:
	case FORWARD_STATE_COUNT:
		*failing = true;
		*kind = ENVELOPE_FORWARD;
		if (!x->waits)
			log_failing(x, mailbox, forward.text);
		return false;
	}
	text = strdup(forward.text);
	if (text == NULL) {
		expand_broken(x);
		return true;
	}
	snprintf(path, sizeof(path), "%s/%s%s", mailbox->home, FORWARD_NAME,
	    forward.is_detailed ? mailbox->detail : "");
	expand_trace(x, "forward", path, NULL);
	explain_tell(x->watch, EXPLAIN_FORWARD, &x->nodes[x->at].address, 0, NULL, path, NULL);
	expand_note_followed(x, action, dest);
	x->in_forward = true;
	x->forward_user = *dest;
	x->keeps_copy = false;
	count = expand_follow_lines(x, action, text);
	x->in_forward = false;
	free(text);
	return count > 0 && !x->keeps_copy;
}

static void
add_to_mailbox(struct expansion *x, const struct action *action, const struct address *dest,
    const struct ipc_mailbox *mailbox, bool failing, enum envelope_kind kind)
{
	char key[PATH_TEXT_MAX + USER_NAME_MAX + ACTION_NAME_MAX + 64];
	struct ipc_target *target;

	if (mailbox->form == MAILBOX_COMMAND)
		snprintf(key, sizeof(key), "c %u %s %s %s", mailbox->uid, action->config->name,
		    mailbox->user, mailbox->path);
	else
		snprintf(key, sizeof(key), "m %u %s", mailbox->uid, mailbox->path);
	if (!expand_is_new_target(x, key))
		return;
	target = expand_add_target(x, kind, action, dest, "");
	x->failing += failing;
	if (target != NULL) {
		target->mailbox = expand_mailbox_number(mailbox);
		target->failing = failing;
	}
	x->out->mailbox = *mailbox;
	if (!action_is_local(action->config))
		return;
	if (mailbox->form != MAILBOX_COMMAND && *mailbox->command != '\0')
		explain_tell(x->watch, EXPLAIN_WRAPPER, dest, 0, action->config->name,
		    mailbox->command, NULL);
	explain_tell(x->watch, mailbox->form == MAILBOX_COMMAND ? EXPLAIN_COMMAND : EXPLAIN_MAILBOX,
	    dest, 0, action->config->name,
	    mailbox->form == MAILBOX_COMMAND ? mailbox->command : mailbox->path, mailbox->user);
}

/* The mailbox of `dest`, which is `named` without its "+detail" or the same, or where its owner's
 * .forward leads; false when there is none, with the reason, and nothing is said about it. */
static bool
add_mailbox(struct expansion *x, const struct action *action, const struct address *dest,
    const struct address *named, struct reply *why)
{
	enum envelope_kind kind = ENVELOPE_MAILDIR;
	struct ipc_mailbox mailbox;
	bool failing = false;

	mailbox_find(x->site, action, dest, &mailbox);
	if (reply_is_temporary(&mailbox.reply)) {
		expand_broken(x);
		return true;
	}
	if (!reply_is_success(&mailbox.reply)) {
		*why = mailbox.reply;
		return false;
	}
	mailbox_set_detail(&mailbox, named->local + strlen(dest->local));
	x->keeps_copy = false;
	if (x->forwards != NULL && mailbox.forwards && !x->nodes[x->at].direct &&
	    follow_forward(x, action, dest, &mailbox, &failing, &kind))
		return true;
	if (action->config->method == ACTION_LMTP) {
		expand_add_lmtp(x, action, dest);
		return true;
	}
	/* What waits for the .forward of who has no mailbox comes back in the end. */
	if (!action_is_local(action->config) && !failing) {
		reply_set(why, 550, "5.1.1", "no such user here");
		return x->keeps_copy;
	}
	/* What waits for a .forward is for the detail for which it counts. */
	add_to_mailbox(x, action, failing ? named : dest, &mailbox, failing, kind);
	return true;
}

/* Whom a loop, or what his .forward says, leads to nobody. */
void
expand_keep_lost(struct expansion *x)
{
	const struct followed *lost;
	struct ipc_mailbox mailbox;
	struct log_line line;

	/* Alone, or with others like him, he is refused: the client keeps the mail. */
	if (x->out->count <= x->failing)
		return;
	for (size_t at = 0; !x->too_many && (lost = expand_next_lost(x, &at)) != NULL;) {
		mailbox_find(x->site, lost->action, &lost->dest, &mailbox);
		if (!reply_is_success(&mailbox.reply))
			continue;
		add_to_mailbox(
		    x, lost->action, &lost->dest, &mailbox, true, kind_instead(lost->action));
		if (x->watch != NULL)
			continue;
		log_begin(&line, LOG_LEVEL_WARNING, "forward-leads-nowhere");
		log_text(&line, "user", mailbox.user);
		log_text(&line, "action",
		    action_is_local(lost->action->config) ? "keep in the mailbox"
		                                          : "wait until it leads somewhere");
		log_end(&line);
	}
}

/* Where one user of the system keeps the mail of all that a virtual table has, each address has a
 * mailbox of its own, whatever the user's name is there (as OpenSMTPD's %{dest}). */
static bool
has_mailbox_by_address(const struct action *action)
{
	const struct action_config *config = action->config;

	return *config->user != '\0' && action->virtuals != NULL &&
	    (config->method == ACTION_MAILDIR || config->method == ACTION_MBOX ||
	        config->method == ACTION_MDA);
}

void
expand_user(struct expansion *x, const struct action *action, const struct node *node)
{
	struct address address = node->address, plain;
	enum table_result result = TABLE_NONE;
	struct reply why;
	bool detailed;

	if (has_mailbox_by_address(action)) {
		address = *expand_last_address(x);
		if (site_without_detail(x->site, &address, &plain))
			address = plain;
	}
	text_lower(address.local);
	detailed = site_without_detail(x->site, &address, &plain);
	if (!node->final && action->aliases != NULL) {
		result = expand_follow_key(x, action, action->aliases, address.local);
		if (result == TABLE_NONE && detailed)
			result = expand_follow_key(x, action, action->aliases, plain.local);
	}
	if (result != TABLE_NONE)
		return;
	if (action->config->method == ACTION_EXPAND_ONLY) {
		expand_dead(x, NULL, 550, "5.1.1", "no such user here");
		return;
	}
	if (!add_mailbox(x, action, &address, &address, &why) &&
	    !(detailed && add_mailbox(x, action, &plain, &address, &why)))
		expand_dead(x, NULL, why.code, why.enhanced, why.text);
}

/* An alias of the accounts database. */
static enum account_result
follow_account_alias(
    struct expansion *x, const struct action *action, const char *domain, const char *local)
{
	enum account_result result;
	struct target target;
	char text[PATH_TEXT_MAX + 1];
	struct buf targets;

	buf_init(&targets, EXPAND_VALUE_MAX);
	result = accounts_find_alias(x->site->accounts, domain, local, &targets);
	for (size_t at = 0; result == ACCOUNT_FOUND && at < targets.length && !x->too_many;) {
		const char *stored = (const char *)targets.data + at;

		at += strlen(stored) + 1;
		strlcpy(text, stored, sizeof(text));
		target_parse(text, &target);
		expand_follow_target(x, action, &target);
	}
	if (result == ACCOUNT_BROKEN)
		expand_broken(x);
	buf_free(&targets);
	return result;
}

/* An alias, of the action's table or of the database, or a user of exactly this name; false when
 * there is none. */
static bool
try_account(
    struct expansion *x, const struct action *action, const struct address *address, bool aliases)
{
	struct reply why;

	if (aliases && action->aliases != NULL &&
	    expand_follow_key(x, action, action->aliases, address->local) != TABLE_NONE)
		return true;
	if (aliases &&
	    follow_account_alias(x, action, address->domain, address->local) != ACCOUNT_NONE)
		return true;
	return add_mailbox(x, action, address, address, &why);
}

void
expand_account(struct expansion *x, const struct action *action, const struct node *node)
{
	struct address address = node->address, plain;
	bool aliases = !node->final;

	x->in_accounts = true;
	if (address_domain_key(node->address.domain, address.domain, sizeof(address.domain))) {
		text_lower(address.local);
		if (try_account(x, action, &address, aliases))
			return;
		if (site_without_detail(x->site, &address, &plain) &&
		    try_account(x, action, &plain, aliases))
			return;
		if (aliases && follow_account_alias(x, action, address.domain, "") != ACCOUNT_NONE)
			return;
	}
	expand_dead(x, NULL, 550, "5.1.1", "no such user here");
}
