/*
 * What is dead is logged when all is decided: an expansion that waits for a .forward is done anew, and
 * would say it twice.
 */
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/log.h"
#include "lookup/expand_note.h"

#define DEAD_LOGGED_MAX 5

void
expand_trace_step(
    const struct expansion *x, const char *step, const char *to, const char *key, const char *value)
{
	const struct node *node = &x->nodes[x->at];
	char text[ADDRESS_TEXT_MAX + 1];
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_EXPAND, "expand-step"))
		return;
	address_format(&x->rcpt->rcpt, text, sizeof(text));
	log_text(&line, "rcpt", text);
	address_format(&node->address, text, sizeof(text));
	log_text(&line, node->kind == NODE_ADDRESS ? "address" : "name", text);
	log_text(&line, "step", step);
	if (to != NULL)
		log_text(&line, "to", to);
	if (value != NULL && *value != '\0')
		log_text(&line, key, value);
	log_end(&line);
}

void
expand_trace(const struct expansion *x, const char *step, const char *to, const char *reason)
{
	if (log_is_traced(LOG_TRACE_EXPAND) && x->at < x->node_count)
		expand_trace_step(x, step, to, "reason", reason);
}

static void
note_dead(struct expansion *x, const char *what, const char *words)
{
	struct dead_target *target;

	/* Of the recipient itself the listener logs the reply. */
	if (x->watch != NULL || (x->node_count <= 1 && what == NULL && !x->in_forward))
		return;
	if (x->deads == NULL)
		x->deads = calloc(DEAD_LOGGED_MAX, sizeof(*x->deads));
	if (x->deads != NULL && x->dead < DEAD_LOGGED_MAX) {
		target = &x->deads[x->dead];
		address_format(&x->nodes[x->at].address, target->alias, sizeof(target->alias));
		strlcpy(target->target, what == NULL ? "" : what, sizeof(target->target));
		strlcpy(target->words, words, sizeof(target->words));
	}
	x->dead++;
}

void
expand_dead(
    struct expansion *x, const char *what, unsigned code, const char *enhanced, const char *words)
{
	if (x->why.code == 0)
		reply_set(&x->why, code, enhanced, "%s", words);
	expand_trace(x, "dead", what, words);
	explain_tell(x->watch, EXPLAIN_DEAD, &x->nodes[x->at].address, 0, NULL, what, words);
	note_dead(x, what, words);
	if (x->nodes[x->at].in_forward || x->in_forward)
		x->forward_is_dead = true;
}

void
expand_log_dead(const struct expansion *x)
{
	struct log_line line;
	char original[ADDRESS_TEXT_MAX + 1];

	if (x->deads == NULL)
		return;
	address_format(&x->rcpt->rcpt, original, sizeof(original));
	for (unsigned i = 0; i < x->dead && i < DEAD_LOGGED_MAX; i++) {
		const struct dead_target *dead = &x->deads[i];

		log_begin(&line, LOG_LEVEL_WARNING, "alias-target-dead");
		log_text(&line, "to", original);
		log_text(&line, "target", *dead->target != '\0' ? dead->target : dead->alias);
		log_text(&line, "reason", dead->words);
		log_end(&line);
	}
	if (x->dead > DEAD_LOGGED_MAX)
		log_warning("%u more targets of that alias are dead", x->dead - DEAD_LOGGED_MAX);
}

void
expand_broken(struct expansion *x)
{
	x->broken = true;
}
