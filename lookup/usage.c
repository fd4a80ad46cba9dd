/*
 * One entry a mailbox, found by owner and path. While its question is open, more recipients of the
 * same mailbox wait with the first.
 */
#include <sys/queue.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/pending.h"
#include "lookup/usage.h"

#define BUCKETS     1024
#define ENTRIES_MAX 10000
#define FRESH_MS    10000
#define OVER_MS     2000 /* a full mailbox may be emptied at any time */

struct waiter {
	STAILQ_ENTRY(waiter) next;
	void *owner;
	uint64_t size;
};

struct entry {
	LIST_ENTRY(entry) in_bucket;
	struct ipc_mailbox mailbox; /* with the quota as last asked about */
	uint64_t bytes;
	uint64_t messages;
	uint64_t let_through_bytes; /* since that answer */
	uint64_t let_through_messages;
	bool known;
	int64_t answered_ms;
	bool asked;
	STAILQ_HEAD(, waiter) waiters;
};

struct usage {
	struct pending *pending;
	usage_ask_fn ask;
	usage_decided_fn decided;
	void *arg;
	size_t count;
	LIST_HEAD(bucket, entry) buckets[BUCKETS];
};

static void failed(void *owner, uint32_t id, const char *why, void *arg);

struct usage *
usage_new(struct event_base *base, usage_ask_fn ask, usage_decided_fn decided, void *arg)
{
	struct usage *usage = calloc(1, sizeof(*usage));

	if (usage == NULL)
		fatal("out of memory");
	usage->pending = pending_new(base, failed, usage);
	usage->ask = ask;
	usage->decided = decided;
	usage->arg = arg;
	return usage;
}

static void
entry_free(struct usage *usage, struct entry *entry)
{
	struct waiter *waiter;

	while ((waiter = STAILQ_FIRST(&entry->waiters)) != NULL) {
		STAILQ_REMOVE_HEAD(&entry->waiters, next);
		free(waiter);
	}
	LIST_REMOVE(entry, in_bucket);
	usage->count--;
	free(entry);
}

void
usage_free(struct usage *usage)
{
	struct entry *entry;

	if (usage == NULL)
		return;
	pending_free(usage->pending);
	for (size_t i = 0; i < BUCKETS; i++) {
		while ((entry = LIST_FIRST(&usage->buckets[i])) != NULL)
			entry_free(usage, entry);
	}
	free(usage);
}

static struct bucket *
find_bucket(struct usage *usage, const struct ipc_mailbox *mailbox)
{
	uint32_t hash = 2166136261U ^ mailbox->uid;

	for (const char *at = mailbox->path; *at != '\0'; at++)
		hash = (hash ^ (unsigned char)*at) * 16777619U;
	return &usage->buckets[hash % BUCKETS];
}

static struct entry *
find_entry(struct usage *usage, const struct ipc_mailbox *mailbox)
{
	struct bucket *bucket = find_bucket(usage, mailbox);
	struct entry *entry;

	LIST_FOREACH(entry, bucket, in_bucket)
	{
		if (entry->mailbox.uid == mailbox->uid &&
		    strcmp(entry->mailbox.path, mailbox->path) == 0)
			return entry;
	}
	if (usage->count >= ENTRIES_MAX || (entry = calloc(1, sizeof(*entry))) == NULL)
		return NULL;
	STAILQ_INIT(&entry->waiters);
	LIST_INSERT_HEAD(bucket, entry, in_bucket);
	usage->count++;
	return entry;
}

/* Whether `size` bytes more fit the quota, by the answer alone. */
static bool
fits(const struct entry *entry, uint64_t size)
{
	const struct ipc_mailbox *mailbox = &entry->mailbox;

	return (mailbox->quota_bytes == 0 ||
	           (entry->bytes <= mailbox->quota_bytes &&
	               size <= mailbox->quota_bytes - entry->bytes)) &&
	    (mailbox->quota_messages == 0 || entry->messages < mailbox->quota_messages);
}

/* Whether there is room for it even with all that was let through since the answer. */
static bool
fits_easily(const struct entry *entry, uint64_t size)
{
	const struct ipc_mailbox *mailbox = &entry->mailbox;
	uint64_t bytes = mailbox->quota_bytes / 10 * 9, messages = mailbox->quota_messages / 10 * 9;
	uint64_t let_through = entry->let_through_bytes;

	return fits(entry, size) &&
	    (mailbox->quota_bytes == 0 ||
	        (entry->bytes <= bytes && let_through <= bytes - entry->bytes &&
	            size <= bytes - entry->bytes - let_through)) &&
	    (mailbox->quota_messages == 0 ||
	        (entry->messages < messages &&
	            entry->let_through_messages < messages - entry->messages));
}

/* A recipient that is taken may still bring no message: it counts for asking again, never for a
 * refusal. */
static void
count_in(struct entry *entry, uint64_t size)
{
	entry->let_through_bytes += size;
	if (entry->let_through_bytes < size)
		entry->let_through_bytes = UINT64_MAX;
	entry->let_through_messages++;
}

