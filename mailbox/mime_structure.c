/*
 * The parts are walked through in their order, which is the order of the text; what stands behind a
 * part's children is written when the last of them has been.
 */
#include <ctype.h>
#include <string.h>

#include "common/mime_header.h"
#include "mailbox/mime_structure.h"

static bool
can_be_quoted(const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] == '\0' || bytes[i] == '\r' || bytes[i] == '\n' || bytes[i] >= 0x80)
			return false;
	}
	return true;
}

void
imap_write_string(struct buf *to, const void *data, size_t length)
{
	const unsigned char *bytes = data;

	if (!can_be_quoted(bytes, length)) {
		buf_printf(to, "{%zu}\r\n", length);
		buf_add(to, bytes, length);
		return;
	}
	buf_add_u8(to, '"');
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] == '"' || bytes[i] == '\\')
			buf_add_u8(to, '\\');
		buf_add_u8(to, bytes[i]);
	}
	buf_add_u8(to, '"');
}

void
imap_write_nstring(struct buf *to, const char *text)
{
	if (text == NULL)
		buf_add_text(to, "NIL");
	else
		imap_write_string(to, text, strlen(text));
}

static void
write_buf(struct buf *to, const struct buf *text, bool is_there)
{
	if (is_there)
		imap_write_string(
		    to, text->length > 0 ? (const void *)text->data : "", text->length);
	else
		buf_add_text(to, "NIL");
}

static void
write_address(struct buf *to, const struct mime_address *address)
{
	buf_add_u8(to, '(');
	switch (address->kind) {
	case MIME_ADDRESS_MAILBOX:
		write_buf(to, &address->name, address->has_name);
		buf_add_u8(to, ' ');
		write_buf(to, &address->route, address->has_route);
		buf_add_u8(to, ' ');
		write_buf(to, &address->local, true);
		buf_add_u8(to, ' ');
		/* NIL would mean a group (RFC 9051 7.5.2). */
		write_buf(to, &address->domain, true);
		break;
	case MIME_ADDRESS_GROUP:
		buf_add_text(to, "NIL NIL ");
		write_buf(to, &address->local, true);
		buf_add_text(to, " NIL");
		break;
	case MIME_ADDRESS_GROUP_END:
	case MIME_ADDRESS_END:
		buf_add_text(to, "NIL NIL NIL NIL");
		break;
	}
	buf_add_u8(to, ')');
}

static void
write_addresses(struct buf *to, const char *field)
{
	struct mime_addresses addresses;
	struct mime_address address;
	bool is_any = false;

	if (field == NULL) {
		buf_add_text(to, "NIL");
		return;
	}
	mime_address_init(&address);
	mime_addresses_init(&addresses, field);
	while (buf_ok(to) && mime_addresses_next(&addresses, &address) != MIME_ADDRESS_END) {
		if (!is_any)
			buf_add_u8(to, '(');
		is_any = true;
		write_address(to, &address);
	}
	buf_add_text(to, is_any ? ")" : "NIL");
	mime_address_free(&address);
}

void
mime_write_envelope(struct buf *to, const struct mime *mime, uint32_t part)
{
	static const enum mime_field lists[] = { MIME_FROM, MIME_SENDER, MIME_REPLY_TO, MIME_TO,
		MIME_CC, MIME_BCC };
	const char *from = mime_field(mime, part, MIME_FROM);

	buf_add_u8(to, '(');
	imap_write_nstring(to, mime_field(mime, part, MIME_DATE));
	buf_add_u8(to, ' ');
	imap_write_nstring(to, mime_field(mime, part, MIME_SUBJECT));
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		const char *field = mime_field(mime, part, lists[i]);

		/* RFC 9051 7.5.2: From stands for both when they are absent or empty. */
		if ((lists[i] == MIME_SENDER || lists[i] == MIME_REPLY_TO) &&
		    (field == NULL || field[0] == '\0'))
			field = from;
		buf_add_u8(to, ' ');
		write_addresses(to, field);
	}
	buf_add_u8(to, ' ');
	imap_write_nstring(to, mime_field(mime, part, MIME_IN_REPLY_TO));
	buf_add_u8(to, ' ');
	imap_write_nstring(to, mime_field(mime, part, MIME_MESSAGE_ID));
	buf_add_u8(to, ')');
}

