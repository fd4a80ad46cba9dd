/*
 * The fields of a message's header, and what programs want to know of them.
 */
#ifndef COMMON_HEADER_H
#define COMMON_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"

#define HEADER_FIELD_MAX 1000          /* bytes of a field that are looked at */
#define HEADER_READ_MAX  (1024 * 1024) /* and of the header */

/* The name without its colon, and the value on one line without blanks at its ends. False: enough. */
typedef bool (*header_field_fn)(const char *name, const char *value, void *arg);

/* The fields of the `length` bytes of a file in order, until the header ends, or what should be a field is
 * none. A field that is longer is cut. What can't be read counts as the end. */
void header_read(int fd, uint64_t length, header_field_fn, void *arg);

/* There is a Delivered-To with that address: the message has been there before. */
bool header_was_delivered_to(int fd, uint64_t length, const struct address *);
/*
 * No person sent it: nothing may be answered to it by itself (RFC 3834 2). It says so by
 * Auto-Submitted, or it is a list's (List-Id and its kin, Precedence). `text` begins with the header.
 */
bool header_is_automatic(const void *text, size_t length);

#endif
