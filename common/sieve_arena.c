/*
 * Chunks, from which pieces are cut one behind the other.
 */
#include <stdlib.h>
#include <string.h>

#include "common/sieve_script.h"

#define CHUNK 16384

struct sieve_chunk {
	struct sieve_chunk *next;
	size_t used;
	size_t size;
	_Alignas(max_align_t) char bytes[];
};

void
sieve_arena_init(struct sieve_arena *arena, size_t limit)
{
	*arena = (struct sieve_arena){ .limit = limit };
}

void
sieve_arena_free(struct sieve_arena *arena)
{
	struct sieve_chunk *chunk;

	while ((chunk = arena->chunks) != NULL) {
		arena->chunks = chunk->next;
		free(chunk);
	}
	arena->used = 0;
}

void *
sieve_arena_get(struct sieve_arena *arena, size_t size)
{
	struct sieve_chunk *chunk = arena->chunks;
	size_t room;
	char *piece;

	if (size > arena->limit)
		return NULL;
	size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
	if (chunk == NULL || chunk->size - chunk->used < size) {
		room = size > CHUNK ? size : CHUNK;
		if (room > arena->limit - arena->used)
			return NULL;
		chunk = calloc(1, sizeof(*chunk) + room);
		if (chunk == NULL)
			return NULL;
		chunk->size = room;
		chunk->next = arena->chunks;
		arena->chunks = chunk;
		arena->used += room;
	}
	piece = chunk->bytes + chunk->used;
	chunk->used += size;
	return piece;
}

char *
sieve_arena_copy(struct sieve_arena *arena, const char *text, size_t length)
{
	char *copy = sieve_arena_get(arena, length + 1);

	if (copy != NULL && length > 0)
		memcpy(copy, text, length);
	return copy;
}
