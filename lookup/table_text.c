/*
 * All of these formats are read byte by byte, without recursion, in time linear in the text. What
 * doesn't fit is refused, never cut.
 *
 * A key ends at a blank or a colon outside quotes and brackets; so "bob: x", "bob x", "bob:x" and
 * "u@[IPv6:::1] x" are all read as they are meant, and a key that is an IPv6 address is not cut at
 * its colons.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "lookup/table_text.h"

void
text_lower(char *text)
{
	for (; *text != '\0'; text++) {
		if (*text >= 'A' && *text <= 'Z')
			*text += 'a' - 'A';
	}
}

static bool
is_blank(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\r';
}

static char *
skip_blanks(char *at)
{
	while (is_blank(*at))
		at++;
	return at;
}

static void
trim_end(char *text)
{
	size_t length = strlen(text);

	while (length > 0 && is_blank(text[length - 1]))
		text[--length] = '\0';
}

/* The first byte behind the quoted string that starts at `at`, or NULL when it doesn't end. */
static char *
skip_quoted(char *at)
{
	for (at++; *at != '"'; at++) {
		if (*at == '\\' && at[1] != '\0')
			at++;
		if (*at == '\0')
			return NULL;
	}
	return at + 1;
}

/* Removes quotes, and the backslashes in them, in place. */
static void
unquote(char *text)
{
	bool quoted = false;
	char *to = text;

	for (; *text != '\0'; text++) {
		if (*text == '"') {
			quoted = !quoted;
			continue;
		}
		if (quoted && *text == '\\' && text[1] != '\0')
			text++;
		*to++ = *text;
	}
	*to = '\0';
}

/* A whole token of only these may be an address or network, and is then not cut at a colon. */
static bool
starts_with_network(const char *at)
{
	char token[64];
	struct netaddr netaddr;
	size_t length = strcspn(at, " \t\r");

	if (length > 0 && at[length - 1] == ':' && memchr(at, ':', length - 1) == NULL)
		return false; /* "10.0.0.1: x" */
	if (length == 0 || length >= sizeof(token))
		return false;
	memcpy(token, at, length);
	token[length] = '\0';
	return netaddr_parse(token, &netaddr);
}

static char *
find_key_end(char *at, const char **why)
{
	bool bracket = false;

	if (starts_with_network(at))
		return at + strcspn(at, " \t\r");
	while (*at != '\0' && !is_blank(*at) && (*at != ':' || bracket)) {
		if (*at == '"') {
			at = skip_quoted(at);
			if (at == NULL) {
				*why = "a quote is not closed";
				return NULL;
			}
			continue;
		}
		if (*at == '[')
			bracket = true;
		else if (*at == ']')
			bracket = false;
		at++;
	}
	return at;
}

