/*
 * What IMAP says of a message's structure: ENVELOPE, BODY and BODYSTRUCTURE (RFC 9051 7.5.2), written as
 * it is sent. Strings that can't be quoted come as literals, 8-bit text among them.
 */
#ifndef MAILBOX_MIME_STRUCTURE_H
#define MAILBOX_MIME_STRUCTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/mime.h"

/* A quoted string, or a literal where it can't be one. */
void imap_write_string(struct buf *, const void *bytes, size_t length);
/* The same, and NIL for NULL. */
void imap_write_nstring(struct buf *, const char *text);

/* The envelope of the whole message, or of the message that `part` is. */
void mime_write_envelope(struct buf *, const struct mime *, uint32_t part);
/* BODYSTRUCTURE when extended, BODY otherwise. Doesn't recurse. */
void mime_write_structure(struct buf *, const struct mime *, bool extended);

#endif
