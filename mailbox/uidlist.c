/*
 * Reading and writing dovecot-uidlist's text. A line is strict in what matters: an ascending uid, a
 * name without "/" or NUL. Fields whose letters aren't known here are kept as they are. Bytes after
 * the last line end are a record whose writing was cut short: whoever began it may have told the
 * uid, so it is passed over for ever.
 */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "mailbox/uidlist.h"

/* Takes a decimal number off the front; false when there is none or it passes `limit`. */
static bool
take_number(const char **at, const char *end, uint32_t limit, uint32_t *value)
{
	const char *p = *at;
	uint64_t sum = 0;

	for (; p < end && isdigit((unsigned char)*p); p++) {
		sum = sum * 10 + (uint64_t)(*p - '0');
		if (sum > limit)
			return false;
	}
	if (p == *at)
		return false;
	*at = p;
	*value = (uint32_t)sum;
	return true;
}

static bool
parse_guid(const char *text, size_t length, uint8_t guid[16])
{
	size_t i;

	if (length != 32)
		return false;
	for (i = 0; i < 32; i++) {
		char digit = text[i];
		unsigned value;

		if (digit >= '0' && digit <= '9')
			value = (unsigned)(digit - '0');
		else if (digit >= 'a' && digit <= 'f')
			value = (unsigned)(digit - 'a') + 10;
		else
			return false;
		guid[i / 2] = (uint8_t)(i % 2 == 0 ? value << 4 : guid[i / 2] | value);
	}
	return true;
}

static bool
parse_fields(const char *at, const char *end, struct uidlist_header *header)
{
	while (at < end) {
		const char *space = memchr(at, ' ', (size_t)(end - at));
		const char *field_end = space == NULL ? end : space;
		const char *value = at + 1;

		if (at < field_end) {
			if (*at == 'V' &&
			    (!take_number(&value, field_end, UINT32_MAX, &header->uid_validity) ||
			        value != field_end))
				return false;
			if (*at == 'N' &&
			    (!take_number(&value, field_end, UINT32_MAX, &header->uid_next) ||
			        value != field_end))
				return false;
			if (*at == 'G')
				header->has_guid =
				    parse_guid(value, (size_t)(field_end - value), header->guid);
		}
		at = field_end + 1;
	}
	return true;
}

size_t
uidlist_parse_header(const char *text, size_t length, struct uidlist_header *header)
{
	const char *end = length == 0 ? NULL : memchr(text, '\n', length > 4096 ? 4096 : length);
	const char *at = text + 2;

	memset(header, 0, sizeof(*header));
	if (end == NULL || end - text < 3 || text[1] != ' ')
		return 0;
	if (text[0] == '3') {
		header->version = 3;
		if (!parse_fields(at, end, header))
			return 0;
	} else if (text[0] == '1') {
		header->version = 1;
		if (!take_number(&at, end, UINT32_MAX, &header->uid_validity) || at == end ||
		    *at++ != ' ' || !take_number(&at, end, UINT32_MAX, &header->uid_next))
			return 0;
	} else {
		return 0;
	}
	if (header->uid_validity == 0 || header->uid_next == 0)
		return 0;
	return (size_t)(end - text) + 1;
}

/* The fields between the uid and the name: letter and value each. */
static bool
parse_extra(const char **at, const char *end, struct uidlist_record *record)
{
	const char *start = *at, *p = start, *last = start;

	while (p < end && *p != ':') {
		if (!isalpha((unsigned char)*p))
			return false;
		while (p < end && *p != ' ')
			p++;
		last = p;
		while (p < end && *p == ' ')
			p++;
	}
	if (p == end || last - start > UIDLIST_EXTRA_MAX)
		return false;
	record->extra = start;
	record->extra_length = (size_t)(last - start);
	*at = p + 1;
	return true;
}

static bool
parse_record(const char *at, const char *end, unsigned version, struct uidlist_record *record)
{
	const char *info;

	/* RFC 9051 2.3.1.1: a uid is never 0; the largest would leave no next one. */
	if (!take_number(&at, end, UINT32_MAX - 1, &record->uid) || record->uid == 0 || at == end ||
	    *at != ' ')
		return false;
	while (at < end && *at == ' ')
		at++;
	record->extra = at;
	record->extra_length = 0;
	if (version == 3 && !parse_extra(&at, end, record))
		return false;
	if (at == end || memchr(at, '/', (size_t)(end - at)) != NULL ||
	    memchr(at, '\0', (size_t)(end - at)) != NULL)
		return false;
	info = memchr(at, ':', (size_t)(end - at));
	record->name = at;
	record->name_length = (size_t)((info == NULL ? end : info) - at);
	return record->name_length > 0 && record->name_length < 256 && at[0] != '.';
}

enum uidlist_verdict
uidlist_parse_records(const char *text, size_t length, struct uidlist_header *header,
    uidlist_visit visit, void *arg, size_t *taken)
{
	const char *at, *end, *line_end;
	uint32_t last = 0;

	*taken = 0;
	if (length == 0) /* `text` may be NULL */
		text = "";
	at = text;
	end = text + length;
	for (; at < end; at = line_end + 1) {
		struct uidlist_record record;

		line_end = memchr(at, '\n', (size_t)(end - at));
		if (line_end == NULL) {
			uint32_t uid;

			/* Of its uid some digits may be missing; no more than the next was given. */
			if (take_number(&at, end, UINT32_MAX - 2, &uid) && at < end && *at == ' ' &&
			    uid >= header->uid_next)
				header->uid_next = uid + 1;
			else if (header->uid_next < UINT32_MAX)
				header->uid_next++;
			return UIDLIST_TORN;
		}
		if (!parse_record(at, line_end, header->version, &record) || record.uid <= last)
			return UIDLIST_DAMAGED;
		last = record.uid;
		if (record.uid >= header->uid_next)
			header->uid_next = record.uid + 1;
		visit(arg, &record);
		*taken = (size_t)(line_end + 1 - text);
	}
	return UIDLIST_SOUND;
}

void
uidlist_format_header(struct buf *buf, const struct uidlist_header *header)
{
	size_t i;

	buf_printf(buf, "3 V%" PRIu32 " N%" PRIu32, header->uid_validity, header->uid_next);
	if (header->has_guid) {
		buf_add_text(buf, " G");
		for (i = 0; i < sizeof(header->guid); i++)
			buf_printf(buf, "%02x", header->guid[i]);
	}
	buf_add_u8(buf, '\n');
}

void
uidlist_format_record(struct buf *buf, const struct uidlist_record *record)
{
	buf_printf(buf, "%" PRIu32 " ", record->uid);
	if (record->extra_length > 0) {
		buf_add(buf, record->extra, record->extra_length);
		buf_add_u8(buf, ' ');
	}
	buf_add_u8(buf, ':');
	buf_add(buf, record->name, record->name_length);
	buf_add_u8(buf, '\n');
}

const char *
uidlist_extra(const struct uidlist_record *record, char letter, size_t *length)
{
	const char *at = record->extra, *end = at + record->extra_length;

	while (at < end) {
		const char *space = memchr(at, ' ', (size_t)(end - at));
		const char *field_end = space == NULL ? end : space;

		if (at < field_end && *at == letter) {
			*length = (size_t)(field_end - at) - 1;
			return at + 1;
		}
		at = field_end + 1;
	}
	return NULL;
}
