/*
 * In /tmp, whatever TMPDIR says: a name that isn't there can't be guessed or put there by another.
 */
#include <sys/mman.h>
#include <fcntl.h>
#include <unistd.h>

#include "smtpctl/temporary.h"

#define DISK_MAX   (1024 * 1024 * 1024)
#define MEMORY_MAX (256 * 1024 * 1024)

int
temporary_file(off_t *limit)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (limit != NULL)
		*limit = fd != -1 ? DISK_MAX : MEMORY_MAX;
	return fd != -1 ? fd : memfd_create("mail", MFD_CLOEXEC);
}
