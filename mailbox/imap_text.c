/*
 * One function for each kind of word. Every one looks only at the bytes between `at` and `end`; a
 * literal's length was checked by who gathered it, and is checked again.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "mailbox/imap_text.h"
#include "common/mime_date.h"

void
imap_text_init(struct imap_text *text, const char *bytes, size_t length, struct imap_pool *pool)
{
	if (length == 0)
		bytes = ""; /* an empty command's may be NULL */
	*text = (struct imap_text){ .at = bytes, .end = bytes + length, .pool = pool };
}

void
imap_text_fail(struct imap_text *text, const char *why)
{
	if (text->why == NULL)
		text->why = why;
	text->at = text->end;
}

bool
imap_text_is_end(const struct imap_text *text)
{
	return text->at == text->end;
}

bool
imap_text_next_is(const struct imap_text *text, char wanted)
{
	return text->at < text->end && *text->at == wanted;
}

bool
imap_text_take(struct imap_text *text, char wanted)
{
	if (!imap_text_next_is(text, wanted))
		return false;
	text->at++;
	return true;
}

void
imap_text_space(struct imap_text *text)
{
	if (!imap_text_take(text, ' '))
		imap_text_fail(text, "a space and more is missing");
}

void
imap_text_expect(struct imap_text *text, char wanted)
{
	if (imap_text_take(text, wanted))
		return;
	switch (wanted) {
	case '(':
		imap_text_fail(text, "\"(\" is missing");
		break;
	case ')':
		imap_text_fail(text, "\")\" is missing");
		break;
	case ']':
		imap_text_fail(text, "\"]\" is missing");
		break;
	case '>':
		imap_text_fail(text, "\">\" is missing");
		break;
	default:
		imap_text_fail(text, "a character is missing");
		break;
	}
}

void
imap_text_end(struct imap_text *text)
{
	if (text->why == NULL && !imap_text_is_end(text))
		imap_text_fail(text, "there is more than the command takes");
}

/* ATOM-CHAR: a CHAR that is no atom-special (RFC 9051 9). */
static bool
is_atom(char byte)
{
	return byte > ' ' && byte < 0x7f && strchr("(){%*\"\\]", byte) == NULL;
}

static bool
is_astring(char byte)
{
	return is_atom(byte) || byte == ']';
}

static bool
is_tag(char byte)
{
	return is_astring(byte) && byte != '+';
}

static bool
is_word(char byte)
{
	return isalnum((unsigned char)byte) || byte == '-' || byte == '.' || byte == '_';
}

static bool
is_pattern(char byte)
{
	return is_astring(byte) || byte == '%' || byte == '*';
}

static struct imap_string
take_while(struct imap_text *text, bool (*is_part)(char))
{
	struct imap_string word = { .data = text->at };

	while (text->at < text->end && is_part(*text->at))
		text->at++;
	word.length = (size_t)(text->at - word.data);
	return word;
}

static struct imap_string
take_some(struct imap_text *text, bool (*is_part)(char), const char *why)
{
	struct imap_string word = take_while(text, is_part);

	if (word.length == 0)
		imap_text_fail(text, why);
	return word;
}

struct imap_string
imap_text_atom(struct imap_text *text)
{
	return take_some(text, is_atom, "a word is missing");
}

struct imap_string
imap_text_tag(struct imap_text *text)
{
	return take_some(text, is_tag, "a tag is missing");
}

struct imap_string
imap_text_word(struct imap_text *text)
{
	return take_while(text, is_word);
}

/* A quoted string that has `escapes` without them. */
static struct imap_string
unescape(struct imap_text *text, struct imap_string quoted, size_t escapes)
{
	struct imap_string value = { .length = quoted.length - escapes };
	char *to = imap_pool_new(text->pool, value.length + 1);

	if (to == NULL) {
		text->no_memory = true;
		imap_text_fail(text, "out of memory");
		return (struct imap_string){ "", 0 };
	}
	value.data = to;
	for (size_t i = 0; i < quoted.length; i++) {
		if (quoted.data[i] == '\\')
			i++;
		*to++ = quoted.data[i];
	}
	return value;
}

