/*
 * An alias may lead to as many places as the configuration allows, so that steps are cut and counted
 * from some number on: an answer is bounded whatever a table holds. Texts that don't fit are cut too.
 */
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "lookup/expand.h"
#include "lookup/explain.h"
#include "lookup/senders.h"

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

/* The addresses that a user may send as are the listener's to say: that with the tag, or the first. */
static void
choose_senders(const struct config *config, struct ipc_rcpt *rcpt)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct listener_config *listener = &config->listeners[i];

		if (listener->auth == LISTEN_AUTH_NONE || listener_is_access(listener) ||
		    (*rcpt->tag != '\0' && strcasecmp(rcpt->tag, listener->tag) != 0))
			continue;
		strlcpy(rcpt->senders_table, listener->senders_table, sizeof(rcpt->senders_table));
		return;
	}
}

bool
explain_recipient(struct site *site, const struct ipc_rcpt *rcpt, struct forward_set *forwards,
    void (*tell)(const struct ipc_explain_step *, void *arg), void *arg, struct expanded *out)
{
	struct explain_watch watch = { tell, arg, 0 }, nobody = { NULL, NULL, 0 };
	struct ipc_explain_step cut = { .step = EXPLAIN_CUT };
	struct ipc_rcpt asked = *rcpt;
	char words[IPC_EXPLAIN_WORDS_MAX + 1];
	struct reply refusal;

	expand_watched(site, rcpt, forwards, &nobody, out);
	if (out->waits)
		return false;
	expanded_free(out);
	expand_watched(site, rcpt, forwards, &watch, out);
	if (watch.count > EXPLAIN_STEPS_MAX) {
		cut.line = watch.count - EXPLAIN_STEPS_MAX;
		tell(&cut, arg);
	}
	choose_senders(site->config, &asked);
	if (*asked.auth_user == '\0' || senders_allow(site, &asked, &refusal))
		return true;
	watch.count = 0;
	reply_format(&refusal, words, sizeof(words));
	explain_tell(&watch, EXPLAIN_SENDER, &asked.sender, 0, NULL, NULL, words);
	out->reply = refusal;
	return true;
}
