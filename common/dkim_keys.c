/*
 * A sorted array, searched by halves: a server of many domains has as many keys.
 */
#include <stdlib.h>
#include <string.h>

#include "common/address.h"
#include "common/log.h"
#include "common/memory_file.h"
#include "common/dkim_keys.h"

static int
compare(const void *a, const void *b)
{
	const struct ipc_dkim_key *one = a, *other = b;
	int order = strcmp(one->domain, other->domain);

	if (order == 0)
		order = (int)one->algorithm - (int)other->algorithm;
	return order != 0 ? order : strcmp(one->selector, other->selector);
}

bool
dkim_keys_take(struct dkim_keys *keys, int fd)
{
	struct ipc_dkim_key *list = NULL, *larger;
	struct buf_reader reader;
	size_t length, count = 0, room = 0;
	uint8_t *data = memory_file_read(fd, IPC_DKIM_KEYS_SIZE, &length);

	if (data == NULL)
		return false;
	buf_reader_init(&reader, data, length);
	while (reader.left > 0 && !reader.failed) {
		if (count == room) {
			room = room == 0 ? 8 : 2 * room;
			larger = reallocarray(list, room, sizeof(*list));
			if (larger == NULL)
				fatal("DKIM keys");
			list = larger;
		}
		if (ipc_dkim_key_decode(&reader, &list[count]))
			count++;
	}
	free(data);
	if (!buf_reader_done(&reader)) {
		free(list);
		return false;
	}
	if (count > 0)
		qsort(list, count, sizeof(*list), compare);
	free(keys->keys);
	keys->keys = list;
	keys->count = count;
	return true;
}

void
dkim_keys_clear(struct dkim_keys *keys)
{
	free(keys->keys);
	keys->keys = NULL;
	keys->count = 0;
}

static size_t
find(const struct dkim_keys *keys, const char *domain, const struct ipc_dkim_key **first)
{
	size_t low = 0, high = keys->count, middle, count = 0;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (strcmp(keys->keys[middle].domain, domain) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*first = &keys->keys[low];
	while (low + count < keys->count && strcmp(keys->keys[low + count].domain, domain) == 0)
		count++;
	return count;
}

size_t
dkim_keys_find(const struct dkim_keys *keys, const char *domain, const struct ipc_dkim_key **first)
{
	char key[ADDRESS_DOMAIN_MAX + 1];
	const char *at = key;
	size_t count;

	if (keys->count == 0 || *domain == '\0' || !address_domain_key(domain, key, sizeof(key)))
		return 0;
	/* RFC 7489 3.1.1: a parent's signature is aligned, unless the policy is a strict one. */
	while ((count = find(keys, at, first)) == 0 && (at = strchr(at, '.')) != NULL)
		at++;
	return count;
}
