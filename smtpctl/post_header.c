/*
 * The header. Where it ends is decided as the server does (smtpd/submission.c): at an empty line, or
 * at a line that is no field. A CR within a field becomes a blank, so that no program's careless
 * "Subject: $text" makes another field of it.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/base64.h"
#include "smtpctl/address_list.h"
#include "smtpctl/post.h"

#define ENCODED_WORD_BYTES 45 /* of a name: 75 as a whole (RFC 2047 2) */

struct field {
	const char *name;
	size_t name_length;
	const char *value;
	size_t value_length; /* with its last LF */
};

/* What a line of `length` bytes is, its end left out. */
static bool
begins_field(const char *line, size_t length)
{
	size_t name = 0, blank;

	while (name < length && line[name] > ' ' && line[name] < 0x7f && line[name] != ':')
		name++;
	for (blank = name; blank < length && (line[blank] == ' ' || line[blank] == '\t');)
		blank++;
	return name > 0 && blank < length && line[blank] == ':';
}

/* A mailbox's line, in front of what was taken from one, quoted by ">" perhaps. */
static bool
begins_mailbox(const char *line, size_t length)
{
	size_t quotes = 0;

	while (quotes < length && line[quotes] == '>')
		quotes++;
	return length - quotes > 5 && memcmp(line + quotes, "From ", 5) == 0 &&
	    !begins_field(line, length);
}

static void
add_line(struct buf *header, const char *line, size_t length)
{
	for (size_t i = 0; i < length; i++)
		buf_add_u8(header, line[i] == '\r' ? ' ' : (uint8_t)line[i]);
	buf_add_u8(header, '\n');
}

/* Takes the lines of the header; how many bytes it had, the empty line included. */
static size_t
take_lines(struct buf *header, const char *text, size_t length, bool is_all, bool *ended)
{
	size_t at = 0;

	*ended = true;
	while (at < length) {
		const char *line = text + at, *end = memchr(line, '\n', length - at);
		size_t bytes = end == NULL ? length - at : (size_t)(end - line);
		size_t next = at + bytes + (end != NULL);

		if (end == NULL && !is_all)
			break;
		while (bytes > 0 && line[bytes - 1] == '\r')
			bytes--;
		if (bytes == 0)
			return next;
		if (at == 0 && begins_mailbox(line, bytes)) {
			at = next;
			continue;
		}
		if (!((*line == ' ' || *line == '\t') && header->length > 0) &&
		    !begins_field(line, bytes))
			return at;
		add_line(header, line, bytes);
		at = next;
	}
	*ended = is_all;
	return at;
}

bool
post_load_header(struct post *post, char *why, size_t size)
{
	struct buf text;
	ssize_t count = 0;
	bool ended = false, good = false;

	buf_init(&text, POST_HEADER_MAX + 1);
	if (!buf_reserve(&text, POST_HEADER_MAX + 1)) {
		snprintf(why, size, "out of memory");
		return false;
	}
	while (text.length <= POST_HEADER_MAX &&
	    (count = pread(post->fd, text.data + text.length, POST_HEADER_MAX + 1 - text.length,
	         post->start + (off_t)text.length)) > 0)
		text.length += (size_t)count;
	if (count < 0) {
		snprintf(why, size, "can't read the message: %s", strerror(errno));
	} else {
		post->body = post->start +
		    (off_t)take_lines(&post->header, (const char *)text.data, text.length,
		        text.length <= POST_HEADER_MAX, &ended);
		good = ended && buf_ok(&post->header);
		if (!good)
			snprintf(why, size, "the header has more than %d bytes", POST_HEADER_MAX);
	}
	buf_free(&text);
	return good;
}

/* The field at `*at`, which is moved behind it; false at the end. */
static bool
next_field(const struct buf *header, size_t *at, struct field *field)
{
	const char *text = (const char *)header->data, *end, *line, *colon;

	if (*at >= header->length)
		return false;
	end = text + header->length;
	field->name = text + *at;
	colon = memchr(field->name, ':', (size_t)(end - field->name));
	/* take_lines() has seen to it that there is one. */
	field->value = colon + 1;
	while (colon > field->name && (colon[-1] == ' ' || colon[-1] == '\t'))
		colon--;
	field->name_length = (size_t)(colon - field->name);
	for (line = field->value; line < end; line++)
		if (*line == '\n' && (line + 1 == end || (line[1] != ' ' && line[1] != '\t')))
			break;
	field->value_length = (size_t)(line + 1 - field->value);
	*at = (size_t)(line + 1 - text);
	return true;
}

static bool
is_named(const struct field *field, const char *name)
{
	return strlen(name) == field->name_length &&
	    strncasecmp(name, field->name, field->name_length) == 0;
}

static bool
is_one_of(const struct field *field, const char *const *names)
{
	for (; *names != NULL; names++)
		if (is_named(field, *names))
			return true;
	return false;
}

