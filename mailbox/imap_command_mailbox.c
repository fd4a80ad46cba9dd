/*
 * Commands about mailboxes: SELECT, EXAMINE, CREATE, LIST, LSUB, STATUS, APPEND and REPLACE.
 */
#include "mailbox/imap_command_parts.h"

static bool
has_star(const struct imap_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		if (set->ranges[i].last == IMAP_SET_STAR || set->ranges[i].first == IMAP_SET_STAR)
			return true;
	}
	return false;
}

/* A set in which "*" isn't allowed (RFC 7162 7). */
static void
take_plain_set(struct imap_text *text, struct imap_set *set)
{
	imap_text_set(text, false, set);
	if (has_star(set))
		imap_text_fail(text, "\"*\" isn't allowed here");
}

/* RFC 7162 3.2.5: "(uidvalidity modseq [known-uids] [(numbers uids)])". */
static void
parse_qresync(struct imap_text *text, struct imap_select *select)
{
	imap_text_space(text);
	imap_text_expect(text, '(');
	select->uidvalidity = imap_text_nonzero(text);
	imap_text_space(text);
	select->modseq = imap_text_number64(text);
	if (imap_text_take(text, ' ') && !imap_text_next_is(text, '(')) {
		select->has_known = true;
		take_plain_set(text, &select->known_uids);
		if (!imap_text_next_is(text, ')'))
			imap_text_space(text);
	}
	if (imap_text_take(text, '(')) {
		select->has_match = true;
		take_plain_set(text, &select->match_numbers);
		imap_text_space(text);
		take_plain_set(text, &select->match_uids);
		imap_text_expect(text, ')');
	}
	imap_text_expect(text, ')');
}

void
imap_parse_select(struct imap_text *text, struct imap_command *command)
{
	struct imap_select *select = &command->select;
	struct imap_string word;

	imap_text_space(text);
	select->mailbox = imap_text_astring(text);
	if (!imap_text_take(text, ' '))
		return;
	imap_text_expect(text, '(');
	do {
		word = imap_text_word(text);
		if (imap_string_is(&word, "CONDSTORE")) {
			select->condstore = true;
		} else if (imap_string_is(&word, "QRESYNC")) {
			if (select->qresync)
				imap_text_fail(text, "QRESYNC is given twice");
			select->qresync = true;
			parse_qresync(text, select);
		} else {
			imap_text_fail(text, "there is no such parameter of SELECT");
		}
	} while (text->why == NULL && imap_text_take(text, ' '));
	imap_text_expect(text, ')');
}

static uint8_t
take_use(struct imap_text *text)
{
	static const struct {
		const char *name;
		enum imap_use use;
	} uses[] = {
		{ "All", IMAP_USE_ALL },
		{ "Archive", IMAP_USE_ARCHIVE },
		{ "Drafts", IMAP_USE_DRAFTS },
		{ "Flagged", IMAP_USE_FLAGGED },
		{ "Junk", IMAP_USE_JUNK },
		{ "Sent", IMAP_USE_SENT },
		{ "Trash", IMAP_USE_TRASH },
	};
	struct imap_string name;

	imap_text_expect(text, '\\');
	name = imap_text_atom(text);
	for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
		if (imap_string_is(&name, uses[i].name))
			return (uint8_t)uses[i].use;
	}
	return IMAP_USE_OTHER;
}

/* RFC 6154 3: "CREATE mailbox (USE (\Sent))". */
void
imap_parse_create(struct imap_text *text, struct imap_command *command)
{
	struct imap_string word;

	imap_text_space(text);
	command->create.mailbox = imap_text_astring(text);
	if (!imap_text_take(text, ' '))
		return;
	imap_text_expect(text, '(');
	word = imap_text_word(text);
	if (!imap_string_is(&word, "USE"))
		imap_text_fail(text, "there is no such parameter of CREATE");
	imap_text_space(text);
	imap_text_expect(text, '(');
	if (!imap_text_take(text, ')')) {
		do {
			command->create.use |= take_use(text);
		} while (text->why == NULL && imap_text_take(text, ' '));
		imap_text_expect(text, ')');
	}
	imap_text_expect(text, ')');
}

static unsigned
take_status_item(struct imap_text *text)
{
	static const struct {
		const char *name;
		enum imap_status_item item;
	} items[] = {
		{ "MESSAGES", IMAP_STATUS_MESSAGES },
		{ "RECENT", IMAP_STATUS_RECENT },
		{ "UIDNEXT", IMAP_STATUS_UIDNEXT },
		{ "UIDVALIDITY", IMAP_STATUS_UIDVALIDITY },
		{ "UNSEEN", IMAP_STATUS_UNSEEN },
		{ "DELETED", IMAP_STATUS_DELETED },
		{ "SIZE", IMAP_STATUS_SIZE },
		{ "HIGHESTMODSEQ", IMAP_STATUS_HIGHESTMODSEQ },
		{ "MAILBOXID", IMAP_STATUS_MAILBOXID },
		{ "APPENDLIMIT", IMAP_STATUS_APPENDLIMIT },
	};
	struct imap_string word = imap_text_word(text);

	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		if (imap_string_is(&word, items[i].name))
			return items[i].item;
	}
	imap_text_fail(text, "there is no such item of STATUS");
	return 0;
}

static unsigned
take_status_items(struct imap_text *text)
{
	unsigned items = 0;

	imap_text_space(text);
	imap_text_expect(text, '(');
	do {
		items |= take_status_item(text);
	} while (text->why == NULL && imap_text_take(text, ' '));
	imap_text_expect(text, ')');
	return items;
}

