/*
 * The header is cut into fields once; a field's value is unfolded when a test asks for it. Parts of the body are
 * found by the parser that IMAP uses (common/mime.h).
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "common/buf.h"
#include "common/mime.h"
#include "common/mime_decode.h"
#include "common/mime_header.h"
#include "common/sieve_message.h"

#define VALUE_MAX (64 * 1024) /* bytes of one field that are seen */

bool
sieve_field_name_is_valid(const char *name)
{
	size_t i;

	for (i = 0; name[i] != '\0'; i++) {
		if (name[i] <= ' ' || name[i] >= 0x7f || name[i] == ':')
			return false;
	}
	return i > 0;
}

/* The field whose first line is this one; what has no colon isn't one. */
static void
add_field(struct sieve_view *view, const char *line, size_t length)
{
	struct sieve_field *field = &view->fields[view->field_count];
	const char *colon = memchr(line, ':', length);

	if (colon == NULL || view->field_count == SIEVE_FIELDS_MAX)
		return;
	field->name = line;
	field->name_length = (size_t)(colon - line);
	while (field->name_length > 0 &&
	    (line[field->name_length - 1] == ' ' || line[field->name_length - 1] == '\t'))
		field->name_length--;
	field->value = colon + 1;
	field->length = length - (size_t)(field->value - line);
	view->field_count += field->name_length > 0;
}

/* Where the next line begins. */
static size_t
line_end(const char *text, size_t at, size_t length)
{
	const char *end = memchr(text + at, '\n', length - at);

	return end == NULL ? length : (size_t)(end - text) + 1;
}

bool
sieve_view_init(
    struct sieve_view *view, const struct sieve_message *message, struct sieve_arena *arena)
{
	const char *text = message->text;
	size_t length = message->length < SIEVE_TEXT_MAX ? message->length : SIEVE_TEXT_MAX;
	size_t at = 0, end;

	memset(view, 0, sizeof(*view));
	view->message = message;
	view->arena = arena;
	buf_init(&view->scratch, SIEVE_TEXT_MAX * 3);
	view->fields = sieve_arena_get(arena, SIEVE_FIELDS_MAX * sizeof(view->fields[0]));
	if (view->fields == NULL)
		return false;
	while (at < length) {
		end = line_end(text, at, length);
		if (text[at] == '\n' || (text[at] == '\r' && end == at + 2)) {
			view->body = end;
			return true;
		}
		/* With the lines that continue it. */
		while (end < length && (text[end] == ' ' || text[end] == '\t'))
			end = line_end(text, end, length);
		add_field(view, text + at, end - at);
		at = end;
	}
	view->body = length;
	return true;
}

void
sieve_view_free(struct sieve_view *view)
{
	mime_free(view->mime);
	buf_free(&view->scratch);
}

size_t
sieve_find_field(const struct sieve_view *view, const char *name, size_t from)
{
	size_t length = strlen(name);

	while (from < view->field_count &&
	    (view->fields[from].name_length != length ||
	        strncasecmp(view->fields[from].name, name, length) != 0))
		from++;
	return from;
}

char *
sieve_field_text(struct sieve_view *view, size_t index)
{
	struct sieve_field *field = &view->fields[index];
	const char *at = field->value, *end = at + field->length;
	size_t used = 0, room = field->length < VALUE_MAX ? field->length : VALUE_MAX;
	char *text;

	if (field->text != NULL)
		return field->text;
	text = sieve_arena_get(view->arena, room + 1);
	if (text == NULL)
		return NULL;
	while (at < end && isspace((unsigned char)*at))
		at++;
	/* Line ends go (RFC 5322 2.2.3), and NULs, which would end it. */
	for (; at < end && used < room; at++) {
		if (*at != '\r' && *at != '\n' && *at != '\0')
			text[used++] = *at;
	}
	used = sieve_cut(text, used, used < room ? used : room);
	while (used > 0 && (text[used - 1] == ' ' || text[used - 1] == '\t'))
		used--;
	text[used] = '\0';
	field->text = text;
	return text;
}

char *
sieve_field_words(struct sieve_view *view, size_t index)
{
	char *text = sieve_field_text(view, index), *at, *to;
	size_t length;

	if (text == NULL || view->fields[index].words != NULL)
		return text == NULL ? NULL : view->fields[index].words;
	buf_clear(&view->scratch);
	mime_decode_words(text, &view->scratch);
	if (view->scratch.no_memory)
		return NULL;
	length = view->scratch.length;
	text = sieve_arena_copy(view->arena, (const char *)view->scratch.data, length);
	if (text == NULL)
		return NULL;
	/* What words hid isn't to end it. */
	for (at = to = text; at < text + length; at++) {
		if (*at != '\0')
			*to++ = *at;
	}
	*to = '\0';
	view->fields[index].words = text;
	return text;
}

char *
sieve_first_text(struct sieve_view *view, const char *name)
{
	size_t index = sieve_find_field(view, name, 0);

	return index == view->field_count ? NULL : sieve_field_text(view, index);
}

char *
sieve_address_part(
    struct sieve_view *view, const char *local, const char *domain, enum sieve_tag part)
{
	const char *delimiters = view->message->delimiters;
	size_t length = strlen(local), user = length;
	struct buf *text = &view->scratch;

	buf_clear(text);
	/* As in address_split_detail(): not the first byte. */
	if ((part == TAG_USER || part == TAG_DETAIL) && delimiters != NULL && length > 0)
		user = 1 + strcspn(local + 1, delimiters);
	if (part == TAG_DETAIL && user == length)
		return NULL;
	if (part == TAG_DETAIL)
		buf_add_text(text, local + user + 1);
	else if (part == TAG_USER)
		buf_add(text, local, user);
	else if (part != TAG_DOMAIN)
		buf_add(text, local, length);
	if (part == TAG_ALL && *domain != '\0')
		buf_add_u8(text, '@');
	if (part == TAG_ALL || part == TAG_DOMAIN)
		buf_add_text(text, domain);
	buf_add_u8(text, '\0');
	return buf_ok(text) ? (char *)text->data : NULL;
}

