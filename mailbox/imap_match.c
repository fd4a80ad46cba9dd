/*
 * Keys are an array with parents before their children: going through it backwards, each key's answer
 * is known before its parent's. An answer is yes, no or not known yet; those that need the message's
 * text stay unknown until everything else is known and still doesn't decide.
 *
 * Texts are searched for as bytes of folded UTF-8, as the text streams by: within a piece by memmem(),
 * from one to the next by Knuth, Morris and Pratt.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "mailbox/imap_match.h"
#include "mailbox/imap_summary.h"
#include "common/mime.h"
#include "common/mime_decode.h"
#include "common/mime_header.h"

#define READ_SIZE  32768
#define TEXT_MAX   65536         /* bytes of a message that is read at once */
#define HEADER_MAX (1024 * 1024) /* bytes of a header that are searched */

enum answer {
	ANSWER_NO,
	ANSWER_YES,
	ANSWER_UNKNOWN,
};

/* One text that is looked for. */
struct needle {
	char *text; /* NULL: the key has none */
	size_t length;
	uint32_t *border; /* of each beginning, the longest that is also its end */
	size_t matched;
};

struct imap_matcher {
	struct folder *folder;
	const struct imap_search *search; /* the command's: may be gone when this is freed */
	size_t count;                     /* of keys */
	struct needle *needles;           /* one a key */
	enum answer *answers;
	char *text; /* a message's, whole; NULL: none was read yet */
};

/* --- needles --- */

static bool
prepare(struct needle *needle)
{
	uint32_t k = 0;

	needle->border = calloc(needle->length + 1, sizeof(*needle->border));
	if (needle->border == NULL)
		return false;
	for (uint32_t i = 1; i < needle->length; i++) {
		while (k > 0 && needle->text[i] != needle->text[k])
			k = needle->border[k - 1];
		if (needle->text[i] == needle->text[k])
			k++;
		needle->border[i] = k;
	}
	return true;
}

/* Byte by byte. */
static bool
follow(struct needle *needle, const char *bytes, size_t length)
{
	size_t k = needle->matched;

	for (size_t i = 0; i < length; i++) {
		while (k > 0 && bytes[i] != needle->text[k])
			k = needle->border[k - 1];
		if (bytes[i] == needle->text[k] && ++k == needle->length) {
			needle->matched = 0;
			return true;
		}
	}
	needle->matched = k;
	return false;
}

/* True when the text has come by whole, in these bytes and those before. */
static bool
feed(struct needle *needle, const char *bytes, size_t length)
{
	size_t overlap = needle->length - 1;

	if (needle->length == 0)
		return true;
	if (length < 2 * needle->length)
		return follow(needle, bytes, length);
	/* What began before, then these bytes alone, then what may go on in the next. */
	if (needle->matched > 0 && follow(needle, bytes, overlap))
		return true;
	needle->matched = 0;
	return memmem(bytes, length, needle->text, needle->length) != NULL ||
	    follow(needle, bytes + length - overlap, overlap);
}

static bool
is_in(struct needle *needle, const char *text, size_t length)
{
	needle->matched = 0;
	return feed(needle, text, length);
}

static bool
add_to_buf(const char *bytes, size_t length, void *arg)
{
	buf_add(arg, bytes, length);
	return true;
}

/* A key's text in folded UTF-8. */
static enum imap_match_problem
make_needle(struct needle *needle, const struct imap_string *text, const char *charset_name)
{
	struct mime_charset charset;
	struct buf utf8, folded;
	bool is_known;

	buf_init(&utf8, 1024 * 1024);
	buf_init(&folded, 1024 * 1024);
	is_known = mime_charset_open(&charset, charset_name, add_to_buf, &utf8);
	if (text->length > 0)
		(void)mime_charset_feed(&charset, text->data, text->length);
	mime_charset_close(&charset);
	if (utf8.length > 0)
		summary_fold(&folded, (const char *)utf8.data, utf8.length);
	needle->length = folded.length;
	needle->text = malloc(folded.length + 1);
	if (needle->text != NULL && folded.length > 0)
		memcpy(needle->text, folded.data, folded.length);
	if (!buf_ok(&utf8) || !buf_ok(&folded)) {
		free(needle->text);
		needle->text = NULL;
	}
	buf_free(&utf8);
	buf_free(&folded);
	if (!is_known)
		return IMAP_MATCH_BAD_CHARSET;
	return needle->text != NULL && prepare(needle) ? IMAP_MATCH_READY : IMAP_MATCH_NO_MEMORY;
}

