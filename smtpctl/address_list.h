/*
 * Lists of mailboxes as header fields and command lines have them (RFC 5322 3.4): names, groups,
 * comments, folded lines, quoted pairs, source routes and empty elements; also semicolons in place of
 * commas, as some people write them. No recursion, and linear time, whatever the text.
 */
#ifndef SMTPCTL_ADDRESS_LIST_H
#define SMTPCTL_ADDRESS_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "common/address.h"

struct address_list {
	const char *text;
	size_t length;
	size_t at;
	bool in_group;
};

enum address_list_result {
	ADDRESS_LIST_MAILBOX,
	ADDRESS_LIST_END,
	ADDRESS_LIST_BAD, /* what stands before `at` is no list of mailboxes: the walk is over */
};

struct address_list_mailbox {
	struct address address; /* without a domain where none is given */
	size_t end;             /* where in the text the domain, or else the local part ends */
};

/* Borrows the text, which needs no terminator. */
void address_list_init(struct address_list *, const char *text, size_t length);
enum address_list_result address_list_next(struct address_list *, struct address_list_mailbox *);

#endif
