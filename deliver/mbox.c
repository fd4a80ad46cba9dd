/*
 * The size at which a delivery began is where the file is cut off when it fails. Nobody else appends
 * meanwhile: whoever takes one of the two locks is kept out.
 *
 * Whether an earlier try's message is there is told by its mark, a field with the envelope's id,
 * which nobody could have known before. After a crash only its begin may be, at the end of the file,
 * or zeros where a file system had made the file longer before the data came. A mail reader may have
 * changed its fields. With any other difference it counts as not delivered: twice is better than half.
 */
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/write.h"
#include "deliver/failure.h"
#include "deliver/mbox.h"
#include "deliver/place.h"
#include "deliver/text.h"

#define STALE_SECONDS 300 /* liblockfile's */
#define SEARCHED      (1024UL * 1024 * 1024)
#define WRITER_SIZE   (64 * 1024)
#define HEAD_MAX      4096

static void
fail_locked(const struct mbox *mbox, struct reply *why)
{
	reply_set(why, 451, "4.2.1", "%.220s is locked by another program: tried again later",
	    mbox->path);
}

/* What the file must be for us to write to it. */
static bool
check_file(struct mbox *mbox, struct reply *why)
{
	struct stat st, directory;
	const char *what = NULL;

	if (fstat(mbox->file, &st) == -1 || fstat(mbox->directory, &directory) == -1) {
		failure_set(why, errno, "look at", mbox->path);
		return false;
	}
	if (!S_ISREG(st.st_mode))
		what = "is not a file";
	else if (st.st_uid != geteuid())
		what = "belongs to another user: change its owner";
	else if (st.st_nlink != 1)
		what = "has a second name (hard link): remove that";
	else if ((st.st_mode & (S_IWOTH | S_ISUID | S_ISGID | S_IXUSR | S_IXGRP | S_IXOTH)) != 0 ||
	    ((st.st_mode & S_IWGRP) != 0 && st.st_gid != directory.st_gid &&
	        st.st_gid != getegid()))
		what = "has a mode that no mailbox has: chmod 600";
	if (what == NULL)
		return true;
	reply_set(why, 451, "4.2.0", "%.220s %s", mbox->path, what);
	return false;
}

static bool
identify(struct mbox *mbox, struct reply *why)
{
	struct statx st;

	if (statx(mbox->file, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) == -1) {
		failure_set(why, errno, "look at", mbox->path);
		return false;
	}
	mbox->identity.device = makedev(st.stx_dev_major, st.stx_dev_minor);
	mbox->identity.inode = st.stx_ino;
	mbox->identity.born_ns = (st.stx_mask & STATX_BTIME) == 0
	    ? 0
	    : st.stx_btime.tv_sec * 1000000000LL + st.stx_btime.tv_nsec;
	mbox->size = st.stx_size;
	mbox->is_new = mbox->is_new || mbox->size == 0;
	return true;
}

/* False with errno: EAGAIN when it was locked until then. */
static bool
lock_file(int file, int64_t until)
{
	const struct timespec pause = { .tv_nsec = 5 * 1000 * 1000 };
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	while (fcntl(file, F_OFD_SETLK, &lock) == -1) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN && errno != EACCES)
			return false;
		if (clock_monotonic_ms() >= until) {
			errno = EAGAIN;
			return false;
		}
		nanosleep(&pause, NULL);
	}
	return true;
}

static bool
lock_name(struct mbox *mbox, int64_t until, struct reply *why)
{
	char name[LOCK_NAME_MAX + 8], host[256] = "localhost";
	int64_t left = until - clock_monotonic_ms();

	(void)gethostname(host, sizeof(host) - 1);
	snprintf(name, sizeof(name), "%s.lock", mbox->name);
	if (lock_take_within(&mbox->lock, mbox->directory, name, host, STALE_SECONDS,
	        left > 0 ? (unsigned)left : 0))
		return true;
	if (errno == EBUSY)
		fail_locked(mbox, why);
	else if (errno == EACCES)
		reply_set(why, 451, "4.3.0",
		    "%.200s.lock can't be made: the directory must be writable for the user, or "
		    "for the group mail in /var/mail",
		    mbox->path);
	else
		failure_set(why, errno, "lock", mbox->path);
	return false;
}

static void
unlock(struct mbox *mbox)
{
	lock_drop(&mbox->lock);
	if (mbox->file != -1)
		close(mbox->file);
	mbox->file = -1;
}

