/*
 * A byte at a time, but for literals. A line that has turned out to be none is read on in the same
 * states, and only nothing is kept: a literal in it must not be taken for the next line.
 */
#include <string.h>
#include <strings.h>

#include "common/managesieve.h"

#define QUOTED_MAX  1024 /* RFC 5804 4: bytes of a quoted string */
#define LITERAL_END 3    /* "}", CR and LF */
#define KEEP_MAX    4096 /* memory that a reader keeps for the next line */

void
managesieve_init(struct managesieve_reader *reader, enum managesieve_side side, size_t limit)
{
	memset(reader, 0, sizeof(*reader));
	reader->side = side;
	reader->limit = limit;
	/* A NUL behind each token. */
	buf_init(&reader->text, limit + MANAGESIEVE_TOKENS_MAX);
}

static void
forget_text(struct managesieve_reader *reader)
{
	if (reader->text.data != NULL)
		explicit_bzero(reader->text.data, reader->text.length);
}

void
managesieve_free(struct managesieve_reader *reader)
{
	forget_text(reader);
	buf_free(&reader->text);
}

void
managesieve_next(struct managesieve_reader *reader)
{
	forget_text(reader);
	if (reader->text.capacity > KEEP_MAX)
		buf_free(&reader->text);
	else
		buf_clear(&reader->text);
	reader->state = MANAGESIEVE_BETWEEN;
	reader->count = 0;
	reader->why = NULL;
	reader->is_too_large = false;
	reader->read = 0;
}

static void
refuse(struct managesieve_reader *reader, const char *why)
{
	if (reader->why == NULL)
		reader->why = why;
}

static void
refuse_size(struct managesieve_reader *reader)
{
	if (reader->why == NULL)
		reader->is_too_large = true;
	refuse(reader, "That is too large");
}

static enum managesieve_event
lose(struct managesieve_reader *reader, const char *why)
{
	reader->state = MANAGESIEVE_LOST;
	reader->why = why;
	return MANAGESIEVE_END;
}

/* --- tokens --- */

static void
begin_token(struct managesieve_reader *reader, bool is_string)
{
	if (reader->why != NULL)
		return;
	if (reader->count == MANAGESIEVE_TOKENS_MAX) {
		refuse(reader, "There are too many arguments");
		return;
	}
	reader->tokens[reader->count] =
	    (struct managesieve_token){ .is_string = is_string, .at = reader->text.length };
	reader->count++;
}

static void
add(struct managesieve_reader *reader, const char *bytes, size_t length)
{
	struct managesieve_token *token;

	if (reader->why != NULL || length == 0)
		return;
	/* A NUL for each token before this one is there already. */
	if (length > reader->limit ||
	    reader->text.length - (reader->count - 1) > reader->limit - length) {
		refuse_size(reader);
		return;
	}
	buf_add(&reader->text, bytes, length);
	token = &reader->tokens[reader->count - 1];
	token->length += length;
	if (!buf_ok(&reader->text))
		refuse(reader, "There is no memory for it now");
}

static void
end_token(struct managesieve_reader *reader)
{
	if (reader->why != NULL)
		return;
	buf_add_u8(&reader->text, '\0');
	if (!buf_ok(&reader->text))
		refuse(reader, "There is no memory for it now");
}

/* --- states --- */

static void begin(struct managesieve_reader *, char);

static void
begin_literal(struct managesieve_reader *reader)
{
	reader->state = MANAGESIEVE_LITERAL_LENGTH;
	reader->literal = 0;
	reader->digits = 0;
	begin_token(reader, true);
}

static void
take_parenthesis(struct managesieve_reader *reader, char byte)
{
	begin_token(reader, false);
	add(reader, &byte, 1);
	end_token(reader);
	reader->state = byte == '(' ? MANAGESIEVE_BETWEEN : MANAGESIEVE_AFTER;
}

