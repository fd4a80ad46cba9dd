/*
 * The one binary form of transactions and envelopes: on the channels between listener, queue, mda
 * and control, and in the journal.
 *
 * Much of it is what a client said, and comes out again in log lines, DSNs and listings. So no
 * control character passes: encoding writes "?" for one (an honest process forgot to look),
 * decoding refuses it (the other side isn't honest). A pipe's command alone is kept as it is: it is
 * given to nobody but the mda.
 */
#include <string.h>

#include "common/envelope.h"

/* A transaction's first byte of flags. Only the first was there in the spool's version 1. */
#define FLAG_SMTPUTF8     0x01
#define FLAG_REQUIRE_TLS  0x02
#define FLAG_TLS_OPTIONAL 0x04
#define FLAG_TLS          0x08
#define FLAGS_TRANSACTION 0x0f

/* What follows of the last reply; likewise. */
#define FLAG_REPLY 0x01
#define FLAG_HOST  0x02

bool
envelope_is_pipe(enum envelope_kind kind)
{
	return kind == ENVELOPE_PIPE || kind == ENVELOPE_USER_PIPE;
}

bool
envelope_has_command(enum envelope_kind kind)
{
	return envelope_is_pipe(kind) || kind == ENVELOPE_USER_FILE;
}

uint64_t
envelope_id_make(uint32_t message_id, uint32_t number)
{
	return (uint64_t)message_id << 32 | number;
}

uint32_t
envelope_id_message(uint64_t envelope_id)
{
	return (uint32_t)(envelope_id >> 32);
}

static bool
is_control(char byte)
{
	return (unsigned char)byte < ' ' || byte == 0x7f;
}

static void
add_words(struct buf *buf, const char *text)
{
	char safe[PATH_TEXT_MAX + 1];
	size_t i;

	for (i = 0; text[i] != '\0' && i < sizeof(safe) - 1; i++)
		safe[i] = is_control(text[i]) ? '?' : text[i];
	safe[i] = '\0';
	buf_add_string(buf, safe);
}

static void
get_words(struct buf_reader *reader, char *text, size_t size)
{
	size_t i;

	buf_get_string(reader, text, size);
	for (i = 0; text[i] != '\0'; i++) {
		if (is_control(text[i])) {
			reader->failed = true;
			*text = '\0';
			return;
		}
	}
}

void
transaction_encode(struct buf *buf, const struct transaction *transaction)
{
	buf_add_u32(buf, transaction->message_id);
	buf_add_u64(buf, (uint64_t)transaction->created_us);
	address_encode(buf, &transaction->sender);
	buf_add_u8(buf, transaction->client_family);
	add_words(buf, transaction->client);
	add_words(buf, transaction->client_name);
	add_words(buf, transaction->helo);
	add_words(buf, transaction->tag);
	add_words(buf, transaction->auth_user);
	buf_add_u8(buf, transaction->dsn_return);
	add_words(buf, transaction->dsn_envid);
	buf_add_u8(buf,
	    (uint8_t)((transaction->smtputf8 ? FLAG_SMTPUTF8 : 0) |
	        (transaction->require_tls ? FLAG_REQUIRE_TLS : 0) |
	        (transaction->tls_optional ? FLAG_TLS_OPTIONAL : 0) |
	        (transaction->tls ? FLAG_TLS : 0)));
	buf_add_u8(buf, transaction->eight_bit);
	buf_add_u8(buf, transaction->is_bounce);
	buf_add_u64(buf, transaction->size);
	buf_add_u32(buf, transaction->body_crc32c);
}

