/*
 * The directory's part of an explanation: the rules, each step of the aliases, and where they end.
 */
#include <inttypes.h>
#include <string.h>

#include "smtpctl/show_explain_parts.h"
#include "smtpctl/text.h"

static const struct {
	const char *fact;
	const char *sentence; /* about address, to, words */
	const char *words;    /* what they are; NULL: a reason */
} steps[EXPLAIN_STEP_COUNT] = {
	[EXPLAIN_RULE] = { "rule", NULL, NULL },
	[EXPLAIN_NO_RULE] = { "no-rule", "rule: no match rule of smtpd.conf takes mail for %s",
	    NULL },
	[EXPLAIN_LEADS_TO] = { "alias", "alias: %s leads to %s", NULL },
	[EXPLAIN_LEADS_AGAIN] = { "alias-again",
	    "alias: %s leads to %s as well, which was looked at already", NULL },
	[EXPLAIN_LEADS_BACK] = { "alias-loop", "alias: %s leads back to %s: the loop is cut here",
	    NULL },
	[EXPLAIN_MAILBOX] = { "mailbox", "mailbox: mail for %s is delivered to %s, which is %s's",
	    "owner" },
	[EXPLAIN_COMMAND] = { "command", "command: mail for %s is given to %s", NULL },
	[EXPLAIN_WRAPPER] = { "wrapper", "wrapper: what %s gets is what is made of it by %s",
	    NULL },
	[EXPLAIN_RELAY] = { "relay", "relay: mail for %s is sent to other hosts for %s", NULL },
	[EXPLAIN_LMTP] = { "lmtp", "lmtp: mail for %s is delivered by LMTP to %s, for %s",
	    "recipient" },
	[EXPLAIN_TRIED] = { "rule-tried", NULL, "condition" },
	[EXPLAIN_UNDECIDED] = { "rule-undecided", NULL, "condition" },
	[EXPLAIN_SENDER] = { "sender", "refused: the user may not send as %s%s: %s", NULL },
	[EXPLAIN_QUOTA] = { "quota", NULL, NULL },
	[EXPLAIN_HOURLY] = { "limit", NULL, NULL },
	[EXPLAIN_DEAD] = { "dead", NULL, NULL },
	[EXPLAIN_ERROR] = { "error", NULL, NULL },
	[EXPLAIN_POSTMASTER] = { "postmaster",
	    "postmaster: %s is taken all the same, for the postmaster (RFC 5321 4.5.1)", NULL },
	[EXPLAIN_FORWARD] = { "forward", "forward: %s's file %s is followed", NULL },
	[EXPLAIN_INCLUDE] = { "include", "alias: %s leads to the list %s", NULL },
	[EXPLAIN_CUT] = { "cut", NULL, NULL },
};

/* A rule is named by its line and file. */
static bool
is_about_rule(enum explain_step step)
{
	return step == EXPLAIN_RULE || step == EXPLAIN_TRIED || step == EXPLAIN_UNDECIDED;
}

static void
show_rule(struct buf *buf, const struct ipc_explain_step *step)
{
	buf_printf(buf, "rule: line %" PRIu32 " of ", step->line);
	explain_phrase(buf, "%s ", *step->to == '\0' ? "smtpd.conf" : step->to, NULL, NULL);
	if (step->step == EXPLAIN_TRIED)
		explain_sentence(
		    buf, "is not for it: its \"%s\" doesn't fit", step->words, NULL, NULL);
	else if (step->step == EXPLAIN_UNDECIDED)
		explain_sentence(buf, "can't be decided about: its \"%s\" can't be known now%s",
		    step->words,
		    strcmp(step->words, "from") == 0 ? ", nor what comes behind it (for \"from "
		                                       "rdns\", --name says the client's name)"
		                                     : ", nor what comes behind it",
		    NULL);
	else if (*step->action == '\0')
		explain_sentence(buf, "rejects mail for %s", step->address, NULL, NULL);
	else
		explain_sentence(
		    buf, "takes mail for %s by action \"%s\"", step->address, step->action, NULL);
}

