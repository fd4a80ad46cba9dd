/*
 * The mechanisms: dialogues of the RFCs, and messages that no client of theirs sends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base64.h"
#include "lookup/sasl.h"

/* RFC 7677 3: user "user", password "pencil". */
#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define VERIFIER                                        \
	"4096,W22ZaJ0SNY7soEsUEjb6gQ==,"                \
	"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=," \
	"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define SERVER_FIRST "r=" CLIENT_NONCE SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define FINAL_START  "c=biws,r=" CLIENT_NONCE SERVER_NONCE
#define PROOF        ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="

static struct sasl sasl;
static struct ipc_binding none;

static void
begin(enum sasl_mechanism mechanism)
{
	sasl_free(&sasl);
	sasl_init(&sasl, mechanism, &none, &none);
}

static enum sasl_wants
say(const char *text)
{
	return sasl_respond(&sasl, text, strlen(text));
}

#define SAY_BYTES(text) sasl_respond(&sasl, text, sizeof(text) - 1)

static int
forget(void **state)
{
	(void)state;
	sasl_free(&sasl);
	return 0;
}

static void
plain_has_user_and_password(void **state)
{
	(void)state;
	begin(SASL_PLAIN);
	assert_int_equal(SAY_BYTES("\0tim\0tanstaaftanstaaf"), SASL_PASSWORD); /* RFC 4616 4 */
	assert_string_equal(sasl.user, "tim");
	assert_string_equal(sasl.password, "tanstaaftanstaaf");
	begin(SASL_PLAIN);
	assert_int_equal(SAY_BYTES("Tim@x.test\0tim@x.test\0a b,c=d"), SASL_PASSWORD);
	assert_string_equal(sasl.user, "tim@x.test");
	assert_string_equal(sasl.password, "a b,c=d");
}

static void
plain_refuses_what_is_malformed_or_acts_for_another(void **state)
{
	static const struct {
		const char *data;
		size_t length;
	} cases[] = {
#define CASE(text) { text, sizeof(text) - 1 }
		CASE(""),
		CASE("\0"),
		CASE("\0\0"),
		CASE("tim"),
		CASE("\0tim"),
		CASE("\0tim\0"),
		CASE("\0\0secret"),
		CASE("\0tim\0secret\0"),
		CASE("\0tim\0sec\0ret"),
		CASE("Kurt\0tim\0secret"),
		CASE("\0tim\0\0secret"),
#undef CASE
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin(SASL_PLAIN);
		assert_int_equal(
		    sasl_respond(&sasl, cases[i].data, cases[i].length), SASL_MALFORMED);
	}
}

static void
user_and_password_have_a_longest(void **state)
{
	char data[AUTH_DATA_MAX];

	(void)state;
	memset(data, 'a', sizeof(data));
	data[0] = data[SASL_USER_MAX + 1] = '\0';
	begin(SASL_PLAIN);
	assert_int_equal(
	    sasl_respond(&sasl, data, SASL_USER_MAX + 2 + SASL_PASSWORD_MAX), SASL_PASSWORD);
	begin(SASL_PLAIN);
	assert_int_equal(
	    sasl_respond(&sasl, data, SASL_USER_MAX + 3 + SASL_PASSWORD_MAX), SASL_MALFORMED);
	data[SASL_USER_MAX + 1] = 'a';
	data[SASL_USER_MAX + 2] = '\0';
	begin(SASL_PLAIN);
	assert_int_equal(sasl_respond(&sasl, data, SASL_USER_MAX + 10), SASL_MALFORMED);
	begin(SASL_LOGIN);
	assert_int_equal(sasl_respond(&sasl, data + 1, SASL_USER_MAX + 1), SASL_MALFORMED);
}

