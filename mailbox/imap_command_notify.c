/*
 * METADATA (RFC 5464) and NOTIFY (RFC 5465).
 */
#include "mailbox/imap_command_parts.h"

static void
take_entry(struct imap_text *text, struct imap_metadata *metadata, bool has_value)
{
	struct imap_metadata_entry entry = { .name = imap_text_astring(text) }, *array;

	if (text->why == NULL && (entry.name.length < 2 || entry.name.data[0] != '/'))
		imap_text_fail(text, "an entry's name begins with \"/\"");
	if (has_value) {
		imap_text_space(text);
		(void)imap_text_take(text, '~'); /* a literal8 */
		entry.value = imap_text_nstring(text);
	}
	if (text->why != NULL)
		return;
	array = imap_parse_add(
	    text, metadata->entries, &metadata->count, sizeof(*array), IMAP_ITEMS_MAX);
	if (array == NULL) {
		metadata->count = 0;
		return;
	}
	metadata->entries = array;
	array[metadata->count - 1] = entry;
}

/* "(MAXSIZE 1024 DEPTH infinity)" */
static void
parse_options(struct imap_text *text, struct imap_metadata *metadata)
{
	struct imap_string word;

	do {
		word = imap_text_word(text);
		imap_text_space(text);
		if (imap_string_is(&word, "MAXSIZE")) {
			metadata->has_size_limit = true;
			metadata->size_limit = imap_text_number(text);
			continue;
		}
		if (!imap_string_is(&word, "DEPTH")) {
			imap_text_fail(text, "there is no such option of GETMETADATA");
			return;
		}
		word = imap_text_word(text);
		if (imap_string_is(&word, "1"))
			metadata->depth = IMAP_DEPTH_1;
		else if (imap_string_is(&word, "infinity"))
			metadata->depth = IMAP_DEPTH_INFINITY;
		else if (!imap_string_is(&word, "0"))
			imap_text_fail(text, "DEPTH is 0, 1 or infinity");
	} while (text->why == NULL && imap_text_take(text, ' '));
	imap_text_expect(text, ')');
}

void
imap_parse_metadata(struct imap_text *text, struct imap_command *command)
{
	struct imap_metadata *metadata = &command->metadata;
	bool sets = command->verb == IMAP_SETMETADATA;

	imap_text_space(text);
	if (!sets && imap_text_take(text, '(')) {
		parse_options(text, metadata);
		imap_text_space(text);
	}
	metadata->mailbox = imap_text_astring(text);
	imap_text_space(text);
	if (!imap_text_take(text, '(')) {
		if (sets)
			imap_text_fail(text, "\"(\" is missing");
		take_entry(text, metadata, sets);
		return;
	}
	do {
		take_entry(text, metadata, sets);
	} while (text->why == NULL && imap_text_take(text, ' '));
	imap_text_expect(text, ')');
}

static enum imap_notify_filter
take_filter(struct imap_text *text)
{
	static const char *const filters[] = {
		[IMAP_NOTIFY_SELECTED] = "SELECTED",
		[IMAP_NOTIFY_SELECTED_DELAYED] = "SELECTED-DELAYED",
		[IMAP_NOTIFY_INBOXES] = "INBOXES",
		[IMAP_NOTIFY_PERSONAL] = "PERSONAL",
		[IMAP_NOTIFY_SUBSCRIBED] = "SUBSCRIBED",
		[IMAP_NOTIFY_SUBTREE] = "SUBTREE",
		[IMAP_NOTIFY_MAILBOXES] = "MAILBOXES",
	};
	struct imap_string word = imap_text_word(text);

	for (unsigned i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
		if (imap_string_is(&word, filters[i]))
			return (enum imap_notify_filter)i;
	}
	imap_text_fail(text, "there is no such choice of mailboxes");
	return IMAP_NOTIFY_SELECTED;
}

static void
take_mailboxes(struct imap_text *text, struct imap_strings *mailboxes)
{
	imap_text_space(text);
	if (!imap_text_take(text, '(')) {
		imap_parse_strings_add(text, mailboxes, imap_text_astring(text));
		return;
	}
	do {
		imap_parse_strings_add(text, mailboxes, imap_text_astring(text));
	} while (text->why == NULL && imap_text_take(text, ' '));
	imap_text_expect(text, ')');
}

static void
take_event(struct imap_text *text, struct imap_notify_group *group)
{
	static const struct {
		const char *name;
		enum imap_notify_event event;
	} events[] = {
		{ "MessageNew", IMAP_NOTIFY_MESSAGE_NEW },
		{ "MessageExpunge", IMAP_NOTIFY_MESSAGE_EXPUNGE },
		{ "FlagChange", IMAP_NOTIFY_FLAG_CHANGE },
		{ "AnnotationChange", IMAP_NOTIFY_ANNOTATION_CHANGE },
		{ "MailboxName", IMAP_NOTIFY_MAILBOX_NAME },
		{ "SubscriptionChange", IMAP_NOTIFY_SUBSCRIPTION_CHANGE },
		{ "MailboxMetadataChange", IMAP_NOTIFY_MAILBOX_METADATA_CHANGE },
		{ "ServerMetadataChange", IMAP_NOTIFY_SERVER_METADATA_CHANGE },
	};
	struct imap_string name = imap_text_atom(text);

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		if (!imap_string_is(&name, events[i].name))
			continue;
		group->events |= events[i].event;
		if (events[i].event == IMAP_NOTIFY_MESSAGE_NEW && text->end - text->at > 1 &&
		    text->at[0] == ' ' && text->at[1] == '(') {
			text->at++;
			imap_parse_items(text, &group->items);
		}
		return;
	}
	group->unknown_event = true;
}

/* "(selected (MessageNew (UID FLAGS) MessageExpunge))" */
static void
parse_group(struct imap_text *text, struct imap_notify_group *group)
{
	struct imap_string word;

	imap_text_expect(text, '(');
	group->filter = take_filter(text);
	if (group->filter == IMAP_NOTIFY_SUBTREE || group->filter == IMAP_NOTIFY_MAILBOXES)
		take_mailboxes(text, &group->mailboxes);
	imap_text_space(text);
	if (imap_text_take(text, '(')) {
		do {
			take_event(text, group);
		} while (text->why == NULL && imap_text_take(text, ' '));
		imap_text_expect(text, ')');
	} else {
		word = imap_text_word(text);
		if (!imap_string_is(&word, "NONE"))
			imap_text_fail(text, "a list of events or NONE is missing");
	}
	imap_text_expect(text, ')');
}

void
imap_parse_notify(struct imap_text *text, struct imap_command *command)
{
	struct imap_notify *notify = &command->notify;
	struct imap_string word;

	imap_text_space(text);
	word = imap_text_word(text);
	if (imap_string_is(&word, "NONE")) {
		notify->none = true;
		return;
	}
	if (!imap_string_is(&word, "SET"))
		imap_text_fail(text, "SET or NONE must follow");
	imap_text_space(text);
	if (!imap_text_next_is(text, '(')) {
		word = imap_text_word(text);
		if (!imap_string_is(&word, "STATUS"))
			imap_text_fail(text, "STATUS or a group must follow");
		notify->status = true;
		imap_text_space(text);
	}
	do {
		struct imap_notify_group *array;

		if (text->why != NULL)
			return;
		array = imap_parse_add(
		    text, notify->groups, &notify->count, sizeof(*array), IMAP_ITEMS_MAX);
		if (array == NULL) {
			notify->count = 0;
			return;
		}
		notify->groups = array;
		parse_group(text, &array[notify->count - 1]);
	} while (text->why == NULL && imap_text_take(text, ' '));
}
