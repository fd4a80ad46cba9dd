/* pread() may be interrupted before it has read any. */
#include <errno.h>
#include <unistd.h>

#include "common/read.h"

ssize_t
read_some_at(int fd, void *data, size_t size, off_t offset)
{
	ssize_t count;

	do
		count = pread(fd, data, size, offset);
	while (count == -1 && errno == EINTR);
	if (count == 0) {
		errno = EIO;
		return -1;
	}
	return count;
}
