/*
 * A message's text for FETCH: the file is opened, and its parts are found, when an item needs it, once
 * for all items. Line ends are sent as CRLF whatever is stored; sizes count them so.
 *
 * A value's length is said before it, so what is decoded is read twice. The text itself follows some
 * KiB a step, as the client takes it: it is never held whole. When the file turns out shorter than it
 * was, blanks make up for what has been promised.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/log.h"
#include "mailbox/imap_session_state.h"
#include "common/mime.h"
#include "common/mime_decode.h"
#include "mailbox/mime_structure.h"

#define READ_SIZE  32768
#define WHOLE_MAX  (64 * 1024)       /* bytes of a message that is sent at once */
#define HEADER_MAX (4 * 1024 * 1024) /* of which fields are picked by name */
#define BINARY_MAX (256 * 1024 * 1024)

void
imap_body_init(struct imap_body *body, struct folder *folder, uint32_t uid)
{
	*body = (struct imap_body){ .folder = folder, .uid = uid, .fd = -1 };
}

void
imap_body_free(struct imap_body *body)
{
	if (body->fd != -1)
		(void)close(body->fd); /* only read */
	mime_free(body->mime);
	free(body->decoder);
	free(body->text);
	body->decoder = NULL;
	body->fd = -1;
	body->mime = NULL;
	body->text = NULL;
}

enum mail_result
imap_body_open(struct imap_body *body)
{
	if (body->fd != -1)
		return MAIL_OK;
	return folder_message_open(body->folder, body->uid, &body->fd, &body->size);
}

enum mail_result
imap_body_parse(struct imap_body *body)
{
	enum mail_result result = imap_body_open(body);

	if (result != MAIL_OK || body->mime != NULL)
		return result;
	body->mime = mime_parse_file(body->fd);
	if (body->mime == NULL) {
		log_error("can't read message %u: %m", body->uid);
		return MAIL_FAILED;
	}
	return MAIL_OK;
}

/* The whole message: nothing needs to be known of its parts. */
static bool
is_whole_message(const struct imap_fetch_item *item)
{
	return item->item == IMAP_ITEM_RFC822 ||
	    (item->item == IMAP_ITEM_SECTION && item->section == IMAP_SECTION_WHOLE &&
	        item->part_count == 0);
}

enum mail_result
imap_body_prepare(struct imap_body *body, const struct imap_fetch_item *item)
{
	enum mail_result result = imap_body_open(body);
	ssize_t count;

	if (result != MAIL_OK)
		return result;
	if (!is_whole_message(item) || item->is_partial || body->size > WHOLE_MAX)
		return imap_body_parse(body);
	if (body->text != NULL)
		return MAIL_OK;
	body->text = malloc(body->size + 1);
	if (body->text == NULL)
		return MAIL_FAILED;
	count = pread(body->fd, body->text, body->size, 0);
	if (count == -1) {
		log_error("can't read message %u: %m", body->uid);
		return MAIL_FAILED;
	}
	body->size = (uint64_t)count;
	return MAIL_OK;
}

/* --- text with CRLF --- */

/* How many bytes a text is with CRLF line ends. */
static uint64_t
size_with_returns(const char *text, size_t length)
{
	const char *at = text, *end = text + length, *line_end;
	uint64_t size = length;

	for (; (line_end = memchr(at, '\n', (size_t)(end - at))) != NULL; at = line_end + 1)
		size += line_end == text || line_end[-1] != '\r';
	return size;
}

/* Adds a text with CRLF line ends, `size` bytes in all. */
static void
add_with_returns(struct buf *to, const char *text, size_t length, uint64_t size)
{
	const char *at = text, *end = text + length;
	uint8_t *out;

	if (!buf_reserve(to, size))
		return;
	out = to->data + to->length;
	while (at < end) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));
		size_t count = (size_t)((line_end != NULL ? line_end : end) - at);

		memcpy(out, at, count);
		out += count;
		at += count;
		if (line_end == NULL)
			break;
		if (at == text || at[-1] != '\r')
			*out++ = '\r';
		*out++ = '\n';
		at++;
	}
	to->length += size;
}

