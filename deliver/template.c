/*
 * The text is read once from left to right, and with it how a shell would read its quotes: that says
 * how a reference must be written where it stands. Inside of "$(...)" in double quotes this is not
 * followed further: there a value may be split at spaces, which is what quotes of one's own are for,
 * but it is never read as part of the command.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/template.h"
#include "deliver/place.h"
#include "deliver/template.h"

#define VALUE_MAX (PATH_TEXT_MAX + 1)

_Static_assert(PATH_TEXT_MAX > ADDRESS_TEXT_MAX, "any address is a value");

enum quotes {
	QUOTES_NONE,
	QUOTES_SINGLE,
	QUOTES_DOUBLE,
};

void
template_home(const struct ipc_deliver *request, char home[PATH_TEXT_MAX + 1])
{
	const struct ipc_mailbox *mailbox = &request->mailbox;

	if (envelope_is_pipe(request->kind) || mailbox->home[0] != '\0')
		strlcpy(home, mailbox->home, PATH_TEXT_MAX + 1);
	else if (mailbox->form == MAILBOX_MBOX)
		place_above(mailbox->path, home);
	else
		strlcpy(home, mailbox->path, PATH_TEXT_MAX + 1);
}

/* A name's value; false when there is no such name. */
static bool
find_value(const char *name, const struct ipc_deliver *request, char *value)
{
	static const struct {
		const char *name;
		size_t offset;
	} addresses[] = {
		{ "sender", offsetof(struct ipc_deliver, sender) },
		{ "rcpt", offsetof(struct ipc_deliver, rcpt) },
		{ "dest", offsetof(struct ipc_deliver, dest) },
	};
	const struct address *address;
	size_t length;

	if (strcmp(name, "user.username") == 0)
		return strlcpy(value, request->mailbox.user, VALUE_MAX) < VALUE_MAX;
	if (strcmp(name, "user.directory") == 0) {
		template_home(request, value);
		return true;
	}
	if (strcmp(name, "mbox.from") == 0) {
		address_format(&request->sender, value, VALUE_MAX);
		if (*value == '\0')
			strlcpy(value, "MAILER-DAEMON", VALUE_MAX);
		return true;
	}
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		length = strlen(addresses[i].name);
		if (strncmp(name, addresses[i].name, length) != 0)
			continue;
		address = (const struct address *)((const char *)request + addresses[i].offset);
		if (strcmp(name + length, ".user") == 0)
			strlcpy(value, address->local, VALUE_MAX);
		else if (strcmp(name + length, ".domain") == 0)
			strlcpy(value, address->domain, VALUE_MAX);
		else if (name[length] == '\0')
			address_format(address, value, VALUE_MAX);
		else
			return false;
		return true;
	}
	return false;
}

/* What an address usually has; a value that begins with "-" would be taken for an option. */
static void
make_safe(const struct template_token *token, char *value)
{
	bool is_trusted = strcmp(token->name, "user.directory") == 0;

	for (char *at = value; *at != '\0'; at++) {
		unsigned char byte = (unsigned char)*at;

		if (byte < ' ' || byte == 0x7f)
			*at = ':';
		else if (!token->raw && !is_trusted && byte < 0x80 && !isalnum(byte) &&
		    (strchr("@._+=,:-", byte) == NULL || (at == value && byte == '-')))
			*at = ':';
	}
}

static bool
add_reference(struct template_command *command, enum quotes quotes, const char *value)
{
	char reference[16];

	if (command->count == TEMPLATE_ARGUMENTS_MAX)
		return false;
	command->arguments[command->count] = strdup(value);
	if (command->arguments[command->count] == NULL)
		return false;
	snprintf(reference, sizeof(reference), "${%zu}", ++command->count);
	if (quotes == QUOTES_SINGLE)
		buf_add_u8(&command->script, '\'');
	if (quotes != QUOTES_DOUBLE)
		buf_add_u8(&command->script, '"');
	buf_add_text(&command->script, reference);
	if (quotes != QUOTES_DOUBLE)
		buf_add_u8(&command->script, '"');
	if (quotes == QUOTES_SINGLE)
		buf_add_u8(&command->script, '\'');
	return true;
}

static enum quotes
quotes_after(enum quotes quotes, char byte)
{
	switch (quotes) {
	case QUOTES_NONE:
		return byte == '\'' ? QUOTES_SINGLE : byte == '"' ? QUOTES_DOUBLE : QUOTES_NONE;
	case QUOTES_SINGLE:
		return byte == '\'' ? QUOTES_NONE : QUOTES_SINGLE;
	case QUOTES_DOUBLE:
		return byte == '"' ? QUOTES_NONE : QUOTES_DOUBLE;
	}
	return quotes;
}

static bool
expand_token(struct template_command *command, const struct ipc_deliver *request,
    const char *delimiters, const char **at, enum quotes quotes)
{
	struct template_token token;
	char value[VALUE_MAX];

	if (!template_parse_token(at, &token) || !find_value(token.name, request, value) ||
	    !template_apply(&token, delimiters, value))
		return false;
	make_safe(&token, value);
	return add_reference(command, quotes, value);
}

/* Two words, or one that a shell will make two of. */
static bool
expand_mda(struct template_command *command, const struct template_mda *mda, enum quotes quotes)
{
	char both[VALUE_MAX];

	if (mda == NULL)
		return false;
	if (quotes == QUOTES_NONE) {
		if (!add_reference(command, quotes, mda->program))
			return false;
		buf_add_u8(&command->script, ' ');
		return add_reference(command, quotes, mda->argument);
	}
	return (size_t)snprintf(both, sizeof(both), "%s %s", mda->program, mda->argument) <
	    sizeof(both) &&
	    add_reference(command, quotes, both);
}

bool
template_expand(const struct ipc_deliver *request, const char *delimiters,
    const struct template_mda *mda, struct template_command *command, const char **why)
{
	const char *at = request->mailbox.command;
	enum quotes quotes = QUOTES_NONE;

	memset(command, 0, sizeof(*command));
	buf_init(&command->script, 16 * 1024);
	while (*at != '\0') {
		if (at[0] == '\\' && at[1] != '\0' && quotes != QUOTES_SINGLE) {
			/* What it escapes is no quote, nor does it begin a %{...}. */
			buf_add(&command->script, at, 2);
			at += 2;
		} else if (at[0] == '%' && at[1] == '%') {
			buf_add_u8(&command->script, '%');
			at += 2;
		} else if (at[0] == '%' && at[1] == '{') {
			bool fits;

			at += 2;
			if (strncmp(at, "mda}", 4) == 0) {
				at += 4;
				fits = expand_mda(command, mda, quotes);
			} else
				fits = expand_token(command, request, delimiters, &at, quotes);
			if (!fits) {
				*why = "a %{...} of the command is wrong or doesn't fit";
				return false;
			}
		} else {
			quotes = quotes_after(quotes, *at);
			buf_add_u8(&command->script, (uint8_t)*at++);
		}
	}
	buf_add_u8(&command->script, '\0');
	*why = "out of memory";
	return buf_ok(&command->script);
}

void
template_free(struct template_command *command)
{
	buf_free(&command->script);
	for (size_t i = 0; i < command->count; i++)
		free(command->arguments[i]);
	command->count = 0;
}
