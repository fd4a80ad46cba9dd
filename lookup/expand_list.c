/*
 * The targets of an alias, of a .forward or of a list in a file, in the order in which they are
 * written. A list in a file (:include:) is a node too, read when its turn comes: whose words it is
 * decides as whom its commands run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "lookup/expand_command.h"
#include "lookup/expand_list.h"
#include "lookup/expand_lost.h"
#include "lookup/expand_nodes.h"
#include "lookup/expand_note.h"
#include "lookup/include.h"

#define DEPTH_MAX     20                  /* of lists in lists */
#define INCLUDES_SIZE (8UL * 1024 * 1024) /* of all lists that one recipient leads to */

static void
add_include(struct expansion *x, const struct action *action, const char *path)
{
	struct node node = { .kind = NODE_INCLUDE,
		.action = action,
		.address = x->nodes[x->at].address,
		.owner_id = x->owner_id,
		.depth = x->depth + 1,
		.in_accounts = x->in_accounts };
	char key[PATH_TEXT_MAX + 32];

	if (x->in_forward) {
		expand_dead(x, path, 550, "5.7.1", "lists in files are for alias tables only");
		return;
	}
	if (x->depth >= DEPTH_MAX) {
		expand_dead(x, path, 550, "5.4.6", "too many lists in each other");
		return;
	}
	snprintf(key, sizeof(key), "i %u %s", x->owner_id, path);
	if (!expand_is_new(x, key)) {
		expand_note_live(x);
		x->loop = true;
		return;
	}
	node.path = strdup(path);
	if (node.path == NULL) {
		expand_broken(x);
		return;
	}
	if (!expand_append_node(x, &node))
		free(node.path);
}

/* "error:550 5.1.6 words", "error:450 words"; without a code it is 550. */
static void
set_error_target(struct expansion *x, const char *text)
{
	char enhanced[sizeof(x->error_target.enhanced)] = "";
	unsigned code = 550;
	size_t length;

	if ((*text == '4' || *text == '5') && strspn(text, "0123456789") == 3 &&
	    (text[3] == ' ' || text[3] == '\0')) {
		code = (unsigned)strtoul(text, NULL, 10);
		text += 3;
		text += strspn(text, " ");
	}
	/* Those end the session, for the sake of one recipient (RFC 5321 3.8, RFC 7504). */
	if (code == 421)
		code = 450;
	if (code == 521)
		code = 550;
	expand_note_live(x);
	expand_trace(x, "error", NULL, text);
	explain_tell(x->watch, EXPLAIN_ERROR, &x->nodes[x->at].address, 0, NULL, NULL, text);
	length = reply_enhanced_length(text, code);
	memcpy(enhanced, text, length);
	text += length;
	text += strspn(text, " ");
	if (x->error_target.code == 0)
		reply_set(&x->error_target, code,
		    length > 0       ? enhanced
		        : code < 500 ? "4.7.1"
		                     : "5.7.1",
		    "%s", *text == '\0' ? "not accepted" : text);
}

/* The words in work are. */
static bool
is_administrators(const struct expansion *x)
{
	return !x->in_forward && x->owner_id == INCLUDE_OF_ADMIN;
}

void
expand_follow_target(struct expansion *x, const struct action *action, const struct target *target)
{
	/* Lent to expand_add_node(), which may move the nodes only after it has copied them. */
	struct address from = x->nodes[x->at].address;

	switch (target->kind) {
	case TARGET_USER:
		expand_add_node(x, x->in_accounts ? NODE_ADDRESS : NODE_USER,
		    x->in_accounts ? NULL : action, target->text, from.domain, target->direct);
		break;
	case TARGET_ADDRESS:
		expand_add_node(
		    x, NODE_ADDRESS, NULL, target->address.local, target->address.domain, false);
		break;
	case TARGET_DOMAIN:
		expand_add_node(x, NODE_ADDRESS, NULL, from.local, target->text, false);
		break;
	case TARGET_PIPE:
		if (is_administrators(x))
			expand_add_command(x, action, target->text);
		else
			expand_add_own(x, action, ENVELOPE_USER_PIPE, target->text);
		break;
	case TARGET_ERROR:
		set_error_target(x, target->text);
		break;
	case TARGET_FILE:
		if (!is_administrators(x))
			expand_add_own(x, action, ENVELOPE_USER_FILE, target->text);
		else
			expand_dead(x, target->text, 550, "5.1.1",
			    strcmp(target->text, "/dev/null") == 0
			        ? "mail isn't thrown away: refuse it with \"error:\""
			        : "delivery to a file is not supported");
		break;
	case TARGET_INCLUDE:
		add_include(x, action, target->text);
		break;
	case TARGET_INVALID:
		expand_dead(x, target->text, 550, "5.1.1", "not a target");
		break;
	}
}

static void
follow_list(struct expansion *x, const struct action *action, const char *list)
{
	struct target target;

	while (!x->too_many && !x->broken && target_next(&list, &target))
		expand_follow_target(x, action, &target);
}

size_t
expand_follow_lines(struct expansion *x, const struct action *action, char *text)
{
	struct target_lines lines;
	struct target target;
	size_t count = 0;

	target_lines_begin(&lines, text);
	while (!x->too_many && !x->broken && target_lines_next(&lines, &target)) {
		expand_follow_target(x, action, &target);
		count++;
	}
	return count;
}

enum table_result
expand_follow_key(
    struct expansion *x, const struct action *action, struct table *table, const char *key)
{
	enum table_result result;
	struct buf value;

	buf_init(&value, EXPAND_VALUE_MAX);
	result = table_get(table, key, &value);
	if (result == TABLE_FOUND)
		follow_list(x, action, (const char *)value.data);
	else if (result == TABLE_BROKEN)
		expand_broken(x);
	buf_free(&value);
	return result;
}

/* Who is led on by another's list has no more rights than that one. */
static uint32_t
combined_owner(uint32_t by, uint32_t owner)
{
	if (by == INCLUDE_OF_ADMIN || by == owner)
		return owner;
	return owner == INCLUDE_OF_ADMIN ? by : INCLUDE_OF_ANYONE;
}

void
expand_include(struct expansion *x, const struct node *node)
{
	enum include_result result;
	size_t limit = INCLUDES_SIZE - x->included;
	uint32_t owner;
	const char *why;
	struct buf text;

	x->in_accounts = node->in_accounts;
	explain_tell(x->watch, EXPLAIN_INCLUDE, &node->address, 0, NULL, node->path, NULL);
	buf_init(&text, INCLUDE_SIZE_MAX + 1);
	result = include_read(node->path, node->owner_id, x->site->privileged,
	    limit < INCLUDE_SIZE_MAX ? limit : INCLUDE_SIZE_MAX, &text, &owner, &why);
	switch (result) {
	case INCLUDE_READ:
		x->included += text.length - 1;
		x->owner_id = combined_owner(node->owner_id, owner);
		x->depth = node->depth;
		if (buf_ok(&text))
			(void)expand_follow_lines(x, node->action, (char *)text.data);
		else
			expand_broken(x);
		x->owner_id = INCLUDE_OF_ADMIN;
		x->depth = 0;
		break;
	case INCLUDE_REFUSED:
		expand_dead(x, node->path, 550, "5.1.1", why);
		break;
	case INCLUDE_BROKEN:
		if (x->watch == NULL)
			log_error("the list %s can't be read: %s", node->path, why);
		explain_tell(x->watch, EXPLAIN_DEAD, &node->address, 0, NULL, node->path, why);
		expand_broken(x);
		break;
	}
	buf_free(&text);
}
