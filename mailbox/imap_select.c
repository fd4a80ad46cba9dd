/*
 * A folder is opened and told of: SELECT and EXAMINE (RFC 9051 6.3.2), with what changed since the
 * client last looked (QRESYNC, RFC 7162 3.2.5); and closed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mailbox/imap_session_state.h"

void
imap_unselect(struct imap_session *session)
{
	struct imap_selected *selected = &session->selected;

	if (selected->folder == NULL)
		return;
	folder_view_free(selected->view);
	folder_release(selected->folder);
	free(selected->saved.ranges);
	memset(selected, 0, sizeof(*selected));
}

bool
imap_is_gone(const struct imap_session *session)
{
	return session->selected.folder != NULL && folder_is_gone(session->selected.folder);
}

void
imap_answer_gone(struct imap_session *session)
{
	imap_answer(session, IMAP_NO, "NONEXISTENT", "The selected mailbox is gone");
}

/* Answers with what is wrong; nothing is selected. */
static void
fail(struct imap_session *session, enum mail_result why)
{
	imap_unselect(session);
	imap_answer_result(session, why, "");
}

static void
write_all_flags(struct imap_session *session)
{
	const struct keywords *keywords = folder_keywords(session->selected.folder);
	static const char names[] = "\\Answered \\Flagged \\Deleted \\Seen \\Draft";
	bool has_room = false;

	buf_printf(&session->text, "* FLAGS (%s", names);
	for (unsigned i = 0; i < KEYWORDS_COUNT; i++) {
		if (keywords->names[i] != NULL)
			buf_printf(&session->text, " %s", keywords->names[i]);
		else
			has_room = true;
	}
	buf_add_text(&session->text, ")\r\n");
	if (session->selected.is_read_only) {
		buf_add_text(&session->text, "* OK [PERMANENTFLAGS ()] Read-only\r\n");
		return;
	}
	buf_printf(&session->text, "* OK [PERMANENTFLAGS (%s", names);
	for (unsigned i = 0; i < KEYWORDS_COUNT; i++) {
		if (keywords->names[i] != NULL)
			buf_printf(&session->text, " %s", keywords->names[i]);
	}
	buf_printf(&session->text, "%s)] Flags are kept\r\n", has_room ? " \\*" : "");
}

/* RFC 3501 6.3.1: the first one that wasn't seen; not in rev2. */
static void
write_first_unseen(struct imap_session *session)
{
	size_t before = folder_first_unseen(session->selected.folder);

	if (before < folder_view_count(session->selected.view))
		buf_printf(
		    &session->text, "* OK [UNSEEN %zu] The first unseen one\r\n", before + 1);
}

static void
tell_folder(struct imap_session *session)
{
	struct imap_selected *selected = &session->selected;
	struct buf *text = &session->text;
	size_t count = folder_view_count(selected->view), recent = 0;
	char id[34];

	if (selected->recent < folder_uid_next(selected->folder))
		recent = count + 1 - folder_view_sequence_from(selected->view, selected->recent);
	write_all_flags(session);
	buf_printf(text, "* %zu EXISTS\r\n", count);
	if (!session->is_rev2) {
		buf_printf(text, "* %zu RECENT\r\n", recent);
		write_first_unseen(session);
	}
	buf_printf(text, "* OK [UIDVALIDITY %u] UIDs are valid\r\n",
	    folder_uid_validity(selected->folder));
	buf_printf(text, "* OK [UIDNEXT %u] The next UID\r\n", folder_uid_next(selected->folder));
	buf_printf(text, "* OK [HIGHESTMODSEQ %llu] The last change\r\n",
	    (unsigned long long)folder_highest_modseq(selected->folder));
	folder_mailbox_id(selected->folder, id);
	buf_printf(text, "* OK [MAILBOXID (%s)] Its id\r\n", id);
	/* RFC 9051 6.3.2: which one it is, as this client writes names. */
	if (session->is_rev2) {
		buf_add_text(text, "* LIST () \".\" ");
		imap_write_name(session, folder_name(selected->folder));
		buf_add_text(text, "\r\n");
	}
}

