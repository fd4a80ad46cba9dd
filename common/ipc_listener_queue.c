/*
 * The payloads of the channel between a listener and the queue. Envelope, transaction and reply
 * have codecs of their own; what is left are the lists of message ids.
 */
#include <string.h>

#include "common/ipc_listener_queue.h"

void
ipc_ids_request_encode(struct buf *buf, uint32_t count)
{
	buf_add_u32(buf, count);
}

bool
ipc_ids_request_decode(struct buf_reader *reader, uint32_t *count)
{
	*count = buf_get_u32(reader);
	if (*count == 0 || *count > IPC_IDS_MAX)
		reader->failed = true;
	return buf_reader_done(reader);
}

void
ipc_ids_encode(struct buf *buf, const struct ipc_ids *ids)
{
	uint32_t i;

	buf_add_u32(buf, ids->count);
	for (i = 0; i < ids->count && i < IPC_IDS_MAX; i++)
		buf_add_u32(buf, ids->ids[i]);
}

bool
ipc_ids_decode(struct buf_reader *reader, struct ipc_ids *ids)
{
	uint32_t i;

	memset(ids, 0, sizeof(*ids));
	ids->count = buf_get_u32(reader);
	if (ids->count > IPC_IDS_MAX) {
		ids->count = 0;
		reader->failed = true;
	}
	for (i = 0; i < ids->count; i++) {
		ids->ids[i] = buf_get_u32(reader);
		if (ids->ids[i] == 0)
			reader->failed = true;
	}
	return buf_reader_done(reader);
}
