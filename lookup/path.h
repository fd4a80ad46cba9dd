/*
 * Paths of mailboxes, from the templates of `action NAME maildir "PATH"`.
 *
 * A template is text with %{dest.user}, %{dest.domain}, %{dest}, the same of rcpt, %{user.username}
 * and %{user.directory}, each with an optional substring [n] or [first:last] (negative: from the
 * end, inclusive) and modifiers after a colon, separated by "|": lowercase, uppercase, strip (the
 * "+detail"), raw. A leading "~" is the user's directory, a relative path is below it, "%%" is "%".
 */
#ifndef LOOKUP_PATH_H
#define LOOKUP_PATH_H

#include <stdbool.h>
#include <stddef.h>

struct path_values {
	const char *dest_user;
	const char *dest_domain;
	const char *user_name;
	const char *user_directory;
	const char *delimiters; /* for "strip" */
};

/*
 * Writes the path that `format` and `values` make. Whatever the values hold, each stays inside the
 * component of the path in which it stands: "/" and control bytes become ":", as do the bytes that
 * OpenSMTPD replaces (unless "raw"), and a value can't make a component "." or "..", nor an empty
 * one. The result is absolute and has no such component. False, with the reason in `*why`, when
 * the template is wrong, doesn't fit its values, or the path is too long.
 */
bool path_expand(const char *format, const struct path_values *values, char *path, size_t size,
    const char **why);

#endif