static bool
add_waiter(struct entry *entry, uint64_t size, void *owner)
{
	struct waiter *waiter = calloc(1, sizeof(*waiter));

	if (waiter == NULL)
		return false;
	waiter->owner = owner;
	waiter->size = size;
	STAILQ_INSERT_TAIL(&entry->waiters, waiter, next);
	return true;
}

/* What was answered; NULL when nothing was. */
static struct entry *
find_known(struct usage *usage, const struct ipc_mailbox *mailbox)
{
	struct entry *entry;

	LIST_FOREACH(entry, find_bucket(usage, mailbox), in_bucket)
	{
		if (entry->mailbox.uid == mailbox->uid && entry->known &&
		    strcmp(entry->mailbox.path, mailbox->path) == 0)
			return entry;
	}
	return NULL;
}

void
usage_doubt(struct usage *usage, const struct ipc_mailbox *mailbox)
{
	struct entry *entry = find_known(usage, mailbox);

	if (entry != NULL)
		entry->known = false;
}

bool
usage_get(
    struct usage *usage, const struct ipc_mailbox *mailbox, uint64_t *bytes, uint64_t *messages)
{
	const struct entry *entry = find_known(usage, mailbox);

	if (entry == NULL)
		return false;
	*bytes = entry->bytes;
	*messages = entry->messages;
	return true;
}

enum usage_result
usage_check(struct usage *usage, const struct ipc_mailbox *mailbox, uint64_t size, void *owner)
{
	struct entry *entry;
	int64_t age;

	if (mailbox->quota_bytes == 0 && mailbox->quota_messages == 0)
		return USAGE_FITS;
	/* What is larger than the whole quota needs no question. */
	if (mailbox->quota_bytes != 0 && size > mailbox->quota_bytes)
		return USAGE_OVER;
	entry = find_entry(usage, mailbox);
	if (entry == NULL)
		return USAGE_FITS;
	entry->mailbox = *mailbox;
	if (entry->asked)
		return add_waiter(entry, size, owner) ? USAGE_ASKED : USAGE_FITS;
	age = clock_monotonic_ms() - entry->answered_ms;
	if (entry->known && age < FRESH_MS && fits_easily(entry, size)) {
		count_in(entry, size);
		return USAGE_FITS;
	}
	if (entry->known && age < OVER_MS && !fits(entry, size))
		return USAGE_OVER;
	if (add_waiter(entry, size, owner)) {
		uint32_t id = pending_add(usage->pending, entry, USAGE_DEADLINE_MS);

		entry->asked = true;
		if (usage->ask(id, mailbox, usage->arg))
			return USAGE_ASKED;
		pending_cancel(usage->pending, id);
		entry->asked = false;
		entry_free(usage, entry);
	}
	return USAGE_FITS;
}

/* Answers all that wait. A callback may ask again: it then finds the entry as it is by now. */
static void
decide(struct usage *usage, struct entry *entry)
{
	STAILQ_HEAD(, waiter) waiters = STAILQ_HEAD_INITIALIZER(waiters);
	struct waiter *waiter;

	entry->asked = false;
	while ((waiter = STAILQ_FIRST(&entry->waiters)) != NULL) {
		STAILQ_REMOVE_HEAD(&entry->waiters, next);
		STAILQ_INSERT_TAIL(&waiters, waiter, next);
	}
	while ((waiter = STAILQ_FIRST(&waiters)) != NULL) {
		bool fit = !entry->known || fits(entry, waiter->size);

		STAILQ_REMOVE_HEAD(&waiters, next);
		if (fit && entry->known)
			count_in(entry, waiter->size);
		usage->decided(waiter->owner, fit, usage->arg);
		free(waiter);
	}
}

static void
failed(void *owner, uint32_t id, const char *why, void *arg)
{
	struct entry *entry = owner;

	(void)id;
	log_warning("how full %s is wasn't answered (%s): its mail is let through",
	    entry->mailbox.path, why);
	entry->known = false;
	decide(arg, entry);
}

void
usage_answer(struct usage *usage, uint32_t id, const struct ipc_usage *answer)
{
	struct entry *entry = pending_take(usage->pending, id);

	if (entry == NULL)
		return;
	entry->known = answer->known;
	entry->bytes = answer->bytes;
	entry->messages = answer->messages;
	entry->let_through_bytes = 0;
	entry->let_through_messages = 0;
	entry->answered_ms = clock_monotonic_ms();
	decide(usage, entry);
}

void
usage_fail_all(struct usage *usage, const char *why)
{
	pending_fail_all(usage->pending, why);
}

static void
remove_older(struct usage *usage, int64_t age_ms)
{
	int64_t now = clock_monotonic_ms();
	struct entry *entry, *next;

	for (size_t i = 0; i < BUCKETS; i++) {
		for (entry = LIST_FIRST(&usage->buckets[i]); entry != NULL; entry = next) {
			next = LIST_NEXT(entry, in_bucket);
			if (!entry->asked && now - entry->answered_ms >= age_ms)
				entry_free(usage, entry);
		}
	}
}

void
usage_sweep(struct usage *usage)
{
	if (usage->count > 0)
		remove_older(usage, FRESH_MS);
}

void
usage_forget(struct usage *usage)
{
	remove_older(usage, 0);
}
