/*
 * FETCH (RFC 9051 6.4.5), message by message, some milliseconds at a time. What was found out about a
 * message once is kept beside the folder's index: envelope, structure and preview are read from there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "mailbox/imap_preview.h"
#include "mailbox/imap_session_state.h"
#include "common/mime.h"
#include "mailbox/mime_structure.h"

#define CACHED_TEXT_MAX (8 * 1024 * 1024)

struct fetch {
	size_t range; /* of the set */
	size_t sequence;
	/* The message at work. */
	bool has_message;
	uint32_t uid;
	size_t item;   /* the next one */
	bool has_item; /* a blank stands before the next one */
	bool is_seen_now;
	struct imap_body body;
	bool sets_seen;
	bool wants_uid;
	bool wants_flags;
	bool wants_modseq;
	bool is_expunged;      /* a message that is gone was asked for */
	bool unknown_encoding; /* BINARY couldn't be had */
	enum mail_result failure;
};

static bool
reads_text(const struct imap_fetch_item *item)
{
	return item->item == IMAP_ITEM_SECTION || item->item == IMAP_ITEM_BINARY ||
	    item->item == IMAP_ITEM_RFC822 || item->item == IMAP_ITEM_RFC822_TEXT;
}

/* --- items from the cache --- */

static void
make_cached(struct buf *text, enum folder_cached kind, struct imap_body *body)
{
	switch (kind) {
	case CACHED_ENVELOPE:
		mime_write_envelope(text, body->mime, 0);
		break;
	case CACHED_BODY:
		mime_write_structure(text, body->mime, false);
		break;
	case CACHED_STRUCTURE:
		mime_write_structure(text, body->mime, true);
		break;
	case CACHED_PREVIEW:
		imap_preview(body->fd, body->mime, text);
		break;
	case CACHED_SORT:
	case CACHED_THREAD:
	case CACHED_PARTS:
	case CACHED_KINDS:
		break;
	}
}

/* Appends what is cached, or is made now and cached. */
static enum mail_result
write_cached(struct imap_session *session, struct message *message, enum folder_cached kind,
    struct imap_body *body)
{
	struct folder *folder = session->selected.folder;
	enum mail_result result;
	const void *data;
	struct buf text;
	size_t length;

	if (folder_cache_get(folder, message, kind, &data, &length)) {
		buf_add(&session->text, data, length);
		return MAIL_OK;
	}
	result = imap_body_parse(body);
	if (result != MAIL_OK)
		return result;
	buf_init(&text, CACHED_TEXT_MAX);
	make_cached(&text, kind, body);
	if (!buf_ok(&text)) {
		buf_free(&text);
		return MAIL_LIMIT;
	}
	/* Looking for the file may have moved the message. */
	message = folder_find(folder, body->uid);
	if (message != NULL && text.length <= CACHED_MAX)
		folder_cache_put(folder, message, kind, text.data, text.length);
	buf_add(&session->text, text.data, text.length);
	buf_free(&text);
	return MAIL_OK;
}

/* --- one message --- */

static enum mail_result
write_dates(struct imap_session *session, struct message *message, enum imap_item item)
{
	int64_t internal, saved;
	enum mail_result result =
	    folder_message_dates(session->selected.folder, message, &internal, &saved);

	if (result != MAIL_OK)
		return result;
	buf_add_text(
	    &session->text, item == IMAP_ITEM_INTERNALDATE ? "INTERNALDATE " : "SAVEDATE ");
	imap_write_date_time(&session->text, item == IMAP_ITEM_INTERNALDATE ? internal : saved);
	return MAIL_OK;
}

static enum mail_result
write_preview(struct imap_session *session, struct message *message,
    const struct imap_fetch_item *item, struct imap_body *body)
{
	const void *data;
	size_t length;

	buf_add_text(&session->text, "PREVIEW ");
	/* RFC 8970 3.1: LAZY is for what is there already. */
	if (item->lazy &&
	    !folder_cache_get(session->selected.folder, message, CACHED_PREVIEW, &data, &length)) {
		buf_add_text(&session->text, "NIL");
		return MAIL_OK;
	}
	return write_cached(session, message, CACHED_PREVIEW, body);
}