static void
show_quota(struct show_explain *show, const struct ipc_explain_step *step)
{
	struct buf *buf = &show->output->buf;
	char used[32], of[32];

	if (explain_is_json(show)) {
		explain_begin(buf, "quota");
		explain_text(buf, "address", step->address);
		explain_number(buf, "quota_bytes", (int64_t)step->quota_bytes);
		explain_number(buf, "quota_messages", (int64_t)step->quota_messages);
		if (step->is_known) {
			explain_number(buf, "used_bytes", (int64_t)step->used_bytes);
			explain_number(buf, "used_messages", (int64_t)step->used_messages);
		}
		buf_add_text(buf, "}\n");
		return;
	}
	explain_phrase(buf, "quota: the mailbox of %s may hold", step->address, NULL, NULL);
	text_format_size(of, sizeof(of), step->quota_bytes);
	if (step->quota_bytes != 0)
		buf_printf(buf, " %s", of);
	if (step->quota_messages != 0)
		buf_printf(buf, "%s %" PRIu64 " messages", step->quota_bytes != 0 ? " and" : "",
		    step->quota_messages);
	text_format_size(used, sizeof(used), step->used_bytes);
	if (step->is_known)
		buf_printf(buf, ", and holds %s in %" PRIu64 " message%s\n", used,
		    step->used_messages, step->used_messages == 1 ? "" : "s");
	else
		buf_add_text(buf, "; what it holds is not known now\n");
}

static void
show_hourly(struct show_explain *show, const struct ipc_explain_step *step)
{
	struct buf *buf = &show->output->buf;
	bool is_over = step->used_messages >= step->quota_messages;

	if (explain_is_json(show)) {
		explain_begin(buf, "limit");
		explain_text(buf, "user", step->address);
		explain_number(buf, "per_hour", (int64_t)step->quota_messages);
		explain_number(buf, "used", (int64_t)step->used_messages);
		explain_text(buf, "over", step->words);
		buf_add_text(buf, "}\n");
		return;
	}
	explain_phrase(buf, "limit: %s may mail to ", step->address, NULL, NULL);
	buf_printf(buf, "%" PRIu64 " recipients an hour, and %" PRIu64 " of them are used: ",
	    step->quota_messages, step->used_messages);
	explain_sentence(
	    buf, is_over ? "this one is %s" : "what is over that is %s", step->words, NULL, NULL);
}

void
explain_step(struct show_explain *show, const struct ipc_explain_step *step)
{
	struct buf *buf = &show->output->buf;

	/* For where aliases lead it makes no difference who asks. */
	if (show->steps++ == 0)
		show->is_refused = step->step == EXPLAIN_NO_RULE;
	if (step->step == EXPLAIN_QUOTA)
		show_quota(show, step);
	else if (step->step == EXPLAIN_HOURLY)
		show_hourly(show, step);
	else if (explain_is_json(show)) {
		explain_begin(buf, steps[step->step].fact);
		explain_text(buf, "address", step->address);
		if (is_about_rule(step->step) || step->step == EXPLAIN_CUT)
			explain_number(
			    buf, step->step == EXPLAIN_CUT ? "steps" : "line", step->line);
		if (*step->action != '\0')
			explain_text(buf, "action", step->action);
		if (*step->to != '\0')
			explain_text(buf, is_about_rule(step->step) ? "file" : "to", step->to);
		if (*step->words != '\0')
			explain_text(buf,
			    steps[step->step].words != NULL ? steps[step->step].words : "reason",
			    step->words);
		buf_add_text(buf, "}\n");
	} else if (is_about_rule(step->step))
		show_rule(buf, step);
	else if (step->step == EXPLAIN_CUT)
		buf_printf(buf, "%" PRIu32 " more steps are not shown\n", step->line);
	else if (step->step == EXPLAIN_DEAD || step->step == EXPLAIN_ERROR)
		explain_sentence(buf,
		    step->step == EXPLAIN_ERROR ? "refused: %s%s: %s"
		        : *step->to == '\0'     ? "dead end: %s%s: %s"
		                                : "dead end: %s leads to %s: %s",
		    step->address, step->to, step->words);
	else
		explain_sentence(
		    buf, steps[step->step].sentence, step->address, step->to, step->words);
}
