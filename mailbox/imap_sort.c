/*
 * SORT (RFC 5256 3). What is compared is gathered for all messages that were found, then sorted at
 * once. Ties are broken by the order in the folder.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mailbox/imap_find.h"
#include "mailbox/imap_summary.h"

#define TEXTS_MAX (512 * 1024 * 1024)

struct sort_entry {
	struct imap_found found;
	int64_t arrival;
	int64_t sent;
	uint64_t size;
	uint32_t texts[4]; /* where in the texts: subject, from, to, cc; each with its NUL */
};

struct sort {
	const struct imap_sort_criterion *criteria;
	size_t criterion_count;
	struct buf texts;
	size_t count;
	struct sort_entry entries[];
};

/* qsort(3) has no argument of its own for this. */
static const struct sort *sorting;

static int
compare_numbers(int64_t a, int64_t b)
{
	return a < b ? -1 : a > b;
}

static const char *
text_of(uint32_t at)
{
	return (const char *)sorting->texts.data + at;
}

static int
compare_by(enum imap_sort_key key, const struct sort_entry *a, const struct sort_entry *b)
{
	switch (key) {
	case IMAP_SORT_ARRIVAL:
		return compare_numbers(a->arrival, b->arrival);
	case IMAP_SORT_DATE:
		return compare_numbers(a->sent, b->sent);
	case IMAP_SORT_SIZE:
		return compare_numbers((int64_t)a->size, (int64_t)b->size);
	case IMAP_SORT_SUBJECT:
		return strcmp(text_of(a->texts[0]), text_of(b->texts[0]));
	case IMAP_SORT_FROM:
		return strcmp(text_of(a->texts[1]), text_of(b->texts[1]));
	case IMAP_SORT_TO:
		return strcmp(text_of(a->texts[2]), text_of(b->texts[2]));
	case IMAP_SORT_CC:
		return strcmp(text_of(a->texts[3]), text_of(b->texts[3]));
	}
	return 0;
}

static int
compare(const void *left, const void *right)
{
	const struct sort_entry *a = left, *b = right;

	for (size_t i = 0; i < sorting->criterion_count; i++) {
		int order = compare_by(sorting->criteria[i].key, a, b);

		if (order != 0)
			return sorting->criteria[i].reverse ? -order : order;
	}
	return compare_numbers(a->found.sequence, b->found.sequence);
}

static uint32_t
keep_text(struct sort *sort, const char *data, size_t length)
{
	uint32_t at = (uint32_t)sort->texts.length;

	buf_add(&sort->texts, length > 0 ? data : "", length);
	buf_add_u8(&sort->texts, 0);
	return at;
}

static bool
needs(const struct sort *sort, enum imap_sort_key key)
{
	for (size_t i = 0; i < sort->criterion_count; i++) {
		if (sort->criteria[i].key == key)
			return true;
	}
	return false;
}

/* What is compared of a message; one that is gone meanwhile sorts as if it had nothing. */
static void
load(struct folder *folder, struct sort *sort, struct sort_entry *entry)
{
	static const enum summary_text texts[] = { SUMMARY_BASE_SUBJECT, SUMMARY_FROM_MAILBOX,
		SUMMARY_TO_MAILBOX, SUMMARY_CC_MAILBOX };
	static const enum imap_sort_key keys[] = { IMAP_SORT_SUBJECT, IMAP_SORT_FROM, IMAP_SORT_TO,
		IMAP_SORT_CC };
	struct message *message = folder_find(folder, entry->found.uid);
	bool has_texts = false;
	struct summary summary;
	int64_t saved;

	if (message == NULL)
		return;
	if (needs(sort, IMAP_SORT_ARRIVAL) &&
	    folder_message_dates(folder, message, &entry->arrival, &saved) != MAIL_OK)
		entry->arrival = 0;
	if (needs(sort, IMAP_SORT_SIZE) &&
	    folder_message_size(folder, message, &entry->size) != MAIL_OK)
		entry->size = 0;
	for (size_t i = 0; i < 4; i++)
		has_texts |= needs(sort, keys[i]);
	if ((!has_texts && !needs(sort, IMAP_SORT_DATE)) ||
	    summary_load(folder, entry->found.uid, &summary) != MAIL_OK)
		return;
	for (size_t i = 0; i < 4; i++) {
		if (needs(sort, keys[i]))
			entry->texts[i] = keep_text(
			    sort, summary.texts[texts[i]].data, summary.texts[texts[i]].length);
	}
	if (summary.has_date) {
		entry->sent = summary.sent;
		return;
	}
	/* RFC 5256 2.2: of messages without a date. */
	message = needs(sort, IMAP_SORT_DATE) ? folder_find(folder, entry->found.uid) : NULL;
	if (message != NULL &&
	    folder_message_dates(folder, message, &entry->sent, &saved) != MAIL_OK)
		entry->sent = 0;
}

static enum imap_progress
finish(struct imap_session *session, struct sort *sort)
{
	enum imap_progress progress = IMAP_DONE;

	if (!buf_ok(&sort->texts)) {
		buf_free(&sort->texts);
		imap_answer(session, IMAP_NO, "LIMIT", "Too much to be sorted");
		return progress;
	}
	sorting = sort;
	qsort(sort->entries, sort->count, sizeof(sort->entries[0]), compare);
	sorting = NULL;
	buf_free(&sort->texts);
	buf_add_text(&session->text, "* SORT");
	for (size_t i = 0; i < sort->count; i++) {
		const struct imap_found *found = &sort->entries[i].found;

		buf_add_u8(&session->text, ' ');
		buf_add_decimal(
		    &session->text, session->command.uid ? found->uid : found->sequence);
	}
	buf_add_text(&session->text, "\r\n");
	imap_answer(session, IMAP_OK, "", "Sorted");
	return progress;
}

static enum imap_progress
gather(struct imap_session *session, struct imap_find *find)
{
	struct sort *sort = find->extra;

	if (sort == NULL) {
		sort = calloc(1, sizeof(*sort) + find->count * sizeof(sort->entries[0]));
		if (sort == NULL) {
			imap_answer(session, IMAP_NO, "UNAVAILABLE", "Out of memory");
			return IMAP_DONE;
		}
		find->extra = sort;
		sort->criteria = session->command.search.sort;
		sort->criterion_count = session->command.search.sort_count;
		buf_init(&sort->texts, TEXTS_MAX);
		(void)keep_text(sort, "", 0); /* at 0: what an entry without texts has */
	}
	while (sort->count < find->count) {
		struct sort_entry *entry = &sort->entries[sort->count];

		entry->found = find->found[sort->count++];
		load(session->selected.folder, sort, entry);
		if (imap_is_turn_over(session)) {
			/* A session that ends frees the job without this. */
			if (session->state == IMAP_ENDING)
				buf_free(&sort->texts);
			return IMAP_MORE;
		}
	}
	return finish(session, sort);
}

void
imap_sort(struct imap_session *session)
{
	imap_find(session, gather);
}
