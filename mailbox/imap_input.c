/*
 * A command's line ends with CRLF (a bare LF is taken as well), unless a literal's length stands
 * before it: then so many bytes follow, and the line goes on behind them. Whether a literal is a
 * message's text is seen from the command's text before it: APPEND's and REPLACE's mailbox is
 * complete there.
 *
 * A synchronizing literal is only sent after "+", so a command that is too long is refused before
 * it; one with "+" in its braces comes whatever is answered, and must be read past.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "mailbox/imap_input.h"

#define LITERAL_DIGITS_MAX 19 /* 2^63 - 1 (RFC 9051 9: number64) */

void
imap_input_init(struct imap_input *input, size_t limit)
{
	memset(input, 0, sizeof(*input));
	buf_init(&input->command, limit);
}

void
imap_input_free(struct imap_input *input)
{
	buf_free(&input->command);
}

void
imap_input_next(struct imap_input *input)
{
	/* A client that is idle for hours needs no memory for its last command. */
	buf_free(&input->command);
	input->state = IMAP_INPUT_STATE_LINE;
	input->line = 0;
	input->literal = 0;
	input->is_refused = false;
	input->tail_length = 0;
	input->skipped = 0;
}

/* What a line's end says of a literal behind it. */
struct announced {
	bool is_there;
	bool synchronizing;
	uint64_t size;
	size_t at; /* of "{" in the text */
};

static struct announced
find_announced(const char *text, size_t length)
{
	struct announced found = { .synchronizing = true };
	size_t end, digits = 0;

	if (length < 3 || text[length - 1] != '}')
		return found;
	end = length - 1;
	if (text[end - 1] == '+') { /* RFC 7888 4 */
		found.synchronizing = false;
		end--;
	}
	found.at = end;
	while (found.at > 0 && isdigit((unsigned char)text[found.at - 1]) &&
	    digits < LITERAL_DIGITS_MAX) {
		found.at--;
		digits++;
	}
	if (digits == 0 || found.at == 0 || text[found.at - 1] != '{')
		return found;
	for (size_t i = found.at; i < end; i++)
		found.size = found.size * 10 + (uint64_t)(text[i] - '0');
	found.at--;
	found.is_there = found.size <= INT64_MAX;
	return found;
}

/* Skips an astring (RFC 9051 9) at `*at`; false when it isn't complete. */
static bool
skip_astring(const char *text, size_t length, size_t *at)
{
	const char *end;
	uint64_t size = 0;
	size_t i = *at;

	if (i < length && text[i] == '"') {
		for (i++; i < length && text[i] != '"'; i++) {
			if (text[i] == '\\')
				i++;
		}
		*at = i + 1;
		return i < length;
	}
	if (i < length && text[i] == '{') {
		end = memchr(text + i, '\n', length - i);
		if (end == NULL)
			return false;
		for (i++; i < length && isdigit((unsigned char)text[i]); i++)
			size = size * 10 + (uint64_t)(text[i] - '0');
		i = (size_t)(end - text) + 1;
		*at = i + size;
		return size <= length - i;
	}
	while (i < length && text[i] != ' ')
		i++;
	if (i == *at)
		return false;
	*at = i;
	return true;
}

static bool
skip_space(const char *text, size_t length, size_t *at)
{
	if (*at >= length || text[*at] != ' ')
		return false;
	(*at)++;
	return true;
}

/* Whether the literal at the end of the text is a message's (RFC 9051 6.3.12, RFC 3502, RFC 8508 3). */
static bool
is_message_next(const char *text, size_t length)
{
	size_t at = 0, word, size;
	bool is_replace;

	if (!skip_astring(text, length, &at) || !skip_space(text, length, &at))
		return false;
	word = at;
	if (!skip_astring(text, length, &at))
		return false;
	size = at - word;
	if (size == 3 && strncasecmp(text + word, "UID", 3) == 0) {
		if (!skip_space(text, length, &at))
			return false;
		word = at;
		if (!skip_astring(text, length, &at))
			return false;
		size = at - word;
	}
	is_replace = size == 7 && strncasecmp(text + word, "REPLACE", 7) == 0;
	if (!is_replace && (size != 6 || strncasecmp(text + word, "APPEND", 6) != 0))
		return false;
	if (is_replace && (!skip_space(text, length, &at) || !skip_astring(text, length, &at)))
		return false;
	return skip_space(text, length, &at) && skip_astring(text, length, &at) &&
	    skip_space(text, length, &at);
}