/* A byte where a token, a blank or the end of the line may be. */
static void
begin(struct managesieve_reader *reader, char byte)
{
	switch (byte) {
	case ' ':
		reader->state = MANAGESIEVE_BETWEEN;
		return;
	case '\r':
		reader->state = MANAGESIEVE_RETURN;
		return;
	case '(':
	case ')':
		take_parenthesis(reader, byte);
		return;
	}
	if (reader->state == MANAGESIEVE_AFTER)
		refuse(reader, "A space is missing behind a string");
	if (byte == '"') {
		begin_token(reader, true);
		reader->state = MANAGESIEVE_QUOTED;
	} else if (byte == '{') {
		begin_literal(reader);
	} else {
		if (byte <= ' ' || byte > '~')
			refuse(reader, "There is a character that can't be there");
		begin_token(reader, false);
		add(reader, &byte, 1);
		reader->state = MANAGESIEVE_WORD;
	}
}

static void
take_in_word(struct managesieve_reader *reader, char byte)
{
	if (byte == ' ' || byte == '\r' || byte == '(' || byte == ')') {
		end_token(reader);
		begin(reader, byte);
		return;
	}
	if (byte <= ' ' || byte > '~' || byte == '"' || byte == '{')
		refuse(reader, "There is a character that can't be there");
	if (byte == '"' || byte == '{')
		begin(reader, byte);
	else
		add(reader, &byte, 1);
}

static void
take_in_quotes(struct managesieve_reader *reader, char byte)
{
	if (reader->state == MANAGESIEVE_QUOTED && byte == '\\') {
		reader->state = MANAGESIEVE_ESCAPED;
		return;
	}
	if (reader->state == MANAGESIEVE_QUOTED && byte == '"') {
		end_token(reader);
		reader->state = MANAGESIEVE_AFTER;
		return;
	}
	reader->state = MANAGESIEVE_QUOTED;
	if (byte == '\0' || byte == '\r')
		refuse(reader, "There is a character in quotes that can't be there");
	else
		add(reader, &byte, 1);
}

static enum managesieve_event
take_length(struct managesieve_reader *reader, char byte)
{
	if (byte >= '0' && byte <= '9' && reader->state == MANAGESIEVE_LITERAL_LENGTH) {
		/* Beyond what is taken it needn't be exact. */
		if (reader->literal <= MANAGESIEVE_SKIP_MAX)
			reader->literal = reader->literal * 10 + (uint64_t)(byte - '0');
		reader->digits++;
		return MANAGESIEVE_MORE;
	}
	if (reader->digits > 0 && byte == '+' && reader->state == MANAGESIEVE_LITERAL_LENGTH) {
		reader->state = MANAGESIEVE_LITERAL_PLUS;
		return MANAGESIEVE_MORE;
	}
	if (reader->digits == 0 || byte != '}')
		return lose(reader, "That is no literal's length");
	/* Who sends it waits to be told, or doesn't: its next bytes are a command, or aren't. */
	if (reader->side == MANAGESIEVE_CLIENT && reader->state != MANAGESIEVE_LITERAL_PLUS)
		return lose(reader, "A literal's length must be as in {10+}");
	if (reader->literal + reader->read > MANAGESIEVE_SKIP_MAX)
		return lose(reader, "That is more than can be taken");
	reader->state = MANAGESIEVE_LITERAL_CLOSED;
	return MANAGESIEVE_MORE;
}

/* A line's end; in a literal's length it isn't one. */
static enum managesieve_event
take_end(struct managesieve_reader *reader)
{
	switch (reader->state) {
	case MANAGESIEVE_WORD:
		end_token(reader);
		break;
	case MANAGESIEVE_QUOTED:
	case MANAGESIEVE_ESCAPED:
		refuse(reader, "A quote is missing at the end of a string");
		break;
	case MANAGESIEVE_LITERAL_LENGTH:
	case MANAGESIEVE_LITERAL_PLUS:
		return lose(reader, "That is no literal's length");
	case MANAGESIEVE_LITERAL_CLOSED:
	case MANAGESIEVE_LITERAL_RETURN:
		reader->state = MANAGESIEVE_LITERAL;
		if (reader->why == NULL && reader->literal > reader->limit)
			refuse_size(reader);
		if (reader->literal == 0) {
			end_token(reader);
			reader->state = MANAGESIEVE_AFTER;
		}
		return MANAGESIEVE_MORE;
	case MANAGESIEVE_BETWEEN:
	case MANAGESIEVE_AFTER:
	case MANAGESIEVE_RETURN:
	case MANAGESIEVE_LITERAL:
	case MANAGESIEVE_LOST:
		break;
	}
	return MANAGESIEVE_LINE;
}

