/*
 * Users whose .forward leads nowhere, beside others who get the mail: theirs goes into their mailbox
 * rather than to nobody, or waits where they have none.
 */
#ifndef LOOKUP_EXPAND_LOST_H
#define LOOKUP_EXPAND_LOST_H

#include "lookup/expand_state.h"

/* Whose .forward is followed at a node. */
struct followed {
	uint32_t node;
	const struct action *action;
	struct address dest;
};

/* The node in work leads to where mail goes, or is refused on purpose. */
void expand_note_live(struct expansion *);
/* The node in work leads to another one, which has its own way already. */
void expand_note_again(struct expansion *, uint32_t node);
/* The .forward of this user is what the node in work leads to. Without memory that is noted as broken. */
void expand_note_followed(struct expansion *, const struct action *, const struct address *dest);
/* When all nodes are worked through: the next of those users to whom nothing of his .forward leads, from
 * `*at` on, which begins with 0; the node in work is then his. NULL: no more. Of users who forward to
 * each other, the first. */
const struct followed *expand_next_lost(struct expansion *, size_t *at);

#endif
