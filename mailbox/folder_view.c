/*
 * Sequence numbers of one session. A number is a position in the folder's array, less the removals
 * before it that this session has taken. Those are kept sorted, so that going from one to the other
 * is a binary search; mostly there are none.
 */
#include <stdlib.h>
#include <string.h>

#include "mailbox/folder_state.h"
#include "mailbox/folder_view.h"

struct folder_view *
folder_view_new(struct folder *folder)
{
	struct folder_view *view = calloc(1, sizeof(*view));

	if (view == NULL)
		return NULL;
	folder_compact(folder);
	view->folder = folder;
	view->next = folder->views;
	folder->views = view;
	view->change = folder->change;
	if (!folder_view_take_arrivals(view) && folder->content.count > view->shown) {
		folder_view_free(view);
		return NULL;
	}
	folder_view_told(view);
	return view;
}

void
folder_view_free(struct folder_view *view)
{
	struct folder_view **link;

	if (view == NULL)
		return;
	for (link = &view->folder->views; *link != NULL; link = &(*link)->next) {
		if (*link == view) {
			*link = view->next;
			break;
		}
	}
	free(view->hidden);
	free(view);
}

size_t
folder_view_count(struct folder_view *view)
{
	return view->shown - view->hidden_count;
}

/* How many removals taken lie below a position. */
static size_t
hidden_below(const struct folder_view *view, size_t position)
{
	size_t low = 0, high = view->hidden_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (view->hidden[middle] < position)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool
is_hidden(const struct folder_view *view, size_t position)
{
	size_t at = hidden_below(view, position);

	return at < view->hidden_count && view->hidden[at] == position;
}

static size_t
position_of(const struct folder_view *view, size_t sequence)
{
	size_t low = 0, high = view->hidden_count;

	/* The removals before it: those with fewer than sequence visible ones below them. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (view->hidden[middle] - middle < sequence)
			low = middle + 1;
		else
			high = middle;
	}
	return sequence - 1 + low;
}

struct message *
folder_view_message(struct folder_view *view, size_t sequence)
{
	if (sequence == 0 || sequence > folder_view_count(view))
		return NULL;
	return &view->folder->content.messages[position_of(view, sequence)];
}

size_t
folder_view_sequence_from(struct folder_view *view, uint32_t uid)
{
	size_t position = folder_position(view->folder, uid);

	if (position > view->shown)
		position = view->shown;
	return position - hidden_below(view, position) + 1;
}

size_t
folder_view_sequence(struct folder_view *view, uint32_t uid)
{
	size_t position = folder_position(view->folder, uid);

	if (position >= view->shown || view->folder->content.messages[position].uid != uid ||
	    is_hidden(view, position))
		return 0;
	return position - hidden_below(view, position) + 1;
}

bool
folder_view_is_behind(struct folder_view *view)
{
	return view->folder->content.highest_modseq > view->modseq ||
	    view->folder->change != view->change || view->folder->content.count > view->shown;
}

static bool
hide(struct folder_view *view, size_t position)
{
	size_t at = hidden_below(view, position);

	if (view->hidden_count == view->hidden_capacity) {
		size_t capacity = view->hidden_capacity * 2 + 16;
		uint32_t *grown = reallocarray(view->hidden, capacity, sizeof(*grown));

		if (grown == NULL)
			return false;
		view->hidden = grown;
		view->hidden_capacity = capacity;
	}
	memmove(view->hidden + at + 1, view->hidden + at,
	    (view->hidden_count - at) * sizeof(*view->hidden));
	view->hidden[at] = (uint32_t)position;
	view->hidden_count++;
	return true;
}

bool
folder_view_take_expunged(struct folder_view *view, uint32_t *uid, size_t *sequence)
{
	struct folder *folder = view->folder;

	if (view->next_taken == 0) {
		if (view->change == folder->change)
			return false;
		view->taking = folder->change;
	}
	for (; view->next_taken < view->shown; view->next_taken++) {
		size_t position = view->next_taken;
		const struct message *message = &folder->content.messages[position];

		if (message->expunged == 0 || is_hidden(view, position))
			continue;
		*uid = message->uid;
		*sequence = position - hidden_below(view, position) + 1;
		if (!hide(view, position))
			return false;
		view->next_taken++;
		return true;
	}
	view->next_taken = 0;
	view->change = view->taking;
	return false;
}

bool
folder_view_take_arrivals(struct folder_view *view)
{
	const struct folder_content *content = &view->folder->content;
	size_t before = folder_view_count(view);

	if (view->folder->index != -1) /* none of them is removed */
		view->shown = content->count;
	for (; view->shown < content->count; view->shown++) {
		/* It came and went without this session. */
		if (content->messages[view->shown].expunged != 0 && !hide(view, view->shown))
			break;
	}
	return folder_view_count(view) > before;
}

bool
folder_view_changed(struct folder_view *view, size_t *sequence, struct message **message)
{
	size_t position, at;

	if (view->folder->content.highest_modseq <= view->modseq || *sequence == 0 ||
	    *sequence > folder_view_count(view))
		return false;
	position = position_of(view, *sequence);
	at = hidden_below(view, position);
	for (; position < view->told; position++) {
		struct message *one = &view->folder->content.messages[position];

		if (at < view->hidden_count && view->hidden[at] == position) {
			at++;
			continue;
		}
		if (one->modseq > view->modseq && one->expunged == 0) {
			*sequence = position - at + 1;
			*message = one;
			return true;
		}
	}
	return false;
}

void
folder_view_told(struct folder_view *view)
{
	view->modseq = view->folder->content.highest_modseq;
	view->told = view->shown;
}