/* The UIDs from which on the client's numbers may not be ours any more: those that it knows by number
 * and UID (RFC 7162 3.2.5.2) save telling what vanished before them. */
static uint32_t
first_unmatched(struct imap_session *session)
{
	const struct imap_select *select = &session->command.select;
	const struct imap_set *numbers = &select->match_numbers, *uids = &select->match_uids;
	size_t at = 0, range = 0;
	uint32_t offset = 0, matched = 0;

	if (!select->has_match)
		return 1;
	/* Both lists in step, one by one. */
	for (; range < numbers->count; range++) {
		for (uint32_t number = numbers->ranges[range].first;; number++) {
			const struct message *message;
			uint32_t uid;

			if (at == uids->count)
				return matched + 1;
			uid = uids->ranges[at].first + offset;
			message = folder_view_message(session->selected.view, number);
			if (message == NULL || message->uid != uid)
				return matched + 1;
			matched = uid;
			if (uid == uids->ranges[at].last) {
				at++;
				offset = 0;
			} else {
				offset++;
			}
			if (number == numbers->ranges[range].last)
				break;
		}
	}
	return matched + 1;
}

/* RFC 7162 3.2.5.1: what vanished and what changed since the client's modseq. */
static void
tell_since(struct imap_session *session)
{
	struct imap_select *select = &session->command.select;
	struct imap_selected *selected = &session->selected;
	struct uid_range all = { .first = 1, .last = UINT32_MAX - 1 };
	const struct uid_range *known = &all;
	struct imap_set_writer vanished;
	struct uid_range *ranges;
	size_t known_count = 1, count;

	if (select->uidvalidity != folder_uid_validity(selected->folder))
		return;
	if (select->has_known) {
		imap_set_resolve(&select->known_uids, UINT32_MAX);
		/* The same two numbers. */
		_Static_assert(sizeof(struct uid_range) == sizeof(struct imap_range), "");
		known = (const struct uid_range *)(const void *)select->known_uids.ranges;
		known_count = select->known_uids.count;
	} else {
		all.first = first_unmatched(session);
		all.last = folder_uid_next(selected->folder);
	}
	if (folder_vanished(
	        selected->folder, select->modseq, known, known_count, &ranges, &count)) {
		if (count > 0) {
			buf_add_text(&session->text, "* VANISHED (EARLIER) ");
			imap_set_begin(&vanished, &session->text);
			for (size_t i = 0; i < count; i++)
				imap_set_add_range(&vanished, ranges[i].first, ranges[i].last);
			(void)imap_set_end(&vanished);
			buf_add_text(&session->text, "\r\n");
		}
		free(ranges);
	}
	for (size_t sequence = 1; sequence <= folder_view_count(selected->view); sequence++) {
		const struct message *message = folder_view_message(selected->view, sequence);

		if (message->modseq <= select->modseq || message->expunged != 0)
			continue;
		if (select->has_known && !imap_set_has(&select->known_uids, message->uid))
			continue;
		buf_printf(&session->text, "* %zu FETCH (UID %u ", sequence, message->uid);
		imap_write_flags(session, message);
		buf_printf(
		    &session->text, " MODSEQ (%llu))\r\n", (unsigned long long)message->modseq);
	}
}

