/*
 * The payloads of the directory's channels.
 *
 * Decoding stops at the first value out of range and leaves the reader failed; what was decoded up
 * to there is then not to be used. The caller checks with buf_reader_done() that nothing is left
 * over.
 */
#include <string.h>

#include "common/ipc_directory.h"

void
ipc_rcpt_encode(struct buf *buf, const struct ipc_rcpt *rcpt)
{
	buf_add_u8(buf, rcpt->client_family);
	buf_add(buf, rcpt->client_address, sizeof(rcpt->client_address));
	buf_add_string(buf, rcpt->client_name);
	buf_add_u8(buf, rcpt->name_unknown);
	buf_add_u8(buf, rcpt->tls);
	buf_add_string(buf, rcpt->helo);
	buf_add_string(buf, rcpt->tag);
	buf_add_string(buf, rcpt->auth_user);
	address_encode(buf, &rcpt->sender);
	address_encode(buf, &rcpt->rcpt);
	buf_add_u64(buf, rcpt->size);
	buf_add_string(buf, rcpt->senders_table);
	buf_add_string(buf, rcpt->user_action);
}

bool
ipc_rcpt_decode(struct buf_reader *reader, struct ipc_rcpt *rcpt)
{
	memset(rcpt, 0, sizeof(*rcpt));
	rcpt->client_family = buf_get_enum(reader, CLIENT_COUNT);
	buf_get(reader, rcpt->client_address, sizeof(rcpt->client_address));
	buf_get_string(reader, rcpt->client_name, sizeof(rcpt->client_name));
	rcpt->name_unknown = buf_get_bool(reader);
	rcpt->tls = buf_get_bool(reader);
	buf_get_string(reader, rcpt->helo, sizeof(rcpt->helo));
	buf_get_string(reader, rcpt->tag, sizeof(rcpt->tag));
	buf_get_string(reader, rcpt->auth_user, sizeof(rcpt->auth_user));
	if (!address_decode(reader, &rcpt->sender) || !address_decode(reader, &rcpt->rcpt))
		reader->failed = true;
	rcpt->size = buf_get_u64(reader);
	buf_get_string(reader, rcpt->senders_table, sizeof(rcpt->senders_table));
	buf_get_string(reader, rcpt->user_action, sizeof(rcpt->user_action));
	return !reader->failed;
}

void
ipc_target_encode(struct buf *buf, const struct ipc_target *target)
{
	buf_add_u8(buf, target->kind);
	address_encode(buf, &target->dest);
	buf_add_string(buf, target->action);
	buf_add_string(buf, target->command);
	buf_add_u64(buf, target->mailbox);
	buf_add_u32(buf, target->rule);
	buf_add_u8(buf, target->held);
	buf_add_u8(buf, target->failing);
}

bool
ipc_target_decode(struct buf_reader *reader, struct ipc_target *target)
{
	memset(target, 0, sizeof(*target));
	target->kind = buf_get_enum(reader, ENVELOPE_KIND_COUNT);
	if (!address_decode(reader, &target->dest))
		reader->failed = true;
	buf_get_string(reader, target->action, sizeof(target->action));
	buf_get_string(reader, target->command, sizeof(target->command));
	target->mailbox = buf_get_u64(reader);
	target->rule = buf_get_u32(reader);
	target->held = buf_get_bool(reader);
	target->failing = buf_get_bool(reader);
	return !reader->failed;
}

void
ipc_mailbox_request_encode(struct buf *buf, const struct ipc_mailbox_request *request)
{
	buf_add_u8(buf, request->kind);
	buf_add_string(buf, request->action);
	address_encode(buf, &request->dest);
}

bool
ipc_mailbox_request_decode(struct buf_reader *reader, struct ipc_mailbox_request *request)
{
	memset(request, 0, sizeof(*request));
	request->kind = buf_get_enum(reader, ENVELOPE_KIND_COUNT);
	buf_get_string(reader, request->action, sizeof(request->action));
	if (!address_decode(reader, &request->dest))
		reader->failed = true;
	return !reader->failed;
}

bool
ipc_forward_detail_is_sound(const char *detail)
{
	if (strlen(detail) < 2)
		return false;
	for (; *detail != '\0'; detail++) {
		if ((unsigned char)*detail <= ' ' || *detail == '/' || *detail == 0x7f)
			return false;
	}
	return true;
}

void
ipc_mailbox_encode(struct buf *buf, const struct ipc_mailbox *mailbox)
{
	reply_encode(buf, &mailbox->reply);
	buf_add_u32(buf, mailbox->uid);
	buf_add_u32(buf, mailbox->gid);
	buf_add_string(buf, mailbox->user);
	buf_add_string(buf, mailbox->home);
	buf_add_u8(buf, mailbox->form);
	buf_add_string(buf, mailbox->path);
	buf_add_string(buf, mailbox->command);
	buf_add_u8(buf, mailbox->mail_group);
	buf_add_u8(buf, mailbox->junk);
	buf_add_u64(buf, mailbox->quota_bytes);
	buf_add_u64(buf, mailbox->quota_messages);
	buf_add_u8(buf, mailbox->forwards);
	buf_add_string(buf, mailbox->detail);
}

