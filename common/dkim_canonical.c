/*
 * One pass over the bytes, which holds back what may turn out to be worth nothing: white space until
 * something follows in its line, line ends until another line has text. A line ends with CRLF; any
 * other CR or LF is text like all else.
 */
#include <ctype.h>
#include <string.h>

#include "common/dkim_canonical.h"

#define PIECE 4096

static bool
is_blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

void
dkim_relax_field(struct buf *buf, const char *field, size_t length)
{
	const char *colon = memchr(field, ':', length);
	size_t name = colon == NULL ? length : (size_t)(colon - field), i;
	bool blank = false, has_value = false;

	for (i = name; i > 0 && is_blank(field[i - 1]); i--)
		;
	for (size_t j = 0; j < i; j++)
		buf_add_u8(buf, (uint8_t)tolower((unsigned char)field[j]));
	buf_add_u8(buf, ':');
	for (i = name + 1; i < length; i++) {
		/* A line end within a field is one before white space: folding. */
		if (field[i] == '\r' && i + 1 < length && field[i + 1] == '\n') {
			i++;
			continue;
		}
		if (is_blank(field[i])) {
			blank = true;
			continue;
		}
		if (blank && has_value)
			buf_add_u8(buf, ' ');
		blank = false;
		has_value = true;
		buf_add_u8(buf, (uint8_t)field[i]);
	}
}

void
dkim_body_init(struct dkim_body *body, void (*write)(void *, const void *, size_t), void *arg)
{
	memset(body, 0, sizeof(*body));
	body->write = write;
	body->arg = arg;
}

struct piece {
	struct dkim_body *body;
	size_t length;
	char data[PIECE];
};

static void
flush(struct piece *piece)
{
	if (piece->length > 0)
		piece->body->write(piece->body->arg, piece->data, piece->length);
	piece->length = 0;
}

static void
put(struct piece *piece, char byte)
{
	if (piece->length == sizeof(piece->data))
		flush(piece);
	piece->data[piece->length++] = byte;
}

/* A byte that counts; so does what was held back before it. */
static void
put_text(struct piece *piece, char byte)
{
	struct dkim_body *body = piece->body;

	for (; body->lines > 0; body->lines--) {
		put(piece, '\r');
		put(piece, '\n');
	}
	if (body->blank)
		put(piece, ' ');
	body->blank = false;
	body->has_text = true;
	put(piece, byte);
}

void
dkim_body_feed(struct dkim_body *body, const void *data, size_t length)
{
	const char *at = data, *end = at + length;
	struct piece piece;

	piece.body = body;
	piece.length = 0;
	for (; at < end; at++) {
		if (body->carriage) {
			body->carriage = false;
			if (*at == '\n') {
				body->lines++;
				body->blank = false;
				continue;
			}
			put_text(&piece, '\r');
		}
		if (*at == '\r')
			body->carriage = true;
		else if (is_blank(*at))
			body->blank = true;
		else
			put_text(&piece, *at);
	}
	flush(&piece);
}

void
dkim_body_end(struct dkim_body *body)
{
	struct piece piece;

	piece.body = body;
	piece.length = 0;
	if (body->carriage)
		put_text(&piece, '\r');
	body->carriage = body->blank = false;
	/* A last line has its end, be it given or not; a body without text is nothing. */
	if (body->has_text) {
		put(&piece, '\r');
		put(&piece, '\n');
	}
	flush(&piece);
}