void
imap_select(struct imap_session *session)
{
	const struct imap_select *select = &session->command.select;
	struct imap_selected *selected = &session->selected;
	bool is_examine = session->command.verb == IMAP_EXAMINE, had_one;
	char name[FOLDER_NAME_SIZE];
	enum mail_result why = MAIL_FAILED;

	/* RFC 7162 3.2.5 */
	if (select->qresync && !session->qresync) {
		imap_answer(session, IMAP_BAD, "", "ENABLE QRESYNC first");
		return;
	}
	had_one = selected->folder != NULL;
	imap_unselect(session);
	if (had_one && (session->qresync || session->is_rev2)) /* RFC 7162 3.2.11 */
		buf_add_text(&session->text, "* OK [CLOSED] The other mailbox is closed\r\n");
	if (!imap_name_from_client(session, &select->mailbox, name))
		return;
	selected->folder = select->qresync ? folder_open(session->maildir, name, &why)
	                                   : folder_open_soon(session->maildir, name, &why);
	if (selected->folder == NULL) {
		fail(session, why);
		return;
	}
	selected->view = folder_view_new(selected->folder);
	if (selected->view == NULL) {
		fail(session, MAIL_FAILED);
		return;
	}
	/* Those that are recent are counted. */
	if (folder_recent(selected->folder, false) < folder_uid_next(selected->folder)) {
		why = folder_need(selected->folder);
		if (why != MAIL_OK) {
			fail(session, why);
			return;
		}
	}
	selected->is_read_only = is_examine;
	selected->recent = folder_recent(selected->folder, !is_examine);
	if (select->condstore || select->qresync)
		session->condstore = true;
	tell_folder(session);
	if (select->qresync)
		tell_since(session);
	folder_view_told(selected->view);
	imap_answer(session, IMAP_OK, is_examine ? "READ-ONLY" : "READ-WRITE",
	    is_examine ? "Opened to be read" : "Opened");
}

void
imap_close(struct imap_session *session, bool expunge)
{
	struct imap_selected *selected = &session->selected;
	size_t count = folder_view_count(selected->view), found = 0;
	enum mail_result result = MAIL_OK;
	uint32_t *uids;

	if (expunge && !selected->is_read_only && count > 0 &&
	    folder_need(selected->folder) == MAIL_OK) {
		uids = reallocarray(NULL, count, sizeof(*uids));
		if (uids == NULL) {
			imap_answer(session, IMAP_NO, "UNAVAILABLE", "Out of memory");
			return;
		}
		for (size_t sequence = 1; sequence <= count; sequence++) {
			const struct message *message =
			    folder_view_message(selected->view, sequence);

			if ((message->bits & MESSAGE_DELETED) && message->expunged == 0)
				uids[found++] = message->uid;
		}
		if (found > 0)
			result = folder_expunge(selected->folder, uids, found);
		free(uids);
	}
	if (result != MAIL_OK) {
		imap_answer_result(session, result, "");
		return;
	}
	imap_unselect(session);
	imap_answer(session, IMAP_OK, "", "Closed");
}

bool
imap_flag_bits(struct imap_session *session, struct folder *folder, const struct imap_flags *flags,
    uint32_t *bits)
{
	static const struct {
		enum imap_flag flag;
		uint32_t bit;
	} system[] = {
		{ IMAP_FLAG_DRAFT, MESSAGE_DRAFT },
		{ IMAP_FLAG_FLAGGED, MESSAGE_FLAGGED },
		{ IMAP_FLAG_ANSWERED, MESSAGE_ANSWERED },
		{ IMAP_FLAG_SEEN, MESSAGE_SEEN },
		{ IMAP_FLAG_DELETED, MESSAGE_DELETED },
	};
	char name[IMAP_KEYWORD_MAX + 1];
	enum mail_result result;
	uint32_t bit;

	*bits = 0;
	for (size_t i = 0; i < sizeof(system) / sizeof(system[0]); i++) {
		if (flags->system & system[i].flag)
			*bits |= system[i].bit;
	}
	for (size_t i = 0; i < flags->keyword_count; i++) {
		memcpy(name, flags->keywords[i].data, flags->keywords[i].length);
		name[flags->keywords[i].length] = '\0';
		result = folder_keyword(folder, name, true, &bit);
		if (result != MAIL_OK) {
			imap_answer_result(session, result, "");
			return false;
		}
		*bits |= bit;
	}
	return true;
}
