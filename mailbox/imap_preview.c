/*
 * Plain text goes before HTML, of which tags, and what stands in style and script, are left out.
 * Quoted lines (">") are left out too: what is new is shown.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "mailbox/imap_preview.h"
#include "common/mime_decode.h"
#include "common/mime_header.h"
#include "mailbox/mime_structure.h"

#define READ_MAX (64 * 1024) /* bytes of a part, at most */

enum markup {
	MARKUP_TEXT,
	MARKUP_TAG,
	MARKUP_HIDDEN, /* style, script */
	MARKUP_HIDDEN_TAG,
	MARKUP_ENTITY,
};

struct preview {
	struct buf text;
	size_t characters;
	bool is_html;
	bool at_line;  /* a line begins */
	bool is_quote; /* this line is one */
	bool is_blank; /* a blank is due before the next character */
	enum markup markup;
	char tag[16];
	size_t tag_length;
	char entity[12];
	size_t entity_length;
};

static bool
add(struct preview *preview, char byte)
{
	bool begins = ((unsigned char)byte & 0xc0) != 0x80;

	if (isspace((unsigned char)byte)) {
		preview->is_blank = preview->text.length > 0;
		return true;
	}
	if (begins && preview->is_blank && preview->characters + 1 < IMAP_PREVIEW_MAX) {
		buf_add_u8(&preview->text, ' ');
		preview->characters++;
	}
	preview->is_blank = false;
	if (begins && preview->characters++ >= IMAP_PREVIEW_MAX)
		return false;
	buf_add_u8(&preview->text, (uint8_t)byte);
	return true;
}

static void
end_tag(struct preview *preview)
{
	bool is_closing = preview->tag_length > 0 && preview->tag[0] == '/';
	const char *name = preview->tag + is_closing;
	size_t length = preview->tag_length - is_closing;
	bool hides = (length == 5 && strncasecmp(name, "style", 5) == 0) ||
	    (length == 6 && strncasecmp(name, "script", 6) == 0) ||
	    (length == 4 && strncasecmp(name, "head", 4) == 0);

	if (preview->markup == MARKUP_HIDDEN_TAG)
		preview->markup = hides && is_closing ? MARKUP_TEXT : MARKUP_HIDDEN;
	else
		preview->markup = hides && !is_closing ? MARKUP_HIDDEN : MARKUP_TEXT;
	preview->is_blank = preview->text.length > 0;
}

static bool
end_entity(struct preview *preview)
{
	static const struct {
		const char *name;
		const char *text;
	} entities[] = {
		{ "amp", "&" },
		{ "lt", "<" },
		{ "gt", ">" },
		{ "quot", "\"" },
		{ "apos", "'" },
		{ "nbsp", " " },
		{ "#39", "'" },
	};

	preview->markup = MARKUP_TEXT;
	for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]); i++) {
		if (strlen(entities[i].name) == preview->entity_length &&
		    memcmp(entities[i].name, preview->entity, preview->entity_length) == 0)
			return add(preview, entities[i].text[0]);
	}
	return true;
}

static bool
take_html(struct preview *preview, char byte)
{
	switch (preview->markup) {
	case MARKUP_TEXT:
	case MARKUP_HIDDEN:
		if (byte == '<') {
			preview->markup =
			    preview->markup == MARKUP_TEXT ? MARKUP_TAG : MARKUP_HIDDEN_TAG;
			preview->tag_length = 0;
		} else if (preview->markup == MARKUP_HIDDEN) {
			break;
		} else if (byte == '&') {
			preview->markup = MARKUP_ENTITY;
			preview->entity_length = 0;
		} else {
			return add(preview, byte);
		}
		break;
	case MARKUP_TAG:
	case MARKUP_HIDDEN_TAG:
		if (byte == '>')
			end_tag(preview);
		else if (preview->tag_length < sizeof(preview->tag) &&
		    (isalnum((unsigned char)byte) || byte == '/'))
			preview->tag[preview->tag_length++] = byte;
		else
			break;
		break;
	case MARKUP_ENTITY:
		if (byte == ';')
			return end_entity(preview);
		if (preview->entity_length == sizeof(preview->entity) ||
		    isspace((unsigned char)byte)) {
			preview->markup = MARKUP_TEXT;
			return add(preview, ' ');
		}
		preview->entity[preview->entity_length++] = byte;
		break;
	}
	return true;
}

static bool
take(const char *bytes, size_t length, void *arg)
{
	struct preview *preview = arg;
	bool goes_on = true;

	for (size_t i = 0; i < length && goes_on; i++) {
		if (preview->is_html) {
			goes_on = take_html(preview, bytes[i]);
			continue;
		}
		if (preview->at_line)
			preview->is_quote = bytes[i] == '>';
		preview->at_line = bytes[i] == '\n';
		if (!preview->is_quote || bytes[i] == '\n')
			goes_on = add(preview, bytes[i]);
	}
	return goes_on;
}

static bool
to_charset(const char *bytes, size_t length, void *arg)
{
	return mime_charset_feed(arg, bytes, length);
}

/* Whether the part is text of the subtype that isn't attached; its charset. */
static bool
is_shown(
    const struct mime *mime, uint32_t part, const char *wanted, char charset[MIME_TOKEN_MAX + 1])
{
	const char *disposition = mime_field(mime, part, MIME_CONTENT_DISPOSITION);
	char subtype[MIME_TOKEN_MAX + 1];

	return mime->parts[part].kind == MIME_LEAF &&
	    (disposition == NULL || strncasecmp(disposition, "attachment", 10) != 0) &&
	    mime_part_is_text(mime, part, subtype, charset) && strcmp(subtype, wanted) == 0;
}

static void
read_part(int fd, const struct mime_part *part, const char *charset_name, struct preview *preview)
{
	struct mime_decoder decoder;
	struct mime_charset charset;
	uint64_t at = part->body.offset, end = part->end.offset;
	char bytes[4096];

	(void)mime_charset_open(&charset, charset_name, take, preview);
	mime_decoder_init(&decoder, part->encoding, to_charset, &charset);
	if (end - at > READ_MAX)
		end = at + READ_MAX;
	while (at < end) {
		size_t wanted = end - at < sizeof(bytes) ? (size_t)(end - at) : sizeof(bytes);
		ssize_t count = pread(fd, bytes, wanted, (off_t)at);

		if (count <= 0 || !mime_decoder_feed(&decoder, bytes, (size_t)count))
			break;
		at += (uint64_t)count;
	}
	(void)mime_decoder_finish(&decoder);
	mime_charset_close(&charset);
}

void
imap_preview(int fd, const struct mime *mime, struct buf *to)
{
	static const char *const subtypes[] = { "plain", "html" };
	struct preview preview = { .at_line = true };
	char charset[MIME_TOKEN_MAX + 1];

	buf_init(&preview.text, IMAP_PREVIEW_MAX * 4 + 4);
	for (size_t i = 0; i < 2 && preview.text.length == 0; i++) {
		for (uint32_t part = 0; part < mime->count; part++) {
			if (!is_shown(mime, part, subtypes[i], charset))
				continue;
			preview.is_html = i == 1;
			read_part(fd, &mime->parts[part], charset, &preview);
			break;
		}
	}
	imap_write_string(to, preview.text.length > 0 ? (const void *)preview.text.data : "",
	    preview.text.length);
	buf_free(&preview.text);
}
