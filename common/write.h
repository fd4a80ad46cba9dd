/* Writing all of it. */
#ifndef COMMON_WRITE_H
#define COMMON_WRITE_H

#include <stdbool.h>
#include <stddef.h>

/* To a descriptor that blocks. False, with errno set, when not all could be written. */
bool write_all(int fd, const void *data, size_t length) __attribute__((warn_unused_result));

#endif
