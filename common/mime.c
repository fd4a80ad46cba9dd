/*
 * The parser takes pieces of lines. In a header a line is gathered to its field where that is kept;
 * in a body only a line that begins with "--" is looked at, whether it is a boundary of one of the
 * multiparts that are open.
 *
 * The line end before a boundary belongs to it (RFC 2046 5.1.1): so the place before the last line's
 * end is kept as well.
 */
#include <sys/types.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/mime.h"
#include "common/mime_header.h"

#define READ_SIZE  65536
#define LINE_MAX   (MIME_BOUNDARY_MAX + 64) /* blanks may follow a boundary */
#define FIELD_NAME 32

enum state {
	STATE_HEADER,
	STATE_BODY,
};

/* A part that isn't over. */
struct open_part {
	uint32_t part;
	uint32_t last_child;
	bool is_multipart; /* with a boundary that may come */
	bool is_digest;
	char *boundary;
	size_t boundary_length;
};

struct mime_parser {
	struct mime *mime;
	struct buf text;
	bool no_memory;

	enum state state;
	struct open_part open[MIME_DEPTH_MAX];
	size_t depth;

	struct mime_place here;     /* the line's beginning */
	struct mime_place line_end; /* before the last line's end */
	char line[LINE_MAX];        /* the current line's beginning */
	size_t line_length;         /* all of it so far, even what isn't kept */
	char last;                  /* its last byte so far */

	/* The field that is being gathered. */
	bool is_kept;
	enum mime_field field;
	size_t field_start; /* in `text` */
};

#define NAME(text)                     \
	{                              \
		text, sizeof(text) - 1 \
	}
static const struct {
	const char *text;
	size_t length;
} field_names[MIME_FIELD_COUNT] = {
	[MIME_CONTENT_TYPE] = NAME("Content-Type"),
	[MIME_CONTENT_TRANSFER_ENCODING] = NAME("Content-Transfer-Encoding"),
	[MIME_CONTENT_ID] = NAME("Content-ID"),
	[MIME_CONTENT_DESCRIPTION] = NAME("Content-Description"),
	[MIME_CONTENT_DISPOSITION] = NAME("Content-Disposition"),
	[MIME_CONTENT_LANGUAGE] = NAME("Content-Language"),
	[MIME_CONTENT_LOCATION] = NAME("Content-Location"),
	[MIME_CONTENT_MD5] = NAME("Content-MD5"),
	[MIME_DATE] = NAME("Date"),
	[MIME_SUBJECT] = NAME("Subject"),
	[MIME_FROM] = NAME("From"),
	[MIME_SENDER] = NAME("Sender"),
	[MIME_REPLY_TO] = NAME("Reply-To"),
	[MIME_TO] = NAME("To"),
	[MIME_CC] = NAME("Cc"),
	[MIME_BCC] = NAME("Bcc"),
	[MIME_IN_REPLY_TO] = NAME("In-Reply-To"),
	[MIME_MESSAGE_ID] = NAME("Message-ID"),
	[MIME_REFERENCES] = NAME("References"),
};
#undef NAME

static struct open_part *
innermost(struct mime_parser *parser)
{
	return &parser->open[parser->depth - 1];
}

static struct mime_part *
current(struct mime_parser *parser)
{
	return &parser->mime->parts[innermost(parser)->part];
}

/* Whether the part that is open is a message, with fields of its own. */
static bool
is_message(const struct mime *mime, const struct mime_part *part)
{
	return part->parent == MIME_NONE || mime->parts[part->parent].kind == MIME_MESSAGE;
}

/* A part begins here, with its header. False without memory, and when there are too many. */
static bool
begin_part(struct mime_parser *parser)
{
	struct mime *mime = parser->mime;
	struct mime_part *parts = mime->parts;
	struct open_part *parent = parser->depth > 0 ? innermost(parser) : NULL;
	uint32_t index = (uint32_t)mime->count;

	if (mime->count == MIME_PARTS_MAX || parser->depth == MIME_DEPTH_MAX)
		return false;
	if ((mime->count & (mime->count - 1)) == 0) { /* a power of two, or none */
		parts = reallocarray(parts, mime->count > 0 ? mime->count * 2 : 1, sizeof(*parts));
		if (parts == NULL) {
			parser->no_memory = true;
			return false;
		}
		mime->parts = parts;
	}
	parts[index] = (struct mime_part){ .parent = MIME_NONE,
		.first_child = MIME_NONE,
		.next = MIME_NONE,
		.header = parser->here,
		.body = parser->here,
		.end = parser->here };
	if (parent != NULL) {
		parts[index].parent = parent->part;
		if (parent->last_child == MIME_NONE)
			parts[parent->part].first_child = index;
		else
			parts[parent->last_child].next = index;
		parent->last_child = index;
	}
	mime->count++;
	parser->open[parser->depth++] =
	    (struct open_part){ .part = index, .last_child = MIME_NONE };
	parser->state = STATE_HEADER;
	return true;
}

