/*
 * What an expansion says of itself: its trace, its watcher's steps, the log, and what is wrong.
 */
#ifndef LOOKUP_EXPAND_NOTE_H
#define LOOKUP_EXPAND_NOTE_H

#include "lookup/expand_state.h"

/* What came of the node in work, for the trace; `to` and the value may be NULL. */
void expand_trace_step(
    const struct expansion *, const char *step, const char *to, const char *key, const char *value);
void expand_trace(const struct expansion *, const char *step, const char *to, const char *reason);
/* The node in work, or `what` it names, leads nowhere: for good, unless something else it leads to
 * does. The first one's reply is that of a recipient that is nothing else. */
void expand_dead(
    struct expansion *, const char *what, unsigned code, const char *enhanced, const char *words);
/* Logs the first of them. */
void expand_log_dead(const struct expansion *);
/* Something can't be known now: the recipient is refused for a while, whatever else is found. */
void expand_broken(struct expansion *);

#endif
