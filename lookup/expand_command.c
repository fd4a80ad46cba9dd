/*
 * What a user's own words lead to, directly, has that user's rights: of commands that is the user
 * who runs them. Those of the administrator's words run as the action says.
 */
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include <bsd/string.h>

#include "lookup/expand_command.h"
#include "lookup/expand_note.h"
#include "lookup/expand_target.h"
#include "lookup/include.h"
#include "lookup/mailbox.h"

void
expand_add_command(struct expansion *x, const struct action *action, const char *command)
{
	char key[PATH_TEXT_MAX + 8];

	if (!action->config->allow_pipes) {
		expand_dead(
		    x, command, 550, "5.7.1", "the action doesn't allow commands (\"pipes\")");
		return;
	}
	snprintf(key, sizeof(key), "p %s", command);
	if (!expand_is_new_target(x, key))
		return;
	(void)expand_add_target(x, ENVELOPE_PIPE, action, &x->nodes[x->at].address, command);
	explain_tell(x->watch, EXPLAIN_COMMAND, &x->nodes[x->at].address, 0, action->config->name,
	    command, NULL);
}

static void
add_own(struct expansion *x, const struct action *action, const struct address *user,
    enum envelope_kind kind, const char *words)
{
	char key[PATH_TEXT_MAX + ADDRESS_LOCAL_MAX + 8];
	struct ipc_mailbox mailbox;
	struct ipc_target *target;

	mailbox_find_own(x->site, action, user, kind, &mailbox);
	if (reply_is_temporary(&mailbox.reply)) {
		expand_broken(x);
		return;
	}
	if (!reply_is_success(&mailbox.reply)) {
		expand_dead(
		    x, words, mailbox.reply.code, mailbox.reply.enhanced, mailbox.reply.text);
		return;
	}
	snprintf(
	    key, sizeof(key), "%c %s %s", envelope_is_pipe(kind) ? 'q' : 'f', user->local, words);
	if (!expand_is_new_target(x, key))
		return;
	target = expand_add_target(x, kind, action, user, words);
	if (target != NULL) {
		snprintf(mailbox.path, sizeof(mailbox.path), "%s%s",
		    envelope_is_pipe(kind) ? "|" : "", words);
		target->mailbox = expand_mailbox_number(&mailbox);
	}
	explain_tell(x->watch, envelope_is_pipe(kind) ? EXPLAIN_COMMAND : EXPLAIN_MAILBOX, user, 0,
	    action->config->name, words, envelope_is_pipe(kind) ? NULL : mailbox.user);
}

/* The owner of the list in work, if he is a user who may have a .forward. */
static bool
find_owner(const struct expansion *x, const struct action *action, struct address *user)
{
	const struct passwd *owner =
	    x->owner_id == INCLUDE_OF_ANYONE ? NULL : getpwuid(x->owner_id);
	struct ipc_mailbox mailbox;

	*user = x->nodes[x->at].address;
	if (owner == NULL ||
	    strlcpy(user->local, owner->pw_name, sizeof(user->local)) >= sizeof(user->local))
		return false;
	mailbox_find(x->site, action, user, &mailbox);
	return reply_is_success(&mailbox.reply) && mailbox.uid == x->owner_id;
}

void
expand_add_own(
    struct expansion *x, const struct action *action, enum envelope_kind kind, const char *words)
{
	struct address user;

	if (x->in_forward)
		add_own(x, action, &x->forward_user, kind, words);
	else if (find_owner(x, action, &user))
		add_own(x, action, &user, kind, words);
	else
		expand_dead(x, words, 550, "5.7.1",
		    envelope_is_pipe(kind) ? "a command in a list of nobody's who may run it"
		                           : "a file in a list of nobody's who may write it");
}
