/*
 * Messages: the same parts are found however the text comes, each within its parent, and what is
 * written of them is a list that closes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/mime.h"
#include "common/mime_decode.h"
#include "mailbox/mime_structure.h"

#define TEXT_LIMIT (4 * 1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static struct mime *
parse(const uint8_t *data, size_t size, size_t step)
{
	struct mime_parser *parser = mime_parser_new();
	struct mime *mime;

	if (parser == NULL)
		abort();
	for (size_t at = 0; at < size; at += step)
		mime_parser_feed(
		    parser, (const char *)data + at, size - at < step ? size - at : step);
	mime = mime_parser_finish(parser);
	if (mime == NULL)
		abort();
	return mime;
}

static void
check_order(const struct mime_place *first, const struct mime_place *second)
{
	if (first->offset > second->offset || first->added > second->added ||
	    first->lines > second->lines)
		abort();
}

static bool
is_same_place(const struct mime_place *a, const struct mime_place *b)
{
	return a->offset == b->offset && a->added == b->added && a->lines == b->lines;
}

static void
check_same(const struct mime *a, const struct mime *b)
{
	if (a->count != b->count || a->text_length != b->text_length ||
	    memcmp(a->text, b->text, a->text_length) != 0)
		abort();
	for (size_t i = 0; i < a->count; i++) {
		const struct mime_part *x = &a->parts[i], *y = &b->parts[i];

		if (x->kind != y->kind || x->encoding != y->encoding || x->parent != y->parent ||
		    x->first_child != y->first_child || x->next != y->next ||
		    !is_same_place(&x->header, &y->header) || !is_same_place(&x->body, &y->body) ||
		    !is_same_place(&x->end, &y->end) ||
		    memcmp(x->fields, y->fields, sizeof(x->fields)) != 0)
			abort();
	}
}

static void
check_parts(const struct mime *mime, size_t size)
{
	for (size_t i = 0; i < mime->count; i++) {
		const struct mime_part *part = &mime->parts[i], *parent;

		check_order(&part->header, &part->body);
		check_order(&part->body, &part->end);
		if (part->end.offset > size || (part->parent != MIME_NONE && part->parent >= i))
			abort();
		if (part->parent == MIME_NONE)
			continue;
		parent = &mime->parts[part->parent];
		check_order(&parent->body, &part->header);
		if (part->end.offset > parent->end.offset && part->end.offset > part->body.offset)
			abort();
		if (part->next != MIME_NONE && (part->next <= i || part->next >= mime->count))
			abort();
	}
	if (mime->parts[0].end.offset != size)
		abort();
}

/* Parentheses close, outside of strings and literals. */
static void
check_list(const struct buf *text)
{
	size_t depth = 0, i, size;
	const char *bytes = (const char *)text->data;

	for (i = 0; i < text->length; i++) {
		switch (bytes[i]) {
		case '(':
			depth++;
			break;
		case ')':
			if (depth-- == 0)
				abort();
			break;
		case '"':
			for (i++; i < text->length && bytes[i] != '"'; i++) {
				if (bytes[i] == '\\')
					i++;
			}
			break;
		case '{':
			for (size = 0, i++; bytes[i] != '}'; i++)
				size = size * 10 + (size_t)(bytes[i] - '0');
			i += 2 + size;
			break;
		case '\r':
		case '\n':
			abort();
		default:
			break;
		}
	}
	if (depth != 0 || i != text->length)
		abort();
}

static void
write_all(const struct mime *mime)
{
	struct buf text;

	buf_init(&text, TEXT_LIMIT);
	for (int i = 0; i < 3; i++) {
		buf_clear(&text);
		if (i == 0)
			mime_write_envelope(&text, mime, 0);
		else
			mime_write_structure(&text, mime, i == 1);
		if (buf_ok(&text))
			check_list(&text);
	}
	buf_free(&text);
}

static bool
take(const char *bytes, size_t length, void *arg)
{
	size_t *sum = arg;

	for (size_t i = 0; i < length; i++)
		*sum = *sum * 31 + (unsigned char)bytes[i];
	return true;
}

static size_t
decode(const uint8_t *data, size_t size, size_t step, enum mime_encoding encoding)
{
	struct mime_decoder decoder;
	size_t sum = 0;

	mime_decoder_init(&decoder, encoding, take, &sum);
	for (size_t at = 0; at < size; at += step)
		mime_decoder_feed(
		    &decoder, (const char *)data + at, size - at < step ? size - at : step);
	mime_decoder_finish(&decoder);
	return sum;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mime *whole = parse(data, size, SIZE_MAX / 2), *bytes = parse(data, size, 1);
	struct buf text;
	char *field;

	check_same(whole, bytes);
	check_parts(whole, size);
	write_all(whole);
	mime_free(whole);
	mime_free(bytes);
	for (int i = 0; i < 3; i++) {
		enum mime_encoding encoding = (enum mime_encoding)i;

		if (decode(data, size, SIZE_MAX / 2, encoding) != decode(data, size, 1, encoding))
			abort();
	}
	field = malloc(size + 1);
	if (field == NULL)
		abort();
	if (size > 0)
		memcpy(field, data, size);
	field[size] = '\0';
	buf_init(&text, TEXT_LIMIT);
	mime_decode_words(field, &text);
	buf_free(&text);
	free(field);
	return 0;
}
