/* Numbers by file name, for one reading of a directory. Names aren't kept: the caller compares. */
#ifndef MAILBOX_NAME_MAP_H
#define MAILBOX_NAME_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct name_map {
	uint64_t *slots; /* hash and number + 1; 0 free; NULL: nothing is found */
	size_t mask;
};

/* Room for so many names; false without memory. */
bool name_map_init(struct name_map *, size_t names);
void name_map_free(struct name_map *);
void name_map_add(struct name_map *, const char *name, size_t length, uint32_t number);
/* The next number that may be this name's; `*cursor` starts at 0. */
bool name_map_next(
    const struct name_map *, const char *name, size_t length, size_t *cursor, uint32_t *number);

#endif
