/*
 * Untagged answers about the selected folder: what came, went and changed since the session was last
 * told, by its own commands and by others. Also sets of numbers, which mean something only beside
 * what was told.
 */
#include <sys/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "mailbox/imap_session_state.h"

static const struct {
	uint32_t bit;
	const char *name;
} flags[] = {
	{ MESSAGE_ANSWERED, "\\Answered" },
	{ MESSAGE_FLAGGED, "\\Flagged" },
	{ MESSAGE_DELETED, "\\Deleted" },
	{ MESSAGE_SEEN, "\\Seen" },
	{ MESSAGE_DRAFT, "\\Draft" },
};

void
imap_write_flags(struct imap_session *session, const struct message *message)
{
	const struct keywords *keywords = folder_keywords(session->selected.folder);
	struct buf *text = &session->text;
	const char *space = "";

	buf_add_text(text, "FLAGS (");
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (!(message->bits & flags[i].bit))
			continue;
		buf_add_text(text, space);
		buf_add_text(text, flags[i].name);
		space = " ";
	}
	for (unsigned i = 0; i < KEYWORDS_COUNT && (message->bits & MESSAGE_KEYWORDS) != 0; i++) {
		if (!(message->bits & 1u << i) || keywords->names[i] == NULL)
			continue;
		buf_add_text(text, space);
		buf_add_text(text, keywords->names[i]);
		space = " ";
	}
	/* RFC 9051 7.5.2: not in rev2. */
	if (!session->is_rev2 && message->uid >= session->selected.recent) {
		buf_add_text(text, space);
		buf_add_text(text, "\\Recent");
	}
	buf_add_u8(text, ')');
}

void
imap_write_date_time(struct buf *to, int64_t when)
{
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
		"Sep", "Oct", "Nov", "Dec" };
	time_t seconds = (time_t)when;
	struct tm local;
	long zone;

	if (localtime_r(&seconds, &local) == NULL)
		memset(&local, 0, sizeof(local));
	zone = labs(local.tm_gmtoff) / 60;
	buf_printf(to, "\"%2d-%s-%04d %02d:%02d:%02d %c%02ld%02ld\"", local.tm_mday,
	    months[local.tm_mon], local.tm_year + 1900, local.tm_hour, local.tm_min, local.tm_sec,
	    local.tm_gmtoff < 0 ? '-' : '+', zone / 60, zone % 60);
}

static void
tell_removals(struct imap_session *session)
{
	struct folder_view *view = session->selected.view;
	struct imap_set_writer vanished;
	size_t sequence;
	uint32_t uid;

	if (!session->qresync) {
		while (folder_view_take_expunged(view, &uid, &sequence))
			buf_printf(&session->text, "* %zu EXPUNGE\r\n", sequence);
		return;
	}
	/* RFC 7162 3.2.10 */
	if (!folder_view_take_expunged(view, &uid, &sequence))
		return;
	buf_add_text(&session->text, "* VANISHED ");
	imap_set_begin(&vanished, &session->text);
	do {
		imap_set_add(&vanished, uid);
	} while (folder_view_take_expunged(view, &uid, &sequence));
	(void)imap_set_end(&vanished);
	buf_add_text(&session->text, "\r\n");
}

static void
tell_arrivals(struct imap_session *session)
{
	struct imap_selected *selected = &session->selected;
	size_t count, first;

	if (!folder_view_take_arrivals(selected->view))
		return;
	count = folder_view_count(selected->view);
	buf_printf(&session->text, "* %zu EXISTS\r\n", count);
	if (session->is_rev2)
		return;
	/* What nobody else was told of is this session's (RFC 3501 2.3.2). */
	(void)folder_recent(selected->folder, !selected->is_read_only);
	first = folder_view_sequence_from(selected->view, selected->recent);
	buf_printf(&session->text, "* %zu RECENT\r\n", count + 1 - first);
}

