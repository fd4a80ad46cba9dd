/*
 * Commands about folders: LIST and LSUB with their extensions (RFC 5258, 5819, 6154), STATUS, CREATE,
 * DELETE, RENAME, SUBSCRIBE, NAMESPACE.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mailbox/folders.h"
#include "mailbox/imap_session_state.h"

#define PATTERN_MAX FOLDER_NAME_SIZE

/* --- patterns --- */

/*
 * Whether a name matches: "*" stands for anything, "%" for anything within a level. Kept for each
 * beginning of the name is whether the pattern so far matches it: no pattern takes longer than its
 * length times the name's.
 */
static bool
matches(const char *pattern, const char *name)
{
	bool reached[FOLDER_NAME_SIZE + 1] = { true };
	size_t length = strlen(name);

	for (; *pattern != '\0'; pattern++) {
		if (*pattern == '*' || *pattern == '%') {
			for (size_t i = 0; i < length; i++) {
				if (reached[i] && (*pattern == '*' || name[i] != FOLDER_SEPARATOR))
					reached[i + 1] = true;
			}
			continue;
		}
		for (size_t i = length; i > 0; i--)
			reached[i] = reached[i - 1] && name[i - 1] == *pattern;
		reached[0] = false;
	}
	return reached[length];
}

struct pattern {
	char text[PATTERN_MAX];
};

/* The reference and the pattern behind it, as names are written; INBOX in capitals at its start. */
static bool
make_pattern(struct imap_session *session, const struct imap_string *reference,
    const struct imap_string *pattern, struct pattern *made)
{
	char text[PATTERN_MAX], utf8[PATTERN_MAX];

	if (reference->length + pattern->length >= sizeof(text) ||
	    memchr(pattern->data, '\0', pattern->length) != NULL ||
	    memchr(reference->data, '\0', reference->length) != NULL)
		return false;
	memcpy(text, reference->data, reference->length);
	memcpy(text + reference->length, pattern->data, pattern->length);
	text[reference->length + pattern->length] = '\0';
	if (!session->is_utf8 && folder_name_utf7_to_utf8(text, utf8, sizeof(utf8)))
		memcpy(text, utf8, sizeof(text));
	memcpy(made->text, text, sizeof(text));
	if (strncasecmp(text, "inbox", 5) == 0 && (text[5] == '\0' || text[5] == FOLDER_SEPARATOR))
		memcpy(made->text, "INBOX", 5);
	return true;
}

/* --- LIST --- */

struct list {
	struct folders_list folders;
	size_t next;
	struct pattern *patterns;
	size_t pattern_count;
};

static void
list_free(void *job)
{
	struct list *list = job;

	folders_list_free(&list->folders);
	free(list->patterns);
	free(list);
}

static bool
matches_any(const struct list *list, const char *name)
{
	for (size_t i = 0; i < list->pattern_count; i++) {
		if (matches(list->patterns[i].text, name))
			return true;
	}
	return false;
}

/* Whether something below it is selected by the options, though it doesn't match itself (RFC 5258 3.5). */
static bool
has_selected_below(const struct list *list, size_t at, unsigned select)
{
	const char *name = list->folders.entries[at].name;

	for (size_t i = at + 1; i < list->folders.count; i++) {
		const struct folders_entry *below = &list->folders.entries[i];

		if (!folder_name_is_below(below->name, name))
			continue;
		if ((select & IMAP_LIST_SUBSCRIBED) && !below->subscribed)
			continue;
		if ((select & IMAP_LIST_SPECIAL_USE) && below->use == 0)
			continue;
		if (!matches_any(list, below->name))
			return true;
	}
	return false;
}

static void
add_attribute(struct buf *text, const char **space, const char *attribute)
{
	buf_printf(text, "%s%s", *space, attribute);
	*space = " ";
}

static void
write_attributes(struct imap_session *session, const struct folders_entry *entry, bool is_lsub)
{
	const struct imap_list *command = &session->command.list;
	struct buf *text = &session->text;
	const char *space = "";

	if (!entry->exists)
		add_attribute(text, &space, command->is_extended ? "\\NonExistent" : "\\Noselect");
	if (!is_lsub)
		add_attribute(
		    text, &space, entry->has_children ? "\\HasChildren" : "\\HasNoChildren");
	if (entry->subscribed && command->is_extended &&
	    ((command->answer | command->select) & IMAP_LIST_SUBSCRIBED))
		add_attribute(text, &space, "\\Subscribed");
	for (unsigned use = FOLDER_ALL; use <= FOLDER_TRASH && !is_lsub; use <<= 1) {
		if (entry->use & use)
			add_attribute(text, &space, folder_use_text(use));
	}
}

