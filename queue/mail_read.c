/*
 * The reading of queued mail: an envelope as it was recorded, with the entry's present state laid
 * over it, and a message's bytes. What is kept until the first delivery isn't read at all.
 */
#include <sys/mman.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/log.h"
#include "queue/mail.h"
#include "queue/relay_memory.h"
#include "queue/retry.h"

#define READ_SIZE (256 * 1024)

struct location
mail_update_location(const struct entry *entry)
{
	return (struct location){ entry->update_slot, entry->update_offset, entry->update_length };
}

void
mail_apply_entry(struct queue *queue, const struct entry *entry, struct envelope *envelope)
{
	struct location location = mail_update_location(entry);
	struct state state;

	if (location.offset != 0) {
		if (!journal_read_state(queue->journal, &location, &state))
			memset(&state, 0, sizeof(state));
		envelope->last_reply = state.reply;
		memcpy(envelope->last_host, state.host, sizeof(state.host));
	}
	envelope->tries = entry->tries;
	envelope->last_try = entry->last_try;
	envelope->next_try = retry_to_wall(entry->next_try);
	envelope->expires = retry_to_wall(entry->expires);
	envelope->delay_warned = entry->warned > 0;
	switch ((enum entry_state)entry->state) {
	case ENTRY_HELD:
		envelope->state = ENVELOPE_HELD;
		break;
	case ENTRY_INFLIGHT:
		envelope->state = ENVELOPE_INFLIGHT;
		break;
	case ENTRY_NEW:
	case ENTRY_WAITING:
	case ENTRY_READY:
	case ENTRY_BOUNCING:
	case ENTRY_DONE:
		envelope->state = ENVELOPE_PENDING;
		break;
	}
}

/* The same for one that stands in a line that is put off: what it waits for, and what was said to
 * those that were tried. */
static void
apply_line(const struct entry *entry, struct envelope *envelope)
{
	const struct reply *reply;
	const char *host;

	if (entry->line == NULL || entry->kind != ENVELOPE_RELAY ||
	    !destination_is_put_off(entry->line))
		return;
	if (entry->next_try < destination_until(entry->line))
		envelope->next_try = retry_to_wall(destination_until(entry->line));
	reply = destination_reply(entry->line, &host);
	if (envelope->last_reply.code != 0 || reply == NULL)
		return;
	envelope->last_reply = *reply;
	strlcpy(envelope->last_host, host, sizeof(envelope->last_host));
}

/* The head of the message's record: kept, or read into *allocated. */
static const uint8_t *
load_head(struct queue *queue, struct message *message, uint8_t **allocated, size_t *length)
{
	*allocated = NULL;
	if (message->first != NULL) {
		*length = message->first->length;
		return message->first->head;
	}
	*allocated = journal_read_head(queue->journal, &message->location, length);
	return *allocated;
}

bool
mail_load(struct queue *queue, struct entry *entry, struct transaction *transaction,
    struct envelope *envelope)
{
	struct message *message = entry_message(entry);
	struct message_head head;
	uint8_t *allocated;
	uint32_t warned;
	size_t length;
	const uint8_t *data = load_head(queue, message, &allocated, &length);
	bool ok = data != NULL && message_decode(data, length, &head) &&
	    message_decode_envelope(data, head.length, entry->offset, envelope, &warned) &&
	    envelope->id == entry_id(entry);

	if (ok) {
		*transaction = head.transaction;
		mail_apply_entry(queue, entry, envelope);
		apply_line(entry, envelope);
	} else
		log_error("spool: the record of message %08x can't be read any more; see `queue "
		          "check`",
		    message->id);
	free(allocated);
	return ok;
}