static enum mail_result
write_item(struct imap_session *session, struct fetch *fetch, struct message *message,
    const struct imap_fetch_item *item, struct imap_body *body)
{
	struct buf *text = &session->text;
	enum mail_result result;
	bool unknown = false;
	uint64_t size;
	char id[34];

	switch (item->item) {
	case IMAP_ITEM_FLAGS:
	case IMAP_ITEM_UID:
	case IMAP_ITEM_MODSEQ:
		return MAIL_OK; /* at the beginning and the end */
	case IMAP_ITEM_INTERNALDATE:
	case IMAP_ITEM_SAVEDATE:
		return write_dates(session, message, item->item);
	case IMAP_ITEM_SIZE:
		result = folder_message_size(session->selected.folder, message, &size);
		if (result == MAIL_OK)
			buf_printf(text, "RFC822.SIZE %llu", (unsigned long long)size);
		return result;
	case IMAP_ITEM_ENVELOPE:
		buf_add_text(text, "ENVELOPE ");
		return write_cached(session, message, CACHED_ENVELOPE, body);
	case IMAP_ITEM_BODY:
		buf_add_text(text, "BODY ");
		return write_cached(session, message, CACHED_BODY, body);
	case IMAP_ITEM_BODYSTRUCTURE:
		buf_add_text(text, "BODYSTRUCTURE ");
		return write_cached(session, message, CACHED_STRUCTURE, body);
	case IMAP_ITEM_PREVIEW:
		return write_preview(session, message, item, body);
	case IMAP_ITEM_EMAILID:
		folder_message_email_id(session->selected.folder, message, id);
		buf_printf(text, "EMAILID (%s)", id);
		return MAIL_OK;
	case IMAP_ITEM_THREADID:
		buf_add_text(text, "THREADID NIL"); /* RFC 8474 5.2: not kept */
		return MAIL_OK;
	case IMAP_ITEM_BINARY_SIZE:
		result = imap_body_binary_size(body, item, &size, &unknown);
		if (result == MAIL_OK && !unknown)
			imap_body_write_size(session, item, size);
		fetch->unknown_encoding |= unknown;
		return result;
	case IMAP_ITEM_SECTION:
	case IMAP_ITEM_BINARY:
	case IMAP_ITEM_RFC822:
	case IMAP_ITEM_RFC822_HEADER:
	case IMAP_ITEM_RFC822_TEXT:
		result = imap_body_write(session, body, item, &unknown);
		fetch->unknown_encoding |= unknown;
		return result;
	}
	return MAIL_OK;
}

/* \Seen, where FETCH sets it (RFC 9051 6.4.5). True when it was set now. */
static bool
set_seen(struct imap_session *session, const struct fetch *fetch, uint32_t uid)
{
	struct imap_selected *selected = &session->selected;
	const struct message *message = folder_find(selected->folder, uid);

	if (!fetch->sets_seen || selected->is_read_only || message == NULL ||
	    (message->bits & MESSAGE_SEEN))
		return false;
	return folder_store(selected->folder, &uid, 1, STORE_ADD, MESSAGE_SEEN, UINT64_MAX, NULL,
	           NULL) == MAIL_OK;
}

