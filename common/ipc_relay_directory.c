/*
 * The payloads of the channel between the relay and the directory, each a whole payload.
 */
#include <string.h>

#include "common/ipc_relay_directory.h"

void
ipc_relay_lookup_encode(struct buf *buf, const struct ipc_relay_lookup *lookup)
{
	buf_add_u8(buf, lookup->what);
	buf_add_string(buf, lookup->action);
	buf_add_string(buf, lookup->key);
}

bool
ipc_relay_lookup_decode(struct buf_reader *reader, struct ipc_relay_lookup *lookup)
{
	memset(lookup, 0, sizeof(*lookup));
	lookup->what = buf_get_enum(reader, RELAY_LOOKUP_COUNT);
	buf_get_string(reader, lookup->action, sizeof(lookup->action));
	buf_get_string(reader, lookup->key, sizeof(lookup->key));
	if (*lookup->action == '\0' || *lookup->key == '\0')
		reader->failed = true;
	return buf_reader_done(reader);
}

void
ipc_relay_found_encode(struct buf *buf, const struct ipc_relay_found *found)
{
	buf_add_u8(buf, found->status);
	buf_add_string(buf, found->value);
}

bool
ipc_relay_found_decode(struct buf_reader *reader, struct ipc_relay_found *found)
{
	memset(found, 0, sizeof(*found));
	found->status = buf_get_enum(reader, RELAY_FOUND_COUNT);
	buf_get_string(reader, found->value, sizeof(found->value));
	if ((found->status == RELAY_FOUND) != (*found->value != '\0'))
		reader->failed = true;
	return buf_reader_done(reader);
}