/* Whether so many bytes more may be skipped: a client that never comes to an end is not waited for. */
static bool
may_skip(struct imap_input *input, uint64_t count)
{
	if (count > IMAP_SKIP_MAX - input->skipped) {
		input->state = IMAP_INPUT_STATE_CLOSED;
		return false;
	}
	input->skipped += count;
	return true;
}

/* A literal of `size` bytes comes, although all is refused. */
static enum imap_input_event
skip_literal(struct imap_input *input, uint64_t size)
{
	input->is_refused = true;
	if (!may_skip(input, size))
		return IMAP_INPUT_CLOSE;
	input->literal = size;
	input->tail_length = 0;
	input->state = size > 0 ? IMAP_INPUT_STATE_SKIP_LITERAL : IMAP_INPUT_STATE_SKIP_LINE;
	return IMAP_INPUT_MORE;
}

static enum imap_input_event
refused(struct imap_input *input)
{
	input->state = IMAP_INPUT_STATE_DONE;
	return IMAP_INPUT_REFUSED;
}

/* A line of the command has ended: with a literal, or the command with it. */
static enum imap_input_event
end_line(struct imap_input *input)
{
	const char *text = (const char *)input->command.data;
	struct announced next = { 0 };
	bool is_message;

	if (input->command.length > input->line)
		next = find_announced(text + input->line, input->command.length - input->line);
	if (!next.is_there) {
		input->state = IMAP_INPUT_STATE_DONE;
		return input->is_refused ? IMAP_INPUT_REFUSED : IMAP_INPUT_COMMAND;
	}
	input->synchronizing = next.synchronizing;
	is_message = is_message_next(text, input->line + next.at);
	if (is_message) {
		input->command.length = input->line + next.at;
		buf_printf(&input->command, "{%llu!}", (unsigned long long)next.size);
	}
	buf_add(&input->command, "\r\n", 2);
	if (!is_message && next.size > input->command.limit - input->command.length)
		input->command.failed = true;
	if (input->is_refused || !buf_ok(&input->command))
		return next.synchronizing ? refused(input) : skip_literal(input, next.size);
	input->line = input->command.length;
	input->literal = input->size = next.size;
	if (is_message) {
		input->state = IMAP_INPUT_STATE_TEXT;
		return IMAP_INPUT_MESSAGE;
	}
	input->line += (size_t)next.size; /* nothing in it announces another one */
	input->state = next.size > 0 ? IMAP_INPUT_STATE_LITERAL : IMAP_INPUT_STATE_LINE;
	return next.synchronizing ? IMAP_INPUT_CONTINUE : IMAP_INPUT_MORE;
}

/* Keeps the last bytes of a line that is skipped. */
static void
keep_tail(struct imap_input *input, const char *bytes, size_t length)
{
	size_t kept;

	if (length == 0)
		return;
	if (length >= IMAP_INPUT_TAIL) {
		memcpy(input->tail, bytes + length - IMAP_INPUT_TAIL, IMAP_INPUT_TAIL);
		input->tail_length = IMAP_INPUT_TAIL;
		return;
	}
	kept = input->tail_length;
	if (kept > IMAP_INPUT_TAIL - length)
		kept = IMAP_INPUT_TAIL - length;
	memmove(input->tail, input->tail + input->tail_length - kept, kept);
	memcpy(input->tail + kept, bytes, length);
	input->tail_length = kept + length;
}

static enum imap_input_event
take_line(struct imap_input *input, const char *bytes, size_t length, size_t *used)
{
	const char *end = memchr(bytes, '\n', length);
	size_t count = end != NULL ? (size_t)(end - bytes) : length;
	size_t room = input->command.limit - input->command.length, begin;

	if (count > room)
		end = NULL;
	buf_add(&input->command, bytes, count < room ? count : room);
	if (count > room || !buf_ok(&input->command)) {
		begin = input->line < input->command.length ? input->line : input->command.length;
		*used += count < room ? count : room;
		input->is_refused = true;
		keep_tail(input, (const char *)input->command.data + begin,
		    input->command.length - begin);
		input->state = IMAP_INPUT_STATE_SKIP_LINE;
		return IMAP_INPUT_MORE;
	}
	*used += count + (end != NULL);
	if (end == NULL)
		return IMAP_INPUT_MORE;
	if (input->command.length > input->line &&
	    input->command.data[input->command.length - 1] == '\r')
		input->command.length--;
	return end_line(input);
}

