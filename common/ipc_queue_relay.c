/*
 * The payloads of the channel between the queue and the relay, each a whole payload.
 */
#include <string.h>

#include "common/ipc_queue_relay.h"

void
ipc_relay_message_encode(struct buf *buf, const struct ipc_relay_message *message)
{
	buf_add_u32(buf, message->message_id);
	buf_add_string(buf, message->action);
	buf_add_string(buf, message->domain);
	buf_add_u32(buf, message->recipients);
	buf_add_u64(buf, message->size);
	address_encode(buf, &message->sender);
	address_encode(buf, &message->forwarded);
	buf_add_u8(buf, message->smtputf8);
	buf_add_u8(buf, message->eight_bit);
	buf_add_u8(buf, message->require_tls);
	buf_add_u8(buf, message->tls_optional);
	buf_add_u8(buf, message->dsn_return);
	buf_add_string(buf, message->dsn_envid);
}

bool
ipc_relay_message_decode(struct buf_reader *reader, struct ipc_relay_message *message)
{
	memset(message, 0, sizeof(*message));
	message->message_id = buf_get_u32(reader);
	buf_get_string(reader, message->action, sizeof(message->action));
	buf_get_string(reader, message->domain, sizeof(message->domain));
	message->recipients = buf_get_u32(reader);
	message->size = buf_get_u64(reader);
	if (!address_decode(reader, &message->sender) ||
	    !address_decode(reader, &message->forwarded))
		return false;
	message->smtputf8 = buf_get_bool(reader);
	message->eight_bit = buf_get_bool(reader);
	message->require_tls = buf_get_bool(reader);
	message->tls_optional = buf_get_bool(reader);
	message->dsn_return = buf_get_enum(reader, DSN_RETURN_COUNT);
	buf_get_string(reader, message->dsn_envid, sizeof(message->dsn_envid));
	if (message->message_id == 0 || message->recipients == 0 ||
	    message->recipients > IPC_RELAY_RCPTS_MAX || message->size > INT64_MAX ||
	    message->domain[0] == '\0')
		reader->failed = true;
	return buf_reader_done(reader);
}

void
ipc_relay_rcpt_encode(struct buf *buf, const struct ipc_relay_rcpt *rcpt)
{
	buf_add_u64(buf, rcpt->envelope_id);
	address_encode(buf, &rcpt->dest);
	buf_add_u8(buf, rcpt->dsn_notify);
	buf_add_string(buf, rcpt->dsn_orcpt);
}

bool
ipc_relay_rcpt_decode(struct buf_reader *reader, struct ipc_relay_rcpt *rcpt)
{
	memset(rcpt, 0, sizeof(*rcpt));
	rcpt->envelope_id = buf_get_u64(reader);
	if (!address_decode(reader, &rcpt->dest))
		return false;
	rcpt->dsn_notify = buf_get_u8(reader);
	buf_get_string(reader, rcpt->dsn_orcpt, sizeof(rcpt->dsn_orcpt));
	if (rcpt->envelope_id == 0 || (rcpt->dsn_notify & ~DSN_NOTIFY_ALL) != 0 ||
	    address_is_null(&rcpt->dest))
		reader->failed = true;
	return buf_reader_done(reader);
}

void
ipc_relay_result_encode(struct buf *buf, const struct ipc_relay_result *result)
{
	buf_add_u64(buf, result->envelope_id);
	reply_encode(buf, &result->reply);
	buf_add_u8(buf, result->fault);
	buf_add_u8(buf, result->remote);
	buf_add_u8(buf, result->dsn_taken);
	buf_add_string(buf, result->host);
	buf_add_string(buf, result->address);
	buf_add_string(buf, result->tls);
}

bool
ipc_relay_result_decode(struct buf_reader *reader, struct ipc_relay_result *result)
{
	memset(result, 0, sizeof(*result));
	result->envelope_id = buf_get_u64(reader);
	if (!reply_decode(reader, &result->reply))
		return false;
	result->fault = buf_get_enum(reader, RELAY_FAULT_COUNT);
	result->remote = buf_get_bool(reader);
	result->dsn_taken = buf_get_bool(reader);
	buf_get_string(reader, result->host, sizeof(result->host));
	buf_get_string(reader, result->address, sizeof(result->address));
	buf_get_string(reader, result->tls, sizeof(result->tls));
	if (result->envelope_id == 0)
		reader->failed = true;
	return buf_reader_done(reader);
}

void
ipc_relay_done_encode(struct buf *buf, const struct ipc_relay_done *done)
{
	buf_add_u8(buf, done->fault);
	buf_add_string(buf, done->dialogue);
}

bool
ipc_relay_done_decode(struct buf_reader *reader, struct ipc_relay_done *done)
{
	memset(done, 0, sizeof(*done));
	done->fault = buf_get_enum(reader, RELAY_FAULT_COUNT);
	buf_get_string(reader, done->dialogue, sizeof(done->dialogue));
	return buf_reader_done(reader);
}