/* --- body --- */

const char *
sieve_body_raw(const struct sieve_view *view, size_t *length)
{
	size_t all =
	    view->message->length < SIEVE_TEXT_MAX ? view->message->length : SIEVE_TEXT_MAX;

	*length = all - view->body;
	return view->message->text + view->body;
}

static bool
gather(const char *bytes, size_t length, void *arg)
{
	struct buf *buf = arg;

	if (length > buf->limit - buf->length)
		length = buf->limit - buf->length;
	buf_add(buf, bytes, length);
	return buf_ok(buf) && buf->length < buf->limit;
}

static bool
to_charset(const char *bytes, size_t length, void *arg)
{
	return mime_charset_feed(arg, bytes, length);
}

/* The part's body without its transfer encoding, text as UTF-8, into scratch. */
static bool
decode_part(struct sieve_view *view, uint32_t index)
{
	const struct mime_part *part = &view->mime->parts[index];
	char subtype[MIME_TOKEN_MAX + 1], charset_name[MIME_TOKEN_MAX + 1];
	const char *bytes = view->message->text + part->body.offset;
	size_t length = (size_t)(part->end.offset - part->body.offset);
	bool is_text = mime_part_is_text(view->mime, index, subtype, charset_name);
	struct mime_decoder decoder;
	struct mime_charset charset;

	buf_clear(&view->scratch);
	if (is_text)
		(void)mime_charset_open(&charset, charset_name, gather, &view->scratch);
	mime_decoder_init(&decoder, part->encoding, is_text ? to_charset : gather,
	    is_text ? (void *)&charset : (void *)&view->scratch);
	if (mime_decoder_feed(&decoder, bytes, length))
		(void)mime_decoder_finish(&decoder);
	if (is_text)
		mime_charset_close(&charset);
	return !view->scratch.no_memory;
}

/* The part's type as "text/plain", in lower case. */
static void
type_of(const struct mime *mime, uint32_t index, char *type, char *subtype)
{
	const char *field = mime_field(mime, index, MIME_CONTENT_TYPE);
	struct mime_value value;

	memcpy(type, "text", 5);
	memcpy(subtype, "plain", 6);
	if (mime->parts[index].kind == MIME_MESSAGE) {
		memcpy(type, "message", 8);
		memcpy(subtype, "rfc822", 7);
	}
	if (field == NULL)
		return;
	mime_value_init(&value, field);
	if (!mime_value_type(&value, type, subtype)) {
		memcpy(type, "text", 5);
		memcpy(subtype, "plain", 6);
	}
}

/* RFC 5173 5.2: "" all, "text" a type, "text/html" a subtype; others match nothing. */
static bool
is_wanted(const char *wanted, const char *type, const char *subtype)
{
	const char *slash = strchr(wanted, '/');
	size_t length = slash == NULL ? strlen(wanted) : (size_t)(slash - wanted);

	if (*wanted == '\0')
		return true;
	if (strlen(type) != length || strncasecmp(wanted, type, length) != 0)
		return false;
	return slash == NULL || strcasecmp(slash + 1, subtype) == 0;
}

static bool
give(struct sieve_view *view, const struct mime_place *from, const struct mime_place *to,
    sieve_each each, void *arg)
{
	if (to->offset <= from->offset)
		return true;
	return each(arg, view->message->text + from->offset, (size_t)(to->offset - from->offset));
}

/* What a part of that kind is for the test; false: enough, or no memory (`*good`). */
static bool
give_part(struct sieve_view *view, uint32_t index, sieve_each each, void *arg, bool *good)
{
	const struct mime_part *part = &view->mime->parts[index];
	const struct mime_part *children = view->mime->parts;
	uint32_t child = part->first_child;

	switch (part->kind) {
	case MIME_MULTIPART: /* what is before and behind its parts */
		if (child == MIME_NONE)
			return give(view, &part->body, &part->end, each, arg);
		if (!give(view, &part->body, &children[child].header, each, arg))
			return false;
		while (children[child].next != MIME_NONE)
			child = children[child].next;
		return give(view, &children[child].end, &part->end, each, arg);
	case MIME_MESSAGE: /* its header */
		if (child == MIME_NONE)
			return true;
		return give(view, &children[child].header, &children[child].body, each, arg);
	case MIME_LEAF:
		break;
	}
	*good = decode_part(view, index);
	return *good && each(arg, (const char *)view->scratch.data, view->scratch.length);
}

bool
sieve_body_parts(
    struct sieve_view *view, char *const *types, size_t type_count, sieve_each each, void *arg)
{
	size_t length =
	    view->message->length < SIEVE_TEXT_MAX ? view->message->length : SIEVE_TEXT_MAX;
	char type[MIME_TOKEN_MAX + 1], subtype[MIME_TOKEN_MAX + 1];
	bool good = true;

	if (view->mime == NULL)
		view->mime = mime_parse_text(view->message->text, length);
	if (view->mime == NULL)
		return false;
	for (uint32_t i = 0; i < view->mime->count; i++) {
		bool wanted = false;

		type_of(view->mime, i, type, subtype);
		if (types == NULL)
			wanted =
			    view->mime->parts[i].kind == MIME_LEAF && strcmp(type, "text") == 0;
		for (size_t k = 0; k < type_count && !wanted; k++)
			wanted = is_wanted(types[k], type, subtype);
		if (wanted && !give_part(view, i, each, arg, &good))
			break;
	}
	return good;
}
