/*
 * SEARCH (RFC 9051 6.4.4) with its extended answers (RFC 4731) and saved results (RFC 5182), and what
 * SORT and THREAD begin with: the messages that match, found some milliseconds at a time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mailbox/imap_find.h"
#include "mailbox/mime_structure.h"

static void
find_free(void *job)
{
	struct imap_find *find = job;

	imap_matcher_free(find->matcher);
	free(find->found);
	free(find->extra);
	free(find);
}

static bool
add_found(struct imap_find *find, const struct message *message, uint32_t sequence)
{
	struct imap_found *larger;
	size_t capacity;

	if (find->count == find->capacity) {
		capacity = find->capacity > 0 ? find->capacity * 2 : 64;
		larger = reallocarray(find->found, capacity, sizeof(*larger));
		if (larger == NULL)
			return false;
		find->found = larger;
		find->capacity = capacity;
	}
	find->found[find->count++] =
	    (struct imap_found){ .uid = message->uid, .sequence = sequence };
	if (message->modseq > find->modseq)
		find->modseq = message->modseq;
	return true;
}

static enum imap_progress
find_step(struct imap_session *session)
{
	struct imap_find *find = session->job;

	while (find->sequence < find->last) {
		uint32_t sequence = ++find->sequence, uid;
		const struct message *message =
		    folder_view_message(session->selected.view, sequence);

		if (message != NULL && message->expunged == 0) {
			uid = message->uid;
			if (imap_matches(find->matcher, uid, sequence) &&
			    (message = folder_find(session->selected.folder, uid)) != NULL &&
			    !add_found(find, message, sequence)) {
				imap_answer(session, IMAP_NO, "UNAVAILABLE", "Out of memory");
				return IMAP_DONE;
			}
		}
		if (imap_is_turn_over(session))
			return IMAP_MORE;
	}
	return find->done(session, find);
}

void
imap_find(struct imap_session *session,
    enum imap_progress (*done)(struct imap_session *, struct imap_find *))
{
	struct imap_search *search = &session->command.search;
	enum imap_match_problem problem;
	struct imap_find *find;

	for (size_t i = 0; i < search->count; i++) {
		struct imap_search_key *key = &search->keys[i];

		if (key->key == IMAP_KEY_MODSEQ)
			session->condstore = true; /* RFC 7162 3.1 */
		if ((key->key == IMAP_KEY_NUMBERS || key->key == IMAP_KEY_UIDS) &&
		    !imap_resolve(session, &key->set, key->key == IMAP_KEY_UIDS))
			return;
	}
	find = calloc(1, sizeof(*find));
	if (find == NULL) {
		imap_answer(session, IMAP_NO, "UNAVAILABLE", "Out of memory");
		return;
	}
	find->matcher = imap_matcher_new(session->selected.folder, search, &problem);
	if (find->matcher == NULL) {
		free(find);
		if (problem == IMAP_MATCH_BAD_CHARSET)
			imap_answer(session, IMAP_NO, "BADCHARSET (UTF-8 US-ASCII)",
			    "That charset isn't known");
		else
			imap_answer(session, IMAP_NO, "UNAVAILABLE", "Out of memory");
		return;
	}
	find->last = (uint32_t)folder_view_count(session->selected.view);
	find->done = done;
	imap_work(session, find_step, find, find_free);
}

/* --- SEARCH --- */

static uint32_t
number_of(const struct imap_session *session, const struct imap_found *found)
{
	return session->command.uid ? found->uid : found->sequence;
}

