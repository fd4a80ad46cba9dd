/*
 * Messages by a set: flags changed, copied, moved, removed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mailbox/imap_session_state.h"

#define STORE_AT_ONCE 1000 /* messages a turn */

/* The UIDs of the messages of a resolved set that aren't known to be gone; and with `only` bits only
 * those that have one of them. The caller frees them; NULL, having answered, when memory is out. */
static uint32_t *
list_uids(struct imap_session *session, const struct imap_set *set, uint32_t only, size_t *count)
{
	struct folder_view *view = session->selected.view;
	size_t room = 0;
	uint32_t *uids;

	for (size_t i = 0; i < set->count; i++)
		room += set->ranges[i].last - set->ranges[i].first + 1;
	uids = reallocarray(NULL, room > 0 ? room : 1, sizeof(*uids));
	if (uids == NULL) {
		imap_answer(session, IMAP_NO, "UNAVAILABLE", "Out of memory");
		return NULL;
	}
	*count = 0;
	for (size_t i = 0; i < set->count; i++) {
		for (uint32_t sequence = set->ranges[i].first; sequence <= set->ranges[i].last;
		     sequence++) {
			const struct message *message = folder_view_message(view, sequence);

			if (message != NULL && message->expunged == 0 &&
			    (only == 0 || (message->bits & only)))
				uids[(*count)++] = message->uid;
		}
	}
	return uids;
}

static void
write_set(struct buf *text, const uint32_t *uids, size_t count)
{
	struct imap_set_writer writer;

	imap_set_begin(&writer, text);
	for (size_t i = 0; i < count; i++)
		imap_set_add(&writer, uids[i]);
	(void)imap_set_end(&writer);
}

/* --- STORE --- */

struct store {
	uint32_t *uids;
	size_t count;
	size_t done;
	uint32_t *failed; /* changed since (RFC 7162 3.1.3) */
	size_t failed_count;
	uint32_t bits;
	uint64_t modseq; /* before this step */
};

static void
store_free(void *job)
{
	struct store *store = job;

	free(store->uids);
	free(store->failed);
	free(store);
}

/* SILENT: the flags aren't told to who set them, but new MODSEQs are (RFC 7162 3.1.3). */
static void
pass_over(struct imap_session *session, const struct store *store, size_t count)
{
	struct imap_selected *selected = &session->selected;

	for (size_t i = store->done; session->condstore && i < store->done + count; i++) {
		const struct message *message = folder_find(selected->folder, store->uids[i]);
		size_t sequence = folder_view_sequence(selected->view, store->uids[i]);

		if (sequence == 0 || message == NULL || message->modseq <= store->modseq)
			continue;
		buf_printf(&session->text, "* %zu FETCH (UID %u MODSEQ (%llu))\r\n", sequence,
		    message->uid, (unsigned long long)message->modseq);
	}
	folder_view_told(selected->view);
}

/* "[MODIFIED 7,9]": by number or UID, as the command was. */
static void
answer_modified(struct imap_session *session, const struct store *store)
{
	struct buf code;

	buf_init(&code, 1024 * 1024);
	buf_add_text(&code, "MODIFIED ");
	if (!session->command.uid) {
		for (size_t i = 0; i < store->failed_count; i++)
			store->failed[i] = (uint32_t)folder_view_sequence(
			    session->selected.view, store->failed[i]);
	}
	write_set(&code, store->failed, store->failed_count);
	buf_add_u8(&code, 0);
	imap_answer(session, IMAP_OK, buf_ok(&code) ? (char *)code.data : "",
	    "Some were changed by others meanwhile");
	buf_free(&code);
}

static enum imap_progress
store_step(struct imap_session *session)
{
	struct store *store = session->job;
	const struct imap_store *command = &session->command.store;
	static const enum folder_store hows[] = {
		[IMAP_STORE_SET] = STORE_REPLACE,
		[IMAP_STORE_ADD] = STORE_ADD,
		[IMAP_STORE_REMOVE] = STORE_REMOVE,
	};
	size_t count = store->count - store->done, failed = 0;
	enum mail_result result;

	if (count > STORE_AT_ONCE)
		count = STORE_AT_ONCE;
	if (command->silent) { /* what others changed is told, and then only ours passed over */
		imap_tell(session, false);
		store->modseq = folder_highest_modseq(session->selected.folder);
	}
	result = folder_store(session->selected.folder, store->uids + store->done, count,
	    hows[command->how], store->bits,
	    command->has_unchanged_since ? command->unchanged_since : UINT64_MAX,
	    store->failed + store->failed_count, &failed);
	store->failed_count += failed;
	if (command->silent)
		pass_over(session, store, count);
	store->done += count;
	if (result != MAIL_OK) {
		imap_answer_result(session, result, "");
		return IMAP_DONE;
	}
	if (store->done < store->count)
		return IMAP_MORE;
	if (store->failed_count > 0)
		answer_modified(session, store);
	else
		imap_answer(session, IMAP_OK, "", "Stored");
	return IMAP_DONE;
}

