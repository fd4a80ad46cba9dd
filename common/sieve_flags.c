/*
 * Flags of messages (RFC 5232): variables, or the one that has no name, hold them with spaces between.
 */
#include <string.h>
#include <strings.h>

#include "common/sieve_run.h"

/* A system flag that may be set, or a keyword: an atom (RFC 9051 9). */
bool
sieve_is_flag(const char *text, size_t length)
{
	static const char *const system[] = { "\\Seen", "\\Answered", "\\Flagged", "\\Deleted",
		"\\Draft" };

	if (length > 0 && text[0] == '\\') {
		for (size_t i = 0; i < sizeof(system) / sizeof(system[0]); i++) {
			if (strlen(system[i]) == length &&
			    strncasecmp(system[i], text, length) == 0)
				return true;
		}
		return false;
	}
	for (size_t i = 0; i < length; i++) {
		if (text[i] <= 0x20 || text[i] >= 0x7f || strchr("(){%*\"\\]", text[i]) != NULL)
			return false;
	}
	return length > 0;
}

/* Where the flag is in the list, or NULL. */
static char *
find_flag(char *list, const char *flag, size_t length)
{
	for (char *at = list; *at != '\0';) {
		size_t word = strcspn(at, " ");

		if (word == length && strncasecmp(at, flag, length) == 0)
			return at;
		at += word + (at[word] == ' ');
	}
	return NULL;
}

static void
remove_flag(char *list, const char *flag, size_t length)
{
	char *at = find_flag(list, flag, length), *behind;

	if (at == NULL)
		return;
	behind = at + length + (at[length] == ' ');
	memmove(at, behind, strlen(behind) + 1);
	length = strlen(list);
	if (length > 0 && list[length - 1] == ' ')
		list[length - 1] = '\0';
}

/* Adds or removes the flags that the text holds; what is no flag is passed over (RFC 5232 2), and so
 * is what has no room. */
static void
change(struct sieve_run *run, char list[SIEVE_FLAGS_MAX], const char *text, bool add)
{
	while (*text != '\0') {
		size_t length = strcspn(text, " \t\r\n"), used = strlen(list);

		if (!sieve_spend(run, used / 4 + 1))
			return;
		if (!add)
			remove_flag(list, text, length);
		else if (sieve_is_flag(text, length) && find_flag(list, text, length) == NULL &&
		    used + length + 2 <= SIEVE_FLAGS_MAX) {
			if (used > 0)
				list[used++] = ' ';
			memcpy(list + used, text, length);
			list[used + length] = '\0';
		}
		text += length;
		text += strspn(text, " \t\r\n");
	}
}

static void
change_all(
    struct sieve_run *run, char list[SIEVE_FLAGS_MAX], const struct sieve_argument *flags, bool add)
{
	char **texts = sieve_expand_all(run, flags);

	for (size_t i = 0; texts != NULL && texts[i] != NULL; i++)
		change(run, list, texts[i], add);
}

static const char *
flags_before(const struct sieve_run *run, const char *name)
{
	if (name != NULL)
		return sieve_get_variable(run, name);
	return run->flags != NULL ? run->flags : "";
}

void
sieve_do_flags(struct sieve_run *run, const struct sieve_node *node)
{
	const char *name = node->positions[0] != NULL ? node->positions[0]->strings->text : NULL;
	char list[SIEVE_FLAGS_MAX] = "";

	if (node->verb != VERB_SETFLAG)
		change(run, list, flags_before(run, name), true);
	change_all(run, list, node->positions[1], node->verb != VERB_REMOVEFLAG);
	if (run->has_failed)
		return;
	if (name != NULL)
		sieve_set_variable(run, node->line, name, list);
	else
		run->flags = sieve_run_copy(run, list, strlen(list));
}

char *
sieve_flags_of(struct sieve_run *run, const struct sieve_node *node)
{
	char list[SIEVE_FLAGS_MAX] = "";

	if (node != NULL && node->tags[SLOT_FLAGS] != TAG_NONE)
		change_all(run, list, node->values[SLOT_FLAGS], true);
	else
		change(run, list, flags_before(run, NULL), true);
	return run->has_failed ? NULL : sieve_run_copy(run, list, strlen(list));
}

/* Each flag is a value of its own (RFC 5232 4). False: enough. */
static bool
match_flags(struct sieve_matcher *matcher, const char *flags)
{
	char list[SIEVE_FLAGS_MAX] = "";

	change(matcher->run, list, flags, true);
	for (const char *at = list; *at != '\0';) {
		size_t length = strcspn(at, " ");

		if (!sieve_match_value(matcher, at, length))
			return false;
		at += length + (at[length] == ' ');
	}
	return true;
}

/* A key may hold several flags, of which one is enough. */
static struct sieve_argument *
split_keys(struct sieve_run *run, const struct sieve_argument *keys)
{
	struct sieve_argument *split = sieve_run_get(run, sizeof(*split));
	char **texts = sieve_expand_all(run, keys);
	struct sieve_string **last;

	if (split == NULL || texts == NULL)
		return NULL;
	last = &split->strings;
	for (size_t i = 0; texts[i] != NULL; i++) {
		const char *at = texts[i];

		do {
			size_t length = strcspn(at, " ");
			struct sieve_string *string = sieve_run_get(run, sizeof(*string));

			if (string == NULL || !sieve_spend(run, 4))
				return NULL;
			string->text = sieve_run_copy(run, at, length);
			if (string->text == NULL)
				return NULL;
			string->length = length;
			*last = string;
			last = &string->next;
			split->count++;
			at += length;
			at += strspn(at, " ");
		} while (*at != '\0');
	}
	return split;
}

bool
sieve_test_hasflag(struct sieve_run *run, const struct sieve_node *node)
{
	const struct sieve_argument *keys = node->positions[1];
	const struct sieve_string *name;
	struct sieve_matcher matcher;

	if (node->tags[SLOT_MATCH] == TAG_NONE || node->tags[SLOT_MATCH] == TAG_IS ||
	    node->tags[SLOT_MATCH] == TAG_CONTAINS)
		keys = split_keys(run, keys);
	if (keys == NULL || !sieve_match_begin(&matcher, run, node, keys))
		return false;
	if (node->positions[0] == NULL)
		(void)match_flags(&matcher, flags_before(run, NULL));
	for (name = node->positions[0] == NULL ? NULL : node->positions[0]->strings; name != NULL;
	     name = name->next) {
		if (!match_flags(&matcher, sieve_get_variable(run, name->text)))
			break;
	}
	return sieve_match_end(&matcher);
}