/* "$" from now on (RFC 5182 2.1): all that was found, or with MIN and MAX alone only those. */
static void
save(struct imap_session *session, const struct imap_find *find)
{
	unsigned answer = session->command.search.answer;
	struct imap_selected *selected = &session->selected;
	struct imap_range *ranges = NULL;
	size_t count = 0;

	if (!(answer & IMAP_SEARCH_SAVE))
		return;
	for (size_t i = 0; i < find->count; i++) {
		bool is_ends_only = (answer & (IMAP_SEARCH_MIN | IMAP_SEARCH_MAX)) &&
		    !(answer & (IMAP_SEARCH_ALL | IMAP_SEARCH_COUNT));
		uint32_t uid = find->found[i].uid;
		struct imap_range *larger;

		if (is_ends_only && !((answer & IMAP_SEARCH_MIN) && i == 0) &&
		    !((answer & IMAP_SEARCH_MAX) && i == find->count - 1))
			continue;
		if (count > 0 && ranges[count - 1].last + 1 == uid) {
			ranges[count - 1].last = uid;
			continue;
		}
		if ((count & (count - 1)) == 0) {
			larger = reallocarray(ranges, count > 0 ? count * 2 : 1, sizeof(*ranges));
			if (larger == NULL) {
				count = 0; /* as if nothing had been found */
				break;
			}
			ranges = larger;
		}
		ranges[count++] = (struct imap_range){ uid, uid };
	}
	free(selected->saved.ranges);
	selected->saved = (struct imap_set){ .count = count, .ranges = ranges };
}

static void
write_all(struct imap_session *session, const struct imap_find *find)
{
	struct imap_set_writer writer;

	buf_add_text(&session->text, " ALL ");
	imap_set_begin(&writer, &session->text);
	for (size_t i = 0; i < find->count; i++)
		imap_set_add(&writer, number_of(session, &find->found[i]));
	(void)imap_set_end(&writer);
}

static bool
has_modseq_key(const struct imap_search *search)
{
	for (size_t i = 0; i < search->count; i++) {
		if (search->keys[i].key == IMAP_KEY_MODSEQ)
			return true;
	}
	return false;
}

/* RFC 4731 3.1 */
static void
write_extended(struct imap_session *session, const struct imap_find *find, unsigned answer)
{
	struct buf *text = &session->text;

	buf_add_text(text, "* ESEARCH (TAG ");
	imap_write_string(text, session->command.tag.data, session->command.tag.length);
	buf_add_text(text, session->command.uid ? ") UID" : ")");
	if ((answer & IMAP_SEARCH_MIN) && find->count > 0)
		buf_printf(text, " MIN %u", number_of(session, &find->found[0]));
	if ((answer & IMAP_SEARCH_MAX) && find->count > 0)
		buf_printf(text, " MAX %u", number_of(session, &find->found[find->count - 1]));
	if (answer & IMAP_SEARCH_COUNT)
		buf_printf(text, " COUNT %zu", find->count);
	if ((answer & IMAP_SEARCH_ALL) && find->count > 0)
		write_all(session, find);
	if (has_modseq_key(&session->command.search) && find->count > 0)
		buf_printf(text, " MODSEQ %llu", (unsigned long long)find->modseq);
	buf_add_text(text, "\r\n");
}

static void
write_plain(struct imap_session *session, const struct imap_find *find)
{
	struct buf *text = &session->text;

	buf_add_text(text, "* SEARCH");
	for (size_t i = 0; i < find->count; i++) {
		buf_add_u8(text, ' ');
		buf_add_decimal(text, number_of(session, &find->found[i]));
	}
	if (has_modseq_key(&session->command.search) && find->count > 0)
		buf_printf(text, " (MODSEQ %llu)", (unsigned long long)find->modseq);
	buf_add_text(text, "\r\n");
}

static enum imap_progress
answer_search(struct imap_session *session, struct imap_find *find)
{
	const struct imap_search *search = &session->command.search;

	save(session, find);
	if (!search->is_extended && !session->is_rev2)
		write_plain(session, find);
	else if (!search->is_extended) /* RFC 9051 6.4.4 */
		write_extended(session, find, IMAP_SEARCH_ALL);
	else if (search->answer != IMAP_SEARCH_SAVE) /* which alone asks nothing back */
		write_extended(session, find, search->answer);
	imap_answer(session, IMAP_OK, "", "Searched");
	return IMAP_DONE;
}

void
imap_search(struct imap_session *session)
{
	imap_find(session, answer_search);
}
