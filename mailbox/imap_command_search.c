/*
 * SEARCH, SORT and THREAD. Search keys nest by parentheses, NOT and OR; which of them are open is kept
 * in an array, so that nothing recurses: a key is put into the last open one, which is closed when it
 * has all of its children.
 */
#include <stddef.h>
#include <string.h>

#include "mailbox/imap_command_parts.h"

#define UNTIL_CLOSED UINT32_MAX /* a list of any number of keys */

struct open_key {
	uint32_t index;
	uint32_t wanted; /* children still to come, or UNTIL_CLOSED */
};

struct keys {
	struct imap_text *text;
	struct imap_search *search;
	struct open_key open[IMAP_NESTING_MAX];
	size_t depth; /* of `open`: 0 when the search is complete */
};

enum argument {
	ARGUMENT_NONE,
	ARGUMENT_FLAG, /* of the table */
	ARGUMENT_NOT_FLAG,
	ARGUMENT_KEYWORD,
	ARGUMENT_NOT_KEYWORD,
	ARGUMENT_SET,
	ARGUMENT_DATE,
	ARGUMENT_NUMBER,
	ARGUMENT_SECONDS,
	ARGUMENT_MODSEQ,
	ARGUMENT_TEXT,
	ARGUMENT_FIELD, /* of the table, and a text */
	ARGUMENT_FIELD_AND_TEXT,
	ARGUMENT_OBJECT,
	ARGUMENT_NEW,
	ARGUMENT_OLD,
};

static const struct {
	const char *name;
	enum imap_key key;
	enum argument argument;
	uint8_t flag;
	const char *field;
} names[] = {
	{ "ALL", IMAP_KEY_ALL, ARGUMENT_NONE, 0, NULL },
	{ "ANSWERED", IMAP_KEY_FLAG, ARGUMENT_FLAG, IMAP_FLAG_ANSWERED, NULL },
	{ "BCC", IMAP_KEY_HEADER, ARGUMENT_FIELD, 0, "Bcc" },
	{ "BEFORE", IMAP_KEY_BEFORE, ARGUMENT_DATE, 0, NULL },
	{ "BODY", IMAP_KEY_BODY, ARGUMENT_TEXT, 0, NULL },
	{ "CC", IMAP_KEY_HEADER, ARGUMENT_FIELD, 0, "Cc" },
	{ "DELETED", IMAP_KEY_FLAG, ARGUMENT_FLAG, IMAP_FLAG_DELETED, NULL },
	{ "DRAFT", IMAP_KEY_FLAG, ARGUMENT_FLAG, IMAP_FLAG_DRAFT, NULL },
	{ "EMAILID", IMAP_KEY_EMAILID, ARGUMENT_OBJECT, 0, NULL },
	{ "FLAGGED", IMAP_KEY_FLAG, ARGUMENT_FLAG, IMAP_FLAG_FLAGGED, NULL },
	{ "FROM", IMAP_KEY_HEADER, ARGUMENT_FIELD, 0, "From" },
	{ "HEADER", IMAP_KEY_HEADER, ARGUMENT_FIELD_AND_TEXT, 0, NULL },
	{ "KEYWORD", IMAP_KEY_KEYWORD, ARGUMENT_KEYWORD, 0, NULL },
	{ "LARGER", IMAP_KEY_LARGER, ARGUMENT_NUMBER, 0, NULL },
	{ "MODSEQ", IMAP_KEY_MODSEQ, ARGUMENT_MODSEQ, 0, NULL },
	{ "NEW", IMAP_KEY_RECENT, ARGUMENT_NEW, 0, NULL },
	{ "OLD", IMAP_KEY_RECENT, ARGUMENT_OLD, 0, NULL },
	{ "OLDER", IMAP_KEY_OLDER, ARGUMENT_SECONDS, 0, NULL },
	{ "ON", IMAP_KEY_ON, ARGUMENT_DATE, 0, NULL },
	{ "RECENT", IMAP_KEY_RECENT, ARGUMENT_NONE, 0, NULL },
	{ "SAVEDATESUPPORTED", IMAP_KEY_SAVE_DATE_SUPPORTED, ARGUMENT_NONE, 0, NULL },
	{ "SAVEDBEFORE", IMAP_KEY_SAVED_BEFORE, ARGUMENT_DATE, 0, NULL },
	{ "SAVEDON", IMAP_KEY_SAVED_ON, ARGUMENT_DATE, 0, NULL },
	{ "SAVEDSINCE", IMAP_KEY_SAVED_SINCE, ARGUMENT_DATE, 0, NULL },
	{ "SEEN", IMAP_KEY_FLAG, ARGUMENT_FLAG, IMAP_FLAG_SEEN, NULL },
	{ "SENTBEFORE", IMAP_KEY_SENT_BEFORE, ARGUMENT_DATE, 0, NULL },
	{ "SENTON", IMAP_KEY_SENT_ON, ARGUMENT_DATE, 0, NULL },
	{ "SENTSINCE", IMAP_KEY_SENT_SINCE, ARGUMENT_DATE, 0, NULL },
	{ "SINCE", IMAP_KEY_SINCE, ARGUMENT_DATE, 0, NULL },
	{ "SMALLER", IMAP_KEY_SMALLER, ARGUMENT_NUMBER, 0, NULL },
	{ "SUBJECT", IMAP_KEY_HEADER, ARGUMENT_FIELD, 0, "Subject" },
	{ "TEXT", IMAP_KEY_TEXT, ARGUMENT_TEXT, 0, NULL },
	{ "THREADID", IMAP_KEY_THREADID, ARGUMENT_OBJECT, 0, NULL },
	{ "TO", IMAP_KEY_HEADER, ARGUMENT_FIELD, 0, "To" },
	{ "UID", IMAP_KEY_UIDS, ARGUMENT_SET, 0, NULL },
	{ "UNANSWERED", IMAP_KEY_FLAG, ARGUMENT_NOT_FLAG, IMAP_FLAG_ANSWERED, NULL },
	{ "UNDELETED", IMAP_KEY_FLAG, ARGUMENT_NOT_FLAG, IMAP_FLAG_DELETED, NULL },
	{ "UNDRAFT", IMAP_KEY_FLAG, ARGUMENT_NOT_FLAG, IMAP_FLAG_DRAFT, NULL },
	{ "UNFLAGGED", IMAP_KEY_FLAG, ARGUMENT_NOT_FLAG, IMAP_FLAG_FLAGGED, NULL },
	{ "UNKEYWORD", IMAP_KEY_KEYWORD, ARGUMENT_NOT_KEYWORD, 0, NULL },
	{ "UNSEEN", IMAP_KEY_FLAG, ARGUMENT_NOT_FLAG, IMAP_FLAG_SEEN, NULL },
	{ "YOUNGER", IMAP_KEY_YOUNGER, ARGUMENT_SECONDS, 0, NULL },
};

