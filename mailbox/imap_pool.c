/*
 * Blocks in a list. An array doubles when its count is a power of two, so that no capacity needs to
 * be kept beside it; what it leaves behind is freed with the rest.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mailbox/imap_pool.h"

#define ARRAY_FIRST 4

struct imap_pool_block {
	struct imap_pool_block *next;
	max_align_t data[];
};

void
imap_pool_free(struct imap_pool *pool)
{
	struct imap_pool_block *block;

	while ((block = pool->blocks) != NULL) {
		pool->blocks = block->next;
		free(block);
	}
}

void *
imap_pool_new(struct imap_pool *pool, size_t size)
{
	struct imap_pool_block *block = calloc(1, sizeof(*block) + size);

	if (block == NULL)
		return NULL;
	block->next = pool->blocks;
	pool->blocks = block;
	return block->data;
}

void *
imap_pool_add(struct imap_pool *pool, void *array, size_t *count, size_t element_size)
{
	size_t capacity = ARRAY_FIRST;
	void *larger = array;

	while (capacity < *count)
		capacity *= 2;
	if (*count == 0 || *count == capacity) {
		if (*count > 0)
			capacity *= 2;
		if (capacity > SIZE_MAX / element_size / 2)
			return NULL;
		larger = imap_pool_new(pool, capacity * element_size);
		if (larger == NULL)
			return NULL;
		if (*count > 0)
			memcpy(larger, array, *count * element_size);
	}
	(*count)++;
	return larger;
}
