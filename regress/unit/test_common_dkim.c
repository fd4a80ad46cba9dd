/*
 * Signatures: canonical forms as in the RFCs' examples, the example message of RFC 8463 whose
 * signatures others made, and own ones that verify, whatever is in the header.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "common/base64.h"
#include "common/memory_file.h"
#include "common/dkim.h"
#include "common/dkim_canonical.h"
#include "smtpd/message.h"
#include "smtpd/submission.h"

/* Canonical forms */

static void
write_to(void *arg, const void *data, size_t length)
{
	buf_add(arg, data, length);
}

/* The canonical body, fed in pieces of every size. */
static void
assert_body(const char *body, const char *canonical)
{
	struct dkim_body state;
	struct buf out;
	size_t piece, at, length = strlen(body);

	for (piece = 1; piece <= length + 1; piece++) {
		buf_init(&out, 100000);
		dkim_body_init(&state, write_to, &out);
		for (at = 0; at < length; at += piece)
			dkim_body_feed(
			    &state, body + at, length - at < piece ? length - at : piece);
		dkim_body_end(&state);
		buf_add_u8(&out, '\0');
		assert_string_equal((const char *)out.data, canonical);
		buf_free(&out);
	}
}

static void
assert_field(const char *field, const char *canonical)
{
	struct buf out;

	buf_init(&out, 1000);
	dkim_relax_field(&out, field, strlen(field));
	buf_add_u8(&out, '\0');
	assert_string_equal((const char *)out.data, canonical);
	buf_free(&out);
}

static void
canonical_forms_are_those_of_the_rfcs_example(void **state)
{
	(void)state;
	/* RFC 6376 3.4.5, example 1 */
	assert_field("A: X\r\n", "a:X");
	assert_field("B : Y\t\r\n\tZ  \r\n", "b:Y Z");
	assert_body(" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n");
}

static void
a_body_without_text_is_nothing_and_a_last_line_has_its_end(void **state)
{
	(void)state;
	assert_body("", "");
	assert_body("\r\n", "");
	assert_body("\r\n\r\n \t\r\n", "");
	assert_body("a", "a\r\n");
	assert_body("a\r\n", "a\r\n");
	assert_body("a \t", "a\r\n");
	assert_body("\r\n\r\na\r\n", "\r\n\r\na\r\n");
	assert_body("a\r\n \r\n\t\r\nb\r\n\r\n", "a\r\n\r\n\r\nb\r\n");
	assert_body("a\rb\nc\r\r\nd\r", "a\rb\nc\r\r\nd\r\r\n");
}

static void
fields_are_unfolded(void **state)
{
	(void)state;
	assert_field("SubJect:\r\n a\r\n\t\r\n  b", "subject:a b");
	assert_field("X:", "x:");
	assert_field("X: \r\n \r\n", "x:");
	assert_field("X \t : a:b  c\r\n", "x:a:b c");
}

/* RFC 8463 appendix A */

static const char example_header[] =
    "From: Joe SixPack <joe@football.example.com>\r\n"
    "To: Suzie Q <suzie@shopping.example.net>\r\n"
    "Subject: Is dinner ready?\r\n"
    "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
    "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n";
static const char example_body[] =
    "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
static const char example_ed25519[] =
    "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
    " d=football.example.com; i=@football.example.com;\r\n"
    " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
    " subject : date : message-id : from : subject : date;\r\n"
    " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
    " b=";
static const char example_ed25519_value[] =
    "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";
static const char example_ed25519_key[] = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
static const char example_rsa[] = "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n"
                                  " d=football.example.com; i=@football.example.com;\r\n"
                                  " q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n"
                                  " date : message-id : from : subject : date;\r\n"
                                  " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
                                  " b=";
static const char example_rsa_value[] =
    "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3"
    "DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz"
    "dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=";
static const char example_rsa_key[] =
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR"
    "iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC"
    "DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3"
    "Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

