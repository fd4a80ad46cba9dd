/*
 * Keys and values lie one after another in one block of text; an entry is two offsets into it. The
 * index is an open-addressed hash of entry numbers, at most half full.
 *
 * Networks are entries like others, "192.0.2.0/24"; the prefix lengths in use are kept, so that an
 * address is looked up once for each length.
 */
#include <sys/socket.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "lookup/table_map.h"

#define TABLE_TEXT_MAX  (1024UL * 1024 * 1024)
#define TABLE_COUNT_MAX (1U << 31)

struct entry {
	uint32_t key;
	uint32_t value;
};

struct table_map {
	struct buf text;
	struct entry *entries;
	uint32_t count;
	uint32_t capacity;
	uint32_t *index; /* entry number + 1; 0 free */
	uint32_t index_size;
	uint32_t *patterns; /* entry numbers */
	uint32_t pattern_count;
	uint32_t pattern_capacity;
	bool bits4[33];
	bool bits6[129];
};

struct table_map *
table_map_new(void)
{
	struct table_map *map = calloc(1, sizeof(*map));

	if (map != NULL)
		buf_init(&map->text, TABLE_TEXT_MAX);
	return map;
}

void
table_map_free(struct table_map *map)
{
	if (map == NULL)
		return;
	buf_free(&map->text);
	free(map->entries);
	free(map->index);
	free(map->patterns);
	free(map);
}

static const char *
text_at(const struct table_map *map, uint32_t offset)
{
	return (const char *)map->text.data + offset;
}

/* FNV-1a: the keys are the administrator's, so nobody chooses them to collide. */
static uint32_t
hash(const char *key)
{
	uint32_t value = 2166136261U;

	for (; *key != '\0'; key++)
		value = (value ^ (unsigned char)*key) * 16777619U;
	return value;
}

/* The slot that holds `key`, or the free one where it belongs. */
static uint32_t
find_slot(const struct table_map *map, const char *key)
{
	uint32_t slot = hash(key) & (map->index_size - 1);

	while (map->index[slot] != 0 &&
	    strcmp(text_at(map, map->entries[map->index[slot] - 1].key), key) != 0)
		slot = (slot + 1) & (map->index_size - 1);
	return slot;
}

static bool
grow(struct table_map *map)
{
	uint32_t capacity = map->capacity == 0 ? 16 : map->capacity * 2;
	struct entry *entries;
	uint32_t *index;

	if (map->count < map->capacity)
		return true;
	if (capacity > TABLE_COUNT_MAX / 2)
		return false;
	entries = reallocarray(map->entries, capacity, sizeof(*entries));
	if (entries == NULL)
		return false;
	map->entries = entries;
	index = calloc(capacity, 2 * sizeof(*index));
	if (index == NULL)
		return false;
	free(map->index);
	map->index = index;
	map->index_size = 2 * capacity;
	map->capacity = capacity;
	for (uint32_t i = 0; i < map->count; i++)
		map->index[find_slot(map, text_at(map, map->entries[i].key))] = i + 1;
	return true;
}

static bool
add_text(struct table_map *map, const char *text, uint32_t *offset)
{
	*offset = (uint32_t)map->text.length;
	buf_add(&map->text, text, strlen(text) + 1);
	return buf_ok(&map->text);
}

static bool
add_pattern(struct table_map *map, uint32_t number)
{
	uint32_t *patterns;

	if (map->pattern_count == map->pattern_capacity) {
		uint32_t capacity = map->pattern_capacity == 0 ? 8 : map->pattern_capacity * 2;

		patterns = reallocarray(map->patterns, capacity, sizeof(*patterns));
		if (patterns == NULL)
			return false;
		map->patterns = patterns;
		map->pattern_capacity = capacity;
	}
	map->patterns[map->pattern_count++] = number;
	return true;
}