static void
put(struct imap_window *window, const char *bytes, size_t length)
{
	size_t skipped = length;

	window->seen += length;
	if (window->skip < skipped)
		skipped = (size_t)window->skip;
	window->skip -= skipped;
	bytes += skipped;
	length -= skipped;
	if (length > window->left)
		length = (size_t)window->left;
	window->left -= length;
	if (window->session != NULL && length > 0)
		buf_add(&window->session->text, bytes, length);
}

/* Puts stored text with CRLF line ends. `*after_return`: the last byte put was a CR. */
static void
put_lines(struct imap_window *window, const char *bytes, size_t length, bool *after_return)
{
	while (length > 0 && window->left > 0) {
		const char *end = memchr(bytes, '\n', length);
		size_t count = end != NULL ? (size_t)(end - bytes) : length;

		put(window, bytes, count);
		if (count > 0)
			*after_return = bytes[count - 1] == '\r';
		if (end != NULL) {
			if (!*after_return)
				put(window, "\r", 1);
			put(window, "\n", 1);
			*after_return = false;
			count++;
		}
		bytes += count;
		length -= count;
	}
}

static void
fill_up(struct imap_window *window)
{
	char blanks[READ_SIZE];
	size_t count = window->left < sizeof(blanks) ? (size_t)window->left : sizeof(blanks);

	memset(blanks, ' ', count);
	window->skip = 0;
	put(window, blanks, count);
}

static bool
take_decoded(const char *bytes, size_t length, void *arg)
{
	struct imap_window *window = arg;

	put(window, bytes, length);
	return window->left > 0;
}

void
imap_body_step(struct imap_body *body)
{
	char bytes[READ_SIZE];
	uint64_t left = body->end - body->at;
	ssize_t count = 0;

	if (left > 0) {
		do
			count = pread(body->fd, bytes,
			    left < sizeof(bytes) ? (size_t)left : sizeof(bytes), (off_t)body->at);
		while (count == -1 && errno == EINTR);
	}
	if (count > 0) {
		body->at += (uint64_t)count;
		if (body->decoder != NULL)
			(void)mime_decoder_feed(body->decoder, bytes, (size_t)count);
		else
			put_lines(&body->window, bytes, (size_t)count, &body->after_return);
	} else {
		if (left > 0)
			log_warning("message %u became shorter while it was read", body->uid);
		body->at = body->end;
		if (body->decoder != NULL)
			(void)mime_decoder_finish(body->decoder);
		fill_up(&body->window);
	}
	body->is_sending = body->window.left > 0;
}

/* --- which part of the text --- */

struct extent {
	bool is_there;
	struct mime_place from;
	struct mime_place to;
};

static struct extent
find_extent(const struct mime *mime, const struct imap_fetch_item *item)
{
	bool is_whole = item->part_count == 0;
	uint32_t part = mime_find(mime, item->parts, item->part_count), message;
	const struct mime_part *found;

	if (part == MIME_NONE)
		return (struct extent){ 0 };
	found = &mime->parts[part];
	message = mime_message_of(mime, part, is_whole);
	switch (item->section) {
	case IMAP_SECTION_WHOLE:
		return (struct extent){ true, is_whole ? found->header : found->body, found->end };
	case IMAP_SECTION_MIME:
		return (struct extent){ true, found->header, found->body };
	case IMAP_SECTION_HEADER:
	case IMAP_SECTION_FIELDS:
	case IMAP_SECTION_FIELDS_NOT:
	case IMAP_SECTION_TEXT:
		break;
	}
	if (message == MIME_NONE)
		return (struct extent){ 0 };
	found = &mime->parts[message];
	if (item->section == IMAP_SECTION_TEXT)
		return (struct extent){ true, found->body, found->end };
	return (struct extent){ true, found->header, found->body };
}

