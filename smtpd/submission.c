/*
 * A line's first bytes are held until its colon says which field it is; then the rest goes through,
 * or is left out, or, of a From to be replaced, is gathered up to its end. What is missing is added
 * where the header ends. A line that is no field ends it too: it is the body's first, and gets the
 * empty line in front that it lacks.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "smtpd/submission.h"

#define NAME_MAX_BYTES 1000 /* longer than a line may be (RFC 5322 2.1.1): no field's name */
#define FROM_MAX       4096 /* of a From that is replaced: what is longer is dropped whole */

enum submission_state {
	SUBMISSION_START, /* of a line */
	SUBMISSION_NAME,  /* bytes are held */
	SUBMISSION_PASS,  /* the rest of the line is stored */
	SUBMISSION_DROP,
	SUBMISSION_GATHER, /* of From */
	SUBMISSION_OVER,
};

struct submission {
	submission_store_fn store;
	void *arg;
	enum submission_state state;
	enum submission_state field; /* what becomes of the field at hand: PASS, DROP or GATHER */
	bool has_date, has_message_id, has_from;
	char date[64];
	char message_id[400];
	char sender[ADDRESS_TEXT_MAX + 1]; /* "": From stays */
	char held[NAME_MAX_BYTES];
	size_t held_length;
	char from[FROM_MAX];
	size_t from_length;
};

struct submission *
submission_new(const struct submission_options *options, submission_store_fn store, void *arg)
{
	struct submission *submission = calloc(1, sizeof(*submission));

	if (submission == NULL)
		return NULL;
	submission->store = store;
	submission->arg = arg;
	submission->field = SUBMISSION_PASS;
	clock_format_rfc5322(options->wall, submission->date, sizeof(submission->date));
	snprintf(submission->message_id, sizeof(submission->message_id), "<%llx.%08x@%s>",
	    (unsigned long long)options->wall, options->message_id, options->hostname);
	if (options->masquerade && !address_is_null(options->sender))
		address_format(options->sender, submission->sender, sizeof(submission->sender));
	return submission;
}

void
submission_free(struct submission *submission)
{
	free(submission);
}

bool
submission_is_over(const struct submission *submission)
{
	return submission->state == SUBMISSION_OVER;
}

static void
store_text(struct submission *submission, const char *text)
{
	submission->store(submission->arg, text, strlen(text));
}

static void
store_field(struct submission *submission, const char *name, const char *value)
{
	store_text(submission, name);
	store_text(submission, value);
	store_text(submission, "\r\n");
}

/* The bytes before the "<" of "Ann <ann@example.org>" or "\"Ann\" <…>"; 0 when they aren't just a
 * name. */
static size_t
name_length(const char *from, size_t length)
{
	bool quoted = false;

	for (size_t i = 0; i < length; i++) {
		if (quoted && from[i] == '\\')
			i++;
		else if (from[i] == '"')
			quoted = !quoted;
		else if (!quoted && from[i] == '<')
			return i;
		else if (!quoted && strchr(",;:@>()[]\\", from[i]) != NULL)
			return 0;
	}
	return 0;
}

/* The name stays, whatever the address was. */
static void
store_from(struct submission *submission)
{
	size_t length = name_length(submission->from, submission->from_length);

	store_text(submission, "From:");
	submission->store(submission->arg, submission->from, length);
	if (length == 0 || submission->from[length - 1] != ' ')
		store_text(submission, " ");
	store_text(submission, "<");
	store_text(submission, submission->sender);
	store_text(submission, ">\r\n");
	submission->from_length = 0;
	submission->field = SUBMISSION_PASS;
}

static void
end_header(struct submission *submission)
{
	if (submission->field == SUBMISSION_GATHER)
		store_from(submission);
	if (*submission->sender != '\0' && !submission->has_from)
		store_from(submission);
	if (!submission->has_date)
		store_field(submission, "Date: ", submission->date);
	if (!submission->has_message_id)
		store_field(submission, "Message-ID: ", submission->message_id);
	submission->state = SUBMISSION_OVER;
}

