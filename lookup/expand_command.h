/*
 * Commands and files that are named as targets, and as whom they are run and written.
 */
#ifndef LOOKUP_EXPAND_COMMAND_H
#define LOOKUP_EXPAND_COMMAND_H

#include "lookup/expand_state.h"

/* The administrator's: run as the action says, where it allows commands at all. */
void expand_add_command(struct expansion *, const struct action *, const char *command);
/* A command or a file (ENVELOPE_USER_PIPE, ENVELOPE_USER_FILE) in words that aren't the administrator's:
 * of the user whose .forward is in work, or who owns the list in work, if he is one who may have a
 * .forward; else dead. */
void expand_add_own(
    struct expansion *, const struct action *, enum envelope_kind, const char *words);

#endif
