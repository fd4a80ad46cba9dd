/*
 * Handshakes that show a certificate whose key the keeper has: there is no keeper here, or one that
 * answers late, and connections end while they wait for it. The servers ask for certificates.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/socket.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "common/keeper_client.h"
#include "common/keeper_provider.h"
#include "deliver/relay_connection.h"
#include "deliver/relay_tls.h"

#define MANY      300 /* more than may wait for the keeper at once */
#define KEEPER_MS 300
#define LONG_MS   600000 /* nothing comes of it while a test runs */

static struct {
	struct event_base *base;
	struct keeper_client *keeper;
	struct tls_client *tls;
	EVP_PKEY *key;
	SSL_CTX *server;
	int fd;
	struct sockaddr_in address;
	pthread_t thread;
	unsigned opened, unsigned_, secured, closed;
	char why[256];
	struct connection *connections[MANY];
	unsigned count;
} w;

static X509 *
make_certificate(EVP_PKEY *key)
{
	X509 *certificate = X509_new();
	X509_NAME *name = X509_NAME_new();

	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_NAME_add_entry_by_txt(
	    name, "CN", MBSTRING_ASC, (const unsigned char *)"x.test", -1, -1, 0);
	X509_set_subject_name(certificate, name);
	X509_set_issuer_name(certificate, name);
	X509_NAME_free(name);
	X509_set_pubkey(certificate, key);
	assert_int_not_equal(X509_sign(certificate, key, EVP_sha256()), 0);
	return certificate;
}

/* Takes connections, and of each as much of the handshake as comes with its first bytes: the client
 * then has to sign. Nothing of cmocka's is called here. */
static void *
serve(void *arg)
{
	SSL *sessions[MANY];
	struct pollfd ready;
	unsigned count = 0;
	int fd;

	(void)arg;
	while (count < MANY && (fd = accept(w.fd, NULL, NULL)) != -1) {
		ready = (struct pollfd){ .fd = fd, .events = POLLIN };
		(void)poll(&ready, 1, 5000);
		(void)fcntl(fd, F_SETFL, O_NONBLOCK);
		sessions[count] = SSL_new(w.server);
		SSL_set_fd(sessions[count], fd);
		(void)SSL_accept(sessions[count++]);
	}
	for (unsigned i = 0; i < count; i++) {
		close(SSL_get_fd(sessions[i]));
		SSL_free(sessions[i]);
	}
	return NULL;
}