/* False with the reason. */
static bool
open_file(struct mbox *mbox, struct reply *why)
{
	const int flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

	mbox->is_new = false;
	mbox->file = openat(mbox->directory, mbox->name, flags);
	if (mbox->file == -1 && errno == ENOENT) {
		mbox->is_new = true;
		mbox->file = openat(mbox->directory, mbox->name, flags | O_CREAT | O_EXCL, 0600);
		if (mbox->file == -1 && errno == EEXIST)
			mbox->file = openat(mbox->directory, mbox->name, flags);
	}
	if (mbox->file == -1) {
		failure_set(why, errno, "open", mbox->path);
		return false;
	}
	return check_file(mbox, why);
}

/* The file that was locked is still the one of that name: readers replace or remove it. */
static bool
is_still_there(const struct mbox *mbox)
{
	struct stat named, opened;

	return fstatat(mbox->directory, mbox->name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	    fstat(mbox->file, &opened) == 0 && named.st_dev == opened.st_dev &&
	    named.st_ino == opened.st_ino;
}

static bool
open_locked(struct mbox *mbox, struct reply *why)
{
	int64_t until = clock_monotonic_ms() + MBOX_WAIT_MS;

	for (;;) {
		if (!open_file(mbox, why))
			return false;
		if (!lock_file(mbox->file, until)) {
			if (errno == EAGAIN)
				fail_locked(mbox, why);
			else
				failure_set(why, errno, "lock", mbox->path);
			return false;
		}
		if (!lock_name(mbox, until, why))
			return false;
		if (is_still_there(mbox))
			return check_file(mbox, why) && identify(mbox, why);
		unlock(mbox);
		if (clock_monotonic_ms() >= until) {
			fail_locked(mbox, why);
			return false;
		}
	}
}

static bool
open_directory(struct mbox *mbox, const struct ipc_mailbox *mailbox, const char *mail_directory,
    struct reply *why)
{
	char directory[PATH_TEXT_MAX + 1];
	struct path_walk walk;

	place_above(mailbox->path, directory);
	if (!place_walk(mailbox, directory, mail_directory, directory, true, &walk, why))
		return false;
	mbox->directory = openat(walk.fds[walk.count - 1], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mbox->directory == -1)
		failure_set(why, errno, "open", directory);
	path_walk_close(&walk);
	return mbox->directory != -1;
}

bool
mbox_open(struct mbox *mbox, const struct ipc_mailbox *mailbox, const char *mail_directory,
    struct reply *why)
{
	const char *name = strrchr(mailbox->path, '/');

	memset(mbox, 0, sizeof(*mbox));
	mbox->path = mailbox->path;
	mbox->directory = mbox->file = mbox->lock.directory = -1;
	if (name == NULL || name[1] == '\0' || strlen(name + 1) > LOCK_NAME_MAX - 5) {
		reply_set(why, 451, "4.3.5", "%.220s is no file's path: check the configuration",
		    mailbox->path);
		return false;
	}
	strlcpy(mbox->name, name + 1, sizeof(mbox->name));
	if (open_directory(mbox, mailbox, mail_directory, why) && open_locked(mbox, why))
		return true;
	mbox_close(mbox);
	return false;
}

void
mbox_close(struct mbox *mbox)
{
	unlock(mbox);
	if (mbox->directory != -1)
		close(mbox->directory);
	mbox->directory = -1;
}

/* Comparing what is there with what should be, which is also measured. */
struct comparison {
	const struct mbox *mbox;
	uint64_t offset; /* of what is there */
	bool differs;    /* first at `offset` */
	uint64_t length; /* of what should be */
	uint64_t body;   /* where its body begins; 0: not yet seen */
	bool body_only;
	uint8_t last;
};

/* Where in `data` the body begins, the empty line before it included; `length` when not here. */
static size_t
find_body(struct comparison *comparison, const uint8_t *data, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (data[i] == '\n' && comparison->last == '\n')
			return i;
		comparison->last = data[i];
	}
	return length;
}

/* Stops at the first difference. False with errno when the file can't be read. */
static bool
compare_bytes(struct comparison *comparison, const uint8_t *wanted, size_t length)
{
	uint8_t there[8192];

	while (length > 0 && !comparison->differs) {
		size_t size = length < sizeof(there) ? length : sizeof(there), same = 0;
		ssize_t got = pread(comparison->mbox->file, there, size, (off_t)comparison->offset);

		if (got == -1)
			return false;
		while (same < (size_t)got && there[same] == wanted[same])
			same++;
		comparison->offset += same;
		wanted += same;
		length -= same;
		comparison->differs = got == 0 || same < (size_t)got;
	}
	return true;
}