static void
end_part(struct mime_parser *parser, const struct mime_place *end)
{
	struct mime_part *part = current(parser);

	/* A body of no line has the boundary's line end in common with the header. */
	part->end = end->offset > part->body.offset ? *end : part->body;
	free(innermost(parser)->boundary);
	parser->depth--;
}

struct mime_parser *
mime_parser_new(void)
{
	struct mime_parser *parser = calloc(1, sizeof(*parser));

	if (parser == NULL)
		return NULL;
	parser->mime = calloc(1, sizeof(*parser->mime));
	if (parser->mime == NULL) {
		free(parser);
		return NULL;
	}
	buf_init(&parser->text, MIME_TEXT_MAX);
	buf_add_u8(&parser->text, 0); /* 0 is no field's place */
	if (!begin_part(parser) || !buf_ok(&parser->text)) {
		mime_parser_free(parser);
		return NULL;
	}
	return parser;
}

void
mime_parser_free(struct mime_parser *parser)
{
	while (parser->depth > 0) {
		free(innermost(parser)->boundary);
		parser->depth--;
	}
	buf_free(&parser->text);
	mime_free(parser->mime);
	free(parser);
}

/* --- headers --- */

static void
end_field(struct mime_parser *parser)
{
	struct mime_part *part = current(parser);

	if (!parser->is_kept)
		return;
	parser->is_kept = false;
	while (parser->text.length > parser->field_start &&
	    strchr(" \t\r", parser->text.data[parser->text.length - 1]) != NULL)
		parser->text.length--;
	buf_add_u8(&parser->text, 0);
	if (buf_ok(&parser->text))
		part->fields[parser->field] = (uint32_t)parser->field_start;
	parser->no_memory |= parser->text.no_memory;
}

/* The field whose name the line begins with; MIME_FIELD_COUNT for others. `*value` is behind ":". */
static enum mime_field
find_field(const char *line, size_t length, size_t *value)
{
	const char *colon = memchr(line, ':', length);
	size_t name;

	if (colon == NULL)
		return MIME_FIELD_COUNT;
	*value = (size_t)(colon - line) + 1;
	name = *value - 1;
	while (name > 0 && (line[name - 1] == ' ' || line[name - 1] == '\t'))
		name--;
	for (unsigned i = 0; i < MIME_FIELD_COUNT; i++) {
		if (field_names[i].length == name &&
		    strncasecmp(line, field_names[i].text, name) == 0)
			return (enum mime_field)i;
	}
	return MIME_FIELD_COUNT;
}

/* Blanks before the value are left out. */
static void
keep(struct mime_parser *parser, const char *bytes, size_t length)
{
	size_t kept = parser->text.length - parser->field_start;
	size_t room = MIME_FIELD_MAX > kept ? MIME_FIELD_MAX - kept : 0;

	while (kept == 0 && length > 0 && (*bytes == ' ' || *bytes == '\t')) {
		bytes++;
		length--;
	}
	if (length > room)
		length = room;
	if (length > parser->text.limit - parser->text.length)
		length = parser->text.limit - parser->text.length;
	buf_add(&parser->text, bytes, length);
}

/* Begins a field when enough of its line is there to know its name. */
static void
begin_field(struct mime_parser *parser)
{
	struct mime_part *part = current(parser);
	size_t length = parser->line_length < LINE_MAX ? parser->line_length : LINE_MAX, value = 0;
	enum mime_field field = find_field(parser->line, length, &value);

	if (field == MIME_FIELD_COUNT || part->fields[field] != 0 ||
	    (field >= MIME_DATE && !is_message(parser->mime, part)))
		return;
	/* Room for its NUL is kept. */
	if (parser->text.length + 1 >= parser->text.limit)
		return;
	parser->is_kept = true;
	parser->field = field;
	parser->field_start = parser->text.length;
	keep(parser, parser->line + value, length - value);
}

