/*
 * What one session has been told of a folder: sequence numbers, and what is left to tell.
 *
 * The folder's array is shared. A message that went away stays in it, marked, until every view has
 * taken that removal, and one that came is visible to a view only after it took the arrival: so a
 * view's sequence numbers change only by its own calls here. A view is some 64 bytes, whatever the
 * folder's size.
 *
 * A session's turn: folder_sync(); then, where EXPUNGE may be sent (RFC 9051 7.5.1),
 * folder_view_take_expunged() until it says false; folder_view_take_arrivals(); then walk
 * folder_view_changed().
 */
#ifndef MAILBOX_FOLDER_VIEW_H
#define MAILBOX_FOLDER_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox/folder.h"

struct folder_view;

/* Sees all that is in the folder now. NULL without memory. */
struct folder_view *folder_view_new(struct folder *);
void folder_view_free(struct folder_view *);

size_t folder_view_count(struct folder_view *); /* EXISTS */
/* The message with this sequence number, 1 up to the count; it may be expunged (not told yet). NULL
 * out of range. */
struct message *folder_view_message(struct folder_view *, size_t sequence);
/* The sequence number of a uid, 0 when this view has none. */
size_t folder_view_sequence(struct folder_view *, uint32_t uid);
/* The sequence number of the first message with at least this uid; count + 1 when none. */
size_t folder_view_sequence_from(struct folder_view *, uint32_t uid);

/* Is there anything to tell? Cheap. */
bool folder_view_is_behind(struct folder_view *);
/*
 * The next removal: its uid and the sequence number that it has now, counted after those taken
 * before, as EXPUNGE wants it. False when there is none.
 */
bool folder_view_take_expunged(struct folder_view *, uint32_t *uid, size_t *sequence);
/* Makes what came visible; true when something did. */
bool folder_view_take_arrivals(struct folder_view *);
/*
 * The next visible message from sequence number `*sequence` on whose flags changed since this view
 * last was told, not counting those expunged; false when there is none. Afterwards
 * folder_view_told() says that all was.
 */
bool folder_view_changed(struct folder_view *, size_t *sequence, struct message **);
void folder_view_told(struct folder_view *);

#endif
