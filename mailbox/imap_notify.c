/*
 * NOTIFY (RFC 5465): a client is told of changes without asking, in folders that aren't selected too.
 * Those stay open while they are watched; what was told of each last is compared with what is.
 */
#include <sys/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mailbox/folders.h"
#include "mailbox/imap_session_state.h"

#define WATCHED_MAX 1000 /* folders of a session */

struct watched {
	struct folder *folder;
	char *name;
	unsigned events;
	uint32_t uid_next;
	size_t messages;
	uint64_t modseq;
};

struct imap_notify_state {
	unsigned selected_events;
	bool is_delayed;       /* SELECTED-DELAYED: removals only with a command's answer */
	unsigned other_events; /* MailboxName and the like, of any group */
	size_t count;
	struct watched *watched;
	struct folders_list folders; /* as they were told of last */
	struct timespec root_changed;
};

void
imap_notify_free(struct imap_session *session)
{
	struct imap_notify_state *state = session->notify;

	if (state == NULL)
		return;
	for (size_t i = 0; i < state->count; i++) {
		folder_release(state->watched[i].folder);
		free(state->watched[i].name);
	}
	free(state->watched);
	folders_list_free(&state->folders);
	free(state);
	session->notify = NULL;
}

/* RFC 5465 3.1: what counts changed. */
static void
tell_status(
    struct imap_session *session, struct watched *watched, const struct folder_counts *counts)
{
	buf_add_text(&session->text, "* STATUS ");
	imap_write_name(session, watched->name);
	buf_printf(&session->text, " (MESSAGES %zu UIDNEXT %u UNSEEN %zu", counts->messages,
	    folder_uid_next(watched->folder), counts->unseen);
	if (session->condstore)
		buf_printf(&session->text, " HIGHESTMODSEQ %llu",
		    (unsigned long long)folder_highest_modseq(watched->folder));
	buf_add_text(&session->text, ")\r\n");
}

/* Notes what there is; tells it if it is news that is wanted, or with `always`. */
static void
look_at(struct imap_session *session, struct watched *watched, bool always)
{
	struct folder_counts counts;
	bool is_new, is_gone, is_changed;

	if (folder_is_changed(watched->folder) && folder_sync(watched->folder) != MAIL_OK)
		return;
	if (folder_count(watched->folder, false, &counts) != MAIL_OK)
		return;
	is_new = folder_uid_next(watched->folder) != watched->uid_next;
	is_gone =
	    counts.messages < watched->messages || (is_new && counts.messages == watched->messages);
	is_changed = folder_highest_modseq(watched->folder) != watched->modseq;
	watched->uid_next = folder_uid_next(watched->folder);
	watched->messages = counts.messages;
	watched->modseq = folder_highest_modseq(watched->folder);
	/* The selected one is told of by itself. */
	if (watched->folder == session->selected.folder && !always)
		return;
	if (always || (is_new && (watched->events & IMAP_NOTIFY_MESSAGE_NEW)) ||
	    (is_gone && (watched->events & IMAP_NOTIFY_MESSAGE_EXPUNGE)) ||
	    (is_changed && (watched->events & IMAP_NOTIFY_FLAG_CHANGE)))
		tell_status(session, watched, &counts);
}

static const struct folders_entry *
find_entry(const struct folders_list *list, const char *name)
{
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->entries[i].name, name) == 0)
			return &list->entries[i];
	}
	return NULL;
}

static void
tell_folder(struct imap_session *session, const char *attributes, const char *name)
{
	buf_printf(&session->text, "* LIST (%s) \".\" ", attributes);
	imap_write_name(session, name);
	buf_add_text(&session->text, "\r\n");
}