/* --- names of items --- */

static void
write_section(struct buf *text, const struct imap_fetch_item *item)
{
	static const char *const names[] = {
		[IMAP_SECTION_WHOLE] = "",
		[IMAP_SECTION_HEADER] = "HEADER",
		[IMAP_SECTION_FIELDS] = "HEADER.FIELDS",
		[IMAP_SECTION_FIELDS_NOT] = "HEADER.FIELDS.NOT",
		[IMAP_SECTION_TEXT] = "TEXT",
		[IMAP_SECTION_MIME] = "MIME",
	};

	buf_add_u8(text, '[');
	for (size_t i = 0; i < item->part_count; i++)
		buf_printf(text, "%s%u", i > 0 ? "." : "", item->parts[i]);
	if (item->part_count > 0 && item->section != IMAP_SECTION_WHOLE)
		buf_add_u8(text, '.');
	buf_add_text(text, names[item->section]);
	for (size_t i = 0; i < item->fields.count; i++) {
		const struct imap_string *field = &item->fields.strings[i];

		buf_add_text(text, i == 0 ? " (" : " ");
		imap_write_string(text, field->data, field->length);
	}
	buf_add_text(text, item->fields.count > 0 ? ")]" : "]");
	if (item->is_partial && item->item != IMAP_ITEM_BINARY_SIZE)
		buf_printf(text, "<%llu>", (unsigned long long)item->offset);
}

static void
write_item_name(struct buf *text, const struct imap_fetch_item *item)
{
	switch (item->item) {
	case IMAP_ITEM_RFC822:
		buf_add_text(text, "RFC822 ");
		return;
	case IMAP_ITEM_RFC822_HEADER:
		buf_add_text(text, "RFC822.HEADER ");
		return;
	case IMAP_ITEM_RFC822_TEXT:
		buf_add_text(text, "RFC822.TEXT ");
		return;
	case IMAP_ITEM_BINARY:
		buf_add_text(text, "BINARY");
		break;
	case IMAP_ITEM_SECTION:
	case IMAP_ITEM_FLAGS:
	case IMAP_ITEM_UID:
	case IMAP_ITEM_INTERNALDATE:
	case IMAP_ITEM_SIZE:
	case IMAP_ITEM_ENVELOPE:
	case IMAP_ITEM_BODY:
	case IMAP_ITEM_BODYSTRUCTURE:
	case IMAP_ITEM_BINARY_SIZE:
	case IMAP_ITEM_MODSEQ:
	case IMAP_ITEM_EMAILID:
	case IMAP_ITEM_THREADID:
	case IMAP_ITEM_SAVEDATE:
	case IMAP_ITEM_PREVIEW:
		buf_add_text(text, "BODY");
		break;
	}
	write_section(text, item);
	buf_add_u8(text, ' ');
}

void
imap_body_write_size(
    struct imap_session *session, const struct imap_fetch_item *item, uint64_t size)
{
	buf_add_text(&session->text, "BINARY.SIZE");
	write_section(&session->text, item);
	buf_printf(&session->text, " %llu", (unsigned long long)size);
}

/* How much of a text of `size` bytes is wanted. */
static struct imap_window
window_of(struct imap_session *session, const struct imap_fetch_item *item, uint64_t size)
{
	struct imap_window window = { .session = session, .left = size };

	if (item->is_partial) {
		window.skip = item->offset < size ? item->offset : size;
		window.left = size - window.skip;
		if (window.left > item->length)
			window.left = item->length;
	}
	return window;
}

/* --- fields by name --- */

static bool
is_wanted(const struct imap_fetch_item *item, const char *name, size_t length)
{
	bool is_named = false;

	for (size_t i = 0; i < item->fields.count && !is_named; i++)
		is_named = item->fields.strings[i].length == length &&
		    strncasecmp(item->fields.strings[i].data, name, length) == 0;
	return is_named == (item->section == IMAP_SECTION_FIELDS);
}