static int
set_up_for(unsigned keeper_ms)
{
	socklen_t length = sizeof(w.address);
	X509 *certificate;
	char *pem;
	BIO *bio;

	(void)signal(SIGPIPE, SIG_IGN);
	memset(&w, 0, sizeof(w));
	w.base = event_base_new();
	w.keeper = keeper_client_new(w.base, keeper_ms);
	keeper_provider_start(w.keeper);
	w.tls = tls_client_new();
	w.key = EVP_EC_gen("P-256");
	certificate = make_certificate(w.key);
	bio = BIO_new(BIO_s_mem());
	assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
	length = (socklen_t)BIO_get_mem_data(bio, &pem);
	assert_true(tls_client_set_certificate(w.tls, "ours", (const uint8_t *)pem, length));
	BIO_free(bio);
	w.server = SSL_CTX_new(TLS_server_method());
	assert_int_equal(SSL_CTX_use_certificate(w.server, certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(w.server, w.key), 1);
	SSL_CTX_set_verify(w.server, SSL_VERIFY_PEER, NULL);
	X509_free(certificate);
	w.fd = socket(AF_INET, SOCK_STREAM, 0);
	w.address = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	length = sizeof(w.address);
	assert_int_equal(bind(w.fd, (struct sockaddr *)&w.address, length), 0);
	assert_int_equal(listen(w.fd, MANY), 0);
	assert_int_equal(getsockname(w.fd, (struct sockaddr *)&w.address, &length), 0);
	assert_int_equal(pthread_create(&w.thread, NULL, serve, NULL), 0);
	return 0;
}

static int
set_up(void **state)
{
	(void)state;
	return set_up_for(KEEPER_MS);
}

static int
set_up_patient(void **state)
{
	(void)state;
	return set_up_for(LONG_MS);
}

static int
tear_down(void **state)
{
	(void)state;
	for (unsigned i = 0; i < w.count; i++)
		connection_free(w.connections[i]);
	shutdown(w.fd, SHUT_RDWR);
	pthread_join(w.thread, NULL);
	close(w.fd);
	SSL_CTX_free(w.server);
	EVP_PKEY_free(w.key);
	tls_client_free(w.tls);
	keeper_client_free(w.keeper);
	keeper_provider_stop();
	event_base_free(w.base);
	return 0;
}

static void
on_event(enum connection_event event, const char *why, void *arg)
{
	struct connection *connection = w.connections[(uintptr_t)arg];
	SSL *ssl;

	switch (event) {
	case CONNECTION_OPENED:
		w.opened++;
		ssl = tls_client_ssl(w.tls, "x.test", false, "");
		assert_non_null(ssl);
		assert_true(tls_client_show(w.tls, ssl, "ours"));
		connection_secure(connection, ssl);
		return;
	case CONNECTION_SECURED:
		w.secured++;
		return;
	case CONNECTION_UNSIGNED:
		w.unsigned_++;
		strncpy(w.why, why, sizeof(w.why) - 1);
		return;
	case CONNECTION_CLOSED:
		w.closed++;
		return;
	case CONNECTION_DRAINED:
		return;
	}
}

static void
on_input(const uint8_t *data, size_t length, void *arg)
{
	(void)data;
	(void)length;
	(void)arg;
}

static void
open_connection(void)
{
	struct connection_user user = {
		.event = on_event, .input = on_input, .arg = (void *)(uintptr_t)w.count
	};
	bool is_ours;
	char why[200];

	w.connections[w.count] = connection_new(w.base, &user);
	assert_non_null(w.connections[w.count]);
	assert_true(connection_open(w.connections[w.count], (struct sockaddr *)&w.address,
	    sizeof(w.address), NULL, 0, &is_ours, why, sizeof(why)));
	w.count++;
}

static void
run_for(unsigned ms)
{
	const struct timeval time = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	event_base_loopexit(w.base, &time);
	event_base_dispatch(w.base);
}

static void
without_a_keeper_nothing_is_signed(void **state)
{
	(void)state;
	open_connection();
	for (unsigned i = 0; i < 100 && w.unsigned_ == 0; i++)
		run_for(50);
	assert_int_equal(w.unsigned_, 1);
	assert_int_equal(w.secured + w.closed, 0);
	assert_non_null(strstr(w.why, "no signature by the key of our certificate"));
	assert_false(connection_is_open(w.connections[0]));
}

static void
a_connection_may_end_while_it_waits(void **state)
{
	(void)state;
	open_connection();
	open_connection();
	for (unsigned i = 0; i < 100 && w.opened < 2; i++)
		run_for(10);
	run_for(100);
	connection_close(w.connections[0]);
	run_for(100);
	assert_int_equal(w.opened, 2);
	assert_int_equal(w.unsigned_ + w.secured + w.closed, 0);
}

/* Those for which there is no place wait without asking, and then get theirs. */
static void
more_than_may_wait_all_hear_of_it(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		open_connection();
		run_for(1); /* so that the server's line doesn't get too long */
	}
	for (unsigned i = 0; i < 200 && w.unsigned_ < MANY; i++)
		run_for(50);
	assert_int_equal(w.unsigned_, MANY);
	assert_int_equal(w.secured + w.closed, 0);
}

/* What tear_down() frees waits. */
static void
all_may_be_freed_while_they_wait(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20; i++)
		open_connection();
	for (unsigned i = 0; i < 100 && w.opened < 20; i++)
		run_for(10);
	run_for(100);
	assert_int_equal(w.unsigned_ + w.secured + w.closed, 0);
}

static void
a_certificate_that_is_not_there_is_told(void **state)
{
	SSL *ssl = tls_client_ssl(w.tls, "x.test", false, "");

	(void)state;
	assert_false(tls_client_show(w.tls, ssl, "another"));
	assert_false(tls_client_set_certificate(w.tls, "bad", (const uint8_t *)"x", 1));
	assert_false(tls_client_show(w.tls, ssl, "bad"));
	SSL_free(ssl);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    without_a_keeper_nothing_is_signed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_connection_may_end_while_it_waits, set_up_patient, tear_down),
		cmocka_unit_test_setup_teardown(
		    more_than_may_wait_all_hear_of_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    all_may_be_freed_while_they_wait, set_up_patient, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_certificate_that_is_not_there_is_told, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