static bool
has_control(const char *text)
{
	for (; *text != '\0'; text++) {
		if (((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f)
			return true;
	}
	return false;
}

enum table_line
table_line_parse(char *line, char **key, char **value, const char **why)
{
	char *end;

	line = skip_blanks(line);
	trim_end(line);
	*key = line;
	*value = line + strlen(line);
	if (*line == '\0' || *line == '#')
		return TABLE_LINE_EMPTY;
	if (has_control(line)) {
		*why = "a control character";
		return TABLE_LINE_BAD;
	}
	end = find_key_end(line, why);
	if (end == NULL)
		return TABLE_LINE_BAD;
	if (end == line) {
		*why = "no key before the colon";
		return TABLE_LINE_BAD;
	}
	if (*end != '\0') {
		bool colon = *end == ':';

		*end++ = '\0';
		end = skip_blanks(end);
		/* "name : value", but not "name :include:/path" */
		if (!colon && *end == ':' && (is_blank(end[1]) || end[1] == '\0'))
			end = skip_blanks(end + 1);
		*value = end;
	}
	unquote(line);
	if (strlen(line) >= TABLE_KEY_MAX) {
		*why = "the key is too long";
		return TABLE_LINE_BAD;
	}
	return TABLE_LINE_ENTRY;
}

bool
netaddr_parse(const char *text, struct netaddr *netaddr)
{
	char copy[64], *slash, *start = copy, *end;
	unsigned long bits;
	size_t length;

	memset(netaddr, 0, sizeof(*netaddr));
	if (strlcpy(copy, text, sizeof(copy)) >= sizeof(copy))
		return false;
	slash = strchr(copy, '/');
	if (slash != NULL)
		*slash++ = '\0';
	length = strlen(copy);
	if (*copy == '[' && length > 2 && copy[length - 1] == ']') {
		copy[length - 1] = '\0';
		start++;
	}
	if (strncasecmp(start, "IPv6:", 5) == 0)
		start += 5;
	if (inet_pton(AF_INET, start, netaddr->address) == 1)
		netaddr->family = AF_INET;
	else if (inet_pton(AF_INET6, start, netaddr->address) == 1)
		netaddr->family = AF_INET6;
	else
		return false;
	bits = netaddr->family == AF_INET ? 32 : 128;
	if (slash != NULL) {
		unsigned long most = bits;

		if (!isdigit((unsigned char)*slash))
			return false;
		bits = strtoul(slash, &end, 10);
		if (*end != '\0' || bits > most)
			return false;
	}
	netaddr_mask(netaddr, (unsigned)bits);
	return true;
}

void
netaddr_mask(struct netaddr *netaddr, unsigned bits)
{
	netaddr->bits = bits;
	for (unsigned i = 0; i < sizeof(netaddr->address); i++) {
		if (bits >= 8)
			bits -= 8;
		else {
			netaddr->address[i] &= (uint8_t)(0xff00 >> bits);
			bits = 0;
		}
	}
}

void
netaddr_format(const struct netaddr *netaddr, char *text, size_t size)
{
	char address[INET6_ADDRSTRLEN] = "";

	(void)inet_ntop(netaddr->family, netaddr->address, address, sizeof(address));
	snprintf(text, size, "%s/%u", address, netaddr->bits);
}

bool
table_domain_normalise(const char *domain, char *key, size_t size)
{
	bool wildcard = strncmp(domain, "*.", 2) == 0;

	if (wildcard) {
		if (strlcpy(key, "*.", size) >= size)
			return false;
		key += 2;
		domain += 2;
		size -= 2;
	}
	if (address_domain_key(domain, key, size))
		return true;
	if (strlcpy(key, domain, size) >= size)
		return false;
	text_lower(key);
	return true;
}

bool
table_key_normalise(const char *text, char *key, size_t size)
{
	const char *at = strrchr(text, '@');
	struct netaddr netaddr;
	size_t local;

	if (at != NULL) {
		local = (size_t)(at - text) + 1;
		if (local >= size)
			return false;
		memcpy(key, text, local);
		key[local] = '\0';
		text_lower(key);
		return table_domain_normalise(at + 1, key + local, size - local);
	}
	if (netaddr_parse(text, &netaddr)) {
		netaddr_format(&netaddr, key, size);
		return true;
	}
	/* Without "@" it may be a user's name: a name above ASCII stays as it is. */
	if (strlcpy(key, text, size) >= size)
		return false;
	text_lower(key);
	return true;
}

static bool
parse_id(const char **at, uint32_t *id)
{
	unsigned long value;
	char *end;

	if (!isdigit((unsigned char)**at) || strspn(*at, "0123456789") > 10)
		return false;
	value = strtoul(*at, &end, 10);
	/* The highest value means "no id" to the system's calls. */
	if (value >= UINT32_MAX || *end != ':')
		return false;
	*id = (uint32_t)value;
	*at = end + 1;
	return true;
}

bool
table_user_parse(const char *text, struct table_user *user)
{
	memset(user, 0, sizeof(*user));
	return parse_id(&text, &user->uid) && parse_id(&text, &user->gid) && *text == '/' &&
	    !has_control(text) &&
	    strlcpy(user->home, text, sizeof(user->home)) < sizeof(user->home);
}

/* The end of the list's first item: a comma outside quotes. */
static const char *
find_item_end(const char *at)
{
	bool quoted = false;

	for (; *at != '\0' && (quoted || *at != ','); at++) {
		if (*at == '"')
			quoted = !quoted;
		else if (quoted && *at == '\\' && at[1] != '\0')
			at++;
	}
	return at;
}

/* True when the whole text is one quoted string. */
static bool
is_quoted_whole(char *text)
{
	char *end = *text == '"' ? skip_quoted(text) : NULL;

	return end != NULL && *end == '\0';
}

void
target_parse(char *text, struct target *target)
{
	bool quoted = is_quoted_whole(text);

	memset(target, 0, sizeof(*target));
	target->kind = TARGET_INVALID;
	strlcpy(target->text, text, sizeof(target->text));
	if (has_control(text))
		return;
	if (quoted)
		unquote(text);
	if (*text == '|') {
		text = skip_blanks(text + 1);
		if (is_quoted_whole(text))
			unquote(text);
		if (*text == '\0')
			return;
		target->kind = TARGET_PIPE;
	} else if (*text == '/')
		target->kind = TARGET_FILE;
	else if (strncasecmp(text, ":include:", 9) == 0) {
		text = skip_blanks(text + 9);
		if (is_quoted_whole(text))
			unquote(text);
		if (*text != '/')
			return;
		target->kind = TARGET_INCLUDE;
	} else if (strncasecmp(text, "error:", 6) == 0) {
		text = skip_blanks(text + 6);
		target->kind = TARGET_ERROR;
	} else if (*text == '@') {
		if (!address_domain_is_valid(text + 1, true))
			return;
		text++;
		target->kind = TARGET_DOMAIN;
	} else if (strchr(text, '@') != NULL) {
		if (address_parse(text, ADDRESS_ALLOW_UTF8, &target->address) == ADDRESS_OK)
			target->kind = TARGET_ADDRESS;
		return;
	} else if (!quoted && text[strcspn(text, " \t")] != '\0') {
		return; /* a comma that is missing, or words behind it */
	} else {
		target->direct = *text == '\\';
		text += target->direct;
		text_lower(text);
		if (*text == '\0' || strlen(text) > ADDRESS_LOCAL_MAX || strchr(text, '"') != NULL)
			return;
		target->kind = TARGET_USER;
	}
	strlcpy(target->text, text, sizeof(target->text));
}

bool
target_next(const char **at, struct target *target)
{
	char text[PATH_TEXT_MAX + 8];
	const char *end;
	size_t length;

	memset(target, 0, sizeof(*target));
	while (is_blank(**at) || **at == ',')
		(*at)++;
	if (**at == '\0')
		return false;
	end = find_item_end(*at);
	length = (size_t)(end - *at);
	if (length > PATH_TEXT_MAX) {
		target->kind = TARGET_INVALID;
		memcpy(target->text, *at, PATH_TEXT_MAX);
	} else {
		memcpy(text, *at, length);
		text[length] = '\0';
		trim_end(text);
		target_parse(text, target);
	}
	*at = end;
	return true;
}

void
target_lines_begin(struct target_lines *lines, char *text)
{
	lines->rest = text;
	lines->line = "";
}

bool
target_lines_next(struct target_lines *lines, struct target *target)
{
	while (!target_next(&lines->line, target)) {
		if (lines->rest == NULL)
			return false;
		lines->line = skip_blanks(strsep(&lines->rest, "\n"));
		if (*lines->line == '#')
			lines->line = "";
	}
	return true;
}

bool
pattern_is_plain(const char *text)
{
	return strpbrk(text, "*?") == NULL;
}

bool
pattern_matches(const char *pattern, const char *text)
{
	const char *star = NULL, *resume = NULL;

	/* On a mismatch only the last "*" takes one byte more: no other choice can help. */
	while (*text != '\0') {
		if (*pattern == '*') {
			star = pattern++;
			resume = text;
		} else if (*pattern == '?' ||
		    tolower((unsigned char)*pattern) == tolower((unsigned char)*text)) {
			pattern++;
			text++;
		} else if (star != NULL) {
			pattern = star + 1;
			text = ++resume;
		} else
			return false;
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}
