/*
 * A field is gathered until a line comes that doesn't continue it. Line ends are LF or CRLF; a CR
 * within a line counts as a blank.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/header.h"
#include "common/read.h"

#define CHUNK (16 * 1024)

struct reading {
	char text[HEADER_FIELD_MAX + 1]; /* of the field so far */
	size_t length;
	bool line_begins;
	header_field_fn each;
	void *arg;
};

/* The field is whole. False: no more. */
static bool
end_field(struct reading *reading)
{
	char *colon, *value, *end;

	reading->text[reading->length] = '\0';
	if (reading->length == 0)
		return true;
	reading->length = 0;
	colon = strchr(reading->text, ':');
	if (colon == NULL)
		return false;
	for (end = colon; end > reading->text && (end[-1] == ' ' || end[-1] == '\t'); end--)
		;
	*end = '\0';
	value = colon + 1;
	value += strspn(value, " \t\r");
	for (end = value + strlen(value); end > value && strchr(" \t\r", end[-1]) != NULL; end--)
		;
	*end = '\0';
	return reading->each(reading->text, value, reading->arg);
}

static bool
take_byte(struct reading *reading, char byte)
{
	if (reading->line_begins) {
		/* An empty line: \r\n or \n. */
		if (byte == '\n' || byte == '\r') {
			(void)end_field(reading);
			return false;
		}
		reading->line_begins = false;
		if (byte != ' ' && byte != '\t' && !end_field(reading))
			return false;
	}
	if (byte == '\n')
		reading->line_begins = true;
	else if (reading->length < HEADER_FIELD_MAX)
		reading->text[reading->length++] = byte == '\0' ? '?' : byte;
	return true;
}

static bool
take_bytes(struct reading *reading, const char *data, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (!take_byte(reading, data[i]))
			return false;
	}
	return true;
}

void
header_read(int fd, uint64_t length, header_field_fn each, void *arg)
{
	struct reading reading = { .line_begins = true, .each = each, .arg = arg };
	char *chunk = malloc(CHUNK);
	uint64_t offset = 0;
	bool more = chunk != NULL;

	if (length > HEADER_READ_MAX)
		length = HEADER_READ_MAX;
	while (more && offset < length) {
		uint64_t left = length - offset;
		ssize_t got =
		    read_some_at(fd, chunk, left < CHUNK ? (size_t)left : CHUNK, (off_t)offset);

		more = got > 0 && take_bytes(&reading, chunk, (size_t)got);
		offset += got > 0 ? (uint64_t)got : 0;
	}
	if (more)
		(void)end_field(&reading);
	free(chunk);
}

struct delivered_to {
	const struct address *address;
	bool found;
};

static bool
look_for_address(const char *name, const char *value, void *arg)
{
	struct delivered_to *wanted = arg;
	struct address address;
	size_t used;

	if (strcasecmp(name, "Delivered-To") != 0)
		return true;
	wanted->found = (address_parse(value, ADDRESS_ALLOW_UTF8, &address) == ADDRESS_OK ||
	                    address_parse_path(value, strlen(value), ADDRESS_ALLOW_UTF8, &address,
	                        &used) == ADDRESS_OK) &&
	    address_equal(&address, wanted->address);
	return !wanted->found;
}

bool
header_was_delivered_to(int fd, uint64_t length, const struct address *address)
{
	struct delivered_to wanted = { .address = address };

	/* A name alone is a user's of any host. */
	if (*address->domain != '\0')
		header_read(fd, length, look_for_address, &wanted);
	return wanted.found;
}

/* The first word of a value is one of those, which NULL ends. */
static bool
first_word_is(const char *value, const char *const *words)
{
	size_t length = strcspn(value, " \t\r;(");

	for (; *words != NULL; words++) {
		if (strlen(*words) == length && strncasecmp(value, *words, length) == 0)
			return true;
	}
	return false;
}

static bool
look_for_automatic(const char *name, const char *value, void *arg)
{
	static const char *const no[] = { "no", NULL };
	static const char *const bulk[] = { "bulk", "list", "junk", "auto_reply", NULL };
	bool *found = arg;

	if (strcasecmp(name, "Auto-Submitted") == 0)
		*found = !first_word_is(value, no); /* RFC 3834 5 */
	else if (strcasecmp(name, "Precedence") == 0)
		*found = first_word_is(value, bulk);
	else /* RFC 2919, RFC 2369 */
		*found = strcasecmp(name, "List-Id") == 0 || strcasecmp(name, "List-Post") == 0 ||
		    strcasecmp(name, "List-Unsubscribe") == 0;
	return !*found;
}

bool
header_is_automatic(const void *text, size_t length)
{
	bool found = false;
	struct reading reading = { .line_begins = true, .each = look_for_automatic, .arg = &found };

	if (take_bytes(&reading, text, length))
		(void)end_field(&reading);
	return found;
}
