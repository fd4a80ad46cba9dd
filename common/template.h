/*
 * The %{...} in paths and commands of smtpd.conf(5): a name, an optional substring [n] or
 * [first:last] (negative: from the end, inclusive), and after a colon modifiers separated by "|":
 * lowercase, uppercase, strip (the "+detail"), raw.
 */
#ifndef COMMON_TEMPLATE_H
#define COMMON_TEMPLATE_H

#include <stdbool.h>

struct template_token {
	char name[32];
	bool has_substring;
	long first;
	long last;
	bool lowercase;
	bool uppercase;
	bool strip;
	bool raw; /* what isn't safe is not replaced; who expands knows what that is */
};

/* The text after "%{"; `*at` is moved behind the "}". False when it isn't one. */
bool template_parse_token(const char **at, struct template_token *);
#define TEMPLATE_MDA "%{mda}"
/* Where the next "%{mda}" of a wrapper begins, or NULL. "%%{mda}" is none. */
const char *template_find_mda(const char *text);
/* Strips, cuts and changes the case of a value in place; false when it hasn't the bytes asked for. */
bool template_apply(const struct template_token *, const char *delimiters, char *value);

#endif
