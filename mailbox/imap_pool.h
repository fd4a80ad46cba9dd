/*
 * Memory of one command: all of it is freed at once, when the command is done.
 */
#ifndef MAILBOX_IMAP_POOL_H
#define MAILBOX_IMAP_POOL_H

#include <stddef.h>

struct imap_pool_block;

struct imap_pool {
	struct imap_pool_block *blocks;
};

void imap_pool_free(struct imap_pool *);
/* Zeroed; NULL without memory. */
void *imap_pool_new(struct imap_pool *, size_t size);
/* Room for one element more in an array of `*count` elements that was made by this; its address may
 * change. The new element is zeroed and counted. NULL without memory. */
void *imap_pool_add(struct imap_pool *, void *array, size_t *count, size_t element_size);

#endif
