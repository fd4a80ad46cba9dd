/*
 * FETCH and what it asks for (RFC 9051 6.4.5). Items that NOTIFY names are the same.
 */
#include <string.h>

#include "mailbox/imap_command_parts.h"

static const struct {
	const char *name;
	enum imap_item item;
} plain_items[] = {
	{ "FLAGS", IMAP_ITEM_FLAGS },
	{ "UID", IMAP_ITEM_UID },
	{ "INTERNALDATE", IMAP_ITEM_INTERNALDATE },
	{ "RFC822.SIZE", IMAP_ITEM_SIZE },
	{ "ENVELOPE", IMAP_ITEM_ENVELOPE },
	{ "BODYSTRUCTURE", IMAP_ITEM_BODYSTRUCTURE },
	{ "RFC822", IMAP_ITEM_RFC822 },
	{ "RFC822.HEADER", IMAP_ITEM_RFC822_HEADER },
	{ "RFC822.TEXT", IMAP_ITEM_RFC822_TEXT },
	{ "MODSEQ", IMAP_ITEM_MODSEQ },
	{ "EMAILID", IMAP_ITEM_EMAILID },
	{ "THREADID", IMAP_ITEM_THREADID },
	{ "SAVEDATE", IMAP_ITEM_SAVEDATE },
	{ "PREVIEW", IMAP_ITEM_PREVIEW },
};

/* What a macro stands for (RFC 9051 6.4.5). */
static const struct {
	const char *name;
	enum imap_item items[5];
	size_t count;
} macros[] = {
	{ "FAST", { IMAP_ITEM_FLAGS, IMAP_ITEM_INTERNALDATE, IMAP_ITEM_SIZE }, 3 },
	{ "ALL", { IMAP_ITEM_FLAGS, IMAP_ITEM_INTERNALDATE, IMAP_ITEM_SIZE, IMAP_ITEM_ENVELOPE },
	    4 },
	{ "FULL",
	    { IMAP_ITEM_FLAGS, IMAP_ITEM_INTERNALDATE, IMAP_ITEM_SIZE, IMAP_ITEM_ENVELOPE,
	        IMAP_ITEM_BODY },
	    5 },
};

static struct imap_fetch_item *
add_item(struct imap_text *text, struct imap_items *items, enum imap_item item)
{
	struct imap_fetch_item *array;

	if (text->why != NULL)
		return NULL;
	array = imap_parse_add(text, items->items, &items->count, sizeof(*array), IMAP_ITEMS_MAX);
	if (array == NULL) {
		*items = (struct imap_items){ 0 };
		return NULL;
	}
	items->items = array;
	array[items->count - 1].item = item;
	return &array[items->count - 1];
}

/* "1.2.3", with what follows the last number's dot still to come. */
static void
take_parts(struct imap_text *text, struct imap_fetch_item *item)
{
	while (text->at < text->end && *text->at >= '0' && *text->at <= '9') {
		uint32_t number = imap_text_nonzero(text);
		uint32_t *parts = imap_parse_add(
		    text, item->parts, &item->part_count, sizeof(*parts), IMAP_PARTS_MAX);

		if (parts == NULL) {
			item->part_count = 0;
			return;
		}
		item->parts = parts;
		parts[item->part_count - 1] = number;
		if (!imap_text_take(text, '.'))
			return;
		if (text->at == text->end || *text->at == ']')
			imap_text_fail(text, "a section ends with a dot");
	}
}

static void
take_fields(struct imap_text *text, struct imap_fetch_item *item)
{
	imap_text_space(text);
	imap_text_expect(text, '(');
	do {
		imap_parse_strings_add(text, &item->fields, imap_text_astring(text));
	} while (text->why == NULL && imap_text_take(text, ' '));
	imap_text_expect(text, ')');
}

/* "[…]", its bracket being next; `is_text`: words may stand in it, not only numbers. */
static void
take_section(struct imap_text *text, struct imap_fetch_item *item, bool is_text)
{
	struct imap_string word = { .data = "" };

	imap_text_expect(text, '[');
	take_parts(text, item);
	if (is_text)
		word = imap_text_word(text);
	if (word.length == 0) {
		item->section = IMAP_SECTION_WHOLE;
	} else if (item->part_count > 0 && text->at[-(ptrdiff_t)word.length - 1] != '.') {
		imap_text_fail(text, "a section is not valid");
	} else if (imap_string_is(&word, "HEADER")) {
		item->section = IMAP_SECTION_HEADER;
	} else if (imap_string_is(&word, "TEXT")) {
		item->section = IMAP_SECTION_TEXT;
	} else if (imap_string_is(&word, "MIME") && item->part_count > 0) {
		item->section = IMAP_SECTION_MIME;
	} else if (imap_string_is(&word, "HEADER.FIELDS")) {
		item->section = IMAP_SECTION_FIELDS;
		take_fields(text, item);
	} else if (imap_string_is(&word, "HEADER.FIELDS.NOT")) {
		item->section = IMAP_SECTION_FIELDS_NOT;
		take_fields(text, item);
	} else {
		imap_text_fail(text, "a section is not valid");
	}
	imap_text_expect(text, ']');
}

