/*
 * A connection is an SSL on the socket itself: no copies but OpenSSL's own, whose buffers are given
 * back while they are empty. The handshake runs as an ASYNC job, so that it can wait for the keeper;
 * what comes after it doesn't.
 */
#include <sys/socket.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/async.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "common/channel_binding.h"
#include "common/keeper_provider.h"
#include "common/tls.h"

struct tls {
	SSL *ssl;
	struct keeper_wait wait;
	void (*ready)(void *arg);
	void *arg;
	bool open;
	bool broken;       /* OpenSSL must not be called any more */
	bool wants_output; /* see tls_wants_output() */
	bool more;         /* see tls_may_have_more() */
	bool said_end;
	unsigned long error; /* OpenSSL's */
	int system_error;    /* errno, or 0 */
};

static void
on_ready(void *arg)
{
	struct tls *tls = arg;

	tls->ready(tls->arg);
}

struct tls *
tls_new(SSL_CTX *context, int fd, void (*ready)(void *), void *arg)
{
	struct tls *tls = calloc(1, sizeof(*tls));

	if (tls == NULL)
		return NULL;
	tls->wait.ready = on_ready;
	tls->wait.arg = tls;
	tls->ready = ready;
	tls->arg = arg;
	tls->ssl = SSL_new(context);
	if (tls->ssl == NULL || SSL_set_fd(tls->ssl, fd) != 1) {
		ERR_clear_error();
		SSL_free(tls->ssl);
		free(tls);
		return NULL;
	}
	SSL_set_accept_state(tls->ssl);
	return tls;
}

void
tls_free(struct tls *tls)
{
	if (tls == NULL)
		return;
	if (tls->wait.operation != NULL) {
		/* The paused job stands on the SSL: it must come to its end first. */
		keeper_provider_cancel(&tls->wait);
		(void)tls_handshake(tls);
	}
	tls_end_output(tls);
	ERR_clear_error();
	SSL_free(tls->ssl);
	free(tls->wait.why);
	free(tls);
}

static void
fail(struct tls *tls, int code)
{
	tls->broken = true;
	tls->system_error = code == SSL_ERROR_SYSCALL ? errno : 0;
	tls->error = ERR_peek_error();
	ERR_clear_error();
}

enum tls_progress
tls_handshake(struct tls *tls)
{
	int result, code;

	if (tls->broken)
		return TLS_FAILED;
	ERR_clear_error();
	errno = 0;
	keeper_provider_use(&tls->wait);
	result = SSL_do_handshake(tls->ssl);
	keeper_provider_use(NULL);
	if (result == 1) {
		tls->open = true;
		SSL_clear_mode(tls->ssl, SSL_MODE_ASYNC);
		tls->more =
		    SSL_has_pending(tls->ssl) == 1; /* came with the last of the handshake */
		return TLS_DONE;
	}
	code = SSL_get_error(tls->ssl, result);
	switch (code) {
	case SSL_ERROR_WANT_READ:
		return TLS_WANTS_INPUT;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANTS_OUTPUT;
	case SSL_ERROR_WANT_ASYNC:
		return TLS_WANTS_KEEPER;
	case SSL_ERROR_WANT_ASYNC_JOB:
		return TLS_WANTS_TIME;
	default:
		fail(tls, code);
		return TLS_FAILED;
	}
}

bool
tls_is_open(const struct tls *tls)
{
	return tls->open;
}

const char *
tls_failure(const struct tls *tls)
{
	const char *why = NULL;

	if (tls->wait.why != NULL)
		return tls->wait.why;
	if (tls->error != 0 && ERR_GET_REASON(tls->error) != SSL_R_UNEXPECTED_EOF_WHILE_READING)
		why = ERR_reason_error_string(tls->error);
	if (why == NULL && tls->system_error != 0)
		why = strerror(tls->system_error);
	return why == NULL ? "client closed" : why;
}