void
imap_store(struct imap_session *session)
{
	struct imap_store *command = &session->command.store;
	struct store *store;

	if (command->has_unchanged_since)
		session->condstore = true; /* RFC 7162 3.1 */
	if (!imap_resolve(session, &command->set, session->command.uid))
		return;
	store = calloc(1, sizeof(*store));
	if (store == NULL) {
		imap_answer(session, IMAP_NO, "UNAVAILABLE", "Out of memory");
		return;
	}
	if (!imap_flag_bits(session, session->selected.folder, &command->flags, &store->bits)) {
		store_free(store);
		return;
	}
	store->uids = list_uids(session, &command->set, 0, &store->count);
	if (store->uids == NULL) {
		store_free(store);
		return;
	}
	store->failed =
	    reallocarray(NULL, store->count > 0 ? store->count : 1, sizeof(*store->failed));
	if (store->failed == NULL) {
		store_free(store);
		imap_answer(session, IMAP_NO, "UNAVAILABLE", "Out of memory");
		return;
	}
	imap_work(session, store_step, store, store_free);
}

/* --- COPY, MOVE --- */

/* RFC 4315 3: "COPYUID validity from to". */
static void
write_copyuid(struct buf *text, struct folder *to, const uint32_t *from_uids,
    const uint32_t *to_uids, size_t count)
{
	buf_printf(text, "COPYUID %u ", folder_uid_validity(to));
	write_set(text, from_uids, count);
	buf_add_u8(text, ' ');
	write_set(text, to_uids, count);
}

/* Copies or moves, and answers. `from` and `to`: pairs, with room for all. */
static void
copy_to(struct imap_session *session, struct folder *target, const uint32_t *uids, size_t count,
    uint32_t *from, uint32_t *to)
{
	bool is_move = session->command.verb == IMAP_MOVE;
	struct folder *folder = session->selected.folder;
	enum mail_result result;
	struct buf code;
	size_t done = 0;

	result = is_move ? folder_move(folder, uids, count, target, from, to, &done)
	                 : folder_copy(folder, uids, count, target, from, to, &done);
	buf_init(&code, 4 * 1024 * 1024);
	if (done > 0) {
		write_copyuid(&code, target, from, to, done);
		buf_add_u8(&code, 0);
	}
	/* RFC 6851 4.3: before the removals, untagged. */
	if (is_move && done > 0 && buf_ok(&code))
		buf_printf(&session->text, "* OK [%s] Moved\r\n", (char *)code.data);
	if (result != MAIL_OK)
		imap_answer_result(session, result, "");
	else
		imap_answer(session, IMAP_OK,
		    !is_move && done > 0 && buf_ok(&code) ? (char *)code.data : "",
		    is_move ? "Moved" : "Copied");
	buf_free(&code);
}

void
imap_copy(struct imap_session *session)
{
	struct imap_copy *command = &session->command.copy;
	char name[FOLDER_NAME_SIZE];
	enum mail_result why = MAIL_FAILED;
	struct folder *target;
	uint32_t *uids, *pairs;
	size_t count;

	if (!imap_name_from_client(session, &command->mailbox, name) ||
	    !imap_resolve(session, &command->set, session->command.uid))
		return;
	uids = list_uids(session, &command->set, 0, &count);
	if (uids == NULL)
		return;
	pairs = reallocarray(NULL, count > 0 ? count : 1, 2 * sizeof(*pairs));
	target = pairs != NULL ? folder_open(session->maildir, name, &why) : NULL;
	if (target != NULL) {
		copy_to(session, target, uids, count, pairs, pairs + count);
		folder_release(target);
	} else if (why == MAIL_ABSENT) { /* RFC 9051 6.4.7 */
		imap_answer(session, IMAP_NO, "TRYCREATE", "There is no such mailbox");
	} else {
		imap_answer_result(session, why, "");
	}
	free(pairs);
	free(uids);
}

/* --- EXPUNGE --- */

void
imap_expunge(struct imap_session *session)
{
	struct imap_selected *selected = &session->selected;
	struct imap_range whole = { 1, (uint32_t)folder_view_count(selected->view) };
	struct imap_set all = { .count = whole.last > 0, .ranges = &whole };
	struct imap_set *set = &all;
	enum mail_result result = MAIL_OK;
	char code[40];
	uint32_t *uids;
	size_t count;

	if (session->command.uid) { /* RFC 4315 2.1 */
		set = &session->command.copy.set;
		if (!imap_resolve(session, set, true))
			return;
	}
	uids = list_uids(session, set, MESSAGE_DELETED, &count);
	if (uids == NULL)
		return;
	if (count > 0)
		result = folder_expunge(selected->folder, uids, count);
	free(uids);
	if (result == MAIL_OK && count > 0 && session->qresync) { /* RFC 7162 3.2.7, 3.2.9 */
		snprintf(code, sizeof(code), "HIGHESTMODSEQ %llu",
		    (unsigned long long)folder_highest_modseq(selected->folder));
		imap_answer(session, IMAP_OK, code, "Removed");
		return;
	}
	imap_answer_result(session, result, "Removed");
}
