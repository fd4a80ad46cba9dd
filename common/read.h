/* Reading a file from some place on. */
#ifndef COMMON_READ_H
#define COMMON_READ_H

#include <sys/types.h>
#include <stddef.h>

/* What is at that offset, at most `size` bytes, of which there must be some: more than 0, or -1 with
 * errno, EIO where the file has ended. */
ssize_t read_some_at(int fd, void *data, size_t size, off_t offset)
    __attribute__((warn_unused_result));

#endif
