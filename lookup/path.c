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
#include "common/template.h"
#include "lookup/path.h"

#define VALUE_MAX (ADDRESS_TEXT_MAX + 1)

struct output {
	char *path;
	size_t size;
	size_t length;
	bool failed;
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

/* Of a recipient only where it goes is known when a mailbox is looked up, so rcpt is dest. */
static bool
find_value(
    const struct template_token *token, const struct path_values *values, char *text, size_t size)
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

static bool
append_token(
    struct output *out, const struct template_token *token, const struct path_values *values)
{
	char text[VALUE_MAX];

	if (strcmp(token->name, "user.directory") == 0) {
		for (const char *at = values->user_directory; *at != '\0'; at++)
			append_byte(out, *at);
		return true;
	}
	if (!find_value(token, values, text, sizeof(text)))
		return false;
	if (!template_apply(token, values->delimiters, text) || *text == '\0')
		return false;
	for (const char *at = text; *at != '\0'; at++)
		append_value_byte(out, *at, token->raw);
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
	struct template_token token;

	if (*format == '~' && (format[1] == '/' || format[1] == '\0')) {
		(void)append_token(
		    &out, &(struct template_token){ .name = "user.directory" }, values);
		format++;
	} else if (*format != '/' && strncmp(format, "%{user.directory", 16) != 0) {
		(void)append_token(
		    &out, &(struct template_token){ .name = "user.directory" }, values);
		append_byte(&out, '/');
	}
	while (*format != '\0' && !out.failed) {
		if (format[0] == '%' && format[1] == '%') {
			append_byte(&out, '%');
			format += 2;
		} else if (format[0] == '%' && format[1] == '{') {
			format += 2;
			if (!template_parse_token(&format, &token) ||
			    !append_token(&out, &token, values)) {
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
