/*
 * smtpd.conf's words about TLS: what they mean, what is refused, and that they are printed as they
 * were read.
 */
#include <netinet/in.h>
#include <stdlib.h>

#include "regress/unit/test_smtpd_parse_fixture.h"

#define PKIS                                                                \
	"pki mx cert \"/etc/ssl/mx.crt\"\npki mx key \"/etc/ssl/mx.key\"\n" \
	"pki mx-ec key /etc/ssl/ec.key\npki mx-ec cert /etc/ssl/ec.crt\n"   \
	"ca inside cert /etc/ssl/inside.pem\n"

static void
listeners_say_when_and_how_they_encrypt(void **state)
{
	const struct listener_config *listeners;
	struct config *config = good(
	    PKIS "listen on 127.0.0.1 port 10025 tls pki mx pki mx-ec\n"
	         "listen on 127.0.0.1 port 10587 tls-require verify ca inside pki mx\n"
	         "listen on 127.0.0.1 smtps pki mx ciphers \"ECDHE+AESGCM\" protocols tlsv1.3\n"
	         "listen on 127.0.0.1 port 10026 smtps verify pki mx protocols \"tlsv1.2,tlsv1.3\" "
	         "no-tickets\n"
	         "listen on 127.0.0.1 port 10027\n");

	(void)state;
	assert_int_equal(config->pki_count, 2);
	assert_string_equal(config->pkis[1].name, "mx-ec");
	assert_string_equal(config->pkis[1].certificate, "/etc/ssl/ec.crt");
	assert_string_equal(config->pkis[1].key, "/etc/ssl/ec.key");
	assert_int_equal(config->ca_count, 1);
	assert_string_equal(config->cas[0].certificates, "/etc/ssl/inside.pem");
	listeners = config->listeners;
	assert_int_equal(listeners[0].tls, LISTEN_TLS_OPTIONAL);
	assert_false(listeners[0].tls_verify);
	assert_string_equal(listeners[0].pkis, "mx mx-ec");
	assert_int_equal(listeners[1].tls, LISTEN_TLS_REQUIRED);
	assert_true(listeners[1].tls_verify);
	assert_string_equal(listeners[1].ca, "inside");
	assert_int_equal(listeners[2].tls, LISTEN_TLS_IMPLICIT);
	assert_int_equal(ntohs(((const struct sockaddr_in *)&listeners[2].address)->sin_port), 465);
	assert_string_equal(listeners[2].tls_ciphers, "ECDHE+AESGCM");
	assert_true(listeners[2].tls_1_3_only);
	assert_true(listeners[3].tls_verify);
	assert_false(listeners[3].tls_1_3_only);
	assert_true(listeners[3].tls_no_tickets && !listeners[2].tls_no_tickets);
	assert_int_equal(listeners[4].tls, LISTEN_TLS_NONE);
	config_free(config);
}

static void
the_hosts_own_certificate_needs_no_naming(void **state)
{
	(void)state;
	config_free(good("smtp hostname mx.example.org\n"
	                 "pki mx.example.org cert /a\npki mx.example.org key /b\n"
	                 "listen on 127.0.0.1 tls\n"));
	config_free(good("pki in.example.org cert /a\npki in.example.org key /b\n"
	                 "listen on 127.0.0.1 hostname in.example.org tls\n"));
	bad("smtp hostname mx.example.org\nlisten on 127.0.0.1 tls\n", 2, "mx.example.org");
}