/* A key below `parent`; 0 with the text's `why` set when there is no room. */
static uint32_t
add_key(struct keys *keys, enum imap_key key, uint32_t parent)
{
	struct imap_search *search = keys->search;
	struct imap_search_key *array;
	uint32_t index;

	if (keys->text->why != NULL)
		return 0;
	array =
	    imap_parse_add(keys->text, search->keys, &search->count, sizeof(*array), IMAP_KEYS_MAX);
	if (array == NULL) {
		*search = (struct imap_search){ 0 };
		return 0;
	}
	search->keys = array;
	index = (uint32_t)search->count - 1;
	array[index].key = key;
	array[index].parent = parent;
	if (index > 0)
		array[parent].children++;
	return index;
}

static uint32_t
innermost(const struct keys *keys)
{
	return keys->open[keys->depth - 1].index;
}

static void
open_key(struct keys *keys, enum imap_key key, uint32_t wanted)
{
	uint32_t index;

	if (keys->depth == IMAP_NESTING_MAX) {
		imap_text_fail(keys->text, "the search is nested too deeply");
		return;
	}
	index = add_key(keys, key, keys->depth > 0 ? innermost(keys) : 0);
	keys->open[keys->depth++] = (struct open_key){ index, wanted };
}

/* RFC 7162 3.1.5: "MODSEQ [entry-name entry-type] n"; all entries have one number here. */
static uint64_t
take_modseq(struct imap_text *text)
{
	struct imap_string word;

	if (imap_text_next_is(text, '"')) {
		(void)imap_text_string(text);
		imap_text_space(text);
		word = imap_text_word(text);
		if (!imap_string_is(&word, "priv") && !imap_string_is(&word, "shared") &&
		    !imap_string_is(&word, "all"))
			imap_text_fail(text, "there is no such type of entry");
		imap_text_space(text);
	}
	return imap_text_number64(text);
}

