/* Logging in to servers: the example of RFC 7677 3, and servers that say what no server may. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base64.h"
#include "deliver/relay_auth.h"

#define NONCE        "rOprNGfwEbeRWgbNEkqO"
#define NONCES       NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define SALT         "W22ZaJ0SNY7soEsUEjb6gQ=="
#define SERVER_FIRST "r=" NONCES ",s=" SALT ",i=4096"
#define CLIENT_FINAL "c=biws,r=" NONCES ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define SERVER_FINAL "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

static struct scram_keys keys;
static char message[SCRAM_MESSAGE_MAX];

static struct scram *
example(void)
{
	struct scram *scram = scram_new("user", "pencil", NULL, NULL, 0, false, &keys);

	assert_non_null(scram);
	scram_set_nonce(scram, NONCE);
	assert_int_equal(scram_make_first(scram, message), strlen("n,,n=user,r=" NONCE));
	assert_string_equal(message, "n,,n=user,r=" NONCE);
	return scram;
}

static bool
takes_first(const char *text)
{
	struct scram *scram = example();
	const char *why = NULL;
	bool taken = scram_take_first(scram, text, strlen(text), &why);

	if (!taken)
		assert_non_null(why);
	scram_free(scram);
	return taken;
}

static bool
takes_final(const char *text)
{
	struct scram *scram = example();
	const char *why = NULL;
	bool taken;

	assert_true(scram_take_first(scram, SERVER_FIRST, strlen(SERVER_FIRST), &why));
	assert_int_equal(scram_make_final(scram, message), strlen(CLIENT_FINAL));
	assert_string_equal(message, CLIENT_FINAL);
	taken = scram_take_final(scram, text, strlen(text), &why);
	scram_free(scram);
	return taken;
}

static void
the_example_of_the_rfc(void **state)
{
	(void)state;
	assert_true(takes_final(SERVER_FINAL));
	/* And once more, with the keys of the first time. */
	assert_int_equal(keys.iterations, 4096);
	assert_true(takes_final(SERVER_FINAL));
}

static void
keys_are_made_anew_for_another_salt(void **state)
{
	(void)state;
	assert_true(takes_final(SERVER_FINAL));
	assert_true(takes_first("r=" NONCES ",s=AAAA,i=4096"));
	assert_int_equal(keys.salt_length, 3);
	assert_true(takes_first("r=" NONCES ",s=AAAA,i=4097"));
	assert_int_equal(keys.iterations, 4097);
	assert_true(takes_final(SERVER_FINAL));
}

static void
servers_first_message_is_bounded(void **state)
{
	static const char *const bad[] = {
		"",
		"r=",
		"r=" NONCES,
		"r=" NONCES ",s=" SALT,
		"r=" NONCES ",s=" SALT ",i=",
		"r=" NONCES ",s=" SALT ",i=0",
		"r=" NONCES ",s=" SALT ",i=1",
		"r=" NONCES ",s=" SALT ",i=4095",
		"r=" NONCES ",s=" SALT ",i=1000001",
		"r=" NONCES ",s=" SALT ",i=2147483648",
		"r=" NONCES ",s=" SALT ",i=18446744073709551616",
		"r=" NONCES ",s=" SALT ",i=-4096",
		"r=" NONCES ",s=" SALT ",i=04096",
		"r=" NONCES ",s=" SALT ",i=4096x",
		"r=" NONCES ",s=" SALT ",i=4096 ",
		"r=" NONCES ",s=,i=4096",
		"r=" NONCES ",s=W22Z=,i=4096",
		"r=" NONCES ",s=!,i=4096",
		"r=" NONCES ",i=4096,s=" SALT,
		"r=" NONCE ",s=" SALT ",i=4096",       /* nothing of its own */
		"r=other" NONCES ",s=" SALT ",i=4096", /* another's */
		"r=" NONCE "\x7f"
		",s=" SALT ",i=4096",                   /* not printable */
		"r=" NONCE " x,s=" SALT ",i=4096",      /* nor a blank */
		"m=ext,r=" NONCES ",s=" SALT ",i=4096", /* must be understood */
		"R=" NONCES ",s=" SALT ",i=4096",
		"e=invalid-proof",
	};
	char salted[512], salt[BASE64_LENGTH(SCRAM_SALT_MAX + 1) + 1];
	uint8_t bytes[SCRAM_SALT_MAX + 1] = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (takes_first(bad[i]))
			fail_msg("%s", bad[i]);
	base64_encode(bytes, SCRAM_SALT_MAX + 1, salt);
	snprintf(salted, sizeof(salted), "r=%s,s=%s,i=4096", NONCES, salt);
	assert_false(takes_first(salted));
	base64_encode(bytes, SCRAM_SALT_MAX, salt);
	snprintf(salted, sizeof(salted), "r=%s,s=%s,i=4096", NONCES, salt);
	assert_true(takes_first(salted));
	assert_true(takes_first(SERVER_FIRST ",x=may be ignored"));
}