static enum managesieve_event
take_byte(struct managesieve_reader *reader, char byte)
{
	if (byte == '\n')
		return take_end(reader);
	switch (reader->state) {
	case MANAGESIEVE_RETURN:
		refuse(reader, "There is a CR that ends no line");
		reader->state = MANAGESIEVE_BETWEEN;
		__attribute__((fallthrough));
	case MANAGESIEVE_BETWEEN:
	case MANAGESIEVE_AFTER:
		begin(reader, byte);
		break;
	case MANAGESIEVE_WORD:
		take_in_word(reader, byte);
		break;
	case MANAGESIEVE_QUOTED:
	case MANAGESIEVE_ESCAPED:
		take_in_quotes(reader, byte);
		break;
	case MANAGESIEVE_LITERAL_LENGTH:
	case MANAGESIEVE_LITERAL_PLUS:
		return take_length(reader, byte);
	case MANAGESIEVE_LITERAL_CLOSED:
		if (byte != '\r')
			return lose(reader, "That is no literal's length");
		reader->state = MANAGESIEVE_LITERAL_RETURN;
		break;
	case MANAGESIEVE_LITERAL_RETURN:
		return lose(reader, "That is no literal's length");
	case MANAGESIEVE_LITERAL:
	case MANAGESIEVE_LOST:
		break;
	}
	return MANAGESIEVE_MORE;
}

static size_t
take_literal(struct managesieve_reader *reader, const char *bytes, size_t length)
{
	if (length > reader->literal)
		length = (size_t)reader->literal;
	add(reader, bytes, length);
	reader->literal -= length;
	if (reader->literal == 0) {
		end_token(reader);
		reader->state = MANAGESIEVE_AFTER;
	}
	return length;
}

enum managesieve_event
managesieve_take(struct managesieve_reader *reader, const char *bytes, size_t length, size_t *used)
{
	enum managesieve_event event = MANAGESIEVE_MORE;
	size_t at = 0, count;

	if (reader->state == MANAGESIEVE_LOST) {
		*used = 0;
		return MANAGESIEVE_END;
	}
	while (at < length && event == MANAGESIEVE_MORE) {
		count = 1;
		if (reader->state == MANAGESIEVE_LITERAL)
			count = take_literal(reader, bytes + at, length - at);
		else
			event = take_byte(reader, bytes[at]);
		at += count;
		reader->read += count;
		if (event == MANAGESIEVE_MORE && reader->read > MANAGESIEVE_SKIP_MAX + LITERAL_END)
			event = lose(reader, "That line is too long");
	}
	*used = at;
	return event;
}

/* --- what is in a line --- */

const char *
managesieve_text(const struct managesieve_reader *reader, size_t token)
{
	return (const char *)reader->text.data + reader->tokens[token].at;
}

bool
managesieve_is_word(const struct managesieve_reader *reader, size_t token, const char *word)
{
	return token < reader->count && !reader->tokens[token].is_string &&
	    strcasecmp(managesieve_text(reader, token), word) == 0;
}

bool
managesieve_is_text(const struct managesieve_reader *reader, size_t token)
{
	return token < reader->count && reader->tokens[token].is_string &&
	    strlen(managesieve_text(reader, token)) == reader->tokens[token].length;
}

void
managesieve_add_string(
    struct buf *buf, enum managesieve_side side, const char *bytes, size_t length)
{
	bool quotes = length <= QUOTED_MAX;
	size_t i;

	for (i = 0; i < length && quotes; i++)
		quotes = bytes[i] != '\0' && bytes[i] != '\r' && bytes[i] != '\n';
	if (!quotes) {
		buf_printf(buf, "{%zu%s}\r\n", length, side == MANAGESIEVE_CLIENT ? "+" : "");
		buf_add(buf, bytes, length);
		return;
	}
	buf_add_u8(buf, '"');
	for (i = 0; i < length; i++) {
		if (bytes[i] == '"' || bytes[i] == '\\')
			buf_add_u8(buf, '\\');
		buf_add_u8(buf, (uint8_t)bytes[i]);
	}
	buf_add_u8(buf, '"');
}