/* A key of the table, its name having been read. */
static void
take_named(struct keys *keys, size_t name)
{
	enum argument argument = names[name].argument;
	struct imap_text *text = keys->text;
	struct imap_search_key value = { .flag = names[name].flag };
	uint32_t parent = innermost(keys), index;
	bool is_negated = argument == ARGUMENT_NOT_FLAG || argument == ARGUMENT_NOT_KEYWORD ||
	    argument == ARGUMENT_OLD;

	if (argument != ARGUMENT_NONE && argument != ARGUMENT_FLAG &&
	    argument != ARGUMENT_NOT_FLAG && argument != ARGUMENT_NEW && argument != ARGUMENT_OLD)
		imap_text_space(text);
	switch (argument) {
	case ARGUMENT_NONE:
	case ARGUMENT_FLAG:
	case ARGUMENT_NOT_FLAG:
	case ARGUMENT_OLD:
		break;
	case ARGUMENT_NEW: /* RFC 3501 6.4.4: "(RECENT UNSEEN)" */
		parent = add_key(keys, IMAP_KEY_AND, parent);
		index = add_key(keys, IMAP_KEY_NOT, parent);
		index = add_key(keys, IMAP_KEY_FLAG, index);
		if (text->why == NULL)
			keys->search->keys[index].flag = IMAP_FLAG_SEEN;
		break;
	case ARGUMENT_KEYWORD:
	case ARGUMENT_NOT_KEYWORD:
	case ARGUMENT_OBJECT:
		value.text = imap_text_atom(text);
		break;
	case ARGUMENT_SET:
		imap_text_set(text, true, &value.set);
		break;
	case ARGUMENT_DATE:
		value.days = imap_text_date(text);
		break;
	case ARGUMENT_NUMBER:
		value.number = imap_text_number64(text);
		break;
	case ARGUMENT_SECONDS:
		value.number = imap_text_nonzero(text);
		break;
	case ARGUMENT_MODSEQ:
		value.number = take_modseq(text);
		break;
	case ARGUMENT_FIELD:
		value.field = (struct imap_string){ names[name].field, strlen(names[name].field) };
		value.text = imap_text_astring(text);
		break;
	case ARGUMENT_FIELD_AND_TEXT:
		value.field = imap_text_astring(text);
		imap_text_space(text);
		value.text = imap_text_astring(text);
		break;
	case ARGUMENT_TEXT:
		value.text = imap_text_astring(text);
		break;
	}
	if (is_negated)
		parent = add_key(keys, IMAP_KEY_NOT, parent);
	index = add_key(keys, names[name].key, parent);
	if (text->why != NULL)
		return;
	value.key = names[name].key;
	value.parent = parent;
	keys->search->keys[index] = value;
}

static void
take_numbers(struct keys *keys)
{
	struct imap_set set;
	uint32_t index;

	imap_text_set(keys->text, true, &set);
	index = add_key(keys, IMAP_KEY_NUMBERS, innermost(keys));
	if (keys->text->why == NULL)
		keys->search->keys[index].set = set;
}

/* What may stand where a key is wanted. True when it was a whole key, false when its own come next. */
static bool
take_key(struct keys *keys)
{
	struct imap_text *text = keys->text;
	struct imap_string word;

	if (imap_text_take(text, '(')) {
		open_key(keys, IMAP_KEY_AND, UNTIL_CLOSED);
		return false;
	}
	if (text->at < text->end &&
	    ((*text->at >= '0' && *text->at <= '9') || *text->at == '*' || *text->at == '$')) {
		take_numbers(keys);
		return true;
	}
	word = imap_text_word(text);
	if (imap_string_is(&word, "NOT") || imap_string_is(&word, "OR")) {
		imap_text_space(text);
		if (imap_string_is(&word, "NOT"))
			open_key(keys, IMAP_KEY_NOT, 1);
		else
			open_key(keys, IMAP_KEY_OR, 2);
		return false;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (imap_string_is(&word, names[i].name)) {
			take_named(keys, i);
			return true;
		}
	}
	imap_text_fail(text, "there is no such search key");
	return true;
}

/* A key is complete: so may be those around it. Leaves `at` where the next key begins. */
static void
close_keys(struct keys *keys)
{
	struct imap_text *text = keys->text;

	while (text->why == NULL && keys->depth > 0) {
		struct open_key *open = &keys->open[keys->depth - 1];

		if (open->wanted == UNTIL_CLOSED) {
			if (keys->depth == 1 ? !imap_text_is_end(text)
			                     : !imap_text_take(text, ')')) {
				imap_text_space(text);
				return;
			}
		} else if (--open->wanted > 0) {
			imap_text_space(text);
			return;
		}
		keys->depth--;
	}
}

static void
parse_keys(struct imap_text *text, struct imap_search *search)
{
	struct keys keys = { .text = text, .search = search };

	open_key(&keys, IMAP_KEY_AND, UNTIL_CLOSED);
	while (text->why == NULL && keys.depth > 0) {
		if (take_key(&keys))
			close_keys(&keys);
	}
}

