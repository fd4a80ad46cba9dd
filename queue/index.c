/*
 * Messages are found by id through a hash with chains, and by age through an array that only grows
 * at its end. Removed ones leave gaps, which keep their number so that a search needs no detour
 * around them, and are closed when half of it is gaps. Senders are kept once each: a list's million
 * messages name one.
 */
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/log.h"
#include "queue/index.h"

struct place {
	uint64_t number;         /* of the message's first envelope */
	struct message *message; /* NULL: a gap */
};

struct index {
	struct message **buckets;
	size_t bucket_count; /* a power of two */
	size_t count;
	struct place *order;
	size_t order_start; /* before it all are gaps */
	size_t order_length;
	size_t order_capacity;
	struct sender **senders;
	size_t sender_buckets;
	size_t sender_count;
	uint64_t next_number;
};

struct index *
index_new(void)
{
	struct index *index = calloc(1, sizeof(*index));

	if (index == NULL)
		return NULL;
	index->bucket_count = index->sender_buckets = 1024;
	index->buckets = calloc(index->bucket_count, sizeof(struct message *));
	index->senders = calloc(index->sender_buckets, sizeof(struct sender *));
	index->next_number = 1;
	if (index->buckets == NULL || index->senders == NULL) {
		index_free(index);
		return NULL;
	}
	return index;
}

void
index_free(struct index *index)
{
	if (index == NULL)
		return;
	/* The last place is never a gap. */
	while (index->order_length > 0)
		index_remove(index, index->order[index->order_length - 1].message);
	free(index->order);
	free(index->buckets);
	free(index->senders);
	free(index);
}

/* Ids are random bits already. */
static struct message **
bucket_of(const struct index *index, uint32_t id)
{
	return &index->buckets[id & (index->bucket_count - 1)];
}

static void
grow_buckets(struct index *index)
{
	struct message **old = index->buckets, *message, *next, **bucket;
	size_t old_count = index->bucket_count;
	struct message **larger = calloc(2 * old_count, sizeof(struct message *));

	/* Without memory the chains get longer, that is all. */
	if (larger == NULL)
		return;
	index->buckets = larger;
	index->bucket_count = 2 * old_count;
	for (size_t i = 0; i < old_count; i++) {
		for (message = old[i]; message != NULL; message = next) {
			next = message->next;
			bucket = bucket_of(index, message->id);
			message->next = *bucket;
			*bucket = message;
		}
	}
	free(old);
}

void
index_sender_text(const struct address *address, char *text, size_t size)
{
	/* The domain is in lower case already; local parts are compared without regard to case. */
	address_format(address, text, size);
	for (; *text != '\0'; text++) {
		if (*text >= 'A' && *text <= 'Z')
			*text = (char)(*text + ('a' - 'A'));
	}
}

static uint32_t
hash_text(const char *text)
{
	uint32_t hash = 2166136261U; /* FNV-1a */

	for (; *text != '\0'; text++)
		hash = (hash ^ (unsigned char)*text) * 16777619U;
	return hash;
}

static void
grow_senders(struct index *index)
{
	size_t old_count = index->sender_buckets;
	struct sender **old = index->senders, *sender, *next;
	struct sender **larger = calloc(2 * old_count, sizeof(struct sender *));

	if (larger == NULL)
		return;
	index->senders = larger;
	index->sender_buckets = 2 * old_count;
	for (size_t i = 0; i < old_count; i++) {
		for (sender = old[i]; sender != NULL; sender = next) {
			size_t bucket = sender->hash & (index->sender_buckets - 1);

			next = sender->next;
			sender->next = larger[bucket];
			larger[bucket] = sender;
		}
	}
	free(old);
}

static struct sender *
take_sender(struct index *index, const struct address *address)
{
	char text[ADDRESS_TEXT_MAX + 1];
	struct sender *sender;
	uint32_t hash;
	size_t bucket, size;

	index_sender_text(address, text, sizeof(text));
	hash = hash_text(text);
	bucket = hash & (index->sender_buckets - 1);
	for (sender = index->senders[bucket]; sender != NULL; sender = sender->next) {
		if (sender->hash == hash && strcmp(sender->text, text) == 0) {
			sender->references++;
			return sender;
		}
	}
	size = strlen(text) + 1;
	sender = malloc(sizeof(*sender) + size);
	if (sender == NULL)
		return NULL;
	if (++index->sender_count > index->sender_buckets) {
		grow_senders(index);
		bucket = hash & (index->sender_buckets - 1);
	}
	memcpy(sender->text, text, size);
	sender->hash = hash;
	sender->references = 1;
	sender->next = index->senders[bucket];
	index->senders[bucket] = sender;
	return sender;
}

static void
drop_sender(struct index *index, struct sender *sender)
{
	struct sender **at;

	if (--sender->references > 0)
		return;
	at = &index->senders[sender->hash & (index->sender_buckets - 1)];
	while (*at != sender)
		at = &(*at)->next;
	*at = sender->next;
	index->sender_count--;
	free(sender);
}

