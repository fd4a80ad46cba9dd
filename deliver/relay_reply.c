/*
 * A reply is one or more lines "250-text", the last of them "250 text" or "250". Line ends without
 * CR are taken, and so are codes that differ between the lines: the last one counts, as it does for
 * who reads only that. The words of all lines are put together; an enhanced code (RFC 2034) is
 * taken from the first that has one of the code's class, and left out of the words.
 */
#include <stdio.h>
#include <string.h>

#include <bsd/string.h>

#include "deliver/relay_reply.h"

void
reply_parser_init(struct reply_parser *parser, reply_line_fn line, void *arg)
{
	memset(parser, 0, sizeof(*parser));
	parser->line = line;
	parser->arg = arg;
}

static void
begin(struct reply_parser *parser)
{
	parser->length = 0;
	parser->bytes = 0;
	parser->lines = 0;
	memset(&parser->reply, 0, sizeof(parser->reply));
}

/* How long the enhanced code at `text` is, with what separates it from the words; 0: there is
 * none. */
static size_t
enhanced_length(const char *text, unsigned class)
{
	const char *at = text;
	size_t digits;

	if ((unsigned char)*at != '0' + class || (class != 2 && class != 4 && class != 5))
		return 0;
	at++;
	for (int part = 0; part < 2; part++) {
		if (*at++ != '.')
			return 0;
		digits = strspn(at, "0123456789");
		if (digits < 1 || digits > 3)
			return 0;
		at += digits;
	}
	return *at == '\0' || *at == ' ' ? (size_t)(at - text) : 0;
}

static void
add_words(struct reply *reply, const char *text)
{
	size_t have = strlen(reply->text), length = enhanced_length(text, reply->code / 100);

	if (length > 0 && *reply->enhanced == '\0')
		snprintf(reply->enhanced, sizeof(reply->enhanced), "%.*s", (int)length, text);
	text += length;
	while (*text == ' ' || *text == '\t')
		text++;
	if (*text == '\0' || have + 2 >= sizeof(reply->text))
		return;
	if (have > 0)
		reply->text[have++] = ' ';
	strlcpy(reply->text + have, text, sizeof(reply->text) - have);
	for (char *c = reply->text + have; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
			*c = '?';
}

/* A complete line in the buffer, its line end gone. */
static enum reply_result
take_line(struct reply_parser *parser)
{
	const char *text = parser->buffer;
	unsigned code;
	bool last;

	/* strlen() is less than length where a NUL is; what is behind it is nobody's words. */
	for (size_t i = 0; i < parser->length; i++)
		if (parser->buffer[i] == '\0')
			parser->buffer[i] = '?';
	parser->buffer[parser->length] = '\0';
	for (int i = 0; i < 3; i++) {
		if (text[i] < '0' || text[i] > '9') {
			parser->why = "what it says is no SMTP reply";
			return REPLY_BROKEN;
		}
	}
	code = (unsigned)(text[0] - '0') * 100 + (unsigned)(text[1] - '0') * 10 +
	    (unsigned)(text[2] - '0');
	if (code < 200 || code > 599) {
		parser->why = "it uses a reply code that SMTP doesn't have";
		return REPLY_BROKEN;
	}
	last = text[3] != '-';
	if (text[3] != '\0' && text[3] != '-' && text[3] != ' ' && text[3] != '\t') {
		parser->why = "what it says is no SMTP reply";
		return REPLY_BROKEN;
	}
	/* A class that changes takes the enhanced code of the other with it. */
	if (parser->reply.code / 100 != code / 100)
		parser->reply.enhanced[0] = '\0';
	parser->reply.code = code;
	text += text[3] == '\0' ? 3 : 4;
	if (parser->line != NULL)
		parser->line(code, text, parser->lines == 0, parser->arg);
	add_words(&parser->reply, text);
	parser->length = 0;
	parser->lines++;
	return last ? REPLY_COMPLETE : REPLY_MORE;
}

enum reply_result
reply_parser_feed(struct reply_parser *parser, const uint8_t *data, size_t length, size_t *used)
{
	enum reply_result result = REPLY_MORE;
	const uint8_t *end;
	size_t span, room;

	*used = 0;
	if (parser->lines > 0 && parser->bytes == 0)
		begin(parser);
	while (*used < length && result == REPLY_MORE) {
		end = memchr(data + *used, '\n', length - *used);
		span = end == NULL ? length - *used : (size_t)(end - (data + *used));
		room = REPLY_LINE_MAX - parser->length;
		memcpy(parser->buffer + parser->length, data + *used, span < room ? span : room);
		parser->length += span < room ? span : room;
		*used += span + (end != NULL);
		parser->bytes += span + (end != NULL);
		if (end != NULL) {
			if (parser->length > 0 && parser->buffer[parser->length - 1] == '\r')
				parser->length--;
			result = take_line(parser);
		}
		if (result == REPLY_MORE &&
		    (parser->bytes > REPLY_BYTES_MAX || parser->lines > REPLY_LINES_MAX)) {
			parser->why = "its reply doesn't end";
			result = REPLY_BROKEN;
		}
	}
	if (result == REPLY_COMPLETE)
		parser->bytes = 0;
	return result;
}
