/*
 * What a reply or a redirection takes from its message and its script.
 */
#ifndef DELIVER_SCRIPT_TEXT_H
#define DELIVER_SCRIPT_TEXT_H

#include <stddef.h>

#include "common/address.h"

/* The first field of that name in a header, unfolded; allocated. NULL: there is none, it is empty or
 * longer than `most`, or there is no memory. */
char *script_field(const char *text, size_t length, const char *name, size_t most);
/* What stands for a message that has no id: its From, Date, Subject and To; allocated, NULL without
 * memory. */
char *script_header_key(const char *text, size_t length);
/* "Bob <bob@b.test>" as an address and a name; the address null when it is none. */
void script_author(const char *text, struct address *, char *name, size_t name_size);

#endif