bool
transaction_decode(struct buf_reader *reader, struct transaction *transaction)
{
	uint8_t flags;

	memset(transaction, 0, sizeof(*transaction));
	transaction->message_id = buf_get_u32(reader);
	transaction->created_us = (int64_t)buf_get_u64(reader);
	address_decode(reader, &transaction->sender);
	transaction->client_family = buf_get_enum(reader, CLIENT_COUNT);
	get_words(reader, transaction->client, sizeof(transaction->client));
	get_words(reader, transaction->client_name, sizeof(transaction->client_name));
	get_words(reader, transaction->helo, sizeof(transaction->helo));
	get_words(reader, transaction->tag, sizeof(transaction->tag));
	get_words(reader, transaction->auth_user, sizeof(transaction->auth_user));
	transaction->dsn_return = buf_get_enum(reader, DSN_RETURN_COUNT);
	get_words(reader, transaction->dsn_envid, sizeof(transaction->dsn_envid));
	flags = buf_get_u8(reader);
	transaction->smtputf8 = (flags & FLAG_SMTPUTF8) != 0;
	transaction->require_tls = (flags & FLAG_REQUIRE_TLS) != 0;
	transaction->tls_optional = (flags & FLAG_TLS_OPTIONAL) != 0;
	transaction->tls = (flags & FLAG_TLS) != 0;
	transaction->eight_bit = buf_get_bool(reader);
	transaction->is_bounce = buf_get_bool(reader);
	transaction->size = buf_get_u64(reader);
	transaction->body_crc32c = buf_get_u32(reader);
	if (transaction->message_id == 0 || transaction->created_us < 0 ||
	    transaction->size > INT64_MAX || (flags & ~FLAGS_TRANSACTION) != 0)
		reader->failed = true;
	return !reader->failed;
}

void
envelope_encode(struct buf *buf, const struct envelope *envelope)
{
	uint8_t flags;

	buf_add_u64(buf, envelope->id);
	buf_add_u8(buf, envelope->kind);
	address_encode(buf, &envelope->rcpt);
	address_encode(buf, &envelope->dest);
	add_words(buf, envelope->action);
	buf_add_string(buf, envelope->command);
	buf_add_u8(buf, envelope->dsn_notify);
	add_words(buf, envelope->dsn_orcpt);
	buf_add_u8(buf, envelope->state);
	buf_add_u32(buf, envelope->tries);
	buf_add_u64(buf, (uint64_t)envelope->expires);
	buf_add_u64(buf, (uint64_t)envelope->last_try);
	buf_add_u64(buf, (uint64_t)envelope->next_try);
	buf_add_u8(buf, envelope->delay_warned);
	/* A reply of code 0 is none, which reply_encode() has no form for. */
	flags = envelope->last_reply.code == 0 ? 0 : FLAG_REPLY;
	if (flags != 0 && *envelope->last_host != '\0')
		flags |= FLAG_HOST;
	buf_add_u8(buf, flags);
	if ((flags & FLAG_REPLY) != 0)
		reply_encode(buf, &envelope->last_reply);
	if ((flags & FLAG_HOST) != 0)
		add_words(buf, envelope->last_host);
}

bool
envelope_decode(struct buf_reader *reader, struct envelope *envelope)
{
	uint8_t flags;

	memset(envelope, 0, sizeof(*envelope));
	envelope->id = buf_get_u64(reader);
	envelope->kind = buf_get_enum(reader, ENVELOPE_KIND_COUNT);
	address_decode(reader, &envelope->rcpt);
	address_decode(reader, &envelope->dest);
	get_words(reader, envelope->action, sizeof(envelope->action));
	buf_get_string(reader, envelope->command, sizeof(envelope->command));
	envelope->dsn_notify = buf_get_u8(reader);
	get_words(reader, envelope->dsn_orcpt, sizeof(envelope->dsn_orcpt));
	envelope->state = buf_get_enum(reader, ENVELOPE_STATE_COUNT);
	envelope->tries = buf_get_u32(reader);
	envelope->expires = (int64_t)buf_get_u64(reader);
	envelope->last_try = (int64_t)buf_get_u64(reader);
	envelope->next_try = (int64_t)buf_get_u64(reader);
	envelope->delay_warned = buf_get_bool(reader);
	flags = buf_get_u8(reader);
	if ((flags & FLAG_REPLY) != 0)
		reply_decode(reader, &envelope->last_reply);
	if (flags == (FLAG_REPLY | FLAG_HOST))
		get_words(reader, envelope->last_host, sizeof(envelope->last_host));
	else if (flags != 0 && flags != FLAG_REPLY)
		reader->failed = true;
	/* The upper half may be left to the receiver, who has the message's id in the frame.
	 * RFC 3461 4.1: NEVER excludes the others. */
	if ((uint32_t)envelope->id == 0 || (envelope->dsn_notify & ~DSN_NOTIFY_ALL) != 0 ||
	    ((envelope->dsn_notify & DSN_NOTIFY_NEVER) != 0 &&
	        envelope->dsn_notify != DSN_NOTIFY_NEVER) ||
	    envelope->expires < 0 || envelope->last_try < 0 || envelope->next_try < 0)
		reader->failed = true;
	return !reader->failed;
}
