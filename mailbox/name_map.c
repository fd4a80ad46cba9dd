/* Open addressing; a slot is 32 bits of hash and the number, so that few names are compared. */
#include <stdlib.h>

#include "mailbox/name_map.h"

static uint32_t
hash_of(const char *name, size_t length)
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (uint8_t)name[i]) * 0x100000001b3ULL;
	return (uint32_t)(hash ^ hash >> 32);
}

bool
name_map_init(struct name_map *map, size_t names)
{
	size_t size = 64;

	while (size < names * 2)
		size *= 2;
	map->mask = size - 1;
	map->slots = calloc(size, sizeof(*map->slots));
	return map->slots != NULL;
}

void
name_map_free(struct name_map *map)
{
	free(map->slots);
	map->slots = NULL;
}

void
name_map_add(struct name_map *map, const char *name, size_t length, uint32_t number)
{
	uint32_t hash = hash_of(name, length);
	size_t at = hash & map->mask;

	while (map->slots[at] != 0)
		at = (at + 1) & map->mask;
	map->slots[at] = (uint64_t)hash << 32 | (number + 1);
}

bool
name_map_next(
    const struct name_map *map, const char *name, size_t length, size_t *cursor, uint32_t *number)
{
	uint32_t hash = hash_of(name, length);
	size_t at = (hash + *cursor) & map->mask;

	if (map->slots == NULL)
		return false;
	for (; map->slots[at] != 0; at = (at + 1) & map->mask) {
		++*cursor;
		if (map->slots[at] >> 32 == hash) {
			*number = (uint32_t)map->slots[at] - 1;
			return true;
		}
	}
	return false;
}