/* The line at hand is the body's, though no empty line came before it. */
static void
begin_body(struct submission *submission)
{
	end_header(submission);
	store_text(submission, "\r\n");
	submission->store(submission->arg, submission->held, submission->held_length);
}

static bool
is_named(const struct submission *submission, const char *name)
{
	size_t length = submission->held_length;

	while (length > 0 && isblank((unsigned char)submission->held[length - 1]))
		length--;
	return length == strlen(name) && strncasecmp(submission->held, name, length) == 0;
}

/* The colon has come: which field is it? */
static void
begin_field(struct submission *submission)
{
	if (submission->field == SUBMISSION_GATHER)
		store_from(submission);
	submission->field = SUBMISSION_PASS;
	if (is_named(submission, "Date"))
		submission->has_date = true;
	else if (is_named(submission, "Message-ID"))
		submission->has_message_id = true;
	else if (is_named(submission, "Bcc") || is_named(submission, "Resent-Bcc"))
		submission->field = SUBMISSION_DROP;
	else if (is_named(submission, "From") && *submission->sender != '\0') {
		/* A second one would be another sender. */
		submission->field = submission->has_from ? SUBMISSION_DROP : SUBMISSION_GATHER;
		submission->has_from = true;
	}
	if (submission->field == SUBMISSION_PASS) {
		submission->store(submission->arg, submission->held, submission->held_length);
		store_text(submission, ":");
	}
	submission->held_length = 0;
	submission->state = submission->field;
}

/* One more byte of a line that may be a field's first. */
static void
hold(struct submission *submission, char byte)
{
	bool blank = byte == ' ' || byte == '\t';
	bool after_blank = submission->held_length > 0 &&
	    isblank((unsigned char)submission->held[submission->held_length - 1]);

	if (byte == ':' && submission->held_length > 0)
		begin_field(submission);
	else if (submission->held_length == sizeof(submission->held) ||
	    (!blank && (after_blank || byte < '!' || byte > '~' || byte == ':'))) {
		begin_body(submission);
		submission->store(submission->arg, &byte, 1);
	} else
		submission->held[submission->held_length++] = byte;
}

static void
gather(struct submission *submission, const char *data, size_t length)
{
	size_t room = sizeof(submission->from) - submission->from_length;

	/* Without a "<" within the room the name is forgotten. */
	if (length > room)
		length = room;
	memcpy(submission->from + submission->from_length, data, length);
	submission->from_length += length;
}

void
submission_text(struct submission *submission, const char *data, size_t length)
{
	size_t at = 0;

	while (at < length) {
		switch (submission->state) {
		case SUBMISSION_START:
			/* RFC 5322 2.2.3: a blank goes on with the field. */
			submission->state = data[at] == ' ' || data[at] == '\t' ? submission->field
			                                                        : SUBMISSION_NAME;
			submission->held_length = 0;
			break;
		case SUBMISSION_NAME:
			hold(submission, data[at++]);
			break;
		case SUBMISSION_DROP:
			return;
		case SUBMISSION_GATHER:
			gather(submission, data + at, length - at);
			return;
		case SUBMISSION_PASS:
		case SUBMISSION_OVER:
			submission->store(submission->arg, data + at, length - at);
			return;
		}
	}
}

void
submission_line_end(struct submission *submission)
{
	switch (submission->state) {
	case SUBMISSION_START: /* the empty line */
		end_header(submission);
		store_text(submission, "\r\n");
		return;
	case SUBMISSION_NAME:
		begin_body(submission);
		store_text(submission, "\r\n");
		return;
	case SUBMISSION_PASS:
	case SUBMISSION_OVER:
		store_text(submission, "\r\n");
		break;
	case SUBMISSION_DROP:
	case SUBMISSION_GATHER:
		break;
	}
	if (submission->state != SUBMISSION_OVER)
		submission->state = SUBMISSION_START;
}

void
submission_finish(struct submission *submission)
{
	if (submission->state == SUBMISSION_OVER)
		return;
	if (submission->state == SUBMISSION_NAME)
		submission_line_end(submission);
	else
		end_header(submission);
}