/* Folders made, deleted and subscribed (RFC 5465 5.4, 5.5). */
static void
look_at_folders(struct imap_session *session)
{
	struct imap_notify_state *state = session->notify;
	struct folders_list now = { 0 };
	struct stat status;

	if (!(state->other_events & (IMAP_NOTIFY_MAILBOX_NAME | IMAP_NOTIFY_SUBSCRIPTION_CHANGE)) ||
	    fstat(session->maildir->root, &status) != 0 ||
	    memcmp(&status.st_mtim, &state->root_changed, sizeof(status.st_mtim)) == 0 ||
	    folders_list(session->maildir, &now) != MAIL_OK)
		return;
	state->root_changed = status.st_mtim;
	for (size_t i = 0; i < now.count; i++) {
		const struct folders_entry *entry = &now.entries[i];
		const struct folders_entry *before = find_entry(&state->folders, entry->name);
		bool was_subscribed = before != NULL && before->subscribed;
		bool is_made = entry->exists && (before == NULL || !before->exists);

		if ((is_made && (state->other_events & IMAP_NOTIFY_MAILBOX_NAME)) ||
		    (entry->subscribed != was_subscribed &&
		        (state->other_events & IMAP_NOTIFY_SUBSCRIPTION_CHANGE)))
			tell_folder(session, entry->subscribed ? "\\Subscribed" : "", entry->name);
	}
	for (size_t i = 0; i < state->folders.count; i++) {
		const struct folders_entry *before = &state->folders.entries[i];
		const struct folders_entry *entry = find_entry(&now, before->name);

		if (before->exists && (entry == NULL || !entry->exists) &&
		    (state->other_events & IMAP_NOTIFY_MAILBOX_NAME))
			tell_folder(session, "\\NonExistent", before->name);
	}
	folders_list_free(&state->folders);
	state->folders = now;
}

void
imap_notify_look(struct imap_session *session)
{
	struct imap_notify_state *state = session->notify;

	for (size_t i = 0; i < state->count; i++)
		look_at(session, &state->watched[i], false);
	look_at_folders(session);
	if (session->selected.folder != NULL && state->selected_events != 0)
		imap_tell(session, session->state == IMAP_IDLING || !state->is_delayed);
}

/* --- the command --- */

static bool
is_below_any(struct imap_session *session, const struct imap_strings *mailboxes, const char *name,
    bool subtree)
{
	char clean[FOLDER_NAME_SIZE];

	for (size_t i = 0; i < mailboxes->count; i++) {
		if (imap_name_clean(session, &mailboxes->strings[i], clean) &&
		    (strcmp(clean, name) == 0 || (subtree && folder_name_is_below(name, clean))))
			return true;
	}
	return false;
}

/* The events of the first group that names the folder (RFC 5465 3.1); 0 none. */
static unsigned
events_for(struct imap_session *session, const struct folders_entry *entry)
{
	const struct imap_notify *command = &session->command.notify;

	for (size_t i = 0; i < command->count; i++) {
		const struct imap_notify_group *group = &command->groups[i];
		bool is_named = false;

		switch (group->filter) {
		case IMAP_NOTIFY_SELECTED:
		case IMAP_NOTIFY_SELECTED_DELAYED:
			continue;
		case IMAP_NOTIFY_INBOXES:
			is_named = folder_name_is_inbox(entry->name);
			break;
		case IMAP_NOTIFY_PERSONAL:
			is_named = true;
			break;
		case IMAP_NOTIFY_SUBSCRIBED:
			is_named = entry->subscribed;
			break;
		case IMAP_NOTIFY_SUBTREE:
		case IMAP_NOTIFY_MAILBOXES:
			is_named = is_below_any(session, &group->mailboxes, entry->name,
			    group->filter == IMAP_NOTIFY_SUBTREE);
			break;
		}
		if (is_named)
			return group->events;
	}
	return 0;
}

