/*
 * Preloaded into the suite under test: stops a process at a chosen point of its work until the
 * harness has taken its picture of the disk. So a cut is known to fall inside that work, not hoped
 * to.
 *
 * The page named by POSTERN_CUT is shared by the harness and all processes, and mapped before a
 * process can enter its chroot. The harness writes `skip`, then `aim`: a point, and above it a
 * number that no other aim has. The process that comes to that point (after having let `skip` pass)
 * copies the aim to `held` and waits there until the aim is another. So one that comes too late is
 * never taken for one at the next aim. What a point is, is seen from the calls alone:
 *
 *	queue      a write of a segment's header, free or in use again; of a batch to a segment
 *	           of the second generation; of a batch that holds a DSN; the sync after each
 *	           A large message's file: made, synced, its name synced, removed
 *	listener   a write to a large message's file
 *	mda        the sync of a large message in tmp/; a rename, and the sync after it; a write to
 *	           an mbox file, and its sync
 *	directory  a write and the sync after it, and a write of a table's page
 *
 * powercut.py has the same list, in this order.
 *
 *	cc -shared -fPIC -O2 -o cutshim.so cutshim.c -ldl
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum point {
	NOWHERE,
	RELEASE_WRITTEN,
	RELEASE_SYNCED,
	REUSE_WRITTEN,
	REUSE_SYNCED,
	COPY_WRITTEN,
	COPY_SYNCED,
	COPY_RELEASE,
	LARGE_MADE,
	LARGE_WRITING,
	LARGE_WRITTEN,
	LARGE_DATA_SYNCED,
	LARGE_NAME_SYNCED,
	LARGE_IN_TMP,
	LARGE_DONE,
	LARGE_REMOVED,
	RENAME_BEFORE,
	RENAME_DONE,
	RENAME_SYNCED,
	ACCOUNTS_WRITTEN,
	ACCOUNTS_SYNCED,
	ACCOUNTS_PAGE,
	DSN_BUILT,
	DSN_WRITTEN,
	DSN_SYNCED,
	BOX_WRITING,
	BOX_WRITTEN,
	BOX_SYNCED,
};

/* 32-bit words, little endian: powercut.py writes them. */
struct page {
	uint32_t aim;
	uint32_t skip;
	uint32_t held;
};

#define POINT_MASK 255
#define FILES_MAX  1024
#define LARGE_SIZE (1024 * 1024)
#define DSN_MARK   "report-type=delivery-status"
#define USE_FREE   0
#define USE_FIRST  1
#define USE_SECOND 2

static struct page *page;
static bool is_queue, is_listener, is_mda, is_directory;
static uint8_t use_of[FILES_MAX]; /* of a segment, by descriptor */
static uint32_t written;          /* points whose write waits for its sync, as bits */
static bool copied;               /* and nothing was released since */
static bool large_synced;

__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("POSTERN_CUT"), *name = program_invocation_short_name;
	int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
	void *at;

	if (fd == -1)
		return;
	at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at == MAP_FAILED)
		return;
	page = at;
	is_queue = strcmp(name, "queue") == 0;
	is_listener = strcmp(name, "listener") == 0;
	is_mda = strcmp(name, "mda") == 0;
	is_directory = strcmp(name, "directory") == 0;
}