static size_t
decode(const char *text, uint8_t *bytes, size_t size)
{
	size_t length;

	assert_true(base64_decode(text, strlen(text), bytes, size, &length));
	return length;
}

static bool
verify(EVP_PKEY *key, const uint8_t *digest, const uint8_t *signature, size_t length)
{
	bool good;

	if (EVP_PKEY_is_a(key, "ED25519")) {
		EVP_MD_CTX *context = EVP_MD_CTX_new();

		assert_int_equal(EVP_DigestVerifyInit(context, NULL, NULL, NULL, key), 1);
		good =
		    EVP_DigestVerify(context, signature, length, digest, SHA256_DIGEST_LENGTH) == 1;
		EVP_MD_CTX_free(context);
		return good;
	}
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);

	assert_int_equal(EVP_PKEY_verify_init(context), 1);
	assert_int_equal(EVP_PKEY_CTX_set_signature_md(context, EVP_sha256()), 1);
	good = EVP_PKEY_verify(context, signature, length, digest, SHA256_DIGEST_LENGTH) == 1;
	EVP_PKEY_CTX_free(context);
	return good;
}

/* The digest of the header's fields in their order, and of the signature's own. */
static void
digest_header(const char *header, const char *own, uint8_t digest[SHA256_DIGEST_LENGTH])
{
	const char *at = header, *end;
	struct buf out;

	buf_init(&out, 10000);
	for (; *at != '\0'; at = end) {
		end = strstr(at, "\r\n") + 2;
		dkim_relax_field(&out, at, (size_t)(end - at));
		buf_add_text(&out, "\r\n");
	}
	dkim_relax_field(&out, own, strlen(own));
	SHA256(out.data, out.length, digest);
	buf_free(&out);
}

static void
the_rfcs_signed_message_verifies(void **state)
{
	uint8_t digest[SHA256_DIGEST_LENGTH], bytes[400], signature[400];
	const uint8_t *der = bytes;
	struct dkim_body body;
	struct buf out;
	size_t length;
	EVP_PKEY *key;

	(void)state;
	buf_init(&out, 1000);
	dkim_body_init(&body, write_to, &out);
	dkim_body_feed(&body, example_body, strlen(example_body));
	dkim_body_end(&body);
	SHA256(out.data, out.length, digest);
	buf_free(&out);
	assert_int_equal(decode("2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=", bytes, 400), 32);
	assert_memory_equal(digest, bytes, 32);

	length = decode(example_ed25519_key, bytes, sizeof(bytes));
	key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, bytes, length);
	length = decode(example_ed25519_value, signature, sizeof(signature));
	digest_header(example_header, example_ed25519, digest);
	assert_true(verify(key, digest, signature, length));
	digest[0] ^= 1;
	assert_false(verify(key, digest, signature, length));
	EVP_PKEY_free(key);

	length = decode(example_rsa_key, bytes, sizeof(bytes));
	key = d2i_PUBKEY(NULL, &der, (long)length);
	length = decode(example_rsa_value, signature, sizeof(signature));
	digest_header(example_header, example_rsa, digest);
	assert_true(verify(key, digest, signature, length));
	EVP_PKEY_free(key);
}

/* Authors */

static void
an_author_has_the_domain_that_a_reader_sees(void **state)
{
	static const char *const cases[][2] = {
		{ " joe@example.org\r\n", "example.org" },
		{ " Joe <joe@Example.ORG>", "Example.ORG" },
		{ "\"x@a.test <y@b.test>\" <joe@example.org>", "example.org" },
		{ " x@a.test (c@c.test) <joe@example.org>", "example.org" },
		{ " joe@example.org (Joe @ home)", "example.org" },
		{ " joe@example.org, ann@other.test", "example.org" },
		{ " A: <joe@example.org>;", "example.org" },
		{ " A: joe@example.org;", "example.org" },
		{ " <@route.test:joe@example.org>", "example.org" },
		{ " \"a\\\"@x.test\"@example.org", "example.org" },
		{ " joe@\r\n example.org", "example.org" },
		{ " joe", "" },
		{ "", "" },
		{ " joe@", "" },
		{ " \"unclosed@example.org", "" },
		{ " (unclosed@example.org", "" },
		{ " undisclosed:;", "" },
	};
	char domain[256];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		dkim_author_domain(cases[i][0], strlen(cases[i][0]), domain, sizeof(domain));
		assert_string_equal(domain, cases[i][1]);
	}
}