static bool
charset_is_known(const char *name)
{
	struct mime_charset charset;
	struct buf nothing;
	bool is_known;

	buf_init(&nothing, 64);
	is_known = mime_charset_open(&charset, name, add_to_buf, &nothing);
	mime_charset_close(&charset);
	buf_free(&nothing);
	return is_known;
}

struct imap_matcher *
imap_matcher_new(
    struct folder *folder, const struct imap_search *search, enum imap_match_problem *problem)
{
	struct imap_matcher *matcher = calloc(1, sizeof(*matcher));
	char charset[64] = "UTF-8";

	*problem = IMAP_MATCH_NO_MEMORY;
	if (matcher == NULL)
		return NULL;
	matcher->folder = folder;
	matcher->search = search;
	matcher->count = search->count;
	matcher->needles = calloc(search->count, sizeof(*matcher->needles));
	/* What is known of each, and what comes of it. */
	matcher->answers = calloc(search->count, 2 * sizeof(*matcher->answers));
	if (matcher->needles == NULL || matcher->answers == NULL) {
		imap_matcher_free(matcher);
		return NULL;
	}
	if (search->charset.data != NULL) {
		if (search->charset.length >= sizeof(charset)) {
			*problem = IMAP_MATCH_BAD_CHARSET;
			imap_matcher_free(matcher);
			return NULL;
		}
		memcpy(charset, search->charset.data, search->charset.length);
		charset[search->charset.length] = '\0';
	}
	/* RFC 9051 6.4.4: whether or not a string is in it. */
	*problem = charset_is_known(charset) ? IMAP_MATCH_READY : IMAP_MATCH_BAD_CHARSET;
	for (size_t i = 0; i < search->count && *problem == IMAP_MATCH_READY; i++) {
		enum imap_key key = search->keys[i].key;

		if (key == IMAP_KEY_HEADER || key == IMAP_KEY_BODY || key == IMAP_KEY_TEXT)
			*problem =
			    make_needle(&matcher->needles[i], &search->keys[i].text, charset);
	}
	if (*problem != IMAP_MATCH_READY) {
		imap_matcher_free(matcher);
		return NULL;
	}
	return matcher;
}

void
imap_matcher_free(struct imap_matcher *matcher)
{
	if (matcher == NULL)
		return;
	for (size_t i = 0; matcher->needles != NULL && i < matcher->count; i++) {
		free(matcher->needles[i].text);
		free(matcher->needles[i].border);
	}
	free(matcher->needles);
	free(matcher->answers);
	free(matcher->text);
	free(matcher);
}

/* --- keys that need no text --- */

static enum answer
answer_of(bool yes)
{
	return yes ? ANSWER_YES : ANSWER_NO;
}

static bool
has_keyword(const struct imap_matcher *matcher, const struct message *message,
    const struct imap_string *name)
{
	const struct keywords *keywords = folder_keywords(matcher->folder);

	for (unsigned i = 0; i < KEYWORDS_COUNT; i++) {
		if (keywords->names[i] != NULL && imap_string_is(name, keywords->names[i]))
			return message->bits & 1u << i;
	}
	return false;
}

static bool
has_flag(const struct message *message, uint8_t flag)
{
	switch ((enum imap_flag)flag) {
	case IMAP_FLAG_DRAFT:
		return message->bits & MESSAGE_DRAFT;
	case IMAP_FLAG_FLAGGED:
		return message->bits & MESSAGE_FLAGGED;
	case IMAP_FLAG_ANSWERED:
		return message->bits & MESSAGE_ANSWERED;
	case IMAP_FLAG_SEEN:
		return message->bits & MESSAGE_SEEN;
	case IMAP_FLAG_DELETED:
		return message->bits & MESSAGE_DELETED;
	}
	return false;
}

/* The day of a time, where this server is. */
static int32_t
day_of(int64_t when)
{
	time_t seconds = (time_t)when;
	struct tm local;

	if (localtime_r(&seconds, &local) == NULL)
		return 0;
	return (int32_t)((when + local.tm_gmtoff) / 86400);
}

