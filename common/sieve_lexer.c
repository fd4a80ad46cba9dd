/*
 * The script's bytes from first to last, once. Line ends are LF or CRLF; within strings they become LF, as
 * all text here has it.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/sieve_lexer.h"

static void
fail(struct sieve_lexer *lexer, unsigned line, const char *words)
{
	sieve_fail(lexer->error, line, "%s", words);
	lexer->kind = TOKEN_ERROR;
}

static size_t
left(const struct sieve_lexer *lexer)
{
	return (size_t)(lexer->end - lexer->at);
}

/* Behind white space and comments; false when a comment has no end. */
static bool
skip(struct sieve_lexer *lexer)
{
	unsigned line;

	for (;;) {
		if (lexer->at == lexer->end)
			return true;
		switch (*lexer->at) {
		case '\n':
			lexer->line++;
			lexer->at++;
			break;
		case ' ':
		case '\t':
		case '\r':
			lexer->at++;
			break;
		case '#':
			while (lexer->at < lexer->end && *lexer->at != '\n')
				lexer->at++;
			break;
		case '/':
			if (left(lexer) < 2 || lexer->at[1] != '*')
				return true;
			line = lexer->line;
			lexer->at += 2;
			while (left(lexer) >= 2 && (lexer->at[0] != '*' || lexer->at[1] != '/'))
				lexer->line += *lexer->at++ == '\n';
			if (left(lexer) < 2) {
				fail(lexer, line, "comment without an end");
				return false;
			}
			lexer->at += 2;
			break;
		default:
			return true;
		}
	}
}

/* RFC 5228 2.4.1; they fit into 63 bits. */
static void
take_number(struct sieve_lexer *lexer)
{
	uint64_t number = 0, factor = 1;

	for (; lexer->at < lexer->end && isdigit((unsigned char)*lexer->at); lexer->at++) {
		number = number * 10 + (uint64_t)(*lexer->at - '0');
		if (number > INT64_MAX / 16) {
			fail(lexer, lexer->line, "number too large");
			return;
		}
	}
	if (lexer->at < lexer->end) {
		switch (*lexer->at) {
		case 'k':
		case 'K':
			factor = 1 << 10;
			break;
		case 'm':
		case 'M':
			factor = 1 << 20;
			break;
		case 'g':
		case 'G':
			factor = 1 << 30;
			break;
		default:
			break;
		}
	}
	if (number > INT64_MAX / factor) {
		fail(lexer, lexer->line, "number too large");
		return;
	}
	lexer->at += factor > 1;
	if (lexer->at < lexer->end && (isalnum((unsigned char)*lexer->at) || *lexer->at == '_')) {
		fail(lexer, lexer->line, "number with a letter behind it");
		return;
	}
	lexer->number = number * factor;
	lexer->kind = TOKEN_NUMBER;
}

static bool
take_name(struct sieve_lexer *lexer)
{
	size_t length = 0;

	while (
	    lexer->at < lexer->end && (isalnum((unsigned char)*lexer->at) || *lexer->at == '_')) {
		if (length == SIEVE_IDENTIFIER_MAX) {
			fail(lexer, lexer->line, "word too long");
			return false;
		}
		lexer->name[length++] = *lexer->at++;
	}
	lexer->name[length] = '\0';
	return true;
}

/* Room for a string of at most what is left of the script. */
static bool
begin_string(struct sieve_lexer *lexer, size_t most)
{
	lexer->text = sieve_arena_get(lexer->arena, most + 1);
	lexer->length = 0;
	if (lexer->text != NULL)
		return true;
	fail(lexer, lexer->token_line, "script needs too much memory");
	return false;
}

static void
put(struct sieve_lexer *lexer, char byte)
{
	/* CRLF is one LF. */
	if (byte == '\n') {
		lexer->line++;
		if (lexer->length > 0 && lexer->text[lexer->length - 1] == '\r')
			lexer->length--;
	}
	lexer->text[lexer->length++] = byte;
}

static void
take_quoted(struct sieve_lexer *lexer)
{
	const char *end = ++lexer->at;

	while (end < lexer->end && *end != '"')
		end += *end == '\\' ? 2 : 1;
	if (end >= lexer->end) {
		fail(lexer, lexer->token_line, "string without an end");
		return;
	}
	if (!begin_string(lexer, (size_t)(end - lexer->at)))
		return;
	for (; lexer->at < end; lexer->at++) {
		if (*lexer->at == '\\')
			lexer->at++;
		put(lexer, *lexer->at);
	}
	lexer->at++;
	lexer->kind = TOKEN_STRING;
}

