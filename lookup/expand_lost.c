/*
 * A node is live when mail goes from it, or from one that it leads to. That is told upwards at once, each
 * node once; where a node leads to one that was there before, only when all is known.
 */
#include <stdlib.h>

#include "lookup/expand_lost.h"
#include "lookup/expand_note.h"

#define AGAIN_MAX 4096 /* beyond, such nodes count as live */

static void
set_live(struct expansion *x, uint32_t node)
{
	for (; !x->nodes[node].live; node = x->nodes[node].parent)
		x->nodes[node].live = true; /* the first node is its own parent */
}

void
expand_note_live(struct expansion *x)
{
	set_live(x, x->at);
}

void
expand_note_again(struct expansion *x, uint32_t node)
{
	struct again *again;

	if (x->forwards == NULL || x->nodes[x->at].live)
		return;
	again = x->again_count < AGAIN_MAX
	    ? reallocarray(x->again, x->again_count + 1, sizeof(*again))
	    : NULL;
	if (again == NULL) {
		set_live(x, x->at);
		return;
	}
	x->again = again;
	x->again[x->again_count++] = (struct again){ x->at, node };
}

void
expand_note_followed(struct expansion *x, const struct action *action, const struct address *dest)
{
	struct followed *followed =
	    reallocarray(x->followed, x->followed_count + 1, sizeof(*followed));

	if (followed == NULL) {
		expand_broken(x);
		return;
	}
	x->followed = followed;
	x->followed[x->followed_count++] = (struct followed){ x->at, action, *dest };
}

static void
settle(struct expansion *x)
{
	bool changed = x->again_count > 0;

	while (changed) {
		changed = false;
		for (size_t i = 0; i < x->again_count; i++) {
			const struct again *again = &x->again[i];

			if (x->nodes[again->to].live && !x->nodes[again->from].live) {
				set_live(x, again->from);
				changed = true;
			}
		}
	}
	x->again_count = 0;
}

static bool
is_below_lost(const struct expansion *x, uint32_t node)
{
	while (node != 0 && !x->nodes[node].lost)
		node = x->nodes[node].parent;
	return x->nodes[node].lost;
}

const struct followed *
expand_next_lost(struct expansion *x, size_t *at)
{
	settle(x);
	while (*at < x->followed_count) {
		const struct followed *followed = &x->followed[(*at)++];

		if (!x->nodes[followed->node].live && !is_below_lost(x, followed->node)) {
			x->at = followed->node;
			x->nodes[x->at].lost = true;
			return followed;
		}
	}
	return NULL;
}