/* The multipart's boundary, which the part's Content-Type has. */
static void
take_boundary(struct mime_parser *parser, struct mime_value *value)
{
	struct open_part *open = innermost(parser);
	char name[MIME_TOKEN_MAX + 1];
	struct buf text;

	buf_init(&text, MIME_FIELD_MAX);
	while (mime_value_parameter(value, name, &text)) {
		if (strcmp(name, "boundary") != 0 || text.length == 0 ||
		    text.length > MIME_BOUNDARY_MAX)
			continue;
		open->boundary = malloc(text.length);
		if (open->boundary == NULL) {
			parser->no_memory = true;
			break;
		}
		memcpy(open->boundary, text.data, text.length);
		open->boundary_length = text.length;
		open->is_multipart = true;
		break;
	}
	buf_free(&text);
}

static enum mime_encoding
find_encoding(const char *field)
{
	struct mime_value value;
	char token[MIME_TOKEN_MAX + 1];

	if (field == NULL)
		return MIME_IDENTITY;
	mime_value_init(&value, field);
	if (!mime_value_token(&value, token))
		return MIME_ENCODING_UNKNOWN;
	if (strcmp(token, "7bit") == 0 || strcmp(token, "8bit") == 0 ||
	    strcmp(token, "binary") == 0)
		return MIME_IDENTITY;
	if (strcmp(token, "base64") == 0)
		return MIME_BASE64;
	if (strcmp(token, "quoted-printable") == 0)
		return MIME_QUOTED_PRINTABLE;
	return MIME_ENCODING_UNKNOWN;
}

/* While the parser works, fields are in its own text. */
static const char *
field_so_far(const struct mime_parser *parser, const struct mime_part *part, enum mime_field field)
{
	return part->fields[field] == 0 ? NULL
	                                : (const char *)parser->text.data + part->fields[field];
}

/* Whether a part without a type of its own is a message (RFC 2046 5.1.5). */
static bool
is_in_digest(const struct mime_parser *parser)
{
	return parser->depth > 1 && parser->open[parser->depth - 2].is_digest;
}

/* The empty line behind the header was read: what kind of part is it? */
static void
end_header(struct mime_parser *parser)
{
	struct mime_part *part = current(parser);
	const char *field = field_so_far(parser, part, MIME_CONTENT_TYPE);
	char type[MIME_TOKEN_MAX + 1] = "text", subtype[MIME_TOKEN_MAX + 1] = "plain";
	struct mime_value value;
	bool is_nested;

	part->body = parser->here;
	parser->state = STATE_BODY;
	part->encoding = find_encoding(field_so_far(parser, part, MIME_CONTENT_TRANSFER_ENCODING));
	if (field != NULL) {
		mime_value_init(&value, field);
		if (!mime_value_type(&value, type, subtype))
			return;
		if (strcmp(type, "multipart") == 0) {
			innermost(parser)->is_digest = strcmp(subtype, "digest") == 0;
			take_boundary(parser, &value);
			if (innermost(parser)->is_multipart)
				part->kind = MIME_MULTIPART;
			return;
		}
	}
	is_nested = field == NULL ? is_in_digest(parser)
	                          : strcmp(type, "message") == 0 &&
	        (strcmp(subtype, "rfc822") == 0 || strcmp(subtype, "global") == 0);
	if (is_nested && part->encoding == MIME_IDENTITY && parser->depth < MIME_DEPTH_MAX &&
	    parser->mime->count < MIME_PARTS_MAX) {
		part->kind = MIME_MESSAGE;
		(void)begin_part(parser);
	}
}

static void
header_line(struct mime_parser *parser)
{
	bool is_empty =
	    parser->line_length == 0 || (parser->line_length == 1 && parser->line[0] == '\r');

	if (is_empty) {
		end_field(parser);
		end_header(parser);
	}
}

/* More of a header's line. */
static void
header_piece(struct mime_parser *parser, const char *bytes, size_t length, bool is_first)
{
	if (is_first && bytes[0] != ' ' && bytes[0] != '\t')
		end_field(parser);
	if (parser->is_kept)
		keep(parser, bytes, length);
}

/* --- bodies --- */

enum boundary {
	BOUNDARY_NONE,
	BOUNDARY_NEXT,
	BOUNDARY_LAST,
};

