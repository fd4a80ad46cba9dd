/*
 * The blob in the cache: a version, the dates, then each text with its length. Only the header is read
 * to make it.
 */
#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "mailbox/imap_summary.h"
#include "common/mime.h"
#include "common/mime_date.h"
#include "common/mime_decode.h"
#include "common/mime_header.h"

#define VERSION     1
#define FLAG_DATE   0x01
#define FLAG_REPLY  0x02
#define HEADER_STEP 8192
#define BLOB_MAX    (SUMMARY_TEXT_COUNT * (SUMMARY_TEXT_MAX + 4) + 64)

/* Where the last loaded one is when it didn't fit into the cache. */
static struct buf made;

/* Eight bytes of ASCII in lower case: in each byte that is from A to Z the bit of 0x20 is set. */
static uint64_t
lower_eight(uint64_t eight)
{
	const uint64_t ones = 0x0101010101010101ULL;
	uint64_t from_a = eight + ones * (0x80 - 'A'), above_z = eight + ones * (0x7f - 'Z');

	return eight | ((from_a & ~above_z & ones * 0x80) >> 2);
}

/* Appends the ASCII that the text begins with; how many bytes that is. */
static size_t
fold_ascii(struct buf *to, const char *text, size_t length)
{
	uint64_t eight;
	uint8_t *out;
	size_t at = 0;

	if (!buf_reserve(to, length))
		return 0;
	out = to->data + to->length;
	for (; at + sizeof(eight) <= length; at += sizeof(eight)) {
		memcpy(&eight, text + at, sizeof(eight));
		if ((eight & 0x8080808080808080ULL) != 0)
			break;
		eight = lower_eight(eight);
		memcpy(out + at, &eight, sizeof(eight));
	}
	for (; at < length && (unsigned char)text[at] < 0x80; at++)
		out[at] = (uint8_t)tolower((unsigned char)text[at]);
	to->length += at;
	return at;
}

void
summary_fold(struct buf *to, const char *text, size_t length)
{
	char utf8[MB_LEN_MAX];
	mbstate_t in = { 0 }, out = { 0 };
	wchar_t wide;
	size_t used;

	while (length > 0) {
		size_t ascii = fold_ascii(to, text, length);

		text += ascii;
		length -= ascii;
		if (length == 0 || !buf_ok(to))
			return;
		used = mbrtowc(&wide, text, length, &in);
		if (used == (size_t)-1 || used == (size_t)-2 || used == 0) {
			memset(&in, 0, sizeof(in));
			buf_add_u8(to, (uint8_t)*text);
			text++;
			length--;
			continue;
		}
		text += used;
		length -= used;
		used = wcrtomb(utf8, (wchar_t)towlower((wint_t)wide), &out);
		if (used != (size_t)-1)
			buf_add(to, utf8, used);
	}
}

/* --- base subject --- */

struct subject {
	const char *at;
	const char *end;
};

static void
skip_blanks(struct subject *subject)
{
	while (subject->at < subject->end && *subject->at == ' ')
		subject->at++;
}

/* "[blob] " at `at`; its end, or NULL. */
static const char *
skip_blob(const char *at, const char *end)
{
	if (at == end || *at != '[')
		return NULL;
	for (at++; at < end && *at != ']'; at++) {
		if (*at == '[')
			return NULL;
	}
	if (at == end)
		return NULL;
	for (at++; at < end && *at == ' '; at++)
		;
	return at;
}

/* "Re:", "Fwd [x]:" and the like with blobs before them. */
static bool
take_leader(struct subject *subject)
{
	const char *at = subject->at, *next;

	while ((next = skip_blob(at, subject->end)) != NULL)
		at = next;
	if (subject->end - at >= 3 && strncasecmp(at, "fwd", 3) == 0)
		at += 3;
	else if (subject->end - at >= 2 &&
	    (strncasecmp(at, "re", 2) == 0 || strncasecmp(at, "fw", 2) == 0))
		at += 2;
	else
		return false;
	while (at < subject->end && *at == ' ')
		at++;
	next = skip_blob(at, subject->end);
	if (next != NULL)
		at = next;
	if (at == subject->end || *at != ':')
		return false;
	subject->at = at + 1;
	skip_blanks(subject);
	return true;
}

static bool
take_trailer(struct subject *subject)
{
	bool is_taken = false;

	for (;;) {
		while (subject->end > subject->at && subject->end[-1] == ' ')
			subject->end--;
		if (subject->end - subject->at < 5 ||
		    strncasecmp(subject->end - 5, "(fwd)", 5) != 0)
			return is_taken;
		subject->end -= 5;
		is_taken = true;
	}
}

