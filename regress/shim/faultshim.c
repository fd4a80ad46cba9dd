/*
 * Preloaded into the suite under test: counts, slows, cuts short and fails its calls. What to do
 * lies in a page of a file that the test and all processes share, named by POSTERN_FAULTS and
 *mapped before a process can enter its chroot; it may change at any time.
 *
 *	cc -shared -fPIC -O2 -o faultshim.so faultshim.c -ldl
 *
 * With -DFAULTS_MEMORY it takes malloc's place, too, which a sanitizer wants for itself.
 *
 * The page is little endian, 32-bit words: regress/e2e/faults.py writes it, and has its own list of
 * the kinds of calls, in the same order.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* To files: write, pwrite, writev and pwritev. */
enum kind {
	SYNC,
	WRITE,
	RENAME,
	ALLOCATE,
	TRUNCATE,
	LINK,
	UNLINK,
	OPEN,
	SOCKET,
	ACCEPT,
	MEMFD,
	MEMORY,
	KINDS
};

struct faults {
	char program[16];      /* whose calls; "" all */
	uint32_t syncs;        /* counted: fsync, fdatasync, syncfs */
	uint32_t sync_delay;   /* microseconds before each sync */
	uint32_t short_writes; /* 1: half of what is to be written is, once each */
	uint32_t shortened;    /* how many were */
	uint32_t seconds;      /* that the monotonic clock is ahead */
	struct {
		uint32_t error;  /* errno's value instead of the call; 0 none */
		uint32_t failed; /* how many were made to fail */
	} kinds[KINDS];
};

static struct faults *faults;

__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("POSTERN_FAULTS");
	int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
	void *page;

	if (fd == -1)
		return;
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (page != MAP_FAILED)
		faults = page;
}

static bool
is_meant(void)
{
	return faults != NULL &&
	    (faults->program[0] == '\0' ||
	        strncmp(faults->program, program_invocation_short_name, sizeof(faults->program)) ==
	            0);
}

/* True: the call fails with errno. */
static bool
fails(enum kind kind)
{
	uint32_t error;

	if (!is_meant() || (error = faults->kinds[kind].error) == 0)
		return false;
	__atomic_add_fetch(&faults->kinds[kind].failed, 1, __ATOMIC_RELAXED);
	errno = (int)error;
	return true;
}

/* Not pipes and sockets, nor the log. */
static bool
is_file(int fd)
{
	struct stat status;

	return fd > STDERR_FILENO && fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

static size_t
shorten(size_t length)
{
	if (length < 2 || !is_meant() || faults->short_writes == 0)
		return length;
	__atomic_add_fetch(&faults->shortened, 1, __ATOMIC_RELAXED);
	return length / 2;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Syncs. */

static bool
sync_fails(void)
{
	if (is_meant()) {
		__atomic_add_fetch(&faults->syncs, 1, __ATOMIC_RELAXED);
		if (faults->sync_delay != 0)
			usleep(faults->sync_delay);
	}
	return fails(SYNC);
}

int
fsync(int fd)
{
	return sync_fails() ? -1 : REAL(fsync)(fd);
}

int
fdatasync(int fd)
{
	return sync_fails() ? -1 : REAL(fdatasync)(fd);
}

int
syncfs(int fd)
{
	return sync_fails() ? -1 : REAL(syncfs)(fd);
}

/* Writes. */

ssize_t
write(int fd, const void *data, size_t length)
{
	if (!is_meant() || !is_file(fd))
		return REAL(write)(fd, data, length);
	return fails(WRITE) ? -1 : REAL(write)(fd, data, shorten(length));
}

ssize_t
pwrite(int fd, const void *data, size_t length, off_t offset)
{
	return fails(WRITE) ? -1 : REAL(pwrite)(fd, data, shorten(length), offset);
}

ssize_t
pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
	return fails(WRITE) ? -1 : REAL(pwrite64)(fd, data, shorten(length), offset);
}

ssize_t
writev(int fd, const struct iovec *vector, int count)
{
	if (!is_meant() || !is_file(fd))
		return REAL(writev)(fd, vector, count);
	if (fails(WRITE))
		return -1;
	if (count > 0 && shorten(vector->iov_len) < vector->iov_len)
		return REAL(write)(fd, vector->iov_base, vector->iov_len / 2);
	return REAL(writev)(fd, vector, count);
}

ssize_t
pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
	if (fails(WRITE))
		return -1;
	if (count > 0 && shorten(vector->iov_len) < vector->iov_len)
		return REAL(pwrite)(fd, vector->iov_base, vector->iov_len / 2, offset);
	return REAL(pwritev)(fd, vector, count, offset);
}

ssize_t
pwritev64(int fd, const struct iovec *vector, int count, off64_t offset)
{
	return pwritev(fd, vector, count, offset);
}

/* Names and sizes. */

int
rename(const char *from, const char *to)
{
	return fails(RENAME) ? -1 : REAL(rename)(from, to);
}

int
renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	return fails(RENAME) ? -1 : REAL(renameat)(from_fd, from, to_fd, to);
}

