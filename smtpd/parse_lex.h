/*
 * Words, macros and included files of smtpd.conf, for parse.y alone; and how all of the parser
 * reports problems. Nothing here knows a keyword.
 */
#ifndef SMTPD_PARSE_LEX_H
#define SMTPD_PARSE_LEX_H

#include <stdbool.h>
#include <stddef.h>

#include "smtpd/parse.h"

/* A longer word or line of the file is an error. */
#define LEX_WORD_MAX 4096
#define LEX_LINE_MAX 65536

struct place {
	const char *file; /* the lexer's, valid as long as it */
	unsigned line;    /* 0: of no line */
};

struct problems {
	parse_report_fn report;
	void *arg;
	unsigned errors;
};

/* Reports "FILE:LINE: words". After a hundred errors nothing more is written. */
void problem_error(struct problems *, struct place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void problem_warning(struct problems *, struct place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Enough was reported: the parse may stop. */
bool problem_too_many(const struct problems *);

enum lex_kind {
	LEX_END,     /* of all files */
	LEX_NEWLINE, /* also before the end of each file */
	LEX_WORD,    /* unquoted: may be a keyword */
	LEX_STRING,  /* quoted */
	LEX_MARK,    /* one of { } < > ! = , */
	LEX_ARROW,   /* => */
	LEX_BAD,     /* not a word; reported */
};

struct lexer;
struct lexer *lexer_new(struct problems *);
void lexer_free(struct lexer *);
/* The name of the file that includes the others; "" before it is open. */
const char *lexer_main_name(const struct lexer *);

/* Starts reading a file (checked: a regular one, not writable by everybody), or a text. False when
 * that can't be (reported). */
bool lexer_open_file(struct lexer *, const char *path);
bool lexer_open_text(struct lexer *, const char *name, const char *text, size_t length);

/* The next word. `*text` is newly allocated for LEX_WORD and LEX_STRING and the caller's, else
 * NULL; a LEX_MARK is `*mark`. */
enum lex_kind lexer_next(struct lexer *, char **text, char *mark, struct place *);

/* From the end of the line being read on, reads the file at `path` (relative: to the folder of the
 * file at `place`) and then goes on. False when that can't be (reported). */
bool lexer_include(struct lexer *, struct place, const char *path);

/* Makes $name stand for `value`. False when it can't (reported). */
bool lexer_define(struct lexer *, struct place, const char *name, const char *value);
/* Warns of macros that were never used. */
void lexer_warn_unused(struct lexer *);

#endif