/* Signing */

static struct dkim_keys keys;
static EVP_PKEY *privates[2];

static void
add_key(struct buf *list, const char *domain, enum dkim_algorithm algorithm)
{
	struct ipc_dkim_key key = { .algorithm = algorithm };

	strlcpy(key.domain, domain, sizeof(key.domain));
	strlcpy(key.selector, dkim_algorithm_name(algorithm), sizeof(key.selector));
	key.signature_length = (uint16_t)EVP_PKEY_get_size(privates[algorithm]);
	memset(key.key, 1 + (int)algorithm, sizeof(key.key));
	ipc_dkim_key_encode(list, &key);
}

static int
make_keys(void **state)
{
	struct buf list;
	int fd;

	(void)state;
	privates[DKIM_RSA_SHA256] = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	privates[DKIM_ED25519_SHA256] = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	buf_init(&list, IPC_DKIM_KEYS_SIZE);
	add_key(&list, "zebra.test", DKIM_ED25519_SHA256);
	add_key(&list, "example.org", DKIM_ED25519_SHA256);
	add_key(&list, "example.org", DKIM_RSA_SHA256);
	add_key(&list, "xn--bcher-kva.example", DKIM_RSA_SHA256);
	fd = memory_file_make("keys", list.data, list.length);
	assert_true(dkim_keys_take(&keys, fd));
	close(fd);
	buf_free(&list);
	return 0;
}

static int
free_keys(void **state)
{
	(void)state;
	dkim_keys_clear(&keys);
	EVP_PKEY_free(privates[0]);
	EVP_PKEY_free(privates[1]);
	return 0;
}

static void
keys_of_the_nearest_domain_above_are_found(void **state)
{
	const struct ipc_dkim_key *first;

	(void)state;
	assert_int_equal(dkim_keys_find(&keys, "sub.example.org", &first), 2);
	assert_string_equal(first->domain, "example.org");
	assert_int_equal(dkim_keys_find(&keys, "a.b.c.Sub.Example.ORG", &first), 2);
	assert_int_equal(dkim_keys_find(&keys, "x.zebra.test", &first), 1);
	assert_string_equal(first->domain, "zebra.test");
}

static void
keys_are_found_by_any_form_of_their_domain(void **state)
{
	const struct ipc_dkim_key *first;

	(void)state;
	assert_int_equal(dkim_keys_find(&keys, "Example.ORG", &first), 2);
	assert_int_equal(first[0].algorithm, DKIM_RSA_SHA256);
	assert_int_equal(dkim_keys_find(&keys,
	                     "b\xc3\xbc"
	                     "cher.example",
	                     &first),
	    1);
	assert_int_equal(dkim_keys_find(&keys, "zebra.test", &first), 1);
	assert_int_equal(dkim_keys_find(&keys, "notexample.org", &first), 0);
	assert_int_equal(dkim_keys_find(&keys, "org", &first), 0);
	assert_int_equal(dkim_keys_find(&keys, "a.test", &first), 0);
	assert_int_equal(dkim_keys_find(&keys, "zz.test", &first), 0);
	assert_int_equal(dkim_keys_find(&keys, "", &first), 0);
	assert_int_equal(dkim_keys_find(&keys, "[192.0.2.1]", &first), 0);
}

static void
a_list_of_keys_that_is_cut_changes_nothing(void **state)
{
	struct buf list;
	int fd;

	(void)state;
	buf_init(&list, 1000);
	add_key(&list, "other.test", DKIM_RSA_SHA256);
	fd = memory_file_make("keys", list.data, list.length - 1);
	assert_false(dkim_keys_take(&keys, fd));
	assert_int_equal(keys.count, 4);
	close(fd);
	buf_free(&list);
}