ssize_t
tls_read(struct tls *tls, void *data, size_t size)
{
	size_t done = 0, count = 0;
	int code = SSL_ERROR_NONE, result;

	tls->more = tls->wants_output = false;
	if (tls->broken) {
		errno = EPIPE;
		return -1;
	}
	ERR_clear_error();
	while (done < size) {
		errno = 0;
		result = SSL_read_ex(tls->ssl, (char *)data + done, size - done, &count);
		if (result != 1) {
			code = SSL_get_error(tls->ssl, result);
			break;
		}
		done += count;
	}
	/* An end or a fault behind what was read is met again by the next call. */
	tls->more = done > 0 && code != SSL_ERROR_WANT_READ && code != SSL_ERROR_WANT_WRITE;
	if (done > 0)
		return (ssize_t)done;
	if (code == SSL_ERROR_ZERO_RETURN)
		return 0;
	tls->wants_output = code == SSL_ERROR_WANT_WRITE;
	if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE) {
		errno = EAGAIN;
		return -1;
	}
	fail(tls, code);
	/* Closed without close_notify: many do, and a message never ends by it. */
	if (ERR_GET_REASON(tls->error) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		return 0;
	errno = EPROTO;
	return -1;
}

ssize_t
tls_write(struct tls *tls, const void *data, size_t length)
{
	size_t done = 0, count = 0;
	int code = SSL_ERROR_NONE, result;

	if (tls->broken) {
		errno = EPIPE;
		return -1;
	}
	ERR_clear_error();
	while (done < length) {
		errno = 0;
		result = SSL_write_ex(tls->ssl, (const char *)data + done, length - done, &count);
		if (result != 1) {
			code = SSL_get_error(tls->ssl, result);
			break;
		}
		done += count;
	}
	if (done > 0)
		return (ssize_t)done;
	if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE) {
		errno = EAGAIN;
		return -1;
	}
	fail(tls, code);
	errno = EPIPE;
	return -1;
}

void
tls_end_output(struct tls *tls)
{
	if (!tls->open || tls->broken || tls->said_end)
		return;
	tls->said_end = true;
	(void)SSL_shutdown(tls->ssl); /* whether it arrives isn't waited for */
	ERR_clear_error();
}

bool
tls_may_have_more(const struct tls *tls)
{
	return tls->more;
}

bool
tls_wants_output(const struct tls *tls)
{
	return tls->wants_output;
}

bool
tls_has_input(const struct tls *tls)
{
	char byte;

	return SSL_has_pending(tls->ssl) == 1 ||
	    recv(SSL_get_fd(tls->ssl), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

const char *
tls_version(const struct tls *tls)
{
	return SSL_get_version(tls->ssl);
}

const char *
tls_cipher(const struct tls *tls)
{
	return SSL_get_cipher_name(tls->ssl);
}

const char *
tls_sni(const struct tls *tls)
{
	return SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name);
}

bool
tls_is_resumed(const struct tls *tls)
{
	return SSL_session_reused(tls->ssl) == 1;
}

bool
tls_subject(const struct tls *tls, char *text, size_t size)
{
	const X509 *certificate = SSL_get0_peer_certificate(tls->ssl);
	BIO *bio;
	int length = 0;

	if (certificate == NULL || SSL_get_verify_result(tls->ssl) != X509_V_OK)
		return false;
	bio = BIO_new(BIO_s_mem());
	if (bio != NULL &&
	    X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) > 0)
		length = BIO_read(bio, text, (int)size - 1);
	BIO_free(bio);
	text[length > 0 ? length : 0] = '\0';
	return length > 0;
}

bool
tls_binding_exporter(const struct tls *tls, uint8_t *binding, size_t *length)
{
	return tls->open && channel_binding_exporter(tls->ssl, binding, length);
}

bool
tls_binding_certificate(const struct tls *tls, uint8_t *binding, size_t *length)
{
	X509 *certificate = tls->open ? SSL_get_certificate(tls->ssl) : NULL;

	/* A resumed connection has sent none: which one the client has seen isn't known here. */
	return certificate != NULL && !tls_is_resumed(tls) &&
	    channel_binding_end_point(certificate, binding, length);
}