static void
tell_flags(struct imap_session *session)
{
	struct folder_view *view = session->selected.view;
	struct message *message;
	size_t sequence = 1;

	while (folder_view_changed(view, &sequence, &message)) {
		buf_printf(&session->text, "* %zu FETCH (", sequence);
		/* RFC 7162 3.2.4, RFC 9051 6.4.9 */
		if (session->qresync || session->is_rev2 || session->command.uid)
			buf_printf(&session->text, "UID %u ", message->uid);
		imap_write_flags(session, message);
		if (session->condstore)
			buf_printf(
			    &session->text, " MODSEQ (%llu)", (unsigned long long)message->modseq);
		buf_add_text(&session->text, ")\r\n");
		sequence++;
	}
	folder_view_told(view);
}

void
imap_tell(struct imap_session *session, bool removals)
{
	struct imap_selected *selected = &session->selected;
	enum mail_result result = folder_sync(selected->folder); /* nothing when nothing changed */

	/* What is known is told all the same; why it failed is in the log. */
	if (result != MAIL_OK)
		log_debug("the folder of session %016llx can't be read now",
		    (unsigned long long)session->id);
	if (!folder_view_is_behind(selected->view))
		return;
	if (removals)
		tell_removals(session);
	tell_arrivals(session);
	tell_flags(session);
}

/* --- sets --- */

/* The UIDs that the last SEARCH saved, as numbers of now. */
static bool
take_saved(struct imap_session *session, struct imap_set *set)
{
	const struct imap_set *saved = &session->selected.saved;

	set->is_saved = false;
	set->count = 0;
	if (saved->count == 0)
		return true;
	set->ranges = imap_pool_new(&session->command.pool, saved->count * sizeof(*set->ranges));
	if (set->ranges == NULL)
		return false;
	memcpy(set->ranges, saved->ranges, saved->count * sizeof(*set->ranges));
	set->count = saved->count;
	return true;
}

/* Ranges of UIDs become ranges of numbers; those that hold none go. */
static void
uids_to_numbers(struct folder_view *view, struct imap_set *set)
{
	size_t kept = 0;

	for (size_t i = 0; i < set->count; i++) {
		size_t first = folder_view_sequence_from(view, set->ranges[i].first);
		size_t behind = set->ranges[i].last == UINT32_MAX
		    ? folder_view_count(view) + 1
		    : folder_view_sequence_from(view, set->ranges[i].last + 1);

		if (first < behind)
			set->ranges[kept++] =
			    (struct imap_range){ (uint32_t)first, (uint32_t)behind - 1 };
	}
	set->count = kept;
}

bool
imap_resolve(struct imap_session *session, struct imap_set *set, bool uid)
{
	struct folder_view *view = session->selected.view;
	size_t count = folder_view_count(view);
	const struct message *last = count > 0 ? folder_view_message(view, count) : NULL;

	if (set->is_saved) {
		if (!take_saved(session, set)) {
			imap_answer(session, IMAP_NO, "UNAVAILABLE", "Out of memory");
			return false;
		}
		uids_to_numbers(view, set);
		return true;
	}
	if (uid) {
		/* RFC 9051 9: "*" is the last message's UID, or UIDNEXT of an empty mailbox. */
		imap_set_resolve(
		    set, last != NULL ? last->uid : folder_uid_next(session->selected.folder));
		uids_to_numbers(view, set);
		return true;
	}
	/* RFC 9051 9: a number that no message has is BAD. */
	for (size_t i = 0; i < set->count; i++) {
		const struct imap_range *range = &set->ranges[i];

		if (count == 0 || (range->first != IMAP_SET_STAR && range->first > count) ||
		    (range->last != IMAP_SET_STAR && range->last > count)) {
			imap_answer(session, IMAP_BAD, "", "There is no message of that number");
			return false;
		}
	}
	imap_set_resolve(set, (uint32_t)count);
	return true;
}
