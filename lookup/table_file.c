/*
 * A table file is read in one go and then taken apart in memory. It is opened without waiting (a
 * FIFO is refused, not waited for), and its size is looked at again after reading, so that a file
 * being written at that moment isn't taken for whole.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "lookup/table_file.h"

#define ERRORS_LOGGED_MAX 10

struct parser {
	const char *name;
	unsigned use;
	unsigned errors;
	unsigned warnings;
	table_entry_fn each;
	void *arg;
};

struct loading {
	const char *name;
	struct table_map *map;
	bool is_full;
};

static void
state_of(const struct stat *st, struct file_state *state)
{
	memset(state, 0, sizeof(*state));
	state->device = st->st_dev;
	state->inode = st->st_ino;
	state->size = st->st_size;
	state->changed_ns = st->st_ctim.tv_sec * INT64_C(1000000000) + st->st_ctim.tv_nsec;
	state->modified_ns = st->st_mtim.tv_sec * INT64_C(1000000000) + st->st_mtim.tv_nsec;
}

void
file_state_read(const char *path, struct file_state *state)
{
	struct stat st;

	memset(state, 0, sizeof(*state));
	if (stat(path, &st) == 0)
		state_of(&st, state);
}

bool
file_state_equal(const struct file_state *a, const struct file_state *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	    a->changed_ns == b->changed_ns && a->modified_ns == b->modified_ns;
}

static void
report(struct parser *parser, size_t line, const char *why)
{
	if (parser->errors++ < ERRORS_LOGGED_MAX)
		log_error("%s:%zu: %s", parser->name, line, why);
}

/* What will be dead when mail comes for it is told beforehand. */
static void
check_targets(struct parser *parser, size_t line, const char *key, const char *list)
{
	struct target target;

	while (target_next(&list, &target)) {
		if (target.kind != TARGET_INVALID && target.kind != TARGET_FILE)
			continue;
		if (parser->warnings++ < ERRORS_LOGGED_MAX)
			log_warning("%s:%zu: \"%s\" of \"%s\" %s: no mail goes there", parser->name,
			    line, target.text, key,
			    target.kind == TARGET_FILE ? "is a file" : "is not a target");
	}
}

static void
add_entry(struct parser *parser, size_t line, const char *key, const char *value)
{
	struct table_user user;

	if ((parser->use & TABLE_USE_USERBASE) != 0 && !table_user_parse(value, &user)) {
		report(parser, line, "the value must be UID:GID:/HOME");
		return;
	}
	if ((parser->use & TABLE_USE_TARGETS) != 0 && *value == '\0') {
		report(parser, line, "no value behind the key");
		return;
	}
	if ((parser->use & TABLE_USE_TARGETS) != 0)
		check_targets(parser, line, key, value);
	parser->each(parser->arg, line, key, value);
}

static void
load_entry(void *arg, size_t line, const char *key, const char *value)
{
	struct loading *loading = arg;

	switch (table_map_add(loading->map, key, value)) {
	case TABLE_MAP_ADDED:
		break;
	case TABLE_MAP_DUPLICATE:
		log_warning("%s:%zu: the key \"%s\" is there already; its first line counts",
		    loading->name, line, key);
		break;
	case TABLE_MAP_FULL:
		if (!loading->is_full)
			log_error("%s:%zu: the table is too large", loading->name, line);
		loading->is_full = true;
		break;
	}
}

/*
 * The line that continues the one from `line` to `newline`, or NULL. It starts with a blank, and what
 * comes before it ends in a comma; among targets, that may be a key's colon, or the comma may stand in
 * front of what continues, as sendmail's aliases have it. Comments between the two don't count, nor empty
 * lines after a comma. `*lines` is how many lines it is away.
 */
static char *
find_continuation(char *line, char *newline, char *end, unsigned use, size_t *lines)
{
	bool targets = (use & TABLE_USE_TARGETS) != 0, goes_on;
	char *last = newline, *next = newline + 1, *first;

	line += strspn(line, " \t\r");
	while (last > line && strchr(" \t\r", last[-1]) != NULL)
		last--;
	if (last <= line)
		return NULL;
	*lines = 1;
	/* An entry that was made a comment takes its second line along. */
	if (*line == '#')
		return last[-1] == ',' && next != end && (*next == ' ' || *next == '\t') ? next
		                                                                         : NULL;
	goes_on = last[-1] == ',' || (targets && last[-1] == ':');
	if (!goes_on && !targets)
		return NULL;
	for (;; (*lines)++) {
		first = next + strspn(next, " \t");
		if (*first != '#' && (!goes_on || (*first != '\r' && *first != '\n')))
			break;
		next = memchr(first, '\n', (size_t)(end - first));
		if (next == NULL)
			return NULL;
		next++;
	}
	if (next == end || first == next || strchr("\r\n", *first) != NULL)
		return NULL;
	return goes_on || (targets && *first == ',') ? next : NULL;
}

/* Joins the lines that continue this one; what is between them becomes blanks. Returns the start of the
 * next line. */
static char *
take_line(char *at, char *end, unsigned use, size_t *lines)
{
	char *newline, *next;
	size_t away;

	for (*lines = 1; (newline = memchr(at, '\n', (size_t)(end - at))) != NULL; *lines += away) {
		next = find_continuation(at, newline, end, use, &away);
		if (next == NULL) {
			*newline = '\0';
			return newline + 1;
		}
		if (newline > at && newline[-1] == '\r')
			newline--;
		memset(newline, ' ', (size_t)(next - newline));
		at = next;
	}
	return end;
}