static void
what_would_not_encrypt_is_refused(void **state)
{
	(void)state;
	bad("listen on 127.0.0.1 tls pki mx\n", 1, "pki \"mx\" is not defined");
	bad(PKIS "listen on 127.0.0.1 pki mx\n", 6, "\"pki\" without \"tls\"");
	bad(PKIS "listen on 127.0.0.1 ciphers HIGH\n", 6, "\"ciphers\" without");
	bad(PKIS "listen on 127.0.0.1 no-tickets\n", 6, "\"no-tickets\" without");
	bad(PKIS "listen on 127.0.0.1 tls smtps pki mx\n", 6, "one of them");
	bad(PKIS "listen on 127.0.0.1 tls pki mx ca none verify\n", 6, "\"verify\"");
	bad(PKIS "listen on 127.0.0.1 tls verify pki mx ca none\n", 6, "ca \"none\" is not");
	bad(PKIS "listen on 127.0.0.1 tls pki mx ciphers none\n", 6, "not a list of ciphers");
	bad(PKIS "listen on 127.0.0.1 tls pki mx protocols tlsv1.1\n", 6, "protocols");
	bad("pki x cert /a\n", 1, "has no \"key\"");
	bad("pki x key /a\n", 1, "has no \"cert\"");
	bad("pki x cert /a\npki x cert /b\npki x key /c\n", 2, "second \"cert\"");
	bad("pki x colour red\n", 1, "\"cert\" or \"key\"");
	bad("pki x cert /a key /b dhe\n", 1, "\"dhe\"");
	bad("pki x cert /a key /b dhe 2048\n", 1, "\"2048\"");
	bad("pki x cert a\n", 1, "absolute path");
	bad("pki \"a b\" cert /a\n", 1, "is no name");
	bad("ca x cert /a\nca x cert /b\n", 2, "defined twice");
	bad("ca x key /a\n", 1, "wants \"cert\"");
}

/* Relays know a ca by so much of its name: nothing of it is cut off silently. */
static void
names_that_are_too_long_are_refused(void **state)
{
	static const char digits[] =
	    "0123456789012345678901234567890123456789012345678901234567890123";
	char text[600];

	(void)state;
	assert_int_equal(strlen(digits), 64);
	snprintf(text, sizeof(text), "ca \"%s\" cert /a\naction a relay tls ca \"%s\"\n", digits,
	    digits);
	config_free(good(text));
	snprintf(text, sizeof(text), "\nca \"%sx\" cert /a\n", digits);
	bad(text, 2, "1 to 64");
	/* A pki's may be any host's. */
	snprintf(text, sizeof(text), "pki \"%s%s%s\" cert /a\npki \"%s%s%s\" key /b\n", digits,
	    digits, digits, digits, digits, digits);
	config_free(good(text));
	snprintf(text, sizeof(text), "pki \"%s%s%s%s\" cert /a\n", digits, digits, digits, digits);
	bad(text, 1, "1 to 255");
}

static void
an_authority_nobody_asks_for_is_told(void **state)
{
	struct reports reports;
	struct config *config = parse(PKIS "listen on 127.0.0.1 tls pki mx ca inside\n", &reports);

	(void)state;
	assert_non_null(config);
	assert_true(reported(&reports, 6, "without \"verify\""));
	config_free(config);
}

static char *
print(const struct config *config)
{
	char *text = NULL;
	size_t length;
	FILE *file = open_memstream(&text, &length);

	parse_print_config(file, config);
	fclose(file);
	return text;
}

static void
what_is_printed_means_the_same(void **state)
{
	struct config *config = good(PKIS
	    "listen on 127.0.0.1 port 10587 tls-require verify ca inside pki mx pki \"mx-ec\"\n"
	    "listen on 127.0.0.1 smtps pki mx ciphers \"ECDHE+AESGCM\" protocols tlsv1.3 "
	    "no-tickets\n"
	    "smtp limit handshake-time 5s\n");
	char *first = print(config), *second;

	(void)state;
	config_free(config);
	assert_non_null(
	    strstr(first, "port 10587 tls-require verify pki \"mx\" pki \"mx-ec\" ca \"inside\""));
	assert_non_null(strstr(
	    first, " smtps pki \"mx\" ciphers \"ECDHE+AESGCM\" protocols tlsv1.3 no-tickets"));
	assert_non_null(strstr(first, "smtp limit handshake-time 5s\n"));
	config = good(first);
	second = print(config);
	assert_string_equal(first, second);
	config_free(config);
	free(first);
	free(second);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listeners_say_when_and_how_they_encrypt),
		cmocka_unit_test(the_hosts_own_certificate_needs_no_naming),
		cmocka_unit_test(what_would_not_encrypt_is_refused),
		cmocka_unit_test(names_that_are_too_long_are_refused),
		cmocka_unit_test(an_authority_nobody_asks_for_is_told),
		cmocka_unit_test(what_is_printed_means_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