/* Parameters as they stand in the field (names in lower case), in parentheses, or NIL. */
static void
write_parameters(struct buf *to, struct mime_value *value, const char *instead)
{
	char name[MIME_TOKEN_MAX + 1];
	struct buf text;
	bool is_any = false;

	buf_init(&text, MIME_FIELD_MAX);
	while (buf_ok(to) && value->at != NULL && mime_value_parameter(value, name, &text)) {
		buf_add_text(to, is_any ? " " : "(");
		is_any = true;
		imap_write_nstring(to, name);
		buf_add_u8(to, ' ');
		write_buf(to, &text, true);
	}
	buf_free(&text);
	buf_add_text(to, is_any ? ")" : instead);
}

static void
write_disposition(struct buf *to, const char *field)
{
	char token[MIME_TOKEN_MAX + 1];
	struct mime_value value;

	if (field != NULL) {
		mime_value_init(&value, field);
		if (mime_value_token(&value, token)) {
			buf_add_u8(to, '(');
			imap_write_nstring(to, token);
			buf_add_u8(to, ' ');
			write_parameters(to, &value, "NIL");
			buf_add_u8(to, ')');
			return;
		}
	}
	buf_add_text(to, "NIL");
}

/* RFC 3282: tags with commas between them. */
static void
write_languages(struct buf *to, const char *field)
{
	char token[MIME_TOKEN_MAX + 1];
	struct mime_value value;
	bool is_any = false;

	if (field != NULL) {
		mime_value_init(&value, field);
		while (buf_ok(to) && value.at < value.end) {
			if (mime_value_token(&value, token)) {
				buf_add_text(to, is_any ? " " : "(");
				is_any = true;
				imap_write_nstring(to, token);
			} else if (value.at < value.end) {
				value.at++;
			}
		}
	}
	buf_add_text(to, is_any ? ")" : "NIL");
}

/* What both kinds of part end with when extended. */
static void
write_extension(struct buf *to, const struct mime *mime, uint32_t part)
{
	buf_add_u8(to, ' ');
	write_disposition(to, mime_field(mime, part, MIME_CONTENT_DISPOSITION));
	buf_add_u8(to, ' ');
	write_languages(to, mime_field(mime, part, MIME_CONTENT_LANGUAGE));
	buf_add_u8(to, ' ');
	imap_write_nstring(to, mime_field(mime, part, MIME_CONTENT_LOCATION));
}

/* The part's type; text/plain when it has none or none that can be read. `value` is then at its
 * parameters, or empty. */
static bool
find_type(const struct mime *mime, uint32_t part, char type[MIME_TOKEN_MAX + 1],
    char subtype[MIME_TOKEN_MAX + 1], struct mime_value *value)
{
	const struct mime_part *found = &mime->parts[part];
	const char *field = mime_field(mime, part, MIME_CONTENT_TYPE);

	*value = (struct mime_value){ 0 };
	if (field != NULL) {
		mime_value_init(value, field);
		/* A multipart whose boundary is missing has no parts to write. */
		if (mime_value_type(value, type, subtype) &&
		    (found->kind != MIME_LEAF || strcmp(type, "multipart") != 0))
			return true;
		*value = (struct mime_value){ 0 };
	}
	strcpy(type, found->kind == MIME_MESSAGE ? "message" : "text");
	strcpy(subtype, found->kind == MIME_MESSAGE ? "rfc822" : "plain");
	return false;
}

