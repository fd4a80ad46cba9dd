/*
 * The text of an automatic reply (RFC 5230 5, RFC 3834 3): its header is ours, its words are those of a
 * mailbox's owner.
 */
#ifndef QUEUE_REPLY_TEXT_H
#define QUEUE_REPLY_TEXT_H

#include <stdint.h>

#include "common/buf.h"
#include "common/ipc_queue_mda.h"

struct reply_text {
	const struct ipc_effects *effects;
	const struct address *from;
	const struct address *to;
	const char *hostname; /* of the Message-ID */
	uint32_t message_id;
	int64_t now; /* wall */
};

/* Appends it with CRLF line ends. Only a MIME entity of its author's own can have 8-bit text. */
void reply_text_build(struct buf *, const struct reply_text *);

#endif
