/*
 * A name is compared byte by byte as it comes, with all of those that are looked for: nothing is
 * held, however the text is cut.
 */
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <bsd/string.h>

#include "smtpd/fields.h"

static const char *const known_fields[KNOWN_FIELD_COUNT] = {
	[KNOWN_RECEIVED] = "received",
	[KNOWN_TLS_REQUIRED] = "tls-required",
	[KNOWN_DELIVERED_TO] = "delivered-to",
	[KNOWN_MESSAGE_ID] = "message-id",
};

/* The next bytes of a TLS-Required field's value: RFC 8689 3 has [FWS] "No". */
static void
look_at_tls_field(struct fields *fields, const char *data, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		bool is_blank = data[i] == ' ' || data[i] == '\t';
		int byte = tolower((unsigned char)data[i]);

		switch (fields->tls_field) {
		case TLS_FIELD_EMPTY:
			if (!is_blank)
				fields->tls_field = byte == 'n' ? TLS_FIELD_N : TLS_FIELD_OTHER;
			break;
		case TLS_FIELD_N:
			fields->tls_field = byte == 'o' ? TLS_FIELD_NO : TLS_FIELD_OTHER;
			break;
		case TLS_FIELD_NO:
			if (!is_blank)
				fields->tls_field = TLS_FIELD_OTHER;
			break;
		case TLS_FIELD_NONE:
		case TLS_FIELD_OTHER:
			return;
		}
	}
}

/* A number that stands for an address (FNV-1a); whoever finds two with the same has only his own mail
 * refused. */
static uint64_t
address_number(const struct address *address)
{
	char domain[ADDRESS_DOMAIN_MAX + 1], text[ADDRESS_TEXT_MAX + 1];
	uint64_t value = UINT64_C(14695981039346656037);

	if (!address_domain_key(address->domain, domain, sizeof(domain)))
		strlcpy(domain, address->domain, sizeof(domain));
	snprintf(text, sizeof(text), "%s@%s", address->local, domain);
	for (const char *at = text; *at != '\0'; at++)
		value = (value ^ (uint64_t)tolower((unsigned char)*at)) * UINT64_C(1099511628211);
	return value;
}

/* The next bytes of the value of a Delivered-To. */
static void
look_at_delivered(struct fields *fields, const char *data, size_t length)
{
	struct delivered_field *field = &fields->delivered;

	for (size_t i = 0; field->is_open && i < length; i++) {
		if (data[i] == ' ' || data[i] == '\t')
			continue;
		if (field->length < sizeof(field->value) - 1)
			field->value[field->length++] = data[i];
		else
			field->is_open = false;
	}
}

static void
end_delivered(struct fields *fields)
{
	struct delivered_field *field = &fields->delivered;
	struct address address;
	size_t used;

	field->value[field->length] = '\0';
	if (field->is_open && field->count < FIELDS_DELIVERED_MAX &&
	    (address_parse(field->value, ADDRESS_ALLOW_UTF8, &address) == ADDRESS_OK ||
	        address_parse_path(field->value, field->length, ADDRESS_ALLOW_UTF8, &address,
	            &used) == ADDRESS_OK))
		field->seen[field->count++] = address_number(&address);
	field->is_open = false;
	field->length = 0;
}

/* The next bytes of its value; blanks in front of it are left out. */
static void
take_message_id(struct fields *fields, const char *data, size_t length)
{
	size_t room;

	while (fields->message_id_length == 0 && length > 0 && (*data == ' ' || *data == '\t')) {
		data++;
		length--;
	}
	room = FIELDS_ID_MAX - fields->message_id_length;
	if (length > room)
		length = room;
	memcpy(fields->message_id + fields->message_id_length, data, length);
	fields->message_id_length += length;
}

/* What comes of a value. */
static void
look_at_value(struct fields *fields, const char *data, size_t length)
{
	look_at_tls_field(fields, data, length);
	look_at_delivered(fields, data, length);
	if (fields->in_message_id)
		take_message_id(fields, data, length);
}

static void
begin_name(struct fields *fields)
{
	fields->state = FIELD_NAME;
	memset(fields->name_match, 0, sizeof(fields->name_match));
	fields->tls_optional |= fields->tls_field == TLS_FIELD_NO;
	fields->tls_field = TLS_FIELD_NONE;
	end_delivered(fields);
	fields->in_message_id = false;
}

static void
end_name(struct fields *fields)
{
	fields->state = FIELD_BODY;
	if (fields->name_match[KNOWN_RECEIVED] == strlen(known_fields[KNOWN_RECEIVED]))
		fields->received++;
	if (fields->name_match[KNOWN_TLS_REQUIRED] == strlen(known_fields[KNOWN_TLS_REQUIRED]))
		fields->tls_field = TLS_FIELD_EMPTY;
	fields->delivered.is_open =
	    fields->name_match[KNOWN_DELIVERED_TO] == strlen(known_fields[KNOWN_DELIVERED_TO]);
	fields->in_message_id = fields->message_id_length == 0 &&
	    fields->name_match[KNOWN_MESSAGE_ID] == strlen(known_fields[KNOWN_MESSAGE_ID]);
}

static void
match_name(struct fields *fields, unsigned char byte)
{
	for (int i = 0; i < KNOWN_FIELD_COUNT; i++) {
		unsigned *match = &fields->name_match[i];

		/* Past the end of the name the NUL matches nothing. */
		if (*match <= strlen(known_fields[i]) && tolower(byte) == known_fields[i][*match])
			(*match)++;
		else
			*match = UINT_MAX;
	}
}

void
fields_text(struct fields *fields, const char *data, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)data[i];

		switch (fields->state) {
		case FIELD_START:
			if (byte == ' ' || byte == '\t') { /* a continuation, RFC 5322 2.2.3 */
				fields->state = FIELD_BODY;
				look_at_value(fields, data + i, length - i);
				return;
			}
			begin_name(fields);
			/* FALLTHROUGH */
		case FIELD_NAME:
			if (byte == ':') {
				end_name(fields);
				break;
			}
			if (byte == ' ' || byte == '\t') {
				fields->state = FIELD_NAME_BLANK;
				break;
			}
			if (byte < '!' || byte > '~') {
				fields->state = FIELD_NOT;
				return;
			}
			match_name(fields, byte);
			break;
		case FIELD_NAME_BLANK:
			if (byte == ':') {
				end_name(fields);
				break;
			}
			if (byte != ' ' && byte != '\t') {
				fields->state = FIELD_NOT;
				return;
			}
			break;
		case FIELD_BODY:
			look_at_value(fields, data + i, length - i);
			return;
		case FIELD_NOT:
		case FIELD_NONE:
			return;
		}
	}
}

void
fields_line_end(struct fields *fields, bool is_empty)
{
	/* The empty line, or a line that is no field, ends the header. */
	if (is_empty || fields->state != FIELD_BODY) {
		end_delivered(fields);
		fields->state = FIELD_NONE;
	} else
		fields->state = FIELD_START;
}

bool
fields_are_over(const struct fields *fields)
{
	return fields->state == FIELD_NONE;
}

const char *
fields_message_id(const struct fields *fields)
{
	return fields->message_id;
}

bool
fields_were_delivered_to(const struct fields *fields, const struct address *address)
{
	const struct delivered_field *field = &fields->delivered;

	for (size_t i = 0; i < field->count; i++) {
		if (field->seen[i] == address_number(address))
			return true;
	}
	return false;
}

bool
fields_say_tls_optional(const struct fields *fields)
{
	return fields->tls_optional || fields->tls_field == TLS_FIELD_NO;
}
