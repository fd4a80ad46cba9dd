/*
 * A compiled script as the modules of Sieve see it: the tree of its commands and tests, every part of
 * which lies in the script's arena. Private to common/sieve_*.c.
 *
 * A node is a command or a test: which one, its tagged arguments by slot, its positional arguments,
 * the tests it holds and the block behind it.
 */
#ifndef COMMON_SIEVE_SCRIPT_H
#define COMMON_SIEVE_SCRIPT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/sieve.h"

#define SIEVE_DEPTH_MAX      32 /* of blocks and of tests in tests, together; RFC 5228 2.10.5: 15 */
#define SIEVE_NODES_MAX      8192              /* commands and tests of a script */
#define SIEVE_IDENTIFIER_MAX 64                /* bytes of an identifier and of a variable's name */
#define SIEVE_MEMORY_MAX     (8 * 1024 * 1024) /* of a script, and of a run */

/* Memory that is given back all at once. */
struct sieve_arena {
	struct sieve_chunk *chunks;
	size_t used; /* of all chunks */
	size_t limit;
};
void sieve_arena_init(struct sieve_arena *, size_t limit);
void sieve_arena_free(struct sieve_arena *);
/* Zeroed; NULL when the limit is met or there is no memory. */
void *sieve_arena_get(struct sieve_arena *, size_t size);
/* A copy, with a NUL behind it. */
char *sieve_arena_copy(struct sieve_arena *, const char *text, size_t length);

/* The order is that of sieve_extensions. */
enum sieve_extension {
	EXTENSION_FILEINTO,
	EXTENSION_REJECT,
	EXTENSION_EREJECT,
	EXTENSION_ENVELOPE,
	EXTENSION_ENCODED_CHARACTER,
	EXTENSION_ASCII_NUMERIC,
	EXTENSION_BODY,
	EXTENSION_COPY,
	EXTENSION_VARIABLES,
	EXTENSION_VACATION,
	EXTENSION_VACATION_SECONDS,
	EXTENSION_RELATIONAL,
	EXTENSION_FLAGS,
	EXTENSION_SUBADDRESS,
	EXTENSION_DATE,
	EXTENSION_INDEX,
	EXTENSION_MAILBOX,
	EXTENSION_DUPLICATE,
	EXTENSION_REGEX,
	EXTENSION_ENVIRONMENT,
	EXTENSION_IHAVE,
	EXTENSION_COUNT,
};
#define NEEDS(name) (1u << EXTENSION_##name)

enum sieve_verb {
	VERB_REQUIRE,
	VERB_IF,
	VERB_ELSIF,
	VERB_ELSE,
	VERB_STOP,
	VERB_KEEP,
	VERB_DISCARD,
	VERB_REDIRECT,
	VERB_FILEINTO,
	VERB_REJECT,
	VERB_EREJECT,
	VERB_SET,
	VERB_VACATION,
	VERB_SETFLAG,
	VERB_ADDFLAG,
	VERB_REMOVEFLAG,
	VERB_ERROR,
	/* Tests. */
	VERB_ADDRESS,
	VERB_ALLOF,
	VERB_ANYOF,
	VERB_BODY,
	VERB_CURRENTDATE,
	VERB_DATE,
	VERB_DUPLICATE,
	VERB_ENVELOPE,
	VERB_ENVIRONMENT,
	VERB_EXISTS,
	VERB_FALSE,
	VERB_HASFLAG,
	VERB_HEADER,
	VERB_IHAVE,
	VERB_MAILBOXEXISTS,
	VERB_NOT,
	VERB_SIZE,
	VERB_STRING,
	VERB_TRUE,
	VERB_COUNT,
};

/* Tagged arguments that exclude each other share a slot. */
enum sieve_slot {
	SLOT_MATCH,
	SLOT_COMPARATOR,
	SLOT_PART,
	SLOT_OVER,
	SLOT_COPY,
	SLOT_CREATE,
	SLOT_FLAGS,
	SLOT_CASE,   /* modifiers of "set" by precedence, RFC 5229 4.1: 40 */
	SLOT_FIRST,  /* 30 */
	SLOT_QUOTE,  /* 20 */
	SLOT_LENGTH, /* 10 */
	SLOT_SECONDS,
	SLOT_SUBJECT,
	SLOT_FROM,
	SLOT_ADDRESSES,
	SLOT_MIME,
	SLOT_HANDLE,
	SLOT_BODY,
	SLOT_ZONE,
	SLOT_INDEX,
	SLOT_LAST,
	SLOT_UNIQUE,
	SLOT_COUNT,
};

enum sieve_tag {
	TAG_NONE,
	TAG_IS,
	TAG_CONTAINS,
	TAG_MATCHES,
	TAG_REGEX,
	TAG_COUNT_OF,
	TAG_VALUE,
	TAG_COMPARATOR,
	TAG_ALL,
	TAG_LOCALPART,
	TAG_DOMAIN,
	TAG_USER,
	TAG_DETAIL,
	TAG_OVER,
	TAG_UNDER,
	TAG_COPY,
	TAG_CREATE,
	TAG_FLAGS,
	TAG_LOWER,
	TAG_UPPER,
	TAG_LOWERFIRST,
	TAG_UPPERFIRST,
	TAG_QUOTEWILDCARD,
	TAG_QUOTEREGEX,
	TAG_LENGTH,
	TAG_DAYS,
	TAG_SECONDS,
	TAG_SUBJECT,
	TAG_FROM,
	TAG_ADDRESSES,
	TAG_MIME,
	TAG_HANDLE,
	TAG_RAW,
	TAG_CONTENT,
	TAG_TEXT,
	TAG_ZONE,
	TAG_ORIGINALZONE,
	TAG_INDEX,
	TAG_LAST,
	TAG_HEADER,
	TAG_UNIQUEID,
};