/* "<offset.length>" */
static void
take_partial(struct imap_text *text, struct imap_fetch_item *item)
{
	if (!imap_text_take(text, '<'))
		return;
	item->is_partial = true;
	item->offset = imap_text_number64(text);
	imap_text_expect(text, '.');
	item->length = imap_text_number64(text);
	if (text->why == NULL && item->length == 0)
		imap_text_fail(text, "0 isn't allowed here");
	imap_text_expect(text, '>');
}

/* RFC 8970 3.1: "PREVIEW (LAZY)". */
static void
take_preview_modifier(struct imap_text *text, struct imap_fetch_item *item)
{
	struct imap_string word;

	if (text->end - text->at < 2 || memcmp(text->at, " (", 2) != 0)
		return;
	text->at += 2;
	word = imap_text_word(text);
	if (!imap_string_is(&word, "LAZY"))
		imap_text_fail(text, "there is no such modifier of PREVIEW");
	item->lazy = true;
	imap_text_expect(text, ')');
}

/* A name that a section follows. */
static void
take_section_item(struct imap_text *text, struct imap_items *items, const struct imap_string *word)
{
	static const struct {
		const char *name;
		enum imap_item item;
		bool peek;
	} names[] = {
		{ "BODY", IMAP_ITEM_SECTION, false },
		{ "BODY.PEEK", IMAP_ITEM_SECTION, true },
		{ "BINARY", IMAP_ITEM_BINARY, false },
		{ "BINARY.PEEK", IMAP_ITEM_BINARY, true },
		{ "BINARY.SIZE", IMAP_ITEM_BINARY_SIZE, true },
	};
	struct imap_fetch_item *item;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!imap_string_is(word, names[i].name))
			continue;
		item = add_item(text, items, names[i].item);
		if (item == NULL)
			return;
		item->peek = names[i].peek;
		take_section(text, item, item->item == IMAP_ITEM_SECTION);
		if (item->item != IMAP_ITEM_BINARY_SIZE)
			take_partial(text, item);
		return;
	}
	imap_text_fail(text, "there is no such item to fetch");
}

static void
take_item(struct imap_text *text, struct imap_items *items)
{
	struct imap_string word = imap_text_word(text);
	struct imap_fetch_item *item;

	if (imap_text_next_is(text, '[')) {
		take_section_item(text, items, &word);
		return;
	}
	if (imap_string_is(&word, "BODY")) {
		(void)add_item(text, items, IMAP_ITEM_BODY);
		return;
	}
	for (size_t i = 0; i < sizeof(plain_items) / sizeof(plain_items[0]); i++) {
		if (!imap_string_is(&word, plain_items[i].name))
			continue;
		item = add_item(text, items, plain_items[i].item);
		if (item == NULL)
			return;
		item->peek = item->item != IMAP_ITEM_RFC822 && item->item != IMAP_ITEM_RFC822_TEXT;
		if (item->item == IMAP_ITEM_PREVIEW)
			take_preview_modifier(text, item);
		return;
	}
	imap_text_fail(text, "there is no such item to fetch");
}

/* A macro stands alone: it isn't an item of a list. */
static bool
take_macro(struct imap_text *text, struct imap_items *items)
{
	struct imap_text ahead = *text;
	struct imap_string word = imap_text_word(&ahead);

	for (size_t i = 0; i < sizeof(macros) / sizeof(macros[0]); i++) {
		if (!imap_string_is(&word, macros[i].name))
			continue;
		*text = ahead;
		for (size_t j = 0; j < macros[i].count; j++)
			(void)add_item(text, items, macros[i].items[j]);
		return true;
	}
	return false;
}

void
imap_parse_items(struct imap_text *text, struct imap_items *items)
{
	if (take_macro(text, items))
		return;
	if (!imap_text_take(text, '(')) {
		take_item(text, items);
		return;
	}
	do {
		take_item(text, items);
	} while (text->why == NULL && imap_text_take(text, ' '));
	imap_text_expect(text, ')');
}

/* RFC 4466 2.4, RFC 7162: "(CHANGEDSINCE n VANISHED)". */
static void
parse_modifiers(struct imap_text *text, struct imap_command *command)
{
	struct imap_fetch *fetch = &command->fetch;
	struct imap_string word;

	imap_text_expect(text, '(');
	do {
		word = imap_text_word(text);
		if (imap_string_is(&word, "CHANGEDSINCE")) {
			imap_text_space(text);
			fetch->has_changed_since = true;
			fetch->changed_since = imap_text_number64(text);
		} else if (imap_string_is(&word, "VANISHED")) {
			fetch->vanished = true;
		} else {
			imap_text_fail(text, "there is no such modifier of FETCH");
		}
	} while (text->why == NULL && imap_text_take(text, ' '));
	imap_text_expect(text, ')');
	/* RFC 7162 3.2.6 */
	if (fetch->vanished && (!command->uid || !fetch->has_changed_since))
		imap_text_fail(text, "VANISHED needs UID FETCH with CHANGEDSINCE");
}

void
imap_parse_fetch(struct imap_text *text, struct imap_command *command)
{
	imap_text_space(text);
	imap_text_set(text, true, &command->fetch.set);
	imap_text_space(text);
	imap_parse_items(text, &command->fetch.items);
	if (imap_text_take(text, ' '))
		parse_modifiers(text, command);
}
