/*
 * The words of IMAP commands (RFC 9051 9), read one by one from a command that imap_input gathered.
 * What isn't as the grammar has it sets `why` to words for BAD; everything read after that is empty,
 * so that a command is parsed to its end and checked once. What is read points into the text, but for
 * quoted strings with backslashes, which are copied into the command's pool.
 */
#ifndef MAILBOX_IMAP_TEXT_H
#define MAILBOX_IMAP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox/imap_pool.h"
#include "mailbox/imap_set.h"

struct imap_text {
	const char *at;
	const char *end;
	const char *why; /* NULL: all was well so far */
	bool no_memory;
	struct imap_pool *pool;
};

struct imap_string {
	const char *data; /* NULL: NIL */
	size_t length;
};

void imap_text_init(struct imap_text *, const char *text, size_t length, struct imap_pool *);
/* Sets `why`, unless it is set. */
void imap_text_fail(struct imap_text *, const char *why);

/* What comes next, without taking it. */
bool imap_text_is_end(const struct imap_text *);
bool imap_text_next_is(const struct imap_text *, char);
/* Takes the character if it comes next. */
bool imap_text_take(struct imap_text *, char);
/* Takes what must come next. */
void imap_text_space(struct imap_text *);
void imap_text_expect(struct imap_text *, char);
void imap_text_end(struct imap_text *);

/* Bytes of one kind; at least one. */
struct imap_string imap_text_atom(struct imap_text *);
struct imap_string imap_text_tag(struct imap_text *);
/* A word of letters, digits, "-", "." and "_", as names of commands, keys and items are; may be
 * empty, and then nothing was taken. */
struct imap_string imap_text_word(struct imap_text *);
struct imap_string imap_text_string(struct imap_text *);
struct imap_string imap_text_astring(struct imap_text *);
struct imap_string imap_text_nstring(struct imap_text *);
/* A LIST pattern: like an astring, with "%" and "*" in it. */
struct imap_string imap_text_pattern(struct imap_text *);
/* A literal that is a message's text: its size, and whether it is a literal8 ("~{"). */
uint64_t imap_text_message(struct imap_text *, bool *is_binary);

uint32_t imap_text_number(struct imap_text *);
uint32_t imap_text_nonzero(struct imap_text *);
uint64_t imap_text_number64(struct imap_text *);
/* A sequence set, as the client wrote it. `saved`: "$" may stand for it. */
void imap_text_set(struct imap_text *, bool saved, struct imap_set *);
/* "1-Feb-2026", with or without quotes: days since 1970. */
int32_t imap_text_date(struct imap_text *);
/* "\" 1-Feb-2026 12:00:00 +0100\"": seconds since 1970. */
int64_t imap_text_date_time(struct imap_text *);

bool imap_string_is(const struct imap_string *, const char *word); /* whatever the case */

/* System flags; the bits are those of Maildir's letters D F R S T. */
enum imap_flag {
	IMAP_FLAG_DRAFT = 0x01,
	IMAP_FLAG_FLAGGED = 0x02,
	IMAP_FLAG_ANSWERED = 0x04,
	IMAP_FLAG_SEEN = 0x08,
	IMAP_FLAG_DELETED = 0x10,
};
#define IMAP_KEYWORD_MAX 255 /* bytes */

struct imap_flags {
	uint8_t system; /* IMAP_FLAG_* */
	size_t keyword_count;
	struct imap_string *keywords;
};
/* "(\Seen $Junk)"; with `bare` also without parentheses, up to the end. */
void imap_text_flags(struct imap_text *, bool bare, struct imap_flags *);

#endif
