/*
 * A token is read once from left to right: a name of [a-z.], an optional [..], optional modifiers, up
 * to "}".
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/template.h"

#define SUBSTRING_MAX 1024

static bool
parse_number(const char **at, long *number)
{
	char *end;

	if (!isdigit((unsigned char)**at) && **at != '-')
		return false;
	*number = strtol(*at, &end, 10);
	if (end == *at || *number < -SUBSTRING_MAX || *number > SUBSTRING_MAX)
		return false;
	*at = end;
	return true;
}

static bool
parse_substring(const char **at, struct template_token *token)
{
	token->has_substring = true;
	token->first = 0;
	if (**at != ':' && !parse_number(at, &token->first))
		return false;
	token->last = token->first;
	if (**at == ':') {
		(*at)++;
		token->last = SUBSTRING_MAX;
		if (**at != ']' && !parse_number(at, &token->last))
			return false;
	}
	return *(*at)++ == ']';
}

static bool
parse_modifiers(const char **at, struct template_token *token)
{
	for (;;) {
		size_t length = strcspn(*at, "|}");

		if (length == 9 && strncmp(*at, "lowercase", length) == 0)
			token->lowercase = true;
		else if (length == 9 && strncmp(*at, "uppercase", length) == 0)
			token->uppercase = true;
		else if (length == 5 && strncmp(*at, "strip", length) == 0)
			token->strip = true;
		else if (length == 3 && strncmp(*at, "raw", length) == 0)
			token->raw = true;
		else
			return false;
		*at += length;
		if (**at != '|')
			return true;
		(*at)++;
	}
}

bool
template_parse_token(const char **at, struct template_token *token)
{
	size_t length = strspn(*at, "abcdefghijklmnopqrstuvwxyz.");

	memset(token, 0, sizeof(*token));
	if (length == 0 || length >= sizeof(token->name))
		return false;
	memcpy(token->name, *at, length);
	*at += length;
	if (**at == '[') {
		(*at)++;
		if (!parse_substring(at, token))
			return false;
	}
	if (**at == ':') {
		(*at)++;
		if (!parse_modifiers(at, token))
			return false;
	}
	return *(*at)++ == '}';
}

static void
strip_detail(char *text, const char *delimiters)
{
	char *domain = strrchr(text, '@');
	char *cut = *text == '\0' || *delimiters == '\0' ? NULL : strpbrk(text + 1, delimiters);

	if (cut == NULL)
		return;
	if (domain == NULL)
		*cut = '\0';
	else if (cut < domain)
		memmove(cut, domain, strlen(domain) + 1);
}

static bool
cut_substring(char *text, const struct template_token *token)
{
	long length = (long)strlen(text), first = token->first, last = token->last;

	if (first < 0)
		first += length;
	if (last < 0)
		last += length;
	if (last >= length)
		last = length - 1;
	if (first < 0 || last < first)
		return false;
	memmove(text, text + first, (size_t)(last - first + 1));
	text[last - first + 1] = '\0';
	return true;
}

bool
template_apply(const struct template_token *token, const char *delimiters, char *value)
{
	if (token->strip)
		strip_detail(value, delimiters);
	if (token->has_substring && !cut_substring(value, token))
		return false;
	for (char *at = value; *at != '\0'; at++) {
		if (token->lowercase)
			*at = (char)(isascii((unsigned char)*at) ? tolower(*at) : *at);
		if (token->uppercase)
			*at = (char)(isascii((unsigned char)*at) ? toupper(*at) : *at);
	}
	return true;
}

const char *
template_find_mda(const char *text)
{
	while (*text != '\0') {
		if (strncmp(text, TEMPLATE_MDA, strlen(TEMPLATE_MDA)) == 0)
			return text;
		text += text[0] == '%' && text[1] == '%' ? 2 : 1;
	}
	return NULL;
}
