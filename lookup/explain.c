/*
 * An alias may lead to as many places as the configuration allows, so that steps are cut and counted
 * from some number on: an answer is bounded whatever a table holds. Texts that don't fit are cut too.
 */
#include <string.h>

#include <bsd/string.h>

#include "lookup/expand.h"
#include "lookup/explain.h"

static void
set_text(char *to, const char *text, size_t size)
{
	strlcpy(to, text == NULL ? "" : text, size);
}

void
explain_tell(struct explain_watch *watch, enum explain_step what, const struct address *address,
    uint32_t line, const char *action, const char *to, const char *words)
{
	struct ipc_explain_step step = { .step = what, .line = line };

	if (watch == NULL || watch->step == NULL || watch->count++ >= EXPLAIN_STEPS_MAX)
		return;
	address_format(address, step.address, sizeof(step.address));
	set_text(step.action, action, sizeof(step.action));
	set_text(step.to, to, sizeof(step.to));
	set_text(step.words, words, sizeof(step.words));
	watch->step(&step, watch->arg);
}

bool
explain_recipient(struct site *site, const struct ipc_rcpt *rcpt, struct forward_set *forwards,
    void (*tell)(const struct ipc_explain_step *, void *arg), void *arg, struct ipc_result *result)
{
	struct explain_watch watch = { tell, arg, 0 }, nobody = { NULL, NULL, 0 };
	struct ipc_explain_step cut = { .step = EXPLAIN_CUT };
	struct expanded expanded;
	bool waits;

	memset(result, 0, sizeof(*result));
	expand_watched(site, rcpt, forwards, &nobody, &expanded);
	waits = expanded.waits;
	expanded_free(&expanded);
	if (waits)
		return false;
	expand_watched(site, rcpt, forwards, &watch, &expanded);
	if (watch.count > EXPLAIN_STEPS_MAX) {
		cut.line = watch.count - EXPLAIN_STEPS_MAX;
		tell(&cut, arg);
	}
	reply_format(&expanded.reply, result->words, sizeof(result->words));
	result->count = reply_is_success(&expanded.reply) ? expanded.count : 0;
	expanded_free(&expanded);
	return true;
}
