/*
 * What is allowed and hardly meant: told when a script is stored or checked (RFC 5804 1.3, WARNINGS).
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/sieve_run.h"

/* A line more, as long as whole ones fit. */
static void __attribute__((format(printf, 3, 4)))
warn(struct sieve *sieve, unsigned line, const char *format, ...)
{
	size_t used = strlen(sieve->warnings);
	char words[SIEVE_ERROR_MAX];
	va_list arguments;
	int length;

	va_start(arguments, format);
	vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	/* What it quotes of the script may have been cut. */
	sieve_mend_utf8(words);
	length = snprintf(sieve->warnings + used, sizeof(sieve->warnings) - used, "%sline %u: %s",
	    used == 0 ? "" : "\n", line, words);
	if (length < 0 || (size_t)length >= sizeof(sieve->warnings) - used)
		sieve->warnings[used] = '\0';
}

/* Letters that elsewhere stand for more than themselves, as "\d" does. */
static void
warn_of_regex(struct sieve *sieve, const struct sieve_node *node, const char *text)
{
	for (const char *at = text; (at = strchr(at, '\\')) != NULL && at[1] != '\0'; at += 2) {
		if (isalpha((unsigned char)at[1]) && strchr("wWsSbB", at[1]) == NULL) {
			warn(sieve, node->line,
			    "\"\\%c\" of a regular expression stands for \"%c\" alone", at[1],
			    at[1]);
			return;
		}
	}
}

static void
warn_of_flags(struct sieve *sieve, const struct sieve_node *node, const char *text)
{
	while (*text != '\0') {
		size_t length = strcspn(text, " \t\r\n");

		if (length > 0 && !sieve_is_flag(text, length))
			warn(sieve, node->line, "\"%.*s\" is no flag that can be set",
			    (int)(length < 60 ? length : 60), text);
		text += length;
		text += strspn(text, " \t\r\n");
	}
}

static void
warn_of_each(struct sieve *sieve, const struct sieve_node *node, const struct sieve_argument *texts,
    void (*look)(struct sieve *, const struct sieve_node *, const char *text))
{
	const struct sieve_string *string = texts == NULL ? NULL : texts->strings;

	for (; string != NULL; string = string->next) {
		if (!string->has_variables)
			look(sieve, node, string->text);
	}
}

void
sieve_warn_of_node(struct sieve *sieve, const struct sieve_node *node)
{
	const struct sieve_argument *seconds = node->values[SLOT_SECONDS];
	uint32_t used;

	if (node->tags[SLOT_MATCH] == TAG_REGEX && node->position_count > 0)
		warn_of_each(sieve, node, node->positions[node->position_count - 1], warn_of_regex);
	if (node->tags[SLOT_FLAGS] != TAG_NONE)
		warn_of_each(sieve, node, node->values[SLOT_FLAGS], warn_of_flags);
	if (node->verb == VERB_ADDFLAG || node->verb == VERB_SETFLAG)
		warn_of_each(sieve, node, node->positions[1], warn_of_flags);
	if (node->verb != VERB_VACATION || seconds == NULL)
		return;
	used = sieve_vacation_seconds(node);
	if (node->tags[SLOT_SECONDS] == TAG_DAYS && seconds->number != used / (24 * 3600))
		warn(sieve, node->line, "\":days\" is taken as %u", used / (24 * 3600));
	else if (node->tags[SLOT_SECONDS] == TAG_SECONDS && seconds->number != used)
		warn(sieve, node->line, "\":seconds\" is taken as %u", used);
}

void
sieve_warn_unreached(struct sieve *sieve, const struct sieve_node *node)
{
	warn(sieve, node->line, "what is behind \"stop\" is never reached");
}