static void
begin_message(struct imap_session *session, struct fetch *fetch)
{
	const struct imap_items *items = &session->command.fetch.items;
	struct message *message = folder_view_message(session->selected.view, fetch->sequence);

	/* RFC 7162 3.1.4.1 */
	if (message == NULL ||
	    (session->command.fetch.has_changed_since &&
	        message->modseq <= session->command.fetch.changed_since))
		return;
	if (message->expunged != 0) {
		fetch->is_expunged = true;
		return;
	}
	fetch->uid = message->uid;
	imap_body_init(&fetch->body, session->selected.folder, fetch->uid);
	/* The file first: what can't be had must be known before anything is sent. */
	for (size_t i = 0; i < items->count; i++) {
		enum mail_result result = MAIL_OK;

		if (reads_text(&items->items[i]) || items->items[i].item == IMAP_ITEM_RFC822_HEADER)
			result = imap_body_prepare(&fetch->body, &items->items[i]);
		if (result == MAIL_OK)
			continue;
		imap_body_free(&fetch->body);
		fetch->is_expunged |= result == MAIL_EXPUNGED;
		if (result != MAIL_EXPUNGED)
			fetch->failure = result;
		return;
	}
	fetch->is_seen_now = set_seen(session, fetch, fetch->uid);
	fetch->has_message = true;
	fetch->has_item = fetch->wants_uid;
	fetch->item = 0;
	buf_add_text(&session->text, "* ");
	buf_add_decimal(&session->text, fetch->sequence);
	buf_add_text(&session->text, " FETCH (");
	if (fetch->wants_uid) {
		buf_add_text(&session->text, "UID ");
		buf_add_decimal(&session->text, fetch->uid);
	}
}

static void
separate(struct imap_session *session, struct fetch *fetch)
{
	if (fetch->has_item)
		buf_add_u8(&session->text, ' ');
	fetch->has_item = true;
}

/* All items are written, or `result` says why no more can be: what has been is closed in any case. */
static void
end_message(struct imap_session *session, struct fetch *fetch, enum mail_result result)
{
	const struct message *message = folder_find(session->selected.folder, fetch->uid);

	imap_body_free(&fetch->body);
	fetch->has_message = false;
	fetch->is_expunged |= result == MAIL_EXPUNGED || message == NULL;
	if (result != MAIL_OK && result != MAIL_EXPUNGED)
		fetch->failure = result;
	if (message != NULL && (fetch->wants_flags || fetch->is_seen_now)) {
		separate(session, fetch);
		imap_write_flags(session, message);
	}
	if (message != NULL &&
	    (fetch->wants_modseq || (fetch->is_seen_now && session->condstore))) {
		separate(session, fetch);
		buf_printf(&session->text, "MODSEQ (%llu)", (unsigned long long)message->modseq);
	}
	/* Of a message that is gone nothing was to be had: the list must not be empty. */
	if (!fetch->has_item)
		buf_printf(&session->text, "UID %u", fetch->uid);
	buf_add_text(&session->text, ")\r\n");
}

static bool
is_written_at_end(enum imap_item item)
{
	return item == IMAP_ITEM_FLAGS || item == IMAP_ITEM_UID || item == IMAP_ITEM_MODSEQ;
}

static enum mail_result
next_item(struct imap_session *session, struct fetch *fetch, const struct imap_fetch_item *item)
{
	struct message *message = folder_find(session->selected.folder, fetch->uid);
	size_t before = session->text.length, named;
	bool had_item = fetch->has_item;
	enum mail_result result;

	if (message == NULL)
		return MAIL_EXPUNGED;
	separate(session, fetch);
	named = session->text.length;
	result = write_item(session, fetch, message, item, &fetch->body);
	if (result != MAIL_OK || session->text.length == named) {
		session->text.length = before;
		fetch->has_item = had_item;
	}
	return result;
}

/* The next item, or more of one that is being sent. */
static void
continue_message(struct imap_session *session, struct fetch *fetch)
{
	const struct imap_items *items = &session->command.fetch.items;
	enum mail_result result = MAIL_OK;

	if (fetch->body.is_sending) {
		imap_body_step(&fetch->body);
		return;
	}
	while (fetch->item < items->count && is_written_at_end(items->items[fetch->item].item))
		fetch->item++;
	if (fetch->item < items->count) {
		result = next_item(session, fetch, &items->items[fetch->item]);
		fetch->item++;
		if (result == MAIL_OK)
			return;
	}
	end_message(session, fetch, result);
}

static void
finish(struct imap_session *session, const struct fetch *fetch)
{
	if (fetch->failure != MAIL_OK)
		imap_answer_result(session, fetch->failure, "");
	else if (fetch->unknown_encoding) /* RFC 3516 4.3 */
		imap_answer(session, IMAP_NO, "UNKNOWN-CTE", "A part's encoding isn't known");
	else if (fetch->is_expunged) /* RFC 5530 3 */
		imap_answer(session, session->command.uid ? IMAP_OK : IMAP_NO, "EXPUNGEISSUED",
		    "Some of the messages are gone");
	else
		imap_answer(session, IMAP_OK, "", "Fetched");
}