static enum boundary
compare_boundary(const struct mime_parser *parser, const struct open_part *open)
{
	const char *line = parser->line + 2;
	size_t length = parser->line_length - 2, i = open->boundary_length;
	enum boundary found = BOUNDARY_NEXT;

	if (length < i || memcmp(line, open->boundary, i) != 0)
		return BOUNDARY_NONE;
	if (length - i >= 2 && line[i] == '-' && line[i + 1] == '-') {
		found = BOUNDARY_LAST;
		i += 2;
	}
	while (i < length && strchr(" \t\r", line[i]) != NULL && line[i] != '\0')
		i++;
	return i == length ? found : BOUNDARY_NONE;
}

/* A line that begins with "--": closes what is inside the multipart whose boundary it is. True when
 * it was one. */
static bool
boundary_line(struct mime_parser *parser)
{
	enum boundary found = BOUNDARY_NONE;
	size_t level = parser->depth;

	while (level > 0 && found == BOUNDARY_NONE) {
		level--;
		if (parser->open[level].is_multipart)
			found = compare_boundary(parser, &parser->open[level]);
	}
	if (found == BOUNDARY_NONE)
		return false;
	if (parser->state == STATE_HEADER) { /* without an empty line */
		end_field(parser);
		current(parser)->body = parser->here;
	}
	while (parser->depth > level + 1)
		end_part(parser, &parser->line_end);
	parser->state = STATE_BODY;
	if (found == BOUNDARY_LAST)
		parser->open[level].is_multipart = false;
	return true;
}

/* --- lines --- */

/* A line is complete, or the message over; `here` still is its beginning. */
static void
end_line(struct mime_parser *parser, bool has_end)
{
	bool is_boundary = false, next = false, returned;
	uint32_t multipart = MIME_NONE;

	if (parser->line_length >= 2 && parser->line_length <= LINE_MAX && parser->line[0] == '-' &&
	    parser->line[1] == '-') {
		is_boundary = boundary_line(parser);
		next = is_boundary && innermost(parser)->is_multipart;
		multipart = is_boundary ? innermost(parser)->part : MIME_NONE;
	}
	returned = parser->line_length > 0 && parser->last == '\r';
	if (parser->is_kept && returned && parser->text.length > parser->field_start &&
	    parser->text.data[parser->text.length - 1] == '\r')
		parser->text.length--;
	parser->line_end = parser->here;
	parser->line_end.offset += parser->line_length - (has_end && returned ? 1 : 0);
	parser->here.offset += parser->line_length + (has_end ? 1 : 0);
	if (has_end) {
		parser->here.lines++;
		if (!returned)
			parser->here.added++;
	}
	/* The next part's header begins behind the boundary's line. */
	if (next && multipart != MIME_NONE)
		(void)begin_part(parser);
	else if (!is_boundary && parser->state == STATE_HEADER && has_end)
		header_line(parser);
	parser->line_length = 0;
}

/* More of a line: either all of it is among its first LINE_MAX bytes, or none. */
static void
piece(struct mime_parser *parser, const char *bytes, size_t length)
{
	bool is_first = parser->line_length == 0;

	if (parser->line_length < LINE_MAX)
		memcpy(parser->line + parser->line_length, bytes, length);
	if (parser->state == STATE_HEADER) {
		/* A name may come in pieces: until its colon is there, none of it is kept. */
		bool was_named =
		    memchr(parser->line, ':',
		        parser->line_length < LINE_MAX ? parser->line_length : LINE_MAX) != NULL;
		bool continues = parser->line[0] == ' ' || parser->line[0] == '\t';

		header_piece(parser, bytes, length, is_first);
		parser->line_length += length;
		if (!parser->is_kept && !continues && !was_named)
			begin_field(parser);
	} else {
		parser->line_length += length;
	}
	parser->last = bytes[length - 1];
}

/* A whole line of a body that can't be a boundary: most lines are that. */
static void
plain_line(struct mime_parser *parser, const char *line, size_t length)
{
	bool returned = length > 0 && line[length - 1] == '\r';

	parser->line_end = parser->here;
	parser->line_end.offset += length - returned;
	parser->here.offset += length + 1;
	parser->here.lines++;
	parser->here.added += !returned;
}

void
mime_parser_feed(struct mime_parser *parser, const char *bytes, size_t length)
{
	while (length > 0) {
		const char *end = memchr(bytes, '\n', length);
		size_t count = end != NULL ? (size_t)(end - bytes) : length, room;

		if (end != NULL && parser->line_length == 0 && parser->state == STATE_BODY &&
		    (count < 2 || bytes[0] != '-' || bytes[1] != '-')) {
			plain_line(parser, bytes, count);
			bytes += count + 1;
			length -= count + 1;
			continue;
		}
		if (parser->line_length < LINE_MAX) {
			room = LINE_MAX - parser->line_length;
			if (count > room) {
				count = room;
				end = NULL;
			}
		}
		if (count > 0)
			piece(parser, bytes, count);
		if (end != NULL) {
			end_line(parser, true);
			count++;
		}
		bytes += count;
		length -= count;
	}
}