static bool
append_order(struct index *index, struct message *message, uint32_t envelopes)
{
	struct place *order;
	size_t capacity;

	if (index->order_length == index->order_capacity) {
		capacity = index->order_capacity == 0
		    ? 1024
		    : index->order_capacity + index->order_capacity / 2;
		order = reallocarray(index->order, capacity, sizeof(*order));
		if (order == NULL)
			return false;
		index->order = order;
		index->order_capacity = capacity;
	}
	message->place = (uint32_t)index->order_length;
	index->order[index->order_length++] = (struct place){ index->next_number, message };
	index->next_number += envelopes == 0 ? 1 : envelopes;
	return true;
}

struct message *
index_add(struct index *index, const struct transaction *transaction,
    const struct location *location, bool is_large, uint32_t count)
{
	struct message *message, **bucket;

	message = calloc(1, sizeof(*message) + count * sizeof(struct entry));
	if (message == NULL)
		return NULL;
	message->sender = take_sender(index, &transaction->sender);
	if (message->sender == NULL || !append_order(index, message, count)) {
		if (message->sender != NULL)
			drop_sender(index, message->sender);
		free(message);
		return NULL;
	}
	message->id = transaction->message_id;
	message->created = (uint32_t)(transaction->created_us / 1000000);
	message->location = *location;
	message->is_large = is_large;
	message->is_bounce = transaction->is_bounce;
	message->count = message->left = count;
	for (uint32_t i = 0; i < count; i++)
		message->entries[i].index = i;
	if (++index->count > index->bucket_count)
		grow_buckets(index);
	bucket = bucket_of(index, message->id);
	message->next = *bucket;
	*bucket = message;
	return message;
}

/* The last place that begins at or before `number`; the first when none does. */
static size_t
find_place(const struct index *index, uint64_t number)
{
	size_t low = index->order_start, high = index->order_length, middle;

	while (high - low > 1) {
		middle = low + (high - low) / 2;
		if (index->order[middle].number <= number)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static void
close_gaps(struct index *index)
{
	size_t to = 0;

	for (size_t i = 0; i < index->order_length; i++) {
		if (index->order[i].message != NULL) {
			index->order[i].message->place = (uint32_t)to;
			index->order[to++] = index->order[i];
		}
	}
	index->order_length = to;
	index->order_start = 0;
}

void
index_remove(struct index *index, struct message *message)
{
	struct message **at = bucket_of(index, message->id);

	while (*at != message)
		at = &(*at)->next;
	*at = message->next;
	index->order[message->place].message = NULL;
	index->count--;
	drop_sender(index, message->sender);
	free(message);
	/* The usual case is a queue that is emptied from its old end, or wholly. */
	while (index->order_length > 0 && index->order[index->order_length - 1].message == NULL)
		index->order_length--;
	while (index->order_start < index->order_length &&
	    index->order[index->order_start].message == NULL)
		index->order_start++;
	if (index->order_start > index->order_length)
		index->order_start = index->order_length;
	if (index->order_length > 1024 && index->order_length > 2 * index->count)
		close_gaps(index);
}

struct message *
index_find(const struct index *index, uint32_t id)
{
	struct message *message;

	for (message = *bucket_of(index, id); message != NULL; message = message->next) {
		if (message->id == id)
			return message;
	}
	return NULL;
}

struct entry *
index_find_entry(const struct index *index, uint64_t envelope_id)
{
	struct message *message = index_find(index, envelope_id_message(envelope_id));
	uint32_t number = (uint32_t)envelope_id, i;

	if (message == NULL)
		return NULL;
	/* The first envelopes are numbered as they are placed, unless they were copied. */
	if (number - 1 < message->count && message->entries[number - 1].number == number)
		return message->entries[number - 1].state == ENTRY_DONE
		    ? NULL
		    : &message->entries[number - 1];
	for (i = 0; i < message->count; i++) {
		if (message->entries[i].number == number && message->entries[i].state != ENTRY_DONE)
			return &message->entries[i];
	}
	return NULL;
}

size_t
index_messages(const struct index *index)
{
	return index->count;
}

struct message *
entry_message(struct entry *entry)
{
	struct entry *first = entry - entry->index;

	return (struct message *)(void *)((char *)first - offsetof(struct message, entries));
}

uint64_t
entry_id(struct entry *entry)
{
	return envelope_id_make(entry_message(entry)->id, entry->number);
}

static struct message *
at_or_after(const struct index *index, size_t place)
{
	for (; place < index->order_length; place++) {
		if (index->order[place].message != NULL)
			return index->order[place].message;
	}
	return NULL;
}

uint64_t
index_number(const struct index *index, const struct message *message)
{
	return index->order[message->place].number;
}

uint64_t
index_end(const struct index *index)
{
	return index->next_number;
}

struct message *
index_from(const struct index *index, uint64_t number)
{
	struct message *message = at_or_after(index, find_place(index, number));

	if (message != NULL && index_number(index, message) + message->count <= number)
		message = index_next(index, message);
	return message;
}

struct message *
index_next(const struct index *index, const struct message *message)
{
	return at_or_after(index, (size_t)message->place + 1);
}
