/*
 * A descriptor's offset is shared by all who have it, so nothing here uses it to read.
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/memory_file.h"
#include "common/write.h"

int
memory_file_make(const char *name, const void *data, size_t length)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd != -1 &&
	    (!write_all(fd, data, length) ||
	        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) ==
	            -1)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

uint8_t *
memory_file_read(int fd, size_t limit, size_t *length)
{
	struct stat status;
	uint8_t *data;
	size_t size, done = 0;
	ssize_t count;

	if (fstat(fd, &status) == -1 || !S_ISREG(status.st_mode) || status.st_size < 0 ||
	    (uintmax_t)status.st_size > limit)
		return NULL;
	size = (size_t)status.st_size;
	data = malloc(size + 1);
	if (data == NULL)
		return NULL;
	while (done < size) {
		count = pread(fd, data + done, size - done, (off_t)done);
		if (count == -1 && errno == EINTR)
			continue;
		if (count <= 0)
			break;
		done += (size_t)count;
	}
	if (done < size) {
		explicit_bzero(data, done);
		free(data);
		return NULL;
	}
	data[size] = '\0';
	*length = size;
	return data;
}