static void
write_entry(struct imap_session *session, const struct folders_entry *entry, bool has_child_info)
{
	bool is_lsub = session->command.verb == IMAP_LSUB;

	buf_printf(&session->text, "* %s (", is_lsub ? "LSUB" : "LIST");
	write_attributes(session, entry, is_lsub);
	buf_add_text(&session->text, ") \".\" ");
	imap_write_name(session, entry->name);
	if (has_child_info)
		buf_printf(&session->text, " (\"CHILDINFO\" (%s%s%s))",
		    session->command.list.select & IMAP_LIST_SUBSCRIBED ? "\"SUBSCRIBED\"" : "",
		    (session->command.list.select &
		        (IMAP_LIST_SUBSCRIBED | IMAP_LIST_SPECIAL_USE)) ==
		            (IMAP_LIST_SUBSCRIBED | IMAP_LIST_SPECIAL_USE)
		        ? " "
		        : "",
		    session->command.list.select & IMAP_LIST_SPECIAL_USE ? "\"SPECIAL-USE\"" : "");
	buf_add_text(&session->text, "\r\n");
}

static bool write_status(struct imap_session *, const char *name, unsigned items);

static void
list_one(struct imap_session *session, const struct list *list, size_t at)
{
	const struct folders_entry *entry = &list->folders.entries[at];
	const struct imap_list *command = &session->command.list;
	bool is_lsub = session->command.verb == IMAP_LSUB;
	unsigned select = is_lsub ? IMAP_LIST_SUBSCRIBED : command->select;
	bool is_selected = true, has_below = false;

	if (!matches_any(list, entry->name))
		return;
	if (select & IMAP_LIST_SUBSCRIBED)
		is_selected = entry->subscribed;
	else if (!entry->exists && !entry->has_children)
		is_selected = false; /* only subscribed */
	if (select & IMAP_LIST_SPECIAL_USE)
		is_selected = is_selected && entry->use != 0;
	/* LSUB shows what is above a subscribed one (RFC 3501 6.3.9). */
	if (select & IMAP_LIST_RECURSIVEMATCH || (is_lsub && !is_selected))
		has_below = has_selected_below(list, at, select);
	if (!is_selected && !has_below)
		return;
	if (is_lsub && !is_selected) {
		struct folders_entry above = *entry;

		above.exists = false;
		write_entry(session, &above, false);
		return;
	}
	write_entry(session, entry, has_below);
	if ((command->answer & IMAP_LIST_STATUS) && entry->exists)
		(void)write_status(session, entry->name, command->status_items);
}

static enum imap_progress
list_step(struct imap_session *session)
{
	struct list *list = session->job;

	while (list->next < list->folders.count) {
		list_one(session, list, list->next++);
		if (imap_is_turn_over(session))
			return IMAP_MORE;
	}
	imap_answer(session, IMAP_OK, "", "Listed");
	return IMAP_DONE;
}

void
imap_list(struct imap_session *session)
{
	const struct imap_list *command = &session->command.list;
	enum mail_result result;
	struct list *list;

	/* RFC 9051 6.3.9: only the separator is asked for. */
	if (command->patterns.count == 1 && command->patterns.strings[0].length == 0) {
		buf_printf(&session->text, "* %s (\\Noselect) \".\" \"\"\r\n",
		    imap_verb_name(session->command.verb));
		imap_answer(session, IMAP_OK, "", "Listed");
		return;
	}
	list = calloc(1, sizeof(*list));
	if (list != NULL)
		list->patterns =
		    reallocarray(NULL, command->patterns.count, sizeof(struct pattern));
	if (list == NULL || list->patterns == NULL) {
		free(list);
		imap_answer(session, IMAP_NO, "UNAVAILABLE", "Out of memory");
		return;
	}
	for (size_t i = 0; i < command->patterns.count; i++) {
		/* A pattern that is longer than names can be matches none. */
		if (make_pattern(session, &command->reference, &command->patterns.strings[i],
		        &list->patterns[list->pattern_count]))
			list->pattern_count++;
	}
	result = folders_list(session->maildir, &list->folders);
	if (result != MAIL_OK) {
		list_free(list);
		imap_answer_result(session, result, "");
		return;
	}
	imap_work(session, list_step, list, list_free);
}

/* --- STATUS --- */

struct status_writer {
	struct buf *text;
	const char *space;
};

static void
add_item(struct status_writer *writer, const char *name, unsigned long long value)
{
	buf_printf(writer->text, "%s%s %llu", writer->space, name, value);
	writer->space = " ";
}