static void
pass(enum point point)
{
	uint32_t aim = __atomic_load_n(&page->aim, __ATOMIC_SEQ_CST), nobody = 0, mine = aim;

	if ((aim & POINT_MASK) != point)
		return;
	if (__atomic_load_n(&page->skip, __ATOMIC_SEQ_CST) > 0) {
		__atomic_sub_fetch(&page->skip, 1, __ATOMIC_SEQ_CST);
		return;
	}
	if (!__atomic_compare_exchange_n(
	        &page->held, &nobody, aim, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return;
	while (__atomic_load_n(&page->aim, __ATOMIC_SEQ_CST) == aim)
		usleep(100);
	__atomic_compare_exchange_n(
	    &page->held, &mine, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void
note(enum point point)
{
	written |= 1U << point;
}

/* The queue is about to write to a segment: what this is, is noted for its sync. */
static void
look_at_batch(int fd, const struct iovec *vector, int count, off_t offset)
{
	const uint8_t *data = count > 0 ? vector[0].iov_base : NULL;
	uint8_t before[16];
	int i;

	if (fd < 0 || fd >= FILES_MAX || data == NULL)
		return;
	if (offset == 0 && vector[0].iov_len >= 16 && memcmp(data, "POSTERNJ", 8) == 0) {
		use_of[fd] = data[12];
		if (use_of[fd] == USE_FREE) {
			if (copied)
				pass(COPY_RELEASE);
			copied = false;
			note(RELEASE_WRITTEN);
		} else if (pread(fd, before, sizeof(before), 0) == sizeof(before) &&
		    memcmp(before, "POSTERNJ", 8) == 0)
			note(REUSE_WRITTEN);
	}
	if (use_of[fd] == USE_SECOND)
		note(COPY_WRITTEN);
	for (i = 0; i < count && use_of[fd] == USE_FIRST; i++) {
		if (memmem(vector[i].iov_base, vector[i].iov_len, DSN_MARK, strlen(DSN_MARK)) !=
		    NULL) {
			pass(DSN_BUILT);
			note(DSN_WRITTEN);
			break;
		}
	}
}

static const struct {
	enum point before;
	enum point after;
} syncs[] = {
	{ RELEASE_WRITTEN, RELEASE_SYNCED },
	{ REUSE_WRITTEN, REUSE_SYNCED },
	{ COPY_WRITTEN, COPY_SYNCED },
	{ LARGE_WRITTEN, LARGE_DATA_SYNCED },
	{ RENAME_DONE, RENAME_SYNCED },
	{ ACCOUNTS_WRITTEN, ACCOUNTS_SYNCED },
	{ DSN_WRITTEN, DSN_SYNCED },
	{ BOX_WRITTEN, BOX_SYNCED },
};

static bool
is_kind(int fd, mode_t kind)
{
	struct stat status;

	return fstat(fd, &status) == 0 && (status.st_mode & S_IFMT) == kind && status.st_nlink > 0;
}

static bool
is_read_only(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags != -1 && (flags & O_ACCMODE) == O_RDONLY;
}

/* The log is written to only. */
static bool
is_mbox(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags != -1 && (flags & (O_ACCMODE | O_APPEND)) == (O_RDWR | O_APPEND) &&
	    is_kind(fd, S_IFREG);
}

static bool
is_large(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > LARGE_SIZE;
}

static int
sync_with(int (*real)(int), int fd)
{
	uint32_t done = 0;
	bool large_name = false;
	int result;
	size_t i;

	if (page == NULL)
		return real(fd);
	if (is_queue && is_read_only(fd)) {
		/* Segments are written through descriptors of their own. */
		if (is_kind(fd, S_IFREG))
			done = 1U << LARGE_WRITTEN;
		else
			large_name = large_synced;
		large_synced = done != 0;
	} else {
		done = written;
		written = 0;
		if (is_mda && done == 0 && is_large(fd))
			pass(LARGE_IN_TMP);
	}
	for (i = 0; i < sizeof(syncs) / sizeof(syncs[0]); i++) {
		if (done & 1U << syncs[i].before)
			pass(syncs[i].before);
	}
	result = real(fd);
	for (i = 0; i < sizeof(syncs) / sizeof(syncs[0]); i++) {
		if (done & 1U << syncs[i].before)
			pass(syncs[i].after);
	}
	if (done & 1U << COPY_WRITTEN)
		copied = true;
	if (large_name)
		pass(LARGE_NAME_SYNCED);
	return result;
}

int
fsync(int fd)
{
	return sync_with(REAL(fsync), fd);
}

int
fdatasync(int fd)
{
	return sync_with(REAL(fdatasync), fd);
}

int
syncfs(int fd)
{
	return sync_with(REAL(syncfs), fd);
}

static void
before_write(int fd, const struct iovec *vector, int count, off_t offset)
{
	if (page == NULL)
		return;
	if (is_queue)
		look_at_batch(fd, vector, count, offset);
	else if (is_directory) {
		if (!(written & 1U << ACCOUNTS_WRITTEN))
			pass(ACCOUNTS_PAGE);
	} else if (is_listener && is_kind(fd, S_IFREG))
		pass(LARGE_WRITING);
}

ssize_t
pwrite(int fd, const void *data, size_t length, off_t offset)
{
	struct iovec one = { (void *)(uintptr_t)data, length };

	before_write(fd, &one, 1, offset);
	return REAL(pwrite)(fd, data, length, offset);
}

ssize_t
pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
	before_write(fd, vector, count, offset);
	return REAL(pwritev)(fd, vector, count, offset);
}

ssize_t
write(int fd, const void *data, size_t length)
{
	if (page != NULL && is_directory && is_kind(fd, S_IFREG))
		note(ACCOUNTS_WRITTEN);
	if (page != NULL && is_listener && is_kind(fd, S_IFREG))
		pass(LARGE_WRITING);
	if (page != NULL && is_mda && is_mbox(fd)) {
		note(BOX_WRITTEN);
		pass(BOX_WRITING);
	}
	return REAL(write)(fd, data, length);
}

/* A large message's file, which alone the queue makes to be written only. */
int
openat(int directory, const char *name, int flags, ...)
{
	__builtin_va_list arguments;
	mode_t mode = 0;
	int fd;

	if (flags & (O_CREAT | __O_TMPFILE)) {
		__builtin_va_start(arguments, flags);
		mode = __builtin_va_arg(arguments, mode_t);
		__builtin_va_end(arguments);
	}
	fd = REAL(openat)(directory, name, flags, mode);
	if (page != NULL && is_queue && fd != -1 && (flags & O_CREAT) &&
	    (flags & O_ACCMODE) == O_WRONLY && strlen(name) == 8)
		pass(LARGE_MADE);
	return fd;
}

int
unlinkat(int directory, const char *name, int flags)
{
	bool is_message = page != NULL && is_queue && strlen(name) == 8;
	int result;

	if (is_message)
		pass(LARGE_DONE);
	result = REAL(unlinkat)(directory, name, flags);
	if (is_message)
		pass(LARGE_REMOVED);
	return result;
}

int
renameat2(int from, const char *name, int to, const char *target, unsigned flags)
{
	size_t length = strlen(target);
	int result;

	if (page == NULL || !is_mda || (length > 5 && strcmp(target + length - 5, ".lock") == 0))
		return REAL(renameat2)(from, name, to, target, flags);
	pass(RENAME_BEFORE);
	result = REAL(renameat2)(from, name, to, target, flags);
	note(RENAME_DONE);
	return result;
}