static enum answer
answer_dates(
    struct imap_matcher *matcher, struct message *message, const struct imap_search_key *key)
{
	int64_t internal, saved, now = clock_wall();

	if (folder_message_dates(matcher->folder, message, &internal, &saved) != MAIL_OK)
		return ANSWER_NO;
	if (key->key == IMAP_KEY_OLDER) /* RFC 5032 3 */
		return answer_of(internal <= now - (int64_t)key->number);
	if (key->key == IMAP_KEY_YOUNGER)
		return answer_of(internal >= now - (int64_t)key->number);
	if (key->key == IMAP_KEY_BEFORE || key->key == IMAP_KEY_SAVED_BEFORE)
		return answer_of(
		    day_of(key->key == IMAP_KEY_BEFORE ? internal : saved) < key->days);
	if (key->key == IMAP_KEY_ON || key->key == IMAP_KEY_SAVED_ON)
		return answer_of(day_of(key->key == IMAP_KEY_ON ? internal : saved) == key->days);
	return answer_of(day_of(key->key == IMAP_KEY_SINCE ? internal : saved) >= key->days);
}

static enum answer
answer_cheap(struct imap_matcher *matcher, struct message *message, uint32_t sequence,
    const struct imap_search_key *key)
{
	uint64_t size;
	char id[34];

	switch (key->key) {
	case IMAP_KEY_AND:
	case IMAP_KEY_OR:
	case IMAP_KEY_NOT:
		return ANSWER_UNKNOWN; /* by their children */
	case IMAP_KEY_ALL:
	case IMAP_KEY_SAVE_DATE_SUPPORTED:
		return ANSWER_YES;
	case IMAP_KEY_FLAG:
		return answer_of(has_flag(message, key->flag));
	case IMAP_KEY_KEYWORD:
		return answer_of(has_keyword(matcher, message, &key->text));
	case IMAP_KEY_RECENT:
		return answer_of(message->uid >= folder_recent(matcher->folder, false));
	case IMAP_KEY_NUMBERS:
	case IMAP_KEY_UIDS: /* both are numbers by now */
		return answer_of(imap_set_has(&key->set, sequence));
	case IMAP_KEY_BEFORE:
	case IMAP_KEY_ON:
	case IMAP_KEY_SINCE:
	case IMAP_KEY_SAVED_BEFORE:
	case IMAP_KEY_SAVED_ON:
	case IMAP_KEY_SAVED_SINCE:
	case IMAP_KEY_OLDER:
	case IMAP_KEY_YOUNGER:
		return answer_dates(matcher, message, key);
	case IMAP_KEY_LARGER:
	case IMAP_KEY_SMALLER:
		if (folder_message_size(matcher->folder, message, &size) != MAIL_OK)
			return ANSWER_NO;
		return answer_of(
		    key->key == IMAP_KEY_LARGER ? size > key->number : size < key->number);
	case IMAP_KEY_MODSEQ:
		return answer_of(message->modseq >= key->number);
	case IMAP_KEY_EMAILID:
		folder_message_email_id(matcher->folder, message, id);
		return answer_of(imap_string_is(&key->text, id));
	case IMAP_KEY_THREADID:
		return ANSWER_NO;
	case IMAP_KEY_SENT_BEFORE:
	case IMAP_KEY_SENT_ON:
	case IMAP_KEY_SENT_SINCE:
	case IMAP_KEY_HEADER:
	case IMAP_KEY_BODY:
	case IMAP_KEY_TEXT:
		break;
	}
	return ANSWER_UNKNOWN;
}

/* --- keys of the summary --- */

/* Which of the summary's texts a field is; SUMMARY_TEXT_COUNT: none. */
static enum summary_text
summary_field(const struct imap_string *field)
{
	static const struct {
		const char *name;
		enum summary_text text;
	} fields[] = {
		{ "Subject", SUMMARY_SUBJECT },
		{ "From", SUMMARY_FROM },
		{ "To", SUMMARY_TO },
		{ "Cc", SUMMARY_CC },
		{ "Bcc", SUMMARY_BCC },
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (imap_string_is(field, fields[i].name))
			return fields[i].text;
	}
	return SUMMARY_TEXT_COUNT;
}

static enum answer
answer_summary(
    struct needle *needle, const struct imap_search_key *key, const struct summary *summary)
{
	enum summary_text text;

