/* Chains in buckets, whose number doubles when they get long. The keys are other people's domain
 * names: the hash is seeded at random. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/stdlib.h>

#include "common/log.h"
#include "deliver/relay_map.h"

#define BUCKETS_FIRST 64

struct item {
	struct item *next;
	uint64_t hash;
	void *value;
	char key[];
};

struct map {
	struct item **buckets; /* a power of two of them */
	size_t bucket_count;
	size_t count;
	uint64_t seed;
};

struct map *
map_new(void)
{
	struct map *map = calloc(1, sizeof(*map));

	if (map == NULL)
		fatal("map");
	map->bucket_count = BUCKETS_FIRST;
	map->buckets = calloc(map->bucket_count, sizeof(struct item *));
	if (map->buckets == NULL)
		fatal("map");
	arc4random_buf(&map->seed, sizeof(map->seed));
	return map;
}

void
map_free(struct map *map)
{
	struct item *item;

	if (map == NULL)
		return;
	for (size_t i = 0; i < map->bucket_count; i++) {
		while ((item = map->buckets[i]) != NULL) {
			map->buckets[i] = item->next;
			free(item);
		}
	}
	free(map->buckets);
	free(map);
}

static uint64_t
hash_of(const struct map *map, const char *key)
{
	uint64_t hash = map->seed ^ 0xcbf29ce484222325ULL;

	for (; *key != '\0'; key++) {
		hash = (hash ^ (unsigned char)*key) * 0x100000001b3ULL;
		hash ^= hash >> 29;
	}
	return hash;
}

static struct item **
find(const struct map *map, const char *key, uint64_t hash)
{
	struct item **link = &map->buckets[hash & (map->bucket_count - 1)];

	while (*link != NULL && ((*link)->hash != hash || strcmp((*link)->key, key) != 0))
		link = &(*link)->next;
	return link;
}

void *
map_get(const struct map *map, const char *key)
{
	const struct item *item = *find(map, key, hash_of(map, key));

	return item == NULL ? NULL : item->value;
}

static void
grow(struct map *map)
{
	size_t count = map->bucket_count * 2;
	struct item **buckets = calloc(count, sizeof(struct item *)), *item;

	if (buckets == NULL)
		return; /* the chains get longer */
	for (size_t i = 0; i < map->bucket_count; i++) {
		while ((item = map->buckets[i]) != NULL) {
			map->buckets[i] = item->next;
			item->next = buckets[item->hash & (count - 1)];
			buckets[item->hash & (count - 1)] = item;
		}
	}
	free(map->buckets);
	map->buckets = buckets;
	map->bucket_count = count;
}

void
map_add(struct map *map, const char *key, void *value)
{
	size_t length = strlen(key);
	struct item *item = malloc(sizeof(*item) + length + 1), **link;

	if (item == NULL)
		fatal("map");
	if (map->count >= map->bucket_count)
		grow(map);
	item->hash = hash_of(map, key);
	item->value = value;
	memcpy(item->key, key, length + 1);
	link = &map->buckets[item->hash & (map->bucket_count - 1)];
	item->next = *link;
	*link = item;
	map->count++;
}

void
map_remove(struct map *map, const char *key)
{
	struct item **link = find(map, key, hash_of(map, key)), *item = *link;

	if (item == NULL)
		return;
	*link = item->next;
	free(item);
	map->count--;
}

size_t
map_count(const struct map *map)
{
	return map->count;
}

void **
map_values(const struct map *map)
{
	void **values = calloc(map->count + 1, sizeof(void *));
	size_t count = 0;

	if (values == NULL)
		fatal("map");
	for (size_t i = 0; i < map->bucket_count; i++)
		for (const struct item *item = map->buckets[i]; item != NULL; item = item->next)
			values[count++] = item->value;
	return values;
}
