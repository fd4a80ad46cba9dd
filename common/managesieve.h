/*
 * The lines of ManageSieve (RFC 5804 4): words, quoted strings and literals, up to a line's end. One
 * reader takes both sides' lines: a client's commands and answers to challenges, and a server's
 * answers. What the words mean isn't known here.
 *
 * Lines and literals are bounded. What is too large, or isn't a line, is read over to the line's end
 * and told with the reason, so that the next line can be understood; where even that can't be, because
 * a literal's length can't be believed, the connection has to end.
 */
#ifndef COMMON_MANAGESIEVE_H
#define COMMON_MANAGESIEVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define MANAGESIEVE_TOKENS_MAX 8
/* Of a line that is read over, its literals included; one that is longer ends the connection. */
#define MANAGESIEVE_SKIP_MAX (4UL * 1024 * 1024)

enum managesieve_side {
	MANAGESIEVE_CLIENT, /* sends {N+}, without waiting (RFC 5804 4: literal-c2s) */
	MANAGESIEVE_SERVER, /* sends {N} */
};

struct managesieve_token {
	bool is_string;
	size_t at, length; /* in `text`, where a NUL follows */
};

enum managesieve_state {
	MANAGESIEVE_BETWEEN, /* what begins a token, a blank, or the end */
	MANAGESIEVE_AFTER,   /* a string: no other begins without a blank */
	MANAGESIEVE_WORD,
	MANAGESIEVE_QUOTED,
	MANAGESIEVE_ESCAPED,
	MANAGESIEVE_LITERAL_LENGTH,
	MANAGESIEVE_LITERAL_PLUS,
	MANAGESIEVE_LITERAL_CLOSED,
	MANAGESIEVE_LITERAL_RETURN,
	MANAGESIEVE_LITERAL,
	MANAGESIEVE_RETURN,
	MANAGESIEVE_LOST,
};

struct managesieve_reader {
	enum managesieve_side side;
	enum managesieve_state state;
	size_t limit;
	struct buf text;
	struct managesieve_token tokens[MANAGESIEVE_TOKENS_MAX];
	size_t count;
	/* Why this line is none, in words for its sender; NULL: it is one. */
	const char *why;
	bool is_too_large; /* that is why */
	size_t read;       /* bytes of the line so far */
	uint64_t literal;  /* its length, then what is to come of it */
	unsigned digits;
};

enum managesieve_event {
	MANAGESIEVE_MORE, /* all was taken, and the line isn't whole */
	MANAGESIEVE_LINE, /* look at `why`, then at the tokens; then managesieve_next() */
	MANAGESIEVE_END,  /* the connection can't go on: `why` */
};

/* Of lines that `side` sends, whose tokens have at most `limit` bytes together. */
void managesieve_init(struct managesieve_reader *, enum managesieve_side side, size_t limit);
void managesieve_free(struct managesieve_reader *);
/* Takes bytes, up to the end of a line; `*used` says how many. */
enum managesieve_event managesieve_take(
    struct managesieve_reader *, const char *bytes, size_t length, size_t *used);
/* Forgets the line, which may have held a password. */
void managesieve_next(struct managesieve_reader *);

/* A token's bytes, until managesieve_next(); a NUL follows them, and there may be some among them. */
const char *managesieve_text(const struct managesieve_reader *, size_t token);
/* Whether that token is there and a word, of any case. */
bool managesieve_is_word(const struct managesieve_reader *, size_t token, const char *word);
/* Whether that token is there and a string without a NUL. */
bool managesieve_is_text(const struct managesieve_reader *, size_t token);

/* Appends a string as `side` sends it: quoted where that can be, else a literal. */
void managesieve_add_string(
    struct buf *, enum managesieve_side side, const char *bytes, size_t length);

#endif
