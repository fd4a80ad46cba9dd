/*
 * Files in memory that travel between processes as descriptors: sealed by who makes them, and read
 * into memory of one's own by who gets them.
 */
#ifndef COMMON_MEMORY_FILE_H
#define COMMON_MEMORY_FILE_H

#include <stddef.h>
#include <stdint.h>

/* A sealed memfd that holds these bytes; -1 with errno set. */
int memory_file_make(const char *name, const void *data, size_t length)
    __attribute__((warn_unused_result));
/* All of a file of at most `limit` bytes, in memory that the caller frees, with a NUL behind it
 * that isn't counted. NULL when it is longer, no file, or can't be read. Doesn't close `fd`. */
uint8_t *memory_file_read(int fd, size_t limit, size_t *length) __attribute__((warn_unused_result));

#endif
