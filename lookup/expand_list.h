/*
 * Lists of targets: what each of them leads to.
 */
#ifndef LOOKUP_EXPAND_LIST_H
#define LOOKUP_EXPAND_LIST_H

#include "lookup/expand_state.h"
#include "lookup/table_text.h"

#define EXPAND_VALUE_MAX (8UL * 1024 * 1024) /* of an alias */

/* One target of the list in work. */
void expand_follow_target(struct expansion *, const struct action *, const struct target *);
/* Looks `key` up and follows its value; TABLE_BROKEN is noted in the expansion. */
enum table_result expand_follow_key(
    struct expansion *, const struct action *, struct table *, const char *key);
/* The lines of a .forward or a list in a file, which are changed; how many targets there are. */
size_t expand_follow_lines(struct expansion *, const struct action *, char *text);
/* A list in a file that is in work. One that can't be read now makes the recipient wait. */
void expand_include(struct expansion *, const struct node *);

#endif
