/*
 * Variables (RFC 5229). Values are kept as they were set, at most SIEVE_STRING_MAX bytes each and
 * SIEVE_VARIABLES_MEMORY together; what would be longer is cut at a character (RFC 5229 6).
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/sieve_run.h"

const char *
sieve_get_variable(const struct sieve_run *run, const char *name)
{
	for (size_t i = 0; i < run->variable_count; i++) {
		if (strcasecmp(run->variables[i].name, name) == 0)
			return run->variables[i].value;
	}
	return "";
}

void
sieve_set_variable(struct sieve_run *run, unsigned line, const char *name, const char *value)
{
	struct sieve_variable *variable = NULL;
	size_t total = strlen(value);
	char *copy;

	for (size_t i = 0; i < run->variable_count; i++) {
		if (strcasecmp(run->variables[i].name, name) == 0)
			variable = &run->variables[i];
		else
			total += strlen(run->variables[i].value);
	}
	if (total > SIEVE_VARIABLES_MEMORY ||
	    (variable == NULL && run->variable_count == SIEVE_VARIABLES_MAX)) {
		sieve_run_fail(run, line, "too many variables");
		return;
	}
	copy = sieve_run_copy(run, value, strlen(value));
	if (copy == NULL)
		return;
	if (variable == NULL) {
		variable = &run->variables[run->variable_count++];
		snprintf(variable->name, sizeof(variable->name), "%s", name);
	}
	variable->value = copy;
}

static const char *
value_of(const struct sieve_run *run, enum sieve_reference kind, const char *name, unsigned number)
{
	if (kind == REFERENCE_NAMED)
		return sieve_get_variable(run, name);
	return run->matches[number] != NULL ? run->matches[number] : "";
}

/* Writes the text with its variables to `to`, and no more than `most` bytes; gives how many it has. */
static size_t
expand(const struct sieve_run *run, const struct sieve_string *string, char *to, size_t most)
{
	const char *at = string->text, *end = at + string->length;
	size_t length = 0;

	while (at < end && length < most) {
		char name[SIEVE_IDENTIFIER_MAX + 1];
		enum sieve_reference kind = REFERENCE_NONE;
		const char *after, *value;
		unsigned number = 0;
		size_t take;

		if (at[0] == '$' && at + 1 < end && at[1] == '{')
			kind = sieve_read_reference(at, end, &after, name, &number);
		if (kind != REFERENCE_NAMED && kind != REFERENCE_MATCH) {
			to[length++] = *at++;
			continue;
		}
		value = value_of(run, kind, name, number);
		take = strlen(value);
		if (take > most - length)
			take = most - length;
		memcpy(to + length, value, take);
		length += take;
		at = after;
	}
	return length;
}

char *
sieve_expand(struct sieve_run *run, const struct sieve_string *string)
{
	/* One byte more than fits tells where a character is cut. */
	char text[SIEVE_STRING_MAX + 2];
	size_t length;

	if (!string->has_variables)
		return sieve_spend(run, 1) ? string->text : NULL;
	length = expand(run, string, text, SIEVE_STRING_MAX + 1);
	text[length] = '\0';
	length = sieve_cut(text, length, SIEVE_STRING_MAX);
	return sieve_spend(run, length + 1) ? sieve_run_copy(run, text, length) : NULL;
}

char *
sieve_expand_first(struct sieve_run *run, const struct sieve_argument *argument)
{
	return sieve_expand(run, argument->strings);
}

char **
sieve_expand_all(struct sieve_run *run, const struct sieve_argument *argument)
{
	char **texts = sieve_run_get(run, (argument->count + 1) * sizeof(char *));
	size_t i = 0;

	for (const struct sieve_string *string = argument->strings; texts != NULL && string != NULL;
	     string = string->next) {
		texts[i] = sieve_expand(run, string);
		if (texts[i++] == NULL)
			return NULL;
	}
	return texts;
}

/* --- set --- */

static void
change_case(char *text, enum sieve_tag how)
{
	bool all = how == TAG_LOWER || how == TAG_UPPER;
	bool up = how == TAG_UPPER || how == TAG_UPPERFIRST;

	if (how == TAG_NONE)
		return;
	for (; *text != '\0'; text++) {
		*text = (char)(up ? toupper((unsigned char)*text) : tolower((unsigned char)*text));
		if (!all)
			return;
	}
}

/* Puts a backslash before what would be special. */
static char *
quote(struct sieve_run *run, const char *text, const char *special)
{
	size_t length = strlen(text), used = 0;
	char *quoted = sieve_run_get(run, 2 * length + 1);

	if (quoted == NULL)
		return NULL;
	for (; *text != '\0'; text++) {
		if (strchr(special, *text) != NULL)
			quoted[used++] = '\\';
		quoted[used++] = *text;
	}
	/* Not so that a backslash stands alone at the end. */
	if (used > SIEVE_STRING_MAX) {
		size_t slashes = 0;

		used = sieve_cut(quoted, used, SIEVE_STRING_MAX);
		while (slashes < used && quoted[used - 1 - slashes] == '\\')
			slashes++;
		used -= slashes % 2;
	}
	quoted[used] = '\0';
	return quoted;
}

static size_t
count_characters(const char *text)
{
	size_t count = 0;

	for (; *text != '\0'; text++)
		count += ((unsigned char)*text & 0xc0) != 0x80;
	return count;
}

void
sieve_do_set(struct sieve_run *run, const struct sieve_node *node)
{
	char *value = sieve_expand_first(run, node->positions[1]);
	char number[24];

	if (value == NULL || !sieve_spend(run, strlen(value)))
		return;
	value = sieve_run_copy(run, value, strlen(value));
	if (value == NULL)
		return;
	/* Those of higher precedence first (RFC 5229 4.1). */
	change_case(value, (enum sieve_tag)node->tags[SLOT_CASE]);
	change_case(value, (enum sieve_tag)node->tags[SLOT_FIRST]);
	if (node->tags[SLOT_QUOTE] == TAG_QUOTEWILDCARD)
		value = quote(run, value, "*?\\");
	else if (node->tags[SLOT_QUOTE] == TAG_QUOTEREGEX)
		value = quote(run, value, "\\.[]()*+?{}^$|");
	if (value == NULL)
		return;
	if (node->tags[SLOT_LENGTH] == TAG_LENGTH) {
		snprintf(number, sizeof(number), "%zu", count_characters(value));
		value = number;
	}
	sieve_set_variable(run, node->line, node->positions[0]->strings->text, value);
}
