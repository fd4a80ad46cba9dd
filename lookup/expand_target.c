/*
 * Each becomes an envelope of its own. One that was named before in this expansion is left out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/log.h"
#include "lookup/expand_lost.h"
#include "lookup/expand_nodes.h"
#include "lookup/expand_note.h"
#include "lookup/expand_target.h"

struct ipc_target *
expand_add_target(struct expansion *x, enum envelope_kind kind, const struct action *action,
    const struct address *dest, const char *command)
{
	struct expanded *out = x->out;
	struct ipc_target *target;

	if (out->count >= x->site->config->limits.targets) {
		x->too_many = true;
		return NULL;
	}
	if (out->count == x->target_capacity) {
		size_t capacity = x->target_capacity == 0 ? 1 : x->target_capacity * 4;

		target = reallocarray(out->targets, capacity, sizeof(*target));
		if (target == NULL) {
			expand_broken(x);
			return NULL;
		}
		out->targets = target;
		x->target_capacity = capacity;
	}
	if (log_is_traced(LOG_TRACE_EXPAND))
		expand_trace_step(x,
		    envelope_is_pipe(kind)           ? "command"
		        : kind == ENVELOPE_RELAY     ? "relay"
		        : kind == ENVELOPE_USER_FILE ? "file"
		                                     : "mailbox",
		    envelope_has_command(kind) ? command : NULL, "action",
		    action == NULL ? "" : action->config->name);
	target = &out->targets[out->count];
	memset(target, 0, sizeof(*target));
	target->kind = kind;
	target->dest = *dest;
	if (action != NULL)
		strlcpy(target->action, action->config->name, sizeof(target->action));
	strlcpy(target->command, command, sizeof(target->command));
	target->rule = x->nodes[x->at].rule;
	expand_note_live(x);
	out->count++;
	return target;
}

bool
expand_is_new_target(struct expansion *x, const char *key)
{
	if (expand_is_new(x, key))
		return true;
	expand_note_live(x);
	return false;
}

/* FNV-1a. */
uint64_t
expand_mailbox_number(const struct ipc_mailbox *mailbox)
{
	uint64_t value = UINT64_C(14695981039346656037) ^ mailbox->uid;

	for (const char *at = mailbox->path; *at != '\0'; at++)
		value = (value ^ (unsigned char)*at) * UINT64_C(1099511628211);
	/* Users may share a directory, and a command asks for their names. */
	for (const char *at = mailbox->form == MAILBOX_COMMAND ? mailbox->user : ""; *at != '\0';
	     at++)
		value = (value ^ (unsigned char)*at) * UINT64_C(1099511628211);
	return value == 0 ? 1 : value;
}

const struct address *
expand_last_address(const struct expansion *x)
{
	const struct node *node = &x->nodes[x->at];

	while (node->kind != NODE_ADDRESS)
		node = &x->nodes[node->parent];
	return &node->address;
}

void
expand_add_lmtp(struct expansion *x, const struct action *action, const struct address *user)
{
	struct ipc_mailbox place = { .uid = UINT32_MAX };
	const struct address *dest = action->config->lmtp_rcpt_to ? expand_last_address(x) : user;
	char name[ADDRESS_TEXT_MAX + 1], key[sizeof(place.path) + 32];
	struct ipc_target *target;

	address_format(dest, name, sizeof(name));
	if (!action->config->lmtp_rcpt_to && action->accounts != ACTION_ACCOUNTS_ALWAYS)
		strlcpy(name, dest->local, sizeof(name));
	snprintf(place.path, sizeof(place.path), "%s %s", action->config->name, name);
	text_lower(place.path);
	snprintf(key, sizeof(key), "l %s", place.path);
	if (!expand_is_new_target(x, key))
		return;
	target = expand_add_target(x, ENVELOPE_RELAY, action, dest, "");
	if (target != NULL)
		target->mailbox = expand_mailbox_number(&place);
	explain_tell(x->watch, EXPLAIN_LMTP, user, 0, action->config->name,
	    action->config->relay_hosts + strlen(LMTP_URL), name);
}

void
expand_add_relay(struct expansion *x, const struct action *action, const struct node *node)
{
	struct node copy = *node;
	char key[2 * TABLE_KEY_MAX];

	copy.final = true;
	copy.action = action;
	expand_node_key(&copy, key, sizeof(key));
	key[0] = 'r';
	if (!expand_is_new_target(x, key))
		return;
	(void)expand_add_target(x, ENVELOPE_RELAY, action, &node->address, "");
	explain_tell(x->watch, EXPLAIN_RELAY, &node->address, 0, action->config->name,
	    node->address.domain, NULL);
}