static bool
compare(const void *data, size_t length, void *arg)
{
	struct comparison *comparison = arg;
	const uint8_t *bytes = data;
	size_t header = comparison->body != 0 ? 0 : find_body(comparison, bytes, length);

	if (comparison->body == 0 && header < length)
		comparison->body = comparison->length + header;
	comparison->length += length;
	if (!comparison->body_only)
		return compare_bytes(comparison, bytes, length);
	return header == length || compare_bytes(comparison, bytes + header, length - header);
}

/* 1: nothing but zeros from there to the file's end, or nothing; 0: other things; -1 with errno. */
static int
ends_in_zeros(const struct mbox *mbox, uint64_t offset)
{
	uint8_t bytes[8192];
	ssize_t got;

	while ((got = pread(mbox->file, bytes, sizeof(bytes), (off_t)offset)) > 0) {
		for (ssize_t i = 0; i < got; i++) {
			if (bytes[i] != 0)
				return 0;
		}
		offset += (uint64_t)got;
	}
	return got == -1 ? -1 : 1;
}

/* Where the message that holds `offset` ends: before the next line "From ", or at the file's end. */
static bool
find_end(const struct mbox *mbox, uint64_t offset, uint64_t *end)
{
	static const char from[] = "\n\nFrom ";
	uint8_t bytes[8192];
	const uint8_t *found;
	ssize_t got;

	while ((got = pread(mbox->file, bytes, sizeof(bytes), (off_t)offset)) > 0) {
		found = memmem(bytes, (size_t)got, from, sizeof(from) - 1);
		if (found != NULL) {
			*end = offset + (uint64_t)(found - bytes) + 2;
			return true;
		}
		offset +=
		    (size_t)got < sizeof(from) ? (uint64_t)got : (uint64_t)got - (sizeof(from) - 2);
	}
	*end = mbox->size;
	return got == 0;
}

/* A mail reader changes fields (Status, X-Keywords), not the body. */
static bool
judge_changed(struct mbox *mbox, struct mbox_wanted *wanted, uint64_t marked,
    const struct comparison *first, uint8_t *chunk)
{
	struct comparison comparison = { .mbox = mbox, .body_only = true };
	uint64_t end, body = first->length - first->body;

	if (!find_end(mbox, marked, &end))
		return false;
	if (first->body == 0 || end < marked + body)
		return true;
	comparison.offset = end - body;
	if (!mbox_text(wanted->request, wanted->message, chunk, compare, &comparison))
		return false;
	if (!comparison.differs)
		wanted->found = MBOX_WHOLE;
	return true;
}

/* The mark is at `marked`: what is there of the message? False with errno. */
static bool
judge(struct mbox *mbox, struct mbox_wanted *wanted, uint64_t marked, uint8_t *chunk)
{
	struct comparison comparison = { .mbox = mbox };
	struct buf head;
	uint64_t before = 0;
	char *at;
	int zeros = 0;

	buf_init(&head, HEAD_MAX);
	mbox_head(wanted->request, &head);
	buf_add_u8(&head, '\0');
	at = buf_ok(&head) ? strstr((char *)head.data, "\n" MBOX_MARK) : NULL;
	if (at != NULL)
		before = (uint64_t)(at + 1 - (char *)head.data);
	buf_free(&head);
	if (before == 0) {
		errno = ENOMEM;
		return false;
	}
	comparison.differs = before > marked; /* its first lines were changed */
	comparison.offset = comparison.differs ? marked : marked - before;
	wanted->offset = comparison.offset;
	if (!mbox_text(wanted->request, wanted->message, chunk, compare, &comparison))
		return false;
	if (!comparison.differs) {
		wanted->found = MBOX_WHOLE;
		return true;
	}
	/* Only what is ours from its first byte on can be cut off. */
	if (comparison.offset > marked)
		zeros = ends_in_zeros(mbox, comparison.offset);
	if (zeros == 1) {
		wanted->found = MBOX_TORN;
		return true;
	}
	return zeros != -1 && judge_changed(mbox, wanted, marked, &comparison, chunk);
}

