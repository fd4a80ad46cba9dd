/* Transactions and envelopes as bytes, and the checksum. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/crc32c.h"
#include "common/envelope.h"

static struct envelope
full_envelope(void)
{
	struct envelope envelope;

	memset(&envelope, 0, sizeof(envelope));
	envelope.id = envelope_id_make(0xfedcba98, 7);
	envelope.kind = ENVELOPE_PIPE;
	strcpy(envelope.rcpt.local, "List Owner");
	strcpy(envelope.rcpt.domain, "example.test");
	strcpy(envelope.dest.local, "owner");
	strcpy(envelope.dest.domain, "example.test");
	strcpy(envelope.action, "local");
	strcpy(envelope.command, "/usr/bin/prog \"with blanks\"\tand a tab");
	envelope.dsn_notify = DSN_NOTIFY_SUCCESS | DSN_NOTIFY_FAILURE;
	strcpy(envelope.dsn_orcpt, "rfc822;List+20Owner@example.test");
	envelope.state = ENVELOPE_HELD;
	envelope.tries = 3;
	envelope.expires = 1800000000;
	envelope.last_try = 1700000000;
	envelope.next_try = 1700000400;
	envelope.delay_warned = true;
	reply_set(&envelope.last_reply, 452, "4.2.2", "mailbox is full");
	strcpy(envelope.last_host, "mx.example.test");
	return envelope;
}

static struct transaction
full_transaction(void)
{
	struct transaction transaction;

	memset(&transaction, 0, sizeof(transaction));
	transaction.message_id = 0xfedcba98;
	transaction.created_us = 1700000000123456;
	strcpy(transaction.sender.local, "erin");
	strcpy(transaction.sender.domain, "client.test");
	transaction.client_family = CLIENT_INET6;
	strcpy(transaction.client, "IPv6:2001:db8::1");
	strcpy(transaction.client_name, "client.test");
	strcpy(transaction.helo, "client.test");
	strcpy(transaction.tag, "in");
	strcpy(transaction.auth_user, "erin");
	transaction.dsn_return = DSN_RETURN_FULL;
	strcpy(transaction.dsn_envid, "QQ314159 x");
	transaction.smtputf8 = true;
	transaction.require_tls = true;
	transaction.tls_optional = true;
	transaction.eight_bit = true;
	transaction.size = 123456789;
	transaction.body_crc32c = 0xdeadbeef;
	return transaction;
}

static bool
decode_envelope(const struct buf *buf, struct envelope *envelope)
{
	struct buf_reader reader;

	buf_reader_init(&reader, buf->data, buf->length);
	return envelope_decode(&reader, envelope) && buf_reader_done(&reader);
}

static void
all_fields_come_back(void **state)
{
	struct envelope envelope = full_envelope(), envelope_back;
	struct transaction transaction = full_transaction(), transaction_back;
	struct buf_reader reader;
	struct buf buf;

	(void)state;
	buf_init(&buf, 16384);
	transaction_encode(&buf, &transaction);
	envelope_encode(&buf, &envelope);
	assert_true(buf_ok(&buf));
	buf_reader_init(&reader, buf.data, buf.length);
	assert_true(transaction_decode(&reader, &transaction_back));
	assert_true(envelope_decode(&reader, &envelope_back));
	assert_true(buf_reader_done(&reader));
	assert_memory_equal(&transaction, &transaction_back, sizeof(transaction));
	assert_memory_equal(&envelope, &envelope_back, sizeof(envelope));
	buf_free(&buf);
}

/* As they lie in spools of segment version 1, before there were flags beside smtputf8 and a host
 * behind the reply. */
static void
what_the_first_version_wrote_is_read(void **state)
{
	struct envelope envelope = full_envelope(), envelope_back;
	struct transaction transaction = full_transaction(), transaction_back;
	struct buf_reader reader;
	struct buf buf;

	(void)state;
	transaction.require_tls = transaction.tls_optional = false;
	memset(envelope.last_host, 0, sizeof(envelope.last_host));
	buf_init(&buf, 16384);
	buf_add_u32(&buf, transaction.message_id);
	buf_add_u64(&buf, (uint64_t)transaction.created_us);
	address_encode(&buf, &transaction.sender);
	buf_add_u8(&buf, transaction.client_family);
	buf_add_string(&buf, transaction.client);
	buf_add_string(&buf, transaction.client_name);
	buf_add_string(&buf, transaction.helo);
	buf_add_string(&buf, transaction.tag);
	buf_add_string(&buf, transaction.auth_user);
	buf_add_u8(&buf, transaction.dsn_return);
	buf_add_string(&buf, transaction.dsn_envid);
	buf_add_u8(&buf, 1); /* smtputf8 */
	buf_add_u8(&buf, 1); /* eight_bit */
	buf_add_u8(&buf, 0); /* is_bounce */
	buf_add_u64(&buf, transaction.size);
	buf_add_u32(&buf, transaction.body_crc32c);
	buf_add_u64(&buf, envelope.id);
	buf_add_u8(&buf, envelope.kind);
	address_encode(&buf, &envelope.rcpt);
	address_encode(&buf, &envelope.dest);
	buf_add_string(&buf, envelope.action);
	buf_add_string(&buf, envelope.command);
	buf_add_u8(&buf, envelope.dsn_notify);
	buf_add_string(&buf, envelope.dsn_orcpt);
	buf_add_u8(&buf, envelope.state);
	buf_add_u32(&buf, envelope.tries);
	buf_add_u64(&buf, (uint64_t)envelope.expires);
	buf_add_u64(&buf, (uint64_t)envelope.last_try);
	buf_add_u64(&buf, (uint64_t)envelope.next_try);
	buf_add_u8(&buf, 1); /* delay_warned */
	buf_add_u8(&buf, 1); /* a reply follows */
	reply_encode(&buf, &envelope.last_reply);
	assert_true(buf_ok(&buf));
	buf_reader_init(&reader, buf.data, buf.length);
	assert_true(transaction_decode(&reader, &transaction_back));
	assert_true(envelope_decode(&reader, &envelope_back));
	assert_true(buf_reader_done(&reader));
	assert_memory_equal(&transaction, &transaction_back, sizeof(transaction));
	assert_memory_equal(&envelope, &envelope_back, sizeof(envelope));
	buf_free(&buf);
}