bool
summary_base_subject(struct buf *to, const char *text, size_t length)
{
	struct subject subject;
	bool is_reply = false, goes_on = true;
	const char *next;
	struct buf clean;

	/* Blanks of all kinds, one after the other, are one. */
	buf_init(&clean, SUMMARY_TEXT_MAX + 1);
	buf_add_u8(&clean, ' ');
	for (size_t i = 0; i < length; i++) {
		char byte = isspace((unsigned char)text[i]) ? ' ' : text[i];

		if (byte != ' ' || clean.data[clean.length - 1] != ' ')
			buf_add_u8(&clean, (uint8_t)byte);
	}
	if (!buf_ok(&clean)) {
		buf_free(&clean);
		return false;
	}
	subject.at = (const char *)clean.data;
	subject.end = subject.at + clean.length;
	while (goes_on) {
		is_reply |= take_trailer(&subject);
		for (goes_on = true; goes_on;) {
			skip_blanks(&subject);
			goes_on = take_leader(&subject);
			is_reply |= goes_on;
			next = skip_blob(subject.at, subject.end);
			if (!goes_on && next != NULL && next < subject.end) {
				subject.at = next;
				goes_on = true;
			}
		}
		if (subject.end - subject.at >= 6 && subject.end[-1] == ']' &&
		    strncasecmp(subject.at, "[fwd:", 5) == 0) {
			subject.at += 5;
			subject.end--;
			is_reply = goes_on = true;
		}
	}
	if (subject.end > subject.at)
		summary_fold(to, subject.at, (size_t)(subject.end - subject.at));
	buf_free(&clean);
	return is_reply;
}

/* --- making one --- */

static void
add_text(struct buf *to, const void *data, size_t length)
{
	if (length > SUMMARY_TEXT_MAX)
		length = SUMMARY_TEXT_MAX;
	buf_add_u32(to, (uint32_t)length);
	buf_add(to, length > 0 ? data : "", length);
}

/* A field's text, decoded. */
static void
decode_field(const struct mime *mime, enum mime_field field, struct buf *to)
{
	const char *text = mime_field(mime, 0, field);

	buf_clear(to);
	if (text != NULL)
		mime_decode_words(text, to);
	if (to->failed) /* cut at the limit */
		to->failed = false;
}

static void
add_folded(const struct mime *mime, enum mime_field field, struct buf *scratch, struct buf *to)
{
	struct buf folded;

	decode_field(mime, field, scratch);
	buf_init(&folded, SUMMARY_TEXT_MAX * 2);
	if (scratch->length > 0)
		summary_fold(&folded, (const char *)scratch->data, scratch->length);
	add_text(to, folded.data, folded.length);
	buf_free(&folded);
}

static void
add_mailbox(const struct mime *mime, enum mime_field field, struct buf *to)
{
	const char *text = mime_field(mime, 0, field);
	struct mime_addresses addresses;
	struct mime_address address;
	struct buf folded;

	buf_init(&folded, SUMMARY_TEXT_MAX * 2);
	mime_address_init(&address);
	if (text != NULL) {
		mime_addresses_init(&addresses, text);
		if (mime_addresses_next(&addresses, &address) != MIME_ADDRESS_END &&
		    address.local.length > 0)
			summary_fold(
			    &folded, (const char *)address.local.data, address.local.length);
	}
	add_text(to, folded.data, folded.length);
	mime_address_free(&address);
	buf_free(&folded);
}

/* Ids in angle brackets, without them; a NUL after each but the last. `limit`: how many. */
static void
take_ids(const char *text, size_t limit, struct buf *to)
{
	while (text != NULL && limit-- > 0) {
		const char *open = strchr(text, '<'), *close;

		close = open != NULL ? strchr(open, '>') : NULL;
		if (close == NULL)
			return;
		if (to->length > 0)
			buf_add_u8(to, 0);
		for (open++; open < close; open++) {
			if (!isspace((unsigned char)*open))
				buf_add_u8(to, (uint8_t)*open);
		}
		text = close + 1;
	}
}

static void
add_ids(const char *text, size_t limit, struct buf *to)
{
	struct buf ids;

	buf_init(&ids, SUMMARY_TEXT_MAX);
	take_ids(text, limit, &ids);
	add_text(to, ids.data, ids.length);
	buf_free(&ids);
}

