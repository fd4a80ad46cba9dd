/*
 * The text of a message on its way in: line ends, dots and limits are checked while the bytes come,
 * in one pass, and what is to be stored is gathered in memory, then in a memfd, then in a spool
 * file of the queue's.
 *
 * After the first fault nothing more is kept, but the text is still read to its real end, so
 * that none of it can be taken for commands.
 */
#ifndef SMTPD_MESSAGE_H
#define SMTPD_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"
#include "common/config.h"
#include "common/reply.h"

struct message;

struct message_limits {
	uint64_t size;        /* bytes of the text, our own fields not counted */
	uint32_t text_line;   /* bytes of a line, its CRLF not counted */
	uint32_t header_size; /* bytes of all header fields */
	uint32_t received;    /* Received: fields */
	enum line_ends line_ends;
	uint64_t *memory; /* bytes that all messages of the process hold in memory; kept up here */
};

/* While all together hold more than this in memory, a message over 64 KiB goes to a file. */
#define MESSAGE_MEMORY_MAX (128 * 1024 * 1024)

enum message_form {
	MESSAGE_DATA, /* dot-stuffed, ends by CRLF.CRLF */
	MESSAGE_BDAT, /* as it is, ends when message_finish() is called */
};

/* NULL when memory is out. */
struct message *message_new(const struct message_limits *, enum message_form);
void message_free(struct message *);

struct dkim;
struct submission_options;
/* The header is put right as a user's (submission.h); before any text. False without memory. */
bool message_submit(struct message *, const struct submission_options *)
    __attribute__((warn_unused_result));
/* Puts our own header fields in front; before any text. */
void message_add_prefix(struct message *, const char *fields);
/*
 * The text is to be signed as message_submit(), which comes before, puts it right, if there is a key
 * for it; before any text. The signer is owned from here on. When the text is over message_signer()
 * says whether it is, and message_set_signature() must come before the message is taken: the
 * signer's fields go in front of all.
 */
void message_sign(struct message *, struct dkim *);
/* NULL when the text isn't to be signed. */
struct dkim *message_signer(const struct message *);
/* Puts dkim_fields() where room was left for them. A failure is a fault. */
void message_set_signature(struct message *);
/*
 * Takes the next bytes of the text. Returns how many it took: all, or for MESSAGE_DATA those up to
 * the end of the text, when `*ended` becomes true. Not to be called while message_needs_file().
 */
size_t message_feed(struct message *, const char *data, size_t length, bool *ended);
/* The text is over (MESSAGE_BDAT); a last line without an end gets one. */
void message_finish(struct message *);

/* The message has outgrown a memfd, or all together the memory: message_use_file() must come before
 * more text. */
bool message_needs_file(const struct message *);
/* Moves what there is into `fd` (owned from here on) and goes on there. */
void message_use_file(struct message *, int fd);
/* True when the text is in the file given by message_use_file(). */
bool message_is_in_file(const struct message *);

/* A fault from outside the text (no spool file to be had, BDAT over the limit). The first fault
 * stays. */
void message_refuse(struct message *, const struct reply *);
/* The same with the reply for a text over `size`. */
void message_refuse_size(struct message *);
/* True, and why, once there was a fault. */
bool message_is_refused(const struct message *, struct reply *);

/* There is a field "TLS-Required: No" in the header of the text (RFC 8689 3). */
bool message_says_tls_optional(const struct message *);
/* There is a field Delivered-To with that address. */
bool message_was_delivered_to(const struct message *, const struct address *);
/* The Message-ID that the text has, at most FACTS_TEXT_MAX bytes as they came, or "". */
const char *message_header_id(const struct message *);
/* Bytes of the text received, those of refused texts included; and bytes to be stored. */
uint64_t message_received_bytes(const struct message *);
uint64_t message_stored_bytes(const struct message *);

/*
 * The whole message as a sealed memfd for the queue, which the caller owns then; -1 when it is in
 * the spool file (flushed and closed by this call). A failure is a fault (message_is_refused()),
 * with -1.
 */
int message_take_fd(struct message *);

#endif