static void
sign(struct dkim *dkim)
{
	uint8_t bytes[KEEPER_SIGNATURE_MAX];
	struct ipc_sign request;
	size_t i, length;

	assert_true(dkim_end(dkim));
	for (i = 0; i < dkim_count(dkim); i++) {
		EVP_PKEY *key = privates[dkim_key(dkim, i)->algorithm];

		dkim_request(dkim, i, &request);
		assert_int_equal(request.kind, KEEPER_DKIM);
		assert_int_equal(request.key[0], 1 + dkim_key(dkim, i)->algorithm);
		length = sizeof(bytes);
		if (request.algorithm == KEEPER_ED25519) {
			EVP_MD_CTX *context = EVP_MD_CTX_new();

			assert_int_equal(EVP_DigestSignInit(context, NULL, NULL, NULL, key), 1);
			assert_int_equal(
			    EVP_DigestSign(context, bytes, &length, request.data, request.length),
			    1);
			EVP_MD_CTX_free(context);
		} else {
			EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);

			assert_int_equal(request.algorithm, KEEPER_RSA_PKCS1_SHA256);
			assert_int_equal(EVP_PKEY_sign_init(context), 1);
			assert_int_equal(EVP_PKEY_CTX_set_signature_md(context, EVP_sha256()), 1);
			assert_int_equal(
			    EVP_PKEY_sign(context, bytes, &length, request.data, request.length),
			    1);
			EVP_PKEY_CTX_free(context);
		}
		assert_false(dkim_take_signature(dkim, i, bytes, length - 1));
		assert_true(dkim_take_signature(dkim, i, bytes, length));
		assert_true(verify(key, request.data, bytes, length));
	}
}

static enum dkim_verdict
begin(const char *header, const char *sender, bool sender_only, struct dkim **dkim)
{
	struct dkim_who who = { .sender_domain = sender, .sender_only = sender_only };

	*dkim = dkim_new(&keys, &who, 1528637909);
	return dkim_header(*dkim, header, strlen(header));
}

static void
who_is_signed_for(void **state)
{
	static const struct {
		const char *header, *sender;
		bool sender_only;
		size_t count; /* of signatures */
	} cases[] = {
		{ "From: a@example.org\r\n", "", false, 2 },
		{ "From: a@zebra.test\r\n", "example.org", false, 1 },
		{ "From: a@zebra.test\r\n", "example.org", true, 2 },
		{ "From: a@else.test\r\n", "example.org", false, 2 },
		{ "From: a@example.org\r\n", "else.test", true, 0 },
		{ "From: a@example.org\r\n", "", true, 0 },
		{ "From: a@else.test\r\n", "", false, 0 },
		{ "Subject: x\r\n", "example.org", false, 0 },
		{ "", "example.org", false, 0 },
	};
	struct dkim *dkim;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(
		    begin(cases[i].header, cases[i].sender, cases[i].sender_only, &dkim),
		    cases[i].count > 0 ? DKIM_SIGNS : DKIM_NO_KEY);
		assert_int_equal(dkim_count(dkim), cases[i].count);
		dkim_free(dkim);
	}
}

static void
the_fields_are_as_long_as_was_said(void **state)
{
	const char *fields;
	struct dkim *dkim;
	size_t length;

	(void)state;
	assert_int_equal(
	    begin("From: a@example.org\r\nTo: b\r\nTo: c\r\n", "", false, &dkim), DKIM_SIGNS);
	length = dkim_fields_length(dkim);
	dkim_feed(dkim, "hello\r\n", 7);
	sign(dkim);
	fields = dkim_fields(dkim);
	assert_int_equal(strlen(fields), length);
	assert_non_null(strstr(fields,
	    "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n"
	    "\td=example.org;\r\n\ts=rsa; t=1528637909;\r\n"
	    "\th=From:From:Reply-To:To:To:To:"));
	assert_non_null(strstr(fields, "\r\nDKIM-Signature: v=1; a=ed25519-sha256;"));
	while (*fields != '\0') { /* RFC 5322 2.1.1 */
		length = strcspn(fields, "\r");
		assert_true(length <= 78);
		assert_int_not_equal(fields[length - 1], ' ');
		fields += length + 2;
	}
	dkim_free(dkim);
}

