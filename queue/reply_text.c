/*
 * Header fields hold printable ASCII only: other text stands in encoded words (RFC 2047), a text that
 * isn't ASCII in base64. An entity of the author's own keeps those of its fields that describe it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/base64.h"
#include "common/clock.h"
#include "queue/reply_text.h"

#define WORD_BYTES 36 /* of an encoded word: with "Subject: " before it, it stays below 76 */
#define LINE_BYTES 57 /* of a line of base64 */

static bool
is_plain(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text < ' ' || *text >= 0x7f)
			return false;
	}
	return true;
}

/* Text of a field, as encoded words unless it is plain and short. */
static void
add_words(struct buf *buf, const char *text)
{
	char word[BASE64_LENGTH(WORD_BYTES) + 1];
	bool is_first = true;

	if (is_plain(text) && strlen(text) < 900 && strstr(text, "=?") == NULL) {
		buf_add_text(buf, text);
		return;
	}
	while (*text != '\0') {
		size_t length = strlen(text);

		if (length > WORD_BYTES) {
			length = WORD_BYTES;
			while (length > 1 && ((unsigned char)text[length] & 0xc0) == 0x80)
				length--;
		}
		base64_encode(text, length, word);
		buf_printf(buf, "%s=?utf-8?b?%s?=", is_first ? "" : "\r\n ", word);
		is_first = false;
		text += length;
	}
}

static void
add_author(struct buf *buf, const struct reply_text *reply)
{
	const char *name = reply->effects->reply_name;
	char address[ADDRESS_TEXT_MAX + 1];

	buf_add_text(buf, "From: ");
	if (*name != '\0' && is_plain(name)) {
		buf_add_u8(buf, '"');
		for (; *name != '\0'; name++) {
			if (*name == '"' || *name == '\\')
				buf_add_u8(buf, '\\');
			buf_add_u8(buf, (uint8_t)*name);
		}
		buf_add_text(buf, "\" ");
	} else if (*name != '\0') {
		add_words(buf, name);
		buf_add_text(buf, "\r\n ");
	}
	address_format(reply->from, address, sizeof(address));
	buf_printf(buf, "<%s>\r\n", address);
}

/* Ids with a line for each (RFC 5322 3.6.4), what isn't one being left out. */
static void
add_references(struct buf *buf, const char *text)
{
	const char *last = NULL, *field = "References: ";
	int last_length = 0;

	while (*text != '\0') {
		int length = (int)strcspn(text, " \t");

		if (length > 2 && text[0] == '<' && text[length - 1] == '>') {
			bool good = true;

			for (int i = 0; i < length; i++)
				good = good && text[i] > ' ' && text[i] < 0x7f;
			if (good) {
				buf_printf(buf, "%s%.*s", field, length, text);
				field = "\r\n ";
				last = text;
				last_length = length;
			}
		}
		text += length;
		text += strspn(text, " \t");
	}
	if (last != NULL)
		buf_printf(buf, "\r\nIn-Reply-To: %.*s\r\n", last_length, last);
}

/* Lines as they are, but for their ends and what is no text. */
static void
add_lines(struct buf *buf, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\n')
			buf_add_text(buf, "\r\n");
		else if (*text != '\r')
			buf_add_u8(buf, (uint8_t)*text);
	}
	if (buf->length > 0 && buf->data[buf->length - 1] != '\n')
		buf_add_text(buf, "\r\n");
}

static void
add_base64(struct buf *buf, const char *text)
{
	char line[BASE64_LENGTH(LINE_BYTES) + 1];
	size_t length = strlen(text), count;

	for (; length > 0; length -= count) {
		count = length < LINE_BYTES ? length : LINE_BYTES;
		base64_encode(text, count, line);
		buf_printf(buf, "%s\r\n", line);
		text += count;
	}
}

static bool
is_long(const char *text)
{
	for (; *text != '\0'; text++) {
		size_t length = strcspn(text, "\n");

		if (length > 900)
			return true;
		text += length;
		if (*text == '\0')
			break;
	}
	return false;
}

static bool
has_eight_bit(const char *text)
{
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text >= 0x7f || (*text < ' ' && *text != '\n' && *text != '\t'))
			return true;
	}
	return false;
}

/* The entity's header as far as it describes it, and the rest behind it. */
static void
add_entity(struct buf *buf, const char *text)
{
	bool is_kept = false;

	while (*text != '\0' && *text != '\n') {
		size_t length = strcspn(text, "\n");

		if (*text != ' ' && *text != '\t')
			is_kept = strncasecmp(text, "Content-", 8) == 0 &&
			    memchr(text, ':', length) != NULL;
		for (size_t i = 0; i < length && is_kept; i++) {
			if (text[i] != '\r')
				buf_add_u8(
				    buf, (unsigned char)text[i] < 0x80 ? (uint8_t)text[i] : '?');
		}
		if (is_kept)
			buf_add_text(buf, "\r\n");
		text += length;
		text += *text == '\n';
	}
	buf_add_text(buf, "\r\n");
	if (*text == '\n')
		add_lines(buf, text + 1);
}

void
reply_text_build(struct buf *buf, const struct reply_text *reply)
{
	const struct ipc_effects *effects = reply->effects;
	char address[ADDRESS_TEXT_MAX + 1], date[64];

	add_author(buf, reply);
	address_format(reply->to, address, sizeof(address));
	buf_printf(buf, "To: <%s>\r\n", address);
	buf_add_text(buf, "Subject: ");
	add_words(buf, effects->reply_subject);
	clock_format_rfc5322(reply->now, date, sizeof(date));
	buf_printf(buf, "\r\nDate: %s\r\n", date);
	buf_printf(buf, "Message-ID: <%08" PRIx32 ".%" PRId64 "@%s>\r\n", reply->message_id,
	    reply->now, reply->hostname);
	add_references(buf, effects->reply_references);
	buf_add_text(buf, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
	if (effects->reply_is_mime) {
		add_entity(buf, effects->reply_text);
		return;
	}
	if (has_eight_bit(effects->reply_text) || is_long(effects->reply_text)) {
		buf_add_text(buf,
		    "Content-Type: text/plain; charset=utf-8\r\n"
		    "Content-Transfer-Encoding: base64\r\n\r\n");
		add_base64(buf, effects->reply_text);
	} else {
		buf_add_text(buf, "Content-Type: text/plain; charset=us-ascii\r\n\r\n");
		add_lines(buf, effects->reply_text);
	}
}