static enum mail_result
watch(struct imap_session *session, struct imap_notify_state *state,
    const struct folders_entry *entry, unsigned events)
{
	struct watched *larger;
	enum mail_result result = MAIL_FAILED;

	if (state->count == WATCHED_MAX)
		return MAIL_LIMIT;
	larger = reallocarray(state->watched, state->count + 1, sizeof(*larger));
	if (larger == NULL)
		return MAIL_FAILED;
	state->watched = larger;
	larger += state->count;
	*larger = (struct watched){ .events = events, .name = strdup(entry->name) };
	if (larger->name == NULL)
		return MAIL_FAILED;
	larger->folder = folder_open(session->maildir, entry->name, &result);
	if (larger->folder == NULL) {
		free(larger->name);
		return result == MAIL_ABSENT ? MAIL_OK : result;
	}
	state->count++;
	return MAIL_OK;
}

static enum mail_result
watch_all(struct imap_session *session)
{
	struct imap_notify_state *state = session->notify;
	enum mail_result result = folders_list(session->maildir, &state->folders);
	struct stat status;

	if (fstat(session->maildir->root, &status) == 0)
		state->root_changed = status.st_mtim;
	for (size_t i = 0; i < state->folders.count && result == MAIL_OK; i++) {
		const struct folders_entry *entry = &state->folders.entries[i];
		unsigned events = entry->exists ? events_for(session, entry) : 0;

		if (events &
		    (IMAP_NOTIFY_MESSAGE_NEW | IMAP_NOTIFY_MESSAGE_EXPUNGE |
		        IMAP_NOTIFY_FLAG_CHANGE))
			result = watch(session, state, entry, events);
	}
	for (size_t i = 0; i < state->count && result == MAIL_OK; i++)
		look_at(session, &state->watched[i], session->command.notify.status);
	return result;
}

static void
take_groups(struct imap_session *session, struct imap_notify_state *state)
{
	const struct imap_notify *command = &session->command.notify;

	for (size_t i = 0; i < command->count; i++) {
		const struct imap_notify_group *group = &command->groups[i];

		if (group->filter == IMAP_NOTIFY_SELECTED ||
		    group->filter == IMAP_NOTIFY_SELECTED_DELAYED) {
			state->selected_events = group->events;
			state->is_delayed = group->filter == IMAP_NOTIFY_SELECTED_DELAYED;
		} else {
			state->other_events |= group->events;
		}
	}
}

void
imap_notify(struct imap_session *session)
{
	const struct imap_notify *command = &session->command.notify;
	enum mail_result result;

	for (size_t i = 0; i < command->count; i++) {
		const struct imap_notify_group *group = &command->groups[i];

		/* RFC 5465 5: what isn't known, or can't be told of. */
		if (group->unknown_event || (group->events & IMAP_NOTIFY_ANNOTATION_CHANGE)) {
			imap_answer(session, IMAP_NO,
			    "BADEVENT (MessageNew MessageExpunge FlagChange MailboxName "
			    "SubscriptionChange)",
			    "Not all of these can be told of");
			return;
		}
		/* RFC 5465 5.2, 5.3 */
		if ((group->events & IMAP_NOTIFY_FLAG_CHANGE ||
		        group->events & IMAP_NOTIFY_MESSAGE_NEW) &&
		    !(group->events & IMAP_NOTIFY_MESSAGE_EXPUNGE)) {
			imap_answer(session, IMAP_BAD, "", "MessageExpunge must be among them");
			return;
		}
	}
	imap_notify_free(session);
	if (command->none) {
		imap_answer(session, IMAP_OK, "", "Nothing is told of");
		return;
	}
	session->notify = calloc(1, sizeof(*session->notify));
	if (session->notify == NULL) {
		imap_answer(session, IMAP_NO, "UNAVAILABLE", "Out of memory");
		return;
	}
	take_groups(session, session->notify);
	result = watch_all(session);
	if (result == MAIL_OK) {
		imap_answer(session, IMAP_OK, "", "Told of from now on");
		return;
	}
	imap_notify_free(session);
	if (result == MAIL_LIMIT)
		imap_answer(session, IMAP_NO, "NOTIFICATIONOVERFLOW", "That is too many mailboxes");
	else
		imap_answer_result(session, result, "");
}