bool
post_add_named_recipients(struct post *post, char *why, size_t size)
{
	static const char *const names[] = { "To", "Cc", "Bcc", NULL };
	static const char *const again[] = { "Resent-To", "Resent-Cc", "Resent-Bcc", NULL };
	const char *const *wanted = names;
	char reason[160];
	struct field field;
	size_t at;

	for (at = 0; next_field(&post->header, &at, &field);)
		if (is_one_of(&field, again))
			wanted = again;
	for (at = 0; next_field(&post->header, &at, &field);) {
		if (!is_one_of(&field, wanted) ||
		    post_add_recipients(
		        post, field.value, field.value_length, reason, sizeof(reason)))
			continue;
		snprintf(why, size, "%.*s: %s", (int)field.name_length, field.name, reason);
		return false;
	}
	return true;
}

/* The value, with `host` behind each address that has no domain. One that can't be read stays. */
static void
add_value(struct buf *out, const struct field *field, const char *host)
{
	struct address_list_mailbox mailbox;
	enum address_list_result result;
	struct address_list list;
	size_t done = 0, start = out->length;

	address_list_init(&list, field->value, field->value_length);
	while ((result = address_list_next(&list, &mailbox)) == ADDRESS_LIST_MAILBOX) {
		if (*mailbox.address.domain != '\0')
			continue;
		buf_add(out, field->value + done, mailbox.end - done);
		buf_add_u8(out, '@');
		buf_add_text(out, host);
		done = mailbox.end;
	}
	if (result == ADDRESS_LIST_BAD && buf_ok(out)) {
		out->length = start;
		done = 0;
	}
	buf_add(out, field->value + done, field->value_length - done);
}

/* In words of whole characters, as many as each has room for. The name is UTF-8. */
static void
add_encoded(struct buf *out, const char *name, size_t length)
{
	char word[BASE64_LENGTH(ENCODED_WORD_BYTES) + 1];
	size_t part;

	for (; length > 0; name += part, length -= part) {
		part = length;
		if (part > ENCODED_WORD_BYTES)
			for (part = ENCODED_WORD_BYTES; (name[part] & 0xc0) == 0x80;)
				part--;
		base64_encode(name, part, word);
		buf_printf(out, "=?utf-8?B?%s?=%s", word, part < length ? "\n " : "");
	}
}

static void
add_name(struct buf *out, const char *name)
{
	size_t length = strlen(name), i;
	bool plain = true, ascii = true;

	for (i = 0; i < length; i++) {
		unsigned char c = (unsigned char)name[i];

		plain = plain && (isalnum(c) || strchr(" -_'+/=!#$%&*?^`{|}~", c) != NULL);
		ascii = ascii && c >= ' ' && c < 0x7f;
	}
	if (plain) {
		buf_add_text(out, name);
	} else if (ascii) {
		buf_add_u8(out, '"');
		for (i = 0; i < length; i++) {
			if (name[i] == '"' || name[i] == '\\')
				buf_add_u8(out, '\\');
			buf_add_u8(out, (uint8_t)name[i]);
		}
		buf_add_u8(out, '"');
	} else {
		add_encoded(out, name, length);
	}
	buf_add_u8(out, ' ');
}

static void
add_from(struct buf *out, const struct post *post, const char *host)
{
	struct address author = post->author;
	char text[ADDRESS_TEXT_MAX + 1];

	if (*author.domain == '\0')
		snprintf(author.domain, sizeof(author.domain), "%s", host);
	address_format(&author, text, sizeof(text));
	buf_add_text(out, "From: ");
	if (*post->name != '\0' && address_is_utf8(post->name))
		add_name(out, post->name);
	buf_printf(out, "<%s>\n", text);
}

bool
post_compose_header(const struct post *post, const char *host, struct buf *out)
{
	static const char *const addresses[] = { "From", "Sender", "Reply-To", "To", "Cc", "Bcc",
		"Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Bcc", NULL };
	bool has_from = false, good;
	struct field field;
	struct buf lines;
	size_t at;

	buf_init(&lines, 8 * POST_HEADER_MAX);
	for (at = 0; next_field(&post->header, &at, &field);)
		has_from = has_from || is_named(&field, "From");
	if (!has_from)
		add_from(&lines, post, host);
	for (at = 0; next_field(&post->header, &at, &field);) {
		buf_add(&lines, field.name, (size_t)(field.value - field.name));
		if (is_one_of(&field, addresses))
			add_value(&lines, &field, host);
		else
			buf_add(&lines, field.value, field.value_length);
	}
	for (at = 0; at < lines.length; at++) {
		if (lines.data[at] == '\n')
			buf_add_u8(out, '\r');
		buf_add_u8(out, lines.data[at]);
	}
	buf_add_text(out, "\r\n");
	good = buf_ok(&lines) && buf_ok(out);
	buf_free(&lines);
	return good;
}