	if (key->key == IMAP_KEY_SENT_BEFORE)
		return answer_of(summary->has_date && summary->sent_days < key->days);
	if (key->key == IMAP_KEY_SENT_ON)
		return answer_of(summary->has_date && summary->sent_days == key->days);
	if (key->key == IMAP_KEY_SENT_SINCE)
		return answer_of(summary->has_date && summary->sent_days >= key->days);
	if (key->key != IMAP_KEY_HEADER)
		return ANSWER_UNKNOWN;
	text = summary_field(&key->field);
	/* A text that was cut, and whether an empty field is there, aren't known here. */
	if (text == SUMMARY_TEXT_COUNT || needle->length == 0 ||
	    summary->texts[text].length >= SUMMARY_TEXT_MAX)
		return ANSWER_UNKNOWN;
	return answer_of(is_in(needle, summary->texts[text].data, summary->texts[text].length));
}

/* --- keys that read the message --- */

/* Text comes by: every open key of a kind that this text belongs to looks at it. */
struct scan {
	struct imap_matcher *matcher;
	bool is_header;  /* TEXT only, but for messages within */
	bool has_fields; /* a HEADER key or a TEXT key is open */
	struct buf folded;
	/* The message: what was read of it, or read as it is needed. */
	int fd;
	const char *text; /* NULL: it is large */
};

static bool
scan_text(const char *bytes, size_t length, void *arg)
{
	struct scan *scan = arg;
	struct imap_matcher *matcher = scan->matcher;
	const struct imap_search *search = matcher->search;
	bool is_any = false;

	buf_clear(&scan->folded);
	summary_fold(&scan->folded, bytes, length);
	for (size_t i = 0; i < search->count; i++) {
		enum imap_key key = search->keys[i].key;

		if (matcher->answers[i] != ANSWER_UNKNOWN ||
		    (key != IMAP_KEY_TEXT && (key != IMAP_KEY_BODY || scan->is_header)))
			continue;
		if (feed(
		        &matcher->needles[i], (const char *)scan->folded.data, scan->folded.length))
			matcher->answers[i] = ANSWER_YES;
		else
			is_any = true;
	}
	return is_any;
}

static void
restart_needles(struct imap_matcher *matcher)
{
	for (size_t i = 0; i < matcher->search->count; i++)
		matcher->needles[i].matched = 0;
}

/* Reads a header, at most HEADER_MAX of it; the caller frees it. */
static char *
read_header(const struct scan *scan, const struct mime_part *part, size_t *length)
{
	uint64_t size = part->body.offset - part->header.offset;
	char *header;
	ssize_t count;

	if (size > HEADER_MAX)
		size = HEADER_MAX;
	header = malloc(size + 1);
	if (header == NULL)
		return NULL;
	if (scan->text != NULL) {
		memcpy(header, scan->text + part->header.offset, size);
		count = (ssize_t)size;
	} else {
		count = pread(scan->fd, header, size, (off_t)part->header.offset);
	}
	if (count < 0)
		count = 0;
	header[count] = '\0';
	*length = (size_t)count;
	return header;
}

/* The next field of a header, unfolded in place. False when there is none. */
static bool
next_field(char **at, char *end, char **field, size_t *length)
{
	char *to = *at, *from = *at;

	if (from >= end)
		return false;
	*field = to;
	for (;;) {
		char *line = memchr(from, '\n', (size_t)(end - from));
		size_t count = line != NULL ? (size_t)(line - from) : (size_t)(end - from);

		memmove(to, from, count);
		to += count;
		from += count + (line != NULL);
		while (to > *field && to[-1] == '\r')
			to--;
		if (from >= end || (*from != ' ' && *from != '\t'))
			break;
	}
	*at = from;
	*length = (size_t)(to - *field);
	return true;
}

/* One field's value looked at by the HEADER keys for it. */
static void
scan_field(struct imap_matcher *matcher, const char *field, size_t length, const char *value)
{
	const struct imap_search *search = matcher->search;
	struct buf text, folded;
	bool is_ready = false;

	buf_init(&text, HEADER_MAX);
	buf_init(&folded, HEADER_MAX * 2);
	for (size_t i = 0; i < search->count; i++) {
		const struct imap_search_key *key = &search->keys[i];

		if (key->key != IMAP_KEY_HEADER || matcher->answers[i] != ANSWER_UNKNOWN ||
		    key->field.length != length || strncasecmp(key->field.data, field, length) != 0)
			continue;
		if (!is_ready) {
			mime_decode_words(value, &text);
			if (text.length > 0)
				summary_fold(&folded, (const char *)text.data, text.length);
			is_ready = true;
		}
		if (is_in(&matcher->needles[i], folded.length > 0 ? (const char *)folded.data : "",
		        folded.length))
			matcher->answers[i] = ANSWER_YES;
	}
	buf_free(&text);
	buf_free(&folded);
}

