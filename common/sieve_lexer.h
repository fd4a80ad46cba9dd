/*
 * Tokens of Sieve (RFC 5228 8.1). Private to common/sieve_*.c.
 */
#ifndef COMMON_SIEVE_LEXER_H
#define COMMON_SIEVE_LEXER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/sieve_script.h"

enum sieve_token_kind {
	TOKEN_END,
	TOKEN_ERROR, /* the error is set */
	TOKEN_IDENTIFIER,
	TOKEN_TAG, /* the name is without its colon */
	TOKEN_NUMBER,
	TOKEN_STRING,
	TOKEN_MARK, /* one of (){}[],; */
};

struct sieve_lexer {
	const char *at;
	const char *end;
	unsigned line;
	struct sieve_arena *arena; /* strings go there */
	struct sieve_error *error;
	/* The token that is next. */
	enum sieve_token_kind kind;
	unsigned token_line;
	char mark;
	char name[SIEVE_IDENTIFIER_MAX + 1];
	uint64_t number;
	char *text; /* in the arena */
	size_t length;
};

/* Begins, with the first token read. The text is borrowed. */
void sieve_lexer_init(struct sieve_lexer *, const char *text, size_t length, struct sieve_arena *,
    struct sieve_error *);
/* Reads the next one. */
void sieve_lexer_next(struct sieve_lexer *);
/* The token for people: `"foo"`, `;`, `the end`. */
void sieve_lexer_describe(const struct sieve_lexer *, char *words, size_t size);

#endif
