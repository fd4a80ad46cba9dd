/*
 * What an IMAP client sends, cut into commands: a line with the literals in it (RFC 9051 4.3,
 * RFC 7888). A command is gathered whole, within a bound; the text of messages in APPEND and REPLACE
 * is not: it is handed on as it comes. Nothing here knows what commands mean, but for where a
 * message's literal stands.
 *
 * In the gathered text a literal is its "{5}", CR, LF and its bytes; a message's is "{5!}", CR, LF and
 * no bytes, which no client can write: a line never holds CR or LF.
 */
#ifndef MAILBOX_IMAP_INPUT_H
#define MAILBOX_IMAP_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define IMAP_SKIP_MAX   (64 * 1024 * 1024) /* of a command that is read only to be forgotten */
#define IMAP_INPUT_TAIL 24                 /* "{9223372036854775807+}" and CR */

enum imap_input_event {
	IMAP_INPUT_MORE,     /* all bytes were taken: more are needed */
	IMAP_INPUT_CONTINUE, /* the client waits for "+" before it sends a literal */
	/* A message's text of `size` bytes begins; the client waits for "+" if `synchronizing`, or for
	 * a refusal: imap_input_refuse(). */
	IMAP_INPUT_MESSAGE,
	IMAP_INPUT_TEXT,        /* the next bytes of it: `text`, `text_length` */
	IMAP_INPUT_MESSAGE_END, /* that was all of it */
	IMAP_INPUT_COMMAND, /* a command is whole: `command`; imap_input_next() when it is done */
	/* The command is too long, or refused by imap_input_refuse(); what belonged to it has been
	 * skipped. `command` is its beginning, with the tag. imap_input_next() goes on. */
	IMAP_INPUT_REFUSED,
	IMAP_INPUT_CLOSE, /* more than IMAP_SKIP_MAX would have to be skipped: hang up */
};

enum imap_input_state {
	IMAP_INPUT_STATE_LINE,
	IMAP_INPUT_STATE_LITERAL,
	IMAP_INPUT_STATE_TEXT,
	IMAP_INPUT_STATE_SKIP_LINE,
	IMAP_INPUT_STATE_SKIP_LITERAL,
	IMAP_INPUT_STATE_DONE, /* until imap_input_next() */
	IMAP_INPUT_STATE_CLOSED,
};

struct imap_input {
	enum imap_input_state state;
	struct buf command; /* the command so far; its last line's end left out */
	size_t line;        /* in `command`: where its last line began */
	uint64_t literal;   /* bytes of the literal that are still to come */
	bool is_refused;
	char tail[IMAP_INPUT_TAIL]; /* of a line that is skipped: it may announce a literal */
	size_t tail_length;
	uint64_t
	    skipped; /* bytes of the command, those of a literal that is to be skipped included */

	/* Of the events. */
	bool synchronizing;
	uint64_t size;
	const char *text;
	size_t text_length;
};

/* `limit`: bytes of a command, its literals with it but for messages' text. Allocates nothing. */
void imap_input_init(struct imap_input *, size_t limit);
void imap_input_free(struct imap_input *);
/* Takes bytes until something is to be told; `*used` of them were taken. `text` points into them. */
enum imap_input_event imap_input_take(
    struct imap_input *, const char *bytes, size_t length, size_t *used);
/* After MESSAGE, TEXT or MESSAGE_END: the command is refused. A synchronizing literal that hasn't begun
 * won't come; all else is skipped, before REFUSED tells that the command is over: call
 * imap_input_take() again even without bytes. */
void imap_input_refuse(struct imap_input *);
/* Forgets the last command. */
void imap_input_next(struct imap_input *);

#endif
