/*
 * A template is read once from left to right; what it makes is appended byte by byte to the path.
 * Bytes of a value go through append_value_byte(), which knows how the current component looks so
 * far: that one place keeps a name from being anything but a name.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/address.h"
#include "common/envelope.h"
#include "lookup/path.h"

#define VALUE_MAX     (ADDRESS_TEXT_MAX + 1)
#define SUBSTRING_MAX 1024

struct output {
	char *path;
	size_t size;
	size_t length;
	bool failed;
};

struct token {
	char name[32];
	bool has_substring;
	long first;
	long last;
	bool lowercase;
	bool uppercase;
	bool strip;
	bool raw;
};

static void
append_byte(struct output *out, char byte)
{
	if (out->length + 1 >= out->size) {
		out->failed = true;
		return;
	}
	out->path[out->length++] = byte;
}

/* True when the component being written is still empty or made of dots alone. */
static bool
component_is_dots(const struct output *out)
{
	size_t i = out->length;

	while (i > 0 && out->path[i - 1] == '.')
		i--;
	return i == 0 || out->path[i - 1] == '/';
}

static void
append_value_byte(struct output *out, char byte, bool raw)
{
	unsigned char value = (unsigned char)byte;

	if (value < ' ' || value == 0x7f || byte == '/' ||
	    (!raw && strchr("!#$%&'*?^`{|}~", byte) != NULL) ||
	    (byte == '.' && component_is_dots(out)))
		byte = ':';
	append_byte(out, byte);
}

/* A name of [a-z.], an optional [..], optional modifiers, up to "}". */
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
parse_substring(const char **at, struct token *token)
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
parse_modifiers(const char **at, struct token *token)
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

/* The text after "%{"; `*at` is moved behind the "}". */
static bool
parse_token(const char **at, struct token *token)
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

/* Of a recipient only where it goes is known when a mailbox is looked up, so rcpt is dest. */
static bool
find_value(const struct token *token, const struct path_values *values, char *text, size_t size)
{
	const char *name = token->name;

	if (strncmp(name, "rcpt", 4) == 0 && (name[4] == '\0' || name[4] == '.'))
		name += 4;
	else if (strncmp(name, "dest", 4) == 0 && (name[4] == '\0' || name[4] == '.'))
		name += 4;
	else if (strcmp(name, "user.username") == 0)
		return strlcpy(text, values->user_name, size) < size;
	else
		return false;
	if (strcmp(name, ".user") == 0)
		return strlcpy(text, values->dest_user, size) < size;
	if (strcmp(name, ".domain") == 0)
		return strlcpy(text, values->dest_domain, size) < size;
	return *name == '\0' && strlcpy(text, values->dest_user, size) < size &&
	    strlcat(text, "@", size) < size && strlcat(text, values->dest_domain, size) < size;
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
cut_substring(char *text, const struct token *token)
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

static bool
append_token(struct output *out, const struct token *token, const struct path_values *values)
{
	char text[VALUE_MAX];

	if (strcmp(token->name, "user.directory") == 0) {
		for (const char *at = values->user_directory; *at != '\0'; at++)
			append_byte(out, *at);
		return true;
	}
	if (!find_value(token, values, text, sizeof(text)))
		return false;
	if (token->strip)
		strip_detail(text, values->delimiters);
	if (token->has_substring && !cut_substring(text, token))
		return false;
	if (*text == '\0')
		return false;
	for (char *at = text; *at != '\0'; at++) {
		if (token->lowercase)
			*at = (char)(isascii((unsigned char)*at) ? tolower(*at) : *at);
		if (token->uppercase)
			*at = (char)(isascii((unsigned char)*at) ? toupper(*at) : *at);
		append_value_byte(out, *at, token->raw);
	}
	return true;
}

static bool
has_dot_component(const char *path)
{
	for (const char *at = path; *at != '\0';) {
		size_t length = strcspn(at, "/");

		if ((length == 1 && *at == '.') || (length == 2 && at[0] == '.' && at[1] == '.'))
			return true;
		at += length + (at[length] == '/');
	}
	return false;
}

bool
path_expand(
    const char *format, const struct path_values *values, char *path, size_t size, const char **why)
{
	struct output out = { .path = path, .size = size };
	struct token token;

	if (*format == '~' && (format[1] == '/' || format[1] == '\0')) {
		(void)append_token(&out, &(struct token){ .name = "user.directory" }, values);
		format++;
	} else if (*format != '/' && strncmp(format, "%{user.directory", 16) != 0) {
		(void)append_token(&out, &(struct token){ .name = "user.directory" }, values);
		append_byte(&out, '/');
	}
	while (*format != '\0' && !out.failed) {
		if (format[0] == '%' && format[1] == '%') {
			append_byte(&out, '%');
			format += 2;
		} else if (format[0] == '%' && format[1] == '{') {
			format += 2;
			if (!parse_token(&format, &token) || !append_token(&out, &token, values)) {
				*why = "a %{...} of the path is wrong or doesn't fit the name";
				return false;
			}
		} else
			append_byte(&out, *format++);
	}
	if (out.failed) {
		*why = "the path is too long";
		return false;
	}
	path[out.length] = '\0';
	if (*path != '/' || has_dot_component(path)) {
		*why = "the path is not absolute, or holds \".\" or \"..\"";
		return false;
	}
	return true;
}
