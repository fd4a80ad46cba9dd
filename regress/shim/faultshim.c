/*
 * Preloaded into the suite under test: counts, slows and fails the calls that force data to disk,
 * and writes too. What to do lies in a page of a file that the test and all processes share, named
 * by POSTERN_FAULTS and mapped before a process can enter its chroot; it may change at any time.
 *
 *	cc -shared -fPIC -O2 -o faultshim.so faultshim.c -ldl
 *
 * The page is little endian, 32-bit words: regress/e2e/faults.py writes it.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/uio.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct faults {
	char program[16];     /* whose calls; "" all */
	uint32_t syncs;       /* counted: fsync, fdatasync, syncfs */
	uint32_t sync_error;  /* errno's value instead of syncing; 0 none */
	uint32_t sync_delay;  /* microseconds before each sync */
	uint32_t sync_failed; /* how many were made to fail */
	uint32_t write_error; /* the same for writes to files: pwrite, pwritev */
	uint32_t write_failed;
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

static int
is_meant(void)
{
	return faults != NULL &&
	    (faults->program[0] == '\0' ||
	        strncmp(faults->program, program_invocation_short_name, sizeof(faults->program)) ==
	            0);
}

/* 0: go on; otherwise errno is set. */
static int
before_sync(void)
{
	uint32_t error;

	if (!is_meant())
		return 0;
	__atomic_add_fetch(&faults->syncs, 1, __ATOMIC_RELAXED);
	if (faults->sync_delay != 0)
		usleep(faults->sync_delay);
	error = faults->sync_error;
	if (error != 0) {
		__atomic_add_fetch(&faults->sync_failed, 1, __ATOMIC_RELAXED);
		errno = (int)error;
	}
	return error != 0;
}

static int
before_write(void)
{
	uint32_t error;

	if (!is_meant() || (error = faults->write_error) == 0)
		return 0;
	__atomic_add_fetch(&faults->write_failed, 1, __ATOMIC_RELAXED);
	errno = (int)error;
	return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int
fsync(int fd)
{
	return before_sync() ? -1 : REAL(fsync)(fd);
}

int
fdatasync(int fd)
{
	return before_sync() ? -1 : REAL(fdatasync)(fd);
}

int
syncfs(int fd)
{
	return before_sync() ? -1 : REAL(syncfs)(fd);
}

ssize_t
pwrite(int fd, const void *data, size_t length, off_t offset)
{
	return before_write() ? -1 : REAL(pwrite)(fd, data, length, offset);
}

ssize_t
pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
	return before_write() ? -1 : REAL(pwritev)(fd, vector, count, offset);
}
