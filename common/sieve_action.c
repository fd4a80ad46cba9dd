/*
 * Commands that say what becomes of the message. They are gathered, not carried out: at the end they
 * are the result, or, when the run fails, none of them is.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/folder_name.h"
#include "common/mime_header.h"
#include "common/sieve_run.h"

char *
sieve_keep_text(struct sieve_run *run, const char *text)
{
	char *copy = text == NULL ? NULL : strdup(text);

	if (copy == NULL && text != NULL)
		sieve_run_fail(run, 0, "no memory");
	/* A wildcard may have cut a character. */
	if (copy != NULL)
		sieve_mend_utf8(copy);
	return copy;
}

/* RFC 5429 2.2, 2.4 and RFC 5230 4.7: what is rejected isn't delivered or answered as well. */
static bool
excludes(enum sieve_action_kind kind, enum sieve_action_kind other)
{
	return (kind == SIEVE_REJECT) != (other == SIEVE_REJECT);
}

struct sieve_action *
sieve_add_action(struct sieve_run *run, unsigned line, enum sieve_action_kind kind)
{
	struct sieve_result *result = run->result;
	struct sieve_action *action;

	for (size_t i = 0; i < result->count; i++) {
		if (excludes(kind, result->actions[i].kind)) {
			sieve_run_fail(run, line, "reject beside another action");
			return NULL;
		}
	}
	if (result->count == SIEVE_ACTIONS_MAX) {
		sieve_run_fail(run, line, "more than %d actions", SIEVE_ACTIONS_MAX);
		return NULL;
	}
	action = &result->actions[result->count++];
	*action = (struct sieve_action){ .kind = kind };
	return action;
}

bool
sieve_read_address(const char *text, struct address *result)
{
	struct mime_address address, behind;
	struct mime_addresses addresses;
	char whole[ADDRESS_TEXT_MAX + 1];
	bool good;

	mime_address_init(&address);
	mime_address_init(&behind);
	mime_addresses_init(&addresses, text);
	good = mime_addresses_next(&addresses, &address) == MIME_ADDRESS_MAILBOX &&
	    mime_addresses_next(&addresses, &behind) == MIME_ADDRESS_END && address.has_domain &&
	    address.local.length > 0 && address.local.length <= ADDRESS_LOCAL_MAX &&
	    address.domain.length > 0 && address.domain.length <= ADDRESS_DOMAIN_MAX;
	if (good) {
		/* By the one parser of addresses, which knows what may be in one. */
		memset(result, 0, sizeof(*result));
		memcpy(result->local, address.local.data, address.local.length);
		memcpy(result->domain, address.domain.data, address.domain.length);
		address_format(result, whole, sizeof(whole));
		good = address_parse(whole, ADDRESS_ALLOW_UTF8, result) == ADDRESS_OK;
	}
	mime_address_free(&address);
	mime_address_free(&behind);
	return good;
}

/* What is kept or filed twice in one place is there once, with the flags that it has last. */
static void
set_flags(struct sieve_run *run, struct sieve_action *action, const char *flags)
{
	free(action->flags);
	action->flags = sieve_keep_text(run, flags);
}

static void
do_keep(struct sieve_run *run, const struct sieve_node *node, unsigned line)
{
	char *flags = sieve_flags_of(run, node);
	struct sieve_action *action = NULL;

	run->is_kept = false;
	if (flags == NULL)
		return;
	for (size_t i = 0; i < run->result->count && action == NULL; i++) {
		if (run->result->actions[i].kind == SIEVE_KEEP)
			action = &run->result->actions[i];
	}
	if (action == NULL)
		action = sieve_add_action(run, line, SIEVE_KEEP);
	if (action != NULL)
		set_flags(run, action, flags);
}

static void
do_fileinto(struct sieve_run *run, const struct sieve_node *node)
{
	bool was_kept = run->is_kept, is_copy = node->tags[SLOT_COPY] != TAG_NONE;
	const char *name = sieve_expand_first(run, node->positions[0]);
	char clean[FOLDER_NAME_SIZE], *flags;
	struct sieve_action *action = NULL;

	if (name == NULL)
		return;
	if (!folder_name_clean(name, clean)) {
		sieve_run_fail(run, node->line, "\"%.100s\" can't be a folder", name);
		return;
	}
	run->is_kept = is_copy && was_kept;
	/* Twice into the same folder is once (RFC 5228 2.10.3). */
	flags = sieve_flags_of(run, node);
	if (flags == NULL)
		return;
	for (size_t i = 0; i < run->result->count && action == NULL; i++) {
		struct sieve_action *one = &run->result->actions[i];

		if (one->kind == SIEVE_FILEINTO && one->folder != NULL &&
		    strcmp(one->folder, clean) == 0)
			action = one;
	}
	if (action == NULL) {
		action = sieve_add_action(run, node->line, SIEVE_FILEINTO);
		if (action == NULL)
			return;
		action->folder = sieve_keep_text(run, clean);
	}
	set_flags(run, action, flags);
	action->create |= node->tags[SLOT_CREATE] != TAG_NONE;
}

static void
do_redirect(struct sieve_run *run, const struct sieve_node *node)
{
	const char *text = sieve_expand_first(run, node->positions[0]);
	struct sieve_action *action;
	struct address to;

	if (text == NULL)
		return;
	if (!sieve_read_address(text, &to)) {
		sieve_run_fail(run, node->line, "\"%.100s\" is no address", text);
		return;
	}
	if (node->tags[SLOT_COPY] == TAG_NONE)
		run->is_kept = false;
	for (size_t i = 0; i < run->result->count; i++) {
		action = &run->result->actions[i];
		if (action->kind == SIEVE_REDIRECT && address_equal(&action->to, &to))
			return;
	}
	if (++run->redirects > SIEVE_REDIRECTS_MAX) {
		sieve_run_fail(
		    run, node->line, "more than %d addresses to redirect to", SIEVE_REDIRECTS_MAX);
		return;
	}
	action = sieve_add_action(run, node->line, SIEVE_REDIRECT);
	if (action != NULL)
		action->to = to;
}

static void
do_reject(struct sieve_run *run, const struct sieve_node *node)
{
	const char *text = sieve_expand_first(run, node->positions[0]);
	struct sieve_action *action;
	char *kept;

	if (text == NULL)
		return;
	run->is_kept = false;
	if (run->result->count > 0 && run->result->actions[0].kind == SIEVE_REJECT) {
		sieve_run_fail(run, node->line, "rejected twice"); /* RFC 5429 2.4 */
		return;
	}
	action = sieve_add_action(run, node->line, SIEVE_REJECT);
	kept = action == NULL ? NULL : sieve_keep_text(run, text);
	if (kept == NULL)
		return;
	kept[sieve_cut(kept, strlen(kept), SIEVE_REASON_MAX)] = '\0';
	action->text = kept;
}

void
sieve_do_action(struct sieve_run *run, const struct sieve_node *node)
{
	if (node->verb == VERB_KEEP)
		do_keep(run, node, node->line);
	else if (node->verb == VERB_FILEINTO)
		do_fileinto(run, node);
	else if (node->verb == VERB_REDIRECT)
		do_redirect(run, node);
	else if (node->verb == VERB_REJECT || node->verb == VERB_EREJECT)
		do_reject(run, node);
	else if (node->verb == VERB_DISCARD)
		run->is_kept = false;
}

void
sieve_finish_actions(struct sieve_run *run)
{
	if (run->is_kept && !run->has_failed)
		do_keep(run, NULL, 0);
}