/* Between quotes: no CR, LF or NUL; backslash only before itself and a quote. */
static struct imap_string
take_quoted(struct imap_text *text)
{
	struct imap_string value = { .data = text->at + 1 };
	const char *at = value.data;
	size_t escapes = 0;

	for (; at < text->end && *at != '"'; at++) {
		if (*at == '\0' || *at == '\r' || *at == '\n')
			break;
		if (*at != '\\')
			continue;
		escapes++;
		if (++at == text->end || (*at != '"' && *at != '\\'))
			break;
	}
	if (at >= text->end || *at != '"') {
		imap_text_fail(text, "a quoted string isn't valid");
		return (struct imap_string){ "", 0 };
	}
	value.length = (size_t)(at - value.data);
	text->at = at + 1;
	return escapes > 0 ? unescape(text, value, escapes) : value;
}

static uint64_t
take_digits(struct imap_text *text, uint64_t largest, const char *why)
{
	uint64_t value = 0;

	if (text->at == text->end || !isdigit((unsigned char)*text->at))
		imap_text_fail(text, why);
	while (text->at < text->end && isdigit((unsigned char)*text->at)) {
		unsigned digit = (unsigned)(*text->at++ - '0');

		if (value > (largest - digit) / 10) {
			imap_text_fail(text, "a number is too large");
			return 0;
		}
		value = value * 10 + digit;
	}
	return value;
}

/* The size in a literal's braces, its "{" being next; leaves `at` behind its CR and LF. `mark` is '!'
 * for a message's. */
static uint64_t
take_braces(struct imap_text *text, char mark)
{
	uint64_t size;

	text->at++;
	size = take_digits(text, INT64_MAX, "a literal's length is missing");
	if (mark == '\0')
		(void)imap_text_take(text, '+');
	else if (!imap_text_take(text, mark))
		imap_text_fail(text, "a message's text is missing");
	if (!imap_text_take(text, '}') || text->end - text->at < 2 ||
	    memcmp(text->at, "\r\n", 2) != 0) {
		imap_text_fail(text, "a literal is broken");
		return 0;
	}
	text->at += 2;
	return size;
}

static struct imap_string
take_literal(struct imap_text *text)
{
	uint64_t size = take_braces(text, '\0');
	struct imap_string value = { .data = text->at };

	if (text->why == NULL && size > (uint64_t)(text->end - text->at))
		imap_text_fail(text, "a literal is broken");
	if (text->why != NULL)
		return (struct imap_string){ "", 0 };
	/* RFC 9051 9: CHAR8 has no NUL. */
	if (memchr(text->at, '\0', (size_t)size) != NULL) {
		imap_text_fail(text, "NUL isn't allowed");
		return (struct imap_string){ "", 0 };
	}
	value.length = (size_t)size;
	text->at += size;
	return value;
}

struct imap_string
imap_text_string(struct imap_text *text)
{
	if (imap_text_next_is(text, '"'))
		return take_quoted(text);
	if (imap_text_next_is(text, '{'))
		return take_literal(text);
	imap_text_fail(text, "a string is missing");
	return (struct imap_string){ "", 0 };
}

struct imap_string
imap_text_astring(struct imap_text *text)
{
	if (imap_text_next_is(text, '"') || imap_text_next_is(text, '{'))
		return imap_text_string(text);
	return take_some(text, is_astring, "a word or string is missing");
}

struct imap_string
imap_text_nstring(struct imap_text *text)
{
	struct imap_string word;

	if (imap_text_next_is(text, '"') || imap_text_next_is(text, '{'))
		return imap_text_string(text);
	word = imap_text_word(text);
	if (!imap_string_is(&word, "NIL"))
		imap_text_fail(text, "a string or NIL is missing");
	return (struct imap_string){ 0 };
}