void
imap_parse_status(struct imap_text *text, struct imap_command *command)
{
	imap_text_space(text);
	command->status.mailbox = imap_text_astring(text);
	command->status.items = take_status_items(text);
}

static unsigned
take_list_option(struct imap_text *text, unsigned allowed, struct imap_list *list)
{
	static const struct {
		const char *name;
		enum imap_list_option option;
	} options[] = {
		{ "SUBSCRIBED", IMAP_LIST_SUBSCRIBED },
		{ "REMOTE", IMAP_LIST_REMOTE },
		{ "RECURSIVEMATCH", IMAP_LIST_RECURSIVEMATCH },
		{ "SPECIAL-USE", IMAP_LIST_SPECIAL_USE },
		{ "CHILDREN", IMAP_LIST_CHILDREN },
		{ "STATUS", IMAP_LIST_STATUS },
	};
	struct imap_string word = imap_text_word(text);

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (!imap_string_is(&word, options[i].name) || !(allowed & options[i].option))
			continue;
		if (options[i].option == IMAP_LIST_STATUS)
			list->status_items = take_status_items(text);
		return options[i].option;
	}
	imap_text_fail(text, "there is no such option of LIST");
	return 0;
}

static unsigned
take_list_options(struct imap_text *text, unsigned allowed, struct imap_list *list)
{
	unsigned options = 0;

	imap_text_expect(text, '(');
	if (imap_text_take(text, ')'))
		return 0;
	do {
		options |= take_list_option(text, allowed, list);
	} while (text->why == NULL && imap_text_take(text, ' '));
	imap_text_expect(text, ')');
	return options;
}

void
imap_parse_list(struct imap_text *text, struct imap_command *command)
{
	struct imap_list *list = &command->list;
	struct imap_string word;

	imap_text_space(text);
	if (imap_text_next_is(text, '(')) {
		list->is_extended = true;
		list->select = take_list_options(text,
		    IMAP_LIST_SUBSCRIBED | IMAP_LIST_REMOTE | IMAP_LIST_RECURSIVEMATCH |
		        IMAP_LIST_SPECIAL_USE,
		    list);
		/* RFC 5258 3.1: it modifies another. */
		if ((list->select & IMAP_LIST_RECURSIVEMATCH) &&
		    !(list->select & (IMAP_LIST_SUBSCRIBED | IMAP_LIST_SPECIAL_USE)))
			imap_text_fail(text, "RECURSIVEMATCH can't stand alone");
		imap_text_space(text);
	}
	list->reference = imap_text_astring(text);
	imap_text_space(text);
	if (imap_text_take(text, '(')) {
		list->is_extended = true;
		do {
			imap_parse_strings_add(text, &list->patterns, imap_text_pattern(text));
		} while (text->why == NULL && imap_text_take(text, ' '));
		imap_text_expect(text, ')');
	} else {
		imap_parse_strings_add(text, &list->patterns, imap_text_pattern(text));
	}
	if (!imap_text_take(text, ' '))
		return;
	word = imap_text_word(text);
	if (!imap_string_is(&word, "RETURN"))
		imap_text_fail(text, "RETURN or nothing must follow");
	imap_text_space(text);
	list->is_extended = true;
	list->answer = take_list_options(text,
	    IMAP_LIST_SUBSCRIBED | IMAP_LIST_CHILDREN | IMAP_LIST_SPECIAL_USE | IMAP_LIST_STATUS,
	    list);
}

void
imap_parse_lsub(struct imap_text *text, struct imap_command *command)
{
	imap_text_space(text);
	command->list.reference = imap_text_astring(text);
	imap_text_space(text);
	imap_parse_strings_add(text, &command->list.patterns, imap_text_pattern(text));
}

/* "[(flags)] [date] literal", or with UTF8 around it (RFC 6855 4). */
static void
take_message(struct imap_text *text, struct imap_append_message *message)
{
	struct imap_string word;

	if (imap_text_next_is(text, '(')) {
		imap_text_flags(text, false, &message->flags);
		imap_text_space(text);
	}
	if (imap_text_next_is(text, '"')) {
		message->has_date = true;
		message->date = imap_text_date_time(text);
		imap_text_space(text);
	}
	if (!imap_text_next_is(text, '{') && !imap_text_next_is(text, '~')) {
		word = imap_text_word(text);
		if (!imap_string_is(&word, "UTF8"))
			imap_text_fail(text, "the message must come as a literal");
		imap_text_space(text);
		imap_text_expect(text, '(');
		message->is_utf8 = true;
	}
	message->size = imap_text_message(text, &message->is_binary);
	/* Its end isn't there yet when a command is parsed so far. */
	if (message->is_utf8 && !imap_text_is_end(text))
		imap_text_expect(text, ')');
}

void
imap_parse_append(struct imap_text *text, struct imap_command *command)
{
	struct imap_append *append = &command->append;
	bool is_replace = command->verb == IMAP_REPLACE;

	imap_text_space(text);
	if (is_replace) {
		append->replaced =
		    imap_text_take(text, '*') ? IMAP_SET_STAR : imap_text_nonzero(text);
		imap_text_space(text);
	}
	append->mailbox = imap_text_astring(text);
	do {
		struct imap_append_message *messages;

		imap_text_space(text);
		if (text->why != NULL)
			break;
		messages = imap_parse_add(text, append->messages, &append->message_count,
		    sizeof(*messages), is_replace ? 1 : IMAP_MESSAGES_MAX);
		if (messages == NULL)
			break;
		append->messages = messages;
		take_message(text, &messages[append->message_count - 1]);
	} while (text->why == NULL && !imap_text_is_end(text));
}