static enum imap_progress
step(struct imap_session *session)
{
	struct fetch *fetch = session->job;
	const struct imap_set *set = &session->command.fetch.set;

	while (fetch->has_message || fetch->range < set->count) {
		const struct imap_range *range;

		if (fetch->has_message) {
			continue_message(session, fetch);
		} else {
			range = &set->ranges[fetch->range];
			fetch->sequence =
			    fetch->sequence < range->first ? range->first : fetch->sequence + 1;
			if (fetch->sequence > range->last) {
				fetch->sequence--;
				fetch->range++;
				continue;
			}
			begin_message(session, fetch);
		}
		if (imap_is_turn_over(session))
			return IMAP_MORE;
	}
	finish(session, fetch);
	return IMAP_DONE;
}

static void
free_job(void *job)
{
	struct fetch *fetch = job;

	if (fetch->has_message)
		imap_body_free(&fetch->body);
	free(fetch);
}

/* RFC 7162 3.2.6: the UIDs of the set that went since. */
static void
tell_vanished(struct imap_session *session, const struct imap_set *uids)
{
	struct imap_set_writer writer;
	struct uid_range *ranges;
	size_t count;

	if (uids->count == 0 ||
	    !folder_vanished(session->selected.folder, session->command.fetch.changed_since,
	        (const struct uid_range *)(const void *)uids->ranges, uids->count, &ranges, &count))
		return;
	if (count > 0) {
		buf_add_text(&session->text, "* VANISHED (EARLIER) ");
		imap_set_begin(&writer, &session->text);
		for (size_t i = 0; i < count; i++)
			imap_set_add_range(&writer, ranges[i].first, ranges[i].last);
		(void)imap_set_end(&writer);
		buf_add_text(&session->text, "\r\n");
	}
	free(ranges);
}

static void
note_wishes(struct imap_session *session, struct fetch *fetch)
{
	const struct imap_fetch *command = &session->command.fetch;

	fetch->wants_uid = session->command.uid;
	for (size_t i = 0; i < command->items.count; i++) {
		const struct imap_fetch_item *item = &command->items.items[i];

		fetch->wants_uid |= item->item == IMAP_ITEM_UID;
		fetch->wants_flags |= item->item == IMAP_ITEM_FLAGS;
		fetch->wants_modseq |= item->item == IMAP_ITEM_MODSEQ;
		fetch->sets_seen |= reads_text(item) && !item->peek;
	}
	fetch->wants_modseq |= command->has_changed_since;
	if (fetch->wants_modseq)
		session->condstore = true; /* RFC 7162 3.1 */
}

void
imap_fetch(struct imap_session *session)
{
	struct imap_fetch *command = &session->command.fetch;
	struct imap_set uids = { 0 };
	struct fetch *fetch;

	if (command->vanished && !session->qresync) {
		imap_answer(session, IMAP_BAD, "", "ENABLE QRESYNC first");
		return;
	}
	if (command->vanished && !command->set.is_saved) {
		/* UIDs that no message has any more are what this is about. */
		uids.ranges = imap_pool_new(
		    &session->command.pool, command->set.count * sizeof(*uids.ranges));
		if (uids.ranges != NULL) {
			uids.count = command->set.count;
			memcpy(uids.ranges, command->set.ranges, uids.count * sizeof(*uids.ranges));
			imap_set_resolve(&uids, folder_uid_next(session->selected.folder));
		}
	}
	if (!imap_resolve(session, &command->set, session->command.uid))
		return;
	fetch = calloc(1, sizeof(*fetch));
	if (fetch == NULL) {
		imap_answer(session, IMAP_NO, "UNAVAILABLE", "Out of memory");
		return;
	}
	note_wishes(session, fetch);
	if (command->vanished)
		tell_vanished(session, &uids);
	imap_work(session, step, fetch, free_job);
}