bool
table_text_each(
    const char *name, char *text, size_t length, unsigned use, table_entry_fn each, void *arg)
{
	struct parser parser = { .name = name, .use = use, .each = each, .arg = arg };
	char *at = text, *end = text + length, *key, *value;
	size_t line = 1, lines;
	const char *why;

	if (memchr(text, '\0', length) != NULL) {
		log_error("%s: the file holds a NUL byte", name);
		return false;
	}
	for (; at < end; line += lines) {
		char *next = take_line(at, end, use, &lines);

		if ((size_t)(next - at) > TABLE_LINE_MAX)
			report(&parser, line, "the line is longer than 8 MiB");
		else {
			switch (table_line_parse(at, &key, &value, &why)) {
			case TABLE_LINE_EMPTY:
				break;
			case TABLE_LINE_ENTRY:
				add_entry(&parser, line, key, value);
				break;
			case TABLE_LINE_BAD:
				report(&parser, line, why);
				break;
			}
		}
		at = next;
	}
	if (parser.warnings > ERRORS_LOGGED_MAX)
		log_warning("%s: %u more targets to which no mail goes", name,
		    parser.warnings - ERRORS_LOGGED_MAX);
	if (parser.errors > 0)
		log_error("%s: not used, because of %u mistake%s", name, parser.errors,
		    parser.errors == 1 ? "" : "s");
	return parser.errors == 0;
}

struct table_map *
table_text_load(const char *name, char *text, size_t length, unsigned use)
{
	struct loading loading = { .name = name, .map = table_map_new() };

	if (loading.map == NULL) {
		log_error("%s: out of memory", name);
		return NULL;
	}
	if (table_text_each(name, text, length, use, load_entry, &loading) && !loading.is_full)
		return loading.map;
	table_map_free(loading.map);
	return NULL;
}

/* The bytes of the file, terminated; NULL after logging why not. */
static char *
read_whole(int fd, const char *path, size_t *length, struct file_state *state)
{
	struct file_state after;
	struct stat st;
	size_t got = 0;
	char *text;

	if (fstat(fd, &st) == -1) {
		log_error("%s: %s", path, strerror(errno));
		return NULL;
	}
	if (!S_ISREG(st.st_mode) || (size_t)st.st_size > TABLE_FILE_MAX) {
		log_error("%s: %s", path,
		    S_ISREG(st.st_mode) ? "larger than 512 MiB" : "not a regular file");
		return NULL;
	}
	state_of(&st, state);
	*length = (size_t)st.st_size;
	text = malloc(*length + 1);
	if (text == NULL) {
		log_error("%s: out of memory", path);
		return NULL;
	}
	while (got < *length) {
		ssize_t n = read(fd, text + got, *length - got);

		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0) {
			log_error("%s: %s", path, n == 0 ? "cut short meanwhile" : strerror(errno));
			free(text);
			return NULL;
		}
		got += (size_t)n;
	}
	text[*length] = '\0';
	if (fstat(fd, &st) == 0) {
		state_of(&st, &after);
		if (file_state_equal(state, &after))
			return text;
	}
	log_error("%s: changed while it was read", path);
	free(text);
	return NULL;
}

char *
table_file_read(const char *path, size_t *length, struct file_state *state)
{
	char *text;
	int fd;

	memset(state, 0, sizeof(*state));
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd == -1) {
		int error = errno;
		const struct passwd *user = error == EACCES ? getpwuid(geteuid()) : NULL;

		log_error("%s: %s%s%s%s", path, strerror(error), user == NULL ? "" : ": the user ",
		    user == NULL ? "" : user->pw_name,
		    user == NULL ? "" : " must be able to read it");
		return NULL;
	}
	text = read_whole(fd, path, length, state);
	close(fd);
	return text;
}

struct table_map *
table_file_load(const char *path, unsigned use, struct file_state *state)
{
	struct table_map *map;
	size_t length;
	char *text = table_file_read(path, &length, state);

	if (text == NULL)
		return NULL;
	map = table_text_load(path, text, length, use);
	free(text);
	return map;
}

/* Cuts a line out of the text at `at`, without the blanks around it; `*next` is behind it. */
static char *
take_expression(char *at, char *end, char **next)
{
	char *newline = memchr(at, '\n', (size_t)(end - at)), *last;

	*next = newline == NULL ? end : newline + 1;
	for (last = newline == NULL ? end : newline; last > at && strchr(" \t\r", last[-1]) != NULL;
	     last--)
		;
	*last = '\0';
	return at + strspn(at, " \t");
}

struct table_regex *
table_text_load_regex(const char *name, char *text, size_t length)
{
	struct table_regex *regex = table_regex_new();
	struct parser parser = { .name = name };
	char why[128], *at, *next, *end = text + length;
	size_t line = 1;

	if (regex == NULL || memchr(text, '\0', length) != NULL) {
		log_error(
		    "%s: %s", name, regex == NULL ? "out of memory" : "the file holds a NUL byte");
		table_regex_free(regex);
		return NULL;
	}
	for (at = text; at < end; at = next, line++) {
		const char *expression = take_expression(at, end, &next);

		if (*expression != '\0' && *expression != '#' &&
		    !table_regex_add(regex, expression, why, sizeof(why)))
			report(&parser, line, why);
	}
	if (parser.errors == 0)
		return regex;
	log_error("%s: not used, because of %u mistake%s", name, parser.errors,
	    parser.errors == 1 ? "" : "s");
	table_regex_free(regex);
	return NULL;
}

struct table_regex *
table_file_load_regex(const char *path, struct file_state *state)
{
	struct table_regex *regex;
	size_t length;
	char *text = table_file_read(path, &length, state);

	if (text == NULL)
		return NULL;
	regex = table_text_load_regex(path, text, length);
	free(text);
	return regex;
}
