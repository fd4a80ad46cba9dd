/*
 * A field is read from the left to the right once. Where the grammar leaves room or is broken, the
 * reading is the one that loses the least: an address without a domain is a mailbox, a comma that
 * isn't in quotes ends it.
 */
#include <ctype.h>
#include <string.h>

#include "common/mime_header.h"

#define ADDRESS_TEXT_MAX 65536 /* of one part of an address */

void
mime_value_init(struct mime_value *value, const char *field)
{
	*value = (struct mime_value){ .at = field, .end = field + strlen(field) };
}

/* The end of the comment that begins at `at`. */
static const char *
comment_end(const char *at, const char *end)
{
	size_t depth = 0;

	for (; at < end; at++) {
		if (*at == '\\' && at + 1 < end) {
			at++;
		} else if (*at == '(') {
			depth++;
		} else if (*at == ')' && --depth == 0) {
			return at + 1;
		}
	}
	return end;
}

void
mime_value_skip(struct mime_value *value)
{
	while (value->at < value->end) {
		if (isspace((unsigned char)*value->at))
			value->at++;
		else if (*value->at == '(')
			value->at = comment_end(value->at, value->end);
		else
			return;
	}
}

/* RFC 2045 5.1: no blanks, controls and tspecials. */
static bool
is_token(char byte)
{
	return byte > ' ' && byte < 0x7f && strchr("()<>@,;:\\\"/[]?=", byte) == NULL;
}

bool
mime_value_token(struct mime_value *value, char token[MIME_TOKEN_MAX + 1])
{
	size_t length = 0;

	mime_value_skip(value);
	for (; value->at < value->end && is_token(*value->at); value->at++) {
		if (length == MIME_TOKEN_MAX)
			return false;
		token[length++] = (char)tolower((unsigned char)*value->at);
	}
	token[length] = '\0';
	return length > 0;
}

bool
mime_value_type(
    struct mime_value *value, char type[MIME_TOKEN_MAX + 1], char subtype[MIME_TOKEN_MAX + 1])
{
	if (!mime_value_token(value, type))
		return false;
	mime_value_skip(value);
	if (value->at == value->end || *value->at != '/')
		return false;
	value->at++;
	return mime_value_token(value, subtype);
}

/* A quoted string that begins here, without its quotes and backslashes. */
static void
take_quoted(struct mime_value *value, struct buf *text)
{
	const char *at = value->at + 1;

	for (; at < value->end && *at != '"'; at++) {
		if (*at == '\\' && at + 1 < value->end)
			at++;
		buf_add_u8(text, (uint8_t)*at);
	}
	value->at = at < value->end ? at + 1 : at;
}

bool
mime_value_parameter(struct mime_value *value, char name[MIME_TOKEN_MAX + 1], struct buf *text)
{
	for (;;) {
		buf_clear(text);
		/* What is between the last value and ";" is nobody's. */
		while (value->at < value->end && *value->at != ';') {
			if (*value->at == '(')
				value->at = comment_end(value->at, value->end);
			else
				value->at++;
		}
		if (value->at == value->end)
			return false;
		value->at++;
		if (!mime_value_token(value, name))
			continue;
		mime_value_skip(value);
		if (value->at == value->end || *value->at != '=')
			continue;
		value->at++;
		mime_value_skip(value);
		if (value->at < value->end && *value->at == '"') {
			take_quoted(value, text);
			return true;
		}
		/* Also with tspecials in it, as many write it. */
		while (value->at < value->end && *value->at != ';' && *value->at != '(' &&
		    !isspace((unsigned char)*value->at))
			buf_add_u8(text, (uint8_t)*value->at++);
		return true;
	}
}

void
mime_address_init(struct mime_address *address)
{
	memset(address, 0, sizeof(*address));
	buf_init(&address->name, ADDRESS_TEXT_MAX);
	buf_init(&address->route, ADDRESS_TEXT_MAX);
	buf_init(&address->local, ADDRESS_TEXT_MAX);
	buf_init(&address->domain, ADDRESS_TEXT_MAX);
}

void
mime_address_free(struct mime_address *address)
{
	buf_free(&address->name);
	buf_free(&address->route);
	buf_free(&address->local);
	buf_free(&address->domain);
}

void
mime_addresses_init(struct mime_addresses *addresses, const char *field)
{
	mime_value_init(&addresses->value, field);
	addresses->in_group = false;
}

/* Words up to one of `stop`: atoms, dots and quoted strings, without comments. With `spaces` a blank
 * stands where there were some; without, none (obs-local-part). False when there was no word. */
