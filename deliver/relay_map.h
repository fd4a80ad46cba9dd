/* A map from strings to pointers. */
#ifndef DELIVER_RELAY_MAP_H
#define DELIVER_RELAY_MAP_H

#include <stddef.h>

struct map;

/* Never NULL. */
struct map *map_new(void);
/* The values are the caller's. */
void map_free(struct map *);
/* NULL when there is none. */
void *map_get(const struct map *, const char *key);
/* Of a key that isn't there; copies it. Dies without memory. */
void map_add(struct map *, const char *key, void *value);
void map_remove(struct map *, const char *key);
size_t map_count(const struct map *);
/* All values, in an array that the caller frees, as long as map_count(): what is done with them may
 * change the map. */
void **map_values(const struct map *);

#endif