/* Picks the lines of wanted fields, and the empty line at the end (RFC 9051 6.4.5.1). */
static void
pick_fields(const char *header, size_t length, const struct imap_fetch_item *item, struct buf *to)
{
	bool is_taken = false;

	while (length > 0) {
		const char *end = memchr(header, '\n', length);
		size_t line = end != NULL ? (size_t)(end - header) + 1 : length, name = 0;
		size_t text = line;

		while (text > 0 && (header[text - 1] == '\n' || header[text - 1] == '\r'))
			text--;
		if (text == 0)
			break;
		if (header[0] != ' ' && header[0] != '\t') {
			while (name < text && header[name] != ':' && header[name] != ' ' &&
			    header[name] != '\t')
				name++;
			is_taken = is_wanted(item, header, name);
		}
		if (is_taken) {
			buf_add(to, header, text);
			buf_add(to, "\r\n", 2);
		}
		header += line;
		length -= line;
	}
	buf_add(to, "\r\n", 2);
}

static enum mail_result
write_fields(struct imap_session *session, struct imap_body *body,
    const struct imap_fetch_item *item, const struct extent *extent)
{
	uint64_t length = extent->to.offset - extent->from.offset;
	struct imap_window window;
	struct buf picked;
	ssize_t count;
	char *header;

	if (length > HEADER_MAX)
		length = HEADER_MAX;
	header = malloc(length + 1);
	if (header == NULL)
		return MAIL_FAILED;
	count = pread(body->fd, header, length, (off_t)extent->from.offset);
	if (count == -1) {
		free(header);
		return MAIL_FAILED;
	}
	buf_init(&picked, HEADER_MAX * 2);
	pick_fields(header, (size_t)count, item, &picked);
	free(header);
	window = window_of(session, item, picked.length);
	write_item_name(&session->text, item);
	buf_printf(&session->text, "{%llu}\r\n", (unsigned long long)window.left);
	put(&window, (const char *)picked.data, picked.length);
	buf_free(&picked);
	return MAIL_OK;
}

/* --- decoded text --- */

/* Runs a part's text through its transfer decoder at once, to know how long it is. */
static bool
count_decoded(struct imap_body *body, const struct mime_part *part, struct imap_window *window)
{
	struct mime_decoder decoder;
	char bytes[READ_SIZE];
	uint64_t at = part->body.offset;

	mime_decoder_init(&decoder, part->encoding, take_decoded, window);
	while (at < part->end.offset) {
		uint64_t left = part->end.offset - at;
		ssize_t count = pread(body->fd, bytes,
		    left < sizeof(bytes) ? (size_t)left : sizeof(bytes), (off_t)at);

		if (count == -1 && errno == EINTR)
			continue;
		if (count <= 0)
			return false;
		at += (uint64_t)count;
		if (!mime_decoder_feed(&decoder, bytes, (size_t)count))
			return true;
	}
	(void)mime_decoder_finish(&decoder);
	return true;
}

/* The part that BINARY names; MIME_NONE when there is none. */
static uint32_t
binary_part(const struct mime *mime, const struct imap_fetch_item *item)
{
	return mime_find(mime, item->parts, item->part_count);
}

/* A part that has no encoding to take off is sent as BODY[…] is. */
static bool
is_encoded(const struct mime_part *part, const struct imap_fetch_item *item)
{
	return item->part_count > 0 && part->kind == MIME_LEAF && part->encoding != MIME_IDENTITY;
}

