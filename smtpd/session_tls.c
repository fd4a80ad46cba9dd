/*
 * A session's encryption: STARTTLS (RFC 3207), TLS from the first byte (RFC 8314), the handshake,
 * and what is known of the connection then.
 *
 * Nothing that came in the clear counts after the handshake: input that was sent ahead ends the
 * session, and what the client had said of itself is forgotten.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/channel_binding.h"
#include "common/clock.h"
#include "common/stats.h"
#include "smtpd/session_state.h"
#include "common/tls_context.h"

#define RETRY_MS 20 /* too many handshakes wait for the keeper */

bool
session_is_encrypted(const struct session *s)
{
	return s->tls != NULL && tls_is_open(s->tls);
}

bool
session_channel_binding(const struct session *s, const char *type, uint8_t *binding, size_t *length)
{
	_Static_assert(CHANNEL_BINDING_MAX <= SESSION_BINDING_MAX, "a binding fits");
	*length = 0;
	if (s->tls == NULL)
		return false;
	if (strcmp(type, "tls-exporter") == 0)
		return tls_binding_exporter(s->tls, binding, length);
	return strcmp(type, "tls-server-end-point") == 0 &&
	    tls_binding_certificate(s->tls, binding, length);
}

bool
session_offers_tls(const struct session *s)
{
	return s->tls == NULL &&
	    (s->listener->tls == LISTEN_TLS_OPTIONAL || s->listener->tls == LISTEN_TLS_REQUIRED);
}

static void
on_keeper(void *arg)
{
	session_settle(arg); /* goes on with the handshake */
}

static bool
set_timer(struct session *s, int64_t delay_ms)
{
	struct timeval delay = { .tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000 };

	return event_add(&s->timer, &delay) == 0;
}

static bool
begin(struct session *s)
{
	SSL_CTX *context =
	    s->settings->tls == NULL ? NULL : tls_contexts_get(s->settings->tls, s->listener);

	if (context == NULL)
		return false;
	s->tls = tls_new(context, s->fd, on_keeper, s);
	s->handshake = TLS_WANTS_INPUT;
	s->handshake_end_ms =
	    clock_monotonic_ms() + (int64_t)session_config(s)->limits.handshake_time * 1000;
	if (s->tls == NULL || !set_timer(s, s->handshake_end_ms - clock_monotonic_ms())) {
		tls_free(s->tls);
		s->tls = NULL;
		return false;
	}
	s->state = SESSION_HANDSHAKE;
	return true;
}

void
session_begin_tls(struct session *s)
{
	if (begin(s))
		return;
	service_log_refusal(
	    s->service, s->client_text, "no certificate for its listener, or no memory");
	session_die(s, "no TLS to be had");
}

void
session_starttls(struct session *s, const struct command *command)
{
	if (!session_offers_tls(s)) {
		session_refuse(s, command, s->tls == NULL ? 502 : 503, "5.5.1",
		    s->tls == NULL ? "STARTTLS is not offered" : "encrypted already");
		return;
	}
	/* RFC 3207 4: what stands behind the command could be anybody's who is on the way. */
	if (session_has_more_input(s)) {
		session_refuse(
		    s, command, 554, "5.5.0", "input sent ahead of the handshake, closing");
		s->linger = true;
		session_close(s, "talked ahead of TLS");
		return;
	}
	if (!begin(s)) {
		session_refuse(s, command, 454, "4.7.0", "TLS is not available now");
		return;
	}
	session_reply(s, 220, "2.0.0", "ready for TLS");
}

/* The session begins anew (RFC 3207 4.2), but what is counted. */
static void
forget(struct session *s)
{
	session_forget_login(s);
	session_drop_mail(s);
	free(s->auth_user);
	free(s->helo);
	s->auth_user = s->helo = NULL;
	s->auth_refused = s->extended = false;
}

static void
log_started(struct session *s)
{
	char subject[256];
	struct log_line line;

	session_log_begin(s, &line, LOG_LEVEL_INFO, "tls-started");
	log_text(&line, "address", s->client_text);
	session_log_tls(s, &line);
	if (tls_sni(s->tls) != NULL)
		log_text(&line, "sni", tls_sni(s->tls));
	if (tls_is_resumed(s->tls))
		log_text(&line, "resumed", "yes");
	if (s->listener->tls_verify && tls_subject(s->tls, subject, sizeof(subject)))
		log_text(&line, "subject", subject);
	log_end(&line);
}

void
session_log_tls(const struct session *s, struct log_line *line)
{
	if (!session_is_encrypted(s))
		return;
	log_text(line, "tls", tls_version(s->tls));
	log_text(line, "cipher", tls_cipher(s->tls));
}

static void
end_handshake(struct session *s)
{
	(void)event_del(&s->timer);
	stats_add(STATS_SMTP_TLS, 1);
	log_started(s);
	s->state = SESSION_COMMAND;
	if (s->listener->tls == LISTEN_TLS_IMPLICIT)
		session_greet(s);
	else
		forget(s);
}

void
session_fail_tls(struct session *s, const char *why)
{
	struct log_line line;

	session_log_begin(s, &line, LOG_LEVEL_INFO, "tls-failed");
	session_log_client(s, &line);
	if (tls_sni(s->tls) != NULL)
		log_text(&line, "sni", tls_sni(s->tls));
	log_text(&line, "reason", why);
	log_end(&line);
	stats_add(STATS_SMTP_TLS_FAILED, 1);
	session_die(s, "no TLS");
}

void
session_handshake(struct session *s)
{
	s->handshake = tls_handshake(s->tls);
	switch (s->handshake) {
	case TLS_DONE:
		end_handshake(s);
		break;
	case TLS_WANTS_INPUT:
	case TLS_WANTS_KEEPER:
		break;
	case TLS_WANTS_OUTPUT:
		s->blocked = true;
		if (event_add(&s->writable, s->settings->idle_time) == -1)
			session_die(s, "no memory");
		break;
	case TLS_WANTS_TIME:
		if (!set_timer(s, RETRY_MS))
			session_die(s, "no memory");
		break;
	case TLS_FAILED:
		session_fail_tls(s, tls_failure(s->tls));
		break;
	}
}

void
session_handshake_timer(struct session *s)
{
	int64_t left_ms = s->handshake_end_ms - clock_monotonic_ms();

	if (left_ms <= 0)
		session_fail_tls(s, "the handshake took too long");
	else if (!set_timer(s, left_ms))
		session_die(s, "no memory");
}