struct imap_string
imap_text_pattern(struct imap_text *text)
{
	if (imap_text_next_is(text, '"') || imap_text_next_is(text, '{'))
		return imap_text_string(text);
	return take_some(text, is_pattern, "a pattern is missing");
}

uint64_t
imap_text_message(struct imap_text *text, bool *is_binary)
{
	*is_binary = imap_text_take(text, '~');
	if (!imap_text_next_is(text, '{')) {
		imap_text_fail(text, "the message must come as a literal");
		return 0;
	}
	return take_braces(text, '!');
}

uint32_t
imap_text_number(struct imap_text *text)
{
	return (uint32_t)take_digits(text, UINT32_MAX, "a number is missing");
}

uint32_t
imap_text_nonzero(struct imap_text *text)
{
	uint32_t number = imap_text_number(text);

	if (number == 0)
		imap_text_fail(text, "0 isn't allowed here");
	return number;
}

uint64_t
imap_text_number64(struct imap_text *text)
{
	return take_digits(text, INT64_MAX, "a number is missing");
}

static uint32_t
take_set_number(struct imap_text *text)
{
	uint32_t number;

	if (imap_text_take(text, '*'))
		return IMAP_SET_STAR;
	number = imap_text_nonzero(text);
	if (number == IMAP_SET_STAR)
		imap_text_fail(text, "a number is too large");
	return number;
}

void
imap_text_set(struct imap_text *text, bool saved, struct imap_set *set)
{
	struct imap_range *ranges = NULL;
	size_t count = 0;

	*set = (struct imap_set){ 0 };
	if (saved && imap_text_take(text, '$')) {
		set->is_saved = true;
		return;
	}
	do {
		struct imap_range range;

		range.first = range.last = take_set_number(text);
		if (imap_text_take(text, ':'))
			range.last = take_set_number(text);
		if (text->why != NULL)
			return;
		ranges = imap_pool_add(text->pool, ranges, &count, sizeof(*ranges));
		if (ranges == NULL) {
			text->no_memory = true;
			imap_text_fail(text, "out of memory");
			return;
		}
		ranges[count - 1] = range;
	} while (imap_text_take(text, ','));
	set->ranges = ranges;
	set->count = count;
}

static unsigned
take_fixed(struct imap_text *text, unsigned digits)
{
	unsigned value = 0;

	while (digits-- > 0) {
		if (text->at == text->end || !isdigit((unsigned char)*text->at)) {
			imap_text_fail(text, "a date is not valid");
			return 0;
		}
		value = value * 10 + (unsigned)(*text->at++ - '0');
	}
	return value;
}

/* "Feb-2026" behind a day and its hyphen. */
static int32_t
take_month_and_year(struct imap_text *text, unsigned day)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	static const unsigned char lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	unsigned month = 0, year, length;

	if (text->end - text->at >= 3) {
		while (month < 12 && strncasecmp(text->at, months + month * 3, 3) != 0)
			month++;
		text->at += 3;
	} else {
		month = 12;
	}
	if (month == 12 || !imap_text_take(text, '-'))
		imap_text_fail(text, "a date is not valid");
	year = take_fixed(text, 4);
	if (text->why != NULL)
		return 0;
	length = lengths[month];
	if (month == 1 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		length++;
	if (day == 0 || day > length || year == 0) {
		imap_text_fail(text, "a date is not valid");
		return 0;
	}
	return mime_days(year, month + 1, day);
}

int32_t
imap_text_date(struct imap_text *text)
{
	bool is_quoted = imap_text_take(text, '"');
	unsigned day = take_fixed(text, 1);
	int32_t days;

	if (text->at < text->end && isdigit((unsigned char)*text->at))
		day = day * 10 + take_fixed(text, 1);
	if (!imap_text_take(text, '-'))
		imap_text_fail(text, "a date is not valid");
	days = take_month_and_year(text, day);
	if (is_quoted && !imap_text_take(text, '"'))
		imap_text_fail(text, "a date is not valid");
	return days;
}