static void
more_fields_than_can_be_signed_are_refused(void **state)
{
	char header[20000] = "From: a@example.org\r\n";
	struct dkim *dkim;
	int i;

	(void)state;
	for (i = 0; i < 200; i++)
		strlcat(header, "To: x\r\n", sizeof(header));
	assert_int_equal(begin(header, "", false, &dkim), DKIM_SIGNS);
	dkim_free(dkim);
	for (i = 0; i < 200; i++)
		strlcat(header, "To: x\r\n", sizeof(header));
	assert_int_equal(begin(header, "", false, &dkim), DKIM_TOO_MANY);
	dkim_free(dkim);
}

/* In a message */

static uint64_t memory;

static void
receive(const char *text, size_t repeat, size_t piece, bool to_file, char **stored)
{
	const struct message_limits limits = { .size = 1 << 30,
		.text_line = 1000,
		.header_size = 1 << 30,
		.received = 100,
		.line_ends = LINE_ENDS_STRICT,
		.memory = &memory };
	const struct submission_options options = { .hostname = "mx.test", .wall = 1528637909 };
	const struct dkim_who who = { .sender_domain = "" };
	struct message *message = message_new(&limits, MESSAGE_BDAT);
	char name[] = "/tmp/test_common_dkim.XXXXXX";
	size_t length = strlen(text), at, i, size;
	int file = -1, fd;
	bool ended;

	assert_true(message_submit(message, &options));
	message_sign(message, dkim_new(&keys, &who, 1528637909));
	message_add_prefix(message, "Received: by mx.test\r\n");
	for (i = 0; i <= repeat; i++) {
		for (at = 0; at < length; at += piece)
			(void)message_feed(
			    message, text + at, length - at < piece ? length - at : piece, &ended);
		text = "0123456789 0123456789 0123456789 0123456789 0123456789\r\n";
		length = strlen(text);
		if (message_needs_file(message) || (to_file && i == repeat)) {
			assert_int_equal(file, -1);
			file = mkstemp(name);
			unlink(name);
			message_use_file(message, dup(file));
		}
	}
	message_finish(message);
	assert_non_null(message_signer(message));
	sign(message_signer(message));
	message_set_signature(message);
	fd = message_take_fd(message);
	assert_false(message_is_refused(message, NULL));
	assert_int_equal(fd == -1, file != -1);
	fd = fd == -1 ? file : fd;
	*stored = (char *)memory_file_read(fd, 1 << 30, &size);
	assert_int_equal(size, message_stored_bytes(message));
	close(fd);
	message_free(message);
	assert_int_equal(memory, 0);
}

static void
a_signature_stands_in_front_wherever_the_text_is(void **state)
{
	static const char text[] =
	    "From: a@example.org\r\nDate: x\r\nMessage-ID: <y>\r\n\r\nhello\r\n";
	static const struct {
		size_t repeat, piece;
		bool to_file;
	} cases[] = { { 0, 1, false }, { 0, 1000, false }, { 0, 1000, true }, { 2000, 1000, false },
		{ 2000, 1000, true }, { 40000, 1000, false } };
	char *stored, *rest;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		receive(text, cases[i].repeat, cases[i].piece, cases[i].to_file, &stored);
		assert_int_equal(strncmp(stored, "DKIM-Signature: v=1; a=rsa-sha256;", 34), 0);
		rest = strstr(stored, "\r\nReceived: by mx.test\r\n");
		assert_non_null(rest);
		rest += strlen("\r\nReceived: by mx.test\r\n");
		assert_int_equal(strncmp(rest, text, strlen(text)), 0);
		assert_int_equal(strlen(rest), strlen(text) + cases[i].repeat * 56);
		free(stored);
	}
}