int
renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	return fails(RENAME) ? -1 : REAL(renameat2)(from_fd, from, to_fd, to, flags);
}

int
link(const char *from, const char *to)
{
	return fails(LINK) ? -1 : REAL(link)(from, to);
}

int
linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	return fails(LINK) ? -1 : REAL(linkat)(from_fd, from, to_fd, to, flags);
}

int
unlink(const char *path)
{
	return fails(UNLINK) ? -1 : REAL(unlink)(path);
}

int
unlinkat(int fd, const char *path, int flags)
{
	return fails(UNLINK) ? -1 : REAL(unlinkat)(fd, path, flags);
}

int
fallocate(int fd, int mode, off_t offset, off_t length)
{
	return fails(ALLOCATE) ? -1 : REAL(fallocate)(fd, mode, offset, length);
}

int
fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
	return fails(ALLOCATE) ? -1 : REAL(fallocate64)(fd, mode, offset, length);
}

/* These two return the error. */
int
posix_fallocate(int fd, off_t offset, off_t length)
{
	return fails(ALLOCATE) ? errno : REAL(posix_fallocate)(fd, offset, length);
}

int
posix_fallocate64(int fd, off64_t offset, off64_t length)
{
	return fails(ALLOCATE) ? errno : REAL(posix_fallocate64)(fd, offset, length);
}

int
ftruncate(int fd, off_t length)
{
	return fails(TRUNCATE) ? -1 : REAL(ftruncate)(fd, length);
}

int
ftruncate64(int fd, off64_t length)
{
	return fails(TRUNCATE) ? -1 : REAL(ftruncate64)(fd, length);
}

/* What takes a descriptor. */

static mode_t
mode_of(int flags, va_list arguments)
{
	return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE
	    ? va_arg(arguments, mode_t)
	    : 0;
}

/* The same for a large file: on 64-bit machines all are. */
#define OPEN_CALL(name)                                                  \
	int name(const char *path, int flags, ...)                       \
	{                                                                \
		va_list arguments;                                       \
		mode_t mode;                                             \
                                                                         \
		va_start(arguments, flags);                              \
		mode = mode_of(flags, arguments);                        \
		va_end(arguments);                                       \
		return fails(OPEN) ? -1 : REAL(name)(path, flags, mode); \
	}
#define OPENAT_CALL(name)                                                    \
	int name(int fd, const char *path, int flags, ...)                   \
	{                                                                    \
		va_list arguments;                                           \
		mode_t mode;                                                 \
                                                                             \
		va_start(arguments, flags);                                  \
		mode = mode_of(flags, arguments);                            \
		va_end(arguments);                                           \
		return fails(OPEN) ? -1 : REAL(name)(fd, path, flags, mode); \
	}
OPEN_CALL(open)
OPEN_CALL(open64)
OPENAT_CALL(openat)
OPENAT_CALL(openat64)

/* What a compiler makes of those whose flags it doesn't know. */
#define OPEN_2_CALL(name, real)                                    \
	int name(const char *path, int flags)                      \
	{                                                          \
		return fails(OPEN) ? -1 : REAL(real)(path, flags); \
	}
#define OPENAT_2_CALL(name, real)                                      \
	int name(int fd, const char *path, int flags)                  \
	{                                                              \
		return fails(OPEN) ? -1 : REAL(real)(fd, path, flags); \
	}
OPEN_2_CALL(__open_2, open)
OPEN_2_CALL(__open64_2, open64)
OPENAT_2_CALL(__openat_2, openat)
OPENAT_2_CALL(__openat64_2, openat64)

FILE *
fopen(const char *path, const char *mode)
{
	return fails(OPEN) ? NULL : REAL(fopen)(path, mode);
}

FILE *
fopen64(const char *path, const char *mode)
{
	return fails(OPEN) ? NULL : REAL(fopen64)(path, mode);
}

int
socket(int domain, int type, int protocol)
{
	return fails(SOCKET) ? -1 : REAL(socket)(domain, type, protocol);
}

int
socketpair(int domain, int type, int protocol, int ends[2])
{
	return fails(SOCKET) ? -1 : REAL(socketpair)(domain, type, protocol, ends);
}

int
pipe2(int ends[2], int flags)
{
	return fails(SOCKET) ? -1 : REAL(pipe2)(ends, flags);
}

int
accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	return fails(ACCEPT) ? -1 : REAL(accept4)(fd, address, length, flags);
}

int
memfd_create(const char *name, unsigned flags)
{
	return fails(MEMFD) ? -1 : REAL(memfd_create)(name, flags);
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = REAL(clock_gettime)(clock, now);

	if (result == 0 && is_meant() &&
	    (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE))
		now->tv_sec += faults->seconds;
	return result;
}

#ifdef FAULTS_MEMORY
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);

void *
malloc(size_t size)
{
	return fails(MEMORY) ? NULL : __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
	return fails(MEMORY) ? NULL : __libc_calloc(count, size);
}

void *
realloc(void *old, size_t size)
{
	return fails(MEMORY) ? NULL : __libc_realloc(old, size);
}

void *
reallocarray(void *old, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(old, bytes);
}
#endif