int64_t
imap_text_date_time(struct imap_text *text)
{
	unsigned day, hour, minute, second, zone;
	bool is_west;
	int64_t when;

	if (!imap_text_take(text, '"'))
		imap_text_fail(text, "a date is not valid");
	day = take_fixed(text, imap_text_take(text, ' ') ? 1 : 2);
	if (!imap_text_take(text, '-'))
		imap_text_fail(text, "a date is not valid");
	when = (int64_t)take_month_and_year(text, day) * 86400;
	imap_text_space(text);
	hour = take_fixed(text, 2);
	imap_text_expect(text, ':');
	minute = take_fixed(text, 2);
	imap_text_expect(text, ':');
	second = take_fixed(text, 2);
	imap_text_space(text);
	is_west = imap_text_next_is(text, '-');
	if (!imap_text_take(text, '-') && !imap_text_take(text, '+'))
		imap_text_fail(text, "a date is not valid");
	zone = take_fixed(text, 4);
	imap_text_expect(text, '"');
	if (hour > 23 || minute > 59 || second > 60 || zone % 100 > 59)
		imap_text_fail(text, "a date is not valid");
	if (text->why != NULL)
		return 0;
	zone = zone / 100 * 60 + zone % 100;
	when += (int64_t)hour * 3600 + minute * 60 + second;
	return is_west ? when + zone * 60 : when - (int64_t)zone * 60;
}

bool
imap_string_is(const struct imap_string *string, const char *word)
{
	return string->data != NULL && string->length == strlen(word) &&
	    strncasecmp(string->data, word, string->length) == 0;
}

static uint8_t
system_flag(const struct imap_string *name)
{
	static const struct {
		const char *name;
		enum imap_flag flag;
	} flags[] = {
		{ "Draft", IMAP_FLAG_DRAFT },
		{ "Flagged", IMAP_FLAG_FLAGGED },
		{ "Answered", IMAP_FLAG_ANSWERED },
		{ "Seen", IMAP_FLAG_SEEN },
		{ "Deleted", IMAP_FLAG_DELETED },
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (imap_string_is(name, flags[i].name))
			return (uint8_t)flags[i].flag;
	}
	return 0;
}

static void
take_flag(struct imap_text *text, struct imap_flags *flags)
{
	bool is_system = imap_text_take(text, '\\');
	struct imap_string name = imap_text_atom(text);

	if (text->why != NULL)
		return;
	if (is_system) {
		flags->system |= system_flag(&name);
		/* RFC 9051 2.3.2: \Recent can't be set; others are unknown. */
		if (system_flag(&name) == 0)
			imap_text_fail(text, "there is no such flag");
		return;
	}
	if (name.length > IMAP_KEYWORD_MAX) {
		imap_text_fail(text, "a keyword is too long");
		return;
	}
	flags->keywords = imap_pool_add(
	    text->pool, flags->keywords, &flags->keyword_count, sizeof(*flags->keywords));
	if (flags->keywords == NULL) {
		text->no_memory = true;
		imap_text_fail(text, "out of memory");
		return;
	}
	flags->keywords[flags->keyword_count - 1] = name;
}

void
imap_text_flags(struct imap_text *text, bool bare, struct imap_flags *flags)
{
	bool is_list = imap_text_take(text, '(');

	*flags = (struct imap_flags){ 0 };
	if (!is_list && !bare)
		imap_text_fail(text, "\"(\" is missing");
	if (is_list && imap_text_take(text, ')'))
		return;
	do {
		take_flag(text, flags);
	} while (text->why == NULL && imap_text_take(text, ' '));
	if (is_list)
		imap_text_expect(text, ')');
	if (text->why != NULL) /* the array may be gone */
		*flags = (struct imap_flags){ 0 };
}
