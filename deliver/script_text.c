/*
 * Header fields are looked for by lines, which are as the message has them.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/buf.h"
#include "common/mime_header.h"
#include "deliver/script_text.h"

static size_t
line_end(const char *text, size_t at, size_t length)
{
	const char *end = memchr(text + at, '\n', length - at);

	return end == NULL ? length : (size_t)(end - text) + 1;
}

char *
script_field(const char *text, size_t length, const char *name, size_t most)
{
	size_t at = 0, end, name_length = strlen(name), used = 0;
	char *value;

	for (;; at = end) {
		if (at >= length || text[at] == '\n' || text[at] == '\r')
			return NULL;
		end = line_end(text, at, length);
		while (end < length && (text[end] == ' ' || text[end] == '\t'))
			end = line_end(text, end, length);
		if (end - at > name_length && text[at + name_length] == ':' &&
		    strncasecmp(text + at, name, name_length) == 0)
			break;
	}
	at += name_length + 1;
	while (at < end && strchr(" \t\r\n", text[at]) != NULL)
		at++;
	value = malloc(end - at + 1);
	if (value == NULL)
		return NULL;
	for (; at < end; at++) {
		if (text[at] != '\r' && text[at] != '\n' && text[at] != '\0')
			value[used++] = text[at];
	}
	while (used > 0 && (value[used - 1] == ' ' || value[used - 1] == '\t'))
		used--;
	value[used] = '\0';
	if (used > 0 && used <= most)
		return value;
	free(value);
	return NULL;
}

char *
script_header_key(const char *text, size_t length)
{
	static const char *const names[] = { "From", "Date", "Subject", "To" };
	struct buf key;
	char *value;

	buf_init(&key, 8192);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		value = script_field(text, length, names[i], 1000);
		buf_add_text(&key, value == NULL ? "" : value);
		buf_add_u8(&key, '\n');
		free(value);
	}
	buf_add_u8(&key, 0);
	if (buf_ok(&key))
		return (char *)key.data;
	buf_free(&key);
	return NULL;
}

void
script_author(const char *text, struct address *address, char *name, size_t name_size)
{
	char whole[ADDRESS_TEXT_MAX + 1];
	struct mime_addresses addresses;
	struct mime_address one;
	size_t length;

	memset(address, 0, sizeof(*address));
	*name = '\0';
	mime_address_init(&one);
	mime_addresses_init(&addresses, text);
	if (mime_addresses_next(&addresses, &one) == MIME_ADDRESS_MAILBOX && one.has_domain &&
	    one.local.length > 0 && one.local.length <= ADDRESS_LOCAL_MAX &&
	    one.domain.length > 0 && one.domain.length <= ADDRESS_DOMAIN_MAX) {
		struct address given = { .local = "" };

		memcpy(given.local, one.local.data, one.local.length);
		memcpy(given.domain, one.domain.data, one.domain.length);
		address_format(&given, whole, sizeof(whole));
		if (address_parse(whole, ADDRESS_ALLOW_UTF8, address) != ADDRESS_OK)
			memset(address, 0, sizeof(*address));
	}
	length = one.has_name ? one.name.length : 0;
	if (length >= name_size)
		length = 0;
	if (length > 0)
		memcpy(name, one.name.data, length);
	name[length] = '\0';
	mime_address_free(&one);
}