bool
mime_parser_has_header(const struct mime_parser *parser)
{
	return parser->state == STATE_BODY || parser->mime->count > 1;
}

struct mime *
mime_parser_finish(struct mime_parser *parser)
{
	struct mime *mime = parser->mime;

	end_line(parser, false);
	if (parser->state == STATE_HEADER && parser->depth > 0) {
		end_field(parser);
		current(parser)->body = parser->here;
	}
	while (parser->depth > 0)
		end_part(parser, &parser->here);
	if (parser->no_memory || mime->count == 0) {
		mime_parser_free(parser);
		return NULL;
	}
	mime->text = (char *)parser->text.data;
	mime->text_length = parser->text.length;
	free(parser);
	return mime;
}

struct mime *
mime_parse_text(const char *text, size_t length)
{
	struct mime_parser *parser = mime_parser_new();

	if (parser == NULL)
		return NULL;
	mime_parser_feed(parser, text, length);
	return mime_parser_finish(parser);
}

struct mime *
mime_parse_file(int fd)
{
	struct mime_parser *parser = mime_parser_new();
	char *bytes = malloc(READ_SIZE);
	struct mime *mime = NULL;
	off_t at = 0;
	ssize_t count = 0;

	while (parser != NULL && bytes != NULL && (count = pread(fd, bytes, READ_SIZE, at)) > 0) {
		mime_parser_feed(parser, bytes, (size_t)count);
		at += count;
	}
	free(bytes);
	if (parser == NULL || bytes == NULL || count == -1) {
		if (parser != NULL)
			mime_parser_free(parser);
		if (count != -1)
			errno = ENOMEM;
		return NULL;
	}
	mime = mime_parser_finish(parser);
	if (mime == NULL)
		errno = ENOMEM;
	return mime;
}

void
mime_free(struct mime *mime)
{
	if (mime == NULL)
		return;
	free(mime->parts);
	free(mime->text);
	free(mime);
}

/* --- what was found --- */

const char *
mime_field(const struct mime *mime, uint32_t part, enum mime_field field)
{
	uint32_t at = mime->parts[part].fields[field];

	return at == 0 ? NULL : mime->text + at;
}

static uint32_t
nth_child(const struct mime *mime, uint32_t part, uint32_t number)
{
	uint32_t child = mime->parts[part].first_child;

	while (child != MIME_NONE && --number > 0)
		child = mime->parts[child].next;
	return child;
}

/* A message's part: of one that isn't multipart, 1 is its text. */
static uint32_t
part_of_message(const struct mime *mime, uint32_t message, uint32_t number)
{
	if (mime->parts[message].kind == MIME_MULTIPART)
		return nth_child(mime, message, number);
	return number == 1 ? message : MIME_NONE;
}

uint32_t
mime_find(const struct mime *mime, const uint32_t *numbers, size_t count)
{
	uint32_t part = 0;

	for (size_t i = 0; i < count && part != MIME_NONE; i++) {
		if (i == 0)
			part = part_of_message(mime, 0, numbers[0]);
		else if (mime->parts[part].kind == MIME_MULTIPART)
			part = nth_child(mime, part, numbers[i]);
		else if (mime->parts[part].kind == MIME_MESSAGE)
			part = part_of_message(mime, mime->parts[part].first_child, numbers[i]);
		else
			part = MIME_NONE;
	}
	return part;
}

uint32_t
mime_message_of(const struct mime *mime, uint32_t part, bool is_whole)
{
	if (is_whole)
		return 0;
	return mime->parts[part].kind == MIME_MESSAGE ? mime->parts[part].first_child : MIME_NONE;
}

static uint64_t
distance(const struct mime_place *from, const struct mime_place *to)
{
	return to->offset + to->added - from->offset - from->added;
}

uint64_t
mime_header_size(const struct mime_part *part)
{
	return distance(&part->header, &part->body);
}

uint64_t
mime_body_size(const struct mime_part *part)
{
	return distance(&part->body, &part->end);
}

uint64_t
mime_body_lines(const struct mime_part *part)
{
	return part->end.lines - part->body.lines;
}