static bool
take_words(struct mime_value *value, const char *stop, bool spaces, struct buf *text)
{
	bool is_any = false, is_blank = false;

	for (;;) {
		const char *before = value->at;

		mime_value_skip(value);
		is_blank = is_blank || value->at > before;
		if (value->at == value->end || strchr(stop, *value->at) != NULL)
			return is_any;
		if (is_any && is_blank && spaces)
			buf_add_u8(text, ' ');
		is_any = true;
		is_blank = false;
		if (*value->at == '"') {
			take_quoted(value, text);
			continue;
		}
		while (value->at < value->end && !isspace((unsigned char)*value->at) &&
		    *value->at != '(' && *value->at != '"' && strchr(stop, *value->at) == NULL) {
			if (*value->at == '\\' && value->at + 1 < value->end)
				value->at++;
			buf_add_u8(text, (uint8_t)*value->at++);
		}
	}
}

static bool
take(struct mime_value *value, char wanted)
{
	if (value->at == value->end || *value->at != wanted)
		return false;
	value->at++;
	return true;
}

/* A domain: words, or a literal in brackets. */
static void
take_domain(struct mime_value *value, const char *stop, struct mime_address *address)
{
	address->has_domain = true;
	mime_value_skip(value);
	if (value->at < value->end && *value->at == '[') {
		while (value->at < value->end && *value->at != ']')
			buf_add_u8(&address->domain, (uint8_t)*value->at++);
		if (take(value, ']'))
			buf_add_u8(&address->domain, ']');
	}
	(void)take_words(value, stop, false, &address->domain);
}

/* "<@a,@b:local@domain>", its "<" having been taken (RFC 5322 4.4: obs-route). */
static void
take_angle(struct mime_value *value, struct mime_address *address)
{
	const char *at;

	mime_value_skip(value);
	if (value->at < value->end && *value->at == '@') {
		for (at = value->at; at < value->end && *at != ':' && *at != '>';)
			at++;
		if (at < value->end && *at == ':') {
			address->has_route = true;
			buf_add(&address->route, value->at, (size_t)(at - value->at));
			value->at = at + 1;
		}
	}
	(void)take_words(value, "@>", false, &address->local);
	if (take(value, '@'))
		take_domain(value, ">", address);
	(void)take(value, '>');
}

/* The text of a comment behind a bare address, as old mailers give names: "a@b (A. Person)". */
static void
take_comment_name(const char *from, const char *to, struct mime_address *address)
{
	const char *open = memchr(from, '(', (size_t)(to - from)), *end;

	if (open == NULL)
		return;
	end = comment_end(open, to);
	if (end > open + 1 && end[-1] == ')')
		end--;
	for (const char *at = open + 1; at < end; at++) {
		if (*at == '\\' && at + 1 < end)
			at++;
		buf_add_u8(&address->name, (uint8_t)*at);
	}
	address->has_name = address->name.length > 0;
}

static void
clear(struct mime_address *address)
{
	address->has_name = address->has_route = address->has_domain = false;
	buf_clear(&address->name);
	buf_clear(&address->route);
	buf_clear(&address->local);
	buf_clear(&address->domain);
}

/* What stands in front of "<", "@", ":" or a separator was gathered as words with blanks. */
static enum mime_address_kind
take_address(struct mime_addresses *addresses, struct mime_address *address)
{
	struct mime_value *value = &addresses->value;
	const char *start = value->at, *words;
	bool is_any = take_words(value, "<@,;:", true, &address->name);

	if (take(value, '<')) {
		address->has_name = is_any;
		take_angle(value, address);
		/* Up to the separator there should be nothing. */
		(void)take_words(value, ",;", false, &address->route);
		if (!address->has_route)
			buf_clear(&address->route);
		return MIME_ADDRESS_MAILBOX;
	}
	if (!addresses->in_group && take(value, ':')) {
		buf_add(&address->local, address->name.data, address->name.length);
		buf_clear(&address->name);
		addresses->in_group = true;
		return MIME_ADDRESS_GROUP;
	}
	/* An address without brackets: once more, as an address has it. */
	words = value->at;
	buf_clear(&address->name);
	value->at = start;
	(void)take_words(value, "@,;", false, &address->local);
	if (take(value, '@'))
		take_domain(value, ",;", address);
	if (value->at < words)
		value->at = words;
	take_comment_name(start, value->at, address);
	return MIME_ADDRESS_MAILBOX;
}

enum mime_address_kind
mime_addresses_next(struct mime_addresses *addresses, struct mime_address *address)
{
	struct mime_value *value = &addresses->value;

	clear(address);
	for (;;) {
		mime_value_skip(value);
		if (value->at == value->end)
			break;
		if (take(value, ','))
			continue;
		if (take(value, ';')) {
			if (!addresses->in_group)
				continue;
			addresses->in_group = false;
			address->kind = MIME_ADDRESS_GROUP_END;
			return address->kind;
		}
		address->kind = take_address(addresses, address);
		return address->kind;
	}
	/* A group that isn't closed is over all the same. */
	address->kind = addresses->in_group ? MIME_ADDRESS_GROUP_END : MIME_ADDRESS_END;
	addresses->in_group = false;
	return address->kind;
}