enum sieve_comparator {
	COMPARATOR_CASEMAP, /* the default, RFC 5228 2.7.3 */
	COMPARATOR_OCTET,
	COMPARATOR_NUMERIC,
};

enum sieve_relation {
	RELATION_GT,
	RELATION_GE,
	RELATION_LT,
	RELATION_LE,
	RELATION_EQ,
	RELATION_NE,
	RELATION_COUNT,
};

struct sieve_string {
	struct sieve_string *next;
	char *text; /* valid UTF-8 without NULs, but for what encoded-character has put in */
	size_t length;
	bool has_variables; /* to be expanded when it is used */
};

/* A positional or a tag's argument: a number, or one or more strings. */
struct sieve_argument {
	bool is_number;
	bool is_list; /* was in brackets */
	uint64_t number;
	struct sieve_string *strings;
	size_t count;
};

#define SIEVE_POSITIONS_MAX 3

/* What a test comes to for every message, by the extensions that there are (RFC 5463). */
enum sieve_known {
	KNOWN_NOT,
	KNOWN_FALSE,
	KNOWN_TRUE,
};

struct sieve_node {
	enum sieve_verb verb;
	unsigned line;
	enum sieve_known
	    known; /* tests; and "if" and "elsif": whether all behind it is out of reach */
	enum sieve_comparator comparator;
	uint8_t tags[SLOT_COUNT]; /* enum sieve_tag */
	struct sieve_argument *values[SLOT_COUNT];
	struct sieve_argument *positions[SIEVE_POSITIONS_MAX];
	size_t position_count;
	struct sieve_node *tests; /* the first of them */
	struct sieve_node *block; /* its first command */
	struct sieve_node *next;  /* of the same block, or of the same list of tests */
};

struct sieve {
	struct sieve_arena arena;
	struct sieve_node *commands;
	uint32_t extensions; /* required */
	bool needs_body;
	char warnings[SIEVE_WARNINGS_MAX];
};

/* --- verbs: sieve_verbs.c --- */

enum sieve_tests {
	TESTS_NONE,
	TESTS_ONE,
	TESTS_LIST,
};

struct sieve_verb_rule {
	const char *name;
	uint32_t needs; /* any one of these extensions */
	bool is_test;
	const char
	    *positions; /* of each: "s" a string, "l" strings, "n" a number; "?" before it: may
	                        * be left out when it stands before others */
	uint32_t slots; /* that it knows, by bit */
	enum sieve_tests tests;
	bool has_block;
};
struct sieve_tag_rule {
	const char *name;
	enum sieve_tag tag;
	enum sieve_slot slot;
	char argument;  /* "s", "l", "n", or 0: it takes none */
	uint32_t needs; /* all of these */
};
extern const struct sieve_verb_rule sieve_verbs[VERB_COUNT];
/* Names compare without regard to case. False when there is none. */
bool sieve_find_verb(const char *name, bool is_test, enum sieve_verb *);
const struct sieve_tag_rule *sieve_find_tag(const char *name, uint32_t slots);
/* EXTENSION_COUNT: there is none. */
enum sieve_extension sieve_find_extension(const char *name, size_t length);
/* Writes the extension's name. */
void sieve_extension_name(enum sieve_extension, char *name, size_t size);

/* --- errors --- */

struct sieve_error {
	char *text;
	size_t size;
	bool is_set;
};
/* The first one stays. */
void sieve_fail(struct sieve_error *, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* --- checks: sieve_check.c --- */

/* What the grammar doesn't say of a node: values that must be known, and that go together. */
bool sieve_check_node(struct sieve *, struct sieve_node *, struct sieve_error *);

/* --- warnings: sieve_warn.c --- */

/* Of a node that was found to be good. */
void sieve_warn_of_node(struct sieve *, const struct sieve_node *);
/* Of the first one behind "stop". */
void sieve_warn_unreached(struct sieve *, const struct sieve_node *);

/* --- strings: sieve_string.c --- */

/* Replaces encoded characters (RFC 5228 2.4.2.4) in place; NULL, or words of what is wrong. */
const char *sieve_decode_characters(char *text, size_t *length);
/* What stands at "${": a reference to a variable. */
enum sieve_reference {
	REFERENCE_NONE,  /* no reference: plain text */
	REFERENCE_NAMED, /* name in lower case */
	REFERENCE_MATCH, /* number */
	REFERENCE_BAD,   /* of a namespace that there isn't, or a number too large */
};
enum sieve_reference sieve_read_reference(const char *at, const char *end, const char **after,
    char name[SIEVE_IDENTIFIER_MAX + 1], unsigned *number);
bool sieve_is_identifier(const char *text);
bool sieve_is_utf8(const char *text, size_t length);
/* Has a question mark in place of each byte that belongs to no character. */
void sieve_mend_utf8(char *text);
/* `length` or less, so that no character of the text is cut. */
size_t sieve_cut(const char *text, size_t length, size_t most);

#endif
