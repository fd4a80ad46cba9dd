/*
 * A journal on a spool of its own, with a small index that knows what should be there, and a disk
 * that fails when told to. The program that includes this has the calls below instead of libc's.
 */
#ifndef TEST_QUEUE_FIXTURE_H
#define TEST_QUEUE_FIXTURE_H

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/log.h"
#include "queue/journal.h"
#include "queue/segment.h"
#include "queue/spool.h"

#define SEGMENT  (1024 * 1024)
#define KNOWN    4096
#define BODY_MAX 200000

/* The disk. */

static struct {
	int sync_error;      /* errno of fdatasync(), 0 none */
	unsigned sync_after; /* syncs that still succeed */
	int write_error;
	int allocate_error;
	int64_t seconds_ahead; /* of the clocks */
	unsigned syncs;
	size_t written;    /* bytes */
	unsigned segments; /* that there is room for; 0: no end */
} disk;

static unsigned count_segments(void);

int
fdatasync(int fd)
{
	disk.syncs++;
	if (disk.sync_error != 0) {
		if (disk.sync_after == 0) {
			errno = disk.sync_error;
			return -1;
		}
		disk.sync_after--;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

ssize_t
pwrite(int fd, const void *data, size_t length, off_t offset)
{
	if (disk.write_error != 0) {
		errno = disk.write_error;
		return -1;
	}
	disk.written += length;
	return syscall(SYS_pwrite64, fd, data, length, offset);
}

int
posix_fallocate(int fd, off_t offset, off_t length)
{
	if (disk.allocate_error != 0)
		return disk.allocate_error;
	if (disk.segments != 0 && count_segments() > disk.segments)
		return ENOSPC;
	return syscall(SYS_fallocate, fd, 0, offset, length) == -1 ? errno : 0;
}

int
clock_gettime(clockid_t clock, struct timespec *time)
{
	int result = (int)syscall(SYS_clock_gettime, clock, time);

	time->tv_sec += disk.seconds_ahead;
	return result;
}

/* The index: messages of one envelope each. */

struct known {
	uint32_t id;
	bool queued;
	struct location location;
	uint32_t tries; /* the last update's */
	struct location update;
	uint8_t fill; /* the body: `length` times this byte */
	size_t length;
};

static struct {
	char path[64];
	struct spool spool;
	struct journal *journal;
	struct known known[KNOWN];
	size_t count;
	uint32_t staged[KNOWN]; /* messages of the batch in hand */
	size_t staged_count;
	bool files_fail; /* what the records tell of beside the journal */
	unsigned refused;
	unsigned committed;
	uint64_t segment_size;
	uint32_t uncopyable; /* a message whose copying forward fails */
} fixture;

/* Their files. */
static unsigned
count_segments(void)
{
	char name[128];
	struct dirent *entry;
	unsigned count = 0;
	DIR *directory;

	snprintf(name, sizeof(name), "%s/segments", fixture.path);
	directory = opendir(name);
	assert_non_null(directory);
	while ((entry = readdir(directory)) != NULL)
		count += *entry->d_name != '.';
	closedir(directory);
	return count;
}

static struct known *
find_known(uint32_t id)
{
	for (size_t i = 0; i < fixture.count; i++) {
		if (fixture.known[i].id == id)
			return &fixture.known[i];
	}
	return NULL;
}

static void
on_message(void *arg, const struct location *location, struct message_head *head)
{
	struct known *known = find_known(head->transaction.message_id);
	struct envelope envelope;
	uint32_t unused, i;

	(void)arg;
	for (i = 0; i < head->envelope_count; i++)
		assert_true(message_next_envelope(head, &envelope, &unused, &unused));
	if (known == NULL) {
		assert_true(fixture.count < KNOWN);
		known = &fixture.known[fixture.count++];
		memset(known, 0, sizeof(*known));
		known->id = head->transaction.message_id;
	}
	if (known->queued)
		journal_supersede(fixture.journal, &known->location);
	known->queued = true;
	known->location = *location;
	journal_hold(fixture.journal, location);
	known->tries = envelope.tries;
	known->length = head->transaction.size;
	memset(&known->update, 0, sizeof(known->update));
}

static void
on_state(void *arg, const struct state *state, const struct location *location)
{
	struct known *known = find_known(envelope_id_message(state->envelope_id));

	(void)arg;
	if (known == NULL || !known->queued)
		return;
	if (state->change == STATE_UPDATE) {
		known->tries = state->tries;
		known->update = *location;
	} else {
		known->queued = false;
		journal_drop(fixture.journal, &known->location);
	}
}

static bool
on_batch_files(void *arg, enum journal_head head)
{
	(void)arg;
	(void)head;
	return !fixture.files_fail;
}

static void
on_batch_done(void *arg, enum journal_head head, bool durable)
{
	(void)arg;
	if (head != JOURNAL_FIRST)
		return;
	for (size_t i = 0; i < fixture.staged_count; i++) {
		struct known *known = find_known(fixture.staged[i]);

		if (durable) {
			known->queued = true;
			journal_hold(fixture.journal, &known->location);
			fixture.committed++;
		} else
			fixture.refused++;
	}
	fixture.staged_count = 0;
}

static bool
same(const struct location *a, const struct location *b)
{
	return a->slot == b->slot && a->offset == b->offset && a->offset != 0;
}

static bool
on_survivor(void *arg, const struct location *location, struct message_head *head, struct buf *buf)
{
	struct known *known = find_known(head->transaction.message_id);
	struct envelope envelope;
	uint32_t unused;

	(void)arg;
	if (known == NULL || !known->queued || !same(&known->location, location))
		return false;
	assert_true(message_next_envelope(head, &envelope, &unused, &unused));
	envelope.tries = known->tries;
	message_encode_start(buf, &head->transaction, false, 1);
	message_encode_envelope(buf, &envelope, 0);
	message_encode_effects(buf, NULL, 0);
	message_encode_finish(buf);
	if (known->id == fixture.uncopyable)
		buf->failed = true;
	return true;
}

static void
on_message_moved(void *arg, uint32_t id, const struct location *from, const struct location *to,
    const uint8_t *data, size_t length)
{
	struct message_head head;
	struct known *known = find_known(id);

	(void)arg;
	assert_true(known->queued && same(&known->location, from));
	assert_true(message_decode(data, length, &head));
	assert_int_equal(head.transaction.message_id, id);
	journal_supersede(fixture.journal, from);
	journal_hold(fixture.journal, to);
	known->location = *to;
	memset(&known->update, 0, sizeof(known->update));
}

static bool
on_state_is_current(void *arg, const struct state *state, const struct location *location)
{
	struct known *known = find_known(envelope_id_message(state->envelope_id));

	(void)arg;
	return known != NULL && known->queued && same(&known->update, location);
}

static void
on_state_moved(void *arg, uint64_t id, const struct location *from, const struct location *to)
{
	struct known *known = find_known(envelope_id_message(id));

	(void)arg;
	if (known != NULL && known->queued && (from->offset == 0 || same(&known->update, from)))
		known->update = *to;
}

static void
on_unreadable(void *arg, uint32_t slot)
{
	(void)arg;
	for (size_t i = 0; i < fixture.count; i++) {
		struct known *known = &fixture.known[i];

		if (known->queued && known->location.slot == slot &&
		    journal_set_aside(fixture.journal, &known->location, known->id)) {
			known->queued = false;
			journal_drop(fixture.journal, &known->location);
		}
	}
}

static enum journal_open_result
try_open(void)
{
	struct journal_options options = { fixture.segment_size, 0 };
	struct journal_handler handler = { on_message, on_state, on_batch_files, on_batch_done,
		on_survivor, on_message_moved, on_state_is_current, on_state_moved, on_unreadable,
		NULL };
	enum journal_open_result result;

	memset(fixture.known, 0, sizeof(fixture.known));
	fixture.count = fixture.staged_count = 0;
	assert_int_equal(spool_open(&fixture.spool, fixture.path), SPOOL_OK);
	fixture.journal = NULL;
	result = journal_open(&fixture.journal, &fixture.spool, &options, &handler);
	if (result != JOURNAL_OPENED)
		spool_close(&fixture.spool);
	return result;
}

/* As if the process had been killed: nothing more is written. */
static void
crash(void)
{
	journal_close(fixture.journal);
	fixture.journal = NULL;
	spool_close(&fixture.spool);
}

static void
open_again(void)
{
	assert_int_equal(try_open(), JOURNAL_OPENED);
}

static void
put(uint32_t id, size_t length, enum journal_result expected)
{
	struct transaction transaction = {
		.message_id = id, .created_us = 1700000000000000, .size = length
	};
	struct envelope envelope = { .id = envelope_id_make(id, 1), .expires = 2000000000 };
	struct known *known;
	struct buf head;
	uint8_t *to;

	strcpy(transaction.sender.local, "sender");
	strcpy(transaction.sender.domain, "client.test");
	strcpy(envelope.rcpt.local, "alice");
	strcpy(envelope.rcpt.domain, "example.test");
	envelope.dest = envelope.rcpt;
	buf_init(&head, 65536);
	message_encode_start(&head, &transaction, false, 1);
	message_encode_envelope(&head, &envelope, 0);
	message_encode_effects(&head, NULL, 0);
	message_encode_finish(&head);
	assert_true(buf_ok(&head));
	assert_int_equal(
	    journal_begin(fixture.journal, JOURNAL_FIRST, head.length + length, false, &to),
	    expected);
	if (expected == JOURNAL_OK) {
		assert_true(fixture.count < KNOWN);
		assert_null(find_known(id));
		known = &fixture.known[fixture.count++];
		memset(known, 0, sizeof(*known));
		known->id = id;
		known->length = length;
		known->fill = (uint8_t)id;
		memcpy(to, head.data, head.length);
		memset(to + head.length, known->fill, length);
		journal_end(fixture.journal, JOURNAL_FIRST, RECORD_MESSAGE, head.length + length,
		    &known->location);
		fixture.staged[fixture.staged_count++] = id;
	}
	buf_free(&head);
}

static bool
commit(void)
{
	return journal_commit(fixture.journal, JOURNAL_FIRST);
}

static void
put_committed(uint32_t id, size_t length)
{
	put(id, length, JOURNAL_OK);
	assert_true(commit());
}

static void
change(uint32_t id, enum state_change what, uint32_t tries)
{
	struct known *known = find_known(id);
	struct state state = { .envelope_id = envelope_id_make(id, 1),
		.change = what,
		.tries = tries,
		.expires = 2000000000 };
	struct location location;

	assert_true(known != NULL && known->queued);
	state.target = journal_sequence(fixture.journal, known->location.slot);
	if (what == STATE_UPDATE)
		reply_set(&state.reply, 451, "4.3.0", "try %u", tries);
	journal_state(fixture.journal, JOURNAL_FIRST, &state, &location);
	if (what == STATE_UPDATE) {
		known->tries = tries;
		known->update = location;
	} else {
		known->queued = false;
		journal_drop(fixture.journal, &known->location);
	}
}

static void
done(uint32_t id)
{
	change(id, STATE_DELIVERED, 0);
}

static bool
is_queued(uint32_t id)
{
	struct known *known = find_known(id);

	return known != NULL && known->queued;
}

/* Reads the message back and compares every byte. */
static void
assert_intact(uint32_t id)
{
	struct known *known = find_known(id);
	static uint8_t body[BODY_MAX];
	struct message_head head;
	struct state state;
	uint8_t *data;
	size_t length, i;

	assert_non_null(known);
	assert_true(known->queued);
	data = journal_read_head(fixture.journal, &known->location, &length);
	assert_non_null(data);
	assert_true(message_decode(data, length, &head));
	assert_int_equal(head.transaction.message_id, id);
	assert_true(head.transaction.size <= sizeof(body));
	assert_true(journal_read(
	    fixture.journal, &known->location, (uint32_t)length, body, head.transaction.size));
	for (i = 0; i < head.transaction.size; i++)
		assert_int_equal(body[i], (uint8_t)id);
	free(data);
	if (known->update.offset != 0) {
		assert_true(journal_read_state(fixture.journal, &known->update, &state));
		assert_int_equal(state.tries, known->tries);
	}
}

/* What the queue does every second and between. */
__attribute__((unused)) static void
tick(void)
{
	journal_tick(fixture.journal);
	while (journal_prepare(fixture.journal))
		;
}

__attribute__((unused)) static void
reclaim_all(void)
{
	disk.seconds_ahead += 60;
	while (journal_reclaim(fixture.journal))
		;
}

static int
set_up(void **state)
{
	(void)state;
	memset(&disk, 0, sizeof(disk));
	memset(&fixture, 0, sizeof(fixture));
	fixture.segment_size = SEGMENT;
	/* Memory where there is some: these tests are about bytes, not about disks. */
	strcpy(fixture.path,
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm/test-queue-XXXXXX"
	                                  : "/tmp/test-queue-XXXXXX");
	if (mkdtemp(fixture.path) == NULL)
		return -1;
	log_open("test", LOG_TARGET_STDERR, open("/dev/null", O_WRONLY));
	open_again();
	return 0;
}

static int
tear_down(void **state)
{
	char command[128];

	(void)state;
	if (fixture.journal != NULL)
		crash();
	snprintf(command, sizeof(command), "rm -rf '%s'", fixture.path);
	return system(command);
}

#endif