bool
ipc_mailbox_decode(struct buf_reader *reader, struct ipc_mailbox *mailbox)
{
	memset(mailbox, 0, sizeof(*mailbox));
	if (!reply_decode(reader, &mailbox->reply))
		reader->failed = true;
	mailbox->uid = buf_get_u32(reader);
	mailbox->gid = buf_get_u32(reader);
	buf_get_string(reader, mailbox->user, sizeof(mailbox->user));
	buf_get_string(reader, mailbox->home, sizeof(mailbox->home));
	mailbox->form = buf_get_enum(reader, MAILBOX_FORM_COUNT);
	buf_get_string(reader, mailbox->path, sizeof(mailbox->path));
	buf_get_string(reader, mailbox->command, sizeof(mailbox->command));
	mailbox->mail_group = buf_get_bool(reader);
	if ((mailbox->form == MAILBOX_COMMAND && *mailbox->command == '\0') ||
	    (mailbox->mail_group && (mailbox->form != MAILBOX_MBOX || *mailbox->command != '\0')))
		reader->failed = true;
	mailbox->junk = buf_get_bool(reader);
	mailbox->quota_bytes = buf_get_u64(reader);
	mailbox->quota_messages = buf_get_u64(reader);
	mailbox->forwards = buf_get_bool(reader);
	buf_get_string(reader, mailbox->detail, sizeof(mailbox->detail));
	if (*mailbox->detail != '\0' &&
	    (!mailbox->forwards || !ipc_forward_detail_is_sound(mailbox->detail)))
		reader->failed = true;
	return !reader->failed;
}

void
ipc_usage_encode(struct buf *buf, const struct ipc_usage *usage)
{
	buf_add_u8(buf, usage->known);
	buf_add_u64(buf, usage->bytes);
	buf_add_u64(buf, usage->messages);
}

bool
ipc_usage_decode(struct buf_reader *reader, struct ipc_usage *usage)
{
	memset(usage, 0, sizeof(*usage));
	usage->known = buf_get_bool(reader);
	usage->bytes = buf_get_u64(reader);
	usage->messages = buf_get_u64(reader);
	return !reader->failed;
}

void
ipc_forward_encode(struct buf *buf, const struct ipc_forward *forward)
{
	buf_add_u8(buf, forward->state);
	buf_add_u8(buf, forward->is_detailed);
	buf_add_string(buf, forward->text);
}

bool
ipc_forward_decode(struct buf_reader *reader, struct ipc_forward *forward)
{
	memset(forward, 0, sizeof(*forward));
	forward->state = buf_get_enum(reader, FORWARD_STATE_COUNT);
	forward->is_detailed = buf_get_bool(reader);
	buf_get_string(reader, forward->text, sizeof(forward->text));
	return !reader->failed;
}

static void
encode_binding(struct buf *buf, const struct ipc_binding *binding)
{
	buf_add_u8(buf, binding->length);
	buf_add(buf, binding->bytes, binding->length);
}

static void
decode_binding(struct buf_reader *reader, struct ipc_binding *binding)
{
	binding->length = buf_get_u8(reader);
	if (binding->length > sizeof(binding->bytes))
		reader->failed = true;
	else
		buf_get(reader, binding->bytes, binding->length);
}

void
ipc_auth_data_encode(struct buf *buf, const struct ipc_auth_data *data)
{
	buf_add_u16(buf, data->length);
	buf_add(buf, data->bytes, data->length);
}

bool
ipc_auth_data_decode(struct buf_reader *reader, struct ipc_auth_data *data)
{
	data->length = buf_get_u16(reader);
	if (data->length > sizeof(data->bytes))
		reader->failed = true;
	else
		buf_get(reader, data->bytes, data->length);
	return !reader->failed;
}

void
ipc_auth_encode(struct buf *buf, const struct ipc_auth *auth)
{
	buf_add_u8(buf, auth->mechanism);
	buf_add_string(buf, auth->service);
	buf_add_string(buf, auth->table);
	buf_add_u64(buf, auth->session);
	buf_add_u8(buf, auth->client_family);
	buf_add(buf, auth->client_address, sizeof(auth->client_address));
	encode_binding(buf, &auth->exporter);
	encode_binding(buf, &auth->end_point);
	buf_add_u8(buf, auth->has_initial);
	ipc_auth_data_encode(buf, &auth->initial);
}

bool
ipc_auth_decode(struct buf_reader *reader, struct ipc_auth *auth)
{
	memset(auth, 0, sizeof(*auth));
	auth->mechanism = buf_get_enum(reader, SASL_MECHANISM_COUNT);
	buf_get_string(reader, auth->service, sizeof(auth->service));
	buf_get_string(reader, auth->table, sizeof(auth->table));
	auth->session = buf_get_u64(reader);
	auth->client_family = buf_get_enum(reader, CLIENT_COUNT);
	buf_get(reader, auth->client_address, sizeof(auth->client_address));
	decode_binding(reader, &auth->exporter);
	decode_binding(reader, &auth->end_point);
	auth->has_initial = buf_get_bool(reader);
	ipc_auth_data_decode(reader, &auth->initial);
	return !reader->failed;
}

void
ipc_auth_done_encode(struct buf *buf, const struct ipc_auth_done *done)
{
	reply_encode(buf, &done->reply);
	buf_add_string(buf, done->user);
}

bool
ipc_auth_done_decode(struct buf_reader *reader, struct ipc_auth_done *done)
{
	memset(done, 0, sizeof(*done));
	if (!reply_decode(reader, &done->reply))
		reader->failed = true;
	buf_get_string(reader, done->user, sizeof(done->user));
	return !reader->failed;
}

void
ipc_report_encode(struct buf *buf, const struct ipc_report *report)
{
	address_encode(buf, &report->from);
	address_encode(buf, &report->to);
}

bool
ipc_report_decode(struct buf_reader *reader, struct ipc_report *report)
{
	memset(report, 0, sizeof(*report));
	if (!address_decode(reader, &report->from) || !address_decode(reader, &report->to) ||
	    address_is_null(&report->from) || address_is_null(&report->to))
		reader->failed = true;
	return buf_reader_done(reader);
}