static void
make(const struct mime *mime, struct buf *to)
{
	const char *date = mime_field(mime, 0, MIME_DATE), *references;
	struct mime_date sent = { 0 };
	struct buf scratch, base;
	uint8_t flags = 0;

	buf_init(&scratch, SUMMARY_TEXT_MAX);
	buf_init(&base, SUMMARY_TEXT_MAX * 2);
	if (date != NULL && mime_date_parse(date, &sent))
		flags |= FLAG_DATE;
	decode_field(mime, MIME_SUBJECT, &scratch);
	if (scratch.length > 0 &&
	    summary_base_subject(&base, (const char *)scratch.data, scratch.length))
		flags |= FLAG_REPLY;
	buf_add_u8(to, VERSION);
	buf_add_u8(to, flags);
	buf_add_u64(to, (uint64_t)sent.when);
	buf_add_u32(to, (uint32_t)sent.days);
	add_folded(mime, MIME_SUBJECT, &scratch, to);
	add_folded(mime, MIME_FROM, &scratch, to);
	add_folded(mime, MIME_TO, &scratch, to);
	add_folded(mime, MIME_CC, &scratch, to);
	add_folded(mime, MIME_BCC, &scratch, to);
	add_text(to, base.data, base.length);
	add_mailbox(mime, MIME_FROM, to);
	add_mailbox(mime, MIME_TO, to);
	add_mailbox(mime, MIME_CC, to);
	add_ids(mime_field(mime, 0, MIME_MESSAGE_ID), 1, to);
	/* RFC 5256 3: In-Reply-To's first where there are no References. */
	references = mime_field(mime, 0, MIME_REFERENCES);
	if (references != NULL && strchr(references, '<') != NULL)
		add_ids(references, SIZE_MAX, to);
	else
		add_ids(mime_field(mime, 0, MIME_IN_REPLY_TO), 1, to);
	buf_free(&scratch);
	buf_free(&base);
}

static struct mime *
read_header(int fd)
{
	struct mime_parser *parser = mime_parser_new();
	char bytes[HEADER_STEP];
	off_t at = 0;
	ssize_t count;

	if (parser == NULL)
		return NULL;
	while (
	    !mime_parser_has_header(parser) && (count = pread(fd, bytes, sizeof(bytes), at)) > 0) {
		mime_parser_feed(parser, bytes, (size_t)count);
		at += count;
	}
	return mime_parser_finish(parser);
}

/* --- reading one --- */

static bool
parse(const void *data, size_t length, struct summary *summary)
{
	struct buf_reader reader;
	uint8_t flags;

	buf_reader_init(&reader, data, length);
	if (buf_get_u8(&reader) != VERSION)
		return false;
	flags = buf_get_u8(&reader);
	summary->has_date = flags & FLAG_DATE;
	summary->is_reply = flags & FLAG_REPLY;
	summary->sent = (int64_t)buf_get_u64(&reader);
	summary->sent_days = (int32_t)buf_get_u32(&reader);
	for (size_t i = 0; i < SUMMARY_TEXT_COUNT && !reader.failed; i++) {
		uint32_t size = buf_get_u32(&reader);

		if (reader.failed || size > reader.left)
			return false;
		summary->texts[i].data = (const char *)reader.data;
		summary->texts[i].length = size;
		reader.data += size;
		reader.left -= size;
	}
	return buf_reader_done(&reader);
}

enum mail_result
summary_load(struct folder *folder, uint32_t uid, struct summary *summary)
{
	struct message *message = folder_find(folder, uid);
	enum mail_result result;
	struct mime *mime;
	const void *data;
	uint64_t size;
	size_t length;
	int fd;

	if (message == NULL)
		return MAIL_EXPUNGED;
	if (folder_cache_get(folder, message, CACHED_SORT, &data, &length) &&
	    parse(data, length, summary))
		return MAIL_OK;
	result = folder_message_open(folder, uid, &fd, &size);
	if (result != MAIL_OK)
		return result;
	mime = read_header(fd);
	(void)close(fd); /* only read */
	if (mime == NULL)
		return MAIL_FAILED;
	buf_free(&made);
	buf_init(&made, BLOB_MAX);
	make(mime, &made);
	mime_free(mime);
	message = folder_find(folder, uid);
	if (message != NULL && made.length <= CACHED_MAX)
		folder_cache_put(folder, message, CACHED_SORT, made.data, made.length);
	return buf_ok(&made) && parse(made.data, made.length, summary) ? MAIL_OK : MAIL_FAILED;
}
