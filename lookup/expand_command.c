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

void
expand_add_user_command(struct expansion *x, const struct action *action,
    const struct address *user, const char *command)
{
	char key[PATH_TEXT_MAX + ADDRESS_LOCAL_MAX + 8];
	struct ipc_mailbox mailbox;

	mailbox_find_user_pipe(x->site, action, user, &mailbox);
	if (reply_is_temporary(&mailbox.reply)) {
		expand_broken(x);
		return;
	}
	if (!reply_is_success(&mailbox.reply)) {
		expand_dead(
		    x, command, mailbox.reply.code, mailbox.reply.enhanced, mailbox.reply.text);
		return;
	}
	snprintf(key, sizeof(key), "q %s %s", user->local, command);
	if (!expand_is_new_target(x, key))
		return;
	(void)expand_add_target(x, ENVELOPE_USER_PIPE, action, user, command);
	explain_tell(x->watch, EXPLAIN_COMMAND, user, 0, action->config->name, command, NULL);
}

void
expand_add_owner_command(struct expansion *x, const struct action *action, const char *command)
{
	const struct passwd *owner =
	    x->owner_id == INCLUDE_OF_ANYONE ? NULL : getpwuid(x->owner_id);
	struct address user = x->nodes[x->at].address;
	struct ipc_mailbox mailbox;

	if (owner != NULL &&
	    strlcpy(user.local, owner->pw_name, sizeof(user.local)) < sizeof(user.local)) {
		mailbox_find(x->site, action, &user, &mailbox);
		if (reply_is_success(&mailbox.reply) && mailbox.uid == x->owner_id) {
			expand_add_user_command(x, action, &user, command);
			return;
		}
	}
	expand_dead(x, command, 550, "5.7.1", "a command in a list of nobody's who may run it");
}