static void
messages_with_a_nul_and_long_ones_are_refused(void **state)
{
	struct scram *scram = example();
	char text[SCRAM_TEXT + 2];
	const char *why;

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, SERVER_FIRST ",x=", strlen(SERVER_FIRST ",x="));
	assert_false(scram_take_first(scram, text, SCRAM_TEXT + 1, &why));
	assert_true(scram_take_first(scram, text, SCRAM_TEXT, &why));
	text[SCRAM_TEXT - 1] = '\0';
	assert_false(scram_take_first(scram, text, SCRAM_TEXT, &why));
	scram_free(scram);
}

static void
a_server_must_prove_that_it_knows_the_password(void **state)
{
	static const char *const bad[] = {
		"",
		"v=",
		"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", /* bits that aren't zero */
		"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl9",
		"e=invalid-proof",
		"e=",
		"p=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (takes_final(bad[i]))
			fail_msg("%s", bad[i]);
	assert_true(takes_final(SERVER_FINAL ",x=may be ignored"));
}

static void
names_are_escaped_and_bindings_are_sent(void **state)
{
	static const uint8_t binding[] = { 1, 2, 3 };
	struct scram *scram =
	    scram_new("a,b=c", "x", "tls-exporter", binding, sizeof(binding), true, &keys);
	const char *why;

	(void)state;
	scram_set_nonce(scram, NONCE);
	(void)scram_make_first(scram, message);
	assert_string_equal(message, "p=tls-exporter,,n=a=2Cb=3Dc,r=" NONCE);
	assert_true(scram_take_first(scram, SERVER_FIRST, strlen(SERVER_FIRST), &why));
	assert_true(scram_make_final(scram, message) > 0);
	/* base64 of "p=tls-exporter,,\1\2\3" */
	assert_memory_equal(message, "c=cD10bHMtZXhwb3J0ZXIsLAECAw==,", 31);
	scram_free(scram);
	/* The server doesn't offer -PLUS: it is told that we would have bound (RFC 5802 6). */
	scram = scram_new("user", "x", "tls-exporter", binding, sizeof(binding), false, &keys);
	(void)scram_make_first(scram, message);
	assert_memory_equal(message, "y,,n=user,r=", 12);
	scram_free(scram);
}

/* The dialogue */

static struct buf output;

static const char *
said(void)
{
	static char text[4096];

	assert_true(buf_ok(&output) && output.length < sizeof(text));
	memcpy(text, output.data, output.length);
	text[output.length] = '\0';
	buf_clear(&output);
	return text;
}

static const char *
encoded(const char *text)
{
	static char base64[4096];

	base64_encode(text, strlen(text), base64);
	return base64;
}

static int
set_up(void **state)
{
	(void)state;
	memset(&keys, 0, sizeof(keys));
	buf_init(&output, 65536);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	buf_free(&output);
	return 0;
}

static void
the_best_mechanism_is_chosen(void **state)
{
	struct extensions extensions = { .auth = { false } };

	(void)state;
	assert_int_equal(auth_choose(&extensions), AUTH_MECHANISM_COUNT);
	extensions_add_line(&extensions, "AUTH LOGIN XOAUTH2 CRAM-MD5");
	assert_int_equal(auth_choose(&extensions), AUTH_LOGIN);
	extensions_add_line(&extensions, "AUTH PLAIN LOGIN");
	assert_int_equal(auth_choose(&extensions), AUTH_PLAIN);
	extensions_add_line(&extensions, "AUTH scram-sha-256 SCRAM-SHA-1-PLUS");
	assert_int_equal(auth_choose(&extensions), AUTH_SCRAM_SHA_256);
	extensions_add_line(&extensions, "AUTH LOGIN SCRAM-SHA-256-PLUS");
	assert_int_equal(auth_choose(&extensions), AUTH_SCRAM_SHA_256_PLUS);
}

static void
scram_is_complete_only_with_the_server_s_proof(void **state)
{
	struct auth *auth = auth_new(AUTH_SCRAM_SHA_256, "user", "pencil", NULL, &keys);
	const char *why, *line;
	char first[1024], answer[2048];
	size_t length;

	(void)state;
	auth_begin(auth, &output);
	line = said();
	assert_memory_equal(line, "AUTH SCRAM-SHA-256 ", 19);
	assert_true(base64_decode(line + 19, strlen(line + 19) - 2, first, sizeof(first), &length));
	first[length] = '\0';
	assert_memory_equal(first, "n,,n=user,r=", 12);
	assert_false(auth_is_complete(auth));
	snprintf(answer, sizeof(answer), "r=%sserver,s=" SALT ",i=4096", first + 12);
	assert_true(auth_answer(auth, encoded(answer), &output, &why));
	assert_non_null(strstr(said(), "\r\n"));
	assert_false(auth_is_complete(auth));
	assert_false(auth_answer(auth, encoded(SERVER_FINAL), &output, &why));
	assert_non_null(strstr(why, "doesn't know the password"));
	assert_false(auth_is_complete(auth));
	auth_free(auth);
}

static void
challenges_that_are_no_base64_end_it(void **state)
{
	static const char *const bad[] = { "?", "AAA", "AA==AA==", "cj1y\x01", "" };
	char large[4 * SCRAM_TEXT];

	(void)state;
	memset(large, 'A', sizeof(large));
	large[sizeof(large) - 4] = '\0';
	for (size_t i = 0; i <= sizeof(bad) / sizeof(bad[0]); i++) {
		struct auth *auth = auth_new(AUTH_SCRAM_SHA_256, "user", "x", NULL, &keys);
		const char *why;

		auth_begin(auth, &output);
		assert_false(auth_answer(
		    auth, i < sizeof(bad) / sizeof(bad[0]) ? bad[i] : large, &output, &why));
		auth_free(auth);
	}
}

static void
plain_and_login_have_no_more_than_they_have(void **state)
{
	struct auth *auth = auth_new(AUTH_PLAIN, "me", "secret", NULL, &keys);
	const char *why;

	(void)state;
	auth_begin(auth, &output);
	assert_string_equal(said(), "AUTH PLAIN AG1lAHNlY3JldA==\r\n");
	assert_true(auth_is_complete(auth));
	assert_false(auth_answer(auth, "", &output, &why));
	auth_free(auth);
	auth = auth_new(AUTH_LOGIN, "me", "secret", NULL, &keys);
	auth_begin(auth, &output);
	assert_string_equal(said(), "AUTH LOGIN\r\n");
	assert_true(auth_answer(auth, "what?", &output, &why));
	assert_string_equal(said(), "bWU=\r\n");
	assert_true(auth_answer(auth, "", &output, &why));
	assert_string_equal(said(), "c2VjcmV0\r\n");
	assert_false(auth_answer(auth, "", &output, &why));
	auth_free(auth);
}

/* RFC 4954 4 */
static void
what_is_too_long_for_the_command_comes_when_asked_for(void **state)
{
	char password[512];
	struct auth *auth;
	const char *why;

	(void)state;
	memset(password, 'x', sizeof(password) - 1);
	password[sizeof(password) - 1] = '\0';
	auth = auth_new(AUTH_PLAIN, "me", password, NULL, &keys);
	auth_begin(auth, &output);
	assert_string_equal(said(), "AUTH PLAIN\r\n");
	assert_true(auth_answer(auth, "", &output, &why));
	assert_int_equal(strlen(said()), BASE64_LENGTH(511 + 4) + 2);
	assert_false(auth_answer(auth, "", &output, &why));
	auth_free(auth);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_example_of_the_rfc, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    keys_are_made_anew_for_another_salt, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    servers_first_message_is_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    messages_with_a_nul_and_long_ones_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_server_must_prove_that_it_knows_the_password, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    names_are_escaped_and_bindings_are_sent, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_best_mechanism_is_chosen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    scram_is_complete_only_with_the_server_s_proof, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    challenges_that_are_no_base64_end_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    plain_and_login_have_no_more_than_they_have, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    what_is_too_long_for_the_command_comes_when_asked_for, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("relay_auth", tests, NULL, NULL);
}
