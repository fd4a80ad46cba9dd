/* write() may take a part, or be interrupted before it has taken any. */
#include <errno.h>
#include <unistd.h>

#include "common/write.h"

bool
write_all(int fd, const void *data, size_t length)
{
	const char *at = data;
	ssize_t written;

	while (length > 0) {
		written = write(fd, at, length);
		if (written == -1 && errno == EINTR)
			continue;
		if (written == 0)
			errno = EIO;
		if (written <= 0)
			return false;
		at += written;
		length -= (size_t)written;
	}
	return true;
}
