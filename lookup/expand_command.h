/*
 * Commands that are named as targets, and as whom they run.
 */
#ifndef LOOKUP_EXPAND_COMMAND_H
#define LOOKUP_EXPAND_COMMAND_H

#include "lookup/expand_state.h"

/* The administrator's: run as the action says, where it allows commands at all. */
void expand_add_command(struct expansion *, const struct action *, const char *command);
/* This user's own, from his .forward. */
void expand_add_user_command(
    struct expansion *, const struct action *, const struct address *user, const char *command);
/* In a list in a file that isn't the administrator's: its owner's own, if he is a user who may have
 * a .forward; else dead. */
void expand_add_owner_command(struct expansion *, const struct action *, const char *command);

#endif