static enum imap_input_event
take_literal(struct imap_input *input, const char *bytes, size_t length, size_t *used)
{
	size_t count = length < input->literal ? length : (size_t)input->literal;

	buf_add(&input->command, bytes, count);
	*used += count;
	input->literal -= count;
	if (!buf_ok(&input->command)) /* memory: its size fits */
		return skip_literal(input, input->literal);
	if (input->literal == 0)
		input->state = IMAP_INPUT_STATE_LINE;
	return IMAP_INPUT_MORE;
}

static enum imap_input_event
take_text(struct imap_input *input, const char *bytes, size_t length, size_t *used)
{
	size_t count = length < input->literal ? length : (size_t)input->literal;

	if (input->is_refused) {
		if (input->synchronizing && input->literal == input->size)
			return refused(input);
		return skip_literal(input, input->literal);
	}
	if (input->literal == 0) {
		input->state = IMAP_INPUT_STATE_LINE;
		return IMAP_INPUT_MESSAGE_END;
	}
	if (count == 0)
		return IMAP_INPUT_MORE;
	input->text = bytes;
	input->text_length = count;
	*used += count;
	input->literal -= count;
	return IMAP_INPUT_TEXT;
}

static enum imap_input_event
skip_line(struct imap_input *input, const char *bytes, size_t length, size_t *used)
{
	const char *end = memchr(bytes, '\n', length);
	size_t count = end != NULL ? (size_t)(end - bytes) : length;
	struct announced next;

	*used += count + (end != NULL);
	if (!may_skip(input, count))
		return IMAP_INPUT_CLOSE;
	keep_tail(input, bytes, count);
	if (end == NULL)
		return IMAP_INPUT_MORE;
	count = input->tail_length;
	if (count > 0 && input->tail[count - 1] == '\r')
		count--;
	next = find_announced(input->tail, count);
	if (next.is_there && !next.synchronizing)
		return skip_literal(input, next.size);
	return refused(input);
}

static enum imap_input_event
take_skipped(struct imap_input *input, size_t length, size_t *used)
{
	size_t count = length < input->literal ? length : (size_t)input->literal;

	*used += count;
	input->literal -= count;
	if (input->literal == 0)
		input->state = IMAP_INPUT_STATE_SKIP_LINE;
	return IMAP_INPUT_MORE;
}

enum imap_input_event
imap_input_take(struct imap_input *input, const char *bytes, size_t length, size_t *used)
{
	enum imap_input_event event = IMAP_INPUT_MORE;

	*used = 0;
	while (event == IMAP_INPUT_MORE) {
		const char *next = bytes + *used;
		size_t left = length - *used;

		/* Without bytes, only the end of a message's text can be told. */
		if (left == 0 &&
		    (input->state != IMAP_INPUT_STATE_TEXT ||
		        (input->literal > 0 && !input->is_refused)))
			return IMAP_INPUT_MORE;
		switch (input->state) {
		case IMAP_INPUT_STATE_LINE:
			event = take_line(input, next, left, used);
			break;
		case IMAP_INPUT_STATE_LITERAL:
			event = take_literal(input, next, left, used);
			break;
		case IMAP_INPUT_STATE_TEXT:
			event = take_text(input, next, left, used);
			break;
		case IMAP_INPUT_STATE_SKIP_LINE:
			event = skip_line(input, next, left, used);
			break;
		case IMAP_INPUT_STATE_SKIP_LITERAL:
			event = take_skipped(input, left, used);
			break;
		case IMAP_INPUT_STATE_DONE:
			return IMAP_INPUT_MORE;
		case IMAP_INPUT_STATE_CLOSED:
			return IMAP_INPUT_CLOSE;
		}
	}
	return event;
}

void
imap_input_refuse(struct imap_input *input)
{
	input->is_refused = true;
}