/* A part's header: the message's own for HEADER keys, all for TEXT keys. */
static void
scan_header(struct scan *scan, const struct mime_part *part, bool is_own)
{
	struct imap_matcher *matcher = scan->matcher;
	char *header, *end, *at, *field, *colon;
	struct buf text;
	size_t length;

	header = read_header(scan, part, &length);
	if (header == NULL)
		return;
	buf_init(&text, HEADER_MAX * 2);
	end = header + strlen(header);
	for (at = header; next_field(&at, end, &field, &length);) {
		char saved = field[length];

		field[length] = '\0';
		colon = strchr(field, ':');
		if (is_own && colon != NULL)
			scan_field(
			    matcher, field, (size_t)(colon - field), colon + 1 + (colon[1] == ' '));
		buf_clear(&text);
		mime_decode_words(field, &text);
		restart_needles(matcher);
		if (text.length > 0)
			(void)scan_text((const char *)text.data, text.length, scan);
		field[length] = saved;
	}
	buf_free(&text);
	free(header);
}

static bool
to_charset(const char *bytes, size_t length, void *arg)
{
	return mime_charset_feed(arg, bytes, length);
}

static void
scan_body(struct scan *scan, const struct mime *mime, uint32_t index)
{
	const struct mime_part *part = &mime->parts[index];
	char subtype[MIME_TOKEN_MAX + 1], name[MIME_TOKEN_MAX + 1], bytes[READ_SIZE];
	struct mime_decoder decoder;
	struct mime_charset charset;
	uint64_t at = part->body.offset;

	if (part->kind != MIME_LEAF || !mime_part_is_text(mime, index, subtype, name))
		return;
	restart_needles(scan->matcher);
	(void)mime_charset_open(&charset, name, scan_text, scan);
	mime_decoder_init(&decoder, part->encoding, to_charset, &charset);
	if (scan->text != NULL)
		(void)mime_decoder_feed(&decoder, scan->text + at, part->end.offset - at);
	while (scan->text == NULL && at < part->end.offset) {
		uint64_t left = part->end.offset - at;
		ssize_t count = pread(scan->fd, bytes,
		    left < sizeof(bytes) ? (size_t)left : sizeof(bytes), (off_t)at);

		if (count == -1 && errno == EINTR)
			continue;
		if (count <= 0 || !mime_decoder_feed(&decoder, bytes, (size_t)count))
			break;
		at += (uint64_t)count;
	}
	(void)mime_decoder_finish(&decoder);
	mime_charset_close(&charset);
}

static bool
reads_header(enum imap_key key)
{
	return key == IMAP_KEY_HEADER || key == IMAP_KEY_TEXT;
}

/* Whether a key of that kind is still open. */
static bool
is_open(const struct imap_matcher *matcher, bool (*is_kind)(enum imap_key))
{
	for (size_t i = 0; i < matcher->search->count; i++) {
		if (matcher->answers[i] == ANSWER_UNKNOWN && is_kind(matcher->search->keys[i].key))
			return true;
	}
	return false;
}

/* Opens the message; reads it where it isn't large. */
static struct mime *
open_text(struct imap_matcher *matcher, uint32_t uid, struct scan *scan)
{
	uint64_t size;
	ssize_t count;

	if (folder_message_open(matcher->folder, uid, &scan->fd, &size) != MAIL_OK)
		return NULL;
	if (matcher->text == NULL)
		matcher->text = malloc(TEXT_MAX);
	if (size > TEXT_MAX || matcher->text == NULL)
		return mime_parse_file(scan->fd);
	count = pread(scan->fd, matcher->text, size, 0);
	if (count < 0)
		return NULL;
	scan->text = matcher->text;
	return mime_parse_text(scan->text, (size_t)count);
}