static void
the_largest_envelope_fits_a_frame(void **state)
{
	struct envelope envelope = full_envelope();
	struct buf buf;

	(void)state;
	memset(envelope.command, 'c', PATH_TEXT_MAX);
	memset(envelope.dsn_orcpt, 'o', DSN_ORCPT_MAX);
	memset(envelope.last_reply.text, 'r', REPLY_TEXT_MAX);
	memset(envelope.last_host, 'h', HOSTNAME_MAX);
	buf_init(&buf, 16384);
	envelope_encode(&buf, &envelope);
	assert_true(buf_ok(&buf));
	assert_true(decode_envelope(&buf, &envelope));
	buf_free(&buf);
}

static void
every_cut_is_refused(void **state)
{
	struct envelope envelope = full_envelope(), back;
	struct buf_reader reader;
	struct buf buf;

	(void)state;
	buf_init(&buf, 16384);
	envelope_encode(&buf, &envelope);
	for (size_t length = 0; length < buf.length; length++) {
		uint8_t *exact = malloc(length == 0 ? 1 : length);

		assert_non_null(exact);
		memcpy(exact, buf.data, length);
		buf_reader_init(&reader, exact, length);
		assert_false(envelope_decode(&reader, &back));
		free(exact);
	}
	buf_free(&buf);
}

static void
control_characters_do_not_pass(void **state)
{
	struct transaction transaction = full_transaction(), back;
	struct buf_reader reader;
	struct buf buf;
	uint8_t *at;

	(void)state;
	strcpy(transaction.helo, "evil\r\nReceived: x");
	buf_init(&buf, 16384);
	transaction_encode(&buf, &transaction);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_true(transaction_decode(&reader, &back));
	assert_string_equal(back.helo, "evil??Received: x");
	/* Said by someone who doesn't use our encoder. */
	at = memmem(buf.data, buf.length, "evil??", 6);
	assert_non_null(at);
	at[4] = '\r';
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(transaction_decode(&reader, &back));
	buf_free(&buf);
}

static void
values_out_of_range_are_refused(void **state)
{
	struct envelope envelope, back;
	struct buf buf;

	(void)state;
	buf_init(&buf, 16384);
	envelope = full_envelope();
	envelope.id = envelope_id_make(5, 0);
	envelope_encode(&buf, &envelope);
	assert_false(decode_envelope(&buf, &back));
	buf_clear(&buf);
	/* RFC 3461 4.1: NEVER with others */
	envelope = full_envelope();
	envelope.dsn_notify = DSN_NOTIFY_NEVER | DSN_NOTIFY_SUCCESS;
	envelope_encode(&buf, &envelope);
	assert_false(decode_envelope(&buf, &back));
	buf_clear(&buf);
	envelope = full_envelope();
	envelope.expires = -1;
	envelope_encode(&buf, &envelope);
	assert_false(decode_envelope(&buf, &back));
	buf_clear(&buf);
	envelope = full_envelope();
	envelope_encode(&buf, &envelope);
	buf.data[8] = ENVELOPE_KIND_COUNT;
	assert_false(decode_envelope(&buf, &back));
	buf_free(&buf);
}

static void
ids_hold_message_and_number(void **state)
{
	(void)state;
	assert_int_equal(envelope_id_make(0x12345678, 0x9abcdef0), 0x123456789abcdef0);
	assert_int_equal(envelope_id_message(0x123456789abcdef0), 0x12345678);
}

static void
the_checksum_is_crc32c(void **state)
{
	uint8_t data[32];

	(void)state;
	/* RFC 3720 B.4 */
	memset(data, 0, sizeof(data));
	assert_int_equal(crc32c(0, data, sizeof(data)), 0x8a9136aa);
	memset(data, 0xff, sizeof(data));
	assert_int_equal(crc32c(0, data, sizeof(data)), 0x62a8ab43);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, data, sizeof(data)), 0x46dd794e);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(77, NULL, 0), 77);
}

static void
both_ways_of_computing_agree_in_any_pieces(void **state)
{
	uint8_t data[300];

	(void)state;
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 73 + 5);
	for (size_t from = 0; from < 9; from++) {
		for (size_t length = 0; length + from < sizeof(data); length++) {
			uint32_t whole = crc32c(0, data + from, length);

			assert_int_equal(whole, crc32c_portable(0, data + from, length));
			assert_int_equal(whole,
			    crc32c(crc32c(0, data + from, length / 3), data + from + length / 3,
			        length - length / 3));
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_fields_come_back),
		cmocka_unit_test(what_the_first_version_wrote_is_read),
		cmocka_unit_test(the_largest_envelope_fits_a_frame),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(control_characters_do_not_pass),
		cmocka_unit_test(values_out_of_range_are_refused),
		cmocka_unit_test(ids_hold_message_and_number),
		cmocka_unit_test(the_checksum_is_crc32c),
		cmocka_unit_test(both_ways_of_computing_agree_in_any_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
