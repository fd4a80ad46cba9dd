/*
 * The payloads of the channel between the relay and the resolver, each a whole payload.
 */
#include <string.h>

#include "common/ipc_relay_resolver.h"

void
ipc_query_encode(struct buf *buf, const struct ipc_query *query)
{
	buf_add_u8(buf, query->kind);
	buf_add_u16(buf, query->port);
	buf_add_string(buf, query->name);
}

bool
ipc_query_decode(struct buf_reader *reader, struct ipc_query *query)
{
	memset(query, 0, sizeof(*query));
	query->kind = buf_get_enum(reader, QUERY_KIND_COUNT);
	query->port = buf_get_u16(reader);
	buf_get_string(reader, query->name, sizeof(query->name));
	if (query->name[0] == '\0' || (query->kind == QUERY_TLSA) != (query->port != 0))
		reader->failed = true;
	return buf_reader_done(reader);
}

void
ipc_answer_encode(struct buf *buf, const struct ipc_answer *answer)
{
	buf_add_u8(buf, answer->status);
	buf_add_u8(buf, answer->secure);
	buf_add_u8(buf, answer->cut);
	buf_add_u32(buf, answer->ttl);
	buf_add_string(buf, answer->canonical);
	buf_add_u8(buf, answer->canonical_secure);
	buf_add_string(buf, answer->why);
	buf_add_u32(buf, answer->count);
	for (uint32_t i = 0; i < answer->count; i++) {
		const struct answer_record *record = &answer->records[i];

		buf_add_u16(buf, record->preference);
		buf_add_u8(buf, record->family);
		buf_add_u8(buf, record->usage);
		buf_add_u8(buf, record->selector);
		buf_add_u8(buf, record->matching);
		buf_add_u16(buf, record->length);
		buf_add(buf, record->data, record->length);
	}
}

static void
record_decode(struct buf_reader *reader, struct answer_record *record)
{
	record->preference = buf_get_u16(reader);
	record->family = (uint8_t)buf_get_enum(reader, CLIENT_COUNT);
	record->usage = buf_get_u8(reader);
	record->selector = buf_get_u8(reader);
	record->matching = buf_get_u8(reader);
	record->length = buf_get_u16(reader);
	if (reader->failed || record->length > reader->left) {
		reader->failed = true;
		return;
	}
	record->data = reader->data;
	reader->data += record->length;
	reader->left -= record->length;
}

bool
ipc_answer_decode(struct buf_reader *reader, struct ipc_answer *answer)
{
	memset(answer, 0, sizeof(*answer));
	answer->status = buf_get_enum(reader, ANSWER_STATUS_COUNT);
	answer->secure = buf_get_bool(reader);
	answer->cut = buf_get_bool(reader);
	answer->ttl = buf_get_u32(reader);
	buf_get_string(reader, answer->canonical, sizeof(answer->canonical));
	answer->canonical_secure = buf_get_bool(reader);
	buf_get_string(reader, answer->why, sizeof(answer->why));
	answer->count = buf_get_u32(reader);
	if (answer->count > IPC_ANSWER_RECORDS_MAX ||
	    (answer->status == ANSWER_FOUND) != (answer->count > 0)) {
		reader->failed = true;
		return false;
	}
	for (uint32_t i = 0; i < answer->count && !reader->failed; i++)
		record_decode(reader, &answer->records[i]);
	return buf_reader_done(reader);
}