enum mail_result
imap_body_binary_size(struct imap_body *body, const struct imap_fetch_item *item, uint64_t *size,
    bool *unknown_encoding)
{
	enum mail_result result = imap_body_parse(body);
	struct imap_window window = { .left = BINARY_MAX };
	const struct mime_part *part;
	struct extent extent;
	uint32_t found;

	*size = 0;
	*unknown_encoding = false;
	if (result != MAIL_OK)
		return result;
	found = binary_part(body->mime, item);
	if (found == MIME_NONE)
		return MAIL_OK;
	part = &body->mime->parts[found];
	if (!is_encoded(part, item)) {
		extent = find_extent(body->mime, item);
		*size = extent.to.offset + extent.to.added - extent.from.offset - extent.from.added;
		return MAIL_OK;
	}
	if (part->encoding == MIME_ENCODING_UNKNOWN) {
		*unknown_encoding = true;
		return MAIL_OK;
	}
	if (!count_decoded(body, part, &window))
		return MAIL_EXPUNGED;
	*size = window.seen;
	return MAIL_OK;
}

/* The text follows by imap_body_step(). */
static void
begin(struct imap_body *body, const struct imap_window *window, const struct mime_place *from,
    const struct mime_place *to)
{
	body->window = *window;
	body->at = from->offset;
	body->end = to->offset;
	body->after_return = false;
	body->is_sending = window->left > 0;
	free(body->decoder);
	body->decoder = NULL;
}

/* RFC 3516 4.3: a literal8, since NULs may be in it. */
static enum mail_result
write_binary(struct imap_session *session, struct imap_body *body,
    const struct imap_fetch_item *item, const struct mime_part *part, uint64_t size)
{
	struct imap_window window = window_of(session, item, size);
	struct mime_decoder *decoder = malloc(sizeof(*decoder));

	if (decoder == NULL)
		return MAIL_FAILED;
	write_item_name(&session->text, item);
	buf_printf(&session->text, "~{%llu}\r\n", (unsigned long long)window.left);
	begin(body, &window, &part->body, &part->end);
	body->decoder = decoder;
	mime_decoder_init(decoder, part->encoding, take_decoded, &body->window);
	return MAIL_OK;
}

enum mail_result
imap_body_write(struct imap_session *session, struct imap_body *body,
    const struct imap_fetch_item *item, bool *unknown_encoding)
{
	struct imap_fetch_item wanted = *item;
	enum mail_result result = imap_body_prepare(body, item);
	struct imap_window window;
	struct extent extent;
	uint64_t size;
	uint32_t part;

	*unknown_encoding = false;
	if (result != MAIL_OK)
		return result;
	if (body->text != NULL && is_whole_message(item) && !item->is_partial) {
		size = size_with_returns(body->text, body->size);
		write_item_name(&session->text, item);
		buf_printf(&session->text, "{%llu}\r\n", (unsigned long long)size);
		add_with_returns(&session->text, body->text, body->size, size);
		return MAIL_OK;
	}
	result = imap_body_parse(body);
	if (result != MAIL_OK)
		return result;
	if (item->item == IMAP_ITEM_RFC822_HEADER)
		wanted.section = IMAP_SECTION_HEADER;
	else if (item->item == IMAP_ITEM_RFC822_TEXT)
		wanted.section = IMAP_SECTION_TEXT;
	if (item->item == IMAP_ITEM_BINARY) {
		part = binary_part(body->mime, item);
		if (part != MIME_NONE && is_encoded(&body->mime->parts[part], item)) {
			result = imap_body_binary_size(body, item, &size, unknown_encoding);
			if (result != MAIL_OK || *unknown_encoding)
				return result;
			return write_binary(session, body, item, &body->mime->parts[part], size);
		}
	}
	extent = find_extent(body->mime, &wanted);
	if (!extent.is_there) {
		write_item_name(&session->text, item);
		buf_add_text(&session->text, "NIL");
		return MAIL_OK;
	}
	if (item->fields.count > 0)
		return write_fields(session, body, item, &extent);
	size = extent.to.offset + extent.to.added - extent.from.offset - extent.from.added;
	window = window_of(session, item, size);
	write_item_name(&session->text, item);
	buf_printf(&session->text, item->item == IMAP_ITEM_BINARY ? "~{%llu}\r\n" : "{%llu}\r\n",
	    (unsigned long long)window.left);
	begin(body, &window, &extent.from, &extent.to);
	return MAIL_OK;
}