static bool
look_at_mark(struct mbox *mbox, struct mbox_wanted *wanted, size_t count, const uint8_t *text,
    size_t length, uint64_t marked, uint8_t *chunk)
{
	char mark[MBOX_MARK_SIZE];

	for (size_t i = 0; i < count; i++) {
		size_t size;

		mbox_mark(wanted[i].request, mark);
		size = strlen(mark);
		if (wanted[i].found == MBOX_ABSENT && length > size &&
		    memcmp(text, mark, size) == 0 && text[size] == '\n' &&
		    !judge(mbox, &wanted[i], marked, chunk))
			return false;
	}
	return true;
}

bool
mbox_find(struct mbox *mbox, struct mbox_wanted *wanted, size_t count, uint8_t *chunk)
{
	const char prefix[] = "\n" MBOX_MARK;
	const size_t prefix_length = sizeof(prefix) - 1, overlap = prefix_length + MBOX_MARK_SIZE;
	uint64_t offset = mbox->size > SEARCHED ? mbox->size - SEARCHED : 0;
	size_t kept = 0;
	uint8_t *bytes = malloc(TEXT_CHUNK);
	ssize_t got = -1;

	for (size_t i = 0; i < count; i++)
		wanted[i].found = MBOX_ABSENT;
	while (bytes != NULL &&
	    (got = pread(
	         mbox->file, bytes + kept, TEXT_CHUNK - kept, (off_t)offset + (off_t)kept)) > 0) {
		size_t length = kept + (size_t)got, at = 0;
		const uint8_t *found;

		while ((found = memmem(bytes + at, length - at, prefix, prefix_length)) != NULL) {
			at = (size_t)(found - bytes) + 1;
			if (!look_at_mark(mbox, wanted, count, found + prefix_length,
			        length - at + 1 - prefix_length, offset + at, chunk)) {
				got = -1;
				goto out;
			}
		}
		/* A mark that is cut off is looked at again; one seen twice is found once. */
		kept = length < overlap ? length : overlap;
		memmove(bytes, bytes + length - kept, kept);
		offset += length - kept;
	}
out:
	free(bytes);
	return got == 0;
}

struct writer {
	int file;
	uint8_t *buffer;
	size_t used;
	uint64_t written;
};

static bool
writer_flush(struct writer *writer)
{
	size_t used = writer->used;

	writer->used = 0;
	writer->written += used;
	return write_all(writer->file, writer->buffer, used);
}

static bool
writer_sink(const void *data, size_t length, void *arg)
{
	struct writer *writer = arg;

	if (length > WRITER_SIZE - writer->used && !writer_flush(writer))
		return false;
	if (length > WRITER_SIZE) {
		writer->written += length;
		return write_all(writer->file, data, length);
	}
	memcpy(writer->buffer + writer->used, data, length);
	writer->used += length;
	return true;
}

/* What another program left at the end mustn't run into our line "From ". */
static bool
separate(struct mbox *mbox, struct writer *writer)
{
	char end[2] = "\n\n";
	size_t length = mbox->size < 2 ? (size_t)mbox->size : 2;

	if (length > 0 &&
	    pread(mbox->file, end + 2 - length, length, (off_t)mbox->size - (off_t)length) !=
	        (ssize_t)length)
		return false;
	if (end[1] != '\n')
		return writer_sink("\n\n", 2, writer);
	return end[0] == '\n' || writer_sink("\n", 1, writer);
}

bool
mbox_append(struct mbox *mbox, const struct ipc_deliver *request, int message, uint8_t *chunk)
{
	struct writer writer = { .file = mbox->file, .buffer = malloc(WRITER_SIZE) };
	bool good;
	int error;

	if (writer.buffer == NULL || mbox->broken) {
		free(writer.buffer);
		errno = mbox->broken ? EIO : ENOMEM;
		return false;
	}
	good = separate(mbox, &writer) &&
	    mbox_text(request, message, chunk, writer_sink, &writer) && writer_flush(&writer);
	error = errno;
	free(writer.buffer);
	if (good)
		mbox->size += writer.written;
	else
		(void)mbox_cut(mbox, mbox->size);
	errno = error;
	return good;
}

bool
mbox_cut(struct mbox *mbox, uint64_t size)
{
	mbox->size = size;
	if (ftruncate(mbox->file, (off_t)size) == 0)
		return true;
	log_error("%s: what was not delivered can't be removed from its end: %m", mbox->path);
	mbox->broken = true;
	return false;
}

bool
mbox_sync(struct mbox *mbox)
{
	return fdatasync(mbox->file) == 0 && (!mbox->is_new || fsync(mbox->directory) == 0);
}
