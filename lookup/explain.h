/*
 * What is found on the way from a recipient to where its mail ends, told step by step to whoever
 * asked for an explanation. The steps are those of expand.c as it decides, not a copy of them.
 */
#ifndef LOOKUP_EXPLAIN_H
#define LOOKUP_EXPLAIN_H

#include "common/ipc_control.h"
#include "lookup/forwards.h"
#include "lookup/site.h"

struct explain_watch {
	void (*step)(const struct ipc_explain_step *, void *arg); /* NULL: into nothing */
	void *arg;
	uint32_t count; /* told so far, or not told any more */
};

/* NULL watches nothing. `address` is what the step begins at; texts may be NULL. */
void explain_tell(struct explain_watch *, enum explain_step, const struct address *, uint32_t line,
    const char *action, const char *to, const char *words);
/* Who asks for whom: `step` is called for each step, at most EXPLAIN_STEPS_MAX times and once for those
 * that are left out, and what comes of it is as by expand_recipient(), but that a user who may not
 * send as the sender is refused. Nothing is counted or logged. False, after no step, when a .forward
 * must be known first that the set has noted. */
struct expanded;
bool explain_recipient(struct site *, const struct ipc_rcpt *, struct forward_set *,
    void (*step)(const struct ipc_explain_step *, void *arg), void *arg, struct expanded *);

#endif
