/*
 * The tables of what can be written: commands and tests, each with its arguments, and tags.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/sieve_script.h"

#define SLOT(name) (1u << SLOT_##name)
#define MATCHING   (SLOT(MATCH) | SLOT(COMPARATOR))
#define INDEXED    (SLOT(INDEX) | SLOT(LAST))

const struct sieve_verb_rule sieve_verbs[VERB_COUNT] = {
	[VERB_REQUIRE] = { "require", 0, false, "l", 0, TESTS_NONE, false },
	[VERB_IF] = { "if", 0, false, "", 0, TESTS_ONE, true },
	[VERB_ELSIF] = { "elsif", 0, false, "", 0, TESTS_ONE, true },
	[VERB_ELSE] = { "else", 0, false, "", 0, TESTS_NONE, true },
	[VERB_STOP] = { "stop", 0, false, "", 0, TESTS_NONE, false },
	[VERB_KEEP] = { "keep", 0, false, "", SLOT(FLAGS), TESTS_NONE, false },
	[VERB_DISCARD] = { "discard", 0, false, "", 0, TESTS_NONE, false },
	[VERB_REDIRECT] = { "redirect", 0, false, "s", SLOT(COPY), TESTS_NONE, false },
	[VERB_FILEINTO] = { "fileinto", NEEDS(FILEINTO), false, "s",
	    SLOT(COPY) | SLOT(CREATE) | SLOT(FLAGS), TESTS_NONE, false },
	[VERB_REJECT] = { "reject", NEEDS(REJECT), false, "s", 0, TESTS_NONE, false },
	[VERB_EREJECT] = { "ereject", NEEDS(EREJECT), false, "s", 0, TESTS_NONE, false },
	[VERB_SET] = { "set", NEEDS(VARIABLES), false, "ss",
	    SLOT(CASE) | SLOT(FIRST) | SLOT(QUOTE) | SLOT(LENGTH), TESTS_NONE, false },
	[VERB_VACATION] = { "vacation", NEEDS(VACATION) | NEEDS(VACATION_SECONDS), false, "s",
	    SLOT(SECONDS) | SLOT(SUBJECT) | SLOT(FROM) | SLOT(ADDRESSES) | SLOT(MIME) |
	        SLOT(HANDLE),
	    TESTS_NONE, false },
	[VERB_SETFLAG] = { "setflag", NEEDS(FLAGS), false, "?sl", 0, TESTS_NONE, false },
	[VERB_ADDFLAG] = { "addflag", NEEDS(FLAGS), false, "?sl", 0, TESTS_NONE, false },
	[VERB_REMOVEFLAG] = { "removeflag", NEEDS(FLAGS), false, "?sl", 0, TESTS_NONE, false },
	[VERB_ERROR] = { "error", NEEDS(IHAVE), false, "s", 0, TESTS_NONE, false },
	[VERB_ADDRESS] = { "address", 0, true, "ll", MATCHING | SLOT(PART) | INDEXED, TESTS_NONE,
	    false },
	[VERB_ALLOF] = { "allof", 0, true, "", 0, TESTS_LIST, false },
	[VERB_ANYOF] = { "anyof", 0, true, "", 0, TESTS_LIST, false },
	[VERB_BODY] = { "body", NEEDS(BODY), true, "l", MATCHING | SLOT(BODY), TESTS_NONE, false },
	[VERB_CURRENTDATE] = { "currentdate", NEEDS(DATE), true, "sl", MATCHING | SLOT(ZONE),
	    TESTS_NONE, false },
	[VERB_DATE] = { "date", NEEDS(DATE), true, "ssl", MATCHING | SLOT(ZONE) | INDEXED,
	    TESTS_NONE, false },
	[VERB_DUPLICATE] = { "duplicate", NEEDS(DUPLICATE), true, "",
	    SLOT(HANDLE) | SLOT(UNIQUE) | SLOT(SECONDS) | SLOT(LAST), TESTS_NONE, false },
	[VERB_ENVELOPE] = { "envelope", NEEDS(ENVELOPE), true, "ll", MATCHING | SLOT(PART),
	    TESTS_NONE, false },
	[VERB_ENVIRONMENT] = { "environment", NEEDS(ENVIRONMENT), true, "sl", MATCHING, TESTS_NONE,
	    false },
	[VERB_EXISTS] = { "exists", 0, true, "l", 0, TESTS_NONE, false },
	[VERB_FALSE] = { "false", 0, true, "", 0, TESTS_NONE, false },
	[VERB_HASFLAG] = { "hasflag", NEEDS(FLAGS), true, "?ll", MATCHING, TESTS_NONE, false },
	[VERB_HEADER] = { "header", 0, true, "ll", MATCHING | INDEXED, TESTS_NONE, false },
	[VERB_IHAVE] = { "ihave", NEEDS(IHAVE), true, "l", 0, TESTS_NONE, false },
	[VERB_MAILBOXEXISTS] = { "mailboxexists", NEEDS(MAILBOX), true, "l", 0, TESTS_NONE, false },
	[VERB_NOT] = { "not", 0, true, "", 0, TESTS_ONE, false },
	[VERB_SIZE] = { "size", 0, true, "n", SLOT(OVER), TESTS_NONE, false },
	[VERB_STRING] = { "string", NEEDS(VARIABLES), true, "ll", MATCHING, TESTS_NONE, false },
	[VERB_TRUE] = { "true", 0, true, "", 0, TESTS_NONE, false },
};

static const struct sieve_tag_rule tags[] = {
	{ "is", TAG_IS, SLOT_MATCH, 0, 0 },
	{ "contains", TAG_CONTAINS, SLOT_MATCH, 0, 0 },
	{ "matches", TAG_MATCHES, SLOT_MATCH, 0, 0 },
	{ "regex", TAG_REGEX, SLOT_MATCH, 0, NEEDS(REGEX) },
	{ "count", TAG_COUNT_OF, SLOT_MATCH, 's', NEEDS(RELATIONAL) },
	{ "value", TAG_VALUE, SLOT_MATCH, 's', NEEDS(RELATIONAL) },
	{ "comparator", TAG_COMPARATOR, SLOT_COMPARATOR, 's', 0 },
	{ "all", TAG_ALL, SLOT_PART, 0, 0 },
	{ "localpart", TAG_LOCALPART, SLOT_PART, 0, 0 },
	{ "domain", TAG_DOMAIN, SLOT_PART, 0, 0 },
	{ "user", TAG_USER, SLOT_PART, 0, NEEDS(SUBADDRESS) },
	{ "detail", TAG_DETAIL, SLOT_PART, 0, NEEDS(SUBADDRESS) },
	{ "over", TAG_OVER, SLOT_OVER, 0, 0 },
	{ "under", TAG_UNDER, SLOT_OVER, 0, 0 },
	{ "copy", TAG_COPY, SLOT_COPY, 0, NEEDS(COPY) },
	{ "create", TAG_CREATE, SLOT_CREATE, 0, NEEDS(MAILBOX) },
	{ "flags", TAG_FLAGS, SLOT_FLAGS, 'l', NEEDS(FLAGS) },
	{ "lower", TAG_LOWER, SLOT_CASE, 0, 0 },
	{ "upper", TAG_UPPER, SLOT_CASE, 0, 0 },
	{ "lowerfirst", TAG_LOWERFIRST, SLOT_FIRST, 0, 0 },
	{ "upperfirst", TAG_UPPERFIRST, SLOT_FIRST, 0, 0 },
	{ "quotewildcard", TAG_QUOTEWILDCARD, SLOT_QUOTE, 0, 0 },
	{ "quoteregex", TAG_QUOTEREGEX, SLOT_QUOTE, 0, NEEDS(REGEX) },
	{ "length", TAG_LENGTH, SLOT_LENGTH, 0, 0 },
	{ "days", TAG_DAYS, SLOT_SECONDS, 'n', 0 },
	{ "seconds", TAG_SECONDS, SLOT_SECONDS, 'n', 0 },
	{ "subject", TAG_SUBJECT, SLOT_SUBJECT, 's', 0 },
	{ "from", TAG_FROM, SLOT_FROM, 's', 0 },
	{ "addresses", TAG_ADDRESSES, SLOT_ADDRESSES, 'l', 0 },
	{ "mime", TAG_MIME, SLOT_MIME, 0, 0 },
	{ "handle", TAG_HANDLE, SLOT_HANDLE, 's', 0 },
	{ "raw", TAG_RAW, SLOT_BODY, 0, 0 },
	{ "content", TAG_CONTENT, SLOT_BODY, 'l', 0 },
	{ "text", TAG_TEXT, SLOT_BODY, 0, 0 },
	{ "zone", TAG_ZONE, SLOT_ZONE, 's', 0 },
	{ "originalzone", TAG_ORIGINALZONE, SLOT_ZONE, 0, 0 },
	{ "index", TAG_INDEX, SLOT_INDEX, 'n', NEEDS(INDEX) },
	{ "last", TAG_LAST, SLOT_LAST, 0, 0 },
	{ "header", TAG_HEADER, SLOT_UNIQUE, 's', 0 },
	{ "uniqueid", TAG_UNIQUEID, SLOT_UNIQUE, 's', 0 },
};

bool
sieve_find_verb(const char *name, bool is_test, enum sieve_verb *verb)
{
	for (unsigned i = 0; i < VERB_COUNT; i++) {
		if (sieve_verbs[i].is_test == is_test &&
		    strcasecmp(sieve_verbs[i].name, name) == 0) {
			*verb = (enum sieve_verb)i;
			return true;
		}
	}
	return false;
}

const struct sieve_tag_rule *
sieve_find_tag(const char *name, uint32_t slots)
{
	for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
		if ((slots & 1u << tags[i].slot) != 0 && strcasecmp(tags[i].name, name) == 0)
			return &tags[i];
	}
	return NULL;
}

enum sieve_extension
sieve_find_extension(const char *name, size_t length)
{
	const char *at = sieve_extensions;
	unsigned i;

	for (i = 0; i < EXTENSION_COUNT; i++) {
		size_t word = strcspn(at, " ");

		if (word == length && memcmp(at, name, length) == 0)
			break;
		at += word + 1;
	}
	return (enum sieve_extension)i;
}

void
sieve_extension_name(enum sieve_extension extension, char *name, size_t size)
{
	const char *at = sieve_extensions;

	for (unsigned i = 0; i < extension; i++)
		at += strcspn(at, " ") + 1;
	snprintf(name, size, "%.*s", (int)strcspn(at, " "), at);
}
