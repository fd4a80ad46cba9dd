/*
 * Maildir++ quotas: how full a mailbox is, kept in its file `maildirsize`.
 *
 * The file's first line holds the limits ("1000000S,500C", bytes and messages); each further line
 * is a change "BYTES COUNT", possibly negative, written with one append by whoever delivers or
 * removes mail. The sum of the lines is the usage. The file is made anew by counting the mailbox
 * when it is absent, unreadable, has other limits, or has grown over 5,120 bytes; and when the
 * mailbox seems full and the file is older than 15 minutes or has more than one line of changes.
 * What is in .Trash and what is flagged T isn't counted.
 */
#ifndef COMMON_QUOTA_H
#define COMMON_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/reply.h"

#define MAILDIRSIZE_MAX 5120

struct quota_limits {
	uint64_t bytes; /* 0: none */
	uint64_t messages;
};

struct maildirsize {
	struct quota_limits limits;
	uint64_t bytes;
	uint64_t messages;
	size_t lines; /* of changes */
};

/* Parses a whole maildirsize file; false when it isn't one, or its sum is negative. */
bool maildirsize_parse(const char *text, size_t length, struct maildirsize *);

struct quota {
	struct quota_limits limits;
	uint64_t bytes;
	uint64_t messages;
	bool counted; /* just now, not taken from the file */
	bool may_be_stale;
};

/* True when one of the limits is set. */
bool quota_is_limited(const struct quota_limits *);
/*
 * Reads the usage of the Maildir behind `root`, counting it where the rules above say so; `unique`
 * names a file in tmp/ nobody else uses. False with errno when the mailbox can't be read.
 */
bool quota_load(int root, const struct quota_limits *, const char *unique, struct quota *);
/* Counts the mailbox once more when `quota` might be out of date. False with errno. */
bool quota_refresh(int root, const char *unique, struct quota *);
/* One more message of `size` bytes would be over a limit. */
bool quota_is_exceeded(const struct quota *, uint64_t size);
/* 452 4.2.2 with the figures; 552 5.2.3 for a message that would not fit into an empty mailbox.
 * `size` is 0 where the message's size doesn't matter. */
void quota_reply(const struct quota *, uint64_t size, const char *mailbox, struct reply *);
/* Adds what came, or with negative figures what went. A failure removes the file, so that it is
 * counted anew. */
void quota_append(int root, int64_t bytes, int64_t messages);

#endif