bool
mail_each(struct queue *queue, struct message *message,
    bool (*each)(void *arg, struct entry *, const struct transaction *, const struct envelope *),
    void *arg)
{
	struct message_head head;
	struct envelope envelope;
	uint8_t *allocated;
	uint32_t warned;
	size_t length;
	const uint8_t *data = load_head(queue, message, &allocated, &length);
	bool ok = data != NULL && message_decode(data, length, &head);

	for (uint32_t i = 0; ok && i < message->count; i++) {
		struct entry *entry = &message->entries[i];

		if (entry->state == ENTRY_DONE)
			continue;
		ok = message_decode_envelope(data, head.length, entry->offset, &envelope, &warned);
		if (!ok)
			break;
		mail_apply_entry(queue, entry, &envelope);
		apply_line(entry, &envelope);
		if (!each(arg, entry, &head.transaction, &envelope))
			break;
	}
	free(allocated);
	return ok;
}

bool
mail_load_each(struct queue *queue, struct message *message, struct entry *const *entries,
    size_t count,
    bool (*each)(void *arg, struct entry *, const struct transaction *, const struct envelope *),
    void *arg)
{
	struct message_head head;
	struct envelope envelope;
	uint8_t *allocated;
	uint32_t warned;
	size_t length;
	const uint8_t *data = load_head(queue, message, &allocated, &length);
	bool ok = data != NULL && message_decode(data, length, &head);

	for (size_t i = 0; ok && i < count; i++) {
		ok = message_decode_envelope(
		         data, head.length, entries[i]->offset, &envelope, &warned) &&
		    envelope.id == entry_id(entries[i]);
		if (!ok)
			break;
		mail_apply_entry(queue, entries[i], &envelope);
		if (!each(arg, entries[i], &head.transaction, &envelope))
			break;
	}
	free(allocated);
	return ok;
}

/* Where the bytes begin in the record. */
static bool
body_start(struct queue *queue, const struct message *message, uint32_t *start)
{
	uint8_t field[4];
	struct buf_reader reader;

	if (message->first != NULL) {
		*start = (uint32_t)message->first->length;
		return true;
	}
	if (!journal_read(queue->journal, &message->location, 0, field, sizeof(field)))
		return false;
	buf_reader_init(&reader, field, sizeof(field));
	*start = buf_get_u32(&reader);
	if (*start <= message->location.length)
		return true;
	errno = EIO;
	return false;
}

static bool
copy_body(struct queue *queue, const struct message *message, uint32_t start, int fd)
{
	uint32_t left = message->location.length - start, part;
	uint8_t *data = malloc(READ_SIZE);
	bool ok = data != NULL;

	while (ok && left > 0) {
		part = left < READ_SIZE ? left : READ_SIZE;
		ok = journal_read(queue->journal, &message->location, start, data, part) &&
		    write(fd, data, part) == (ssize_t)part;
		start += part;
		left -= part;
	}
	free(data);
	return ok;
}

int
mail_open(struct queue *queue, struct message *message, bool last_use)
{
	uint32_t start;
	int fd;

	if (message->is_large)
		return spool_large_open(&queue->spool, message->id);
	if (message->first != NULL && message->first->fd != -1) {
		if (!last_use)
			return fcntl(message->first->fd, F_DUPFD_CLOEXEC, 0);
		fd = message->first->fd;
		message->first->fd = -1;
		return fd;
	}
	if (!body_start(queue, message, &start))
		return -1;
	fd = memfd_create("message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd == -1)
		return -1;
	if (!copy_body(queue, message, start, fd) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) ==
	        -1) {
		if (errno == 0)
			errno = EIO;
		close(fd);
		return -1;
	}
	return fd;
}

ssize_t
mail_read(struct queue *queue, struct message *message, void *data, size_t size)
{
	uint32_t start;
	ssize_t length;
	int fd;

	if (message->is_large) {
		fd = spool_large_open(&queue->spool, message->id);
		if (fd == -1)
			return -1;
		length = pread(fd, data, size, 0);
		close(fd);
		return length;
	}
	if (!body_start(queue, message, &start))
		return -1;
	if (size > message->location.length - start)
		size = message->location.length - start;
	return journal_read(queue->journal, &message->location, start, data, size) ? (ssize_t)size
	                                                                           : -1;
}