static void
write_items(struct imap_session *session, struct folder *folder, unsigned items,
    const struct folder_counts *counts)
{
	struct status_writer writer = { .text = &session->text, .space = "" };
	char id[34];

	if (items & IMAP_STATUS_MESSAGES)
		add_item(&writer, "MESSAGES", counts->messages);
	if (items & IMAP_STATUS_RECENT)
		add_item(&writer, "RECENT",
		    folder_length(folder) - folder_position(folder, folder_recent(folder, false)));
	if (items & IMAP_STATUS_UIDNEXT)
		add_item(&writer, "UIDNEXT", folder_uid_next(folder));
	if (items & IMAP_STATUS_UIDVALIDITY)
		add_item(&writer, "UIDVALIDITY", folder_uid_validity(folder));
	if (items & IMAP_STATUS_UNSEEN)
		add_item(&writer, "UNSEEN", counts->unseen);
	if (items & IMAP_STATUS_DELETED)
		add_item(&writer, "DELETED", counts->deleted);
	if (items & IMAP_STATUS_SIZE)
		add_item(&writer, "SIZE", counts->size);
	if (items & IMAP_STATUS_HIGHESTMODSEQ)
		add_item(&writer, "HIGHESTMODSEQ", folder_highest_modseq(folder));
	if (items & IMAP_STATUS_APPENDLIMIT)
		add_item(&writer, "APPENDLIMIT", session->settings->message_limit);
	if (items & IMAP_STATUS_MAILBOXID) {
		folder_mailbox_id(folder, id);
		buf_printf(writer.text, "%sMAILBOXID (%s)", writer.space, id);
	}
}

static enum mail_result
status_of(struct imap_session *session, const char *name, unsigned items)
{
	struct folder_counts counts;
	enum mail_result result = MAIL_FAILED;
	struct folder *folder = folder_open(session->maildir, name, &result);

	if (folder == NULL)
		return result;
	result = folder_count(folder, items & IMAP_STATUS_SIZE, &counts);
	if (result == MAIL_OK) {
		if (items & IMAP_STATUS_HIGHESTMODSEQ)
			session->condstore = true; /* RFC 7162 3.1 */
		buf_add_text(&session->text, "* STATUS ");
		imap_write_name(session, name);
		buf_add_text(&session->text, " (");
		write_items(session, folder, items, &counts);
		buf_add_text(&session->text, ")\r\n");
	}
	folder_release(folder);
	return result;
}

static bool
write_status(struct imap_session *session, const char *name, unsigned items)
{
	return status_of(session, name, items) == MAIL_OK;
}

void
imap_status(struct imap_session *session)
{
	char name[FOLDER_NAME_SIZE];

	if (!imap_name_from_client(session, &session->command.status.mailbox, name))
		return;
	imap_answer_result(
	    session, status_of(session, name, session->command.status.items), "Status told");
}

/* --- the others --- */

void
imap_create(struct imap_session *session)
{
	const struct imap_create *create = &session->command.create;
	char name[FOLDER_NAME_SIZE];
	unsigned use = 0;

	if (!imap_name_from_client(session, &create->mailbox, name))
		return;
	use |= create->use & IMAP_USE_ALL ? FOLDER_ALL : 0;
	use |= create->use & IMAP_USE_ARCHIVE ? FOLDER_ARCHIVE : 0;
	use |= create->use & IMAP_USE_DRAFTS ? FOLDER_DRAFTS : 0;
	use |= create->use & IMAP_USE_FLAGGED ? FOLDER_FLAGGED : 0;
	use |= create->use & IMAP_USE_JUNK ? FOLDER_JUNK : 0;
	use |= create->use & IMAP_USE_SENT ? FOLDER_SENT : 0;
	use |= create->use & IMAP_USE_TRASH ? FOLDER_TRASH : 0;
	if (create->use & IMAP_USE_OTHER) {
		imap_answer(session, IMAP_NO, "USEATTR", "There is no such special use");
		return;
	}
	if (use & (use - 1)) { /* RFC 6154 3 */
		imap_answer(session, IMAP_NO, "USEATTR", "A mailbox has one special use only");
		return;
	}
	imap_answer_result(session, folders_create(session->maildir, name, use), "Created");
}

void
imap_delete(struct imap_session *session)
{
	char name[FOLDER_NAME_SIZE];

	if (imap_name_from_client(session, &session->command.mailbox, name))
		imap_answer_result(session, folders_delete(session->maildir, name), "Deleted");
}

void
imap_rename(struct imap_session *session)
{
	char from[FOLDER_NAME_SIZE], to[FOLDER_NAME_SIZE];

	if (imap_name_from_client(session, &session->command.rename.from, from) &&
	    imap_name_from_client(session, &session->command.rename.to, to))
		imap_answer_result(session, folders_rename(session->maildir, from, to), "Renamed");
}

void
imap_subscribe(struct imap_session *session)
{
	bool subscribes = session->command.verb == IMAP_SUBSCRIBE;
	char name[FOLDER_NAME_SIZE];

	if (imap_name_from_client(session, &session->command.mailbox, name))
		imap_answer_result(session, folders_subscribe(session->maildir, name, subscribes),
		    subscribes ? "Subscribed" : "Unsubscribed");
}

void
imap_namespace(struct imap_session *session)
{
	buf_add_text(&session->text, "* NAMESPACE ((\"\" \".\")) NIL NIL\r\n");
	imap_answer(session, IMAP_OK, "", "All is your own");
}