/* RFC 9051 6.4.4: "RETURN (MIN COUNT)"; none named means ALL. */
static void
parse_return(struct imap_text *text, struct imap_search *search)
{
	static const struct {
		const char *name;
		enum imap_search_answer answer;
	} answers[] = {
		{ "MIN", IMAP_SEARCH_MIN },
		{ "MAX", IMAP_SEARCH_MAX },
		{ "ALL", IMAP_SEARCH_ALL },
		{ "COUNT", IMAP_SEARCH_COUNT },
		{ "SAVE", IMAP_SEARCH_SAVE },
	};

	search->is_extended = true;
	imap_text_space(text);
	imap_text_expect(text, '(');
	if (!imap_text_next_is(text, ')')) {
		do {
			struct imap_string word = imap_text_word(text);
			unsigned answer = 0;

			for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
				if (imap_string_is(&word, answers[i].name))
					answer = answers[i].answer;
			}
			if (answer == 0)
				imap_text_fail(text, "there is no such option of SEARCH");
			search->answer |= answer;
		} while (text->why == NULL && imap_text_take(text, ' '));
	}
	imap_text_expect(text, ')');
	if (search->answer == 0)
		search->answer = IMAP_SEARCH_ALL;
}

/* The next word, if it is this one and a space: taken. */
static bool
take_prefix(struct imap_text *text, const char *wanted)
{
	struct imap_text ahead = *text;
	struct imap_string word = imap_text_word(&ahead);

	if (!imap_string_is(&word, wanted))
		return false;
	*text = ahead;
	return true;
}

/* RFC 5256: "(REVERSE DATE SUBJECT)". */
static void
parse_criteria(struct imap_text *text, struct imap_search *search)
{
	static const char *const keys[] = {
		[IMAP_SORT_ARRIVAL] = "ARRIVAL",
		[IMAP_SORT_CC] = "CC",
		[IMAP_SORT_DATE] = "DATE",
		[IMAP_SORT_FROM] = "FROM",
		[IMAP_SORT_SIZE] = "SIZE",
		[IMAP_SORT_SUBJECT] = "SUBJECT",
		[IMAP_SORT_TO] = "TO",
	};

	imap_text_expect(text, '(');
	do {
		struct imap_sort_criterion *array, found = { 0 };
		struct imap_string word = imap_text_word(text);
		size_t key = 0;

		if (imap_string_is(&word, "REVERSE")) {
			found.reverse = true;
			imap_text_space(text);
			word = imap_text_word(text);
		}
		while (key < sizeof(keys) / sizeof(keys[0]) && !imap_string_is(&word, keys[key]))
			key++;
		if (key == sizeof(keys) / sizeof(keys[0]))
			imap_text_fail(text, "there is no such sort key");
		if (text->why != NULL)
			return;
		found.key = (enum imap_sort_key)key;
		array = imap_parse_add(
		    text, search->sort, &search->sort_count, sizeof(*array), IMAP_ITEMS_MAX);
		if (array == NULL) {
			search->sort_count = 0;
			return;
		}
		search->sort = array;
		array[search->sort_count - 1] = found;
	} while (imap_text_take(text, ' '));
	imap_text_expect(text, ')');
}

static void
parse_algorithm(struct imap_text *text, struct imap_search *search)
{
	struct imap_string word = imap_text_word(text);

	if (imap_string_is(&word, "REFERENCES"))
		search->algorithm = IMAP_THREAD_REFERENCES;
	else if (imap_string_is(&word, "ORDEREDSUBJECT"))
		search->algorithm = IMAP_THREAD_ORDEREDSUBJECT;
	else
		imap_text_fail(text, "there is no such way to make threads");
}

void
imap_parse_search(struct imap_text *text, struct imap_command *command)
{
	struct imap_search *search = &command->search;

	imap_text_space(text);
	if (command->verb == IMAP_SEARCH) {
		if (take_prefix(text, "RETURN")) {
			parse_return(text, search);
			imap_text_space(text);
		}
		if (take_prefix(text, "CHARSET")) {
			imap_text_space(text);
			search->charset = imap_text_astring(text);
			imap_text_space(text);
		}
	} else {
		if (command->verb == IMAP_SORT)
			parse_criteria(text, search);
		else
			parse_algorithm(text, search);
		imap_text_space(text);
		search->charset = imap_text_astring(text);
		imap_text_space(text);
	}
	parse_keys(text, search);
}
