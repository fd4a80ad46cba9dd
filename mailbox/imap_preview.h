/*
 * The beginning of a message's text, for lists of messages (RFC 8970).
 */
#ifndef MAILBOX_IMAP_PREVIEW_H
#define MAILBOX_IMAP_PREVIEW_H

#include "common/buf.h"
#include "common/mime.h"

#define IMAP_PREVIEW_MAX 200 /* characters (RFC 8970 3.1) */

/* Writes it as an IMAP string: of the first part that is text, without markup, blanks put together. */
void imap_preview(int fd, const struct mime *, struct buf *);

#endif
