/*
 * Counts the calls that make the disk flush (sync_file_range(2) doesn't), of every process that it is preloaded into, and can
 * make each of them slow, as a disk with a slow cache is.
 *
 * The counter is a shared mapping of the file named by SYNC_COUNT in the environment, or of
 * /sync.count where a server clears its environment (it is then preloaded by /etc/ld.so.preload
 * in a root of its own). It is opened when the program starts, so before any chroot. Bytes 0-7
 * count; bytes 8-15 hold the microseconds to sleep after each.
 *
 *	cc -O2 -shared -fPIC -o syncshim.so syncshim.c -ldl
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

struct counter {
	uint64_t syncs;
	uint64_t delay_us;
};

static struct counter *counter;

__attribute__((constructor)) static void
attach(void)
{
	const char *path = getenv("SYNC_COUNT");
	void *page;
	int fd;

	fd = open(path != NULL ? path : "/sync.count", O_RDWR | O_CLOEXEC);
	if (fd == -1)
		return;
	page = mmap(NULL, sizeof(*counter), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (page != MAP_FAILED)
		counter = page;
}

static void
account(void)
{
	if (counter == NULL)
		return;
	__atomic_add_fetch(&counter->syncs, 1, __ATOMIC_RELAXED);
	if (counter->delay_us > 0)
		usleep((useconds_t)counter->delay_us);
}

#define COUNTED(name, parameters, arguments)                               \
	int name parameters;                                               \
	int name parameters                                                \
	{                                                                  \
		static int(*real) parameters;                              \
		int result;                                                \
                                                                           \
		if (real == NULL)                                          \
			real = (int(*) parameters)dlsym(RTLD_NEXT, #name); \
		result = real arguments;                                   \
		account();                                                 \
		return result;                                             \
	}

COUNTED(fsync, (int fd), (fd))
COUNTED(fdatasync, (int fd), (fd))
COUNTED(syncfs, (int fd), (fd))
COUNTED(msync, (void *start, size_t length, int flags), (start, length, flags))
