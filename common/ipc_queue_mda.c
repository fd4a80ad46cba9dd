/*
 * The payloads of the channel between the queue and an mda.
 *
 * Each is a whole payload: what is left over after it makes decoding fail. Absolute paths and kinds
 * are checked here, so that neither side meets a value that it has no meaning for.
 */
#include <stdlib.h>
#include <string.h>

#include "common/ipc_queue_mda.h"

void
ipc_deliver_encode(struct buf *buf, const struct ipc_deliver *deliver)
{
	buf_add_u64(buf, deliver->envelope_id);
	buf_add_u8(buf, deliver->kind);
	buf_add_u64(buf, (uint64_t)deliver->created_us);
	buf_add_u64(buf, deliver->size);
	buf_add_u8(buf, deliver->maybe_delivered);
	address_encode(buf, &deliver->sender);
	address_encode(buf, &deliver->rcpt);
	address_encode(buf, &deliver->dest);
	buf_add_string(buf, deliver->command);
	ipc_mailbox_encode(buf, &deliver->mailbox);
}

bool
ipc_deliver_decode(struct buf_reader *reader, struct ipc_deliver *deliver)
{
	memset(deliver, 0, sizeof(*deliver));
	deliver->envelope_id = buf_get_u64(reader);
	deliver->kind = buf_get_enum(reader, ENVELOPE_KIND_COUNT);
	deliver->created_us = (int64_t)buf_get_u64(reader);
	deliver->size = buf_get_u64(reader);
	deliver->maybe_delivered = buf_get_bool(reader);
	if (!address_decode(reader, &deliver->sender) || !address_decode(reader, &deliver->rcpt) ||
	    !address_decode(reader, &deliver->dest))
		return false;
	buf_get_string(reader, deliver->command, sizeof(deliver->command));
	if (!ipc_mailbox_decode(reader, &deliver->mailbox))
		return false;
	if (deliver->envelope_id == 0 || deliver->created_us < 0 || deliver->size > INT64_MAX)
		reader->failed = true;
	if (deliver->kind == ENVELOPE_RELAY ||
	    envelope_has_command(deliver->kind) != (deliver->command[0] != '\0'))
		reader->failed = true;
	if (deliver->kind == ENVELOPE_MAILDIR && deliver->mailbox.path[0] != '/')
		reader->failed = true;
	if (deliver->kind == ENVELOPE_USER_FILE &&
	    (deliver->command[0] != '/' || deliver->mailbox.form != MAILBOX_MBOX))
		reader->failed = true;
	if (deliver->kind == ENVELOPE_FORWARD && deliver->mailbox.path[0] != '/' &&
	    deliver->mailbox.home[0] != '/')
		reader->failed = true;
	return buf_reader_done(reader);
}

static void
encode_effects(struct buf *buf, const struct ipc_effects *effects)
{
	buf_add_u8(buf, effects->by_forward);
	buf_add_u8(buf, (uint8_t)effects->redirect_count);
	for (size_t i = 0; i < effects->redirect_count; i++)
		address_encode(buf, &effects->redirects[i]);
	buf_add_u8(buf, effects->has_reply);
	if (!effects->has_reply)
		return;
	address_encode(buf, &effects->reply_from);
	buf_add_string(buf, effects->reply_name);
	buf_add_string(buf, effects->reply_subject);
	buf_add_string(buf, effects->reply_references);
	buf_add_u8(buf, effects->reply_is_mime);
	buf_add_string(buf, effects->reply_text);
}

static bool
decode_effects(struct buf_reader *reader, struct ipc_effects *effects)
{
	effects->by_forward = buf_get_bool(reader);
	effects->redirect_count = buf_get_enum(reader, IPC_REDIRECTS_MAX + 1);
	for (size_t i = 0; i < effects->redirect_count; i++) {
		if (!address_decode(reader, &effects->redirects[i]) ||
		    address_is_null(&effects->redirects[i]))
			return false;
	}
	effects->has_reply = buf_get_bool(reader);
	if (effects->by_forward)
		return !reader->failed && effects->redirect_count == 0 && !effects->has_reply;
	if (!effects->has_reply)
		return !reader->failed && effects->redirect_count > 0;
	if (!address_decode(reader, &effects->reply_from))
		return false;
	buf_get_string(reader, effects->reply_name, sizeof(effects->reply_name));
	buf_get_string(reader, effects->reply_subject, sizeof(effects->reply_subject));
	buf_get_string(reader, effects->reply_references, sizeof(effects->reply_references));
	effects->reply_is_mime = buf_get_bool(reader);
	buf_get_string(reader, effects->reply_text, sizeof(effects->reply_text));
	return !reader->failed;
}

void
ipc_delivered_encode(struct buf *buf, const struct ipc_delivered *delivered)
{
	buf_add_u64(buf, delivered->envelope_id);
	reply_encode(buf, &delivered->reply);
	buf_add_u8(buf, delivered->was_there);
	buf_add_string(buf, delivered->file);
	buf_add_string(buf, delivered->place);
	ipc_usage_encode(buf, &delivered->usage);
	buf_add_u8(buf, delivered->effects != NULL);
	if (delivered->effects != NULL)
		encode_effects(buf, delivered->effects);
}

bool
ipc_delivered_decode(struct buf_reader *reader, struct ipc_delivered *delivered)
{
	memset(delivered, 0, sizeof(*delivered));
	delivered->envelope_id = buf_get_u64(reader);
	if (!reply_decode(reader, &delivered->reply))
		return false;
	delivered->was_there = buf_get_bool(reader);
	buf_get_string(reader, delivered->file, sizeof(delivered->file));
	buf_get_string(reader, delivered->place, sizeof(delivered->place));
	if (!ipc_usage_decode(reader, &delivered->usage))
		return false;
	if (delivered->envelope_id == 0)
		reader->failed = true;
	if (buf_get_bool(reader) && !reader->failed) {
		delivered->effects = calloc(1, sizeof(*delivered->effects));
		if (delivered->effects == NULL || !decode_effects(reader, delivered->effects) ||
		    !reply_is_success(&delivered->reply))
			reader->failed = true;
	}
	if (buf_reader_done(reader))
		return true;
	ipc_delivered_free(delivered);
	return false;
}

void
ipc_delivered_free(struct ipc_delivered *delivered)
{
	free(delivered->effects);
	delivered->effects = NULL;
}
