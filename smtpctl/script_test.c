/*
 * The interpreter is the one that delivery uses. What only a delivery knows, whether a folder is there
 * and what was seen before, is not known here.
 */
#include <err.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>

#include "common/clock.h"
#include "common/sieve.h"
#include "smtpctl/privilege.h"
#include "smtpctl/script_test.h"
#include "smtpctl/text.h"

#define ACTION_COLUMN 10
#define RETURN_PATH   "Return-Path:"

static const char *
action_name(const struct sieve_action *action)
{
	switch (action->kind) {
	case SIEVE_KEEP:
		return "keep";
	case SIEVE_FILEINTO:
		return "fileinto";
	case SIEVE_REDIRECT:
		return "redirect";
	case SIEVE_REJECT:
		return "reject";
	case SIEVE_VACATION:
		return "vacation";
	}
	return "";
}

/* Where it goes, or what is answered. */
static void
describe(const struct sieve_action *action, char *text, size_t size)
{
	*text = '\0';
	switch (action->kind) {
	case SIEVE_KEEP:
		break;
	case SIEVE_FILEINTO:
		(void)snprintf(text, size, "%s", action->folder);
		break;
	case SIEVE_REDIRECT:
		address_format(&action->to, text, size);
		break;
	case SIEVE_REJECT:
	case SIEVE_VACATION:
		(void)snprintf(text, size, "%s", action->text);
		break;
	}
}

static void
show_action(struct output *output, const char *name, const char *what, const char *flags)
{
	struct buf *buf = &output->buf;

	if (output->format == OUTPUT_JSON) {
		buf_printf(buf, "{\"action\":\"%s\",\"argument\":", name);
		text_add_json(buf, what);
		buf_add_text(buf, ",\"flags\":");
		text_add_json(buf, flags);
		buf_add_text(buf, "}\n");
	} else if (output->format == OUTPUT_LINES) {
		buf_printf(buf, "%s|", name);
		text_add_field(buf, what);
		buf_add_text(buf, "|");
		text_add_field(buf, flags);
		buf_add_text(buf, "\n");
	} else {
		text_add_cell(buf, name, ACTION_COLUMN);
		text_add_clean(buf, what, output->width);
		buf_add_text(buf, *flags != '\0' ? " " : "");
		text_add_clean(buf, flags, output->width);
		buf_add_text(buf, "\n");
	}
}

static void
show_result(struct output *output, const struct sieve_result *result)
{
	char what[SIEVE_REASON_MAX + 1];

	if (result->count == 0)
		show_action(output, "discard", "", "");
	for (size_t i = 0; i < result->count; i++) {
		const struct sieve_action *action = &result->actions[i];

		describe(action, what, sizeof(what));
		show_action(
		    output, action_name(action), what, action->flags == NULL ? "" : action->flags);
	}
	output_flush(output);
}

/* What delivery writes first into a file (RFC 5321 4.4); without one the sender is the null one. */
static void
find_sender(const char *message, size_t length, struct address *sender)
{
	size_t at = strlen(RETURN_PATH), used;

	memset(sender, 0, sizeof(*sender));
	if (length < at || strncasecmp(message, RETURN_PATH, at) != 0)
		return;
	while (at < length && (message[at] == ' ' || message[at] == '\t'))
		at++;
	if (address_parse_path(message + at, length - at, ADDRESS_ALLOW_NULL | ADDRESS_ALLOW_UTF8,
	        sender, &used) != ADDRESS_OK)
		memset(sender, 0, sizeof(*sender));
}

static int
run(const struct sieve *sieve, const struct sieve_message *message, struct output *output)
{
	static struct sieve_result result;
	int status = 0;

	sieve_run(sieve, message, &result);
	show_result(output, &result);
	if (*result.error != '\0') {
		warnx("the script fails: %s", result.error);
		status = EX_DATAERR;
	}
	sieve_result_free(&result);
	return status;
}

int
script_test(const char *user, const char *script, size_t script_length, const char *message,
    size_t message_length, struct output *output)
{
	char error[SIEVE_ERROR_MAX] = "";
	struct address sender, owner;
	struct sieve_message about = { .text = message,
		.length = message_length,
		.size = message_length,
		.sender = &sender,
		.recipient = &owner,
		.owner = &owner,
		.delimiters = "+",
		.now = clock_wall() };
	struct sieve *sieve;
	int status;

	privilege_become_nobody();
	find_sender(message, message_length, &sender);
	if (address_parse(user, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_BARE_LOCAL, &owner) !=
	    ADDRESS_OK) {
		warnx("command failed: not an address: %s", user);
		return EX_DATAERR;
	}
	sieve = sieve_compile(script, script_length, error, sizeof(error));
	if (sieve == NULL) {
		warnx("command failed: %s", error);
		return EX_DATAERR;
	}
	status = run(sieve, &about, output);
	sieve_free(sieve);
	return status;
}