/* What is special about a key: wildcards that a lookup doesn't find, or a network's length. */
static bool
note_key(struct table_map *map, const char *key, uint32_t number)
{
	const char *at = strrchr(key, '@'), *domain = at == NULL ? key : at + 1;
	struct netaddr netaddr;

	if (at == NULL && netaddr_parse(key, &netaddr)) {
		if (netaddr.family == AF_INET)
			map->bits4[netaddr.bits] = true;
		else
			map->bits6[netaddr.bits] = true;
		return true;
	}
	if (strncmp(domain, "*.", 2) == 0 && pattern_is_plain(domain + 2))
		return true;
	return pattern_is_plain(domain) || add_pattern(map, number);
}

enum table_map_added
table_map_add_exactly(struct table_map *map, const char *key, const char *value)
{
	struct entry entry;
	uint32_t slot;

	if (!grow(map))
		return TABLE_MAP_FULL;
	slot = find_slot(map, key);
	if (map->index[slot] != 0)
		return TABLE_MAP_DUPLICATE;
	if (!add_text(map, key, &entry.key) || !add_text(map, value, &entry.value) ||
	    !note_key(map, key, map->count))
		return TABLE_MAP_FULL;
	map->entries[map->count++] = entry;
	map->index[slot] = map->count;
	return TABLE_MAP_ADDED;
}

enum table_map_added
table_map_add(struct table_map *map, const char *key, const char *value)
{
	char normal[TABLE_KEY_MAX], domain[TABLE_KEY_MAX];
	enum table_map_added added;

	if (!table_key_normalise(key, normal, sizeof(normal)))
		return TABLE_MAP_FULL;
	added = table_map_add_exactly(map, normal, value);
	/* A key without "@" above ASCII may be meant as a domain, or as a user: it is both. */
	if (added == TABLE_MAP_ADDED && strchr(normal, '@') == NULL &&
	    table_domain_normalise(normal, domain, sizeof(domain)) && strcmp(normal, domain) != 0 &&
	    strchr(normal, '/') == NULL)
		(void)table_map_add_exactly(map, domain, value);
	return added;
}

const char *
table_map_get(const struct table_map *map, const char *key)
{
	uint32_t number;

	if (map->count == 0)
		return NULL;
	number = map->index[find_slot(map, key)];
	return number == 0 ? NULL : text_at(map, map->entries[number - 1].value);
}

const char *
table_map_first(const struct table_map *map)
{
	return map->count == 0 ? NULL : text_at(map, map->entries[0].value);
}

bool
table_map_match_domain(const struct table_map *map, const char *domain)
{
	for (uint32_t i = 0; i < map->pattern_count; i++) {
		const char *key = text_at(map, map->entries[map->patterns[i]].key);

		if (strchr(key, '@') == NULL && pattern_matches(key, domain))
			return true;
	}
	return false;
}

bool
table_map_match_mailbox(const struct table_map *map, const char *local, const char *domain)
{
	for (uint32_t i = 0; i < map->pattern_count; i++) {
		const char *key = text_at(map, map->entries[map->patterns[i]].key);
		const char *at = strrchr(key, '@');
		size_t length;

		if (at == NULL || !pattern_matches(at + 1, domain))
			continue;
		length = (size_t)(at - key);
		if (length == 0 || (strlen(local) == length && strncmp(key, local, length) == 0))
			return true;
	}
	return false;
}

bool
table_map_match_network(const struct table_map *map, const struct netaddr *netaddr)
{
	const bool *in_use = netaddr->family == AF_INET ? map->bits4 : map->bits6;
	struct netaddr network = *netaddr;
	char key[64];

	for (unsigned bits = netaddr->bits + 1; bits-- > 0;) {
		if (!in_use[bits])
			continue;
		netaddr_mask(&network, bits);
		netaddr_format(&network, key, sizeof(key));
		if (table_map_get(map, key) != NULL)
			return true;
	}
	return false;
}

size_t
table_map_count(const struct table_map *map)
{
	return map->count;
}