/* Everything that is still unknown, of the message's file: afterwards nothing is. */
static bool
answer_by_text(struct imap_matcher *matcher, uint32_t uid, bool wants_body)
{
	struct scan scan = { .matcher = matcher, .fd = -1 };
	struct mime *mime = open_text(matcher, uid, &scan);

	if (mime == NULL) {
		if (scan.fd != -1)
			(void)close(scan.fd);
		return false;
	}
	buf_init(&scan.folded, HEADER_MAX * 4);
	scan.has_fields = is_open(matcher, reads_header);
	for (uint32_t part = 0; part < mime->count && (part == 0 || wants_body); part++) {
		const struct mime_part *found = &mime->parts[part];

		/* What a message within says in its header is the body of this one. */
		scan.is_header =
		    found->parent == MIME_NONE || mime->parts[found->parent].kind != MIME_MESSAGE;
		if (!scan.is_header || scan.has_fields)
			scan_header(&scan, found, part == 0);
		scan.is_header = false;
		if (wants_body)
			scan_body(&scan, mime, part);
	}
	buf_free(&scan.folded);
	mime_free(mime);
	(void)close(scan.fd); /* only read */
	return true;
}

/* --- together --- */

/* Combines what is known, from the children up; the root's answer. */
static enum answer
combine(const struct imap_search *search, const enum answer *known, enum answer *all)
{
	for (size_t i = 0; i < search->count; i++) {
		if (search->keys[i].key == IMAP_KEY_AND)
			all[i] = ANSWER_YES;
		else if (search->keys[i].key == IMAP_KEY_OR)
			all[i] = ANSWER_NO;
		else
			all[i] = known[i];
	}
	for (size_t i = search->count - 1; i > 0; i--) {
		enum imap_key key = search->keys[search->keys[i].parent].key;
		enum answer *parent = &all[search->keys[i].parent], own = all[i];

		if (key == IMAP_KEY_AND) {
			if (own == ANSWER_NO || *parent == ANSWER_YES)
				*parent = own;
		} else if (key == IMAP_KEY_OR) {
			if (own == ANSWER_YES || *parent == ANSWER_NO)
				*parent = own;
		} else { /* NOT */
			*parent = own == ANSWER_UNKNOWN ? own : answer_of(own == ANSWER_NO);
		}
	}
	return all[0];
}

static bool
is_composite(enum imap_key key)
{
	return key == IMAP_KEY_AND || key == IMAP_KEY_OR || key == IMAP_KEY_NOT;
}

static bool
needs_summary(enum imap_key key)
{
	return key == IMAP_KEY_SENT_BEFORE || key == IMAP_KEY_SENT_ON ||
	    key == IMAP_KEY_SENT_SINCE || key == IMAP_KEY_HEADER;
}

static bool
needs_body(enum imap_key key)
{
	return key == IMAP_KEY_BODY || key == IMAP_KEY_TEXT;
}

bool
imap_matches(struct imap_matcher *matcher, uint32_t uid, uint32_t sequence)
{
	const struct imap_search *search = matcher->search;
	struct message *message = folder_find(matcher->folder, uid);
	enum answer *all = matcher->answers + search->count, answer;
	struct summary summary;

	if (message == NULL)
		return false;
	for (size_t i = 0; i < search->count; i++)
		matcher->answers[i] = answer_cheap(matcher, message, sequence, &search->keys[i]);
	answer = combine(search, matcher->answers, all);
	if (answer == ANSWER_UNKNOWN && is_open(matcher, needs_summary)) {
		if (summary_load(matcher->folder, uid, &summary) != MAIL_OK)
			return false;
		for (size_t i = 0; i < search->count; i++) {
			if (matcher->answers[i] == ANSWER_UNKNOWN)
				matcher->answers[i] = answer_summary(
				    &matcher->needles[i], &search->keys[i], &summary);
		}
		answer = combine(search, matcher->answers, all);
	}
	if (answer != ANSWER_UNKNOWN)
		return answer == ANSWER_YES;
	if (!answer_by_text(matcher, uid, is_open(matcher, needs_body)))
		return false;
	for (size_t i = 0; i < search->count; i++) {
		if (matcher->answers[i] == ANSWER_UNKNOWN && !is_composite(search->keys[i].key))
			matcher->answers[i] = ANSWER_NO;
	}
	return combine(search, matcher->answers, all) == ANSWER_YES;
}