static void
login_asks_for_one_after_the_other(void **state)
{
	(void)state;
	begin(SASL_LOGIN);
	sasl_begin(&sasl);
	assert_string_equal(sasl.message, "Username:");
	assert_int_equal(say("tim"), SASL_CHALLENGE);
	assert_string_equal(sasl.message, "Password:");
	assert_int_equal(say("secret"), SASL_PASSWORD);
	assert_string_equal(sasl.user, "tim");
	assert_string_equal(sasl.password, "secret");
	begin(SASL_LOGIN);
	assert_int_equal(say(""), SASL_MALFORMED);
	begin(SASL_LOGIN);
	assert_int_equal(say("tim"), SASL_CHALLENGE);
	assert_int_equal(say(""), SASL_MALFORMED);
	begin(SASL_LOGIN);
	assert_int_equal(SAY_BYTES("ti\0m"), SASL_MALFORMED);
}

static void
meet(const char *first)
{
	struct scram_verifier verifier;

	assert_int_equal(say(first), SASL_VERIFIER);
	assert_true(scram_verifier_parse(VERIFIER, &verifier));
	scram_set_nonce(sasl.scram, SERVER_NONCE);
	sasl_use_verifier(&sasl, &verifier);
}

static void
scram_goes_as_in_the_rfc(void **state)
{
	(void)state;
	begin(SASL_SCRAM_SHA_256);
	meet("n,,n=user,r=" CLIENT_NONCE);
	assert_string_equal(sasl.user, "user");
	assert_string_equal(sasl.message, SERVER_FIRST);
	assert_int_equal(say(FINAL_START PROOF), SASL_PROOF);
	assert_true(sasl_check_proof(&sasl));
	assert_string_equal(sasl.message, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
	assert_int_equal(say(""), SASL_DONE);
}

static void
scram_refuses_a_wrong_proof(void **state)
{
	(void)state;
	begin(SASL_SCRAM_SHA_256);
	meet("n,,n=user,r=" CLIENT_NONCE);
	assert_int_equal(
	    say(FINAL_START ",p=eHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), SASL_PROOF);
	assert_false(sasl_check_proof(&sasl));
	assert_int_equal(sasl.message_length, 0);
}

static void
scram_refuses_a_first_message_that_is_not_one(void **state)
{
	static const char *const messages[] = { "", "n", "n,", "n,,", "n,,n=user", "n,,n=user,",
		"n,,n=user,r=", "n,,n=,r=abc", "n,,r=abc,n=user", "n,n=user,r=abc",
		"x,,n=user,r=abc", "n,,m=ext,n=user,r=abc", "n,,n=us=er,r=abc", "n,,n=us=2c,r=abc",
		"n,,n=user=,r=abc", "n,,n=user,r=a b", "n,a=other,n=user,r=abc",
		"n,b=user,n=user,r=abc", "p=tls-exporter,,n=user,r=abc", "p=,,n=user,r=abc",
		"p=tls-unique,,n=user,r=abc", "n,,n=user,r=\303\244" };
	char text[2000];

	(void)state;
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		begin(SASL_SCRAM_SHA_256);
		assert_int_equal(say(messages[i]), SASL_MALFORMED);
	}
	begin(SASL_SCRAM_SHA_256);
	assert_int_equal(SAY_BYTES("n,,n=user\0,r=abc"), SASL_MALFORMED);
	for (size_t length = 10; length < sizeof(text); length += 10) {
		memset(text, 'a', sizeof(text));
		memcpy(text, "n,,n=", 5);
		memcpy(text + length / 2, ",r=", 3);
		text[length] = '\0';
		begin(SASL_SCRAM_SHA_256);
		(void)!say(text); /* the sanitizers look whether it fits */
	}
}

static void
scram_decodes_commas_and_equals_signs_of_names(void **state)
{
	(void)state;
	begin(SASL_SCRAM_SHA_256);
	assert_int_equal(say("n,a=a=2Cb=3Dc,n=a=2Cb=3Dc,r=abc"), SASL_VERIFIER);
	assert_string_equal(sasl.user, "a,b=c");
}

static void
scram_refuses_a_final_message_that_does_not_fit(void **state)
{
	static const char *const messages[] = {
		"",
		"c=biws",
		FINAL_START,
		FINAL_START ",p=",
		FINAL_START ",p=AAAA",
		FINAL_START ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=,x=y",
		FINAL_START ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ",
		"c=eSws,r=" CLIENT_NONCE SERVER_NONCE PROOF, /* "y,," came first as "n,," */
		"c=,r=" CLIENT_NONCE SERVER_NONCE PROOF,
		"c=biwsAAAA,r=" CLIENT_NONCE SERVER_NONCE PROOF,
		"c=biws,r=" CLIENT_NONCE PROOF,
		"c=biws,r=" CLIENT_NONCE SERVER_NONCE "x" PROOF,
		"c=biws,r=x" CLIENT_NONCE SERVER_NONCE PROOF,
		"r=" CLIENT_NONCE SERVER_NONCE ",c=biws" PROOF,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		begin(SASL_SCRAM_SHA_256);
		meet("n,,n=user,r=" CLIENT_NONCE);
		assert_int_equal(say(messages[i]), SASL_MALFORMED);
	}
	begin(SASL_SCRAM_SHA_256);
	meet("n,,n=user,r=" CLIENT_NONCE);
	assert_int_equal(say(FINAL_START PROOF), SASL_PROOF);
	assert_true(sasl_check_proof(&sasl));
	assert_int_equal(say("more"), SASL_MALFORMED);
}

static void
a_server_makes_another_nonce_each_time(void **state)
{
	struct scram_verifier verifier;
	char first[SCRAM_MESSAGE_MAX + 1];

	(void)state;
	assert_true(scram_verifier_parse(VERIFIER, &verifier));
	begin(SASL_SCRAM_SHA_256);
	assert_int_equal(say("n,,n=user,r=abc"), SASL_VERIFIER);
	sasl_use_verifier(&sasl, &verifier);
	strcpy(first, sasl.message);
	begin(SASL_SCRAM_SHA_256);
	assert_int_equal(say("n,,n=user,r=abc"), SASL_VERIFIER);
	sasl_use_verifier(&sasl, &verifier);
	assert_string_not_equal(first, sasl.message);
	assert_memory_equal(first, "r=abc", 5);
	assert_true(strcspn(first, ",") >= 5 + 22); /* 128 bits at least */
}

/* The client's side, for channels whose binding no vector has. */
static void
make_final(char *text, size_t size, const char *header, const uint8_t *binding, size_t length)
{
	uint8_t bytes[256];
	char encoded[BASE64_LENGTH(sizeof(bytes)) + 1], nonce[256];

	memcpy(bytes, header, strlen(header));
	memcpy(bytes + strlen(header), binding, length);
	base64_encode(bytes, strlen(header) + length, encoded);
	snprintf(nonce, sizeof(nonce), "%.*s", (int)strcspn(sasl.message, ","), sasl.message);
	snprintf(text, size, "c=%s,%s%s", encoded, nonce, PROOF);
}

static void
plus_takes_only_what_is_bound_to_this_channel(void **state)
{
	struct ipc_binding exporter = { .length = 32 }, end_point = { .length = 32 };
	struct scram_verifier verifier;
	char text[1024];
	uint8_t other[32];

	(void)state;
	memset(exporter.bytes, 0x11, 32);
	memset(end_point.bytes, 0x22, 32);
	memset(other, 0x33, sizeof(other));
	assert_true(scram_verifier_parse(VERIFIER, &verifier));
	for (unsigned i = 0; i < 4; i++) {
		static const char *const headers[] = { "p=tls-exporter,,",
			"p=tls-server-end-point,,", "p=tls-exporter,,", "p=tls-exporter,," };
		const uint8_t *const bindings[] = { exporter.bytes, end_point.bytes, other,
			end_point.bytes };

		sasl_free(&sasl);
		sasl_init(&sasl, SASL_SCRAM_SHA_256_PLUS, &exporter, &end_point);
		snprintf(text, sizeof(text), "%sn=user,r=abc", headers[i]);
		assert_int_equal(say(text), SASL_VERIFIER);
		sasl_use_verifier(&sasl, &verifier);
		make_final(text, sizeof(text), headers[i], bindings[i], 32);
		assert_int_equal(say(text), i < 2 ? SASL_PROOF : SASL_MALFORMED);
	}
	for (unsigned i = 0; i < 2; i++) {
		sasl_free(&sasl);
		sasl_init(&sasl, SASL_SCRAM_SHA_256_PLUS, &exporter, &end_point);
		assert_int_equal(
		    say(i == 0 ? "n,,n=user,r=abc" : "y,,n=user,r=abc"), SASL_MALFORMED);
	}
}

/* RFC 5802 6 */
static void
a_client_that_was_told_we_cannot_bind_is_refused_when_we_can(void **state)
{
	struct ipc_binding exporter = { .length = 32 };

	(void)state;
	sasl_free(&sasl);
	sasl_init(&sasl, SASL_SCRAM_SHA_256, &exporter, &none);
	assert_int_equal(say("y,,n=user,r=abc"), SASL_MALFORMED);
	sasl_free(&sasl);
	sasl_init(&sasl, SASL_SCRAM_SHA_256, &exporter, &none);
	assert_int_equal(say("n,,n=user,r=abc"), SASL_VERIFIER);
	begin(SASL_SCRAM_SHA_256);
	assert_int_equal(say("y,,n=user,r=abc"), SASL_VERIFIER);
}

static void
verifiers_are_parsed_whole_or_not(void **state)
{
	static const char *const texts[] = { "", ",", "4096", "4096,",
		"4096,W22ZaJ0SNY7soEsUEjb6gQ==", "0" VERIFIER, "-" VERIFIER, "x" VERIFIER,
		VERIFIER ",", VERIFIER "=",
		"4096,,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
		"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
		"99999999999999999999,W22ZaJ0SNY7soEsUEjb6gQ==,"
		"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
		"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
		"4096,W22ZaJ0SNY7soEsUEjb6gQ==,AAAA,AAAA" };
	struct scram_verifier verifier;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_false(scram_verifier_parse(texts[i], &verifier));
	assert_true(scram_verifier_parse(VERIFIER, &verifier));
	assert_true(scram_verifier_check(&verifier, "pencil"));
	assert_false(scram_verifier_check(&verifier, "Pencil"));
	assert_false(scram_verifier_check(&verifier, ""));
}

static void
an_invented_verifier_looks_the_same_each_time(void **state)
{
	struct scram_verifier one = { .iterations = 4096, .salt_length = 16 }, two = one,
	                      three = one;
	const uint8_t secret[32] = { 1 };

	(void)state;
	scram_verifier_invent(&one, "nobody", secret);
	scram_verifier_invent(&two, "nobody", secret);
	scram_verifier_invent(&three, "somebody", secret);
	assert_memory_equal(one.salt, two.salt, 16);
	assert_memory_not_equal(one.salt, three.salt, 16);
	assert_int_equal(one.iterations, 4096);
	assert_memory_not_equal(one.stored_key, two.stored_key, SCRAM_KEY);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, forget)
	const struct CMUnitTest tests[] = {
		TEST(plain_has_user_and_password),
		TEST(plain_refuses_what_is_malformed_or_acts_for_another),
		TEST(user_and_password_have_a_longest),
		TEST(login_asks_for_one_after_the_other),
		TEST(scram_goes_as_in_the_rfc),
		TEST(scram_refuses_a_wrong_proof),
		TEST(scram_refuses_a_first_message_that_is_not_one),
		TEST(scram_decodes_commas_and_equals_signs_of_names),
		TEST(scram_refuses_a_final_message_that_does_not_fit),
		TEST(a_server_makes_another_nonce_each_time),
		TEST(plus_takes_only_what_is_bound_to_this_channel),
		TEST(a_client_that_was_told_we_cannot_bind_is_refused_when_we_can),
		TEST(verifiers_are_parsed_whole_or_not),
		TEST(an_invented_verifier_looks_the_same_each_time),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