/* A line with nothing but a dot, at or behind `at`; NULL when there is none. */
static const char *
find_dot(const char *at, const char *end)
{
	while (at < end) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));
		size_t length;

		if (line_end == NULL)
			line_end = end;
		length = (size_t)(line_end - at);
		if (length > 0 && at[length - 1] == '\r')
			length--;
		if (length == 1 && *at == '.')
			return at;
		at = line_end + 1;
	}
	return NULL;
}

/* Behind "text:" (RFC 5228 2.4.2). */
static void
take_text(struct sieve_lexer *lexer)
{
	bool line_begins = true;
	const char *end;

	while (lexer->at < lexer->end && strchr(" \t\r", *lexer->at) != NULL)
		lexer->at++;
	if (lexer->at < lexer->end && *lexer->at == '#') {
		while (lexer->at < lexer->end && *lexer->at != '\n')
			lexer->at++;
	}
	if (lexer->at == lexer->end || *lexer->at != '\n') {
		fail(lexer, lexer->token_line, "\"text:\" with something behind it in its line");
		return;
	}
	lexer->at++;
	lexer->line++;
	end = find_dot(lexer->at, lexer->end);
	if (end == NULL) {
		fail(lexer, lexer->token_line, "\"text:\" without a line \".\" at its end");
		return;
	}
	if (!begin_string(lexer, (size_t)(end - lexer->at)))
		return;
	for (; lexer->at < end; lexer->at++) {
		if (line_begins && *lexer->at == '.' && lexer->at + 1 < end &&
		    lexer->at[1] == '.') {
			line_begins = false;
			continue;
		}
		line_begins = *lexer->at == '\n';
		put(lexer, *lexer->at);
	}
	lexer->at++;
	lexer->kind = TOKEN_STRING;
}

void
sieve_lexer_next(struct sieve_lexer *lexer)
{
	/* An error is where the script ends. */
	if (lexer->kind == TOKEN_ERROR || !skip(lexer))
		return;
	lexer->token_line = lexer->line;
	if (lexer->at == lexer->end) {
		lexer->kind = TOKEN_END;
	} else if (isdigit((unsigned char)*lexer->at)) {
		take_number(lexer);
	} else if (isalpha((unsigned char)*lexer->at) || *lexer->at == '_') {
		if (!take_name(lexer))
			return;
		lexer->kind = TOKEN_IDENTIFIER;
		if (strcasecmp(lexer->name, "text") == 0 && lexer->at < lexer->end &&
		    *lexer->at == ':') {
			lexer->at++;
			take_text(lexer);
		}
	} else if (*lexer->at == ':') {
		lexer->at++;
		if (!take_name(lexer))
			return;
		lexer->kind = TOKEN_TAG;
		if (lexer->name[0] == '\0' || isdigit((unsigned char)lexer->name[0]))
			fail(lexer, lexer->line, "\":\" without a word behind it");
	} else if (*lexer->at == '"') {
		take_quoted(lexer);
	} else if (strchr("(){}[],;", *lexer->at) != NULL && *lexer->at != '\0') {
		lexer->mark = *lexer->at++;
		lexer->kind = TOKEN_MARK;
	} else if (isgraph((unsigned char)*lexer->at)) {
		sieve_fail(lexer->error, lexer->line, "unexpected \"%c\"", *lexer->at);
		lexer->kind = TOKEN_ERROR;
	} else {
		sieve_fail(
		    lexer->error, lexer->line, "unexpected byte %d", (unsigned char)*lexer->at);
		lexer->kind = TOKEN_ERROR;
	}
}

void
sieve_lexer_init(struct sieve_lexer *lexer, const char *text, size_t length,
    struct sieve_arena *arena, struct sieve_error *error)
{
	memset(lexer, 0, sizeof(*lexer));
	lexer->at = text;
	lexer->end = text + length;
	lexer->line = 1;
	lexer->arena = arena;
	lexer->error = error;
	/* A mark of order that editors put at the beginning. */
	if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		lexer->at += 3;
	sieve_lexer_next(lexer);
}

void
sieve_lexer_describe(const struct sieve_lexer *lexer, char *words, size_t size)
{
	switch (lexer->kind) {
	case TOKEN_END:
	case TOKEN_ERROR:
		snprintf(words, size, "the end");
		break;
	case TOKEN_IDENTIFIER:
		snprintf(words, size, "\"%s\"", lexer->name);
		break;
	case TOKEN_TAG:
		snprintf(words, size, "\":%s\"", lexer->name);
		break;
	case TOKEN_NUMBER:
		snprintf(words, size, "a number");
		break;
	case TOKEN_STRING:
		snprintf(words, size, "a string");
		break;
	case TOKEN_MARK:
		snprintf(words, size, "\"%c\"", lexer->mark);
		break;
	}
}
