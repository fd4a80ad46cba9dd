/*
 * Which folder a message goes to that no script decides about: Junk for what is marked as such, where
 * the action says so; the folder of the address's "+detail", where its owner has made one.
 */
#ifndef DELIVER_CHOOSE_H
#define DELIVER_CHOOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_queue_mda.h"
#include "deliver/maildir.h"

/*
 * Looks for a header field "X-Spam: Yes" or "X-Spam-Flag: YES" (in any case), as a filter leaves it.
 * Fed with a message from its first byte on, in pieces of any size; line ends may be LF or CRLF.
 */
enum marks_state {
	MARKS_NAME,  /* in a line that may still be such a field */
	MARKS_OTHER, /* in one that isn't */
	MARKS_FOUND,
	MARKS_ENDED, /* of the header */
};
struct marks {
	enum marks_state state;
	size_t length; /* of the line so far */
	char line[32];
};
void marks_begin(struct marks *);
/* True while more is to be looked at. */
bool marks_feed(struct marks *, const uint8_t *data, size_t length);
/* After the last byte: whether the message is marked. */
bool marks_end(struct marks *);

/* `message` holds the text; `delimiters` are those before a detail. What can't be read goes to
 * INBOX: reading it for the delivery will tell. */
void choose_folder(
    const struct ipc_deliver *, int message, const char *delimiters, struct maildir_into *);

#endif
