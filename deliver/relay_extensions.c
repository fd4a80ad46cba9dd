/* Keywords are compared without regard to case; parameters that aren't understood are as if they
 * weren't there. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "deliver/relay_extensions.h"

/* The next word at `*at`; its length, 0 at the end. */
static size_t
next_word(const char **at, const char **word)
{
	*at += strspn(*at, " \t");
	*word = *at;
	*at += strcspn(*at, " \t");
	return (size_t)(*at - *word);
}

static bool
is_word(const char *word, size_t length, const char *what)
{
	return strlen(what) == length && strncasecmp(word, what, length) == 0;
}

/* A decimal number of at most 18 digits; 0 when it is none. */
static uint64_t
number(const char *text, size_t length)
{
	uint64_t value = 0;

	if (length == 0 || length > 18)
		return 0;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return 0;
		value = value * 10 + (uint64_t)(text[i] - '0');
	}
	return value;
}

static void
add_mechanisms(struct extensions *extensions, const char *at)
{
	static const char *const names[AUTH_MECHANISM_COUNT] = {
		[AUTH_SCRAM_SHA_256_PLUS] = "SCRAM-SHA-256-PLUS",
		[AUTH_SCRAM_SHA_256] = "SCRAM-SHA-256",
		[AUTH_PLAIN] = "PLAIN",
		[AUTH_LOGIN] = "LOGIN",
	};
	const char *word;
	size_t length;

	while ((length = next_word(&at, &word)) > 0)
		for (int i = 0; i < AUTH_MECHANISM_COUNT; i++)
			if (is_word(word, length, names[i]))
				extensions->auth[i] = true;
}

static void
add_limits(struct extensions *extensions, const char *at)
{
	const char *word;
	size_t length;
	uint64_t value;

	while ((length = next_word(&at, &word)) > 0) {
		if (length <= 8)
			continue;
		value = number(word + 8, length - 8);
		if (value == 0 || value > UINT32_MAX)
			continue;
		if (strncasecmp(word, "MAILMAX=", 8) == 0)
			extensions->mail_max = (uint32_t)value;
		else if (strncasecmp(word, "RCPTMAX=", 8) == 0)
			extensions->rcpt_max = (uint32_t)value;
	}
}

void
extensions_add_line(struct extensions *extensions, const char *line)
{
	const struct {
		const char *keyword;
		bool *offered;
	} plain[] = {
		{ "PIPELINING", &extensions->pipelining },
		{ "8BITMIME", &extensions->eight_bit },
		{ "SMTPUTF8", &extensions->smtputf8 },
		{ "DSN", &extensions->dsn },
		{ "CHUNKING", &extensions->chunking },
		{ "STARTTLS", &extensions->starttls },
		{ "REQUIRETLS", &extensions->requiretls },
	};
	const char *word, *value;
	size_t length = next_word(&line, &word), value_length;

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (is_word(word, length, plain[i].keyword))
			*plain[i].offered = true;
	if (is_word(word, length, "SIZE")) {
		extensions->size = true;
		value_length = next_word(&line, &value);
		extensions->size_max = number(value, value_length);
	} else if (is_word(word, length, "AUTH")) {
		add_mechanisms(extensions, line);
	} else if (length > 5 && strncasecmp(word, "AUTH=", 5) == 0) {
		add_mechanisms(extensions, word + 5); /* an old way to say it, still seen */
	} else if (is_word(word, length, "LIMITS")) {
		add_limits(extensions, line);
	}
}
