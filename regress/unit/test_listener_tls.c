/*
 * Handshakes on a socket pair: the server's side is the listener's, with certificates and no key;
 * the keeper's is beside it, and the client is OpenSSL's own.
 */
#include <errno.h>
#include <fcntl.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "common/channel_binding.h"
#include "common/config.h"
#include "regress/unit/test_tls_fixture.h"
#include "common/tls.h"
#include "common/tls_context.h"

#define KEEPER_MS 500
#define PKIS      4

static struct {
	struct event_base *base;
	struct keeper_client *client;
	struct config *config;
	struct listener_config *listener;
	struct tls_contexts *contexts;
	struct ipc_ticket_keys tickets;
	struct pair pairs[PKIS];
	int server_fd, client_fd;
	struct tls *server;
	SSL_CTX *client_context;
	SSL *ssl; /* the client's */
	SSL_SESSION *ticket;
	bool ready;
} world;

static char *
copy(const char *text)
{
	char *string = strdup(text);

	assert_non_null(string);
	return string;
}

static void
set(char **member, const char *text)
{
	free(*member);
	*member = copy(text);
}

/* Pkis: rsa and ec of one name, ed25519 of another, and an authority that signed the second ec. */
static int
set_up_all(void **state)
{
	static const struct {
		const char *kind, *names;
	} kinds[PKIS] = {
		{ "rsa", "DNS:mail.example.org" },
		{ "ec", "DNS:mail.example.org,DNS:mx.example.org" },
		{ "ed25519", "DNS:*.example.net" },
		{ "ec", "DNS:ca.example.org" },
	};
	struct config *config;
	char name[16];
	size_t i;

	(void)state;
	world.base = event_base_new();
	event_base_priority_init(world.base, 2);
	world.client = keeper_client_new(world.base, KEEPER_MS);
	keeper_provider_start(world.client);
	test_keeper.keys = keys_new();
	connect_keeper(world.base, world.client);
	config = world.config = config_new();
	config->listeners = calloc(1, sizeof(*config->listeners));
	config->listener_count = 1;
	config_complete_listener(&config->listeners[0]);
	world.listener = &config->listeners[0];
	world.listener->tls = LISTEN_TLS_OPTIONAL;
	config->pkis = calloc(PKIS, sizeof(*config->pkis));
	config->pki_count = PKIS;
	config->cas = calloc(1, sizeof(*config->cas));
	config->ca_count = 1;
	config->cas[0].name = copy("own");
	config_complete_ca(&config->cas[0]);
	for (i = 0; i < PKIS; i++) {
		snprintf(name, sizeof(name), "p%zu", i);
		config->pkis[i].name = copy(name);
		config_complete_pki(&config->pkis[i]);
		world.pairs[i] = make_pair(kinds[i].kind, kinds[i].names, NULL);
		assert_true(give_key(name, &world.pairs[i], name, 0));
	}
	memset(&world.tickets, 1, sizeof(world.tickets.current));
	memset(&world.tickets.previous, 2, sizeof(world.tickets.previous));
	return 0;
}

static int
tear_down_all(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < PKIS; i++)
		free_pair(&world.pairs[i]);
	keys_free(test_keeper.keys);
	channel_free(test_keeper.channel);
	config_free(world.config);
	keeper_client_free(world.client);
	keeper_provider_stop();
	event_base_free(world.base);
	return 0;
}

/* Contexts for a listener with these pkis. */
static void
serve(const char *pkis)
{
	size_t i;

	set(&world.listener->pkis, pkis);
	tls_contexts_free(world.contexts);
	world.contexts = tls_contexts_new(world.config, &world.tickets);
	for (i = 0; i < PKIS; i++)
		assert_true(tls_contexts_take_certificate(world.contexts, (uint32_t)i,
		    (const uint8_t *)world.pairs[i].certificate_text,
		    strlen(world.pairs[i].certificate_text)));
	assert_true(tls_contexts_take_authorities(world.contexts, 0,
	    (const uint8_t *)world.pairs[3].certificate_text,
	    strlen(world.pairs[3].certificate_text)));
	tls_contexts_build(world.contexts);
}

