/* The payloads between a login and its session. */
#include <string.h>

#include "common/ipc_mailbox.h"

void
ipc_mailbox_login_encode(struct buf *buf, const struct ipc_mailbox_login *login)
{
	buf_add_u64(buf, login->session);
	ipc_mailbox_encode(buf, &login->mailbox);
}

bool
ipc_mailbox_login_decode(struct buf_reader *reader, struct ipc_mailbox_login *login)
{
	memset(login, 0, sizeof(*login));
	login->session = buf_get_u64(reader);
	return ipc_mailbox_decode(reader, &login->mailbox) && *login->mailbox.path == '/' &&
	    buf_reader_done(reader);
}

void
ipc_mailbox_opened_encode(struct buf *buf, const struct ipc_mailbox_opened *opened)
{
	buf_add_u64(buf, opened->session);
}

bool
ipc_mailbox_opened_decode(struct buf_reader *reader, struct ipc_mailbox_opened *opened)
{
	memset(opened, 0, sizeof(*opened));
	opened->session = buf_get_u64(reader);
	return buf_reader_done(reader);
}

void
ipc_mailbox_begin_encode(struct buf *buf, const struct ipc_mailbox_begin *begin)
{
	buf_add_u8(buf, (uint8_t)begin->protocol);
	buf_add_u64(buf, begin->session);
	buf_add_string(buf, begin->client);
	buf_add_string(buf, begin->tag);
}

void
ipc_mailbox_begin_frame(struct buf *frame, const struct ipc_mailbox_begin *begin)
{
	struct buf payload;

	buf_init(&payload, MAILBOX_BEGIN_MAX);
	ipc_mailbox_begin_encode(&payload, begin);
	if (!buf_ok(&payload))
		frame->failed = true;
	buf_add_u16(frame, (uint16_t)payload.length);
	buf_add(frame, payload.data, payload.length);
	buf_free(&payload);
}

bool
ipc_mailbox_begin_decode(struct buf_reader *reader, struct ipc_mailbox_begin *begin)
{
	memset(begin, 0, sizeof(*begin));
	begin->protocol = (enum mailbox_protocol)buf_get_enum(reader, MAILBOX_PROTOCOL_COUNT);
	begin->session = buf_get_u64(reader);
	buf_get_string(reader, begin->client, sizeof(begin->client));
	buf_get_string(reader, begin->tag, sizeof(begin->tag));
	return buf_reader_done(reader);
}