/* What h= names, from the stored message alone, hashes to what was signed. */
static void
what_is_stored_is_what_was_hashed(void **state)
{
	static const char *const texts[] = {
		"From: a@example.org\r\n\r\nhello\r\n",
		"From: a@example.org\r\nBcc: secret@example.org\r\n\r\nhello\r\n",
		"From: a@example.org\r\nno field\r\nhello\r\n",
		"From: a@example.org\r\n",
		"Subject: x\r\n y\r\nFrom: a@example.org\r\n\r\n",
	};
	uint8_t digest[SHA256_DIGEST_LENGTH], told[SHA256_DIGEST_LENGTH];
	char *stored, *body, *hash;
	struct dkim_body canonical;
	struct buf out;
	size_t i, length;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		receive(texts[i], 0, 1 + i, false, &stored);
		assert_null(strstr(stored, "secret"));
		body = strstr(stored, "\r\n\r\n");
		body = body == NULL ? stored + strlen(stored) : body + 4;
		buf_init(&out, 1000);
		dkim_body_init(&canonical, write_to, &out);
		dkim_body_feed(&canonical, body, strlen(body));
		dkim_body_end(&canonical);
		SHA256(out.data == NULL ? (const uint8_t *)"" : out.data, out.length, digest);
		buf_free(&out);
		hash = strstr(stored, "\tbh=") + 4;
		assert_true(base64_decode(hash, 44, told, sizeof(told), &length));
		assert_memory_equal(told, digest, sizeof(digest));
		free(stored);
	}
}

static void
a_header_too_long_to_be_kept_is_refused(void **state)
{
	const struct message_limits limits = { .size = 1 << 30,
		.text_line = 1000,
		.header_size = 1 << 30,
		.received = 100,
		.line_ends = LINE_ENDS_STRICT,
		.memory = &memory };
	const struct submission_options options = { .hostname = "mx.test", .wall = 1528637909 };
	const struct dkim_who who = { .sender_domain = "" };
	struct message *message = message_new(&limits, MESSAGE_BDAT);
	struct reply reply;
	bool ended;
	int i;

	(void)state;
	assert_true(message_submit(message, &options));
	message_sign(message, dkim_new(&keys, &who, 1528637909));
	for (i = 0; i < 30000; i++)
		(void)message_feed(message, "X: 0123456789\r\n", 15, &ended);
	assert_true(message_is_refused(message, &reply));
	assert_int_equal(reply.code, 552);
	message_free(message);
	assert_int_equal(memory, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(canonical_forms_are_those_of_the_rfcs_example),
		cmocka_unit_test(a_body_without_text_is_nothing_and_a_last_line_has_its_end),
		cmocka_unit_test(fields_are_unfolded),
		cmocka_unit_test(the_rfcs_signed_message_verifies),
		cmocka_unit_test(an_author_has_the_domain_that_a_reader_sees),
		cmocka_unit_test(keys_of_the_nearest_domain_above_are_found),
		cmocka_unit_test(keys_are_found_by_any_form_of_their_domain),
		cmocka_unit_test(a_list_of_keys_that_is_cut_changes_nothing),
		cmocka_unit_test(who_is_signed_for),
		cmocka_unit_test(the_fields_are_as_long_as_was_said),
		cmocka_unit_test(more_fields_than_can_be_signed_are_refused),
		cmocka_unit_test(a_signature_stands_in_front_wherever_the_text_is),
		cmocka_unit_test(what_is_stored_is_what_was_hashed),
		cmocka_unit_test(a_header_too_long_to_be_kept_is_refused),
	};

	return cmocka_run_group_tests(tests, make_keys, free_keys);
}
