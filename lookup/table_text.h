/*
 * The text of tables: lines of table and alias files, keys in the form they are compared in, lists
 * of targets, userbase values, network addresses.
 */
#ifndef LOOKUP_TABLE_TEXT_H
#define LOOKUP_TABLE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"
#include "common/envelope.h"

#define TABLE_KEY_MAX 512

enum table_line {
	TABLE_LINE_EMPTY, /* nothing but blanks or a comment */
	TABLE_LINE_ENTRY,
	TABLE_LINE_BAD,
};

/*
 * Takes the line (terminated, without its line end) apart in place. `*key` is unquoted; `*value` is
 * as written, without blanks around it, "" when there is none. TABLE_LINE_BAD gives the reason in
 * `*why`.
 */
enum table_line table_line_parse(char *line, char **key, char **value, const char **why);

/*
 * A key in the form in which keys are compared: ASCII letters in lower case; the domain after the
 * last "@" as A-labels; an IP address or network as "192.0.2.0/24". False when it doesn't fit.
 */
bool table_key_normalise(const char *text, char *key, size_t size);
/* The same for a key known to be a domain, which may start with "*.": A-labels where it is one. */
bool table_domain_normalise(const char *text, char *key, size_t size);

/* An IP address or network: "192.0.2.1", "192.0.2.0/24", "2001:db8::/32", "[::1]", "IPv6:::1". */
struct netaddr {
	int family; /* AF_INET or AF_INET6 */
	unsigned bits;
	uint8_t address[16]; /* bits behind `bits` are 0 */
};
bool netaddr_parse(const char *text, struct netaddr *);
/* "192.0.2.0/24"; `size` at least 64. */
void netaddr_format(const struct netaddr *, char *text, size_t size);
/* Cuts to `bits`. */
void netaddr_mask(struct netaddr *, unsigned bits);

/* The value of a userbase entry, "UID:GID:/HOME". */
struct table_user {
	uint32_t uid;
	uint32_t gid;
	char home[PATH_TEXT_MAX + 1];
};
bool table_user_parse(const char *text, struct table_user *);

enum target_kind {
	TARGET_USER,    /* `text`: its name in lower case */
	TARGET_ADDRESS, /* `address` */
	TARGET_DOMAIN,  /* "@domain": the same local part there; `text`: the domain */
	TARGET_PIPE,    /* `text`: the command */
	TARGET_ERROR,   /* "error:550 words": refused; `text`: "550 words" */
	TARGET_FILE,    /* "/path": not supported */
	TARGET_INCLUDE, /* ":include:/path": what that file lists; `text`: the path */
	TARGET_INVALID,
};

struct target {
	enum target_kind kind;
	bool direct; /* TARGET_USER, "\\user": the mailbox, whatever aliases and .forward say */
	struct address address;
	char text[PATH_TEXT_MAX +
	    1]; /* of those not supported and invalid: as written, for the log */
};

/*
 * Takes the next target off a list separated by commas; `*at` is moved behind it. False at its end.
 * Targets may stand in double quotes, in which a backslash makes the next byte plain.
 */
bool target_next(const char **at, struct target *);
/* One target, alone; `text` is changed. */
void target_parse(char *text, struct target *);

/*
 * The targets of a file: lists of targets as above, one a line, where a line that starts with "#"
 * is a comment. `text` is changed and must stay.
 */
struct target_lines {
	char *rest;
	const char *line;
};
void target_lines_begin(struct target_lines *, char *text);
bool target_lines_next(struct target_lines *, struct target *);

/* Matches `text` against a pattern with "*" (any bytes) and "?" (any one byte), without regard to
 * case in ASCII. Takes at most length times length steps. */
bool pattern_matches(const char *pattern, const char *text);
bool pattern_is_plain(const char *text);

void text_lower(char *text);

#endif