static int
on_new_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(world.ticket);
	world.ticket = session;
	return 1;
}

static int
set_up(void **state)
{
	(void)state;
	world.client_context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_session_cache_mode(
	    world.client_context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(world.client_context, on_new_session);
	world.listener->tls_verify = false;
	world.listener->tls_1_3_only = false;
	set(&world.listener->ca, "");
	set(&world.listener->tls_ciphers, "");
	test_keeper.silent = false;
	test_keeper.asked = 0;
	serve("p0");
	return 0;
}

static void
disconnect(void)
{
	tls_free(world.server);
	if (world.ssl != NULL) /* or its ticket would be void */
		SSL_set_shutdown(world.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(world.ssl);
	world.server = NULL;
	world.ssl = NULL;
	if (world.client_fd > 0) {
		close(world.client_fd);
		close(world.server_fd);
	}
	world.client_fd = world.server_fd = 0;
}

static int
tear_down(void **state)
{
	(void)state;
	disconnect();
	SSL_SESSION_free(world.ticket);
	world.ticket = NULL;
	SSL_CTX_free(world.client_context);
	tls_contexts_free(world.contexts);
	world.contexts = NULL;
	return 0;
}

static void
on_ready(void *arg)
{
	(void)arg;
	world.ready = true;
}

static void
connect_pair(void)
{
	int ends[2];

	disconnect();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	world.server_fd = ends[0];
	world.client_fd = ends[1];
	world.ready = false;
	world.server = tls_new(
	    tls_contexts_get(world.contexts, world.listener), world.server_fd, on_ready, NULL);
	assert_non_null(world.server);
	world.ssl = SSL_new(world.client_context);
	SSL_set_fd(world.ssl, world.client_fd);
	SSL_set_connect_state(world.ssl);
}

/* Both sides in turn until the server's is at its end. */
static enum tls_progress
shake_hands(void)
{
	enum tls_progress progress = TLS_WANTS_INPUT;
	int turns;

	for (turns = 0; turns < 1000 && progress != TLS_DONE && progress != TLS_FAILED; turns++) {
		(void)SSL_do_handshake(world.ssl);
		if (progress == TLS_WANTS_KEEPER && !world.ready) {
			assert_int_equal(event_base_loop(world.base, EVLOOP_ONCE), 0);
			continue;
		}
		world.ready = false;
		progress = tls_handshake(world.server);
	}
	(void)SSL_do_handshake(world.ssl);
	return progress;
}

/* A word each way; the client hears of tickets by that. */
static void
talk(void)
{
	char text[64];

	assert_int_equal(SSL_write(world.ssl, "EHLO\r\n", 6), 6);
	assert_int_equal(tls_read(world.server, text, sizeof(text)), 6);
	assert_memory_equal(text, "EHLO\r\n", 6);
	assert_int_equal(tls_read(world.server, text, sizeof(text)), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(tls_write(world.server, "250 ok\r\n", 8), 8);
	assert_int_equal(SSL_read(world.ssl, text, sizeof(text)), 8);
	assert_memory_equal(text, "250 ok\r\n", 8);
}

static int
kind_shown(void)
{
	return EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_get0_peer_certificate(world.ssl)));
}

static void
each_kind_of_key_signs_for_both_versions(void **state)
{
	static const struct {
		const char *pki;
		int kind;
	} kinds[] = { { "p0", EVP_PKEY_RSA }, { "p1", EVP_PKEY_EC }, { "p2", EVP_PKEY_ED25519 } };
	int version;
	size_t i;

	(void)state;
	for (i = 0; i < 3; i++) {
		serve(kinds[i].pki);
		for (version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
			connect_pair();
			SSL_set_max_proto_version(world.ssl, version);
			test_keeper.asked = 0;
			assert_int_equal(shake_hands(), TLS_DONE);
			assert_int_equal(SSL_version(world.ssl), version);
			assert_int_equal(kind_shown(), kinds[i].kind);
			assert_int_equal(test_keeper.asked, 1);
			talk();
		}
	}
}

/* RSA signs TLS 1.2 in the old way too. */
static void
rsa_signs_with_pkcs1_where_the_client_knows_nothing_else(void **state)
{
	(void)state;
	connect_pair();
	SSL_set_max_proto_version(world.ssl, TLS1_2_VERSION);
	SSL_set1_sigalgs_list(world.ssl, "RSA+SHA512");
	assert_int_equal(shake_hands(), TLS_DONE);
	talk();
}

static void
older_versions_and_weak_ciphers_are_refused(void **state)
{
	(void)state;
	connect_pair();
	SSL_set_security_level(world.ssl, 0);
	SSL_set_min_proto_version(world.ssl, TLS1_VERSION);
	SSL_set_max_proto_version(world.ssl, TLS1_1_VERSION);
	assert_int_equal(shake_hands(), TLS_FAILED);
	connect_pair();
	SSL_set_max_proto_version(world.ssl, TLS1_2_VERSION);
	SSL_set_cipher_list(world.ssl, "AES128-GCM-SHA256:ECDHE-RSA-AES128-SHA256");
	assert_int_equal(shake_hands(), TLS_FAILED);
	assert_string_equal(tls_failure(world.server), "no shared cipher");
}

static void
a_listener_of_tls_1_3_alone_refuses_1_2(void **state)
{
	(void)state;
	world.listener->tls_1_3_only = true;
	serve("p0");
	connect_pair();
	SSL_set_max_proto_version(world.ssl, TLS1_2_VERSION);
	assert_int_equal(shake_hands(), TLS_FAILED);
	connect_pair();
	assert_int_equal(shake_hands(), TLS_DONE);
}

static void
the_name_asked_for_chooses_the_certificate(void **state)
{
	(void)state;
	serve("p0 p2");
	connect_pair();
	SSL_set_tlsext_host_name(world.ssl, "a.example.net");
	assert_int_equal(shake_hands(), TLS_DONE);
	assert_int_equal(kind_shown(), EVP_PKEY_ED25519);
	assert_string_equal(tls_sni(world.server), "a.example.net");
	connect_pair();
	SSL_set_tlsext_host_name(world.ssl, "elsewhere.example.com");
	assert_int_equal(shake_hands(), TLS_DONE);
	assert_int_equal(kind_shown(), EVP_PKEY_RSA);
}

static void
certificates_of_one_name_are_chosen_by_what_the_client_knows(void **state)
{
	(void)state;
	serve("p0 p1 p2");
	connect_pair();
	SSL_set1_sigalgs_list(world.ssl, "ECDSA+SHA256");
	assert_int_equal(shake_hands(), TLS_DONE);
	assert_int_equal(kind_shown(), EVP_PKEY_EC);
	connect_pair();
	SSL_set1_sigalgs_list(world.ssl, "RSA-PSS+SHA256");
	SSL_set_tlsext_host_name(world.ssl, "mx.example.org");
	assert_int_equal(shake_hands(), TLS_DONE);
	assert_int_equal(kind_shown(), EVP_PKEY_RSA);
}

static void
a_refused_signature_fails_the_handshake_with_words(void **state)
{
	(void)state;
	serve("p1");
	keys_free(test_keeper.keys);
	test_keeper.keys = keys_new();
	connect_pair();
	assert_int_equal(shake_hands(), TLS_FAILED);
	assert_string_equal(tls_failure(world.server), "no such key");
	for (size_t i = 0; i < PKIS; i++)
		assert_true(give_key(world.config->pkis[i].name, &world.pairs[i], NULL, 0));
}

static void
a_silent_keeper_fails_the_handshake_after_its_time(void **state)
{
	(void)state;
	test_keeper.silent = true;
	connect_pair();
	assert_int_equal(shake_hands(), TLS_FAILED);
}

static void
a_new_keeper_goes_on_with_the_old_ones_work(void **state)
{
	int i;

	(void)state;
	test_keeper.silent = true;
	connect_pair();
	for (i = 0; i < 100 && test_keeper.asked == 0; i++) {
		(void)SSL_do_handshake(world.ssl);
		(void)tls_handshake(world.server);
		event_base_loop(world.base, EVLOOP_NONBLOCK);
	}
	assert_int_equal(test_keeper.asked, 1);
	channel_free(test_keeper.channel);
	test_keeper.channel = NULL;
	event_base_loop(world.base, EVLOOP_NONBLOCK);
	test_keeper.silent = false;
	connect_keeper(world.base, world.client);
	assert_int_equal(shake_hands(), TLS_DONE);
	assert_int_equal(test_keeper.asked, 2);
	talk();
}

static void
a_connection_that_waits_for_the_keeper_may_end(void **state)
{
	enum tls_progress progress = TLS_WANTS_INPUT;
	int i;

	(void)state;
	test_keeper.silent = true;
	for (i = 0; i < 20; i++) {
		connect_pair();
		(void)SSL_do_handshake(world.ssl);
		progress = tls_handshake(world.server);
		assert_int_equal(progress, TLS_WANTS_KEEPER);
		/* A call for another reason is no answer. */
		assert_int_equal(tls_handshake(world.server), TLS_WANTS_KEEPER);
	}
	disconnect();
	test_keeper.silent = false;
	connect_keeper(world.base, world.client);
	connect_pair();
	assert_int_equal(shake_hands(), TLS_DONE);
}

static void
resume(bool expected)
{
	SSL_SESSION *session = world.ticket;

	assert_non_null(session);
	SSL_SESSION_up_ref(session);
	connect_pair();
	SSL_set_session(world.ssl, session);
	test_keeper.asked = 0;
	assert_int_equal(shake_hands(), TLS_DONE);
	assert_int_equal(tls_is_resumed(world.server), expected);
	assert_int_equal(test_keeper.asked, expected ? 0 : 1);
	talk();
	SSL_SESSION_free(session);
	if (SSL_version(world.ssl) == TLS1_2_VERSION) /* nobody is called for a renewed one */
		(void)on_new_session(world.ssl, SSL_get1_session(world.ssl));
}

static void
tickets_are_good_until_their_key_has_been_replaced_twice(void **state)
{
	int version;

	(void)state;
	for (version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		SSL_CTX_set_max_proto_version(world.client_context, version);
		connect_pair();
		assert_int_equal(shake_hands(), TLS_DONE);
		talk();
		resume(true);
		world.tickets.previous = world.tickets.current;
		memset(&world.tickets.current, 3 + version % 7, sizeof(world.tickets.current));
		resume(true);
		/* The ticket was renewed by the current key. */
		memset(&world.tickets.previous, 4 + version % 7, sizeof(world.tickets.previous));
		resume(true);
		memset(&world.tickets.current, 5 + version % 7, sizeof(world.tickets.current));
		resume(false);
	}
}

static void
a_listener_that_verifies_takes_only_certificates_of_its_authority(void **state)
{
	struct pair good = make_pair("ec", "DNS:client.example.org", &world.pairs[3]);
	struct pair bad = make_pair("ec", "DNS:client.example.org", NULL);
	char subject[256];

	(void)state;
	world.listener->tls_verify = true;
	set(&world.listener->ca, "own");
	serve("p0");
	SSL_CTX_set_max_proto_version(world.client_context, TLS1_2_VERSION);
	connect_pair();
	assert_int_equal(shake_hands(), TLS_FAILED);
	connect_pair();
	assert_int_equal(SSL_use_certificate(world.ssl, bad.certificate), 1);
	assert_int_equal(SSL_use_PrivateKey(world.ssl, bad.private), 1);
	assert_int_equal(shake_hands(), TLS_FAILED);
	SSL_CTX_set_max_proto_version(world.client_context, TLS1_3_VERSION);
	connect_pair();
	assert_int_equal(SSL_use_certificate(world.ssl, good.certificate), 1);
	assert_int_equal(SSL_use_PrivateKey(world.ssl, good.private), 1);
	assert_int_equal(shake_hands(), TLS_DONE);
	assert_true(tls_subject(world.server, subject, sizeof(subject)));
	assert_string_equal(subject, "CN=client.example.org");
	talk();
	free_pair(&good);
	free_pair(&bad);
}

static void
a_listener_without_its_authorities_has_no_tls(void **state)
{
	(void)state;
	world.listener->tls_verify = true;
	serve("p0"); /* wants the system's, which haven't come */
	assert_null(tls_contexts_get(world.contexts, world.listener));
}

static void
both_sides_have_the_same_channel_bindings(void **state)
{
	uint8_t ours[CHANNEL_BINDING_MAX], theirs[CHANNEL_BINDING_MAX];
	unsigned digest_length;
	size_t length;
	int version;

	(void)state;
	for (version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		connect_pair();
		SSL_set_max_proto_version(world.ssl, version);
		assert_false(tls_binding_exporter(world.server, ours, &length));
		assert_int_equal(shake_hands(), TLS_DONE);
		assert_true(tls_binding_exporter(world.server, ours, &length));
		assert_int_equal(length, 32);
		assert_int_equal(SSL_export_keying_material(world.ssl, theirs, 32,
		                     "EXPORTER-Channel-Binding", 24, (unsigned char *)"", 0, 1),
		    1);
		assert_memory_equal(ours, theirs, 32);
		assert_true(tls_binding_certificate(world.server, ours, &length));
		X509_digest(
		    SSL_get0_peer_certificate(world.ssl), EVP_sha256(), theirs, &digest_length);
		assert_int_equal(length, digest_length);
		assert_memory_equal(ours, theirs, length);
	}
}

static void
a_client_may_not_renegotiate(void **state)
{
	char text[8];

	(void)state;
	SSL_CTX_set_max_proto_version(world.client_context, TLS1_2_VERSION);
	connect_pair();
	assert_int_equal(shake_hands(), TLS_DONE);
	talk();
	assert_int_equal(SSL_renegotiate(world.ssl), 1);
	(void)SSL_do_handshake(world.ssl);
	assert_int_equal(tls_read(world.server, text, sizeof(text)), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(SSL_get_error(world.ssl, SSL_do_handshake(world.ssl)), SSL_ERROR_SSL);
	assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
	ERR_clear_error();
}

/* Each asks for an answer that it doesn't read. */
static void
updates_of_keys_without_end_hold_up_nobody(void **state)
{
	char text[8];
	int i, sent;

	(void)state;
	SSL_CTX_set_min_proto_version(world.client_context, TLS1_3_VERSION);
	connect_pair();
	assert_int_equal(shake_hands(), TLS_DONE);
	talk();
	for (i = 0; i < 1000000 && !tls_wants_output(world.server); i++) {
		for (sent = 0; sent < 500 && SSL_do_handshake(world.ssl) == 1; sent++)
			(void)SSL_key_update(world.ssl, SSL_KEY_UPDATE_REQUESTED);
		assert_int_equal(tls_read(world.server, text, sizeof(text)), -1);
		assert_int_equal(errno, EAGAIN);
	}
	assert_true(tls_wants_output(world.server));
	assert_true(tls_has_input(world.server));
}

static void
what_is_no_handshake_fails(void **state)
{
	static const char *const garbage[] = { "GET / HTTP/1.1\r\n\r\n", "EHLO x\r\n",
		"\x16\x03\x01\xff\xff\x01\x02\x03\x04\x05\x06" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		connect_pair();
		assert_true(write(world.client_fd, garbage[i], strlen(garbage[i])) > 0);
		assert_int_equal(tls_handshake(world.server), TLS_FAILED);
		assert_true(strlen(tls_failure(world.server)) > 0);
		assert_int_equal(tls_handshake(world.server), TLS_FAILED);
	}
	connect_pair();
	shutdown(world.client_fd, SHUT_WR);
	assert_int_equal(tls_handshake(world.server), TLS_FAILED);
	assert_string_equal(tls_failure(world.server), "client closed");
}

static void
an_end_without_a_farewell_is_an_end(void **state)
{
	char text[8];

	(void)state;
	connect_pair();
	assert_int_equal(shake_hands(), TLS_DONE);
	talk();
	shutdown(world.client_fd, SHUT_WR);
	assert_int_equal(tls_read(world.server, text, sizeof(text)), 0);
	connect_pair();
	assert_int_equal(shake_hands(), TLS_DONE);
	SSL_shutdown(world.ssl);
	assert_int_equal(tls_read(world.server, text, sizeof(text)), 0);
	tls_end_output(world.server);
	assert_int_equal(SSL_read(world.ssl, text, sizeof(text)), 0);
	assert_int_equal(SSL_get_shutdown(world.ssl), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
}

static void
a_farewell_right_behind_the_data_is_not_waited_for(void **state)
{
	char text[64];

	(void)state;
	connect_pair();
	assert_int_equal(shake_hands(), TLS_DONE);
	talk();
	assert_int_equal(SSL_write(world.ssl, "QUIT\r\n", 6), 6);
	SSL_shutdown(world.ssl);
	assert_int_equal(tls_read(world.server, text, sizeof(text)), 6);
	assert_true(tls_may_have_more(world.server));
	assert_int_equal(tls_read(world.server, text, sizeof(text)), 0);
}

static void
more_than_there_is_room_for_is_read_later(void **state)
{
	static char sent[50000], got[60000];
	size_t have = 0;
	ssize_t count;

	(void)state;
	connect_pair();
	assert_int_equal(shake_hands(), TLS_DONE);
	memset(sent, 'x', sizeof(sent));
	assert_int_equal(SSL_write(world.ssl, sent, sizeof(sent)), sizeof(sent));
	count = tls_read(world.server, got, 1000);
	assert_int_equal(count, 1000);
	assert_true(tls_may_have_more(world.server));
	assert_true(tls_has_input(world.server));
	for (have = 1000; have < sizeof(sent); have += (size_t)count) {
		count = tls_read(world.server, got + have, sizeof(got) - have);
		assert_true(count > 0);
	}
	assert_memory_equal(got, sent, sizeof(sent));
	assert_false(tls_may_have_more(world.server));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(each_kind_of_key_signs_for_both_versions),
		TEST(rsa_signs_with_pkcs1_where_the_client_knows_nothing_else),
		TEST(older_versions_and_weak_ciphers_are_refused),
		TEST(a_listener_of_tls_1_3_alone_refuses_1_2),
		TEST(the_name_asked_for_chooses_the_certificate),
		TEST(certificates_of_one_name_are_chosen_by_what_the_client_knows),
		TEST(a_refused_signature_fails_the_handshake_with_words),
		TEST(a_silent_keeper_fails_the_handshake_after_its_time),
		TEST(a_new_keeper_goes_on_with_the_old_ones_work),
		TEST(a_connection_that_waits_for_the_keeper_may_end),
		TEST(tickets_are_good_until_their_key_has_been_replaced_twice),
		TEST(a_listener_that_verifies_takes_only_certificates_of_its_authority),
		TEST(a_listener_without_its_authorities_has_no_tls),
		TEST(both_sides_have_the_same_channel_bindings),
		TEST(a_client_may_not_renegotiate),
		TEST(updates_of_keys_without_end_hold_up_nobody),
		TEST(what_is_no_handshake_fails),
		TEST(an_end_without_a_farewell_is_an_end),
		TEST(a_farewell_right_behind_the_data_is_not_waited_for),
		TEST(more_than_there_is_room_for_is_read_later),
	};

	return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
