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
/* The answer to CONTROL_EXPLAIN: `step` is called for each, at most EXPLAIN_STEPS_MAX times and once
 * for those that are left out; the result's words are what a client would be answered. Nothing is
 * counted or logged. False, after no step, when a .forward must be known first that the set has
 * noted. */
bool explain_recipient(struct site *, const struct ipc_rcpt *, struct forward_set *,
    void (*step)(const struct ipc_explain_step *, void *arg), void *arg, struct ipc_result *);

#endif
