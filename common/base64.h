/*
 * Base64 (RFC 4648 4), strictly: no line ends, no bytes outside the alphabet, padding only at the
 * end and complete, and no bits left over that aren't zero: one text for one value.
 */
#ifndef COMMON_BASE64_H
#define COMMON_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the text, without a NUL. */
#define BASE64_LENGTH(bytes) (((bytes) + 2) / 3 * 4)

/* Decodes into at most `size` bytes; false when it isn't base64 or doesn't fit. */
bool base64_decode(const char *text, size_t length, void *bytes, size_t size, size_t *decoded)
    __attribute__((warn_unused_result));
/* Writes BASE64_LENGTH(length) characters and a NUL. */
void base64_encode(const void *bytes, size_t length, char *text);

#endif
