/*
 * Where a line's mailbox is and who owns it, by the directory. What it says is kept for a few
 * seconds, or until it takes it back.
 */
#ifndef QUEUE_MAILBOX_H
#define QUEUE_MAILBOX_H

#include "queue/queue.h"

#define MAILBOX_KNOWN_MS 5000

/* True when the line's mailbox is known now; otherwise the directory is asked (once), and
 * delivery_line_routed() or _refused() is called later. */
bool mailbox_is_known(struct queue *, struct line *);
/* The directory takes back what it said. */
void mailbox_forget_all(struct queue *);

#endif