static void
write_encoding(struct buf *to, const struct mime *mime, uint32_t part)
{
	const char *field = mime_field(mime, part, MIME_CONTENT_TRANSFER_ENCODING);
	char token[MIME_TOKEN_MAX + 1];
	struct mime_value value;

	if (field != NULL) {
		mime_value_init(&value, field);
		if (mime_value_token(&value, token)) {
			imap_write_nstring(to, token);
			return;
		}
	}
	buf_add_text(to, "\"7bit\"");
}

/* What comes before the structure inside, or is all of a leaf but its extension. */
static void
write_single(struct buf *to, const struct mime *mime, uint32_t part)
{
	char type[MIME_TOKEN_MAX + 1], subtype[MIME_TOKEN_MAX + 1];
	const struct mime_part *found = &mime->parts[part];
	struct mime_value value;
	bool is_typed = find_type(mime, part, type, subtype, &value);

	imap_write_nstring(to, type);
	buf_add_u8(to, ' ');
	imap_write_nstring(to, subtype);
	buf_add_u8(to, ' ');
	/* RFC 2045 5.2: what text without a type is. */
	write_parameters(to, &value,
	    is_typed || found->kind == MIME_MESSAGE ? "NIL" : "(\"charset\" \"us-ascii\")");
	buf_add_u8(to, ' ');
	imap_write_nstring(to, mime_field(mime, part, MIME_CONTENT_ID));
	buf_add_u8(to, ' ');
	imap_write_nstring(to, mime_field(mime, part, MIME_CONTENT_DESCRIPTION));
	buf_add_u8(to, ' ');
	write_encoding(to, mime, part);
	buf_printf(to, " %llu", (unsigned long long)mime_body_size(found));
	if (found->kind == MIME_LEAF && strcmp(type, "text") == 0)
		buf_printf(to, " %llu", (unsigned long long)mime_body_lines(found));
	if (found->kind == MIME_MESSAGE) {
		buf_add_u8(to, ' ');
		mime_write_envelope(to, mime, found->first_child);
		buf_add_u8(to, ' ');
	}
}

/* The part and all in it have been written but for what stands at its end. */
static void
write_end(struct buf *to, const struct mime *mime, uint32_t part, bool extended)
{
	char type[MIME_TOKEN_MAX + 1], subtype[MIME_TOKEN_MAX + 1];
	const struct mime_part *found = &mime->parts[part];
	struct mime_value value;

	if (found->kind == MIME_MULTIPART) {
		(void)find_type(mime, part, type, subtype, &value);
		buf_add_u8(to, ' ');
		imap_write_nstring(to, subtype);
		if (extended) {
			buf_add_u8(to, ' ');
			write_parameters(to, &value, "NIL");
		}
	} else {
		if (found->kind == MIME_MESSAGE)
			buf_printf(to, " %llu", (unsigned long long)mime_body_lines(found));
		if (extended) {
			buf_add_u8(to, ' ');
			imap_write_nstring(to, mime_field(mime, part, MIME_CONTENT_MD5));
		}
	}
	if (extended)
		write_extension(to, mime, part);
	buf_add_u8(to, ')');
}

void
mime_write_structure(struct buf *to, const struct mime *mime, bool extended)
{
	uint32_t part = 0;

	while (part != MIME_NONE && buf_ok(to)) {
		const struct mime_part *found = &mime->parts[part];

		buf_add_u8(to, '(');
		if (found->kind != MIME_MULTIPART)
			write_single(to, mime, part);
		if (found->first_child != MIME_NONE) {
			part = found->first_child;
			continue;
		}
		/* A multipart without parts has to have one (RFC 9051 9: body-type-mpart). */
		if (found->kind == MIME_MULTIPART)
			buf_add_text(to,
			    "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0)");
		write_end(to, mime, part, extended);
		while (mime->parts[part].next == MIME_NONE) {
			part = mime->parts[part].parent;
			if (part == MIME_NONE)
				return;
			write_end(to, mime, part, extended);
		}
		part = mime->parts[part].next;
	}
}
